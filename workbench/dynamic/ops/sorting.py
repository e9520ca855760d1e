"""Sorting, and what is read off a sorted axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.dynamic.function import NO_GRADIENT
from workbench.dynamic.ops.elementwise import constant, values, wrapped
from workbench.dynamic.ops.indexing import take_along_axis
from workbench.dynamic.ops.reductions import Axis, gathered, mean
from workbench.dynamic.ops.shapes import checked_axes, reshape
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError

__all__ = ["argsort", "median", "searchsorted", "sort", "topk"]

searchsorted = constant("searchsorted", "an index: it does not change when x changes a little")
NO_GRADIENT["argsort"] = NO_GRADIENT["searchsorted"]


def argsort(x: Any, axis: int | None = -1) -> Any:
    """Return the indices that sort x along ``axis`` (x flattened for None); no gradient.

    Equal elements keep their order.
    """
    order = np.argsort(values(x), axis=axis, kind="stable")
    return wrapped(order) if isinstance(x, Tensor) else order


def sort(x: Any, axis: int | None = -1) -> Any:
    """Return x in ascending order along ``axis`` (x flattened for None)."""
    return take_along_axis(x, argsort(x, axis), axis)


def topk(x: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """Return the k largest elements along ``axis``, largest first, and their indices.

    Of equal elements the first come first.  The indices have no gradient.

    Raises
    ------
    OptionError
        If there are not as many.
    """
    (axis,) = checked_axes("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise OptionError("topk", "there are not as many elements", given=f"k={k}, x {x.shape}",
                          expected=f"0 to {x.shape[axis]}")  # fmt: skip
    order = argsort(-values(x), axis)[(slice(None),) * axis + (slice(k),)]
    return take_along_axis(x, order, axis), wrapped(order) if isinstance(x, Tensor) else order


def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the median over ``axis``: of an even number, the mean of the two in the middle."""
    x, shape = gathered("median", x, axis)
    n = x.shape[-1]
    middle = mean(sort(x)[..., (n - 1) // 2 : n // 2 + 1], -1)
    return reshape(middle, shape) if keepdims else middle
