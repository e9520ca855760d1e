"""Attention with several heads, and the Transformer's block (Vaswani et al., 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import ops
from workbench.dynamic.nn.layers import GELU, Dropout, Linear, Sequential
from workbench.dynamic.nn.module import Module
from workbench.dynamic.nn.normalisation import LayerNorm
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError, ShapeError


class MultiHeadAttention(Module):
    """Attention in several subspaces side by side.

    Parameters
    ----------
    features : int
        Length E of queries, keys, values and results.
    heads : int
        Divides E.
    rng : numpy.random.Generator, optional
        For the initial weights and the dropout; unseeded by default.
    dropout : float
        Probability of dropping an attention weight in training.
    bias : bool
        Whether the four maps have biases.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    query, key, value, output : Linear, E to E
        PyTorch's ``in_proj_weight`` holds the transposes of the w of the first three, one
        below the other, and ``out_proj.weight`` that of the last.
    """

    def __init__(self, features: int, heads: int, rng: np.random.Generator | None = None,
                 dropout: float = 0.0, bias: bool = True,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        if heads < 1 or features % heads:
            raise OptionError("MultiHeadAttention", "the features do not part into so many heads",
                              given=f"features={features}, heads={heads}",
                              expected="a divisor of the number of features")  # fmt: skip
        rng = np.random.default_rng() if rng is None else rng
        self.query, self.key, self.value, self.output = (
            Linear(features, features, rng, bias, dtype) for _ in range(4)
        )
        self.heads, self.dropout = heads, Dropout(dropout, rng)

    def forward(self, query: Any, key: Any = None, value: Any = None, mask: Any = None,
                causal: bool = False, lengths: Any = None) -> Tensor:  # fmt: skip
        """Attend.

        Parameters
        ----------
        query : (TQ, N, E)
        key, value : (TK, N, E), optional
            By default the query (self-attention), and the key.
        mask : booleans that broadcast to (N, heads, TQ, TK), optional
            True where the query may look at the key; PyTorch's layer says the opposite.
        causal : bool
            Whether query t may look at keys up to t only.
        lengths : integers, (N,), optional
            Of each sequence of keys, from 1 to TK; what lies beyond is padding, not looked at.

        Returns
        -------
        Tensor, shape (TQ, N, E)

        Raises
        ------
        ShapeError, DtypeError, OptionError
            If the arguments do not fit, or a query may look at no key.
        """
        key = query if key is None else key
        value = key if value is None else value
        if lengths is not None:
            lengths, (steps, n) = arrays.to_device(values(lengths), key.device), key.shape[:2]
            if lengths.shape != (n,) or not ((lengths >= 1) & (lengths <= steps)).all():
                raise ShapeError("MultiHeadAttention", "lengths do not fit the keys",
                                 given=f"lengths {lengths}, keys {key.shape}",
                                 expected=f"{n} integers from 1 to {steps}")  # fmt: skip
            real = arrays.namespace(lengths).arange(steps) < lengths[:, None, None, None]
            mask = real if mask is None else real & values(mask)
        q, k, v = (
            self._apart(each) for each in (self.query(query), self.key(key), self.value(value))
        )
        rate = self.dropout.rate if self.dropout.training else 0.0
        y = ops.scaled_dot_product_attention(q, k, v, mask, causal, rate, self.dropout.rng)
        return self.output(ops.reshape(ops.transpose(y, (2, 0, 1, 3)), query.shape))

    def _apart(self, x: Any) -> Any:
        """Return (N, heads, T, E / heads) for x (T, N, E)."""
        steps, n, features = x.shape
        apart = ops.reshape(x, (steps, n, self.heads, features // self.heads))
        return ops.transpose(apart, (1, 2, 0, 3))


class TransformerBlock(Module):
    """Self-attention, then two affine maps, each added to what came in and normalised.

    Parameters
    ----------
    features, heads : int
        As for :class:`MultiHeadAttention`.
    hidden : int, optional
        Features between the two maps; four times E by default.
    rng, dtype
        As for :class:`MultiHeadAttention`.
    dropout : float
        Probability of dropping, in training: attention weights, and what is added.
    norm_first : bool
        Whether to normalise what goes into each part (Xiong et al., 2020: it needs no
        warm-up), or, as in the paper of 2017, each sum.
    """

    def __init__(self, features: int, heads: int, hidden: int | None = None,
                 rng: np.random.Generator | None = None, dropout: float = 0.0,
                 norm_first: bool = True, dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        rng = np.random.default_rng() if rng is None else rng
        hidden = 4 * features if hidden is None else hidden
        self.attention = MultiHeadAttention(features, heads, rng, dropout, dtype=dtype)
        self.feedforward = Sequential(
            Linear(features, hidden, rng, dtype=dtype),
            GELU(),
            Linear(hidden, features, rng, dtype=dtype),
        )
        self.norms = [LayerNorm(features, dtype=dtype) for _ in range(2)]
        self.dropout, self.norm_first = Dropout(dropout, rng), norm_first

    def forward(
        self, x: Any, mask: Any = None, causal: bool = False, lengths: Any = None
    ) -> Tensor:
        """Return (T, N, E) for x (T, N, E); options as :class:`MultiHeadAttention`."""
        first, second = self.norms
        if self.norm_first:
            attended = self.attention(first(x), mask=mask, causal=causal, lengths=lengths)
            x = x + self.dropout(attended)
            return x + self.dropout(self.feedforward(second(x)))
        attended = self.attention(x, mask=mask, causal=causal, lengths=lengths)
        x = first(x + self.dropout(attended))
        return second(x + self.dropout(self.feedforward(x)))


def sinusoidal_positions(steps: int, features: int, dtype: npt.DTypeLike = np.float32) -> Array:
    """Return (T, 1, E) to add to a sequence, that tells its places apart.

    Feature 2k is the sine, and 2k + 1 the cosine, of place / 10000**(2k / E) (Vaswani et
    al., 2017, section 3.5).

    Raises
    ------
    OptionError, DtypeError
        If E is odd, or the dtype is not a floating one.
    """
    if features % 2:
        raise OptionError("sinusoidal_positions", "features come in pairs",
                          given=f"features={features}", expected="an even number")  # fmt: skip
    angle = np.arange(steps)[:, None] / 10000 ** (np.arange(0, features, 2) / features)
    pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return pairs.reshape(steps, 1, features).astype(arrays.float_dtype(dtype, "positions"))
