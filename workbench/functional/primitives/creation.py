"""Primitives that make an array from nothing, so that a trace can record it."""

from __future__ import annotations

import numpy as np

from workbench.functional.core import NoRule, Primitive, ShapedArray
from workbench.functional.primitives.rules import NOT_LINEAR

NO_OPERAND = NoRule("takes no array, so it is constant under every transform")

full: Primitive = Primitive(
    "full",
    impl=lambda *, shape, dtype, fill_value: np.full(shape, fill_value, dtype),
    abstract=lambda *, shape, dtype, fill_value: ShapedArray(shape, dtype),
    jvp=NO_OPERAND,
    batch=NO_OPERAND,
    transpose=NOT_LINEAR,
    lower=lambda b, shape, dtype, fill_value: b.broadcast(b.constant(fill_value, dtype), shape),
)

iota: Primitive = Primitive(
    "iota",
    impl=lambda *, size, dtype: np.arange(size, dtype=dtype),
    abstract=lambda *, size, dtype: ShapedArray((size,), dtype),
    jvp=NO_OPERAND,
    batch=NO_OPERAND,
    transpose=NOT_LINEAR,
    lower=lambda b, size, dtype: b.iota((size,), 0, dtype),
)
