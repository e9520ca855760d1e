"""Where the time of a call goes, as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.compiler.cache import Cache


@dataclass(frozen=True)
class ProfileRow:
    """One op, or one kernel of several.

    Attributes
    ----------
    what : str
        The op, or the kernel and its instructions.
    line : str
        The lines of the user's program that it comes from.
    seconds : float
        Of one call, the median over the repetitions.
    """

    what: str
    line: str
    seconds: float

    @staticmethod
    def of_kernel(executable: Any, name: str, seconds: float) -> ProfileRow:
        """Return the row of a kernel, with the lines that its instructions come from."""
        kernels = {kernel.name: kernel for kernel in getattr(executable, "kernels", ())}
        lines: dict[str, None] = {}
        for each in kernels[name].instructions if name in kernels else ():
            if each.origin is not None:
                trace = each.origin.output.trace
                lines[f"{trace.file.rpartition('/')[2]}:{trace.line}"] = None
        return ProfileRow(name, ", ".join(lines), seconds)


@dataclass(frozen=True)
class Profile:
    """What :meth:`Function.profile` found.

    Attributes
    ----------
    name, mode : str
        Of the function.
    first_call : float
        Seconds of the first call made to profile it; with its compilation, if it had to
        be compiled.
    rows : sequence of ProfileRow
        In the order in which they run.
    cache : Cache
        The compiled programs, with statistics.
    """

    name: str
    mode: str
    first_call: float
    rows: Sequence[ProfileRow]
    cache: Cache[Any]

    @property
    def seconds(self) -> float:
        """Of one call: the sum of the rows."""
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        table = Table("what", "us", "share", "from", title=f"{self.name}, mode {self.mode}")
        for row in sorted(self.rows, key=lambda row: -row.seconds):
            share = row.seconds / self.seconds if self.seconds else 0.0
            table.add_row(row.what, f"{row.seconds * 1e6:.2f}", f"{share:.0%}", row.line)
        table.add_row("all", f"{self.seconds * 1e6:.2f}", "100%", "")
        console = Console(file=io.StringIO(), width=100, color_system=None,
                          force_jupyter=False)  # fmt: skip
        console.print(table)
        console.print(f"first call: {self.first_call:.3g} s; {self.cache.report()}")
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text
