"""Rows of sizes that are no multiple of a vector's length, of one, and of none.

Compiled loops run over four, eight or sixteen elements at a time: 17 and 33 leave one over,
5 and 3 never fill a vector, 65 leaves one over after the loops are unrolled.
"""

import numpy as np
import scipy.special
from table import AXES, apart, distinct, normal, op, reference_conv2d, variants

for name in ("add", "multiply"):
    op(name, normal((33,), (33,)), label="prime")
    op(name, normal((17, 1), (1, 33)), label="prime-broadcast")
    op(name, normal((1, 1), (1,)), label="ones")
    op(name, normal((2, 0), (1, 1)), label="empty-broadcast")
op("subtract", normal((5, 1, 33), (17, 1)), label="three-axes")
op("maximum", apart((17,), (3, 1, 17)), label="prime")
for name in ("exp", "tanh", "sin"):
    op(name, normal((65,)), label="prime")
    op(name, normal((1, 1)), label="ones")
    op(name, normal((0,)), label="empty")
op("sigmoid", normal((3, 17)), scipy.special.expit, label="prime")

for shape, label in (((65,), "prime"), ((1, 1), "ones"), ((), "zero-dimensional")):
    for name in ("sum", "mean"):
        op(name, normal(shape), label=label)
    for name in ("max", "min"):
        op(name, distinct(shape), label=label)
    op("logsumexp", normal(shape), scipy.special.logsumexp, label=label)
for label in ("all", "axis", "keepdims"):
    variants("sum", normal((17, 33)), {f"prime-{label}": AXES[label]})
    variants("max", distinct((17, 33)), {f"prime-{label}": AXES[label]})
variants("sum", normal((3, 17, 5)), {"prime-axes": {"axis": (0, 2)}})
variants("mean", normal((3, 1, 17)), {"one-axis": {"axis": 1}, "prime": {"axis": (0, 1)}})
variants("sum", normal((0, 17)), {"of-none": {"axis": 0}, "none": {"axis": 1}})
variants("max", normal((0, 17)), {"none": {"axis": 1}})
for name in ("var", "std"):
    variants(name, normal((5, 17)), {"prime": {"axis": 1}})
for name in ("cumsum", "cumprod"):
    variants(name, normal((3, 17)), {"prime": {"axis": 1}, "prime-columns": {"axis": 0}})
for axis in (0, 1):
    op("argmax", distinct((17, 33)), lambda x, axis=axis: x.argmax(axis),
       lambda ops, x, axis=axis: ops.argmax(x, axis), label=f"prime-{axis}",
       no_gradient="it is an index")  # fmt: skip

for label, shapes in {
    "prime": ((17, 33), (33, 5)),
    "row-by-column": ((1, 17), (17, 1)),
    "column-by-row": ((17, 1), (1, 5)),
    "ones": ((1, 1), (1, 1)),
    "of-none": ((3, 0), (0, 5)),
    "none": ((0, 4), (4, 3)),
    "prime-batch": ((3, 5, 17), (3, 17, 7)),
    "one-of-a-batch": ((1, 3, 4), (5, 4, 2)),
    "prime-vector": ((33,), (33,)),
}.items():
    op("matmul", normal(*shapes), label=label)

for name in ("softmax", "log_softmax"):
    reference = getattr(scipy.special, name)
    for label, shape, axis in (("prime", (5, 33), -1), ("prime-columns", (17, 5), 0),
                               ("one-column", (5, 1), -1), ("none", (0, 4), -1)):  # fmt: skip
        op(name, normal(shape), lambda x, axis=axis, reference=reference: reference(x, axis=axis),
           lambda ops, x, axis=axis, name=name: getattr(ops, name)(x, axis=axis),
           label=label)  # fmt: skip

op("transpose", normal((17, 33)), label="prime")
op("transpose", normal((0, 3)), label="empty")
op("broadcast_to", normal(()), lambda x: np.broadcast_to(x, (3, 5)),
   lambda ops, x: ops.broadcast_to(x, (3, 5)), label="zero-dimensional")  # fmt: skip
op("reshape", normal((0, 3)), lambda x: x.reshape(5, 0), lambda ops, x: ops.reshape(x, (5, 0)),
   label="empty")  # fmt: skip
op("concatenate", normal((3, 17), (3, 0), (3, 1)), lambda *x: np.concatenate(x, 1),
   lambda ops, *x: ops.concatenate(x, 1), label="prime")  # fmt: skip
op("getitem", normal((17, 5)), lambda x: x[1:1], lambda ops, x: x[1:1], label="none")
op("getitem", normal((17, 5)), lambda x: x[-1:0:-3, ::2], lambda ops, x: x[-1:0:-3, ::2],
   label="prime")  # fmt: skip
variants("conv2d", normal((1, 1, 7, 11), (5, 1, 3, 1)), {"prime": {}}, reference_conv2d)
variants("conv2d", normal((0, 2, 4, 4), (3, 2, 2, 2)), {"no-image": {}},
         lambda x, w: np.zeros((0, 3, 3, 3), x.dtype))  # fmt: skip
