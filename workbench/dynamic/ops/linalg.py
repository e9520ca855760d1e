"""Linear algebra on matrices, or batches of them in the last two axes.

The forward passes are LAPACK's, through NumPy, or cuSOLVER's, through CuPy; there each reads
its status back to the host, and the backward of eigh and svd whether values repeat.  The
gradients are collected in Giles (2008), "An extended collection of matrix derivative results";
those of the decompositions with their restrictions in Townsend (2016), "Differentiating the
singular value decomposition".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.ops.linear import matmul, swapped
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError

__all__ = [
    "cholesky", "det", "eigh", "eigvalsh", "inv", "matrix_power", "pinv", "slogdet",
    "solve", "svd", "svdvals",
]  # fmt: skip


def _lapack(ctx: Any, f: Callable[..., Any], a: Any, *others: Any, square: bool = True) -> Any:
    """Return f(a, ...), with refusals in words: of shapes, of dtypes, and of the numbers."""
    where = ctx.name
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise ShapeError(where, f"a is no {'square ' * square}matrix, nor a batch of them",
                         given=f"a {a.shape}",
                         expected=f"a (..., N, {'N' if square else 'M'})")  # fmt: skip
    if a.dtype == np.float16:
        raise DtypeError(where, "LAPACK has no half precision", given="a of float16",
                         expected="float32 or float64", fix="use a.astype(np.float32)")  # fmt: skip
    try:
        with arrays.linalg_errors(a):
            return f(a, *others)
    except np.linalg.LinAlgError as error:
        if not np.isfinite(a).all():
            raise OptionError(where, "a holds NaN or infinity", given=f"a {a.shape}") from error
        if where not in _DEMANDS:
            raise
        problem, kind, numbers = _DEMANDS[where]
        raise OptionError(where, f"a is {problem}",
                          given=f"a {a.shape} with the {kind} {numbers(a).min():.3g}") from error  # fmt: skip


_REGULAR = "singular", "singular value", lambda a: np.linalg.svd(a, compute_uv=False)
_DEMANDS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "solve": _REGULAR, "inv": _REGULAR,
    "cholesky": ("not positive definite", "eigenvalue", np.linalg.eigvalsh),
}  # fmt: skip


def _eye(like: Any) -> Any:
    """Return the identity with as many rows as the matrices have columns."""
    return arrays.namespace(values(like)).eye(like.shape[-1], dtype=like.dtype)


# --- systems and inverses ---------------------------------------------------------


class Solve(Function):
    """The x with a @ x = b."""

    broadcasts = True
    expects = "a (..., N, N), and b (..., N, K) or (N,)"

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.args, ctx.vector = (a, None), b.ndim == 1
        ctx.output = x = _lapack(ctx, _solve, a, b)
        return x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, x = ctx.args[0], ctx.output
        if ctx.vector:
            g, x = g[..., None], x[..., None]
        db = solve(swapped(a), g)
        da = None if ctx.inputs[0] is None else -matmul(db, swapped(x))
        return da, db[..., 0] if ctx.vector else db


def solve(a: Any, b: Any) -> Any:
    """Return the x with a @ x = b.

    Parameters
    ----------
    a : (..., N, N)
    b : (..., N, K), or one vector (N,)

    Raises
    ------
    OptionError
        If a matrix is singular.
    ShapeError, DtypeError
        If the arguments do not fit.
    """
    return Solve.apply(a, b)


def _solve(a: Any, b: Any) -> Any:
    """Call NumPy's, or CuPy's, which does not broadcast and takes vectors for matrices."""
    if arrays.namespace(a, b) is np:
        return np.linalg.solve(a, b)
    column = b[:, None] if b.ndim == 1 else b
    batch = np.broadcast_shapes(a.shape[:-2], column.shape[:-2])
    a, column = (np.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, column))
    x = np.linalg.solve(a, column)
    return x[..., 0] if b.ndim == 1 else x


class Inv(Function):
    """Return the inverse of square matrices a (..., N, N)."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.output = y = _lapack(ctx, np.linalg.inv, a)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        y = swapped(ctx.output)
        return -matmul(matmul(y, g), y)


inv = Inv.apply


