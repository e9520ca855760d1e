"""Era 2, symbolic: one graph for all trees, which was there before them."""

import numpy as np

from workbench import symbolic
from workbench.symbolic import ops


def linear(tree):
    """Return the numbers at a tree's leaves, and its operations in post-order.

    An operation is (which, left, right).  Leaves are called 0, 1, 2 and so on, what the
    operations make -1, -2, -3: one array has room for both, from its two ends.
    """
    values, operations = [], []

    def visit(tree):
        if tree.op == "leaf":
            values.append(tree.value)
            return len(values) - 1
        left, right = visit(tree.left), visit(tree.right)
        operations.append(("+-*".index(tree.op), left, right))
        return -len(operations)

    visit(tree)
    return values, operations


def padded(trees, dtype):
    """Return values (leaves, N), operations (steps, N, 3) and roots (N,) of N trees."""
    lists = [linear(tree) for tree in trees]
    leaves = max(len(values) for values, _ in lists)
    values = np.zeros((leaves, len(trees)), dtype)
    operations = np.zeros((max(leaves - 1, 1), len(trees), 3), np.int64)
    for n, (numbers, made) in enumerate(lists):
        values[: len(numbers), n] = numbers
        operations[: len(made), n] = np.reshape(made, (-1, 3))
    return values, operations, np.array([-len(made) for _, made in lists])


class Network:
    """A binary Tree-LSTM (Tai, Socher and Manning, 2015) that tells the sign of an expression.

    Every tree takes as many steps as the largest of its batch, however small it is.
    """

    def __init__(self, weights, learning_rate):
        self.weights = [symbolic.shared(w) for w in weights]
        self.dtype = weights[0].dtype
        values = symbolic.matrix("values", self.dtype)
        operations = symbolic.tensor("operations", "int64", (None, None, 3))
        roots, y = symbolic.vector("roots", "int64"), symbolic.vector("y", "int64")
        logits = self.forward(values, operations, roots)
        loss = ops.softmax_cross_entropy(logits, y)
        self.gradients = symbolic.grad(loss, self.weights)
        updates = [
            (w, w - learning_rate * g) for w, g in zip(self.weights, self.gradients, strict=True)
        ]
        self.inputs = [values, operations, roots, y]
        self.train = symbolic.function(self.inputs, loss, updates=updates)
        self.classify = symbolic.function(self.inputs[:3], logits)

    def leaf(self, value):
        w, b, *_ = self.weights
        i, o, u = ops.split(ops.expand_dims(value, -1) * w[0] + b, 3, axis=-1)
        c = ops.sigmoid(i) * ops.tanh(u)
        return ops.sigmoid(o) * ops.tanh(c), c

    def node(self, op, h_left, c_left, h_right, c_right):
        _, _, w, table, *_ = self.weights
        gates = ops.concatenate([h_left, h_right], axis=-1) @ w + table[op]
        i, o, f_left, f_right, u = ops.split(gates, 5, axis=-1)
        kept = ops.sigmoid(f_left) * c_left + ops.sigmoid(f_right) * c_right
        c = ops.sigmoid(i) * ops.tanh(u) + kept
        return ops.sigmoid(o) * ops.tanh(c), c

    def forward(self, values, operations, roots):
        w, b = self.weights[4:]
        steps, count = ops.shape_of(operations)[0], ops.shape_of(roots)[0]
        n, room = ops.arange(count), ops.zeros((steps, count, w.shape[0]), w.dtype)

        def step(operation, place, h, c):
            op, left, right = operation[:, 0], operation[:, 1], operation[:, 2]
            new = self.node(op, h[left, n], c[left, n], h[right, n], c[right, n])
            return [ops.set_subtensor(x[place], y) for x, y in zip((h, c), new, strict=True)]

        states = [ops.concatenate([x, room]) for x in self.leaf(values)]
        h, _ = symbolic.scan(step, [operations, -1 - ops.arange(steps)], outputs_info=states)
        return h[-1][roots, n] @ w + b

    def step(self, trees, y):
        return self.train(*padded(trees, self.dtype), y)

    def predict(self, trees):
        return self.classify(*padded(trees, self.dtype))


# Read off by the comparison:

SAMPLE = 3  # The shapes of tree that ``notes`` compiles.


def gradients(network, trees, y):
    inputs = padded(trees, network.dtype)
    return symbolic.function(network.inputs, network.gradients)(*inputs, y)


def weights(network):
    return [w.get_value() for w in network.weights]


def graph_size(network, trees, y):
    return network.train.graph_size


def notes(network, trees, y):
    """Say what padding costs, and what a graph for each shape of tree would."""
    from time import perf_counter

    from workbench.compare.programs.trees import shapes
    from workbench.compare.table import seconds

    def clocked(network, chosen):
        begin = perf_counter()
        network.step([trees[i] for i in chosen], y[chosen])
        return perf_counter() - begin

    _, operations, roots = padded(trees, network.dtype)
    steps, needed = operations[..., 0].size, -int(roots.sum())
    yield (
        f"of the {steps} operations that the loop does for the first batch, "
        f"{steps - needed} ({1 - needed / steps:.0%}) are padding."
    )
    first = {shapes.shape(tree): i for i, tree in reversed([*enumerate(trees)])}
    some = sorted(first.values())[:SAMPLE]
    other = shapes.Network(weights(network), 0.0)
    compiling = clocked(other, some)
    running = min(clocked(other, some) for _ in range(5))
    yield (
        f"a graph for each shape needs no padding, but the {len(trees)} trees of that batch have "
        f"{len(first)} shapes: building and compiling {len(some)} of those graphs took "
        f"{seconds(compiling - running)}; a step of training on a tree of each then takes "
        f"{seconds(running)}."
    )
