"""What ``function`` refuses before the first call, and how it words that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic.graph import Constant, Shape, Variable, fits, leaves, sides
from workbench.symbolic.values import Shared, as_constant, operand

Pairs = Mapping[Any, Any] | Sequence[tuple[Any, Any]] | None


def pairs(where: str, what: str, given: Pairs) -> list[tuple[Any, Any]]:
    """Return a mapping, or a sequence of pairs, as a list of pairs."""
    try:
        return [(a, b) for a, b in (given.items() if isinstance(given, Mapping) else given or ())]
    except (TypeError, ValueError, GraphError):
        raise OptionError(where, f"{what} is not a list of pairs", given=repr(given),
                          expected="a dict, or (variable, expression) pairs") from None  # fmt: skip


def check_updates(where: str, updates: Pairs) -> dict[Shared, Variable]:
    """Return the new value of each shared variable, as a variable that fits it."""
    result: dict[Shared, Variable] = {}
    for target, value in pairs(where, "updates", updates):
        if not isinstance(target, Shared):
            raise GraphError(where, "only shared variables can be updated", given=repr(target),
                             fix="symbolic.shared(value) makes one")  # fmt: skip
        if target in result:
            raise GraphError(where, f"{target.label!r} is updated twice",
                             given=sides(first=result[target], second=operand(where, value)),
                             expected="one new value for each shared variable")  # fmt: skip
        result[target] = same_kind(
            where, f"the update of {target.label!r}", target, value, strict=False
        )
    return result


def check_givens(where: str, givens: Pairs) -> dict[Variable, Variable]:
    """Return what each variable is to be replaced by, as a variable that fits it."""
    result: dict[Variable, Variable] = {}
    for old, new in pairs(where, "givens", givens):
        if not isinstance(old, Variable) or old in result:
            raise GraphError(where, "givens replaces each variable once", given=repr(old))
        result[old] = same_kind(where, f"what replaces {old.label!r}", old, new, strict=True)
    return result


def same_kind(where: str, what: str, old: Variable, new: Any, strict: bool) -> Variable:
    """Return ``new`` as a variable if it can stand for ``old``; if strict, if it always can."""
    if type(new) in (bool, int, float) and np.can_cast(
        np.min_scalar_type(new), old.dtype, "same_kind"
    ):
        new = as_constant(new, where, what, old.dtype)  # Python numbers are weak.
    new = operand(where, new, what)
    both = {"old": old, "new": new}
    if new.dtype != old.dtype:
        raise DtypeError(where, f"{what} has the dtype {new.dtype}, not {old.dtype}",
                         given=sides(**both), fix=f"ops.cast(new, {old.dtype.name!r}), or "
                         "look for what promoted it")  # fmt: skip
    wanted: Shape = old.shape
    if not strict and len(wanted) == new.ndim:  # What is unknown now is checked in each call.
        wanted = tuple(None if m is None else n for n, m in zip(wanted, new.shape, strict=True))
    if not fits(new.shape, wanted):
        raise ShapeError(where, f"{what} has the shape {new.shape}, not {old.shape}",
                         given=sides(**both))  # fmt: skip
    return new


def check_inputs(
    where: str, inputs: Sequence[Variable], results: list[Variable], ignore_unused: bool
) -> None:
    """Refuse inputs that are repeated, unused, missing, or no inputs at all."""
    needed = leaves(results)
    for i, x in enumerate(inputs):
        what = f"inputs[{i}]"
        if not isinstance(x, Variable) or x.owner or isinstance(x, Constant | Shared):
            raise GraphError(where, f"{what} is not an input variable", given=repr(x),
                             expected="a variable of symbolic.scalar, vector, matrix or tensor",
                             fix="shared variables are implicit, and givens replaces "
                             "intermediate results")  # fmt: skip
        if x in inputs[:i]:
            raise GraphError(where, f"{what}, {x.label!r}, is given twice")
        if any(x.label == other.label for other in inputs[:i]):
            raise GraphError(where, f"two inputs are called {x.label!r}", given=sides(**{what: x}),
                             fix="give each its own name")  # fmt: skip
        if x not in needed and not ignore_unused:
            raise GraphError(where, f"{what}, {x.label!r}, is not used", given=sides(**{what: x}),
                             fix='leave it out, or on_unused_input="ignore"')  # fmt: skip
    for x in needed:
        if not isinstance(x, Constant | Shared) and x not in inputs:
            raise GraphError(where, f"the input {x.label!r} is missing", given=sides(x=x),
                             fix="add it to inputs, or replace it by givens")  # fmt: skip
