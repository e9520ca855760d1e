"""A program: a straight list of typed instructions on arrays of known shapes.

Five short names run through this room:

``program``      inputs, instructions, outputs; nothing in it depends on numbers it has not seen
``instruction``  an opcode applied to values, with its attributes, making values
``value``        one array that some instruction makes, or an input; it has a type, no numbers
``kernel``       some instructions that run as one loop, so that what passes between them stays in registers
``plan``         which value lies where in memory, and for how long

The form is that of XLA's HLO: few opcodes, shapes and dtypes explicit, every value made
once (static single assignment: Rosen, Wegman and Zadeck, POPL 1988).  Eras 2 and 4 both
write programs; targets run them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import DtypeError, GraphError


class Type(NamedTuple):
    """What is known of a value before any number exists; printed as ``f32[32,64]``."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the elements take."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        kind, bits = self.dtype.kind, 8 * self.dtype.itemsize
        name = "bool" if kind == "b" else f"{kind}{bits}"
        return f"{name}[{','.join(map(str, self.shape))}]"

    @staticmethod
    def parse(text: str) -> Type:
        """Return the type that prints as ``text``.

        Raises
        ------
        DtypeError
            If there is none.
        """
        match = re.fullmatch(r"(bool|[iuf](?:8|16|32|64))\[((?:\d+(?:,\d+)*)?)\]", text.strip())
        if not match or match[1] == "f8":
            raise DtypeError("Type.parse", "this is not a type", given=repr(text),
                             expected="such as f32[32,64], bool[3] or i64[]")  # fmt: skip
        name = match[1]
        dtype = np.dtype(bool) if name == "bool" else np.dtype(f"{name[0]}{int(name[1:]) // 8}")
        return Type(dtype, tuple(int(n) for n in match[2].split(",") if n))


class Value:
    """One array of a program: an input, or what an instruction makes.

    Values are told apart by identity; ``name`` is for readers.
    """

    __slots__ = ("name", "type")

    def __init__(self, type: Type, name: str | None = None) -> None:
        self.type, self.name = type, name

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its elements."""
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis."""
        return self.type.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def __repr__(self) -> str:
        return f"<{self.name or 'value'}: {self.type}>"


@dataclass(frozen=True, eq=False)
class Instruction:
    """An opcode applied to values.

    Attributes
    ----------
    opcode : str
        A name of :data:`~workbench.compiler.opcodes.OPCODES`.
    operands : tuple of Value
    attributes : dict
        What the opcode needs to know besides; hashable but for the array of a constant.
    results : tuple of Value
        One, but for control flow.
    origin : object, optional
        The era's note on where in the user's program this came from; shown in errors.
    """

    opcode: str
    operands: tuple[Value, ...]
    attributes: Mapping[str, Any]
    results: tuple[Value, ...]
    origin: Any = None

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result

    def __repr__(self) -> str:
        return f"<{self.opcode} -> {', '.join(str(x.type) for x in self.results)}>"


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions, each after those it reads.

    Attributes
    ----------
    name : str
    inputs : tuple of Value
    instructions : tuple of Instruction
    outputs : tuple of Value
    donate : dict of int to int
        For the number of an output, the number of the input in whose memory it is to be
        left: how a step updates its weights in place.
    """

    name: str
    inputs: tuple[Value, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Value, ...]
    donate: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        from workbench.compiler.text import to_text

        return to_text(self)

    def __repr__(self) -> str:
        return f"<program {self.name}: {len(self.instructions)} instructions>"

    def verify(self) -> None:
        """Check that every instruction is well typed and reads only what exists by then.

        Raises
        ------
        GraphError
            Naming the first instruction that is not.
        """
        from workbench.compiler.opcodes import OPCODES

        known = set(self.inputs)
        if len(known) != len(self.inputs):
            raise GraphError(self.name, "an input is listed twice")
        for number, instruction in enumerate(self.instructions):
            where = f"{self.name}, instruction {number} ({instruction.opcode})"
            if instruction.opcode not in OPCODES:
                raise GraphError(where, "there is no such opcode")
            for i, x in enumerate(instruction.operands):
                if x not in known:
                    raise GraphError(where, f"operand {i} is not made before it is read",
                                     given=repr(x))  # fmt: skip
            types = [x.type for x in instruction.operands]
            expected = OPCODES[instruction.opcode].infer(types, instruction.attributes)
            given = tuple(x.type for x in instruction.results)
            if expected != given:
                raise GraphError(where, "the result has another type than the opcode makes",
                                 given=", ".join(map(str, given)),
                                 expected=", ".join(map(str, expected)))  # fmt: skip
            if not known.isdisjoint(instruction.results):
                raise GraphError(where, "a value is made twice")
            known.update(instruction.results)
            for part in subprograms(instruction):
                part.verify()
        for i, x in enumerate(self.outputs):
            if x not in known:
                raise GraphError(self.name, f"output {i} is never made", given=repr(x))
        for i, j in self.donate.items():
            if self.outputs[i].type != self.inputs[j].type:
                raise GraphError(self.name, f"output {i} does not fit the memory of input {j}",
                                 given=str(self.outputs[i].type),
                                 expected=str(self.inputs[j].type))  # fmt: skip
        if len(set(self.donate.values())) != len(self.donate):
            raise GraphError(self.name, "two outputs want the memory of one input")


def subprograms(instruction: Instruction) -> list[Program]:
    """Return the programs that an instruction of control flow runs."""
    return [part for part in instruction.attributes.values() if isinstance(part, Program)]


def walk(program: Program) -> Iterator[Instruction]:
    """Yield every instruction, those inside control flow after the one that runs them."""
    for instruction in program.instructions:
        yield instruction
        for part in subprograms(instruction):
            yield from walk(part)


def types(values: Sequence[Value]) -> tuple[Type, ...]:
    """Return the types of some values."""
    return tuple(x.type for x in values)
