"""Elementwise operations, with NumPy's broadcasting.

``backward`` returns gradients in the shape of the result; the engine undoes broadcasting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.dynamic.function import NO_GRADIENT, Function
from workbench.dynamic.tensor import Tensor

__all__ = [
    "absolute", "add", "astype", "bitwise_and", "bitwise_or", "bitwise_xor", "clip", "cos",
    "divide", "equal", "exp", "expm1", "floor_divide", "greater", "greater_equal", "heaviside",
    "invert", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative",
    "not_equal", "positive", "power", "relu", "sigmoid", "sign", "sin", "sqrt", "square",
    "subtract", "tanh", "where", "xlogy",
]  # fmt: skip


class Elementwise(Function):
    """An operation on corresponding elements of arguments that broadcast."""

    broadcasts = True
    fresh = computes = True
    expects = "shapes that broadcast: from the right, equal lengths or 1"


def keep_crosswise(ctx: Any, x: Any, y: Any) -> None:
    """Keep of a product's factors those that the other's gradient needs."""
    a, b = ctx.inputs
    ctx.args = (None if b is None else x, None if a is None else y)


class Add(Elementwise):
    """Return x + y."""

    fresh = False

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return x + y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


add = Add.apply


class Subtract(Elementwise):
    """Return x - y."""

    fresh = False

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return np.subtract(x, y)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, None if ctx.inputs[1] is None else -g


subtract = Subtract.apply


class Multiply(Elementwise):
    """Return x * y."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        keep_crosswise(ctx, x, y)
        return x * y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.args
        return None if y is None else g * y, None if x is None else g * x


multiply = Multiply.apply


class Divide(Elementwise):
    """Return x / y."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.args, z = (None, y), np.true_divide(x, y)
        if ctx.inputs[1] is not None:
            ctx.output = z
        return z

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        g = g / ctx.args[1]
        return g, None if ctx.inputs[1] is None else -g * ctx.output


divide = Divide.apply


class Power(Elementwise):
    """Return x ** y; at x = 0 the derivative with respect to y is taken as 0."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.args, z = (x, y), x**y
        if ctx.inputs[1] is not None:
            ctx.output = z
        return z

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x, y), (a, b) = ctx.args, ctx.inputs
        dx = dy = None
        if a is not None:  # x**0 is flat, also at x = 0, where x**-1 is not finite.
            zero = values(y) == 0
            less_one = where(zero, 1, y) - 1 if np.ndim(zero) else y - (not zero)
            dx = g * (y * x**less_one)
        if b is not None:  # 0**y is flat for y > 0: log(1) stands in for log(0).
            dy = g * ctx.output * log(where(values(x) == 0, 1.0, x))
        return dx, dy


power = Power.apply


def unary(name: str, forward: Any, backward: Any, doc: str) -> Callable[..., Any]:
    """Make an operation of one argument from two functions on adjacent lines.

    Parameters
    ----------
    name : str
    forward : callable
        ``forward(x)`` on an array.
    backward : callable
        ``backward(g)``, ``backward(g, x)`` or ``backward(g, y)``; the name of its second
        parameter says what to keep: the argument x, or the result y.
    doc : str
    """
    parameters = inspect.signature(backward).parameters
    keeps_x, keeps_y = "x" in parameters, "y" in parameters

    def forward_(ctx: Any, x: Any) -> Any:
        if keeps_y:
            ctx.output = y = forward(x)
            return y
        if keeps_x:
            ctx.args = (x,)
        return forward(x)

    def backward_(ctx: Any, g: Any) -> Any:
        if keeps_y:
            return backward(g, ctx.output)
        return backward(g, ctx.args[0]) if keeps_x else backward(g)

    methods = {"forward": staticmethod(forward_), "backward": staticmethod(backward_)}
    names = {"__doc__": doc, "__module__": __name__, "name": name}
    cls: Any = type(name.title(), (Elementwise,), methods | names)
    return cls.apply


def logistic(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)) of an array; never overflows, exact in both tails."""
    e = np.exp(-abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


# fmt: off
negative = unary("negative", lambda x: -x,
                             lambda g: -g, "Return -x.")
positive = unary("positive", lambda x: +x,
                             lambda g: +g, "Return a copy of x, through which gradients flow.")
exp      = unary("exp",      np.exp,
                             lambda g, y: g * y, "Return e ** x.")
log      = unary("log",      np.log,
                             lambda g, x: g / x, "Return the natural logarithm of x.")
log1p    = unary("log1p",    np.log1p,
                             lambda g, x: g / (1 + x), "Return log(1 + x), accurate for small x.")
expm1    = unary("expm1",    np.expm1,  # Its slope is not y + 1, which loses exp(-30)'s digits.
                             lambda g, x: g * exp(x), "Return exp(x) - 1, accurate for small x.")
sqrt     = unary("sqrt",     np.sqrt,
                             lambda g, y: g / (2 * y), "Return the square root of x.")
square   = unary("square",   lambda x: x * x,
                             lambda g, x: g * (2 * x), "Return x * x.")
absolute = unary("absolute", np.absolute,
                             lambda g, x: g * np.sign(values(x)),
                             "Return |x|; the derivative at 0 is taken as 0.")
sign     = unary("sign",     np.sign,
                             lambda g: g * 0.0,
                             "Return -1, 0 or 1; the derivative is taken as 0 everywhere.")
sin      = unary("sin",      np.sin,
                             lambda g, x: g * cos(x), "Return the sine of x, in radians.")
cos: Callable[..., Any] = unary("cos",      np.cos,
                             lambda g, x: -g * sin(x), "Return the cosine of x, in radians.")
tanh     = unary("tanh",     np.tanh,
                             lambda g, y: g * (1 - y * y), "Return the hyperbolic tangent of x.")
sigmoid  = unary("sigmoid",  logistic,
                             lambda g, y: g * (y * (1 - y)),
                             "Return 1 / (1 + exp(-x)), without overflow.")
relu     = unary("relu",     lambda x: np.maximum(x, 0),
                             lambda g, y: g * (values(y) > 0),
                             "Return max(x, 0); the derivative at 0 is taken as 0.")
# fmt: on


class Astype(Elementwise):
    """The same numbers in another dtype."""

    converts = True

    @staticmethod
    def forward(ctx: Any, x: Any, dtype: Any) -> Any:
        return x.astype(dtype)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.astype(ctx.inputs[0].dtype)


def astype(x: Any, dtype: npt.DTypeLike) -> Any:
    """Return x in another dtype; gradients come back in x's own."""
    if not arrays.is_float(np.dtype(dtype)) and isinstance(x, Tensor):
        return Tensor(x.data.astype(dtype))
    return Astype.apply(x, np.dtype(dtype).name)


