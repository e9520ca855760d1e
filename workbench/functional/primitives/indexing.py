"""Primitives that read and write parts of arrays, in pairs of transposes.

``slice`` and ``pad`` belong together, as do ``gather`` and ``scatter_add``: what one
reads, the other adds into zeros.  ``scatter_set`` overwrites.
``concatenate`` is undone by slices.  ``x[index]``
in all of NumPy's forms is made of these in :mod:`workbench.functional.numpy.indexing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from workbench import arrays
from workbench.compiler import Builder
from workbench.errors import ShapeError
from workbench.functional.core import (
    ZERO,
    Linear,
    Primitive,
    ShapedArray,
    Value,
    get_aval,
    shape_of,
)
from workbench.functional.primitives.creation import full, iota
from workbench.functional.primitives.elementwise import (
    equal,
    full_like,
    select,
)
from workbench.functional.primitives.rules import batch_with, linear_jvp
from workbench.functional.primitives.shape import (
    all_mapped,
    broadcast_to,
    move_axis,
    reshape,
)

Index = tuple[tuple[int, int | None, int], ...]
"""A (start, stop, step) for each axis; stop is None where a negative step runs off the front."""


def _slices(index: Index) -> tuple[slice, ...]:
    return tuple([slice(*each) for each in index])


def _pad_impl(x: Value, *, index: Index, shape: tuple[int, ...]) -> Value:
    y = arrays.namespace(x).zeros(shape, x.dtype)
    y[_slices(index)] = x
    return y


def _start_size_step(index: Index, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return, for each axis of an array, the first position, how many, and how far apart."""
    ranges = [range(*s.indices(n)) for s, n in zip(_slices(index), shape, strict=True)]
    return [r.start if r else 0 for r in ranges], [*map(len, ranges)], [r.step for r in ranges]


def _slice_lower(b: Builder, x: Any, index: Index) -> Any:
    return b.slice(x, *_start_size_step(index, x.shape))


def _pad_lower(b: Builder, x: Any, index: Index, shape: tuple[int, ...]) -> Any:
    starts, sizes, steps = _start_size_step(index, shape)
    if not all(sizes):
        return b.broadcast(b.constant(0, x.dtype), shape)
    if min(steps, default=1) < 0:  # Turn x around first; then its steps go up.
        turned = [(n - 1 if s < 0 else 0, n, -1 if s < 0 else 1)
                  for n, s in zip(sizes, steps, strict=True)]  # fmt: skip
        x = b.slice(x, *zip(*turned, strict=True))
        starts = [a + (n - 1) * s if s < 0 else a
                  for a, n, s in zip(starts, sizes, steps, strict=True)]  # fmt: skip
    interior = [abs(s) - 1 if n > 1 else 0 for n, s in zip(sizes, steps, strict=True)]
    ends = [n - a - (m - 1) * (i + 1) - 1
            for n, a, m, i in zip(shape, starts, sizes, interior, strict=True)]  # fmt: skip
    return b.pad(x, starts, ends, interior)


slice_: Primitive = Primitive(
    "slice",
    impl=lambda x, *, index: x[_slices(index)],
    abstract=lambda x, *, index: ShapedArray(
        tuple(len(range(*s.indices(n))) for s, n in zip(_slices(index), x.shape, strict=True)),
        x.dtype,
    ),
    jvp=linear_jvp,
    batch=batch_with(lambda size, index: {"index": ((0, size, 1), *index)}),
    transpose=lambda g, x, index: (pad(g, index=index, shape=x.aval.shape),),
    lower=_slice_lower,
)

pad: Primitive = Primitive(
    "pad",
    impl=_pad_impl,
    abstract=lambda x, *, index, shape: ShapedArray(shape, x.dtype),
    jvp=linear_jvp,
    batch=batch_with(
        lambda size, index, shape: {"index": ((0, size, 1), *index), "shape": (size, *shape)}
    ),
    transpose=lambda g, x, index, shape: (slice_(g, index=index),),
    lower=_pad_lower,
)


