"""Elementwise functions: NumPy's values and dtypes, every derivative, every transform."""

import inspect
import math

import numpy as np
import pytest
import scipy.special

from workbench import functional
from workbench.errors import DtypeError, GraphError, ShapeError
from workbench.functional import grad, jit, jvp, vmap
from workbench.functional.numpy import bits
from workbench.functional.numpy import elementwise as ew
from workbench.gradcheck import check_gradient

RNG = np.random.default_rng(0)
INSIDE = RNG.uniform(-0.9, 0.9, (2, 3))
POSITIVE = RNG.uniform(0.2, 3, (2, 3))
ANY = RNG.normal(size=(2, 3)) * 2
FAR = 1 + POSITIVE
OTHER = RNG.uniform(0.6, 1.7, 3) * [1, -1, 1]
LOGIC = {"logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"}

SPECIAL = {
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "logit": scipy.special.logit,
    "softplus": lambda x: np.logaddexp(x, 0), "log_sigmoid": lambda x: -np.logaddexp(-x, 0),
    "silu": lambda x: x * scipy.special.expit(x),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "leaky_relu": lambda x: np.where(x > 0, x, x * 0.01),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}  # fmt: skip
UNARY = dict.fromkeys(
    "tan arctan sinh cosh arcsinh exp2 cbrt erf erfc sinc deg2rad rad2deg radians degrees positive "
    "rint floor ceil trunc round isnan isinf isfinite isposinf isneginf signbit nan_to_num "
    "softplus log_sigmoid silu gelu leaky_relu elu reciprocal conj".split(),
    ANY,
)
UNARY |= dict.fromkeys("arcsin arccos arctanh".split(), INSIDE)
UNARY |= {"logit": POSITIVE / 4, "log2": POSITIVE, "log10": POSITIVE, "arccosh": FAR}
BINARY = (
    "arctan2 hypot logaddexp logaddexp2 floor_divide remainder mod fmod copysign heaviside "
    "isclose float_power".split()
)
STEPS = {
    "rint", "floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite", "isposinf", "isneginf",
    "signbit", "floor_divide", "isclose", "heaviside",
}  # fmt: skip
NARROW = "logit arctanh arcsin arccos arccosh reciprocal float_power log2 log10".split()
INTEGERS = sorted({*UNARY, *BINARY} - {*NARROW, *SPECIAL})


def numpys(name):
    return SPECIAL.get(name) or getattr(np, name)


def arguments(name, dtype=float):
    xs = [UNARY[name]] if name in UNARY else [ANY, OTHER]
    xs = [POSITIVE, OTHER] if name == "float_power" else xs
    return [x.astype(dtype) for x in xs]


def same(got, want, ulps=8):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
    else:
        tiny = ulps * np.finfo(want.dtype).eps
        np.testing.assert_allclose(got, want, rtol=tiny, atol=tiny)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_values_and_dtypes_are_numpys_eager_and_compiled(name, dtype):
    f, xs = getattr(ew, name), arguments(name, dtype)
    want = np.asarray(numpys(name)(*xs))
    if name in SPECIAL:
        want = want.astype(dtype)
    same(f(*xs), want)
    same(jit(f)(*xs), want)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_taken_as_numpy_takes_them(name):
    f, xs = getattr(ew, name), [np.array([-7, -2, 0, 3, 8]), np.array([2, -3, 5, -2, 3])]
    xs = xs[: 1 if name in UNARY else 2]
    same(f(*xs), numpys(name)(*xs))
    same(jit(f)(*xs), numpys(name)(*xs))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_vmap_is_a_loop(name):
    f, (x, *rest) = getattr(ew, name), arguments(name)
    same(vmap(f, (1, *[0] * len(rest)))(x, *rest), f(x.T, *[y[:, None] for y in rest]))
    same(vmap(f, (0, *[None] * len(rest)))(x, *rest), f(x, *rest))


