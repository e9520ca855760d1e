"""TensorFlow 1's reading of the same engine: variables in the graph, values in a session.

Theano gives state to shared variables, and each function its updates.  TensorFlow (Abadi
et al., "TensorFlow: a system for large-scale machine learning", OSDI 2016) put both into
the graph: reading a variable and assigning to it are nodes, a :class:`Session` holds the
values, and ``run`` prunes the graph to what the fetches need.  Here a run is a
:func:`~workbench.symbolic.function` of the pruned graph, kept for the next such run; its
updates are the assignments.

Everything in one run sees the values from before it, unless ``control_dependencies`` says
otherwise.  What TensorFlow left to a race, two assignments that nothing orders, is refused.

>>> from workbench.symbolic import session as tf
>>> x = tf.placeholder("float32", (None, 3), "x")
>>> w = tf.Variable(np.zeros((3, 1), "float32"), name="w")
>>> loss = ((x @ w - 1) ** 2).mean()
>>> step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
>>> with tf.Session() as sess:
...     sess.run(tf.global_variables_initializer())
...     sess.run([step, loss], feed_dict={x: np.ones((2, 3), "float32")})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import GraphError, OptionError, ShapeError, unknown_name
from workbench.symbolic import graph as symbolic
from workbench.symbolic.checks import same_kind
from workbench.symbolic.function import Function, function
from workbench.symbolic.gradient import pullback
from workbench.symbolic.graph import Constant, Op, Type, apply, leaves, nodes, rebuild, sides
from workbench.symbolic.ops import ones_like
from workbench.symbolic.values import Shared, as_constant, check_dtype, check_shape, operand

Tensor = symbolic.Variable
"""What TensorFlow calls an expression."""


# --- the graph -----------------------------------------------------------------------------


class Graph:
    """Names, variables and operations; the tensors between them are ordinary expressions.

    Attributes
    ----------
    variables : list of Variable
    names : dict of str to Tensor or Operation
    """

    def __init__(self) -> None:
        self.variables: list[Variable] = []
        self.names: dict[str, Tensor | Operation] = {}
        self._taken: set[str] = set()
        self._scope = ""
        self._after: tuple[Operation, ...] = ()

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Build everything inside in this graph."""
        _graphs.append(self)
        try:
            yield self
        finally:
            _graphs.pop()

    def unique_name(self, name: str) -> str:
        """Return ``name`` in the current scope, with ``_1`` and so on if it is taken.

        Raises
        ------
        OptionError
            If it is not a name.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.][\w./-]*", name):
            raise OptionError("Graph", "this is not a name", given=f"name={name!r}",
                              expected="letters, digits, and any of ._-/ after the first")  # fmt: skip
        full = first = self._scope + name
        tries = 0
        while full in self._taken:
            tries += 1
            full = f"{first}_{tries}"
        self._taken.add(full)
        return full

    def element(self, name: str) -> Tensor | Operation:
        """Return what has this name, with or without TensorFlow's ``:0``.

        Raises
        ------
        UnknownNameError
            If nothing has, with the nearest name that something has.
        """
        key = name.removesuffix(":0")
        if key not in self.names:
            raise unknown_name("Session.run", "tensor or operation", key, self.names)
        return self.names[key]


_graphs = [Graph()]


def get_default_graph() -> Graph:
    """Return the graph that things are built in."""
    return _graphs[-1]


@contextmanager
def _building(scope: str, after: tuple[Operation, ...]) -> Iterator[str]:
    """Build in this scope and after these operations, and then as before."""
    graph = get_default_graph()
    before = graph._scope, graph._after
    graph._scope, graph._after = scope, after
    try:
        yield scope
    finally:
        graph._scope, graph._after = before


def name_scope(name: str) -> AbstractContextManager[str]:
    """Put ``name/`` before the names of all that is built inside; made unique."""
    graph = get_default_graph()
    return _building(graph.unique_name(name) + "/", graph._after)


def control_dependencies(operations: Sequence[Operation]) -> AbstractContextManager[str]:
    """Let what is assigned, read or grouped inside happen after these operations."""
    graph = get_default_graph()
    for each in operations:
        if not isinstance(each, Operation):
            raise GraphError("control_dependencies", "only operations have effects to wait for",
                             given=repr(each), expected="assign, assign_add or group")  # fmt: skip
    return _building(graph._scope, (*graph._after, *operations))


# --- what stands in it ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Operation:
    """Something a run does: an assignment if it has a target, else a group of others.

    Attributes
    ----------
    name : str
    after : tuple of Operation
        What happens before it.
    target : Variable or None
    value : Tensor or None
        What the target becomes; also what fetching the operation returns.
    """

    name: str
    after: tuple[Operation, ...] = ()
    target: Variable | None = None
    value: Tensor | None = None


def _operation(name: str, *options: Any) -> Operation:
    graph = get_default_graph()
    made = Operation(graph.unique_name(name), *options)
    graph.names[made.name] = made
    return made


class Variable(Tensor):
    """A tensor that a session keeps from run to run.

    Parameters
    ----------
    initial_value : array_like or Tensor
        Of a shape that is known.  Assigned when the initializer is run, not before.
    name : str
    dtype : dtype, optional

    Raises
    ------
    ShapeError
        If the shape of the initial value is not known.
    """

    __slots__ = ("initializer",)

    def __init__(
        self, initial_value: Any, name: str = "Variable", dtype: npt.DTypeLike | None = None
    ) -> None:
        if not isinstance(initial_value, Tensor):
            initial_value = as_constant(initial_value, "Variable", "initial_value", dtype)
        if None in initial_value.shape:
            raise ShapeError("Variable", "the shape of initial_value is not known",
                             given=sides(initial_value=initial_value))  # fmt: skip
        graph = get_default_graph()
        super().__init__(initial_value.type, graph.unique_name(name))
        graph.names[str(self.name)] = self
        graph.variables.append(self)
        with _building("", ()):
            self.initializer = assign(self, initial_value, f"{self.name}/Assign")

    def assign(self, value: symbolic.Operand) -> Operation:
        """See :func:`assign`."""
        return assign(self, value)

    def assign_add(self, delta: symbolic.Operand) -> Operation:
        """See :func:`assign_add`."""
        return assign_add(self, delta)

    def read_value(self) -> Tensor:
        """Return the value, read after the control dependencies that hold here."""
        return identity(self)


def get_variable(
    name: str,
    shape: Sequence[int],
    initializer: Callable[[tuple[int, ...]], Any] | float = 0.0,
    dtype: npt.DTypeLike = "float32",
) -> Variable:
    """Return a new variable; unlike ``Variable``, refuse a name that is taken.

    Parameters
    ----------
    name : str
    shape : sequence of int
    initializer : callable or number
        Called with the shape, returns an array or a tensor; a number fills it.
    dtype : dtype

    Raises
    ------
    OptionError
        If there is such a variable.
    """
    if (full := get_default_graph()._scope + name) in get_default_graph().names:
        raise OptionError("get_variable", f"the variable {full!r} already exists",
                          fix="take another name, or build inside a name_scope")  # fmt: skip
    value = initializer(tuple(shape)) if callable(initializer) else np.full(shape, initializer)
    if isinstance(value, Tensor):
        return Variable(value.astype(dtype), name)
    return Variable(value, name, dtype)


def placeholder(
    dtype: npt.DTypeLike, shape: Sequence[int | None], name: str = "Placeholder"
) -> Tensor:
    """Return a tensor that every run which needs it must feed; None for unknown sizes."""
    graph = get_default_graph()
    type_ = Type(check_dtype(dtype, "placeholder"), check_shape(shape, "placeholder"))
    x = Tensor(type_, graph.unique_name(name))
    graph.names[str(x.name)] = x
    return x


def assign(target: Variable, value: symbolic.Operand, name: str = "Assign") -> Operation:
    """Return the operation that gives a variable a new value, which a fetch of it returns.

    Raises
    ------
    DtypeError, ShapeError
        If the value does not fit.
    """
    if not isinstance(target, Variable):
        raise GraphError("assign", "only variables can be assigned to", given=repr(target))
    new = same_kind("assign", f"the value for {target.label!r}", target, value, strict=False)
    return _operation(name, get_default_graph()._after, target, new)


def assign_add(target: Variable, delta: symbolic.Operand, name: str = "AssignAdd") -> Operation:
    """Return the operation that adds to a variable: see :func:`assign`."""
    return assign(target, target + delta, name)


def group(*operations: Operation, name: str = "group_deps") -> Operation:
    """Return one operation that runs all of these; a fetch of it returns None."""
    return _operation(name, (*get_default_graph()._after, *operations))


def global_variables_initializer() -> Operation:
    """Return the operation that gives every variable of the graph its initial value."""
    return group(*(v.initializer for v in get_default_graph().variables), name="init")


@dataclass(frozen=True)
class Identity(Op):
    """The input, read after some operations."""

    after: tuple[Operation, ...]
    name = "identity"
    view = True

    def infer(self, *inputs: Tensor) -> Type:
        """Return the input's type."""
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        """Return the input."""
        return inputs[0]

    def gradient(self, inputs: symbolic.Inputs, output: Tensor, g: Tensor) -> symbolic.Gradients:
        """Pass it on."""
        return (g,)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        """Return the input."""
        return inputs[0]