def _gather_abstract(x: ShapedArray, *indices: ShapedArray) -> ShapedArray:
    if len(indices) > x.ndim:
        raise ShapeError("gather", "more indices than axes",
                         given=f"{x}, {len(indices)} indices")  # fmt: skip
    return ShapedArray((*indices[0].shape, *x.shape[len(indices) :]), x.dtype)


def _with_batch_index(
    indices: Sequence[Value], mapped: Sequence[bool], size: int
) -> tuple[Value, ...]:
    """Return indices that pick each example's own part of a batched array."""
    full = all_mapped(indices, mapped, size)
    shape = shape_of(full[0])
    own = reshape(iota(size=size, dtype=np.dtype(np.intp)), shape=(size, *(1,) * (len(shape) - 1)))
    return broadcast_to(own, shape=shape), *full


def gather_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    """Gather for each example, with one gather of all."""
    x, *indices = values
    if not mapped[0]:
        return primitive(x, *all_mapped(indices, mapped[1:], size))
    if any(mapped[1:]):
        return primitive(x, *_with_batch_index(indices, mapped[1:], size))
    # The batch steps behind the indexed axes, and comes out behind the index's own.
    y = primitive(move_axis(x, 0, len(indices)), *indices)
    return move_axis(y, len(shape_of(indices[0])), 0)


gather: Primitive = Primitive(
    "gather",  # x[i, j, ...] for integer arrays of one shape, on the leading axes
    impl=lambda x, *indices: x[indices],
    abstract=_gather_abstract,
    jvp=linear_jvp,
    batch=gather_batch,
    transpose=lambda g, x, *indices: (
        scatter_add(g, *indices, shape=x.aval.shape),
        *(None,) * len(indices),
    ),
    lower=lambda b, x, *indices: b.gather(x, *indices),
)


def _scatter_add_impl(x: Value, *indices: Value, shape: tuple[int, ...]) -> Value:
    y = arrays.namespace(x).zeros(shape, x.dtype)
    arrays.scatter_add(y, indices, x)
    return y


def _scatter_add_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    shape = params["shape"]
    x, *indices = values
    if any(mapped[1:]):
        x = x if mapped[0] else all_mapped([x], [False], size)[0]
        own = _with_batch_index(indices, mapped[1:], size)
        return primitive(x, *own, shape=(size, *shape))
    count = len(indices)
    y = primitive(
        move_axis(x, 0, len(shape_of(indices[0]))),
        *indices,
        shape=(*shape[:count], size, *shape[count:]),
    )
    return move_axis(y, count, 0)


scatter_add: Primitive = Primitive(
    "scatter_add",  # zeros of a shape, with x added at [i, j, ...]; repeated indices accumulate
    impl=_scatter_add_impl,
    abstract=lambda x, *indices, shape: ShapedArray(shape, x.dtype),
    jvp=linear_jvp,
    batch=_scatter_add_batch,
    transpose=lambda g, x, *indices, shape: (gather(g, *indices), *(None,) * len(indices)),
    lower=lambda b, x, *indices, shape: b.scatter_add(
        b.broadcast(b.constant(0, x.dtype), shape), x, *indices
    ),
)


def update_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    """Push both tangents through: what writes ``updates`` into ``x`` is linear in the pair."""
    y = primitive(*primals, **params)
    if tangents[0] is ZERO and tangents[1] is ZERO:
        return y, ZERO
    both = [
        full_like(x, fill_value=0) if t is ZERO else t
        for x, t in zip(primals[:2], tangents[:2], strict=True)
    ]
    return y, primitive(*both, *primals[2:], **params)


def set_at(x: Value, updates: Value, *indices: Value) -> Value:
    """Return a copy of ``x`` with ``updates`` at the indices, arrays or slices."""
    y = x.copy()
    y[indices] = updates
    return y


