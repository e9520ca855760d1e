"""Linear algebra under NumPy's names (``numpy.linalg``), and SciPy's where NumPy has none.

Every function takes a matrix, or a stack of them in the last two axes, of real numbers;
integers become float64.  All go through every transform, and have derivatives of any order
where the mathematics has them; what a decomposition refuses, or answers with NaN, is said at
:mod:`workbench.functional.primitives.linalg`.  There is no ``eig`` for matrices that are not
symmetric: its results are complex, and complex numbers are not differentiated here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import DtypeError, OptionError, ShapeError, unknown_name
from workbench.functional.core import Value, get_aval
from workbench.functional.numpy.elementwise import (
    absolute,
    divide,
    equal,
    greater,
    power,
    sqrt,
    square,
    where,
)
from workbench.functional.numpy.promotion import as_array, check_axes, convert, inexact, promote
from workbench.functional.numpy.reductions import max as max_
from workbench.functional.numpy.reductions import min as min_
from workbench.functional.numpy.reductions import sum as sum_
from workbench.functional.numpy.shaping import (
    broadcast_to,
    expand_dims,
    matmul,
    moveaxis,
    reshape,
    squeeze,
    swapaxes,
)
from workbench.functional.primitives import linalg as ops
from workbench.functional.primitives.elementwise import stop_gradient

__all__ = [
    "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cho_solve", "cholesky", "cond",
    "det", "eigh", "eigvalsh", "expm", "inv", "lstsq", "matrix_power", "matrix_rank", "multi_dot",
    "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals",
]  # fmt: skip


class QRResult(NamedTuple):
    """Q (..., M, K) with orthonormal columns and R (..., K, N) upper triangular."""

    Q: Value
    R: Value


class EighResult(NamedTuple):
    """Eigenvalues (..., N), smallest first, and eigenvectors (..., N, N), in columns."""

    eigenvalues: Value
    eigenvectors: Value


class SVDResult(NamedTuple):
    """U (..., M, K), S (..., K), largest first, and Vh (..., K, N)."""

    U: Value
    S: Value
    Vh: Value


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant, (...) each."""

    sign: Value
    logabsdet: Value


def _matrix(where_: str, a: Value, square: bool = False) -> Value:
    """Return ``a`` in floating point, refusing what holds no matrices of real numbers."""
    a = inexact(where_, as_array(where_, a))
    ops.check(where_, get_aval(a), square)
    return a


def _transpose(x: Value) -> Value:
    return swapaxes(x, -1, -2)


# --- decompositions ------------------------------------------------------------------------


def cholesky(a: Value, *, upper: bool = False) -> Value:
    """Return the lower triangular L with L L^T = a; U = L^T if ``upper``.

    Parameters
    ----------
    a : array (..., N, N)
        Symmetric and positive definite.  Only the lower triangle is read (the upper one if
        ``upper``), and only it has a gradient.

    Raises
    ------
    ShapeError, DtypeError
        If it holds no square matrices of real numbers.
    OptionError
        If one is not positive definite; under ``jit`` when it runs.
    """
    a = _matrix("cholesky", a, square=True)
    return _transpose(ops.cholesky(_transpose(a))) if upper else ops.cholesky(a)


def qr(a: Value, mode: str = "reduced") -> Value:
    """Return Q and R with Q R = a; a :class:`QRResult`, or R alone for mode "r".

    Parameters
    ----------
    a : array (..., M, N)
        To be differentiated, its first K = min(M, N) columns must be independent.
    mode : {"reduced", "r"}
        The columns that "complete" would add are not decided by ``a``.

    Raises
    ------
    ShapeError, DtypeError
        If it holds no matrices of real numbers.
    UnknownNameError
        For another mode.
    """
    if mode not in ("reduced", "r"):
        raise unknown_name("qr", "mode", mode, ("reduced", "r"))
    result = QRResult(*ops.qr(_matrix("qr", a)))
    return result if mode == "reduced" else result.R


def eigh(a: Value, UPLO: str = "L") -> EighResult:
    """Return the eigenvalues and eigenvectors of a symmetric matrix.

    Parameters
    ----------
    a : array (..., N, N)
    UPLO : {"L", "U"}
        The triangle that is read; only it has a gradient.

    Notes
    -----
    The sign of an eigenvector is LAPACK's choice.  Where eigenvalues coincide, the
    derivatives of eigenvectors are NaN.

    Raises
    ------
    ShapeError, DtypeError
        If it holds no square matrices of real numbers.
    UnknownNameError
        For another triangle.
    """
    if UPLO not in ("L", "U"):
        raise unknown_name("eigh", "triangle", UPLO, ("L", "U"))
    a = _matrix("eigh", a, square=True)
    return EighResult(*ops.eigh(a if UPLO == "L" else _transpose(a)))


