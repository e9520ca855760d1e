"""Era 1, by hand: every derivative is a line that somebody wrote."""

from workbench import manual


class Network:
    """Convolution, relu, max pooling and an affine layer, forward and then back."""

    def __init__(self, weights, learning_rate):
        self.weights = [w.copy() for w in weights]
        self.learning_rate = learning_rate

    def forward(self, x):
        kernels, bias, w, b = self.weights
        x, conv_cache = manual.conv2d(x, kernels, bias, padding=1)
        x, relu_cache = manual.relu(x)
        pooled, pool_cache = manual.max_pool2d(x, 2)
        logits, affine_cache = manual.affine(pooled.reshape(len(x), -1), w, b)
        return logits, (conv_cache, relu_cache, pooled.shape, pool_cache, affine_cache)

    def backward(self, g, saved):
        conv_cache, relu_cache, pooled_shape, pool_cache, affine_cache = saved
        g, gw, gb = manual.affine_backward(g, affine_cache)
        g = manual.max_pool2d_backward(g.reshape(pooled_shape), pool_cache)
        g = manual.relu_backward(g, relu_cache)
        _, gkernels, gbias = manual.conv2d_backward(g, conv_cache, input_gradient=False)
        return [gkernels, gbias, gw, gb]

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
