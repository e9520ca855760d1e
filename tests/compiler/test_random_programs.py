"""Random programs: what "llvm" makes of them is what the reference makes, instruction by instruction.

``test_llvm.py`` runs small ones of float64.  Here are those where nothing is rounded, which
agree to the last bit; longer ones, over several threads; and chains of every elementwise
opcode, in both floating dtypes, through sizes that leave a remainder in a vector.
"""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compiler.programs import random_inputs, random_program, same_bits
from workbench import compiler
from workbench.compiler import Builder, Type, compile

pytestmark = pytest.mark.skipif(compiler.best_target() != "llvm", reason="needs llvmlite")
SETTINGS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def both(program, inputs, threads=1):
    """Return the results of "llvm" and of the reference, each on inputs of its own."""
    with np.errstate(all="ignore"):
        expected = compile(program, "numpy")(*[x.copy() for x in inputs])
        actual = compile(program, "llvm", threads)(*[x.copy() for x in inputs])
    return actual, expected


def near(actual, expected, dtype, units):
    """Compare to within so many units of the largest number: sums run in another order."""
    for x, y in zip(actual, expected, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        finite = np.isfinite(y)
        np.testing.assert_array_equal(np.isfinite(x), finite)
        np.testing.assert_array_equal(x[~finite], y[~finite])
        scale = np.max(np.abs(y[finite]), initial=1)
        assert np.all(np.abs(x[finite] / scale - y[finite] / scale) <= units * np.finfo(dtype).eps)


@settings(max_examples=60, **SETTINGS)
@given(random=st.randoms(use_true_random=False), length=st.integers(1, 15))
def test_what_rounds_nothing_agrees_to_the_last_bit(random, length):
    program = random_program(random, length, exact=True)
    actual, expected = both(program, random_inputs(program))
    for x, y in zip(actual, expected, strict=True):
        assert same_bits(x + 0.0, y + 0.0)  # A sum that is 0 has either sign.


@pytest.mark.slow
@settings(max_examples=200, **SETTINGS)
@given(seed=st.integers(0, 2**32), length=st.integers(10, 40), threads=st.sampled_from([1, 3]))
def test_long_programs_agree(seed, length, threads):
    program = random_program(random.Random(seed), length)
    near(*both(program, random_inputs(program, seed), threads), "f8", 5000)


# --- every elementwise opcode --------------------------------------------------------------------

UNARY = ("exp expm1 log log1p sqrt sin cos tan arcsin arccos arctan sinh cosh arcsinh arccosh "
         "arctanh tanh sigmoid erf negative absolute sign copy").split()  # fmt: skip
STEPS = "floor ceil rint trunc".split()
BINARY = "add subtract multiply maximum minimum arctan2".split()
SIZES = [1, 3, 7, 16, 17, 33, 65]


def bounded(b, name, x):
    """Write ``name`` of ``x`` moved to where it is defined, and not steep."""
    one = b.constant(1, x.dtype)
    y = b.tanh(x)
    if name in ("arcsin", "arccos", "arctanh", "log1p"):
        y = b.multiply(y, b.constant(0.7, x.dtype))
    elif name in ("log", "sqrt", "arccosh"):
        y = b.add(b.multiply(y, y), b.add(one, b.constant(0.1, x.dtype)))
    return getattr(b, name)(y)


@st.composite
def chains(draw):
    """A program of elementwise opcodes and reductions over a matrix, and its input."""
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8"])))
    shape = draw(st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES)))
    b = Builder("chain")
    pool = [b.input(Type(dtype, shape), "x"), b.input(Type(dtype, shape[1:]), "row")]
    for _ in range(draw(st.integers(1, 10))):
        x = draw(st.sampled_from(pool))
        kind = draw(st.sampled_from(["unary", "unary", "binary", "binary", "select", "reduce"]))
        if kind == "unary":
            pool.append(bounded(b, draw(st.sampled_from(UNARY)), x))
        elif kind == "binary":
            y = draw(st.sampled_from(pool))
            if x.shape in (y.shape, shape[1:], ()) or y.shape in (shape[1:], ()):
                pool.append(getattr(b, draw(st.sampled_from(BINARY)))(x, y))
        elif kind == "select":
            # Of the inputs, in which nothing was rounded: no two orders fall on two sides.
            whole = getattr(b, draw(st.sampled_from(STEPS)))(pool[draw(st.integers(0, 1))])
            if whole.ndim >= x.ndim:
                chosen = b.less(whole, b.constant(0.5, dtype))
                pool.append(b.select(chosen, x, b.negative(x)))
        elif x.ndim:
            axes = draw(st.sampled_from([(0,), (x.ndim - 1,), tuple(range(x.ndim))]))
            name = draw(st.sampled_from(["sum", "max", "min"]))
            made = b.reduce(name, x, axes, keepdims=True)
            pool.append(b.broadcast(made, x.shape))
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    return b.program([b.copy(x) for x in pool[-3:]]), [
        rng.standard_normal(x.shape).astype(dtype) for x in pool[:2]
    ]


@settings(max_examples=100, **SETTINGS)
@given(chains())
def test_chains_of_every_elementwise_opcode(chain):
    program, inputs = chain
    near(*both(program, inputs), inputs[0].dtype, 5000)
