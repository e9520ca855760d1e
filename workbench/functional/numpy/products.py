"""Products of arrays, made of ``transpose``, ``reshape`` and ``matmul``; functions of parts."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from workbench.errors import OptionError, ShapeError, unknown_name
from workbench.functional.batching import vmap
from workbench.functional.core import Value, get_aval
from workbench.functional.numpy.elementwise import multiply
from workbench.functional.numpy.indexing import getitem
from workbench.functional.numpy.neural import conv2d
from workbench.functional.numpy.parts import flip
from workbench.functional.numpy.promotion import (
    as_array,
    check_axes,
    check_axis,
    promote,
)
from workbench.functional.numpy.shaping import (
    broadcast_shapes,
    broadcast_to,
    expand_dims,
    matmul,
    moveaxis,
    ravel,
    reshape,
    stack,
    transpose,
)

__all__ = [
    "apply_along_axis", "convolve", "correlate", "cross", "dot", "inner", "kron", "outer",
    "polyval", "tensordot", "vdot", "vectorize",
]  # fmt: skip


def _pair(where: str, x: Value, y: Value) -> list[Value]:
    return [as_array(where, each) for each in promote(where, x, y)]


def tensordot(x: Value, y: Value, axes: Any = 2) -> Value:
    """Return the sum of products over axes of ``x`` and ``y`` taken in pairs.

    Parameters
    ----------
    x, y : array
    axes : int, or (axes of x, axes of y)
        A number means the last so many of ``x`` and the first so many of ``y``.

    Returns
    -------
    array
        The axes that are left of ``x``, then those of ``y``.

    Raises
    ------
    ShapeError, OptionError
        If there are no such axes, or a pair differs in length.
    """
    x, y = _pair("tensordot", x, y)
    if isinstance(axes, int):
        if axes > min(len(x.shape), len(y.shape)):
            raise ShapeError("tensordot", "there are not so many axes",
                             given=f"axes {axes} of x {get_aval(x)}, y {get_aval(y)}")  # fmt: skip
        axes = (list(range(len(x.shape) - axes, len(x.shape))), list(range(axes)))
    left = check_axes("tensordot", axes[0], len(x.shape))
    right = check_axes("tensordot", axes[1], len(y.shape))
    if [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise ShapeError("tensordot", "the axes to sum over differ in length",
                         given=f"x {get_aval(x)} axes {left}, y {get_aval(y)} axes {right}")  # fmt: skip
    rows = [i for i in range(len(x.shape)) if i not in left]
    columns = [i for i in range(len(y.shape)) if i not in right]
    shape = [x.shape[i] for i in rows] + [y.shape[i] for i in columns]
    inner = prod(x.shape[i] for i in left)
    a = reshape(transpose(x, (*rows, *left)), (prod(x.shape[i] for i in rows), inner))
    b = reshape(transpose(y, (*right, *columns)), (inner, prod(y.shape[i] for i in columns)))
    return reshape(matmul(a, b), shape)


def dot(x: Value, y: Value) -> Value:
    """Return the sum of products over the last axis of ``x`` and the last but one of ``y``.

    So it is the product of matrices, and of vectors; with a number, it multiplies.

    Raises
    ------
    ShapeError
        If these axes differ in length.
    """
    x, y = _pair("dot", x, y)
    if not x.shape or not y.shape:
        return multiply(x, y)
    return tensordot(x, y, ((-1,), (max(len(y.shape) - 2, 0),)))


def inner(x: Value, y: Value) -> Value:
    """Return the sum of products over the last axes; with a number, it multiplies."""
    x, y = _pair("inner", x, y)
    return tensordot(x, y, ((-1,), (-1,))) if x.shape and y.shape else multiply(x, y)


def vdot(x: Value, y: Value) -> Value:
    """Return the sum of products of all elements, shape (); complex ``x`` are conjugated."""
    x = np.conjugate(x) if isinstance(x, np.ndarray) else x
    return dot(ravel(x), ravel(y))


def outer(x: Value, y: Value) -> Value:
    """Return every product of an element of ``x`` and one of ``y``, shape (x.size, y.size)."""
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


def kron(x: Value, y: Value) -> Value:
    """Return ``y`` repeated in blocks, each times one element of ``x``."""
    x, y = _pair("kron", x, y)
    ndim = max(len(x.shape), len(y.shape))
    x, y = (reshape(e, (*(1,) * (ndim - len(e.shape)), *e.shape)) for e in (x, y))
    both = multiply(expand_dims(x, tuple(range(1, 2 * ndim, 2))),
                    expand_dims(y, tuple(range(0, 2 * ndim, 2))))  # fmt: skip
    return reshape(both, [n * m for n, m in zip(x.shape, y.shape, strict=True)])


def cross(x: Value, y: Value, axis: int = -1) -> Value:
    """Return the vector product along an axis of length 3.

    Raises
    ------
    ShapeError
        If the axis is of another length (NumPy 2 gives up vectors of two as well).
    """
    x, y = _pair("cross", x, y)
    x, y = (moveaxis(e, check_axis("cross", axis, len(e.shape)), -1) for e in (x, y))
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ShapeError("cross", "the vector product is of vectors of three",
                         given=f"x {get_aval(x)}, y {get_aval(y)}, along axis {axis}")  # fmt: skip
    a, b = ([getitem(e, (..., i)) for i in range(3)] for e in (x, y))
    parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
    return stack(parts, axis)


# Sequences and polynomials


def convolve(x: Value, y: Value, mode: str = "full") -> Value:
    """Return the convolution of two vectors, the coefficients of a product of polynomials.

    Parameters
    ----------
    x, y : array, shape (n,), (m,)
    mode : "full", "same" or "valid"
        Every overlap; the middle of these, as long as the longer vector; whole overlaps only.

    Raises
    ------
    ShapeError
        If an argument is not a vector, or empty.
    """
    x, y = _vectors("convolve", x, y)
    return _slide(x, y, mode) if x.shape[0] >= y.shape[0] else _slide(y, x, mode)


def correlate(x: Value, y: Value, mode: str = "valid") -> Value:
    """Return the sums of products of ``x`` and the moved ``y``; arguments as :func:`convolve`."""
    x, y = _vectors("correlate", x, y)
    if x.shape[0] >= y.shape[0]:
        return _slide(x, flip(y), mode)
    return flip(_slide(y, flip(x), mode))


def _vectors(where: str, x: Value, y: Value) -> list[Value]:
    x, y = _pair(where, x, y)
    if len(x.shape) != 1 or len(y.shape) != 1 or not x.size or not y.size:
        raise ShapeError(where, "two vectors of at least one element are needed",
                         given=f"x {get_aval(x)}, y {get_aval(y)}")  # fmt: skip
    return [x, y]


def _slide(x: Value, y: Value, mode: str) -> Value:
    n, m = x.shape[0], y.shape[0]
    crops = {"full": (0, n + m - 1), "same": ((m - 1) // 2, n), "valid": (m - 1, n - m + 1)}
    if mode not in crops:
        raise unknown_name("convolve", "mode", mode, crops)
    start, count = crops[mode]
    image, kernel = reshape(x, (1, 1, 1, n)), reshape(flip(y), (1, 1, 1, m))
    whole = conv2d(image, kernel, padding=(0, 0 if mode == "valid" else m - 1))
    line = ravel(whole)
    return line if mode == "valid" else line[start : start + count]


def polyval(p: Value, x: Value) -> Value:
    """Return the polynomial with coefficients ``p``, the highest first, at ``x`` (Horner)."""
    p, x = _pair("polyval", p, x)
    y = multiply(x, 0)
    for i in range(p.shape[0]):
        y = y * x + getitem(p, i)
    return y


# Functions of less than the whole


def apply_along_axis(f: Callable[..., Value], axis: int, x: Value, *args: Any) -> Value:
    """Return f of every vector along an axis, applied to all at once by ``vmap``.

    Parameters
    ----------
    f : callable
        ``f(vector, *args)`` of :mod:`workbench.functional.numpy`'s functions.
    axis : int
        The axes of f's result take its place.
    x : array
    """
    x = as_array("apply_along_axis", x)
    axis = check_axis("apply_along_axis", axis, len(x.shape))
    x = moveaxis(x, axis, -1)
    batch = x.shape[:-1]
    y = vmap(lambda row: f(row, *args))(reshape(x, (prod(batch), x.shape[-1])))
    new = len(y.shape) - 1
    y = reshape(y, (*batch, *y.shape[1:]))
    return moveaxis(y, range(len(batch), len(batch) + new), range(axis, axis + new))


def vectorize(f: Callable[..., Any], signature: str | None = None) -> Callable[..., Any]:
    """Return a function of arrays that applies f, written for less, to all parts at once.

    Parameters
    ----------
    f : callable
        Written for numbers, or for what the signature says.
    signature : str, optional
        The last axes that f takes and returns: ``"(n,k),(k)->(n)"``.  The axes before these
        broadcast, and f is batched over them by ``vmap``.

    Raises
    ------
    OptionError
        If the signature cannot be read; on call, if it does not fit the number of arguments.
    ShapeError
        On call, if an argument has too few axes, or those before the last do not broadcast.
    """
    cores = None if signature is None else _cores(signature)

    def vectorized(*xs: Value) -> Any:
        counts = [0] * len(xs) if cores is None else cores
        if len(counts) != len(xs):
            raise OptionError("vectorize", "the signature does not fit the number of arguments",
                              given=f"{signature!r} for {len(xs)} arguments")  # fmt: skip
        arrays = [as_array("vectorize", x) for x in xs]
        if any(len(x.shape) < count for x, count in zip(arrays, counts, strict=True)):
            raise ShapeError("vectorize", "an argument has too few axes",
                             given=f"{', '.join(str(get_aval(x)) for x in arrays)}",
                             expected=f"axes for {signature!r}")  # fmt: skip
        splits = [len(x.shape) - count for x, count in zip(arrays, counts, strict=True)]
        batch = broadcast_shapes(*[x.shape[:at] for x, at in zip(arrays, splits, strict=True)])
        flat = [
            reshape(broadcast_to(x, (*batch, *x.shape[at:])), (prod(batch), *x.shape[at:]))
            for x, at in zip(arrays, splits, strict=True)
        ]
        y = vmap(f)(*flat)
        unfold: Callable[[Value], Value] = lambda each: reshape(each, (*batch, *each.shape[1:]))  # noqa: E731
        return tuple(map(unfold, y)) if isinstance(y, tuple) else unfold(y)

    return vectorized


def _cores(signature: str) -> list[int]:
    """Return how many axes of each argument a signature names."""
    left, arrow, _ = signature.replace(" ", "").partition("->")
    groups = left[1:-1].split("),(")
    if not arrow or left[:1] != "(" or left[-1:] != ")" or any(set("()") & set(g) for g in groups):
        raise OptionError("vectorize", "this is not a signature", given=repr(signature),
                          expected='such as "(n,k),(k)->(n)"')  # fmt: skip
    return [len(group.split(",")) if group else 0 for group in groups]
