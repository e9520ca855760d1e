"""Ops that make arrays of nothing but sizes: fills, ranges, identities."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, namespace, to_host
from workbench.compiler import Builder, Value
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import (
    Constant,
    NoGradient,
    NotKnown,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.elementwise import equal
from workbench.symbolic.ops.shaping import broadcast_to, cast, expand_dims
from workbench.symbolic.ops.sizes import ShapeOperand
from workbench.symbolic.values import as_constant, check_dtype, operand, operands


def full(shape: ShapeOperand, value: Operand, dtype: npt.DTypeLike | None = None) -> Variable:
    """Return an array filled with a number, as ``numpy.full``; its slope is that of the number.

    Parameters
    ----------
    shape : ints, integer scalars, or an integer vector
        Sizes may be expressions.
    value : number or Variable
        Broadcast to ``shape``.
    dtype : dtype, optional
        That of ``value`` where absent.
    """
    if dtype is not None and not isinstance(value, Variable):
        value = as_constant(value, "full", "value", dtype)
    value = operand("full", value, "value")
    return broadcast_to(value if dtype is None else cast(value, dtype), shape)


def zeros(shape: ShapeOperand, dtype: npt.DTypeLike = np.float64) -> Variable:
    """Return zeros; sizes may be expressions."""
    return full(shape, 0, dtype)


def ones(shape: ShapeOperand, dtype: npt.DTypeLike = np.float64) -> Variable:
    """Return ones; sizes may be expressions."""
    return full(shape, 1, dtype)


@dataclass(frozen=True)
class Arange(NoGradient):
    dtype: np.dtype[Any]
    name = "arange"
    no_gradient = "its elements are as many as its bounds say: constant but for steps"

    def infer(self, *inputs: Variable) -> Type:
        known = [x.data[()] for x in inputs if isinstance(x, Constant)]
        return Type(self.dtype, (_length(*known) if len(known) == 3 else None,))

    def compute(self, *inputs: Array) -> Array:
        bounds = [to_host(x)[()] for x in inputs]
        # Among CuPy's arrays constants are CuPy's, and the step is one: so is the result.
        return namespace(*inputs).arange(*bounds, dtype=self.dtype)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        bounds = []
        for i, x in enumerate(inputs):
            if (known := b.known(x)) is None:
                raise NotKnown(i)
            bounds.append(known[()])
        start, stop, step = bounds
        n = _length(start, stop, step)
        first = np.asarray(start, self.dtype)
        delta = np.asarray(start + step, self.dtype) - first  # As NumPy fills, rounding and all.
        steps = b.convert(b.iota((n,), 0), self.dtype)
        return b.add(b.constant(first), b.multiply(steps, b.constant(delta)))


def _length(start: Any, stop: Any, step: Any) -> int:
    if step == 0:
        raise OptionError("arange", "a step of 0 leads nowhere")
    return max(math.ceil((stop - start) / step), 0)


def arange(
    start: Operand, stop: Operand | None = None, step: Operand = 1,
    dtype: npt.DTypeLike | None = None,
) -> Variable:  # fmt: skip
    """Return evenly spaced numbers from ``start`` up to and without ``stop``.

    Parameters
    ----------
    start, stop, step : number or scalar Variable
        ``arange(n)`` counts from 0 to n - 1.
    dtype : dtype, optional
        That of the three together where absent.

    Raises
    ------
    ShapeError
        If one of them is not a scalar.
    """
    if stop is None:
        start, stop = 0, start
    bounds = operands("arange", start=start, stop=stop, step=step)
    for name, x in zip(("start", "stop", "step"), bounds, strict=True):
        if x.ndim:
            raise ShapeError("arange", f"{name} is not a scalar", given=sides(**{name: x}))
    wanted = np.result_type(*(x.dtype for x in bounds)) if dtype is None else dtype
    return apply(Arange(check_dtype(wanted, "arange")), *bounds)


def eye(
    n: int | Variable, m: int | Variable | None = None, k: int = 0,
    dtype: npt.DTypeLike = np.float64,
) -> Variable:  # fmt: skip
    """Return an (n, m) matrix with ones on its ``k``-th diagonal, zeros elsewhere."""
    columns = arange(n if m is None else m)
    return cast(equal(expand_dims(arange(n) + k, 1), columns), dtype)
