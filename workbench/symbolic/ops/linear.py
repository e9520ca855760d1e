"""Products that contract an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import Gradients, Inputs, Op, Operand, Type, Variable, apply, sides
from workbench.symbolic.ops.shaping import (
    broadcast_shapes,
    expand_dims,
    reshape,
    sum_to,
    transpose,
)
from workbench.symbolic.ops.sizes import normal_axes
from workbench.symbolic.values import operand, operands


def _check_contraction(where: str, x: Variable, y: Variable, a: int, b: int) -> None:
    if None not in (x.shape[a], y.shape[b]) and x.shape[a] != y.shape[b]:
        raise ShapeError(where, f"axis {a} of x is {x.shape[a]}, but axis {b} of y is {y.shape[b]}",
                         given=sides(x=x, y=y),
                         expected="equal sizes where the product sums")  # fmt: skip


@dataclass(frozen=True)
class MatMul(Op):
    """Matrices times matrices; the axes before the last two broadcast."""

    name = "matmul"

    def infer(self, *inputs: Variable) -> Type:
        x, y = inputs
        _check_contraction("matmul", x, y, x.ndim - 1, y.ndim - 2)
        batch = broadcast_shapes("matmul", {"x": x, "y": y}, skip=2)
        return Type(np.result_type(x.dtype, y.dtype), (*batch, x.shape[-2], y.shape[-1]))

    def compute(self, *inputs: Array) -> Array:
        return np.matmul(*inputs)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, y = inputs
        return sum_to(g @ _turned(y), x), sum_to(_turned(x) @ g, y)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        batch = np.broadcast_shapes(*(x.shape[:-2] for x in inputs))
        x, y = (b.broadcast(x, (*batch, *x.shape[-2:])) for x in inputs)
        return _product(b, x, y)


def _product(b: Builder, x: Value, y: Value, trans_a: bool = False, trans_b: bool = False) -> Value:
    """Write a product of any dtypes: one opcode takes one, and no bools."""
    dtype = np.result_type(x.dtype, y.dtype)
    work = np.dtype(np.int64) if dtype.kind == "b" else dtype
    return b.convert(b.dot(b.convert(x, work), b.convert(y, work), trans_a, trans_b), dtype)


def _turned(x: Variable) -> Variable:
    """Return a batch of matrices, each transposed."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


@dataclass(frozen=True)
class TensorDot(Op):
    """Sum of products over pairs of axes; what is left of x, then of y, in order."""

    over_x: tuple[int, ...]
    over_y: tuple[int, ...]
    name = "tensordot"

    def infer(self, *inputs: Variable) -> Type:
        x, y = inputs
        for a, b in zip(self.over_x, self.over_y, strict=True):
            _check_contraction("tensordot", x, y, a, b)
        shape = [x.shape[a] for a in self._left(x, self.over_x)]
        shape += [y.shape[b] for b in self._left(y, self.over_y)]
        return Type(np.result_type(x.dtype, y.dtype), tuple(shape))

    def compute(self, *inputs: Array) -> Array:
        return np.tensordot(inputs[0], inputs[1], axes=(self.over_x, self.over_y))

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, y = inputs
        left_x, left_y = self._left(x, self.over_x), self._left(y, self.over_y)
        # What is summed away comes back in the order of the other factor's axes.
        back_x = [a for _, a in sorted(zip(self.over_y, self.over_x, strict=True))]
        back_y = [b for _, b in sorted(zip(self.over_x, self.over_y, strict=True))]
        places = range(len(left_x) + len(left_y))
        dx = tensordot(g, y, (places[len(left_x) :], left_y))
        dy = tensordot(x, g, (left_x, places[: len(left_x)]))
        return (
            transpose(dx, np.argsort(left_x + back_x).tolist()),
            transpose(dy, np.argsort(back_y + left_y).tolist()),
        )

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x, y = inputs
        pairs = sorted(zip(self.over_x, self.over_y, strict=True))
        over_x, over_y = [a for a, _ in pairs], [c for _, c in pairs]
        left_x, left_y = self._left(x, self.over_x), self._left(y, self.over_y)
        x2, trans_a = _as_matrix(b, x, left_x, over_x)
        y2, trans_b = _as_matrix(b, y, over_y, left_y)
        shape = [x.shape[a] for a in left_x] + [y.shape[c] for c in left_y]
        return b.reshape(_product(b, x2, y2, trans_a, trans_b), shape)

    @staticmethod
    def _left(x: Variable | Value, over: tuple[int, ...]) -> list[int]:
        return [a for a in range(x.ndim) if a not in over]


