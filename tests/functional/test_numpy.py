"""functional.numpy: NumPy's values, dtypes and refusals, on arrays and through tracers."""

import numpy as np
import pytest
import scipy.signal
import scipy.special

from workbench import functional
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional import grad, jit, make_jaxpr, vmap
from workbench.functional import numpy as fnp
from workbench.gradcheck import check_gradient

EPS = np.finfo(float).eps
A = np.random.default_rng(0).normal(size=(3, 4, 5))
B = np.random.default_rng(1).normal(size=(4, 5))
P = np.abs(B) + 0.1

SAME = {  # name: our call and NumPy's, on the same module's functions
    "arithmetic": lambda m, a, b: m.add(m.subtract(a, b), m.multiply(m.negative(b), m.divide(a, 3))),
    "power": lambda m, a, b: m.power(m.absolute(b), 1.7) + m.power(a, 3) + m.square(a),
    "exponentials": lambda m, a, b: m.exp(a) + m.expm1(b) - m.log(m.abs(a)) + m.log1p(m.abs(b)),
    "waves": lambda m, a, b: m.sin(a) * m.cos(b) + m.tanh(a) + m.sqrt(m.absolute(b)),
    "choices": lambda m, a, b: m.maximum(a, b) - m.minimum(a, 0) + m.sign(b) + m.where(a > b, a, 2),
    "clip": lambda m, a, b: m.clip(a, -0.5, b),
    "comparisons": lambda m, a, b: m.greater(a, b) + 2 * m.less(a, b) + 4 * m.equal(a, a)
    + m.not_equal(a, b) + m.greater_equal(a, b) + m.less_equal(a, b),
    "reductions": lambda m, a, b: m.sum(a, axis=(0, -1)) + m.mean(a, axis=(2, 0)) - m.max(a, axis=None),
    "keepdims": lambda m, a, b: m.sum(a, 1, keepdims=True) + m.min(a, 1, keepdims=True)
    + m.var(a, 2, keepdims=True),
    "argmax": lambda m, a, b: m.argmax(a, 1) * 10 + m.argmin(a, 1) + m.argmax(a) - m.argmin(b),
    "shapes": lambda m, a, b: m.transpose(m.reshape(a, (5, -1))) + m.ravel(m.expand_dims(b, 0))[:12, None],
    "axes": lambda m, a, b: m.moveaxis(m.swapaxes(a, 0, 1), -1, 0)
    + m.squeeze(m.expand_dims(b.T, (1,)), 1)[..., None],
    "joined": lambda m, a, b: m.concatenate([a, m.stack([b, b * 2])], axis=0),
    "padded": lambda m, a, b: m.pad(b, ((1, 0), (2, 3)), constant_values=-2.0)
    + m.pad(m.ones((2, 7)), [(1, 2), (3, 0)]),
    "repeated": lambda m, a, b: m.broadcast_to(b[0], (3, 2, 5)) * m.ones_like(b)[:1],
    "made": lambda m, a, b: m.arange(4.0)[:, None] * m.eye(4, dtype="f8") @ b + m.full((4, 5), 2.5)
    + m.zeros((4, 1)) - m.zeros_like(b) + m.full_like(b, 3),
    "products": lambda m, a, b: m.matmul(a, b.T) + (b @ b.T) + m.matmul(m.swapaxes(a, 1, 2), a)[0, 0, 0],
    "vectors": lambda m, a, b: m.matmul(a, b[0]) + m.matmul(b[0], b[1]) + m.matmul(b, b[0])
    + m.matmul(b.T[0], a)[:, :1],
    "stacks": lambda m, a, b: m.matmul(a[:, None], b.T[None, None])
    + m.matmul(a, a.reshape((3, 1, 5, 4)))[:, :, :1],
    "methods": lambda m, a, b: a.sum(0) + a.mean(axis=0) + a.max(0) - a.min(0) + b.T.T + (-b)
    + abs(b) + a.transpose(1, 2, 0).reshape(4, 5, 3)[..., 0] + b.argmax(1)[:, None] + +b,
    "operators": lambda m, a, b: 2 - a / b + 1 / (b**2 + 1) + 2.0**b + (a > 0) * (b <= 1) + (a @ b.T)[..., :1],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SAME)
