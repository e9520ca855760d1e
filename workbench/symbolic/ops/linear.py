"""Products that contract an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.arrays import Array
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import Gradients, Inputs, Op, Operand, Type, Variable, apply, sides
from workbench.symbolic.ops.shaping import broadcast_shapes, normal_axes, sum_to, transpose
from workbench.symbolic.values import operands


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

    @staticmethod
    def _left(x: Variable, over: tuple[int, ...]) -> list[int]:
        return [a for a in range(x.ndim) if a not in over]


def tensordot(x: Operand, y: Operand, axes: tuple[Sequence[int], Sequence[int]]) -> Variable:
    """Return sums of products of ``x`` and ``y`` over pairs of their axes.

    Parameters
    ----------
    x, y : array_like or Variable
    axes : (axes of x, axes of y)
        Paired in order; what is left of ``x``, then of ``y``, are the result's axes.

    Raises
    ------
    ShapeError
        If two paired axes can never have one size.
    """
    x, y = operands("tensordot", x=x, y=y)
    try:
        over_x, over_y = (tuple(int(a) for a in each) for each in axes)
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
