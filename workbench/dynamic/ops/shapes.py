"""Operations that move numbers without computing: shapes, joining, indexing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import values, where
from workbench.errors import DtypeError, OptionError, ShapeError

__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "getitem", "reshape", "squeeze", "transpose",
]  # fmt: skip


def axes_of(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that ``axis`` names, as non-negative ints."""
    return tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)


class Reshape(Function):
    """The same elements in another shape."""

    expects = "a shape with as many elements as x; one length can be -1"

    @staticmethod
    def forward(ctx: Any, x: Any, shape: Any) -> Any:
        return x.reshape(shape)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.reshape(ctx.inputs[0].shape)


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """Return the elements of x, in C order, in another shape; one length can be -1."""
    return Reshape.apply(x, shape)


class Transpose(Function):
    """The same elements with axes reordered."""

    expects = "axes that are a permutation of those of x"

    @staticmethod
    def forward(ctx: Any, x: Any, axes: Any) -> Any:
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        if ctx.axes is None:
            return g.transpose()
        return g.transpose(tuple(np.argsort(axes_of(ctx.axes, g.ndim)).tolist()))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Return x with its axes in the order of ``axes``, by default reversed."""
    return Transpose.apply(x, axes)


class BroadcastTo(Function):
    """x repeated along new axes and axes of length 1."""

    broadcasts = True
    expects = "a shape that x broadcasts to"

    @staticmethod
    def forward(ctx: Any, x: Any, shape: Any) -> Any:
        return np.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """Return x repeated to ``shape``, as NumPy's broadcasting would."""
    return BroadcastTo.apply(x, tuple(shape))


def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """Return x with new axes of length 1 at ``axis`` of the result."""
    ndim = x.ndim + (len(axis) if isinstance(axis, Sequence) else 1)
    new = _axes("expand_dims", axis, ndim)
    old = iter(x.shape)
    return reshape(x, tuple(1 if k in new else next(old) for k in range(ndim)))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Return x without the axes of length 1 in ``axis``, by default all of them."""
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    gone = _axes("squeeze", axis, x.ndim)
    if any(x.shape[k] != 1 for k in gone):
        raise ShapeError("squeeze", "only an axis of length 1 can go", given=f"x {x.shape}, "
                         f"axis={axis}", expected="axes of length 1")  # fmt: skip
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in gone))


def _axes(where: str, axis: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    try:
        return axes_of(axis, ndim)
    except ValueError as error:
        raise OptionError(where, str(error), given=f"axis={axis}") from error


class Concatenate(Function):
    """Arrays one after another."""

    expects = "shapes that are equal but for the joined axis"

    @staticmethod
    def forward(ctx: Any, axis: int, *xs: Any) -> Any:
        y = np.concatenate(xs, axis=axis)
        ctx.axis, ctx.sizes = axis, [x.shape[axis] for x in xs]
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        before = (slice(None),) * (ctx.axis % g.ndim)
        parts, start = [None], 0
        for edge, size in zip(ctx.inputs[1:], ctx.sizes, strict=True):
            parts.append(None if edge is None else g[(*before, slice(start, start + size))])
            start += size
        return tuple(parts)


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Return the arrays joined along an existing axis."""
    return Concatenate.apply(axis, *arrays)


class GetItem(Function):
    """x[index]."""

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any) -> Any:
        ctx.index = index
        return x[index]

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return Scatter.apply(g, ctx.index, ctx.inputs[0].shape)


class Scatter(Function):
    """Zeros of a shape, with g added at the index: the transpose of x[index]."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, g: Any, index: Any, shape: tuple[int, ...]) -> Any:
        ctx.index = index
        y = arrays.namespace(g).zeros(shape, g.dtype)
        if _repeats(index):
            arrays.scatter_add(y, index, g)
        else:
            y[index] = g
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g[ctx.index]


def getitem(x: Any, index: Any) -> Any:
    """Return x[index], for ints, slices, Ellipsis, None, integer and boolean arrays."""
    try:
        return GetItem.apply(x, clean_index(index))
    except IndexError as error:
        raise ShapeError("getitem", str(error), given=f"x {x.shape}, index {index!r}") from error


class SetItem(Function):
    """x with v at the index, written into x itself."""

    broadcasts = True
    expects = "a value that broadcasts to x[index]"

    @staticmethod
    def forward(ctx: Any, x: Any, index: Any, v: Any) -> Any:
        ctx.index = index
        x[index] = v
        return x[...]

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        written = arrays.namespace(values(g)).zeros(g.shape, bool)
        written[ctx.index] = True
        return where(written, 0.0, g), None, g[ctx.index]


def clean_index(index: Any) -> Any:
    """Return an index with tensors as arrays, and arrays copied: the caller may edit them.

    Raises
    ------
    DtypeError
        If an array in it holds neither integers nor booleans.
    """
    parts = index if isinstance(index, tuple) else (index,)
    result = []
    for part in parts:
        part = np.array(part, dtype=None if part else int) if isinstance(part, list) else part
        if hasattr(part, "dtype"):
            part = values(part).copy()
            if part.dtype.kind not in "iub":
                raise DtypeError("getitem", "an index is made of integers or booleans",
                                 given=f"an array of {part.dtype}")  # fmt: skip
        result.append(part)
    return tuple(result) if isinstance(index, tuple) else result[0]


def _repeats(index: Any) -> bool:
    """Return whether an index might name an element twice: only integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(getattr(part, "ndim", 0) and part.dtype.kind in "iu" for part in parts)
