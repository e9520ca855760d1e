from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import DtypeError, NotFiniteError, OptionError, ShapeError


def _digits(n, rng):
    """Ten random 8 x 8 templates, shifted by up to a pixel, under noise: labels 0 to 9."""
    templates = np.random.default_rng(1).standard_normal((10, 8, 8))
    labels = rng.integers(0, 10, n)
    images = np.stack([np.roll(templates[k], rng.integers(-1, 2, 2), (0, 1)) for k in labels])
    return (images + 0.5 * rng.standard_normal(images.shape)).astype(np.float32), labels


def _mlp(rng, dtype=np.float32, activation=m.Tanh):
    return m.Sequential(
        m.Affine(64, 64, rng=rng, dtype=dtype), activation(), m.Affine(64, 10, rng=rng, dtype=dtype)
    )


def _cnn(rng):
    return m.Sequential(
        m.Conv2d(1, 8, 3, padding=1, rng=rng), m.BatchNorm(8), m.ReLU(), m.MaxPool2d(2),
        m.Flatten(), m.Dropout(0.2, rng=rng), m.Affine(128, 10, rng=rng),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "optimizer", "shape"),
    [
        (_mlp, lambda p: m.SGD(p, 0.1, momentum=0.9), (-1, 64)),
        (_mlp, lambda p: m.SGD(p, 0.1, momentum=0.9, nesterov=True), (-1, 64)),
        (_mlp, lambda p: m.RMSProp(p, 0.002), (-1, 64)),
        (_mlp, lambda p: m.Adagrad(p, 0.05), (-1, 64)),
        (_cnn, lambda p: m.Adam(p, 0.005), (-1, 1, 8, 8)),
    ],
)
def test_images_not_seen_in_training_are_recognised(build, optimizer, shape):
    rng = np.random.default_rng(0)
    (x, labels), (x_test, labels_test) = _digits(2000, rng), _digits(500, rng)
    model = build(rng)
    batches = m.minibatches(x.reshape(shape), labels, 50, rng, epochs=8)
    history = m.train(model, m.SoftmaxCrossEntropy(), optimizer(model.parameters()), batches,
                      with_accuracy=True)  # fmt: skip
    assert len(history.losses) == len(history.accuracies) == 8 * 40
    assert history.losses[0] > 1.5
    assert np.mean(history.losses[-40:]) < 0.2
    assert m.accuracy(model.forward(x_test.reshape(shape), training=False), labels_test) > 0.95


def test_a_recurrent_network_learns_which_symbol_came_first():
    rng = np.random.default_rng(0)
    model = m.Sequential(m.Embedding(4, 8, rng=rng), m.LSTM(8, 16, rng=rng), m.Last(),
                         m.Affine(16, 4, rng=rng))  # fmt: skip
    x = rng.integers(0, 4, (600, 6))
    m.train(model, m.SoftmaxCrossEntropy(), m.Adam(model.parameters(), 0.02),
            m.minibatches(x[:500], x[:500, 0], 50, rng, epochs=20))  # fmt: skip
    assert m.accuracy(model.forward(x[500:], training=False), x[500:, 0]) > 0.95


