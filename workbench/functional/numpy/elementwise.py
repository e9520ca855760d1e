"""Elementwise functions: NumPy's names, broadcasting and promotion."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable

import numpy as np

from workbench.errors import DtypeError
from workbench.functional.core import Primitive, Value, get_aval
from workbench.functional.numpy.promotion import convert, inexact, promote, truth
from workbench.functional.primitives import elementwise as ops
from workbench.functional.primitives import fourier

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "around",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "degrees",
    "divide",
    "divmod",
    "elu",
    "equal",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "float_power",
    "floor",
    "floor_divide",
    "fmod",
    "gelu",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "leaky_relu",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_sigmoid",
    "logaddexp",
    "logaddexp2",
    "logit",
    "maximum",
    "minimum",
    "mod",
    "modf",
    "multiply",
    "nan_to_num",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "power",
    "rad2deg",
    "radians",
    "reciprocal",
    "relu",
    "remainder",
    "rint",
    "round",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip

Unary = Callable[[Value], Value]
Binary = Callable[[Value, Value], Value]


def unary(primitive: Primitive, says: str, floating: bool = True) -> Unary:
    name = primitive.name

    def function(x: Value) -> Value:
        get_aval(x, name)
        return primitive(inexact(name, x) if floating else x)

    result = "floating point; integers become float64" if floating else "of x's dtype"
    return document(function, name, "x", says, result)


def binary(
    primitive: Primitive, says: str, floating: bool = False, result: str = "of the promoted dtype"
) -> Binary:
    name = primitive.name

    def function(x: Value, y: Value) -> Value:
        x, y = promote(name, x, y)
        return primitive(inexact(name, x), inexact(name, y)) if floating else primitive(x, y)

    return document(function, name, "x, y", says, result)


def _rounding(primitive: Primitive, says: str) -> Unary:
    name = primitive.name

    def function(x: Value) -> Value:
        return x if get_aval(x, name).dtype.kind in "biu" else primitive(x)

    return document(function, name, "x", says + "  Its derivative is 0.",
                     "of x's dtype; integers are whole already")  # fmt: skip


def _whole(primitive: Primitive, says: str) -> Binary:
    name = primitive.name

    def function(x: Value, y: Value) -> Value:
        x, y = promote(name, x, y)
        if get_aval(x).dtype == bool:  # As NumPy: there is no quotient of booleans.
            kind = int if get_aval(x).weak_type else np.dtype(np.int8)
            x, y = convert(x, kind), convert(y, kind)
        return primitive(x, y)

    return document(function, name, "x, y", says, "of the promoted dtype")


def document(function: Callable[..., Value], name: str, arguments: str, says: str, result: str):  # type: ignore[no-untyped-def]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{says}

    Parameters
    ----------
    {arguments} : array, Python scalar or tracer
        {"Shapes broadcast as in NumPy." if "," in arguments else "Any shape."}

    Returns
    -------
    array
        {result[0].upper()}{result[1:]}.

    Raises
    ------
    DtypeError
        If an argument is not an array of numbers.
    """ + ("""ShapeError
        If the shapes do not broadcast together.
    """ if "," in arguments else "")  # fmt: skip
    return function


