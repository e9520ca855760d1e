"""Every op: NumPy's values and dtypes, its gradient, its second order, sizes known or not."""

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.special
import table as conformance

from workbench import arrays, gradcheck, symbolic
from workbench.errors import DtypeError, OptionError, ShapeError, WorkbenchError
from workbench.symbolic import ops

for path in sorted((Path(__file__).parents[1] / "conformance").glob("rows_*.py")):
    importlib.import_module(path.stem)  # Adds its rows to the table.


@dataclass(frozen=True)
class Row:
    """One use of an op: ``call`` on variables, ``reference`` on arrays."""

    id: str
    call: Any
    reference: Any
    sample: Any
    declared: Any = None  # Shapes with unknown sizes; all None where absent.


def normal(*shapes):
    return lambda rng: [rng.standard_normal(s) for s in shapes]


def positive(*shapes):
    return lambda rng: [rng.uniform(0.3, 2, s) for s in shapes]


def apart(*shapes):
    """Multiples of 0.4, each array shifted: far from ties with each other, and from 0."""
    return lambda rng: [rng.integers(-5, 5, s) * 0.4 + 0.1 + 0.1 * i for i, s in enumerate(shapes)]


def distinct(shape):
    return lambda rng: [(rng.permutation(int(np.prod(shape))).reshape(shape) - 3.3) * 0.2]


