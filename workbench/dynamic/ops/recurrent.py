"""Recurrent networks: one readable step of each, and the same over a whole sequence, fused.

A step is written in recorded operations.  A sequence is one operation: its inputs are
projected by one product, its loop runs on plain arrays in memory that was set aside, and
the gradients of the weights are summed over time by one product (as cuDNN does;
Appleyard et al., 2016).  To differentiate a second time, its backward unrolls the steps.

Letters: T steps, N sequences, D inputs, H hidden units; time comes first.  ``held`` is
True where a sequence has ended, (T, N, 1): its state stays as it is from there on.

PyTorch's ``weight_ih`` and ``weight_hh`` are ``wx.T`` and ``wh.T`` here, with the blocks of
the gates in the same order, and ``b`` is the sum of its two biases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.engine import grad
from workbench.dynamic.function import Function
from workbench.dynamic.ops.elementwise import sigmoid, tanh, values, where
from workbench.dynamic.ops.linear import affine
from workbench.dynamic.ops.shapes import concatenate
from workbench.dynamic.tensor import Tensor
from workbench.errors import DtypeError, OptionError, ShapeError

__all__ = [
    "gru", "gru_cell", "lstm", "lstm_cell", "rnn", "rnn_cell",
]  # fmt: skip


def rnn_cell(x: Any, h: Any, wx: Any, wh: Any, b: Any) -> Any:
    """Return the next state, ``tanh(x @ wx + h @ wh + b)`` (Elman, 1990).

    Parameters
    ----------
    x : (N, D)
    h : (N, H)
    wx, wh, b : (D, H), (H, H), (H,)

    Returns
    -------
    Tensor, shape (N, H)

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.
    """
    return tanh(affine(x, wx, b) + h @ wh)


class Rnn(Function):
    """rnn_cell, step after step."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, h: Any, wx: Any, wh: Any, b: Any, held: Any) -> Any:
        (a,), states, _ = _begin("rnn", x, (h,), wx, wh, b, (0,), 0)
        for t, y in enumerate(states[1:]):
            np.matmul(states[t], wh, out=y)
            y += a[t]
            np.tanh(y, out=y)
            if held is not None:
                np.copyto(y, states[t], where=held[t])
        ctx.args, ctx.states, ctx.held = (x, h, wx, wh, b, None), states, held
        ctx.output = states[1:]
        return ctx.output

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        if isinstance(g, Tensor):
            return _unrolled_backward(ctx, g, rnn_cell, 1)
        (wx, wh), held, dh = ctx.args[2:4], ctx.held, np.zeros_like(g[0])
        da = 1 - np.square(ctx.output)  # The slopes first; the loop makes them gradients.
        if held is not None:
            da *= ~held
        for t in reversed(range(len(da))):
            dh += g[t]
            da[t] *= dh
            dh = _step_back(da[None, t], wh.T, dh, held, t)
        dx, dwx, dwh, db = _weights_backward(ctx, wx, da[None], da[None], (0,))
        return dx, dh, dwx, dwh, db


def rnn(x: Any, h: Any, wx: Any, wh: Any, b: Any, lengths: Any = None) -> Any:
    """Apply :func:`rnn_cell` along sequences.

    Parameters
    ----------
    x : (T, N, D), or integers (T, N)
        Integers name rows of wx: they stand for vectors that are one there and zero elsewhere.
    h : (N, H)
        The state before the first step.
    wx, wh, b
        As for one step.
    lengths : integers, (N,), optional
        Of each sequence, from 1 to T; the state of one that has ended stays.

    Returns
    -------
    Tensor, shape (T, N, H)
        The state after each step.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the arguments do not fit each other.
    """
    return Rnn.apply(x, h, wx, wh, b, _held("rnn", x, lengths))


