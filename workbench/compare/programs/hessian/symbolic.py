"""Era 2, symbolic: the gradient is an expression, so it has a gradient too."""

from workbench import symbolic
from workbench.symbolic import ops


class Network:
    """Affine layers with tanh; steps are no longer than the loss's largest curvature allows.

    A running average of ``H u``, with u its own direction, turns towards the Hessian's
    largest eigenvalue while the network trains (LeCun, Simard and Pearlmutter, 1993).
    """

    def __init__(self, weights, learning_rate):
        dtype = weights[0].dtype
        self.weights = [symbolic.shared(w) for w in weights]
        v = [symbolic.shared(w) for w in weights]
        x, y = symbolic.matrix("x", dtype=dtype), symbolic.vector("y", dtype="int64")
        *hidden, (w, b) = zip(self.weights[::2], self.weights[1::2], strict=True)
        h = x
        for w_hidden, b_hidden in hidden:
            h = ops.tanh(h @ w_hidden + b_hidden)
        logits = h @ w + b
        loss = ops.softmax_cross_entropy(logits, y)
        gradients = symbolic.grad(loss, self.weights)
        along = sum(ops.sum(g * a) for g, a in zip(gradients, v, strict=True)) / norm(v)
        self.curvature = symbolic.grad(along, self.weights)
        new = [0.9 * a + 0.1 * c for a, c in zip(v, self.curvature, strict=True)]
        rate = ops.minimum(learning_rate, 1 / norm(new))
        updates = [(w, w - rate * g) for w, g in zip(self.weights, gradients, strict=True)]
        self.inputs = [x, y]
        self.step = symbolic.function(
            self.inputs, loss, updates=[*updates, *zip(v, new, strict=True)]
        )
        self.predict = symbolic.function([x], logits)


def norm(v):
    return ops.sqrt(sum(ops.sum(a * a) for a in v))


# Read off by the comparison:


def gradients(network, x, y):
    return symbolic.function(network.inputs, network.curvature)(x, y)


def weights(network):
    return [w.get_value() for w in network.weights]


def graph_size(network, x, y):
    return network.step.graph_size


def notes(network, x, y):
    """Say what the second gradient costs."""
    from workbench.compare.costs import beside_sgd

    yield f"H u is the gradient of g . u, one graph: {beside_sgd('symbolic', network, x, y)}."
