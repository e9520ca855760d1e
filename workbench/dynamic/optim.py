"""Optimisers: update parameters in place from their gradients.

The arithmetic runs in one scratch array for each parameter: a step allocates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.tensor import Tensor
from workbench.errors import DtypeError, GraphError, OptionError


class Optimizer:
    """What optimisers share.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves that require gradients.
    lr : float
        Learning rate: the step for a gradient of 1.  May be changed between steps.

    Raises
    ------
    OptionError, DtypeError, GraphError
        If there is nothing to optimise, or something that is not a leaf.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        name = type(self).__name__
        _check(name, "lr", lr, lr > 0, "a positive number")
        self.lr = lr
        self.parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not self.parameters:
            raise OptionError(name, "there are no parameters to optimise",
                              fix="pass model.parameters()")  # fmt: skip
        for k, p in enumerate(self.parameters):
            if not isinstance(p, Tensor):
                raise DtypeError(name, f"parameter {k} is not a tensor", given=type(p).__name__,
                                 fix="pass model.parameters()")  # fmt: skip
            if not p.requires_grad or p.node is not None:
                raise GraphError(name, f"parameter {k} is not a leaf that requires a gradient",
                                 given=repr(p.shape),
                                 fix="make it with dynamic.tensor(..., requires_grad=True)")  # fmt: skip
        self.scratch = [np.empty_like(p.data) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        for k, p in enumerate(self.parameters):
            if p.grad is not None:
                self.update(k, p.data, p.grad.data)
                versions.mark(p.data)

    def update(self, k: int, p: Array, g: Array) -> None:
        """Update the k-th parameter; written by each optimiser."""
        raise OptionError(type(self).__name__, "this optimiser has no update",
                          fix="write the method update(self, k, p, g)")  # fmt: skip


def _check(where: str, name: str, value: Any, fine: bool, expected: str) -> None:
    if not fine:
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value}",
                          expected=expected)  # fmt: skip


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Parameters
    ----------
    parameters, lr
        As for :class:`Optimizer`.
    momentum : float
        m in v = m v + g; p = p - lr v.  From 0 up to, not including, 1.
    nesterov : bool
        Step along g + m v instead (Sutskever et al., 2013, in the form that looks ahead
        from the stored parameters).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        _check("SGD", "momentum", momentum, 0 <= momentum < 1, "from 0 up to 1, not including 1")
        _check("SGD", "nesterov", nesterov, not nesterov or momentum > 0,
               "nesterov=True needs a momentum")  # fmt: skip
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity = [np.zeros_like(p.data) for p in self.parameters] if momentum else []

    def update(self, k: int, p: Array, g: Array) -> None:
        """Update the k-th parameter in place."""
        step = self.scratch[k]
        if self.momentum:
            v = self.velocity[k]
            v *= self.momentum
            v += g
            if self.nesterov:
                np.multiply(v, self.momentum, out=step)
                step += g
                g = step
            else:
                g = v
        np.multiply(g, self.lr, out=step)
        p -= step


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1).

    Parameters
    ----------
    parameters, lr
        As for :class:`Optimizer`.
    betas : (float, float)
        Decay of the running means of g and of g * g.
    eps : float
        Added to the root of the latter, against division by zero.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        _check("Adam", "betas", betas, all(0 <= b < 1 for b in betas) and len(betas) == 2,
               "two numbers from 0 up to 1, not including 1")  # fmt: skip
        _check("Adam", "eps", eps, eps > 0, "a positive number")
        self.betas, self.eps = betas, eps
        self.steps = [0] * len(self.parameters)
        self.first = [np.zeros_like(p.data) for p in self.parameters]
        self.second = [np.zeros_like(p.data) for p in self.parameters]

    def update(self, k: int, p: Array, g: Array) -> None:
        """Update the k-th parameter in place."""
        (beta1, beta2), m, v, step = self.betas, self.first[k], self.second[k], self.scratch[k]
        self.steps[k] += 1
        t = self.steps[k]
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=step)
        v *= beta2
        np.multiply(g, g, out=step)
        step *= 1 - beta2
        v += step
        np.divide(v, 1 - beta2**t, out=step)
        np.sqrt(step, out=step)
        step += self.eps
        np.divide(m, step, out=step)
        step *= self.lr / (1 - beta1**t)
        p -= step