def test_values_and_dtypes_are_numpys(name, dtype):
    a, b = A.astype(dtype), B.astype(dtype)
    want = SAME[name](np, a, b)
    for got in (
        SAME[name](fnp, a, b),
        jit(lambda a, b: SAME[name](fnp, a, b))(a, b),
        vmap(lambda a, b: SAME[name](fnp, a, b), (None, 0))(a, b[None])[0],
    ):
        assert got.dtype == want.dtype
        tolerance = 64 * np.finfo(dtype).eps
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(set(SAME) - {"comparisons", "argmax"}))
def test_gradients_are_numeric_and_keep_the_dtype(name):
    weights = np.random.default_rng(2).normal(size=np.shape(SAME[name](fnp, A, B)))
    f = lambda a, b: fnp.sum(SAME[name](fnp, a, b) * weights)  # noqa: E731
    if name == "made":
        check_gradient(lambda b: f(A, b), grad(f, 1)(A, B), B)
    elif name in ("padded", "repeated", "axes", "shapes"):
        f = lambda a, b: fnp.sum(SAME[name](fnp, a, b) * weights) + fnp.sum(a * a)  # noqa: E731
        check_gradient(f, list(grad(f, (0, 1))(A, B)), [A, B])
    else:
        check_gradient(f, list(grad(f, (0, 1))(A, B)), [A, B])
    single = grad(f, (0, 1))(A.astype("f4"), B.astype("f4"))
    assert [g.dtype for g in single] == [np.float32] * 2


INDICES = [
    0, -1, np.s_[1:], np.s_[::-1], np.s_[..., 0], np.s_[1, ..., ::2], np.s_[None, 1], np.s_[:, None],
    np.s_[0, 1, 2], np.s_[3:1], np.s_[-2:, 1:-1:2, ::-2], Ellipsis, (),
    np.array([2, 0, 0]), [1, 1], np.s_[:, np.array([1, 3, 3])], np.s_[..., np.array([[0, -1]])],
    np.s_[np.array([0, 2]), np.array([1, 3])], np.s_[np.array([[0], [2]]), np.array([1, 3]), 1],
    np.s_[np.array([0, 2]), :, np.array([1, 3])], np.s_[0, :, np.array([1, 3, 3])],
    np.s_[np.array([0, 2]), None, np.array([1, 3])], np.s_[:, 1, np.array([0, 4])],
    np.s_[:, np.array([1, 0]), np.array([4, 4])], np.array([True, False, True]), A > 0,
    np.s_[:, B > 0], np.s_[..., np.int64(2)], np.array(1), np.s_[:, np.array(1), None, 2],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))
def test_indexing_is_numpys(index):
    want = A[tuple(index) if isinstance(index, tuple) else index]
    np.testing.assert_array_equal(jit(lambda x: x[index])(A), want)
    weights = np.random.default_rng(2).normal(size=want.shape)
    scattered = np.zeros_like(A)
    np.add.at(scattered, index, weights)
    got = grad(lambda x: fnp.sum(x[index] * weights))(A)
    np.testing.assert_allclose(got, scattered, rtol=4 * EPS)
    np.testing.assert_array_equal(
        vmap(lambda x: x[index])(np.stack([A, 2 * A])), np.stack([want, 2 * want])
    )


def test_traced_integers_index():
    i = np.array([2, 0, 2])
    np.testing.assert_array_equal(jit(lambda x, i: x[i, 1])(A, i), A[i, 1])
    np.testing.assert_array_equal(
        vmap(lambda x, i: x[:, i])(A, i), np.stack([a[:, j] for a, j in zip(A, i, strict=True)])
    )
    np.testing.assert_array_equal(jit(lambda i: fnp.take(B, i, -1))(i), np.take(B, i, -1))
    np.testing.assert_array_equal(grad(lambda x: fnp.take(x, 7) * 2)(B).ravel()[6:9], [0, 2, 0])
    with pytest.raises(GraphError, match=r"functional.numpy.take\(x, i\)"):
        jit(lambda i: [1, 2, 3][i])(1)
    assert [float(x) for x in functional.stop_gradient(list(np.arange(2.0)))] == [0, 1]
    np.testing.assert_array_equal(jit(lambda x: fnp.stack([row * 2 for row in x]))(B), B * 2)


