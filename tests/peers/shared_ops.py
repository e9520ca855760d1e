"""Which of our operations answers which operator of PyTorch's database, and how.

An entry is a function of the sample's ``(input, *args, **kwargs)``, with our tensors in
place of PyTorch's.  Where two conventions differ, the entry says how.  An option that we do
not have raises :class:`LeftOut` with the name of a rule of ``skips.RULES``; an option that
no rule names fails the test.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench.dynamic import Tensor, ops


class LeftOut(Exception):  # noqa: N818 - It is no error.
    """A sample that asks for what we do not have; its text names the rule."""


@dataclass(frozen=True)
class Entry:
    """What answers one operator of PyTorch's.

    Attributes
    ----------
    ours : callable
    theirs : callable, optional
        In place of PyTorch's own call, where an arbitrary choice (a sign, a phase) has to
        be taken out of the comparison on both sides.
    slack : float
        Multiplies the tolerance.
    no_gradient : bool
        Neither PyTorch nor we have a gradient: only values are compared.
    second_order : callable
        Whether there is a second derivative at the sample's input.
    warns : bool
        NumPy warns of the nan that both answer with.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any] | None = None
    slack: float = 1.0
    no_gradient: bool = False
    second_order: Callable[..., bool] = lambda x: True
    warns: bool = False


def need(condition, rule):
    if not condition:
        raise LeftOut(rule)


def own(x, dtype):
    """Refuse a ``dtype=`` other than x's own."""
    need(dtype is None or str(dtype) == f"torch.{x.dtype}", "dtype")


def on(x, dim):
    """Return PyTorch's ``dim`` as our ``axis``; its empty list of axes means all of them."""
    need(x.ndim or dim is None or dim == [], "axis of a number")
    return None if dim == [] else tuple(dim) if isinstance(dim, list | tuple) else dim


def entries(given, **facts):
    return {name: Entry(function, **facts) for name, function in given.items()}


def same(text, **facts):
    """Return entries for the words ``name`` or ``theirs:ours``, called alike in both."""
    words = (word.split(":") for word in text.split())
    return entries({w[0]: getattr(ops, w[-1]) for w in words}, **facts)


SHARED = {}
"""Our operations, under PyTorch's names."""

EXPRESSIONS = {}
"""What PyTorch has a name for, and we write out in a line of ours."""

# --- elementwise ---------------------------------------------------------------------

SHARED |= same("""
    abs:absolute acos:arccos acosh:arccosh asin:arcsin asinh:arcsinh atan:arctan atan2:arctan2
    atanh:arctanh ceil clone:positive cos cosh deg2rad erf erfc exp exp2 expm1 floor fmax:maximum
    fmin:minimum fmod hypot lerp log log10 log1p log2 logaddexp maximum minimum
    mul:multiply nan_to_num neg:negative positive rad2deg reciprocal remainder:mod round sgn:sign
    sigmoid sign sin sinc sinh special.ndtr:ndtr sqrt square tan tanh true_divide:divide trunc
    nn.functional.celu:celu nn.functional.elu:elu
    nn.functional.hardswish:hard_swish nn.functional.leaky_relu:leaky_relu
    nn.functional.logsigmoid:log_sigmoid nn.functional.mish:mish nn.functional.relu6:relu6
    nn.functional.relu:relu nn.functional.selu:selu nn.functional.silu:silu
    nn.functional.softsign:softsign
""")
SHARED |= same("""
    eq:equal ge:greater_equal gt:greater le:less_equal lt:less ne:not_equal
    floor_divide heaviside isfinite isinf isnan logical_and logical_not logical_or logical_xor
""", no_gradient=True)  # fmt: skip
SHARED |= same("pow:power xlogy", warns=True)


def add(x, y, alpha=1):
    return ops.add(x, y if alpha == 1 else alpha * y)


def subtract(x, y, alpha=1):
    return ops.subtract(x, y if alpha == 1 else alpha * y)


def divide(x, y, rounding_mode=None):
    need(rounding_mode is None, "rounding mode")
    return ops.divide(x, y)


def clip(x, low=None, high=None):
    bounds = [b for b in (low, high) if hasattr(b, "dtype")]
    need(all(b.dtype == x.dtype for b in bounds), "dtypes mixed")
    return ops.clip(x, low, high)


def logit(x, eps=None):
    """PyTorch moves probabilities into [eps, 1 - eps] first, on request."""
    return ops.logit(x if eps is None else ops.clip(x, eps, 1 - eps))


def gelu(x, approximate="none"):
    return ops.gelu(x, approximate == "tanh")


def softplus(x, beta, threshold):
    return ops.softplus(x, beta)


