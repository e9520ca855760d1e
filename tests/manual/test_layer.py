from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import GraphError, OptionError, ShapeError
from workbench.gradcheck import check_gradient


def _model(dtype=np.float64):
    rng = np.random.default_rng(21)
    return m.Sequential(
        m.Conv2d(1, 2, 3, padding=1, rng=rng, dtype=dtype),
        m.BatchNorm(2, dtype=dtype),
        m.Tanh(),
        m.AvgPool2d(2),
        m.Flatten(),
        m.Sequential(m.Affine(8, 5, rng=rng, dtype=dtype), m.Sigmoid()),
        m.Affine(5, 3, rng=rng, dtype=dtype),
    )


def test_the_loop_over_layers_is_the_chain_rule():
    model, loss = _model(), m.SoftmaxCrossEntropy()
    x, labels = np.random.default_rng(0).standard_normal((4, 1, 4, 5)), np.array([0, 2, 1, 0])
    parameters = model.parameters()

    def f(x, *values):
        for p, value in zip(parameters, values, strict=True):
            p.value = value
        return loss.forward(model.forward(x), labels)

    values = [p.value for p in parameters]
    f(x, *values)
    dx = model.backward(loss.backward())
    check_gradient(f, [dx, *[p.gradient for p in parameters]], [x, *values])


def test_parameters_are_named_by_their_places():
    names = [p.name for p in _model().parameters()]
    assert names == ["0.w", "0.b", "1.gamma", "1.beta", "5.0.w", "5.0.b", "6.w", "6.b"]


def test_training_is_an_argument_and_reaches_every_layer():
    rng = np.random.default_rng(0)
    model = m.Sequential(m.Sequential(m.Dropout(0.5, rng=rng)), m.BatchNorm(3, dtype=np.float64))
    x = rng.standard_normal((6, 3))
    assert (model.forward(x, training=True) != model.forward(x, training=True)).any()
    before = model.layers[1].running_mean.copy()
    np.testing.assert_array_equal(
        model.forward(x, training=False), model.forward(x, training=False)
    )
    np.testing.assert_array_equal(model.layers[1].running_mean, before)


def test_gradients_accumulate_and_zero_gradients_clears_them_all():
    model, x = _model(), np.random.default_rng(0).standard_normal((2, 1, 4, 4))
    g = np.ones_like(model.forward(x))
    model.backward(g)
    once = [p.gradient for p in model.parameters()]
    model.backward(g)
    for p, first in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(p.gradient, 2 * first, rtol=1e-14)
    model.zero_gradients()
    assert not any(p.gradient.any() for p in model.parameters())


def test_without_the_input_gradient_the_walk_ends_at_the_first_parameters():
    class Tripwire(m.Layer):
        def compute(self, x, training):
            return x, x

        def gradients(self, g, cache):
            raise AssertionError("nobody asked")

    rng = np.random.default_rng(0)
    affine = m.Affine(3, 2, rng=rng, dtype=np.float64)
    model = m.Sequential(Tripwire(), m.Sequential(Tripwire(), affine), m.Tanh())
    g = model.forward(np.ones((2, 3)))
    assert model.backward(g, input_gradient=False) is None
    assert affine.w.gradient.any()
    with pytest.raises(AssertionError, match="nobody asked"):
        model.backward(g)


def test_a_shared_parameter_is_listed_once_and_gathers_both_gradients():
    rng = np.random.default_rng(0)
    first, second = (m.Affine(3, 3, rng=rng, dtype=np.float64) for _ in range(2))
    second.w = first.w
    model = m.Sequential(first, m.Tanh(), second)
    x, w = rng.standard_normal((4, 3)), first.w
    assert len(model.parameters()) == 3

    def f(value):
        w.value = value
        return model.forward(x).sum()

    start = w.value
    model.backward(np.ones_like(model.forward(x)))
    check_gradient(f, w.gradient, start)


def test_a_new_layer_is_two_methods():
    class Square(m.Layer):
        """x * x."""

        def compute(self, x, training):
            return x * x, x

        def gradients(self, g, cache):
            return (2 * cache * g,)

    layer = Square()
    layer.forward(np.array([[3.0]]))
    np.testing.assert_array_equal(layer.backward(np.array([[1.0]])), [[6.0]])
    with pytest.raises(NotImplementedError, match="Layer defines no compute"):
        m.Layer().forward(1)


def test_sequential_says_which_layer_refused():
    model = _model()
    with pytest.raises(ShapeError) as caught:
        model.forward(np.ones((2, 1, 6, 6)))
    assert str(caught.value) == (
        "layer 5 (Sequential), layer 0 (Affine), Affine: x does not fit the layer\n"
        "  given:    x (2, 18)\n"
        "  expected: x (N, 8)"
    )


def test_sequential_refuses():
    affine = m.Affine(2, 2, rng=np.random.default_rng(0))
    with pytest.raises(OptionError, match="Sequential: there are no layers"):
        m.Sequential()
    with pytest.raises(OptionError, match="Sequential: argument 1 is not a layer") as caught:
        m.Sequential(affine, m.ReLU)
    assert caught.value.fix == "ReLU(...)"
    with pytest.raises(OptionError, match="argument 0 is not a layer") as caught:
        m.Sequential([affine, m.ReLU()])
    assert caught.value.fix == "Sequential(*layers)"
    with pytest.raises(OptionError, match="argument 2 stands in the list twice"):
        m.Sequential(affine, m.ReLU(), affine)
    with pytest.raises(GraphError, match=r"Sequential\.backward: there was no forward"):
        m.Sequential(affine).backward(np.ones((1, 2)))


def test_parameter_gradient_reads_as_zeros_and_can_be_set():
    p = m.Parameter(np.ones((2, 3), np.float32), "w")
    assert repr(p) == "Parameter('w', (2, 3), float32)"
    np.testing.assert_array_equal(p.gradient, np.zeros((2, 3), np.float32))
    assert p.gradient.dtype == np.float32
    p.gradient += 2
    np.testing.assert_array_equal(p.gradient, np.full((2, 3), 2, np.float32))


def test_repr_shows_the_shapes():
    model = m.Sequential(m.Affine(3, 2, rng=np.random.default_rng(0)), m.ReLU())
    assert repr(model) == "Sequential(Affine(0.w (3, 2), 0.b (2,)), ReLU())"
