"""Loops over large arrays, divided over threads.

A kernel whose outermost loop is to be divided takes that loop's bounds as its last two
arguments.  :func:`divide` wraps it in a function without them, which calls back into Python:
there a pool that is kept has each part run by a thread, as native code that holds no lock of
the interpreter.  The callback and the pool take some tens of microseconds, so it is for large
arrays only.  Products of matrices are divided by the BLAS itself.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import llvmlite.binding as llvm
from llvmlite import ir

from workbench.compiler.llvm.dot import I32, I64, POINTER, at, declare

LARGE = 2**20
"""Elements from which a loop is worth dividing, as measured with two threads."""

_PART = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_LOOP = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class Pool:
    """Some threads, and the address at which native code asks them to run a loop.

    Parameters
    ----------
    threads : int
        How many parts a loop is divided into; the caller's own thread runs one of them.

    Attributes
    ----------
    symbol : str
        Name by which generated code calls ``i32 (function, arguments, count)``.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.symbol = f"parallel_for.{threads}"
        self._executor: ThreadPoolExecutor | None = None
        self._callback = _LOOP(self.run)
        llvm.add_symbol(self.symbol, ctypes.cast(self._callback, ctypes.c_void_p).value or 0)
        if hasattr(os, "register_at_fork"):  # A forked process has the pool, but not its threads.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._executor = None

    def bounds(self, count: int) -> list[tuple[int, int]]:
        """Return the parts of ``range(count)``, none empty, in whole cache lines if they are long."""
        unit = 64 if count >= 64 * 16 * self.threads else 1
        at = [count * t // self.threads // unit * unit for t in range(self.threads)] + [count]
        return [(start, stop) for start, stop in pairwise(at) if start < stop]

    def run(self, function: int, arguments: int, count: int) -> int:
        """Run ``function(arguments, start, stop)`` for all parts; return the largest result."""
        part, (first, *rest) = _PART(function), self.bounds(count)
        if rest and self._executor is None:
            self._executor = ThreadPoolExecutor(self.threads - 1, "workbench")
        others = [self._executor.submit(part, arguments, *each) for each in rest if self._executor]
        return max(part(arguments, *first), *(each.result() for each in others), 0)


@cache
def pool(threads: int) -> Pool:
    """Return the pool of so many threads, which lives as long as the process."""
    return Pool(threads)


def divide(module: ir.Module, function: ir.Function, count: int, threads: int) -> ir.Function:
    """Wrap ``i32 function(pointers..., start, stop)`` in a function that divides its loop.

    Parameters
    ----------
    module : ir.Module
    function : ir.Function
        Its last two arguments bound its outermost loop.
    count : int
        How often that loop runs in all, at least once.
    threads : int

    Returns
    -------
    ir.Function
        ``i32 (pointers...)``.
    """
    kinds = [argument.type for argument in function.args[:-2]]
    signature = ir.FunctionType(I32, [POINTER, I64, I64])
    part = ir.Function(module, signature, f"{function.name}.part")
    b = ir.IRBuilder(part.append_basic_block("entry"))
    packed, start, stop = part.args
    pointers = [b.load(at(b, packed, POINTER, I64(i)), typ=POINTER) for i in range(len(kinds))]
    b.ret(b.call(function, [*pointers, start, stop]))

    whole = ir.Function(module, ir.FunctionType(I32, kinds), f"{function.name}.divided")
    b = ir.IRBuilder(whole.append_basic_block("entry"))
    room = b.alloca(ir.ArrayType(POINTER, len(kinds)))
    room.type = POINTER
    for i, argument in enumerate(whole.args):
        b.store(argument, at(b, room, POINTER, I64(i)))
    run = declare(module, pool(threads).symbol, I32, [POINTER, POINTER, I64])
    b.ret(b.call(run, [part, room, I64(count)]))
    return whole
