"""Softmax, losses, and what else networks are built of, from other ops where that costs nothing."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.symbolic.graph import Gradients, Inputs, Op, Operand, Type, Variable, apply, sides
from workbench.symbolic.ops.activations import softplus
from workbench.symbolic.ops.arranging import swapaxes, tril
from workbench.symbolic.ops.creation import ones
from workbench.symbolic.ops.elementwise import (
    absolute,
    exp,
    log,
    maximum,
    minimum,
    relu,
    sqrt,
    square,
    where,
)
from workbench.symbolic.ops.linear import matmul
from workbench.symbolic.ops.reductions import count, mean, sum
from workbench.symbolic.ops.sizes import normal_axes, shape_of, size_of
from workbench.symbolic.ops.sorting import one_hot
from workbench.symbolic.ops.special import logical_and, xlogy
from workbench.symbolic.values import operand, operands

# --- softmax and losses --------------------------------------------------------------------


@dataclass(frozen=True)
class Softmax(Op):
    axis: int
    name = "softmax"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        (x,) = inputs
        e = np.exp(x - x.max(axis=self.axis, keepdims=True))
        return e / e.sum(axis=self.axis, keepdims=True)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (output * (g - sum(g * output, self.axis, keepdims=True)),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        (x,) = inputs
        e = b.exp(b.subtract(x, b.max(x, (self.axis,), keepdims=True)))
        return b.divide(e, b.sum(e, (self.axis,), keepdims=True))


def softmax(x: Operand, axis: int = -1) -> Variable:
    """Return ``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
    x = operand("softmax", x, ndim=1, dtype="f")
    return apply(Softmax(_one_axis("softmax", x, axis)), x)


@dataclass(frozen=True)
class LogSoftmax(Op):
    axis: int
    name = "log_softmax"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        (x,) = inputs
        x = x - x.max(axis=self.axis, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=self.axis, keepdims=True))

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (g - exp(output) * sum(g, self.axis, keepdims=True),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x = b.subtract(inputs[0], b.max(inputs[0], (self.axis,), keepdims=True))
        return b.subtract(x, b.log(b.sum(b.exp(x), (self.axis,), keepdims=True)))


def log_softmax(x: Operand, axis: int = -1) -> Variable:
    """Return the logarithm of the softmax along ``axis``, exact where that underflows."""
    x = operand("log_softmax", x, ndim=1, dtype="f")
    return apply(LogSoftmax(_one_axis("log_softmax", x, axis)), x)


def _one_axis(where: str, x: Variable, axis: int) -> int:
    axes = normal_axes(where, x, axis)
    if len(axes) != 1:
        raise OptionError(where, "axis is not usable", given=f"axis={axis!r}", expected="one int")
    return axes[0]


def softmin(x: Operand, axis: int = -1) -> Variable:
    """Return the softmax of ``-x``."""
    return softmax(-operand("softmin", x, ndim=1, dtype="f"), axis)


@dataclass(frozen=True)
class NegativeLogLikelihood(Op):
    """Minus the mean, over the rows of log-probabilities, of the entry at each row's label."""

    name = "negative_log_likelihood"

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, ())

    def compute(self, *inputs: Array) -> Array:
        x, labels = inputs
        n, k = x.shape
        # As unsigned, -1 is the largest of all: one look finds labels outside at either end.
        if len(labels) != n or (n and labels.view(f"u{labels.itemsize}").max() >= k):
            raise ShapeError("softmax_cross_entropy", "the labels do not fit the logits",
                             given=f"logits {x.shape}, {len(labels)} labels",
                             expected=f"{n} labels, each from 0 to {k - 1}")  # fmt: skip
        return x[arrays.namespace(x).arange(n), labels].sum() / -n

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, labels = inputs
        return one_hot(labels, size_of(x, 1), x.dtype) * (-g / count(x, (0,))), None

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x, labels = inputs
        n = x.shape[0]
        if labels.shape != (n,):
            raise ShapeError("softmax_cross_entropy", "the labels do not fit the logits",
                             given=f"logits {x.shape}, {labels.shape[0]} labels",
                             expected=f"{n} labels")  # fmt: skip
        picked = b.gather(x, b.iota((n,), 0), labels, wrap=False)
        return b.divide(b.sum(picked), b.constant(-n, x.dtype))


