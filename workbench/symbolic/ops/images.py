"""Windows over images, and what is computed with them: convolution and pooling.

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
from workbench.symbolic.ops.creation import zeros
from workbench.symbolic.ops.indexing import set_subtensor
from workbench.symbolic.ops.joining import concatenate, split
from workbench.symbolic.ops.linear import tensordot
from workbench.symbolic.ops.reductions import max, mean
from workbench.symbolic.ops.shaping import expand_dims, squeeze, transpose
from workbench.symbolic.ops.sizes import (
    ShapeOperand,
    known_sizes,
    shape_of,
    shape_operand,
    size_of,
    static_shape,
)
from workbench.symbolic.values import operand, operands


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

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.windows(inputs[0], self.size, self.stride, self.padding, self.fill)


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

    def lower(self, b: Builder, *inputs: Value) -> Value:
        return b.windows_add(inputs[0], known_sizes(b, inputs[1]), self.stride, self.padding)


def col2im(
    windows: Operand, shape: ShapeOperand, stride: int | Sequence[int] = 1,
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
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
) -> Variable:  # fmt: skip
    """Return the cross-correlation of images with kernels, plus a bias a channel.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C, H, W)
    w : array_like or Variable, shape (F, C / groups, KH, KW)
        With KH and KW known.
    b : array_like or Variable, shape (F,), optional
    stride, padding, dilation : int or (int, int)
        A dilation of d takes every d-th pixel of a window.
    groups : int
        Into how many parts the channels, and the kernels, are divided that see only their own.

    Returns
    -------
    Variable, shape (N, F, OH, OW)

    Raises
    ------
    ShapeError
        If they can never fit together.
    """
    return _conv("conv2d", x, w, b, stride, padding, dilation, groups)


def _conv(
    where: str, x: Operand, w: Operand, b: Operand | None, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Variable:  # fmt: skip
    x, w = operands(where, x=x, w=w)
    if w.ndim != 4 or None in w.shape[2:]:
        raise ShapeError(where, "w is not a set of kernels of known size", given=sides(w=w),
                         expected="w (F, C, KH, KW)")  # fmt: skip
    if b is not None:
        b = operand(where, b, "b")
        if b.ndim != 1 or (None not in (b.shape[0], w.shape[0]) and b.shape[0] != w.shape[0]):
            raise ShapeError(where, "b does not hold one number a kernel", given=sides(w=w, b=b),
                             expected="w (F, C, KH, KW), b (F,)")  # fmt: skip
    w = _dilated(where, w, dilation)
    pairs = [(x, w)]
    if groups != 1:
        pairs = list(zip(split(x, groups, 1), split(w, groups, 0), strict=True))
    y = concatenate([_correlate(where, *pair, stride, padding) for pair in pairs], 1)
    return y if b is None else y + expand_dims(b, (1, 2))


def _dilated(where: str, w: Variable, dilation: Any) -> Variable:
    """Return kernels with zeros between their elements, so that they skip pixels."""
    spread = arrays.pair(dilation, where, "dilation", 1)
    if spread == (1, 1):
        return w
    size = [d * (k - 1) + 1 for d, k in zip(spread, w.shape[2:], strict=True) if k is not None]
    wide = zeros((size_of(w, 0), size_of(w, 1), *size), w.dtype)
    return set_subtensor(wide[:, :, :: spread[0], :: spread[1]], w)


def _correlate(where: str, x: Variable, w: Variable, stride: Any, padding: Any) -> Variable:
    windows = im2col(x, w.shape[2:], stride, padding, where=where)  # type: ignore[arg-type]
    if None not in (x.shape[1], w.shape[1]) and x.shape[1] != w.shape[1]:
        raise ShapeError(where, f"x has {x.shape[1]} channels, w takes {w.shape[1]}",
                         given=sides(x=x, w=w), expected="one number of channels")  # fmt: skip
    return transpose(tensordot(w, windows, ((1, 2, 3), (1, 4, 5))), (1, 0, 2, 3))


def conv1d(
    x: Operand, w: Operand, b: Operand | None = None, stride: int = 1, padding: int = 0,
    dilation: int = 1, groups: int = 1,
) -> Variable:  # fmt: skip
    """Return the cross-correlation of sequences (N, C, L) with kernels (F, C / groups, K).

    See :func:`conv2d`.
    """
    x, w = (expand_dims(operand("conv1d", v, ndim=3), 2) for v in (x, w))
    y = _conv("conv1d", x, w, b, (1, stride), (0, padding), (1, dilation), groups)
    return squeeze(y, 2)


def conv_transpose2d(
    x: Operand, w: Operand, b: Operand | None = None, stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
    output_padding: int | Sequence[int] = 0,
) -> Variable:  # fmt: skip
    """Return each pixel's kernel added up, scaled by it: what the gradient of ``conv2d`` does.

    Parameters
    ----------
    x : array_like or Variable, shape (N, C, H, W)
    w : array_like or Variable, shape (C, F / groups, KH, KW)
        With KH and KW known.
    b : array_like or Variable, shape (F,), optional
    stride, padding, dilation, groups
        Of the convolution whose transpose this is.
    output_padding : int or (int, int)
        Below the stride: how many rows and columns longer the images were that the
        convolution would have made x of, since it leaves a rest out.

    Returns
    -------
    Variable, shape (N, F, OH, OW)
        OH is (H - 1) * stride - 2 * padding + dilation * (KH - 1) + 1 + output_padding.
    """
    where = "conv_transpose2d"
    return _transposed(where, x, w, b, stride, padding, dilation, groups, output_padding)


def _transposed(
    where: str, x: Operand, w: Operand, b: Operand | None, stride: Any, padding: Any,
    dilation: Any, groups: int, output_padding: Any,
) -> Variable:  # fmt: skip
    x, w = operands(where, x=x, w=w)
    if x.ndim != 4 or w.ndim != 4 or None in w.shape[2:]:
        raise ShapeError(where, "x and w are not images and kernels", given=sides(x=x, w=w),
                         expected="x (N, C, H, W) and w (C, F, KH, KW), KH and KW known")  # fmt: skip
    w = _dilated(where, w, dilation)
    steps = arrays.pair(stride, where, "stride", 1)
    pads = arrays.pair(padding, where, "padding", 0)
    more = arrays.pair(output_padding, where, "output_padding", 0)
    sizes: list[Any] = [
        (size_of(x, a) - 1) * s - 2 * p + k + e  # type: ignore[operator]
        for a, s, p, k, e in zip((2, 3), steps, pads, w.shape[2:], more, strict=True)
    ]
    pairs = [(x, w)]
    if groups != 1:
        pairs = list(zip(split(x, groups, 1), split(w, groups, 0), strict=True))
    parts = []
    for image, kernels in pairs:
        windows = transpose(tensordot(image, kernels, ((1,), (0,))), (0, 3, 1, 2, 4, 5))
        shape = (size_of(image, 0), size_of(kernels, 1), *sizes)
        parts.append(col2im(windows, shape, steps, pads))
    y = concatenate(parts, 1)
    return y if b is None else y + expand_dims(operand(where, b, "b"), (1, 2))


def conv_transpose1d(
    x: Operand, w: Operand, b: Operand | None = None, stride: int = 1, padding: int = 0,
    dilation: int = 1, groups: int = 1, output_padding: int = 0,
) -> Variable:  # fmt: skip
    """Return the transpose of ``conv1d``, x (N, C, L) and w (C, F / groups, K).

    See :func:`conv_transpose2d`.
    """
    x, w = (expand_dims(operand("conv_transpose1d", v, ndim=3), 2) for v in (x, w))
    y = _transposed("conv_transpose1d", x, w, b, (1, stride), (0, padding), (1, dilation), groups,
                    (0, output_padding))  # fmt: skip
    return squeeze(y, 2)


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


def max_pool1d(x: Operand, size: int, stride: int | None = None, padding: int = 0) -> Variable:
    """Return the largest element of each window of sequences (N, C, L): see :func:`max_pool2d`."""
    x = expand_dims(operand("max_pool1d", x, ndim=3), 2)
    return squeeze(max_pool2d(x, (1, size), (1, stride or size), (0, padding)), 2)


def avg_pool1d(x: Operand, size: int, stride: int | None = None, padding: int = 0) -> Variable:
    """Return the mean of each window of sequences (N, C, L): see :func:`avg_pool2d`."""
    x = expand_dims(operand("avg_pool1d", x, ndim=3), 2)
    return squeeze(avg_pool2d(x, (1, size), (1, stride or size), (0, padding)), 2)


def global_avg_pool(x: Operand) -> Variable:
    """Return the mean of each channel of x (N, C, ...) over all positions: shape (N, C)."""
    x = operand("global_avg_pool", x, ndim=3)
    return mean(x, tuple(range(2, x.ndim)))
