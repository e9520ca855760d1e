"""From a kernel to scalar code: one recursion, and as many languages as there are emitters.

``Walk.value(x, index)`` writes the code for one element of ``x``.  Elementwise opcodes pass the
index on, maps (transpose, pad, ...) change it, and what lies in memory ends the recursion with
a load; so a fused kernel is read *through* its maps and nothing between is stored.  Indices are
kept as sums (:class:`Index`) until they are printed, which lets axes that are contiguous in
every access be merged into one loop.

An :class:`Emitter` is a language.  :class:`~workbench.compiler.clike.Text` writes C that people
read; LLVM's is in ``llvm/emit.py``.  For CUDA, derive from ``Text`` and override

* ``parallel``: open one thread an element (``for`` over independent elements becomes
  ``if (thread < n)`` and the indices' values by division); in a kernel of kind ``"reduce"``
  one block a row, or in column mode one thread a column (``tile`` is then such a loop too);
* ``loops`` and ``reduce``: let the threads of a block share the row, and combine what each has;
* ``scratch``: where a row of intermediate values lies;
* ``FORMS``, and declare ahead of the kernels the functions that C does not have (maximum, ...).
"""

# What an emitter's methods are for is said once, in Emitter.
# ruff: noqa: D102

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from workbench.compiler.index import (
    Axis,
    Condition,
    Index,
    Indices,
    Part,
    axes_of,
    flat,
    merge,
    split,
    spread,
    squeeze,
)
from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Value

T = TypeVar("T")
Dtype: TypeAlias = "np.dtype[Any]"


