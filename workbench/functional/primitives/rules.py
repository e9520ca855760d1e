"""Rules that many primitives share, so that each declaration says only what is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workbench.functional.core import ZERO, NoRule, Primitive, Value

NOT_LINEAR = NoRule("not linear: its derivative is, and is made of other primitives")
PIECEWISE_CONSTANT = NoRule("piecewise constant: the derivative is zero wherever it exists")


def linear_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    """Push the tangent of the first argument through the primitive itself."""
    y, t = primitive(*primals, **params), tangents[0]
    return y, ZERO if t is ZERO else primitive(t, *primals[1:], **params)


def batch_with(change: Callable[..., dict[str, Any]]) -> Callable[..., Value]:
    """Build the batching rule of a one-array primitive: the same, with other params.

    ``change(size, **params)`` returns the params that leave axis 0 alone.
    """

    def batch(
        primitive: Primitive,
        values: Sequence[Value],
        mapped: Sequence[bool],
        size: int,
        params: dict[str, Any],
    ) -> Value:
        return primitive(*values, **change(size, **params))

    return batch


def shift(axes: Sequence[int]) -> tuple[int, ...]:
    """Return axes one further on, behind a batch axis."""
    return tuple(axis + 1 for axis in axes)
