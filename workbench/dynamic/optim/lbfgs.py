"""L-BFGS: steps from a history of gradients, each as long as a line search finds good."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.optim.optimizer import Optimizer, Unit, flat
from workbench.dynamic.tensor import Tensor
from workbench.errors import NotFiniteError, OptionError


class LBFGS(Optimizer):
    """Limited-memory BFGS with a line search (Nocedal and Wright, 2006, algorithm 7.5).

    ::

        d = -H g         H: the inverse of the second derivative, as the last pairs
                         (s, y) = (change of p, change of g) show it
        p = p + a d      a: where the Wolfe conditions hold

    For losses without noise: the whole data set, or a batch that stays for some steps.

    Parameters
    ----------
    parameters : iterable of Tensor
        One group, of one dtype on one device.
    lr : float
        First trial of a line search, as a multiple of the quasi-Newton step.
    iterations : int
        At most how many steps along new directions one call of :meth:`step` makes.
    history : int
        Pairs kept.
    tolerance : float
        Stop once no element of the gradient is larger.
    """

    whole = True

    def __init__(self, parameters: Iterable[Any], lr: float = 1.0, iterations: int = 20,
                 history: int = 10, tolerance: float = 1e-7) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, iterations=iterations, history=history,
                         tolerance=tolerance)  # fmt: skip
        self._vector()

    def _vector(self) -> Unit:
        """Return the unit of all parameters."""
        self._follow()
        history = self.param_groups[0]["history"]
        self.slots = tuple(f"{name}{k}" for name in "sy" for k in range(history))
        if len(self._units) > 1:
            kinds = sorted({f"{p.dtype} on {p.device}" for p in self.parameters})
            raise OptionError("LBFGS", "the parameters cannot form one vector",
                              given=f"{len(self.param_groups)} groups, {', '.join(kinds)}",
                              expected="one group, of one dtype on one device")  # fmt: skip
        return self._units[0]

    def step(self, closure: Callable[[], Tensor] | None = None) -> float:  # type: ignore[override]
        """Go some way down the loss.

        Parameters
        ----------
        closure : callable
            Forgets the gradients, computes the loss, calls its ``backward``, returns it.

        Returns
        -------
        float
            The loss before.

        Raises
        ------
        OptionError
            Without a closure.
        NotFiniteError
            If the loss or its gradient is not finite where the step starts.
        """
        if closure is None:
            raise OptionError("LBFGS.step", "a line search needs the loss at several points",
                              fix="pass a function: def closure(): optimizer.zero_grad(); "
                              "loss = ...; loss.backward(); return loss")  # fmt: skip
        unit, options = self._vector(), self.param_groups[0]
        saved = [(unit.state[f"s{k}"], unit.state[f"y{k}"]) for k in range(len(unit.state) // 2)]
        pairs = deque(saved, options["history"])

        def at(x: Array) -> tuple[float, Array]:
            """Return the loss and its gradient there."""
            unit.p[...] = x
            versions.mark(unit.p)
            loss = float(closure())
            g = flat(np.zeros_like(p.data) if p.grad is None else p.grad.data
                     for p in self._ordered)  # fmt: skip
            return loss, g.reshape(unit.p.shape)

        x = unit.p.copy()
        loss, g = at(x)
        before = loss
        if not (np.isfinite(loss) and np.isfinite(g).all()):
            raise NotFiniteError("LBFGS.step", "the loss or its gradient is not finite",
                                 given=f"loss {loss}")  # fmt: skip
        for _ in range(options["iterations"]):
            if not (abs(g) > options["tolerance"]).any():
                break
            d = _direction(g, pairs)
            if not np.vdot(g, d) < 0:  # Rounding has spoilt the history.
                pairs.clear()
                d = -g
            # Without a history nothing is known of the scale: a step of length 1 at most.
            t = options["lr"] * (1.0 if pairs else min(1.0, 1 / float(abs(g).sum())))
            s, loss, ahead = _line_search(at, x, d, loss, g, t)
            y = ahead - g
            x, g = x + s, ahead
            if np.vdot(s, y) > 1e-10 * np.vdot(y, y):
                pairs.append((s, y))
            if not s.any():
                break  # No point along d is lower: this is as exact as the dtype allows.
        unit.p[...] = x
        versions.mark(unit.p)
        unit.state = {f"{name}{k}": v for k, pair in enumerate(pairs)
                      for name, v in zip("sy", pair, strict=True)}  # fmt: skip
        return before


def _direction(g: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """Return -H g by the two-loop recursion (algorithm 7.4)."""
    d, shares = -g, []
    for s, y in reversed(pairs):
        shares.append(np.vdot(s, d) / np.vdot(s, y))
        d -= shares[-1] * y
    if pairs:
        s, y = pairs[-1]
        d *= np.vdot(s, y) / np.vdot(y, y)
    for s, y in pairs:
        d += (shares.pop() - np.vdot(y, d) / np.vdot(s, y)) * s
    return d


def _line_search(at: Callable[[Array], tuple[float, Array]], x: Array, d: Array, loss: float,
                 g: Array, t: float) -> tuple[Array, float, Array]:  # fmt: skip
    """Return a step along d to where the Wolfe conditions hold, with the loss and gradient there.

    They are that the loss has fallen by a share of what the first slope promised, and that the
    slope has risen; found by doubling, then halving the interval (Lewis and Overton, 2013,
    algorithm 2.6).  If rounding hides such a point, the last one that fell, or the start.
    """
    slope, low, high, found = np.vdot(g, d), 0.0, math.inf, (0 * d, loss, g)
    for _ in range(25):
        there, ahead = at(x + t * d)
        if not there <= loss + 1e-4 * t * slope:
            high = t
        else:
            low, found = t, (t * d, there, ahead)
            if np.vdot(ahead, d) >= 0.9 * slope:
                break
        t = 2 * t if high == math.inf else (low + high) / 2
    return found
