"""Rows of products, convolution, pooling, normalisations and linear algebra."""

import numpy as np
import scipy.signal
from table import distinct, normal, op, reference_pool, variants

# functional.numpy has NumPy's functions and plain images; layers build on them.
OLDER = {"eras": ("symbolic", "dynamic")}
EAGER = {"eras": ("dynamic", "functional")}


# --- products ---------------------------------------------------------------------

EINSUMS = {
    "product": ("ij,jk->ik", (2, 3), (3, 4)),
    "implicit": ("kj,ik", (3, 2), (2, 3)),
    "batch": ("bij,bkj->bik", (2, 3, 4), (2, 2, 4)),
    "three": ("ab,cb,d->cda", (2, 3), (4, 3), (2,)),
    "summed-alone": ("ij,k->j", (2, 3), (4,)),
    "ellipsis": ("...ij,...j->...i", (2, 1, 3, 4), (3, 4)),
    "diagonal": ("iij->ji", (3, 3, 2)),
    "trace-and-vector": ("ii,i->", (3, 3), (3,)),
    "broadcast": ("ij,ij->i", (3, 1), (3, 4)),
    "axis-of-one": ("ij,jk->ik", (1, 1), (1, 3)),
    "zero-dimensional": (",i->i", (), (3,)),
    "empty": ("ij,jk->ik", (2, 0), (0, 3)),
}
for label, (subscripts, *shapes) in EINSUMS.items():
    op(
        "einsum",
        normal(*shapes),
        lambda *x, subscripts=subscripts: np.einsum(subscripts, *x),
        lambda ops, *x, subscripts=subscripts: ops.einsum(subscripts, *x),
        label=label,
    )
variants(
    "tensordot",
    normal((2, 3, 4), (4, 3, 2)),
    {
        "one": {"axes": 1},
        "pairs": {"axes": ((1, -1), (1, 0))},
        "none": {"axes": 0},
    },
)
op("dot", normal((2, 3), (3,)))
op("dot", normal((2, 3), (2, 3, 2)), label="many-axes")
op("dot", normal((), (2, 3)), label="zero-dimensional")
op("inner", normal((2, 3), (2, 2, 3)))
op("inner", normal((3,), (3,)), label="vectors")
op("vdot", normal((2, 3), (2, 3)))
op("kron", normal((2, 1), (2, 3, 2)), **EAGER)
op("cross", normal((2, 1, 3), (4, 3)), **EAGER)
variants("cross", normal((3, 2), (3, 2)), {"axis": {"axis": 0}}, **EAGER)

# --- convolution: the loops of the definition, over windows and groups --------------


def _places(counts, size, strides, dilations):
    """Yield each window's number, and where its pixels are."""
    for k in np.ndindex(*counts):
        yield (
            k,
            tuple(
                slice(i * s, i * s + d * (n - 1) + 1, d)
                for i, n, s, d in zip(k, size, strides, dilations, strict=True)
            ),
        )


def reference_conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    n = x.ndim - 2
    strides, pads, dilations = (
        v if isinstance(v, tuple) else (v,) * n for v in (stride, padding, dilation)
    )
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pads)])
    counts = [
        (m - d * (k - 1) - 1) // s + 1
        for m, k, s, d in zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
    ]
    y = np.zeros((len(x), len(w), *counts), x.dtype)
    c, f = w.shape[1], len(w) // groups
    for k, where in _places(counts, w.shape[2:], strides, dilations):
        for each in range(len(w)):
            first = each // f * c
            window = x[(slice(None), slice(first, first + c), *where)]
            y[(slice(None), each, *k)] = (window * w[each]).sum(axis=tuple(range(1, n + 2)))
    return y if b is None else y + b.reshape(-1, *(1,) * n)


def reference_transposed(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, output_padding=0):
    n = x.ndim - 2
    strides, pads, dilations, more = (
        v if isinstance(v, tuple) else (v,) * n for v in (stride, padding, dilation, output_padding)
    )
    lengths = [
        (m - 1) * s + d * (k - 1) + 1 + e
        for m, k, s, d, e in zip(x.shape[2:], w.shape[2:], strides, dilations, more, strict=True)
    ]
    y = np.zeros((len(x), w.shape[1] * groups, *lengths), x.dtype)
    c, f = w.shape[1], len(w) // groups
    for k, where in _places(x.shape[2:], w.shape[2:], strides, dilations):
        for each in range(len(w)):
            first = each // f * c
            pixel = x[(slice(None), each, *k)].reshape(-1, *(1,) * (n + 1))
            y[(slice(None), slice(first, first + c), *where)] += pixel * w[each]
    y = y[(..., *(slice(p, m - p) for p, m in zip(pads, lengths, strict=True)))]
    return y if b is None else y + b.reshape(-1, *(1,) * n)


