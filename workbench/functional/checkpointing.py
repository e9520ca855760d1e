"""``checkpoint``: keep less of the forward pass, and compute it again in the backward one.

Between the passes nothing is kept but the arguments and what the policy names; memory is
exchanged for arithmetic (Chen, Xu, Zhang and Guestrin, 2016, "Training deep nets with
sublinear memory cost").  It is a call whose rule for partial evaluation is another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from workbench.errors import OptionError
from workbench.functional.calling import Function, check_function
from workbench.functional.closed import (
    call,
    derive,
    flip,
    hoist,
    merge,
    partial_eval_jaxpr,
    pick,
    transpose_call,
)
from workbench.functional.compile import drop_dead
from workbench.functional.core import (
    STACK,
    NoRule,
    Primitive,
    ShapedArray,
    Tracer,
    Value,
    get_aval,
)
from workbench.functional.jaxpr import Equation, Jaxpr, Literal, Var
from workbench.functional.lowering import inline
from workbench.functional.primitives.rules import batch_with, linear_jvp
from workbench.functional.staging import StagingTrace, stage_tree
from workbench.functional.tree import tree_flatten, tree_map, tree_unflatten

Policy: TypeAlias = Callable[[Equation], bool]
"""Says of an equation whether its results may be kept until the backward pass."""


class policies:  # noqa: N801 (a namespace, as in JAX)
    """What :func:`checkpoint` may keep."""

    @staticmethod
    def nothing_saveable(eqn: Equation) -> bool:
        """Keep the arguments only; compute everything again."""
        return False

    @staticmethod
    def everything_saveable(eqn: Equation) -> bool:
        """Keep everything, as without checkpointing."""
        return True

    @staticmethod
    def dots_saveable(eqn: Equation) -> bool:
        """Keep products of matrices, which cost most to compute again."""
        return eqn.primitive.name == "matmul"

    @staticmethod
    def save_only_these_names(*names: str) -> Policy:
        """Keep what :func:`checkpoint_name` gave one of these names."""

        def policy(eqn: Equation) -> bool:
            return eqn.primitive is name_p and eqn.params["name"] in names

        return policy


name_p: Primitive = Primitive(
    "name",
    impl=lambda x, *, name: x,
    abstract=lambda x, *, name: ShapedArray(x.shape, x.dtype, x.weak_type),
    jvp=lambda primitive, primals, tangents, params: linear_jvp(
        primitive, primals, tangents, params
    ),
    batch=batch_with(lambda size, name: {"name": name}),
    transpose=lambda g, x, name: (g,),
    lower=lambda b, x, name: x,
)


def checkpoint_name(x: Any, name: str) -> Any:
    """Return a pytree as it is, under a name for ``policies.save_only_these_names``."""
    return tree_map(lambda leaf: name_p(leaf, name=name), x)


def checkpoint(f: Function, policy: Policy | None = None) -> Function:
    """Return f such that differentiating it backward computes its intermediate values again.

    Parameters
    ----------
    f : callable
    policy : callable, optional
        One of ``functional.policies``, or a function of an equation; what it accepts is kept.
        Without one, only the arguments are.

    Returns
    -------
    callable
        It computes what f does; values and derivatives are the same.

    Raises
    ------
    OptionError
        If the policy is not callable.
    """
    where = check_function("checkpoint", f)
    if policy is not None and not callable(policy):
        raise OptionError(where, "a policy is a function of an equation", given=repr(policy),
                          fix="functional.policies.dots_saveable, for one")  # fmt: skip
    saveable = policy or policies.nothing_saveable

    @functools.wraps(f)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = tree_flatten((args, kwargs))
        if STACK.dynamic is None and not any(isinstance(x, Tracer) for x in leaves):
            return f(*args, **kwargs)
        jaxpr, out_tree = stage_tree(f, treedef, [get_aval(x, where) for x in leaves], where)
        outs = checkpoint_p(
            *jaxpr.consts, *leaves, name=getattr(f, "__name__", "function"), policy=saveable,
            jaxpr=hoist(jaxpr),
        )  # fmt: skip
        return tree_unflatten(out_tree, outs)

    return checkpointed


def _partial(
    trace: StagingTrace, args: Sequence[Value], params: dict[str, Any]
) -> tuple[Value, ...]:
    unknown = tuple(map(trace.owns, args))
    parts = partial_eval_jaxpr(params["jaxpr"], unknown)
    count = parts.unknown_out.count(False)
    key = ("rematerialised", unknown, params["policy"])
    known, again = derive(
        params["jaxpr"], key,
        lambda: rematerialise(parts.known, parts.unknown, count, parts.forwarded, params["policy"]),
    )  # fmt: skip
    known_args = pick(args, flip(unknown))
    name = params["name"]
    results = call(*known_args, name=name, jaxpr=known) if known.outvars else ()
    outs = trace.record(
        again_p, [*known_args, *results[count:], *pick(args, unknown)],
        {"name": name, "jaxpr": again},
    )  # fmt: skip
    return tuple(merge(parts.unknown_out, outs, results[:count]))


def rematerialise(
    known: Jaxpr, unknown: Jaxpr, count: int, forwarded: Sequence[int], policy: Policy
) -> tuple[Jaxpr, Jaxpr]:
    """Move what may not be kept from the first part of a split function to the second.

    Parameters
    ----------
    known, unknown : Jaxpr
        As :class:`workbench.functional.closed.Partial` has them.
    count : int
        How many results of the first part are results of the function; residuals follow.
    forwarded : sequence of int
        As there.
    policy : callable

    Returns
    -------
    known, unknown : Jaxpr
        The first part returns what is kept in place of the residuals; the second takes all
        arguments of the first, what is kept, and the unknown arguments.
    """
    residuals = known.outvars[count:]
    defined = {var: eqn for eqn in known.eqns for var in eqn.outvars}
    kept: list[Var] = []
    moved: set[int] = set()
    wanted = [atom for atom in residuals if isinstance(atom, Var)]
    while wanted:
        var = wanted.pop()
        eqn = defined.get(var)
        if eqn is None or id(eqn) in moved or var in kept:
            continue  # An argument or a constant, or seen already.
        if policy(eqn):
            kept.append(var)
        else:
            moved.add(id(eqn))
            wanted += [atom for atom in eqn.invars if isinstance(atom, Var)]
    first = drop_dead(replace(known, outvars=[*known.outvars[:count], *kept], derived={}))
    # The second part: the same equations once more, and then its own.
    lead, own = len(forwarded), len(residuals)
    names = dict(
        zip(unknown.invars[:lead], [known.invars[i] for i in forwarded], strict=True)
    ) | dict(zip(unknown.invars[lead : lead + own], residuals, strict=True))

    def renamed(atom: Any) -> Any:
        return atom if isinstance(atom, Literal) else names.get(atom, atom)

    eqns = [eqn for eqn in known.eqns if id(eqn) in moved]
    eqns += [replace(eqn, invars=tuple(map(renamed, eqn.invars))) for eqn in unknown.eqns]
    second = Jaxpr(
        [*known.constvars, *unknown.constvars], [*known.consts, *unknown.consts],
        [*known.invars, *kept, *unknown.invars[lead + own :]], eqns,
        [*map(renamed, unknown.outvars)],
    )  # fmt: skip
    return first, drop_dead(second)


checkpoint_p: Primitive = replace(
    call,
    name="checkpoint",
    impl=lambda *args, policy, **params: call.impl(*args, **params),
    abstract=lambda *avals, policy, **params: call.abstract(*avals, **params),
    lower=lambda b, *args, jaxpr, **params: tuple(inline(b, jaxpr, args)),
    transpose=NoRule("its derivative is another operation, which is linear"),
    partial=_partial,
)


# What the backward pass computes again.  Its arguments go through a barrier, so that the compiler
# does not find the same expressions in the forward pass and keep their results after all.
again_p: Primitive = replace(
    call,
    name="recompute",
    transpose=lambda gs, *args, **params: transpose_call(again_p, gs, *args, **params),
    lower=lambda b, *args, name, jaxpr: tuple(inline(b, jaxpr, [*map(b.barrier, args)])),
)
