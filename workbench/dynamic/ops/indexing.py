"""Indexing: reading, writing and adding at any index that NumPy knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import constant, positive, values, where
from workbench.errors import DtypeError, ShapeError

__all__ = [
    "argwhere", "compress", "getitem", "index_add", "index_update", "masked_fill", "nonzero",
    "put_along_axis", "scatter_add", "take", "take_along_axis",
]  # fmt: skip


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

    broadcasts = True
    fresh = True
    expects = "a value that broadcasts to x[index]"

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
    """Return x[index], for ints, slices, Ellipsis, None, integer and boolean arrays.

    On the GPU the number of elements that a boolean array picks is read back, an index that
    lies on the host is copied there, and one out of range wraps around (CuPy does not look).
    """
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


# --- one-liners on the three above -------------------------------------------------------


@contextlib.contextmanager
def _refusing(op: str, x: Any, index: Any) -> Iterator[None]:
    """Turn NumPy's complaint about an index into ours."""
    try:
        yield
    except (IndexError, ValueError) as error:
        if hasattr(error, "problem"):
            raise
        raise ShapeError(op, str(error), given=f"x {x.shape}, index {index!r}") from error


def index_add(x: Any, index: Any, v: Any) -> Any:
    """Return x with v added at x[index], any index; repeated indices accumulate."""
    with _refusing("index_add", x, index):
        return x + Scatter.apply(_like(v, x), clean_index(index), x.shape)


def index_update(x: Any, index: Any, v: Any) -> Any:
    """Return x with v in place of x[index], any index without repetitions."""
    with _refusing("index_update", x, index):
        return SetItem.apply(positive(x), clean_index(index), _like(v, x))


def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """Return x with ``value`` where the mask holds; they broadcast."""
    return where(mask, value, x)


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the slices of x along ``axis`` that integers number; of x flattened by default.

    The axis gives way to those of ``indices``, as in :func:`numpy.take`.
    """
    indices = _integers("take", x, indices)
    if axis is None:
        return getitem(x.reshape(-1), indices)
    with _refusing("take", x, f"axis {axis}"):
        axis = normalize_axis_index(axis, x.ndim)
    if not axis:
        return getitem(x, indices)
    # Taken along the first axis, so that the gradient is the fast sum of rows.
    rows = getitem(x.transpose((axis, *range(axis), *range(axis + 1, x.ndim))), indices)
    k = indices.ndim
    return rows.transpose((*range(k, k + axis), *range(k), *range(k + axis, rows.ndim)))


def compress(condition: Any, x: Any, axis: int | None = None) -> Any:
    """Return the slices of x along ``axis`` (by default of x flattened) where it holds.

    Their number is read back from the GPU.
    """
    return take(x, np.flatnonzero(values(condition)), axis)


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """Return from each 1-d slice of x along ``axis`` the elements that its indices number.

    Also known as gather.  The other axes of x and of ``indices`` broadcast.
    """
    return GetItem.apply(x.reshape(-1), _along("take_along_axis", x, indices, axis))


def put_along_axis(x: Any, indices: Any, v: Any, axis: int | None) -> Any:
    """Return x with v in place of what :func:`take_along_axis` would take; x is left as it is."""
    at = _along("put_along_axis", x, indices, axis)
    return index_update(x.reshape(-1), at, v).reshape(x.shape)


def scatter_add(x: Any, indices: Any, v: Any, axis: int | None) -> Any:
    """Return x with v added to what :func:`take_along_axis` would take; repetitions add up."""
    at = _along("scatter_add", x, indices, axis)
    return index_add(x.reshape(-1), at, v).reshape(x.shape)


nonzero = constant("nonzero", "indices: they do not change when x changes a little")
argwhere = constant("argwhere", "indices: they do not change when x changes a little")


def _along(op: str, x: Any, indices: Any, axis: int | None) -> Any:
    """Return the positions in x, flattened, of the entries of ``indices`` along ``axis``."""
    indices = _integers(op, x, indices)
    positions = arrays.namespace(values(x)).arange(x.size).reshape(x.shape)
    with _refusing(op, x, f"{indices.shape} along axis {axis}"):
        return np.take_along_axis(positions, indices, axis)


def _integers(op: str, x: Any, indices: Any) -> Any:
    """Return indices as an array of integers beside x."""
    indices = arrays.namespace(values(x)).asarray(values(indices))
    if indices.dtype.kind not in "iu" and indices.size:
        raise DtypeError(op, "indices are integers", given=f"an array of {indices.dtype}")
    return indices if indices.size else indices.astype(int)


def _like(v: Any, x: Any) -> Any:
    """Return v as it is if it is an array or tensor, and numbers as an array beside x."""
    return v if hasattr(v, "dtype") else arrays.namespace(values(x)).asarray(v, x.dtype)
