"""Elementwise primitives.  Operands broadcast as in NumPy and have one dtype.

In a jvp rule ``t`` is the tangent of one argument, ``y`` the output, and ``a``,
``b`` or ``x`` are the arguments; a rule gives the term of one argument.  In a
transpose rule ``g`` is the gradient of the final scalar with respect to the output.

Rules divide with :func:`divide` and not with ``/``: a Python scalar must give
infinity here, as an array does, where Python itself would raise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench import arrays
from workbench.compiler import Builder
from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import (
    PYTHON_SCALARS,
    ZERO,
    Linear,
    NoRule,
    Primitive,
    ShapedArray,
    Value,
    shape_of,
)
from workbench.functional.primitives.rules import NOT_LINEAR, PIECEWISE_CONSTANT, linear_jvp
from workbench.functional.primitives.shape import behind_batch, broadcast_to, undo_broadcasting

Term = Callable[..., Value]

KINDS = {"b": "bool", "i": "integers", "u": "unsigned integers", "f": "floating point",
         "c": "complex numbers"}  # fmt: skip
"""What dtype kinds are called in messages."""


def per_argument(*terms: Term | NoRule) -> Callable[..., tuple[Value, Value]]:
    """Build a jvp rule from one term an argument: ``term(t, y, *primals, **params)``.

    Terms of arguments whose tangent is zero are not computed.
    """

    def jvp(
        primitive: Primitive,
        primals: Sequence[Value],
        tangents: Sequence[Value],
        params: dict[str, Any],
    ) -> tuple[Value, Value]:
        y, total = primitive(*primals, **params), ZERO
        for term, t in zip(terms, tangents, strict=True):
            if t is not ZERO and not isinstance(term, NoRule):
                part = term(t, y, *primals, **params)
                total = part if total is ZERO else add(total, part)
        if total is not ZERO and shape_of(total) != shape_of(y):
            total = broadcast_to(total, shape=shape_of(y))  # The only tangent was a smaller one.
        return y, total

    return jvp


def _batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    ndim = max(len(shape_of(x)) - mine for x, mine in zip(values, mapped, strict=True))
    aligned = [behind_batch(x, ndim) if mine else x for x, mine in zip(values, mapped, strict=True)]
    return primitive(*aligned, **params)


def _abstract(
    name: str, operands: slice, result: type | None, kinds: str
) -> Callable[..., ShapedArray]:
    def abstract(*avals: ShapedArray, **params: Any) -> ShapedArray:
        try:
            shape = np.broadcast_shapes(*(aval.shape for aval in avals))
        except ValueError:
            raise ShapeError(
                name, "the shapes do not broadcast together", given=", ".join(map(str, avals)),
                expected="equal lengths, or 1, counted from the last axis",
            ) from None  # fmt: skip
        dtype = avals[-1].dtype
        if any(aval.dtype != dtype for aval in avals[operands]):
            raise DtypeError(name, "a primitive takes operands of one dtype",
                             given=", ".join(map(str, avals)),
                             fix=f"functional.numpy.{name} promotes them")  # fmt: skip
        if dtype.kind not in kinds:
            raise DtypeError(name, "there is no such operation on this dtype",
                             given=", ".join(map(str, avals)),
                             expected=" or ".join(KINDS[kind] for kind in kinds))  # fmt: skip
        return ShapedArray(shape, result or dtype, all(aval.weak_type for aval in avals))

    return abstract


def elementwise(
    name: str,
    impl: Callable[..., Value],
    *terms: Term | NoRule,
    transpose: Callable[..., tuple[Value, ...]] | NoRule = NOT_LINEAR,
    operands: slice = slice(None),
    result: type | None = None,
    kinds: str = "biufc",
    lower: Callable[..., Any] | None = None,
) -> Primitive:
    """Declare an elementwise primitive.

    Parameters
    ----------
    name, impl
        As :class:`Primitive`.
    *terms
        The terms of its jvp, one an argument; a single NoRule if it has none at all.
    transpose
        As :class:`Primitive`.
    operands : slice
        The arguments that must share a dtype.
    result : type, optional
        The dtype of the result, where it is not theirs.
    kinds : str
        The dtype kinds that it takes, as in :data:`KINDS`.
    lower : callable, optional
        As :class:`Primitive`; the opcode of this name where absent.
    """

    def opcode(b: Builder, *xs: Any) -> Any:
        return getattr(b, name)(*xs)

    no_jvp = isinstance(terms[0], NoRule) and len(terms) == 1
    return Primitive(
        name,
        impl=impl,
        abstract=_abstract(name, operands, result, kinds),
        jvp=terms[0] if no_jvp else per_argument(*terms),
        batch=_batch,
        transpose=transpose,
        lower=lower or opcode,
        elementwise=True,
    )


def _to(x: Any, g: Value) -> Value:
    """Return the cotangent of one operand, None where the operation is not linear in it."""
    return undo_broadcasting(g, x.aval.shape) if isinstance(x, Linear) else None


# Arithmetic

add: Primitive = elementwise(
    "add", np.add, lambda t, y, a, b: t, lambda t, y, a, b: t,
    transpose=lambda g, a, b: (_to(a, g), _to(b, g)),
)  # fmt: skip
negative: Primitive = elementwise(
    "negative", np.negative, lambda t, y, x: negative(t),
    transpose=lambda g, x: (negative(g),),
)  # fmt: skip
subtract: Primitive = elementwise(
    "subtract", np.subtract, lambda t, y, a, b: t, lambda t, y, a, b: negative(t),
    transpose=lambda g, a, b: (_to(a, g), _to(b, negative(g)) if isinstance(b, Linear) else None),
)  # fmt: skip
multiply: Primitive = elementwise(
    "multiply", np.multiply, lambda t, y, a, b: t * b, lambda t, y, a, b: a * t,
    transpose=lambda g, a, b: (_to(a, g * b), None) if isinstance(a, Linear)
    else (None, _to(b, a * g)),
)  # fmt: skip
divide: Primitive = elementwise(
    "divide", np.divide,
    lambda t, y, a, b: divide(t, b),
    lambda t, y, a, b: negative(t * divide(y, b)),
    transpose=lambda g, a, b: (_to(a, divide(g, b)), None),
)  # fmt: skip


def _integer_power(x: Value, *, exponent: int) -> Value:
    return np.square(x) if exponent == 2 else np.power(x, exponent)


integer_power: Primitive = elementwise(
    "integer_power", _integer_power,
    lambda t, y, x, exponent: t * (exponent * integer_power(x, exponent=exponent - 1))
    if exponent else full_like(x, fill_value=0),
    lower=lambda b, x, exponent: b.multiply(x, x) if exponent == 2
    else b.power(x, b.constant(exponent, x.dtype)),
)  # fmt: skip


def _power_by_base(t: Value, y: Value, a: Value, b: Value) -> Value:
    zero = full_like(b, fill_value=0)
    # a ** -1 would be infinite at a = 0 for the power 0, whose derivative is 0.
    lower = power(a, select(equal(b, zero), full_like(b, fill_value=1), b - 1))
    return t * (b * lower)


def _power_by_exponent(t: Value, y: Value, a: Value, b: Value) -> Value:
    # 0 ** b stays 0 for every b > 0, though log 0 is infinite.
    safe = select(equal(a, full_like(a, fill_value=0)), full_like(a, fill_value=1), a)
    return t * (log(safe) * y)


power: Primitive = elementwise("power", np.power, _power_by_base, _power_by_exponent)

# Exponentials and trigonometry

exp: Primitive = elementwise("exp", np.exp, lambda t, y, x: t * y)
expm1: Primitive = elementwise("expm1", np.expm1, lambda t, y, x: t * (y + 1))
log: Primitive = elementwise("log", np.log, lambda t, y, x: divide(t, x))
log1p: Primitive = elementwise("log1p", np.log1p, lambda t, y, x: divide(t, x + 1))
sqrt: Primitive = elementwise("sqrt", np.sqrt, lambda t, y, x: divide(t, 2 * y))
sin: Primitive = elementwise("sin", np.sin, lambda t, y, x: t * cos(x))
cos: Primitive = elementwise("cos", np.cos, lambda t, y, x: negative(t * sin(x)))
tanh: Primitive = elementwise("tanh", np.tanh, lambda t, y, x: t * (1 - y * y))


def _sigmoid(x: Value) -> Value:
    e = np.exp(-np.abs(x))  # Never overflows, and keeps all digits of small results.
    return np.where(np.greater_equal(x, 0), np.ones_like(e), e) / (1 + e)


sigmoid: Primitive = elementwise("sigmoid", _sigmoid, lambda t, y, x: t * (y * (1 - y)))

tan: Primitive = elementwise("tan", np.tan, lambda t, y, x: t * (1 + y * y))
arcsin: Primitive = elementwise(
    "arcsin", np.arcsin, lambda t, y, x: divide(t, sqrt((1 - x) * (1 + x)))
)
arccos: Primitive = elementwise(
    "arccos", np.arccos, lambda t, y, x: negative(divide(t, sqrt((1 - x) * (1 + x))))
)
arctan: Primitive = elementwise("arctan", np.arctan, lambda t, y, x: divide(t, 1 + x * x))
sinh: Primitive = elementwise("sinh", np.sinh, lambda t, y, x: t * cosh(x))
cosh: Primitive = elementwise("cosh", np.cosh, lambda t, y, x: t * sinh(x))
arcsinh: Primitive = elementwise(
    "arcsinh", np.arcsinh, lambda t, y, x: divide(t, hypot(x, full_like(x, fill_value=1)))
)
arccosh: Primitive = elementwise(  # Two roots: the product of their arguments may overflow.
    "arccosh", np.arccosh, lambda t, y, x: divide(t, sqrt(x - 1) * sqrt(x + 1))
)
arctanh: Primitive = elementwise(
    "arctanh", np.arctanh, lambda t, y, x: divide(t, (1 - x) * (1 + x))
)


def _nonzero(r: Value) -> Value:
    """Return a distance to divide by: 1 for 0, where what is divided is 0 as well."""
    return select(equal(r, full_like(r, fill_value=0)), full_like(r, fill_value=1), r)


def _hypot_lower(b: Builder, x: Any, y: Any) -> Any:
    x, y = b.absolute(x), b.absolute(y)
    large, small = b.maximum(x, y), b.minimum(x, y)
    zero, one = b.constant(0, x.dtype), b.constant(1, x.dtype)
    # Dividing by the larger one first, no square overflows or is lost.
    ratio = b.divide(small, b.select(b.equal(large, zero), one, large))
    r = b.multiply(large, b.sqrt(b.add(one, b.multiply(ratio, ratio))))
    infinite = b.bitwise_or(b.isinf(x), b.isinf(y))  # Beside NaN, too.
    return b.select(infinite, b.constant(np.inf, x.dtype), r)


hypot: Primitive = elementwise(
    "hypot", np.hypot,
    lambda t, r, x, y: t * divide(x, _nonzero(r)),
    lambda t, r, x, y: t * divide(y, _nonzero(r)),
    kinds="f", lower=_hypot_lower,
)  # fmt: skip


def _over_square(a: Value, b: Value) -> Value:
    """Return a / (a**2 + b**2), whose square may overflow; 0 where both are 0."""
    r = _nonzero(hypot(a, b))
    return divide(divide(a, r), r)


arctan2: Primitive = elementwise(
    "arctan2", np.arctan2,
    lambda t, angle, y, x: t * _over_square(x, y),
    lambda t, angle, y, x: negative(t * _over_square(y, x)),
    kinds="f",
)  # fmt: skip

# Logarithms and roots


def _log_lower(base: int) -> Callable[[Builder, Any], Any]:
    def lower(b: Builder, x: Any) -> Any:
        y = b.divide(b.log(x), b.constant(math.log(base), x.dtype))
        whole = b.rint(y)  # Whole powers have whole logarithms, which the quotient may miss.
        exact = b.equal(b.power(b.constant(base, x.dtype), whole), x)
        # Below the smallest normal number two powers of ten may round to the same.
        normal = b.less_equal(b.constant(np.finfo(x.dtype).tiny, x.dtype), x)
        return b.select(b.bitwise_and(exact, normal), whole, y)

    return lower


def _cbrt_lower(b: Builder, x: Any) -> Any:
    y = b.multiply(b.sign(x), b.power(b.absolute(x), b.constant(1 / 3, x.dtype)))
    # 1/3 is rounded; one step of Newton's method mends that: y - (y - x / y**2) / 3.
    step = b.divide(b.subtract(y, b.divide(b.divide(x, y), y)), b.constant(3, x.dtype))
    ready = b.bitwise_or(b.equal(x, b.constant(0, x.dtype)), b.isinf(x))
    return b.select(ready, x, b.subtract(y, step))


log2: Primitive = elementwise(
    "log2", np.log2, lambda t, y, x: divide(t, math.log(2) * x), lower=_log_lower(2)
)
log10: Primitive = elementwise(
    "log10", np.log10, lambda t, y, x: divide(t, math.log(10) * x), lower=_log_lower(10)
)
exp2: Primitive = elementwise(
    "exp2", np.exp2, lambda t, y, x: t * (math.log(2) * y),
    lower=lambda b, x: b.power(b.constant(2, x.dtype), x),
)  # fmt: skip
cbrt: Primitive = elementwise(
    "cbrt", np.cbrt, lambda t, y, x: divide(t, 3 * (y * y)), kinds="f", lower=_cbrt_lower
)


def _weight(x: Value, y: Value) -> Value:
    """Return exp(x - y), also where both are infinite; x is at most y."""
    zero, inf = full_like(y, fill_value=0), full_like(y, fill_value=np.inf)
    difference = x - select(equal(absolute(y), inf), zero, y)
    certain = select(equal(x, inf), zero, full_like(y, fill_value=-np.inf))
    return exp(select(equal(y, inf), certain, difference))


def _logaddexp_lower(b: Builder, x: Any, y: Any) -> Any:
    # Equal infinities have no difference.
    d = b.select(b.equal(x, y), b.constant(0, x.dtype), b.subtract(x, y))
    return b.add(b.maximum(x, y), b.log1p(b.exp(b.negative(b.absolute(d)))))


logaddexp: Primitive = elementwise(
    "logaddexp", np.logaddexp,
    lambda t, y, a, b: t * _weight(a, y),
    lambda t, y, a, b: t * _weight(b, y),
    kinds="f", lower=_logaddexp_lower,
)  # fmt: skip

# The error function


def _bell(x: Value) -> Value:
    return 2 / math.sqrt(math.pi) * exp(negative(x * x))


def _ratio(b: Builder, t: Any, polynomials: Any) -> Any:
    """Return the quotient of two polynomials in t, by Horner's rule."""
    totals = []
    for coefficients in polynomials:
        total = b.constant(coefficients[0], t.dtype)
        for c in coefficients[1:]:
            total = b.add(b.multiply(total, t), b.constant(c, t.dtype))
        totals.append(total)
    return b.divide(*totals)


