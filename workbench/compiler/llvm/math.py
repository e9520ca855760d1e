"""Elementary functions as straight-line code, so that the loops they stand in vectorise.

A call to the C library's ``exp`` in a loop makes LLVM give up on it; a polynomial does not.
Each function here is an argument reduction, a polynomial and a reconstruction, free of
branches, written once for float32 and float64 in :class:`Number`, which turns Python's
operators into LLVM instructions.

The polynomials are minimax in the relative error of the function, found by Remez's exchange
(1934) in 50 digits; the reductions are those of Cody and Waite, *Software Manual for the
Elementary Functions* (1980), and for the logarithm of Tang, *Table-driven implementation of
the logarithm function* (ACM TOMS 16, 1990), without the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir


@dataclass(frozen=True)
class Format:
    """A floating-point format, and the constants that depend on it.

    Attributes
    ----------
    dtype : str
        ``"f4"`` or ``"f8"``.
    type, integer : ir.Type
        Its LLVM type, and the integer type of as many bits.
    mantissa, bias : int
        Bits of the mantissa as stored, and what is added to the exponent.
    ln2 : tuple of float
        log(2) in two parts; the first has so few bits that ``n * ln2[0]`` is exact for
        every exponent ``n``.
    exp_range, expm1_range : tuple of float
        Beyond these the results are 0 (or -1) and infinity.
    tanh_limit, erf_limit, erf_split : float
        Beyond the limits the results round to 1; below the split, erf is x times a
        polynomial, above it 1 - exp(-polynomial).
    """

    dtype: str
    type: ir.Type
    integer: ir.Type
    mantissa: int
    bias: int
    ln2: tuple[float, float]
    exp_range: tuple[float, float]
    expm1_range: tuple[float, float]
    tanh_limit: float
    erf_limit: float
    erf_split: float

    @property
    def rounder(self) -> float:
        """1.5 * 2**mantissa: adding it rounds to a whole number, left in the lowest bits."""
        return 1.5 * 2.0**self.mantissa

    def bits(self, x: float) -> int:
        """Return the bits of a number, as a whole number."""
        return int(np.array(x, self.dtype).view(f"u{self.dtype[1]}"))


FLOAT32 = Format("f4", ir.FloatType(), ir.IntType(32), 23, 127,
                 (0.693145751953125, 1.4286067653e-06),
                 (-105.0, 89.0), (-20.0, 88.73), 9.02, 4.0, 0.9)  # fmt: skip
FLOAT64 = Format("f8", ir.DoubleType(), ir.IntType(64), 52, 1023,
                 (0.6931471803691238, 1.9082149292705877e-10),
                 (-746.0, 710.0), (-40.0, 709.79), 20.0, 6.0, 1.0)  # fmt: skip

# Lowest power first.
POLYNOMIALS: dict[tuple[str, str], tuple[float, ...]] = {
    # (e**r - 1 - r) / r**2 for |r| up to log(2) / 2
    ("exp", "f4"): (0.5, 0.16666542, 0.04166628, 0.008366698, 0.0013946645),
    ("exp", "f8"): (
        0.5000000000000006, 0.16666666666666685, 0.04166666666657267, 0.008333333333314532,
        0.0013888888932756342, 0.00019841269903259344, 2.4801503934866355e-05,
        2.755722767238098e-06, 2.762654781195395e-07, 2.5114583806421608e-08,
    ),
    # (2 artanh(s) - 2 s) / s**3, in s**2, for s up to (sqrt(2) - 1) / (sqrt(2) + 1)
    ("log", "f4"): (0.66666776, 0.39977673, 0.29869372),
    ("log", "f8"): (
        0.6666666666666727, 0.3999999999945191, 0.28571428735691123, 0.2222219914765769,
        0.1818353888070536, 0.15314611831394623, 0.14791075902023013,
    ),
    # erf(x) / x - 1, in x**2, up to the split
    ("erf", "f4"): (
        0.12837915, -0.37612525, 0.11282141, -0.026778908, 0.005011963, -0.00060903607,
    ),
    ("erf", "f8"): (
        0.12837916709551256, -0.3761263890318352, 0.11283791670944185, -0.02686617064311153,
        0.00522397760611888, -0.000854832592932979, 0.00012055293577272878,
        -1.4924712308029719e-05, 1.6447131635680484e-06, -1.6206314196309946e-07,
        1.3710982108482451e-08, -7.779471406957415e-10,
    ),
    # tanh(x) / x, in x**2, up to where it rounds to 1: the first by the second
    ("tanh over", "f4"): (
        1.0, 0.13083158, 0.0031030022, 1.1144266e-05, -2.0184007e-08, 5.2577973e-11,
        -8.436091e-14,
    ),
    ("tanh under", "f4"): (1.0, 0.46416485, 0.024491385, 0.00025447525),
    # -log(1 - erf(x)) from the split on
    ("erf tail", "f4"): (
        0.00016646138, 1.1277971, 0.63697624, 0.10411354, -0.022315137, 0.0030654683,
        -0.00019821708,
    ),
    ("erf tail", "f8"): (
        1.0633255541793664e-06, 1.12836871462061, 0.6366675686215358, 0.10263767586141263,
        -0.018865429882774242, -0.0005840072649105, 0.0020987238982000107,
        -0.0009199099028406899, 0.00023063238098715693, -2.7992891443171625e-05,
        -3.612251136807831e-06, 2.673261584158545e-06, -6.878015089585357e-07,
        1.0822786164275165e-07, -1.090403514831963e-08, 6.51857762389763e-10,
        -1.7705482481126336e-11,
    ),
}  # fmt: skip

ACCURACY: dict[tuple[str, str], float] = {}
"""Largest error of each function of each dtype, in units in the last place of the result."""


class Number:
    """A float in generated code: arithmetic on it adds instructions.

    Parameters
    ----------
    builder : ir.IRBuilder
    value : ir.Value
    """

    __slots__ = ("builder", "format", "value")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value
        self.format = FLOAT32 if value.type == FLOAT32.type else FLOAT64

    def _lift(self, x: Number | float) -> ir.Value:
        return x.value if isinstance(x, Number) else ir.Constant(self.format.type, float(x))

    def _make(self, value: ir.Value) -> Number:
        return Number(self.builder, value)

    def call(self, name: str, *others: Number | float) -> Number:
        """Return the LLVM intrinsic ``name`` of this number and others."""
        kind, operands = self.format.type, [self.value, *map(self._lift, others)]
        signature = ir.FunctionType(kind, [kind] * len(operands))
        function = self.builder.module.declare_intrinsic(f"llvm.{name}", [kind], signature)
        return self._make(self.builder.call(function, operands))

    def __add__(self, other: Number | float) -> Number:
        return self._make(self.builder.fadd(self.value, self._lift(other)))

    def __sub__(self, other: Number | float) -> Number:
        return self._make(self.builder.fsub(self.value, self._lift(other)))

    def __rsub__(self, other: float) -> Number:
        return self._make(self.builder.fsub(self._lift(other), self.value))

    def __mul__(self, other: Number | float) -> Number:
        return self._make(self.builder.fmul(self.value, self._lift(other)))

    def __truediv__(self, other: Number | float) -> Number:
        return self._make(self.builder.fdiv(self.value, self._lift(other)))

    def __neg__(self) -> Number:
        return self._make(self.builder.fneg(self.value))

    def __abs__(self) -> Number:
        return self.call("fabs")

    def times_plus(self, factor: Number | float, term: Number | float) -> Number:
        """Return ``self * factor + term``, rounded once where the machine can."""
        return self.call("fmuladd", factor, term)

    def is_(self, comparison: str, other: Number | float) -> ir.Value:
        """Return whether an ordered comparison holds: never, if either is a NaN."""
        return self.builder.fcmp_ordered(comparison, self.value, self._lift(other))

    def if_(self, condition: ir.Value, other: Number | float) -> Number:
        """Return this number where ``condition`` holds, else ``other``."""
        return self._make(self.builder.select(condition, self.value, self._lift(other)))

    def clamp(self, low: float, high: float) -> Number:
        """Return the nearest number in a range; a NaN stays one."""
        lifted = self._make(self._lift(low)).if_(self.is_("<", low), self)
        return self._make(self._lift(high)).if_(self.is_(">", high), lifted)

    def polynomial(self, name: str) -> Number:
        """Return a row of :data:`POLYNOMIALS` at this number.

        By Horner's rule in two chains, of the even and of the odd powers, which the
        machine works on at once: a chain waits for each of its links.
        """
        row = POLYNOMIALS[name, self.format.dtype]
        square = self * self
        even, odd = (square._horner(row[start::2]) for start in (0, 1))
        return odd.times_plus(self, even)

    def _horner(self, coefficients: tuple[float, ...]) -> Number:
        *rest, highest = coefficients
        y = self._make(self._lift(highest))
        for coefficient in reversed(rest):
            y = y.times_plus(self, coefficient)
        return y

    def bits(self) -> ir.Value:
        """Return its bits, as a whole number."""
        return self.builder.bitcast(self.value, self.format.integer)

    def from_bits(self, bits: ir.Value) -> Number:
        """Return the number that has these bits, in this number's format."""
        return self._make(self.builder.bitcast(bits, self.format.type))

    def constant_bits(self, x: float | int) -> ir.Constant:
        """Return the bits of a float, or a whole number as it is, as a constant."""
        return ir.Constant(self.format.integer, self.format.bits(x) if type(x) is float else x)


