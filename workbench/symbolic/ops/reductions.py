"""Ops that make one element of many: sums, means, extremes."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import ShapeError
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
from workbench.symbolic.ops.elementwise import equal, exp
from workbench.symbolic.ops.shaping import (
    broadcast_to,
    cast,
    expand_dims,
    normal_axes,
    shape_of,
)
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


@dataclass(frozen=True)
class Sum(Reduction):
    name = "sum"

    def infer(self, *inputs: Variable) -> Type:
        dtype = inputs[0].dtype
        if dtype.kind != "f":  # NumPy adds up small integers and bools as wide ones.
            dtype = np.result_type(dtype, np.uint64 if dtype.kind == "u" else np.int64)
        return Type(dtype, self.reduced(inputs[0]))

    def compute(self, *inputs: Array) -> Array:
        return self.reduce(inputs[0], "sum")

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
        if any(inputs[0].shape[a] == 0 for a in self.axis):
            raise ShapeError(self.name, "no elements have no extreme", given=sides(x=inputs[0]))
        return super().infer(*inputs)

    def compute(self, *inputs: Array) -> Array:
        return self.reduce(inputs[0], self.name)

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
class ArgMax(NoGradient):
    axis: int | None
    name = "argmax"
    no_gradient = "a position is an integer: it does not change smoothly"

    def infer(self, *inputs: Variable) -> Type:
        (x,) = inputs
        shape = () if self.axis is None else x.shape[: self.axis] + x.shape[self.axis + 1 :]
        return Type(np.dtype(np.int64), shape)

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].argmax(axis=self.axis)


def argmax(x: Operand, axis: int | None = None) -> Variable:
    """Return the position of the (first) largest element along ``axis``, or of all, flattened.

    Notes
    -----
    No gradient: a position is an integer.
    """
    x = operand("argmax", x)
    return apply(ArgMax(None if axis is None else normal_axes("argmax", x, axis)[0]), x)


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


def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return ``log(sum(exp(x)))`` over ``axis`` (all axes where None), without overflow."""
    x = operand("logsumexp", x, dtype="f")
    return apply(LogSumExp(normal_axes("logsumexp", x, axis), bool(keepdims)), x)
