"""`workbench grade`: from a folder of submissions to verdicts, marks and feedback.

Only this process writes.  Verdicts go to the journal one submission at a time; the
gradebook, the feedback pages and the JSON are made from them at the end, and made again
just the same by a run with ``--resume``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import __version__
from workbench.course.batch import Handed, find_submissions, grade
from workbench.course.notebooks import Assignment, read_assignment
from workbench.course.referee import Options
from workbench.course.results import Row
from workbench.course.sandbox import UNISOLATED, isolation
from workbench.course.text import plain
from workbench.errors import DataError, OptionError, require, unknown_name
from workbench.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table
    from rich.text import Text

    from workbench.course.similarity import Report

__all__ = ["Graded", "compare_answers", "course_secret", "grade_course", "read_overlay", "table"]

STATE = ".workbench"  # In the course folder: the secret, the lock, the journals.


@dataclass
class Graded:
    """What a run of the grader came to.

    Parameters
    ----------
    rows : list of Row
    header : dict
        What, where, when, and how answers were held.
    to_mark : list of dict
        Answers that wait for a person: ``student``, ``question``, ``max_points``.
    seconds : float
        Wall time of judging.
    """

    rows: list[Row]
    header: dict[str, Any]
    to_mark: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def data(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {"header": self.header, "rows": [row.data() for row in self.rows],
                "to_mark": self.to_mark}  # fmt: skip


def grade_course(
    name: str,
    course: Path | str = ".",
    *,
    submitted: Path | str | None = None,
    students: Sequence[str] = (),
    jobs: int = 1,
    scheduler: str | None = None,
    seed: str | None = None,
    overlay: Path | str | None = None,
    resume: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    finished: Callable[[Graded], None] | None = None,
) -> Graded:
    """Grade an assignment; write marks, feedback pages and the notebooks that nbgrader shows.

    Parameters
    ----------
    name : str
    course : path
        Folder that holds ``solutions``; the gradebook is written there.
    submitted : path, optional
        Folder of ``STUDENT/NAME/NAME.ipynb``; ``course/submitted`` if not given.
    students : sequence of str
        Only these; empty for all.
    jobs : int
        Processes on this machine.
    scheduler : str, optional
        Address of a Dask scheduler.
    seed : str, optional
        The secret from which hidden inputs are drawn; the course's own if not given.
    overlay : path, optional
        Folder of private checks, ``NAME/CHECK.py``.
    resume : bool
        Go on where a run was stopped.
    progress : callable, optional
        As for :func:`workbench.course.batch.grade`.
    finished : callable, optional
        Called when all is judged, before anything is written.

    Returns
    -------
    Graded

    Raises
    ------
    UnknownNameError, DataError, OptionError
        If there is nothing to grade, or another grader is at work here.
    """
    require("nbgrader", room="course", extra="course")
    course = Path(course)
    assignment = read_assignment(name, course)
    handed = find_submissions(Path(submitted) if submitted else course / "submitted", name)
    for student in students:
        if student not in (known := [each.student for each in handed]):
            raise unknown_name("grade", "student", student, known)
    handed = [each for each in handed if not students or each.student in students]
    with _alone(course):
        options = Options(
            secret=seed if seed is not None else course_secret(course),
            mode="" if scheduler else isolation()[0],
            overlay=read_overlay(overlay, assignment),
        )
        # nbgrader takes seconds to import; let it, while the judges judge.
        threading.Thread(target=importlib.import_module, args=("nbgrader.api",)).start()
        begin = time.monotonic()
        rows = grade(assignment, handed, options, jobs=jobs, scheduler=scheduler,
                     journal=course / STATE / f"{name}.jsonl", resume=resume,
                     progress=progress)  # fmt: skip
        graded = Graded(rows, _header(assignment, scheduler, jobs), _to_mark(assignment, handed),
                        time.monotonic() - begin)  # fmt: skip
        if finished is not None:
            finished(graded)
        _write(graded, assignment, handed, course)
    return graded


def _write(graded: Graded, assignment: Assignment, handed: list[Handed], course: Path) -> None:
    from workbench.course.feedback import write_feedback
    from workbench.course.gradebook import write_marks

    notebooks = {each.student: {"cells": [
        {"cell_type": "code", "id": cell_id, "source": text, "metadata": {}}
        for cell_id, text in each.parse(assignment).answers.items()]} for each in handed}  # fmt: skip
    write_marks(graded.rows, assignment, course, notebooks)
    write_feedback(graded.rows, assignment, course / "feedback")


def _header(assignment: Assignment, scheduler: str | None, jobs: int) -> dict[str, Any]:
    mode, reason = isolation()
    return {
        "assignment": assignment.name,
        "workbench": __version__,
        "python": platform.python_version(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "scheduler": scheduler,
        "jobs": None if scheduler else jobs,
        "isolation": mode,
        "isolation_reason": reason,
    }


def _to_mark(assignment: Assignment, handed: Iterable[Handed]) -> list[dict[str, Any]]:
    return [{"student": each.student, "question": cell.id, "max_points": cell.points}
            for each in handed for cell in assignment.of_kind("manual")]  # fmt: skip


def course_secret(course: Path) -> str:
    """Return the secret of a course folder; the first call makes one.

    Raises
    ------
    DataError
        If it cannot be stored.
    """
    path = course / STATE / "secret"
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if text := path.read_text(encoding="ascii").strip():
            return text
    atomic_write(path, secrets.token_hex(16) + "\n", where="grade",
                 instead="give the secret with --seed")  # fmt: skip
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    return path.read_text(encoding="ascii").strip()


def read_overlay(overlay: Path | str | None, assignment: Assignment) -> dict[str, str]:
    """Read private checks: ``overlay/NAME/CHECK.py`` runs after the check of that name.

    Raises
    ------
    DataError, UnknownNameError, OptionError
        If there is no such folder, no such check, or a file that is not Python.
    """
    if overlay is None:
        return {}
    folder = Path(overlay) / assignment.name
    if not folder.is_dir():
        raise DataError("overlay", "there are no private checks for this assignment",
                        given=str(folder.resolve()), expected="a folder of CHECK.py")  # fmt: skip
    known, found = [cell.id for cell in assignment.of_kind("check")], {}
    for path in sorted(folder.glob("*.py")):
        if path.stem not in known:
            raise unknown_name("overlay", "check", path.stem, known)
        found[path.stem] = path.read_text(encoding="utf-8")
        try:
            compile(found[path.stem], str(path), "exec")
        except SyntaxError as error:
            raise OptionError("overlay", f"{path} is not Python",
                              given=f"line {error.lineno}: {error.msg}") from None  # fmt: skip
    return found


@contextlib.contextmanager
def _alone(course: Path) -> Iterator[None]:
    """Let one grader at a time work in a course folder; a killed one leaves it free."""
    require("filelock", room="course", extra="course")
    import filelock

    path = course / STATE / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise OptionError("grade", "another grader is at work in this folder",
                          given=str(course.resolve()), fix="wait for it, or stop it") from None  # fmt: skip
    except OSError as error:
        raise DataError("grade", f"cannot write in {course.resolve()}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def compare_answers(
    name: str, course: Path | str, submitted: Path | str | None, path: Path | str
) -> Report:
    """Compare all submissions with each other; write the page to ``path``.

    Raises
    ------
    UnknownNameError, DataError
        If there is nothing to compare.
    """
    from workbench.course.selfcheck import find_notebook_of, read_own
    from workbench.course.similarity import write_similarity

    assignment = read_assignment(name, course)
    folder = Path(submitted) if submitted else Path(course) / "submitted"
    answers = {each.student: each.parse(assignment).answers
               for each in find_submissions(folder, name)}  # fmt: skip
    released, _ = read_own(find_notebook_of(name, course))
    release = {cell.id: cell.source for cell in released.of_kind("answer")}
    return write_similarity(answers, assignment, release, path)


def table(rows: Sequence[Row], title: str) -> RenderableType:
    """Return the verdicts as a table: a line a student, a column a check.

    Where the terminal is too narrow for that, a column is a question, and a sign, explained
    below the table, stands for what went wrong.
    """
    return _Fitting(_by_check(rows, title), _by_question(rows, title))


class _Fitting:
    """The first of some tables that has room, or else the last."""

    def __init__(self, *tables: Table) -> None:
        self.tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        unbounded = options.update(max_width=10_000)
        yield next((each for each in self.tables if Measurement.get(console, unbounded, each).maximum
                    <= options.max_width), self.tables[-1])  # fmt: skip


def _by_check(rows: Sequence[Row], title: str) -> Table:
    def cell(own: dict[str, Row], check: str) -> Text:
        return _verdict(own[check], own[check].verdict)

    checks = list(dict.fromkeys(row.question for row in rows))
    # "q1-check-step" stands over its column as "q1", and "step" below that.
    heads = {check: check.replace("-check", "").replace("-", "\n", 1) for check in checks}
    return _table(rows, title, heads, cell)


def _by_question(rows: Sequence[Row], title: str) -> Table:
    from rich.text import Text

    from workbench.course.feedback import SIGNS

    def cell(own: dict[str, Row], question: str) -> Text:
        return Text(" ").join(_verdict(row, SIGNS[row.verdict]) for row in own.values()
                              if row.question.split("-")[0] == question)  # fmt: skip

    heads = dict.fromkeys(row.question.split("-")[0] for row in rows)
    shown = _table(rows, title, {each: each for each in heads}, cell)
    met = dict.fromkeys(row.verdict for row in rows if row.verdict != "pass")
    shown.caption = "   ".join(f"{SIGNS[verdict]} {verdict}" for verdict in met)
    return shown


def _verdict(row: Row, otherwise: str) -> Text:
    from rich.text import Text

    passed = row.verdict == "pass"
    return Text(f"{row.points:g}", "blue") if passed else Text(otherwise, "dark_orange")


def _table(
    rows: Sequence[Row],
    title: str,
    heads: dict[str, str],
    cell: Callable[[dict[str, Row], str], Text],
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("student", overflow="fold", max_width=32)
    for head in (*heads.values(), "points", "time"):
        shown.add_column(head, justify="right", no_wrap=True)
    by_student: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_student.setdefault(row.student, {})[row.question] = row
    open_air = any(row.isolation == UNISOLATED for row in rows)
    if open_air:
        shown.add_column("isolation", no_wrap=True)
    for student, own in by_student.items():
        points, most = (sum(getattr(row, kind) for row in own.values())
                        for kind in ("points", "max_points"))  # fmt: skip
        line = [Text(plain(student, 200)), *(cell(own, each) for each in heads),
                Text(f"{points:g} of {most:g}"),
                Text(f"{sum(row.seconds for row in own.values()):.1f} s")]  # fmt: skip
        if open_air:
            line.append(Text(next(iter(own.values())).isolation))
        shown.add_row(*line)
    return shown


def write_json(graded: Graded, target: Path) -> None:
    """Write the rows, whole or not at all."""
    atomic_write(target, json.dumps(graded.data(), indent=2) + "\n", where="grade")


def workers() -> int:
    """Return how many processes judge by default: one for each processor."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
               else os.cpu_count() or 1)  # fmt: skip
