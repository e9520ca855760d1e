"""Era 3, define by run: the backward pass is recorded, and gone through backwards."""

from workbench import dynamic
from workbench.dynamic import ops, optim


class Network:
    """Affine layers with tanh; steps are no longer than the loss's largest curvature allows.

    A running average of ``H u``, with u its own direction, turns towards the Hessian's
    largest eigenvalue while the network trains (LeCun, Simard and Pearlmutter, 1993).
    """

    def __init__(self, weights, learning_rate):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.v = [dynamic.tensor(w) for w in weights]
        self.learning_rate = learning_rate
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)

    def forward(self, x):
        *hidden, (w, b) = zip(self.weights[::2], self.weights[1::2], strict=True)
        for w_hidden, b_hidden in hidden:
            x = ops.tanh(ops.affine(x, w_hidden, b_hidden))
        return ops.affine(x, w, b)

    def along(self, x, y):
        """Return the loss, its gradients, and their product with the direction of v."""
        loss = ops.softmax_cross_entropy(self.forward(dynamic.tensor(x)), y)
        gradients = dynamic.grad(loss, self.weights, create_graph=True)
        products = [ops.sum(g * v) for g, v in zip(gradients, self.v, strict=True)]
        return loss, gradients, sum(products) / norm(self.v)

    def step(self, x, y):
        loss, gradients, along = self.along(x, y)
        curved = dynamic.grad(along, self.weights)
        self.v = [0.9 * v + 0.1 * c for v, c in zip(self.v, curved, strict=True)]
        self.optimizer.lr = min(self.learning_rate, 1 / float(norm(self.v)))
        for w, g in zip(self.weights, gradients, strict=True):
            w.grad = g.detach()
        self.optimizer.step()
        return loss.data

    def predict(self, x):
        with dynamic.no_grad():
            return self.forward(dynamic.tensor(x)).data


def norm(v):
    return ops.sqrt(sum(ops.sum(a * a) for a in v))


# Read off by the comparison:


def gradients(network, x, y):
    return [c.data for c in dynamic.grad(network.along(x, y)[2], network.weights)]


def weights(network):
    return [w.data for w in network.weights]


def graph_size(network, x, y):
    return len(dynamic.graph(network.along(x, y)[2]))


def notes(network, x, y):
    """Say what the second backward pass costs."""
    from workbench.compare.costs import beside_sgd

    yield (
        "backward through backward, which has to be recorded (create_graph): "
        f"{beside_sgd('dynamic', network, x, y)}."
    )
