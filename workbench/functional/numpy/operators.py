"""Gives tracers NumPy's operators and methods.

Here and not in ``core``, so that ``core`` knows no operation: the functions import
the tracer, and are attached to it once.
"""

from __future__ import annotations

from typing import Any

from workbench.functional.core import Tracer, Value
from workbench.functional.numpy import elementwise, indexing, reductions, shaping

for _symbol, _function in {
    "add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply,
    "truediv": elementwise.divide, "pow": elementwise.power, "matmul": shaping.matmul,
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


for _name, _method in {
    "__neg__": elementwise.negative, "__pos__": _identity, "__abs__": elementwise.absolute,
    "__getitem__": indexing.getitem,
    "sum": reductions.sum, "mean": reductions.mean, "var": reductions.var,
    "max": reductions.max, "min": reductions.min,
    "argmax": reductions.argmax, "argmin": reductions.argmin,
    "reshape": _several(shaping.reshape), "transpose": _several(shaping.transpose),
    "ravel": shaping.ravel, "squeeze": shaping.squeeze, "swapaxes": shaping.swapaxes,
    "astype": shaping.astype,
    "T": property(shaping.transpose),
}.items():  # fmt: skip
    setattr(Tracer, _name, _method)
