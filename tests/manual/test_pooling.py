from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import DtypeError, OptionError, ShapeError

rng = np.random.default_rng(4)
PAIRS = {
    "max_pool2d": (m.max_pool2d, m.max_pool2d_backward),
    "avg_pool2d": (m.avg_pool2d, m.avg_pool2d_backward),
}
# Images, size, stride, padding: tiling, overlapping, with gaps, with a rest, non-square.
CASES = [
    ((2, 3, 4, 6), 2, None, 0),
    ((1, 1, 5, 5), 2, None, 0),
    ((2, 2, 6, 7), 3, 2, 1),
    ((1, 2, 5, 6), (2, 3), 1, (1, 2)),
    ((2, 1, 7, 7), 2, 3, 0),
    ((1, 1, 3, 3), 3, None, 0),
    ((2, 1, 3, 4), 1, None, 0),
]


def _distinct(shape):
    """Random values further apart than any step of a difference: no ties, no kinks."""
    return rng.permutation(np.arange(np.prod(shape)) * 0.1 - 1).reshape(shape)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("shape", "size", "stride", "padding"), CASES)
def test_gradients(check_pair, name, shape, size, stride, padding):
    forward, backward = PAIRS[name]
    check_pair(lambda x: forward(x, size, stride, padding), backward, _distinct(shape))


@pytest.mark.parametrize("name", PAIRS)
def test_any_memory_layout(check_pair, name):
    forward, backward = PAIRS[name]
    x = _distinct((2, 5, 6, 3)).transpose(0, 3, 1, 2)[:, :, :, ::-1]
    check_pair(lambda x: forward(x, 2), backward, x)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("shape", "size", "stride", "padding"), CASES)
def test_values_window_by_window(name, shape, size, stride, padding):
    x = rng.standard_normal(shape)
    y, _ = PAIRS[name][0](x, size, stride, padding)
    (kh, kw), (ph, pw) = np.broadcast_to(size, 2), np.broadcast_to(padding, 2)
    sh, sw = np.broadcast_to(size if stride is None else stride, 2)
    fill, reduce = (-np.inf, np.max) if name == "max_pool2d" else (0, np.mean)
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    _, _, h, w = padded.shape
    assert y.shape[2:] == ((h - kh) // sh + 1, (w - kw) // sw + 1)
    for i, j in np.ndindex(y.shape[2:]):
        window = padded[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw]
        np.testing.assert_allclose(y[:, :, i, j], reduce(window, axis=(2, 3)), rtol=1e-13,
                                   atol=1e-15)  # fmt: skip


def test_of_equals_the_first_takes_all_the_gradient():
    _, cache = m.max_pool2d(np.ones((1, 1, 2, 4)), 2)
    dx = m.max_pool2d_backward(np.array([[[[3.0, 5.0]]]]), cache)
    np.testing.assert_array_equal(dx, [[[[3, 0, 5, 0], [0, 0, 0, 0]]]])


def test_max_pool_does_not_hide_nan_wherever_it_stands():
    for place in range(4):
        x = np.zeros(4)
        x[place] = np.nan
        assert np.isnan(m.max_pool2d(x.reshape(1, 1, 2, 2), 2)[0]).all()


def test_padding_never_wins_a_maximum():
    y, _ = m.max_pool2d(np.full((1, 1, 2, 2), -5.0), 2, 1, 1)
    assert (y == -5).all()


@pytest.mark.parametrize("name", PAIRS)
def test_refusals(name):
    forward, backward = PAIRS[name]
    x = np.zeros((1, 1, 4, 4))
    with pytest.raises(OptionError) as caught:
        forward(x, 2, padding=2)
    assert str(caught.value) == (
        f"{name}: some windows would hold nothing but padding\n"
        "  given:    size=2, padding=2\n"
        "  expected: padding smaller than size"
    )
    with pytest.raises(OptionError, match=f"{name}: stride is not usable"):
        forward(x, 2, 0)
    with pytest.raises(OptionError, match=f"{name}: size is not usable"):
        forward(x, 0)
    with pytest.raises(ShapeError, match=f"{name}: x has 2 axes"):
        forward(np.zeros((4, 4)), 2)
    with pytest.raises(ShapeError, match=f"{name}: the window is larger"):
        forward(x, 5)
    with pytest.raises(DtypeError, match=f"{name}: x is not a floating array"):
        forward(x.astype(int), 2)
    _, cache = forward(x, 2)
    with pytest.raises(ShapeError, match=f"{name}_backward: g does not have"):
        backward(x, cache)
