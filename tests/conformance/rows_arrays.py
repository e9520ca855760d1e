"""Rows of the array operations of the eras."""

import functools

import numpy as np
import scipy.special
import table
from table import AXES, CONDITION, STEP, away_from_zero, between, distinct, normal

op, variants = table.op, table.variants
# What functional.numpy does not have: NumPy does not have it either.
OLDER = {"eras": ("symbolic", "dynamic")}
TAPED = {"eras": ("dynamic",)}
EAGER = {"eras": ("dynamic", "functional")}  # What a static graph cannot express, or does not have.

DISCRETE = "it takes integers or truth values"
INDEX = "it is an index: it does not change when x changes a little"


def joining(name, sample, reference=None, **options):
    """Add a row for an op whose first argument is a sequence of arrays."""
    reference = reference or getattr(np, name)
    op(name, sample, lambda *x: reference(x, **options),
       lambda ops, *x: getattr(ops, name)(x, **options),
       label="-".join(f"{k}{v}" for k, v in options.items()))  # fmt: skip


# --- elementwise -----------------------------------------------------------------

for name in ("arctan", "sinh", "cosh", "arcsinh", "exp2", "deg2rad", "rad2deg"):
    op(name, normal((3, 4)))
op("sinc", normal((3, 4)), **EAGER)
for name in ("log2", "log10", "reciprocal", "cbrt"):
    op(name, between(0.3, 3, (3, 4)))
for name in ("tan", "arcsin", "arccos", "arctanh"):
    op(name, between(-0.9, 0.9, (3, 4)))
op("arccosh", between(1.3, 3, (3, 4)))
for name in ("erf", "erfc", "ndtr"):
    eras = OLDER if name == "ndtr" else {}
    op(name, between(-5.5, 5.5, (5, 4)), getattr(scipy.special, name), **eras)
    op(name, normal(()), getattr(scipy.special, name), label="zero-dimensional", **eras)
op("logit", between(0.1, 0.9, (3, 4)), scipy.special.logit)
op("xlogy", between(0.3, 3, (3, 1), (4,)), scipy.special.xlogy, **OLDER)
op("sinc", lambda rng: [np.array([0.0, 1e-9, -1e-4, 0.2, 0.31, 0.33, 1.0, 7.3])], label="near-zero",
   **EAGER)  # fmt: skip
op("hypot", normal((3, 1), (4,)))
op("arctan2", away_from_zero((3, 1), (4,)))
op("logaddexp", normal((3, 1), (4,)))
op("logaddexp", normal((0, 3), ()), label="empty")
REMAINDERS = np.array([[2.3], [-1.7], [5.3]]), np.array([0.7, -1.3, 2.2, -0.9])
op("mod", lambda rng: list(REMAINDERS))
op("fmod", lambda rng: list(REMAINDERS))
op("lerp", normal((3, 4), (4,), (3, 1)), lambda x, y, w: x + w * (y - x),
   **OLDER)  # fmt: skip
for label, limits in {"both": (-0.1, 0.2), "low": (0.1, None), "high": (None, -0.1)}.items():
    # The eras have names of their own for the limits.
    op("clip", away_from_zero((3, 4)), lambda x, limits=limits: np.clip(x, *limits),
       lambda ops, x, limits=limits: ops.clip(x, *limits), label=label)  # fmt: skip
op("clip", lambda rng: [rng.permutation(12).reshape(3, 4) * 0.3 + 0.05, np.arange(4) + 0.1, np.array(2.2)],
   label="arrays")  # fmt: skip
variants("nan_to_num", normal((3, 4)), {"finite": {}})
for name in ("floor", "ceil", "trunc", "rint", "isnan", "isfinite", "isinf"):
    op(name, normal((3, 4)), no_gradient=STEP)
variants("round", normal((3, 4)), {"ones": {}, "tenths": {"decimals": 1}}, no_gradient=STEP)
for name in ("floor_divide", "heaviside"):
    op(name, table.apart((3, 4), (4,)), no_gradient=STEP)
for name in ("logical_and", "logical_or", "logical_xor"):
    op(name, table.apart((3, 4), (4,)), no_gradient=DISCRETE)
op("logical_not", normal((3, 4)), no_gradient=DISCRETE)
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    op(name, normal((3, 4), (4,)), lambda x, y, name=name: getattr(np, name)(x > 0, y > 0),
       lambda ops, x, y, name=name: getattr(ops, name)(x > 0, y > 0), no_gradient=DISCRETE)  # fmt: skip
op("invert", normal((3, 4)), lambda x: ~(x > 0), lambda ops, x: ~(x > 0), no_gradient=DISCRETE)

# --- activations -----------------------------------------------------------------