@pytest.mark.parametrize(
    ("index", "kind", "message"),
    [
        (3, ShapeError, r"index of axis 0 is out of range[\s\S]*3 for f64\[3,4,5\][\s\S]*-3 to 2"),
        (np.s_[0, 0, 0, 0], ShapeError, "more indices than axes"),
        (np.s_[..., ...], ShapeError, "more than one"),
        ("a", DtypeError, "not an index"),
        (1.0, DtypeError, "not an index"),
        (np.array([1.0]), DtypeError, "holds integers or booleans"),
        (np.s_[np.arange(2), np.arange(3)], ShapeError, "do not broadcast together"),
    ],
)
def test_indexing_refuses(index, kind, message):
    with pytest.raises(kind, match=message):
        jit(lambda x: x[index])(A)
    with pytest.raises(DtypeError, match="a traced mask"):
        jit(lambda x: x[x > 0])(A)


# What networks are made of

LOGITS, LABELS = np.random.default_rng(3).normal(size=(4, 3)), np.array([0, 2, 1, 2])
IMAGES = np.random.default_rng(4).normal(size=(2, 3, 6, 5))
KERNELS = np.random.default_rng(5).normal(size=(4, 3, 3, 2))


def correlate(x, w, b, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    full = [
        [sum(scipy.signal.correlate2d(x[n, c], w[f, c], "valid") for c in range(x.shape[1]))
         for f in range(len(w))]
        for n in range(len(x))
    ]  # fmt: skip
    return np.array(full)[:, :, :: stride[0], :: stride[1]] + b[:, None, None]


def test_softmax_family_is_scipys_and_stable():
    np.testing.assert_allclose(fnp.softmax(LOGITS), scipy.special.softmax(LOGITS, -1), rtol=8 * EPS)
    np.testing.assert_allclose(
        fnp.log_softmax(LOGITS, 0), scipy.special.log_softmax(LOGITS, 0), rtol=16 * EPS
    )
    for axis in (None, 0, (0, 1)):
        np.testing.assert_allclose(
            fnp.logsumexp(LOGITS, axis), scipy.special.logsumexp(LOGITS, axis), rtol=8 * EPS
        )
    want = -scipy.special.log_softmax(LOGITS, -1)[np.arange(4), LABELS].mean()
    np.testing.assert_allclose(fnp.softmax_cross_entropy(LOGITS, LABELS), want, rtol=8 * EPS)
    big = np.array([[1000.0, -1000.0, 0.0]])
    assert fnp.softmax_cross_entropy(big, np.array([1])) == 2000
    np.testing.assert_array_equal(grad(fnp.softmax_cross_entropy)(big, np.array([1])), [[1, -1, 0]])
    assert fnp.logsumexp(np.array([-np.inf, 1.0])) == 1.0
    with np.errstate(divide="ignore"):
        assert fnp.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf
        assert fnp.logsumexp(np.array([np.inf, 1.0])) == np.inf


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), ((2, 1), (1, 2)), (3, 1)])
def test_convolution_and_pooling(stride, padding):
    pair = lambda v: v if isinstance(v, tuple) else (v, v)  # noqa: E731
    b = np.arange(4.0)
    got = fnp.conv2d(IMAGES, KERNELS, b, stride, padding)
    want = correlate(IMAGES, KERNELS, b, pair(stride), pair(padding))
    np.testing.assert_allclose(got, want, rtol=64 * EPS, atol=64 * EPS)
    ph, pw = pair(padding)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(IMAGES, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf),
        (3, 2),
        (2, 3),
    )[:, :, :: pair(stride)[0], :: pair(stride)[1]]
    np.testing.assert_array_equal(
        fnp.max_pool2d(IMAGES, (3, 2), stride, padding), windows.max((4, 5))
    )
    np.testing.assert_allclose(
        fnp.avg_pool2d(IMAGES, (3, 2), stride, padding),
        np.where(np.isinf(windows), 0, windows).mean((4, 5)), rtol=16 * EPS, atol=16 * EPS)  # fmt: skip


