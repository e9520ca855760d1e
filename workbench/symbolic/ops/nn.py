"""Ops of neural networks, built from the others wherever that costs nothing.

Images are (N, C, H, W), kernels (F, C, KH, KW); convolution is cross-correlation.
"""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D101

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import (
    Gradients,
    Inputs,
    NoGradient,
    Op,
    Operand,
    Type,
    Variable,
    apply,
    sides,
)
from workbench.symbolic.ops.elementwise import exp, square
from workbench.symbolic.ops.linear import tensordot
from workbench.symbolic.ops.reductions import count, max, mean, sum
from workbench.symbolic.ops.shaping import (
    expand_dims,
    normal_axes,
    shape_of,
    shape_operand,
    static_shape,
    transpose,
)
from workbench.symbolic.values import operand, operands

# --- softmax and losses --------------------------------------------------------------------


@dataclass(frozen=True)
class Softmax(Op):
    axis: int
    name = "softmax"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        (x,) = inputs
        e = np.exp(x - x.max(axis=self.axis, keepdims=True))
        return e / e.sum(axis=self.axis, keepdims=True)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (output * (g - sum(g * output, self.axis, keepdims=True)),)


def softmax(x: Operand, axis: int = -1) -> Variable:
    """Return ``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
    x = operand("softmax", x, ndim=1, dtype="f")
    return apply(Softmax(_one_axis("softmax", x, axis)), x)


@dataclass(frozen=True)
class LogSoftmax(Op):
    axis: int
    name = "log_softmax"

    def infer(self, *inputs: Variable) -> Type:
        return inputs[0].type

    def compute(self, *inputs: Array) -> Array:
        (x,) = inputs
        x = x - x.max(axis=self.axis, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=self.axis, keepdims=True))

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (g - exp(output) * sum(g, self.axis, keepdims=True),)


def log_softmax(x: Operand, axis: int = -1) -> Variable:
    """Return the logarithm of the softmax along ``axis``, exact where that underflows."""
    x = operand("log_softmax", x, ndim=1, dtype="f")
    return apply(LogSoftmax(_one_axis("log_softmax", x, axis)), x)


def _one_axis(where: str, x: Variable, axis: int) -> int:
    axes = normal_axes(where, x, axis)
    if len(axes) != 1:
        raise OptionError(where, "axis is not usable", given=f"axis={axis!r}", expected="one int")
    return axes[0]


@dataclass(frozen=True)
class OneHot(NoGradient):
    """Rows of zeros with a one at each label; the second input has the shape (N, K)."""

    dtype: np.dtype[Any]
    name = "one_hot"
    no_gradient = "labels are integers"

    def infer(self, *inputs: Variable) -> Type:
        return Type(self.dtype, static_shape(inputs[1]))

    def compute(self, *inputs: Array) -> Array:
        labels, shape = inputs
        classes = arrays.namespace(labels).arange(int(shape[1]))
        return (labels[:, None] == classes).astype(self.dtype)


@dataclass(frozen=True)
class NegativeLogLikelihood(Op):
    """Minus the mean, over the rows of log-probabilities, of the entry at each row's label."""

    name = "negative_log_likelihood"

    def infer(self, *inputs: Variable) -> Type:
        return Type(inputs[0].dtype, ())

    def compute(self, *inputs: Array) -> Array:
        x, labels = inputs
        n, k = x.shape
        # As unsigned, -1 is the largest of all: one look finds labels outside at either end.
        if len(labels) != n or (n and labels.view(f"u{labels.itemsize}").max() >= k):
            raise ShapeError("softmax_cross_entropy", "the labels do not fit the logits",
                             given=f"logits {x.shape}, {len(labels)} labels",
                             expected=f"{n} labels, each from 0 to {k - 1}")  # fmt: skip
        return x[arrays.namespace(x).arange(n), labels].sum() / -n

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        x, labels = inputs
        return apply(OneHot(x.dtype), labels, shape_of(x)) * (-g / count(x, (0,))), None


