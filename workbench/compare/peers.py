"""What a user would pick instead: NumPy by hand, PyTorch, HIPS autograd, JAX.

Each peer is written as its own users write it, and imported only when it is run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.errors import install_line

Runner: TypeAlias = Callable[[int], Any]
"""Runs that many steps, and waits once at the end where the peer only queues work.

A side that trains returns the loss of its last step, so that a test can hold all
sides to doing the same work.
"""

Weights: TypeAlias = Sequence[npt.NDArray[Any]]


def no_limit(threads: int) -> None:
    """Do nothing: this peer's threads are BLAS's, which the harness limits."""


def limit_torch(threads: int) -> None:
    """Hold PyTorch to that many threads."""
    if find_spec("torch"):
        import torch

        torch.set_num_threads(threads)


def limit_jax(threads: int) -> None:
    """Hold XLA to that many threads; heeded only before JAX is first imported."""
    os.environ["XLA_FLAGS"] = (
        f"--xla_cpu_multi_thread_eigen={'false' if threads == 1 else 'true'} "
        f"intra_op_parallelism_threads={threads}"
    )


@dataclass(frozen=True)
class Peer:
    """A peer, the module it lives in, and how it is held to a number of threads."""

    module: str
    limit_threads: Callable[[int], None] = no_limit

    def missing(self) -> str | None:
        """Return None, or the line that installs the absent peer."""
        if find_spec(self.module):
            return None
        return f"{self.module} is absent: {install_line('peers')}"


PEERS = {
    "numpy": Peer("numpy"),
    "torch": Peer("torch", limit_torch),
    "autograd": Peer("autograd"),
    "jax": Peer("jax", limit_jax),
    "pytensor": Peer("pytensor"),
    "gemms": Peer("numpy"),
    "interpret": Peer("workbench"),
    "agenda": Peer("workbench"),
    "unbatched": Peer("workbench"),
    "loop of grad": Peer("workbench"),
    "dynamic": Peer("workbench"),
}


def numpy_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Write the step out in NumPy: no layers, no functions, no checks."""
    weights = [w.copy() for w in weights]
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    rows = np.arange(len(x))

    def run(steps: int) -> Any:
        for _ in range(steps):
            inputs = [x]
            for w, b in pairs[:-1]:
                inputs.append(np.tanh(inputs[-1] @ w + b))
            logits = inputs[-1] @ pairs[-1][0] + pairs[-1][1]
            shifted = logits - logits.max(axis=1, keepdims=True)
            exps = np.exp(shifted)
            sums = exps.sum(axis=1, keepdims=True)
            loss = (np.log(sums[:, 0]) - shifted[rows, y]).mean()
            g = exps / sums
            g[rows, y] -= 1
            g /= len(x)
            for (w, b), h in zip(reversed(pairs), reversed(inputs), strict=True):
                gw, gb = h.T @ g, g.sum(axis=0)
                if h is not x:
                    g = (g @ w.T) * (1 - h * h)
                w -= learning_rate * gw
                b -= learning_rate * gb
        return loss

    return run


