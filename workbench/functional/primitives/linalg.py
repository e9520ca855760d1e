"""Linear algebra on stacks of matrices, in the last two axes; a batch is one more in front.

The values are LAPACK's, through NumPy.  The derivatives: Giles (2008, "Collected matrix
derivative results for forward and reverse mode algorithmic differentiation"), Murray (2016,
"Differentiation of the Cholesky decomposition"), Seeger, Hetzel, Dai, Meissner and Lawrence
(2017, "Auto-differentiating linear algebra"), Townsend (2016, "Differentiating the singular
value decomposition").  Each is made of primitives again, so it has derivatives of any order.

``cholesky`` and ``eigh`` read the lower triangle, as NumPy's do, and their derivatives are
those of just that function: nothing flows into the upper triangle.  Where eigenvalues or
singular values coincide their vectors have no derivative, and its elements are NaN; the
values' own derivatives stay right for a sum over those that coincide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.compiler import HOST, Builder
from workbench.compiler.opcodes import Host
from workbench.compiler.program import Type
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.core import (
    ZERO,
    Linear,
    Primitive,
    ShapedArray,
    Value,
    get_aval,
    shape_of,
)
from workbench.functional.primitives.elementwise import (
    equal,
    full_like,
    per_argument,
    select,
)
from workbench.functional.primitives.indexing import concatenate, slice_
from workbench.functional.primitives.reduction import swap
from workbench.functional.primitives.rules import NOT_LINEAR
from workbench.functional.primitives.shape import all_mapped, move_axis, reduce_sum, reshape

Compute = Callable[..., Any]

# --- declaring -----------------------------------------------------------------------------


def _is_singular(a: Any) -> str:
    smallest = np.linalg.svd(a, compute_uv=False).min()
    return f"a is singular: its smallest singular value is {smallest:.3g}"


def _is_indefinite(a: Any) -> str:
    return f"a is not positive definite: it has the eigenvalue {np.linalg.eigvalsh(a).min():.3g}"


def _did_not_converge(a: Any) -> str:
    return "the iteration did not converge"


def _lapack(
    name: str, compute: Compute, problem: Callable[[Any], str] = _did_not_converge
) -> Compute:
    """Word what LAPACK refuses because of the numbers; shapes are up to the abstract rule."""

    def impl(a: Any, *others: Any, **params: Any) -> Any:
        try:
            with arrays.linalg_errors(a):
                return compute(a, *others, **params)
        except np.linalg.LinAlgError as error:
            check(name, get_aval(a, name))
            finite = bool(np.isfinite(a).all())
            raise OptionError(
                name, problem(a) if finite else "a holds NaN or infinity",
                given=f"a {get_aval(a)}",
            ) from error  # fmt: skip

    return impl


def check(name: str, a: ShapedArray, square: bool = True) -> tuple[int, ...]:
    """Return the shape of the stack, refusing what holds no matrices of real numbers."""
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise ShapeError(name, f"a is no {'square ' * square}matrix, nor a stack of them",
                         given=f"a {a}",
                         expected=f"a (..., N, {'N' if square else 'M'})")  # fmt: skip
    if a.dtype not in (np.float32, np.float64):
        raise DtypeError(name, "linear algebra here is of real numbers", given=f"a {a}",
                         expected="float32 or float64")  # fmt: skip
    return a.shape[:-2]


def _batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Any:
    ys = primitive(*all_mapped(values, mapped, size), **params)
    return (list(ys), [True] * len(ys)) if primitive.multiple else ys


def _function(
    name: str,
    impl: Compute,
    abstract: Callable[..., ShapedArray],
    jvp: Any,
    transpose: Any = NOT_LINEAR,
    batch: Any = _batch,
) -> Primitive:
    """Declare a primitive of one result, and what it computes as a host function of the compiler."""

    def infer(*types: Type, **params: Any) -> Type:
        y = abstract(*[ShapedArray(x.shape, x.dtype) for x in types], **params)
        return Type(y.dtype, y.shape)

    HOST.setdefault(name, Host(infer, lambda *xs, **params: np.asarray(impl(*xs, **params))))
    return Primitive(name, impl, abstract, jvp, batch, transpose,
                     lower=lambda b, *xs, **params: b.call(name, *xs, **params))  # fmt: skip


def _decomposition(
    name: str,
    compute: Compute,
    abstract: Callable[[ShapedArray], tuple[ShapedArray, ...]],
    terms: Callable[..., list[Value]],
    layout: str,
) -> Primitive:
    """Declare a primitive of several results; ``terms(t, a, *results)`` returns their tangents.

    A call of the compiler returns one array, so the factors travel below each other with K
    columns each.  ``layout`` has a letter for each: c for columns (..., M, K), r for rows
    (..., K, N), v for values (..., K), s for one number a matrix.
    """
    turn: dict[str, Compute] = {
        "c": lambda y: y, "r": lambda y: y.swapaxes(-1, -2), "v": lambda y: y[..., None, :],
        "s": lambda y: np.asarray(y)[..., None, None],
    }  # fmt: skip
    impl = _lapack(name, lambda a: tuple(compute(a)))

    def height(kind: str, y: ShapedArray) -> int:
        return {"c": y.shape[-2:-1], "r": y.shape[-1:]}.get(kind, (1,))[0]

    def infer(a: Type) -> Type:
        ys = abstract(ShapedArray(a.shape, a.dtype))
        width = 1 if layout[0] == "s" else ys[layout.find("c")].shape[-1]
        rows = sum(map(height, layout, ys))
        return Type(a.dtype, (*a.shape[:-2], rows, width))

    def packed(a: Any) -> Any:
        return np.concatenate([turn[kind](y) for kind, y in zip(layout, impl(a), strict=True)], -2)

    def lower(b: Builder, a: Any) -> tuple[Any, ...]:
        whole, row, found = b.call(name, a), 0, []
        *lead, _, width = whole.shape
        for kind, y in zip(layout, abstract(ShapedArray(a.shape, a.dtype)), strict=True):
            size = (*lead, height(kind, y), width)
            part = b.slice(whole, (*[0] * len(lead), row, 0), size)
            order = (*range(len(lead)), len(lead) + 1, len(lead))
            found.append(b.transpose(part, order) if kind == "r" else b.reshape(part, y.shape))
            row += size[-2]
        return tuple(found)

    def jvp(primitive: Primitive, primals: Any, tangents: Any, params: Any) -> Any:
        ys = primitive(*primals)
        return list(ys), terms(tangents[0], primals[0], *ys)

    HOST.setdefault(name, Host(infer, packed))
    return Primitive(name, impl, abstract, jvp, _batch, NOT_LINEAR, lower, multiple=True)


# --- what the rules are written with -------------------------------------------------------


def _keep(mask: npt.NDArray[np.bool_], x: Value) -> Value:
    # Not full_like(x): x may be a tangent, of which nothing but linear may be made.
    return select(mask, x, np.zeros((), get_aval(x).dtype))


def lower_part(x: Value, k: int = 0) -> Value:
    """Return matrices with zeros above the k-th diagonal."""
    return _keep(np.tri(shape_of(x)[-2], shape_of(x)[-1], k, dtype=bool), x)


def diagonal(x: Value) -> Value:
    """Return the diagonals (..., K) of square matrices."""
    *lead, n = shape_of(x)
    return reduce_sum(_keep(np.eye(n, dtype=bool), x), axes=(len(lead),))


def inner(x: Value, y: Value) -> Value:
    """Return sum(x * y) over each matrix."""
    ndim = len(shape_of(x))
    return reduce_sum(x * y, axes=(ndim - 2, ndim - 1))


def mirror(x: Value) -> Value:
    """Return the symmetric matrices that have the lower triangles of ``x``."""
    return lower_part(x) + swap(lower_part(x, -1))


def _row(w: Value) -> Value:
    """Return vectors (..., K) as rows (..., 1, K)."""
    return reshape(w, shape=(*shape_of(w)[:-1], 1, shape_of(w)[-1]))


def _inverse_gaps(w: Value) -> Value:
    """Return 1 / (w_j - w_i) at (i, j): 0 on the diagonal, NaN where they coincide elsewhere."""
    gap = _row(w) - swap(_row(w))
    none, one = equal(gap, full_like(gap, fill_value=0)), full_like(gap, fill_value=1)
    inverse = select(none, full_like(gap, fill_value=np.nan), one / select(none, one, gap))
    return _keep(~np.eye(shape_of(w)[-1], dtype=bool), inverse)


def _same(name: str) -> Callable[[ShapedArray], ShapedArray]:
    def abstract(a: ShapedArray) -> ShapedArray:
        check(name, a)
        return a

    return abstract


# --- systems -------------------------------------------------------------------------------


def _system(name: str) -> Callable[..., ShapedArray]:
    def abstract(a: ShapedArray, b: ShapedArray, **params: Any) -> ShapedArray:
        lead = check(name, a)
        if b.ndim < 2 or b.shape[:-1] != (*lead, a.shape[-1]) or a.dtype != b.dtype:
            raise ShapeError(name, "a and b do not fit together", given=f"a {a}, b {b}",
                             expected="a (..., N, N) and b (..., N, K) of one dtype")  # fmt: skip
        return b

    return abstract


def _system_jvp(
    primitive: Primitive,
    primals: Sequence[Value],
    tangents: Sequence[Value],
    params: dict[str, Any],
) -> tuple[Value, Value]:
    """One more system with the same matrix: A dx = db - dA x."""
    (a, _), (da, db) = primals, tangents
    x = primitive(*primals, **params)
    if da is not ZERO:
        part = -(_read(da, **params) @ x)
        db = part if db is ZERO else db + part
    return x, ZERO if db is ZERO else primitive(a, db, **params)


def _read(a: Value, lower: bool | None = None, trans: bool = False) -> Value:
    """Return the part of a matrix that its system depends on, in the place where it is used."""
    if lower is not None:
        a = lower_part(a) if lower else swap(lower_part(swap(a)))
    return swap(a) if trans else a


def _system_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> Value:
    a, b = values
    if mapped[0] or len(shape_of(a)) != 2:
        return primitive(*all_mapped(values, mapped, size), **params)
    _, n, k = shape_of(b)  # One matrix for all: one system with the right sides side by side.
    x = primitive(a, reshape(move_axis(b, 0, 1), shape=(n, size * k)), **params)
    return move_axis(reshape(x, shape=(n, size, k)), 1, 0)


solve: Primitive = _function(
    "solve",
    _lapack("solve", np.linalg.solve, _is_singular),
    _system("solve"),
    _system_jvp,
    transpose=lambda g, a, b: (None, solve(swap(a), g)) if isinstance(b, Linear) else (None, None),
    batch=_system_batch,
)  # fmt: skip

_BLOCK = 64
"""Triangles up to this size are left to LAPACK's solver for any matrix."""


