"""What is compared: data, shapes, first weights, batches.  Said once, for every era.

A case says *what*; the files under ``programs/`` say *how*, each in the idiom of
its era.  The reference forward pass here is what the numeric check differentiates
and what finds the layer in which a NaN first appears.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from workbench import datasets, manual
from workbench.errors import unknown_name

ERAS = ("manual", "symbolic", "dynamic", "functional")

Arrays = list[npt.NDArray[Any]]
Layer = tuple[str, npt.NDArray[Any]]
Objective = Callable[[Arrays], Any]


@dataclass(frozen=True)
class Case:
    """One model on one data set, trained by plain gradient descent on mini-batches.

    Attributes
    ----------
    name, title : str
        As typed, and as printed.
    program : str
        The folder of ``programs/`` that holds it: ``"mlp"``, say.
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
    gain : float
        What Glorot's limit is multiplied by.
    samples : int
        Elements of each parameter whose derivative is taken numerically (all, if it has
        no more): fewer where the reference pass is slow.
    absent : dict
        Era that cannot run the case today to the reason, a few words.
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
    gain: float = 1.0
    samples: int = 300
    absent: dict[str, str] = field(default_factory=dict)
    seed: int = 2026

    @property
    def eras(self) -> tuple[str, ...]:
        """The eras that can run the case, in historical order."""
        return tuple(era for era in ERAS if era not in self.absent)

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
            limit = self.gain * np.sqrt(6 / ((shape[0] + shape[1]) * window))
            arrays.append(rng.uniform(-limit, limit, shape).astype(dtype))
        return arrays

    def data(self, dtype: npt.DTypeLike) -> datasets.Dataset:
        """Return the data set, as images for a ``"cnn"`` and as rows otherwise."""
        data = datasets.load(self.dataset, dtype=dtype, images=self.program == "cnn")
        return cast(datasets.Dataset, data)

    def batches(self, data: datasets.Dataset, steps: int) -> Iterator[tuple[Any, Any]]:
        """Yield ``steps`` mini-batches, the same ones each time it is called."""
        return datasets.batches(
            data.x_train, data.y_train, self.batch_size, seed=self.seed, steps=steps
        )

    def held_out(self, data: datasets.Dataset) -> tuple[Any, npt.NDArray[Any]]:
        """Return the examples to test on and their labels, laid out as in a batch."""
        return data.x_test, data.y_test

    def notes(self, data: datasets.Dataset) -> list[str]:
        """Return what a reader of the results should know of the data, line by line."""
        return []

    def layers(self, weights: Sequence[npt.NDArray[Any]], x: Any) -> Iterator[Layer]:
        """Yield the output of each layer, by name, for one batch; the logits come last."""
        return REFERENCES[self.program](list(weights), x)

    def loss(
        self, weights: Sequence[npt.NDArray[Any]], x: Any, y: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Return the loss of one batch, by the reference pass."""
        logits = None
        for _, logits in self.layers(weights, x):  # noqa: B007
            pass
        return cross_entropy(logits, y)

    def objective(self, weights: Arrays, x: Any, y: npt.NDArray[Any]) -> Objective:
        """Return the function of the weights whose gradient at ``weights`` the eras find."""
        return lambda changed: self.loss(changed, x, y)


class PerSampleCase(Case):
    """Train on the mean of the gradients of each example, clipped to a common length.

    DP-SGD (Abadi and others, 2016) without its noise, which every era would draw anew:
    nothing is private about it.
    """

    CLIP = 5.0
    STEP = 1e-30

    def losses(self, weights: Arrays, x: Any, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the loss of each example (N,), by the reference pass."""
        *_, (_, logits) = self.layers(weights, x)
        totals = np.log(np.exp(logits).sum(axis=1))
        return totals - logits[np.arange(len(y)), y]

    def norms(self, weights: Arrays, x: Any, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the norm of each example's gradient (N,), by a complex step in each weight."""
        squares = np.zeros(len(y))
        for position, weight in enumerate(weights):
            for i in range(weight.size):
                changed = list(weights)
                changed[position] = weight.astype(complex)
                changed[position].reshape(-1)[i] += 1j * self.STEP
                squares += (np.imag(self.losses(changed, x, y)) / self.STEP) ** 2
        return np.sqrt(squares)

    def objective(self, weights: Arrays, x: Any, y: npt.NDArray[Any]) -> Objective:
        """Return the mean of the examples' losses, each shrunk as clipping shrinks its gradient."""
        shares = np.minimum(1, self.CLIP / self.norms(weights, x, y))
        return lambda changed: (shares * self.losses(changed, x, y)).mean()


class HessianCase(Case):
    """Take steps of 1 over the Hessian's largest eigenvalue, at most of ``learning_rate``.

    The method of LeCun, Simard and Pearlmutter, "Automatic learning rate maximization by
    on-line estimation of the Hessian's eigenvectors" (1993), which needs one product of
    the Hessian and a vector a step.
    """

    # The derivative along u, by five points: off by the fourth power of the distance.
    DISTANCE = 2e-3
    STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))

    def objective(self, weights: Arrays, x: Any, y: npt.NDArray[Any]) -> Objective:
        """Return the loss's derivative along the weights' own direction u; its gradient is H u."""
        norm = np.sqrt(sum(np.sum(w * w) for w in weights))
        steps = [self.DISTANCE * w / norm for w in weights]

        def along(changed: Arrays) -> Any:
            values = (factor * self.loss([w + k * d for w, d in zip(changed, steps, strict=True)],
                                         x, y) for k, factor in self.STENCIL)  # fmt: skip
            return sum(values) / self.DISTANCE

        return along


