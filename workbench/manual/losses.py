"""Losses: the scalar that everything else is differentiated for.

Each is a mean, returned as a 0-d scalar of its input's dtype.  The object forms at the
end are what a training loop holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.arrays import Array, namespace
from workbench.errors import GraphError, ShapeError
from workbench.manual._checks import check, check_indices


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Any]:
    """Return the mean of ``-log(softmax(logits)[label])``.

    Parameters
    ----------
    logits : array, shape (N, K)
        Or (..., K): then the mean is over all leading axes.
    labels : array of int, shape (N,)
        Or (...); each in [0, K).

    Returns
    -------
    loss : scalar of the dtype of ``logits``
        In nats.
    cache
        For :func:`softmax_cross_entropy_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError, OptionError
        If the arrays do not fit together, are empty, or a label names no class.
    """
    where = "softmax_cross_entropy"
    check(where, "logits ... K, labels:int ...", logits, labels)
    classes = logits.shape[-1]
    _refuse_empty(where, "logits", logits)
    check_indices(where, "labels", labels, classes, "classes")
    rows = logits.reshape(labels.size, classes)
    shifted = rows - rows.max(axis=1, keepdims=True)  # exp cannot overflow now.
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    picked = namespace(logits).arange(labels.size), labels.ravel()
    loss = (np.log(totals[:, 0]) - shifted[picked]).sum() / labels.size
    return loss, (exponentials, totals, picked, logits.shape)


def softmax_cross_entropy_backward(g: Array | float, cache: Any) -> Array:
    """Return the gradient of :func:`softmax_cross_entropy` with respect to the logits.

    It is ``(softmax(logits) - one_hot(labels)) * g / N``: the two maps together have
    a simpler gradient than either alone, which is why they are one op.

    Raises ShapeError if ``g`` is not a scalar.
    """
    exponentials, totals, picked, shape = cache
    _check_scalar_g("softmax_cross_entropy_backward", g)
    dlogits = exponentials / totals
    dlogits[picked] -= 1
    dlogits *= g / totals.size
    return dlogits.reshape(shape)


def mean_squared_error(prediction: Array, target: Array) -> tuple[Array, Any]:
    """Return the mean over all elements of ``(prediction - target) ** 2``.

    Parameters
    ----------
    prediction, target : array, any one shape
        Nothing is broadcast: (N, 1) against (N,) would compare all pairs.

    Returns
    -------
    loss : scalar of the dtype of ``prediction``
    cache
        For :func:`mean_squared_error_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together or are empty.
    """
    check("mean_squared_error", "prediction ..., target ...", prediction, target)
    _refuse_empty("mean_squared_error", "prediction", prediction)
    difference = prediction - target
    return (difference * difference).sum() / difference.size, difference


def mean_squared_error_backward(g: Array | float, cache: Any) -> tuple[Array, Array]:
    """Return the gradients of :func:`mean_squared_error`: prediction's, target's.

    Raises ShapeError if ``g`` is not a scalar.
    """
    difference = cache
    _check_scalar_g("mean_squared_error_backward", g)
    dprediction = difference.copy()
    dprediction *= g * 2 / difference.size
    return dprediction, -dprediction


def _refuse_empty(where: str, name: str, array: Array) -> None:
    if not array.size:
        raise ShapeError(where, f"{name} is empty, and has no mean", given=f"{name} {array.shape}",
                         expected="at least one element")  # fmt: skip


def _check_scalar_g(where: str, g: Array | float) -> None:
    shape = getattr(g, "shape", ())
    if shape:
        raise ShapeError(where, "g is not a scalar", given=f"g {shape}",
                         expected="g (), as the loss is")  # fmt: skip


class Loss:
    """What the losses share: ``forward`` remembers what ``backward`` needs."""

    _cache: Any = None

    def forward(self, prediction: Array, target: Array) -> Array:
        """Return the loss, a scalar of the prediction's dtype."""
        raise NotImplementedError

    def backward(self, g: Array | float = 1.0) -> Array:
        """Return the gradient with respect to the prediction, of its shape.

        Raises
        ------
        GraphError
            If there was no forward.
        """
        if self._cache is None:
            raise GraphError(f"{type(self).__name__}.backward", "there was no forward to go back "
                             "through", fix="call forward(prediction, target) first")  # fmt: skip
        return self._gradient(g)

    def _gradient(self, g: Array | float) -> Array:
        raise NotImplementedError


class SoftmaxCrossEntropy(Loss):
    """:func:`softmax_cross_entropy` as an object."""

    def forward(self, prediction: Array, target: Array) -> Array:
        """Return the loss of logits (N, K) against integer labels (N,)."""
        loss, self._cache = softmax_cross_entropy(prediction, target)
        return loss

    def _gradient(self, g: Array | float) -> Array:
        return softmax_cross_entropy_backward(g, self._cache)


class MeanSquaredError(Loss):
    """:func:`mean_squared_error` as an object."""

    def forward(self, prediction: Array, target: Array) -> Array:
        """Return the loss of a prediction against a target of its shape."""
        loss, self._cache = mean_squared_error(prediction, target)
        return loss

    def _gradient(self, g: Array | float) -> Array:
        return mean_squared_error_backward(g, self._cache)[0]
