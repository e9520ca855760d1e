"""Era 4, functional: forward mode through reverse mode, two transforms and no new rule."""

from workbench import functional
from workbench.functional import numpy as fnp


def predict(weights, x):
    *hidden, (w, b) = zip(weights[::2], weights[1::2], strict=True)
    for w_hidden, b_hidden in hidden:
        x = fnp.tanh(x @ w_hidden + b_hidden)
    return x @ w + b


def loss(weights, x, y):
    return fnp.softmax_cross_entropy(predict(weights, x), y)


def norm(v):
    return fnp.sqrt(sum(fnp.sum(a * a) for a in v))


def curvature(weights, v, x, y):
    """Return the loss, its gradients g and the product H u, with u the direction of v."""

    def value_and_gradients(weights):
        return functional.value_and_grad(loss)(weights, x, y)

    u = [a / norm(v) for a in v]
    (value, gradients), (_, curved) = functional.jvp(value_and_gradients, (weights,), (u,))
    return value, gradients, curved


class Network:
    """Pure functions; steps are no longer than the loss's largest curvature allows.

    A running average of ``H u``, with u its own direction, turns towards the Hessian's
    largest eigenvalue while the network trains (LeCun, Simard and Pearlmutter, 1993).
    """

    def __init__(self, weights, learning_rate):
        def update(weights, v, x, y):
            value, gradients, curved = curvature(weights, v, x, y)
            v = [0.9 * a + 0.1 * c for a, c in zip(v, curved, strict=True)]
            rate = fnp.minimum(learning_rate, 1 / norm(v))
            return value, [w - rate * g for w, g in zip(weights, gradients, strict=True)], v

        self.update = functional.jit(update)
        self.weights = self.v = list(weights)

    def step(self, x, y):
        value, self.weights, self.v = self.update(self.weights, self.v, x, y)
        return value

    def predict(self, x):
        return predict(self.weights, x)


# Read off by the comparison:

PRODUCTS = 50  # Of the power iteration in ``notes``.


def gradients(network, x, y):
    return curvature(network.weights, network.v, x, y)[2]


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return len(
        functional.make_jaxpr(network.update.__wrapped__)(network.weights, network.v, x, y).eqns
    )


def notes(network, x, y):
    """Say what the product costs, and what reverse over reverse does in its place."""
    from workbench.compare.costs import beside_sgd, quickest

    @functional.jit
    def forward_over_reverse(weights, v):
        return functional.jvp(lambda w: functional.grad(loss)(w, x, y), (weights,), (v,))[1]

    @functional.jit
    def reverse_over_reverse(weights, v):
        def along(weights):
            gradients = functional.grad(loss)(weights, x, y)
            return sum(fnp.sum(g * a) for g, a in zip(gradients, v, strict=True))

        return functional.grad(along)(weights)

    products = (forward_over_reverse, reverse_over_reverse)
    forward, reverse = quickest(*(lambda f=f: f(network.weights, network.v) for f in products))
    v = network.v
    for _ in range(PRODUCTS):
        length = norm(v)
        v = forward_over_reverse(network.weights, [a / length for a in v])
    yield (
        f"the largest eigenvalue of the first batch, at the first weights, is {float(norm(v)):.3g} "
        f"after {PRODUCTS} products."
    )
    yield (
        f"H u is jvp of grad: {beside_sgd('functional', network, x, y)}. Reverse over reverse, "
        f"grad of g . u, takes {reverse / forward:.2f} times what forward over reverse takes."
    )
