"""functional.random: the numbers, the same under every transform; tests/peers has JAX's."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.special

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional import grad, jit, jvp, make_jaxpr, random, vmap
from workbench.functional.random.rounding import fma
from workbench.functional.random.threefry import threefry2x32
from workbench.gradcheck import check_gradient

KEY = random.key(20)
KEYS = random.split(KEY, 5)

# Printed by JAX 0.10 for jax.random.key(0), 64-bit types enabled.
FOLDED = [2716826189, 292468403]
NORMAL_32 = [1.6226422, 2.0252647, -0.43359444]
NORMAL = [-0.2058421394796434, -0.7847657764467411, 1.8160866726679836]
PERMUTED = [0, 1, 8, 5, 6, 4, 3, 2, 7, 9]


def word(x):
    return np.array(x, np.uint32)


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(key, counter, answer):
    operands = [word(x) for x in key + counter]
    assert tuple(threefry2x32(*operands)) == answer
    assert tuple(jit(threefry2x32)(*operands)) == answer
    many = threefry2x32(*operands[:3], np.full(20_000, operands[3]))  # More than one block.
    assert (many[0] == answer[0]).all()
    assert (many[1] == answer[1]).all()


def test_streams_that_jax_prints():
    key = random.key(0)
    np.testing.assert_array_equal(
        random.split(key), [[1797259609, 2579123966], [928981903, 3453687069]]
    )
    np.testing.assert_array_equal(random.fold_in(key, 7), FOLDED)
    np.testing.assert_array_equal(random.normal(key, 3, np.float32), np.float32(NORMAL_32))
    np.testing.assert_array_equal(random.normal(key, 3), NORMAL)
    np.testing.assert_array_equal(random.permutation(key, 10), PERMUTED)


DRAWS = {
    "bits": lambda key: random.bits(key, 7, np.uint64),
    "split": lambda key: random.split(key, (2, 3)),
    "fold_in": lambda key: random.fold_in(key, 3),
    "uniform": lambda key: random.uniform(key, (3, 2)),
    "uniform32": lambda key: random.uniform(key, (), np.float32, -1.5, 0.7),
    "normal32": lambda key: random.normal(key, 9, np.float32),
    "randint": lambda key: random.randint(key, 9, -5, 1000),
    "randint32": lambda key: random.randint(key, 9, np.array(2), np.arange(3, 12), np.int32),
    "randint8": lambda key: random.randint(key, 99, 0, 256, np.uint8),
    "every int": lambda key: random.randint(key, 9, -(2**63), 2**63),
    "permutation": lambda key: random.permutation(key, 30),
    "rows": lambda key: random.permutation(key, np.arange(12).reshape(3, 4), axis=1),
    "each row": lambda key: random.permutation(key, np.arange(12).reshape(3, 4), 1, True),
    "choice": lambda key: random.choice(key, 10, (2, 3)),
    "sample": lambda key: random.choice(key, np.arange(10.0) * 2, 4, replace=False),
    "bernoulli": lambda key: random.bernoulli(key, 0.3, 40),
    "rademacher": lambda key: random.rademacher(key, 40, np.float32),
}
NEARLY = {  # The compiler's logarithms differ from NumPy's in the last bits.
    "normal": lambda key: random.normal(key, (3, 4)),
    "truncated": lambda key: random.truncated_normal(key, -1.0, np.array([0.5, 3.0])),
    "weighted": lambda key: random.choice(key, 4, 6, p=np.array([0.1, 0.2, 0.3, 0.4])),
    "weighted sample": lambda key: random.choice(key, 4, 3, False, np.array([0.1, 0.2, 0.3, 0.4])),
    "categorical": lambda key: random.categorical(key, np.arange(6.0).reshape(2, 3), shape=(4, 2)),
    "exponential": lambda key: random.exponential(key, 5),
    "gumbel": lambda key: random.gumbel(key, 5),
    "laplace": lambda key: random.laplace(key, 5, np.float32),
    "logistic": lambda key: random.logistic(key, 5),
    "cauchy": lambda key: random.cauchy(key, 5),
}


@pytest.mark.parametrize("name", [*DRAWS, *NEARLY])
def test_a_batch_of_keys_draws_what_a_loop_does(name):
    draw = {**DRAWS, **NEARLY}[name]
    loop = np.stack([draw(key) for key in KEYS])
    batch = vmap(draw)(KEYS)
    assert batch.dtype == loop.dtype
    np.testing.assert_array_equal(batch, loop)


@pytest.mark.parametrize("name", DRAWS)
def test_jit_draws_the_same_bits(name):
    np.testing.assert_array_equal(jit(DRAWS[name])(KEY), DRAWS[name](KEY))
    np.testing.assert_array_equal(jit(vmap(DRAWS[name]))(KEYS), vmap(DRAWS[name])(KEYS))


@pytest.mark.parametrize("name", NEARLY)
def test_jit_draws_the_same_numbers(name):
    eager = NEARLY[name](KEY)
    eps = np.finfo(eager.dtype).eps if eager.dtype.kind == "f" else 0
    np.testing.assert_allclose(jit(NEARLY[name])(KEY), eager, rtol=8 * eps, atol=8 * eps)


def test_keys_of_traced_seeds_and_steps():
    np.testing.assert_array_equal(jit(random.key)(np.int64(-3)), random.key(-3))
    np.testing.assert_array_equal(random.key(np.uint32(7)), random.key(7))
    np.testing.assert_array_equal(random.key(2**40 + 1), [256, 1])
    np.testing.assert_array_equal(random.PRNGKey(2**64 - 1), random.key(-1))
    steps = np.arange(4)
    folded = np.stack([random.fold_in(KEY, int(step)) for step in steps])
    np.testing.assert_array_equal(vmap(random.fold_in, (None, 0))(KEY, steps), folded)
    np.testing.assert_array_equal(jit(random.fold_in)(KEY, 3), folded[3])
    np.testing.assert_array_equal(folded, KEYS[:4])  # In JAX too.
    assert len({tuple(key) for key in [*KEYS, KEY]}) == 6


def test_the_key_is_an_argument_in_the_jaxpr():
    text = str(make_jaxpr(lambda key: random.bits(key, 3))(KEY))
    assert "a:u32[2]" in text
    assert "= threefry2x32 " in text


MOMENTS = {  # name: mean and variance
    "uniform": (0.5, 1 / 12),
    "normal": (0, 1),
    "exponential": (1, 1),
    "gumbel": (np.euler_gamma, np.pi**2 / 6),
    "laplace": (0, 2),
    "logistic": (0, np.pi**2 / 3),
    "rademacher": (0, 1),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    n, (mean, variance) = 200_000, MOMENTS[name]
    x = getattr(random, name)(random.key(1), n)
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / n)
    fourth = np.mean((x - x.mean()) ** 4)
    assert abs(x.var() - variance) < 4 * np.sqrt((fourth - variance**2) / n)


def test_ranges():
    x = random.uniform(KEY, 100_000, np.float32, 2.0, 2.5)
    assert x.dtype == np.float32
    assert 2 <= x.min() < 2.001
    assert 2.499 < x.max() < 2.5
    x = random.truncated_normal(KEY, -0.5, 3.0, 100_000)
    assert -0.5 < x.min() < -0.499
    assert 2.5 < x.max() < 3
    x = random.randint(KEY, 10_000, 3, 7)
    np.testing.assert_array_equal(np.unique(x), [3, 4, 5, 6])
    np.testing.assert_array_equal(random.randint(KEY, 3, 5, 2), [5, 5, 5])
    assert np.median(np.abs(random.cauchy(KEY, 100_000))) == pytest.approx(1, abs=0.02)
    assert random.normal(KEY, 10).dtype == np.float64  # As functional.numpy has it.
    assert random.normal(KEY, (0, 3)).shape == (0, 3)


def test_choices():
    np.testing.assert_array_equal(np.sort(random.permutation(KEY, 1000)), np.arange(1000))
    x = np.arange(12).reshape(3, 4)
    y = random.permutation(KEY, x, axis=1)
    np.testing.assert_array_equal(y - y[0], x - x[0])  # One order for all rows.
    z = random.permutation(KEY, x, axis=1, independent=True)
    np.testing.assert_array_equal(np.sort(z, axis=1), x)
    assert len(set(random.choice(KEY, 9, 9, replace=False).tolist())) == 9
    assert random.choice(KEY, x, (2, 5), axis=1).shape == (3, 2, 5)
    never = random.choice(KEY, 3, 1000, p=np.array([0.5, 0.0, 0.5]))
    np.testing.assert_array_equal(np.unique(never), [0, 2])
    logits = np.log(np.array([0.2, 0.5, 0.3]))
    shares = np.bincount(random.categorical(KEY, logits, shape=100_000)) / 100_000
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=4 * 0.5 / np.sqrt(100_000))


def test_gradients_pass_to_parameters():
    u = random.uniform(KEY, 6)

    def total(low, high):
        return random.uniform(KEY, 6, np.float64, low, high).sum()

    assert jvp(total, (0.5, 2.0), (1.0, 0.0))[1] == pytest.approx((1 - u).sum(), rel=1e-14)
    assert grad(total, 1)(0.5, 2.0) == pytest.approx(u.sum(), rel=1e-14)


def test_fma_rounds_once():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    c = -a * b * (1 + rng.normal(size=300) * 10.0 ** -rng.integers(0, 17, 300))
    exact = [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a, b, c, strict=True)]
    once = np.array([float(x) for x in exact])
    np.testing.assert_array_equal(fma(a, b, c), once)
    np.testing.assert_array_equal(jit(fma)(a, b, c), once)
    assert (a * b + c != once).any()
    assert fma(np.array(1e305), np.array(2.0), np.array(1.0)) == 2e305
    a, b, c = (x.astype(np.float32) for x in (a, b, c))
    once = (a.astype(float) * b + c).astype(np.float32)
    np.testing.assert_array_equal(fma(a, b, c), once)
    inputs = [np.array([0.5, -2.0]), np.array([3.0, 0.7]), np.array([1.0, -1.5])]

    def f(a, b, c):
        return (fma(a, b, c) * fma(b, a, 1.0 * c)).sum()

    check_gradient(f, list(grad(f, (0, 1, 2))(*inputs)), inputs)


@pytest.mark.parametrize(("dtype", "errors"), [(np.float64, 6), (np.float32, 1)])
def test_erf_inv(dtype, errors):
    tails = 1 - np.logspace(-15 if dtype is np.float64 else -6, -0.1, 1000).astype(dtype)
    x = np.concatenate([tails, -tails, np.linspace(-0.9, 0.9, 501, dtype=dtype)])
    y = random.erf_inv(x)
    assert y.dtype == dtype
    exact = scipy.special.erfinv(x.astype(float))
    slope = np.sqrt(np.pi) / 2 * np.exp(exact**2)  # What an error of 1 in x makes of y.
    assert (np.abs(y - exact) < errors * np.finfo(dtype).eps * (np.abs(exact) + slope)).all()
    np.testing.assert_array_max_ulp(jit(random.erf_inv)(x), y, 4)
    edges = np.array([-1, 1, 0, 1.5, np.nan], dtype)
    np.testing.assert_array_equal(random.erf_inv(edges), [-np.inf, np.inf, 0, np.nan, np.nan])


def test_erf_inv_has_derivatives():
    x = np.array([-0.95, -0.3, 0.0, 0.6, 0.9])
    check_gradient(lambda x: random.erf_inv(x).sum(), grad(lambda x: random.erf_inv(x).sum())(x), x)
    twice = vmap(grad(grad(random.erf_inv)))(x)
    y = scipy.special.erfinv(x)
    np.testing.assert_allclose(twice, np.pi / 2 * y * np.exp(2 * y**2), rtol=1e-12, atol=1e-15)


REFUSALS = {
    "float seed": (lambda: random.key(1.5), DtypeError, "random.key: a seed is an integer"),
    "bool seed": (lambda: random.key(True), DtypeError, "a seed is an integer"),
    "large seed": (lambda: random.key(2**64), OptionError, "does not fit into 64 bits"),
    "seeds": (lambda: random.key(np.arange(3)), ShapeError, r"vmap\(random.key\)"),
    "seed for key": (lambda: random.normal(0, 3), DtypeError, r"random.key\(0\) makes a key of it"),
    "dtype of key": (lambda: random.normal(np.zeros(2)), DtypeError, "made of uint32"),
    "length of key": (lambda: random.split(np.zeros(3, np.uint32)), ShapeError, "random.split: a key has"),
    "keys": (lambda: random.uniform(KEYS, 3), ShapeError, "vmap the function over them"),
    "negative num": (lambda: random.split(KEY, -1), OptionError, "random.split: there is no array"),
    "float num": (lambda: random.split(KEY, 2.0), OptionError, "random.split: a shape is made of ints"),
    "shape": (lambda: random.normal(KEY, (2, 1.5)), OptionError, "random.normal: a shape is made"),
    "huge": (lambda: random.bits(KEY, 2**33), OptionError, "at most 2\\*\\*32"),
    "float data": (lambda: random.fold_in(KEY, 1.0), DtypeError, "data is one integer"),
    "signed bits": (lambda: random.bits(KEY, 2, int), DtypeError, "unsigned integers"),
    "int uniform": (lambda: random.uniform(KEY, 2, int), DtypeError, "float32 or float64"),
    "half": (lambda: random.normal(KEY, 2, np.float16), DtypeError, "random.normal: random numbers"),
    "bound": (lambda: random.uniform(KEY, 2, minval=np.zeros(3)), ShapeError, "minval does not broadcast"),
    "float bound": (lambda: random.randint(KEY, 2, 0, 2.5), DtypeError, "the bounds are integers"),
    "float randint": (lambda: random.randint(KEY, 2, 0, 2, float), DtypeError, "integer dtype"),
    "p": (lambda: random.bernoulli(KEY, np.ones(3) / 2, 2), ShapeError, "p does not broadcast"),
    "traced bounds": (
        lambda: jit(lambda low: random.truncated_normal(KEY, low, 1.0))(0.5),
        OptionError, "random.uniform takes traced bounds",
    ),
    "population": (lambda: random.permutation(KEY, 2.5), DtypeError, "nothing to choose from"),
    "axis": (lambda: random.permutation(KEY, np.zeros((2, 3)), 2), ShapeError, "no such axis"),
    "too few": (lambda: random.choice(KEY, 3, 4, replace=False), OptionError, "4 of 3"),
    "probabilities": (lambda: random.choice(KEY, 3, 4, p=np.ones(2)), ShapeError, r"shape \(3,\)"),
    "logits": (lambda: random.categorical(KEY, np.ones((2, 3)), shape=4), ShapeError, r"ends in \(2,\)"),
    "erf_inv": (lambda: random.erf_inv(np.arange(2)), DtypeError, "erf_inv: there is no such operation"),
    "words": (lambda: threefry2x32(*[np.zeros(1)] * 4), DtypeError, "words of 32 bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    call, kind, text = REFUSALS[name]
    with pytest.raises(kind, match=text):
        call()
