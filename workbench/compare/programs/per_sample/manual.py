"""Era 1, by hand: no gradient of an example is ever made, for somebody saw how to do without."""

import numpy as np

from workbench import manual

CLIP = 5.0


class Network:
    """Affine layers with tanh between them; no example moves the weights by more than CLIP."""

    def __init__(self, weights, learning_rate):
        self.weights = [w.copy() for w in weights]
        self.learning_rate = learning_rate

    def forward(self, x):
        layers, last = [], len(self.weights) - 2
        for i in range(0, last, 2):
            x, affine_cache = manual.affine(x, self.weights[i], self.weights[i + 1])
            x, tanh_cache = manual.tanh(x)
            layers.append((affine_cache, tanh_cache))
        logits, cache = manual.affine(x, self.weights[last], self.weights[last + 1])
        return logits, (layers, cache)

    def backward(self, g, saved):
        """Return each layer's input and the gradient of its output, an example a row."""
        layers, (h, w) = saved
        pairs = [(h, g)]
        for (h, below), tanh_cache in reversed(layers):
            g = manual.tanh_backward(g @ w.T, tanh_cache)
            pairs.insert(0, (h, g))
            w = below
        return pairs

    def loss_and_clipped(self, x, y):
        """Return the loss, the mean of the clipped gradients, and the norms before."""
        logits, saved = self.forward(x)
        loss, cache = manual.softmax_cross_entropy(logits, y)
        pairs = self.backward(manual.softmax_cross_entropy_backward(len(x), cache), saved)
        # The gradient of a weight is an outer product, whose norm is the product of the
        # norms (Goodfellow, 2015); the bias is the weight of an input that is always 1.
        norms = np.sqrt(sum(((h * h).sum(axis=1) + 1) * (g * g).sum(axis=1) for h, g in pairs))
        shares = np.minimum(1, CLIP / norms)[:, None] / len(x)
        return loss, [c for h, g in pairs for c in (h.T @ (g * shares), (g * shares).sum(0))], norms

    def step(self, x, y):
        loss, clipped, _ = self.loss_and_clipped(x, y)
        for w, g in zip(self.weights, clipped, strict=True):
            w -= self.learning_rate * g
        return loss

    def predict(self, x):
        logits, _ = self.forward(x)
        return logits


# Read off by the comparison:


def gradients(network, x, y):
    return network.loss_and_clipped(x, y)[1]


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return 0  # There is no graph: the program itself is the order of operations.


def notes(network, x, y):
    """Say what the norms cost, and what they are."""
    from workbench.compare.costs import beside_sgd

    norms = network.loss_and_clipped(x, y)[2]
    yield (
        f"the gradients of the first batch's {len(x)} examples have norms from {norms.min():.2f} "
        f"to {norms.max():.2f}, and {int((norms > CLIP).sum())} are cut down to {CLIP:g}."
    )
    yield (
        "the norms come without the gradients, by a rule that holds for affine layers alone: "
        f"{beside_sgd('manual', network, x, y)}."
    )
