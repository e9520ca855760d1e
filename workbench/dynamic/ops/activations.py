"""Activation functions: one-liners on the elementwise operations.

They get their gradients, of every order, from those.  Each says which derivative it takes at
its kinks; relu, sigmoid and tanh, of one primitive each, are in ``elementwise``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.dynamic.ops.elementwise import (
    absolute,
    clip,
    expm1,
    negative,
    relu,
    sigmoid,
    square,
    tanh,
    unary,
    values,
    where,
)
from workbench.dynamic.ops.special import ndtr

__all__ = [
    "celu", "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid",
    "mish", "relu6", "selu", "silu", "softplus", "softsign",
]  # fmt: skip

_log1pexp = unary(
    "softplus",
    lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    lambda g, x: g * sigmoid(x),
    "Return log(1 + exp(x)), without overflow.",
)


def softplus(x: Any, beta: float = 1.0) -> Any:
    """Return log(1 + exp(beta x)) / beta, a smooth relu, without overflow."""
    return _log1pexp(x) if beta == 1 else _log1pexp(beta * x) / beta


def log_sigmoid(x: Any) -> Any:
    """Return log(sigmoid(x)), without overflow or log(0)."""
    return negative(softplus(negative(x)))


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where positive, else slope * x; the derivative at 0 is the slope (Maas, 2013)."""
    return where(values(x) > 0, x, slope * x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where positive, else alpha * (exp(x) - 1); alpha is the derivative at 0.

    Clevert, Unterthiner and Hochreiter (2016).
    """
    return relu(x) + alpha * expm1(where(values(x) > 0, 0.0, x))


def celu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where positive, else alpha * (exp(x / alpha) - 1) (Barron, 2017): smooth at 0."""
    return relu(x) + alpha * expm1(where(values(x) > 0, 0.0, x) / alpha)


def selu(x: Any) -> Any:
    """Return the self-normalising elu, which keeps mean 0 and variance 1 (Klambauer, 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def silu(x: Any) -> Any:
    """Return x * sigmoid(x), also known as swish (Elfwing, Uchibe and Doya, 2018)."""
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """Return x times the probability that a standard normal variable is at most x.

    Parameters
    ----------
    x : Tensor or array
    approximate : bool
        Use the tanh that the first implementations used, off by up to 5e-4.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units" (2016).
    """
    if not approximate:
        return x * ndtr(x)  # Not 1 + erf(x), whose digits cancel where x is negative.
    return x * sigmoid(x * (math.sqrt(8 / math.pi) * (1 + 0.044715 * square(x))))


def mish(x: Any) -> Any:
    """Return x * tanh(softplus(x)) (Misra, 2019)."""
    return x * tanh(softplus(x))


def softsign(x: Any) -> Any:
    """Return x / (1 + |x|)."""
    return x / (1 + absolute(x))


def hard_tanh(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """Return x clipped to [low, high]; the derivative at both ends is 1."""
    return clip(x, low, high)


def relu6(x: Any) -> Any:
    """Return x clipped to [0, 6]; the derivative at both ends is 1."""
    return clip(x, 0.0, 6.0)


def hard_sigmoid(x: Any) -> Any:
    """Return (x + 3) / 6 clipped to [0, 1]; the derivative at both ends is 1/6."""
    return clip(x + 3, 0.0, 6.0) / 6


def hard_swish(x: Any) -> Any:
    """Return x * hard_sigmoid(x) (Howard et al., MobileNetV3, 2019)."""
    return x * hard_sigmoid(x)
