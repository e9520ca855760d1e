"""What every op of this era refuses, stated as one line of pattern.

An op says what it takes the way its docstring does, ``"x N D, w D K, b K"``, and
the shapes, the dtypes and the device of the arrays are held to that.  A letter
means the same length wherever it stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.errors import DeviceError, DtypeError, OptionError, ShapeError

# Complex arrays are let in beside real ones of the same precision: the complex-step
# derivative (Squire and Trapp, 1998) runs a forward pass on them.
_PRECISION = {"f": "float32", "F": "float32", "d": "float64", "D": "float64"}
_INTEGERS = "bBhHiIlLqQ"


def check(where: str, pattern: str, *arrays: Array) -> None:
    """Hold arrays to a pattern of their shapes, to one precision and to one device.

    Parameters
    ----------
    where : str
        The op on whose behalf errors speak.
    pattern : str
        For each array its name and axes, with commas between: ``"x N D, w D 4K"``.
        A first axis ``...`` stands for any number of axes, the same ones wherever
        it appears; ``4K`` is four times K; ``name:int`` asks for integers.
    *arrays : array
        As many as the pattern names.

    Raises
    ------
    DtypeError
        If one is no array, is not of float32 or float64 (or their complex
        counterparts), or differs in precision from the first.
    DeviceError
        If some are on the host and some on the GPU.
    ShapeError
        If an array has the wrong number of axes or does not fit those before it.
    """
    try:
        signature = [(a.shape, a.dtype.char, isinstance(a, np.ndarray)) for a in arrays]
    except AttributeError:
        _refuse_non_array(where, pattern, arrays)
        raise
    _verify(where, pattern, *signature)


def check_g(where: str, g: Array, shape: tuple[int, ...], like: Array) -> None:
    """Hold the gradient of an output to that output's shape and precision.

    Raises
    ------
    DtypeError, ShapeError
        If ``g`` is no array of the precision of ``like``, or not of ``shape``.
    """
    found = getattr(g, "shape", None), _PRECISION.get(getattr(g, "dtype", np.dtype("O")).char)
    if found == (shape, _PRECISION[like.dtype.char]):
        return
    if found[1] != _PRECISION[like.dtype.char]:
        raise DtypeError(where, "g is not of the output's dtype", given=f"g {_describe(g)}",
                         expected=f"an array of {like.dtype}")  # fmt: skip
    raise ShapeError(where, "g does not have the output's shape", given=f"g {g.shape}",
                     expected=f"g {shape}")  # fmt: skip


def check_number(
    where: str, name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False
) -> float:
    """Return ``value`` if it is a finite number in [low, high), or (low, high).

    Raises
    ------
    OptionError
        Otherwise.
    """
    number = isinstance(value, int | float | np.integer | np.floating)
    fits = number and math.isfinite(value) and low <= value < high
    if not fits or isinstance(value, bool) or (open_low and value == low):
        span = f"above {low:g}" if open_low else f"of at least {low:g}"
        limit = "" if high == math.inf else f" and below {high:g}"
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected=f"a finite number {span}{limit}")  # fmt: skip
    return float(value)


def check_count(where: str, name: str, value: Any) -> int:
    """Return ``value`` if it is a positive int.

    Raises
    ------
    OptionError
        Otherwise.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise OptionError(where, f"{name} is not usable", given=f"{name}={value!r}",
                          expected="a positive int")  # fmt: skip
    return int(value)


def check_rng(where: str, rng: Any) -> None:
    """Refuse a source of randomness that is not a Generator, such as a bare seed.

    Raises
    ------
    DtypeError
        If ``rng`` has not the methods of NumPy's Generator.
    """
    if not (hasattr(rng, "random") and hasattr(rng, "standard_normal")):
        seed = rng if isinstance(rng, int) else 0
        raise DtypeError(where, "rng is not a random generator", given=f"rng={rng!r}",
                         expected="a numpy.random.Generator",
                         fix=f"rng=numpy.random.default_rng({seed})")  # fmt: skip


def check_indices(where: str, name: str, indices: Array, count: int, of: str) -> None:
    """Refuse indices outside [0, count); NumPy would read negative ones from the end.

    Raises
    ------
    OptionError
        Naming the first index that is outside.
    """
    if indices.size and not (indices.min() >= 0 and indices.max() < count):
        outside = (indices < 0) | (indices >= count)
        position = tuple(int(axis[0]) for axis in np.nonzero(outside))
        raise OptionError(where, f"{name} name {of} that do not exist",
                          given=f"{name}[{', '.join(map(str, position))}] = {indices[position]}",
                          expected=f"0 to {count - 1}")  # fmt: skip


