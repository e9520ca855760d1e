"""What constant or trivial operands leave to do: nothing, or less."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError
from workbench.symbolic import ops
from workbench.symbolic.graph import Variable
from workbench.symbolic.rewriting.legality import const, exact_arithmetic, nothing_moved
from workbench.symbolic.rewriting.passes import Match, Pass, Rule
from workbench.symbolic.rewriting.patterns import CONSTANT, number


def _folded(m: Match) -> Variable | None:
    """Return the value of an op on small constants, if it is no larger than they are."""
    inputs: Any = m.node.inputs
    arrays = [x.data for x in inputs]
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return None
    sizes = [n for n in m.y.shape if n is not None]
    if math.prod(sizes) > min(4096, max(16, sum(a.size for a in arrays))):
        return None
    try:
        with np.errstate(all="ignore"):
            value = np.array(m.op.compute(*arrays))
    except (WorkbenchError, ArithmeticError, LookupError, ValueError):
        return None  # It fails in a call, where the message says which line built it.
    return const(m, value) if value.dtype == m.y.dtype and value.size <= 4096 else None


FOLD = Pass("fold constants", (
    Rule("fold", "_(...)", _folded, "computed once, when the graph is built",
         heads=lambda heads: {*heads} == {CONSTANT}),
))  # fmt: skip


def _whole(x: Variable, axes: tuple[int, ...]) -> bool:
    """Return whether all these axes of ``x`` have size 1."""
    return all(x.shape[a] == 1 for a in axes)


def _power_of_two(m: Match) -> bool:
    """The reciprocal of a power of two is exact."""
    c = number(m.C)
    return bool(c and m.y.dtype.kind == "f" and m.C.dtype == m.y.dtype
                and abs(math.frexp(c)[0]) == 0.5 and abs(math.log2(abs(c))) < 100)  # fmt: skip


def _one_element(m: Match) -> Variable:
    return m.X if m.K else ops.squeeze(m.X, m.A)


def _over_ones(name: str) -> Rule:
    return Rule(f"{name} over axes of size 1", f"{name}(X, axis=A, keepdims=K)", _one_element,
                "one element is its own " + name, when=lambda m: _whole(m.X, m.A))  # fmt: skip


SPECIALISE = Pass("specialise", (
    Rule("times one", "X * 1", "X", "nothing changes"),
    Rule("over one", "X / 1", "X", "nothing changes"),
    Rule("plus zero", "X + 0", "X", "nothing changes"),
    Rule("minus zero", "subtract(X, 0)", "X", "nothing changes"),
    Rule("zero minus", "0 - X", "-X", "one op of one operand",
         when=lambda m: m.X.dtype.kind != "b"),
    Rule("times minus one", "X * -1", "-X", "a sign is cheaper than a product"),
    Rule("over minus one", "X / -1", "-X", "a sign is cheaper than a division"),
    Rule("over a power of two", "X / C", lambda m: m.X * const(m, 1 / m.C.data),
         "the reciprocal is exact, and products are cheaper", when=_power_of_two),
    Rule("times zero", "X * 0", lambda m: ops.zeros_like(m.X),
         "zero, where nothing can be infinite or NaN", when=exact_arithmetic),
    Rule("minus itself", "X - X", lambda m: ops.zeros_like(m.X),
         "zero, where nothing can be infinite or NaN", when=exact_arithmetic),
    Rule("maximum with zero", "maximum(X, 0)", "relu(X)", "one op of one operand"),
    Rule("larger of itself", "maximum(X, X)", "X", "nothing to choose"),
    Rule("smaller of itself", "minimum(X, X)", "X", "nothing to choose"),
    Rule("where both alike", "where(Y, X, X)", "X", "nothing to choose"),
    Rule("where always", "where(1, X, Y)", "X", "nothing to choose"),
    Rule("where never", "where(0, X, Y)", "Y", "nothing to choose"),
    Rule("transpose of nothing", "transpose(X, axes=A)", "X", "the axes stay in order",
         when=lambda m: tuple(range(m.X.ndim)) == m.A),
    Rule("reshape to its own shape", "reshape(X, ...)", "X", "nothing moves",
         when=nothing_moved),
    Rule("broadcast to its own shape", "broadcast_to(X, ...)", "X", "nothing is repeated",
         when=nothing_moved),
    Rule("cast to its own dtype", "cast(X)", "X", "nothing changes",
         when=lambda m: m.X.dtype == m.y.dtype),
    *map(_over_ones, ("sum", "max", "min", "prod")),
))  # fmt: skip
