"""Differentiation from graph to graph: the gradient of an expression is an expression.

Reverse accumulation (Speelpenning, "Compiling fast partial derivatives of functions
given by algorithms", 1980), done on symbols as Theano did it.  What comes out is
ordinary graph, so ``grad`` of ``grad`` needs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from workbench.errors import DtypeError, GraphError, ShapeError, unknown_name
from workbench.symbolic.graph import Apply, Variable, gradient_of, nodes, sides
from workbench.symbolic.ops import cast, zeros_like
from workbench.symbolic.values import as_constant


@overload
def grad(cost: Variable, wrt: Variable, disconnected: str = "raise") -> Variable: ...
@overload
def grad(
    cost: Variable, wrt: Sequence[Variable], disconnected: str = "raise"
) -> list[Variable]: ...
def grad(
    cost: Variable, wrt: Variable | Sequence[Variable], disconnected: str = "raise"
) -> Variable | list[Variable]:
    """Return the gradient of a scalar expression, as an expression.

    Parameters
    ----------
    cost : Variable, shape ()
        Of a floating dtype.
    wrt : Variable or sequence of Variable
        Inputs, shared variables or intermediate results, of floating dtypes.
    disconnected : {"raise", "zero"}
        What to do about a variable that ``cost`` does not depend on smoothly.

    Returns
    -------
    Variable or list of Variable
        For each of ``wrt``, an expression of its shape and dtype.

    Raises
    ------
    ShapeError
        If ``cost`` is not a scalar.
    DtypeError
        If ``cost`` or one of ``wrt`` is not floating.
    GraphError
        If one of ``wrt`` is disconnected; names the ops where a path to it ends, and why.
    """
    targets = [wrt] if isinstance(wrt, Variable) else list(wrt)
    _check(cost, targets, disconnected)
    active, ends = _active(nodes(cost), targets)

    total: dict[Variable, Variable] = {cost: as_constant(1, "grad", dtype=cost.dtype)}
    for node in reversed(active):
        g = total.get(node.output)
        if g is None:
            continue
        with gradient_of(node):
            each = node.op.gradient(node.inputs, node.output, g)
            for x, dx in zip(node.inputs, each, strict=True):
                if dx is None or x.dtype.kind != "f":
                    continue
                if dx.ndim != x.ndim:
                    raise ShapeError(node.op.name, "its gradient has another shape than its input",
                                     given=sides(gradient=dx, x=x))  # fmt: skip
                dx = cast(dx, x.dtype)
                total[x] = total[x] + dx if x in total else dx

    for i, x in enumerate(targets):
        if x in total:
            continue
        if disconnected == "raise":
            raise _disconnected(cost, x, i, ends)
        total[x] = zeros_like(x)
    results = [total[x] for x in targets]
    return results[0] if isinstance(wrt, Variable) else results


def _active(order: list[Apply], targets: list[Variable]) -> tuple[list[Apply], list[Apply]]:
    """Return the nodes that carry a change of a target on, and those where one ends."""
    moved, active, ends = set(targets), [], []
    for node in order:
        if moved.isdisjoint(node.inputs):
            continue
        if node.op.no_gradient or node.output.dtype.kind != "f":
            ends.append(node)
        else:
            moved.add(node.output)
            active.append(node)
    return active, ends


def _disconnected(cost: Variable, x: Variable, i: int, ends: list[Apply]) -> GraphError:
    _, mine = _active([*nodes(cost)], [x])
    reasons = [
        f"{node.op.name} ({node.op.no_gradient or f'its result is {node.output.dtype}'})"
        for node in mine
    ]
    problem = f"cost does not depend on wrt[{i}], {x.label!r}"
    if reasons:
        problem += ", but through " + ", ".join(dict.fromkeys(reasons))
    return GraphError("grad", problem, given=sides(cost=cost, **{f"wrt[{i}]": x}),
                      fix='disconnected="zero" returns zeros instead')  # fmt: skip


def _check(cost: Variable, targets: list[Variable], disconnected: str) -> None:
    if disconnected not in ("raise", "zero"):
        raise unknown_name("grad", "way to treat disconnected", disconnected, ("raise", "zero"))
    for name, x in [("cost", cost), *((f"wrt[{i}]", x) for i, x in enumerate(targets))]:
        if not isinstance(x, Variable):
            raise GraphError("grad", f"{name} is not an expression", given=repr(x),
                             expected="a Variable: grad works on graphs")  # fmt: skip
        if x.dtype.kind != "f":
            raise DtypeError("grad", f"{name} does not vary smoothly", given=sides(**{name: x}),
                             expected="a floating dtype")  # fmt: skip
    if cost.ndim:
        raise ShapeError("grad", "cost is not a scalar", given=sides(cost=cost),
                         fix="reduce it first: cost.sum() or cost.mean()")  # fmt: skip
