"""A table for a notebook, from rows of plain data."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Table:
    """A table; shows itself in a notebook, numbers to the right, text to the left."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def _repr_html_(self) -> str:
        head = "".join(f"<th{ALIGN[False]}>{html.escape(each)}</th>" for each in self.headings)
        body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


ALIGN = {True: ' style="text-align:right"', False: ' style="text-align:left"'}


def cell(value: Any) -> str:
    """Return one cell as HTML."""
    text = str(value)
    number = isinstance(value, int | float) or (text[:1].isdigit() and len(text.split()) <= 2)
    return f"<td{ALIGN[number]}>{html.escape(text)}</td>"


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Make a table of rows that all have the same headings.

    Parameters
    ----------
    rows : iterable of mapping
        Heading to value; numbers stand on the right, and so do texts that begin with a
        digit and have at most two words, such as "1.5 ms".

    Returns
    -------
    Table

    Raises
    ------
    OptionError
        If there are no rows.
    ShapeError
        If a row has other headings than the first; names them.
    """
    read = list(rows)
    if not read:
        raise OptionError("table", "there is nothing to show", given="no rows")
    headings = tuple(read[0])
    for number, row in enumerate(read, start=1):
        if tuple(row) != headings:
            raise ShapeError("table", f"row {number} has other headings than row 1",
                             given=", ".join(row), expected=", ".join(headings))  # fmt: skip
    return Table(headings, tuple(tuple(row.values()) for row in read))
