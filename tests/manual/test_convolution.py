from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate2d

from workbench import manual as m
from workbench.errors import DtypeError, OptionError, ShapeError

rng = np.random.default_rng(3)
# Images, filters, stride, padding: batch 1, non-square, strides that leave a rest, 1x1.
CASES = [
    ((2, 3, 6, 5), (4, 3, 3, 2), 1, 0),
    ((1, 1, 5, 5), (1, 1, 5, 5), 1, 0),
    ((2, 2, 7, 6), (3, 2, 3, 3), 2, 1),
    ((1, 2, 6, 8), (2, 2, 2, 3), (3, 2), (0, 2)),
    ((3, 2, 4, 4), (2, 2, 1, 1), 1, 0),
    ((2, 1, 4, 5), (2, 1, 3, 3), 1, (2, 1)),
    ((2, 1, 5, 5), (1, 1, 2, 2), 3, 0),
]


def _arrays(x, w):
    return rng.standard_normal(x), rng.standard_normal(w), rng.standard_normal(w[0])


@pytest.mark.parametrize(("x", "w", "stride", "padding"), CASES)
def test_conv2d_gradients(check_pair, x, w, stride, padding):
    check_pair(lambda *a: m.conv2d(*a, stride, padding), m.conv2d_backward, *_arrays(x, w))


@pytest.mark.parametrize(("xs", "ws", "stride", "padding"), CASES)
def test_conv2d_is_scipys_correlation(xs, ws, stride, padding):
    x, w, b = _arrays(xs, ws)
    (sh, sw), (ph, pw) = np.broadcast_to(stride, 2), np.broadcast_to(padding, 2)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    y, _ = m.conv2d(x, w, b, stride, padding)
    for n in range(xs[0]):
        for f in range(ws[0]):
            full = sum(correlate2d(padded[n, c], w[f, c], mode="valid") for c in range(xs[1]))
            np.testing.assert_allclose(y[n, f], full[::sh, ::sw] + b[f], rtol=1e-12, atol=1e-13)


def test_conv2d_takes_any_memory_layout(check_pair):
    x = rng.standard_normal((2, 6, 6, 3)).transpose(0, 3, 1, 2)[:, :, ::-1]
    w = rng.standard_normal((3, 3, 3, 8)).T[::2]
    check_pair(lambda *a: m.conv2d(*a, 2, 1), m.conv2d_backward, x, w, rng.standard_normal(4))


def test_conv2d_without_the_gradient_of_its_input_and_without_images():
    x, w, b = _arrays((2, 2, 5, 5), (3, 2, 3, 3))
    y, cache = m.conv2d(x, w, b)
    full = m.conv2d_backward(y, cache)
    dx, dw, db = m.conv2d_backward(y, cache, input_gradient=False)
    assert dx is None
    np.testing.assert_array_equal(dw, full[1])
    np.testing.assert_array_equal(db, full[2])
    y, cache = m.conv2d(x[:0], w, b)
    assert y.shape == (0, 3, 3, 3)
    assert m.conv2d_backward(y, cache)[0].shape == (0, 2, 5, 5)


def test_conv2d_refuses_and_blames_the_right_argument():
    x, w, b = _arrays((2, 3, 6, 5), (4, 3, 3, 2))
    with pytest.raises(ShapeError) as caught:
        m.conv2d(x, w[:, :2], b)
    assert str(caught.value) == (
        "conv2d: w does not fit x\n"
        "  given:    x (2, 3, 6, 5), w (4, 2, 3, 2), b (4,)\n"
        "  expected: x (N, C, H, W), w (F, C, KH, KW), b (F,)\n"
        "  fix:      w needs shape (4, 3, KH, KW) here"
    )
    with pytest.raises(ShapeError, match="conv2d: b does not fit w"):
        m.conv2d(x, w, b[:1])
    with pytest.raises(ShapeError, match="conv2d: x has 3 axes"):
        m.conv2d(x[0], w, b)
    with pytest.raises(ShapeError, match="conv2d: the window is larger than the padded image"):
        m.conv2d(x[:, :, :2], w, b)
    for options in ({"stride": 0}, {"padding": -1}, {"stride": (1, 2, 3)}):
        with pytest.raises(OptionError, match=f"conv2d: {next(iter(options))} is not usable"):
            m.conv2d(x, w, b, **options)
    _, cache = m.conv2d(x, w, b)
    with pytest.raises(ShapeError, match="conv2d_backward: g does not have the output's shape"):
        m.conv2d_backward(np.ones((2, 4, 6, 5)), cache)
    with pytest.raises(DtypeError, match="conv2d: w and x differ in precision"):
        m.conv2d(x, w.astype(np.float32), b)
