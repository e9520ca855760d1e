"""Loops that stop on a condition, and lazy choices; ``scan`` has a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, WorkbenchError
from workbench.symbolic.gradient import pullback
from workbench.symbolic.graph import (
    Apply,
    CannotLower,
    Gradients,
    Inputs,
    Item,
    NoGradient,
    Operand,
    TupleType,
    Type,
    Variable,
    leaves,
    merge,
    nodes,
    sides,
)
from workbench.symbolic.ops import less, not_equal, where, zeros_like
from workbench.symbolic.regions import Loop, Region, check_same, enclose, items, returned
from workbench.symbolic.scanning import scan
from workbench.symbolic.values import as_constant, operand, operands

__all__ = ["ifelse", "scan", "while_loop"]


@dataclass(frozen=True, eq=False)
class While(Region, NoGradient):
    """A body run as long as a condition, the first output of the graph inside, holds.

    The node's inputs are the first carry, then what stays the same; its tuple holds the
    last carry.
    """

    n_carry: int
    name = "while_loop"
    no_gradient = "its number of steps is not known beforehand; scan has a gradient"

    def infer(self, *inputs: Variable) -> TupleType:
        return TupleType(tuple(x.type for x in self.inputs[: self.n_carry]))

    def compute(self, *inputs: Array) -> tuple[Array, ...]:
        carry, fixed, t = list(inputs[: self.n_carry]), inputs[self.n_carry :], 0
        while self.run(f"the condition of step {t}", [*carry, *fixed], 0, 1)[0]:
            after = self.run(f"step {t}", [*carry, *fixed], 1)
            for i, (x, y) in enumerate(zip(carry, after, strict=True)):
                if x.shape != y.shape:
                    raise _reshaped(i, x.shape, y.shape, f" {t}")
            carry, t = after, t + 1
        return tuple(carry)

    def lower(self, b: Builder, *inputs: Value) -> tuple[Value, ...]:
        n, types = self.n_carry, [x.type for x in inputs]
        fixed = [None if i < n else x for i, x in enumerate(inputs)]
        cond, body = self.program(b, types, fixed, 0, 1), self.program(b, types, fixed, 1)
        for i, (before, after) in enumerate(zip(types, body.outputs, strict=False)):
            if before != after.type:
                raise _reshaped(i, before.shape, after.shape)
        return b.while_(inputs[:n], inputs[n:], cond, body)


def _reshaped(i: int, before: Any, after: Any, step: str = "") -> ShapeError:
    return ShapeError("while_loop", f"output {i} changes its shape in step{step}, from {before} to "
                      f"{after}")  # fmt: skip


def while_loop(
    condition: Callable[..., Any],
    body: Callable[..., Any],
    init: Operand | Sequence[Operand],
    max_steps: int | None = None,
) -> Any:
    """Return what a value has become once a condition on it fails.

    Parameters
    ----------
    condition : callable
        Called once, with expressions for the values; returns one bool.
    body : callable
        Called once, likewise; returns the values after a step.
    init : Variable or sequence of Variable
        The values before the first step.
    max_steps : int, optional
        Stop after so many, whatever the condition says.

    Returns
    -------
    Variable, or list of Variable
        As ``init`` was one or a sequence.

    Raises
    ------
    DtypeError, ShapeError
        If a value changes its type from step to step, naming it and both lines, or if the
        condition is not one bool.
    GraphError
        If ``body`` returns too many values, or too few.

    Notes
    -----
    No gradient: how many steps to go back is not known when the graph is built.  With a
    bound on it, use :func:`scan`, and ``ops.where`` to stand still after the end.
    """
    single = not isinstance(init, list | tuple)
    given: Sequence[Any] = [init] if single else list(init)  # type: ignore[arg-type]
    if not given:
        raise OptionError("while_loop", "init is empty", expected="at least one value")
    start = operands("while_loop", **{f"init[{i}]": x for i, x in enumerate(given)})
    if max_steps is not None:
        start.append(as_constant(0, "while_loop", dtype=np.int64))

    def step(*inside: Variable) -> list[Variable]:
        values = inside[: len(given)]
        goes_on, *more = returned("while_loop", condition(*values), "return one comparison")
        if more or goes_on.ndim or goes_on.dtype.kind != "b":
            raise DtypeError("while_loop", "the condition is not one bool",
                             given=sides(condition=goes_on), expected="bool ()",
                             fix="a comparison of scalars, or ops.all(...)")  # fmt: skip
        after = returned("while_loop", body(*values), "return the values after a step")
        if len(after) != len(given):
            raise GraphError("while_loop", f"body returned {len(after)} values",
                             expected=f"{len(given)}, as in init")  # fmt: skip
        if max_steps is not None:
            goes_on = where(less(inside[-1], max_steps), goes_on, False)
            after.append(inside[-1] + 1)
        return [goes_on, *after]

    loop = Loop("while_loop", start, (), step)
    loop.close(dict(enumerate(loop.made[1:])))
    inputs, outputs, captured = loop.region([loop.made[0], *loop.after])
    n = len(loop.carry)
    results = items(While(inputs, outputs, n), *loop.initial, *captured)
    loop.finish(results[len(start) :])
    return results[0] if single else results[: len(given)]


@dataclass(frozen=True, eq=False)
class IfElse(Region):
    """The first half of its outputs where a condition holds, else the second half.

    The node's inputs are the condition, then what the branches read.
    """

    name = "ifelse"
    lead = 1

    @property
    def _half(self) -> int:
        return len(self.outputs) // 2

    def infer(self, *inputs: Variable) -> TupleType:
        pairs = zip(self.outputs[: self._half], self.outputs[self._half :], strict=True)
        return TupleType(tuple(
            Type(x.dtype, tuple(m if m == n else None for m, n in zip(x.shape, y.shape, strict=True)))
            for x, y in pairs
        ))  # fmt: skip

    def compute(self, *inputs: Array) -> tuple[Array, ...]:
        condition, *values = inputs
        if condition:
            return tuple(self.run("the condition holds", values, 0, self._half))
        return tuple(self.run("the condition fails", values, self._half))

    def gradient(self, inputs: Inputs, output: Variable, g: Sequence[Variable | None]) -> Gradients:
        given = {i: Variable(self.outputs[i].type, "g") for i, gy in enumerate(g) if gy is not None}
        wrt = [x for x in self.inputs if x.dtype.kind == "f"]
        then, otherwise = (
            pullback([self.outputs[half + i] for i in given], [*given.values()], wrt)
            for half in (0, self._half)
        )
        found = [i for i in range(len(wrt)) if then[i] is not None or otherwise[i] is not None]
        outputs = [
            zeros_like(wrt[i]) if slope[i] is None else slope[i]
            for slope in (then, otherwise) for i in found
        ]  # fmt: skip
        outside = dict(zip(self.inputs, inputs[1:], strict=True))
        outside |= {x: g[i] for i, x in given.items()}  # type: ignore[misc]
        read = leaves(outputs)  # type: ignore[arg-type]
        own = [x for x in outside if x in read]
        op = IfElse(tuple(own), tuple(merge(outputs)))  # type: ignore[arg-type]
        made = items(op, inputs[0], *(outside[x] for x in own))
        result = {wrt[i]: dx for i, dx in zip(found, made, strict=True)}
        return [None, *(result.get(x) for x in self.inputs)]

    def lower(self, b: Builder, *inputs: Value) -> tuple[Value, ...]:
        condition, *values = inputs
        types = [x.type for x in values]
        try:
            then = self.program(b, types, values, 0, self._half)
            otherwise = self.program(b, types, values, self._half)
        except WorkbenchError as error:
            raise CannotLower("a branch of ifelse, which may not be taken, would fail: "
                              f"{error.problem}") from error  # fmt: skip
        if [y.type for y in then.outputs] != [y.type for y in otherwise.outputs]:
            raise CannotLower("the branches of ifelse make different shapes")
        return b.if_(condition, values, then, otherwise)


def ifelse(condition: Operand, then: Any, otherwise: Any) -> Any:
    """Return ``then`` if a condition holds, else ``otherwise``; only that one is computed.

    ``ops.where`` chooses element by element, and computes both.

    Parameters
    ----------
    condition : scalar Variable
        A bool, or a number that is compared to 0.
    then, otherwise : Variable, or sequences of as many Variables
        What only one of them needs is computed only if that one is chosen.

    Returns
    -------
    Variable, or list of Variable
        As ``then`` is one or a sequence.

    Raises
    ------
    DtypeError, ShapeError
        If the two can never have one type, naming both lines, or if the condition is not
        a scalar.
    GraphError
        If they are not of equal number.

    Notes
    -----
    The gradient is an ``ifelse`` of the gradients, as lazy as this one.  Expressions that
    only a branch needs become part of the choice: to ``grad`` and ``givens`` they are not
    in the graph any more; what they are made of is.
    """
    c = operand("ifelse", condition, "condition")
    if c.ndim:
        raise ShapeError("ifelse", "the condition is not a scalar", given=sides(condition=c),
                         fix="ops.where chooses element by element; ops.all(c) is one bool")  # fmt: skip
    c = c if c.dtype.kind == "b" else not_equal(c, 0)
    single = not isinstance(then, list | tuple)
    both = [[x] if not isinstance(x, list | tuple) else list(x) for x in (then, otherwise)]
    if len(both[0]) != len(both[1]) or single == isinstance(otherwise, list | tuple):
        raise GraphError("ifelse", "the branches are not of equal number",
                         given=f"then: {len(both[0])}, otherwise: {len(both[1])}")  # fmt: skip
    pairs = [operands("ifelse", then=x, otherwise=y) for x, y in zip(*both, strict=True)]
    for i, (x, y) in enumerate(pairs):
        check_same("ifelse", f"the branches differ in the {{}} of value {i}", then=x, otherwise=y)
    branches = [[x for x, _ in pairs], [y for _, y in pairs]]
    reached = [set(nodes(each)) for each in branches]
    outside = set(nodes(c)) | (reached[0] & reached[1])
    inside = _whole(nodes([*branches[0], *branches[1]]), outside)
    captured, fresh, outputs = enclose(inside, [*branches[0], *branches[1]])
    results = items(IfElse(tuple(fresh), tuple(merge(outputs))), c, *captured)
    return results[0] if single else results


def _whole(order: list[Apply], outside: set[Apply]) -> set[Apply]:
    """Return the nodes that are not outside; the items of a tuple stay where it is made."""
    inside: set[Apply] = set()
    for node in order:
        apart = isinstance(node.op, Item) and node.inputs[0].owner not in inside
        if node not in outside and not apart:
            inside.add(node)
    return inside
