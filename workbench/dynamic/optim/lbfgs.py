"""L-BFGS: steps from a history of gradients, each as long as a line search finds good."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.optim.optimizer import Optimizer
from workbench.dynamic.tensor import Tensor
from workbench.errors import NotFiniteError, OptionError


class _Point(NamedTuple):
    """A trial of the line search: distance along it, loss, slope, and whole gradient."""

    t: float
    loss: float
    slope: float
    g: Array


class LBFGS(Optimizer):
    """Limited-memory BFGS with a line search (Nocedal and Wright, 2006, chapters 3 and 7).

    ::

        d = -H g         H: the inverse of the second derivative, as the last pairs
                         (s, y) = (change of p, change of g) show it
        p = p + a d      a: where the strong Wolfe conditions hold

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

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1.0,
        iterations: int = 20,
        history: int = 10,
        tolerance: float = 1e-7,
    ) -> None:
        super().__init__(
            parameters, lr=lr, iterations=iterations, history=history, tolerance=tolerance
        )
        self._pairs: deque[tuple[Array, Array]] = deque(maxlen=history)
        kinds = {(p.device, p.dtype) for p in self.parameters}
        if len(self.param_groups) > 1 or len(kinds) > 1:
            raise OptionError("LBFGS", "the parameters cannot form one vector",
                              given=f"{len(self.param_groups)} groups, "
                              + ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds)),
                              expected="one group, of one dtype on one device")  # fmt: skip

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
        options, x = self.param_groups[0], self._vector(p.data for p in self.parameters)
        loss, g = self._evaluate(closure)
        before = loss
        if not (np.isfinite(loss) and np.isfinite(g).all()):
            raise NotFiniteError("LBFGS.step", "the loss or its gradient is not finite",
                                 given=f"loss {loss}")  # fmt: skip
        for _ in range(options["iterations"]):
            if float(abs(g).max(initial=0)) <= options["tolerance"]:
                break
            d = self._direction(g)
            if not float(g @ d) < 0:  # Rounding has spoilt the history.
                self._pairs.clear()
                d = -g
            first = options["lr"]
            if not self._pairs:  # Nothing is known of the scale yet: a step of length 1 at most.
                first *= min(1.0, 1 / float(abs(g).sum()))

            def trial(t: float, x: Array = x, d: Array = d) -> _Point:
                self._assign(x + t * d)
                loss, g = self._evaluate(closure)
                return _Point(t, loss, float(g @ d), g)

            found = _line_search(trial, _Point(0.0, loss, float(g @ d), g), first)
            s, y = found.t * d, found.g - g
            x, loss, g = x + s, found.loss, found.g
            self._assign(x)
            if float(s @ y) > 1e-10 * float(y @ y):
                self._pairs.append((s, y))
            if not found.t:
                break  # No point along d is lower: this is as exact as the dtype allows.
        return before

    def _direction(self, g: Array) -> Array:
        """Return -H g by the two-loop recursion (algorithm 7.4)."""
        pairs = [tuple(arrays.to_device(v, arrays.device_of(g)).astype(g.dtype, copy=False)
                       for v in pair) for pair in self._pairs]  # fmt: skip
        q, shares = -g, []
        for s, y in reversed(pairs):
            share = (s @ q) / (s @ y)
            shares.append(share)
            q -= share * y
        if pairs:
            s, y = pairs[-1]
            q *= (s @ y) / (y @ y)
        for (s, y), share in zip(pairs, reversed(shares), strict=True):
            q += (share - (y @ q) / (s @ y)) * s
        return q

    def _evaluate(self, closure: Callable[[], Tensor]) -> tuple[float, Array]:
        loss = float(closure())
        return loss, self._vector(
            np.zeros_like(p.data) if p.grad is None else p.grad.data for p in self.parameters
        )

    @staticmethod
    def _vector(pieces: Iterable[Array]) -> Array:
        return np.concatenate([each.ravel() for each in pieces])

    def _assign(self, x: Array) -> None:
        start = 0
        for p in self.parameters:
            p.data[...] = x[start : start + p.size].reshape(p.shape)
            versions.mark(p.data)
            start += p.size

    def state_dict(self) -> dict[str, Array]:
        """Return the options and the history, as copies under dotted names."""
        pairs = {f"pair.{k}.{name}": array.copy() for k, pair in enumerate(self._pairs)
                 for name, array in zip("sy", pair, strict=True)}  # fmt: skip
        return super().state_dict() | pairs

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned; raises as :class:`Optimizer`'s."""
        pairs = {key: value for key, value in state.items() if key.startswith("pair.")}
        super().load_state_dict({key: state[key] for key in state if key not in pairs})
        vectors = {key: getattr(each, "data", each) if isinstance(each, Tensor) else each.copy()
                   for key, each in pairs.items()}  # fmt: skip
        self._pairs = deque(
            ((vectors[f"pair.{k}.s"], vectors[f"pair.{k}.y"]) for k in range(len(pairs) // 2)),
            maxlen=self.param_groups[0]["history"],
        )


def _line_search(trial: Callable[[float], _Point], start: _Point, t: float) -> _Point:
    """Return a point where the strong Wolfe conditions hold (algorithms 3.5 and 3.6).

    That is, where the loss has fallen by a share of what the first slope promised, and the
    slope has flattened.  If rounding hides such a point, the lowest one that was found.
    """

    def falls(point: _Point) -> bool:
        return point.loss <= start.loss + 1e-4 * point.t * start.slope

    def flat(point: _Point) -> bool:
        return abs(point.slope) <= -0.9 * start.slope

    low, high = start, None  # The lower end of a bracket, and the other, once there is one.
    for _ in range(25):
        if high is not None:
            t = _between(low, high)
        point = trial(t)
        if not falls(point) or (point.loss >= low.loss and low is not start):
            high = point
        elif flat(point):
            return point
        else:
            if high is None:
                t, high = 2 * t, (low if point.slope >= 0 else None)
            elif point.slope * (high.t - low.t) >= 0:
                high = low
            low = point
    return low


def _between(low: _Point, high: _Point) -> float:
    """Return the minimum of the cubic through two points, kept off the ends (equation 3.59)."""
    width = high.t - low.t
    a = low.slope + high.slope - 3 * (high.loss - low.loss) / width
    square = a * a - low.slope * high.slope
    share = 0.5
    if square >= 0:
        b = np.copysign(square**0.5, width)
        below = high.slope - low.slope + 2 * b
        share = 1 - (high.slope + b - a) / below if below else 0.5
    return low.t + width * (min(max(share, 0.1), 0.9) if np.isfinite(share) else 0.5)
