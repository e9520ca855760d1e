"""Elementwise ops beyond the everyday ones: angles, logarithms, rounding, truth, bits.

Most are one row; those without a row of their own are written with those that have one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.symbolic.graph import Operand, Variable
from workbench.symbolic.ops.elementwise import (
    Binary,
    Unary,
    binary,
    divide,
    equal,
    exp,
    greater,
    less,
    log,
    log1p,
    sigmoid,
    sqrt,
    unary,
    where,
)
from workbench.symbolic.ops.shaping import zeros_like
from workbench.symbolic.values import operand, operands

# --- angles and hyperbolic functions -------------------------------------------------------

tan = unary("tan", "the tangent of x", np.tan, lambda x, out, g: g * (1 + out * out))
arcsin = unary("arcsin", "the angle in [-pi/2, pi/2] whose sine is x", np.arcsin,
               lambda x, out, g: g / sqrt((1 - x) * (1 + x)))  # fmt: skip
arccos = unary("arccos", "the angle in [0, pi] whose cosine is x", np.arccos,
               lambda x, out, g: -g / sqrt((1 - x) * (1 + x)))  # fmt: skip
arctan = unary("arctan", "the angle in (-pi/2, pi/2) whose tangent is x", np.arctan,
               lambda x, out, g: g / (1 + x * x))  # fmt: skip
sinh: Unary = unary("sinh", "the hyperbolic sine of x", np.sinh, lambda x, out, g: g * cosh(x))
cosh: Unary = unary("cosh", "the hyperbolic cosine of x", np.cosh, lambda x, out, g: g * sinh(x))
arcsinh = unary("arcsinh", "the number whose hyperbolic sine is x", np.arcsinh,
                lambda x, out, g: g / hypot(x, 1))  # fmt: skip
arccosh = unary("arccosh", "the number, at least 0, whose hyperbolic cosine is x", np.arccosh,
                lambda x, out, g: g / (sqrt(x - 1) * sqrt(x + 1)))  # fmt: skip
arctanh = unary("arctanh", "the number whose hyperbolic tangent is x", np.arctanh,
                lambda x, out, g: g / ((1 - x) * (1 + x)))  # fmt: skip


def _nonzero(r: Variable) -> Variable:
    """Return a distance to divide by: 1 for 0, where what is divided is 0 as well."""
    return where(equal(r, 0), 1, r)


def _lower_hypot(b: Builder, x: Value, y: Value) -> Value:
    x, y = b.absolute(x), b.absolute(y)
    large, small = b.maximum(x, y), b.minimum(x, y)
    zero, one = b.constant(0, x.dtype), b.constant(1, x.dtype)
    # Dividing by the larger one first, no square overflows or is lost.
    ratio = b.divide(small, b.select(b.equal(large, zero), one, large))
    r = b.multiply(large, b.sqrt(b.add(one, b.multiply(ratio, ratio))))
    infinite = b.bitwise_or(b.isinf(x), b.isinf(y))  # Beside NaN, too.
    return b.select(infinite, b.constant(np.inf, x.dtype), r)


hypot: Binary = binary("hypot", "sqrt(x**2 + y**2) without overflow (derivatives at (0, 0): 0)",
               np.hypot, lambda x, y, out, g: (g * (x / _nonzero(out)), g * (y / _nonzero(out))),
               lower=_lower_hypot)  # fmt: skip


def _arctan2_gradient(y: Variable, x: Variable, out: Variable, g: Variable) -> Sequence[Variable]:
    r = _nonzero(hypot(x, y))  # Not r * r, which overflows.
    return g * (x / r) / r, g * (-y / r) / r


arctan2 = binary("arctan2", "the angle of the point (y, x): sine first (derivatives at (0, 0): 0)",
                 np.arctan2, _arctan2_gradient)  # fmt: skip


def deg2rad(x: Operand) -> Variable:
    """Return degrees as radians."""
    return operand("deg2rad", x) * (math.pi / 180)


def rad2deg(x: Operand) -> Variable:
    """Return radians as degrees."""
    return operand("rad2deg", x) * (180 / math.pi)


# --- powers and logarithms -----------------------------------------------------------------


def _lower_log(base: int) -> Any:
    def lower(b: Builder, x: Value) -> Value:
        y = b.divide(b.log(x), b.constant(math.log(base), x.dtype))
        whole = b.rint(y)  # Whole powers have whole logarithms, which the quotient may miss.
        exact = b.equal(b.power(b.constant(base, x.dtype), whole), x)
        # Below the smallest normal number two powers of ten may round to the same.
        normal = b.less_equal(b.constant(np.finfo(x.dtype).tiny, x.dtype), x)
        return b.select(b.bitwise_and(exact, normal), whole, y)

    return lower


def _lower_cbrt(b: Builder, x: Value) -> Value:
    y = b.multiply(b.sign(x), b.power(b.absolute(x), b.constant(1 / 3, x.dtype)))
    # 1/3 is rounded; one step of Newton's method mends that: y - (y - x / y**2) / 3.
    step = b.divide(b.subtract(y, b.divide(b.divide(x, y), y)), b.constant(3, x.dtype))
    usable = b.bitwise_or(b.equal(x, b.constant(0, x.dtype)), b.isinf(x))
    return b.select(usable, x, b.subtract(y, step))


exp2 = unary("exp2", "2 ** x", np.exp2, lambda x, out, g: g * (math.log(2) * out),
             lower=lambda b, x: b.power(b.constant(2, x.dtype), x))  # fmt: skip
log2 = unary("log2", "the logarithm of x to base 2", np.log2,
             lambda x, out, g: g / (math.log(2) * x), lower=_lower_log(2))  # fmt: skip
log10 = unary("log10", "the logarithm of x to base 10", np.log10,
              lambda x, out, g: g / (math.log(10) * x), lower=_lower_log(10))  # fmt: skip
cbrt = unary("cbrt", "the cube root of x", np.cbrt, lambda x, out, g: g / (3 * out * out),
             lower=_lower_cbrt)  # fmt: skip


def reciprocal(x: Operand) -> Variable:
    """Return 1 / x, of a floating dtype."""
    return divide(1, operand("reciprocal", x, dtype="f"))


def logit(x: Operand) -> Variable:
    """Return log(x / (1 - x)), the inverse of the sigmoid."""
    x = operand("logit", x, dtype="f")
    return log(x) - log1p(-x)


def xlogy(x: Operand, y: Operand) -> Variable:
    """Return x * log(y), and 0 where x is 0, whatever y is."""
    x, y = operands("xlogy", x=x, y=y)
    nothing = equal(x, 0)
    return where(nothing, 0, x * log(where(nothing, 1, y)))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _lower_softplus(b: Builder, x: Value) -> Value:
    rest = b.log1p(b.exp(b.negative(b.absolute(x))))
    return b.add(b.maximum(x, b.constant(0, x.dtype)), rest)


def _lower_logaddexp(b: Builder, x: Value, y: Value) -> Value:
    # Equal infinities have no difference.
    d = b.select(b.equal(x, y), b.constant(0, x.dtype), b.subtract(x, y))
    return b.add(b.maximum(x, y), b.log1p(b.exp(b.negative(b.absolute(d)))))


log1pexp = unary("log1pexp", "log(1 + e ** x) without overflow", _softplus,
                 lambda x, out, g: g * sigmoid(x), promotes=np.exp,
                 lower=_lower_softplus)  # fmt: skip


def _finite(x: Variable) -> Variable:
    return where(equal(x, -np.inf), 0, x)


logaddexp = binary("logaddexp", "log(e ** x + e ** y) without overflow", np.logaddexp,
                   lambda x, y, out, g: (g * exp(x - _finite(out)), g * exp(y - _finite(out))),
                   lower=_lower_logaddexp)  # fmt: skip

# --- the error function --------------------------------------------------------------------


def _ratio(b: Builder, t: Value, polynomials: Any) -> Value:
    """Return the quotient of two polynomials in t, by Horner's rule."""
    totals = []
    for coefficients in polynomials:
        total = b.constant(coefficients[0], t.dtype)
        for c in coefficients[1:]:
            total = b.add(b.multiply(total, t), b.constant(c, t.dtype))
        totals.append(total)
    return b.divide(*totals)


