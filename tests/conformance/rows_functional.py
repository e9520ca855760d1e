"""Rows of what ``functional.numpy`` alone has: more of NumPy's own functions."""

import functools

import numpy as np
import scipy.linalg
import table
from table import STEP, apart, away_from_zero, between, distinct, normal

op = functools.partial(table.op, eras=("functional",))
variants = functools.partial(table.variants, eras=("functional",))

INTEGERS = "it takes integers or truth values"
INDEX = "it is an index: it does not change when x changes a little"

# --- elementwise -----------------------------------------------------------------

for name, own in {"abs": "absolute", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
                  "asinh": "arcsinh", "atanh": "arctanh"}.items():  # fmt: skip
    op(name, lambda rng: [rng.uniform(0.2, 0.8, 5) * [1, -1, 1, -1, 1]], getattr(np, own))
op("acosh", between(1.3, 3, (3, 4)), np.arccosh)
op("atan2", away_from_zero((3, 1), (4,)), np.arctan2)
op("pow", between(0.5, 2, (3, 1), (4,)), np.power)
op("true_divide", away_from_zero((3, 4), (4,)))
op("remainder", lambda rng: [np.array([[2.3], [-1.7], [5.3]]), np.array([0.7, -1.3, 2.2, -0.9])])
op("logaddexp2", normal((3, 1), (4,)))
op("copysign", away_from_zero((3, 4), (4,)))
for name in ("degrees", "radians", "conj", "conjugate", "real"):
    op(name, normal((3, 4)))
for part in (0, 1):
    op("divmod", lambda rng: [np.array([[2.3], [-1.7]]), np.array([0.7, -1.3, 2.2])],
       lambda x, y, part=part: np.divmod(x, y)[part],
       lambda ops, x, y, part=part: ops.divmod(x, y)[part], label=str(part))  # fmt: skip
    op("modf", lambda rng: [np.array([2.3, -1.7, 0.4])], lambda x, part=part: np.modf(x)[part],
       lambda ops, x, part=part: ops.modf(x)[part], label=str(part))  # fmt: skip
op("around", normal((3, 4)), no_gradient=STEP)
for name in ("signbit", "isposinf", "isneginf"):
    op(name, normal((3, 4)), no_gradient=STEP)
op("isclose", apart((3, 4), (4,)), no_gradient=STEP)


def whole(name, *others):
    """Add a row for a function of integers, made of floats on the way."""
    op(name, lambda rng: [rng.uniform(0, 30, (2, 3)) for _ in range(1 + len(others))],
       lambda *x: getattr(np, name)(*[each.astype(np.int64) % 5 for each in x]),
       lambda ops, *x: getattr(ops, name)(*[ops.astype(each, np.int64) % 5 for each in x]),
       no_gradient=INTEGERS)  # fmt: skip


for name in ("bitwise_not", "bitwise_invert"):
    whole(name)
for name in ("left_shift", "right_shift", "bitwise_left_shift", "bitwise_right_shift"):
    whole(name, 1)

# --- reductions and scans ----------------------------------------------------------


def gaps(*shape):
    """Some numbers missing, in no row all."""

    def sample(rng):
        x = table.distinct(shape)(rng)[0] / 3
        return [np.where(np.eye(*shape, dtype=bool), np.nan, x)]

    return sample


# At NaN there is nothing to differentiate: without any they are sum, mean and so on.
for name in ("nansum", "nanprod", "nanmean", "nanmin", "nanmax", "nanvar", "nanstd", "nancumsum",
             "nancumprod"):  # fmt: skip
    op(name, gaps(3, 4), lambda x, name=name: getattr(np, name)(x, axis=1),
       lambda ops, x, name=name: getattr(ops, name)(x, axis=1), label="gaps",
       no_gradient="numeric derivatives at NaN are NaN")  # fmt: skip
    op(name, distinct((2, 3)), lambda x, name=name: getattr(np, name)(x, axis=1),
       lambda ops, x, name=name: getattr(ops, name)(x, axis=1), label="whole")  # fmt: skip
for name in ("amax", "amin"):
    variants(name, distinct((2, 3, 4)), {"axis": {"axis": 1}})
for name, q in (("quantile", 0.3), ("percentile", 30)):
    variants(
        name, distinct((2, 5)), {"one": {"q": q, "axis": 1}, "two": {"q": np.array([q, q / 2])}}
    )
variants("average", normal((3, 4)), {"plain": {}, "axis": {"axis": 0}})
op("average", between(0.5, 2, (3, 4), (3, 4)), lambda x, w: np.average(x, weights=w),
   lambda ops, x, w: ops.average(x, weights=w), label="weights")  # fmt: skip
variants("trapezoid", normal((3, 4)), {"steps": {"dx": 0.5}, "axis": {"axis": 0}})
op("ediff1d", normal((2, 3)))
op("allclose", normal((3,), (3,)), no_gradient=STEP)
op("array_equal", normal((3,), (3,)), no_gradient=STEP)

# --- products ------------------------------------------------------------------------

for name in ("convolve", "correlate"):
    variants(name, normal((5,), (3,)), {mode: {"mode": mode} for mode in ("full", "same", "valid")})
op("polyval", normal((4,), (2, 3)))

# --- shapes ------------------------------------------------------------------------

op("atleast_3d", normal((2, 3)))
for name in ("fliplr", "flipud", "rot90"):
    op(name, normal((2, 3)))