def softmax_cross_entropy(logits: Operand, labels: Operand) -> Variable:
    """Return the mean over the batch of minus the log-probability of each label.

    Parameters
    ----------
    logits : array_like or Variable, shape (N, K)
    labels : integer array_like or Variable, shape (N,)
        Each from 0 to K - 1, which is checked when the graph runs.

    Returns
    -------
    Variable, shape ()
        Finite for logits of any size: it comes of ``log_softmax``.
    """
    where = "softmax_cross_entropy"
    logits = operand(where, logits, "logits", dtype="f")
    labels = operand(where, labels, "labels", dtype="iu")
    n, m = logits.shape[:1], labels.shape[:1]
    if (logits.ndim, labels.ndim) != (2, 1) or (None not in (*n, *m) and n != m):
        raise ShapeError(where, "logits and labels do not fit together",
                         given=sides(logits=logits, labels=labels),
                         expected="logits (N, K) and labels (N,)")  # fmt: skip
    return apply(NegativeLogLikelihood(), log_softmax(logits), labels)


def mean_squared_error(prediction: Operand, target: Operand) -> Variable:
    """Return the mean over all elements of ``(prediction - target) ** 2``.

    Raises
    ------
    ShapeError
        If their shapes can differ: (N, 1) against (N,) would broadcast to (N, N).
    """
    p, t = operands("mean_squared_error", prediction=prediction, target=target)
    if p.ndim != t.ndim or any(
        None not in (n, m) and n != m for n, m in zip(p.shape, t.shape, strict=True)
    ):
        raise ShapeError("mean_squared_error", "prediction and target differ in shape",
                         given=sides(prediction=p, target=t), expected="one shape",
                         fix="reshape or expand_dims the target")  # fmt: skip
    return mean(square(p - t))


# --- windows over images -------------------------------------------------------------------