@functools.lru_cache(maxsize=4096)  # A training loop asks the same question at every step.
def _verify(where: str, pattern: str, *signature: tuple[tuple[int, ...], str, bool]) -> None:
    declared = _parse(pattern)
    names = [name for name, _, _ in declared]
    _verify_dtypes(where, declared, signature)
    given = ", ".join(f"{n} {s}" for n, (s, _, _) in zip(names, signature, strict=True))
    expected = ", ".join(f"{name} {_spell(axes)}" for name, axes, _ in declared)
    bound: dict[str, tuple[int, str]] = {}  # Letter: its length, and who said so first.
    lead: tuple[tuple[int, ...], str] | None = None
    for (name, axes, _), (shape, _, _) in zip(declared, signature, strict=True):
        free = axes[:1] == ["..."]
        letters = axes[1:] if free else axes
        split = len(shape) - len(letters)
        if split < 0 or (split and not free):
            raise ShapeError(where, f"{name} has {len(shape)} axes",
                             given=given, expected=expected)  # fmt: skip
        if free and lead is not None and lead[0] != shape[:split]:
            raise ShapeError(where, f"{name} does not fit {lead[1]}", given=given,
                             expected=expected, fix=f"{name} needs the leading axes "
                             f"{lead[0]} of {lead[1]}")  # fmt: skip
        lead = lead or ((shape[:split], name) if free else None)
        for letter, length in zip(letters, shape[split:], strict=True):
            times, base = _multiple(letter)
            if base not in bound:
                bound[base] = length // times, name
            if bound[base][0] * times != length:
                needed = axes[:free] + [_length(each, bound) for each in letters]
                raise ShapeError(where, f"{name} does not fit {bound[base][1]}",
                                 given=given, expected=expected,
                                 fix=f"{name} needs shape {_spell(needed)} here")  # fmt: skip


def _verify_dtypes(
    where: str, declared: Sequence[tuple[str, list[str], bool]], signature: Sequence[Any]
) -> None:
    first: tuple[str, str] | None = None
    for (name, _, integer), (_, char, host) in zip(declared, signature, strict=True):
        dtype = np.dtype(char)
        if host != signature[0][2]:
            raise DeviceError(where, f"{name} and {declared[0][0]} are on different devices",
                              fix="move both with workbench.arrays.to_device")  # fmt: skip
        if integer:
            if char not in _INTEGERS:
                raise DtypeError(where, f"{name} are not integers", given=f"{name} {dtype}",
                                 expected="an array of integers",
                                 fix=f"{name}.astype(numpy.int64)")  # fmt: skip
            continue
        if char not in _PRECISION:
            raise DtypeError(where, f"{name} is not a floating array", given=f"{name} {dtype}",
                             expected="float32 or float64",
                             fix=f"{name}.astype(numpy.float32)")  # fmt: skip
        if first and first[1] != _PRECISION[char]:
            raise DtypeError(where, f"{name} and {first[0]} differ in precision",
                             given=f"{first[0]} {first[1]}, {name} {_PRECISION[char]}",
                             expected="one dtype, so that nothing is promoted unseen",
                             fix=f"{name}.astype(numpy.{first[1]})")  # fmt: skip
        first = first or (name, _PRECISION[char])


def _parse(pattern: str) -> list[tuple[str, list[str], bool]]:
    items = [item.split() for item in pattern.split(",")]
    return [(name.removesuffix(":int"), axes, name.endswith(":int")) for name, *axes in items]


def _multiple(letter: str) -> tuple[int, str]:
    return (int(letter[0]), letter[1:]) if letter[0].isdigit() else (1, letter)


def _length(letter: str, bound: dict[str, tuple[int, str]]) -> str:
    times, base = _multiple(letter)
    return str(times * bound[base][0]) if base in bound else letter


def _spell(axes: Sequence[str]) -> str:
    return "(" + ", ".join(axes) + (",)" if len(axes) == 1 else ")")


def _refuse_non_array(where: str, pattern: str, arrays: Sequence[Any]) -> None:
    for (name, _, _), array in zip(_parse(pattern), arrays, strict=True):
        if not hasattr(array, "dtype"):
            raise DtypeError(where, f"{name} is not an array", given=f"{name} {_describe(array)}",
                             expected="a NumPy or CuPy array",
                             fix=f"numpy.asarray({name}, ...)")  # fmt: skip


def _describe(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"of Python type {type(value).__name__}" if dtype is None else str(dtype)
