"""Primitives that bring elements together: products of matrices, extremes, products.

(``reduce_sum`` stands in ``shape.py``, beside the broadcasting it is the transpose of.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
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
from workbench.functional.primitives.indexing import concatenate, slice_
from workbench.functional.primitives.rules import (
    NOT_LINEAR,
    PIECEWISE_CONSTANT,
    batch_with,
    shift,
)
from workbench.functional.primitives.shape import (
    all_mapped,
    move_axis,
    permute,
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


def _reduced(x: ShapedArray, *, axes: tuple[int, ...]) -> ShapedArray:
    return ShapedArray(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)


def _extreme_term(t: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
    """Average the tangents of all elements that attain the extreme."""
    ties = equal(x, spread(y, shape_of(x), axes))
    total = reduce_sum(select(ties, t, full_like(x, fill_value=0)), axes=axes)
    return divide(total, reduce_sum(convert_dtype(ties, dtype=x.dtype), axes=axes))


def _some(name: str, x: ShapedArray, axes: tuple[int, ...]) -> None:
    if any(x.shape[axis] == 0 for axis in axes):
        raise ShapeError(name, f"nothing has no {name[-3:]}imum", given=f"{x}, axes {axes}",
                         expected="at least one element along the axes")  # fmt: skip


def _extreme(name: str) -> Primitive:
    """Declare ``reduce_max`` or ``reduce_min``."""

    def abstract(x: ShapedArray, *, axes: tuple[int, ...]) -> ShapedArray:
        _some(name, x, axes)
        return _reduced(x, axes=axes)

    return Primitive(
        f"reduce_{name}",
        impl=lambda x, *, axes: getattr(x, name)(axis=axes),
        abstract=abstract,
        jvp=per_argument(_extreme_term),
        batch=batch_with(lambda size, axes: {"axes": shift(axes)}),
        transpose=NOT_LINEAR,
        lower=lambda b, x, axes: b.reduce(name, x, axes),
    )


reduce_max: Primitive = _extreme("max")
reduce_min: Primitive = _extreme("min")


def _position(name: str) -> Primitive:
    """Declare ``argmax`` or ``argmin``."""

    def abstract(x: ShapedArray, *, axis: int) -> ShapedArray:
        _some(name, x, (axis,))
        return ShapedArray(_reduced(x, axes=(axis,)).shape, np.intp)

    return Primitive(
        name,
        impl=lambda x, *, axis: getattr(x, name)(axis),
        abstract=abstract,
        jvp=PIECEWISE_CONSTANT,
        batch=batch_with(lambda size, axis: {"axis": axis + 1}),
        transpose=NOT_LINEAR,
        lower=lambda b, x, axis: getattr(b, name)(x, axis),
    )


argmax: Primitive = _position("argmax")
argmin: Primitive = _position("argmin")


def _truth(name: str) -> Primitive:
    """Declare ``reduce_any`` or ``reduce_all``, of booleans."""
    return Primitive(
        f"reduce_{name}",
        impl=lambda x, *, axes: getattr(x, name)(axis=axes),
        abstract=_reduced,
        jvp=PIECEWISE_CONSTANT,
        batch=batch_with(lambda size, axes: {"axes": shift(axes)}),
        transpose=NOT_LINEAR,
        lower=lambda b, x, axes: b.reduce(name, x, axes),
    )


reduce_any: Primitive = _truth("any")
reduce_all: Primitive = _truth("all")


def _prod_term(t: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
    """Multiply in pairs, each product with its tangent: no division, which zeros would spoil."""
    order = (*axes, *(axis for axis in range(len(shape_of(x))) if axis not in axes))
    flat = (prod(shape_of(x)[axis] for axis in axes), *shape_of(y))
    x, t = (reshape(permute(each, order), shape=flat) for each in (x, t))

    def part(each: Value, start: int, stop: int) -> Value:
        return slice_(each, index=((start, stop, 1), *((0, n, 1) for n in shape_of(y))))

    if not flat[0]:
        return full_like(y, fill_value=0)
    while (n := shape_of(x)[0]) > 1:
        half = n // 2
        a, b, ta, tb = (part(each, i * half, (i + 1) * half) for each in (x, t) for i in range(2))
        pairs, tangents = a * b, ta * b + a * tb
        if n % 2:
            pairs = concatenate(pairs, part(x, n - 1, n), axis=0)
            tangents = concatenate(tangents, part(t, n - 1, n), axis=0)
        x, t = pairs, tangents
    return reshape(t, shape=shape_of(y))


reduce_prod: Primitive = Primitive(
    "reduce_prod",
    impl=lambda x, *, axes: x.prod(axis=axes),
    abstract=_reduced,
    jvp=per_argument(_prod_term),
    batch=batch_with(lambda size, axes: {"axes": shift(axes)}),
    transpose=NOT_LINEAR,
    lower=lambda b, x, axes: b.prod(x, axes),
)
