"""Indexing, updates, windows at traced places, looking up: NumPy's values through every transform."""

import numpy as np
import pytest

from workbench import functional
from workbench.compiler import best_target, compile
from workbench.errors import DtypeError, GraphError, ShapeError
from workbench.functional.lowering import to_program
from workbench.functional.numpy import creation, elementwise, indexing, lookup, reductions
from workbench.functional.numpy.updates import at, put_along_axis
from workbench.functional.primitives.indexing import scatter_set
from workbench.functional.primitives.windows import dynamic_slice, dynamic_update_slice
from workbench.gradcheck import check_gradient

EPS = np.finfo(float).eps
A = np.random.default_rng(0).normal(size=(3, 4, 5))
M, V, SMALL = A[0], A[0, 0], A[..., :2]
Q, J = np.array([2, 0, 2]), np.array([1, -1, 0])
MASK = np.array([True, False, True])
CLOSE = {"rtol": 0, "atol": 64 * EPS}


def close(got, want, scale=64):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    eps = np.finfo(want.dtype).eps if want.dtype.kind == "f" else 0
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * eps * np.abs(want).max(initial=1))


def two_orders(f, *xs):
    """Gradients of first and second order are those of differences."""
    weights = np.random.default_rng(1).normal(size=np.shape(f(*xs)))
    objective = lambda *xs: reductions.sum(elementwise.sin(f(*xs)) * weights)  # noqa: E731
    gradient = functional.grad(objective, argnums=tuple(range(len(xs))))
    check_gradient(objective, gradient, list(xs))
    along = lambda *xs: sum(reductions.sum(g * np.cos(g.size)) for g in gradient(*xs))  # noqa: E731
    check_gradient(along, functional.grad(along, argnums=tuple(range(len(xs)))), list(xs))


INDICES = [
    0, -1, (1, 2), slice(1, 3), slice(None, None, -2), (Ellipsis, 1), (slice(None), 2, slice(4, 0, -3)),
    (None, 1, None), Ellipsis, (), Q, [0, 2], (Q, J), (slice(None), Q), (Q, slice(None), J),
    (0, slice(None), J),
    (slice(1), Q[:, None], J), MASK, (MASK, J[:2]), (slice(None), slice(None), np.array([1, 0, 1, 0, 1], bool)),
    A > 0, (Ellipsis, Q[:2], 0), (1, ..., Q), [], (slice(5, 2), 0), True, False, (Q, None, 1), np.array(2),
    (slice(None), True, 1), (np.array([[True] * 4] * 3), 1), np.zeros(3, bool),
    (np.intp(1), slice(None, None, 2)),
]  # fmt: skip
EACH = pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))


@EACH
def test_reading_is_numpys(index):
    f = lambda x: at(x)[index].get()  # noqa: E731
    close(f(A), A[index])
    close(functional.jit(f)(A), A[index])
    close(functional.vmap(f)(np.stack([A, A + 1])), np.stack([A[index], (A + 1)[index]]))


@EACH
def test_setting_is_numpys(index):
    shape = A[index].shape
    values = np.random.default_rng(2).normal(size=shape)
    f = lambda x, v: at(x)[index].set(v)  # noqa: E731
    for v in (values, values[:1] if shape and shape[0] else values, 7.0):
        want = A.copy()
        want[index] = v
        close(f(A, v), want)
        close(functional.jit(f)(A, v), want)
    batch = np.stack([values, 2 * values])
    close(functional.vmap(f, (None, 0))(A, batch), np.stack([f(A, v) for v in batch]))
    close(functional.vmap(f)(np.stack([A, -A]), batch), np.stack([f(A, batch[0]), f(-A, batch[1])]))


@EACH
def test_adding_and_multiplying_count_every_repetition(index):
    values = np.random.default_rng(2).normal(size=A[index].shape)
    for name, ufunc in {"add": np.add, "subtract": np.subtract, "multiply": np.multiply,
                        "divide": np.divide, "min": np.minimum, "max": np.maximum}.items():  # fmt: skip
        for v in (values, 0.5):
            want = A.copy()
            ufunc.at(want, index if not isinstance(index, list) else np.array(index, int), v)
            f = lambda x, v, name=name: getattr(at(x)[index], name)(v)  # noqa: E731
            close(f(A, v), want)
        close(functional.jit(f)(A, v), want)