def _lower_erfc(b: Builder, x: Value) -> Value:
    """Write Cody's approximations (1969) as one chain: see :func:`workbench.arrays.erfc`."""

    def c(value: float) -> Value:
        return b.constant(value, x.dtype)

    a = b.minimum(b.absolute(x), c(30))
    # Each argument is kept where its formula holds, so that none overflows elsewhere.
    t = b.maximum(a, c(4))
    s = b.divide(c(1), b.multiply(t, t))
    far = b.subtract(c(1 / math.sqrt(math.pi)), b.multiply(s, _ratio(b, s, arrays._FAR)))
    middle = _ratio(b, b.minimum(a, c(4)), arrays._MIDDLE)
    tail = b.select(b.less_equal(a, c(4)), middle, b.divide(far, t))
    # a * a rounds, and exp would magnify that: part it into an exact square and the rest.
    exact = b.divide(b.trunc(b.multiply(a, c(16))), c(16))
    tail = b.multiply(tail, b.exp(b.negative(b.multiply(exact, exact))))
    tail = b.multiply(tail, b.exp(b.multiply(b.subtract(exact, a), b.add(exact, a))))
    u = b.minimum(a, c(0.5))
    near = b.subtract(c(1), b.multiply(x, _ratio(b, b.multiply(u, u), arrays._NEAR)))
    outer = b.select(b.less(x, c(0)), b.subtract(c(2), tail), tail)
    return b.select(b.less_equal(a, c(0.46875)), near, outer)


