"""A graph run op by op: a schedule, and a loop that walks down it.

All decisions are made once: the order, and which results are dead after which step.
Compiled functions are compared to this one, and come here to have a failure explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from workbench.arrays import Array, namespace
from workbench.errors import GraphError, NotFiniteError, ShapeError, WorkbenchError
from workbench.symbolic.graph import Apply, Constant, Type, Variable, fits, leaves, nodes


class Schedule:
    """The nodes that some results need, in an order that can be run.

    Parameters
    ----------
    name : str
        For error messages.
    inputs : sequence of Variable
        What a call gives arrays for: every leaf but constants.
    results : sequence of Variable
    checked : bool
        Whether every op must prove what was inferred for it, and make no NaN.
    """

    def __init__(
        self, name: str, inputs: Sequence[Variable], results: Sequence[Variable],
        checked: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.nodes = name, nodes(results)
        slot = {x: i for i, x in enumerate(inputs)}
        for x in [*leaves(results), *(node.output for node in self.nodes)]:
            slot.setdefault(x, len(slot))
        self._blank: list[Any] = [None] * len(slot)
        for x in slot:
            if isinstance(x, Constant):
                self._blank[slot[x]] = x.data
        # Among CuPy's arrays, numbers are CuPy's too; moved once, by the call that needs it.
        self._numbers = [slot[x] for x in slot if isinstance(x, Constant) and not x.ndim]
        self._on_device: list[tuple[int, Array]] | None = None

        last = {x: node for node in self.nodes for x in node.inputs}
        keep = {*results, *inputs}
        self._steps = []
        for node in self.nodes:
            ins = [slot[x] for x in node.inputs]
            dead = [slot[x] for x in {*node.inputs} - keep if last[x] is node and x.owner]
            run = _checked(node) if checked else node.op.compute
            # itemgetter(*slots) returns the arguments as a tuple, without a Python loop.
            take = _taker(ins)
            self._steps.append((run, take, slot[node.output], tuple(dead)))

        # A result is handed over as it is if this call made it and nobody else gets it.
        given: set[Variable] = set()
        self._plan = []
        for x in results:
            fresh = x.owner is not None and not x.owner.op.view and x not in given
            given.add(_origin(x))
            self._plan.append((slot[x], fresh))

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the results, each an array of its own.

        Raises
        ------
        WorkbenchError
            For an op that fails: with the shapes of its inputs and the line that built it.
        """
        slots = [*inputs, *self._blank[len(inputs) :]]
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
        return [_owned(slots[i], fresh) for i, fresh in self._plan]

    def _failure(self, error: Exception, at: int, slots: list[Any]) -> WorkbenchError:
        """Say which op failed, on what, and which line of the user's program asked for it."""
        step = next(i for i, line in enumerate(self._steps) if line[2] == at)
        node, take = self.nodes[step], self._steps[step][1]
        given = [
            f"{x.label} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}"
            for x, value in zip(node.inputs, take(slots), strict=True)
        ]
        kinds: dict[type[Exception], type[WorkbenchError]]
        kinds = {ValueError: ShapeError, ArithmeticError: NotFiniteError}
        kind = next((ours for base, ours in kinds.items() if isinstance(error, base)), GraphError)
        return (type(error) if isinstance(error, WorkbenchError) else kind)(
            f"{self.name}, running {node.op.name}",
            getattr(error, "problem", str(error).removeprefix(f"{node.op.name}: ")),
            given=f"{', '.join(given)}, to {node}",
            expected=getattr(error, "expected", None),
            fix=getattr(error, "fix", None),
        )

    def timed(self, inputs: Sequence[Array], clock: Callable[[], float]) -> list[float]:
        """Run once, and return the seconds that each node took."""
        slots, seconds = [*inputs, *self._blank[len(inputs) :]], []
        for run, take, node_slot, _ in self._steps:
            start = clock()
            slots[node_slot] = run(*take(slots))
            seconds.append(clock() - start)
        return seconds


def _taker(slots: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(slots) > 1:
        return itemgetter(*slots)
    return itemgetter(slice(slots[0], slots[0] + 1)) if slots else lambda _: ()


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

    def run(*inputs: Array) -> Any:
        with np.errstate(all="ignore"):  # What NumPy would warn of is looked for below.
            result = node.op.compute(*inputs)
        if isinstance(result, tuple):
            return result  # Taken apart by nodes of its own, which are checked.
        type = Type(result.dtype, result.shape)
        if type.dtype != node.output.dtype or not fits(type.shape, node.output.shape):
            raise GraphError(node.op.name, f"inferred {node.output.type} and computed {type}")
        born = result.dtype.kind == "f" and np.isnan(result).any()
        if born and not any(_has_nan(x) for x in inputs):
            raise NotFiniteError(node.op.name, "made NaN of inputs without any")
        return result

    return run


def _has_nan(x: Any) -> bool:
    if isinstance(x, tuple):
        return any(map(_has_nan, x))
    return bool(x.dtype.kind == "f" and np.isnan(x).any())
