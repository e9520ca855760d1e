"""Era 1, by hand: the way back through time is a pair of functions, too."""

import numpy as np

from workbench import manual


class Network:
    """A character's embedding, an LSTM, and an affine layer that guesses the next one."""

    def __init__(self, weights, learning_rate):
        self.weights = [w.copy() for w in weights]
        self.learning_rate = learning_rate

    def forward(self, x):
        table, wx, wh, b, w, bias = self.weights
        # A batch has time first, the functions here have sequences first.
        rows, embedding_cache = manual.embedding(x.T, table)
        zeros = np.zeros_like(rows, shape=(len(rows), len(wh)))
        (states, _), lstm_cache = manual.lstm(rows, zeros, zeros, wx, wh, b)
        states = states.swapaxes(0, 1)
        logits, affine_cache = manual.affine(states.reshape(-1, len(wh)), w, bias)
        return logits, (embedding_cache, zeros, lstm_cache, states.shape, affine_cache)

    def backward(self, g, saved):
        embedding_cache, zeros, lstm_cache, shape, affine_cache = saved
        g, gw, gbias = manual.affine_backward(g, affine_cache)
        g = g.reshape(shape).swapaxes(0, 1)
        # Nobody looks at the last cell: no gradient comes from there.
        g, _, _, gwx, gwh, gb = manual.lstm_backward((g, zeros), lstm_cache)
        return [manual.embedding_backward(g, embedding_cache), gwx, gwh, gb, gw, gbias]

    def loss_and_gradients(self, x, y):
        logits, saved = self.forward(x)
        loss, cache = manual.softmax_cross_entropy(logits, y.reshape(-1))
        g = manual.softmax_cross_entropy_backward(1.0, cache)
        return loss, self.backward(g, saved)

    def step(self, x, y):
        loss, gradients = self.loss_and_gradients(x, y)
        for w, g in zip(self.weights, gradients, strict=True):
            w -= self.learning_rate * g
        return loss

    def predict(self, x):
        logits, _ = self.forward(x)
        return logits


# Read off by the comparison:


def gradients(network, x, y):
    return network.loss_and_gradients(x, y)[1]


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return 0  # There is no graph: the program itself is the order of operations.