class Pinv(Function):
    """Return the Moore-Penrose inverse (..., M, N) of a (..., N, M).

    The gradient holds where the rank stays the same (Golub and Pereyra, 1973).
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.args, ctx.output = (a,), (y := _lapack(ctx, _pinv, a, square=False))
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, y = ctx.args[0], ctx.output
        yt, gt = swapped(y), swapped(g)
        left, right = matmul(gt, matmul(y, yt)), matmul(matmul(yt, y), gt)
        inside = matmul(matmul(yt, g), yt)
        return left - matmul(matmul(a, y), left) + right - matmul(right, matmul(y, a)) - inside


pinv = Pinv.apply


def _pinv(a: Any) -> Any:
    """Call NumPy's, whose own cut-off of 1e-15 would take float32's rounding for a rank."""
    eps = np.finfo(np.result_type(a, np.float32)).eps
    return np.linalg.pinv(a, max(a.shape[-2:]) * eps)


def matrix_power(a: Any, n: int) -> Any:
    """Return the product of n factors a (..., N, N); of the inverse for negative n."""
    if n < 0:
        return matrix_power(inv(a), -n)
    if n < 2:
        return +a if n else a * 0.0 + _eye(a)
    half = matrix_power(a, n // 2)
    return matmul(matmul(half, half), a) if n % 2 else matmul(half, half)


# --- determinants -----------------------------------------------------------------


class Det(Function):
    """Return the determinants of matrices a (..., N, N).

    The gradient is right for singular matrices too; to differentiate it once more, they
    have to be regular.
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.args, ctx.output = (a,), (y := _lapack(ctx, np.linalg.det, a))
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        a, y = ctx.args[0], ctx.output
        if values(a) is a:
            return g[..., None, None] * _cofactors(a)
        return (g * y)[..., None, None] * swapped(inv(a))


det = Det.apply


