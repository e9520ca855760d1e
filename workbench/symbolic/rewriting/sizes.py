"""Which sizes are equal, though unknown: what tells a rule that it keeps a shape.

``x`` and ``2 * x`` have one shape whatever that is; ``x`` and ``x + y`` may not, if y is
longer than one where x is one.  A size that is not known is a negative number here, and
two sizes that must be equal in every run have the same.
"""

from __future__ import annotations

import itertools
from typing import Any

from workbench.symbolic.graph import Apply, Variable
from workbench.symbolic.ops.elementwise import Elementwise
from workbench.symbolic.ops.reductions import Reduction

_KEEPS_SHAPE = frozenset(
    "softmax log_softmax cast fill_like inc_subtensor set_subtensor consider_constant "
    "disconnected".split()
)
_TAKES_SHAPE = frozenset("broadcast_to reshape sum_to".split())
"""Ops whose second input is the shape of their result."""


class Sizes:
    """The sizes of variables; remembers them, so that equal unknown ones stay equal."""

    def __init__(self) -> None:
        self._known: dict[Variable, tuple[int, ...]] = {}
        self._fresh = itertools.count(-1, -1)
        self._leaves: dict[tuple[int, ...], Variable] = {}
        self._together: dict[frozenset[int], int] = {}
        self._parts: dict[int, frozenset[int]] = {}
        self._picked: dict[Any, tuple[int | None, ...]] = {}

    def __call__(self, x: Variable) -> tuple[int, ...]:
        """Return the size of each axis of ``x``, or the negative number that stands for it."""
        if None not in x.shape:
            return x.shape  # type: ignore[return-value]
        if x not in self._known:
            derived = self._derived(x.owner) if x.owner else ()
            derived = derived if len(derived) == x.ndim else (None,) * x.ndim
            self._known[x] = tuple(
                n if n is not None else next(self._fresh) if m is None else m
                for n, m in zip(x.shape, derived, strict=True)
            )
            if x.owner is None:
                self._leaves[self._known[x]] = x
        return self._known[x]

    def leaf_like(self, x: Variable) -> Variable | None:
        """Return an input or shared variable that has the shape of ``x`` in every run."""
        return self._leaves.get(self(x))

    def _derived(self, node: Apply) -> tuple[int | None, ...]:
        """Return the sizes that follow from those of the inputs, as far as they do."""
        op: Any = node.op
        first = node.inputs[0] if node.inputs else node.output
        if isinstance(op, Elementwise):
            return self._broadcast(node.inputs)
        if isinstance(op, Reduction):
            return tuple(
                1 if a in op.axis else n
                for a, n in enumerate(self(first))
                if op.keepdims or a not in op.axis
            )
        if op.name == "transpose":
            return tuple(self(first)[a] for a in op.axes)
        if op.name == "expand_dims":
            rest = iter(self(first))
            return tuple(1 if a in op.axes else next(rest) for a in range(node.output.ndim))
        if op.name == "squeeze":
            return tuple(n for a, n in enumerate(self(first)) if a not in op.axes)
        if op.name == "matmul":
            rows, columns = self(first)[-2], self(node.inputs[1])[-1]
            return (*(None for _ in range(node.output.ndim - 2)), rows, columns)
        if op.name == "tensordot":
            left = [n for a, n in enumerate(self(first)) if a not in op.over_x]
            right = [n for a, n in enumerate(self(node.inputs[1])) if a not in op.over_y]
            return (*left, *right)
        if op.name in _KEEPS_SHAPE:
            return self(first)
        if op.name in _TAKES_SHAPE:
            return self._held(node.inputs[1])
        if op.name == "getitem":  # Equal indices take equal shapes out of equal shapes.
            key = (op, self(first), node.inputs[1:])
            fresh = tuple(next(self._fresh) for _ in node.output.shape)
            return self._picked.setdefault(key, fresh)
        return ()

    def _held(self, shape: Variable) -> tuple[int | None, ...]:
        """Return the sizes that a shape holds, by what they were taken from."""
        node = shape.owner
        if node is None:
            return ()
        if node.op.name == "shape_of":
            return self(node.inputs[0])
        if node.op.name != "shape_vector":
            return ()
        return tuple(self._size(n) for n in node.inputs)

    def _size(self, n: Variable) -> int | None:
        """Return the size that ``n`` is, if it is one axis of a known shape."""
        node: Any = n.owner
        if node is None or node.op.name != "getitem" or len(node.op.parts) != 1:
            return None
        source, i = node.inputs[0].owner, node.op.parts[0]
        if source is None or source.op.name != "shape_of" or not isinstance(i, int):
            return None
        return self(source.inputs[0])[i]

    def _broadcast(self, inputs: tuple[Variable, ...]) -> tuple[int | None, ...]:
        each = [self(x) for x in inputs]
        result: list[int | None] = []
        for axis in range(-max(map(len, each)), 0):
            sizes = {n[axis] for n in each if len(n) >= -axis} - {1}
            # Of unknown sizes together comes one that stands for just these.
            parts = frozenset().union(*(self._parts.get(n, {n}) for n in sizes))
            if len(parts) > 1 and parts not in self._together:
                self._together[parts] = next(self._fresh)
                self._parts[self._together[parts]] = parts
            result.append(
                1 if not parts else self._together[parts] if len(parts) > 1 else min(parts)
            )
        return tuple(result)
