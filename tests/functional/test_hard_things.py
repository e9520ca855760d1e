"""What eager found hard: each thing small, against a loop, a formula or difference quotients."""

import itertools

import numpy as np
import pytest

from workbench.errors import GraphError
from workbench.functional import (
    checkpoint,
    custom_jvp,
    custom_vjp,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jit,
    jvp,
    linearize,
    scan,
    stop_gradient,
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_unflatten,
    value_and_grad,
    vjp,
    vmap,
    while_loop,
)
from workbench.functional import numpy as fnp
from workbench.functional.numpy.linalg import solve
from workbench.gradcheck import numeric_gradient

EPS = np.finfo(float).eps
RATE = 0.1


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def same(x):
    return x


def network(rng, sizes=(3, 5, 2)):
    return [
        {"w": rng.normal(size=(m, n)) / np.sqrt(m), "b": rng.normal(size=n)}
        for m, n in itertools.pairwise(sizes)
    ]


def predict(model, x):
    first, second = model
    return fnp.tanh(x @ first["w"] + first["b"]) @ second["w"] + second["b"]


def loss(model, x, y):
    return fnp.mean(fnp.square(predict(model, x) - y))


def descend(model, x, y):
    return tree_map(lambda p, g: p - RATE * g, model, grad(loss)(model, x, y))


