from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from workbench import manual as m
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError

rng = np.random.default_rng(2)


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (6, 1), (2, 3, 4)])
def test_softmax_cross_entropy_gradients(check_pair, shape):
    labels = rng.integers(0, shape[-1], shape[:-1])
    logits = rng.standard_normal(shape)
    check_pair(lambda z: m.softmax_cross_entropy(z, labels), m.softmax_cross_entropy_backward,
               logits)  # fmt: skip
    reference = -np.take_along_axis(special.log_softmax(logits, axis=-1), labels[..., None], -1)
    np.testing.assert_allclose(m.softmax_cross_entropy(logits, labels)[0], reference.mean(),
                               rtol=1e-14, atol=1e-15)  # fmt: skip


def test_softmax_cross_entropy_of_a_view_with_foreign_strides(check_pair):
    labels = rng.integers(0, 5, (3, 4))
    logits = rng.standard_normal((5, 4, 3)).transpose(2, 1, 0)
    check_pair(lambda z: m.softmax_cross_entropy(z, labels), m.softmax_cross_entropy_backward,
               logits)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_cross_entropy_is_stable_at_1000(dtype):
    logits = np.array([[1000, -1000, 0], [-1000, 1000, 1000]], dtype)
    loss, cache = m.softmax_cross_entropy(logits, np.array([1, 2]))
    assert loss.dtype == dtype
    assert loss == dtype((2000 + np.log(2)) / 2)
    np.testing.assert_allclose(
        m.softmax_cross_entropy_backward(1.0, cache),
        np.array([[0.5, -0.5, 0], [0, 0.25, -0.25]]),
        rtol=np.finfo(dtype).eps,
    )


def test_a_confident_right_answer_keeps_its_small_loss():
    loss, _ = m.softmax_cross_entropy(np.array([[30.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(loss, np.exp(-30.0), rtol=1e-2)


def test_a_float64_scalar_g_does_not_promote_float32():
    _, cache = m.softmax_cross_entropy(np.zeros((2, 2), np.float32), np.array([0, 1]))
    assert m.softmax_cross_entropy_backward(np.float64(1), cache).dtype == np.float32
    _, cache = m.mean_squared_error(np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32))
    assert m.mean_squared_error_backward(np.float64(1), cache)[0].dtype == np.float32


def test_softmax_cross_entropy_refuses():
    logits = np.zeros((3, 4))
    with pytest.raises(ShapeError) as caught:
        m.softmax_cross_entropy(logits, np.zeros(4, int))
    assert str(caught.value) == (
        "softmax_cross_entropy: labels does not fit logits\n"
        "  given:    logits (3, 4), labels (4,)\n"
        "  expected: logits (..., K), labels (...,)\n"
        "  fix:      labels needs the leading axes (3,) of logits"
    )
    with pytest.raises(OptionError) as caught:
        m.softmax_cross_entropy(logits, np.array([0, 4, -1]))
    assert str(caught.value) == (
        "softmax_cross_entropy: labels name classes that do not exist\n"
        "  given:    labels[1] = 4\n"
        "  expected: 0 to 3"
    )
    with pytest.raises(DtypeError, match="labels are not integers"):
        m.softmax_cross_entropy(logits, np.eye(3)[0])
    with pytest.raises(ShapeError, match="logits is empty"):
        m.softmax_cross_entropy(np.zeros((0, 4)), np.zeros(0, int))
    _, cache = m.softmax_cross_entropy(logits, np.zeros(3, int))
    with pytest.raises(ShapeError, match="softmax_cross_entropy_backward: g is not a scalar"):
        m.softmax_cross_entropy_backward(np.ones(3), cache)


@pytest.mark.parametrize("shape", [(4, 3), (1,), (2, 3, 2)])
def test_mean_squared_error_gradients(check_pair, shape):
    prediction, target = rng.standard_normal(shape), rng.standard_normal(shape)
    check_pair(m.mean_squared_error, m.mean_squared_error_backward, prediction, target)
    np.testing.assert_allclose(m.mean_squared_error(prediction, target)[0],
                               np.mean((prediction - target) ** 2), rtol=1e-14)  # fmt: skip


def test_mean_squared_error_does_not_broadcast():
    with pytest.raises(ShapeError, match="mean_squared_error: target does not fit prediction"):
        m.mean_squared_error(np.zeros((5, 1)), np.zeros(5))
    with pytest.raises(ShapeError, match="prediction is empty"):
        m.mean_squared_error(np.zeros((0, 2)), np.zeros((0, 2)))
    _, cache = m.mean_squared_error(np.zeros(2), np.ones(2))
    with pytest.raises(ShapeError, match="mean_squared_error_backward: g is not a scalar"):
        m.mean_squared_error_backward(np.ones(2), cache)


@pytest.mark.parametrize(
    ("loss", "function", "rule", "target"),
    [
        (m.SoftmaxCrossEntropy(), m.softmax_cross_entropy, m.softmax_cross_entropy_backward,
         np.array([1, 0])),
        (m.MeanSquaredError(), m.mean_squared_error,
         lambda g, cache: m.mean_squared_error_backward(g, cache)[0], np.ones((2, 3))),
    ],
)  # fmt: skip
def test_loss_objects_are_their_pairs(loss, function, rule, target):
    with pytest.raises(GraphError) as caught:
        loss.backward()
    assert str(caught.value) == (
        f"{type(loss).__name__}.backward: there was no forward to go back through\n"
        "  fix:      call forward(prediction, target) first"
    )
    prediction = rng.standard_normal((2, 3))
    value, cache = function(prediction, target)
    assert loss.forward(prediction, target) == value
    np.testing.assert_array_equal(loss.backward(), rule(1.0, cache))
    np.testing.assert_array_equal(loss.backward(3.0), rule(3.0, cache))
