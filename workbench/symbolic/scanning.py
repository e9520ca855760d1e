"""``scan``: a loop inside the graph, over sequences, with outputs carried along.

Theano's scan and its gradient: a loop backwards over what the first loop carried, which
computes the insides of each step again instead of keeping them.
"""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.arrays import Array, namespace
from workbench.compiler import Builder, Value
from workbench.compiler import Type as Known
from workbench.errors import GraphError, OptionError, ShapeError
from workbench.symbolic.gradient import pullback
from workbench.symbolic.graph import (
    Constant,
    Gradients,
    Inputs,
    Item,
    NotKnown,
    Operand,
    TupleType,
    Type,
    Variable,
    apply,
    leaves,
    merge,
    nodes,
    rebuild,
    sides,
)
from workbench.symbolic.ops import cast, concatenate, expand_dims, shape_of, zeros_like
from workbench.symbolic.regions import Loop, Region, items, returned
from workbench.symbolic.values import operand, operands


@dataclass(frozen=True, eq=False)
class Scan(Region):
    """A body run ``steps`` times.

    Inside, its inputs are what is carried, one element of each sequence, and what stays
    the same; its outputs what is carried to the next step, then what the step yields.
    The node's inputs are the number of steps, then the first carry, the sequences, and
    what stays the same; its tuple holds the last carry, then all yields, stacked.  If
    ``reverse``, the first step is that of the last index.
    """

    n_carry: int
    n_sequences: int
    reverse: bool = False
    name: str = "scan"
    lead = 1

    def _parts(self, each: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        n, m = self.n_carry, self.n_carry + self.n_sequences
        return list(each[:n]), list(each[n:m]), list(each[m:])

    def _check(self, steps: int, shapes: Sequence[Any]) -> None:
        if steps < 0:
            raise ShapeError(self.name, f"cannot make {steps} steps")
        for i, shape in enumerate(shapes):
            if shape[0] != steps:
                raise ShapeError(self.name, f"sequence {i} has {shape[0]} elements, and there are "
                                 f"{steps} steps", fix="cut the longer ones: x[:n]")  # fmt: skip

    def _check_carry(self, carry: Sequence[Any], made: Sequence[Any], when: str) -> None:
        for i, (before, after) in enumerate(zip(carry, made, strict=False)):
            if before.shape != after.shape:
                j = self._yield_of(i)
                raise ShapeError(self.name, f"output {i if j is None else j} changes its shape in "
                                 f"{when}, from {before.shape} to {after.shape}")  # fmt: skip

    def _yield_of(self, i: int) -> int | None:
        """Return which yield, if any, is what becomes of the carry ``i`` at each step."""
        yields = self.outputs[self.n_carry :]
        return next((j for j, y in enumerate(yields) if y is self.outputs[i]), None)

    def infer(self, *inputs: Variable) -> TupleType:
        steps, *rest = inputs
        _, sequences, _ = self._parts(rest)
        lengths = {x.shape[0]: x for x in sequences if x.shape[0] is not None}
        if isinstance(steps, Constant):
            lengths.setdefault(int(steps.data), steps)
        if len(lengths) > 1:
            (m, x), (n, y), *_ = lengths.items()
            raise ShapeError(self.name, f"the sequences have {m} and {n} elements",
                             given=sides(first=x, second=y), fix="cut the longer: x[:n]")  # fmt: skip
        length = next(iter(lengths), None)
        n = self.n_carry
        return TupleType((
            *(x.type for x in self.inputs[:n]),
            *(Type(y.dtype, (length, *y.shape)) for y in self.outputs[n:]),
        ))  # fmt: skip

    def compute(self, *inputs: Array) -> tuple[Array, ...]:
        count, *rest = inputs
        steps, n = int(count), self.n_carry
        carry, sequences, fixed = self._parts(rest)
        self._check(steps, [s.shape for s in sequences])
        rows = []
        for t in reversed(range(steps)) if self.reverse else range(steps):
            made = self.run(f"step {t}", [*carry, *(s[t, ...] for s in sequences), *fixed])
            self._check_carry(carry, made, f"step {t}")
            carry = made[:n]
            rows.append(made[n:])
        if self.reverse:
            rows.reverse()
        if rows:
            return *carry, *(namespace(each[0]).stack(each) for each in zip(*rows, strict=True))
        yields: Sequence[Any] = self.outputs[n:]
        if any(None in y.shape for y in yields):  # Run once, to see the shapes.
            zeros = [namespace(s).zeros(s.shape[1:], s.dtype) for s in sequences]
            yields = self.run("no step", [*carry, *zeros, *fixed], n)
        return *carry, *(namespace(*rest).zeros((0, *y.shape), y.dtype) for y in yields)

    def gradient(self, inputs: Inputs, output: Variable, g: Sequence[Variable | None]) -> Gradients:
        steps, *outer = inputs
        outside = dict(zip(self.inputs, outer, strict=True))
        carry, elements, constants = self._parts(self.inputs)
        after, yields = self.outputs[: self.n_carry], self.outputs[self.n_carry :]

        # Inside: the gradients of the carry after a step, and of what the step yields.
        dc = {x: Variable(x.type, f"g of {x.label}") for x in carry if _smooth(x)}
        ends = [(y, dc[x]) for x, y in zip(carry, after, strict=True) if x in dc]
        given = {Variable(y.type, "g"): (y, gy)
                 for y, gy in zip(yields, g[len(carry) :], strict=True) if gy is not None}  # fmt: skip
        ends += [(y, dy) for dy, (y, _) in given.items()]
        wrt = [x for x in self.inputs if _smooth(x)]
        slopes = zip(wrt, pullback([y for y, _ in ends], [gy for _, gy in ends], wrt), strict=True)
        slope = {x: dx for x, dx in slopes if dx is not None}

        # Backwards go the gradients of the carry, and the sums of those of what is fixed.
        sums = {x: Variable(x.type, f"sum of g of {x.label}") for x in constants if x in slope}
        before = [*dc.values(), *sums.values()]
        start = [zeros_like(outside[x]) if gx is None else gx
                 for x, gx in zip(carry, g, strict=False) if x in dc]  # fmt: skip
        start += [zeros_like(outside[x]) for x in sums]
        made = [slope.get(x, zeros_like(x)) for x in dc]
        made += [total + slope[x] for x, total in sums.items()]
        moved = [x for x in elements if x in slope]
        made, shapes = _shapes_from(carry, [*made, *(slope[x] for x in moved)])
        # What passes through unchanged is no carry: it is fixed.
        moving = [i for i, x in enumerate(before) if made[i] is not x]

        # Of each step it reads what was carried into it, the elements, and the gradients.
        sources = self._histories(output, outside) | {x: outside[x] for x in elements}
        sources |= {dy: gy for dy, (_, gy) in given.items()}
        fixed = {x: outside[x] for x in constants} | {y: outside[x] for x, y in shapes.items()}
        fixed |= {x: start[i] for i, x in enumerate(before) if i not in moving}
        used = set(leaves(made))
        xs, ks = [x for x in sources if x in used], [x for x in fixed if x in used]
        # The gradients of the carry are yielded too: a second gradient reads them.
        kept = [made[i] for i in moving if i < len(dc)]
        op = Scan(
            (*(before[i] for i in moving), *xs, *ks),
            (*(made[i] for i in moving), *made[len(before) :], *kept),
            len(moving), len(xs), not self.reverse, f"gradient of {self.name}",
        )  # fmt: skip
        results = items(op, steps, *(start[i] for i in moving), *(sources[x] for x in xs),
                        *(fixed[x] for x in ks))  # fmt: skip
        finals = dict(zip(moving, results, strict=False))
        result = {x: finals.get(i, start[i]) for i, x in enumerate([*dc, *sums])}
        result |= zip(moved, results[len(moving) :], strict=False)
        return [None, *(result.get(x) for x in self.inputs)]

    def _histories(
        self, output: Variable, outside: dict[Variable, Variable]
    ) -> dict[Variable, Variable]:
        """Return, for each carry that is yielded, what was carried into each step, stacked."""
        result = {}
        for i, x in enumerate(self.inputs[: self.n_carry]):
            if (j := self._yield_of(i)) is not None:
                first = expand_dims(outside[x], 0)
                made = apply(Item(self.n_carry + j), output)
                result[x] = (concatenate([made, first])[1:] if self.reverse
                             else concatenate([first, made])[:-1])  # fmt: skip
        return result

    def lower(self, b: Builder, *inputs: Value) -> tuple[Value, ...]:
        count, *rest = inputs
        steps = b.known(count)
        if steps is None:
            raise NotKnown(0)
        carry, sequences, fixed = self._parts(rest)
        self._check(int(steps), [s.shape for s in sequences])
        types = [
            *(x.type for x in carry), *(Known(s.dtype, s.shape[1:]) for s in sequences),
            *(x.type for x in fixed),
        ]  # fmt: skip
        body = self.program(b, types, [None] * (len(types) - len(fixed)) + fixed)
        self._check_carry(carry, body.outputs, "a step")
        return b.scan(carry, sequences, fixed, body, int(steps), self.reverse)


def _shapes_from(
    carry: Sequence[Variable], outputs: Sequence[Variable]
) -> tuple[list[Variable], dict[Variable, Variable]]:
    """Let what asks only for the shape of a carry ask it of a stand-in, which does not move."""
    stand_ins: dict[Variable, Variable] = {}
    replaced: dict[Variable, Variable] = {}
    for node in nodes(outputs):
        if node.op.shape_only and node.inputs[0] in carry:
            x = node.inputs[0]
            stand_in = stand_ins.setdefault(x, Variable(x.type, f"first {x.label}"))
            replaced[node.output] = apply(node.op, stand_in)
    return merge(rebuild(outputs, replaced)), stand_ins


def _smooth(x: Variable) -> bool:
    return x.dtype.kind == "f"


def scan(
    fn: Callable[..., Any],
    sequences: Operand | Sequence[Operand] = (),
    outputs_info: Any = (),
    non_sequences: Operand | Sequence[Operand] = (),
    n_steps: int | Variable | None = None,
    go_backwards: bool = False,
    name: str | None = None,
) -> Any:
    """Return what a function makes at each step of a loop, stacked.

    Parameters
    ----------
    fn : callable
        Called once, with expressions: one element of each sequence, then the previous
        value of each output that has one, then the non-sequences.  Returns the new
        outputs, one or a list.  What else it mentions becomes a non-sequence.
    sequences : Variable or sequence of Variable
        Run along their first axis, together.
    outputs_info : for each output, its value before the first step, or None
        None where an output is not carried to the next step; absent ones are None.
    non_sequences : Variable or sequence of Variable
        The same in every step.
    n_steps : int or integer scalar Variable, optional
        The length of the sequences where absent; longer ones are cut.
    go_backwards : bool
        Take the sequences from their end; the outputs are in the order of the steps.
    name : str, optional
        For error messages and profiles.

    Returns
    -------
    Variable, or list of Variable
        As ``fn`` returned one output or a list: each with a new first axis, one entry a
        step, the initial value not among them.

    Raises
    ------
    DtypeError, ShapeError
        If a carried output changes its type from step to step, naming it and both lines,
        or if the sequences have different lengths.
    GraphError
        If ``fn`` returns updates, a stopping condition, or too few outputs.

    Notes
    -----
    Random streams drawn from inside ``fn`` give new numbers at each step.

    Examples
    --------
    >>> x = symbolic.vector("x")
    >>> sums = symbolic.scan(lambda x_t, total: total + x_t, x, outputs_info=0.0)
    """
    where = name or "scan"
    groups = {"sequences": _listed(sequences), "outputs_info": _listed(outputs_info),
              "non_sequences": _listed(non_sequences)}  # fmt: skip
    for kind, values in groups.items():
        for i, value in enumerate(values):
            if isinstance(value, dict):
                raise OptionError(where, f"{kind}[{i}] is a dict, and there are no taps here",
                                  given=repr(value)[:200], expected="an expression",
                                  fix="carry what is older as an output of its own")  # fmt: skip
    flat = {f"{kind}[{i}]": value for kind, values in groups.items()
            for i, value in enumerate(values) if value is not None}  # fmt: skip
    given = dict(zip(flat, operands(where, **flat), strict=True)) if flat else {}
    xs = [given[f"sequences[{i}]"] for i in range(len(groups["sequences"]))]
    infos = [given.get(f"outputs_info[{i}]") for i in range(len(groups["outputs_info"]))]
    fixed = [given[f"non_sequences[{i}]"] for i in range(len(groups["non_sequences"]))]
    for i, x in enumerate(xs):
        operand(where, x, f"sequences[{i}]", ndim=1)
    xs = [x[::-1] for x in xs] if go_backwards else xs
    steps, xs = _steps(where, n_steps, xs)

    single = True

    def body(*inside: Variable) -> list[Variable]:
        nonlocal single
        made = fn(*inside, *fixed)
        single = not isinstance(made, list | tuple)
        return returned(where, made, "a loop that stops on a condition is while_loop")

    elements = [Variable(Type(x.dtype, x.shape[1:]), f"{x.label}[t]") for x in xs]
    loop = Loop(where, [x for x in infos if x is not None], elements, body)
    made = list(loop.made)
    if len(infos) > len(made):
        raise GraphError(where, f"fn returned {len(made)} output{'s' * (len(made) != 1)}, and "
                         f"outputs_info has {len(infos)}", expected="one entry an output")  # fmt: skip
    carried = [i for i, info in enumerate(infos) if info is not None]
    loop.close({i: made[i] for i in carried})
    inputs, outputs, captured = loop.region([*loop.after, *loop.made, *loop.after[len(carried) :]])
    n = len(loop.carry)
    op = Scan(inputs, outputs, n, len(xs), name=where)
    results = items(op, steps, *loop.initial, *xs, *captured)
    loop.finish(results[len(carried) : n])
    stacked = results[n : n + len(made)]
    return stacked[0] if single else stacked


def _listed(values: Any) -> list[Any]:
    if values is None:
        return []
    return list(values) if isinstance(values, list | tuple) else [values]


def _steps(
    where: str, n_steps: int | Variable | None, xs: list[Variable]
) -> tuple[Variable, list[Variable]]:
    """Return the number of steps as an expression, and the sequences cut to it."""
    if n_steps is None:
        if not xs:
            raise OptionError(where, "nothing says how many steps to make",
                              expected="sequences, or n_steps")  # fmt: skip
        known = [x for x in xs if x.shape[0] is not None]
        return shape_of((known or xs)[0])[0], xs
    steps = operand(where, n_steps, "n_steps", dtype="iu")
    if steps.ndim or (isinstance(steps, Constant) and steps.data < 0):
        raise OptionError(where, "n_steps is not a number of steps", given=sides(n_steps=steps),
                          expected="one integer, 0 or more",
                          fix="go_backwards=True runs the other way")  # fmt: skip
    steps = cast(steps, np.int64)
    if isinstance(steps, Constant):
        n = int(steps.data)
        for i, x in enumerate(xs):
            if x.shape[0] is not None and x.shape[0] < n:
                raise ShapeError(where, f"sequences[{i}] has fewer than {n} elements",
                                 given=sides(x=x, n_steps=steps))  # fmt: skip
        return steps, [x[:n] for x in xs]
    return steps, [x[:steps] for x in xs]
