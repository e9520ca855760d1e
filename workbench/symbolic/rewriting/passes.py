"""How rules are applied: one sweep over the graph a pass, each node brought to rest.

A sweep goes from the inputs to the outputs.  When it comes to a node, all that the node
reads is at rest already, so only rules whose pattern begins at its op need be tried, and
no node is met twice: work grows with the nodes and rewrites, not with their product.
Equal ops on equal inputs become one node on the way, as in :func:`~..graph.merge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from workbench.errors import GraphError
from workbench.symbolic import ops
from workbench.symbolic.graph import Apply, Constant, Type, Variable, nodes
from workbench.symbolic.rewriting.patterns import (
    ANY_OP,
    COMMUTATIVE,
    Call,
    Found,
    build,
    head,
    matches,
    read,
)
from workbench.symbolic.rewriting.products import factors, reassemble
from workbench.symbolic.rewriting.sizes import Sizes
from workbench.symbolic.rewriting.trace import Rewriting, Step, short

ROUNDING, DOMAIN = "rounding", "domain"
"""What rules may change; see :class:`Rule`."""
_DEPTH = 60
"""How deep rewrites may make room for others before it is clear that they never end."""


class Match:
    """A place where a rule's pattern stands; ``m.X`` is what the letter X stands for there.

    Attributes
    ----------
    y : Variable
        The whole expression; ``node`` is what makes it, and ``op`` the op of that.
    sizes : Sizes
    uses : Counter
        How often each variable of the graph is read.
    """

    __slots__ = ("found", "node", "op", "sizes", "uses", "y")

    def __init__(self, y: Variable, found: Found, sizes: Sizes, uses: Counter[Variable]) -> None:
        assert y.owner is not None
        self.op: Any = y.owner.op
        self.y, self.node, self.found, self.sizes, self.uses = y, y.owner, found, sizes, uses

    def __getattr__(self, letter: str) -> Any:
        return self.found[letter]


@dataclass(frozen=True, eq=False)
class Rule:
    """One row of the table: what is replaced by what, when that is legal, and what for.

    Every rule is refused where its result would have another dtype, or a shape that is
    not certainly the same.  ``when`` says what else must hold.

    Attributes
    ----------
    name : str
    pattern : str
        In the language of :mod:`~workbench.symbolic.rewriting.patterns`.
    replacement : str, or function of a Match
        A function returns None where it has nothing better.
    because : str
        One line: what is gained.
    changes : {"nothing", "rounding", "domain"}
        How the value may differ: in the last digits; or in that it is right where
        what was written makes infinity, zero or NaN on the way to a finite result.
        The sign of a zero is not kept.
    when : function of a Match
    anywhere : bool
        The pattern is a product or quotient whose two sides may stand anywhere in a
        larger product.
    counts_uses : bool
        ``when`` looks at ``m.uses``, so that what is refused may be legal later.
    heads : function of a tuple of str
        For a pattern of any op: a quick look at what makes its operands.
    """

    name: str
    pattern: str
    replacement: str | Callable[[Match], Variable | None]
    because: str
    changes: str = "nothing"
    when: Callable[[Match], bool] = lambda m: True
    anywhere: bool = False
    counts_uses: bool = False
    heads: Callable[[tuple[str, ...]], bool] = lambda heads: True
    left: Call = field(init=False)
    right: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "left", read(self.pattern))
        if isinstance(self.replacement, str):
            object.__setattr__(self, "right", read(self.replacement))

    def __str__(self) -> str:
        right = self.replacement if isinstance(self.replacement, str) else "..."
        return f"{self.pattern}  ->  {right}"

    def may_begin(self, op: str, heads: tuple[str, ...]) -> bool:
        """Return whether the rule may apply to an op on operands with these heads."""
        if self.anywhere:
            return op in ("multiply", "divide")
        return self.left.op in (op, ANY_OP) and self.left.could(heads) and self.heads(heads)

    def results(self, y: Variable, sizes: Sizes, uses: Counter[Variable]) -> Iterator[Variable]:
        """Return what the rule makes of ``y``, for every way in which it matches."""
        for found, rest in self._places(y):
            m = Match(y, found, sizes, uses)
            if not self.when(m):
                continue
            made = self.replacement(m) if callable(self.replacement) else build(self.right, found)
            if made is not None:
                z = rest(made)
                if self.anywhere and sizes(z) != sizes(y):
                    z = _as_long(z, y, m)
                if z is not y and z.dtype == y.dtype and sizes(z) == sizes(y):
                    yield z

    def _places(self, y: Variable) -> Iterator[tuple[Found, Callable[[Any], Variable]]]:
        if not self.anywhere:
            for found in matches(self.left, y, {}):
                yield found, lambda made: made
            return
        assert y.owner is not None
        a, b = y.owner.inputs
        quotient = self.left.op == "divide"
        for f in factors(a):
            for h in factors(b, below=y.owner.op.name == "divide"):
                if (f.below != h.below) != quotient or (f.below and not quotient):
                    continue
                # A quotient has an upper side; a product may be read either way round.
                for p, q in ((f, h), (h, f)):
                    if quotient and p.below:
                        continue
                    for found in matches(self.left.args[0], p.x, {}):
                        for both in matches(self.left.args[1], q.x, found):
                            yield both, partial(reassemble, y, f, h)


def _as_long(z: Variable, y: Variable, m: Match) -> Variable:
    """Return ``z`` repeated to the shape of ``y``, which a factor that is gone had given it."""
    wanted, have = m.sizes(y), m.sizes(z)
    tail = wanted[len(wanted) - len(have) :]
    if len(have) > len(wanted) or any(n not in (1, k) for n, k in zip(have, tail, strict=True)):
        return z
    if None not in y.shape:
        return ops.broadcast_to(z, y.shape)  # type: ignore[arg-type]
    like = (x for x in m.found.values() if isinstance(x, Variable) and m.sizes(x) == wanted)
    return next((ops.broadcast_to(z, ops.shape_of(x)) for x in like), z)


@dataclass(frozen=True, eq=False)
class Pass:
    """Rules that are applied together until none of them fires.

    Calling it with a list of outputs returns the list rewritten.  What fired is added to
    ``trace``, where that is given.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    _candidates: dict[Any, tuple[Rule, ...]] = field(default_factory=dict, repr=False)

    def __call__(
        self,
        outputs: Sequence[Variable],
        trace: Rewriting | None = None,
        memory: Memory | None = None,
    ) -> list[Variable]:
        """Return ``outputs`` rewritten.

        Passes that are given one ``memory`` do not try again what came to rest before.

        Raises
        ------
        GraphError
            If the rules go round in circles; names the last one.
        """
        memory = Memory() if memory is None else memory
        if self not in memory.sweeps:
            memory.sweeps[self] = _Sweep(self, memory)
        return memory.sweeps[self].run(list(outputs), Rewriting() if trace is None else trace)

    def candidates(self, node: Apply) -> tuple[Rule, ...]:
        """Return the rules whose pattern begins with this op, on operands with these heads."""
        key = (node.op.name, *map(head, node.inputs))
        rules = self._candidates.get(key)
        if rules is None:
            rules = tuple(r for r in self.rules if r.may_begin(key[0], key[1:]))
            if len(self._candidates) < 10_000:
                self._candidates[key] = rules
        return rules