@pytest.mark.parametrize("index", [0, slice(None, None, -2), (1, slice(1, 3)), Q, (Q, J[::-1]),
                                   (slice(None), Q), MASK, (slice(0), 1)], ids=range(8))  # fmt: skip
@pytest.mark.parametrize("name", ["set", "add", "multiply", "divide"])
def test_gradients_of_updates(index, name):
    values = np.random.default_rng(2).uniform(0.5, 1.5, size=SMALL[index].shape)
    f = lambda x, v: getattr(at(x)[index], name)(v)  # noqa: E731
    if values.size:
        two_orders(f, SMALL, values)
    else:
        two_orders(lambda x: f(x, values), SMALL)


def test_the_last_of_repeated_updates_has_the_gradient():
    places = np.array([1, 1, 0])
    g = functional.grad(lambda v: reductions.sum(at(np.zeros(3))[places].set(v)))(np.ones(3))
    np.testing.assert_array_equal(g, [0, 1, 1])


def test_powers_and_functions_act_once_for_each_repetition():
    x = np.array([2.0, 3.0])
    close(at(x)[[0, 0, 1]].power(2), np.array([16.0, 9.0]))
    close(at(x)[[0, 0, 1]].apply(lambda x: x + 1), np.array([4.0, 4.0]))
    close(at(x)[1:].apply(elementwise.exp), np.array([2.0, np.exp(3)]))
    f = lambda x, i: at(x)[i].multiply(2.0, unique_indices=True)  # noqa: E731
    close(functional.jit(f)(x, np.array([1, 0])), 2 * x)
    close(functional.jit(lambda x, i: at(x)[i].multiply(2.0))(x, 1), np.array([2.0, 6.0]))


@pytest.mark.parametrize("name", ["set", "add", "multiply", "divide", "max"])
def test_traced_masks_update(name):
    mask = A > 0.1
    f = lambda x, mask, v: getattr(at(x)[mask], name)(v)  # noqa: E731
    for x, m, v in [
        (A, mask, 0.3),
        (A, MASK, M),
        (A, mask[..., 0], V),
        (V, V > 0, np.array([2.0])),
    ]:
        want = x.copy()
        if name == "set":
            want[m] = v
        else:
            getattr(np, {"max": "maximum"}.get(name, name)).at(want, m, v)
        close(functional.jit(f)(x, m, v), want)
    root = lambda x: reductions.sum(at(x)[x > 0].power(0.5))  # noqa: E731
    close(functional.grad(functional.jit(root))(np.array([4.0, -1, 0])), np.array([0.25, 1, 1]))


def test_traced_indices_under_every_transform():
    f = lambda x, i, v: at(x)[i, 1:3].set(v)  # noqa: E731
    want = np.stack([f(A, int(i), 2.0) for i in Q])
    close(functional.vmap(f, (None, 0, None))(A, Q, 2.0), want)
    close(functional.jit(functional.vmap(f, (None, 0, None)))(A, Q, 2.0), want)
    rows = lambda x, i, v: at(x)[i].set(v)  # noqa: E731
    close(functional.jit(rows)(M, Q[:2], M[:2] * 2), at(M)[Q[:2]].set(M[:2] * 2))
    two_orders(lambda x, v: rows(x, Q, v), M, M[:3] * 2)
    listed = functional.jit(lambda x, i: indexing.getitem(x, [i, 0]))
    close(listed(A, np.array(2)), A[[2, 0]])


def test_updates_take_the_dtype_of_the_array():
    x = np.zeros(3, np.float32)
    for f in (lambda p: p.set(V[:3]), lambda p: p.add(0.5), lambda p: p.multiply(np.float64(2))):
        assert f(at(x)[:]).dtype == np.float32
    assert at(np.zeros(3, int))[0].set(True).dtype == int


