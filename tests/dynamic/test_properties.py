"""Random expression graphs, differentiated by the tape and by differences."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench import dynamic, gradcheck
from workbench.dynamic import ops

SHAPES = [(), (1,), (3,), (2, 1), (2, 3), (1, 3), (3, 2), (2, 2, 3)]

# Smooth everywhere and never large, so that differences are exact to many digits.
UNARY = {
    "tanh": ops.tanh,
    "sin": ops.sin,
    "sigmoid": ops.sigmoid,
    "gauss": lambda x: ops.exp(-x * x),
    "square": lambda x: 0.5 * ops.square(ops.tanh(x)),
    "softplus": lambda x: ops.log1p(ops.exp(ops.tanh(x))),
    "root": lambda x: ops.sqrt(1.5 + ops.tanh(x)),
    "ratio": lambda x: 1 / (2 + ops.sin(x)),
    "power": lambda x: (2 + ops.tanh(x)) ** 1.5,
    "sum": lambda x: ops.sum(x, axis=-1, keepdims=True) if x.ndim else x,
    "mean": lambda x: ops.mean(x),
    "logsumexp": lambda x: ops.logsumexp(x, axis=0) if x.ndim else x,
    "softmax": lambda x: ops.softmax(x) if x.ndim else x,
    "cumsum": lambda x: 0.3 * ops.cumsum(x, axis=-1) if x.ndim else x,
    "transpose": ops.transpose,
    "ravel": lambda x: ops.reshape(x, (-1,)),
    "reversed": lambda x: x[::-1] if x.ndim else x,
    "repeated": lambda x: x[np.array([0, -1, 0])] if x.ndim else x,
    "new axis": lambda x: ops.expand_dims(x, 0),
    "last": lambda x: x[..., -1] if x.ndim else x,
    "pad": lambda x: ops.pad(x, 1) if x.ndim else x,
}
BINARY = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": lambda x, y: x / (2 + ops.sin(y)),
    "where": lambda x, y: ops.where(np.array(True), x, y) + ops.where(np.array(False), x, y),
    "outer": lambda x, y: 0.5 * ops.outer(x, y),
    "matmul": lambda x, y: 0.3 * (x @ y),
    "concatenate": lambda x, y: ops.concatenate([ops.ravel(x), ops.ravel(y)]),
    "stack": lambda x, y: ops.stack([x, y]),
}


@st.composite
def programs(draw):
    """Return leaves' shapes and a list of instructions, each a name and what it works on."""
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    count, steps = len(shapes), []
    for _ in range(draw(st.integers(1, 8))):
        name = draw(st.sampled_from(sorted({*UNARY, *BINARY})))
        operands = [draw(st.integers(0, count - 1)) for _ in range(1 if name in UNARY else 2)]
        steps.append((name, operands))
        count += 1
    return shapes, steps, draw(st.integers(0, 2**32 - 1))


def run(steps, values):
    """Return the mean square of everything computed, so that every result has a say."""
    values = list(values)
    for name, operands in steps:
        chosen = [values[k] for k in operands]
        f = UNARY.get(name) or BINARY[name]
        try:
            shape = f(*[np.zeros(np.shape(v)) for v in chosen]).shape
        except (ValueError, TypeError):
            shape = None  # These shapes do not fit: the first operand goes on as it is.
        fits = shape is not None and np.prod(shape) <= 60
        values.append(f(*chosen) if fits else chosen[0])
    total = 0.0
    for value in values:
        total = total + ops.mean(ops.tanh(value) * (1 + value * 0.1))
    return total


def sample(shapes, seed):
    rng = np.random.default_rng(seed)
    return rng, [np.asarray(rng.uniform(-1, 1, shape)) for shape in shapes]


relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@relaxed
@given(programs())
def test_gradients_of_random_graphs_are_the_numeric_ones(program):
    shapes, steps, seed = program
    _, arrays = sample(shapes, seed)
    leaves = [dynamic.tensor(a, requires_grad=True) for a in arrays]
    found = dynamic.grad(run(steps, leaves), leaves)
    for k, (g, x) in enumerate(zip(found, arrays, strict=True)):
        gradcheck.check_gradient(
            lambda v, k=k: np.asarray(run(steps, [*arrays[:k], v, *arrays[k + 1 :]])),
            lambda v, g=g: g.data,
            x,
        )


@relaxed
@given(programs())
def test_hessian_vector_products_of_random_graphs_are_the_numeric_ones(program):
    shapes, steps, seed = program
    rng, arrays = sample(shapes, seed)
    directions = [rng.standard_normal(a.shape) for a in arrays]

    def slopes(arrays, create_graph=False):
        leaves = [dynamic.tensor(a, requires_grad=True) for a in arrays]
        gradients = dynamic.grad(run(steps, leaves), leaves, create_graph=create_graph)
        return leaves, sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    leaves, along = slopes(arrays, create_graph=True)
    found = dynamic.grad(along, leaves, allow_unused=True)
    for k, (h, x) in enumerate(zip(found, arrays, strict=True)):
        value = np.zeros_like(x) if h is None else h.data
        gradcheck.check_gradient(
            lambda v, k=k: slopes([*arrays[:k], v, *arrays[k + 1 :]])[1].data,
            lambda v, value=value: value,
            x,
        )


@relaxed
@given(programs())
def test_backward_twice_through_a_kept_graph_doubles_and_order_does_not_matter(program):
    shapes, steps, seed = program
    _, arrays = sample(shapes, seed)
    leaves = [dynamic.tensor(a, requires_grad=True) for a in arrays]
    loss = run(steps, leaves)
    once = dynamic.grad(loss, leaves, retain_graph=True)
    backwards = dynamic.grad(loss, leaves[::-1], retain_graph=True)[::-1]
    loss.backward(retain_graph=True)
    loss.backward()
    for leaf, g, h in zip(leaves, once, backwards, strict=True):
        np.testing.assert_array_equal(g.data, h.data)
        np.testing.assert_array_equal(leaf.grad.data, 2 * g.data)


@pytest.mark.parametrize("penalty", [1.0, 10.0])
def test_a_gradient_penalty_trains_through_the_gradient(penalty):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 3)), rng.standard_normal((3, 4))

    def loss(w):
        w = dynamic.tensor(w, requires_grad=True)
        inputs = dynamic.tensor(x, requires_grad=True)
        score = ops.tanh(inputs @ w).sum()
        (g,) = dynamic.grad(score, inputs, create_graph=True)
        return w, score + penalty * ((ops.norm(g, axis=1) - 1) ** 2).mean()

    leaf, value = loss(w)
    value.backward()
    gradcheck.check_gradient(lambda v: loss(v)[1].data, lambda v: leaf.grad.data, w)
