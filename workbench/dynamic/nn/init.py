"""Where weights start: variances chosen so that signals keep their size through layers.

Each function takes ``(shape, rng, dtype, fans)`` and returns an array; ``fans`` are the
numbers of inputs and outputs of a unit, by default those of a matrix (D, K) or of kernels
(F, C, ...).  Draws are float64, so that one seed gives one network in every precision.
Options are fixed beforehand: ``functools.partial(init.normal, std=0.02)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.errors import ShapeError

Fans: TypeAlias = tuple[int, int] | None
Rng: TypeAlias = np.random.Generator | None
Initializer: TypeAlias = Callable[..., npt.NDArray[Any]]


def fans_of(shape: Sequence[int]) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a unit with weights of this shape.

    Parameters
    ----------
    shape : (D, K) or (F, C, ...)
        Of a matrix, or of kernels: there each place of a kernel counts.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError("fans_of", "fans need two axes", given=f"shape {tuple(shape)}",
                         expected="(D, K) or (F, C, ...)", fix="pass fans=(inputs, outputs)")  # fmt: skip
    if len(shape) == 2:
        return shape[0], shape[1]
    area = math.prod(shape[2:])
    return shape[1] * area, shape[0] * area


def uniform(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
            fans: Fans = None, *, bound: float = 1.0) -> npt.NDArray[Any]:  # fmt: skip
    """Draw from U(-bound, bound)."""
    drawn = _seeded(rng).uniform(-bound, bound, shape)
    return drawn.astype(arrays.float_dtype(dtype, "uniform"))


def normal(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
           fans: Fans = None, *, std: float = 1.0) -> npt.NDArray[Any]:  # fmt: skip
    """Draw from N(0, std**2)."""
    drawn = _seeded(rng).standard_normal(shape) * std
    return drawn.astype(arrays.float_dtype(dtype, "normal"))


def truncated_normal(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
                     fans: Fans = None, *, std: float = 1.0,
                     limit: float = 2.0) -> npt.NDArray[Any]:  # fmt: skip
    """Draw from N(0, std**2), again wherever a draw is beyond ``limit`` times std."""
    rng = _seeded(rng)
    drawn = rng.standard_normal(shape)
    while (beyond := np.abs(drawn) > limit).any():
        drawn[beyond] = rng.standard_normal(np.count_nonzero(beyond))
    return (drawn * std).astype(arrays.float_dtype(dtype, "truncated_normal"))


def constant(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
             fans: Fans = None, *, value: float = 0.0) -> npt.NDArray[Any]:  # fmt: skip
    """Return an array of one value."""
    return np.full(shape, value, arrays.float_dtype(dtype, "constant"))


def zeros(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
          fans: Fans = None) -> npt.NDArray[Any]:  # fmt: skip
    """Return an array of zeros."""
    return constant(shape, dtype=dtype)


def ones(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
         fans: Fans = None) -> npt.NDArray[Any]:  # fmt: skip
    """Return an array of ones."""
    return constant(shape, dtype=dtype, value=1.0)


def orthogonal(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
               fans: Fans = None, *, gain: float = 1.0) -> npt.NDArray[Any]:  # fmt: skip
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, times ``gain``.

    The axes of kernels (F, C, ...) after the first count as one.  Saxe, McClelland and
    Ganguli (2014); the signs are such that no rotation is likelier than another (Mezzadri,
    2007).
    """
    rows, columns = shape[0], math.prod(shape[1:])
    draw = _seeded(rng).standard_normal(sorted((rows, columns))[::-1])
    q, r = np.linalg.qr(draw)
    q *= np.sign(np.diag(r)) * gain
    q = q if rows >= columns else q.T
    return q.reshape(shape).astype(arrays.float_dtype(dtype, "orthogonal"))


def _scaled(name: str, draw: Any, scale: float, fan: Callable[[int, int], int],
            doc: str) -> Initializer:  # fmt: skip
    """Make an initialiser that draws with variance ``scale / fan(inputs, outputs)``."""

    def initializer(shape: Sequence[int], rng: Rng = None, dtype: npt.DTypeLike = np.float32,
                    fans: Fans = None) -> npt.NDArray[Any]:  # fmt: skip
        n = fan(*(fans_of(shape) if fans is None else fans))
        if draw is uniform:
            return uniform(shape, rng, dtype, bound=(3 * scale / n) ** 0.5)
        return normal(shape, rng, dtype, std=(scale / n) ** 0.5)

    initializer.__name__ = initializer.__qualname__ = name
    initializer.__doc__ = doc
    return initializer


# fmt: off
glorot_uniform = _scaled("glorot_uniform", uniform, 2, lambda inputs, outputs: inputs + outputs,
    "Draw from U(-a, a), a = sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010, eq. 16).")
glorot_normal = _scaled("glorot_normal", normal, 2, lambda inputs, outputs: inputs + outputs,
    "Draw from N(0, 2 / (inputs + outputs)) (Glorot and Bengio, 2010, eq. 12); for tanh.")
he_uniform = _scaled("he_uniform", uniform, 2, lambda inputs, _: inputs,
    "Draw from U(-a, a), a = sqrt(6 / inputs): the variance of he_normal.")
he_normal = _scaled("he_normal", normal, 2, lambda inputs, _: inputs,
    "Draw from N(0, 2 / inputs) (He, Zhang, Ren and Sun, 2015, eq. 10); for relu.")
lecun_uniform = _scaled("lecun_uniform", uniform, 1, lambda inputs, _: inputs,
    "Draw from U(-a, a), a = sqrt(3 / inputs): the variance of lecun_normal.")
lecun_normal = _scaled("lecun_normal", normal, 1, lambda inputs, _: inputs,
    "Draw from N(0, 1 / inputs) (LeCun, Bottou, Orr and Mueller, 1998, section 4.6).")
# fmt: on


def _seeded(rng: Rng) -> np.random.Generator:
    return np.random.default_rng() if rng is None else rng
