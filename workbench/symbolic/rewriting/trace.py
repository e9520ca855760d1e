"""What was rewritten: every step, with the line of the user's program that it changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from workbench.symbolic.graph import Constant, Trace, Variable

_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**",
          "matmul": "@"}  # fmt: skip


def short(x: Variable, depth: int = 3) -> str:
    """Return an expression on one line, ``...`` where it is deeper than ``depth`` ops.

    Examples
    --------
    >>> short(ops.log(ops.softmax(z, axis=1)))
    'log(softmax(z, axis=1))'
    """
    node = x.owner
    if isinstance(x, Constant) and x.name is None:
        brief = np.array2string(np.asarray(x.data), threshold=4, edgeitems=1)
        return brief if x.data.size <= 4 else f"constant{list(x.shape)}"
    if node is None:
        return x.label
    if not depth:
        return x.name or "..."
    parts = [short(each, depth - 1) for each in node.inputs]
    if node.op.name in _INFIX and len(parts) == 2:
        return f"({parts[0]} {_INFIX[node.op.name]} {parts[1]})"
    if node.op.name == "negative":
        return f"-{parts[0]}"
    parts += [f"{k}={getattr(node.op, k)}" for k in ("axis", "axes") if hasattr(node.op, k)]
    return f"{node.op.name}({', '.join(parts)})"


@dataclass(frozen=True)
class Step:
    """One rewrite that fired.

    Attributes
    ----------
    rule, stage : str
        The names of the rule, and of the pass it fired in.
    before, after : Variable
    because : str
        What the rule is for.
    """

    rule: str
    stage: str
    before: Variable
    after: Variable
    because: str

    @property
    def trace(self) -> Trace:
        """The line of the user's program that built what was replaced."""
        return self.before.trace

    def __str__(self) -> str:
        return f"{self.stage}, {self.rule}: {short(self.before)}  ->  {short(self.after)}"


@dataclass
class Rewriting:
    """All that happened to a graph on its way through the passes.

    Attributes
    ----------
    steps : list of Step
        In the order in which they fired.
    stages : list of (str, list of Variable)
        The outputs as they were written, then after each pass that changed anything.
    """

    steps: list[Step] = field(default_factory=list)
    stages: list[tuple[str, list[Variable]]] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """How often each rule fired."""
        return Counter(step.rule for step in self.steps)

    def table(self, width: int = 48) -> str:
        """Return the steps as text: pass, rule, before, after, line; columns of at most ``width``."""
        rows = [("pass", "rule", "before", "after", "built at")]
        rows += [
            (s.stage, s.rule, short(s.before), short(s.after), str(s.trace)) for s in self.steps
        ]
        cut = [[c if len(c) <= width else c[: width - 3] + "..." for c in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
            for row in cut
        )

    def __str__(self) -> str:
        return self.table()
