"""Modules, losses and optimisers, and models trained with them."""

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.dynamic import nn, ops, optim
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError


def blobs(rng, n, classes, features):
    centres = rng.standard_normal((classes, features)) * 3
    labels = rng.integers(0, classes, n)
    return (centres[labels] + rng.standard_normal((n, features))).astype(np.float32), labels


class Forked(nn.Module):
    def __init__(self, rng):
        self.shared = nn.Linear(3, 3, rng)
        self.branches = [self.shared, nn.Linear(3, 2, rng, bias=False)]
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        for layer in self.branches:
            x = layer(x)
        return x * self.scale


def test_modules_find_their_parameters_once_with_their_paths():
    model = Forked(np.random.default_rng(0))
    assert [(name, p.shape) for name, p in model.named_parameters()] == [
        ("scale", (1,)),
        ("shared.w", (3, 3)),
        ("shared.b", (3,)),
        ("branches.1.w", (3, 2)),
    ]
    model(np.ones((2, 3), np.float32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_training_and_evaluation_reach_every_module():
    model = nn.Sequential(nn.Sequential(nn.Dropout(0.5, np.random.default_rng(0))))
    x = dynamic.tensor(np.ones(50))
    assert (model(x).data == 0).any()
    assert model.eval()(x) is x
    assert not model[0][0].training
    assert model.train() is model
    assert (model(x).data == 0).any()


def test_initial_weights_are_glorot_uniform_and_seeded():
    a, b = (nn.Linear(300, 200, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a.w.data, b.w.data)
    bound = (6 / 500) ** 0.5
    assert 0.999 * bound < np.abs(a.w.data).max() <= bound
    assert abs(a.w.data.var() / (bound**2 / 3) - 1) < 0.02
    assert (a.w.dtype, a.b.data.any()) == (np.float32, False)
    kernels = nn.Conv2d(3, 8, (3, 2), rng=np.random.default_rng(0), dtype=np.float64).w
    assert (kernels.shape, kernels.dtype) == ((8, 3, 3, 2), np.float64)
    assert np.abs(kernels.data).max() <= (6 / (11 * 6)) ** 0.5


def test_logistic_regression_reaches_the_optimum():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.standard_normal(200) > 0).astype(int)
    w = dynamic.tensor(np.zeros((3, 2)), requires_grad=True)
    sgd = optim.SGD([w], lr=1.0, momentum=0.9, nesterov=True)
    for _ in range(500):
        sgd.zero_grad()
        ops.softmax_cross_entropy(ops.affine(x, w), y).backward()
        sgd.step()
    (d,) = dynamic.grad(ops.softmax_cross_entropy(ops.affine(x, w), y), w)
    assert np.abs(d.data).max() < 1e-12  # The loss is convex: this is its minimum.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_perceptron_trains_to_the_same_weights_as_numpy_by_hand(dtype):
    rng = np.random.default_rng(1)
    x, labels = blobs(rng, 32, 4, 6)
    x = x.astype(dtype)
    model = nn.Sequential(
        nn.Linear(6, 8, rng, dtype=dtype), nn.Tanh(), nn.Linear(8, 4, rng, dtype=dtype)
    )
    w1, b1, w2, b2 = (p.numpy() for p in model.parameters())
    loss_of, sgd = nn.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(200):
        sgd.zero_grad()
        loss = loss_of(model(dynamic.tensor(x)), labels)
        loss.backward()
        sgd.step()
        losses.append(loss.item())

        h = np.tanh(x @ w1 + b1)
        z = h @ w2 + b2
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(32), labels] -= 1
        p /= 32
        d = (p @ w2.T) * (1 - h * h)
        w2, b2 = w2 - 0.1 * h.T @ p, b2 - 0.1 * p.sum(0)
        w1, b1 = w1 - 0.1 * x.T @ d, b1 - 0.1 * d.sum(0)
    assert losses[-1] < losses[0] / 10
    limit = 1000 * np.finfo(dtype).eps
    for p, expected in zip(model.parameters(), (w1, b1, w2, b2), strict=True):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.data, expected, rtol=limit, atol=limit)


def test_a_convolutional_network_learns_where_a_bar_lies():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 64)
    x = rng.standard_normal((64, 1, 8, 8)).astype(np.float32) * 0.3
    for image, label in zip(x, labels, strict=True):
        at = rng.integers(1, 7)
        image[0, at, :] += label * 2
        image[0, :, at] += (1 - label) * 2
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, rng=rng), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(4, 2, rng),
    )  # fmt: skip
    adam = optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        adam.zero_grad()
        loss = ops.softmax_cross_entropy(model(dynamic.tensor(x)), labels)
        loss.backward()
        adam.step()
    with dynamic.no_grad():
        right = ops.argmax(model(x), axis=1).numpy() == labels
    assert right.mean() > 0.95
    assert loss.dtype == np.float32


