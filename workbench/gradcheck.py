"""Numeric derivatives: the check that runs through all four eras.

A gradient is a claim about a function, and the function itself can be asked.  The
whole file is one question, how far a difference quotient may be trusted, in these words:

    h       step; distances are measured between points that floats can hold
    slope   derivative of ``f`` along one element, or along a random direction
    noise   how far rounding makes ``f`` jitter: measured (Moré and Wild, 2011)
    wobble  how far the quotients at ``h`` and ``2h`` disagree: bounds the truncation
    kink    a point where the wobble does not shrink with ``h``: no derivative there

A claim passes if it is within wobble + noise / h of the quotient, and within what
rounding may have done to the claim itself.  No tolerance is set by hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, device_of, float_dtype, to_device, to_host
from workbench.errors import (
    DtypeError,
    GradientError,
    NotFiniteError,
    OptionError,
    ShapeError,
    unknown_name,
)

__all__ = ["ErrorCurve", "GradientReport", "Kink", "check_gradient", "diagnose", "error_curve",
           "numeric_gradient"]  # fmt: skip

# Where truncation meets rounding: h^2 = eps / h, and h = eps / h.  The complex step
# subtracts nothing, so it need only be so small that h^2 is nothing beside 1.
STEPS: dict[str, Callable[[float], float]] = {
    "central": lambda eps: eps ** (1 / 3),
    "forward": lambda eps: eps ** (1 / 2),
    "complex": lambda eps: eps**2,
}
PER_ELEMENT = 1000  # Up to this size each element is checked by itself; beyond it
SAMPLES, DIRECTIONS = 64, 4  # so many are, and in so many directions all of them at once.
ENOUGH = 8  # Wrong elements to look for by halving.
SHRINK = 8.0  # A smaller step divides a smooth wobble by 64, and a kink's by nothing.
JITTERS = 12.0  # Rounding alone makes a wobble of at most 11 noise / h: count its terms.
STRIDES = (1.0, 0.6, 1.7)  # Kinks nearby may cancel in a wobble, but not at three steps.
SIGMAS = 6.0  # Noise is measured as a standard deviation, and to a factor of two.
ROUNDINGS = 100  # A claim may sum 10,000 terms, which errs by some sqrt(10,000) roundings.
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


class _Slope(NamedTuple):
    value: float
    error: float  # A bound on |value - derivative|; at a kink, on the error of its slopes.
    kink: tuple[float, float] | None = None  # Slopes to the left and right.
    curvature: float = 0.0


class _Objective:
    """``f`` of one flat host vector; refuses whatever would spoil a difference."""

    def __init__(self, where: str, f: Callable[..., Any], x: Any,
                 names: Sequence[str] | None = None,
                 dtype: npt.DTypeLike | None = None) -> None:  # fmt: skip
        if not callable(f):
            raise DtypeError(where, "f is not a function", given=type(f).__name__)
        self.where, self.f, self.many = where, f, isinstance(x, tuple | list)
        given = list(x) if self.many else [x]
        self.names = _names(where, f, self.many, len(given), names)
        hosts = [to_host(each) for each in given]
        for name, host in zip(self.names, hosts, strict=True):
            if host.dtype not in (np.float32, np.float64):
                raise DtypeError(where, f"{name} cannot move by a small step",
                                 given=f"{name} of dtype {host.dtype}",
                                 expected="float32 or float64", fix=f"{name}.astype(np.float64)")  # fmt: skip
            if host.dtype != hosts[0].dtype:
                raise DtypeError(where, "the arguments differ in dtype", expected="one for all",
                                 given=f"{self.names[0]} {hosts[0].dtype}, {name} {host.dtype}")  # fmt: skip
            if bad := _not_finite(name, host):
                raise NotFiniteError(where, bad)
        if not sum(host.size for host in hosts):
            raise ShapeError(where, "there is nothing to differentiate by",
                             given=f"x of shape {', '.join(str(host.shape) for host in hosts)}")  # fmt: skip
        self.shapes = [host.shape for host in hosts]
        self.devices = [device_of(each) for each in given]
        self.ends = np.cumsum([host.size for host in hosts])
        self.own = np.concatenate([host.ravel() for host in hosts])
        self.x = self.own if dtype is None else self.own.astype(float_dtype(dtype, where))
        self.reach = np.maximum(1, np.abs(self.x)).astype(np.float64)
        value = self.value(self.x)
        if dtype is not None and value.dtype.itemsize < self.x.dtype.itemsize:
            raise DtypeError(where, f"f does not compute in {self.x.dtype}",
                             given=f"{self.x.dtype} arguments, a {value.dtype} result",
                             fix="leave dtype= out, or keep f from casting")  # fmt: skip
        self.eps = max(_eps(self.x.dtype), _eps(value.dtype))
        self.f0, again = float(value), float(self.value(self.x))
        if abs(again - self.f0) > ROUNDINGS * self.eps * abs(self.f0):
            raise OptionError(where, "f does not repeat itself", given=f"{self.f0}, then {again}",
                              fix="seed random numbers inside f, or draw them outside")  # fmt: skip

    def span(self, k: int) -> slice:
        """Return where argument ``k`` lies in the flat vector."""
        return slice(int(self.ends[k]) - math.prod(self.shapes[k]), int(self.ends[k]))

    def locate(self, i: int) -> tuple[int, tuple[int, ...]]:
        """Return the argument that flat index ``i`` lies in, and its index there."""
        k = int(np.searchsorted(self.ends, i, side="right"))
        return k, tuple(map(int, np.unravel_index(i - self.span(k).start, self.shapes[k])))

    def name(self, i: int) -> str:
        """Return flat element ``i`` as a reader would write it: ``w[2, 3]``."""
        k, index = self.locate(i)
        return _element(self.names[k], index)

    def split(self, flat: Array) -> list[Array]:
        """Cut a flat vector into fresh arrays of the arguments' shapes."""
        return [flat[self.span(k)].reshape(shape).copy() for k, shape in enumerate(self.shapes)]

    def call(self, function: Callable[..., Any], flat: Array, who: str) -> Any:
        """Call ``function`` on the arguments in ``flat``, and see that they stay as they are."""
        parts = self.split(flat)
        inputs = [to_device(p.copy(), d) for p, d in zip(parts, self.devices, strict=True)]
        result = function(*inputs)
        for name, part, each in zip(self.names, parts, inputs, strict=True):
            if not np.array_equal(part, to_host(each)):
                raise OptionError(self.where, f"{who} changed its argument {name} in place",
                                  fix=f"work on a copy of {name} inside {who}")  # fmt: skip
        return result

    def value(self, point: Array, moved: str = "") -> Array:
        """Evaluate ``f``; the result is a finite 0-d host array."""
        result = self.call(self.f, point, "f")
        host = to_host(result)
        if host.dtype.kind not in ("iufc" if point.dtype.kind == "c" else "iuf"):
            raise DtypeError(self.where, "f does not return a real number", given=_kind(result))
        if host.shape != ():
            raise ShapeError(self.where, "f is not scalar", given=f"a result of shape {host.shape}",
                             expected="shape ()", fix="sum or weigh it to one number")  # fmt: skip
        if not np.isfinite(host):
            here = f"near x, as {moved} moves" if moved else "at x"
            raise NotFiniteError(self.where, f"f is {host} {here}",
                                 fix="keep x inside the domain of f by more than a step")  # fmt: skip
        return host

    def along(self, block: Array, v: Array, t: float) -> tuple[float, float]:
        """Return ``f`` at x + t v, ``v`` living on ``block``, and how many v it truly moved."""
        point = self.x.copy()
        point[block] += (t * v).astype(point.dtype)
        moved = (point[block] - self.x[block]).astype(np.float64)  # (x + h) - x
        return float(self.value(point, self.name(block[0]))), float(moved @ v / (v @ v))

    def imaginary(self, block: Array, v: Array, h: float) -> float:
        """Return Im f(x + i h v) / h: no subtraction, so nothing to cancel."""
        point = self.x.astype(np.result_type(self.x, np.complex64))
        point[block] += (1j * h * v).astype(point.dtype)
        advice = {"expected": "analytic NumPy functions: not abs, conj, real or float",
                  "fix": 'method="central"'}  # fmt: skip
        try:
            with warnings.catch_warnings():  # What NumPy warns of is refused below.
                warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
                result = self.value(point, self.name(block[0]))
        except TypeError as error:
            if isinstance(error, DtypeError):
                raise
            raise DtypeError(self.where, "f does not take complex numbers",
                             given=str(error), **advice) from error  # fmt: skip
        if result.dtype.kind != "c":
            raise DtypeError(self.where, "f drops the imaginary part",
                             given=f"complex x, a {result.dtype} result", **advice)  # fmt: skip
        return float(result.imag) / h

    def quotient(self, i: int, method: str, h: float) -> float:
        """Return the textbook quotient for element ``i``; 0 if ``h`` is too small to move it."""
        block, v = np.array([i]), np.ones(1)
        if method == "complex":
            return self.imaginary(block, v, h)
        ahead, plus = self.along(block, v, h)
        behind, minus = self.along(block, v, -h) if method == "central" else (self.f0, 0.0)
        return (ahead - behind) / (plus - minus) if plus != minus else 0.0

    def noise(self, rng: np.random.Generator) -> float:
        """Bound the rounding noise of ``f``: high differences see nothing else.

        The k-th differences of noise have (2k)! / (k!)^2 times its variance; those of a
        smooth function vanish.  J. Moré and S. Wild, "Estimating computational noise" (2011).
        """
        block, found = np.arange(self.x.size), []
        for spacing in self.eps ** (2 / 3) / SHRINK ** np.arange(3):  # Too wide, f itself is seen.
            v = rng.choice((-1.0, 1.0), block.size) * self.reach
            values = [self.along(block, v, k * spacing)[0] for k in range(1, 9)]
            sigmas = [math.sqrt(np.mean(np.diff(values, n=k) ** 2) / math.comb(2 * k, k))
                      for k in (3, 4, 5)]  # fmt: skip
            found.append(float(np.median(sigmas)))
        return SIGMAS * float(np.median(found))

    def slope(self, block: Array, v: Array, method: str, noise: float) -> _Slope:
        """Differentiate along ``v``, which lives on ``block``, with a bound on the error.

        Where ``f`` is smooth, the central quotients at h and 2h differ by three times the
        truncation error.  If a relu of slope s has its corner at u h, 0 <= u <= 1, the
        quotient is wrong by s (1 - u) / 2, and the wobble s |1 - 1.5 u| + s u / 2 is no less.
        """
        h, best = STEPS["central"](self.eps), _Slope(0.0, math.inf)
        before, corner = 0.0, best  # The last wobble; the first slopes, should they be a kink's.
        while True:
            at = {k: self.along(block, v, k * h) for k in (-2, -1, 1, 2)}
            side = {k: (f - self.f0) / distance for k, (f, distance) in at.items()}
            near, far = ((at[k][0] - at[-k][0]) / (at[k][1] - at[-k][1]) for k in (1, 2))
            wobble = 2 * abs(far - near) + abs(side[2] - side[-2] - 2 * (side[1] - side[-1]))
            jitter = (noise + self.eps * max(abs(f) for f, _ in at.values())) / h
            if wobble + jitter < best.error:
                best = _Slope(near, wobble + jitter, None, abs(side[1] - side[-1]) / h)
            if wobble <= JITTERS * jitter:
                break
            if not before:
                bend = max(abs(side[k] - side[2 * k]) for k in (-1, 1))
                corner = _Slope(near, bend + jitter, (side[-1], side[1]))
            elif (smallest := h < 64 * SHRINK * self.eps) or SHRINK * JITTERS * jitter > wobble:
                if smallest and wobble > 4 * before:  # It grows as 1 / h: the value itself jumps.
                    return _Slope(near, 0.0, (-math.inf, math.inf))
                return corner if before / 2 < wobble < 2 * before else best
            h, before = h / SHRINK, wobble
        if method == "central":
            return best
        if method == "forward":
            h = min(h, STEPS["forward"](self.eps))
            (f1, s1), (f2, s2) = self.along(block, v, h), self.along(block, v, 2 * h)
            near, far = (f1 - self.f0) / s1, (f2 - self.f0) / s2
            jitter = (noise + self.eps * max(abs(f1), abs(f2))) / h
            error = 2 * abs(far - near) + 2 * jitter + best.error
            return best._replace(value=near, error=error)
        exact = self.imaginary(block, v, STEPS["complex"](self.eps))
        return best._replace(value=exact, error=0.0)

    def see_analytic(self, block: Array, v: Array, noise: float) -> None:
        """Raise if the complex step and central differences disagree along ``v``."""
        exact = self.imaginary(block, v, STEPS["complex"](self.eps))
        for stride in STRIDES:
            value, error, kink, _ = self.slope(block, stride * v, "central", noise)
            if kink or abs(value - stride * exact) <= error + ROUNDINGS * self.eps * abs(value):
                return
        raise DtypeError(self.where, "f drops a part of the imaginary part",
                         given=f"complex step {exact:.6g}, central differences {value / stride:.6g}",
                         fix='method="central"')  # fmt: skip


