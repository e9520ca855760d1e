"""The library as an answer finds it: without the functions that are the answer.

Assignment 1 asks for ``affine_backward``, which :mod:`workbench.manual` has.  So the
sandbox sees a copy of the package that holds only the rooms an assignment names, and
in it the functions that a question asks for raise instead of answering.  What is not
on the disk cannot be called, read or imported around.
"""

from __future__ import annotations

import ast
import atexit
import compileall
import contextlib
import functools
import importlib
import inspect
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import workbench
from workbench.course.notebooks import Assignment
from workbench.errors import DataError, OptionError

__all__ = ["library", "withheld"]

PACKAGE = Path(workbench.__file__).parent
#: What every answer may import.
ALWAYS = ("__init__.py", "errors.py", "arrays.py", "files.py", "py.typed", "gradcheck", "datasets",
          "course/__init__.py", "course/checks.py", "course/selfcheck.py", "course/channel.py",
          "course/worker.py")  # fmt: skip


def withheld(assignment: Assignment, question: str) -> tuple[str, ...]:
    """Return the names that are withheld from a question.

    They are those that the assignment lists under ``withheld`` for this question, and
    those under ``all`` but what it lists for the question under ``needed``.  Questions with
    the same names share their processes, which makes grading faster.
    """
    listed, needed = (assignment.settings.get(kind, {}) for kind in ("withheld", "needed"))
    common = set(listed.get("all", ())) - set(needed.get(question, ()))
    return tuple(sorted(common | set(listed.get(question, ()))))


def library(assignment: Assignment, question: str) -> Path:
    """Return a folder with the package as a question's answer may see it.

    It is made once in a process and lives as long.

    Raises
    ------
    OptionError
        If the assignment names a room or a function that there is not.
    DataError
        If the folder for temporary files is full.
    """
    rooms = tuple(assignment.settings.get("rooms", ()))
    try:
        return _made(rooms, withheld(assignment, question))
    except OSError as error:
        raise DataError("grade", "cannot copy the library for the sandbox",
                        given=f"{tempfile.gettempdir()}: {error.strerror or error}",
                        fix="make room there, then go on with --resume") from error  # fmt: skip


@functools.cache
def _made(rooms: tuple[str, ...], names: tuple[str, ...]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="workbench-library-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)  # The sandbox may run as another user.
    target = folder / "workbench"
    for room in (*ALWAYS, *rooms):
        source = PACKAGE / room
        if source.is_dir():
            shutil.copytree(source, target / room)
        elif source.is_file():
            (target / room).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / room)
        else:
            raise OptionError("assignment", f"the package has no room {room!r}",
                              fix='mend "rooms" in the notebook\'s metadata')  # fmt: skip
    for path, functions in _places(names).items():
        file = target / path
        if file.exists():
            file.write_text(_without(file.read_text(encoding="utf-8"), functions), encoding="utf-8")
            for stale in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                stale.unlink()  # It holds the code that was taken out.
    # Compiled once, for all the processes that cannot write here.
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return folder


def _places(names: Iterable[str]) -> dict[Path, dict[str, str]]:
    """Find where names are defined: for each file, qualified names and what users call them."""
    places: dict[Path, dict[str, str]] = {}
    for name in names:
        value = _find(name)
        value = inspect.unwrap(getattr(value, "fget", None) or value)
        file = None
        if inspect.isfunction(value) or inspect.isclass(value):
            with contextlib.suppress(TypeError, OSError):  # A class that is built in.
                file = inspect.getsourcefile(value)
        if file is None or PACKAGE not in Path(file).parents:
            raise OptionError("assignment", f"{name} cannot be withheld",
                              expected="a function, class or method of the package")  # fmt: skip
        places.setdefault(Path(file).relative_to(PACKAGE), {})[value.__qualname__] = name
    return places


def _find(name: str) -> Any:
    value: Any = workbench
    for i, word in enumerate(words := name.split(".")):
        try:
            value = getattr(value, word)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(["workbench", *words[: i + 1]]))
            except ImportError:
                raise OptionError("assignment", f"there is no {name} to withhold",
                                  fix='mend "withheld" in the notebook\'s metadata') from None  # fmt: skip
    return value


class _Emptier(ast.NodeTransformer):
    """Replaces the bodies of some functions and classes."""

    def __init__(self, functions: dict[str, str]) -> None:
        self.functions, self.path = functions, [""]
        self.left = set(functions)

    def _visit(self, node: Any) -> Any:
        name = ".".join([*filter(None, self.path), node.name])
        if name not in self.functions:
            self.path.append(node.name)
            self.generic_visit(node)
            self.path.pop()
            return node
        self.left.discard(name)
        refusal = ast.parse(
            "from workbench.errors import OptionError\n"
            f"raise OptionError({self.functions[name]!r}, 'it is not there while this question is "
            "marked', fix='write it yourself: that is the question')"
        ).body
        if isinstance(node, ast.ClassDef):
            blank = ast.parse("def __init__(self, *arguments, **options): pass").body[0]
            assert isinstance(blank, ast.FunctionDef)
            blank.body = refusal
            node.body, node.decorator_list = [blank], []
        else:
            node.body = refusal
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit  # noqa: N815


def _without(source: str, functions: dict[str, str]) -> str:
    emptier = _Emptier(functions)
    tree = emptier.visit(ast.parse(source))
    if emptier.left:
        raise OptionError("assignment", f"{', '.join(emptier.left)} cannot be withheld",
                          expected="a function or class with a definition of its own")  # fmt: skip
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