def lstm_cell(x: Any, h: Any, c: Any, wx: Any, wh: Any, b: Any) -> tuple[Any, Any]:
    """Return the next state and cell of a long short-term memory.

    Parameters
    ----------
    x : (N, D)
    h, c : (N, H)
    wx, wh, b : (D, 4H), (H, 4H), (4H,)
        Blocks of H columns, in the order i, f, g, o: input gate, forget gate, candidate,
        output gate.

    Returns
    -------
    (h, c) : two Tensors, shape (N, H)
        ``c = f * c + i * g`` and ``h = o * tanh(c)``; i, f and o are sigmoids, g is a tanh,
        all of ``x @ wx + h @ wh + b``.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Notes
    -----
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and
    Cummins (2000).
    """
    a, width = affine(x, wx, b) + h @ wh, len(wh)
    i, f, o = (sigmoid(a[:, k * width : (k + 1) * width]) for k in (0, 1, 3))
    c = f * c + i * tanh(a[:, 2 * width : 3 * width])
    return o * tanh(c), c


OIFG = (3, 0, 1, 2)
"""The gates as they are kept: the three sigmoids lead, and c depends on the last three."""


class Lstm(Function):
    """lstm_cell, step after step: every h, and the last c below them."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, h: Any, c: Any, wx: Any, wh: Any, b: Any, held: Any) -> Any:
        gates, states, weights = _begin("lstm", x, (h, c), wx, wh, b, OIFG, 3)
        cells, squashed = np.empty_like(states[:-1]), np.empty_like(states[1:-1])
        product, scratch, cells[0] = np.empty_like(gates[:, 0]), np.empty_like(cells[0]), c
        for t in range(len(x)):
            a, cell, y = gates[:, t], cells[t + 1], states[t + 1]
            a += np.matmul(states[t], weights, out=product)
            _logistic(a[:3])
            o, i, f, g = a
            np.tanh(g, out=g)
            np.multiply(f, cells[t], out=cell)
            cell += np.multiply(i, g, out=scratch)
            np.multiply(o, np.tanh(cell, out=squashed[t]), out=y)
            if held is not None:
                np.copyto(cell, cells[t], where=held[t])
                np.copyto(y, states[t], where=held[t])
        states[-1] = cells[-1]
        ctx.args, ctx.states, ctx.held = (x, h, c, wx, wh, b, None), states, held
        ctx.gates, ctx.cells, ctx.squashed = gates, cells, squashed
        ctx.output = states[1:]
        return ctx.output

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        if isinstance(g, Tensor):
            return _unrolled_backward(ctx, g, lstm_cell, 2)
        (wx, wh), held, tanh_c = ctx.args[3:5], ctx.held, ctx.squashed
        wh_t = _by_gate(wh, OIFG).swapaxes(1, 2).reshape(-1, len(wh))
        o, i, f, candidate = ctx.gates
        da = 1 - ctx.gates
        da *= ctx.gates  # The slopes of sigmoids.  Times the rest of those of h and of c:
        da[0] *= tanh_c
        da[1] *= candidate
        da[2] *= ctx.cells[:-1]
        da[3] = i * (1 - np.square(candidate))
        of_c = o * (1 - np.square(tanh_c))  # The slope of h in c.
        if held is not None:
            da *= ~held
            of_c *= ~held
            f = np.where(held, 1, f)
        dh, dc = np.zeros_like(g[0]), g[-1].copy()
        for t in reversed(range(len(tanh_c))):
            dh += g[t]
            dc += dh * of_c[t]
            da[0, t] *= dh
            da[1:, t] *= dc
            dc *= f[t]
            dh = _step_back(da[:, t], wh_t, dh, held, t)
        dx, dwx, dwh, db = _weights_backward(ctx, wx, da, da, OIFG)
        return dx, dh, dc, dwx, dwh, db


def lstm(x: Any, h: Any, c: Any, wx: Any, wh: Any, b: Any, lengths: Any = None) -> tuple[Any, Any]:
    """Apply :func:`lstm_cell` along sequences.

    Parameters
    ----------
    x
        As for :func:`rnn`.
    h, c : (N, H)
        State and cell before the first step.
    wx, wh, b
        As for one step.
    lengths
        As for :func:`rnn`.

    Returns
    -------
    (y, c) : two Tensors, shapes (T, N, H) and (N, H)
        The state after each step, and the last cell.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the arguments do not fit each other.
    """
    packed = Lstm.apply(x, h, c, wx, wh, b, _held("lstm", x, lengths))
    return packed[:-1], packed[-1]


def gru_cell(x: Any, h: Any, wx: Any, wh: Any, b: Any, bh: Any) -> Any:
    """Return the next state of a gated recurrent unit.

    Parameters
    ----------
    x : (N, D)
    h : (N, H)
    wx, wh, b : (D, 3H), (H, 3H), (3H,)
        Blocks of H columns, in the order r, z, n: reset gate, update gate, candidate.
    bh : (H,)
        Added to the candidate's part of ``h @ wh``.

    Returns
    -------
    Tensor, shape (N, H)
        ``(1 - z) * n + z * h``, where r and z are sigmoids of ``x @ wx + h @ wh + b`` and
        ``n = tanh(x @ wx + b + r * (h @ wh + bh))``.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Notes
    -----
    Cho et al. (2014), who reset h before its product with wh; resetting after it, as
    cuDNN and PyTorch do, needs one product a step.  PyTorch's ``bias_hh`` is zero but for
    its last block, bh, once the others are added to b.
    """
    a, u, width = affine(x, wx, b), h @ wh, len(wh)
    r = sigmoid(a[:, :width] + u[:, :width])
    z = sigmoid(a[:, width : 2 * width] + u[:, width : 2 * width])
    n = tanh(a[:, 2 * width :] + r * (u[:, 2 * width :] + bh))
    return n + z * (h - n)


class Gru(Function):
    """gru_cell, step after step."""

    fresh = True

    @staticmethod
    def forward(ctx: Any, x: Any, h: Any, wx: Any, wh: Any, b: Any, bh: Any, held: Any) -> Any:
        gates, states, weights = _begin("gru", x, (h,), wx, wh, b, (0, 1, 2), 2)
        from_h, product = np.empty_like(states[1:]), np.empty_like(gates[:, 0])
        for t, y in enumerate(states[1:]):
            r, z, n = gates[:, t]
            np.matmul(states[t], weights, out=product)
            gates[:2, t] += product[:2]
            _logistic(gates[:2, t])
            np.add(product[2], bh, out=from_h[t])
            n += np.multiply(r, from_h[t], out=y)
            np.tanh(n, out=n)
            np.subtract(states[t], n, out=y)
            y *= z
            y += n
            if held is not None:
                np.copyto(y, states[t], where=held[t])
        ctx.args, ctx.states, ctx.held = (x, h, wx, wh, b, bh, None), states, held
        ctx.gates, ctx.from_h, ctx.output = gates, from_h, states[1:]
        return ctx.output

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        if isinstance(g, Tensor):
            return _unrolled_backward(ctx, g, gru_cell, 1)
        (wx, wh), held, (r, z, n) = ctx.args[2:4], ctx.held, ctx.gates
        da = 1 - ctx.gates
        da *= ctx.gates  # The slopes of sigmoids.  Times the rest of those of h:
        da[2] = (1 - z) * (1 - np.square(n))
        da[1] *= ctx.states[:-1] - n
        da[0] *= da[2] * ctx.from_h
        if held is not None:
            da *= ~held
        du, dh = np.empty_like(da), np.zeros_like(g[0])  # du: the gradient of h @ wh.
        for t in reversed(range(len(z))):
            dh += g[t]
            da[:, t] *= dh
            du[:2, t] = da[:2, t]
            np.multiply(da[2, t], r[t], out=du[2, t])
            dh = _step_back(du[:, t], wh.T, dh, held, t, z[t])
        dx, dwx, dwh, db = _weights_backward(ctx, wx, da, du, (0, 1, 2))
        return dx, dh, dwx, dwh, db, du[2].sum(axis=(0, 1))


def gru(x: Any, h: Any, wx: Any, wh: Any, b: Any, bh: Any, lengths: Any = None) -> Any:
    """Apply :func:`gru_cell` along sequences.

    Parameters
    ----------
    x : (T, N, D), or integers (T, N)
        Integers name rows of wx: they stand for vectors that are one there and zero elsewhere.
    h : (N, H)
        The state before the first step.
    wx, wh, b, bh
        As for one step.
    lengths
        As for :func:`rnn`.

    Returns
    -------
    Tensor, shape (T, N, H)
        The state after each step.

    Raises
    ------
    ShapeError, DtypeError, OptionError
        If the arguments do not fit each other.
    """
    return Gru.apply(x, h, wx, wh, b, bh, _held("gru", x, lengths))


def _begin(
    name: str, x: Any, before: tuple[Any, ...], wx: Any, wh: Any, b: Any,
    order: tuple[int, ...], sigmoids: int,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Return x @ wx + b by gate, (gates, T, N, H), memory for h, and wh by gate.

    The arguments of the first ``sigmoids`` gates come negated, as :func:`_logistic` wants them.
    """
    one_hot = x.ndim == 2 and x.dtype.kind in "iu"
    given, gates, width = (*before, wx, wh, b), len(order), len(wh)
    steps, n, d = (*x.shape, len(wx)) if one_hot else x.shape if x.ndim == 3 else (0, 0, 0)
    wanted = [(d, gates * width), (width, gates * width), (gates * width,)]
    if not steps or [w.shape for w in given] != [(n, width)] * len(before) + wanted:
        k = "H" if gates == 1 else f"{gates}H"
        shapes = [str(each.shape) for each in given]
        raise ShapeError(name, "the shapes do not fit",
                         given=f"x {x.shape}, states {' '.join(shapes[:-3])}, wx {shapes[-3]}, "
                         f"wh {shapes[-2]}, b {shapes[-1]}",
                         expected="x (T, N, D) or integers (T, N), T not 0, states (N, H), "
                         f"wx (D, {k}), wh (H, {k}), b ({k},)")  # fmt: skip
    if any(each.dtype != wx.dtype for each in (given if one_hot else (x, *given))):
        raise DtypeError(name, "the arguments have different dtypes",
                         given=f"x {x.dtype}, others " + ", ".join(str(w.dtype) for w in given),
                         expected="one floating dtype", fix="x.astype(np.float32)")  # fmt: skip
    a = arrays.namespace(x).empty((gates, steps * n, width), wx.dtype)
    states = arrays.namespace(x).empty((steps + len(before), n, width), wx.dtype)
    states[0] = before[0]
    wx, wh, b = (_by_gate(w, order) for w in (wx, wh, b[None]))
    for w in (wx, wh, b):
        w[:sigmoids] *= -1
    if one_hot:
        if not 0 <= x.min() <= x.max() < d:
            raise OptionError(name, "x names a row that is not there",
                              given=f"x from {x.min()} to {x.max()}",
                              expected=f"0 to {d - 1}, for wx {given[-3].shape}")  # fmt: skip
        np.take(wx + b, x.reshape(-1), axis=1, out=a)
    else:
        np.matmul(x.reshape(steps * n, d), wx, out=a)
        a += b
    return a.reshape(gates, steps, n, width), states, wh


