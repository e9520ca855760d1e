"""Target "numpy": a program run instruction by instruction, with NumPy or CuPy.

It fuses nothing and reuses nothing, so it is right if the table of opcodes is; every
other target is compared to it.  It runs where llvmlite does not, and on the GPU's arrays.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from workbench.arrays import Array
from workbench.compiler.opcodes import OPCODES, run
from workbench.compiler.program import Program
from workbench.errors import ShapeError, WorkbenchError


class ReferenceExecutable:
    """A program that NumPy runs.

    Attributes
    ----------
    program : Program
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run it; a donated output is left in the array that was given for it, and returned.

        Raises
        ------
        WorkbenchError
            If an instruction fails; the inputs are then as they were.
        """
        try:
            made = run(self.program, *inputs)
        except WorkbenchError:
            raise
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ShapeError(self.program.name, str(error)) from error
        results: list[Array] = []
        taken = {id(x) for x in inputs}
        for y in made:
            results.append(self._own(y, taken))
            taken.add(id(results[-1]))
        # By now no output is a view of an input, so these may change.
        for i, j in self.program.donate.items():
            inputs[j][...] = results[i]
            results[i] = inputs[j]
        return tuple(results)

    @staticmethod
    def _own(y: Any, taken: set[int]) -> Array:
        """Return a result as an array that shares no memory, and may be written to."""
        if isinstance(y, np.generic):  # NumPy makes scalars where its own inputs are 0-d.
            return np.array(y)
        fresh = y.flags.owndata and id(y) not in taken
        return y if fresh and getattr(y.flags, "writeable", True) else y.copy()

    def profile(self, *inputs: Array, repetitions: int = 10) -> list[tuple[str, float]]:
        """Return the mean seconds of every instruction, in order."""
        seconds = [0.0] * len(self.program.instructions)
        for _ in range(repetitions):
            values: dict[Any, Any] = dict(zip(self.program.inputs, inputs, strict=True))
            for i, each in enumerate(self.program.instructions):
                operands = [values[x] for x in each.operands]
                start = time.perf_counter()
                made = OPCODES[each.opcode].compute(*operands, **each.attributes)
                seconds[i] += time.perf_counter() - start
                values.update(zip(each.results, made if isinstance(made, tuple) else (made,),
                                  strict=True))  # fmt: skip
        return [(each.opcode, s / repetitions)
                for each, s in zip(self.program.instructions, seconds, strict=True)]  # fmt: skip
