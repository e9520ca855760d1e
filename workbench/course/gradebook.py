"""Marks into nbgrader's own gradebook, so that all of nbgrader works on them afterwards.

nbgrader's ``formgrader``, ``nbgrader export`` and ``nbgrader generate_feedback`` read two
things: the database ``gradebook.db`` and the notebooks under ``autograded/``.  Both are
written here, from verdicts that were reached outside the student's process.

The tables are nbgrader's, reached by its :class:`nbgrader.api.Gradebook`.  Its methods
commit at every step; here the objects are made and changed in its session, and the marks
of a run are one commit: a run that is killed leaves all of them, or none.

A penalty for lateness is a plugin of ``nbgrader autograde``, and is not applied here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.course.notebooks import Assignment
from workbench.course.results import Row
from workbench.course.text import plain, require_folder
from workbench.errors import DataError, require, unknown_name
from workbench.files import atomic_write

__all__ = ["DATABASE", "Score", "scores", "write_marks"]

DATABASE, AUTOGRADED, SUBMITTED = "gradebook.db", "autograded", "submitted"
_LONGEST = 200_000  # Characters of one answer that the autograded notebook shows.


@dataclass(frozen=True)
class Score:
    """What the gradebook says of one student in one assignment.

    Parameters
    ----------
    student : str
        The submission's folder.
    score, max_score : float
        Points of checks and of marks given by hand, less a penalty for lateness.
    unread : bool
        Whether an answer still waits for a person.
    first_name, last_name, email, lms_user_id : str
        As ``nbgrader db student add`` recorded them; empty where it did not.
    """

    student: str
    score: float
    max_score: float
    unread: bool = False
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_user_id: str = ""


def write_marks(
    rows: Iterable[Row],
    assignment: Assignment,
    course: Path | str,
    notebooks: Mapping[str, Mapping[str, Any]],
    *,
    course_id: str = "workbench",
) -> list[str]:
    """Write verdicts into ``course/gradebook.db`` and ``course/autograded``.

    Parameters
    ----------
    rows : iterable of Row
        Verdicts on check cells, of one student or of many.
    assignment : Assignment
        What was graded; its source notebook lies in ``course/solutions``.
    course : path
    notebooks : mapping
        For each student the notebook handed in, as JSON gives it.  Only the text of
        answers is taken from it.
    course_id : str
        As in ``nbgrader_config.py``; used when the gradebook is made.

    Returns
    -------
    list of str
        The students written, in order.

    Raises
    ------
    DataError
        If the gradebook is locked, damaged or of another version of nbgrader, or if the
        assignment lost a cell that somebody has marked by hand.
    UnknownNameError
        If a row names no check cell of the assignment.

    Notes
    -----
    Points and comments that a person gave stay.  An answer is put back on the list of
    those to read when its text or its verdict changed since then.
    """
    checks = [cell.id for cell in assignment.of_kind("check")]
    by_student: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row.question not in checks:
            raise unknown_name("gradebook", "check cell", row.question, checks)
        require_folder("gradebook", row.student)
        by_student[row.student][row.question] = row
    source, release = _released(assignment.name, Path(course))
    stubs = {
        cell.metadata.nbgrader.grade_id: cell.source.strip()
        for cell in release.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    files: list[tuple[Path, str]] = []
    with _gradebook(course, course_id) as gradebook:
        _define(gradebook, assignment.name, source)
        for student, own in sorted(by_student.items()):
            texts = _texts(notebooks.get(student, {}))
            path = Path(course) / AUTOGRADED / student / assignment.name
            earlier = _read(path / f"{assignment.name}.ipynb")
            before = _texts(earlier)
            blank = {
                each for each, stub in stubs.items() if texts.get(each, "").strip() in ("", stub)
            }
            changed = {
                each
                for each in texts.keys() & before.keys()
                if before[each] not in (texts[each], _inert(texts[each]))
            }
            stamp = _timestamp(Path(course) / SUBMITTED / student / assignment.name)
            _mark(gradebook, assignment.name, student, own, blank, changed, stamp)
            shown = _shown(release, own, texts)
            if shown != earlier:
                text = json.dumps(shown, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
                files.append((path / f"{assignment.name}.ipynb", text))
            if stamp is not None:
                files.append((path / "timestamp.txt", f"{stamp.isoformat()} UTC\n"))
        gradebook.db.commit()
    # After the commit: what is lost between the two is written by the next run.
    for path, text in files:
        atomic_write(path, text, where="gradebook", durable=False)
    return sorted(by_student)


def scores(assignment: str, course: Path | str, *, course_id: str = "workbench") -> list[Score]:
    """Return what ``course/gradebook.db`` says of everybody who handed in an assignment.

    Raises
    ------
    DataError
        If there is no gradebook, no such assignment in it, or it cannot be read.
    """
    path = Path(course) / DATABASE
    if not path.is_file():
        raise DataError("gradebook", "there is no gradebook here", given=str(path),
                        fix="grade an assignment first")  # fmt: skip
    with _gradebook(course, course_id) as gradebook:
        from nbgrader.api import MissingEntry

        try:
            submissions = gradebook.find_assignment(assignment).submissions
        except MissingEntry as error:
            raise unknown_name("gradebook", "assignment", assignment,
                               [each.name for each in gradebook.assignments]) from error  # fmt: skip
        return sorted((_score(each) for each in submissions), key=lambda each: each.student)


def _score(submission: Any) -> Score:
    student, penalty = submission.student, submission.late_submission_penalty or 0.0
    return Score(student.id, max(0.0, submission.score - penalty), submission.max_score,
                 bool(submission.needs_manual_grade), student.first_name or "",
                 student.last_name or "", student.email or "", student.lms_user_id or "")  # fmt: skip


@contextlib.contextmanager
def _gradebook(course: Path | str, course_id: str) -> Iterator[Any]:
    """Open the gradebook, and word whatever the database refuses."""
    require("nbgrader", room="course", extra="course")
    from nbgrader.api import Gradebook, InvalidEntry
    from sqlalchemy.exc import SQLAlchemyError

    path = Path(course).resolve() / DATABASE
    try:
        with _alembic_on_path():
            gradebook = Gradebook(f"sqlite:///{path}", course_id)
        with gradebook:
            yield gradebook
    except (SQLAlchemyError, InvalidEntry) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "locked" in reason:
            fix = "close formgrader and other runs of nbgrader, then grade again"
        elif "no such column" in reason or "no such table" in reason:
            fix = "another version of nbgrader made it: run 'nbgrader db upgrade' in that folder"
        elif "readonly" in reason or "unable to open" in reason:
            fix = "you need the right to write that file and its folder"
        else:
            fix = ("move the file away (it holds the marks given by hand: look for a backup, "
                   "gradebook.db.*), then grade again")  # fmt: skip
        raise DataError("gradebook", f"nbgrader's gradebook cannot be used: {reason}",
                        given=str(path), fix=fix) from error  # fmt: skip


@contextlib.contextmanager
def _alembic_on_path() -> Iterator[None]:
    """Let nbgrader start alembic by name, also where no environment is activated."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _released(name: str, course: Path) -> tuple[Any, Any]:
    """Return the notebook as nbgrader would store it, and as students receive it."""
    require("nbgrader", room="course", extra="course")
    import nbformat
    from nbgrader import preprocessors

    path = course / "solutions" / name / f"{name}.ipynb"
    source = nbformat.read(path, as_version=4)
    # The steps of `nbgrader generate_assignment`, in its order; the gradebook keeps the
    # notebook as it is before the hidden tests leave it.
    for step in "LockCells", "ClearSolutions", "ClearOutput", "ComputeChecksums":
        source, _ = getattr(preprocessors, step)().preprocess(source, {})
    release = nbformat.from_dict(json.loads(json.dumps(source)))
    for step in "ClearHiddenTests", "ClearMarkScheme", "ComputeChecksums":
        release, _ = getattr(preprocessors, step)().preprocess(release, {})
    return source, release


