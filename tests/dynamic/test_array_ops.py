"""Array operations beyond the conformance table: conventions, odd shapes, refusals, extremes."""

import math

import numpy as np
import pytest
import scipy.special

from workbench import arrays, dynamic
from workbench.dynamic import ops
from workbench.errors import DtypeError, OptionError, ShapeError, UnknownNameError


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


def slope(f, x, dtype=np.float64):
    """Return the gradient of the sum of f at x."""
    x = leaf(x, dtype)
    (g,) = dynamic.grad(f(x).sum(), x)
    assert g.dtype == dtype
    return g.data.tolist()


# --- at kinks, ties and zeros ---------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda x: ops.clip(x, -1.0, 1.0), [-2.0, -1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 0.0]),
        (lambda x: ops.clip(x, 2.0, 1.0), [0.0, 1.5, 3.0], [0.0, 0.0, 0.0]),
        (lambda x: ops.clip(x, None, np.inf), [0.0, 1.0], [1.0, 1.0]),
        (ops.leaky_relu, [-1.0, 0.0, 1.0], [0.01, 0.01, 1.0]),
        (ops.elu, [0.0, 1e4], [1.0, 1.0]),
        (ops.celu, [0.0, 1e4], [1.0, 1.0]),
        (ops.relu6, [-1.0, 0.0, 6.0, 7.0], [0.0, 1.0, 1.0, 0.0]),
        (ops.sinc, [0.0], [0.0]),
        (ops.floor, [-1.0, 0.5], [0.0, 0.0]),
        (ops.round, [0.5, 2.0], [0.0, 0.0]),
        (lambda x: ops.hypot(x, 0.0), [0.0, -3.0], [0.0, -1.0]),
        (lambda x: ops.arctan2(x, 0.0), [0.0], [0.0]),
        (lambda x: ops.logaddexp(x, -np.inf), [-np.inf, 3.0], [0.0, 1.0]),
        (lambda x: ops.xlogy(x, 0.0), [0.0], [0.0]),
        (ops.logsumexp, [-np.inf, -np.inf], [0.0, 0.0]),
        (lambda x: ops.logcumsumexp(x, 0), [-np.inf, -np.inf, 0.0], [1.0, 0.0, 1.0]),
        (ops.nan_to_num, [np.nan, np.inf, 2.0], [0.0, 0.0, 1.0]),
        (ops.std, [3.0, 3.0], [0.0, 0.0]),
        (ops.norm, [0.0, 0.0], [0.0, 0.0]),
        (ops.norm, [3.0, -4.0], [0.6000000000000001, -0.8]),
        (lambda x: ops.norm(x, 1), [0.0, -4.0], [0.0, -1.0]),
        (lambda x: ops.norm(x, 0.5), [0.0, 4.0], [0.0, 1.0]),
        (lambda x: ops.norm(x, 3), [0.0, 0.0], [0.0, 0.0]),
        (lambda x: ops.norm(x, -1), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: ops.norm(x, np.inf), [2.0, -2.0, 1.0], [0.5, -0.5, 0.0]),
        (ops.prod, [0.0, 3.0, 2.0], [6.0, 0.0, 0.0]),
        (ops.prod, [1e-200, 1e-200, 2.0], [2e-200, 2e-200, 0.0]),
        (ops.cumprod, [2.0, 0.0, 3.0], [1.0, 8.0, 0.0]),
        (lambda x: ops.cummax(x, 0), [1.0, 1.0, 0.0], [2.0, 1.0, 0.0]),
        (ops.ptp, [1.0, 3.0, 3.0], [-1.0, 0.5, 0.5]),
        (ops.median, [3.0, 1.0, 2.0, 9.0], [0.5, 0.0, 0.5, 0.0]),
        (lambda x: ops.sort(x, 0)[0], [1.0, 1.0], [1.0, 0.0]),
        (lambda x: ops.topk(x, 1)[0], [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    ],
)  # fmt: skip
def test_conventions(f, x, expected):
    np.testing.assert_allclose(slope(f, x), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "f", [lambda x: ops.prod(x), lambda x: ops.cumprod(x).sum(), lambda x: ops.sinc(x).sum()]
)
def test_second_order_where_division_would_fail(f):
    """At zeros, Hessians by a difference of exact gradients, far from rounding."""
    x, h = np.array([0.0, 2.0, 0.0, 1.5]), 1e-6
    t = leaf(x)
    (g,) = dynamic.grad(f(t), t, create_graph=True)
    for k, direction in enumerate(np.eye(4)):
        row = dynamic.grad(g[k], t, retain_graph=True, allow_unused=True)[0]
        ahead, behind = (np.array(slope(f, x + s * direction)) for s in (h, -h))
        np.testing.assert_allclose(row.data, ((ahead - behind) / (2 * h)), atol=1e-8)