class TextCase(Case):
    """Guess each next character, in stretches of ``LENGTH`` that start from no memory.

    A batch is (T, N), time first; the rows of logits go through it in that order.
    """

    LENGTH = 32

    def data(self, dtype: npt.DTypeLike) -> datasets.Dataset:
        """Return every stretch of the text, (N, T); of the held-out part, one after another."""
        text = cast(datasets.Text, datasets.load(self.dataset))
        x_test, y_test = (part[:: self.LENGTH] for part in text.windows(self.LENGTH, "test"))
        return datasets.Dataset(
            text.name, *text.windows(self.LENGTH), x_test, y_test, tuple(text.vocabulary)
        )

    def batches(self, data: datasets.Dataset, steps: int) -> Iterator[tuple[Any, Any]]:
        """Yield ``steps`` mini-batches, the same ones each time it is called."""
        return ((x.T, y.T) for x, y in super().batches(data, steps))

    def held_out(self, data: datasets.Dataset) -> tuple[Any, npt.NDArray[Any]]:
        """Return the stretches to test on and what follows each character."""
        return data.x_test.T, data.y_test.T

    def notes(self, data: datasets.Dataset) -> list[str]:
        """Say how well one guesses without reading."""
        nats, accuracy = by_frequency(data)
        return [f"Guessing by frequency alone: {nats:.3f} nats or {nats / np.log(2):.3f} bits per "
                f"character, {accuracy:.2%} right."]  # fmt: skip


class TreeCase(Case):
    """Tell the sign of what an arithmetic expression amounts to."""

    def data(self, dtype: npt.DTypeLike) -> datasets.Dataset:
        """Return expressions of few numbers, labelled 1 where the value is positive."""
        data = cast(datasets.Dataset, datasets.load(self.dataset, train=4000, test=1000,
                                                    leaves=(2, 8), dtype=dtype))  # fmt: skip
        train, test = ((y > 0).astype(np.int64) for y in (data.y_train, data.y_test))
        return datasets.Dataset(data.name, data.x_train, train, data.x_test, test, ("-", "+"))

    def notes(self, data: datasets.Dataset) -> list[str]:
        """Say how well one guesses without looking."""
        nats, accuracy = by_frequency(data)
        return [f"Guessing by frequency alone: {nats:.3f} nats, {accuracy:.2%} right."]


