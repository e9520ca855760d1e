"""Normalisations: layers that subtract a mean, divide by a deviation, and learn both back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.dynamic import ops, versions
from workbench.dynamic.nn import init as initial
from workbench.dynamic.nn.layers import Lengths, weights
from workbench.dynamic.nn.module import Buffer, Module
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError, ShapeError


class BatchNorm(Module):
    """Standardise each channel over the batch; in evaluation by statistics kept in training.

    Parameters
    ----------
    channels : int
        C, in (N, C), (N, C, L) or (N, C, H, W).
    momentum : float
        Share of a new batch in the running statistics, from 0 to 1.
    eps : float
        Added to the variance.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    gamma, beta : Parameter, (C,)
        Scale and shift, ones and zeros at first.
    mean, variance : Buffer, (C,)
        Running statistics, zeros and ones at first.

    Notes
    -----
    Ioffe and Szegedy (2015).  A batch is standardised by its biased variance, and the
    unbiased one (divided by n - 1) enters the running variance, as in PyTorch.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        if not 0 <= momentum <= 1:
            raise OptionError("BatchNorm", "momentum is a share", given=f"momentum={momentum}",
                              expected="0 to 1")  # fmt: skip
        self.gamma = weights("BatchNorm", (channels,), None, dtype, initial.ones)
        self.beta = weights("BatchNorm", (channels,), None, dtype, initial.zeros)
        self.mean, self.variance = Buffer(self.beta), Buffer(self.gamma)
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Any) -> Tensor:
        """Return a tensor of the shape of x (N, C, ...)."""
        if not self.training:
            return ops.batch_norm(x, self.gamma, self.beta, self.mean, self.variance, self.eps)
        count = x.size // x.shape[1] if x.ndim > 1 and x.size else 0
        if count == 1:
            raise ShapeError("BatchNorm", "one element a channel has no variance to train with",
                             given=f"x {x.shape}", fix="use larger batches, or model.eval()")  # fmt: skip

        def keep(mean: Any, variance: Any) -> None:
            unbiased = variance * (count / (count - 1))
            for kept, new in ((self.mean, mean), (self.variance, unbiased)):
                kept.data += self.momentum * (new - kept.data)
                versions.mark(kept.data)

        return ops.batch_norm(x, self.gamma, self.beta, eps=self.eps, seen=keep)


class LayerNorm(Module):
    """Standardise each example over its last axes, then scale and shift.

    Parameters
    ----------
    shape : int or sequence of int
        Lengths of the last axes.
    eps : float
        Added to the variance.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    gamma, beta : Parameter, of ``shape``
        Ones and zeros at first.

    Notes
    -----
    Ba, Kiros and Hinton (2016).
    """

    def __init__(
        self, shape: Lengths, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32
    ) -> None:
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        self.gamma = weights("LayerNorm", shape, None, dtype, initial.ones)
        self.beta = weights("LayerNorm", shape, None, dtype, initial.zeros)
        self.eps = eps

    def forward(self, x: Any) -> Tensor:
        """Return a tensor of the shape of x (..., *shape)."""
        axis = tuple(range(-self.gamma.ndim, 0))
        return ops.layer_norm(x, self.gamma, self.beta, axis, self.eps)


class GroupNorm(Module):
    """Standardise each example over groups of channels, then scale and shift each channel.

    Parameters
    ----------
    groups, channels : int
        The first divides the second, C in (N, C, ...).
    eps, dtype
        As for :class:`LayerNorm`.

    Attributes
    ----------
    gamma, beta : Parameter, (C,)
        Ones and zeros at first.

    Notes
    -----
    Wu and He (2018).
    """

    def __init__(
        self, groups: int, channels: int, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.gamma = weights("GroupNorm", (channels,), None, dtype, initial.ones)
        self.beta = weights("GroupNorm", (channels,), None, dtype, initial.zeros)
        if groups < 1 or channels % groups:
            raise OptionError("GroupNorm", "the channels do not part into so many groups",
                              given=f"groups={groups}, channels={channels}",
                              expected="a divisor of the number of channels")  # fmt: skip
        self.groups, self.eps = groups, eps

    def forward(self, x: Any) -> Tensor:
        """Return a tensor of the shape of x (N, C, ...)."""
        return ops.group_norm(x, self.groups, self.gamma, self.beta, self.eps)


# --- activations -------------------------------------------------------------------------
