"""Functions that put elements in another order or place: no op of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.errors import OptionError, ShapeError, unknown_name
from workbench.symbolic.graph import Axis, Operand, Variable, sides
from workbench.symbolic.ops.creation import arange, full
from workbench.symbolic.ops.elementwise import equal, greater_equal, less_equal, maximum, where
from workbench.symbolic.ops.elementwise import minimum as smaller
from workbench.symbolic.ops.indexing import set_subtensor
from workbench.symbolic.ops.joining import along, concatenate
from workbench.symbolic.ops.reductions import sum
from workbench.symbolic.ops.shaping import broadcast_to, expand_dims, reshape, transpose
from workbench.symbolic.ops.sizes import normal_axes, shape_of, size_of
from workbench.symbolic.ops.special import remainder
from workbench.symbolic.values import as_constant, operand

Size = int | Variable


def sizes_of(x: Variable) -> list[Size]:
    """Return every size of ``x``: an int where it is known, else an expression."""
    return [size_of(x, a) for a in range(x.ndim)]


def product(sizes: Sequence[Size]) -> Any:
    """Return the product of sizes."""
    return math.prod(sizes)


# --- the order of axes ---------------------------------------------------------------------


def moveaxis(x: Operand, source: int | Sequence[int], destination: int | Sequence[int]) -> Variable:
    """Return ``x`` with the axes ``source`` moved to ``destination``, the others in order."""
    x = operand("moveaxis", x)
    ends = []
    for axes in (source, destination):
        normal_axes("moveaxis", x, axes)
        ends.append([a % x.ndim for a in (axes if isinstance(axes, tuple | list) else [axes])])  # type: ignore[operator]
    if len(ends[0]) != len(ends[1]):
        raise OptionError("moveaxis", "source and destination differ in number",
                          given=f"source={source!r}, destination={destination!r}")  # fmt: skip
    order = [a for a in range(x.ndim) if a not in ends[0]]
    for to, a in sorted(zip(ends[1], ends[0], strict=True)):
        order.insert(to, a)
    return transpose(x, order)


def swapaxes(x: Operand, axis1: int, axis2: int) -> Variable:
    """Return ``x`` with two axes exchanged."""
    x = operand("swapaxes", x)
    (a,), (b,) = normal_axes("swapaxes", x, axis1), normal_axes("swapaxes", x, axis2)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return transpose(x, order)


def ravel(x: Operand) -> Variable:
    """Return the elements of ``x`` in one axis, in row-major order."""
    return reshape(x, -1)


def flatten(x: Operand, start: int = 0) -> Variable:
    """Return ``x`` with the axes from ``start`` on made one: ``start=1`` keeps a batch axis."""
    x = operand("flatten", x)
    sizes = sizes_of(x)
    return reshape(x, (*sizes[:start], product(sizes[start:])))


# --- the order of elements -----------------------------------------------------------------


def flip(x: Operand, axis: Axis = None) -> Variable:
    """Return ``x`` with the order reversed along ``axis`` (all axes where None)."""
    x = operand("flip", x)
    axes = normal_axes("flip", x, axis)
    return x[tuple(slice(None, None, -1 if a in axes else 1) for a in range(x.ndim))]


def roll(
    x: Operand, shift: Size | Sequence[Size], axis: int | Sequence[int] | None = None
) -> Variable:
    """Return ``x`` with elements moved on by ``shift``, from the end to the beginning.

    Parameters
    ----------
    x : array_like or Variable
    shift : int, integer scalar Variable, or a sequence of them
    axis : int, a sequence as long as ``shift``, or None
        None moves through the flattened array.
    """
    x = operand("roll", x)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), shape_of(x))
    axes = axis if isinstance(axis, tuple | list) else [axis]
    shifts = shift if isinstance(shift, tuple | list) else [shift] * len(axes)
    for each, a in zip(shifts, axes, strict=True):
        (a,) = normal_axes("roll", x, a)
        n: Any = size_of(x, a)
        cut: Any = 0
        if not isinstance(n, int) or isinstance(each, Variable):
            cut = remainder(-each, n)
        elif n:
            cut = -each % n
        parts = [along(a, slice(cut, None), x), along(a, slice(None, cut), x)]
        x = reshape(concatenate(parts, a), shape_of(x))
    return x


def repeat(x: Operand, repeats: Size | Sequence[int], axis: int | None = None) -> Variable:
    """Return every element of ``x`` several times in a row, as ``numpy.repeat``.

    Parameters
    ----------
    x : array_like or Variable
    repeats : int, integer scalar Variable, or one int for each element
    axis : int or None
        None repeats the elements of the flattened array.
    """
    x = operand("repeat", x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    (axis,) = normal_axes("repeat", x, axis)
    if isinstance(repeats, int | Variable):
        sizes = sizes_of(x)
        wide = (*sizes[: axis + 1], repeats, *sizes[axis + 1 :])
        whole = (*sizes[:axis], sizes[axis] * repeats, *sizes[axis + 1 :])
        return reshape(broadcast_to(expand_dims(x, axis + 1), wide), whole)
    return along(axis, np.repeat(np.arange(len(repeats)), repeats), x)


def tile(x: Operand, reps: Size | Sequence[Size]) -> Variable:
    """Return ``x`` side by side with itself, ``reps`` times along each axis (the last ones)."""
    x = operand("tile", x)
    times = list(reps) if isinstance(reps, tuple | list) else [reps]
    ndim = max(len(times), x.ndim)
    times = [1] * (ndim - len(times)) + times
    sizes = [1] * (ndim - x.ndim) + sizes_of(x)
    single = [k for n in sizes for k in (1, n)]
    wide = [k for pair in zip(times, sizes, strict=True) for k in pair]
    whole = [t * n for t, n in zip(times, sizes, strict=True)]
    return reshape(broadcast_to(reshape(x, single), wide), whole)


# --- padding -------------------------------------------------------------------------------

_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(
    x: Operand, pad_width: Any, mode: str = "constant", constant_values: float = 0.0
) -> Variable:
    """Return ``x`` with elements added around it, as ``numpy.pad``.

    Parameters
    ----------
    x : array_like or Variable
    pad_width : int, (before, after), or a pair for each axis
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        All but the first copy elements of x, and need its sizes to be known.
    constant_values : float

    Raises
    ------
    OptionError
        For widths that do not fit x.
    ShapeError
        If a size that is needed is not known.
    """
    x = operand("pad", x)
    if mode not in _MODES:
        raise unknown_name("pad", "mode", mode, _MODES)
    try:
        widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
    except ValueError:
        widths = [[-1]]
    if any(not isinstance(w, int) or w < 0 for pair in widths for w in pair):
        raise OptionError("pad", "these are not widths", given=f"pad_width={pad_width!r}, {sides(x=x)}",
                          expected="ints of at least 0, two for each axis")  # fmt: skip
    if mode == "constant":
        sizes = [a + n + z for (a, z), n in zip(widths, sizes_of(x), strict=True)]
        inside = tuple(slice(a, -z or None) for a, z in widths)
        return set_subtensor(full(sizes, constant_values, x.dtype)[inside], x)
    for axis, width in enumerate(widths):
        n = x.shape[axis]
        if n is None:
            raise ShapeError("pad", f"the size of axis {axis} is not known", given=sides(x=x),
                             fix='mode="constant" does not need it')  # fmt: skip
        if any(width):
            x = along(axis, np.pad(np.arange(n), width, mode), x)  # type: ignore[call-overload]
    return x


# --- triangles and diagonals ---------------------------------------------------------------


def _triangle(name: str, x: Operand, k: int, keep: Any) -> Variable:
    x = operand(name, x, ndim=2)
    rows, columns = arange(size_of(x, x.ndim - 2)), arange(size_of(x, x.ndim - 1))
    return where(keep(columns - k, expand_dims(rows, 1)), x, as_constant(0, name, dtype=x.dtype))


def tril(x: Operand, k: int = 0) -> Variable:
    """Return ``x`` with zeros above the ``k``-th diagonal of its last two axes."""
    return _triangle("tril", x, k, less_equal)


def triu(x: Operand, k: int = 0) -> Variable:
    """Return ``x`` with zeros below the ``k``-th diagonal of its last two axes."""
    return _triangle("triu", x, k, greater_equal)


def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Variable:
    """Return a diagonal of two axes, as a last axis: every (m + 1)-th element of their rows."""
    x = operand("diagonal", x, ndim=2)
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    *lead, n, m = sizes_of(x)
    start = offset if offset >= 0 else -offset * m
    rows, columns = n + min(offset, 0), m - max(offset, 0)
    count: Any = (
        max(min(rows, columns), 0)
        if isinstance(rows, int) and isinstance(columns, int)
        else (maximum(smaller(rows, columns), 0))
    )
    return reshape(x, (*lead, n * m))[..., slice(start, start + count * (m + 1), m + 1)]


def trace(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Variable:
    """Return the sum of a diagonal of two axes."""
    return sum(diagonal(operand("trace", x, ndim=2), offset, axis1, axis2), -1)


def diag(x: Operand, k: int = 0) -> Variable:
    """Return the ``k``-th diagonal of a matrix, or the matrix with that diagonal, else zeros."""
    x = operand("diag", x, ndim=1)
    if x.ndim > 2:
        raise ShapeError("diag", "x is neither a vector nor a matrix", given=sides(x=x))
    if x.ndim == 2:
        return diagonal(x, k)
    by_column = pad(x, (max(k, 0), max(-k, 0)))
    places = arange(size_of(by_column, 0))
    return where(equal(places - k, expand_dims(places, 1)), by_column, 0)
