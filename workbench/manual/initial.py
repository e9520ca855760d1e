"""Where weights start: variances chosen so that signals keep their size through layers.

Each takes ``(shape, rng, dtype)`` and draws in float64, so that one seed gives one
network, in either precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, float_dtype
from workbench.errors import ShapeError
from workbench.manual._checks import check_rng

Initializer: TypeAlias = Callable[[Sequence[int], np.random.Generator, npt.DTypeLike], Array]


def glorot_uniform(
    shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Draw from U(-a, a) with ``a = sqrt(6 / (inputs + outputs))``.

    Parameters
    ----------
    shape : (D, K) or (F, C, KH, KW)
        Of an affine map's weights or of a convolution's filters.
    rng : numpy.random.Generator
    dtype : float32 or float64

    Returns
    -------
    array of ``shape`` and ``dtype``

    Raises
    ------
    ShapeError, DtypeError
        If an argument is not as above.

    Notes
    -----
    Source: Glorot and Bengio (2010), equation 16; meant for tanh.
    """
    inputs, outputs = fans(shape, "glorot_uniform")
    return _uniform("glorot_uniform", math.sqrt(6 / (inputs + outputs)), shape, rng, dtype)


def glorot_normal(
    shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Draw from N(0, 2 / (inputs + outputs)); arguments as :func:`glorot_uniform`.

    Source: Glorot and Bengio (2010), equation 12.
    """
    inputs, outputs = fans(shape, "glorot_normal")
    return _normal("glorot_normal", math.sqrt(2 / (inputs + outputs)), shape, rng, dtype)


def he_uniform(
    shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Draw from U(-a, a) with ``a = sqrt(6 / inputs)``; arguments as :func:`glorot_uniform`.

    The uniform distribution of the variance of :func:`he_normal`.
    """
    return _uniform("he_uniform", math.sqrt(6 / fans(shape, "he_uniform")[0]), shape, rng, dtype)


def he_normal(
    shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Draw from N(0, 2 / inputs); arguments as :func:`glorot_uniform`.

    Source: He, Zhang, Ren and Sun (2015), equation 10; meant for ReLU.
    """
    return _normal("he_normal", math.sqrt(2 / fans(shape, "he_normal")[0]), shape, rng, dtype)


def fans(shape: Sequence[int], where: str = "fans") -> tuple[int, int]:
    """Return how many inputs feed one output, and how many outputs one input feeds.

    Parameters
    ----------
    shape : (D, K) or (F, C, KH, KW)
    where : str
        On whose behalf errors speak.

    Raises
    ------
    ShapeError
        For any other number of axes, or an empty one.
    """
    if len(shape) not in (2, 4) or 0 in shape:
        raise ShapeError(where, "no fans are known for this shape",
                         given=f"shape {tuple(shape)}",
                         expected="(D, K) of a matrix or (F, C, KH, KW) of filters")  # fmt: skip
    if len(shape) == 2:
        return shape[0], shape[1]
    filters, channels, height, width = shape
    return channels * height * width, filters * height * width


def _uniform(
    where: str, a: float, shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike
) -> Array:
    check_rng(where, rng)
    return rng.uniform(-a, a, tuple(shape)).astype(float_dtype(dtype, where))


def _normal(
    where: str, deviation: float, shape: Sequence[int], rng: np.random.Generator,
    dtype: npt.DTypeLike,
) -> Array:  # fmt: skip
    check_rng(where, rng)
    return rng.normal(0.0, deviation, tuple(shape)).astype(float_dtype(dtype, where))
