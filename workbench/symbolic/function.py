"""From expressions to something that can be called: a schedule, and a loop that runs it.

All decisions are made once, when a function is built: the order, which computations
are one and the same, which results are dead and after which step.  A call is then a
walk down a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from workbench.arrays import Array, namespace
from workbench.errors import (
    DtypeError,
    GraphError,
    NotFiniteError,
    OptionError,
    ShapeError,
    WorkbenchError,
    unknown_name,
)
from workbench.symbolic.graph import (
    Apply,
    Constant,
    Operand,
    Shape,
    Type,
    Variable,
    fits,
    leaves,
    merge,
    nodes,
    rebuild,
    sides,
)
from workbench.symbolic.values import Shared, accept, as_constant, operand

Pairs = Mapping[Any, Any] | Sequence[tuple[Any, Any]] | None
MODES = ("interpret", "check")


class Function:
    """A compiled expression; made by :func:`function`.

    Attributes
    ----------
    name : str
    mode : str
    inputs, outputs : list of Variable
    updates : dict of Shared to Variable
    nodes : list of Apply
        The schedule, in the order in which it runs.
    """

    def __init__(
        self,
        inputs: list[Variable],
        outputs: list[Variable],
        updates: dict[Shared, Variable],
        mode: str,
        name: str,
        single: bool = False,
    ) -> None:
        self.inputs, self.outputs, self.updates = inputs, outputs, updates
        self.mode, self.name, self._single = mode, name, single
        self.nodes = nodes([*outputs, *updates.values()])
        self._schedule()

    @property
    def graph_size(self) -> int:
        """The number of nodes that one call computes."""
        return len(self.nodes)

    def __repr__(self) -> str:
        names = ", ".join(x.label for x in self.inputs)
        return f"<function {self.name}({names}): {len(self.nodes)} nodes, mode {self.mode!r}>"

    def _schedule(self) -> None:
        """Give every variable a slot, and every node a line of the list that calls run down."""
        results = [*self.outputs, *self.updates.values()]
        slot = {x: i for i, x in enumerate(self.inputs)}
        for x in [*leaves(results), *(node.output for node in self.nodes)]:
            slot.setdefault(x, len(slot))
        self._blank: list[Any] = [None] * len(slot)
        for x in slot:
            if isinstance(x, Constant):
                self._blank[slot[x]] = x.data
        # Among CuPy's arrays, numbers are CuPy's too; moved once, by the call that needs it.
        self._numbers = [slot[x] for x in slot if isinstance(x, Constant) and not x.ndim]
        self._on_device: list[tuple[int, Array]] | None = None
        self._shared = [(slot[x], x) for x in slot if isinstance(x, Shared)]

        last = {x: node for node in self.nodes for x in node.inputs}
        keep = {*results, *self.inputs}
        self._steps = []
        for node in self.nodes:
            ins = [slot[x] for x in node.inputs]
            dead = [slot[x] for x in {*node.inputs} - keep if last[x] is node and x.owner]
            run = _checked(node) if self.mode == "check" else node.op.compute
            # itemgetter(*slots) returns the arguments as a tuple, without a Python loop.
            take = itemgetter(*ins) if len(ins) > 1 else itemgetter(slice(ins[0], ins[0] + 1))
            self._steps.append((run, take, slot[node.output], tuple(dead)))

        # A result is handed over as it is if this call made it and nobody else gets it.
        given: set[Variable] = set()
        plans = []
        for x in results:
            fresh = x.owner is not None and not x.owner.op.view and x not in given
            given.add(_origin(x))
            plans.append((slot[x], fresh))
        self._output_plan = plans[: len(self.outputs)]
        self._update_plan = list(zip(self.updates, plans[len(self.outputs) :], strict=True))

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Run the function on arrays or numbers, by position or by name.

        Returns
        -------
        array, or list of arrays
            As ``outputs`` was one variable or a list; all the caller's own.

        Raises
        ------
        GraphError
            For missing, surplus or unknown arguments.
        DtypeError, ShapeError
            For an argument that its variable does not allow.
        WorkbenchError
            For an op that fails, with the shapes of its inputs and the line that built it.
            Whatever is raised, no shared variable has changed.
        """
        if named or len(values) != len(self.inputs):
            values = tuple(self._arranged(values, named))
        slots = self._blank.copy()
        for i, x in enumerate(self.inputs):
            slots[i] = accept(x, values[i], self.name)
        for i, s in self._shared:
            slots[i] = s._value
        if (xp := namespace(*slots)) is not np:
            if self._on_device is None:
                self._on_device = [(i, xp.asarray(slots[i])) for i in self._numbers]
            for i, number in self._on_device:
                slots[i] = number
        node_slot = -1
        try:
            for run, take, node_slot, dead in self._steps:
                slots[node_slot] = run(*take(slots))
                for i in dead:
                    slots[i] = None
        except Exception as error:
            raise self._failure(error, node_slot, slots) from error
        outputs = [_owned(slots[i], fresh) for i, fresh in self._output_plan]
        new = [(s, _owned(slots[i], fresh)) for s, (i, fresh) in self._update_plan]
        for s, value in new:
            if not fits(value.shape, s.shape):
                raise ShapeError(self.name, f"the update of {s.label!r} has the wrong shape",
                                 given=f"{value.shape}", expected=f"{s.shape}")  # fmt: skip
        for s, value in new:
            s._value = value
        return outputs[0] if self._single else outputs

    def _arranged(self, values: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Return the arguments in order, some of them given by name."""
        labels = [x.label for x in self.inputs]
        if len(values) > len(labels):
            raise GraphError(self.name, "too many arguments", given=f"{len(values)}",
                             expected=f"{len(labels)}: {', '.join(labels)}")  # fmt: skip
        arranged = dict(zip(self.inputs, values, strict=False))
        for label, value in named.items():
            if label not in labels:
                raise unknown_name(self.name, "input", label, labels)
            x = self.inputs[labels.index(label)]
            if x in arranged:
                raise GraphError(self.name, f"the input {label!r} is given twice",
                                 fix="give it by position or by name")  # fmt: skip
            arranged[x] = value
        if missing := [x.label for x in self.inputs if x not in arranged]:
            raise GraphError(self.name, f"missing the input{'s' * (len(missing) > 1)} "
                             + ", ".join(map(repr, missing)),
                             expected=f"{len(labels)}: {', '.join(labels)}")  # fmt: skip
        return [arranged[x] for x in self.inputs]

    def _failure(self, error: Exception, at: int, slots: list[Any]) -> WorkbenchError:
        """Say which op failed, on what, and which line of the user's program asked for it."""
        step = next(i for i, line in enumerate(self._steps) if line[2] == at)
        node, take = self.nodes[step], self._steps[step][1]
        given = [
            f"{x.label} {value.dtype} {value.shape}"
            for x, value in zip(node.inputs, take(slots), strict=True)
        ]
        kinds: dict[type[Exception], type[WorkbenchError]]
        kinds = {ValueError: ShapeError, ArithmeticError: NotFiniteError}
        kind = next((ours for base, ours in kinds.items() if isinstance(error, base)), GraphError)
        return (type(error) if isinstance(error, WorkbenchError) else kind)(
            f"{self.name}, running {node.op.name}",
            getattr(error, "problem", str(error)),
            given=f"{', '.join(given)}, to {node.op.name} built at {node.output.trace}",
            expected=getattr(error, "expected", None),
            fix=getattr(error, "fix", None),
        )


def _origin(x: Variable) -> Variable:
    """Return the variable whose memory ``x`` may be a view of."""
    while x.owner is not None and x.owner.op.view:
        x = x.owner.inputs[0]
    return x


def _owned(value: Any, fresh: bool) -> Array:
    """Return a result as an array that the caller may change (ufuncs make 0-d ones scalars)."""
    if isinstance(value, np.generic):
        return np.array(value)
    return value if fresh else value.copy()


def _checked(node: Apply) -> Callable[..., Array]:
    """Wrap an op so that it proves what its graph promised, and refuses to make NaN."""

    def run(*inputs: Array) -> Array:
        result = node.op.compute(*inputs)
        type = Type(result.dtype, result.shape)
        if type.dtype != node.output.dtype or not fits(type.shape, node.output.shape):
            raise GraphError(node.op.name, f"inferred {node.output.type} and computed {type}")
        born = result.dtype.kind == "f" and np.isnan(result).any()
        if born and not any(x.dtype.kind == "f" and np.isnan(x).any() for x in inputs):
            raise NotFiniteError(node.op.name, "made NaN of inputs without any")
        return result

    return run


# --- building, with every refusal that can be made before the first call -------------------


def function(
    inputs: Sequence[Variable],
    outputs: Operand | Sequence[Operand] | None,
    updates: Pairs = None,
    givens: Pairs = None,
    mode: str | None = None,
    name: str | None = None,
    on_unused_input: str = "raise",
) -> Function:
    """Compile expressions into a callable.

    Parameters
    ----------
    inputs : sequence of Variable
        What a call gives values for, in order.  Shared variables are implicit.
    outputs : Variable, sequence of Variable, or None
        What a call returns: one array, or a list of them.
    updates : mapping, or sequence of pairs, of shared variable to expression, optional
        New values; all expressions see the old ones.  A call that fails changes nothing.
    givens : mapping, or sequence of pairs, of Variable to expression, optional
        Replacements, made all at once before anything else.
    mode : {"interpret", "check"}, optional
        ``"interpret"`` (the default) runs op by op.  ``"check"`` also compares every
        result with what was inferred for it, and stops at the op that first makes NaN.
    name : str, optional
        For error messages.
    on_unused_input : {"raise", "ignore"}
        What to do about an input that nothing depends on.

    Raises
    ------
    GraphError
        For an unused or repeated input, an input that is missing here, two updates of
        one variable, or an update of something that is not shared.
    DtypeError, ShapeError
        For an update or replacement of another type than what it stands for.

    Examples
    --------
    >>> x = symbolic.vector("x")
    >>> f = symbolic.function([x], (x * x).sum())
    >>> f([1.0, 2.0])
    array(5.)
    """
    where = name or "function"
    mode = MODES[0] if mode is None else mode
    if mode not in MODES:
        raise unknown_name(where, "mode", mode, MODES)
    if on_unused_input not in ("raise", "ignore"):
        raise unknown_name(where, "on_unused_input", on_unused_input, ("raise", "ignore"))
    if isinstance(inputs, Variable) or not isinstance(inputs, Sequence):
        raise OptionError(where, "inputs is not a list", given=repr(inputs),
                          expected="a list of variables, maybe empty")  # fmt: skip
    single = outputs is not None and not isinstance(outputs, list | tuple)
    listed: Sequence[Any] = [] if outputs is None else [outputs] if single else outputs  # type: ignore[assignment]
    results = [operand(where, y, f"outputs[{i}]") for i, y in enumerate(listed)]
    new_values = _updates(where, updates)
    everything = [*results, *new_values.values()]
    if givens:
        everything = rebuild(everything, _givens(where, givens))
    _check_inputs(where, inputs, everything, on_unused_input == "ignore")
    everything = merge(everything)
    replaced = dict(zip(new_values, everything[len(results) :], strict=True))
    return Function([*inputs], everything[: len(results)], replaced, mode, where, single)


def _pairs(where: str, what: str, pairs: Pairs) -> list[tuple[Any, Any]]:
    try:
        return [(a, b) for a, b in (pairs.items() if isinstance(pairs, Mapping) else pairs or ())]
    except (TypeError, ValueError, GraphError):
        raise OptionError(where, f"{what} is not a list of pairs", given=repr(pairs),
                          expected="a dict, or (variable, expression) pairs") from None  # fmt: skip


def _updates(where: str, updates: Pairs) -> dict[Shared, Variable]:
    result: dict[Shared, Variable] = {}
    for target, value in _pairs(where, "updates", updates):
        if not isinstance(target, Shared):
            raise GraphError(where, "only shared variables can be updated", given=repr(target),
                             fix="symbolic.shared(value) makes one")  # fmt: skip
        if target in result:
            raise GraphError(where, f"{target.label!r} is updated twice",
                             given=sides(first=result[target], second=operand(where, value)),
                             expected="one new value for each shared variable")  # fmt: skip
        result[target] = _same_kind(
            where, f"the update of {target.label!r}", target, value, strict=False
        )
    return result


def _givens(where: str, givens: Pairs) -> dict[Variable, Variable]:
    result: dict[Variable, Variable] = {}
    for old, new in _pairs(where, "givens", givens):
        if not isinstance(old, Variable) or old in result:
            raise GraphError(where, "givens replaces each variable once", given=repr(old))
        result[old] = _same_kind(where, f"what replaces {old.label!r}", old, new, strict=True)
    return result


def _same_kind(where: str, what: str, old: Variable, new: Any, strict: bool) -> Variable:
    """Return ``new`` as a variable if it can stand for ``old``; if strict, if it always can."""
    if type(new) in (bool, int, float) and np.can_cast(
        np.min_scalar_type(new), old.dtype, "same_kind"
    ):
        new = as_constant(new, where, what, old.dtype)  # Python numbers are weak.
    new = operand(where, new, what)
    both = {"old": old, "new": new}
    if new.dtype != old.dtype:
        raise DtypeError(where, f"{what} has the dtype {new.dtype}, not {old.dtype}",
                         given=sides(**both), fix=f"ops.cast(new, {old.dtype.name!r}), or "
                         "look for what promoted it")  # fmt: skip
    wanted: Shape = old.shape
    if not strict and len(wanted) == new.ndim:  # What is unknown now is checked in each call.
        wanted = tuple(None if m is None else n for n, m in zip(wanted, new.shape, strict=True))
    if not fits(new.shape, wanted):
        raise ShapeError(where, f"{what} has the shape {new.shape}, not {old.shape}",
                         given=sides(**both))  # fmt: skip
    return new


def _check_inputs(
    where: str, inputs: Sequence[Variable], results: list[Variable], ignore_unused: bool
) -> None:
    needed = leaves(results)
    for i, x in enumerate(inputs):
        what = f"inputs[{i}]"
        if not isinstance(x, Variable) or x.owner or isinstance(x, Constant | Shared):
            raise GraphError(where, f"{what} is not an input variable", given=repr(x),
                             expected="a variable of symbolic.scalar, vector, matrix or tensor",
                             fix="shared variables are implicit, and givens replaces "
                             "intermediate results")  # fmt: skip
        if x in inputs[:i]:
            raise GraphError(where, f"{what}, {x.label!r}, is given twice")
        if any(x.label == other.label for other in inputs[:i]):
            raise GraphError(where, f"two inputs are called {x.label!r}", given=sides(**{what: x}),
                             fix="give each its own name")  # fmt: skip
        if x not in needed and not ignore_unused:
            raise GraphError(where, f"{what}, {x.label!r}, is not used", given=sides(**{what: x}),
                             fix='leave it out, or on_unused_input="ignore"')  # fmt: skip
    for x in needed:
        if not isinstance(x, Constant | Shared) and x not in inputs:
            raise GraphError(where, f"the input {x.label!r} is missing", given=sides(x=x),
                             fix="add it to inputs, or replace it by givens")  # fmt: skip
