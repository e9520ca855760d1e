"""grad: graph to graph, any order, any depth; what it refuses."""

import numpy as np
import pytest

from workbench import gradcheck, symbolic
from workbench.errors import DtypeError, GraphError, ShapeError, UnknownNameError
from workbench.symbolic import ops


def at(y, x, value):
    return float(symbolic.function([x], y, on_unused_input="ignore")(value))


def test_fan_out_accumulates():
    x = symbolic.scalar("x")
    assert at(symbolic.grad(x * x + x, x), x, 3.0) == 7


def test_doubling_sixty_times_is_sixty_steps_of_work():
    x = symbolic.scalar("x")
    y = x
    for _ in range(60):
        y = y + y
    f = symbolic.function([x], [y, symbolic.grad(y, x)])
    assert f(1.0) == [2.0**60, 2.0**60]
    assert f.graph_size <= 120


def test_a_chain_of_ten_thousand_is_differentiated_and_run():
    x = symbolic.scalar("x")
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    f = symbolic.function([x], [y, symbolic.grad(y, x)])
    value, slope = f(2.0)
    assert value == pytest.approx(2 * 1.0001**10_000, rel=1e-11)
    assert slope == pytest.approx(1.0001**10_000, rel=1e-11)


def test_any_order():
    x = symbolic.scalar("x")
    y = ops.exp(2 * x)
    for order in range(1, 6):
        y = symbolic.grad(y, x)
        assert at(y, x, 0.5) == pytest.approx(2**order * np.e, rel=1e-14)
    z = ops.tanh(x)
    third = symbolic.grad(symbolic.grad(symbolic.grad(z, x), x), x)
    t = np.tanh(0.3)
    assert at(third, x, 0.3) == pytest.approx((1 - t * t) * (6 * t * t - 2), rel=1e-13)


def test_a_hessian_row_by_row():
    x = symbolic.vector("x", shape=(3,))
    y = (x[0] * x[1] ** 2 * ops.exp(x[2])).sum()
    g = symbolic.grad(y, x)
    rows = [symbolic.grad(g[i], x) for i in range(3)]
    a, b, c = 2.0, 3.0, 0.5
    e = np.exp(c)
    expected = [[0, 2 * b * e, b * b * e], [2 * b * e, 2 * a * e, 2 * a * b * e],
                [b * b * e, 2 * a * b * e, a * b * b * e]]  # fmt: skip
    actual = symbolic.function([x], rows)([a, b, c])
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_one_variable_or_several_intermediate_or_shared():
    x, w = symbolic.vector("x"), symbolic.shared([1.0, 2.0], "w")
    h = x * w
    cost = (h * h).sum()
    assert isinstance(symbolic.grad(cost, x), symbolic.Variable)
    gradients = symbolic.grad(cost, (x, w, h, x, cost))
    gx, gw, gh, again, one = symbolic.function([x], gradients)([3.0, 4.0])
    np.testing.assert_array_equal(gx, [6, 32])
    np.testing.assert_array_equal(gw, [18, 64])
    np.testing.assert_array_equal(gh, [6, 16])
    np.testing.assert_array_equal(again, gx)
    assert one == 1


