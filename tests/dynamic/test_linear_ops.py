"""Products, convolution, normalisations, linear algebra: what the conformance rows leave open."""

import warnings

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.dynamic import ops
from workbench.dynamic.ops import convolution
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def gradient(f, x):
    t = leaf(x)
    f(t).sum().backward()
    return t.grad.data


# --- products ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "subscripts",
    ["ij,jk,kl->il", "abc,cb->a", "...i,...i", "aab->b", "i,j,k->kji", "ii->", "aabb->ab"],
)
def test_einsum_and_its_gradient_are_numpys_to_second_order(subscripts):
    lengths = dict(zip("abcijkl", (2, 3, 2, 2, 3, 2, 2), strict=True))
    terms = subscripts.split("->")[0].replace("...", "ab").split(",")
    if "aabb" in subscripts:
        lengths["b"] = 2
    arrays = tuple(normal(*(lengths[c] for c in term), seed=k) for k, term in enumerate(terms))

    def f(*tensors):
        return ops.sin(ops.einsum(subscripts, *tensors)).sum()

    def first(*points):
        leaves = [leaf(p) for p in points]
        return [d.data for d in dynamic.grad(f(*leaves), leaves)]

    def second(*points):
        leaves = [leaf(p) for p in points[: len(terms)]]
        ds = dynamic.grad(f(*leaves), leaves, create_graph=True)
        dot = sum((d * v).sum() for d, v in zip(ds, points[len(terms) :], strict=True))
        return [d.data for d in dynamic.grad(dot, leaves)]

    expected = np.einsum(subscripts, *arrays)
    np.testing.assert_allclose(ops.einsum(subscripts, *arrays), expected, rtol=1e-12)
    gradcheck.check_gradient(lambda *a: float(np.sin(np.einsum(subscripts, *a)).sum()),
                             [first, second], arrays, order=2)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.einsum("ij,j", x, x), "einsum: Einstein sum subscript j"),
        (lambda x: ops.einsum("ij->k", x), "einsum: Output character k did not appear"),
        (lambda x: ops.einsum("i;j", x), "given:    'i;j' for (2, 3)"),
        (lambda x: ops.tensordot(x, x, ((0, 1), (0,))), "tensordot: these axes cannot be paired"),
        (lambda x: ops.tensordot(x, x, 3), "given:    x (2, 3), y (2, 3)"),
        (lambda x: ops.tensordot(x, x, 1), "einsum: Size of label"),
        (lambda x: ops.cross(x, x, axis=0), "cross: a cross product is of vectors of three"),
    ],
)
def test_products_refuse_in_words(call, message):
    with pytest.raises((ShapeError, OptionError)) as refusal:
        call(leaf(np.ones((2, 3))))
    assert message in str(refusal.value)


# --- convolution and pooling ------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_is_the_transpose(groups):
    x, w = normal(2, 4, 6, 5), normal(6, 4 // groups, 3, 2, seed=1)
    options = {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "groups": groups}
    y = ops.conv2d(x, w, **options)
    z = normal(*y.shape, seed=2)
    back = ops.conv_transpose2d(z, w, output_padding=(1, 0), **options)
    assert back.shape == x.shape
    np.testing.assert_allclose((y * z).sum(), (x * back).sum(), rtol=1e-12)


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_memory_layout_changes_no_result(batch_last, padding):
    x, w, b = normal(3, 2, 6, 6), normal(4, 2, 3, 3), normal(4)
    if batch_last:
        x = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)

    def run(x):
        leaves = leaf(w), leaf(b)
        t = dynamic.tensor(x, requires_grad=True)
        t.data = x  # With its layout.
        y = ops.max_pool2d(ops.relu(ops.conv2d(t, *leaves, padding=padding)), 2)
        (y * y).sum().backward()
        return [y.data, t.grad.data, *(each.grad.data for each in leaves)]

    for a, known in zip(run(x), run(x.copy()), strict=True):
        np.testing.assert_allclose(a, known, rtol=1e-12)


def test_constant_images_cost_no_gradient(monkeypatch):
    monkeypatch.setattr(convolution.ConvolutionInput, "apply", None)
    w, b = leaf(normal(2, 1, 2, 2)), leaf(np.zeros(2))
    y = ops.conv2d(dynamic.tensor(normal(3, 1, 4, 4)), w, b)
    assert y.node.args[1] is None  # The kernels are not kept either.
    y.sum().backward()
    np.testing.assert_allclose(b.grad.data, 27.0)


