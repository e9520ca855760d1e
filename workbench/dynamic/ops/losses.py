"""Losses, and the two layers that need neither weights nor a file of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.activations import softplus
from workbench.dynamic.ops.elementwise import (
    absolute,
    exp,
    log,
    maximum,
    minimum,
    relu,
    sqrt,
    square,
    values,
    where,
    xlogy,
)
from workbench.dynamic.ops.indexing import take_along_axis
from workbench.dynamic.ops.reductions import log_softmax, mean, softmax, sum
from workbench.dynamic.ops.shapes import broadcast_to
from workbench.errors import DtypeError, OptionError, ShapeError, WorkbenchError

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "dropout", "embedding", "gaussian_nll_loss",
    "hinge_loss", "huber_loss", "kl_divergence", "mean_absolute_error", "mean_squared_error",
    "multi_margin_loss", "nll_loss", "poisson_nll_loss", "softmax_cross_entropy",
    "triplet_margin_loss",
]  # fmt: skip


class SoftmaxCrossEntropy(Function):
    """Mean of -log(softmax(logits)[label])."""

    fresh = computes = True

    @staticmethod
    def forward(ctx: Any, x: Any, labels: Any) -> Any:
        n, k = check_labels(x, labels)
        # Where the labels are in the flat array: far faster than pairs of indices.
        at = arrays.row_starts(n, k, labels) + labels.astype(np.int64, copy=False)
        logits = x if x.flags.c_contiguous else x.copy()
        e = logits - logits.max(axis=1, keepdims=True)
        truth = e.take(at)
        np.exp(e, out=e)
        total = e.dot(arrays.ones(k, e))
        loss = (np.log(total) - truth).dot(arrays.ones(n, e)) / n
        if ctx.inputs[0] is not None:
            e /= total[:, None]
            e.reshape(-1)[at] -= 1  # Only the mean's 1 / n is missing.
            ctx.args, ctx.at, ctx.slope = (x, None), at, e
        return loss

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        logits = ctx.args[0]
        if values(logits) is logits:
            return ctx.slope * (g / len(logits))
        # To differentiate once more, the slope has to be computed from the logits.
        truth = arrays.namespace(logits.data).zeros(logits.shape, logits.dtype)
        truth.reshape(-1)[ctx.at] = 1
        return (softmax(logits, 1) - truth) * (g / len(logits))


def check_labels(logits: Any, labels: Any) -> tuple[int, int]:
    """Return (N, K), or refuse labels that do not number the K classes of N examples."""
    name, dtype = "softmax_cross_entropy", getattr(labels, "dtype", None)
    if dtype is None or dtype.kind not in "iu":
        raise DtypeError(name, "labels are class numbers",
                         given=f"labels of {dtype or type(labels).__name__}",
                         expected="an array of integers, 0 to K - 1")  # fmt: skip
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.size:
        raise ShapeError(name, "logits and labels do not fit together",
                         given=f"logits {logits.shape}, labels {labels.shape}",
                         expected="logits (N, K) and labels (N,), N and K not 0")  # fmt: skip
    n, k = logits.shape
    unsigned = labels.view(_UNSIGNED[dtype.itemsize])
    if int(unsigned[unsigned.argmax()]) >= k:  # Starts in a third of the time of max.
        raise OptionError(name, "a label is not a class",
                          given=f"labels from {labels.min()} to {labels.max()}",
                          expected=f"0 to {k - 1}, for logits {logits.shape}")  # fmt: skip
    return n, k


_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}  # Where -1 is the largest.


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean over the batch of -log(softmax(logits)[label]).

    Parameters
    ----------
    logits : (N, K)
        Any finite size: the maximum of each row is subtracted first.
    labels : integers, (N,)
        Each from 0 to K - 1.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the labels do not fit the logits.
    """
    return SoftmaxCrossEntropy.apply(logits, labels)


def mean_squared_error(prediction: Any, target: Any) -> Any:
    """Return the mean over all elements of (prediction - target) ** 2.

    Parameters
    ----------
    prediction, target : any one shape

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ShapeError
        If the shapes differ: broadcasting here is nearly always a mistake.
    """
    _same("mean_squared_error", prediction, target)
    return mean(square(prediction - target))


def _same(name: str, x: Any, y: Any, called: tuple[str, str] = ("prediction", "target")) -> None:
    if x.shape != y.shape:
        raise ShapeError(name, f"{called[0]} and {called[1]} differ in shape",
                         given=f"{called[0]} {x.shape}, {called[1]} {y.shape}",
                         expected="equal shapes",
                         fix="reshape one of them: y.reshape((-1, 1))")  # fmt: skip


# --- Each is a mean over all elements, or over the batch where elements make an example. ---


def mean_absolute_error(prediction: Any, target: Any) -> Any:
    """Return the mean over all elements of |prediction - target|, also known as L1 loss."""
    _same("mean_absolute_error", prediction, target)
    return mean(absolute(prediction - target))