# --- exponentials --------------------------------------------------------------------------


def _power_of_two(rounded: Number) -> Number:
    """Return 2**n where ``rounded`` is n plus the rounder; n is no subnormal's exponent."""
    b, mantissa = rounded.builder, rounded.constant_bits(rounded.format.mantissa)
    return rounded.from_bits(b.add(b.shl(rounded.bits(), mantissa), rounded.constant_bits(1.0)))


def _reduce(x: Number) -> tuple[Number, Number, Number]:
    """Return n plus the rounder, r and e**r - 1 - r, where x = n log(2) + r and r is small."""
    high, low = x.format.ln2
    rounded = x.times_plus(1 / np.log(2), x.format.rounder)
    n = rounded - x.format.rounder
    exact = n.times_plus(-high, x)
    r = n.times_plus(-low, exact)
    missing = n.times_plus(-low, exact - r)  # What rounding left out of r.
    return rounded, r, (r * r).times_plus(r.polynomial("exp"), missing)


def _exp(x: Number) -> Number:
    rounded, r, q = _reduce(x.clamp(*x.format.exp_range))
    # Two factors: one alone leaves the format's range where the result just stays inside.
    half = (rounded - x.format.rounder).times_plus(0.5, x.format.rounder)
    other = rounded - (half - x.format.rounder)
    return (q + r + 1.0) * _power_of_two(half) * _power_of_two(other)


