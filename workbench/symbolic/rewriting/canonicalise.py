"""One way to write what can be written in several, so that fewer rules see more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from workbench.symbolic import ops
from workbench.symbolic.graph import Constant, Variable, apply
from workbench.symbolic.ops.elementwise import Elementwise
from workbench.symbolic.rewriting.legality import (
    alike,
    const,
    floating,
    not_negative,
    nothing_moved,
    tame,
)
from workbench.symbolic.rewriting.passes import ROUNDING, Match, Pass, Rule
from workbench.symbolic.rewriting.patterns import number


def _gathered(compute: np.ufunc) -> Callable[[Match], Variable | None]:
    """Return what makes one factor of two constants, and refuses where that loses digits."""

    def combine(m: Match) -> Variable | None:
        with np.errstate(all="ignore"):
            value = compute(m.C.data, m.D.data)
        return const(m, value) * m.X if tame(m.C.data, m.D.data, value) else None

    return combine


def _gather_sums(m: Match) -> Variable | None:
    """Refuse constants of different signs: (x + c) - c may be meant to round x."""
    c, d = m.C.data, m.D.data
    with np.errstate(all="ignore"):
        safe = m.y.dtype.kind != "f" or (np.isfinite(c + d) & ((c < 0) == (d < 0))).all()
        return const(m, c + d) + m.X if safe else None


def _small_power(m: Match) -> Variable | None:
    """Return a whole power without a logarithm; roots only of what is not negative."""
    x, n = m.X, number(m.C)
    if n == 2:
        return ops.square(x)
    if n == 1:
        return x
    if m.y.dtype.kind != "f":
        return None
    root = not_negative(x)
    forms: dict[Any, Callable[[], Variable]] = {
        -1: lambda: 1 / x, -2: lambda: 1 / ops.square(x), 3: lambda: x * ops.square(x),
        4: lambda: ops.square(ops.square(x)),
    }  # fmt: skip
    if root:
        forms |= {0.5: lambda: ops.sqrt(x), -0.5: lambda: 1 / ops.sqrt(x),
                  1.5: lambda: x * ops.sqrt(x)}  # fmt: skip
    return forms[n]() if n in forms else None


def _sum_of_copies(m: Match) -> Variable | None:
    """Return count * X for a sum of X broadcast, over just the axes that were made."""
    x, wide, op = m.X, m.node.inputs[0], m.op
    lead = wide.ndim - x.ndim
    made = tuple(a for a in range(wide.ndim) if a < lead or x.shape[a - lead] == 1)
    kept = tuple(a for a in range(wide.ndim) if a not in op.axis)
    sizes = m.sizes(wide)
    if any(a not in made for a in op.axis) or min(sizes[a] for a in op.axis) <= 0:
        return None
    if any(a in made and sizes[a] != 1 for a in kept) or any(a < lead for a in kept):
        return None
    inner = tuple(a - lead for a in op.axis if a >= lead)
    y = ops.squeeze(x, inner) if inner else x
    y = const(m, math.prod(sizes[a] for a in op.axis)) * y
    return ops.expand_dims(y, op.axis) if op.keepdims else y


def _without_broadcasts(m: Match) -> Variable | None:
    """Return an elementwise op of what its operands repeat, if the others are as long."""
    for i, x in enumerate(m.node.inputs):
        if x.owner is not None and x.owner.op.name == "broadcast_to":
            inputs = (*m.node.inputs[:i], x.owner.inputs[0], *m.node.inputs[i + 1 :])
            y = apply(m.op, *inputs)
            if m.sizes(y) == m.sizes(m.y):
                return y
    return None


def _known_shape(m: Match) -> Variable | None:
    """Return a constant; or the shape of an input that has the same, which nothing computes."""
    if None not in m.X.shape:
        return ops.shape_of(m.X)
    leaf = m.sizes.leaf_like(m.X)
    return None if leaf is None or leaf is m.X else ops.shape_of(leaf)


def _known_fill(m: Match) -> Variable | None:
    if None not in m.X.shape:
        return ops.broadcast_to(const(m, m.op.value), m.X.shape)
    leaf = m.sizes.leaf_like(m.X)
    if leaf is None or leaf is m.X or leaf.dtype != m.y.dtype:
        return None
    return apply(m.op, leaf)


def _new_axes(m: Match) -> Variable | None:
    """Return X with new axes, for an index of nothing but ``None`` and full slices."""
    parts = m.op.parts
    if any(p is not None and p != (None, None, None) for p in parts):
        return None
    axes = tuple(i for i, p in enumerate(parts) if p is None)
    return ops.expand_dims(m.X, axes) if axes else m.X


def _transposed_twice(m: Match) -> Variable:
    return ops.transpose(m.X, [m.A[b] for b in m.B])


def _exact_cast(m: Match) -> bool:
    """A cast through a dtype that holds every value of the first changes nothing."""
    return bool(np.can_cast(m.X.dtype, m.node.inputs[0].dtype, "safe"))


CANONICALISE = Pass("canonicalise", (
    Rule("negative of negative", "negative(-X)", "X", "they undo each other"),
    Rule("plus negative", "X + -Y", "X - Y", "one op instead of two", when=alike),
    Rule("minus negative", "X - -Y", "X + Y", "one op instead of two", when=alike),
    Rule("negative minus", "-X - Y", "-(X + Y)", "signs move out, where they may meet", when=alike),
    Rule("negative of difference", "-(X - Y)", "Y - X", "one op instead of two", when=alike),
    Rule("negative factor", "-X * Y", "-(X * Y)", "signs move out of products", when=alike),
    Rule("negative numerator", "-X / Y", "-(X / Y)", "signs move out of quotients", when=alike),
    Rule("negative denominator", "X / -Y", "-(X / Y)", "signs move out of quotients", when=alike),
    Rule("minus constant", "X - C", lambda m: const(m, np.negative(m.C.data)) + m.X,
         "sums have one form; constants stand on the left",
         when=lambda m: m.C.dtype == m.y.dtype and m.y.dtype.kind != "b"
         and not isinstance(m.X, Constant)),
    Rule("gather constants of a product", "C * (D * X)", _gathered(np.multiply),
         "computed once, when the graph is built", ROUNDING,
         when=lambda m: m.C.dtype == m.D.dtype == m.y.dtype),
    Rule("gather constants of a quotient", "C * X / D", _gathered(np.divide),
         "computed once, when the graph is built", ROUNDING,
         when=lambda m: m.C.dtype == m.D.dtype == m.y.dtype),
    Rule("gather constants of a sum", "C + (D + X)", _gather_sums,
         "computed once, when the graph is built", ROUNDING,
         when=lambda m: m.C.dtype == m.D.dtype == m.y.dtype),
    Rule("constant out of negative", "-(C * X)", lambda m: const(m, np.negative(m.C.data)) * m.X,
         "a sign is free in a constant", when=lambda m: m.C.dtype == m.y.dtype),
    Rule("doubling", "X + X", "2 * X", "constants gather in products",
         when=lambda m: m.y.dtype.kind != "b"),
    Rule("square", "X * X", "square(X)", "read once", when=lambda m: m.y.dtype.kind != "b"),
    Rule("small power", "X ** C", _small_power, "products, not logarithms", ROUNDING),
    Rule("square of negative", "square(-X)", "square(X)", "a sign is lost in a square"),
    Rule("square of absolute", "square(absolute(X))", "square(X)", "a sign is lost in a square"),
    Rule("absolute of negative", "absolute(-X)", "absolute(X)", "a sign is lost in a size",
         when=floating),
    Rule("cosine of negative", "cos(-X)", "cos(X)", "cos is even"),
    Rule("absolute where not negative", "absolute(X)", "X", "already done",
         when=lambda m: not_negative(m.X)),
    Rule("relu where not negative", "relu(X)", "X", "already done",
         when=lambda m: not_negative(m.X)),
    Rule("reciprocal of exponential", "1 / exp(X)", "exp(-X)", "a sign is cheaper than a division",
         ROUNDING),
    Rule("transpose twice", "transpose(transpose(X, axes=A), axes=B)", _transposed_twice,
         "orders of axes compose"),
    Rule("reshape twice", "reshape(reshape(X, ...), Z)", "reshape(X, Z)",
         "elements keep their order"),
    Rule("broadcast twice", "broadcast_to(broadcast_to(X, ...), Z)", "broadcast_to(X, Z)",
         "copies of copies are copies"),
    Rule("cast twice", "cast(cast(X))", lambda m: ops.cast(m.X, m.y.dtype),
         "the first lost nothing", when=_exact_cast),
    Rule("squeeze what was expanded", "squeeze(expand_dims(X, axes=A), axes=A)", "X",
         "they undo each other"),
    Rule("expand what was squeezed", "expand_dims(squeeze(X, axes=A), axes=A)", "X",
         "they undo each other"),
    Rule("expand a sum", "expand_dims(sum(X, axis=A, keepdims=False), axes=A)",
         "sum(X, axis=A, keepdims=True)", "one op instead of two"),
    Rule("index that only adds axes", "getitem(X)", _new_axes, "one way to write it"),
    Rule("sum of sum", "sum(sum(X, axis=A, keepdims=False), axis=B, keepdims=False)",
         lambda m: ops.sum(m.X, (*m.A, *(_outer(m.X.ndim, m.A)[b] for b in m.B))),
         "one pass over the data", ROUNDING),
    Rule("sum of negative", "sum(-X, axis=A, keepdims=K)", "-sum(X, axis=A, keepdims=K)",
         "fewer elements to negate", when=alike),
    Rule("sum of copies", "sum(broadcast_to(X, ...), axis=A)", _sum_of_copies,
         "n x instead of x + ... + x", ROUNDING, when=floating),
    Rule("known shape", "shape_of(X)", _known_shape, "nothing need be computed to know it"),
    Rule("known fill", "fill_like(X)", _known_fill, "nothing need be computed to fill it"),
    Rule("sum to its own shape", "sum_to(X, ...)", "X", "nothing was broadcast",
         when=nothing_moved),
    Rule("broadcast operand", "_(...)", _without_broadcasts,
         "elementwise ops broadcast by themselves",
         when=lambda m: isinstance(m.op, Elementwise)),
))  # fmt: skip


def _outer(ndim: int, axes: tuple[int, ...]) -> list[int]:
    """Return the axes that are left when ``axes`` are gone."""
    return [a for a in range(ndim) if a not in axes]
