"""Products: matmul and affine, and convolution and pooling on top of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import keep_crosswise
from workbench.dynamic.ops.reductions import max, mean
from workbench.dynamic.ops.shapes import reshape, transpose
from workbench.errors import OptionError, ShapeError

__all__ = [
    "affine", "avg_pool2d", "col2im", "conv2d", "im2col", "matmul", "max_pool2d",
]  # fmt: skip

Pair: TypeAlias = int | Sequence[int]


def swapped(x: Any) -> Any:
    """Return x with its last two axes exchanged."""
    return x.T if x.ndim == 2 else x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class Matmul(Function):
    """Return x @ y, with NumPy's rules for batches of matrices and for vectors."""

    broadcasts = True
    fresh = True
    expects = (
        "x (..., N, D) and y (..., D, K) with one D; a vector stands for its one row or column"
    )

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        keep_crosswise(ctx, x, y)
        ctx.row, ctx.column = x.ndim == 1, y.ndim == 1
        return np.matmul(x, y)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.args
        # A vector took part as a matrix of one row or one column; so does its gradient.
        g = g[..., None] if ctx.column else g
        g = g[..., None, :] if ctx.row and not ctx.column else g[None] if ctx.row else g
        dx = dy = None
        if y is not None:
            dx = g @ swapped(y[:, None] if ctx.column else y)
            dx = dx[..., 0, :] if ctx.row else dx
        if x is not None:
            dy = swapped(x[None] if ctx.row else x) @ g
            dy = dy[..., 0] if ctx.column else dy
        return dx, dy


matmul = Matmul.apply


class Affine(Function):
    """x @ w + b."""

    fresh = True
    expects = "x (N, D), w (D, K) and b (K,) with one D and one K"

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any) -> Any:
        if not x.ndim == w.ndim == 2:
            raise ShapeError("affine", "x and w are matrices", given=f"x {x.shape}, w {w.shape}",
                             expected=Affine.expects,
                             fix="flatten each example first: x.reshape((len(x), -1))")  # fmt: skip
        for_x, for_w, _ = ctx.inputs
        ctx.args = (None if for_w is None else x, None if for_x is None else w, None)
        y = x @ w
        if b is not None:
            if b.shape != w.shape[1:]:
                raise ShapeError("affine", "b does not fit w", given=f"w {w.shape}, b {b.shape}",
                                 expected=Affine.expects, fix=f"b needs shape {w.shape[1:]}")  # fmt: skip
            y += b
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w, _ = ctx.args
        return (
            None if w is None else g @ w.T,
            None if x is None else x.T @ g,
            None if ctx.inputs[2] is None else g.sum(axis=0),
        )


def affine(x: Any, w: Any, b: Any = None) -> Any:
    """Return x @ w + b.

    Parameters
    ----------
    x : (N, D)
    w : (D, K)
    b : (K,), optional

    Returns
    -------
    Tensor, shape (N, K)

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    """
    return Affine.apply(x, w, b)


class Im2col(Function):
    """Every window of a batch of images."""

    @staticmethod
    def forward(ctx: Any, x: Any, size: Pair, stride: Pair, padding: Pair, fill: float) -> Any:
        ctx.stride, ctx.padding = stride, padding
        return arrays.im2col(x, size, stride, padding, fill=fill)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return col2im(g, ctx.inputs[0].shape, ctx.stride, ctx.padding)


def im2col(x: Any, size: Pair, stride: Pair = 1, padding: Pair = 0) -> Any:
    """Return every window of images (N, C, H, W), as (N, C, OH, OW, KH, KW)."""
    return Im2col.apply(x, size, stride, padding, 0.0)


class Col2im(Function):
    """Windows added back to where they came from."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, windows: Any, shape: Any, stride: Pair, padding: Pair) -> Any:
        ctx.size, ctx.stride, ctx.padding = windows.shape[4:], stride, padding
        return arrays.col2im(windows, shape, stride, padding)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return im2col(g, ctx.size, ctx.stride, ctx.padding)


def col2im(windows: Any, shape: Sequence[int], stride: Pair = 1, padding: Pair = 0) -> Any:
    """Return images of ``shape`` (N, C, H, W) in which overlapping windows are summed."""
    return Col2im.apply(windows, shape, stride, padding)


def conv2d(x: Any, w: Any, b: Any = None, stride: Pair = 1, padding: Pair = 0) -> Any:
    """Return the cross-correlation of images with kernels, as one matrix product.

    Parameters
    ----------
    x : (N, C, H, W)
    w : (F, C, KH, KW)
    b : (F,), optional
    stride, padding : int or (int, int)
        In pixels; the padding is zeros.

    Returns
    -------
    Tensor, shape (N, F, OH, OW)
        ``OH = (H + 2 * padding - KH) // stride + 1``, and OW likewise.

    Raises
    ------
    ShapeError, OptionError
        If the arguments do not fit each other.

    Notes
    -----
    Chellapilla, Puri and Simard (2006); the name im2col is Caffe's.
    """
    fits = x.ndim == w.ndim == 4 and x.shape[1] == w.shape[1]
    if not fits or (b is not None and b.shape != w.shape[:1]):
        given = f"x {x.shape}, w {w.shape}" + ("" if b is None else f", b {b.shape}")
        raise ShapeError("conv2d", "the shapes do not fit", given=given,
                         expected="x (N, C, H, W), w (F, C, KH, KW) and b (F,) with one C "
                         "and one F")  # fmt: skip
    windows = im2col(x, w.shape[2:], stride, padding)
    n, c, oh, ow, kh, kw = windows.shape
    # Kernel first, so that copying windows, and adding them back, runs along image rows.
    columns = reshape(transpose(windows, (1, 4, 5, 0, 2, 3)), (c * kh * kw, n * oh * ow))
    y = reshape(w, (len(w), c * kh * kw)) @ columns
    if b is not None:
        y = y + reshape(b, (len(b), 1))
    return transpose(reshape(y, (len(w), n, oh, ow)), (1, 0, 2, 3))


def max_pool2d(x: Any, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Any:
    """Return the maximum of each window; elements that tie share the gradient equally.

    Parameters
    ----------
    x : (N, C, H, W)
    size, stride, padding : int or (int, int)
        In pixels.  The stride is the size by default; padding never wins.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)

    Raises
    ------
    ShapeError, OptionError
        If a window does not fit, or could lie in the padding alone.
    """
    sizes = arrays.pair(size, "max_pool2d", "size", 1)
    if any(
        p >= k for p, k in zip(arrays.pair(padding, "max_pool2d", "padding", 0), sizes, strict=True)
    ):
        raise OptionError("max_pool2d", "a window could lie in the padding alone",
                          given=f"size={size}, padding={padding}",
                          expected="padding smaller than the window")  # fmt: skip
    windows = Im2col.apply(x, size, size if stride is None else stride, padding, -np.inf)
    return max(transpose(windows, (4, 5, 0, 1, 2, 3)), axis=(0, 1))


def avg_pool2d(x: Any, size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Any:
    """Return the mean of each window, zeros of the padding included.

    Parameters
    ----------
    x : (N, C, H, W)
    size, stride, padding : int or (int, int)
        In pixels.  The stride is the size by default.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)

    Raises
    ------
    ShapeError, OptionError
        If a window does not fit.
    """
    windows = im2col(x, size, size if stride is None else stride, padding)
    return mean(transpose(windows, (4, 5, 0, 1, 2, 3)), axis=(0, 1))
