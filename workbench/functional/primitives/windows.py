"""Windows: all of an image at once, as convolution and pooling read them, or one at a traced place.

``im2col`` and ``col2im`` are each the transpose of the other.  ``dynamic_slice`` reads, and
``dynamic_update_slice`` writes, a window of a fixed size whose place is a value: so the
shape is static though the start is traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench import arrays
from workbench.compiler import Builder
from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import Linear, Primitive, ShapedArray, Value, shape_of
from workbench.functional.primitives import elementwise
from workbench.functional.primitives.creation import iota
from workbench.functional.primitives.elementwise import add, convert_dtype, full_like
from workbench.functional.primitives.indexing import (
    gather,
    gather_batch,
    pad,
    scatter_set,
    scatter_set_batch,
    set_at,
    update_jvp,
)
from workbench.functional.primitives.rules import linear_jvp
from workbench.functional.primitives.shape import all_mapped, broadcast_to, reshape

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

# One window at a traced place


def _window(
    starts: Sequence[Value], shape: Sequence[int], sizes: Sequence[int]
) -> tuple[slice, ...]:
    """Return slices that lie within ``shape``: negative starts count back, then all clamp."""
    corners = [int(at) + n * (at < 0) for at, n in zip(starts, shape, strict=True)]
    corners = [min(max(a, 0), n - m) for a, n, m in zip(corners, shape, sizes, strict=True)]
    return tuple([slice(a, a + m) for a, m in zip(corners, sizes, strict=True)])


def _indexed(shape: Sequence[int], sizes: Sequence[int]) -> int:
    """Return how many leading axes must be indexed: all behind them are whole."""
    partial = [axis for axis, (n, m) in enumerate(zip(shape, sizes, strict=True)) if n != m]
    return max(partial, default=0) + 1


def _corner(ops: Any, constant: Any, start: Any, n: int, size: int) -> Any:
    """Clamp one start, in primitives (``ops`` their module) or in the compiler's (a builder)."""
    start = ops.select(ops.less(start, constant(0)), ops.add(start, constant(n)), start)
    return ops.minimum(ops.maximum(start, constant(0)), constant(n - size))


def _window_lower(
    b: Builder, starts: Sequence[Any], shape: Sequence[int], sizes: Sequence[int]
) -> list[Any]:
    lead, constant = sizes[: _indexed(shape, sizes)], lambda n: b.constant(n, np.int64)
    return [
        b.add(b.iota(lead, axis), _corner(b, constant, b.convert(start, np.int64), n, m))
        for axis, (start, n, m) in enumerate(zip(starts, shape, lead, strict=False))
    ]


def _window_of_each(
    starts: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    shape: Sequence[int],
    sizes: Sequence[int],
) -> list[Value]:
    """Return indices, shape (size, *leading sizes), of a window an example."""
    lead = sizes[: _indexed(shape, sizes)]
    indices = []
    for axis, start in enumerate(all_mapped(starts, mapped, size)[: len(lead)]):
        at = convert_dtype(start, dtype=np.dtype(np.intp))
        at = _corner(elementwise, lambda n: n, at, shape[axis], lead[axis])
        steps = iota(size=lead[axis], dtype=np.dtype(np.intp))
        along = [1] * len(lead)
        along[axis] = lead[axis]
        at = add(reshape(at, shape=(size, *(1,) * len(lead))), reshape(steps, shape=(1, *along)))
        indices.append(broadcast_to(at, shape=(size, *lead)))
    return indices


def _check_window(
    where: str, x: ShapedArray, sizes: tuple[int, ...], starts: Sequence[ShapedArray]
) -> None:
    fits = len(sizes) == len(starts) == x.ndim and all(
        m <= n for m, n in zip(sizes, x.shape, strict=True)
    )
    if not fits or any(at.shape or at.dtype.kind not in "iu" for at in starts):
        raise ShapeError(where, "the window does not fit the array",
                         given=f"{x}, window {sizes}, starts ({', '.join(map(str, starts))})",
                         expected="for each axis a length at most the array's, "
                         "and an integer to start at")  # fmt: skip


