"""Elementwise nonlinearities, softmax and dropout, each above its gradient.

All but dropout take complex arrays too, for the complex-step derivative: NumPy orders
complex numbers by their real part first, so ``maximum``, ``minimum`` and ``>`` choose
the branch that the real part would.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import ShapeError
from workbench.manual._checks import check, check_g, check_number, check_rng


def relu(x: Array) -> tuple[Array, Any]:
    """Return ``max(x, 0)`` elementwise, and a cache; x of any shape.

    At 0 the slope is taken to be 0.  Source: Nair and Hinton (2010), "Rectified
    linear units improve restricted Boltzmann machines".

    Raises DtypeError if ``x`` is not a floating array.
    """
    check("relu", "x ...", x)
    y = np.maximum(x, 0)
    return y, y


def relu_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`relu` with respect to x; g has x's shape.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    y = cache
    check_g("relu_backward", g, y.shape, y)
    return g * (y > 0)


def tanh(x: Array) -> tuple[Array, Any]:
    """Return the hyperbolic tangent elementwise, and a cache; x of any shape.

    Raises DtypeError if ``x`` is not a floating array.
    """
    check("tanh", "x ...", x)
    y = np.tanh(x)
    return y, y


def tanh_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`tanh` with respect to x; g has x's shape.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    y = cache
    check_g("tanh_backward", g, y.shape, y)
    return g * (1 - y * y)


def sigmoid(x: Array) -> tuple[Array, Any]:
    """Return ``1 / (1 + exp(-x))`` elementwise, and a cache; x of any shape.

    Nothing overflows, and small values keep all their digits.

    Raises DtypeError if ``x`` is not a floating array.
    """
    check("sigmoid", "x ...", x)
    e = np.exp(np.minimum(x, -x))  # Never of a positive number, so never above 1.
    y = np.where(x > 0, 1, e) / (1 + e)
    return y, y


def sigmoid_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`sigmoid` with respect to x; g has x's shape.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    y = cache
    check_g("sigmoid_backward", g, y.shape, y)
    return g * (y * (1 - y))


def softmax(x: Array) -> tuple[Array, Any]:
    """Return exponentials normalised to sum to 1 along the last axis, and a cache.

    Parameters
    ----------
    x : array, shape (..., K)

    Returns
    -------
    y : array, shape (..., K)
    cache
        For :func:`softmax_backward`.

    Raises
    ------
    ShapeError, DtypeError
        If ``x`` is not a floating array with an axis to sum over.
    """
    check("softmax", "x ... K", x)
    if not x.shape[-1]:
        raise ShapeError("softmax", "there is nothing to normalise", given=f"x {x.shape}",
                         expected="a last axis of at least 1")  # fmt: skip
    y = np.exp(x - x.max(axis=-1, keepdims=True))  # Any shift cancels; this one cannot overflow.
    y /= y.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`softmax` with respect to x; g has x's shape.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    y = cache
    check_g("softmax_backward", g, y.shape, y)
    return y * (g - (g * y).sum(axis=-1, keepdims=True))


def dropout(
    x: Array, rate: float, rng: np.random.Generator, training: bool = True
) -> tuple[Array, Any]:
    """Zero each element with probability ``rate``, and scale the others to make up for it.

    Parameters
    ----------
    x : array, any shape
    rate : float
        In [0, 1).
    rng : numpy.random.Generator
        Advanced by one draw an element; CuPy's Generator for CuPy arrays.
    training : bool
        False returns ``x`` itself and draws nothing.

    Returns
    -------
    y : array, shape of x
        Its expectation is ``x``: "inverted" dropout, which leaves testing alone.
    cache
        For :func:`dropout_backward`.

    Raises
    ------
    DtypeError, OptionError
        If ``x`` is not a floating array, ``rng`` no generator, or rate outside [0, 1).

    Notes
    -----
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """
    check("dropout", "x ...", x)
    check_number("dropout", "rate", rate, 0, 1)
    if not training or rate == 0:
        return x, (x, None)
    check_rng("dropout", rng)
    # Drawn in float32 whatever x is: one seed, one mask, in either precision.
    keep = rng.random(x.shape, dtype=np.float32) >= rate
    mask = keep.astype(x.real.dtype) / (1 - rate)
    return x * mask, (x, mask)


def dropout_backward(g: Array, cache: Any) -> Array:
    """Return the gradient of :func:`dropout` with respect to x; g has x's shape.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, mask = cache
    check_g("dropout_backward", g, x.shape, x)
    return g if mask is None else g * mask
