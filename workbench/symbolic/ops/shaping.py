"""Ops that move elements, copy them, or add copies up again, and change none.

Gradients reach for the shape of an input as an expression: they are right for any batch.
"""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
from workbench.symbolic.ops.sizes import (
    ShapeOf as ShapeOf,
)
from workbench.symbolic.ops.sizes import (
    ShapeOperand,
    known_sizes,
    normal_axes,
    shape_of,
    shape_operand,
    static_shape,
)
from workbench.symbolic.values import check_dtype, operand

# --- reshape, transpose, axes of one -------------------------------------------------------


@dataclass(frozen=True)
class Reshape(Op):
    name = "reshape"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        x, shape = inputs
        sizes = static_shape(shape)
        known = [n for n in x.shape if n is not None]
        have = int(np.prod(known, dtype=int))
        want = int(np.prod([n for n in sizes if n != -1 and n is not None], dtype=int))
        if len(known) == x.ndim and None not in sizes:
            if -1 in sizes and want and have % want == 0:
                sizes = tuple(have // want if n == -1 else n for n in sizes)
            elif -1 in sizes or have != want:
                raise _unreshapable(x, sizes, f"the {have} elements of x")
        elif -1 not in sizes and None not in sizes and (want % have if have else want):
            raise _unreshapable(x, sizes, f"a multiple of {have} elements")
        return Type(x.dtype, tuple(None if n == -1 else n for n in sizes))

    def compute(self, *inputs: Array) -> Array:
        x, shape = inputs
        return x.reshape(shape.tolist())

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return reshape(g, shape_of(inputs[0])), None

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x, sizes = inputs[0], known_sizes(b, inputs[1])
        if -1 in sizes:
            rest = max(-math.prod(sizes), 1)
            sizes[sizes.index(-1)] = x.size // rest
        return b.reshape(x, sizes)


def _unreshapable(x: Variable, sizes: Shape, what: str) -> ShapeError:
    return ShapeError("reshape", f"the shape asked for does not hold {what}",
                      given=f"shape {sizes}\n{' ' * 12}{sides(x=x)}")  # fmt: skip


def reshape(x: Operand, shape: ShapeOperand) -> Variable:
    """Return the elements of ``x``, in row-major order, in another shape.

    Parameters
    ----------
    x : array_like or Variable
    shape : ints, integer scalars, or an integer vector
        One size may be -1: whatever is left.

    Raises
    ------
    ShapeError
        If the numbers of elements can never agree.
    """
    return apply(Reshape(), operand("reshape", x), shape_operand("reshape", shape, -1))


@dataclass(frozen=True)
class Transpose(Op):
    axes: tuple[int, ...]
    name = "transpose"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, tuple(inputs[0].shape[a] for a in self.axes))

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].transpose(self.axes)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (transpose(g, np.argsort(self.axes).tolist()),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.transpose(inputs[0], self.axes)


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Variable:
    """Return ``x`` with its axes in the order ``axes``; reversed where None."""
    x = operand("transpose", x)
    if axes is None:
        return apply(Transpose(tuple(reversed(range(x.ndim)))), x)
    if len(normal_axes("transpose", x, axes)) != x.ndim:
        raise OptionError("transpose", "axes does not name every axis once",
                          given=f"axes={axes!r}, {sides(x=x)}")  # fmt: skip
    return apply(Transpose(tuple(int(a) % x.ndim for a in axes)), x)


@dataclass(frozen=True)
class ExpandDims(Op):
    axes: tuple[int, ...]
    name = "expand_dims"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        shape = list(inputs[0].shape)
        for a in self.axes:
            shape.insert(a, 1)
        return Type(inputs[0].dtype, tuple(shape))

    def compute(self, *inputs: Array) -> Array:
        return np.expand_dims(inputs[0], self.axes)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (apply(Squeeze(self.axes), g),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        shape = list(inputs[0].shape)
        for a in self.axes:
            shape.insert(a, 1)
        return b.reshape(inputs[0], shape)


def expand_dims(x: Operand, axis: int | Sequence[int]) -> Variable:
    """Return ``x`` with new axes of size 1, which become ``axis`` of the result."""
    x = operand("expand_dims", x)
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple | list) else 1)
    return apply(ExpandDims(normal_axes("expand_dims", x, axis, ndim)), x)


