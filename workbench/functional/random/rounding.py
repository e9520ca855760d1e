"""Arithmetic to the last bit: a multiply-add with one rounding, and the inverse of erf by it.

The bits of a normal number depend on how often its polynomials round.  XLA, which draws
JAX's numbers, lets the processor fuse ``a * b + c`` and round once; so the same is done here,
on any processor: in float32 by computing in float64, in float64 by carrying the rounding error
of the product (Dekker, Numerische Mathematik 18, 1971).

``erf_inv`` is Giles' ("Approximating the erfinv function", GPU Computing Gems, 2012), its
logarithm for small arguments the rational function of Moshier's Cephes library, as in XLA.
Against the exact value it is off by what some ulp (at most 6) of an error in x, or in the
result, would do; in every bit it is what JAX computes.

Each formula is written once, for NumPy and for the compiler: ``m`` is :mod:`numpy` or
:mod:`workbench.functional.numpy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi, sqrt
from typing import Any

import numpy as np

from workbench.compiler import Builder
from workbench.errors import DtypeError
from workbench.functional import numpy as functional_numpy
from workbench.functional.core import Primitive, ShapedArray, Value, get_aval
from workbench.functional.lowering import inline
from workbench.functional.numpy.creation import asarray
from workbench.functional.primitives.elementwise import elementwise, exp
from workbench.functional.staging import stage

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
BLOCK = 8192
"""Elements that the eager formulas take at a time: their many steps stay in the cache."""
SPLITTER = 2.0**27 + 1
"""Cuts a float64 into halves of 26 bits, whose products are exact."""

Formula = Callable[..., Value]
Choice = Callable[[Value, Formula, Formula, Value], Value]
"""``pick(condition, f, g, x)``: f(x) where the condition holds, g(x) elsewhere."""


def _blockwise(formula: Formula, *xs: Any) -> Any:
    """Apply a formula to arrays of one dtype that broadcast, a block at a time."""
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    flat = [x if x.ndim == 0 else np.broadcast_to(x, shape).reshape(-1) for x in xs]
    y = np.empty(shape, xs[0].dtype)
    out = y.reshape(-1)
    with np.errstate(all="ignore"):
        for i in range(0, out.size, BLOCK):
            block = [x if x.ndim == 0 else x[i : i + BLOCK] for x in flat]
            out[i : i + BLOCK] = formula(np, _pick, *block)
    return y[()]


def _pick(condition: Any, f: Formula, g: Formula, x: Any) -> Any:
    """Compute each only where it is wanted."""
    y = np.empty_like(x)
    y[condition], y[~condition] = f(x[condition]), g(x[~condition])
    return y


def _select(condition: Value, f: Formula, g: Formula, x: Value) -> Value:
    return functional_numpy.where(condition, f(x), g(x))


def _staged(formula: Formula) -> Callable[..., Any]:
    """Return the lowering of a formula: it is traced, and written into the program."""

    def lower(b: Builder, *xs: Any) -> Any:
        avals = [ShapedArray(x.shape, x.dtype) for x in xs]
        jaxpr = stage(lambda *args: [formula(functional_numpy, _select, *args)], avals, "lower")
        return inline(b, jaxpr, xs)[0]

    return lower


# One rounding


def _halves(x: Value) -> tuple[Value, Value]:
    shifted = x * SPLITTER
    high = shifted - (shifted - x)
    return high, x - high


def _times(w: Value) -> Callable[[Value, Value], Value]:
    """Return the function (y, c) -> y * w + c of float64 that rounds once."""
    w_high, w_low = _halves(w)

    def fused(y: Value, c: Value) -> Value:
        y_high, y_low = _halves(y)
        product = y * w
        error = ((y_high * w_high - product) + y_high * w_low + y_low * w_high) + y_low * w_low
        total = product + c
        rest = total - product
        return total + (((product - (total - rest)) + (c - rest)) + error)

    return fused


def _single(x: Value) -> Value:
    """Round float64 to the digits of float32, and go on in float64."""
    return x.astype(F32).astype(F64)


def _fma(m: Any, pick: Choice, a: Value, b: Value, c: Value) -> Value:
    if a.dtype == F32:
        return (a.astype(F64) * b.astype(F64) + c.astype(F64)).astype(F32)
    y = _times(b)(a, c)
    return m.where(y == y, y, a * b + c)  # The halves of huge numbers overflow.


fma: Primitive = elementwise(
    "fma", lambda *xs: _blockwise(_fma, *xs),
    lambda t, y, a, b, c: t * b, lambda t, y, a, b, c: a * t, lambda t, y, a, b, c: t,
    kinds="f", lower=_staged(_fma),
)  # fmt: skip

# The inverse of erf

# log(1 + x) = x - x**2 / 2 + x**3 P(x) / Q(x), from the highest power down; Q begins with 1.
_P = (4.52700008624452e-05, 0.49854102823193375, 6.578732594206104, 29.911919328553072,
      60.94966798098779, 57.11296359058554, 20.039553499201283)  # fmt: skip
_Q = (1.0, 15.062909083469192, 83.04756596796722, 221.76239823732857, 309.09872225312057,
      216.42788614495947, 60.11866049760384)  # fmt: skip
_SMALL = sqrt(2) - 1
# Cephes' logf: three chains in the mantissa, put together in its cube, and ln 2 in two parts.
_LOG = ((0.070376836, -0.1151461, 0.116769984), (-0.12420141, 0.14249323, -0.16668057),
        (0.20000714, -0.24999994, 0.3333333))  # fmt: skip
_LN2 = (-0.00021219444, 0.6933594)
# Giles' table 2 (float32), in w - 2.5 and sqrt(w) - 3; and table 3, in w - 3.125,
# sqrt(w) - 3.25 and sqrt(w) - 5.
_NEAR_32 = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
            -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_FAR_32 = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
           -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip
_NEAR = (-3.64441206401782e-21, -1.6850591381820166e-19, 1.28584807152564e-18,
         1.1157877678025181e-17, -1.333171662854621e-16, 2.0972767875968562e-17,
         6.637638134358324e-15, -4.054566272975207e-14, -8.151934197605472e-14,
         2.6335093153082323e-12, -1.2975133253453532e-11, -5.415412054294628e-11,
         1.0512122733215323e-09, -4.112633980346984e-09, -2.9070369957882005e-08,
         4.2347877827932404e-07, -1.3654692000834679e-06, -1.3882523362786469e-05,
         0.00018673420803405714, -0.000740702534166267, -0.006033670871430149,
         0.24015818242558962, 1.6536545626831027)  # fmt: skip
_MIDDLE = (2.2137376921775787e-09, 9.075656193888539e-08, -2.7517406297064545e-07,
           1.8239629214389228e-08, 1.5027403968909828e-06, -4.013867526981546e-06,
           2.9234449089955446e-06, 1.2475304481671779e-05, -4.7318229009055734e-05,
           6.828485145957318e-05, 2.4031110387097894e-05, -0.0003550375203628475,
           0.0009532893797373805, -0.0016882755560235047, 0.002491442096107851,
           -0.003751208507569241, 0.005370914553590064, 1.0052589676941592,
           3.0838856104922208)  # fmt: skip
_FAR = (-2.7109920616438573e-11, -2.555641816996525e-10, 1.5076572693500548e-09,
        -3.789465440126737e-09, 7.61570120807834e-09, -1.496002662714924e-08,
        2.914795345090108e-08, -6.771199775845234e-08, 2.2900482228026655e-07,
        -9.9298272942317e-07, 4.526062597223154e-06, -1.968177810553167e-05,
        7.599527703001776e-05, -0.00021503011930044477, -0.00013871931833623122,
        1.0103004648645344, 4.849906401408584)  # fmt: skip


def _horner(fused: Callable[[Value, Value], Value], coefficients: Sequence[Value]) -> Value:
    y: Value = coefficients[0]
    for c in coefficients[1:]:
        y = fused(y, c)
    return y


def _rounded(coefficients: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(np.float32(c)) for c in coefficients)


def _padded(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return (0.0,) * (len(_NEAR) - len(coefficients)) + coefficients


def _times_single(w: Value) -> Callable[[Value, Value], Value]:
    return lambda y, c: _single(y * w + c)  # The product of two float32 is exact in float64.


def _whole(x: Value) -> Value:
    return x.astype(np.int64).astype(F64)


def _log_single(m: Any, y: Value) -> Value:
    """Return Cephes' logf of float32 numbers above 0 and below 1, held in float64."""
    y = m.maximum(y, 2.0**-30)  # No 1 - x ** 2 of float32 lies between.
    # y = mantissa / 2 ** n with a mantissa from 1/2 on.  The offset decides for powers of 2;
    # their neighbours in float32 are further off.
    n = _whole(m.log(y) * (-1 / log(2)) - 1e-8)
    mantissa = y * _whole(m.exp(n * log(2)) + 0.5)
    below = mantissa < float(np.float32(sqrt(0.5)))
    x = m.where(below, mantissa + mantissa, mantissa) - 1.0
    e = m.where(below, -n - 1.0, -n)
    square = _single(x * x)
    cube, fused = _single(square * x), _times_single(x)
    first, second, third = (_horner(fused, _rounded(chain)) for chain in _LOG)
    small, large = _rounded(_LN2)
    by_cube = _times_single(cube)
    tail = by_cube(by_cube(by_cube(first, second), third), _single(e * small))
    return _single(e * large + _single(_single(x - 0.5 * square) + tail))