def cross_entropy(logits: Any, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the mean softmax cross-entropy, in nats."""
    return manual.softmax_cross_entropy(logits, y.reshape(-1))[0]


def by_frequency(data: datasets.Dataset) -> tuple[float, float]:
    """Return loss (nats) and accuracy on held-out labels, guessed by their rates in training."""
    counts = np.bincount(data.y_train.reshape(-1), minlength=len(data.classes))
    probability = (counts + 1) / np.sum(counts + 1)  # None is impossible (Laplace).
    nats = -float(np.mean(np.log(probability[data.y_test])))
    return nats, float(np.mean(data.y_test == counts.argmax()))


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


def char_rnn_layers(weights: Arrays, x: npt.NDArray[Any]) -> Iterator[Layer]:
    """Embedding, LSTM, affine."""
    table, wx, wh, b, w, bias = weights
    rows, _ = manual.embedding(x.T, table)  # Era 1 has sequences first, (N, T, D).
    yield "embedding", rows
    zeros = np.zeros((len(rows), len(wh)), wh.dtype)
    (states, _), _ = manual.lstm(rows, zeros, zeros, wx, wh, b)
    yield "lstm", states
    logits, _ = manual.affine(states.swapaxes(0, 1).reshape(-1, len(wh)), w, bias)
    yield "affine", logits


def tree_layers(weights: Arrays, trees: Sequence[datasets.Tree]) -> Iterator[Layer]:
    """Return a binary Tree-LSTM's state for each expression, one after another; affine."""
    w_leaf, b_leaf, w, table, w_out, b_out = weights

    def sigmoid(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 1 / (1 + np.exp(-a))

    def encode(tree: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if tree.op == "leaf":
            i, o, u = np.reshape(tree.value * w_leaf[0] + b_leaf, (3, -1))
            c = sigmoid(i) * np.tanh(u)
        else:
            (h_left, c_left), (h_right, c_right) = encode(tree.left), encode(tree.right)
            gates = np.concatenate([h_left, h_right]) @ w + table["+-*".index(tree.op)]
            i, o, f_left, f_right, u = np.reshape(gates, (5, -1))
            c = sigmoid(i) * np.tanh(u) + sigmoid(f_left) * c_left + sigmoid(f_right) * c_right
        return sigmoid(o) * np.tanh(c), c

    states = np.stack([encode(tree)[0] for tree in trees])
    yield "state of the expressions", states
    yield "affine", states @ w_out + b_out


REFERENCES: dict[str, Callable[[Arrays, Any], Iterator[Layer]]] = {
    "mlp": mlp_layers,
    "per_sample": mlp_layers,
    "hessian": mlp_layers,
    "cnn": cnn_layers,
    "char_rnn": char_rnn_layers,
    "trees": tree_layers,
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
        TextCase("char-rnn", "LSTM of 64 that guesses each next character of Shakespeare",
                 "char_rnn", "shakespeare",
                 {"table": (61, 16), "wx": (16, 256), "wh": (64, 256), "b": (256,),
                  "w": (64, 61), "bias": (61,)},
                 batch_size=16, learning_rate=3.0, steps=600, samples=20),
        TreeCase("expression-trees", "Tree-LSTM of 16 that tells the sign of an expression",
                 "trees", "expression_trees",
                 {"w_leaf": (1, 48), "b_leaf": (48,), "w": (32, 80), "table": (3, 80),
                  "w_out": (16, 2), "b_out": (2,)},
                 batch_size=32, learning_rate=3.0, steps=400, gain=2.0, samples=20,
                 absent={"manual": "its layers go back in one order, and each tree has its own"}),
        PerSampleCase("per-sample-gradients", "64-64-10 network on 8x8 digits, "
                      "each example's gradient clipped", "per_sample", "digits",
                      affine_shapes(64, 64, 10), batch_size=32, learning_rate=0.5, steps=300),
        HessianCase("hessian-vector", "64-64-10 network on 8x8 digits, steps no longer than its "
                    "curvature allows", "hessian", "digits",
                    affine_shapes(64, 64, 10), batch_size=32, learning_rate=0.5, steps=600,
                    samples=60),
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
