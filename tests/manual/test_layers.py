from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.gradcheck import check_gradient

F64 = np.float64


def _rng():
    return np.random.default_rng(11)


def _layers(dtype=F64):
    """Every layer, and an input for it."""
    rng, data = _rng(), np.random.default_rng(12)
    images = data.permutation(2 * 2 * 4 * 5).reshape(2, 2, 4, 5) * 0.1 - 3.9
    layers = {
        "Affine": (m.Affine(3, 2, rng=rng, dtype=dtype), data.standard_normal((4, 3))),
        "Affine of steps": (m.Affine(3, 2, rng=rng, dtype=dtype), data.standard_normal((2, 4, 3))),
        "Conv2d": (m.Conv2d(2, 3, (3, 2), 2, 1, rng=rng, dtype=dtype), images),
        "ReLU": (m.ReLU(), images),
        "Tanh": (m.Tanh(), images),
        "Sigmoid": (m.Sigmoid(), images),
        "Flatten": (m.Flatten(), images),
        "Last": (m.Last(), data.standard_normal((2, 3, 4))),
        "MaxPool2d": (m.MaxPool2d(2), images),
        "AvgPool2d": (m.AvgPool2d((2, 3), 1, (1, 0)), images),
        "BatchNorm": (m.BatchNorm(2, dtype=dtype), images),
        "RNN": (m.RNN(3, 4, rng=rng, dtype=dtype), data.standard_normal((2, 3, 3))),
        "LSTM": (m.LSTM(3, 2, rng=rng, dtype=dtype), data.standard_normal((2, 3, 3))),
        "Attention": (m.Attention(3, 2, rng=rng, dtype=dtype), data.standard_normal((2, 3, 3))),
        "causal Attention": (m.Attention(3, 2, causal=True, rng=rng, dtype=dtype),
                             data.standard_normal((2, 3, 3))),
    }  # fmt: skip
    return {name: (layer, x.astype(dtype)) for name, (layer, x) in layers.items()}


NAMES = list(_layers())


def _check(layer, x, inputs=True):
    """Check all that ``backward`` claims, for a random weighting of the output."""
    g = np.random.default_rng(13).standard_normal(layer.forward(x).shape)
    parameters = layer.parameters()
    arrays = ([x] if inputs else []) + [p.value for p in parameters]

    def f(*values):
        if inputs:
            (given, *values) = values
        else:
            given = x
        before = [p.value for p in parameters]
        for p, value in zip(parameters, values, strict=True):
            p.value = value
        y = (layer.forward(given) * g).sum()
        for p, value in zip(parameters, before, strict=True):
            p.value = value
        return y

    layer.zero_gradients()
    layer.forward(x)
    dx = layer.backward(g)
    check_gradient(f, [*([dx] if inputs else []), *[p.gradient for p in parameters]], arrays)


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name):
    _check(*_layers()[name])


def test_embedding_gradients_and_no_gradient_for_integers():
    layer, x = m.Embedding(5, 3, rng=_rng(), dtype=F64), np.array([[0, 4, 4], [1, 0, 2]])
    assert layer.forward(x).shape == (2, 3, 3)
    assert layer.backward(np.ones((2, 3, 3))) is None
    _check(layer, x, inputs=False)


def test_dropout_gradient_is_its_mask():
    layer, x = m.Dropout(0.5, rng=_rng()), np.ones((20, 3))
    y = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(x), y)
    np.testing.assert_array_equal(layer.forward(x, training=False), x)
    again = m.Dropout(0.5, rng=_rng())
    np.testing.assert_array_equal(again.forward(x), y)
    assert (again.forward(x) != y).any()


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    layer, x = _layers(np.float32)[name]
    y = layer.forward(x)
    dx = layer.backward(y)
    assert {a.dtype for a in (y, dx, *[p.gradient for p in layer.parameters()])} == {x.dtype}
    assert dx.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_gradients_accumulate_over_two_backward_calls(name):
    layer, x = _layers()[name]
    g = layer.forward(x) + 1
    layer.backward(g)
    once = [p.gradient.copy() for p in layer.parameters()]
    handed_out = [p.gradient for p in layer.parameters()]
    layer.backward(g)
    for p, first, early in zip(layer.parameters(), once, handed_out, strict=True):
        np.testing.assert_allclose(p.gradient, 2 * first, rtol=1e-15)
        np.testing.assert_array_equal(early, first)
    layer.zero_gradients()
    for p in layer.parameters():
        np.testing.assert_array_equal(p.gradient, np.zeros_like(p.value))


@pytest.mark.parametrize("name", NAMES)
def test_leaving_out_the_input_gradient_changes_no_other(name):
    layer, x = _layers()[name]
    g = layer.forward(x) + 1
    layer.backward(g)
    full = [p.gradient for p in layer.parameters()]
    layer.zero_gradients()
    layer.backward(g, input_gradient=False)
    for p, gradient in zip(layer.parameters(), full, strict=True):
        np.testing.assert_array_equal(p.gradient, gradient)


@pytest.mark.parametrize("name", NAMES)
def test_backward_before_forward_and_a_wrong_g_are_refused(name):
    layer, x = _layers()[name]
    kind = type(layer).__name__
    with pytest.raises(GraphError) as caught:
        layer.backward(x)
    assert str(caught.value) == (
        f"{kind}.backward: there was no forward to go back through\n"
        "  fix:      call forward(x) first"
    )
    y = layer.forward(x)
    with pytest.raises(ShapeError, match=f"{kind}.backward: g does not have the output's shape"):
        layer.backward(y.swapaxes(0, 1)[:1])
    with pytest.raises(DtypeError, match=f"{kind}.backward: g is not of the output's dtype"):
        layer.backward(y.astype(np.float32))


