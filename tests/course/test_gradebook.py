"""Marks in nbgrader's gradebook: what nbgrader itself then says of them."""

import csv
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig

import pytest

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')

from small_course import (  # noqa: E402
    NAME,
    metadata,
    row,
    submission,
    write_course,
)

from workbench.course.gradebook import scores, write_marks  # noqa: E402
from workbench.errors import DataError, UnknownNameError  # noqa: E402

FAIL = {"points": 0.0, "verdict": "fail", "feedback": "total(1, 2): the sum is wrong"}
UNICODE = "Zoë 学生"


@pytest.fixture(scope="module", autouse=True)
def without_waiting_for_the_disk():
    """These tests pull no plug on the machine, only on processes."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def fast(connection, record):
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", fast)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield
    event.remove(Engine, "connect", fast)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An empty gradebook.  nbgrader takes seconds to make one, so it is made once."""
    folder = tmp_path_factory.mktemp("empty")
    write_marks([], write_course(folder), folder, {})
    with gradebook(folder) as book:
        book.remove_assignment(NAME)
    return folder / "gradebook.db"


@pytest.fixture
def course(tmp_path, empty):
    shutil.copy(empty, tmp_path)
    return tmp_path


def gradebook(course):
    from nbgrader.api import Gradebook

    return Gradebook(f"sqlite:///{course / 'gradebook.db'}", "workbench")


def find_grade(course, student, cell):
    with gradebook(course) as book:
        grade = book.find_grade(cell, NAME, NAME, student)
        return grade.auto_score, grade.manual_score, grade.needs_manual_grade


def mark_by_hand(course, student, points=1.5, comment="Say more."):
    with gradebook(course) as book:
        grade = book.find_grade("q2-why", NAME, NAME, student)
        grade.manual_score, grade.needs_manual_grade = points, False
        book.find_comment("q2-why", NAME, NAME, student).manual_comment = comment
        book.db.commit()


def dump(course):
    with sqlite3.connect(course / "gradebook.db") as connection:
        return list(connection.iterdump())


def test_marks_stand_in_the_gradebook(course):
    assignment = write_course(course)
    notebooks = {"ada": submission(), UNICODE: submission(total="total = 3", why="")}
    written = write_marks([row("ada"), row(UNICODE, **FAIL)], assignment, course, notebooks)
    assert written == [UNICODE, "ada"]
    assert find_grade(course, "ada", "q1-check-total") == (3.0, None, False)
    assert find_grade(course, "ada", "q2-why") == (None, None, True)
    assert find_grade(course, UNICODE, "q1-check-total") == (0.0, None, False)
    assert find_grade(course, UNICODE, "q2-why") == (0.0, None, False)
    with gradebook(course) as book:
        assert book.find_comment("q2-why", NAME, NAME, UNICODE).comment == "No response."
        assert book.average_assignment_score(NAME) == 1.5
        by_student = {each["student"]: each for each in book.submission_dicts(NAME)}
    assert by_student["ada"]["score"] == 3.0
    assert by_student["ada"]["max_score"] == 5.0
    assert by_student["ada"]["needs_manual_grade"] is True
    assert by_student[UNICODE]["needs_manual_grade"] is False


def test_scores_are_what_nbgrader_says(course):
    assignment = write_course(course)
    write_marks([row("ada"), row("bob", **FAIL)], assignment, course,
                {"ada": submission(), "bob": submission()})  # fmt: skip
    mark_by_hand(course, "bob")
    with gradebook(course) as book:
        book.update_or_create_student("bob", first_name="Bob", email="bob@example.org")
    ada, bob = scores(NAME, course)
    assert (ada.student, ada.score, ada.max_score, ada.unread) == ("ada", 3.0, 5.0, True)
    assert (bob.score, bob.unread) == (1.5, False)
    assert (bob.first_name, bob.last_name, bob.email) == ("Bob", "", "bob@example.org")


