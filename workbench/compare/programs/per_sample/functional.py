"""Era 4, functional: write the gradient of one example, then map it over the batch."""

from workbench import functional
from workbench.functional import numpy as fnp

CLIP = 5.0


def predict(weights, x):
    *hidden, (w, b) = zip(weights[::2], weights[1::2], strict=True)
    for w_hidden, b_hidden in hidden:
        x = fnp.tanh(x @ w_hidden + b_hidden)
    return x @ w + b


def loss(weights, x, y):
    return fnp.softmax_cross_entropy(predict(weights, x[None]), y[None])


def clipped(weights, x, y):
    """Return the loss of one example, and its gradient, no longer than CLIP."""
    value, gradients = functional.value_and_grad(loss)(weights, x, y)
    norm = fnp.sqrt(sum(fnp.sum(g * g) for g in gradients))
    share = fnp.minimum(1.0, CLIP / norm)
    return value, [share * g for g in gradients]


def mean_of_clipped(weights, x, y):
    of_each = functional.vmap(clipped, in_axes=(None, 0, 0))(weights, x, y)
    return functional.tree_map(lambda each: fnp.mean(each, axis=0), of_each)


class Network:
    """Pure functions, and the one place that holds the weights between steps."""

    def __init__(self, weights, learning_rate):
        def update(weights, x, y):
            value, g = mean_of_clipped(weights, x, y)
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
    return mean_of_clipped(network.weights, x, y)[1]


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return len(functional.make_jaxpr(network.update.__wrapped__)(network.weights, x, y).eqns)


def notes(network, x, y):
    """Say what the map costs."""
    from workbench.compare.costs import beside_sgd

    yield (
        f"vmap of the gradient of one example makes all {len(x)} at once: "
        f"{beside_sgd('functional', network, x, y)}."
    )
