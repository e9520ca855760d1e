"""Era 1, by hand: the second derivative is the program again, differentiated line by line."""

import numpy as np

from workbench import manual


class Network:
    """Two affine layers; steps are no longer than the loss's largest curvature allows.

    A running average of ``H u``, with u its own direction, turns towards the Hessian's
    largest eigenvalue while the network trains (LeCun, Simard and Pearlmutter, 1993).
    """

    def __init__(self, weights, learning_rate):
        self.weights = [w.copy() for w in weights]
        self.v = [w.copy() for w in weights]
        self.learning_rate = learning_rate

    def forward(self, x):
        w1, b1, w2, b2 = self.weights
        h, _ = manual.tanh(x @ w1 + b1)
        return h, h @ w2 + b2

    def gradients(self, x, y):
        """Return the loss, its gradients, and what the derivative of both needs."""
        h, logits = self.forward(x)
        loss, cache = manual.softmax_cross_entropy(logits, y)
        g = manual.softmax_cross_entropy_backward(1.0, cache)
        gh = g @ self.weights[2].T
        ga = manual.tanh_backward(gh, h)
        return loss, [x.T @ ga, ga.sum(axis=0), h.T @ g, g.sum(axis=0)], (h, logits, g, gh)

    def curvature(self, x, saved, u):
        """Return H u: the derivative, along u, of every line of ``gradients`` (Pearlmutter, 1994)."""
        h, logits, g, gh = saved
        w2, (u1, c1, u2, c2) = self.weights[2], u
        rh = (1 - h * h) * (x @ u1 + c1)
        rlogits = rh @ w2 + h @ u2 + c2
        rg = manual.softmax_backward(rlogits, manual.softmax(logits)[1]) / len(x)
        rga = (1 - h * h) * (rg @ w2.T + g @ u2.T) - 2 * h * rh * gh
        return [x.T @ rga, rga.sum(axis=0), rh.T @ g + h.T @ rg, rg.sum(axis=0)]

    def direction(self):
        largest = np.sqrt(sum((v * v).sum() for v in self.v))
        return largest, [v / largest for v in self.v]

    def step(self, x, y):
        loss, gradients, saved = self.gradients(x, y)
        curved = self.curvature(x, saved, self.direction()[1])
        self.v = [0.9 * v + 0.1 * c for v, c in zip(self.v, curved, strict=True)]
        rate = min(self.learning_rate, 1 / self.direction()[0])
        for w, g in zip(self.weights, gradients, strict=True):
            w -= rate * g
        return loss

    def predict(self, x):
        return self.forward(x)[1]


# Read off by the comparison:


def gradients(network, x, y):
    return network.curvature(x, network.gradients(x, y)[2], network.direction()[1])


def weights(network):
    return network.weights


def graph_size(network, x, y):
    return 0  # There is no graph: the program itself is the order of operations.


def notes(network, x, y):
    """Say what the curvature is, and what comes of finding it by a difference of gradients."""
    from workbench.compare.costs import beside_sgd

    _, u = network.direction()
    exact, start = gradients(network, x, y), network.weights
    eps = float(np.finfo(start[0].dtype).eps) ** (1 / 3)

    def shifted(by):
        network.weights = [w + by * v for w, v in zip(start, u, strict=True)]
        return network.gradients(x, y)[1]

    off = [
        (a - b) / (2 * eps) - c for a, b, c in zip(shifted(eps), shifted(-eps), exact, strict=True)
    ]
    network.weights = start
    worst = max(float(abs(d).max()) for d in off) / max(float(abs(c).max()) for c in exact)
    yield (
        "H u by hand is the program a second time, differentiated line by line: "
        f"{beside_sgd('manual', network, x, y)}. The difference of two gradients needs no new "
        f"line, and is off by {worst:.0e} of its largest element."
    )
