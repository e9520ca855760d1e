"""Derivatives: jvp, and reverse mode derived from it.

No primitive here has a backward rule.  ``jvp`` pushes tangents forward.  Partial
evaluation runs that with the primals known and the tangents unknown: what the
primals need is computed, what the tangents need is written down, and since
tangents enter linearly the record is a linear program.  Transposed, read from its
last equation to its first, it takes cotangents backward: reverse mode (Frostig,
Johnson, Maclaurin, Paszke and Radul, 2021, "Decomposing reverse-mode automatic
differentiation").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import GraphError
from workbench.functional.core import (
    ZERO,
    Linear,
    NoRule,
    Primitive,
    ShapedArray,
    Trace,
    Tracer,
    Value,
    describe,
    get_aval,
)
from workbench.functional.jaxpr import Atom, Jaxpr, Literal, Var
from workbench.functional.primitives.elementwise import add, full_like
from workbench.functional.refusals import IntegerInputError, TracedNumberError
from workbench.functional.staging import StagedTracer, StagingTrace


class JVPTrace(Trace):
    """Carries a tangent beside every value."""

    def process(
        self, primitive: Primitive, args: tuple[Value, ...], params: dict[str, Any]
    ) -> Value:
        """Apply the primitive to the primals and its jvp rule to the tangents."""
        primals, tangents = self.split(args)
        if isinstance(primitive.jvp, NoRule):
            return primitive(*primals, **params)
        outs, out_tangents = primitive.jvp(primitive, primals, tangents, params)
        if primitive.multiple:
            return tuple(map(self.join, outs, out_tangents))
        return self.join(outs, out_tangents)

    def split(self, values: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """Return the primals and the tangents, :data:`ZERO` for constants."""
        own = [isinstance(x, JVPTracer) and x.trace is self for x in values]
        return (
            [x.primal if mine else x for x, mine in zip(values, own, strict=True)],
            [x.tangent if mine else ZERO for x, mine in zip(values, own, strict=True)],
        )

    def join(self, primal: Value, tangent: Value) -> Value:
        """Return a tracer, or the primal alone where the tangent is zero."""
        return primal if tangent is ZERO else JVPTracer(self, primal, tangent)


class JVPTracer(Tracer):
    """A value and its tangent."""

    __slots__ = ("primal", "tangent")

    def __init__(self, trace: JVPTrace, primal: Value, tangent: Value) -> None:
        super().__init__(trace)
        self.primal, self.tangent = primal, tangent

    @property
    def aval(self) -> ShapedArray:
        """Shape and dtype of the primal."""
        return get_aval(self.primal)

    def concrete(self, want: str) -> Value:
        """Return the primal: a branch has no derivative.  A float would lose its own."""
        if want == "float":
            raise TracedNumberError(
                "float", "turning a tracer into a float would silently drop its derivative",
                given=describe(self),
                fix="compute with functional.numpy (its functions, not math's); "
                "to drop the derivative on purpose: float(functional.stop_gradient(x))",
            )  # fmt: skip
        return self.primal


FlatFunction = Callable[..., tuple[Sequence[Value], Any]]
"""From flat values to (flat values, anything else that rides along unseen)."""


def jvp_flat(
    f: FlatFunction, primals: Sequence[Value], tangents: Sequence[Value], transform: str
) -> tuple[list[Value], list[Value], Any]:
    """Return f's outputs, their tangents (maybe ZERO), and what rode along."""
    with JVPTrace(transform) as trace:
        outs, rest = f(*map(trace.join, primals, tangents))
        return (*trace.split(outs), rest)


@dataclass(frozen=True)
class Linearized:
    """The linear part of a function at one point, as a jaxpr from tangents to tangents.

    Attributes
    ----------
    jaxpr : Jaxpr
        Its outputs are the tangents that are not zero.
    nonzero : list of bool
        For each output of the function, whether the jaxpr has it.
    """

    jaxpr: Jaxpr
    nonzero: list[bool]


