"""The table of ops: one row an op, run in every era that has ops.

A row gives the NumPy reference, a sampler of inputs, and what is known of the op:
where its kinks are (the sampler keeps away from them) and, if it has no gradient,
why.  ``test_ops.py`` and, for era 2 in all its modes, ``test_symbolic.py`` run each row in
each of its eras: value, first and second order, float32 and float64, non-contiguous inputs;
rows of their own are empty, zero-dimensional, broadcast or have axes of length one where
that makes sense.  ``test_extremes.py`` feeds them NaN, infinities and the like.

The rows of this file hold in every era that has ops; the files ``rows_*.py`` add what
an era has beyond them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.signal
import scipy.special

STEP = "it is piecewise constant: its derivative is zero wherever it has one"


@dataclass(frozen=True)
class Row:
    """One op: ``call(ops, *inputs)`` in an era, ``reference(*inputs)`` in NumPy."""

    name: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    sample: Callable[[np.random.Generator], list[np.ndarray]]
    no_gradient: str | None = None
    differentiable: tuple[int, ...] = field(default=())
    label: str = ""
    eras: tuple[str, ...] = ("symbolic", "dynamic", "functional")

    @property
    def id(self) -> str:
        return f"{self.name}{'-' + self.label if self.label else ''}"


def normal(*shapes):
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def between(low, high, *shapes):
    return lambda rng: [rng.uniform(low, high, shape) for shape in shapes]


def away_from_zero(*shapes):
    """Magnitudes in [0.3, 2], either sign: no kink at zero within any step's reach."""
    return lambda rng: [
        rng.uniform(0.3, 2, shape) * rng.choice([-1.0, 1.0], shape) for shape in shapes
    ]


def distinct(*shapes):
    """All values of an array at least 0.2 apart: no ties for max to split."""

    def sample(rng):
        return [
            (rng.permutation(int(np.prod(shape))).reshape(shape) - np.prod(shape) / 2) * 0.2
            for shape in shapes
        ]

    return sample


def apart(*shapes):
    """Two broadcastable arrays that differ everywhere by at least 0.2."""

    def sample(rng):
        x = rng.integers(-5, 5, shapes[0]) * 0.4
        y = rng.integers(-5, 5, shapes[1]) * 0.4 + 0.2
        return [x, y]

    return sample


ROWS: list[Row] = []


def op(name, sample, reference=None, call=None, **known):
    """Add a row; by default the op is called plainly and NumPy has the same name."""
    ROWS.append(
        Row(
            name,
            call or (lambda ops, *inputs, name=name: getattr(ops, name)(*inputs)),
            reference or getattr(np, name),
            sample,
            **known,
        )
    )


def variants(name, sample, arguments, reference=None, **known):
    """Add a row for each set of arguments beyond the arrays."""
    reference = reference or getattr(np, name)
    for label, given in arguments.items():
        op(
            name,
            sample,
            lambda *x, given=given: reference(*x, **given),
            lambda ops, *x, name=name, given=given: getattr(ops, name)(*x, **given),
            label=label,
            **known,
        )


# --- elementwise -----------------------------------------------------------------

for name in ("add", "subtract", "multiply"):
    op(name, normal((3, 4), (3, 4)))
    op(name, normal((3, 1), (4,)), label="broadcast")
    op(name, normal((), (2, 3)), label="zero-dimensional")
    op(name, normal((0, 3), (3,)), label="empty")
op("divide", away_from_zero((3, 4), (3, 4)))
op("divide", away_from_zero((2, 1, 3), (4, 1)), label="broadcast")
op("power", between(0.5, 2, (3, 4), (3, 4)))
op("power", between(0.5, 2, (3, 1), (4,)), label="broadcast")
op("negative", normal((3, 4)))
op("exp", normal((3, 4)))
op("log", between(0.3, 3, (3, 4)))
op("log1p", between(-0.5, 3, (3, 4)))
op("expm1", normal((3, 4)))
op("sqrt", between(0.3, 3, (3, 4)))
op("square", normal((3, 4)))
op("absolute", away_from_zero((3, 4)))
op("sign", away_from_zero((3, 4)), no_gradient=STEP)
op("sin", normal((3, 4)))
op("cos", normal((3, 4)))
op("tanh", normal((3, 4)))
op("tanh", normal(()), label="zero-dimensional")
op("sigmoid", normal((3, 4)), scipy.special.expit)
op("relu", away_from_zero((3, 4)), lambda x: np.maximum(x, 0))
op("maximum", apart((3, 4), (3, 4)))
op("maximum", apart((3, 1), (4,)), label="broadcast")
op("minimum", apart((3, 4), (3, 4)))
op(
    "where",
    normal((3, 4), (3, 1)),
    lambda x, y: np.where(CONDITION, x, y),
    lambda ops, x, y: ops.where(CONDITION, x, y),
)
CONDITION = np.arange(12).reshape(3, 4) % 3 == 0
for name in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"):
    op(name, apart((3, 4), (4,)), no_gradient=STEP)

# --- products and reductions --------------------------------------------------------

