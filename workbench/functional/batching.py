"""vmap: a function of one example becomes a function of a batch, without a loop.

The batch is always axis 0 of the value inside a tracer, so that a primitive's
batching rule has one case to consider for each argument: mapped or not.  Moving
an axis there is a view in NumPy, and costs nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from workbench.errors import GraphError
from workbench.functional.calling import Function, check_function, own_results
from workbench.functional.core import (
    STACK,
    Axis,
    NoRule,
    Primitive,
    ShapedArray,
    Trace,
    Tracer,
    Value,
    describe,
    get_aval,
)
from workbench.functional.primitives.shape import broadcast_to, move_axis
from workbench.functional.refusals import AxesError, TracedBranchError, TracedNumberError
from workbench.functional.tree import TreeDef, flatten_axes, tree_flatten, tree_unflatten


class AxisSize(int):
    """A number of examples that knows the name of its axis, for the rules that ask."""

    name: str | None = None


class BatchTrace(Trace):
    """Applies every primitive to a whole batch at once.

    Attributes
    ----------
    size : AxisSize
        Number of examples, and the name of the axis that counts them.
    """

    def __init__(self, transform: str, size: int, axis_name: str | None = None) -> None:
        super().__init__(transform)
        self.size = AxisSize(size)
        self.size.name = axis_name

    def __enter__(self) -> BatchTrace:
        super().__enter__()
        self.outer_axes = STACK.axes
        if self.size.name is not None:
            STACK.axes = {**STACK.axes, self.size.name: Axis(int(self.size), self)}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        STACK.axes = self.outer_axes
        super().__exit__(kind, error, traceback)

    def process(
        self, primitive: Primitive, args: tuple[Value, ...], params: dict[str, Any]
    ) -> Value:
        """Apply the primitive's batching rule."""
        mapped = [self.owns(arg) for arg in args]
        values = [arg.value if mine else arg for arg, mine in zip(args, mapped, strict=True)]
        if isinstance(primitive.batch, NoRule):
            raise GraphError(primitive.name, "this operation cannot be batched",
                             given=primitive.batch.reason)  # fmt: skip
        result = primitive.batch(primitive, values, mapped, self.size, params)
        if not primitive.multiple:
            return BatchTracer(self, result)
        return tuple([BatchTracer(self, x) if mine else x for x, mine in zip(*result, strict=True)])

    def owns(self, x: Value) -> bool:
        """Return whether ``x`` carries this trace's batch."""
        return isinstance(x, BatchTracer) and x.trace is self


class BatchTracer(Tracer):
    """One example of a batch; ``value`` holds all of them along axis 0."""

    __slots__ = ("value",)

    def __init__(self, trace: BatchTrace, value: Value) -> None:
        super().__init__(trace)
        self.value = value

    @property
    def aval(self) -> ShapedArray:
        """Shape and dtype of one example."""
        whole = get_aval(self.value)
        return ShapedArray(whole.shape[1:], whole.dtype)

    def concrete(self, want: str) -> Value:
        """Refuse: there are as many numbers as examples."""
        raise (TracedBranchError if want == "bool" else TracedNumberError)(
            want, "under vmap a value stands for every example of the batch, and they may differ",
            given=f"{describe(self)}, a batch of {self.trace.size}",  # type: ignore[attr-defined]
            expected="a value that is the same for the whole batch",
            fix="functional.numpy.where(condition, a, b) chooses for each example",
        )  # fmt: skip


def vmap_flat(
    f: Callable[..., tuple[Sequence[Value], Any]],
    values: Sequence[Value],
    axes: Sequence[int | None],
    size: int,
    axis_name: str | None = None,
) -> tuple[BatchTrace, list[Value], Any]:
    """Run ``f`` on tracers; return the trace, its raw outputs, and what rode along."""
    with BatchTrace("vmap", size, axis_name) as trace:
        tracers = [
            x if axis is None else BatchTracer(trace, move_axis(x, axis, 0))
            for x, axis in zip(values, axes, strict=True)
        ]
        outs, rest = f(*tracers)
    return trace, list(outs), rest


