"""The functions that call the others: a program's step, and control flow.

A step is ``i32 step(ptr table, ptr arena)``: the table holds the addresses of the program's
inputs, then of its outputs; it returns 0, or one more than the number of the kernel that
failed.  The programs inside ``if``, ``while`` and ``scan`` are steps too, called natively with
tables of their own, so a loop of a thousand turns never comes back to Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from workbench.compiler.fuse import Kernel, fuse
from workbench.compiler.kernels import parallel_loops
from workbench.compiler.llvm.dot import I32, I64, POINTER, copy_bytes, declare, emit_dot, loop
from workbench.compiler.llvm.emit import emit_loops, reserve
from workbench.compiler.llvm.special import emit_special
from workbench.compiler.llvm.threads import LARGE, divide
from workbench.compiler.memory import ALIGNMENT, Buffer, Plan, can_fail, plan
from workbench.compiler.opcodes import HOST
from workbench.compiler.program import Instruction, Program, Type, Value
from workbench.compiler.simplify import frozen

BYTE = ir.IntType(8)
HostFunction = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class Step(NamedTuple):
    """A function that runs a planned program, and the bytes of arena that it needs."""

    function: ir.Function
    arena_bytes: int


class Native:
    """An LLVM module in the making.

    Parameters
    ----------
    name : str
    threads : int
        Over how many threads loops over large arrays are divided.

    Attributes
    ----------
    module : ir.Module
    keep : list
        Arrays and callbacks whose addresses stand in the code.
    errors : list of Exception
        What functions on the host raised.
    calls : list of (ir.Function, list of Buffer)
        What the outermost program's step calls, with what.
    nothing : ir.Function
        A function that does nothing, to measure what a call takes.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self.module, self.threads = ir.Module(name), threads
        self.keep: list[Any] = []
        self.errors: list[Exception] = []
        self.calls: list[tuple[ir.Function, list[Buffer]]] = []
        self._made: dict[Any, ir.Function] = {}
        self.nothing = ir.Function(self.module, ir.FunctionType(I32, []), "nothing")
        ir.IRBuilder(self.nothing.append_basic_block()).ret(I32(0))

    # --- a step ----------------------------------------------------------------------------

    def step(self, plan: Plan, program: Program, name: str = "step") -> Step:
        """Add the function that runs a planned program, and those that it calls."""
        prefix = "" if name == "step" else f"{name}_"
        made = [self._kernel(plan, k, prefix + k.name) for k in plan.kernels]
        function = ir.Function(self.module, ir.FunctionType(I32, [POINTER, POINTER]), name)
        function.attributes.add("nounwind")
        if not prefix:  # It runs once a call, and only calls.
            function.attributes.add("noinline")
            function.attributes.add("optnone")
        table, arena = function.args
        b = ir.IRBuilder(function.append_basic_block("entry"))

        def place(buffer: Buffer) -> ir.Value:
            if buffer.where == "arena":
                return _after(b, arena, buffer.index)
            if buffer.where == "constant":
                return self.address(plan.constants[buffer.index])
            number = buffer.index + (len(program.inputs) if buffer.where == "output" else 0)
            return b.load(b.gep(table, [I64(number)], source_etype=POINTER), typ=POINTER)

        for number, (kernel, each) in enumerate(zip(plan.kernels, made, strict=True)):
            shared = _shared(plan, kernel)
            values = [*kernel.outputs, *(x for x in kernel.inputs if x not in shared)]
            buffers = [plan.buffers[x] for x in values]
            if kernel.kind == "control":
                buffers.append(Buffer("arena", plan.arena_bytes))
            if not prefix:
                self.calls.append((each.function, buffers))
            code = b.call(each.function, [place(buffer) for buffer in buffers])
            if can_fail(kernel):
                with b.if_then(b.icmp_signed("!=", code, I32(0)), likely=False):
                    b.ret(I32(number + 1))
        for x, buffer in plan.copies:
            copy_bytes(b, place(buffer), place(plan.buffers[x]), x.type.nbytes)
        b.ret(I32(0))
        inner = max((each.arena_bytes for each in made), default=0)
        return Step(function, plan.arena_bytes + inner)

    def _kernel(self, plan: Plan, kernel: Kernel, name: str) -> Step:
        if kernel.kind == "control":
            return self._control(kernel, name)
        if kernel.instructions[0].opcode == "call":
            return Step(self._host(kernel, name), 0)
        shared = _shared(plan, kernel)
        key = _signature(kernel, shared)
        if key not in self._made:  # Layers of one size run one function.
            self._made[key] = self._emitted(kernel, name, shared)
        return Step(self._made[key], 0)

    def _emitted(self, kernel: Kernel, name: str, shared: dict[Value, Value]) -> ir.Function:
        if kernel.kind == "dot":
            return emit_dot(self.module, kernel, name, tuple(shared))
        if kernel.kind == "special":
            return emit_special(self.module, kernel, name, tuple(shared))
        loops = parallel_loops(kernel) if self.threads > 1 and prod(kernel.space) >= LARGE else []
        if not loops:
            return emit_loops(self.module, kernel, name, shared)
        part = emit_loops(self.module, kernel, name, shared, split=True)
        return divide(self.module, part, loops[0].size, self.threads)

    def address(self, x: npt.NDArray[Any]) -> ir.Constant:
        """Return where an array lies, which is kept from now on."""
        self.keep.append(x)
        return I64(x.ctypes.data).inttoptr(POINTER)

    def _begin(
        self, kernel: Kernel, name: str
    ) -> tuple[ir.IRBuilder, dict[Value, ir.Value], ir.Value]:
        values = [*kernel.outputs, *kernel.inputs]
        kinds = [POINTER] * (len(values) + (kernel.kind == "control"))
        function = ir.Function(self.module, ir.FunctionType(I32, kinds), name)
        function.attributes.add("nounwind")
        b = ir.IRBuilder(function.append_basic_block("entry"))
        return b, dict(zip(values, function.args, strict=False)), function.args[-1]

    # --- functions on the host -------------------------------------------------------------

    def _host(self, kernel: Kernel, name: str) -> ir.Function:
        """Call back into Python, with the addresses of the result and the operands."""
        (each,) = kernel.instructions
        b, pointers, _ = self._begin(kernel, name)
        table = _table(b, [pointers[x] for x in (each.result, *each.operands)])
        callback = HostFunction(self._callback(each))
        self.keep.append(callback)
        number = ctypes.cast(callback, ctypes.c_void_p).value
        llvm.add_symbol(f"host_{number}", number)
        b.ret(b.call(declare(self.module, f"host_{number}", I32, [POINTER]), [table]))
        return b.function

    def _callback(self, each: Instruction) -> Any:
        types = [each.result.type, *(x.type for x in each.operands)]
        options = {k: v for k, v in each.attributes.items() if k != "function"}
        compute, errors = HOST[each.attributes["function"]].compute, self.errors

        def run(table: int) -> int:
            addresses = (ctypes.c_size_t * len(types)).from_address(table)
            result, *operands = map(_array_at, addresses, types)
            try:
                result[...] = compute(*operands, **options)
            except Exception as error:  # No exception crosses native code: raised after it.
                errors.append(error)
                return 1
            return 0

        return run

    # --- control flow ----------------------------------------------------------------------

    def _control(self, kernel: Kernel, name: str) -> Step:
        (each,) = kernel.instructions
        b, pointers, arena = self._begin(kernel, name)
        operands = [pointers[x] for x in each.operands]
        results = [pointers[y] for y in each.results]
        steps = {key: self.step(plan(fuse(part)), part, f"{name}_{key}")
                 for key, part in each.attributes.items() if isinstance(part, Program)}  # fmt: skip
        if each.opcode == "if":
            with b.if_else(_truth(b, operands[0])) as branches:
                for branch, key in zip(branches, ("then", "orelse"), strict=True):
                    with branch:
                        _run(b, steps[key], operands[1:], results, arena)
            block = 0
        else:
            carry = _Carry(b, [x.type for x in each.operands[: each.attributes["n_carry"]]], arena)
            write = _while if each.opcode == "while" else _scan
            write(b, each, operands, results, steps, carry)
            block = carry.end
        b.ret(I32(0))
        return Step(b.function, block + max(each.arena_bytes for each in steps.values()))