def _exp_inside(x: Number) -> Number:
    """Return exp(x) for arguments whose results are normal numbers."""
    rounded, r, q = _reduce(x)
    scale = _power_of_two(rounded)
    return (q + r).times_plus(scale, scale)


def _expm1(x: Number) -> Number:
    rounded, r, q = _reduce(x.clamp(*x.format.expm1_range))
    p = q + r
    half = _power_of_two(rounded - 1.0)  # 2**n itself is infinite for the largest arguments.
    y = p.times_plus(half, half - 0.5) * 2.0
    return p.if_(rounded.is_("==", x.format.rounder), y).call("copysign", x)


def _sigmoid(x: Number) -> Number:
    e = _exp(-abs(x))  # Never overflows, and keeps its digits far from 0.
    whole = e.if_(x.is_("<", 0.0), 1.0)
    return (-whole).times_plus(e / (e + 1.0), whole)  # The quotient's error hardly counts so.


def _tanh(x: Number) -> Number:
    """In float32 a quotient of polynomials: within 5 ulp, in little more than half the time.

    In float64, of t = expm1(2x), t / (t + 2); near 0, the same as x plus a small correction.
    """
    if x.format is FLOAT32:
        c = x.clamp(-x.format.tanh_limit, x.format.tanh_limit)
        over, under = (
            (c * c)._horner(POLYNOMIALS[name, "f4"]) for name in ("tanh over", "tanh under")
        )
        return (c * (over / under)).clamp(-1.0, 1.0)
    a = abs(x).clamp(0.0, x.format.tanh_limit)
    rounded, r, q = _reduce(a * 2.0)
    scale = _power_of_two(rounded)
    p = r + q
    t = p.times_plus(scale, scale - 1.0)
    near = rounded.is_("==", x.format.rounder)
    y = (a.times_plus(-t, q)).if_(near, t) / (t + 2.0)
    return (y + a.if_(near, 0.0)).call("copysign", x)


