from __future__ import annotations

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import DtypeError, OptionError, ShapeError

rng = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "d", "k"), [(4, 3, 5), (1, 3, 2), (3, 1, 1), (2, 7, 1)])
def test_affine_gradients(check_pair, n, d, k):
    arrays = [rng.standard_normal(s) for s in ((n, d), (d, k), (k,))]
    check_pair(m.affine, m.affine_backward, *arrays)


def test_affine_is_its_formula_and_takes_any_memory_layout(check_pair):
    x, w, b = rng.standard_normal((6, 8))[::2, ::2], rng.standard_normal((5, 4)).T, np.ones(10)[::2]
    y, _ = m.affine(x, w, b)
    np.testing.assert_allclose(y, np.einsum("nd,dk->nk", x, w) + b, rtol=1e-14)
    check_pair(m.affine, m.affine_backward, x, w, b)


def test_affine_without_the_gradient_of_its_input():
    x, w, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 2)), np.zeros(2)
    g = np.ones((4, 2))
    _, cache = m.affine(x, w, b)
    dx, dw, db = m.affine_backward(g, cache, input_gradient=False)
    assert dx is None
    _, dw_full, db_full = m.affine_backward(g, cache)
    np.testing.assert_array_equal(dw, dw_full)
    np.testing.assert_array_equal(db, db_full)


def test_affine_of_an_empty_batch():
    y, cache = m.affine(np.zeros((0, 3)), np.ones((3, 2)), np.zeros(2))
    assert y.shape == (0, 2)
    dx, dw, _ = m.affine_backward(y, cache)
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dw, np.zeros((3, 2)))


def test_affine_says_which_argument_does_not_fit():
    x, w, b = np.ones((32, 64)), np.ones((65, 10)), np.ones(10)
    with pytest.raises(ShapeError) as caught:
        m.affine(x, w, b)
    assert str(caught.value) == (
        "affine: w does not fit x\n"
        "  given:    x (32, 64), w (65, 10), b (10,)\n"
        "  expected: x (N, D), w (D, K), b (K,)\n"
        "  fix:      w needs shape (64, K) here"
    )
    with pytest.raises(ShapeError, match="affine: b does not fit w") as caught:
        m.affine(x, np.ones((64, 10)), np.ones(9))
    assert caught.value.fix == "b needs shape (10,) here"
    with pytest.raises(ShapeError, match="affine: x has 3 axes"):
        m.affine(np.ones((2, 3, 4)), np.ones((4, 1)), np.ones(1))


def test_affine_refuses_other_dtypes_and_mixtures():
    x, w, b = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32), np.zeros(2, np.float32)
    with pytest.raises(DtypeError) as caught:
        m.affine(x, w, b.astype(np.float64))
    assert str(caught.value) == (
        "affine: b and x differ in precision\n"
        "  given:    x float32, b float64\n"
        "  expected: one dtype, so that nothing is promoted unseen\n"
        "  fix:      b.astype(numpy.float32)"
    )
    with pytest.raises(DtypeError, match="affine: x is not a floating array"):
        m.affine(x.astype(np.int64), w, b)
    with pytest.raises(DtypeError, match="affine: w is not a floating array"):
        m.affine(x, w.astype(np.float16), b)
    with pytest.raises(DtypeError, match="affine: w is not an array") as caught:
        m.affine(x, [[1.0, 2.0]] * 3, b)
    assert caught.value.given == "w of Python type list"


def test_a_wrong_g_is_blamed_on_g():
    _, cache = m.affine(np.ones((2, 3)), np.ones((3, 4)), np.zeros(4))
    with pytest.raises(ShapeError) as caught:
        m.affine_backward(np.ones((4, 2)), cache)
    assert str(caught.value) == (
        "affine_backward: g does not have the output's shape\n"
        "  given:    g (4, 2)\n"
        "  expected: g (2, 4)"
    )
    with pytest.raises(DtypeError, match="affine_backward: g is not of the output's dtype"):
        m.affine_backward(np.ones((2, 4), np.float32), cache)
    with pytest.raises(DtypeError) as caught:
        m.affine_backward(1.0, cache)
    assert caught.value.given == "g of Python type float"


@pytest.mark.parametrize("shape", [(5,), (2, 3), (), (2, 0)])
def test_embedding_gradients(check_pair, shape):
    indices = rng.integers(0, 4, shape)
    check_pair(lambda t: m.embedding(indices, t), m.embedding_backward, rng.standard_normal((4, 3)))


def test_embedding_adds_up_repeated_rows():
    _, cache = m.embedding(np.array([2, 0, 2, 2]), np.zeros((3, 2)))
    dtable = m.embedding_backward(np.ones((4, 2)), cache)
    np.testing.assert_array_equal(dtable, [[1, 1], [0, 0], [3, 3]])


def test_embedding_refuses_rows_that_do_not_exist():
    table = np.zeros((3, 2))
    with pytest.raises(OptionError) as caught:
        m.embedding(np.array([[0, 1], [-1, 5]]), table)
    assert str(caught.value) == (
        "embedding: indices name rows of the table that do not exist\n"
        "  given:    indices[1, 0] = -1\n"
        "  expected: 0 to 2"
    )
    with pytest.raises(OptionError, match=r"= 3"):
        m.embedding(np.array([3], np.uint8), table)
    with pytest.raises(DtypeError, match="embedding: indices are not integers"):
        m.embedding(np.array([0.0]), table)
    with pytest.raises(ShapeError, match="embedding: table has 1 axes"):
        m.embedding(np.array([0]), np.zeros(3))
