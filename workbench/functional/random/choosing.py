"""Random numbers that choose: orders, samples of a population, classes."""

from __future__ import annotations

from math import ceil, log, prod

import numpy as np

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional.core import Tracer, Value, get_aval, shape_of
from workbench.functional.numpy.creation import asarray
from workbench.functional.numpy.promotion import check_axis, convert, inexact
from workbench.functional.primitives.creation import iota
from workbench.functional.primitives.elementwise import negative
from workbench.functional.primitives.ordering import along, argsort, cumsum
from workbench.functional.random.distributions import gumbel, randint, uniform
from workbench.functional.random.threefry import U32, Shape, bits, sizes, split


def _population(where: str, x: Value, axis: int) -> tuple[Value, int]:
    """Return an array to choose from, which an int n stands for as range(n), and its axis."""
    aval = get_aval(x, where)
    if aval.ndim:
        return asarray(x), check_axis(where, axis, aval.ndim)
    if isinstance(x, Tracer) or aval.dtype.kind not in "iu" or x < 0:
        raise DtypeError(where, "there is nothing to choose from", given=f"{x}",
                         expected="an array, or an int known while tracing")  # fmt: skip
    return iota(size=int(x), dtype=np.dtype(np.int64)), 0


def _order(key: Value, order: Value, axis: int) -> Value:
    """Sort by random words of 32 bits, often enough that equal ones do not matter."""
    size = prod(shape_of(order))
    for _ in range(ceil(3 * log(max(1, size)) / log(2**32 - 1))):
        key, drawn = split(key)
        order = along(order, argsort(bits(drawn, shape_of(order), U32), axis=axis), axis)
    return order


def permutation(key: Value, x: Value, axis: int = 0, independent: bool = False) -> Value:
    """Return an array in random order.

    Parameters
    ----------
    key : array (2,) of uint32
    x : array or tracer, or int n for the integers below n
    axis : int
        Which axis to put into another order.
    independent : bool
        Whether every row along ``axis`` gets an order of its own.

    Returns
    -------
    array like ``x``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, ``x`` is neither array nor int, or has no such axis.
    """
    x, at = _population("random.permutation", x, axis)
    if independent or len(shape_of(x)) == 1:
        return _order(key, x, at)
    rows = iota(size=shape_of(x)[at], dtype=np.dtype(np.int64))
    return fnp.take(x, _order(key, rows, 0), axis=at)


def choice(
    key: Value,
    a: Value,
    shape: Shape = (),
    replace: bool = True,
    p: Value | None = None,
    axis: int = 0,
) -> Value:
    """Return a sample of a population.

    Parameters
    ----------
    key : array (2,) of uint32
    a : array or tracer, or int n for the integers below n
    shape : int or tuple of int
        Of the sample.
    replace : bool
        Whether one element may be drawn again.
    p : array or tracer (n,), optional
        Probability of each; equal otherwise.
    axis : int
        Axis of ``a`` that counts the population.

    Returns
    -------
    array
        Of a's dtype; ``shape`` stands in the place of ``axis``.

    Raises
    ------
    DtypeError, ShapeError, OptionError
        As :func:`permutation`; if ``p`` does not fit; if there are too few to draw from.
    """
    where = "random.choice"
    x, at = _population(where, a, axis)
    wanted, n = sizes(where, shape), shape_of(x)[at]
    drawn = prod(wanted)
    if drawn > n and (not replace or n == 0):
        raise OptionError(where, "there are too few to draw from",
                          given=f"{drawn} of {n}, replace={replace}",
                          fix="replace=True draws elements again" if n else None)  # fmt: skip
    if p is not None:
        p = inexact(where, asarray(p))
        if shape_of(p) != (n,):
            raise ShapeError(where, "there is one probability for each", given=f"p {get_aval(p)}",
                             expected=f"shape ({n},)")  # fmt: skip
    if p is None and not replace:
        found = _order(key, iota(size=n, dtype=np.dtype(np.int64)), 0)[:drawn]
    elif p is None:
        found = randint(key, drawn, 0, n)
    elif replace:
        ends = cumsum(p, axis=0, reverse=False)
        r = ends[-1] * (1 - uniform(key, drawn, get_aval(p).dtype))
        found = fnp.sum(convert(fnp.expand_dims(r, 1) > ends, np.dtype(np.int64)), axis=1)
    else:  # The largest of log p + Gumbel numbers come in the order of such draws.
        scores = gumbel(key, n, get_aval(p).dtype) + fnp.log(p)
        found = argsort(negative(scores), axis=0)[:drawn]
    return fnp.take(x, fnp.reshape(found, wanted), axis=at)


def categorical(key: Value, logits: Value, axis: int = -1, shape: Shape | None = None) -> Value:
    """Return classes drawn with probabilities softmax(logits), by adding Gumbel numbers.

    Parameters
    ----------
    key : array (2,) of uint32
    logits : array or tracer
        Unnormalised logarithms of probabilities.
    axis : int
        Axis that counts the classes.
    shape : int or tuple of int, optional
        Ends in the shape of logits without ``axis``, which is also the default; what comes
        before counts draws.

    Returns
    -------
    array of int64, of ``shape``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, ``shape`` does not end so, or there is no such axis.

    Notes
    -----
    The maximum of logits plus Gumbel numbers: Gumbel (1954); Maddison, Tarlow and Minka (2014).
    """
    where = "random.categorical"
    x = inexact(where, asarray(logits))
    full = shape_of(x)
    at = check_axis(where, axis, len(full))
    batch = full[:at] + full[at + 1 :]
    wanted = sizes(where, batch if shape is None else shape)
    before = len(wanted) - len(batch)
    if before < 0 or wanted[before:] != batch:
        raise ShapeError(where, "the shape does not fit the logits",
                         given=f"shape {wanted} for logits {get_aval(x)}, axis {axis}",
                         expected=f"a shape that ends in {batch}")  # fmt: skip
    noise = gumbel(key, (*wanted[:before], *full), get_aval(x).dtype)
    return fnp.argmax(noise + x, axis=before + at)