def _dynamic_slice_abstract(
    x: ShapedArray, *starts: ShapedArray, sizes: tuple[int, ...]
) -> ShapedArray:
    _check_window("dynamic_slice", x, sizes, starts)
    return ShapedArray(sizes, x.dtype)


def _dynamic_slice_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    x, *starts = values
    if not any(mapped[1:]):
        return primitive(x, 0, *starts, sizes=(size, *params["sizes"]))
    shape = shape_of(x)[mapped[0] :]
    indices = _window_of_each(starts, mapped[1:], size, shape, params["sizes"])
    return gather_batch(gather, [x, *indices], [mapped[0], *[True] * len(indices)], size, {})


def _dynamic_slice_transpose(
    g: Value, x: Any, *starts: Value, sizes: tuple[int, ...]
) -> tuple[Value, ...]:
    whole = pad(g, index=tuple([(0, m, 1) for m in sizes]), shape=x.aval.shape)
    zeros = full_like(whole, fill_value=0)
    return dynamic_update_slice(zeros, g, *starts), *(None,) * len(starts)


dynamic_slice: Primitive = Primitive(
    "dynamic_slice",
    impl=lambda x, *starts, sizes: x[_window(starts, x.shape, sizes)],
    abstract=_dynamic_slice_abstract,
    jvp=linear_jvp,
    batch=_dynamic_slice_batch,
    transpose=_dynamic_slice_transpose,
    lower=lambda b, x, *starts, sizes: (
        b.gather(x, *_window_lower(b, starts, x.shape, sizes)) if starts else x
    ),
)


def _dynamic_update_slice_abstract(
    x: ShapedArray, updates: ShapedArray, *starts: ShapedArray
) -> ShapedArray:
    _check_window("dynamic_update_slice", x, updates.shape, starts)
    if x.dtype != updates.dtype:
        raise DtypeError("dynamic_update_slice", "a primitive takes operands of one dtype",
                         given=f"x {x}, updates {updates}", fix="convert updates with astype")  # fmt: skip
    return x


def _dynamic_update_slice_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    x, updates, *starts = values
    if not any(mapped[2:]):
        return primitive(*all_mapped([x, updates], mapped[:2], size), 0, *starts)
    shape, sizes = shape_of(x)[mapped[0] :], shape_of(updates)[mapped[1] :]
    indices = _window_of_each(starts, mapped[2:], size, shape, sizes)
    mapped = [*mapped[:2], *[True] * len(indices)]
    return scatter_set_batch(scatter_set, [x, updates, *indices], mapped, size, {})


def _dynamic_update_slice_transpose(
    g: Value, x: Any, updates: Any, *starts: Value
) -> tuple[Value, ...]:
    sizes = updates.aval.shape if isinstance(updates, Linear) else shape_of(updates)
    part = dynamic_slice(g, *starts, sizes=sizes)
    return (
        dynamic_update_slice(g, full_like(part, fill_value=0), *starts)
        if isinstance(x, Linear) else None,
        part if isinstance(updates, Linear) else None,
        *(None,) * len(starts),
    )  # fmt: skip


dynamic_update_slice: Primitive = Primitive(
    "dynamic_update_slice",
    impl=lambda x, updates, *starts: set_at(
        x, updates, *_window(starts, x.shape, updates.shape)
    ),
    abstract=_dynamic_update_slice_abstract,
    jvp=update_jvp,
    batch=_dynamic_update_slice_batch,
    transpose=_dynamic_update_slice_transpose,
    lower=lambda b, x, updates, *starts: (
        b.scatter_set(x, updates, *_window_lower(b, starts, x.shape, updates.shape))
        if starts else updates
    ),
)  # fmt: skip
