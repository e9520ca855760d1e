"""Era 2: expressions first, numbers later, as in Theano (2010) and TensorFlow 1 (2015).

Describe the computation with typed variables, differentiate the description with
:func:`grad`, compile it with :func:`function`, and only then show it numbers.

>>> from workbench import symbolic
>>> x = symbolic.vector("x")
>>> w = symbolic.shared([1.0, 2.0], "w")
>>> cost = ((w * x).sum() - 1) ** 2
>>> step = symbolic.function([x], cost, updates={w: w - 0.1 * symbolic.grad(cost, w)})
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy.typing as npt

from workbench.errors import OptionError, ShapeError
from workbench.symbolic import ops, session
from workbench.symbolic.control import ifelse, scan, while_loop
from workbench.symbolic.function import Function, In, function
from workbench.symbolic.gradient import (
    consider_constant,
    disconnected,
    grad,
    hessian,
    jacobian,
    l_operator,
    r_operator,
)
from workbench.symbolic.graph import Apply, NoGradient, Op, Type, Variable, apply, nodes
from workbench.symbolic.printing import format_graph, print_graph
from workbench.symbolic.randomness import RandomStreams
from workbench.symbolic.rewriting import Rewriting, rewrite
from workbench.symbolic.saving import load, save
from workbench.symbolic.values import Shared, check_dtype, check_shape, constant, shared

__all__ = [
    "Apply", "Function", "In", "NoGradient", "Op", "RandomStreams", "Rewriting", "Shared", "Type",
    "Variable", "apply", "consider_constant", "constant", "disconnected", "format_graph",
    "function", "grad", "hessian", "ifelse", "jacobian", "l_operator", "load", "matrix", "nodes",
    "ops", "print_graph", "r_operator", "rewrite", "save", "scalar", "scan", "session", "shared",
    "tensor", "vector", "while_loop",
]  # fmt: skip


def tensor(
    name: str,
    dtype: npt.DTypeLike = "float64",
    shape: Iterable[int | None] | None = None,
    ndim: int | None = None,
) -> Variable:
    """Return an input variable.

    Parameters
    ----------
    name : str
        What error messages and printed graphs call it, and calls by keyword.
    dtype : dtype
        bool, an integer dtype, float32 or float64.
    shape : iterable of int or None
        None where the size is known only at run time.
    ndim : int
        Instead of ``shape``: this many unknown sizes.

    Raises
    ------
    OptionError, ShapeError, DtypeError
        For a name, shape or dtype that is not one; for both or neither of shape and ndim.
    """
    return _input("tensor", name, dtype, shape, ndim)


def scalar(name: str, dtype: npt.DTypeLike = "float64") -> Variable:
    """Return an input variable of shape (): see :func:`tensor`."""
    return _input("scalar", name, dtype, (), 0)


def vector(
    name: str, dtype: npt.DTypeLike = "float64", shape: Sequence[int | None] | int = (None,)
) -> Variable:
    """Return an input variable with one axis: see :func:`tensor`."""
    return _input("vector", name, dtype, (shape,) if isinstance(shape, int) else shape, 1)


def matrix(
    name: str, dtype: npt.DTypeLike = "float64", shape: Sequence[int | None] = (None, None)
) -> Variable:
    """Return an input variable with two axes: see :func:`tensor`."""
    return _input("matrix", name, dtype, shape, 2)


def _input(
    where: str,
    name: str,
    dtype: npt.DTypeLike,
    shape: Iterable[int | None] | None,
    ndim: int | None,
) -> Variable:
    if not isinstance(name, str) or not name:
        raise OptionError(where, "a variable needs a name", given=f"name={name!r}",
                          expected="text that is not empty")  # fmt: skip
    if shape is None and (not isinstance(ndim, int) or ndim < 0):
        raise OptionError(where, "the number of axes is not known", given=f"ndim={ndim!r}",
                          expected="shape=(...), None where unknown, or ndim=number")  # fmt: skip
    sizes = (None,) * (ndim or 0) if shape is None else check_shape(shape, where)
    if ndim is not None and len(sizes) != ndim:
        raise ShapeError(where, f"the shape has {len(sizes)} axes, not {ndim}",
                         given=f"shape={shape!r}")  # fmt: skip
    return Variable(Type(check_dtype(dtype, where), sizes), name)
