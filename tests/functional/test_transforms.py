"""The transforms, alone and stacked: values, structure, and what they refuse."""

import functools
import gc
import itertools
import re
import weakref
from collections import namedtuple

import numpy as np
import pytest

from workbench import functional
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional import grad, hessian, jacfwd, jacrev, jit, jvp, vjp, vmap
from workbench.functional import numpy as fnp

EPS = np.finfo(float).eps
Layer = namedtuple("Layer", "w b")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Composition: every pair and triple of transforms, on R -> R functions with known derivatives.
# d: number of derivatives a transform takes.

STACKABLE = {
    "grad": (grad, 1),
    "jvp": (lambda f: lambda x: jvp(f, (x,), (fnp.ones_like(x),))[1], 1),
    "vjp": (lambda f: lambda x: vjp(f, x)[1](fnp.ones_like(x))[0], 1),
    "linearize": (lambda f: lambda x: functional.linearize(f, x)[1](fnp.ones_like(x)), 1),
    "jacfwd": (jacfwd, 1),
    "jacrev": (jacrev, 1),
    "jit": (jit, 0),
    "vmap": (lambda f: lambda x: vmap(f)(fnp.stack([x, x * 2]))[0], 0),
}
FUNCTIONS = {
    # f, and f^(n) for n = 0..3
    "sin": (fnp.sin, [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]),
    "fan-out": (
        lambda x: x * x * x + x,
        [lambda x: x**3 + x, lambda x: 3 * x**2 + 1, lambda x: 6 * x, lambda x: 6.0],
    ),
    "rational": (
        lambda x: 1 / (2 - x),
        [
            lambda x: 1 / (2 - x),
            lambda x: (2 - x) ** -2,
            lambda x: 2 * (2 - x) ** -3,
            lambda x: 6 * (2 - x) ** -4,
        ],
    ),
    "exp-log": (
        lambda x: fnp.exp(2 * fnp.log(x)),
        [lambda x: x**2, lambda x: 2 * x, lambda x: 2.0, lambda x: 0.0],
    ),
    "array": (
        lambda x: fnp.sum(fnp.stack([x, x * x])[np.array([0, 1, 1])]),
        [lambda x: x + 2 * x**2, lambda x: 1 + 4 * x, lambda x: 4.0, lambda x: 0.0],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("depth", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_transforms_compose_in_any_order(name, depth):
    f, derivatives = FUNCTIONS[name]
    x = np.float64(0.7)
    for stack in itertools.product(STACKABLE, repeat=depth):
        g, order = f, 0
        for transform in stack:
            g, order = STACKABLE[transform][0](g), order + STACKABLE[transform][1]
        want = derivatives[order](x)
        assert abs(g(x) - want) <= 200 * EPS * max(1, abs(want)), stack


def test_perturbations_are_not_confused():
    # d/dx [x * d/dy (x + y)] is 1: the inner derivative is 1, whatever x's tangent.
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    push = lambda f, x: jvp(f, (x,), (1.0,))[1]  # noqa: E731
    assert push(lambda x: x * push(lambda y: x + y, 1.0), 1.0) == 1.0
    assert push(lambda x: x * push(lambda y: x * y, 2.0), 3.0) == 6.0
    # Manzyuk et al. (2019), "Perturbation confusion in forward automatic differentiation".
    assert grad(lambda x: grad(lambda y: x * y)(x) * grad(lambda y: y * y * x)(x))(2.0) == 24.0


def test_gradient_accumulates_at_a_fan_out():
    assert grad(lambda x: x * x + x)(3.0) == 7.0


def test_reflected_operators_are_not_aliased():
    for f, want in [(lambda t: 1 - t, -1), (lambda t: 1 / t, -0.25), (lambda t: 3.0**t,
                    9 * np.log(3)), (lambda t: 1 + t, 1), (lambda t: 2 * t, 2)]:  # fmt: skip
        assert grad(f)(2.0) == pytest.approx(want, rel=4 * EPS)
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(jit(lambda t: a @ t)(b), a @ b)


def test_an_array_leaves_the_operator_to_the_tracer():
    for array in (np.arange(3.0), np.float64(5), np.array(2.0), np.float32(1)):
        kinds = []

        def f(t, array=array, kinds=kinds):
            both = array - t, array * t, array < t, array / t
            kinds.extend(type(each).__name__ for each in both)
            return fnp.sum(both[0])

        functional.make_jaxpr(f)(np.ones(3))
        assert kinds == ["StagedTracer"] * 4


# grad and value_and_grad


def test_grad_takes_pytrees_argnums_and_auxiliary_data():
    params = {"layer": Layer(np.ones((2, 3)), np.zeros(3)), "scale": (2.0, None)}

    def loss(params, x):
        y = params["scale"][0] * (x @ params["layer"].w + params["layer"].b)
        return fnp.sum(y), {"y": y, "tag": "free"}

    x = np.arange(8.0).reshape(4, 2)
    (value, aux), g = functional.value_and_grad(loss, has_aux=True)(params, x)
    assert value == 2 * x.sum() * 3
    assert aux["tag"] == "free"
    np.testing.assert_array_equal(aux["y"], 2 * (x @ np.ones((2, 3))))
    assert isinstance(g["layer"], Layer)
    np.testing.assert_array_equal(g["layer"].b, [8, 8, 8])
    assert g["scale"] == (value / 2, None)
    both, _ = grad(loss, argnums=(1, 0), has_aux=True)(params, x)
    np.testing.assert_array_equal(both[0], np.full((4, 2), 6.0))
    np.testing.assert_array_equal(both[1]["layer"].w, g["layer"].w)
    assert grad(lambda x, *, power: x**power)(3.0, power=2) == 6.0
    assert grad(lambda x, y: x * y, argnums=-1)(3.0, 2.0) == 3.0


def test_unused_inputs_get_zeros():
    _, gy = grad(lambda x, y: fnp.sum(x), (0, 1))(np.ones(2), np.ones((3, 1), np.float32))
    np.testing.assert_array_equal(gy, np.zeros((3, 1)))
    assert gy.dtype == np.float32
    assert grad(lambda x: 3.0)(1.0) == 0.0
    assert jvp(lambda x: 3.0, (1.0,), (1.0,)) == (3.0, 0.0)


def test_results_can_be_written_to_one_by_one():
    ga, gb = grad(lambda a, b: fnp.sum(a + b), (0, 1))(np.ones(3), np.ones(3))
    ga *= 2
    np.testing.assert_array_equal(gb, np.ones(3))
    ga, gb = jit(lambda a: (a, fnp.reshape(a, (3, 1))))(x := np.ones(3))
    ga += 1
    gb += 2
    np.testing.assert_array_equal(x, np.ones(3))


def test_zero_tangents_cost_nothing():
    calls = []
    f = lambda x, y: (calls.append(1), x * y)[1]  # noqa: E731
    _, push = functional.linearize(lambda x: f(x, 3.0) + fnp.exp(2.0), 1.0)
    text = str(
        functional.make_jaxpr(lambda x: jvp(lambda x: x * 2 + fnp.sin(3.0), (x,), (1.0,)))(1.0)
    )
    assert "cos" not in text
    assert push(2.0) == 6.0
    assert calls == [1]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: grad(lambda x: x * 2)(np.ones(3)), ShapeError,
         r"grad\(<lambda>\): only a scalar has a gradient\n  given:    an output f64\[3\]\n"
         r".*shape \(\)\n.*jacrev"),
        (lambda: grad(lambda x: x * 2)(3), DtypeError,
         r"argument 0 is not real floating point[\s\S]*~i64\[\][\s\S]*close over"),
        (lambda: grad(lambda x, n: x, argnums=(0, 1))(1.0, np.arange(2)), DtypeError,
         r"argument 1 is not real[\s\S]*argument 1 i64\[2\]"),
        (lambda: grad(lambda x: x > 0)(1.0), DtypeError, "the output is not real floating"),
        (lambda: grad(lambda x: (x, x))(1.0), DtypeError, r"one number[\s\S]*has_aux=True"),
        (lambda: grad(lambda x: x, has_aux=True)(1.0), OptionError, "returns a pair"),
        (lambda: grad(lambda x: x, argnums=1)(1.0), OptionError,
         "argnums=1 and 1 positional arguments"),
        (lambda: grad(lambda x: x, argnums="x"), OptionError, "argnums='x'"),
        (lambda: grad(3), DtypeError, "a function is needed"),
        (lambda: grad(lambda x: "text")(1.0), DtypeError, "a str"),
        (lambda: grad(fnp.sum)([1.0, 2.0, "a"]), DtypeError, "a str"),
        (lambda: jvp(fnp.sin, 1.0, (1.0,)), DtypeError, r"primals is a tuple[\s\S]*primals=\(x,\)"),
        (lambda: jvp(fnp.sin, (1.0,), (np.ones(2),)), ShapeError,
         r"a tangent must have[\s\S]*f64\[2\][\s\S]*~f64\[\]"),
        (lambda: jvp(fnp.sin, (1.0,), (1.0, 2.0)), ShapeError, "structured unlike"),
        (lambda: vjp(fnp.sin, np.ones(2))[1](np.ones(3)), ShapeError, "a cotangent must have"),
        (lambda: vjp(fnp.sin, np.ones(2))[1](np.ones(2, np.float32)), ShapeError, "cotangent f32"),
        (lambda: jacfwd(fnp.sin)({"a": np.ones(2)}), DtypeError, "a Jacobian of one array"),
        (lambda: jacrev(fnp.sin, 2)(1.0), OptionError, "argnums names no argument"),
    ],
)  # fmt: skip
def test_derivatives_refuse(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_vjp_carries_auxiliary_data():
    y, pull, aux = vjp(lambda x: (x * x, [x + 1, "tag"]), np.float64(3), has_aux=True)
    assert (y, pull(1.0), aux) == (9.0, (6.0,), [4.0, "tag"])


def test_stop_gradient_and_branches_on_values():
    assert grad(lambda x: x * functional.stop_gradient(x * x))(3.0) == 9.0
    branch = lambda x: x * x if x > 0 else -x  # noqa: E731
    assert (grad(branch)(3.0), grad(branch)(-3.0)) == (6.0, -1.0)
    assert grad(grad(lambda x: x**3 if x > 0 else x))(2.0) == 12.0
    assert grad(lambda x: [x, x * x, x * x * x][int(x)])(2.0) == 12.0


# Jacobians


def test_jacobians_two_ways_and_the_hessian(rng):
    a, x = rng.normal(size=(2, 3)), rng.normal(size=3)
    f = lambda x: fnp.tanh(a @ x)  # noqa: E731
    want = (1 - np.tanh(a @ x) ** 2)[:, None] * a
    np.testing.assert_allclose(jacfwd(f)(x), want, rtol=8 * EPS)
    np.testing.assert_allclose(jacrev(f)(x), want, rtol=8 * EPS)
    q = lambda x: fnp.sum((a @ x) ** 2)  # noqa: E731
    for second in (hessian(q), jacfwd(jacfwd(q)), jacrev(jacrev(q)), jacrev(jacfwd(q)),
                   jit(hessian(q))):  # fmt: skip
        np.testing.assert_allclose(second(x), 2 * a.T @ a, rtol=16 * EPS, atol=16 * EPS)
    m = rng.normal(size=(3, 2))
    assert jacfwd(lambda m: a @ m)(m).shape == (2, 2, 3, 2) == jacrev(lambda m: a @ m)(m).shape
    assert jacfwd(lambda m: {"s": fnp.sum(m)})(m)["s"].shape == (3, 2)
    assert jacrev(lambda y, x: x * y, argnums=1)(2.0, x).shape == (3, 3)


# vmap


def test_vmap_axes_over_pytrees(rng):
    batch = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(2, 4))}
    shared = rng.normal(size=3)
    f = lambda d, s: {"out": (d["a"] * s, fnp.sum(d["b"]))}  # noqa: E731
    out = vmap(f, in_axes=({"a": 1, "b": -1}, None), out_axes={"out": (1, 0)})(batch, shared)
    np.testing.assert_array_equal(out["out"][0], batch["a"] * shared[:, None])
    np.testing.assert_allclose(out["out"][1], batch["b"].sum(0), rtol=4 * EPS)
    np.testing.assert_array_equal(vmap(lambda x: 1.5)(np.zeros(3)), np.full(3, 1.5))
    assert vmap(lambda x: 1.5, out_axes=None)(np.zeros(3)) == 1.5
    x = rng.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(vmap(vmap(lambda x: x[::-1]))(x), x[:, :, ::-1])
    np.testing.assert_array_equal(vmap(lambda x, *, y: x + y)(x[0], y=x[1]), x[0] + x[1])
    assert vmap(fnp.sin)(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: vmap(fnp.add, in_axes=(0, 0, 0))(np.ones(3), np.ones(3)), OptionError,
         r"in_axes of length 3 for 2 values[\s\S]*length 2"),
        (lambda: vmap(fnp.add)(np.ones((3, 2)), np.ones((4, 2))), ShapeError,
         r"3 in leaf 0 f64\[3,2\] along axis 0; 4 in leaf 1 f64\[4,2\] along axis 0"),
        (lambda: vmap(fnp.sin, in_axes=2)(np.ones((3, 2))), ShapeError,
         r"in_axes 2 for leaf 0, f64\[3,2\]"),
        (lambda: vmap(fnp.sin)(1.0), ShapeError, r"in_axes 0 for leaf 0, ~f64\[\]"),
        (lambda: vmap(fnp.sin, in_axes=None)(np.ones(3)), OptionError, "nothing is batched"),
        (lambda: vmap(fnp.sin, in_axes="0")(np.ones(3)), OptionError, "in_axes '0'"),
        (lambda: vmap(fnp.sin, out_axes=None)(np.ones(3)), OptionError, "out_axes is None"),
        (lambda: vmap(fnp.sin, out_axes=1)(np.ones(3)), OptionError, "out_axes 1 for an output"),
        (lambda: vmap(lambda x: (x, x), out_axes=(0,))(np.ones(3)), OptionError,
         "out_axes of length 1 for 2"),
        (lambda: vmap(lambda x: x if x > 0 else -x)(np.ones(3)), GraphError,
         r"bool: under vmap[\s\S]*a batch of 3[\s\S]*where\(condition"),
    ],
)  # fmt: skip
def test_vmap_refuses(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# jit


def test_jit_traces_once_a_signature():
    traces = []

    @jit
    def f(x, y=2.0):
        traces.append((x.aval, y))
        return x * y

    for x in (np.ones(3), np.zeros(3), np.ones(3, np.float32), np.ones(4), 1.0, np.float64(1)):
        f(x)
    assert len(traces) == 5
    assert f(np.ones(3, np.float32)).dtype == np.float32
    assert f(2.0) == 4.0
    assert type(f(2.0)) is float
    assert len(traces) == 5
    f(np.ones(3), y=np.ones(3))
    assert len(traces) == 6


def test_jit_keeps_weak_types():
    f = lambda s, x: (s * 2.0 + 1) * x  # noqa: E731
    x = np.ones(2, np.float32)
    for g in (f, jit(f), vmap(f, in_axes=(None, 0)), jit(lambda s, x: jit(f)(s, x))):
        assert g(3, x).dtype == np.float32
        assert g(3.0, x).dtype == np.float32
        assert g(np.float64(3), x).dtype == np.float64
    value, g = functional.value_and_grad(lambda s: fnp.sum(f(s, x)))(3.0)
    assert (value, value.dtype, g) == (14, np.float32, 4)


def test_jit_under_other_transforms_and_over_closed_over_tracers():
    f = jit(lambda x: fnp.sin(x) * x)
    want = np.cos(0.5) * 0.5 + np.sin(0.5)
    assert grad(f)(0.5) == pytest.approx(want, rel=4 * EPS)
    assert jit(grad(f))(0.5) == pytest.approx(want, rel=4 * EPS)

    def outer(x):
        inner = jit(lambda y: x * y)
        return inner(2.0) + inner(x)

    assert grad(outer)(3.0) == 8.0
    assert jit(outer)(3.0) == 15.0
    np.testing.assert_array_equal(vmap(outer)(np.array([1.0, 2])), [3, 8])
    cell = []
    reused = jit(lambda y: cell[-1] * y)  # One function object, another tracer each time.
    for x in (1.0, 5.0):
        assert grad(lambda x: (cell.append(x), reused(2.0))[1])(x) == 2.0
    cell.append(4.0)
    assert reused(2.0) == 8.0


def test_jit_refuses_branches_and_says_where():
    @jit
    def f(x):
        y = x * 2  # The line that the message names.
        return y if y > 0 else -y

    line = f.__wrapped__.__code__.co_firstlineno + 3
    with pytest.raises(GraphError) as caught:
        f(np.ones(()))
    text = str(caught.value)
    assert text.startswith("bool: jit(f) traces this function once")
    assert f"bool[] traced by jit(f), made at {__file__}:{line}" in text
    assert "functional.numpy.where" in text
    with pytest.raises(GraphError, match="float: jit"):
        jit(lambda x: fnp.sin(float(x)))(1.0)
    with pytest.raises(GraphError, match="index: jit"):
        jit(lambda x: [1, 2][x])(1)
    with pytest.raises(OptionError, match=r"known while tracing[\s\S]*x.shape"):
        jit(lambda n: fnp.zeros(n))(3)
    with pytest.raises(GraphError, match=r"bool: jit"):  # jit's rule holds under grad too.
        grad(f)(1.0)


def test_side_effects_run_while_tracing_only():
    seen = []
    f = jit(lambda x: (seen.append(1), x)[1])
    f(1.0)
    f(2.0)
    assert seen == [1]


# What NumPy and Python may not do with a tracer


@pytest.mark.parametrize("transform", [grad, jit, lambda f: lambda x: vmap(f)(np.ones(3))])
@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (np.sin, DtypeError, r"NumPy itself cannot compute with a tracer[\s\S]*functional.numpy"),
        (np.asarray, DtypeError, r"made at .*test_transforms.py:\d+"),
        (np.sum, DtypeError, r"numpy.sum: [\s\S]*call functional.numpy.sum instead of numpy.sum"),
        (lambda x: np.linalg.norm(x), DtypeError, "numpy.norm"),
        (
            lambda x: x.__setitem__(0, 1),
            GraphError,
            r"changed in place[\s\S]*at\[index\]",
        ),
        (lambda x: np.float64(x), (GraphError, DtypeError), "float|NumPy itself"),
        (lambda x: {x: 1}, TypeError, "unhashable"),
        (lambda x: x + "a", DtypeError, "a str"),
        (lambda x: x * [1.0], DtypeError, "functional.numpy.array"),
        (len, DtypeError, "a 0-d tracer has no length"),
    ],
)
def test_tracers_refuse(transform, use, kind, message):
    with pytest.raises(kind, match=message):
        transform(use)(1.0)