def _element(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _not_finite(name: str, array: Array) -> str | None:
    for index in np.argwhere(~np.isfinite(array))[:1]:
        return f"{_element(name, tuple(map(int, index)))} is {array[tuple(index)]}"
    return None


def _kind(thing: Any) -> str:
    host = to_host(thing)
    return type(thing).__name__ if host.dtype == object else f"dtype {host.dtype}"


def _eps(dtype: npt.DTypeLike) -> float:
    """Return the eps of a floating dtype; what NumPy makes of an integer is float64."""
    return float(np.finfo(np.result_type(dtype, np.float16)).eps)


def _check_method(where: str, method: str) -> None:
    if method not in STEPS:
        raise unknown_name(where, "method", method, STEPS)


def _names(where: str, f: Callable[..., Any], many: bool, count: int,
           names: Sequence[str] | None) -> list[str]:  # fmt: skip
    """Name the arguments: as told, else as ``f`` does, else by position."""
    if names is not None:
        if isinstance(names, str) or len(names) != count:
            raise OptionError(where, "names do not match the arguments", given=f"names={names!r}",
                              expected=f"a list of {count}")  # fmt: skip
        return list(names)
    own: list[str] = []
    with contextlib.suppress(TypeError, ValueError):  # What is written in C may have no signature.
        own = [p.name for p in inspect.signature(f).parameters.values()
               if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]  # fmt: skip
    if len(own) == count:
        return own
    return [f"x[{k}]" for k in range(count)] if many else ["x"]


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
    _check_method(where, method)
    objective = _Objective(where, f, x)
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
    _check_method(where, method)
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
    objective = _Objective(where, f, x, names, dtype)
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


def _claimed(objective: _Objective, claim: Any) -> list[Array]:
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
                                given=_kind(each))  # fmt: skip
        if bad := _not_finite(name, host):
            raise GradientError(where, f"the gradient of {bad}",
                                fix="look for a division by zero, or a log or sqrt of 0")  # fmt: skip
    return hosts


