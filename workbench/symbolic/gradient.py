"""Differentiation from graph to graph: the gradient of an expression is an expression.

Reverse accumulation (Speelpenning, "Compiling fast partial derivatives of functions
given by algorithms", 1980), done on symbols as Theano did it.  What comes out is
ordinary graph, so ``grad`` of ``grad`` needs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, unknown_name
from workbench.symbolic import ops
from workbench.symbolic.graph import (
    Apply,
    Gradients,
    Inputs,
    Item,
    NoGradient,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    gradient_of,
    item_types,
    nodes,
    sides,
)
from workbench.symbolic.ops import cast, zeros_like
from workbench.symbolic.values import as_constant, operand

Targets: TypeAlias = Variable | Sequence[Variable]
UNROLLED = 32
"""The longest vector whose Jacobian is written out row by row, and not as a loop."""


@overload
def grad(
    cost: Variable, wrt: Variable, disconnected: Literal["raise", "zero"] = "raise",
    consider_constant: Iterable[Variable] = (),
) -> Variable: ...  # fmt: skip
@overload
def grad(
    cost: Variable, wrt: Sequence[Variable], disconnected: Literal["raise", "zero"] = "raise",
    consider_constant: Iterable[Variable] = (),
) -> list[Variable]: ...  # fmt: skip
@overload
def grad(
    cost: Variable, wrt: Variable, disconnected: Literal["none"],
    consider_constant: Iterable[Variable] = (),
) -> Variable | None: ...  # fmt: skip
@overload
def grad(
    cost: Variable, wrt: Sequence[Variable], disconnected: Literal["none"],
    consider_constant: Iterable[Variable] = (),
) -> list[Variable | None]: ...  # fmt: skip
def grad(
    cost: Variable, wrt: Targets, disconnected: str = "raise",
    consider_constant: Iterable[Variable] = (),
) -> Any:  # fmt: skip
    """Return the gradient of a scalar expression, as an expression.

    Parameters
    ----------
    cost : Variable, shape ()
        Of a floating dtype.
    wrt : Variable or sequence of Variable
        Inputs, shared variables or intermediate results, of floating dtypes.
    disconnected : {"raise", "zero", "none"}
        What to do about a variable that ``cost`` does not depend on smoothly: refuse,
        return zeros, or return None.
    consider_constant : iterable of Variable, optional
        No gradient flows back through these, as if they were constants; see also
        :func:`consider_constant`.

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
    frozen = frozenset(_frozen(consider_constant))
    active, _ = _active(nodes(cost), targets, frozen)

    total: dict[Variable, Variable] = {cost: as_constant(1, "grad", dtype=cost.dtype)}
    _accumulate(active, total)

    results: list[Variable | None] = [total.get(x) for x in targets]
    for i, x in enumerate(targets):
        if x in total or disconnected == "none":
            continue
        if disconnected == "raise":
            raise _disconnected(cost, x, i, frozen)
        results[i] = zeros_like(x)
    return results[0] if isinstance(wrt, Variable) else results


def pullback(
    outputs: Sequence[Variable], gs: Sequence[Variable], wrt: Sequence[Variable]
) -> list[Variable | None]:
    """Return, for each of ``wrt``, the sum of each ``g`` times the slope of its output.

    None stands for zero: no output depends on it smoothly.
    """
    total: dict[Variable, Variable] = {}
    for y, g in zip(outputs, gs, strict=True):
        total[y] = total[y] + g if y in total else g
    _accumulate(_active(nodes(outputs), list(wrt))[0], total)
    return [total.get(x) for x in wrt]


def _accumulate(active: list[Apply], total: dict[Variable, Variable]) -> None:
    """Carry the gradients in ``total`` back, through these nodes, to all that they read."""
    parts: dict[Variable, list[Variable | None]] = {}  # Of a tuple: the gradient of each item.
    for node in reversed(active):
        g: Any = parts.get(node.output) or total.get(node.output)
        if g is None:
            continue
        if isinstance(node.op, Item):
            (x,), i = node.inputs, node.op.i
            mine = parts.setdefault(x, [None] * len(item_types(x)))
            so_far = mine[i]
            mine[i] = g if so_far is None else so_far + g
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


def _active(
    order: list[Apply], targets: list[Variable], frozen: frozenset[Variable] = frozenset()
) -> tuple[list[Apply], list[str]]:
    """Return the nodes that carry a change of a target on, and why others end it."""
    moved, active, ends = set(targets), [], []
    for node in order:
        if moved.isdisjoint(node.inputs):
            continue
        y = node.output
        why = node.op.no_gradient
        if y.dtype.kind not in "fO":  # O: a tuple.
            why = why or f"its result is {y.dtype}"
        elif y in frozen:
            why = "it is among consider_constant"
        if why:
            ends.append(f"{node.op.name} ({why})")
        else:
            moved.add(y)
            active.append(node)
    return active, ends


