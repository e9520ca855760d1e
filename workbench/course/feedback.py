"""One page for one student: what passed, what did not, why, and what to try next.

The page is a single file without scripts, so that it can be mailed, printed, or put on
any server.  It is made from the verdicts and the text of the assignment that students
have; of hidden tests and of other students it knows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from workbench.course.notebooks import Assignment, Cell
from workbench.course.results import VERDICTS, Row
from workbench.course.text import plain, require_folder
from workbench.errors import DataError, require
from workbench.files import atomic_write

__all__ = ["SIGNS", "feedback_page", "write_feedback"]

#: What a reader sees beside the colour.
SIGNS = {"pass": "✓", "fail": "✗", "timeout": "∞", "died": "■", "out of memory": "▲",
         "tampered": "!", "missing": "?"}  # fmt: skip
#: What to do next.
_NEXT = {
    "pass": "",
    "fail": "Read the message above from its first line, then the visible checks of the question: "
            "run them on an example small enough to do by hand.",
    "timeout": "Look for a loop whose condition never becomes false, or for work that is done "
               "again in every round; try it on a smaller input first.",
    "died": "Restart the kernel and run all cells from the top: what ended this process ends "
            "yours too.",
    "out of memory": "Look for an array that grows in every round, or for a broadcast that makes "
                     "(N,) and (N, 1) into (N, N).",
    "tampered": "Answer with plain code: no input or output, no changes to how Python runs. "
                "If you did none of this, show this page to your instructor.",
    "missing": "Download the exercise again and copy your answer into the cell that has this "
               "question's name; do not delete or rename cells.",
}  # fmt: skip


def feedback_page(rows: Iterable[Row], assignment: Assignment, course: str = "") -> str:
    """Return the page of one student, as HTML.

    Parameters
    ----------
    rows : iterable of Row
        Verdicts of one student in this assignment.
    assignment : Assignment
    course : str
        Name to print above the title.

    Raises
    ------
    DataError
        If the rows belong to more than one student, or to none.
    """
    rows = list(rows)
    students = {row.student for row in rows}
    if len(students) != 1:
        raise DataError("feedback", "a page is for one student",
                        given=f"rows of {len(students)} students")  # fmt: skip
    order = {cell.id: place for place, cell in enumerate(assignment.cells)}
    rows.sort(key=lambda row: order.get(row.question, len(order)))
    heading = next(filter(None, (_heading(cell) for cell in assignment.cells)), assignment.name)
    got, most = sum(row.points for row in rows), sum(row.max_points for row in rows)
    return _template().render(
        title=heading,
        course=course,
        student=plain(students.pop(), 200),
        name=assignment.name,
        points=_points(got),
        max_points=_points(most),
        share=round(100 * got / most) if most else 0,
        passed=sum(row.verdict == "pass" for row in rows),
        questions=[_question(row, assignment) for row in rows],
        hand_points=_points(sum(cell.points for cell in assignment.of_kind("manual"))),
        by_hand=[{"title": _title(assignment, cell), "points": _points(cell.points)}
                 for cell in assignment.of_kind("manual")],
        unisolated=any(row.isolation == "UNISOLATED" for row in rows),
    )  # fmt: skip


def write_feedback(rows: Iterable[Row], assignment: Assignment, folder: Path | str) -> list[Path]:
    """Write ``folder/STUDENT/NAME/NAME.html`` for every student of these rows."""
    by_student: dict[str, list[Row]] = {}
    for row in rows:
        by_student.setdefault(row.student, []).append(row)
    written = []
    for student, own in sorted(by_student.items()):
        require_folder("feedback", student)
        path = Path(folder) / student / assignment.name / f"{assignment.name}.html"
        written.append(atomic_write(path, feedback_page(own, assignment), where="feedback",
                                    durable=False))  # fmt: skip
    return written


@cache
def _template() -> Any:
    require("jinja2", room="course", extra="course")
    import jinja2

    loader = jinja2.PackageLoader("workbench.course", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    return environment.get_template("feedback.html")


def _question(row: Row, assignment: Assignment) -> dict[str, Any]:
    cell = next((each for each in assignment.cells if each.id == row.question), None)
    return {
        "id": row.question,
        "title": _title(assignment, cell) if cell else row.question,
        "verdict": row.verdict,
        "meaning": VERDICTS.get(row.verdict, ""),
        "symbol": SIGNS.get(row.verdict, "?"),
        "points": _points(row.points),
        "max_points": _points(row.max_points),
        "feedback": plain(row.feedback).strip(),
        "seconds": f"{row.seconds:.2f}",
        "next": _NEXT.get(row.verdict, ""),
        "hints": _hints(assignment, cell) if cell and row.verdict != "pass" else [],
    }


def _before(assignment: Assignment, cell: Cell) -> list[Cell]:
    """Return the locked texts of a cell's question that stand above it, nearest first."""
    above = assignment.cells[: assignment.cells.index(cell)]
    return [each for each in reversed(above)
            if each.kind == "markdown" and each.question == cell.question]  # fmt: skip


def _heading(cell: Cell) -> str:
    found = re.search(r"^#{1,6}\s+(.+?)\s*#*$", cell.source, flags=re.MULTILINE)
    return found[1].replace("`", "") if found and cell.kind == "markdown" else ""


def _title(assignment: Assignment, cell: Cell) -> str:
    titles = [title for each in _before(assignment, cell) if (title := _heading(each))]
    if not titles:
        return cell.id
    # A part of a question is named with its question: the farthest heading is the question's.
    title = titles[0] if len(titles) == 1 else f"{titles[-1]} · {titles[0]}"
    title = re.sub(r" \([0-9.]+ points?\)$", "", title)  # They stand beside it.
    # Two checks under one heading are told apart by their ids: q2-check-forward.
    part = cell.id.removeprefix(f"{cell.question}-check").strip("-").replace("-", " ")
    alike = [each for each in assignment.of_kind("check") if each.question == cell.question
             and _before(assignment, each)[:1] == _before(assignment, cell)[:1]]  # fmt: skip
    return f"{title} · {part}" if cell.kind == "check" and len(alike) > 1 else title


def _hints(assignment: Assignment, cell: Cell) -> list[str]:
    """Name the hints folded under the nearest task."""
    found: list[str] = []
    for each in _before(assignment, cell):
        hints = re.findall(r"<summary>(.*?)</summary>", each.source, flags=re.DOTALL)
        found = [re.sub(r"<[^>]*>|`", "", hint).strip() for hint in hints] + found
        if _heading(each):
            break
    return found


def _points(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
