"""Era 2, symbolic: a loop over the examples is a node of the graph, with a gradient inside."""

from workbench import symbolic
from workbench.symbolic import ops

CLIP = 5.0


class Network:
    """Affine layers with tanh between them; no example moves the weights by more than CLIP."""

    def __init__(self, weights, learning_rate):
        dtype = weights[0].dtype
        self.weights = [symbolic.shared(w) for w in weights]
        x, y = symbolic.matrix("x", dtype=dtype), symbolic.vector("y", dtype="int64")

        def add_example(x, y, total, *sums):
            loss = ops.softmax_cross_entropy(self.logits(x[None]), y[None])
            gradients = symbolic.grad(loss, self.weights)
            norm = ops.sqrt(sum(ops.sum(g * g) for g in gradients))
            share = ops.minimum(1.0, CLIP / norm)
            return [total + loss, *(s + share * g for s, g in zip(sums, gradients, strict=True))]

        zeros = [ops.zeros((), dtype), *(ops.zeros_like(w) for w in self.weights)]
        sums = symbolic.scan(add_example, [x, y], outputs_info=zeros)
        count = ops.cast(ops.shape_of(x)[0], dtype)
        loss, *self.gradients = [s[-1] / count for s in sums]
        updates = [
            (w, w - learning_rate * g) for w, g in zip(self.weights, self.gradients, strict=True)
        ]
        self.inputs = [x, y]
        self.step = symbolic.function(self.inputs, loss, updates=updates)
        self.predict = symbolic.function([x], self.logits(x))

    def logits(self, h):
        *hidden, (w, b) = zip(self.weights[::2], self.weights[1::2], strict=True)
        for w_hidden, b_hidden in hidden:
            h = ops.tanh(h @ w_hidden + b_hidden)
        return h @ w + b


# Read off by the comparison:


def gradients(network, x, y):
    return symbolic.function(network.inputs, network.gradients)(x, y)


def weights(network):
    return [w.get_value() for w in network.weights]


def graph_size(network, x, y):
    return network.step.graph_size


def notes(network, x, y):
    """Say what the loop costs."""
    from workbench.compare.costs import beside_sgd

    yield (
        "one example after another, in a compiled loop that differentiates each: "
        f"{beside_sgd('symbolic', network, x, y)}."
    )
