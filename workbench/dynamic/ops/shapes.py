"""Operations that move numbers without computing: shapes, joining, parting, repeating."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import values, where
from workbench.dynamic.ops.indexing import Scatter, getitem, take
from workbench.errors import OptionError, ShapeError, unknown_name

__all__ = [
    "atleast_1d", "atleast_2d", "broadcast_to", "concatenate", "diag", "diagonal", "expand_dims",
    "flatten", "flip", "hstack", "meshgrid", "moveaxis", "outer", "pad", "ravel", "repeat",
    "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
    "tril", "triu", "vstack",
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
    new = checked_axes("expand_dims", axis, ndim)
    old = iter(x.shape)
    return reshape(x, tuple(1 if k in new else next(old) for k in range(ndim)))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Return x without the axes of length 1 in ``axis``, by default all of them."""
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    gone = checked_axes("squeeze", axis, x.ndim)
    if any(x.shape[k] != 1 for k in gone):
        raise ShapeError("squeeze", "only an axis of length 1 can go", given=f"x {x.shape}, "
                         f"axis={axis}", expected="axes of length 1")  # fmt: skip
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if k not in gone))


def checked_axes(where: str, axis: int | Sequence[int], ndim: int) -> tuple[int, ...]:
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


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """Return the arrays joined along an existing axis; each flattened for None."""
    if axis is None:
        return Concatenate.apply(0, *map(ravel, arrays))
    return Concatenate.apply(axis, *arrays)


