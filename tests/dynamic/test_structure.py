"""Graphs whose structure depends on the data, and their gradients."""

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.datasets import expression_trees
from workbench.dynamic import ops
from workbench.dynamic.batching import batching

PROGRAMS = {}


def program(f):
    """List a program: (its parameters' first values, losses of the parameters)."""
    PROGRAMS[f.__name__] = f
    return f


@program
def recursive_network_over_expressions():
    """Each operation has weights of its own: the tree decides which are used, and in what order."""
    rng = np.random.default_rng(0)
    trees = expression_trees(6, 1, leaves=(1, 7), dtype=np.float64)

    def encode(tree, w):
        if tree.op == "leaf":
            return ops.tanh(w["leaf"] * dynamic.tensor([tree.value]))
        children = ops.concatenate([encode(tree.left, w), encode(tree.right, w)])
        return ops.tanh(children @ w[tree.op])

    def losses(w):
        return [
            ops.sum(ops.square(encode(tree, w) @ w["out"] - np.array(target)))
            for tree, target in zip(trees.x_train, trees.y_train, strict=True)
        ]

    shapes = {"leaf": (3,), "+": (6, 3), "-": (6, 3), "*": (6, 3), "out": (3,)}
    return {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}, losses


@program
def lstm_written_for_one_sequence():
    """The loop is as long as the sequence is; the last hidden state answers."""
    rng = np.random.default_rng(1)
    sequences = [rng.normal(size=(n, 2)) for n in (3, 1, 5, 4, 1, 2)]

    def last_hidden(sequence, w):
        h = c = np.zeros(3)
        for x in sequence:
            i, f, o, u = ops.reshape(x @ w["wx"] + h @ w["wh"] + w["b"], (4, 3))
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(u)
            h = ops.sigmoid(o) * ops.tanh(c)
        return h

    def losses(w):
        return [ops.sum(last_hidden(sequence, w) * w["out"]) for sequence in sequences]

    shapes = {"wx": (2, 12), "wh": (3, 12), "b": (12,), "out": (3,)}
    return {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}, losses


@program
def adaptive_depth():
    """A halting unit looks at the state after each step: some examples think longer."""
    rng = np.random.default_rng(2)
    examples = rng.normal(size=(8, 3))

    def steps(x, w):
        state, remainder, answer = x @ w["in"], 1.0, 0.0
        taken = 0
        while True:
            taken += 1
            state = ops.tanh(state @ w["step"])
            halt = ops.sigmoid(ops.sum(state * w["halt"]))
            if halt > 0.6 or taken == 6:
                return answer + ops.sum(state) * remainder, taken
            answer = answer + ops.sum(state) * halt * remainder
            remainder = remainder * (1.0 - halt)

    def losses(w):
        return [steps(x, w)[0] for x in examples]

    losses.lengths = lambda w: [steps(x, w)[1] for x in examples]
    shapes = {"in": (3, 4), "step": (4, 4), "halt": (4,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}, losses


def leaves(values):
    return {name: dynamic.tensor(v, requires_grad=True) for name, v in values.items()}


@pytest.mark.parametrize("strategy", [None, "agenda", "depth"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_those_of_the_path_taken(name, strategy):
    values, losses = PROGRAMS[name]()
    w = leaves(values)
    if strategy is None:
        loss = ops.mean(ops.stack(losses(w)))
    else:
        with batching(strategy) as batch:
            loss = ops.mean(ops.stack(losses(w)))
        if name != "adaptive_depth":  # Which keeps asking, and so leaves little to group.
            assert batch.report.after < batch.report.before
    loss.backward()
    for name in w:

        def f(v, name=name):
            changed = w | {name: dynamic.tensor(v)}
            with dynamic.no_grad():
                return ops.mean(ops.stack(losses(changed))).item()

        gradcheck.check_gradient(f, w[name].grad.data, values[name])


def test_examples_leave_early_at_different_depths():
    values, losses = adaptive_depth()
    assert len(set(losses.lengths(leaves(values)))) > 2


def test_an_early_exit_runs_what_it_looks_at_and_leaves_the_losses_for_later():
    values, losses = adaptive_depth()
    lengths = losses.lengths(leaves(values))
    w = leaves(values)
    with batching() as batch:
        answers = losses(w)
        assert batch.report.flushes == sum(lengths)
        ran = sum(row.size for row in batch.report.rows)
        loss = ops.sum(ops.stack(answers))
    assert ran < batch.report.before
    waited = [row for row in batch.report.rows if row.signature.cls.name == "add"]
    assert max(row.size for row in waited) > 1
    np.testing.assert_allclose(loss.item(), sum(x.item() for x in losses(leaves(values))))


def test_the_tape_of_each_example_has_its_own_length():
    values, losses = lstm_written_for_one_sequence()
    sizes = [len(dynamic.graph(loss)) for loss in losses(leaves(values))]
    longest, shortest = 5, 1
    assert sizes.index(max(sizes)) == 2
    assert sizes[1] == sizes[4] == min(sizes)
    per_step = (max(sizes) - min(sizes)) / (longest - shortest)
    assert per_step == int(per_step) > 0
