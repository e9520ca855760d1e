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
    "loop of grad": Peer("workbench"),
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


def torch_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train in eager PyTorch, with nn, cross_entropy and optim.SGD."""
    import torch

    layers: list[Any] = []
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def run(steps: int) -> Any:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
        return loss.detach()

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


def jax_update(learning_rate: float) -> Callable[..., Any]:
    """Return a step of JAX's users: value_and_grad and the update under one jit."""
    import jax

    @jax.jit
    def update(weights: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(lambda w: cross_entropy(jax.numpy, w, x, y))(weights)
        return value, jax.tree.map(lambda w, g: w - learning_rate * g, weights, g)

    return update


def jax_mlp(weights: Weights, x: Any, y: Any, learning_rate: float) -> Runner:
    """Train with JAX's jit."""
    import jax

    update = jax_update(learning_rate)
    current = [jax.numpy.asarray(w) for w in weights]
    x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)

    def run(steps: int) -> Any:
        nonlocal current
        for _ in range(steps):
            loss, current = update(current, x, y)
        jax.block_until_ready(current)
        return loss

    return run


def jax_per_sample(weights: Weights, x: Any, y: Any) -> Runner:
    """Per-sample gradients by JAX's jit(vmap(grad))."""
    import jax

    def one(weights: Any, x: Any, y: Any) -> Any:
        return cross_entropy(jax.numpy, weights, x[None], y[None])

    batched = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 0)))
    current = [jax.numpy.asarray(w) for w in weights]
    x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)

    def run(steps: int) -> None:
        for _ in range(steps):
            result = batched(current, x, y)
        jax.block_until_ready(result)

    return run


def jax_first_result(weights: Weights, x: Any, y: Any) -> Runner:
    """From the weights to the first loss by JAX's jit, compiled anew each time."""
    import jax

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.clear_caches()
            jax.block_until_ready(jax_update(0.1)(list(weights), x, y))

    return run


MLP_STEPS: dict[str, Callable[..., Runner]] = {
    "numpy": numpy_mlp,
    "torch": torch_mlp,
    "autograd": autograd_mlp,
    "jax": jax_mlp,
}
