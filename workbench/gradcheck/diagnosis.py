"""What is wrong with a gradient, as far as the numbers prove it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array, to_host
from workbench.errors import (
    DtypeError,
    OptionError,
)
from workbench.gradcheck.objective import JITTERS, eps_of, kind_of


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
            raise DtypeError(where, f"{name} is not an array of real numbers", given=kind_of(host))
    known = np.isfinite(n)
    if tolerance is None:
        largest = np.abs(n[known]).max(initial=0)
        tolerance = max(eps_of(c.dtype), eps_of(n.dtype)) ** (2 / 3) * largest
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
