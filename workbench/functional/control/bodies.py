"""Bodies and branches: tracing them, and making what they return fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workbench.errors import ShapeError
from workbench.functional.closed import out_avals
from workbench.functional.core import ShapedArray, Value, get_aval
from workbench.functional.jaxpr import Jaxpr, eval_jaxpr
from workbench.functional.numpy.promotion import convert
from workbench.functional.staging import stage, stage_tree
from workbench.functional.tree import TreeDef


def strong(aval: ShapedArray) -> ShapedArray:
    """Return the abstract value of an array, where a Python scalar may have been."""
    return ShapedArray(aval.shape, aval.dtype) if aval.weak_type else aval


def as_strong(x: Value, aval: ShapedArray) -> Value:
    """Return a Python scalar, or what stands for one, as an array of the dtype of ``aval``."""
    return convert(x, aval.dtype) if get_aval(x).weak_type else x


def trace_body(
    f: Callable[..., Any], treedef: TreeDef, avals: Sequence[ShapedArray], where: str
) -> tuple[Jaxpr, TreeDef]:
    """Trace a body to a jaxpr whose results are arrays, never Python scalars."""
    jaxpr, out_tree = stage_tree(f, treedef, list(avals), where)
    if any(atom.aval.weak_type for atom in jaxpr.outvars):
        jaxpr = convert_outputs(jaxpr, [strong(aval) for aval in out_avals(jaxpr)], where)
    return jaxpr, out_tree


def convert_outputs(jaxpr: Jaxpr, wanted: Sequence[ShapedArray], where: str) -> Jaxpr:
    """Return the jaxpr with results that were Python scalars as arrays of these dtypes."""

    def converted(*args: Value) -> list[Value]:
        outs = eval_jaxpr(jaxpr, args)
        return [
            convert(x, aval.dtype) if get_aval(x).weak_type else x
            for x, aval in zip(outs, wanted, strict=True)
        ]

    return stage(converted, [var.aval for var in jaxpr.invars], where)


def check_carry(
    where: str, given: Sequence[ShapedArray], returned: Sequence[ShapedArray], trees: Any
) -> None:
    """Refuse a body whose carry comes out unlike it went in.

    Raises
    ------
    ShapeError
        Naming both structures, or the first leaf that differs.
    """
    before, after = trees
    if before != after:
        raise ShapeError(
            where, "the body returns a carry of another structure than it was given",
            given=f"{after} from {before}", expected="the same containers with the same keys",
        )  # fmt: skip
    for number, (x, y) in enumerate(zip(given, returned, strict=True)):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ShapeError(
                where, "the body returns a carry of another shape or dtype than it was given",
                given=f"leaf {number} went in as {x} and came out as {y}",
                expected="the same shape and dtype at every step",
                fix="begin with an array of the shape and dtype that the body returns",
            )  # fmt: skip
