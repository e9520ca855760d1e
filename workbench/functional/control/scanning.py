"""``scan``: a loop with a carry over the leading axis of arrays, as one equation.

Its derivative is a scan again, forward; and transposed it is a scan that runs the
other way, which is backpropagation through time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from workbench import arrays
from workbench.compiler import Builder
from workbench.errors import OptionError, ShapeError
from workbench.functional import ad
from workbench.functional.batching import AxisSize
from workbench.functional.calling import Function, check_function
from workbench.functional.closed import (
    Mask,
    axes_of,
    batch_jaxpr,
    derive,
    flip,
    hoist,
    in_avals,
    jvp_jaxpr,
    merge,
    out_avals,
    partial_eval_jaxpr,
    pick,
    run_jaxpr,
    spread_over,
    zeros_of,
)
from workbench.functional.control.bodies import as_strong, check_carry, strong, trace_body
from workbench.functional.core import (
    ZERO,
    Linear,
    Primitive,
    ShapedArray,
    Value,
    get_aval,
)
from workbench.functional.jaxpr import Jaxpr, eval_jaxpr
from workbench.functional.lowering import ON_HOST, body_program, compiles
from workbench.functional.primitives.elementwise import add
from workbench.functional.primitives.shape import move_axis
from workbench.functional.staging import StagingTrace, stage
from workbench.functional.tree import tree_flatten, tree_structure, tree_unflatten

# The arguments of the primitive stand in three groups: constants, which every step sees,
# the carry, and sequences, of which every step sees one element.  The body takes the three
# in this order and returns the new carry and one element of every result.


def scan(
    f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """Run ``carry, y = f(carry, x)`` over the leading axis of ``xs``.

    Parameters
    ----------
    f : callable
        Takes the carry and one element of ``xs`` (pytrees); returns the new carry, of the same
        shapes and dtypes, and a pytree that is stacked over the steps.
    init : pytree
        The first carry.
    xs : pytree of arrays, or None
        Sequences; their axis 0 counts the steps.
    length : int, optional
        Number of steps; needed where ``xs`` is None.
    reverse : bool
        Whether to run from the last element to the first; ``ys`` keep the places of ``xs``.

    Returns
    -------
    (carry, ys)
        The last carry, and what the steps returned, stacked along axis 0.

    Raises
    ------
    ShapeError
        If the sequences differ in length, or the carry changes in structure, shape or dtype.
    OptionError
        If there is no length, or f does not return a pair.
    """
    where = check_function("scan", f)
    leaves, xs_tree = tree_flatten(xs)
    steps = _length(where, leaves, length)
    carry, carry_tree = tree_flatten(init)
    elements = [ShapedArray(get_aval(x).shape[1:], get_aval(x).dtype) for x in leaves]
    structure = tree_structure(((init, tree_unflatten(xs_tree, leaves)), {}))

    def body(carry: Any, x: Any) -> Any:
        out = f(carry, x)
        if not isinstance(out, tuple) or len(out) != 2:
            raise OptionError(where, "the body returns a pair", given=f"a {type(out).__name__}",
                              expected="(carry, y); y may be None")  # fmt: skip
        return out

    avals = [get_aval(x, where) for x in carry]
    jaxpr, out_tree = trace_body(body, structure, [*avals, *elements], where)
    weak = any(aval.weak_type for aval in avals)
    carry_out, ys_tree = _two(out_tree)
    if weak and carry_out == carry_tree:  # Take the dtype that the body gives them.
        found = out_avals(jaxpr)[: len(carry)]
        avals = [
            ShapedArray(own.shape, out.dtype) if own.weak_type else own
            for own, out in zip(avals, found, strict=True)
        ]
        jaxpr, _ = trace_body(body, structure, [*avals, *elements], where)
    count = carry_out.leaves
    check_carry(where, avals, out_avals(jaxpr)[:count], (carry_tree, carry_out))
    consts, closed = jaxpr.consts, hoist(jaxpr)
    outs = scan_p(
        *consts, *map(as_strong, carry, avals), *leaves,
        jaxpr=closed, consts=len(consts), carry=count, length=steps, reverse=bool(reverse),
    )  # fmt: skip
    return (
        tree_unflatten(carry_out, outs[:count]),
        tree_unflatten(ys_tree, outs[count:]),
    )


def _two(treedef: Any) -> tuple[Any, Any]:
    first, second = treedef.node[2]
    return type(treedef)(first), type(treedef)(second)


def _length(where: str, leaves: Sequence[Value], length: int | None) -> int:
    lengths = {} if length is None else {int(length): "length"}
    for number, x in enumerate(leaves):
        aval = get_aval(x, where)
        if not aval.shape:
            raise ShapeError(where, "a sequence has no axis to run over",
                             given=f"leaf {number} {aval}",
                             expected="arrays whose axis 0 counts the steps")  # fmt: skip
        lengths.setdefault(aval.shape[0], f"leaf {number} {aval}")
    if len(lengths) != 1:
        given = "; ".join(f"{n} in {what}" for n, what in lengths.items())
        raise (ShapeError if lengths else OptionError)(
            where, "the number of steps is not one number", given=given or "no sequence",
            expected="sequences of one length" if lengths else "xs, or length=",
        )  # fmt: skip
    return next(iter(lengths))


def _abstract(
    *avals: ShapedArray, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
) -> tuple[ShapedArray, ...]:
    outs = out_avals(jaxpr)
    stacked = [ShapedArray((length, *aval.shape), aval.dtype) for aval in outs[carry:]]
    return tuple([strong(aval) for aval in outs[:carry]] + stacked)


def _impl(*args: Value, **params: Any) -> tuple[Value, ...]:
    """Compile the whole loop, once for each body and length; else run step by step."""
    jaxpr, count, length = params["jaxpr"], params["carry"], params["length"]
    if compiles(jaxpr) and all(isinstance(x, ON_HOST) for x in args):
        avals = [get_aval(x) for x in args]
        key = ("loop", *[v for k, v in params.items() if k != "jaxpr"])
        whole = derive(jaxpr, key, lambda: stage(partial(scan_p, **params), avals, "scan"))
        return run_jaxpr(whole, args)
    consts, carry, xs = _groups(params, args)
    steps = range(length)
    rows = []
    for t in reversed(steps) if params["reverse"] else steps:
        outs = eval_jaxpr(jaxpr, [*consts, *carry, *(x[t] for x in xs)])
        carry = outs[:count]
        rows.append(outs[count:])
    rows = rows[::-1] if params["reverse"] else rows
    xp = arrays.namespace(*args)
    stacked = [
        xp.stack([row[i] for row in rows]) if rows else xp.empty((0, *aval.shape), aval.dtype)
        for i, aval in enumerate(out_avals(jaxpr)[count:])
    ]
    return (*carry, *stacked)


def _groups(params: dict[str, Any], values: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Split the arguments into constants, carry and sequences."""
    a, b = params["consts"], params["consts"] + params["carry"]
    return values[:a], values[a:b], values[b:]


