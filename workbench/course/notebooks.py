"""Assignments and submissions, as the grader reads them.

An assignment is trusted and read strictly: it is the instructor's.  A submission is
read as what it is, a file from a stranger: never followed through a link, never
believed where the release says otherwise, and repaired where a student's editor lost
something that can be found again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import DataError

__all__ = ["Assignment", "Cell", "parse_assignment", "read_assignment"]

KINDS = "markdown", "given", "apparatus", "demo", "answer", "check", "manual"


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
        by question), ``seconds`` and ``megabytes`` (limits, a question).
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
    import json

    from workbench.course.nbgrader import SOLUTIONS, assignments
    from workbench.errors import unknown_name

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
    elif own.get("grade") and own.get("solution") or own.get("task"):
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