NEURAL = {
    "softmax": lambda x: fnp.softmax(x[:, 0, 0], 0),
    "log_softmax": lambda x: fnp.log_softmax(x[:, :, 0, 0]),
    "logsumexp": lambda x: fnp.logsumexp(x, (1, 2)),
    "cross entropy": lambda x: fnp.softmax_cross_entropy(x[:, 0, 0], np.array([4, 0])),
    "mse": lambda x: fnp.mean_squared_error(x, x * x),
    "relu": fnp.relu,
    "conv": lambda x: fnp.conv2d(x, KERNELS, None, (2, 1), 1),
    "conv w": lambda x: fnp.conv2d(IMAGES[:1], x[:, :, :3, :2], x[0, 0, 0, :2]),
    "max pool": lambda x: fnp.max_pool2d(x, 2, 1, 1),
    "avg pool": lambda x: fnp.avg_pool2d(x, (2, 3)),
}


@pytest.mark.parametrize("name", NEURAL)
def test_neural_gradients_of_both_orders(name):
    f = NEURAL[name]
    rng = np.random.default_rng(6)
    weights, v = rng.normal(size=np.shape(f(IMAGES))), rng.normal(size=IMAGES.shape)
    first = grad(lambda x: fnp.sum(f(x) * weights * f(x)))
    check_gradient(lambda x: fnp.sum(f(x) * weights * f(x)), first, IMAGES, samples=40)
    product = lambda x: fnp.sum(first(x) * v)  # noqa: E731
    check_gradient(product, grad(product), IMAGES, samples=40)
    np.testing.assert_allclose(jit(first)(IMAGES), first(IMAGES), rtol=64 * EPS, atol=64 * EPS)
    both = np.stack([IMAGES, 0.5 * IMAGES])
    np.testing.assert_allclose(
        vmap(first)(both), np.stack([first(x) for x in both]), rtol=256 * EPS, atol=256 * EPS)  # fmt: skip


def test_im2col_and_col2im_are_each_others_gradient():
    windows = fnp.im2col(IMAGES, 3, 2, 1)
    g = np.random.default_rng(0).normal(size=windows.shape)
    np.testing.assert_array_equal(
        functional.vjp(lambda x: fnp.im2col(x, 3, 2, 1), IMAGES)[1](g)[0],
        fnp.col2im(g, IMAGES.shape, 2, 1))  # fmt: skip
    np.testing.assert_array_equal(
        functional.vjp(lambda w: fnp.col2im(w, IMAGES.shape, 2, 1), g)[1](IMAGES)[0], windows
    )


# Types


