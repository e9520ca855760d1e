"""Batch normalisation.

Letters: N examples, D features, or N images of C channels and H x W pixels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import OptionError, ShapeError
from workbench.manual._checks import check, check_g, check_number


def batch_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array | None = None,
    running_variance: Array | None = None,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    training: bool = True,
) -> tuple[Array, Any]:
    """Shift and scale every feature to mean ``beta`` and standard deviation ``gamma``.

    Parameters
    ----------
    x : array, shape (N, D) or (N, C, H, W)
        Features are D, or C with the pixels counted as examples.
    gamma, beta : array, shape (D,) or (C,)
    running_mean, running_variance : array, shape (D,) or (C,), optional
        Averages over past batches.  Training updates them **in place**:
        ``running += momentum * (batch - running)``; testing reads them.
    momentum : float
        Weight of the newest batch, in [0, 1).
    epsilon : float
        Added to the variance; positive.
    training : bool
        Whether to normalise by this batch or by the running averages.

    Returns
    -------
    y : array, shape of x
    cache
        For :func:`batch_norm_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError, OptionError
        If the arrays do not fit together, the options are not usable, a feature has a
        single value to train on, or testing has no running averages to read.

    Notes
    -----
    Source: Ioffe and Szegedy (2015).  As there, a batch is normalised by its biased
    variance, and the running average takes the unbiased one.
    """
    check_number("batch_norm", "momentum", momentum, 0, 1)
    check_number("batch_norm", "epsilon", epsilon, 0, open_low=True)
    running = _check_batch_norm(x, gamma, beta, running_mean, running_variance, training)
    axes, shape = ((0,), (1, -1)) if x.ndim == 2 else ((0, 2, 3), (1, -1, 1, 1))
    count = math.prod(x.shape[axis] for axis in axes)
    if training:
        mean = x.mean(axis=axes)
        centred = x - mean.reshape(shape)
        variance = (centred * centred).mean(axis=axes)  # np.var would conjugate complex x.
        for average, batch in zip(running, (mean, variance * (count / (count - 1))), strict=False):
            average += momentum * (batch.real - average)
    else:
        mean, variance = running
        centred = x - mean.reshape(shape)
    scale = 1 / np.sqrt(variance + epsilon)
    normal = centred * scale.reshape(shape)
    y = normal * gamma.reshape(shape) + beta.reshape(shape)
    return y, (normal, gamma, scale, axes, shape, count, training)


def batch_norm_backward(g: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`batch_norm` with respect to x, gamma and beta.

    In training each x also moves the mean and the variance of its batch; the two terms
    subtracted from g are those two roads.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    normal, gamma, scale, axes, shape, count, training = cache
    check_g("batch_norm_backward", g, normal.shape, normal)
    dgamma, dbeta = (g * normal).sum(axis=axes), g.sum(axis=axes)
    if training:
        g = g - (dbeta.reshape(shape) + normal * dgamma.reshape(shape)) / count
    return g * (gamma * scale).reshape(shape), dgamma, dbeta


def _check_batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Any, variance: Any, training: bool
) -> tuple[Array, ...]:
    where = "batch_norm"
    if (mean is None) != (variance is None) or (mean is None and not training):
        absent = "running_mean" if mean is None else "running_variance"
        raise OptionError(where, f"{absent} is not given", given=f"training={training}",
                          expected="both running averages, or neither in training")  # fmt: skip
    running = () if mean is None else (mean, variance)
    rank = getattr(x, "ndim", 2)
    if rank not in (2, 4):
        raise ShapeError(where, "x is neither a batch of vectors nor of images",
                         given=f"x {x.shape}", expected="x (N, D) or (N, C, H, W)")  # fmt: skip
    pattern = "x N D, gamma D, beta D" if rank == 2 else "x N C H W, gamma C, beta C"
    if running:
        pattern += ", running_mean {0}, running_variance {0}".format("D" if rank == 2 else "C")
    check(where, pattern, x, gamma, beta, *running)
    if training and x.size <= gamma.size:
        raise ShapeError(where, "a feature has fewer than two values, and so no variance",
                         given=f"x {x.shape}", expected="N, or N * H * W, of at least 2",
                         fix="use a larger batch, or training=False")  # fmt: skip
    return running
