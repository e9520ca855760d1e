"""grad: graph to graph, any order, any depth; what it refuses."""

import numpy as np
import pytest

from workbench import gradcheck, symbolic
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, UnknownNameError
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


# --- constants by request --------------------------------------------------------------------


def test_disconnected_may_be_none():
    x, y = symbolic.vector("x"), symbolic.vector("y")
    assert symbolic.grad((x * x).sum(), y, disconnected="none") is None
    gx, gy = symbolic.grad((x * x).sum(), [x, y], disconnected="none")
    assert gy is None
    np.testing.assert_array_equal(numbers(gx, [x], [1.0, 2.0]), [2, 4])


def test_no_gradient_passes_what_is_to_be_constant():
    x = symbolic.vector("x", shape=2)
    h = x * x
    cost = (h * x).sum()
    held = symbolic.grad(cost, x, consider_constant=[h])
    np.testing.assert_array_equal(numbers(held, [x], [2.0, 3.0]), [4, 9])  # Not 3 x x.
    through = symbolic.grad(cost, [x, h], consider_constant=h)
    np.testing.assert_array_equal(numbers(through[1], [x], [2.0, 3.0]), [2, 3])
    with pytest.raises(GraphError, match=r"multiply \(it is among consider_constant\)"):
        symbolic.grad(h.sum(), x, consider_constant=[h])
    with pytest.raises(GraphError, match=r"consider_constant\[1\] is not an expression"):
        symbolic.grad(cost, x, consider_constant=[h, 3])


def test_an_expression_considered_constant_has_a_gradient_of_zero():
    x = symbolic.vector("x", shape=2)
    y = symbolic.consider_constant(x * x) * x
    value, g = numbers([y, symbolic.grad(y.sum(), x)], [x], [2.0, 3.0])
    np.testing.assert_array_equal(value, [8, 27])
    np.testing.assert_array_equal(g, [4, 9])
    zero = symbolic.grad(symbolic.consider_constant(x).sum(), x)
    np.testing.assert_array_equal(numbers(zero, [x], [2.0, 3.0]), [0, 0])


def test_a_disconnected_expression_is_reported():
    x = symbolic.vector("x", shape=2)
    y = symbolic.disconnected(x)
    np.testing.assert_array_equal(numbers(y, [x], [2.0, 3.0]), [2, 3])
    with pytest.raises(GraphError, match=r"disconnected \(disconnected was asked for\)"):
        symbolic.grad(y.sum(), x)
    np.testing.assert_array_equal(numbers(symbolic.grad((y * x).sum(), x), [x], [2.0, 3.0]), [2, 3])
    assert symbolic.grad(y.sum(), x, disconnected="none") is None


@pytest.mark.parametrize("stop", [symbolic.consider_constant, symbolic.disconnected])
def test_what_stops_a_gradient_compiles_to_nothing(stop):
    x = symbolic.vector("x", shape=2)
    f = symbolic.function([x], stop(x) * 3, mode="numpy")
    np.testing.assert_array_equal(f([1.0, 2.0]), [3, 6])


# --- Jacobians and products with them ----------------------------------------------------------

A = np.array([[1.0, -2.0, 0.5], [0.3, 4.0, -1.0]])


def numbers(outputs, inputs, *values):
    f = symbolic.function(inputs, outputs, mode="interpret", on_unused_input="ignore")
    return f(*values)


def curved(x):
    """Return a smooth function from three numbers to two, and its Jacobian on arrays."""
    return ops.tanh(ops.matmul(A, x)) * x[0]


def jacobian_of_curved(x):
    t = np.tanh(A @ x)
    return x[0] * (1 - t * t)[:, None] * A + np.outer(t, [1, 0, 0])


@pytest.mark.parametrize("known", [True, False])
def test_jacobian(known):
    at = np.array([0.5, -0.3, 0.8])
    x = symbolic.vector("x", shape=(3 if known else None,))
    y = curved(x) if known else ops.tanh(x) * x.sum()
    actual = numbers(symbolic.jacobian(y, x), [x], at)
    t = np.tanh(at)
    expected = jacobian_of_curved(at)
    if not known:
        expected = np.diag((1 - t * t) * at.sum()) + t[:, None]
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_jacobian_by_a_matrix_by_several_and_of_a_scalar():
    w, x = symbolic.matrix("w", shape=(2, 3)), symbolic.vector("x", shape=3)
    jw, jx = symbolic.jacobian(w @ x, [w, x])
    at = np.array([1.0, 2.0, 3.0])
    jw, jx = numbers([jw, jx], [w, x], A, at)
    np.testing.assert_array_equal(jx, A)
    np.testing.assert_array_equal(jw, np.einsum("ij,k->ijk", np.eye(2), at))
    slope = symbolic.jacobian((x * x).sum(), x)
    np.testing.assert_array_equal(numbers(slope, [x], at), 2 * at)


def test_jacobian_of_a_long_vector_is_a_loop():
    x = symbolic.vector("x", shape=100)
    j = symbolic.jacobian(ops.square(x), x)
    assert len(symbolic.nodes(j)) < 30
    at = np.arange(100.0)
    np.testing.assert_array_equal(numbers(j, [x], at), np.diag(2 * at))


