"""Attention: each query takes a weighted mean of the values, by the keys it is like."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.ops.elementwise import values, where
from workbench.dynamic.ops.linear import matmul, swapped
from workbench.dynamic.ops.losses import dropout as drop
from workbench.dynamic.ops.reductions import softmax
from workbench.errors import DtypeError, OptionError, ShapeError

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False,
                                 dropout: float = 0.0,
                                 rng: np.random.Generator | None = None) -> Any:  # fmt: skip
    """Return ``softmax(q @ k.T / sqrt(D)) @ v`` over the last two axes.

    Parameters
    ----------
    q : (..., TQ, D)
    k : (..., TK, D)
    v : (..., TK, DV)
        The leading axes are batches (examples, heads), and broadcast.
    mask : booleans that broadcast to (..., TQ, TK), optional
        True where the query may look at the key.
    causal : bool
        Whether query t may look at keys up to t only.
    dropout : float
        Probability of dropping a weight; drawn from ``rng``, which it needs.

    Returns
    -------
    Tensor, shape (..., TQ, DV)

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the arguments do not fit, or a query may look at no key.

    Notes
    -----
    Vaswani et al. (2017), equation 1.
    """
    name = "scaled_dot_product_attention"
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(name, "the shapes do not fit",
                         given=f"q {q.shape}, k {k.shape}, v {v.shape}",
                         expected="q (..., TQ, D), k (..., TK, D) and v (..., TK, DV)")  # fmt: skip
    scores = matmul(q * q.shape[-1] ** -0.5, swapped(k))
    if causal:
        past = arrays.namespace(values(q)).tri(*scores.shape[-2:], dtype=bool)
        mask = past if mask is None else past & values(mask)
    if mask is not None:
        mask = values(mask)
        if mask.dtype != bool:
            raise DtypeError(name, "a mask is made of booleans", given=f"mask of {mask.dtype}",
                             expected="True where the query may look")  # fmt: skip
        if not mask.any(axis=-1).all():
            raise OptionError(name, "a query may look at no key", given=f"mask {mask.shape}",
                              fix="let every row of the mask have a True")  # fmt: skip
        scores = where(mask, scores, -np.inf)
    p = softmax(scores)
    if dropout:
        if rng is None:
            raise OptionError(name, "dropout needs a source", given="rng=None")
        p = drop(p, dropout, rng)
    return matmul(p, v)