def test_the_loop_is_what_a_hand_would_write():
    rng = np.random.default_rng(0)
    model = _mlp(rng, np.float64)
    w1, b1, w2, b2 = (p.value.copy() for p in model.parameters())
    batches = [(rng.standard_normal((8, 64)), rng.integers(0, 10, 8)) for _ in range(5)]
    expected = []
    for x, labels in batches:
        h = np.tanh(x @ w1 + b1)
        z = h @ w2 + b2
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        expected.append(-np.log(p[np.arange(8), labels]).mean())
        dz = (p - np.eye(10)[labels]) / 8
        dh = (dz @ w2.T) * (1 - h**2)
        w2, b2 = w2 - 0.3 * h.T @ dz, b2 - 0.3 * dz.sum(axis=0)
        w1, b1 = w1 - 0.3 * x.T @ dh, b1 - 0.3 * dh.sum(axis=0)
    seen = []
    history = m.train(model, m.SoftmaxCrossEntropy(), m.SGD(model.parameters(), 0.3), batches,
                      on_step=lambda step, loss: seen.append((step, loss)))  # fmt: skip
    np.testing.assert_allclose(history.losses, expected, rtol=1e-13)
    assert seen == list(enumerate(history.losses))
    assert history.accuracies == []
    for p, value in zip(model.parameters(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(p.value, value, rtol=1e-12, atol=1e-15)


def _train_on(model, batches, loss=None, rate=0.1):
    return m.train(model, loss or m.SoftmaxCrossEntropy(), m.SGD(model.parameters(), rate), batches)


def test_nan_in_the_data_stops_the_run_and_says_so():
    rng = np.random.default_rng(0)
    for activation in (m.Tanh, m.ReLU, m.Sigmoid):
        x, labels = _digits(20, rng)
        batches = [(x.reshape(20, 64).copy(), labels) for _ in range(3)]
        batches[2][0][7, 5] = np.nan
        with pytest.raises(NotFiniteError) as caught:
            _train_on(_mlp(rng, activation=activation), batches)
        assert str(caught.value) == (
            "manual.train: the loss is nan at step 2\n"
            "  given:    x itself holds NaN or infinity\n"
            "  expected: a finite loss\n"
            "  fix:      clean the data"
        )


def test_the_first_layer_to_put_out_nan_is_named_even_inside_another():
    rng = np.random.default_rng(0)
    inner = m.Sequential(m.Tanh(), m.Affine(4, 3, rng=rng))
    model = m.Sequential(m.Affine(2, 4, rng=rng), inner)
    inner.layers[1].w.value[1, 1] = np.nan
    with pytest.raises(NotFiniteError) as caught:
        _train_on(model, [(np.ones((2, 2), np.float32), np.array([0, 1]))])
    assert caught.value.given == "layer 1.1 (Affine) is the first to put out NaN or infinity"
    assert caught.value.problem == "the loss is nan at step 0"


def test_a_rate_too_high_is_caught_where_it_explodes():
    rng = np.random.default_rng(0)
    model = m.Sequential(m.Affine(4, 4, rng=rng), m.ReLU(), m.Affine(4, 1, rng=rng))
    batch = rng.standard_normal((8, 4)).astype(np.float32), np.ones((8, 1), np.float32)
    with pytest.raises(NotFiniteError, match=r"the loss is (inf|nan) at step") as caught:
        _train_on(model, [batch] * 200, m.MeanSquaredError(), rate=1e6)
    assert caught.value.fix == "a smaller learning rate, or smaller inputs"


def test_a_target_and_a_loss_that_are_not_finite_are_told_apart():
    layer = m.Affine(1, 1, rng=np.random.default_rng(0))
    x = np.ones((1, 1), np.float32)
    with pytest.raises(NotFiniteError) as caught:
        _train_on(layer, [(x, np.full((1, 1), np.nan, np.float32))], m.MeanSquaredError())
    assert caught.value.given == "the target itself holds NaN or infinity"
    with pytest.raises(NotFiniteError) as caught:
        _train_on(layer, [(x, np.full((1, 1), 1e30, np.float32))], m.MeanSquaredError())
    assert caught.value.given == "every layer's output is finite, but the loss overflows"
    layer.w.value[:] = np.nan
    with pytest.raises(NotFiniteError) as caught:
        _train_on(layer, [(x, x)], m.MeanSquaredError())
    assert caught.value.given == "layer 0 (Affine) is the first to put out NaN or infinity"


def test_what_the_last_step_leaves_is_looked_at_too():
    layer = m.Affine(1, 1, rng=np.random.default_rng(0))
    batch = np.full((1, 1), 1e19, np.float32), np.zeros((1, 1), np.float32)
    layer.w.value[:] = 1e-1
    with pytest.raises(NotFiniteError, match="step 0, the last, left NaN or infinity in the "
                       "parameter w"):  # fmt: skip
        _train_on(layer, [batch], m.MeanSquaredError(), rate=1e10)


def test_minibatches_cover_every_epoch_in_a_seeded_order():
    x, target = np.arange(10)[:, None], np.arange(10) * 2
    batches = list(m.minibatches(x, target, 4, np.random.default_rng(0), epochs=2))
    assert [len(b[0]) for b in batches] == [4, 4, 2] * 2
    for a, b in batches:
        np.testing.assert_array_equal(a[:, 0] * 2, b)
    orders = [np.concatenate([b[1] for b in batches[i : i + 3]]) // 2 for i in (0, 3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(10))
    assert (orders[0] != orders[1]).any()
    again = list(m.minibatches(x, target, 4, np.random.default_rng(0), epochs=2))
    for (a, _), (b, _) in zip(batches, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_refusals():
    x, labels = np.zeros((4, 2)), np.zeros(3, int)
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="minibatches: x and target differ in length"):
        m.minibatches(x, labels, 2, rng)
    with pytest.raises(OptionError, match="minibatches: size is not usable"):
        m.minibatches(x, labels, 0, rng)
    with pytest.raises(OptionError, match="minibatches: epochs is not usable"):
        m.minibatches(x, labels, 2, rng, epochs=0.5)
    with pytest.raises(DtypeError, match="minibatches: rng is not a random generator"):
        m.minibatches(x, labels, 2, 0)
    with pytest.raises(OptionError, match=r"manual\.train: batch 0 is not a pair"):
        _train_on(m.Affine(2, 2, rng=rng), [x])
    with pytest.raises(ShapeError, match="accuracy: labels does not fit logits"):
        m.accuracy(x, labels)
    with pytest.raises(ShapeError, match="accuracy: there are no examples"):
        m.accuracy(x[:0], labels[:0])
    assert m.accuracy(np.eye(4), np.array([0, 1, 2, 0])) == 0.75
