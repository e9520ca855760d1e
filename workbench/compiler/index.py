"""Where an element is, as a sum: ``i0*64 + i1 + 3``.

An :class:`Index` is kept as a sum of multiples of loop variables until it is printed.  So a
transposed slice of a broadcast costs nothing, two accesses can be compared, and a reshape that
splits or joins axes evenly needs no division.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Axis(NamedTuple):
    """A loop: its number in the kernel's space, and how often it runs."""

    number: int
    size: int

    def __str__(self) -> str:
        return f"i{self.number}"


class Part(NamedTuple):
    """The quotient or remainder of an index, where that is no sum of loop variables."""

    position: Index
    divisor: int
    remainder: bool

    def __str__(self) -> str:
        return f"({self.position}) {'%' if self.remainder else '/'} {self.divisor}"


@dataclass(frozen=True, slots=True)
class Index:
    """``offset`` plus multiples of loop variables: the position of an element.

    Attributes
    ----------
    offset : int
    terms : tuple of (Axis or Part, int)
        What is multiplied, and by how much.
    """

    offset: int = 0
    terms: tuple[tuple[Axis | Part, int], ...] = ()

    @staticmethod
    def of(atom: Axis | Part) -> Index:
        """Return the index that is one loop variable, or part of another index."""
        return Index(0, ((atom, 1),))

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.offset + other, self.terms)
        total = dict(self.terms)
        for atom, n in other.terms:
            total[atom] = total.get(atom, 0) + n
        terms = tuple(sorted(((a, n) for a, n in total.items() if n), key=_order))
        return Index(self.offset + other.offset, terms)

    def __mul__(self, n: int) -> Index:
        return Index(self.offset * n, tuple((a, c * n) for a, c in self.terms) if n else ())

    @property
    def simple(self) -> bool:
        """Whether it needs no division."""
        return not any(isinstance(a, Part) for a, _ in self.terms)

    def bounds(self) -> tuple[int, int]:
        """Return the least and greatest value it takes."""
        low = high = self.offset
        for atom, n in self.terms:
            if isinstance(atom, Axis):
                a, b = 0, atom.size - 1
            elif (inner := atom.position.bounds())[0] < 0:  # Only where a guard has excluded that.
                a, b = 0, atom.divisor - 1 if atom.remainder else inner[1] // atom.divisor
            else:
                a = 0
                b = atom.divisor - 1 if atom.remainder else inner[1] // atom.divisor
            low, high = low + min(a * n, b * n), high + max(a * n, b * n)
        return low, high

    def part(self, n: int, remainder: bool) -> Index:
        """Return the quotient by ``n``, or the remainder; exact sums where the ranges allow."""
        q, r = divmod(self.offset, n)
        rest = Index(r, tuple((a, c) for a, c in self.terms if c % n))
        whole = Index(q, tuple((a, c // n) for a, c in self.terms if c % n == 0))
        low, high = rest.bounds()
        if low < 0:
            return Index.of(Part(self, n, remainder))
        if remainder:
            return rest if high < n else Index.of(Part(rest, n, True))
        return whole if high < n else whole + Index.of(Part(rest, n, False))

    def replace(self, axes: dict[Axis, Axis | None]) -> Index:
        """Return it with some loop variables replaced, or left out."""
        total = Index(self.offset)
        for atom, n in self.terms:
            new = (atom._replace(position=atom.position.replace(axes)) if isinstance(atom, Part)
                   else axes.get(atom, atom))  # fmt: skip
            if new is not None:
                total = total + Index.of(new) * n
        return total

    def __str__(self) -> str:
        parts = [str(a) if n == 1 else f"{a}*{n}" for a, n in self.terms]
        if self.offset or not parts:
            parts.append(str(self.offset))
        return " + ".join(parts).replace("+ -", "- ")


def _order(term: tuple[Axis | Part, int]) -> tuple[int, str]:
    atom = term[0]
    return (atom.number, "") if isinstance(atom, Axis) else (1 << 30, str(atom))


Indices: TypeAlias = "tuple[Index, ...] | Index"
"""Where an element is: along each axis, or in row-major order."""
Condition: TypeAlias = tuple[Index, int, int]
"""An index is at least the first number and less than the second."""


def flat(index: Indices, shape: Sequence[int]) -> Index:
    """Return the position in row-major order."""
    if isinstance(index, Index):
        return index
    total = Index()
    for i, n in zip(index, shape, strict=True):
        total = total * n + i
    return total


def split(position: Index, shape: Sequence[int]) -> tuple[Index, ...]:
    """Return the index along each axis of a position in row-major order."""
    parts: list[Index] = []
    for n in reversed(shape):
        parts.append(position.part(n, True) if n > 1 else Index())
        position = position.part(n, False) if n else position
    return tuple(reversed(parts))


def squeeze(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes that are not 1."""
    return tuple(n for n in shape if n != 1)


def spread(shape: Sequence[int], axes: Sequence[Axis]) -> tuple[Index, ...]:
    """Return the index that runs over ``shape``, whose sizes besides 1 are those of ``axes``."""
    rest = iter(axes)
    return tuple(Index() if n == 1 else Index.of(next(rest)) for n in shape)


def axes_of(shape: Sequence[int]) -> tuple[Axis, ...]:
    """Return a loop for every size that is not 1."""
    return tuple(Axis(i, n) for i, n in enumerate(squeeze(shape)))


def merge(axes: Sequence[Axis], indices: Sequence[Index]) -> dict[Axis, Axis | None]:
    """Return which loops become one, because every index steps through them as through one.

    Parameters
    ----------
    axes : sequence of Axis
        Outermost first.
    indices : sequence of Index

    Returns
    -------
    dict of Axis to Axis or None
        The last axis of a group becomes the loop over all of it; the others vanish.
    """
    steps = {a: [dict(i.terms).get(a, 0) for i in indices] for a in axes}
    result: dict[Axis, Axis | None] = {}
    size = 1
    for number, axis in enumerate(axes):
        size *= axis.size
        follower = axes[number + 1] if number + 1 < len(axes) else None
        if follower and steps[axis] == [n * follower.size for n in steps[follower]]:
            result[axis] = None
        else:
            result[axis] = Axis(axis.number, size)
            size = 1
    return result
