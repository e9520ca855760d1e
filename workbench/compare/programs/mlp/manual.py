"""Era 1, by hand: every derivative is a line that somebody wrote."""

from workbench import manual


class Network:
    """Affine layers with tanh between them, and their gradients, layer by layer."""

    def __init__(self, weights, learning_rate):
        self.weights = [w.copy() for w in weights]
        self.learning_rate = learning_rate

    def forward(self, x):
        caches = []
        last = len(self.weights) - 2
        for i in range(0, last, 2):
            x, affine_cache = manual.affine(x, self.weights[i], self.weights[i + 1])
            x, tanh_cache = manual.tanh(x)
            caches.append((affine_cache, tanh_cache))
        logits, cache = manual.affine(x, self.weights[last], self.weights[last + 1])
        return logits, (caches, cache)

    def backward(self, g, saved):
        caches, cache = saved
        # Nobody asks for the gradient of the data: below the first layer, g stops.
        g, gw, gb = manual.affine_backward(g, cache, input_gradient=bool(caches))
        gradients = [gw, gb]
        while caches:
            affine_cache, tanh_cache = caches.pop()
            g = manual.tanh_backward(g, tanh_cache)
            g, gw, gb = manual.affine_backward(g, affine_cache, input_gradient=bool(caches))
            gradients = [gw, gb, *gradients]
        return gradients

    def loss_and_gradients(self, x, y):
        logits, saved = self.forward(x)
        loss, cache = manual.softmax_cross_entropy(logits, y)
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
