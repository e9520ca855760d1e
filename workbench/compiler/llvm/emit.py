"""Kernels as LLVM functions: the :class:`~workbench.compiler.kernels.Emitter` for LLVM.

What helps the vectoriser: every loop has a known count and is tested at its end, pointers do
not alias, indices do not wrap, and only the additions of a sum may be reordered.

A float sum is taken in blocks, whose sums are summed in blocks again, so that its error grows
with the logarithm of its length rather than the length (pairwise summation: Higham, *The
accuracy of floating point summation*, SIAM J. Sci. Comput. 14, 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import product
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from workbench.compiler.index import Axis, Condition, Index
from workbench.compiler.kernels import Dtype, Kernel, Reduction, write
from workbench.compiler.llvm import scalar
from workbench.compiler.llvm.dot import I32, I64, POINTER, at, begin, element, hint
from workbench.compiler.program import Value

BLOCK, BLOCKS, TILE = 1024, 64, 1024
"""The most elements summed in a row, the most such sums, and columns summed at a time."""
CHAINS, SHORT, FEW = 4, 24, 8
"""A row's sum is kept in so many vectors, for loops of at most so many instructions; and from
how many turns on a loop is worth vectors."""


def emit_loops(
    module: ir.Module, kernel: Kernel, name: str, shared: dict[Value, Value] | None = None,
    split: bool = False,
) -> ir.Function:  # fmt: skip
    """Add the function of a kernel of kind ``"loop"`` or ``"reduce"`` to a module.

    Parameters
    ----------
    module : ir.Module
    kernel : Kernel
    name : str
    shared : dict of Value to Value, optional
        For an input that has no pointer of its own: the output in whose memory it lies.
    split : bool
        Whether the function takes, besides, the first and last number of the outermost loop
        that it is to run: see :func:`splits`.

    Returns
    -------
    ir.Function
        It returns 0.
    """
    shared = shared or {}
    b, pointers = begin(module, kernel, name, shared, [I64] * 2 * split)
    pointers.update((x, pointers[y]) for x, y in shared.items())
    write(kernel, Emitter(b, pointers, b.function.args[-2:] if split else None))
    b.ret(I32(0))
    return b.function


class Emitter:
    """Writes LLVM; an expression is an ``ir.Value``.

    Parameters
    ----------
    b : ir.IRBuilder
        At the start of a function.
    pointers : dict of Value to ir.Value
    part : sequence of two ir.Value, optional
        Where the outermost loop begins and ends, if not at its ends.
    """

    def __init__(
        self, b: ir.IRBuilder, pointers: dict[Value, ir.Value],
        part: Sequence[ir.Value] | None = None,
    ) -> None:  # fmt: skip
        self.b, self.pointers, self.part = b, pointers, part
        self.variables: dict[int, ir.Value] = {}

    # --- scalars ---------------------------------------------------------------------------

    def index(self, at: Index) -> ir.Value:
        """Return the value of an index."""
        b = self.b
        total = I64(at.offset) if at.offset or not at.terms else None
        for atom, n in at.terms:
            if isinstance(atom, Axis):
                x = self.variables[atom.number]
            else:
                divide = b.srem if atom.remainder else b.sdiv
                x = divide(self.index(atom.position), I64(atom.divisor))
            x = b.mul(x, I64(n), flags=("nsw",)) if n != 1 else x
            total = x if total is None else b.add(total, x, flags=("nsw",))
        return total

    def load(self, value: Value, at_: Index) -> ir.Value:
        """Read one element; a bool is a byte in memory, and a bit here."""
        kind = element(value.dtype)
        x = self.b.load(at(self.b, self.pointers[value], kind, self.index(at_)), typ=kind)
        return self.b.icmp_unsigned("!=", x, kind(0)) if value.dtype.kind == "b" else x

    def store(self, value: Value, at_: Index, x: ir.Value) -> None:
        """Write one element."""
        kind = element(value.dtype)
        x = self.b.zext(x, kind) if value.dtype.kind == "b" else x
        self.b.store(x, at(self.b, self.pointers[value], kind, self.index(at_)))

    def constant(self, number: Any, dtype: Dtype) -> ir.Value:
        """Return a number."""
        return scalar.number(number, dtype)

    def position(self, at_: Index, dtype: Dtype) -> ir.Value:
        """Make a number of an index."""
        return self.op("convert", [self.index(at_)], np.dtype(np.int64), dtype)

    def op(
        self, opcode: str, operands: Sequence[ir.Value], given: Dtype, result: Dtype
    ) -> ir.Value:
        """Apply an opcode."""
        return scalar.apply(self.b, opcode, operands, given, result)

    def let(self, x: ir.Value, dtype: Dtype) -> ir.Value:
        """Return ``x``: values have names here."""
        return x

    def guarded(
        self, conditions: Sequence[Condition], then: Callable[[], ir.Value],
        otherwise: Callable[[], ir.Value], dtype: Dtype,
    ) -> ir.Value:  # fmt: skip
        """Branch, which LLVM turns into masked loads where it vectorises the loop."""
        b, test = self.b, None
        for at_, low, high in conditions:
            x = self.index(at_)
            x = b.sub(x, I64(low), flags=("nsw",)) if low else x
            inside = b.icmp_unsigned("<", x, I64(high - low))  # Below low it is enormous.
            test = inside if test is None else b.and_(test, inside)
        yes, no, after = (b.append_basic_block() for _ in range(3))
        b.cbranch(test, yes, no)
        made = []
        for block, make in ((yes, then), (no, otherwise)):
            b.position_at_end(block)
            x = make()
            made.append((x, b.block))
            b.branch(after)
        b.position_at_end(after)
        result = b.phi(scalar.register(dtype))
        for x, block in made:
            result.add_incoming(x, block)
        return result

    # --- loops -----------------------------------------------------------------------------

    @contextmanager
    def _loop(
        self, number: int, start: ir.Value, stop: ir.Value, step: int = 1, chained: bool = False
    ) -> Iterator[ir.Value]:
        """Open a loop that runs at least once.

        If ``chained``, each turn waits for the one before, unless several are interleaved.
        """
        b, before = self.b, self.b.block
        body = b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        i = b.phi(I64)
        i.add_incoming(start, before)
        self.variables[number] = i
        yield i
        following = b.add(i, I64(step), flags=("nuw", "nsw"))
        i.add_incoming(following, b.block)
        after = b.append_basic_block()
        latch = b.cbranch(b.icmp_unsigned("<", following, stop), body, after)
        if isinstance(stop, ir.Constant) and stop.constant < FEW * step:
            hint(b, latch, "llvm.loop.vectorize.enable", ir.IntType(1)(0))
        elif chained and b.block is body and len(body.instructions) <= SHORT:
            hint(b, latch, "llvm.loop.interleave.count", I32(CHAINS))
        b.position_at_end(after)

    @contextmanager
    def loops(self, axes: Sequence[Axis]) -> Iterator[None]:
        """Open nested loops."""
        with ExitStack() as stack:
            for a in axes:
                stack.enter_context(self._loop(a.number, I64(0), I64(a.size)))
            yield

    @contextmanager
    def parallel(self, axes: Sequence[Axis]) -> Iterator[None]:
        """Open nested loops, the outermost over the part that is asked for."""
        if self.part is None or not axes:
            with self.loops(axes):
                yield
        else:
            with self._loop(axes[0].number, *self.part), self.loops(axes[1:]):
                yield

    @contextmanager
    def _blocks(
        self, start: ir.Value, stop: ir.Value, size: int, exact: bool
    ) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Open a loop over blocks; yield where each begins and ends, the last maybe sooner."""
        with self._loop(-1, start, stop, size) as low:
            high = self.b.add(low, I64(size), flags=("nuw", "nsw"))
            if not exact:
                high = self.b.select(self.b.icmp_unsigned("<", high, stop), high, stop)
            yield low, high

    # --- reductions ------------------------------------------------------------------------

    def reduce(
        self, reductions: Sequence[Reduction], axes: Sequence[Axis], tile: Axis | None,
        body: Callable[[], Sequence[ir.Value]], then: Callable[[Sequence[ir.Value]], None],
    ) -> None:  # fmt: skip
        """Combine in blocks: see the module; a few elements one after another, without a loop."""
        if tile is None and prod(a.size for a in axes) <= FEW:
            totals: list[ir.Value] = [scalar.number(r.identity, r.dtype) for r in reductions]
            for turn in product(*(range(a.size) for a in axes)):
                self.variables.update((a.number, I64(i)) for a, i in zip(axes, turn, strict=True))
                totals = [self.combine(r, total, x)
                          for r, total, x in zip(reductions, totals, body(), strict=True)]  # fmt: skip
            then(totals)
            return
        width = min(tile.size, TILE) if tile else 1
        _Reduce(self, reductions, tile, width, body).run(axes, then)

    def combine(
        self, r: Reduction, old: ir.Value, x: ir.Value, flags: tuple[str, ...] = ()
    ) -> ir.Value:
        """Add one element to a result."""
        if r.dtype.kind == "f" and r.opcode in ("sum", "prod"):
            return (self.b.fadd if r.opcode == "sum" else self.b.fmul)(old, x, flags=flags)
        return self.op(r.combine, [old, x], r.dtype, r.dtype)

    def scratch(self, value: Value, size: int) -> None:
        """Take a row from the stack."""
        self.pointers[value] = self.stack(element(value.dtype), size)

    def stack(self, kind: ir.Type, size: int) -> ir.Value:
        """Return memory of the function's frame."""
        return reserve(self.b, ir.ArrayType(kind, size) if size > 1 else kind)


