"""Ops that treat every element alike: one row each, its derivative beside its formula.

A derivative is written as if no broadcasting happened; :class:`Elementwise` undoes that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError
from workbench.symbolic.graph import (
    CAST_IT,
    CannotLower,
    Constant,
    Gradients,
    Inputs,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.shaping import broadcast_shapes, sum_to, zeros_like
from workbench.symbolic.values import operands


@dataclass(frozen=True)
class Elementwise(Op):
    """A function of the elements of its inputs, broadcast together.

    ``promotes`` is the ufunc whose dtype rule holds; ``np.result_type`` where None.
    ``lowering`` writes it for operands of the dtypes that the rule asks for.
    """

    name: str
    arguments: tuple[str, ...]
    function: Callable[..., Array] = field(compare=False)
    derivative: Callable[..., Any] | None = field(compare=False)
    promotes: np.ufunc | None = field(compare=False)
    no_gradient: str | None = field(compare=False)
    lowering: Callable[..., Value] = field(compare=False)

    def __post_init__(self) -> None:
        self.__dict__["compute"] = self.function  # Running a ufunc then costs no Python frame.

    def compute(self, *inputs: Array) -> Array:
        return self.function(*inputs)

    def infer(self, *inputs: Variable) -> Type:
        named = dict(zip(self.arguments, inputs, strict=True))
        shape = broadcast_shapes(self.name, named)
        dtypes = [x.dtype for x in inputs]
        if self.promotes is None:
            return Type(np.result_type(*dtypes[-2:]), shape)  # The branches of where.
        try:
            return Type(self.promotes.resolve_dtypes((*dtypes, None))[-1], shape)
        except TypeError:
            raise DtypeError(self.name, "there is no such operation for these dtypes",
                             given=sides(**named), fix=CAST_IT) from None  # fmt: skip

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        if self.derivative is None:
            return [None] * len(inputs)
        each = self.derivative(*inputs, output, g)
        each = (each,) if isinstance(each, Variable) else each
        return [None if d is None else sum_to(d, x) for x, d in zip(inputs, each, strict=True)]

    def lower(self, b: Builder, *inputs: Value) -> Value:
        dtypes = [x.dtype for x in inputs]
        if self.promotes is None:
            dtype = np.result_type(*dtypes[-2:])
            return self.lowering(b, inputs[0], *(b.convert(x, dtype) for x in inputs[1:]))
        *wanted, made = self.promotes.resolve_dtypes((*dtypes, None))
        if len(set(wanted)) > 1:
            raise CannotLower(f"{self.name} of {wanted[0]} and {wanted[1]} has no common dtype")
        xs = [b.convert(x, dtype) for x, dtype in zip(inputs, wanted, strict=True)]
        return b.convert(self.lowering(b, *xs), made)


ELEMENTWISE: dict[str, Elementwise] = {}
"""Every op of this kind, by its name."""

_LOGIC = {"add": "bitwise_or", "multiply": "bitwise_and", "maximum": "bitwise_or",
          "minimum": "bitwise_and", "absolute": "copy"}  # fmt: skip


def _by_opcode(name: str) -> Callable[..., Value]:
    """Return the lowering to the opcode of this name; bools add and multiply as logic does."""

    def lowering(b: Builder, *xs: Value) -> Value:
        opcode: Callable[..., Value]
        opcode = getattr(b, _LOGIC[name] if xs[0].dtype == bool and name in _LOGIC else name)
        return opcode(*xs)

    return lowering


Derivative = Callable[..., Variable | Sequence[Variable | None]] | str
"""``(*inputs, output, g) -> gradients``, or the reason why there is none."""
Unary = Callable[[Operand], Variable]
Binary = Callable[[Operand, Operand], Variable]


def _op(
    name: str, arguments: str, compute: Any, derivative: Derivative, promotes: Any,
    lowering: Callable[..., Value] | None = None,
) -> Elementwise:  # fmt: skip
    why = derivative if isinstance(derivative, str) else None
    rule = None if isinstance(derivative, str) else derivative
    op = Elementwise(name, tuple(arguments.split()), compute, rule, promotes, why,
                     lowering or _by_opcode(name))  # fmt: skip
    ELEMENTWISE[name] = op
    return op


def unary(
    name: str, formula: str, compute: Any, derivative: Derivative,
    promotes: np.ufunc | None = None, lower: Callable[..., Value] | None = None,
) -> Unary:  # fmt: skip
    """Declare an op of one argument, and return the function that applies it.

    ``lower`` is left out where the compiler has an opcode of this name.
    """
    op = _op(name, "x", compute, derivative, promotes or compute, lower)

    def function(x: Operand) -> Variable:
        return apply(op, *operands(name, x=x))

    return _documented(function, name, formula, op)


def binary(
    name: str, formula: str, compute: np.ufunc, derivative: Derivative,
    lower: Callable[..., Value] | None = None,
) -> Binary:  # fmt: skip
    """Declare an op of two arguments, and return the function that applies it."""
    op = _op(name, "x y", compute, derivative, compute, lower)

    def function(x: Operand, y: Operand) -> Variable:
        return apply(op, *operands(name, x=x, y=y))

    return _documented(function, name, formula, op)


def _documented(function: Any, name: str, formula: str, op: Op) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return {formula}, element by element, broadcast as NumPy does.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments can never fit, when the expression is built.
    """
    if op.no_gradient:
        function.__doc__ += f"\n    Notes\n    -----\n    No gradient: {op.no_gradient}.\n    "
    return function


