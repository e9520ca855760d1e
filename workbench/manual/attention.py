"""Scaled dot-product attention.

Letters: TQ queries, TK keys of size D, each with a value of size DV.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.manual._checks import check, check_g
from workbench.manual.activations import softmax, softmax_backward


def attention(q: Array, k: Array, v: Array, mask: Array | None = None) -> tuple[Array, Any]:
    """Return ``softmax(q @ k.T / sqrt(D)) @ v`` over the last two axes.

    Parameters
    ----------
    q : array, shape (..., TQ, D)
    k : array, shape (..., TK, D)
    v : array, shape (..., TK, DV)
        The leading axes are batches (examples, heads), the same in all three.
    mask : array of bool, broadcastable to (..., TQ, TK), optional
        True where the query may look at the key.

    Returns
    -------
    y : array, shape (..., TQ, DV)
    cache
        For :func:`attention_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError, OptionError
        If the arrays do not fit together, or the mask leaves a query nothing to look at.

    Notes
    -----
    Source: Vaswani et al. (2017), equation 1.
    """
    check("attention", "q ... TQ D, k ... TK D, v ... TK DV", q, k, v)
    scale = 1 / math.sqrt(q.shape[-1])
    scores = (q @ k.swapaxes(-1, -2)) * scale
    if mask is not None:
        _check_mask(mask, scores.shape)
        scores = np.where(mask, scores, -np.inf)
    p, _ = softmax(scores)
    return p @ v, (q, k, v, p, scale)


def attention_backward(g: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`attention` with respect to q, k and v.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    q, k, v, p, scale = cache
    check_g("attention_backward", g, (*p.shape[:-1], v.shape[-1]), v)
    dscores = softmax_backward(g @ v.swapaxes(-1, -2), p) * scale
    return dscores @ k, dscores.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g


def _check_mask(mask: Any, shape: tuple[int, ...]) -> None:
    if getattr(mask, "dtype", None) != np.bool_:
        raise DtypeError("attention", "mask is not an array of bool",
                         given=f"mask {getattr(mask, 'dtype', type(mask).__name__)}",
                         expected="True where the query may look at the key")  # fmt: skip
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError("attention", "mask does not fit the scores", given=f"mask {mask.shape}",
                         expected=f"broadcastable to (..., TQ, TK) = {shape}")  # fmt: skip
    if not mask.any(axis=-1).all():
        raise OptionError("attention", "the mask leaves a query no key to look at",
                          expected="at least one True in every row of mask",
                          fix="leave that query out, or let it look at itself")  # fmt: skip