def _jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    jaxpr, count = params["jaxpr"], params["carry"]
    nonzero = tuple(t is not ZERO for t in tangents)
    of_consts, of_carry, of_xs = _groups(params, nonzero)
    ys = len(jaxpr.outvars) - count
    while True:  # A tangent that enters the carry at one step is there at the next.
        pushed, mask = jvp_jaxpr(
            jaxpr, (*of_consts, *of_carry, *of_xs), (*of_carry, *(False,) * ys)
        )
        if mask[:count] == of_carry:
            break
        of_carry = mask[:count]
    # The body takes primals and then tangents; scan wants the groups together.
    carry_t, consts_t, xs_t = sum(of_carry), sum(of_consts), sum(of_xs)
    n_consts, n_carry, n_xs = params["consts"], count, len(primals) - params["consts"] - count
    sizes = [n_consts, n_carry, n_xs, consts_t, carry_t, xs_t]
    moved = reorder(pushed, sizes, [0, 3, 1, 4, 2, 5], [count, ys, carry_t, sum(mask[count:])],
                    [0, 2, 1, 3])  # fmt: skip
    t_consts, t_carry, t_xs = _groups(params, tangents)
    p_consts, p_carry, p_xs = _groups(params, primals)
    full = [
        ad.instantiate(t, p) for t, p, yes in zip(t_carry, p_carry, of_carry, strict=True) if yes
    ]
    outs = primitive(
        *p_consts, *pick(t_consts, of_consts), *p_carry, *full, *p_xs, *pick(t_xs, of_xs),
        **{**params, "jaxpr": moved, "consts": n_consts + consts_t, "carry": n_carry + carry_t},
    )  # fmt: skip
    carries, pushed_carry = outs[:count], outs[count : count + carry_t]
    stacked = outs[count + carry_t : count + carry_t + ys]
    pushed_ys = outs[count + carry_t + ys :]
    zeros = [ZERO] * mask.count(False)
    return [*carries, *stacked], merge(mask, [*pushed_carry, *pushed_ys], zeros)


