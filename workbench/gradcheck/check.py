"""Hold a claimed gradient to the function itself, and name the first element that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, to_device, to_host
from workbench.errors import (
    GradientError,
    OptionError,
    unknown_name,
)
from workbench.gradcheck.diagnosis import diagnose
from workbench.gradcheck.objective import (
    ROUNDINGS,
    STRIDES,
    Objective,
    check_method,
    eps_of,
    kind_of,
    not_finite,
)

PER_ELEMENT = 1000  # Up to this size each element is checked by itself; beyond it
SAMPLES, DIRECTIONS = 64, 4  # so many are, and in so many directions all of them at once.
ENOUGH = 8  # Wrong elements to look for by halving.
SWEEP = 5  # A reverse sweep does at most five times the work of f (Griewank and Walther).


@dataclasses.dataclass(frozen=True)
class Kink:
    """An element without a derivative, and the slopes on both sides (infinite at a jump)."""

    name: str
    argument: int
    index: tuple[int, ...]
    left: float
    right: float

    def __str__(self) -> str:
        return f"{self.name} (slopes {self.left:.3g} and {self.right:.3g})"


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What :func:`check_gradient` found, in absolute numbers.

    ``checked`` elements of ``size`` were compared one by one, with a largest error of
    ``max_error`` and none above ``tolerance``, and all at once along ``directions``.
    ``kinks`` were left out.  ``higher`` reports on the next order.
    """

    max_error: float
    tolerance: float
    method: str
    dtype: str
    checked: int
    size: int
    directions: int
    kinks: tuple[Kink, ...]
    higher: GradientReport | None = None

    def __str__(self) -> str:
        along = f" and {self.directions} random directions" if self.directions else ""
        text = (f"gradient right: {self.checked} of {self.size} elements{along}, max error "
                f"{self.max_error:.2g}, tolerance {self.tolerance:.2g} "
                f"({self.method}, {self.dtype})")  # fmt: skip
        if self.kinks:
            text += f"; {len(self.kinks)} left out at kinks: {', '.join(map(str, self.kinks))}"
        return text + (f"\nnext order: {self.higher}" if self.higher else "")