def unbatch(trace: BatchTrace, out: Value, axis: int | None, where: str) -> Value:
    """Return an output with its batch along ``axis``; repeated if it does not depend on it."""
    if axis is None:
        if trace.owns(out):
            raise AxesError(where, "an output differs between examples, but out_axes is None",
                              given=describe(out), fix="give it an axis: out_axes=0")  # fmt: skip
        return out
    if not trace.owns(out):
        whole = broadcast_to(out, shape=(trace.size, *get_aval(out, where).shape))
    else:
        whole = out.value
    ndim = get_aval(whole).ndim
    if not -ndim <= axis < ndim:
        raise AxesError(where, "out_axes names an axis that the output does not have",
                          given=f"out_axes {axis} for an output {get_aval(out)}",
                          expected=f"{-ndim} to {ndim - 1}, counting the batch axis")  # fmt: skip
    return move_axis(whole, 0, axis % ndim)


Axes = int | None | Sequence[Any] | dict[str, Any]


def vmap(
    f: Function,
    in_axes: Axes = 0,
    out_axes: Axes = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
) -> Function:
    """Return a function that applies f to every example of a batch at once.

    Parameters
    ----------
    f : callable
        Written for one example.
    in_axes : int, None, or a tuple with an entry an argument
        The axis of each argument that counts the examples; None for an argument that all
        share.  An entry may be a container like its argument, an entry a leaf.
    out_axes : int, None, or a container like the output
        Where the examples are to be counted in the results.
    axis_size : int, optional
        Number of examples; needed only where no argument is batched.
    axis_name : str, optional
        What collectives such as :func:`workbench.functional.psum` call this axis.

    Returns
    -------
    callable
        Keyword arguments are batched along axis 0.

    Raises
    ------
    AxesError
        On call, if the axes do not fit the arguments, an argument has no such axis, they differ
        in length, or nothing is batched.
    """
    where = check_function("vmap", f)

    @functools.wraps(f)
    def batched(*args: Any, **kwargs: Any) -> Any:
        wanted = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        axes = flatten_axes(where, "in_axes", wanted, args)
        keywords, treedef = tree_flatten((args, kwargs))
        axes += [0] * (len(keywords) - len(axes))
        size, counted = _batch_size(where, keywords, axes, axis_size)

        def flat(*leaves: Value) -> tuple[list[Value], TreeDef]:
            arguments, named = tree_unflatten(treedef, leaves)
            return tree_flatten(f(*arguments, **named))

        trace, outs, out_tree = vmap_flat(flat, keywords, counted, size, axis_name)
        shape = tree_unflatten(out_tree, outs)
        results = [
            unbatch(trace, out, axis, where)
            for out, axis in zip(
                outs, flatten_axes(where, "out_axes", out_axes, shape), strict=True
            )
        ]
        return tree_unflatten(out_tree, own_results(results))

    return batched


def _batch_size(
    where: str, leaves: Sequence[Value], axes: Sequence[int | None], axis_size: int | None
) -> tuple[int, list[int | None]]:
    """Return the number of examples, and the axes counted from the front."""
    counted: list[int | None] = []
    lengths: dict[int, str] = {} if axis_size is None else {axis_size: "axis_size"}
    for number, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
        aval = get_aval(leaf, where)
        if axis is not None and not -aval.ndim <= axis < aval.ndim:
            raise AxesError(
                where, "an argument has no such axis to be batched along",
                given=f"in_axes {axis} for leaf {number}, {aval}",
                fix="None for an argument that all examples share",
            )  # fmt: skip
        counted.append(axis if axis is None else axis % aval.ndim)
        if axis is not None:
            lengths.setdefault(aval.shape[axis], f"leaf {number} {aval} along axis {axis}")
    if len(lengths) != 1:
        if not lengths:
            raise AxesError(where, "nothing is batched", given="in_axes None for every argument",
                              expected="an axis for at least one, or axis_size")  # fmt: skip
        raise AxesError(
            where, "the arguments differ in the number of examples",
            given="; ".join(f"{size} in {what}" for size, what in lengths.items()),
            expected="one length", fix="in_axes=None for an argument that all examples share",
        )  # fmt: skip
    return next(iter(lengths)), counted
