"""NumPy's functions, for arrays and for tracers.

The names, arguments and broadcasting are NumPy's.  Every function is built from
the primitives, so it goes through every transform.  Given plain arrays it
returns plain arrays; given Python scalars alone, a Python scalar.
"""

from numpy import bool_, e, float32, float64, inf, int32, int64, nan, newaxis, pi

from workbench.functional.numpy import operators as _operators  # Attaches them.
from workbench.functional.numpy.creation import (
    arange,
    array,
    asarray,
    eye,
    full,
    full_like,
    one_hot,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from workbench.functional.numpy.elementwise import (
    abs,
    absolute,
    add,
    clip,
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
from workbench.functional.numpy.indexing import take
from workbench.functional.numpy.neural import (
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
from workbench.functional.numpy.reductions import (
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    sum,
    var,
)
from workbench.functional.numpy.shaping import (
    astype,
    broadcast_to,
    concatenate,
    expand_dims,
    matmul,
    moveaxis,
    pad,
    ravel,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)

del _operators

__all__ = [
    "abs", "absolute", "add", "arange", "argmax", "argmin", "array", "asarray", "astype",
    "avg_pool2d", "bool_", "broadcast_to", "clip", "col2im", "concatenate", "conv2d", "cos",
    "divide", "e", "equal", "exp", "expand_dims", "expm1", "eye", "float32", "float64", "full",
    "full_like", "greater", "greater_equal", "im2col", "inf", "int32", "int64", "less",
    "less_equal", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "max_pool2d",
    "maximum", "mean", "mean_squared_error", "min", "minimum", "moveaxis", "multiply", "nan",
    "negative", "newaxis", "not_equal", "one_hot", "ones", "ones_like", "pad", "pi", "power",
    "ravel", "relu", "reshape", "sigmoid", "sign", "sin", "softmax", "softmax_cross_entropy",
    "sqrt", "square", "squeeze", "stack", "subtract", "sum", "swapaxes", "take", "tanh", "transpose",
    "var", "where", "zeros", "zeros_like",
]  # fmt: skip