def test_put_along_axis_writes_what_take_along_axis_reads():
    order = np.argsort(A, axis=1)
    close(indexing.take_along_axis(A, order, 1), np.sort(A, 1))
    close(
        indexing.take_along_axis(A, order[:, :1, :1], 1), np.take_along_axis(A, order[:, :1, :1], 1)
    )
    close(indexing.take_along_axis(M, Q, None), np.take_along_axis(M, Q, None))
    close(put_along_axis(np.zeros_like(A), order, np.sort(A, 1), 1), A)
    want = M.copy()
    np.put_along_axis(want, Q, 9.0, None)
    close(put_along_axis(M, Q, 9.0), want)
    two_orders(lambda x: indexing.take_along_axis(x, order, 1), A)


# Primitives

WINDOWS = {
    "dynamic_slice": (lambda x, i, j: dynamic_slice(x, i, j, sizes=(2, 3)), [M]),
    "dynamic_slice-rows": (lambda x, i, j: dynamic_slice(x, i, j, sizes=(2, 5)), [M]),
    "dynamic_slice-whole": (lambda x, i, j: dynamic_slice(x, i, j, sizes=(4, 5)), [M]),
    "dynamic_update_slice": (dynamic_update_slice, [M, A[1, :2, :3]]),
    "dynamic_update_slice-rows": (dynamic_update_slice, [M, A[1, :2]]),
    "dynamic_update_slice-whole": (dynamic_update_slice, [M, A[1]]),
}  # fmt: skip


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("starts", [(0, 0), (1, 2), (9, 9), (-1, -4), (-9, 1)])
def test_windows_stay_inside_and_obey_every_rule(name, starts):
    f, xs = WINDOWS[name]
    sizes = xs[1].shape if len(xs) > 1 else np.shape(f(*xs, 0, 0))
    corner = [
        min(max(s + n * (s < 0), 0), n - m) for s, n, m in zip(starts, M.shape, sizes, strict=True)
    ]
    window = tuple(slice(s, s + m) for s, m in zip(corner, sizes, strict=True))
    want = M.copy()
    if len(xs) > 1:
        want[window] = xs[1]
    else:
        want = M[window]
    starts = [np.array(s) for s in starts]
    close(f(*xs, *starts), want)
    for target in ("numpy", best_target()):
        (y,) = compile(to_program(functional.make_jaxpr(f)(*xs, *starts)), target)(*xs, *starts)
        close(y, want)
    two_orders(lambda *xs: f(*xs, *starts), *xs)


@pytest.mark.parametrize("case", [*WINDOWS, "scatter_set", "scatter_set-1"])
def test_batches_are_loops_for_every_choice_of_mapped_arguments(case):
    f, xs = WINDOWS.get(case, (scatter_set, [A, A[0, :3], Q, J]))
    if case == "scatter_set-1":
        xs = [A, np.stack([M] * 3), Q]
    args = [*xs, 1, -3] if case in WINDOWS else xs
    args = [np.asarray(arg) for arg in args]
    for choice in range(1, 2 ** len(args)):
        mapped = [bool(choice >> i & 1) for i in range(len(args))]
        batch = [np.stack([x, x[::-1] if x.ndim else x + 1]) if mine else x
                 for x, mine in zip(args, mapped, strict=True)]  # fmt: skip
        loop = np.stack([f(*[b[i] if mine else b for b, mine in zip(batch, mapped, strict=True)])
                         for i in range(2)])  # fmt: skip
        axes = tuple(0 if mine else None for mine in mapped)
        close(functional.vmap(f, axes)(*batch), loop)
        close(functional.jit(functional.vmap(f, axes))(*batch), loop)


# Choosing and looking up