class Memory:
    """What passes over one graph remember: its sizes, its nodes, what came to rest under each."""

    def __init__(self) -> None:
        self.sizes = Sizes()
        self.known: dict[Any, Variable] = {}
        self.sweeps: dict[Pass, _Sweep] = {}


class _Sweep:
    """The runs of a pass: what has come to rest, and as what."""

    def __init__(self, stage: Pass, memory: Memory) -> None:
        self.stage, self.sizes, self.known = stage, memory.sizes, memory.known
        self.rest: dict[Variable, Variable] = {}
        self.again: set[Variable] = set()

    def run(self, outputs: list[Variable], trace: Rewriting) -> list[Variable]:
        """Return ``outputs`` at rest."""
        order, rest, self.trace = nodes(outputs), self.rest, trace
        self.uses = Counter(x for node in order for x in node.inputs)
        self.uses.update(outputs)
        for x in self.uses:
            if x.owner is None and x not in rest:
                rest[x] = self._interned(x)
                self.sizes(x)
        again, self.again = self.again, set()
        for node in order:
            y = node.output
            if y in rest and (y in again or any(rest[x] is not x for x in node.inputs)):
                del rest[y]
            if y not in rest:
                self._settle(y, y, 0)
        return [rest[y] for y in outputs]

    def _settle(self, x: Variable, origin: Variable, depth: int) -> Variable:
        """Return what ``x`` is at rest; what is new in it came of rewriting ``origin``."""
        seen: list[Variable] = []
        while x not in self.rest:
            seen.append(x)
            if x.owner is None:
                x = self.rest[x] = self._interned(x)
                break
            if depth > _DEPTH or len(seen) > _DEPTH:
                raise self._endless()
            if x is not origin:  # Just built, by a rule.
                x.trace = origin.trace
            inputs = tuple(
                self.rest[i] if i in self.rest else self._settle(i, origin, depth + 1)
                for i in x.owner.inputs
            )
            y = self._interned(x, inputs)
            if y in self.rest:
                x = y
                break
            z = self._fired(y, origin, depth)
            if z is None:
                self.rest[y] = y
            else:
                seen.append(y)
            x = y if z is None else z
        x = self.rest[x]
        for each in seen:
            self.rest[each] = x
        return x

    def _interned(self, x: Variable, inputs: tuple[Variable, ...] = ()) -> Variable:
        """Return the one variable for this op on these inputs, or for this small constant."""
        if x.owner is None:
            if isinstance(x, Constant) and isinstance(x.data, np.ndarray) and x.data.size <= 64:
                return self.known.setdefault((x.type, x.data.tobytes()), x)
            return x
        op = x.owner.op
        key: Any = (op, inputs)
        if op.name in COMMUTATIVE:
            key = (op, frozenset(inputs))
        y = self.known.get(key)
        if y is None:
            y = x
            if inputs != x.owner.inputs:
                y = Apply(op, inputs).output
                y.name, y.trace = x.name, x.trace
            self.known[key] = y
        elif y is not x and x in self.uses:
            self._log("merge", x, y, "equal ops on equal inputs are one computation")
        return y

    def _fired(self, y: Variable, origin: Variable, depth: int) -> Variable | None:
        """Return what the first rule that applies to ``y`` makes of it."""
        if not isinstance(y.type, Type):  # A tuple has parts, but no algebra.
            return None
        self.sizes(y)
        assert y.owner is not None
        for rule in self.stage.candidates(y.owner):
            if rule.counts_uses:
                self.again.add(y)
            for z in rule.results(y, self.sizes, self.uses):
                if z not in self.rest:
                    z.trace, z.name = y.trace, z.name or y.name
                self._log(rule.name, y, z, rule.because)
                return z
        return None

    def _log(self, rule: str, before: Variable, after: Variable, because: str) -> None:
        self.trace.steps.append(Step(rule, self.stage.name, before, after, because))

    def _endless(self) -> GraphError:
        step = self.trace.steps[-1]
        return GraphError(f"the pass {self.stage.name!r}", f"the rule {step.rule!r} never comes "
                          "to rest", given=f"{short(step.before)} became {short(step.after)}, "
                          f"built at {step.trace}",
                          fix="a replacement must not match the pattern again")  # fmt: skip