def bare_gemms(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Only the products of the step, into memory that is there: the floor of any engine."""
    widths = [w.shape for w in weights[::2]]
    inputs = [x, *(np.ones((len(x), k), x.dtype) for _, k in widths)]
    calls: list[tuple[Any, Any, Any]] = []
    for w, h, g in zip(weights[::2], inputs, inputs[1:], strict=False):
        calls += [(h, w, np.empty_like(g)), (h.T, g, np.empty_like(w))]
        if h is not x:
            calls.append((g, w.T, np.empty_like(h)))

    def run(steps: int) -> None:
        for _ in range(steps):
            for a, b, out in calls:
                np.matmul(a, b, out=out)

    return run


def pytensor_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train in PyTensor, Theano's living heir, in its default mode."""
    import pytensor
    import pytensor.tensor as pt

    shared = [pytensor.shared(w.copy()) for w in weights]
    inputs, labels = pt.matrix("x", dtype=x.dtype), pt.vector("y", dtype="int64")
    h = inputs
    for w, b in zip(shared[:-2:2], shared[1:-2:2], strict=True):
        h = pt.tanh(h @ w + b)
    logits = h @ shared[-2] + shared[-1]
    logs = pt.special.log_softmax(logits, axis=1)
    loss = -logs[pt.arange(labels.shape[0]), labels].mean()
    updates = [(w, w - np.asarray(learning_rate, w.dtype) * g)
               for w, g in zip(shared, pytensor.grad(loss, shared), strict=True)]  # fmt: skip
    step = pytensor.function([inputs, labels], loss, updates=updates)
    step.trust_input = True  # As its documentation advises for speed.

    def run(steps: int) -> Any:
        for _ in range(steps):
            loss = step(x, y)
        return loss

    return run


def torch_training(model: Any, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train a PyTorch module in eager mode, with cross_entropy and optim.SGD."""
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def run(steps: int) -> Any:
        for _ in range(steps):
            optimizer.zero_grad()
            logits = model(inputs)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
            loss.backward()
            optimizer.step()
        return loss.detach()

    return run


def torch_layer(layer: Any, *weights: Any) -> Any:
    """Give a layer of PyTorch's its weights: a matrix is kept transposed there."""
    import torch

    with torch.no_grad():
        for parameter, w in zip(layer.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(w.T if w.ndim == 2 else w))
    return layer


def torch_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train in eager PyTorch, with nn, cross_entropy and optim.SGD."""
    from torch import nn

    layers: list[Any] = []
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        layers += [torch_layer(nn.Linear(*w.shape), w, b), nn.Tanh()]
    return torch_training(nn.Sequential(*layers[:-1]), x, y, learning_rate)


def torch_lenet(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train LeNet in eager PyTorch."""
    from torch import nn

    layers: list[Any] = []
    for k, b in zip(weights[:4:2], weights[1:4:2], strict=True):
        layers += [torch_layer(nn.Conv2d(k.shape[1], k.shape[0], k.shape[2:]), k, b)]
        layers += [nn.MaxPool2d(2)]
    w3, b3, w4, b4 = weights[4:]
    layers += [nn.Flatten(), torch_layer(nn.Linear(*w3.shape), w3, b3), nn.ReLU()]
    layers += [torch_layer(nn.Linear(*w4.shape), w4, b4)]
    return torch_training(nn.Sequential(*layers), x, y, learning_rate)


def torch_char_rnn(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train an embedding, nn.LSTM and an affine layer in eager PyTorch; x and y (T, N)."""
    from torch import nn

    table, wx, wh, b, w, bias = weights

    class CharRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch_layer(nn.Embedding(*table.shape), table.T)
            self.lstm = nn.LSTM(wx.shape[0], wh.shape[0])
            torch_layer(self.lstm, wx, wh, b, np.zeros_like(b))
            self.lstm.bias_hh_l0.requires_grad_(False)  # It has two biases; one learns.
            self.head = torch_layer(nn.Linear(*w.shape), w, bias)

        def forward(self, x: Any) -> Any:
            states, _ = self.lstm(self.embedding(x))
            return self.head(states)

    return torch_training(CharRNN(), x, y, learning_rate)


def torch_chain(x: Any, length: int) -> Runner:
    """Run a chain of that many operations forward and backward in eager PyTorch."""
    import torch

    leaf = torch.from_numpy(x).requires_grad_()

    def run(steps: int) -> Any:
        for _ in range(steps):
            leaf.grad = None
            y = leaf
            for _ in range(length // 2):
                y = y * 0.999 + 0.001
            y.sum().backward()
        return leaf.grad

    return run


def autograd_chain(x: Any, length: int) -> Runner:
    """Run the same chain in HIPS autograd."""
    import autograd

    def chain(y: Any) -> Any:
        for _ in range(length // 2):
            y = y * 0.999 + 0.001
        return autograd.numpy.sum(y)

    gradient = autograd.grad(chain)

    def run(steps: int) -> Any:
        for _ in range(steps):
            result = gradient(x)
        return result

    return run


def cross_entropy(numpy: Any, weights: Any, x: Any, y: Any) -> Any:
    """Return the network's loss, in a NumPy that can be differentiated."""
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = numpy.tanh(numpy.dot(x, w) + b)
    logits = numpy.dot(x, weights[-2]) + weights[-1]
    shifted = logits - numpy.max(logits, axis=1, keepdims=True)
    chosen = shifted[numpy.arange(len(y)), y]
    return numpy.mean(numpy.log(numpy.sum(numpy.exp(shifted), axis=1)) - chosen)


def autograd_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train with HIPS autograd's grad of a NumPy loss."""
    import autograd
    import autograd.numpy as anp

    current = [w.copy() for w in weights]
    gradient = autograd.value_and_grad(lambda weights: cross_entropy(anp, weights, x, y))

    def run(steps: int) -> Any:
        nonlocal current
        for _ in range(steps):
            loss, g = gradient(current)
            current = [w - learning_rate * gw for w, gw in zip(current, g, strict=True)]
        return loss

    return run


def jax_mlp_loss(weights: Any, x: Any, y: Any) -> Any:
    """Return the network's loss in JAX."""
    import jax

    return cross_entropy(jax.numpy, weights, x, y)


def jax_char_rnn_loss(weights: Any, x: Any, y: Any) -> Any:
    """Return the loss of an embedding, an LSTM by lax.scan and an affine layer; x, y (T, N)."""
    import jax

    table, wx, wh, b, w, bias = weights

    def lstm(state: Any, a: Any) -> Any:
        h, c = state
        i, f, g, o = jax.numpy.split(a + h @ wh, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
        h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
        return (h, c), h

    zeros = jax.numpy.zeros((x.shape[1], len(wh)), wh.dtype)
    _, states = jax.lax.scan(lstm, (zeros, zeros), table[x] @ wx + b)
    logs = jax.nn.log_softmax(states @ w + bias)
    return -jax.numpy.take_along_axis(logs, y[..., None], axis=-1).mean()


def jax_update(learning_rate: float, loss: Callable[..., Any] = jax_mlp_loss) -> Callable[..., Any]:
    """Return a step of JAX's users: value_and_grad and the update under one jit."""
    import jax

    @jax.jit
    def update(weights: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss)(weights, x, y)
        return value, jax.tree.map(lambda w, g: w - learning_rate * g, weights, g)

    return update


def jax_training(
    weights: Weights, x: Any, y: Any, learning_rate: float, loss: Callable[..., Any]
) -> Runner:
    """Train with JAX's jit."""
    import jax

    update = jax_update(learning_rate, loss)
    current = [jax.numpy.asarray(w) for w in weights]
    x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)

    def run(steps: int) -> Any:
        nonlocal current
        for _ in range(steps):
            loss, current = update(current, x, y)
        jax.block_until_ready(current)
        return loss

    return run


def jax_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train a network with JAX's jit."""
    return jax_training(weights, x, y, learning_rate, jax_mlp_loss)


def jax_char_rnn(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train an LSTM with JAX's jit and lax.scan."""
    return jax_training(weights, x, y, learning_rate, jax_char_rnn_loss)


def jax_calls(function: Callable[..., Any], *arguments: Any) -> Runner:
    """Call a jitted function of JAX's on the same arguments again and again."""
    import jax

    compiled = jax.jit(function)
    arguments = jax.tree.map(jax.numpy.asarray, arguments)

    def run(steps: int) -> Any:
        for _ in range(steps):
            result = compiled(*arguments)
        return jax.block_until_ready(result)

    return run


def jax_hvp(weights: Weights, u: Weights, x: Any, y: Any) -> Runner:
    """Hessian-vector product by JAX's jit(jvp(grad))."""
    import jax

    def product(weights: Any, u: Any, x: Any, y: Any) -> Any:
        return jax.jvp(lambda w: jax.grad(jax_mlp_loss)(w, x, y), (weights,), (u,))[1]

    return jax_calls(product, list(weights), list(u), x, y)


def torch_hvp(weights: Weights, u: Weights, x: Any, y: Any) -> Runner:
    """Hessian-vector product by backward through backward in eager PyTorch."""
    import torch

    leaves = [torch.from_numpy(w).requires_grad_() for w in weights]
    along = [torch.from_numpy(v) for v in u]
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def run(steps: int) -> Any:
        for _ in range(steps):
            h = inputs
            for w, b in zip(leaves[:-2:2], leaves[1:-2:2], strict=True):
                h = torch.tanh(torch.addmm(b, h, w))
            logits = torch.addmm(leaves[-1], h, leaves[-2])
            loss = torch.nn.functional.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, leaves, create_graph=True)
            result = torch.autograd.grad(gradients, leaves, along)
        return result

    return run


def jax_per_sample(weights: Weights, x: Any, y: Any) -> Runner:
    """Per-sample gradients by JAX's jit(vmap(grad))."""
    import jax

    def one(weights: Any, x: Any, y: Any) -> Any:
        return cross_entropy(jax.numpy, weights, x[None], y[None])

    batched = jax.vmap(jax.grad(one), in_axes=(None, 0, 0))
    return jax_calls(batched, list(weights), x, y)


def jax_first_result(weights: Weights, x: Any, y: Any) -> Runner:
    """From the weights to the first loss by JAX's jit, compiled anew each time."""
    import jax

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.clear_caches()
            jax.block_until_ready(jax_update(0.1)(list(weights), x, y))

    return run


def torch_peak_bytes(work: Callable[[], object]) -> int:
    """Return the most memory that ``work`` held in PyTorch's CPU tensors at once, in bytes.

    PyTorch's profiler sees every allocation of its allocator; what oneDNN and BLAS take for
    themselves it does not see.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    # The public list keeps only what no operator asked for; this one has all of it.
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(changes).max(initial=0))


TRAINING: dict[str, dict[str, Callable[..., Runner]]] = {
    "mlp": {
        "numpy": numpy_mlp,
        "torch": torch_mlp,
        "autograd": autograd_mlp,
        "jax": jax_mlp,
        "pytensor": pytensor_mlp,
        "gemms": bare_gemms,
    },
    "lenet": {"torch": torch_lenet},
    "char_rnn": {"torch": torch_char_rnn, "jax": jax_char_rnn},
}
"""For each program, who trains it from the same weights on the same batch."""

CHAINS: dict[str, Callable[..., Runner]] = {"torch": torch_chain, "autograd": autograd_chain}

HESSIAN_VECTOR: dict[str, Callable[..., Runner]] = {"torch": torch_hvp, "jax": jax_hvp}
