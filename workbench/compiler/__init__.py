"""One back end under eras 2 and 4, as XLA is under TensorFlow and JAX.

A :class:`Program` goes through stages, each of which leaves its result to be looked at:
simplified, fused into kernels, planned in memory, and turned into code for a target.

>>> import numpy as np
>>> from workbench import compiler
>>> b = compiler.Builder("gelu")
>>> x = b.input(compiler.Type(np.dtype("f4"), (1000,)), "x")
>>> y = b.multiply(x, b.sigmoid(b.multiply(x, b.constant(1.702, "f4"))))
>>> run = compiler.compile(b.program([y]), target="numpy")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from workbench.compiler.builder import Builder
from workbench.compiler.opcodes import HOST, OPCODES, Opcode
from workbench.compiler.program import Instruction, Program, Type, Value
from workbench.compiler.reference import ReferenceExecutable
from workbench.errors import GraphError, OptionError, require, unknown_name

__all__ = [
    "HOST", "OPCODES", "TARGETS", "Builder", "Instruction", "Opcode", "Program", "Type", "Value",
    "apply_passes", "best_target", "compile",
]  # fmt: skip

TARGETS = ("numpy", "llvm", "cuda")


@cache
def best_target() -> str:
    """Return ``"llvm"`` where llvmlite is installed, else ``"numpy"``."""
    return "llvm" if find_spec("llvmlite") else "numpy"


def apply_passes(program: Program, passes: Sequence[Callable[[Program], Program]]) -> Program:
    """Return a program after passes of one's own, each verified.

    Raises
    ------
    GraphError
        If a pass leaves a program that is not well formed, or has other inputs, outputs or
        donations than the one it was given; names the pass.
    """
    for step in passes:
        name = getattr(step, "__name__", "a pass")
        new = step(program)
        if not isinstance(new, Program):
            raise GraphError(name, "this pass made no program", given=type(new).__name__)
        new.verify()
        before, after = _signature(program), _signature(new)
        if before != after:
            raise GraphError(name, "this pass changed what the program takes or returns",
                             given=after, expected=before)  # fmt: skip
        program = new
    return program


def _signature(program: Program) -> str:
    inputs, outputs = (", ".join(str(x.type) for x in each)
                       for each in (program.inputs, program.outputs))  # fmt: skip
    return f"({inputs}) -> ({outputs}), donating {dict(program.donate)}"


def compile(
    program: Program,
    target: str | None = None,
    threads: int = 1,
    passes: Sequence[Callable[[Program], Program]] = (),
    fuse: Callable[[Program], Any] | None = None,
) -> Any:
    """Make a program into something that can be called on arrays.

    Parameters
    ----------
    program : Program
    target : {"numpy", "llvm", "cuda"}, optional
        :func:`best_target` where None.
    threads : int
        Over how many threads loops over large arrays are divided ("llvm").
    passes : sequence of functions from Program to Program
        Your own, run in order before the stages of the target ("numpy" has none).
    fuse : function from Program to Fused, optional
        Takes the place of the stage that divides the simplified program into kernels
        ("llvm"): see :func:`workbench.compiler.fuse.from_groups`.

    Returns
    -------
    callable
        ``run(*arrays) -> tuple of arrays``.  Outputs that the program donates are left in
        the arrays that were given.  It also holds what the stages made: see
        :class:`~workbench.compiler.llvm.driver.Executable`.

    Raises
    ------
    UnknownNameError
        For another target.
    GraphError
        If a pass breaks the program, or kernels cannot be as ``fuse`` wants them.
    OptionError
        If ``fuse`` is given for a target that does not ask it.
    MissingDependencyError, DeviceError
        If what the target needs is not here.
    """
    target = best_target() if target is None else target
    if target not in TARGETS:
        raise unknown_name("compile", "target", target, TARGETS)
    program.verify()
    program = apply_passes(program, passes)
    if fuse is not None and target != "llvm":
        raise OptionError("compile", f'target "{target}" does not take a fuse of yours',
                          expected='target="llvm"')  # fmt: skip
    if target == "numpy":
        return ReferenceExecutable(program)
    if target == "cuda":
        from workbench.compiler.cuda import CudaExecutable

        return CudaExecutable(program)
    require("llvmlite", room='target "llvm"', extra="lab")
    from workbench.compiler.llvm.driver import Executable

    if fuse is None:
        return Executable(program, threads=threads)
    return Executable(program, threads=threads, fuse=fuse)
