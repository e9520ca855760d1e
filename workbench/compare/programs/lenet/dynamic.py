"""Era 3, define by run: the graph is what just happened."""

from workbench import dynamic
from workbench.dynamic import ops, optim


class Network:
    """LeNet as Caffe drew it: two convolutions with pooling, and two affine layers."""

    def __init__(self, weights, learning_rate):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)

    def forward(self, x):
        k1, b1, k2, b2, w3, b3, w4, b4 = self.weights
        x = ops.max_pool2d(ops.conv2d(x, k1, b1), 2)
        x = ops.max_pool2d(ops.conv2d(x, k2, b2), 2)
        x = ops.relu(ops.affine(x.reshape(len(x), -1), w3, b3))
        return ops.affine(x, w4, b4)

    def loss(self, x, y):
        return ops.softmax_cross_entropy(self.forward(dynamic.tensor(x)), y)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss.data
