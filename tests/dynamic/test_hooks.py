"""Hooks, and gradients kept on tensors that are no leaves."""

import weakref

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import ops
from workbench.errors import DtypeError, GraphError


def leaf(data):
    return dynamic.tensor(data, requires_grad=True)


def test_a_hook_sees_the_whole_gradient_once_and_only_then():
    x, seen = leaf([1.0, 2.0]), []
    h = x * 2.0
    h.register_hook(seen.append)
    y = (h * h + h).sum()  # Three ways lead back to h.
    assert not seen
    y.backward()
    (g,) = seen
    assert type(g) is dynamic.Tensor
    np.testing.assert_array_equal(g.data, 2 * h.data + 1)
    np.testing.assert_array_equal(x.grad.data, 2 * g.data)


@pytest.mark.parametrize("on", ["leaf", "result"])
def test_what_a_hook_returns_goes_on_in_its_place(on):
    x = leaf([1.0, 2.0])
    h = x * 3.0
    (x if on == "leaf" else h).register_hook(lambda g: g * 10.0)
    h.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [30.0, 30.0])


def test_hooks_run_in_order_and_can_be_removed():
    x, seen = leaf([1.0]), []
    first = x.register_hook(lambda g: seen.append("first") or g + 1.0)
    x.register_hook(lambda g: seen.append(float(g[0])))
    (x * 2.0).sum().backward()
    assert seen == ["first", 3.0]
    first()
    first()  # Once more does nothing.
    (x * 2.0).sum().backward()
    assert seen == ["first", 3.0, 2.0]


def test_a_hook_on_a_leaf_sees_each_pass_and_not_what_has_gathered():
    x, seen = leaf([1.0]), []
    x.register_hook(lambda g: seen.append(float(g[0])))
    for _ in range(2):
        (x * 5.0).sum().backward()
    assert seen == [5.0, 5.0]
    assert x.grad.data == [10.0]


def test_hooks_work_for_grad_and_are_recorded_under_create_graph():
    x = leaf([2.0])
    h = x * x
    remove = h.register_hook(lambda g: g * g)
    (g,) = dynamic.grad((h * h).sum(), x, create_graph=True)
    assert g.data == [(2 * 4.0) ** 2 * 2 * 2.0]  # (2h)² 2x = 8 x⁵ ...
    remove()  # Or it would square what comes by in the second pass, too.
    (again,) = dynamic.grad(g.sum(), x)
    assert again.data == [8 * 5 * 2.0**4]
    h = x * x
    h.register_hook(lambda g: g * 7.0)
    assert dynamic.grad(h.sum(), h)[0].data == [7.0]


def test_retain_grad_keeps_it_on_a_result_and_gathers_like_a_leaf():
    x = leaf([1.0, 2.0])
    h = ops.exp(x)
    h.retain_grad()
    x.retain_grad()  # On a leaf it says nothing new.
    y = (h * h).sum()
    y.backward(retain_graph=True)
    np.testing.assert_array_equal(h.grad.data, 2 * h.data)
    y.backward()
    np.testing.assert_array_equal(h.grad.data, 4 * h.data)
    gone = weakref.ref(h)
    del h
    assert gone() is None  # The node does not hold its result.


def test_refusals():
    with pytest.raises(GraphError, match="no gradient flows through this tensor"):
        dynamic.tensor([1.0]).register_hook(print)
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(GraphError, match="something else than a gradient") as caught:
        (x * 1.0).sum().backward()
    assert "expected: None, or a tensor of shape (2,)" in str(caught.value)
    with pytest.raises(GraphError, match="only a leaf can be asked"):
        (x * 1.0).requires_grad_()
    with pytest.raises(DtypeError, match="only floating-point numbers have gradients"):
        dynamic.tensor([1, 2]).requires_grad_()
    w = dynamic.tensor([1.0]).requires_grad_()
    assert w.requires_grad
    assert not w.requires_grad_(False).requires_grad