sigmoid, softplus = scipy.special.expit, functools.partial(np.logaddexp, 0)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def tanh_gelu(x, approximate):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


op("softplus", normal((3, 4)), softplus, label="plain")
variants("softplus", normal((3, 4)), {"sharp": {"beta": 3.0}},
         lambda x, beta: softplus(beta * x) / beta, **OLDER)  # fmt: skip
variants("leaky_relu", away_from_zero((3, 4)), {"plain": {}, "steep": {"slope": 0.2}},
         lambda x, slope=0.01: np.where(x > 0, x, slope * x))  # fmt: skip
variants("elu", away_from_zero((3, 4)), {"plain": {}, "deep": {"alpha": 1.7}}, elu)
variants("celu", away_from_zero((3, 4)), {"plain": {}, "deep": {"alpha": 1.7}},
         lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
         **OLDER)  # fmt: skip
op("selu", away_from_zero((3, 4)), lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
   **OLDER)  # fmt: skip
op("gelu", between(-6, 6, (3, 4)), lambda x: x * scipy.special.ndtr(x))
variants("gelu", normal((3, 4)), {"tanh": {"approximate": True}}, tanh_gelu)
op("silu", normal((3, 4)), lambda x: x * sigmoid(x))
op("mish", normal((3, 4)), lambda x: x * np.tanh(softplus(x)), **OLDER)
op("log_sigmoid", normal((3, 4)), scipy.special.log_expit)
op("softsign", away_from_zero((3, 4)), lambda x: x / (1 + abs(x)), **OLDER)
op("relu6", lambda rng: [rng.permutation(12) * 0.9 - 2.2], lambda x: np.clip(x, 0, 6),
   **OLDER)  # fmt: skip
variants("hard_tanh", lambda rng: [rng.permutation(12) * 0.3 - 1.85],
         {"plain": {}, "narrow": {"low": -0.2, "high": 0.3}},
         lambda x, low=-1, high=1: np.clip(x, low, high), **OLDER)  # fmt: skip
op("hard_sigmoid", lambda rng: [rng.permutation(12) * 0.7 - 4.1],
   lambda x: np.clip(x + 3, 0, 6) / 6, **OLDER)  # fmt: skip
op("hard_swish", lambda rng: [rng.permutation(12) * 0.7 - 4.1],
   lambda x: x * np.clip(x + 3, 0, 6) / 6, **OLDER)  # fmt: skip

# --- reductions and scans ------------------------------------------------------------


def with_zeros(*shape):
    """No, one and two zeros in the rows, where dividing by an element would fail."""

    def sample(rng):
        x = rng.uniform(0.5, 1.5, shape)
        x[0, 1] = x[1, 0] = x[1, 2] = 0
        return [x]

    return sample


def logcumsumexp(x, axis=None):
    return np.logaddexp.accumulate(x.reshape(-1) if axis is None else x, axis or 0)


variants("prod", normal((2, 3, 4)), AXES)
variants("prod", with_zeros(3, 4), {"zeros": {"axis": 1}})
op("prod", lambda rng: [np.zeros((0, 3))], lambda x: np.prod(x, 0), lambda ops, x: ops.prod(x, 0),
   label="empty")  # fmt: skip
variants("var", normal((2, 3, 4)), AXES | {"ddof": {"axis": 1, "ddof": 1}})
variants("std", normal((2, 3, 4)), {"all": {}, "ddof": {"axis": (0, 1), "ddof": 1}})
variants("ptp", distinct((2, 3, 4)), {"all": {}, "axis": {"axis": 1}})
variants("median", distinct((3, 4, 3)), {"all": {}, "odd": {"axis": 0, "keepdims": True},
         "axes": {"axis": (0, 1)}})  # fmt: skip
for label, options in {"length": {}, "frobenius": {"ord": "fro"}, "one": {"ord": 1},
                       "minus-one": {"ord": -1}, "rows": {"ord": np.inf},
                       "least-row": {"ord": -np.inf, "keepdims": True}}.items():  # fmt: skip
    variants("norm", away_from_zero((3, 4)), {label: options}, np.linalg.norm)
for order in (1, 2, 3, 0.5, -1, np.inf, -np.inf, 0):
    variants("norm", lambda rng: [np.array([[0.3, -1.2], [2.0, -0.7]])],
             {f"vectors-{order}": {"ord": order, "axis": 1}}, np.linalg.norm)  # fmt: skip
variants("norm", normal((2, 2, 3)), {"pair": {"axis": (0, 2)}}, np.linalg.norm)
for name, sample in (("cumsum", normal), ("cumprod", normal)):
    variants(name, sample((2, 5)), {"flat": {}, "rows": {"axis": 1}, "columns": {"axis": -2}})
    variants(name, sample((3, 0)), {"empty": {"axis": 1}})