def _erfc(x: Value) -> Value:
    if np.iscomplexobj(x):  # Whose formulas are others; ``kinds`` words the refusal.
        raise TypeError("erfc is of real numbers")
    return arrays.erfc(x)[()]


def _erfc_lower(b: Builder, x: Any) -> Any:
    """Write Cody's approximations (1969) as one chain: see :func:`workbench.arrays.erfc`."""

    def c(value: float) -> Any:
        return b.constant(value, x.dtype)

    a = b.minimum(b.absolute(x), c(30))
    t = b.maximum(a, c(4))  # Each argument stays where its formula holds: none overflows.
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


erf: Primitive = elementwise(
    "erf", lambda x: arrays.erf(x)[()], lambda t, y, x: t * _bell(x), kinds="f"
)
erfc: Primitive = elementwise(
    "erfc", _erfc, lambda t, y, x: negative(t * _bell(x)),
    kinds="f", lower=_erfc_lower,
)  # fmt: skip

# Pieces

absolute: Primitive = elementwise("absolute", np.absolute, lambda t, y, x: t * sign(x))
sign: Primitive = elementwise("sign", np.sign, PIECEWISE_CONSTANT)


def _share(t: Value, y: Value, wins: Value, ties: Value) -> Value:
    """Give the tangent to the operand that wins, and half of it where both do."""
    return select(wins, t, select(ties, t * 0.5, full_like(y, fill_value=0)))


