"""Order and places: sorting, taking and putting elements by their positions along an axis."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import ShapeError
from workbench.symbolic.graph import (
    Axis,
    NoGradient,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.arranging import moveaxis, product, sizes_of
from workbench.symbolic.ops.creation import arange
from workbench.symbolic.ops.elementwise import equal, where
from workbench.symbolic.ops.indexing import index_add, index_update
from workbench.symbolic.ops.joining import along
from workbench.symbolic.ops.shaping import cast, expand_dims, reshape
from workbench.symbolic.ops.sizes import normal_axes, size_of
from workbench.symbolic.ops.special import floor_divide, isnan
from workbench.symbolic.values import operand


@dataclass(frozen=True)
class ArgSort(NoGradient):
    axis: int
    name = "argsort"
    no_gradient = "an order is made of integers: it does not change smoothly"

    def infer(self, *inputs: Variable) -> Type:
        return Type(np.dtype(np.int64), inputs[0].shape)

    def compute(self, *inputs: Array) -> Array:
        return np.argsort(inputs[0], axis=self.axis, kind="stable")

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.call("argsort", inputs[0], axis=self.axis)


def _flat(where: str, x: Operand, axis: int | None) -> tuple[Variable, int]:
    x = operand(where, x)
    if axis is None:
        return reshape(x, -1), 0
    return x, normal_axes(where, x, axis)[0]


def argsort(x: Operand, axis: int | None = -1) -> Variable:
    """Return where the elements come from that ``sort`` puts in order; ties stay in order.

    Notes
    -----
    No gradient: an order is made of integers.
    """
    x, axis = _flat("argsort", x, axis)
    return apply(ArgSort(axis), x)


def sort(x: Operand, axis: int | None = -1) -> Variable:
    """Return ``x`` in ascending order along ``axis``, or flattened where it is None."""
    x, axis = _flat("sort", x, axis)
    return take_along_axis(x, argsort(x, axis), axis)


def topk(x: Operand, k: int, axis: int = -1) -> tuple[Variable, Variable]:
    """Return the ``k`` largest elements along ``axis``, in descending order, and where they are."""
    x, axis = _flat("topk", x, axis)
    first = along(axis, slice(0, k), argsort(-x, axis))
    return take_along_axis(x, first, axis), first


def median(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the middle of the sorted elements over ``axis``, or the mean of the two middle ones.

    It is NaN where an element is, as NumPy's.
    """
    x = operand("median", x)
    axes = normal_axes("median", x, axis)
    moved = moveaxis(x, axes, tuple(range(x.ndim - len(axes), x.ndim)))
    sizes = sizes_of(moved)
    n = product(sizes[x.ndim - len(axes) :])
    ordered = sort(reshape(moved, (*sizes[: x.ndim - len(axes)], n)))
    halve: Any = operator.floordiv if isinstance(n, int) else floor_divide
    middle = ordered[..., halve(n, 2)]
    if isinstance(n, int) and n % 2:  # noqa: SIM108  # Each has its reason beside it.
        y = middle / 1  # Of a floating dtype, and without a sum that might overflow.
    else:
        y = (ordered[..., halve(n - 1, 2)] + middle) / 2
    y = where(isnan(ordered[..., -1]), np.nan, y)  # NaN is sorted to the end.
    return expand_dims(y, axes) if keepdims else y


# --- by positions --------------------------------------------------------------------------


def take(x: Operand, indices: Operand, axis: int | None = None) -> Variable:
    """Return the elements, or slices along ``axis``, of ``x`` at these positions."""
    x, axis = _flat("take", x, axis)
    return along(axis, _positions("take", indices), x)


def _positions(where: str, indices: Any) -> Variable:
    if isinstance(indices, list) and not indices:
        indices = np.zeros(0, np.int64)  # NumPy's array([]) holds floats.
    return operand(where, indices, "indices", dtype="iu")


def _grid(where: str, x: Variable, indices: Any, axis: int) -> tuple[Variable, ...]:
    """Return an index that runs with ``indices`` along ``axis``, and straight along the others."""
    indices = _positions(where, indices)
    if indices.ndim != x.ndim:
        raise ShapeError(where, "indices does not have the axes of x",
                         given=sides(x=x, indices=indices))  # fmt: skip
    return tuple(
        indices if a == axis else reshape(arange(size_of(x, a)), [-1 if c == a else 1 for c in range(x.ndim)])
        for a in range(x.ndim)
    )  # fmt: skip


def take_along_axis(x: Operand, indices: Operand, axis: int | None = -1) -> Variable:
    """Return, along ``axis``, the elements of ``x`` at positions of their own for every row.

    Parameters
    ----------
    x : array_like or Variable
    indices : integer array_like or Variable
        With the axes of x; the others than ``axis`` broadcast.
    axis : int or None
        None takes from the flattened array.
    """
    x, axis = _flat("take_along_axis", x, axis)
    return x[_grid("take_along_axis", x, indices, axis)]


def put_along_axis(x: Operand, indices: Operand, v: Operand, axis: int | None) -> Variable:
    """Return ``x`` with ``v`` put where :func:`take_along_axis` would take."""
    x, axis = _flat("put_along_axis", x, axis)
    return index_update(x, _grid("put_along_axis", x, indices, axis), v)


def scatter_add(x: Operand, indices: Operand, v: Operand, axis: int | None) -> Variable:
    """Return ``x`` with ``v`` added where :func:`take_along_axis` would take."""
    x, axis = _flat("scatter_add", x, axis)
    return index_add(x, _grid("scatter_add", x, indices, axis), v)


def one_hot(
    labels: Operand, classes: int | Variable, dtype: npt.DTypeLike = np.float64
) -> Variable:
    """Return zeros with a one at each label, along a new last axis; no ones for labels outside.

    Parameters
    ----------
    labels : integer array_like or Variable
    classes : int or integer scalar Variable
    dtype : dtype
    """
    labels = operand("one_hot", labels, "labels", dtype="iu")
    return cast(equal(expand_dims(labels, -1), arange(classes)), dtype)


def embedding(x: Operand, w: Operand) -> Variable:
    """Return the rows of ``w`` at the integers ``x``: shape x.shape + w.shape[1:]."""
    return operand("embedding", w, "w", ndim=1)[operand("embedding", x, dtype="iu")]
