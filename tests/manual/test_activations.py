from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from workbench import manual as m
from workbench.errors import DtypeError, OptionError, ShapeError

rng = np.random.default_rng(1)
PAIRS = {
    "relu": (m.relu, m.relu_backward, lambda x: np.where(x > 0, x, 0)),
    "tanh": (m.tanh, m.tanh_backward, np.tanh),
    "sigmoid": (m.sigmoid, m.sigmoid_backward, special.expit),
    "softmax": (m.softmax, m.softmax_backward, lambda x: special.softmax(x, axis=-1)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,), (2, 3, 4)])
def test_gradients(check_pair, name, shape):
    forward, backward, _ = PAIRS[name]
    x = rng.standard_normal(shape)
    x += 0.05 * np.sign(x)  # Away from relu's kink.
    check_pair(forward, backward, x)
    check_pair(forward, backward, x.T)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_to_the_last_digits(name, dtype):
    forward, _, reference = PAIRS[name]
    x = np.linspace(-40, 40, 201).astype(dtype)
    y, _ = forward(x)
    expected = reference(x.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(y, expected, rtol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", PAIRS)
def test_extremes_neither_warn_nor_break(name):
    forward, backward, _ = PAIRS[name]
    for dtype in (np.float32, np.float64):
        x = np.array([-1e4, -1000, 0, 1000], dtype)
        y, cache = forward(x)
        assert np.isfinite(y).all()
        assert np.isfinite(backward(np.ones_like(x), cache)).all()


@pytest.mark.parametrize("name", PAIRS)
def test_nan_is_passed_on_and_a_wrong_g_refused(name):
    forward, backward, _ = PAIRS[name]
    assert np.isnan(forward(np.array([np.nan, 1.0]))[0][0])
    _, cache = forward(np.ones(3))
    with pytest.raises(ShapeError, match=f"{name}_backward: g does not have the output's shape"):
        backward(np.ones(4), cache)
    with pytest.raises(DtypeError, match=f"{name}: x is not a floating array"):
        forward(np.arange(3))


def test_relu_has_slope_zero_at_its_kink_and_takes_minus_infinity():
    y, cache = m.relu(np.array([-np.inf, 0.0, 2.0]))
    np.testing.assert_array_equal(y, [0, 0, 2])
    np.testing.assert_array_equal(m.relu_backward(np.ones(3), cache), [0, 0, 1])


def test_softmax_has_something_to_normalise():
    np.testing.assert_allclose(m.softmax(rng.standard_normal((3, 5)))[0].sum(axis=-1), 1)
    with pytest.raises(ShapeError, match="softmax: there is nothing to normalise"):
        m.softmax(np.zeros((2, 0)))
    with pytest.raises(ShapeError, match="softmax: x has 0 axes"):
        m.softmax(np.array(1.0))


def test_dropout_gradients(check_pair):
    x = rng.standard_normal((4, 5))
    check_pair(lambda x: m.dropout(x, 0.4, np.random.default_rng(3)), m.dropout_backward, x)


def test_dropout_keeps_the_expectation_and_the_rate():
    n, rate = 200_000, 0.3
    y, cache = m.dropout(np.ones(n), rate, np.random.default_rng(0))
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs((y == 0).mean() - rate) < 5 * deviation
    np.testing.assert_array_equal(y[y != 0], 1 / (1 - rate))
    np.testing.assert_array_equal(m.dropout_backward(np.ones(n), cache), y)


def test_dropout_one_seed_one_mask_in_either_precision():
    def dropped(dtype, seed):
        return m.dropout(np.ones((50, 4), dtype), 0.5, np.random.default_rng(seed))[0] == 0

    np.testing.assert_array_equal(dropped(np.float32, 7), dropped(np.float64, 7))
    assert (dropped(np.float32, 7) != dropped(np.float32, 8)).any()


def test_dropout_does_nothing_when_testing_or_at_rate_zero():
    source, x = np.random.default_rng(0), rng.standard_normal((3, 2))
    before = source.bit_generator.state
    for options in ({"rate": 0.5, "training": False}, {"rate": 0.0}):
        y, cache = m.dropout(x, rng=source, **options)
        assert y is x
        np.testing.assert_array_equal(m.dropout_backward(2 * x, cache), 2 * x)
    assert source.bit_generator.state == before


def test_dropout_refuses():
    x = np.ones(3)
    for rate in (1.0, -0.1, np.nan, "half", True):
        with pytest.raises(OptionError, match="dropout: rate is not usable") as caught:
            m.dropout(x, rate, np.random.default_rng(0))
        assert caught.value.expected == "a finite number of at least 0 and below 1"
    with pytest.raises(DtypeError, match="dropout: rng is not a random generator") as caught:
        m.dropout(x, 0.5, 42)
    assert caught.value.fix == "rng=numpy.random.default_rng(42)"