ALL = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
LINE = {"stride": 2, "padding": 1, "dilation": 2}
variants(
    "conv2d", normal((2, 4, 4, 4), (2, 2, 3, 2), (2,)), {"groups": ALL}, reference_conv, **OLDER
)
variants("conv2d", normal((1, 2, 3, 3), (2, 2, 1, 1)), {"axes-of-one": {}}, reference_conv)
variants("conv2d", normal((0, 2, 3, 3), (2, 2, 2, 2), (2,)), {"empty": {}}, reference_conv)
op("conv1d", normal((1, 1, 7), (1, 1, 3)), lambda x, w:
   scipy.signal.correlate(x[0, 0], w[0, 0], "valid")[None, None], **OLDER)  # fmt: skip
variants("conv1d", normal((2, 2, 6), (3, 2, 2), (3,)), {"all": LINE}, reference_conv, **OLDER)
op("conv_transpose1d", normal((1, 1, 4), (1, 1, 3)), lambda x, w:
   scipy.signal.convolve(x[0, 0], w[0, 0])[None, None], **OLDER)  # fmt: skip
variants("conv_transpose1d", normal((2, 3, 3), (3, 2, 2), (2,)),
         {"all": LINE | {"output_padding": 1}}, reference_transposed, **OLDER)  # fmt: skip
variants("conv_transpose2d", normal((1, 2, 3, 2), (2, 2, 2, 3), (4,)),
         {"groups": ALL | {"output_padding": (1, 0)}}, reference_transposed, **OLDER)  # fmt: skip


# --- pooling ----------------------------------------------------------------------


def reference_line(reduce):
    def pool(x, size, stride=None, padding=0):
        stride = stride or size
        edge = -np.inf if reduce is np.max else 0
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=edge)
        starts = range(0, x.shape[2] - size + 1, stride)
        return np.stack([reduce(x[:, :, i : i + size], axis=2) for i in starts], -1)

    return pool


def reference_padded_pool(x, size, stride, padding):
    ph, pw = padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    return reference_pool(np.max)(x, size, stride)


LINES = {"tiles": {"size": 2}, "overlap": {"size": 3, "stride": 2, "padding": 1}}
variants("max_pool1d", distinct((2, 2, 7)), LINES, reference_line(np.max), **OLDER)
variants("avg_pool1d", normal((2, 2, 7)), LINES, reference_line(np.mean), **OLDER)
variants("max_pool2d", distinct((2, 2, 4, 4)),
         {"padding": {"size": 3, "stride": 2, "padding": (1, 0)}},
         reference_padded_pool)  # fmt: skip
op("global_avg_pool", normal((2, 3, 2, 4)), lambda x: x.mean(axis=(2, 3)), **OLDER)

# --- normalisations ---------------------------------------------------------------


def reference_norm(axis, shape=None):
    """Standardise over ``axis`` (of x in ``shape``); scale and shift channels or the last axis."""

    def norm(x, gamma=None, beta=None, eps=1e-5):
        y = x if shape is None else x.reshape(shape)
        y = (y - y.mean(axis, keepdims=True)) / np.sqrt(y.var(axis, keepdims=True) + eps)
        y = y.reshape(x.shape)
        if gamma is not None:
            along = (-1, *(1,) * (x.ndim - 2)) if axis != -1 else (-1,)
            y = y * gamma.reshape(along) + beta.reshape(along)
        return y

    return norm


def reference_evaluation(x, gamma, beta):
    shape = (-1, 1, 1)
    mean, variance = MOMENTS
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)
    return y * gamma.reshape(shape) + beta.reshape(shape)


MOMENTS = np.array([[0.5, -1.0, 0.0], [2.0, 0.5, 1.0]])
op("standardize", normal((3, 4)), reference_norm(1), lambda ops, x: ops.standardize(x, 1), **OLDER)
op("batch_norm", normal((2, 3, 2, 2), (3,), (3,)), reference_norm((0, 2, 3)), **OLDER)
op("batch_norm", normal((4, 3)), reference_norm(0), label="vectors", **OLDER)
op("batch_norm", normal((2, 3, 2, 2), (3,), (3,)), reference_evaluation,
   lambda ops, x, gamma, beta: ops.batch_norm(x, gamma, beta, *MOMENTS.astype(x.dtype)),
   label="evaluation", **OLDER)  # fmt: skip