def _define(gradebook: Any, name: str, source: Any) -> None:
    """Make the gradebook's idea of an assignment that of its source notebook.

    nbgrader refuses to change the cells of an assignment that has submissions.  Here a
    new cell is added to every submission, where it waits for a verdict.
    """
    from nbgrader import api, utils

    gradebook.update_or_create_assignment(name)
    kernel = json.dumps(source.metadata.get("kernelspec", {}))
    notebook = gradebook.update_or_create_notebook(name, name, kernelspec=kernel)
    kinds = {api.GradeCell: utils.is_grade, api.SolutionCell: utils.is_solution,
             api.TaskCell: utils.is_task}  # fmt: skip
    kept = {api.GradeCell: notebook.grade_cells, api.SolutionCell: notebook.solution_cells,
            api.TaskCell: notebook.task_cells}  # fmt: skip
    for kind, belongs in kinds.items():
        wanted = {_id(cell): cell for cell in source.cells if belongs(cell)}
        old = {each.name: each for each in kept[kind]}
        for gone in old.keys() - wanted.keys():
            _drop(gradebook, name, old[gone])
        for each, cell in wanted.items():
            record = old.get(each) or kind(name=each, notebook=notebook)
            if kind is not api.SolutionCell:
                record.max_score = float(cell.metadata.nbgrader["points"])
                record.cell_type = cell.cell_type
            gradebook.db.add(record)
    _define_sources(gradebook, notebook, source)
    gradebook.db.flush()
    for submitted in notebook.submissions:
        _complete(gradebook, submitted)
    gradebook.db.commit()


def _define_sources(gradebook: Any, notebook: Any, source: Any) -> None:
    from nbgrader import api, utils

    old = {each.name: each for each in notebook.source_cells}
    wanted = {_id(cell): cell for cell in source.cells if cell.metadata.get("nbgrader")}
    for gone in old.keys() - wanted.keys():
        gradebook.db.delete(old[gone])
    for each, cell in wanted.items():
        record = old.get(each) or api.SourceCell(name=each, notebook=notebook)
        record.cell_type, record.source = cell.cell_type, cell.source
        record.locked = utils.is_locked(cell)
        record.checksum = cell.metadata.nbgrader.get("checksum")
        gradebook.db.add(record)