def assert_close(tree, other, atol):
    for a, b in zip(tree_leaves(tree), tree_leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def one_of(tree, number):
    return tree_map(lambda leaf: leaf[number], tree)


def flat(tree):
    return np.concatenate([leaf.ravel() for leaf in tree_leaves(tree)])


# Per-sample gradients.


@pytest.mark.parametrize("wrap", [same, jit, checkpoint], ids=["plain", "jit", "checkpoint"])
def test_per_sample_gradients_are_those_of_a_loop_and_their_mean_is_the_batch_s(rng, wrap):
    model, x, y = network(rng), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    each = vmap(grad(wrap(loss)), in_axes=(None, 0, 0))(model, x, y)
    loop = [grad(loss)(model, x[i], y[i]) for i in range(7)]
    whole = grad(loss)(model, x, y)
    for number, one in enumerate(loop):
        assert_close(one_of(each, number), one, atol=32 * EPS)
    assert_close(tree_map(lambda g: g.mean(0), each), whole, atol=16 * EPS)


def test_clipped_per_sample_gradients_never_exceed_their_bound(rng):
    def clipped(model, x, y, bound):
        g = grad(loss)(model, x, y)
        norm = fnp.sqrt(sum(fnp.sum(fnp.square(p)) for p in tree_leaves(g)))
        return tree_map(lambda p: p * fnp.minimum(1.0, bound / norm), g), norm

    model, x, y = network(rng), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    g, norms = jit(vmap(clipped, in_axes=(None, 0, 0, None)))(model, x, y, 1.0)
    after = np.sqrt(sum(np.square(p).reshape(9, -1).sum(1) for p in tree_leaves(g)))
    assert (norms > 1).any()
    assert (norms < 1).any()
    np.testing.assert_allclose(after, np.minimum(norms, 1), rtol=8 * EPS)


# Ensembles.


@pytest.mark.parametrize("wrap", [same, jit], ids=["plain", "jit"])
def test_an_ensemble_trained_at_once_is_its_members_trained_alone(rng, wrap):
    members = [network(np.random.default_rng(seed)) for seed in range(4)]
    stacked = tree_map(lambda *leaves: np.stack(leaves), *members)
    xs, ys = rng.normal(size=(6, 8, 3)), rng.normal(size=(6, 8, 2))

    def train(model, xs, ys):
        return scan(lambda model, batch: (descend(model, *batch), None), model, (xs, ys))[0]

    together = wrap(vmap(train, in_axes=(0, None, None)))(stacked, xs, ys)
    for number, member in enumerate(members):
        alone = member
        for x, y in zip(xs, ys, strict=True):
            alone = descend(alone, x, y)
        assert_close(one_of(together, number), alone, atol=64 * EPS)


# Jacobians and Hessians.


def wave(x):
    return fnp.stack([fnp.sin(x[0]) * x[1], fnp.exp(x[1] * x[2]), fnp.sum(x * x), x[0] / x[2]])


def test_a_jacobian_by_columns_by_rows_and_by_loops_is_one_matrix(rng):
    x = rng.uniform(0.5, 1.5, 3)
    a, b, c = x
    exact = [
        [np.cos(a) * b, np.sin(a), 0],
        [0, c * np.exp(b * c), b * np.exp(b * c)],
        [2 * a, 2 * b, 2 * c],
        [1 / c, 0, -a / c**2],
    ]
    _, push = linearize(wave, x)
    _, pull = vjp(wave, x)
    columns = np.stack([push(e) for e in np.eye(3)], axis=1)
    rows = np.stack([pull(e)[0] for e in np.eye(4)])
    for J in (jacfwd(wave)(x), jacrev(wave)(x), jit(jacfwd(wave))(x), columns, rows):
        np.testing.assert_allclose(J, exact, rtol=8 * EPS, atol=EPS)


WAYS = {
    "forward over reverse": lambda f: jacfwd(jacrev(f)),
    "reverse over reverse": lambda f: jacrev(jacrev(f)),
    "forward over forward": lambda f: jacfwd(jacfwd(f)),
    "reverse over forward": lambda f: jacrev(jacfwd(f)),
    "hessian": hessian,
}


@pytest.mark.parametrize("wrap", [same, jit], ids=["plain", "jit"])
@pytest.mark.parametrize("way", WAYS)
def test_a_hessian_is_the_same_whichever_way_it_is_taken(rng, way, wrap):
    w, x = rng.normal(size=(6, 6)), rng.normal(size=6)

    def energy(x):
        return fnp.sum(fnp.square(fnp.tanh(w @ x)))

    y = np.tanh(w @ x)
    slope = 1 - y * y
    exact = w.T @ np.diag(2 * slope * (slope - 2 * y * y)) @ w
    H = wrap(WAYS[way](energy))(x)
    np.testing.assert_allclose(H, exact, rtol=0, atol=64 * EPS)
    numeric = np.stack([numeric_gradient(lambda x, k=k: grad(energy)(x)[k], x) for k in range(6)])
    np.testing.assert_allclose(H, numeric, rtol=0, atol=1e-8)


def test_a_hessian_times_a_vector_needs_no_hessian(rng):
    model, x, y = network(rng), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    v, leaves, treedef = network(rng), *tree_flatten(model)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def gradient(model):
        return grad(loss)(model, x, y)

    def along(model):  # Of this number, one more gradient.
        pairs = zip(tree_leaves(gradient(model)), tree_leaves(v), strict=True)
        return sum(fnp.sum(g * t) for g, t in pairs)

    def of_vector(p):
        parts = [
            p[end - leaf.size : end].reshape(leaf.shape)
            for leaf, end in zip(leaves, ends, strict=True)
        ]
        return loss(tree_unflatten(treedef, parts), x, y)

    product = hessian(of_vector)(flat(model)) @ flat(v)
    for found in (jvp(gradient, (model,), (v,))[1], grad(along)(model)):
        np.testing.assert_allclose(flat(found), product, rtol=0, atol=64 * EPS)


# Learning to learn (MAML).


@pytest.mark.parametrize("wrap", [same, jit], ids=["plain", "jit"])
def test_the_gradient_passes_through_a_gradient_step_as_the_chain_rule_says(wrap):
    def after_a_step(p, a, b):
        adapted = p - RATE * grad(lambda p: (p - a) ** 2 / 2)(p)
        return (adapted - b) ** 2 / 2

    p, a, b = 0.7, 2.0, -1.0
    adapted = p - RATE * (p - a)
    got = wrap(grad(after_a_step))(p, a, b)
    assert got == pytest.approx((adapted - b) * (1 - RATE), rel=8 * EPS)


def adapt(model, x, y, steps, whole=True):
    def step(model, _):
        g = grad(loss)(model, x, y)
        g = g if whole else stop_gradient(g)
        return tree_map(lambda p, g: p - RATE * g, model, g), None

    return scan(step, model, length=steps)[0]


def test_a_meta_gradient_is_the_numeric_one_and_the_first_order_one_is_not(rng):
    model = network(rng)
    tasks = [rng.normal(size=(5, 4, n)) for n in (3, 2, 3, 2)]

    def meta(model, whole=True):
        def one(x, y, x_new, y_new):
            return loss(adapt(model, x, y, steps=3, whole=whole), x_new, y_new)

        return fnp.mean(vmap(one)(*tasks))

    by_loop = np.mean([
        loss(adapt(model, tasks[0][i], tasks[1][i], steps=3), tasks[2][i], tasks[3][i])
        for i in range(5)
    ])  # fmt: skip
    value, g = jit(value_and_grad(meta))(model)
    assert value == pytest.approx(by_loop, rel=16 * EPS)
    fast = jit(meta)

    def of_first_bias(b):
        return fast([{"w": model[0]["w"], "b": b}, model[1]])

    numeric = numeric_gradient(of_first_bias, model[0]["b"])
    np.testing.assert_allclose(g[0]["b"], numeric, rtol=0, atol=1e-9)
    first_order = grad(lambda model: meta(model, whole=False))(model)
    assert np.abs(first_order[0]["b"] - numeric).max() > 1e-3


# Implicit differentiation.


def settle(step, z, tolerance=1e-15):
    """Iterate ``step`` until it moves nothing by more than ``tolerance``."""
    return while_loop(
        lambda pair: fnp.max(fnp.abs(pair[0] - pair[1])) > tolerance,
        lambda pair: (pair[1], step(pair[1])),
        (z, step(z)),
    )[1]


def layer(z, w, x):
    return fnp.tanh(w @ z + x)


@custom_vjp
def equilibrium(w, x):
    return settle(lambda z: layer(z, w, x), fnp.zeros_like(x))


def _equilibrium_forward(w, x):
    z = equilibrium(w, x)
    return z, (z, w, x)


def _equilibrium_backward(kept, g):
    _, pull = vjp(layer, *kept)
    return pull(settle(lambda u: g + pull(u)[0], g))[1:]


equilibrium.defvjp(_equilibrium_forward, _equilibrium_backward)


def contraction(rng, n=4):
    w = rng.normal(size=(n, n))
    return 0.5 * w / np.linalg.norm(w, 2), rng.normal(size=n), rng.normal(size=n)


@pytest.mark.parametrize("wrap", [same, jit], ids=["plain", "jit"])
def test_an_implicit_gradient_is_the_formula_s_and_the_unrolled_one(rng, wrap):
    w, x, c = contraction(rng)

    def unrolled(w, x):
        return scan(lambda z, _: (layer(z, w, x), None), fnp.zeros_like(x), length=80)[0]

    def gradients(solve):
        return wrap(grad(lambda w, x: fnp.sum(c * solve(w, x)), argnums=(0, 1)))(w, x)

    z = equilibrium(w, x)
    slope = 1 - z * z
    u = slope * np.linalg.solve(np.eye(4) - w.T * slope, c)
    for found in (gradients(equilibrium), gradients(unrolled)):
        np.testing.assert_allclose(found[0], np.outer(u, z), rtol=0, atol=64 * EPS)
        np.testing.assert_allclose(found[1], u, rtol=0, atol=64 * EPS)
    numeric = numeric_gradient(lambda x: np.sum(c * equilibrium(w, x)), x)
    np.testing.assert_allclose(u, numeric, rtol=0, atol=1e-9)


def test_an_implicit_gradient_is_batched_though_examples_settle_at_different_steps(rng):
    w, _, c = contraction(rng)
    xs = np.stack([np.zeros(4), 0.01 * rng.normal(size=4), 5 * rng.normal(size=4)])
    gradient = grad(lambda x: fnp.sum(c * equilibrium(w, x)))
    np.testing.assert_allclose(
        jit(vmap(gradient))(xs), [gradient(x) for x in xs], rtol=0, atol=32 * EPS
    )


def test_without_a_rule_the_loop_refuses_and_names_the_ways_out(rng):
    w, x, _ = contraction(rng)
    with pytest.raises(GraphError, match="cannot be transposed") as refused:
        grad(lambda x: fnp.sum(settle(lambda z: layer(z, w, x), fnp.zeros_like(x))))(x)
    assert "scan" in str(refused.value)
    assert "custom_vjp" in str(refused.value)


def test_a_root_s_derivative_of_every_order_by_a_forward_rule_that_names_the_root_again():
    @custom_jvp
    def root(a):
        return settle(lambda z: 0.5 * (z + a / z), fnp.ones_like(a))

    @root.defjvp
    def _(primals, tangents):
        z = root(*primals)
        return z, tangents[0] / (2 * z)

    a = np.float64(3)
    exact = [a**0.5, 0.5 * a**-0.5, -0.25 * a**-1.5, 0.375 * a**-2.5]
    f = root
    for value in exact:
        assert f(a) == pytest.approx(value, rel=16 * EPS)
        assert jit(f)(a) == pytest.approx(value, rel=16 * EPS)
        f = grad(f)


def test_a_bilevel_gradient_by_the_solution_by_unrolling_and_by_numbers(rng):
    x, y = rng.normal(size=(20, 5)), rng.normal(size=20)
    x_new, y_new = rng.normal(size=(10, 5)), rng.normal(size=10)

    def solved(strength):
        return solve(x.T @ x + strength * fnp.eye(5), x.T @ y)

    def descended(strength):
        def step(w, _):
            return w - 0.02 * (x.T @ (x @ w - y) + strength * w), None

        return scan(step, fnp.zeros(5), length=800)[0]

    def outer(inner):
        return lambda strength: fnp.mean(fnp.square(x_new @ inner(strength) - y_new))

    at = np.float64(1.5)
    direct = grad(outer(solved))(at)
    assert jit(grad(outer(descended)))(at) == pytest.approx(direct, rel=1e-12)
    assert jit(grad(outer(solved)))(at) == pytest.approx(direct, rel=1e-12)
    assert direct == pytest.approx(numeric_gradient(outer(solved), at), rel=1e-7)


# The gradient of an ODE's solution.


def runge_kutta(field, u, h, steps):
    """Return u after ``steps`` classical Runge-Kutta steps of length h; u is a tree."""

    def moved(u, h, k):
        return tree_map(lambda u, k: u + h * k, u, k)

    def step(u, _):
        a = field(u)
        b = field(moved(u, h / 2, a))
        c = field(moved(u, h / 2, b))
        d = field(moved(u, h, c))
        return tree_map(
            lambda u, a, b, c, d: u + h / 6 * (a + 2 * b + 2 * c + d), u, a, b, c, d
        ), None

    return scan(step, u, length=steps)[0]


@pytest.mark.parametrize("wrap", [same, jit], ids=["plain", "jit"])
def test_the_gradient_of_a_linear_ode_is_that_of_the_method_s_own_polynomial(wrap):
    h, steps, u, rate = 0.1, 30, np.float64(2), np.float64(-0.8)
    z = rate * h
    factor = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    slope = 1 + z + z**2 / 2 + z**3 / 6

    def final(u, rate):
        return runge_kutta(lambda u: rate * u, u, h, steps)

    by_u, by_rate = wrap(grad(final, argnums=(0, 1)))(u, rate)
    assert by_u == pytest.approx(factor**steps, rel=64 * EPS)
    assert by_rate == pytest.approx(u * steps * factor ** (steps - 1) * slope * h, rel=64 * EPS)


def pendulum(u, p):
    return fnp.stack([u[1], -p[0] * fnp.sin(u[0]) - p[1] * u[1]])


def energy(p, u, steps):
    end = runge_kutta(lambda u: pendulum(u, p), u, 3.0 / steps, steps)
    return fnp.sum(fnp.square(end))


def adjoint_gradient(p, u, steps):
    """Integrate Pontryagin's costate back from the end, with the solution beside it."""
    h = 3.0 / steps
    end = runge_kutta(lambda u: pendulum(u, p), u, h, steps)

    def back(state):
        u, costate, _ = state
        velocity, pull = vjp(pendulum, u, p)
        by_u, by_p = pull(costate)
        return velocity, -by_u, -by_p

    return runge_kutta(back, (end, 2 * end, fnp.zeros_like(p)), -h, steps)[2]


START, PARAMETERS = np.array([1.0, 0.5]), np.array([4.0, 0.3])


def test_the_gradient_through_a_scan_is_the_exact_derivative_of_the_discrete_solution():
    g = grad(energy)(PARAMETERS, START, 40)
    complex_step = [energy(PARAMETERS + 1e-30j * e, START + 0j, 40).imag / 1e-30 for e in np.eye(2)]
    np.testing.assert_allclose(g, complex_step, rtol=0, atol=256 * EPS)
    numeric = numeric_gradient(lambda p: energy(p, START, 40), PARAMETERS)
    np.testing.assert_allclose(g, numeric, rtol=0, atol=1e-8)


def test_the_adjoint_equation_agrees_to_the_fourth_order_of_the_step():
    exact = grad(energy)(PARAMETERS, START, 2000)
    errors = [np.abs(adjoint_gradient(PARAMETERS, START, n) - exact).max() for n in (20, 40, 80)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 3.5).all()
    assert (orders < 4.5).all()


def test_solutions_from_many_starts_have_the_gradients_of_a_loop(rng):
    starts = rng.normal(size=(5, 2))
    gradient = grad(lambda u: energy(PARAMETERS, u, 25))
    np.testing.assert_allclose(
        jit(vmap(gradient))(starts), [gradient(u) for u in starts], rtol=0, atol=64 * EPS
    )