def correlate(x, w, b, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    y = [[sum(scipy.signal.correlate2d(x[n, c], w[f, c], "valid") for c in range(x.shape[1]))
          for f in range(len(w))] for n in range(len(x))]  # fmt: skip
    return np.array(y)[:, :, ::stride, ::stride] + b[:, None, None]


def pooled(x, size, stride, padding, fill, reduce):
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return reduce(windows[:, :, ::stride, ::stride], axis=(4, 5))


LABELS = np.array([0, 1, 2, 0, 1])
PICK = np.array([[0, 2], [2, 2]])
ROWS = [
    Row("add", ops.add, np.add, normal((3, 4), (4,))),
    Row("subtract", ops.subtract, np.subtract, normal((3, 1), (4,))),
    Row("multiply", ops.multiply, np.multiply, normal((2, 3, 4), (3, 1))),
    Row("divide", ops.divide, np.divide, lambda r: [*normal((3, 4))(r), *positive((1, 4))(r)]),
    Row("power", ops.power, np.power, positive((3, 4), (4,))),
    Row("power-2", lambda x: x**2, np.square, normal((3, 4))),
    Row("power-1", lambda x: x**1, lambda x: x, normal((3, 4))),
    Row("power-1.5", lambda x: x**1.5, lambda x: x**1.5, positive((3, 4))),
    Row("rpower", lambda x: 2**x, lambda x: 2**x, normal((3, 4))),
    Row("negative", ops.negative, np.negative, normal((3,))),
    Row("exp", ops.exp, np.exp, normal((3, 4))),
    Row("log", ops.log, np.log, positive((3, 4))),
    Row("log1p", ops.log1p, np.log1p, positive((3, 4))),
    Row("expm1", ops.expm1, np.expm1, normal((3, 4))),
    Row("sqrt", ops.sqrt, np.sqrt, positive((3, 4))),
    Row("square", ops.square, np.square, normal((3, 4))),
    Row("absolute", ops.absolute, np.absolute, apart((3, 4))),
    Row("sign", lambda x: ops.sign(x) * x, np.abs, apart((3, 4))),
    Row("sin", ops.sin, np.sin, normal((3, 4))),
    Row("cos", ops.cos, np.cos, normal((3, 4))),
    Row("tanh", ops.tanh, np.tanh, normal((3, 4))),
    Row("sigmoid", ops.sigmoid, scipy.special.expit, normal((3, 4))),
    Row("relu", ops.relu, lambda x: np.maximum(x, 0), apart((3, 4))),
    Row("maximum", ops.maximum, np.maximum, apart((3, 4), (4,))),
    Row("minimum", ops.minimum, np.minimum, apart((3, 1), (1, 4))),
    Row("where", lambda x, y: ops.where(ops.greater(x, y), x * x, y),
        lambda x, y: np.where(x > y, x * x, y), apart((3, 4), (3, 1))),
    Row("matmul-22", ops.matmul, np.matmul, normal((3, 4), (4, 2))),
    Row("matmul-11", ops.matmul, np.matmul, normal((4,), (4,))),
    Row("matmul-12", ops.matmul, np.matmul, normal((4,), (4, 2))),
    Row("matmul-21", ops.matmul, np.matmul, normal((3, 4), (4,))),
    Row("matmul-31", ops.matmul, np.matmul, normal((2, 3, 4), (4,))),
    Row("matmul-13", ops.matmul, np.matmul, normal((4,), (2, 4, 3))),
    Row("matmul-32", ops.matmul, np.matmul, normal((2, 3, 4), (4, 2))),
    Row("matmul-23", ops.matmul, np.matmul, normal((3, 4), (2, 4, 2))),
    Row("matmul-broadcast", ops.matmul, np.matmul, normal((2, 1, 3, 4), (5, 4, 2))),
    Row("tensordot", lambda x, y: ops.tensordot(x, y, ((2, 0), (0, 3))),
        lambda x, y: np.tensordot(x, y, ((2, 0), (0, 3))), normal((2, 3, 4), (4, 5, 3, 2))),
    Row("sum", ops.sum, np.sum, normal((3, 4))),
    Row("sum-axis", lambda x: ops.sum(x, -1), lambda x: x.sum(-1), normal((3, 4))),
    Row("sum-axes-kept", lambda x: x.sum((0, 2), keepdims=True),
        lambda x: x.sum((0, 2), keepdims=True), normal((2, 3, 4))),
    Row("mean", ops.mean, np.mean, normal((3, 4))),
    Row("mean-axis", lambda x: x.mean((0, 1)), lambda x: x.mean((0, 1)), normal((2, 3, 4))),
    Row("max", lambda x: x.max(1), lambda x: x.max(1), distinct((3, 4))),
    Row("max-kept", lambda x: x.max(keepdims=True) * x, lambda x: x.max() * x, distinct((3, 4))),
    Row("min", lambda x: x.min(0), lambda x: x.min(0), distinct((3, 4))),
    Row("logsumexp", ops.logsumexp, scipy.special.logsumexp, normal((3, 4))),
    Row("logsumexp-axis", lambda x: ops.logsumexp(x, (0, 2)),
        lambda x: scipy.special.logsumexp(x, (0, 2)), normal((2, 3, 4))),
    Row("reshape", lambda x: ops.reshape(x, (2, -1)), lambda x: x.reshape(2, -1), normal((3, 4))),
    Row("reshape-like", lambda x, y: x.reshape(ops.shape_of(y)) * y,
        lambda x, y: x.reshape(y.shape) * y, normal((3, 4), (2, 6))),
    Row("transpose", ops.transpose, np.transpose, normal((2, 3, 4))),
    Row("transpose-axes", lambda x: x.transpose((1, -1, 0)), lambda x: x.transpose(1, 2, 0),
        normal((2, 3, 4))),
    Row("T", lambda x: x.T * 2, lambda x: x.T * 2, normal((3, 4))),
    Row("broadcast_to", lambda x: ops.broadcast_to(x, (2, 3, 4)),
        lambda x: np.broadcast_to(x, (2, 3, 4)), normal((3, 1))),
    Row("expand_dims", lambda x: ops.expand_dims(x, (0, -1)),
        lambda x: np.expand_dims(x, (0, -1)), normal((3, 4))),
    Row("squeeze", lambda x: ops.squeeze(x, (0, 2)), lambda x: x.squeeze((0, 2)), normal((1, 3, 1))),
    Row("concatenate", lambda x, y, z: ops.concatenate([x, y, z, x], 1) ** 2,
        lambda x, y, z: np.concatenate([x, y, z, x], 1) ** 2, normal((3, 2), (3, 1), (3, 4))),
    Row("cast", lambda x: ops.cast(x, x.dtype) * 1, lambda x: x, normal((3,))),
    Row("getitem-int", lambda x: x[1, -1], lambda x: x[1, -1], normal((3, 4, 2))),
    Row("getitem-slices", lambda x: x[::-2, ..., None, 1:3], lambda x: x[::-2, ..., None, 1:3],
        normal((3, 2, 4))),
    Row("getitem-array", lambda x: x[PICK], lambda x: x[PICK], normal((3, 4))),
    Row("getitem-arrays", lambda x: x[1:, [0, 2, 0], PICK[0, 0]],
        lambda x: x[1:, [0, 2, 0], PICK[0, 0]], normal((3, 4, 2))),
    Row("getitem-split", lambda x: x[0, :, [1, 1, 0]], lambda x: x[0, :, [1, 1, 0]],
        normal((3, 4, 2))),
    Row("getitem-new-axis", lambda x: x[[2, 2], None, 1], lambda x: x[[2, 2], None, 1],
        normal((3, 4))),
    Row("softmax", ops.softmax, lambda x: scipy.special.softmax(x, -1), normal((3, 4))),
    Row("softmax-0", lambda x: ops.softmax(x, 0), lambda x: scipy.special.softmax(x, 0),
        normal((3, 4))),
    Row("log_softmax", ops.log_softmax, lambda x: scipy.special.log_softmax(x, -1), normal((3, 4))),
    Row("softmax_cross_entropy", lambda x: ops.softmax_cross_entropy(x, LABELS),
        lambda x: -scipy.special.log_softmax(x, -1)[np.arange(5), LABELS].mean(), normal((5, 3))),
    Row("mean_squared_error", ops.mean_squared_error, lambda x, y: ((x - y) ** 2).mean(),
        normal((3, 4), (3, 4))),
    Row("im2col", lambda x: ops.im2col(x, (2, 3), (2, 1), 1),
        lambda x: arrays.im2col(x, (2, 3), (2, 1), 1), normal((2, 2, 5, 4))),
    Row("col2im", lambda x: ops.col2im(x, (1, 2, 5, 4), (2, 1), 1),
        lambda x: arrays.col2im(x, (1, 2, 5, 4), (2, 1), 1), normal((1, 2, 3, 4, 2, 3)),
        [(None, None, None, None, 2, 3)]),
    Row("conv2d", lambda x, w, b: ops.conv2d(x, w, b, stride=2, padding=1),
        lambda x, w, b: correlate(x, w, b, 2, 1), normal((2, 2, 5, 4), (3, 2, 3, 2), (3,)),
        [(None,) * 4, (None, None, 3, 2), (None,)]),
    Row("max_pool2d", lambda x: ops.max_pool2d(x, 2),
        lambda x: pooled(x, 2, 2, 0, 0, np.max), distinct((2, 2, 4, 5))),
    Row("max_pool2d-overlapping", lambda x: ops.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: pooled(x, 3, 2, 1, -np.inf, np.max), distinct((1, 2, 5, 5))),
    Row("avg_pool2d", lambda x: ops.avg_pool2d(x, 3, stride=1, padding=1),
        lambda x: pooled(x, 3, 1, 1, 0, np.mean), normal((2, 1, 4, 3))),
]  # fmt: skip
NO_GRADIENT = {
    "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
    "less_equal": np.less_equal, "equal": np.equal, "not_equal": np.not_equal,
}  # fmt: skip

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
known_or_not = pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def sample(row, dtype=np.float64):
    return [np.asarray(a, dtype) for a in row.sample(np.random.default_rng(len(row.id)))]


def variables(row, values, known):
    unknown = row.declared or [(None,) * a.ndim for a in values]
    shapes = [a.shape for a in values] if known else unknown
    return [symbolic.tensor(f"x{i}", a.dtype, s)
            for i, (a, s) in enumerate(zip(values, shapes, strict=True))]  # fmt: skip


def near(actual, expected, dtype, factor=50):
    """Hold the result of some tens of roundings to them."""
    limit = factor * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=limit,
                               atol=limit * max(1, np.abs(expected).max(initial=0)))  # fmt: skip


