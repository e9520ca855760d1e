"""What no pass may do to a graph, checked between passes."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.errors import GraphError
from workbench.symbolic.graph import Constant, Type, Variable, sides
from workbench.symbolic.rewriting.trace import Step, short


def verify(
    before: Sequence[Variable], after: Sequence[Variable], stage: str, steps: Sequence[Step] = ()
) -> None:
    """Check that a pass kept the types of its outputs, and made no cycle and no new input.

    Parameters
    ----------
    before, after : sequence of Variable
        The outputs given to the pass, and those it returned.
    stage : str
        The name of the pass.
    steps : sequence of Step
        What it says that it did: the first step that is wrong by itself is named.

    Raises
    ------
    GraphError
        Naming the pass, the rule if it is known, and what is wrong.
    """
    problem = _problem(before, after)
    if problem is None:
        return
    for step in steps:
        if wrong := _problem([step.before], [step.after]):
            raise GraphError(f"the pass {stage!r}", f"the rule {step.rule!r}: {wrong}",
                             given=f"{short(step.before)} became {short(step.after)}, "
                             f"built at {step.trace}")  # fmt: skip
    raise GraphError(f"the pass {stage!r}", problem)


def _problem(before: Sequence[Variable], after: Sequence[Variable]) -> str | None:
    if len(before) != len(after):
        return f"{len(before)} outputs went in and {len(after)} came out"
    for old, new in zip(before, after, strict=True):
        if not _kept(old, new):
            return f"the type {old.type} became {new.type}: {sides(old=old, new=new)}"
    given, _ = _reached(before)
    needed, cycle = _reached(after)
    if cycle is not None:
        return f"{cycle.label} is computed from itself"
    new_inputs = [x.label for x in needed - given if not isinstance(x, Constant)]
    if new_inputs:
        return f"the result needs {', '.join(sorted(new_inputs))}, which was not there before"
    return None


def _kept(old: Variable, new: Variable) -> bool:
    """Return whether all that was known of the type of ``old`` holds of ``new``."""
    if old is new or not isinstance(old.type, Type) or not isinstance(new.type, Type):
        return old.type == new.type
    return old.dtype == new.dtype and old.ndim == new.ndim and all(
        n is None or n == m for n, m in zip(old.shape, new.shape, strict=True)
    )  # fmt: skip


def _reached(outputs: Sequence[Variable]) -> tuple[set[Variable], Variable | None]:
    """Return the leaves under ``outputs``, and a variable on a cycle if there is one."""
    found: set[Variable] = set()
    open_: set[Variable] = set()
    closed: set[Variable] = set()
    stack = [(y, False) for y in outputs]
    while stack:
        y, inputs_done = stack.pop()
        if inputs_done:
            open_.remove(y)
            closed.add(y)
        elif y in open_:
            return found, y
        elif y.owner is None:
            found.add(y)
        elif y not in closed:
            open_.add(y)
            stack.append((y, True))
            stack.extend((x, False) for x in y.owner.inputs)
    return found, None