class Maximum(Elementwise):
    """Return the larger of x and y, elementwise; at a tie each gets half of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.args = x, y
        return np.maximum(x, y)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = values(ctx.args[0]), values(ctx.args[1])
        half = 0.5 * g  # Twice half where one wins, once each where they tie.
        return half * (x > y) + half * (x >= y), half * (y > x) + half * (y >= x)


maximum = Maximum.apply


def minimum(x: Any, y: Any) -> Any:
    """Return the smaller of x and y, elementwise; at a tie each gets half of the gradient."""
    return negative(maximum(negative(x), negative(y)))


class Clip(Elementwise):
    """Return x within bounds, either of which can be None, a number, an array or a tensor.

    Inside and *at* a bound the gradient goes to x, beyond it to the bound.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, low: Any = None, high: Any = None) -> Any:
        ctx.args = x, low, high
        return np.clip(x, low, high)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, low, high = map(values, ctx.args)
        raised = x if low is None else np.maximum(x, low)
        above = raised != raised if high is None else raised > high
        below = (raised != x) & ~above
        return g * ~(above | below), g * below, g * above


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """Return x within bounds, either of which can be None, a number, an array or a tensor.

    Inside and *at* a bound the gradient goes to x, beyond it to the bound.
    """
    return Clip.apply(x, low, high)


class Where(Elementwise):
    """Return x where the condition holds and y elsewhere; all three broadcast."""

    @staticmethod
    def forward(ctx: Any, condition: Any, x: Any, y: Any) -> Any:
        ctx.condition = condition
        return np.where(condition, x, y)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return None, where(ctx.condition, g, 0.0), where(ctx.condition, 0.0, g)


where = Where.apply


def xlogy(x: Any, y: Any) -> Any:
    """Return x * log(y), and 0 where x is 0, with derivative 0 there."""
    return x * log(where(values(x) == 0, 1.0, y))


def values(x: Any) -> Any:
    """Return the array of a Tensor, and anything else as it is: a constant to compute with."""
    return x.data if isinstance(x, Tensor) else x


def constant(name: str, reason: str) -> Callable[..., Any]:
    """Make of NumPy's function an operation without gradient, and note the reason."""
    function = getattr(np, name)

    def op(*args: Any, **options: Any) -> Any:
        data = function(*map(values, args), **options)
        return wrapped(data) if any(isinstance(x, Tensor) for x in args) else data

    op.__name__ = op.__qualname__ = name
    op.__doc__ = f"As numpy.{name}, without gradient: {reason}."
    NO_GRADIENT[name] = reason
    return op


def wrapped(data: Any) -> Any:
    """Return what NumPy answered as a constant tensor, or a tuple of such."""
    if isinstance(data, tuple):
        return tuple(map(wrapped, data))
    return Tensor(np.asarray(data) if isinstance(data, np.generic | int) else data)


def _compare(name: str) -> Any:
    ufunc = getattr(np, name)

    def compare(x: Any, y: Any) -> Any:
        data = ufunc(values(x), values(y))
        return wrapped(data) if isinstance(x, Tensor) or isinstance(y, Tensor) else data

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"Return where x is {name.replace('_', ' or ')} to y; no gradient."
    return compare


greater, greater_equal = _compare("greater"), _compare("greater_equal")
less, less_equal = _compare("less"), _compare("less_equal")
equal, not_equal = _compare("equal"), _compare("not_equal")
NO_GRADIENT |= dict.fromkeys(
    ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"),
    STEP := "a step function: its derivative is 0 wherever it has one",
)
heaviside, floor_divide = constant("heaviside", STEP), constant("floor_divide", STEP)
isnan, isfinite, isinf = (
    constant("isnan", STEP),
    constant("isfinite", STEP),
    constant("isinf", STEP),
)
DISCRETE = "it takes integers or truth values, which have no derivative"
logical_and, logical_or = constant("logical_and", DISCRETE), constant("logical_or", DISCRETE)
logical_xor, logical_not = constant("logical_xor", DISCRETE), constant("logical_not", DISCRETE)
bitwise_and, bitwise_or = constant("bitwise_and", DISCRETE), constant("bitwise_or", DISCRETE)
bitwise_xor, invert = constant("bitwise_xor", DISCRETE), constant("invert", DISCRETE)
