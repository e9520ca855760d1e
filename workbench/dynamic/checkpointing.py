"""Checkpointing: keep a segment's arguments only, and run it again when backward needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.dynamic import versions
from workbench.dynamic.engine import reachable, unwind
from workbench.dynamic.function import Function, Node
from workbench.dynamic.ops import positive
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DtypeError, GraphError


class Checkpoint(Function):
    """A segment of a program as one operation, which keeps its arguments and nothing else."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        raise GraphError("checkpoint", "call dynamic.checkpoint(function, ...) instead")

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        recorded = isinstance(g, Tensor)
        # What is to be differentiated in its turn runs on the history of the arguments.
        args = tuple(map(_alias, ctx.call)) if recorded else _cut_off(ctx.call)
        own = [x.node or x for x in args if isinstance(x, Tensor)]
        edges = own + ctx.inputs[len(own) :]
        wanted = {e for e, known in zip(edges, ctx.inputs, strict=True) if known is not None}
        found = unwind([_again(ctx, args)], [g], recorded, recorded, wanted, stop=True)
        return tuple(found.get(e) for e in edges)


def _cut_off(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments in which every tensor is a leaf of its own."""
    return tuple(Tensor(x.data, x.requires_grad) if isinstance(x, Tensor) else x for x in args)


def _alias(x: Any) -> Any:
    """Return a tensor's copy with history, which tells one argument from another."""
    return positive(x) if isinstance(x, Tensor) else x


def _again(ctx: Any, args: tuple[Any, ...]) -> Tensor:
    """Run the segment once more, with the random numbers of the first time."""
    now = [rng.bit_generator.state for rng in ctx.rngs]
    before, mode.enabled = (mode.enabled, mode.intercept), True
    mode.intercept = ctx.autocast
    try:
        for rng, state in zip(ctx.rngs, ctx.states, strict=True):
            rng.bit_generator.state = state
        y = ctx.function(*args)
    finally:
        mode.enabled, mode.intercept = before
        for rng, state in zip(ctx.rngs, now, strict=True):
            rng.bit_generator.state = state
    if y.shape != ctx.shape:
        raise GraphError("checkpoint", "the function did something else the second time",
                         given=f"a result {y.shape}", expected=f"{ctx.shape}, as the first time",
                         fix="make it depend on its arguments and on rng= alone")  # fmt: skip
    return y


def checkpoint(function: Callable[..., Tensor], *args: Any, rng: Any = ()) -> Tensor:
    """Return ``function(*args)``, of which only the arguments are kept for backward.

    Backward runs the function again: time is traded for memory (Chen et al., 2016,
    "Training deep nets with sublinear memory cost").  A chain of n layers in segments of
    sqrt(n) keeps 2 sqrt(n) results at a time instead of n.

    Parameters
    ----------
    function : callable
        Returns one tensor.  Gradients also reach tensors that it uses without being given
        them, such as the parameters of a module.
    *args
        Tensors and constants.
    rng : numpy.random.Generator, or sequence of them
        What the function draws from (dropout): the second run gets the same numbers.
        A generator on the GPU cannot be wound back.

    Returns
    -------
    Tensor

    Raises
    ------
    DtypeError
        If ``rng`` is no such generator.
    GraphError
        If the function does not return a tensor; in backward, if its second result has
        another shape or something it used was edited in place.
    """
    rngs = list(rng) if isinstance(rng, Sequence) else [rng]
    for each in rngs:
        if not isinstance(each, np.random.Generator):
            raise DtypeError("checkpoint", "rng is no generator that can be wound back",
                             given=type(each).__name__, expected="numpy.random.Generator",
                             fix="draw on the host inside checkpointed segments")  # fmt: skip
    states = [each.bit_generator.state for each in rngs]
    inside, start = _cut_off(args), next(versions.clock)
    y = function(*inside)
    if not isinstance(y, Tensor):
        raise GraphError("checkpoint", "the function did not return one tensor",
                         given=type(y).__name__,
                         fix="stack several results, or checkpoint each")  # fmt: skip
    if y.node is None or y.node.sequence < start:
        return y  # Nothing was recorded.
    made = reachable([y.node], since=start)
    edges = dict.fromkeys(e for node in made for e in node.inputs or () if e is not None)
    own = {x for x in inside if isinstance(x, Tensor)}
    used = [e for e in edges if e not in made and e not in own]
    given = [x for x in args if isinstance(x, Tensor)]
    ctx = Node()
    ctx.op, ctx.output, ctx.sequence = Checkpoint, None, next(versions.clock)
    ctx.shape, ctx.dtype = y.shape, y.dtype
    ctx.inputs = [(x.node or x) if x.requires_grad else None for x in given] + used
    ctx.args = tuple([x.data for x in given] + [getattr(e, "data", None) for e in used])
    autocast = mode.intercept if hasattr(mode.intercept, "outside") else None
    vars(ctx).update(function=function, call=args, rngs=rngs, states=states, autocast=autocast)
    return Tensor(y.data, True, ctx)
