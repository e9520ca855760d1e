"""Which value lies where in memory, and for how long.

A program's shapes are known, so its memory can be planned before it runs: one block (the
arena) for everything that passes between kernels, in which a value takes over the place of
one that is no longer needed.  A kernel that reads an element just before it writes the same
one may work in place; an output that replaces an input (``program.donate``) is written
where that input lies.

If a kernel fails, no input may have changed.  So what writes into inputs runs last; a
value that cannot wait is kept in the arena and copied when all else is done.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from workbench.compiler.program import Value
from workbench.errors import GraphError

if TYPE_CHECKING:
    from workbench.compiler.fuse import Fused
    from workbench.compiler.kernels import Kernel

ALIGNMENT = 64
"""Every value in the arena begins at a multiple of this many bytes: a cache line."""

CAN_FAIL = {"gather", "scatter_add", "scatter_set", "call"}
"""Opcodes that fail for some numbers; so may control flow, which may hold them.  Each but
control flow looks at all its indices before it writes anything."""


@dataclass(frozen=True)
class Buffer:
    """Where a value lies.

    Attributes
    ----------
    where : {"input", "output", "constant", "arena"}
    index : int
        Number of the input, output or constant; or offset in the arena, in bytes.
    """

    where: str
    index: int


class Lifetime(NamedTuple):
    """A value's place in the arena, and the positions of the first and last kernel to use it."""

    value: Value
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Plan:
    """Where everything lies.

    Attributes
    ----------
    kernels : tuple of Kernel
        In the order in which they run.
    buffers : dict of Value to Buffer
        Of every value in memory, also those that share another's.
    constants : tuple of array
    arena_bytes, naive_bytes : int
        Size of the arena; and what its values would take if each had its own place.
    lifetimes : tuple of Lifetime
        Of the values in the arena.
    in_place : tuple of (Kernel, Value, Value)
        Kernel, input and output that share memory.
    copies : tuple of (Value, Buffer)
        To be made, in order, after all kernels.
    """

    kernels: tuple[Kernel, ...]
    buffers: dict[Value, Buffer]
    constants: tuple[npt.NDArray[Any], ...]
    arena_bytes: int
    naive_bytes: int
    lifetimes: tuple[Lifetime, ...]
    in_place: tuple[tuple[Kernel, Value, Value], ...]
    copies: tuple[tuple[Value, Buffer], ...]


def plan(fused: Fused) -> Plan:
    """Return a plan for a fused program: see the module.

    Raises
    ------
    GraphError
        If an output is made by no kernel, as in a program that was not simplified.

    Notes
    -----
    Places are given in the order in which kernels run, each value taking the smallest gap
    that is free throughout its life ("best fit": Knuth, The Art of Computer Programming,
    volume 1, section 2.5).
    """
    return _Planner(fused).run()


def can_fail(kernel: Kernel) -> bool:
    """Return whether a kernel may find, in the numbers, that it cannot go on."""
    return kernel.kind == "control" or any(i.opcode in CAN_FAIL for i in kernel.instructions)


