"""How each operation runs on many calls at once: one rule an operation.

A rule gets a :class:`Launch` and returns a tensor with the calls along its first axis.
An operation without a rule runs call by call, and the report says so; a ``Function`` of
your own gets one by an entry in :data:`RULES`, ``RULES[Cube] = elementwise``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from workbench import arrays
from workbench.dynamic.batching.groups import VARIES, Launch
from workbench.dynamic.function import Function
from workbench.dynamic.ops import (
    broadcast_to,
    getitem,
    log_softmax,
    mean,
    negative,
    reshape,
    transpose,
)
from workbench.dynamic.ops.convolution import Convolution, Im2col
from workbench.dynamic.ops.elementwise import Elementwise, values
from workbench.dynamic.ops.indexing import GetItem
from workbench.dynamic.ops.linear import Affine, Matmul
from workbench.dynamic.ops.losses import SoftmaxCrossEntropy
from workbench.dynamic.ops.losses import check_labels as check_labels
from workbench.dynamic.ops.reductions import LogSoftmax, Logsumexp, Max, Softmax, Sum
from workbench.dynamic.ops.shapes import BroadcastTo, Concatenate, Reshape, Stack, Transpose

Rule: TypeAlias = Callable[[Launch], Any]
"""Returns NotImplemented for calls that it cannot batch."""


def elementwise(c: Launch) -> Any:
    """Batch an operation on corresponding elements: broadcasting does it."""
    ndim = max(len(shape) for shape in c.shapes if shape is not None)
    return c.apply(*(c.aligned(k, ndim) for k in range(len(c.args))))


def examples(c: Launch) -> Any:
    """Batch an operation that has a batch axis already, x (N, ...): as one of k N examples."""
    x, *rest = c.args
    if any(each is VARIES for each in rest):
        return NotImplemented
    x = reshape(c.stacked(0), (c.count * c.shapes[0][0], *c.shapes[0][1:]))
    return reshape(c.apply(x, *rest), (c.count, *c.shape))


def product(c: Launch) -> Any:
    """Batch x @ y; where one of them is common, as one product of two large matrices."""
    (x, y), (a, b) = c.args, map(len, c.shapes)
    if y is not VARIES and b <= 2:
        rows = reshape(c.stacked(0), (c.count * math.prod(c.shapes[0][:-1]), c.shapes[0][-1]))
        return reshape(rows @ y, (c.count, *c.shape))
    if x is not VARIES and a <= 2 and b == 1:
        return c.stacked(1) @ (transpose(x) if a == 2 else x)
    if x is not VARIES and a == b == 2:  # W @ y: put the y beside each other.
        d, n = c.shapes[1]
        columns = reshape(transpose(c.stacked(1), (1, 0, 2)), (d, c.count * n))
        return transpose(reshape(x @ columns, (len(x), c.count, n)), (1, 0, 2))
    x, y = c.stacked(0), c.stacked(1)
    x = reshape(x, (c.count, 1, *c.shapes[0])) if a == 1 else x
    y = reshape(y, (*y.shape, 1)) if b == 1 else y
    ndim = max(x.ndim, y.ndim)
    x, y = (reshape(z, (c.count, *(1,) * (ndim - z.ndim), *z.shape[1:])) for z in (x, y))
    return reshape(x @ y, (c.count, *c.shape))


def along(c: Launch) -> Any:
    """Batch ``op(x, axis, ...)``: the axes of one call come after that of the calls."""
    _, axis, *rest = c.args
    n = len(c.shapes[0])
    if axis is None:
        axis = tuple(range(n))
    moved = axis % n + 1 if isinstance(axis, int) else tuple(each % n + 1 for each in axis)
    return c.apply(c.stacked(0), moved, *rest)


def reshaping(c: Launch) -> Any:
    """Batch a reshape."""
    return reshape(c.stacked(0), (c.count, *c.shape))


def transposing(c: Launch) -> Any:
    """Batch a transpose."""
    n = len(c.shape)
    axes = reversed(range(n)) if c.args[1] is None else c.args[1]
    return transpose(c.stacked(0), (0, *(each % n + 1 for each in axes)))


def broadcasting(c: Launch) -> Any:
    """Batch a broadcast_to."""
    return broadcast_to(c.aligned(0, len(c.shape)), (c.count, *c.shape))


def joining(c: Launch) -> Any:
    """Batch a concatenate or stack; of equal shapes by gathering all parts at once."""
    axis, parts, shape = c.args[0] % len(c.shape), range(1, len(c.args)), c.shapes[1]
    alike = len({(c.shapes[k], c.dtypes[k]) for k in parts}) == 1
    if not alike or any(c.args[k] is not VARIES for k in parts):
        return c.apply(axis + 1, *(c.stacked(k) for k in parts))
    x = reshape(c.rows(*parts).tensor, (c.count, len(parts), *shape))
    if axis:
        x = transpose(x, (0, *range(2, axis + 2), 1, *range(axis + 2, x.ndim)))
    return reshape(x, (c.count, *c.shape))


def indexing(c: Launch) -> Any:
    """Batch x[index]: one index for all calls, or a row number, or several, in each."""
    x, index = c.args
    if index is not VARIES:
        if x is not VARIES:
            return NotImplemented
        index = index if isinstance(index, tuple) else (index,)
        if any(getattr(part, "ndim", 0) for part in index):
            return NotImplemented  # NumPy might move the axis of the calls.
        return c.rows(0).take((slice(None), *index))
    varies, x = x is VARIES, c.stacked(0) if x is VARIES else x
    # Row numbers that were plain ints in the program have to go where the table is.
    index = arrays.to_device(c.stacked(1).data, arrays.device_of(values(x)))
    if not varies:
        return getitem(x, index)
    calls = arrays.namespace(index).arange(c.count)
    return getitem(x, (calls.reshape(-1, *(1,) * (index.ndim - 1)), index))


def cross_entropy(c: Launch) -> Any:
    """Batch the mean over each call's own examples."""
    n, classes = c.shapes[0]
    labels = values(c.stacked(1)).reshape(-1)
    logits = reshape(c.stacked(0), (len(labels), classes))
    check_labels(logits, labels)
    at = arrays.namespace(labels).arange(0, logits.size, classes) + labels
    log_p = getitem(reshape(log_softmax(logits), logits.size), at)
    return negative(mean(reshape(log_p, (c.count, n)), axis=1))


RULES: dict[type[Function], Rule] = {
    Elementwise: elementwise,  # And all below it.
    Affine: examples, Convolution: examples, Im2col: examples,
    Matmul: product,
    Sum: along, Max: along, Logsumexp: along, Softmax: along, LogSoftmax: along,
    Reshape: reshaping, Transpose: transposing, BroadcastTo: broadcasting,
    Concatenate: joining, Stack: joining,
    GetItem: indexing,
    SoftmaxCrossEntropy: cross_entropy,
}  # fmt: skip

WEIGHTS: dict[type[Function], tuple[int, ...]] = {
    Affine: (1, 2), Convolution: (1, 2), Matmul: (1,), GetItem: (0,),
}  # fmt: skip
"""Arguments that, unless computed in the block, are taken for weights: one group for each."""

VIEWS = (Reshape, Transpose, BroadcastTo, GetItem)
"""What is run at once on tensors from outside: it costs nothing, and weights stay weights."""


def rule_of(cls: type[Function]) -> Rule | None:
    """Return the rule of an operation, its own or that of a class above it."""
    return next((RULES[each] for each in cls.__mro__ if each in RULES), None)
