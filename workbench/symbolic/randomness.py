"""Random streams: numbers drawn anew in each call, the same on every target.

Every draw owns a state, a shared variable, that each call moves on by itself.  The
generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014): the i-th number is a stirring of state + i * gamma, so all of
them can be computed at once, in any order, by a loop that a compiler vectorises.
"""

# What infer, compute and gradient are for is said once, in Op.
# ruff: noqa: D102

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, namespace
from workbench.compiler import OPCODES, Builder, Value
from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import NoGradient, Operand, Type, Variable, apply, sides
from workbench.symbolic.ops import (
    add,
    argsort,
    cast,
    concatenate,
    cos,
    log,
    multiply,
    prod,
    remainder,
    right_shift,
    sqrt,
    sum,
)
from workbench.symbolic.ops.sizes import (
    ShapeOperand,
    known_sizes,
    shape_operand,
    static_shape,
)
from workbench.symbolic.values import Shared, as_constant, check_dtype, operand

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_U64 = np.dtype(np.uint64)


@dataclass(frozen=True)
class RandomBits(NoGradient):
    """64 random bits for every element of a shape, given the state they start from."""

    name = "random_bits"
    no_gradient = "bits do not change smoothly"

    def infer(self, *inputs: Variable) -> Type:
        return Type(_U64, static_shape(inputs[1]))

    def compute(self, *inputs: Array) -> Array:
        state, shape = inputs
        n = math.prod(sizes := shape.tolist())
        counters = namespace(state).arange(n, dtype=_U64)
        bits: Array = OPCODES["random_bits"].compute(state, counters)
        return bits.reshape(sizes)

    def lower(self, b: Builder, *inputs: Value) -> Value:
        sizes = known_sizes(b, inputs[1])
        counters = b.iota((math.prod(sizes),), 0, _U64)
        return b.reshape(b.random_bits(inputs[0], counters), sizes)


