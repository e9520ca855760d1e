"""What networks are made of.  Images are (N, C, H, W), kernels (F, C, KH, KW)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench import arrays
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.core import Value, get_aval
from workbench.functional.numpy.creation import arange
from workbench.functional.numpy.elementwise import exp, log, square
from workbench.functional.numpy.indexing import getitem
from workbench.functional.numpy.promotion import (
    as_array,
    check_axis,
    check_shape,
    inexact,
    promote,
)
from workbench.functional.numpy.reductions import max, mean, sum
from workbench.functional.numpy.shaping import matmul, pad, reshape, transpose
from workbench.functional.primitives import windows as ops
from workbench.functional.primitives.elementwise import stop_gradient

__all__ = [
    "avg_pool2d", "col2im", "conv2d", "im2col", "log_softmax", "max_pool2d",
    "mean_squared_error", "softmax", "softmax_cross_entropy",
]  # fmt: skip

Size = int | Sequence[int]


def softmax(x: Value, axis: int = -1) -> Value:
    """Return exp(x) divided by its sum along an axis, without overflow."""
    e = exp(_below_zero("softmax", x, axis))
    return e / sum(e, axis, keepdims=True)


def log_softmax(x: Value, axis: int = -1) -> Value:
    """Return the logarithm of :func:`softmax`, with all digits for small probabilities."""
    shifted = _below_zero("log_softmax", x, axis)
    return shifted - log(sum(exp(shifted), axis, keepdims=True))


def _below_zero(where: str, x: Value, axis: int) -> Value:
    x = inexact(where, as_array(where, x))
    check_axis(where, axis, len(x.shape))
    # The shift cancels, so its gradient is zero and need not be computed.
    return x - max(stop_gradient(x), axis, keepdims=True)


def softmax_cross_entropy(logits: Value, labels: Value) -> Value:
    """Return the mean over the batch of -log softmax(logits)[label].

    Parameters
    ----------
    logits : array, shape (N, K)
    labels : array of int, shape (N,)
        From 0 to K - 1.

    Returns
    -------
    array, shape ()
        Of the dtype of the logits.

    Raises
    ------
    ShapeError, DtypeError
        If the shapes do not fit or the labels are not integers.
    OptionError
        If a label is out of range (labels that are traced or on a device are not looked at).
    """
    where = "softmax_cross_entropy"
    logits, labels = inexact(where, as_array(where, logits)), as_array(where, labels)
    if len(logits.shape) != 2 or labels.shape != logits.shape[:1]:
        raise ShapeError(where, "logits and labels do not fit together",
                         given=f"logits {get_aval(logits)}, labels {get_aval(labels)}",
                         expected="logits (N, K) and labels (N,)")  # fmt: skip
    if labels.dtype.kind not in "iu":
        raise DtypeError(where, "labels are integers", given=f"labels {get_aval(labels)}",
                         expected="one class number from 0 to K - 1 for each row")  # fmt: skip
    n, k = logits.shape
    if isinstance(labels, np.ndarray) and n and not 0 <= labels.min() <= labels.max() < k:
        raise OptionError(where, "a label is out of range",
                          given=f"labels from {labels.min()} to {labels.max()}",
                          expected=f"0 to {k - 1}, for {k} columns of logits")  # fmt: skip
    shifted = _below_zero(where, logits, 1)
    return mean(log(sum(exp(shifted), 1)) - getitem(shifted, (arange(n), labels)))


def mean_squared_error(prediction: Value, target: Value) -> Value:
    """Return the mean over all elements of the squared difference; shape ().

    Raises
    ------
    ShapeError
        If the shapes differ: broadcasting here is nearly always a mistake.
    """
    prediction, target = promote("mean_squared_error", prediction, target)
    shapes = get_aval(prediction).shape, get_aval(target).shape
    if shapes[0] != shapes[1]:
        raise ShapeError("mean_squared_error", "prediction and target differ in shape",
                         given=f"prediction {shapes[0]}, target {shapes[1]}",
                         expected="one shape")  # fmt: skip
    return mean(square(prediction - target))


def im2col(x: Value, size: Size, stride: Size = 1, padding: Size = 0) -> Value:
    """Return every window of a batch of images; its gradient is :func:`col2im`.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    size, stride, padding : int or (int, int)
        As :func:`workbench.arrays.im2col`.

    Returns
    -------
    array, shape (N, C, OH, OW, KH, KW)

    Raises
    ------
    ShapeError, OptionError
        If there are not four axes, a window is larger than the padded image, or an option
        is not usable.
    """
    return _windows("im2col", x, size, stride, padding)


def _windows(where: str, x: Value, size: Size, stride: Size, padding: Size) -> Value:
    x = as_array(where, x)
    k, p = arrays.pair(size, where, "size", 1), arrays.pair(padding, where, "padding", 0)
    if len(x.shape) != 4:
        raise ShapeError(where, "images come as a batch", given=f"x {get_aval(x)}",
                         expected="x (N, C, H, W)")  # fmt: skip
    padded = (x.shape[2] + 2 * p[0], x.shape[3] + 2 * p[1])
    if k[0] > padded[0] or k[1] > padded[1]:
        raise ShapeError(where, "the window is larger than the padded image",
                         given=f"window {k}, padded image {padded}",
                         fix="use a smaller window or more padding")  # fmt: skip
    return ops.im2col(x, size=k, stride=arrays.pair(stride, where, "stride", 1), padding=p)


def col2im(windows: Value, shape: Sequence[int], stride: Size = 1, padding: Size = 0) -> Value:
    """Add every window back to where :func:`im2col` took it from; its gradient is im2col.

    Parameters
    ----------
    windows : array, shape (N, C, OH, OW, KH, KW)
    shape : (N, C, H, W)
        Shape of the images, without padding.
    stride, padding : int or (int, int)

    Raises
    ------
    ShapeError, OptionError
        If the windows are not those of such images.
    """
    windows, images = as_array("col2im", windows), check_shape("col2im", shape)
    s, p = arrays.pair(stride, "col2im", "stride", 1), arrays.pair(padding, "col2im", "padding", 0)
    size = windows.shape[4:]
    wanted = len(images) == 4 and len(size) == 2 and (
        *images[:2],
        *((images[i + 2] + 2 * p[i] - size[i]) // s[i] + 1 for i in range(2)),
        *size,
    )  # fmt: skip
    if windows.shape != wanted:
        raise ShapeError("col2im", "the windows are not those of such images",
                         given=f"windows {get_aval(windows)} for images {images}",
                         expected=f"windows {wanted}" if wanted else
                         "windows (N, C, OH, OW, KH, KW) and shape (N, C, H, W)")  # fmt: skip
    return ops.col2im(windows, shape=images, stride=s, padding=p)


def conv2d(
    x: Value, w: Value, b: Value | None = None, stride: Size = 1, padding: Size = 0
) -> Value:
    """Return the cross-correlation of images and kernels, as all frameworks mean by convolution.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    w : array, shape (F, C, KH, KW)
    b : array, shape (F,), optional
    stride, padding : int or (int, int)

    Returns
    -------
    array, shape (N, F, OH, OW)

    Raises
    ------
    ShapeError, OptionError
        If shapes do not fit, as :func:`im2col`.
    """
    x, w = promote("conv2d", x, w)
    if len(w.shape) != 4 or len(x.shape) != 4 or x.shape[1] != w.shape[1]:
        raise ShapeError("conv2d", "x and w do not fit together",
                         given=f"x {get_aval(x)}, w {get_aval(w)}",
                         expected="x (N, C, H, W) and w (F, C, KH, KW) with one C")  # fmt: skip
    f, *kernel = w.shape
    if b is not None and get_aval(b, "conv2d").shape != (f,):
        raise ShapeError("conv2d", "b does not fit w", given=f"b {get_aval(b)}, w {get_aval(w)}",
                         expected=f"b ({f},)")  # fmt: skip
    columns = transpose(_windows("conv2d", x, kernel[1:], stride, padding), (0, 2, 3, 1, 4, 5))
    n, oh, ow = columns.shape[:3]
    volume = kernel[0] * kernel[1] * kernel[2]
    y = matmul(reshape(columns, (n * oh * ow, volume)), reshape(w, (f, volume)).T)
    y = y if b is None else y + b
    return transpose(reshape(y, (n, oh, ow, f)), (0, 3, 1, 2))


def max_pool2d(x: Value, size: Size, stride: Size | None = None, padding: Size = 0) -> Value:
    """Return the maximum of every window, shape (N, C, OH, OW); ties share the gradient.

    ``stride`` is ``size`` unless given; the padding never wins.  Raises as :func:`im2col`.
    """
    x = inexact("max_pool2d", as_array("max_pool2d", x))
    ph, pw = arrays.pair(padding, "max_pool2d", "padding", 0)
    if len(x.shape) == 4:
        x = pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    return max(_windows("max_pool2d", x, size, size if stride is None else stride, 0), (4, 5))


def avg_pool2d(x: Value, size: Size, stride: Size | None = None, padding: Size = 0) -> Value:
    """Return the mean of every window, shape (N, C, OH, OW), padding counted as zeros.

    ``stride`` is ``size`` unless given.  Raises as :func:`im2col`.
    """
    return mean(
        _windows("avg_pool2d", x, size, size if stride is None else stride, padding), (4, 5)
    )
