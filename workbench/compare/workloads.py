"""What the benchmarks run: each workload, on our engines and on their peers.

A side is built once (``Workload.build(engine)``) and then run as ``side(steps)``.
Our side of a training workload is the very program that `workbench compare` shows.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.compare import kernels, peers
from workbench.compare.cases import Case, affine_shapes
from workbench.compare.peers import PEERS, Runner
from workbench.compare.runner import program

FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pairing:
    """One engine of ours against one peer; ``bar`` is the ratio to stay below."""

    engine: str
    peer: str
    bar: float | None = None


@dataclass(frozen=True)
class Workload:
    """A named measurement: how to build each side, and which pairs to compare.

    With ``memory``, what is compared is the most memory held during a run, and a side
    builds its network anew in each run, so that its parameters count.
    """

    name: str
    what: str
    build: Callable[[str], Runner]
    pairings: tuple[Pairing, ...]
    memory: bool = False


@dataclass(frozen=True)
class Training:
    """SGD steps of a case's program on one batch, float32, by an engine or a peer."""

    case: Case
    batch: Callable[[np.random.Generator], tuple[Any, Any]]

    def prepare(self, engine: str) -> Callable[[], Runner]:
        """Make the weights and the batch; return what builds the network on them."""
        x, y = self.batch(np.random.default_rng(0))
        weights, rate = self.case.weights(np.float32), self.case.learning_rate
        theirs = peers.TRAINING[self.case.program].get(engine)

        def start() -> Runner:
            if theirs is not None:
                return theirs(weights, x, y, rate)
            network = program(self.case, engine).Network(weights, rate)

            def run(steps: int) -> Any:
                for _ in range(steps):
                    loss = network.step(x, y)
                return loss

            return run

        return start

    def __call__(self, engine: str) -> Runner:
        """Return a side that goes on training one network."""
        return self.prepare(engine)()

    def anew(self, engine: str) -> Runner:
        """Return a side that begins each run with a new network."""
        start = self.prepare(engine)
        return lambda steps: start()(steps)


def rows(batch_size: int, width: int, classes: int) -> Callable[..., tuple[Any, Any]]:
    """Return what draws a batch of random rows with random labels."""
    return lambda rng: (
        rng.standard_normal((batch_size, width), dtype=np.float32),
        rng.integers(0, classes, batch_size),
    )


def mlp(sizes: tuple[int, ...], batch_size: int) -> Training:
    """Return the training of a tanh network."""
    case = Case("bench", "", "mlp", "", affine_shapes(*sizes), batch_size, 0.1, 1)
    return Training(case, rows(batch_size, sizes[0], sizes[-1]))


MNIST = mlp((784, 256, 128, 10), 64)
LENET = Training(
    Case("bench", "", "lenet", "", {"k1": (20, 1, 5, 5), "b1": (20,), "k2": (50, 20, 5, 5),
         "b2": (50,), "w3": (800, 500), "b3": (500,), "w4": (500, 10), "b4": (10,)},
         64, 0.01, 1),
    lambda rng: (rng.standard_normal((64, 1, 28, 28), dtype=np.float32),
                 rng.integers(0, 10, 64)),
)  # fmt: skip
CHAR_RNN = Training(
    Case("bench", "", "char_rnn", "", {"table": (65, 32), "wx": (32, 512), "wh": (128, 512),
         "b": (512,), "w": (128, 65), "bias": (65,)}, 32, 0.1, 1),
    lambda rng: tuple(rng.integers(0, 65, (2, 50, 32))),
)  # fmt: skip
TREES = Case("bench", "", "trees", "", {"w_leaf": (1, 384), "b_leaf": (384,), "w": (256, 640),
             "table": (3, 640), "w_out": (128, 2), "b_out": (2,)}, 64, 0.1, 1)  # fmt: skip
CHAIN_LENGTH = 100_000


def trees(strategy: str) -> Runner:
    """Return SGD steps of a Tree-LSTM of 128 units on 64 expressions of 4 to 16 leaves.

    Era 2 pads; era 3 batches by a strategy, or runs ``"unbatched"``.
    """
    from workbench.datasets import expression_trees

    data = expression_trees(64, 1)
    signs = (data.y_train > 0).astype(np.int64)
    weights = TREES.weights(np.float32)
    if strategy == "padding":
        network = program(TREES, "symbolic").Network(weights, 0.1)
    else:
        named = None if strategy == "unbatched" else strategy
        network = program(TREES, "dynamic").Network(weights, 0.1, named)

    def run(steps: int) -> Any:
        for _ in range(steps):
            loss = network.step(data.x_train, signs)
        return loss

    return run