@dataclass(frozen=True)
class Im2Col(Op):
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    fill: float
    where: str
    name = "im2col"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        (x,) = inputs
        if x.ndim != 4:
            raise ShapeError(self.where, "images come as a batch", given=sides(x=x),
                             expected="x (N, C, H, W)")  # fmt: skip
        out: list[int | None] = []
        for n, k, s, p in zip(x.shape[2:], self.size, self.stride, self.padding, strict=True):
            if n is not None and k > n + 2 * p:
                raise ShapeError(self.where, "the window is larger than the padded image",
                                 given=f"window {self.size}, padding {self.padding}, {sides(x=x)}",
                                 fix="use a smaller window or more padding")  # fmt: skip
            out.append(None if n is None else (n + 2 * p - k) // s + 1)
        return Type(x.dtype, (*x.shape[:2], *out, *self.size))

    def compute(self, *inputs: Array) -> Array:
        return arrays.im2col(inputs[0], self.size, self.stride, self.padding,
                             fill=self.fill, where=self.where)  # fmt: skip

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        return (apply(Col2Im(self.stride, self.padding), g, shape_of(inputs[0])),)


def im2col(
    x: Operand, size: int | Sequence[int], stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0, *, fill: float = 0.0, where: str = "im2col",
) -> Variable:  # fmt: skip
    """Return every window of a batch of images: see :func:`workbench.arrays.im2col`.

    Returns
    -------
    Variable, shape (N, C, OH, OW, KH, KW)
    """
    x = operand(where, x)
    op = Im2Col(arrays.pair(size, where, "size", 1), arrays.pair(stride, where, "stride", 1),
                arrays.pair(padding, where, "padding", 0), fill, where)  # fmt: skip
    return apply(op, x)


@dataclass(frozen=True)
class Col2Im(Op):
    stride: tuple[int, int]
    padding: tuple[int, int]
    name = "col2im"

    def infer(self, *inputs: Variable) -> Type:
        windows, shape = inputs
        if windows.ndim != 6 or shape.shape != (4,) or None in windows.shape[4:]:
            raise ShapeError("col2im", "these are not windows of images",
                             given=sides(windows=windows, shape=shape),
                             expected="windows (N, C, OH, OW, KH, KW), 4 sizes")  # fmt: skip
        return Type(windows.dtype, static_shape(shape))

    def compute(self, *inputs: Array) -> Array:
        windows, shape = inputs
        return arrays.col2im(windows, shape.tolist(), self.stride, self.padding)

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        kh, kw = inputs[0].shape[4:]
        return apply(Im2Col((kh, kw), self.stride, self.padding, 0.0, "im2col"), g), None  # type: ignore[arg-type]


def col2im(
    windows: Operand, shape: Sequence[int] | Variable, stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> Variable:  # fmt: skip
    """Return images with every window added back in its place: the transpose of ``im2col``.

    Parameters
    ----------
    windows : array_like or Variable, shape (N, C, OH, OW, KH, KW)
        With KH and KW known.
    shape : (N, C, H, W), or an int vector Variable
    stride, padding : int or (int, int)
        As given to ``im2col``.
    """
    op = Col2Im(arrays.pair(stride, "col2im", "stride", 1),
                arrays.pair(padding, "col2im", "padding", 0))  # fmt: skip
    return apply(op, operand("col2im", windows, "windows"), shape_operand("col2im", shape))


def conv2d(
    x: Operand, w: Operand, b: Operand | None = None, stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> Variable:  # fmt: skip
    """Return the cross-correlation of images with kernels, plus a bias a channel.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C, H, W)
    w : array_like or Variable, shape (F, C, KH, KW)
        With KH and KW known.
    b : array_like or Variable, shape (F,), optional
    stride, padding : int or (int, int)

    Returns
    -------
    Variable, shape (N, F, OH, OW)

    Raises
    ------
    ShapeError
        If they can never fit together.
    """
    x, w = operands("conv2d", x=x, w=w)
    if w.ndim != 4 or None in w.shape[2:]:
        raise ShapeError("conv2d", "w is not a set of kernels of known size", given=sides(w=w),
                         expected="w (F, C, KH, KW)")  # fmt: skip
    windows = im2col(x, w.shape[2:], stride, padding, where="conv2d")  # type: ignore[arg-type]
    if None not in (x.shape[1], w.shape[1]) and x.shape[1] != w.shape[1]:
        raise ShapeError("conv2d", f"x has {x.shape[1]} channels, w takes {w.shape[1]}",
                         given=sides(x=x, w=w), expected="one number of channels")  # fmt: skip
    y = transpose(tensordot(w, windows, ((1, 2, 3), (1, 4, 5))), (1, 0, 2, 3))
    if b is None:
        return y
    b = operand("conv2d", b, "b")
    if b.ndim != 1 or (None not in (b.shape[0], w.shape[0]) and b.shape[0] != w.shape[0]):
        raise ShapeError("conv2d", "b does not hold one number a kernel", given=sides(w=w, b=b),
                         expected="w (F, C, KH, KW), b (F,)")  # fmt: skip
    return y + expand_dims(b, (1, 2))


def max_pool2d(
    x: Operand, size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Variable:  # fmt: skip
    """Return the largest element of each window; ties share the gradient equally.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C, H, W)
    size : int or (int, int)
    stride : int or (int, int), optional
        ``size`` where None.
    padding : int or (int, int)
        Of minus infinity, which never wins; at most half of ``size``.
    """
    return max(_pool_windows("max_pool2d", x, size, stride, padding, -np.inf), (4, 5))


def avg_pool2d(
    x: Operand, size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Variable:  # fmt: skip
    """Return the mean of each window, padding (of zeros) included.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C, H, W)
    size, stride, padding
        As :func:`max_pool2d`.
    """
    return mean(_pool_windows("avg_pool2d", x, size, stride, padding, 0.0), (4, 5))


def _pool_windows(
    where: str, x: Operand, size: Any, stride: Any, padding: Any, fill: float
) -> Variable:
    x = operand(where, x, dtype="f")
    size, padding = arrays.pair(size, where, "size", 1), arrays.pair(padding, where, "padding", 0)
    if any(2 * p > k for p, k in zip(padding, size, strict=True)):
        raise OptionError(where, "some windows would hold nothing but padding",
                          given=f"size={size}, padding={padding}",
                          expected="padding of at most half the size")  # fmt: skip
    return im2col(x, size, size if stride is None else stride, padding, fill=fill, where=where)