add = binary(ops.add, "Return x + y.")
subtract = binary(ops.subtract, "Return x - y.")
multiply = binary(ops.multiply, "Return x * y.")
divide = binary(ops.divide, "Return x / y.", floating=True)
negative = unary(ops.negative, "Return -x.", floating=False)
exp = unary(ops.exp, "Return e to the power x.")
expm1 = unary(ops.expm1, "Return e ** x - 1, with all digits for small x.")
log = unary(ops.log, "Return the natural logarithm of x.")
log1p = unary(ops.log1p, "Return log(1 + x), with all digits for small x.")
sqrt = unary(ops.sqrt, "Return the square root of x.")
sin = unary(ops.sin, "Return the sine of x in radians.")
cos = unary(ops.cos, "Return the cosine of x in radians.")
tanh = unary(ops.tanh, "Return the hyperbolic tangent of x.")
tan = unary(ops.tan, "Return the tangent of x in radians.")
arcsin = unary(ops.arcsin, "Return the angle in [-pi/2, pi/2] whose sine is x.")
arccos = unary(ops.arccos, "Return the angle in [0, pi] whose cosine is x.")
arctan = unary(ops.arctan, "Return the angle in (-pi/2, pi/2) whose tangent is x.")
sinh = unary(ops.sinh, "Return the hyperbolic sine of x.")
cosh = unary(ops.cosh, "Return the hyperbolic cosine of x.")
arcsinh = unary(ops.arcsinh, "Return the number whose hyperbolic sine is x.")
arccosh = unary(ops.arccosh, "Return the number, at least 0, whose hyperbolic cosine is x.")
arctanh = unary(ops.arctanh, "Return the number whose hyperbolic tangent is x.")
log2 = unary(ops.log2, "Return the logarithm of x to base 2.")
log10 = unary(ops.log10, "Return the logarithm of x to base 10.")
exp2 = unary(ops.exp2, "Return 2 to the power x.")
cbrt = unary(ops.cbrt, "Return the cube root of x.")
erf = unary(ops.erf, "Return the error function of x.")
erfc = unary(ops.erfc, "Return 1 - erf(x), with all digits where that is tiny.")
rint = unary(ops.rint, "Return the whole number nearest to x, the even one of two; its "
              "derivative is 0.")  # fmt: skip
floor = _rounding(ops.floor, "Return the largest whole number that is at most x.")
ceil = _rounding(ops.ceil, "Return the smallest whole number that is at least x.")
trunc = _rounding(ops.trunc, "Return x without its fraction.")
arctan2 = binary(ops.arctan2, "Return the angle of the point with ordinate x and abscissa y; "
                  "its derivatives at the origin are 0.", floating=True)  # fmt: skip
hypot = binary(ops.hypot, "Return sqrt(x**2 + y**2) without overflow; its derivatives at the "
                "origin are 0.", floating=True)  # fmt: skip
logaddexp = binary(ops.logaddexp, "Return log(exp(x) + exp(y)) without overflow.", floating=True)
floor_divide = _whole(ops.floor_divide, "Return the largest whole number that is at most x / y; "
                      "its derivative is 0.")  # fmt: skip
remainder = _whole(ops.remainder, "Return x - floor(x / y) * y, which has the sign of y.")
sigmoid = unary(ops.sigmoid, "Return 1 / (1 + exp(-x)), without overflow.")
_absolute = unary(ops.absolute, "Return |x|; its derivative at 0 is 0.", floating=False)


def absolute(x: Value) -> Value:
    """Return |x|, of complex numbers too; its derivative at 0 is 0."""
    return fourier.modulus(x) if get_aval(x, "absolute").dtype.kind == "c" else _absolute(x)


sign = unary(ops.sign, "Return -1, 0 or 1; its derivative is 0.", floating=False)
maximum = binary(ops.maximum, "Return the larger of x and y; where equal, each has half of "
                  "the gradient.")  # fmt: skip
minimum = binary(ops.minimum, "Return the smaller of x and y; where equal, each has half of "
                  "the gradient.")  # fmt: skip

_BOOL = "boolean: it is piecewise constant, so no gradient passes"
greater = binary(ops.greater, "Return x > y.", result=_BOOL)
greater_equal = binary(ops.greater_equal, "Return x >= y.", result=_BOOL)
less = binary(ops.less, "Return x < y.", result=_BOOL)
less_equal = binary(ops.less_equal, "Return x <= y.", result=_BOOL)
equal = binary(ops.equal, "Return x == y.", result=_BOOL)
not_equal = binary(ops.not_equal, "Return x != y.", result=_BOOL)

abs = absolute
acos, asin, atan, acosh, asinh, atanh = arccos, arcsin, arctan, arccosh, arcsinh, arctanh
atan2, mod, true_divide = arctan2, remainder, divide


def power(x: Value, y: Value) -> Value:
    """Return x to the power y, elementwise.

    A Python number without a fraction as exponent gives repeated multiplication,
    differentiable everywhere, at 0 and below too.

    Raises
    ------
    DtypeError
        If an argument is not an array of numbers, or integers get a negative exponent.
    """
    whole = type(y) is int or (type(y) is float and y.is_integer())
    if not whole:
        return ops.power(*promote("power", x, y))
    x = inexact("power", x) if type(y) is float else x
    if get_aval(x, "power").dtype.kind in "biu" and y < 0:
        raise DtypeError("power", "integers to a negative power are not integers",
                         given=f"x {get_aval(x)}, exponent {y}",
                         fix="convert x with astype, or write the exponent as a float")  # fmt: skip
    return ops.integer_power(x, exponent=int(y))


