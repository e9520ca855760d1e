"""Windows over images and sequences: convolution, its transpose, and pooling.

Results lie in memory with the batch last, (C, H, W, N), under a view (N, C, H, W) that is
what callers see: windows, cut out or added back, are then long runs of memory however
small the images.  Elementwise operations keep the layout.  Krizhevsky's cuda-convnet (2012)
chose the same for GPUs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.ops.indexing import Scatter
from workbench.dynamic.ops.reductions import mean
from workbench.dynamic.ops.shapes import reshape
from workbench.errors import OptionError, ShapeError

__all__ = [
    "avg_pool1d", "avg_pool2d", "col2im", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "global_avg_pool", "im2col", "max_pool1d",
    "max_pool2d",
]  # fmt: skip

Lengths: TypeAlias = int | Sequence[int]

AXES, KERNEL_AXES = {1: "L", 2: "H, W"}, {1: "K", 2: "KH, KW"}


class Windows(NamedTuple):
    """How windows lie on images: one length a spatial axis, in pixels, and the groups."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def counts(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return the number of windows along each axis of images of these lengths."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(lengths, *self[:4], strict=True)
        )

    def positions(self, counts: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Yield, for each place in a window, where all windows have it in the padded image."""
        _, stride, _, dilation, _ = self
        for place in itertools.product(*map(range, self.size)):
            yield tuple(
                slice(k * d, k * d + s * (n - 1) + 1, s)
                for k, d, s, n in zip(place, dilation, stride, counts, strict=True)
            )


def _each(where: str, name: str, value: Lengths, least: int, n: int) -> tuple[int, ...]:
    """Return an option as one int for each of n axes."""
    each = (value,) * n if isinstance(value, int | np.integer) else tuple(value)
    if len(each) != n or not all(isinstance(k, int | np.integer) and k >= least for k in each):
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected=f"an int of at least {least}, or {n} of them")  # fmt: skip
    return each


def _windows(where: str, size: Lengths, stride: Lengths, padding: Lengths,
             dilation: Lengths = 1, groups: int = 1) -> Windows:  # fmt: skip
    n = int(where[-2])  # conv1d, max_pool2d, ...
    return Windows(
        _each(where, "size", size, 1, n),
        _each(where, "stride", stride, 1, n),
        _each(where, "padding", padding, 0, n),
        _each(where, "dilation", dilation, 1, n),
        groups,
    )


def _check_reach(where: str, x: Any, layout: Windows) -> None:
    """Refuse images that are no batch, or smaller than a window."""
    size, _, padding, dilation, _ = layout
    if x.ndim != len(size) + 2:
        raise ShapeError(where, "images come as a batch", given=f"x {x.shape}",
                         expected=f"x (N, C, {AXES[len(size)]})")  # fmt: skip
    if min(layout.counts(x.shape[2:])) < 1:
        window = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
        padded = tuple(m + 2 * p for m, p in zip(x.shape[2:], padding, strict=True))
        raise ShapeError(where, "the window is larger than the padded image",
                         given=f"window {window}, padded image {padded}",
                         fix="use a smaller window or more padding")  # fmt: skip


# --- arrays with the batch last ---------------------------------------------------


def batch_last(x: Any) -> Any:
    """Return (N, C, ...) as (C, ..., N) in one block of memory, copied if it is not that yet."""
    x = x.transpose((*range(1, x.ndim), 0))
    return x if x.flags.c_contiguous else x.copy()


def batch_first(x: Any) -> Any:
    """Return the view (N, C, ...) of an array (C, ..., N)."""
    return x.transpose((x.ndim - 1, *range(x.ndim - 1)))


def framed(x: Any, padding: Sequence[int], fill: float) -> Any:
    """Return (N, C, ...) as (C, ..., N) within a border of ``fill``."""
    if not any(padding):
        return batch_last(x)
    lengths = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    y = np.full_like(x, fill, shape=(x.shape[1], *lengths, x.shape[0]), order="C")
    batch_first(_inner(y, padding))[...] = x
    return y


def _inner(x: Any, padding: Sequence[int]) -> Any:
    """Return what lies within the border of an array (C, ..., N)."""
    return x[:, *(slice(p, n - p) for n, p in zip(x.shape[1:], padding, strict=False))]


def columns(x: Any, layout: Windows) -> Any:
    """Copy every window of (N, C, ...) into a column: (groups, C / groups * size, windows).

    Chellapilla, Puri and Simard (2006) first made convolution one matrix product this way.
    """
    size, stride, padding, dilation, groups = layout
    counts = layout.counts(x.shape[2:])
    x = framed(x, padding, 0)
    first, *steps, last = x.strides
    windows = arrays.namespace(x).lib.stride_tricks.as_strided(
        x,
        (len(x), *size, *counts, x.shape[-1]),
        (first, *(s * d for s, d in zip(steps, dilation, strict=True)),
         *(s * t for s, t in zip(steps, stride, strict=True)), last),
    )  # fmt: skip
    rows = len(x) // groups * math.prod(size)
    return windows.reshape(groups, rows, math.prod(counts) * x.shape[-1])


# --- convolution ------------------------------------------------------------------


class Convolution(Function):
    """Cross-correlation of images with kernels.

    It is linear in the images and in the kernels, so the gradients of it and of the two
    functions below are each other, and derivatives of every order are right.
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any, layout: Windows) -> Any:
        for_x, for_w, *_ = ctx.inputs
        ctx.args = (None if for_w is None else x, None if for_x is None else w, None, None)
        ctx.layout = layout
        counts = layout.counts(x.shape[2:])
        y = arrays.namespace(x).empty((len(w), *counts, len(x)), np.result_type(x, w))
        y = np.empty_like(batch_first(y))  # No view, so that it can be edited in place.
        rows = batch_last(y).reshape(len(w), -1)
        kernels = w.reshape(layout.groups, len(w) // layout.groups, -1)
        np.matmul(kernels, columns(x, layout), out=rows.reshape(*kernels.shape[:2], -1))
        if b is not None:
            rows += b[:, None]
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w, *_ = ctx.args
        a, k, b, _ = ctx.inputs
        return (
            None if a is None else ConvolutionInput.apply(g, w, a.shape, ctx.layout),
            None if k is None else ConvolutionWeight.apply(x, g, k.shape, ctx.layout),
            None if b is None else g.sum(axis=(0, *range(2, g.ndim))),
        )


class ConvolutionInput(Function):
    """The gradient of a convolution with respect to images of ``shape``: its transpose."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, g: Any, w: Any, shape: Sequence[int], layout: Windows) -> Any:
        for_g, for_w, *_ = ctx.inputs
        ctx.args = (None if for_w is None else g, None if for_g is None else w, None, None)
        ctx.layout = layout
        size, _, padding, _, groups = layout
        n, c, *lengths = shape
        rows = batch_last(g).reshape(groups, len(w) // groups, -1)
        kernels = w.reshape(groups, len(w) // groups, -1)
        windows = (kernels.swapaxes(1, 2) @ rows).reshape(c, math.prod(size), *g.shape[2:], n)
        outer = (m + 2 * p for m, p in zip(lengths, padding, strict=True))
        y = arrays.namespace(g).zeros((c, *outer, n), windows.dtype)
        for k, where in enumerate(layout.positions(g.shape[2:])):  # Windows overlap, these do not.
            y[:, *where] += windows[:, k]
        return batch_first(_inner(y, padding))

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        g, w, *_ = ctx.args
        return (
            None if w is None else Convolution.apply(d, w, None, ctx.layout),
            None if g is None else ConvolutionWeight.apply(d, g, ctx.inputs[1].shape, ctx.layout),
            None,
            None,
        )


class ConvolutionWeight(Function):
    """The gradient of a convolution with respect to kernels of ``shape``."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, g: Any, shape: Sequence[int], layout: Windows) -> Any:
        for_x, for_g, *_ = ctx.inputs
        ctx.args = (None if for_g is None else x, None if for_x is None else g, None, None)
        ctx.layout = layout
        rows = batch_last(g).reshape(layout.groups, shape[0] // layout.groups, -1)
        # Cutting the windows out again costs a few hundredths of the product below; keeping
        # them since the forward pass would cost KH * KW times the memory of the images.
        return (rows @ columns(x, layout).swapaxes(1, 2)).reshape(shape)

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        x, g, *_ = ctx.args
        return (
            None if g is None else ConvolutionInput.apply(g, d, ctx.inputs[0].shape, ctx.layout),
            None if x is None else Convolution.apply(x, d, None, ctx.layout),
            None,
            None,
        )


def _check(where: str, x: Any, w: Any, b: Any, groups: int, into: str, out: str) -> None:
    """Refuse images, kernels and a bias that do not fit; w is (F, C / groups, ...)."""
    n = int(where[-2])
    if x.ndim == w.ndim == n + 2:
        channels = {"F": w.shape[0], "C": w.shape[1] * groups}
        fits = x.shape[1] == channels[into] and groups >= 1 and not len(w) % groups
        if fits and (b is None or b.shape == (channels[out],)):
            return
    given = f"x {x.shape}, w {w.shape}" + ("" if b is None else f", b {b.shape}")
    raise ShapeError(where, "the shapes do not fit",
                     given=given + ("" if groups == 1 else f", groups={groups}"),
                     expected=f"x (N, {into}, {AXES[n]}), w (F, C, {KERNEL_AXES[n]}) and "
                     f"b ({out},) with one C and one F" + ("" if groups == 1 else
                     "; of the C channels, w has C / groups, and groups divides F"))  # fmt: skip


def _convolve(where: str, x: Any, w: Any, b: Any, stride: Lengths, padding: Lengths,
              dilation: Lengths, groups: int) -> Any:  # fmt: skip
    _check(where, x, w, b, groups, "C", "F")
    layout = _windows(where, w.shape[2:], stride, padding, dilation, groups)
    _check_reach(where, x, layout)
    return Convolution.apply(x, w, b, layout)


def conv2d(x: Any, w: Any, b: Any = None, stride: Lengths = 1, padding: Lengths = 0,
           dilation: Lengths = 1, groups: int = 1) -> Any:  # fmt: skip
    """Return the cross-correlation of images with kernels.

    Parameters
    ----------
    x : (N, C, H, W)
    w : (F, C / groups, KH, KW)
    b : (F,), optional
    stride, padding, dilation : int or (int, int)
        In pixels: between windows, of zeros on each border, and between the pixels that
        one kernel sees.
    groups : int
        The channels are split into so many parts that do not see each other.

    Returns
    -------
    Tensor, shape (N, F, OH, OW)
        ``OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1``, and OW likewise.

    Raises
    ------
    ShapeError, OptionError
        If the arguments do not fit each other.
    """
    return _convolve("conv2d", x, w, b, stride, padding, dilation, groups)


def conv1d(x: Any, w: Any, b: Any = None, stride: Lengths = 1, padding: Lengths = 0,
           dilation: Lengths = 1, groups: int = 1) -> Any:  # fmt: skip
    """Return :func:`conv2d` along one axis: x (N, C, L), w (F, C / groups, K), b (F,)."""
    return _convolve("conv1d", x, w, b, stride, padding, dilation, groups)


def _transposed(where: str, x: Any, w: Any, b: Any, stride: Lengths, padding: Lengths,
                dilation: Lengths, groups: int, output_padding: Lengths) -> Any:  # fmt: skip
    _check(where, x, w, b, groups, "F", "C")
    layout = _windows(where, w.shape[2:], stride, padding, dilation, groups)
    more = _each(where, "output_padding", output_padding, 0, w.ndim - 2)
    if any(m >= s for m, s in zip(more, layout.stride, strict=True)):
        raise OptionError(where, "output_padding chooses among the images of one convolution",
                          given=f"output_padding={output_padding}, stride={stride}",
                          expected="output_padding smaller than the stride")  # fmt: skip
    lengths = tuple(
        (n - 1) * s + d * (k - 1) + 1 - 2 * p + m
        for n, k, s, p, d, m in zip(x.shape[2:], *layout[:4], more, strict=True)
    )
    if min(lengths) < 1:
        raise ShapeError(where, "the padding leaves nothing of the image",
                         given=f"x {x.shape}, w {w.shape}, padding={padding}",
                         fix="use less padding")  # fmt: skip
    y = ConvolutionInput.apply(x, w, (len(x), w.shape[1] * groups, *lengths), layout)
    return y if b is None else y + reshape(b, (-1, *(1,) * len(lengths)))


def conv_transpose2d(x: Any, w: Any, b: Any = None, stride: Lengths = 1, padding: Lengths = 0,
                     dilation: Lengths = 1, groups: int = 1,
                     output_padding: Lengths = 0) -> Any:  # fmt: skip
    """Return the transpose of :func:`conv2d`: each pixel of x adds a kernel to the result.

    Parameters
    ----------
    x : (N, F, H, W)
    w : (F, C / groups, KH, KW)
        As of the convolution that makes x out of the result.
    b : (C,), optional
    stride, padding, dilation, groups
        Of that convolution.
    output_padding : int or (int, int)
        With a stride, images of several lengths lead to one x: how many pixels longer than
        the shortest the result is, on the far borders.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)
        ``OH = (H - 1) * stride + dilation * (KH - 1) + 1 - 2 * padding + output_padding``,
        and OW likewise.

    Raises
    ------
    ShapeError, OptionError
        If the arguments do not fit each other.

    Notes
    -----
    Zeiler, Krishnan, Taylor and Fergus (2010) called it deconvolution; it inverts nothing.
    """
    return _transposed("conv_transpose2d", x, w, b, stride, padding, dilation, groups,
                       output_padding)  # fmt: skip


def conv_transpose1d(x: Any, w: Any, b: Any = None, stride: Lengths = 1, padding: Lengths = 0,
                     dilation: Lengths = 1, groups: int = 1,
                     output_padding: Lengths = 0) -> Any:  # fmt: skip
    """Return :func:`conv_transpose2d` along one axis: x (N, F, L), w (F, C / groups, K), b (C,)."""
    return _transposed("conv_transpose1d", x, w, b, stride, padding, dilation, groups,
                       output_padding)  # fmt: skip


# --- pooling ----------------------------------------------------------------------


class MaxPool(Function):
    """Maximum of each window; elements that tie share the gradient equally."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, layout: Windows) -> Any:
        ctx.args, ctx.layout = (x, None), layout
        _, views = _views(x, layout)
        ctx.output = y = np.maximum(views[0], views[-1])
        for view in views[1:-1]:
            np.maximum(y, view, out=y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y, layout = values(ctx.args[0]), values(ctx.output), ctx.layout
        inner = (..., *(slice(p, p + n) for n, p in zip(x.shape[2:], layout.padding, strict=True)))
        x, views = _views(x, layout)
        wins = [view == y for view in views]
        count = np.zeros_like(y)
        for won in wins:
            count += won
        np.maximum(count, 1, out=count)  # NaN equals nothing.
        positions = [(..., *where) for where in layout.positions(y.shape[2:])]
        if values(g) is not g:
            g = g / count
            parts = (Scatter.apply(g * w, k, x.shape) for k, w in zip(positions, wins, strict=True))
            return sum(parts)[inner]
        g = np.divide(g, count, out=count)  # Laid out as y is.
        dx = np.zeros_like(x)
        for where, won in zip(positions, wins, strict=True):
            if layout.stride == layout.size:  # Tiles: each pixel is in one window at most.
                np.multiply(g, won, out=dx[where])
            else:
                dx[where] += g * won
        return dx[inner]


def _views(x: Any, layout: Windows) -> tuple[Any, list[Any]]:
    """Return the padded image, and for each place in a window its pixels in all windows."""
    counts = layout.counts(x.shape[2:])
    if any(layout.padding):
        x = batch_first(framed(x, layout.padding, -np.inf))
    return x, [x[..., *where] for where in layout.positions(counts)]


def _pool(where: str, x: Any, size: Lengths, stride: Lengths | None, padding: Lengths) -> Windows:
    layout = _windows(where, size, size if stride is None else stride, padding)
    _check_reach(where, x, layout)
    if any(p >= k for p, k in zip(layout.padding, layout.size, strict=True)):
        raise OptionError(where, "a window could lie in the padding alone",
                          given=f"size={size}, padding={padding}",
                          expected="padding smaller than the window")  # fmt: skip
    return layout


def max_pool2d(x: Any, size: Lengths, stride: Lengths | None = None, padding: Lengths = 0) -> Any:
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
    return MaxPool.apply(x, _pool("max_pool2d", x, size, stride, padding))


def max_pool1d(x: Any, size: Lengths, stride: Lengths | None = None, padding: Lengths = 0) -> Any:
    """Return :func:`max_pool2d` along one axis: x (N, C, L)."""
    return MaxPool.apply(x, _pool("max_pool1d", x, size, stride, padding))


def _average(x: Any, layout: Windows) -> Any:
    """Convolve each channel with one constant kernel."""
    shape = (x.shape[1], 1, *layout.size)
    w = np.full_like(values(x), 1 / math.prod(layout.size), shape=shape, order="C")
    return Convolution.apply(x, w, None, layout._replace(groups=x.shape[1]))


def avg_pool2d(x: Any, size: Lengths, stride: Lengths | None = None, padding: Lengths = 0) -> Any:
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
        If a window does not fit, or could lie in the padding alone.
    """
    return _average(x, _pool("avg_pool2d", x, size, stride, padding))


def avg_pool1d(x: Any, size: Lengths, stride: Lengths | None = None, padding: Lengths = 0) -> Any:
    """Return :func:`avg_pool2d` along one axis: x (N, C, L)."""
    return _average(x, _pool("avg_pool1d", x, size, stride, padding))


def global_avg_pool(x: Any) -> Any:
    """Return the mean of each channel, (N, C) for (N, C, ...) (Lin, Chen and Yan, 2013)."""
    return mean(x, axis=tuple(range(2, x.ndim)))


# --- windows as an array ----------------------------------------------------------


class Im2col(Function):
    """Every window of a batch of images."""

    @staticmethod
    def forward(ctx: Any, x: Any, size: Lengths, stride: Lengths, padding: Lengths) -> Any:
        ctx.stride, ctx.padding = stride, padding
        return arrays.im2col(x, size, stride, padding)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return col2im(g, ctx.inputs[0].shape, ctx.stride, ctx.padding)


def im2col(x: Any, size: Lengths, stride: Lengths = 1, padding: Lengths = 0) -> Any:
    """Return every window of images (N, C, H, W), as (N, C, OH, OW, KH, KW)."""
    return Im2col.apply(x, size, stride, padding)


class Col2im(Function):
    """Windows added back to where they came from."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, windows: Any, shape: Any, stride: Lengths, padding: Lengths) -> Any:
        ctx.size, ctx.stride, ctx.padding = windows.shape[4:], stride, padding
        return arrays.col2im(windows, shape, stride, padding)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return im2col(g, ctx.size, ctx.stride, ctx.padding)


def col2im(windows: Any, shape: Sequence[int], stride: Lengths = 1, padding: Lengths = 0) -> Any:
    """Return images of ``shape`` (N, C, H, W) in which overlapping windows are summed."""
    return Col2im.apply(windows, shape, stride, padding)
