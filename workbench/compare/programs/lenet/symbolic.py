"""Era 2, symbolic: build the expression, differentiate it, compile it, then feed it."""

from workbench import symbolic
from workbench.symbolic import ops


class Network:
    """LeNet as Caffe drew it: two convolutions with pooling, and two affine layers."""

    def __init__(self, weights, learning_rate):
        dtype = weights[0].dtype
        self.weights = [symbolic.shared(w) for w in weights]
        k1, b1, k2, b2, w3, b3, w4, b4 = self.weights
        x = symbolic.tensor("x", dtype=dtype, shape=(None, 1, 28, 28))
        y = symbolic.vector("y", dtype="int64")
        h = ops.max_pool2d(ops.conv2d(x, k1, b1), 2)
        h = ops.max_pool2d(ops.conv2d(h, k2, b2), 2)
        h = ops.relu(ops.reshape(h, (-1, 800)) @ w3 + b3)
        loss = ops.softmax_cross_entropy(h @ w4 + b4, y)
        updates = [
            (w, w - learning_rate * g)
            for w, g in zip(self.weights, symbolic.grad(loss, self.weights), strict=True)
        ]
        self.step = symbolic.function([x, y], loss, updates=updates)