class _Planner:
    def __init__(self, fused: Fused) -> None:
        self.fused, self.program = fused, fused.program
        self.maker = {x: k for k in fused.kernels for x in k.outputs}
        inputs = self.program.inputs
        self.target = {  # The input that each donated output is to replace.
            self.program.outputs[i]: inputs[j] for i, j in self.program.donate.items()
        }  # fmt: skip
        self.buffers = {x: Buffer("input", j) for j, x in enumerate(inputs)}
        self.in_place: list[tuple[Kernel, Value, Value]] = []

    def root(self, x: Value) -> Value:
        """Return the value whose memory ``x`` shares, itself if it has its own."""
        while x in self.fused.aliases:
            x = self.fused.aliases[x]
        return x

    def reads(self, kernel: Kernel) -> list[Value]:
        return [self.root(x) for x in kernel.inputs]

    def may_overwrite(self, kernel: Kernel, old: Value, new: Value) -> bool:
        """Return whether ``kernel`` may write its output ``new`` over ``old`` as it goes."""
        return all(y in kernel.in_place and y.type == new.type
                   for y in kernel.inputs if self.root(y) is old)  # fmt: skip

    def run(self) -> Plan:
        self.kernels = self._order()
        self.last: dict[Value, int] = {}
        self.first = {x: n for n, k in enumerate(self.kernels) for x in k.outputs}
        for n, kernel in enumerate(self.kernels):
            self.last.update(dict.fromkeys([*kernel.outputs, *self.reads(kernel)], n))
        constants = self._place_constants()
        copies = self._place_outputs()
        homes = self._share_in_place()
        arena_bytes = self._place_arena(homes)
        for x in self.fused.aliases:
            if self.root(x) in self.buffers:
                self.buffers[x] = self.buffers[self.root(x)]
        inner = [x for x in self.first if x not in self.program.outputs]
        lifetimes = [
            Lifetime(x, self.buffers[x].index, x.type.nbytes, self.first[x], self.last[x])
            for x in self.first if self.buffers[x].where == "arena"
        ]  # fmt: skip
        return Plan(self.kernels, self.buffers, constants, arena_bytes,
                    sum(_aligned(x.type.nbytes) for x in inner), tuple(lifetimes),
                    tuple(self.in_place), tuple(copies))  # fmt: skip

    def _order(self) -> tuple[Kernel, ...]:
        """Return the kernels with those that write into inputs as late as can be.

        Of these, one whose old input is still to be read by another waits for that, and
        one that can fail goes before those that cannot.
        """
        position = {k: n for n, k in enumerate(self.fused.kernels)}
        missing = {k: {self.maker[x] for x in self.reads(k) if x in self.maker} for k in position}
        readers: dict[Kernel, list[Kernel]] = {k: [] for k in position}
        unread: dict[Value, set[Kernel]] = {x: set() for x in self.program.inputs}
        for k, needs in missing.items():
            for x in self.reads(k):
                unread.setdefault(x, set()).add(k)
            for need in needs:
                readers[need].append(k)

        def cost(k: Kernel) -> tuple[bool, bool, bool, int]:
            targets = [self.target[x] for x in k.outputs if x in self.target]
            awaited = any(unread[x] - {k} for x in targets)
            return bool(targets), awaited, bool(targets) and not can_fail(k), position[k]

        ready, order = [k for k in position if not missing[k]], []
        while ready:
            chosen = min(ready, key=cost)
            ready.remove(chosen)
            order.append(chosen)
            for x in self.reads(chosen):
                unread[x].discard(chosen)
            for k in readers[chosen]:
                missing[k].discard(chosen)
                if not missing[k]:
                    ready.append(k)
        return tuple(order)

    def _place_constants(self) -> tuple[npt.NDArray[Any], ...]:
        made = {i.result: i.attributes["value"] for i in self.program.instructions
                if i.opcode == "constant"}  # fmt: skip
        used = dict.fromkeys(x for k in self.kernels for x in self.reads(k) if x in made)
        self.buffers.update({x: Buffer("constant", n) for n, x in enumerate(used)})
        return tuple(made[x] for x in used)

    def _place_outputs(self) -> list[tuple[Value, Buffer]]:
        """Give each output its place: its own, or the input it replaces; else it is copied."""
        copies: list[tuple[Value, Buffer]] = []
        failing = max((n for n, k in enumerate(self.kernels) if can_fail(k)), default=-1)
        for i, x in enumerate(self.program.outputs):
            j = self.program.donate.get(i)
            if x not in self.maker or x in self.buffers:
                raise GraphError(self.program.name, f"output {i} has no memory of its own",
                                 given=repr(x), fix="simplify the program first")  # fmt: skip
            if j is None:
                self.buffers[x] = Buffer("output", i)
            elif self._may_replace(x, self.program.inputs[j], failing):
                self.buffers[x] = Buffer("input", j)
            else:
                copies.append((x, Buffer("input", j)))
                self.last[x] = len(self.kernels)
        return copies

    def _may_replace(self, x: Value, old: Value, failing: int) -> bool:
        """Return whether ``x`` may be written where the input ``old`` lies."""
        kernel, n = self.maker[x], self.first[x]
        last = self.last.get(old, -1)
        if n < failing or (n == failing and kernel.kind == "control"):
            return False
        if last > n:
            return False
        if last == n:
            if not self.may_overwrite(kernel, old, x):
                return False
            self._note(kernel, old, x)
        return True

    def _note(self, kernel: Kernel, old: Value, new: Value) -> None:
        self.in_place += [(kernel, y, new) for y in kernel.inputs if self.root(y) is old]

    def _share_in_place(self) -> dict[Value, Value]:
        """Let outputs take the place of inputs that die; return the home of each such input.

        The home of a value is the output, of a later kernel, in whose memory it lies.
        """
        homes: dict[Value, Value] = {}
        for n in reversed(range(len(self.kernels))):
            kernel = self.kernels[n]
            for x in kernel.outputs:
                where = self.buffers.get(homes.get(x, x))
                if where is not None and where.where == "input":
                    continue  # Until this kernel runs, the old value is there.
                for old in map(self.root, kernel.in_place):
                    if (
                        old in self.maker and old not in self.buffers and old not in homes
                        and self.last[old] == n and self.may_overwrite(kernel, old, x)
                    ):  # fmt: skip
                        homes[old] = homes.get(x, x)
                        self._note(kernel, old, x)
                        break
        return homes

    def _place_arena(self, homes: dict[Value, Value]) -> int:
        """Give every other value a place; return the size of the arena."""
        first: dict[Value, int] = {}
        for x, n in self.first.items():
            first.setdefault(homes.get(x, x), n)  # Kernels run in this order: the first is least.
        live: list[tuple[int, int, int]] = []  # Offset, end, and the last kernel to use it.
        top = 0
        for x, n in first.items():
            if x in self.buffers:
                continue
            live = [each for each in live if each[2] >= n]
            size = _aligned(x.type.nbytes)
            offset = _best_fit(live, size)
            insort(live, (offset, offset + size, self.last[x]))
            top = max(top, offset + size)
            self.buffers[x] = Buffer("arena", offset)
        self.buffers.update({x: self.buffers[home] for x, home in homes.items()})
        return top


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _best_fit(live: Sequence[tuple[int, int, int]], size: int) -> int:
    """Return the offset of the smallest gap between live ranges, in order, that holds ``size``."""
    best, room, end = None, 0, 0
    for start, stop, _ in live:
        gap = start - end
        if gap >= size and (best is None or gap < room):
            best, room = end, gap
        end = max(end, stop)
    return end if best is None else best


def format_plan(plan: Plan) -> str:
    """Return a plan as a table: a row a value in the arena, a column a kernel.

    ``#`` stands where a value is held; the row of a value made in place begins with ``=``.
    """
    maker = {x: k.name for k in plan.kernels for x in k.outputs}
    renewed = {new for _, _, new in plan.in_place}
    rows = [("made by", "type", "bytes", "offset", "kernels")]
    for each in plan.lifetimes:
        bar = "".join(
            "#" if each.first <= n <= each.last else "." for n in range(len(plan.kernels))
        )
        if each.value in renewed:
            bar = bar[: each.first] + "=" + bar[each.first + 1 :]
        rows.append((maker[each.value], str(each.value.type), f"{each.nbytes:,}",
                     f"{each.offset:,}", bar))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {bar}"
        for a, b, c, d, bar in rows
    ]
    lines += [f"copied at the end: {maker[x]} {x.type} -> "
              f"{where.where} {where.index}" for x, where in plan.copies]  # fmt: skip
    held = sum(array.nbytes for array in plan.constants)
    lines.append(f"arena {plan.arena_bytes:,} bytes for {plan.naive_bytes:,} of values; "
                 f"constants {held:,} bytes")  # fmt: skip
    return "\n".join(lines)
