"""Era 4, functional: the loop over time is a function of its body, and derived with it."""

from workbench import functional
from workbench.functional import numpy as fnp


def predict(weights, x):
    table, wx, wh, b, w, bias = weights

    def lstm(state, a):
        h, c = state
        i, f, g, o = fnp.split(a + h @ wh, 4, axis=1)
        c = fnp.sigmoid(f) * c + fnp.sigmoid(i) * fnp.tanh(g)
        h = fnp.sigmoid(o) * fnp.tanh(c)
        return (h, c), h

    # What does not depend on the step before is computed outside the loop.
    inputs = table[x] @ wx + b
    zeros = fnp.zeros_like(inputs[0, :, : wh.shape[0]])
    _, states = functional.scan(lstm, (zeros, zeros), inputs)
    return fnp.reshape(states, (-1, wh.shape[0])) @ w + bias


def loss(weights, x, y):
    return fnp.softmax_cross_entropy(predict(weights, x), fnp.ravel(y))


class Network:
    """A character's embedding, an LSTM, and an affine layer that guesses the next one."""

    def __init__(self, weights, learning_rate):
        def update(weights, x, y):
            value, g = functional.value_and_grad(loss)(weights, x, y)
            return value, functional.tree_map(lambda w, g: w - learning_rate * g, weights, g)

        self.update, self.classify = functional.jit(update), functional.jit(predict)
        self.weights = weights

    def step(self, x, y):
        value, self.weights = self.update(self.weights, x, y)
        return value

    def predict(self, x):
        return self.classify(self.weights, x)


# Read off by the comparison:


def gradients(network, x, y):
    return functional.grad(loss)(network.weights, x, y)


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return len(functional.make_jaxpr(network.update.__wrapped__)(network.weights, x, y).eqns)
