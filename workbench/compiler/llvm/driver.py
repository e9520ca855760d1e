"""From a program to machine code, and calling it.

The pipeline: simplify, fuse, plan memory, write one LLVM module, optimise and link it.  The
module holds a function for each kernel and one, the *step*, that calls them in order.  A call
fills a table of pointers and runs the step; nothing is allocated but the outputs.  Who has
checked the arrays already may *start* the step from a list of them, and machine code fills
the table.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from workbench.compiler import clike
from workbench.compiler.fuse import Fused, Kernel, fuse
from workbench.compiler.llvm.control import Native, Step
from workbench.compiler.memory import ALIGNMENT, Buffer, Plan, plan
from workbench.compiler.program import Program
from workbench.compiler.simplify import simplify
from workbench.errors import DtypeError, OptionError, ShapeError, WorkbenchError

Array = np.ndarray[Any, Any]
SMALL = 4096
"""Bytes up to which an output is copied out of kept memory: faster than asking where a new array lies."""

_OPTIONS = threading.Lock()


def machine() -> llvm.TargetMachine:
    """Return this computer, with all its instructions, as what code is made for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(),
        opt=2, jit=True,
    )  # fmt: skip


def optimise(module: llvm.ModuleRef, target: llvm.TargetMachine) -> None:
    """Run LLVM's passes: those of -O2, which vectorise loops.

    Not those that unroll loops and look for vectors outside of them: they took a third of the
    time and won nothing that could be measured.  Loops are interleaved where they say so.
    """
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    options.loop_interleaving = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(target, options)
    # LLVM 22 vectorises two guarded loads in one loop wrongly once jump threading has put the
    # index of a turn in which only one of them reads in place of the other's.  The option is
    # the process's own, so it gets its default back.
    with _OPTIONS:
        llvm.set_option("workbench", "-jump-threading-threshold=0")
        try:
            builder.getModulePassManager().run(module, builder)
        finally:
            llvm.set_option("workbench", "-jump-threading-threshold=6")


WORD = ctypes.sizeof(ctypes.c_size_t)
HEAD = object.__basicsize__
"""Bytes of what every Python object begins with; an array's pointer to its elements follows."""
ITEMS = HEAD + WORD
"""Where a list has its pointer to its items: after the head and its length."""


def _layout_known() -> bool:
    """Return whether arrays and lists lie in memory as NumPy's and CPython's headers say."""
    if sys.implementation.name != "cpython" or list.__basicsize__ != ITEMS + 2 * WORD:
        return False
    word, x = ctypes.c_size_t.from_address, np.empty(1)
    kept = [x]
    item = word(word(id(kept) + ITEMS).value).value
    return item == id(x) and word(id(x) + HEAD).value == x.ctypes.data


LAYOUT_KNOWN = _layout_known()


def address(x: Array) -> int:
    """Return where the elements of an array lie: the quick way, where that works."""
    if LAYOUT_KNOWN:
        return ctypes.c_size_t.from_address(id(x) + HEAD).value
    return int(x.ctypes.data)


ENTRY = f"""
define i32 @enter(ptr %arrays, ptr %step, ptr %arena, i64 %count) {{
begin:
  %table = alloca ptr, i64 %count
  %where = getelementptr i8, ptr %arrays, i64 {ITEMS}
  %items = load ptr, ptr %where
  %none = icmp eq i64 %count, 0
  br i1 %none, label %run, label %fetch
fetch:
  %i = phi i64 [0, %begin], [%next, %fetch]
  %item = getelementptr ptr, ptr %items, i64 %i
  %array = load ptr, ptr %item
  %place = getelementptr i8, ptr %array, i64 {HEAD}
  %data = load ptr, ptr %place
  %entry = getelementptr ptr, ptr %table, i64 %i
  store ptr %data, ptr %entry
  %next = add i64 %i, 1
  %done = icmp eq i64 %next, %count
  br i1 %done, label %run, label %fetch
run:
  %code = call i32 %step(ptr %table, ptr %arena)
  ret i32 %code
}}
"""
"""Runs any step on a list's ``count`` arrays: what Python would take longest to do."""


@cache
def _entry() -> tuple[Any, llvm.ExecutionEngine]:
    """Return :data:`ENTRY` as a function, made once, and the engine that holds its code."""
    target = machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(ENTRY), target)
    engine.finalize_object()
    kind = ctypes.PYFUNCTYPE(
        ctypes.c_int32, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    )
    return kind(engine.get_function_address("enter")), engine


