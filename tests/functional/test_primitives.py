"""Every primitive, every rule: against NumPy, against differences, against loops."""

import functools

import numpy as np
import pytest
from primitive_cases import CASES, PRIMITIVES, Draw, on_floats, point

from workbench import compiler, functional
from workbench.errors import DtypeError, GraphError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional.core import NoRule, Primitive
from workbench.functional.lowering import compiles, to_program
from workbench.functional.primitives import elementwise
from workbench.gradcheck import check_gradient, numeric_gradient

EPS = np.finfo(float).eps
ALL = sorted(PRIMITIVES)
BATCHED = [name for name in ALL if not isinstance(PRIMITIVES[name].batch, NoRule)]
# Those with derivatives that are not known to be zero; while_loop and custom_vjp do not have both
# modes, which test_grid.py shows.
SMOOTH = [
    name for name in ALL
    if not isinstance(PRIMITIVES[name].jvp, NoRule) and name not in ("while", "custom_vjp")
]  # fmt: skip
RULES = ("jvp", "batch", "transpose", "lower")


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def drawn(name, least=6):
    """Return a case with so many elements, or the largest of many."""
    cases = [CASES[name](Draw(f"{name} {number}")) for number in range(12)]
    sizes = [sum(np.size(x) for x in case.args) for case in cases]
    enough = [i for i, size in enumerate(sizes) if least <= size <= 24]
    return cases[enough[0] if enough else int(np.argmax(sizes))]


def leaves(ys):
    return [np.asarray(y) for y in functional.tree_leaves(ys)]


def close(found, wanted, scale=1.0):
    """Equal up to the rounding of a few dozen operations."""
    for a, b in zip(leaves(found), leaves(wanted), strict=True):
        assert a.shape == b.shape
        size = np.abs(np.nan_to_num(b)).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * EPS * float(size) * scale)


def of_floats(name):
    """Return the primitive as a function of floats, one array of results, and its arguments."""
    case = drawn(name)
    f = on_floats(case)
    return lambda *xs: fnp.concatenate([fnp.ravel(y) for y in f(*xs)]), tuple(point(case))


def scalar(f, weights):
    return lambda *xs: fnp.sum(f(*xs) * weights)


# --- counted -------------------------------------------------------------------------------


def test_every_primitive_has_a_case():
    assert sorted(CASES) == ALL
    assert len(ALL) >= 130


@pytest.mark.parametrize("name", ALL)
def test_a_missing_rule_has_a_reason(name):
    for rule in RULES:
        stated = getattr(PRIMITIVES[name], rule)
        assert callable(stated) or len(stated.reason.split()) >= 3
    assert callable(PRIMITIVES[name].impl)
    assert callable(PRIMITIVES[name].abstract)


@pytest.mark.parametrize("name", ALL)
def test_the_case_applies_the_primitive(name, monkeypatch):
    called, plain = set(), Primitive.__call__

    def spy(self, *args, **params):
        called.add(self.name)
        return plain(self, *args, **params)

    case = drawn(name)
    monkeypatch.setattr(Primitive, "__call__", spy)
    functional.make_jaxpr(case.f)(*case.args)
    assert name in called


def test_what_has_no_rule_says_so():
    x = np.ones(2)
    with pytest.raises(GraphError, match="a while loop keeps no record of its steps"):
        functional.grad(
            lambda x: fnp.sum(functional.while_loop(lambda y: y[0] < 9, lambda y: y * x, x + 1))
        )(x + 1)


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_value_is_numpys_and_the_abstract_rule_foresees_it(name):
    for number in range(4):
        case = CASES[name](Draw(f"{name} {number}"))
        ys = case.f(*case.args)
        close(ys, case.reference(*case.args), scale=8)
        jaxpr = functional.make_jaxpr(case.f)(*case.args)
        for atom, y in zip(jaxpr.outvars, leaves(ys), strict=True):
            assert (atom.aval.shape, atom.aval.dtype) == (y.shape, y.dtype)