def _bell(x: Variable) -> Variable:
    return 2 / math.sqrt(math.pi) * exp(-x * x)


erf = unary("erf", "the error function of x", arrays.erf, lambda x, out, g: g * _bell(x),
            promotes=np.exp)  # fmt: skip
erfc = unary("erfc", "1 - erf(x), accurate where that is tiny", arrays.erfc,
             lambda x, out, g: -g * _bell(x), promotes=np.exp, lower=_lower_erfc)  # fmt: skip


def ndtr(x: Operand) -> Variable:
    """Return the probability that a standard normal variable is at most x."""
    return 0.5 * erfc(-math.sqrt(0.5) * operand("ndtr", x, dtype="f"))


# --- rounding ------------------------------------------------------------------------------


def _step(name: str, formula: str, compute: np.ufunc) -> Unary:
    """Declare a rounding, whose slope is 0; integers are whole already."""
    return unary(name, formula, compute, lambda x, out, g: zeros_like(x),
                 lower=lambda b, x: getattr(b, name)(x) if x.dtype.kind == "f" else x)  # fmt: skip


floor = _step("floor", "the largest integer <= x", np.floor)
ceil = _step("ceil", "the smallest integer >= x", np.ceil)
trunc = _step("trunc", "x rounded towards 0", np.trunc)
rint = _step("rint", "the integer nearest to x, the even one of two", np.rint)


def round(x: Operand, decimals: int = 0) -> Variable:
    """Return x rounded to so many decimals, half to even, as ``numpy.round``; the slope is 0."""
    x = operand("round", x, dtype="f")
    if decimals < 0:
        return rint(x / 10.0**-decimals) * 10.0**-decimals
    return rint(x * 10.0**decimals) / 10.0**decimals


_FLAT = "the quotient is whole: constant but for steps"


def _quotient(x: Variable, y: Variable, out: Variable) -> Variable:
    return rint((x - out) / y)


floor_divide = binary("floor_divide", "the largest integer <= x / y", np.floor_divide, _FLAT)
remainder = binary("remainder", "x - floor(x / y) * y, with the sign of y", np.remainder,
                   lambda x, y, out, g: (g, -g * _quotient(x, y, out)))  # fmt: skip
mod = remainder


def _lower_fmod(b: Builder, x: Value, y: Value) -> Value:
    if x.dtype.kind == "u":
        return b.remainder(x, y)
    r = b.remainder(b.absolute(x), b.absolute(y))
    zero, one = b.constant(0, x.dtype), b.constant(1, x.dtype)
    signed = b.select(b.less(x, zero), b.negative(r), r)
    return b.select(b.equal(x, zero), b.multiply(x, b.add(r, one)), signed)  # 0 keeps its sign.


fmod = binary("fmod", "x - trunc(x / y) * y, with the sign of x", np.fmod,
              lambda x, y, out, g: (g, -g * _quotient(x, y, out)), lower=_lower_fmod)  # fmt: skip