@pytest.mark.parametrize("name", [*sorted({*UNARY, *BINARY} - STEPS), "sinc at 0", "gelu by tanh"])
def test_derivatives_of_first_and_second_order(name):
    if name == "sinc at 0":
        f, xs = ew.sinc, [np.array([0.0, 1e-5, -0.2, 0.318, 0.319])]
    elif name == "gelu by tanh":
        f, xs = lambda x: ew.gelu(x, approximate=True), [ANY]
    else:
        f, xs = getattr(ew, name), arguments(name)
    weights = np.random.default_rng(1).normal(size=f(*xs).shape)
    places = tuple(range(len(xs)))
    objective = lambda *xs: (f(*xs) * weights).sum()  # noqa: E731
    first = grad(objective, places)

    def product(*both):
        parts = zip(first(*both[: len(xs)]), both[len(xs) :], strict=True)
        return sum((g * v).sum() for g, v in parts)

    second = grad(product, places)
    vs = [np.random.default_rng(2).normal(size=x.shape) for x in xs]
    if all((h == 0).all() for h in second(*xs, *vs)):  # Piecewise linear: exactly so.
        check_gradient(objective, first, xs)
        assert name in {"deg2rad", "rad2deg", "radians", "degrees", "positive", "conj", "nan_to_num",
                        "leaky_relu", "remainder", "mod", "fmod", "copysign"}  # fmt: skip
    else:
        check_gradient(objective, [first, second], xs, order=2)
    for g, h in zip(first(*xs), jit(first)(*xs), strict=True):
        same(h, g, ulps=64)


@pytest.mark.parametrize("name", sorted(STEPS - {"heaviside"}))
def test_steps_have_the_derivative_zero(name):
    f, xs = getattr(ew, name), arguments(name)
    _, tangent = jvp(lambda *xs: f(*xs) * 1.0, xs, [np.ones_like(x) for x in xs])
    np.testing.assert_array_equal(tangent, np.zeros((2, 3)))


def test_what_is_not_finite():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -1.5])
    for name in "isnan isinf isfinite isposinf isneginf signbit floor rint nan_to_num erf".split():
        for f in (getattr(ew, name), jit(getattr(ew, name))):
            same(f(x), numpys(name)(x))
    np.testing.assert_array_equal(ew.nan_to_num(x, 7.0, 8.0, 9.0)[:3], [7, 8, 9])
    y = x[:, None]
    want = np.isclose(x, y)
    np.testing.assert_array_equal(ew.isclose(x, y), want)
    np.testing.assert_array_equal(
        ew.isclose(x, y, equal_nan=True), np.isclose(x, y, equal_nan=True)
    )
    np.testing.assert_array_equal(ew.hypot(x, y)[1:], np.hypot(x, y)[1:])
    pairs = [
        (np.inf, 1.0, 1, 0),
        (np.inf, np.inf, 1, 1),
        (-np.inf, 2.0, 0, 1),
        (-np.inf, -np.inf, 0, 0),
    ]
    for a, b, da, db in pairs:
        assert ew.logaddexp(a, b) == np.logaddexp(a, b)
        assert grad(ew.logaddexp, (0, 1))(a, b) == (da, db)