X, EDGES = np.array([-1.0, 0.0, 0.5, 1.0, 2.5, 3.0, 9.0]), np.array([0.0, 1.0, 2.0, 3.0])
CALLS = {
    "compress": (lambda m, x: m.compress([True, False, True], x, 0), M),
    "compress-flat": (lambda m, x: m.compress([0, 1, 1], x), M),
    "choose": (lambda m, x: m.choose(np.array([1, 0, 1, 1, 0]), [x, -x[0]]), M),
    "select": (lambda m, x: m.select([x > 1, x > 0], [x * x, 2 * x], -1.0), M),
    "piecewise": (lambda m, x: m.piecewise(x, [x < 0, x > 1], [lambda x: x * x, 4.0, lambda x: 3 * x]), M),
    "piecewise-0": (lambda m, x: m.piecewise(x, [x < 0], [lambda x: x * x]), M),
    "interp": (lambda m, x: m.interp(x, EDGES, EDGES**2 - 1), X + 0.1),
    "interp-ends": (lambda m, x: m.interp(x, EDGES, EDGES**2, left=-5, right=7), X + 0.1),
    "interp-values": (lambda m, x: m.interp(X, EDGES, x), V[:4]),
    "interp-points": (lambda m, x: m.interp(X + 0.1, x, V[:4]), EDGES + 0.05),
    "interp-one": (lambda m, x: m.interp(x, EDGES[:1] + 0.2, EDGES[:1]), X + 0.1),
    "interp-exact": (lambda m, x: m.interp(x, EDGES, EDGES**2), EDGES),
    "bincount": (lambda m, x: m.bincount(np.array([0, 3, 3, 1, 0]), x, 6), V),
    "histogram": (lambda m, x: m.histogram(X, EDGES, weights=x)[0], X * 2),
    "density": (lambda m, x: m.histogram(X, 5, (0, 4), weights=x, density=True)[0], X + 2),
    "histogram-edges": (lambda m, x: m.histogram(x, 4)[1], V),
    "unique": (lambda m, x: m.unique(x), np.array([2.0, 1.0, 2.5, 1.0])),
}  # fmt: skip