# --- arithmetic ----------------------------------------------------------------------------

add = binary("add", "x + y", np.add, lambda x, y, out, g: (g, g))
subtract = binary("subtract", "x - y", np.subtract, lambda x, y, out, g: (g, -g))
multiply = binary("multiply", "x * y", np.multiply, lambda x, y, out, g: (g * y, g * x))
divide = binary("divide", "x / y", np.true_divide, lambda x, y, out, g: (g / y, -g * out / y))
negative = unary("negative", "-x", np.negative, lambda x, out, g: -g)


def _power_gradient(x: Variable, y: Variable, out: Variable, g: Variable) -> Gradients:
    if isinstance(y, Constant) and y.ndim == 0:
        # The usual case, x ** 2, without the guards that an unknown exponent needs.
        dx = g * y * x ** (y.data - y.dtype.type(1)) if y.data else zeros_like(x)
        return dx, None
    # Where y is 0 the slope is 0, though x ** (y - 1) may be infinite; where x is 0,
    # log(x) may be, though x ** y does not change with y.
    dx = g * y * x ** where(equal(y, 0), 1, y - 1)
    return dx, g * out * log(where(equal(x, 0), 1, x))


power = binary("power", "x ** y", np.power, _power_gradient)

# --- functions of one argument -------------------------------------------------------------

exp = unary("exp", "e ** x", np.exp, lambda x, out, g: g * out)
log = unary("log", "the natural logarithm of x", np.log, lambda x, out, g: g / x)
log1p = unary("log1p", "log(1 + x)", np.log1p, lambda x, out, g: g / (1 + x))
expm1 = unary("expm1", "e ** x - 1", np.expm1, lambda x, out, g: g * exp(x))
sqrt = unary("sqrt", "the square root of x", np.sqrt, lambda x, out, g: g / (2 * out))
square = unary("square", "x * x", np.square, lambda x, out, g: g * (2 * x),
               lower=lambda b, x: b.multiply(x, x))  # fmt: skip
absolute = unary("absolute", "|x|", np.absolute, lambda x, out, g: g * sign(x))
sign: Unary = unary("sign", "-1, 0 or 1", np.sign, lambda x, out, g: zeros_like(x))
sin = unary("sin", "the sine of x", np.sin, lambda x, out, g: g * cos(x))
cos: Unary = unary("cos", "the cosine of x", np.cos, lambda x, out, g: -g * sin(x))
tanh = unary("tanh", "the hyperbolic tangent of x", np.tanh, lambda x, out, g: g * (1 - out * out))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # Never overflows, and keeps its digits far from 0.
    return np.where(x >= 0, 1, e) / (1 + e)


sigmoid = unary("sigmoid", "1 / (1 + exp(-x))", _sigmoid, lambda x, out, g: g * out * (1 - out),
                promotes=np.exp)  # fmt: skip


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


relu = unary("relu", "max(x, 0)", _relu, lambda x, out, g: g * greater(x, 0),
             promotes=np.positive,
             lower=lambda b, x: b.maximum(x, b.constant(0, x.dtype)))  # fmt: skip

# --- choosing ------------------------------------------------------------------------------

_COMPARISON = "a comparison is constant but for steps"
greater: Binary = binary("greater", "whether x > y", np.greater, _COMPARISON)
greater_equal = binary("greater_equal", "whether x >= y", np.greater_equal, _COMPARISON)
less = binary("less", "whether x < y", np.less, _COMPARISON)
less_equal = binary("less_equal", "whether x <= y", np.less_equal, _COMPARISON)
equal = binary("equal", "whether x == y", np.equal, _COMPARISON)
not_equal = binary("not_equal", "whether x != y", np.not_equal, _COMPARISON)


def _share(first: Variable, second: Variable, g: Variable) -> Variable:
    """Return g where the first wins, half of it where they tie, else 0."""
    return where(greater(first, second), g, where(equal(first, second), g * 0.5, 0))


maximum = binary("maximum", "the larger of x and y (ties share the gradient)", np.maximum,
                 lambda x, y, out, g: (_share(x, y, g), _share(y, x, g)))  # fmt: skip
minimum = binary("minimum", "the smaller of x and y (ties share the gradient)", np.minimum,
                 lambda x, y, out, g: (_share(y, x, g), _share(x, y, g)))  # fmt: skip

_where = _op("where", "condition x y", np.where,
             lambda c, x, y, out, g: (None, where(c, g, 0), where(c, 0, g)), None,
             lambda b, c, x, y: b.select(b.convert(c, bool), x, y))  # fmt: skip


def where(condition: Operand, x: Operand, y: Operand) -> Variable:
    """Return ``x`` where ``condition`` holds, else ``y``; both are computed everywhere.

    Raises
    ------
    ShapeError
        If the three can never broadcast together.
    """
    return apply(_where, *operands("where", condition=condition), *operands("where", x=x, y=y))
