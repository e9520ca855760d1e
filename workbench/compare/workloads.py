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

from workbench.compare import peers
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
    """A named measurement: how to build each side, and which pairs to time."""

    name: str
    what: str
    build: Callable[[str], Runner]
    pairings: tuple[Pairing, ...]


def mlp(sizes: tuple[int, ...], batch_size: int) -> Callable[[str], Runner]:
    """Return the builder of a full SGD step of a tanh network, float32."""

    def build(engine: str) -> Runner:
        case = Case("bench", "", "mlp", "", affine_shapes(*sizes), batch_size, 0.1, 1)
        weights = case.weights(np.float32)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((batch_size, sizes[0]), dtype=np.float32)
        y = rng.integers(0, sizes[-1], batch_size)
        if engine in peers.MLP_STEPS:
            return peers.MLP_STEPS[engine](weights, x, y, case.learning_rate)
        network = program(case, engine).Network(weights, case.learning_rate)

        def run(steps: int) -> None:
            for _ in range(steps):
                network.step(x, y)

        return run

    return build


def digits_loss() -> tuple[list[FloatArray], FloatArray, npt.NDArray[np.int64]]:
    """Return weights and 256 random examples for the digits model, 64-64-10."""
    case = Case("bench", "", "mlp", "", affine_shapes(64, 64, 10), 256, 0.1, 1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 64), dtype=np.float32)
    return case.weights(np.float32), x, rng.integers(0, 10, 256)


def per_sample(engine: str) -> Runner:
    """Per-sample gradients of the digits model, 256 examples, four ways."""
    weights, x, y = digits_loss()
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
            return batched(weights, x, y)  # fmt: skip

    def run(steps: int) -> None:
        for _ in range(steps):
            once()

    return run


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
        "symbolic": ("numpy", "jax"),
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
NUMPY = {("symbolic", "numpy"): 0.95, ("functional", "numpy"): 0.95}

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp-tiny", "SGD step, 2-16-16-2, tanh, batch 8", mlp((2, 16, 16, 2), 8),
                 training_pairs({("dynamic", "torch"): 0.30} | JAX_TINY | NUMPY)),
        Workload("mlp-small", "SGD step, 64-64-10, tanh, batch 32", mlp((64, 64, 10), 32),
                 training_pairs({("dynamic", "torch"): 0.30, ("dynamic", "autograd"): 0.15}
                                | JAX_SMALL | NUMPY)),
        Workload("mlp-mnist", "SGD step, 784-256-128-10, tanh, batch 64",
                 mlp((784, 256, 128, 10), 64),
                 training_pairs({("dynamic", "torch"): 0.85} | JAX_MNIST | NUMPY)),
        Workload("per-sample", "per-sample gradients of 64-64-10, batch 256", per_sample,
                 (Pairing("vmap(grad)", "loop of grad", 0.05),
                  Pairing("jit(vmap(grad))", "jax", 1.0))),
        Workload("compile", "weights to first loss, 784-256-128-10", first_result,
                 (Pairing("symbolic", "jax", 0.5), Pairing("functional", "jax", 0.5))),
        Workload("import", "a fresh interpreter that imports the package", import_time,
                 (Pairing("workbench", "torch", 0.1), Pairing("workbench", "numpy"))),
    )
}  # fmt: skip

__all__ = ["PEERS", "WORKLOADS", "Pairing", "Runner", "Workload"]
