"""scan, while_loop, ifelse: values, gradients of any order, laziness, and what they refuse."""

import numpy as np
import pytest

from workbench import compiler, gradcheck, manual, symbolic
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError, WorkbenchError
from workbench.symbolic import ifelse, ops, scan, while_loop
from workbench.symbolic.randomness import RandomStreams
from workbench.symbolic.saving import load, save

LLVM = pytest.param("llvm", marks=pytest.mark.skipif(compiler.best_target() != "llvm",
                                                     reason="needs llvmlite"))  # fmt: skip
modes = pytest.mark.parametrize("mode", ["interpret", "numpy", LLVM])


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def compiled(f):
    """Demand that a function did not fall back to running op by op."""
    assert f.fallback is None
    return f


# --- scan: values ----------------------------------------------------------------------------


@modes
def test_a_cumulative_sum_of_a_sequence_of_unknown_length(mode):
    x = symbolic.vector("x")
    f = symbolic.function([x], scan(lambda x_t, s: s + x_t, x, outputs_info=0.0), mode=mode)
    for n in (0, 1, 2, 7):
        value = np.arange(1.0, n + 1)
        close(f(value), np.cumsum(value))
    compiled(f)


@modes
def test_a_power_of_a_matrix_as_in_theanos_tutorial(mode):
    a = symbolic.matrix("a")
    k = symbolic.scalar("k", "int64")
    powers = scan(lambda p, a: p * a, outputs_info=ops.ones_like(a), non_sequences=a, n_steps=k)
    f = symbolic.function([a, k], powers[-1], mode=mode)
    value = np.random.default_rng(0).normal(size=(2, 3))
    close(f(value, 2), value**2)
    close(f(value, 10), value**10)
    compiled(f)


@modes
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_n_steps(mode, steps):
    x = symbolic.vector("x")
    y = scan(lambda v: v * 2, outputs_info=x, n_steps=steps)
    assert y.shape == (steps, None)
    f = compiled(symbolic.function([x], y, mode=mode))
    close(f([1.0, 3.0]), [[2.0 ** (t + 1), 3 * 2.0 ** (t + 1)] for t in range(steps)]
          or np.empty((0, 2)))  # fmt: skip
    assert f([1.0, 3.0]).shape == (steps, 2)


@modes
def test_a_map_has_nothing_to_carry_and_keeps_its_shape_when_empty(mode):
    x = symbolic.matrix("x")
    f = symbolic.function([x], scan(lambda row: [row.sum(), ops.exp(row)], x), mode=mode)
    value = np.arange(6.0).reshape(2, 3)
    totals, e = f(value)
    close(totals, value.sum(1))
    close(e, np.exp(value))
    totals, e = f(np.empty((0, 3)))
    assert totals.shape == (0,)
    assert e.shape == (0, 3)


@modes
def test_several_outputs_carried_and_not_and_of_other_dtypes(mode):
    x = symbolic.vector("x", "float32")

    def step(x_t, total, count):
        return [total + x_t, count + 1, x_t * 2]

    total, count, twice = scan(step, x, outputs_info=[np.float32(0), np.int64(10), None])
    f = symbolic.function([x], [total, count, twice], mode=mode)
    a, b, c = f(np.array([1, 2, 3], "float32"))
    close(a, [1, 3, 6])
    assert b.tolist() == [11, 12, 13]
    assert b.dtype == np.int64
    assert c.tolist() == [2, 4, 6]
    assert c.dtype == np.float32


@modes
def test_backwards_gives_outputs_in_the_order_of_the_steps(mode):
    x = symbolic.vector("x")
    y = scan(lambda x_t, s: s + x_t, x, outputs_info=0.0, go_backwards=True)
    z = scan(lambda x_t, s: s + x_t, x, outputs_info=0.0, go_backwards=True, n_steps=2)
    f = symbolic.function([x], [y, z], mode=mode)
    y, z = f([1.0, 2.0, 4.0])
    close(y, [4, 6, 7])
    close(z, [4, 6])


