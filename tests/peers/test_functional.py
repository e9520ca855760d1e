"""Era 4 against JAX: the same expressions, under every transform, on the same numbers.

JAX computes each quantity once, compiled; ours is held to it through every way we have to
compute it.
"""

import functools

import jax
import numpy as np
import pytest
from functional_table import OURS, TABLE, THEIRS, VALUES

from workbench import functional

pytestmark = pytest.mark.peers

LABELS = [row.label for row in TABLE]
FAST = {"xla_backend_optimization_level": 0}  # To compile: the numbers are few.


def quantities(m, row, xs, ts, w, batch):
    """Return what there is to compute of a row: transform -> function without arguments."""
    f = functools.partial(row.f, m)
    every = tuple(range(len(xs)))

    def projected(*xs):
        return m.sum(f(*xs) * w)

    gradient = m.grad(projected, every)
    return {
        "value": lambda: f(*xs),
        "jit": lambda: m.jit(f)(*xs),
        "jvp": lambda: m.jvp(f, xs, ts),
        "jit-jvp": lambda: m.jit(lambda xs, ts: m.jvp(f, xs, ts))(xs, ts),
        "linearize": lambda: (lambda y, push: (y, push(*ts)))(*m.linearize(f, *xs)),
        "grad": lambda: m.value_and_grad(projected, every)(*xs),
        "vjp": lambda: (lambda y, pull: (m.sum(y * w), pull(w)))(*m.vjp(f, *xs)),
        "jit-grad": lambda: m.jit(m.value_and_grad(projected, every))(*xs),
        "jacfwd": lambda: [m.jacfwd(f, n)(*xs) for n in every],
        "jacrev": lambda: [m.jacrev(f, n)(*xs) for n in every],
        "hvp": lambda: m.jvp(gradient, xs, ts)[1],
        "hessian": lambda: [m.hessian(projected, n)(*xs) for n in every],
        "vmap": lambda: m.vmap(f)(*batch),
        "jit-vmap": lambda: m.jit(m.vmap(f))(*batch),
        "vmap-grad": lambda: m.vmap(gradient)(*batch),
        "jit-vmap-grad": lambda: m.jit(m.vmap(gradient))(*batch),
    }


# Where two transforms give the same numbers, JAX computes them once.
SAME = {"jit": "value", "jit-jvp": "jvp", "linearize": "jvp", "vjp": "grad", "jit-grad": "grad",
        "jacrev": "jacfwd", "jit-vmap": "vmap", "jit-vmap-grad": "vmap-grad"}  # fmt: skip
TRANSFORMS = list(quantities(OURS, TABLE[0], (0.0,), (), None, ()))


@functools.cache
def problem(row):
    """Return arguments, tangents, weights of the result, and three sets of arguments stacked."""
    rng = np.random.default_rng(len(row.label))
    xs, *others = [row.sample(rng) for _ in range(4)]
    ts = [rng.standard_normal(np.shape(x)) for x in xs]
    shape = jax.eval_shape(functools.partial(row.f, THEIRS), *xs).shape
    batch = [np.stack(each) for each in zip(*others, strict=True)]
    return tuple(xs), tuple(ts), rng.standard_normal(shape), tuple(batch)


def missing(row, transform):
    return transform in row.without or SAME.get(transform) in row.without


@functools.cache
def reference(row):
    """Return JAX's numbers of every transform that the row has, compiled as one function."""

    def everything(xs, ts, w, batch):
        todo = quantities(THEIRS, row, xs, ts, w, batch)
        distinct = [t for t in todo if t not in SAME and t not in row.without]
        if "jacfwd" in row.without and "jacrev" not in row.without:
            distinct.append("jacrev")
        return {transform: todo[transform]() for transform in distinct}

    compiled = jax.jit(everything, compiler_options=FAST)
    return compiled(*jax.tree.map(jax.numpy.asarray, problem(row)))


def assert_same(actual, expected, rounding):
    """Hold leaves to leaves: the dtype, the shape, and the values to rounding."""
    pairs = zip(functional.tree_leaves(actual), jax.tree.leaves(expected), strict=True)
    for mine, theirs in pairs:
        theirs = np.asarray(theirs)
        assert mine.dtype == theirs.dtype
        limit = rounding * max(1, np.max(np.abs(theirs), initial=0))
        np.testing.assert_allclose(mine, theirs, rtol=rounding, atol=limit)
        assert mine.shape == theirs.shape


CASES = [(row, t) for row in TABLE for t in TRANSFORMS if not missing(row, t)]


@pytest.mark.parametrize(("row", "transform"), CASES, ids=[f"{r.label}-{t}" for r, t in CASES])
def test_transforms_give_jaxs_numbers(row, transform):
    expected = reference(row)
    source = transform if transform in expected else SAME[transform]
    actual = quantities(OURS, row, *problem(row))[transform]()
    assert_same(actual, expected[source], 1e-11)


@pytest.mark.parametrize("row", TABLE, ids=LABELS)
def test_value_and_gradient_in_float32(row):
    arguments = jax.tree.map(np.float32, problem(row))
    transform = "value" if "grad" in row.without else "grad"
    expected = jax.jit(
        lambda *arguments: quantities(THEIRS, row, *arguments)[transform](),
        compiler_options=FAST,
    )(*jax.tree.map(jax.numpy.asarray, arguments))
    actual = quantities(OURS, row, *arguments)[transform]()
    assert_same(actual, expected, 500 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("transform", ["value", "jit", "vmap", "jit-vmap"])
@pytest.mark.parametrize("row", VALUES, ids=[row.label for row in VALUES])
def test_values_alone(row, transform):
    arguments = problem(row)
    expected = quantities(THEIRS, row, *jax.tree.map(jax.numpy.asarray, arguments))
    actual = quantities(OURS, row, *arguments)[transform]()
    assert_same(actual, expected[SAME.get(transform, transform)](), 1e-11)


def test_there_are_enough_of_them():
    labels = [row.label for row in TABLE + VALUES]
    assert len(set(labels)) == len(labels)
    assert len(TABLE) >= 120
