"""The question every function pair is asked, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workbench.gradcheck import check_gradient


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _like(y: Any, rng: np.random.Generator) -> Any:
    if isinstance(y, tuple):
        return tuple(_like(each, rng) for each in y)
    return np.asarray(rng.standard_normal(np.shape(y)), dtype=y.dtype)


def _claims(forward: Callable[..., Any], backward: Callable[..., Any], arrays: Any, g: Any) -> Any:
    """The gradients, after seeing that nothing handed over was changed on the way."""
    before = [a.copy() for a in arrays]
    y, cache = forward(*arrays)
    g_before = [each.copy() for each in _tuple(g)]
    first = _tuple(backward(g, cache))
    kept = [each.copy() for each in first]
    second = _tuple(backward(g, cache))
    for a, b in zip([*arrays, *_tuple(g), *second], [*before, *g_before, *kept], strict=True):
        np.testing.assert_array_equal(a, b)
    for each in _tuple(y):
        assert each.dtype == arrays[0].dtype
    for a, gradient in zip(arrays, first, strict=True):
        assert gradient.shape == a.shape
        assert gradient.dtype == a.dtype
    return first


@pytest.fixture
def check_pair() -> Callable[..., None]:
    """Return ``check(forward, backward, *arrays)``, which holds a pair to what it claims.

    float64: against central differences and, unless told otherwise, the complex step,
    which is exact to the last digits.  float32: the float32 claim against differences
    of the same function in float64.
    """

    def check(
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        *arrays: np.ndarray,
        methods: tuple[str, ...] = ("central", "complex"),
    ) -> None:
        rng = np.random.default_rng(99)
        y, _ = forward(*arrays)
        g = _like(y, rng)

        def f(*xs: np.ndarray) -> Any:
            outputs = _tuple(forward(*xs)[0])
            return sum((each * gi).sum() for each, gi in zip(outputs, _tuple(g), strict=True))

        claims = _claims(forward, backward, arrays, g)
        for method in methods:
            check_gradient(f, claims, arrays, method=method)
        small = tuple(a.astype(np.float32) for a in arrays)
        g32 = tuple(np.asarray(gi, np.float32) for gi in _tuple(g))
        claims32 = _claims(forward, backward, small, g32 if isinstance(g, tuple) else g32[0])
        g = tuple(gi.astype(np.float64) for gi in g32)
        check_gradient(f, claims32, small, dtype=np.float64)

    return check
