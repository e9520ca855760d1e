"""Activation functions: one-liners on the elementwise ops, of which they get their gradients."""

from __future__ import annotations

import math

from workbench.symbolic.graph import Operand, Variable
from workbench.symbolic.ops.elementwise import (
    absolute,
    expm1,
    greater,
    relu,
    sigmoid,
    square,
    tanh,
    where,
)
from workbench.symbolic.ops.special import clip, log1pexp, ndtr
from workbench.symbolic.values import operand


def softplus(x: Operand, beta: float = 1.0) -> Variable:
    """Return log(1 + exp(beta x)) / beta, a smooth relu, without overflow."""
    x = operand("softplus", x, dtype="f")
    return log1pexp(x) if beta == 1 else log1pexp(beta * x) / beta


def log_sigmoid(x: Operand) -> Variable:
    """Return log(sigmoid(x)), without overflow or log(0)."""
    return -softplus(-operand("log_sigmoid", x, dtype="f"))


def leaky_relu(x: Operand, slope: float = 0.01) -> Variable:
    """Return x where positive, else slope * x; the derivative at 0 is the slope (Maas, 2013)."""
    x = operand("leaky_relu", x, dtype="f")
    return where(greater(x, 0), x, slope * x)


def elu(x: Operand, alpha: float = 1.0) -> Variable:
    """Return x where positive, else alpha * (exp(x) - 1); alpha is the derivative at 0.

    Clevert, Unterthiner and Hochreiter (2016).
    """
    x = operand("elu", x, dtype="f")
    return relu(x) + alpha * expm1(where(greater(x, 0), 0, x))


def celu(x: Operand, alpha: float = 1.0) -> Variable:
    """Return x where positive, else alpha * (exp(x / alpha) - 1) (Barron, 2017): smooth at 0."""
    x = operand("celu", x, dtype="f")
    return relu(x) + alpha * expm1(where(greater(x, 0), 0, x) / alpha)


def selu(x: Operand) -> Variable:
    """Return the self-normalising elu, which keeps mean 0 and variance 1 (Klambauer, 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def silu(x: Operand) -> Variable:
    """Return x * sigmoid(x), also known as swish (Elfwing, Uchibe and Doya, 2018)."""
    x = operand("silu", x, dtype="f")
    return x * sigmoid(x)


def gelu(x: Operand, approximate: bool = False) -> Variable:
    """Return x times the probability that a standard normal variable is at most x.

    Parameters
    ----------
    x : array_like or Variable
    approximate : bool
        Use the tanh that the first implementations used, off by up to 5e-4.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units" (2016).
    """
    x = operand("gelu", x, dtype="f")
    if not approximate:
        return x * ndtr(x)  # Not 1 + erf(x), whose digits cancel where x is negative.
    return x * sigmoid(x * (math.sqrt(8 / math.pi) * (1 + 0.044715 * square(x))))


def mish(x: Operand) -> Variable:
    """Return x * tanh(softplus(x)) (Misra, 2019)."""
    x = operand("mish", x, dtype="f")
    return x * tanh(softplus(x))


def softsign(x: Operand) -> Variable:
    """Return x / (1 + |x|)."""
    x = operand("softsign", x, dtype="f")
    return x / (1 + absolute(x))


def hard_tanh(x: Operand, low: float = -1.0, high: float = 1.0) -> Variable:
    """Return x clipped to [low, high]; the derivative at both ends is 1."""
    return clip(x, low, high)


def relu6(x: Operand) -> Variable:
    """Return x clipped to [0, 6]; the derivative at both ends is 1."""
    return clip(x, 0, 6)


def hard_sigmoid(x: Operand) -> Variable:
    """Return (x + 3) / 6 clipped to [0, 1]; the derivative at both ends is 1/6."""
    return clip(operand("hard_sigmoid", x, dtype="f") + 3, 0, 6) / 6


def hard_swish(x: Operand) -> Variable:
    """Return x * hard_sigmoid(x) (Howard et al., MobileNetV3, 2019)."""
    x = operand("hard_swish", x, dtype="f")
    return x * hard_sigmoid(x)
