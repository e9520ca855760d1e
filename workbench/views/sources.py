"""Source code quoted by importing it, so that what a chapter shows is what runs."""

from __future__ import annotations

import ast
import html
import inspect
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from workbench.errors import DtypeError, OptionError, require

FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"
BOX = (f"font-family:{FONT};"
       "margin:4px 0;padding:8px 12px;background:#F6F8FA;color:#1F2328;border-radius:6px;"
       "overflow-x:auto;line-height:1.45;font-size:13px")  # fmt: skip
LIT = (
    "display:block;margin:0 -12px;padding:0 12px 0 10px;border-left:2px solid #D55E00;"
    "background:#FFE9A8"
)


@dataclass(frozen=True)
class Code:
    """Quoted source; shows itself highlighted in a notebook.

    Attributes
    ----------
    text : str
        The source.
    caption : str
        Where it stands.
    """

    text: str
    caption: str

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (f'<figure style="margin:0"><figcaption style="font-size:12px;color:#57606A">'
                f"{html.escape(self.caption)}</figcaption>{highlight(self.text)}</figure>")  # fmt: skip


def code(*objects: Any, docstrings: bool = False) -> Code:
    """Quote the source of functions, classes or modules.

    Parameters
    ----------
    *objects : function, class, method or module
        Quoted one after the other.
    docstrings : bool
        Whether to quote their docstrings too.

    Returns
    -------
    Code

    Raises
    ------
    OptionError
        If nothing is asked for.
    DtypeError
        If something has no Python source, such as a built-in.
    """
    if not objects:
        raise OptionError("code", "there is nothing to quote",
                          expected="functions, classes or modules")  # fmt: skip
    texts: list[str] = []
    places: dict[str, list[str]] = {}
    for each in objects:
        text, file, lines = source_of(each)
        texts.append((text if docstrings else without_docstrings(text)).strip("\n"))
        places.setdefault(file, []).append(lines)
    caption = "; ".join(", ".join([file, *filter(None, lines)]) for file, lines in places.items())
    if not docstrings:
        caption += " (docstrings left out)"
    return Code("\n\n\n".join(texts) + "\n", caption)


def source_of(thing: Any) -> tuple[str, str, str]:
    """Return the source of one object, its file, and its lines there."""
    try:
        lines, first = inspect.getsourcelines(thing)
        file = inspect.getsourcefile(thing)
    except (TypeError, OSError):
        raise DtypeError("code", "this has no Python source to quote", given=repr(thing),
                         expected="a function, class, method or module written in Python"
                         ) from None  # fmt: skip
    text = textwrap.dedent("".join(lines))
    if isinstance(thing, ModuleType):
        return text, place_of(thing.__name__, file), ""
    module = getattr(inspect.unwrap(thing), "__module__", "__main__")
    return text, place_of(module, file), f"lines {first} to {first + len(lines) - 1}"


def place_of(module: str, file: str | None) -> str:
    """Return a file's path below the folder that holds its package."""
    top = sys.modules.get(module.partition(".")[0])
    if module == "__main__" or file is None or getattr(top, "__file__", None) is None:
        return "this notebook"
    assert top is not None
    assert top.__file__ is not None
    above = Path(top.__file__).parent
    if hasattr(top, "__path__"):
        above = above.parent
    path = Path(file)
    return path.relative_to(above).as_posix() if path.is_relative_to(above) else path.name


def without_docstrings(text: str) -> str:
    """Return source without its docstrings, where something is left of each body."""
    lines = text.splitlines(keepends=True)
    drop: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if not documented or ast.get_docstring(node) is None or len(node.body) < 2:  # type: ignore[arg-type, attr-defined]
            continue
        first, then = node.body[:2]  # type: ignore[attr-defined]
        alone = not lines[first.lineno - 1][: first.col_offset].strip()
        if alone and then.lineno > first.end_lineno:
            end = first.end_lineno
            while not lines[end].strip():
                end += 1  # The blank lines after it.
            drop.update(range(first.lineno - 1, end))
    return "".join(line for i, line in enumerate(lines) if i not in drop)


def highlight(text: str, lit: int | None = None) -> str:
    """Return Python source as an HTML block in colours, on a light ground in any theme.

    Parameters
    ----------
    text : str
    lit : int, optional
        The line to light up, counted from 1.

    Raises
    ------
    OptionError
        If there is no such line.
    MissingDependencyError
        Without pygments.
    """
    require("pygments", room="workbench.views", extra="lab")
    from pygments import highlight as colour
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    formatter = HtmlFormatter(nowrap=True, noclasses=True, style="default")
    lines = colour(text, PythonLexer(stripnl=False), formatter).rstrip("\n").split("\n")
    if lit is not None and not 1 <= lit <= len(lines):
        raise OptionError("highlight", "there is no such line", given=f"line {lit}",
                          expected=f"1 to {len(lines)}")  # fmt: skip
    shown = "".join(
        f'<span style="{LIT}">{line or " "}</span>' if number == lit else line + "\n"
        for number, line in enumerate(lines, start=1)
    )
    return f'<pre style="{BOX}">{shown}</pre>'
