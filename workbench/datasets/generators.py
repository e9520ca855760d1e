"""Data made on the spot, the same for the same seed.

In each of them the training examples are drawn first, so a larger test set
leaves them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import float_dtype
from workbench.datasets.dataset import Dataset, Seed, count, generator
from workbench.errors import DtypeError, OptionError, unknown_name

SHAPES = ("random", "balanced", "chain")
_MEANING = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
OPS = tuple(_MEANING)


def two_moons(
    train: int = 1000,
    test: int = 200,
    *,
    noise: float = 0.1,
    seed: Seed = 0,
    dtype: npt.DTypeLike = np.float32,
) -> Dataset:
    """Make two interleaved half circles, which no straight line separates.

    Parameters
    ----------
    train, test : int
        Points in each part; half of them in each class (of an odd number, class 0
        has one more), in random order.
    noise : float
        Standard deviation of the Gaussian noise on both coordinates; the half
        circles have radius 1.
    seed : int or numpy.random.Generator
        Fixes the points.
    dtype : float32 or float64
        Of the points.

    Returns
    -------
    Dataset
        Points (N, 2); labels int64.  Without noise class 0 is ``(cos t, sin t)`` and
        class 1 is ``(1 - cos t, 1/2 - sin t)``, with t uniform in [0, pi).

    Raises
    ------
    DtypeError, OptionError
        For a dtype, a count, a noise or a seed that is none.

    References
    ----------
    D. Zhou, O. Bousquet, T. N. Lal, J. Weston and B. Schölkopf (2004), "Learning
    with local and global consistency", where the two moons are the toy problem.
    """
    dtype = float_dtype(dtype, "two_moons")
    if isinstance(noise, bool) or not isinstance(noise, int | float | np.number):
        raise DtypeError("two_moons", "noise is a number", given=f"noise={noise!r}",
                         expected="a standard deviation")  # fmt: skip
    if not 0 <= noise < math.inf:
        raise OptionError("two_moons", "noise is not usable", given=f"noise={noise!r}",
                          expected="a standard deviation of at least 0")  # fmt: skip
    rng = generator(seed, "two_moons")

    def part(name: str, n: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        y = rng.permutation(np.arange(count(n, "two_moons", name), dtype=np.int64) % 2)
        t = rng.uniform(0, np.pi, n)
        sign = 1 - 2 * y  # The second moon is the first one turned by half a circle.
        x = np.stack([y + sign * np.cos(t), y / 2 + sign * np.sin(t)], axis=1)
        return (x + noise * rng.standard_normal((n, 2))).astype(dtype), y

    return Dataset("two_moons", *part("train", train), *part("test", test), classes=("0", "1"))


def adding_problem(
    train: int = 1000,
    test: int = 200,
    *,
    length: int = 50,
    seed: Seed = 0,
    dtype: npt.DTypeLike = np.float32,
) -> Dataset:
    """Make sequences in which two marked numbers are to be added at the end.

    To answer, a recurrent network has to keep both numbers over up to ``length``
    steps.  One that always answers 1 has a mean squared error of 1/6.

    Parameters
    ----------
    train, test : int
        Sequences in each part.
    length : int
        Steps in a sequence, T; at least 2.
    seed : int or numpy.random.Generator
        Fixes the sequences.
    dtype : float32 or float64
        Of sequences and targets.

    Returns
    -------
    Dataset
        Sequences (N, T, 2), where ``[..., 0]`` are numbers uniform in [0, 1) and
        ``[..., 1]`` marks one of them with 1 in each half of the sequence; targets
        (N,), the sum of the two marked numbers.

    Raises
    ------
    DtypeError, OptionError
        For a dtype, a count, a length or a seed that is none.

    References
    ----------
    S. Hochreiter and J. Schmidhuber (1997), "Long short-term memory", section 5.4.
    Theirs varies the length, draws from [-1, 1), marks the ends with -1 and asks
    for ``0.5 + (a + b) / 4``; this is the plainer form of M. Arjovsky, A. Shah and
    Y. Bengio (2016), "Unitary evolution recurrent neural networks".
    """
    dtype = float_dtype(dtype, "adding_problem")
    count(length, "adding_problem", "length", least=2)
    rng = generator(seed, "adding_problem")

    def part(name: str, n: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        rows = np.arange(count(n, "adding_problem", name))
        x = np.zeros((n, length, 2), dtype)
        x[..., 0] = rng.random((n, length), dtype=dtype.type)
        y = np.zeros(n, dtype)
        for low, high in ((0, length // 2), (length // 2, length)):
            marked = rng.integers(low, high, n)
            x[rows, marked, 1] = 1
            y += x[rows, marked, 0]
        return x, y

    return Dataset("adding_problem", *part("train", train), *part("test", test))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tree:
    """An arithmetic expression: a number, or an operation on two expressions.

    Parameters
    ----------
    op : str
        ``"leaf"``, ``"+"``, ``"-"`` or ``"*"``.
    left, right : Tree or None
        What the operation works on; None at a leaf.
    value : float
        What the expression amounts to, in double precision.
    leaves, depth : int
        Numbers in it, and operations on the longest way down to one.

    Notes
    -----
    Make one with :meth:`leaf` and :meth:`join`.  Nothing here calls itself, so a
    tree may be deeper than Python's recursion limit.
    """

    op: str
    left: Tree | None
    right: Tree | None
    value: float
    leaves: int = 1
    depth: int = 0

    @classmethod
    def leaf(cls, value: float) -> Tree:
        """Return the expression that is just this number.

        Raises
        ------
        DtypeError
            If it is none.
        """
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise DtypeError("Tree.leaf", "a leaf is a number", given=repr(value))
        return cls("leaf", None, None, float(value))

    @classmethod
    def join(cls, op: str, left: Tree, right: Tree) -> Tree:
        """Return the expression ``left op right``.

        Raises
        ------
        UnknownNameError
            If the operation is not one of ``+ - *``.
        DtypeError
            If a side is not a tree.
        """
        for side in (left, right):
            if not isinstance(side, Tree):
                raise DtypeError("Tree.join", "only trees can be joined", given=repr(side),
                                 fix="make a number one with Tree.leaf")  # fmt: skip
        if op not in _MEANING:
            raise unknown_name("Tree.join", "operation", op, OPS)
        return cls(op, left, right, _MEANING[op](left.value, right.value),
                   left.leaves + right.leaves, 1 + max(left.depth, right.depth))  # fmt: skip

    def postorder(self) -> Iterator[Tree]:
        """Yield every expression in this one, each after the two that it works on.

        The order in which a recursive model computes: left, right, then the node.
        """
        pending: list[tuple[Tree, bool]] = [(self, False)]
        while pending:
            node, entered = pending.pop()
            if node.left is None or node.right is None or entered:
                yield node
            else:
                pending += [(node, True), (node.right, False), (node.left, False)]

    def __str__(self) -> str:
        words: list[str] = []
        pending: list[Tree | str] = [self]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                words.append(item)
            elif item.left is None or item.right is None:
                words.append(f"{item.value:.3g}" if item.value >= 0 else f"({item.value:.3g})")
            else:
                pending += [")", item.right, f" {item.op} ", item.left, "("]
        return "".join(words)

    def __repr__(self) -> str:
        return (
            f"Tree({self.op!r}, value={self.value:.6g}, leaves={self.leaves}, depth={self.depth})"
        )


def expression_trees(
    train: int = 1000,
    test: int = 200,
    *,
    leaves: int | tuple[int, int] = (4, 16),
    shape: str = "random",
    seed: Seed = 0,
    dtype: npt.DTypeLike = np.float32,
) -> Dataset:
    """Make arithmetic expressions, to be evaluated by a recursive network.

    No two need have the same structure, which is what static graphs could not
    express and what define-by-run, and later dynamic batching, were made for.

    Parameters
    ----------
    train, test : int
        Expressions in each part.
    leaves : int or (int, int)
        Numbers in an expression, or the least and the most of them, each number
        in between as likely.
    shape : str
        ``"random"`` joins random neighbours until one is left, ``"balanced"`` is
        as shallow as can be, ``"chain"`` as deep: ``leaves - 1``.
    seed : int or numpy.random.Generator
        Fixes the expressions.
    dtype : float32 or float64
        Of the targets.

    Returns
    -------
    Dataset
        Tuples of :class:`Tree`, their numbers uniform in [-1, 1) and operations
        uniform over ``+ - *``; targets (N,), their values.

    Raises
    ------
    DtypeError, OptionError, UnknownNameError
        For a dtype, a count, a range, a seed or a shape that is none.

    References
    ----------
    J. B. Pollack (1990), "Recursive distributed representations", for networks
    shaped by their input; M. Looks et al. (2017), "Deep learning with dynamic
    computation graphs", for batching them.
    """
    where = "expression_trees"
    dtype = float_dtype(dtype, where)
    if shape not in SHAPES:
        raise unknown_name(where, "shape", shape, SHAPES)
    bounds = leaves if isinstance(leaves, tuple | list) else (leaves, leaves)
    if len(bounds) != 2 or count(bounds[0], where, "leaves") > count(bounds[1], where, "leaves"):
        raise OptionError(where, "leaves is not usable", given=f"leaves={leaves!r}",
                          expected="an int, or the least and the most")  # fmt: skip
    least, most = bounds
    rng = generator(seed, where)

    def part(name: str, n: int) -> tuple[tuple[Tree, ...], npt.NDArray[Any]]:
        sizes = rng.integers(least, most + 1, count(n, where, name))
        trees = tuple(_grow(int(size), shape, rng) for size in sizes)
        return trees, np.array([tree.value for tree in trees], dtype)

    return Dataset(where, *part("train", train), *part("test", test))


def _grow(leaves: int, shape: str, rng: np.random.Generator) -> Tree:
    row = [Tree.leaf(value) for value in rng.uniform(-1, 1, leaves)]
    ops = iter([OPS[i] for i in rng.integers(0, len(OPS), leaves - 1)])
    if shape == "chain":
        tree = row[0]
        for leaf in row[1:]:
            tree = Tree.join(next(ops), tree, leaf)
        return tree
    while len(row) > 1:
        if shape == "random":
            i = int(rng.integers(len(row) - 1))
            row[i : i + 2] = [Tree.join(next(ops), row[i], row[i + 1])]
        else:
            pairs = zip(row[::2], row[1::2], strict=False)
            joined = [Tree.join(next(ops), left, right) for left, right in pairs]
            row = joined + row[len(row) & ~1 :]  # An odd one out waits for the next round.
    return row[0]