@both_dtypes
@known_or_not
@each_row
def test_value_and_dtype_are_numpys(row, known, dtype):
    values = sample(row, dtype)
    xs = variables(row, values, known)
    y = row.call(*xs)
    expected = row.reference(*(a.astype(np.float64) for a in values))
    actual = symbolic.function(xs, y, mode="check")(*values)  # "check" proves shape and dtype.
    assert actual.shape == np.shape(expected)
    assert actual.dtype == dtype
    if known:
        assert y.shape == actual.shape
    near(actual, expected, dtype)


def derivatives(row, xs, r):
    """Return <y, r>, its gradient, and the gradient of <gradient, v>, as functions."""
    vs = [symbolic.tensor(f"v{i}", x.dtype, x.shape) for i, x in enumerate(xs)]
    value = ops.sum(row.call(*xs) * r)
    first = symbolic.grad(value, xs)
    product = sum((g * v).sum() for g, v in zip(first, vs, strict=True))
    second = symbolic.grad(product, xs, disconnected="zero")
    return [
        symbolic.function(inputs, y, on_unused_input="ignore", mode="check")
        for inputs, y in ((xs, value), (xs, first), ([*xs, *vs], second))
    ]


@known_or_not
@each_row
def test_first_and_second_order_are_the_numeric_ones(row, known):
    values = sample(row)
    r = np.random.default_rng(1).uniform(0.5, 1.5, np.shape(row.reference(*values)))
    f, first, second = derivatives(row, variables(row, values, known), r)
    if any(np.any(g) for g in second(*values, *values)):
        gradcheck.check_gradient(f, [first, second], tuple(values), order=2)
    else:  # A linear op: a second order that is all zero proves nothing to gradcheck.
        gradcheck.check_gradient(f, first, tuple(values))


