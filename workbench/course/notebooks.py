"""Assignments and submissions, as the grader reads them.

An assignment is trusted and read strictly: it is the instructor's.  A submission is
read as what it is, a file from a stranger: never followed through a link, never
believed where the release says otherwise, and repaired where a student's editor lost
something that can be found again.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import DataError, unknown_name

__all__ = [
    "Assignment",
    "Cell",
    "Submission",
    "parse_assignment",
    "parse_submission",
    "read_assignment",
    "read_file",
]

LARGEST = 256 << 20  # Bytes of a notebook; figures and tables that were left in count too.
LARGEST_SOURCE = 1 << 20  # Characters of code, all cells together.


@dataclass(frozen=True)
class Cell:
    """One cell of an assignment.

    ``kind`` is one of ``markdown``; ``given`` (code that both sides run); ``apparatus``
    (code that runs beside the answer, where engine objects live, and is called from the
    checks); ``demo`` (code that is never graded); ``answer``; ``check`` (graded by
    running it); ``manual`` (graded by a person).
    """

    id: str
    kind: str
    source: str
    points: float = 0.0

    @property
    def question(self) -> str:
        """The question it belongs to: ``q2`` for ``q2-check-forward``."""
        return self.id.split("-")[0]


@dataclass(frozen=True)
class Assignment:
    """An assignment as its source notebook in ``solutions/`` says it is.

    Parameters
    ----------
    name : str
    cells : tuple of Cell
        In the notebook's order.
    settings : dict
        The notebook's metadata under ``workbench``: ``rooms`` (rooms of the package that
        an answer may import), ``withheld`` (library functions that are the answer itself,
        by question, or for ``all``), ``needed`` (those of ``all`` that a question may use all
        the same), ``seconds`` and ``megabytes`` (limits, a question).
    """

    name: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> list[Cell]:
        """Return the cells of these kinds, in order."""
        return [cell for cell in self.cells if cell.kind in kinds]


def parse_assignment(name: str, notebook: dict[str, Any]) -> Assignment:
    """Read an assignment out of the JSON of its notebook (format 4)."""
    cells = tuple(_cell(each) for each in notebook["cells"])
    return Assignment(name, cells, notebook.get("metadata", {}).get("workbench", {}))


def read_assignment(name: str, course: Path | str = ".") -> Assignment:
    """Read ``course/solutions/NAME/NAME.ipynb``.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such assignment, or its notebook cannot be read.
    """
    from workbench.course.nbgrader import SOLUTIONS, assignments

    known = assignments(course)
    if name not in known:
        raise unknown_name("course", "assignment", name, known)
    path = Path(course) / SOLUTIONS / name / f"{name}.ipynb"
    try:
        return parse_assignment(name, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(name, "its source notebook cannot be read", given=str(path),
                        fix=f"{type(error).__name__}: {error}") from error  # fmt: skip


def _cell(cell: dict[str, Any]) -> Cell:
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    own = cell.get("metadata", {}).get("nbgrader")
    name = own["grade_id"] if own else cell.get("id", "")
    if own is None:
        kind = "demo" if cell["cell_type"] == "code" else "markdown"
    elif own.get("task") or (own.get("grade") and own.get("solution")):
        kind = "manual"
    elif own.get("grade"):
        kind = "check"
    elif own.get("solution"):
        kind = "answer"
    elif cell["cell_type"] == "code":
        kind = "apparatus" if "apparatus" in cell["metadata"].get("tags", ()) else "given"
    else:
        kind = "markdown"
    return Cell(name, kind, source, float(own.get("points") or 0) if own else 0.0)


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Parameters
    ----------
    student : str
    cells : tuple of dict
        The code cells: ``id``, ``source``, and ``matches``, the id of the release's cell that
        it is, or None for a cell that the student added.
    problem : str
        Why nothing of it can be graded; empty if it can.
    absent : dict
        For answer cells that were not found, by id, what is there instead.
    notes : tuple of str
        What was repaired.
    answers : dict
        Text of each answer, also of those that a person marks, by the cell's id.
    """

    student: str
    cells: tuple[dict[str, Any], ...] = ()
    problem: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)

    def cells_for(self, assignment: Assignment, question: str) -> list[dict[str, str]]:
        """Return what the sandbox is given to run for a question.

        The order is the release's, whatever the student's editor made of it; an added cell
        follows the one that it followed.  Given cells are the instructor's own.
        """
        order = {cell.id: i for i, cell in enumerate(assignment.cells)}
        placed: list[tuple[int, int, dict[str, str]]] = []
        for cell in assignment.of_kind("given", "apparatus"):
            near = cell.question in ("setup", question)
            if near or cell.kind == "given":
                role = "given" if near else "other"
                placed.append((order[cell.id], 0,
                               {"id": cell.id, "source": cell.source, "role": role}))  # fmt: skip
        after = -1
        known = {cell.id: cell for cell in assignment.cells}
        for number, theirs in enumerate(self.cells):
            match = known.get(theirs["matches"])
            if match is not None:
                after = order[match.id]
                if match.kind not in ("answer", "demo"):
                    continue
            own = match is not None and match.kind == "answer" and match.question == question
            placed.append((after, number + 1, {"id": theirs["id"], "source": theirs["source"],
                                               "role": "own" if own else "other"}))  # fmt: skip
        return [cell for _, _, cell in sorted(placed, key=lambda each: each[:2])]