def _drop(gradebook: Any, name: str, cell: Any) -> None:
    by_hand = [each for each in cell.grades if each.manual_score is not None]
    by_hand += [each for each in cell.comments if each.manual_comment]
    if by_hand:
        gradebook.db.rollback()
        raise DataError("gradebook", f"cell {cell.name!r} is gone from {name}, but somebody marked "
                        "it by hand", given=f"{len(by_hand)} marks or comments",
                        fix="put the cell back, or give the assignment a new name")  # fmt: skip
    for each in [*cell.grades, *cell.comments, cell]:
        gradebook.db.delete(each)


def _complete(gradebook: Any, submitted: Any) -> None:
    """Give a submitted notebook a place for every mark and every comment."""
    from nbgrader import api

    notebook = submitted.notebook
    marked = {each.cell_id for each in submitted.grades}
    commented = {each.cell_id for each in submitted.comments}
    for cell in [*notebook.grade_cells, *notebook.task_cells]:
        if cell.id not in marked:
            gradebook.db.add(api.Grade(cell_id=cell.id, notebook=submitted))
    for cell in [*notebook.solution_cells, *notebook.task_cells]:
        if cell.id not in commented:
            gradebook.db.add(api.Comment(cell_id=cell.id, notebook=submitted))
    gradebook.db.flush()


def _mark(
    gradebook: Any,
    name: str,
    student: str,
    rows: Mapping[str, Row],
    blank: set[str],
    changed: set[str],
    stamp: Any,
) -> None:
    from nbgrader import api

    try:
        submission = gradebook.find_submission(name, student)
    except api.MissingEntry:
        try:
            person = gradebook.find_student(student)
        except api.MissingEntry:
            person = api.Student(id=student)
        with gradebook.db.no_autoflush:
            submission = api.SubmittedAssignment(
                assignment=gradebook.find_assignment(name), student=person
            )
            notebook = api.SubmittedNotebook(
                notebook=gradebook.find_notebook(name, name), assignment=submission
            )
            gradebook.db.add_all([person, submission, notebook])
        gradebook.db.flush()
    if stamp is not None:
        submission.timestamp = stamp
    (submitted,) = (each for each in submission.notebooks if each.name == name)
    _complete(gradebook, submitted)
    gradebook.db.refresh(submitted)
    answers = {each.name for each in submitted.notebook.solution_cells}
    for grade in submitted.grades:
        before, own = grade.auto_score, grade.cell.name
        if own in rows:
            grade.auto_score = rows[own].points
        elif own in answers:  # Written by the student, read by a person.
            grade.auto_score = 0.0 if own in blank else None
        if grade.manual_score is None:
            grade.needs_manual_grade = grade.auto_score is None
        elif own in changed or before != grade.auto_score:
            grade.needs_manual_grade = True
    for comment in submitted.comments:
        comment.auto_comment = "No response." if comment.cell.name in blank else None


def _shown(release: Any, rows: Mapping[str, Row], texts: Mapping[str, str]) -> Any:
    """Return the notebook that a marker sees: release, answers, what the checks said."""
    notebook = json.loads(json.dumps(release))
    for cell in notebook["cells"]:
        own = cell["metadata"].get("nbgrader", {})
        if own.get("solution") and own["grade_id"] in texts:
            cell["source"] = texts[own["grade_id"]]
            if cell["cell_type"] == "markdown":  # It would be a part of the marker's page.
                cell["source"] = _inert(cell["source"])
        row = rows.get(own.get("grade_id", ""))
        if row is not None and row.verdict != "pass":
            said = plain(row.feedback)
            cell["outputs"] = [{"output_type": "error", "ename": row.verdict, "evalue": said,
                                "traceback": [f"{row.verdict}: {said}"]}]  # fmt: skip
    return notebook


def _inert(markdown: str) -> str:
    return markdown.replace("<", "&lt;")


def _texts(notebook: Any) -> dict[str, str]:
    """Take the texts of a stranger's notebook, by cell; the first of equal names counts."""
    found: dict[str, str] = {}
    cells = notebook.get("cells") if isinstance(notebook, Mapping) else None
    for cell in cells if isinstance(cells, list) else ():
        source = cell.get("source") if isinstance(cell, Mapping) else None
        if isinstance(source, list) and all(isinstance(each, str) for each in source):
            source = "".join(source)
        if isinstance(source, str) and (name := _id(cell)):
            found.setdefault(name, plain(source, _LONGEST))
    return found


def _id(cell: Any) -> str | None:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = own.get("grade_id") if isinstance(own, Mapping) else cell.get("id")
    return name if isinstance(name, str) else None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # Not there yet, or cut short: it is written anew.
        return {}


def _timestamp(folder: Path) -> Any:
    """Return when it was handed in, where nbgrader's exchange or ``collect`` recorded it."""
    from nbgrader.utils import parse_utc

    path = folder / "timestamp.txt"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 100:
        return None
    try:
        return parse_utc(path.read_text(encoding="utf-8").strip())
    except (ValueError, OverflowError):
        return None
