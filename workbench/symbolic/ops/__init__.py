"""Every op, by NumPy's name where it has one; operators and methods are attached here."""

from __future__ import annotations

import numpy as np

from workbench.symbolic.graph import _NUMPY_OPERATORS, Variable
from workbench.symbolic.ops.elementwise import (
    absolute,
    add,
    cos,
    divide,
    equal,
    exp,
    expm1,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    relu,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from workbench.symbolic.ops.indexing import concatenate, getitem
from workbench.symbolic.ops.linear import matmul, tensordot
from workbench.symbolic.ops.nn import (
    avg_pool2d,
    col2im,
    conv2d,
    im2col,
    log_softmax,
    max_pool2d,
    mean_squared_error,
    softmax,
    softmax_cross_entropy,
)
from workbench.symbolic.ops.reductions import argmax, logsumexp, max, mean, min, sum
from workbench.symbolic.ops.shaping import (
    broadcast_to,
    cast,
    expand_dims,
    ones_like,
    reshape,
    shape_of,
    squeeze,
    transpose,
    zeros_like,
)

__all__ = [
    "absolute", "add", "argmax", "avg_pool2d", "broadcast_to", "cast", "col2im", "concatenate",
    "conv2d", "cos", "divide", "equal", "exp", "expand_dims", "expm1", "getitem", "greater",
    "greater_equal", "im2col", "less", "less_equal", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "max", "max_pool2d", "maximum", "mean", "mean_squared_error", "min", "minimum",
    "multiply", "negative", "not_equal", "ones_like", "power", "relu", "reshape", "shape_of",
    "sigmoid", "sign", "sin", "softmax", "softmax_cross_entropy", "sqrt", "square", "squeeze",
    "subtract", "sum", "tanh", "tensordot", "transpose", "where", "zeros_like",
]  # fmt: skip

_BINARY = {
    "add": (add, np.add), "sub": (subtract, np.subtract), "mul": (multiply, np.multiply),
    "truediv": (divide, np.true_divide), "pow": (power, np.power), "matmul": (matmul, np.matmul),
}  # fmt: skip
_COMPARISONS = {
    "gt": (greater, np.greater), "ge": (greater_equal, np.greater_equal),
    "lt": (less, np.less), "le": (less_equal, np.less_equal),
}  # fmt: skip

for _name, (_op, _ufunc) in (_BINARY | _COMPARISONS).items():
    setattr(Variable, f"__{_name}__", lambda self, other, op=_op: op(self, other))
    _NUMPY_OPERATORS[_ufunc] = _op
for _name, (_op, _) in _BINARY.items():
    # The sides are swapped here, once: 1 - t is not t - 1.
    setattr(Variable, f"__r{_name}__", lambda self, other, op=_op: op(other, self))
for _name, _method in {
    "__neg__": negative, "__abs__": absolute, "__getitem__": getitem, "T": property(transpose),
    "sum": sum, "mean": mean, "max": max, "min": min, "argmax": argmax, "reshape": reshape,
    "transpose": transpose, "squeeze": squeeze, "astype": cast,
}.items():  # fmt: skip
    setattr(Variable, _name, _method)
