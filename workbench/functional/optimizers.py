"""Optimisers as triples of pure functions, and schedules as functions of the step.

``init(parameters) -> state``, ``update(step, g, state) -> state`` and
``get_params(state) -> parameters``, as in ``jax.example_libraries.optimizers``.  A state is
a tuple of pytrees like the parameters, these first, so ``jit`` compiles a step of training
and ``vmap`` trains an ensemble, without either being told::

    init, update, get_params = adam(1e-3)
    state = init(parameters)
    for step in range(100):
        state = update(step, grad(loss)(get_params(state), x, y), state)

In the formulas p is the parameters, g their gradient, s the step size and t the number of
the step counted from 1; products are elementwise, and what is remembered starts at zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from workbench.errors import OptionError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional.core import Tracer, Value, is_array, shape_of
from workbench.functional.numpy.promotion import as_array, convert
from workbench.functional.tree import tree_flatten, tree_map, tree_unflatten

Schedule: TypeAlias = Callable[[Value], Value]
StepSize: TypeAlias = float | Schedule


class Optimizer(NamedTuple):
    """How to begin, how to go on, and how to read the parameters off."""

    init: Callable[[Any], Any]
    update: Callable[[Value, Any, Any], Any]
    get_params: Callable[[Any], Any]


Rule: TypeAlias = Callable[..., tuple[Value, ...]]


def _optimizer(name: str, step_size: StepSize, slots: int, rule: Rule) -> Optimizer:
    """Make an optimiser from ``rule(g, s, t, p, *remembered) -> (p, *remembered)`` of a leaf."""
    schedule = make_schedule(step_size)

    def init(parameters: Any) -> Any:
        parameters = tree_map(functools.partial(as_array, name), parameters)
        return (parameters, *[tree_map(fnp.zeros_like, parameters) for _ in range(slots)])

    def update(step: Value, g: Any, state: Any) -> Any:
        slopes, treedef = tree_flatten(g)
        columns, structures = zip(*map(tree_flatten, state), strict=True)
        if treedef != structures[0]:
            raise ShapeError(f"{name}.update", "the gradient is not structured like the parameters",
                             given=f"{treedef}", expected=f"{structures[0]}")  # fmt: skip
        s = schedule(step)
        rows = [
            # A schedule of a traced step is an array: it must not widen the parameters.
            rule(slope, convert(s, p.dtype), step + 1, p, *slots)
            for slope, p, *slots in zip(slopes, *columns, strict=True)
        ]
        columns = zip(*rows, strict=True) if rows else columns
        return tuple(map(tree_unflatten, structures, columns))

    return Optimizer(init, update, lambda state: state[0])


def sgd(step_size: StepSize) -> Optimizer:
    """Stochastic gradient descent: ``p = p - s g`` (Robbins and Monro, 1951)."""
    return _optimizer("sgd", step_size, 0, lambda g, s, t, p: (p - s * g,))


def momentum(step_size: StepSize, mass: float = 0.9, nesterov: bool = False) -> Optimizer:
    """Gradient descent with momentum (Polyak, 1964; Sutskever et al., 2013).

    ::

        v = mass v + g
        p = p - s v                     or, with nesterov,  p - s (g + mass v)
    """

    def rule(g: Value, s: Value, t: Value, p: Value, v: Value) -> tuple[Value, ...]:
        v = mass * v + g
        return p - s * (g + mass * v if nesterov else v), v

    _check("momentum", "mass", mass, 0 <= mass < 1)
    return _optimizer("momentum", step_size, 1, rule)


def adagrad(step_size: StepSize, eps: float = 1e-10) -> Optimizer:
    """Adagrad: ``v = v + g²; p = p - s g / (sqrt(v) + eps)`` (Duchi, Hazan and Singer, 2011)."""

    def rule(g: Value, s: Value, t: Value, p: Value, v: Value) -> tuple[Value, ...]:
        v = v + fnp.square(g)
        return p - s * g / (fnp.sqrt(v) + eps), v

    return _optimizer("adagrad", step_size, 1, rule)


def rmsprop(step_size: StepSize, decay: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """RMSProp (Tieleman and Hinton, 2012, lecture 6.5 of *Neural networks for machine learning*).

    ``v = decay v + (1 - decay) g²; p = p - s g / (sqrt(v) + eps)``
    """

    def rule(g: Value, s: Value, t: Value, p: Value, v: Value) -> tuple[Value, ...]:
        v = decay * v + (1 - decay) * fnp.square(g)
        return p - s * g / (fnp.sqrt(v) + eps), v

    _check("rmsprop", "decay", decay, 0 <= decay < 1)
    return _optimizer("rmsprop", step_size, 1, rule)


def adam(step_size: StepSize = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
         weight_decay: float = 0.0) -> Optimizer:  # fmt: skip
    """Adam (Kingma and Ba, 2015, algorithm 1); with ``weight_decay`` see :func:`adamw`.

    ::

        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g²
        p = p - s (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """

    def rule(g: Value, s: Value, t: Value, p: Value, m: Value, v: Value) -> tuple[Value, ...]:
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * fnp.square(g)
        weight1, weight2 = (convert(1 - fnp.power(b, t), p.dtype) for b in (b1, b2))
        p = p - s * weight_decay * p if weight_decay else p
        return p - s * (m / weight1) / (fnp.sqrt(v / weight2) + eps), m, v

    _check("adam", "b1", b1, 0 <= b1 < 1)
    _check("adam", "b2", b2, 0 <= b2 < 1)
    return _optimizer("adam", step_size, 2, rule)


def adamw(step_size: StepSize = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
          weight_decay: float = 0.01) -> Optimizer:  # fmt: skip
    """Adam after ``p = p - s weight_decay p`` (Loshchilov and Hutter, 2019).

    The decay is not divided by the root of v, as that of a penalty would be.
    """
    return adam(step_size, b1, b2, eps, weight_decay)


def _check(where: str, name: str, value: float, ok: bool, expected: str = "0 <= x < 1") -> None:
    if not ok:
        raise OptionError(where, f"{name} is out of range", given=f"{name}={value!r}",
                          expected=expected.replace("x", name))  # fmt: skip


def global_norm(tree: Any) -> Value:
    """Return the Euclidean norm of all leaves of a pytree taken as one vector; shape ()."""
    return fnp.sqrt(sum(fnp.sum(fnp.square(leaf)) for leaf in tree_flatten(tree)[0]))


def clip_by_global_norm(g: Any, max_norm: float) -> Any:
    """Scale a pytree so that its global norm is at most ``max_norm``; the direction stays.

    Pascanu, Mikolov and Bengio (2013), algorithm 1.

    Raises
    ------
    OptionError
        If ``max_norm`` is not positive.
    """
    _check("clip_by_global_norm", "max_norm", max_norm, max_norm > 0, "x > 0")
    norm = global_norm(g)
    scale = fnp.where(norm > max_norm, max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda leaf: leaf * convert(scale, leaf.dtype), g)


# --- Schedules: functions of the step, counted from 0, maybe traced, to the step size. ---


def make_schedule(step_size: StepSize) -> Schedule:
    """Return a number as a schedule that always gives it, and a schedule as it is.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if callable(step_size):
        return step_size
    number = isinstance(step_size, int | float | Tracer) or is_array(step_size)
    if not number or shape_of(step_size):
        raise OptionError("make_schedule", "a step size is a number or a function of the step",
                          given=f"a {type(step_size).__name__} of shape {shape_of(step_size)}",
                          expected="such as 0.1, or cosine_decay(0.1, 1000)")  # fmt: skip
    return lambda step: step_size


def exponential_decay(step_size: float, steps: int, rate: float) -> Schedule:
    """Return the schedule that multiplies by ``rate`` in the course of every ``steps`` steps."""
    _check("exponential_decay", "steps", steps, steps > 0, "x > 0")
    _check("exponential_decay", "rate", rate, rate > 0, "x > 0")
    return lambda step: step_size * fnp.power(rate, step / steps)


def cosine_decay(step_size: float, steps: int, floor: float = 0.0) -> Schedule:
    """Return half a cosine from the step size to ``floor`` times it, constant after ``steps``.

    Loshchilov and Hutter (2017), equation 5, without restarts.
    """
    _check("cosine_decay", "steps", steps, steps > 0, "x > 0")
    return lambda step: (
        step_size
        * (floor + (1 - floor) * (1 + fnp.cos(math.pi * fnp.minimum(step / steps, 1.0))) / 2)
    )


def piecewise_constant(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """Return ``values[k]``, k the number of boundaries up to and including the step.

    Raises
    ------
    OptionError
        If there is not one value more than boundaries, or these do not increase.
    """
    if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
        raise OptionError("piecewise_constant", "boundaries and values do not fit together",
                          given=f"boundaries {list(boundaries)}, values {list(values)}",
                          expected="increasing boundaries, and one value more")  # fmt: skip

    def schedule(step: Value) -> Value:
        s: Value = values[0]
        for boundary, value in zip(boundaries, values[1:], strict=True):
            s = fnp.where(step >= boundary, value, s)
        return s

    return schedule


def warmup(steps: int, after: StepSize) -> Schedule:
    """Return a line up to ``after``'s first step size, then ``after``, which counts from there.

    Goyal et al. (2017), section 2.2.  The first step is 1 / (steps + 1) of the way up.
    """
    _check("warmup", "steps", steps, steps > 0, "x > 0")
    later = make_schedule(after)
    # The later schedule may not be defined before its own step 0.
    return lambda step: fnp.where(
        step < steps,
        later(0) * (step + 1) / (steps + 1),
        later(fnp.where(step < steps, 0, step - steps)),
    )
