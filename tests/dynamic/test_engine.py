"""The graph: recorded while Python runs, unwound once, freed by reference counting."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workbench import dynamic, gradcheck
from workbench.dynamic import ops
from workbench.dynamic.engine import undo_broadcast
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# --- backward ---------------------------------------------------------------------


def test_fan_out_accumulates():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7.0


def test_gradients_accumulate_over_calls_until_they_are_forgotten():
    x = leaf([1.0, 2.0])
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad.data.tolist() == [5.0, 5.0]
    assert first.data.tolist() == [2.0, 2.0]  # What the caller kept did not move.
    x.zero_grad()
    assert x.grad is None


def test_a_node_runs_once_however_many_paths_lead_through_it():
    calls = []

    class Identity(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            calls.append(1)
            return g

    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2**60 paths.
        y = Identity.apply(y)
        y = y + y
    y.backward()
    assert len(calls) == 60
    assert x.grad.item() == 2.0**60


def test_a_late_branch_waits_for_every_contribution():
    x = leaf(2.0)
    a = x * 3
    b = a * a
    c = b * b
    (c + b * a + a).backward()  # a^4 + a^3 + a at a = 6, times 3.
    assert x.grad.item() == 3 * (4 * 6**3 + 3 * 6**2 + 1)


def test_a_gradient_given_to_backward_weighs_the_elements():
    x = leaf([1.0, 2.0, 3.0])
    y = x * x
    y.backward(np.array([1.0, 0.0, 10.0]), retain_graph=True)
    assert x.grad.data.tolist() == [2.0, 0.0, 60.0]
    x.zero_grad()
    y.backward(2)
    assert x.grad.data.tolist() == [4.0, 8.0, 12.0]


def test_a_leaf_differentiates_itself():
    x = leaf(5.0)
    x.backward()
    x.backward()
    assert x.grad.item() == 2.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay_what_they_are(dtype):
    x, w = leaf(np.ones((2, 3)), dtype), leaf(np.ones((3, 2)), dtype)
    y = ((ops.tanh(x @ w) * 2 - 1) ** 2 / 3).mean()
    y.backward()
    assert y.dtype == x.grad.dtype == w.grad.dtype == dtype


def test_a_refused_backward_leaves_every_gradient_alone():
    class Bad(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g[:1]

    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    with pytest.raises(ShapeError, match="wrong shape"):
        (Bad.apply(x) * y).sum().backward()
    assert x.grad is None
    assert y.grad is None


# --- size and memory --------------------------------------------------------------


def test_a_chain_of_1e5_operations_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = -(y * 1.0)
    y.backward()
    assert x.grad.item() == 1.0


def test_a_chain_of_1e5_operations_that_is_never_unwound_is_freed_without_recursion(no_collector):
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + x
    first = weakref.ref(y.node.inputs[0])
    del y
    assert first() is None


@pytest.mark.parametrize("unwind", [False, True])
def test_a_graph_is_freed_by_reference_counting_alone(no_collector, unwind):
    x, w, b = leaf(np.ones((2, 3))), leaf(np.ones((3, 4))), leaf(np.ones(4))
    h = ops.tanh(ops.affine(x, w, b))
    loss = ops.softmax_cross_entropy(h, np.array([0, 3])) + ops.max(h) + ops.logsumexp(h)
    nodes = [weakref.ref(each) for each in (h, h.node, loss.node, loss.node.inputs[0])]
    if unwind:
        loss.backward()
    del h, loss
    assert [node() for node in nodes] == [None] * 4


def test_unwinding_frees_what_was_saved_even_while_the_loss_lives(no_collector):
    x = leaf(np.ones(1000))
    h = ops.exp(x)
    saved = weakref.ref(h.data)
    loss = h.sum()
    del h
    assert saved() is not None
    loss.backward()
    assert saved() is None


def test_second_order_gradients_are_freed_by_reference_counting_alone(no_collector):
    x = leaf([1.0, 2.0])
    (d,) = dynamic.grad((x**3).sum(), x, create_graph=True)
    (dd,) = dynamic.grad(d.sum(), x)
    assert dd.data.tolist() == [6.0, 12.0]
    nodes = [weakref.ref(d.node), weakref.ref(d)]
    del d, dd
    assert [node() for node in nodes] == [None, None]


def test_only_what_backward_needs_is_saved():
    x = leaf(np.ones(1000))
    assert [r.saved_bytes for r in dynamic.graph((x + 1).sum())] == [0, 0, 0]
    assert [r.saved_bytes for r in dynamic.graph(x * 2.0)] == [0, 0]
    h = x * 2.0
    assert [r.saved_bytes for r in dynamic.graph(ops.tanh(h) * h)] == [0, 0, 8000, 8000]


# --- the tape as data -------------------------------------------------------------


def test_graph_lists_leaves_then_operations_in_the_order_of_recording():
    x, w = dynamic.tensor(np.ones((2, 3))), leaf(np.ones((3, 4)))
    loss = ops.softmax_cross_entropy(ops.relu(ops.affine(x, w)), np.array([0, 1]))
    tape = dynamic.graph(loss)
    assert [(r.id, r.op, r.inputs, r.shape) for r in tape] == [
        (0, "leaf", (), (3, 4)),
        (1, "affine", (None, 0, None), (2, 4)),
        (2, "relu", (1,), (2, 4)),
        (3, "softmax_cross_entropy", (2, None), ()),
    ]
    assert [r.saved_bytes for r in tape] == [0, x.data.nbytes, 64, 64 + 2 * 8]


def test_graph_of_a_leaf_is_the_leaf():
    assert [r.op for r in dynamic.graph(leaf(1.0))] == ["leaf"]


# --- higher order -----------------------------------------------------------------


def test_derivatives_of_every_order_by_recursion():
    x = leaf(0.7)
    y, signs = ops.sin(x), [np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin]
    for k in range(8):
        (y,) = dynamic.grad(y, x, create_graph=True)
        assert abs(y.item() - signs[k % 4](0.7)) < 1e-15


def test_backward_with_create_graph_leaves_gradients_that_can_be_differentiated():
    x = leaf([1.0, 2.0])
    (x**3).sum().backward(create_graph=True)
    d, x.grad = x.grad, None
    d.sum().backward()
    assert x.grad.data.tolist() == [6.0, 12.0]


def test_hessian_vector_product_agrees_with_gradcheck():
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(s) for s in ((4, 3), (3, 5), (5,), (5, 2))]

    def loss(x, w, b, v):
        h = ops.tanh(ops.affine(dynamic.tensor(x), w, b))
        return ops.softmax_cross_entropy(h @ v, np.array([0, 1, 1, 0]))

    def first(*arrays):
        leaves = [leaf(a) for a in arrays]
        return [d.data for d in dynamic.grad(loss(inputs[0], *leaves), leaves)]

    def second(*arrays):
        leaves = [leaf(a) for a in arrays[:3]]
        ds = dynamic.grad(loss(inputs[0], *leaves), leaves, create_graph=True)
        dot = sum((d * v).sum() for d, v in zip(ds, arrays[3:], strict=True))
        return [d.data for d in dynamic.grad(dot, leaves)]

    gradcheck.check_gradient(
        lambda *a: loss(inputs[0], *map(dynamic.tensor, a)).item(),
        [first, second],
        tuple(inputs[1:]),
        order=2,
    )


def test_gradient_penalty_trains_through_a_gradient():
    w, x = leaf([[1.0, -2.0], [0.5, 1.5]]), leaf([[0.3, 0.4]])
    (d,) = dynamic.grad(ops.tanh(x @ w).sum(), x, create_graph=True)
    ((d * d).sum() - 1).backward()

    def penalty(w):
        y = np.tanh(x.data @ w)
        d = (1 - y * y) @ w.T
        return (d * d).sum() - 1

    gradcheck.check_gradient(penalty, w.grad.data, w.data)


# --- grad -------------------------------------------------------------------------


def test_grad_touches_no_grad_attribute_and_takes_intermediate_inputs():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    h = x * w
    dh, dx = dynamic.grad((h * h).sum(), [h, x])
    assert dh.data.tolist() == [6.0, 16.0]
    assert dx.data.tolist() == [18.0, 64.0]
    assert (x.grad, w.grad, h.grad) == (None, None, None)


def test_grad_runs_only_what_leads_to_the_inputs():
    class Forbidden(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("not on the way to w")

    x, w = leaf(2.0), leaf(5.0)
    (d,) = dynamic.grad(Forbidden.apply(x) * w, w)
    assert d.item() == 4.0


def test_grad_of_several_outputs_is_the_gradient_of_their_sum():
    x = leaf([1.0, 2.0])
    (d,) = dynamic.grad([x.sum(), x * x], x, [None, np.array([1.0, 10.0])])
    assert d.data.tolist() == [3.0, 41.0]


def test_grad_refuses_an_unused_input_unless_it_may_be_none():
    x, unused = leaf(1.0), leaf([1.0, 2.0])
    y = x * 2
    with pytest.raises(GraphError) as caught:
        dynamic.grad(y, [x, unused], retain_graph=True)
    assert str(caught.value) == (
        "grad: no output depends on input 1\n"
        "  given:    a tensor of shape (2,)\n"
        "  fix:      leave it out, or pass allow_unused=True to get None"
    )
    d, none = dynamic.grad(y, [x, unused], allow_unused=True)
    assert d.item() == 2.0
    assert none is None


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: dynamic.grad(x * 2, dynamic.tensor(1.0)), GraphError,
         "input 0 does not require a gradient"),
        (lambda x: dynamic.grad(x * 2, x, [None, None]), OptionError, "2 gradients for 1 outputs"),
        (lambda x: dynamic.tensor(1.0).backward(), GraphError,
         "does not depend on any that requires"),
        (lambda x: (x * np.ones(2)).backward(), ShapeError,
         "without g, only a tensor of one element has a gradient\n  given:    shape (2,)"),
        (lambda x: (x * np.ones(2)).backward(np.ones(3)), ShapeError, "given:    g (3,)"),
        (lambda x: (x * 2).backward(np.float32(1)), DtypeError, "g float32\n  expected: float64"),
    ],
)  # fmt: skip
def test_refusals(call, error, words):
    with pytest.raises(error) as caught:
        call(leaf(1.0))
    assert words in str(caught.value)


# --- freed graphs -----------------------------------------------------------------


@pytest.mark.parametrize("op", [lambda x: x + 1, lambda x: x * x])
def test_a_second_pass_is_refused_unless_the_graph_was_retained(op):
    x = leaf(3.0)
    y = op(x)
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(GraphError, match="freed it") as caught:
        y.backward()
    assert "pass retain_graph=True the first time" in str(caught.value)
    with pytest.raises(GraphError, match="freed"):
        dynamic.graph(y)
    with pytest.raises(GraphError, match="freed"):
        dynamic.grad(y, x)


def test_a_freed_part_under_a_new_graph_is_found():
    x = leaf(3.0)
    h = x * x
    a, b = h * 2, h * 3
    a.backward()
    with pytest.raises(GraphError, match="freed it"):
        b.backward()
    assert x.grad.item() == 12.0


# --- modes ------------------------------------------------------------------------


def test_no_grad_as_block_and_as_decorator():
    x = leaf(2.0)
    with dynamic.no_grad():
        assert not (x * x).requires_grad
        with dynamic.no_grad():
            pass
        assert not (x * x).requires_grad

    @dynamic.no_grad()
    def predict():
        return x * x

    assert not predict().requires_grad
    assert (x * x).requires_grad


def test_no_grad_ends_when_the_block_raises():
    x = leaf(2.0)
    with pytest.raises(KeyError), dynamic.no_grad():
        raise KeyError
    assert (x * x).requires_grad


def test_create_graph_records_even_under_no_grad():
    x = leaf(2.0)
    y = x**3
    with dynamic.no_grad():
        (d,) = dynamic.grad(y, x, create_graph=True)
    assert dynamic.grad(d, x)[0].item() == 12.0


def test_detach_stops_gradients_and_shares_memory():
    x = leaf([1.0, 2.0])
    y = x * x.detach()
    (d,) = dynamic.grad(y.sum(), x, create_graph=True)
    assert d.data.tolist() == [1.0, 2.0]
    assert not d.requires_grad  # y is linear in x.
    assert np.shares_memory(x.detach().data, x.data)


def test_an_array_that_is_the_tensors_own_stays_a_constant_to_second_order():
    x = leaf([1.0, 2.0])
    (d,) = dynamic.grad((x * x.data * x).sum(), x, create_graph=True)
    assert d.data.tolist() == [2.0, 8.0]
    (dd,) = dynamic.grad(d.sum(), x)
    assert dd.data.tolist() == [2.0, 4.0]


# --- undoing broadcasting ---------------------------------------------------------


@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=4))
@settings(max_examples=60, deadline=None)
def test_broadcasting_is_undone_for_all_shapes(shapes):
    rng = np.random.default_rng(0)
    x, y = (leaf(rng.standard_normal(shape)) for shape in shapes.input_shapes)
    g = rng.standard_normal(shapes.result_shape)
    (x * y).backward(g)
    for mine, other in ((x, y), (y, x)):
        expected = np.zeros(mine.shape)
        if g.size:
            product = g * other.data
            index = np.broadcast_to(np.arange(mine.size).reshape(mine.shape), product.shape)
            np.add.at(expected.reshape(-1), index, product)
        assert mine.grad.shape == mine.shape
        np.testing.assert_allclose(mine.grad.data, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [np.asarray, dynamic.tensor])
def test_undo_broadcast_sums_arrays_and_tensors_alike(kind):
    g = kind(np.ones((2, 3, 4)))
    assert undo_broadcast(g, (3, 1)).shape == (3, 1)
    assert float(undo_broadcast(g, ())) == 24.0


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_random_expressions_agree_with_gradcheck(data):
    unary = [ops.tanh, ops.sin, ops.sigmoid, ops.negative, lambda x: x * 0.5, ops.square]
    binary = [ops.add, ops.subtract, ops.multiply, ops.matmul, lambda x, y: x / (2 + y * y)]
    plan = data.draw(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 9), st.integers(0, 9)),
                              min_size=1, max_size=8))  # fmt: skip
    point = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((2, 2)) / 2

    def f(x):
        known = [x]
        for which, i, j in plan:
            a, b = known[i % len(known)], known[j % len(known)]
            known.append(unary[which](a) if which < 6 else binary[which - 6](a, b))
        return ops.tanh(known[-1]).sum() + x.sum()

    x = leaf(point)
    f(x).backward()
    gradcheck.check_gradient(lambda v: f(dynamic.tensor(v)).item(), x.grad.data, point)