def _substitute(a: Any, b: Any) -> Any:
    """Solve with upper triangles by halves: all but the blocks on the diagonal is products.

    The elimination that NumPy offers finds nothing to eliminate in an upper triangle, and
    nothing to exchange, so that it is back substitution.
    """
    n = a.shape[-1]
    if n <= _BLOCK:
        return np.linalg.solve(a, b)
    h = n // 2
    below = _substitute(a[..., h:, h:], b[..., h:, :])
    above = _substitute(a[..., :h, :h], b[..., :h, :] - np.matmul(a[..., :h, h:], below))
    return np.concatenate([above, below], -2)


def _triangular(a: Any, b: Any, *, lower: bool, trans: bool) -> Any:
    a = np.tril(a) if lower else np.triu(a)
    if trans:
        a = a.swapaxes(-1, -2)
    if lower == trans:
        return _substitute(a, b)
    return _substitute(a[..., ::-1, ::-1], b[..., ::-1, :])[..., ::-1, :]


triangular_solve: Primitive = _function(
    "triangular_solve",
    _lapack("triangular_solve", _triangular, lambda a: "a is singular: its diagonal has a zero"),
    _system("triangular_solve"),
    _system_jvp,
    transpose=lambda g, a, b, lower, trans: (
        None, triangular_solve(a, g, lower=lower, trans=not trans)
    ),
    batch=_system_batch,
)  # fmt: skip

