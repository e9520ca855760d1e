"""Era 1: gradients by hand, layer by layer (up to Torch7 and Caffe).

Read in this order: ``linear.py`` (an op is a pair of functions), ``activations.py``,
``losses.py``, ``layer.py`` (the chain rule as a loop), ``optim.py``, ``training.py``; then
the larger ops, ``convolution.py``, ``pooling.py``, ``normalization.py``, ``recurrent.py``
and ``attention.py``.

Nothing here builds a graph.  Whoever writes a forward writes its backward beneath it.
"""

from workbench.manual.activations import (
    dropout,
    dropout_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from workbench.manual.attention import attention, attention_backward
from workbench.manual.convolution import conv2d, conv2d_backward
from workbench.manual.initial import glorot_normal, glorot_uniform, he_normal, he_uniform
from workbench.manual.layer import Layer, Parameter, Sequential
from workbench.manual.layers import (
    LSTM,
    RNN,
    Affine,
    Attention,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Last,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from workbench.manual.linear import affine, affine_backward, embedding, embedding_backward
from workbench.manual.losses import (
    Loss,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    mean_squared_error,
    mean_squared_error_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from workbench.manual.normalization import batch_norm, batch_norm_backward
from workbench.manual.optim import SGD, Adagrad, Adam, Optimizer, RMSProp
from workbench.manual.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from workbench.manual.recurrent import (
    lstm,
    lstm_backward,
    lstm_step,
    lstm_step_backward,
    rnn,
    rnn_backward,
    rnn_step,
    rnn_step_backward,
)
from workbench.manual.training import History, accuracy, minibatches, train

__all__ = [
    "LSTM", "RNN", "SGD", "Adagrad", "Adam", "Affine", "Attention", "AvgPool2d", "BatchNorm",
    "Conv2d", "Dropout", "Embedding", "Flatten", "History", "Last", "Layer", "Loss",
    "MaxPool2d", "MeanSquaredError", "Optimizer", "Parameter", "RMSProp", "ReLU", "Sequential",
    "Sigmoid", "SoftmaxCrossEntropy", "Tanh", "accuracy", "affine", "affine_backward",
    "attention", "attention_backward", "avg_pool2d", "avg_pool2d_backward", "batch_norm",
    "batch_norm_backward", "conv2d", "conv2d_backward", "dropout", "dropout_backward",
    "embedding", "embedding_backward", "glorot_normal", "glorot_uniform", "he_normal",
    "he_uniform", "lstm", "lstm_backward", "lstm_step", "lstm_step_backward", "max_pool2d",
    "max_pool2d_backward", "mean_squared_error", "mean_squared_error_backward", "minibatches",
    "relu", "relu_backward", "rnn", "rnn_backward", "rnn_step", "rnn_step_backward", "sigmoid",
    "sigmoid_backward", "softmax", "softmax_backward", "softmax_cross_entropy",
    "softmax_cross_entropy_backward", "tanh", "tanh_backward", "train",
]  # fmt: skip