maximum: Primitive = elementwise(
    "maximum", np.maximum,
    lambda t, y, a, b: _share(t, y, greater(a, b), equal(a, b)),
    lambda t, y, a, b: _share(t, y, greater(b, a), equal(a, b)),
)  # fmt: skip
minimum: Primitive = elementwise(
    "minimum", np.minimum,
    lambda t, y, a, b: _share(t, y, less(a, b), equal(a, b)),
    lambda t, y, a, b: _share(t, y, less(b, a), equal(a, b)),
)  # fmt: skip


def _select_transpose(g: Value, condition: Value, a: Any, b: Any) -> tuple[Value, ...]:
    zero = full_like(g, fill_value=0)
    return (
        None,
        _to(a, select(condition, g, zero)) if isinstance(a, Linear) else None,
        _to(b, select(condition, zero, g)) if isinstance(b, Linear) else None,
    )


select: Primitive = elementwise(
    "select", np.where,
    NoRule("the condition is boolean"),
    lambda t, y, condition, a, b: select(condition, t, full_like(y, fill_value=0)),
    lambda t, y, condition, a, b: select(condition, full_like(y, fill_value=0), t),
    transpose=_select_transpose, operands=slice(1, None),
)  # fmt: skip

greater: Primitive = elementwise("greater", np.greater, PIECEWISE_CONSTANT, result=bool)
greater_equal: Primitive = elementwise(
    "greater_equal", np.greater_equal, PIECEWISE_CONSTANT, result=bool
)
less: Primitive = elementwise("less", np.less, PIECEWISE_CONSTANT, result=bool)
less_equal: Primitive = elementwise("less_equal", np.less_equal, PIECEWISE_CONSTANT, result=bool)
equal: Primitive = elementwise("equal", np.equal, PIECEWISE_CONSTANT, result=bool)
not_equal: Primitive = elementwise("not_equal", np.not_equal, PIECEWISE_CONSTANT, result=bool)

