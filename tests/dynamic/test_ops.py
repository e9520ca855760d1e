"""What the conformance table leaves open: odd shapes, conventions, memory, NumPy's neighbours."""

import warnings

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.dynamic import ops


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


UNARY = {
    "negative": np.negative, "exp": np.exp, "expm1": np.expm1, "square": np.square,
    "absolute": np.absolute, "sign": np.sign, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0),
    "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "positive": np.positive,
}  # fmt: skip
ODD = {
    "empty": np.zeros((0, 3)),
    "zero-dimensional": np.array(0.7),
    "size-one": np.array([0.4, 0.9, 0.6]).reshape(1, 3, 1),
    "transposed": np.linspace(0.2, 1.9, 6).reshape(2, 3).T,
    "strided": np.linspace(0.2, 1.9, 12)[::-3],
    "repeated": np.broadcast_to(np.array([0.3, 0.6]), (3, 2)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("name", UNARY)
def test_unary_operations_on_odd_shapes(name, shape, dtype):
    data = ODD[shape].astype(dtype, copy=False)
    x = dynamic.Tensor(data, requires_grad=True)  # As it is laid out, not a copy.
    y = getattr(ops, name)(x)
    np.testing.assert_allclose(y.data, UNARY[name](data), rtol=4 * np.finfo(dtype).eps)
    y.sum().backward()
    assert (y.shape, y.dtype) == (data.shape, dtype)
    assert (type(y.data), type(x.grad.data)) == (np.ndarray, np.ndarray)
    assert (x.grad.shape, x.grad.dtype) == (data.shape, dtype)
    if data.size:
        wide = np.array(data, np.float64)
        numeric = gradcheck.numeric_gradient(lambda v: UNARY[name](v).sum(), wide)
        limit = max(8 * np.finfo(dtype).eps, np.finfo(np.float64).eps ** (2 / 3) * 10)
        np.testing.assert_allclose(x.grad.data, numeric, rtol=limit, atol=limit)


@pytest.mark.parametrize("shape", ["empty", "zero-dimensional", "size-one", "transposed"])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "logsumexp"])
def test_reductions_on_odd_shapes(name, shape):
    data = ODD[shape]
    if shape == "empty":
        x = leaf(data)
        y = getattr(ops, name)(x, axis=1)
        assert y.shape == (0,)
        y.sum().backward()
        assert x.grad.shape == (0, 3)
        return
    x = dynamic.Tensor(data, requires_grad=True)
    reference = getattr(np, name, lambda v: np.log(np.exp(v).sum()))
    y = getattr(ops, name)(x)
    np.testing.assert_allclose(y.data, reference(data), rtol=1e-15)
    y.backward()
    gradcheck.check_gradient(lambda v: getattr(ops, name)(dynamic.tensor(v)).item(),
                             x.grad.data, np.array(data))  # fmt: skip


def test_operators_in_every_order_and_with_numpy_on_either_side():
    t, a = leaf([2.0, 4.0]), np.array([1.0, 3.0])
    for made, expected in (
        (1 - t, 1 - t.data), (t - 1, t.data - 1), (1 / t, 1 / t.data), (2**t, 2**t.data),
        (t**2, t.data**2), (a - t, a - t.data), (a / t, a / t.data), (a @ t, a @ t.data),
        (t @ a, t.data @ a), (np.float64(3) - t, 3 - t.data), (-t, -t.data), (+t, t.data),
        (abs(-t), t.data), (a * t, a * t.data), (a + t, a + t.data), (a**t, a**t.data),
        (np.array(2.0) - t, 2 - t.data),
    ):  # fmt: skip
        assert type(made) is dynamic.Tensor
        assert made.requires_grad
        np.testing.assert_array_equal(made.data, expected)
    for made, expected in (
        (t > 3, t.data > 3), (a >= t, a >= t.data), (t == 2, t.data == 2),
        (t != a, t.data != a), (t <= a, t.data <= a), (a < t, a < t.data),
    ):  # fmt: skip
        assert type(made) is dynamic.Tensor
        assert not made.requires_grad
        np.testing.assert_array_equal(made.data, expected)


def test_comparisons_and_argmax_say_why_they_have_no_gradient():
    assert set(ops.NO_GRADIENT) >= {
        "greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "argmax",
    }  # fmt: skip
    assert not ops.argmax(leaf([1.0, 3.0]), axis=0).requires_grad
    assert all(len(reason) > 20 for reason in ops.NO_GRADIENT.values())


