from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from workbench import manual as m
from workbench.errors import DtypeError, ShapeError

rng = np.random.default_rng(6)


def _weights(d, h, gates):
    return [rng.standard_normal(s) for s in ((d, gates * h), (h, gates * h), (gates * h,))]


@pytest.mark.parametrize(("n", "d", "h"), [(3, 2, 4), (1, 1, 1), (1, 3, 2)])
def test_rnn_step_gradients(check_pair, n, d, h):
    arrays = [rng.standard_normal((n, d)), rng.standard_normal((n, h)), *_weights(d, h, 1)]
    check_pair(m.rnn_step, m.rnn_step_backward, *arrays)


@pytest.mark.parametrize(("n", "steps", "d", "h"), [(2, 4, 3, 2), (1, 1, 1, 1), (3, 2, 1, 4)])
def test_rnn_gradients(check_pair, n, steps, d, h):
    x = rng.standard_normal((n, steps, d))
    check_pair(m.rnn, m.rnn_backward, x, rng.standard_normal((n, h)), *_weights(d, h, 1))


@pytest.mark.parametrize(("n", "d", "h"), [(3, 2, 4), (1, 1, 1), (1, 3, 2)])
def test_lstm_step_gradients(check_pair, n, d, h):
    state = [rng.standard_normal((n, h)) for _ in range(2)]
    check_pair(m.lstm_step, m.lstm_step_backward, rng.standard_normal((n, d)), *state,
               *_weights(d, h, 4))  # fmt: skip


@pytest.mark.parametrize(("n", "steps", "d", "h"), [(2, 4, 3, 2), (1, 1, 1, 1), (3, 2, 1, 2)])
def test_lstm_gradients(check_pair, n, steps, d, h):
    state = [rng.standard_normal((n, h)) for _ in range(2)]
    check_pair(m.lstm, m.lstm_backward, rng.standard_normal((n, steps, d)), *state,
               *_weights(d, h, 4))  # fmt: skip


def test_views_with_foreign_strides(check_pair):
    x = rng.standard_normal((2, 4, 6)).transpose(1, 2, 0)[::2, ::-1]
    h = rng.standard_normal((3, 2)).T
    check_pair(m.rnn, m.rnn_backward, x, h, *_weights(2, 3, 1))
    check_pair(m.lstm, m.lstm_backward, x, h, h.copy(), *_weights(2, 3, 4))


def test_rnn_is_its_steps():
    x, h = rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 4))
    weights = _weights(2, 4, 1)
    y, _ = m.rnn(x, h, *weights)
    for t in range(5):
        h, _ = m.rnn_step(x[:, t], h, *weights)
        np.testing.assert_allclose(y[:, t], h, rtol=1e-13, atol=1e-15)


def test_lstm_is_its_steps_and_its_formula_in_the_order_i_f_g_o():
    x, h, c = (
        rng.standard_normal((3, 5, 2)),
        rng.standard_normal((3, 4)),
        rng.standard_normal((3, 4)),
    )
    wx, wh, b = _weights(2, 4, 4)
    (hs, last), _ = m.lstm(x, h, c, wx, wh, b)
    for t in range(5):
        i, f, g, o = np.split(x[:, t] @ wx + h @ wh + b, 4, axis=1)
        expected_c = expit(f) * c + expit(i) * np.tanh(g)
        expected_h = expit(o) * np.tanh(expected_c)
        (h, c), _ = m.lstm_step(x[:, t], h, c, wx, wh, b)
        np.testing.assert_allclose(c, expected_c, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(h, expected_h, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(hs[:, t], h, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(last, c, rtol=1e-13, atol=1e-15)


def test_no_steps_hand_the_state_and_its_gradient_through():
    x, h = np.zeros((2, 0, 3)), rng.standard_normal((2, 4))
    (hs, c), cache = m.lstm(x, h, h, *_weights(3, 4, 4))
    assert hs.shape == (2, 0, 4)
    assert c is h
    dx, dh, dc, *_ = m.lstm_backward((hs, np.ones_like(h)), cache)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dh, 0 * h)
    np.testing.assert_array_equal(dc, np.ones_like(h))


def test_refusals():
    x, h = np.ones((3, 2)), np.ones((3, 4))
    wx, wh, b = _weights(2, 4, 4)
    with pytest.raises(ShapeError) as caught:
        m.lstm_step(x, h, h, wx[:, :4], wh, b)
    assert str(caught.value) == (
        "lstm_step: wx does not fit h\n"
        "  given:    x (3, 2), h (3, 4), c (3, 4), wx (2, 4), wh (4, 16), b (16,)\n"
        "  expected: x (N, D), h (N, H), c (N, H), wx (D, 4H), wh (H, 4H), b (4H,)\n"
        "  fix:      wx needs shape (2, 16) here"
    )
    with pytest.raises(ShapeError, match="lstm_step: c does not fit x"):
        m.lstm_step(x, h, h[:1], wx, wh, b)
    with pytest.raises(ShapeError, match="rnn_step: wh does not fit h"):
        m.rnn_step(x, h, wx[:, :4], wh, b[:4])
    with pytest.raises(ShapeError, match="rnn: x has 2 axes"):
        m.rnn(x, h, wx[:, :4], wh[:, :4], b[:4])
    with pytest.raises(ShapeError, match="lstm: x has 2 axes"):
        m.lstm(x, h, h, wx, wh, b)
    _, cache = m.lstm_step(x, h, h, wx, wh, b)
    with pytest.raises(ShapeError, match="lstm_step_backward: g is not a pair"):
        m.lstm_step_backward(h, cache)
    with pytest.raises(ShapeError, match="lstm_step_backward, c: g does not have"):
        m.lstm_step_backward((h, h[:1]), cache)
    with pytest.raises(DtypeError, match="lstm_step_backward, h: g is not of the output's dtype"):
        m.lstm_step_backward((h.astype(np.float32), h), cache)
    _, cache = m.rnn_step(x, h, wx[:, :4], wh[:, :4], b[:4])
    with pytest.raises(ShapeError, match="rnn_step_backward: g does not have"):
        m.rnn_step_backward(x, cache)
