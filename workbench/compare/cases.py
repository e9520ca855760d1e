"""What is compared: data, shapes, first weights, batches.  Said once, for every era.

A case says *what*; the files under ``programs/`` say *how*, each in the idiom of
its era.  The reference forward pass here is what the numeric check differentiates
and what finds the layer in which a NaN first appears.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from workbench import datasets, manual
from workbench.errors import unknown_name

Arrays = list[npt.NDArray[Any]]
Layer = tuple[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """One model on one data set, trained by plain gradient descent on mini-batches.

    Attributes
    ----------
    name, title : str
        As typed, and as printed.
    program : str
        The folder of ``programs/`` that holds it: ``"mlp"`` or ``"cnn"``.
    dataset : str
        Name in :mod:`workbench.datasets`.
    shapes : dict
        Parameter name to shape, in the order in which every era keeps them.
    batch_size, steps : int
        Examples a step, and steps of a run unless told otherwise.
    learning_rate : float
    bias : float
        What biases start from.  With relu not zero: a blank patch of an image would
        then sit on relu's kink, where there is no derivative to agree on.
    seed : int
        Of the first weights and of the order of the examples.
    """

    name: str
    title: str
    program: str
    dataset: str
    shapes: dict[str, tuple[int, ...]]
    batch_size: int
    learning_rate: float
    steps: int
    bias: float = 0.0
    seed: int = 2026

    def weights(self, dtype: npt.DTypeLike) -> Arrays:
        """Return the first weights: Glorot uniform, biases constant, rounded to ``dtype``."""
        rng = np.random.default_rng(self.seed)
        arrays: Arrays = []
        for shape in self.shapes.values():
            if len(shape) == 1:
                arrays.append(np.full(shape, self.bias, dtype))
                continue
            # A kernel (F, C, KH, KW) joins C KH KW inputs to F KH KW outputs.
            window = int(np.prod(shape[2:]))
            limit = np.sqrt(6 / ((shape[0] + shape[1]) * window))
            arrays.append(rng.uniform(-limit, limit, shape).astype(dtype))
        return arrays

    def data(self, dtype: npt.DTypeLike) -> datasets.Dataset:
        """Return the data set, as images for a ``"cnn"`` and as rows otherwise."""
        data = datasets.load(self.dataset, dtype=dtype, images=self.program == "cnn")
        return cast(datasets.Dataset, data)  # The text data sets belong to no case.

    def batches(self, data: datasets.Dataset, steps: int) -> Iterator[tuple[Any, Any]]:
        """Yield ``steps`` mini-batches, the same ones each time it is called."""
        return datasets.batches(
            data.x_train, data.y_train, self.batch_size, seed=self.seed, steps=steps
        )

    def layers(self, weights: Sequence[npt.NDArray[Any]], x: npt.NDArray[Any]) -> Iterator[Layer]:
        """Yield the output of each layer, by name, for one batch; the logits come last."""
        return REFERENCES[self.program](list(weights), x)

    def loss(
        self, weights: Sequence[npt.NDArray[Any]], x: npt.NDArray[Any], y: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Return the mean softmax cross-entropy of one batch, by the reference pass."""
        logits = None
        for _, logits in self.layers(weights, x):  # noqa: B007
            pass
        return manual.softmax_cross_entropy(logits, y)[0]


def mlp_layers(weights: Arrays, x: npt.NDArray[Any]) -> Iterator[Layer]:
    """Affine layers with tanh between them."""
    last = len(weights) // 2
    for number in range(1, last + 1):
        x, _ = manual.affine(x, weights[2 * number - 2], weights[2 * number - 1])
        yield f"affine {number}", x
        if number < last:
            x, _ = manual.tanh(x)
            yield f"tanh {number}", x


def cnn_layers(weights: Arrays, x: npt.NDArray[Any]) -> Iterator[Layer]:
    """Convolution, relu, max pooling, affine."""
    kernels, bias, w, b = weights
    x, _ = manual.conv2d(x, kernels, bias, padding=1)
    yield "convolution", x
    x, _ = manual.relu(x)
    yield "relu", x
    x, _ = manual.max_pool2d(x, 2)
    yield "max pooling", x
    x, _ = manual.affine(x.reshape(len(x), -1), w, b)
    yield "affine", x


REFERENCES: dict[str, Callable[[Arrays, npt.NDArray[Any]], Iterator[Layer]]] = {
    "mlp": mlp_layers,
    "cnn": cnn_layers,
}


def affine_shapes(*sizes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a chain of affine layers: ``w1 (D, H), b1 (H,), w2, ...``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
        shapes[f"w{number}"] = (inputs, outputs)
        shapes[f"b{number}"] = (outputs,)
    return shapes


CASES = {
    case.name: case
    for case in (
        Case("digits-mlp", "64-64-10 network on 8x8 digits", "mlp", "digits",
             affine_shapes(64, 64, 10), batch_size=32, learning_rate=0.5, steps=1000),
        Case("mnist-mlp", "784-256-128-10 network on 28x28 digits", "mlp", "mnist_subset",
             affine_shapes(784, 256, 128, 10), batch_size=64, learning_rate=0.3, steps=600),
        Case("logistic", "logistic regression on 8x8 digits", "mlp", "digits",
             affine_shapes(64, 10), batch_size=32, learning_rate=0.5, steps=1000),
        Case("digits-cnn", "small convolutional network on 8x8 digits", "cnn", "digits",
             {"kernels": (8, 1, 3, 3), "bias": (8,), "w": (128, 10), "b": (10,)},
             batch_size=32, learning_rate=0.5, steps=1000, bias=0.1),
    )
}  # fmt: skip


def case(name: str) -> Case:
    """Return the case of that name.

    Raises
    ------
    UnknownNameError
        With the nearest name, if there is none of this one.
    """
    if name not in CASES:
        raise unknown_name("compare", "case", name, CASES)
    return CASES[name]
