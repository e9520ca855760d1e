"""Gives tracers NumPy's operators and methods.

Here and not in ``core``, so that ``core`` knows no operation: the functions import
the tracer, and are attached to it once.
"""

from __future__ import annotations

from typing import Any

from workbench.functional.core import Tracer, Value, concrete_value, shape_of
from workbench.functional.numpy import (
    bits,
    creation,
    elementwise,
    indexing,
    ordering,
    parts,
    reductions,
    shaping,
    updates,
)

for _symbol, _function in {
    "add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply,
    "truediv": elementwise.divide, "pow": elementwise.power, "matmul": shaping.matmul,
    "floordiv": elementwise.floor_divide, "mod": elementwise.remainder,
    "divmod": elementwise.divmod, "and": bits.bitwise_and, "or": bits.bitwise_or,
    "xor": bits.bitwise_xor, "lshift": bits.left_shift, "rshift": bits.right_shift,
}.items():  # fmt: skip
    setattr(Tracer, f"__{_symbol}__", lambda x, y, f=_function: f(x, y))
    setattr(Tracer, f"__r{_symbol}__", lambda x, y, f=_function: f(y, x))

for _symbol, _function in {
    "lt": elementwise.less, "le": elementwise.less_equal, "gt": elementwise.greater,
    "ge": elementwise.greater_equal, "eq": elementwise.equal, "ne": elementwise.not_equal,
}.items():  # fmt: skip
    setattr(Tracer, f"__{_symbol}__", lambda x, y, f=_function: f(x, y))


def _several(method: Any) -> Any:
    """Let a method take its lengths or axes one by one as well as in a tuple."""
    return lambda x, *args: method(x, args[0] if len(args) == 1 else args or None)


def _identity(x: Value) -> Value:
    return x


def _dot(x: Value, y: Value) -> Value:
    """Return ``x.dot(y)``: a product of matrices, or with a number."""
    return x * y if 0 in (len(x.shape), len(shape_of(y))) else shaping.matmul(x, y)


def _item(x: Value) -> Any:
    """Return the only element as a Python number, where there is one: as ``float`` refuses."""
    return concrete_value(x, "float").item()


for _name, _method in {
    "__neg__": elementwise.negative, "__pos__": _identity, "__abs__": elementwise.absolute,
    "__getitem__": indexing.getitem,
    "sum": reductions.sum, "mean": reductions.mean, "var": reductions.var,
    "max": reductions.max, "min": reductions.min,
    "std": reductions.std, "any": reductions.any, "all": reductions.all,
    "prod": reductions.prod, "ptp": reductions.ptp, "cumsum": ordering.cumsum,
    "cumprod": ordering.cumprod, "sort": ordering.sort, "argsort": ordering.argsort,
    "__invert__": bits.invert, "__round__": elementwise.round, "round": elementwise.round,
    "clip": elementwise.clip, "conj": elementwise.conj, "conjugate": elementwise.conj,
    "dot": _dot, "item": _item,
    "argmax": reductions.argmax, "argmin": reductions.argmin,
    "reshape": _several(shaping.reshape), "transpose": _several(shaping.transpose),
    "ravel": shaping.ravel, "squeeze": shaping.squeeze, "swapaxes": shaping.swapaxes,
    "astype": shaping.astype,
    "T": property(shaping.transpose), "at": property(updates.at),
    "repeat": parts.repeat, "take": indexing.take, "diagonal": creation.diagonal,
}.items():  # fmt: skip
    setattr(Tracer, _name, _method)