@modes
def test_sequences_are_cut_to_a_number_of_steps_known_only_at_run_time(mode):
    x, n = symbolic.vector("x"), symbolic.scalar("n", "int64")
    y = scan(lambda x_t, s: s + x_t, x, outputs_info=0.0, n_steps=n)
    f = symbolic.function([x, n], y, mode=mode)
    close(f([1.0, 2.0, 4.0], 2), [1, 3])
    close(f([1.0, 2.0, 4.0], 0), [])
    with pytest.raises(ShapeError, match="sequence 0 has 3 elements, and there are 5 steps"):
        f([1.0, 2.0, 4.0], 5)


@modes
def test_what_the_body_mentions_is_read_from_outside(mode):
    x, a = symbolic.matrix("x"), symbolic.scalar("a")
    w = symbolic.shared(np.eye(2) * 3, "w")
    outer = ops.exp(a)
    y = scan(lambda x_t: x_t @ w * outer + 1, x)
    assert len([n for n in symbolic.nodes(y) if n.op.name == "exp"]) == 1
    f = symbolic.function([x, a], y, updates={w: w * 2}, mode=mode)
    value = np.arange(4.0).reshape(2, 2)
    close(f(value, 0.0), value * 3 + 1)
    close(f(value, 1.0), value * 6 * np.e + 1)
    compiled(f)


@modes
def test_a_loop_in_a_loop(mode):
    x = symbolic.matrix("x")
    sums = scan(lambda row: scan(lambda v, s: s + v, row, outputs_info=0.0), x)
    cost = (sums**2).sum()
    f = symbolic.function([x], [sums, symbolic.grad(cost, x)], mode=mode)
    value = np.random.default_rng(1).normal(size=(3, 4))
    expected = np.cumsum(value, axis=1)
    got, slope = f(value)
    close(got, expected)
    close(slope, np.cumsum(2 * expected[:, ::-1], axis=1)[:, ::-1])
    compiled(f)


@modes
def test_a_random_stream_in_the_body_draws_anew_at_each_step_and_call(mode):
    random = RandomStreams(3)
    once = RandomStreams(4).uniform(())
    y = scan(lambda: [random.uniform((2,)), once], n_steps=4)
    f = symbolic.function([], y, mode=mode)
    (a, same), (b, other) = f(), f()
    assert len({*a.ravel(), *b.ravel()}) == 16
    assert len({*same}) == len({*other}) == 1
    assert same[0] != other[0]
    plain = RandomStreams(3).uniform((2,))
    g = symbolic.function([], plain, mode=mode)
    close(np.concatenate([a, b]), [g() for _ in range(8)])


# --- scan: gradients -------------------------------------------------------------------------


def rnn(x, h0, w, u, b):
    return scan(lambda x_t, h: ops.tanh(x_t @ w + h @ u + b), x, outputs_info=h0)


def unrolled(x, h0, w, u, b, steps):
    h, each = h0, []
    for t in range(steps):
        h = ops.tanh(x[t] @ w + h @ u + b)
        each.append(ops.expand_dims(h, 0))
    return ops.concatenate(each)


def rnn_case(dtype="float64", steps=4, batch=3, n=2, m=5):
    rng = np.random.default_rng(7)
    shapes = {"x": (steps, batch, n), "h0": (batch, m), "w": (n, m), "u": (m, m), "b": (m,)}
    values = [rng.normal(size=shape).astype(dtype) for shape in shapes.values()]
    unknown = [symbolic.tensor(k, dtype, ndim=len(shape)) for k, shape in shapes.items()]
    known = [symbolic.tensor(k, dtype, shape) for k, shape in shapes.items()]
    return values, unknown, known