def _as_matrix(b: Builder, x: Value, rows: list[int], columns: list[int]) -> tuple[Value, bool]:
    """Return ``x`` with its axes gathered into two, and whether these are columns and rows."""
    m, n = (math.prod(x.shape[a] for a in axes) for axes in (rows, columns))
    if columns + rows == list(range(x.ndim)) and rows and columns:
        return b.reshape(x, (n, m)), True
    return b.reshape(b.transpose(x, rows + columns), (m, n)), False


def tensordot(
    x: Operand, y: Operand, axes: int | tuple[Sequence[int] | int, Sequence[int] | int] = 2
) -> Variable:
    """Return sums of products of ``x`` and ``y`` over pairs of their axes.

    Parameters
    ----------
    x, y : array_like or Variable
    axes : (axes of x, axes of y), or int
        Paired in order; what is left of ``x``, then of ``y``, are the result's axes.  A
        number pairs that many last axes of ``x`` with as many first ones of ``y``.

    Raises
    ------
    ShapeError
        If two paired axes can never have one size.
    """
    x, y = operands("tensordot", x=x, y=y)
    try:
        if isinstance(axes, int):
            axes = range(x.ndim - axes, x.ndim), range(axes)
        over_x, over_y = (
            (each,) if isinstance(each, int) else tuple(int(a) for a in each) for each in axes
        )
    except (TypeError, ValueError):
        over_x, over_y = (0,), ()
    if len(over_x) != len(over_y):
        raise OptionError("tensordot", "axes does not pair axes of x with axes of y",
                          given=f"axes={axes!r}", expected="two lists of one length")  # fmt: skip
    for each, over in ((x, over_x), (y, over_y)):
        normal_axes("tensordot", each, over)
    return apply(
        TensorDot(tuple(a % x.ndim for a in over_x), tuple(b % y.ndim for b in over_y)), x, y
    )


def matmul(x: Operand, y: Operand) -> Variable:
    """Return the matrix product ``x @ y``, as ``numpy.matmul``.

    Parameters
    ----------
    x : array_like or Variable, shape (..., M, K) or (K,)
    y : array_like or Variable, shape (..., K, N) or (K,)

    Returns
    -------
    Variable, shape (..., M, N)
        Without the axis of a one-dimensional operand; other axes broadcast.

    Raises
    ------
    ShapeError
        For scalars, and where the two K, or the batch axes, can never agree.
    """
    x, y = operands("matmul", x=x, y=y)
    if not x.ndim or not y.ndim:
        raise ShapeError("matmul", "a scalar has no axis to sum over", given=sides(x=x, y=y),
                         fix="x * y multiplies by a scalar")  # fmt: skip
    inner = y.ndim - 2 if y.ndim > 1 else 0
    _check_contraction("matmul", x, y, x.ndim - 1, inner)
    if x.ndim == 1 and y.ndim > 2:
        return tensordot(y, x, ((inner,), (0,)))
    if y.ndim > 2 or (x.ndim == 2 and y.ndim == 2):
        return apply(MatMul(), x, y)
    # One matrix, or vector, for all of x: a single product, not one for each of a batch.
    return tensordot(x, y, ((x.ndim - 1,), (inner,)))


# --- by other names ------------------------------------------------------------------------


def dot(x: Operand, y: Operand) -> Variable:
    """Return the sum of products over the last axis of x and the last but one of y.

    Over the only axis of a y with one; scalars multiply, as ``numpy.dot``.
    """
    x, y = operands("dot", x=x, y=y)
    if not x.ndim or not y.ndim:
        return x * y
    return tensordot(x, y, ((x.ndim - 1,), (max(y.ndim - 2, 0),)))


def inner(x: Operand, y: Operand) -> Variable:
    """Return the sum of products over the last axes of x and y."""
    x, y = operands("inner", x=x, y=y)
    return tensordot(x, y, ((x.ndim - 1,), (y.ndim - 1,))) if x.ndim and y.ndim else x * y


def vdot(x: Operand, y: Operand) -> Variable:
    """Return the sum of products of all elements of x and y, each flattened."""
    x, y = operands("vdot", x=x, y=y)
    return tensordot(reshape(x, -1), reshape(y, -1), 1)


def outer(x: Operand, y: Operand) -> Variable:
    """Return the product of every element of x, flattened, with every element of y."""
    x, y = operands("outer", x=x, y=y)
    return expand_dims(reshape(x, -1), 1) * reshape(y, -1)


def affine(x: Operand, w: Operand, b: Operand | None = None) -> Variable:
    """Return ``x @ w + b``.

    Parameters
    ----------
    x : array_like or Variable, shape (..., D)
    w : array_like or Variable, shape (D, K)
    b : array_like or Variable, shape (K,), optional
    """
    y = matmul(x, w)
    return y if b is None else y + operand("affine", b, "b")