class _Check:
    """One comparison.  ``numeric`` and ``tolerance`` fill as it goes; nan is not known (yet)."""

    def __init__(self, objective: _Objective, x: Any, parts: list[Array], method: str,
                 batch_size: int | None, seed: int) -> None:  # fmt: skip
        self.objective, self.parts, self.method = objective, parts, method
        self.batch_size = batch_size or (objective.shapes[0] or (None,))[0]
        self.rng = np.random.default_rng(seed)
        self.noise = noise = objective.noise(self.rng)
        if objective.x.dtype != objective.own.dtype:  # The claim was rounded as f is over there.
            noise = _Objective(objective.where, objective.f, x, objective.names).noise(self.rng)
        self.eps = max(_eps(each.dtype) for each in (objective.own, *parts))
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


def diagnose(
    claimed: Any, numeric: Any, tolerance: Any = None, *, batch_size: int | None = None
) -> str | None:
    """Say what is wrong with a gradient, if the numbers prove it.

    A cause is proved by undoing it: the claim, repaired, is within the tolerance of the
    numeric gradient at every known element.

    Parameters
    ----------
    claimed, numeric : array
        numeric is of x's shape, and nan where it is not known.
    tolerance : float or array of numeric's shape, optional
        Absolute; by default eps**(2/3), all that central differences promise, times the
        largest element of ``numeric``.
    batch_size : int, optional
        A factor to recognise.

    Returns
    -------
    str or None
        The remedy and the evidence; None if nothing is wrong or nothing is proved.

    Raises
    ------
    DtypeError
        If an array is not of real numbers.
    OptionError
        If the tolerance is negative or does not fit ``numeric``.
    """
    where, (c, n) = "diagnose", (to_host(claimed), to_host(numeric))
    for name, host in (("claimed", c), ("numeric", n)):
        if host.dtype.kind not in "iuf":
            raise DtypeError(where, f"{name} is not an array of real numbers", given=_kind(host))
    known = np.isfinite(n)
    if tolerance is None:
        largest = np.abs(n[known]).max(initial=0)
        tolerance = max(_eps(c.dtype), _eps(n.dtype)) ** (2 / 3) * largest
    bound = np.asarray(to_host(tolerance), np.float64)
    if bound.shape not in ((), n.shape) or (bound < 0).any():
        raise OptionError(where, "the tolerance is not usable", given=f"one of shape {bound.shape}",
                          expected=f"a number, or shape {n.shape}; none negative")  # fmt: skip
    bound = np.broadcast_to(bound, n.shape)
    c, n = c.astype(np.float64), n.astype(np.float64)

    def fits(candidate: Array) -> bool:
        return candidate.shape == n.shape and not _wrong(candidate, n, bound).any()

    if fits(c) or not known.any():
        return None
    strong = known & (np.abs(n) > JITTERS * bound)  # Whatever is small would fit a zero.
    if strong.any():
        for repaired, words in _repairs(c, n, strong, batch_size):
            if fits(repaired):
                return words
    if c.shape != n.shape:
        return f"give it the shape {n.shape}: a gradient has the shape of its variable"
    if not strong.any():
        return "f does not depend on it: the numeric gradient is zero to the tolerance"
    wrong = _wrong(c, n, bound)
    if not c[known].any():
        return "every element is 0: nothing was written, or f was cut off from it"
    if wrong.sum() > 1 and not c[wrong].any():
        return "the wrong elements are all 0: they were never written"
    for axis in range(n.ndim if wrong.sum() > 1 else 0):
        places = np.unique(np.nonzero(wrong)[axis])
        if len(places) == 1 and n.shape[axis] > 1:
            at = int(places[0])
            inner = diagnose(*(np.take(each, at, axis) for each in (c, n, bound)))
            return (f"look at index {at} of axis {axis}: no other is wrong"
                    + (f"; there, {inner}" if inner else ""))  # fmt: skip
    return None


