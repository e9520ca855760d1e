"""Indexing and putting: as NumPy reads every index, compiled and interpreted, with gradients."""

import numpy as np
import pytest

from workbench import compiler, gradcheck, symbolic
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic import ops
from workbench.symbolic.lowering import lower


def results(inputs, outputs, values):
    """Return what the interpreter makes, and what the lowered program makes, which agree."""
    expected = symbolic.function(inputs, outputs, mode="interpret")(*values)
    types = [compiler.Type(np.asarray(v).dtype, np.shape(v)) for v in values]
    known = {x: np.asarray(v) for x, v in zip(inputs, values, strict=True) if x.dtype.kind == "i"}
    program = lower("test", inputs, types, outputs, known)
    actual = compiler.compile(program, "numpy")(*map(np.asarray, values))
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-15, atol=1e-15)
    return expected


def random_index(rng, shape):
    """Return an index of at most as many axes, of every kind that there is."""
    index = []
    for n in shape[: rng.integers(0, len(shape) + 1)]:
        bounds = rng.integers(-n - 1, n + 2, 2).tolist()
        index += [
            [int(rng.integers(-n, n))],
            [slice(*bounds, int(rng.choice([-2, -1, 1, 2, 3])))],
            [None, slice(None, None, -1)],
            [rng.integers(-n, n, (2, 3))],
            [rng.integers(-n, n, 3)],
            [np.array(rng.integers(-n, n))],
        ][rng.integers(6)]
    if rng.integers(2):
        index.insert(rng.integers(len(index) + 1), Ellipsis)
    return tuple(index)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("seed", range(150))
