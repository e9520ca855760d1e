"""Opcodes that fit no loop over independent elements: each has a kernel written by hand.

Indices are all looked at before anything is written, so that one that is outside leaves
every array as it was; the loops that follow then need no test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from workbench.compiler.kernels import Kernel, operand_steps
from workbench.compiler.llvm.dot import I32, I64, at, begin, copy_bytes, element, loop, offset
from workbench.compiler.program import Instruction, Value

Pointers = Mapping[Value, ir.Value]
LANES, LARGE = 8, 1024  # Of the search for an extreme; indices that are worth vectors.


def emit_special(
    module: ir.Module, kernel: Kernel, name: str, shared: Collection[Value] = ()
) -> ir.Function:
    """Add the function of a kernel of kind ``"special"`` to a module.

    Parameters
    ----------
    module : ir.Module
    kernel : Kernel
        Of one instruction: ``gather``, ``scatter_add``, ``scatter_set``, ``argmax``,
        ``argmin`` or ``cumsum``; or of ``windows_add`` and a transpose of what it adds.
    name : str
    shared : collection of Value, optional
        The ``x`` of a scatter that is written to in its memory.

    Returns
    -------
    ir.Function
        It returns 0, or 1 if an index is outside; then it has written nothing.
    """
    instruction = kernel.instructions[-1]
    b, pointers = begin(module, kernel, name, shared)
    if instruction.opcode == "windows_add":
        _windows_add(b, kernel, pointers)
    else:
        EMIT[instruction.opcode](b, instruction, pointers)
    b.ret(I32(0))
    return b.function


# --- elements ------------------------------------------------------------------------------


def _load(b: ir.IRBuilder, pointer: ir.Value, kind: ir.Type, index: ir.Value) -> ir.Value:
    return b.load(at(b, pointer, kind, index), typ=kind)


def _add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    """Add as NumPy does: the sum of bools says whether one is true."""
    return {"f": b.fadd, "b": b.or_}.get(dtype.kind, b.add)(x, y)


# --- indices -------------------------------------------------------------------------------


def _check(
    b: ir.IRBuilder, instruction: Instruction, indices: tuple[Value, ...], p: Pointers
) -> None:
    """Return 1 from the function unless every index is inside."""
    sizes, wrap = instruction.operands[0].shape, instruction.attributes["wrap"]
    outside: ir.Value = I64(0)
    for values, size in zip(indices, sizes, strict=False):

        def step(i: ir.Value, bad: ir.Value, values: Value = values, size: int = size) -> list[Any]:
            shifted = b.add(_load(b, p[values], I64, i), I64(size if wrap else 0))
            limit = I64(2 * size if wrap else size)  # Unsigned, what is negative is enormous.
            return [b.or_(bad, b.zext(b.icmp_unsigned(">=", shifted, limit), I64))]

        (outside,) = loop(b, values.size, step, [outside], vectorise=values.size >= LARGE)
    with b.if_then(b.icmp_unsigned("!=", outside, I64(0)), likely=False):
        b.ret(I32(1))


def _row(
    b: ir.IRBuilder, x: Value, indices: tuple[Value, ...], i: ir.Value, p: Pointers
) -> ir.Value:
    """Return where in ``x`` the part begins that the indices at ``i`` choose."""
    terms = []
    for axis, values in enumerate(indices):
        index = _load(b, p[values], I64, i)
        behind = b.add(index, I64(x.shape[axis]))
        index = b.select(b.icmp_signed("<", index, I64(0)), behind, index)
        terms.append((index, prod(x.shape[axis + 1 :])))
    return offset(b, *terms)


def _gather(b: ir.IRBuilder, instruction: Instruction, p: Pointers) -> None:
    x, *rest = instruction.operands
    indices, out, kind = tuple(rest), instruction.result, element(x.dtype)
    size = prod(x.shape[len(indices) :])
    _check(b, instruction, indices, p)

    def step(i: ir.Value) -> None:
        source = at(b, p[x], kind, _row(b, x, indices, i, p))
        copy_bytes(b, at(b, p[out], kind, offset(b, (i, size))), source, size * x.dtype.itemsize)

    loop(b, indices[0].size if size else 0, step)


def _scatter(b: ir.IRBuilder, instruction: Instruction, p: Pointers) -> None:
    x, updates, *rest = instruction.operands
    indices, out, kind = tuple(rest), instruction.result, element(x.dtype)
    size = prod(x.shape[len(indices) :])
    _check(b, instruction, indices, p)
    if p[x] is not p[out]:
        copy_bytes(b, p[out], p[x], x.type.nbytes)

    def step(i: ir.Value) -> None:
        target = at(b, p[out], kind, _row(b, x, indices, i, p))
        source = at(b, p[updates], kind, offset(b, (i, size)))
        if instruction.opcode == "scatter_set":
            copy_bytes(b, target, source, size * x.dtype.itemsize)
            return

        def add(j: ir.Value) -> None:
            total = _add(b, _load(b, target, kind, j), _load(b, source, kind, j), x.dtype)
            b.store(total, at(b, target, kind, j))

        loop(b, size, add, vectorise=True)

    loop(b, indices[0].size if size else 0, step)


# --- windows -------------------------------------------------------------------------------


def _windows_add(b: ir.IRBuilder, kernel: Kernel, p: Pointers) -> None:
    """Add the windows' elements of one place at a time, so that neighbours adjoin."""
    each, (source, steps) = kernel.instructions[-1], operand_steps(kernel)
    (x,), out = each.operands, each.result
    kind, (images, channels, height, width), windows = element(x.dtype), out.shape, x.shape[2:4]
    (sh, sw), (ph, pw) = each.attributes["stride"], each.attributes["padding"]
    fill = b.module.declare_intrinsic(
        "llvm.memset.p0.i64", (),
        ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(8), I64, ir.IntType(1)]),
    )  # fmt: skip
    b.call(fill, [p[out], ir.IntType(8)(0), I64(out.type.nbytes), ir.IntType(1)(0)])

    def below(k: ir.Value, limit: int, stride: int) -> ir.Value:
        """Return how many windows have their element ``k`` before ``limit``."""
        rest = b.sub(I64(limit + stride - 1), k)
        rest = b.select(b.icmp_signed("<", rest, I64(0)), I64(0), rest)
        return b.udiv(rest, I64(stride))

    def inside(
        k: ir.Value, count: int, size: int, stride: int, padding: int
    ) -> tuple[ir.Value, int | ir.Value]:
        """Return the first window whose element ``k`` is in the image, and how many there are."""
        if not padding:
            return I64(0), count
        first, stop = (below(k, limit, stride) for limit in (padding, size + padding))
        stop = b.select(b.icmp_signed("<", stop, I64(count)), stop, I64(count))
        return first, b.sub(stop, first)

    def place(n: ir.Value, c: ir.Value, i: ir.Value, j: ir.Value) -> None:
        top, rows = inside(i, windows[0], height, sh, ph)
        left, columns = inside(j, windows[1], width, sw, pw)
        image = offset(b, (n, channels * height * width), (c, height * width), (i, width), (j, 1),
                       (I64(-ph), width), (I64(-pw), 1))  # fmt: skip
        given = offset(b, *zip((n, c, i, j), (*steps[:2], *steps[4:]), strict=True))

        def row(y: ir.Value) -> None:
            y = offset(b, (y, 1), (top, 1))
            start, origin = (
                offset(b, (image, 1), (y, sh * width)),
                offset(b, (given, 1), (y, steps[2])),
            )

            def one(x_: ir.Value) -> None:
                x_ = offset(b, (x_, 1), (left, 1))
                target = at(b, p[out], kind, offset(b, (start, 1), (x_, sw)))
                value = _load(b, p[source], kind, offset(b, (origin, 1), (x_, steps[3])))
                b.store(_add(b, b.load(target, typ=kind), value, x.dtype), target)

            loop(b, columns, one, vectorise=True)

        loop(b, rows, row)

    loop(b, images if x.size else 0, lambda n: loop(b, channels, lambda c: loop(
        b, x.shape[4], lambda i: loop(b, x.shape[5], lambda j: place(n, c, i, j)))))  # fmt: skip


