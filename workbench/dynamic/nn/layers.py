"""Layers: affine maps, convolutions, pooling, activations, and what joins them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.dynamic import ops
from workbench.dynamic.nn import init as initial
from workbench.dynamic.nn.module import Module, Parameter
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError, unknown_name

Lengths: TypeAlias = int | Sequence[int]


def weights(where: str, shape: tuple[int, ...], rng: np.random.Generator | None,
            dtype: npt.DTypeLike, init: initial.Initializer | None = None,
            fans: initial.Fans = None) -> Parameter:  # fmt: skip
    """Return a parameter drawn by ``init``, Glorot uniform by default, for the layer ``where``.

    Raises
    ------
    OptionError, DtypeError
        If a length is not a positive integer, or the dtype is not a floating one.
    """
    if not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise OptionError(where, "sizes are positive integers", given=f"weights of shape {shape}")
    dtype = arrays.float_dtype(dtype, where)
    return Parameter((init or initial.glorot_uniform)(shape, rng, dtype, fans))


class Linear(Module):
    """x @ w + b.

    Parameters
    ----------
    inputs, outputs : int
        Lengths D and K of an example before and after.
    rng : numpy.random.Generator, optional
        For the initial weights; unseeded by default.
    bias : bool
        Whether there is a b; it starts at zero.
    dtype : dtype
        float32 or float64.
    init : callable, optional
        One of :mod:`~workbench.dynamic.nn.init`; Glorot uniform by default.

    Attributes
    ----------
    w : Parameter, (D, K)
    b : Parameter, (K,), or None
    """

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator | None = None,
                 bias: bool = True, dtype: npt.DTypeLike = np.float32,
                 init: initial.Initializer | None = None) -> None:  # fmt: skip
        self.w = weights("Linear", (inputs, outputs), rng, dtype, init)
        self.b = Parameter(np.zeros(outputs, self.w.dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return (..., K) for x (..., D)."""
        if x.ndim < 3 or x.shape[-1] != self.w.shape[0]:
            return ops.affine(x, self.w, self.b)
        flat = ops.affine(ops.reshape(x, (-1, x.shape[-1])), self.w, self.b)
        return ops.reshape(flat, (*x.shape[:-1], -1))


