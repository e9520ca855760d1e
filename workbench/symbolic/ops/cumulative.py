"""Running sums and products; and the product of all, whose gradient needs them."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.symbolic.graph import (
    Axis,
    Gradients,
    Inputs,
    Op,
    Operand,
    Type,
    Variable,
    apply,
)
from workbench.symbolic.ops.arranging import flip, moveaxis
from workbench.symbolic.ops.creation import arange
from workbench.symbolic.ops.elementwise import greater_equal, not_equal, where
from workbench.symbolic.ops.joining import along
from workbench.symbolic.ops.reductions import Sum, sum, wide
from workbench.symbolic.ops.shaping import expand_dims, ones_like, reshape
from workbench.symbolic.ops.sizes import normal_axes, size_of
from workbench.symbolic.values import operand


@dataclass(frozen=True)
class CumSum(Op):
    axis: int
    name = "cumsum"

    def infer(self, *inputs: Variable) -> Type:
        return Type(wide(inputs[0].dtype), inputs[0].shape)

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].cumsum(axis=self.axis)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (flip(apply(self, flip(g, self.axis)), self.axis),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.cumsum(b.convert(inputs[0], wide(inputs[0].dtype)), self.axis)


@dataclass(frozen=True)
class CumProd(CumSum):
    name = "cumprod"

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].cumprod(axis=self.axis)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        places = arange(size_of(inputs[0], self.axis))
        factors = greater_equal(expand_dims(places, 1), places)
        return (_through_products(inputs[0], self.axis, factors, g),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.call("cumprod", b.convert(inputs[0], wide(inputs[0].dtype)), axis=self.axis)


def _through_products(x: Variable, axis: int, factors: Variable, g: Variable) -> Variable:
    """Return the gradient of products, the j-th of the ``x[i]`` with ``factors[j, i]``.

    Without a division, which zeros would spoil: d/dx[i] of a product is that of the others.
    """
    x, g = moveaxis(x, axis, -1), moveaxis(g, axis, -1)
    rows = where(factors, expand_dims(x, -2), 1)
    slopes = where(factors, apply(ProductOfOthers(rows.ndim - 1), rows), 0)
    return moveaxis(sum(expand_dims(g, -1) * slopes, -2), -1, axis)


@dataclass(frozen=True)
class ProductOfOthers(Op):
    """For each element, the product of the others along ``axis``; right where some are 0."""

    axis: int
    name = "product_of_others"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        x = np.moveaxis(inputs[0], self.axis, 0)
        before, after = np.ones_like(x), np.ones_like(x)
        before[1:] = x[:-1].cumprod(axis=0)
        after[:-1] = x[:0:-1].cumprod(axis=0)[::-1]
        return np.moveaxis(before * after, 0, self.axis)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        places = arange(size_of(inputs[0], self.axis))
        factors = not_equal(expand_dims(places, 1), places)
        return (_through_products(inputs[0], self.axis, factors, g),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        (x,) = inputs
        if not x.size:
            return x
        return b.multiply(self._running(b, x, False), self._running(b, x, True))

    def _running(self, b: Builder, x: Value, backwards: bool) -> Value:
        """Return, for each element, the product of those before it (after it)."""
        start, size, step, low, none = (
            [0] * x.ndim,
            [*x.shape],
            [1] * x.ndim,
            [0] * x.ndim,
            [0] * x.ndim,
        )
        size[self.axis] -= 1
        if backwards:
            start[self.axis], step[self.axis] = x.shape[self.axis] - 1, -1
        low[self.axis] = 1
        if not size[self.axis]:
            return b.broadcast(b.constant(1, x.dtype), x.shape)
        products = b.call("cumprod", b.slice(x, start, size, step), axis=self.axis)
        products = b.pad(products, low, none, fill=1)
        return b.slice(products, start, x.shape, step) if backwards else products


@dataclass(frozen=True)
class Prod(Sum):
    name = "prod"

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (self.kept(g) * _others(inputs[0], self.axis),)


def _others(x: Variable, axes: tuple[int, ...]) -> Variable:
    """Return, for each element, the product of all others over several axes."""
    if not axes:
        return ones_like(x)
    first = apply(ProductOfOthers(axes[0]), x)
    if len(axes) == 1:
        return first
    return first * _others(prod(x, axes[0], keepdims=True), axes[1:])


def prod(x: Operand, axis: Axis = None, keepdims: bool = False) -> Variable:
    """Return the product of ``x`` over ``axis`` (all axes where None), as ``numpy.prod``."""
    x = operand("prod", x)
    return apply(Prod(normal_axes("prod", x, axis), bool(keepdims)), x)


def _flat(x: Variable, axis: int | None) -> tuple[Variable, int]:
    if axis is None:
        return reshape(x, -1), 0
    return x, normal_axes("cumulative", x, axis)[0]


def cumsum(x: Operand, axis: int | None = None) -> Variable:
    """Return running sums along ``axis``, or of the flattened array, as ``numpy.cumsum``."""
    x, axis = _flat(operand("cumsum", x), axis)
    return apply(CumSum(axis), x)


def cumprod(x: Operand, axis: int | None = None) -> Variable:
    """Return running products along ``axis``, or of the flattened array, as ``numpy.cumprod``."""
    x, axis = _flat(operand("cumprod", x), axis)
    return apply(CumProd(axis), x)


def diff(x: Operand, n: int = 1, axis: int = -1) -> Variable:
    """Return the differences of neighbours along ``axis``, taken ``n`` times."""
    x = operand("diff", x, ndim=1)
    (axis,) = normal_axes("diff", x, axis)
    for _ in range(n):
        x = along(axis, slice(1, None), x) - along(axis, slice(None, -1), x)
    return x