def reserve(b: ir.IRBuilder, kind: ir.Type) -> ir.Value:
    """Return memory of the function's frame."""
    with b.goto_entry_block():
        place = b.alloca(kind)
    place.type = POINTER  # llvmlite still gives it a type that says to what.
    return place


class _Reduce:
    """One reduction (or several together), over nested loops.

    Accumulators are one number each, or ``width`` numbers if the columns of a tile are
    reduced together; LLVM keeps them in registers either way if they fit.
    """

    def __init__(
        self, e: Emitter, reductions: Sequence[Reduction], tile: Axis | None, width: int,
        body: Callable[[], Sequence[ir.Value]],
    ) -> None:  # fmt: skip
        self.e, self.reductions, self.tile, self.width, self.body = e, reductions, tile, width, body
        self.start = self.stop = I64(0)
        # A row's sum may be taken in any order, so as one of vectors; sums of sums may not, or
        # LLVM would undo the blocks.  Columns are vectors as they are.
        self.flags = () if tile else ("reassoc",)

    def run(self, axes: Sequence[Axis], then: Callable[[Sequence[ir.Value]], None]) -> None:
        size = self.tile.size if self.tile else 1
        ends = I64(0), I64(size)
        several = self.e._blocks(*ends, self.width, exact=size % self.width == 0)
        with several if size > self.width else nullcontext(ends) as (self.start, self.stop):
            totals = self._accumulators()
            self._over(list(axes), totals)
            with self._columns() as column:
                then([self.e.b.load(p, typ=scalar.register(r.dtype))
                      for r, p in self._places(totals, column)])  # fmt: skip

    def _accumulators(self) -> list[ir.Value]:
        kinds = [scalar.register(r.dtype) for r in self.reductions]
        made = [self.e.stack(kind, self.width) for kind in kinds]
        with self._columns() as column:
            for r, place in self._places(made, column):
                self.e.b.store(scalar.number(r.identity, r.dtype), place)
        return made

    @contextmanager
    def _columns(self) -> Iterator[ir.Value | None]:
        """Open the loop over the columns of the tile, if there is one."""
        if self.tile is None:
            yield None
        else:
            with self.e._loop(self.tile.number, self.start, self.stop) as i:
                yield self.e.b.sub(i, self.start, flags=("nuw", "nsw"))

    def _places(
        self, accumulators: Sequence[ir.Value], column: ir.Value | None
    ) -> list[tuple[Reduction, ir.Value]]:
        return [(r, p if column is None else at(self.e.b, p, scalar.register(r.dtype), column))
                for r, p in zip(self.reductions, accumulators, strict=True)]  # fmt: skip

    def _combine(
        self, places: Sequence[tuple[Reduction, ir.Value]], values: Sequence[ir.Value],
        flags: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        b = self.e.b
        for (r, place), x in zip(places, values, strict=True):
            old = b.load(place, typ=scalar.register(r.dtype))
            b.store(self.e.combine(r, old, x, flags), place)

    def _over(self, axes: list[Axis], totals: list[ir.Value]) -> None:
        """Add everything over ``axes`` to the totals."""
        limit = BLOCKS if len(axes) > 1 or self.tile else BLOCK
        self._chunks(axes[0], axes[0].size, limit, (I64(0), I64(axes[0].size)), axes[1:], totals)

    def _chunks(
        self, axis: Axis, size: int, limit: int, ends: tuple[ir.Value, ir.Value],
        rest: list[Axis], totals: list[ir.Value],
    ) -> None:  # fmt: skip
        """Add what lies between two ends, at most ``size``, in chunks with totals of their own."""
        if size <= limit:
            with self.e._loop(axis.number, *ends, chained=not rest and not self.tile):
                if rest:
                    self._partly(totals, lambda part: self._over(rest, part))
                else:
                    with self._columns() as column:
                        values = self.body()
                        self._combine(self._places(totals, column), values, self.flags)
            return
        chunk = limit
        while -(-size // chunk) > BLOCKS:
            chunk *= BLOCKS
        with self.e._blocks(*ends, chunk, exact=axis.size % chunk == 0) as part_ends:
            self._partly(totals, lambda part:
                         self._chunks(axis, chunk, limit, part_ends, rest, part))  # fmt: skip

    def _partly(self, totals: list[ir.Value], fill: Callable[[list[ir.Value]], None]) -> None:
        part = self._accumulators()
        fill(part)
        with self._columns() as column:
            values = [self.e.b.load(p, typ=scalar.register(r.dtype))
                      for r, p in self._places(part, column)]  # fmt: skip
            self._combine(self._places(totals, column), values)