def test_hessian():
    x = symbolic.vector("x", shape=3)
    cost = x[0] * x[1] ** 2 * ops.exp(x[2])
    a, b, e = 2.0, 3.0, np.exp(0.5)
    expected = [[0, 2 * b * e, b * b * e], [2 * b * e, 2 * a * e, 2 * a * b * e],
                [b * b * e, 2 * a * b * e, a * b * b * e]]  # fmt: skip
    actual = numbers(symbolic.hessian(cost, x), [x], [a, b, 0.5])
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def test_hessian_of_something_linear_of_a_scalar_and_by_several():
    x, s = symbolic.vector("x", shape=2), symbolic.scalar("s")
    linear, mixed = symbolic.hessian((3 * x).sum() * ops.exp(s), [x, s])
    np.testing.assert_array_equal(numbers(linear, [x, s], [1.0, 2.0], 0.0), np.zeros((2, 2)))
    np.testing.assert_allclose(numbers(mixed, [x, s], [1.0, 2.0], 0.0), 9)


def test_left_and_right_products_are_those_with_the_jacobian():
    x = symbolic.vector("x", shape=3)
    y, at, v, g = curved(x), np.array([0.5, -0.3, 0.8]), np.array([1.0, -2.0, 0.7]), [0.4, -1.3]
    right, left = symbolic.r_operator(y, x, v), symbolic.l_operator(y, x, g)
    right, left = numbers([right, left], [x], at)
    np.testing.assert_allclose(right, jacobian_of_curved(at) @ v, rtol=1e-14)
    np.testing.assert_allclose(left, g @ jacobian_of_curved(at), rtol=1e-14)


def test_the_right_product_of_several_of_any_shape_and_of_any_order():
    w, x = symbolic.matrix("w"), symbolic.vector("x")
    dw, dx = symbolic.matrix("dw"), symbolic.vector("dx")
    y = ops.exp(w @ x)
    at = np.array([0.3, -0.2, 0.1])
    along = np.array([0.7, 0.1, -0.4])
    first = symbolic.r_operator(y, [w, x], [dw, dx])
    value, slope = np.exp(A @ at), A[::-1] @ at + A @ along
    given = ([w, x, dw, dx], A, at, A[::-1].copy(), along)
    np.testing.assert_allclose(numbers(first, *given), value * slope, rtol=1e-14)
    # Along a line the second derivative of exp(u) is exp(u) (u' u' + u'').
    second = symbolic.r_operator(first, [w, x], [dw, dx])
    bend = 2 * A[::-1] @ along
    np.testing.assert_allclose(numbers(second, *given), value * (slope**2 + bend), rtol=1e-13)


def test_the_right_product_of_the_gradient_is_that_with_the_hessian():
    x = symbolic.vector("x", shape=3)
    cost = x[0] * x[1] ** 2 * ops.exp(x[2])
    v = np.array([1.0, -2.0, 0.7])
    fast = symbolic.r_operator(symbolic.grad(cost, x), x, v)
    h, hv = numbers([symbolic.hessian(cost, x), fast], [x], [2.0, 3.0, 0.5])
    np.testing.assert_allclose(hv, h @ v, rtol=1e-13)


def test_products_with_what_is_not_connected_are_zero():
    x, y = symbolic.vector("x", shape=2), symbolic.vector("y", shape=3)
    right, left = symbolic.r_operator(x * x, y, np.ones(3)), symbolic.l_operator(x, y, [1.0, 1.0])
    right, left = numbers([right, left], [x, y], np.ones(2), np.ones(3))
    np.testing.assert_array_equal(right, [0, 0])
    np.testing.assert_array_equal(left, [0, 0, 0])


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda x, m, i: symbolic.jacobian(m, x), ShapeError, "jacobian: .*more than one axis"),
        (lambda x, m, i: symbolic.jacobian(3.0, x), GraphError, "cost is not an expression"),
        (lambda x, m, i: symbolic.jacobian(i, x), DtypeError, "does not vary smoothly"),
        (lambda x, m, i: symbolic.hessian(m.sum(), m), ShapeError, r"hessian: wrt\[0\] has more"),
        (lambda x, m, i: symbolic.hessian(x, x), ShapeError, "cost is not a scalar"),
        (lambda x, m, i: symbolic.r_operator(x, x, [1.0]), ShapeError,
         r"r_operator: direction\[0\] has the wrong shape"),
        (lambda x, m, i: symbolic.r_operator(x, [x, m], [x]), OptionError,
         "direction does not go with wrt"),
        (lambda x, m, i: symbolic.r_operator(i, x, x), DtypeError,
         "r_operator: expression does not vary smoothly"),
        (lambda x, m, i: symbolic.l_operator(x, x, m), ShapeError, "l_operator: g has the wrong"),
        (lambda x, m, i: symbolic.l_operator(x, [i], x), DtypeError, r"wrt\[0\] does not vary"),
        (lambda x, m, i: symbolic.l_operator(x, ["x"], x), GraphError, r"wrt\[0\] is not an exp"),
    ],
)  # fmt: skip
def test_refusals_of_products_and_jacobians(build, error, text):
    x, m = symbolic.vector("x", shape=3), symbolic.matrix("m")
    with pytest.raises(error, match=text):
        build(x, m, symbolic.vector("i", "int64"))