def softmax_cross_entropy(logits: Operand, labels: Operand) -> Variable:
    """Return the mean over the batch of minus the log-probability of each label.

    Parameters
    ----------
    logits : array_like or Variable, shape (N, K)
    labels : integer array_like or Variable, shape (N,)
        Each from 0 to K - 1, which is checked when the graph runs.

    Returns
    -------
    Variable, shape ()
        Finite for logits of any size: it comes of ``log_softmax``.
    """
    where = "softmax_cross_entropy"
    logits = operand(where, logits, "logits", dtype="f")
    labels = operand(where, labels, "labels", dtype="iu")
    n, m = logits.shape[:1], labels.shape[:1]
    if (logits.ndim, labels.ndim) != (2, 1) or (None not in (*n, *m) and n != m):
        raise ShapeError(where, "logits and labels do not fit together",
                         given=sides(logits=logits, labels=labels),
                         expected="logits (N, K) and labels (N,)")  # fmt: skip
    return nll_loss(log_softmax(logits), labels, where=where)


def nll_loss(log_p: Operand, labels: Operand, where: str = "nll_loss") -> Variable:
    """Return the mean over the batch of minus the entry of ``log_p`` (N, K) at each label."""
    log_p = operand(where, log_p, "log_p", dtype="f")
    labels = operand(where, labels, "labels", dtype="iu")
    if (log_p.ndim, labels.ndim) != (2, 1):
        raise ShapeError(where, "log_p and labels do not fit together",
                         given=sides(log_p=log_p, labels=labels),
                         expected="log_p (N, K) and labels (N,)")  # fmt: skip
    return apply(NegativeLogLikelihood(), log_p, labels)


def _alike(where: str, **pair: Any) -> list[Variable]:
    """Return two arguments whose shapes may not differ: (N, 1) against (N,) would broadcast."""
    p, t = operands(where, **pair)
    if p.ndim != t.ndim or any(
        None not in (n, m) and n != m for n, m in zip(p.shape, t.shape, strict=True)
    ):
        first, second = pair
        raise ShapeError(where, f"{first} and {second} differ in shape",
                         given=sides(**{first: p, second: t}), expected="one shape",
                         fix=f"reshape or expand_dims the {second}")  # fmt: skip
    return [p, t]


def mean_squared_error(prediction: Operand, target: Operand) -> Variable:
    """Return the mean over all elements of ``(prediction - target) ** 2``.

    Raises
    ------
    ShapeError
        If their shapes can differ: (N, 1) against (N,) would broadcast to (N, N).
    """
    p, t = _alike("mean_squared_error", prediction=prediction, target=target)
    return mean(square(p - t))


def mean_absolute_error(prediction: Operand, target: Operand) -> Variable:
    """Return the mean over all elements of ``|prediction - target|``."""
    p, t = _alike("mean_absolute_error", prediction=prediction, target=target)
    return mean(absolute(p - t))


def huber_loss(prediction: Operand, target: Operand, delta: float = 1.0) -> Variable:
    """Return the mean of d * d / 2, going on in a straight line where |d| > delta (Huber, 1964)."""
    p, t = _alike("huber_loss", prediction=prediction, target=target)
    d = absolute(p - t)
    inner = minimum(d, delta)
    return mean(inner * (d - 0.5 * inner))


def binary_cross_entropy(p: Operand, target: Operand) -> Variable:
    """Return the mean of minus the log-probability of each target, for probabilities ``p``.

    A logarithm is at least -100, so that a certain error costs much, but not infinitely much.
    """
    p, t = _alike("binary_cross_entropy", p=p, target=target)
    least = np.exp(-100) if p.dtype == np.float64 else np.finfo(p.dtype).tiny
    return -mean(t * log(maximum(p, float(least))) + (1 - t) * log(maximum(1 - p, float(least))))