def _scatter_set_abstract(
    x: ShapedArray, updates: ShapedArray, *indices: ShapedArray
) -> ShapedArray:
    part = _gather_abstract(x, *indices)
    if part.shape != updates.shape or x.dtype != updates.dtype:
        raise ShapeError("scatter_set", "the updates are not of the part's shape and dtype",
                         given=f"x {x}, updates {updates}", expected=f"updates {part}")  # fmt: skip
    return x


def scatter_set_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    """Write for each example, with one scatter for all."""
    x, updates = all_mapped(values[:2], mapped[:2], size)
    indices = values[2:]
    if any(mapped[2:]):
        return primitive(x, updates, *_with_batch_index(indices, mapped[2:], size))
    count = len(indices)
    updates = move_axis(updates, 0, len(shape_of(indices[0])))
    return move_axis(primitive(move_axis(x, 0, count), updates, *indices), count, 0)


def _scatter_set_transpose(g: Value, x: Any, updates: Any, *indices: Value) -> tuple[Value, ...]:
    part = gather(g, *indices)
    zeros, shape = full_like(part, fill_value=0), shape_of(indices[0])
    gx = scatter_set(g, zeros, *indices) if isinstance(x, Linear) else None
    if isinstance(updates, Linear) and prod(shape) > 1:
        # Every update signs its place; those whose name was overwritten had no effect.
        integer = np.dtype(np.intp)
        names = reshape(iota(size=prod(shape), dtype=integer), shape=shape)
        board = full(shape=shape_of(g)[: len(indices)], dtype=integer, fill_value=0)
        stayed = equal(gather(scatter_set(board, names, *indices), *indices), names)
        rest = len(shape_of(part)) - len(shape)
        part = select(reshape(stayed, shape=(*shape, *(1,) * rest)), part, zeros)
    return gx, part if isinstance(updates, Linear) else None, *(None,) * len(indices)


scatter_set: Primitive = Primitive(
    "scatter_set",  # x with updates put at [i, j, ...]; of repeated indices the last stays
    impl=set_at,
    abstract=_scatter_set_abstract,
    jvp=update_jvp,
    batch=scatter_set_batch,
    transpose=_scatter_set_transpose,
    lower=lambda b, x, updates, *indices: b.scatter_set(x, updates, *indices),
)


def _concatenate_abstract(*xs: ShapedArray, axis: int) -> ShapedArray:
    rests = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
    if len(rests) != 1 or any(x.ndim != xs[0].ndim for x in xs):
        raise ShapeError("concatenate", f"the arrays differ elsewhere than along axis {axis}",
                         given=", ".join(map(str, xs)),
                         expected="equal lengths of all other axes")  # fmt: skip
    total = sum(x.shape[axis] for x in xs)
    return ShapedArray((*xs[0].shape[:axis], total, *xs[0].shape[axis + 1 :]), xs[0].dtype)


def _concatenate_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    full = [
        full_like(x, fill_value=0) if t is ZERO else t
        for x, t in zip(primals, tangents, strict=True)
    ]
    return primitive(*primals, **params), primitive(*full, **params)


def _concatenate_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    return primitive(*all_mapped(values, mapped, size), axis=params["axis"] + 1)


def _concatenate_transpose(g: Value, *xs: Any, axis: int) -> tuple[Value, ...]:
    start, parts = 0, []
    for x in xs:
        stop = start + (x.aval if isinstance(x, Linear) else get_aval(x)).shape[axis]
        index = [(0, n, 1) for n in shape_of(g)]
        index[axis] = (start, stop, 1)
        parts.append(slice_(g, index=tuple(index)) if isinstance(x, Linear) else None)
        start = stop
    return tuple(parts)


concatenate: Primitive = Primitive(
    "concatenate",
    impl=lambda *xs, axis: np.concatenate(xs, axis),
    abstract=_concatenate_abstract,
    jvp=_concatenate_jvp,
    batch=_concatenate_batch,
    transpose=_concatenate_transpose,
    lower=lambda b, *xs, axis: b.concatenate(xs, axis),
)