def test_second_run_changes_nothing_and_a_third_what_changed(course):
    assignment = write_course(course)
    notebooks = {"ada": submission(), "bob": submission()}
    write_marks([row("ada"), row("bob")], assignment, course, notebooks)
    first, shown = dump(course), course / "autograded" / "ada" / NAME / f"{NAME}.ipynb"
    text = shown.read_bytes()
    write_marks([row("ada"), row("bob")], assignment, course, notebooks)
    assert dump(course) == first
    assert shown.read_bytes() == text
    write_marks([row("ada", **FAIL)], assignment, course, notebooks)
    assert find_grade(course, "ada", "q1-check-total")[0] == 0.0
    assert find_grade(course, "bob", "q1-check-total")[0] == 3.0


def test_marks_given_by_hand_stay(course):
    assignment = write_course(course)
    write_marks([row("ada")], assignment, course, {"ada": submission()})
    mark_by_hand(course, "ada")
    write_marks([row("ada", **FAIL)], assignment, course, {"ada": submission()})
    assert find_grade(course, "ada", "q2-why") == (None, 1.5, False)
    with gradebook(course) as book:
        assert book.find_comment("q2-why", NAME, NAME, "ada").comment == "Say more."


@pytest.mark.parametrize("why", ["Another reason.", "if a < b, <b>swap</b> them"])
def test_changed_answer_is_to_be_read_again(course, why):
    assignment = write_course(course)
    write_marks([row("ada")], assignment, course, {"ada": submission()})
    mark_by_hand(course, "ada")
    write_marks([row("ada")], assignment, course, {"ada": submission(why=why)})
    assert find_grade(course, "ada", "q2-why") == (None, 1.5, True)
    mark_by_hand(course, "ada")
    write_marks([row("ada")], assignment, course, {"ada": submission(why=why)})
    assert find_grade(course, "ada", "q2-why") == (None, 1.5, False)


def test_cell_added_after_submissions_arrived(course):
    write_marks([row("ada"), row("bob")], write_course(course), course,
                {"ada": submission(), "bob": submission()})  # fmt: skip
    mark_by_hand(course, "ada")
    check = nbformat.v4.new_code_cell(
        "assert total(0, 0) == 0",
        id="q1-check-zero",
        metadata=metadata("q1-check-zero", grade=True, points=1),
    )
    assignment = write_course(course, [check])
    rows = [row("ada"), row("ada", 1.0, question="q1-check-zero")]
    write_marks(rows, assignment, course, {"ada": submission()})
    assert find_grade(course, "ada", "q1-check-zero") == (1.0, None, False)
    assert find_grade(course, "bob", "q1-check-zero") == (None, None, True)
    assert find_grade(course, "ada", "q2-why")[1] == 1.5
    assert [each.score for each in scores(NAME, course)] == [5.5, 3.0]
    assert {each.max_score for each in scores(NAME, course)} == {6.0}


def test_cell_taken_away_takes_its_marks_unless_a_person_gave_them(course):
    write_marks([row("ada")], write_course(course), course, {"ada": submission()})
    mark_by_hand(course, "ada")
    before = dump(course)
    assignment = write_course(course, leave_out=["q2-why"])
    with pytest.raises(DataError, match="'q2-why' is gone from sums") as caught:
        write_marks([row("ada")], assignment, course, {"ada": submission()})
    assert "put the cell back" in str(caught.value)
    assert dump(course) == before
    assignment = write_course(course, leave_out=["q1-check-total"])
    write_marks([], assignment, course, {})
    assert [each.score for each in scores(NAME, course)] == [1.5]


