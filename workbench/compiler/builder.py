"""Writing a program, one call an instruction.

The builder checks each instruction as it is written, broadcasts as NumPy does by
writing the ``broadcast`` out, and evaluates what it already knows: sums of sizes, a
shape taken apart.  So an era's lowering reads like NumPy, and what a shape decides is
decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array
from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Program, Type, Value
from workbench.errors import ShapeError

FOLD_LIMIT = 64
"""The most elements that an expression of constants may have to be evaluated at once."""


_LOGIC = {"add": "bitwise_or", "multiply": "bitwise_and", "maximum": "bitwise_or",
          "minimum": "bitwise_and", "absolute": "copy"}  # fmt: skip


class Builder:
    """A program being written.

    Every elementwise opcode is a method: ``b.add(x, y)``, ``b.exp(x)``.

    Attributes
    ----------
    origin : object
        Stamped on the instructions that follow; the era's note on where they come from.

    Examples
    --------
    >>> b = Builder("double")
    >>> x = b.input(Type(np.dtype("f4"), (3,)), "x")
    >>> program = b.program([b.add(x, x)])
    """

    def __init__(self, name: str) -> None:
        self.name, self.origin = name, None  # type: str, Any
        self._inputs: list[Value] = []
        self._instructions: list[Instruction] = []
        self._known: dict[Value, npt.NDArray[Any]] = {}

    def input(self, type: Type, name: str | None = None) -> Value:
        """Return a new input."""
        value = Value(type, name)
        self._inputs.append(value)
        return value

    def known(self, x: Value) -> npt.NDArray[Any] | None:
        """Return the numbers of ``x`` if it is a constant, else None."""
        return self._known.get(x)

    def program(self, outputs: Sequence[Value], donate: Mapping[int, int] | None = None) -> Program:
        """Return what was written, verified."""
        program = Program(self.name, tuple(self._inputs), tuple(self._instructions),
                          tuple(outputs), dict(donate or {}))  # fmt: skip
        program.verify()
        return program

    # --- one instruction -------------------------------------------------------------------

    def emit(self, opcode: str, *operands: Value, **attributes: Any) -> Value:
        """Write one instruction with one result, or evaluate it if everything is known."""
        row = OPCODES[opcode]
        (result,) = row.infer([x.type for x in operands], attributes)
        # A float repeated is read better, and runs faster, as the one number that it is.
        repeated = opcode == "broadcast" and result.dtype.kind == "f"
        if result.size <= FOLD_LIMIT and operands and opcode != "call" and not repeated:
            known = [self._known.get(x) for x in operands]
            if all(each is not None for each in known):
                with np.errstate(all="ignore"):
                    return self.constant(row.compute(*known, **attributes))
        return self._append(opcode, operands, attributes, (result,))[0]

    def _append(
        self, opcode: str, operands: Sequence[Value], attributes: Mapping[str, Any],
        results: Sequence[Type],
    ) -> tuple[Value, ...]:  # fmt: skip
        values = tuple(map(Value, results))
        self._instructions.append(
            Instruction(opcode, tuple(operands), dict(attributes), values, self.origin)
        )
        return values

    def constant(self, value: npt.ArrayLike | Array, dtype: npt.DTypeLike | None = None) -> Value:
        """Return a value that is known now; a copy."""
        data = np.array(value, dtype, order="C")
        data.flags.writeable = False
        (result,) = self._append("constant", (), {"value": data}, [Type(data.dtype, data.shape)])
        self._known[result] = data
        return result

    def _elementwise(self, opcode: str, operands: Sequence[Value], **attributes: Any) -> Value:
        try:
            shape = np.broadcast_shapes(*(x.shape for x in operands))
        except ValueError:
            raise ShapeError(opcode, "the operands do not broadcast together",
                             given=", ".join(str(x.type) for x in operands)) from None  # fmt: skip
        if operands[0].dtype == bool:  # NumPy's arithmetic of bools is their logic.
            opcode = _LOGIC.get(opcode, opcode)
        return self.emit(opcode, *(self.broadcast(x, shape) for x in operands), **attributes)

    def select(self, condition: Value, x: Value, y: Value) -> Value:
        """Return ``x`` where ``condition`` holds, else ``y``."""
        return self._elementwise("select", (condition, x, y))

    def convert(self, x: Value, dtype: npt.DTypeLike) -> Value:
        """Return ``x`` in another dtype, as ``astype``; itself if it has that."""
        dtype = np.dtype(dtype)
        return x if x.dtype == dtype else self.emit("convert", x, dtype=dtype)

    def greater(self, x: Value, y: Value) -> Value:
        """Return whether ``x > y``: ``less`` with its sides exchanged."""
        return self._elementwise("less", (y, x))

    def greater_equal(self, x: Value, y: Value) -> Value:
        """Return whether ``x >= y``."""
        return self._elementwise("less_equal", (y, x))

    # --- maps ------------------------------------------------------------------------------

    def broadcast(self, x: Value, shape: Sequence[int], axes: Sequence[int] | None = None) -> Value:
        """Return ``x`` repeated to ``shape``; its axes become ``axes``, the last ones if None."""
        shape = tuple(map(int, shape))
        lead = len(shape) - x.ndim
        axes = tuple(range(lead, len(shape))) if axes is None else tuple(map(int, axes))
        if shape == x.shape and axes == tuple(range(x.ndim)):
            return x
        return self.emit("broadcast", x, shape=shape, axes=axes)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Return the elements of ``x``, in row-major order, in another shape (no -1)."""
        shape = tuple(map(int, shape))
        return x if shape == x.shape else self.emit("reshape", x, shape=shape)

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Return ``x`` with its axes in the order ``axes``."""
        axes = tuple(map(int, axes))
        return x if axes == tuple(range(x.ndim)) else self.emit("transpose", x, axes=axes)

    def slice(
        self, x: Value, start: Sequence[int], size: Sequence[int], step: Sequence[int] | None = None
    ) -> Value:
        """Return, along each axis, the elements ``start + i * step`` for i below ``size``."""
        start, size = tuple(map(int, start)), tuple(map(int, size))
        step = (1,) * x.ndim if step is None else tuple(map(int, step))
        if size == x.shape and not any(start) and set(step) <= {1}:
            return x
        return self.emit("slice", x, start=start, size=size, step=step)

    def pad(
        self, x: Value, low: Sequence[int], high: Sequence[int],
        interior: Sequence[int] | None = None, fill: float = 0,
    ) -> Value:  # fmt: skip
        """Return ``x`` among copies of ``fill``: before, after, and between its elements."""
        interior = (0,) * x.ndim if interior is None else tuple(map(int, interior))
        return self.emit("pad", x, low=tuple(map(int, low)), high=tuple(map(int, high)),
                         interior=interior, fill=fill)  # fmt: skip

    def concatenate(self, parts: Sequence[Value], axis: int) -> Value:
        """Return arrays one after the other along ``axis``."""
        return parts[0] if len(parts) == 1 else self.emit("concatenate", *parts, axis=axis)

    def windows(
        self, x: Value, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
        fill: float = 0.0,
    ) -> Value:  # fmt: skip
        """Return every window of images (N, C, H, W), as (N, C, OH, OW, KH, KW)."""
        return self.emit("windows", x, size=tuple(size), stride=tuple(stride),
                         padding=tuple(padding), fill=fill)  # fmt: skip

    def windows_add(
        self, x: Value, shape: Sequence[int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> Value:
        """Return images with every window added back in its place: windows transposed."""
        return self.emit("windows_add", x, shape=tuple(map(int, shape)), stride=tuple(stride),
                         padding=tuple(padding))  # fmt: skip

    def iota(self, shape: Sequence[int], axis: int, dtype: npt.DTypeLike = np.int64) -> Value:
        """Return, in every element, its own position along ``axis``."""
        return self.emit("iota", shape=tuple(map(int, shape)), axis=axis, dtype=np.dtype(dtype))

    # --- reductions and products -----------------------------------------------------------

    def reduce(
        self, opcode: str, x: Value, axes: Sequence[int] | None = None, keepdims: bool = False
    ) -> Value:
        """Return ``x`` reduced by sum, prod, max, min, any or all over ``axes`` (all if None)."""
        axes = tuple(range(x.ndim)) if axes is None else tuple(sorted(a % x.ndim for a in axes))
        y = self.emit(opcode, x, axes=axes) if axes else x
        kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        return self.reshape(y, kept) if keepdims else y

    def dot(self, a: Value, b: Value, trans_a: bool = False, trans_b: bool = False) -> Value:
        """Return products of matrices, batch axes first; each may be read transposed."""
        return self.emit("dot", a, b, trans_a=trans_a, trans_b=trans_b)

    # --- special ---------------------------------------------------------------------------

    def argmax(self, x: Value, axis: int) -> Value:
        """Return the position of the (first) largest element along ``axis``, as int64."""
        return self.emit("argmax", x, axis=axis)

    def argmin(self, x: Value, axis: int) -> Value:
        """Return the position of the (first) smallest element along ``axis``, as int64."""
        return self.emit("argmin", x, axis=axis)

    def cumsum(self, x: Value, axis: int) -> Value:
        """Return running sums along ``axis``."""
        return self.emit("cumsum", x, axis=axis)

    def gather(self, x: Value, *indices: Value, wrap: bool = True) -> Value:
        """Return ``x[indices]``; int64 arrays, broadcast together, for the leading axes."""
        return self.emit("gather", x, *self._indices(indices), wrap=wrap)

    def scatter_add(self, x: Value, updates: Value, *indices: Value, wrap: bool = True) -> Value:
        """Return ``x`` with ``updates`` added at ``indices``; repeated ones accumulate."""
        return self.emit("scatter_add", x, updates, *self._indices(indices), wrap=wrap)

    def scatter_set(self, x: Value, updates: Value, *indices: Value, wrap: bool = True) -> Value:
        """Return ``x`` with ``updates`` put at ``indices``; of repeated ones the last stays."""
        return self.emit("scatter_set", x, updates, *self._indices(indices), wrap=wrap)

    def _indices(self, indices: Sequence[Value]) -> list[Value]:
        shape = np.broadcast_shapes(*(i.shape for i in indices))
        return [self.broadcast(self.convert(i, np.int64), shape) for i in indices]

    def call(self, function: str, *operands: Value, **options: Any) -> Value:
        """Return what a NumPy function on the host makes: see ``opcodes.HOST``."""
        return self.emit("call", *operands, function=function, **options)

    # --- control flow ----------------------------------------------------------------------

    def control(
        self, opcode: str, operands: Sequence[Value], **attributes: Any
    ) -> tuple[Value, ...]:
        """Write one instruction with any number of results."""
        results = OPCODES[opcode].infer([x.type for x in operands], attributes)
        return self._append(opcode, operands, attributes, results)

    def if_(
        self, predicate: Value, operands: Sequence[Value], then: Program, orelse: Program
    ) -> tuple[Value, ...]:
        """Return what ``then`` makes of the operands if the predicate holds, else ``orelse``."""
        return self.control("if", (predicate, *operands), then=then, orelse=orelse)

    def while_(
        self, carry: Sequence[Value], constants: Sequence[Value], cond: Program, body: Program
    ) -> tuple[Value, ...]:
        """Return the carry after running ``body`` as long as ``cond`` holds."""
        return self.control("while", (*carry, *constants), cond=cond, body=body,
                            n_carry=len(carry))  # fmt: skip

    def scan(
        self, carry: Sequence[Value], sequences: Sequence[Value], constants: Sequence[Value],
        body: Program, length: int, reverse: bool = False,
    ) -> tuple[Value, ...]:  # fmt: skip
        """Return the final carry, and what ``body`` made at each step, stacked."""
        return self.control("scan", (*carry, *sequences, *constants), body=body,
                            n_carry=len(carry), n_sequences=len(sequences), length=length,
                            reverse=reverse)  # fmt: skip

    if TYPE_CHECKING:  # The elementwise opcodes and the reductions are attached below.

        def __getattr__(self, opcode: str) -> Callable[..., Value]: ...


def _attach() -> None:
    """Give the builder a method for every elementwise opcode and every reduction."""

    def elementwise(opcode: str) -> Callable[..., Value]:
        def method(self: Builder, *operands: Value) -> Value:
            return self._elementwise(opcode, operands)

        method.__doc__ = f"Return ``{opcode}`` of the operands, broadcast together."
        return method

    def reduction(opcode: str) -> Callable[..., Value]:
        def method(
            self: Builder, x: Value, axes: Sequence[int] | None = None, keepdims: bool = False
        ) -> Value:
            return self.reduce(opcode, x, axes, keepdims)

        method.__doc__ = f"Return ``{opcode}`` over ``axes``: see :meth:`reduce`."
        return method

    for name, row in OPCODES.items():
        if row.kind == "elementwise" and not hasattr(Builder, name):
            setattr(Builder, name, elementwise(name))
        elif row.kind == "reduce":
            setattr(Builder, name, reduction(name))


_attach()
