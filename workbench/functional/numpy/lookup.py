"""Looking values up among others and counting them; and what only their numbers can tell."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import Tracer, Value, get_aval
from workbench.functional.numpy import reductions
from workbench.functional.numpy.creation import linspace
from workbench.functional.numpy.elementwise import (
    equal,
    less,
    less_equal,
    maximum,
    minimum,
    where,
)
from workbench.functional.numpy.indexing import take
from workbench.functional.numpy.parts import flip, known
from workbench.functional.numpy.promotion import (
    as_array,
    check_shape,
    convert,
    inexact,
    promote,
)
from workbench.functional.numpy.shaping import ravel
from workbench.functional.primitives.elementwise import floor_divide, full_like, remainder
from workbench.functional.primitives.indexing import scatter_add

__all__ = [
    "argwhere", "bincount", "digitize", "flatnonzero", "histogram", "interp", "nonzero",
    "ravel_multi_index", "unique", "unravel_index",
]  # fmt: skip


def nonzero(x: Value) -> tuple[Value, ...]:
    """Return where ``x`` is not 0, an array of positions an axis.

    Raises
    ------
    GraphError
        If the values are not known while tracing.
    """
    return np.nonzero(known("nonzero", x, _MASKS))


def flatnonzero(x: Value) -> Value:
    """Return where the flattened ``x`` is not 0; as :func:`nonzero`."""
    return np.flatnonzero(known("flatnonzero", x, _MASKS))


def argwhere(x: Value) -> Value:
    """Return where ``x`` is not 0, shape (how many, ndim); as :func:`nonzero`."""
    return np.argwhere(known("argwhere", x, _MASKS))


_MASKS = "keep the mask: where(x != 0, a, b), sum(x != 0), x.at[mask].set(v)"


def unique(
    x: Value, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False
) -> Any:
    """Return the different elements of ``x`` in order, and on request as ``numpy.unique``.

    The elements keep their derivative: each is the first of its equals.

    Raises
    ------
    GraphError
        If the values are not known while tracing.
    """
    fix = "sort keeps the shape; bincount(x, length=n) counts small integers"
    options: dict[str, Any] = {"return_inverse": return_inverse, "return_counts": return_counts}
    _, index, *rest = np.unique(known("unique", x, fix), return_index=True, **options)
    results = (take(x, index), *([index] if return_index else []), *rest)
    return results if len(results) > 1 else results[0]


# Counting and looking up


def bincount(
    x: Value, weights: Value | None = None, minlength: int = 0, length: int | None = None
) -> Value:
    """Return how often each integer occurs in ``x``, or the sum of the weights that go with it.

    Parameters
    ----------
    x : array of int, shape (n,)
        At least 0.
    weights : array, shape (n,), optional
    minlength : int
        Length of the result, at least.
    length : int, optional
        Length of the result, needed where ``x`` is traced.

    Raises
    ------
    ShapeError, DtypeError
        If ``x`` does not have one axis, or does not hold integers.
    GraphError
        If ``x`` is traced and there is no ``length``.
    """
    x = as_array("bincount", x)
    if len(x.shape) != 1 or x.dtype.kind not in "iub":
        raise (DtypeError if len(x.shape) == 1 else ShapeError)(
            "bincount", "one axis of integers is needed", given=f"x {get_aval(x)}")  # fmt: skip
    x = convert(x, np.dtype(np.intp))
    if length is None:
        largest = known("bincount", x, "say how many: bincount(x, length=n)").max(initial=-1)
        length = max(int(largest) + 1, minlength)
    ones = full_like(x, fill_value=1)
    weights = ones if weights is None else inexact("bincount", as_array("bincount", weights))
    if weights.shape != x.shape:
        raise ShapeError("bincount", "x and the weights differ in shape",
                         given=f"x {get_aval(x)}, weights {get_aval(weights)}")  # fmt: skip
    return _count(x, weights, length)


def _count(places: Value, weights: Value, length: int) -> Value:
    """Add weights at places; refuses negative ones, which NumPy would count from the end."""
    if isinstance(places, np.ndarray) and places.min(initial=0) < 0:
        raise ShapeError("bincount", "a negative number cannot be counted",
                         given=f"{places.min()}", expected="integers of at least 0")  # fmt: skip
    return scatter_add(weights, places, shape=(length,))


def _search(edges: Value, x: Value, right: bool) -> Value:
    """Return how many of the rising edges are below ``x`` (``right``: or equal), by halving."""
    n = edges.shape[0]
    place = convert(less(x, x), np.dtype(np.intp))  # Zeros of x's shape, where x is NaN as well.
    for bit in reversed(range(n.bit_length())):
        ahead = place + 2**bit
        edge = take(edges, minimum(ahead, n) - 1)
        beyond = less(x, edge) if right else less_equal(x, edge)  # NaN is beyond no edge.
        place = where(beyond, place, where(less_equal(ahead, n), ahead, place))
    return place


def digitize(x: Value, bins: Value, right: bool = False) -> Value:
    """Return the number of the bin that each element falls in.

    Parameters
    ----------
    x : array
    bins : array, shape (n,)
        Edges that rise or, where known while tracing, fall.
    right : bool
        Whether a bin includes its upper edge instead of its lower one.

    Returns
    -------
    array of intp
        0 below the first edge, n behind the last.
    """
    x, bins = (as_array("digitize", each) for each in promote("digitize", x, bins))
    if len(bins.shape) != 1:
        raise ShapeError("digitize", "edges come along one axis", given=f"bins {get_aval(bins)}")
    n = bins.shape[0]
    if n > 1 and not isinstance(bins, Tracer) and bins[0] > bins[-1]:
        return n - _search(flip(bins), x, not right)
    return _search(bins, x, not right)


def histogram(
    x: Value,
    bins: Any = 10,
    range: tuple[Value, Value] | None = None,
    weights: Value | None = None,
    density: bool = False,
) -> tuple[Value, Value]:
    """Return how many elements fall into each bin, and the edges of the bins.

    Parameters
    ----------
    x : array
    bins : int, or rising edges, shape (n + 1,)
        How many bins of one width.
    range : (low, high), optional
        The ends; those of ``x`` if not given.  What lies outside is not counted.
    weights : array, optional
        What each element counts; its gradient is that of the bin.
    density : bool
        Whether to divide so that the integral is 1.

    Raises
    ------
    ShapeError
        If the weights do not have the shape of ``x``.
    """
    x = ravel(x)
    if weights is not None and get_aval(weights).size != x.size:
        raise ShapeError("histogram", "x and the weights differ in shape",
                         given=f"x {get_aval(x)}, weights {get_aval(weights)}")  # fmt: skip
    if np.ndim(bins) == 0 and not isinstance(bins, Tracer):
        ends = range or ((reductions.min(x), reductions.max(x)) if x.size else (0.0, 1.0))
        low, high = (inexact("histogram", end) for end in ends)
        half = where(equal(low, high), 0.5, 0.0)
        edges = linspace(low - half, high + half, int(bins) + 1)
    else:
        edges = as_array("histogram", bins)
    count = edges.shape[0] - 1
    values, steps = promote("histogram", x, edges)
    inside = where(less(values, steps[0]), False, less_equal(values, steps[-1]))
    place = minimum(maximum(_search(steps, values, True) - 1, 0), count - 1)
    each = full_like(place, fill_value=1) if weights is None else ravel(weights)
    counts = scatter_add(where(inside, each, 0), place, shape=(count,))
    if density:
        return counts / (edges[1:] - edges[:-1]) / reductions.sum(counts), edges
    return counts, edges


def interp(
    x: Value, xp: Value, fp: Value, left: Value | None = None, right: Value | None = None
) -> Value:
    """Return the piecewise linear function through points, at ``x``.

    Parameters
    ----------
    x : array
    xp, fp : array, shape (n,)
        The points; ``xp`` rises.
    left, right : number, optional
        Values below the first and above the last point; those of these points if not given.

    Raises
    ------
    ShapeError
        If there is no point, or ``xp`` and ``fp`` differ in shape.
    """
    x, xp, fp = (inexact("interp", as_array("interp", e)) for e in promote("interp", x, xp, fp))
    if len(xp.shape) != 1 or xp.shape != fp.shape or not xp.shape[0]:
        raise ShapeError("interp", "the points do not fit together",
                         given=f"xp {get_aval(xp)}, fp {get_aval(fp)}",
                         expected="xp (n,) and fp (n,), n at least 1")  # fmt: skip
    n, y = xp.shape[0], fp[-1]
    if n > 1:
        i = minimum(maximum(_search(xp, x, True) - 1, 0), n - 2)
        x0, y0 = take(xp, i), take(fp, i)
        slope = (take(fp, i + 1) - y0) / (take(xp, i + 1) - x0)
        y = where(x >= xp[-1], y, slope * (x - x0) + y0)
    y = where(x > xp[-1], fp[-1] if right is None else right, y)
    return where(x < xp[0], fp[0] if left is None else left, y)


def ravel_multi_index(indices: Sequence[Value], shape: Sequence[int]) -> Value:
    """Return the positions in a flattened array of places given by an index an axis.

    Raises
    ------
    ShapeError
        If there is not one index an axis, or one known while tracing is out of range.
    """
    if len(indices) != len(shape):
        raise ShapeError("ravel_multi_index", "every axis needs one index",
                         given=f"{len(indices)} indices for shape {tuple(shape)}")  # fmt: skip
    total: Value = 0
    for index, n in zip(indices, shape, strict=True):
        if isinstance(index, np.ndarray | int) and not np.all((index >= 0) & (index < n)):
            raise ShapeError("ravel_multi_index", "an index is out of range",
                             given=f"{index!r}", expected=f"0 to {n - 1}")  # fmt: skip
        total = total * n + index
    return total


def unravel_index(indices: Value, shape: int | Sequence[int]) -> tuple[Value, ...]:
    """Return the places, an array an axis, of positions in a flattened array of a shape.

    Raises
    ------
    ShapeError
        If a position known while tracing is out of range.
    """
    rest, sizes = as_array("unravel_index", indices), check_shape("unravel_index", shape)
    if isinstance(rest, np.ndarray) and not np.all((rest >= 0) & (rest < prod(sizes))):
        raise ShapeError("unravel_index", "a position is out of range",
                         given=f"{rest!r}", expected=f"0 to {prod(sizes) - 1}")  # fmt: skip
    places = []
    for n in reversed(sizes):
        length = rest.dtype.type(n)
        places.append(remainder(rest, length))
        rest = floor_divide(rest, length)
    return tuple(reversed(places))
