"""Random numbers of one shape each, independent of each other.

Each function turns bits into numbers as JAX does, so for the same dtype the streams are equal:
``uniform``, ``normal``, ``randint``, ``bernoulli`` and ``rademacher`` in every bit (of JAX on a
processor with fused multiply-add, such as all recent ones), those that take a logarithm to
some eps.  The gradient passes from a sample to the parameters (``minval``, ``maxval``).
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DtypeError, OptionError
from workbench.functional import numpy as fnp
from workbench.functional.core import Tracer, Value, get_aval, shape_of
from workbench.functional.numpy.creation import asarray
from workbench.functional.numpy.promotion import check_dtype, convert, inexact
from workbench.functional.primitives.bits import shift_right
from workbench.functional.primitives.elementwise import add, erf, multiply, remainder, subtract, tan
from workbench.functional.random.rounding import F32, F64, erf_inv, fma
from workbench.functional.random.threefry import U32, U64, Shape, bits, repeated, sizes, split


def _floating(where: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    kind = check_dtype(where, dtype)
    if kind not in (F32, F64):
        raise DtypeError(where, "random numbers are of floating point", given=str(kind),
                         expected="float32 or float64")  # fmt: skip
    return kind


def _unit(where: str, key: Value, shape: Shape, kind: np.dtype[Any]) -> Value:
    """Return numbers from 0 up to 1, as many different ones as there are bits of mantissa."""
    word, digits = (U32, 23) if kind == F32 else (U64, 52)
    drawn = bits(key, sizes(where, shape), word)
    whole = shift_right(drawn, word.type(8 * word.itemsize - digits))
    return convert(whole, kind) * kind.type(2.0**-digits)


def uniform(
    key: Value,
    shape: Shape = (),
    dtype: npt.DTypeLike = np.float64,
    minval: Value = 0.0,
    maxval: Value = 1.0,
) -> Value:
    """Return numbers that are uniform from ``minval`` (included) to ``maxval`` (excluded).

    Parameters
    ----------
    key : array (2,) of uint32
    shape : int or tuple of int
    dtype : dtype
        float64, as everywhere in :mod:`workbench.functional.numpy`, or float32; they draw
        different numbers.
    minval, maxval : float, or array or tracer that broadcasts to ``shape``

    Returns
    -------
    array of ``shape`` and ``dtype``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, the dtype neither float32 nor float64, the shape not made of
        ints, or a bound does not broadcast to it.
    """
    kind = _floating("random.uniform", dtype)
    unit = _unit("random.uniform", key, shape, kind)
    if type(minval) in (int, float) and type(maxval) in (int, float) and (minval, maxval) == (0, 1):
        return unit
    return _between("random.uniform", unit, minval, maxval, kind)


def _between(where: str, unit: Value, low: Value, high: Value, kind: np.dtype[Any]) -> Value:
    shape = shape_of(unit)
    low = convert(repeated(where, asarray(low), shape, "minval"), kind)
    high = convert(repeated(where, asarray(high), shape, "maxval"), kind)
    return fnp.maximum(low, fma(unit, high - low, low))


def normal(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return numbers of the normal distribution of mean 0 and standard deviation 1.

    They are sqrt(2) erf_inv(u) of a uniform u in (-1, 1).

    Parameters
    ----------
    key, shape, dtype
        As for :func:`uniform`, which also says what is raised.

    Returns
    -------
    array of ``shape`` and ``dtype``
    """
    kind = _floating("random.normal", dtype)
    low = np.nextafter(kind.type(-1), kind.type(0))
    u = _unit("random.normal", key, shape, kind) * kind.type(2) + low  # The product is exact.
    return erf_inv(u) * kind.type(sqrt(2))


