"""What layers, in either style, are made of: checks, initial weights, and formulas.

``where`` is the layer in whose name an input is refused.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from workbench.errors import OptionError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional import random
from workbench.functional.core import Value, shape_of
from workbench.functional.numpy.neural import Size


def sizes(where: str, *lengths: int) -> None:
    """Refuse lengths that are not positive integers, with OptionError."""
    if not all(isinstance(n, int | np.integer) and n > 0 for n in lengths):
        raise OptionError(where, "sizes are positive integers", given=f"{lengths}")


def fits(where: str, ok: bool, given: Any, expected: str) -> None:
    """Raise ShapeError for an input that a layer cannot take."""
    if not ok:
        raise ShapeError(where, "the input does not fit this layer", given=f"input {given}",
                         expected=f"input {expected}")  # fmt: skip


def glorot_uniform(key: Value, shape: tuple[int, ...], inputs: int, outputs: int) -> Value:
    """Draw from U(-a, a), a = fnp.sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010, eq. 16)."""
    a = (6 / (inputs + outputs)) ** 0.5
    return random.uniform(key, shape, np.float32) * (2 * a) - a


def kernels(key: Value, inputs: int, outputs: int, size: tuple[int, int]) -> Value:
    """Return w (F, C, KH, KW), Glorot uniform: each place of a kernel counts."""
    area = prod(size)
    return glorot_uniform(key, (outputs, inputs, *size), inputs * area, outputs * area)


def recurrent_weights(key: Value, inputs: int, hidden: int, gates: int) -> tuple[Value, Value]:
    """Return wx (D, gates H) and wh (H, gates H), Glorot uniform gate by gate."""
    keys = random.split(key, 2)
    return (
        glorot_uniform(keys[0], (inputs, gates * hidden), inputs, hidden),
        glorot_uniform(keys[1], (hidden, gates * hidden), hidden, hidden),
    )


def lstm_bias(hidden: int) -> Value:
    """Return b (4H,): zeros, but ones for the forget gate: remember (Gers et al., 2000)."""
    zero, one = fnp.zeros(hidden, np.float32), fnp.ones(hidden, np.float32)
    return fnp.concatenate([zero, one, zero, zero])


def dense(where: str, x: Value, w: Value, b: Value | None) -> Value:
    """Return ``x @ w + b``, (..., K) for x (..., D); b may be None."""
    fits(where, shape_of(x)[-1:] == w.shape[:1], shape_of(x), f"(..., {w.shape[0]})")
    y = fnp.matmul(x, w)
    return y if b is None else y + b


def convolution(where: str, x: Value, w: Value, b: Value, stride: Size, padding: Size) -> Value:
    """Return ``conv2d``, (N, F, OH, OW) for x (N, C, H, W), refusing in the name of a layer."""
    shape, c = shape_of(x), w.shape[1]
    fits(where, len(shape) == 4 and shape[1] == c, shape, f"(N, {c}, H, W)")
    return fnp.conv2d(x, w, b, stride, padding)


def layer_norm(where: str, x: Value, scale: Value, shift: Value, eps: float) -> Value:
    """Return x (..., D) with mean 0 and variance 1 along the last axis, scaled and shifted."""
    fits(where, shape_of(x)[-1:] == scale.shape, shape_of(x), f"(..., {scale.shape[0]})")
    centered = x - fnp.mean(x, -1, keepdims=True)
    return centered / fnp.sqrt(fnp.var(x, -1, keepdims=True) + eps) * scale + shift


def lstm_cell(state: tuple[Value, Value], a: Value, wh: Value) -> tuple[Value, Value]:
    """Return the next (h, c) of a long short-term memory; h and c are (..., H).

    ``a`` is ``x @ wx + b``, (..., 4H), in the order i, f, g, o: input gate, forget gate,
    candidate, output gate.  Hochreiter and Schmidhuber (1997), with the forget gate of Gers,
    Schmidhuber and Cummins (2000).
    """
    h, c = state
    i, f, g, o = _gates(a + fnp.matmul(h, wh), 4)
    c = fnp.sigmoid(f) * c + fnp.sigmoid(i) * fnp.tanh(g)
    return fnp.sigmoid(o) * fnp.tanh(c), c


def gru_cell(state: tuple[Value], a: Value, wh: Value, bh: Value) -> tuple[Value]:
    """Return the next (h,) of a gated recurrent unit (Cho et al., 2014); h is (..., H).

    ``a`` is ``x @ wx + b``, (..., 3H), in the order r, z, n: reset gate, update gate,
    candidate.  The reset comes after the product with wh, as in cuDNN; ``bh`` (H,) before.
    """
    (h,) = state
    (r, z, n), (ur, uz, un) = _gates(a, 3), _gates(fnp.matmul(h, wh), 3)
    n = fnp.tanh(n + fnp.sigmoid(r + ur) * (un + bh))
    return (n + fnp.sigmoid(z + uz) * (h - n),)


def _gates(a: Value, count: int) -> list[Value]:
    width = a.shape[-1] // count
    return [a[..., k * width : (k + 1) * width] for k in range(count)]
