"""Recurrent networks: one step, and a sequence of steps with its way back through time.

The step pairs say what the network is.  The sequence pairs compute the same in fewer,
larger products: the inputs of all steps are projected at once, and the gradients of
the weights are summed over time by one product (as cuDNN does; Appleyard et al., 2016).

Letters: N sequences, T steps, D inputs, H hidden units.  ``a`` is what goes into the
nonlinearities, ``da`` its gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.arrays import Array, namespace
from workbench.errors import ShapeError
from workbench.manual._checks import check, check_g
from workbench.manual.activations import sigmoid


def rnn_step(x: Array, h: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, Any]:
    """Return the next hidden state, ``tanh(x @ wx + h @ wh + b)``.

    Parameters
    ----------
    x : array, shape (N, D)
    h : array, shape (N, H)
    wx : array, shape (D, H)
    wh : array, shape (H, H)
    b : array, shape (H,)

    Returns
    -------
    y : array, shape (N, H)
    cache
        For :func:`rnn_step_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together.

    Notes
    -----
    Source: Elman (1990), "Finding structure in time".
    """
    check("rnn_step", "x N D, h N H, wx D H, wh H H, b H", x, h, wx, wh, b)
    y = np.tanh(x @ wx + h @ wh + b)
    return y, (x, h, wx, wh, y)


def rnn_step_backward(g: Array, cache: Any) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gradients of :func:`rnn_step` with respect to x, h, wx, wh and b.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, h, wx, wh, y = cache
    check_g("rnn_step_backward", g, y.shape, y)
    da = g * (1 - y * y)
    return da @ wx.T, da @ wh.T, x.T @ da, h.T @ da, da.sum(axis=0)


def rnn(x: Array, h: Array, wx: Array, wh: Array, b: Array) -> tuple[Array, Any]:
    """Apply :func:`rnn_step` along a sequence.

    Parameters
    ----------
    x : array, shape (N, T, D)
    h : array, shape (N, H)
        The state before the first step.
    wx, wh, b : array
        As for one step.

    Returns
    -------
    y : array, shape (N, T, H)
        The state after every step.
    cache
        For :func:`rnn_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together.
    """
    check("rnn", "x N T D, h N H, wx D H, wh H H, b H", x, h, wx, wh, b)
    steps, a = _project(x, wx, b)
    hs = namespace(x).empty((len(a) + 1, *h.shape), np.result_type(a, h, wh))
    hs[0] = h
    for t in range(len(a)):
        np.tanh(a[t] + hs[t] @ wh, out=hs[t + 1])
    return hs[1:].swapaxes(0, 1), (steps, hs, wx, wh)


def rnn_backward(g: Array, cache: Any) -> tuple[Array, Array, Array, Array, Array]:
    """Return the gradients of :func:`rnn` with respect to x, h, wx, wh and b.

    Backpropagation through time: each state's gradient is what the loss asks of it plus
    what the next state sends back (Werbos, 1990).

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    steps, hs, wx, wh = cache
    check_g("rnn_backward", g, hs[1:].swapaxes(0, 1).shape, hs)
    da = np.empty_like(hs[1:])
    dh = np.zeros_like(hs[0])
    for t in reversed(range(len(da))):
        y = hs[t + 1]
        da[t] = (g[:, t] + dh) * (1 - y * y)
        dh = da[t] @ wh.T
    dx, dwx, dwh, db = _weights_backward(da, steps, hs[:-1], wx)
    return dx, dh, dwx, dwh, db


def lstm_step(
    x: Array, h: Array, c: Array, wx: Array, wh: Array, b: Array
) -> tuple[tuple[Array, Array], Any]:
    """Return the next hidden state and cell of a long short-term memory.

    Parameters
    ----------
    x : array, shape (N, D)
    h, c : array, shape (N, H)
    wx : array, shape (D, 4H)
    wh : array, shape (H, 4H)
    b : array, shape (4H,)
        Four blocks of H columns each, in the order i, f, g, o: input gate, forget gate,
        candidate, output gate.

    Returns
    -------
    (h, c) : arrays, shape (N, H)
        ``c = f * c + i * g`` and ``h = o * tanh(c)``, where i, f and o are sigmoids and
        the candidate g is a tanh.
    cache
        For :func:`lstm_step_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together.

    Notes
    -----
    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers,
    Schmidhuber and Cummins (2000).
    """
    check("lstm_step", "x N D, h N H, c N H, wx D 4H, wh H 4H, b 4H", x, h, c, wx, wh, b)
    y, cell = _cell(x @ wx + h @ wh + b, c)
    return y, (x, h, wx, wh, cell)