inv: Primitive = _function(
    "inv",
    _lapack("inv", np.linalg.inv, _is_singular),
    _same("inv"),
    per_argument(lambda t, y, a: -(y @ t @ y)),
)


def _pinv_term(t: Value, y: Value, a: Value, rcond: float) -> Value:
    """Golub and Pereyra (1973): for a rank that does not change."""
    across, along = swap(t) @ swap(y), y @ swap(y) @ swap(t)
    return along - along @ a @ y + (across - y @ (a @ across)) @ y - y @ t @ y


def _pinv_abstract(a: ShapedArray, *, rcond: float) -> ShapedArray:
    return ShapedArray((*check("pinv", a, square=False), *a.shape[:-3:-1]), a.dtype)


pinv: Primitive = _function(
    "pinv",
    _lapack("pinv", lambda a, *, rcond: np.linalg.pinv(a, rcond)),
    _pinv_abstract,
    per_argument(_pinv_term),
)

# --- determinants --------------------------------------------------------------------------


def _adjugate(a: Any) -> Any:
    """Return det(a) inv(a), which exists where inv(a) does not."""
    u, s, vt = np.linalg.svd(a)
    eye = np.eye(a.shape[-1], dtype=bool)
    others = np.where(eye, np.ones_like(s[..., None, :]), s[..., None, :]).prod(-1)
    signs = np.sign(np.linalg.det(u) * np.linalg.det(vt))[..., None]
    return np.matmul(vt.swapaxes(-1, -2) * (signs * others)[..., None, :], u.swapaxes(-1, -2))