def exact_softplus(x, beta, threshold):
    """PyTorch's, without the threshold above which it answers with x itself."""
    return torch.nn.functional.softplus(x, beta, threshold=1e9)


def cast(dtype):
    def to(x, memory_format=None):
        return ops.astype(x, dtype)

    return to


SHARED |= entries({
    "add": add,
    "sub": subtract,
    "div": divide,
    "clamp": clip,
    "where": lambda x, condition, y: ops.where(condition, x, y),
    "logit": logit,
    "nn.functional.gelu": gelu,
    "nn.functional.hardtanh": lambda x, min_val=-1.0, max_val=1.0: ops.hard_tanh(
        x, min_val, max_val
    ),
    "__radd__": lambda x, y: x.__radd__(y),
    "__rdiv__": lambda x, y: x.__rtruediv__(y),
    "__rmul__": lambda x, y: x.__rmul__(y),
    "__rsub__": lambda x, y: x.__rsub__(y),
    "float": cast("float32"),
    "double": cast("float64"),
})  # fmt: skip
# PyTorch's own gradient of hardsigmoid multiplies by 1/6 rounded to float32.
SHARED["nn.functional.hardsigmoid"] = Entry(
    ops.hard_sigmoid, lambda x: torch.clamp(x / 6 + 0.5, 0, 1)
)
SHARED["__rpow__"] = Entry(lambda x, y: x.__rpow__(y), warns=True)
SHARED["nn.functional.softplus"] = Entry(softplus, exact_softplus)
SHARED |= entries(
    {"bool": cast("bool"), "int": cast("int32"), "long": cast("int64"), "short": cast("int16")},
    no_gradient=True,
)

EXPRESSIONS |= entries({
    "addcdiv": lambda x, a, b, value=1: x + value * a / b,
    "addcmul": lambda x, a, b, value=1: x + value * a * b,
    "clamp_max": lambda x, high: ops.clip(x, None, high),
    "clamp_min": lambda x, low: ops.clip(x, low),
    "frac": lambda x: x - ops.trunc(x),
    "ldexp": lambda x, y: x * 2.0**y,
    "logaddexp2": lambda x, y: ops.log2(ops.exp2(x) + ops.exp2(y)),
    "nn.functional.tanhshrink": lambda x: x - ops.tanh(x),
    "nn.functional.threshold": lambda x, level, value: ops.where(x > level, x, value),
    "rsqrt": lambda x: x**-0.5,
    "rsub": lambda x, y, alpha=1: y - (x if alpha == 1 else alpha * x),
    "special.xlog1py": lambda x, y: ops.xlogy(x, 1 + y),
})  # fmt: skip

# --- reductions ----------------------------------------------------------------------


def reduced(op):
    def reduce(x, dim=None, keepdim=False, dtype=None):
        own(x, dtype)
        return op(x, on(x, dim), keepdims=keepdim)

    return reduce


def extremum(op, position, pairwise):
    """PyTorch's max and min are three operators each, told apart by their arguments."""

    def choose(x, dim=None, keepdim=False):
        if isinstance(dim, Tensor):
            return pairwise(x, dim)
        if dim is None:
            return op(x)
        axis = on(x, dim)
        index = position(x, axis)
        return op(x, axis, keepdims=keepdim), ops.expand_dims(index, axis) if keepdim else index

    return choose


def position(op):
    def find(x, dim=None, keepdim=False):
        axis = on(x, dim)
        found = op(x, axis)
        return ops.expand_dims(found, axis) if keepdim and axis is not None else found

    return find


