"""Workloads that are one expression: what a compiler makes of it, against JAX's.

Ours is an expression of era 2, compiled; JAX's is the same formula under ``jax.jit``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workbench.compare.peers import Runner

ROWS, WIDTH = 256, 1000
"""Of softmax-xent and layernorm."""


def _runner(call: Callable[[], Any], wait: Callable[[Any], Any] = lambda result: result) -> Runner:
    def run(steps: int) -> Any:
        for _ in range(steps):
            result = call()
        return wait(result)

    return run


def _side(engine: str, ours: Callable[[], Any], theirs: Callable[[Any, Any], Any],
          arrays: list[Any]) -> Runner:  # fmt: skip
    """Return the runner of an engine: ``theirs(jax, jax.numpy)`` is a function of the arrays."""
    if engine == "jax":
        import jax

        compiled = jax.jit(theirs(jax, jax.numpy))
        moved = [jax.numpy.asarray(x) for x in arrays]
        return _runner(lambda: compiled(*moved), jax.block_until_ready)
    compiled = ours()
    return _runner(lambda: compiled(*arrays))


GELU = np.sqrt(2 / np.pi)


def gelu(size: int) -> Callable[[str], Runner]:
    """Return the workload of GELU, in its tanh form, on that many float32 numbers."""

    def build(engine: str) -> Runner:
        from workbench import symbolic

        def formula(x: Any, tanh: Any) -> Any:
            return 0.5 * x * (1 + tanh(float(GELU) * (x + 0.044715 * x * x * x)))

        def ours() -> Any:
            x = symbolic.vector("x", "float32")
            return symbolic.function([x], formula(x, symbolic.ops.tanh))

        def theirs(jax: Any, jnp: Any) -> Any:
            return lambda x: formula(x, jnp.tanh)

        x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
        return _side(engine, ours, theirs, [x])

    return build


def softmax_xent(engine: str) -> Runner:
    """Softmax cross-entropy of 256 x 1000 logits: the loss and its gradient."""
    from workbench import symbolic

    def ours() -> Any:
        x, y = symbolic.matrix("x", "float32"), symbolic.vector("y", "int64")
        loss = symbolic.ops.softmax_cross_entropy(x, y)
        return symbolic.function([x, y], [loss, symbolic.grad(loss, x)])

    def theirs(jax: Any, jnp: Any) -> Any:
        def loss(x: Any, y: Any) -> Any:
            return -jax.nn.log_softmax(x)[jnp.arange(ROWS), y].mean()

        return jax.value_and_grad(loss)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    return _side(engine, ours, theirs, [x, rng.integers(0, WIDTH, ROWS)])


def layernorm(engine: str) -> Runner:
    """Layer normalisation of 256 x 1000 numbers: its value, and the gradients of its sum of squares."""
    from workbench import symbolic

    def formula(x: Any, scale: Any, shift: Any, sqrt: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred / sqrt(variance + 1e-5) * scale + shift

    def ours() -> Any:
        x = symbolic.matrix("x", "float32")
        scale, shift = symbolic.vector("scale", "float32"), symbolic.vector("shift", "float32")
        y = formula(x, scale, shift, symbolic.ops.sqrt)
        loss = (y * y).sum()
        return symbolic.function([x, scale, shift],
                                 [loss, *symbolic.grad(loss, [x, scale, shift])])  # fmt: skip

    def theirs(jax: Any, jnp: Any) -> Any:
        def loss(x: Any, scale: Any, shift: Any) -> Any:
            y = formula(x, scale, shift, jnp.sqrt)
            return (y * y).sum()

        return jax.value_and_grad(loss, argnums=(0, 1, 2))

    rng = np.random.default_rng(0)
    shapes = (ROWS, WIDTH), WIDTH, WIDTH
    return _side(engine, ours, theirs,
                 [rng.standard_normal(shape, dtype=np.float32) for shape in shapes])  # fmt: skip