def truncated_normal(
    key: Value,
    lower: Value,
    upper: Value,
    shape: Shape | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> Value:
    """Return normal numbers, given that they lie between ``lower`` and ``upper``.

    Parameters
    ----------
    key, dtype
        As for :func:`uniform`, which also says what is raised.
    lower, upper : float or array, not traced
    shape : int or tuple of int, optional
        Otherwise that of the bounds, broadcast together.

    Returns
    -------
    array of ``shape`` and ``dtype``
        Strictly between the bounds.
    """
    where, kind = "random.truncated_normal", _floating("random.truncated_normal", dtype)
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        raise OptionError(where, "the bounds have to be known while tracing",
                          given=f"lower {lower}, upper {upper}",
                          fix="close over them; random.uniform takes traced bounds")  # fmt: skip
    low, high = np.asarray(lower, kind), np.asarray(upper, kind)
    shape = np.broadcast_shapes(low.shape, high.shape) if shape is None else shape
    root = kind.type(sqrt(2))
    unit = _unit(where, key, shape, kind)
    y = erf_inv(_between(where, unit, erf(low / root), erf(high / root), kind)) * root
    inside = kind.type(np.inf)
    return fnp.minimum(fnp.maximum(y, np.nextafter(low, inside)), np.nextafter(high, -inside))


def randint(
    key: Value, shape: Shape, minval: Value, maxval: Value, dtype: npt.DTypeLike = np.int64
) -> Value:
    """Return integers from ``minval`` (included) to ``maxval`` (excluded).

    Twice as many bits as an integer has are reduced by a remainder, so that no integer is
    more likely than another by more than one part in 2**(width of dtype).

    Parameters
    ----------
    key : array (2,) of uint32
    shape : int or tuple of int
    minval, maxval : int, or array or tracer of integers that broadcasts to ``shape``
        Where maxval is not larger, the result is minval.  Bounds outside of the dtype
        are moved to its ends.
    dtype : dtype
        Of integers; int64 and int32 draw different numbers.

    Returns
    -------
    array of ``shape`` and ``dtype``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, the dtype or the bounds are no integers, or do not broadcast.
    """
    where, kind = "random.randint", check_dtype("random.randint", dtype)
    if kind.kind not in "iu":
        raise DtypeError(where, "integers are of an integer dtype", given=str(kind),
                         expected="such as int64, int32, uint8")  # fmt: skip
    wanted, word = sizes(where, shape), np.dtype(f"u{kind.itemsize}")
    low, _ = _bound(where, minval, wanted, "minval", kind)
    high, beyond = _bound(where, maxval, wanted, "maxval", kind)
    if kind.itemsize < 4:  # Few bits would favour some integers.
        low, high, beyond = (convert(x, np.dtype(np.int32)) for x in (low, high, beyond))
        return convert(randint(key, wanted, low, add(high, beyond), np.int32), kind)
    width = add(subtract(convert(high, word), convert(low, word)), convert(beyond, word))
    span = fnp.where(high > low, width, word.type(1))
    whole = span == 0  # All integers of the dtype: their number does not fit into a word.
    span = fnp.where(whole, word.type(1), span)
    keys = split(key)
    higher, lower = bits(keys[0], wanted, word), bits(keys[1], wanted, word)
    # The remainder of 2 ** (width of dtype), in two factors that do not overflow.
    half = remainder(np.asarray(2 ** (4 * kind.itemsize), word), span)
    scale = remainder(multiply(half, half), span)
    offset = add(multiply(remainder(higher, span), scale), remainder(lower, span))
    return add(low, convert(fnp.where(whole, lower, remainder(offset, span)), kind))


def _bound(
    where: str, x: Value, shape: tuple[int, ...], name: str, kind: np.dtype[Any]
) -> tuple[Value, Value]:
    """Return a bound moved into the range of a dtype, and whether it was above."""
    ends = np.iinfo(kind)
    least, most = int(ends.min), int(ends.max)
    if type(x) is int:
        return np.asarray(min(max(x, least), most), kind), np.asarray(x > most)
    aval = get_aval(x, where)
    if aval.dtype.kind not in "iu":
        raise DtypeError(where, "the bounds are integers", given=f"{name} {aval}")
    own = np.iinfo(aval.dtype)
    x = repeated(where, asarray(x), shape, name)
    beyond = asarray(x > most) if own.max > most else np.asarray(False)
    inside = fnp.clip(x, max(least, int(own.min)), min(most, int(own.max)))
    return convert(inside, kind), beyond


def bernoulli(key: Value, p: Value = 0.5, shape: Shape | None = None) -> Value:
    """Return booleans that are true with probability ``p``.

    Parameters
    ----------
    key : array (2,) of uint32
    p : float, or array or tracer
        Its dtype is that of the uniform numbers that it is compared with.
    shape : int or tuple of int, optional
        Otherwise that of ``p``.

    Returns
    -------
    array of bool, of ``shape``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        As :func:`uniform`.
    """
    p = asarray(inexact("random.bernoulli", p))
    wanted = sizes("random.bernoulli", shape_of(p) if shape is None else shape)
    p = repeated("random.bernoulli", p, wanted, "p")
    return uniform(key, wanted, get_aval(p).dtype) < p


def rademacher(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.int64) -> Value:
    """Return -1 or 1, each with probability 1/2; arguments and refusals as :func:`bernoulli`."""
    kind = check_dtype("random.rademacher", dtype)
    return convert(bernoulli(key, 0.5, sizes("random.rademacher", shape)), kind) * 2 - 1


def exponential(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return numbers of density exp(-x), x >= 0; arguments and refusals as :func:`uniform`."""
    return -fnp.log1p(-uniform(key, shape, dtype))


def _positive(where: str, key: Value, shape: Shape, dtype: npt.DTypeLike) -> Value:
    """Return uniform numbers whose logarithm is finite."""
    kind = _floating(where, dtype)
    return fnp.maximum(_unit(where, key, shape, kind), np.finfo(kind).tiny)


def gumbel(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return -log(-log u) of uniform u: the largest of many exponential numbers, shifted.

    Arguments and refusals are those of :func:`uniform`.
    """
    return -fnp.log(-fnp.log(_positive("random.gumbel", key, shape, dtype)))


def logistic(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return log(u / (1 - u)) of uniform u; arguments and refusals as :func:`uniform`."""
    u = _positive("random.logistic", key, shape, dtype)
    return fnp.log(u) - fnp.log1p(-u)


def laplace(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return numbers of density exp(-|x|) / 2; arguments and refusals as :func:`uniform`."""
    kind = _floating("random.laplace", dtype)
    low = kind.type(-1) + np.finfo(kind).epsneg
    u = _unit("random.laplace", key, shape, kind) * kind.type(2) + low
    return fnp.sign(u) * fnp.log1p(-fnp.abs(u))


def cauchy(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.float64) -> Value:
    """Return tan(pi (u - 1/2)) of uniform u; arguments and refusals as :func:`uniform`."""
    kind = _floating("random.cauchy", dtype)
    u = uniform(key, shape, kind, float(np.finfo(kind).eps), 1.0)
    return tan((u - kind.type(0.5)) * kind.type(pi))
