"""The two primitives under convolution and pooling, each the transpose of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench import arrays
from workbench.functional.core import Primitive, ShapedArray, Value, shape_of
from workbench.functional.primitives.rules import linear_jvp
from workbench.functional.primitives.shape import reshape

Pair = tuple[int, int]


def _im2col_abstract(x: ShapedArray, *, size: Pair, stride: Pair, padding: Pair) -> ShapedArray:
    counts = [
        (n + 2 * p - k) // s + 1
        for n, k, s, p in zip(x.shape[2:], size, stride, padding, strict=True)
    ]
    return ShapedArray((*x.shape[:2], *counts, *size), x.dtype)


def _im2col_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    return _unfold(primitive(_fold(values[0]), **params), values[0])


def _fold(x: Value) -> Value:
    """Join the batch of vmap and the batch of images, which the windows do not mix."""
    first, second, *rest = shape_of(x)
    return reshape(x, shape=(first * second, *rest))


def _unfold(x: Value, folded: Value) -> Value:
    return reshape(x, shape=(*shape_of(folded)[:2], *shape_of(x)[1:]))


im2col: Primitive = Primitive(
    "im2col",
    impl=arrays.im2col,
    abstract=_im2col_abstract,
    jvp=linear_jvp,
    batch=_im2col_batch,
    transpose=lambda g, x, size, stride, padding: (
        col2im(g, shape=x.aval.shape, stride=stride, padding=padding),
    ),
    lower=lambda b, x, size, stride, padding: b.windows(x, size, stride, padding),
)


def _col2im_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    n, *rest = params["shape"]
    params = {**params, "shape": (size * n, *rest)}
    return _unfold(primitive(_fold(values[0]), **params), values[0])


col2im: Primitive = Primitive(
    "col2im",
    impl=arrays.col2im,
    abstract=lambda x, *, shape, stride, padding: ShapedArray(shape, x.dtype),
    jvp=linear_jvp,
    batch=_col2im_batch,
    transpose=lambda g, x, shape, stride, padding: (
        im2col(g, size=x.aval.shape[4:], stride=stride, padding=padding),
    ),
    lower=lambda b, x, shape, stride, padding: b.windows_add(x, shape, stride, padding),
)