def _disconnected(cost: Variable, x: Variable, i: int, frozen: frozenset[Variable]) -> GraphError:
    _, reasons = _active(nodes(cost), [x], frozen)
    problem = f"cost does not depend on wrt[{i}], {x.label!r}"
    if reasons:
        problem += ", but through " + ", ".join(dict.fromkeys(reasons))
    return GraphError("grad", problem, given=sides(cost=cost, **{f"wrt[{i}]": x}),
                      fix='disconnected="zero" returns zeros instead')  # fmt: skip


def _check(cost: Variable, targets: list[Variable], disconnected: str) -> None:
    known = ("raise", "zero", "none")
    if disconnected not in known:
        raise unknown_name("grad", "way to treat disconnected", disconnected, known)
    _check_floating("grad", cost, targets, "cost")
    if cost.ndim:
        raise ShapeError("grad", "cost is not a scalar", given=sides(cost=cost),
                         fix="reduce it first: cost.sum() or cost.mean()")  # fmt: skip


def _check_floating(
    where: str, y: Variable, targets: list[Variable], what: str = "expression"
) -> None:
    for name, x in [(what, y), *((f"wrt[{i}]", x) for i, x in enumerate(targets))]:
        if not isinstance(x, Variable):
            raise GraphError(where, f"{name} is not an expression", given=repr(x),
                             expected=f"a Variable: {where} works on graphs")  # fmt: skip
        if x.dtype.kind != "f":
            raise DtypeError(where, f"{name} does not vary smoothly", given=sides(**{name: x}),
                             expected="a floating dtype")  # fmt: skip


def _frozen(consider_constant: Iterable[Variable]) -> list[Variable]:
    if isinstance(consider_constant, Variable):
        return [consider_constant]
    listed = list(consider_constant)
    for i, x in enumerate(listed):
        if not isinstance(x, Variable):
            raise GraphError("grad", f"consider_constant[{i}] is not an expression", given=repr(x),
                             expected="the expressions that no gradient is to pass")  # fmt: skip
    return listed


# --- where no gradient is wanted -----------------------------------------------------------


@dataclass(frozen=True)
class Unmoved(Op):
    """The input itself, of which the gradient is zero."""

    name = "consider_constant"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        """Return the type of the input."""
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        """Return the input."""
        return inputs[0]

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        """Return zeros."""
        return (zeros_like(inputs[0]),)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        """Return the input."""
        return inputs[0]


class Unconnected(NoGradient, Unmoved):
    """The input itself, on which nothing depends as far as ``grad`` can see."""

    name = "disconnected"
    no_gradient = "disconnected was asked for"


def consider_constant(x: Operand) -> Variable:
    """Return ``x``, through which the gradient is zero.

    Its value may still change from call to call: this is what others call stop_gradient.
    """
    return apply(Unmoved(), operand("consider_constant", x))


def disconnected(x: Operand) -> Variable:
    """Return ``x``, as if nothing were connected to it: ``grad`` reports or zeroes that."""
    return apply(Unconnected(), operand("disconnected", x))


# --- more than one slope at a time ---------------------------------------------------------


def jacobian(
    expression: Variable, wrt: Targets, disconnected: Literal["raise", "zero"] = "raise",
    consider_constant: Iterable[Variable] = (),
) -> Any:  # fmt: skip
    """Return the derivative of each element of a vector, as an expression.

    Parameters
    ----------
    expression : Variable, shape (M,) or ()
    wrt : Variable or sequence of Variable
    disconnected : {"raise", "zero"}
    consider_constant : iterable of Variable, optional
        See :func:`grad`.

    Returns
    -------
    Variable or list of Variable
        For each x of ``wrt``, of shape (M, *x.shape): one gradient for each element.
        They are written out one by one where M is known and small, and made by a
        ``scan`` over the elements where it is not.

    Raises
    ------
    ShapeError
        If ``expression`` has more than one axis.
    DtypeError, GraphError
        As :func:`grad`.
    """
    if not isinstance(expression, Variable) or not expression.ndim:
        return grad(expression, wrt, disconnected, consider_constant)
    if expression.ndim > 1:
        raise ShapeError("jacobian", "expression has more than one axis",
                         given=sides(expression=expression),
                         fix="expression.reshape(-1) is a vector")  # fmt: skip
    targets, frozen = _listed(wrt), _frozen(consider_constant)

    def row(i: Any) -> list[Variable]:
        return grad(expression[i], targets, disconnected, frozen)

    n = expression.shape[0]
    if n is not None and 0 < n <= UNROLLED:
        each = zip(*map(row, range(n)), strict=True)
        results = [ops.concatenate([ops.expand_dims(g, 0) for g in rows]) for rows in each]
    else:
        from workbench.symbolic.scanning import scan

        results = _listed(scan(row, sequences=ops.arange(ops.shape_of(expression)[0])))
    return results[0] if isinstance(wrt, Variable) else results


