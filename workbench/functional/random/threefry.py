"""Threefry-2x32: random bits as a function of a key and a counter, and the keys themselves.

Salmon, Moraes, Dror and Shaw ("Parallel random numbers: as easy as 1, 2, 3", SC 2011) stir a
counter of two words by twenty rounds of add, rotate and exclusive-or, with words of the key
added after every fourth.  There is no state: bit number ``i`` can be had without its
predecessors, so a batch, a loop and a compiled program draw the same numbers.

Counters, keys and their children are those of JAX (``jax_threefry_partitionable``, its
default), so the bits are equal to JAX's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.compiler import Builder
from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.core import NoRule, Primitive, ShapedArray, Value, get_aval, shape_of
from workbench.functional.numpy.creation import asarray
from workbench.functional.numpy.promotion import check_dtype, check_shape, convert
from workbench.functional.numpy.shaping import broadcast_to, reshape, stack
from workbench.functional.primitives.bits import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    shift_left,
    shift_right,
)
from workbench.functional.primitives.creation import iota
from workbench.functional.primitives.rules import NOT_LINEAR
from workbench.functional.primitives.shape import behind_batch

Shape: TypeAlias = int | Sequence[int]
U8, U32, U64 = np.dtype(np.uint8), np.dtype(np.uint32), np.dtype(np.uint64)

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
"""Keeps the third word of the key schedule from being zero for a key of zeros."""
BLOCK = 8192
"""Counters that are stirred at a time: what is written stays in the cache."""


def _threefry_impl(*words: Any) -> tuple[Any, Any]:
    shape = np.broadcast_shapes(*(word.shape for word in words))
    flat = [word if word.ndim == 0 else np.broadcast_to(word, shape).reshape(-1) for word in words]
    y = np.empty((2, prod(shape)), np.uint32)
    spare = np.empty(min(BLOCK, y.shape[1]), np.uint32)
    for start in range(0, y.shape[1], BLOCK):
        k0, k1, x0, x1 = [x if x.ndim == 0 else x[start : start + BLOCK] for x in flat]
        y[0, start : start + BLOCK], y[1, start : start + BLOCK] = x0, x1
        here = y[:, start : start + BLOCK]
        _stir(k0, k1, here[0], here[1], spare[: here.shape[1]])
    return y[0].reshape(shape), y[1].reshape(shape)


def _stir(k0: Any, k1: Any, x0: Any, x1: Any, spare: Any) -> None:
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(PARITY))
    np.add(x0, keys[0], out=x0)
    np.add(x1, keys[1], out=x1)
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            np.add(x0, x1, out=x0)
            np.right_shift(x1, np.uint32(32 - rotation), out=spare)
            np.left_shift(x1, np.uint32(rotation), out=x1)
            np.bitwise_or(x1, spare, out=x1)
            np.bitwise_xor(x1, x0, out=x1)
        np.add(x0, keys[(group + 1) % 3], out=x0)
        np.add(x1, keys[(group + 2) % 3], out=x1)
        np.add(x1, np.uint32(group + 1), out=x1)


def _threefry_abstract(*avals: ShapedArray) -> tuple[ShapedArray, ShapedArray]:
    if any(aval.dtype != U32 for aval in avals):
        raise DtypeError("threefry2x32", "keys and counters are words of 32 bits",
                         given=", ".join(map(str, avals)), expected="uint32")  # fmt: skip
    try:
        shape = np.broadcast_shapes(*(aval.shape for aval in avals))
    except ValueError:
        raise ShapeError("threefry2x32", "the shapes do not broadcast together",
                         given=", ".join(map(str, avals))) from None  # fmt: skip
    return ShapedArray(shape, U32), ShapedArray(shape, U32)


def _threefry_batch(
    primitive: Primitive,
    values: Sequence[Value],
    mapped: Sequence[bool],
    size: int,
    params: dict[str, Any],
) -> tuple[list[Value], list[bool]]:
    ndim = max(len(shape_of(x)) - mine for x, mine in zip(values, mapped, strict=True))
    aligned = [behind_batch(x, ndim) if mine else x for x, mine in zip(values, mapped, strict=True)]
    return list(primitive(*aligned)), [True, True]


def _threefry_lower(b: Builder, k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    def word(number: int) -> Any:
        return b.constant(number, U32)

    keys = (k0, k1, b.bitwise_xor(b.bitwise_xor(k0, k1), word(PARITY)))
    x0, x1 = b.add(x0, k0), b.add(x1, k1)
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = b.add(x0, x1)
            low, high = b.shift_right(x1, word(32 - rotation)), b.shift_left(x1, word(rotation))
            x1 = b.bitwise_xor(b.bitwise_or(high, low), x0)
        x0 = b.add(x0, keys[(group + 1) % 3])
        x1 = b.add(b.add(x1, keys[(group + 2) % 3]), word(group + 1))
    return x0, x1


threefry2x32: Primitive = Primitive(
    "threefry2x32",  # Of two words of key and two of counter, which broadcast together.
    impl=_threefry_impl,
    abstract=_threefry_abstract,
    jvp=NoRule("integers have no derivative"),
    batch=_threefry_batch,
    transpose=NOT_LINEAR,
    lower=_threefry_lower,
    multiple=True,
)


def key(seed: Value) -> Value:
    """Return the key of a seed: the two halves of its 64 bits.

    Parameters
    ----------
    seed : int, or 0-d array or tracer of integers
        At least -2**63 and below 2**64.

    Returns
    -------
    array (2,) of uint32
        Give it to one function only, or :func:`split` it first: the same key gives the same
        numbers every time, and that a key is used twice is not detected.

    Raises
    ------
    DtypeError
        If the seed is not an integer.
    OptionError, ShapeError
        If it does not fit into 64 bits, or is an array of several.
    """
    aval = get_aval(seed, "random.key") if type(seed) is not int else ShapedArray((), np.int64)
    if aval.dtype.kind not in "iu":
        raise DtypeError("random.key", "a seed is an integer", given=f"{seed!r}",
                         expected="such as random.key(0)")  # fmt: skip
    if aval.shape:
        raise ShapeError("random.key", "a seed is one integer", given=f"a seed {aval}",
                         fix="vmap(random.key)(seeds) makes a key of each")  # fmt: skip
    if type(seed) is int:
        if not -(2**63) <= seed < 2**64:
            raise OptionError("random.key", "the seed does not fit into 64 bits", given=f"{seed}",
                              expected="at least -2**63, below 2**64")  # fmt: skip
        return np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], U32)
    word = convert(convert(asarray(seed), U32 if aval.dtype.itemsize < 8 else U64), U64)
    low = bitwise_and(word, np.uint64(0xFFFFFFFF))
    return stack([convert(shift_right(word, np.uint64(32)), U32), convert(low, U32)])


PRNGKey = key


def words(where: str, key: Value) -> tuple[Value, Value]:
    """Return the two words of a key, refusing what is none.

    Raises
    ------
    DtypeError, ShapeError
        If ``key`` is not an array (2,) of uint32.
    """
    if type(key) is int:
        raise DtypeError(where, "this is a seed, not a key", given=f"key={key}",
                         fix=f"random.key({key}) makes a key of it")  # fmt: skip
    aval = get_aval(key, where)
    if aval.dtype != U32:
        raise DtypeError(where, "a key is made of uint32", given=f"key {aval}",
                         fix="random.key(seed) makes one")  # fmt: skip
    if aval.shape != (2,):
        several = aval.ndim > 1 and aval.shape[-1] == 2
        raise ShapeError(where, "a key has two words", given=f"key {aval}",
                         expected="shape (2,)",
                         fix="vmap the function over them" if several else None)  # fmt: skip
    return key[0], key[1]


def sizes(where: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple, refusing what is none, or too large for 32 bits of counter."""
    checked = check_shape(where, shape)
    if min(checked, default=0) < 0 or prod(checked) > 2**32:
        raise OptionError(where, "there is no array of this shape to fill", given=f"{shape!r}",
                          expected="lengths of at least 0, at most 2**32 numbers")  # fmt: skip
    return checked


