"""Functions inside functions: nested jits, custom rules, checkpoints, named axes."""

import numpy as np
import pytest
from stacks import STACKS, assert_trees_equal, loop_over

from workbench import compiler, functional
from workbench.errors import GraphError, OptionError, ShapeError, WorkbenchError
from workbench.functional import checkpoint, custom_jvp, custom_vjp, policies
from workbench.functional import numpy as fnp
from workbench.functional.compile import simplify
from workbench.functional.lowering import to_program

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal(4), RNG.standard_normal((4, 4)) / 2
ROWS = RNG.standard_normal((5, 4))


def layer(x, w=W):
    return fnp.tanh(fnp.sin(w @ x))


def net(block):
    def f(x, w=W):
        for _ in range(3):
            x = block(x, w)
        return x

    return f


# Nested jits


@pytest.mark.parametrize("stack", STACKS)
def test_a_jit_inside_changes_nothing_but_the_record(stack):
    assert_trees_equal(STACKS[stack](net(functional.jit(layer)))(X), STACKS[stack](net(layer))(X))


def test_a_nested_jit_is_one_equation():
    inner = functional.jit(layer)
    jaxpr = functional.make_jaxpr(net(inner))(X)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["jit"] * 3
    assert "jit[name=layer" in str(jaxpr)
    assert "tanh" in str(jaxpr)


def test_a_nested_jit_may_close_over_what_is_differentiated():
    def f(x):
        return functional.jit(lambda y: fnp.sum(fnp.sin(x * y)))(x)

    assert_trees_equal(functional.grad(f)(X), 2 * X * np.cos(X * X))
    assert_trees_equal(functional.hessian(f)(X), functional.hessian(
        lambda x: fnp.sum(fnp.sin(x * x)))(X))  # fmt: skip


def test_a_jit_under_grad_computes_the_forward_pass_once():
    f = functional.jit(lambda x: fnp.sum(fnp.exp(fnp.sin(x))))
    text = str(functional.make_jaxpr(functional.grad(f))(X))
    assert text.count("sin ") == 1
    assert text.count("exp ") == 1


# Custom rules


@custom_jvp
def softplus(x):
    return fnp.log1p(fnp.exp(x))


@softplus.defjvp
def softplus_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return softplus(x), t * fnp.sigmoid(x)


@custom_vjp
def sine_of_product(x, w):
    return fnp.sin(w @ x)


def sine_backward(residuals, g):
    x, w = residuals
    g = g * fnp.cos(w @ x)
    return w.T @ g, g[:, None] * x


sine_of_product.defvjp(lambda x, w: (fnp.sin(w @ x), (x, w)), sine_backward)


@pytest.mark.parametrize("stack", STACKS)
def test_a_custom_jvp_agrees_with_the_derived_one(stack):
    plain = STACKS[stack](lambda x: fnp.log1p(fnp.exp(x)))
    assert_trees_equal(STACKS[stack](softplus)(X), plain(X))
    batched = STACKS[stack](lambda x: functional.vmap(softplus)(x * ROWS))
    assert_trees_equal(batched(X), STACKS[stack](lambda x: fnp.log1p(fnp.exp(x * ROWS)))(X))


def test_the_custom_rule_is_the_one_that_runs():
    with np.errstate(over="ignore"):  # Derived, it is inf / inf.
        assert functional.grad(softplus)(800.0) == 1.0
        batched = functional.jit(functional.vmap(functional.grad(softplus)))
        assert batched(np.full(2, 800.0))[1] == 1.0

    @custom_jvp
    def doubled(x):
        return x

    doubled.defjvp(lambda primals, tangents: (primals[0], 2 * tangents[0]))
    for stack in (functional.grad, lambda f: functional.jit(functional.grad(f)),
                  lambda f: functional.grad(functional.jit(f))):  # fmt: skip
        assert stack(lambda x: 3 * doubled(x))(1.0) == 6.0


def test_terms_of_a_custom_jvp_one_an_argument():
    @custom_jvp
    def f(x, y):
        return fnp.sin(x) * y

    f.defjvps(lambda t, out, x, y: t * fnp.cos(x) * y, None)
    assert functional.grad(f, (0, 1))(2.0, 3.0) == (pytest.approx(3 * np.cos(2.0)), 0.0)


REVERSE = ("value", "jit", "grad", "jit-grad", "grad-jit", "grad-grad", "grad-jit-grad")