def test_a_recurrent_network_over_sequences_of_different_lengths():
    rng = np.random.default_rng(4)
    w, u = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)) / 2
    sequences = [rng.standard_normal((n, 3)) for n in (1, 5, 3)]

    def f(w, u):
        total = 0.0
        for sequence in sequences:
            h = np.zeros((1, 4))
            for x in sequence:
                h = ops.tanh(x[None] @ w + h @ u)
            total = total + ops.square(h).sum()
        return total

    leaves = [dynamic.tensor(a, requires_grad=True) for a in (w, u)]
    f(*leaves).backward()
    gradcheck.check_gradient(lambda w, u: f(dynamic.tensor(w), u).item(),
                             [t.grad.data for t in leaves], (w, u))  # fmt: skip


# --- optimisers -------------------------------------------------------------------


def path(make, steps=4):
    w = dynamic.tensor([1.0, -2.0], requires_grad=True)
    optimizer = make([w])
    points = []
    for k in range(steps):
        optimizer.zero_grad()
        (w * w * w * (k + 1.0)).sum().backward()
        optimizer.step()
        points.append(w.numpy())
    return points


def gradient(w, k):
    return 3 * w * w * (k + 1.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_its_definition(nesterov):
    w, v = np.array([1.0, -2.0]), 0.0
    for k, p in enumerate(path(lambda ps: optim.SGD(ps, 0.01, 0.9, nesterov))):
        g = gradient(w, k)
        v = 0.9 * v + g
        w = w - 0.01 * (g + 0.9 * v if nesterov else v)
        np.testing.assert_allclose(p, w, rtol=1e-14)


def test_adam_by_its_definition():
    w, m, v = np.array([1.0, -2.0]), 0.0, 0.0
    for k, p in enumerate(path(lambda ps: optim.Adam(ps, 0.1, (0.8, 0.95), 1e-6))):
        g = gradient(w, k)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        mean, square = m / (1 - 0.8 ** (k + 1)), v / (1 - 0.95 ** (k + 1))
        w = w - 0.1 * mean / (np.sqrt(square) + 1e-6)
        np.testing.assert_allclose(p, w, rtol=1e-14)


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1), optim.Adam])
def test_a_step_edits_in_place_and_leaves_gradients_alone(make):
    w, idle = (dynamic.tensor([1.0, 2.0], requires_grad=True, dtype=np.float32) for _ in range(2))
    optimizer = make([w, idle])
    (w * w).sum().backward()
    data, before = w.data, w.grad.numpy()
    optimizer.step()
    assert w.data is data
    assert (w.version, idle.version) == (1, 0)
    np.testing.assert_array_equal(w.grad.data, before)
    assert idle.data.tolist() == [1.0, 2.0]
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda w: optim.SGD([w], lr=0), OptionError, "SGD: lr is not usable\n  given:    lr=0"),
        (lambda w: optim.SGD([w], 0.1, momentum=1.0), OptionError, "momentum=1.0"),
        (lambda w: optim.SGD([w], 0.1, nesterov=True), OptionError, "needs a momentum"),
        (lambda w: optim.SGD([], 0.1), OptionError, "there are no parameters to optimise"),
        (lambda w: optim.SGD([w.data], 0.1), DtypeError, "parameter 0 is not a tensor"),
        (lambda w: optim.SGD([w, w * 2], 0.1), GraphError, "parameter 1 is not a leaf"),
        (lambda w: optim.Adam([w], betas=(0.9, 1.0)), OptionError, "betas=(0.9, 1.0)"),
        (lambda w: optim.Adam([w], eps=0), OptionError, "eps=0"),
        (lambda w: nn.Linear(0, 2), OptionError, "Linear: sizes are positive integers"),
        (lambda w: nn.Linear(2, 2, dtype=int), DtypeError, "Linear"),
        (lambda w: nn.Dropout(1.5), OptionError, "rate=1.5"),
        (lambda w: nn.Conv2d(1, 2, 0), OptionError, "Conv2d: size is not usable"),
        (lambda w: nn.Sequential(nn.Tanh(), 3), OptionError, "layer 1: int"),
        (lambda w: nn.Module()(w), OptionError, "this module has no forward"),
        (lambda w: nn.Parameter([1, 2]), DtypeError, "only floating-point numbers"),
        (lambda w: nn.Linear(3, 2)(np.ones((4, 5), np.float32)), ShapeError,
         "affine: the shapes do not fit\n  given:    x (4, 5), w (3, 2), b (2,)"),
    ],
)  # fmt: skip
def test_refusals(make, error, words):
    with pytest.raises(error) as caught:
        make(dynamic.tensor([1.0], requires_grad=True))
    assert words in str(caught.value)