@modes
@pytest.mark.parametrize("sizes", ["unknown", "known"])
def test_a_recurrent_network_equals_its_unrolled_graph_to_the_second_order(mode, sizes):
    values, *both = rnn_case()
    xs = both[sizes == "known"]
    results = []
    for h in (rnn(*xs), unrolled(*xs, steps=4)):
        cost = (h**2 * ops.cos(h)).sum() + (h[-1] ** 3).sum()
        first = symbolic.grad(cost, xs)
        second = symbolic.grad(sum((g**2).sum() for g in first), xs)
        results.append(symbolic.function(xs, [h, cost, *first, *second], mode=mode))
    for a, b in zip(*(f(*values) for f in results), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        close(a, b, 1e-10)
    compiled(results[0])


def test_the_third_derivative_through_a_loop():
    x = symbolic.scalar("x")
    y = scan(lambda v, x: ops.sin(v * x), outputs_info=x, non_sequences=x, n_steps=3)[-1]
    z = x
    for _ in range(3):
        z = ops.sin(z * x)
    for order in range(1, 5):
        y, z = symbolic.grad(y, x), symbolic.grad(z, x)
        f = symbolic.function([x], [y, z], mode="interpret")
        got, expected = f(0.7)
        assert got == pytest.approx(expected, rel=1e-11), order


def test_gradients_agree_with_differences_when_going_backwards_and_yielding():
    x = symbolic.vector("x", shape=(4,))
    a = symbolic.scalar("a")

    def step(x_t, h, c):
        return [h * x_t + a * c, ops.tanh(c + h), h * x_t * c]

    h, c, y = scan(step, x, outputs_info=[0.5, 0.1, None], go_backwards=True)
    cost = (h[1:] * c[:-1]).sum() + (y**2).sum()
    f = symbolic.function([x, a], cost, mode="numpy")
    g = symbolic.function([x, a], symbolic.grad(cost, [x, a]), mode="numpy")
    at = np.array([0.3, -0.8, 1.2, 0.4])
    gradcheck.check_gradient(lambda v: f(v, 0.6), lambda v: g(v, 0.6)[0], at)
    gradcheck.check_gradient(lambda v: f(at, v), lambda v: g(at, v)[1], np.array(0.6))


@modes
def test_gradients_of_no_steps(mode):
    x, h = symbolic.vector("x"), symbolic.scalar("h")
    y = scan(lambda x_t, s: s * x_t, x, outputs_info=h)
    f = symbolic.function([x, h], symbolic.grad(y.sum(), [x, h]), mode=mode)
    dx, dh = f([], 2.0)
    assert dx.shape == (0,)
    assert dh == 0
    dx, dh = f([3.0], 2.0)
    assert dx == [2.0]
    assert dh == 3.0


def test_integers_carried_have_no_gradient_and_do_not_stop_others():
    w = symbolic.vector("w")
    first = symbolic.vector("first", "int64")
    picked, _ = scan(lambda i, k: [w[(i + k) % 3] ** 2, k + 1], first,
                     outputs_info=[None, np.int64(0)])  # fmt: skip
    f = symbolic.function([w, first], symbolic.grad(picked.sum(), w), mode="numpy")
    close(f([1.0, 2.0, 3.0], [0, 0, 0, 0]), [4, 4, 6])


@modes
def test_the_gradient_sees_the_random_numbers_that_the_value_saw(mode):
    x, w = symbolic.vector("x", "float32"), symbolic.scalar("w", "float32")
    random = RandomStreams(8)

    def step(x_t, h):
        u = random.uniform((), dtype="float32")
        return [h * w * u + x_t, u]

    h, us = scan(step, x, outputs_info=[np.float32(1), None])
    f = symbolic.function([x, w], [us, symbolic.grad(h[-1], w)], mode=mode)
    for _ in range(2):
        us, slope = f(np.array([1, 2, 3], "float32"), np.float32(0.5))
        h, dh = 1.0, 0.0
        for x_t, u in zip([1, 2, 3], us.astype("float64"), strict=True):
            h, dh = h * 0.5 * u + x_t, dh * 0.5 * u + h * u
        assert slope.dtype == np.float32
        close(slope, dh, 1e-6)
    compiled(f)


def test_check_mode_and_profiles_take_loops_and_choices():
    x = symbolic.vector("x")
    y = scan(lambda v, s: ifelse(v > 0, s + ops.log(v), s), x, outputs_info=0.0)
    f = symbolic.function([x], symbolic.grad(y.sum(), x), mode="interpret")
    assert any(row.what == "gradient of scan" for row in f.profile([1.0, 2.0]).rows)
    checked = symbolic.function([x], y, mode="check")
    close(checked([1.0, -1.0, np.e]), [0, 0, 1])


def test_the_gradient_does_not_keep_a_sum_of_each_step():
    (_, *_), xs, _ = rnn_case()
    slope = symbolic.grad((rnn(*xs) ** 2).sum(), xs[3])
    loops = [n.op for n in symbolic.nodes(slope) if n.op.name == "gradient of scan"]
    assert len(loops) == 1
    carried = loops[0].outputs[: loops[0].n_carry]
    assert [y.ndim for y in carried] == [2, 2, 2, 1]  # h, w, u, b
    yields = loops[0].outputs[loops[0].n_carry :]
    assert not any(y in carried[1:] for y in yields)


@modes
def test_the_lstm_of_era_1(mode):
    steps, batch, n, m = 5, 3, 4, 6
    rng = np.random.default_rng(2)
    shapes = {"x": (batch, steps, n), "h": (batch, m), "c": (batch, m), "wx": (n, 4 * m),
              "wh": (m, 4 * m), "b": (4 * m,)}  # fmt: skip
    values = [rng.normal(size=shape) for shape in shapes.values()]
    x, h, c, wx, wh, b = xs = [symbolic.tensor(k, ndim=len(v)) for k, v in shapes.items()]

    def step(x_t, h, c):
        a = x_t @ wx + h @ wh + b
        i, f, o = (ops.sigmoid(a[:, k * m : (k + 1) * m]) for k in (0, 1, 3))
        c = f * c + i * ops.tanh(a[:, 2 * m : 3 * m])
        return [o * ops.tanh(c), c]

    hs, cs = scan(step, x.transpose((1, 0, 2)), outputs_info=[h, c])
    hs = hs.transpose((1, 0, 2))
    gh, gc = rng.normal(size=(batch, steps, m)), rng.normal(size=(batch, m))
    slopes = symbolic.grad((hs * gh).sum() + (cs[-1] * gc).sum(), xs)
    f = compiled(symbolic.function(xs, [hs, cs[-1], *slopes], mode=mode))
    expected, cache = manual.lstm(*values)
    for mine, theirs in zip(f(*values), [*expected, *manual.lstm_backward((gh, gc), cache)],
                            strict=True):  # fmt: skip
        close(mine, theirs)
    compiled(f)


def test_what_passes_a_backward_loop_unchanged_is_not_kept_for_each_step():
    _, _, xs = rnn_case()
    first = symbolic.grad((rnn(*xs) ** 2).sum(), xs[3])
    second = symbolic.grad((first**2).sum(), xs[3])
    loops = [n.op for n in symbolic.nodes(second) if "gradient of" in n.op.name]
    assert len(loops) == 3  # Of the first loop twice: for each of two sums.
    for op in loops:
        assert all(y.shape != (5, 5) for y in op.outputs[op.n_carry :])


def test_sizes_from_outside_are_known_inside():
    x, m = symbolic.vector("x"), symbolic.matrix("m", shape=(None, 3))
    y = scan(lambda v: ops.broadcast_to(v, ops.shape_of(m)), x)
    assert y.shape == (None, None, 3)
    f = compiled(symbolic.function([x, m], y, mode="numpy"))
    close(f([1.0, 2.0], np.ones((2, 3))), [[[1] * 3] * 2, [[2] * 3] * 2])


# --- scan: one computation, printing, rewriting ----------------------------------------------


def test_equal_loops_are_one_computation():
    x = symbolic.vector("x")
    a, b, c = (scan(lambda v, s, k=k: s * v + k, x, outputs_info=0.0) for k in (1, 1, 2))
    f = symbolic.function([x], [a, b, c], mode="interpret")
    assert sum(n.op.name == "scan" for n in f.nodes) == 2
    close(f([1.0, 2.0])[0], f([1.0, 2.0])[1])
    assert a.owner.inputs[0].owner.op == b.owner.inputs[0].owner.op
    assert a.owner.inputs[0].owner.op != c.owner.inputs[0].owner.op


def test_a_loop_is_one_line_of_a_printed_graph():
    x = symbolic.vector("x")
    y = scan(lambda v, s: s + v, x, outputs_info=0.0, name="total")
    text = symbolic.format_graph(y)
    assert "total #2: (float64 (), float64 (None,))" in text
    assert repr(y.owner.inputs[0]) == "<total: tuple (float64 (), float64 (None,))>"


def test_givens_reach_what_a_loop_reads():
    x, a, b = symbolic.vector("x"), symbolic.scalar("a"), symbolic.scalar("b")
    y = scan(lambda v: v * a, x)
    f = symbolic.function([x, b], y, givens={a: b + 1}, mode="numpy")
    close(f([1.0, 2.0], 2.0), [3, 6])


def test_the_body_is_rewritten_before_it_is_compiled():
    x = symbolic.matrix("x")
    y = scan(lambda row: ops.log(ops.softmax(row)), x)
    value = np.array([[0.0, 1000.0]])
    with np.errstate(divide="ignore"):
        assert symbolic.function([x], y, mode="interpret")(value)[0, 0] == -np.inf
    assert symbolic.function([x], y, mode="numpy")(value)[0, 0] == -1000


# --- scan: refusals --------------------------------------------------------------------------


def refused(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_an_output_whose_dtype_changes():
    x = symbolic.vector("x")
    text = refused(DtypeError, lambda: scan(lambda v, s: v + s, x, outputs_info=np.float32(0)))
    assert text.startswith("scan, output 0: changes its dtype from step to step")
    assert "initial = " in text
    assert "float32 ()" in text
    assert "output = add, float64 (), from " in text
    assert "test_control.py" in text


def test_an_output_whose_shape_changes():
    x = symbolic.matrix("x", shape=(None, 3))
    text = refused(ShapeError, lambda: scan(lambda v, s: v + s, x, outputs_info=0.0, name="walk"))
    assert text.startswith("walk, output 0: changes its shape from step to step")
    assert "(3,)" in text


@modes
def test_an_output_whose_shape_changes_only_at_run_time(mode):
    x, h = symbolic.matrix("x"), symbolic.vector("h")
    f = symbolic.function([x, h], scan(lambda v, s: v + s, x, outputs_info=h), mode=mode)
    close(f(np.ones((2, 3)), np.zeros(3)), [[1] * 3, [2] * 3])
    text = refused(ShapeError, lambda: f(np.ones((2, 3)), np.zeros(1)))
    assert "output 0 changes its shape in" in text
    assert "from (1,) to (3,)" in text


def test_sequences_of_different_lengths():
    x, y = symbolic.vector("x", shape=3), symbolic.vector("y", shape=4)
    text = refused(ShapeError, lambda: scan(lambda a, b: a + b, [x, y]))
    assert "the sequences have 3 and 4 elements" in text
    assert "cut the longer" in text
    text = refused(ShapeError, lambda: scan(lambda a: a, x, n_steps=5))
    assert "sequences[0] has fewer than 5 elements" in text


def test_what_scan_does_not_take():
    x, s = symbolic.vector("x"), symbolic.shared(0.0, "s")
    text = refused(GraphError, lambda: scan(lambda v: (v, {s: s + 1}), x))
    assert "the body returned updates" in text
    assert "outputs_info" in text
    text = refused(GraphError, lambda: scan(lambda v: ([v], "until"), x))
    assert "output 0 of the body is not an expression" in text
    assert "while_loop" in text
    text = refused(OptionError, lambda: scan(lambda v: v, outputs_info=x))
    assert "nothing says how many steps" in text
    text = refused(OptionError, lambda: scan(lambda v: v, {"input": x, "taps": [-1]}))
    assert "sequences[0] is a dict" in text
    assert "an output of its own" in text
    text = refused(GraphError, lambda: scan(lambda v, a, b: v, x, outputs_info=[0.0, 0.0]))
    assert "fn returned 1 output, and outputs_info has 2" in text
    text = refused(OptionError, lambda: scan(lambda v: v, x, n_steps=-2))
    assert "go_backwards=True" in text
    assert "too few axes" in refused(ShapeError, lambda: scan(lambda v: v, symbolic.scalar("k")))


@modes
def test_a_failure_inside_names_the_step_the_op_and_the_line(mode):
    x, i = symbolic.vector("x"), symbolic.vector("i", "int64")
    f = symbolic.function([x, i], scan(lambda k: x[k] * 2, i), mode=mode, name="pick")
    close(f([1.0, 2.0], [1, 0, 1]), [4, 2, 4])
    with pytest.raises(WorkbenchError) as caught:
        f([1.0, 2.0], [0, 1, 9])
    text = str(caught.value)
    assert "pick, running scan" in text
    assert "step 2" in text
    assert "running getitem" in text
    assert "scan(lambda k: x[k] * 2, i)" in text


# --- while_loop ------------------------------------------------------------------------------


@modes
def test_a_loop_that_stops_on_a_condition(mode):
    n = symbolic.scalar("n", "int64")

    def collatz(i, n):
        half, odd = ops.floor_divide(n, 2), ops.remainder(n, 2)
        return [i + 1, ops.where(ops.equal(odd, 0), half, 3 * n + 1)]

    steps, _ = while_loop(lambda i, n: ops.greater(n, 1), collatz, [np.int64(0), n])
    f = symbolic.function([n], steps, mode=mode)
    assert [int(f(k)) for k in (1, 2, 6, 27)] == [0, 1, 8, 111]
    compiled(f)


@modes
def test_newtons_method_and_a_bound_on_the_steps(mode):
    a = symbolic.scalar("a")
    root = while_loop(lambda x: ops.absolute(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, a)
    few = while_loop(lambda x: ops.absolute(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, a,
                     max_steps=1)  # fmt: skip
    f = symbolic.function([a], [root, few], mode=mode)
    close(f(2.0), [np.sqrt(2), 1.5], 1e-9)
    close(f(1.0), [1, 1])
    compiled(f)


def test_what_while_loop_refuses():
    x = symbolic.scalar("x")
    y = while_loop(lambda v: v < 1, lambda v: v * 2, x)
    text = refused(GraphError, lambda: symbolic.grad(y, x))
    assert "through while_loop (its number of steps is not known" in text
    assert "scan" in text
    text = refused(DtypeError, lambda: while_loop(lambda v: v, lambda v: v, x))
    assert "the condition is not one bool" in text
    text = refused(GraphError, lambda: while_loop(lambda v: v < 1, lambda v: [v, v], x))
    assert "body returned 2 values" in text
    text = refused(DtypeError, lambda: while_loop(lambda v: v < 1, lambda v: v > 1, x))
    assert "while_loop, output 0: changes its dtype" in text


# --- ifelse ----------------------------------------------------------------------------------


@modes
def test_only_the_branch_taken_is_computed(mode):
    c, i, x = symbolic.scalar("c"), symbolic.scalar("i", "int64"), symbolic.vector("x")
    lazy = ifelse(c > 0, ops.exp(x[i]), x.sum())
    f = symbolic.function([c, i, x], [lazy, symbolic.grad(lazy, x)], mode=mode)
    value, slope = f(1.0, 1, [1.0, 2.0])
    close(value, np.exp(2))
    close(slope, [0, np.exp(2)])
    value, slope = f(-1.0, 9, [1.0, 2.0])  # x[9] would fail.
    assert value == 3
    assert slope.tolist() == [1, 1]
    with pytest.raises(WorkbenchError, match="the condition holds"):
        f(1.0, 9, [1.0, 2.0])
    compiled(f)
    strict = symbolic.function([c, i, x], ops.where(c > 0, x[i], x.sum()), mode=mode)
    with pytest.raises(WorkbenchError):
        strict(-1.0, 9, [1.0, 2.0])


@modes
def test_a_branch_whose_shapes_cannot_be_is_no_harm_until_it_is_taken(mode):
    c, x, y = symbolic.scalar("c"), symbolic.vector("x"), symbolic.vector("y")
    f = symbolic.function([c, x, y], ifelse(c, (x + y).sum(), x.sum()), mode=mode)
    assert f(1.0, [1.0], [2.0]) == 3
    assert f(0.0, [1.0, 2.0], [1.0, 2.0, 3.0]) == 3
    with pytest.raises(WorkbenchError):
        f(1.0, [1.0, 2.0], [1.0, 2.0, 3.0])


@modes
def test_several_values_and_what_both_branches_need_is_computed_once(mode):
    c, x = symbolic.scalar("c", "bool"), symbolic.vector("x")
    e = ops.exp(x)
    a, b = ifelse(c, [e + 1, x], [e * 2, -x])
    assert sum(n.op.name == "exp" for n in symbolic.nodes([a, b])) == 1
    f = symbolic.function([c, x], [a, b, x], mode=mode)
    close(f(True, [0.0, 1.0]), [[2, np.e + 1], [0, 1], [0, 1]])
    close(f(False, [0.0, 1.0]), [[2, 2 * np.e], [0, -1], [0, 1]])
    compiled(f)


def test_gradients_of_a_choice_to_the_second_order():
    c, x, y = symbolic.scalar("c"), symbolic.scalar("x"), symbolic.scalar("y")
    z = ifelse(c, x**3 * y, ops.sin(x))
    dx, dy = symbolic.grad(z, [x, y])
    f = symbolic.function([c, x, y], [dx, dy, symbolic.grad(dx, x)], mode="numpy")
    close(f(1.0, 2.0, 5.0), [60, 8, 60])
    close(f(0.0, 2.0, 5.0), [np.cos(2), 0, -np.sin(2)])


@modes
def test_a_loop_in_a_branch_and_a_choice_in_a_loop(mode):
    c, x = symbolic.scalar("c"), symbolic.vector("x")
    y = ifelse(c, scan(lambda v, s: s + v, x, outputs_info=0.0)[-1], x[0])
    z = scan(lambda v: ifelse(v > 0, ops.log(v), v * v), x)
    f = symbolic.function([c, x], [y, z, symbolic.grad(y + z.sum(), x)], mode=mode)
    value = np.array([0.5, -2.0, 4.0])
    expected = np.where(value > 0, np.log(np.abs(value)), value**2)
    slope = np.where(value > 0, 1 / value, 2 * value)
    with np.errstate(all="raise"):
        got = f(1.0, value)
    close(got[0], value.sum())
    close(got[1], expected)
    close(got[2], slope + 1)
    close(f(0.0, value)[2], slope + np.array([1, 0, 0]))
    compiled(f)


def test_an_item_of_a_tuple_that_both_need_stays_where_the_tuple_is():
    c, x = symbolic.scalar("c"), symbolic.vector("x")
    a, b = scan(lambda v, s, p: [s + v, p * v], x, outputs_info=[0.0, 1.0])
    f = symbolic.function([c, x], ifelse(c, a[-1], b[-1]), mode="numpy")
    assert f(1.0, [2.0, 5.0]) == 7
    assert f(0.0, [2.0, 5.0]) == 10


def test_what_ifelse_refuses():
    x, v = symbolic.scalar("x"), symbolic.vector("v", shape=3)
    text = refused(ShapeError, lambda: ifelse(x, v, x))
    assert "the branches differ in the shape of value 0" in text
    assert "then = v, float64 (3,), from " in text
    assert "otherwise = x, float64 ()" in text
    text = refused(DtypeError, lambda: ifelse(x, x, symbolic.scalar("i", "int64")))
    assert "differ in the dtype" in text
    text = refused(ShapeError, lambda: ifelse(v, x, x))
    assert "the condition is not a scalar" in text
    assert "ops.where" in text
    text = refused(GraphError, lambda: ifelse(x, [x, x], [x]))
    assert "then: 2, otherwise: 1" in text


# --- saving ----------------------------------------------------------------------------------


def test_a_function_with_loops_and_choices_is_saved_and_loaded(tmp_path):
    x, c = symbolic.vector("x"), symbolic.scalar("c")
    y = ifelse(c, scan(lambda v, s: s + v, x, outputs_info=0.0)[-1],
               while_loop(lambda v: v < 9, lambda v: v * 2, x[0]))  # fmt: skip
    f = symbolic.function([x, c], y, mode="numpy")
    save(f, tmp_path / "f.npz")
    g = load(tmp_path / "f.npz")
    for choice in (0.0, 1.0):
        assert f([1.0, 2.0], choice) == g([1.0, 2.0], choice)