@each_row
def test_float32_gradients_are_float32_and_near_float64s(row):
    wide = sample(row)
    r = np.ones(np.shape(row.reference(*wide)))
    narrow = [a.astype(np.float32) for a in wide]
    wide = [a.astype(np.float64) for a in narrow]
    expected = derivatives(row, variables(row, wide, True), r)[1](*wide)
    actual = derivatives(row, variables(row, narrow, True), r.astype(np.float32))[1](*narrow)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == np.float32
        near(a, e, np.float32)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_comparisons_are_numpys_and_say_why_they_have_no_gradient(name):
    x, y = np.array([1.0, 2.0, 3.0]), np.array([[2.0], [1.0]])
    a, b = symbolic.vector("a"), symbolic.matrix("b")
    z = getattr(ops, name)(a, b)
    actual = symbolic.function([a, b], z, mode="check")(x, y)
    np.testing.assert_array_equal(actual, NO_GRADIENT[name](x, y))
    assert "constant but for steps" in z.owner.op.no_gradient
    assert "No gradient" in getattr(ops, name).__doc__


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [(1,), (2, 3), (3,), (0, 3)])
def test_large_arrays_reduce_to_the_same_as_small_ones(axis, keepdims):
    value = np.random.default_rng(0).standard_normal((40, 30, 3, 3))
    x = symbolic.tensor("x", ndim=4)
    for name in ("max", "min", "sum"):
        y = getattr(ops, name)(x, axis, keepdims)
        actual = symbolic.function([x], y, mode="check")(value)
        expected = getattr(value, name)(axis=axis, keepdims=keepdims)
        assert actual.shape == expected.shape
        near(actual, expected, np.float64)


def test_argmax_is_numpys():
    x = symbolic.matrix("x")
    value = np.array([[1.0, 5.0, 5.0], [9.0, 2.0, 3.0]])
    f = symbolic.function([x], [ops.argmax(x), x.argmax(1)], mode="check")
    whole, rows = f(value)
    assert whole == value.argmax()
    np.testing.assert_array_equal(rows, value.argmax(1))
    assert "integer" in ops.argmax(x).owner.op.no_gradient


def test_every_op_has_a_test_and_a_docstring():
    tested = {row.id.split("-")[0] for row in ROWS} | NO_GRADIENT.keys()
    table = {row.name for row in conformance.ROWS if "symbolic" in row.eras}
    elsewhere = {
        "shape_of": "test_like_and_shape_of",
        "dropout": "draws from other streams than era 3's: tests/symbolic/test_random.py",
    }  # fmt: skip
    assert set(ops.__all__) - tested - table == set(elsewhere)
    assert len(ops.__all__) >= 200
    for name in ops.__all__:
        assert inspect.getdoc(getattr(ops, name))


def test_shifts_are_numpys():
    x = symbolic.vector("x", "uint64")
    value = np.array([1, 2**63, 12345], np.uint64)
    up, down = symbolic.function([x], [ops.left_shift(x, 3), ops.right_shift(x, 3)])(value)
    np.testing.assert_array_equal(up, value << np.uint64(3))
    np.testing.assert_array_equal(down, value >> np.uint64(3))