op("layer_norm", normal((2, 3, 4), (4,), (4,)), reference_norm(-1), **OLDER)
variants("layer_norm", normal((2, 3, 4)), {"axes": {"axis": (1, 2)}},
         lambda x, axis: reference_norm(axis)(x), **OLDER)  # fmt: skip
op("group_norm", normal((2, 4, 3), (4,), (4,)), reference_norm(2, (2, 2, 6)),
   lambda ops, x, gamma, beta: ops.group_norm(x, 2, gamma, beta), **OLDER)  # fmt: skip
op("instance_norm", normal((2, 3, 2, 2), (3,), (3,)), reference_norm((2, 3)), **OLDER)
op("rms_norm", normal((3, 4), (4,)),
   lambda x, gamma: gamma * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6), **OLDER)  # fmt: skip
op("normalize", normal((3, 4)), lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True), **OLDER)

# --- linear algebra: inputs are made well conditioned, or symmetric, on the way --------


def transposed(x):
    return x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def regular(x):
    """Return a matrix far from singular."""
    return x + 3 * np.eye(x.shape[-1], dtype=x.dtype)


def symmetric(x):
    return x + transposed(x)


def definite(x):
    return x @ transposed(x) + np.eye(x.shape[-1], dtype=x.dtype)


def through(make, name):
    """Return ``name`` of NumPy and of an era, both on what ``make`` makes of the first input."""
    return (
        lambda x, *others: getattr(np.linalg, name)(make(x), *others),
        lambda ops, x, *others: getattr(ops, name)(make(x), *others),
    )


SOLVES = {
    "matrix": ((3, 3), (3, 2)),
    "vector": ((3, 3), (3,)),
    "broadcast": ((2, 1, 2, 2), (3, 2, 2)),
    "vector-for-batch": ((2, 3, 3), (3,)),
    "one": ((1, 1), (1, 1)),
}
for label, shapes in SOLVES.items():
    op("solve", normal(*shapes), *through(regular, "solve"), label=label)
for name in ("inv", "det"):
    op(name, normal((3, 3)), *through(regular, name))
    op(name, normal((2, 2, 2)), *through(regular, name), label="batch")
op("slogdet", normal((2, 3, 3)), lambda x: np.linalg.slogdet(-regular(x))[1],
   lambda ops, x: ops.slogdet(-regular(x))[1], **EAGER)  # fmt: skip
op("cholesky", normal((2, 3, 3)), *through(definite, "cholesky"))
for shape in ((3, 2), (2, 3)):
    op("pinv", normal(shape), np.linalg.pinv, label="x".join(map(str, shape)), **EAGER)
variants("matrix_power", lambda rng: [0.3 * rng.standard_normal((3, 3)) + np.eye(3)],
         {"zero": {"n": 0}, "five": {"n": 5}, "inverse": {"n": -2}},
         np.linalg.matrix_power)  # fmt: skip
op("eigvalsh", normal((2, 3, 3)), *through(symmetric, "eigvalsh"), **EAGER)


def spectrum(x, eigh, exp):
    """Every entry depends on eigenvectors, and none on their signs."""
    w, v = eigh(symmetric(x))
    return (v * exp(-0.5 * w)) @ v.T + v[:, :2] @ v[:, :2].T


def pieces(x, svd):
    """Likewise of singular vectors: both, the left and the right."""
    u, s, vt = svd(x)
    return (u[:, :1] @ vt[:1]) * s[0], u[:, :1] @ u[:, :1].T, vt[:1].T @ vt[:1]


def thin(x):
    return np.linalg.svd(x, full_matrices=False)


op("eigh", normal((3, 3)), lambda x: spectrum(x, np.linalg.eigh, np.exp),
   lambda ops, x: spectrum(x, ops.eigh, ops.exp), **EAGER)  # fmt: skip
op("svdvals", normal((2, 3, 4)), lambda x: np.linalg.svd(x, compute_uv=False), **EAGER)
for shape in ((3, 3), (4, 2), (2, 4)):
    for k, part in enumerate(("both", "left", "right")):
        op("svd", normal(shape), lambda x, k=k: pieces(x, thin)[k],
           lambda ops, x, k=k: pieces(x, ops.svd)[k],
           label=f"{part}-{'x'.join(map(str, shape))}", **EAGER)  # fmt: skip
