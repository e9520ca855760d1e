"""Reductions over any axes, running ones along an axis, and the softmax family."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench import arrays
from workbench.dynamic.function import NO_GRADIENT, Function
from workbench.dynamic.ops.elementwise import (
    STEP,
    absolute,
    constant,
    exp,
    maximum,
    multiply,
    negative,
    sign,
    sqrt,
    square,
    values,
    where,
    wrapped,
)
from workbench.dynamic.ops.indexing import getitem
from workbench.dynamic.ops.shapes import (
    axes_of,
    broadcast_to,
    checked_axes,
    concatenate,
    diagonal,
    flip,
    moveaxis,
    ravel,
    reshape,
)
from workbench.dynamic.ops.special import logaddexp, replaced
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError

__all__ = [
    "all", "any", "argmax", "argmin", "count_nonzero", "cummax", "cummin", "cumprod",
    "cumsum", "diff", "log_softmax", "logcumsumexp", "logsumexp", "max", "mean", "min", "norm",
    "prod", "ptp", "softmax", "softmin", "std", "sum", "trace", "var",
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
    """Return the mean over ``axis`` (all axes by default), by way of the sum.

    Of float16 a sum beyond 65,504 is infinite: ``amp.autocast`` takes it in float32.
    """
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
        y = replaced(ctx.output, -np.inf, 0.0)  # Where all are -inf, exp(x) is flat.
        return unreduced(ctx, g) * exp(ctx.args[0] - unreduced(ctx, y))


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


def softmin(x: Any, axis: int = -1) -> Any:
    """Return softmax(-x) along ``axis``."""
    return softmax(negative(x), axis)


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
    return wrapped(found) if isinstance(x, Tensor) else found


NO_GRADIENT["argmax"] = "an index: it does not change when x changes a little"
argmin = constant("argmin", NO_GRADIENT["argmax"])
all, any, count_nonzero = (
    constant("all", STEP),
    constant("any", STEP),
    constant("count_nonzero", STEP),
)


def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the maximum less the minimum over ``axis``."""
    return max(x, axis, keepdims) - min(x, axis, keepdims)


