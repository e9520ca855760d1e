"""Era 2, symbolic: build the expression, differentiate it, compile it, then feed it."""

from workbench import symbolic
from workbench.symbolic import ops


class Network:
    """Affine layers with tanh between them, as one expression."""

    def __init__(self, weights, learning_rate):
        dtype = weights[0].dtype
        self.weights = [symbolic.shared(w) for w in weights]
        x, y = symbolic.matrix("x", dtype=dtype), symbolic.vector("y", dtype="int64")
        *hidden, (w, b) = zip(self.weights[::2], self.weights[1::2], strict=True)
        h = x
        for w_hidden, b_hidden in hidden:
            h = ops.tanh(h @ w_hidden + b_hidden)
        logits = h @ w + b
        self.loss = ops.softmax_cross_entropy(logits, y)
        self.gradients = symbolic.grad(self.loss, self.weights)
        self.updates = [
            (w, w - learning_rate * g) for w, g in zip(self.weights, self.gradients, strict=True)
        ]
        self.inputs = [x, y]
        self.step = symbolic.function(self.inputs, self.loss, updates=self.updates)
        self.predict = symbolic.function([x], logits)


# Read off by the comparison:


def gradients(network, x, y):
    return symbolic.function(network.inputs, network.gradients)(x, y)


def weights(network):
    return [w.get_value() for w in network.weights]


def graph_size(network, x, y):
    return network.step.graph_size