isnan: Primitive = elementwise("isnan", np.isnan, PIECEWISE_CONSTANT, result=bool, kinds="fc")

# Rounding and division with remainder

floor: Primitive = elementwise("floor", np.floor, PIECEWISE_CONSTANT, kinds="f")
ceil: Primitive = elementwise("ceil", np.ceil, PIECEWISE_CONSTANT, kinds="f")
trunc: Primitive = elementwise("trunc", np.trunc, PIECEWISE_CONSTANT, kinds="f")
rint: Primitive = elementwise("rint", np.rint, PIECEWISE_CONSTANT, kinds="f")
floor_divide: Primitive = elementwise(
    "floor_divide", np.floor_divide, PIECEWISE_CONSTANT, kinds="iuf"
)
remainder: Primitive = elementwise(
    "remainder", np.remainder, lambda t, y, a, b: t,
    lambda t, y, a, b: negative(t * rint(divide(a - y, b))),  # Whole, whatever was rounded.
    kinds="iuf",
)  # fmt: skip

# Constants and types

full_like: Primitive = elementwise(
    "full_like", np.full_like, NoRule("does not depend on its argument"),
    lower=lambda b, x, fill_value: b.broadcast(b.constant(fill_value, x.dtype), x.shape),
)  # fmt: skip
stop_gradient: Primitive = elementwise(
    "stop_gradient", lambda x: x, NoRule("declared to be a constant, which is its purpose"),
    lower=lambda b, x: x,
)  # fmt: skip