def binary_cross_entropy_with_logits(logits: Operand, target: Operand) -> Variable:
    """Return the binary cross-entropy of the sigmoid of ``logits``, exact where that saturates."""
    z, t = _alike("binary_cross_entropy_with_logits", logits=logits, target=target)
    return mean(softplus(z) - z * t)


def kl_divergence(log_q: Operand, p: Operand) -> Variable:
    """Return the mean over rows of sum(p log(p / q)), given the logarithm of q."""
    log_q, p = _alike("kl_divergence", log_q=log_q, p=p)
    return mean(sum(xlogy(p, p) - p * log_q, axis=-1))


def poisson_nll_loss(log_rate: Operand, target: Operand) -> Variable:
    """Return the mean of minus the Poisson log-likelihood of ``target``, but for a constant."""
    r, t = _alike("poisson_nll_loss", log_rate=log_rate, target=target)
    return mean(exp(r) - t * r)


def hinge_loss(scores: Operand, target: Operand) -> Variable:
    """Return the mean of max(0, 1 - target * score), for targets of -1 and 1."""
    s, t = _alike("hinge_loss", scores=scores, target=target)
    return mean(relu(1 - t * s))


def cosine_similarity(x: Operand, y: Operand, axis: int = -1, eps: float = 1e-8) -> Variable:
    """Return the cosine of the angle between vectors along ``axis``; lengths are at least eps."""
    x, y = operands("cosine_similarity", x=x, y=y)
    lengths = [sqrt(maximum(sum(square(v), axis), eps * eps)) for v in (x, y)]
    return sum(x * y, axis) / (lengths[0] * lengths[1])


# --- what layers stand on ------------------------------------------------------------------


def dropout(x: Operand, rate: float, random: Any) -> Variable:
    """Return ``x`` with elements dropped at random, the rest scaled up (Srivastava et al., 2014).

    Parameters
    ----------
    x : array_like or Variable
    rate : float
        The probability of dropping an element, at least 0 and below 1.
    random : RandomStreams
        Draws another mask in every call.

    Raises
    ------
    OptionError
        For another rate.
    """
    x = operand("dropout", x, dtype="f")
    if not 0 <= rate < 1:
        raise OptionError("dropout", "rate is a probability below 1", given=f"rate={rate}")
    kept: Variable = random.bernoulli(shape_of(x), 1 - rate, dtype=bool)
    return where(kept, x / (1 - rate), 0)


def scaled_dot_product_attention(
    q: Operand, k: Operand, v: Operand, mask: Operand | None = None, causal: bool = False
) -> Variable:
    """Return ``softmax(q @ k.T / sqrt(D)) @ v`` over the last two axes (Vaswani et al., 2017).

    Parameters
    ----------
    q : array_like or Variable, shape (..., TQ, D)
    k : array_like or Variable, shape (..., TK, D)
    v : array_like or Variable, shape (..., TK, DV)
        The leading axes are batches (examples, heads), and broadcast.
    mask : booleans that broadcast to (..., TQ, TK), optional
        True where the query may look at the key; a query that may look at none gets NaN.
    causal : bool
        Whether query t may look at keys up to t only.

    Returns
    -------
    Variable, shape (..., TQ, DV)

    Raises
    ------
    ShapeError, DtypeError
        If the arguments can never fit.
    """
    name = "scaled_dot_product_attention"
    q, k = operand(name, q, "q", ndim=2, dtype="f"), operand(name, k, "k", ndim=2, dtype="f")
    scores = matmul(q, swapaxes(k, -1, -2)) / sqrt(count(q, (q.ndim - 1,)))
    if causal:
        past = tril(ones((size_of(q, q.ndim - 2), size_of(k, k.ndim - 2)), bool))
        mask = past if mask is None else logical_and(past, mask)
    if mask is not None:
        mask = operand(name, mask, "mask")
        if mask.dtype != bool:
            raise DtypeError(name, "a mask is made of booleans", given=sides(mask=mask),
                             expected="True where the query may look")  # fmt: skip
        scores = where(mask, scores, -np.inf)
    return matmul(softmax(scores), operand(name, v, "v", ndim=2))
