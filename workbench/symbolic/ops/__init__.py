"""Every op, by NumPy's name where it has one; operators and methods are attached here."""

# ruff: noqa: I001  # The names that a file gives, some on a line: it is a list of contents.

from __future__ import annotations

import numpy as np

from workbench.symbolic.graph import _NUMPY_OPERATORS, Variable

# fmt: off
from workbench.symbolic.ops.activations import (
    celu, elu, gelu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, log_sigmoid, mish, relu6,
    selu, silu, softplus, softsign,
)
from workbench.symbolic.ops.arranging import (
    diag, diagonal, flatten, flip, moveaxis, pad, ravel, repeat, roll, swapaxes, tile, trace,
    tril, triu,
)
from workbench.symbolic.ops.creation import arange, eye, full, ones, zeros
from workbench.symbolic.ops.cumulative import cumprod, cumsum, diff, prod
from workbench.symbolic.ops.einsum import einsum
from workbench.symbolic.ops.elementwise import (
    absolute, add, cos, divide, equal, exp, expm1, greater, greater_equal, less, less_equal,
    log, log1p, maximum, minimum, multiply, negative, not_equal, power, relu, sigmoid, sign,
    sin, sqrt, square, subtract, tanh, where,
)
from workbench.symbolic.ops.images import (
    avg_pool1d, avg_pool2d, col2im, conv1d, conv2d, conv_transpose1d, conv_transpose2d,
    global_avg_pool, im2col, max_pool1d, max_pool2d,
)
from workbench.symbolic.ops.indexing import (
    getitem, inc_subtensor, index_add, index_update, set_subtensor,
)
from workbench.symbolic.ops.joining import (
    atleast_1d, atleast_2d, concatenate, hstack, meshgrid, split, stack, vstack,
)
from workbench.symbolic.ops.linalg import cholesky, det, inv, matrix_power, solve
from workbench.symbolic.ops.linear import affine, dot, inner, matmul, outer, tensordot, vdot
from workbench.symbolic.ops.nn import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_similarity, dropout,
    hinge_loss, huber_loss, kl_divergence, log_softmax, mean_absolute_error, mean_squared_error,
    nll_loss, poisson_nll_loss, scaled_dot_product_attention, softmax, softmax_cross_entropy,
    softmin,
)
from workbench.symbolic.ops.normalisation import (
    batch_norm, group_norm, instance_norm, layer_norm, normalize, rms_norm, standardize,
)
from workbench.symbolic.ops.reductions import (
    all, any, argmax, argmin, count_nonzero, logsumexp, max, mean, min, norm, ptp, std, sum,
    var,
)
from workbench.symbolic.ops.shaping import (
    broadcast_to, cast, expand_dims, ones_like, reshape, squeeze, transpose, zeros_like,
)
from workbench.symbolic.ops.sizes import shape_of
from workbench.symbolic.ops.sorting import (
    argsort, embedding, median, one_hot, put_along_axis, scatter_add, sort, take,
    take_along_axis, topk,
)
from workbench.symbolic.ops.special import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, bitwise_and, bitwise_or,
    bitwise_xor, cbrt, ceil, clip, cosh, deg2rad, erf, erfc, exp2, floor, floor_divide, fmod,
    heaviside, hypot, invert, isfinite, isinf, isnan, left_shift, lerp, log1pexp, log2, log10,
    logaddexp, logical_and, logical_not, logical_or, logical_xor, logit, masked_fill, mod,
    nan_to_num, ndtr, rad2deg, reciprocal, remainder, right_shift, rint, round, sinh, tan,
    trunc, xlogy,
)

__all__ = [
    "absolute", "add", "affine", "all", "any", "arange", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "atleast_1d",
    "atleast_2d", "avg_pool1d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_or", "bitwise_xor",
    "broadcast_to", "cast", "cbrt", "ceil", "celu", "cholesky", "clip", "col2im", "concatenate",
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "cos", "cosh",
    "cosine_similarity", "count_nonzero", "cumprod", "cumsum", "deg2rad", "det", "diag",
    "diagonal", "diff", "divide", "dot", "dropout", "einsum", "elu", "embedding", "equal",
    "erf", "erfc", "exp", "exp2", "expand_dims", "expm1", "eye", "flatten", "flip", "floor",
    "floor_divide", "fmod", "full", "gelu", "getitem", "global_avg_pool", "greater",
    "greater_equal", "group_norm", "hard_sigmoid", "hard_swish", "hard_tanh", "heaviside",
    "hinge_loss", "hstack", "huber_loss", "hypot", "im2col", "inc_subtensor", "index_add",
    "index_update", "inner", "instance_norm", "inv", "invert", "isfinite", "isinf", "isnan",
    "kl_divergence", "layer_norm", "leaky_relu", "left_shift", "lerp", "less", "less_equal",
    "log", "log1p", "log1pexp", "log2", "log10", "log_sigmoid", "log_softmax", "logaddexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "logsumexp",
    "masked_fill", "matmul", "matrix_power", "max", "max_pool1d", "max_pool2d", "maximum",
    "mean", "mean_absolute_error", "mean_squared_error", "median", "meshgrid", "min", "minimum",
    "mish", "mod", "moveaxis", "multiply", "nan_to_num", "ndtr", "negative", "nll_loss", "norm",
    "normalize", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad",
    "poisson_nll_loss", "power", "prod", "ptp", "put_along_axis", "rad2deg", "ravel",
    "reciprocal", "relu", "relu6", "remainder", "repeat", "reshape", "right_shift", "rint",
    "rms_norm", "roll", "round", "scaled_dot_product_attention", "scatter_add", "selu",
    "set_subtensor", "shape_of", "sigmoid", "sign", "silu", "sin", "sinh", "softmax",
    "softmax_cross_entropy", "softmin", "softplus", "softsign", "solve", "sort", "split",
    "sqrt", "square", "squeeze", "stack", "standardize", "std", "subtract", "sum", "swapaxes",
    "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "topk", "trace", "transpose",
    "tril", "triu", "trunc", "var", "vdot", "vstack", "where", "xlogy", "zeros", "zeros_like",
]
# fmt: on


_BINARY = {
    "add": (add, np.add), "sub": (subtract, np.subtract), "mul": (multiply, np.multiply),
    "truediv": (divide, np.true_divide), "pow": (power, np.power), "matmul": (matmul, np.matmul),
    "floordiv": (floor_divide, np.floor_divide), "mod": (remainder, np.remainder),
    "and": (bitwise_and, np.bitwise_and), "or": (bitwise_or, np.bitwise_or),
    "xor": (bitwise_xor, np.bitwise_xor),
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
    "__neg__": negative, "__abs__": absolute, "__invert__": invert, "__getitem__": getitem,
    "T": property(transpose),
    "sum": sum, "mean": mean, "max": max, "min": min, "argmax": argmax, "reshape": reshape,
    "transpose": transpose, "squeeze": squeeze, "astype": cast,
}.items():  # fmt: skip
    setattr(Variable, _name, _method)
