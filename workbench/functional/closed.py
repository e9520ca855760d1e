"""A jaxpr as an operation: called, differentiated, batched, split and transposed whole.

Where a function inside a function is kept as data (a nested ``jit``, the body of a
``scan``, a branch of a ``cond``), a transform must rewrite that data.  It does so by the
rules it has already: the jaxpr is run under the transform's trace while a staging trace
writes down what happens.  Each rewriting is kept with the jaxpr it was made from.

Jaxprs in here close over arrays only.  What belongs to a trace is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import GraphError
from workbench.functional import ad
from workbench.functional.batching import AxisSize, vmap_flat
from workbench.functional.compile import drop_dead, simplify
from workbench.functional.core import (
    ZERO,
    Linear,
    Primitive,
    ShapedArray,
    Tracer,
    Value,
    describe,
    get_aval,
)
from workbench.functional.jaxpr import Jaxpr, Var, eval_jaxpr, nested
from workbench.functional.lowering import compile_jaxpr, inline
from workbench.functional.primitives.creation import full
from workbench.functional.primitives.shape import broadcast_to
from workbench.functional.staging import StagedTracer, StagingTrace, stage

Mask = tuple[bool, ...]


def hoist(jaxpr: Jaxpr) -> Jaxpr:
    """Return the jaxpr with what it closes over as its first arguments instead."""
    if not jaxpr.consts:
        return jaxpr
    if "hoisted" not in jaxpr.derived:
        invars = [*jaxpr.constvars, *jaxpr.invars]
        jaxpr.derived["hoisted"] = Jaxpr([], [], invars, jaxpr.eqns, jaxpr.outvars)
    hoisted: Jaxpr = jaxpr.derived["hoisted"]
    return hoisted


def in_avals(jaxpr: Jaxpr) -> list[ShapedArray]:
    """Return the abstract values of the arguments."""
    return [var.aval for var in jaxpr.invars]


def out_avals(jaxpr: Jaxpr) -> tuple[ShapedArray, ...]:
    """Return the abstract values of the results."""
    return tuple([atom.aval for atom in jaxpr.outvars])


def derive(jaxpr: Jaxpr, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """Return what was made of the jaxpr under this key, making it the first time."""
    if key not in jaxpr.derived:
        jaxpr.derived[key] = make()
    return jaxpr.derived[key]


def _stage(f: Callable[..., Sequence[Value]], avals: Sequence[ShapedArray], name: str) -> Jaxpr:
    jaxpr = stage(f, avals, name)
    for const in jaxpr.consts:
        if isinstance(const, Tracer):
            raise GraphError(
                name, "a rule inside a traced function closes over a traced value",
                given=describe(const), expected="a rule that uses its arguments only",
                fix="pass the value as an argument of the function",
            )  # fmt: skip
    return drop_dead(jaxpr)


def pick(values: Iterable[Any], mask: Mask) -> list[Any]:
    """Return the values where the mask holds."""
    return [value for value, yes in zip(values, mask, strict=True) if yes]


def merge(mask: Mask, where: Iterable[Any], elsewhere: Iterable[Any]) -> list[Any]:
    """Return one sequence of the values for where the mask holds and those for where not."""
    yes, no = iter(where), iter(elsewhere)
    return [next(yes) if each else next(no) for each in mask]


def jvp_jaxpr(jaxpr: Jaxpr, nonzero: Mask, forced: Mask | None = None) -> tuple[Jaxpr, Mask]:
    """Return the jvp of a jaxpr, and which of its results have a tangent.

    It takes the arguments and then the tangents of those in ``nonzero``; it returns the
    results and then the tangents of those in the mask, which has all of ``forced``.
    """

    def make() -> tuple[Jaxpr, Mask]:
        masks: list[Mask] = []

        def flat(*values: Value) -> list[Value]:
            primals = values[: len(nonzero)]
            zeros = [ZERO] * (len(nonzero) - sum(nonzero))
            tangents = merge(nonzero, values[len(nonzero) :], zeros)
            outs, out_tangents, _ = ad.jvp_flat(
                lambda *xs: (eval_jaxpr(jaxpr, xs), None), primals, tangents, "jvp"
            )
            force = forced or (False,) * len(outs)
            mask = tuple(t is not ZERO or f for t, f in zip(out_tangents, force, strict=True))
            masks.append(mask)
            full = map(ad.instantiate, pick(out_tangents, mask), pick(outs, mask))
            return [*outs, *full]

        avals = in_avals(jaxpr)
        return _stage(flat, [*avals, *pick(avals, nonzero)], "jvp"), masks[0]

    result: tuple[Jaxpr, Mask] = derive(jaxpr, ("jvp", nonzero, forced), make)
    return result


def batch_jaxpr(
    jaxpr: Jaxpr, mapped: Mask, size: AxisSize, forced: Mask | None = None
) -> tuple[Jaxpr, Mask]:
    """Return the jaxpr for a whole batch, and which results carry it (all of ``forced``)."""

    def make() -> tuple[Jaxpr, Mask]:
        masks: list[Mask] = []

        def flat(*values: Value) -> list[Value]:
            axes = [0 if mine else None for mine in mapped]
            trace, outs, _ = vmap_flat(
                lambda *xs: (eval_jaxpr(jaxpr, xs), None), values, axes, size, size.name
            )
            force = forced or (False,) * len(outs)
            mask = tuple(trace.owns(x) or f for x, f in zip(outs, force, strict=True))
            masks.append(mask)
            return [
                x.value if trace.owns(x) else spread_over(x, size) if f else x
                for x, f in zip(outs, force, strict=True)
            ]

        avals = [
            ShapedArray((size, *aval.shape), aval.dtype) if mine else aval
            for aval, mine in zip(in_avals(jaxpr), mapped, strict=True)
        ]
        return _stage(flat, avals, "vmap"), masks[0]

    key = ("batch", mapped, int(size), size.name, forced)
    result: tuple[Jaxpr, Mask] = derive(jaxpr, key, make)
    return result


def spread_over(x: Value, size: int) -> Value:
    """Return ``x`` repeated along a new axis 0."""
    return broadcast_to(x, shape=(size, *get_aval(x).shape))


@dataclass(frozen=True)
class Partial:
    """A jaxpr in two parts: what can be computed now, and what waits for the unknown.

    Attributes
    ----------
    known : Jaxpr
        From the known arguments to the known results and then the residuals.
    unknown : Jaxpr
        From the forwarded arguments, the residuals and the unknown arguments, in this
        order, to the unknown results.
    unknown_out : tuple of bool
        Which results are unknown.
    forwarded : list of int
        Known arguments that the second part needs as they are, by number among the known.
    """

    known: Jaxpr
    unknown: Jaxpr
    unknown_out: Mask
    forwarded: list[int]

    @property
    def residuals(self) -> int:
        """How many values the first part hands to the second, without forwarded ones."""
        return len(self.known.outvars) - self.unknown_out.count(False)


def partial_eval_jaxpr(
    jaxpr: Jaxpr, unknown: Mask, forced: Mask | None = None, changing: Mask | None = None
) -> Partial:
    """Split a jaxpr at what depends on unknown arguments; results in ``forced`` count as such.

    Arguments in ``changing`` are never forwarded: they are residuals like any other.

    Two traces run it together: the inner one waits for the unknown, the outer one records
    everything else, and what passes from one to the other is the residuals.
    """

    def make() -> Partial:
        avals = in_avals(jaxpr)
        with StagingTrace("partial evaluation", dynamic=True) as outer:
            known_vars = [Var(aval) for aval in pick(avals, flip(unknown))]
            with StagingTrace("partial evaluation", dynamic=False) as inner:
                unknown_vars = [Var(aval) for aval in pick(avals, unknown)]
                args = merge(
                    unknown,
                    [StagedTracer(inner, var) for var in unknown_vars],
                    [StagedTracer(outer, var) for var in known_vars],
                )
                outs = eval_jaxpr(jaxpr, args)
                force = forced or (False,) * len(outs)
                mask = tuple(inner.owns(x) or f for x, f in zip(outs, force, strict=True))
                body = drop_dead(inner.jaxpr(unknown_vars, pick(outs, mask)))
            passed = [const for const in body.consts if isinstance(const, StagedTracer)]
            own = [isinstance(const, StagedTracer) for const in body.consts]
            may = pick(flip(changing or (False,) * len(avals)), flip(unknown))
            places = {var: i for i, var in enumerate(known_vars) if may[i]}
            direct = [x.var in places for x in passed]
            residual_vars = pick(body.constvars, tuple(own))
            known = outer.jaxpr(
                known_vars, [*pick(outs, flip(mask)), *pick(passed, flip(tuple(direct)))]
            )
        ordered = [*pick(residual_vars, tuple(direct)), *pick(residual_vars, flip(tuple(direct)))]
        rest = flip(tuple(own))
        body = Jaxpr(
            pick(body.constvars, rest), pick(body.consts, rest), [*ordered, *unknown_vars],
            body.eqns, body.outvars,
        )  # fmt: skip
        forwarded = [places[x.var] for x in pick(passed, tuple(direct))]
        return Partial(drop_dead(known), body, mask, forwarded)

    result: Partial = derive(jaxpr, ("partial", unknown, forced, changing), make)
    return result


def flip(mask: Mask) -> Mask:
    """Return the mask of everything else."""
    return tuple([not each for each in mask])


def transposed_jaxpr(jaxpr: Jaxpr, linear: Mask, nonzero: Mask) -> tuple[Jaxpr, Mask]:
    """Return the transpose of a jaxpr that is linear in some arguments.

    It takes the other arguments and the cotangents of the results in ``nonzero``, and
    returns the cotangents of those linear arguments that are in the mask (of them alone).
    """

    def make() -> tuple[Jaxpr, Mask]:
        masks: list[Mask] = []

        def flat(*values: Value) -> list[Value]:
            known = linear.count(False)
            args = merge(linear, map(Linear, pick(avals, linear)), values[:known])
            zeros = [ZERO] * nonzero.count(False)
            found = ad.transpose_jaxpr(jaxpr, merge(nonzero, values[known:], zeros), args)
            cotangents = pick(found, linear)
            masks.append(tuple(c is not ZERO for c in cotangents))
            return pick(cotangents, masks[0])

        avals = in_avals(jaxpr)
        given = [*pick(avals, flip(linear)), *pick(out_avals(jaxpr), nonzero)]
        return _stage(flat, given, "transposition"), masks[0]

    result: tuple[Jaxpr, Mask] = derive(jaxpr, ("transpose", linear, nonzero), make)
    return result


def run_jaxpr(jaxpr: Jaxpr, args: Sequence[Value]) -> tuple[Value, ...]:
    """Compile a jaxpr the first time, and run it on arrays."""
    run = derive(jaxpr, ("program",), lambda: compile_jaxpr(simplify(jaxpr)))
    outs: tuple[Value, ...] = run(*args)
    return outs


def axes_of(params: dict[str, Any]) -> set[str]:
    """Return the named axes that jaxprs among the parameters of an equation work along."""
    found: set[str] = set()
    for jaxpr in nested(params):
        if ("axes",) not in jaxpr.derived:
            inner = [eqn.primitive.axes(eqn.params) for eqn in jaxpr.eqns if eqn.primitive.axes]
            jaxpr.derived[("axes",)] = {name for names in inner for name in names}
        found |= jaxpr.derived[("axes",)]
    return found


# A function called by a function


def _call_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    nonzero = tuple(t is not ZERO for t in tangents)
    jaxpr, mask = jvp_jaxpr(params["jaxpr"], nonzero)
    outs = primitive(*primals, *pick(tangents, nonzero), **{**params, "jaxpr": jaxpr})
    n = len(mask)
    return list(outs[:n]), merge(mask, outs[n:], [ZERO] * mask.count(False))


def _call_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    jaxpr, mask = batch_jaxpr(params["jaxpr"], tuple(mapped), size)
    return list(primitive(*values, **{**params, "jaxpr": jaxpr})), list(mask)


def transpose_call(
    primitive: Primitive, gs: Sequence[Value], *args: Any, name: str, jaxpr: Jaxpr
) -> list[Value]:
    """Return the cotangents of a call, by a call of ``primitive``."""
    linear = tuple(isinstance(x, Linear) for x in args)
    nonzero = tuple(g is not ZERO for g in gs)
    back, mask = transposed_jaxpr(jaxpr, linear, nonzero)
    outs = primitive(*pick(args, flip(linear)), *pick(gs, nonzero), name=name, jaxpr=back)
    cotangents = merge(mask, outs, [ZERO] * mask.count(False))
    return merge(linear, cotangents, [None] * linear.count(False))


def _call_partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    unknown = tuple(map(trace.owns, args))
    parts = partial_eval_jaxpr(params["jaxpr"], unknown)
    known_args = pick(args, flip(unknown))
    results = call(*known_args, **{**params, "jaxpr": parts.known}) if parts.known.outvars else ()
    count = parts.unknown_out.count(False)
    passed = [*(known_args[i] for i in parts.forwarded), *results[count:]]
    outs = trace.record(
        call, [*passed, *pick(args, unknown)], {**params, "jaxpr": parts.unknown}
    )  # fmt: skip
    return tuple(merge(parts.unknown_out, outs, results[:count]))


call: Primitive = Primitive(
    "jit",
    impl=lambda *args, name, jaxpr: run_jaxpr(jaxpr, args),
    abstract=lambda *avals, name, jaxpr: out_avals(jaxpr),
    jvp=_call_jvp,
    batch=_call_batch,
    transpose=lambda gs, *args, **params: transpose_call(call, gs, *args, **params),
    lower=lambda b, *args, name, jaxpr: tuple(inline(b, jaxpr, args)),
    multiple=True,
    partial=_call_partial,
    axes=axes_of,
)


def zeros_of(aval: ShapedArray) -> Value:
    """Return an array of zeros."""
    return full(shape=aval.shape, dtype=aval.dtype, fill_value=0)
