"""Every primitive, every rule: against NumPy, against differences, against loops."""

import functools

import numpy as np
import pytest

from workbench import arrays, compiler, functional
from workbench.errors import DtypeError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional.core import NoRule, Primitive
from workbench.functional.lowering import to_program
from workbench.functional.primitives import (
    creation,
    elementwise,
    indexing,
    reduction,
    shape,
    windows,
)
from workbench.gradcheck import check_gradient, numeric_gradient

SEEDED = np.random.default_rng(0)  # Of the cases below; tests draw from their own.
EPS = np.finfo(float).eps


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def normal(*shape):
    return SEEDED.normal(size=shape)


def apart(*shape):
    """No ties, no zeros: for functions with kinks there."""
    n = int(np.prod(shape))
    return (SEEDED.permutation(n).reshape(shape) - n / 2 + 0.3) * 0.4


I1, I2 = np.array([2, 0, 2]), np.array([1, 1, 0])
LABELS = np.array([[0, 2], [1, 1]])
CONDITION = np.array([[True, False, True], [False, True, True]])
INDEX = ((0, 2, 1), (3, None, -2))

# name: (NumPy's own, arguments, params, which arguments are floating)
UNARY = {
    "negative": np.negative, "exp": np.exp, "expm1": np.expm1, "sin": np.sin, "cos": np.cos,
    "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip
CASES = {name: (f, [normal(2, 3)], {}) for name, f in UNARY.items()}
CASES |= {
    name: (getattr(np, name), [SEEDED.uniform(0.3, 2, (2, 3))], {})
    for name in ("log", "log1p", "sqrt")
}
CASES |= {name: (getattr(np, name), [apart(2, 3)], {}) for name in ("absolute", "sign")}
CASES |= {
    name: (getattr(np, name), [apart(2, 3), 1.5 * apart(3) - 0.2], {})
    for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "greater",
                 "greater_equal", "less", "less_equal", "equal", "not_equal")
}  # fmt: skip
CASES |= {
    "power": (np.power, [SEEDED.uniform(0.3, 2, (2, 3)), normal(2, 1)], {}),
    "integer_power": (lambda x, exponent: x**exponent, [apart(2, 3)], {"exponent": 3}),
    "select": (np.where, [CONDITION, normal(2, 3), normal(3)], {}),
    "full_like": (np.full_like, [normal(2, 3)], {"fill_value": 7}),
    "stop_gradient": (np.asarray, [normal(2, 3)], {}),
    "convert_dtype": (np.asarray, [normal(2, 3)], {"dtype": np.dtype(np.float64)}),
    "full": (lambda shape, fill_value, dtype: np.full(shape, fill_value, dtype), [],
             {"shape": (2, 3), "fill_value": 4.0, "dtype": np.dtype(np.float64)}),
    "iota": (lambda size, dtype: np.arange(size, dtype=dtype), [],
             {"size": 4, "dtype": np.dtype(np.int64)}),
    "reshape": (lambda x, shape: x.reshape(shape), [normal(2, 6)], {"shape": (3, 4)}),
    "transpose": (np.transpose, [normal(2, 3, 4)], {"axes": (2, 0, 1)}),
    "broadcast_to": (np.broadcast_to, [normal(3, 1)], {"shape": (2, 3, 4)}),
    "reduce_sum": (lambda x, axes: x.sum(axes), [normal(2, 3, 4)], {"axes": (0, 2)}),
    "reduce_max": (lambda x, axes: x.max(axes), [apart(2, 3, 4)], {"axes": (0, 2)}),
    "argmax": (np.argmax, [apart(2, 3)], {"axis": 1}),
    "matmul": (np.matmul, [normal(2, 3, 4), normal(2, 4, 5)], {}),
    "concatenate": (lambda *xs, axis: np.concatenate(xs, axis), [normal(2, 3), normal(2, 1)],
                    {"axis": 1}),
    "slice": (lambda x, index: x[0:2, 3::-2], [normal(3, 5)], {"index": INDEX}),
    "pad": (None, [normal(2, 2)], {"index": INDEX, "shape": (3, 5)}),
    "gather": (lambda x, i, j: x[i, j], [normal(3, 2, 4), I1, I2], {}),
    "scatter_add": (None, [normal(3, 4), I1, I2], {"shape": (3, 2, 4)}),
    "im2col": (arrays.im2col, [normal(2, 2, 5, 4)],
               {"size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    "col2im": (arrays.col2im, [normal(2, 2, 3, 3, 3, 2)],
               {"shape": (2, 2, 5, 4), "stride": (2, 1), "padding": (1, 0)}),
}  # fmt: skip

PRIMITIVES = {
    value.name: value
    for module in (creation, elementwise, indexing, reduction, shape, windows)
    for value in vars(module).values()
    if isinstance(value, Primitive)
}
ALL = sorted(PRIMITIVES)
SMOOTH = [name for name in ALL if not isinstance(PRIMITIVES[name].jvp, NoRule)]
LINEAR = [name for name in ALL if not isinstance(PRIMITIVES[name].transpose, NoRule)]
BATCHED = [name for name in ALL if not isinstance(PRIMITIVES[name].batch, NoRule)]


def close(a, b, scale=1.0):
    """Equal up to the rounding of a few dozen operations."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape
    size = np.abs(b).max(initial=1.0)
    assert np.abs(a - b).max(initial=0.0) <= 64 * EPS * size * scale


def of_floats(name):
    """The primitive as a function of its floating arguments, and these."""
    primitive, (_, args, params) = PRIMITIVES[name], CASES[name]
    places = [i for i, arg in enumerate(args) if np.asarray(arg).dtype.kind == "f"]

    def f(*some):
        full = list(args)
        for place, value in zip(places, some, strict=True):
            full[place] = value
        return primitive(*full, **params)

    return f, tuple(args[place] for place in places)


def scalar(f, weights):
    return lambda *xs: fnp.sum(f(*xs) * weights)


def test_the_cases_are_all_the_primitives():
    assert sorted(CASES) == ALL
    assert 40 <= len(ALL) <= 48


@pytest.mark.parametrize("name", ALL)
def test_a_missing_rule_has_a_reason(name):
    primitive = PRIMITIVES[name]
    for rule in (primitive.jvp, primitive.batch, primitive.transpose):
        assert callable(rule) or len(rule.reason) > 8


@pytest.mark.parametrize("name", ALL)
def test_value_is_numpys_and_the_abstract_rule_foresees_it(name):
    reference, args, params = CASES[name]
    y = PRIMITIVES[name](*args, **params)
    if reference is not None:
        close(y, reference(*args, **params))
    (outvar,) = functional.make_jaxpr(lambda *xs: PRIMITIVES[name](*xs, **params))(*args).outvars
    assert (outvar.aval.shape, outvar.aval.dtype) == (y.shape, y.dtype)


@pytest.mark.parametrize("target", ["numpy", compiler.best_target()])
@pytest.mark.parametrize("name", ALL)
def test_every_primitive_compiles_to_what_it_computes(name, target):
    _, args, params = CASES[name]
    jaxpr = functional.make_jaxpr(lambda *xs: PRIMITIVES[name](*xs, **params))(*args)
    (y,) = compiler.compile(to_program(jaxpr), target)(*map(np.asarray, args))
    want = np.asarray(PRIMITIVES[name](*args, **params))
    assert y.dtype == want.dtype
    close(y, want)


def test_the_two_primitives_numpy_does_not_have():
    x, out = normal(2, 2), np.zeros((3, 5))
    out[0:2, 3::-2] = x
    np.testing.assert_array_equal(indexing.pad(x, index=INDEX, shape=(3, 5)), out)
    x, out = normal(3, 4), np.zeros((3, 2, 4))
    np.add.at(out, (I1, I2), x)
    np.testing.assert_array_equal(indexing.scatter_add(x, I1, I2, shape=(3, 2, 4)), out)


@pytest.mark.parametrize("name", SMOOTH)
def test_jvp_is_the_numeric_derivative(name, rng):
    f, xs = of_floats(name)
    weights, ts = rng.normal(size=np.shape(f(*xs))), [rng.normal(size=x.shape) for x in xs]
    _, t = functional.jvp(f, xs, ts)
    along = lambda h: float((f(*[x + h * t for x, t in zip(xs, ts, strict=True)]) * weights).sum())  # noqa: E731
    slope = numeric_gradient(lambda h: along(h[0]), np.zeros(1))[0]
    # Central differences keep two thirds of the digits.
    assert abs((t * weights).sum() - slope) < 1e2 * EPS ** (2 / 3) * max(1, abs(slope))


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_first_and_second_order(name, rng):
    f, xs = of_floats(name)
    objective = scalar(f, rng.normal(size=np.shape(f(*xs))))
    first = functional.grad(objective, argnums=tuple(range(len(xs))))
    check_gradient(objective, first, list(xs))

    def product(*both):
        half = len(both) // 2
        gradient = first(*both[:half])
        return sum(fnp.sum(g * v) for g, v in zip(gradient, both[half:], strict=True))

    vs = [rng.normal(size=x.shape) for x in xs]
    second = functional.grad(product, argnums=tuple(range(len(xs))))(*xs, *vs)
    if all((g == 0).all() for g in second):  # Linear, or nearly: then so say differences.
        for g in numeric_gradient(lambda *xs: product(*xs, *vs), list(xs)):
            assert np.abs(g).max() < 1e3 * EPS ** (2 / 3)
    else:
        check_gradient(lambda *xs: product(*xs, *vs), list(second), list(xs))


@pytest.mark.parametrize("name", SMOOTH)
def test_vjp_is_the_transpose_of_jvp(name, rng):
    f, xs = of_floats(name)
    ts = tuple(rng.normal(size=x.shape) for x in xs)
    y, push = functional.linearize(f, *xs)
    g = rng.normal(size=np.shape(y))
    cotangents = functional.vjp(f, *xs)[1](g)
    forward = (g * push(*ts)).sum()
    backward = sum((c * t).sum() for c, t in zip(cotangents, ts, strict=True))
    close(forward, backward, scale=8)
    close(push(*ts), functional.jvp(f, xs, ts)[1])


@pytest.mark.parametrize("name", LINEAR)
def test_transposed_rules_are_themselves_differentiable(name, rng):
    f, xs = of_floats(name)
    shape_out = np.shape(f(*xs))
    pull = lambda g: functional.vjp(f, *xs)[1](g)[0]  # noqa: E731
    g = rng.normal(size=shape_out)
    # A linear map is its own derivative, and its transpose's transpose is itself.
    close(functional.jvp(pull, (g,), (g,))[1], pull(g))
    t = rng.normal(size=xs[0].shape)
    close(
        functional.vjp(pull, g)[1](t)[0], functional.linearize(lambda x: f(x, *xs[1:]), xs[0])[1](t)
    )


@pytest.mark.parametrize("name", BATCHED)
def test_vmap_is_a_loop_for_every_choice_of_mapped_arguments(name):
    _, args, params = CASES[name]
    primitive = PRIMITIVES[name]
    for choice in range(1, 2 ** len(args)):
        mapped = [bool(choice >> i & 1) for i in range(len(args))]
        batch = [
            np.stack([arg, np.roll(arg, 1), arg[::-1]], axis=-1) if mine else arg
            for arg, mine in zip(args, mapped, strict=True)
        ]
        axes = tuple(-1 if mine else None for mine in mapped)
        got = functional.vmap(lambda *xs: primitive(*xs, **params), axes, out_axes=0)(*batch)
        rows = [
            primitive(*[b[..., i] if mine else b for b, mine in zip(batch, mapped, strict=True)],
                      **params)
            for i in range(3)
        ]  # fmt: skip
        close(got, np.stack(rows))


@pytest.mark.parametrize("name", ALL)
def test_jit_changes_nothing(name):
    _, args, params = CASES[name]
    f = lambda *xs: PRIMITIVES[name](*xs, **params)  # noqa: E731
    plain, compiled = f(*args), functional.jit(f)(*args)
    assert compiled.dtype == plain.dtype
    close(compiled, plain)
    assert compiled.flags.writeable
    assert not any(np.shares_memory(compiled, arg) for arg in args)


@pytest.mark.parametrize("name", SMOOTH)
def test_jit_of_vmap_of_grad_is_a_loop_of_grad(name, rng):
    f, xs = of_floats(name)
    objective = scalar(f, rng.normal(size=np.shape(f(*xs))))
    gradient = functional.grad(objective, argnums=tuple(range(len(xs))))
    batch = [np.stack([x, x * 1.1]) for x in xs]
    got = functional.jit(functional.vmap(gradient))(*batch)
    for place, part in enumerate(got):
        close(part, np.stack([gradient(*[b[i] for b in batch])[place] for i in range(2)]), scale=4)


def test_kinks_are_as_documented():
    gradient = lambda f: functional.grad(f)(0.0)  # noqa: E731
    assert gradient(fnp.relu) == 0
    assert gradient(fnp.absolute) == 0
    assert gradient(lambda x: fnp.maximum(x, 0.0)) == 0.5
    assert gradient(lambda x: fnp.minimum(x, x)) == 1
    np.testing.assert_array_equal(functional.grad(fnp.max)(np.array([1.0, 3, 3, 3, 0])),
                                  np.array([0, 1, 1, 1, 0]) / 3)  # fmt: skip
    assert np.isnan(fnp.relu(np.nan))


def test_powers_are_differentiable_at_zero():
    x = np.zeros(3)
    for exponent, order, want in [(2, 3, 0), (2, 2, 2), (3, 3, 6), (0, 1, 0), (1.0, 1, 1)]:
        f = functools.partial(lambda n, x: fnp.sum(fnp.power(x, n)), exponent)
        for _ in range(order):
            f = functools.partial(lambda gradient, x: fnp.sum(gradient(x)), functional.grad(f))
        assert f(x) == 3 * want
    gx, gy = functional.grad(lambda x, y: fnp.sum(x**y), (0, 1))(x, np.array([0.0, 1.0, 2.5]))
    np.testing.assert_array_equal(gx, [0, 1, 0])
    np.testing.assert_array_equal(gy, [0, 0, 0])


def test_sigmoid_neither_overflows_nor_loses_digits():
    x = np.array([-800.0, -50.0, 0.0, 50.0, 800.0])
    np.testing.assert_allclose(fnp.sigmoid(x), [0, np.exp(-50), 0.5, 1, 1], rtol=2 * EPS)


def test_primitives_refuse_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"add: the shapes do not broadcast together\n.*"
                       r"f64\[2,3\], f64\[4\]"):  # fmt: skip
        fnp.add(np.ones((2, 3)), np.ones(4))
    with pytest.raises(ShapeError, match="add: the shapes do not broadcast together"):
        functional.jit(fnp.add)(np.ones((2, 3)), np.ones(4))
    with pytest.raises(DtypeError, match="one dtype"):
        functional.jit(elementwise.add)(np.ones(2), np.ones(2, np.float32))
    with pytest.raises(ShapeError, match="nothing has no maximum"):
        fnp.max(np.ones((0, 3)), axis=0)
    with pytest.raises(DtypeError, match="complex values cannot be differentiated"):
        functional.grad(lambda x: (x * 1j) * 1j)(1.0)
