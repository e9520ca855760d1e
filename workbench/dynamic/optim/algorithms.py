"""The update rules.

In the formulas p is the parameters, g their gradient and t the number of the step, from 1;
products are elementwise, and what is remembered starts at zero.  Where ``weight_decay`` is
not zero, g is first replaced by g + weight_decay p, except in AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.dynamic.optim.optimizer import Optimizer, Unit


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    ::

        v = momentum v + g
        p = p - lr v                     or, with nesterov,  p - lr (g + momentum v)

    Parameters
    ----------
    parameters, lr, weight_decay
        As for :class:`Optimizer`.
    momentum : float
        From 0 up to, not including, 1.  (Polyak, 1964.)
    nesterov : bool
        Look ahead from the stored parameters (Sutskever et al., 2013).
    """

    slots = ("velocity",)

    def __init__(self, parameters: Iterable[Any], lr: float, momentum: float = 0.0,
                 nesterov: bool = False, weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, momentum=momentum, nesterov=nesterov,
                         weight_decay=weight_decay)  # fmt: skip

    def update(self, unit: Unit, g: Array) -> None:
        """Update in place."""
        options, step = unit.options, unit.scratch
        momentum = options["momentum"]
        if momentum:
            v = unit["velocity"]
            v *= momentum
            v += g
            if options["nesterov"]:
                np.multiply(v, momentum, out=step)
                step += g
                g = step
            else:
                g = v
        np.multiply(g, options["lr"], out=step)
        unit.p -= step


def _step_over_root(unit: Unit, direction: Array, g: Array, decay: float, lr: float,
                    eps: float) -> None:  # fmt: skip
    """Do s = decay s + g²; p = p - lr direction / (sqrt(s) + eps)."""
    s, step = unit["sum_of_squares"], unit.scratch
    if decay != 1:
        s *= decay
    s += np.multiply(g, g, out=step)
    np.sqrt(s, out=step)
    step += eps
    np.divide(direction, step, out=step)
    step *= lr
    unit.p -= step


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1).

    ::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g²
        p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    parameters, lr, weight_decay
        As for :class:`Optimizer`.
    betas : (float, float)
        Decay of the running means of g and of g².
    eps : float
        Added to the root of the latter, against division by zero.

    Notes
    -----
    The bias-corrected mean m / (1 - beta1^t) is a weighted mean of all gradients so far:
    the sum M = beta1 M + g over the sum of the weights, 1 + beta1 + ... + beta1^(t-1).
    The code remembers that sum instead of m, and likewise for v: three of thirteen passes
    over memory fall away, and the scalar factors are gathered in two.
    """

    slots = ("sum", "sum_of_squares")

    def __init__(self, parameters: Iterable[Any], lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, unit: Unit, g: Array) -> None:
        """Update in place."""
        (beta1, beta2), m = unit.options["betas"], unit["sum"]
        m *= beta1
        m += g
        weights1, weights2 = ((1 - b**unit.t) / (1 - b) for b in (beta1, beta2))
        root = weights2**0.5
        lr, eps = unit.options["lr"] * root / weights1, unit.options["eps"] * root
        _step_over_root(unit, m, g, beta2, lr, eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    ``p = p - lr weight_decay p`` comes before Adam's step, and g is Adam's g: the decay is
    not divided by the root of v, as that of a penalty would be.

    Parameters
    ----------
    parameters, lr, betas, eps
        As for :class:`Adam`.
    weight_decay : float
        Share of each parameter, times lr, taken away in a step.
    """

    def __init__(self, parameters: Iterable[Any], lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01) -> None:  # fmt: skip
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def decay(self, unit: Unit, g: Array, weight_decay: float) -> Array:
        """Shrink the parameters, and return the gradient as it is."""
        unit.p *= 1 - unit.options["lr"] * weight_decay
        return g


class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton, 2012, lecture 6.5 of *Neural networks for machine learning*).

    ::

        v = alpha v + (1 - alpha) g²
        p = p - lr g / (sqrt(v) + eps)

    Parameters
    ----------
    parameters, lr, weight_decay
        As for :class:`Optimizer`.
    alpha : float
        Decay of the running mean of g².
    eps : float
        Against division by zero.
    """

    slots = ("sum_of_squares",)

    def __init__(self, parameters: Iterable[Any], lr: float = 0.01, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay)

    def update(self, unit: Unit, g: Array) -> None:
        """Update in place."""
        alpha, lr, eps = (unit.options[name] for name in ("alpha", "lr", "eps"))
        root = (1 - alpha) ** 0.5  # From the sum that is remembered to the mean.
        _step_over_root(unit, g, g, alpha, lr / root, eps / root)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): a step shrinks with all gradients so far.

    ::

        v = v + g²
        p = p - lr g / (sqrt(v) + eps)

    Parameters
    ----------
    parameters, lr, weight_decay
        As for :class:`Optimizer`.
    eps : float
        Against division by zero.
    """

    slots = ("sum_of_squares",)

    def __init__(self, parameters: Iterable[Any], lr: float = 0.01, eps: float = 1e-10,
                 weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, eps=eps, weight_decay=weight_decay)

    def update(self, unit: Unit, g: Array) -> None:
        """Update in place."""
        _step_over_root(unit, g, g, 1, unit.options["lr"], unit.options["eps"])


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012, algorithm 1): steps in the parameters' own units.

    ::

        v = rho v + (1 - rho) g²
        d = sqrt(u + eps) / sqrt(v + eps) g
        u = rho u + (1 - rho) d²
        p = p - lr d

    Parameters
    ----------
    parameters, weight_decay
        As for :class:`Optimizer`.
    lr : float
        1 in the paper.
    rho : float
        Decay of both running means.
    eps : float
        Starts the steps, and keeps them from vanishing.
    """

    slots = ("mean_square_gradient", "mean_square_step")

    def __init__(self, parameters: Iterable[Any], lr: float = 1.0, rho: float = 0.9,
                 eps: float = 1e-6, weight_decay: float = 0.0) -> None:  # fmt: skip
        super().__init__(parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)

    def update(self, unit: Unit, g: Array) -> None:
        """Update in place."""
        rho, eps = unit.options["rho"], unit.options["eps"]
        v, u = (unit[name] for name in self.slots)
        v *= rho
        v += (1 - rho) * g * g
        d = np.sqrt((u + eps) / (v + eps)) * g
        u *= rho
        u += (1 - rho) * d * d
        unit.p -= unit.options["lr"] * d
