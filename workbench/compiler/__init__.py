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

from functools import cache
from importlib.util import find_spec
from typing import Any

from workbench.compiler.builder import Builder
from workbench.compiler.opcodes import HOST, OPCODES, Opcode
from workbench.compiler.program import Instruction, Program, Type, Value
from workbench.compiler.reference import ReferenceExecutable
from workbench.errors import require, unknown_name

__all__ = [
    "HOST", "OPCODES", "TARGETS", "Builder", "Instruction", "Opcode", "Program", "Type", "Value",
    "best_target", "compile",
]  # fmt: skip

TARGETS = ("numpy", "llvm", "cuda")


@cache
def best_target() -> str:
    """Return ``"llvm"`` where llvmlite is installed, else ``"numpy"``."""
    return "llvm" if find_spec("llvmlite") else "numpy"


def compile(program: Program, target: str | None = None, threads: int = 1) -> Any:
    """Make a program into something that can be called on arrays.

    Parameters
    ----------
    program : Program
    target : {"numpy", "llvm", "cuda"}, optional
        :func:`best_target` where None.
    threads : int
        Over how many threads loops over large arrays are divided ("llvm").

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
    MissingDependencyError, DeviceError
        If what the target needs is not here.
    """
    target = best_target() if target is None else target
    if target not in TARGETS:
        raise unknown_name("compile", "target", target, TARGETS)
    program.verify()
    if target == "numpy":
        return ReferenceExecutable(program)
    if target == "cuda":
        from workbench.compiler.cuda import CudaExecutable

        return CudaExecutable(program)
    require("llvmlite", room='target "llvm"', extra="lab")
    from workbench.compiler.llvm.driver import Executable

    return Executable(program, threads=threads)
