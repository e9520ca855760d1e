"""Losses, and the two layers that need neither weights nor a file of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import square, values
from workbench.dynamic.ops.reductions import mean, softmax
from workbench.errors import DtypeError, OptionError, ShapeError

__all__ = [
    "dropout", "embedding", "mean_squared_error", "softmax_cross_entropy",
]  # fmt: skip


class SoftmaxCrossEntropy(Function):
    """Mean of -log(softmax(logits)[label])."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, labels: Any) -> Any:
        n, k = _check_labels(x, labels)
        logits = np.ascontiguousarray(x)
        at = arrays.namespace(labels).arange(0, n * k, k)  # Of each label, in the flat array:
        at += labels.astype(at.dtype, copy=False)  # far faster than a pair of indices.
        shifted = logits - logits.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - shifted.reshape(-1)[at]).sum() / n
        if ctx.inputs[0] is not None:
            e /= total
            e.reshape(-1)[at] -= 1
            e /= n
            ctx.at, ctx.slope = at, e
            ctx.args = (x, None)
        return loss

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        logits = ctx.args[0]
        if values(logits) is logits:
            return g * ctx.slope
        # To differentiate once more, the slope has to be computed from the logits.
        truth = arrays.namespace(logits.data).zeros(logits.shape, logits.dtype)
        truth.reshape(-1)[ctx.at] = 1
        return (softmax(logits, 1) - truth) * (g / len(logits))


def _check_labels(logits: Any, labels: Any) -> tuple[int, int]:
    name = "softmax_cross_entropy"
    if not hasattr(labels, "dtype") or labels.dtype.kind not in "iu":
        raise DtypeError(name, "labels are class numbers",
                         given=f"labels of {getattr(labels, 'dtype', type(labels).__name__)}",
                         expected="an array of integers, 0 to K - 1")  # fmt: skip
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.size:
        raise ShapeError(name, "logits and labels do not fit together",
                         given=f"logits {logits.shape}, labels {labels.shape}",
                         expected="logits (N, K) and labels (N,), N and K not 0")  # fmt: skip
    n, k = logits.shape
    if labels.view(_UNSIGNED[labels.dtype.itemsize]).max() >= k:
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
    if prediction.shape != target.shape:
        raise ShapeError("mean_squared_error", "prediction and target differ in shape",
                         given=f"prediction {prediction.shape}, target {target.shape}",
                         expected="equal shapes",
                         fix="reshape one of them: y.reshape((-1, 1))")  # fmt: skip
    return mean(square(prediction - target))


def dropout(x: Any, rate: float, rng: np.random.Generator) -> Any:
    """Return x with each element zeroed with probability ``rate``, the rest scaled up.

    Parameters
    ----------
    x : any shape
    rate : float
        From 0 up to, not including, 1.
    rng : numpy.random.Generator
        Source of the mask, drawn on the host.

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
    if x.size and not 0 <= x.min() <= x.max() < len(w):
        raise OptionError("embedding", "x names a row that is not there",
                          given=f"x from {x.min()} to {x.max()}",
                          expected=f"0 to {len(w) - 1}, for w {w.shape}")  # fmt: skip
    return w[x]