class Stack(Function):
    """Arrays of one shape along a new axis."""

    expects = "arrays of one shape"

    @staticmethod
    def forward(ctx: Any, axis: int, *xs: Any) -> Any:
        ctx.axis = axis
        return np.stack(xs, axis=axis)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        before = (slice(None),) * (ctx.axis % g.ndim)
        wanted = enumerate(ctx.inputs[1:])
        return None, *(None if edge is None else g[(*before, k)] for k, edge in wanted)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays of one shape joined along a new axis, number ``axis`` of the result."""
    return Stack.apply(axis, *arrays)


def hstack(arrays: Sequence[Any]) -> Any:
    """Return the arrays joined along their second axis, or vectors along their only one."""
    joined = [atleast_1d(x) for x in arrays]
    return concatenate(joined, axis=int(joined[0].ndim > 1))


def vstack(arrays: Sequence[Any]) -> Any:
    """Return the arrays joined along their first axis, vectors as rows."""
    return concatenate([atleast_2d(x) for x in arrays])


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Return the parts of x along ``axis``: so many equal ones, or cut before these indices.

    Raises
    ------
    ShapeError
        If a number of sections does not divide the axis.
    """
    (axis,), length = checked_axes("split", axis, x.ndim), x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or length % sections:
            raise ShapeError("split", "the axis does not part into equal sections",
                             given=f"x {x.shape}, axis={axis}, sections={sections}",
                             expected=f"a divisor of {length}, or a list of indices")  # fmt: skip
        sections = [k * (length // sections) for k in range(1, sections)]
    before, cuts = (slice(None),) * axis, [0, *sections, length]
    return [getitem(x, (*before, slice(a, b))) for a, b in itertools.pairwise(cuts)]


# --- axes --------------------------------------------------------------------------------


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Return x with two axes exchanged."""
    a, b = checked_axes("swapaxes", axis1, x.ndim)[0], checked_axes("swapaxes", axis2, x.ndim)[0]
    return transpose(x, [{a: b, b: a}.get(k, k) for k in range(x.ndim)])


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Return x with axes moved to other places; the rest keep their order."""
    old, new = (
        checked_axes("moveaxis", source, x.ndim),
        checked_axes("moveaxis", destination, x.ndim),
    )
    if len(old) != len(new):
        raise OptionError("moveaxis", "each axis needs one destination",
                          given=f"source={source}, destination={destination}")  # fmt: skip
    order = [k for k in range(x.ndim) if k not in old]
    for place, k in sorted(zip(new, old, strict=True)):
        order.insert(place, k)
    return transpose(x, order)


def ravel(x: Any) -> Any:
    """Return the elements of x along one axis, in C order."""
    return reshape(x, -1)


def flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    """Return x with the axes ``start`` to ``end`` in one; ``flatten(x, 1)`` keeps a batch apart."""
    if not x.ndim:
        return reshape(x, 1)
    a, b = checked_axes("flatten", start, x.ndim)[0], checked_axes("flatten", end, x.ndim)[0]
    length = math.prod(x.shape[a : b + 1])
    return reshape(x, (*x.shape[:a], length, *x.shape[b + 1 :]))


def atleast_1d(x: Any) -> Any:
    """Return x, a number as a vector of one element."""
    return x if x.ndim else reshape(x, 1)


def atleast_2d(x: Any) -> Any:
    """Return x, a vector as a row."""
    return x if x.ndim > 1 else reshape(x, (1, -1))


# --- turning and repeating ------------------------------------------------------------------


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Return x in reverse order along ``axis``, by default along all axes."""
    turned = range(x.ndim) if axis is None else checked_axes("flip", axis, x.ndim)
    return getitem(x, tuple(slice(None, None, -1 if k in turned else None) for k in range(x.ndim)))


class Roll(Function):
    """Elements moved along axes, those that leave at the end entering at the beginning."""

    @staticmethod
    def forward(ctx: Any, x: Any, shift: Any, axis: Any) -> Any:
        ctx.shift, ctx.axis = shift, axis
        return np.roll(x, shift, axis)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        back = tuple(-s for s in ctx.shift) if isinstance(ctx.shift, tuple) else -ctx.shift
        return Roll.apply(g, back, ctx.axis)


def roll(x: Any, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    """Return x with its elements ``shift`` places on along ``axis`` (of x flattened), cyclically."""
    return Roll.apply(x, shift, axis)


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Return x with each slice along ``axis`` (of x flattened) so many times in a row."""
    if axis is None:
        x, axis = ravel(x), 0
    length = x.shape[checked_axes("repeat", axis, x.ndim)[0]]
    return take(x, np.repeat(arrays.namespace(values(x)).arange(length), repeats), axis)


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """Return x as often side by side along each axis as ``reps`` says, from the last axis on."""
    given = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = max(x.ndim, len(given))
    lengths, times = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(given)) + given
    pairs = list(zip(times, lengths, strict=True))
    apart = reshape(x, [each for n in lengths for each in (1, n)])
    copies = broadcast_to(apart, [each for pair in pairs for each in pair])
    return reshape(copies, [k * n for k, n in pairs])


def meshgrid(*xs: Any, indexing: str = "xy") -> list[Any]:
    """Return grids of the coordinates in vectors: y down and x across for "xy", or in order, "ij"."""
    shape = [x.size for x in xs]
    grids = [reshape(x, [-1 if j == k else 1 for j in range(len(xs))]) for k, x in enumerate(xs)]
    grids = [broadcast_to(grid, shape) for grid in grids]
    return [swapaxes(grid, 0, 1) if indexing == "xy" and len(xs) > 1 else grid for grid in grids]


def outer(x: Any, y: Any) -> Any:
    """Return the product of each element of x with each of y, both flattened."""
    return reshape(x, (-1, 1)) * ravel(y)


class Pad(Function):
    """x within a border of one value."""

    expects = "for each axis (before, after), the widths of its borders"

    @staticmethod
    def forward(ctx: Any, x: Any, widths: Any, value: float) -> Any:
        pairs = zip(widths, x.shape, strict=True)
        ctx.inside = tuple(slice(before, before + n) for (before, _), n in pairs)
        return np.pad(x, widths, constant_values=value)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g[ctx.inside]


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    """Return x within a border, as :func:`numpy.pad` makes it.

    Parameters
    ----------
    x : Tensor or array
    pad_width : int, (before, after), or such a pair for each axis
        Widths in elements.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        What the border holds: a value, or elements of x.
    constant_values : float
        The value.

    Raises
    ------
    OptionError
        For another mode, or widths that fit no x of this shape.
    """
    modes = ("constant", "edge", "reflect", "symmetric", "wrap")
    if mode not in modes:
        raise unknown_name("pad", "mode", mode, modes)
    try:
        widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
        if mode == "constant":
            return Pad.apply(x, widths, constant_values)
        for axis, width in enumerate(widths):
            if any(width):  # The border of 0, 1, 2, ... says which elements to take.
                places = np.pad(arrays.namespace(values(x)).arange(x.shape[axis]), width, mode)  # type: ignore[call-overload]
                x = take(x, places, axis)
    except ValueError as error:
        raise OptionError("pad", str(error), given=f"x {x.shape}, pad_width={pad_width}",
                          expected="an int, (before, after), or a pair for each axis") from error  # fmt: skip
    return x


# --- triangles and diagonals -----------------------------------------------------------------


def tril(x: Any, k: int = 0) -> Any:
    """Return matrices x (..., N, M) with zeros above the k-th diagonal."""
    return where(arrays.namespace(values(x)).tri(*x.shape[-2:], k=k, dtype=bool), x, 0)


def triu(x: Any, k: int = 0) -> Any:
    """Return matrices x (..., N, M) with zeros below the k-th diagonal."""
    return where(arrays.namespace(values(x)).tri(*x.shape[-2:], k=k - 1, dtype=bool), 0, x)


def _diagonal(offset: int, rows: int, columns: int) -> slice:
    """Return where a diagonal lies in a matrix that is flattened."""
    start = offset if offset >= 0 else -offset * columns
    count = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    return slice(start, start + count * (columns + 1), columns + 1)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonal over two axes of x, along a last axis in place of them."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    flat = reshape(x, (*x.shape[:-2], rows * columns))
    return getitem(flat, (..., _diagonal(offset, rows, columns)))


def diag(x: Any, k: int = 0) -> Any:
    """Return the k-th diagonal of a matrix, or the matrix with a vector as its k-th diagonal."""
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError("diag", "a diagonal is of a matrix or for one", given=f"x {x.shape}",
                         expected="a vector or a matrix")  # fmt: skip
    n = len(x) + abs(k)
    return reshape(Scatter.apply(x, _diagonal(k, n, n), (n * n,)), (n, n))