def test_autograded_notebook_shows_answers_and_what_the_checks_said(course):
    assignment = write_course(course)
    hostile = submission(why="<script>alert(1)</script> if a < b")
    hostile["cells"][3]["outputs"] = [{"output_type": "display_data", "data": {"text/html": "x"}}]
    hostile["cells"][3]["metadata"]["nbgrader"]["points"] = 1e9
    hostile["cells"].append({"id": "mine", "cell_type": "code", "source": "extra"})
    feedback = "\x1b[31mthe sum\x1b[0m is wrong\ud800" + "x" * 10_000_000
    rows = [row("ada", 0.0, "fail", feedback)]
    write_marks(rows, assignment, course, {"ada": hostile})
    path = course / "autograded" / "ada" / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    by_id = {cell.id: cell for cell in notebook.cells}
    assert "mine" not in by_id
    assert by_id["q1-total"].source == "def total(a, b):\n    return a + b"
    assert by_id["q1-total"].outputs == []
    assert by_id["q2-why"].source == "&lt;script>alert(1)&lt;/script> if a &lt; b"
    (said,) = by_id["q1-check-total"].outputs
    assert said.ename == "fail"
    assert said.evalue.startswith("the sum is wrongxxx")
    assert "secret" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize(
    "notebook",
    [
        {},
        {"cells": None},
        {"cells": [None, 7, {}, {"metadata": []}, {"metadata": {"nbgrader": 3}, "source": "x"}]},
        {"cells": [{"id": ["q1-total"], "source": "x"}, {"id": "q1-total", "source": {"a": 1}}]},
        {"cells": [{"id": "q2-why", "source": ["\ud800", 5]}]},
        [1, 2],
    ],
)
def test_damaged_notebook_is_a_blank_one(course, notebook):
    write_marks([row("ada", **FAIL)], write_course(course), course, {"ada": notebook})
    assert find_grade(course, "ada", "q2-why") == (0.0, None, False)


def test_duplicated_and_unlabelled_cells(course):
    twice = submission(why="First.")
    twice["cells"].append({**twice["cells"][-1], "source": "Second."})
    for cell in twice["cells"]:
        cell["metadata"] = {}  # As an editor leaves it that knows no nbgrader.
    write_marks([row("ada")], write_course(course), course, {"ada": twice})
    text = (course / "autograded" / "ada" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert "First." in text
    assert "Second." not in text


@pytest.mark.parametrize("student", ["..", "a/b", "", "a\\b", "a" * 129, "a\x00b"])
def test_name_that_is_no_folder_is_refused(course, student):
    with pytest.raises(DataError, match="cannot be the name"):
        write_marks([row(student)], write_course(course), course, {})
    assert not (course / "autograded").exists()


def test_row_for_no_check_cell_is_refused(course):
    with pytest.raises(UnknownNameError, match="q1-check-totals"):
        write_marks([row("ada", question="q1-check-totals")], write_course(course), course, {})


def test_damaged_gradebook_is_refused_and_left_as_it_is(course):
    (course / "gradebook.db").write_text("no database, but a text that is long enough " * 50)
    before = (course / "gradebook.db").read_bytes()
    with pytest.raises(DataError, match="not a database") as caught:
        write_marks([row("ada")], write_course(course), course, {"ada": submission()})
    assert "backup" in str(caught.value)
    assert (course / "gradebook.db").read_bytes() == before


def test_locked_gradebook_is_refused(course):
    assignment = write_course(course)
    write_marks([row("ada")], assignment, course, {"ada": submission()})
    connection = sqlite3.connect(course / "gradebook.db")
    try:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match="locked") as caught:
            write_marks([row("ada", **FAIL)], assignment, course, {"ada": submission()})
    finally:
        connection.close()
    assert "close formgrader" in str(caught.value)
    assert find_grade(course, "ada", "q1-check-total")[0] == 3.0


def test_scores_of_nothing_are_refused(course):
    with pytest.raises(DataError, match="no gradebook here"):
        scores(NAME, course / "elsewhere")
    write_marks([], write_course(course), course, {})
    with pytest.raises(UnknownNameError, match="'sum'"):
        scores("sum", course)