# --- along an axis -------------------------------------------------------------------------


def _along(x: Value, axis: int) -> tuple[int, int, int]:
    """Return the numbers of elements before, along and after an axis."""
    return prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])


def _position(b: ir.IRBuilder, instruction: Instruction, p: Pointers) -> None:
    """First place of the greatest or least; lanes search side by side where elements adjoin."""
    (x,), out = instruction.operands, instruction.result
    outer, length, inner = _along(x, instruction.attributes["axis"])
    kind, sign = element(x.dtype), ">" if instruction.opcode == "argmax" else "<"
    lanes = LANES if inner == 1 and length >= 2 * LANES else 1

    def better(value: ir.Value, best: ir.Value) -> ir.Value:
        if x.dtype.kind != "f":
            return (b.icmp_signed if x.dtype.kind == "i" else b.icmp_unsigned)(sign, value, best)
        beats = b.fcmp_unordered(sign, value, best)  # A NaN beats all but a NaN.
        return b.and_(beats, b.fcmp_ordered("ord", best, best))

    def choose(value: ir.Value, where: ir.Value, best: ir.Value, place: ir.Value) -> list[ir.Value]:
        won = better(value, best)
        return [b.select(won, value, best), b.select(won, where, place)]

    def search(o: ir.Value, i: ir.Value) -> None:
        start = offset(b, (o, length * inner), (i, 1))

        def scalar(k: ir.Value, first: int, best: ir.Value, place: ir.Value) -> list[ir.Value]:
            k = b.add(k, I64(first))
            return choose(_load(b, p[x], kind, offset(b, (start, 1), (k, inner))), k, best, place)

        done = length // lanes * lanes if lanes > 1 else 1
        best, place = _load(b, p[x], kind, start), I64(0)
        if lanes > 1:
            best, place = across(start, done)
        rest = loop(b, length - done, lambda k, *at_: scalar(k, done, *at_), [best, place])
        b.store(rest[1], at(b, p[out], I64, offset(b, (o, inner), (i, 1))))

    def across(start: ir.Value, done: int) -> tuple[ir.Value, ir.Value]:
        many, whole = ir.VectorType(kind, lanes), ir.VectorType(I64, lanes)

        def load(k: ir.Value) -> ir.Value:
            place = at(b, p[x], kind, offset(b, (start, 1), (k, 1)))
            return b.load(place, align=x.dtype.itemsize, typ=many)

        def step(k: ir.Value, best: ir.Value, where: ir.Value, now: ir.Value) -> list[ir.Value]:
            now = b.add(now, ir.Constant(whole, [lanes] * lanes))
            return [*choose(load(b.add(k, I64(lanes))), now, best, where), now]

        places = ir.Constant(whole, list(range(lanes)))
        best, where, _ = loop(b, done - lanes, step, [load(I64(0)), places, places], step=lanes)
        value, place = b.extract_element(best, I32(0)), b.extract_element(where, I32(0))
        for lane in range(1, lanes):
            other, index = b.extract_element(best, I32(lane)), b.extract_element(where, I32(lane))
            won = better(other, value)
            tied = b.and_(b.not_(better(value, other)), b.icmp_signed("<", index, place))
            won = b.or_(won, tied)
            value, place = b.select(won, other, value), b.select(won, index, place)
        return value, place

    loop(b, outer, lambda o: loop(b, inner, lambda i: search(o, i)))


def _cumsum(b: ir.IRBuilder, instruction: Instruction, p: Pointers) -> None:
    (x,), out = instruction.operands, instruction.result
    outer, length, inner = _along(x, instruction.attributes["axis"])
    kind = element(x.dtype)
    if not x.size:
        return

    def line(o: ir.Value) -> None:
        start = offset(b, (o, length * inner))
        copy_bytes(
            b, at(b, p[out], kind, start), at(b, p[x], kind, start), inner * x.dtype.itemsize
        )

        def row(k: ir.Value) -> None:
            before = offset(b, (start, 1), (k, inner))

            def one(i: ir.Value) -> None:
                old = b.add(before, i)
                new = b.add(old, I64(inner))
                total = _add(b, _load(b, p[out], kind, old), _load(b, p[x], kind, new), x.dtype)
                b.store(total, at(b, p[out], kind, new))

            loop(b, inner, one, vectorise=True)

        loop(b, length - 1, row)

    loop(b, outer, line)


EMIT: dict[str, Callable[[ir.IRBuilder, Instruction, Pointers], None]] = {
    "gather": _gather,
    "scatter_add": _scatter,
    "scatter_set": _scatter,
    "argmax": _position,
    "argmin": _position,
    "cumsum": _cumsum,
}