def _adjugate_term(t: Value, y: Value, a: Value) -> Value:
    trace = reshape(inner(swap(y), t), shape=(*shape_of(a)[:-2], 1, 1))
    scaled = _keep(np.eye(shape_of(a)[-1], dtype=bool), trace)
    return swap(solve(swap(a), swap(scaled - y @ t)))


adjugate: Primitive = _function(
    "adjugate", _lapack("adjugate", _adjugate), _same("adjugate"), per_argument(_adjugate_term)
)
det: Primitive = _function(
    "det",
    _lapack("det", np.linalg.det),
    lambda a: ShapedArray(check("det", a), a.dtype),
    per_argument(lambda t, y, a: inner(swap(adjugate(a)), t)),  # Right for singular matrices too.
)


slogdet: Primitive = _decomposition(
    "slogdet",
    np.linalg.slogdet,
    lambda a: (ShapedArray(check("slogdet", a), a.dtype),) * 2,
    lambda t, a, *ys: [ZERO, inner(swap(inv(a)), t)],
    "ss",
)

# --- decompositions ------------------------------------------------------------------------


def _cholesky_term(t: Value, y: Value, a: Value) -> Value:
    both = triangular_solve(y, mirror(t), lower=True, trans=False)
    both = triangular_solve(y, swap(both), lower=True, trans=False)
    half = np.tri(shape_of(a)[-1], dtype=y.dtype) - np.eye(shape_of(a)[-1], dtype=y.dtype) / 2
    return y @ (both * half)


cholesky: Primitive = _function(
    "cholesky",
    _lapack("cholesky", np.linalg.cholesky, _is_indefinite),
    _same("cholesky"),
    per_argument(_cholesky_term),
)


def _qr_abstract(a: ShapedArray) -> tuple[ShapedArray, ...]:
    lead = check("qr", a, square=False)
    *_, m, n = a.shape
    k = min(m, n)
    return ShapedArray((*lead, m, k), a.dtype), ShapedArray((*lead, k, n), a.dtype)


def _qr_terms(t: Value, a: Value, q: Value, r: Value) -> list[Value]:
    """Walter and Lehmann (2010); the first K columns decide Q, and Q the other ones of R."""
    k = shape_of(q)[-1]
    right = swap(triangular_solve(_columns(r, k), swap(_columns(t, k)), lower=False, trans=True))
    shift = swap(q) @ right
    turn = lower_part(shift, -1) - swap(lower_part(shift, -1))
    above = ~np.tri(k, shape_of(a)[-1], -1, dtype=bool)
    return [q @ (turn - shift) + right, _keep(above, swap(q) @ t - turn @ r)]


def _columns(x: Value, k: int) -> Value:
    full = tuple((0, n, 1) for n in shape_of(x)[:-1])
    return x if shape_of(x)[-1] == k else slice_(x, index=(*full, (0, k, 1)))


qr: Primitive = _decomposition("qr", np.linalg.qr, _qr_abstract, _qr_terms, "cr")