def test_a_convolution_keeps_its_images_and_kernels_alone():
    x, w = leaf(normal(3, 2, 8, 8)), leaf(normal(2, 2, 5, 5))
    record = dynamic.graph(ops.conv2d(x + 1, w))[-1]
    assert record.saved_bytes == x.data.nbytes


def test_a_convolution_can_be_edited_in_place():
    x, w = leaf(normal(2, 1, 3, 3)), leaf(normal(1, 1, 2, 2))
    y = ops.conv2d(x, w)
    y += 1.0
    y.sum().backward()
    np.testing.assert_allclose(w.grad.data[0, 0, 0, 0], x.data[:, :, :2, :2].sum())


def test_gradients_of_a_convolution_share_memory_with_nothing():
    leaves = [leaf(normal(*s)) for s in ((2, 1, 3, 3), (1, 1, 1, 1), (1,))]
    y = ops.conv2d(*leaves)
    g = np.ones(y.shape)
    y.backward(g)
    arrays = [y.data, g, *(each.data for each in leaves), *(each.grad.data for each in leaves)]
    for k, a in enumerate(arrays):
        assert not any(np.shares_memory(a, other) for other in arrays[:k])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("stride", "expected"),
    [
        (2, [[0.25, 0.25, 0, 1], [0.25, 0.25, 0, 0]]),
        (1, [[0.25, 0.25 + 1 / 3, 0, 1], [0.25, 0.25 + 1 / 3, 1 / 3, 0]]),
    ],
)
def test_ties_share_the_gradient_of_a_maximum(stride, expected, create_graph):
    image = [[0.0, 0.0, -1.0, 2.0], [0.0, 0.0, 0.0, 1.0]]
    x = leaf(np.array(image)[None, None])
    (g,) = dynamic.grad(ops.max_pool2d(x, 2, stride).sum(), x, create_graph=create_graph)
    np.testing.assert_allclose(g.data[0, 0], expected, rtol=1e-15)


def test_a_maximum_of_nan_is_nan_without_warnings():
    x = np.zeros((1, 1, 2, 4))
    x[0, 0, 0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t = leaf(x)
        y = ops.max_pool2d(t, 2)
        y.sum().backward()
    assert np.isnan(y.data[0, 0, 0, 0])
    assert t.grad.data[0, 0].tolist() == [[0, 0, 0.25, 0.25], [0, 0, 0.25, 0.25]]


def images(*shape):
    return leaf(np.ones(shape))


@pytest.mark.parametrize(
    ("call", "kind", "parts"),
    [
        (lambda: ops.conv2d(images(1, 3, 4, 4), images(2, 2, 3, 3)), ShapeError,
         ["conv2d: the shapes do not fit", "given:    x (1, 3, 4, 4), w (2, 2, 3, 3)",
          "expected: x (N, C, H, W), w (F, C, KH, KW) and b (F,) with one C and one F"]),
        (lambda: ops.conv2d(images(1, 2, 4, 4), images(2, 2, 3, 3), images(3)), ShapeError,
         ["b (3,)"]),
        (lambda: ops.conv2d(images(1, 4, 4, 4), images(3, 2, 3, 3), groups=2), ShapeError,
         ["groups=2", "w has C / groups, and groups divides F"]),
        (lambda: ops.conv1d(images(2, 4), images(2, 2, 3)), ShapeError,
         ["conv1d: the shapes do not fit", "x (N, C, L), w (F, C, K)"]),
        (lambda: ops.conv2d(images(1, 1, 4, 4), images(1, 1, 3, 3), dilation=2), ShapeError,
         ["conv2d: the window is larger", "window (5, 5), padded image (4, 4)", "more padding"]),
        (lambda: ops.conv1d(images(1, 1, 4), images(1, 1, 3), stride=0), OptionError,
         ["conv1d: stride is not usable", "stride=0", "an int of at least 1"]),
        (lambda: ops.conv_transpose2d(images(1, 3, 4, 4), images(2, 3, 3, 3)), ShapeError,
         ["conv_transpose2d: the shapes", "x (N, F, H, W), w (F, C, KH, KW) and b (C,)"]),
        (lambda: ops.conv_transpose1d(images(1, 1, 4), images(1, 1, 3), output_padding=1),
         OptionError, ["output_padding=1, stride=1", "smaller than the stride"]),
        (lambda: ops.conv_transpose1d(images(1, 1, 1), images(1, 1, 2), padding=1), ShapeError,
         ["the padding leaves nothing", "padding=1"]),
        (lambda: ops.max_pool1d(images(2, 3), 2), ShapeError,
         ["max_pool1d: images come as a batch", "x (N, C, L)"]),
        (lambda: ops.avg_pool2d(images(1, 1, 2, 2), 3), ShapeError,
         ["avg_pool2d: the window is larger"]),
        (lambda: ops.max_pool2d(images(1, 1, 2, 2), (2, 2, 2)), OptionError,
         ["max_pool2d: size is not usable", "or 2 of them"]),
        (lambda: ops.conv2d(leaf(np.ones((1, 1, 4, 4)), np.float32), np.ones((1, 1, 3, 3))),
         DtypeError, ["float32 with float64"]),
    ],
)  # fmt: skip
def test_convolution_and_pooling_refuse_in_words(call, kind, parts):
    with pytest.raises(kind) as refusal:
        call()
    for part in parts:
        assert part in str(refusal.value)


# --- normalisations ---------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_standardizing_large_numbers_loses_nothing_but_their_own_digits(axis):
    x = (1e4 + normal(200, 300)).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis, keepdims=True)) / wide.std(axis, keepdims=True)
    y = ops.standardize(x, axis, eps=0.0)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=2e-6, rtol=2e-6)