class Executable:
    """A program as machine code.

    Parameters
    ----------
    program : Program
    threads : int
        Over how many threads loops over large arrays are divided.
    fuse : function from Program to Fused
        Divides the simplified program into kernels.

    Attributes
    ----------
    program, fused, plan
        What the stages made.
    seconds : dict of str to float
        What each stage took.

    Examples
    --------
    >>> from workbench.compiler import Builder, Type
    >>> b = Builder("double")
    >>> x = b.input(Type(np.dtype("f4"), (3,)), "x")
    >>> run = Executable(b.program([b.add(x, x)]))
    >>> run(np.ones(3, "f4"))
    (array([2., 2., 2.], dtype=float32),)
    """

    def __init__(
        self, program: Program, threads: int = 1, fuse: Callable[[Program], Fused] = fuse
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.threads = threads
        self.program: Program = self._timed("simplify", lambda: simplify(program))
        self.fused: Fused = self._timed("fuse", lambda: fuse(self.program))
        self.plan: Plan = self._timed("plan", lambda: plan(self.fused))
        self._native = Native(program.name, threads)
        self._step: Step = self._timed("write", lambda: self._native.step(self.plan, self.program))
        self._target = machine()
        self._text = self._timed("write", lambda: str(self._native.module))
        self._module: llvm.ModuleRef = self._timed("parse", self._parse)
        self._timed("optimise", lambda: optimise(self._module, self._target))
        self._engine: llvm.ExecutionEngine = self._timed("link", self._link)
        self._lock = threading.Lock()
        self._prepare()

    def _timed(self, stage: str, make: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = make()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
        return result

    def _parse(self) -> llvm.ModuleRef:
        module = llvm.parse_assembly(self._text)
        module.triple, module.data_layout = self._target.triple, str(self._target.target_data)
        return module

    def _link(self) -> llvm.ExecutionEngine:
        engine = llvm.create_mcjit_compiler(self._module, self._target)
        engine.finalize_object()
        return engine

    def _prepare(self) -> None:
        """Take the memory that all calls use, and note what each must do."""
        inputs, outputs, donate = self.program.inputs, self.program.outputs, self.program.donate
        self._code = self._engine.get_function_address(self._step.function.name)
        self._call = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(self._code)
        self._enter = _entry()[0]
        self._memory = np.empty(self._step.arena_bytes + ALIGNMENT, np.uint8)
        self._arena = -(-self._memory.ctypes.data // ALIGNMENT) * ALIGNMENT
        self._table = (ctypes.c_size_t * max(1, len(inputs) + len(outputs)))()
        self._where = ctypes.addressof(self._table)
        self._bound: list[Any] = [None] * len(inputs)  # What the table's entries belong to.
        self._given: list[Array] = [np.empty(0)] * len(inputs)
        self._copied: set[int] = set()
        self._nbytes = [x.type.nbytes for x in inputs]
        self._starts: list[int] = []  # Of the donated inputs' memory, in order.
        self._stops: list[int] = []
        self._donated = frozenset(donate.values())
        self._large: list[tuple[int, tuple[int, ...], Any]] = []
        self._small: list[tuple[int, Array]] = []
        self._n_outputs, self._donate = len(outputs), list(donate.items())
        for i, y in enumerate(outputs):
            if i in donate:
                continue
            if y.type.nbytes > SMALL:
                self._large.append((i, y.shape, y.dtype))
            else:
                kept = np.empty(y.shape, y.dtype)
                self._small.append((i, kept))
                self._table[len(inputs) + i] = kept.ctypes.data

    # --- a call ----------------------------------------------------------------------------

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Run the program.

        Parameters
        ----------
        *arrays : ndarray
            Of the types of the program's inputs.

        Returns
        -------
        tuple of ndarray
            A donated output is the very array that was given for it.

        Raises
        ------
        ShapeError, DtypeError, OptionError
            If the arrays are not what the program takes, or an index in them lies outside of
            what it points into.  Donated arrays are then as they were.
        """
        with self._lock:
            bound, fresh = self._bound, []
            if len(arrays) != len(bound):
                raise OptionError(self.program.name, "the number of arrays is wrong",
                                  given=str(len(arrays)), expected=str(len(bound)))  # fmt: skip
            for i, x in enumerate(arrays):
                if x is not bound[i]:
                    self._bind(i, x)
                    fresh.append(i)
            if fresh and self._donate:
                self._separate(fresh)
            results: list[Any] = [None] * self._n_outputs
            for i, shape, dtype in self._large:
                results[i] = y = np.empty(shape, dtype)
                self._table[len(bound) + i] = address(y)
            code = self._call(self._where, self._arena)
            if code:
                self._fail(code)
            for i, kept in self._small:
                results[i] = kept.copy()
            for i, j in self._donate:
                results[i] = arrays[j]
                if j in self._copied:
                    arrays[j][...] = self._given[j]
            return tuple(results)

    @property
    def startable(self) -> bool:
        """Whether :meth:`start` may be used: nothing is donated, objects lie as expected."""
        return LAYOUT_KNOWN and not self._donate

    def start(self, arrays: list[Array]) -> int:
        """Run the program on arrays that the caller vouches for; nothing is checked.

        Parameters
        ----------
        arrays : list of ndarray
            The inputs and then the outputs, to be written: all C-contiguous, aligned and of
            the program's types, the outputs without memory in common with anything.

        Returns
        -------
        int
            0, or another number if the program failed.  A call then says why.
        """
        with self._lock:
            code: int = self._enter(arrays, self._code, self._arena, len(arrays))
        return code

    def _bind(self, i: int, x: Any) -> None:
        """Let the program read (and, if donated, write) an array that it has not seen."""
        wanted = self.program.inputs[i]
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
        self._bound[i] = None
        if array.dtype != wanted.type.dtype or array.shape != wanted.type.shape:
            kind = DtypeError if array.dtype != wanted.dtype else ShapeError
            raise kind(self.program.name, f"input {i} ({wanted.name}) is of another type",
                       given=f"{array.dtype} {array.shape}", expected=str(wanted.type))  # fmt: skip
        flags = array.flags
        if i in self._donated and not flags.writeable:
            raise OptionError(self.program.name, f"input {i} ({wanted.name}) is read-only",
                              expected="an array that the program may replace")  # fmt: skip
        if flags.c_contiguous and flags.aligned:
            self._bound[i] = x
            self._copied.discard(i)
        else:
            array = array.copy()
            self._copied.add(i)
        self._given[i] = array
        self._table[i] = address(array)

    def _separate(self, fresh: list[int]) -> None:
        """Copy what is new and lies in memory that the program replaces.

        Raises
        ------
        OptionError
            If two donated inputs lie there.
        """
        table, donated = self._table, self._donated
        if not donated.isdisjoint(fresh):
            spans = sorted((table[j], table[j] + self._nbytes[j], j) for j in donated)
            self._starts, self._stops = [s[0] for s in spans], [s[1] for s in spans]
            for (_, stop, i), (start, _, j) in pairwise(spans):
                if start < stop:
                    self._bound[i] = None
                    raise OptionError(self.program.name, "two donated inputs share memory",
                                      given=f"inputs {i} and {j}")  # fmt: skip
            fresh = list(range(len(self._bound)))
        for i in fresh:
            if i not in donated:
                before = bisect_left(self._starts, table[i] + self._nbytes[i])
                if before and self._stops[before - 1] > table[i]:
                    self._given[i] = array = self._given[i].copy()
                    self._bound[i], table[i] = None, address(array)

    def _fail(self, code: int) -> None:
        kernel = self.plan.kernels[code - 1]
        origin = next((str(i.origin) for i in kernel.instructions if i.origin is not None), None)
        errors = self._native.errors
        if errors:
            error = errors[0]
            errors.clear()
            if isinstance(error, WorkbenchError):
                raise error
            raise ShapeError(
                self.program.name, str(error), given=kernel.name, fix=origin
            ) from error
        raise ShapeError(self.program.name, "an index is outside of what it points into",
                         given=f"kernel {kernel.name}" + (f", from {origin}" if origin else ""))  # fmt: skip

    # --- what the stages made --------------------------------------------------------------

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels, in the order in which they run."""
        return self.plan.kernels

    @cached_property
    def source(self) -> dict[str, Any]:
        """Texts: ``"program"``, ``"kernels"`` (C by name), ``"llvm"`` (optimised), ``"assembly"``."""
        module, target = self._parse(), machine()  # Again: linking changed the other one.
        optimise(module, target)
        return {
            "program": str(self.program),
            "kernels": {k.name: clike.text(k) for k in self.kernels},
            "llvm": str(module),
            "assembly": target.emit_assembly(module),
        }

    def profile(self, *arrays: Array, repetitions: int = 10) -> list[tuple[str, float]]:
        """Return the name of every kernel, and the seconds that it takes, the median.

        Parameters
        ----------
        *arrays : ndarray
            As in a call; they are copied, so that donated ones do not change.
        repetitions : int
        """
        bases = {"input": 0, "output": len(self.program.inputs)}
        copies = [np.array(x, order="C") for x in arrays]
        self(*copies)  # Leaves their addresses in the table.
        with self._lock:
            kept = [np.empty(shape, dtype) for _, shape, dtype in self._large]
            for y, (i, _, _) in zip(kept, self._large, strict=True):
                self._table[bases["output"] + i] = address(y)

            def place(buffer: Buffer) -> int:
                if buffer.where == "arena":
                    return self._arena + buffer.index
                if buffer.where == "constant":
                    return int(self.plan.constants[buffer.index].ctypes.data)
                return int(self._table[bases[buffer.where] + buffer.index])

            calls = []
            for function, buffers in [*self._native.calls, (self._native.nothing, [])]:
                kind = ctypes.PYFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * len(buffers))
                native = kind(self._engine.get_function_address(function.name))
                calls.append((native, [place(buffer) for buffer in buffers]))
            seconds = np.empty((repetitions, len(calls)))
            for row in seconds:
                for i, (native, places) in enumerate(calls):
                    start = time.perf_counter()
                    native(*places)
                    row[i] = time.perf_counter() - start
        # An empty function takes what a call from here costs.
        *own, empty = np.median(seconds, axis=0).tolist()
        return [(k.name, max(s - empty, 0.0)) for k, s in zip(self.kernels, own, strict=True)]
