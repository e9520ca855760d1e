"""NaN, infinities, zeros of either sign, the largest and the smallest numbers: as NumPy has them.

Where NumPy answers NaN or an infinity, so does every mode; a zero has NumPy's sign; every
other number is at most a few units in the last place away.
"""

import functools
import importlib
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from table import ROWS
from test_symbolic import MODES, compiled, declared

from workbench import functional
from workbench.symbolic import ops

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)  # Adds its rows to the table.


def extremes(dtype):
    """Return special numbers of a dtype, and those near which functions overflow or cancel."""
    limits = np.finfo(dtype)
    top = float(np.log(limits.max))
    sizes = [0, limits.smallest_subnormal, limits.tiny, limits.eps, 1e-3, 0.5, 1, 1.5, 2, 3, 10.25,
             top - 1, top + 1, 2 * top, 1e10, limits.max / 2, limits.max, np.inf]  # fmt: skip
    return np.array([s * x for x in sizes for s in (1.0, -1.0)] + [np.nan], dtype)


def units(actual, expected):
    """Return how many units in the last place are between two arrays, where both are numbers."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(actual.astype(np.longdouble) - expected.astype(np.longdouble))
        return apart / np.spacing(np.abs(expected)).astype(np.longdouble)


def assert_same(actual, expected, limit, what):
    """Compare arrays to within ``limit`` units in the last place, special numbers exactly."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    finite = np.isfinite(expected)
    wrong = np.isnan(actual) != np.isnan(expected)
    wrong |= ~finite & ~np.isnan(expected) & (actual != expected)
    wrong |= (expected == 0) & (actual == 0) & (np.signbit(actual) != np.signbit(expected))
    wrong[finite] |= ~(units(actual[finite], expected[finite]) <= limit)
    at = np.argwhere(wrong)
    places = [f"{what(i)}: {actual[tuple(i)]!r}, not {expected[tuple(i)]!r}" for i in at[:12]]
    assert not places, f"{len(at)} of {wrong.size} differ:\n" + "\n".join(places)


# --- elementwise -----------------------------------------------------------------------------


def elementwise():
    """Return the first row of each op of the files of elementwise ops."""
    files = {f"workbench.symbolic.ops.{name}" for name in ("elementwise", "special", "activations")}
    rows = {row.name: row for row in reversed(ROWS) if "symbolic" in row.eras}
    fixed = {"getitem", "where", "masked_fill", "left_shift", "right_shift"}  # In size, or words.
    return [row for name, row in sorted(rows.items())
            if name not in fixed and getattr(ops, name).__module__ in files]  # fmt: skip


def sigmoid(x):
    """SciPy's gives up a little before the smallest number is reached."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


REFERENCES = {
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "hard_swish": lambda x: x * (np.clip(x + 3, 0, 6) / 6),  # x * 6 would overflow.
    "xlogy": lambda x, y: np.where(x == 0, 0, x * np.log(np.where(x == 0, 1, y))),  # As JAX's.
}
"""Where the row's own reference loses digits, or has another convention."""
UNITS = {"logaddexp2": 320, "ndtr": 80, "gelu": 80, "logit": 8, "mish": 8, "silu": 16}
"""Units in the last place: 4 but for these.  exp(-x * x / 2) multiplies the rounding of x by x * x,
and logaddexp2 that of x * log(2) by x."""
SIGNLESS = {"maximum", "minimum", "elu"}
"""Of 0 and -0, NumPy's maximum is the one or the other; elu's reference takes one."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", elementwise(), ids=lambda row: row.name)
def test_elementwise(row, dtype, mode):
    x, rng = extremes(dtype), np.random.default_rng(0)
    n = len(row.sample(rng))
    arrays = [[x], [x[:, None], x], [rng.choice(x, 3000) for _ in range(n)]][min(n, 3) - 1]
    inputs = declared(arrays)
    f = compiled(inputs, row.call(ops, *inputs), mode)
    with np.errstate(all="ignore"):
        expected = np.asarray(REFERENCES.get(row.name, row.reference)(*arrays))
        actual = f(*arrays)
    if expected.dtype.kind == "f":
        expected = expected.astype(dtype)
    if row.name in SIGNLESS:
        actual, expected = actual + 0, expected + 0
    whole = np.broadcast_arrays(*arrays)
    assert_same(actual, expected, UNITS.get(row.name, 4),
                lambda i: f"{row.name}{tuple(a[tuple(i)] for a in whole)}")  # fmt: skip


# --- along an axis ---------------------------------------------------------------------------


def lines(dtype, n=35):
    """Return rows of n numbers with special ones among them: first, inside a vector, and last."""
    rng, top = np.random.default_rng(0), float(np.finfo(dtype).max)
    specials = [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan, np.inf], [top, top],
                [-top, -top], [0.0], [-0.0], [1000.0], [-1000.0]]  # fmt: skip
    made = [np.full(n, x) for x in (0.0, -0.0, np.nan, np.inf, -np.inf, top, np.finfo(dtype).tiny)]
    for special in specials:
        for at in (0, 9, n - len(special)):
            made.append(rng.standard_normal(n))
            made[-1][at : at + len(special)] = special
    return np.array(made, dtype)


def log_softmax(x, axis):
    """The logarithm of the softmax: NaN beside an infinity, where SciPy's has -inf."""
    logs = scipy.special.log_softmax(x, axis=axis)
    return np.where(np.any(x == np.inf, axis=axis, keepdims=True), np.float32(np.nan), logs)


