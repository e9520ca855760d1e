"""Era 4, functional: write the loss, then transform it."""

from workbench import functional
from workbench.functional import numpy as fnp


def predict(weights, x):
    *hidden, (w, b) = zip(weights[::2], weights[1::2], strict=True)
    for w_hidden, b_hidden in hidden:
        x = fnp.tanh(x @ w_hidden + b_hidden)
    return x @ w + b


def loss(weights, x, y):
    return fnp.softmax_cross_entropy(predict(weights, x), y)


class Network:
    """Pure functions, and the one place that holds the weights between steps."""

    def __init__(self, weights, learning_rate):
        def update(weights, x, y):
            value, g = functional.value_and_grad(loss)(weights, x, y)
            return value, functional.tree_map(lambda w, g: w - learning_rate * g, weights, g)

        self.update = functional.jit(update)
        self.weights = weights

    def step(self, x, y):
        value, self.weights = self.update(self.weights, x, y)
        return value

    def predict(self, x):
        return predict(self.weights, x)


# Read off by the comparison:


def gradients(network, x, y):
    return functional.grad(loss)(network.weights, x, y)


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return len(functional.make_jaxpr(network.update.__wrapped__)(network.weights, x, y).eqns)
