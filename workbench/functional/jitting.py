"""``jit``: trace once for each signature, simplify, compile, and run that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.functional.calling import Function, check_function
from workbench.functional.closed import axes_of, call, hoist
from workbench.functional.compile import simplify
from workbench.functional.core import STACK, Tracer, Value, get_aval
from workbench.functional.jaxpr import Jaxpr
from workbench.functional.lowering import compile_jaxpr
from workbench.functional.staging import stage_tree
from workbench.functional.tree import TreeDef, build, flatten_into


@dataclass
class _Compiled:
    """What ``jit`` keeps for one signature; ``run`` is None until it is first needed."""

    jaxpr: Jaxpr
    out_tree: TreeDef
    run: Callable[..., tuple[Value, ...]] | None = None


def jit(f: Function) -> Function:
    """Return a function that traces f once for each signature, and runs what it recorded.

    The signature is the structure of the arguments and the shape and dtype of each leaf.
    Python side effects happen while tracing only.  The record is simplified and compiled.
    Under another transform, or inside another jit, the record is inlined.

    Results share no memory with the arguments or one another.  Arrays that f closes over
    are part of the record.

    Raises
    ------
    GraphError
        On call, if f needs the value of something traced.
    """
    where = check_function("jit", f)
    cache: dict[Any, _Compiled] = {}

    def look_up(node: Any, leaves: Sequence[Value], key: Any) -> _Compiled:
        jaxpr, out_tree = stage_tree(f, TreeDef(node), [get_aval(x, where) for x in leaves], where)
        found = _Compiled(simplify(jaxpr), out_tree)
        if not any(isinstance(const, Tracer) for const in jaxpr.consts):
            cache[key] = found  # Another transform's tracer would be stale in the next call.
        return found

    @functools.wraps(f)
    def jitted(*args: Any, **kwargs: Any) -> Any:
        leaves: list[Value] = []
        node = flatten_into((args, kwargs), leaves)
        key = (node, *[(x.shape, x.dtype) if type(x) is np.ndarray else _key(x) for x in leaves])
        found = cache.get(key) or look_up(node, leaves, key)
        traced = STACK.dynamic is not None or (
            STACK.depth and any(isinstance(x, Tracer) for x in [*leaves, *found.jaxpr.consts])
        )
        if traced or axes_of({"": found.jaxpr}):
            # One equation of the trace outside, which may be another jit's.
            outs: Sequence[Value] = call(
                *found.jaxpr.consts,
                *leaves,
                name=getattr(f, "__name__", "function"),
                jaxpr=hoist(found.jaxpr),
            )
        else:
            if found.run is None:
                found.run = compile_jaxpr(found.jaxpr)
            outs = found.run(*leaves)
        return build(found.out_tree.node, iter(outs))

    return jitted


def _key(x: Value) -> Any:
    """Return what ``jit`` tells leaves apart by: shape, dtype and whether weakly typed."""
    aval = get_aval(x, "jit")
    return aval if aval.weak_type else (aval.shape, aval.dtype)
