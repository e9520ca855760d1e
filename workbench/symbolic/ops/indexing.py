"""Indexing, in all of NumPy's ways, and its opposite: putting values at an index."""

# What infer, compute and gradient are for is said once, in Op.

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np

from workbench.arrays import Array, scatter_add
from workbench.compiler import Builder, Value
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic.graph import (
    CAST_IT,
    Constant,
    Gradients,
    Inputs,
    NotKnown,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.creation import arange, zeros
from workbench.symbolic.ops.elementwise import equal, where
from workbench.symbolic.ops.shaping import (
    broadcast_shapes,
    broadcast_to,
    cast,
    reshape,
    zeros_like,
)
from workbench.symbolic.ops.sizes import shape_of, size_of
from workbench.symbolic.values import operand, operands

_ARRAY = "array"  # Stands, in an index, for the next of the node's inputs.
_Bound = int | str | None
_Part = int | str | tuple[_Bound, _Bound, _Bound] | EllipsisType | None


class _Region(NamedTuple):
    """Where, in an array of known shape, an index points."""

    start: list[int]
    size: list[int]  # 1 along axes that an int takes away.
    step: list[int]
    kept: list[int]  # Axes that no int takes away.
    axes: list[int]  # Of these, by their place in ``kept``, those that an array indexes.
    arrays: list[Value]
    dims: list[int]  # Of the result, without the axes that the arrays make.
    place: int  # Where, among these, the axes lie that the arrays make.

    @property
    def together(self) -> tuple[int, ...]:
        """The shape that the index arrays have when broadcast together."""
        return np.broadcast_shapes(*(each.shape for each in self.arrays))

    @property
    def order(self) -> list[int]:
        """The axes of ``kept`` with those that arrays index first."""
        return self.axes + [a for a in range(len(self.kept)) if a not in self.axes]

    @property
    def turn(self) -> list[int]:
        """The axes of (together, dims) in the order of the result."""
        k = len(self.together)
        rest = list(range(k, k + len(self.dims)))
        return rest[: self.place] + list(range(k)) + rest[self.place :]


@dataclass(frozen=True)
class Index(Op):
    """``x[index]``; a slice is (start, stop, step), and what is an expression is an input."""

    parts: tuple[_Part, ...]
    name = "getitem"
    view = True

    def filled(self, rest: Sequence[Any]) -> list[Any]:
        """Return the parts with the other inputs in their places."""
        left = iter(rest)
        return [
            next(left) if isinstance(p, str)
            else tuple(next(left) if isinstance(k, str) else k for k in p)
            if isinstance(p, tuple) else p
            for p in self.parts
        ]  # fmt: skip

    @cached_property
    def _fixed(self) -> tuple[Any, ...]:
        return tuple(slice(*p) if isinstance(p, tuple) else p for p in self.parts)

    def index(self, rest: Sequence[Array]) -> tuple[Any, ...]:
        """Return the index as NumPy takes it."""
        if not rest:
            return self._fixed
        return tuple(
            slice(*(None if k is None else int(k) for k in p)) if isinstance(p, tuple) else p
            for p in self.filled(rest)
        )

    def place(self, lengths: Sequence[int]) -> int:
        """Return how many axes of the result come before those that index arrays make.

        ``lengths`` holds, for every part, how many other axes stand before it.  NumPy
        counts ints beside arrays as arrays, and puts those that lie apart first.
        """
        at = [i for i, p in enumerate(self.parts) if isinstance(p, int | str)]
        return lengths[at[0]] if at[-1] - at[0] == len(at) - 1 else 0

    def infer(self, *inputs: Variable) -> Type:
        x, *rest = inputs
        result: list[int | None] = []
        lengths: list[int] = []
        arrays: dict[str, Variable] = {}
        axis = 0
        for part in self.filled(rest):
            lengths.append(len(result))
            if part is None or part is Ellipsis:
                result += [1] if part is None else []
                continue
            n, axis = x.shape[axis], axis + 1
            if isinstance(part, tuple):
                known = not any(isinstance(k, Variable) for k in part)
                size = len(range(*slice(*part).indices(n))) if known and n is not None else None
                result.append(size)
            elif isinstance(part, Variable):
                arrays[f"index{len(arrays)}"] = part
            elif n is not None and not -n <= part < n:
                raise ShapeError("getitem", f"index {part} is outside axis {axis - 1} of x",
                                 given=sides(x=x))  # fmt: skip
        if arrays:
            place = self.place(lengths)
            result[place:place] = broadcast_shapes("getitem", arrays)
        return Type(x.dtype, tuple(result))

    def compute(self, *inputs: Array) -> Array:
        x, *rest = inputs
        try:
            return x[self.index(rest)]
        except IndexError as error:
            raise ShapeError("getitem", str(error)) from None

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, *rest = inputs
        nothing = zeros(shape_of(x), g.dtype)
        return [apply(IndexPut(self, True), nothing, g, *rest), *[None] * len(rest)]

    def region(self, b: Builder, shape: Sequence[int], inputs: Sequence[Value]) -> _Region:
        """Return where the index points; ``inputs`` are the node's, the expressions last."""
        made = _Region([], [], [], [], [], [], [], 0)
        lengths: list[int] = []
        for part in self.filled(inputs[len(inputs) - self._expressions :]):
            lengths.append(len(made.dims))
            if part is None or part is Ellipsis:
                made.dims.extend([1] if part is None else [])
                continue
            axis = len(made.start)
            n = shape[axis]
            if isinstance(part, int) and not -n <= part < n:
                raise ShapeError("getitem", f"index {part} is outside axis {axis} of x",
                                 given=f"x {tuple(shape)}")  # fmt: skip
            if isinstance(part, tuple):
                bounds = [_known(b, k, inputs) if isinstance(k, Value) else k for k in part]
                along = range(*slice(*bounds).indices(n))
                made.dims.append(len(along))
            elif isinstance(part, Value):
                made.axes.append(len(made.kept))
                made.arrays.append(part)
                along = range(n)
            else:
                along = range(part % n, part % n + 1)
            if not isinstance(part, int):
                made.kept.append(axis)
            made.start.append(along.start if along else 0)
            made.size.append(len(along))
            made.step.append(along.step)
        return made._replace(place=self.place(lengths)) if made.arrays else made

    @cached_property
    def _expressions(self) -> int:
        return sum(p.count(_ARRAY) if isinstance(p, tuple) else isinstance(p, str)
                   for p in self.parts)  # fmt: skip

    def lower(self, b: Builder, *inputs: Value) -> Value:
        r = self.region(b, inputs[0].shape, inputs)
        x = b.slice(inputs[0], r.start, r.size, r.step)
        if not r.arrays:
            return b.reshape(x, r.dims)
        x = b.transpose(b.reshape(x, [r.size[a] for a in r.kept]), r.order)
        y = b.gather(x, *r.arrays, wrap=True)
        return b.transpose(b.reshape(y, (*r.together, *r.dims)), r.turn)


def _known(b: Builder, bound: Value, inputs: Sequence[Value]) -> int:
    if (known := b.known(bound)) is None:
        raise NotKnown(inputs.index(bound))
    return int(known)


@dataclass(frozen=True)
class IndexPut(Op):
    """``x`` with ``y`` put, or added, at an index: added to zeros, the transpose of indexing."""

    at: Index
    add: bool

    @property
    def name(self) -> str:  # type: ignore[override]
        """What is done."""
        return "inc_subtensor" if self.add else "set_subtensor"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        x, y, *rest = inputs
        result, index = x.copy(), self.at.index(rest)
        if not self.add:
            result[index] = y
        elif _ARRAY not in self.at.parts:
            result[index] += y  # Slices meet no element twice.
        else:
            whole = [k for k in index[1:] if isinstance(k, slice) and k == slice(None)]
            rows = isinstance(index[0], np.ndarray) and len(whole) == len(index) - 1
            scatter_add(result, index[0] if rows else index, y)
        return result

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, y, *rest = inputs
        dy = apply(self.at, g, *rest)
        if self.add:
            return [g, dy, *[None] * len(rest)]
        if _ARRAY in self.at.parts:  # Where several were put, what the others held is lost.
            flat = reshape(y, -1)
            order = reshape(arange(size_of(flat, 0)), shape_of(y))
            put = apply(self, zeros(shape_of(x), order.dtype), order, *rest)
            dy = where(equal(apply(self.at, put, *rest), order), dy, 0)
        return [apply(self, g, zeros_like(y), *rest), dy, *[None] * len(rest)]

    def lower(self, b: Builder, *inputs: Value) -> Value:
        x, y, *rest = inputs
        r = self.at.region(b, x.shape, inputs)
        if not r.arrays:
            return self._lower_slices(b, x, y, r)
        scatter = b.scatter_add if self.add else b.scatter_set
        if tuple(r.size) != x.shape or {*r.step} != {1} or len(r.kept) < x.ndim:
            # Part of x: what the index makes of positions is where to put y in x, flattened.
            numbers = b.reshape(b.iota((x.size,), 0), x.shape)
            at = b.reshape(self.at.lower(b, numbers, *rest), (y.size,))
            flat = scatter(b.reshape(x, (x.size,)), b.reshape(y, (y.size,)), at)
            return b.reshape(flat, x.shape)
        back = np.argsort(r.turn).tolist()
        turned = b.transpose(x, r.order)
        shape = (*r.together, *turned.shape[len(r.axes) :])
        y = b.reshape(b.transpose(y, back), shape)
        return b.transpose(scatter(turned, y, *r.arrays), np.argsort(r.order).tolist())

    def _lower_slices(self, b: Builder, x: Value, y: Value, r: _Region) -> Value:
        if 0 in r.size:
            return x
        y = b.reshape(y, r.size)
        turned = [m - 1 if s < 0 else 0 for m, s in zip(r.size, r.step, strict=True)]
        y = b.slice(y, turned, r.size, [-1 if s < 0 else 1 for s in r.step])
        gaps = [abs(s) - 1 if m > 1 else 0 for m, s in zip(r.size, r.step, strict=True)]
        ends = [a + (m - 1) * s for a, m, s in zip(r.start, r.size, r.step, strict=True)]
        low = [min(pair) for pair in zip(r.start, ends, strict=True)]
        high = [n - 1 - max(pair) for n, *pair in zip(x.shape, r.start, ends, strict=True)]
        padded = b.pad(y, low, high, gaps)
        if self.add:
            return b.add(x, padded)
        mask = b.pad(b.broadcast(b.constant(True), r.size), low, high, gaps, False)
        return b.select(mask, padded, x)


def set_subtensor(part: Variable, y: Operand) -> Variable:
    """Return the array that ``part`` is a part of, with ``y`` in its place.

    Parameters
    ----------
    part : Variable
        Made by indexing: ``set_subtensor(x[index], y)``.
    y : array_like or Variable
        Broadcast to the part.  Of several values put in one place the last one stays, and
        has the gradient.

    Raises
    ------
    GraphError
        If ``part`` is not made by indexing.
    DtypeError, ShapeError
        If ``y`` does not fit it.
    """
    return _put("set_subtensor", part, y, False)


def inc_subtensor(part: Variable, y: Operand) -> Variable:
    """Return the array that ``part`` is a part of, with ``y`` added to it.

    Values that meet in one place all count, which ``set_subtensor(x[i], x[i] + y)`` forgets;
    for the rest, see :func:`set_subtensor`.
    """
    return _put("inc_subtensor", part, y, True)


def _put(where: str, part: Variable, y: Operand, add: bool) -> Variable:
    part = operand(where, part, "part")
    if part.owner is None or not isinstance(part.owner.op, Index):
        raise GraphError(where, "its first argument is not made by indexing",
                         given=sides(part=part), fix=f"ops.{where}(x[index], y)")  # fmt: skip
    x, *rest = part.owner.inputs
    _, y = operands(where, part=part, y=y)
    if not np.can_cast(y.dtype, x.dtype, "same_kind") or (add and x.dtype == bool):
        raise DtypeError(where, f"y does not fit into {x.dtype}", given=sides(part=part, y=y),
                         fix=CAST_IT)  # fmt: skip
    y = broadcast_to(cast(y, x.dtype), shape_of(part))
    return apply(IndexPut(part.owner.op, add), x, y, *rest)


def index_update(x: Operand, index: Any, v: Operand) -> Variable:
    """Return ``x`` with ``v`` put at ``index``: see :func:`set_subtensor`."""
    return _put("index_update", getitem(x, index), v, False)


def index_add(x: Operand, index: Any, v: Operand) -> Variable:
    """Return ``x`` with ``v`` added at ``index``: see :func:`inc_subtensor`."""
    return _put("index_add", getitem(x, index), v, True)


def getitem(x: Operand, index: Any) -> Variable:
    """Return ``x[index]``.

    Parameters
    ----------
    x : array_like or Variable
    index : int, slice, Ellipsis, None, integer array, integer Variable, or a tuple of these
        As NumPy reads it.  The bounds of a slice are ints or integer scalar Variables, on
        whose values the size of the result then depends.

    Raises
    ------
    ShapeError
        For more indices than axes, or an int outside a known axis.
    DtypeError
        For a mask (its result has no shape before it runs) or anything else.
    """
    x = operand("getitem", x)
    given = list(index) if isinstance(index, tuple) else [index]
    # NumPy's array([]) holds floats; as an index, it holds no ints.
    given = [np.zeros(0, np.int64) if isinstance(k, list) and not k else k for k in given]
    takes = [k for k in given if k is not None and k is not Ellipsis]
    dots = [i for i, k in enumerate(given) if k is Ellipsis]
    if len(takes) > x.ndim or len(dots) > 1:
        raise ShapeError("getitem", "the index does not fit the axes of x",
                         given=f"index {index!r}\n{' ' * 12}{sides(x=x)}",
                         expected="at most one index for each axis, and one Ellipsis")  # fmt: skip
    at = dots[0] if dots else len(given)
    # An Ellipsis that stands for no axis still parts the index arrays on its two sides.
    given[at : at + 1] = [slice(None)] * (x.ndim - len(takes)) or given[at : at + 1]
    parts: list[_Part] = []
    expressions: list[Variable] = []
    for k in given:
        if k is None or k is Ellipsis:
            parts.append(k)
        elif isinstance(k, slice):
            parts.append(_slice_parts(k, expressions))
        elif isinstance(k, int | np.integer) and not isinstance(k, bool):
            parts.append(int(k))
        else:
            parts.append(_ARRAY)
            array = operand("getitem", k, "index")
            if array.dtype.kind == "b":
                raise DtypeError("getitem", "a mask selects a number of elements not known yet",
                                 given=sides(index=array), fix="ops.where(mask, x, 0)")  # fmt: skip
            expressions.append(operand("getitem", array, "index", dtype="iu"))
    return apply(Index(tuple(parts)), x, *expressions)


def _slice_parts(k: slice, expressions: list[Variable]) -> tuple[_Bound, _Bound, _Bound]:
    """Return the bounds of a slice; those that are expressions are appended to the list."""
    start, stop, step = (_bound(k, bound, expressions) for bound in (k.start, k.stop, k.step))
    if step == 0:
        raise _unusable(k)
    return start, stop, step


def _bound(k: slice, bound: Any, expressions: list[Variable]) -> _Bound:
    if bound is None:
        return None
    if isinstance(bound, Variable):
        if bound.ndim or bound.dtype.kind not in "iu":
            raise DtypeError("getitem", "the bound of a slice is not one integer",
                             given=sides(bound=bound))  # fmt: skip
        if not isinstance(bound, Constant):
            expressions.append(bound)
            return _ARRAY
        bound = bound.data
    try:
        return operator.index(bound)
    except TypeError:
        raise _unusable(k) from None


def _unusable(k: slice) -> OptionError:
    return OptionError("getitem", "this slice is not usable", given=repr(k),
                       expected="ints or None, and a step that is not 0")  # fmt: skip
