"""Reductions: NumPy's values and dtypes, with masks and starts, and every derivative."""

import numpy as np
import pytest
import scipy.special

from workbench.errors import OptionError, ShapeError
from workbench.functional import grad, jit, make_jaxpr, vmap
from workbench.functional import numpy as fnp
from workbench.functional.numpy import reductions as red
from workbench.gradcheck import check_gradient

EPS = np.finfo(float).eps
A = np.random.default_rng(0).normal(size=(2, 3, 4))
MASK = np.random.default_rng(1).random((3, 4)) < 0.6
MASK[0, 0] = True
W = np.random.default_rng(2).uniform(0.1, 1, A.shape)
HOLES = np.where(np.arange(24).reshape(A.shape) % 5 == 2, np.nan, A)

# Ours and NumPy's, on the same call.
CASES = {
    "sum": lambda m, x: m.sum(x, (0, 2), where=MASK, initial=2.5) + m.sum(x, 1)[0, 0],
    "prod": lambda m, x: m.prod(x, 1) + m.prod(x, 2, keepdims=True)[:, 0] * m.prod(x),
    "prod of some": lambda m, x: m.prod(x, (0, -1), where=MASK, initial=2.0),
    "mean": lambda m, x: m.mean(x, -1, where=MASK) + m.mean(x, (0, 2)),
    "var": lambda m, x: m.var(x, (0, 1), ddof=1) + m.var(x, 1, ddof=2)[1] + m.var(x),
    "std": lambda m, x: m.std(x, 0, keepdims=True) + m.std(x, 2, ddof=1)[..., None],
    "var of some": lambda m, x: m.var(x, 2, where=MASK) + m.std(x, (1, 2), where=MASK, ddof=1)[0],
    "max": lambda m, x: m.max(x, 1) + m.max(x, (0, 2), where=MASK, initial=-0.1)[1] - m.amax(x),
    "min": lambda m, x: m.min(x, 1) + m.min(x, (0, 2), initial=-0.2)[1] - m.amin(x, where=MASK,
                                                                                 initial=3.0),
    "ptp": lambda m, x: m.ptp(x, 1, keepdims=True) + m.ptp(x),
    "average": lambda m, x: m.average(x, 1, W) + m.average(x, 1, weights=W[0, :, 0])
    + m.average(x, (0, 2), W[:, 1])[1] + m.average(x, (2, 0), W[:, 1].T)[0] + m.average(x),
}  # fmt: skip
WHOLE = {
    "any": lambda m, x: m.any(x > 1, 1) + 2 * m.any(x, (0, 1)) + 4 * m.any(x > 0, 2, where=MASK)[1, 0],
    "all": lambda m, x: m.all(x < 1, 1) + 2 * m.all(x, (0, 1)) + 4 * m.all(x > 0, 2, where=MASK)[1, 0],
    "count": lambda m, x: m.count_nonzero(x > 0.3, (0, 2)) + m.count_nonzero(x),
    "arg": lambda m, x: m.argmin(x, 1) + 10 * m.argmax(x, 1, keepdims=True)[:, 0] + 100 * m.argmin(x)
    + 1000 * m.argmax(x, keepdims=True)[0],
    "close": lambda m, x: m.allclose(x, x + 1e-9) + 2 * m.allclose(x, 0.0) + 4 * m.array_equal(x, x)
    + 8 * m.array_equal(x, x[0]) + 16 * m.array_equal(x, -x),
}  # fmt: skip
NAN = {
    name: lambda m, x, name=name: getattr(m, name)(x, 1) + getattr(m, name)(x)
    for name in "nansum nanprod nanmean nanmax nanmin nanvar nanstd".split()
}


def same(got, want, ulps=16):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    tiny = ulps * np.finfo(want.dtype).eps if want.dtype.kind == "f" else 0
    np.testing.assert_allclose(got, want, rtol=tiny, atol=tiny)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [*CASES, *WHOLE, *NAN])
def test_values_and_dtypes_are_numpys(name, dtype):
    f = (CASES | WHOLE | NAN)[name]
    x = (HOLES if name in NAN else A).astype(dtype)
    if name in ("average",) and dtype is np.float32:
        x = x.astype(float)  # Its weights are float64.
    same(f(red, x), f(np, x))
    same(jit(lambda x: f(red, x))(x), f(np, x))
    same(vmap(lambda x: f(red, x))(np.stack([x, x[::-1]]))[1], f(np, x[::-1]))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, bool])
