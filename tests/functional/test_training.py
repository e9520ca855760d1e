"""End to end: models trained against the same models differentiated by hand, or to success."""

import numpy as np
import pytest

from workbench import functional
from workbench.functional import grad, jit, tree_map, value_and_grad, vmap
from workbench.functional import numpy as fnp

EPS = np.finfo(float).eps


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sgd(loss, rate):
    def step(params, x, y):
        value, g = value_and_grad(loss)(params, x, y)
        return value, tree_map(lambda p, g: p - rate * g, params, g)

    return step


def logistic(params, x, y):
    return fnp.softmax_cross_entropy(x @ params["w"] + params["b"], y)


def mlp(params, x, y):
    for w, b in params[:-1]:
        x = fnp.tanh(x @ w + b)
    return fnp.softmax_cross_entropy(x @ params[-1][0] + params[-1][1], y)


def cnn(params, x, y):
    h = fnp.max_pool2d(fnp.relu(fnp.conv2d(x, params["k"], params["c"], padding=1)), 2)
    return fnp.softmax_cross_entropy(fnp.reshape(h, (len(x), -1)) @ params["w"] + params["b"], y)


def test_logistic_regression_follows_the_hand_written_loop(rng):
    x, y = rng.normal(size=(20, 5)), rng.integers(0, 3, 20)
    params = {"w": rng.normal(size=(5, 3)), "b": np.zeros(3)}
    w, b = params["w"].copy(), params["b"].copy()
    step = jit(sgd(logistic, 0.5))
    for _ in range(50):
        value, params = step(params, x, y)
        p = np.exp(x @ w + b)
        p /= p.sum(1, keepdims=True)
        np.testing.assert_allclose(value, -np.log(p[np.arange(20), y]).mean(), rtol=1e3 * EPS)
        g = (p - np.eye(3)[y]) / 20
        w, b = w - 0.5 * x.T @ g, b - 0.5 * g.sum(0)
    np.testing.assert_allclose(params["w"], w, rtol=1e4 * EPS)
    np.testing.assert_allclose(params["b"], b, rtol=1e4 * EPS)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_mlp_learns_xor_jitted_or_not_the_same(rng, dtype):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype)
    y = np.array([0, 1, 1, 0])
    start = [
        (rng.normal(size=(i, o)).astype(dtype), np.zeros(o, dtype)) for i, o in [(2, 8), (8, 2)]
    ]
    losses = {}
    for name, step in {"plain": sgd(mlp, 0.5), "jit": jit(sgd(mlp, 0.5))}.items():
        params, losses[name] = start, []
        for _ in range(300):
            value, params = step(params, x, y)
            losses[name].append(value)
        assert value.dtype == dtype
        assert {leaf.dtype for leaf in functional.tree_flatten(params)[0]} == {np.dtype(dtype)}
    # Rounding differs where jit leaves a repetition to NumPy; 300 steps amplify it.
    np.testing.assert_allclose(losses["jit"], losses["plain"], rtol=3e4 * np.finfo(dtype).eps)
    assert losses["jit"][-1] < 0.05 < losses["jit"][0]


def test_a_small_cnn_learns_to_tell_bars_apart(rng):
    x = 0.1 * rng.normal(size=(16, 1, 6, 6))
    y = np.arange(16) % 2
    x[y == 0, 0, 3, :] += 1
    x[y == 1, 0, :, 2] += 1
    params = {"k": rng.normal(size=(3, 1, 3, 3)), "c": np.zeros(3),
              "w": 0.1 * rng.normal(size=(27, 2)), "b": np.zeros(2)}  # fmt: skip
    step, first = jit(sgd(cnn, 0.2)), None
    for _ in range(60):
        value, params = step(params, x, y)
        first = value if first is None else first
    assert value < 0.05 < first


def test_per_sample_gradients_are_the_loop_and_average_to_the_batch(rng):
    x, y = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    params = [(rng.normal(size=(4, 6)), np.zeros(6)), (rng.normal(size=(6, 3)), np.zeros(3))]
    one = grad(lambda params, x, y: mlp(params, x[None], y[None]))
    whole = grad(mlp)(params, x, y)
    loop = [one(params, x[i], y[i]) for i in range(7)]
    for each in (vmap(one, in_axes=(None, 0, 0)), jit(vmap(jit(one), in_axes=(None, 0, 0)))):
        got = each(params, x, y)
        tree_map(lambda a, *rows: np.testing.assert_allclose(a, np.stack(rows), rtol=1e3 * EPS,
                                                             atol=16 * EPS), got, *loop)  # fmt: skip
        tree_map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e3 * EPS,
                                                         atol=16 * EPS), got, whole)  # fmt: skip


def test_an_ensemble_is_vmap_over_models(rng):
    x, y = rng.normal(size=(5, 4)), rng.integers(0, 2, 5)
    models = [{"w": rng.normal(size=(4, 2)), "b": np.zeros(2)} for _ in range(3)]
    stacked = tree_map(lambda *leaves: np.stack(leaves), *models)
    values, updated = jit(vmap(sgd(logistic, 0.1), in_axes=(0, None, None)))(stacked, x, y)
    for i, model in enumerate(models):
        value, alone = sgd(logistic, 0.1)(model, x, y)
        np.testing.assert_allclose(values[i], value, rtol=64 * EPS)
        np.testing.assert_allclose(updated["w"][i], alone["w"], rtol=256 * EPS)


def test_hessian_vector_product_is_the_hessian_times_the_vector(rng):
    x, y = rng.normal(size=(6, 3)), rng.integers(0, 2, 6)
    w, v = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    f = lambda w: fnp.softmax_cross_entropy(fnp.tanh(x @ w), y)  # noqa: E731
    hvp = jit(lambda w, v: functional.jvp(grad(f), (w,), (v,))[1])
    full = functional.hessian(f)(w)
    np.testing.assert_allclose(hvp(w, v), np.tensordot(full, v, 2), rtol=1e3 * EPS, atol=64 * EPS)
    np.testing.assert_allclose(full, full.transpose(2, 3, 0, 1), rtol=1e3 * EPS, atol=64 * EPS)
