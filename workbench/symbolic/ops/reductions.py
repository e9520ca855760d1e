"""Ops that make one element of many: sums, means, extremes."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import (
    Axis,
    Gradients,
    Inputs,
    NoGradient,
    Op,
    Operand,
    Shape,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.elementwise import (
    absolute,
    equal,
    exp,
    not_equal,
    power,
    sqrt,
    square,
)
from workbench.symbolic.ops.shaping import broadcast_to, cast, expand_dims, squeeze
from workbench.symbolic.ops.sizes import known_sizes, normal_axes, shape_of
from workbench.symbolic.values import as_constant, operand


@dataclass(frozen=True)
class Reduction(Op):
    """An op over ``axis``; its result keeps those axes, of size 1, if ``keepdims``."""

    axis: tuple[int, ...]
    keepdims: bool

    def reduced(self, x: Variable) -> Shape:
        """Return the shape that is left of ``x``."""
        return tuple(
            1 if a in self.axis else n
            for a, n in enumerate(x.shape)
            if self.keepdims or a not in self.axis
        )

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, self.reduced(inputs[0]))

    def compute(self, *inputs: Array) -> Array:
        return self.reduce(inputs[0], self.name)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.reduce(self.name, inputs[0], self.axis, self.keepdims)

    def reduce(self, x: Array, name: str) -> Array:
        """Return what the array's method of this name makes of it."""
        if x.size < 4096 or not isinstance(x, np.ndarray) or not self._short_and_inner(x):
            return getattr(x, name)(axis=self.axis, keepdims=self.keepdims)
        # Whole rows are reduced into one another some ten times faster than many short
        # rows are each to a number: lay the windows of a pooling out that way first.
        rest = (a for a in range(x.ndim) if a not in self.axis)
        rows = np.ascontiguousarray(x.transpose(*self.axis, *rest))
        y = getattr(rows, name)(axis=tuple(range(len(self.axis))))
        return np.expand_dims(y, self.axis) if self.keepdims else y

    def _short_and_inner(self, x: Array) -> bool:
        inner = self.axis == tuple(range(x.ndim - len(self.axis), x.ndim))
        return inner and 1 < math.prod(x.shape[a] for a in self.axis) <= 16

    def kept(self, y: Variable) -> Variable:
        """Return a result, or its gradient, with the reduced axes put back."""
        return y if self.keepdims or not self.axis else expand_dims(y, self.axis)


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a sum: NumPy adds up small integers and bools as wide ones."""
    if dtype.kind == "f":
        return dtype
    return np.result_type(dtype, np.uint64 if dtype.kind == "u" else np.int64)


@dataclass(frozen=True)
class Sum(Reduction):
    name = "sum"

    def infer(self, *inputs: Variable) -> Type:
        return Type(wide(inputs[0].dtype), self.reduced(inputs[0]))

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return super().lower(b, b.convert(inputs[0], wide(inputs[0].dtype)))

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (broadcast_to(self.kept(g), shape_of(inputs[0])),)


def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the sum of ``x`` over ``axis`` (all axes where None), as ``numpy.sum``."""
    x = operand("sum", x)
    return apply(Sum(normal_axes("sum", x, axis), bool(keepdims)), x)


@dataclass(frozen=True)
class Count(NoGradient):
    """The number of elements along ``axis`` of an array of this shape, as a number to divide by."""

    axis: tuple[int, ...]
    dtype: np.dtype[Any]
    name = "count"
    no_gradient = "a number of elements does not change with the values"

    def infer(self, *inputs: Variable) -> Type:
        return Type(self.dtype, ())

    def compute(self, *inputs: Array) -> Array:
        sizes = inputs[0].tolist()
        return self.dtype.type(math.prod(sizes[a] for a in self.axis))

    def lower(self, b: Builder, *inputs: Value) -> Value:
        sizes = known_sizes(b, inputs[0], 0)
        return b.constant(math.prod(sizes[a] for a in self.axis), self.dtype)


