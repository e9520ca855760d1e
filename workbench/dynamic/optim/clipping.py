"""Clipping of gradients, between ``backward`` and ``step``.

A parameter's ``grad`` is replaced, not edited, so that what was taken from it stays.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from workbench.arrays import Array
from workbench.dynamic.optim.optimizer import check_option
from workbench.dynamic.tensor import Tensor
from workbench.errors import NotFiniteError


def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float,
                   error_if_nonfinite: bool = False) -> float:  # fmt: skip
    """Scale all gradients together so that their common norm is at most ``max_norm``.

    The direction stays (Pascanu, Mikolov and Bengio, 2013, algorithm 1).

    Parameters
    ----------
    parameters : iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
        Largest Euclidean norm of all gradients taken as one vector.
    error_if_nonfinite : bool
        Refuse a norm that is infinite or not a number, instead of scaling by it.

    Returns
    -------
    float
        The norm before.

    Raises
    ------
    OptionError
        If ``max_norm`` is not positive.
    NotFiniteError
        If asked for; no gradient has changed then.
    """
    check_option("clip_grad_norm", "max_norm", max_norm, max_norm > 0)
    gradients = _gradients(parameters)
    # Sums stay on the device until the last; halves would overflow, so they are widened.
    flat = [g.astype(np.result_type(g, np.float32), copy=False).ravel() for _, g in gradients]
    norm = float(sum(np.dot(g, g) for g in flat)) ** 0.5
    if error_if_nonfinite and not np.isfinite(norm):
        raise NotFiniteError("clip_grad_norm", "the norm of the gradients is not finite",
                             given=f"norm {norm}",
                             fix="lower the learning rate, or see whose grad it is")  # fmt: skip
    if not norm <= max_norm:
        scale = max_norm / (norm + 1e-6)
        for p, g in gradients:
            p.grad = Tensor(np.multiply(g, scale, out=np.empty_like(g)))
    return norm


def clip_grad_value(parameters: Tensor | Iterable[Tensor], limit: float) -> None:
    """Clip each element of every gradient to lie between ``-limit`` and ``limit``.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those without a gradient are passed over.
    limit : float
        Largest absolute value.

    Raises
    ------
    OptionError
        If ``limit`` is not positive.
    """
    check_option("clip_grad_value", "limit", limit, limit > 0)
    for p, g in _gradients(parameters):
        p.grad = Tensor(np.clip(g, -limit, limit, out=np.empty_like(g)))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [(p, p.grad.data) for p in given if p.grad is not None]
