"""``x[index]`` in all of NumPy's forms, made of slice, reshape and gather; and choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import Tracer, Value, describe, get_aval, is_array
from workbench.functional.numpy.elementwise import (
    where,
)
from workbench.functional.numpy.parts import known
from workbench.functional.numpy.promotion import (
    as_array,
    check_axis,
    convert,
    promote,
)
from workbench.functional.numpy.shaping import (
    broadcast_arrays,
    broadcast_to,
    ravel,
    reshape,
    stack,
)
from workbench.functional.primitives.indexing import gather, slice_
from workbench.functional.primitives.shape import permute

__all__ = ["choose", "compress", "piecewise", "select", "take", "take_along_axis"]


@dataclass
class Plan:
    """What an index does: slice, then reshape, then gather along some axes.

    Attributes
    ----------
    starts : tuple
        The (start, stop, step) of each axis of the array, as the primitive ``slice`` has it.
    lengths : list of int
        The shape after that, with new axes in place and without those an int removed.
    picks : dict
        The index arrays, by axis of ``lengths``.
    direct : bool
        Whether the arrays index leading axes and all other axes are whole.
    """

    starts: tuple[tuple[int, int | None, int], ...]
    lengths: list[int]
    picks: dict[int, Value]
    direct: bool


def plan(x: Value, index: Any) -> Plan:
    """Read an index for ``x``; raises as :func:`getitem`."""
    tokens = _tokens(x, index if isinstance(index, tuple) else (index,))
    advanced = any(isinstance(token, tuple) or _is_array_index(token) for token in tokens)
    starts: list[tuple[int, int | None, int]] = []
    lengths: list[int] = []
    picks: dict[int, Value] = {}
    axis = 0
    for token in tokens:
        place = len(lengths)
        if token is None or isinstance(token, tuple):
            lengths.append(1)
            if token is not None:
                picks[place] = token[0]
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
            if advanced:  # Beside arrays an int counts as one, and helps to place the result.
                lengths.append(1)
                picks[place] = 0
        axis += 1
    whole = all(start == (0, n, 1) for start, n in zip(starts, x.shape, strict=True))
    leading = list(picks) == list(range(len(picks)))
    return Plan(tuple(starts), lengths, picks, whole and leading and len(lengths) == len(x.shape))


def getitem(x: Value, index: Any) -> Value:
    """Return ``x[index]``.

    Parameters
    ----------
    x : array
    index : int, bool, slice, Ellipsis, None, integer or boolean array, list, or a tuple of these
        Traced integers may index; traced booleans may not, since the shape of the
        result would depend on their values.

    Raises
    ------
    ShapeError
        If there are too many indices, one known while tracing is out of range, or a mask does
        not fit.
    DtypeError
        If an index is something else.
    """
    todo = plan(x, index)
    if any(start != (0, n, 1) for start, n in zip(todo.starts, x.shape, strict=True)):
        x = slice_(x, index=todo.starts)
    x = reshape(x, todo.lengths)
    return _gather(x, todo.picks) if todo.picks else x


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


def index_arrays(x: Value, picks: dict[int, Value]) -> list[Value]:
    """Return index arrays broadcast to one shape, those known while tracing looked at.

    Raises
    ------
    ShapeError
        If they do not broadcast together, or one is out of range.
    """
    for axis, pick in picks.items():
        n = x.shape[axis]
        if isinstance(pick, np.ndarray) and pick.size and not -n <= pick.min() <= pick.max() < n:
            raise ShapeError("indexing", "an index is out of range",
                             given=f"from {pick.min()} to {pick.max()} for an axis of length {n}",
                             expected=f"{-n} to {n - 1}" if n else "no index: it is empty")  # fmt: skip
    shapes = [() if isinstance(pick, int) else pick.shape for pick in picks.values()]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError("indexing", "the index arrays do not broadcast together",
                         given=", ".join(map(str, shapes))) from None  # fmt: skip
    return [broadcast_to(np.intp(p) if isinstance(p, int) else p, shape) for p in picks.values()]


def _gather(x: Value, picks: dict[int, Value]) -> Value:
    """Index the given axes by arrays, which broadcast together, and place the result."""
    axes, indices = tuple(picks), index_arrays(x, picks)
    shape = indices[0].shape
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    y = gather(permute(x, (*axes, *rest)), *indices)
    # NumPy: the new axes take the place of the old if those were neighbours, else they lead.
    first = axes[0] if axes == tuple(range(axes[0], axes[0] + len(axes))) else 0
    new, old = range(len(shape)), range(len(shape), len(y.shape))
    return permute(y, (*old[:first], *new, *old[first:]))


def _is_array_index(token: Any) -> bool:
    return (isinstance(token, Tracer) or is_array(token)) and not isinstance(token, np.integer)


def _tokens(x: Value, index: tuple[Any, ...]) -> list[Any]:
    """Spell an index out: one token an axis, None for a new axis, (places,) to pick on a new one."""
    tokens = [_token(token) for token in index]
    used = sum(_axes_of(token) for token in tokens)
    dots = [place for place, token in enumerate(tokens) if token is Ellipsis]
    if used > len(x.shape) or len(dots) > 1:
        raise ShapeError("indexing", "more indices than axes, or more than one ...",
                         given=f"{index!r} for {get_aval(x)}",
                         expected=f"at most {len(x.shape)} indices and one ...")  # fmt: skip
    place = dots[0] if dots else len(tokens)
    tokens[place : place + 1] = [slice(None)] * (len(x.shape) - used)
    spelled: list[Any] = []
    axis = 0
    for token in tokens:
        count = _axes_of(token)
        if not is_mask(token):
            spelled.append(token)
        elif token.shape != (lengths := x.shape[axis : axis + count]):
            raise ShapeError("indexing", "a mask does not fit the axes that it indexes",
                             given=f"mask {get_aval(token)} for axes of lengths {lengths}",
                             expected="equal lengths")  # fmt: skip
        elif count:
            spelled.extend(token.nonzero())
        else:  # NumPy: a single truth value adds an axis, of length 1 or 0.
            spelled.append((np.zeros(int(token), np.intp),))
        axis += count
    return spelled


def is_mask(token: Any) -> bool:
    """Return whether a part of an index is an array of booleans."""
    return _is_array_index(token) and token.dtype == bool


def _axes_of(token: Any) -> int:
    if token is None or token is Ellipsis:
        return 0
    return token.ndim if is_mask(token) else 1


def _token(token: Any) -> Any:
    if isinstance(token, list):
        traced = any(isinstance(each, Tracer) for each in token)
        token = stack(token) if traced else np.asarray(token, None if token else np.intp)
    elif isinstance(token, bool):
        token = np.asarray(token)
    if _is_array_index(token):
        if token.dtype == bool and isinstance(token, Tracer):
            raise DtypeError(
                "indexing", "a traced mask would give a shape that depends on its values",
                given=describe(token),
                fix="functional.numpy.where(mask, x, 0) keeps the shape",
            )  # fmt: skip
        if token.dtype.kind not in "iub":
            raise DtypeError("indexing", "an array index holds integers or booleans",
                             given=str(get_aval(token)))  # fmt: skip
    elif not isinstance(token, int | np.integer | slice | None) and token is not Ellipsis:
        raise DtypeError("indexing", "this is not an index", given=repr(token),
                         expected="ints, slices, ..., None, or arrays of integers")  # fmt: skip
    return token


def _check_int(x: Value, at: int, axis: int) -> int:
    n = x.shape[axis]
    if not -n <= at < n:
        raise ShapeError("indexing", f"the index of axis {axis} is out of range",
                         given=f"{at} for {get_aval(x)}", expected=f"{-n} to {n - 1}")  # fmt: skip
    return int(at) % n


# Choosing


def along_axis(where_: str, x: Value, indices: Value, axis: int) -> tuple[Value, ...]:
    """Return the index that reads ``indices`` along an axis, the same place along the others.

    Raises
    ------
    ShapeError
        If the indices do not have as many axes as ``x``, or there is no such axis.
    """
    indices, ndim = as_array(where_, indices), len(x.shape)
    axis = check_axis(where_, axis, ndim)
    if len(indices.shape) != ndim:
        raise ShapeError(where_, "x and the indices differ in their number of axes",
                         given=f"x {get_aval(x)}, indices {get_aval(indices)}")  # fmt: skip
    grids = [np.arange(n).reshape(-1, *(1,) * (ndim - 1 - i)) for i, n in enumerate(x.shape)]
    return (*grids[:axis], indices, *grids[axis + 1 :])


def take_along_axis(x: Value, indices: Value, axis: int | None = -1) -> Value:
    """Return the elements of ``x`` at (traced) indices along an axis, as ``argsort`` gives them.

    Parameters
    ----------
    x : array
    indices : array of int
        As many axes as ``x``; the others broadcast against its own.
    axis : int or None
        None flattens ``x``.

    Raises
    ------
    ShapeError, DtypeError
        If the indices do not fit, or are not integers.
    """
    if axis is None:
        return take_along_axis(ravel(x), indices, 0)
    x = as_array("take_along_axis", x)
    return getitem(x, along_axis("take_along_axis", x, indices, axis))


def compress(condition: Any, x: Value, axis: int | None = None) -> Value:
    """Return the parts of ``x`` along an axis where a condition, known while tracing, holds."""
    mask = known("compress", condition, "functional.numpy.where(condition, x, 0) keeps the shape")
    return take(x, np.flatnonzero(mask), axis)


def choose(a: Value, choices: Any) -> Value:
    """Return, at each place, the element of the choice that ``a`` names there.

    Parameters
    ----------
    a : array of int
        From 0 to the number of choices - 1.
    choices : array, or list of arrays
        They broadcast with ``a`` and one another.
    """
    a, *each = broadcast_arrays(a, *promote("choose", *choices))
    return take_along_axis(stack(each), a[None], 0)[0]


def select(conditions: Sequence[Value], choices: Sequence[Value], default: Value = 0) -> Value:
    """Return the choice that goes with the first condition to hold, or ``default``.

    Raises
    ------
    ShapeError
        If there are not as many choices as conditions, or none.
    """
    if len(conditions) != len(choices) or not conditions:
        raise ShapeError("select", "every condition needs one choice",
                         given=f"{len(conditions)} conditions, {len(choices)} choices")  # fmt: skip
    *values, result = promote("select", *choices, default)
    for condition, value in zip(reversed(conditions), reversed(values), strict=True):
        result = where(condition, value, result)
    return result


def piecewise(x: Value, conditions: Sequence[Value], functions: Sequence[Any]) -> Value:
    """Return, at each place, the function of ``x`` that goes with the last condition to hold.

    Parameters
    ----------
    x : array
    conditions : list of boolean arrays
    functions : list of callables or numbers
        Each is applied to all of ``x``.  One more than conditions is for where none holds;
        without it that is 0.

    Raises
    ------
    ShapeError
        If the numbers of conditions and functions do not fit.
    """
    x = as_array("piecewise", x)
    values = [f(x) if callable(f) else f for f in functions]
    extra = len(values) - len(conditions)
    if extra not in (0, 1):
        raise ShapeError("piecewise", "every condition needs one function",
                         given=f"{len(conditions)} conditions, {len(functions)} functions",
                         expected="as many, or one function more")  # fmt: skip
    result = broadcast_to(values[-1] if extra else 0, x.shape)
    for condition, value in zip(conditions, values[: len(conditions)], strict=True):
        result = where(condition, value, result)
    return convert(result, x.dtype)
