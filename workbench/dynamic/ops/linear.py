"""Products: matmul and affine, and contractions of every kind."""

from __future__ import annotations

import functools
import string
from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import keep_crosswise, values
from workbench.dynamic.ops.shapes import axes_of, moveaxis, reshape, roll
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError, ShapeError

__all__ = [
    "affine", "cross", "dot", "einsum", "inner", "kron", "matmul", "tensordot", "vdot",
]  # fmt: skip


def swapped(x: Any) -> Any:
    """Return x with its last two axes exchanged."""
    return x.T if x.ndim == 2 else x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class Matmul(Function):
    """Return x @ y, with NumPy's rules for batches of matrices and for vectors."""

    broadcasts = True
    fresh = computes = True
    expects = (
        "x (..., N, D) and y (..., D, K) with one D; a vector stands for its one row or column"
    )

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        keep_crosswise(ctx, x, y)
        ctx.row, ctx.column = x.ndim == 1, y.ndim == 1
        return x.dot(y) if x.ndim == y.ndim == 2 else np.matmul(x, y)  # Dot starts sooner.

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, y = ctx.args
        # A vector took part as a matrix of one row or one column; so does its gradient.
        g = g[..., None] if ctx.column else g
        g = g[..., None, :] if ctx.row and not ctx.column else g[None] if ctx.row else g
        dx = dy = None
        if y is not None:
            dx = g @ swapped(y[:, None] if ctx.column else y)
            dx = dx[..., 0, :] if ctx.row else dx
        if x is not None:
            dy = swapped(x[None] if ctx.row else x) @ g
            dy = dy[..., 0] if ctx.column else dy
        return dx, dy


matmul = Matmul.apply


class Affine(Function):
    """x @ w + b."""

    fresh = computes = True
    expects = "x (N, D), w (D, K) and b (K,) with one D and one K"

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, b: Any = None) -> Any:
        y = x.dot(w)
        if y.ndim + w.ndim != 4:
            raise ShapeError("affine", "x and w are matrices", given=f"x {x.shape}, w {w.shape}",
                             expected=Affine.expects,
                             fix="flatten each example first: x.reshape((len(x), -1))")  # fmt: skip
        if b is not None:
            if b.shape != y.shape[1:]:
                raise ShapeError("affine", "b does not fit w", given=f"w {w.shape}, b {b.shape}",
                                 expected=Affine.expects, fix=f"b needs shape {w.shape[1:]}")  # fmt: skip
            y += b
        edges = ctx.inputs
        ctx.args = (None if edges[1] is None else x, None if edges[0] is None else w, None)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w, _ = ctx.args
        dot = matmul if isinstance(g, Tensor) else np.dot  # The latter starts sooner.
        return (
            None if w is None else dot(g, w.T),
            None if x is None else dot(x.T, g),
            None if ctx.inputs[2] is None else dot(g.T, arrays.ones(len(g), values(g))),
        )


def affine(x: Any, w: Any, b: Any = None) -> Any:
    """Return x @ w + b.

    Parameters
    ----------
    x : (N, D)
    w : (D, K)
    b : (K,), optional

    Returns
    -------
    Tensor, shape (N, K)

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    """
    return Affine.apply(x, w, b)


class Einsum(Function):
    """A sum of products over labelled axes; the gradient is another one."""

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, subscripts: str, *xs: Any) -> Any:
        ctx.subscripts, path = _plan(subscripts, tuple(x.shape for x in xs))
        wanted = [edge is not None for edge in ctx.inputs[1:]]
        others = (any(wanted[:k] + wanted[k + 1 :]) for k in range(len(xs)))
        ctx.args = (None, *(x if o else None for x, o in zip(xs, others, strict=True)))
        return np.einsum(ctx.subscripts, *xs, optimize=path)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        terms, output = ctx.subscripts.split("->")
        terms = terms.split(",")
        edges, xs = ctx.inputs[1:], ctx.args[1:]
        return None, *(
            None if edge is None else
            _share(terms[k], edge, [output, *terms[:k], *terms[k + 1 :]], [g, *xs[:k], *xs[k + 1 :]])
            for k, edge in enumerate(edges)
        )  # fmt: skip


def _share(own: str, like: Any, terms: list[str], factors: list[Any]) -> Any:
    """Return the gradient of the operand with labels ``own``: g times the other operands."""
    xp = arrays.namespace(values(factors[0]))
    known = {pair for term, f in zip(terms, factors, strict=True)
             for pair in zip(term, f.shape, strict=True)}  # fmt: skip
    spare = iter(sorted({*string.ascii_letters}.difference(own, *terms)))
    target = ""
    for label, n in zip(own, like.shape, strict=True):
        if label in target:  # A diagonal: the gradient lies on it, with zeros around.
            target += next(spare)
            terms.append(label + target[-1])
            factors.append(xp.eye(n, dtype=like.dtype))
            continue
        target += label
        if (label, n) not in known:  # Summed along this operand alone: g is repeated.
            terms.append(label)
            factors.append(xp.ones(n, like.dtype))
    return Einsum.apply(f"{','.join(terms)}->{target}", *factors)