class _Convolution(Module):
    """What convolutions share; ``axes`` is the number of spatial ones.

    Parameters
    ----------
    inputs, outputs : int
        Numbers C and F of channels before and after.
    size : int or one int for each axis
        Lengths of a kernel, in pixels or samples.
    stride, padding : int or one int for each axis
        In pixels or samples; the padding is zeros.
    rng, bias, dtype, init
        As for :class:`Linear`.

    Attributes
    ----------
    w : Parameter, (F, C, *size); transposed, (C, F, *size)
    b : Parameter, (F,), or None
    """

    axes: ClassVar[int]
    op: ClassVar[Callable[..., Any]]
    transposed: ClassVar[bool] = False

    def __init__(self, inputs: int, outputs: int, size: Lengths, stride: Lengths = 1,
                 padding: Lengths = 0, rng: np.random.Generator | None = None,
                 bias: bool = True, dtype: npt.DTypeLike = np.float32,
                 init: initial.Initializer | None = None) -> None:  # fmt: skip
        name = type(self).__name__
        self.stride = _each(name, "stride", stride, 1, self.axes)
        self.padding = _each(name, "padding", padding, 0, self.axes)
        size = _each(name, "size", size, 1, self.axes)
        channels = (inputs, outputs) if self.transposed else (outputs, inputs)
        area = int(np.prod(size))
        self.w = weights(
            name, (*channels, *size), rng, dtype, init, (inputs * area, outputs * area)
        )
        self.b = Parameter(np.zeros(outputs, self.w.dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return (N, F, ...) for x (N, C, ...)."""
        return type(self).op(x, self.w, self.b, self.stride, self.padding)


def _each(where: str, name: str, value: Lengths, least: int, n: int) -> tuple[int, ...]:
    """Return an option as one int for each of n axes."""
    each = (value,) * n if isinstance(value, int | np.integer) else tuple(value)
    if len(each) != n or not all(isinstance(k, int | np.integer) and k >= least for k in each):
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected=f"an int of at least {least}, or {n} of them")  # fmt: skip
    return tuple(int(k) for k in each)


class Conv1d(_Convolution):
    """Cross-correlation of sequences (N, C, L) with kernels, of which w is (F, C, K).

    Parameters as for :class:`Conv2d`, with one length where that has two.
    """

    axes, op = 1, ops.conv1d


class Conv2d(_Convolution):
    """Cross-correlation of images (N, C, H, W) with kernels, of which w is (F, C, KH, KW).

    Parameters
    ----------
    inputs, outputs : int
        Numbers C and F of channels before and after.
    size : int or (int, int)
        Height and width of a kernel, in pixels.
    stride, padding : int or (int, int)
        In pixels; the padding is zeros.
    rng, bias, dtype, init
        As for :class:`Linear`.

    Attributes
    ----------
    w : Parameter, (F, C, KH, KW)
    b : Parameter, (F,), or None
    """

    axes, op = 2, ops.conv2d


class ConvTranspose1d(_Convolution):
    """The transpose of a Conv1d, from C to F channels; w is (C, F, K)."""

    axes, op, transposed = 1, ops.conv_transpose1d, True


class ConvTranspose2d(_Convolution):
    """The transpose of a Conv2d, from C to F channels; w is (C, F, KH, KW)."""

    axes, op, transposed = 2, ops.conv_transpose2d, True


class Wrapped(Module):
    """An operation as a module: options are given beforehand, tensors when it is called.

    Parameters
    ----------
    *options, **named
        What the operation takes after its tensors.

    Attributes
    ----------
    options : dict
        Each option that was given.

    Raises
    ------
    UnknownNameError, OptionError
        For options that it does not take.
    """

    op: ClassVar[Callable[..., Any]]
    tensors: ClassVar[int] = 1

    def __init__(self, *options: Any, **named: Any) -> None:
        cls = type(self)
        known = list(inspect.signature(cls.op).parameters)[cls.tensors :]
        for each in named:
            if each not in known:
                raise unknown_name(cls.__name__, "option", each, known)
        if len(options) > len(known) or any(each in named for each in known[: len(options)]):
            raise OptionError(cls.__name__, "there are too many options",
                              given=f"{len(options)}, and {', '.join(named) or 'none by name'}",
                              expected=", ".join(known) or "none")  # fmt: skip
        self.options = {**dict(zip(known, options, strict=False)), **named}

    def forward(self, *tensors: Any) -> Tensor:
        """Return what the operation does."""
        return type(self).op(*tensors, **self.options)


# --- pooling and shapes -----------------------------------------------------------------


class MaxPool1d(Wrapped):
    """Maximum of each window of (N, C, L); options as :func:`ops.max_pool1d`."""

    op = ops.max_pool1d


class MaxPool2d(Wrapped):
    """Maximum of each window of (N, C, H, W); options as :func:`ops.max_pool2d`."""

    op = ops.max_pool2d


class AvgPool1d(Wrapped):
    """Mean of each window of (N, C, L); options as :func:`ops.avg_pool1d`."""

    op = ops.avg_pool1d


class AvgPool2d(Wrapped):
    """Mean of each window of (N, C, H, W); options as :func:`ops.avg_pool2d`."""

    op = ops.avg_pool2d


class Flatten(Module):
    """Each example as one row."""

    def forward(self, x: Any) -> Tensor:
        """Return (N, D) for x (N, ...)."""
        return ops.reshape(x, (len(x), -1))


class Embedding(Module):
    """Rows of a table, for the integers that name them.

    Parameters
    ----------
    rows, outputs : int
        Numbers V of rows and D of their elements.
    rng, dtype
        As for :class:`Linear`.
    init : callable, optional
        One of :mod:`~workbench.dynamic.nn.init`; N(0, 1) by default, as in PyTorch.

    Attributes
    ----------
    w : Parameter, (V, D)
    """

    def __init__(self, rows: int, outputs: int, rng: np.random.Generator | None = None,
                 dtype: npt.DTypeLike = np.float32,
                 init: initial.Initializer = initial.normal) -> None:  # fmt: skip
        self.w = weights("Embedding", (rows, outputs), rng, dtype, init)

    def forward(self, x: Any) -> Tensor:
        """Return (*x.shape, D) for integers x."""
        return ops.embedding(x, self.w)


# --- what behaves differently in training ------------------------------------------------


class Dropout(Module):
    """Zero elements at random while training; do nothing in evaluation.

    Parameters
    ----------
    rate : float
        Probability of zeroing, below 1.
    rng : numpy.random.Generator, optional
        Source of the masks; unseeded by default.
    """

    def __init__(self, rate: float, rng: np.random.Generator | None = None) -> None:
        if not 0 <= rate < 1:
            raise OptionError("Dropout", "rate is a probability below 1", given=f"rate={rate}")
        self.rate, self.rng = rate, np.random.default_rng() if rng is None else rng

    def forward(self, x: Any) -> Tensor:
        """Return x, in training with a mask."""
        return ops.dropout(x, self.rate, self.rng) if self.training else x


class Tanh(Module):
    """tanh, elementwise."""

    forward = staticmethod(ops.tanh)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    forward = staticmethod(ops.sigmoid)


class ReLU(Module):
    """max(x, 0), elementwise."""

    forward = staticmethod(ops.relu)


class SiLU(Module):
    """x * sigmoid(x), elementwise."""

    forward = staticmethod(ops.silu)


class GELU(Wrapped):
    """x times the probability that a normal variable is below x; option: approximate."""

    op = ops.gelu


class LeakyReLU(Wrapped):
    """x where positive, else slope * x; option: slope."""

    op = ops.leaky_relu


class ELU(Wrapped):
    """x where positive, else alpha * (exp(x) - 1); option: alpha."""

    op = ops.elu


class Softplus(Wrapped):
    """log(1 + exp(beta x)) / beta; option: beta."""

    op = ops.softplus


class Softmax(Wrapped):
    """exp(x) / sum(exp(x)) along an axis; option: axis, by default the last."""

    op = ops.softmax


# --- losses: each is the function of the same name, with its options -----------------------


class Sequential(Module):
    """Modules (or functions) one after another.

    Parameters
    ----------
    *layers : callable
        Each takes what the one before returns.
    """

    def __init__(self, *layers: Any) -> None:
        for k, layer in enumerate(layers):
            if not callable(layer):
                raise OptionError("Sequential", "a layer is something to call",
                                  given=f"layer {k}: {type(layer).__name__}",
                                  expected="Module instances or functions")  # fmt: skip
        self.layers = layers

    def forward(self, x: Any) -> Any:
        """Pass x through every layer."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, k: int) -> Any:
        return self.layers[k]

    def __len__(self) -> int:
        return len(self.layers)
