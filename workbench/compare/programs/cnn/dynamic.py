"""Era 3, define by run: the graph is what just happened."""

from workbench import dynamic
from workbench.dynamic import ops, optim


class Network:
    """Convolution, relu, max pooling and an affine layer, written as plain Python."""

    def __init__(self, weights, learning_rate):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)

    def forward(self, x):
        kernels, bias, w, b = self.weights
        x = ops.max_pool2d(ops.relu(ops.conv2d(x, kernels, bias, padding=1)), 2)
        return ops.affine(x.reshape(len(x), -1), w, b)

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
