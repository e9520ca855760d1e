"""``while_loop`` and ``fori_loop``: loops whose number of steps may be a traced value.

Forward derivatives go through.  Reverse ones do not, because what the steps leave
behind would need an unknown amount of memory; a ``fori_loop`` between Python ints is a
``scan``, which has both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from workbench.compiler import Builder, Program
from workbench.errors import DtypeError
from workbench.functional import ad
from workbench.functional.batching import AxisSize
from workbench.functional.calling import check_function
from workbench.functional.closed import (
    Mask,
    axes_of,
    batch_jaxpr,
    derive,
    flip,
    hoist,
    jvp_jaxpr,
    merge,
    out_avals,
    partial_eval_jaxpr,
    pick,
    run_jaxpr,
    spread_over,
)
from workbench.functional.compile import drop_dead
from workbench.functional.control.bodies import as_strong, check_carry, strong, trace_body
from workbench.functional.control.scanning import reorder, scan
from workbench.functional.core import ZERO, NoRule, Primitive, ShapedArray, Tracer, Value, get_aval
from workbench.functional.jaxpr import Jaxpr, Var, eval_jaxpr
from workbench.functional.lowering import ON_HOST, compiles, inline
from workbench.functional.numpy import elementwise as np_
from workbench.functional.numpy.creation import arange
from workbench.functional.numpy.reductions import max as any_of
from workbench.functional.primitives.elementwise import select
from workbench.functional.staging import StagingTrace, stage
from workbench.functional.tree import tree_flatten, tree_structure, tree_unflatten


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any) -> Any:
    """Run ``value = body_fun(value)`` as long as ``cond_fun(value)`` holds.

    Parameters
    ----------
    cond_fun : callable
        From the value to one boolean.
    body_fun : callable
        From the value to a new one of the same structure, shapes and dtypes.
    init : pytree

    Raises
    ------
    ShapeError, DtypeError
        If the condition is not one boolean, or the value changes in structure or type.
    """
    where = check_function("while_loop", body_fun)
    check_function("while_loop", cond_fun)
    leaves, treedef = tree_flatten(init)
    structure = tree_structure(((init,), {}))
    avals = [get_aval(x, where) for x in leaves]

    body, out_tree = trace_body(body_fun, structure, avals, where)
    if any(aval.weak_type for aval in avals) and out_tree == treedef:
        avals = [
            ShapedArray(own.shape, out.dtype) if own.weak_type else own
            for own, out in zip(avals, out_avals(body), strict=True)
        ]
        body, out_tree = trace_body(body_fun, structure, avals, where)
    check_carry(where, avals, out_avals(body), (treedef, out_tree))
    condition, _ = trace_body(cond_fun, structure, avals, where)
    found = out_avals(condition)
    if len(found) != 1 or found[0].shape or found[0].dtype.kind != "b":
        raise DtypeError(where, "cond_fun returns one boolean",
                         given=", ".join(map(str, found)) or "nothing", expected="bool[]",
                         fix="compare inside it; functional.numpy.all or any of an array")  # fmt: skip
    outs = while_p(
        *condition.consts, *body.consts, *map(as_strong, leaves, avals),
        condition=hoist(condition), body=hoist(body),
        cond_consts=len(condition.consts), body_consts=len(body.consts),
    )  # fmt: skip
    return tree_unflatten(treedef, outs)


def fori_loop(lower: Value, upper: Value, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """Run ``value = body_fun(i, value)`` for i from ``lower`` up to, and without, ``upper``.

    Between Python ints it is a :func:`scan` and has both derivatives; between traced ones
    a :func:`while_loop`.  Raises as they do.

    Raises
    ------
    DtypeError
        If an end is not one integer.
    """
    where = check_function("fori_loop", body_fun)
    for end in (lower, upper):
        aval = get_aval(end, where)
        if aval.shape or aval.dtype.kind not in "iu":
            raise DtypeError(where, "the ends are integers", given=str(aval), expected="int64[]")  # fmt: skip
    if not isinstance(lower, Tracer) and not isinstance(upper, Tracer):
        numbers = arange(int(lower), max(int(lower), int(upper)), dtype=np.int64)
        return scan(lambda value, i: (body_fun(i, value), None), init, numbers)[0]

    def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        i, value = state
        return i + 1, body_fun(i, value)

    start = np_.add(np.int64(0), lower)
    return while_loop(lambda state: np_.less(state[0], upper), step, (start, init))[1]


def _groups(values: Sequence[Any], cond_consts: int, body_consts: int) -> tuple[Any, Any, Any]:
    both = cond_consts + body_consts
    return values[:cond_consts], values[cond_consts:both], values[both:]


def _impl(*args: Value, **params: Any) -> tuple[Value, ...]:
    """Compile the whole loop, once; else run step by step."""
    condition, body = params["condition"], params["body"]
    if compiles(condition) and compiles(body) and all(isinstance(x, ON_HOST) for x in args):
        avals = [get_aval(x) for x in args]
        whole = derive(
            body, ("while", condition), lambda: stage(partial(while_p, **params), avals, "while")
        )
        return run_jaxpr(whole, args)
    cond_consts, body_consts, carry = _split(args, params)
    while bool(eval_jaxpr(condition, [*cond_consts, *carry])[0]):
        carry = eval_jaxpr(body, [*body_consts, *carry])
    return tuple(carry)


def _split(values: Sequence[Any], params: dict[str, Any]) -> tuple[Any, Any, Any]:
    return _groups(values, params["cond_consts"], params["body_consts"])


def _jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    body = params["body"]
    nonzero = tuple(t is not ZERO for t in tangents)
    _, of_consts, of_carry = _split(nonzero, params)
    while True:  # A tangent that enters the carry at one step is there at the next.
        pushed, mask = jvp_jaxpr(body, (*of_consts, *of_carry), of_carry)
        if mask == of_carry:
            break
        of_carry = mask
    cond_consts, body_consts, carry = _split(primals, params)
    _, t_consts, t_carry = _split(tangents, params)
    n, consts_t, carry_t = len(carry), sum(of_consts), sum(of_carry)
    moved = reorder(pushed, [len(body_consts), n, consts_t, carry_t], [0, 2, 1, 3],
                    [n + carry_t], [0])  # fmt: skip
    full = [ad.instantiate(t, p) for t, p, yes in zip(t_carry, carry, of_carry, strict=True) if yes]
    outs = primitive(
        *cond_consts, *body_consts, *pick(t_consts, of_consts), *carry, *full,
        condition=_wider(params["condition"], pick([get_aval(p) for p in carry], of_carry)),
        body=moved, cond_consts=len(cond_consts), body_consts=len(body_consts) + consts_t,
    )  # fmt: skip
    return list(outs[:n]), merge(of_carry, outs[n:], [ZERO] * of_carry.count(False))


def _wider(condition: Jaxpr, avals: Sequence[ShapedArray]) -> Jaxpr:
    """Let the condition take more values, at the end, at which it does not look."""

    def make() -> Jaxpr:
        invars = [*condition.invars, *map(Var, map(strong, avals))]
        return Jaxpr(condition.constvars, condition.consts, invars, condition.eqns,
                     condition.outvars)  # fmt: skip

    result: Jaxpr = derive(condition, ("wider", *avals), make)
    return result


def _batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    of_cond, of_body, of_carry = _split(tuple(mapped), params)
    cond_consts, body_consts, carry = _split(values, params)
    was = of_carry
    while True:  # What is batched in the carry at one step is so at the next.
        body, mask = batch_jaxpr(params["body"], (*of_body, *of_carry), size, of_carry)
        condition, (differs,) = batch_jaxpr(params["condition"], (*of_cond, *of_carry), size)
        # Where examples stop at different steps, every part of the carry differs.
        needed = (True,) * len(mask) if differs else mask
        if needed == of_carry:
            break
        of_carry = needed
    carry = [
        spread_over(x, size) if now and not before else x
        for x, now, before in zip(carry, of_carry, was, strict=True)
    ]
    params = {**params, "condition": condition, "body": body}
    if differs:
        params = _until_all_stop(params, len(cond_consts), len(body_consts))
        body_consts = [*cond_consts, *body_consts]
    outs = primitive(*cond_consts, *body_consts, *carry, **params)
    return list(outs), list(of_carry)


def _until_all_stop(params: dict[str, Any], n_cond: int, n_body: int) -> dict[str, Any]:
    """Run while any example goes on; those that have stopped keep their values."""
    condition, body = params["condition"], params["body"]
    cond_avals = [var.aval for var in condition.invars]
    carry_avals = cond_avals[n_cond:]

    def any_goes_on(*values: Value) -> list[Value]:
        return [any_of(eval_jaxpr(condition, values)[0])]

    def step(*values: Value) -> list[Value]:
        cond_consts, body_consts, carry = _groups(values, n_cond, n_body)
        (goes_on,) = eval_jaxpr(condition, [*cond_consts, *carry])
        new = eval_jaxpr(body, [*body_consts, *carry])
        return [
            select(goes_on.reshape((-1,) + (1,) * (len(x.shape) - 1)), y, x)
            for x, y in zip(carry, new, strict=True)
        ]

    body_avals = [var.aval for var in body.invars[:n_body]]

    def make() -> tuple[Jaxpr, Jaxpr]:
        return (
            stage(any_goes_on, cond_avals, "vmap"),
            stage(step, [*cond_avals[:n_cond], *body_avals, *carry_avals], "vmap"),
        )

    both, stepped = derive(body, ("until", condition), make)
    return {"condition": both, "body": stepped, "cond_consts": n_cond,
            "body_consts": n_cond + n_body}  # fmt: skip


def _partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    """Run what is known now; the loop that waits for the unknown runs all of it again."""
    condition, body = params["condition"], params["body"]
    of_cond, of_body, of_carry = _split(tuple(map(trace.owns, args)), params)
    while True:  # What is unknown in the carry at one step is so at the next.
        parts = partial_eval_jaxpr(body, (*of_body, *of_carry), forced=of_carry)
        if parts.unknown_out == of_carry:
            break
        of_carry = parts.unknown_out
    outs: tuple[Value, ...] = trace.record(while_p, args, params)
    looked_at = {atom for eqn in condition.eqns for atom in eqn.invars} | {*condition.outvars}
    waits = pick(condition.invars, (*of_cond, *of_carry))
    if not looked_at.isdisjoint(waits) or all(of_carry):
        return outs
    cond_consts, body_consts, carry = _split(args, params)
    known = while_p(
        *cond_consts, *pick(body_consts, flip(of_body)), *pick(carry, flip(of_carry)),
        condition=derive(condition, ("known", of_carry), lambda: _without(condition, of_carry)),
        body=derive(body, ("known", of_body, of_carry),
                    lambda: _first_results(parts.known, of_carry.count(False))),
        cond_consts=len(cond_consts), body_consts=of_body.count(False),
    )  # fmt: skip
    return tuple(merge(of_carry, pick(outs, of_carry), known))


def _without(condition: Jaxpr, mask: Mask) -> Jaxpr:
    """Return the condition without carried values at which it does not look."""
    consts = len(condition.invars) - len(mask)
    invars = [*condition.invars[:consts], *pick(condition.invars[consts:], flip(mask))]
    return Jaxpr(condition.constvars, condition.consts, invars, condition.eqns, condition.outvars)


def _first_results(jaxpr: Jaxpr, count: int) -> Jaxpr:
    outvars = jaxpr.outvars[:count]
    return drop_dead(Jaxpr(jaxpr.constvars, jaxpr.consts, jaxpr.invars, jaxpr.eqns, outvars))


def _lower(
    b: Builder, *args: Any, condition: Jaxpr, body: Jaxpr, cond_consts: int, body_consts: int
) -> tuple[Any, ...]:
    of_cond, of_body, carry = _groups(args, cond_consts, body_consts)

    def program(name: str, jaxpr: Jaxpr, own: slice) -> Program:
        # The compiler gives both the carry and then the constants of both.
        inner = Builder(name)
        carried = [inner.input(x.type) for x in carry]
        consts = [inner.input(x.type) for x in (*of_cond, *of_body)]
        return inner.program(inline(inner, jaxpr, [*consts[own], *carried]))

    looks = program("while_condition", condition, slice(None, cond_consts))
    steps = program("while_body", body, slice(cond_consts, None))
    return tuple(b.while_(carry, [*of_cond, *of_body], looks, steps))


while_p: Primitive = Primitive(
    "while",
    impl=_impl,
    abstract=lambda *avals, condition, body, cond_consts, body_consts: tuple(
        map(strong, out_avals(body))
    ),
    jvp=_jvp,
    batch=_batch,
    transpose=NoRule(
        "a while loop keeps no record of its steps, so it cannot run backward; use scan, or "
        "fori_loop between Python ints, or implicit differentiation with custom_vjp"
    ),
    lower=_lower,
    multiple=True,
    partial=_partial,
    axes=axes_of,
)