def _by_gate(w: Any, order: tuple[int, ...]) -> Any:
    """Return the blocks of columns of w as (gates, rows, H), a copy.

    What is computed with it by gate is one block of memory each, where elementwise
    operations are twice as fast as on columns side by side.
    """
    return w.reshape(len(w), len(order), -1).swapaxes(0, 1)[list(order)]


def _flat(by_gate: Any, order: Any = slice(None)) -> Any:
    """Return (gates, rows, H) as columns side by side; undoes an ``order``."""
    order = order if isinstance(order, slice) else np.argsort(order).tolist()
    return by_gate[order].swapaxes(0, 1).reshape(by_gate.shape[1], -1)


def _logistic(a: Any) -> None:
    """Turn minus x into 1 / (1 + exp(-x)), in place, exact in both tails."""
    with np.errstate(over="ignore"):  # To infinity, of which 0 is the right reciprocal.
        np.exp(a, out=a)
    a += 1
    np.divide(1, a, out=a)


def _step_back(du: Any, wh_t: Any, dh: Any, held: Any, t: int, kept: Any = None) -> Any:
    """Return the gradient of h before step t; ``kept`` is the share of h that stayed in h."""
    before = _flat(du) @ wh_t
    if kept is not None:
        before += kept * dh
    if held is not None:
        np.copyto(before, dh, where=held[t])
    return before


