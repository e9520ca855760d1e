"""Two-dimensional convolution as one matrix product, forward and backward.

Letters: N images, C channels, H x W pixels; F filters of KH x KW; OH x OW outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.arrays import Array, col2im, im2col
from workbench.manual._checks import check, check_g


def conv2d(
    x: Array,
    w: Array,
    b: Array,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> tuple[Array, Any]:
    """Slide every filter over every image (cross-correlation, as in every framework).

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    w : array, shape (F, C, KH, KW)
    b : array, shape (F,)
    stride, padding : int or (int, int)
        Steps between windows, and zeros added on each border, in pixels.

    Returns
    -------
    y : array, shape (N, F, OH, OW)
        ``OH = (H + 2 * padding - KH) // stride + 1``, and OW likewise.  (In memory the
        filters come first, as the product leaves them.)
    cache
        For :func:`conv2d_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError, OptionError
        If the arrays do not fit together, or the options are not usable.

    Notes
    -----
    All windows become the columns of one matrix, (C KH KW, N OH OW), and the filters
    the rows of another: Chellapilla, Puri and Simard (2006); Caffe's ``im2col``.
    """
    check("conv2d", "x N C H W, w F C KH KW, b F", x, w, b)
    windows = im2col(x, w.shape[2:], stride, padding, where="conv2d")
    n, c, oh, ow, kh, kw = windows.shape
    # Pixels last: the copy that reshape makes then runs along rows of the image.
    columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(c * kh * kw, n * oh * ow)
    y = w.reshape(len(w), c * kh * kw) @ columns + b[:, None]
    y = y.reshape(len(w), n, oh, ow).transpose(1, 0, 2, 3)
    return y, (x.shape, w, columns, y.shape, stride, padding)


def conv2d_backward(
    g: Array, cache: Any, *, input_gradient: bool = True
) -> tuple[Array, Array, Array]:
    """Return the gradients of :func:`conv2d` with respect to x, w and b.

    ``input_gradient=False`` gives None for the first and saves its half of the work.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    shape, w, columns, (n, f, oh, ow), stride, padding = cache
    check_g("conv2d_backward", g, (n, f, oh, ow), w)
    rows = g.transpose(1, 0, 2, 3).reshape(f, n * oh * ow)
    dw = (rows @ columns.T).reshape(w.shape)
    db = rows.sum(axis=1)
    if not input_gradient:
        return None, dw, db
    dcolumns = w.reshape(f, len(columns)).T @ rows
    dwindows = dcolumns.reshape(*w.shape[1:], n, oh, ow).transpose(3, 0, 4, 5, 1, 2)
    return col2im(dwindows, shape, stride, padding), dw, db
