"""Functions along an axis in which order counts: sorting, quantiles, running sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from workbench.errors import OptionError, ShapeError
from workbench.functional.core import Primitive, Value, get_aval
from workbench.functional.numpy import bits, reductions
from workbench.functional.numpy import elementwise as ew
from workbench.functional.numpy.indexing import take
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_axis,
    convert,
    inexact,
    promote,
)
from workbench.functional.numpy.shaping import part, ravel, reshape
from workbench.functional.primitives import ordering as ops
from workbench.functional.primitives.shape import permute

__all__ = [
    "argsort", "cumprod", "cumsum", "diff", "ediff1d", "median", "nancumprod", "nancumsum",
    "percentile", "quantile", "searchsorted", "sort", "trapezoid",
]  # fmt: skip

Axis = int | Sequence[int] | None


def _along(name: str, primitive: Primitive, x: Value, axis: int | None, **params: Any) -> Value:
    x = ravel(x) if axis is None else as_array(name, x)
    place = check_axis(name, 0 if axis is None else axis, len(x.shape))
    return primitive(x, axis=place, **params)


def sort(x: Value, axis: int | None = -1) -> Value:
    """Return ``x`` in ascending order along an axis, NaN last; None sorts all elements.

    Its derivative carries each element's tangent to its new place.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis.
    """
    return _along("sort", ops.sort, x, axis)


def argsort(x: Value, axis: int | None = -1) -> Value:
    """Return where the elements come from that :func:`sort` puts in order; ties stay in order."""
    return _along("argsort", ops.argsort, x, axis)


def _wide(name: str, x: Value) -> Value:
    x = as_array(name, x)
    kind = np.dtype(x.dtype).kind
    if kind not in "biu":
        return x
    return convert(x, np.result_type(x.dtype, np.uint64 if kind == "u" else np.int64))


def cumsum(x: Value, axis: int | None = None) -> Value:
    """Return running sums along an axis, or of all elements; short integers add as int64."""
    return _along("cumsum", ops.cumsum, _wide("cumsum", x), axis, reverse=False)


def cumprod(x: Value, axis: int | None = None) -> Value:
    """Return running products along an axis, or of all elements; right derivatives at zeros."""
    return _along("cumprod", ops.cumprod, _wide("cumprod", x), axis)


def nancumsum(x: Value, axis: int | None = None) -> Value:
    """Return running sums in which NaN counts as 0."""
    return cumsum(ew.where(ew.isnan(x), 0, x), axis)


def nancumprod(x: Value, axis: int | None = None) -> Value:
    """Return running products in which NaN counts as 1."""
    return cumprod(ew.where(ew.isnan(x), 1, x), axis)


def diff(x: Value, n: int = 1, axis: int = -1) -> Value:
    """Return the differences of neighbours along an axis, taken ``n`` times.

    Raises
    ------
    OptionError
        If ``n`` is negative.
    """
    x = as_array("diff", x)
    place = check_axis("diff", axis, len(x.shape))
    if n < 0:
        raise OptionError("diff", "differences are taken 0 times or more", given=f"n={n}")
    for _ in range(n):
        stop = max(x.shape[place] - 1, 0)
        later, earlier = part(x, place, 1, x.shape[place]), part(x, place, 0, stop)
        x = ew.not_equal(later, earlier) if x.dtype == bool else later - earlier
    return x


def ediff1d(x: Value) -> Value:
    """Return the differences of neighbours among all elements, in order."""
    return diff(ravel(x))


def trapezoid(y: Value, x: Value | None = None, dx: Value = 1.0, axis: int = -1) -> Value:
    """Return the integral along an axis by the trapezoidal rule.

    Parameters
    ----------
    y : array
        Values of the function.
    x : array, optional
        Where: of y's shape, or one position for each place along ``axis``.
    dx : number
        The distance between neighbours where x is absent.
    axis : int
    """
    y = inexact("trapezoid", as_array("trapezoid", y))
    place = check_axis("trapezoid", axis, len(y.shape))
    width = dx
    if x is not None:
        x = as_array("trapezoid", x)
        if len(x.shape) == 1:
            width = reshape(diff(x), (-1, *(1,) * (len(y.shape) - place - 1)))
        else:
            width = diff(x, axis=place)
    n = y.shape[place]
    return reductions.sum(
        width * (part(y, place, 1, n) + part(y, place, 0, max(n - 1, 0))) / 2, place
    )


def searchsorted(a: Value, v: Value, side: str = "left") -> Value:
    """Return where in sorted ``a`` to insert ``v`` so that it stays sorted.

    Every pair is compared: it is work of the size of a times that of v.

    Parameters
    ----------
    a : array
        One axis, ascending, NaN last.
    v : array
    side : {"left", "right"}
        Before or behind elements that are equal.

    Raises
    ------
    OptionError, ShapeError
        For another side, or if ``a`` does not have one axis.
    """
    a, v = (as_array("searchsorted", x) for x in promote("searchsorted", a, v))
    if side not in ("left", "right"):
        raise OptionError("searchsorted", "there is no such side", given=repr(side),
                          expected="'left' or 'right'")  # fmt: skip
    if len(a.shape) != 1:
        raise ShapeError("searchsorted", "a has one axis, along which it is sorted",
                         given=str(get_aval(a)))  # fmt: skip
    v = reshape(v, (*v.shape, 1))

    def before(x: Value, y: Value) -> Value:
        return bits.logical_or(ew.less(x, y), ew.greater(ew.isnan(y), ew.isnan(x)))

    ahead = before(a, v) if side == "left" else bits.logical_not(before(v, a))
    return reductions.sum(ahead, -1)


def _ordered(name: str, x: Value, axis: Axis) -> tuple[Value, tuple[int, ...]]:
    """Return x sorted with the axes as its last, and the shape that keepdims leaves."""
    x = inexact(name, as_array(name, x))
    axes = check_axes(name, axis, len(x.shape))
    rest = [i for i in range(len(x.shape)) if i not in axes]
    n = prod(x.shape[i] for i in axes)
    if not n:
        raise ShapeError(name, "there are no elements to choose from",
                         given=f"{get_aval(x)}, axis {axis}",
                         expected="at least one element along the axes")  # fmt: skip
    rows = reshape(permute(x, (*rest, *axes)), (*(x.shape[i] for i in rest), n))
    return sort(rows), tuple(1 if i in axes else m for i, m in enumerate(x.shape))


def median(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the middle of the sorted elements over axes, or the mean of the two in the middle.

    It is NaN where an element is.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis, or nothing along it.
    """
    ordered, kept = _ordered("median", x, axis)
    n = ordered.shape[-1]
    y = reductions.mean(part(ordered, len(ordered.shape) - 1, (n - 1) // 2, n // 2 + 1), -1)
    y = _nan_where(ordered, y)
    return reshape(y, kept) if keepdims else y


def _nan_where(ordered: Value, y: Value) -> Value:
    """Return y, and NaN where there is one, which sorting has put last."""
    last = len(ordered.shape) - 1
    spoiled = ew.isnan(take(ordered, ordered.shape[last] - 1, last))
    extra = (1,) * (len(y.shape) - last)
    return ew.where(reshape(spoiled, (*spoiled.shape, *extra)), np.nan, y)


def quantile(x: Value, q: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return what a share ``q`` of the elements over axes is below, interpolated linearly.

    Parameters
    ----------
    x : array
    q : number or array
        From 0 to 1; its axes lead in the result.  It may be traced, and has a derivative.
    axis : int, tuple of int or None
    keepdims : bool

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis, or nothing along it.

    References
    ----------
    Hyndman and Fan, "Sample quantiles in statistical packages" (1996), method 7.
    """
    ordered, kept = _ordered("quantile", x, axis)
    q = as_array("quantile", convert(inexact("quantile", q), ordered.dtype))
    last, n = len(ordered.shape) - 1, ordered.shape[-1]
    place = q * (n - 1)
    below = ew.clip(ew.floor(place), 0, n - 1)
    index = convert(below, np.dtype(np.intp))
    low, high = take(ordered, index, last), take(ordered, ew.minimum(index + 1, n - 1), last)
    weight = place - below
    # From the nearer end, so that it is exact at both.
    y = ew.where(ew.less(weight, 0.5), low + (high - low) * weight,
                 high - (high - low) * (1 - weight))  # fmt: skip
    y = _nan_where(ordered, y)
    lead, rest = len(q.shape), len(ordered.shape) - 1
    y = permute(y, (*range(rest, rest + lead), *range(rest)))
    return reshape(y, (*q.shape, *kept)) if keepdims else y


def percentile(x: Value, q: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the quantile for ``q`` from 0 to 100: see :func:`quantile`."""
    return quantile(x, ew.divide(q, 100), axis, keepdims)
