"""Sorting, quantiles, running sums and products: NumPy's values, and every derivative."""

import numpy as np
import pytest

from workbench.errors import OptionError, ShapeError
from workbench.functional import grad, jit, vmap
from workbench.functional.numpy import ordering as order
from workbench.gradcheck import check_gradient

A = np.random.default_rng(0).permutation(24).reshape(2, 3, 4) * 0.37 - 4.1  # No ties.
SHARES = np.array([[0.0, 0.21, 0.5], [0.77, 0.9, 1.0]])
PLACES = np.sort(np.random.default_rng(1).normal(size=4))

CASES = {
    "sort": lambda m, x: m.sort(x) + m.sort(x, 0) * m.sort(x, axis=1),
    "sort all": lambda m, x: m.sort(x, axis=None),
    "cumsum": lambda m, x: m.cumsum(x, 1) * m.cumsum(x, -1) + m.cumsum(x)[0],
    "cumprod": lambda m, x: m.cumprod(x, 1) + m.cumprod(x, 2) * x + m.cumprod(x[0, 0])[1],
    "diff": lambda m, x: m.diff(x) * m.diff(x, n=2, axis=1).sum() + m.diff(x, axis=-1),
    "ediff1d": lambda m, x: m.ediff1d(x * x),
    "median": lambda m, x: m.median(x, 1) + m.median(x, (0, 2), keepdims=True)[0, 1] * m.median(x),
    "quantile": lambda m, x: m.quantile(x, 0.3, axis=1) + m.quantile(x, SHARES, axis=(0, 2)).sum()
    + m.quantile(x, SHARES[0], axis=0, keepdims=True)[1, 0, 0],
    "percentile": lambda m, x: m.percentile(x, [25.0, 60.0] if m is np else np.array([25.0, 60.0]), 2),
    "trapezoid": lambda m, x: m.trapezoid(x, dx=0.3) + m.trapezoid(x * x, PLACES, axis=2)
    + m.trapezoid(x, x, axis=0)[0, 0],
}  # fmt: skip
STEPS = {
    "argsort": lambda m, x: m.argsort(x, 1) + 10 * m.argsort(x) + 100 * m.argsort(x, 0),
    "argsort all": lambda m, x: m.argsort(x, axis=None),
    "searchsorted": lambda m, x: (
        m.searchsorted(PLACES, x) + 10 * m.searchsorted(PLACES, x, "right")
    ),
}


def same(got, want, ulps=16):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    tiny = ulps * np.finfo(want.dtype).eps if want.dtype.kind == "f" else 0
    scale = np.nanmax(np.abs(want), initial=1)
    np.testing.assert_allclose(got, want, rtol=tiny, atol=tiny * scale)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [*CASES, *STEPS])
def test_values_and_dtypes_are_numpys(name, dtype):
    f, x = (CASES | STEPS)[name], A.astype(dtype)
    want = f(np, x)
    if name in ("quantile", "percentile", "trapezoid") and dtype is np.float32:
        want = want.astype(f(order, x).dtype)  # NumPy lets a float64 share decide.
        same(f(order, x), want)
        return
    same(f(order, x), want)
    same(jit(lambda x: f(order, x))(x), want)
    same(vmap(lambda x: f(order, x), 2)(np.stack([x, x[::-1]], 2))[1], f(np, x[::-1]))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_first_and_second_order(name):
    f = CASES[name]
    weights = np.random.default_rng(2).normal(size=f(np, A).shape)
    objective = lambda x: (f(order, x) * weights).sum()  # noqa: E731
    first = grad(objective)
    second = grad(lambda x, v: (first(x) * v).sum())
    if np.any(second(A, A) != 0):
        check_gradient(objective, [first, second], A, order=2)
    else:
        check_gradient(objective, first, A)
        assert name in ("sort all", "percentile", "quantile")  # Linear but for kinks.
    same(jit(first)(A), first(A), ulps=256)
    both = np.stack([A, A * 1.1])
    same(vmap(first)(both)[1], first(both[1]), ulps=256)