def test_only_affine_and_convolution_have_work_to_leave_out():
    for name in ("Affine", "Conv2d"):
        layer, x = _layers()[name]
        assert layer.backward(layer.forward(x), input_gradient=False) is None


def test_batch_norm_learns_its_averages_in_training_and_uses_them_in_testing():
    layer, rng = m.BatchNorm(2, momentum=0.5, dtype=F64), _rng()
    for _ in range(60):
        layer.forward(rng.normal([3.0, -1.0], [2.0, 0.5], (500, 2)))
    mean, variance = layer.running_mean.copy(), layer.running_variance.copy()
    # The last batches count 1/2, 1/4, ...: as much noise as 3 batches of 500 would have.
    np.testing.assert_allclose(mean, [3, -1], atol=5 * 2 / np.sqrt(1500))
    np.testing.assert_allclose(variance, [4, 0.25], rtol=5 * np.sqrt(2 / 1500))
    x = rng.standard_normal((1, 2))
    y = layer.forward(x, training=False)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-13)
    np.testing.assert_array_equal(layer.running_mean, mean)


def test_recurrent_layers_start_from_zeros_and_the_lstm_remembers():
    layer = m.LSTM(3, 2, rng=_rng())
    np.testing.assert_array_equal(layer.b.value, [0, 0, 1, 1, 0, 0, 0, 0])
    x = np.zeros((1, 2, 3), np.float32)
    np.testing.assert_array_equal(layer.forward(x), np.zeros((1, 2, 2)))
    np.testing.assert_array_equal(m.RNN(3, 2, rng=_rng()).forward(x), np.zeros((1, 2, 2)))


def test_causal_attention_does_not_see_the_future():
    layer, x = _layers()["causal Attention"]
    y = layer.forward(x)
    changed = x.copy()
    changed[:, 2] += 1
    np.testing.assert_array_equal(layer.forward(changed)[:, :2], y[:, :2])
    assert (layer.forward(changed)[:, 2] != y[:, 2]).all()


def test_affine_suggests_flatten():
    layer = m.Affine(20, 2, rng=_rng())
    with pytest.raises(ShapeError) as caught:
        layer.forward(np.zeros((3, 1, 4, 5), np.float32))
    assert str(caught.value) == (
        "Affine: x does not fit the layer\n"
        "  given:    x (3, 1, 4, 5)\n"
        "  expected: x (N, 20)\n"
        "  fix:      put Flatten() before it"
    )
    with pytest.raises(DtypeError, match="Affine: x is not an array"):
        layer.forward([[1.0] * 20])
    with pytest.raises(ShapeError, match="Affine: x does not fit the layer"):
        layer.forward(np.zeros(20, np.float32))


def test_a_layer_whose_weights_are_fixed_blames_x():
    with pytest.raises(ShapeError, match="Conv2d: x does not fit w") as caught:
        m.Conv2d(3, 2, 3, rng=_rng()).forward(np.zeros((1, 2, 5, 5), np.float32))
    assert caught.value.fix == "x needs shape (1, 3, H, W) here"
    for shape in ((4, 2), (4, 2, 5, 5)):
        with pytest.raises(ShapeError, match="BatchNorm: x does not fit gamma"):
            m.BatchNorm(3).forward(np.zeros(shape, np.float32))
    for build in (m.RNN, m.LSTM, m.Attention):
        layer = build(3, 2, rng=_rng())
        with pytest.raises(ShapeError, match=f"{build.__name__}: x does not fit w"):
            layer.forward(np.zeros((2, 4, 5), np.float32))
        with pytest.raises(DtypeError, match=f"{build.__name__}: x and w.* differ in precision"):
            layer.forward(np.zeros((2, 4, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: m.Affine(0, 2, rng=_rng()), "Affine: inputs is not usable"),
        (lambda: m.Affine(2, 2.0, rng=_rng()), "Affine: outputs is not usable"),
        (lambda: m.Conv2d(1, 0, 3, rng=_rng()), "Conv2d: outputs is not usable"),
        (lambda: m.Conv2d(1, 1, 0, rng=_rng()), "Conv2d: size is not usable"),
        (lambda: m.Conv2d(1, 1, 3, 0, rng=_rng()), "Conv2d: stride is not usable"),
        (lambda: m.MaxPool2d(0), "MaxPool2d: size is not usable"),
        (lambda: m.AvgPool2d(2, 0), "AvgPool2d: stride is not usable"),
        (lambda: m.BatchNorm(2, momentum=2), "BatchNorm: momentum is not usable"),
        (lambda: m.Dropout(1.0, rng=_rng()), "Dropout: rate is not usable"),
        (lambda: m.Embedding(0, 1, rng=_rng()), "Embedding: count is not usable"),
        (lambda: m.RNN(1, -1, rng=_rng()), "RNN: hidden is not usable"),
        (lambda: m.LSTM("3", 1, rng=_rng()), "LSTM: inputs is not usable"),
        (lambda: m.Attention(3, None, rng=_rng()), "Attention: size is not usable"),
    ],
)
def test_options_are_refused_when_the_layer_is_made(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_dtype_and_rng_are_refused_when_the_layer_is_made():
    with pytest.raises(DtypeError, match="a floating dtype is needed"):
        m.Affine(2, 2, rng=_rng(), dtype=np.float16)
    with pytest.raises(DtypeError, match="a floating dtype is needed"):
        m.BatchNorm(2, dtype=int)
    for build in (m.Dropout, lambda _, rng: m.Embedding(2, 2, rng=rng)):
        with pytest.raises(DtypeError, match="rng is not a random generator"):
            build(0.5, rng=3)
