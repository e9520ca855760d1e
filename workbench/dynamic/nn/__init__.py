"""Modules: layers and models that own their parameters, losses, initialisers."""

# fmt: off
# isort: off
from workbench.dynamic.nn import init
from workbench.dynamic.nn.attention import (
    MultiHeadAttention, TransformerBlock, sinusoidal_positions,
)
from workbench.dynamic.nn.layers import (
    ELU, GELU, AvgPool1d, AvgPool2d, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Dropout,
    Embedding, Flatten, LeakyReLU, Linear, MaxPool1d, MaxPool2d, ReLU, Sequential, Sigmoid, SiLU,
    Softmax, Softplus, Tanh,
)
from workbench.dynamic.nn.losses import (
    BinaryCrossEntropy, BinaryCrossEntropyWithLogits, CosineEmbeddingLoss, CrossEntropy,
    GaussianNLLLoss, HingeLoss, HuberLoss, KLDivergence, MeanAbsoluteError, MeanSquaredError,
    MultiMarginLoss, NLLLoss, PoissonNLLLoss, SoftmaxCrossEntropy, TripletMarginLoss,
)
from workbench.dynamic.nn.normalisation import BatchNorm, GroupNorm, LayerNorm
from workbench.dynamic.nn.module import Buffer, Module, Parameter
from workbench.dynamic.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
# isort: on
# fmt: on

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "AvgPool1d", "AvgPool2d", "BatchNorm",
    "BinaryCrossEntropy", "BinaryCrossEntropyWithLogits", "Buffer", "Conv1d", "Conv2d",
    "ConvTranspose1d", "ConvTranspose2d", "CosineEmbeddingLoss", "CrossEntropy", "Dropout",
    "Embedding", "Flatten", "GRUCell", "GaussianNLLLoss", "GroupNorm", "HingeLoss", "HuberLoss",
    "KLDivergence", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "MaxPool1d", "MaxPool2d",
    "MeanAbsoluteError", "MeanSquaredError", "Module", "MultiHeadAttention", "MultiMarginLoss",
    "NLLLoss", "Parameter", "PoissonNLLLoss", "RNNCell", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "SoftmaxCrossEntropy", "Softplus", "Tanh", "TransformerBlock", "TripletMarginLoss",
    "init", "sinusoidal_positions",
]  # fmt: skip
