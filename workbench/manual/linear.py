"""The affine map, and the convention of the whole era in its first ten lines.

Every op here is a pair of functions.  The forward returns its output and a cache:
whatever the backward will need.  The backward takes ``g``, the gradient of the final
scalar with respect to that output, and the cache; it returns the gradients with
respect to the forward's array arguments, in their order.

Letters: N examples, D inputs, K outputs, V rows of a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.arrays import Array, scatter_add
from workbench.manual._checks import check, check_g, check_indices


def affine(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    """Return ``x @ w + b``.

    Parameters
    ----------
    x : array, shape (N, D)
    w : array, shape (D, K)
    b : array, shape (K,)

    Returns
    -------
    y : array, shape (N, K)
    cache
        For :func:`affine_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together.
    """
    check("affine", "x N D, w D K, b K", x, w, b)
    return x @ w + b, (x, w)


def affine_backward(
    g: Array, cache: Any, *, input_gradient: bool = True
) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`affine` with respect to x, w and b.

    ``input_gradient=False`` gives None for the first and saves a third of the work:
    nobody asks for the gradient of the data (Caffe's ``propagate_down``).

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, w = cache
    check_g("affine_backward", g, (x.shape[0], w.shape[1]), w)
    return g @ w.T if input_gradient else None, x.T @ g, g.sum(axis=0)


def embedding(indices: Array, table: Array) -> tuple[Array, Any]:
    """Return the rows of a table that the indices name.

    Parameters
    ----------
    indices : array of int, any shape
        In [0, V).
    table : array, shape (V, D)

    Returns
    -------
    y : array, shape (..., D)
        Where ``...`` is the shape of the indices.
    cache
        For :func:`embedding_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError, OptionError
        If the table is not a matrix, or an index is no row of it.
    """
    check("embedding", "indices:int ..., table V D", indices, table)
    check_indices("embedding", "indices", indices, table.shape[0], "rows of the table")
    return table[indices], (indices, table)


def embedding_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`embedding` with respect to the table.

    A row named several times receives the sum.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    indices, table = cache
    check_g("embedding_backward", g, (*indices.shape, table.shape[1]), table)
    dtable = np.zeros_like(table)
    scatter_add(dtable, indices, g)
    return dtable