def test_bounds_that_are_tensors_get_the_gradient_of_what_they_replace():
    x, low, high = leaf([-5.0, 0.5, 5.0, 7.0]), leaf(-1.0), leaf([9.0, 9.0, 1.0, 9.0])
    ops.clip(x, low, high).sum().backward()
    assert x.grad.data.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert low.grad.item() == 1.0
    assert high.grad.data.tolist() == [0.0, 0.0, 1.0, 0.0]


# --- numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_function_is_right_to_a_few_roundings_in_both_tails(dtype):
    eps, top = np.finfo(dtype).eps, 9.0 if dtype is np.float32 else 26.0
    x = np.concatenate([np.linspace(-6, top, 40_001), np.geomspace(1e-30, 1, 100)]).astype(dtype)
    wide = x.astype(np.float64)
    for name in ("erf", "erfc"):
        actual = getattr(arrays, name)(x)
        assert actual.dtype == dtype
        # Not by SciPy's erfc, which is off by 250 roundings at 26.
        expected = np.vectorize(getattr(math, name))(wide)
        np.testing.assert_allclose(actual, expected, rtol=5 * eps)
    ends = np.array([np.inf, -np.inf, np.nan, -0.0, 1e30], dtype)
    np.testing.assert_array_equal(arrays.erf(ends), np.array([1, -1, np.nan, -0.0, 1], dtype))
    np.testing.assert_array_equal(arrays.erfc(ends), np.array([0, 2, np.nan, 1, 0], dtype))
    assert np.signbit(arrays.erf(ends)[3])
    assert arrays.erf(np.array([0, 1], np.int32)).dtype == np.float64
    assert arrays.erfc(np.zeros((0, 2), dtype).T).shape == (2, 0)


