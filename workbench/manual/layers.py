"""The layers: each is a function pair of this era that owns its parameters.

``x`` has a leading axis of N examples.  Weights are drawn from ``rng`` (by
``initial``, a function of :mod:`workbench.manual.initial`), biases start at zero.
Constructors raise OptionError or DtypeError for arguments that are not as documented.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, float_dtype, namespace, pair
from workbench.errors import ShapeError
from workbench.manual import activations, normalization, pooling, recurrent
from workbench.manual._checks import check, check_count, check_number, check_rng
from workbench.manual.attention import attention, attention_backward
from workbench.manual.convolution import conv2d, conv2d_backward
from workbench.manual.initial import Initializer, glorot_uniform, he_normal
from workbench.manual.layer import Layer, Parameter
from workbench.manual.linear import affine, affine_backward, embedding, embedding_backward


class Affine(Layer):
    """``x @ w + b`` along the last axis: (N, ..., inputs) to (N, ..., outputs).

    Parameters
    ----------
    inputs, outputs : int
    rng : numpy.random.Generator
    dtype : float32 or float64
    initial : callable
        Draws w, of shape (inputs, outputs).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initial: Initializer = glorot_uniform,
    ) -> None:
        shape = check_count("Affine", "inputs", inputs), check_count("Affine", "outputs", outputs)
        self.w = Parameter(initial(shape, rng, dtype), "w")
        self.b = _zeros("b", outputs, dtype, "Affine")

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`affine`, with all axes but the last folded into one."""
        if getattr(x, "shape", ())[1:] != self.w.value.shape[:1]:
            return self._fold(x)
        return affine(x, self.w.value, self.b.value)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`affine_backward`."""
        return self._gradients(g, cache, input_gradient=True)

    def parameter_gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`affine_backward` without its first product."""
        return self._gradients(g, cache, input_gradient=False)

    def _fold(self, x: Array) -> tuple[Array, Any]:
        check("Affine", "x ... D", x)
        inputs, outputs = self.w.value.shape
        if x.ndim < 2 or x.shape[-1] != inputs:
            raise ShapeError("Affine", "x does not fit the layer", given=f"x {x.shape}",
                             expected=f"x (N, {inputs})",
                             fix="put Flatten() before it" if x.ndim > 2 else None)  # fmt: skip
        rows = x.reshape(math.prod(x.shape[:-1]), inputs)
        y, cache = affine(rows, self.w.value, self.b.value)
        return y.reshape(*x.shape[:-1], outputs), cache

    def _gradients(self, g: Array, cache: Any, input_gradient: bool) -> tuple[Array, ...]:
        lead = g.shape[:-1]
        if len(lead) > 1:
            g = g.reshape(math.prod(lead), g.shape[-1])
        dx, dw, db = affine_backward(g, cache, input_gradient=input_gradient)
        return dx.reshape(*lead, dx.shape[-1]) if input_gradient and len(lead) > 1 else dx, dw, db


class Conv2d(Layer):
    """A bank of filters over images: (N, inputs, H, W) to (N, outputs, OH, OW).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    size : int or (int, int)
        Height and width of a filter, in pixels.
    stride, padding : int or (int, int)
        As :func:`conv2d`.
    rng, dtype, initial
        As :class:`Affine`; w has shape (outputs, inputs, KH, KW).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        *,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initial: Initializer = he_normal,
    ) -> None:
        channels = (
            check_count("Conv2d", "outputs", outputs),
            check_count("Conv2d", "inputs", inputs),
        )
        self.stride = pair(stride, "Conv2d", "stride", 1)
        self.padding = pair(padding, "Conv2d", "padding", 0)
        self.w = Parameter(initial((*channels, *pair(size, "Conv2d", "size", 1)), rng, dtype), "w")
        self.b = _zeros("b", outputs, dtype, "Conv2d")

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`conv2d`."""
        check("Conv2d", "w F C KH KW, x N C H W", self.w.value, x)
        return conv2d(x, self.w.value, self.b.value, self.stride, self.padding)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`conv2d_backward`."""
        return conv2d_backward(g, cache)

    def parameter_gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`conv2d_backward` without the way back to the image."""
        return conv2d_backward(g, cache, input_gradient=False)


class Plain(Layer):
    """A layer without parameters: a function pair, and the options of its forward."""

    pair: ClassVar[tuple[Callable[..., tuple[Array, Any]], Callable[[Array, Any], Array]]]
    options: tuple[Any, ...] = ()

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As the first of the pair."""
        return self.pair[0](x, *self.options)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As the second of the pair."""
        return (self.pair[1](g, cache),)


class ReLU(Plain):
    """:func:`relu` as a layer; any shape."""

    pair = activations.relu, activations.relu_backward


class Tanh(Plain):
    """:func:`tanh` as a layer; any shape."""

    pair = activations.tanh, activations.tanh_backward


class Sigmoid(Plain):
    """:func:`sigmoid` as a layer; any shape."""

    pair = activations.sigmoid, activations.sigmoid_backward


class _Pool2d(Plain):
    def __init__(
        self,
        size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        where = type(self).__name__
        sizes = pair(size, where, "size", 1)
        strides = sizes if stride is None else pair(stride, where, "stride", 1)
        self.options = sizes, strides, pair(padding, where, "padding", 0)


class MaxPool2d(_Pool2d):
    """:func:`max_pool2d` as a layer, with its options; (N, C, H, W) to (N, C, OH, OW)."""

    pair = pooling.max_pool2d, pooling.max_pool2d_backward


class AvgPool2d(_Pool2d):
    """:func:`avg_pool2d` as a layer, with its options; (N, C, H, W) to (N, C, OH, OW)."""

    pair = pooling.avg_pool2d, pooling.avg_pool2d_backward


class Flatten(Layer):
    """(N, ...) to (N, everything else)."""

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """Reshape, and remember the shape."""
        check("Flatten", "x ...", x)
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """Reshape back."""
        return (g.reshape(cache),)


class Last(Layer):
    """The last step of a sequence: (N, T, H) to (N, H)."""

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """Select it."""
        check("Last", "x N T H", x)
        return x[:, -1], x

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """All gradient belongs to the last step."""
        dx = np.zeros_like(cache)
        dx[:, -1] = g
        return (dx,)


class BatchNorm(Layer):
    """:func:`batch_norm` with its parameters and averages: (N, features[, H, W]).

    Parameters
    ----------
    features : int
    momentum, epsilon : float
        As :func:`batch_norm`.
    dtype : float32 or float64

    Attributes
    ----------
    running_mean, running_variance : array, shape (features,)
        Updated by ``forward(x, training=True)``, read by ``training=False``.
    """

    def __init__(
        self,
        features: int,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        check_count("BatchNorm", "features", features)
        self.momentum = check_number("BatchNorm", "momentum", momentum, 0, 1)
        self.epsilon = check_number("BatchNorm", "epsilon", epsilon, 0, open_low=True)
        self.gamma = _zeros("gamma", features, dtype, "BatchNorm")
        self.gamma.value += 1
        self.beta = _zeros("beta", features, dtype, "BatchNorm")
        self.running_mean = np.zeros_like(self.beta.value)
        self.running_variance = np.ones_like(self.beta.value)

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`batch_norm`."""
        axes = "N D" if getattr(x, "ndim", 4) == 2 else "N D H W"
        check("BatchNorm", f"gamma D, x {axes}", self.gamma.value, x)
        return normalization.batch_norm(
            x, self.gamma.value, self.beta.value, self.running_mean, self.running_variance,
            self.momentum, self.epsilon, training,
        )  # fmt: skip

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`batch_norm_backward`."""
        return normalization.batch_norm_backward(g, cache)


class Dropout(Layer):
    """:func:`dropout` as a layer, any shape, with its own ``rng``."""

    def __init__(self, rate: float, *, rng: np.random.Generator) -> None:
        self.rate = check_number("Dropout", "rate", rate, 0, 1)
        check_rng("Dropout", rng)
        self.rng = rng

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`dropout`."""
        return activations.dropout(x, self.rate, self.rng, training)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`dropout_backward`."""
        return (activations.dropout_backward(g, cache),)


class Embedding(Layer):
    """A vector for each of ``count`` symbols: integers (N, ...) to (N, ..., size).

    Parameters
    ----------
    count, size : int
    rng : numpy.random.Generator
    dtype : float32 or float64

    Notes
    -----
    Vectors start from N(0, 1).  ``backward`` returns None: integers have no gradient.
    Source: Bengio, Ducharme, Vincent and Jauvin (2003).
    """

    def __init__(
        self, count: int, size: int, *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> None:
        shape = check_count("Embedding", "count", count), check_count("Embedding", "size", size)
        check_rng("Embedding", rng)
        table = rng.standard_normal(shape).astype(float_dtype(dtype, "Embedding"))
        self.table = Parameter(table, "table")

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`embedding`."""
        return embedding(x, self.table.value)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`embedding_backward`."""
        return None, embedding_backward(g, cache)


class RNN(Layer):
    """:func:`rnn` from a state of zeros: (N, T, inputs) to (N, T, hidden).

    Parameters
    ----------
    inputs, hidden : int
    rng, dtype, initial
        As :class:`Affine`; drawn are wx, then wh.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initial: Initializer = glorot_uniform,
    ) -> None:
        check_count("RNN", "inputs", inputs)
        check_count("RNN", "hidden", hidden)
        self.wx = Parameter(initial((inputs, hidden), rng, dtype), "wx")
        self.wh = Parameter(initial((hidden, hidden), rng, dtype), "wh")
        self.b = _zeros("b", hidden, dtype, "RNN")

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`rnn`."""
        check("RNN", "wx D H, x N T D", self.wx.value, x)
        h = namespace(x).zeros((len(x), len(self.wh.value)), x.dtype)
        return recurrent.rnn(x, h, self.wx.value, self.wh.value, self.b.value)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`rnn_backward`: through time, down to the first step."""
        dx, _, dwx, dwh, db = recurrent.rnn_backward(g, cache)
        return dx, dwx, dwh, db


