"""Target "llvm" computes what the table of opcodes says, and keeps its promises about memory."""

import random
import threading

import numpy as np
import pytest

from tests.compiler.programs import random_inputs, random_program
from workbench.compiler import OPCODES, Builder, Type, compile
from workbench.compiler.opcodes import run as reference
from workbench.errors import DtypeError, OptionError, ShapeError

F4, F8, I8, BOOL = np.dtype("f4"), np.dtype("f8"), np.dtype("i8"), np.dtype(bool)
DTYPES = "f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ?".split()
BINARY = (
    "divide arctan2 add subtract multiply power maximum minimum floor_divide remainder equal "
    "not_equal less less_equal bitwise_and bitwise_or bitwise_xor shift_left shift_right random_bits"
).split()


def sample(dtype, shape=(9, 5), seed=0):
    """Numbers with the awkward ones among them, every pair of which two samples contain."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind == "f":
        special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5]
        x = (3 * rng.normal(size=shape)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        special = [info.min, info.max, 0, 1, 3]
        x = rng.integers(max(-9, info.min), 10, shape).astype(dtype)
    flat = x.reshape(-1)
    flat[: len(special)] = special[: flat.size]
    rng.shuffle(flat)
    return x


def both(program, *inputs):
    with np.errstate(all="ignore"):
        expected = reference(program, *[x.copy() for x in inputs])
    return compile(program, "llvm")(*inputs), expected


def agree(program, *inputs, rtol=0.0, atol=0.0):
    got, expected = both(program, *inputs)
    for g, e in zip(got, expected, strict=True):
        assert (g.dtype, g.shape) == (np.asarray(e).dtype, np.shape(e))
        np.testing.assert_allclose(g, e, rtol=rtol, atol=atol)
    return got


# --- opcodes -------------------------------------------------------------------------------


def declared(row, dtype):
    """Whether the table has the opcode for this dtype."""
    given = [Type(np.dtype(dtype), (2, 2))] * (1 + (row.name in BINARY))
    try:
        row.infer(given, {"axes": (0,)} if row.kind == "reduce" else {})
    except DtypeError:
        return False
    return row.name != "random_bits" or dtype == "u8"


def cases(kind, without=()):
    return [(name, dtype) for name, row in OPCODES.items()
            if row.kind == kind and name not in without
            for dtype in DTYPES if declared(row, dtype)]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), cases("elementwise", ("select", "convert")))
def test_elementwise_opcodes_follow_numpy(name, dtype):
    b = Builder(name)
    xs = [b.input(Type(np.dtype(dtype), (9, 5))) for _ in range(1 + (name in BINARY))]
    y = b.emit(name, *xs)
    values = [sample(dtype, seed=i) for i in range(len(xs))]
    if name == "power" and y.dtype.kind == "i":
        values[1] = np.abs(values[1] % 9)  # NumPy refuses whole numbers to negative powers.
    rounds = y.dtype.kind == "f"
    agree(b.program([y]), *values, rtol={F4: 4e-7, F8: 1e-15}[y.dtype] if rounds else 0)


@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("wanted", DTYPES)
def test_conversions_follow_numpy(given, wanted):
    b = Builder("convert")
    x = b.input(Type(np.dtype(given), (9, 5)))
    values = sample(given)
    if np.dtype(given).kind == "f" and np.dtype(wanted).kind in "iu":
        values = np.abs(np.nan_to_num(values, posinf=7, neginf=7))  # Others C does not define.
    agree(b.program([b.copy(b.convert(x, wanted))]), values)


def test_numbers_out_of_range_convert_to_the_nearest_whole_number():
    b = Builder("p")
    x = b.input(Type(F4, (4,)))
    (got,) = compile(b.program([b.convert(x, "i1")]), "llvm")(
        np.array([300, -300, np.inf, np.nan], "f4")
    )
    assert got.tolist() == [127, -128, 127, 0]


def test_maps_follow_numpy():
    b = Builder("maps")
    x = b.input(Type(F4, (2, 3, 6, 6)), "x")
    v = b.input(Type(F4, (3, 1)), "v")
    padded = b.pad(x, (0, 1, 2, 0), (1, 0, 0, 2), (0, 1, 2, 0), fill=7.0)
    flipped = b.slice(x, (0, 2, 5, 1), (2, 3, 3, 2), (1, -1, -2, 2))
    outputs = [
        padded, flipped, b.windows(x, (3, 2), (2, 1), (1, 1), fill=-1.0),
        b.transpose(b.exp(x), (3, 0, 2, 1)), b.reshape(b.negative(b.transpose(x, (1, 0, 2, 3))), (18, 12)),
        b.add(x, b.broadcast(v, (2, 3, 6, 6), (1, 2))),
        b.concatenate([b.absolute(x), x, b.exp(x)], 2), b.iota((4, 3), 1, "f8"),
        b.negative(b.pad(b.pad(x, (0, 0, 1, 1), (0, 0, 0, 0)), (0, 0, 0, 0), (0, 0, 2, 2))),
        b.pad(b.slice(x, (0, 0, 0, 0), (2, 3, 0, 6)), (0, 0, 1, 0), (0, 0, 1, 0), fill=3.0),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    agree(b.program(outputs), *(rng.normal(size=y.shape).astype("f4") for y in (x, v)), rtol=2e-7)


@pytest.mark.parametrize(("opcode", "dtype"), cases("reduce"))
@pytest.mark.parametrize(("shape", "axes"), [
    ((7, 33), (1,)), ((7, 33), (0,)), ((3, 4, 5, 6), (0, 2)), ((3, 4, 5, 6), (1, 3)), ((2500,), (0,)),
    ((70, 3), (0,)), ((150, 1100), (0,)), ((5, 1, 4), (1,)), ((6,), (0,)), ((3, 70, 20), (0, 1)),
])  # fmt: skip
def test_reductions_follow_numpy(opcode, dtype, shape, axes):
    b = Builder("p")
    x = b.input(Type(np.dtype(dtype), shape))
    y = b.reduce(opcode, x, axes)
    values = sample(dtype, shape)
    if opcode in ("sum", "prod") and dtype[0] == "f":
        rng = np.random.default_rng(0)
        values = rng.uniform(0.9, 1.1, shape).astype(dtype)
    agree(b.program([y]), values, rtol={"f4": 1e-5, "f8": 1e-13}.get(dtype, 0))


@pytest.mark.parametrize("opcode", ["max", "min"])
@pytest.mark.parametrize("axis", [0, 1])
def test_extremes_hand_on_nan(opcode, axis):
    b = Builder("p")
    x = b.input(Type(F4, (40, 40)))
    values = np.random.default_rng(0).normal(size=(40, 40)).astype("f4")
    values[3, 5] = np.nan
    (got,) = agree(b.program([b.reduce(opcode, x, (axis,))]), values)
    assert np.isnan(got).sum() == 1


def test_reductions_of_nothing():
    b = Builder("p")
    x = b.input(Type(F4, (0, 3)))
    y = b.input(Type(BOOL, (3, 0)))
    outputs = [b.sum(x, (0,)), b.prod(x, (0,)), b.sum(x, (1,)), b.all(y, (1,)), b.any(y), b.exp(x)]
    agree(b.program(outputs), np.ones((0, 3), "f4"), np.ones((3, 0), bool))


@pytest.mark.parametrize("axis", [0, 1])
def test_long_sums_are_as_accurate_as_pairwise_ones(axis):
    shape = (1_000_000, 1) if axis == 0 else (1, 1_000_000)
    wide = (100_000, 8) if axis == 0 else (8, 100_000)
    for s in (shape, wide):
        b = Builder("p")
        x = b.input(Type(F4, s))
        values = np.full(s, 0.1, "f4")
        (got,) = compile(b.program([b.sum(x, (axis,))]), "llvm")(values)
        exact = values.sum(axis, dtype="f8")
        assert np.abs(got / exact - 1).max() < 1e-6


# --- whole programs -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(120))
def test_random_programs_agree_with_the_reference(seed):
    program = random_program(random.Random(seed), length=14)
    inputs = random_inputs(program, seed)
    with np.errstate(all="ignore"):
        expected = reference(program, *[x.copy() for x in inputs])
    run = compile(program, "llvm")
    for _ in range(2):  # What one call leaves in the arena must not show in the next.
        given = [x.copy() for x in inputs]
        got = run(*given)
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            size = np.abs(np.where(np.isfinite(e), e, 0)).max(initial=1)
            np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12 * size)
            if i in program.donate:
                assert g is given[program.donate[i]]
        for j, (x, g) in enumerate(zip(inputs, given, strict=True)):
            if j not in program.donate.values():
                np.testing.assert_array_equal(x, g)


def softmax(b, x):
    e = b.exp(b.subtract(x, b.max(x, (1,), True)))
    return b.divide(e, b.sum(e, (1,), True))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5000), (1, 20_000), (64, 1), (2, 8)])
def test_softmax_of_any_width(shape):
    b = Builder("p")
    x = b.input(Type(F4, shape))
    values = 5 * np.random.default_rng(0).normal(size=shape).astype("f4")
    agree(b.program([softmax(b, x)]), values, rtol=2e-6)


def test_a_kernel_may_write_over_what_it_also_sums():
    b = Builder("p")
    x, y = (b.input(Type(F8, (3, 4)), n) for n in "xy")
    run = compile(b.program([b.sign(x), b.max(b.divide(y, x), (0,))], {0: 1}), "llvm")
    assert len(run.kernels) == 1
    x0, y0 = np.arange(1.0, 13).reshape(3, 4), np.arange(12.0).reshape(3, 4)
    expected = (y0 / x0).max(0)
    signs, most = run(x0, y0)
    assert signs is y0
    np.testing.assert_array_equal(most, expected)


# --- control flow and the host ---------------------------------------------------------------


def counting_loop(fails=False):
    """``while i < n: i, x = i + 1, 2 * x``; or with a table that ends before n."""
    types = [Type(I8, ()), Type(F8, (3,)), Type(I8, ())]
    c, p, b = Builder("cond"), Builder("body"), Builder("main")
    i, _, n = (c.input(t) for t in types)
    cond = c.program([c.less(i, n)])
    i, x, n = (p.input(t) for t in types)
    x = p.multiply(x, p.constant(2.0))
    if fails:
        x = p.add(x, p.gather(p.constant(np.zeros(2)), i))
    body = p.program([p.add(i, p.constant(1)), x])
    x, n = b.input(types[1], "x"), b.input(types[2], "n")
    b.origin = "line 7"
    made = b.while_([b.constant(0), x], [n], cond, body)
    return b.program([made[1]], {0: 0})


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_while_runs_as_long_as_its_condition_holds(turns):
    x = np.array([1.0, 2.0, 3.0])
    (y,) = compile(counting_loop(), "llvm")(x, np.array(turns))
    assert y is x
    assert y.tolist() == [2.0**turns, 2 * 2.0**turns, 3 * 2.0**turns]


def test_a_failure_inside_control_flow_leaves_donated_inputs_as_they_were():
    run = compile(counting_loop(fails=True), "llvm")
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="an index is outside") as caught:
        run(x, np.array(3))
    assert "line 7" in str(caught.value)
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert run(x, np.array(2))[0].tolist() == [4.0, 8.0, 12.0]  # And the next call works.


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_scan_stacks_what_each_turn_makes(length, reverse):
    p, b = Builder("step"), Builder("main")
    total, element, scale = (p.input(Type(F8, (2,))) for _ in range(3))
    new = p.add(p.multiply(total, scale), element)
    body = p.program([new, p.exp(p.negative(new)), p.sum(new)])
    xs, start, scale = (b.input(Type(F8, s)) for s in ((length, 2), (2,), (2,)))
    made = b.scan([start], [xs], [scale], body, length, reverse)
    rng = np.random.default_rng(0)
    agree(
        b.program(list(made)), *(rng.normal(size=x.shape) for x in (xs, start, scale)), rtol=1e-14
    )


@pytest.mark.parametrize("truth", [True, False])
def test_if_runs_one_branch(truth):
    parts = []
    for name, opcode in (("then", "exp"), ("orelse", "negative")):
        p = Builder(name)
        y = p.input(Type(F8, (3,)))
        parts.append(p.program([p.emit(opcode, y), p.sum(y)]))
    b = Builder("main")
    c, x = b.input(Type(BOOL, ())), b.input(Type(F8, (3,)))
    agree(b.program(list(b.if_(c, [x], *parts))), np.array(truth), np.arange(3.0), rtol=1e-15)


def test_nested_loops():
    inner, outer, b = Builder("inner"), Builder("outer"), Builder("main")
    t, row = Type(F8, ()), Type(F8, (4,))
    a, x = inner.input(t), inner.input(t)
    inner_body = inner.program([inner.add(a, x), inner.multiply(a, x)])
    a, r = outer.input(t), outer.input(row)
    made = outer.scan([a], [r], [], inner_body, 4)
    outer_body = outer.program([outer.sin(made[0]), made[1]])
    start, xs = b.input(t), b.input(Type(F8, (3, 4)))
    program = b.program(list(b.scan([start], [xs], [], outer_body, 3)))
    agree(program, np.array(0.5), np.random.default_rng(0).normal(size=(3, 4)), rtol=1e-14)


def test_functions_on_the_host():
    b = Builder("main")
    x = b.input(Type(F8, (3, 3)), "x")
    inverse = b.call("inv", b.add(x, b.constant(np.eye(3))))
    order = b.call("argsort", b.negative(x), axis=1)
    program = b.program([b.dot(inverse, x), order])
    agree(program, np.random.default_rng(0).normal(size=(3, 3)), rtol=1e-12)


def test_an_error_on_the_host_is_raised_here_and_changes_nothing():
    b = Builder("main")
    x, w = b.input(Type(F8, (2, 2)), "x"), b.input(Type(F8, (2, 2)), "w")
    run = compile(b.program([b.call("inv", x), b.negative(w)], {1: 1}), "llvm")
    w0 = np.ones((2, 2))
    with pytest.raises(ShapeError, match="Singular matrix"):
        run(np.zeros((2, 2)), w0)
    assert w0.tolist() == [[1, 1], [1, 1]]
    np.testing.assert_array_equal(run(np.eye(2), w0)[0], np.eye(2))
    assert w0.tolist() == [[-1, -1], [-1, -1]]


# --- calling --------------------------------------------------------------------------------


def step():
    """``w -= x``, and the sum of the old w."""
    b = Builder("step")
    w, x = b.input(Type(F4, (4, 5)), "w"), b.input(Type(F4, (4, 5)), "x")
    return b.program([b.subtract(w, x), b.sum(w)], {0: 0})


def test_donated_arrays_are_changed_and_returned():
    run = compile(step(), "llvm")
    w, x = np.full((4, 5), 3.0, "f4"), np.ones((4, 5), "f4")
    for turn in range(3):
        new, total = run(w, x)
        assert new is w
        assert total == 20 * (3 - turn)
    assert (w == 0).all()


def test_results_are_the_caller_s():
    run = compile(step(), "llvm")
    w, x = np.ones((4, 5), "f4"), np.zeros((4, 5), "f4")
    first = run(w, x)[1]
    run(w, np.ones((4, 5), "f4"))
    second = run(w, x)[1]
    assert (first, second) == (20.0, 0.0)
    first[...] = 5
    assert run(w, x)[1] == 0.0


def test_arrays_in_any_order_of_memory():
    run = compile(step(), "llvm")
    big = np.arange(80, dtype="f4").reshape(8, 10)
    w, x = big[::2, ::2], np.asfortranarray(np.ones((4, 5), "f4"))
    expected = w - x
    new, _ = run(w, x)
    assert new is w
    np.testing.assert_array_equal(big[::2, ::2], expected)
    odd = np.frombuffer(b"\0" + np.ones(20, "f4").tobytes(), np.uint8)[1:].view("f4").reshape(4, 5)
    assert not odd.flags.aligned
    np.testing.assert_array_equal(run(w, odd)[0], expected - 1)


def test_an_input_that_lies_in_donated_memory_is_read_as_it_was():
    b = Builder("p")
    w, x = b.input(Type(F4, (6,)), "w"), b.input(Type(F4, (6,)), "x")
    run = compile(b.program([b.add(b.slice(x, (5,), (6,), (-1,)), w)], {0: 0}), "llvm")
    memory = np.arange(7, dtype="f4")
    expected = memory[:0:-1] + memory[:6]
    run(memory[:6], memory[1:])
    np.testing.assert_array_equal(memory[:6], expected)
    w = np.arange(6, dtype="f4")
    expected = w[::-1] + w
    for _ in range(2):
        np.testing.assert_array_equal(run(w, w)[0], expected)
        expected = expected[::-1] + expected


def test_two_donated_inputs_may_not_share_memory():
    b = Builder("p")
    w, v = b.input(Type(F4, (6,)), "w"), b.input(Type(F4, (6,)), "v")
    run = compile(b.program([b.negative(w), b.exp(v)], {0: 0, 1: 1}), "llvm")
    x = np.ones(6, "f4")
    with pytest.raises(OptionError, match="two donated inputs share memory"):
        run(x, x)


@pytest.mark.parametrize(("arrays", "error", "words"), [
    ((np.ones((4, 5)), np.ones((4, 5), "f4")), DtypeError, "input 0 .w. is of another type"),
    ((np.ones((4, 5), "f4"), np.ones((5, 4), "f4")), ShapeError, "expected: f32.4,5."),
    ((np.ones((4, 5), "f4"),), OptionError, "the number of arrays is wrong"),
])  # fmt: skip
def test_other_arrays_are_refused(arrays, error, words):
    with pytest.raises(error, match=words):
        compile(step(), "llvm")(*arrays)


def test_a_read_only_array_cannot_be_donated():
    w = np.ones((4, 5), "f4")
    w.flags.writeable = False
    with pytest.raises(OptionError, match="read-only"):
        compile(step(), "llvm")(w, np.ones((4, 5), "f4"))


def test_calls_from_several_threads_do_not_mix():
    b = Builder("p")
    x = b.input(Type(F4, (50, 60)), "x")
    run = compile(b.program([softmax(b, x), b.sum(x)]), "llvm")
    values = np.random.default_rng(0).normal(size=(8, 50, 60)).astype("f4")
    expected = [run(v) for v in values]
    wrong = []

    def work(i):
        for _ in range(50):
            got = run(values[i])
            if not all(np.array_equal(g, e) for g, e in zip(got, expected[i], strict=True)):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert not wrong


def test_loops_over_large_arrays_divided_over_threads():
    b = Builder("p")
    x = b.input(Type(F4, (1100, 1000)), "x")
    v = b.input(Type(F4, (1000,)), "v")
    program = b.program([b.exp(b.add(x, v)), softmax(b, x), b.sum(x, (0,)), b.negative(x)])
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=y.shape).astype("f4") for y in (x, v)]
    alone, together = compile(program, "llvm"), compile(program, "llvm", threads=2)
    assert "divided" in together.source["llvm"]
    for a, t in zip(alone(*inputs), together(*inputs), strict=True):
        np.testing.assert_array_equal(a, t)


# --- what the stages made ---------------------------------------------------------------------


def test_every_stage_can_be_looked_at():
    run = compile(step(), "llvm")
    assert "program step" in run.source["program"]
    assert list(run.source["kernels"]) == [k.name for k in run.kernels]
    assert f"@{run.kernels[0].name}" in run.source["llvm"]
    assert run.kernels[0].name in run.source["assembly"]
    assert list(run.seconds) == ["simplify", "fuse", "plan", "write", "parse", "optimise", "link"]


@pytest.mark.parametrize("opcode", "exp tanh sigmoid log erf maximum floor absolute".split())
def test_loops_vectorise(opcode):
    b = Builder("p")
    x = b.input(Type(F4, (1000,)), "x")
    y = b.emit(opcode, *[x] * (1 + (opcode == "maximum")))
    text = compile(b.program([b.add(y, x)]), "llvm").source["llvm"]
    assert " x float>" in text
    assert f"call float @{opcode}f" not in text


@pytest.mark.parametrize("shape", [(2, 3, 4, 2, 64, 2), (8, 8, 12, 12, 2, 2)])
def test_reductions_of_few_elements_vectorise_along_the_others(shape):
    b = Builder("p")
    x = b.input(Type(F4, shape), "x")
    axes = (3, 5) if shape[3] == 2 else (4, 5)
    program = b.program([b.max(x, axes), b.sum(x, axes)])
    assert " x float>" in compile(program, "llvm").source["llvm"]
    agree(program, sample("f4", shape), rtol=1e-5, atol=1e-6)


def test_equal_kernels_are_one_function():
    b = Builder("p")
    x, *weights = (b.input(Type(F4, (8, 8))) for _ in range(5))
    for w in weights:
        x = b.tanh(b.dot(x, w))
    run = compile(b.program([x]), "llvm")
    rng = np.random.default_rng(0)
    agree(run.program, *rng.normal(size=(5, 8, 8)).astype("f4"), rtol=1e-5, atol=1e-6)
    assert len(run.kernels) == 8
    assert run.source["llvm"].count("define") == 4  # And the step, and what does nothing.


def test_kernels_that_differ_in_a_number_only_are_two_functions():
    b = Builder("p")
    x = b.input(Type(F4, (4, 4)))
    for number in (0.0, -0.0, 1.0):
        x = b.dot(b.select(b.less(x, b.constant(number, "f4")), b.divide(x, b.constant(3, "f4")),
                           b.constant(number, "f4")), x)  # fmt: skip
    program = b.program([x])
    agree(program, sample("f4", (4, 4), seed=3).clip(-9, 9), rtol=1e-5)


def test_profiling_changes_nothing():
    run = compile(step(), "llvm")
    w, x = np.ones((4, 5), "f4"), np.ones((4, 5), "f4")
    rows = run.profile(w, x, repetitions=3)
    assert [name for name, _ in rows] == [k.name for k in run.kernels]
    assert all(0 <= seconds < 1 for _, seconds in rows)
    assert (w == 1).all()
    assert run(w, x)[0] is w


@pytest.mark.parametrize("n", [3, 8, 16, 17, 64, 100])
def test_two_guarded_loads_of_one_array_in_a_loop(n):
    b = Builder("neighbours")
    x = b.input(Type(np.dtype(np.float64), (n - 1,)))
    program = b.program([b.add(b.pad(x, (0,), (1,)), b.pad(x, (1,), (0,)))])
    values = np.arange(1.0, n)
    expected = np.append(values, 0) + np.append(0, values)
    np.testing.assert_array_equal(compile(program, "llvm")(values)[0], expected)