def test_gelu_keeps_its_digits_where_x_is_negative():
    x = np.array([-8.0, -4.0, -1.0], np.float32)
    exact = x.astype(np.float64) * scipy.special.ndtr(x.astype(np.float64))
    np.testing.assert_allclose(ops.gelu(dynamic.tensor(x)).data, exact, rtol=1e-5)
    np.testing.assert_allclose(
        ops.gelu(np.linspace(-3, 3, 99), approximate=True), ops.gelu(np.linspace(-3, 3, 99)),
        atol=5e-4,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_neither_overflow_nor_lose_the_dtype(dtype):
    big = np.array([-1e4, 1e4], dtype)
    for name, expected in (
        ("softplus", [0, 1e4]), ("log_sigmoid", [-1e4, 0]), ("silu", [0, 1e4]),
        ("mish", [0, 1e4]), ("gelu", [0, 1e4]), ("elu", [-1, 1e4]), ("softsign", None),
    ):  # fmt: skip
        y = getattr(ops, name)(leaf(big, dtype))
        if expected is not None:
            assert y.data.tolist() == expected
        assert np.isfinite(slope(getattr(ops, name), big, dtype)).all()
    huge = dtype(np.finfo(dtype).max / 4)
    assert np.isclose(ops.hypot(leaf(huge, dtype), 0.0).item(), huge)
    assert np.isclose(slope(lambda x: ops.arctan2(0 * x + 1, x), huge, dtype), 0)


# --- shapes ---------------------------------------------------------------------------------


REDUCTIONS = ("prod", "var", "std", "norm", "ptp", "median")


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_numbers_and_of_axes_of_one(name):
    assert getattr(ops, name)(leaf(2.0)).shape == ()
    x = leaf(np.full((1, 3, 1), 2.0))
    y = getattr(ops, name)(x, axis=(0, 2))
    assert y.shape == (3,)
    y.sum().backward()
    assert x.grad.shape == (1, 3, 1)
    assert getattr(ops, name)(x, axis=-2, keepdims=True).shape == (1, 1, 1)


def test_empty_arrays_keep_their_shapes():
    x = leaf(np.zeros((0, 3)))
    for y, shape in (
        (ops.prod(x, axis=1), (0,)), (ops.prod(x, axis=0), (3,)), (ops.cumprod(x, 0), (0, 3)),
        (ops.sort(x, 0), (0, 3)), (ops.flip(x), (0, 3)), (ops.stack([x, x], -1), (0, 3, 2)),
        (ops.tile(x, 2), (0, 6)), (ops.pad(x, 1), (2, 5)), (ops.diff(x, axis=1), (0, 2)),
        (ops.take(x, [], 1), (0, 0)), (ops.topk(x, 2)[0], (0, 2)), (ops.norm(x, axis=0), (3,)),
        (ops.diagonal(x), (0,)), (ops.roll(x, 1), (0, 3)), (ops.repeat(x, 2, 1), (0, 6)),
    ):  # fmt: skip
        assert y.shape == shape
        (g,) = dynamic.grad(y.sum(), x)
        assert g.shape == (0, 3)


def test_split_and_stack_are_each_others_inverse():
    x = leaf(np.arange(6.0).reshape(2, 3))
    parts = ops.split(x, 3, axis=1)
    np.testing.assert_array_equal(ops.stack(parts, axis=1).data[..., 0], x.data)
    assert [p.shape for p in ops.split(x, [1], axis=-1)] == [(2, 1), (2, 2)]
    (g,) = dynamic.grad(sum(k * p.sum() for k, p in enumerate(parts)), x)
    assert g.data.tolist() == [[0.0, 1.0, 2.0]] * 2


# --- indices -----------------------------------------------------------------------------------


def test_functional_edits_leave_x_as_it_is():
    x, v = leaf(np.zeros(3)), leaf([1.0, 2.0])
    y = ops.index_update(x, [0, 2], v)
    z = ops.index_add(y, [0, 0], v)
    assert (x.data.tolist(), y.data.tolist()) == ([0, 0, 0], [1, 0, 2])
    assert z.data.tolist() == [4, 0, 2]
    z.sum().backward()
    assert (x.grad.data.tolist(), v.grad.data.tolist()) == ([0, 1, 0], [2, 2])
    assert ops.index_add(x, np.s_[1:], 5).data.tolist() == [0, 5, 5]
    assert ops.masked_fill(x, x.data == 0, 7).data.tolist() == [7, 7, 7]


def test_tensors_are_indices_and_a_later_edit_of_one_changes_nothing():
    x, index = leaf(np.arange(4.0)), dynamic.tensor([3, 3])
    y = ops.take(x, index) + x[index] + ops.take_along_axis(x, index)
    index[...] = 0
    y.sum().backward()
    assert x.grad.data.tolist() == [0.0, 0.0, 0.0, 6.0]


def test_truth_values_combine_and_select():
    x = leaf([-2.0, -0.5, 0.5, 2.0])
    inside = (x > -1) & (x < 1) & ~ops.isnan(x)
    assert inside.data.tolist() == [False, True, True, False]
    assert ((x < -1) | (x > 1)).data.tolist() == (True ^ inside).data.tolist()
    assert ops.compress(inside, x).data.tolist() == [-0.5, 0.5]
    assert [index.data.tolist() for index in ops.nonzero(inside)] == [[1, 2]]
    assert (x % 1.5).data.tolist() == [1.0, 1.0, 0.5, 0.5]
    assert (x // 1.5).data.tolist() == [-2.0, -1.0, 0.0, 1.0]
    assert (3 % ops.absolute(x)).requires_grad
    assert type(ops.count_nonzero(inside)) is dynamic.Tensor
    assert bool(inside.any()) is True
    assert bool(inside.all()) is False


def test_topk_gives_indices_too():
    values, indices = ops.topk(leaf([[1.0, 5.0, 5.0, 2.0]]), 3)
    assert (values.data.tolist(), indices.data.tolist()) == ([[5.0, 5.0, 2.0]], [[1, 2, 3]])
    assert not indices.requires_grad


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8])
def test_scatter_add_of_rows_agrees_with_a_loop(dtype):
    rng = np.random.default_rng(0)
    for shape in ((100, 40), (100, 2, 3), (100, 0), (100,)):
        index = rng.integers(-100 if np.dtype(dtype).kind == "i" else 0, 100, (30, 7)).astype(dtype)
        rows = rng.integers(-9, 9, (30, 7, *shape[1:])).astype(np.float32)
        expected = np.zeros(shape, np.float32)
        for at in np.ndindex(index.shape):
            expected[index[at]] += rows[at]
        actual = np.zeros(shape, np.float32)
        arrays.scatter_add(actual, index, rows)
        np.testing.assert_array_equal(actual, expected)  # Small integers: sums are exact.
    turned = np.zeros((3, 4)).T
    arrays.scatter_add(turned, np.array([1, 1, -1]), 2.0)
    assert turned.sum(1).tolist() == [0, 12, 0, 6]
    for wrong in (4, -5):
        with pytest.raises(IndexError):
            arrays.scatter_add(np.zeros((4, 2)), np.array([wrong]), 1.0)


