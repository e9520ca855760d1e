"""Checkpointing: the same gradients from less memory."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import nn, ops
from workbench.errors import DtypeError, GraphError


def leaf(*shape, seed=0):
    return dynamic.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


W = leaf(4, 4, seed=1)


def segment(x, y=None):
    h = ops.tanh(x @ W)
    return ops.sin(h * (x if y is None else y)) @ W


def gradients(loss, inputs, **options):
    return [g.data for g in dynamic.grad(loss, inputs, **options)]


def test_gradients_reach_arguments_parameters_and_other_tensors_exactly():
    x = leaf(3, 4)
    results = []
    for run in (lambda f, x: f(x), dynamic.checkpoint):
        outside = ops.exp(x)  # A result, not an argument, which the segment uses.

        def f(x, outside=outside):
            return segment(x) * outside

        results.append(gradients((run(f, x) * run(f, outside)).sum(), [x, W]))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-13)


def test_backward_leaves_gradients_on_leaves():
    x = leaf(3, 4)
    dynamic.checkpoint(segment, x).sum().backward()
    found, x.grad, W.grad = [x.grad.data, W.grad.data], None, None
    segment(x).sum().backward()
    np.testing.assert_array_equal(found[0], x.grad.data)
    np.testing.assert_array_equal(found[1], W.grad.data)
    W.grad = None


@pytest.mark.parametrize("same", [False, True])
def test_second_order_also_where_one_tensor_is_given_twice(same):
    x = leaf(3, 4)
    results = []
    for run in (segment, lambda *args: dynamic.checkpoint(segment, *args)):
        y = x if same else ops.exp(x)
        (g,) = dynamic.grad((run(x, y) ** 2).sum(), x, create_graph=True)
        results.append(gradients((g * g).sum(), [x, W]))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11)


def test_only_the_arguments_are_kept():
    x = leaf(100, 4)

    def deep(x):
        for _ in range(10):
            x = ops.tanh(x)
        return x

    plain = sum(each.nbytes for each in dynamic.saved(deep(x)))
    y = dynamic.checkpoint(deep, ops.exp(x))
    kept = [each for each in dynamic.saved(y) if each.op == "checkpoint"]
    assert plain == 10 * x.data.nbytes
    assert [(each.shape, each.nbytes) for each in kept] == [((100, 4), 0)]  # Exp's own output.


def test_dropout_draws_the_same_mask_twice_and_then_goes_on():
    x, rng, reference = leaf(50, 4), np.random.default_rng(3), np.random.default_rng(3)
    y = dynamic.checkpoint(lambda x: ops.dropout(x, 0.5, rng) * x, x, rng=rng)
    (g,) = gradients(y.sum(), [x])
    expected = ops.dropout(x, 0.5, reference) * x
    np.testing.assert_array_equal(y.data, expected.data)
    np.testing.assert_array_equal(g, gradients(expected.sum(), [x])[0])
    assert rng.random() == reference.random()


def test_a_whole_model_in_segments():
    rng = np.random.default_rng(0)
    blocks = [nn.Sequential(nn.Linear(8, 8, rng, dtype=np.float64), nn.Tanh()) for _ in range(4)]
    x = dynamic.tensor(rng.standard_normal((5, 8)))
    y = z = x
    for block in blocks:
        y, z = block(y), dynamic.checkpoint(block, z)
    parameters = [p for block in blocks for p in block.parameters()]
    for a, b in zip(gradients(y.sum(), parameters), gradients(z.sum(), parameters), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_without_anything_to_record_it_is_a_plain_call():
    x = dynamic.tensor(np.ones((2, 4)))
    assert not dynamic.checkpoint(lambda x: x * 2, x).requires_grad
    with dynamic.no_grad():
        assert not dynamic.checkpoint(segment, x).requires_grad


def test_refusals():
    x, calls = leaf(3, 4), []
    with pytest.raises(GraphError, match="did not return one tensor"):
        dynamic.checkpoint(lambda x: (x, x), x)

    def fickle(x):
        calls.append(x)
        return (x * x)[: len(calls)]

    y = dynamic.checkpoint(fickle, x)
    with pytest.raises(GraphError, match="something else the second time"):
        y.sum().backward()
    h = ops.exp(x)
    y = dynamic.checkpoint(segment, h)
    with dynamic.no_grad():
        h += 1
    with pytest.raises(GraphError, match="an array that checkpoint saved was edited"):
        y.sum().backward()


def test_autocast_holds_in_the_second_run_too():
    x, w = leaf(8, 16).astype(np.float32), leaf(16, 4, seed=2)
    w.data = w.data.astype(np.float32)
    found = []
    for run in (lambda f, x: f(x), dynamic.checkpoint):
        with dynamic.amp.autocast():
            y = run(lambda x: ops.tanh(x @ w), x)
        found.append(dynamic.grad(y.astype(np.float32).sum(), w)[0].data)
    np.testing.assert_array_equal(found[1], found[0])


def test_a_generator_that_cannot_be_wound_back_is_refused():
    with pytest.raises(DtypeError, match="no generator that can be wound back"):
        dynamic.checkpoint(segment, leaf(3, 4), rng=np.random.RandomState(0))


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_a_used_result_was_made_of_is_not_counted_twice(create_graph):
    x, found = leaf(3, 4), []
    for run in (lambda f, x: f(x), dynamic.checkpoint):
        made = ops.exp(W)  # The segment uses this, and W itself.
        y = run(lambda x, made=made: ops.tanh(x @ W) @ made, x)
        (g,) = dynamic.grad((y * y).sum(), W, create_graph=create_graph)
        found.append(g.data)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