@pytest.mark.parametrize("stack", REVERSE)
def test_a_custom_vjp_agrees_with_the_derived_one(stack):
    def plain(x, w):
        return fnp.sin(w @ x)

    transform = STACKS[stack]
    assert_trees_equal(transform(sine_of_product)(X, W), transform(plain)(X, W))
    assert_trees_equal(
        transform(lambda w: sine_of_product(X, w))(W), transform(lambda w: plain(X, w))(W)
    )
    for axes in ((0, None), (None, 0), (0, 0)):
        args = [ROWS if axes[0] == 0 else X, np.stack([W] * 5) * [[[1]], [[2]], [[3]], [[4]], [[5]]]
                if axes[1] == 0 else W]  # fmt: skip
        for n in (0, 1):

            def of(f, n=n, args=args, axes=axes):
                batched = functional.vmap(f, axes)
                return lambda x: batched(*[x if i == n else a for i, a in enumerate(args)])

            assert_trees_equal(
                transform(of(sine_of_product))(args[n]), transform(of(plain))(args[n])
            )


def test_a_custom_gradient_may_differ_on_purpose():
    @custom_vjp
    def clipped(x):
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, g: (fnp.clip(g, -1, 1),))
    f = functional.grad(lambda x: fnp.sum(clipped(x) * np.array([0.5, 3.0, -7.0])))
    np.testing.assert_array_equal(f(np.ones(3)), [0.5, 1, -1])
    np.testing.assert_array_equal(functional.jit(f)(np.ones(3)), [0.5, 1, -1])


def test_static_arguments_of_custom_rules():
    power = custom_vjp(lambda n, x: x**n, nondiff_argnums=(0,))
    power.defvjp(lambda n, x: (x**n, x), lambda n, x, g: (g * n * x ** (n - 1),))
    assert functional.grad(lambda x: power(3, x))(2.0) == 12.0


def no_rule():
    return functional.grad(custom_jvp(lambda x: x))(1.0)


def forward_of_custom_vjp():
    return functional.jvp(lambda x: sine_of_product(x, W), (X,), (X,))


def closes_over():
    def f(x):
        g = custom_jvp(lambda y: x * y)
        g.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
        return g(x)

    return functional.grad(f)(2.0)


def wrong_shape():
    f = custom_jvp(lambda x: x)
    f.defjvp(lambda primals, tangents: (primals[0], fnp.sum(tangents[0])))
    return functional.jvp(f, (X,), (X,))


def wrong_count():
    f = custom_vjp(lambda x, y: x * y)
    f.defvjp(lambda x, y: (x * y, None), lambda _, g: (g,))
    return functional.grad(f)(1.0, 2.0)


def wrong_cotangent():
    f = custom_vjp(lambda x: fnp.sum(x))
    f.defvjp(lambda x: (fnp.sum(x), None), lambda _, g: (g,))
    return functional.grad(f)(X)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (no_rule, GraphError, "a rule given by .defjvp before the first call"),
        (forward_of_custom_vjp, GraphError, "give it a forward rule with custom_jvp"),
        (closes_over, GraphError, "pass the value as an argument"),
        (wrong_shape, ShapeError, "returns a tangent of another shape"),
        (wrong_count, OptionError, "a tuple of 2"),
        (wrong_cotangent, ShapeError, "returns a cotangent of another shape"),
    ],
)
def test_rules_that_do_not_fit_are_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


# Checkpoints

POLICIES = {
    "default": None,
    "nothing": policies.nothing_saveable,
    "everything": policies.everything_saveable,
    "dots": policies.dots_saveable,
    "names": policies.save_only_these_names("inner"),
}


def named_layer(x, w=W):
    return fnp.tanh(functional.checkpoint_name(fnp.sin(w @ x), "inner"))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stack", STACKS)
def test_a_checkpoint_changes_no_number(stack, policy):
    ours = net(checkpoint(named_layer, POLICIES[policy]))
    assert_trees_equal(STACKS[stack](ours)(X), STACKS[stack](net(layer))(X))
    if "grad" in stack:
        assert_trees_equal(
            functional.vmap(STACKS[stack](ours))(ROWS), loop_over(STACKS[stack](net(layer)))(ROWS)
        )


@pytest.mark.parametrize(
    ("policy", "sines", "products"),
    [("default", 2, 2), ("dots", 2, 1), ("names", 1, 2), ("everything", 1, 1)],
)
def test_a_policy_says_what_is_computed_again(policy, sines, products):
    def f(x, w):
        return fnp.sum(checkpoint(named_layer, POLICIES[policy])(x, w))

    text = str(functional.make_jaxpr(functional.grad(f))(X, W))
    assert text.count("= sin ") == sines
    # One more product carries the gradient back; cos asks for sin's argument.
    assert text.count("= matmul ") == products + 1