def eigvalsh(a: Value, UPLO: str = "L") -> Value:
    """Return the eigenvalues of a symmetric matrix, smallest first; as :func:`eigh`."""
    return eigh(a, UPLO).eigenvalues


def svd(a: Value, full_matrices: bool = False, compute_uv: bool = True) -> Value:
    """Return U, S and Vh with U diag(S) Vh = a: a :class:`SVDResult`, or S alone.

    Parameters
    ----------
    a : array (..., M, N)
    full_matrices : bool
        Only False (NumPy's default is True): ``a`` does not decide the columns it would add.
    compute_uv : bool
        Whether U and Vh are wanted; their derivatives are NaN where values of S coincide,
        and those of the longer factor where one is 0.

    Raises
    ------
    ShapeError, DtypeError
        If it holds no matrices of real numbers.
    OptionError
        If ``full_matrices``.
    """
    if full_matrices:
        raise OptionError("svd", "the columns that full matrices add are not decided by a",
                          given="full_matrices=True", expected="full_matrices=False")  # fmt: skip
    result = SVDResult(*ops.svd(_matrix("svd", a)))
    return result if compute_uv else result.S


def svdvals(a: Value) -> Value:
    """Return the singular values (..., K), largest first."""
    return svd(a, compute_uv=False)


# --- systems -------------------------------------------------------------------------------


def _system(where_: str, a: Value, b: Value) -> tuple[Value, Value, bool]:
    """Return a and b as stacks of one shape and dtype, and whether b was one vector."""
    a, b = promote(where_, _matrix(where_, a, square=True), as_array(where_, b))
    vector = b.ndim == 1
    b = expand_dims(b, -1) if vector else b
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(where_, "a and b do not fit together",
                         given=f"a {get_aval(a)}, b {get_aval(b)}",
                         expected="a (..., N, N), and b (..., N, K) or (N,)")  # fmt: skip
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(where_, "the stacks do not broadcast together",
                         given=f"a {get_aval(a)}, b {get_aval(b)}") from None  # fmt: skip
    a, b = (broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    return a, b, vector


def solve(a: Value, b: Value) -> Value:
    """Return the x with a @ x = b.

    Parameters
    ----------
    a : array (..., N, N)
    b : array (..., N, K) or (N,)
        The stacks broadcast.

    Raises
    ------
    ShapeError, DtypeError
        If a and b do not fit together, or are not real.
    OptionError
        If a matrix is singular; under ``jit`` when it runs.
    """
    a, b, vector = _system("solve", a, b)
    x = ops.solve(a, b)
    return squeeze(x, -1) if vector else x


def solve_triangular(
    a: Value, b: Value, trans: int = 0, lower: bool = False, unit_diagonal: bool = False
) -> Value:
    """Return the x with a @ x = b for a triangular matrix; SciPy's.

    Parameters
    ----------
    a : array (..., N, N)
        The other triangle is not read, and has no gradient.
    b : array (..., N, K) or (N,)
    trans : {0, 1}
        1 solves a^T @ x = b.
    lower, unit_diagonal : bool
        Which triangle; and whether its diagonal is taken to be 1.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        As :func:`solve`.
    """
    if trans not in (0, 1):
        raise OptionError("solve_triangular", "trans is 0 or 1", given=f"trans={trans!r}")
    a, b, vector = _system("solve_triangular", a, b)
    if unit_diagonal:
        a = where(np.eye(a.shape[-1], dtype=bool), 1, a)
    x = ops.triangular_solve(a, b, lower=lower, trans=bool(trans))
    return squeeze(x, -1) if vector else x


def cho_solve(c_and_lower: tuple[Value, bool], b: Value) -> Value:
    """Return the x with a @ x = b from a's Cholesky factor, ``(c, lower)``; SciPy's."""
    c, lower = c_and_lower
    return solve_triangular(c, solve_triangular(c, b, 0 if lower else 1, lower),
                            1 if lower else 0, lower)  # fmt: skip


def inv(a: Value) -> Value:
    """Return the inverses of matrices; :func:`solve` is faster and more accurate for a system."""
    return ops.inv(_matrix("inv", a, square=True))


def pinv(a: Value, rcond: float | None = None) -> Value:
    """Return the Moore-Penrose inverses (..., N, M).

    Parameters
    ----------
    a : array (..., M, N)
        The derivative is that for matrices of one rank.
    rcond : float, optional
        Singular values below this share of the largest count as 0: by default max(M, N)
        times the spacing of floats at 1.
    """
    a = _matrix("pinv", a)
    return ops.pinv(a, rcond=_cutoff(a) if rcond is None else float(rcond))


def _cutoff(a: Value) -> float:
    return max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)


