"""Making arrays.  Inside ``jit`` and ``make_jaxpr`` these are recorded, not computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import OptionError
from workbench.functional.core import Tracer, Value, get_aval, is_array
from workbench.functional.numpy.promotion import as_array, check_dtype, check_shape, convert
from workbench.functional.numpy.shaping import stack
from workbench.functional.primitives import creation as ops
from workbench.functional.primitives.elementwise import full_like as _full_like


def array(x: Any, dtype: npt.DTypeLike | None = None) -> Value:
    """Return an array made of a number, an array, or nested lists of these and of tracers.

    Parameters
    ----------
    x : number, array, tracer, or list or tuple of these
    dtype : dtype, optional

    Raises
    ------
    DtypeError, ShapeError
        If ``x`` holds something else than numbers, or its parts differ in shape.
    """
    if isinstance(x, list | tuple):
        traced = any(isinstance(leaf, Tracer) for leaf in _leaves(x))
        x = stack([array(each) for each in x]) if traced else np.asarray(x)
    x = as_array("array", x)
    if not isinstance(x, Tracer):
        x = x.copy()
    return x if dtype is None else convert(x, check_dtype("array", dtype))


def _leaves(x: Any) -> list[Any]:
    return [leaf for each in x for leaf in _leaves(each)] if isinstance(x, list | tuple) else [x]


def asarray(x: Any, dtype: npt.DTypeLike | None = None) -> Value:
    """Return ``x`` as :func:`array` does, without copying what is an array already."""
    if not (isinstance(x, Tracer) or is_array(x)):
        return array(x, dtype)
    get_aval(x, "asarray")
    return x if dtype is None else convert(as_array("asarray", x), check_dtype("asarray", dtype))


def full(
    shape: int | tuple[int, ...], fill_value: complex, dtype: npt.DTypeLike | None = None
) -> Value:
    """Return an array of ``shape`` that holds one number everywhere.

    Raises
    ------
    OptionError
        If the shape is not made of ints of at least 0, or ``fill_value`` is not a number.
    DtypeError
        If ``dtype`` names no numbers.
    """
    sizes = check_shape("full", shape)
    if isinstance(fill_value, Tracer) or min(sizes, default=0) < 0:
        raise OptionError(
            "full", "a shape of ints of at least 0 and a number are needed",
            given=f"shape={shape!r}, fill_value={fill_value!r}",
            fix="functional.numpy.broadcast_to(x, shape) repeats a traced value",
        )  # fmt: skip
    kind = np.result_type(fill_value) if dtype is None else check_dtype("full", dtype)
    return ops.full(shape=sizes, dtype=kind, fill_value=fill_value)


def zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Value:
    """Return an array of zeros; raises as :func:`full`."""
    return full(shape, 0, dtype)


def ones(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Value:
    """Return an array of ones; raises as :func:`full`."""
    return full(shape, 1, dtype)


def full_like(x: Value, fill_value: complex) -> Value:
    """Return an array of the shape, dtype and device of ``x`` that holds one number."""
    return _full_like(as_array("full_like", x), fill_value=fill_value)


def zeros_like(x: Value) -> Value:
    """Return zeros of the shape, dtype and device of ``x``."""
    return full_like(x, 0)


def ones_like(x: Value) -> Value:
    """Return ones of the shape, dtype and device of ``x``."""
    return full_like(x, 1)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: npt.DTypeLike | None = None
) -> Value:
    """Return the numbers from ``start`` (or 0) up to, and without, ``stop``.

    Raises
    ------
    OptionError
        If an end or the step is not a number known while tracing, or the step is 0.
    """
    if stop is None:
        start, stop = 0, start
    given = f"start={start!r}, stop={stop!r}, step={step!r}"
    if any(isinstance(x, Tracer) or np.ndim(x) for x in (start, stop, step)) or not step:
        raise OptionError("arange", "ends and a step other than 0, known while tracing, are needed",
                          given=given)  # fmt: skip
    kind = np.result_type(start, stop, step) if dtype is None else check_dtype("arange", dtype)
    size = max(0, int(np.ceil((stop - start) / step)))
    steps = ops.iota(size=size, dtype=kind)
    if step != 1:
        steps = steps * kind.type(step)
    return steps + kind.type(start) if start else steps


def eye(n: int, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return the identity matrix, shape (n, n)."""
    i = arange(n)
    return asarray(i[:, None] == i, dtype)


def one_hot(labels: Value, classes: int, dtype: npt.DTypeLike = np.float64) -> Value:
    """Return 1 at each label and 0 elsewhere, shape (*labels.shape, classes)."""
    labels = as_array("one_hot", labels)
    return asarray(labels[..., None] == arange(classes), dtype)