def _weights_backward(ctx: Any, wx: Any, da: Any, du: Any, order: tuple[int, ...]) -> Any:
    """Return the gradients of x, wx, wh and b from those of x @ wx + b and of h @ wh."""
    gates, steps, n, width = da.shape
    x, dx, shape = _rows(ctx.args[0], wx), None, (gates, steps * n, width)
    da, du = da.reshape(shape), du.reshape(shape)
    if ctx.inputs[0] is not None:
        dx = (_flat(da, order) @ wx.T).reshape(x.shape)
    before = ctx.states[:steps].reshape(steps * n, width)
    dwx = _flat(np.matmul(x.reshape(steps * n, -1).T, da), order)
    dwh = _flat(np.matmul(before.T, du), order)
    return dx, dwx, dwh, _flat(da.sum(axis=1, keepdims=True), order)[0]


def _rows(x: Any, wx: Any) -> Any:
    """Return x, where it is integers as the rows that are one at their places, else zero."""
    if x.dtype.kind == "f":
        return x
    return (x[..., None] == arrays.namespace(x).arange(len(wx))).astype(wx.dtype)


def _unrolled_backward(ctx: Any, g: Any, cell: Any, count: int) -> tuple[Any, ...]:
    """Return the same gradients from recorded steps, so that they have gradients themselves."""
    *args, _ = ctx.args
    args[0] = _rows(args[0], args[1 + count])
    copies = [+each for each in args]  # Apart, where one argument made another.
    x, states, weights = copies[0], copies[1 : 1 + count], copies[1 + count :]
    outputs = []
    for t in range(len(x)):
        after = cell(x[t], *states, *weights)
        after = after if isinstance(after, tuple) else (after,)
        if ctx.held is not None:
            after = [where(ctx.held[t], old, new) for old, new in zip(states, after, strict=True)]
        states = after
        outputs.append(states[0][None])
    y = concatenate([*outputs, *(last[None] for last in states[1:])])
    wanted = [each for each in copies if isinstance(each, Tensor)]
    found = dict(zip(map(id, wanted), grad(y, wanted, [g], create_graph=True), strict=True))
    return tuple(found.get(id(each)) for each in copies)


def _held(name: str, x: Any, lengths: Any) -> Any:
    """Return where sequences have ended, (T, N, 1); None if none does before the last step."""
    if lengths is None:
        return None
    lengths, (steps, n) = values(lengths), x.shape[:2]
    lengths = arrays.namespace(values(x)).asarray(lengths)
    if lengths.shape != (n,) or lengths.dtype.kind not in "iu":
        raise ShapeError(name, "lengths do not fit x",
                         given=f"lengths {lengths.shape} of {lengths.dtype}, x {x.shape}",
                         expected=f"{n} integers")  # fmt: skip
    if not (lengths >= 1).all() or not (lengths <= steps).all():
        raise OptionError(name, "a length is out of range",
                          given=f"lengths from {lengths.min()} to {lengths.max()}",
                          expected=f"1 to {steps}, for x {x.shape}")  # fmt: skip
    held = arrays.namespace(lengths).arange(steps)[:, None, None] >= lengths[:, None]
    return held if held.any() else None