def check_gradient(
    f: Callable[..., Any],
    gradient: Any,
    x: Any,
    order: int = 1,
    *,
    method: str = "central",
    dtype: npt.DTypeLike | None = None,
    samples: int | None = None,
    kinks: str = "report",
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> GradientReport:
    """Check a gradient against numeric derivatives, or say what is wrong with it.

    Parameters
    ----------
    f : callable
        ``f(x)``, or ``f(*x)`` if ``x`` is a tuple or list; returns a real scalar.
    gradient : array, tuple or list of arrays, or callable
        The claim, of x's shape; or a function that returns it, called as ``f`` is.  For
        order n a list of n functions: ``first(*x)``; ``second(*x, *v)``, the gradient of
        ``sum(first(*x) * v)`` (a Hessian-vector product); ``third(*x, *v, *u)``; ...
    x : array, or tuple or list of arrays
        Where to check; all float32 or all float64.
    order : int
        2 checks the gradient, then by the same check the gradient of its product with a
        random ``v``; and so on.
    method : {"central", "forward", "complex"}
        What the claim is compared with; see :func:`numeric_gradient`.
    dtype : dtype, optional
        Evaluate ``f`` in this dtype: np.float64 gives a float32 gradient a far sharper
        reference, if ``f`` computes in the dtype it is given.
    samples : int, optional
        How many elements, drawn at random, to check one by one; by default all of up to
        1,000, and 64 of more.  If these are not all, four random directions move all
        elements at once, and halving finds the wrong ones where one disagrees.
    kinks : {"report", "raise"}
        What to do at an element where the slopes to the left and right disagree down to
        the smallest step that the noise allows.  "report" asks of the claim only that it
        lies between the two, and lists the element; "raise" refuses.
    names : list of str, optional
        Names of the arguments, for messages; by default those in f's signature.
    batch_size : int, optional
        A factor to recognise; by default the length of the first argument.
    seed : int
        Of the random samples, directions and ``v``.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        If the claim is wrong: names the first wrong element, both values, how many are
        wrong, and the cause if :func:`diagnose` proves one.  Also if the claim is all
        smaller than its tolerance, so that the check would mean nothing.
    DtypeError, ShapeError, NotFiniteError, OptionError, UnknownNameError
        As :func:`numeric_gradient`, and for options that are out of range.
    """
    where = "check_gradient"
    check_method(where, method)
    if kinks not in ("report", "raise"):
        raise unknown_name(where, "treatment of kinks", kinks, ("report", "raise"))
    for name, value in (("order", order), ("samples", samples), ("batch_size", batch_size)):
        if value is not None and not (isinstance(value, int | np.integer) and value > 0):
            raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                              expected="a positive int")  # fmt: skip
    claims = list(gradient) if order > 1 and isinstance(gradient, tuple | list) else [gradient]
    if len(claims) != order or (order > 1 and not all(map(callable, claims))):
        raise OptionError(where, f"order {order} needs a list of {order} functions",
                          given=", ".join(type(claim).__name__ for claim in claims),
                          fix="[first, second]: second(x, v) differentiates sum(first(x) * v)")  # fmt: skip
    objective = Objective(where, f, x, names, dtype)
    check = _Check(objective, x, _claimed(objective, claims[0]), method, batch_size, seed)
    report = check.run(samples, kinks)
    if order == 1:
        return report
    count = len(objective.shapes)
    v = np.random.default_rng(seed).standard_normal(objective.x.size)
    vs = [to_device(part, device) for part, device
          in zip(objective.split(v.astype(objective.own.dtype)), objective.devices, strict=True)]  # fmt: skip

    def product(*x: Array) -> Any:
        first = claims[0](*x) if objective.many else [claims[0](*x)]
        return sum(to_host((g * v).sum()) for g, v in zip(first, vs, strict=True))

    def given_v(claim: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *x: claim(*x[:count], *vs, *x[count:])

    rest = [given_v(claim) for claim in claims[1:]]
    higher = check_gradient(product, rest if order > 2 else rest[0], x, order - 1, method=method,
                            dtype=dtype, samples=samples, kinks=kinks, names=objective.names,
                            batch_size=batch_size, seed=seed + 1)  # fmt: skip
    return dataclasses.replace(report, higher=higher)


def _claimed(objective: Objective, claim: Any) -> list[Array]:
    """Return the claim as one finite host array an argument, calling it if need be."""
    where, names = objective.where, objective.names
    if callable(claim):
        claim = objective.call(claim, objective.own, "the gradient function")
    if not objective.many:
        claim = [claim]
    elif not isinstance(claim, tuple | list) or len(claim) != len(names):
        given = f"{len(claim)} arrays" if isinstance(claim, tuple | list) else type(claim).__name__
        raise GradientError(where, "there is not one gradient for each argument", given=given,
                            expected=f"a list of {len(names)}: {', '.join(names)}")  # fmt: skip
    hosts = [to_host(each) for each in claim]
    for name, each, host in zip(names, claim, hosts, strict=True):
        if host.dtype.kind not in "iuf":
            raise GradientError(where, f"the gradient of {name} is not an array of real numbers",
                                given=kind_of(each))  # fmt: skip
        if bad := not_finite(name, host):
            raise GradientError(where, f"the gradient of {bad}",
                                fix="look for a division by zero, or a log or sqrt of 0")  # fmt: skip
    return hosts


class _Check:
    """One comparison.  ``numeric`` and ``tolerance`` fill as it goes; nan is not known (yet)."""

    def __init__(self, objective: Objective, x: Any, parts: list[Array], method: str,
                 batch_size: int | None, seed: int) -> None:  # fmt: skip
        self.objective, self.parts, self.method = objective, parts, method
        self.batch_size = batch_size or (objective.shapes[0] or (None,))[0]
        self.rng = np.random.default_rng(seed)
        self.noise = noise = objective.noise(self.rng)
        if objective.x.dtype != objective.own.dtype:  # The claim was rounded as f is over there.
            noise = Objective(objective.where, objective.f, x, objective.names).noise(self.rng)
        self.eps = max(eps_of(each.dtype) for each in (objective.own, *parts))
        self.claimed, self.allowance, self.numeric, self.tolerance = np.full(
            (4, objective.x.size), np.nan)  # fmt: skip
        for k, part in enumerate(parts):
            here = objective.span(k)
            if part.shape == objective.shapes[k]:
                self.claimed[here] = part.ravel()
            scale = np.abs(objective.x[here]).max(initial=0) or 1.0
            rounding = ROUNDINGS * self.eps * np.abs(part).max(initial=0)
            self.allowance[here] = rounding + SWEEP * (noise + self.eps * abs(objective.f0)) / scale
        self.wrong: list[int] = []
        self.kinks: dict[int, Kink] = {}
        self.directions, self.visible = 0, False

    def run(self, samples: int | None, kinks: str) -> GradientReport:
        """Look at the elements and directions asked for; raise or report."""
        objective, where, size = self.objective, self.objective.where, self.objective.x.size
        for k, part in enumerate(self.parts):
            if part.shape != objective.shapes[k]:
                here = objective.span(k)
                self.examine_each(np.arange(here.start, here.stop), PER_ELEMENT)
                raise self.failure(here.start)
        samples = samples or (size if size <= PER_ELEMENT else SAMPLES)
        for _ in range(DIRECTIONS if samples < size else 0):
            block = np.setdiff1d(np.arange(size), [*self.kinks, *self.wrong])
            agrees = self.examine(block) if block.size else None
            self.directions += bool(agrees)
            if agrees is False and not self.wrong:
                again = self.examine(block)
                if again is False and not self.wrong:  # Twice in a row is no accident.
                    raise GradientError(where, "random directions disagree",
                                        given="no single element leaves its tolerance",
                                        fix="seek one small error in many elements, or use "
                                        "dtype=np.float64")  # fmt: skip
        self.examine_each(np.arange(size), samples)
        if self.kinks and kinks == "raise":
            raise GradientError(where, f"f is not differentiable at {self.kinks[min(self.kinks)]}",
                                fix='move x off the kink, or pass kinks="report"')  # fmt: skip
        if self.wrong:
            raise self.failure(min(self.wrong))
        known = ~np.isnan(self.numeric)
        tolerance = float(self.tolerance[known].max(initial=0))
        if not self.visible and (np.abs(self.claimed) > self.allowance)[known].any():
            raise GradientError(where, "the check can see nothing",
                                given=f"a gradient of {np.abs(self.claimed[known]).max():.2g}",
                                expected=f"more than the tolerance, {tolerance:.2g}",
                                fix="use dtype=np.float64, or an f with less rounding noise")  # fmt: skip
        return GradientReport(
            max_error=float(np.abs(self.claimed - self.numeric)[known].max(initial=0)),
            tolerance=tolerance,
            method=self.method,
            dtype=str(objective.x.dtype),
            checked=int(known.sum()),
            size=size,
            directions=self.directions,
            kinks=tuple(self.kinks[i] for i in sorted(self.kinks)),
        )

    def examine_each(self, elements: Array, count: int) -> None:
        """Examine ``count`` of the elements one by one, or all if there are no more."""
        for i in np.sort(self.rng.choice(elements, min(count, elements.size), replace=False)):
            if int(i) not in self.kinks and np.isnan(self.numeric[i]):
                self.examine(np.array([i]))

    def examine(self, block: Array) -> bool | None:
        """Compare along one element, or a random direction of many, and halve on trouble.

        Returns whether claimed and numeric agree; None at a kink.
        """
        single, i = block.size == 1, int(block[0])
        v = self.objective.reach[block]
        if not single:
            v = v * self.rng.choice((-1.0, 1.0), block.size)
        claimed, error = float(self.claimed[block] @ v), 0.0
        for stride in STRIDES:
            value, bound, kink, curvature = self.objective.slope(
                block, stride * v, self.method, self.noise)  # fmt: skip
            bound += ROUNDINGS * self.eps * curvature  # The claim may be that of a rounded x.
            low, high = sorted(side / stride for side in kink or (value, value))
            error = max(error, bound / stride)
            tolerance = error + float(np.linalg.norm(self.allowance[block] * v))
            if agrees := low - tolerance <= claimed <= high + tolerance:
                break
        if self.method == "complex" and not agrees:
            self.objective.see_analytic(block, v, self.noise)
        if single and kink:
            k, index = self.objective.locate(i)
            sides = (side / stride / v[0] for side in kink)
            self.kinks[i] = Kink(self.objective.name(i), k, index, *sides)
        elif single:
            self.numeric[i], self.tolerance[i] = value / stride / v[0], tolerance / v[0]
        elif kink or not agrees:
            for half in np.array_split(block, 2):
                if len(self.wrong) < ENOUGH:
                    self.examine(half)
        if single and not agrees:
            self.wrong.append(i)
        self.visible |= kink is None and abs(claimed) > tolerance
        return None if kink else agrees

    def failure(self, i: int) -> GradientError:
        """Name element ``i``, and what the numbers prove about the cause."""
        objective = self.objective
        k, _ = objective.locate(i)
        here, shape, part = objective.span(k), objective.shapes[k], self.parts[k]
        numeric, bound = self.numeric[here].reshape(shape), self.tolerance[here].reshape(shape)
        cause = diagnose(part, numeric, bound, batch_size=self.batch_size)
        if part.shape != shape:
            return GradientError(objective.where, f"the gradient of {objective.names[k]} has a wrong shape",
                                 given=str(part.shape), expected=str(shape), fix=cause)  # fmt: skip
        looked = int((~np.isnan(self.numeric)).sum()) + len(self.kinks)
        problem = f"{len(self.wrong)} of {looked} elements of the gradient are wrong"
        if looked < self.numeric.size:
            problem += f" (looked at {looked} of {self.numeric.size})"
        if kink := self.kinks.get(i):
            expected = f"between the slopes at this kink of f, {kink.left:.9g} and {kink.right:.9g}"
        else:
            expected = (f"numeric {self.numeric[i]:.9g} ± {self.tolerance[i]:.2g}"
                        f" ({self.method}, {objective.x.dtype})")  # fmt: skip
        return GradientError(objective.where, f"{problem}, first {objective.name(i)}", fix=cause,
                             given=f"claimed {self.claimed[i]:.9g}", expected=expected)  # fmt: skip
