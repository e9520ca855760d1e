"""The programs as text: what the user wrote, and how many lines of it."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from workbench.errors import OptionError

MARK = "# Read off by the comparison:"


def user_source(module: ModuleType) -> str:
    """Return the part of a program that a user of its era would have written.

    Raises
    ------
    OptionError
        If the module has no line that says where that part ends.
    """
    text, mark, _ = inspect.getsource(module).partition(MARK)
    if not mark:
        raise OptionError(module.__name__, "the program does not say where the user's part ends",
                          expected=f"a line {MARK!r}")  # fmt: skip
    return text.rstrip() + "\n"


def user_lines(module: ModuleType) -> int:
    """Count the lines of the user's part: no blank lines, comments or docstrings."""
    tree = ast.parse(user_source(module))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    # Unparsing gives one line a statement, however the author wrapped it.
    return sum(bool(line.strip()) for line in ast.unparse(tree).splitlines())
