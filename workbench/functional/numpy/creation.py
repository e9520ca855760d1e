"""Making arrays.  Inside ``jit`` and ``make_jaxpr`` these are recorded, not computed."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import OptionError, ShapeError, unknown_name
from workbench.functional.core import Tracer, Value, get_aval, is_array
from workbench.functional.numpy.elementwise import exp, log, power, where
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_dtype,
    check_shape,
    convert,
    inexact,
    promote,
)
from workbench.functional.numpy.reductions import sum
from workbench.functional.numpy.shaping import (
    broadcast_arrays,
    concatenate,
    moveaxis,
    part,
    ravel,
    reshape,
    stack,
    swapaxes,
)
from workbench.functional.primitives import creation as ops
from workbench.functional.primitives.elementwise import floor, integer_power
from workbench.functional.primitives.elementwise import full_like as _full_like
from workbench.functional.primitives.indexing import pad as _pad

__all__ = [
    "arange", "array", "asarray", "diag", "diagflat", "diagonal", "empty", "empty_like", "eye",
    "fromfunction", "full", "full_like", "geomspace", "identity", "indices", "linspace", "logspace",
    "meshgrid", "one_hot", "ones", "ones_like", "trace", "tri", "tril", "triu", "vander", "zeros",
    "zeros_like",
]  # fmt: skip


def array(x: Any, dtype: npt.DTypeLike | None = None) -> Value:
    """Return an array made of a number, an array, or nested lists of these and of tracers.

    Parameters
    ----------
    x : number, array, tracer, or list or tuple of these
    dtype : dtype, optional

    Raises
    ------
    DtypeError, ShapeError
        If ``x`` holds something else than numbers, or its parts differ in shape.
    """
    if isinstance(x, list | tuple):
        traced = any(isinstance(leaf, Tracer) for leaf in _leaves(x))
        x = stack([array(each) for each in x]) if traced else np.asarray(x)
    x = as_array("array", x)
    if not isinstance(x, Tracer):
        x = x.copy()
    return x if dtype is None else convert(x, check_dtype("array", dtype))


def _leaves(x: Any) -> list[Any]:
    return [leaf for each in x for leaf in _leaves(each)] if isinstance(x, list | tuple) else [x]


def asarray(x: Any, dtype: npt.DTypeLike | None = None) -> Value:
    """Return ``x`` as :func:`array` does, without copying what is an array already."""
    if not (isinstance(x, Tracer) or is_array(x)):
        return array(x, dtype)
    get_aval(x, "asarray")
    return x if dtype is None else convert(as_array("asarray", x), check_dtype("asarray", dtype))


def full(
    shape: int | tuple[int, ...], fill_value: complex, dtype: npt.DTypeLike | None = None
) -> Value:
    """Return an array of ``shape`` that holds one number everywhere.

    Raises
    ------
    OptionError
        If the shape is not made of ints of at least 0, or ``fill_value`` is not a number.
    DtypeError
        If ``dtype`` names no numbers.
    """
    sizes = check_shape("full", shape)
    if isinstance(fill_value, Tracer) or min(sizes, default=0) < 0:
        raise OptionError(
            "full", "a shape of ints of at least 0 and a number are needed",
            given=f"shape={shape!r}, fill_value={fill_value!r}",
            fix="functional.numpy.broadcast_to(x, shape) repeats a traced value",
        )  # fmt: skip
    kind = np.result_type(fill_value) if dtype is None else check_dtype("full", dtype)
    return ops.full(shape=sizes, dtype=kind, fill_value=fill_value)


def zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Value:
    """Return an array of zeros; raises as :func:`full`."""
    return full(shape, 0, dtype)


def ones(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Value:
    """Return an array of ones; raises as :func:`full`."""
    return full(shape, 1, dtype)


empty = zeros  # Memory that was not written has no place where functions are pure.


def full_like(
    x: Value,
    fill_value: complex,
    dtype: npt.DTypeLike | None = None,
    shape: int | tuple[int, ...] | None = None,
) -> Value:
    """Return an array that holds one number, of the shape, dtype and device of ``x``.

    ``dtype`` and ``shape`` take the place of its own.
    """
    x = as_array("full_like", x)
    if shape is not None:
        return full(shape, fill_value, x.dtype if dtype is None else dtype)
    x = x if dtype is None else convert(x, check_dtype("full_like", dtype))
    return _full_like(x, fill_value=fill_value)


def zeros_like(
    x: Value, dtype: npt.DTypeLike | None = None, shape: int | tuple[int, ...] | None = None
) -> Value:
    """Return zeros of the shape, dtype and device of ``x``; see :func:`full_like`."""
    return full_like(x, 0, dtype, shape)


def ones_like(
    x: Value, dtype: npt.DTypeLike | None = None, shape: int | tuple[int, ...] | None = None
) -> Value:
    """Return ones of the shape, dtype and device of ``x``; see :func:`full_like`."""
    return full_like(x, 1, dtype, shape)


empty_like = zeros_like


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: npt.DTypeLike | None = None
) -> Value:
    """Return the numbers from ``start`` (or 0) up to, and without, ``stop``.

    Raises
    ------
    OptionError
        If an end or the step is not a number known while tracing, or the step is 0.
    """
    if stop is None:
        start, stop = 0, start
    given = f"start={start!r}, stop={stop!r}, step={step!r}"
    if any(isinstance(x, Tracer) or np.ndim(x) for x in (start, stop, step)) or not step:
        raise OptionError("arange", "ends and a step other than 0, known while tracing, are needed",
                          given=given)  # fmt: skip
    kind = np.result_type(start, stop, step) if dtype is None else check_dtype("arange", dtype)
    size = max(0, int(np.ceil((stop - start) / step)))
    steps = ops.iota(size=size, dtype=kind)
    if step != 1:
        steps = steps * kind.type(step)
    return steps + kind.type(start) if start else steps


def linspace(
    start: Value,
    stop: Value,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: npt.DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """Return numbers at equal distances from ``start`` to ``stop``.

    Parameters
    ----------
    start, stop : array
        The ends, which broadcast; they may be traced, and gradients reach them.
    num : int
        How many.
    endpoint : bool
        Whether ``stop`` is the last of them, or would be the next.
    retstep : bool
        Whether to return the distance as well.
    dtype : dtype, optional
    axis : int
        Where the numbers run in the result.

    Raises
    ------
    OptionError
        If ``num`` is not an int of at least 0.
    """
    count = _count("linspace", num)
    start, stop = (inexact("linspace", as_array("linspace", each))
                   for each in broadcast_arrays(*promote("linspace", start, stop)))  # fmt: skip
    gaps = count - 1 if endpoint else count
    step = (stop - start) / gaps if gaps > 0 else (stop - start) * np.nan
    steps = reshape(arange(count, dtype=start.dtype), (count, *(1,) * len(start.shape)))
    y = steps * step + start if gaps > 0 else steps * (stop - start) + start
    if endpoint and count > 1:  # Not but for a rounding.
        y = concatenate([part(y, 0, 0, count - 1), stop[None]])
    if dtype is not None:
        y = convert(floor(y) if np.dtype(dtype).kind in "iu" else y, check_dtype("linspace", dtype))
    y = moveaxis(y, 0, axis)
    return (y, step) if retstep else y


def _count(where_: str, num: Any) -> int:
    if isinstance(num, bool) or not isinstance(num, int | np.integer) or num < 0:
        raise OptionError(where_, "how many is an int of at least 0, known while tracing",
                          given=f"num={num!r}")  # fmt: skip
    return int(num)


def logspace(
    start: Value,
    stop: Value,
    num: int = 50,
    endpoint: bool = True,
    base: Value = 10.0,
    dtype: npt.DTypeLike | None = None,
    axis: int = 0,
) -> Value:
    """Return ``base`` to the powers :func:`linspace` gives."""
    y = power(base, linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else convert(y, check_dtype("logspace", dtype))


def geomspace(
    start: Value,
    stop: Value,
    num: int = 50,
    endpoint: bool = True,
    dtype: npt.DTypeLike | None = None,
    axis: int = 0,
) -> Value:
    """Return numbers of equal ratios from ``start`` to ``stop``, both of one sign, not 0.

    The result is float64, as NumPy's is, whatever the ends.
    """
    count = _count("geomspace", num)
    kind = np.result_type(np.float64, *[get_aval(each).dtype for each in (start, stop)])
    start, stop = broadcast_arrays(
        *[convert(as_array("geomspace", e), kind) for e in (start, stop)]
    )
    y = start * exp(linspace(zeros_like(start), log(stop / start), count, endpoint))
    if endpoint and count > 1:
        y = concatenate([part(y, 0, 0, count - 1), stop[None]])
    y = y if dtype is None else convert(y, check_dtype("geomspace", dtype))
    return moveaxis(y, 0, axis)


# Grids


def meshgrid(*xs: Value, indexing: str = "xy", sparse: bool = False) -> tuple[Value, ...]:
    """Return, for vectors of coordinates, an array of each coordinate over their grid.

    Parameters
    ----------
    *xs : array, shape (n,)
    indexing : "xy" or "ij"
        Whether the first two axes of the grid are exchanged, as in an image, or not.
    sparse : bool
        Whether to leave length 1 where a coordinate does not vary.
    """
    if indexing not in ("xy", "ij"):
        raise unknown_name("meshgrid", "indexing", indexing, ("xy", "ij"))
    ndim = len(xs)
    grids = [reshape(x, (-1, *(1,) * (ndim - 1 - i))) for i, x in enumerate(xs)]
    grids = [reshape(g, (*(1,) * (ndim - len(g.shape)), *g.shape)) for g in grids]
    if indexing == "xy" and ndim > 1:
        grids = [swapaxes(grid, 0, 1) for grid in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


def indices(shape: int | Sequence[int], dtype: npt.DTypeLike = np.int64) -> Value:
    """Return the index of every element along each axis, shape (ndim, *shape)."""
    sizes = check_shape("indices", shape)
    grids = meshgrid(*[arange(n, dtype=dtype) for n in sizes], indexing="ij")
    return stack(grids) if grids else zeros((0,), dtype)


def fromfunction(
    f: Callable[..., Value], shape: int | Sequence[int], dtype: npt.DTypeLike = np.float64
) -> Value:
    """Return f of the coordinates of every element, called once with an array an axis."""
    return f(*indices(shape, dtype))


# Diagonals and triangles


def eye(n: int, m: int | None = None, k: int = 0, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return ones on the k-th diagonal, zeros elsewhere, shape (n, n) or (n, m)."""
    return asarray(arange(n)[:, None] + k == arange(n if m is None else m), dtype)


