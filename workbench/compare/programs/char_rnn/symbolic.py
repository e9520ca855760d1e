"""Era 2, symbolic: the loop over time is a node of the graph, and has a gradient."""

from workbench import symbolic
from workbench.symbolic import ops


class Network:
    """A character's embedding, an LSTM, and an affine layer that guesses the next one."""

    def __init__(self, weights, learning_rate):
        self.weights = [symbolic.shared(w) for w in weights]
        table, wx, wh, b, w, bias = self.weights
        x, y = symbolic.matrix("x", dtype="int64"), symbolic.matrix("y", dtype="int64")

        def lstm(a, h, c):
            i, f, g, o = ops.split(a + h @ wh, 4, axis=1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            return ops.sigmoid(o) * ops.tanh(c), c

        # What does not depend on the step before is computed outside the loop.
        inputs = ops.embedding(x, table) @ wx + b
        zeros = ops.zeros((ops.shape_of(x)[1], wh.shape[0]), wh.dtype)
        states, _ = symbolic.scan(lstm, inputs, outputs_info=[zeros, zeros])
        logits = ops.reshape(states, (-1, wh.shape[0])) @ w + bias
        loss = ops.softmax_cross_entropy(logits, ops.ravel(y))
        self.gradients = symbolic.grad(loss, self.weights)
        updates = [
            (w, w - learning_rate * g) for w, g in zip(self.weights, self.gradients, strict=True)
        ]
        self.inputs = [x, y]
        self.step = symbolic.function([x, y], loss, updates=updates)
        self.predict = symbolic.function([x], logits)


# Read off by the comparison:


def gradients(network, x, y):
    return symbolic.function(network.inputs, network.gradients)(x, y)


def weights(network):
    return [w.get_value() for w in network.weights]


def graph_size(network, x, y):
    return network.step.graph_size
