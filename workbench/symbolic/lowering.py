"""From a graph whose sizes may be unknown to a program in which every size is known.

A graph is lowered once for each set of shapes that a function meets: shape arithmetic
then consists of constants, and is gone.  Where a *value* decides a shape (the bounds of
a slice, ``arange(n)``), the small integer inputs that it rests on are made part of what
the program is specialised to, as JAX's static arguments are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.compiler import Builder, Program, Type, Value
from workbench.errors import GraphError
from workbench.symbolic.graph import (
    CannotLower,
    Constant,
    NotKnown,
    Variable,
    fits,
    leaves,
    nodes,
)

STATIC_LIMIT = 64
"""The most elements that an input may have whose value a program is specialised to."""


class ValueNeeded(Exception):  # noqa: N818  # A question to the caller, not an error.
    """The value of this variable decides a shape, and is not known."""

    def __init__(self, variable: Variable) -> None:
        super().__init__(variable)
        self.variable = variable


def lower(
    name: str,
    inputs: Sequence[Variable],
    types: Sequence[Type],
    outputs: Sequence[Variable],
    known: Mapping[Variable, npt.NDArray[Any]] | None = None,
    donate: Mapping[int, int] | None = None,
) -> Program:
    """Return the program that computes ``outputs`` for inputs of these types.

    Parameters
    ----------
    name : str
    inputs : sequence of Variable
        Every leaf of the graph but constants.
    types : sequence of compiler.Type
        Of the inputs, with every size known.
    outputs : sequence of Variable
    known : mapping of Variable to array, optional
        Inputs whose value may be relied on.
    donate : mapping of int to int, optional
        See :class:`~workbench.compiler.Program`.

    Raises
    ------
    ValueNeeded
        If a value that is not known decides a shape.
    CannotLower
        If an op has no form that compiles.
    """
    b = Builder(name)
    values: dict[Variable, Any] = {}
    for x, type in zip(inputs, types, strict=True):
        values[x] = b.input(type, x.label)
        if known and x in known:
            values[x] = b.constant(known[x])
    for x in leaves(outputs):
        if isinstance(x, Constant):
            if not isinstance(x.data, np.ndarray | np.generic):
                raise CannotLower("a constant lives on the GPU")
            values[x] = b.constant(x.data)
    for node in nodes(outputs):
        b.origin = node
        try:
            made = node.op.lower(b, *(values[x] for x in node.inputs))
        except NotKnown as question:
            raise ValueNeeded(node.inputs[question.operand]) from None
        y = node.output
        if isinstance(made, Value) and (made.dtype != y.dtype or not fits(made.shape, y.shape)):
            raise GraphError(node.op.name, f"inferred {y.type} and lowered to {made.type}")
        values[y] = made
    return b.program([values[y] for y in outputs], donate)


def value_leaves(x: Variable) -> list[Variable]:
    """Return the inputs on whose values, not only shapes, the value of ``x`` rests."""
    found: dict[Variable, None] = {}
    seen: set[Variable] = set()
    stack = [x]
    while stack:
        y = stack.pop()
        if y in seen:
            continue
        seen.add(y)
        if y.owner is None:
            if not isinstance(y, Constant):
                found[y] = None
        elif not y.owner.op.shape_only:
            stack.extend(y.owner.inputs)
    return list(found)