def test_no_digits_are_lost_at_the_edges():
    same(ew.hypot(np.array([3e200, 3e-200]), np.array([4e200, 4e-200])), np.array([5e200, 5e-200]))
    same(grad(ew.arctan2, 1)(np.float64(3e200), 4e200) * 1e200, -0.12)
    same(grad(ew.arccosh)(np.float64(1e200)) * 1e200, 1.0)
    x = np.array([-1e-20, -9.5, 9.5, -0.0, 4.0])
    y = np.array([1.0, 3.0, -3.0, 2.0, 2.0])
    for f in (ew.fmod, jit(ew.fmod)):
        np.testing.assert_array_equal(f(x, y), np.fmod(x, y))
        np.testing.assert_array_equal(np.signbit(f(x, y)), np.signbit(np.fmod(x, y)))
    tens = 10.0 ** np.arange(-10, 15)
    np.testing.assert_array_equal(jit(ew.log10)(tens), np.arange(-10, 15))
    np.testing.assert_array_equal(jit(ew.log2)(2.0 ** np.arange(-60, 60)), np.arange(-60, 60))
    np.testing.assert_array_equal(jit(ew.cbrt)(np.array([-27.0, 0, 8, np.inf])), [-3, 0, 2, np.inf])
    np.testing.assert_allclose(ew.gelu(-20.0), -20 * scipy.special.ndtr(-20.0), rtol=1e-13)
    assert ew.log_sigmoid(-800.0) == -800
    assert ew.softplus(800.0) == 800
    assert ew.elu(-800.0) == -1
    assert ew.silu(-800.0) == 0


def test_kinks_are_as_documented():
    assert grad(ew.hypot, (0, 1))(0.0, 0.0) == (0, 0)
    assert grad(ew.arctan2, (0, 1))(0.0, 0.0) == (0, 0)
    assert grad(ew.leaky_relu)(0.0) == 0.01
    assert grad(ew.elu)(0.0) == 1
    assert grad(ew.softplus)(np.inf) == 1
    assert grad(ew.sinc)(0.0) == 0
    same(grad(grad(ew.sinc))(0.0), -(math.pi**2) / 3)
    assert grad(lambda x: ew.remainder(x, 3.0))(7.5) == 1
    assert grad(lambda y: ew.remainder(7.5, y))(3.0) == -2
    assert grad(lambda y: ew.fmod(-7.5, y))(3.0) == 2


def test_rounding_to_decimals():
    x = np.array([1.25, 2.345, -1234.5678, 0.5, 1.5])
    for decimals in (0, 1, 2, -2):
        same(ew.round(x, decimals), np.round(x, decimals))
    same(ew.round(np.array([1, 2]), 1), np.round(np.array([1, 2]), 1))
    np.testing.assert_array_equal(ew.modf(x), np.modf(x))
    np.testing.assert_array_equal(ew.divmod(x, 0.7), np.divmod(x, 0.7))
    same(ew.floor_divide(np.array([True]), np.array([True])), np.floor_divide([True], [True]))
    assert (ew.floor(2), ew.floor(-2.5), ew.remainder(-7, 3), ew.true_divide(1, 2)) == (
        2,
        -3,
        2,
        0.5,
    )


BITS = [np.uint8, np.int32, np.uint32, np.int64, np.uint64, bool]


@pytest.mark.parametrize("dtype", BITS)
def test_bits_and_logic_are_numpys(dtype):
    info = np.iinfo(np.uint8 if dtype is bool else dtype)
    x = np.random.default_rng(3).integers(info.min, info.max, 6, info.dtype, True).astype(dtype)
    x[0] = 0
    y = x[::-1].copy()
    for name in sorted(LOGIC):
        f = getattr(bits, name)
        for got in (f(x, y), jit(f)(x, y), vmap(f)(x, y), vmap(f, (0, None))(x, y[0])[:0]):
            want = getattr(np, name)(x, y)
            np.testing.assert_array_equal(got, want[: len(got)])
            assert got.dtype == want.dtype
    for name in ("invert", "logical_not"):
        for f in (getattr(bits, name), jit(getattr(bits, name))):
            same(f(x), getattr(np, name)(x))
    if dtype is not bool:
        n = np.array([0, 1, 3, info.bits - 1, info.bits, 200 % info.bits], dtype)
        for name in ("left_shift", "right_shift"):
            for f in (getattr(bits, name), jit(getattr(bits, name)), vmap(getattr(bits, name))):
                same(f(x, n), getattr(np, name)(x, n))


