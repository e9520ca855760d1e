"""Era 4: functions in, functions out.

``grad``, ``vmap``, ``jit`` and the others take a pure function and return another,
so they compose in any order.  Reverse mode is derived: jvp, partial evaluation,
transposition.

Where to read on: ``core`` (primitives, tracers, traces), ``primitives`` (every
operation and its rules), ``ad`` and ``derivatives`` (grad and its kin), ``batching``
(vmap), ``staging`` and ``jaxpr`` (functions as data), ``closed`` (jaxprs inside jaxprs),
``control`` (loops and branches), ``custom`` and ``checkpointing`` (rules of one's own),
``collectives`` (named axes), ``compile``, ``lowering`` and ``jitting`` (jit), ``tree``
(containers), ``numpy`` (everything else).
"""

from workbench.functional import losses, module, nn, numpy, optimizers, random
from workbench.functional.batching import vmap
from workbench.functional.checkpointing import checkpoint, checkpoint_name, policies
from workbench.functional.collectives import (
    all_gather,
    axis_index,
    pmax,
    pmean,
    pmin,
    ppermute,
    psum,
)
from workbench.functional.control import cond, fori_loop, scan, switch, while_loop
from workbench.functional.core import Value as _Value
from workbench.functional.custom import custom_jvp, custom_vjp
from workbench.functional.derivatives import (
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from workbench.functional.jitting import explain_cache, jit
from workbench.functional.primitives.elementwise import stop_gradient as _stop_gradient
from workbench.functional.purity import check_pure
from workbench.functional.staging import eval_shape, make_jaxpr
from workbench.functional.tree import (
    register_dataclass,
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_structure,
    tree_unflatten,
)


def stop_gradient(x: _Value) -> _Value:
    """Return every leaf of a pytree as it is, declared constant: no derivative passes."""
    return tree_map(_stop_gradient, x)


__all__ = [
    "all_gather", "axis_index", "check_pure", "checkpoint", "checkpoint_name", "cond",
    "custom_jvp", "custom_vjp", "eval_shape", "explain_cache", "fori_loop", "grad", "hessian",
    "jacfwd", "jacrev", "jit", "jvp", "linearize", "losses", "make_jaxpr", "module", "nn",
    "numpy", "optimizers", "pmax", "pmean", "pmin", "policies", "ppermute", "psum", "random",
    "register_dataclass", "scan", "stop_gradient", "switch", "tree_flatten", "tree_leaves",
    "tree_map", "tree_structure", "tree_unflatten", "value_and_grad", "vjp", "vmap",
    "while_loop",
]  # fmt: skip
