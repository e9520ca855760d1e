"""Functions that reduce over axes, as NumPy's do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from workbench.functional.core import Primitive, Value
from workbench.functional.numpy.elementwise import (
    absolute,
    divide,
    exp,
    less,
    log,
    negative,
    square,
    where,
)
from workbench.functional.numpy.promotion import as_array, check_axes, check_axis, convert, inexact
from workbench.functional.numpy.shaping import ravel, reshape
from workbench.functional.primitives.elementwise import stop_gradient
from workbench.functional.primitives.reduction import argmax as _argmax
from workbench.functional.primitives.reduction import reduce_max
from workbench.functional.primitives.shape import reduce_sum

Axis = int | Sequence[int] | None


def _reduce(where_: str, primitive: Primitive, x: Value, axis: Axis, keepdims: bool) -> Value:
    x = as_array(where_, x)
    axes = check_axes(where_, axis, len(x.shape))
    y = primitive(x, axes=axes) if axes else x
    return reshape(y, _kept(x, axes)) if keepdims else y


def _kept(x: Value, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the sum over an axis, several, or all; booleans and short integers add as int64.

    Parameters
    ----------
    x : array
    axis : int, tuple of int or None
    keepdims : bool
        Whether the axes stay, with length 1.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis, or it is named twice.
    """
    x = as_array("sum", x)
    kind = np.dtype(x.dtype).kind
    if kind in "biu":
        x = convert(x, np.result_type(x.dtype, np.uint64 if kind == "u" else np.int64))
    return _reduce("sum", reduce_sum, x, axis, keepdims)


def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the mean over axes; arguments as :func:`sum`."""
    x = inexact("mean", as_array("mean", x))
    count = prod(x.shape[i] for i in check_axes("mean", axis, len(x.shape)))
    return divide(sum(x, axis, keepdims), count)


def var(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the mean square distance from the mean; arguments as :func:`sum`."""
    return mean(square(x - mean(x, axis, keepdims=True)), axis, keepdims)


def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the maximum over axes; equal maxima share the gradient equally.

    Raises
    ------
    ShapeError, OptionError
        As :func:`sum`; and if there is no element to choose from.
    """
    return _reduce("max", reduce_max, x, axis, keepdims)


def min(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the minimum over axes; equal minima share the gradient equally."""
    return negative(max(negative(x), axis, keepdims))


def logsumexp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return log(sum(exp(x))) over axes without overflow; arguments as :func:`sum`."""
    x = inexact("logsumexp", as_array("logsumexp", x))
    axes = check_axes("logsumexp", axis, len(x.shape))
    top = max(stop_gradient(x), axes, keepdims=True)
    top = where(less(absolute(top), np.inf), top, 0)  # inf - inf would be NaN.
    y = log(sum(exp(x - top), axes, keepdims=True)) + top
    return y if keepdims else reshape(y, [n for i, n in enumerate(x.shape) if i not in axes])


def _arg(name: str, turn: Callable[[Value], Value]) -> Callable[..., Value]:
    def function(x: Value, axis: int | None = None) -> Value:
        x = as_array(name, x)
        x = turn(ravel(x) if axis is None else x)
        return _argmax(x, axis=0 if axis is None else check_axis(name, axis, len(x.shape)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Return where the {name[3:]}imum is, the first if there are several.

    Parameters
    ----------
    x : array
    axis : int or None
        None counts through all elements.

    Returns
    -------
    array of intp
        It is piecewise constant: no gradient passes.
    """
    return function


argmax = _arg("argmax", lambda x: x)
argmin = _arg("argmin", negative)