# --- refusals and declarations -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.split(x, 2), ShapeError, "split: the axis does not part.*sections=2"),
        (lambda x: ops.stack([x, x[0]]), ShapeError, r"stack: .*expected: arrays of one shape"),
        (lambda x: ops.pad(x, 1, "reflekt"), UnknownNameError, "did you mean 'reflect'"),
        (lambda x: ops.pad(x, (1, 2, 3)), OptionError, "pad: .*pad_width=.1, 2, 3."),
        (lambda x: ops.pad(x, -1), OptionError, "pad: .*a pair for each axis"),
        (lambda x: ops.norm(x, "nuc"), OptionError, "norm: .*ord='nuc' over 2 axes"),
        (lambda x: ops.norm(x, 2), OptionError, "norm: .*ord=2 over 2 axes"),
        (lambda x: ops.norm(x, axis=5), OptionError, "norm: axis 5 is out of bounds"),
        (lambda x: ops.cumprod(x, 2), OptionError, "cumprod: axis 2 is out of bounds"),
        (lambda x: ops.cumsum(x, 2), OptionError, "cumsum: axis 2 is out of bounds"),
        (lambda x: ops.topk(x, 4), OptionError, r"topk: .*k=4, x \(3, 3\)"),
        (lambda x: ops.take(x, 3, 0), ShapeError, "getitem: .*index 3 is out of bounds"),
        (lambda x: ops.take(x, 0, 2), ShapeError, "take: axis 2 is out of bounds"),
        (lambda x: ops.take(x, [0.5]), DtypeError, "take: indices are integers"),
        (lambda x: ops.take_along_axis(x, [[9]], 0), ShapeError, "take_along_axis: .*index 9"),
        (lambda x: ops.scatter_add(x, [1], x, 0), ShapeError, "scatter_add: .*dimensions"),
        (lambda x: ops.index_add(x, 5, 1.0), ShapeError, "index_add: .*index 5"),
        (lambda x: ops.index_add(x, [0], x), ShapeError, r"broadcasts to x\[index\]"),
        (lambda x: ops.index_update(x, 0, x), ShapeError, r"broadcasts to x\[index\]"),
        (lambda x: ops.diag(x[None]), ShapeError, "diag: .*a vector or a matrix"),
        (lambda x: ops.moveaxis(x, (0, 1), 0), OptionError, "moveaxis: each axis needs one"),
        (lambda x: ops.roll(x, 1, 7), OptionError, "roll: .*axis=7"),
        (lambda x: ops.hypot(x, np.ones(2)), ShapeError, "hypot: .*broadcast"),
    ],
)  # fmt: skip
def test_refusals_name_the_operation_and_what_it_was_given(call, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        call(leaf(np.ones((3, 3))))


def test_what_has_no_gradient_answers_with_constants_and_says_why():
    x = leaf(np.ones((3, 3)))
    declared = {
        "isnan": ops.isnan(x), "argmin": ops.argmin(x), "argsort": ops.argsort(x),
        "any": x.any(), "floor_divide": x // 2, "nonzero": ops.nonzero(x)[0],
        "searchsorted": ops.searchsorted(x[0], x), "heaviside": ops.heaviside(x, 0.5),
    }  # fmt: skip
    for name, y in declared.items():
        assert len(ops.NO_GRADIENT[name]) > 20
        assert type(y) is dynamic.Tensor
        assert not y.requires_grad
        assert ops.NO_GRADIENT[name] in getattr(ops, name).__doc__ or name == "argsort"