def identity(n: int, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return the identity matrix, shape (n, n)."""
    return eye(n, dtype=dtype)


def tri(n: int, m: int | None = None, k: int = 0, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return ones at and below the k-th diagonal, zeros elsewhere, shape (n, n) or (n, m)."""
    return asarray(arange(n)[:, None] + k >= arange(n if m is None else m), dtype)


def tril(x: Value, k: int = 0) -> Value:
    """Return matrices with zeros above the k-th diagonal.

    Raises
    ------
    ShapeError
        If ``x`` is 0-d.
    """
    return _triangle("tril", x, k, True)


def triu(x: Value, k: int = 0) -> Value:
    """Return matrices with zeros below the k-th diagonal; raises as :func:`tril`."""
    return _triangle("triu", x, k - 1, False)


def _triangle(where_: str, x: Value, k: int, below: bool) -> Value:
    x = as_array(where_, x)
    if not x.shape:
        raise ShapeError(where_, "a number has no diagonal", given=str(get_aval(x)))
    rows, columns = (x.shape * 2)[-2:] if len(x.shape) == 1 else x.shape[-2:]
    mask = tri(rows, columns, k, bool)
    zero = zeros((), x.dtype)
    return where(mask, x, zero) if below else where(mask, zero, x)


def _diagonal_range(rows: int, columns: int, k: int) -> tuple[int, int]:
    """Return where the k-th diagonal begins in a flattened matrix, and how long it is."""
    start = k if k >= 0 else -k * columns
    return start, builtins.max(
        0, builtins.min(rows + builtins.min(k, 0), columns - builtins.max(k, 0))
    )


def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return the diagonal of matrices, which becomes the last axis.

    Parameters
    ----------
    x : array
    offset : int
        Which diagonal: above the main one if positive.
    axis1, axis2 : int
        The axes of the matrices.

    Raises
    ------
    ShapeError, OptionError
        If there are no two such axes.
    """
    x = as_array("diagonal", x)
    axes = check_axes("diagonal", (axis1, axis2), len(x.shape))
    x = moveaxis(x, axes, (-2, -1))
    *batch, rows, columns = x.shape
    start, count = _diagonal_range(rows, columns, offset)
    if not count:
        return zeros((*batch, 0), x.dtype)
    flat = reshape(x, (*batch, rows * columns))  # There the diagonal is a slice.
    return part(flat, len(batch), start, start + (count - 1) * (columns + 1) + 1, columns + 1)


def trace(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return the sum along :func:`diagonal`."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


def diag(x: Value, k: int = 0) -> Value:
    """Return the k-th diagonal of a matrix, or a matrix with a vector on it.

    Raises
    ------
    ShapeError
        If ``x`` has neither one axis nor two.
    """
    x = as_array("diag", x)
    if len(x.shape) not in (1, 2):
        raise ShapeError("diag", "a vector or a matrix is needed", given=str(get_aval(x)))
    return diagonal(x, k) if len(x.shape) == 2 else diagflat(x, k)


def diagflat(x: Value, k: int = 0) -> Value:
    """Return a matrix with the elements of ``x`` on its k-th diagonal."""
    x = ravel(x)
    n = x.size + abs(k)
    if not x.size:
        return zeros((n, n), x.dtype)
    start, count = _diagonal_range(n, n, k)
    index = ((start, start + (count - 1) * (n + 1) + 1, n + 1),)
    return reshape(_pad(x, index=index, shape=(n * n,)), (n, n))


def vander(x: Value, n: int | None = None, increasing: bool = False) -> Value:
    """Return the powers of a vector side by side, shape (len(x), n), the highest first.

    Raises
    ------
    ShapeError
        If ``x`` does not have one axis.
    """
    x = as_array("vander", x)
    if len(x.shape) != 1:
        raise ShapeError("vander", "a vector is needed", given=str(get_aval(x)))
    x = convert(x, np.result_type(x.dtype, np.int64))
    count = x.shape[0] if n is None else _count("vander", n)
    if not count:
        return zeros((x.shape[0], 0), x.dtype)
    powers = [integer_power(x, exponent=k) for k in range(count)]
    return stack(powers if increasing else powers[::-1], 1)


def one_hot(labels: Value, classes: int, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return 1 at each label and 0 elsewhere, shape (*labels.shape, classes)."""
    labels = as_array("one_hot", labels)
    return asarray(labels[..., None] == arange(classes), dtype)
