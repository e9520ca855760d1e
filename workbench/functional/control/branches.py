"""``cond`` and ``switch``: one of several functions, chosen by a traced value.

Under ``vmap`` examples may choose differently: then every branch is computed for the
whole batch and each example takes its own, as JAX does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.compiler import Builder, Program
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.batching import AxisSize
from workbench.functional.calling import Function, check_function
from workbench.functional.closed import (
    Mask,
    Partial,
    axes_of,
    batch_jaxpr,
    flip,
    in_avals,
    jvp_jaxpr,
    merge,
    out_avals,
    partial_eval_jaxpr,
    pick,
    run_jaxpr,
    transposed_jaxpr,
    zeros_of,
)
from workbench.functional.control.bodies import strong, trace_body
from workbench.functional.core import (
    STACK,
    ZERO,
    Linear,
    Primitive,
    ShapedArray,
    Tracer,
    Value,
    get_aval,
)
from workbench.functional.jaxpr import Jaxpr, Var, eval_jaxpr
from workbench.functional.lowering import body_program, inline
from workbench.functional.numpy import elementwise as np_
from workbench.functional.numpy.promotion import convert
from workbench.functional.primitives.elementwise import select
from workbench.functional.staging import StagingTrace, stage
from workbench.functional.tree import tree_leaves, tree_structure, tree_unflatten


def cond(predicate: Value, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """Return ``true_fun(*operands)`` if the predicate holds, else ``false_fun(*operands)``.

    Parameters
    ----------
    predicate : 0-d array
        Boolean, or a number that counts as true where it is not 0.
    true_fun, false_fun : callable
        Return pytrees of one structure, shapes and dtypes.
    *operands : pytrees

    Raises
    ------
    ShapeError
        If the predicate is not 0-d, or the branches return different structures or types.
    """
    where = check_function("cond", true_fun)
    check_function("cond", false_fun)
    aval = get_aval(predicate, where)
    if aval.shape:
        raise ShapeError(where, "the predicate is one value", given=str(aval), expected="shape ()",
                         fix="functional.numpy.where(condition, a, b) chooses for each element, "
                         "vmap for each example")  # fmt: skip
    chosen = predicate if aval.dtype.kind == "b" else np_.not_equal(predicate, 0)
    return _choose(where, convert(chosen, np.dtype(np.int64)), (false_fun, true_fun), operands)


def switch(index: Value, branches: Sequence[Function], *operands: Any) -> Any:
    """Return ``branches[index](*operands)``; an index outside is moved to the nearest branch.

    Raises
    ------
    DtypeError, ShapeError
        If the index is not one integer; otherwise as :func:`cond`.
    OptionError
        If there is no branch.
    """
    if not branches:
        raise OptionError("switch", "there is no branch to choose", given="no branches")
    for branch in branches:
        where = check_function("switch", branch)
    aval = get_aval(index, where)
    if aval.shape or aval.dtype.kind not in "iu":
        raise (ShapeError if aval.shape else DtypeError)(
            where, "the index is one integer", given=str(aval), expected="int64[]")  # fmt: skip
    inside = np_.clip(convert(index, np.dtype(np.int64)), 0, len(branches) - 1)
    return _choose(where, inside, branches, operands)


def _choose(
    where: str, index: Value, branches: Sequence[Function], operands: tuple[Any, ...]
) -> Any:
    leaves = tree_leaves(operands)
    structure = tree_structure((operands, {}))
    if STACK.dynamic is None and not isinstance(index, Tracer):
        # Known now: run that branch alone, and under whatever traces its operands have.
        return branches[int(index)](*operands)
    avals = [get_aval(x, where) for x in leaves]
    traced = [trace_body(f, structure, avals, where) for f in branches]
    trees = [tree for _, tree in traced]
    types = [out_avals(jaxpr) for jaxpr, _ in traced]
    for number, (tree, found) in enumerate(zip(trees, types, strict=True)):
        if tree != trees[0]:
            raise ShapeError(where, "the branches return different structures",
                             given=f"branch 0 {trees[0]}, branch {number} {tree}")  # fmt: skip
        if found != types[0]:
            raise ShapeError(
                where, "the branches return different shapes or dtypes",
                given=f"branch 0 {', '.join(map(str, types[0]))}; "
                f"branch {number} {', '.join(map(str, found))}",
                expected="the same from every branch",
                fix="convert with astype, or broadcast, inside the branches",
            )  # fmt: skip
    consts, jaxprs = _join_consts([jaxpr for jaxpr, _ in traced])
    outs = cond_p(index, *consts, *leaves, branches=jaxprs)
    return tree_unflatten(trees[0], outs)


def _join_consts(jaxprs: Sequence[Jaxpr]) -> tuple[list[Value], tuple[Jaxpr, ...]]:
    """Make what the branches close over leading arguments, which all of them take."""
    consts = [const for jaxpr in jaxprs for const in jaxpr.consts]
    joined, start = [], 0
    for jaxpr in jaxprs:
        stop = start + len(jaxpr.consts)
        before = [Var(get_aval(const)) for const in consts[:start]]
        after = [Var(get_aval(const)) for const in consts[stop:]]
        invars = [*before, *jaxpr.constvars, *after, *jaxpr.invars]
        joined.append(Jaxpr([], [], invars, jaxpr.eqns, jaxpr.outvars))
        start = stop
    return consts, tuple(joined)


def _impl(index: Value, *args: Value, branches: tuple[Jaxpr, ...]) -> tuple[Value, ...]:
    return run_jaxpr(branches[int(index)], args)


def _abstract(
    index: ShapedArray, *avals: ShapedArray, branches: tuple[Jaxpr, ...]
) -> tuple[ShapedArray, ...]:
    return tuple(map(strong, out_avals(branches[0])))


def _union(masks: Sequence[Mask]) -> Mask:
    return tuple(map(any, zip(*masks, strict=True)))


def _jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    branches = params["branches"]
    nonzero = tuple(t is not ZERO for t in tangents[1:])
    union = _union([jvp_jaxpr(branch, nonzero)[1] for branch in branches])
    pushed = tuple([jvp_jaxpr(branch, nonzero, union)[0] for branch in branches])
    outs = primitive(*primals, *pick(tangents[1:], nonzero), branches=pushed)
    n = len(union)
    return list(outs[:n]), merge(union, outs[n:], [ZERO] * union.count(False))


def _batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    branches, of_args = params["branches"], tuple(mapped[1:])
    if mapped[0]:  # Examples choose differently: compute all, and take each one's own.
        forced = (True,) * len(branches[0].outvars)
        every = [
            eval_jaxpr(batch_jaxpr(branch, of_args, size, forced)[0], values[1:])
            for branch in branches
        ]
        return [_take(values[0], column) for column in zip(*every, strict=True)], list(forced)
    union = _union([batch_jaxpr(branch, of_args, size)[1] for branch in branches])
    batched = tuple([batch_jaxpr(branch, of_args, size, union)[0] for branch in branches])
    return list(primitive(*values, branches=batched)), list(union)


def _take(index: Value, column: Sequence[Value]) -> Value:
    """Choose along axis 0 by an index for each row."""
    chosen = column[-1]
    for number, x in reversed(list(enumerate(column[:-1]))):
        mine = np_.equal(index, number).reshape((-1,) + (1,) * (len(x.shape) - 1))
        chosen = select(mine, x, chosen)
    return chosen


def _partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    if trace.owns(args[0]):
        outs: tuple[Value, ...] = trace.record(cond_p, args, params)
        return outs
    branches, index, operands = params["branches"], args[0], args[1:]
    unknown = tuple(map(trace.owns, operands))
    union = _union([partial_eval_jaxpr(branch, unknown).unknown_out for branch in branches])
    parts = [partial_eval_jaxpr(branch, unknown, forced=union) for branch in branches]
    # Every branch returns the residuals of all, zeros in place of the others', so that
    # the branches have one type.
    avals = [out_avals(part.known)[union.count(False) :] for part in parts]
    known = tuple([_known_branch(part, avals, i) for i, part in enumerate(parts)])
    known_args = pick(operands, flip(unknown))
    results: Sequence[Value] = cond_p(index, *known_args, branches=known)
    count = union.count(False)
    rest = tuple([_unknown_branch(part, avals, i) for i, part in enumerate(parts)])
    outs = trace.record(
        cond_p,
        [index, *known_args, *results[count:], *pick(operands, unknown)],
        {"branches": rest},
    )
    return tuple(merge(union, outs, results[:count]))


def _known_branch(part: Partial, avals: Sequence[Sequence[ShapedArray]], own: int) -> Jaxpr:
    count = part.unknown_out.count(False)

    def flat(*args: Value) -> list[Value]:
        outs = eval_jaxpr(part.known, args)
        residuals = [
            x
            for i, each in enumerate(avals)
            for x in (outs[count:] if i == own else map(zeros_of, map(strong, each)))
        ]
        return [*outs[:count], *residuals]

    return stage(flat, in_avals(part.known), "partial evaluation")


def _unknown_branch(
    part: Partial,
    avals: Sequence[Sequence[ShapedArray]],
    own: int,
) -> Jaxpr:
    """Return the branch as a function of all known arguments, all residuals, and the unknown."""
    known_vars = [Var(aval) for aval in in_avals(part.known)]
    ahead = len(part.forwarded)
    forwarded = part.unknown.invars[:ahead]
    mine = part.unknown.invars[ahead : ahead + part.residuals]
    unknown = part.unknown.invars[ahead + part.residuals :]
    for place, var in zip(part.forwarded, forwarded, strict=True):
        known_vars[place] = var
    residuals = [
        var
        for i, each in enumerate(avals)
        for var in (mine if i == own else [Var(strong(aval)) for aval in each])
    ]
    return Jaxpr(
        part.unknown.constvars, part.unknown.consts, [*known_vars, *residuals, *unknown],
        part.unknown.eqns, part.unknown.outvars,
    )  # fmt: skip


def _transpose(gs: Sequence[Value], index: Value, *args: Any, branches: Any) -> list[Value]:
    linear = tuple(isinstance(x, Linear) for x in args)
    nonzero = tuple(g is not ZERO for g in gs)
    both = [transposed_jaxpr(branch, linear, nonzero) for branch in branches]
    union = _union([mask for _, mask in both])
    avals = pick([x.aval for x in args if isinstance(x, Linear)], union)
    back = tuple([_filled(jaxpr, mask, union, avals) for jaxpr, mask in both])
    outs = cond_p(index, *pick(args, flip(linear)), *pick(gs, nonzero), branches=back)
    cotangents = merge(union, outs, [ZERO] * union.count(False))
    return [None, *merge(linear, cotangents, [None] * linear.count(False))]


def _filled(jaxpr: Jaxpr, mask: Mask, union: Mask, avals: Sequence[ShapedArray]) -> Jaxpr:
    """Return the transposed branch with zeros for what only other branches depend on."""

    def flat(*args: Value) -> list[Value]:
        found = iter(eval_jaxpr(jaxpr, args))
        have = pick(mask, union)
        return [
            next(found) if mine else zeros_of(strong(aval))
            for mine, aval in zip(have, avals, strict=True)
        ]

    return stage(flat, in_avals(jaxpr), "transposition")


def _lower(b: Builder, index: Any, *args: Any, branches: tuple[Jaxpr, ...]) -> tuple[Any, ...]:
    if len(branches) == 1:
        return tuple(inline(b, branches[0], args))
    programs = [body_program(_with_index(branch, index), "branch") for branch in branches]
    rest = programs.pop()
    for number in reversed(range(1, len(programs))):
        inner = Builder("branches")
        inputs = [inner.input(x.type) for x in (index, *args)]
        rest = inner.program(_if_equal(inner, inputs, number, programs[number], rest))
    return _if_equal(b, (index, *args), 0, programs[0], rest)


def _with_index(branch: Jaxpr, index: Any) -> Jaxpr:
    """Let a branch take the index as well, so that the next ``if`` inside it can look."""
    var = Var(ShapedArray((), index.dtype))
    return Jaxpr(
        branch.constvars, branch.consts, [var, *branch.invars], branch.eqns, branch.outvars
    )


def _if_equal(
    b: Builder, operands: Sequence[Any], number: int, then: Program, orelse: Program
) -> tuple[Any, ...]:
    chosen = b.equal(operands[0], b.constant(number, operands[0].dtype))
    return tuple(b.if_(chosen, operands, then, orelse))


cond_p: Primitive = Primitive(
    "cond",
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