def test_any_index_taken_put_and_added_as_numpy_does(seed, known):
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((3, 4, 5))
    index = random_index(rng, value.shape)
    part = rng.standard_normal(value[index].shape)
    weights = rng.standard_normal(value.shape)
    x = symbolic.tensor("x", shape=value.shape if known else (None,) * 3)
    y = symbolic.tensor("y", shape=part.shape if known else (None,) * part.ndim)
    put, added = ops.set_subtensor(x[index], y), ops.inc_subtensor(x[index], y)
    gradients = [g for z in (put, added) for g in symbolic.grad(ops.sum(z * weights), [x, y])]
    taken, was_put, was_added, *slopes = results([x, y], [x[index], put, added, *gradients],
                                                 [value, part])  # fmt: skip
    np.testing.assert_array_equal(taken, value[index])
    expected = value.copy()
    expected[index] = part
    np.testing.assert_array_equal(was_put, expected)
    # Of what was put, only what stayed counts: mark every element by its own number.
    marks = np.full(value.shape, -1)
    marks[index] = np.arange(part.size).reshape(part.shape)
    stayed = (marks[index] == np.arange(part.size).reshape(part.shape)) * weights[index]
    np.testing.assert_array_equal(slopes[0], np.where(marks < 0, weights, 0))
    np.testing.assert_array_equal(slopes[1], stayed)
    expected = value.copy()
    np.add.at(expected, index, part)
    np.testing.assert_allclose(was_added, expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(slopes[2], weights)
    np.testing.assert_array_equal(slopes[3], weights[index])


@pytest.mark.parametrize("seed", range(60))
def test_the_bounds_of_a_slice_may_be_expressions(seed):
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((6, 5))
    bounds = rng.integers(-7, 8, 4)
    step = int(rng.choice([-2, -1, 1, 2]))
    x = symbolic.matrix("x", shape=(None, 5) if seed % 2 else (6, 5))
    a, z, i, s = (symbolic.scalar(n, "int64") for n in "azis")
    y = x[a:z:s, 1:] ** 2
    w = x[i % 6, : z - 1]
    g = symbolic.grad(y.sum() + w.sum(), x)
    values = [value, bounds[0], bounds[1], bounds[2], np.int64(step)]
    taken, slope = results([x, a, z, i, s], [y, g], values)
    low, high, at, _ = bounds.tolist()
    np.testing.assert_array_equal(taken, value[low:high:step, 1:] ** 2)
    expected = np.zeros_like(value)
    expected[low:high:step, 1:] = 2 * value[low:high:step, 1:]
    expected[at % 6, : high - 1] += 1
    np.testing.assert_allclose(slope, expected, rtol=1e-15)
    assert y.shape == (None, 4)


def test_a_function_is_specialised_to_bounds_that_are_inputs():
    x, n = symbolic.vector("x"), symbolic.scalar("n", "int64")
    f = symbolic.function([x, n], [x[:n].sum(), symbolic.grad((x[:n] ** 2).sum(), x)],
                          mode="numpy")  # fmt: skip
    value = np.arange(5.0)
    for stop in (2, 4, 2, -1, 0):
        total, slope = f(value, stop)
        assert total == value[:stop].sum()
        np.testing.assert_array_equal(slope, 2 * value * (np.arange(5) < stop % 5))
    assert f.fallback is None


def test_bounds_that_are_constants_are_known_at_once():
    x = symbolic.vector("x", shape=(9,))
    assert x[symbolic.constant(2) : np.int64(7)].shape == (5,)
    assert x[: ops.shape_of(x)[0]].shape == (None,)
    assert x[2 : symbolic.scalar("n", "int32")].shape == (None,)


def test_second_order_through_putting():
    x, y = symbolic.vector("x"), symbolic.vector("y")
    cost = (ops.set_subtensor(x[[0, 2, 2]], y) ** 3).sum()
    cost += (ops.inc_subtensor(x[::2], y[:2]) ** 3).sum()
    first = symbolic.grad(cost, [x, y])
    v = [symbolic.vector("v"), symbolic.vector("w")]
    product = sum((g * d).sum() for g, d in zip(first, v, strict=True))
    second = symbolic.grad(product, [x, y])
    functions = [symbolic.function(i, o, mode="interpret")
                 for i, o in (([x, y], cost), ([x, y], first), ([x, y, *v], second))]  # fmt: skip
    gradcheck.check_gradient(functions[0], functions[1:], (np.array([1.0, -2, 0.5, 3]),
                             np.array([0.3, 1.5, -1.0])), order=2)  # fmt: skip


def test_theanos_idiom_updates_rows_of_a_table():
    table = symbolic.shared(np.zeros((4, 2)), "table")
    rows = symbolic.vector("rows", "int64")
    step = symbolic.function([rows], None, {table: ops.inc_subtensor(table[rows], 1)})
    step([1, 1, 3])
    np.testing.assert_array_equal(table.get_value(), [[0, 0], [2, 2], [0, 0], [1, 1]])


def test_an_index_outside_is_refused_with_its_line():
    x, i = symbolic.matrix("x"), symbolic.vector("i", "int64")
    f = symbolic.function([x, i], x[i], mode="numpy")
    with pytest.raises(ShapeError, match="getitem") as caught:
        f(np.ones((3, 2)), [0, 3])
    assert "x[i]" in str(caught.value)
    g = symbolic.function([x], x[5], mode="numpy")
    with pytest.raises(ShapeError, match=r"5 is outside axis 0|index 5 is out of bounds"):
        g(np.ones((3, 2)))


X = symbolic.matrix("X", shape=(None, 3))
N = symbolic.vector("N", "int64")


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: ops.set_subtensor(X, 1.0), GraphError, "its first argument is not made by index"),
        (lambda: ops.set_subtensor(X * 2, 1.0), GraphError, r"fix: +ops.set_subtensor\(x\[index"),
        (lambda: ops.inc_subtensor(X[0], np.ones(4)), ShapeError, "does not broadcast"),
        (lambda: ops.set_subtensor(N[0], 1.5), DtypeError, "set_subtensor: y does not fit into in"),
        (lambda: ops.inc_subtensor((X > 0)[0], True), DtypeError, "inc_subtensor: y does not fit"),
        (lambda: X[:N], DtypeError, "getitem: the bound of a slice is not one integer"),
        (lambda: X[: X[0, 0]], DtypeError, "getitem: the bound of a slice is not one integer"),
        (lambda: X[1.5:], OptionError, "getitem: this slice is not usable"),
        (lambda: ops.take_along_axis(X, N, 1), ShapeError, "indices does not have the axes of x"),
        (lambda: ops.take(X, [0.5]), DtypeError, "take: indices needs an integer dtype"),
        (lambda: ops.zeros((2, X)), DtypeError, "full|broadcast_to: shape needs an integer dtype"),
        (lambda: ops.zeros((2, N)), ShapeError, "a size is not one integer"),
        (lambda: ops.arange(N), ShapeError, "arange: stop is not a scalar"),
        (lambda: ops.arange(0, 3, 0), OptionError, "arange: a step of 0"),
        (lambda: ops.split(X, 2, 1), ShapeError, "split: axis 1 of x does not have 2 equal parts"),
        (lambda: ops.split(X, 2, 0), ShapeError, r"fix: +say where to cut"),
        (lambda: ops.pad(X, ((1, 2, 3),)), OptionError, "pad: these are not widths"),
        (lambda: ops.pad(X, -1), OptionError, "pad: these are not widths"),
        (lambda: ops.pad(X, 1, "edge"), ShapeError, "pad: the size of axis 0 is not known"),
        (lambda: ops.meshgrid(N, N, indexing="yx"), OptionError, "meshgrid: there is no such order"),
        (lambda: ops.diag(ops.zeros((2, 2, 2))), ShapeError, "diag: x is neither a vector nor a m"),
        (lambda: ops.stack([X, X[0]]), ShapeError, "does not fit those before it"),
        (lambda: ops.moveaxis(X, (0, 1), 0), OptionError, "moveaxis: source and destination diff"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_while_building(build, error, text):
    with pytest.raises(error, match=text):
        build()


# --- arrays of computed sizes --------------------------------------------------------------


def test_sizes_may_be_expressions():
    n, x = symbolic.scalar("n", "int64"), symbolic.matrix("x")
    made = [
        ops.zeros((n, 2)), ops.ones(n), ops.full((2, n), x[0, 0]), ops.eye(n), ops.eye(n, n + 1, 1),
        ops.arange(n), ops.arange(1, n + 1, 2), ops.arange(0.5, n * 0.5, 0.25), ops.tile(x, (n, 2)),
        ops.repeat(x, n, 0), ops.roll(x, n, 0), ops.one_hot(ops.arange(n), n),
        ops.zeros((ops.shape_of(x)[1], 3)), ops.reshape(x, (n, -1)),
    ]  # fmt: skip
    v = np.arange(6.0).reshape(3, 2)
    expected = [
        np.zeros((3, 2)), np.ones(3), np.full((2, 3), v[0, 0]), np.eye(3), np.eye(3, 4, 1),
        np.arange(3), np.arange(1, 4, 2), np.arange(0.5, 1.5, 0.25), np.tile(v, (3, 2)),
        np.repeat(v, 3, 0), np.roll(v, 3, 0), np.eye(3), np.zeros((2, 3)), v.reshape(3, -1),
    ]  # fmt: skip
    for actual, e in zip(results([n, x], made, [np.int64(3), v]), expected, strict=True):
        assert actual.shape == e.shape
        assert actual.dtype == e.dtype
        np.testing.assert_array_equal(actual, e)
    assert made[0].shape == (None, 2)
    slope = symbolic.grad(ops.sum(made[2]), x)
    np.testing.assert_array_equal(results([n, x], [slope], [np.int64(3), v])[0],
                                  [[6, 0], [0, 0], [0, 0]])  # fmt: skip


@pytest.mark.parametrize("bounds", [(7,), (2, 9), (9, 2, -3), (0.1, 2.3, 0.7), (5, 2), (0, 1, 0.1)])
def test_arange_is_numpys_to_the_last_digit(bounds):
    expected = np.arange(*bounds)
    y = ops.arange(*bounds)
    assert y.shape == expected.shape
    x = symbolic.vector("x")
    actual = results([x], [y + 0 * x.sum()], [np.ones(2)])[0]
    np.testing.assert_array_equal(actual, expected)
    kinds = "float64" if expected.dtype.kind == "f" else "int64"
    scalars = [symbolic.scalar(f"b{i}", kinds) for i in range(len(bounds))]
    if kinds == "int64":
        values = [np.int64(b) for b in bounds]
        np.testing.assert_array_equal(results(scalars, [ops.arange(*scalars)], values)[0], expected)


def test_linear_algebra_of_sizes_not_known():
    a, b = symbolic.tensor("a", ndim=3), symbolic.vector("b")
    rng = np.random.default_rng(0)
    value, right = rng.standard_normal((2, 3, 3)) + 3 * np.eye(3), rng.standard_normal(3)
    spd = value @ value.swapaxes(1, 2)
    outputs = [ops.inv(a), ops.det(a), ops.solve(a, b), ops.cholesky(a @ a.transpose((0, 2, 1)))]
    cost = sum(ops.sum(y) for y in outputs)
    made = results([a, b], [*outputs, *symbolic.grad(cost, [a, b])], [value, right])
    expected = [np.linalg.inv(value), np.linalg.det(value),
                np.linalg.solve(value, right[:, None])[..., 0], np.linalg.cholesky(spd)]  # fmt: skip
    for actual, e in zip(made, expected, strict=False):
        np.testing.assert_allclose(actual, e, rtol=1e-12)
    f = symbolic.function([a, b], cost, mode="interpret")
    g = symbolic.function([a, b], symbolic.grad(cost, [a, b]), mode="interpret")
    gradcheck.check_gradient(f, g, (value, right))
