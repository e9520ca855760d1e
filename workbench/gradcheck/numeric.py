"""Derivatives by difference quotients, and how their error depends on the step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import (
    OptionError,
    ShapeError,
)
from workbench.gradcheck.objective import STEPS, Objective, check_method


def numeric_gradient(
    f: Callable[..., Any], x: Any, method: str = "central", *, step: float | None = None
) -> Any:
    """Differentiate a scalar function numerically, one element at a time.

    Parameters
    ----------
    f : callable
        ``f(x)``, or ``f(*x)`` if ``x`` is a tuple or list; returns a real scalar.
    x : array, or tuple or list of arrays
        All float32 or all float64; ``f`` is evaluated in this dtype.
    method : {"central", "forward", "complex"}
        (f(x+h) - f(x-h)) / 2h, (f(x+h) - f(x)) / h, or Im f(x + ih) / h.
    step : float, optional
        ``h``.  By default cbrt(eps), sqrt(eps) or eps**2, by method, times max(1, abs(x)).

    Returns
    -------
    array of x's shape and dtype, on the host; a list of them if ``x`` is a tuple or list

    Raises
    ------
    DtypeError
        If ``x`` is not floating, or for "complex" if ``f`` loses the imaginary part.
    ShapeError
        If ``f`` is not scalar or ``x`` is empty.
    NotFiniteError
        If x is nan or infinite, or ``f`` is, near it; the element is named.
    OptionError
        If ``f`` changes its argument or does not repeat itself, or ``step`` does not move x.
    UnknownNameError
        For another method.

    Notes
    -----
    Steps: Press et al., *Numerical Recipes*, section 5.7.  Complex step: W. Squire and
    G. Trapp, "Using complex variables to estimate derivatives of real functions" (1998).
    """
    where = "numeric_gradient"
    check_method(where, method)
    objective = Objective(where, f, x)
    steps = STEPS[method](objective.eps) * objective.reach
    if step is not None:
        least = 0.0 if method == "complex" else float(np.spacing(np.abs(objective.x)).max())
        if not least < step < math.inf:
            raise OptionError(where, "the step is not usable", given=f"step={step!r}",
                              expected=f"more than {least:.2g}, to move {objective.x.dtype} x")  # fmt: skip
        steps = np.full(objective.x.size, step)
    if method == "complex":  # One direction both ways: is f analytic?
        rng = np.random.default_rng(0)
        v = rng.choice((-1.0, 1.0), objective.x.size) * objective.reach
        objective.see_analytic(np.arange(v.size), v, objective.noise(rng))
    flat = np.array([objective.quotient(i, method, float(h)) for i, h in enumerate(steps)])
    parts = objective.split(flat.astype(objective.x.dtype))
    return parts if objective.many else parts[0]


@dataclasses.dataclass(frozen=True)
class ErrorCurve:
    """Absolute error of each method's quotient, at each of ``steps``."""

    steps: npt.NDArray[np.float64]
    errors: dict[str, npt.NDArray[np.float64]]


def error_curve(
    f: Callable[..., Any],
    x: Any,
    exact: float,
    methods: Sequence[str] = tuple(STEPS),
    steps: npt.ArrayLike | None = None,
) -> ErrorCurve:
    """Measure how the error of a difference quotient depends on its step, at one point.

    Truncation falls with the step and rounding rises; the complex step has only the first.

    Parameters
    ----------
    f : callable
        Takes an array of x's shape and returns a scalar.
    x : float, or array of one element
        The point; ``np.float32(x)`` shows float32.
    exact : float
        The derivative of ``f`` there.
    methods : sequence of {"central", "forward", "complex"}
    steps : array, shape (S,), optional
        By default 97 from 1e-16 to 1, evenly on a logarithmic axis.  A step too small to
        move ``x`` sees no change, hence a slope of 0.

    Returns
    -------
    ErrorCurve
        ``steps`` and ``errors[method]``, each of shape (S,).

    Raises
    ------
    ShapeError
        If ``x`` has more than one element.
    OptionError
        If a step is not positive and finite.
    DtypeError, NotFiniteError, UnknownNameError
        As :func:`numeric_gradient`.
    """
    where = "error_curve"
    for method in methods:
        check_method(where, method)
    h = np.logspace(-16, 0, 97) if steps is None else np.asarray(steps, np.float64)
    if h.ndim != 1 or not h.size or not (np.isfinite(h) & (h > 0)).all():
        raise OptionError(where, "the steps are not usable", given=f"steps={steps!r}",
                          expected="a list of positive numbers")  # fmt: skip
    objective = Objective(where, f, x)
    if objective.x.size != 1:
        raise ShapeError(where, "this is a curve at one point", expected="one number",
                         given=f"x of {objective.x.size} elements")  # fmt: skip
    errors = {
        method: np.array([abs(objective.quotient(0, method, float(t)) - exact) for t in h])
        for method in methods
    }
    return ErrorCurve(h, errors)