ALONG = {
    "sum": np.sum, "mean": np.mean, "prod": np.prod, "max": np.max, "min": np.min,
    "argmax": np.argmax, "argmin": np.argmin, "any": np.any, "all": np.all,
    "count_nonzero": np.count_nonzero, "cumsum": np.cumsum, "cumprod": np.cumprod,
    "sort": np.sort, "argsort": functools.partial(np.argsort, kind="stable"),
    "median": lambda x, axis: np.median(x, axis), "ptp": np.ptp, "var": np.var, "std": np.std,
    "norm": np.linalg.norm, "logsumexp": scipy.special.logsumexp,
    "softmax": scipy.special.softmax, "log_softmax": log_softmax,
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALONG)
def test_along_an_axis(name, dtype, mode):
    rows = lines(dtype)
    arrays = [rows, np.ascontiguousarray(rows.T)]
    inputs = declared(arrays)
    f = compiled(inputs, [getattr(ops, name)(x, axis=1 - i) for i, x in enumerate(inputs)], mode)
    with np.errstate(all="ignore"):
        for i, (x, actual) in enumerate(zip(arrays, f(*arrays), strict=True)):
            expected = np.asarray(ALONG[name](x, axis=1 - i))
            if name in ("max", "min", "median", "cumprod", "prod"):
                actual, expected = actual + 0, expected + 0  # 0 of either sign.
            # Sums of 35 numbers in another order: where they cancel, the sum's last digits go.
            limit = 64 if name not in ("sum", "mean", "cumsum") else 2000
            assert_same(actual, expected, limit, lambda k, i=i: f"{name}, axis {1 - i}, at {k}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_and_windows(dtype, mode):
    rng, rows = np.random.default_rng(0), lines(dtype)
    w = rng.uniform(0.5, 1, (35, 5)).astype(dtype)
    image = rows[:20, :35].reshape(1, 1, 20, 35)
    arrays = [rows, w, image]
    a, b, c = inputs = declared(arrays)
    f = compiled(inputs, [a @ b, b.T @ a.T, ops.max_pool2d(c, 5)], mode)
    with np.errstate(all="ignore"):
        product, turned, pooled = f(*arrays)
        expected = rows @ w
    finite = np.isfinite(expected)
    for actual in (product, turned.T):
        np.testing.assert_array_equal(np.isfinite(actual), finite)
        np.testing.assert_array_equal(actual[~finite], expected[~finite])
        scale = np.maximum(np.max(np.abs(rows), axis=1, keepdims=True), 1) * np.ones_like(expected)
        apart = np.abs(actual[finite] / scale[finite] - expected[finite] / scale[finite])
        assert np.max(apart) <= 100 * np.finfo(dtype).eps
    whole = image.reshape(1, 1, 4, 5, 7, 5).max((3, 5))
    np.testing.assert_array_equal(pooled, whole)


# --- era 4, as it runs and compiled ----------------------------------------------------------

TRANSFORMS = {"eager": lambda f: f, "jit": functional.jit}


def elementwise_of_functional():
    """Return the rows above that era 4 has, too, and those that it alone has."""
    rows = {row.name: row for row in reversed(ROWS) if "functional" in row.eras}
    own = functional.numpy.elementwise.__name__
    names = {row.name for row in elementwise()} | {
        name for name in functional.numpy.elementwise.__all__
        if getattr(functional.numpy, name).__module__ == own
    }  # fmt: skip
    return [row for name, row in sorted(rows.items()) if name in names - {"where"}]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", elementwise_of_functional(), ids=lambda row: row.name)
def test_elementwise_of_functional(row, dtype, transform):
    x, rng = extremes(dtype), np.random.default_rng(0)
    arrays = [[x], [x[:, None], x], [rng.choice(x, 3000) for _ in range(3)]][
        min(len(row.sample(rng)), 3) - 1
    ]
    f = TRANSFORMS[transform](lambda *x: row.call(functional.numpy, *x))
    with np.errstate(all="ignore"):
        expected = np.asarray(REFERENCES.get(row.name, row.reference)(*arrays))
        actual = np.asarray(f(*arrays))
    if row.name in SIGNLESS:
        actual, expected = actual + 0, expected + 0
    whole = np.broadcast_arrays(*arrays)
    assert_same(actual, expected.astype(actual.dtype), UNITS.get(row.name, 4),
                lambda i: f"{row.name}{tuple(a[tuple(i)] for a in whole)}")  # fmt: skip


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALONG)
def test_along_an_axis_of_functional(name, dtype, transform):
    space = functional.numpy.linalg if name == "norm" else functional.numpy
    rows = lines(dtype)
    for axis, x in ((1, rows), (0, np.ascontiguousarray(rows.T))):
        f = TRANSFORMS[transform](lambda x, axis=axis: getattr(space, name)(x, axis=axis))
        with np.errstate(all="ignore"):
            actual, expected = f(x), np.asarray(ALONG[name](x, axis=axis))
        if name in ("max", "min", "median", "cumprod", "prod"):
            actual, expected = actual + 0, expected + 0  # 0 of either sign.
        limit = 64 if name not in ("sum", "mean", "cumsum") else 2000
        assert_same(actual, expected, limit, lambda k, axis=axis: f"{name}, axis {axis}, at {k}")
