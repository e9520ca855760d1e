"""Fourier transforms under NumPy's names (``numpy.fft``), and the parts of complex numbers.

Derivatives go from real numbers to real numbers through complex ones, for example that of
``sum(abs2(rfft(x)))``.  On the way ``+ - * /``, ``exp``, ``matmul``, indexing and reshaping keep
them where all operands are complex (:func:`as_complex` makes a real one so).  What has no
complex derivative has a function of its own here: :func:`real`, :func:`imag`, :func:`conj`,
:func:`abs2`, :func:`magnitude`.  Under ``jit`` complex operations run in Python, not in the
compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.errors import ShapeError, unknown_name
from workbench.functional.core import Value, get_aval
from workbench.functional.numpy.elementwise import absolute, add, divide, multiply, square
from workbench.functional.numpy.promotion import as_array, check_axes, check_axis, inexact
from workbench.functional.numpy.shaping import concatenate, moveaxis
from workbench.functional.primitives import fourier as ops
from workbench.functional.primitives.elementwise import full_like
from workbench.functional.primitives.indexing import pad, slice_

__all__ = [
    "abs2", "as_complex", "conj", "fft", "fft2", "fftfreq", "fftn", "fftshift", "ifft", "ifft2",
    "ifftn", "ifftshift", "imag", "irfft", "irfft2", "irfftn", "magnitude", "real", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

# --- parts of complex numbers --------------------------------------------------------------


def _is_complex(x: Value) -> bool:
    return get_aval(x).dtype.kind == "c"


def as_complex(x: Value) -> Value:
    """Return ``x`` as complex numbers, complex64 for float32; differentiable."""
    x = inexact("as_complex", as_array("as_complex", x))
    return x if _is_complex(x) else ops.complex_(x, full_like(x, fill_value=0))


def real(x: Value) -> Value:
    """Return the real parts; ``x`` itself if it is real."""
    x = as_array("real", x)
    return ops.real(x) if _is_complex(x) else x


def imag(x: Value) -> Value:
    """Return the imaginary parts; zeros if ``x`` is real."""
    x = as_array("imag", x)
    return ops.imag(x) if _is_complex(x) else full_like(x, fill_value=0)


def conj(x: Value) -> Value:
    """Return the complex conjugates; ``x`` itself if it is real."""
    x = as_array("conj", x)
    return ops.conj(x) if _is_complex(x) else x


def abs2(x: Value) -> Value:
    """Return |x|^2, the sum of the squares of the parts: smooth everywhere, at 0 too."""
    return add(square(real(x)), square(imag(x))) if _is_complex(x) else square(x)


def magnitude(x: Value) -> Value:
    """Return |x| of complex numbers; the derivative at 0 is 0."""
    x = as_array("magnitude", x)
    return ops.modulus(x) if _is_complex(x) else absolute(x)


# --- transforms ----------------------------------------------------------------------------


def _resized(x: Value, n: int) -> Value:
    """Return ``x`` cut, or continued with zeros, to length n along the last axis."""
    length = x.shape[-1]
    if n == length:
        return x
    index = (*((0, m, 1) for m in x.shape[:-1]), (0, min(n, length), 1))
    return slice_(x, index=index) if n < length else pad(x, index=index, shape=(*x.shape[:-1], n))


def _length(name: str, n: Any, otherwise: int) -> int:
    n = otherwise if n is None else n
    if not isinstance(n, int | np.integer) or n < 1:
        raise ShapeError(name, "a transform has one point or more", given=f"n={n!r}",
                         expected="an int of at least 1")  # fmt: skip
    return int(n)


def _scaled(name: str, y: Value, n: int, norm: str | None) -> Value:
    """Return what a transform gave, scaled as ``norm`` says; NumPy's own is "backward"."""
    scales = {"backward": 1.0, "ortho": n**0.5, "forward": float(n)}
    if (norm or "backward") not in scales:
        raise unknown_name(name, "norm", str(norm), scales)
    scale = scales[norm or "backward"]
    return y if scale == 1 else multiply(y, scale if name.startswith("i") else 1 / scale)


