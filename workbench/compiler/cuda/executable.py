"""Running a planned program on the GPU.

The first call starts kernel after kernel.  The second records all of them in a CUDA graph,
which later calls start as a whole: on small models, starting kernels one by one takes longer
than running them.  A graph is tied to addresses.  Inputs that were the same arrays in both
calls (weights, a data set) are recorded where they lie; others (a batch) are copied to a place
of their own before each start.  Where the host must take part, in control flow and in calls of
NumPy, there is no graph, and :attr:`CudaExecutable.graph_problem` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import RLock
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.compiler.clike import text
from workbench.compiler.cuda.source import cuda_source, program_text
from workbench.compiler.fuse import fuse
from workbench.compiler.kernels import Kernel
from workbench.compiler.memory import Buffer, can_fail, plan
from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Program, Type, Value, subprograms
from workbench.compiler.simplify import simplify
from workbench.errors import ShapeError, WorkbenchError

RECORDINGS = 8
"""How often a program is recorded anew, because arrays moved, before that is given up."""


class Device(Protocol):
    """What an executable asks of a GPU; :class:`workbench.arrays.Gpu` is one."""

    def put(self, array: npt.ArrayLike) -> Array:
        """Return a copy of a host array on the device."""

    def holds(self, array: Array) -> bool:
        """Return whether an array is on the device."""

    def module(self, source: str) -> Callable[[str], Callable[..., None]]:
        """Compile CUDA C++; return what finds ``start(grid, block, arguments)`` by name."""

    def gemm(self, a: Array, b: Array, out: Array, trans_a: bool, trans_b: bool,
             alpha: float, beta: float) -> None:  # fmt: skip
        """Set ``out`` to ``alpha * a b + beta * out``, batch axes first."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what repeats all that ``work`` starts, at once."""

    def wait(self) -> None:
        """Return when all that was started is done."""


class _Graph(NamedTuple):
    """A recording: what starts each section, its inputs, and which are the caller's own arrays."""

    starts: list[Callable[[], None]]
    bound: list[Array]
    kept: list[bool]


