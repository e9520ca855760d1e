"""Era 4's random numbers against JAX's: the same keys, the same bits.

JAX's 64-bit types are enabled, because float64 and int64 are the default here.
"""

import jax
import numpy as np
import pytest
from jax import random as theirs

from workbench.functional import jit, vmap
from workbench.functional import random as ours

pytestmark = pytest.mark.peers

jax.config.update("jax_enable_x64", True)

FLOATS = [np.float32, np.float64]
SEEDS = [0, 42, -1, 2**31 - 1, 2**40 + 7]
MANY = 100_001


def equal(mine, reference):
    reference = np.asarray(reference)
    assert mine.dtype == reference.dtype
    np.testing.assert_array_equal(mine, reference)


@pytest.mark.parametrize("seed", SEEDS)
def test_keys(seed):
    key = ours.key(seed)
    equal(key, theirs.PRNGKey(seed))
    equal(key, theirs.key_data(theirs.key(seed)))
    equal(ours.split(key, 7), theirs.split(key, 7))
    equal(ours.split(key, (2, 3)), theirs.split(key, (2, 3)))
    for data in (0, 5, 2**32 - 1):
        equal(ours.fold_in(key, data), theirs.fold_in(key, data))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_bits(dtype):
    key = ours.key(1)
    for shape in ((), (7,), (3, 5), (0, 2)):
        equal(ours.bits(key, shape, dtype), theirs.bits(key, shape, dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_and_normal_in_every_bit(seed, dtype):
    key = ours.key(seed)
    equal(ours.uniform(key, MANY, dtype), theirs.uniform(key, (MANY,), dtype))
    bounds = {"minval": dtype(-0.3), "maxval": dtype(1.9)}
    equal(ours.uniform(key, MANY, dtype, **bounds), theirs.uniform(key, (MANY,), dtype, **bounds))
    equal(ours.normal(key, (3, MANY), dtype), theirs.normal(key, (3, MANY), dtype))
    equal(ours.normal(key, (), dtype), theirs.normal(key, (), dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_erf_inv_in_every_bit(dtype):
    tails = 1 - np.logspace(-16 if dtype is np.float64 else -7, -0.1, 5000).astype(dtype)
    x = np.concatenate([tails, -tails, np.linspace(-1, 1, 4001, dtype=dtype),
                        np.array([0, 1.5, -2, np.nan, np.inf, 1e-30], dtype)])  # fmt: skip
    equal(ours.erf_inv(x), jax.lax.erf_inv(x))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_bits_under_vmap_and_jit(dtype):
    keys = ours.split(ours.key(5), 6)
    reference = jax.vmap(lambda key: theirs.uniform(key, (9,), dtype))(keys)
    equal(jit(vmap(lambda key: ours.uniform(key, 9, dtype)))(keys), reference)
    reference = jax.vmap(lambda key: theirs.normal(key, (9,), dtype))(keys)
    equal(vmap(lambda key: ours.normal(key, 9, dtype))(keys), reference)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("bounds", [(0, 10), (-100, 100), (5, 5), (3, 1), (0, 256)])
def test_randint(bounds, dtype):
    key = ours.key(3)
    equal(ours.randint(key, (50,), *bounds, dtype), theirs.randint(key, (50,), *bounds, dtype))


@pytest.mark.parametrize("bounds", [(-(2**62), 2**62), (-(2**31), 2**31), (0, 2**32)])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_randint_of_wide_ranges(bounds, dtype):
    key = ours.key(4)
    equal(ours.randint(key, (50,), *bounds, dtype), theirs.randint(key, (50,), *bounds, dtype))


def test_randint_of_arrays():
    low, high = np.array([[0], [-50]]), np.array([1, 7, 2**40])
    key = ours.key(3)
    for dtype in ("int32", "int64"):
        equal(
            ours.randint(key, (2, 3), low, high, dtype),
            theirs.randint(key, (2, 3), low, high, dtype),
        )


@pytest.mark.parametrize("n", [0, 1, 2, 10, 5000])
def test_permutation(n):
    key = ours.key(n)
    equal(ours.permutation(key, n), theirs.permutation(key, n))
    x = np.arange(3.0 * n).reshape(n, 3)
    equal(ours.permutation(key, x), theirs.permutation(key, x))
    equal(ours.permutation(key, x, 1), theirs.permutation(key, x, 1))
    equal(ours.permutation(key, x, 0, independent=True),
          theirs.permutation(key, x, 0, independent=True))  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_categorical(dtype):
    key = ours.key(8)
    logits = np.random.default_rng(0).normal(size=(40, 5, 7)).astype(dtype)
    for axis in (-1, 0, 1):
        equal(ours.categorical(key, logits, axis), theirs.categorical(key, logits, axis))
    equal(ours.categorical(key, logits, shape=(30, 40, 5)),
          theirs.categorical(key, logits, shape=(30, 40, 5)))  # fmt: skip


def test_choice():
    key, x = ours.key(2), np.arange(24.0).reshape(2, 12)
    p = np.linspace(1, 12, 12) / 78
    for options in ({}, {"replace": False}, {"p": p}, {"p": p, "replace": False}):
        equal(ours.choice(key, 12, (2, 3), **options), theirs.choice(key, 12, (2, 3), **options))
        equal(
            ours.choice(key, x, (4,), axis=1, **options),
            theirs.choice(key, x, (4,), axis=1, **options),
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_bernoulli_and_rademacher(dtype):
    key, p = ours.key(2), np.linspace(0, 1, 11, dtype=dtype)
    equal(ours.bernoulli(key, p), theirs.bernoulli(key, p))
    equal(ours.bernoulli(key, p, (9, 11)), theirs.bernoulli(key, p, (9, 11)))
    equal(ours.rademacher(key, 99, dtype), theirs.rademacher(key, (99,), dtype))


# Errors in units of eps, relative to the number or to 1, measured on a million numbers.  Where
# XLA's logarithms are polynomials of its own they differ from NumPy's.
@pytest.mark.parametrize(
    ("name", "single", "double"),
    [
        ("exponential", 1, 65),
        ("gumbel", 3, 0),
        ("logistic", 2, 65),
        ("laplace", 1, 65),
        ("cauchy", 0, 0),
    ],
)
def test_to_the_last_bits(name, single, double):
    key = ours.key(6)
    for dtype, eps in ((np.float32, single), (np.float64, double)):
        mine = getattr(ours, name)(key, MANY, dtype)
        reference = np.asarray(getattr(theirs, name)(key, (MANY,), dtype))
        assert mine.dtype == reference.dtype
        error = np.abs(mine - reference) / np.maximum(np.abs(reference), 1)
        assert error.max() <= eps * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", FLOATS)
def test_truncated_normal(dtype):
    key = ours.key(6)
    equal(ours.truncated_normal(key, -1.0, 2.5, MANY, dtype),
          theirs.truncated_normal(key, -1.0, 2.5, (MANY,), dtype))  # fmt: skip
