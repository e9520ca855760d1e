"""Every differentiable operation, by NumPy's name where NumPy has one.

Given a tensor they answer with a tensor, and record; given only arrays they answer with
an array, which is how one spelling of ``backward`` serves both orders.  Operators and
methods of :class:`~workbench.dynamic.tensor.Tensor` are attached here, once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.function import NO_GRADIENT, Function
from workbench.dynamic.ops import (
    activations,
    attention,
    convolution,
    elementwise,
    indexing,
    linalg,
    linear,
    losses,
    normalisation,
    recurrent,
    reductions,
    shapes,
    sorting,
    special,
)
from workbench.dynamic.ops.activations import *
from workbench.dynamic.ops.attention import *
from workbench.dynamic.ops.convolution import *
from workbench.dynamic.ops.elementwise import *
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.ops.indexing import *
from workbench.dynamic.ops.indexing import SetItem, clean_index
from workbench.dynamic.ops.linalg import *
from workbench.dynamic.ops.linear import *
from workbench.dynamic.ops.losses import *
from workbench.dynamic.ops.normalisation import *
from workbench.dynamic.ops.recurrent import *
from workbench.dynamic.ops.reductions import *
from workbench.dynamic.ops.shapes import *
from workbench.dynamic.ops.sorting import *
from workbench.dynamic.ops.special import *
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DtypeError, GraphError, ShapeError


class ToDevice(Function):
    """The same numbers on another device."""

    @staticmethod
    def forward(ctx: Any, x: Array, device: str, non_blocking: bool) -> Array:
        ctx.source = arrays.device_of(x)
        return arrays.to_device(x, device, non_blocking)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return to_device(g, ctx.source)


def to_device(x: Any, device: str, non_blocking: bool = False) -> Any:
    """Return x on ``device``, ``"cpu"`` or ``"gpu"``; x itself if it is there.

    ``non_blocking`` as in :func:`arrays.to_device`.  Gradients go back to x's device.

    Raises
    ------
    UnknownNameError, DeviceError
        If there is no such device.
    """
    arrays.check_device(device, "to")
    here = arrays.device_of(values(x)) == device
    return x if here else ToDevice.apply(x, device, non_blocking)


def to(x: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Return x on another device, in another dtype, or both; x itself if nothing changes.

    Parameters
    ----------
    x : Tensor
    device : {"cpu", "gpu"} or dtype, optional
        A dtype can stand in its place: ``x.to(np.float16)``.
    dtype : dtype, optional
        Gradients come back in x's own, on x's device.
    non_blocking : bool
        As in :func:`arrays.to_device`.

    Raises
    ------
    UnknownNameError, DeviceError
        If there is no such device.
    """
    if device is not None and not isinstance(device, str):
        device, dtype = None, device
    if device is not None and (dtype is None or np.dtype(dtype).itemsize >= x.dtype.itemsize):
        x = to_device(x, device, non_blocking)  # The fewer bytes travel.
    if dtype is not None and np.dtype(dtype) != x.dtype:
        x = astype(x, dtype)
    return x if device is None else to_device(x, device, non_blocking)


def _begin_edit(x: Tensor, v: Any, op: str) -> bool:
    """Return whether an in-place edit of x has to be recorded; refuse it where it cannot be."""
    if not (mode.enabled and (x.requires_grad or (isinstance(v, Tensor) and v.requires_grad))):
        return False
    if x.requires_grad and x.node is None:
        raise GraphError(op, "a leaf that requires a gradient was about to be edited in place",
                         given=f"a leaf of shape {x.shape}",
                         fix="edit it under `with dynamic.no_grad():`, or compute a new "
                         "tensor")  # fmt: skip
    if not x.requires_grad:
        x.data = x.data.copy()  # Constant views taken so far stay constant.
    elif x.data.base is not None:
        raise GraphError(op, "an in-place edit of a view cannot be recorded",
                         given=f"a view of shape {x.shape}, made by {x.node.name}",
                         fix="write y = y + v; or assign to the whole: x[index] = "
                         "x[index] + v")  # fmt: skip
    return True


