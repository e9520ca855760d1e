"""Control flow as primitives: functions inside a function, kept as jaxprs.

Python's own ``if`` and ``for`` run while a function is traced.  These run when the
record does, so that a branch may depend on a traced value, and a loop of a thousand
steps is one equation.
"""

from workbench.functional.control.branches import cond, switch
from workbench.functional.control.loops import fori_loop, while_loop
from workbench.functional.control.scanning import scan

__all__ = ["cond", "fori_loop", "scan", "switch", "while_loop"]