@dataclass(frozen=True, eq=False)
class Kernel:
    """Instructions that run as one loop nest, so that what passes between stays in registers.

    Attributes
    ----------
    name : str
    kind : {"loop", "reduce", "dot", "special", "control"}
        A ``"reduce"`` kernel holds reductions of one space over the same axes, and may hold
        elementwise instructions before, between and after them (a softmax is one kernel).
    instructions : tuple of Instruction
        In the program's order.
    inputs, outputs : tuple of Value
        What is read from and written to memory.
    space : tuple of int
        What is iterated: the shape of the outputs, or of what is reduced.
    in_place : tuple of Value
        Inputs of which an output of the same type may take the memory.
    """

    name: str
    kind: str
    instructions: tuple[Instruction, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    space: tuple[int, ...]
    in_place: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        return f"<kernel {self.name}: {len(self.instructions)} instructions>"


# --- reductions ----------------------------------------------------------------------------


class Reduction(NamedTuple):
    """How the elements of one reduction are combined: from ``identity``, by ``combine``."""

    opcode: str
    dtype: Dtype

    @property
    def combine(self) -> str:
        """The elementwise opcode of two operands."""
        if self.dtype.kind == "b":
            return "bitwise_or" if self.opcode in ("any", "max") else "bitwise_and"
        return {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}[self.opcode]

    @property
    def identity(self) -> Any:
        """What a reduction of nothing is."""
        if self.opcode in ("sum", "prod", "any", "all"):
            return self.dtype.type(self.opcode in ("prod", "all"))
        greatest = self.opcode == "min"
        if self.dtype.kind == "b":
            return np.bool_(greatest)
        if self.dtype.kind == "f":
            return self.dtype.type(np.inf if greatest else -np.inf)
        return self.dtype.type(getattr(np.iinfo(self.dtype), "max" if greatest else "min"))


def is_reduction(instruction: Instruction) -> bool:
    """Return whether it combines elements; over axes of one element it only reshapes."""
    return OPCODES[instruction.opcode].kind == "reduce" and any(
        instruction.operands[0].shape[a] != 1 for a in instruction.attributes["axes"]
    )


def reduced_axes(reduction: Instruction) -> frozenset[int]:
    """Return the numbers, among the axes that are not of size 1, of those it reduces."""
    shape = reduction.operands[0].shape
    numbers = [a for a, n in enumerate(shape) if n != 1]
    return frozenset(i for i, a in enumerate(numbers) if a in reduction.attributes["axes"])


def uniform(constant: Instruction) -> bool:
    """Return whether all elements of a constant are one number, which then stands in the code."""
    elements = constant.attributes["value"].reshape(-1)
    return bool(elements.size) and not (elements.view(f"V{elements.itemsize}") != elements[:1].view(
        f"V{elements.itemsize}")).any()  # fmt: skip


_EXPENSIVE = frozenset(
    "exp expm1 log log1p sin cos tan arcsin arccos arctan sinh cosh arcsinh arccosh arctanh tanh "
    "sigmoid erf arctan2 power remainder floor_divide random_bits".split()
)
COSTLY = 16
"""From this cost on a value is rather stored than computed again."""


def own_cost(instruction: Instruction) -> int:
    """Return roughly how many additions one element costs."""
    if instruction.opcode in _EXPENSIVE:
        return COSTLY
    return {"divide": 4, "sqrt": 4}.get(instruction.opcode, 1)


class Levels:
    """How often a kernel has to go over its space: on how many reductions each value rests.

    Attributes
    ----------
    of : dict of Value to int
        0 for what needs no reduction of this kernel, 1 for what needs their results, ...
    top : int
        The last at which something is computed over the whole space.
    again : list of Value
        Costly values over the whole space that more than one round needs, and that no output
        holds: to be kept.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.of: dict[Value, int] = {}
        self._full = squeeze(kernel.space)
        cost: dict[Value, int] = {}
        makers: dict[Value, Instruction] = {}
        rounds: dict[int, list[Value]] = {}
        for each in kernel.instructions:
            y, reduces = each.result, is_reduction(each)
            before = max((self.of.get(x, 0) for x in each.operands), default=0)
            self.of[y] = before + reduces
            makers[y] = each
            if reduces:
                rounds.setdefault(before, []).append(each.operands[0])
            elif self.full(y):
                cost[y] = own_cost(each) + sum(cost.get(x, 0) for x in set(each.operands))
        for y in kernel.outputs:
            if self.full(y):
                rounds.setdefault(self.of[y], []).append(y)
        self.top = max(rounds, default=0)
        self.again: list[Value] = []
        stored: set[Value] = set()
        first: dict[Value, int] = {}
        for number, stack in sorted(rounds.items()):
            outputs = {y for y in stack if y in kernel.outputs}
            while stack:
                y = stack.pop()
                if y not in cost or y in stored or first.get(y) == number:
                    continue
                if first.setdefault(y, number) < number and cost[y] >= COSTLY:
                    self.again.append(y)
                    stored.add(y)
                elif OPCODES[makers[y].opcode].kind == "elementwise":
                    stack.extend(makers[y].operands)
            stored |= outputs

    def full(self, x: Value) -> bool:
        """Return whether a value runs over the whole space."""
        return squeeze(x.shape) == self._full


# --- the language that is written -----------------------------------------------------------


class Emitter(Protocol[T]):
    """A language; ``T`` is what an expression is in it."""

    def load(self, value: Value, at: Index) -> T:
        """Read one element."""

    def store(self, value: Value, at: Index, x: T) -> None:
        """Write one element."""

    def constant(self, number: Any, dtype: Dtype) -> T:
        """Write a number."""

    def position(self, at: Index, dtype: Dtype) -> T:
        """Make a number of an index."""

    def op(self, opcode: str, operands: Sequence[T], given: Dtype, result: Dtype) -> T:
        """Apply an elementwise opcode to operands of the dtype ``given``."""

    def let(self, x: T, dtype: Dtype) -> T:
        """Name an expression that is used more than once."""

    def guarded(
        self, conditions: Sequence[Condition], then: Callable[[], T],
        otherwise: Callable[[], T], dtype: Dtype,
    ) -> T:  # fmt: skip
        """Evaluate ``then`` where all conditions hold, else ``otherwise``."""

    def parallel(self, axes: Sequence[Axis]) -> AbstractContextManager[None]:
        """Open loops over elements that do not depend on each other."""

    def loops(self, axes: Sequence[Axis]) -> AbstractContextManager[None]:
        """Open loops inside a row."""

    def reduce(
        self, reductions: Sequence[Reduction], axes: Sequence[Axis], tile: Axis | None,
        body: Callable[[], Sequence[T]], then: Callable[[Sequence[T]], None],
    ) -> None:  # fmt: skip
        """Combine what ``body`` returns over ``axes``, and give it to ``then``.

        With ``tile`` do so for every element of that axis too, which runs innermost.
        """

    def scratch(self, value: Value, size: int) -> None:
        """Declare a row of memory that later loads and stores of ``value`` mean."""


class Recorder:
    """The emitter that writes nothing, and notes which elements are touched."""

    def __init__(self) -> None:
        self.loads: list[tuple[Value, Index]] = []
        self.indices: list[Index] = []

    def _note(self, at: Index) -> None:
        self.indices.append(at)
        for atom, _ in at.terms:
            if isinstance(atom, Part):
                self._note(atom.position)

    def load(self, value: Value, at: Index) -> None:
        self.loads.append((value, at))
        self._note(at)

    def store(self, value: Value, at: Index, x: None) -> None:
        self._note(at)

    def constant(self, number: Any, dtype: Dtype) -> None: ...
    def op(self, opcode: str, operands: Any, given: Dtype, result: Dtype) -> None: ...
    def let(self, x: None, dtype: Dtype) -> None: ...
    def scratch(self, value: Value, size: int) -> None: ...

    def position(self, at: Index, dtype: Dtype) -> None:
        self._note(at)

    def guarded(self, conditions: Any, then: Any, otherwise: Any, dtype: Dtype) -> None:
        for at, _, _ in conditions:
            self._note(at)
        then(), otherwise()

    def parallel(self, axes: Sequence[Axis]) -> AbstractContextManager[None]:
        return nullcontext()

    loops = parallel

    def reduce(self, reductions: Any, axes: Any, tile: Any, body: Any, then: Any) -> None:
        body()
        then([None] * len(reductions))


# --- the recursion -------------------------------------------------------------------------


class Walk(Generic[T]):
    """Writes one kernel in one language.

    Parameters
    ----------
    kernel : Kernel
        Of kind ``"loop"`` or ``"reduce"``.
    emitter : Emitter
    merged : dict of Axis to Axis or None
        What becomes of the loops: another one, or nothing where it is part of the next.
    """

    def __init__(
        self, kernel: Kernel, emitter: Emitter[T], merged: dict[Axis, Axis | None] | None = None
    ) -> None:
        self.kernel, self.emitter, self.merged = kernel, emitter, merged or {}
        self.makers = {each.result: each for each in kernel.instructions}
        self.axes = axes_of(kernel.space)
        self.reductions = [each for each in kernel.instructions if is_reduction(each)]
        reduced = reduced_axes(self.reductions[0]) if self.reductions else frozenset()
        self.inner = [a for a in self.axes if a.number in reduced]
        self.outer = [a for a in self.axes if a.number not in reduced]
        self.memo: ChainMap[tuple[Value, Indices], T] = ChainMap()
        self.stored: dict[Value, Index] = {}
        self.uses: dict[Value, int] = {}
        for x in (*kernel.outputs, *(x for each in kernel.instructions for x in each.operands)):
            self.uses[x] = self.uses.get(x, 0) + 1

    @property
    def parallel(self) -> list[Axis]:
        """The loops over elements, rows, or rows of columns; in column mode without the columns."""
        loops = self._loops(self.outer if self.kernel.kind != "loop" else self.merged or self.outer)
        return loops if self.kernel.kind == "loop" or self.rows else loops[:-1]

    @property
    def rows(self) -> bool:
        """Whether the last axis is one of those that are reduced."""
        return bool(self.inner) and self.inner[-1] == self.axes[-1]

    def run(self) -> None:
        """Write the kernel."""
        if 0 in self.kernel.space:
            self._empty()
        elif self.kernel.kind == "loop":
            with self.emitter.parallel(self.parallel):
                self._write(self.kernel.outputs, self.axes)
        elif self.rows:
            self._rows()
        else:
            self._columns()

    def _empty(self) -> None:
        if self.kernel.kind == "loop" or any(a.size == 0 for a in self.outer):
            return
        with self.emitter.parallel(self._loops(self.outer)):
            self._results([self.emitter.constant(r.identity, r.dtype)
                           for r in map(_reduction, self.reductions)], self.reductions)  # fmt: skip
            self._write([y for y in self.kernel.outputs if y.size], self.outer)

    def _rows(self) -> None:
        """Go over each row as often as its reductions need, while it is in the cache."""
        levels, e = Levels(self.kernel), self.emitter
        for x in levels.again:
            e.scratch(x, prod(a.size for a in self.inner))
        with e.parallel(self.parallel):
            for level in range(levels.top + 1):
                for x, at in levels.of.items():
                    if at == level > 0 and squeeze(x.shape) == tuple(a.size for a in self.outer):
                        at_row = spread(x.shape, self.outer)  # Once a row, not in the loop.
                        self.memo[x, at_row] = e.let(self.value(x, at_row), x.dtype)
                here = [r for r in self.reductions if levels.of.get(r.operands[0], 0) == level]
                stores = [y for y in (*self.kernel.outputs, *levels.again)
                          if levels.full(y) and levels.of[y] == level]  # fmt: skip
                body = self._body(here, stores)
                if here:
                    then = partial(self._results, reductions=here)
                    e.reduce(list(map(_reduction, here)), self._loops(self.inner), None, body, then)
                elif stores:
                    with e.loops(self._loops(self.inner)):
                        body()
                for y in stores:
                    self.stored[y] = self._place(y)
            self._write([y for y in self.kernel.outputs if not levels.full(y)], self.outer)

    def _columns(self) -> None:
        """Go over all rows once, adding each to a row of results."""
        levels = Levels(self.kernel)
        outputs = [y for y in self.kernel.outputs if not levels.full(y)]
        body = self._body(self.reductions, [y for y in self.kernel.outputs if levels.full(y)])
        tile = self._loops(self.outer)[-1]

        def then(results: Sequence[T]) -> None:
            with self._scope():
                self._results(results, self.reductions)
                self._write(outputs, self.outer)

        with self.emitter.parallel(self.parallel):
            self.emitter.reduce([_reduction(r) for r in self.reductions],
                                self._loops(self.inner), tile, body, then)  # fmt: skip

    def _body(
        self, reductions: Sequence[Instruction], stores: Sequence[Value]
    ) -> Callable[[], Sequence[T]]:
        def body() -> Sequence[T]:
            with self._scope():
                operands = [r.operands[0] for r in reductions]
                made = [self.value(x, spread(x.shape, self.axes)) for x in operands]
                self._write(stores, self.axes)  # Last, as it may replace what the others read.
                return made

        return body

    def _results(self, results: Sequence[T], reductions: Sequence[Instruction]) -> None:
        for x, each in zip(results, reductions, strict=True):
            y = each.result
            self.memo[y, spread(y.shape, self.outer)] = x

    def _write(self, outputs: Sequence[Value], axes: Sequence[Axis]) -> None:
        # All are computed before any is stored: an output may take the memory of an input.
        indices = [spread(y.shape, axes) for y in outputs]
        values = [self.value(y, i) for y, i in zip(outputs, indices, strict=True)]
        for y, x in zip(outputs, values, strict=True):
            self.emitter.store(y, self._place(y, axes), x)

    def _place(self, y: Value, axes: Sequence[Axis] | None = None) -> Index:
        if y not in self.kernel.outputs:  # Scratch holds one row.
            shape = tuple(a.size for a in self.inner)
            return flat(spread(shape, self.inner), shape).replace(self.merged)
        return flat(spread(y.shape, axes or self.axes), y.shape).replace(self.merged)

    def _loops(self, axes: Iterable[Axis]) -> list[Axis]:
        loops = [self.merged.get(a, a) for a in axes]
        return [a for a in loops if a is not None]

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """Forget, after a loop or a branch, what was computed inside."""
        self.memo = self.memo.new_child()
        try:
            yield
        finally:
            self.memo = self.memo.parents

    def value(self, x: Value, index: Indices) -> T:
        """Return one element of ``x``, writing the code that it needs."""
        if isinstance(index, Index):
            parts = split(index, x.shape)
            index = parts if all(i.simple for i in parts) else index
        key = (x, index)
        if key in self.memo:
            return self.memo[key]
        e, each = self.emitter, self.makers.get(x)
        if each is None:
            result = e.load(x, flat(index, x.shape).replace(self.merged))
        elif x in self.stored and index == spread(x.shape, self.axes):
            result = e.load(x, self.stored[x])
        elif OPCODES[each.opcode].kind == "elementwise":
            operands = [self.value(y, index) for y in each.operands]
            given = each.operands[-1].dtype
            result = e.op(each.opcode, operands, given, x.dtype)
        else:
            result = _MAPS.get(each.opcode, _reshape)(self, each, index)
        if self.uses.get(x, 0) > 1:
            result = e.let(result, x.dtype)
        self.memo[key] = result
        return result

    def guarded(
        self, conditions: Sequence[Condition], then: Callable[[], T],
        otherwise: Callable[[], T], dtype: Dtype,
    ) -> T:  # fmt: skip
        """Choose by conditions, of which those that always hold are not written."""
        open_ = []
        for at, low, high in conditions:
            least, greatest = at.bounds()
            if greatest < low or least >= high:
                return otherwise()
            if least < low or greatest >= high:
                open_.append((at.replace(self.merged), low, high))
        if not open_:
            return then()

        def scoped(make: Callable[[], T]) -> Callable[[], T]:
            def run() -> T:
                with self._scope():
                    return make()

            return run

        return self.emitter.guarded(open_, scoped(then), scoped(otherwise), dtype)


def _reduction(each: Instruction) -> Reduction:
    return Reduction(each.opcode, each.result.dtype)


def merged_loops(kernel: Kernel) -> dict[Axis, Axis | None]:
    """Return what becomes of a kernel's loops: contiguous axes are merged into one.

    Loops over independent elements come in an order of their own, the one of the shortest steps
    through memory innermost (Carr, McKinley and Tseng, *Compiler optimizations for improving
    data locality*, ASPLOS 1994).
    """
    recorder = Recorder()
    walk = Walk(kernel, recorder)
    walk.run()
    made = {**merge(walk.inner, recorder.indices), **merge(walk.outer, recorder.indices)}
    if kernel.kind == "loop":
        steps = {a: sum(abs(dict(i.terms).get(a, 0)) for i in recorder.indices) for a in made}
        made = {a: made[a] for a in sorted(made, key=lambda a: -steps[a])}
    return made


def write(kernel: Kernel, emitter: Emitter[Any]) -> None:
    """Write a kernel of kind ``"loop"`` or ``"reduce"``."""
    Walk(kernel, emitter, merged_loops(kernel)).run()


def parallel_loops(kernel: Kernel) -> list[Axis]:
    """Return the loops, outermost first, whose turns do not depend on each other."""
    return Walk(kernel, Recorder(), merged_loops(kernel)).parallel


def operand_steps(kernel: Kernel) -> tuple[Value, tuple[int, ...]]:
    """Return what the last instruction of a kernel reads through maps, and in which steps.

    Returns
    -------
    value : Value
        What lies in memory.
    steps : tuple of int
        From one element to the next along each axis of the first operand.
    """
    (x, *_), recorder = kernel.instructions[-1].operands, Recorder()
    index = spread(x.shape, axes_of(x.shape))
    Walk(kernel, recorder).value(x, index)
    ((value, at),) = recorder.loads
    steps = dict(at.terms)
    return value, tuple(steps.get(i.terms[0][0], 0) if i.terms else 0 for i in index)


# --- maps: which element of which operand is the element at an index --------------------------


def _along(index: Indices, each: Instruction) -> tuple[Index, ...]:
    shape = each.result.shape
    return split(index, shape) if isinstance(index, Index) else index


def _broadcast(walk: Walk[T], each: Instruction, index: Indices) -> T:
    (x,), i = each.operands, _along(index, each)
    axes = each.attributes["axes"]
    return walk.value(x, tuple(Index() if n == 1 else i[a]
                               for n, a in zip(x.shape, axes, strict=True)))  # fmt: skip


def _reshape(walk: Walk[T], each: Instruction, index: Indices) -> T:
    return walk.value(each.operands[0], flat(index, each.result.shape))


def _transpose(walk: Walk[T], each: Instruction, index: Indices) -> T:
    i, axes = _along(index, each), each.attributes["axes"]
    return walk.value(each.operands[0], tuple(i[axes.index(a)] for a in range(len(axes))))


def _slice(walk: Walk[T], each: Instruction, index: Indices) -> T:
    start, step = each.attributes["start"], each.attributes["step"]
    return walk.value(each.operands[0], tuple(
        i * s + a for i, a, s in zip(_along(index, each), start, step, strict=True)))  # fmt: skip


def _pad(walk: Walk[T], each: Instruction, index: Indices) -> T:
    (x,), attributes = each.operands, each.attributes
    conditions: list[Condition] = []
    inside: list[Index] = []
    for i, n, low, interior in zip(_along(index, each), x.shape, attributes["low"],
                                   attributes["interior"], strict=True):  # fmt: skip
        at, step = i + -low, interior + 1
        conditions += [(at, 0, (n - 1) * step + 1), (at.part(step, True), 0, 1)]
        inside.append(at.part(step, False))
    return walk.guarded(conditions, lambda: walk.value(x, tuple(inside)),
                        lambda: walk.emitter.constant(attributes["fill"], x.dtype), x.dtype)  # fmt: skip


def _windows(walk: Walk[T], each: Instruction, index: Indices) -> T:
    (x,), attributes = each.operands, each.attributes
    *lead, oh, ow, kh, kw = _along(index, each)
    rows, columns = (o * s + k + -p for o, k, s, p in zip(
        (oh, ow), (kh, kw), attributes["stride"], attributes["padding"], strict=True))  # fmt: skip
    return walk.guarded([(rows, 0, x.shape[2]), (columns, 0, x.shape[3])],
                        lambda: walk.value(x, (*lead, rows, columns)),
                        lambda: walk.emitter.constant(attributes["fill"], x.dtype), x.dtype)  # fmt: skip


def _concatenate(walk: Walk[T], each: Instruction, index: Indices) -> T:
    i, axis = _along(index, each), each.attributes["axis"]

    def part(number: int, start: int) -> T:
        x = each.operands[number]
        stop = start + x.shape[axis]

        def here() -> T:
            return walk.value(x, (*i[:axis], i[axis] + -start, *i[axis + 1 :]))

        if number == len(each.operands) - 1:
            return here()
        return walk.guarded([(i[axis], start, stop)], here, lambda: part(number + 1, stop), x.dtype)

    return part(0, 0)


def _iota(walk: Walk[T], each: Instruction, index: Indices) -> T:
    at = _along(index, each)[each.attributes["axis"]]
    return walk.emitter.position(at.replace(walk.merged), each.result.dtype)


def _constant(walk: Walk[T], each: Instruction, index: Indices) -> T:
    return walk.emitter.constant(each.attributes["value"].reshape(-1)[0], each.result.dtype)


_MAPS: dict[str, Callable[..., Any]] = {
    "broadcast": _broadcast, "reshape": _reshape, "transpose": _transpose, "slice": _slice,
    "pad": _pad, "windows": _windows, "concatenate": _concatenate, "iota": _iota,
    "constant": _constant,
}  # fmt: skip