@dataclass(frozen=True)
class Squeeze(Op):
    axes: tuple[int, ...]
    name = "squeeze"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        (x,) = inputs
        for a in self.axes:
            if x.shape[a] not in (1, None):
                raise ShapeError("squeeze", f"axis {a} of x has more than one element",
                                 given=sides(x=x))  # fmt: skip
        return Type(x.dtype, tuple(n for a, n in enumerate(x.shape) if a not in self.axes))

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].squeeze(self.axes)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (apply(ExpandDims(self.axes), g),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.reshape(
            inputs[0], [n for a, n in enumerate(inputs[0].shape) if a not in self.axes]
        )


def squeeze(x: Operand, axis: Axis = None) -> Variable:
    """Return ``x`` without axes of size 1: those in ``axis``, or all where None.

    Raises
    ------
    ShapeError
        If such an axis has another size, or if ``axis`` is None and a size is unknown.
    """
    x = operand("squeeze", x)
    if axis is None and None in x.shape:
        raise ShapeError("squeeze", "which axes of x have size 1 is not known",
                         given=sides(x=x), fix="name them: squeeze(x, axis)")  # fmt: skip
    if axis is None:
        axis = tuple(a for a, n in enumerate(x.shape) if n == 1)
    return apply(Squeeze(normal_axes("squeeze", x, axis)), x)


# --- broadcasting, and undoing it ----------------------------------------------------------


def broadcast_shapes(where: str, inputs: Mapping[str, Variable], skip: int = 0) -> Shape:
    """Return the shape of inputs broadcast together, without their last ``skip`` axes.

    An unknown size against n > 1 must be n or 1 when the graph runs, so the result
    has n; against 1 or another unknown size, the result is unknown.
    """
    shapes = {k: x.shape[: x.ndim - skip] for k, x in inputs.items()}
    if len(set(shapes.values())) == 1:
        return next(iter(shapes.values()))
    result: list[int | None] = []
    for axis in range(-max(map(len, shapes.values())), 0):
        sizes = {k: shape[axis] for k, shape in shapes.items() if len(shape) >= -axis}
        large = {k: n for k, n in sizes.items() if n not in (1, None)}
        if len(set(large.values())) > 1:
            (a, m), *_, (b, n) = large.items()
            clash = f"axis {axis - skip} is {m} and {n}"
            raise ShapeError(where, f"{a} and {b} do not broadcast: {clash}",
                             given=sides(**inputs), expected="equal sizes, or 1")  # fmt: skip
        result.append(next(iter(large.values()), None if None in sizes.values() else 1))
    return tuple(result)


@dataclass(frozen=True)
class BroadcastTo(Op):
    name = "broadcast_to"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        x, shape = inputs
        sizes = static_shape(shape)
        tail = sizes[len(sizes) - x.ndim :] if len(sizes) >= x.ndim else None
        if tail is None or any(
            n not in (1, None) and m is not None and n != m
            for n, m in zip(x.shape, tail, strict=True)
        ):
            raise ShapeError("broadcast_to", "x does not broadcast to the shape",
                             given=f"shape {sizes}\n{' ' * 12}{sides(x=x)}")  # fmt: skip
        return Type(x.dtype, sizes)

    def compute(self, *inputs: Array) -> Array:
        x, shape = inputs
        return np.broadcast_to(x, shape.tolist())

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return sum_to(g, inputs[0]), None

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.broadcast(inputs[0], known_sizes(b, inputs[1]))


def broadcast_to(x: Operand, shape: ShapeOperand) -> Variable:
    """Return ``x`` repeated to ``shape`` by NumPy's broadcasting.

    Parameters
    ----------
    x : array_like or Variable
    shape : ints, integer scalars, or an integer vector

    Raises
    ------
    ShapeError
        If ``x`` can never broadcast to it.
    """
    x, shape = operand("broadcast_to", x), shape_operand("broadcast_to", shape)
    return (
        x
        if x.shape == static_shape(shape) and None not in x.shape
        else apply(BroadcastTo(), x, shape)
    )


@dataclass(frozen=True)
class SumTo(Op):
    name = "sum_to"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, static_shape(inputs[1]))

    def compute(self, *inputs: Array) -> Array:
        x, target = inputs
        shape = tuple(target.tolist())
        if x.shape == shape:
            return x
        lead = x.ndim - len(shape)
        x = x.sum(axis=tuple(range(lead)))
        return x.sum(axis=tuple(a for a, n in enumerate(shape) if n == 1), keepdims=True)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return broadcast_to(g, shape_of(inputs[0])), None

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x, shape = inputs[0], known_sizes(b, inputs[1])
        lead = x.ndim - len(shape)
        ones = [a + lead for a, n in enumerate(shape) if n == 1 and x.shape[a + lead] != 1]
        y = b.sum(x, (*range(lead), *ones))
        return b.reshape(y, shape)


def sum_to(x: Variable, like: Variable) -> Variable:
    """Undo broadcasting: sum ``x`` over the axes along which ``like`` was repeated.

    What the declared sizes settle is settled now; an axis of unknown size is compared
    when the graph runs, so a batch that happens to be of one is right as well.
    """
    lead = x.ndim - like.ndim
    if lead:
        x = x.sum(axis=tuple(range(lead)))
    pairs = list(zip(x.shape, like.shape, strict=True))
    if ones := tuple(a for a, (n, m) in enumerate(pairs) if m == 1 and n != 1):
        x = x.sum(axis=ones, keepdims=True)
    if any(m is None and n != 1 for n, m in pairs):
        return apply(SumTo(), x, shape_of(like))
    return x


@dataclass(frozen=True)
class FillLike(NoGradient):
    """One number, in the shape and dtype, and on the device, of the input."""

    value: int
    name = "fill_like"
    shape_only = True
    no_gradient = "what it is filled with does not change"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        return np.full_like(inputs[0], self.value)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.broadcast(b.constant(self.value, inputs[0].dtype), inputs[0].shape)


def zeros_like(x: Operand) -> Variable:
    """Return zeros with the shape and dtype of ``x``."""
    return apply(FillLike(0), operand("zeros_like", x))


def ones_like(x: Operand) -> Variable:
    """Return ones with the shape and dtype of ``x``."""
    return apply(FillLike(1), operand("ones_like", x))


# --- dtype ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cast(Op):
    dtype: np.dtype[Any]
    name = "cast"

    def infer(self, *inputs: Variable) -> Type:
        return Type(self.dtype, inputs[0].shape)

    def compute(self, *inputs: Array) -> Array:
        return inputs[0].astype(self.dtype)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (cast(g, inputs[0].dtype),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.convert(inputs[0], self.dtype)


def cast(x: Operand, dtype: npt.DTypeLike) -> Variable:
    """Return ``x`` converted to ``dtype``, as ``ndarray.astype`` converts."""
    x, dtype = operand("cast", x), check_dtype(dtype, "cast")
    return x if x.dtype == dtype else apply(Cast(dtype), x)
