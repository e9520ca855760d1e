"""``x[index]`` for tracers, in all of NumPy's forms, made of slice, reshape and gather."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import Tracer, Value, describe, get_aval, is_array
from workbench.functional.numpy.promotion import as_array, check_axis
from workbench.functional.numpy.shaping import broadcast_to, ravel, reshape
from workbench.functional.primitives.indexing import gather, slice_
from workbench.functional.primitives.shape import permute


def getitem(x: Value, index: Any) -> Value:
    """Return ``x[index]``.

    Parameters
    ----------
    x : array
    index : int, slice, Ellipsis, None, integer array, boolean array, or a tuple of these
        Traced integers may index; traced booleans may not, since the shape of the
        result would depend on their values.

    Raises
    ------
    ShapeError
        If there are too many indices or an int is out of range.
    DtypeError
        If an index is something else.
    """
    tokens = _tokens(x, index if isinstance(index, tuple) else (index,))
    advanced = any(_is_array_index(token) for token in tokens)
    starts: list[tuple[int, int | None, int]] = []
    lengths: list[int] = []
    dropped: list[int] = []
    picks: dict[int, Value] = {}
    axis = 0
    for token in tokens:
        place = len(lengths)
        if token is None:
            lengths.append(1)
            continue
        n = x.shape[axis]
        if isinstance(token, slice):
            start, stop, step = token.indices(n)
            starts.append((start, None if stop < 0 else stop, step))
            lengths.append(len(range(start, stop, step)))
        elif _is_array_index(token):
            starts.append((0, n, 1))
            lengths.append(n)
            picks[place] = token
        else:
            at = _check_int(x, token, axis)
            starts.append((at, at + 1, 1))
            lengths.append(1)
            if advanced:  # Beside arrays an int counts as one, and helps to place the result.
                picks[place] = 0
            else:
                dropped.append(place)
        axis += 1
    if any(start != (0, n, 1) for start, n in zip(starts, x.shape, strict=True)):
        x = slice_(x, index=tuple(starts))
    x = reshape(x, [n for place, n in enumerate(lengths) if place not in dropped])
    return _gather(x, picks) if picks else x


def take(x: Value, indices: Value, axis: int | None = None) -> Value:
    """Return the parts of ``x`` at (traced) indices along an axis; None counts all elements.

    This is how a plain array is indexed by a traced integer.

    Raises
    ------
    DtypeError, ShapeError
        If the indices are not integers, or there is no such axis.
    """
    x = ravel(x) if axis is None else as_array("take", x)
    place = check_axis("take", 0 if axis is None else axis, len(x.shape))
    return getitem(x, (*[slice(None)] * place, as_array("take", indices)))


def _gather(x: Value, picks: dict[int, Value]) -> Value:
    """Index the given axes by arrays, which broadcast together, and place the result."""
    axes = tuple(picks)
    shapes = [() if isinstance(pick, int) else pick.shape for pick in picks.values()]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError("indexing", "the index arrays do not broadcast together",
                         given=", ".join(map(str, shapes))) from None  # fmt: skip
    indices = [broadcast_to(np.intp(p) if isinstance(p, int) else p, shape) for p in picks.values()]
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    y = gather(permute(x, (*axes, *rest)), *indices)
    # NumPy: the new axes take the place of the old if those were neighbours, else they lead.
    first = axes[0] if axes == tuple(range(axes[0], axes[0] + len(axes))) else 0
    new, old = range(len(shape)), range(len(shape), len(y.shape))
    return permute(y, (*old[:first], *new, *old[first:]))


def _is_array_index(token: Any) -> bool:
    return (isinstance(token, Tracer) or is_array(token)) and not isinstance(token, np.integer)


def _tokens(x: Value, index: tuple[Any, ...]) -> list[Any]:
    """Spell an index out: one token an axis, and None for each new axis."""
    tokens: list[Any] = []
    for token in index:
        if isinstance(token, list):
            token = np.asarray(token)
        if _is_array_index(token):
            if token.dtype == bool:
                if isinstance(token, Tracer):
                    raise DtypeError(
                        "indexing", "a traced mask would give a shape that depends on its values",
                        given=describe(token),
                        fix="functional.numpy.where(mask, x, 0) keeps the shape",
                    )  # fmt: skip
                tokens.extend(np.nonzero(token))
                continue
            if token.dtype.kind not in "iu":
                raise DtypeError("indexing", "an array index holds integers or booleans",
                                 given=str(get_aval(token)))  # fmt: skip
        elif not isinstance(token, int | np.integer | slice | None) and token is not Ellipsis:
            raise DtypeError("indexing", "this is not an index", given=repr(token),
                             expected="ints, slices, ..., None, or arrays of integers")  # fmt: skip
        tokens.append(token)
    used = sum(token is not None and token is not Ellipsis for token in tokens)
    dots = [place for place, token in enumerate(tokens) if token is Ellipsis]
    if used > len(x.shape) or len(dots) > 1:
        raise ShapeError("indexing", "more indices than axes, or more than one ...",
                         given=f"{index!r} for {get_aval(x)}",
                         expected=f"at most {len(x.shape)} indices and one ...")  # fmt: skip
    place = dots[0] if dots else len(tokens)
    return [*tokens[:place], *[slice(None)] * (len(x.shape) - used), *tokens[place + 1 :]]


def _check_int(x: Value, at: int, axis: int) -> int:
    n = x.shape[axis]
    if not -n <= at < n:
        raise ShapeError("indexing", f"the index of axis {axis} is out of range",
                         given=f"{at} for {get_aval(x)}", expected=f"{-n} to {n - 1}")  # fmt: skip
    return int(at) % n
