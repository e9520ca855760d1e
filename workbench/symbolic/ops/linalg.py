"""Linear algebra on the last two axes, by LAPACK on the host.

Gradients: Giles, "Collected matrix derivative results for forward and reverse mode
algorithmic differentiation" (2008).
"""

# What infer, compute and gradient are for is said once, in Op.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import ShapeError
from workbench.symbolic.graph import (
    Gradients,
    Inputs,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.arranging import swapaxes, tril
from workbench.symbolic.ops.creation import eye
from workbench.symbolic.ops.linear import matmul
from workbench.symbolic.ops.shaping import (
    broadcast_shapes,
    cast,
    expand_dims,
    squeeze,
    sum_to,
    zeros_like,
)
from workbench.symbolic.ops.sizes import size_of
from workbench.symbolic.values import operand, operands


@dataclass(frozen=True)
class OfMatrix(Op):
    """A function of ``numpy.linalg`` of square matrices."""

    name: str  # "inv", "cholesky" or "det"

    def infer(self, *inputs: Variable) -> Type:
        shape = inputs[0].shape
        return Type(inputs[0].dtype, shape[:-2] if self.name == "det" else shape)

    def compute(self, *inputs: Array) -> Array:
        with arrays.linalg_errors(inputs[0]):
            return np.asanyarray(getattr(np.linalg, self.name)(inputs[0]))

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        y, turned = output, swapaxes(output, -1, -2) if self.name != "det" else output
        if self.name == "inv":
            return (-(turned @ g @ turned),)
        if self.name == "det":
            return (expand_dims(g * y, (-2, -1)) * swapaxes(inv(inputs[0]), -1, -2),)
        # Of symmetric changes: half of the slope below the diagonal is that above it.
        identity = eye(size_of(y, y.ndim - 1), dtype=y.dtype)
        phi = tril(turned @ g) * (1 - 0.5 * identity)
        s = solve(turned, swapaxes(solve(turned, swapaxes(phi, -1, -2)), -1, -2))
        return (0.5 * (s + swapaxes(s, -1, -2)),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.call(self.name, inputs[0])


@dataclass(frozen=True)
class Solve(Op):
    """The x of ``a @ x = b``, for matrices with equal batch axes."""

    name = "solve"

    def infer(self, *inputs: Variable) -> Type:
        a, b = inputs
        if None not in (a.shape[-1], b.shape[-2]) and a.shape[-1] != b.shape[-2]:
            raise ShapeError("solve", f"a has {a.shape[-1]} rows, b has {b.shape[-2]}",
                             given=sides(a=a, b=b))  # fmt: skip
        batch = broadcast_shapes("solve", {"a": a, "b": b}, skip=2)
        return Type(b.dtype, (*batch, *b.shape[-2:]))

    def compute(self, *inputs: Array) -> Array:
        with arrays.linalg_errors(inputs[0]):
            return np.linalg.solve(*inputs)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        db = solve(swapaxes(inputs[0], -1, -2), g)
        da = -(db @ swapaxes(output, -1, -2))
        return sum_to(da, inputs[0]), sum_to(db, inputs[1])

    def lower(self, b: Builder, *inputs: Value) -> Value:
        batch = np.broadcast_shapes(*(x.shape[:-2] for x in inputs))
        left, right = (b.broadcast(x, (*batch, *x.shape[-2:])) for x in inputs)
        return b.call("solve", left, right)


def _square(name: str, a: Operand) -> Variable:
    a = operand(name, a, "a", ndim=2, dtype="f")
    n, m = a.shape[-2:]
    if None not in (n, m) and n != m:
        raise ShapeError(name, "a is not made of square matrices", given=sides(a=a),
                         expected="a (..., N, N)")  # fmt: skip
    return a


def inv(a: Operand) -> Variable:
    """Return the inverse of every matrix; ``solve`` is more accurate where that is meant.

    Raises
    ------
    ShapeError
        If they can never be square; when the graph runs, if one is singular.
    """
    return apply(OfMatrix("inv"), _square("inv", a))


def det(a: Operand) -> Variable:
    """Return the determinant of every matrix; its gradient needs the inverse."""
    return apply(OfMatrix("det"), _square("det", a))


def cholesky(a: Operand) -> Variable:
    """Return the lower triangle l with ``l @ l.T = a``, of symmetric positive definite matrices.

    Its gradient is that of symmetric changes of ``a``.
    """
    return apply(OfMatrix("cholesky"), _square("cholesky", a))


def solve(a: Operand, b: Operand) -> Variable:
    """Return the x of ``a @ x = b``, as ``numpy.linalg.solve``.

    Parameters
    ----------
    a : array_like or Variable, shape (..., N, N)
    b : array_like or Variable, shape (..., N, K), or (N,) for one vector
        Batch axes broadcast.
    """
    a, b = operands("solve", a=_square("solve", a), b=b)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = cast(a, dtype), cast(b, dtype)
    if b.ndim == 1:
        return squeeze(apply(Solve(), a, expand_dims(b, 1)), -1)
    return apply(Solve(), a, operand("solve", b, "b", ndim=2))


def matrix_power(a: Operand, n: int) -> Variable:
    """Return the product of ``n`` times each matrix; of its inverse where ``n`` is negative."""
    a = _square("matrix_power", a)
    if n < 0:
        a, n = inv(a), -n
    if n == 0:
        return zeros_like(a) + eye(size_of(a, a.ndim - 1), dtype=a.dtype)
    half = matrix_power(a, n // 2) if n > 1 else None
    result: Any = a if half is None else matmul(half, half)
    return matmul(result, a) if n > 1 and n % 2 else result
