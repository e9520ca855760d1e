"""Ops that take arrays apart, and put them together: indexing and concatenation."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import Any

import numpy as np

from workbench.arrays import Array, namespace, scatter_add
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic.graph import Gradients, Inputs, Op, Operand, Type, Variable, apply, sides
from workbench.symbolic.ops.shaping import (
    broadcast_shapes,
    normal_axes,
    shape_of,
    static_shape,
)
from workbench.symbolic.values import operand, operands

# --- joining and taking apart --------------------------------------------------------------


@dataclass(frozen=True)
class Concatenate(Op):
    axis: int
    name = "concatenate"

    def infer(self, *inputs: Variable) -> Type:
        first, names = inputs[0], [f"arrays[{i}]" for i in range(len(inputs))]
        shape: list[int | None] = list(first.shape)
        for k, x in zip(names, inputs, strict=True):
            for a in range(first.ndim):
                if x.ndim != first.ndim or (
                    a != self.axis and None not in (x.shape[a], shape[a]) and x.shape[a] != shape[a]
                ):
                    raise ShapeError("concatenate", f"{k} does not fit those before it",
                                     given=sides(**dict(zip(names, inputs, strict=True))),
                                     expected=f"other axes than {self.axis} alike")  # fmt: skip
                shape[a] = x.shape[a] if shape[a] is None else shape[a]
        along = [x.shape[self.axis] for x in inputs]
        shape[self.axis] = None if None in along else sum(n for n in along if n is not None)
        return Type(np.result_type(*(x.dtype for x in inputs)), tuple(shape))

    def compute(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        shapes = [shape_of(x) for x in inputs]
        return [apply(Piece(self.axis, i), g, *shapes) for i in range(len(inputs))]


def concatenate(arrays: Sequence[Operand], axis: int = 0) -> Variable:
    """Return ``arrays`` joined along an existing axis.

    Raises
    ------
    ShapeError
        If two of them can never agree along another axis, naming the second.
    """
    if isinstance(arrays, Variable) or not len(arrays):
        raise OptionError("concatenate", "arrays is not a list of at least one array",
                          given=f"arrays={arrays!r}")  # fmt: skip
    xs = operands("concatenate", **{f"arrays[{i}]": x for i, x in enumerate(arrays)})
    if xs[0].ndim == 0:
        raise ShapeError("concatenate", "arrays[0] has no axis to join along", given=sides(x=xs[0]),
                         fix="ops.expand_dims(x, 0)")  # fmt: skip
    return apply(Concatenate(normal_axes("concatenate", xs[0], axis)[0]), *xs)


@dataclass(frozen=True)
class Piece(Op):
    """The part of a concatenation that came from its array ``i``; takes all their shapes."""

    axis: int
    i: int
    name = "piece"
    view = True

    def place(self, shapes: Sequence[Array]) -> tuple[slice, ...]:
        """Return where that part lies."""
        sizes = [int(shape[self.axis]) for shape in shapes[: self.i + 1]]
        return (slice(None),) * self.axis + (slice(sum(sizes[:-1]), sum(sizes)),)

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, static_shape(inputs[1 + self.i]))

    def compute(self, *inputs: Array) -> Array:
        return inputs[0][self.place(inputs[1:])]

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return [apply(PieceInZeros(self), g, *inputs[1:]), *[None] * (len(inputs) - 1)]


@dataclass(frozen=True)
class PieceInZeros(Op):
    """Zeros with one part of a concatenation in its place: the transpose of taking it."""

    of: Piece
    name = "piece_in_zeros"

    def infer(self, *inputs: Variable) -> Type:
        g, *shapes = inputs
        sizes = [static_shape(shape) for shape in shapes]
        along = [each[self.of.axis] for each in sizes]
        result = list(sizes[self.of.i])
        result[self.of.axis] = None if None in along else sum(n for n in along if n is not None)
        return Type(g.dtype, tuple(result))

    def compute(self, *inputs: Array) -> Array:
        g, *shapes = inputs
        shape = list(g.shape)
        shape[self.of.axis] = sum(int(each[self.of.axis]) for each in shapes)
        result = namespace(g).zeros(shape, g.dtype)
        result[self.of.place(shapes)] = g
        return result

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return [apply(self.of, g, *inputs[1:]), *[None] * (len(inputs) - 1)]


# --- indexing ------------------------------------------------------------------------------

_ARRAY = "array"  # Stands, in an index, for the next of the node's inputs.
_Part = int | str | tuple[Any, Any, Any] | EllipsisType | None


@dataclass(frozen=True)
class Index(Op):
    """``x[index]``; an array in the index is an input, a slice is (start, stop, step)."""

    parts: tuple[_Part, ...]
    name = "getitem"
    view = True

    @cached_property
    def _fixed(self) -> tuple[Any, ...]:
        return tuple(slice(*p) if isinstance(p, tuple) else p for p in self.parts)

    def index(self, arrays: Sequence[Array]) -> tuple[Any, ...]:
        """Return the index as NumPy takes it."""
        if not arrays:
            return self._fixed
        rest = iter(arrays)
        return tuple(next(rest) if p == _ARRAY else p for p in self._fixed)

    def infer(self, *inputs: Variable) -> Type:
        x, *arrays = inputs
        result: list[int | None] = []
        advanced: list[int] = []  # Positions in the index; NumPy counts ints beside arrays.
        axis, place = 0, 0
        for position, part in enumerate(self.parts):
            if part is None or part is Ellipsis:
                result += [1] if part is None else []
                continue
            n, axis = x.shape[axis], axis + 1
            if isinstance(part, tuple):
                result.append(None if n is None else len(range(*slice(*part).indices(n))))
                continue
            if isinstance(part, int) and n is not None and not -n <= part < n:
                raise ShapeError("getitem", f"index {part} is outside axis {axis - 1} of x",
                                 given=sides(x=x))  # fmt: skip
            if arrays:
                place = len(result) if not advanced else place
                advanced.append(position)
        if arrays:
            together = broadcast_shapes("getitem", {f"index{i}": a for i, a in enumerate(arrays)})
            adjacent = advanced[-1] - advanced[0] == len(advanced) - 1
            place = place if adjacent else 0
            result[place:place] = together
        return Type(x.dtype, tuple(result))

    def compute(self, *inputs: Array) -> Array:
        x, *arrays = inputs
        return x[self.index(arrays)]

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, *arrays = inputs
        return [apply(IndexAdd(self), g, shape_of(x), *arrays), *[None] * len(arrays)]


@dataclass(frozen=True)
class IndexAdd(Op):
    """Zeros of a given shape with ``g`` added at an index: the transpose of indexing."""

    at: Index
    name = "index_add"

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, static_shape(inputs[1]))

    def compute(self, *inputs: Array) -> Array:
        g, shape, *arrays = inputs
        result = namespace(g).zeros(shape.tolist(), g.dtype)
        if arrays:
            scatter_add(result, self.at.index(arrays), g)
        else:
            result[self.at.index(())] = g  # Slices meet no element twice.
        return result

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        _, _, *arrays = inputs
        return [apply(self.at, g, *arrays), None, *[None] * len(arrays)]


def getitem(x: Operand, index: Any) -> Variable:
    """Return ``x[index]``.

    Parameters
    ----------
    x : array_like or Variable
    index : int, slice, Ellipsis, None, integer array, integer Variable, or a tuple of these
        As NumPy reads it.  Slice bounds are ints.

    Raises
    ------
    ShapeError
        For more indices than axes, or an int outside a known axis.
    DtypeError
        For a mask (its result has no shape before it runs) or anything else.
    """
    x = operand("getitem", x)
    given = list(index) if isinstance(index, tuple) else [index]
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
    arrays: list[Variable] = []
    for k in given:
        if k is None or k is Ellipsis:
            parts.append(k)
        elif isinstance(k, slice):
            parts.append(_slice_parts(k))
        elif isinstance(k, int | np.integer) and not isinstance(k, bool):
            parts.append(int(k))
        else:
            parts.append(_ARRAY)
            array = operand("getitem", k, "index")
            if array.dtype.kind == "b":
                raise DtypeError("getitem", "a mask selects a number of elements not known yet",
                                 given=sides(index=array), fix="ops.where(mask, x, 0)")  # fmt: skip
            arrays.append(operand("getitem", array, "index", dtype="iu"))
    return apply(Index(tuple(parts)), x, *arrays)


def _slice_parts(k: slice) -> tuple[Any, Any, Any]:
    bounds = (k.start, k.stop, k.step)
    if any(isinstance(b, Variable) for b in bounds):
        raise GraphError("getitem", "the bounds of a slice are ints", given=repr(k),
                         fix="index with an integer vector to choose at run time")  # fmt: skip
    try:
        start, stop, step = (None if b is None else operator.index(b) for b in bounds)
    except TypeError:
        step = 0
    if step == 0:
        raise OptionError("getitem", "this slice is not usable", given=repr(k),
                          expected="ints or None, and a step that is not 0")  # fmt: skip
    return start, stop, step
