"""Modules: layers and models that own their parameters, losses, initialisers."""

# fmt: off
# isort: off
from workbench.dynamic.nn import init
from workbench.dynamic.nn.attention import (
    MultiHeadAttention, TransformerBlock, sinusoidal_positions,
)
from workbench.dynamic.nn.layers import (
    ELU, GELU, AvgPool1d, AvgPool2d, BatchNorm, BinaryCrossEntropy, BinaryCrossEntropyWithLogits,
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, CosineEmbeddingLoss, CrossEntropy, Dropout,
    Embedding, Flatten, GaussianNLLLoss, GroupNorm, HingeLoss, HuberLoss, KLDivergence, LayerNorm,
    LeakyReLU, Linear, MaxPool1d, MaxPool2d, MeanAbsoluteError, MeanSquaredError, MultiMarginLoss,
    NLLLoss, PoissonNLLLoss, ReLU, Sequential, Sigmoid, SiLU, Softmax, SoftmaxCrossEntropy,
    Softplus, Tanh, TripletMarginLoss,
)
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