def test_batch_norm_tells_its_statistics():
    x = normal(8, 3, 5, 4) + np.array([1.0, 2.0, 3.0])[:, None, None]
    told = []
    ops.batch_norm(leaf(x), seen=lambda mean, variance: told.extend((mean, variance)))
    np.testing.assert_allclose(told[0], x.mean(axis=(0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(told[1], x.var(axis=(0, 2, 3)), rtol=1e-14)
    once_more = ops.batch_norm(x, None, None, *told)
    np.testing.assert_allclose(once_more, ops.batch_norm(x), rtol=1e-12)


def test_constant_and_zero_rows_have_finite_gradients():
    x = np.zeros((2, 3))
    for norm in (ops.layer_norm, ops.rms_norm, ops.normalize):
        t = leaf(x)
        y = norm(t)
        (y * np.arange(3.0)).sum().backward()
        assert (y.data == 0).all()
        assert np.isfinite(t.grad.data).all()


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda x: ops.batch_norm(x[0, 0]), ["batch_norm: channels are the second axis"]),
        (lambda x: ops.batch_norm(x, mean=x[0, :, 0]), ["come together", "only the mean"]),
        (
            lambda x: ops.batch_norm(x, x[0, 0]),
            ["gamma does not fit x", "gamma (4,)", "gamma (3,)"],
        ),
        (lambda x: ops.layer_norm(x, None, x[0]), ["layer_norm: beta does not fit", "beta (4,)"]),
        (lambda x: ops.group_norm(x, 2), ["group_norm: the channels", "x (2, 3, 4), groups=2"]),
    ],
)
def test_normalisations_refuse_in_words(call, parts):
    with pytest.raises((ShapeError, OptionError)) as refusal:
        call(leaf(np.ones((2, 3, 4))))
    for part in parts:
        assert part in str(refusal.value)


# --- linear algebra ---------------------------------------------------------------


def minors(a):
    """Return the cofactors by their definition."""
    n = len(a)
    return np.array(
        [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)]
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_gradient_of_a_determinant_is_right_for_singular_matrices(rank):
    a = normal(3, rank) @ normal(rank, 3, seed=1)
    for each in (a, a[[1, 0, 2]]):  # The second has the other sign.
        np.testing.assert_allclose(gradient(ops.det, each), minors(each), atol=1e-13)


def test_a_determinant_of_a_singular_matrix_is_differentiable_once():
    x = leaf(np.zeros((2, 2)))
    with pytest.raises(OptionError, match="inv: a is singular"):
        dynamic.grad(ops.det(x), x, create_graph=True)


def test_slogdet_keeps_the_sign_and_survives_where_det_overflows():
    a = -1e200 * np.eye(3)
    sign, log = ops.slogdet(leaf(a))
    assert sign.item() == -1.0
    assert log.item() == pytest.approx(600 * np.log(10))
    np.testing.assert_allclose(gradient(lambda x: ops.slogdet(x)[1], a), np.linalg.inv(a).T)


