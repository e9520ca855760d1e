"""What the functions here do to their arguments first: check, promote, count axes.

Promotion is NumPy 2's (NEP 50): Python scalars take the dtype of the arrays they
meet.  Functions of floating-point results turn integers into float64.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.core import Tracer, Value, get_aval
from workbench.functional.primitives.elementwise import convert_dtype, full_like
from workbench.functional.primitives.fourier import REAL, complex_


def _python_type(dtype: np.dtype[Any]) -> type[Any]:
    return {"b": bool, "f": float, "c": complex}.get(dtype.kind, int)


def convert(x: Value, dtype: np.dtype[Any] | type) -> Value:
    """Return ``x`` as ``dtype``, or unchanged if it is that already."""
    aval = get_aval(x)
    if aval.dtype == dtype and aval.weak_type == isinstance(dtype, type):
        return x
    if not isinstance(x, Tracer) and aval.weak_type:  # No operation: it is how a constant is read.
        return dtype(x) if isinstance(dtype, type) else dtype.type(x)
    if isinstance(dtype, np.dtype) and dtype.kind == "c" and aval.dtype.kind != "c":
        real = convert(x, REAL[dtype])  # Differentiable, as a conversion to complex is not.
        return complex_(real, full_like(real, fill_value=0))
    return convert_dtype(x, dtype=dtype)


def promote(where: str, *xs: Value) -> list[Value]:
    """Return the values with one dtype.

    Raises
    ------
    DtypeError
        If one is not an array of numbers.
    """
    avals = [get_aval(x, where) for x in xs]
    target = _common(*[(aval.dtype, aval.weak_type) for aval in avals])
    return [convert(x, target) for x in xs]


@functools.cache
def _common(*kinds: tuple[np.dtype[Any], bool]) -> np.dtype[Any] | type:
    """Return the dtype that dtypes, some weak, promote to: Python's own if all are weak."""
    dtype = np.result_type(*[_python_type(dtype)(0) if weak else dtype for dtype, weak in kinds])
    return _python_type(dtype) if all(weak for _, weak in kinds) else dtype


def inexact(where: str, x: Value) -> Value:
    """Return ``x`` in floating point: unchanged, or float64 for integers and booleans."""
    aval = get_aval(x, where)
    if aval.dtype.kind in "fc":
        return x
    return convert(x, float if aval.weak_type else np.dtype(np.float64))


def truth(where: str, x: Value) -> Value:
    """Return ``x`` as booleans: whether it is not 0."""
    return convert(x, bool if get_aval(x, where).weak_type else np.dtype(bool))


def as_array(where: str, x: Value) -> Value:
    """Return ``x`` with a dtype of its own: a Python scalar becomes a 0-d array.

    Raises
    ------
    DtypeError
        If it is not an array of numbers.
    """
    aval = get_aval(x, where)
    if not aval.weak_type:
        return x
    return convert_dtype(x, dtype=aval.dtype) if isinstance(x, Tracer) else np.asarray(x)


def check_dtype(where: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as NumPy's, refusing what names no numbers.

    Raises
    ------
    DtypeError
        For anything but booleans, integers, floating-point and complex numbers.
    """
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result.kind not in "biufc":
        raise DtypeError(where, "this is not a dtype of numbers", given=repr(dtype),
                         expected="such as float32, float64, int64, bool")  # fmt: skip
    return result


def check_axis(where: str, axis: Any, ndim: int) -> int:
    """Return ``axis`` counted from the front.

    Raises
    ------
    OptionError
        If it is not an int.
    ShapeError
        If there is no such axis.
    """
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool):
        raise OptionError(where, "an axis is an int", given=f"axis={axis!r}")
    if not -ndim <= axis < ndim:
        raise ShapeError(where, "there is no such axis", given=f"axis {axis} of {ndim} axes",
                         expected=f"{-ndim} to {ndim - 1}" if ndim else "no axis: it is 0-d")  # fmt: skip
    return int(axis) % ndim


def check_axes(where: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Return an axis, several, or None for all, as a tuple counted from the front.

    Raises
    ------
    OptionError, ShapeError
        As :func:`check_axis`; and for an axis given twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, Sequence) else (axis,)
    axes = tuple(check_axis(where, each, ndim) for each in given)
    if len(set(axes)) != len(axes):
        raise OptionError(where, "an axis is named twice", given=f"axis={axis!r}")
    return axes


def check_shape(where: str, shape: Any) -> tuple[int, ...]:
    """Return a shape, given as an int or several, as a tuple.

    Raises
    ------
    OptionError
        If it holds something else than ints of at least 0 (-1 is up to the caller).
    """
    several = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in several):
        raise OptionError(where, "a shape is made of ints known while tracing",
                          given=f"shape={shape!r}",
                          expected="an int or a tuple of ints, such as x.shape")  # fmt: skip
    return tuple(int(n) for n in several)