def reorder(
    jaxpr: Jaxpr,
    sizes: Sequence[int],
    order: Sequence[int],
    out_sizes: Sequence[int],
    out_order: Sequence[int],
) -> Jaxpr:
    """Return the jaxpr with groups of its arguments, and of its results, in another order."""

    def moved(values: Sequence[Any], sizes: Sequence[int], order: Sequence[int]) -> list[Any]:
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [x for i in order for x in values[starts[i] : starts[i] + sizes[i]]]

    key = ("reorder", *sizes, *order, *out_sizes, *out_order)
    result: Jaxpr = derive(
        jaxpr, key,
        lambda: Jaxpr(jaxpr.constvars, jaxpr.consts, moved(jaxpr.invars, sizes, order),
                      jaxpr.eqns, moved(jaxpr.outvars, out_sizes, out_order)),
    )  # fmt: skip
    return result


def _batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    jaxpr, count = params["jaxpr"], params["carry"]
    of_consts, of_carry, of_xs = _groups(params, tuple(mapped))
    ys = len(jaxpr.outvars) - count
    while True:  # What is batched in the carry at one step is so at the next.
        batched, mask = batch_jaxpr(
            jaxpr, (*of_consts, *of_carry, *of_xs), size, (*of_carry, *(False,) * ys)
        )
        if mask[:count] == of_carry:
            break
        of_carry = mask[:count]
    consts, carry, xs = _groups(params, values)
    _, was, _ = _groups(params, mapped)
    carry = [
        spread_over(x, size) if now and not before else x
        for x, now, before in zip(carry, of_carry, was, strict=True)
    ]
    # A batched sequence counts steps along axis 0 and examples along axis 1.
    xs = [move_axis(x, 0, 1) if mine else x for x, mine in zip(xs, of_xs, strict=True)]
    outs = primitive(*consts, *carry, *xs, **{**params, "jaxpr": batched})
    stacked = [
        move_axis(y, 1, 0) if mine else y
        for y, mine in zip(outs[count:], mask[count:], strict=True)
    ]
    return [*outs[:count], *stacked], list(mask)


def _partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    jaxpr, count, length = params["jaxpr"], params["carry"], params["length"]
    of_consts, of_carry, of_xs = _groups(params, tuple(map(trace.owns, args)))
    ys = len(jaxpr.outvars) - count
    # A forwarded constant stays one, a forwarded sequence too, but the carry is another at
    # every step.
    changing = tuple(params["consts"] <= i < params["consts"] + count for i in range(len(args)))
    while True:  # What is unknown in the carry at one step is so at the next.
        parts = partial_eval_jaxpr(
            jaxpr,
            (*of_consts, *of_carry, *of_xs),
            forced=(*of_carry, *(False,) * ys),
            changing=changing,
        )
        if parts.unknown_out[:count] == of_carry:
            break
        of_carry = parts.unknown_out[:count]
    consts, carry, xs = _groups(params, args)
    known_consts, known_xs = pick(consts, flip(of_consts)), pick(xs, flip(of_xs))
    known_carry = pick(carry, flip(of_carry))
    # The first loop: known results, and the residuals of every step, stacked.
    outs: Sequence[Value] = scan_p(
        *known_consts, *known_carry, *known_xs,
        **{**params, "jaxpr": parts.known, "consts": len(known_consts), "carry": len(known_carry)},
    )  # fmt: skip
    known_outs = outs[: parts.unknown_out.count(False)]
    residuals = outs[len(known_outs) :]
    from_consts = tuple(i < len(known_consts) for i in parts.forwarded)
    given = [*known_consts, *known_carry, *known_xs]
    forwarded = [given[i] for i in parts.forwarded]
    unknown = [len(pick(consts, of_consts)), sum(of_carry), sum(of_xs)]
    first = len(pick(forwarded, from_consts))
    body = sorted_forwards(parts.unknown, from_consts)
    sizes = [first, len(forwarded) - first, len(residuals), *unknown]
    body = reorder(body, sizes, [0, 3, 4, 1, 2, 5], [len(body.outvars)], [0])
    results = trace.record(
        scan_p,
        [
            *pick(forwarded, from_consts), *pick(consts, of_consts),
            *pick(carry, of_carry),
            *pick(forwarded, flip(from_consts)), *residuals, *pick(xs, of_xs),
        ],
        {**params, "jaxpr": body, "consts": first + unknown[0], "carry": unknown[1],
         "length": length},
    )  # fmt: skip
    return tuple(merge(parts.unknown_out, results, known_outs))


def sorted_forwards(jaxpr: Jaxpr, first: Mask) -> Jaxpr:
    """Return the jaxpr with those of its leading arguments first that the mask names."""

    def make() -> Jaxpr:
        lead, rest = jaxpr.invars[: len(first)], jaxpr.invars[len(first) :]
        invars = [*pick(lead, first), *pick(lead, flip(first)), *rest]
        return Jaxpr(jaxpr.constvars, jaxpr.consts, invars, jaxpr.eqns, jaxpr.outvars)

    result: Jaxpr = derive(jaxpr, ("sorted", first), make)
    return result