def read_file(path: Path) -> bytes:
    """Read a file that a stranger put there.

    Raises
    ------
    DataError
        If it is a link, a folder, a device or a pipe, or larger than 256 MB.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise OSError("it is a link")
        number = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise DataError(path.name, f"it cannot be read: {error.strerror or error}") from None
    with open(number, "rb") as file:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(path.name, "it is no file")
        if status.st_size > LARGEST:
            raise DataError(path.name, f"it has {status.st_size >> 20} MB",
                            expected=f"at most {LARGEST >> 20} MB",
                            fix="clear the outputs and hand it in again")  # fmt: skip
        return file.read(LARGEST)


def find_notebook(folder: Path, name: str) -> tuple[Path | None, str]:
    """Find a student's notebook in ``submitted/STUDENT/NAME``; return it, and a note.

    The note says that it is called otherwise, or why there is none.
    """
    expected = folder / f"{name}.ipynb"
    if os.path.lexists(expected):
        return expected, ""
    others = sorted(each for each in folder.glob("*.ipynb") if not each.name.startswith("."))
    if len(others) == 1:
        return others[0], f"the notebook is called {others[0].name}, not {expected.name}"
    if others:
        return None, f"there is no {expected.name}, but {len(others)} other notebooks"
    found = sorted(each.name for each in folder.iterdir())[:3] if folder.is_dir() else []
    return None, f"there is no {expected.name}" + (f", only {', '.join(found)}" if found else "")


def parse_submission(student: str, data: bytes, assignment: Assignment) -> Submission:
    """Read a submitted notebook; whatever it is, a Submission comes of it."""
    try:
        notebook = json.loads(data)
        cells = notebook["cells"] if "cells" in notebook else [
            cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]  # fmt: skip
        found = [_plain_cell(cell) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = "it is not JSON" if isinstance(error, ValueError) else "it is not a notebook"
        return Submission(student, problem=f"the notebook cannot be read: {reason}")
    except MemoryError:
        return Submission(student, problem="the notebook cannot be read: it is too large")
    if not found:
        return Submission(student, problem="the notebook has no cells")
    code = [cell for cell in found if cell["type"] == "code"]
    if sum(len(cell["source"]) for cell in code) > LARGEST_SOURCE:
        return Submission(student, problem="the notebook holds more than a million letters of code")
    return _matched(student, notebook, found, assignment)


def _plain_cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Take from a cell what counts, as text; a cell without source has an empty one."""
    source = cell.get("source", cell.get("input", ""))
    if not isinstance(source, str):
        source = "".join(source)
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = own.get("grade_id") if isinstance(own, dict) else None
    return {"type": str(cell["cell_type"]), "source": source,
            "grade_id": grade_id if isinstance(grade_id, str) else None,
            "id": cell["id"] if isinstance(cell.get("id"), str) else ""}  # fmt: skip


def _matched(
    student: str, notebook: dict[str, Any], found: list[dict[str, Any]], assignment: Assignment
) -> Submission:
    known = {cell.id: cell for cell in assignment.cells if cell.id}
    cells, notes, absent, seen = [], [], {}, set()
    answers: dict[str, list[str]] = {}
    for number, cell in enumerate(found, 1):
        match = cell["grade_id"] if cell["grade_id"] in known else (
            cell["id"] if cell["id"] in known else None)  # fmt: skip
        if match is not None and known[match].kind in ("answer", "manual"):
            answers.setdefault(match, []).append(cell["source"])
        if match is not None and known[match].kind == "answer":
            if cell["type"] != "code":
                absent[match] = f"the cell {match} is {cell['type']}, not code"
                continue
            if match in seen:
                notes.append(f"there are two cells {match}; both were run, in order")
            elif cell["grade_id"] != match:
                notes.append(f"the cell {match} had lost its name, and was found again")
            seen.add(match)
        if cell["type"] == "code":
            cells.append({"id": match or f"cell {number}", "source": cell["source"],
                          "matches": match})  # fmt: skip
    for answer in assignment.of_kind("answer"):
        if answer.id not in seen:
            absent.setdefault(answer.id, f"the cell {answer.id} is not in the notebook")
    spec = (notebook.get("metadata") or {}).get("kernelspec") if isinstance(
        notebook.get("metadata"), dict) else None  # fmt: skip
    kernel = spec.get("language") if isinstance(spec, dict) else None
    if isinstance(kernel, str) and kernel != "python":
        notes.append(f"the notebook's kernel speaks {kernel[:30]}; it was read as Python")
    return Submission(student, tuple(cells), "", absent, tuple(dict.fromkeys(notes)),
                      {name: "\n\n".join(texts) for name, texts in answers.items()})  # fmt: skip