def lstsq(a: Value, b: Value, rcond: float | None = None) -> tuple[Value, Value, Value, Value]:
    """Return the shortest x that minimises |b - a @ x|, and how well it does.

    Parameters
    ----------
    a : array (M, N)
    b : array (M,) or (M, K)
    rcond : float, optional
        As :func:`pinv`.

    Returns
    -------
    x : array (N,) or (N, K)
    residuals : array (1,) or (K,)
        Squared; NumPy leaves them out where the rank is below N or M is at most N.
    rank : array of int64
    singular values : array (min(M, N),)
    """
    a, b = promote("lstsq", _matrix("lstsq", a), as_array("lstsq", b))
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != a.shape[0]:
        raise ShapeError("lstsq", "a and b do not fit together",
                         given=f"a {get_aval(a)}, b {get_aval(b)}",
                         expected="a (M, N), and b (M,) or (M, K)")  # fmt: skip
    rcond = _cutoff(a) if rcond is None else rcond
    x, s = matmul(pinv(a, rcond), b), svdvals(a)
    residuals = sum_(square(b - matmul(a, x)), axis=0, keepdims=b.ndim == 1)
    return x, residuals, matrix_rank(a, rtol=rcond), s


# --- numbers of a matrix -------------------------------------------------------------------


def det(a: Value) -> Value:
    """Return the determinants (...); the first derivative is right for singular matrices too."""
    return ops.det(_matrix("det", a, square=True))


def slogdet(a: Value) -> SlogdetResult:
    """Return sign and log |det a|, where det itself would overflow; 0 and -inf if singular."""
    return SlogdetResult(*ops.slogdet(_matrix("slogdet", a, square=True)))


def matrix_rank(a: Value, tol: Value | None = None, *, rtol: Value | None = None) -> Value:
    """Return how many singular values exceed ``tol``, or ``rtol`` times the largest.

    It is piecewise constant: no gradient passes.  ``rtol`` is by default as in :func:`pinv`.
    """
    a = stop_gradient(_matrix("matrix_rank", a))
    s = svdvals(a)
    if tol is None:
        tol = max_(s, axis=-1, keepdims=True) * (_cutoff(a) if rtol is None else rtol)
    return sum_(greater(s, tol), axis=-1)


def norm(
    x: Value, ord: Any = None, axis: int | Sequence[int] | None = None, keepdims: bool = False
) -> Value:
    """Return the norm of vectors or matrices.

    Parameters
    ----------
    x : array
    ord : None, number, inf, -inf, "fro" or "nuc"
        None: the root of the sum of squares.  Of vectors: the largest or smallest |x| for inf
        or -inf, how many are not 0 for 0, else sum(|x|^ord)^(1/ord).  Of matrices: "fro", "nuc"
        (the sum of singular values), 2 and -2 (the extreme ones), 1, -1, inf and -inf (the
        extreme sums of |x| along columns, along rows).
    axis : int, two ints, or None
        One axis: vectors; two: matrices; None: all of x.
    keepdims : bool

    Returns
    -------
    array
        The derivative of a root of squares at 0 is 0.

    Raises
    ------
    OptionError
        If there is no such norm for so many axes.
    """
    x = inexact("norm", as_array("norm", x))
    axes = check_axes("norm", axis, x.ndim)
    if ord is None and (axis is None or len(axes) <= 2):
        y = _root_of_squares(x, axes)
    elif len(axes) == 1:
        y = _vector_norm(x, ord, axes[0])
    elif len(axes) == 2:
        y = _matrix_norm(x, ord, axes)
    else:
        raise OptionError("norm", "norms are of vectors or matrices", given=f"ord={ord!r} over "
                          f"{len(axes)} axes of {get_aval(x)}", expected="one axis or two")  # fmt: skip
    kept = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return reshape(y, kept) if keepdims else y


def _root_of_squares(x: Value, axes: Sequence[int]) -> Value:
    total = sum_(square(x), axes)
    zero = equal(total, 0)
    return where(zero, 0, sqrt(where(zero, 1, total)))


