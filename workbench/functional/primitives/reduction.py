"""Primitives that bring elements together: products of matrices, and maxima.

(``reduce_sum`` stands in ``shape.py``, beside the broadcasting it is the transpose of.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import Linear, Primitive, ShapedArray, Value, shape_of
from workbench.functional.primitives.elementwise import (
    convert_dtype,
    divide,
    equal,
    full_like,
    per_argument,
    select,
)
from workbench.functional.primitives.rules import (
    NOT_LINEAR,
    PIECEWISE_CONSTANT,
    batch_with,
    shift,
)
from workbench.functional.primitives.shape import (
    all_mapped,
    move_axis,
    reduce_sum,
    reshape,
    spread,
)


def swap(x: Value) -> Value:
    """Return ``x`` with its last two axes swapped."""
    last = len(shape_of(x)) - 1
    return move_axis(x, last, last - 1)


def _matmul_abstract(x: ShapedArray, y: ShapedArray) -> ShapedArray:
    if min(x.ndim, y.ndim) < 2 or x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-2]:
        raise ShapeError("matmul", "x and y do not fit together", given=f"x {x}, y {y}",
                         expected="x (..., M, K) and y (..., K, N) with one K")  # fmt: skip
    if x.dtype != y.dtype:
        raise DtypeError("matmul", "a primitive takes operands of one dtype",
                         given=f"x {x}, y {y}", fix="functional.numpy.matmul promotes them")  # fmt: skip
    return ShapedArray((*x.shape[:-1], y.shape[-1]), x.dtype)


def _matmul_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    x, y = values
    if not mapped[1] and len(shape_of(y)) == 2:
        # One large product instead of a small one an example.
        rows = reshape(x, shape=(size * shape_of(x)[1], shape_of(x)[2]))
        return reshape(primitive(rows, y), shape=(*shape_of(x)[:2], shape_of(y)[1]))
    return primitive(*all_mapped(values, mapped, size))


matmul: Primitive = Primitive(
    "matmul",  # Of stacks of equal shape; functional.numpy.matmul broadcasts them.
    impl=np.matmul,
    abstract=_matmul_abstract,
    jvp=per_argument(lambda t, z, x, y: matmul(t, y), lambda t, z, x, y: matmul(x, t)),
    batch=_matmul_batch,
    transpose=lambda g, x, y: (
        (matmul(g, swap(y)), None) if isinstance(x, Linear) else (None, matmul(swap(x), g))
    ),
    lower=lambda b, x, y: b.dot(x, y),
)


def _reduce_max_abstract(x: ShapedArray, *, axes: tuple[int, ...]) -> ShapedArray:
    if any(x.shape[axis] == 0 for axis in axes):
        raise ShapeError("max", "nothing has no maximum", given=f"{x}, axes {axes}",
                         expected="at least one element along the axes")  # fmt: skip
    return ShapedArray(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)


def _reduce_max_term(t: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
    """Average the tangents of all elements that attain the maximum."""
    ties = equal(x, spread(y, shape_of(x), axes))
    total = reduce_sum(select(ties, t, full_like(x, fill_value=0)), axes=axes)
    return divide(total, reduce_sum(convert_dtype(ties, dtype=x.dtype), axes=axes))


reduce_max: Primitive = Primitive(
    "reduce_max",
    impl=lambda x, *, axes: x.max(axis=axes),
    abstract=_reduce_max_abstract,
    jvp=per_argument(_reduce_max_term),
    batch=batch_with(lambda size, axes: {"axes": shift(axes)}),
    transpose=NOT_LINEAR,
    lower=lambda b, x, axes: b.max(x, axes),
)


def _argmax_abstract(x: ShapedArray, *, axis: int) -> ShapedArray:
    rest = _reduce_max_abstract(x, axes=(axis,))
    return ShapedArray(rest.shape, np.intp)


argmax: Primitive = Primitive(
    "argmax",
    impl=lambda x, *, axis: x.argmax(axis),
    abstract=_argmax_abstract,
    jvp=PIECEWISE_CONSTANT,
    batch=batch_with(lambda size, axis: {"axis": axis + 1}),
    transpose=NOT_LINEAR,
    lower=lambda b, x, axis: b.argmax(x, axis),
)