def identity(x: symbolic.Operand, name: str = "Identity") -> Tensor:
    """Return ``x`` under a name, read after the control dependencies that hold here."""
    graph = get_default_graph()
    y = apply(Identity(graph._after), operand("identity", x))
    y.name = graph.unique_name(name)
    graph.names[y.name] = y
    return y


def gradients(ys: Tensor | Sequence[Tensor], xs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradient of the sum of ``ys`` for each of ``xs``; None if there is none."""
    listed = [ys] if isinstance(ys, Tensor) else list(ys)
    return pullback(listed, [ones_like(y) for y in listed], xs)


class GradientDescentOptimizer:
    """Gradient descent: each variable less the rate times its gradient."""

    def __init__(self, learning_rate: symbolic.Operand) -> None:
        self.learning_rate = learning_rate

    def minimize(self, loss: Tensor, var_list: Sequence[Variable] | None = None) -> Operation:
        """Return the operation of one step for every variable (of ``var_list``) that matters.

        Raises
        ------
        GraphError
            If no variable does.
        """
        variables = get_default_graph().variables if var_list is None else var_list
        slopes = zip(variables, gradients(loss, variables), strict=True)
        steps = [v.assign(v - (self.learning_rate * g).astype(v.dtype))
                 for v, g in slopes if g is not None]  # fmt: skip
        if not steps:
            raise GraphError("minimize", "no variable has a gradient", given=sides(loss=loss))
        return group(*steps, name="GradientDescent")


class train:  # noqa: N801
    """TensorFlow's ``tf.train``."""

    GradientDescentOptimizer = GradientDescentOptimizer


# --- running it ----------------------------------------------------------------------------


class _Run:
    """What some fetches come to: one expression each, and the last value of each variable.

    The graph's assignments become expressions: what reads a variable after one reads the
    assigned value instead.
    """

    def __init__(self, fed: Mapping[Tensor, Tensor]) -> None:
        self.fed = fed
        self._done: dict[Operation, tuple[dict[Variable, Operation], Tensor | None]] = {}
        self._before: dict[Operation, set[Operation]] = {}
        self._read: dict[Tensor, Tensor] = {}
        self.last: dict[Variable, Operation] = {}

    def value(self, x: Tensor, state: Mapping[Variable, Operation]) -> Tensor:
        """Return ``x`` as it is in a state: with variables replaced by what was assigned."""
        (x,) = rebuild([x], self.fed)  # What is above a fed tensor is not run.
        replace: dict[Tensor, Tensor] = {v: self.assigned(op) for v, op in state.items()}
        for node in nodes(x):
            if isinstance(node.op, Identity):
                if node.output not in self._read:
                    after = self.merged(node.op.after)
                    self.last = self.joined(self.last, after)
                    self._read[node.output] = self.value(node.inputs[0], after)
                replace[node.output] = self._read[node.output]
        return rebuild([x], replace)[0]

    def assigned(self, op: Operation) -> Tensor:
        value = self.settle(op)[1]
        assert value is not None
        return value

    def settle(self, op: Operation) -> tuple[dict[Variable, Operation], Tensor | None]:
        """Return the state after an operation, and the value that it assigns."""
        if op not in self._done:
            state = self.merged(op.after)
            made = None if op.value is None else self.value(op.value, state)
            reads = [] if op.value is None else [node.op for node in nodes(op.value)]
            needed = [*op.after, *(x for r in reads if isinstance(r, Identity) for x in r.after)]
            self._before[op] = {op}.union(*(self._before.get(x, {x}) for x in needed))
            if op.target is not None:
                state = {**state, op.target: op}
            self._done[op] = state, made
            self.last = self.joined(self.last, state)
        return self._done[op]

    def merged(self, operations: Sequence[Operation]) -> dict[Variable, Operation]:
        """Return the state after all of some operations."""
        state: dict[Variable, Operation] = {}
        for op in operations:
            state = self.joined(state, self.settle(op)[0])
        return state

    def joined(
        self, a: dict[Variable, Operation], b: Mapping[Variable, Operation]
    ) -> dict[Variable, Operation]:
        result = dict(a)
        for v, second in b.items():
            first = result.setdefault(v, second)
            if first in self._before[second]:
                result[v] = second
            elif second not in self._before[first]:
                raise GraphError("Session.run", f"{first.name!r} and {second.name!r} both assign "
                                 f"to {v.label!r}, in no order",
                                 fix="with control_dependencies([first]): build the second")  # fmt: skip
        return result


class Session:
    """The values of a graph's variables, and the means to run parts of it.

    Parameters
    ----------
    graph : Graph, optional
        The default graph where absent.
    mode : str, optional
        As for :func:`~workbench.symbolic.function`.
    """

    def __init__(self, graph: Graph | None = None, mode: str | None = None) -> None:
        self.graph, self.mode = graph or get_default_graph(), mode
        self._storage: dict[Tensor, Shared] = {}
        self._initialized: set[Tensor] = set()
        self._compiled: dict[Any, tuple[Function, list[Tensor], list[Tensor]]] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget all values and compiled functions."""
        self._storage, self._initialized, self._compiled = {}, set(), {}

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Compute some fetches, and do what these operations do, once.

        Parameters
        ----------
        fetches : Tensor, Operation, name, or a list, tuple or dict of these
            Names as ``"layer1/w:0"``.
        feed_dict : mapping of Tensor or name to array_like, optional
            Values to use instead of what the graph says; placeholders have no other.

        Returns
        -------
        As ``fetches``, with arrays; None for a group of operations.

        Raises
        ------
        GraphError
            For a placeholder that is not fed, a variable that is not initialized, a
            tensor of another graph, or two assignments in no order.
        UnknownNameError
            For a name that is not in the graph.
        """
        flat: list[Tensor | Operation] = []
        shape = self._flatten(fetches, flat)
        fed = {self._element(x): value for x, value in (feed_dict or {}).items()}
        for x in fed:
            if not isinstance(x, Tensor):
                raise GraphError("Session.run", "only tensors can be fed", given=repr(x))
        key = (tuple(flat), tuple(fed))
        if key not in self._compiled:
            self._compiled[key] = self._compile(flat, list(fed))  # type: ignore[arg-type]
        run, read, assigned = self._compiled[key]
        for v in read:
            if v not in self._initialized:
                raise GraphError("Session.run", f"attempting to use the uninitialized value {v.label!r}",
                                 given=sides(variable=v),
                                 fix="run global_variables_initializer() first")  # fmt: skip
        results = iter(run(*fed.values()))
        self._initialized.update(assigned)
        return shape(next(results) if isinstance(x, Tensor) or x.value is not None else None
                     for x in flat)  # fmt: skip

    def _flatten(
        self, fetches: Any, flat: list[Tensor | Operation]
    ) -> Callable[[Iterator[Any]], Any]:
        """Append the fetches to ``flat``; return what puts their results back in shape."""
        if isinstance(fetches, dict):
            parts = {k: self._flatten(each, flat) for k, each in fetches.items()}
            return lambda results: {k: part(results) for k, part in parts.items()}
        if isinstance(fetches, list | tuple):
            listed = [self._flatten(each, flat) for each in fetches]
            return lambda results: type(fetches)(part(results) for part in listed)
        flat.append(self._element(fetches))
        return next

    def _element(self, x: Any) -> Tensor | Operation:
        if isinstance(x, str):
            return self.graph.element(x)
        if not isinstance(x, Tensor | Operation):
            raise GraphError("Session.run", "this can be neither fetched nor fed", given=repr(x),
                             expected="a tensor, an operation, or the name of one")  # fmt: skip
        return x

    def _compile(
        self, flat: list[Tensor | Operation], fed: list[Tensor]
    ) -> tuple[Function, list[Tensor], list[Tensor]]:
        """Return the function of the pruned graph, and the variables that it reads and sets."""
        inputs = [Tensor(x.type, x.name or f"{x.label}_{i}") for i, x in enumerate(fed)]
        run = _Run(dict(zip(fed, inputs, strict=True)))
        results = []
        for x in flat:
            if isinstance(x, Operation):
                run.settle(x)
                results += [run.assigned(x)] if x.value is not None else []
            else:
                results.append(run.value(x, {}))
        new = {v: run.assigned(op) for v, op in run.last.items()}
        everything = [*results, *new.values()]
        reached = leaves(everything)
        for x, stand_in in zip(fed, inputs, strict=True):
            if x.owner is not None and stand_in not in reached:
                raise GraphError("Session.run", f"nothing that is fetched needs {x.label!r}, which "
                                 "is fed", given=sides(fed=x))  # fmt: skip
        read: list[Tensor] = [x for x in reached if isinstance(x, Variable)]
        for x in reached:
            if isinstance(x, Constant | Shared) or x in inputs:
                continue
            if self.graph.names.get(str(x.name)) is not x:
                raise GraphError("Session.run", f"{x.label!r} is not of the graph that runs",
                                 given=sides(x=x))  # fmt: skip
            if not isinstance(x, Variable):
                raise GraphError("Session.run", f"the placeholder {x.label!r} is not fed",
                                 given=sides(placeholder=x), fix="feed_dict={x: value}")  # fmt: skip
        # The state of a random stream is the session's own, too.
        new_states = {x: x.default_update for x in reached if isinstance(x, Shared)
                      and x.default_update is not None}  # fmt: skip
        own = {x: self._stored(x) for x in (*reached, *new) if isinstance(x, Variable | Shared)}
        updates = {own[x]: y for x, y in (new | new_states).items()}
        made = function(inputs, results, updates, own, self.mode, "Session.run", "ignore")
        return made, read, list(new)

    def _stored(self, x: Tensor) -> Shared:
        """Return where the state of a variable is kept, or its own copy of other state."""
        if x not in self._storage:
            sizes = [n for n in x.shape if n is not None]  # A variable's are all known.
            value = x.get_value() if isinstance(x, Shared) else np.zeros(sizes, x.dtype)
            self._storage[x] = Shared(value, x.shape, x.name)
        return self._storage[x]
