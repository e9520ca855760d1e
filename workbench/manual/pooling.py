"""Max and average pooling.

Letters: N images, C channels, H x W pixels; windows of KH x KW; OH x OW outputs.
Windows that would overhang the far border are left out, as in a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array, col2im, im2col, namespace, pair
from workbench.errors import OptionError
from workbench.manual._checks import check, check_g


def max_pool2d(
    x: Array,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> tuple[Array, Any]:
    """Return the largest value in every window.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
        Complex values are ordered by their real part.
    size : int or (int, int)
        Window height and width, in pixels.
    stride, padding : int or (int, int)
        Steps between windows (None: their size), and pixels of minus infinity added on
        each border, fewer than ``size``.

    Returns
    -------
    y : array, shape (N, C, OH, OW)
        NaN where the window holds one.
    cache
        For :func:`max_pool2d_backward`.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If ``x`` is not a batch of images, or the options are not usable.
    """
    windows, options = _windows("max_pool2d", x, size, stride, padding, fill=-np.inf)
    kh, kw = windows.shape[4:]
    y = windows[..., 0, 0].copy()
    winner = np.zeros_like(y, dtype=np.int32)
    for k in range(1, kh * kw):  # Over positions in the window, not over windows.
        candidate = windows[..., k // kw, k % kw]
        np.copyto(winner, k, where=candidate > y)
        np.maximum(y, candidate, out=y)
    return y, (x, winner, windows.shape, options)


def max_pool2d_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`max_pool2d` with respect to x.

    All of a window's gradient goes to its largest element; the first of equals.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, winner, (*outer, kh, kw), options = cache
    check_g("max_pool2d_backward", g, winner.shape, x)
    positions = namespace(g).arange(kh * kw, dtype=winner.dtype).reshape(-1, 1, 1, 1, 1)
    dwindows = (positions == winner) * g
    return col2im(dwindows.reshape(kh, kw, *outer).transpose(2, 3, 4, 5, 0, 1), x.shape, *options)


def avg_pool2d(
    x: Array,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> tuple[Array, Any]:
    """Return the mean of every window; the zeros of the border count.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    size : int or (int, int)
        Window height and width, in pixels.
    stride, padding : int or (int, int)
        Steps between windows (None: their size), and zeros added on each border, fewer
        than ``size``.

    Returns
    -------
    y : array, shape (N, C, OH, OW)
    cache
        For :func:`avg_pool2d_backward`.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If ``x`` is not a batch of images, or the options are not usable.
    """
    windows, options = _windows("avg_pool2d", x, size, stride, padding, fill=0)
    kh, kw = windows.shape[4:]
    y = windows[..., 0, 0].copy()
    for k in range(1, kh * kw):  # Over positions in the window, not over windows.
        y += windows[..., k // kw, k % kw]
    y /= kh * kw
    return y, (x, windows.shape, options)


def avg_pool2d_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`avg_pool2d` with respect to x.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, shape, options = cache
    check_g("avg_pool2d_backward", g, shape[:4], x)
    share = g / (shape[4] * shape[5])
    return col2im(np.broadcast_to(share[..., None, None], shape), x.shape, *options)


def _windows(
    where: str, x: Array, size: Any, stride: Any, padding: Any, fill: float
) -> tuple[Array, tuple[Any, Any]]:
    check(where, "x N C H W", x)
    sizes, borders = pair(size, where, "size", 1), pair(padding, where, "padding", 0)
    if borders[0] >= sizes[0] or borders[1] >= sizes[1]:
        raise OptionError(where, "some windows would hold nothing but padding",
                          given=f"size={size!r}, padding={padding!r}",
                          expected="padding smaller than size")  # fmt: skip
    stride = size if stride is None else stride
    return im2col(x, sizes, stride, borders, fill=fill, where=where), (stride, borders)
