"""Writing a function down instead of running it.

One trace serves two ends.  As the *dynamic* trace (``jit``, ``make_jaxpr``) it
records every primitive, whoever its arguments are, so that constants made inside
the function are part of the record (JAX calls this omnistaging).  Not dynamic, it
records only what depends on its own tracers while everything else is computed at
once: that is partial evaluation, and what ``linearize`` needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from workbench.functional.calling import Function, check_function
from workbench.functional.core import (
    STACK,
    Primitive,
    ShapedArray,
    Trace,
    Tracer,
    Value,
    describe,
    get_aval,
)
from workbench.functional.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from workbench.functional.refusals import TracedBranchError, TracedNumberError
from workbench.functional.tree import TreeDef, tree_flatten, tree_unflatten


class StagingTrace(Trace):
    """Records primitives as the equations of a jaxpr.

    Parameters
    ----------
    transform : str
        What to call it in messages.
    dynamic : bool
        Whether to record operations that involve none of its tracers, too.
    """

    def __init__(self, transform: str, dynamic: bool) -> None:
        super().__init__(transform)
        self.dynamic = dynamic
        self.eqns: list[Equation] = []
        # By identity; the value is kept so that no other object can take its id.
        self.constants: dict[int, tuple[Var, Value]] = {}

    def __enter__(self) -> StagingTrace:
        super().__enter__()
        self.outer = STACK.dynamic
        if self.dynamic:
            STACK.dynamic = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        STACK.dynamic = self.outer
        super().__exit__(kind, error, traceback)

    def process(
        self, primitive: Primitive, args: tuple[Value, ...], params: dict[str, Any]
    ) -> Value:
        """Write down one equation; only the abstract rule runs."""
        if primitive.partial and not self.dynamic:
            return primitive.partial(self, args, params)
        return self.record(primitive, args, params)

    def record(self, primitive: Primitive, args: Sequence[Value], params: dict[str, Any]) -> Value:
        """Write down one equation, whatever its rule for partial evaluation says."""
        invars = tuple([self.atom(arg) for arg in args])
        avals = primitive.abstract(*[atom.aval for atom in invars], **params)
        outvars = tuple([Var(aval) for aval in (avals if primitive.multiple else (avals,))])
        self.eqns.append(Equation(primitive, invars, params, outvars))
        tracers = tuple([StagedTracer(self, var) for var in outvars])
        return tracers if primitive.multiple else tracers[0]

    def owns(self, x: Value) -> bool:
        """Return whether ``x`` will exist only when this record is run."""
        return isinstance(x, StagedTracer) and x.trace is self

    def atom(self, x: Value) -> Atom:
        """Return what stands for ``x`` in an equation."""
        if self.owns(x):
            return x.var
        aval = get_aval(x)
        if aval.weak_type and not isinstance(x, Tracer):
            return Literal(x, aval)
        if aval.shape == () and isinstance(x, np.ndarray | np.generic):
            return Literal(np.asarray(x)[()], aval)
        return self.constants.setdefault(id(x), (Var(aval), x))[0]

    def jaxpr(self, invars: Sequence[Var], outs: Sequence[Value]) -> Jaxpr:
        """Close the record into a jaxpr."""
        outvars = [self.atom(out) for out in outs]
        constvars = [var for var, _ in self.constants.values()]
        consts = [value for _, value in self.constants.values()]
        return Jaxpr(constvars, consts, list(invars), self.eqns, outvars)


class StagedTracer(Tracer):
    """A value that will exist when the jaxpr is run."""

    __slots__ = ("var",)

    def __init__(self, trace: StagingTrace, var: Var) -> None:
        super().__init__(trace)
        self.var = var

    @property
    def aval(self) -> ShapedArray:
        """Shape and dtype."""
        return self.var.aval

    def concrete(self, want: str) -> Value:
        """Refuse: there is no number yet."""
        fixes = {
            "bool": "functional.cond(condition, f, g, x) or functional.numpy.where(condition, a, b) "
            "choose by a traced value, functional.while_loop repeats by one; or make the argument "
            "static: jit(f, static_argnums=...)",
            "index": "functional.numpy.take(x, i), or x[i] with x a traced array, index by a traced "
            "value; a shape must be static: jit(f, static_argnums=...)",
        }
        raise (TracedBranchError if want == "bool" else TracedNumberError)(
            want, f"{self.trace.transform} traces this function once for all values, "
            "so there is no number here yet",
            given=describe(self),
            expected="a value that does not depend on the traced arguments",
            fix=fixes.get(want, "compute with functional.numpy throughout, or close over the number "
            "instead of passing it"),
        )  # fmt: skip


def stage(f: Callable[..., Sequence[Value]], avals: Sequence[ShapedArray], transform: str) -> Jaxpr:
    """Trace ``f``, from flat values to flat values, to a jaxpr."""
    with StagingTrace(transform, dynamic=True) as trace:
        invars = [Var(aval) for aval in avals]
        outs = f(*[StagedTracer(trace, var) for var in invars])
        return trace.jaxpr(invars, outs)


def make_jaxpr(f: Function) -> Callable[..., Jaxpr]:
    """Return a function that traces f for its arguments and returns the jaxpr.

    Only shapes and dtypes of the arguments matter; pytrees are flattened.  Print it.
    """
    where = check_function("make_jaxpr", f)

    @functools.wraps(f)
    def traced(*args: Any, **kwargs: Any) -> Jaxpr:
        leaves, treedef = tree_flatten((args, kwargs))
        return stage_tree(f, treedef, [get_aval(leaf, where) for leaf in leaves], where)[0]

    return traced


def stage_tree(
    f: Function, treedef: TreeDef, avals: Sequence[ShapedArray], where: str
) -> tuple[Jaxpr, TreeDef]:
    """Trace ``f``, from pytrees to a pytree; return the jaxpr and the structure of the result."""
    structure: list[TreeDef] = []

    def flat(*leaves: Value) -> list[Value]:
        args, kwargs = tree_unflatten(treedef, leaves)
        outs, out_tree = tree_flatten(f(*args, **kwargs))
        for out in outs:
            get_aval(out, where)
        structure.append(out_tree)
        return outs

    return stage(flat, avals, where), structure[0]


def eval_shape(f: Function, *args: Any, **kwargs: Any) -> Any:
    """Return what ``f(*args, **kwargs)`` would, with shapes and dtypes in place of arrays.

    Nothing is computed.  Arguments may be arrays, or :class:`ShapedArray` themselves.
    """
    where = check_function("eval_shape", f)
    leaves, treedef = tree_flatten((args, kwargs))
    avals = [x if isinstance(x, ShapedArray) else get_aval(x, where) for x in leaves]
    jaxpr, out_tree = stage_tree(f, treedef, avals, where)
    return tree_unflatten(out_tree, [atom.aval for atom in jaxpr.outvars])