def _end_edit(x: Tensor, result: Tensor, recorded: bool) -> None:
    versions.mark(x.data, recorded)
    if recorded:
        x.node, x.requires_grad = result.node, True


def setitem(x: Tensor, index: Any, v: Any) -> None:
    """Write v into x[index], in place; recorded where a gradient depends on it."""
    index = clean_index(index)
    recorded = _begin_edit(x, v, "x[...] = v")
    _end_edit(x, SetItem.apply(x, index, v), recorded)


def _in_place(op: Any, symbol: str) -> Any:
    def edit(x: Tensor, v: Any) -> Tensor:
        recorded = _begin_edit(x, v, symbol)
        y = op(x, v)
        if y.shape != x.shape:
            raise ShapeError(symbol, "the result does not fit into x",
                             given=f"x {x.shape}, v {values(v).shape}",
                             expected=f"a v that broadcasts to {x.shape}")  # fmt: skip
        if y.dtype != x.dtype:
            raise DtypeError(symbol, "the result does not fit into x", given=f"{y.dtype}",
                             expected=f"{x.dtype}, the dtype of x")  # fmt: skip
        x.data[...] = y.data
        _end_edit(x, y, recorded)
        return x

    return edit


def _reflected(op: Any) -> Any:
    return lambda x, y: op(y, x)


def _attach() -> None:
    """Give Tensor its operators and methods."""
    for name, op, symbol in (
        ("add", add, "+="),
        ("sub", subtract, "-="),
        ("mul", multiply, "*="),
        ("truediv", divide, "/="),
        ("pow", power, "**="),
        ("matmul", matmul, None),
        ("mod", mod, None),
        ("floordiv", floor_divide, None),
        ("and", bitwise_and, None),
        ("or", bitwise_or, None),
        ("xor", bitwise_xor, None),
    ):
        setattr(Tensor, f"__{name}__", op)
        setattr(Tensor, f"__r{name}__", _reflected(op))
        if symbol:
            setattr(Tensor, f"__i{name}__", _in_place(op, symbol))
    others: dict[str, Any] = {
        "__neg__": negative, "__pos__": positive, "__abs__": absolute, "__invert__": invert,
        "__lt__": less, "__le__": less_equal, "__gt__": greater, "__ge__": greater_equal,
        "__eq__": equal, "__ne__": not_equal,
        "__getitem__": getitem, "__setitem__": setitem,
        "T": property(transpose), "to": to,
        "reshape": lambda x, *shape: reshape(x, _one(shape)),
        "transpose": lambda x, *axes: transpose(x, _one(axes) if axes else None),
    }  # fmt: skip
    for method in ("sum", "mean", "max", "min", "argmax", "squeeze", "astype",
                   "exp", "log", "sqrt", "tanh", "sigmoid", "relu",
                   "all", "any", "argmin", "argsort", "clip", "cumprod", "cumsum", "diagonal",
                   "flatten", "prod", "ptp", "ravel", "repeat", "round", "sort", "std", "swapaxes",
                   "take", "trace", "var"):  # fmt: skip
        others[method] = globals()[method]
    for name, op in others.items():
        setattr(Tensor, name, op)


def _one(given: tuple[Any, ...]) -> Any:
    """Return the lengths or axes of a method that takes them apart or in a tuple."""
    return given[0] if len(given) == 1 else given


_attach()

__all__ = [
    *convolution.__all__,
    *activations.__all__,
    *attention.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *linalg.__all__,
    *linear.__all__,
    *losses.__all__,
    *normalisation.__all__,
    *recurrent.__all__,
    *reductions.__all__,
    *shapes.__all__,
    *sorting.__all__,
    *special.__all__,
    "NO_GRADIENT",
    "setitem",
    "to",
    "to_device",
]