# --- truth and bits ------------------------------------------------------------------------

_TRUTH = "a truth value does not change smoothly"
_BITS = "bits do not change smoothly"


def _test(name: str) -> Any:
    """Return the lowering of a question to which, for integers, the answer is no."""

    def lower(b: Builder, x: Value) -> Value:
        return getattr(b, name)(x) if x.dtype.kind == "f" else b.not_equal(x, x)

    return lower


def _lower_isfinite(b: Builder, x: Value) -> Value:
    return b.invert(b.bitwise_or(_test("isnan")(b, x), _test("isinf")(b, x)))


isnan = unary("isnan", "whether x is NaN", np.isnan, _TRUTH, lower=_test("isnan"))
isinf = unary("isinf", "whether x is infinite", np.isinf, _TRUTH, lower=_test("isinf"))
isfinite = unary("isfinite", "whether x is neither NaN nor infinite", np.isfinite, _TRUTH,
                 lower=_lower_isfinite)  # fmt: skip


def _logical(name: str, formula: str, opcode: str) -> Any:
    def lower(b: Builder, *xs: Value) -> Value:
        write: Any = getattr(b, opcode)
        return write(*(b.convert(x, bool) for x in xs))

    declare: Any = binary if opcode != "invert" else unary
    return declare(name, formula, getattr(np, name), _TRUTH, lower=lower)


logical_and = _logical("logical_and", "whether x and y both are not 0", "bitwise_and")
logical_or = _logical("logical_or", "whether x or y is not 0", "bitwise_or")
logical_xor = _logical("logical_xor", "whether just one of x and y is not 0", "bitwise_xor")
logical_not = _logical("logical_not", "whether x is 0", "invert")
bitwise_and = binary("bitwise_and", "the bits set in x and in y", np.bitwise_and, _BITS)
bitwise_or = binary("bitwise_or", "the bits set in x or in y", np.bitwise_or, _BITS)
bitwise_xor = binary("bitwise_xor", "the bits set in just one of x and y", np.bitwise_xor, _BITS)
invert = unary("invert", "the bits that are not set in x", np.invert, _BITS)
left_shift = binary("left_shift", "the bits of x moved up by y", np.left_shift, _BITS,
                    lower=lambda b, x, y: b.shift_left(x, y))  # fmt: skip
right_shift = binary("right_shift", "the bits of x moved down by y", np.right_shift, _BITS,
                     lower=lambda b, x, y: b.shift_right(x, y))  # fmt: skip

# --- choosing ------------------------------------------------------------------------------


def clip(x: Operand, low: Operand | None = None, high: Operand | None = None) -> Variable:
    """Return x, or the nearer end where it is outside [low, high]; at the ends the slope is 1."""
    x = operand("clip", x)
    if low is not None:
        x, low = operands("clip", x=x, low=low)
        x = where(less(x, low), low, x)
    if high is not None:
        x, high = operands("clip", x=x, high=high)
        x = where(greater(x, high), high, x)
    return x


def lerp(x: Operand, y: Operand, weight: Operand) -> Variable:
    """Return x + weight * (y - x): x where the weight is 0, y where it is 1."""
    x, y, weight = operands("lerp", x=x, y=y, weight=weight)
    return x + weight * (y - x)


def heaviside(x: Operand, y: Operand) -> Variable:
    """Return 0 where x is negative, y where it is 0, and 1 where it is positive."""
    x, y = operands("heaviside", x=x, y=y)
    return where(equal(x, 0), y, where(isnan(x), x, (greater(x, 0)).astype(x.dtype)))


def nan_to_num(
    x: Operand, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Variable:
    """Return x with numbers for NaN and infinities, by default 0 and the largest ones."""
    x = operand("nan_to_num", x, dtype="f")
    limit = float(np.finfo(x.dtype).max)
    top, bottom = limit if posinf is None else posinf, -limit if neginf is None else neginf
    replaced = where(isnan(x), nan, where(greater(x, 0), top, bottom))
    return where(isfinite(x), x, replaced.astype(x.dtype))


def masked_fill(x: Operand, mask: Operand, value: Operand) -> Variable:
    """Return x with ``value`` where ``mask`` holds."""
    return where(mask, value, x)
