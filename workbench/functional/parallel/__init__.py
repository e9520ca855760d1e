"""One program in several processes: a named axis that counts them.

Every process runs the same script.  :func:`pmap` gives each its part of the arguments, and
inside it ``psum(x, "i")`` adds up what all have.  Started alone, the script does the same
in one process.  ``mpiexec -n 4 python script.py`` starts four, and so does :func:`run`.
Needs the extra ``parallel`` (mpi4py and MPICH).
"""

from workbench.functional.parallel.group import Group, world
from workbench.functional.parallel.launch import run
from workbench.functional.parallel.mapping import pmap

__all__ = ["Group", "pmap", "run", "world"]
