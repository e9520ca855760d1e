"""Operations along a named axis: between the examples of a ``vmap``, or between processes.

The name is bound by ``vmap(f, axis_name="i")`` or by
:func:`workbench.functional.parallel.pmap`; inside, ``psum(x, "i")`` adds up what every
example (every process) has.  The transpose of a sum is a sum: when each example's loss
counts, a cotangent flows back from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.errors import OptionError, unknown_name
from workbench.functional.batching import AxisSize
from workbench.functional.core import (
    STACK,
    ZERO,
    Axis,
    NoRule,
    Primitive,
    ShapedArray,
    Value,
    get_aval,
)
from workbench.functional.numpy import elementwise as np_
from workbench.functional.numpy import reductions
from workbench.functional.numpy.promotion import as_array, convert, inexact
from workbench.functional.primitives.creation import iota
from workbench.functional.primitives.indexing import gather
from workbench.functional.primitives.rules import NOT_LINEAR
from workbench.functional.primitives.shape import broadcast_to, move_axis
from workbench.functional.tree import tree_map

BETWEEN_PROCESSES = NoRule("processes exchange it; a compiled program runs in one")


def axis(name: str, where: str) -> Axis:
    """Return what a named axis is bound to.

    Raises
    ------
    OptionError
        If no ``vmap`` or ``pmap`` around has an axis of this name.
    """
    if name in STACK.axes:
        return STACK.axes[name]
    if STACK.axes:
        raise unknown_name(where, "axis_name", name, STACK.axes)
    raise OptionError(where, "no axis has this name here", given=f"axis_name={name!r}",
                      expected="a call inside a mapped function",
                      fix=f"vmap(f, axis_name={name!r})")  # fmt: skip


def _collective(
    name: str,
    along: Callable[..., Value],
    abstract: Callable[..., ShapedArray],
    across: Callable[..., Value],
    jvp: Any,
    transpose: Any,
) -> Primitive:
    """Declare a collective of one array and one result.

    ``along(x, mapped, size, **params)`` computes it along the very axis that is batched, and
    returns one value for all examples or, if it differs between them, ``(value, True)``;
    ``across(y, ndim)`` puts the batch of another axis back in front.
    """

    def batch(
        primitive: Primitive,
        values: Sequence[Value],
        mapped: Sequence[bool],
        size: AxisSize,
        params: dict[str, Any],
    ) -> tuple[list[Value], list[bool]]:
        if params["axis_name"] == size.name:
            result = along(*values, *mapped, size=size, **params)
            value, differs = result if isinstance(result, tuple) else (result, False)
            return [value], [differs]
        (y,) = primitive(*values, **params)
        return [across(y) if mapped[0] else y], list(mapped)

    def impl(*values: Value, axis_name: str, **params: Any) -> tuple[Value, ...]:
        group = axis(axis_name, name).group
        return (getattr(group, name)(*values, **params),)

    return Primitive(
        name,
        impl=impl,
        abstract=lambda *avals, **params: (abstract(*avals, **params),),
        jvp=jvp,
        batch=batch,
        transpose=transpose,
        lower=BETWEEN_PROCESSES,
        multiple=True,
        axes=lambda params: (params["axis_name"],),
    )


def _linear_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    outs = list(primitive(*primals, **params))
    return outs, [ZERO] if tangents[0] is ZERO else list(primitive(tangents[0], **params))


def _same(y: Value) -> Value:
    return y


def _over(reduce: Callable[..., Value]) -> Callable[..., Value]:
    def along(x: Value, mapped: bool, *, size: AxisSize, axis_name: str) -> Value:
        whole = x if mapped else broadcast_to(x, shape=(size, *get_aval(x).shape))
        return convert(reduce(whole, axis=0), get_aval(x).dtype)

    return along


psum_p: Primitive = _collective(
    "psum",
    along=_over(reductions.sum),
    abstract=lambda x, axis_name: ShapedArray(x.shape, x.dtype),
    across=_same,
    jvp=_linear_jvp,
    transpose=lambda gs, x, axis_name: psum_p(gs[0], axis_name=axis_name),
)


def _extreme_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    """Average the tangents of those that attain the extreme, as for an axis of an array."""
    (y,) = primitive(*primals, **params)
    if tangents[0] is ZERO:
        return [y], [ZERO]
    wins = np_.equal(primals[0], y)
    (total,) = psum_p(np_.where(wins, tangents[0], 0), **params)
    (count,) = psum_p(convert(wins, get_aval(y).dtype), **params)
    return [y], [np_.divide(total, count)]


pmax_p: Primitive = _collective(
    "pmax",
    along=_over(reductions.max),
    abstract=lambda x, axis_name: ShapedArray(x.shape, x.dtype),
    across=_same,
    jvp=_extreme_jvp,
    transpose=NOT_LINEAR,
)


def _gather_along(x: Value, mapped: bool, *, size: AxisSize, axis_name: str, length: int) -> Value:
    return x if mapped else broadcast_to(x, shape=(size, *get_aval(x).shape))


def _gather_transpose(
    gs: Sequence[Value], x: Any, *, axis_name: str, length: int
) -> tuple[Value, ...]:
    (total,) = psum_p(gs[0], axis_name=axis_name)
    (mine,) = axis_index_p(axis_name=axis_name)
    return (gather(total, mine),)


all_gather_p: Primitive = _collective(
    "all_gather",
    along=_gather_along,
    abstract=lambda x, axis_name, length: ShapedArray((length, *x.shape), x.dtype),
    across=lambda y: move_axis(y, 1, 0),
    jvp=_linear_jvp,
    transpose=_gather_transpose,
)

Permutation = tuple[tuple[int, int], ...]


def _permute_along(
    x: Value, mapped: bool, *, size: AxisSize, axis_name: str, perm: Permutation
) -> tuple[Value, bool]:
    whole = x if mapped else broadcast_to(x, shape=(size, *get_aval(x).shape))
    source = {to: start for start, to in perm}
    index = np.array([source.get(i, 0) for i in range(size)])
    given = np.array([i in source for i in range(size)])
    rows = gather(whole, index)
    keep = given.reshape((-1,) + (1,) * (len(get_aval(rows).shape) - 1))
    return np_.where(keep, rows, 0), True


ppermute_p: Primitive = _collective(
    "ppermute",
    along=_permute_along,
    abstract=lambda x, axis_name, perm: ShapedArray(x.shape, x.dtype),
    across=_same,
    jvp=_linear_jvp,
    transpose=lambda gs, x, axis_name, perm: ppermute_p(
        gs[0], axis_name=axis_name, perm=tuple((to, start) for start, to in perm)
    ),
)


def _index_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    if params["axis_name"] == size.name:
        return [iota(size=int(size), dtype=np.dtype(np.int64))], [True]
    return list(primitive(**params)), [False]


axis_index_p: Primitive = Primitive(
    "axis_index",
    impl=lambda *, axis_name: (np.asarray(axis(axis_name, "axis_index").group.rank, np.int64),),
    abstract=lambda *, axis_name: (ShapedArray((), np.int64),),
    jvp=NoRule("takes no array, so it is constant"),
    batch=_index_batch,
    transpose=NOT_LINEAR,
    lower=BETWEEN_PROCESSES,
    multiple=True,
    axes=lambda params: (params["axis_name"],),
)


def _each(where: str, x: Any, apply: Callable[[Value], Value]) -> Any:
    return tree_map(lambda leaf: apply(as_array(where, leaf)), x)


def psum(x: Any, axis_name: str) -> Any:
    """Return the sum over a named axis of every leaf of a pytree.

    Raises
    ------
    OptionError
        If no axis has this name here.
    """
    axis(axis_name, "psum")
    return _each("psum", x, lambda leaf: psum_p(leaf, axis_name=axis_name)[0])


def pmean(x: Any, axis_name: str) -> Any:
    """Return the mean over a named axis of every leaf; raises as :func:`psum`."""
    size = axis(axis_name, "pmean").size
    return _each(
        "pmean", x, lambda leaf: psum_p(inexact("pmean", leaf), axis_name=axis_name)[0] / size
    )


def pmax(x: Any, axis_name: str) -> Any:
    """Return the maximum over a named axis of every leaf; raises as :func:`psum`."""
    axis(axis_name, "pmax")
    return _each("pmax", x, lambda leaf: pmax_p(leaf, axis_name=axis_name)[0])


def pmin(x: Any, axis_name: str) -> Any:
    """Return the minimum over a named axis of every leaf; raises as :func:`psum`."""
    axis(axis_name, "pmin")
    return _each(
        "pmin", x, lambda leaf: np_.negative(pmax_p(np_.negative(leaf), axis_name=axis_name)[0])
    )


def all_gather(x: Any, axis_name: str) -> Any:
    """Return what every index of a named axis has, stacked along a new axis 0, leaf by leaf.

    Raises as :func:`psum`.
    """
    length = axis(axis_name, "all_gather").size
    return _each(
        "all_gather", x, lambda leaf: all_gather_p(leaf, axis_name=axis_name, length=length)[0]
    )


def ppermute(x: Any, axis_name: str, perm: Sequence[tuple[int, int]]) -> Any:
    """Send every leaf from one index of a named axis to another: ``(source, destination)``.

    Who is no destination gets zeros.

    Raises
    ------
    OptionError
        As :func:`psum`; if an index is outside, or occurs twice on one side.
    """
    size = axis(axis_name, "ppermute").size
    pairs = tuple((int(a), int(b)) for a, b in perm)
    for side in zip(*pairs, strict=True):
        if len(set(side)) != len(side) or not all(0 <= i < size for i in side):
            raise OptionError("ppermute", "each index sends once and receives once at most",
                              given=f"perm={pairs}", expected=f"indices 0 to {size - 1}")  # fmt: skip
    return _each("ppermute", x, lambda leaf: ppermute_p(leaf, axis_name=axis_name, perm=pairs)[0])


def axis_index(axis_name: str) -> Value:
    """Return where along a named axis this example, or process, is; raises as :func:`psum`."""
    axis(axis_name, "axis_index")
    return axis_index_p(axis_name=axis_name)[0]