@pytest.mark.parametrize("target", ["numpy", compiler.best_target()])
@pytest.mark.parametrize("name", ALL)
def test_every_primitive_compiles_to_what_it_computes(name, target):
    case = drawn(name)
    jaxpr = functional.make_jaxpr(case.f)(*case.args)
    without = {eqn.primitive.name for eqn in jaxpr.eqns
               if isinstance(eqn.primitive.lower, NoRule)}  # fmt: skip
    if not compiles(jaxpr):
        assert without, "a jaxpr that is not compiled holds a primitive that says why"
        return
    found = compiler.compile(to_program(jaxpr), target)(*jaxpr.consts, *map(np.asarray, case.args))
    wanted = leaves(case.f(*case.args))
    assert [y.dtype for y in found] == [y.dtype for y in wanted]
    close(found, wanted, scale=8)


@pytest.mark.parametrize("name", ALL)
def test_jit_changes_nothing(name):
    case = drawn(name)
    plain, compiled = leaves(case.f(*case.args)), leaves(functional.jit(case.f)(*case.args))
    assert [y.dtype for y in compiled] == [y.dtype for y in plain]
    close(compiled, plain, scale=8)
    for y in compiled:
        assert y.flags.writeable
        assert not any(np.shares_memory(y, x) for x in case.args)


# --- derivatives ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_first_and_second_order(name, rng):
    f, xs = of_floats(name)
    objective = scalar(f, rng.normal(size=np.shape(f(*xs))))
    first = functional.grad(objective, argnums=tuple(range(len(xs))))
    vs = [rng.normal(size=x.shape) for x in xs]

    def product(*xs):
        return sum(fnp.sum(g * v) for g, v in zip(first(*xs), vs, strict=True))

    check(objective, first(*xs), xs)
    check(product, functional.grad(product, argnums=tuple(range(len(xs))))(*xs), xs)


def check(f, gradients, xs):
    """Check gradients; those that are zero throughout prove nothing to check_gradient."""
    if any(np.any(g != 0) for g in gradients):
        check_gradient(f, list(gradients), list(xs))
        return
    for g in numeric_gradient(f, list(xs)):
        assert np.abs(g).max(initial=0) < 1e3 * EPS ** (2 / 3)


@pytest.mark.parametrize("name", SMOOTH)
def test_vjp_is_the_transpose_of_jvp(name, rng):
    f, xs = of_floats(name)
    ts = tuple(rng.normal(size=x.shape) for x in xs)
    y, push = functional.linearize(f, *xs)
    value, tangent = functional.jvp(f, xs, ts)
    g = rng.normal(size=np.shape(y))
    cotangents = functional.vjp(f, *xs)[1](g)
    forward = (g * push(*ts)).sum()
    backward = sum((c * t).sum() for c, t in zip(cotangents, ts, strict=True))
    close(forward, backward, scale=64)
    close([y, value, tangent], [f(*xs), f(*xs), push(*ts)], scale=64)


def test_stop_gradient_is_constant_under_every_transform():
    f = lambda x: x * functional.stop_gradient(x)  # noqa: E731
    x = np.array([1.0, -2.0])
    for wrap in (lambda f: f, functional.jit, functional.vmap):
        close(functional.jvp(wrap(f), (x,), (x,)), [x * x, x * x])
        close(functional.vjp(wrap(f), x)[1](x), [x * x])


# --- batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BATCHED)
def test_vmap_is_a_loop_for_every_choice_of_mapped_arguments(name):
    examples = [CASES[name](Draw(f"{name} 0", number)) for number in range(3)]
    f, args = examples[0].f, examples[0].args
    for choice in range(1, 2 ** len(args)):
        mapped = [bool(choice >> i & 1) for i in range(len(args))]
        rows = [[x if mine else y for x, y, mine in zip(case.args, args, mapped, strict=True)]
                for case in examples]  # fmt: skip
        batch = [np.stack(xs, -1) if mine else xs[0]
                 for xs, mine in zip(zip(*rows, strict=True), mapped, strict=True)]  # fmt: skip
        axes = tuple(-1 if mine else None for mine in mapped)
        found = leaves(functional.vmap(f, axes, out_axes=0)(*batch))
        wanted = zip(*[leaves(f(*row)) for row in rows], strict=True)
        close(found, [np.stack(ys) for ys in wanted], scale=8)


# --- in particular -------------------------------------------------------------------------


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
