"""A comparison as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workbench.compare.cases import CASES, Case, TextCase

if TYPE_CHECKING:
    from rich.table import Table

    from workbench.compare.runner import Result


def seconds(value: float) -> str:
    """Return a duration with the unit that leaves one to three digits before the point."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def size(value: int) -> str:
    """Return a number of bytes in KiB or MiB."""
    return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value / 2**10:.0f} KiB"


Column = tuple[str, Callable[[dict[str, Any]], str]]
"""A heading, and how a row fills it."""

BITS: Column = ("test bits per\ncharacter", lambda row: f"{row['test_loss'] / math.log(2):.3f}")

COLUMNS: tuple[Column, ...] = (
    ("gradient vs\nnumeric", lambda row: f"{row['gradient_difference_numeric']:.1e}"),
    ("gradient vs\nother eras", lambda row: difference(row["gradient_difference_eras"])),
    ("final\nloss", lambda row: f"{row['final_loss']:.9f}"),
    ("test\naccuracy", lambda row: f"{row['accuracy']:.2%}"),
    ("first\nresult", lambda row: seconds(row["first_result_seconds"])),
    ("median\nstep", lambda row: seconds(row["step_seconds_median"])),
    ("of the\nfastest", lambda row: f"{row['step_ratio']:.2f}x"),
    ("peak\nmemory", lambda row: size(row["peak_bytes"])),
    ("user's\nlines", lambda row: str(row["user_lines"])),
    ("graph\nnodes", lambda row: str(row["graph_size"])),
)


def difference(value: float | None) -> str:
    """Return a difference from the other eras, of which there may be none."""
    return "n/a" if value is None else f"{value:.1e}"


def columns(case: Case) -> tuple[Column, ...]:
    """Return the columns of a case."""
    return (*COLUMNS[:4], BITS, *COLUMNS[4:]) if isinstance(case, TextCase) else COLUMNS


def table(result: Result) -> Table:
    """Return one row an era, one column a measurement."""
    from rich.table import Table

    case = CASES[result.case]
    made = Table(
        title=f"{case.name}: {case.title}",
        caption="\n".join(
            [
                f"{result.steps} steps of {case.batch_size} examples, {result.dtype}, "
                f"{result.device}, 1 thread. Differences are relative to the largest derivative.",
                *result.notes,
            ]
        ),
    )
    made.add_column("era", style="bold", no_wrap=True)
    for heading, _ in columns(case):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        made.add_row(row["era"], *(fill(row) for _, fill in columns(case)))
    return made