def _wrong(c: Array, n: Array, bound: Array) -> Array:
    """Return where ``c`` is off, as far as ``n`` is known."""
    return np.isfinite(n) & ~(np.abs(c - n) <= bound)


def _repairs(
    c: Array, n: Array, strong: Array, batch_size: int | None
) -> Iterator[tuple[Array, str]]:
    """Yield claims with one fault undone, and the words for the fault."""
    every, shape, ndim = "every element is {} the numeric one", n.shape, c.ndim
    yield -c, "change the sign: " + every.format("minus")
    if batch_size and batch_size > 1:
        size = f"the batch size {batch_size}"
        yield c / batch_size, f"divide by {size}: " + every.format(f"{batch_size} times")
        yield c * batch_size, f"divide by {size} only once: " + every.format(f"1/{batch_size} of")
    yield c / 2, "take out a factor 2: " + every.format("twice")
    yield c * 2, "put in a factor 2: " + every.format("half")
    if c.shape == shape and strong.sum() > 1:
        if overlap := float(c[strong] @ n[strong]):
            k = float(c[strong] @ c[strong]) / overlap
            yield c / k, "look for a constant factor: " + every.format(f"{k:.7g} times")
        gap = float(np.median((c - n)[strong]))
        yield c - gap, f"look for a constant term: every element is too large by {gap:.7g}"
    if c.size == n.size:
        for axes in itertools.permutations(range(ndim)):
            if axes != tuple(range(ndim)):
                which = "" if ndim == 2 else f" by axes {axes}"
                yield c.transpose(axes), f"transpose it{which}: then it equals the numeric one"
        yield c.reshape(shape), f"reshape it to {shape}: the values are right"
        yield c.reshape(shape[::-1]).T, "transpose, do not reshape: its elements run that way"
    elif c.size > n.size:
        for axes in _subsets(range(ndim)):
            if (total := c.sum(axes)).size == n.size:
                which = " and ".join(map(str, axes))
                yield total.reshape(shape), f"sum it over axis {which}, where x was broadcast"
    else:
        with contextlib.suppress(ValueError):
            yield np.broadcast_to(c, shape), f"broadcast it back to {shape}: the values are right"
    for axes in _subsets(range(ndim)):
        which = " and ".join(map(str, axes))
        yield np.flip(c, axes), f"flip it along axis {which}: it runs backwards"
    for axis, by in itertools.product(range(ndim), (1, -1)):
        way = "early" if by == 1 else "late"
        yield np.roll(c, by, axis), f"shift it along axis {axis}: it comes one place too {way}"


def _subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for count in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, count)


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
        _check_method(where, method)
    h = np.logspace(-16, 0, 97) if steps is None else np.asarray(steps, np.float64)
    if h.ndim != 1 or not h.size or not (np.isfinite(h) & (h > 0)).all():
        raise OptionError(where, "the steps are not usable", given=f"steps={steps!r}",
                          expected="a list of positive numbers")  # fmt: skip
    objective = _Objective(where, f, x)
    if objective.x.size != 1:
        raise ShapeError(where, "this is a curve at one point", expected="one number",
                         given=f"x of {objective.x.size} elements")  # fmt: skip
    errors = {
        method: np.array([abs(objective.quotient(0, method, float(t)) - exact) for t in h])
        for method in methods
    }
    return ErrorCurve(h, errors)
