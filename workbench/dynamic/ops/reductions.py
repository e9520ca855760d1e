"""Reductions over any axes, and the softmax family that stands on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench.dynamic.function import NO_GRADIENT, Function
from workbench.dynamic.ops.elementwise import exp, negative, values
from workbench.dynamic.ops.shapes import axes_of, broadcast_to
from workbench.dynamic.tensor import Tensor

__all__ = [
    "argmax", "log_softmax", "logsumexp", "max", "mean", "min", "softmax", "sum",
]  # fmt: skip

Axis: TypeAlias = int | Sequence[int] | None

NOT_EMPTY = "at least one element along each axis that is reduced"


def unreduced(ctx: Any, g: Any) -> Any:
    """Return ``g`` with length 1 on the axes that ``ctx`` reduced, so that it broadcasts."""
    shape = ctx.inputs[0].shape
    reduced = axes_of(ctx.axis, len(shape))
    return g.reshape(tuple(1 if k in reduced else n for k, n in enumerate(shape)))


class Sum(Function):
    """Sum over axes."""

    @staticmethod
    def forward(ctx: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        ctx.axis = axis
        return x.sum(axis=axis, keepdims=keepdims)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return broadcast_to(unreduced(ctx, g), ctx.inputs[0].shape)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the sum over ``axis`` (all axes by default)."""
    return Sum.apply(x, _plain(axis), keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the mean over ``axis`` (all axes by default)."""
    total = sum(x, axis, keepdims)
    return total / math.prod(x.shape[k] for k in axes_of(axis, x.ndim))


class Max(Function):
    """Maximum over axes."""

    fresh = True
    expects = NOT_EMPTY

    @staticmethod
    def forward(ctx: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        ctx.args, ctx.axis = (x, None, None), axis
        ctx.output = y = x.max(axis=axis, keepdims=keepdims)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x = values(ctx.args[0])
        winners = x == unreduced(ctx, values(ctx.output))
        count = winners.sum(axis=ctx.axis, keepdims=True)
        return unreduced(ctx, g) * (winners / np.maximum(count, 1)).astype(x.dtype)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the maximum over ``axis``; elements that tie share the gradient equally."""
    return Max.apply(x, _plain(axis), keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the minimum over ``axis``; elements that tie share the gradient equally."""
    return negative(max(negative(x), axis, keepdims))


class Logsumexp(Function):
    """log(sum(exp(x)))."""

    fresh = True
    expects = NOT_EMPTY

    @staticmethod
    def forward(ctx: Any, x: Any, axis: Any, keepdims: bool) -> Any:
        ctx.args, ctx.axis = (x, None, None), axis
        top = x.max(axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)
        total = np.exp(x - top).sum(axis=axis, keepdims=True)
        with np.errstate(divide="ignore"):  # All -inf: the answer is -inf.
            y = np.log(total) + top
        ctx.output = y = y if keepdims else y.squeeze(axis=axis)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return unreduced(ctx, g) * exp(ctx.args[0] - unreduced(ctx, ctx.output))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) over ``axis``, without overflow."""
    return Logsumexp.apply(x, _plain(axis), keepdims)


class Softmax(Function):
    """exp(x) / sum(exp(x))."""

    fresh = True
    expects = NOT_EMPTY

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        ctx.axis, ctx.output = axis, (y := e / e.sum(axis=axis, keepdims=True))
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        y = ctx.output
        return y * (g - (g * y).sum(axis=ctx.axis, keepdims=True))


def softmax(x: Any, axis: int = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along ``axis``, without overflow."""
    return Softmax.apply(x, axis)


class LogSoftmax(Function):
    """x - logsumexp(x)."""

    fresh = True
    expects = NOT_EMPTY

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        x = x - x.max(axis=axis, keepdims=True)
        ctx.axis, ctx.output = axis, (y := x - np.log(np.exp(x).sum(axis=axis, keepdims=True)))
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g - exp(ctx.output) * g.sum(axis=ctx.axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Return log(softmax(x)) along ``axis``, without overflow or log(0)."""
    return LogSoftmax.apply(x, axis)


def argmax(x: Any, axis: int | None = None) -> Any:
    """Return the index of the (first) maximum over ``axis``; no gradient."""
    found = np.argmax(values(x), axis=axis)
    return Tensor(np.asarray(found)) if isinstance(x, Tensor) else found


NO_GRADIENT["argmax"] = "an index: it does not change when x changes a little"


def _plain(axis: Axis) -> int | tuple[int, ...] | None:
    return tuple(axis) if isinstance(axis, Sequence) else axis
