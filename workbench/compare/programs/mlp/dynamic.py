"""Era 3, define by run: the graph is what just happened."""

from workbench import dynamic
from workbench.dynamic import ops, optim


class Network:
    """Affine layers with tanh between them, written as plain Python."""

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

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.data

    def predict(self, x):
        with dynamic.no_grad():
            return self.forward(dynamic.tensor(x)).data


# Read off by the comparison:


def gradients(network, x, y):
    return [g.data for g in dynamic.grad(network.loss(x, y), network.weights)]


def weights(network):
    return [w.data for w in network.weights]


def graph_size(network, x, y):
    return len(dynamic.graph(network.loss(x, y)))
