"""The matrix product of the BLAS that NumPy itself uses, as an address native code may call.

NumPy's wheels bring OpenBLAS under names of their own, with 64-bit integers; other builds
link a library with the plain ``cblas_sgemm``, or one that hides it (Apple's Accelerate).
Where no symbol is found, the address is that of a callback into ``np.dot``, which takes the
very same arguments; so generated code need not know.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # Of cblas.h.
SCALARS = {"f4": ctypes.c_float, "f8": ctypes.c_double}


class Gemm(NamedTuple):
    """``c = alpha a b + beta c``, with the arguments of ``cblas_sgemm`` or ``cblas_dgemm``.

    Attributes
    ----------
    symbol : str
        Where it was found: the library's name of it, or ``"numpy.dot"``.
    address : int
        To be called natively.
    bits : int
        Width of its sizes and strides.
    keep : object
        What must live as long as the address.
    """

    symbol: str
    address: int
    bits: int
    keep: Any


def libraries() -> list[str]:
    """Return the paths of the BLAS libraries in this process, NumPy's own first."""
    from threadpoolctl import threadpool_info

    paths = [each["filepath"] for each in threadpool_info() if each["user_api"] == "blas"]
    return sorted(paths, key=lambda path: "numpy" not in path)


@cache
def gemm(dtype: str) -> Gemm:
    """Return the matrix product for ``"f4"`` or ``"f8"``."""
    letter = {"f4": "s", "f8": "d"}[dtype]
    for path in libraries():
        library = ctypes.CDLL(path)
        for prefix in ("scipy_", ""):
            for suffix, bits in (("64_", 64), ("", 32)):
                symbol = f"{prefix}cblas_{letter}gemm{suffix}"
                if hasattr(library, symbol):
                    address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
                    return Gemm(symbol, address or 0, bits, library)
    callback = _through_numpy(dtype)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    return Gemm("numpy.dot", address or 0, 64, callback)


def _through_numpy(dtype: str) -> Any:
    def matrix(address: int, rows: int, columns: int, stride: int) -> np.ndarray[Any, Any]:
        size = np.dtype(dtype).itemsize
        memory: Any = (ctypes.c_char * (((rows - 1) * stride + columns) * size)).from_address(
            address
        )
        return np.ndarray((rows, columns), dtype, memory, strides=(stride * size, size))

    def run(order: int, trans_a: int, trans_b: int, m: int, n: int, k: int, alpha: float,
            a: int, lda: int, b: int, ldb: int, beta: float, c: int, ldc: int) -> None:  # fmt: skip
        x = matrix(a, m, k, lda) if trans_a == PLAIN else matrix(a, k, m, lda).T
        y = matrix(b, k, n, ldb) if trans_b == PLAIN else matrix(b, n, k, ldb).T
        z = matrix(c, m, n, ldc)
        product = np.dot(x, y)
        scale = product.dtype.type(alpha)
        z[...] = scale * product + z.dtype.type(beta) * z if beta else scale * product

    return signature(dtype, 64)(run)


def signature(dtype: str, bits: int) -> Callable[..., Any]:
    """Return the ctypes prototype of a :class:`Gemm`."""
    whole = ctypes.c_int64 if bits == 64 else ctypes.c_int32
    scalar, pointer = SCALARS[dtype], ctypes.c_void_p
    return ctypes.CFUNCTYPE(
        None, *[ctypes.c_int] * 3, *[whole] * 3, scalar, pointer, whole, pointer, whole,
        scalar, pointer, whole,
    )  # fmt: skip
