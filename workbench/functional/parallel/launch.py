"""Starting the processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from workbench.errors import MissingDependencyError, OptionError, install_line, require


def run(n: int, script: str | os.PathLike[str], *args: str, timeout: float | None = None) -> int:
    """Run a script in n processes at once; return 0 if all of them ended well.

    The same as ``mpiexec -n 4 python script.py``, except that a process which is killed is
    named by its rank, and that each computes with its share of the cores.

    Parameters
    ----------
    n : int
        Number of processes.
    script : path
    *args : str
        Arguments of the script.
    timeout : float, optional
        Seconds, after which all are ended and :class:`subprocess.TimeoutExpired` is raised.

    Raises
    ------
    MissingDependencyError
        If there is no mpi4py or no mpiexec.
    OptionError
        If n is not positive, or there is no such script.
    """
    where = "functional.parallel.run"
    if n < 1 or not Path(script).is_file():
        raise OptionError(where, "a number of processes and a script are needed",
                          given=f"n={n}, script={os.fspath(script)!r}",
                          expected="n of 1 or more, and the path of a Python file")  # fmt: skip
    require("mpi4py", room=where, extra="parallel")
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if mpiexec is None:
        raise MissingDependencyError(where, "there is no mpiexec", fix=install_line("parallel"))
    share = str(max(1, (os.cpu_count() or 1) // n))
    threads = {"OMP_NUM_THREADS": share, "OPENBLAS_NUM_THREADS": share}
    supervisor = [str(Path(__file__).with_name("supervisor.py"))] if hasattr(os, "fork") else []
    command = [mpiexec, "-n", str(n), sys.executable, *supervisor, os.fspath(script), *args]
    return subprocess.run(command, env={**threads, **os.environ}, timeout=timeout).returncode