def _transform(name: str, says: str) -> Callable[..., Value]:
    def function(x: Value, n: int | None = None, axis: int = -1, norm: str | None = None) -> Value:
        x = inexact(name, as_array(name, x))
        axis = check_axis(name, axis, x.ndim)
        x = moveaxis(x, axis, -1)
        if name == "irfft":
            size = _length(name, n, 2 * (x.shape[-1] - 1))
            y = ops.irfft(_resized(as_complex(x), size // 2 + 1), n=size)
        else:
            size = _length(name, n, x.shape[-1])
            x = _resized(x if name == "rfft" else as_complex(x), size)
            y = getattr(ops, name)(x)
        return moveaxis(_scaled(name, y, size, norm), -1, axis)

    return _document(function, name, says, "n : int, optional", "axis : int")


def _document(f: Callable[..., Value], name: str, says: str, n: str, axis: str):  # type: ignore[no-untyped-def]
    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{says}

    Parameters
    ----------
    x : array
        Real numbers give complex ones of their precision: float32 complex64.
    {n}
        Points, of the real side: the input is cut or continued with zeros.
    {axis}
    norm : {{"backward", "ortho", "forward"}}, optional
        Where 1/n stands: at the inverse, its root at both, or forward.

    Raises
    ------
    DtypeError
        If it is not an array of numbers, or complex where real ones are needed.
    ShapeError
        If there is no such axis, or no point.
    """
    return f


fft = _transform("fft", "Return sum_j x_j exp(-2 pi i j k / n) for every k below n.")
ifft = _transform("ifft", "Return the inverse of :func:`fft`.")
rfft = _transform("rfft", "Return the first n // 2 + 1 terms of :func:`fft` of real numbers.")
irfft = _transform("irfft", "Return the inverse of :func:`rfft`: n real numbers.")


def _several(name: str, says: str, default: tuple[int, ...] | None = None) -> Callable[..., Value]:
    inverse = name.startswith("i")
    one, ends = (ifft, irfft) if inverse else (fft, rfft)
    ends = ends if "rfft" in name else one

    def function(
        x: Value,
        s: Sequence[int] | None = None,
        axes: Sequence[int] | None = default,
        norm: str | None = None,
    ) -> Value:
        x = as_array(name, x)
        if axes is None and s is not None:
            axes = range(-len(s), 0)
        places = check_axes(name, None if axes is None else list(axes), x.ndim)
        sizes: list[int | None] = [None] * len(places) if s is None else list(s)
        if len(sizes) != len(places):
            raise ShapeError(name, "a length is needed for each axis", given=f"s={s}, axes={axes}")
        steps = [(one, n, axis) for n, axis in zip(sizes[:-1], places[:-1], strict=True)]
        if inverse:
            steps.append((ends, sizes[-1], places[-1]))
        else:
            steps.insert(0, (ends, sizes[-1], places[-1]))
        for step, n, axis in steps:
            x = step(x, n, axis, norm)
        return x

    return _document(function, name, says, "s : sequence of int, optional",
                     f"axes : sequence of int, optional\n        By default {default or 'all'}.")  # fmt: skip


fft2 = _several("fft2", "Return :func:`fft` along two axes.", (-2, -1))
ifft2 = _several("ifft2", "Return the inverse of :func:`fft2`.", (-2, -1))
fftn = _several("fftn", "Return :func:`fft` along several axes.")
ifftn = _several("ifftn", "Return the inverse of :func:`fftn`.")
rfft2 = _several("rfft2", "Return :func:`rfft` along the last of two axes, then fft.", (-2, -1))
irfft2 = _several("irfft2", "Return the inverse of :func:`rfft2`.", (-2, -1))
rfftn = _several("rfftn", "Return :func:`rfft` along the last of several axes, then fft.")
irfftn = _several("irfftn", "Return the inverse of :func:`rfftn`.")


# --- frequencies ---------------------------------------------------------------------------


def fftfreq(n: int, d: Value = 1.0) -> Value:
    """Return the frequencies of fft's terms, in cycles per unit of the sample spacing ``d``."""
    return divide(np.fft.fftfreq(n), d)


def rfftfreq(n: int, d: Value = 1.0) -> Value:
    """Return the frequencies of rfft's terms, in cycles per unit of the sample spacing ``d``."""
    return divide(np.fft.rfftfreq(n), d)


def _rolled(name: str, x: Value, axes: Any, first: Callable[[int], int]) -> Value:
    x = as_array(name, x)
    for axis in check_axes(name, axes, x.ndim):
        cut, whole = first(x.shape[axis]), [(0, n, 1) for n in x.shape]
        parts = []
        for start, stop in ((cut, x.shape[axis]), (0, cut)):
            whole[axis] = (start, stop, 1)
            parts.append(slice_(x, index=tuple(whole)))
        x = concatenate(parts, axis)
    return x


def fftshift(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """Return ``x`` with frequency 0 moved from the front to the middle of each axis."""
    return _rolled("fftshift", x, axes, lambda n: (n + 1) // 2)


def ifftshift(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """Return ``x`` with frequency 0 moved back to the front of each axis."""
    return _rolled("ifftshift", x, axes, lambda n: n // 2)