@functools.lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[str, Any]:
    """Return the subscripts with a letter for every axis, and a good order of products."""
    try:
        path, text = np.einsum_path(subscripts, *(np.broadcast_to(0.0, each) for each in shapes))
    except ValueError as error:
        raise ShapeError("einsum", str(error).rstrip("."), given=f"{subscripts!r} for "
                         + ", ".join(map(str, shapes)), expected="one term an operand, one "
                         "letter an axis, and one length a letter") from error  # fmt: skip
    return text.split("\n")[0].split(":")[1].strip(), path


def einsum(subscripts: str, *operands: Any) -> Any:
    """Return the sum of products that the labels describe (Einstein's convention).

    Parameters
    ----------
    subscripts : str
        As in :func:`numpy.einsum`: one letter an axis and a comma between operands, then
        optionally ``->`` and the axes of the result; ``...`` for axes that broadcast.
        A letter twice in an operand is its diagonal.
    *operands : Tensor or array
        Multiplied two by two, in the order that :func:`numpy.einsum_path` finds.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the subscripts cannot be read, or do not fit the operands.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> einsum("ij,kj->ik", x, x)
    array([[ 5., 14.],
           [14., 50.]])
    """
    return Einsum.apply(subscripts, *operands)


def tensordot(x: Any, y: Any, axes: Any = 2) -> Any:
    """Return the sum of products over axes of both arrays.

    Parameters
    ----------
    x, y : Tensor or array
    axes : int, or pair of ints or sequences
        How many of the last axes of x and the first of y to sum over, or which of each.

    Raises
    ------
    OptionError
        If x and y have no such axes, or not as many of each.
    ShapeError
        If the axes differ in length.
    """
    if isinstance(axes, int | np.integer):
        axes = range(-axes, 0), range(axes)
    try:
        over, under = (axes_of(each, a.ndim) for each, a in zip(axes, (x, y), strict=True))
        pairs = dict(zip(under, over, strict=True))
    except ValueError as error:
        raise OptionError("tensordot", "these axes cannot be paired",
                          given=f"x {x.shape}, y {y.shape}, axes={axes}",
                          expected="as many axes of x as of y, each once") from error  # fmt: skip
    first, others = string.ascii_lowercase[: x.ndim], string.ascii_uppercase
    second = "".join(first[pairs[k]] if k in pairs else others[k] for k in range(y.ndim))
    once = "".join(c for c in first + second if (c in first) != (c in second))
    return einsum(f"{first},{second}->{once}", x, y)


def dot(x: Any, y: Any) -> Any:
    """Return the sum of products over the last axis of x and the last but one of y."""
    if x.ndim and y.ndim:
        return matmul(x, y) if y.ndim <= 2 else tensordot(x, y, (-1, -2))
    return x * y


def inner(x: Any, y: Any) -> Any:
    """Return the sum of products over the last axes of x and y."""
    return tensordot(x, y, (-1, -1)) if x.ndim and y.ndim else x * y


def vdot(x: Any, y: Any) -> Any:
    """Return the sum of the products of corresponding elements, whatever the shapes."""
    return matmul(reshape(x, -1), reshape(y, -1))


def kron(x: Any, y: Any) -> Any:
    """Return the Kronecker product: y in place of each element of x, multiplied by it."""
    n = max(x.ndim, y.ndim)
    a, b = ((1,) * (n - v.ndim) + v.shape for v in (x, y))
    apart = reshape(x, tuple(k for m in a for k in (m, 1))) * reshape(
        y, tuple(k for m in b for k in (1, m))
    )
    return reshape(apart, tuple(m * k for m, k in zip(a, b, strict=True)))


def cross(x: Any, y: Any, axis: int = -1) -> Any:
    """Return the cross product of vectors of three elements along ``axis``."""
    if not x.shape[axis] == y.shape[axis] == 3:
        raise ShapeError("cross", "a cross product is of vectors of three elements",
                         given=f"x {x.shape}, y {y.shape}, axis={axis}")  # fmt: skip
    x, y = moveaxis(x, axis, -1), moveaxis(y, axis, -1)
    return moveaxis(roll(x * roll(y, -1, -1) - roll(x, -1, -1) * y, -1, -1), -1, axis)
