"""Primitives that change the shape of an array and none of its numbers, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from workbench.errors import ShapeError
from workbench.functional.core import Primitive, ShapedArray, Value, shape_of
from workbench.functional.primitives.rules import batch_with, linear_jvp, shift


def _reshape_abstract(x: ShapedArray, *, shape: tuple[int, ...]) -> ShapedArray:
    if x.size != prod(shape):
        raise ShapeError("reshape", "the number of elements would change",
                         given=f"{x} to shape {shape}",
                         expected=f"a shape of {x.size} elements")  # fmt: skip
    return ShapedArray(shape, x.dtype)


reshape: Primitive = Primitive(
    "reshape",
    impl=lambda x, *, shape: x.reshape(shape),
    abstract=_reshape_abstract,
    jvp=linear_jvp,
    batch=batch_with(lambda size, shape: {"shape": (size, *shape)}),
    transpose=lambda g, x, shape: (reshape(g, shape=x.aval.shape),),
    lower=lambda b, x, shape: b.reshape(x, shape),
)

transpose: Primitive = Primitive(
    "transpose",
    impl=lambda x, *, axes: x.transpose(axes),
    abstract=lambda x, *, axes: ShapedArray(tuple(x.shape[a] for a in axes), x.dtype),
    jvp=linear_jvp,
    batch=batch_with(lambda size, axes: {"axes": (0, *shift(axes))}),
    transpose=lambda g, x, axes: (transpose(g, axes=tuple(map(axes.index, range(len(axes))))),),
    lower=lambda b, x, axes: b.transpose(x, axes),
)


def move_axis(x: Value, source: int, destination: int) -> Value:
    """Return ``x`` with one axis moved; both are counted from the front."""
    axes = [axis for axis in range(len(shape_of(x))) if axis != source]
    axes.insert(destination, source)
    return permute(x, axes)


def permute(x: Value, axes: Sequence[int]) -> Value:
    """Return ``x`` with its axes in this order, itself if they are in it already."""
    order = tuple(axes)
    return x if order == tuple(range(len(order))) else transpose(x, axes=order)


reduce_sum: Primitive = Primitive(
    "reduce_sum",
    impl=lambda x, *, axes: x.sum(axis=axes),
    abstract=lambda x, *, axes: ShapedArray(
        tuple(n for axis, n in enumerate(x.shape) if axis not in axes), x.dtype
    ),
    jvp=linear_jvp,
    batch=batch_with(lambda size, axes: {"axes": shift(axes)}),
    transpose=lambda g, x, axes: (spread(g, x.aval.shape, axes),),
    lower=lambda b, x, axes: b.sum(x, axes),
)


def spread(g: Value, shape: tuple[int, ...], axes: Sequence[int]) -> Value:
    """Repeat ``g`` along the axes that a reduction of an array of ``shape`` removed."""
    first = next((axis for axis in range(len(shape)) if axis not in axes), len(shape))
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))[first:]
    g = g if shape_of(g) == kept else reshape(g, shape=kept)
    return broadcast_to(g, shape=shape)


def undo_broadcasting(g: Value, shape: tuple[int, ...]) -> Value:
    """Sum ``g`` over the axes along which an operand of ``shape`` was repeated."""
    extra = len(shape_of(g)) - len(shape)
    repeated = [n == 1 and m != 1 for n, m in zip(shape, shape_of(g)[extra:], strict=True)]
    axes = (*range(extra), *(axis + extra for axis, yes in enumerate(repeated) if yes))
    g = reduce_sum(g, axes=axes) if axes else g
    return g if shape_of(g) == shape else reshape(g, shape=shape)


def _broadcast_to_abstract(x: ShapedArray, *, shape: tuple[int, ...]) -> ShapedArray:
    tail = shape[len(shape) - x.ndim :]
    if x.ndim > len(shape) or any(n not in (1, m) for n, m in zip(x.shape, tail, strict=True)):
        raise ShapeError("broadcast_to", "the array cannot be repeated to this shape",
                         given=f"{x} to shape {shape}",
                         expected="equal lengths, or 1, counted from the last axis")  # fmt: skip
    return ShapedArray(shape, x.dtype)


def _broadcast_to_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    shape = params["shape"]
    return primitive(behind_batch(values[0], len(shape)), shape=(size, *shape))


def behind_batch(x: Value, ndim: int) -> Value:
    """Insert axes after the batch axis until ``ndim`` others follow it."""
    size, *rest = shape_of(x)
    missing = ndim - len(rest)
    return reshape(x, shape=(size, *(1,) * missing, *rest)) if missing > 0 else x


broadcast_to: Primitive = Primitive(
    "broadcast_to",
    impl=lambda x, *, shape: np.broadcast_to(x, shape),
    abstract=_broadcast_to_abstract,
    jvp=linear_jvp,
    batch=_broadcast_to_batch,
    transpose=lambda g, x, shape: (undo_broadcasting(g, x.aval.shape),),
    lower=lambda b, x, shape: b.broadcast(x, shape),
)


def all_mapped(values: Sequence[Value], mapped: Sequence[bool], size: int) -> list[Value]:
    """Return the values with those that carry no batch repeated along a new axis 0."""
    return [
        x if mine else broadcast_to(x, shape=(size, *shape_of(x)))
        for x, mine in zip(values, mapped, strict=True)
    ]