def _cofactors(a: Any) -> Any:
    """Return det(a) * inv(a).T, from the singular values, of which no one is divided by."""
    u, s, vt = np.linalg.svd(a)
    others = np.where(_eye(a) == 1, 1, s[..., None, :]).prod(axis=-1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (sign[..., None, None] * u * others[..., None, :]) @ vt


class Slogdet(Function):
    """Sign and logarithm of the determinant, one after the other."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.args = (a,)
        return np.stack(_lapack(ctx, np.linalg.slogdet, a))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g[1][..., None, None] * swapped(inv(ctx.args[0]))


def slogdet(a: Any) -> tuple[Any, Any]:
    """Return the sign of the determinant and the logarithm of its absolute value.

    No gradient flows to the sign.  Singular matrices have the logarithm -inf, and no gradient.
    """
    both = Slogdet.apply(a)
    return both[0], both[1]


# --- decompositions ---------------------------------------------------------------


class Cholesky(Function):
    """Return the lower triangular c with c @ c.T = a, for positive definite a (..., N, N).

    Only the lower triangle of a is read; the gradient is that of the symmetric matrix,
    spread over both triangles (Murray, 2016).
    """

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.output = c = _lapack(ctx, np.linalg.cholesky, a)
        return c

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        ct = swapped(ctx.output)
        p = matmul(ct, g) * (np.tril(np.ones_like(values(g))) - 0.5 * _eye(g))
        s = solve(ct, swapped(solve(ct, swapped(p))))
        return 0.5 * (s + swapped(s))


cholesky = Cholesky.apply


class Eigh(Function):
    """Eigenvalues in one row, above the eigenvectors in columns."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        w, v = _lapack(ctx, np.linalg.eigh, a)
        ctx.output = y = np.concatenate((w[..., None, :], v), axis=-2)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        w, v = ctx.output[..., 0, :], ctx.output[..., 1:, :]
        gw, gv = g[..., 0, :], g[..., 1:, :]
        _refuse_repeated("eigh", "eigen", w, gv)
        inside = gw[..., None, :] * _eye(v) + matmul(swapped(v), gv) * _over_gaps(w)
        d = matmul(matmul(v, inside), swapped(v))
        return 0.5 * (d + swapped(d))


def eigh(a: Any) -> tuple[Any, Any]:
    """Return the eigenvalues and eigenvectors of symmetric matrices.

    Parameters
    ----------
    a : (..., N, N)
        Only the lower triangle is read, as by NumPy; the gradient is that of the symmetric
        matrix, spread evenly over both triangles (as JAX does).

    Returns
    -------
    w : Tensor, shape (..., N)
        Ascending.
    v : Tensor, shape (..., N, N)
        In columns, each of length 1.  The sign of each is LAPACK's choice.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If a is no finite square matrix.
    GraphError
        In the backward pass, if eigenvalues repeat and the result depends on the
        eigenvectors, which are then not a function of a.  Eigenvalues alone always pass.
    """
    both = Eigh.apply(a)
    return both[..., 0, :], both[..., 1:, :]


def eigvalsh(a: Any) -> Any:
    """Return the eigenvalues (..., N) of symmetric matrices, ascending; see :func:`eigh`."""
    return eigh(a)[0]


class SVD(Function):
    """Left singular vectors, then singular values in one row, then right singular vectors."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        u, s, vt = _lapack(ctx, np.linalg.svd, a, False, square=False)
        ctx.output = y = np.concatenate((u, s[..., None, :], swapped(vt)), axis=-2)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        m, n = ctx.inputs[0].shape[-2:]
        u, s, v = _parts(ctx.output, m)
        gu, gs, gv = _parts(g, m)
        _refuse_repeated("svd", "singular ", s, gu, gv)
        ut, vt, gaps = swapped(u), swapped(v), _over_gaps(s, squares=True)
        a, b = matmul(ut, gu), matmul(vt, gv)
        inside = gs[..., None, :] * _eye(s[..., None, :])
        inside = inside + (a - swapped(a)) * gaps * s[..., None, :]
        inside = inside + s[..., :, None] * ((b - swapped(b)) * gaps)
        d = matmul(matmul(u, inside), vt)
        if m > n:  # What gu has outside the space of u, and likewise gv.
            d = d + matmul(_over("u", gu - matmul(u, a), s), vt)
        if n > m:
            d = d + matmul(u, swapped(_over("v", gv - matmul(v, b), s)))
        return d


def _parts(y: Any, m: int) -> tuple[Any, Any, Any]:
    return y[..., :m, :], y[..., m, :], y[..., m + 1 :, :]


def svd(a: Any) -> tuple[Any, Any, Any]:
    """Return the thin singular value decomposition, a = u * s @ vt.

    Parameters
    ----------
    a : (..., M, N)

    Returns
    -------
    u : Tensor, shape (..., M, K)
        K is the smaller of M and N.  The sign of each pair of vectors is LAPACK's choice.
    s : Tensor, shape (..., K)
        Descending.
    vt : Tensor, shape (..., K, N)

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If a is no finite matrix.
    GraphError
        In the backward pass, if singular values repeat, or one is 0 in a matrix that is
        not square, and the result depends on the vectors, which are then not a function of
        a.  Singular values alone always pass.
    """
    u, s, v = _parts(SVD.apply(a), a.shape[-2])
    return u, s, swapped(v)


def svdvals(a: Any) -> Any:
    """Return the singular values (..., K), descending; see :func:`svd`."""
    return svd(a)[1]


def _rounding(s: Any) -> Any:
    """Return how far the computed values s (..., N) may be from the true ones."""
    largest = abs(s).max(axis=-1, keepdims=True) if s.shape[-1] else s
    return s.shape[-1] * np.finfo(s.dtype).eps * largest


def _over_gaps(s: Any, squares: bool = False) -> Any:
    """Return 1 / (s[j] - s[i]), or of squares, at [i, j]; 0 where the two are the same."""
    column, row = s[..., :, None], s[..., None, :]
    same = abs(values(row) - values(column)) <= _rounding(values(s))[..., None]
    gap = (row - column) * (row + column) if squares else row - column
    return (~same).astype(s.dtype) / (gap + same.astype(s.dtype))


def _refuse_repeated(where: str, kind: str, s: Any, *g: Any) -> None:
    """Refuse a gradient through the vectors of matrices whose values repeat."""
    s = values(s)
    bad = (abs(np.diff(s)) <= _rounding(s)).any(axis=-1)
    bad &= sum((values(each) != 0).any(axis=(-2, -1)) for each in g) > 0
    if bad.any():
        raise GraphError(where, f"where {kind}values repeat, {kind}vectors have no gradient",
                         given=f"the {kind}values {arrays.to_host(s[bad][0])}",
                         fix=f"use the {kind}values alone, or break the tie")  # fmt: skip


def _over(name: str, g: Any, s: Any) -> Any:
    """Return g / s; where s is 0, g has to be 0 too."""
    zero = values(s) <= _rounding(values(s))
    if (zero[..., None, :] & (values(g) != 0)).any():
        raise GraphError("svd", f"where a singular value is 0, {name} has no gradient",
                         given=f"the singular values {arrays.to_host(values(s)[zero.any(-1)][0])}",
                         fix="use the singular values alone")  # fmt: skip
    return g / (s + zero.astype(s.dtype))[..., None, :]
