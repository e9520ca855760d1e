"""Optimisers: what to do with a gradient once it is there.

``p`` is a parameter's value, ``g`` its gradient; squares, roots and quotients are
elementwise.  Values change in place, so that every owner of the array sees it.  An
argument that is not as its docstring says raises OptionError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import OptionError
from workbench.manual._checks import check_number
from workbench.manual.layer import Parameter


class Optimizer:
    """What the optimisers share.  A new one needs :meth:`update`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``.
    learning_rate : float
        Positive; may be set between steps.

    Raises
    ------
    OptionError
        If there are no parameters, one is none or stands twice, or the rate is not
        positive.
    """

    slots = 0  # How many arrays of memory, zero at first, a parameter needs.

    def __init__(self, parameters: Iterable[Parameter], learning_rate: float) -> None:
        where = type(self).__name__
        self.parameters = _check_parameters(where, parameters)
        self.learning_rate = check_number(where, "learning_rate", learning_rate, 0, open_low=True)
        self.steps = 0
        self._memory = [
            [np.zeros_like(each.value) for _ in range(self.slots)] for each in self.parameters
        ]

    def step(self) -> None:
        """Move every parameter once, by its present gradient."""
        self.steps += 1
        for parameter, memory in zip(self.parameters, self._memory, strict=True):
            self.update(parameter.value, parameter.gradient, *memory)

    def update(self, p: Array, g: Array, *memory: Array) -> None:
        """Change ``p`` and the ``memory`` in place, and leave ``g`` as it is."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")


class SGD(Optimizer):
    """Stochastic gradient descent, plain or with a momentum.

    ==========  =============================================
    plain       ``p -= learning_rate * g``
    momentum    ``v = momentum * v - learning_rate * g``, ``p += v``
    nesterov    the same v, then ``p += momentum * v - learning_rate * g``
    ==========  =============================================

    Parameters
    ----------
    parameters, learning_rate
        As :class:`Optimizer`.
    momentum : float
        In [0, 1); the share of the last step that is taken again.
    nesterov : bool
        Whether to take the gradient as that of the point one momentum ahead.

    Raises OptionError for arguments that are not as above, or nesterov without momentum.

    Notes
    -----
    Sources: Robbins and Monro (1951); Polyak (1964); Nesterov (1983), in the variable
    that Sutskever et al. (2013) and Bengio et al. (2013) use.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = check_number("SGD", "momentum", momentum, 0, 1)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise OptionError("SGD", "nesterov needs a momentum", given="momentum=0.0",
                              expected="momentum above 0", fix="momentum=0.9")  # fmt: skip
        self.slots = 1 if momentum else 0
        super().__init__(parameters, learning_rate)

    def update(self, p: Array, g: Array, *memory: Array) -> None:
        """As the table above."""
        change = self.learning_rate * g
        if not memory:
            p -= change
            return
        (v,) = memory
        v *= self.momentum
        v -= change
        p += self.momentum * v - change if self.nesterov else v


class Adagrad(Optimizer):
    """Smaller steps where gradients have been large: all of them, since the start.

    ``s += g**2``, then ``p -= learning_rate * g / (sqrt(s) + epsilon)``.

    Parameters
    ----------
    parameters, learning_rate
        As :class:`Optimizer`.
    epsilon : float
        Positive.

    Notes
    -----
    Source: Duchi, Hazan and Singer (2011), the diagonal form.
    """

    slots = 1

    def __init__(
        self, parameters: Iterable[Parameter], learning_rate: float, epsilon: float = 1e-10
    ) -> None:
        self.epsilon = check_number("Adagrad", "epsilon", epsilon, 0, open_low=True)
        super().__init__(parameters, learning_rate)

    def update(self, p: Array, g: Array, *memory: Array) -> None:
        """As the formula above."""
        (s,) = memory
        s += g * g
        p -= self.learning_rate * g / (np.sqrt(s) + self.epsilon)


class RMSProp(Optimizer):
    """Adagrad that forgets: ``s`` is a moving average of ``g**2``.

    ``s = decay * s + (1 - decay) * g**2``, then
    ``p -= learning_rate * g / (sqrt(s) + epsilon)``.

    Parameters
    ----------
    parameters, learning_rate
        As :class:`Optimizer`.
    decay : float
        In [0, 1).
    epsilon : float
        Positive.

    Notes
    -----
    Source: Tieleman and Hinton (2012), lecture 6.5 of "Neural networks for machine
    learning".
    """

    slots = 1

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        decay: float = 0.9,
        epsilon: float = 1e-8,
    ) -> None:
        self.decay = check_number("RMSProp", "decay", decay, 0, 1)
        self.epsilon = check_number("RMSProp", "epsilon", epsilon, 0, open_low=True)
        super().__init__(parameters, learning_rate)

    def update(self, p: Array, g: Array, *memory: Array) -> None:
        """As the formulas above."""
        (s,) = memory
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        p -= self.learning_rate * g / (np.sqrt(s) + self.epsilon)


class Adam(Optimizer):
    """Moving averages of the gradient and of its square, corrected for their start at 0.

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g**2``, then
    ``p -= learning_rate * M / (sqrt(V) + epsilon)`` with ``M = m / (1 - beta1**t)`` and
    ``V = v / (1 - beta2**t)`` at the t-th step.

    Parameters
    ----------
    parameters, learning_rate
        As :class:`Optimizer`.
    beta1, beta2 : float
        In [0, 1).
    epsilon : float
        Positive.

    Notes
    -----
    Source: Kingma and Ba (2015), algorithm 1.
    """

    slots = 2

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.beta1 = check_number("Adam", "beta1", beta1, 0, 1)
        self.beta2 = check_number("Adam", "beta2", beta2, 0, 1)
        self.epsilon = check_number("Adam", "epsilon", epsilon, 0, open_low=True)
        super().__init__(parameters, learning_rate)

    def update(self, p: Array, g: Array, *memory: Array) -> None:
        """As the formulas above, with both corrections taken out of the arrays."""
        m, v = memory
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * (g * g)
        root = math.sqrt(1 - self.beta2**self.steps)
        rate = self.learning_rate * root / (1 - self.beta1**self.steps)
        p -= rate * m / (np.sqrt(v) + self.epsilon * root)


def _check_parameters(where: str, parameters: Any) -> Sequence[Parameter]:
    if isinstance(parameters, Parameter):
        raise OptionError(where, "parameters is a single Parameter", given=repr(parameters),
                          expected="a list of them", fix="[parameter]")  # fmt: skip
    if not isinstance(parameters, Iterable):
        raise OptionError(where, "parameters is not a list", given=repr(parameters),
                          expected="a list of Parameters", fix="model.parameters()")  # fmt: skip
    found = list(parameters)
    for place, each in enumerate(found):
        if not isinstance(each, Parameter):
            raise OptionError(where, f"parameters[{place}] is not a Parameter",
                              given=f"a {type(each).__name__}", expected="a Parameter",
                              fix="model.parameters()")  # fmt: skip
        if any(each is other for other in found[:place]):
            raise OptionError(where, f"parameters[{place}] stands in the list twice",
                              given=repr(each),
                              expected="each once, or it moves twice a step")  # fmt: skip
    if not found:
        raise OptionError(where, "there are no parameters", expected="at least one")
    return found
