"""``pmap``: a function of a whole batch becomes a function of one part in each process.

Outside of it every process holds the same values, as if there were one process; inside,
each holds its own.  Two operations lead from one world to the other, and reverse mode
needs nothing else: a value that all share is *spread* to the processes, and its cotangents
are summed; a result that all have is *shared*, and its cotangent enters through one of them.
Each is the transpose of the other, but for the sum and the choice of the one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from workbench.functional.batching import Axes, AxisSize
from workbench.functional.calling import Function, check_function, own_results
from workbench.functional.closed import (
    axes_of,
    call,
    flip,
    hoist,
    merge,
    partial_eval_jaxpr,
    pick,
    run_jaxpr,
    transpose_call,
)
from workbench.functional.collectives import BETWEEN_PROCESSES, all_gather_p, axis_index_p, psum_p
from workbench.functional.core import (
    STACK,
    ZERO,
    Axis,
    Primitive,
    ShapedArray,
    Tracer,
    Value,
    get_aval,
)
from workbench.functional.jaxpr import Jaxpr, eval_jaxpr
from workbench.functional.numpy import elementwise as np_
from workbench.functional.parallel.group import Group, world
from workbench.functional.primitives.indexing import slice_
from workbench.functional.primitives.shape import move_axis, reshape
from workbench.functional.refusals import AxesError
from workbench.functional.staging import StagingTrace, stage, stage_tree
from workbench.functional.tree import TreeDef, flatten_axes, tree_flatten, tree_unflatten


@dataclass(frozen=True)
class Place:
    """A named axis and the processes that it counts."""

    axis_name: str
    group: Group

    def __str__(self) -> str:
        return f"{self.axis_name} over {self.group.size} processes"


def pmap(
    f: Function,
    axis_name: str = "i",
    in_axes: Axes = 0,
    out_axes: Axes = 0,
    group: Group | None = None,
) -> Function:
    """Return a function that computes f in every process, each for its part of the arguments.

    Every process calls it with the same arguments, and gets the same results.  A process
    alone has all of everything as its part; the results then are those of ``f`` itself.

    Parameters
    ----------
    f : callable
        Takes parts: an argument of length 32 along its axis has length 8 in each of four
        processes.  Written with ``vmap`` it treats single examples; collectives along
        ``axis_name`` combine the parts.  (``shard_map`` is JAX's name for this form.)
    axis_name : str
        What collectives such as :func:`workbench.functional.psum` call the processes.
    in_axes : int, None, or a tuple with an entry an argument
        The axis of each argument that is divided; None for an argument that all need whole.
        An entry may be a container like its argument.
    out_axes : int, None, or a container like the output
        The axis along which the parts of a result are put together; None for a result that is
        the same in all processes.
    group : Group, optional
        The processes; :func:`world` if not given.

    Returns
    -------
    callable
        Keyword arguments are divided along axis 0.  As ``jit`` does, it traces f once for each
        signature and compiles it; arrays that f closes over are part of the record.

    Raises
    ------
    AxesError
        On call, if the axes do not fit the arguments or the results.
    ShapeError
        On call, if the processes cannot have equal parts of an axis.
    OptionError
        If a result under ``out_axes=None`` differs between processes.
    GraphError
        If the processes do not call the same collectives in the same order.

    Notes
    -----
    A sum over parts, and a sum over the whole, differ by rounding only; a mean of a loss is
    ``pmean`` of the means of equal parts.
    """
    where = check_function("pmap", f)

    cache: dict[Any, _Traced] = {}

    def trace(place: Place, treedef: TreeDef, axes: list[int | None], avals: Any) -> _Traced:
        parts = [_part(place.group, *pair, where) for pair in zip(avals, axes, strict=True)]
        with bound(place):
            local, out_tree = stage_tree(f, treedef, [aval for aval, _ in parts], where)
        outs = [atom.aval for atom in local.outvars]
        out = flatten_axes(where, "out_axes", out_axes, tree_unflatten(out_tree, outs))
        for aval, axis in zip(outs, out, strict=True):
            _check_axis(where, "out_axes", aval, axis)
        alike = tuple(axis is None for axis in out)
        consts = len(local.consts)

        def whole(*values: Value) -> list[Value]:
            given = spread_p(*values, place=place)
            own = [
                x if index is None else slice_(x, index=index)
                for x, (_, index) in zip(given[consts:], parts, strict=True)
            ]
            results = eval_jaxpr(hoist(local), [*given[:consts], *own])
            joined = [
                _join(place, x, axis % get_aval(x).ndim)
                for x, axis in zip(results, out, strict=True)
                if axis is not None
            ]
            return merge(
                alike,
                share_p(*pick(results, alike), place=place, checked=True),
                share_p(*joined, place=place, checked=False),
            )

        jaxpr = stage(whole, [*map(get_aval, local.consts), *avals], where)
        return _Traced(local.consts, hoist(jaxpr), out_tree)

    @functools.wraps(f)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        place = Place(axis_name, group or world())
        leaves, treedef = tree_flatten((args, kwargs))
        avals = tuple([get_aval(x, where) for x in leaves])
        outer = tuple([(name, axis.size) for name, axis in STACK.axes.items()])
        key = (treedef, avals, place, outer)
        found = cache.get(key)
        if found is None:
            wanted = tuple(in_axes) if isinstance(in_axes, list) else in_axes
            axes = flatten_axes(where, "in_axes", wanted, args)
            found = trace(place, treedef, [*axes, *[0] * (len(leaves) - len(axes))], avals)
            if not any(isinstance(const, Tracer) for const in found.consts):
                cache[key] = found  # Another transform's tracer would be stale in the next call.
        outs = pmap_p(*found.consts, *leaves, name=place, jaxpr=found.jaxpr)
        return tree_unflatten(found.out_tree, own_results(outs))

    return mapped


class _Traced(NamedTuple):
    """What ``pmap`` keeps for one signature; what f closes over comes first among the inputs."""

    consts: list[Value]
    jaxpr: Jaxpr
    out_tree: TreeDef


def _check_axis(where: str, name: str, aval: ShapedArray, axis: int | None) -> None:
    if axis is not None and not -aval.ndim <= axis < aval.ndim:
        raise AxesError(where, f"{name} names an axis that the array does not have",
                        given=f"{name} {axis} for {aval}",
                        fix="None for a value that all processes have whole")  # fmt: skip


def _part(group: Group, aval: ShapedArray, axis: int | None, where: str) -> tuple[ShapedArray, Any]:
    """Return what a process sees of an argument: its abstract value, and which slice it is."""
    _check_axis(where, "in_axes", aval, axis)
    if axis is None or group.size == 1:
        return aval, None
    axis %= aval.ndim
    mine = group.block(aval.shape[axis], where)
    index = tuple(
        (mine.start, mine.stop, 1) if i == axis else (0, n, 1) for i, n in enumerate(aval.shape)
    )
    shape = tuple(stop - start for start, stop, _ in index)
    return ShapedArray(shape, aval.dtype), index


def _join(place: Place, x: Value, axis: int) -> Value:
    """Put the parts of all processes together along an axis."""
    size, shape = place.group.size, get_aval(x).shape
    if size == 1:
        return x
    (rows,) = all_gather_p(x, axis_name=place.axis_name, length=size)
    longer = (*shape[:axis], size * shape[axis], *shape[axis + 1 :])
    return reshape(move_axis(rows, 0, axis), shape=longer)


@contextmanager
def bound(place: Place) -> Iterator[None]:
    """Let the name of the axis mean these processes."""
    outer = STACK.axes
    STACK.axes = {**outer, place.axis_name: Axis(place.group.size, None, place.group)}
    try:
        yield
    finally:
        STACK.axes = outer


# Between one world and the other


def _identity_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    nonzero = tuple(t is not ZERO for t in tangents)
    moved = primitive(*pick(tangents, nonzero), **params) if any(nonzero) else ()
    outs = primitive(*primals, **params)
    return list(outs), merge(nonzero, moved, [ZERO] * nonzero.count(False))


def _identity(
    name: str, impl: Callable[..., tuple[Value, ...]], back: Callable[[Value, Place], Value]
) -> Primitive:
    """Declare an operation that returns its arguments, and whose transpose is ``back``."""
    return Primitive(
        name,
        impl=impl,
        abstract=lambda *avals, **params: avals,
        jvp=_identity_jvp,
        batch=lambda primitive, values, mapped, size, params: (
            list(primitive(*values, **params)),
            list(mapped),
        ),
        transpose=lambda gs, *xs, place, **params: [g if g is ZERO else back(g, place) for g in gs],
        lower=BETWEEN_PROCESSES,
        multiple=True,
        axes=lambda params: (params["place"].axis_name,),
    )


def _share_impl(*xs: Value, place: Place, checked: bool) -> tuple[Value, ...]:
    if checked:
        place.group.same("pmap", xs)
    return xs


def _summed(g: Value, place: Place) -> Value:
    """Add up what each process found for a value that all share: again one value for all."""
    (total,) = psum_p(g, axis_name=place.axis_name)
    return share_p(total, place=place, checked=False)[0]


def _through_one(g: Value, place: Place) -> Value:
    """Let a cotangent that all have enter through process 0, so that it counts once."""
    (mine,) = axis_index_p(axis_name=place.axis_name)
    return np_.where(np_.equal(mine, 0), spread_p(g, place=place)[0], 0)


spread_p: Primitive = _identity("spread", impl=lambda *xs, place: xs, back=_summed)
share_p: Primitive = _identity("share", impl=_share_impl, back=_through_one)


def _pmap_impl(*args: Value, name: Place, jaxpr: Jaxpr) -> tuple[Value, ...]:
    with bound(name):
        return run_jaxpr(jaxpr, args)


def _pmap_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    if size.name == params["name"].axis_name:
        size = AxisSize(size)  # Inside, the name means the processes.
    assert callable(call.batch)
    outs, differ = call.batch(primitive, values, mapped, size, params)
    return outs, differ


def _pmap_partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    unknown = tuple(map(trace.owns, args))
    parts = partial_eval_jaxpr(params["jaxpr"], unknown)
    known_args = pick(args, flip(unknown))
    results = pmap_p(*known_args, **{**params, "jaxpr": parts.known})
    count = parts.unknown_out.count(False)
    passed = [*(known_args[i] for i in parts.forwarded), *results[count:]]
    outs = trace.record(
        pmap_p, [*passed, *pick(args, unknown)], {**params, "jaxpr": parts.unknown}
    )  # fmt: skip
    return tuple(merge(parts.unknown_out, outs, results[:count]))


pmap_p: Primitive = replace(
    call,
    name="pmap",
    impl=_pmap_impl,
    batch=_pmap_batch,
    transpose=lambda gs, *args, **params: transpose_call(pmap_p, gs, *args, **params),
    lower=BETWEEN_PROCESSES,
    partial=_pmap_partial,
    axes=lambda params: axes_of(params) - {params["name"].axis_name},
)
