"""Losses: functions of predictions and targets, each a mean, each one line of mathematics.

Like any function here they go through every transform: ``grad`` of one is its gradient,
``vmap`` of one gives the loss of each example.
"""

from __future__ import annotations

from typing import Any

from workbench.errors import OptionError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional.core import Value, get_aval
from workbench.functional.numpy import mean_squared_error, softmax_cross_entropy
from workbench.functional.numpy.promotion import inexact, promote
from workbench.functional.tree import tree_flatten

__all__ = [
    "binary_cross_entropy_with_logits", "hinge", "huber", "l2", "mean_squared_error",
    "softmax_cross_entropy",
]  # fmt: skip


def _alike(where: str, name: str, x: Value, target: Value) -> list[Value]:
    """Return both in one floating dtype, refusing shapes that would broadcast."""
    pair = [inexact(where, each) for each in promote(where, x, target)]
    shapes = [get_aval(each).shape for each in pair]
    if shapes[0] != shapes[1]:
        raise ShapeError(where, f"{name} and target differ in shape",
                         given=f"{name} {shapes[0]}, target {shapes[1]}", expected="one shape",
                         fix="reshape one of them: target[:, None]")  # fmt: skip
    return pair


def huber(prediction: Value, target: Value, delta: float = 1.0) -> Value:
    """Return the mean of d²/2 where \\|d\\| is up to delta, else of delta (\\|d\\| - delta/2).

    d is prediction - target, of one shape (Huber, 1964).

    Raises
    ------
    ShapeError
        If the shapes differ.
    OptionError
        If ``delta`` is not a positive number.
    """
    if not isinstance(delta, int | float) or not delta > 0:
        raise OptionError("huber", "delta is a positive number", given=f"delta={delta!r}")
    prediction, target = _alike("huber", "prediction", prediction, target)
    d = fnp.absolute(prediction - target)
    inner = fnp.minimum(d, delta)
    return fnp.mean(inner * (d - 0.5 * inner))


def binary_cross_entropy_with_logits(logits: Value, target: Value) -> Value:
    """Return the mean of -log of the probability that sigmoid(logits) gives to the target.

    Targets are from 0 to 1; exact for logits of any size, since log(1 + exp(x)) is taken
    as relu(x) + log(1 + exp(-\\|x\\|)).  Raises ShapeError if the shapes differ.
    """
    where = "binary_cross_entropy_with_logits"
    logits, target = _alike(where, "logits", logits, target)
    # x/2 + |x|/2 is relu(x), with slope 1/2 at 0, as log(1 + exp(x)) has.
    positive = 0.5 * (logits + fnp.absolute(logits))
    return fnp.mean(positive + fnp.log1p(fnp.exp(-fnp.absolute(logits))) - logits * target)


def hinge(scores: Value, target: Value) -> Value:
    """Return the mean of max(0, 1 - target * scores); targets are -1 or 1.

    Cortes and Vapnik (1995).  Raises ShapeError if the shapes differ.
    """
    scores, target = _alike("hinge", "scores", scores, target)
    return fnp.mean(fnp.relu(1 - target * scores))


def l2(parameters: Any) -> Value:
    """Return half the sum of the squares of all leaves of a pytree: its gradient is the pytree.

    A penalty, not a mean: ``loss + 1e-4 * l2(parameters)`` is weight decay of 1e-4.
    """
    leaves = [inexact("l2", leaf) for leaf in tree_flatten(parameters)[0]]
    return 0.5 * sum(fnp.sum(fnp.square(leaf)) for leaf in leaves)
