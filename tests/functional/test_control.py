"""scan, cond, switch, while_loop and fori_loop against Python's own control flow."""

import numpy as np
import pytest
from stacks import FORWARD, STACKS, assert_trees_equal, loop_over

from workbench import functional
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional import cond, fori_loop, scan, switch, while_loop
from workbench.functional import numpy as fnp

RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3)) / 2
B = RNG.standard_normal(3)
XS = RNG.standard_normal((5, 3))


def python_scan(f, carry, xs, reverse=False):
    rows = []
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        carry, y = f(carry, xs[t])
        rows.append(y)
    return carry, fnp.stack(rows[::-1] if reverse else rows)


def recurrent(loop, reverse, of):
    """A small recurrent net as a function of one of its four arguments first."""

    def run(*args):
        given = dict(zip([of, *(name for name in "wbhx" if name != of)], args, strict=True))

        def step(h, x):
            h = fnp.tanh(given["w"] @ h + x * given["b"])
            return h, fnp.sum(h * x)

        return loop(step, given["h"], given["x"], reverse=reverse)

    values = {"w": W, "b": B, "h": np.ones(3), "x": XS}
    return run, [values[of], *(values[name] for name in "wbhx" if name != of)]


@pytest.mark.parametrize("of", "wbhx")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stack", ["value", "jit", "jit-grad", "grad-jit", "jit-hessian",
                                   "jacfwd-jit", "grad-jit-grad", "linearize"])  # fmt: skip
def test_scan_is_a_loop_under_every_stack(stack, reverse, of):
    ours, args = recurrent(scan, reverse, of)
    plain, _ = recurrent(python_scan, reverse, of)
    wanted = stack.replace("jit-", "").replace("-jit", "").replace("jit", "value")
    assert_trees_equal(STACKS[stack](ours)(*args), STACKS[wanted](plain)(*args))


@pytest.mark.parametrize("of", "wbhx")
@pytest.mark.parametrize("outer", [lambda f: f, functional.jit])
def test_scan_batches_whatever_carries_the_batch(outer, of):
    ours, args = recurrent(scan, False, of)
    plain, _ = recurrent(python_scan, False, of)
    batch = np.stack([args[0], args[0] * 0.5, -args[0]])
    axes = (0, None, None, None)
    gradient = STACKS["grad"]
    assert_trees_equal(
        outer(functional.vmap(gradient(ours), axes))(batch, *args[1:]),
        loop_over(gradient(plain), axes)(batch, *args[1:]),
    )
    assert_trees_equal(
        functional.grad(lambda xs: fnp.sum(functional.vmap(ours, axes)(xs, *args[1:])[1]))(batch),
        functional.grad(
            lambda xs: sum(fnp.sum(plain(xs[i], *args[1:])[1]) for i in range(3))
        )(batch),
    )  # fmt: skip


def test_a_scan_is_one_equation_however_long():
    def sums(xs):
        return scan(lambda c, x: (c + x, c), 0.0, xs)

    texts = [str(functional.make_jaxpr(sums)(np.ones(n))) for n in (3, 3000)]
    assert texts[0].replace("length=3 ", "").replace("f64[3]", "f64[n]") == texts[1].replace(
        "length=3000 ", ""
    ).replace("f64[3000]", "f64[n]")
    assert "scan[" in texts[0]


def test_scan_without_sequences_and_with_pytrees():
    def step(state, _):
        return {"a": state["a"] * 2, "n": state["n"] + 1}, (state["n"], None)

    carry, (counted, nothing) = scan(step, {"a": 1.0, "n": 0}, None, length=4)
    assert carry["a"] == 16
    assert carry["n"] == 4
    assert nothing is None
    np.testing.assert_array_equal(counted, [0, 1, 2, 3])
    assert carry["n"].dtype == np.int64
    assert carry["a"].dtype == np.float64