def test_running_products_have_their_derivatives_at_zeros():
    x = np.array([3.0, 0.0, 5.0, 0.0, 2.0])
    jacobian = np.stack([grad(lambda x, i=i: order.cumprod(x)[i])(x) for i in range(5)])
    want = np.zeros((5, 5))
    want[0, 0], want[1, 1], want[2, 1] = 1, 3, 15
    np.testing.assert_array_equal(jacobian, want)
    mixed = grad(lambda x: grad(lambda x: order.cumprod(x)[4])(x)[1])(x)
    np.testing.assert_array_equal(mixed, [0, 0, 0, 30, 0])


def test_integers_ties_and_nan():
    i = np.array([[3, -1, 3, 0], [2, 2, 2, -9]])
    for name in "sort argsort cumsum cumprod diff median".split():
        for f in (getattr(order, name), jit(getattr(order, name))):
            options = {"kind": "stable"} if name == "argsort" else {}
            same(f(i), getattr(np, name)(i, **options))
    for dtype in (np.int8, np.uint8, bool):
        for name in "cumsum cumprod".split():
            for f in (getattr(order, name), jit(getattr(order, name))):
                same(f(i.astype(dtype)), getattr(np, name)(i.astype(dtype)))
    same(order.diff(i > 0), np.diff(i > 0))
    np.testing.assert_array_equal(
        grad(lambda x: (order.sort(x) * np.array([1.0, 2, 4])).sum())(np.array([5.0, 1, 1])),
        [4, 1, 2],
    )
    x = np.array([[1.0, np.nan, -2], [4, 3, 5]])
    for name in "sort argsort nancumsum nancumprod".split():
        same(
            getattr(order, name)(x), getattr(np, name)(x, **{"axis": -1} if "sort" in name else {})
        )
    same(order.median(x, 1), np.median(x, 1))
    same(order.quantile(x, SHARES, 1), np.quantile(x, SHARES, 1))
    a, v = np.array([1.0, 2, 2, 3, np.nan]), np.array([0.0, 2, 2.5, np.nan, 9])
    for side in ("left", "right"):
        same(order.searchsorted(a, v, side), np.searchsorted(a, v, side))
        assert order.searchsorted(a, 2.0, side) == np.searchsorted(a, 2.0, side)


def test_a_quantile_has_a_derivative_with_respect_to_its_share():
    x = np.array([3.0, 1.0, 7.0])
    assert grad(lambda q: order.quantile(x, q))(0.25) == 4
    assert grad(lambda q: order.quantile(x, q))(0.75) == 8
    same(vmap(lambda q: order.quantile(x, q))(SHARES[0]), np.quantile(x, SHARES[0]))


def test_edges_and_refusals():
    assert order.sort(np.ones((2, 0))).shape == (2, 0)
    for f in (order.cumsum, order.cumprod, order.diff):
        assert jit(f)(np.ones(0)).shape == (0,)
        assert grad(lambda x, f=f: f(x).sum())(np.ones(0)).shape == (0,)
    assert order.diff(np.ones(3), n=5).shape == (0,)
    np.testing.assert_array_equal(order.diff(A, n=0), A)
    with pytest.raises(ShapeError, match="sort: there is no such axis"):
        order.sort(A, 3)
    with pytest.raises(ShapeError, match="median: there are no elements to choose from"):
        order.median(np.ones((0, 2)), 0)
    with pytest.raises(OptionError, match="searchsorted: there is no such side"):
        order.searchsorted(PLACES, A, "middle")
    with pytest.raises(ShapeError, match="searchsorted: a has one axis"):
        order.searchsorted(A, A)
    with pytest.raises(OptionError, match="diff: differences are taken 0 times or more"):
        order.diff(A, n=-1)