def test_time_of_submission_is_taken_where_it_is_recorded(course):
    folder = course / "submitted" / "ada" / NAME
    folder.mkdir(parents=True)
    (folder / "timestamp.txt").write_text("2030-02-01 10:00:00 UTC\n")
    (course / "submitted" / "bob" / NAME).mkdir(parents=True)
    (course / "submitted" / "bob" / NAME / "timestamp.txt").write_text("soon")
    write_marks([row("ada"), row("bob")], write_course(course), course, {})
    with gradebook(course) as book:
        assert str(book.find_submission(NAME, "ada").timestamp) == "2030-02-01 10:00:00"
        assert book.find_submission(NAME, "bob").timestamp is None
    assert (course / "autograded" / "ada" / NAME / "timestamp.txt").exists()


def killed(course, assignment):
    """Stop like a pulled plug at the commit, when both students are written."""
    from nbgrader import api

    seen, complete = [], api.Gradebook.find_submission

    def find_submission(self, name, student):
        seen.append(student)
        if len(seen) == 2:
            from sqlalchemy import event

            event.listen(self.db(), "before_commit", lambda session: os._exit(9))
        return complete(self, name, student)

    api.Gradebook.find_submission = find_submission
    write_marks([row("ada"), row("bob")], assignment, course,
                {"ada": submission(), "bob": submission()})  # fmt: skip


def test_kill_leaves_all_marks_or_none(course):
    assignment = write_course(course)
    process = multiprocessing.get_context("spawn").Process(
        target=killed, args=(course, assignment)
    )  # fmt: skip
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert scores(NAME, course) == []
    with gradebook(course) as book:
        assert list(book.students) == []
    write_marks([row("ada"), row("bob")], assignment, course,
                {"ada": submission(), "bob": submission()})  # fmt: skip
    assert [each.score for each in scores(NAME, course)] == [3.0, 3.0]


def nbgrader(course, *arguments):
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    own = {"JUPYTER_NO_CONFIG": "1", "PATH": path, "IPYTHONDIR": str(course / ".ipython"),
           "JUPYTER_CONFIG_DIR": str(course / ".jupyter")}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=course, text=True,
                          env={**os.environ, **own}, capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_nbgrader_works_on_what_was_written(course):
    assignment = write_course(course)
    notebooks = {"ada": submission(why="<script>alert(1)</script>"), UNICODE: submission()}
    rows = [row("ada", **{**FAIL, "feedback": "<img src=x onerror=alert(1)> wrong"}), row(UNICODE)]
    write_marks(rows, assignment, course, notebooks)
    mark_by_hand(course, "ada")
    nbgrader(course, "export")
    with open(course / "grades.csv", encoding="utf-8") as file:
        exported = {each["student_id"]: each for each in csv.DictReader(file)}
    ours = {each.student: each for each in scores(NAME, course)}
    assert {each: float(exported[each]["score"]) for each in exported} == {"ada": 1.5, UNICODE: 3.0}
    assert {each: ours[each].score for each in ours} == {"ada": 1.5, UNICODE: 3.0}
    nbgrader(course, "generate_feedback", NAME)
    for student, total in {"ada": "1.5", UNICODE: "3.0"}.items():
        page = (course / "feedback" / student / NAME / f"{NAME}.html").read_text(encoding="utf-8")
        assert f"(Score: {total} / 5.0)" in page
        assert "secret" not in page
        assert "alert(1)</script>" not in page
        assert "<img src=x" not in page
    # Making the release anew finds the same cells, and so does not refuse.
    nbgrader(course, "generate_assignment", NAME, "--force")
    assert [each.score for each in scores(NAME, course)] == [3.0, 1.5]


def test_course_is_that_of_a_gradebook_made_by_nbgrader(course):
    """The cells are what `nbgrader generate_assignment` stores, hidden tests included."""
    write_marks([], write_course(course), course, {})
    with gradebook(course) as book:
        cells = {each.name: each for each in book.find_notebook(NAME, NAME).source_cells}
    assert "secret" in cells["q1-check-total"].source
    assert "NotImplementedError" in cells["q1-total"].source
