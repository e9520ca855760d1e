"""Which instructions run as one loop.

Three decisions, each a method of :class:`_Fusion`:

1. **What must lie in memory**: what the program returns, what products and other kernels with
   a life of their own read and write, results of reductions.  Such a value is a *root*; the
   instructions between it and other roots are its *cone*, and are computed where they are read.
2. **What had better lie in memory**: costly values that several kernels, or many elements of
   one, would compute again; values that a reshape would read in a scrambled order.
3. **Which roots share a kernel**: those over one space that read each other, or the same
   arrays, only at the element that is being written; and a reduction with what precedes and
   follows it over the same rows.  Never if a third kernel would have to run in between.

XLA fuses producers into consumers likewise; joining a row's reductions with the loops between
them is what FlashAttention (Dao et al., NeurIPS 2022) calls tiling, for the case in which a row
fits in the cache.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from workbench.compiler.index import Index, axes_of, flat, split, spread, squeeze
from workbench.compiler.kernels import (
    COSTLY,
    Kernel,
    Levels,
    Recorder,
    Walk,
    is_reduction,
    own_cost,
    reduced_axes,
    uniform,
)
from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Program, Value
from workbench.errors import GraphError

__all__ = ["Fused", "Kernel", "from_groups", "fuse"]

MAX_DEPTH = 32  # Of a cone: the recursion that writes it is bounded by Python's stack.
MAX_SIZE = 96  # Instructions of a kernel: beyond that registers spill.
MAX_BUFFERS = 24
ROW_BYTES = 16384  # A row of intermediate values that stays in the first cache.


@dataclass(frozen=True, eq=False)
class Fused:
    """A program as kernels.

    Attributes
    ----------
    program : Program
    kernels : tuple of Kernel
        Each after those it reads from.
    aliases : dict of Value to Value
        A reshape, and what it is a reshape of: they share their memory.
    """

    program: Program
    kernels: tuple[Kernel, ...]
    aliases: Mapping[Value, Value]


def fuse(program: Program) -> Fused:
    """Divide a program into kernels.

    Parameters
    ----------
    program : Program
        Simplified, so that no output is an input or a reshape of another value.

    Returns
    -------
    Fused
    """
    return _Fusion(program).run()


def from_groups(program: Program, groups: Sequence[Sequence[Value]]) -> Fused:
    """Divide a program into kernels that somebody else has chosen.

    Parameters
    ----------
    program : Program
        As for :func:`fuse`.
    groups : sequence of sequences of Value
        Results of elementwise instructions of one shape that are to share a loop.  What is
        in no group has a kernel to itself, or is computed where it is read.

    Returns
    -------
    Fused

    Raises
    ------
    GraphError
        If a group cannot be one loop, or a third kernel would have to run in the middle of one.
    """
    return _Fusion(program).chosen(groups)


@dataclass(eq=False)
class _Group:
    """Roots that will be one kernel."""

    kind: str
    space: tuple[int, ...]
    roots: list[Value] = field(default_factory=list)
    cone: set[Instruction] = field(default_factory=set)
    reads: set[Value] = field(default_factory=set)
    after: set[_Group] = field(default_factory=set)  # All that must run before, however far.
    reduced: frozenset[int] | None = None
    rows: bool = False  # Whether the last axis is among those reduced.

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.space) if i not in (self.reduced or ()))


class _Fusion:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers = {y: each for each in program.instructions for y in each.results}
        self.order = {each: i for i, each in enumerate(program.instructions)}
        self.readers: dict[Value, list[Instruction]] = {}
        for each in program.instructions:
            for x in dict.fromkeys(each.operands):
                self.readers.setdefault(x, []).append(each)
        self.aliases: dict[Value, Value] = {}
        self.roots: set[Value] = set()
        self.groups: list[_Group] = []
        self.home: dict[Value, _Group] = {}

    def run(self) -> Fused:
        self._required()
        self._worthwhile()
        self._group()
        if self._shared():
            self._group()
        return Fused(self.program, tuple(self._kernels()), self.aliases)

    def chosen(self, groups: Sequence[Sequence[Value]]) -> Fused:
        """Divide as :func:`from_groups` says."""
        number = {x: n for n, group in enumerate(groups) for x in group}
        self._required()
        self._worthwhile()
        for x, n in number.items():
            readers = self.readers.get(x, ())
            if any(number.get(y) != n for each in readers for y in each.results):
                self._materialise(x)
        made: dict[int, _Group] = {}
        for each in self.program.instructions:
            roots = [y for y in each.results if y in self.roots]
            if not roots or self._alone(each, roots):
                continue
            cone, loads = self._cone(roots[0])
            n = number.get(roots[0], -1)
            group = made.get(n) or self._new(each, roots[0])
            space = squeeze(roots[0].shape)
            if n >= 0 and (group.kind != "loop" or not self._joins(group, space, None, loads)):
                raise GraphError(self.program.name, "these instructions cannot be one loop",
                                 given=", ".join(map(repr, groups[n])))  # fmt: skip
            if n >= 0:
                made[n] = group
            self._add(group, [roots[0]], cone, {x for x, _ in loads})
            if group in group.after:
                raise GraphError(self.program.name, "another kernel would have to run in the "
                                 "middle of this one", given=repr(roots[0]))  # fmt: skip
        return Fused(self.program, tuple(self._kernels()), self.aliases)

    # --- what lies in memory ---------------------------------------------------------------

    def kind(self, x: Value) -> str:
        """Return the kind of what makes ``x``; constants of one number are part of the code."""
        each = self.makers.get(x)
        if each is None or (each.opcode == "constant" and not uniform(each)):
            return "memory"
        kind = OPCODES[each.opcode].kind
        return "map" if kind == "reduce" and not is_reduction(each) else kind

    def fused(self, x: Value) -> bool:
        """Return whether ``x`` is computed where it is read."""
        return x not in self.roots and self.kind(x) in ("elementwise", "map")

    def source(self, x: Value) -> Value:
        """Return the value whose memory ``x`` shares."""
        while x in self.aliases:
            x = self.aliases[x]
        return x

    def _materialise(self, x: Value, output: bool = False) -> None:
        each = self.makers.get(x)
        while each is not None and each.opcode == "reshape" and not output:
            self.aliases[x] = x = each.operands[0]
            each = self.makers.get(x)
        if each is not None and each.opcode != "constant":
            self.roots.add(x)

    def _required(self) -> None:
        for y in self.program.outputs:
            self._materialise(y, output=True)
        for each in self.program.instructions:
            kind = OPCODES[each.opcode].kind
            if kind in ("dot", "special", "control"):
                for x in self._cone_of_special(each)[0].operands:
                    self._materialise(x)
            if kind in ("dot", "special", "control") or is_reduction(each):
                self.roots.update(each.results)

    def _cone_of_special(self, each: Instruction) -> list[Instruction]:
        """Return what runs in the kernel of an instruction that has one to itself."""
        before = self.makers.get(each.operands[0]) if each.opcode == "windows_add" else None
        return [before, each] if before is not None and before.opcode == "transpose" else [each]

    def _worthwhile(self) -> None:
        """Store what the cone of one root would compute many times, or could not index."""
        depth: dict[Value, int] = {}
        self.cost: dict[Value, int] = {}
        for each in self.program.instructions:
            for x in each.operands:
                if not self.fused(x):
                    continue
                maps = [r for r in self.readers[x] if OPCODES[r.opcode].kind == "map"]
                again = any(r.result.size > x.size and r.opcode in ("broadcast", "windows")
                            for r in maps) or (maps and len(self.readers[x]) > 1)  # fmt: skip
                if (
                    depth[x] >= MAX_DEPTH
                    or (again and self.cost[x] >= COSTLY)
                    or (each.opcode == "reshape" and not _even(x, each.result))
                ):
                    self._materialise(x)
            operands = [x for x in dict.fromkeys(each.operands) if self.fused(x)]
            for y in each.results:
                depth[y] = 1 + max((depth[x] for x in operands), default=0)
                self.cost[y] = own_cost(each) + sum(self.cost[x] for x in operands)

    def _shared(self) -> bool:
        """Store costly values that several kernels would compute; return whether there were any."""
        homes: dict[Value, set[object]] = {}
        before = len(self.roots)
        for each in reversed(self.program.instructions):
            for y in each.results:
                if not self.fused(y):
                    continue
                homes[y] = set()
                for z in (z for reader in self.readers.get(y, ()) for z in reader.results):
                    homes[y] |= homes[z] if self.fused(z) else {self.home.get(z, z)}
                if len(homes[y]) > 1 and len(self.readers[y]) > 1 and self.cost[y] >= COSTLY:
                    self._materialise(y)
        return len(self.roots) > before

    # --- which roots share a kernel ----------------------------------------------------------

    def _cone(self, root: Value) -> tuple[list[Instruction], list[tuple[Value, Index]]]:
        """Return the instructions between a root and memory, and what they read, where."""
        top = self.makers[root]
        cone, stack = {top}, [top]
        while stack:
            for x in stack.pop().operands:
                if self.fused(x) and (each := self.makers[x]) not in cone:
                    cone.add(each)
                    stack.append(each)
        instructions = sorted(cone, key=self.order.__getitem__)
        space = top.operands[0].shape if is_reduction(top) else root.shape
        kind = "reduce" if is_reduction(top) else "loop"
        recorder = Recorder()
        if 0 not in space:
            Walk(Kernel("", kind, tuple(instructions), (), (root,), space), recorder).run()
        return instructions, [(self.source(x), at) for x, at in recorder.loads]

    def _group(self) -> None:
        self.groups, self.home = [], {}
        for each in self.program.instructions:
            roots = [y for y in each.results if y in self.roots]
            if not roots:
                continue
            if not self._alone(each, roots):
                self._place(each, roots[0])

    def _alone(self, each: Instruction, roots: list[Value]) -> bool:
        """Give an instruction that has a kernel to itself that kernel; return whether it has."""
        kind = OPCODES[each.opcode].kind
        if kind not in ("dot", "special", "control"):
            return False
        cone = self._cone_of_special(each)
        reads = {self.source(x) for x in cone[0].operands}
        self._add(_Group(kind, each.results[0].shape), roots, cone, reads)
        return True

    def _new(self, top: Instruction, root: Value) -> _Group:
        """Return a group, still empty, for the loop that makes a root."""
        if not is_reduction(top):
            return _Group("loop", squeeze(root.shape))
        space, reduced = squeeze(top.operands[0].shape), reduced_axes(top)
        return _Group("reduce", space, reduced=reduced, rows=len(space) - 1 in reduced)

    def _place(self, top: Instruction, root: Value) -> None:
        cone, loads = self._cone(root)
        reads = {x for x, _ in loads}
        reduces = is_reduction(top)
        space = squeeze(top.operands[0].shape if reduces else root.shape)
        reduced = reduced_axes(top) if reduces else None
        homes = {self.home[x] for x in reads if x in self.home}
        for group in reversed(self.groups):
            related = group in homes or any(
                prod(squeeze(x.shape)) == prod(space) and x in group.reads for x in reads
            )
            if (
                related
                and self._joins(group, space, reduced, loads)
                and not any(group in other.after for other in homes if other is not group)
                and len(group.cone | set(cone)) <= MAX_SIZE
                and len(group.reads | reads) + len(group.roots) < MAX_BUFFERS
            ):
                if reduces and group.reduced is None:
                    group.kind, group.reduced = "reduce", reduced
                    group.rows = len(space) - 1 in (reduced or ())
                break
        else:
            group = self._new(top, root)
        self._add(group, [root], cone, reads)

    def _joins(
        self, group: _Group, space: tuple[int, ...], reduced: frozenset[int] | None,
        loads: Iterable[tuple[Value, Index]],
    ) -> bool:  # fmt: skip
        """Return whether a root over ``space`` may be computed in the kernel of ``group``."""
        if group.kind not in ("loop", "reduce") or 0 in space or 0 in group.space:
            return False
        whole = space == group.space
        if not whole and (space != group.kept or reduced is not None or group.reduced is None):
            return False  # Neither over the whole space, nor over the results of its reductions.
        if reduced is not None and group.reduced not in (None, reduced):
            return False
        axes = axes_of(space)
        removed = group.reduced if group.reduced is not None else reduced
        kept = [a for a in axes if not whole or a.number not in (removed or ())]
        rows = group.rows if group.reduced is not None else len(space) - 1 in (reduced or ())
        for x, at in loads:
            if self.home.get(x) is not group:
                continue
            if squeeze(x.shape) == group.space:
                if not whole or at != flat(spread(x.shape, axes), x.shape):
                    return False
            elif (whole and not rows) or at != flat(spread(x.shape, kept), x.shape):
                return False  # In column mode results are ready after the last row only.
        return True

    def _add(
        self, group: _Group, roots: list[Value], cone: Iterable[Instruction], reads: set[Value]
    ) -> None:
        if group not in self.groups:
            self.groups.append(group)
        group.roots += roots
        group.cone.update(cone)
        group.reads |= reads
        self.home.update(dict.fromkeys(roots, group))
        before = {self.home[x] for x in reads if x in self.home} - {group}
        before |= {far for near in before for far in near.after}
        for each in self.groups:
            if each is group or group in each.after:
                each.after |= before

    # --- kernels ---------------------------------------------------------------------------

    def _kernels(self) -> list[Kernel]:
        wanted = set(self.program.outputs)
        for group in self.groups:
            wanted |= {x for x in group.reads if self.home.get(x) is not group}
        waiting = {group: len(group.after) for group in self.groups}
        ready = [(self._first(g), i, g) for i, g in enumerate(self.groups) if not waiting[g]]
        heapq.heapify(ready)
        kernels: list[Kernel] = []
        while ready:
            group = heapq.heappop(ready)[2]
            kernels.append(self._kernel(group, len(kernels), wanted))
            for i, other in enumerate(self.groups):
                if group in other.after:
                    waiting[other] -= 1
                    if not waiting[other]:
                        heapq.heappush(ready, (self._first(other), i, other))
        return kernels

    def _first(self, group: _Group) -> int:
        return self.order[self.makers[group.roots[-1]]]

    def _kernel(self, group: _Group, number: int, wanted: set[Value]) -> Kernel:
        instructions = tuple(sorted(group.cone, key=self.order.__getitem__))
        name = "_".join([f"k{number}", *_words(instructions)])
        if group.kind not in ("loop", "reduce"):
            each, reads = instructions[-1], tuple(dict.fromkeys(instructions[0].operands))
            again = {"dot_add": each.operands[2:], "scatter_add": reads[:1],
                     "scatter_set": reads[:1]}.get(each.opcode, ())  # fmt: skip
            once = tuple(x for x in again if each.operands.count(x) == 1)
            return Kernel(name, group.kind, instructions, reads, each.results, group.space, once)
        outputs = [y for y in group.roots if y in wanted]
        kernel = Kernel(name, group.kind, instructions, (), tuple(outputs), group.space)
        if group.rows:
            width = prod(n for i, n in enumerate(group.space) if i in (group.reduced or ()))
            for x in Levels(kernel).again:
                if width * x.dtype.itemsize > ROW_BYTES:
                    outputs.append(x)
            kernel = Kernel(name, group.kind, instructions, (), tuple(outputs), group.space)
        recorder = Recorder()
        walk = Walk(kernel, recorder)
        walk.run()
        reads = tuple(dict.fromkeys(x for x, _ in recorder.loads if x not in walk.makers))
        return Kernel(name, group.kind, instructions, reads, tuple(outputs), group.space,
                      _in_place(kernel, recorder, walk))  # fmt: skip


def _even(x: Value, y: Value) -> bool:
    """Return whether a reshape splits or joins axes without dividing."""
    position = flat(spread(y.shape, axes_of(y.shape)), y.shape)
    return all(i.simple for i in split(position, x.shape))


def _in_place(kernel: Kernel, recorder: Recorder, walk: Walk[None]) -> tuple[Value, ...]:
    """Return what is read only at the element, or the row, that is being written."""
    levels = Levels(kernel)
    places: dict[Value, set[Index]] = {}
    for x, at in recorder.loads:
        places.setdefault(x, set()).add(at)
    # What is stored before the last round may still be read, under its old name, in a later one.
    last = all(levels.of[y] == levels.top for y in kernel.outputs if levels.full(y))
    domains = [walk.axes] if last else []
    domains += [tuple(walk.outer)] if kernel.kind == "reduce" else []
    return tuple(
        x
        for x, at in places.items()
        if x not in walk.makers
        and any(
            squeeze(x.shape) == tuple(a.size for a in axes)
            and at == {flat(spread(x.shape, axes), x.shape)}
            for axes in domains
        )
    )


def _words(instructions: Iterable[Instruction]) -> list[str]:
    """Return the last few opcodes that say what a kernel is about."""
    quiet = ("constant", "broadcast", "reshape", "convert", "copy", "barrier")
    opcodes = dict.fromkeys(i.opcode for i in instructions if i.opcode not in quiet)
    return list(opcodes)[-3:] or [each.opcode for each in instructions][-1:]
