"""A small course, for the tests of what stands around the executor."""

import json

import nbformat

from workbench.course.notebooks import read_assignment
from workbench.course.results import Row

NAME = "sums"
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"


def metadata(grade_id, **options):
    own = {
        "grade": False,
        "grade_id": grade_id,
        "locked": not options.get("solution", False),
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    return {"nbgrader": {**own, **options}}


def cells(extra=()):
    v4 = nbformat.v4
    answer = "def total(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION"
    tests = (
        "assert total(1, 2) == 3\n### BEGIN HIDDEN TESTS\n"
        "assert total(40, 2) == 42  # secret\n### END HIDDEN TESTS"
    )
    hints = "<details><summary>Hint 1: plus</summary>Add.</details>"
    why = "### BEGIN SOLUTION\nIt commutes.\n### END SOLUTION"
    check = {"grade": True, "points": 3}
    return [
        v4.new_markdown_cell("# Sums", id="opening", metadata=metadata("opening")),
        v4.new_markdown_cell(
            "## Question 1.  Adding up\n\nAdd.", id="q1-task", metadata=metadata("q1-task")
        ),
        v4.new_markdown_cell(hints, id="q1-hints", metadata=metadata("q1-hints")),
        v4.new_code_cell(answer, id="q1-total", metadata=metadata("q1-total", solution=True)),
        v4.new_code_cell(tests, id="q1-check-total", metadata=metadata("q1-check-total", **check)),
        v4.new_markdown_cell(
            "## Question 2.  Why", id="q2-task", metadata=metadata("q2-task")
        ),
        v4.new_markdown_cell(
            why,
            id="q2-why",
            metadata=metadata("q2-why", grade=True, solution=True, locked=False, points=2),
        ),
        *extra,
    ]  # fmt: skip


def write_course(folder, extra=(), leave_out=()):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kept = [cell for cell in cells(extra) if cell.id not in leave_out]
    notebook = nbformat.v4.new_notebook(cells=kept, metadata={"kernelspec": kernel})
    path = folder / "solutions" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        'c.CourseDirectory.course_id = "workbench"\n'
        'c.CourseDirectory.source_directory = "solutions"\n'
        'c.CourseDirectory.release_directory = "exercises"\n'
    )
    return read_assignment(NAME, folder)


def submission(total="def total(a, b):\n    return a + b", why="Because."):
    """Return what a student hands in, as JSON gives it."""
    answers = {"q1-total": total, "q2-why": why}
    kept = [json.loads(json.dumps(cell)) for cell in cells()]
    for cell in kept:
        if cell["id"] in answers:
            cell["source"] = answers[cell["id"]]
    return {"cells": kept, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def row(student, points=3.0, verdict="pass", feedback="", question="q1-check-total", **more):
    return Row(student, NAME, question, verdict, points, 3.0, feedback, 0.25, **more)
