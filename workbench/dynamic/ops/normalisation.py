"""Normalisations: one function that standardises over axes, and what is built on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import maximum, sqrt, square, values
from workbench.dynamic.ops.reductions import mean, sum
from workbench.dynamic.ops.shapes import axes_of, reshape
from workbench.errors import OptionError, ShapeError

__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm",
    "standardize",
]  # fmt: skip

Axis: TypeAlias = int | Sequence[int]


class Standardize(Function):
    """(x - mean) / sqrt(variance + eps) over axes."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axis: tuple[int, ...], eps: float, seen: Any) -> Any:
        center = x.mean(axis=axis, keepdims=True)
        y = x - center
        # The mean of large numbers is off by as much as their last digits; that of the
        # differences is not.
        rest = y.mean(axis=axis, keepdims=True)
        y -= rest
        variance = np.square(y).mean(axis=axis, keepdims=True)
        if seen is not None:
            seen((center + rest).squeeze(axis), variance.squeeze(axis))
        ctx.scale, ctx.axis, ctx.eps = 1 / np.sqrt(variance + eps), axis, eps
        y *= ctx.scale
        ctx.args, ctx.output = (x, None, None, None), y
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y, scale, axis = ctx.args[0], ctx.output, ctx.scale, ctx.axis
        if values(x) is not x:  # Differentiated once more, the scale depends on x.
            scale = 1 / sqrt(mean(square(x - mean(x, axis, True)), axis, True) + ctx.eps)
        return scale * (g - mean(g, axis, True) - y * mean(g * y, axis, True))


def standardize(x: Any, axis: Axis, eps: float = 1e-5) -> Any:
    """Return (x - mean) / sqrt(variance + eps), with mean and variance over ``axis``."""
    return Standardize.apply(x, axes_of(axis, x.ndim), eps, None)


def batch_norm(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    mean: Any = None,
    variance: Any = None,
    eps: float = 1e-5,
    seen: Callable[[Any, Any], object] | None = None,
) -> Any:
    """Standardise each channel over the batch and the pixels, then scale and shift it.

    Parameters
    ----------
    x : (N, C) or (N, C, ...)
    gamma, beta : (C,), optional
        Scale and shift.
    mean, variance : (C,), optional
        Constants to use in place of the batch's own, for evaluation.
    eps : float
        Added to the variance.
    seen : callable, optional
        Called with the batch's mean and (biased) variance, two arrays (C,), for whoever
        keeps running statistics.

    Returns
    -------
    Tensor, of the shape of x

    Raises
    ------
    ShapeError, OptionError
        If the shapes do not fit, or only one of mean and variance is given.

    Notes
    -----
    Ioffe and Szegedy (2015).
    """
    channels = _channels("batch_norm", x)
    if (mean is None) != (variance is None):
        raise OptionError("batch_norm", "mean and variance come together",
                          given=f"only the {'variance' if mean is None else 'mean'}")  # fmt: skip
    if mean is None:
        axis = tuple(k for k in range(x.ndim) if k != 1)
        y = Standardize.apply(x, axis, eps, seen)
    else:
        center = _along("batch_norm", "mean", mean, x, channels)
        y = (x - center) / sqrt(_along("batch_norm", "variance", variance, x, channels) + eps)
    return _scaled("batch_norm", y, gamma, beta, channels)


def layer_norm(
    x: Any, gamma: Any = None, beta: Any = None, axis: Axis = -1, eps: float = 1e-5
) -> Any:
    """Standardise each example over ``axis``, then scale and shift (Ba, Kiros, Hinton, 2016).

    ``gamma`` and ``beta`` have the lengths of ``axis``, in the order of the axes of x.
    """
    axes = tuple(sorted(axes_of(axis, x.ndim)))
    return _scaled("layer_norm", Standardize.apply(x, axes, eps, None), gamma, beta, axes)


def group_norm(x: Any, groups: int, gamma: Any = None, beta: Any = None, eps: float = 1e-5) -> Any:
    """Standardise each example over groups of channels of x (N, C, ...) (Wu and He, 2018).

    ``gamma`` and ``beta``, (C,), scale and shift each channel.
    """
    channels = _channels("group_norm", x)
    if groups < 1 or x.shape[1] % groups:
        raise OptionError("group_norm", "the channels do not part into so many groups",
                          given=f"x {x.shape}, groups={groups}",
                          expected="a divisor of the number of channels")  # fmt: skip
    apart = reshape(x, (len(x), groups, math.prod(x.shape[1:]) // groups))
    y = reshape(Standardize.apply(apart, (2,), eps, None), x.shape)
    return _scaled("group_norm", y, gamma, beta, channels)


def instance_norm(x: Any, gamma: Any = None, beta: Any = None, eps: float = 1e-5) -> Any:
    """Standardise each channel of each example of x (N, C, ...) (Ulyanov and others, 2016)."""
    channels = _channels("instance_norm", x)
    y = Standardize.apply(x, tuple(range(2, x.ndim)), eps, None)
    return _scaled("instance_norm", y, gamma, beta, channels)


def rms_norm(x: Any, gamma: Any = None, axis: Axis = -1, eps: float = 1e-6) -> Any:
    """Divide by the root of the mean square over ``axis``, then scale (Zhang, Sennrich, 2019)."""
    axes = tuple(sorted(axes_of(axis, x.ndim)))
    y = x / sqrt(mean(square(x), axes, True) + eps)
    return _scaled("rms_norm", y, gamma, None, axes)


def normalize(x: Any, axis: Axis = -1, eps: float = 1e-12) -> Any:
    """Divide by the Euclidean length along ``axis``, or by ``eps`` where that is larger."""
    least = max(eps * eps, float(np.finfo(x.dtype).tiny))
    return x / sqrt(maximum(sum(square(x), axis, True), least))


def _channels(where: str, x: Any) -> tuple[int, ...]:
    if x.ndim < 2:
        raise ShapeError(where, "channels are the second axis", given=f"x {x.shape}",
                         expected="x (N, C) or (N, C, ...)")  # fmt: skip
    return (1,)


def _along(where: str, name: str, v: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Return v with an axis of length 1 for each axis of x that is not in ``axes``."""
    expected = tuple(x.shape[k] for k in axes)
    if v.shape != expected:
        raise ShapeError(where, f"{name} does not fit x", given=f"x {x.shape}, {name} {v.shape}",
                         expected=f"{name} {expected}")  # fmt: skip
    return reshape(v, tuple(n if k in axes else 1 for k, n in enumerate(x.shape)))


def _scaled(where: str, y: Any, gamma: Any, beta: Any, axes: tuple[int, ...]) -> Any:
    y = y if gamma is None else y * _along(where, "gamma", gamma, y, axes)
    return y if beta is None else y + _along(where, "beta", beta, y, axes)
