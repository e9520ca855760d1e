"""Functions that reduce over axes, as NumPy's do.

``axis`` is an int, a tuple of ints, or None for all axes; ``keepdims`` leaves them with
length 1.  ``where`` is a mask that broadcasts to x, of what to take part; ``initial`` is
where to start from.  An axis that is not there, or named twice, is a ShapeError or an
OptionError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod as _product
from typing import Any

import numpy as np

from workbench.errors import OptionError, ShapeError
from workbench.functional.core import Primitive, Value, get_aval
from workbench.functional.numpy import elementwise as ew
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_axis,
    convert,
    inexact,
    promote,
    truth,
)
from workbench.functional.numpy.shaping import broadcast_to, ravel, reshape
from workbench.functional.primitives import reduction as ops
from workbench.functional.primitives.elementwise import stop_gradient
from workbench.functional.primitives.shape import reduce_sum

__all__ = [
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "array_equal", "average", "count_nonzero",
    "logsumexp", "max", "mean", "min", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd",
    "nansum", "nanvar", "prod", "ptp", "std", "sum", "var",
]  # fmt: skip

Axis = int | Sequence[int] | None


def _reduce(name: str, primitive: Primitive, x: Value, axis: Axis, keepdims: bool) -> Value:
    axes = check_axes(name, axis, len(x.shape))
    y = primitive(x, axes=axes) if axes else x
    return reshape(y, _kept(x, axes)) if keepdims else y


def _kept(x: Value, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def _masked(x: Value, where: Value | None, neutral: Any) -> Value:
    return x if where is None else ew.where(where, x, neutral)


def _total(
    name: str, primitive: Primitive, join: ew.Binary, neutral: int, x: Value, axis: Axis,
    keepdims: bool, where: Value | None, initial: Value | None,
) -> Value:  # fmt: skip
    x = as_array(name, x)
    kind = np.dtype(x.dtype).kind
    if kind in "biu":
        x = convert(x, np.result_type(x.dtype, np.uint64 if kind == "u" else np.int64))
    y = _reduce(name, primitive, _masked(x, where, neutral), axis, keepdims)
    return y if initial is None else join(y, initial)


def sum(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    where: Value | None = None, initial: Value | None = None,
) -> Value:  # fmt: skip
    """Return the sum over an axis, several, or all; booleans and short integers add as int64.

    Parameters
    ----------
    x : array
    axis : int, tuple of int or None
    keepdims : bool
        Whether the axes stay, with length 1.
    where : array of bool, optional
        The elements to add.
    initial : number or array, optional
        What to add them to.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis, or it is named twice.
    """
    return _total("sum", reduce_sum, ew.add, 0, x, axis, keepdims, where, initial)


def prod(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    where: Value | None = None, initial: Value | None = None,
) -> Value:  # fmt: skip
    """Return the product over axes, with a gradient that is right at zeros; as :func:`sum`."""
    return _total("prod", ops.reduce_prod, ew.multiply, 1, x, axis, keepdims, where, initial)


def _count(x: Value, axis: Axis, keepdims: bool, where: Value | None) -> Value:
    if where is None:
        return _product(x.shape[i] for i in check_axes("mean", axis, len(x.shape)))
    mask = convert(broadcast_to(truth("mean", where), x.shape), x.dtype)
    return sum(mask, axis, keepdims)


def mean(
    x: Value, axis: Axis = None, keepdims: bool = False, *, where: Value | None = None
) -> Value:
    """Return the mean over axes; arguments as :func:`sum`."""
    x = inexact("mean", as_array("mean", x))
    return ew.divide(sum(x, axis, keepdims, where=where), _count(x, axis, keepdims, where))


def var(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    ddof: float = 0, where: Value | None = None,
) -> Value:  # fmt: skip
    """Return the mean square distance from the mean; arguments as :func:`sum`.

    It is divided by the number of elements less ``ddof``.
    """
    x = inexact("var", as_array("var", x))
    distance = _masked(x - mean(x, axis, keepdims=True, where=where), where, 0)
    n = _count(x, axis, keepdims, where) - ddof
    return ew.divide(sum(ew.square(distance), axis, keepdims), ew.maximum(n, 0))


def std(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    ddof: float = 0, where: Value | None = None,
) -> Value:  # fmt: skip
    """Return the square root of the variance; arguments as :func:`var`."""
    return ew.sqrt(var(x, axis, keepdims, ddof=ddof, where=where))


def _extreme(
    primitive: Primitive, join: ew.Binary, x: Value, axis: Axis, keepdims: bool,
    where: Value | None, initial: Value | None,
) -> Value:  # fmt: skip
    name = primitive.name[-3:]
    x = as_array(name, x)
    if where is not None and initial is None:
        raise OptionError(name, "a mask may leave nothing to choose from", given="where=...",
                          fix="say what to return then: initial=...")  # fmt: skip
    if initial is not None:
        x, initial = promote(name, x, initial)
        axes = check_axes(name, axis, len(x.shape))
        if 0 in [x.shape[i] for i in axes]:
            shape = [n for i, n in enumerate(_kept(x, axes)) if keepdims or i not in axes]
            return broadcast_to(initial, shape)
    y = _reduce(name, primitive, _masked(x, where, initial), axis, keepdims)
    return y if initial is None else join(y, initial)


def max(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    where: Value | None = None, initial: Value | None = None,
) -> Value:  # fmt: skip
    """Return the maximum over axes; equal maxima share the gradient equally.

    Raises
    ------
    ShapeError, OptionError
        As :func:`sum`; if there is no element to choose from; for a ``where`` without an
        ``initial``, the maximum of nothing.
    """
    return _extreme(ops.reduce_max, ew.maximum, x, axis, keepdims, where, initial)


def min(
    x: Value, axis: Axis = None, keepdims: bool = False, *,
    where: Value | None = None, initial: Value | None = None,
) -> Value:  # fmt: skip
    """Return the minimum over axes; equal minima share the gradient equally.  As :func:`max`."""
    return _extreme(ops.reduce_min, ew.minimum, x, axis, keepdims, where, initial)


amax, amin = max, min


def ptp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the distance from the minimum to the maximum over axes."""
    return max(x, axis, keepdims) - min(x, axis, keepdims)


