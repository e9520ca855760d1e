"""The training loop, and what stops it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import NotFiniteError, OptionError, ShapeError
from workbench.manual._checks import check, check_count, check_rng
from workbench.manual.layer import Layer, Sequential
from workbench.manual.losses import Loss
from workbench.manual.optim import Optimizer


@dataclass
class History:
    """What :func:`train` saw, one entry a step.

    Attributes
    ----------
    losses : list of float
        Before each step's update.
    accuracies : list of float
        In [0, 1], on each step's own batch; empty unless asked for.
    """

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)


def train(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    batches: Iterable[tuple[Array, Array]],
    *,
    with_accuracy: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> History:
    """Take one step on every batch: forward, loss, backward, update.

    Parameters
    ----------
    model : Layer
        Usually a :class:`Sequential`.
    loss : Loss
    optimizer : Optimizer
        Of the model's parameters.
    batches : iterable of (x, target)
        As many as there shall be steps; see :func:`minibatches`.
    with_accuracy : bool
        Whether to compare the model's outputs, as logits, with integer targets.
    on_step : callable, optional
        Called with each step's number, from 0, and its loss; for progress bars.

    Returns
    -------
    History

    Raises
    ------
    NotFiniteError
        At the first loss that is NaN or infinite, and for parameters that the last
        step left so.  It names the step, counted from 0, and the data or the layer
        where the first such value stands.
    OptionError
        If a batch is not a pair.
    ShapeError, DtypeError, DeviceError
        From the layers, if a batch does not fit them.
    """
    history = History()
    for step, batch in enumerate(batches):
        x, target = _unpack(step, batch)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # Named below instead.
            model.zero_gradients()
            value = float(loss.forward(model.forward(x, training=True), target))
            if not math.isfinite(value):
                raise _not_finite(step, value, model, x, target)
            model.backward(loss.backward(), input_gradient=False)
            optimizer.step()
        history.losses.append(value)
        if with_accuracy:
            history.accuracies.append(accuracy(model.output, target))
        if on_step is not None:
            on_step(step, value)
    for parameter in model.parameters():
        if not _finite(parameter.value):
            raise NotFiniteError("manual.train", f"step {len(history.losses) - 1}, the last, left "
                                 f"NaN or infinity in the parameter {parameter.name}",
                                 fix="a smaller learning rate, or smaller inputs")  # fmt: skip
    return history


def minibatches(
    x: Array, target: Array, size: int, rng: np.random.Generator, epochs: int = 1
) -> Iterator[tuple[Array, Array]]:
    """Yield batches of ``size`` examples, in a new order each epoch.

    Parameters
    ----------
    x, target : array
        With one leading length, N.
    size : int
        The last batch of an epoch holds what is left.
    rng : numpy.random.Generator
        Shuffles.
    epochs : int

    Yields
    ------
    (x, target) : arrays
        Copies of the rows.

    Raises
    ------
    ShapeError, OptionError, DtypeError
        At once, if an argument is not as above.
    """
    check_count("minibatches", "size", size)
    check_count("minibatches", "epochs", epochs)
    check_rng("minibatches", rng)
    if len(x) != len(target):
        raise ShapeError("minibatches", "x and target differ in length",
                         given=f"x {np.shape(x)}, target {np.shape(target)}",
                         expected="one target an example")  # fmt: skip
    return _minibatches(x, target, size, rng, epochs)


def _minibatches(
    x: Array, target: Array, size: int, rng: np.random.Generator, epochs: int
) -> Iterator[tuple[Array, Array]]:
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), size):
            chosen = order[start : start + size]
            yield x[chosen], target[chosen]


def accuracy(logits: Array, labels: Array) -> float:
    """Return the share of examples whose largest logit is the label's, in [0, 1].

    Parameters
    ----------
    logits : array, shape (N, K) or (..., K)
    labels : array of int, shape (N,) or (...)

    Raises
    ------
    ShapeError, DtypeError
        If the arrays do not fit together, or are empty.
    """
    check("accuracy", "logits ... K, labels:int ...", logits, labels)
    if not logits.size:
        raise ShapeError("accuracy", "there are no examples", given=f"logits {logits.shape}",
                         expected="at least one")  # fmt: skip
    return float((logits.argmax(axis=-1) == labels).mean())


def _unpack(step: int, batch: Any) -> tuple[Array, Array]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise OptionError("manual.train", f"batch {step} is not a pair",
                          given=f"a {type(batch).__name__}", expected="(x, target)")  # fmt: skip
    return batch[0], batch[1]


def _not_finite(step: int, value: float, model: Layer, x: Array, target: Array) -> NotFiniteError:
    """Say where the first NaN or infinity stands: the data, a layer, or only the loss."""
    fix = "a smaller learning rate, or smaller inputs"
    if not _finite(x):
        origin, fix = "x itself holds NaN or infinity", "clean the data"
    elif not _finite(target):
        origin, fix = "the target itself holds NaN or infinity", "clean the data"
    else:
        places = (f"{place} is the first to put out NaN or infinity"
                  for place, layer in _walk(model) if not _finite(layer.output))  # fmt: skip
        origin = next(places, "every layer's output is finite, but the loss overflows")
    return NotFiniteError("manual.train", f"the loss is {value} at step {step}",
                          given=origin, expected="a finite loss", fix=fix)  # fmt: skip


def _walk(model: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the layers in the order in which data pass them, named by their places."""
    if not isinstance(model, Sequential):
        yield f"layer {prefix or 0} ({type(model).__name__})", model
        return
    for place, layer in enumerate(model.layers):
        yield from _walk(layer, f"{prefix}.{place}" if prefix else str(place))


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())