def huber_loss(prediction: Any, target: Any, delta: float = 1.0) -> Any:
    """Return the mean of d * d / 2 where |d| is up to delta, else of delta * (|d| - delta / 2).

    d is prediction - target.  Divided by delta this is the "smooth L1" loss (Huber, 1964).
    """
    _same("huber_loss", prediction, target)
    d = absolute(prediction - target)
    inner = minimum(d, delta)
    return mean(inner * (d - 0.5 * inner))


def binary_cross_entropy(p: Any, target: Any) -> Any:
    """Return the mean over all elements of -(target log(p) + (1 - target) log(1 - p)).

    Parameters
    ----------
    p, target : any one shape
        Probabilities.  Logarithms stop at that of the smallest positive number; where p
        comes from a sigmoid, :func:`binary_cross_entropy_with_logits` is exact instead.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ShapeError, OptionError
        If the shapes differ, or p is not made of probabilities.
    """
    _same("binary_cross_entropy", p, target, ("p", "target"))
    given = values(p)
    if not ((given >= 0) & (given <= 1)).all():
        raise OptionError("binary_cross_entropy", "these are not probabilities",
                          given=f"p from {given.min()} to {given.max()}", expected="0 to 1",
                          fix="for logits, use binary_cross_entropy_with_logits")  # fmt: skip
    least = float(np.finfo(p.dtype).tiny)
    return -mean(target * log(maximum(p, least)) + (1 - target) * log(maximum(1 - p, least)))


def binary_cross_entropy_with_logits(logits: Any, target: Any) -> Any:
    """Return binary_cross_entropy(sigmoid(logits), target), exact for logits of any size."""
    _same("binary_cross_entropy_with_logits", logits, target, ("logits", "target"))
    return mean(softplus(logits) - logits * target)


def kl_divergence(log_q: Any, p: Any) -> Any:
    """Return the sum over the last axis of p (log(p) - log_q), a mean over the others.

    What it costs, in nats, to take the distribution p for q (Kullback and Leibler, 1951);
    ``log_q`` comes from :func:`log_softmax`.  Where p is 0, nothing is added.
    """
    _same("kl_divergence", log_q, p, ("log_q", "p"))
    return mean(sum(xlogy(p, p) - p * log_q, axis=-1))


def poisson_nll_loss(log_rate: Any, target: Any) -> Any:
    """Return the mean over all elements of exp(log_rate) - target * log_rate.

    The negative logarithm of Poisson's probability of a count, without log(target!).
    """
    _same("poisson_nll_loss", log_rate, target, ("log_rate", "target"))
    return mean(exp(log_rate) - target * log_rate)


def gaussian_nll_loss(center: Any, target: Any, variance: Any, eps: float = 1e-6) -> Any:
    """Return the mean over all elements of (log(v) + (target - center)**2 / v) / 2.

    v is the variance, or eps where that is larger (Nix and Weigend, 1994).
    """
    _same("gaussian_nll_loss", center, target, ("center", "target"))
    _same("gaussian_nll_loss", variance, target, ("variance", "target"))
    v = maximum(variance, eps)
    return 0.5 * mean(log(v) + square(target - center) / v)


def hinge_loss(scores: Any, target: Any) -> Any:
    """Return the mean over all elements of max(0, 1 - target * scores); target is -1 or 1."""
    _same("hinge_loss", scores, target, ("scores", "target"))
    return mean(relu(1 - target * scores))


def multi_margin_loss(scores: Any, labels: Any, margin: float = 1.0) -> Any:
    """Return the mean over all (N, K) scores of max(0, margin + score - score of the label).

    The label itself adds nothing (Weston and Watkins, 1999).  Raises as
    :func:`softmax_cross_entropy`.
    """
    truth = _one_hot("multi_margin_loss", scores, labels)
    right = take_along_axis(scores, values(labels)[:, None], 1)
    return mean(where(truth, 0.0, relu(margin + scores - right)))


def nll_loss(log_p: Any, labels: Any) -> Any:
    """Return the mean over the batch of -log_p[label]; log_p (N, K) comes from log_softmax.

    Raises as :func:`softmax_cross_entropy`, which does both in one go.
    """
    _classes("nll_loss", log_p, labels)
    return -mean(take_along_axis(log_p, values(labels)[:, None], 1))


