"""Ops with graphs inside: the body of a loop, the branches of a choice.

A region's own inputs are variables that nothing outside mentions; what its graph read
from outside when it was built, it reads through them.  So a region is a closed value:
it compares by its structure, runs by itself, and lowers to a program of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Program, Type, Value
from workbench.errors import DtypeError, GraphError, ShapeError, WorkbenchError
from workbench.symbolic.graph import (
    CAST_IT,
    Apply,
    CannotLower,
    Constant,
    Item,
    NotKnown,
    Op,
    Variable,
    apply,
    leaves,
    merge,
    nodes,
    numbers,
    rebuild,
    sides,
)
from workbench.symbolic.interpreter import Schedule
from workbench.symbolic.lowering import ValueNeeded, lower, value_leaves
from workbench.symbolic.rewriting import rewrite
from workbench.symbolic.values import Shared, operands


@dataclass(frozen=True, eq=False)
class Region(Op):
    """An op with a graph inside, from ``inputs`` to ``outputs``.

    Two regions are equal if their graphs have the same structure, whatever variables
    these are built of.
    """

    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    lead: ClassVar[int] = 0
    """How many inputs of the node stand before those that the graph inside reads."""

    @cached_property
    def _key(self) -> Any:
        options = [getattr(self, f.name) for f in fields(self)]
        return type(self), _structure(self.inputs, self.outputs), tuple(options[2:])

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Region) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    # --- running -----------------------------------------------------------------------------

    @cached_property
    def _schedules(self) -> dict[tuple[int, int | None], Schedule]:
        return {}

    def run(
        self, what: str, values: Sequence[Array], start: int = 0, stop: int | None = None
    ) -> list[Array]:
        """Return the outputs from ``start`` to ``stop``; ``what`` says in errors what failed."""
        schedule = self._schedules.get((start, stop))
        if schedule is None:
            schedule = Schedule("inside", self.inputs, self.outputs[start:stop])
            self._schedules[start, stop] = schedule
        try:
            return schedule(values)
        except WorkbenchError as error:
            raise type(error)(self.name, f"{what}: {error}") from error

    # --- compiling ---------------------------------------------------------------------------

    @cached_property
    def _rewritten(self) -> tuple[Variable, ...]:
        return tuple(rewrite(list(self.outputs)))

    def program(
        self, b: Builder, types: Sequence[Type], fixed: Sequence[Value | None],
        start: int = 0, stop: int | None = None,
    ) -> Program:  # fmt: skip
        """Return the graph inside as a program, for inputs of these types.

        ``fixed`` holds, for an input that does not change from step to step, the value
        that stands for it outside: what is known of that may decide shapes inside.
        """
        known = {
            x: b.known(value)
            for x, value in zip(self.inputs, fixed, strict=True)
            if value is not None and b.known(value) is not None
        }
        try:
            return lower(f"{b.name}.{self.name}", self.inputs, types,
                         self._rewritten[start:stop], known)  # type: ignore[arg-type]  # fmt: skip
        except ValueNeeded as question:
            needed = [self.inputs.index(x) for x in value_leaves(question.variable)]
            unknown = [i for i in needed if self.inputs[i] not in known]
            if not unknown or any(fixed[i] is None for i in needed):
                raise CannotLower(f"the value of {question.variable.label!r} decides a shape "
                                  f"inside {self.name}") from None  # fmt: skip
            raise NotKnown(self.lead + unknown[0]) from None


def _structure(inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Any:
    """Return a graph as plain data: its nodes in order, each input by number."""
    number: dict[Variable, Any] = {x: i for i, x in enumerate(inputs)}
    for x in leaves(outputs):
        if isinstance(x, Constant):
            host = isinstance(x.data, np.ndarray)
            number[x] = (x.type, x.data.tobytes()) if host else x
    lines = []
    for node in nodes(outputs):
        lines.append((node.op, tuple(number[x] for x in node.inputs)))
        number[node.output] = len(inputs) + len(lines)
    return tuple(x.type for x in inputs), tuple(lines), tuple(number[y] for y in outputs)


# --- from the user's graph to a region -----------------------------------------------------


def nodes_on(order: Iterable[Apply], changing: Iterable[Variable]) -> set[Apply]:
    """Return which nodes, given in order, read one of ``changing``, directly or not."""
    moved, found = set(changing), set()
    for node in order:
        if not moved.isdisjoint(node.inputs):
            moved.add(node.output)
            found.add(node)
    return found


def enclose(
    inside: set[Apply], outputs: Sequence[Variable], own: Sequence[Variable] = ()
) -> tuple[list[Variable], list[Variable], list[Variable]]:
    """Return what the nodes inside read from outside, what stands for it, and new outputs.

    Parameters
    ----------
    inside : set of Apply
    outputs : sequence of Variable
        Made by nodes inside, or to be passed on from outside.
    own : sequence of Variable
        Inputs that the region has already.
    """

    def outside() -> list[Variable]:
        made = {node.output for node in inside}.union(own)
        read = [x for node in nodes(outputs) if node in inside for x in node.inputs]
        return [
            x for x in dict.fromkeys([*read, *outputs])
            if x not in made and not isinstance(x, Constant)
        ]  # fmt: skip

    # Arithmetic on sizes comes along: where it stays outside, what it says of shapes is lost.
    inside = inside.union(*map(_size_nodes, outside()))
    captured = outside()
    fresh = [_stand_in(x) for x in captured]
    return captured, fresh, rebuild(outputs, dict(zip(captured, fresh, strict=True)))


def _size_nodes(x: Variable) -> set[Apply]:
    """Return the nodes that make ``x``, if it is a size or a shape that rests on shapes alone."""
    found: set[Apply] = set()
    if x.owner is None or x.dtype.kind != "i" or x.shape == (None,) or x.ndim > 1:
        return found
    if value_leaves(x):
        return found
    stack = [x.owner]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            if not node.op.shape_only:
                stack.extend(i.owner for i in node.inputs if i.owner)
    return found


def _stand_in(x: Variable, label: str = "{}") -> Variable:
    """Return a variable like ``x`` that nothing makes."""
    y = Variable(x.type, label.format(x.label))
    y.trace = x.trace
    return y


class Loop:
    """What a user's loop body makes, taken apart: the common part of ``scan`` and ``while_loop``.

    Attributes
    ----------
    carry : list of Variable
        Inside, the values before a step; those after it are ``after``.
    initial : list of Variable
        Outside, the values before the first step.
    elements : list of Variable
        Inside, what each step reads of the sequences.
    made : list of Variable
        Inside, what the user's functions returned.
    """

    def __init__(self, where: str, initial: Sequence[Variable], elements: Sequence[Variable],
                 fn: Callable[..., list[Variable]]) -> None:  # fmt: skip
        self.where, self.initial, self.elements = where, list(initial), list(elements)
        self.carry = [_stand_in(x, "{}[t-1]") for x in initial]
        first = next(numbers)
        self.made = fn(*elements, *self.carry)
        self.after: list[Variable] = []
        self._first = first

    def close(self, after: Mapping[int, Variable]) -> None:
        """Check what the carry becomes, by number of output; random streams are carried too."""
        for before, (i, new) in zip(self.initial, after.items(), strict=True):
            check_same(f"{self.where}, output {i}", "changes its {} from step to step",
                       initial=before, output=new)  # fmt: skip
        self.after = list(after.values())
        self.states: list[Shared] = []
        while states := self._new_states():
            stand_ins = [_stand_in(s, "{}[t]") for s in states]
            updates = [s.default_update for s in states]
            replaced = rebuild([*self.made, *self.after, *updates],  # type: ignore[list-item]
                               dict(zip(states, stand_ins, strict=True)))  # fmt: skip
            n = len(self.made)
            self.made, self.after = replaced[:n], replaced[n:]
            self.carry += stand_ins
            self.initial += states
            self.states += states

    def _new_states(self) -> list[Shared]:
        """Return the states of random streams that were made while the body was built."""
        return [
            x for x in leaves([*self.made, *self.after])
            if isinstance(x, Shared) and x.default_update is not None and x.number > self._first
        ]  # fmt: skip

    def region(
        self, outputs: Sequence[Variable]
    ) -> tuple[tuple[Variable, ...], tuple[Variable, ...], list[Variable]]:
        """Return a region's inputs and outputs, and what it reads from outside."""
        own = [*self.carry, *self.elements]
        inside = nodes_on(nodes(outputs), own)
        captured, fresh, results = enclose(inside, outputs, own)
        return (*own, *fresh), tuple(merge(results)), captured

    def finish(self, finals: Sequence[Variable]) -> None:
        """Let the states of random streams go on from where the loop leaves them."""
        for s, final in zip(self.states, finals, strict=True):
            s.default_update = final