def test_equals_the_hand_derived_gradient_of_a_whole_network():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    w, b = rng.standard_normal((4, 3)), rng.standard_normal(3)
    vx, vw, vb = symbolic.matrix("x"), symbolic.matrix("w"), symbolic.vector("b")
    vt = symbolic.vector("t", "int64")
    loss = ops.softmax_cross_entropy(vx @ vw + vb, vt)
    f = symbolic.function([vx, vw, vb, vt], symbolic.grad(loss, [vx, vw, vb]))
    z = x @ w + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p[np.arange(7), t] -= 1
    d = p / 7
    for actual, expected in zip(f(x, w, b, t), [d @ w.T, x.T @ d, d.sum(0)], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_network_with_an_unknown_batch_passes_the_numeric_check(batch):
    rng = np.random.default_rng(batch)
    x, w = rng.standard_normal((batch, 1, 6, 6)), rng.standard_normal((2, 1, 3, 3))
    v = rng.standard_normal((18, 3))
    labels = rng.integers(0, 3, batch)
    vx = symbolic.tensor("x", shape=(None, 1, None, None))
    vw, vv = symbolic.tensor("w", shape=(2, 1, 3, 3)), symbolic.matrix("v")
    h = ops.max_pool2d(ops.tanh(ops.conv2d(vx, vw, padding=1)), 2)
    loss = ops.softmax_cross_entropy(h.reshape((-1, 18)) @ vv, labels) + (h * h).mean()
    f = symbolic.function([vx, vw, vv], loss, mode="check")
    g = symbolic.function([vx, vw, vv], symbolic.grad(loss, [vx, vw, vv]), mode="check")
    gradcheck.check_gradient(f, g, (x, w, v), names=["x", "w", "v"])


def test_only_what_was_asked_for_is_computed():
    x, w = symbolic.matrix("x"), symbolic.shared(np.ones((3, 2)), "w")
    cost = ops.square(x @ w).sum()
    f = symbolic.function([x], symbolic.grad(cost, w))
    assert [n.op.name for n in f.nodes].count("matmul") == 2  # Not the one for x.


# --- what is not connected -------------------------------------------------------------------


def test_disconnected_is_reported_or_zero():
    x, y = symbolic.vector("x"), symbolic.vector("y", "float32")
    cost = (x * x).sum()
    with pytest.raises(GraphError, match=r"grad: cost does not depend on wrt\[1\], 'y'") as caught:
        symbolic.grad(cost, [x, y])
    assert 'disconnected="zero"' in str(caught.value)
    zero = symbolic.grad(cost, y, disconnected="zero")
    assert zero.dtype == np.float32
    np.testing.assert_array_equal(symbolic.function([y], zero)([1.0, 2.0]), [0, 0])


def test_the_ops_where_a_path_ends_are_named_with_their_reason():
    x = symbolic.vector("x")
    for y, text in [
        (ops.cast(x > 0, "float64").sum(), r"greater \(a comparison is constant but for steps\)"),
        (ops.cast(ops.cast(x, "int64"), "float64").sum(), r"cast \(its result is int64\)"),
        (ops.cast(ops.argmax(x), "float64"), r"argmax \(a position is an integer"),
    ]:
        with pytest.raises(GraphError, match=f"wrt.0., 'x', but through {text}"):
            symbolic.grad(y, x)


def test_a_smooth_path_beside_a_step_is_enough():
    x = symbolic.vector("x")
    y = (x * (x > 0)).sum()
    g = symbolic.function([x], symbolic.grad(y, x))
    np.testing.assert_array_equal(g([-1.0, 2.0]), [0, 1])


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda x, i: symbolic.grad(x, x), ShapeError, "grad: cost is not a scalar.*(\n.*)*mean"),
        (lambda x, i: symbolic.grad(i.sum(), x), DtypeError, "grad: cost does not vary smoothly"),
        (lambda x, i: symbolic.grad(x.sum(), i), DtypeError, r"grad: wrt\[0\] does not vary"),
        (lambda x, i: symbolic.grad(3.0, x), GraphError, "grad: cost is not an expression"),
        (lambda x, i: symbolic.grad(x.sum(), ["x"]), GraphError, r"wrt\[0\] is not an expression"),
        (lambda x, i: symbolic.grad(x.sum(), x, disconnected="zeros"), UnknownNameError,
         "did you mean 'zero'"),
    ],
)  # fmt: skip
def test_refusals(build, error, text):
    with pytest.raises(error, match=text):
        build(symbolic.vector("x"), symbolic.vector("i", "int64"))


def test_an_op_whose_gradient_has_the_wrong_shape_is_named():
    class Crooked(symbolic.Op):
        name = "crooked"

        def infer(self, x):
            return x.type

        def compute(self, x):
            return x

        def gradient(self, inputs, output, g):
            return (g.sum(),)

    x = symbolic.vector("x")
    with pytest.raises(ShapeError, match="crooked: its gradient has another shape"):
        symbolic.grad(symbolic.apply(Crooked(), x).sum(), x)