REPEATED = np.diag([2.0, 1.0, 1.0])


def test_eigenvalues_alone_have_gradients_where_they_repeat():
    turn, _ = np.linalg.qr(normal(3, 3))
    a = turn @ REPEATED @ turn.T
    np.testing.assert_allclose(gradient(ops.eigvalsh, a), np.eye(3), atol=1e-14)
    largest = gradient(lambda x: ops.eigvalsh(x)[-1], a)
    np.testing.assert_allclose(largest, np.outer(turn[:, 0], turn[:, 0]), atol=1e-14)
    np.testing.assert_allclose(gradient(ops.svdvals, np.eye(3)), np.eye(3), atol=1e-14)
    assert np.isfinite(gradient(ops.svdvals, np.zeros((3, 2)))).all()


@pytest.mark.parametrize(
    ("f", "a", "parts"),
    [
        (lambda x: ops.eigh(x)[1], REPEATED,
         ["eigh: where eigenvalues repeat, eigenvectors have no gradient", "[1. 1. 2.]"]),
        (lambda x: ops.eigh(x)[1], np.stack([np.diag([1.0, 2.0, 3.0]), REPEATED]),
         ["the eigenvalues [1. 1. 2.]", "alone"]),
        (lambda x: ops.svd(x)[0], np.vstack([REPEATED, np.zeros(3)]),
         ["svd: where singular values repeat, singular vectors have no gradient", "[2. 1. 1.]"]),
        (lambda x: ops.svd(x)[0], np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
         ["svd: where a singular value is 0, u has no gradient", "[1. 0.]"]),
        (lambda x: ops.svd(x)[2], np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), ["0, v has no"]),
    ],
)  # fmt: skip
def test_vectors_of_repeated_values_are_computed_but_not_differentiated(f, a, parts):
    y = f(leaf(a))
    assert np.isfinite(y.data).all()
    with pytest.raises(GraphError) as refusal:
        y.sum().backward()
    for part in parts:
        assert part in str(refusal.value)


def test_a_batch_may_hold_repeated_values_that_nothing_asks_for():
    a = np.stack([np.diag([1.0, 2.0, 3.0]), REPEATED])
    g = gradient(lambda x: ops.eigh(x)[1][0, :, 0], a)
    alone = gradient(lambda x: ops.eigh(x)[1][:, 0], a[0])
    np.testing.assert_allclose(g, np.stack([alone, np.zeros((3, 3))]))
    assert (g[0] == g[0].T).all()  # Spread over both triangles.


@pytest.mark.parametrize(
    ("call", "kind", "parts"),
    [
        (lambda: ops.solve(leaf(np.ones((2, 2))), np.ones(2)), OptionError,
         ["solve: a is singular", "a (2, 2) with the singular value"]),
        (lambda: ops.solve(leaf(np.eye(2)), np.ones(3)), ShapeError,
         ["solve: the shapes do not fit", "a (2, 2), b (3,)"]),
        (lambda: ops.inv(leaf(np.zeros((2, 2)))), OptionError,
         ["inv: a is singular", "with the singular value 0"]),
        (lambda: ops.inv(leaf(np.zeros((2, 3)))), ShapeError,
         ["inv: a is no square matrix", "a (2, 3)", "a (..., N, N)"]),
        (lambda: ops.det(leaf(np.zeros(3))), ShapeError, ["det: a is no square matrix"]),
        (lambda: ops.svd(leaf(np.zeros(3))), ShapeError, ["svd: a is no matrix", "a (..., N, M)"]),
        (lambda: ops.cholesky(leaf(-np.eye(2))), OptionError,
         ["cholesky: a is not positive definite", "a (2, 2) with the eigenvalue -1"]),
        (lambda: ops.svd(leaf(np.full((2, 2), np.nan))), OptionError, ["a holds NaN or infinity"]),
        (lambda: ops.inv(np.eye(2, dtype=np.float16)), DtypeError, ["inv: LAPACK has no half"]),
    ],
)  # fmt: skip
def test_linear_algebra_refuses_in_words(call, kind, parts):
    with pytest.raises(kind) as refusal:
        call()
    for part in parts:
        assert part in str(refusal.value)
