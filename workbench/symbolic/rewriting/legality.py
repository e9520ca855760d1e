"""When rules are legal: what makes a rewrite keep dtype, range and meaning."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.symbolic.graph import Constant, Variable
from workbench.symbolic.rewriting.passes import Match
from workbench.symbolic.rewriting.patterns import number
from workbench.symbolic.values import as_constant


def exact_arithmetic(m: Match) -> bool:
    """Integers and bools: no NaN, no infinity, no rounding."""
    return bool(m.y.dtype.kind in "biu")


def alike(m: Match) -> bool:
    """Letters stand for floats, or for integers of the result's dtype: they wrap as it does."""
    return all(
        x.dtype.kind == "f" or x.dtype == m.y.dtype
        for x in m.found.values() if isinstance(x, Variable)
    )  # fmt: skip


def floating(m: Match) -> bool:
    """The operand called X is floating already, so that nothing else converts it."""
    return bool(m.X.dtype.kind == "f")


_NOT_NEGATIVE = frozenset(
    "exp square absolute sqrt sigmoid softmax relu log1pexp exp2 cosh".split()
)
_KEEPS_SIGN = frozenset(
    "sum mean max min prod multiply divide add maximum minimum broadcast_to reshape transpose "
    "squeeze expand_dims getitem cast concatenate where power".split()
)


def not_negative(x: Variable, depth: int = 8) -> bool:
    """Return whether no element of ``x`` can be below 0, by what it is made of."""
    if isinstance(x, Constant):
        return isinstance(x.data, np.ndarray) and not (x.data < 0).any()
    if x.dtype.kind != "f" or x.owner is None or not depth:
        return x.dtype.kind in "bu"  # Signed integers wrap around.
    name = x.owner.op.name
    parts = x.owner.inputs[1:] if name == "where" else x.owner.inputs
    if name in ("broadcast_to", "reshape", "getitem", "power"):
        parts = parts[:1]
    return (
        name in _NOT_NEGATIVE
        or (name == "fill_like" and (number(x) or 0) >= 0)
        or (name in _KEEPS_SIGN and all(not_negative(each, depth - 1) for each in parts))
    )


def tame(*values: Any) -> bool:
    """Return whether numbers are safe to compute with early: none tiny, none near overflow."""
    return all(
        v.dtype.kind != "f" or bool(((np.abs(v) > np.finfo(v.dtype).tiny) & np.isfinite(v)).all())
        for v in map(np.asarray, values)
    )


def single(m: Match, x: Variable) -> bool:
    """Return whether nothing else in the graph reads ``x``."""
    return m.uses[x] == 1


def const(m: Match, value: Any) -> Variable:
    """Return a constant of the result's dtype."""
    return as_constant(value, "rewrite", dtype=m.y.dtype)


def nothing_moved(m: Match) -> bool:
    """Return whether X has the shape of the result in every run."""
    return m.sizes(m.X) == m.sizes(m.y)