def var(x: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the variance over ``axis``: squares of deviations, summed, over N - ddof."""
    n = math.prod(x.shape[k] for k in axes_of(axis, x.ndim))
    total = sum(square(x - mean(x, axis, True)), axis, keepdims)
    return total / builtins.max(n - ddof, 0)


def std(x: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the standard deviation over ``axis``; the derivative at 0 is taken as 0."""
    return _root(var(x, axis, ddof, keepdims))


def _root(x: Any) -> Any:
    """Return the square root, its derivative at 0 taken as 0."""
    return where(values(x) == 0, 0.0, sqrt(replaced(x, 0, 1.0)))


def norm(x: Any, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the norm of vectors or matrices, as :func:`numpy.linalg.norm`.

    Parameters
    ----------
    x : Tensor or array
    ord : number, "fro" or None
        Of a vector any number: 2 is its length, inf its largest magnitude, 0 the count of
        what is not 0.  Of a matrix 1 or -1 (largest or smallest sum of magnitudes over a
        column), inf or -inf (over a row).  None and "fro": the root of the sum of squares.
    axis : int, pair of int, or None
        One axis for vectors, two for matrices; by default all.

    Raises
    ------
    OptionError
        For an order that is not of these.

    Notes
    -----
    At 0 the derivative is taken as 0, of an element's magnitude as of the norm.
    """
    axes = checked_axes("norm", range(x.ndim) if axis is None else axis, x.ndim)
    if ord in (None, "fro") or (ord == 2 and len(axes) == 1):
        return _root(sum(square(x), axes, keepdims))
    size = absolute(x)
    if not isinstance(ord, str | None):
        extreme = max if ord > 0 else min
        if len(axes) == 2 and abs(ord) in (1, math.inf):
            along = axes[0] if abs(ord) == 1 else axes[1]
            return extreme(sum(size, along, True), axes, keepdims)
        if len(axes) == 1 and abs(ord) == math.inf:
            return extreme(size, axes, keepdims)
        if len(axes) == 1 and ord in (0, 1):
            return sum(size if ord else sign(size), axes, keepdims)
        if len(axes) == 1:
            zero, p = values(size) == 0, float(ord)
            powers = where(zero, 0.0 if p > 0 else math.inf, replaced(size, 0, 1.0) ** p)
            total = sum(powers, axes, keepdims)
            return where(values(total) == 0, 0.0, replaced(total, 0, 1.0) ** (1 / p))
    raise OptionError("norm", "there is no norm of this order here",
                      given=f"ord={ord!r} over {len(axes)} axes",
                      expected="any number over one axis; 1, -1, inf or -inf over two; "
                      "None or 'fro' over any")  # fmt: skip


class Prod(Function):
    """Product over the last axis."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.args = (x,)
        return x.prod(axis=-1)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        # Of all before times of all after, not of all divided by x, which can be 0.
        x = ctx.args[0]
        after = flip(_product_before(flip(x, -1)), -1)
        return g.reshape((*g.shape, 1)) * (_product_before(x) * after)


def _product_before(x: Any) -> Any:
    one = arrays.namespace(values(x)).ones((*x.shape[:-1], 1), x.dtype)
    return concatenate([one, cumprod(x[..., :-1], -1)], -1)[..., : x.shape[-1]]


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return the product over ``axis``; derivatives of every order are right at 0 too."""
    x, shape = gathered("prod", x, axis)
    return reshape(Prod.apply(x), shape) if keepdims else Prod.apply(x)


def gathered(op: str, x: Any, axis: Axis) -> tuple[Any, tuple[int, ...]]:
    """Return x with the axes to reduce as one, the last; and the shape with keepdims."""
    axes = checked_axes(op, range(x.ndim) if axis is None else axis, x.ndim)
    kept = [n for k, n in enumerate(x.shape) if k not in axes]
    x_last = moveaxis(x, axes, range(len(kept), x.ndim))
    x_last = reshape(x_last, (*kept, math.prod(x.shape[k] for k in axes)))
    return x_last, tuple(1 if k in axes else n for k, n in enumerate(x.shape))


# --- running along an axis ---------------------------------------------------------------


class Cumsum(Function):
    """Sums of the first elements along an axis."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, axis: int) -> Any:
        ctx.axis = axis
        return x.cumsum(axis=axis)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return flip(Cumsum.apply(flip(g, ctx.axis), ctx.axis), ctx.axis)


def cumsum(x: Any, axis: int | None = None) -> Any:
    """Return running sums along ``axis`` (of x flattened)."""
    return Cumsum.apply(ravel(x), 0) if axis is None else Cumsum.apply(x, axis)


def _scan(name: str, op: Any, x: Any, axis: int | None) -> Any:
    """Return x[0], op(x[0], x[1]), op(op(x[0], x[1]), x[2]), ... of an associative operation.

    In log2(N) steps that each double the reach (Hillis and Steele, "Data parallel
    algorithms", 1986); every step is differentiable, so the whole is.
    """
    if axis is None:
        x, axis = ravel(x), 0
    (k,) = checked_axes(name, axis, x.ndim)
    before, reach, x = (slice(None),) * k, 1, +x
    while reach < x.shape[k]:
        start, rest = getitem(x, (*before, slice(reach))), getitem(x, (*before, slice(reach, None)))
        x = concatenate([start, op(rest, getitem(x, (*before, slice(-reach))))], k)
        reach *= 2
    return x


def cumprod(x: Any, axis: int | None = None) -> Any:
    """Return running products along ``axis`` (of x flattened); right where x is 0 too."""
    return _scan("cumprod", multiply, x, axis) if isinstance(x, Tensor) else np.cumprod(x, axis)


def logcumsumexp(x: Any, axis: int | None = None) -> Any:
    """Return log(cumsum(exp(x))) along ``axis`` (of x flattened), without overflow."""
    return _scan("logcumsumexp", logaddexp, x, axis)


def cummax(x: Any, axis: int | None = None) -> Any:
    """Return running maxima along ``axis`` (of x flattened); at a tie each gets half."""
    return _scan("cummax", maximum, x, axis)


def cummin(x: Any, axis: int | None = None) -> Any:
    """Return running minima along ``axis`` (of x flattened); at a tie each gets half."""
    return negative(cummax(negative(x), axis))


def diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    """Return the differences of neighbours along ``axis``, taken n times."""
    before = (slice(None),) * checked_axes("diff", axis, x.ndim)[0]
    for _ in range(n):
        x = getitem(x, (*before, slice(1, None))) - getitem(x, (*before, slice(-1)))
    return x


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sum of the diagonal over two axes of x."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


def _plain(axis: Axis) -> int | tuple[int, ...] | None:
    return tuple(axis) if isinstance(axis, Sequence) else axis
