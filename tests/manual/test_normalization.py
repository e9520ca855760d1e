from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import OptionError, ShapeError

rng = np.random.default_rng(5)
SHAPES = [(5, 3), (2, 1), (3, 2, 4, 5), (1, 3, 2, 2)]


def _arrays(shape):
    return (
        3 * rng.standard_normal(shape) + 1,
        rng.uniform(0.5, 2, shape[1]),
        np.arange(shape[1]) - 0.5,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_training(check_pair, shape):
    check_pair(m.batch_norm, m.batch_norm_backward, *_arrays(shape))


@pytest.mark.parametrize("shape", [*SHAPES, (1, 3)])
def test_gradients_in_testing(check_pair, shape):
    mean, variance = rng.standard_normal(shape[1]), rng.uniform(0.5, 2, shape[1])

    def forward(x, gamma, beta):
        real = x.real.dtype
        return m.batch_norm(
            x, gamma, beta, mean.astype(real), variance.astype(real), training=False
        )

    check_pair(forward, m.batch_norm_backward, *_arrays(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_output_has_the_mean_and_deviation_asked_for(shape, dtype):
    x, gamma, beta = (a.astype(dtype) for a in _arrays(shape))
    y, _ = m.batch_norm(x, gamma, beta, epsilon=1e-30)
    axes = (0,) if len(shape) == 2 else (0, 2, 3)
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(y.mean(axis=axes), beta, atol=tolerance)
    np.testing.assert_allclose(y.std(axis=axes), gamma, rtol=tolerance)
    assert y.dtype == dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_running_averages_follow_their_formula_in_place(shape):
    axes = (0,) if len(shape) == 2 else (0, 2, 3)
    _, gamma, beta = _arrays(shape)
    mean, variance = np.zeros(shape[1]), np.ones(shape[1])
    expected = [mean.copy(), variance.copy()]
    for _ in range(3):
        x, _, _ = _arrays(shape)
        m.batch_norm(x, gamma, beta, mean, variance, momentum=0.25)
        expected[0] = 0.75 * expected[0] + 0.25 * x.mean(axis=axes)
        expected[1] = 0.75 * expected[1] + 0.25 * x.var(axis=axes, ddof=1)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-13)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-13)


def test_testing_reads_the_averages_and_leaves_them_alone():
    x, gamma, beta = _arrays((4, 2))
    mean, variance = np.array([1.0, -1.0]), np.array([4.0, 0.25])
    y, _ = m.batch_norm(x, gamma, beta, mean, variance, training=False, epsilon=1e-300)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance) * gamma + beta, rtol=1e-13)
    np.testing.assert_array_equal(mean, [1, -1])
    np.testing.assert_array_equal(variance, [4, 0.25])


def test_refusals():
    x, gamma, beta = _arrays((4, 2))
    with pytest.raises(OptionError) as caught:
        m.batch_norm(x, gamma, beta, training=False)
    assert str(caught.value) == (
        "batch_norm: running_mean is not given\n"
        "  given:    training=False\n"
        "  expected: both running averages, or neither in training"
    )
    with pytest.raises(OptionError, match="running_variance is not given"):
        m.batch_norm(x, gamma, beta, np.zeros(2))
    with pytest.raises(ShapeError, match="batch_norm: running_variance does not fit x"):
        m.batch_norm(x, gamma, beta, np.zeros(2), np.zeros(3))
    with pytest.raises(ShapeError, match="batch_norm: gamma does not fit x") as caught:
        m.batch_norm(x, gamma[:1], beta)
    assert caught.value.fix == "gamma needs shape (2,) here"
    with pytest.raises(ShapeError, match="neither a batch of vectors nor of images"):
        m.batch_norm(np.ones((2, 3, 4)), gamma, beta)
    with pytest.raises(ShapeError, match="a feature has fewer than two values"):
        m.batch_norm(x[:1], gamma, beta)
    with pytest.raises(OptionError, match="batch_norm: epsilon is not usable") as caught:
        m.batch_norm(x, gamma, beta, epsilon=0)
    assert caught.value.expected == "a finite number above 0"
    with pytest.raises(OptionError, match="batch_norm: momentum is not usable"):
        m.batch_norm(x, gamma, beta, momentum=1.0)