class _Carry:
    """What a loop hands on, in two copies: a turn reads one and writes the other.

    Attributes
    ----------
    first, second : ir.Value
        Where the copies lie.
    answer, rest : ir.Value
        Memory for the condition, and for the steps that are called.
    end : int
        Bytes of the arena up to ``rest``.
    """

    def __init__(self, b: ir.IRBuilder, types: Sequence[Type], arena: ir.Value) -> None:
        self.b, self.types = b, types
        self.places, size = [], 0
        for each in types:
            self.places.append(size)
            size += -(-each.nbytes // ALIGNMENT) * ALIGNMENT
        self.end = 2 * size + ALIGNMENT
        self.first, self.second = arena, _after(b, arena, size)
        self.answer, self.rest = _after(b, arena, 2 * size), _after(b, arena, self.end)

    def of(self, base: ir.Value) -> list[ir.Value]:
        """Return where the parts of a copy lie."""
        return [_after(self.b, base, place) for place in self.places]

    def copy(self, targets: Sequence[ir.Value], sources: Sequence[ir.Value]) -> None:
        """Copy all parts."""
        for target, source, each in zip(targets, sources, self.types, strict=False):
            copy_bytes(self.b, target, source, each.nbytes)


def _while(
    b: ir.IRBuilder, each: Instruction, operands: Sequence[ir.Value], results: Sequence[ir.Value],
    steps: Mapping[str, Step], carry: _Carry,
) -> None:  # fmt: skip
    constants = operands[len(carry.types) :]
    carry.copy(carry.of(carry.first), operands)
    before = b.block
    head, body, after = (b.append_basic_block(part) for part in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    now, other = b.phi(POINTER), b.phi(POINTER)
    now.add_incoming(carry.first, before)
    other.add_incoming(carry.second, before)
    _run(b, steps["cond"], [*carry.of(now), *constants], [carry.answer], carry.rest)
    b.cbranch(_truth(b, carry.answer), body, after)
    b.position_at_end(body)
    _run(b, steps["body"], [*carry.of(now), *constants], carry.of(other), carry.rest)
    now.add_incoming(other, b.block)
    other.add_incoming(now, b.block)
    b.branch(head)
    b.position_at_end(after)
    carry.copy(results, carry.of(now))


def _scan(
    b: ir.IRBuilder, each: Instruction, operands: Sequence[ir.Value], results: Sequence[ir.Value],
    steps: Mapping[str, Step], carry: _Carry,
) -> None:  # fmt: skip
    n, length = len(carry.types), each.attributes["length"]
    m = n + each.attributes["n_sequences"]
    body, backwards = each.attributes["body"], each.attributes["reverse"]
    carry.copy(carry.of(carry.first), operands)

    def turn(i: ir.Value, now: ir.Value, other: ir.Value) -> list[ir.Value]:
        t = b.sub(I64(length - 1), i) if backwards else i

        def at_turn(pointers: Sequence[ir.Value], values: Sequence[Value]) -> list[ir.Value]:
            return [b.gep(p, [b.mul(t, I64(x.type.nbytes))], source_etype=BYTE)
                    for p, x in zip(pointers, values, strict=True)]  # fmt: skip

        elements = at_turn(operands[n:m], body.inputs[n:m])
        made = at_turn(results[n:], body.outputs[n:])
        _run(b, steps["body"], [*carry.of(now), *elements, *operands[m:]],
             [*carry.of(other), *made], carry.rest)  # fmt: skip
        return [other, now]

    last, _ = loop(b, length, turn, [carry.first, carry.second])
    carry.copy(results, carry.of(last))


# --- small things ----------------------------------------------------------------------------


def _run(
    b: ir.IRBuilder, step: Step, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value],
    arena: ir.Value,
) -> None:  # fmt: skip
    """Call a step, and return from here if it fails."""
    code = b.call(step.function, [_table(b, [*inputs, *outputs]), arena])
    with b.if_then(b.icmp_signed("!=", code, I32(0)), likely=False):
        b.ret(code)


def _shared(plan: Plan, kernel: Kernel) -> dict[Value, Value]:
    """Return the inputs that lie in the memory of an output, and that output."""
    return {old: new for k, old, new in plan.in_place if k is kernel}


def _signature(kernel: Kernel, shared: Mapping[Value, Value]) -> tuple[Any, ...]:
    """Return what is equal for kernels of equal code: all but names, with values numbered."""
    number: dict[Value, int] = {}

    def numbers(values: Iterable[Value]) -> tuple[Any, ...]:
        return tuple((number.setdefault(x, len(number)), x.type) for x in values)

    return (kernel.kind, kernel.space, numbers(kernel.inputs), numbers(kernel.outputs),
            *((each.opcode, frozen(each.attributes), numbers(each.operands), numbers(each.results))
              for each in kernel.instructions),
            *(numbers(pair) for pair in shared.items()))  # fmt: skip


def _after(b: ir.IRBuilder, base: ir.Value, offset: int) -> ir.Value:
    return b.gep(base, [I64(offset)], inbounds=True, source_etype=BYTE) if offset else base


def _truth(b: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    return b.icmp_unsigned("!=", b.load(pointer, typ=BYTE), BYTE(0))


def _table(b: ir.IRBuilder, pointers: Sequence[ir.Value]) -> ir.Value:
    """Return a table of pointers in the function's frame."""
    table = reserve(b, ir.ArrayType(POINTER, max(1, len(pointers))))
    for i, pointer in enumerate(pointers):
        b.store(pointer, b.gep(table, [I64(i)], source_etype=POINTER))
    return table


def _array_at(address: int, type: Type) -> np.ndarray[Any, Any]:
    memory = (ctypes.c_char * type.nbytes).from_address(address)
    return np.ndarray(type.shape, type.dtype, memory)  # type: ignore[arg-type]