def lstm_step_backward(
    g: tuple[Array, Array], cache: Any
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return the gradients of :func:`lstm_step` with respect to x, h, c, wx, wh and b.

    ``g`` is a pair, as the output is: the gradients of the new h and of the new c.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    x, h, wx, wh, cell = cache
    dh, dc = _check_pair("lstm_step_backward", g, h.shape, h.shape, h)
    da, dc = _cell_backward(dh, dc, cell)
    return da @ wx.T, da @ wh.T, dc, x.T @ da, h.T @ da, da.sum(axis=0)


def lstm(
    x: Array, h: Array, c: Array, wx: Array, wh: Array, b: Array
) -> tuple[tuple[Array, Array], Any]:
    """Apply :func:`lstm_step` along a sequence.

    Parameters
    ----------
    x : array, shape (N, T, D)
    h, c : array, shape (N, H)
        The state before the first step.
    wx, wh, b : array
        As for one step.

    Returns
    -------
    (hs, c) : arrays, shapes (N, T, H) and (N, H)
        The hidden state after every step, and the cell after the last.
    cache
        For :func:`lstm_backward`.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the arrays do not fit together.
    """
    check("lstm", "x N T D, h N H, c N H, wx D 4H, wh H 4H, b 4H", x, h, c, wx, wh, b)
    steps, a = _project(x, wx, b)
    hs = namespace(x).empty((len(a) + 1, *h.shape), np.result_type(a, h, c, wh))
    hs[0] = h
    cells = []
    for t in range(len(a)):
        (hs[t + 1], c), cell = _cell(a[t] + hs[t] @ wh, c)
        cells.append(cell)
    return (hs[1:].swapaxes(0, 1), c), (steps, hs, wx, wh, cells)


def lstm_backward(
    g: tuple[Array, Array], cache: Any
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return the gradients of :func:`lstm` with respect to x, h, c, wx, wh and b.

    ``g`` is a pair, as the output is: the gradients of all hidden states and of the
    last cell.

    Raises ShapeError or DtypeError if ``g`` is not like the output.
    """
    steps, hs, wx, wh, cells = cache
    states = hs[1:].swapaxes(0, 1)
    ghs, dc = _check_pair("lstm_backward", g, states.shape, hs[0].shape, hs)
    da = namespace(hs).empty((len(cells), hs.shape[1], wh.shape[1]), hs.dtype)
    dh = np.zeros_like(hs[0])
    for t in reversed(range(len(cells))):
        da[t], dc = _cell_backward(ghs[:, t] + dh, dc, cells[t])
        dh = da[t] @ wh.T
    dx, dwx, dwh, db = _weights_backward(da, steps, hs[:-1], wx)
    return dx, dh, dc, dwx, dwh, db


def _cell(a: Array, c: Array) -> tuple[tuple[Array, Array], Any]:
    width = c.shape[1]
    gates, _ = sigmoid(a[:, : 2 * width])
    i, f = gates[:, :width], gates[:, width:]
    candidate = np.tanh(a[:, 2 * width : 3 * width])
    o, _ = sigmoid(a[:, 3 * width :])
    following = f * c + i * candidate
    y = np.tanh(following)
    return (o * y, following), (i, f, candidate, o, c, y)


def _cell_backward(dh: Array, dc: Array, cache: Any) -> tuple[Array, Array]:
    i, f, candidate, o, c, y = cache
    dc = dc + dh * o * (1 - y * y)
    di = dc * candidate * (i * (1 - i))
    df = dc * c * (f * (1 - f))
    dcandidate = dc * i * (1 - candidate * candidate)
    do = dh * y * (o * (1 - o))
    return np.concatenate([di, df, dcandidate, do], axis=1), dc * f


def _project(x: Array, wx: Array, b: Array) -> tuple[Array, Array]:
    """Return the inputs, one row a step and sequence, and ``a`` without its h part, (T, N, -)."""
    n, steps, d = x.shape
    rows = x.swapaxes(0, 1).reshape(steps * n, d)
    return rows, (rows @ wx + b).reshape(steps, n, len(b))


def _weights_backward(da: Array, rows: Array, before: Array, wx: Array) -> tuple[Array, ...]:
    """Sum the gradients of the weights over time; ``before`` is h before every step."""
    steps, n, width = da.shape
    flat = da.reshape(steps * n, width)
    dx = (flat @ wx.T).reshape(steps, n, len(wx)).swapaxes(0, 1)
    dwh = before.reshape(steps * n, before.shape[2]).T @ flat
    return dx, rows.T @ flat, dwh, flat.sum(axis=0)


def _check_pair(
    where: str, g: Any, first: tuple[int, ...], second: tuple[int, ...], like: Array
) -> tuple[Array, Array]:
    if not isinstance(g, tuple | list) or len(g) != 2:
        raise ShapeError(where, "g is not a pair", given=f"g of type {type(g).__name__}",
                         expected="(gradient of h, gradient of c)")  # fmt: skip
    check_g(f"{where}, h", g[0], first, like)
    check_g(f"{where}, c", g[1], second, like)
    return g[0], g[1]
