"""In-place edits: recorded where they can be, refused in words where a gradient would be wrong."""

import gc
import weakref

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.dynamic import ops, versions
from workbench.errors import DtypeError, GraphError, ShapeError


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


def test_a_saved_tensor_edited_before_backward_is_named_with_its_versions():
    x = leaf([1.0, 2.0])
    h = x * 1.0
    y = (h * h).sum()
    h += 1
    with pytest.raises(GraphError) as caught:
        y.backward()
    assert str(caught.value) == (
        "backward: an array that multiply saved was edited in place before it was used\n"
        "  given:    multiply saved its argument 0, shape (2,), at version 0; "
        "it is now at version 1\n"
        "  expected: the values with which the operation was computed\n"
        "  fix:      edit after backward, or compute a new tensor (x = x + v instead of x += v)"
    )
    assert x.grad is None


def test_a_saved_result_edited_before_backward_is_found_too():
    x = leaf([1.0, 2.0])
    y = ops.exp(x)
    y *= 2
    with pytest.raises(GraphError, match=r"exp saved its result, shape \(2,\), at version 0"):
        y.sum().backward()


def test_edits_of_memory_that_nobody_saved_are_fine():
    x = leaf([1.0, 2.0])
    h = x + 1
    y = h.sum()
    h *= 3  # add and sum saved nothing of h.
    (y + h.sum()).backward()
    assert x.grad.data.tolist() == [4.0, 4.0]


def test_an_edit_through_a_view_counts():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    w = leaf([[1.0, 0.0], [0.0, 1.0]])
    y = (x @ w).sum()
    with dynamic.no_grad():
        w.T[0] = 5.0
    assert w.version == 1
    with pytest.raises(GraphError, match="matmul saved its argument 1"):
        y.backward()


def test_versions_count_edits_before_and_after_the_operation():
    w = leaf([1.0, 2.0])
    with dynamic.no_grad():
        for _ in range(3):
            w += 1
    y = (w * w).sum()
    with dynamic.no_grad():
        w -= 1
        w -= 1
    with pytest.raises(GraphError, match="at version 3; it is now at version 5"):
        y.backward()


def test_an_optimizer_step_counts_as_an_edit():
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    y.backward(retain_graph=True)
    dynamic.optim.SGD([w], lr=0.1).step()
    with pytest.raises(GraphError, match="multiply saved its argument 0"):
        y.backward()


@pytest.mark.parametrize(
    ("edit", "symbol"),
    [
        (lambda x: x.__iadd__(1), "+="),
        (lambda x: x.__isub__(1), "-="),
        (lambda x: x.__imul__(2), "*="),
        (lambda x: x.__itruediv__(2), "/="),
        (lambda x: x.__ipow__(2), "**="),
        (lambda x: x.__setitem__(0, 1.0), "x[...] = v"),
    ],
)
def test_a_leaf_is_edited_only_under_no_grad(edit, symbol):
    x = leaf([1.0, 2.0])
    with pytest.raises(GraphError) as caught:
        edit(x)
    assert str(caught.value).startswith(
        f"{symbol}: a leaf that requires a gradient was about to be edited in place"
    )
    assert "no_grad" in str(caught.value)
    assert (x.data.tolist(), x.version) == ([1.0, 2.0], 0)
    with dynamic.no_grad():
        edit(x)
    assert (x.version, x.node, x.requires_grad) == (1, None, True)


def test_in_place_arithmetic_is_differentiated():
    def f(x):
        h = x * 1.0
        h += x
        h -= 0.5
        h *= 2.0
        h /= 1 + ops.exp(x)
        return ops.tanh(h).sum()

    x = leaf([0.3, -0.2])
    f(x).backward()
    gradcheck.check_gradient(lambda v: f(leaf(v)).item(), x.grad.data, x.data)


def test_a_constant_that_receives_a_gradient_joins_the_graph():
    def f(w):
        out = dynamic.tensor(np.zeros((3, 2)))
        out[0] = w
        for k in (1, 2):
            out[k] = ops.tanh(out[k - 1] + w)
        out[2, 1] = 7.0
        return (out * np.arange(6.0).reshape(3, 2)).sum()

    w = leaf([0.3, -0.4])
    f(w).backward()
    gradcheck.check_gradient(lambda v: f(leaf(v)).item(), w.grad.data, w.data)


