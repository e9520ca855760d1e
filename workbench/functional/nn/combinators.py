"""Layers made of layers: their parameters are tuples, one entry a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workbench.errors import ShapeError
from workbench.functional import random
from workbench.functional.core import Value
from workbench.functional.nn.layers import Identity, Layer, Shape, plain


def _parts(layers: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that goes along the layers: ``each(key, *columns)`` yields their rows.

    A row is a layer, its key (or None), and its entry of each column.
    """
    parts = [layer if isinstance(layer, Layer) else Layer(*layer) for layer in layers]

    def each(key: Value, *columns: Any) -> Iterator[tuple[Any, ...]]:
        keys = [None] * len(parts) if key is None or not parts else random.split(key, len(parts))
        return zip(parts, keys, *columns, strict=True)

    return each


def serial(*layers: Any) -> Layer:
    """One layer after another; the parameters are a tuple, one entry a layer.

    Each is a :class:`Layer` or any (init, apply) pair; each gets a key of its own.
    """
    each = _parts(layers)

    def init(key: Value, shape: Any) -> tuple[Any, Any]:
        made = []
        for part, own_key in each(key):
            shape, parameters = part.init(own_key, shape)
            made.append(parameters)
        return shape, tuple(made)

    def apply(parameters: Any, x: Any, *, key: Value = None, train: bool = False) -> Any:
        for part, own_key, own in each(key, parameters):
            x = part.apply(own, x, key=own_key, train=train)
        return x

    def watch(parameters: Any, x: Any) -> tuple[Any, Any]:
        seen = []
        for part, _, own in each(None, parameters):
            x, own = part.observe(own, x)
            seen.append(own)
        return x, tuple(seen)

    return Layer(init, apply, watch)


def parallel(*layers: Any) -> Layer:
    """One layer for each of several inputs, to as many outputs; all are lists."""
    each = _parts(layers)

    def several(xs: Sequence[Any]) -> Sequence[Any]:
        if len(xs) != len(layers):
            raise ShapeError("parallel", "one input a layer is needed",
                             given=f"{len(xs)} inputs", expected=f"{len(layers)}",
                             fix=f"FanOut({len(layers)}) repeats one input")  # fmt: skip
        return xs

    def both(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], tuple[Any, ...]]:
        return [x for x, _ in pairs], tuple(own for _, own in pairs)

    def init(key: Value, shapes: Sequence[Any]) -> tuple[Any, Any]:
        return both([part.init(own_key, s) for part, own_key, s in each(key, several(shapes))])

    def apply(parameters: Any, xs: Any, *, key: Value = None, train: bool = False) -> Any:
        return [
            part.apply(own, x, key=own_key, train=train)
            for part, own_key, own, x in each(key, parameters, several(xs))
        ]

    def watch(parameters: Any, xs: Any) -> tuple[Any, Any]:
        rows = each(None, parameters, several(xs))
        return both([part.observe(own, x) for part, _, own, x in rows])

    return Layer(init, apply, watch)


def FanOut(n: int) -> Layer:  # noqa: N802
    """One input, n times."""
    return plain(lambda x: [x] * n, lambda shape: [shape] * n)


def _equal(shapes: Sequence[Shape]) -> Shape:
    if len(set(map(tuple, shapes))) != 1:
        raise ShapeError("FanInSum", "the inputs differ in shape", given=f"{list(shapes)}",
                         expected="one shape")  # fmt: skip
    return shapes[0]


FanInSum = plain(lambda xs: sum(xs[1:], xs[0]), _equal)


def residual(*layers: Any) -> Layer:
    """``x + f(x)``, f the layers in series (He et al., 2016): they must keep the shape."""
    return serial(FanOut(2), parallel(serial(*layers), Identity), FanInSum)
