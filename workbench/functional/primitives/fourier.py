"""Discrete Fourier transforms along the last axis, and the parts of complex numbers.

What is differentiated is real, but it may pass through complex numbers.  Their cotangents
follow JAX's convention: the pairing of a cotangent g with a tangent t is the real part of
g * t, without a conjugate, so that maps linear over the complex numbers (matmul, fft) have the
transposes that they have over the reals.  By it the cotangent of z in a real f is
df/d(Re z) - i df/d(Im z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.errors import DtypeError, ShapeError
from workbench.functional.core import (
    ZERO,
    Linear,
    NoRule,
    Primitive,
    ShapedArray,
    Value,
    get_aval,
    shape_of,
)
from workbench.functional.primitives.elementwise import (
    divide,
    equal,
    multiply,
    negative,
    per_argument,
    select,
)
from workbench.functional.primitives.indexing import pad
from workbench.functional.primitives.rules import NOT_LINEAR, batch_with, linear_jvp
from workbench.functional.primitives.shape import all_mapped

REAL_ONLY = NoRule("the compiler has no complex numbers: jit runs these in Python")

COMPLEX: dict[Any, np.dtype[Any]] = {np.dtype(np.float32): np.dtype(np.complex64),
           np.dtype(np.float64): np.dtype(np.complex128)}  # fmt: skip
REAL: dict[Any, np.dtype[Any]] = {np.dtype(c): np.dtype(r) for r, c in COMPLEX.items()}


def _declare(
    name: str,
    impl: Callable[..., Value],
    takes: dict[Any, Any],
    gives: Callable[..., tuple[tuple[int, ...], Any]],
    transpose: Callable[..., Sequence[Value]] | NoRule,
    jvp: Any = linear_jvp,
) -> Primitive:
    """Declare a primitive of one array; ``gives`` returns its shape and dtype."""

    def abstract(x: ShapedArray, **params: Any) -> ShapedArray:
        if x.dtype not in takes:
            raise DtypeError(name, "there is no such operation on this dtype", given=f"x {x}",
                             expected=" or ".join(map(str, takes)))  # fmt: skip
        return ShapedArray(*gives(x, **params))

    return Primitive(name, impl, abstract, jvp, batch_with(lambda size, **params: params),
                     transpose, lower=REAL_ONLY)  # fmt: skip


def _zero(x: Value) -> Value:
    # Not full_like(x): x may be a tangent, of which nothing but linear may be made.
    return np.zeros(shape_of(x), get_aval(x).dtype)


real: Primitive = _declare(
    "real", lambda x: x.real.copy(), REAL, lambda x: (x.shape, REAL[x.dtype]),
    transpose=lambda g, x: (complex_(g, _zero(g)),),
)  # fmt: skip
imag: Primitive = _declare(
    "imag", lambda x: x.imag.copy(), REAL, lambda x: (x.shape, REAL[x.dtype]),
    transpose=lambda g, x: (complex_(_zero(g), negative(g)),),
)  # fmt: skip
conj: Primitive = _declare(
    "conj", np.conj, REAL, lambda x: (x.shape, x.dtype), transpose=lambda g, x: (conj(g),)
)


def _complex(x: Value, y: Value) -> Value:
    z = np.empty_like(x, dtype=COMPLEX[x.dtype])
    z.real, z.imag = x, y
    return z


def _complex_abstract(x: ShapedArray, y: ShapedArray) -> ShapedArray:
    if x.dtype not in COMPLEX or x.dtype != y.dtype:
        raise DtypeError("complex", "the parts are real, of one dtype", given=f"{x}, {y}",
                         expected="float32 or float64")  # fmt: skip
    if x.shape != y.shape:
        raise ShapeError("complex", "the parts have one shape", given=f"{x}, {y}")
    return ShapedArray(x.shape, COMPLEX[x.dtype])


def _complex_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    parts = [_zero(x) if t is ZERO else t for x, t in zip(primals, tangents, strict=True)]
    return primitive(*primals), primitive(*parts)


complex_: Primitive = Primitive(
    "complex",
    impl=_complex,
    abstract=_complex_abstract,
    jvp=_complex_jvp,
    batch=lambda primitive, values, mapped, size, params: primitive(
        *all_mapped(values, mapped, size)
    ),
    transpose=lambda g, x, y: (
        real(g) if isinstance(x, Linear) else None,
        negative(imag(g)) if isinstance(y, Linear) else None,
    ),
    lower=REAL_ONLY,
)


def _modulus_term(t: Value, y: Value, x: Value) -> Value:
    zero = equal(y, np.zeros((), get_aval(y).dtype))
    return divide(real(t * conj(x)), select(zero, np.ones((), get_aval(y).dtype), y))


# |x| of complex numbers: real, and with the derivative 0 at 0.
modulus: Primitive = _declare(
    "modulus", np.abs, REAL, lambda x: (x.shape, REAL[x.dtype]), NOT_LINEAR,
    per_argument(_modulus_term),
)  # fmt: skip

fft: Primitive = _declare(
    "fft", lambda x: np.fft.fft(x), REAL, lambda x: (x.shape, x.dtype),
    transpose=lambda g, x: (fft(g),),  # The matrix w^(jk) is symmetric.
)  # fmt: skip
ifft: Primitive = _declare(
    "ifft", lambda x: np.fft.ifft(x), REAL, lambda x: (x.shape, x.dtype),
    transpose=lambda g, x: (ifft(g),),
)  # fmt: skip


def _rfft_transpose(g: Value, x: Linear) -> tuple[Value, ...]:
    shape = x.aval.shape
    index = (*((0, n, 1) for n in shape[:-1]), (0, shape_of(g)[-1], 1))
    return (real(fft(pad(g, index=index, shape=shape))),)


rfft: Primitive = _declare(
    "rfft", lambda x: np.fft.rfft(x), COMPLEX,
    lambda x: ((*x.shape[:-1], x.shape[-1] // 2 + 1), COMPLEX[x.dtype]),
    transpose=_rfft_transpose,
)  # fmt: skip


def _irfft_transpose(g: Value, x: Linear, *, n: int) -> tuple[Value, ...]:
    times = np.full(n // 2 + 1, 2 / n, x.aval.dtype)  # Frequencies that stand for two.
    times[0] = 1 / n
    if n % 2 == 0:
        times[-1] = 1 / n
    return (multiply(conj(rfft(g)), times),)


irfft: Primitive = _declare(
    "irfft", lambda x, *, n: np.fft.irfft(x, n), REAL,
    lambda x, *, n: ((*x.shape[:-1], n), REAL[x.dtype]),
    transpose=_irfft_transpose,
)  # fmt: skip