op("matmul", normal((3, 4), (4, 2)))
op("matmul", normal((5, 3, 4), (4, 2)), label="batch")
op("matmul", normal((2, 1, 3, 4), (5, 4, 2)), label="broadcast-batch")
op("matmul", normal((4,), (4,)), label="vectors")
op("matmul", normal((3, 4), (4,)), label="matrix-vector")
op("matmul", normal((4,), (4, 2)), label="vector-matrix")
AXES = {
    "all": {},
    "axis": {"axis": 1},
    "axes": {"axis": (0, 2)},
    "keepdims": {"axis": -1, "keepdims": True},
}
variants("sum", normal((2, 3, 4)), AXES)
variants("mean", normal((2, 3, 4)), AXES)
variants("max", distinct((2, 3, 4)), AXES)
variants("min", distinct((2, 3, 4)), AXES)
variants("logsumexp", normal((2, 3, 4)), AXES, scipy.special.logsumexp)
op(
    "argmax",
    distinct((3, 4)),
    lambda x: np.argmax(x, axis=1),
    lambda ops, x: ops.argmax(x, axis=1),
    no_gradient=STEP,
)

# --- shapes -----------------------------------------------------------------------

variants("reshape", normal((3, 4)), {"rows": {"shape": (2, 6)}, "inferred": {"shape": (-1,)}},
         lambda x, shape: np.reshape(x, shape))  # fmt: skip
variants("transpose", normal((2, 3, 4)), {"reversed": {}, "axes": {"axes": (1, 2, 0)}})
variants("broadcast_to", normal((3, 1)), {"columns": {"shape": (2, 3, 4)}})
variants("expand_dims", normal((3, 4)), {"middle": {"axis": 1}, "last": {"axis": -1}})
variants("squeeze", normal((1, 3, 1)), {"all": {}, "last": {"axis": 2}})
for axis in (0, 1, -1):
    op(
        "concatenate",
        normal((3, 3), (3, 3)),
        lambda x, y, axis=axis: np.concatenate([x, y], axis),
        lambda ops, x, y, axis=axis: ops.concatenate([x, y], axis),
        label=f"axis{axis}",
    )
INDICES = {
    "int": 1,
    "slice": np.s_[1:, ::2],
    "negative-step": np.s_[::-1],
    "ellipsis": np.s_[..., 0],
    "new-axis": np.s_[:, None],
    "array": np.array([0, 2, 0]),
    "pair-of-arrays": (np.array([0, 1, 1]), np.array([3, 0, 0])),
}
for label, index in INDICES.items():
    op(
        "getitem",
        normal((3, 4)),
        lambda x, index=index: x[index],
        lambda ops, x, index=index: x[index],
        label=label,
    )

# --- networks ---------------------------------------------------------------------

LABELS = np.array([3, 0, 2, 2])


def reference_loss(logits):
    return -scipy.special.log_softmax(logits, axis=1)[np.arange(4), LABELS].mean()


def reference_conv2d(x, w, b=None, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    y = np.stack(
        [
            np.stack(
                [
                    sum(
                        scipy.signal.correlate2d(channel, kernel, "valid")
                        for channel, kernel in zip(image, kernels, strict=True)
                    )
                    for kernels in w
                ]
            )
            for image in x
        ]
    )[:, :, ::stride, ::stride]
    return y if b is None else y + b[:, None, None]


def reference_pool(reduce):
    def pool(x, size, stride=None):
        stride = stride or size
        _n, _c, h, w = x.shape
        rows = range(0, h - size + 1, stride)
        columns = range(0, w - size + 1, stride)
        return np.stack(
            [
                np.stack(
                    [reduce(x[:, :, i : i + size, j : j + size], axis=(2, 3)) for j in columns], -1
                )
                for i in rows
            ],
            -2,
        )

    return pool


def reference_im2col(x, size, stride=1):
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def reference_col2im(windows, shape, stride=1):
    image = np.zeros(shape, windows.dtype)
    _, _, oh, ow, kh, kw = windows.shape
    for i, j in np.ndindex(oh, ow):
        image[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += windows[
            :, :, i, j
        ]
    return image


variants("softmax", normal((3, 4)), {"rows": {}, "columns": {"axis": 0}},
         lambda x, axis=-1: scipy.special.softmax(x, axis=axis))  # fmt: skip
variants("log_softmax", normal((3, 4)), {"rows": {}, "columns": {"axis": 0}},
         lambda x, axis=-1: scipy.special.log_softmax(x, axis=axis))  # fmt: skip
op(
    "softmax_cross_entropy",
    normal((4, 5)),
    reference_loss,
    lambda ops, x: ops.softmax_cross_entropy(x, LABELS),
)
op("mean_squared_error", normal((3, 4), (3, 4)), lambda x, y: np.mean((x - y) ** 2))
CONVOLUTIONS = {"plain": {}, "stride": {"stride": 2}, "padding": {"padding": 1, "stride": 2}}
variants("conv2d", normal((2, 3, 6, 5), (4, 3, 3, 2)), CONVOLUTIONS, reference_conv2d)
variants("conv2d", normal((2, 2, 5, 5), (3, 2, 3, 3), (3,)), {"bias": {}}, reference_conv2d)
POOLS = {
    "tiles": {"size": 2},
    "overlap": {"size": 3, "stride": 1},
    "gaps": {"size": 2, "stride": 3},
}
variants("max_pool2d", distinct((2, 2, 5, 6)), POOLS, reference_pool(np.max))
variants("avg_pool2d", normal((2, 2, 5, 6)), POOLS, reference_pool(np.mean))
variants("im2col", normal((2, 2, 5, 6)), POOLS | {"plain": {"size": 3}},
         lambda x, size, stride=1: reference_im2col(x, size, stride))  # fmt: skip
variants("col2im", normal((2, 2, 3, 4, 2, 2)), {"plain": {"shape": (2, 2, 4, 5)},
          "stride": {"shape": (2, 2, 6, 8), "stride": 2}},
         reference_col2im)  # fmt: skip
