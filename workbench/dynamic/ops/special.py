"""Elementwise functions beyond the everyday ones: angles, logarithms, rounding, error functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.ops.elementwise import (
    Elementwise,
    exp,
    log,
    log1p,
    sqrt,
    unary,
    values,
    where,
)

__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "ceil",
    "cosh", "deg2rad", "erf", "erfc", "exp2", "floor", "fmod", "hypot", "lerp", "log2", "log10",
    "logaddexp", "logit", "mod", "nan_to_num", "ndtr", "rad2deg", "reciprocal", "rint", "round",
    "sinc", "sinh", "tan", "trunc",
]  # fmt: skip

# fmt: off
tan = unary("tan", np.tan, lambda g, y: g * (1 + y * y), "Return the tangent of x, in radians.")
arcsin = unary("arcsin", np.arcsin, lambda g, x: g / sqrt((1 - x) * (1 + x)),
               "Return the angle in [-pi/2, pi/2] whose sine is x.")
arccos = unary("arccos", np.arccos, lambda g, x: -g / sqrt((1 - x) * (1 + x)),
               "Return the angle in [0, pi] whose cosine is x.")
arctan = unary("arctan", np.arctan, lambda g, x: g / (1 + x * x),
               "Return the angle in (-pi/2, pi/2) whose tangent is x.")
sinh: Callable[..., Any] = unary("sinh", np.sinh, lambda g, x: g * cosh(x),
                                 "Return the hyperbolic sine of x.")
cosh: Callable[..., Any] = unary("cosh", np.cosh, lambda g, x: g * sinh(x),
                                 "Return the hyperbolic cosine of x.")
arcsinh = unary("arcsinh", np.arcsinh, lambda g, x: g / sqrt(1 + x * x),
                "Return the number whose hyperbolic sine is x.")
arccosh = unary("arccosh", np.arccosh, lambda g, x: g / sqrt((x - 1) * (x + 1)),
                "Return the number, at least 0, whose hyperbolic cosine is x.")
arctanh = unary("arctanh", np.arctanh, lambda g, x: g / ((1 - x) * (1 + x)),
                "Return the number whose hyperbolic tangent is x.")
exp2 = unary("exp2", np.exp2, lambda g, y: g * (math.log(2) * y), "Return 2 ** x.")
log2 = unary("log2", np.log2, lambda g, x: g / (math.log(2) * x),
             "Return the logarithm of x to base 2.")
log10 = unary("log10", np.log10, lambda g, x: g / (math.log(10) * x),
              "Return the logarithm of x to base 10.")
reciprocal = unary("reciprocal", np.reciprocal, lambda g, y: -g * (y * y), "Return 1 / x.")
cbrt = unary("cbrt", np.cbrt, lambda g, y: g / (3 * y * y), "Return the cube root of x.")
erf = unary("erf", arrays.erf, lambda g, x: g * (2 / math.sqrt(math.pi) * exp(-x * x)),
            "Return the error function of x.")
erfc = unary("erfc", arrays.erfc, lambda g, x: -g * (2 / math.sqrt(math.pi) * exp(-x * x)),
             "Return 1 - erf(x), accurate where that is tiny.")
ndtr = unary("ndtr", lambda x: 0.5 * arrays.erfc(-math.sqrt(0.5) * x),
             lambda g, x: g * (1 / math.sqrt(2 * math.pi) * exp(-0.5 * x * x)),
             "Return the probability that a standard normal variable is at most x.")

FLAT = "; the derivative is taken as 0 everywhere."
floor = unary("floor", np.floor, lambda g: g * 0.0, "Return the largest integer <= x" + FLAT)
ceil = unary("ceil", np.ceil, lambda g: g * 0.0, "Return the smallest integer >= x" + FLAT)
trunc = unary("trunc", np.trunc, lambda g: g * 0.0, "Return x rounded towards 0" + FLAT)
rint = unary("rint", np.rint, lambda g: g * 0.0,
             "Return the integer nearest to x, the even one of two" + FLAT)
# fmt: on


def binary(name: str, forward: Any, backward: Any, doc: str) -> Callable[..., Any]:
    """Make an operation of two arguments, as :func:`unary` does; ``backward(g, x, y, z)``."""

    def forward_(ctx: Any, x: Any, y: Any) -> Any:
        ctx.args, ctx.output = (x, y), (z := forward(x, y))
        return z

    def backward_(ctx: Any, g: Any) -> Any:
        return backward(g, *ctx.args, ctx.output)

    methods = {"forward": staticmethod(forward_), "backward": staticmethod(backward_)}
    names = {"__doc__": doc, "__module__": __name__, "name": name}
    cls: Any = type(name.title(), (Elementwise,), methods | names)
    return cls.apply


def replaced(x: Any, exception: float, by: float) -> Any:
    """Return x with one number replaced, through which no gradient flows."""
    return where(values(x) == exception, by, x)


def _arctan2_gradient(g: Any, y: Any, x: Any, z: Any) -> Any:
    r = replaced(hypot(x, y), 0, 1.0)  # Not r * r, which overflows.
    return g * (x / r) / r, g * (-y / r) / r


# fmt: off
hypot = binary("hypot", np.hypot,
               lambda g, x, y, z: (g * (x / replaced(z, 0, 1.0)), g * (y / replaced(z, 0, 1.0))),
               "Return sqrt(x**2 + y**2) without overflow; derivatives at (0, 0) are taken as 0.")
arctan2 = binary("arctan2", np.arctan2, _arctan2_gradient,
                 "Return the angle of the point (x, y), the arguments being y and x; "
                 "derivatives at (0, 0) are taken as 0.")
logaddexp = binary("logaddexp", np.logaddexp,  # Where all are -inf, exp(x) is flat.
                   lambda g, x, y, z: (g * exp(x - replaced(z, -np.inf, 0.0)),
                                       g * exp(y - replaced(z, -np.inf, 0.0))),
                   "Return log(exp(x) + exp(y)), without overflow.")
mod = binary("mod", np.mod,
             lambda g, x, y, z: (+g, -g * np.rint((values(x) - values(z)) / values(y))),
             "Return x - floor(x / y) * y: the remainder that has the sign of y.")
fmod = binary("fmod", np.fmod,
              lambda g, x, y, z: (+g, -g * np.rint((values(x) - values(z)) / values(y))),
              "Return x - trunc(x / y) * y: the remainder that has the sign of x.")
# fmt: on


class Round(Elementwise):
    """x rounded to so many decimals."""

    @staticmethod
    def forward(ctx: Any, x: Any, decimals: int) -> Any:
        return np.round(x, decimals)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 0.0


def round(x: Any, decimals: int = 0) -> Any:
    """Return x rounded to so many decimals, half to even; the derivative is taken as 0."""
    return Round.apply(x, decimals)


def deg2rad(x: Any) -> Any:
    """Return degrees as radians."""
    return x * (math.pi / 180)


def rad2deg(x: Any) -> Any:
    """Return radians as degrees."""
    return x * (180 / math.pi)


def lerp(x: Any, y: Any, weight: Any) -> Any:
    """Return x + weight * (y - x): x where the weight is 0, y where it is 1."""
    return x + weight * (y - x)


def logit(x: Any) -> Any:
    """Return log(x / (1 - x)), the inverse of the sigmoid."""
    return log(x) - log1p(-x)


class SphericalBessel(Elementwise):
    """The spherical Bessel function of order n; of order 0, sin(x) / x."""

    @staticmethod
    def forward(ctx: Any, x: Any, n: int) -> Any:
        ctx.args = x, None
        ctx.n = n
        small = np.abs(x) <= n + 1
        s = np.where(small, x, 0)  # By the power series, where the recurrence is unstable.
        series = term = s**n / math.prod(range(2 * n + 1, 0, -2))
        for k in range(1, 20 + n):
            term = term * (s * s) / (-2 * k * (2 * k + 2 * n + 1))
            series = series + term
        v = np.where(small, 1, x)
        before, j = np.cos(v) / v, np.sin(v) / v
        for k in range(n):
            before, j = j, (2 * k + 1) / v * j - before
        return np.where(small, series, j)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, n = ctx.args[0], ctx.n
        if not n:
            return -g * SphericalBessel.apply(x, 1)
        down, up = SphericalBessel.apply(x, n - 1), SphericalBessel.apply(x, n + 1)
        return g * (n * down - (n + 1) * up) / (2 * n + 1)


def sinc(x: Any) -> Any:
    """Return sin(pi x) / (pi x), 1 at 0; derivatives of every order are right there too."""
    return SphericalBessel.apply(math.pi * x, 0)


def nan_to_num(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """Return x with numbers for NaN and infinities, by default 0 and the largest ones.

    The derivative is 1 where x is finite, 0 elsewhere.  CuPy takes the numbers to the GPU
    and back, to look at them.
    """
    data = values(x)
    return where(np.isfinite(data), x, np.nan_to_num(data, nan=nan, posinf=posinf, neginf=neginf))