class LSTM(Layer):
    """:func:`lstm` from a state of zeros: (N, T, inputs) to (N, T, hidden).

    Parameters
    ----------
    inputs, hidden : int
    rng, dtype, initial
        As :class:`Affine`; drawn are the four blocks of wx, then those of wh, in the
        order i, f, g, o.

    Notes
    -----
    The forget gate's bias starts at 1, so that the cell remembers before it has learned
    to (Gers et al., 2000; Jozefowicz, Zaremba and Sutskever, 2015).
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initial: Initializer = glorot_uniform,
    ) -> None:
        check_count("LSTM", "inputs", inputs)
        check_count("LSTM", "hidden", hidden)

        def four(rows: int) -> Array:
            return np.concatenate([initial((rows, hidden), rng, dtype) for _ in range(4)], axis=1)

        self.wx = Parameter(four(inputs), "wx")
        self.wh = Parameter(four(hidden), "wh")
        self.b = _zeros("b", 4 * hidden, dtype, "LSTM")
        self.b.value[hidden : 2 * hidden] = 1

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """As :func:`lstm`."""
        check("LSTM", "wx D H, x N T D", self.wx.value, x)
        h = namespace(x).zeros((len(x), len(self.wh.value)), x.dtype)
        (hs, _), cache = recurrent.lstm(x, h, h, self.wx.value, self.wh.value, self.b.value)
        return hs, (cache, h)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """As :func:`lstm_backward`: through time, down to the first step."""
        inner, zeros = cache  # Nothing depends on the last cell.
        dx, _, _, dwx, dwh, db = recurrent.lstm_backward((g, zeros), inner)
        return dx, dwx, dwh, db


class Attention(Layer):
    """One head of self-attention: (N, T, inputs) to (N, T, size).

    Parameters
    ----------
    inputs, size : int
    causal : bool
        Whether a step may look only at itself and at earlier ones.
    rng, dtype, initial
        As :class:`Affine`; drawn are the blocks of w for queries, keys and values.

    Notes
    -----
    Source: Vaswani et al. (2017).
    """

    def __init__(
        self,
        inputs: int,
        size: int,
        *,
        causal: bool = False,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initial: Initializer = glorot_uniform,
    ) -> None:
        check_count("Attention", "inputs", inputs)
        check_count("Attention", "size", size)
        blocks = [initial((inputs, size), rng, dtype) for _ in range(3)]
        self.w = Parameter(np.concatenate(blocks, axis=1), "w")
        self.b = _zeros("b", 3 * size, dtype, "Attention")
        self.causal = causal

    def compute(self, x: Array, training: bool) -> tuple[Array, Any]:
        """Project to queries, keys and values by one product, and attend."""
        check("Attention", "w D K, x N T D", self.w.value, x)
        n, steps, inputs = x.shape
        rows, outer = affine(x.reshape(n * steps, inputs), self.w.value, self.b.value)
        mask = namespace(x).tri(steps, dtype=bool) if self.causal else None
        q, k, v = np.split(rows.reshape(n, steps, len(self.b.value)), 3, axis=2)
        y, inner = attention(q, k, v, mask)
        return y, (x.shape, outer, inner)

    def gradients(self, g: Array, cache: Any) -> tuple[Array, ...]:
        """Back through the attention, then through the projection."""
        shape, outer, inner = cache
        dqkv = np.concatenate(attention_backward(g, inner), axis=2)
        dx, dw, db = affine_backward(dqkv.reshape(shape[0] * shape[1], dqkv.shape[2]), outer)
        return dx.reshape(shape), dw, db


def _zeros(name: str, count: int, dtype: npt.DTypeLike, where: str) -> Parameter:
    return Parameter(np.zeros(count, float_dtype(dtype, where)), name)