variants("cumprod", with_zeros(3, 4), {"zeros": {"axis": 1}})
variants("logcumsumexp", normal((2, 5)), {"flat": {}, "rows": {"axis": 1}}, logcumsumexp,
         **TAPED)  # fmt: skip
variants("cummax", distinct((2, 5)), {"rows": {"axis": 1}}, np.maximum.accumulate, **TAPED)
variants("cummin", distinct((2, 5)), {"columns": {"axis": 0}}, np.minimum.accumulate,
         **TAPED)  # fmt: skip
variants("diff", normal((3, 4)), {"last": {}, "twice": {"n": 2, "axis": 0}})
variants("trace", normal((3, 4)), {"main": {}, "above": {"offset": 2}})
variants("softmin", normal((3, 4)), {"rows": {}}, lambda x: scipy.special.softmax(-x, axis=-1),
         **OLDER)  # fmt: skip
variants("argmin", distinct((3, 4)), {"flat": {}, "rows": {"axis": 1}}, no_gradient=INDEX)
for name in ("all", "any", "count_nonzero"):
    variants(name, lambda rng: [rng.integers(0, 2, (3, 4))], {"flat": {}, "axis": {"axis": 1}},
             no_gradient=STEP)  # fmt: skip

# --- shapes ------------------------------------------------------------------------

for axis in (0, 1, -1):
    joining("stack", normal((3, 4), (3, 4)), axis=axis)
joining("stack", normal((), ()), axis=0)
joining("concatenate", normal((3, 4), (2,)), axis=None)
for name in ("hstack", "vstack"):
    joining(name, normal((2, 3), (2, 3)))
    op(name, normal((3,), (3,)), lambda *x, name=name: getattr(np, name)(x),
       lambda ops, *x, name=name: getattr(ops, name)(x), label="vectors")  # fmt: skip
for label, sections in {"equal": 2, "cuts": [1, 3]}.items():
    op("split", normal((2, 4)), lambda x, s=sections: np.split(x, s, -1)[1],
       lambda ops, x, s=sections: ops.split(x, s, -1)[1], label=label)  # fmt: skip
variants("swapaxes", normal((2, 3, 4)), {"ends": {"axis1": 0, "axis2": -1}})
variants("moveaxis", normal((2, 3, 4)), {"one": {"source": 0, "destination": -1},
         "two": {"source": (2, 0), "destination": (0, 1)}})  # fmt: skip
op("ravel", normal((2, 3)))
variants("flatten", normal((2, 3, 4)), {"all": {}, "batch": {"start": 1}},
         lambda x, start=0: x.reshape((*x.shape[:start], -1)), **OLDER)  # fmt: skip
op("atleast_1d", normal(()))
op("atleast_2d", normal((3,)))
variants("flip", normal((2, 3)), {"all": {}, "one": {"axis": -1}, "two": {"axis": (0, 1)}})
variants("roll", normal((3, 4)), {"flat": {"shift": 5}, "axis": {"shift": -1, "axis": 1},
         "two": {"shift": (1, 2), "axis": (0, 1)}})  # fmt: skip
variants("repeat", normal((2, 3)), {"flat": {"repeats": 2}, "axis": {"repeats": 2, "axis": -1},
         "each": {"repeats": [0, 3], "axis": 0}})  # fmt: skip
variants("tile", normal((2, 3)), {"number": {"reps": 2}, "longer": {"reps": (2, 1, 3)},
         "shorter": {"reps": (2,)}, "none": {"reps": (0, 2)}})  # fmt: skip
for label, indexing in {"across": "xy", "in-order": "ij"}.items():
    op("meshgrid", normal((2,), (3,), (4,)),
       lambda *x, i=indexing: np.stack(np.meshgrid(*x, indexing=i)),
       lambda ops, *x, i=indexing: ops.stack(ops.meshgrid(*x, indexing=i)), label=label)  # fmt: skip
op("outer", normal((2, 2), (3,)))
PADS = {
    "constant": {"pad_width": ((1, 0), (2, 3)), "constant_values": 0.5},
    "edge": {"pad_width": 2, "mode": "edge"},
    "reflect": {"pad_width": (4, 1), "mode": "reflect"},
    "symmetric": {"pad_width": ((0, 0), (2, 1)), "mode": "symmetric"},
    "wrap": {"pad_width": ((0, 1), (5, 0)), "mode": "wrap"},
}
variants("pad", normal((3, 4)), PADS)
for name in ("tril", "triu"):
    variants(name, normal((2, 3, 4)), {"main": {}, "below": {"k": -1}, "above": {"k": 2}})
