"""Batching by a plan of the reader's own."""

import numpy as np
import pytest

from workbench import datasets, dynamic
from workbench.dynamic import ops
from workbench.errors import GraphError, UnknownNameError

W = dynamic.tensor(np.linspace(-1, 1, 24).reshape(6, 4)[:, :3], requires_grad=True)
V = dynamic.tensor(np.linspace(-1, 1, 3).reshape(1, 3), requires_grad=True)


def encode(tree):
    if tree.op == "leaf":
        return ops.tanh(ops.affine(np.array([[tree.value]]), V))
    both = [encode(tree.left), encode(tree.right)]
    return ops.tanh(ops.affine(ops.concatenate(both, axis=1), W))


def one_by_one(signatures, needs):
    return [[number] for number in range(len(signatures))]


def by_depth(signatures, needs):
    depth = []
    for each in needs:
        depth.append(1 + max((depth[i] for i in each), default=-1))
    kinds = sorted(set(zip(depth, signatures, strict=True)))
    pairs = list(zip(depth, signatures, strict=True))
    return [[i for i, pair in enumerate(pairs) if pair == kind] for kind in kinds]


def run(strategy):
    trees = datasets.expression_trees(6, 1, leaves=(1, 7), seed=3, dtype=np.float64).x_train
    with dynamic.batching(strategy) as batch:
        sums = ops.stack([encode(tree).sum() for tree in trees])
    return sums.numpy(), [g.numpy() for g in dynamic.grad(sums.mean(), [W, V])], batch.report


@pytest.mark.parametrize(
    ("plan", "strategy"),
    [
        pytest.param(one_by_one, "none", id="one by one"),
        pytest.param(by_depth, "depth", id="by depth"),
    ],
)
def test_a_plan_runs_what_the_strategy_that_it_spells_out_runs(plan, strategy):
    (mine, gradients, report), (theirs, others, other) = run(plan), run(strategy)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-14)
    for g, h in zip(gradients, others, strict=True):
        np.testing.assert_allclose(g, h, rtol=0, atol=1e-13)
    assert [row.size for row in report.rows].count(1) == [row.size for row in other.rows].count(1)
    assert report.before == other.before
    assert len(report.rows) == len(other.rows)


def test_a_plan_sees_only_what_has_yet_to_run():
    seen = []

    def plan(signatures, needs):
        seen.append((signatures, needs))
        return one_by_one(signatures, needs)

    with dynamic.batching(plan) as batch:
        x = ops.exp(V)
        y = x * x
        assert y.numpy().shape == (1, 3)
        z = ops.sin(y)
        other = ops.exp(V + np.ones((1, 3)))
    assert seen == [([0, 1], [(), (0,)]), ([0, 1, 2], [(), (), (1,)])]
    assert batch.report.flushes == 1
    np.testing.assert_array_equal(z.numpy(), np.sin(np.exp(V.data) * np.exp(V.data)))
    np.testing.assert_array_equal(other.numpy(), np.exp(V.data + 1))


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        pytest.param([[0], [1]], "leaves out a call", id="incomplete"),
        pytest.param([[0], [1], [2], [1]], "runs a call twice", id="twice"),
        pytest.param([[0], [1, 1], [2]], "runs a call twice", id="twice in one launch"),
        pytest.param([[1], [0], [2]], "before what it needs", id="too early"),
        pytest.param([[0, 1], [2]], "mixes signatures", id="mixed"),
        pytest.param([[0], [1, 2]], "before what it needs", id="together with what it needs"),
        pytest.param([[0], [1], [2], [3]], "that there is not", id="too many"),
        pytest.param([[0], [1], [-1]], "that there is not", id="negative"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_with_the_call_in_question(plan, problem):
    with pytest.raises(GraphError, match=problem), dynamic.batching(lambda *_: plan):
        ops.exp(ops.exp(V + V))


def test_another_name_is_still_refused():
    with pytest.raises(UnknownNameError, match="breadth"):
        dynamic.batching("breadth")