def chain(engine: str) -> Runner:
    """100,000 operations one after another on ten numbers, forward and backward."""
    x = np.linspace(0, 1, 10, dtype=np.float32)
    if engine in peers.CHAINS:
        return peers.CHAINS[engine](x, CHAIN_LENGTH)
    from workbench import dynamic

    leaf = dynamic.tensor(x, requires_grad=True)

    def run(steps: int) -> Any:
        for _ in range(steps):
            leaf.zero_grad()
            y = leaf
            for _ in range(CHAIN_LENGTH // 2):
                y = y * 0.999 + 0.001
            y.sum().backward()
        return leaf.grad

    return run


def compiled_memory(mode: str) -> Runner:
    """Steps of mlp-mnist by one function of era 2, compiled or interpreted."""
    from workbench import symbolic
    from workbench.compare.programs.mlp import symbolic as written

    def run(steps: int) -> Any:
        network = written.Network(weights, 0.1)
        step = symbolic.function(network.inputs, network.loss, network.updates, mode=mode)
        for _ in range(steps):
            loss = step(x, y)
        return loss

    x, y = MNIST.batch(np.random.default_rng(0))
    weights = MNIST.case.weights(np.float32)
    return run


def digits_loss(batch_size: int) -> tuple[list[FloatArray], FloatArray, npt.NDArray[np.int64]]:
    """Return weights and random examples for the digits model, 64-64-10."""
    training = mlp((64, 64, 10), batch_size)
    return training.case.weights(np.float32), *training.batch(np.random.default_rng(0))


def calls(once: Callable[[], Any]) -> Runner:
    """Return a side whose step is that call."""

    def run(steps: int) -> Any:
        for _ in range(steps):
            result = once()
        return result

    return run


def per_sample(engine: str) -> Runner:
    """Per-sample gradients of the digits model, 256 examples, four ways."""
    weights, x, y = digits_loss(256)
    if engine == "jax":
        return peers.jax_per_sample(weights, x, y)
    from workbench import functional
    from workbench.compare.programs.mlp.functional import loss

    def one(weights: Any, x: Any, y: Any) -> Any:
        return loss(weights, x[None], y[None])

    gradient = functional.grad(one)
    if engine == "loop of grad":

        def once() -> Any:
            return [gradient(weights, x[i], y[i]) for i in range(len(x))]
    else:
        batched = functional.vmap(gradient, in_axes=(None, 0, 0))
        if engine == "jit(vmap(grad))":
            batched = functional.jit(batched)

        def once() -> Any:
            return batched(weights, x, y)

    return calls(once)


def hvp(engine: str) -> Runner:
    """Hessian-vector products of the loss of mlp-small, float32, by an engine or a peer.

    Returns the product, one array a parameter.
    """
    weights, x, y = digits_loss(32)
    rng = np.random.default_rng(1)
    u = [rng.standard_normal(w.shape, dtype=np.float32) for w in weights]
    if engine in peers.HESSIAN_VECTOR:
        return peers.HESSIAN_VECTOR[engine](weights, u, x, y)
    if engine == "functional":
        from workbench import functional
        from workbench.compare.programs.mlp.functional import loss

        @functional.jit
        def product(weights: Any, u: Any, x: Any, y: Any) -> Any:
            return functional.jvp(lambda w: functional.grad(loss)(w, x, y), (weights,), (u,))[1]

        return calls(lambda: product(weights, u, x, y))
    source = program(Case("bench", "", "mlp", "", {}, 32, 0.1, 1), engine)
    network = source.Network(weights, 0.1)
    if engine == "symbolic":
        from workbench import symbolic
        from workbench.symbolic import ops

        directions = [symbolic.tensor(f"u{i}", v.dtype, v.shape) for i, v in enumerate(u)]
        along: Any = sum(ops.sum(g * v) for g, v in zip(network.gradients, directions, strict=True))
        compiled = symbolic.function([*network.inputs, *directions],
                                     symbolic.grad(along, network.weights))  # fmt: skip
        return calls(lambda: compiled(x, y, *u))
    from workbench import dynamic

    tensors = [dynamic.tensor(v) for v in u]

    def once() -> Any:
        gradients: Any = dynamic.grad(network.loss(x, y), network.weights, create_graph=True)
        return dynamic.grad(gradients, network.weights, tensors)

    return calls(once)


def dispatch(engine: str) -> Runner:
    """Calls of a compiled function that returns its argument, ten numbers."""
    x = np.linspace(0, 1, 10, dtype=np.float32)
    if engine == "jax":
        return peers.jax_calls(lambda x: x, x)
    from workbench import functional

    identity = functional.jit(lambda x: x)
    return calls(lambda: identity(x))


def import_time(engine: str) -> Runner:
    """Return a side whose step is a fresh interpreter that imports one package."""

    def run(steps: int) -> None:
        for _ in range(steps):
            subprocess.run([sys.executable, "-c", f"import {engine}"], check=True)

    return run


def first_result(engine: str) -> Runner:
    """From the weights to the first loss of the mlp-mnist step: tracing, compiling, running."""
    case = Case("bench", "", "mlp", "", affine_shapes(784, 256, 128, 10), 64, 0.1, 1)
    weights = case.weights(np.float32)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 784), dtype=np.float32)
    y = rng.integers(0, 10, 64)
    if engine == "jax":
        return peers.jax_first_result(weights, x, y)

    def run(steps: int) -> None:
        for _ in range(steps):
            program(case, engine).Network(weights, case.learning_rate).step(x, y)

    return run