def test_a_compiled_checkpoint_saves_memory():
    w, x = RNG.standard_normal((50, 50)), RNG.standard_normal((50, 400))

    def arena(block):
        gradient = functional.grad(lambda x: fnp.sum(net(block)(x, w)))
        program = to_program(simplify(functional.make_jaxpr(gradient)(x)))
        return compiler.compile(program).plan.arena_bytes

    def deep(x, w):
        for _ in range(3):
            x = layer(x, w)
        return x

    plain, kept, again = map(arena, (
        deep, checkpoint(deep, policies.dots_saveable), checkpoint(deep)))  # fmt: skip
    assert again < kept < plain
    assert again < plain / 2


def test_a_policy_is_a_function():
    with pytest.raises(OptionError, match="dots_saveable"):
        checkpoint(layer, policy="dots")


# Named axes


def share(x):
    return x / functional.psum(x, "i")


COLLECTIVES = {
    "psum": (share, lambda xs: xs / xs.sum(0)),
    "pmean": (lambda x: fnp.sin(x - functional.pmean(x, "i")),
              lambda xs: fnp.sin(xs - xs.sum(0) / len(xs))),
    "pmax": (lambda x: functional.pmax(x, "i") * x, lambda xs: fnp.max(xs, 0) * xs),
    "pmin": (lambda x: functional.pmin(x, "i") * x, lambda xs: fnp.min(xs, 0) * xs),
    "all_gather": (lambda x: fnp.sum(functional.all_gather(x, "i") ** 2) * x,
                   lambda xs: fnp.sum(xs**2) * xs),
    "ppermute": (lambda x: x * functional.ppermute(x, "i", [(0, 1), (1, 2), (4, 0)]),
                 lambda xs: xs * fnp.stack([xs[4], xs[0], xs[1], xs[0] * 0, xs[0] * 0])),
    "axis_index": (lambda x: x * functional.axis_index("i"),
                   lambda xs: xs * np.arange(5)[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLLECTIVES)
@pytest.mark.parametrize("stack", STACKS)
def test_a_collective_is_a_reduction_of_the_whole_batch(stack, name):
    ours, plain = COLLECTIVES[name]
    for inner in (ours, functional.jit(ours), lambda x: functional.scan(
            lambda c, _: (c, ours(x)), 0.0, None, length=1)[1][0]):  # fmt: skip
        batched = functional.vmap(inner, axis_name="i")
        assert_trees_equal(STACKS[stack](batched)(ROWS), STACKS[stack](plain)(ROWS))


@pytest.mark.parametrize("name", COLLECTIVES)
def test_a_gradient_inside_counts_what_all_examples_make_of_a_value(name):
    ours, plain = COLLECTIVES[name]
    inside = functional.grad(lambda x: fnp.sum(fnp.sin(ours(x))))
    wanted = functional.grad(lambda xs: fnp.sum(fnp.sin(plain(xs))))(ROWS)
    for gradient in (inside, functional.jit(inside)):
        assert_trees_equal(functional.vmap(gradient, axis_name="i")(ROWS), wanted)


def test_axes_nest_by_name():
    xs = RNG.standard_normal((5, 3, 4))

    def both(name):
        inner = functional.vmap(lambda x: functional.psum(x, name), axis_name="i")
        return functional.vmap(inner, axis_name="j")(xs)

    np.testing.assert_allclose(both("i"), np.repeat(xs.sum(1, keepdims=True), 3, 1))
    np.testing.assert_allclose(both("j"), np.repeat(xs.sum(0, keepdims=True), 5, 0))


def test_an_axis_without_arguments():
    where = functional.vmap(lambda: functional.axis_index("i"), axis_name="i", axis_size=3)()
    np.testing.assert_array_equal(where, [0, 1, 2])
    assert (
        functional.vmap(lambda: functional.psum(2, "i"), axis_name="i", axis_size=3)().sum() == 18
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: functional.psum(1.0, "i"), "vmap(f, axis_name='i')"),
        (lambda: functional.vmap(lambda x: functional.psum(x, "bath"), axis_name="batch")(X),
         "batch"),
        (lambda: functional.vmap(lambda x: functional.ppermute(x, "i", [(0, 9)]), axis_name="i")(X),
         "indices 0 to 3"),
    ],
)  # fmt: skip
def test_an_unknown_axis_is_refused(call, text):
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert text in str(caught.value)


def test_eval_shape_needs_shapes_only():
    from workbench.functional.core import ShapedArray

    shapes = functional.eval_shape(lambda x: {"y": W @ x, "n": 1.0}, ShapedArray((4, 10**9), "f8"))
    assert str(shapes["y"]) == "f64[4,1000000000]"
    assert shapes["n"].shape == ()
