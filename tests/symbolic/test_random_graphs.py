"""Random expressions, rewritten and compiled, equal what the interpreter makes of them as written.

An expression is drawn together with its inputs; so is whether the graph knows its sizes.
Where the gradient is compared, nothing with a kink is drawn but of the inputs themselves:
two orders of summing may put a value on either side of one.
"""

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from workbench import compiler, symbolic
from workbench.symbolic import ops

COMPILING = [t for t in ("numpy", "llvm") if t == "numpy" or compiler.best_target() == t]
SHAPES = [(3, 4), (4,), (4, 3), (), (2, 3, 4), (1, 4)]
LARGE = 1e4
"""Draws whose values grow beyond this are not used: sin(1e10) has few digits in any order."""

SMOOTH = {
    "tanh": ops.tanh, "sin": ops.sin, "cos": ops.cos, "sigmoid": ops.sigmoid, "erf": ops.erf,
    "softplus": ops.softplus, "square": ops.square, "negative": ops.negative,
    "arctan": ops.arctan, "softmax": lambda x: ops.softmax(x) if x.ndim else ops.exp(x),
    "log_softmax": lambda x: ops.log_softmax(x) if x.ndim else x - 2,
    "exp": lambda x: ops.exp(ops.tanh(x)), "expm1": lambda x: ops.exp(-x * x) - 1,
    "log1p": lambda x: ops.log(1 + x * x), "log_of_exp": lambda x: ops.log(1 + ops.exp(x)),
    "sqrt": lambda x: ops.sqrt(x * x + 1), "reciprocal": lambda x: 1 / (1 + x**2),
    "power": lambda x: (1 + x * x) ** 1.5, "cube": lambda x: ops.tanh(x) ** 3,
    "log_of_softmax": lambda x: ops.log(ops.softmax(x)) if x.ndim else x,
    "cancelled": lambda x: (1 + x * x) * (1 + x * x) / (1 + x * x),
    "neutral": lambda x: (x * 1 + 0) / 1 - 0, "nothing": lambda x: x * 0 + x,
    "twice": lambda x: ops.negative(-x) + x, "arcsinh": ops.arcsinh, "gelu": ops.gelu, "silu": ops.silu,
    "log_of_sum": lambda x: ops.log(ops.exp(ops.tanh(x)).sum()),
    "layer_norm": lambda x: ops.layer_norm(x) if x.ndim else x,
}  # fmt: skip
KINKED = {
    "absolute": ops.absolute, "relu": ops.relu, "clip": lambda x: ops.clip(x, -0.5, 0.7),
    "leaky_relu": ops.leaky_relu, "max": lambda x: x - ops.max(x), "min": lambda x: ops.min(x) * x,
    "sort": lambda x: ops.sort(x) if x.ndim else x, "ptp": lambda x: x / (1 + ops.ptp(x)),
    "maximum": lambda x: ops.maximum(x, 0.3), "minimum": lambda x: ops.minimum(0.2, x),
    "floor": lambda x: x - ops.floor(x),
}  # fmt: skip
BINARY = {
    "add": ops.add, "subtract": ops.subtract, "multiply": ops.multiply,
    "divide": lambda x, y: x / (1 + y * y), "arctan2": lambda x, y: ops.arctan2(x, 1 + y * y),
    "logaddexp": ops.logaddexp, "lerp": lambda x, y: ops.lerp(x, y, 0.3),
    "multiply_add": lambda x, y: x * y + x, "difference": lambda x, y: x * x - y * y,
}  # fmt: skip


