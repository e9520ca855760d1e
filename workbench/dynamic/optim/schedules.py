"""Schedules of the learning rate.

A schedule is a plain function from the number of steps taken, 0 at first, to the factor by
which the learning rate is multiplied; the functions here make such functions.
:class:`Schedule` applies one to an optimiser.  ``warmup`` takes what comes after it, so
that they compose; any ``lambda t: ...`` will do as well.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.dynamic.optim.optimizer import Optimizer, check_option
from workbench.errors import NotFiniteError

Factor = Callable[[int], float]


def constant() -> Factor:
    """Return the schedule that changes nothing."""
    return lambda t: 1.0


def step(every: int, decay: float = 0.1) -> Factor:
    """Return the schedule that multiplies by ``decay`` after every ``every`` steps."""
    check_option("step", "every", every, every > 0)
    return lambda t: decay ** (t // every)


def exponential(decay: float) -> Factor:
    """Return the schedule that multiplies by ``decay`` at each step."""
    check_option("exponential", "decay", decay, decay > 0)
    return lambda t: decay**t


def cosine(total: int, floor: float = 0.0) -> Factor:
    """Return half a cosine from 1 to ``floor`` over ``total`` steps, constant afterwards.

    Loshchilov and Hutter (2017), equation 5, without restarts.
    """
    check_option("cosine", "total", total, total > 0)
    return lambda t: _cosine(1.0, floor, t / total)


def warmup(steps: int, after: Factor | None = None) -> Factor:
    """Return the line from 1 / (steps + 1) up to 1, reached after ``steps`` steps.

    What comes ``after`` (constant by default) counts its own steps from there.  (Goyal et
    al., 2017, section 2.2.)
    """
    check_option("warmup", "steps", steps, steps > 0)
    return lambda t: (t + 1) / (steps + 1) if t < steps else (after or constant())(t - steps)


def one_cycle(total: int, rise: float = 0.3, start: float = 0.04, end: float = 4e-6) -> Factor:
    """Return one cycle: from ``start`` up to 1, then down to ``end``, along half cosines.

    Smith and Topin (2018), "Super-convergence".

    Parameters
    ----------
    total : int
        Steps of the whole cycle: the factor is ``end`` from step ``total - 1`` on.
    rise : float
        Share of the steps that go up, between 0 and 1.
    start, end : float
        Factors at both ends.
    """
    check_option("one_cycle", "total", total, total > 1)
    check_option("one_cycle", "rise", rise, 0 < rise < 1 and rise * total > 1,
                 "a share of the steps between 0 and 1, of more than one step")  # fmt: skip
    top = rise * total - 1
    return lambda t: _cosine(start if t <= top else end, 1.0,
                             np.interp(t, [0, top, total - 1], [0, 1, 0]))  # fmt: skip


def piecewise(boundaries: Sequence[int], factors: Sequence[float]) -> Factor:
    """Return ``factors[k]`` from step ``boundaries[k - 1]`` until before ``boundaries[k]``."""
    ascending = list(boundaries) == sorted(set(boundaries))
    check_option("piecewise", "boundaries", list(boundaries), ascending, "steps in ascending order")
    check_option("piecewise", "factors", list(factors), len(factors) == len(boundaries) + 1,
                 "one more than there are boundaries")  # fmt: skip
    return lambda t: factors[bisect.bisect_right(boundaries, t)]


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


class Schedule:
    """Sets the learning rate of each group to its first value times a factor.

    Parameters
    ----------
    optimizer : Optimizer
        Its learning rates at this moment are what the factors multiply.
    factor : callable
        From the number of steps taken to a factor.

    Examples
    --------
    ::

        schedule = optim.Schedule(optimizer, warmup(100, cosine(900)))
        for x, y in loader:
            ...
            optimizer.step()
            schedule.step()
    """

    def __init__(self, optimizer: Optimizer, factor: Factor) -> None:
        self.optimizer, self.factor, self.t = optimizer, factor, -1
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.step()

    def step(self) -> None:
        """Go to the next step: call it after each step (or epoch) of the optimiser."""
        self.t += 1
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * float(self.factor(self.t))

    def state_dict(self) -> dict[str, Array]:
        """Return the step number and the first learning rates, ready for ``dynamic.save``."""
        return {"t": np.array(self.t), "base": np.array(self.base)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned."""
        self.t, self.base = int(state["t"]) - 1, [float(each) for each in state["base"]]
        self.step()


class ReduceOnPlateau:
    """Multiplies the learning rate by ``factor`` once a loss has stopped falling.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        Between 0 and 1.
    patience : int
        Calls without improvement that are waited through.
    threshold : float
        Relative fall of the loss that counts as an improvement.
    floor : float
        No learning rate goes below this.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, floor: float = 0.0) -> None:  # fmt: skip
        check_option("ReduceOnPlateau", "factor", factor, 0 < factor < 1,
                     "a number between 0 and 1")  # fmt: skip
        self.optimizer, self.factor, self.patience = optimizer, factor, patience
        self.threshold, self.floor, self.best, self.bad = threshold, floor, math.inf, 0

    def step(self, loss: Any) -> None:
        """Take note of a loss, usually of one epoch on validation data.

        Raises
        ------
        NotFiniteError
            If it is not a number.
        """
        loss = float(loss)
        if math.isnan(loss):
            raise NotFiniteError("ReduceOnPlateau", "the loss is not a number", given="nan")
        if loss < self.best - abs(self.best) * self.threshold or math.isinf(self.best):
            self.best, self.bad = loss, -1
        self.bad += 1
        if self.bad > self.patience:
            self.bad = 0
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * self.factor, self.floor)

    def state_dict(self) -> dict[str, Array]:
        """Return the best loss and the count of calls since, ready for ``dynamic.save``."""
        return {"best": np.array(self.best), "bad": np.array(self.bad)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` returned."""
        self.best, self.bad = float(state["best"]), int(state["bad"])
