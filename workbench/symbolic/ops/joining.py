"""Ops that put arrays together, and take them apart again."""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.compiler import Builder, Value
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import (
    Gradients,
    Inputs,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.shaping import broadcast_to, expand_dims, reshape
from workbench.symbolic.ops.sizes import normal_axes, size_of
from workbench.symbolic.values import operand, operands


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
        stop: Any = 0
        parts = []
        for x in inputs:
            start, stop = stop, stop + size_of(x, self.axis)
            parts.append(along(self.axis, slice(start, stop), g))
        return parts

    def lower(self, b: Builder, *inputs: Value) -> Value:
        dtype = np.result_type(*(x.dtype for x in inputs))
        return b.concatenate([b.convert(x, dtype) for x in inputs], self.axis)


def along(axis: int, index: Any, x: Variable) -> Variable:
    """Return ``x`` indexed along one axis."""
    return x[(*(slice(None),) * axis, index)]


def _listed(where: str, arrays: Sequence[Operand]) -> list[Variable]:
    if isinstance(arrays, Variable) or not len(arrays):
        raise OptionError(where, "arrays is not a list of at least one array",
                          given=f"arrays={arrays!r}")  # fmt: skip
    return operands(where, **{f"arrays[{i}]": x for i, x in enumerate(arrays)})


def concatenate(arrays: Sequence[Operand], axis: int | None = 0) -> Variable:
    """Return ``arrays`` joined along an existing axis, or each flattened where it is None.

    Raises
    ------
    ShapeError
        If two of them can never agree along another axis, naming the second.
    """
    xs = _listed("concatenate", arrays)
    if axis is None:
        xs, axis = [reshape(x, -1) for x in xs], 0
    if xs[0].ndim == 0:
        raise ShapeError("concatenate", "arrays[0] has no axis to join along", given=sides(x=xs[0]),
                         fix="ops.expand_dims(x, 0)")  # fmt: skip
    return apply(Concatenate(normal_axes("concatenate", xs[0], axis)[0]), *xs)


def stack(arrays: Sequence[Operand], axis: int = 0) -> Variable:
    """Return ``arrays``, of one shape, joined along a new axis.

    Raises
    ------
    ShapeError
        If two of them can never have one shape, naming the second.
    """
    xs = [expand_dims(x, axis) for x in _listed("stack", arrays)]
    return concatenate(xs, axis)


def hstack(arrays: Sequence[Operand]) -> Variable:
    """Return ``arrays`` joined along axis 1, or axis 0 of vectors."""
    xs = [atleast_1d(x) for x in _listed("hstack", arrays)]
    return concatenate(xs, min(xs[0].ndim - 1, 1))


def vstack(arrays: Sequence[Operand]) -> Variable:
    """Return ``arrays`` joined along axis 0, vectors being rows."""
    return concatenate([atleast_2d(x) for x in _listed("vstack", arrays)])


def atleast_1d(x: Operand) -> Variable:
    """Return ``x``, a scalar as a vector of one."""
    x = operand("atleast_1d", x)
    return x if x.ndim else expand_dims(x, 0)


def atleast_2d(x: Operand) -> Variable:
    """Return ``x``, a scalar or a vector as a matrix of one row."""
    x = atleast_1d(x)
    return x if x.ndim > 1 else expand_dims(x, 0)


def split(x: Operand, sections: int | Sequence[int | Variable], axis: int = 0) -> list[Variable]:
    """Return parts of ``x`` along ``axis``, as ``numpy.split``.

    Parameters
    ----------
    x : array_like or Variable
    sections : int, or sequence of ints and integer scalar Variables
        How many equal parts; or where to cut.
    axis : int

    Raises
    ------
    ShapeError
        If the parts would not be equal, or the size that is to be parted is not known.
    """
    x = operand("split", x)
    (axis,) = normal_axes("split", x, axis)
    if isinstance(sections, int):
        n = x.shape[axis]
        if n is None or sections < 1 or n % sections:
            raise ShapeError("split", f"axis {axis} of x does not have {sections} equal parts",
                             given=sides(x=x), fix="say where to cut: sections=[i, j]")  # fmt: skip
        sections = range(n // sections, n, n // sections) if n else [0] * (sections - 1)
    cuts = [0, *sections, None]
    return [along(axis, slice(a, z), x) for a, z in pairwise(cuts)]


def meshgrid(*xs: Operand, indexing: str = "xy") -> list[Variable]:
    """Return each vector repeated along the axes of the others, as ``numpy.meshgrid``.

    The axes are in the order of the vectors for ``"ij"``; for ``"xy"`` the first two are
    exchanged.
    """
    vectors = [reshape(operand("meshgrid", x, f"xs[{i}]"), -1) for i, x in enumerate(xs)]
    if indexing not in ("xy", "ij"):
        raise OptionError("meshgrid", "there is no such order", given=f"indexing={indexing!r}",
                          expected="'xy' or 'ij'")  # fmt: skip
    places = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        places[:2] = [1, 0]
    sizes: Any = [size_of(vectors[places.index(a)], 0) for a in range(len(vectors))]
    rest = [[a for a in range(len(vectors)) if a != place] for place in places]
    return [broadcast_to(expand_dims(x, a) if a else x, sizes)
            for x, a in zip(vectors, rest, strict=True)]  # fmt: skip
