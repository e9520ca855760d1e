"""Rows of group results: how they are gathered, and how their gradients find the way back.

A group of k calls has one result, with the calls along its first axis.  Later groups take
rows from several such results.  Were each a plain ``x[rows]``, backward would make an
array of the size of the *whole* result for every one of them.  Here backward passes
:class:`Pieces` instead, which name the rows that they are for and are added up in one
array when the last of them has arrived: the cost is that of what was gathered.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic.function import Function
from workbench.dynamic.ops import reshape
from workbench.dynamic.ops.indexing import Scatter
from workbench.dynamic.tensor import Tensor, mode


class Piece(NamedTuple):
    """Which part of a source goes where.

    Attributes
    ----------
    place : index, or None
        Where in the result; None for all of it.
    index : index
        What part of the source.
    repeats : bool
        Whether ``index`` names a row more than once.
    """

    place: Any
    index: Any
    repeats: bool = False


class Pieces:
    """A gradient that is zero but for some parts, which are added up in :meth:`dense`.

    Travels from :class:`Gather` to :class:`Source` in place of an array; all that the
    engine does with it on the way is to add another.
    """

    __slots__ = ("dtype", "parts", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, index: Any, g: Array, repeats: bool):
        self.shape, self.dtype, self.parts = shape, dtype, [(index, g, repeats)]

    def __add__(self, other: Pieces) -> Pieces:
        self.parts += other.parts
        return self

    def dense(self) -> Array:
        """Return the sum of all pieces as an array."""
        total = arrays.namespace(self.parts[0][1]).zeros(self.shape, self.dtype)
        for index, g, repeats in self.parts:
            if repeats:
                arrays.scatter_add(total, index, g)
            else:
                total[index] += g
        return total

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.dense()  # For those who watch gradients go by.


class Source(Function):
    """A result, in front of those who take parts of it: here their gradients add up."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:  # noqa: D102 (see Function)
        return x[...]

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:  # noqa: D102
        return g.dense() if isinstance(g, Pieces) else g


class Gather(Function):
    """Parts of several sources in one array; a view, where it is one slice of one source."""

    @staticmethod
    def forward(ctx: Any, length: int, pieces: list[Piece], *sources: Any) -> Any:  # noqa: D102
        ctx.pieces = pieces
        first = sources[0]
        if pieces[0].place is None:
            return first[pieces[0].index]
        y = arrays.namespace(first).empty((length, *first.shape[1:]), first.dtype)
        for piece, source in zip(pieces, sources, strict=True):
            y[piece.place] = source[piece.index]
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:  # noqa: D102
        results: list[Any] = [None, None]
        for (place, index, repeats), edge in zip(ctx.pieces, ctx.inputs[2:], strict=True):
            part = g if place is None or edge is None else g[place]
            if edge is None:
                results.append(None)
            elif isinstance(g, Tensor):
                results.append(Scatter.apply(part, index, edge.shape))
            else:
                results.append(Pieces(edge.shape, edge.dtype, index, part, repeats))
        return tuple(results)


class Rows:
    """The result of a group: a tensor with one call's result in each row.

    Attributes
    ----------
    tensor : Tensor, shape (k, ...)
    """

    __slots__ = ("_halves", "_source", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._source: Tensor | None = None
        self._halves: dict[tuple[int, int], Tensor] = {}

    @property
    def source(self) -> Tensor:
        """The tensor as others take parts of it."""
        if not (self.tensor.requires_grad and mode.enabled):
            return self.tensor
        if self._source is None:
            self._source = Source.apply(self.tensor)
        return self._source

    def take(self, index: Any) -> Tensor:
        """Return one part."""
        return Gather.apply(0, [Piece(None, index)], self.source)

    def row(self, k: int) -> Tensor:
        """Return one row as a tensor of its own.

        It is found by halving, and the halves are kept, so that taking n rows one by one
        costs n log n elements in backward, and not n * n.
        """
        low, high, x = 0, len(self.tensor.data), self.tensor
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if k < middle else (middle, high)
            half = self._halves.get((low, high))
            if half is None:
                at = slice(0, high - low) if k < middle else slice(-(high - low), None)
                half = self._halves[low, high] = x[at]
            x = half
        return reshape(x, x.shape[1:])


def gather(entries: list[tuple[Any, Rows, int, list[int]]], length: int) -> Rows:
    """Return so many rows taken from several results.

    Parameters
    ----------
    entries : list of (place, rows, offset, numbers)
        Where in the result; whose rows; and which, counted from ``offset``.
    length : int

    Returns
    -------
    Rows
        One of those given, if all of its rows are wanted in order.
    """
    first, begin = entries[0][1], entries[0][2] + entries[0][3][0]
    end = begin
    for place, rows, offset, some in entries:
        end += len(some)
        if (
            rows is not first or type(place) is not slice or place.step
            or some != list(range(end - len(some) - offset, end - offset))
        ):  # fmt: skip
            break
    else:  # All of it is one slice.
        if end - begin == len(first.tensor.data):
            return first
        return Rows(first.take(slice(begin, end)))
    sources = list({id(rows): rows for _, rows, _, _ in entries}.values())
    number_of = {id(rows): k for k, rows in enumerate(sources)}
    numbers, whose = np.empty(length, np.intp), np.empty(length, np.intp)
    for place, rows, offset, some in entries:
        numbers[place] = np.array(some, np.intp) + offset
        whose[place] = number_of[id(rows)]
    xp = arrays.namespace(first.tensor.data)
    if len(sources) == 1:
        pieces = [Piece(None, *_simplest(numbers, xp))]
    else:
        places = [np.flatnonzero(whose == k) for k in range(len(sources))]
        pieces = [Piece(_simplest(at, xp)[0], *_simplest(numbers[at], xp)) for at in places]
    return Rows(Gather.apply(length, pieces, *(rows.source for rows in sources)))


def _simplest(numbers: Array, xp: ModuleType) -> tuple[Any, bool]:
    """Return numbers as a slice if they are one, and whether there are repetitions."""
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first + 1 == len(numbers) and (numbers[1:] - numbers[:-1] == 1).all():
        return slice(first, last + 1), False
    return xp.asarray(numbers), bool(np.bincount(numbers).max() > 1)
