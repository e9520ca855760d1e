"""Models end to end: the loss falls as it does in NumPy by hand, or to where it must."""

import numpy as np
import pytest

from workbench import symbolic
from workbench.arrays import device_of, to_device, to_host
from workbench.symbolic import ops

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def blobs(n, d, k, dtype, seed=0):
    """Return n points of k well separated classes in d dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    centres = 2 * rng.standard_normal((k, d))
    return (centres[y] + 0.5 * rng.standard_normal((n, d))).astype(dtype), y


def descend(inputs, loss, weights, rate):
    gradients = symbolic.grad(loss, weights)
    updates = [(w, w - rate * g) for w, g in zip(weights, gradients, strict=True)]
    return symbolic.function(inputs, loss, updates=updates)


@both_dtypes
def test_logistic_regression_follows_the_same_path_by_hand(dtype):
    x, y = blobs(60, 5, 2, dtype)
    vx, vy = symbolic.matrix("x", dtype), symbolic.vector("y", dtype)
    w, b = symbolic.shared(np.zeros(5, dtype), "w"), symbolic.shared(dtype(0), "b")
    p = ops.sigmoid(vx @ w + b)
    loss = -(vy * ops.log(p) + (1 - vy) * ops.log(1 - p)).mean()
    step = descend([vx, vy], loss, [w, b], 0.1)

    hw, hb, t = np.zeros(5, dtype), dtype(0), y.astype(dtype)
    for _ in range(50):
        q = 1 / (1 + np.exp(-(x @ hw + hb)))
        expected = -(t * np.log(q) + (1 - t) * np.log(1 - q)).mean()
        d = (q - t) / len(t)
        hw, hb = hw - dtype(0.1) * (x.T @ d), hb - dtype(0.1) * d.sum()
        actual = step(x, t)
        assert actual.dtype == dtype
        # Two orders of summation, fifty steps: each may add a few roundings.
        np.testing.assert_allclose(actual, expected, rtol=500 * np.finfo(dtype).eps)
    np.testing.assert_allclose(w.get_value(), hw, rtol=500 * np.finfo(dtype).eps)
    predict = symbolic.function([vx], p > 0.5)
    assert (predict(x) == (y == 1)).mean() > 0.95


@both_dtypes
def test_an_mlp_follows_the_same_path_by_hand_whatever_the_batch(dtype):
    x, y = blobs(48, 6, 3, dtype)
    rng = np.random.default_rng(1)
    start = [
        rng.standard_normal(s).astype(dtype) * dtype(0.3) for s in ((6, 8), (8,), (8, 3), (3,))
    ]
    weights = [symbolic.shared(p) for p in start]
    vx, vy = symbolic.matrix("x", dtype), symbolic.vector("y", "int64")
    w1, b1, w2, b2 = weights
    logits = ops.relu(vx @ w1 + b1) @ w2 + b2
    step = descend([vx, vy], ops.softmax_cross_entropy(logits, vy), weights, 0.2)
    hand = [p.copy() for p in start]
    for i in range(40):
        rows = slice(0, 1) if i == 0 else slice(i % 3 * 16, i % 3 * 16 + 16)  # A batch of one too.
        a = x[rows] @ hand[0] + hand[1]
        h = np.maximum(a, 0)
        z = h @ hand[2] + hand[3]
        z = z - z.max(1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        n = len(z)
        expected = -logp[np.arange(n), y[rows]].mean()
        d = np.exp(logp)
        d[np.arange(n), y[rows]] -= 1
        d /= n
        da = (d @ hand[2].T) * (a > 0)
        gradients = [x[rows].T @ da, da.sum(0), h.T @ d, d.sum(0)]
        hand = [p - dtype(0.2) * g for p, g in zip(hand, gradients, strict=True)]
        actual = step(x[rows], y[rows])
        np.testing.assert_allclose(actual, expected, rtol=1000 * np.finfo(dtype).eps,
                                   atol=100 * np.finfo(dtype).eps)  # fmt: skip
    for p, q in zip(weights, hand, strict=True):
        assert p.get_value().dtype == dtype
        np.testing.assert_allclose(p.get_value(), q, rtol=1000 * np.finfo(dtype).eps,
                                   atol=1000 * np.finfo(dtype).eps)  # fmt: skip
    predict = symbolic.function([vx], ops.argmax(logits, 1))
    assert (predict(x) == y).mean() > 0.9


@pytest.mark.gpu
def test_the_same_expressions_run_on_the_gpu():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((8, 1, 6, 6)), rng.integers(0, 3, 8)
    start = [rng.standard_normal(s) for s in ((2, 1, 3, 3), (2,), (18, 3))]
    values = {}
    for device in ("cpu", "gpu"):
        kernels, bias, w = weights = [symbolic.shared(to_device(p, device)) for p in start]
        vx, vy = symbolic.tensor("x", shape=(None, 1, None, None)), symbolic.vector("y", "int64")
        h = ops.max_pool2d(ops.relu(ops.conv2d(vx, kernels, bias, padding=1)), 2)
        logits = h.reshape((-1, 18)) @ w
        loss = ops.softmax_cross_entropy(logits, vy) + ops.square(h).mean() + h[:, 0, [1, 1]].sum()
        step = descend([vx, vy], loss, weights, 0.1)
        losses = [step(to_device(x, device), to_device(y, device)) for _ in range(3)]
        assert {device_of(each) for each in losses} == {device}
        values[device] = [to_host(v) for v in (*losses, *(p.get_value() for p in weights))]
    for a, b in zip(values["cpu"], values["gpu"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_a_small_cnn_learns_to_tell_stripes():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 64)
    x = 0.1 * rng.standard_normal((64, 1, 8, 8))
    for image, label in zip(x[:, 0], y, strict=True):
        (image if label else image.T)[::2] += 1  # Rows, or columns.
    weights = [symbolic.shared(v, name) for v, name in [
        (0.3 * rng.standard_normal((4, 1, 3, 3)), "kernels"), (np.zeros(4), "bias"),
        (0.1 * rng.standard_normal((64, 2)), "w"), (np.zeros(2), "b")]]  # fmt: skip
    kernels, bias, w, b = weights
    vx, vy = symbolic.tensor("x", shape=(None, 1, 8, 8)), symbolic.vector("y", "int64")
    h = ops.max_pool2d(ops.relu(ops.conv2d(vx, kernels, bias, padding=1)), 2)
    logits = h.reshape((-1, 64)) @ w + b
    step = descend([vx, vy], ops.softmax_cross_entropy(logits, vy), weights, 0.2)
    losses = [float(step(x[i % 4 * 16 :][:16], y[i % 4 * 16 :][:16])) for i in range(40)]
    assert losses[0] == pytest.approx(np.log(2), abs=0.3)
    assert max(losses[-4:]) < 0.05
    predict = symbolic.function([vx], ops.argmax(logits, 1))
    np.testing.assert_array_equal(predict(x), y)
