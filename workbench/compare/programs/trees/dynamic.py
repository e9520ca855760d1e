"""Era 3, define by run: a recursive network, written for one tree."""

from workbench import dynamic
from workbench.dynamic import ops, optim
from workbench.dynamic.batching import batching


class Network:
    """A binary Tree-LSTM (Tai, Socher and Manning, 2015) that tells the sign of an expression."""

    OPS = ("+", "-", "*")

    def __init__(self, weights, learning_rate, strategy="agenda"):
        self.weights = [dynamic.tensor(w, requires_grad=True) for w in weights]
        self.optimizer = optim.SGD(self.weights, lr=learning_rate)
        self.strategy = strategy  # Of the batching; None runs without.

    def encode(self, tree):
        w_leaf, b_leaf, w, table, *_ = self.weights
        if tree.op == "leaf":
            value = dynamic.tensor([tree.value], device=w_leaf.device, dtype=w_leaf.dtype)
            gates = ops.reshape(value @ w_leaf + b_leaf, (3, -1))
            i, o = ops.sigmoid(gates[:2])
            c = i * ops.tanh(gates[2])
        else:
            h_left, c_left = self.encode(tree.left)
            h_right, c_right = self.encode(tree.right)
            gates = ops.concatenate([h_left, h_right]) @ w + table[self.OPS.index(tree.op)]
            gates = ops.reshape(gates, (5, -1))
            open_ = ops.sigmoid(gates[:4])
            i, o, forget = open_[0], open_[1], open_[2:]
            c = i * ops.tanh(gates[4]) + ops.sum(forget * ops.stack([c_left, c_right]), axis=0)
        return o * ops.tanh(c), c

    def logits(self, trees):
        w, b = self.weights[4:]
        return [self.encode(tree)[0] @ w + b for tree in trees]

    def forward(self, trees):
        if self.strategy is None:
            return ops.stack(self.logits(trees))
        with batching(self.strategy):
            return ops.stack(self.logits(trees))

    def loss(self, trees, y):
        return ops.softmax_cross_entropy(self.forward(trees), y)

    def step(self, trees, y):
        self.optimizer.zero_grad()
        loss = self.loss(trees, y)
        loss.backward()
        self.optimizer.step()
        return loss.data

    def predict(self, trees):
        with dynamic.no_grad():
            return self.forward(trees).data


# Read off by the comparison:


def gradients(network, trees, y):
    return [g.data for g in dynamic.grad(network.loss(trees, y), network.weights)]


def weights(network):
    return [w.data for w in network.weights]


def graph_size(network, trees, y):
    return len(dynamic.graph(network.loss(trees, y)))


def notes(network, trees, y):
    """Say what batching saved."""
    from time import perf_counter

    from workbench.compare.table import seconds

    with dynamic.no_grad(), batching(network.strategy) as batch:
        network.logits(trees)

    def quickest(strategy):
        network.strategy, spent = strategy, []
        for _ in range(5):
            begin = perf_counter()
            network.step(trees, y)
            spent.append(perf_counter() - begin)
        return seconds(min(spent))

    yield (
        f"batching runs {batch.report.after:,} operations forward in place of "
        f"{batch.report.before:,}; a step takes {quickest(network.strategy)} with it "
        f"and {quickest(None)} without."
    )