def test_python_scalars_are_weak_and_stay_python():
    x = np.ones(2, np.float32)
    assert (x * fnp.exp(1.0)).dtype == np.float32
    assert type(fnp.add(1, 2)) is int
    assert type(fnp.sigmoid(0)) is float
    assert fnp.add(np.arange(2, dtype=np.int32), 1.5).dtype == np.float64
    assert fnp.exp(np.arange(3)).dtype == np.float64
    assert fnp.sum(np.array([True, True])) == 2
    assert fnp.mean(np.arange(4)) == 1.5
    g = grad(lambda x: fnp.sum(fnp.astype(x, "f4") * 2))(np.ones(2))
    assert (g.dtype, g[0]) == (np.float64, 2)
    assert fnp.array([1, 2], dtype="f4").dtype == np.float32
    assert fnp.asarray(x) is x
    assert fnp.array(x) is not x
    assert fnp.one_hot(np.array([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(fnp.arange(5, 0, -2), np.arange(5, 0, -2))
    assert grad(lambda x: fnp.sum(fnp.array([[x, 2.0], [1.0, x]])))(1.0) == 2.0


def test_constants_made_inside_a_trace_are_traced():
    text = str(make_jaxpr(lambda x: x + fnp.zeros(3) + fnp.arange(3) + fnp.exp(1.0))(np.ones(3)))
    for name in ("full[", "iota[", "exp 1.0"):
        assert name in text
    text = str(make_jaxpr(lambda x: x + np.exp(1.0))(np.ones(3)))
    assert "exp" not in text


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: fnp.sin("a"), DtypeError, "sin: this is not an array of numbers"),
        (lambda: fnp.sin([1.0]), DtypeError, r"a list[\s\S]*functional.numpy.array"),
        (lambda: fnp.sin(np.array(["a"])), DtypeError, "array of dtype <U1"),
        (lambda: fnp.power(np.arange(3), -1), DtypeError, r"negative power[\s\S]*i64\[3\], exponent -1"),
        (lambda: fnp.matmul(A, B), ShapeError, r"x f64\[3,4,5\], y f64\[4,5\]"),
        (lambda: fnp.matmul(1.0, B), ShapeError, "matmul: x and y do not fit"),
        (lambda: fnp.matmul(A, np.ones((2, 5, 4))), ShapeError, "stacks do not broadcast"),
        (lambda: fnp.sum(A, 3), ShapeError, "axis 3 of 3 axes"),
        (lambda: fnp.sum(A, (0, -3)), OptionError, "named twice"),
        (lambda: fnp.sum(A, "x"), OptionError, "axis='x'"),
        (lambda: fnp.reshape(B, (3, 7)), ShapeError, r"f64\[4,5\] to shape \(3, 7\)"),
        (lambda: fnp.reshape(B, (-1, 7)), ShapeError, "divides 20"),
        (lambda: fnp.reshape(B, (-1, -1)), OptionError, "at most one"),
        (lambda: fnp.reshape(B, 2.0), OptionError, "ints known while tracing"),
        (lambda: fnp.transpose(A, (0, 1)), ShapeError, "every axis must be named once"),
        (lambda: fnp.transpose(A, (0, 1, 1)), OptionError, "named twice"),
        (lambda: fnp.broadcast_to(B, (4, 6)), ShapeError, "broadcast_to: the array cannot"),
        (lambda: fnp.squeeze(B, 0), ShapeError, "longer than 1"),
        (lambda: fnp.expand_dims(B, 4), ShapeError, "axis 4 of 3 axes"),
        (lambda: fnp.concatenate([A, B]), ShapeError, "differ elsewhere than along axis 0"),
        (lambda: fnp.concatenate([]), ShapeError, "nothing to join"),
        (lambda: fnp.stack("ab"), ShapeError, "a list or tuple"),
        (lambda: fnp.pad(B, ((1, 1),) * 3), OptionError, "widths do not fit"),
        (lambda: fnp.zeros(-1), OptionError, "shape=-1"),
        (lambda: fnp.zeros(2, "abc"), DtypeError, "'abc'"),
        (lambda: fnp.arange(0, 1, 0), OptionError, "a step other than 0"),
        (lambda: fnp.astype(B, "U3"), DtypeError, "not a dtype of numbers"),
        (lambda: fnp.softmax(B, 2), ShapeError, "softmax: there is no such axis"),
        (lambda: fnp.softmax_cross_entropy(LOGITS, LABELS[:2]), ShapeError,
         r"logits f64\[4,3\], labels i64\[2\]"),
        (lambda: fnp.softmax_cross_entropy(LOGITS, LABELS * 1.0), DtypeError, "labels are integers"),
        (lambda: fnp.softmax_cross_entropy(LOGITS, LABELS + 1), OptionError, r"from 1 to 3\n.*0 to 2"),
        (lambda: fnp.mean_squared_error(B, B[0]), ShapeError, r"prediction \(4, 5\), target \(5,\)"),
        (lambda: fnp.conv2d(IMAGES, KERNELS[:, :2]), ShapeError, r"w f64\[4,2,3,2\]"),
        (lambda: fnp.conv2d(IMAGES, KERNELS, np.ones(3)), ShapeError, r"b f64\[3\][\s\S]*b \(4,\)"),
        (lambda: fnp.conv2d(IMAGES, KERNELS, stride=0), OptionError, "conv2d: stride"),
        (lambda: fnp.max_pool2d(IMAGES, 7), ShapeError, r"max_pool2d: the window[\s\S]*\(7, 7\)"),
        (lambda: fnp.avg_pool2d(B, 2), ShapeError, "images come as a batch"),
        (lambda: fnp.col2im(np.ones((1, 1, 2, 2, 2, 2)), (1, 1, 4, 4)), ShapeError,
         r"expected: windows \(1, 1, 3, 3, 2, 2\)"),
    ],
)  # fmt: skip
def test_functions_refuse(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
