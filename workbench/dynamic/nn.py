"""Layers: a module owns parameters and other modules, and is called like a function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.dynamic import ops
from workbench.dynamic.tensor import Tensor, tensor
from workbench.errors import OptionError


class Parameter(Tensor):
    """A leaf that requires a gradient and that a :class:`Module` finds among its attributes.

    Parameters
    ----------
    data : array_like
        Copied; float32 or float64.
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(tensor(data, requires_grad=True).data, True)


class Module:
    """Base class of layers and models.

    A subclass sets parameters and modules (or lists of modules) as attributes and writes
    ``forward``.

    Attributes
    ----------
    training : bool
        What layers that behave differently when training look at.
    """

    training = True

    def forward(self, *args: Any) -> Any:
        """Compute the result; written by each module."""
        raise OptionError(type(self).__name__, "this module has no forward",
                          fix="write the method forward(self, x)")  # fmt: skip

    def __call__(self, *args: Any) -> Any:
        """Return ``self.forward(*args)``."""
        return self.forward(*args)

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes, or in lists that are, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple):
                for k, each in enumerate(value):
                    if isinstance(each, Module):
                        yield f"{name}.{k}", each

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter once, with its path of attribute names, in order of definition."""
        seen = set()
        for name, parameter in self._paths():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _paths(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value
        for name, child in self.children():
            for path, parameter in child._paths():
                yield f"{name}.{path}", parameter

    def parameters(self) -> list[Parameter]:
        """Return each parameter once, in order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training, and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch this module and all below it to evaluation, and return it."""
        return self.train(False)


def _weights(where: str, shape: tuple[int, ...], fan_in: int, fan_out: int,
             rng: np.random.Generator | None, dtype: npt.DTypeLike) -> Parameter:  # fmt: skip
    """Draw uniformly from ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    if not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise OptionError(where, "sizes are positive integers", given=f"weights of shape {shape}")
    bound = (6 / (fan_in + fan_out)) ** 0.5
    rng = np.random.default_rng() if rng is None else rng
    drawn = rng.uniform(-bound, bound, shape)
    return Parameter(drawn.astype(arrays.float_dtype(dtype, where)))


class Linear(Module):
    """x @ w + b.

    Parameters
    ----------
    inputs, outputs : int
        Lengths D and K of an example before and after.
    rng : numpy.random.Generator, optional
        For the initial weights (Glorot uniform); unseeded by default.
    bias : bool
        Whether there is a b; it starts at zero.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    w : Parameter, (D, K)
    b : Parameter, (K,), or None
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator | None = None,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.w = _weights("Linear", (inputs, outputs), inputs, outputs, rng, dtype)
        self.b = Parameter(np.zeros(outputs, self.w.dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Return (N, K) for x (N, D)."""
        return ops.affine(x, self.w, self.b)


class Conv2d(Module):
    """Cross-correlation of images with kernels.

    Parameters
    ----------
    inputs, outputs : int
        Numbers C and F of channels before and after.
    size : int or (int, int)
        Height and width of a kernel, in pixels.
    stride, padding : int or (int, int)
        In pixels.
    rng, bias, dtype
        As for :class:`Linear`.

    Attributes
    ----------
    w : Parameter, (F, C, KH, KW)
    b : Parameter, (F,), or None
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        rng: np.random.Generator | None = None,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        kh, kw = arrays.pair(size, "Conv2d", "size", 1)
        shape, area = (outputs, inputs, kh, kw), kh * kw
        self.w = _weights("Conv2d", shape, inputs * area, outputs * area, rng, dtype)
        self.b = Parameter(np.zeros(outputs, self.w.dtype)) if bias else None
        self.stride = arrays.pair(stride, "Conv2d", "stride", 1)
        self.padding = arrays.pair(padding, "Conv2d", "padding", 0)

    def forward(self, x: Any) -> Tensor:
        """Return (N, F, OH, OW) for x (N, C, H, W)."""
        return ops.conv2d(x, self.w, self.b, self.stride, self.padding)


class MaxPool2d(Module):
    """Maximum of each window; parameters as :func:`ops.max_pool2d`."""

    def __init__(self, size: int, stride: int | None = None, padding: int = 0) -> None:
        self.options = (size, stride, padding)

    def forward(self, x: Any) -> Tensor:
        """Return (N, C, OH, OW) for x (N, C, H, W)."""
        return ops.max_pool2d(x, *self.options)


class AvgPool2d(MaxPool2d):
    """Mean of each window; parameters as :func:`ops.avg_pool2d`."""

    def forward(self, x: Any) -> Tensor:
        """Return (N, C, OH, OW) for x (N, C, H, W)."""
        return ops.avg_pool2d(x, *self.options)


class Flatten(Module):
    """Each example as one row."""

    def forward(self, x: Any) -> Tensor:
        """Return (N, D) for x (N, ...)."""
        return ops.reshape(x, (len(x), -1))


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


class SoftmaxCrossEntropy(Module):
    """Mean of -log(softmax(logits)[label]) over the batch."""

    forward = staticmethod(ops.softmax_cross_entropy)


class MeanSquaredError(Module):
    """Mean of (prediction - target) ** 2 over all elements."""

    forward = staticmethod(ops.mean_squared_error)


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