def test_a_python_number_as_first_carry_takes_the_dtype_of_the_body():
    xs = np.ones(3, np.float32)
    carry, ys = scan(lambda c, x: (c + x, c), 0.0, xs)
    assert carry.dtype == ys.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: scan(lambda c, x: (c, c), 0.0, None), OptionError, "no sequence"),
        (lambda: scan(lambda c, x: (c, c), 0.0, (np.ones(2), np.ones(3))), ShapeError,
         "2 in leaf 0 f64[2]; 3 in leaf 1 f64[3]"),
        (lambda: scan(lambda c, x: (c, c), 0.0, np.float64(1)), ShapeError, "no axis to run over"),
        (lambda: scan(lambda c, x: c, 0.0, np.ones(2)), OptionError, "(carry, y); y may be None"),
        (lambda: scan(lambda c, x: ((c, c), x), 0.0, np.ones(2)), ShapeError, "structure"),
        (lambda: scan(lambda c, x: (fnp.ones(2), x), np.ones(3), np.ones(2)), ShapeError,
         "leaf 0 went in as f64[3] and came out as f64[2]"),
        (lambda: cond(np.ones(2) > 0, lambda: 1.0, lambda: 2.0), ShapeError, "predicate"),
        (lambda: functional.jit(lambda p: cond(p, lambda: 1.0, lambda: fnp.ones(2)))(np.True_),
         ShapeError, "branch 0 f64[2]; branch 1 f64[]"),
        (lambda: functional.jit(lambda p: cond(p, lambda: 1.0, lambda: (1.0,)))(np.True_),
         ShapeError, "different structures"),
        (lambda: switch(np.int64(0), []), OptionError, "no branch"),
        (lambda: switch(0.5, [lambda: 1.0]), DtypeError, "one integer"),
        (lambda: while_loop(lambda x: x, lambda x: x, 1.0), DtypeError, "one boolean"),
        (lambda: fori_loop(0.0, 3, lambda i, x: x, 1.0), DtypeError, "integers"),
        (lambda: functional.grad(lambda x: while_loop(lambda y: y < 9, lambda y: y * x, x))(2.0),
         GraphError, "use scan, or fori_loop between Python ints"),
    ],
)  # fmt: skip
def test_refusals_say_what_is_wrong(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


BRANCHES = [
    lambda x, w: fnp.sin(w @ x),
    lambda x, w: fnp.exp(x) * 2,
    lambda x, w: x * fnp.sum(w),
    lambda x, w: x,
]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("stack", STACKS)
def test_switch_is_an_if_under_every_stack(stack, count):
    def ours(x, w, i):
        return switch(i, BRANCHES[:count], x, w)

    for i in range(count):
        plain = STACKS[stack](lambda x, w, i: BRANCHES[i](x, w))
        if "jit" in stack:
            plain = STACKS[stack](lambda x, w, i, number=i: BRANCHES[number](x, w))
        assert_trees_equal(STACKS[stack](ours)(B, W, np.int64(i)), plain(B, W, i))


@pytest.mark.parametrize("outer", [lambda f: f, functional.jit])
def test_examples_of_a_batch_may_choose_differently(outer):
    def ours(x, i, w):
        return switch(i, BRANCHES, x, w)

    index = np.array([3, 0, 2, 1, -7, 9])
    xs = RNG.standard_normal((6, 3))
    wanted = np.stack([BRANCHES[min(max(i, 0), 3)](x, W) for i, x in zip(index, xs, strict=True)])
    assert_trees_equal(outer(functional.vmap(ours, (0, 0, None)))(xs, index, W), wanted)
    gradient = functional.vmap(STACKS["grad"](ours), (0, 0, None))
    plain = [
        STACKS["grad"](lambda x, i=i: BRANCHES[min(max(i, 0), 3)](x, W))(x)
        for i, x in zip(index, xs, strict=True)
    ]
    assert_trees_equal(outer(gradient)(xs, index, W), np.stack(plain))


def test_a_known_predicate_runs_one_branch_only():
    ran = []

    def branch(name):
        return lambda x: ran.append(name) or x

    cond(np.False_, branch("then"), branch("else"), 1.0)
    assert ran == ["else"]


def test_a_compiled_cond_computes_the_chosen_branch_only():
    # The other branch would read outside the array.
    @functional.jit
    def f(p, i, x):
        return cond(p, lambda: fnp.sum(x), lambda: x[i])

    assert f(np.True_, np.int64(99), XS[0]) == pytest.approx(XS[0].sum())


def power_loop(x, n):
    return while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, fnp.sin(s[1]) * x), (0, x))[1]