def _vector_norm(x: Value, ord: Any, axis: int) -> Value:
    if isinstance(ord, str):
        raise OptionError("norm", "there is no such norm of vectors", given=f"ord={ord!r}",
                          expected="a number, inf, -inf or None")  # fmt: skip
    if ord == 2:
        return _root_of_squares(x, (axis,))
    if ord == 0:
        return sum_(convert(absolute(x) > 0, x.dtype), axis)
    if abs(ord) == np.inf:
        return (max_ if ord > 0 else min_)(absolute(x), axis)
    return (
        power(sum_(power(absolute(x), ord), axis), 1 / ord) if ord != 1 else sum_(absolute(x), axis)
    )


def _matrix_norm(x: Value, ord: Any, axes: Sequence[int]) -> Value:
    if ord == "fro":
        return _root_of_squares(x, axes)
    x = moveaxis(moveaxis(x, axes[0], -1), axes[1] - (axes[0] < axes[1]), -1)
    if ord == "nuc":
        return sum_(svdvals(x), -1)
    if ord not in (1, -1, 2, -2, np.inf, -np.inf):
        raise OptionError("norm", "there is no such norm of matrices", given=f"ord={ord!r}",
                          expected='None, "fro", "nuc", 1, -1, 2, -2, inf or -inf')  # fmt: skip
    values = svdvals(x) if abs(ord) == 2 else sum_(absolute(x), -2 if abs(ord) == 1 else -1)
    return (max_ if ord > 0 else min_)(values, -1)


def cond(a: Value, p: Any = None) -> Value:
    """Return the condition numbers: the largest singular value over the smallest.

    With ``p`` norm(a, p) * norm(inv(a), p) instead, for any p that :func:`norm` takes.
    """
    a = _matrix("cond", a, square=p not in (None, 2, -2))
    if p in (None, 2, -2):
        s = svdvals(a)
        return divide(s[..., -1], s[..., 0]) if p == -2 else divide(s[..., 0], s[..., -1])
    return norm(a, p, (-2, -1)) * norm(inv(a), p, (-2, -1))


# --- products ------------------------------------------------------------------------------


def matrix_power(a: Value, n: int) -> Value:
    """Return the product of n factors ``a``, in about 2 log2(n) products; inverses if n < 0."""
    if not isinstance(n, int | np.integer):
        raise DtypeError("matrix_power", "the power is not an int", given=f"n={n!r}")
    a = _matrix("matrix_power", a, square=True)
    a, n = (inv(a), -n) if n < 0 else (a, n)
    y = None
    for bit in bin(n)[2:]:  # From the highest: square, and once more if the bit is set.
        y = y if y is None else matmul(y, y)
        if bit == "1":
            y = a if y is None else matmul(y, a)
    return broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape) if y is None else y


def multi_dot(arrays: Sequence[Value]) -> Value:
    """Return the product of matrices, in the order that needs the fewest multiplications.

    Parameters
    ----------
    arrays : sequence of array
        At least two, each (M, N) and fitting the next; the first and last may be vectors.

    Raises
    ------
    ShapeError
        If neighbours do not fit together, or there are fewer than two.
    """
    parts = [as_array("multi_dot", x) for x in arrays]
    if len(parts) < 2 or any(x.ndim != 2 for x in parts[1:-1]):
        raise ShapeError("multi_dot", "a product is of two matrices or more",
                         given=", ".join(str(get_aval(x)) for x in parts))  # fmt: skip
    sizes = [1 if parts[0].ndim == 1 else parts[0].shape[0], *(x.shape[0] for x in parts[1:]),
             1 if parts[-1].ndim == 1 else parts[-1].shape[1]]  # fmt: skip

    @functools.cache
    def best(i: int, j: int) -> tuple[int, int]:
        """Return the multiplications that parts i to j need, and where to cut them."""
        if i == j:
            return 0, i
        return min((best(i, k)[0] + best(k + 1, j)[0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                   for k in range(i, j))  # fmt: skip

    def product(i: int, j: int) -> Value:
        if i == j:
            return parts[i]
        k = best(i, j)[1]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, len(parts) - 1)


def expm(a: Value) -> Value:
    """Return the matrix exponentials; SciPy's.

    By scaling and squaring (Higham, 2005).  The derivative is a corner of the exponential of
    [[a, da], [0, a]] (Najfeld and Havel, 1995), and so has one itself.
    """
    return ops.expm(_matrix("expm", a, square=True))