def test_every_name_in_all_is_there_and_says_what_it_does():
    for name in ops.__all__:
        if callable(getattr(ops, name)):
            assert getattr(ops, name).__name__ == name
            assert getattr(ops, name).__doc__


# --- conventions at kinks, ties and extremes ---------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (ops.relu, [-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]),
        (ops.absolute, [-1.0, 0.0, 2.0], [-1.0, 0.0, 1.0]),
        (ops.sign, [-1.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
        (lambda x: ops.maximum(x, 0.0), [-1.0, 0.0, 2.0], [0.0, 0.5, 1.0]),
        (lambda x: ops.minimum(x, 0.0), [-1.0, 0.0, 2.0], [1.0, 0.5, 0.0]),
        (ops.max, [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
        (ops.min, [1.0, 1.0, 3.0], [0.5, 0.5, 0.0]),
        (lambda x: x**0, [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]),
        (lambda x: x**1, [0.0, 1.0, 2.0], [1.0, 1.0, 1.0]),
        (lambda x: x**2, [0.0, 1.0, -2.0], [0.0, 2.0, -4.0]),
        (lambda x: x ** np.array([0.0, 1.0, 2.0], x.dtype), [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        (lambda x: np.array([0.0, 0.0, 1.0], x.dtype) ** x, [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
        (lambda x: ops.where([True, False, True], x, np.inf), [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]),
        (lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0], [2.0, 0.0, 1.0]),
        (lambda x: x[np.array([True, False, True])], [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]),
        (lambda x: x[dynamic.tensor([1, 1])], [1.0, 2.0, 3.0], [0.0, 2.0, 0.0]),
        (lambda x: x[[]], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
    ],
)  # fmt: skip
def test_conventions(f, x, expected):
    for dtype in (np.float32, np.float64):
        t = leaf(x, dtype)
        f(t).sum().backward()
        assert t.grad.data.tolist() == expected
        assert t.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_neither_overflow_nor_warn(dtype):
    x = leaf([[1000.0, -1000.0, 0.0]], dtype)
    assert ops.sigmoid(x).data.tolist() == [[1.0, 0.0, 0.5]]
    assert ops.softmax(x).data.tolist() == [[1.0, 0.0, 0.0]]
    assert ops.log_softmax(x).data.tolist() == [[0.0, -2000.0, -1000.0]]
    assert ops.logsumexp(x).item() == 1000.0
    assert ops.logsumexp(dynamic.tensor([-np.inf, -np.inf])).item() == -np.inf
    loss = ops.softmax_cross_entropy(x, np.array([1]))
    assert loss.item() == 2000.0
    loss.backward()
    assert x.grad.data.tolist() == [[1.0, -1.0, 0.0]]


def test_sigmoid_keeps_its_digits_in_the_lower_tail():
    assert abs(ops.sigmoid(dynamic.tensor(-50.0)).item() / np.exp(-50.0) - 1) < 1e-15
    x = leaf(-30.0)
    ops.expm1(x).backward()
    assert abs(x.grad.item() / np.exp(-30.0) - 1) < 1e-15


def test_softmax_cross_entropy_to_second_order_matches_its_parts():
    rng = np.random.default_rng(0)
    x, labels = leaf(rng.standard_normal((3, 4))), np.array([1, 3, 0])
    v = rng.standard_normal((3, 4))

    def second(loss):
        (d,) = dynamic.grad(loss, x, create_graph=True)
        return d.data, dynamic.grad((d * v).sum(), x)[0].data

    fused = second(ops.softmax_cross_entropy(x, labels) * 2)
    parts = second(ops.log_softmax(x)[np.arange(3), labels].mean() * -2)
    for a, b in zip(fused, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-15)


def test_embedding_adds_the_gradients_of_repeated_rows():
    w = leaf(np.arange(6.0).reshape(3, 2))
    y = ops.embedding(np.array([[2, 0], [2, 2]]), w)
    assert y.shape == (2, 2, 2)
    y.sum().backward()
    assert w.grad.data.tolist() == [[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]]


def test_dropout_keeps_the_expectation_and_uses_one_mask_both_ways():
    x = leaf(np.ones((100, 100)), np.float32)
    y = ops.dropout(x, 0.25, np.random.default_rng(0))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    assert set(np.unique(y.data)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs(np.mean(y.data) - 1) < 4 * (0.25 / 0.75) ** 0.5 / 100
    assert y.dtype == np.float32


def test_convolution_on_odd_windows_and_strides_to_second_order():
    rng = np.random.default_rng(3)
    arrays = tuple(rng.standard_normal(s) for s in ((2, 2, 5, 4), (3, 2, 2, 3), (3,)))

    def f(*tensors):
        y = ops.conv2d(*tensors, stride=(2, 1), padding=(1, 0))
        return ops.tanh(ops.avg_pool2d(y, (2, 1), stride=1, padding=(1, 0))).sum()

    def first(*points):
        leaves = [leaf(p) for p in points]
        return [d.data for d in dynamic.grad(f(*leaves), leaves)]

    def second(*points):
        leaves = [leaf(p) for p in points[:3]]
        ds = dynamic.grad(f(*leaves), leaves, create_graph=True)
        dot = sum((d * v).sum() for d, v in zip(ds, points[3:], strict=True))
        return [d.data for d in dynamic.grad(dot, leaves)]

    gradcheck.check_gradient(lambda *a: f(*map(dynamic.tensor, a)).item(), [first, second],
                             arrays, order=2)  # fmt: skip


def test_max_pooling_never_lets_the_padding_win():
    x = leaf(-np.ones((1, 1, 2, 2)))
    y = ops.max_pool2d(x, 2, stride=1, padding=1)
    assert (y.data == -1).all()
    y.sum().backward()
    assert x.grad.data.sum() == 9.0


# --- memory -----------------------------------------------------------------------

CALLS = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y, "power": lambda x, y: x**y, "maximum": ops.maximum,
    "minimum": ops.minimum, "matmul": lambda x, y: x @ y, "affine": lambda x, y: ops.affine(x, y),
    "where": lambda x, y: ops.where(x > 1, x, y), "concatenate": lambda x, y:
    ops.concatenate([x, y]), "sum": lambda x, y: x.sum() + y.sum(0), "max": lambda x, y:
    x.max() + y.max(0), "logsumexp": lambda x, y: ops.logsumexp(x) + y, "softmax": lambda x, y:
    ops.softmax(x) + ops.log_softmax(y), "getitem": lambda x, y: x[0] + y[[0, 1]],
    "reshape": lambda x, y: x.reshape(4) + y.T.reshape(4), "transpose": lambda x, y: x.T + y,
    "broadcast_to": lambda x, y: ops.broadcast_to(x, (3, 2, 2)) + y, "negative": lambda x, y: x + -y,
    "loss": lambda x, y: ops.softmax_cross_entropy(x, np.array([0, 1])) + y,
    "positive": lambda x, y: +x + y, "astype": lambda x, y: x.astype(np.float64) + y,
    "pool": lambda x, y: ops.max_pool2d(x.reshape(1, 1, 2, 2), 1) + y,
} | {
    name: lambda x, y, name=name: getattr(ops, name)(x) + y for name in UNARY
}  # fmt: skip


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_gradients_share_memory_with_nothing(name, create_graph):
    rng = np.random.default_rng(0)
    x, y = leaf(rng.uniform(0.5, 2, (2, 2))), leaf(rng.uniform(0.5, 2, (2, 2)))
    z = CALLS[name](x, y)
    g = np.ones(z.shape)
    z.backward(g, create_graph=create_graph)
    arrays = [x.data, y.data, z.data, g, x.grad.data, y.grad.data]
    held = [a for a in z.node.args or () if isinstance(a, np.ndarray)]
    for i, a in enumerate(arrays):
        assert a.flags.writeable or a is z.data
        for b in arrays[max(i + 1, 4) :] + (held if i >= 4 else []):
            assert not np.shares_memory(a, b)
    x.grad = y.grad = None  # create_graph left a cycle.


def test_tensor_copies_and_numpy_copies():
    a = np.ones(3)
    t = dynamic.tensor(a)
    a[0] = 5
    t.numpy()[1] = 7
    assert t.data.tolist() == [1.0, 1.0, 1.0]


def test_nothing_warns_on_integers_and_booleans():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t = dynamic.tensor([1, 2, 3])
        assert (t + 1).dtype == t.dtype
        assert (t > 1).sum().item() == 2
        assert t.mean().item() == 2.0
        assert not (t * 2).requires_grad
