"""The language that rules are written in: algebra with letters for what may be anything.

Ops are called by their own names and stand for themselves; ``X``, ``Y``, ``Z`` match any
expression, and the same one wherever they stand twice; ``C``, ``D`` match constants; a
number matches a constant, or a filled array, all of whose elements are that number;
options are compared, or given one of the letters ``A``, ``B``, ``K``.  ``...`` stands for
further operands, and ``_`` for any op.

>>> pattern = read("log(sum(exp(X), axis=A))")

Sums, products and other commutative ops match in either order.  A number that is
subtracted is a negative number added, as in graphs once they are canonical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np

from workbench.symbolic import ops
from workbench.symbolic.graph import Constant, Variable

COMMUTATIVE = frozenset(
    "add multiply maximum minimum equal not_equal logaddexp logical_and logical_or "
    "logical_xor bitwise_and bitwise_or bitwise_xor hypot".split()
)
_REPEATS = frozenset("broadcast_to expand_dims reshape squeeze cast".split())
"""Ops that leave an array of one number an array of that number."""


ANY_OP = "_"
CONSTANT = "a constant"


class Pattern:
    """What an expression may look like; operators build larger ones."""

    def __add__(self, other: Part) -> Call:
        return Call("add", (self, other))

    def __radd__(self, other: Part) -> Call:
        return Call("add", (other, self))

    def __sub__(self, other: Part) -> Call:
        if isinstance(other, int | float):
            return Call("add", (-other, self))
        return Call("subtract", (self, other))

    def __rsub__(self, other: Part) -> Call:
        return Call("subtract", (other, self))

    def __mul__(self, other: Part) -> Call:
        return Call("multiply", (self, other))

    def __rmul__(self, other: Part) -> Call:
        return Call("multiply", (other, self))

    def __truediv__(self, other: Part) -> Call:
        return Call("divide", (self, other))

    def __rtruediv__(self, other: Part) -> Call:
        return Call("divide", (other, self))

    def __pow__(self, other: Part) -> Call:
        return Call("power", (self, other))

    def __neg__(self) -> Call:
        return Call("negative", (self,))


Part: TypeAlias = "Pattern | float | EllipsisType"


@dataclass(frozen=True, eq=False)
class Letter(Pattern):
    """Any expression, or any constant; the same one wherever the letter stands."""

    name: str
    constant: bool = False


@dataclass(frozen=True)
class Option:
    """Any value of an op's option."""

    name: str


@dataclass(frozen=True, eq=False)
class Call(Pattern):
    """An op of this name on operands that match, with options that match."""

    op: str
    args: tuple[Part, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def could(self, heads: tuple[str, ...]) -> bool:
        """Return whether operands with these heads may match: see :func:`head`."""
        orders = [heads, heads[::-1]] if self.op in COMMUTATIVE else [heads]
        return any(map(self._could, orders))

    def _could(self, heads: tuple[str, ...]) -> bool:
        for part, given in zip(self.args, heads, strict=False):
            if isinstance(part, Call):
                if part.op != given:
                    return False
            elif isinstance(part, Letter):
                if part.constant and given != CONSTANT:
                    return False
            elif part is not ... and given != CONSTANT and given not in _REPEATS | {"fill_like"}:
                return False
        return len(heads) == len(self.args) or self.args[-1] is ...


def head(x: Variable) -> str:
    """Return the name of the op that makes ``x``, or which kind of leaf it is."""
    return x.owner.op.name if x.owner else CONSTANT if isinstance(x, Constant) else ""


class _Words(dict[str, Any]):
    """What a word of a rule stands for: a letter, or the function that calls an op."""

    def __missing__(self, word: str) -> Any:
        if word in ("X", "Y", "Z", "C", "D"):
            return Letter(word, constant=word in "CD")
        if word in ("A", "B", "K"):
            return Option(word)
        return lambda *args, **options: Call(word, args, options)


def read(text: str) -> Any:
    """Return the pattern, or number, that a text says: it is an expression of Python."""
    return eval(text, {"__builtins__": {}}, _Words())


def number(x: Variable) -> Any:
    """Return the number that every element of ``x`` is; None if that is not known."""
    while x.owner is not None:
        if x.owner.op.name == "fill_like":
            return getattr(x.owner.op, "value", None)
        if x.owner.op.name not in _REPEATS:
            return None
        x = x.owner.inputs[0]
    if not isinstance(x, Constant) or not isinstance(x.data, np.ndarray) or not x.data.size:
        return None
    first = x.data.flat[0].item()
    return first if x.data.size == 1 or bool((x.data == first).all()) else None


Found: TypeAlias = dict[str, Any]
"""What each letter stands for."""


def matches(part: Part, x: Variable, found: Found) -> Iterator[Found]:
    """Return every way in which ``x`` is what ``part`` says, given what letters stand for."""
    if isinstance(part, Call):
        node = x.owner
        if node is None or part.op not in (node.op.name, ANY_OP):
            return
        for key, wanted in part.options.items():
            value = getattr(node.op, key)
            if isinstance(wanted, Option):
                if found.get(wanted.name, value) != value:
                    return
                found = {**found, wanted.name: value}
            elif value != wanted:
                return
        yield from _operands(part.args, node.inputs, found)
        if part.op in COMMUTATIVE:
            yield from _operands(part.args, node.inputs[::-1], found)
    elif isinstance(part, Letter):
        known = found.get(part.name)
        if known is x:
            yield found
        elif known is None and (not part.constant or _small(x)):
            yield {**found, part.name: x}
    elif number(x) == part:
        yield found


def _operands(
    parts: tuple[Part, ...], inputs: tuple[Variable, ...], found: Found
) -> Iterator[Found]:
    if not parts or parts[0] is ...:
        if parts or not inputs:
            yield found
    elif inputs:
        for each in matches(parts[0], inputs[0], found):
            yield from _operands(parts[1:], inputs[1:], each)


def _small(x: Variable) -> bool:
    """Return whether ``x`` is a constant that may be computed with while rewriting."""
    return isinstance(x, Constant) and isinstance(x.data, np.ndarray) and x.data.size <= 4096


def build(part: Part, found: Found) -> Any:
    """Return the expression, or number, that a replacement stands for."""
    if isinstance(part, Letter):
        return found[part.name]
    if not isinstance(part, Call):
        return part
    options = {k: found[v.name] if isinstance(v, Option) else v for k, v in part.options.items()}
    return getattr(ops, part.op)(*(build(each, found) for each in part.args), **options)