for k in (0, 1, -2, 5):
    variants("diag", normal((3,)), {f"vector{k}": {"k": k}})
    variants("diag", normal((3, 4)), {f"matrix{k}": {"k": k}})
    variants("diagonal", normal((2, 3, 4)), {f"{k}": {"offset": k, "axis1": 2, "axis2": 0}})

# --- indexing and sorting ------------------------------------------------------------

ROWS = np.array([[2, 0, -1], [1, 1, 2]])
MASK = CONDITION.any(axis=0)
INDICES = {
    "mask": CONDITION, "mask-of-rows": np.array([True, False, True]),
    "columns": np.s_[:, [3, 0, 0]], "mixed": np.s_[[0, 2], 1:, None],
    "table": ROWS, "mask-and-int": np.s_[1, MASK], "negative": [-1, -1],
    "far-apart": np.s_[[0, 1], None, [2, 2]], "empty": [], "ellipsis": np.s_[..., ::-2],
    "broadcast": np.ix_([0, 2, 2], [1, 3]), "unsigned": np.array([2, 2], np.uint8),
}  # fmt: skip
for label, index in INDICES.items():
    op("getitem", normal((3, 4)), lambda x, index=index: x[index],
       lambda ops, x, index=index: x[index], label=label,
       **(EAGER if "mask" in label else {}))  # fmt: skip


def added(x, v, index=(ROWS,)):
    y = x.copy()
    np.add.at(y, index, v)
    return y


def updated(x, v, index=CONDITION):
    y = x.copy()
    y[index] = v
    return y


def along(function):
    """Return NumPy's in-place function as one that returns the changed copy."""

    def changed(x, v):
        y = x.copy()
        function(y, v)
        return y

    return changed


variants("take", normal((3, 4)), {"flat": {"indices": ROWS}, "rows": {"indices": ROWS, "axis": 0},
         "columns": {"indices": ROWS, "axis": -1}, "one": {"indices": 1, "axis": 1},
         "none": {"indices": np.array([], int), "axis": 1}})  # fmt: skip
op("compress", normal((3, 4)), lambda x: np.compress(MASK, x, 1),
   lambda ops, x: ops.compress(MASK, x, 1), **EAGER)  # fmt: skip
op("index_add", normal((3, 4), (4,)), added, lambda ops, x, v: ops.index_add(x, ROWS, v),
   **OLDER)  # fmt: skip
op("index_update", normal((3, 4), (1,)), updated,
   lambda ops, x, v: ops.index_update(x, CONDITION, v), **TAPED)  # fmt: skip
op("masked_fill", normal((3, 4)), lambda x: np.where(CONDITION, x.dtype.type(0.3), x),
   lambda ops, x: ops.masked_fill(x, CONDITION, 0.3), **OLDER)  # fmt: skip
variants("take_along_axis", normal((2, 3)), {"last": {"indices": ROWS, "axis": 1},
         "first": {"indices": np.array([[1, -1, 0]]), "axis": 0},
         "broadcast": {"indices": np.array([[1, 1]]), "axis": -1}})  # fmt: skip
op("put_along_axis", normal((2, 4), (2, 2)),
   along(lambda y, v: np.put_along_axis(y, ROWS[:, 1:], v, 1)),
   lambda ops, x, v: ops.put_along_axis(x, ROWS[:, 1:], v, 1))  # fmt: skip
op("scatter_add", normal((2, 4), (2, 3)),
   along(lambda y, v: np.add.at(y, (np.array([[0], [1]]), ROWS), v)),
   lambda ops, x, v: ops.scatter_add(x, ROWS, v, 1), **OLDER)  # fmt: skip
op("argwhere", normal((3, 4)), lambda x: np.argwhere(x > 0),
   lambda ops, x: ops.argwhere(x > 0), no_gradient=INDEX, **EAGER)  # fmt: skip
op("nonzero", normal((3, 4)), lambda x: np.nonzero(x > 0)[1],
   lambda ops, x: ops.nonzero(x > 0)[1], no_gradient=INDEX, **EAGER)  # fmt: skip
variants("sort", distinct((2, 5)), {"last": {}, "first": {"axis": 0}, "flat": {"axis": None}})
variants("argsort", distinct((2, 5)), {"last": {}, "flat": {"axis": None}}, no_gradient=INDEX)
op("topk", distinct((5, 2)), lambda x: -np.sort(-x, 0)[:3], lambda ops, x: ops.topk(x, 3, 0)[0],
   **OLDER)  # fmt: skip
op("searchsorted", lambda rng: [np.arange(4.0), rng.uniform(0, 4, (2, 3))], no_gradient=INDEX,
   **EAGER)  # fmt: skip