def test_integers_are_numpys(dtype):
    x = np.array([[3, 0, 100], [2, 7, 90]]).astype(dtype)
    for name in "sum prod max min mean any all argmax argmin count_nonzero nansum nanmax".split():
        for f in (getattr(red, name), jit(getattr(red, name))):
            same(f(x), getattr(np, name)(x))
    same(red.min(np.array([0, 5], np.uint8)), np.uint8(0))  # No negative is taken of it.
    least = np.array([np.iinfo(np.int64).min, 1])
    assert red.min(least) == least[0]
    assert red.argmin(least) == 0


@pytest.mark.parametrize("name", [*CASES, *NAN])
def test_derivatives_of_first_and_second_order(name):
    f, x = (CASES | NAN)[name], A
    present = np.isfinite(HOLES) if name in NAN else np.ones(A.shape, bool)
    weights = np.random.default_rng(3).normal(size=f(np, A).shape)
    objective = lambda x: (f(red, fnp.where(present, x, np.nan)) * weights).sum()  # noqa: E731
    first = grad(objective)
    second = grad(lambda x, v: (first(x) * v).sum())
    gradient = first(x)
    np.testing.assert_array_equal(gradient[~present], 0)
    if np.any(second(x, W) != 0):
        check_gradient(objective, [first, second], x, order=2)
    else:
        check_gradient(objective, first, x)
        assert name in ("sum", "mean", "max", "min", "ptp", "average", "nansum", "nanmean", "nanmax",
                        "nanmin")  # fmt: skip
    same(jit(first)(x), gradient, ulps=128)


def test_products_have_their_derivatives_at_zeros_to_any_order():
    x = np.array([3.0, 0.0, 5.0, 0.0])
    np.testing.assert_array_equal(grad(red.prod)(np.array([3.0, 0.0, 5.0])), [0, 15, 0])
    np.testing.assert_array_equal(grad(red.prod)(x), [0, 0, 0, 0])
    mixed = grad(lambda x: grad(red.prod)(x)[1])
    np.testing.assert_array_equal(mixed(x), [0, 0, 0, 15])
    third = grad(lambda x: mixed(x)[3])
    np.testing.assert_array_equal(third(x), [5, 0, 3, 0])
    fourth = grad(lambda x: third(x)[0])
    np.testing.assert_array_equal(fourth(x), [0, 0, 1, 0])
    assert len(make_jaxpr(grad(red.prod))(np.ones(1024)).eqns) < 200  # Pairs, not elements.


def test_extremes_share_among_ties():
    np.testing.assert_array_equal(
        grad(red.min)(np.array([1.0, 3, 1, 1])), np.array([1, 0, 1, 1]) / 3
    )
    np.testing.assert_array_equal(grad(red.nanmax)(np.array([2.0, np.nan, 2])), [0.5, 0, 0.5])


def test_nothing_has_a_sum_but_no_extreme():
    nothing = np.ones((0, 3))
    for f in (lambda m: m.sum(nothing, 0), lambda m: m.prod(nothing, 0), lambda m: m.any(nothing, 0),
              lambda m: m.all(nothing, 0), lambda m: m.max(nothing, 0, initial=2.0),
              lambda m: m.min(nothing, 0, True, initial=2.0) if m is red
              else m.min(nothing, 0, keepdims=True, initial=2.0)):  # fmt: skip
        same(f(red), f(np))
    assert grad(lambda x: red.prod(x, 0).sum())(nothing).shape == (0, 3)
    with pytest.raises(ShapeError, match=r"min: nothing has no minimum\n.*f64\[0,3\], axes \(0,\)"):
        red.min(nothing, axis=0)
    with pytest.raises(ShapeError, match="argmin: nothing has no minimum"):
        jit(lambda x: red.argmin(x, axis=0))(nothing)
    assert np.isnan(red.nanmax(np.array([np.nan, np.nan])))


def test_refusals():
    with pytest.raises(OptionError, match="max: a mask may leave nothing to choose from"):
        red.max(A, where=A > 0)
    with pytest.raises(ShapeError, match="average: the weights do not fit"):
        red.average(A, 1, np.ones(4))
    with pytest.raises(ShapeError, match="prod: there is no such axis"):
        red.prod(A, 3)
    with pytest.raises(OptionError, match="all: an axis is named twice"):
        red.all(A, (0, -3))


def test_logsumexp_of_infinities():
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 1]])
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(red.logsumexp(x, 1), scipy.special.logsumexp(x, 1))
