"""The road through nbgrader: what it refuses, and what it leaves behind."""

import importlib.util
from pathlib import Path

import pytest

from workbench.course import nbgrader
from workbench.errors import (
    DataError,
    MissingDependencyError,
    OptionError,
    UnknownNameError,
    install_line,
)

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')


def metadata(grade_id, **options):
    return {
        "nbgrader": {
            "grade": False,
            "grade_id": grade_id,
            "locked": False,
            "schema_version": 3,
            "solution": False,
            "task": False,
            **options,
        }
    }


@pytest.fixture
def course(tmp_path):
    """A course with one small assignment, ``sums``."""
    write_source(tmp_path, "### BEGIN SOLUTION\ntotal = 2\n### END SOLUTION")
    return tmp_path


def write_source(course, answer):
    v4 = nbformat.v4
    cells = [
        v4.new_code_cell(answer, id="answer", metadata=metadata("answer", solution=True)),
        v4.new_code_cell(
            "assert total == 2",
            id="check",
            metadata=metadata("check", grade=True, locked=True, points=1),
        ),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder = course / "solutions" / "sums"
    folder.mkdir(parents=True, exist_ok=True)
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "sums.ipynb")


def test_repository_lists_its_assignments():
    assert "01-gradients-by-hand" in nbgrader.assignments(Path(__file__).parents[2])


def test_unknown_assignment_is_refused_with_the_nearest(course, capsys):
    with pytest.raises(UnknownNameError) as caught:
        nbgrader.release("sum", course)
    assert "did you mean 'sums'?" in str(caught.value)
    assert nbgrader.main(["release", "sum", "--course", str(course)]) == 1
    assert "there is no assignment called 'sum'" in capsys.readouterr().err
    assert not (course / "exercises").exists()


def test_folder_without_assignments_is_refused(tmp_path):
    with pytest.raises(DataError, match="no assignments here") as caught:
        nbgrader.release("sums", tmp_path)
    assert "solutions/NAME/NAME.ipynb" in str(caught.value)


def test_nothing_submitted_is_refused(course):
    (course / "submitted" / "ada").mkdir(parents=True)
    with pytest.raises(DataError, match="nobody has submitted 'sums'") as caught:
        nbgrader.autograde("sums", course / "submitted", course)
    assert "STUDENT/sums/sums.ipynb" in str(caught.value)


def test_missing_nbgrader_says_what_to_install(course, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        nbgrader.release("sums", course)
    assert install_line("course") in str(caught.value)


def test_exercise_that_cannot_be_read_is_not_overwritten(course):
    (course / "exercises" / "sums").mkdir(parents=True)
    (course / "exercises" / "sums" / "sums.ipynb").write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read") as caught:
        nbgrader.release("sums", course)
    assert "--force" in str(caught.value)


@pytest.mark.slow
def test_release_makes_the_exercise_and_overwrites_no_answers(course, capsys):
    assert nbgrader.main(["release", "sums", "--course", str(course)]) == 0
    assert capsys.readouterr().out.strip() == str(course / "exercises" / "sums")
    assert sorted(p.relative_to(course).as_posix() for p in course.rglob("*")) == [
        "exercises",
        "exercises/sums",
        "exercises/sums/sums.ipynb",
        "solutions",
        "solutions/sums",
        "solutions/sums/sums.ipynb",
    ]
    made = course / "exercises" / "sums" / "sums.ipynb"
    notebook = nbformat.read(made, as_version=4)
    notebook.cells[0].source = "total = 1 + 1"
    nbformat.write(notebook, made)
    with pytest.raises(OptionError, match="holds answers") as caught:
        nbgrader.release("sums", course)
    assert "answers in answer" in str(caught.value)
    assert "1 + 1" in made.read_text(encoding="utf-8")
    nbgrader.release("sums", course, force=True)
    assert "1 + 1" not in made.read_text(encoding="utf-8")


@pytest.mark.slow
def test_refused_source_leaves_the_old_exercise(course):
    (course / "exercises" / "sums").mkdir(parents=True)
    (course / "exercises" / "sums" / "kept.txt").write_text("kept", encoding="utf-8")
    write_source(course, "### BEGIN SOLUTION\ntotal = 2")
    with pytest.raises(nbgrader.NbgraderError, match="nbgrader generate_assignment"):
        nbgrader.release("sums", course)
    assert [path.name for path in (course / "exercises").rglob("*.*")] == ["kept.txt"]
