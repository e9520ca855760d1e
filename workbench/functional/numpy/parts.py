"""Functions that take an array apart, or put its parts in another order or number.

What decides the shape of a result (repeats, sections, places) is known while tracing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional.core import Tracer, Value, concrete_value, describe, get_aval, shape_of
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_axis,
    check_shape,
    convert,
)
from workbench.functional.numpy.shaping import (
    Shape,
    broadcast_to,
    concatenate,
    moveaxis,
    pad,
    part,
    pick,
    ravel,
    reshape,
    swapaxes,
)

__all__ = [
    "array_split", "delete", "dsplit", "flip", "fliplr", "flipud", "hsplit", "insert", "repeat",
    "resize", "roll", "rot90", "split", "tile", "vsplit",
]  # fmt: skip


def known(where_: str, x: Any, fix: str) -> npt.NDArray[Any]:
    """Return the numbers of ``x``, on which the shape of a result depends.

    Raises
    ------
    GraphError
        If they are not known while tracing.
    """
    while isinstance(x, Tracer) and x.trace.alive:
        try:
            x = x.concrete(where_)
        except GraphError:
            raise GraphError(
                where_, "the shape of the result depends on values not known while tracing",
                given=describe(x), expected="an array that depends on no traced argument", fix=fix,
            ) from None  # fmt: skip
    return np.asarray(concrete_value(x, where_))


def _ints(where_: str, x: Any) -> npt.NDArray[np.intp]:
    """Return an argument that decides a shape: ints known while tracing."""
    values = known(where_, x, "pass numbers, or build the result with where and a fixed shape")
    if values.size and values.dtype.kind not in "iub":
        raise DtypeError(where_, "ints are needed here", given=repr(x))
    return values if values.dtype == bool else values.astype(np.intp)


def flip(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """Return ``x`` in reverse order along an axis, several, or all."""
    x = as_array("flip", x)
    for each in check_axes("flip", axis, len(x.shape)):
        if x.shape[each] > 1:
            x = part(x, each, x.shape[each] - 1, None, -1)
    return x


def fliplr(x: Value) -> Value:
    """Return ``x`` in reverse order along axis 1."""
    return flip(x, 1)


def flipud(x: Value) -> Value:
    """Return ``x`` in reverse order along axis 0."""
    return flip(x, 0)


def rot90(x: Value, k: int = 1, axes: Sequence[int] = (0, 1)) -> Value:
    """Return ``x`` turned k times by 90 degrees, from the first of two axes to the second.

    Raises
    ------
    ShapeError, OptionError
        If there are no two such axes.
    """
    x = as_array("rot90", x)
    both = check_axes("rot90", axes, len(x.shape))
    if len(both) != 2:
        raise OptionError("rot90", "a plane has two axes", given=f"axes={axes!r}")
    if k % 4 == 2:
        return flip(x, both)
    x = flip(x, both[1]) if k % 4 == 1 else x
    x = swapaxes(x, *both) if k % 2 else x
    return flip(x, both[1]) if k % 4 == 3 else x


def roll(x: Value, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Value:
    """Return ``x`` with its elements moved on along axes, those pushed out coming in again.

    Parameters
    ----------
    x : array
    shift : int or tuple of int
        By how many places; known while tracing.
    axis : int, tuple of int, or None
        None counts through all elements.

    Raises
    ------
    GraphError
        If the shift is traced.
    """
    x = as_array("roll", x)
    if axis is None:
        return reshape(roll(ravel(x), int(np.sum(_shift(shift))), 0), x.shape)
    axes = axis if isinstance(axis, Sequence) else (axis,)
    for by, each in np.broadcast(_shift(shift), axes):
        place = check_axis("roll", int(each), len(x.shape))
        n = x.shape[place]
        if n and by % n:
            cut = n - int(by) % n
            x = concatenate([part(x, place, cut, n), part(x, place, 0, cut)], place)
    return x


def _shift(shift: Any) -> npt.NDArray[Any]:
    return known("roll", shift, "functional.numpy.take(x, (arange(n) - shift) % n) rolls by a "
                 "traced number")  # fmt: skip


def array_split(x: Value, sections: int | Sequence[int], axis: int = 0) -> list[Value]:
    """Return parts of ``x`` along an axis: so many, as equal as can be, or cut at these places.

    Raises
    ------
    ShapeError, OptionError
        If there is no such axis, or fewer than one section.
    """
    x = as_array("split", x)
    axis = check_axis("split", axis, len(x.shape))
    n = x.shape[axis]
    given = _ints("split", sections)
    if not given.ndim:
        count = int(given)
        if count < 1:
            raise OptionError("split", "at least one section is needed", given=f"{sections!r}")
        cuts = [i * (n // count) + min(i, n % count) for i in range(1, count)]
    else:
        cuts = given.tolist()
    ends = [slice(a, b).indices(n) for a, b in itertools.pairwise([0, *cuts, n])]
    return [part(x, axis, start, max(start, stop)) for start, stop, _ in ends]


def split(x: Value, sections: int | Sequence[int], axis: int = 0) -> list[Value]:
    """Return equal parts of ``x`` along an axis, or parts cut at these places.

    Raises
    ------
    ShapeError, OptionError
        As :func:`array_split`; and if the parts would not be equal.
    """
    parts = array_split(x, sections, axis)
    if np.ndim(sections) == 0 and parts[0].shape != parts[-1].shape:
        raise ShapeError("split", "the axis does not divide into equal parts",
                         given=f"{get_aval(x)} into {sections} along axis {axis}",
                         fix="array_split lets the parts differ")  # fmt: skip
    return parts


def hsplit(x: Value, sections: int | Sequence[int]) -> list[Value]:
    """Split along axis 1, a vector along its only one; see :func:`split`."""
    return split(x, sections, 0 if len(shape_of(x)) == 1 else 1)


def vsplit(x: Value, sections: int | Sequence[int]) -> list[Value]:
    """Split along axis 0; see :func:`split`."""
    return split(x, sections, 0)


def dsplit(x: Value, sections: int | Sequence[int]) -> list[Value]:
    """Split along axis 2; see :func:`split`."""
    return split(x, sections, 2)


def tile(x: Value, reps: Shape) -> Value:
    """Return ``x`` repeated as a whole, so often along each axis, the last ones first."""
    x, counts = as_array("tile", x), check_shape("tile", reps)
    ndim = max(len(counts), len(x.shape))
    counts = (*(1,) * (ndim - len(counts)), *counts)
    lengths = (*(1,) * (ndim - len(x.shape)), *x.shape)
    paired = tuple(zip(counts, lengths, strict=True))
    x = reshape(x, [m for n in lengths for m in (1, n)])
    return reshape(
        broadcast_to(x, [m for pair in paired for m in pair]), [a * b for a, b in paired]
    )


def repeat(x: Value, repeats: int | Sequence[int], axis: int | None = None) -> Value:
    """Return ``x`` with each element repeated, all as often or each its own number of times.

    Parameters
    ----------
    x : array
    repeats : int or sequence of int
        Known while tracing.
    axis : int, optional
        None counts through all elements.

    Raises
    ------
    GraphError
        If the repeats are traced: the shape would depend on them.
    ShapeError
        If there is neither one number nor one an element.
    """
    x = ravel(x) if axis is None else as_array("repeat", x)
    axis = check_axis("repeat", 0 if axis is None else axis, len(x.shape))
    counts, n = _ints("repeat", repeats), x.shape[axis]
    if counts.size == 1:
        count = int(counts.reshape(()))
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        wide = broadcast_to(reshape(x, (*before, n, 1, *after)), (*before, n, count, *after))
        return reshape(wide, (*before, n * count, *after))
    if counts.shape != (n,):
        raise ShapeError("repeat", "one number is needed, or one for each element",
                         given=f"{counts.size} repeats for length {n}")  # fmt: skip
    return pick(x, axis, np.repeat(np.arange(n), counts))


def delete(x: Value, places: Any, axis: int | None = None) -> Value:
    """Return ``x`` without the parts at these places (int, ints or slice) along an axis."""
    x = ravel(x) if axis is None else as_array("delete", x)
    axis = check_axis("delete", 0 if axis is None else axis, len(x.shape))
    wanted = places if isinstance(places, slice) else _ints("delete", places)
    return pick(x, axis, np.delete(np.arange(x.shape[axis]), wanted))


def insert(x: Value, places: Any, values: Value, axis: int | None = None) -> Value:
    """Return ``x`` with values put before these places (int, ints or slice) along an axis.

    Raises
    ------
    ShapeError
        If the values do not broadcast to what is to be inserted.
    """
    x = ravel(x) if axis is None else as_array("insert", x)
    axis = check_axis("insert", 0 if axis is None else axis, len(x.shape))
    n = x.shape[axis]
    wanted = _ints("insert", np.arange(n)[places] if isinstance(places, slice) else places)
    values = convert(as_array("insert", values), x.dtype)
    values = reshape(values, (*(1,) * (len(x.shape) - len(values.shape)), *values.shape))
    if not wanted.ndim:  # NumPy: values for one place are parts along the axis.
        values = moveaxis(values, 0, axis)
    count = values.shape[axis] if wanted.size == 1 else wanted.size
    wanted = wanted.reshape(()) if wanted.size == 1 else wanted
    values = broadcast_to(values, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    order = np.insert(np.arange(n), wanted, n + np.arange(count))
    return pick(concatenate([x, values], axis), axis, order)


def resize(x: Value, shape: Shape) -> Value:
    """Return the elements of ``x``, again from the start as often as needed, in a shape."""
    x, sizes = ravel(x), check_shape("resize", shape)
    if not x.size:
        return reshape(pad(x, (0, prod(sizes))), sizes)
    return reshape(pick(x, 0, np.arange(prod(sizes)) % x.size), sizes)