variants("rollaxis", normal((2, 3, 4)), {"last": {"axis": 2}, "inner": {"axis": 0, "start": 2}})
op("append", normal((2, 3), (2, 3)))
for name in ("dstack", "column_stack"):
    op(name, normal((3, 2), (3, 2)), lambda *x, name=name: getattr(np, name)(x),
       lambda ops, *x, name=name: getattr(ops, name)(x))  # fmt: skip
op("block", normal((2, 2), (2, 1)), lambda x, y: np.block([[x, y], [y, x]]),
   lambda ops, x, y: ops.block([[x, y], [y, x]]))  # fmt: skip
op("broadcast_arrays", normal((3, 1), (4,)), lambda x, y: np.broadcast_arrays(x, y)[0],
   lambda ops, x, y: ops.broadcast_arrays(x, y)[0])  # fmt: skip
for name in ("hsplit", "vsplit", "dsplit", "array_split"):
    op(name, normal((2, 2, 4)), lambda x, name=name: getattr(np, name)(x, 2)[1],
       lambda ops, x, name=name: getattr(ops, name)(x, 2)[1])  # fmt: skip
for label, given in {"one": (1, 0), "flat": ([2, 5],)}.items():
    op("delete", normal((3, 4)), lambda x, given=given: np.delete(x, *given),
       lambda ops, x, given=given: ops.delete(x, *given), label=label)  # fmt: skip
op("insert", normal((3, 4), ()), lambda x, v: np.insert(x, 1, v, 1),
   lambda ops, x, v: ops.insert(x, 1, v, 1))  # fmt: skip
for label, shape in {"longer": (3, 4), "shorter": (4,)}.items():
    op("resize", normal((2, 3)), lambda x, shape=shape: np.resize(x, shape),
       lambda ops, x, shape=shape: ops.resize(x, shape), label=label)  # fmt: skip
op("diagflat", normal((2, 2)))

# --- choosing and looking up ---------------------------------------------------------

CHOICE = np.array([[0, 1, 1], [1, 0, 1]])
op("choose", normal((2, 3), (3,)), lambda x, y: np.choose(CHOICE, [x, y]),
   lambda ops, x, y: ops.choose(CHOICE, [x, y]))  # fmt: skip
op("select", away_from_zero((3, 4), (4,)), lambda x, y: np.select([x > 1, x > 0], [x, x * y], 0.5),
   lambda ops, x, y: ops.select([x > 1, x > 0], [x, x * y], 0.5))  # fmt: skip
op("piecewise", away_from_zero((3, 4)),
   lambda x: np.piecewise(x, [x > 0], [lambda x: x * x, lambda x: -x]),
   lambda ops, x: ops.piecewise(x, [x > 0], [lambda x: x * x, lambda x: -x]))  # fmt: skip
op("interp", lambda rng: [np.array([0.3, 1.2, 2.9]), rng.standard_normal(4)],
   lambda x, y: np.interp(x, np.arange(4.0), y).astype(x.dtype),
   lambda ops, x, y: ops.interp(x, np.arange(4).astype(x.dtype), y))  # fmt: skip
op("flatnonzero", normal((3, 4)), lambda x: np.flatnonzero(x > 0),
   lambda ops, x: ops.flatnonzero(x > 0), no_gradient=INDEX)  # fmt: skip
op("unique", normal((6,)), lambda x: np.unique(np.floor(x)),
   lambda ops, x: ops.unique(ops.floor(x)), no_gradient=STEP)  # fmt: skip
op("digitize", normal((6,)), lambda x: np.digitize(x, [-1.0, 0.0, 1.0]),
   lambda ops, x: ops.digitize(x, np.array([-1.0, 0.0, 1.0], x.dtype)), no_gradient=INDEX)  # fmt: skip

# --- linear algebra ------------------------------------------------------------------


def regular(x):
    return x + 3 * np.eye(x.shape[-1], dtype=x.dtype)


for part in (0, 1):
    op("qr", normal((4, 3)), lambda x, part=part: np.linalg.qr(x)[part],
       lambda ops, x, part=part: ops.qr(x)[part], label="qr"[part])  # fmt: skip
op("solve_triangular", normal((3, 3), (3, 2)),
   lambda a, b: scipy.linalg.solve_triangular(regular(a), b, lower=True),
   lambda ops, a, b: ops.solve_triangular(regular(a), b, lower=True))  # fmt: skip
op("cho_solve", normal((3, 3), (3,)), lambda a, b: scipy.linalg.cho_solve((regular(a), True), b),
   lambda ops, a, b: ops.cho_solve((regular(a), True), b))  # fmt: skip
op("lstsq", normal((4, 2), (4,)), lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0],
   lambda ops, a, b: ops.lstsq(a, b)[0])  # fmt: skip
op("multi_dot", normal((2, 3), (3, 4), (4, 2)), lambda *x: np.linalg.multi_dot(x),
   lambda ops, *x: ops.multi_dot(x))  # fmt: skip
op("expm", normal((3, 3)), scipy.linalg.expm)
op("cond", normal((3, 3)), lambda x: np.linalg.cond(regular(x)),
   lambda ops, x: ops.cond(regular(x)))  # fmt: skip
op("matrix_rank", normal((3, 4)), np.linalg.matrix_rank, no_gradient=STEP)
