"""Rows of what a static graph needs beyond the other eras: sizes and indices as expressions."""

import functools

import numpy as np
import table
from rows_arrays import DISCRETE, ROWS, added, softplus, updated
from table import away_from_zero, normal

op = functools.partial(table.op, eras=("symbolic",))
variants = functools.partial(table.variants, eras=("symbolic",))

FILLED = "it is constant: only its size depends on x"

# --- creation: sizes that the input decides ------------------------------------------


def sized(name, reference, call, label=""):
    """Add a row for an op that makes an array of the size of the input's first axis."""
    op(name, normal((5, 2)), lambda x: reference(x, len(x)),
       lambda ops, x: call(ops, x, ops.shape_of(x)[0]), label=label, no_gradient=FILLED)  # fmt: skip


sized("arange", lambda x, n: np.arange(n), lambda ops, x, n: ops.arange(n))
sized("arange", lambda x, n: np.arange(n, -4, -2, x.dtype),
      lambda ops, x, n: ops.arange(n, -4, -2, x.dtype), "down")  # fmt: skip
sized("arange", lambda x, n: np.arange(n, 3), lambda ops, x, n: ops.arange(n, 3), "empty")
for name in ("zeros", "ones"):
    sized(name, lambda x, n, name=name: getattr(np, name)((n, 3), x.dtype),
          lambda ops, x, n, name=name: getattr(ops, name)((n, 3), x.dtype))  # fmt: skip
    op(f"{name}_like", normal((2, 0, 3)), no_gradient=FILLED, label="empty")
    op(f"{name}_like", normal((3, 2)), no_gradient=FILLED)
op("full", normal(()), lambda x: np.full((2, 3), x), lambda ops, x: ops.full((2, 3), x))
sized("eye", lambda x, n: np.eye(n, n + 2, -1, x.dtype),
      lambda ops, x, n: ops.eye(n, n + 2, -1, x.dtype))  # fmt: skip
sized("one_hot", lambda x, n: np.eye(n, dtype=x.dtype)[ROWS],
      lambda ops, x, n: ops.one_hot(ROWS % 5, n, x.dtype))  # fmt: skip
op("cast", normal((3, 4)), lambda x: x.astype(np.int8), lambda ops, x: ops.cast(x, np.int8),
   label="truncated", no_gradient=DISCRETE)  # fmt: skip
op("cast", normal((3, 4)), lambda x: x, lambda ops, x: ops.cast(ops.cast(x, float), x.dtype),
   label="there-and-back")  # fmt: skip

# --- indexing that changes a part ----------------------------------------------------

PARTS = {
    "row": (1, (4,)),
    "block": (np.s_[1:, ::-2], (2, 2)),
    "broadcast": (np.s_[:, 1:3], ()),
    "pairs": (([0, 2, 1], [3, 0, 0]), (3,)),
    "nothing": (np.s_[3:], (0, 4)),
}
for label, (index, shape) in PARTS.items():
    op("set_subtensor", normal((3, 4), shape),
       lambda x, v, index=index: updated(x, v, index),
       lambda ops, x, v, index=index: ops.set_subtensor(x[index], v), label=label)  # fmt: skip
    op("inc_subtensor", normal((3, 4), shape),
       lambda x, v, index=index: added(x, v, index),
       lambda ops, x, v, index=index: ops.inc_subtensor(x[index], v), label=label)  # fmt: skip
op("inc_subtensor", normal((3, 4), (2, 3, 4)), lambda x, v: added(x, v, ROWS),
   lambda ops, x, v: ops.inc_subtensor(x[ROWS], v), label="repeated")  # fmt: skip
op("index_update", normal((3, 4), (4,)), lambda x, v: updated(x, v, np.s_[::2]),
   lambda ops, x, v: ops.index_update(x, np.s_[::2], v))  # fmt: skip

# --- the other name of two ops, and bits that move -------------------------------------

op("log1pexp", normal((3, 4)), softplus)
op("remainder", lambda rng: [rng.uniform(-5, 5, (3, 1)), *away_from_zero((4,))(rng)])
WORDS = np.array([[1, 200, -3], [0, -(2**62), 77]])
for name in ("left_shift", "right_shift"):
    op(name, normal((2, 3)),
       lambda x, name=name: getattr(np, name)(WORDS + np.rint(x).astype(int), [0, 3, 61]),
       lambda ops, x, name=name: getattr(ops, name)(
           WORDS + ops.cast(ops.rint(x), int), np.array([0, 3, 61])),
       no_gradient=DISCRETE)  # fmt: skip