def spread(op):
    """PyTorch divides by n - 1 unless told otherwise; NumPy by n."""

    def reduce(x, dim=None, unbiased=True, keepdim=False, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = int(unbiased) if correction is None else correction
        return op(x, on(x, dim), ddof=ddof, keepdims=keepdim)

    return reduce


def along(op):
    def run(x, dim, dtype=None):
        own(x, dtype)
        return op(x, on(x, dim))

    return run


def softmax(op):
    """PyTorch answers an empty array with an empty one; NumPy finds no maximum in it."""

    def run(x, dim, dtype=None):
        need(x.size, "maximum of nothing")
        return along(op)(x, dim, dtype)

    return run


def vector_norm(x, ord=2, dim=None, keepdim=False, dtype=None):
    """PyTorch's vectors may lie along several axes; ours along one."""
    own(x, dtype)
    need(ord != "nuc", "norm by singular values")
    ord = None if ord == "fro" else ord
    axis = on(x, dim)
    if isinstance(axis, tuple) and len(axis) == 1:
        axis = axis[0]
    if axis is None and not keepdim:
        return ops.norm(ops.ravel(x), ord, 0)
    need(isinstance(axis, int) or ord in (None, 2), "vectors along several axes")
    return ops.norm(x, ord if isinstance(axis, int) else None, axis, keepdim)


def norm(x, ord=None, dim=None, keepdim=False, dtype=None):
    axis = on(x, dim)
    matrix = x.ndim == 2 if axis is None else isinstance(axis, tuple) and len(axis) == 2
    need(ord != "nuc" and not (matrix and ord in (2, -2)), "norm by singular values")
    need(x.size or not matrix or ord in (None, "fro"), "maximum of nothing")
    if isinstance(axis, tuple) and len(axis) == 1:
        axis = axis[0]
    own(x, dtype)
    return ops.norm(x, ord, axis, keepdim)


def diff(x, n=1, dim=-1, prepend=None, append=None):
    need(prepend is None and append is None, "prepended")
    return ops.diff(x, n, dim)


SHARED |= entries({
    "sum": reduced(ops.sum),
    "mean": reduced(ops.mean),
    "prod": reduced(ops.prod),
    "amax": reduced(ops.max),
    "amin": reduced(ops.min),
    "logsumexp": reduced(ops.logsumexp),
    "max": extremum(ops.max, ops.argmax, ops.maximum),
    "min": extremum(ops.min, ops.argmin, ops.minimum),
    "softmax": softmax(ops.softmax),
    "log_softmax": softmax(ops.log_softmax),
    "nn.functional.softmin": softmax(ops.softmin),
    "cumsum": along(ops.cumsum),
    "cumprod": along(ops.cumprod),
    "diff": diff,
    "linalg.matrix_norm": lambda x, ord="fro", dim=(-2, -1), keepdim=False, dtype=None: norm(
        x, ord, dim, keepdim, dtype
    ),
    "linalg.vector_norm": vector_norm,
    "norm": vector_norm,
    "trace": ops.trace,
})  # fmt: skip
SHARED["linalg.norm"] = Entry(norm, second_order=lambda x: bool(x.all()))
SHARED |= entries({"std": spread(ops.std), "var": spread(ops.var)}, warns=True)
SHARED |= {
    "logcumsumexp": Entry(along(ops.logcumsumexp), slack=10),
    "cummax": Entry(along(ops.cummax), lambda x, dim: torch.cummax(x, dim).values),
    "cummin": Entry(along(ops.cummin), lambda x, dim: torch.cummin(x, dim).values),
}
SHARED |= entries({
    "all": reduced(ops.all),
    "any": reduced(ops.any),
    "argmax": position(ops.argmax),
    "argmin": position(ops.argmin),
    "count_nonzero": lambda x, dim=None: ops.count_nonzero(x, on(x, dim)),
}, no_gradient=True)  # fmt: skip
EXPRESSIONS |= entries({
    "aminmax": lambda x, dim=None, keepdim=False: (
        ops.min(x, on(x, dim), keepdim), ops.max(x, on(x, dim), keepdim)
    ),
})  # fmt: skip

EXPRESSIONS |= entries({
    "std_mean": lambda x, dim=None, unbiased=True, keepdim=False, correction=None: (
        spread(ops.std)(x, dim, unbiased, keepdim, correction),
        ops.mean(x, None if isinstance(dim, bool) else on(x, dim), keepdim),
    ),
    "var_mean": lambda x, dim=None, unbiased=True, keepdim=False, correction=None: (
        spread(ops.var)(x, dim, unbiased, keepdim, correction),
        ops.mean(x, None if isinstance(dim, bool) else on(x, dim), keepdim),
    ),
}, warns=True)  # fmt: skip

# --- shapes --------------------------------------------------------------------------


def concatenate(xs, dim=0):
    need(all(x.ndim == xs[0].ndim for x in xs), "empty of another rank")
    return ops.concatenate(xs, dim)


def squeeze(x, dim=None):
    """PyTorch leaves an axis as it is that NumPy refuses to squeeze."""
    axis = on(x, dim)
    if dim == []:
        return ops.positive(x)
    named = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    need(all(x.shape[k] == 1 for k in named), "squeeze of a longer axis")
    return ops.squeeze(x, axis)


def pad(x, widths, mode="constant", value=0.0):
    """PyTorch's widths are a flat list that begins with the last axis."""
    need(min(widths, default=0) >= 0, "negative padding")
    pairs = [tuple(widths[k : k + 2]) for k in range(0, len(widths), 2)][::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    name = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return ops.pad(x, pairs, name, 0.0 if value is None else value)


def pieces(x, size, dim=0):
    """PyTorch's split takes the length of a piece, or all lengths; NumPy's where to cut."""
    n = x.shape[dim]
    cuts = range(size, n, size) if isinstance(size, int) else np.cumsum(size)[:-1].tolist()
    return ops.split(x, list(cuts), dim)


def parts(x, sections, dim=0):
    """PyTorch's tensor_split makes unequal parts, which NumPy's split refuses."""
    sections = sections.tolist() if hasattr(sections, "tolist") else sections
    if isinstance(sections, int):
        lengths = [len(part) for part in np.array_split(np.arange(x.shape[dim]), sections)]
        sections = np.cumsum(lengths)[:-1].tolist()
    return ops.split(x, list(sections), dim)


def meshgrid(first, *rest, indexing="ij"):
    xs = [first, *rest] if isinstance(first, Tensor) else first
    return ops.meshgrid(*xs, indexing=indexing)


def at_least(op):
    return lambda x: [op(each) for each in x] if isinstance(x, list | tuple) else op(x)


def repeat_interleave(x, repeats, dim=None, output_size=None):
    repeats = repeats.tolist() if hasattr(repeats, "tolist") else repeats
    return ops.repeat(x, repeats, dim)


def swapaxes(x, first, second):
    need(x.ndim, "axis of a number")
    return ops.swapaxes(x, first, second)


SHARED |= same(
    "broadcast_to permute:transpose ravel reshape tril triu outer movedim:moveaxis stack"
)
SHARED |= entries({
    "atleast_1d": at_least(ops.atleast_1d),
    "atleast_2d": at_least(ops.atleast_2d),
    "cat": concatenate,
    "constant_pad_nd": lambda x, widths, value=0.0: pad(x, widths, value=value),
    "diag": ops.diag,
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: ops.diagonal(x, offset, dim1, dim2),
    "flatten": lambda x, start_dim=0, end_dim=-1: ops.flatten(x, start_dim, end_dim),
    "flip": lambda x, dims: ops.flip(x, tuple(dims)),
    "hstack": ops.hstack,
    "meshgrid": meshgrid,
    "nn.functional.pad": pad,
    "repeat_interleave": repeat_interleave,
    "roll": lambda x, shifts, dims=(): ops.roll(
        x, shifts, None if dims == () else tuple(dims) if isinstance(dims, list) else dims
    ),
    "split": pieces,
    "squeeze": squeeze,
    "tile": lambda x, dims: ops.tile(x, tuple(dims)),
    "transpose": swapaxes,
    "unsqueeze": ops.expand_dims,
    "vstack": ops.vstack,
})  # fmt: skip
EXPRESSIONS |= entries({
    "T": lambda x: x.T,
    "chunk": lambda x, chunks, dim=0: pieces(x, -(-x.shape[dim] // chunks), dim),
    "diagflat": lambda x, offset=0: ops.diag(ops.ravel(x), offset),
    "dsplit": lambda x, sections: parts(x, sections, 2),
    "expand": lambda x, shape: ops.broadcast_to(x, expanded(x, shape)),
    "expand_as": lambda x, y: ops.broadcast_to(x, y.shape),
    "fliplr": lambda x: ops.flip(x, 1),
    "flipud": lambda x: ops.flip(x, 0),
    "hsplit": lambda x, sections: parts(x, sections, 1 if x.ndim > 1 else 0),
    "linalg.diagonal": lambda x, offset=0, dim1=-2, dim2=-1: ops.diagonal(
        x, offset, dim1, dim2
    ),
    "mT": lambda x: ops.swapaxes(x, -1, -2),
    "repeat": lambda x, sizes: ops.tile(x, tuple(sizes)),
    "reshape_as": lambda x, y: ops.reshape(x, y.shape),
    "split_with_sizes": pieces,
    "t": lambda x: x.T,
    "tensor_split": parts,
    "unflatten": lambda x, dim, sizes: ops.reshape(
        x, (*x.shape[: dim % x.ndim], *sizes, *x.shape[dim % x.ndim + 1 :])
    ),
    "view": ops.reshape,
    "view_as": lambda x, y: ops.reshape(x, y.shape),
    "vsplit": parts,
})  # fmt: skip


def expanded(x, shape):
    """Return the shape that PyTorch's expand means, in which -1 leaves a length as it is."""
    old = (*[1] * (len(shape) - x.ndim), *x.shape)
    return tuple(b if a == -1 else a for a, b in zip(shape, old, strict=True))


# --- indices -------------------------------------------------------------------------


def index(x, dim, at):
    """Return an index of all of x but for one axis."""
    need(x.ndim, "axis of a number")
    return (*[slice(None)] * (dim % x.ndim), at)


def reaches(x, dim, indices):
    """PyTorch lets indices be shorter than x along other axes; NumPy broadcasts them."""
    need(x.ndim, "axis of a number")
    need(x.ndim == indices.ndim, "indices of another rank")
    others = [k for k in range(x.ndim) if k != dim % x.ndim]
    need(all(indices.shape[k] == x.shape[k] for k in others) or not indices.size,
         "indices shorter than x")  # fmt: skip


def gather(x, dim, indices):
    reaches(x, dim, indices)
    return ops.take_along_axis(x, indices, dim)


def scatter_add(x, dim, indices, v):
    reaches(x, dim, indices)
    need(v.shape == indices.shape, "indices shorter than x")
    return ops.scatter_add(x, indices, v, dim)


def scatter(x, dim, indices, v=None, value=None, reduce=None):
    reaches(x, dim, indices)
    need(reduce is None, "scatter with a reduction")
    return ops.put_along_axis(x, indices, value if v is None else v, dim)


def index_put(x, indices, v, accumulate):
    put = ops.index_add if accumulate else ops.index_update
    return put(x, tuple(indices), v)


def index_fill(x, dim, at, value):
    need(len(set(at.tolist())) == at.size, "an index twice")
    return ops.index_update(x, index(x, dim, at), value)


def take_along_dim(x, indices, dim=None):
    return ops.take_along_axis(x, indices.ravel() if dim is None else indices, dim)


def nonzero(x, as_tuple):
    need(x.ndim, "axis of a number")
    return ops.nonzero(x) if as_tuple else ops.argwhere(x)


def masked_select(x, mask):
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return ops.broadcast_to(x, shape)[np.broadcast_to(mask, shape)]


SHARED |= entries({
    "__getitem__": ops.getitem,
    "gather": gather,
    "index_add": lambda x, dim, at, v, alpha=1: ops.index_add(x, index(x, dim, at), alpha * v),
    "index_copy": lambda x, dim, at, v: ops.index_update(x, index(x, dim, at), v),
    "index_put": index_put,
    "masked_fill": ops.masked_fill,
    "scatter": scatter,
    "scatter_add": scatter_add,
    "take": ops.take,
    "take_along_dim": take_along_dim,
})  # fmt: skip
SHARED |= entries({
    "argwhere": ops.argwhere,
    "nonzero": nonzero,
}, no_gradient=True)  # fmt: skip
EXPRESSIONS |= entries({
    "index_fill": index_fill,
    "index_select": lambda x, dim, at: ops.take(x, at, on(x, dim)),
    "masked_select": masked_select,
    "narrow": lambda x, dim, start, length: x[index(x, dim, slice(int(start) % x.shape[dim],
                                                    int(start) % x.shape[dim] + length))],
    "select": lambda x, dim, at: x[index(x, dim, at)],
    "select_scatter": lambda x, v, dim, at: ops.index_update(x, index(x, dim, at), v),
    "slice": lambda x, dim=0, start=None, end=None, step=None: x[
        index(x, dim, slice(start, end, step))
    ],
    "slice_scatter": lambda x, v, dim, start, end, step: ops.index_update(
        x, index(x, dim, slice(start, end, step)), v
    ),
    "unbind": lambda x, dim: [x[index(x, dim, k)] for k in range(x.shape[dim])],
})  # fmt: skip

# --- order ---------------------------------------------------------------------------


def sort(x, dim=-1, descending=False, stable=False):
    need(x.ndim, "axis of a number")
    need(not descending, "descending order")
    return ops.sort(x, dim), ops.argsort(x, dim)


def argsort(x, dim=-1, descending=False, stable=False):
    need(x.ndim, "axis of a number")
    need(not descending, "descending order")
    return ops.argsort(x, dim)


def topk(x, k, dim=-1, largest=True, sorted=True):
    need(x.ndim, "axis of a number")
    need(largest, "smallest first")
    return ops.topk(x, k, dim)


def median(x, dim=None, keepdim=False):
    n = x.size if dim is None else x.shape[on(x, dim)]
    need(n % 2, "median of an even number")
    return ops.median(x, dim, keepdim)


def median_of_theirs(x, dim=None, keepdim=False):
    return torch.median(x) if dim is None else torch.median(x, dim, keepdim).values


def searchsorted(ordered, values, out_int32=False, right=False, side="left", sorter=None):
    need(ordered.ndim == 1, "rows to search in")
    need(sorter is None, "sorter")
    found = ops.searchsorted(ordered, values, "right" if right else side)
    return ops.astype(found, "int32") if out_int32 else found


SHARED |= entries({"sort": sort, "topk": topk})
SHARED["median"] = Entry(median, median_of_theirs)
SHARED |= entries({"argsort": argsort, "searchsorted": searchsorted}, no_gradient=True)
EXPRESSIONS["msort"] = Entry(lambda x: ops.sort(x, 0))
EXPRESSIONS["bucketize"] = Entry(
    lambda x, edges, out_int32=False, right=False: searchsorted(edges, x, out_int32, right),
    no_gradient=True,
)

# --- products and matrices -----------------------------------------------------------


def linear(x, w, b=None):
    """PyTorch keeps w transposed, (K, D), and takes any number of axes in front."""
    rows = ops.reshape(x, (-1, x.shape[-1])) if x.size else ops.reshape(x, (0, x.shape[-1]))
    return ops.reshape(ops.affine(rows, w.T, b), (*x.shape[:-1], len(w)))


def outer_sum(x, a, b, beta=1, alpha=1):
    """With beta 0 PyTorch does not look at x, which may hold nan."""
    product = alpha * (a[:, None] * b[None])
    return product if beta == 0 else beta * x + product


def solve(a, b, left=True):
    """PyTorch takes b (..., N) for vectors where a is (..., N, N); NumPy one vector only."""
    need(left, "solve from the right")
    if b.ndim == 1 or b.shape != a.shape[:-1]:
        return ops.solve(a, b)
    return ops.solve(a, b[..., None])[..., 0]


def symmetric(a):
    """Take the choice of a triangle, and of where its gradient goes, out of a comparison."""
    return (a + (a.mT if isinstance(a, torch.Tensor) else ops.swapaxes(a, -1, -2))) / 2


def cholesky(a, upper=False):
    need(not upper, "upper triangle")
    return ops.cholesky(symmetric(a))


def eigh(a, UPLO="L"):
    """Eigenvectors are compared up to their signs."""
    w, v = ops.eigh(symmetric(a))
    return w, abs(v)


def eigh_of_theirs(a, UPLO="L"):
    w, v = torch.linalg.eigh(symmetric(a))
    return w, abs(v)


def svd(a, full_matrices=True):
    """Singular vectors are compared up to their signs, and the full bases left out."""
    need(not full_matrices or a.shape[-1] == a.shape[-2], "full bases")
    need(a.size, "empty matrix")
    u, s, vt = ops.svd(a)
    return abs(u), s, abs(vt)


def svd_of_theirs(a, full_matrices=True):
    u, s, vt = torch.linalg.svd(a, full_matrices=False)
    return abs(u), s, abs(vt)


def einsum(xs, subscripts):
    need(subscripts.count("...") != 2, "dots summed over")
    return ops.einsum(subscripts, *xs)


def pinv(a, rtol=None, hermitian=False):
    """PyTorch's samples of singular matrices are products of two thin ones."""
    if isinstance(rtol, Tensor) and rtol.ndim > 1:
        return ops.pinv(a @ ops.swapaxes(rtol, -1, -2))
    need(rtol is None and not hermitian, "tolerance of a rank")
    return ops.pinv(a)


SHARED |= same("""
    matmul mm:matmul bmm:matmul mv:matmul dot vdot inner kron
    linalg.det:det linalg.inv:inv linalg.matrix_power:matrix_power linalg.slogdet:slogdet
    linalg.svdvals:svdvals
""")
SHARED |= entries({
    "__rmatmul__": lambda x, y: x.__rmatmul__(y),
    "einsum": einsum,
    "linalg.cross": lambda x, y, dim=-1: ops.cross(x, y, dim),
    "linalg.pinv": pinv,
    "linalg.solve": solve,
    "nn.functional.linear": linear,
    "tensordot": lambda x, y, dims: ops.tensordot(x, y, dims),
})  # fmt: skip
SHARED |= {
    "linalg.cholesky": Entry(cholesky, lambda a, upper: torch.linalg.cholesky(symmetric(a))),
    "linalg.eigh": Entry(eigh, eigh_of_theirs),
    "linalg.eigvalsh": Entry(
        lambda a, UPLO="L": ops.eigvalsh(symmetric(a)),
        lambda a, UPLO="L": torch.linalg.eigvalsh(symmetric(a)),
    ),
    "linalg.svd": Entry(svd, svd_of_theirs),
}
EXPRESSIONS |= entries({
    "addbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * ops.sum(a @ b, 0),
    "addmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addmv": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "addr": outer_sum,
    "baddbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * (a @ b),
    "linalg.multi_dot": lambda xs: functools.reduce(ops.matmul, xs),
    "linalg.vecdot": lambda x, y, dim=-1: ops.sum(x * y, dim),
})  # fmt: skip

# --- convolution and pooling ---------------------------------------------------------


def images(op, ndim):
    """PyTorch also takes one image without a batch."""

    def run(x, *args, **kwargs):
        return op(x, *args, **kwargs) if x.ndim == ndim else op(x[None], *args, **kwargs)[0]

    return run


def convolution(op):
    def run(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
        need(padding != "same", "padding by name")
        return op(x, w, b, stride, 0 if padding == "valid" else padding, dilation, groups)

    return run


def transposed(op):
    def run(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        shorter = np.all(np.asarray(output_padding) < np.asarray(stride))
        need(shorter, "output padding as long as the stride")
        return op(x, w, b, stride, padding, dilation, groups, output_padding)

    return run


def max_pool(op):
    def run(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_indices=False):  # fmt: skip
        need(np.all(np.asarray(dilation) == 1), "dilated pooling")
        need(not ceil_mode, "windows beyond the border")
        need(not return_indices, "indices of a pooled maximum")
        return op(x, kernel_size, stride, padding)

    return run


def avg_pool(op):
    def run(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
            divisor_override=None):  # fmt: skip
        need(not ceil_mode, "windows beyond the border")
        need(count_include_pad or np.all(np.asarray(padding) == 0), "border left out of a mean")
        need(divisor_override is None, "divisor of a mean")
        return op(x, kernel_size, stride or None, padding)

    return run


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """PyTorch's name for im2col, with all windows in a row."""
    need(np.all(np.asarray(dilation) == 1), "dilated windows")
    windows = ops.im2col(x, kernel_size, stride, padding)
    n, c, oh, ow, kh, kw = windows.shape
    return ops.reshape(ops.transpose(windows, (0, 1, 4, 5, 2, 3)), (n, c * kh * kw, oh * ow))


SHARED |= entries({
    "nn.functional.avg_pool1d": images(avg_pool(ops.avg_pool1d), 3),
    "nn.functional.avg_pool2d": images(avg_pool(ops.avg_pool2d), 4),
    "nn.functional.conv1d": images(convolution(ops.conv1d), 3),
    "nn.functional.conv2d": images(convolution(ops.conv2d), 4),
    "nn.functional.conv_transpose1d": images(transposed(ops.conv_transpose1d), 3),
    "nn.functional.conv_transpose2d": images(transposed(ops.conv_transpose2d), 4),
    "nn.functional.max_pool1d": images(max_pool(ops.max_pool1d), 3),
    "nn.functional.max_pool2d": images(max_pool(ops.max_pool2d), 4),
    "nn.functional.unfold": images(unfold, 4),
})  # fmt: skip

# --- normalisation -------------------------------------------------------------------


def batch_norm(x, mean, variance, w=None, b=None, training=False, momentum=0.1, eps=1e-5):
    need(x.ndim > 1, "no channels")
    if training:
        mean = variance = None
    return ops.batch_norm(x, w, b, mean, variance, eps)


def layer_norm(x, shape, w=None, b=None, eps=1e-5):
    return ops.layer_norm(x, w, b, tuple(range(-len(shape), 0)), eps)


def instance_norm(x, running_mean=None, running_var=None, weight=None, bias=None,
                  use_input_stats=True, momentum=0.1, eps=1e-5):  # fmt: skip
    need(use_input_stats, "running statistics of instances")
    return ops.instance_norm(x, weight, bias, eps)


def rms_norm(x, shape, w=None, eps=None):
    """PyTorch's default eps is the dtype's own."""
    eps = np.finfo(x.dtype).eps if eps is None else eps
    return ops.rms_norm(x, w, tuple(range(-len(shape), 0)), eps)


def normalize(x, p=2.0, dim=1, eps=1e-12):
    need(p == 2, "norm other than Euclid's")
    return ops.normalize(x, on(x, dim), eps)


SHARED |= entries({
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.group_norm": lambda x, groups, weight=None, bias=None, eps=1e-5:
        ops.group_norm(x, groups, weight, bias, eps),
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.normalize": normalize,
    "nn.functional.rms_norm": rms_norm,
}, warns=True)  # fmt: skip

# --- losses and attention ------------------------------------------------------------


def averaged(reduction):
    need(reduction == "mean", "reduction")


def loss(op):
    def run(x, y, reduction="mean", weight=None, pos_weight=None, **options):
        averaged(reduction)
        need(weight is None and pos_weight is None, "weights of elements")
        return op(x, y, **options)

    return run


def smooth_l1_loss(x, y, reduction="mean", beta=1.0):
    """PyTorch's smooth L1 is Huber's loss divided by beta, and the L1 loss for beta = 0."""
    averaged(reduction)
    return ops.huber_loss(x, y, beta) / beta if beta else ops.mean_absolute_error(x, y)


def kl_div(log_q, p, reduction="mean", log_target=False):
    """PyTorch's "batchmean" is the divergence; its "mean" divides by the elements too."""
    need(reduction == ("sum" if log_q.ndim == 1 else "batchmean"), "divergence by elements")
    return ops.kl_divergence(log_q, ops.exp(p) if log_target else p)


def poisson_nll_loss(x, y, log_input=True, full=False, eps=1e-8, reduction="mean"):
    averaged(reduction)
    need(log_input and not full, "full likelihood")
    return ops.poisson_nll_loss(x, y)


def gaussian_nll_loss(x, y, variance, full=False, eps=1e-6, reduction="mean"):
    averaged(reduction)
    need(not full, "full likelihood")
    need(x.shape == y.shape == variance.shape, "shapes of a loss")
    return ops.gaussian_nll_loss(x, y, variance, eps)


def multi_margin_loss(x, labels, p=1, margin=1.0, weight=None, reduction="mean"):
    averaged(reduction)
    need(x.ndim == 2, "one example without a batch")
    need(p == 1 and weight is None, "weights of elements")
    return ops.multi_margin_loss(x, labels, margin)


def nll_loss(x, labels, weight=None, ignore_index=-100, reduction="mean"):
    averaged(reduction)
    need(x.ndim == 2, "labels of pixels" if x.ndim > 2 else "one example without a batch")
    need(weight is None and not (labels == ignore_index).any(), "weights of classes")
    need(x.size, "a mean of nothing")
    return ops.nll_loss(x, labels)


def cross_entropy(x, labels, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0):
    averaged(reduction)
    need(isinstance(labels, np.ndarray), "probabilities as labels")
    need(x.ndim == 2, "labels of pixels" if x.ndim > 2 else "one example without a batch")
    if weight is None and not label_smoothing and not (labels == ignore_index).any():
        return ops.softmax_cross_entropy(x, labels)
    weight = weight.data if isinstance(weight, Tensor) else weight
    return ops.cross_entropy(x, labels, weight, label_smoothing, ignore_index)


def cosine_similarity(x, y, dim=1, eps=1e-8):
    return ops.cosine_similarity(x, y, on(x, dim), eps)


def cosine_embedding_loss(x, y, target, margin=0.0, reduction="mean"):
    averaged(reduction)
    return ops.cosine_embedding_loss(x, y, target, margin)


def triplet_margin_loss(anchor, near, far, margin=1.0, swap=False, reduction="mean"):
    averaged(reduction)
    need(not swap, "swapped triplets")
    return ops.triplet_margin_loss(anchor, near, far, margin)


def triplets_of_theirs(anchor, near, far, margin=1.0, swap=False, reduction="mean"):
    """PyTorch's, without the 1e-6 that it adds to each difference."""
    return torch.nn.functional.triplet_margin_loss(anchor, near, far, margin, eps=0.0)


def embedding(x, w, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
              sparse=False):  # fmt: skip
    """PyTorch's samples have the table first."""
    need(padding_idx is None, "padding row")
    need(max_norm is None and not scale_grad_by_freq, "rescaled rows")
    return ops.embedding(w, x)


def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, enable_gqa=False):
    need(dropout_p == 0, "dropout")
    need(attn_mask is None or attn_mask.dtype == bool, "scores added to attention's")
    need(not enable_gqa, "heads shared by queries")
    return ops.scaled_dot_product_attention(q, k, v, attn_mask, is_causal)


def binary_cross_entropy_of_theirs(p, y, reduction="mean"):
    """PyTorch's own derivatives have 1e-12 added to a denominator: here is its definition."""
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


SHARED |= entries({
    "nn.functional.binary_cross_entropy_with_logits": loss(ops.binary_cross_entropy_with_logits),
    "nn.functional.cosine_embedding_loss": cosine_embedding_loss,
    "nn.functional.cosine_similarity": cosine_similarity,
    "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.embedding": embedding,
    "nn.functional.gaussian_nll_loss": gaussian_nll_loss,
    "nn.functional.huber_loss": loss(ops.huber_loss),
    "nn.functional.kl_div": kl_div,
    "nn.functional.l1_loss": loss(ops.mean_absolute_error),
    "nn.functional.mse_loss": loss(ops.mean_squared_error),
    "nn.functional.multi_margin_loss": multi_margin_loss,
    "nn.functional.nll_loss": nll_loss,
    "nn.functional.poisson_nll_loss": poisson_nll_loss,
    "nn.functional.scaled_dot_product_attention": attention,
})  # fmt: skip
SHARED["nn.functional.binary_cross_entropy"] = Entry(
    loss(ops.binary_cross_entropy), binary_cross_entropy_of_theirs
)
SHARED["nn.functional.triplet_margin_loss"] = Entry(triplet_margin_loss, triplets_of_theirs)
EXPRESSIONS |= entries({
    "nn.functional.glu": lambda x, dim=-1: (
        lambda a, b: a * ops.sigmoid(b)
    )(*ops.split(x, 2, on(x, dim))),
    "nn.functional.smooth_l1_loss": smooth_l1_loss,
    "nn.functional.soft_margin_loss": loss(lambda x, y: ops.mean(ops.softplus(-y * x))),
})  # fmt: skip
