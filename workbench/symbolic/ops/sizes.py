"""Shapes as expressions.

Where a size is known only at run time, a shape is itself an expression: the vector that
``shape_of`` makes, or one of computed sizes.  A compiled function knows every size, and
there this arithmetic is gone.
"""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic.graph import (
    Axis,
    Constant,
    NoGradient,
    NotKnown,
    Operand,
    Shape,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.values import as_constant, operand


@dataclass(frozen=True)
class ShapeOf(NoGradient):
    name = "shape_of"
    shape_only = True
    no_gradient = "a shape does not change with the values"

    def infer(self, *inputs: Variable) -> Type:
        return Type(np.dtype(np.int64), (inputs[0].ndim,))

    def compute(self, *inputs: Array) -> Array:
        return np.array(inputs[0].shape, np.int64)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.constant(inputs[0].shape, np.int64)


def shape_of(x: Operand) -> Variable:
    """Return the shape of ``x`` as an int64 vector: a constant if it is wholly known."""
    x = operand("shape_of", x)
    if None in x.shape:
        return apply(ShapeOf(), x)
    return as_constant(x.shape, "shape_of", dtype=np.int64)


def size_of(x: Variable, axis: int) -> int | Variable:
    """Return the size of ``x`` along an axis: an int if it is known, else an expression."""
    n = x.shape[axis]
    return shape_of(x)[axis] if n is None else n


@dataclass(frozen=True)
class ShapeVector(NoGradient):
    """Sizes, some of them computed, as one vector."""

    name = "shape_vector"
    no_gradient = "sizes are integers"

    def infer(self, *inputs: Variable) -> Type:
        return Type(np.dtype(np.int64), (len(inputs),))

    def compute(self, *inputs: Array) -> Array:
        return np.array([int(n) for n in inputs], np.int64)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.concatenate([b.reshape(b.convert(n, np.int64), (1,)) for n in inputs], 0)


ShapeOperand: TypeAlias = Sequence[int | Variable] | int | Variable
"""A shape as an op takes it: ints, integer scalars, or an integer vector."""


def shape_operand(where: str, shape: ShapeOperand, least: int = 0) -> Variable:
    """Return a shape given as sizes, or as an int vector of known length, as a variable."""
    if isinstance(shape, tuple | list) and any(isinstance(n, Variable) for n in shape):
        sizes = [operand(where, n, "shape", dtype="iu") for n in shape]
        if any(n.ndim for n in sizes):
            raise ShapeError(where, "a size is not one integer",
                             given=sides(**{f"shape[{i}]": n for i, n in enumerate(sizes)}))  # fmt: skip
        return apply(ShapeVector(), *sizes)
    if isinstance(shape, Variable) and not shape.ndim:
        return shape_operand(where, (shape,), least)
    if isinstance(shape, Variable):
        if shape.dtype.kind not in "iu" or shape.ndim != 1 or shape.shape[0] is None:
            raise DtypeError(where, "shape is not a vector of integers with a known length",
                             given=sides(shape=shape), fix="ops.shape_of(x) makes one")  # fmt: skip
        return shape
    try:
        given = [operator.index(n) for n in ((shape,) if isinstance(shape, int) else shape)]
    except TypeError:
        given = [least - 1]
    if any(n < least for n in given) or given.count(-1) > 1:
        at_most_one = ", at most one -1" if least < 0 else ""
        raise OptionError(where, "this is not a shape to ask for", given=f"shape={shape!r}",
                          expected=f"ints of at least {least}{at_most_one}",
                          fix="ops.shape_of(x) gives the shape of x at run time")  # fmt: skip
    return as_constant(given, where, dtype=np.int64)


def static_shape(shape: Variable) -> Shape:
    """Return what is known now of the sizes that a shape operand will hold."""
    if isinstance(shape, Constant):
        return tuple(shape.data.tolist())
    if shape.owner is not None and isinstance(shape.owner.op, ShapeOf):
        return shape.owner.inputs[0].shape
    if shape.owner is not None and isinstance(shape.owner.op, ShapeVector):
        return tuple(int(n.data) if isinstance(n, Constant) else None for n in shape.owner.inputs)
    return (None,) * (shape.shape[0] or 0)


def known_sizes(b: Builder, shape: Value, number: int = 1) -> list[int]:
    """Return the sizes that a lowered shape holds; it is operand ``number`` of its op."""
    sizes = b.known(shape)
    if sizes is None:
        raise NotKnown(number)
    return [int(n) for n in sizes]


def normal_axes(where: str, x: Variable, axis: Axis, ndim: int | None = None) -> tuple[int, ...]:
    """Return ``axis`` as a sorted tuple of distinct axes, each in ``range(ndim)``; None is all."""
    ndim = x.ndim if ndim is None else ndim
    if axis is None:
        return tuple(range(ndim))
    try:
        given = [operator.index(a) for a in (axis if isinstance(axis, tuple | list) else (axis,))]
    except (TypeError, GraphError):
        given = [ndim]
    axes = sorted({a % ndim for a in given if -ndim <= a < ndim})
    if len(axes) != len(given):
        raise OptionError(where, "axis is not usable", given=f"axis={axis!r}, {sides(x=x)}",
                          expected=f"distinct ints from {-ndim} to {ndim - 1}")  # fmt: skip
    return tuple(axes)
