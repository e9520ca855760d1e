"""``custom_jvp`` and ``custom_vjp``: functions that bring derivatives of their own.

What for: a formula that is more stable than the derived one, a function that is a black
box to tracing, a solution whose derivative is known without differentiating the solver
(implicit differentiation), or a gradient changed on purpose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from workbench.errors import GraphError, OptionError, ShapeError
from workbench.functional import ad
from workbench.functional.batching import AxisSize, vmap_flat
from workbench.functional.calling import Function, check_function
from workbench.functional.closed import (
    axes_of,
    batch_jaxpr,
    hoist,
    out_avals,
    run_jaxpr,
    spread_over,
    zeros_of,
)
from workbench.functional.core import (
    STACK,
    ZERO,
    Linear,
    NoRule,
    Primitive,
    ShapedArray,
    Tracer,
    Value,
    get_aval,
)
from workbench.functional.lowering import inline
from workbench.functional.numpy.promotion import as_array, convert
from workbench.functional.primitives.rules import NOT_LINEAR
from workbench.functional.staging import stage_tree
from workbench.functional.tree import TreeDef, tree_flatten, tree_structure, tree_unflatten

Rule = Callable[..., Any]


def _plain(leaves: Sequence[Value]) -> bool:
    """Return whether nothing is being traced, so that the function may simply run."""
    return STACK.dynamic is None and not any(isinstance(x, Tracer) for x in leaves)


class _Custom:
    """What both kinds share: the function, its static arguments, its name."""

    kind = ""

    def __init__(self, f: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        self.where = check_function(self.kind, f)
        self.f, self.nondiff_argnums = f, tuple(nondiff_argnums)
        self.__name__, self.__doc__ = getattr(f, "__name__", "function"), f.__doc__
        self.__wrapped__ = f

    def _split(self, args: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """Return the arguments that are not differentiated and those that are."""
        static = {n % len(args) for n in self.nondiff_argnums}
        return (
            [x for n, x in enumerate(args) if n in static],
            [x for n, x in enumerate(args) if n not in static],
        )

    def _of_rest(self, args: tuple[Any, ...]) -> Function:
        """Return f as a function of the arguments that are differentiated."""
        static = {n % len(args): args[n % len(args)] for n in self.nondiff_argnums}

        def f(*rest: Any) -> Any:
            given = iter(rest)
            return self.f(*[static[n] if n in static else next(given) for n in range(len(args))])

        return f

    def _missing(self, what: str) -> GraphError:
        return GraphError(
            self.where, "this function has no derivative yet", given=f"no {what}",
            expected=f"a rule given by .{what} before the first call",
        )  # fmt: skip


class custom_jvp(_Custom):  # noqa: N801 (a decorator, written as one)
    """A function with its own forward derivative; reverse mode is derived from it.

    Parameters
    ----------
    f : callable
        From pytrees to a pytree.
    nondiff_argnums : sequence of int
        Arguments that are no arrays, or that nothing is differentiated by; the rule
        gets them first.

    Examples
    --------
    ::

        @functional.custom_jvp
        def softplus(x):
            return numpy.log1p(numpy.exp(x))

        @softplus.defjvp
        def softplus_jvp(primals, tangents):
            (x,), (t,) = primals, tangents
            return softplus(x), t * numpy.sigmoid(x)

    Raises
    ------
    GraphError
        On a call without a rule; if f closes over a value that is being differentiated.
    ShapeError
        If the rule's results are not structured, shaped and typed like f's.
    """

    kind = "custom_jvp"
    rule: Rule | None = None

    def defjvp(self, rule: Rule) -> Rule:
        """Set the rule ``rule(primals, tangents) -> (out, out_tangent)``; usable as a decorator."""
        self.rule = rule
        return rule

    def defjvps(self, *terms: Rule | None) -> None:
        """Set the rule by a term an argument: ``term(t, out, *primals)``, None for zero."""

        def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
            out = self(*primals)
            parts = [
                term(t, out, *primals)
                for term, t in zip(terms, tangents, strict=True)
                if term is not None
            ]
            return out, functools.reduce(lambda a, b: a + b, parts, out * 0)

        self.rule = rule

    def __call__(self, *args: Any) -> Any:
        """Return what f returns."""
        if self.rule is None:
            raise self._missing("defjvp")
        static, rest = self._split(args)
        leaves, treedef = tree_flatten(tuple(rest))
        if _plain(leaves):
            return self.f(*args)
        rule, where = functools.partial(self.rule, *static), self.where
        avals = [get_aval(x, where) for x in leaves]
        structure = tree_structure((tuple(rest), {}))
        jaxpr, out_tree = stage_tree(self._of_rest(args), structure, avals, where)
        consts = len(jaxpr.consts)

        def flat_rule(
            primals: Sequence[Value], tangents: Sequence[Value]
        ) -> tuple[list[Value], list[Value]]:
            if any(t is not ZERO for t in tangents[:consts]):
                raise _closes_over(where)
            full = [ad.instantiate(t, p) for t, p in zip(tangents, primals, strict=True)]
            out, out_tangent = rule(
                tree_unflatten(treedef, primals[consts:]), tree_unflatten(treedef, full[consts:])
            )
            outs = _like(where, "primal", out, out_tree, out_avals(jaxpr))
            return outs, _like(where, "tangent", out_tangent, out_tree, out_avals(jaxpr))

        outs = custom_jvp_p(*jaxpr.consts, *leaves, jaxpr=hoist(jaxpr), rule=flat_rule)
        return tree_unflatten(out_tree, outs)


def _closes_over(where: str) -> GraphError:
    return GraphError(
        where, "the function closes over a value that is being differentiated, of which its "
        "rule knows nothing",
        expected="a function of its arguments alone", fix="pass the value as an argument",
    )  # fmt: skip


def _like(
    where: str, what: str, tree: Any, wanted: TreeDef, avals: Sequence[ShapedArray]
) -> list[Value]:
    """Return the leaves of what a rule returned, checked against what it must resemble."""
    leaves, treedef = tree_flatten(tree)
    if treedef != wanted:
        raise ShapeError(where, f"the rule returns a {what} of another structure",
                         given=str(treedef), expected=str(wanted))  # fmt: skip
    result = []
    for x, aval in zip(leaves, avals, strict=True):
        own = get_aval(x, where)
        if own.weak_type or aval.weak_type:
            x, own = convert(as_array(where, x), aval.dtype), ShapedArray(own.shape, aval.dtype)
        if (own.shape, own.dtype) != (aval.shape, aval.dtype):
            raise ShapeError(where, f"the rule returns a {what} of another shape or dtype",
                             given=str(own), expected=str(aval))  # fmt: skip
        result.append(x)
    return result


def _custom_jvp_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    outs, out_tangents = params["rule"](primals, tangents)
    return outs, out_tangents


def _custom_jvp_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    every = (True,) * len(params["jaxpr"].outvars)
    jaxpr, _ = batch_jaxpr(params["jaxpr"], tuple(mapped), size, every)
    rule, n = params["rule"], len(values)

    def batched(
        primals: Sequence[Value], tangents: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        pushed = [t is not ZERO for t in tangents]

        def both(*xs: Value) -> tuple[list[Value], None]:
            given = iter(xs[n:])
            outs, out_tangents = rule(xs[:n], [next(given) if t else ZERO for t in pushed])
            return [*outs, *out_tangents], None

        flat = [*primals, *(t for t in tangents if t is not ZERO)]
        axes = [0 if m else None for m in mapped]
        axes += [axis for axis, t in zip(axes, pushed, strict=True) if t]
        trace, outs, _ = vmap_flat(both, flat, axes, size, size.name)
        full = [x.value if trace.owns(x) else spread_over(x, size) for x in outs]
        return full[: len(every)], full[len(every) :]

    return list(primitive(*values, jaxpr=jaxpr, rule=batched)), list(every)


custom_jvp_p: Primitive = Primitive(
    "custom_jvp",
    impl=lambda *args, jaxpr, rule: run_jaxpr(jaxpr, args),
    abstract=lambda *avals, jaxpr, rule: out_avals(jaxpr),
    jvp=_custom_jvp_jvp,
    batch=_custom_jvp_batch,
    transpose=NOT_LINEAR,
    lower=lambda b, *args, jaxpr, rule: tuple(inline(b, jaxpr, args)),
    multiple=True,
    axes=axes_of,
)


class custom_vjp(_Custom):  # noqa: N801 (a decorator, written as one)
    """A function with its own reverse derivative; it has no forward one.

    Parameters
    ----------
    f : callable
        From pytrees to a pytree.
    nondiff_argnums : sequence of int
        As for :class:`custom_jvp`; both rules get these arguments first.

    Examples
    --------
    ::

        @functional.custom_vjp
        def clip_gradient(x):
            return x

        clip_gradient.defvjp(
            lambda x: (x, None),
            lambda residuals, g: (numpy.clip(g, -1, 1),),
        )

    Raises
    ------
    GraphError
        On a call without rules, on forward differentiation, or if f closes over a value that
        is being differentiated.
    ShapeError, OptionError
        If the rules' results do not fit f's results or arguments.
    """

    kind = "custom_vjp"
    forward: Rule | None = None
    backward: Rule | None = None

    def defvjp(self, forward: Rule, backward: Rule) -> None:
        """Set ``forward(*args) -> (out, residuals)`` and ``backward(residuals, g) -> gs``.

        ``backward`` returns a tuple with one cotangent an argument; None is zero.
        """
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any) -> Any:
        """Return what f returns."""
        if self.forward is None or self.backward is None:
            raise self._missing("defvjp")
        static, rest = self._split(args)
        leaves, treedef = tree_flatten(tuple(rest))
        if _plain(leaves):
            return self.f(*args)
        where = self.where
        forward, backward = self.forward, functools.partial(self.backward, *static)
        avals = [get_aval(x, where) for x in leaves]
        structure = tree_structure((tuple(rest), {}))
        jaxpr, out_tree = stage_tree(self._of_rest(args), structure, avals, where)
        consts = len(jaxpr.consts)
        trees: list[TreeDef] = []

        def flat_forward(*values: Value) -> tuple[list[Value], list[Value]]:
            given = iter(tree_unflatten(treedef, values[consts:]))
            n = {i % len(args) for i in self.nondiff_argnums}
            result = forward(*[args[i] if i in n else next(given) for i in range(len(args))])
            if not isinstance(result, tuple) or len(result) != 2:
                raise OptionError(where, "the forward rule returns a pair",
                                  given=f"a {type(result).__name__}",
                                  expected="(out, residuals)")  # fmt: skip
            residuals, tree = tree_flatten(result[1])
            trees[:] = [tree]
            return _like(where, "primal", result[0], out_tree, out_avals(jaxpr)), residuals

        def flat_backward(residuals: Sequence[Value], gs: Sequence[Value]) -> list[Value]:
            found = backward(tree_unflatten(trees[0], residuals), tree_unflatten(out_tree, gs))
            if not isinstance(found, tuple) or len(found) != len(rest):
                raise OptionError(
                    where, "the backward rule returns a tuple with one cotangent an argument",
                    given=f"{type(found).__name__} of {len(found)}"
                    if isinstance(found, tuple) else f"a {type(found).__name__}",
                    expected=f"a tuple of {len(rest)}",
                )  # fmt: skip
            cotangents: list[Value] = []
            start = 0
            for argument, g in zip(rest, found, strict=True):
                own, tree = tree_flatten(argument)
                stop = start + len(own)
                if g is None:
                    cotangents += [zeros_of(aval) for aval in avals[start:stop]]
                else:
                    cotangents += _like(where, "cotangent", g, tree, avals[start:stop])
                start = stop
            return cotangents

        outs = custom_vjp_p(
            *jaxpr.consts, *leaves, jaxpr=hoist(jaxpr), forward=flat_forward,
            backward=flat_backward, consts=consts, where=where,
        )  # fmt: skip
        return tree_unflatten(out_tree, outs)


def _custom_vjp_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    consts = params["consts"]
    if any(t is not ZERO for t in tangents[:consts]):
        raise _closes_over(params["where"])
    outs, residuals = params["forward"](*primals)
    full = [ad.instantiate(t, p) for t, p in zip(tangents, primals, strict=True)][consts:]
    pushed = backward_p(
        *residuals, *full, backward=params["backward"], residuals=len(residuals),
        avals=tuple(map(get_aval, outs)), where=params["where"],
    )  # fmt: skip
    return outs, list(pushed)


def _custom_vjp_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    every = (True,) * len(params["jaxpr"].outvars)
    jaxpr, _ = batch_jaxpr(params["jaxpr"], tuple(mapped), size, every)
    forward, backward = params["forward"], params["backward"]
    axes = [0 if mine else None for mine in mapped]
    count: list[int] = []

    def over(
        f: Callable[..., list[Value]], xs: Sequence[Value], axes: Sequence[int | None]
    ) -> list[Value]:
        trace, outs, _ = vmap_flat(lambda *xs: (f(*xs), None), xs, axes, size, size.name)
        return [x.value if trace.owns(x) else spread_over(x, size) for x in outs]

    def batched_forward(*xs: Value) -> tuple[list[Value], list[Value]]:
        def both(*xs: Value) -> list[Value]:
            outs, residuals = forward(*xs)
            count[:] = [len(outs)]
            return [*outs, *residuals]

        full = over(both, xs, axes)
        return full[: count[0]], full[count[0] :]

    def batched_backward(residuals: Sequence[Value], gs: Sequence[Value]) -> list[Value]:
        n = len(residuals)
        each = over(lambda *xs: backward(xs[:n], xs[n:]), [*residuals, *gs], [0] * (n + len(gs)))
        return [
            g if mine else g.sum(0)  # All examples share this argument.
            for g, mine in zip(each, mapped[params["consts"] :], strict=True)
        ]

    params = {**params, "jaxpr": jaxpr, "forward": batched_forward, "backward": batched_backward}
    return list(primitive(*values, **params)), list(every)


custom_vjp_p: Primitive = Primitive(
    "custom_vjp",
    impl=lambda *args, jaxpr, **params: run_jaxpr(jaxpr, args),
    abstract=lambda *avals, jaxpr, **params: out_avals(jaxpr),
    jvp=_custom_vjp_jvp,
    batch=_custom_vjp_batch,
    transpose=NOT_LINEAR,
    lower=lambda b, *args, jaxpr, **params: tuple(inline(b, jaxpr, args)),
    multiple=True,
    axes=axes_of,
)


def _no_tangent(where: str) -> GraphError:
    return GraphError(
        where, "it has a reverse rule only, and forward mode was asked for",
        given="jvp, linearize's function, jacfwd or hessian around it",
        fix="use grad, vjp or jacrev, or give it a forward rule with custom_jvp",
    )  # fmt: skip


def _backward_impl(*args: Value, where: str, **params: Any) -> tuple[Value, ...]:
    raise _no_tangent(where)


def _backward_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[list[Value], list[Value]]:
    raise _no_tangent(params["where"])


def _backward_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: AxisSize,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    full = [x if mine else spread_over(x, size) for x, mine in zip(values, mapped, strict=True)]
    backward, n = params["backward"], params["residuals"]

    def batched(residuals: Sequence[Value], gs: Sequence[Value]) -> list[Value]:
        trace, outs, _ = vmap_flat(
            lambda *xs: (backward(xs[:n], xs[n:]), None),
            [*residuals, *gs], [0] * (n + len(gs)), size, size.name,
        )  # fmt: skip
        return [x.value if trace.owns(x) else spread_over(x, size) for x in outs]

    avals = tuple(ShapedArray((size, *aval.shape), aval.dtype) for aval in params["avals"])
    outs = primitive(*full, **{**params, "backward": batched, "avals": avals})
    return list(outs), [True] * len(outs)


def _backward_transpose(gs: Sequence[Value], *args: Any, **params: Any) -> list[Value]:
    n = params["residuals"]
    full = [zeros_of(aval) if g is ZERO else g for g, aval in zip(gs, params["avals"], strict=True)]
    cotangents = params["backward"](args[:n], full)
    linear = [isinstance(x, Linear) for x in args[n:]]
    return [None] * n + [c if yes else None for c, yes in zip(cotangents, linear, strict=True)]


# The derivative of a custom_vjp as a linear function of which only the transpose is known.
backward_p: Primitive = Primitive(
    "custom_vjp_tangent",
    impl=_backward_impl,
    abstract=lambda *args, avals, **params: avals,
    jvp=_backward_jvp,
    batch=_backward_batch,
    transpose=_backward_transpose,
    lower=NoRule("only its transpose is known"),
    multiple=True,
)
