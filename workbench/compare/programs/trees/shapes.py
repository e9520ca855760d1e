"""Era 2 without padding: a graph for each shape of tree, compiled when the first one is met."""

import functools

import numpy as np

from workbench import symbolic
from workbench.compare.programs.trees.symbolic import Network as Padded
from workbench.compare.programs.trees.symbolic import linear
from workbench.symbolic import ops


def shape(tree):
    """Return what trees of one graph have in common: what each operation is on."""
    return tuple((left, right) for _, left, right in linear(tree)[1])


class Network(Padded):
    """The same Tree-LSTM, one tree after another; their gradients are summed up for a step."""

    def __init__(self, weights, learning_rate):
        self.weights = [symbolic.shared(w) for w in weights]
        self.sums = [symbolic.shared(np.zeros_like(w)) for w in weights]
        self.dtype = weights[0].dtype
        n = symbolic.scalar("n", self.dtype)
        updates = [
            (w, w - learning_rate * s / n) for w, s in zip(self.weights, self.sums, strict=True)
        ]
        updates += [(s, ops.zeros_like(s)) for s in self.sums]
        self.update = symbolic.function([n], None, updates=updates)
        self.functions = {}

    def logits(self, links, values, op):
        w, b = self.weights[4:]
        h, c = self.leaf(values)
        states = {i: (h[i], c[i]) for i in range(len(links) + 1)}
        for i, (left, right) in enumerate(links):
            states[-1 - i] = self.node(op[i], *states[left], *states[right])
        return states[-len(links)][0] @ w + b

    def compiled(self, links):
        """Return the functions that train on a tree and classify it."""
        if links not in self.functions:
            values, op = symbolic.vector("values", self.dtype), symbolic.vector("op", "int64")
            y = symbolic.scalar("y", "int64")
            logits = self.logits(links, values, op)
            loss = ops.softmax_cross_entropy(logits[None], y[None])
            # A tree that is just a number has no use for some of the weights.
            gradients = symbolic.grad(loss, self.weights, disconnected="zero")
            updates = [(s, s + g) for s, g in zip(self.sums, gradients, strict=True)]
            function = functools.partial(symbolic.function, on_unused_input="ignore")
            self.functions[links] = (
                function([values, op, y], loss, updates=updates),
                function([values, op], logits),
            )
        return self.functions[links]

    def arguments(self, tree):
        values, operations = linear(tree)
        return values, np.array([op for op, *_ in operations], np.int64)

    def step(self, trees, y):
        losses = []
        for tree, label in zip(trees, y, strict=True):
            train, _ = self.compiled(shape(tree))
            losses.append(train(*self.arguments(tree), label))
        self.update(len(trees))
        return np.mean(losses)

    def predict(self, trees):
        return np.stack([self.compiled(shape(t))[1](*self.arguments(t)) for t in trees])
