"""Functions that change shape, order or type, and products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import OptionError, ShapeError
from workbench.functional.core import Value, get_aval, shape_of
from workbench.functional.numpy.elementwise import where
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_axis,
    check_dtype,
    check_shape,
    convert,
    promote,
)
from workbench.functional.primitives import reduction
from workbench.functional.primitives import shape as ops
from workbench.functional.primitives.indexing import concatenate as _concatenate
from workbench.functional.primitives.indexing import pad as _pad

Shape = int | Sequence[int]


def reshape(x: Value, shape: Shape) -> Value:
    """Return ``x`` with its elements, in order, in another shape.

    Parameters
    ----------
    x : array
    shape : int or tuple of int
        One length may be -1: whatever is left.

    Raises
    ------
    ShapeError
        If the number of elements differs.
    OptionError
        If ``shape`` is not made of ints, or has two unknown lengths.
    """
    x, sizes = as_array("reshape", x), check_shape("reshape", shape)
    total, known = prod(x.shape), prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise OptionError("reshape", "at most one length may be left open", given=f"shape {shape}",
                          expected="lengths of at least 0, and one -1 at most")  # fmt: skip
    if -1 in sizes:
        if not known or total % known:
            raise ShapeError("reshape", "the elements do not divide into this shape",
                             given=f"{get_aval(x)} to shape {shape}",
                             expected=f"lengths whose product divides {total}")  # fmt: skip
        sizes = tuple(total // known if n == -1 else n for n in sizes)
    return x if sizes == x.shape else ops.reshape(x, shape=sizes)


def ravel(x: Value) -> Value:
    """Return the elements of ``x`` along one axis."""
    return reshape(x, -1)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Return ``x`` with its axes in another order; reversed if none is given.

    Raises
    ------
    ShapeError, OptionError
        If ``axes`` does not name every axis once.
    """
    x = as_array("transpose", x)
    ndim = len(x.shape)
    order = tuple(reversed(range(ndim))) if axes is None else check_axes("transpose", axes, ndim)
    if len(order) != ndim:
        raise ShapeError("transpose", "every axis must be named once",
                         given=f"axes {axes} for {get_aval(x)}",
                         expected=f"an order of the axes 0 to {ndim - 1}")  # fmt: skip
    return ops.permute(x, order)


def swapaxes(x: Value, axis1: int, axis2: int) -> Value:
    """Return ``x`` with two axes exchanged."""
    ndim = len(shape_of(x))
    i, j = check_axis("swapaxes", axis1, ndim), check_axis("swapaxes", axis2, ndim)
    order = list(range(ndim))
    order[i], order[j] = j, i
    return transpose(x, order)


def moveaxis(x: Value, source: int, destination: int) -> Value:
    """Return ``x`` with one axis moved to another place."""
    x = as_array("moveaxis", x)
    ndim = len(x.shape)
    return ops.move_axis(
        x, check_axis("moveaxis", source, ndim), check_axis("moveaxis", destination, ndim)
    )


def broadcast_to(x: Value, shape: Shape) -> Value:
    """Return ``x`` repeated to a shape, without copying.

    Raises
    ------
    ShapeError
        If an axis of ``x`` is neither 1 nor as long as the shape says.
    """
    x, sizes = as_array("broadcast_to", x), check_shape("broadcast_to", shape)
    return x if sizes == x.shape else ops.broadcast_to(x, shape=sizes)


def expand_dims(x: Value, axis: int | Sequence[int]) -> Value:
    """Return ``x`` with axes of length 1 inserted, at these places of the result.

    Raises
    ------
    ShapeError, OptionError
        If a place is out of range or named twice.
    """
    x = as_array("expand_dims", x)
    ndim = len(x.shape) + (len(axis) if isinstance(axis, Sequence) else 1)
    places, lengths = check_axes("expand_dims", axis, ndim), iter(x.shape)
    return reshape(x, tuple(1 if i in places else next(lengths) for i in range(ndim)))


