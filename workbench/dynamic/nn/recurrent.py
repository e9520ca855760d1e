"""Recurrent layers over sequences (T, N, D), time first, and their single steps.

Gates, their order and the formulas are those of :mod:`~workbench.dynamic.ops.recurrent`,
which also says how PyTorch's weights map to these.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.dynamic import ops
from workbench.dynamic.nn import init as initial
from workbench.dynamic.nn.layers import weights
from workbench.dynamic.nn.module import Module, Parameter
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.tensor import Tensor
from workbench.errors import OptionError, ShapeError


class RNNCell(Module):
    """One step of a plain recurrent network: tanh(x @ wx + h @ wh + b) (Elman, 1990).

    Parameters
    ----------
    inputs, hidden : int
        Lengths D of an input and H of the state.
    rng : numpy.random.Generator, optional
        For the initial weights; unseeded by default.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    wx, wh : Parameter, (D, gates * H) and (H, gates * H)
        Drawn gate by gate: Glorot uniform, and orthogonal (Saxe et al., 2014), with which
        a signal keeps its length from step to step.
    b : Parameter, (gates * H,)
        Zeros at first.
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator | None = None,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        name = type(self).__name__
        rng = np.random.default_rng() if rng is None else rng

        def drawn(rows: int, init: initial.Initializer | None = None) -> Parameter:
            shape = rows, hidden
            blocks = [weights(name, shape, rng, dtype, init).data for _ in range(self.gates)]
            return Parameter(np.concatenate(blocks, axis=1))

        self.wx, self.wh = drawn(inputs), drawn(hidden, initial.orthogonal)
        self.b = Parameter(np.zeros(self.gates * hidden, self.wx.dtype))

    def forward(self, x: Any, state: Any = None) -> Any:
        """Return the state (N, H) after x (N, D); without a state before it, that is zeros."""
        (h,) = self.initial(x.shape[0], state)
        return ops.rnn_cell(x, h, self.wx, self.wh, self.b)

    def initial(self, n: int, state: Any) -> Any:
        """Return the parts of a state, each (N, H): zeros if there is none."""
        if state is not None:
            return [state] if self.states == 1 else list(state)
        shape, like = (n, len(self.wh)), self.wh.data
        return [arrays.namespace(like).zeros(shape, like.dtype)] * self.states

    def unroll(self, x: Any, state: Any, lengths: Any) -> tuple[Tensor, list[Any]]:
        """Return the states (T, N, H) after every step of x, and the parts of the last one."""
        (h,) = state
        y = ops.rnn(x, h, self.wx, self.wh, self.b, lengths)
        return y, [y[-1]]


class LSTMCell(RNNCell):
    """One step of a long short-term memory (Hochreiter and Schmidhuber, 1997).

    As :class:`RNNCell`, with a state of two parts (h, c), and four gates i, f, g, o.  The
    bias of the forget gate is one at first: remember (Gers et al., 2000; Jozefowicz,
    Zaremba and Sutskever, 2015).
    """

    gates, states = 4, 2

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator | None = None,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        super().__init__(inputs, hidden, rng, dtype)
        self.b.data[hidden : 2 * hidden] = 1

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        """Return (h, c), each (N, H), after x (N, D)."""
        h, c = self.initial(x.shape[0], state)
        return ops.lstm_cell(x, h, c, self.wx, self.wh, self.b)

    def unroll(self, x: Any, state: Any, lengths: Any) -> tuple[Tensor, list[Any]]:
        """Return the states (T, N, H) after every step of x, and the parts of the last one."""
        h, c = state
        y, c = ops.lstm(x, h, c, self.wx, self.wh, self.b, lengths)
        return y, [y[-1], c]


class GRUCell(RNNCell):
    """One step of a gated recurrent unit (Cho et al., 2014).

    As :class:`RNNCell`, with three gates r, z, n, and one more bias.

    Attributes
    ----------
    bh : Parameter, (H,)
        Of the candidate's part of h @ wh; zeros at first.
    """

    gates = 3

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator | None = None,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        super().__init__(inputs, hidden, rng, dtype)
        self.bh = Parameter(np.zeros(hidden, self.wx.dtype))

    def forward(self, x: Any, state: Any = None) -> Any:
        """Return the state (N, H) after x (N, D)."""
        (h,) = self.initial(x.shape[0], state)
        return ops.gru_cell(x, h, self.wx, self.wh, self.b, self.bh)

    def unroll(self, x: Any, state: Any, lengths: Any) -> tuple[Tensor, list[Any]]:
        """Return the states (T, N, H) after every step of x, and the parts of the last one."""
        (h,) = state
        y = ops.gru(x, h, self.wx, self.wh, self.b, self.bh, lengths)
        return y, [y[-1]]


class RNN(Module):
    """Cells along sequences, layer upon layer; the sequences of a layer are one operation.

    Parameters
    ----------
    inputs, hidden : int
        Lengths D of an input and H of the state.
    layers : int
        Each but the first reads the states of the one before.
    rng, dtype
        As for :class:`RNNCell`.

    Attributes
    ----------
    cells : list of RNNCell, LSTMCell or GRUCell
        One a layer.
    """

    cell: ClassVar[type[RNNCell]] = RNNCell

    def __init__(self, inputs: int, hidden: int, layers: int = 1,
                 rng: np.random.Generator | None = None,
                 dtype: npt.DTypeLike = np.float32) -> None:  # fmt: skip
        if layers < 1:
            raise OptionError(type(self).__name__, "there is no layer", given=f"layers={layers}")
        rng = np.random.default_rng() if rng is None else rng
        self.cells = [self.cell(hidden if k else inputs, hidden, rng, dtype) for k in range(layers)]

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        """Run along sequences.

        Parameters
        ----------
        x : (T, N, D), or integers (T, N)
            Integers stand for rows that are one there and zero elsewhere.
        state : (layers, N, H), or for an LSTM a pair (h, c) of them, optional
            Before the first step; zeros by default.
        lengths : integers, (N,), optional
            Of each sequence, from 1 to T.  The state of one that has ended stays as it is, in
            the outputs too.

        Returns
        -------
        outputs : Tensor, (T, N, H)
            The state of the last layer after each step.
        state : Tensor, (layers, N, H), or for an LSTM a pair of them
            After the last step of each sequence.

        Raises
        ------
        ShapeError, DtypeError, OptionError
            If the arguments do not fit.
        """
        parts = self.cell.states
        if state is not None:
            state = [state] if parts == 1 else list(state)
            wanted = (len(self.cells), x.shape[1], len(self.cells[0].wh))
            if [values(part).shape for part in state] != [wanted] * parts:
                raise ShapeError(type(self).__name__, "state does not fit",
                                 given=" and ".join(str(part.shape) for part in state),
                                 expected=" and ".join([str(wanted)] * parts))  # fmt: skip
        last = []
        for k, cell in enumerate(self.cells):
            before = cell.initial(x.shape[1], None) if state is None else [p[k] for p in state]
            x, after = cell.unroll(x, before, lengths)
            last.append(after)
        stacked = tuple(ops.stack(part) for part in zip(*last, strict=True))
        return x, stacked[0] if parts == 1 else stacked


class LSTM(RNN):
    """:class:`RNN` of :class:`LSTMCell`; its state is a pair (h, c)."""

    cell = LSTMCell


class GRU(RNN):
    """:class:`RNN` of :class:`GRUCell`."""

    cell = GRUCell