def _eigh_terms(t: Value, a: Value, w: Value, v: Value) -> list[Value]:
    inside = swap(v) @ mirror(t) @ v
    return [diagonal(inside), v @ (_inverse_gaps(w) * inside)]


eigh: Primitive = _decomposition(
    "eigh",
    np.linalg.eigh,
    lambda a: (ShapedArray((*check("eigh", a), a.shape[-1]), a.dtype), a),
    _eigh_terms,
    "vc",
)


def _svd_abstract(a: ShapedArray) -> tuple[ShapedArray, ...]:
    u, vt = _qr_abstract(a)
    return u, ShapedArray(u.shape[:-2] + u.shape[-1:], a.dtype), vt


def _svd_terms(t: Value, a: Value, u: Value, s: Value, vt: Value) -> list[Value]:
    row, v = _row(s), swap(vt)
    inside = swap(u) @ t @ v
    gaps, by_column, by_row = _inverse_gaps(s * s), inside * row, swap(row) * inside
    du = u @ (gaps * (by_column + swap(by_column)))
    dvt = -(gaps * (by_row + swap(by_row))) @ vt
    m, n = shape_of(a)[-2:]
    if m > n:  # The part of the new columns that the old ones do not span.
        du = du + (t @ v - u @ inside) / row
    if n > m:
        dvt = dvt + (swap(u) @ t - inside @ vt) / swap(row)
    return [du, diagonal(inside), dvt]


svd: Primitive = _decomposition(
    "svd", lambda a: np.linalg.svd(a, full_matrices=False), _svd_abstract, _svd_terms, "cvr"
)

# --- the exponential -----------------------------------------------------------------------

_PADE = (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
         129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0,
         40840800.0, 960960.0, 16380.0, 182.0, 1.0)  # fmt: skip
_PADE_RANGE = 5.371920351148152


def _expm(a: Any) -> Any:
    """Higham (2005): halve until a rational function of degree 13 is exact, then square."""
    size = np.abs(a).sum(-2).max(-1, initial=0.0)
    halvings = np.ceil(np.log2(np.clip(size / _PADE_RANGE, 1, np.finfo(a.dtype).max))).astype(int)
    a = a * np.exp2(-halvings).astype(a.dtype)[..., None, None]
    eye, a2 = np.eye(a.shape[-1], dtype=a.dtype), a @ a
    a4 = a2 @ a2
    a6, c = a2 @ a4, np.asarray(_PADE, a.dtype)
    odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2
    odd = a @ (odd + c[1] * eye)
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2
    even = even + c[0] * eye
    y = np.linalg.solve(even - odd, even + odd)
    for i in range(int(halvings.max(initial=0))):
        y = np.where((halvings > i)[..., None, None], y @ y, y)
    return y


def _derivative(a: Any, t: Any) -> Any:
    n = a.shape[-1]
    return _expm(np.block([[a, t], [np.zeros_like(a), a]]))[..., :n, n:]


def _derivative_by_a(d: Value, y: Value, a: Value, t: Value) -> Value:
    """The derivative's own derivative is a corner of that at [[a, t], [0, a]]."""
    *lead, n, _ = shape_of(a)
    zero = np.zeros((*lead, n, n), y.dtype)

    def blocks(diagonal: Value, corner: Value) -> Value:
        rows = [
            concatenate(*row, axis=len(lead) + 1) for row in ((diagonal, corner), (zero, diagonal))
        ]
        return concatenate(*rows, axis=len(lead))

    whole = expm_derivative(blocks(a, t), blocks(d, zero))
    return slice_(whole, index=(*((0, m, 1) for m in lead), (0, n, 1), (n, 2 * n, 1)))


expm_derivative: Primitive = _function(
    "expm_derivative",
    _lapack("expm_derivative", _derivative),
    _system("expm_derivative"),
    per_argument(_derivative_by_a, lambda d, y, a, t: expm_derivative(a, d)),
    transpose=lambda g, a, t: (None, expm_derivative(swap(a), g)),
)
expm: Primitive = _function(
    "expm", _lapack("expm", _expm), _same("expm"),
    per_argument(lambda t, y, a: expm_derivative(a, t)),
)  # fmt: skip