def any(
    x: Value, axis: Axis = None, keepdims: bool = False, *, where: Value | None = None
) -> Value:
    """Return whether some element over axes is not 0; arguments as :func:`sum`."""
    x = _masked(truth("any", as_array("any", x)), where, False)
    return _reduce("any", ops.reduce_any, x, axis, keepdims)


def all(
    x: Value, axis: Axis = None, keepdims: bool = False, *, where: Value | None = None
) -> Value:
    """Return whether no element over axes is 0; arguments as :func:`sum`."""
    x = _masked(truth("all", as_array("all", x)), where, True)
    return _reduce("all", ops.reduce_all, x, axis, keepdims)


def count_nonzero(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return how many elements over axes are not 0."""
    return sum(truth("count_nonzero", as_array("count_nonzero", x)), axis, keepdims)


def allclose(
    a: Value, b: Value, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    """Return whether all elements are close: see :func:`isclose`."""
    return all(ew.isclose(a, b, rtol, atol, equal_nan))


def array_equal(a: Value, b: Value) -> Value:
    """Return whether two arrays have one shape and equal elements."""
    a, b = as_array("array_equal", a), as_array("array_equal", b)
    return all(ew.equal(a, b)) if a.shape == b.shape else np.bool_(False)


def average(x: Value, axis: Axis = None, weights: Value | None = None) -> Value:
    """Return the mean over axes, of elements that count as much as their weights say.

    Parameters
    ----------
    x : array
    axis : int, tuple of int or None
    weights : array, optional
        Of x's shape, or one number for each place along ``axis``.

    Raises
    ------
    ShapeError
        If the weights have neither shape.
    """
    if weights is None:
        return mean(x, axis)
    x, weights = (inexact("average", as_array("average", each)) for each in (x, weights))
    if weights.shape != x.shape:
        axes = check_axes("average", axis, len(x.shape))
        if axis is None or weights.shape != tuple(x.shape[i] for i in axes):
            raise ShapeError("average", "the weights do not fit",
                             given=f"x {get_aval(x)}, weights {get_aval(weights)}, axis {axis}",
                             expected="weights of x's shape, or of its lengths along axis")  # fmt: skip
        # Axes may be named in any order; the weights' own are in that order.
        order = sorted(range(len(axes)), key=axes.__getitem__)
        weights = broadcast_to(
            reshape(
                weights.transpose(order), [n if i in axes else 1 for i, n in enumerate(x.shape)]
            ),
            x.shape,
        )
    return ew.divide(sum(x * weights, axis), sum(weights, axis))


def logsumexp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return log(sum(exp(x))) over axes without overflow; arguments as :func:`sum`."""
    x = inexact("logsumexp", as_array("logsumexp", x))
    axes = check_axes("logsumexp", axis, len(x.shape))
    top = max(stop_gradient(x), axes, keepdims=True)
    top = ew.where(ew.isfinite(top), top, 0)  # inf - inf would be NaN.
    y = ew.log(sum(ew.exp(x - top), axes, keepdims=True)) + top
    return y if keepdims else reshape(y, [n for i, n in enumerate(x.shape) if i not in axes])


def _arg(primitive: Primitive) -> Callable[..., Value]:
    name = primitive.name

    def function(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
        x = as_array(name, x)
        place = None if axis is None else check_axis(name, axis, len(x.shape))
        y = primitive(ravel(x) if place is None else x, axis=place or 0)
        kept = range(len(x.shape)) if place is None else (place,)
        return reshape(y, _kept(x, kept)) if keepdims else y

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return where the {name[3:]}imum is, the first if there are several.

    Parameters
    ----------
    x : array
    axis : int or None
        None counts through all elements.
    keepdims : bool
        Whether the axes stay, with length 1.

    Returns
    -------
    array of intp
        It is piecewise constant: no gradient passes.
    """
    return function


argmax = _arg(ops.argmax)
argmin = _arg(ops.argmin)

# Without NaN


def _without_nan(reduction: Callable[..., Value]) -> Callable[..., Value]:
    name = f"nan{reduction.__name__}"

    def function(x: Value, axis: Axis = None, keepdims: bool = False, **options: Any) -> Value:
        x = as_array(name, x)
        return reduction(x, axis, keepdims, where=ew.equal(x, x), **options)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return what :func:`{reduction.__name__}` does, as if NaN were not there.

    Arguments are the same, but for ``where``.  No gradient passes to NaN.
    """
    return function


nansum, nanprod, nanmean = map(_without_nan, (sum, prod, mean))
nanvar, nanstd = map(_without_nan, (var, std))


def _nan_extreme(reduction: Callable[..., Value], worst: float) -> Callable[..., Value]:
    name = f"nan{reduction.__name__}"

    def function(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
        x = as_array(name, x)
        if np.dtype(x.dtype).kind != "f":
            return reduction(x, axis, keepdims)
        y = reduction(ew.where(ew.isnan(x), worst, x), axis, keepdims)
        return ew.where(all(ew.isnan(x), axis, keepdims), np.nan, y)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return the {reduction.__name__}imum over axes of what is not NaN.

    It is NaN where all is.  Arguments as :func:`sum`, raises as :func:`max`.
    """
    return function


nanmax = _nan_extreme(max, -np.inf)
nanmin = _nan_extreme(min, np.inf)
