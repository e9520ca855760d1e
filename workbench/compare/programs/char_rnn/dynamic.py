"""Era 3, define by run: the graph is what just happened."""

import numpy as np

from workbench import dynamic
from workbench.dynamic import ops, optim


class Network:
    """A character's embedding, an LSTM, and an affine layer that guesses the next one."""

    def __init__(self, weights, learning_rate):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)

    def forward(self, x):
        table, wx, wh, b, w, bias = self.weights
        zeros = dynamic.tensor(np.zeros((x.shape[1], len(wh)), wh.dtype), device=wh.device)
        states, _ = ops.lstm(ops.embedding(x, table), zeros, zeros, wx, wh, b)
        return ops.affine(states.reshape(-1, len(wh)), w, bias)

    def loss(self, x, y):
        return ops.softmax_cross_entropy(self.forward(x), y.reshape(-1))

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.data

    def predict(self, x):
        with dynamic.no_grad():
            return self.forward(x).data


# Read off by the comparison:


def gradients(network, x, y):
    return [g.data for g in dynamic.grad(network.loss(x, y), network.weights)]


def weights(network):
    return [w.data for w in network.weights]


def graph_size(network, x, y):
    return len(dynamic.graph(network.loss(x, y)))