def power_python(x, n):
    y = x
    for _ in range(int(n)):
        y = fnp.sin(y) * x
    return y


@pytest.mark.parametrize("stack", FORWARD)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_while_goes_forward_under_every_stack(stack, steps):
    plain = STACKS[stack](lambda x: power_python(x, steps))
    assert_trees_equal(STACKS[stack](power_loop)(B, np.int64(steps)), plain(B))


@pytest.mark.parametrize("outer", [lambda f: f, functional.jit])
def test_examples_of_a_batch_may_stop_at_different_steps(outer):
    xs, steps = RNG.standard_normal((4, 3)), np.array([2, 5, 0, 1])
    assert_trees_equal(
        outer(functional.vmap(power_loop))(xs, steps), loop_over(power_python)(xs, steps)
    )
    assert_trees_equal(
        outer(functional.vmap(power_loop, (0, None)))(xs, np.int64(3)),
        loop_over(power_python, (0, None))(xs, 3),
    )


@pytest.mark.parametrize("stack", STACKS)
def test_fori_loop_between_ints_has_every_derivative(stack):
    def ours(x):
        return fori_loop(0, 4, lambda i, y: fnp.sin(y) * x + i, x)

    def plain(x):
        y = x
        for i in range(4):
            y = fnp.sin(y) * x + i
        return y

    assert_trees_equal(STACKS[stack](ours)(B), STACKS[stack](plain)(B))


def test_fori_loop_to_a_traced_end_goes_forward():
    def ours(x, n):
        return fori_loop(1, n, lambda i, y: y * x + i, x)

    def plain(x, n):
        y = x
        for i in range(1, n):
            y = y * x + i
        return y

    jitted = functional.jit(ours)
    assert_trees_equal(jitted(B, np.int64(5)), plain(B, 5))
    assert_trees_equal(
        functional.jvp(lambda x: jitted(x, np.int64(5)), (B,), (W[0],)),
        functional.jvp(lambda x: plain(x, 5), (B,), (W[0],)),
    )


def test_loops_nest():
    def ours(x):
        def outer(c, row):
            inner = scan(lambda a, y: (a + fnp.sin(y * c), a), 0.0, row)[0]
            return cond(inner > 0, lambda: c + inner, lambda: c * inner), inner

        return scan(outer, 1.0, x)

    def plain(x):
        c, rows = 1.0, []
        for row in x:
            inner = 0.0
            for y in row:
                inner = inner + fnp.sin(y * c)
            c = c + inner if bool(functional.stop_gradient(inner) > 0) else c * inner
            rows.append(inner)
        return c, fnp.stack(rows)

    for stack, reference in (("jit", "value"), ("jit-grad", "grad"), ("jit-hessian", "hessian")):
        assert_trees_equal(STACKS[stack](ours)(XS), STACKS[reference](plain)(XS))


def test_a_loop_outside_jit_is_traced_at_every_call_and_compiled_at_the_first():
    from workbench.functional.lowering import PROGRAMS

    def loss(w):
        return fnp.sum(scan(lambda h, x: (fnp.tanh(w @ h + x), None), np.zeros(3), XS)[0])

    first = functional.grad(loss)(W)
    before = PROGRAMS.statistics
    np.testing.assert_array_equal(functional.grad(loss)(W), first)
    assert PROGRAMS.statistics.misses == before.misses
    assert PROGRAMS.statistics.hits > before.hits


@pytest.mark.parametrize("stack", ["grad", "jit-grad", "jit-hessian"])
def test_a_residual_may_be_the_carry_itself(stack):
    def ours(xs):
        return scan(lambda c, x: (c * x, c * c), np.ones(3), xs)

    def plain(xs):
        return python_scan(lambda c, x: (c * x, c * c), np.ones(3), xs)

    wanted = stack.replace("jit-", "")
    assert_trees_equal(STACKS[stack](ours)(XS), STACKS[wanted](plain)(XS))