def test_a_float_would_drop_the_derivative():
    with pytest.raises(GraphError, match=r"silently drop its derivative[\s\S]*stop_gradient"):
        grad(lambda x: x * float(x))(2.0)
    assert grad(lambda x: x * float(functional.stop_gradient(x)))(2.0) == 2.0
    array = np.ones(2)
    with pytest.raises(ValueError) as caught:  # NumPy's own error, for which ours is the cause.
        grad(lambda x: array.__setitem__(0, x))(2.0)
    assert "silently drop its derivative" in str(caught.value.__cause__)
    np.testing.assert_array_equal(array, 1)


@pytest.mark.parametrize("transform", [grad, jit, lambda f: lambda x: vmap(f)(np.ones(3))])
def test_a_leaked_tracer_is_found_out(transform):
    kept = []
    transform(lambda x: (kept.append(x * 2), x)[1])(1.0)
    for use in (lambda t: t + 1, bool, fnp.sin, lambda t: jit(lambda x: x * t)(1.0),
                lambda t: grad(lambda x: x * t)(1.0)):  # fmt: skip
        with pytest.raises(GraphError, match=r"it leaked[\s\S]*made at .*py:\d+[\s\S]*has_aux"):
            use(kept[0])
    assert re.search(r"Tracer<~?f64\[\], level \d>", repr(kept[0]))


