"""What every data set here looks like, and how it is cut into minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array
from workbench.errors import DtypeError, OptionError, ShapeError

Seed = int | np.random.Generator
"""What fixes a random choice: an int, or a generator to draw on from."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples to train on and to test on, with their targets.

    Parameters
    ----------
    name : str
        What :func:`workbench.datasets.load` calls it.
    x_train, x_test : array, shape (N, ...), or sequence of N examples
        Inputs.  Images are scaled to [0, 1] and are (N, H * W) or (N, 1, H, W).
    y_train, y_test : array, shape (N,)
        Labels (int64), or real targets in the dtype of the inputs.
    classes : tuple of str
        What each label stands for; empty where the targets are real numbers.

    Raises
    ------
    ShapeError
        If inputs and targets differ in number.
    """

    name: str
    x_train: Any
    y_train: npt.NDArray[Any]
    x_test: Any
    y_test: npt.NDArray[Any]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _same_length(f"Dataset({self.name!r})", "x_train", self.x_train, "y_train", self.y_train)
        _same_length(f"Dataset({self.name!r})", "x_test", self.x_test, "y_test", self.y_test)

    def __repr__(self) -> str:
        parts = ("x_train", "y_train", "x_test", "y_test")
        shown = ", ".join(f"{part}: {_summary(getattr(self, part))}" for part in parts)
        return f"Dataset({self.name!r}, {shown}, {len(self.classes)} classes)"


def batches(
    x: Array | Sequence[Any],
    y: Array,
    batch_size: int,
    *,
    seed: Seed = 0,
    epochs: int | None = None,
    steps: int | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """Cut examples into shuffled minibatches, the same ones for the same seed.

    Each epoch is a new permutation in which every example occurs once.

    Parameters
    ----------
    x : array, shape (N, ...), or sequence of N examples
        Inputs; a batch of an array is an array, a batch of a sequence is a list.
    y : array, shape (N, ...)
        Targets.
    batch_size : int
        Examples in a batch.
    seed : int or numpy.random.Generator
        Fixes the permutations.
    epochs : int, optional
        Stop after this many passes over the data.
    steps : int, optional
        Stop after this many batches, in the middle of an epoch if need be.  With
        neither this nor ``epochs``, one epoch.
    drop_last : bool
        Leave out the smaller batch at the end of an epoch when ``batch_size`` does
        not divide N.  Compiled functions like all batches of one shape.

    Yields
    ------
    x, y : array, shape (batch_size, ...), each
        Copies: writing to them changes nothing else.

    Raises
    ------
    ShapeError
        If x and y differ in number.
    OptionError
        If a count is not a positive int, both ``epochs`` and ``steps`` are given,
        the seed is none, or no whole batch exists and ``drop_last`` is set.
    """
    _same_length("batches", "x", x, "y", y)
    count(batch_size, "batches", "batch_size")
    if epochs is not None and steps is not None:
        raise OptionError("batches", "epochs and steps are two ways to say when to stop",
                          given=f"epochs={epochs!r}, steps={steps!r}",
                          expected="one of the two")  # fmt: skip
    if steps is None:
        epochs = count(1 if epochs is None else epochs, "batches", "epochs")
    else:
        count(steps, "batches", "steps")
    examples = len(y)
    if examples < (batch_size if drop_last else 1):
        raise OptionError("batches", "there is not one batch in these examples",
                          given=f"{examples} examples, batch_size={batch_size}, "
                                f"drop_last={drop_last}",
                          fix="give more examples or a smaller batch_size")  # fmt: skip
    end = examples - examples % batch_size if drop_last else examples
    rng = generator(seed, "batches")
    if steps is None:
        assert epochs is not None
        steps = epochs * -(-end // batch_size)
    return _batches(x, y, batch_size, end, steps, rng)  # Checked now, not at the first next().


def _batches(
    x: Any, y: Any, batch_size: int, end: int, steps: int, rng: np.random.Generator
) -> Iterator[tuple[Any, Any]]:
    while True:
        order = rng.permutation(len(y))
        for start in range(0, end, batch_size):
            if steps == 0:
                return
            steps -= 1
            index = order[start : min(start + batch_size, end)]
            yield (x[index] if hasattr(x, "shape") else [x[i] for i in index]), y[index]


def generator(seed: Seed, where: str) -> np.random.Generator:
    """Return the random generator that ``seed`` names or is.

    Raises
    ------
    OptionError
        For anything else, None included: what is drawn here can be drawn again.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise OptionError(where, "the seed is not usable", given=f"seed={seed!r}",
                          expected="an int of at least 0, or a numpy.random.Generator")  # fmt: skip
    return np.random.default_rng(seed)


def count(value: int, where: str, name: str, least: int = 1) -> int:
    """Return ``value`` if it is an int of at least ``least``.

    Raises
    ------
    OptionError
        If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected=f"an int of at least {least}")  # fmt: skip
    return int(value)


def _same_length(where: str, name_x: str, x: Any, name_y: str, y: Any) -> None:
    for name, value in ((name_x, x), (name_y, y)):
        if not hasattr(value, "__len__") or getattr(value, "shape", None) == ():
            raise DtypeError(where, f"{name} has no examples to count",
                             given=f"{name} of type {type(value).__name__}",
                             expected="an array or a sequence")  # fmt: skip
    if len(x) != len(y):
        raise ShapeError(where, f"{name_x} and {name_y} differ in number",
                         given=f"{len(x)} and {len(y)} examples",
                         expected="one target an example")  # fmt: skip


def _summary(part: Any) -> str:
    if hasattr(part, "shape"):
        return f"{part.shape} {part.dtype}"
    return f"{len(part)} {type(part[0]).__name__}s" if len(part) else "empty"