def test_operators_of_truth_and_rounding():
    x, y = symbolic.vector("x"), symbolic.vector("y")
    a, b = np.array([1.5, -2.0, 0.0]), np.array([0.5, 3.0, -1.0])
    both, either, one, none, whole, rest = run_all(
        [(x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0), x // y, x % y], x=a, y=b
    )
    np.testing.assert_array_equal(both, [True, False, False])
    np.testing.assert_array_equal(either, [True, True, False])
    np.testing.assert_array_equal(one, [False, True, False])
    np.testing.assert_array_equal(none, [False, True, True])
    np.testing.assert_array_equal(whole, a // b)
    np.testing.assert_array_equal(rest, a % b)


def run_all(ys, **values):
    inputs = [x for x in symbolic.graph.leaves(ys) if x.name]
    return symbolic.function(inputs, ys, mode="check")(**values)


def test_every_op_has_a_gradient_or_says_why_it_has_none():
    for row in conformance.ROWS:
        if "symbolic" not in row.eras or row.no_gradient is None:
            continue
        xs = [symbolic.tensor(f"x{i}", shape=np.shape(a))
              for i, a in enumerate(row.sample(np.random.default_rng(0)))]  # fmt: skip
        y = row.call(ops, *xs)
        path = symbolic.nodes(y)
        # A step whose slope is 0 (floor, sign) has that as its gradient, and a cast to
        # integers ends where the dtype says so; the rest say why.
        ends = [node.op for node in path if node.op.no_gradient]
        assert ends or y.dtype.kind == "f" or path[-1].op.name == "cast"
        assert all(len(op.no_gradient) > 10 for op in ends)


# --- the usual traps, and where frameworks differ --------------------------------------------


def run(y, **values):
    inputs = [x for x in symbolic.graph.leaves([y]) if x.name]
    return symbolic.function(inputs, y, mode="check")(**values)


def slope(y, x, at):
    return float(run(symbolic.grad(y, x), **{x.name: at}))


def test_reflected_operators_keep_their_sides():
    t = symbolic.scalar("t")
    assert run(1 - t, t=3.0) == -2
    assert run(1 / t, t=4.0) == 0.25
    assert run(2**t, t=3.0) == 8
    a = np.array([[1.0, 2.0]])
    m = symbolic.matrix("m")
    np.testing.assert_array_equal(run(a @ m, m=[[3.0], [4.0]]), [[11.0]])
    np.testing.assert_array_equal(run(a - m, m=[[3.0, 1.0]]), [[-2.0, 1.0]])
    np.testing.assert_array_equal(run(a < m, m=[[3.0, 1.0]]), [[True, False]])
    assert isinstance(np.float64(1) - t, symbolic.Variable)
    np.testing.assert_array_equal(run(abs(-m), m=[[3.0, -1.0]]), [[3.0, 1.0]])


def test_relu_has_slope_0_at_0():
    x = symbolic.scalar("x")
    assert slope(ops.relu(x), x, 0.0) == 0
    assert slope(ops.absolute(x), x, 0.0) == 0


def test_ties_share_the_gradient():
    x, y = symbolic.scalar("x"), symbolic.scalar("y")
    for op in (ops.maximum, ops.minimum):
        both = symbolic.function([x, y], symbolic.grad(op(x, y), [x, y]))
        assert both(2.0, 2.0) == [0.5, 0.5]
    v = symbolic.vector("v")
    g = symbolic.function([v], symbolic.grad(v.max(), v))
    np.testing.assert_array_equal(g([1.0, 3.0, 3.0, 0.0]), [0, 0.5, 0.5, 0])


def test_powers_at_zero():
    x, y = symbolic.scalar("x"), symbolic.scalar("y")
    assert slope(x**2, x, 0.0) == 0
    assert slope(x**1, x, 0.0) == 1
    assert slope(x**0, x, 0.0) == 0
    second = symbolic.grad(symbolic.grad(x**2, x), x)
    assert run(second, x=0.0) == 2
    both = symbolic.function([x, y], symbolic.grad(x**y, [x, y]))
    assert both(0.0, 2.0) == [0, 0]
    assert both(0.0, 0.0)[0] == 0
    assert both(3.0, 1.0) == pytest.approx([1, 3 * np.log(3)], rel=1e-15)


def test_softmax_and_its_kin_bear_logits_of_a_thousand():
    x = symbolic.matrix("x")
    value = np.array([[1000.0, 0.0, -1000.0]])
    np.testing.assert_array_equal(run(ops.softmax(x), x=value), [[1, 0, 0]])
    np.testing.assert_array_equal(run(ops.log_softmax(x), x=value), [[0, -1000, -2000]])
    assert run(ops.logsumexp(x), x=value) == 1000
    loss = ops.softmax_cross_entropy(x, [1])
    assert run(loss, x=value) == 1000
    np.testing.assert_array_equal(run(symbolic.grad(loss, x), x=value), [[1, -1, 0]])


def test_logsumexp_of_nothing_but_zeros_of_probability():
    x = symbolic.vector("x")
    with np.errstate(divide="ignore"):
        assert run(ops.logsumexp(x), x=[-np.inf, -np.inf]) == -np.inf
    assert run(ops.logsumexp(x), x=[np.inf, 0.0]) == np.inf


def test_sigmoid_keeps_its_digits_far_from_zero():
    x = symbolic.vector("x")
    values = np.array([-700.0, -40.0, 0.0, 40.0, 700.0])
    near(run(ops.sigmoid(x), x=values) / scipy.special.expit(values), np.ones(5), np.float64)


def test_repeated_indices_accumulate():
    x = symbolic.vector("x")
    g = symbolic.grad(x[[1, 1, 1, 0]].sum(), x)
    np.testing.assert_array_equal(run(g, x=[5.0, 6.0, 7.0]), [1, 3, 0])


def random_index(rng, shape):
    """Return an index of at most as many axes, of every kind that there is."""
    index = []
    for n in shape[: rng.integers(0, len(shape) + 1)]:
        bounds = rng.integers(-n - 1, n + 2, 2).tolist()
        index += [
            [int(rng.integers(-n, n))],
            [slice(*bounds, int(rng.choice([-2, -1, 1, 2])))],
            [None, slice(None, None, -1)],
            [rng.integers(-n, n, (2, 3))],
            [rng.integers(-n, n, 3)],
            [np.array(rng.integers(-n, n))],
        ][rng.integers(6)]
    if rng.integers(2):
        index.insert(rng.integers(len(index) + 1), Ellipsis)
    return tuple(index)


@pytest.mark.parametrize("seed", range(200))
def test_any_index_is_read_as_numpy_reads_it(seed):
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((3, 4, 5))
    index = random_index(rng, value.shape)
    expected = value[index]
    known, unknown = symbolic.tensor("x", shape=(3, 4, 5)), symbolic.tensor("x", ndim=3)
    assert known[index].shape == expected.shape
    r = rng.standard_normal(expected.shape)
    slope = np.zeros_like(value)
    np.add.at(slope, index, r)
    for x in (known, unknown):
        y = x[index]
        f = symbolic.function([x], [y, symbolic.grad((y * r).sum(), x)], mode="check")
        actual, g = f(value)
        np.testing.assert_array_equal(actual, expected)
        near(g, slope, np.float64)


def test_an_index_may_be_an_expression():
    x, i = symbolic.matrix("x"), symbolic.vector("i", "int64")
    f = symbolic.function([x, i], [x[i], symbolic.grad((x[i] ** 2).sum(), x)], mode="check")
    value = np.arange(6.0).reshape(3, 2)
    rows, g = f(value, [2, 0, 2])
    np.testing.assert_array_equal(rows, value[[2, 0, 2]])
    np.testing.assert_array_equal(g, 2 * value * [[1], [0], [2]])
    j = symbolic.scalar("j", "int64")
    np.testing.assert_array_equal(run(x[j, 1:], x=value, j=2), value[2, 1:])


def test_zero_sized_and_scalar_operands():
    x = symbolic.matrix("x")
    g = symbolic.grad((x * x).sum(), x)
    assert run(g, x=np.zeros((0, 3))).shape == (0, 3)
    s = symbolic.scalar("s")
    assert run(s.sum() + s.max() + s.T + s.mean(), s=2.0) == 8
    assert run(s[None, ...], s=2.0).shape == (1,)


def test_like_and_shape_of():
    x = symbolic.matrix("x", "float32", shape=(None, 3))
    value = np.full((2, 3), np.nan, np.float32)
    inputs = [x]
    f = symbolic.function(inputs, [ops.zeros_like(x), ops.ones_like(x), ops.shape_of(x)])
    zeros, ones, shape = f(value)
    np.testing.assert_array_equal(zeros, np.zeros_like(value))
    assert (ones.dtype, ones.sum(), list(shape)) == (np.float32, 6, [2, 3])
    known = symbolic.matrix("known", shape=(2, 3))
    assert ops.shape_of(known).owner is None  # A constant.


# --- broadcasting against sizes that are not known ------------------------------------------


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("m", [1, 4])
def test_gradients_undo_whatever_broadcasting_happens(n, m):
    x, y = symbolic.matrix("x"), symbolic.matrix("y")
    f = symbolic.function([x, y], symbolic.grad(ops.exp(x * y).sum(), [x, y]), mode="check")
    a, b = np.full((n, 1), 0.5), np.full((m, 3), 2.0)
    ga, gb = f(a, b)
    assert (ga.shape, gb.shape) == (a.shape, b.shape)
    rows = max(n, m)
    np.testing.assert_allclose(ga, np.full((n, 1), 2 * np.e * 3 * rows / n), rtol=1e-14)
    np.testing.assert_allclose(gb, np.full((m, 3), 0.5 * np.e * rows / m), rtol=1e-14)


def test_shapes_are_inferred_as_far_as_they_can_be():
    x = symbolic.tensor("x", shape=(None, 3, 8, 8))
    y = ops.max_pool2d(ops.conv2d(x, np.ones((5, 3, 3, 3)), padding=1), 2)
    assert y.shape == (None, 5, 4, 4)
    assert y.reshape((-1, 80)).shape == (None, 80)
    assert (x[..., 0] + np.ones((7, 1, 8))).shape == (7, 3, 8)
    assert x[2:, 1:].shape == (None, 2, 8, 8)
    assert ops.concatenate([x, x], 1).shape == (None, 6, 8, 8)
    assert ops.concatenate([x, x]).shape == (None, 3, 8, 8)


# --- dtypes ----------------------------------------------------------------------------------


def test_python_numbers_are_weak_and_numpys_are_strong():
    x, i = symbolic.vector("x", "float32"), symbolic.vector("i", "int64")
    y = 2 * x**2 / 3.0 - 1 + ops.maximum(x, 0.5) + ops.where(x > 0, 1, x)
    assert y.dtype == np.float32
    assert symbolic.grad(y.sum(), x).dtype == np.float32
    assert (x * np.float64(2)).dtype == np.float64
    assert (i * 2).dtype == np.int64
    assert (i * 2.5).dtype == (i / 2).dtype == i.mean().dtype == np.float64
    assert ops.sum(x > 0).dtype == np.int64


def test_gradients_come_back_in_the_dtype_of_their_variable():
    x, y = symbolic.vector("x", "float32"), symbolic.vector("y", "float64")
    gx, gy = symbolic.grad((x * y).sum(), [x, y])
    assert (gx.dtype, gy.dtype) == (np.float32, np.float64)
    back = symbolic.grad((ops.cast(x, "float64") * y).sum(), x)
    assert back.dtype == np.float32


# --- refusals ---------------------------------------------------------------------------------

X = symbolic.matrix("X", shape=(None, 3))
I4 = symbolic.tensor("I4", shape=(None, 3, 5, 5))
N = symbolic.vector("N", "int64")
REFUSED = [
    (lambda: X + np.ones((2, 4)), ShapeError, "add: x and y do not broadcast: axis -1 is 3 and 4"),
    (lambda: (X > 0) - (X > 0), DtypeError, "subtract: there is no such operation for these"),
    (lambda: X @ np.ones((4, 2)), ShapeError, "matmul: axis 1 of x is 3, but axis 0 of y is 4"),
    (lambda: X @ 2.0, ShapeError, "matmul: a scalar has no axis"),
    (lambda: np.ones((2, 5, 3)) @ ops.broadcast_to(X[0], (4, 3, 3)), ShapeError,
     "matmul: x and y do not broadcast: axis -3 is 2 and 4"),
    (lambda: ops.tensordot(X, X, ((0,), (0, 1))), OptionError, "tensordot: axes does not pair"),
    (lambda: ops.tensordot(X, X, 1.5), OptionError, "tensordot: axes does not pair"),
    (lambda: ops.sum(X, 2), OptionError, "sum: axis is not usable"),
    (lambda: ops.mean(X, (0, 0)), OptionError, "mean: axis is not usable"),
    (lambda: ops.max(X, "rows"), OptionError, "max: axis is not usable"),
    (lambda: ops.max(symbolic.constant(np.ones((0, 2)))), ShapeError, "max: no elements"),
    (lambda: ops.softmax(N), DtypeError, "softmax: x needs a floating dtype"),
    (lambda: ops.softmax(X, None), OptionError, "softmax: axis is not usable"),
    (lambda: ops.logsumexp(N), DtypeError, "logsumexp: x needs a floating dtype"),
    (lambda: X.reshape((2, -1, -1)), OptionError, "reshape: this is not a shape to ask for"),
    (lambda: X.reshape((None, 3)), OptionError, "ops.shape_of"),
    (lambda: X.reshape((2, 5)), ShapeError, "reshape: the shape asked for does not hold a mult"),
    (lambda: ops.reshape(np.ones((2, 3)), (-1, 4)), ShapeError, "reshape: .* the 6 elements of x"),
    (lambda: X.reshape(X), DtypeError, "reshape: shape is not a vector of integers"),
    (lambda: X.transpose((0, 0)), OptionError, "transpose: axis is not usable"),
    (lambda: X.transpose((0,)), OptionError, "transpose: axes does not name every axis"),
    (lambda: ops.broadcast_to(X, (2, 4)), ShapeError, "broadcast_to: x does not broadcast"),
    (lambda: ops.broadcast_to(X, (3,)), ShapeError, "broadcast_to: x does not broadcast"),
    (lambda: ops.squeeze(X), ShapeError, "squeeze: which axes of x have size 1 is not known"),
    (lambda: ops.squeeze(X, 1), ShapeError, "squeeze: axis 1 of x has more than one element"),
    (lambda: ops.concatenate(X), OptionError, "concatenate: arrays is not a list"),
    (lambda: ops.concatenate([]), OptionError, "concatenate: arrays is not a list"),
    (lambda: ops.concatenate([X, X, np.ones((2, 4))]), ShapeError, r"arrays\[2\] does not fit"),
    (lambda: ops.concatenate([X, X[0]]), ShapeError, r"concatenate: arrays\[1\] does not fit"),
    (lambda: ops.concatenate([1.0, 2.0]), ShapeError, "concatenate: .* no axis to join"),
    (lambda: ops.cast(X, "complex128"), DtypeError, "cast: expressions hold real numbers"),
    (lambda: ops.cast(X, "float23"), DtypeError, "cast: expressions hold real numbers"),
    (lambda: X[0, 0, 0], ShapeError, "getitem: the index does not fit"),
    (lambda: X[..., ...], ShapeError, "getitem: the index does not fit"),
    (lambda: X[:, 3], ShapeError, "getitem: index 3 is outside axis 1 of x"),
    (lambda: X[X > 0], DtypeError, "getitem: a mask selects"),
    (lambda: X[True], DtypeError, "getitem: a mask selects"),
    (lambda: X[1.5], DtypeError, "getitem: index needs an integer dtype"),
    (lambda: X[:N], DtypeError, "getitem: the bound of a slice is not one integer"),
    (lambda: X[::0], OptionError, "getitem: this slice is not usable"),
    (lambda: X["a":], OptionError, "getitem: this slice is not usable"),
    (lambda: ops.softmax_cross_entropy(X, np.ones(3)), DtypeError, "labels needs an integer dtype"),
    (lambda: ops.softmax_cross_entropy(X[0], N), ShapeError, "logits and labels do not fit"),
    (lambda: ops.softmax_cross_entropy(np.ones((2, 3)), [0]), ShapeError, "logits and labels do"),
    (lambda: ops.mean_squared_error(X, X[0]), ShapeError, "mean_squared_error: prediction and"),
    (lambda: ops.mean_squared_error(X, np.ones((2, 1))), ShapeError, "prediction and target"),
    (lambda: ops.im2col(X, 2), ShapeError, "im2col: images come as a batch"),
    (lambda: ops.im2col(I4, 6), ShapeError, "im2col: the window is larger than the padded image"),
    (lambda: ops.im2col(I4, 2, stride=0), OptionError, "im2col: stride is not usable"),
    (lambda: ops.col2im(I4, (1, 3, 5, 5)), ShapeError, "col2im: these are not windows"),
    (lambda: ops.conv2d(I4, X), ShapeError, "conv2d: w is not a set of kernels"),
    (lambda: ops.conv2d(I4, np.ones((2, 4, 3, 3))), ShapeError, "conv2d: x has 3 channels, w tak"),
    (lambda: ops.conv2d(I4, np.ones((2, 3, 7, 7))), ShapeError, "conv2d: the window is larger"),
    (lambda: ops.conv2d(I4, np.ones((2, 3, 3, 3)), np.ones(3)), ShapeError, "conv2d: b does not"),
    (lambda: ops.max_pool2d(I4, 2, padding=2), OptionError, "max_pool2d: some windows would hold"),
    (lambda: ops.avg_pool2d(I4, 0), OptionError, "avg_pool2d: size is not usable"),
    (lambda: ops.exp("x"), DtypeError, "exp: x is not made of real numbers"),
    (lambda: ops.exp(1j), DtypeError, "exp: x is not made of real numbers"),
    (lambda: ops.exp(None), DtypeError, "exp: x is not made of real numbers"),
    (lambda: symbolic.constant([[1.0], [1.0, 2.0]]), DtypeError, "constant: value cannot be an ar"),
    (lambda: symbolic.vector("u", "uint8") * 300, DtypeError, "multiply: y cannot be an array"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "text"), REFUSED, ids=[text for *_, text in REFUSED])
def test_what_can_never_fit_is_refused_while_building(build, error, text):
    with pytest.raises(error, match=text) as caught:
        build()
    assert isinstance(caught.value, WorkbenchError)
