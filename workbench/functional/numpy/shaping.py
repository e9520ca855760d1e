"""Functions that change shape, order or type, and products of matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import OptionError, ShapeError, unknown_name
from workbench.functional.core import (
    Value,
    get_aval,
    shape_of,
)
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
from workbench.functional.primitives.indexing import gather, slice_
from workbench.functional.primitives.indexing import pad as _pad

__all__ = [
    "append", "astype", "atleast_1d", "atleast_2d", "atleast_3d", "block", "broadcast_arrays",
    "broadcast_shapes", "broadcast_to", "column_stack", "concatenate", "dstack", "expand_dims",
    "hstack", "matmul", "moveaxis", "pad", "ravel", "reshape", "rollaxis", "squeeze", "stack",
    "swapaxes", "transpose", "vstack",
]  # fmt: skip

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


def moveaxis(x: Value, source: int | Sequence[int], destination: int | Sequence[int]) -> Value:
    """Return ``x`` with an axis, or several, moved to other places; the rest keep their order.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis or place, one is named twice, or their numbers differ.
    """
    x = as_array("moveaxis", x)
    ndim = len(x.shape)
    origin = check_axes("moveaxis", () if source is None else source, ndim)
    places = check_axes("moveaxis", () if destination is None else destination, ndim)
    if len(origin) != len(places):
        raise OptionError("moveaxis", "every axis to move needs one place",
                          given=f"source {source!r}, destination {destination!r}")  # fmt: skip
    order = [axis for axis in range(ndim) if axis not in origin]
    for place, axis in sorted(zip(places, origin, strict=True)):
        order.insert(place, axis)
    return ops.permute(x, order)


def rollaxis(x: Value, axis: int, start: int = 0) -> Value:
    """Return ``x`` with an axis moved to stand before axis ``start``."""
    ndim = len(shape_of(x))
    axis = check_axis("rollaxis", axis, ndim)
    place = check_axis("rollaxis", start, ndim + 1) if start >= 0 else start + ndim
    return moveaxis(x, axis, place - (axis < place))


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


def broadcast_shapes(*shapes: Shape) -> tuple[int, ...]:
    """Return the shape that arrays of these shapes broadcast to.

    Raises
    ------
    ShapeError
        If they do not fit together.
    """
    try:
        return np.broadcast_shapes(*[check_shape("broadcast_shapes", shape) for shape in shapes])
    except ValueError:
        raise ShapeError("broadcast_shapes", "the shapes do not broadcast together",
                         given=", ".join(map(str, shapes)),
                         expected="equal lengths, or 1, counted from the last axis") from None  # fmt: skip


def broadcast_arrays(*arrays: Value) -> tuple[Value, ...]:
    """Return the arrays repeated to the one shape that they broadcast to."""
    shape = broadcast_shapes(*[shape_of(x) for x in arrays])
    return tuple([broadcast_to(x, shape) for x in arrays])


def _at_least(ndim: int, places: Callable[[int], Sequence[int]]) -> Callable[..., Any]:
    def function(*arrays: Value) -> Any:
        xs = [as_array(function.__name__, x) for x in arrays]
        ys = [expand_dims(x, places(len(x.shape))) if len(x.shape) < ndim else x for x in xs]
        return ys[0] if len(ys) == 1 else tuple(ys)

    function.__name__ = function.__qualname__ = f"atleast_{ndim}d"
    function.__doc__ = f"Return each array with at least {ndim} axes; a tuple if several are given."
    return function


atleast_1d = _at_least(1, lambda ndim: (0,))
atleast_2d = _at_least(2, lambda ndim: tuple(range(2 - ndim)))
atleast_3d = _at_least(3, lambda ndim: ((0, 1, 2), (0, 2), (2,))[ndim])


def concatenate(arrays: Sequence[Value], axis: int | None = 0) -> Value:
    """Return arrays joined along an existing axis; flat, one after another, along None.

    Raises
    ------
    ShapeError
        If there is none, or they differ along another axis.
    """
    xs = [as_array("concatenate", x) for x in promote("concatenate", *_some("concatenate", arrays))]
    if axis is None:
        return _concatenate(*map(ravel, xs), axis=0)
    return _concatenate(*xs, axis=check_axis("concatenate", axis, len(xs[0].shape)))


def stack(arrays: Sequence[Value], axis: int = 0) -> Value:
    """Return arrays of one shape joined along a new axis; raises as :func:`concatenate`."""
    return concatenate([expand_dims(x, axis) for x in _some("stack", arrays)], axis)


def _some(where: str, arrays: Sequence[Value]) -> Sequence[Value]:
    arrays = list(arrays) if shape_of(arrays) else arrays  # An array is its rows, as in NumPy.
    if not isinstance(arrays, list | tuple) or not arrays:
        raise ShapeError(where, "there is nothing to join", given=repr(arrays),
                         expected="a list or tuple of at least one array")  # fmt: skip
    return arrays


def hstack(arrays: Sequence[Value]) -> Value:
    """Return arrays joined along axis 1; vectors along their only one."""
    xs = [atleast_1d(x) for x in _some("hstack", arrays)]
    return concatenate(xs, 0 if len(xs[0].shape) == 1 else 1)


def vstack(arrays: Sequence[Value]) -> Value:
    """Return arrays joined along axis 0; vectors count as rows."""
    return concatenate([atleast_2d(x) for x in _some("vstack", arrays)])


def dstack(arrays: Sequence[Value]) -> Value:
    """Return arrays joined along axis 2; matrices count as pages."""
    return concatenate([atleast_3d(x) for x in _some("dstack", arrays)], 2)


def column_stack(arrays: Sequence[Value]) -> Value:
    """Return arrays joined along axis 1; vectors count as columns."""
    xs = [as_array("column_stack", x) for x in _some("column_stack", arrays)]
    return concatenate([reshape(x, (-1, 1)) if len(x.shape) < 2 else x for x in xs], 1)


def block(arrays: Any) -> Value:
    """Return an array put together from nested lists of blocks, the innermost side by side.

    Raises
    ------
    ShapeError
        If a list is empty, lists are nested to different depths, or blocks do not fit.
    """

    def depth(node: Any) -> int:
        if not isinstance(node, list):
            return 0
        depths = {depth(each) for each in _some("block", node)}
        if len(depths) > 1:
            raise ShapeError("block", "the lists are nested to different depths",
                             given=f"depths {sorted(depths)} side by side")  # fmt: skip
        return 1 + depths.pop()

    def leaves(node: Any) -> list[Value]:
        return [x for each in node for x in leaves(each)] if isinstance(node, list) else [node]

    levels = depth(arrays)
    ndim = max(levels, *[len(shape_of(x)) for x in leaves(arrays)])

    def join(node: Any, level: int) -> Value:
        if isinstance(node, list):
            return concatenate([join(each, level - 1) for each in node], -level)
        x = as_array("block", node)
        return reshape(x, (*(1,) * (ndim - len(x.shape)), *x.shape))

    return join(arrays, levels)


def append(x: Value, values: Value, axis: int | None = None) -> Value:
    """Return ``x`` with ``values`` joined behind it; None flattens both first."""
    if axis is None:
        return concatenate([ravel(x), ravel(values)])
    return concatenate([x, values], axis)


def part(x: Value, axis: int, start: int, stop: int | None, step: int = 1) -> Value:
    """Return ``x`` sliced along one axis; a negative step goes down to a ``stop`` of None."""
    index: list[tuple[int, int | None, int]] = [(0, n, 1) for n in x.shape]
    if index[axis] == (start, stop, step):
        return x
    index[axis] = (start, stop, step)
    return slice_(x, index=tuple(index))


def pick(x: Value, axis: int, places: npt.NDArray[np.intp]) -> Value:
    """Return the parts of ``x`` at places along an axis that are known while tracing."""
    return ops.move_axis(gather(ops.move_axis(x, axis, 0), places), 0, axis)


_PAD_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Value, pad_width: Any, mode: Any = "constant", constant_values: Value = 0) -> Value:
    """Return ``x`` with a border.

    Parameters
    ----------
    x : array
    pad_width : int, a (before, after) pair, or a pair for each axis
        Elements to add at each end.
    mode : "constant", "edge", "reflect", "symmetric" or "wrap"
        What the border holds: a constant, or what NumPy's mode of that name repeats.
    constant_values : number or 0-d array

    Raises
    ------
    OptionError
        If the widths are not ints of at least 0, or there is no such mode.
    ShapeError
        If an axis without elements is to be continued.
    """
    if mode not in _PAD_MODES:
        raise unknown_name("pad", "mode", mode, _PAD_MODES)
    x = as_array("pad", x)
    ndim = len(x.shape)
    try:
        given = np.asarray(pad_width)
        widths = np.broadcast_to(given, (ndim, 2))
        fits = given.dtype.kind in "iu" and widths.min(initial=0) >= 0
    except ValueError:
        fits = False
    if not fits:
        raise OptionError("pad", "the widths do not fit the array",
                          given=f"pad_width {pad_width} for {get_aval(x)}",
                          expected="an int, or a (before, after) pair for each axis")  # fmt: skip
    pairs = [(int(a), int(b)) for a, b in widths]
    if mode != "constant":
        for axis, pair in enumerate(pairs):
            if any(pair) and not x.shape[axis]:
                raise ShapeError("pad", "an axis without elements cannot be continued",
                                 given=f"axis {axis} of {get_aval(x)}, mode {mode!r}")  # fmt: skip
            if any(pair):
                x = pick(x, axis, np.pad(np.arange(x.shape[axis]), pair, mode))
        return x
    index = tuple((a, a + n, 1) for (a, _), n in zip(pairs, x.shape, strict=True))
    shape = tuple(a + n + b for (a, b), n in zip(pairs, x.shape, strict=True))
    if shape == x.shape:
        return x
    padded = _pad(x, index=index, shape=shape)
    border = convert(as_array("pad", constant_values), x.dtype)
    if isinstance(border, np.ndarray) and not border.any():
        return padded
    inside = _pad(broadcast_to(np.True_, x.shape), index=index, shape=shape)
    return where(inside, padded, border)


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
    if x.dtype == bool:  # NumPy's sum of truth values is whether one of them holds.
        return astype(matmul(astype(x, np.intp), astype(y, np.intp)), bool)
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
