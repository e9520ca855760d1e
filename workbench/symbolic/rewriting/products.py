"""Products read as lists of factors, some of them below the line."""

from __future__ import annotations

from typing import Any, NamedTuple

from workbench.symbolic import ops
from workbench.symbolic.graph import Variable


class Factor(NamedTuple):
    """A factor of a product; ``below`` if it divides."""

    x: Variable
    below: bool


def factors(x: Variable, below: bool = False, depth: int = 6) -> list[Factor]:
    """Return the factors of a product of products and quotients, to a bounded depth."""
    name = x.owner.op.name if x.owner and depth else ""
    if x.owner is None or name not in ("multiply", "divide", "negative"):
        return [Factor(x, below)]
    first, *second = x.owner.inputs
    result = factors(first, below, depth - 1)
    for each in second:
        result += factors(each, below != (name == "divide"), depth - 1)
    return result


def _without(x: Variable, f: Factor, below: bool = False) -> Any:
    """Return a product without one of its factors; the number 1 or -1 if nothing is left."""
    if f == (x, below):
        return 1
    assert x.owner is not None
    a, *rest = x.owner.inputs
    if not rest:
        return -_without(a, f, below)
    quotient = x.owner.op.name == "divide"
    if f in factors(a, below):
        return _joined(_without(a, f, below), rest[0], quotient)
    return _joined(a, _without(rest[0], f, below != quotient), quotient)


def _joined(a: Any, b: Any, quotient: bool) -> Any:
    if b in (1, -1):
        return a if b == 1 else -a
    if quotient:
        return a / b
    return b if a == 1 else a * b


def reassemble(y: Variable, f: Factor, h: Factor, made: Any) -> Variable:
    """Return the product ``y`` with ``made``, maybe the number 1, in place of two factors.

    ``f`` is a factor of the first operand of ``y``, ``h`` one of the second.
    """
    assert y.owner is not None
    a, b = y.owner.inputs
    quotient = y.owner.op.name == "divide"
    above = _joined(_without(a, f), made, quotient=False)
    result = _joined(above, _without(b, h, quotient), quotient)
    return result if isinstance(result, Variable) else result * ops.ones_like(a)