def hessian(
    cost: Variable, wrt: Targets, consider_constant: Iterable[Variable] = ()
) -> Any:  # fmt: skip
    """Return the second derivatives of a scalar expression, as an expression.

    Parameters
    ----------
    cost : Variable, shape ()
    wrt : Variable or sequence of Variable, shapes (N,) or ()
    consider_constant : iterable of Variable, optional
        See :func:`grad`.

    Returns
    -------
    Variable or list of Variable
        For each of ``wrt``, of shape (N, N): without those that mix two of ``wrt``.

    Raises
    ------
    ShapeError
        If ``cost`` is not a scalar, or one of ``wrt`` has more than one axis.
    DtypeError, GraphError
        As :func:`grad`.
    """
    frozen = _frozen(consider_constant)
    results = []
    for i, x in enumerate(_listed(wrt)):
        if isinstance(x, Variable) and x.ndim > 1:
            raise ShapeError("hessian", f"wrt[{i}] has more than one axis",
                             given=sides(**{f"wrt[{i}]": x}),
                             fix="differentiate by a vector, reshaped inside the graph")  # fmt: skip
        results.append(jacobian(grad(cost, x, "raise", frozen), x, "zero", frozen))
    return results[0] if isinstance(wrt, Variable) else results


def l_operator(expression: Variable, wrt: Targets, g: Operand) -> Any:
    """Return ``g`` times the Jacobian of an expression, without the Jacobian.

    Parameters
    ----------
    expression : Variable
    wrt : Variable or sequence of Variable
    g : Variable or array_like, of the shape of ``expression``

    Returns
    -------
    Variable or list of Variable
        For each of ``wrt``, of its shape; zeros if ``expression`` does not depend on it.

    Raises
    ------
    ShapeError, DtypeError, GraphError
        For a ``g`` of another shape; for what has no slope.
    """
    targets = _listed(wrt)
    _check_floating("l_operator", expression, targets)
    g = _like("l_operator", "g", g, expression)
    results = [
        zeros_like(x) if d is None else d
        for x, d in zip(targets, pullback([expression], [g], targets), strict=True)
    ]
    return results[0] if isinstance(wrt, Variable) else results


def r_operator(
    expression: Variable, wrt: Targets, direction: Operand | Sequence[Operand]
) -> Variable:
    """Return the Jacobian of an expression times a direction: its slope along that.

    What goes backwards is linear in what comes in at its end, so its own derivative is
    the way forwards: two gradients make one forward derivative.

    Parameters
    ----------
    expression : Variable
    wrt : Variable or sequence of Variable
    direction : Variable or array_like, or a sequence of them as ``wrt`` is one
        Of the shapes of ``wrt``.

    Returns
    -------
    Variable, of the shape of ``expression``

    Raises
    ------
    ShapeError, DtypeError, GraphError, OptionError
        For directions that do not fit ``wrt``; for what has no slope.
    """
    targets = _listed(wrt)
    directions: list[Any] = [direction] if isinstance(wrt, Variable) else [*direction]  # type: ignore[misc]
    if len(directions) != len(targets):
        raise OptionError("r_operator", "direction does not go with wrt",
                          given=f"{len(directions)} directions", expected=f"{len(targets)}")  # fmt: skip
    _check_floating("r_operator", expression, targets)
    along = [
        _like("r_operator", f"direction[{i}]", v, x)
        for i, (x, v) in enumerate(zip(targets, directions, strict=True))
    ]
    end = zeros_like(expression)  # Any value would do: nothing of it is left.
    back = pullback([expression], [end], targets)
    pairs = [(slope, v) for slope, v in zip(back, along, strict=True) if slope is not None]
    (result,) = pullback([slope for slope, _ in pairs], [v for _, v in pairs], [end])
    return end if result is None else result


def _listed(wrt: Targets) -> list[Variable]:
    return [wrt] if isinstance(wrt, Variable) else list(wrt)


def _like(where: str, argument: str, value: Any, x: Variable) -> Variable:
    """Return an argument that must have the type of ``x``, as a variable of its dtype."""
    value = cast(operand(where, value, argument), x.dtype)
    clash = any(None not in (n, m) and n != m for n, m in zip(value.shape, x.shape, strict=False))
    if value.ndim != x.ndim or clash:
        raise ShapeError(where, f"{argument} has the wrong shape",
                         given=sides(**{argument: value}), expected=f"{x.shape}")  # fmt: skip
    return value