class Writer:
    """Draws an expression of the inputs with the choices of a ``random.Random``."""

    def __init__(self, random, smooth):
        self.random, self.smooth = random, smooth
        self.inputs = [
            symbolic.tensor(f"x{i}", shape=[None if random.random() < 0.3 else n for n in shape])
            for i, shape in enumerate(SHAPES)
        ]
        self.pool = list(zip(self.inputs, SHAPES, strict=True))

    def pick(self, accept=lambda shape: True):
        return self.random.choice([(x, s) for x, s in self.pool if accept(s)])

    def leaf(self):
        return self.random.randrange(len(SHAPES))

    def unary(self):
        x, _ = self.pick()
        return self.random.choice(list(SMOOTH.values()))(x)

    def kinked(self):
        x, _ = self.pool[self.leaf()] if self.smooth else self.pick()
        return self.random.choice(list(KINKED.values()))(x)

    def binary(self):
        x, s = self.pick()
        y, _ = self.pick(lambda t: fit(s, t))
        return self.random.choice(list(BINARY.values()))(*self.random.sample([x, y], 2))

    def chosen(self):
        i = self.leaf()
        x, _ = self.pick(lambda s: fit(s, SHAPES[i]))
        return ops.where(ops.greater(self.inputs[i], 0.1), ops.sin(x), x * 2)

    def reduced(self):
        x, s = self.pick(lambda s: s)
        axes = tuple(self.random.sample(range(len(s)), self.random.randint(1, len(s))))
        name = self.random.choice(["sum", "mean", "logsumexp", "var", "prod"])
        x = ops.tanh(x) if name == "prod" else x
        return getattr(ops, name)(x, axis=axes, keepdims=self.random.random() < 0.5)

    def product(self):
        x, s = self.pick(lambda s: s)
        fits = [y for y, t in self.pool if t and s[-1] == t[max(len(t) - 2, 0)]
                and fit(s[:-2], t[:-2])]  # fmt: skip
        if not fits:
            x, y = ops.reshape(x, (1, -1)), ops.reshape(ops.sin(x), (-1, 1))
            return y @ x if int(np.prod(s)) <= 12 else x @ y
        return ops.tanh(x) @ self.random.choice(fits)

    def shaped(self):
        r = self.random
        x, s = self.pick(lambda s: s)
        axis, n = r.randrange(len(s)), int(np.prod(s))
        other, _ = self.pick(lambda t: t == s)
        return r.choice([
            lambda: ops.transpose(x, r.sample(range(len(s)), len(s))),
            lambda: ops.reshape(x, r.choice([(-1,), (n, 1), (*s, 1), (1, n)])),
            lambda: ops.expand_dims(x, axis),
            lambda: ops.broadcast_to(x, (2, *s)) if n <= 24 else x,
            lambda: ops.concatenate([x, other * 2], axis),
            lambda: ops.stack([other, x], axis),
            lambda: ops.flip(x, axis),
            lambda: ops.pad(x, 1, constant_values=0.5),
            lambda: ops.cumsum(x, axis),
            lambda: ops.roll(x, 1, axis),
        ])()  # fmt: skip

    def indexed(self):
        r = self.random
        x, s = self.pick(lambda s: s)
        rows = [r.randrange(-s[0], s[0]) for _ in range(3)]
        index = r.choice([r.randrange(s[0]), slice(None, None, -1), slice(0, s[0] // 2 + 1),
                          slice(None, None, 2), (..., None), rows, (..., r.randrange(s[-1]))])  # fmt: skip
        part = x[index]
        kind = r.choice(["take", "set", "add"])
        if kind == "take" or (isinstance(index, tuple) and None in index):
            return part
        if kind == "add":
            return ops.inc_subtensor(part, ops.sin(part))
        # Of what is put twice at one place the last stays: so all are the same.
        return ops.set_subtensor(part, ops.mean(x) * 2)

    def write(self, length):
        """Return every expression that was made, and two of them to be compared."""
        kinds = [self.unary] * 4 + [self.binary] * 4 + [self.shaped] * 2 + [
            self.kinked, self.chosen, self.reduced, self.product, self.indexed]  # fmt: skip
        made = []
        for _ in range(length):
            y = self.random.choice(kinds)()
            # A shape is what NumPy makes of the inputs' shapes: sizes may be unknown here.
            shape = value_of(self.inputs, [y])[0].shape
            made.append(y)
            if np.prod(shape) <= 100 and len(shape) <= 4:
                self.pool.append((y, shape))
        return made


def fit(s, t):
    """Return whether two shapes broadcast to one that is not large."""
    try:
        return np.prod(np.broadcast_shapes(s, t)) <= 100
    except ValueError:
        return False


def inputs_for(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in SHAPES]


def value_of(inputs, outputs, mode="interpret", seed=0):
    f = symbolic.function(inputs, outputs, mode=mode, on_unused_input="ignore")
    result = f(*inputs_for(seed))
    assert f.fallback is None
    return result


def assert_close(actual, expected, scale):
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * scale, strict=True)


def largest(arrays):
    return max((float(np.max(np.abs(x), initial=0)) for x in arrays), default=0.0)


HYPOTHESIS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow,
                                                          HealthCheck.filter_too_much]}  # fmt: skip


def compare(random, length, mode, smooth):
    writer = Writer(random, smooth)
    made = writer.write(length)
    values = value_of(writer.inputs, made)
    assume(all(np.isfinite(x).all() for x in values) and largest(values) < LARGE)
    picked = random.sample(made, 2)
    scale = max(1.0, largest(values))
    assert_close(value_of(writer.inputs, picked, mode), value_of(writer.inputs, picked), scale)
    if not smooth:
        return
    cost = sum(ops.mean(ops.sin(y)) for y in picked)
    slopes = symbolic.grad(cost, writer.inputs, disconnected="zero")
    expected = value_of(writer.inputs, slopes)
    assume(largest(expected) < LARGE)
    assert_close(value_of(writer.inputs, slopes, mode), expected, max(scale, largest(expected)))


@pytest.mark.parametrize("mode", COMPILING)
@settings(max_examples=40, **HYPOTHESIS)
@given(random=st.randoms(use_true_random=False), length=st.integers(2, 12))
def test_values(mode, random, length):
    compare(random, length, mode, smooth=False)


@pytest.mark.parametrize("mode", COMPILING)
@settings(max_examples=40, **HYPOTHESIS)
@given(random=st.randoms(use_true_random=False), length=st.integers(2, 10))
def test_gradients(mode, random, length):
    compare(random, length, mode, smooth=True)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILING)
@pytest.mark.parametrize("smooth", [False, True], ids=["values", "gradients"])
@settings(max_examples=80, **HYPOTHESIS)
@given(seed=st.integers(0, 2**32), length=st.integers(5, 25))
def test_many_long_ones(mode, smooth, seed, length):
    compare(random.Random(seed), length, mode, smooth)
