"""``check_pure``: does a function depend on its arguments alone, and change nothing else?

Nothing can prove it, but most of what goes wrong shows when a function is traced twice:
a random number, a clock or a counter is another the second time, and a value kept in a
list or a global outlives its trace.
"""

from __future__ import annotations

import functools
import gc
from typing import Any

import numpy as np

from workbench.functional.calling import Function, check_function
from workbench.functional.core import Tracer, describe, get_aval, is_array
from workbench.functional.jaxpr import Jaxpr
from workbench.functional.refusals import ImpureFunctionError, LeakedTracerError
from workbench.functional.staging import stage_tree
from workbench.functional.tree import tree_flatten


def check_pure(f: Function) -> Function:
    """Return f such that every call first traces it twice and compares.

    Parameters
    ----------
    f : callable
        From pytrees to a pytree, as ``jit`` takes it.

    Returns
    -------
    callable
        It computes what f does.  Meant for tests and for finding a mistake: it is slow.

    Raises
    ------
    ImpureFunctionError
        On call, if the two records differ, or an array that f closes over has changed.
    LeakedTracerError
        On call, if a tracer is still alive after the trace; says where it was made.
    """
    where = check_function("check_pure", f)

    @functools.wraps(f)
    def checked(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = tree_flatten((args, kwargs))
        avals = [get_aval(leaf, where) for leaf in leaves]
        first = stage_tree(f, treedef, avals, where)[0]
        before = [np.array(const) if is_array(const) else const for const in first.consts]
        _refuse_leaks(where)
        second = stage_tree(f, treedef, avals, where)[0]
        _compare(where, first, second, before)
        return f(*args, **kwargs)

    return checked


def _compare(where: str, first: Jaxpr, second: Jaxpr, before: list[Any]) -> None:
    for one, other in zip(str(first).split("\n"), str(second).split("\n"), strict=False):
        if one != other:
            raise _impure(where, "it was recorded differently the second time",
                          f"{one.strip()}  and then  {other.strip()}")  # fmt: skip
    if len(first.eqns) != len(second.eqns):
        raise _impure(where, "it was recorded differently the second time",
                      f"{len(first.eqns)} equations and then {len(second.eqns)}")  # fmt: skip
    for old, const, again in zip(before, first.consts, second.consts, strict=True):
        if not is_array(old):
            continue
        if not np.array_equal(old, again, equal_nan=old.dtype.kind in "fc"):
            changed = const is again
            problem = (
                "an array that it closes over is changed by the call" if changed
                else "an array that it makes outside functional.numpy differs the second time"
            )  # fmt: skip
            raise _impure(where, problem, f"a constant {get_aval(again)}")


def _impure(where: str, problem: str, given: str) -> ImpureFunctionError:
    return ImpureFunctionError(
        where, f"{problem}, so jit would keep what happened while it was traced", given=given,
        expected="a result that depends on the arguments alone",
        fix="pass what it reads as an argument (functional.random takes a key), and return "
        "what it would change",
    )  # fmt: skip


def _refuse_leaks(where: str) -> None:
    """Refuse tracers of traces that have ended and that somebody still holds."""
    gc.collect()
    for each in gc.get_objects():
        if isinstance(each, Tracer) and not each.trace.alive:
            raise LeakedTracerError(
                where, "a traced value is still held by something after its trace has ended",
                given=describe(each), expected="values that leave a function through its return",
                fix="return it; keep no tracer in a list, a global or an attribute",
            )  # fmt: skip
