"""The layers: each an ``init`` above its ``apply``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np

from workbench import arrays
from workbench.errors import DtypeError, OptionError
from workbench.functional import numpy as fnp
from workbench.functional import random
from workbench.functional.control import scan
from workbench.functional.core import Value, get_aval, shape_of
from workbench.functional.nn import functions as f
from workbench.functional.numpy.neural import Size

Shape: TypeAlias = tuple[int, ...]
Init: TypeAlias = Callable[[Value, Any], tuple[Any, Any]]
Apply: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Layer:
    """A pair of functions; ``init, apply = layer`` takes it apart.

    Attributes
    ----------
    init : callable
        ``init(key, input_shape) -> (output_shape, parameters)``.
    apply : callable
        ``apply(parameters, x, *, key=None, train=False) -> y``.
    watch : callable, optional
        ``watch(parameters, x) -> (y, parameters)``, for :meth:`observe`.
    """

    init: Init
    apply: Apply
    watch: Callable[[Any, Any], tuple[Any, Any]] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.apply))

    def observe(self, parameters: Any, x: Any) -> tuple[Any, Any]:
        """Return (y, parameters), these with the statistics of the data ``x``.

        What a layer learns otherwise than from gradients: see :func:`BatchNorm`.
        """
        if self.watch is None:
            return self.apply(parameters, x), parameters
        return self.watch(parameters, x)


# --- Layers with parameters. ---


def Dense(outputs: int) -> Layer:  # noqa: N802
    """``x @ w + b``: (..., D) to (..., K); parameters {"w": (D, K), "b": (K,)}."""
    name = f"Dense({outputs})"
    f.sizes(name, outputs)

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        f.fits(name, len(shape) > 0 and shape[-1] > 0, shape, "(..., D)")
        w = f.glorot_uniform(key, (shape[-1], outputs), shape[-1], outputs)
        return (*shape[:-1], outputs), {"w": w, "b": fnp.zeros(outputs, np.float32)}

    return Layer(init, lambda parameters, x, **_: f.dense(name, x, **parameters))


def Conv2d(channels: int, size: Size, stride: Size = 1, padding: Size = 0) -> Layer:  # noqa: N802
    """Cross-correlation with ``channels`` kernels: (N, C, H, W) to (N, F, OH, OW).

    Parameters are {"w": (F, C, KH, KW), "b": (F,)}.
    """
    name = f"Conv2d({channels}, {size})"
    f.sizes(name, channels)
    kernel = arrays.pair(size, name, "size", 1)

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        *_, oh, ow = _windows(name, shape, kernel, stride, padding)
        w = f.kernels(key, shape[1], channels, kernel)
        return (shape[0], channels, oh, ow), {"w": w, "b": fnp.zeros(channels, np.float32)}

    options = {"stride": stride, "padding": padding}
    return Layer(init, lambda own, x, **_: f.convolution(name, x, **own, **options))


def _windows(name: str, shape: Shape, size: Size, stride: Size, padding: Size) -> Shape:
    """Return (N, C, OH, OW) for images of a shape."""
    k, s, p = (
        arrays.pair(value, name, option, least)
        for value, option, least in ((size, "size", 1), (stride, "stride", 1), (padding, "padding", 0))
    )  # fmt: skip
    room = [n + 2 * p[i] - k[i] for i, n in enumerate(shape[2:])] if len(shape) == 4 else [-1]
    f.fits(name, min(room) >= 0, shape, f"(N, C, H, W), padded at least {k}")
    return *shape[:2], *(n // s[i] + 1 for i, n in enumerate(room))


def Embedding(rows: int, outputs: int) -> Layer:  # noqa: N802
    """Row x of a table, for integers x of any shape (...): (..., K); parameters {"w": (rows, K)}.

    Rows are drawn from N(0, 1).  Raises DtypeError for an input that is not of integers.
    """
    name = f"Embedding({rows}, {outputs})"
    f.sizes(name, rows, outputs)

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        return (*shape, outputs), {"w": random.normal(key, (rows, outputs), np.float32)}

    def apply(parameters: Any, x: Value, **_: Any) -> Value:
        if get_aval(x, name).dtype.kind not in "iu":
            raise DtypeError(name, "rows are named by integers", given=f"input {get_aval(x)}",
                             expected=f"integers from 0 to {rows - 1}")  # fmt: skip
        return fnp.take(parameters["w"], x, 0)

    return Layer(init, apply)


def LayerNorm(eps: float = 1e-5) -> Layer:  # noqa: N802
    """Each example's last axis made mean 0 and variance 1, then scaled and shifted.

    Ba, Kiros and Hinton (2016).  Parameters {"scale": (D,), "shift": (D,)}.
    """

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        f.fits("LayerNorm", len(shape) > 0 and shape[-1] > 0, shape, "(..., D)")
        return shape, {
            "scale": fnp.ones(shape[-1], np.float32),
            "shift": fnp.zeros(shape[-1], np.float32),
        }

    return Layer(init, lambda own, x, **_: f.layer_norm("LayerNorm", x, **own, eps=eps))


def BatchNorm(eps: float = 1e-5) -> Layer:  # noqa: N802
    """Each channel (axis 1) made mean 0 and variance 1 over the batch, scaled and shifted.

    With ``train`` the batch's own statistics are used, without it those in the parameters,
    {"scale", "shift", "mean", "var"}, each (C,).

    Notes
    -----
    Eager frameworks keep a running mean, state that depends on the order of the batches and
    that a pure ``apply`` would have to take and return through every layer around it.  Here
    the statistics are what they stand for, a function of the parameters and of data::

        y, parameters = layer.observe(parameters, x)

    once, after training.  So Ioffe and Szegedy had it (2015, algorithm 2), and Wu and Johnson
    (2021, "Rethinking 'Batch' in BatchNorm") find it better than the running mean.
    """

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        f.fits("BatchNorm", len(shape) > 1 and shape[1] > 0, shape, "(N, C, ...)")
        names = {"scale": fnp.ones, "shift": fnp.zeros, "mean": fnp.zeros, "var": fnp.ones}
        return shape, {name: make(shape[1], np.float32) for name, make in names.items()}

    def apply(parameters: Any, x: Value, *, train: bool = False, **_: Any) -> Value:
        return watch(parameters, x)[0] if train else normalized(parameters, x)

    def normalized(parameters: Any, x: Value) -> Value:
        shape, c = shape_of(x), parameters["scale"].shape[0]
        f.fits("BatchNorm", shape[1:2] == (c,), shape, f"(N, {c}, ...)")
        scale = parameters["scale"] / fnp.sqrt(parameters["var"] + eps)
        per_channel = (c, *[1] * (len(shape) - 2))
        shift = parameters["shift"] - parameters["mean"] * scale
        return x * fnp.reshape(scale, per_channel) + fnp.reshape(shift, per_channel)

    def watch(parameters: Any, x: Value) -> tuple[Value, Any]:
        shape = shape_of(x)
        f.fits("BatchNorm", prod(shape) > shape[1], shape, "of several elements a channel")
        axes = [axis for axis in range(len(shape)) if axis != 1]
        parameters = {**parameters, "mean": fnp.mean(x, axes), "var": fnp.var(x, axes)}
        return normalized(parameters, x), parameters

    return Layer(init, apply, watch)


def LSTM(hidden: int) -> Layer:  # noqa: N802
    """Long short-term memory along axis 0, from a state of zeros: (T, ..., D) to (T, ..., H).

    Parameters {"wx": (D, 4H), "wh": (H, 4H), "b": (4H,)}, for ``lstm_cell``.
    """
    return _recurrent(
        f"LSTM({hidden})", hidden, 4, 2, f.lstm_cell, lambda: {"b": f.lstm_bias(hidden)}
    )


def GRU(hidden: int) -> Layer:  # noqa: N802
    """Gated recurrent units along axis 0, from a state of zeros: (T, ..., D) to (T, ..., H).

    Parameters {"wx": (D, 3H), "wh": (H, 3H), "b": (3H,), "bh": (H,)}, for ``gru_cell``.
    """
    lengths = {"b": 3 * hidden, "bh": hidden}
    return _recurrent(f"GRU({hidden})", hidden, 3, 1, f.gru_cell,
                      lambda: {name: fnp.zeros(n, np.float32) for name, n in lengths.items()})  # fmt: skip


def _recurrent(name: str, hidden: int, gates: int, states: int, cell: Callable[..., Any],
               biases: Callable[[], Any]) -> Layer:  # fmt: skip
    f.sizes(name, hidden)

    def init(key: Value, shape: Shape) -> tuple[Shape, Any]:
        f.fits(name, len(shape) > 1 and shape[-1] > 0, shape, "(T, ..., D)")
        wx, wh = f.recurrent_weights(key, shape[-1], hidden, gates)
        return (*shape[:-1], hidden), {"wx": wx, "wh": wh, **biases()}

    def apply(parameters: Any, x: Value, **_: Any) -> Value:
        rest, shape = dict(parameters), shape_of(x)
        wx, b = rest.pop("wx"), rest.pop("b")
        f.fits(name, len(shape) > 1, shape, f"(T, ..., {wx.shape[0]})")
        # One product projects the inputs of all steps (Appleyard et al., 2016).
        a = f.dense(name, x, wx, b)

        def step(state: Any, a: Value) -> tuple[Any, Value]:
            state = cell(state, a, **rest)
            return state, state[0]

        return scan(step, (fnp.zeros((*shape[1:-1], hidden), a.dtype),) * states, a)[1]

    return Layer(init, apply)


# --- Layers without. ---


def plain(apply: Apply, shape: Callable[[Any], Any] = lambda shape: shape) -> Layer:
    """Make a layer without parameters from its f(x) and from what it does to shapes."""
    return Layer(lambda key, given: (shape(given), ()), lambda parameters, x, **_: apply(x))


def elementwise(function: Callable[[Value], Value]) -> Layer:
    """Make a layer without parameters from a function that keeps shapes: ``elementwise(sin)``."""
    return plain(function)


Identity = elementwise(lambda x: x)
Relu = elementwise(fnp.relu)
Sigmoid = elementwise(fnp.sigmoid)
Tanh = elementwise(fnp.tanh)
Softmax = elementwise(fnp.softmax)
LogSoftmax = elementwise(fnp.log_softmax)
Flatten = plain(
    lambda x: fnp.reshape(x, (x.shape[0], prod(x.shape[1:]))), lambda s: (s[0], prod(s[1:]))
)


def MaxPool2d(size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:  # noqa: N802
    """Maximum of every window: (N, C, H, W) to (N, C, OH, OW); the stride is ``size`` by default."""
    return _pool(f"MaxPool2d({size})", fnp.max_pool2d, size, stride, padding)


def AvgPool2d(size: Size, stride: Size | None = None, padding: Size = 0) -> Layer:  # noqa: N802
    """Mean of every window: (N, C, H, W) to (N, C, OH, OW); the stride is ``size`` by default."""
    return _pool(f"AvgPool2d({size})", fnp.avg_pool2d, size, stride, padding)


def _pool(name: str, pool: Apply, size: Size, stride: Size | None, padding: Size) -> Layer:
    windows = {"size": size, "stride": size if stride is None else stride, "padding": padding}
    return plain(partial(pool, **windows), lambda shape: _windows(name, shape, **windows))


def Dropout(rate: float) -> Layer:  # noqa: N802
    """With ``train`` each element is 0 with probability ``rate``, else divided by 1 - rate.

    Srivastava et al. (2014).  Without ``train`` it is the identity.

    Raises
    ------
    OptionError
        If the rate is not in [0, 1), or there is no key to draw with in training.
    """
    name = f"Dropout({rate})"
    if not 0 <= rate < 1:
        raise OptionError(name, "the rate is out of range", expected="0 <= rate < 1")

    def apply(parameters: Any, x: Value, *, key: Value = None, train: bool = False) -> Value:
        if not train or not rate:
            return x
        if key is None:
            raise OptionError(name, "training needs a key to draw with",
                              fix="apply(parameters, x, key=key, train=True), a new key each time: "
                              "functional.random.split")  # fmt: skip
        return fnp.where(random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    return Layer(lambda key, shape: (shape, ()), apply)