def count(x: Variable, axes: tuple[int, ...]) -> Variable:
    """Return the number of elements of ``x`` along ``axes``: a constant if it is known."""
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    sizes = [x.shape[a] for a in axes]
    if None in sizes:
        return apply(Count(axes, dtype), shape_of(x))
    return as_constant(math.prod(n for n in sizes if n is not None), "count", dtype=dtype)


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the mean of ``x`` over ``axis`` (all axes where None), as ``numpy.mean``.

    The number of elements is counted when the graph runs if it is not known before.
    """
    x = operand("mean", x)
    axes = normal_axes("mean", x, axis)
    return sum(x, axes, keepdims) / count(x, axes)


@dataclass(frozen=True)
class Extreme(Reduction):
    """The largest or smallest element; elements that tie share the gradient equally."""

    name: str  # "max" or "min": also the method that computes it.

    def infer(self, *inputs: Variable) -> Type:
        if 0 in [inputs[0].shape[a] for a in self.axis]:
            raise ShapeError(self.name, "no elements have no extreme", given=sides(x=inputs[0]))
        return super().infer(*inputs)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        winners = cast(equal(inputs[0], self.kept(output)), g.dtype)
        return (winners * (self.kept(g) / sum(winners, self.axis, keepdims=True)),)


def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the largest element of ``x`` over ``axis``; ties share the gradient equally."""
    x = operand("max", x)
    return apply(Extreme(normal_axes("max", x, axis), bool(keepdims), "max"), x)


def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the smallest element of ``x`` over ``axis``; ties share the gradient equally."""
    x = operand("min", x)
    return apply(Extreme(normal_axes("min", x, axis), bool(keepdims), "min"), x)


@dataclass(frozen=True)
class Truth(Reduction, NoGradient):
    """Whether any, or all, elements differ from 0."""

    name: str  # "any" or "all": also the method that computes it.
    no_gradient = "a truth value does not change smoothly"

    def infer(self, *inputs: Variable) -> Type:
        return Type(np.dtype(bool), self.reduced(inputs[0]))

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return super().lower(b, b.convert(inputs[0], bool))


def any(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return whether some element of ``x`` over ``axis`` is not 0; it has no gradient."""
    x = operand("any", x)
    return apply(Truth(normal_axes("any", x, axis), bool(keepdims), "any"), x)