class CudaExecutable:
    """A program that the GPU runs.

    Parameters
    ----------
    program : Program
    device : Device, optional
        The GPU where None.

    Attributes
    ----------
    kernels : tuple of Kernel
    plan : Plan
    source : dict
        ``"program"``, ``"kernels"`` (as C, by name) and ``"cuda"``.
    seconds : dict of str to float
        What each stage took.
    graph_problem : str or None
        Why there is no CUDA graph, once that is known.

    Raises
    ------
    DeviceError
        Where there is no GPU.
    """

    def __init__(self, program: Program, device: Device | None = None) -> None:
        self.device = arrays.Gpu() if device is None else device
        self.seconds: dict[str, float] = {}
        self.program = self._timed("simplify", lambda: simplify(program))
        fused = self._timed("fuse", lambda: fuse(self.program))
        self.plan = self._timed("plan", lambda: plan(fused))
        self.kernels = self.plan.kernels
        shared = {k: set[Value]() for k in self.kernels}
        for kernel, old, new in self.plan.in_place:
            shared[kernel] |= {old, new}
        sources = self._timed("generate", lambda: [
            cuda_source(k, n, frozenset(shared[k])) for n, k in enumerate(self.kernels, 1)
        ])  # fmt: skip
        self.steps = {k: each.steps for k, each in zip(self.kernels, sources, strict=True)}
        cuda = program_text(sources)
        self.source = {"program": str(self.program), "cuda": cuda,
                       "kernels": {k.name: text(k) for k in self.kernels}}  # fmt: skip
        if any(self.steps.values()):
            self.find = self._timed("compile", lambda: self.device.module(cuda))
        self._parts = {id(part): CudaExecutable(part, self.device) for k in self.kernels
                       for each in k.instructions for part in subprograms(each)}  # fmt: skip
        self._in_place = {(k, new) for k, _, new in self.plan.in_place}
        self._allocate()
        # Between what can fail and what writes into inputs, someone has to look.
        failing = [n for n, k in enumerate(self.kernels, 1) if can_fail(k)]
        split = failing[-1] if failing else 0
        self._sections = [self.kernels[:split]] * bool(failing) + [self.kernels[split:]]
        on_host = [k.name for k in self.kernels if self._on_host(k)]
        self.graph_problem = f"the host takes part in {', '.join(on_host)}" if on_host else None
        self._lock = RLock()
        self._seen: list[Array] = []  # The inputs of the last call.
        self._called = False
        self._graph: _Graph | None = None
        self._recordings = 0

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - start
        return result

    @staticmethod
    def _on_host(kernel: Kernel) -> bool:
        whole = kernel.kind == "dot" and kernel.outputs[0].dtype.kind != "f"
        return whole or kernel.kind == "control" or kernel.instructions[-1].opcode == "call"

    def _allocate(self) -> None:
        put, program = self.device.put, self.program
        self.arena = put(np.zeros(max(1, self.plan.arena_bytes), np.uint8))
        self.constants = [put(each) for each in self.plan.constants]
        self.failed = put(np.zeros(1, np.int32))
        kept = [x for i, x in enumerate(program.outputs) if i not in program.donate]
        self._fixed = {x: self._view(self.plan.buffers[x], x.type) for x in self.plan.buffers
                       if self.plan.buffers[x].where in ("arena", "constant")}  # fmt: skip
        self._outputs = {self.plan.buffers[x].index: self._empty(x.type) for x in kept}

    def _empty(self, kind: Type) -> Array:
        return self.device.put(np.zeros(kind.shape, kind.dtype))

    def _view(self, buffer: Buffer, kind: Type) -> Array:
        if buffer.where == "arena":
            part = self.arena[buffer.index : buffer.index + kind.nbytes]
            return part.view(kind.dtype).reshape(kind.shape)
        return self.constants[buffer.index].reshape(kind.shape)

    # --- a call --------------------------------------------------------------------------

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run the program.

        Parameters
        ----------
        *inputs : array
            On the device, or on the host to be copied there.

        Returns
        -------
        tuple of array
            On the device; a donated output is the very array that was given for it.

        Raises
        ------
        ShapeError
            If an input is not of the program's type; or naming the kernel, and what wrote
            it, if an index is outside or NumPy refuses.  Donated inputs are then untouched.
        """
        self._check_inputs(inputs)
        with self._lock:
            results = self._call(inputs)
            self._seen = list(inputs)
            return results

    def _check_inputs(self, inputs: Sequence[Array]) -> None:
        expected = [x.type for x in self.program.inputs]
        given = [Type(x.dtype, tuple(x.shape)) for x in inputs]
        if given != expected:
            raise ShapeError(self.program.name, "the inputs are not of the program's types",
                             given=", ".join(map(str, given)),
                             expected=", ".join(map(str, expected)))  # fmt: skip

    def _call(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        graph = self._graph_for(inputs)
        self._called = True
        if graph is None:
            bound = [self._own(x) for x in inputs]
            self._run([partial(self._section, s, bound) for s in self._sections])
            return self._results(inputs, bound)
        for x, place, keep in zip(inputs, graph.bound, graph.kept, strict=True):
            if not keep:
                place[...] = x if self.device.holds(x) else self.device.put(x)
        self._run(graph.starts)
        return self._results(inputs, graph.bound)

    def _graph_for(self, inputs: Sequence[Array]) -> _Graph | None:
        """Return a graph that does for these inputs, if need be a new one, or None."""
        steady = [
            any(x is y for y in self._seen[j : j + 1]) and self.device.holds(x)
            and bool(x.flags.c_contiguous) for j, x in enumerate(inputs)
        ]  # fmt: skip
        graph = self._graph
        if graph is not None and not all(
            a is b for a, b, keep in zip(inputs, graph.bound, graph.kept, strict=True) if keep
        ):
            graph = None
        # A weight that is copied to and fro, and seems to stay where it is now, is worth another.
        copied = graph is not None and any(
            steady[j] and not graph.kept[j] for j in self.program.donate.values()
        )
        if self.graph_problem is None and self._called and (graph is None or copied):
            graph = self._record(inputs, steady) or graph
        self._graph = graph
        return graph

    def _own(self, x: Array) -> Array:
        """Return an input as an array on the device whose elements lie in order."""
        if self.device.holds(x):
            return x if x.flags.c_contiguous else x.copy()
        return self.device.put(x)

    def _record(self, inputs: Sequence[Array], steady: Sequence[bool]) -> _Graph | None:
        if self._recordings == RECORDINGS:
            self.graph_problem = f"inputs moved in memory {RECORDINGS} times"
            return None
        self._recordings += 1
        bound = [x if keep else self._empty(Type(x.dtype, tuple(x.shape)))
                 for x, keep in zip(inputs, steady, strict=True)]  # fmt: skip
        try:
            starts = [self.device.record(partial(self._section, s, bound))
                      for s in self._sections]  # fmt: skip
        except (RuntimeError, NotImplementedError) as error:
            self.graph_problem = f"recording failed: {error}"
            return None
        return _Graph(starts, bound, list(steady))

    def _results(self, inputs: Sequence[Array], bound: Sequence[Array]) -> tuple[Array, ...]:
        results = []
        for i in range(len(self.program.outputs)):
            j = self.program.donate.get(i)
            if j is None:
                results.append(self._outputs[i].copy())
                continue
            if bound[j] is not inputs[j]:
                on_host = not self.device.holds(inputs[j])
                inputs[j][...] = arrays.to_host(bound[j]) if on_host else bound[j]
            results.append(inputs[j])
        return tuple(results)

    # --- kernels -------------------------------------------------------------------------

    def _memory(self, x: Value, bound: Sequence[Array]) -> Array:
        buffer = self.plan.buffers[x]
        if buffer.where == "input":
            return bound[buffer.index].reshape(x.shape)
        if buffer.where == "output":
            return self._outputs[buffer.index].reshape(x.shape)
        return self._fixed[x]

    def _run(self, sections: Sequence[Callable[[], None]]) -> None:
        for number, section in enumerate(sections, 1):
            section()
            if number < len(self._sections):
                self._check_failed()

    def _section(self, kernels: Sequence[Kernel], bound: Sequence[Array]) -> None:
        for work in self._works(kernels, bound):
            work()
        if kernels is self._sections[-1]:
            for x, buffer in self.plan.copies:
                bound[buffer.index][...] = self._memory(x, bound)

    def _works(
        self, kernels: Sequence[Kernel], bound: Sequence[Array]
    ) -> Iterator[Callable[[], None]]:
        """Yield, kernel by kernel, what runs it."""
        for kernel in kernels:
            outputs = [self._memory(x, bound) for x in kernel.outputs]
            inputs = [self._memory(x, bound) for x in kernel.inputs]
            each = kernel.instructions[-1]
            if self.steps[kernel]:
                yield partial(self._start, kernel, (*outputs, *inputs, self.failed))
            elif kernel.kind == "dot":
                operands = [self._memory(x, bound) for x in each.operands]
                yield partial(self._dot, kernel, operands, outputs[0])
            else:
                operands = [self._memory(x, bound) for x in each.operands]
                yield partial(self._host, kernel, each, operands, outputs)

    def _start(self, kernel: Kernel, arguments: Sequence[Array]) -> None:
        for step in self.steps[kernel]:
            self.find(step.name)((*step.grid, 1), (step.block, 1, 1), tuple(arguments))

    def _dot(self, kernel: Kernel, operands: Sequence[Array], y: Array) -> None:
        (a, b, *c), attributes = operands, kernel.instructions[-1].attributes
        if c and (kernel, kernel.outputs[0]) not in self._in_place:
            y[...] = c[0]
        self.device.gemm(a, b, y, attributes["trans_a"], attributes["trans_b"],
                         attributes.get("alpha", 1.0), 1.0 if c else 0.0)  # fmt: skip

    def _host(
        self, kernel: Kernel, each: Instruction, operands: Sequence[Array], outputs: Sequence[Array]
    ) -> None:
        """Run an instruction that the host takes part in."""
        self._check_failed()
        try:
            if each.opcode == "call":
                made = OPCODES["call"].compute(*map(arrays.to_host, operands), **each.attributes)
                results: Sequence[Array] = [self.device.put(made)]
            else:
                results = getattr(self, f"_{each.opcode}")(*operands, **each.attributes)
        except WorkbenchError:
            raise
        except (ValueError, np.linalg.LinAlgError) as error:
            raise self._failure(kernel, str(error)) from error
        for y, x in zip(outputs, results, strict=True):
            y[...] = x

    def _part(self, program: Program) -> CudaExecutable:
        return self._parts[id(program)]

    def _if(self, predicate: Array, *operands: Array, then: Program, orelse: Program) -> Any:
        return self._part(then if bool(predicate) else orelse)(*operands)

    def _while(self, *operands: Array, cond: Program, body: Program, n_carry: int) -> Any:
        carry, constants = operands[:n_carry], operands[n_carry:]
        while bool(self._part(cond)(*carry, *constants)[0]):
            carry = self._part(body)(*carry, *constants)
        return carry

    def _scan(
        self, *operands: Array, body: Program, n_carry: int, n_sequences: int, length: int,
        reverse: bool,
    ) -> Any:  # fmt: skip
        carry, rest = operands[:n_carry], operands[n_carry:]
        sequences, constants = rest[:n_sequences], rest[n_sequences:]
        stacked = [self._empty(Type(y.dtype, (length, *y.shape))) for y in body.outputs[n_carry:]]
        for t in reversed(range(length)) if reverse else range(length):
            made = self._part(body)(*carry, *(s[t] for s in sequences), *constants)
            carry = made[:n_carry]
            for whole, y in zip(stacked, made[n_carry:], strict=True):
                whole[t] = y
        return (*carry, *stacked)

    # --- failures ------------------------------------------------------------------------

    def _check_failed(self) -> None:
        """Raise if a kernel that ran met an index outside; waits for the device."""
        number = int(arrays.to_host(self.failed)[0])
        if number:
            self.failed[...] = 0
            raise self._failure(self.kernels[number - 1], "an index is outside its axis")

    def _failure(self, kernel: Kernel, problem: str) -> ShapeError:
        origin = kernel.instructions[-1].origin
        return ShapeError(f"{self.program.name}, kernel {kernel.name}", problem,
                          given=None if origin is None else str(origin))  # fmt: skip

    def profile(self, *inputs: Array, repetitions: int = 10) -> list[tuple[str, float]]:
        """Return the mean seconds of every kernel, in order, started one by one.

        Donated inputs change, as in a call.
        """
        self._check_inputs(inputs)
        seconds = [0.0] * len(self.kernels)
        with self._lock:
            bound = [self._own(x) for x in inputs]
            for _ in range(repetitions):
                for i, work in enumerate(self._works(self.kernels, bound)):
                    self.device.wait()
                    start = time.perf_counter()
                    work()
                    self.device.wait()
                    seconds[i] += time.perf_counter() - start
        return [(k.name, s / repetitions) for k, s in zip(self.kernels, seconds, strict=True)]
