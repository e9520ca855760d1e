"""The function under the check: moved along elements or directions, and asked.

Here is how far a difference quotient may be trusted: its slope, its wobble, its noise,
its kinks, in the words of the package's glossary.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, device_of, float_dtype, to_device, to_host
from workbench.errors import (
    DtypeError,
    NotFiniteError,
    OptionError,
    ShapeError,
    unknown_name,
)

# Where truncation meets rounding: h^2 = eps / h, and h = eps / h.  The complex step
# subtracts nothing, so it need only be so small that h^2 is nothing beside 1.
STEPS: dict[str, Callable[[float], float]] = {
    "central": lambda eps: eps ** (1 / 3),
    "forward": lambda eps: eps ** (1 / 2),
    "complex": lambda eps: eps**2,
}
SHRINK = 8.0  # A smaller step divides a smooth wobble by 64, and a kink's by nothing.
JITTERS = 12.0  # Rounding alone makes a wobble of at most 11 noise / h: count its terms.
STRIDES = (1.0, 0.6, 1.7)  # Kinks nearby may cancel in a wobble, but not at three steps.
SIGMAS = 6.0  # Noise is measured as a standard deviation, and to a factor of two.
ROUNDINGS = 100  # A claim may sum 10,000 terms, which errs by some sqrt(10,000) roundings.


class Slope(NamedTuple):
    """A difference quotient, and how far it may be trusted."""

    value: float
    error: float  # A bound on |value - derivative|; at a kink, on the error of its slopes.
    kink: tuple[float, float] | None = None  # Slopes to the left and right.
    curvature: float = 0.0


class Objective:
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
            if bad := not_finite(name, host):
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
        self.eps = max(eps_of(self.x.dtype), eps_of(value.dtype))
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
            raise DtypeError(self.where, "f does not return a real number", given=kind_of(result))
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

    def slope(self, block: Array, v: Array, method: str, noise: float) -> Slope:
        """Differentiate along ``v``, which lives on ``block``, with a bound on the error.

        Where ``f`` is smooth, the central quotients at h and 2h differ by three times the
        truncation error.  If a relu of slope s has its corner at u h, 0 <= u <= 1, the
        quotient is wrong by s (1 - u) / 2, and the wobble s |1 - 1.5 u| + s u / 2 is no less.
        """
        h, best = STEPS["central"](self.eps), Slope(0.0, math.inf)
        before, corner = 0.0, best  # The last wobble; the first slopes, should they be a kink's.
        while True:
            at = {k: self.along(block, v, k * h) for k in (-2, -1, 1, 2)}
            side = {k: (f - self.f0) / distance for k, (f, distance) in at.items()}
            near, far = ((at[k][0] - at[-k][0]) / (at[k][1] - at[-k][1]) for k in (1, 2))
            wobble = 2 * abs(far - near) + abs(side[2] - side[-2] - 2 * (side[1] - side[-1]))
            jitter = (noise + self.eps * max(abs(f) for f, _ in at.values())) / h
            if wobble + jitter < best.error:
                best = Slope(near, wobble + jitter, None, abs(side[1] - side[-1]) / h)
            if wobble <= JITTERS * jitter:
                break
            if not before:
                bend = max(abs(side[k] - side[2 * k]) for k in (-1, 1))
                corner = Slope(near, bend + jitter, (side[-1], side[1]))
            elif (smallest := h < 64 * SHRINK * self.eps) or SHRINK * JITTERS * jitter > wobble:
                if smallest and wobble > 4 * before:  # It grows as 1 / h: the value itself jumps.
                    return Slope(near, 0.0, (-math.inf, math.inf))
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


def not_finite(name: str, array: Array) -> str | None:
    """Name the first NaN or infinity of an array, or return None."""
    for index in np.argwhere(~np.isfinite(array))[:1]:
        return f"{_element(name, tuple(map(int, index)))} is {array[tuple(index)]}"
    return None


def kind_of(thing: Any) -> str:
    """Say what a thing is: its dtype, or for no array of numbers its type."""
    host = to_host(thing)
    return type(thing).__name__ if host.dtype == object else f"dtype {host.dtype}"


def eps_of(dtype: npt.DTypeLike) -> float:
    """Return the eps of a floating dtype; what NumPy makes of an integer is float64."""
    return float(np.finfo(np.result_type(dtype, np.float16)).eps)


def check_method(where: str, method: str) -> None:
    """Raise UnknownNameError unless the method is one of :data:`STEPS`."""
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
