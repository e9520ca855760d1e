"""The transforms that differentiate: jvp, linearize, vjp, grad, and Jacobians.

Each takes apart the pytrees its function takes and returns, runs one of the flat
transforms of ``ad``, and puts the results together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional import ad
from workbench.functional.batching import vmap
from workbench.functional.calling import Function, check_function, own_results
from workbench.functional.compile import drop_dead
from workbench.functional.core import (
    ZERO,
    ShapedArray,
    Tracer,
    Value,
    get_aval,
    is_array,
    shape_of,
)
from workbench.functional.jaxpr import eval_jaxpr
from workbench.functional.numpy.creation import eye
from workbench.functional.numpy.promotion import convert
from workbench.functional.numpy.shaping import reshape
from workbench.functional.primitives.elementwise import full_like
from workbench.functional.refusals import IntegerInputError, NonScalarGradientError
from workbench.functional.tree import TreeDef, tree_flatten, tree_map, tree_unflatten


def _flat(f: Function, treedef: TreeDef, where: str, has_aux: bool = False) -> ad.FlatFunction:
    """Return f from leaves to (leaves, (structure of the output, of the auxiliary output)).

    The leaves of the auxiliary output follow the others.
    """

    def flat(*leaves: Value) -> tuple[list[Value], tuple[TreeDef, TreeDef]]:
        out, aux = f(*tree_unflatten(treedef, leaves)), None
        if has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise OptionError(where, "has_aux=True needs a function that returns a pair",
                                  given=f"a {type(out).__name__}",
                                  expected="(value, auxiliary data)")  # fmt: skip
            out, aux = out
        outs, out_tree = tree_flatten(out)
        for each in outs:
            get_aval(each, where)
        aux_leaves, aux_tree = tree_flatten(aux)
        return [*outs, *aux_leaves], (out_tree, aux_tree)

    return flat


def _names(values: Sequence[Value]) -> list[str]:
    return ["the argument" if len(values) == 1 else f"leaf {i}" for i in range(len(values))]


def _tangents(
    where: str, word: str, tree: Any, avals: Sequence[ShapedArray], wanted: TreeDef
) -> list[Value]:
    """Return the flat tangents or cotangents, checked against what they belong to."""
    leaves, treedef = tree_flatten(tree)
    if treedef != wanted:
        raise ShapeError(where, f"the {word}s are structured unlike the values they belong to",
                         given=f"{word}s {treedef}", expected=str(wanted))  # fmt: skip
    result = []
    for t, own in zip(leaves, avals, strict=True):
        aval = get_aval(t, where)
        if aval.weak_type and not own.weak_type and not own.shape:
            t, aval = convert(t, own.dtype), own
        if (aval.shape, aval.dtype) != (own.shape, own.dtype):
            raise ShapeError(where, f"a {word} must have the shape and dtype of its value",
                             given=f"{word} {aval}", expected=str(own))  # fmt: skip
        result.append(t)
    return result


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Push a tangent forward: return f(*primals) and its derivative in a direction.

    Parameters
    ----------
    f : callable
        From pytrees to a pytree of arrays.
    primals, tangents : tuple
        The arguments, all floating point, and a direction of the same structure.

    Returns
    -------
    (out, out_tangent)
        Two pytrees of one structure.

    Raises
    ------
    DtypeError
        If an argument is not floating point.
    ShapeError
        If the tangents do not match the primals.
    """
    where = check_function("jvp", f)
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise DtypeError(where, f"{name} is a tuple with one entry an argument",
                             given=f"a {type(given).__name__}", fix=f"{name}=(x,)")  # fmt: skip
    leaves, treedef = tree_flatten(tuple(primals))
    ad.check_differentiable(where, _names(leaves), leaves)
    flat_tangents = _tangents(
        where, "tangent", tuple(tangents), list(map(get_aval, leaves)), treedef
    )
    outs, out_tangents, (out_tree, _) = ad.jvp_flat(
        _flat(f, treedef, where), leaves, flat_tangents, where
    )
    full = map(ad.instantiate, out_tangents, outs)
    return tree_unflatten(out_tree, outs), tree_unflatten(out_tree, own_results([*full]))