def _erf_inv(m: Any, pick: Choice, x: Value) -> Value:
    single = x.dtype == F32
    r, times, table = (_single, _times_single, _rounded) if single else (_same, _times, tuple)
    x = x.astype(F64)

    def rational(z: Value) -> Value:
        square, fused = r(z * z), times(z)
        ratio = r(_horner(fused, table(_P)) / _horner(fused, table(_Q)))
        return r(z + r(-0.5 * square + r(r(z * square) * ratio)))

    def logarithm(z: Value) -> Value:
        return _log_single(m, r(z + 1.0)) if single else m.log(z + 1.0)

    z = r(-x * x)
    w = -pick(m.absolute(z) < r(np.float64(_SMALL)), rational, logarithm, z)
    # The pieces are one polynomial, whose coefficients are chosen, in one of several variables.
    near, root = w < (5.0 if single else 6.25), r(m.sqrt(w))
    if single:
        t = r(m.where(near, w - 2.5, root - 3.0))
        chosen = [
            m.where(near, *pair) for pair in zip(table(_NEAR_32), table(_FAR_32), strict=True)
        ]
    else:
        middle = w < 16.0
        t = m.where(near, w - 3.125, root - m.where(middle, 3.25, 5.0))
        rows = zip(_NEAR, _padded(_MIDDLE), _padded(_FAR), strict=True)
        chosen = [m.where(near, a, m.where(middle, b, c)) for a, b, c in rows]
    y = _horner(times(t), chosen)
    size = m.absolute(x)
    y = m.where(size < 1.0, y, m.where(size == 1.0, np.inf, np.nan)) * x
    return y.astype(F32) if single else y


def _same(x: Value) -> Value:
    return x


_primitive: Primitive = elementwise(
    "erf_inv", lambda x: _blockwise(_erf_inv, x),
    lambda t, y, x: t * (exp(y * y) * (sqrt(pi) / 2)),
    kinds="f", lower=_staged(_erf_inv),
)  # fmt: skip


def erf_inv(x: Value) -> Value:
    """Return the y of which erf(y) is x: infinite at -1 and 1, NaN beyond.

    Parameters
    ----------
    x : array or tracer of float32 or float64
        Any shape.

    Raises
    ------
    DtypeError
        If ``x`` has another dtype.
    """
    aval = get_aval(x, "erf_inv")
    if aval.dtype not in (F32, F64):
        raise DtypeError("erf_inv", "there is no such operation on this dtype", given=f"x {aval}",
                         expected="float32 or float64")  # fmt: skip
    return _primitive(asarray(x))
