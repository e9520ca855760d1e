"""Marks as the import of a learning-management system wants them.

``canvas``
    Gradebook import.  The first row must name ``Student``, ``ID`` and ``Section``; a row
    of points follows.  Canvas finds a person by its own id, else by the login.  Source:
    ``lib/gradebook_importer.rb`` of canvas-lms.
``moodle``
    Upload of the assignment's *offline grading worksheet*, which needs ``Identifier``,
    ``Grade`` and ``Last modified (grade)``, in the language of the site.  Moodle finds a
    person by the participant's number.  The gradebook's CSV import takes the same file,
    mapped by e-mail address.  Source: ``mod/assign/feedback/offline`` of Moodle.
``blackboard``
    Grade Center upload: ``Username``, and a column named as in its own download
    (``Name [Total Pts: 25 Score] |123``).  Source: Blackboard's instructor help.
``plain``
    Everything, for a spreadsheet.

The numbers in the names that ``collect`` gives (``adalovelace_4711``) are the ids of
Canvas and Moodle; ``lms_user_id`` in nbgrader's gradebook takes precedence.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from workbench.course.gradebook import Score
from workbench.course.text import plain
from workbench.errors import unknown_name
from workbench.files import atomic_write

__all__ = ["FORMATS", "table", "write_csv"]

_Table = tuple[list[str], list[list[str]]]


def table(
    scores: Iterable[Score], assignment: str, form: str = "plain", column: str | None = None
) -> str:
    """Return marks as the text of a CSV file.

    Parameters
    ----------
    scores : iterable of Score
    assignment : str
    form : str
        One of :data:`FORMATS`.
    column : str, optional
        Header of the mark's column where the system already has one: ``"Gradients (815)"``
        for Canvas, ``"Gradients [Total Pts: 25 Score] |815"`` for Blackboard.

    Raises
    ------
    UnknownNameError
        If there is no such form.

    Notes
    -----
    A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``, and names come
    from strangers; such a cell is given a leading apostrophe.
    """
    if form not in FORMATS:
        raise unknown_name("export", "format", form, FORMATS)
    head, body = FORMATS[form](list(scores), assignment, column or assignment)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_inert(each) for each in head])
    writer.writerows([[_inert(each) for each in line] for line in body])
    return text.getvalue()


def write_csv(
    path: Path | str,
    scores: Iterable[Score],
    assignment: str,
    form: str = "plain",
    column: str | None = None,
) -> Path:
    """Write :func:`table` as UTF-8 with the byte order mark by which Excel knows it."""
    text = table(scores, assignment, form, column)
    return atomic_write(path, text.encode("utf-8-sig"), where="export")


def _canvas(scores: list[Score], assignment: str, column: str) -> _Table:
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column]
    most = max((each.max_score for each in scores), default=0.0)
    body = [["Points Possible", "", "", "", "", _number(most)]]
    for each in scores:
        name, number = _number_of(each)
        login = "" if number else each.student
        body.append([_full_name(each) or name, number, "", login, "", _number(each.score)])
    return head, body


def _moodle(scores: list[Score], assignment: str, column: str) -> _Table:
    # It looks for the mark under its own word, whatever the assignment is called.
    head = ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade",
            "Last modified (grade)"]  # fmt: skip
    body = []
    for each in scores:
        name, number = _number_of(each)
        identifier = f"Participant {number}" if number else ""
        body.append([identifier, _full_name(each) or name, each.email, _number(each.score),
                     _number(each.max_score), ""])  # fmt: skip
    return head, body


def _blackboard(scores: list[Score], assignment: str, column: str) -> _Table:
    head = ["Last Name", "First Name", "Username", column]
    return head, [[each.last_name, each.first_name, each.lms_user_id or each.student,
                   _number(each.score)] for each in scores]  # fmt: skip


def _all(scores: list[Score], assignment: str, column: str) -> _Table:
    head = ["student", "last_name", "first_name", "email", "assignment", "score", "max_score",
            "waits_for_a_person"]  # fmt: skip
    return head, [[each.student, each.last_name, each.first_name, each.email, column,
                   _number(each.score), _number(each.max_score), "yes" if each.unread else "no"]
                  for each in scores]  # fmt: skip


FORMATS: dict[str, Callable[[list[Score], str, str], _Table]] = {
    "canvas": _canvas,
    "moodle": _moodle,
    "blackboard": _blackboard,
    "plain": _all,
}


def _number_of(score: Score) -> tuple[str, str]:
    found = re.fullmatch(r"(.+)_([0-9]+)", score.student)
    name, number = (found[1], found[2]) if found else (score.student, "")
    return name, score.lms_user_id or number


def _full_name(score: Score) -> str:
    return f"{score.first_name} {score.last_name}".strip()


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _inert(cell: str) -> str:
    cell = " ".join(plain(cell, 1000).split())
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "|", "%")) else cell
