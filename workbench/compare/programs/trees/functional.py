"""Era 4, functional: a loop over the operations of one tree, mapped over the batch."""

import numpy as np

from workbench import functional
from workbench.functional import numpy as fnp


def linear(tree, leaves):
    """Return a tree's numbers and its operations (which, left, right, place), in post-order.

    Numbers have the places 0, 1, 2 and so on, the operations follow from ``leaves`` on.
    """
    values, operations = [], []

    def visit(tree):
        if tree.op == "leaf":
            values.append(tree.value)
            return len(values) - 1
        left, right = visit(tree.left), visit(tree.right)
        place = leaves + len(operations)
        operations.append(("+-*".index(tree.op), left, right, place))
        return place

    root = visit(tree)
    return values, operations, root


def padded(trees, dtype):
    """Return values (N, leaves), operations (N, steps, 4) and roots (N,) of N trees."""
    leaves = max(tree.leaves for tree in trees)
    values = np.zeros((len(trees), leaves), dtype)
    operations = np.zeros((len(trees), max(leaves - 1, 1), 4), np.int64)
    operations[:, :, 3] = leaves + np.arange(operations.shape[1])
    roots = np.zeros(len(trees), np.int64)
    for n, tree in enumerate(trees):
        numbers, made, roots[n] = linear(tree, leaves)
        values[n, : len(numbers)] = numbers
        operations[n, : len(made)] = np.reshape(made, (-1, 4))
    return values, operations, roots


def classify(weights, values, operations, root):
    """Return the logits of one tree, by a binary Tree-LSTM (Tai, Socher and Manning, 2015)."""
    w_leaf, b_leaf, w, table, w_out, b_out = weights

    def node(states, operation):
        (h, c), (op, left, right, place) = states, operation
        gates = fnp.concatenate([h[left], h[right]]) @ w + table[op]
        i, o, f_left, f_right, u = fnp.split(gates, 5)
        kept = fnp.sigmoid(f_left) * c[left] + fnp.sigmoid(f_right) * c[right]
        new = fnp.sigmoid(i) * fnp.tanh(u) + kept
        return (h.at[place].set(fnp.sigmoid(o) * fnp.tanh(new)), c.at[place].set(new)), None

    i, o, u = fnp.split(values[:, None] * w_leaf + b_leaf, 3, axis=1)
    c = fnp.sigmoid(i) * fnp.tanh(u)
    room = ((0, operations.shape[0]), (0, 0))
    states = fnp.pad(fnp.sigmoid(o) * fnp.tanh(c), room), fnp.pad(c, room)
    (h, _), _ = functional.scan(node, states, tuple(operations.T))
    return h[root] @ w_out + b_out


batched = functional.vmap(classify, in_axes=(None, 0, 0, 0))


def loss(weights, inputs, y):
    return fnp.softmax_cross_entropy(batched(weights, *inputs), y)


class Network:
    """Every tree takes as many steps as the largest of its batch, however small it is."""

    def __init__(self, weights, learning_rate):
        def update(weights, inputs, y):
            value, g = functional.value_and_grad(loss)(weights, inputs, y)
            return value, functional.tree_map(lambda w, g: w - learning_rate * g, weights, g)

        self.update, self.classify = functional.jit(update), functional.jit(batched)
        self.weights = weights
        self.dtype = weights[0].dtype

    def step(self, trees, y):
        value, self.weights = self.update(self.weights, padded(trees, self.dtype), y)
        return value

    def predict(self, trees):
        return self.classify(self.weights, *padded(trees, self.dtype))


# Read off by the comparison:


def gradients(network, trees, y):
    return functional.grad(loss)(network.weights, padded(trees, network.dtype), y)


def weights(network):
    return network.weights


def graph_size(network, trees, y):
    inputs = padded(trees, network.dtype)
    return len(functional.make_jaxpr(network.update.__wrapped__)(network.weights, inputs, y).eqns)


def notes(network, trees, y):
    """Say what is compiled anew, and when."""
    from time import perf_counter

    from workbench.compare.costs import quickest
    from workbench.compare.table import seconds

    smaller = [tree for tree in trees if tree.leaves < max(tree.leaves for tree in trees)]
    labels = y[: len(smaller)]
    network.step(trees, y)
    begin = perf_counter()
    network.step(smaller, labels)
    compiling = perf_counter() - begin
    (running,) = quickest(lambda: network.step(smaller, labels))
    yield (
        "jit compiles the loop once for each size of the largest tree of a batch; one more size "
        f"took {seconds(compiling - running)}, a step on it {seconds(running)}."
    )