# --- logarithms ----------------------------------------------------------------------------


def _log_of(x: Number, missing: Number | None = None, tiny: bool = False) -> Number:
    """Return log(x + missing) for normal x; with ``tiny``, for subnormal x as well.

    ``x = 2**k * m`` with m from sqrt(1/2) to sqrt(2), and with f = m - 1 and
    s = f / (2 + f), log(m) = 2 artanh(s) = f - f**2 / 2 + s (f**2 / 2 + R).
    """
    b, form, scaled = x.builder, x.format, x
    if tiny:
        is_tiny = x.is_("<", 2.0 ** (1 - form.bias))
        scaled = (x * 2.0 ** (form.mantissa + 1)).if_(is_tiny, x)
    mantissa, least = x.constant_bits(form.mantissa), x.constant_bits(float(np.sqrt(0.5)))
    bits = b.add(b.sub(scaled.bits(), least), x.constant_bits(1.0))
    exponent = b.lshr(bits, mantissa)
    whole = 2.0**form.mantissa  # Its lowest bit counts ones.
    k = x.from_bits(b.or_(exponent, x.constant_bits(whole))) - (whole + form.bias)
    f = x.from_bits(b.add(b.and_(bits, x.constant_bits(2**form.mantissa - 1)), least)) - 1.0
    if tiny:
        k = (k - (form.mantissa + 1.0)).if_(is_tiny, k)
    if missing is not None:
        inverse = b.shl(b.sub(x.constant_bits(2 * form.bias), exponent), mantissa)
        f = missing.times_plus(x.from_bits(inverse), f).if_(x.is_("<", whole), f)
    high, low = form.ln2
    s = f / (f + 2.0)
    h = f * f * 0.5
    z = s * s
    correction = s.times_plus(z.times_plus(z.polynomial("log"), h), k * low)
    return k.times_plus(high, f - (h - correction))


def _edges(x: Number, y: Number, pole: float) -> Number:
    """Return y, but -infinity at the pole, NaN below it, and infinity and NaN as they are."""
    at_pole = x._make(x._lift(-np.inf)).if_(x.is_("==", pole), np.nan)
    return y.if_(x.is_(">", pole), at_pole).if_(x.is_("<", np.inf), x)


def _log(x: Number) -> Number:
    return _edges(x, _log_of(x, tiny=True), 0.0)


def _log1p(x: Number) -> Number:
    total = x + 1.0
    part = total - 1.0
    missing = (x - part) + (1.0 - (total - part))  # What rounding left out (Knuth's two-sum).
    return _edges(x, _log_of(total, missing).call("copysign", x), -1.0)


# --- the error function --------------------------------------------------------------------


def _erf(x: Number) -> Number:
    """After N. Juffa's way for CUDA: x P(x**2) near 0, 1 - exp(-P(x)) farther out."""
    a = abs(x).clamp(0.0, x.format.erf_limit)
    near = a.times_plus((a * a).polynomial("erf"), a)
    far = 1.0 - _exp_inside(-a.polynomial("erf tail"))
    return near.if_(a.is_("<", x.format.erf_split), far).call("copysign", x)


# --- the table -----------------------------------------------------------------------------

Emit = Callable[[ir.IRBuilder, ir.Value], ir.Value]
MATH: dict[tuple[str, str], Emit] = {}
"""For an opcode and a dtype: ``emit(builder, x) -> y``, on scalars."""


def _declare(
    name: str, function: Callable[[Number], Number], float32: float, float64: float
) -> None:
    def emit(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        return function(Number(builder, x)).value

    for dtype, ulp in (("f4", float32), ("f8", float64)):
        MATH[name, dtype], ACCURACY[name, dtype] = emit, ulp


#        opcode     function  largest error in ulp: float32, float64
_declare("exp", _exp, 1.0, 1.0)
_declare("expm1", _expm1, 2.0, 2.0)
_declare("log", _log, 1.0, 1.0)
_declare("log1p", _log1p, 1.5, 1.5)
_declare("tanh", _tanh, 5.0, 2.5)
_declare("sigmoid", _sigmoid, 2.0, 2.0)
_declare("erf", _erf, 1.5, 1.5)