def _stirred(where: str, key: Value, shape: tuple[int, ...]) -> tuple[Value, Value]:
    counter = iota(size=prod(shape), dtype=U32)
    y = threefry2x32(*words(where, key), np.zeros((), U32), counter)
    return reshape(y[0], shape), reshape(y[1], shape)


def split(key: Value, num: Shape = 2) -> Value:
    """Return new keys that are independent of each other and of what ``key`` draws.

    Parameters
    ----------
    key : array (2,) of uint32
    num : int or tuple of int
        How many; in which shape.

    Returns
    -------
    array (num, 2) or (*num, 2) of uint32

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, or ``num`` not made of ints of at least 0.
    """
    return stack(_stirred("random.split", key, sizes("random.split", num)), axis=-1)


def fold_in(key: Value, data: Value) -> Value:
    """Return a new key made of a key and an integer, such as the number of a step.

    It is key number ``data`` of those that :func:`split` makes, so do one or the other.

    Parameters
    ----------
    key : array (2,) of uint32
    data : int, or 0-d array or tracer of integers
        Its lowest 32 bits count.

    Returns
    -------
    array (2,) of uint32

    Raises
    ------
    DtypeError, ShapeError
        If ``key`` is not a key, or ``data`` not one integer.
    """
    aval = get_aval(data, "random.fold_in")
    if aval.dtype.kind not in "iu" or aval.shape:
        raise DtypeError("random.fold_in", "data is one integer", given=f"data {aval}")
    if type(data) is int:
        data = np.uint32(data & 0xFFFFFFFF)
    word = convert(asarray(data), U32)
    return stack(threefry2x32(*words("random.fold_in", key), np.zeros((), U32), word))


def bits(key: Value, shape: Shape = (), dtype: npt.DTypeLike = np.uint32) -> Value:
    """Return random bits, as unsigned integers.

    Parameters
    ----------
    key : array (2,) of uint32
    shape : int or tuple of int
    dtype : dtype
        Unsigned; uint32 where JAX with 64-bit types enabled would take uint64.

    Returns
    -------
    array of ``shape`` and ``dtype``

    Raises
    ------
    DtypeError, ShapeError, OptionError
        If ``key`` is not a key, the dtype not unsigned, or the shape not made of ints.
    """
    kind = check_dtype("random.bits", dtype)
    if kind.kind != "u":
        raise DtypeError("random.bits", "bits come as unsigned integers", given=str(kind),
                         expected="uint8, uint16, uint32 or uint64")  # fmt: skip
    y0, y1 = _stirred("random.bits", key, sizes("random.bits", shape))
    if kind == U64:
        high = shift_left(convert(y0, U64), np.uint64(32))
        return bitwise_or(high, convert(y1, U64))
    return convert(bitwise_xor(y0, y1), kind)


def repeated(where: str, x: Value, shape: tuple[int, ...], what: str) -> Value:
    """Return a parameter of a distribution repeated to ``shape``, or say that it does not fit."""
    aval = get_aval(x, where)
    try:
        fits = np.broadcast_shapes(aval.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(where, f"{what} does not broadcast to the shape that is asked for",
                         given=f"{what} {aval}, shape {shape}")  # fmt: skip
    return x if aval.shape == shape else broadcast_to(x, shape)