def check_same(where: str, problem: str, **both: Variable) -> None:
    """Refuse two variables of different dtypes, or of shapes that can never be equal."""
    x, y = both.values()
    if x.dtype != y.dtype:
        raise DtypeError(where, problem.format("dtype"), given=sides(**both), fix=CAST_IT)
    if x.ndim != y.ndim or any(
        None not in (m, n) and m != n for m, n in zip(x.shape, y.shape, strict=True)
    ):
        raise ShapeError(where, problem.format("shape"), given=sides(**both),
                         expected="one shape; ops.broadcast_to and ops.zeros_like help")  # fmt: skip


def returned(where: str, made: Any, wrong: str) -> list[Variable]:
    """Return what a user's function returned as a list of variables."""
    listed = list(made) if isinstance(made, list | tuple) else [made]
    for i, y in enumerate(listed):
        if isinstance(y, dict):
            raise GraphError(where, "the body returned updates", given=repr(y)[:200],
                             expected="one expression for each output",
                             fix="carry the value: start it in outputs_info, return the new one, "
                             "and update the shared variable by the last")  # fmt: skip
        if not hasattr(y, "dtype") and type(y) not in (bool, int, float):
            raise GraphError(where, f"output {i} of the body is not an expression",
                             given=repr(y)[:200], expected="a variable, or a list of them",
                             fix=wrong)  # fmt: skip
    return operands(where, **{f"output {i}": y for i, y in enumerate(listed)})


def items(op: Op, *inputs: Variable) -> list[Variable]:
    """Apply an op that makes a tuple, and take the tuple apart."""
    y = apply(op, *inputs)
    return [apply(Item(i), y) for i in range(len(y.type.items))]  # type: ignore[attr-defined]