class Ours:
    """The functions of several modules under one name, as numpy has them."""

    def __getattr__(self, name):
        return next(getattr(m, name) for m in (indexing, lookup, creation) if name in m.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_choosing_and_looking_up_are_numpys(name):
    call, x = CALLS[name]
    f = lambda x: call(Ours(), x)  # noqa: E731
    want = call(np, x)
    close(f(x), want)
    if name != "unique":
        close(functional.jit(f)(x), want)
        batch = np.stack([x, x[::-1] if name != "interp-points" else x + 0.01])
        close(functional.vmap(f)(batch), np.stack([call(np, row) for row in batch]))
    if name not in ("unique", "interp-exact"):  # At ties and corners there is no slope.
        two_orders(f, x)


def test_what_a_trace_does_not_hide():
    x = np.array([3, 0, 3, 1])
    for name in ("nonzero", "flatnonzero", "argwhere", "unique"):
        np.testing.assert_array_equal(getattr(lookup, name)(x), getattr(np, name)(x))
    for ours, want in zip(
        lookup.unique(x, True, True, True), np.unique(x, True, True, True), strict=True
    ):
        np.testing.assert_array_equal(ours, want)
    gradient = functional.grad(lambda x: lookup.unique(x)[1] + x[lookup.nonzero(x)].sum())
    np.testing.assert_array_equal(gradient(np.array([2.0, 0.0, 2.0])), [2, 0, 1])


@pytest.mark.parametrize("right", [False, True])
def test_bins_are_numpys(right):
    x = np.append(X, np.nan)
    for bins in (EDGES, EDGES[::-1], EDGES[:1], EDGES[:0], np.array([0, 1, 1, 1, 2.5])):
        close(lookup.digitize(x, bins, right), np.digitize(x, bins, right))
    close(
        functional.jit(lambda x, b: lookup.digitize(x, b, right))(x, EDGES),
        np.digitize(x, EDGES, right),
    )


def test_counts_are_numpys():
    x = np.random.default_rng(3).normal(size=200)
    for args in [(), (7,), (EDGES,), (5, (-1, 1))]:
        for ours, want in zip(lookup.histogram(x, *args), np.histogram(x, *args), strict=True):
            close(ours, want)
    close(lookup.histogram(np.ones(3), 2)[1], np.histogram(np.ones(3), 2)[1])
    close(lookup.bincount(Q), np.bincount(Q))
    close(lookup.bincount(Q[:0], minlength=2), np.bincount(Q[:0], minlength=2))
    close(functional.jit(lambda i: lookup.bincount(i, length=5))(Q), np.bincount(Q, minlength=5))


def test_flat_positions():
    flat = np.array([[0, 7], [23, 11]])
    places = lookup.unravel_index(flat, (2, 3, 4))
    for ours, want in zip(places, np.unravel_index(flat, (2, 3, 4)), strict=True):
        close(ours, want)
    close(lookup.ravel_multi_index(places, (2, 3, 4)), flat)
    close(functional.jit(lambda i: lookup.unravel_index(i, (2, 3, 4))[1])(flat), places[1])


def trace(f, *args):
    return lambda: functional.jit(f)(*(args or (V,)))


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: at(A)[7].set(0), ShapeError, "index of axis 0 is out of range"),
    (lambda: at(A)[Q + 1].set(0), ShapeError, "from 1 to 3 for an axis of length 3"),
    (lambda: at(A)[np.array([True])].set(0), ShapeError, "a mask does not fit the axes"),
    (lambda: at(A)[0, 0, 0, 0].get(), ShapeError, "more indices than axes"),
    (lambda: at(A)[0].set(np.ones(3)), ShapeError, "cannot be repeated to this shape"),
    (lambda: at(Q)[0].set(1.5), DtypeError, r"values of this kind[\s\S]*astype"),
    (lambda: at([1.0])[0], DtypeError, "not an array of numbers"),
    (trace(lambda i: at(V)[i].multiply(2.0), Q), GraphError,
     r"at\[...\].multiply: a traced index may be repeated[\s\S]*unique_indices=True"),
    (trace(lambda x: at(x)[x > 0].get()), DtypeError, "a shape that depends on its values"),
    (trace(lambda m: at(A)[m].set(0.0), np.ones(2, bool)), ShapeError, "a mask does not fit"),
    (trace(lambda x: lookup.nonzero(x)), GraphError, r"nonzero: the shape of the result[\s\S]*where\(x != 0"),
    (trace(lambda x: lookup.unique(x)), GraphError, r"unique: the shape[\s\S]*sort keeps the shape"),
    (trace(lambda i: lookup.bincount(i), Q), GraphError, r"bincount\(x, length=n\)"),
    (lambda: lookup.bincount(Q - 1), ShapeError, "a negative number cannot be counted"),
    (lambda: lookup.bincount(V), DtypeError, "one axis of integers"),
    (lambda: lookup.interp(V, V, V[:2]), ShapeError, "the points do not fit"),
    (lambda: lookup.histogram(V, weights=V[:2]), ShapeError, "differ in shape"),
    (lambda: lookup.unravel_index(np.array([6]), (2, 3)), ShapeError, "a position is out of range"),
    (lambda: lookup.ravel_multi_index((np.array([2]), 0), (2, 3)), ShapeError, "0 to 1"),
    (lambda: lookup.ravel_multi_index((0,), (2, 3)), ShapeError, "every axis needs one index"),
    (lambda: indexing.select([], []), ShapeError, "0 conditions"),
    (lambda: indexing.piecewise(V, [V > 0], []), ShapeError, "as many, or one function more"),
    (lambda: indexing.take_along_axis(A, Q, 0), ShapeError, "differ in their number of axes"),
    (trace(lambda x: dynamic_slice(x, 0, sizes=(9,))), ShapeError, "the window does not fit"),
    (trace(lambda x: dynamic_slice(x, 0.5, sizes=(2,))), ShapeError, "an integer to start at"),
    (trace(lambda x: dynamic_update_slice(x, Q, 0)), DtypeError, "one dtype"),
    (trace(lambda x: scatter_set(x, x, Q)), ShapeError, "not of the part's shape"),
])  # fmt: skip
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
