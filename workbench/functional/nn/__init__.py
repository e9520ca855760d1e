"""Layers as pairs of pure functions, in the manner of stax.

``init(key, input_shape) -> (output_shape, parameters)`` and
``apply(parameters, x, *, key=None, train=False) -> y``; parameters are pytrees, and nothing
else is kept anywhere.  An input shape counts the batch, which may be -1::

    init, apply = serial(Dense(100), Relu, Dense(10))
    shape, parameters = init(random.key(0), (-1, 784))
    logits = apply(parameters, x)

``key`` and ``train`` matter to dropout and batch normalisation only.  Parameters are
float32; ``tree_map(lambda p: astype(p, float64), parameters)`` makes other ones.

A layer refuses an input of another shape than its own with a ShapeError that names it, and
sizes that are not positive integers with an OptionError.

Letters: N examples, D inputs, K outputs, T steps, H hidden units.
"""

from workbench.functional.nn.combinators import FanInSum, FanOut, parallel, residual, serial
from workbench.functional.nn.layers import (
    GRU,
    LSTM,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    LogSoftmax,
    MaxPool2d,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
    elementwise,
)

__all__ = [
    "GRU", "LSTM", "AvgPool2d", "BatchNorm", "Conv2d", "Dense", "Dropout", "Embedding", "FanInSum",
    "FanOut", "Flatten", "Identity", "Layer", "LayerNorm", "LogSoftmax", "MaxPool2d", "Relu",
    "Sigmoid", "Softmax", "Tanh", "elementwise", "parallel", "residual", "serial",
]  # fmt: skip
