"""Pictures and texts side by side, each under its caption: before and after."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import OptionError
from workbench.views.sources import BOX, LIT

HEIGHT, WIDTH = "34em", "26em"  # Of a column: beyond this it scrolls; below, it takes a row.
COLUMN = "display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap"


@dataclass(frozen=True)
class Beside:
    """Parts side by side; shows itself in a notebook, and is read as text one after the other.

    Attributes
    ----------
    parts : tuple of (str, object)
        Caption and part: a text, or anything that shows itself as HTML or SVG.
    lit : str
        A regular expression; lines of texts in which it is found are lit up.
    """

    parts: tuple[tuple[str, Any], ...]
    lit: str = ""

    def __str__(self) -> str:
        return "\n\n".join(f"{caption}\n{part}" for caption, part in self.parts)

    def _repr_html_(self) -> str:
        return f'<div style="{COLUMN}">{"".join(self._column(*each) for each in self.parts)}</div>'

    def _column(self, caption: str, part: Any) -> str:
        shown = text_html(part, self.lit) if isinstance(part, str) else shown_html(part)
        return (f'<figure style="margin:0;min-width:0;flex:1 1 {WIDTH}"><figcaption style="font-size:12px;'
                f'color:#57606A">{html.escape(caption)}</figcaption>{shown}</figure>')  # fmt: skip


def beside(parts: Mapping[str, Any], lit: str = "") -> Beside:
    """Lay pictures and texts side by side.

    Parameters
    ----------
    parts : mapping of str to object
        Caption to part: a text, or anything that shows itself as HTML or SVG.
    lit : str
        A regular expression; lines of texts in which it is found are lit up.

    Returns
    -------
    Beside

    Raises
    ------
    OptionError
        If there is nothing to show, or the expression is not one.

    Examples
    --------
    >>> print(beside({"before": "x + x", "after": "2 * x"}))
    before
    x + x
    <BLANKLINE>
    after
    2 * x
    """
    if not parts:
        raise OptionError("beside", "there is nothing to show", given="no parts")
    try:
        re.compile(lit)
    except re.error as error:
        raise OptionError("beside", "this is not a regular expression", given=repr(lit),
                          expected=str(error)) from None  # fmt: skip
    return Beside(tuple(parts.items()), lit)


def text_html(text: str, lit: str = "") -> str:
    """Return a text as an HTML block that scrolls if it is long, with some of its lines lit."""
    lines = "".join(
        f'<span style="{LIT}">{html.escape(line) or " "}</span>'
        if lit and re.search(lit, line)
        else html.escape(line) + "\n"
        for line in text.splitlines()
    )
    return f'<pre style="{BOX};max-height:{HEIGHT};overflow-y:auto;white-space:pre">{lines}</pre>'


def shown_html(part: Any) -> str:
    """Return what an object shows of itself in a page."""
    for name in ("_repr_html_", "_repr_svg_"):
        if hasattr(part, name):
            return str(getattr(part, name)())
    return text_html(str(part))
