"""Compiled functions: specialisation, state in place, defaults, checking, profiling, saving."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from workbench import compiler, symbolic
from workbench.errors import DataError, GraphError, NotFiniteError, OptionError, ShapeError
from workbench.symbolic import ops
from workbench.symbolic.graph import Op, apply

COMPILING = [t for t in ("numpy", "llvm") if t == "numpy" or compiler.best_target() == t]


def mlp(mode, dtype="float32"):
    """A training step of a small network, and its parameters."""
    rng = np.random.default_rng(0)
    x, y = symbolic.matrix("x", dtype), symbolic.vector("y", "int64")
    parameters = [
        symbolic.shared(rng.standard_normal(shape).astype(dtype) / 4, name)
        for name, shape in [("w1", (6, 5)), ("b1", (5,)), ("w2", (5, 3)), ("b2", (3,))]
    ]
    w1, b1, w2, b2 = parameters
    loss = ops.softmax_cross_entropy(ops.tanh(x @ w1 + b1) @ w2 + b2, y)
    updates = [
        (w, w - 0.5 * g) for w, g in zip(parameters, symbolic.grad(loss, parameters), strict=True)
    ]
    return symbolic.function([x, y], loss, updates, mode=mode), parameters


def batch(n, dtype="float32"):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 6)).astype(dtype), rng.integers(0, 3, n)


@pytest.mark.parametrize("mode", COMPILING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_agrees_with_the_interpreter(mode, dtype):
    compiled, ours = mlp(mode, dtype)
    plain, theirs = mlp("interpret", dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for n in (4, 7, 1, 4, 7):
        np.testing.assert_allclose(compiled(*batch(n, dtype)), plain(*batch(n, dtype)), rtol=rtol)
    for w, v in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(w.get_value(), v.get_value(), rtol=rtol, atol=rtol)
    assert compiled.fallback is None


@pytest.mark.parametrize("mode", COMPILING)
def test_a_program_for_each_set_of_shapes_is_kept(mode):
    f, _ = mlp(mode)
    for n in (4, 7, 4, 4, 7):
        f(*batch(n))
    assert (f.cache.statistics.misses, len(f.cache)) == (2, 2)


@pytest.mark.parametrize("mode", COMPILING)
def test_values_taken_out_do_not_change_with_later_steps(mode):
    f, (w, *_) = mlp(mode)
    before = w.get_value()
    kept = before.copy()
    f(*batch(4))
    np.testing.assert_array_equal(before, kept)
    assert not np.array_equal(w.get_value(), kept)


@pytest.mark.parametrize("mode", ["interpret", *COMPILING])
def test_a_call_that_fails_changes_nothing_and_names_the_line(mode):
    f, parameters = mlp(mode)
    f(*batch(4))
    before = [w.get_value() for w in parameters]
    x, y = batch(4)
    with pytest.raises(ShapeError, match=r"softmax_cross_entropy\(ops.tanh") as caught:
        f(x, y + 3)
    assert "labels" in str(caught.value)
    for w, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(w.get_value(), value)


@pytest.mark.parametrize("mode", ["interpret", *COMPILING])
def test_two_variables_may_exchange_their_values(mode):
    a, b = symbolic.shared([1.0, 2.0]), symbolic.shared([3.0, 4.0])
    symbolic.function([], None, updates={a: b, b: a}, mode=mode)()
    assert (a.get_value().tolist(), b.get_value().tolist()) == ([3, 4], [1, 2])


@pytest.mark.parametrize("mode", COMPILING)
def test_a_value_that_decides_a_shape_is_part_of_the_key(mode):
    x, n = symbolic.vector("x"), symbolic.scalar("n", "int64")
    f = symbolic.function([x, n], ops.arange(n) * x.sum(), mode=mode)
    for size in (2, 5, 2):
        np.testing.assert_array_equal(f([1.0, 1.0], size), 2.0 * np.arange(size))
    assert f.fallback is None
    assert f.cache.statistics.misses == 3  # The first try found out that n decides.


@pytest.mark.parametrize("mode", COMPILING)
def test_a_shape_that_rests_on_large_values_is_interpreted_and_says_so(mode):
    x = symbolic.vector("x", "int64")
    f = symbolic.function([x], ops.arange(x.sum()), mode=mode)
    np.testing.assert_array_equal(f(np.ones(100, np.int64)), np.arange(100))
    assert "decides a shape" in repr(f)


def test_an_empty_list_fits_every_dtype():
    i = symbolic.vector("i", "int64")
    assert symbolic.function([i], i + 1)([]).tolist() == []


def test_defaults_are_used_where_nothing_is_given():
    x, rate = symbolic.vector("x"), symbolic.scalar("rate")
    f = symbolic.function([x, symbolic.In(rate, 0.5)], x * rate)
    assert f([2.0]).tolist() == [1]
    assert f([2.0], 3).tolist() == [6]
    assert f([2.0], rate=4).tolist() == [8]
    with pytest.raises(GraphError, match="missing the input 'x'"):
        f(rate=1)
    with pytest.raises(ShapeError, match="'rate' has the wrong shape"):
        symbolic.function([x, symbolic.In(rate, [1.0])], x * rate)


def test_a_default_update_is_made_by_every_function_that_reads():
    counter = symbolic.shared(0, "counter")
    counter.default_update = counter + 1
    f = symbolic.function([], counter * 2)
    assert [int(f()), int(f())] == [0, 2]
    g = symbolic.function([], counter * 2, updates={counter: counter - 2})
    assert [int(g()), int(g())] == [4, 0]


def test_outputs_belong_to_the_caller():
    x, w = symbolic.vector("x"), symbolic.shared([1.0, 2.0])
    f = symbolic.function([x], [x, w, w, x * 1])
    given = np.array([5.0, 6.0])
    outs = f(given)
    for i, y in enumerate(outs):
        assert y.flags.writeable
        y[:] = -i
    assert given.tolist() == [5, 6]
    assert w.get_value().tolist() == [1, 2]
    assert [y.tolist() for y in outs] == [[0, 0], [-1, -1], [-2, -2], [-3, -3]]


@pytest.mark.skipif("llvm" not in COMPILING, reason="llvmlite is not installed")
def test_a_compiled_step_allocates_nothing_but_the_loss():
    rng = np.random.default_rng(0)
    x, y = symbolic.matrix("x", "float32"), symbolic.vector("y", "int64")
    w = symbolic.shared(rng.standard_normal((300, 200), dtype=np.float32))
    loss = ops.softmax_cross_entropy(ops.tanh(x @ w), y)
    step = symbolic.function([x, y], loss, {w: w - 0.1 * symbolic.grad(loss, w)}, mode="llvm")
    batch = rng.standard_normal((50, 300), dtype=np.float32), rng.integers(0, 200, 50)
    step(*batch)
    assert step.executable.plan.arena_bytes > 40_000
    storage = w._value
    tracemalloc.start()
    try:
        step(*batch)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            step(*batch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 4_000  # Python's own lists and the loss; no array of the step's.
    assert w._value is storage
    assert "alloc(" not in step.executable.source["llvm"]


def test_large_arrays_may_be_divided_over_threads():
    x = symbolic.vector("x")
    value = np.random.default_rng(0).standard_normal(1_500_001)
    one, two = (symbolic.function([x], ops.tanh(x) * x, threads=n)(value) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(OptionError, match="not a number of threads"):
        symbolic.function([x], x, threads=0)


# --- check, profile, save ----------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong(Op):
    """Adds one, but compiles to adding two."""

    name = "wrong"

    def infer(self, *inputs):
        return inputs[0].type

    def compute(self, *inputs):
        return inputs[0] + 1

    def gradient(self, inputs, output, g):
        return (g,)

    def lower(self, b, *inputs):
        return b.add(inputs[0], b.constant(2.0))


def test_check_names_the_op_that_was_compiled_wrong():
    x = symbolic.vector("x")
    f = symbolic.function([x], ops.exp(apply(Wrong(), x * 2)).sum(), mode="check")
    with pytest.raises(NotFiniteError, match="differs between the compiled") as caught:
        f([1.0, 2.0])
    assert "first at wrong built at" in str(caught.value)
    assert "test_compiled.py" in str(caught.value)


def test_check_accepts_what_is_right():
    f, _ = mlp("check")
    g, _ = mlp("interpret")
    for n in (3, 4):
        np.testing.assert_allclose(f(*batch(n)), g(*batch(n)), rtol=1e-5)


@pytest.mark.parametrize("mode", ["interpret", *COMPILING])
def test_a_profile_accounts_for_every_part_and_updates_nothing(mode):
    f, parameters = mlp(mode)
    before = [w.get_value() for w in parameters]
    profile = f.profile(*batch(4), repetitions=3)
    for w, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(w.get_value(), value)
    assert all(row.seconds >= 0 for row in profile.rows)
    assert profile.seconds == pytest.approx(sum(row.seconds for row in profile.rows))
    text = str(profile)
    assert "share" in text
    assert mode in text
    if mode == "interpret":
        assert [row.what for row in profile.rows] == [node.op.name for node in f.nodes]
    if mode == "llvm":
        assert {row.what for row in profile.rows} == {k.name for k in f.executable.kernels}
        assert "test_compiled.py:" in text


@pytest.mark.parametrize("mode", ["interpret", *COMPILING])
def test_a_saved_function_goes_on_where_it_stood(mode, tmp_path):
    f, _ = mlp(mode)
    f(*batch(4))
    symbolic.save(f, tmp_path / "step")
    loaded = symbolic.load(tmp_path / "step.npz")
    assert loaded.mode == mode
    for n in (4, 5):
        assert loaded(*batch(n)) == f(*batch(n))
    with pytest.raises(ShapeError, match=r"ops.tanh\(x @ w1 \+ b1\)"):
        loaded(batch(4)[0], np.array([7, 7, 7, 7]))


def test_what_can_be_saved(tmp_path):
    x, n = symbolic.matrix("x"), symbolic.scalar("n", "int64")
    y = ops.concatenate([x[1:2, ::2], ops.max_pool2d(x[None, None], 2)[0, 0] * 2.0], 1)
    rate = symbolic.In(symbolic.scalar("rate"), 0.5)
    f = symbolic.function([x, rate], [y.sum(0) * rate.variable, x.argmax(1)])
    symbolic.save(f, tmp_path / "f.npz")
    loaded = symbolic.load(tmp_path / "f.npz", mode="interpret")
    value = np.arange(12.0).reshape(3, 4)
    for a, b in zip(loaded(value), f(value), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(GraphError, match="only graphs of this package's own ops"):
        symbolic.save(symbolic.function([n], apply(Wrong(), n * 1.0)), tmp_path / "g.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    for name in ("text.npz", "arrays.npz"):
        with pytest.raises(DataError, match="does not hold a saved function"):
            symbolic.load(tmp_path / name)