def test_assignment_broadcasts_and_is_differentiated_twice():
    x, v = leaf(np.ones((2, 3))), leaf(2.0)
    y = x * 1.0
    y[:, 1:] = v
    (dx, dv) = dynamic.grad((y * y * y).sum(), [x, v], create_graph=True)
    assert dx.data.tolist() == [[3.0, 0, 0], [3.0, 0, 0]]
    assert dv.item() == 4 * 3 * 4
    assert dynamic.grad(dv, v)[0].item() == 4 * 6 * 2


def test_plus_equals_on_an_element_writes_through():
    x = dynamic.tensor(np.zeros(3))
    x[1] += 5.0
    assert x.data.tolist() == [0.0, 5.0, 0.0]
    w = leaf(np.zeros(3))
    with dynamic.no_grad():
        w[2] += 1.0
    assert w.data.tolist() == [0.0, 0.0, 1.0]


def test_an_in_place_edit_of_a_view_cannot_be_recorded():
    x = leaf(np.ones((2, 2)))
    h = x * 1.0
    row = h[0]
    with pytest.raises(GraphError) as caught:
        row += 1
    assert "an in-place edit of a view cannot be recorded" in str(caught.value)
    assert "made by get_item" in str(caught.value)
    assert h.data.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_view_taken_before_a_recorded_edit_is_stale():
    x = leaf(np.ones(4))
    h = x * 1.0
    view = h.reshape(2, 2)
    early = (view * 1.0).sum()
    h *= 2
    with pytest.raises(GraphError) as caught:
        view.sum()
    assert "edited in place after the view was taken" in str(caught.value)
    (early + h.reshape(2, 2).sum()).backward()
    assert x.grad.data.tolist() == [3.0] * 4


def test_labels_and_indices_belong_to_the_caller():
    logits, labels = leaf(np.arange(6.0).reshape(2, 3)), np.array([0, 2])
    loss = ops.softmax_cross_entropy(logits, labels)
    (expected,) = dynamic.grad(loss, logits, retain_graph=True)
    labels[:] = 1
    (d,) = dynamic.grad(loss, logits, create_graph=True)
    np.testing.assert_allclose(d.data, expected.data, rtol=1e-15)
    index = np.array([1, 1])
    y = logits[index].sum()
    index[:] = 0
    y.backward()
    assert logits.grad.data.tolist() == [[0.0] * 3, [2.0] * 3]


def test_results_that_do_not_fit_are_refused():
    x = dynamic.tensor(np.zeros(3))
    with pytest.raises(ShapeError, match=r"x \(3,\), v \(2, 3\)"):
        x += np.ones((2, 3))
    with pytest.raises(DtypeError, match="int64, the dtype of x"):
        dynamic.tensor([1, 2]).__itruediv__(2)
    with pytest.raises(ShapeError, match="a value that broadcasts"):
        x[:2] = np.ones(3)
    assert x.data.tolist() == [0.0] * 3


def test_the_record_of_edits_goes_with_the_memory():
    gc.collect()
    before = len(versions._edits)
    x = dynamic.tensor(np.zeros(3))
    x += 1
    assert len(versions._edits) == before + 1
    gone = weakref.ref(x.data)
    del x
    assert gone() is None
    assert len(versions._edits) == before


def test_an_edit_of_other_bytes_of_the_same_memory_disturbs_nobody():
    memory = np.arange(8.0)
    x, other = dynamic.tensor(1.0), dynamic.tensor(1.0)
    x.data, other.data = memory[:4][::-1], memory[4:]
    x.requires_grad = True
    y = (x * x).sum()
    with dynamic.no_grad():
        other += 1
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [6.0, 4.0, 2.0, 0.0])
    y = (x * x).sum()
    with dynamic.no_grad():
        part = x.detach()[1:2]
        part += 1
    with pytest.raises(GraphError, match="edited in place before it was used"):
        y.backward()