def all(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return whether no element of ``x`` over ``axis`` is 0; it has no gradient."""
    x = operand("all", x)
    return apply(Truth(normal_axes("all", x, axis), bool(keepdims), "all"), x)


def count_nonzero(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return how many elements of ``x`` over ``axis`` are not 0."""
    return sum(not_equal(x, 0), axis, keepdims)


@dataclass(frozen=True)
class ArgExtreme(NoGradient):
    axis: int | None
    name: str  # "argmax" or "argmin": also the method that computes it.
    no_gradient = "a position is an integer: it does not change smoothly"

    def infer(self, *inputs: Variable) -> Type:
        (x,) = inputs
        if 0 in (x.shape if self.axis is None else (x.shape[self.axis],)):
            raise ShapeError(self.name, "no elements have no extreme", given=sides(x=x))
        shape = () if self.axis is None else x.shape[: self.axis] + x.shape[self.axis + 1 :]
        return Type(np.dtype(np.int64), shape)

    def compute(self, *inputs: Array) -> Array:
        return getattr(inputs[0], self.name)(axis=self.axis)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x = b.reshape(inputs[0], (inputs[0].size,)) if self.axis is None else inputs[0]
        return b.emit(self.name, x, axis=self.axis or 0)


def _position(name: str, x: Operand, axis: int | None) -> Variable:
    x = operand(name, x)
    return apply(ArgExtreme(None if axis is None else normal_axes(name, x, axis)[0], name), x)


def argmax(x: Operand, axis: int | None = None) -> Variable:
    """Return the position of the (first) largest element along ``axis``, or of all, flattened.

    Notes
    -----
    No gradient: a position is an integer.
    """
    return _position("argmax", x, axis)


def argmin(x: Operand, axis: int | None = None) -> Variable:
    """Return the position of the (first) smallest element along ``axis``, or of all, flattened.

    Notes
    -----
    No gradient: a position is an integer.
    """
    return _position("argmin", x, axis)


@dataclass(frozen=True)
class LogSumExp(Reduction):
    name = "logsumexp"

    def compute(self, *inputs: Array) -> Array:
        (x,) = inputs
        top = x.max(axis=self.axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)  # Lest inf - inf make a NaN.
        y = np.log(np.exp(x - top).sum(axis=self.axis, keepdims=True)) + top
        return y if self.keepdims else y.squeeze(self.axis)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (self.kept(g) * exp(inputs[0] - self.kept(output)),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        (x,) = inputs
        top = b.max(x, self.axis, keepdims=True)
        zero = b.constant(0, x.dtype)
        top = b.select(b.bitwise_or(b.isnan(top), b.isinf(top)), zero, top)
        y = b.add(b.log(b.sum(b.exp(b.subtract(x, top)), self.axis, keepdims=True)), top)
        return y if self.keepdims else b.reshape(y, [n for a, n in enumerate(y.shape)
                                                     if a not in self.axis])  # fmt: skip


def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return ``log(sum(exp(x)))`` over ``axis`` (all axes where None), without overflow."""
    x = operand("logsumexp", x, dtype="f")
    return apply(LogSumExp(normal_axes("logsumexp", x, axis), bool(keepdims)), x)


# --- composed of these ---------------------------------------------------------------------


def var(x: Operand, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Variable:
    """Return the mean square distance from the mean, over ``axis``, dividing by n - ``ddof``."""
    x = operand("var", x)
    axes = normal_axes("var", x, axis)
    return sum(square(x - mean(x, axes, keepdims=True)), axes, keepdims) / (count(x, axes) - ddof)


def std(x: Operand, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Variable:
    """Return the square root of the variance over ``axis``: see :func:`var`."""
    return sqrt(var(x, axis, ddof, keepdims))


def ptp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the distance from the smallest to the largest element over ``axis``."""
    return max(x, axis, keepdims) - min(x, axis, keepdims)


def norm(
    x: Operand, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Variable:
    """Return the length of vectors, or the norm of matrices, as ``numpy.linalg.norm``.

    Parameters
    ----------
    x : array_like or Variable
    ord : number, "fro" or None
        Of a vector: any number; of a matrix: None or "fro" (the root of the sum of squares),
        1, -1, inf or -inf (sums along an axis, of which the largest or smallest).
    axis : int, pair of ints, or None
        One axis makes vectors, two make matrices; None takes all of x.

    Raises
    ------
    OptionError
        For an order that is not one of these.

    Notes
    -----
    The derivative at 0 is not defined, and NaN; ``sqrt(sum(x * x) + eps)`` has one.
    """
    x = operand("norm", x, dtype="f")
    axes = normal_axes("norm", x, axis)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return sqrt(sum(square(x), axes, keepdims))
    if len(axes) == 1 and isinstance(ord, int | float):
        size = absolute(x)
        if ord in (math.inf, -math.inf):
            return (max if ord > 0 else min)(size, axes, keepdims)
        if ord == 0:
            return cast(sum(not_equal(x, 0), axes, keepdims), x.dtype)
        if ord == 1:
            return sum(size, axes, keepdims)
        return power(sum(power(size, ord), axes, keepdims), 1 / ord)
    if len(axes) == 2 and ord in (1, -1, math.inf, -math.inf):
        rows, columns = axes if axis is None else (a % x.ndim for a in axis)  # type: ignore[union-attr]
        summed, left = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = sum(absolute(x), summed, keepdims=True)
        y = (max if ord > 0 else min)(sums, left, keepdims=True)
        return y if keepdims else squeeze(y, axes)
    raise OptionError("norm", "there is no such norm here", given=f"ord={ord!r}, {sides(x=x)}",
                      expected="a number for vectors; None, 'fro', 1, -1, inf or -inf for "
                      "matrices")  # fmt: skip