DType = np.dtype[Any] | type
"""What to convert to: a dtype, or Python's own bool, int, float, which stay weak."""


def _convert(x: Value, *, dtype: DType) -> Value:
    if isinstance(dtype, type):
        return x.astype(dtype) if shape_of(x) else dtype(x)
    return dtype.type(x) if type(x) in PYTHON_SCALARS else x.astype(dtype)


def _convert_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    kind = np.dtype(params["dtype"]).kind
    if kind == "c" and tangents[0] is not ZERO:
        raise DtypeError("convert_dtype", "complex values cannot be differentiated",
                         given=str(params["dtype"]), expected="real floating point")  # fmt: skip
    if kind != "f":
        return primitive(*primals, **params), ZERO  # Rounding to integers is piecewise constant.
    return linear_jvp(primitive, primals, tangents, params)


def _convert_transpose(g: Value, x: Linear, *, dtype: DType) -> tuple[Value, ...]:
    back = x.aval.dtype
    return (convert_dtype(g, dtype=type(back.type(0).item()) if x.aval.weak_type else back),)


convert_dtype: Primitive = Primitive(
    "convert_dtype",
    impl=_convert,
    abstract=lambda x, *, dtype: ShapedArray(
        x.shape,
        dtype,
        isinstance(dtype, type) and not x.shape,  # Batched, it is an array.
    ),
    jvp=_convert_jvp,
    batch=_batch,
    transpose=_convert_transpose,
    lower=lambda b, x, dtype: b.convert(x, dtype),
)