def linearize(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Return f(*primals) and the linear function that its derivative is there.

    The linear function takes tangents as :func:`jvp` does, one an argument, and can be
    called many times: what depends on the primals alone has been computed already.
    Raises as :func:`jvp`.
    """
    where = check_function("linearize", f)
    leaves, treedef = tree_flatten(primals)
    ad.check_differentiable(where, _names(leaves), leaves)
    outs, linear, (out_tree, _) = ad.linearize_flat(_flat(f, treedef, where), leaves, where)
    jaxpr, avals = drop_dead(linear.jaxpr), list(map(get_aval, leaves))

    def f_linear(*tangents: Any) -> Any:
        flat = _tangents(where, "tangent", tangents, avals, treedef)
        results = iter(eval_jaxpr(jaxpr, flat))
        full = [
            next(results) if nonzero else ad.instantiate(ZERO, out)
            for nonzero, out in zip(linear.nonzero, outs, strict=True)
        ]
        return tree_unflatten(out_tree, own_results(full))

    return tree_unflatten(out_tree, outs), f_linear


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Return f(*primals) and the function that pulls cotangents back through it.

    Parameters
    ----------
    f : callable
    *primals : pytrees
        The arguments, all floating point.
    has_aux : bool
        Whether f returns (value, auxiliary data), the latter not differentiated.

    Returns
    -------
    (out, pull) or (out, pull, aux)
        ``pull(g)`` takes one pytree like ``out`` and returns a tuple, one entry an argument.

    Raises
    ------
    DtypeError, ShapeError
        As :func:`jvp`; ``pull`` if its argument does not match the output.
    """
    where = check_function("vjp", f)
    return _vjp(f, primals, has_aux, where)


def _vjp(f: Function, primals: tuple[Any, ...], has_aux: bool, where: str) -> tuple[Any, ...]:
    leaves, treedef = tree_flatten(primals)
    ad.check_differentiable(where, _names(leaves), leaves)
    flat = _flat(f, treedef, where, has_aux)
    outs, linear, (out_tree, aux_tree) = ad.linearize_flat(flat, leaves, where)
    count = out_tree.leaves
    avals = list(map(get_aval, outs[:count]))

    def pull(g: Any) -> tuple[Any, ...]:
        given = _tangents(where, "cotangent", g, avals, out_tree)
        given += [ZERO] * (len(linear.nonzero) - count)  # Auxiliary outputs pull nothing.
        used = [each for each, nonzero in zip(given, linear.nonzero, strict=True) if nonzero]
        cotangents = ad.transpose_jaxpr(linear.jaxpr, used)
        full = [ad.instantiate(c, leaf) for c, leaf in zip(cotangents, leaves, strict=True)]
        return tree_unflatten(treedef, own_results(full))

    out = tree_unflatten(out_tree, outs[:count])
    return (out, pull, tree_unflatten(aux_tree, outs[count:])) if has_aux else (out, pull)


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """Return a function that computes f and its gradient together.

    Parameters
    ----------
    f : callable
        Returns one real floating-point number.
    argnums : int or tuple of int
        Which positional arguments (pytrees) to differentiate with respect to.
    has_aux : bool
        Whether f returns (value, auxiliary data); then so does the result's first entry.

    Returns
    -------
    callable
        Takes what f takes; returns (value, gradient), the gradient structured like the
        argument, or a tuple of such where ``argnums`` is a tuple.

    Raises
    ------
    DtypeError
        On call, if an argument to differentiate is not floating point, or the value is not.
    ShapeError
        On call, if the value is not 0-d.
    OptionError
        If ``argnums`` names no argument.
    """
    return _value_and_grad(f, argnums, has_aux, "value_and_grad")


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return a function that computes the gradient of f.

    Arguments and errors are those of :func:`value_and_grad`.  The result returns the
    gradient, or (gradient, auxiliary data) with ``has_aux``.
    """
    both = _value_and_grad(f, argnums, has_aux, "grad")

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def _value_and_grad(
    f: Function, argnums: int | Sequence[int], has_aux: bool, transform: str
) -> Function:
    where = check_function(transform, f)
    several = argnums if isinstance(argnums, tuple | list) else (argnums,)
    if not several or not all(isinstance(n, int) and not isinstance(n, bool) for n in several):
        raise OptionError(where, "argnums is not usable", given=f"argnums={argnums!r}",
                          expected="an int or a tuple of ints")  # fmt: skip

    @functools.wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        if not all(-len(args) <= n < len(args) for n in several):
            raise OptionError(where, "argnums names an argument that was not given by position",
                              given=f"argnums={argnums!r} and {len(args)} positional arguments",
                              expected=f"0 to {len(args) - 1}" if args else "an argument")  # fmt: skip
        places = [n % len(args) for n in several]
        for n in places:
            leaves, _ = tree_flatten(args[n])
            ad.check_differentiable(where, [f"argument {n}"] * len(leaves), leaves)

        def of_some(*some: Any) -> Any:
            full = list(args)
            for n, arg in zip(places, some, strict=True):
                full[n] = arg
            return f(*full, **kwargs)

        value, pull, *aux = _vjp(of_some, tuple(args[n] for n in places), has_aux, where)
        gradients = pull(_seed(where, value))
        gradient = gradients if isinstance(argnums, tuple | list) else gradients[0]
        return ((value, *aux) if has_aux else value), gradient

    return value_and_gradient


def _seed(where: str, value: Any) -> Value:
    """Return the gradient of a scalar with respect to itself, refusing what is none."""
    if isinstance(value, tuple | list | dict | type(None)):
        raise DtypeError(where, "the function must return one number",
                         given=f"a {type(value).__name__}",
                         fix="has_aux=True if it returns (value, auxiliary data)")  # fmt: skip
    aval = get_aval(value, where)
    if aval.shape:
        raise NonScalarGradientError(where, "only a scalar has a gradient", given=f"an output {aval}",
                         expected="shape ()",
                         fix="reduce it with sum or mean, or use jacrev, jacfwd or vjp")  # fmt: skip
    if aval.dtype.kind != "f":
        raise IntegerInputError(where, "the output is not real floating point", given=f"an output {aval}",
                         expected="float32 or float64")  # fmt: skip
    return full_like(value, fill_value=1)


def _basis(where: str, x: Value) -> Value:
    """Return every unit array of the shape of ``x``, along axis 0."""
    if not (isinstance(x, Tracer) or is_array(x) or type(x) is float):
        raise DtypeError(where, "a Jacobian of one array with respect to one array is needed",
                         given=f"a {type(x).__name__}", expected="an array",
                         fix="concatenate, or close over the other values")  # fmt: skip
    aval = get_aval(x, where)
    return reshape(eye(aval.size, dtype=aval.dtype), (aval.size, *aval.shape))


def jacfwd(f: Function, argnums: int = 0) -> Function:
    """Return the Jacobian of f by forward mode: one jvp an input element, all at once.

    Parameters
    ----------
    f : callable
        Returns an array or a pytree of arrays.
    argnums : int
        Which argument (one array) to differentiate with respect to.

    Returns
    -------
    callable
        Its result has the shape of f's output followed by that of the argument.

    Raises
    ------
    DtypeError
        On call, if the argument is not one floating-point array.
    """
    check_function("jacfwd", f)

    @functools.wraps(f)
    def jacobian(*args: Any) -> Any:
        g, x = _of_one(f, argnums, args, "jacfwd")
        push = vmap(lambda t: jvp(g, (x,), (t,))[1], out_axes=-1)
        return tree_map(
            lambda j: reshape(j, (*j.shape[:-1], *shape_of(x))), push(_basis("jacfwd", x))
        )

    return jacobian


def jacrev(f: Function, argnums: int = 0) -> Function:
    """Return the Jacobian of f by reverse mode: one vjp an output element, all at once.

    Arguments and errors as :func:`jacfwd`; f returns one array.
    """
    check_function("jacrev", f)

    @functools.wraps(f)
    def jacobian(*args: Any) -> Any:
        g, x = _of_one(f, argnums, args, "jacrev")
        y, pull = vjp(g, x)
        rows = vmap(lambda g: pull(g)[0])(_basis("jacrev", y))
        return reshape(rows, (*shape_of(y), *shape_of(x)))

    return jacobian


def hessian(f: Function, argnums: int = 0) -> Function:
    """Return the matrix of second derivatives: forward over reverse, as :func:`jacfwd`."""
    return jacfwd(jacrev(f, argnums), argnums)


def _of_one(f: Function, argnums: int, args: tuple[Any, ...], where: str) -> tuple[Function, Value]:
    """Return f as a function of one argument, and that argument."""
    if not isinstance(argnums, int) or not -len(args) <= argnums < len(args):
        raise OptionError(where, "argnums names no argument",
                          given=f"argnums={argnums!r} and {len(args)} arguments")  # fmt: skip
    n = argnums % len(args)
    return (lambda x: f(*args[:n], x, *args[n + 1 :])), args[n]
