"""Normalisations: statistics and arithmetic, written out; fusing them is the compiler's work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import Axis, Operand, Variable, sides
from workbench.symbolic.ops.arranging import product, sizes_of
from workbench.symbolic.ops.elementwise import maximum, sqrt, square
from workbench.symbolic.ops.reductions import mean, sum
from workbench.symbolic.ops.shaping import reshape
from workbench.symbolic.ops.sizes import normal_axes, shape_of
from workbench.symbolic.values import operand


def standardize(x: Operand, axis: Axis, eps: float = 1e-5) -> Variable:
    """Return (x - mean) / sqrt(variance + eps), with mean and variance over ``axis``."""
    x = operand("standardize", x, dtype="f")
    centred = x - mean(x, axis, keepdims=True)
    return centred / sqrt(mean(square(centred), axis, keepdims=True) + eps)


def _along(where: str, name: str, v: Operand, x: Variable, axes: tuple[int, ...]) -> Variable:
    """Return v with an axis of size 1 for each axis of x that is not in ``axes``."""
    v = operand(where, v, name)
    if v.ndim != len(axes) or any(
        None not in (n, x.shape[a]) and n != x.shape[a] for n, a in zip(v.shape, axes, strict=True)
    ):
        raise ShapeError(where, f"{name} does not fit x", given=sides(x=x, **{name: v}),
                         expected=f"{name} {tuple(x.shape[a] for a in axes)}")  # fmt: skip
    sizes = iter(sizes_of(v))
    return reshape(v, [next(sizes) if a in axes else 1 for a in range(x.ndim)])


def _scaled(
    where: str, y: Variable, gamma: Operand | None, beta: Operand | None, axes: tuple[int, ...]
) -> Variable:
    y = y if gamma is None else y * _along(where, "gamma", gamma, y, axes)
    return y if beta is None else y + _along(where, "beta", beta, y, axes)


def _images(where: str, x: Operand) -> Variable:
    return operand(where, x, ndim=2, dtype="f")


def batch_norm(
    x: Operand, gamma: Operand | None = None, beta: Operand | None = None,
    mean: Operand | None = None, variance: Operand | None = None, eps: float = 1e-5,
) -> Variable:  # fmt: skip
    """Standardise each channel over the batch and the pixels, then scale and shift it.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C) or (N, C, ...)
    gamma, beta : array_like or Variable, shape (C,), optional
        Scale and shift.
    mean, variance : array_like or Variable, shape (C,), optional
        To use in place of the batch's own, for evaluation: ``ops.mean`` and ``ops.var`` over
        the same axes make expressions that ``updates`` can keep a running average of.
    eps : float
        Added to the variance.

    Raises
    ------
    ShapeError, OptionError
        If the shapes do not fit, or only one of mean and variance is given.

    Notes
    -----
    Ioffe and Szegedy (2015).
    """
    x = _images("batch_norm", x)
    if (mean is None) != (variance is None):
        raise OptionError("batch_norm", "mean and variance come together",
                          given=f"only the {'variance' if mean is None else 'mean'}")  # fmt: skip
    if mean is None or variance is None:
        y = standardize(x, tuple(a for a in range(x.ndim) if a != 1), eps)
    else:
        centre = _along("batch_norm", "mean", mean, x, (1,))
        y = (x - centre) / sqrt(_along("batch_norm", "variance", variance, x, (1,)) + eps)
    return _scaled("batch_norm", y, gamma, beta, (1,))


def layer_norm(
    x: Operand, gamma: Operand | None = None, beta: Operand | None = None,
    axis: int | Sequence[int] = -1, eps: float = 1e-5,
) -> Variable:  # fmt: skip
    """Standardise each example over ``axis``, then scale and shift (Ba, Kiros, Hinton, 2016).

    ``gamma`` and ``beta`` have the sizes of ``axis``, in the order of the axes of x.
    """
    x = operand("layer_norm", x, ndim=1, dtype="f")
    axes = normal_axes("layer_norm", x, axis)
    return _scaled("layer_norm", standardize(x, axes, eps), gamma, beta, axes)


def group_norm(
    x: Operand, groups: int, gamma: Operand | None = None, beta: Operand | None = None,
    eps: float = 1e-5,
) -> Variable:  # fmt: skip
    """Standardise each example over groups of channels of x (N, C, ...) (Wu and He, 2018).

    The number of channels must be known; ``gamma`` and ``beta``, (C,), scale and shift each.
    """
    x = _images("group_norm", x)
    channels = x.shape[1]
    if channels is None or groups < 1 or channels % groups:
        raise OptionError("group_norm", "the channels do not part into so many groups",
                          given=f"groups={groups}, {sides(x=x)}",
                          expected="a divisor of the number of channels")  # fmt: skip
    n, *rest = sizes_of(x)
    share = product([channels // groups, *rest[1:]])
    y = standardize(reshape(x, (n, groups, share)), 2, eps)
    return _scaled("group_norm", reshape(y, shape_of(x)), gamma, beta, (1,))


def instance_norm(
    x: Operand, gamma: Operand | None = None, beta: Operand | None = None, eps: float = 1e-5
) -> Variable:
    """Standardise each channel of each example of x (N, C, ...) (Ulyanov and others, 2016)."""
    x = _images("instance_norm", x)
    y = standardize(x, tuple(range(2, x.ndim)), eps)
    return _scaled("instance_norm", y, gamma, beta, (1,))


def rms_norm(
    x: Operand, gamma: Operand | None = None, axis: int | Sequence[int] = -1, eps: float = 1e-6
) -> Variable:
    """Divide by the root of the mean square over ``axis``, then scale (Zhang, Sennrich, 2019)."""
    x = operand("rms_norm", x, ndim=1, dtype="f")
    axes = normal_axes("rms_norm", x, axis)
    y = x / sqrt(mean(square(x), axes, keepdims=True) + eps)
    return _scaled("rms_norm", y, gamma, None, axes)


def normalize(x: Operand, axis: Axis = -1, eps: float = 1e-12) -> Variable:
    """Divide by the Euclidean length along ``axis``, or by ``eps`` where that is larger."""
    x = operand("normalize", x, dtype="f")
    least = float(np.maximum(eps * eps, np.finfo(x.dtype).tiny))
    return x / sqrt(maximum(sum(square(x), axis, keepdims=True), least))
