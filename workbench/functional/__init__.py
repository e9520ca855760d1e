"""Era 4: functions in, functions out.

``grad``, ``vmap``, ``jit`` and the others take a pure function and return another,
so they compose in any order.  Reverse mode is derived: jvp, partial evaluation,
transposition.

Where to read on: ``core`` (primitives, tracers, traces), ``primitives`` (every
operation and its rules), ``ad`` and ``derivatives`` (grad and its kin), ``batching``
(vmap), ``staging`` and ``jaxpr`` (functions as data), ``compile`` and ``jitting``
(jit), ``tree`` (containers), ``numpy`` (everything else).
"""

from workbench.functional import numpy
from workbench.functional.batching import vmap
from workbench.functional.core import Value as _Value
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
from workbench.functional.jitting import jit
from workbench.functional.primitives.elementwise import stop_gradient as _stop_gradient
from workbench.functional.staging import make_jaxpr
from workbench.functional.tree import tree_flatten, tree_map, tree_unflatten


def stop_gradient(x: _Value) -> _Value:
    """Return every leaf of a pytree as it is, declared constant: no derivative passes."""
    return tree_map(_stop_gradient, x)


__all__ = [
    "grad", "hessian", "jacfwd", "jacrev", "jit", "jvp", "linearize", "make_jaxpr", "numpy",
    "stop_gradient", "tree_flatten", "tree_map", "tree_unflatten", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
