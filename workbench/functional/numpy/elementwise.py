"""Elementwise functions: NumPy's names, broadcasting and promotion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workbench.errors import DtypeError
from workbench.functional.core import Primitive, Value, get_aval
from workbench.functional.numpy.promotion import convert, inexact, promote
from workbench.functional.primitives import elementwise as ops

Unary = Callable[[Value], Value]
Binary = Callable[[Value, Value], Value]


def _unary(primitive: Primitive, says: str, floating: bool = True) -> Unary:
    name = primitive.name

    def function(x: Value) -> Value:
        get_aval(x, name)
        return primitive(inexact(name, x) if floating else x)

    result = "floating point; integers become float64" if floating else "of x's dtype"
    return _document(function, name, "x", says, result)


def _binary(
    primitive: Primitive, says: str, floating: bool = False, result: str = "of the promoted dtype"
) -> Binary:
    name = primitive.name

    def function(x: Value, y: Value) -> Value:
        x, y = promote(name, x, y)
        return primitive(inexact(name, x), inexact(name, y)) if floating else primitive(x, y)

    return _document(function, name, "x, y", says, result)


def _document(function: Callable[..., Value], name: str, arguments: str, says: str, result: str):  # type: ignore[no-untyped-def]
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


add = _binary(ops.add, "Return x + y.")
subtract = _binary(ops.subtract, "Return x - y.")
multiply = _binary(ops.multiply, "Return x * y.")
divide = _binary(ops.divide, "Return x / y.", floating=True)
negative = _unary(ops.negative, "Return -x.", floating=False)
exp = _unary(ops.exp, "Return e to the power x.")
expm1 = _unary(ops.expm1, "Return e ** x - 1, with all digits for small x.")
log = _unary(ops.log, "Return the natural logarithm of x.")
log1p = _unary(ops.log1p, "Return log(1 + x), with all digits for small x.")
sqrt = _unary(ops.sqrt, "Return the square root of x.")
sin = _unary(ops.sin, "Return the sine of x in radians.")
cos = _unary(ops.cos, "Return the cosine of x in radians.")
tanh = _unary(ops.tanh, "Return the hyperbolic tangent of x.")
sigmoid = _unary(ops.sigmoid, "Return 1 / (1 + exp(-x)), without overflow.")
absolute = _unary(ops.absolute, "Return |x|; its derivative at 0 is 0.", floating=False)
sign = _unary(ops.sign, "Return -1, 0 or 1; its derivative is 0.", floating=False)
maximum = _binary(ops.maximum, "Return the larger of x and y; where equal, each has half of "
                  "the gradient.")  # fmt: skip
minimum = _binary(ops.minimum, "Return the smaller of x and y; where equal, each has half of "
                  "the gradient.")  # fmt: skip

_BOOL = "boolean: it is piecewise constant, so no gradient passes"
greater = _binary(ops.greater, "Return x > y.", result=_BOOL)
greater_equal = _binary(ops.greater_equal, "Return x >= y.", result=_BOOL)
less = _binary(ops.less, "Return x < y.", result=_BOOL)
less_equal = _binary(ops.less_equal, "Return x <= y.", result=_BOOL)
equal = _binary(ops.equal, "Return x == y.", result=_BOOL)
not_equal = _binary(ops.not_equal, "Return x != y.", result=_BOOL)

abs = absolute


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
    weak = get_aval(condition, "where").weak_type
    return ops.select(convert(condition, bool if weak else np.dtype(bool)), *promote("where", x, y))


def clip(x: Value, low: Value, high: Value) -> Value:
    """Return x with values below ``low`` and above ``high`` replaced by these."""
    return minimum(maximum(x, low), high)
