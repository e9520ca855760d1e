"""Graphs as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from workbench.symbolic.function import Function
from workbench.symbolic.graph import Variable
from workbench.symbolic.values import Shared


def format_graph(x: Variable | Iterable[Variable] | Function) -> str:
    """Return a graph as an indented tree, each op above the inputs that it reads.

    Parameters
    ----------
    x : Variable, iterable of Variable, or Function
        A function shows its merged graph, and its updates as ``name <- tree``.

    Returns
    -------
    str
        One line a use of a variable.  Results are numbered ``#1``, ``#2``, ...; a
        result that is used again is shown by its number, followed by ``...``.

    Examples
    --------
    >>> x = symbolic.scalar("x")
    >>> print(format_graph(ops.exp(x) * x))
    multiply #1: float64 ()
    ├─ exp #2: float64 ()
    │  └─ x: float64 ()
    └─ x: float64 ()
    """
    roots: list[tuple[str, Variable]]
    if isinstance(x, Function):
        roots = [("", y) for y in x.outputs]
        roots += [(f"{s.label} <- ", y) for s, y in x.updates.items()]
    else:
        roots = [("", x)] if isinstance(x, Variable) else [("", y) for y in x]

    lines: list[str] = []
    numbers: dict[Variable, int] = {}
    # Each entry: what stands before the variable, before its children, and the variable.
    stack = [(head, "", y) for head, y in reversed(roots)]
    while stack:
        head, indent, y = stack.pop()
        if y.owner is None:
            kind = "shared " if isinstance(y, Shared) else ""
            lines.append(f"{head}{y.label}: {kind}{y.type}")
        elif y in numbers:
            lines.append(f"{head}{y.owner.op.name} #{numbers[y]} ...")
        else:
            numbers[y] = len(numbers) + 1
            name = f" {y.name!r}" if y.name else ""
            lines.append(f"{head}{y.owner.op.name}{name} #{numbers[y]}: {y.type}")
            inputs = y.owner.inputs
            for i, child in reversed(list(enumerate(inputs))):
                last = i == len(inputs) - 1
                stack.append((indent + ("└─ " if last else "├─ "),
                              indent + ("   " if last else "│  "), child))  # fmt: skip
    return "\n".join(lines)


def print_graph(x: Variable | Iterable[Variable] | Function, file: TextIO | None = None) -> None:
    """Print :func:`format_graph` to ``file``, or to standard output."""
    print(format_graph(x), file=file)