class RandomStreams:
    """A source of random expressions, reproducible by its seed.

    Parameters
    ----------
    seed : int
        The same seed and order of draws give the same numbers.

    Examples
    --------
    >>> random = symbolic.RandomStreams(0)
    >>> noise = random.normal((3,))
    >>> f = symbolic.function([], noise)  # Each call returns other numbers.

    Notes
    -----
    A variable drawn once is one array of numbers in a call, wherever it is used; two draws
    are independent.  Integers and uniform numbers have the same bits on every target.
    """

    def __init__(self, seed: int = 0) -> None:
        self._states: list[Shared] = []
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start every draw anew, as if this stream had been made with this seed.

        Raises
        ------
        OptionError
            If the seed is not an int of at least 0.
        """
        if not isinstance(seed, int) or seed < 0:
            raise OptionError("RandomStreams", "a seed is an int of at least 0",
                              given=f"seed={seed!r}")  # fmt: skip
        self._seed = seed
        for i, state in enumerate(self._states):
            state.set_value(self._start(i))

    @property
    def updates(self) -> list[tuple[Shared, Variable]]:
        """The state of every draw, and what it is after a call; functions apply it unasked."""
        return [(s, s.default_update) for s in self._states if s.default_update is not None]

    def _start(self, i: int) -> np.ndarray:
        """Return a state for draw ``i``: far from those of other draws and seeds."""
        stir = OPCODES["random_bits"].compute
        words, key = self._seed, np.zeros(1, _U64)
        while True:  # Seeds of any size: 64 bits at a time.
            key = stir(key ^ np.uint64(words & _MASK), np.ones(1, _U64))
            if not (words := words >> 64):
                break
        return np.asarray(stir(stir(key, np.full(1, i, _U64)), np.ones(1, _U64))[0])

    def bits(self, shape: ShapeOperand = ()) -> Variable:
        """Return 64 random bits an element, as uint64."""
        sizes = shape_operand("RandomStreams", shape)
        number = len(self._states)
        state = Shared(self._start(number), (), f"random{number}")
        n = cast(prod(sizes), _U64)
        state.default_update = add(state, multiply(n, as_constant(np.uint64(_GAMMA), "gamma")))
        self._states.append(state)
        return apply(RandomBits(), state, sizes)

    def uniform(
        self, shape: ShapeOperand = (), low: Operand = 0.0, high: Operand = 1.0,
        dtype: npt.DTypeLike = np.float64,
    ) -> Variable:  # fmt: skip
        """Return numbers that are equally likely anywhere from ``low`` up to ``high``.

        Parameters
        ----------
        shape : ints, integer scalars, or an integer vector
            Sizes may be expressions.
        low, high : number or Variable
            Broadcast against ``shape``.
        dtype : floating dtype
            With 53 random bits a number, or 24 of float32.
        """
        unit = self._unit(shape, dtype)
        if isinstance(low, float | int) and isinstance(high, float | int):
            return unit if (low, high) == (0, 1) else low + (high - low) * unit
        low, high = (
            cast(operand("uniform", v, k), dtype) for v, k in ((low, "low"), (high, "high"))
        )
        return low + (high - low) * unit

    def _unit(self, shape: ShapeOperand, dtype: npt.DTypeLike) -> Variable:
        """Return multiples of 2**-53 (of 2**-24 in float32) from 0 up to and without 1."""
        dtype = check_dtype(dtype, "RandomStreams")
        if dtype.kind != "f":
            raise OptionError("RandomStreams", "these numbers are not whole", given=f"dtype={dtype}",
                              expected="a floating dtype")  # fmt: skip
        digits = np.finfo(dtype).nmant + 1
        whole = right_shift(self.bits(shape), as_constant(np.uint64(64 - digits), "digits"))
        # By way of int64, whose conversion to floats the hardware has.
        return cast(cast(whole, np.int64), dtype) * 2.0**-digits

    def normal(
        self, shape: ShapeOperand = (), mean: Operand = 0.0, std: Operand = 1.0,
        dtype: npt.DTypeLike = np.float64,
    ) -> Variable:  # fmt: skip
        """Return numbers of the normal distribution, by Box and Muller (1958).

        Parameters
        ----------
        shape, dtype
            As of :meth:`uniform`.
        mean, std : number or Variable
            Broadcast against ``shape``.
        """
        unit = self._unit(_several(2, shape), dtype)
        standard = sqrt(-2 * log(1 - unit[0])) * cos(2 * math.pi * unit[1])  # log(0) cannot be.
        if isinstance(mean, float | int) and isinstance(std, float | int):
            return standard if (mean, std) == (0, 1) else mean + std * standard
        mean, std = (
            cast(operand("normal", v, k), dtype) for v, k in ((mean, "mean"), (std, "std"))
        )
        return mean + std * standard

    def bernoulli(
        self, shape: ShapeOperand = (), p: Operand = 0.5, dtype: npt.DTypeLike = np.int64
    ) -> Variable:
        """Return 1 (True, 1.0: as ``dtype`` has it) with probability ``p``, else 0."""
        return cast(self._unit(shape, np.float64) < p, dtype)

    def binomial(
        self, shape: ShapeOperand = (), n: int = 1, p: Operand = 0.5,
        dtype: npt.DTypeLike = np.int64,
    ) -> Variable:  # fmt: skip
        """Return how many of ``n`` tries succeed, each with probability ``p``."""
        return cast(sum(self.bernoulli(_several(n, shape), p), 0), dtype)

    def integers(self, low: int, high: int, shape: ShapeOperand = ()) -> Variable:
        """Return ints, as int64, equally likely from ``low`` up to and without ``high``.

        More exactly, to within (high - low) / 2**64.

        Raises
        ------
        OptionError
            If there is no such int.
        """
        if not isinstance(low, int) or not isinstance(high, int) or not low < high:
            raise OptionError("RandomStreams.integers", "there is no int to draw",
                              given=f"low={low!r}, high={high!r}", expected="ints, low < high")  # fmt: skip
        span = as_constant(np.uint64(high - low), "integers")
        return cast(remainder(self.bits(shape), span), np.int64) + low

    def permutation(self, n: int | Variable) -> Variable:
        """Return the ints from 0 to n - 1 in a random order."""
        if isinstance(n, Variable) and n.ndim:
            raise ShapeError("RandomStreams.permutation", "n is not one integer", given=sides(n=n))
        sizes: Sequence[int | Variable] = (n,)
        return argsort(self.bits(sizes))


def _several(n: int, shape: ShapeOperand) -> Variable:
    """Return the shape of so many arrays of a shape, stacked."""
    sizes = shape_operand("RandomStreams", shape)
    known = [n, *static_shape(sizes)]
    if None in known:
        first = as_constant([n], "RandomStreams", dtype=np.int64)
        return concatenate([first, cast(sizes, np.int64)])
    return as_constant(known, "RandomStreams", dtype=np.int64)