def _transpose(gs: Sequence[Value], *args: Any, **params: Any) -> list[Value]:
    jaxpr, count = params["jaxpr"], params["carry"]
    consts, _, xs = _groups(params, args)
    of_consts, _, of_xs = _groups(params, tuple(isinstance(x, Linear) for x in args))
    # A carry that is known at first is the zero of a tangent that the first step lacks.
    linear = (*of_consts, *(True,) * count, *of_xs)
    back = _backward_body(jaxpr, params["consts"], count, linear)
    # Carried backward: cotangents of the linear constants, added up, and of the carry.
    sums = [zeros_of(x.aval) for x in pick(consts, of_consts)]
    g_carry = [
        zeros_of(strong(aval)) if g is ZERO else g
        for g, aval in zip(gs[:count], out_avals(jaxpr), strict=False)
    ]
    outs_avals = out_avals(jaxpr)[count:]
    g_ys = [
        zeros_of(ShapedArray((params["length"], *aval.shape), aval.dtype)) if g is ZERO else g
        for g, aval in zip(gs[count:], outs_avals, strict=True)
    ]
    known_consts, known_xs = pick(consts, flip(of_consts)), pick(xs, flip(of_xs))
    outs = scan_p(
        *known_consts, *sums, *g_carry, *known_xs, *g_ys,
        jaxpr=back, consts=len(known_consts), carry=len(sums) + count,
        length=params["length"], reverse=not params["reverse"],
    )  # fmt: skip
    into_consts, into_carry = outs[: len(sums)], outs[len(sums) : len(sums) + count]
    into_xs = outs[len(sums) + count :]
    found = merge(linear, [*into_consts, *into_carry, *into_xs], [None] * linear.count(False))
    return [g if isinstance(x, Linear) else None for g, x in zip(found, args, strict=True)]


def _backward_body(jaxpr: Jaxpr, n_consts: int, n_carry: int, linear: Mask) -> Jaxpr:
    """Return the body of the transposed loop.

    It takes the known constants, the sums and the cotangents of the carry, the known elements
    and the cotangents of the results; it returns the new sums, the cotangents of the carry
    as it went in, and those of the linear elements.
    """

    def make() -> Jaxpr:
        avals = in_avals(jaxpr)
        groups = {"consts": n_consts, "carry": n_carry}
        of_consts, _, of_xs = _groups(groups, linear)
        c_avals, carry_avals, x_avals = _groups(groups, avals)
        known_consts, known_xs = pick(c_avals, flip(of_consts)), pick(x_avals, flip(of_xs))
        linear_consts = pick(c_avals, of_consts)
        y_avals = list(out_avals(jaxpr))[n_carry:]
        takes = [known_consts, linear_consts, carry_avals, known_xs, y_avals]

        def flat(*values: Value) -> list[Value]:
            given, start = [], 0
            for each in takes:
                given.append(values[start : start + len(each)])
                start += len(each)
            consts, sums, g_carry, xs, g_ys = given
            args = merge(linear, map(Linear, pick(avals, linear)), [*consts, *xs])
            found = pick(ad.transpose_jaxpr(jaxpr, [*g_carry, *g_ys], args), linear)
            full = [
                zeros_of(strong(aval)) if g is ZERO else g
                for g, aval in zip(found, pick(avals, linear), strict=True)
            ]
            n = len(sums)
            return [*(add(s, g) for s, g in zip(sums, full[:n], strict=True)), *full[n:]]

        return stage(flat, [aval for each in takes for aval in each], "transposition")

    result: Jaxpr = derive(jaxpr, ("backward", n_consts, n_carry, linear), make)
    return result


def _lower(
    b: Builder, *args: Any, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
) -> tuple[Any, ...]:
    constants, carried, xs = _groups({"consts": consts, "carry": carry}, args)
    n_xs = len(args) - consts - carry
    # The compiler's body takes the carry, the elements and then the constants.
    body = reorder(jaxpr, [consts, carry, n_xs], [1, 2, 0], [len(jaxpr.outvars)], [0])
    program = body_program(body, "scan")
    return tuple(b.scan(carried, xs, constants, program, length, reverse))


scan_p: Primitive = Primitive(
    "scan",
    impl=_impl,
    abstract=_abstract,
    jvp=_jvp,
    batch=_batch,
    transpose=_transpose,
    lower=_lower,
    multiple=True,
    partial=_partial,
    axes=axes_of,
)