def training_pairs(bars: dict[tuple[str, str], float]) -> tuple[Pairing, ...]:
    """Return every engine against every peer that can train a network."""
    against = {
        "manual": ("numpy",),
        "symbolic": ("numpy", "jax", "pytensor"),
        "dynamic": ("numpy", "torch", "autograd"),
        "functional": ("numpy", "jax"),
    }
    return tuple(
        Pairing(engine, peer, bars.get((engine, peer)))
        for engine, names in against.items()
        for peer in names
    )


JAX_TINY = {("symbolic", "jax"): 0.40, ("functional", "jax"): 0.40}
JAX_SMALL = {("symbolic", "jax"): 0.65, ("functional", "jax"): 0.65}
JAX_MNIST = {("symbolic", "jax"): 1.05, ("functional", "jax"): 1.05}
COMPILED = {("symbolic", "numpy"): 0.95, ("functional", "numpy"): 0.95,
            ("symbolic", "pytensor"): 0.90}  # fmt: skip
GELU_SIZES = {"1e3": 1_000, "1e5": 100_000, "4e6": 4_000_000}

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp-tiny", "SGD step, 2-16-16-2, tanh, batch 8", mlp((2, 16, 16, 2), 8),
                 training_pairs({("dynamic", "torch"): 0.30} | JAX_TINY | COMPILED)),
        Workload("mlp-small", "SGD step, 64-64-10, tanh, batch 32", mlp((64, 64, 10), 32),
                 training_pairs({("dynamic", "torch"): 0.30, ("dynamic", "autograd"): 0.15}
                                | JAX_SMALL | COMPILED)),
        Workload("mlp-mnist", "SGD step, 784-256-128-10, tanh, batch 64",
                 MNIST,
                 (*training_pairs({("dynamic", "torch"): 0.85} | JAX_MNIST | COMPILED),
                  Pairing("symbolic", "gemms", 1.08))),
        Workload("lenet", "SGD step, two convolutions, 500, 10, on 28x28, batch 64", LENET,
                 (Pairing("dynamic", "torch", 1.5), Pairing("symbolic", "torch"))),
        Workload("char-rnn", "SGD step, embedding, LSTM of 128, 50 steps, batch 32", CHAR_RNN,
                 (Pairing("dynamic", "torch"), Pairing("symbolic", "torch"),
                  Pairing("functional", "torch"), Pairing("functional", "jax"))),
        Workload("trees", "SGD step, Tree-LSTM of 128 on 64 random expressions", trees,
                 (Pairing("agenda", "unbatched", 0.15), Pairing("depth", "unbatched"),
                  Pairing("padding", "agenda"))),
        Workload("chain", "100,000 operations one after another, forward and backward", chain,
                 (Pairing("dynamic", "torch"), Pairing("dynamic", "autograd"))),
        Workload("memory-mlp-mnist", "the most memory held in two steps of mlp-mnist",
                 MNIST.anew, (Pairing("dynamic", "torch"),), memory=True),
        Workload("memory-lenet", "the most memory held in two steps of lenet", LENET.anew,
                 (Pairing("dynamic", "torch"),), memory=True),
        Workload("memory-compiled", "the most memory held in two compiled steps of mlp-mnist",
                 compiled_memory, (Pairing("llvm", "interpret"),), memory=True),
        *(Workload(f"gelu-{name}", f"GELU (tanh) of {name} numbers", kernels.gelu(size),
                   (Pairing("llvm", "jax", 1.0),)) for name, size in GELU_SIZES.items()),
        Workload("softmax-xent", "softmax cross-entropy and its gradient, 256 x 1000",
                 kernels.softmax_xent, (Pairing("llvm", "jax", 1.0),)),
        Workload("layernorm", "layer normalisation and its gradients, 256 x 1000",
                 kernels.layernorm, (Pairing("llvm", "jax", 1.0),)),
        Workload("per-sample", "per-sample gradients of 64-64-10, batch 256", per_sample,
                 (Pairing("vmap(grad)", "loop of grad", 0.05),
                  Pairing("jit(vmap(grad))", "jax", 1.0))),
        Workload("hvp", "Hessian-vector product of the loss of mlp-small", hvp,
                 (Pairing("functional", "jax"), Pairing("functional", "dynamic"),
                  Pairing("symbolic", "jax"), Pairing("dynamic", "torch"))),
        Workload("dispatch", "a call of a compiled identity function", dispatch,
                 (Pairing("functional", "jax", 1.0),)),
        Workload("compile", "weights to first loss, 784-256-128-10", first_result,
                 (Pairing("symbolic", "jax", 0.5), Pairing("functional", "jax", 0.5))),
        Workload("import", "a fresh interpreter that imports the package", import_time,
                 (Pairing("workbench", "torch", 0.1), Pairing("workbench", "numpy"))),
    )
}  # fmt: skip

__all__ = ["PEERS", "WORKLOADS", "Pairing", "Runner", "Workload"]