pow = power


def square(x: Value) -> Value:
    """Return x * x, elementwise."""
    return power(x, 2)


def relu(x: Value) -> Value:
    """Return x where it is positive, else 0; the derivative at 0 is 0, and NaN stays NaN."""
    return where(less_equal(x, 0), 0, x)


def where(condition: Value, x: Value, y: Value) -> Value:
    """Return x where the condition holds and y elsewhere; all three broadcast.

    Parameters
    ----------
    condition : array
        Boolean; other numbers count as true where they are not 0.
    x, y : array, Python scalar or tracer

    Raises
    ------
    DtypeError, ShapeError
        If an argument is not an array of numbers, or the shapes do not broadcast.
    """
    return ops.select(truth("where", condition), *promote("where", x, y))


def clip(x: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """Return x with values below ``min`` and above ``max`` replaced by these."""
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


# Questions.  Their answers are boolean and piecewise constant: no gradient passes.


def isnan(x: Value) -> Value:
    """Return whether x is NaN, elementwise."""
    return ops.isnan(x) if get_aval(x, "isnan").dtype.kind in "fc" else not_equal(x, x)


def isinf(x: Value) -> Value:
    """Return whether x is infinite, elementwise."""
    return equal(absolute(x), math.inf)


def isfinite(x: Value) -> Value:
    """Return whether x is neither infinite nor NaN, elementwise."""
    return less(absolute(x), math.inf)


def isposinf(x: Value) -> Value:
    """Return whether x is plus infinity, elementwise."""
    return equal(x, math.inf)


def isneginf(x: Value) -> Value:
    """Return whether x is minus infinity, elementwise."""
    return equal(x, -math.inf)


def signbit(x: Value) -> Value:
    """Return whether x is negative, -0.0 included; False for NaN."""
    if get_aval(x, "signbit").dtype.kind != "f":
        return less(x, 0)
    return less(arctan2(x, -1), 0)  # -pi or pi: it tells -0.0 from 0.0.


def isclose(
    a: Value, b: Value, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    """Return whether |a - b| is at most ``atol + rtol * |b|``, elementwise.

    Infinities are close to themselves; NaN too if ``equal_nan``.
    """
    a, b = (inexact("isclose", x) for x in promote("isclose", a, b))
    same, usable = equal(a, b), isfinite(b)
    gap = absolute(where(same, 0, a) - where(same, 0, b))
    close = where(usable, less_equal(gap, atol + rtol * absolute(where(usable, b, 0))), same)
    return where(isnan(a), isnan(b), close) if equal_nan else close


# Made of others


def positive(x: Value) -> Value:
    """Return x."""
    get_aval(x, "positive")
    return x


def conj(x: Value) -> Value:
    """Return the complex conjugate of x; real numbers are their own."""
    return fourier.conj(x) if get_aval(x, "conj").dtype.kind == "c" else x


conjugate = conj


def reciprocal(x: Value) -> Value:
    """Return 1 / x in floating point, of integers too."""
    return divide(1, x)


def deg2rad(x: Value) -> Value:
    """Return degrees as radians."""
    return multiply(x, math.pi / 180)


def rad2deg(x: Value) -> Value:
    """Return radians as degrees."""
    return multiply(x, 180 / math.pi)


radians, degrees = deg2rad, rad2deg


def logaddexp2(x: Value, y: Value) -> Value:
    """Return log2(2**x + 2**y) without overflow."""
    return divide(logaddexp(multiply(x, math.log(2)), multiply(y, math.log(2))), math.log(2))


def float_power(x: Value, y: Value) -> Value:
    """Return x to the power y in float64."""
    return power(*(convert(each, np.dtype(np.float64)) for each in promote("float_power", x, y)))


def divmod(x: Value, y: Value) -> tuple[Value, Value]:
    """Return the quotient, rounded down, and the remainder."""
    return floor_divide(x, y), remainder(x, y)


def fmod(x: Value, y: Value) -> Value:
    """Return x - trunc(x / y) * y, which has the sign of x."""
    x, y = promote("fmod", x, y)
    if get_aval(x).dtype.kind in "bu":
        return remainder(x, y)
    return remainder(x, where(signbit(x), negative(absolute(y)), absolute(y)))


def modf(x: Value) -> tuple[Value, Value]:
    """Return the fraction of x and its whole part, both with the sign of x."""
    whole = trunc(inexact("modf", x))
    return copysign(where(isinf(x), 0, x - where(isinf(x), 0, whole)), x), whole


def round(x: Value, decimals: int = 0) -> Value:
    """Return x to so many decimals, half to even; its derivative is 0."""
    if get_aval(x, "round").dtype.kind in "biu" and decimals >= 0:
        return x
    factor = 10.0 ** builtins.abs(decimals)
    if decimals >= 0:
        return divide(rint(multiply(x, factor)), factor) if decimals else rint(x)
    return multiply(rint(divide(x, factor)), factor)


around = round


def copysign(x: Value, y: Value) -> Value:
    """Return x with the sign of y, elementwise."""
    x, y = (inexact("copysign", each) for each in promote("copysign", x, y))
    return where(equal(signbit(x), signbit(y)), x, negative(x))


def heaviside(x: Value, y: Value) -> Value:
    """Return 0 where x is negative, y where it is 0 and 1 where it is positive."""
    x, y = (inexact("heaviside", each) for each in promote("heaviside", x, y))
    return where(equal(x, 0), y, where(isnan(x), x, convert(greater(x, 0), get_aval(x).dtype)))


def nan_to_num(
    x: Value, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    """Return x with numbers for NaN and infinities: by default 0 and the largest ones."""
    dtype = get_aval(x, "nan_to_num").dtype
    if dtype.kind != "f":
        return x
    largest = float(np.finfo(dtype).max)
    x = where(isnan(x), nan, x)
    x = where(isposinf(x), largest if posinf is None else posinf, x)
    return where(isneginf(x), -largest if neginf is None else neginf, x)


_SINC_TERMS = [(-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(12))]


def sinc(x: Value) -> Value:
    """Return sin(pi x) / (pi x), which is 1 at 0; its derivatives are right there, too."""
    u = multiply(inexact("sinc", x), math.pi)
    near = less(absolute(u), 1)
    z = square(where(near, u, 0))  # The quotient's derivatives lose their digits near 0:
    series: Value = 0.0  # there it is a Taylor polynomial.
    for coefficient in _SINC_TERMS:
        series = series * z + coefficient
    safe = where(near, 1, u)
    return where(near, series, divide(sin(safe), safe))


def logit(x: Value) -> Value:
    """Return log(x / (1 - x)), the inverse of the sigmoid."""
    return log(x) - log1p(negative(x))


# Activation functions


def softplus(x: Value) -> Value:
    """Return log(1 + exp(x)), a smooth relu, without overflow."""
    return logaddexp(x, 0)


def log_sigmoid(x: Value) -> Value:
    """Return log(sigmoid(x)), without log(0)."""
    return negative(softplus(negative(x)))


def silu(x: Value) -> Value:
    """Return x * sigmoid(x), also known as swish (Elfwing, Uchibe and Doya, 2018)."""
    return multiply(x, sigmoid(x))


def gelu(x: Value, approximate: bool = False) -> Value:
    """Return x times the probability that a standard normal variable is at most x.

    Parameters
    ----------
    x : array, Python scalar or tracer
    approximate : bool
        Whether to use the tanh of the first implementations, off by up to 5e-4.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units" (2016).
    """
    x = inexact("gelu", x)
    if approximate:
        return x * sigmoid(x * (math.sqrt(8 / math.pi) * (1 + 0.044715 * square(x))))
    # Not 1 + erf(x), whose digits cancel where x is negative.
    return x * (0.5 * erfc(x * -math.sqrt(0.5)))


def leaky_relu(x: Value, slope: float = 0.01) -> Value:
    """Return x where positive, else slope * x; the derivative at 0 is the slope (Maas, 2013)."""
    return where(greater(x, 0), x, multiply(x, slope))


def elu(x: Value, alpha: float = 1.0) -> Value:
    """Return x where positive, else alpha * (exp(x) - 1); alpha is the derivative at 0.

    Clevert, Unterthiner and Hochreiter (2016).
    """
    positive_ = greater(x, 0)
    return where(positive_, x, alpha * expm1(where(positive_, 0, x)))