def squeeze(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """Return ``x`` without axes of length 1: these, or all such.

    Raises
    ------
    ShapeError
        If a named axis is longer than 1.
    """
    x = as_array("squeeze", x)
    lengths = x.shape
    axes = tuple(i for i, n in enumerate(lengths) if n == 1) if axis is None else check_axes(
        "squeeze", axis, len(lengths))  # fmt: skip
    if any(lengths[i] != 1 for i in axes):
        raise ShapeError("squeeze", "an axis to remove is longer than 1",
                         given=f"axis {axis} of {get_aval(x)}", expected="axes of length 1")  # fmt: skip
    return reshape(x, tuple(n for i, n in enumerate(lengths) if i not in axes))


def concatenate(arrays: Sequence[Value], axis: int = 0) -> Value:
    """Return arrays joined along an existing axis.

    Raises
    ------
    ShapeError
        If there is none, or they differ along another axis.
    """
    xs = [as_array("concatenate", x) for x in promote("concatenate", *_some("concatenate", arrays))]
    return _concatenate(*xs, axis=check_axis("concatenate", axis, len(xs[0].shape)))


def stack(arrays: Sequence[Value], axis: int = 0) -> Value:
    """Return arrays of one shape joined along a new axis; raises as :func:`concatenate`."""
    return concatenate([expand_dims(x, axis) for x in _some("stack", arrays)], axis)


def _some(where: str, arrays: Sequence[Value]) -> Sequence[Value]:
    if not isinstance(arrays, list | tuple) or not arrays:
        raise ShapeError(where, "there is nothing to join", given=repr(arrays),
                         expected="a list or tuple of at least one array")  # fmt: skip
    return arrays


def pad(x: Value, pad_width: Any, constant_values: float = 0) -> Value:
    """Return ``x`` with a border of one constant.

    Parameters
    ----------
    x : array
    pad_width : int, or a (before, after) pair for each axis
        Elements to add at each end.
    constant_values : float
        What to add.

    Raises
    ------
    OptionError
        If the widths are not ints of at least 0, a pair for each axis.
    """
    x = as_array("pad", x)
    ndim = len(x.shape)
    widths = [(pad_width, pad_width)] * ndim if isinstance(pad_width, int) else list(pad_width)
    if len(widths) != ndim or any(
        len(pair) != 2 or min(check_shape("pad", pair)) < 0 for pair in widths
    ):
        raise OptionError("pad", "the widths do not fit the array",
                          given=f"pad_width {pad_width} for {get_aval(x)}",
                          expected="an int, or a (before, after) pair for each axis")  # fmt: skip
    index = tuple((a, a + n, 1) for (a, _), n in zip(widths, x.shape, strict=True))
    shape = tuple(a + n + b for (a, b), n in zip(widths, x.shape, strict=True))
    if shape == x.shape:
        return x
    padded = _pad(x, index=index, shape=shape)
    if constant_values == 0:
        return padded
    inside = _pad(broadcast_to(np.True_, x.shape), index=index, shape=shape)
    return where(inside, padded, constant_values)


def astype(x: Value, dtype: npt.DTypeLike) -> Value:
    """Return ``x`` converted; the gradient comes back in its own dtype, or 0 from integers."""
    return convert(as_array("astype", x), check_dtype("astype", dtype))


def matmul(x: Value, y: Value) -> Value:
    """Return the product of matrices, of vectors, or of stacks of matrices.

    Parameters
    ----------
    x : array, shape (..., M, K) or (K,)
    y : array, shape (..., K, N) or (K,)
        Axes before the last two broadcast.

    Raises
    ------
    ShapeError
        If an argument is 0-d or the inner lengths differ.
    """
    x, y = (as_array("matmul", each) for each in promote("matmul", x, y))
    inner = len(x.shape) and len(y.shape) and (x.shape[-1], y.shape[-2 if len(y.shape) > 1 else 0])
    if not inner or inner[0] != inner[1]:
        raise ShapeError("matmul", "x and y do not fit together",
                         given=f"x {get_aval(x)}, y {get_aval(y)}",
                         expected="x (..., M, K) and y (..., K, N) with one K, or vectors (K,)")  # fmt: skip
    if len(x.shape) == 1 or len(y.shape) == 1:
        # A vector is a matrix of one row on the left, of one column on the right.
        rows = x if len(x.shape) > 1 else expand_dims(x, 0)
        columns = y if len(y.shape) > 1 else expand_dims(y, 1)
        z = matmul(rows, columns)
        z = z if len(x.shape) > 1 else squeeze(z, -2)
        return z if len(y.shape) > 1 else squeeze(z, -1)
    if len(y.shape) == 2 and len(x.shape) > 2:
        z = reduction.matmul(reshape(x, (prod(x.shape[:-1]), x.shape[-1])), y)
        return reshape(z, (*x.shape[:-1], y.shape[-1]))
    try:
        stacks = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ShapeError("matmul", "the stacks do not broadcast together",
                         given=f"x {get_aval(x)}, y {get_aval(y)}",
                         expected="equal lengths, or 1, before the last two axes") from None  # fmt: skip
    x = broadcast_to(x, (*stacks, *x.shape[-2:]))
    return reduction.matmul(x, broadcast_to(y, (*stacks, *y.shape[-2:])))