def linearize_flat(
    f: FlatFunction, primals: Sequence[Value], transform: str
) -> tuple[list[Value], Linearized, Any]:
    """Return f's outputs at ``primals``, its linear part there, and what rode along."""
    with StagingTrace(transform, dynamic=False) as trace:
        invars = [Var(get_aval(primal)) for primal in primals]
        unknown = [StagedTracer(trace, var) for var in invars]
        outs, tangents, rest = jvp_flat(f, primals, unknown, transform)
        nonzero = [tangent is not ZERO for tangent in tangents]
        jaxpr = trace.jaxpr(invars, [t for t in tangents if t is not ZERO])
    return outs, Linearized(jaxpr, nonzero), rest


def transpose_jaxpr(
    jaxpr: Jaxpr, cotangents: Sequence[Value], args: Sequence[Value] | None = None
) -> list[Value]:
    """Apply the transpose of a linear jaxpr: cotangents of its outputs to those of its inputs.

    What does not depend on a linear input is computed first, forward; it need not be
    linear.  Then cotangents of a variable used twice are added, in one sweep backward
    and without recursion, however long the jaxpr.

    Parameters
    ----------
    jaxpr : Jaxpr
    cotangents : sequence
        One an output, maybe :data:`ZERO`.
    args : sequence, optional
        One an input: its value, or a :class:`Linear`.  All are linear if not given.

    Returns
    -------
    list
        One cotangent an input, :data:`ZERO` where no output depends on it or it is known.
    """
    known = dict(zip(jaxpr.constvars, jaxpr.consts, strict=True))
    for var, arg in zip(jaxpr.invars, args or (), strict=args is not None):
        if not isinstance(arg, Linear):
            known[var] = arg
    pending: dict[Atom, Value] = {}

    def argument(atom: Atom) -> Value:
        if isinstance(atom, Literal):
            return atom.value
        return known[atom] if atom in known else Linear(atom.aval)

    def accumulate(atom: Atom, g: Value) -> None:
        if isinstance(atom, Var) and atom not in known:
            pending[atom] = g if atom not in pending else add(pending[atom], g)

    linear = []
    for eqn in jaxpr.eqns:
        if all(isinstance(atom, Literal) or atom in known for atom in eqn.invars):
            result = eqn.primitive(*map(argument, eqn.invars), **eqn.params)
            results = result if eqn.primitive.multiple else (result,)
            known.update(zip(eqn.outvars, results, strict=True))
        else:
            linear.append(eqn)
    for atom, g in zip(jaxpr.outvars, cotangents, strict=True):
        if g is not ZERO:
            accumulate(atom, g)
    for eqn in reversed(linear):
        gs = [pending.pop(var, ZERO) for var in eqn.outvars]
        if all(g is ZERO for g in gs):
            continue
        rule = eqn.primitive.transpose
        if isinstance(rule, NoRule):
            raise GraphError(eqn.primitive.name, "this operation cannot be transposed",
                             given=rule.reason)  # fmt: skip
        arguments = map(argument, eqn.invars)
        found = rule(gs if eqn.primitive.multiple else gs[0], *arguments, **eqn.params)
        for atom, cotangent in zip(eqn.invars, found, strict=True):
            if cotangent is not None and cotangent is not ZERO:
                accumulate(atom, cotangent)
    return [pending.get(var, ZERO) for var in jaxpr.invars]


def instantiate(tangent: Value, primal: Value) -> Value:
    """Return the tangent, with zeros like ``primal`` in place of :data:`ZERO`."""
    return full_like(primal, fill_value=0) if tangent is ZERO else tangent


def check_differentiable(where: str, names: Sequence[str], values: Sequence[Value]) -> None:
    """Refuse to differentiate with respect to anything but real floating-point values."""
    for name, value in zip(names, values, strict=True):
        aval = get_aval(value, where)
        if aval.dtype.kind != "f":
            raise IntegerInputError(
                where, f"{name} is not real floating point, so nothing can be differentiated "
                "with respect to it",
                given=f"{name} {aval}", expected="float32 or float64",
                fix="convert it with astype, pass it in an argument that is not differentiated, "
                "or close over it",
            )  # fmt: skip