def test_an_error_inside_a_function_leaves_no_trace_behind():
    for transform in (grad, jit, lambda f: lambda x: vmap(f)(np.ones(2))):
        with pytest.raises(ZeroDivisionError):
            transform(lambda x: 1 / 0)(1.0)
    assert type(fnp.sin(0.0)) is float


# Size, depth and memory


def test_a_chain_of_ten_thousand_operations():
    def chain(x):
        for _ in range(10_000):
            x = x * 0.9999 + 0.0001
        return x

    want = functools.reduce(lambda g, _: g * 0.9999, range(10_000), 1.0)
    assert grad(chain)(1.0) == pytest.approx(want, rel=1e4 * EPS)
    assert jit(grad(chain))(1.0) == pytest.approx(want, rel=1e4 * EPS)


def test_doubling_is_linear_in_its_length():
    def doubled(y):
        for _ in range(60):
            y = y + y
        return y

    assert grad(doubled)(1.0) == 2.0**60
    assert jit(grad(doubled))(1.0) == 2.0**60


@pytest.mark.parametrize("transform", [grad, jit])
def test_memory_returns_without_the_collector(transform):
    kept = []

    def f(x):
        y = fnp.tanh(x)
        kept.append(weakref.ref(y.primal if hasattr(y, "primal") else y.trace))
        return fnp.sum(y * y)

    gc.collect()
    gc.disable()
    try:
        transform(f)(np.ones(10))
        assert [ref() for ref in kept] == [None]
    finally:
        gc.enable()


def test_jacobians_of_python_numbers():
    assert jacrev(lambda x: x * x)(3.0) == 6.0
    assert jacfwd(lambda x: x * x)(3.0) == 6.0
    assert hessian(lambda x: x**3)(2.0) == 12.0