def test_logic_of_numbers_and_of_python_scalars():
    x = np.array([0.0, -0.0, 2.0, np.nan])
    same(bits.logical_and(x, x), np.logical_and(x, x))
    same(bits.logical_not(x), np.logical_not(x))
    assert bits.logical_xor(True, 2) is False
    assert bits.bitwise_or(5, 2) == 7
    with pytest.raises(DtypeError, match=r"invert: there is no such operation on this dtype\n"
                       r".*f64\[2\]\n.*bool or integers or unsigned integers"):  # fmt: skip
        bits.invert(np.ones(2))
    with pytest.raises(DtypeError, match="left_shift: there is no such operation"):
        jit(bits.left_shift)(np.ones(2), np.ones(2))


def test_operators_and_methods_of_tracers():
    i, x = np.array([5, -7, 12]), np.array([0.5, -1.25, 3.5])
    for f in (
        lambda i, x: i // 2 + 7 // i + i % 3 + 100 % i,
        lambda i, x: (i & 6) | (i ^ 3) | (1 & i) | (2 ^ i) | (~i << 2) | (i >> 1) | (1 << (i & 3)),
        lambda i, x: divmod(x, 2)[0] + divmod(x, 2)[1] + divmod(3, x)[1],
        lambda i, x: x.std(ddof=1) + x.prod() + x.cumsum() + x.cumprod() + x.argsort() + x.sort(),
        lambda i, x: x.round(1) + x.clip(-1, 1) + x.conj() + x.dot(x) + x.dot(2.0) + x.ptp(),
        lambda i, x: (x > 0).any() * 2 + (x > 0).all() + ((x > 0) & (i > 0)) + ~(x > 0),
    ):
        plain = jit(f)(i, x)
        np.testing.assert_array_equal(plain, vmap(f, (None, 0))(i, x[None])[0])
    want = x.std(ddof=1) + x.prod() + x.cumsum() + x.cumprod() + x.argsort() + np.sort(x)
    got = jit(
        lambda x: x.std(ddof=1) + x.prod() + x.cumsum() + x.cumprod() + x.argsort() + x.sort()
    )
    same(got(x), want)
    same(jit(lambda i: ~i // 2 % 5 | 1)(i), ~i // 2 % 5 | 1)
    same(jit(lambda i: i + (i > 0))(i), i + (i > 0))
    same(jit(lambda x: round(x, 1))(x), x.round(1))
    same(jit(lambda x: i[:, None] & x)(i), i[:, None] & i)  # NumPy leaves it to the tracer.
    with pytest.raises(GraphError, match="silently drop its derivative"):
        grad(lambda x: x.item())(2.0)
    with pytest.raises(GraphError):
        jit(lambda x: x.item())(2.0)


def test_refusals():
    with pytest.raises(ShapeError, match="hypot: the shapes do not broadcast together"):
        ew.hypot(np.ones(2), np.ones(3))
    with pytest.raises(DtypeError, match="erfc"):
        ew.erfc(np.array([1j]))
    with pytest.raises(DtypeError, match="arctan: this is not an array of numbers"):
        ew.arctan("1")


def test_every_function_is_listed_and_documented():
    for module in (ew, bits):
        public = {
            name for name, f in vars(module).items()
            if inspect.isfunction(f) and f.__module__ in (ew.__name__, bits.__name__)
            and not name.startswith("_") and name not in ("unary", "binary", "document")
        }  # fmt: skip
        assert public == set(module.__all__)
        assert all(getattr(module, name).__doc__ for name in public)
    assert functional.numpy.where is ew.where


def test_complex_numbers_have_a_modulus_and_a_conjugate():
    z = np.array([3 + 4j, -1j])
    np.testing.assert_array_equal(ew.conj(z), z.conj())
    np.testing.assert_allclose(ew.absolute(z), [5, 1])
    # |x + i x|^2 = 2 x^2, by way of complex numbers.
    assert grad(lambda x: ew.absolute(x * (1 + 1j)) ** 2)(np.float64(3.0)) == pytest.approx(12)
