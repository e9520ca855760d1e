"""What this installation can do, what it lacks, and the line that mends it."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from workbench import arrays, datasets
from workbench.compare.machine import version_of
from workbench.errors import install_line

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Check:
    """One line of the report.

    ``needed`` is false for what the workbench can do without; ``fix`` is the one
    command or setting that mends it, where something is missing.
    """

    what: str
    fine: bool
    found: str
    fix: str = ""
    needed: bool = False


PACKAGES = (
    # extra, import name, distribution, what it is for
    ("lab", "matplotlib", "matplotlib", "figures and reports"),
    ("lab", "ipywidgets", "ipywidgets", "interactive views"),
    ("lab", "jupyterlab", "jupyterlab", "make lab"),
    ("course", "nbgrader", "nbgrader", "assignments"),
    ("lab", "llvmlite", "llvmlite", "eras 2 and 4 compile to machine code; else they call NumPy"),
    ("peers", "torch", "torch", "benchmarks against PyTorch"),
    ("peers", "jax", "jax", "benchmarks against JAX"),
    ("peers", "autograd", "autograd", "benchmarks against HIPS autograd"),
    ("peers", "pytensor", "pytensor", "benchmarks against PyTensor"),
)


def checks() -> list[Check]:
    """Return every check, the needed ones first."""
    return [python(), numpy(), *packages(), sandbox(), gpu(), kernel(), *data()]


def python() -> Check:
    """Check the version of the running Python."""
    fine = sys.version_info >= (3, 11)
    return Check("Python", fine, platform.python_version(), "" if fine else
                 "install Python 3.11 or later", needed=True)  # fmt: skip


def numpy() -> Check:
    """Report NumPy and the BLAS under it, which does the large products."""
    import numpy as np
    from threadpoolctl import threadpool_info

    blas = [f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
            for pool in threadpool_info() if pool["user_api"] == "blas"]  # fmt: skip
    return Check("NumPy", True, f"{np.__version__} ({'; '.join(blas) or 'BLAS unknown'})",
                 needed=True)  # fmt: skip


def packages() -> list[Check]:
    """Check the packages of the optional extras."""
    return [
        Check(distribution, fine := find_spec(module) is not None,
              f"{version_of(distribution)} ({purpose})" if fine else f"absent ({purpose})",
              "" if fine else install_line(extra))
        for extra, module, distribution, purpose in PACKAGES
    ]  # fmt: skip


def sandbox() -> Check:
    """Check for bubblewrap, which `workbench grade` runs answers in."""
    found = shutil.which("bwrap")
    if found is not None:
        return Check("bubblewrap", True, "`workbench grade` runs answers in a sandbox")
    fix = "apt install bubblewrap" if sys.platform == "linux" else ""
    return Check("bubblewrap", False, "absent: `workbench grade` has limits, and no sandbox", fix)


def gpu() -> Check:
    """Check for a GPU that CuPy can use, and say what to expect without one."""
    problem = arrays.gpu_problem()
    if problem is None:
        brain = arrays.bfloat16_problem() or "with bfloat16"
        return Check(
            "GPU", True, f'{arrays.gpu_description()}: device="gpu", --device gpu; {brain}'
        )
    # Only an absent CuPy is mended by a command; an absent GPU is not.
    reason, _, rest = problem.partition(": pip ")
    without = (
        "every era, chapter, exercise and test runs on the CPU, with the same numbers up to "
        'rounding; device="gpu" is refused, and mixed precision is slow there'
    )
    return Check("GPU", False, f"{reason}; {without}", f"pip {rest}" if rest else "")


def kernel() -> Check:
    """Check that Jupyter would run notebooks with this very Python."""
    if find_spec("jupyter_client") is None:
        return Check("Jupyter kernel", False, "Jupyter is not installed",
                     install_line("lab"))  # fmt: skip
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Check("Jupyter kernel", False, "no kernel called python3",
                     "python -m ipykernel install --sys-prefix")  # fmt: skip
    command = str(spec.argv[0])
    fine = command in ("python", "python3", sys.executable)
    return Check("Jupyter kernel", fine, f"python3 runs {json.dumps(command)}",
                 "" if fine else "python -m ipykernel install --sys-prefix")  # fmt: skip


def data() -> list[Check]:
    """Check each data set: embedded, cached, or still to be fetched."""
    return [
        Check(f"data: {each.name}", each.problem is None, each.where if each.problem is None else
              each.problem, each.fix or "", needed=each.where == "embedded")
        for each in datasets.describe()
    ]  # fmt: skip


def table(found: list[Check]) -> Table:
    """Return the checks as a table for a terminal."""
    from rich.table import Table

    made = Table(title="workbench doctor", show_lines=False)
    made.add_column("")
    made.add_column("what", style="bold", no_wrap=True)
    made.add_column("found")
    made.add_column("what mends it", overflow="fold")
    for check in found:
        mark = "[green]ok[/]" if check.fine else "[red]no[/]" if check.needed else "[yellow]-[/]"
        made.add_row(mark, check.what, check.found, check.fix.replace("[", r"\["))
    return made
