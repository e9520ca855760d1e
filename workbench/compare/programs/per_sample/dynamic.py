"""Era 3, define by run: one backward pass adds over the batch, so each example has its own."""

from workbench import dynamic
from workbench.dynamic import ops, optim

CLIP = 5.0


class Network:
    """Affine layers with tanh between them; no example moves the weights by more than CLIP."""

    def __init__(self, weights, learning_rate):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)

    def forward(self, x):
        *hidden, (w, b) = zip(self.weights[::2], self.weights[1::2], strict=True)
        for w_hidden, b_hidden in hidden:
            x = ops.tanh(ops.affine(x, w_hidden, b_hidden))
        return ops.affine(x, w, b)

    def loss(self, x, y):
        return ops.softmax_cross_entropy(self.forward(dynamic.tensor(x)), y)

    def loss_and_clipped(self, x, y):
        total, sums = 0.0, [0.0] * len(self.weights)
        for i in range(len(x)):
            loss = self.loss(x[i : i + 1], y[i : i + 1])
            gradients = [g.data for g in dynamic.grad(loss, self.weights)]
            norm = sum((g * g).sum() for g in gradients) ** 0.5
            share = min(1.0, CLIP / norm)
            sums = [s + share * g for s, g in zip(sums, gradients, strict=True)]
            total += loss.data
        return total / len(x), [s / len(x) for s in sums]

    def step(self, x, y):
        loss, clipped = self.loss_and_clipped(x, y)
        for w, g in zip(self.weights, clipped, strict=True):
            w.grad = dynamic.tensor(g)
        self.optimizer.step()
        return loss

    def predict(self, x):
        with dynamic.no_grad():
            return self.forward(dynamic.tensor(x)).data


# Read off by the comparison:


def gradients(network, x, y):
    return network.loss_and_clipped(x, y)[1]


def weights(network):
    return [w.data for w in network.weights]


def graph_size(network, x, y):
    return len(x) * len(dynamic.graph(network.loss(x[:1], y[:1])))


def notes(network, x, y):
    """Say what the loop costs."""
    from workbench.compare.costs import beside_sgd

    yield (
        f"a Python loop of {len(x)} backward passes, one an example: "
        f"{beside_sgd('dynamic', network, x, y)}."
    )
