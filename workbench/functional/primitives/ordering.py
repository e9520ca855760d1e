"""Primitives along one axis, in which order counts: sorting, running sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.compiler import Builder
from workbench.functional.core import Primitive, ShapedArray, Value, shape_of
from workbench.functional.primitives.creation import iota
from workbench.functional.primitives.elementwise import full_like, per_argument
from workbench.functional.primitives.indexing import concatenate, gather, slice_
from workbench.functional.primitives.rules import (
    NOT_LINEAR,
    PIECEWISE_CONSTANT,
    batch_with,
    linear_jvp,
)
from workbench.functional.primitives.shape import broadcast_to, move_axis, reshape

_one_further = batch_with(lambda size, axis, **params: {"axis": axis + 1, **params})


def _same(x: ShapedArray, **params: Any) -> ShapedArray:
    return ShapedArray(x.shape, x.dtype)


# Sorting.  NaN comes last, as in NumPy.

argsort: Primitive = Primitive(
    "argsort",  # Stable: ties stay in order.
    impl=lambda x, *, axis: np.argsort(x, axis, kind="stable"),
    abstract=lambda x, *, axis: ShapedArray(x.shape, np.intp),
    jvp=PIECEWISE_CONSTANT,
    batch=_one_further,
    transpose=NOT_LINEAR,
    lower=lambda b, x, axis: b.call("argsort", x, axis=axis),
)


def along(x: Value, indices: Value, axis: int) -> Value:
    """Return, along ``axis``, the elements of ``x`` at positions of their own for each row."""
    x, indices = move_axis(x, axis, 0), move_axis(indices, axis, 0)
    grid = [indices]
    for place, n in enumerate(shape_of(x)[1:]):
        line = iota(size=n, dtype=np.dtype(np.intp))
        line = reshape(line, shape=(n, *(1,) * (len(shape_of(x)) - place - 2)))
        grid.append(broadcast_to(line, shape=shape_of(indices)))
    return move_axis(gather(x, *grid), 0, axis)


sort: Primitive = Primitive(
    "sort",
    impl=lambda x, *, axis: np.sort(x, axis, kind="stable"),
    abstract=_same,
    jvp=per_argument(lambda t, y, x, axis: along(t, argsort(x, axis=axis), axis)),
    batch=_one_further,
    transpose=NOT_LINEAR,
    lower=lambda b, x, axis: b.call("sort", x, axis=axis),
)

# Running totals


def _backwards(axis: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(None, None, -1))


def _cumsum(x: Value, *, axis: int, reverse: bool) -> Value:
    if not reverse:
        return x.cumsum(axis=axis)
    turn = _backwards(axis)
    return x[turn].cumsum(axis=axis)[turn]


def _cumsum_lower(b: Builder, x: Any, axis: int, reverse: bool) -> Any:
    if not reverse or not x.size:
        return b.cumsum(x, axis)
    start, step = [0] * x.ndim, [1] * x.ndim
    start[axis], step[axis] = x.shape[axis] - 1, -1
    return b.slice(b.cumsum(b.slice(x, start, x.shape, step), axis), start, x.shape, step)


cumsum: Primitive = Primitive(
    "cumsum",  # ``reverse`` sums from each element to the end: the transpose of the other.
    impl=_cumsum,
    abstract=_same,
    jvp=linear_jvp,
    batch=_one_further,
    transpose=lambda g, x, axis, reverse: (cumsum(g, axis=axis, reverse=not reverse),),
    lower=_cumsum_lower,
)


def _cumprod_term(t: Value, y: Value, x: Value, axis: int) -> Value:
    """Multiply runs of 1, 2, 4, ... elements, each with its tangent (Hillis and Steele, 1986).

    Without a division, which zeros would spoil.
    """

    def behind(each: Value, steps: int, fill: int) -> Value:
        index = [(0, n, 1) for n in shape_of(x)]
        index[axis] = (0, steps, 1)
        lead = full_like(slice_(x, index=tuple(index)), fill_value=fill)
        index[axis] = (0, shape_of(x)[axis] - steps, 1)
        return concatenate(lead, slice_(each, index=tuple(index)), axis=axis)

    steps = 1
    while steps < shape_of(x)[axis]:
        before = behind(x, steps, 1)
        t = t * before + x * behind(t, steps, 0)
        x, steps = x * before, 2 * steps
    return t


cumprod: Primitive = Primitive(
    "cumprod",
    impl=lambda x, *, axis: x.cumprod(axis=axis),
    abstract=_same,
    jvp=per_argument(_cumprod_term),
    batch=_one_further,
    transpose=NOT_LINEAR,
    lower=lambda b, x, axis: b.call("cumprod", x, axis=axis),
)