def cross_entropy(logits: Any, labels: Any, weights: Any = None, smoothing: float = 0.0,
                  ignore: int | None = None) -> Any:  # fmt: skip
    """Return softmax_cross_entropy with its options.

    Parameters
    ----------
    logits : (N, K)
    labels : integers, (N,)
    weights : (K,), optional
        Constants: of an example of each class in the mean, which is divided by their sum.
    smoothing : float
        Share of the target that all classes get alike (Szegedy et al., 2016), below 1.
    ignore : int, optional
        A label of examples to leave out, for instance of padding.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the arguments do not fit, or no example is left.
    """
    name, labels = "cross_entropy", values(labels)
    if not 0 <= smoothing < 1:
        raise OptionError(name, "smoothing is a share below 1", given=f"smoothing={smoothing}")
    known = labels if ignore is None else np.where(labels == ignore, 0, labels)
    truth = _one_hot(name, logits, known)
    kept = np.ones_like(labels, bool) if ignore is None else labels != ignore
    if not kept.any():
        raise OptionError(name, "no example is left", given=f"ignore={ignore}, which they all are")
    target = (truth * (1 - smoothing) + smoothing / logits.shape[1]).astype(logits.dtype)
    target *= kept[:, None]
    total = kept.sum().astype(logits.dtype)
    if weights is not None:
        weights = values(weights)
        if weights.shape != logits.shape[1:]:
            raise ShapeError(name, "weights do not fit the logits", given=f"logits {logits.shape}, "
                             f"weights {weights.shape}", expected=f"{logits.shape[1:]}")  # fmt: skip
        target *= weights
        total = weights[labels[kept]].sum()
    return -sum(log_softmax(logits, 1) * (target / total))


def _classes(name: str, scores: Any, labels: Any) -> None:
    try:
        check_labels(scores, values(labels))
    except WorkbenchError as error:
        error.where = name
        raise


def _one_hot(name: str, scores: Any, labels: Any) -> Any:
    _classes(name, scores, labels)
    return values(labels)[:, None] == arrays.namespace(values(scores)).arange(scores.shape[1])


def cosine_similarity(x: Any, y: Any, axis: int = -1, eps: float = 1e-8) -> Any:
    """Return the cosine of the angle between x and y along ``axis``; lengths are at least eps."""
    shape = np.broadcast_shapes(x.shape, y.shape)  # Of length 1 along the axis is not summed.
    x, y = broadcast_to(x, shape), broadcast_to(y, shape)
    return sum(x * y, axis) / (_length(x, axis, eps) * _length(y, axis, eps))


def _length(x: Any, axis: int, least: float) -> Any:
    return sqrt(maximum(sum(square(x), axis), least * least))  # Not 0, where sqrt has no slope.


def cosine_embedding_loss(x: Any, y: Any, target: Any, margin: float = 0.0) -> Any:
    """Return the mean over pairs (N, D) of 1 - cosine, or of max(0, cosine - margin).

    ``target`` (N,) is 1 where x and y should be alike and -1 where they should not.
    """
    cosine = cosine_similarity(x, y)
    _same("cosine_embedding_loss", cosine, target, ("cosine", "target"))
    return mean(where(values(target) > 0, 1 - cosine, relu(cosine - margin)))


def triplet_margin_loss(anchor: Any, near: Any, far: Any, margin: float = 1.0) -> Any:
    """Return the mean over (N, D) of max(0, margin + |anchor - near| - |anchor - far|).

    Euclidean distances of at least 1e-6 (Schroff, Kalenichenko and Philbin, 2015).
    """
    _same("triplet_margin_loss", anchor, near, ("anchor", "near"))
    _same("triplet_margin_loss", anchor, far, ("anchor", "far"))
    return mean(relu(margin + _length(anchor - near, -1, 1e-6) - _length(anchor - far, -1, 1e-6)))


# --- layers without weights --------------------------------------------------------------


def dropout(x: Any, rate: float, rng: np.random.Generator) -> Any:
    """Return x with each element zeroed with probability ``rate``, the rest scaled up.

    Parameters
    ----------
    x : any shape
    rate : float
        From 0 up to, not including, 1.
    rng : numpy.random.Generator, or CuPy's (see :func:`arrays.generator`)
        Source of the mask, which is drawn where the generator is.

    Returns
    -------
    Tensor, of x's shape
        With x's expectation: "inverted" dropout (Srivastava et al., 2014).

    Raises
    ------
    OptionError
        For another rate.
    """
    if not 0 <= rate < 1:
        raise OptionError("dropout", "rate is a probability below 1", given=f"rate={rate}")
    kept = (rng.random(x.shape) >= rate).astype(x.dtype) / (1 - rate)
    return x * arrays.to_device(kept, arrays.device_of(values(x)))


def embedding(x: Any, w: Any) -> Any:
    """Return the rows of w that the integers x name.

    Parameters
    ----------
    x : integers, any shape
    w : (V, D)

    Returns
    -------
    Tensor, shape (*x.shape, D)

    Raises
    ------
    DtypeError, OptionError
        If x does not number rows of w.
    """
    x = values(x)
    if getattr(x, "dtype", np.dtype(object)).kind not in "iu":
        raise DtypeError("embedding", "x holds row numbers",
                         given=f"x of {getattr(x, 'dtype', type(x).__name__)}",
                         expected="integers")  # fmt: skip
    if not ((x >= 0) & (x < len(w))).all():
        raise OptionError("embedding", "x names a row that is not there",
                          given=f"x from {x.min()} to {x.max()}",
                          expected=f"0 to {len(w) - 1}, for w {w.shape}")  # fmt: skip
    return w[x]
