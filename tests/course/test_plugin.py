"""The pytest plugin: ``pytest exercises/NAME`` shows checks with their points."""

import os
import subprocess
import sys

import pytest
from test_attacks import NAME, RIGHT, SECRET, notebook
from test_selfcheck import SOLUTION, STUB, exercise

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytestmark = pytest.mark.slow  # Each starts pytest anew.


def run(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    (folder / "pytest.ini").write_text("[pytest]\n")  # Settings of folders above do not count.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:cov",
         "--rootdir", str(folder), *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env=environment)  # fmt: skip
    text = done.stdout + done.stderr
    for each in SOLUTION, SECRET, "checks.same", "selfcheck.py", "INTERNALERROR":
        assert each not in text
    return done.returncode, text


@pytest.mark.parametrize(
    ("double", "words", "points"),
    [
        (RIGHT, "2 passed", 5),
        (STUB, "fail: this question: it is not answered yet", 3),
        ("def double(x):\n    return -2 * x", "all of it has the wrong sign", 3),
        ("def double(x):\n    return 2 x", "SyntaxError", 3),
        ("def double(x):\n    while True: pass", "timeout: ", 3),
    ],
    ids=["right", "blank", "wrong", "syntax", "endless"],
)
def test_checks_are_tests_with_points(tmp_path, double, words, points):
    exercise(tmp_path, double=double)
    status, text = run(tmp_path, f"exercises/{NAME}", "-v", "-rA")
    assert status == (0 if points == 5 else 1), text
    assert f"{NAME}.ipynb::q1-check (2 points) {'PASSED' if points == 5 else 'FAILED'}" in text
    assert f"{NAME}.ipynb::q2-check (3 points) PASSED" in text
    assert words in text
    assert f"{NAME}: {points} of 5 points" in text
    assert "Traceback" not in text


def test_one_check_can_be_chosen(tmp_path):
    exercise(tmp_path, double=STUB)
    status, text = run(tmp_path, f"exercises/{NAME}", "-k", "q2-check")
    assert status == 0
    assert "1 passed, 1 deselected" in text
    assert f"{NAME}: 3 of 3 points" in text


def test_one_point_is_no_plural(tmp_path):
    path = exercise(tmp_path)
    made = nbformat.read(path, as_version=4)
    made.cells[2].metadata.nbgrader.points = 1
    made.cells[4].metadata.nbgrader.points = 1.5
    nbformat.write(made, path)
    status, text = run(tmp_path, path, "--collect-only", "-q")
    assert status == 0
    assert "q1-check (1 point)\n" in text
    assert "q2-check (1.5 points)\n" in text


def test_other_notebooks_are_left_alone(tmp_path):
    v4 = nbformat.v4
    plain = v4.new_notebook(cells=[v4.new_code_cell("from workbench.course import check\n1 / 0")])
    nbformat.write(plain, tmp_path / "plain.ipynb")
    foreign = notebook()
    foreign.cells[0].source = "import numpy as np"
    for cell in foreign.cells:
        cell.source = cell.source.replace("workbench.course", "numpy")
    nbformat.write(foreign, tmp_path / "foreign.ipynb")
    (tmp_path / "torn.ipynb").write_bytes(b'{"cells": [\xff')
    kept = exercise(tmp_path).parent / ".ipynb_checkpoints"
    kept.mkdir()
    nbformat.write(notebook(), kept / f"{NAME}-checkpoint.ipynb")
    (tmp_path / "test_own.py").write_text("def test_own():\n    assert True\n")
    status, text = run(tmp_path, "test_own.py", "plain.ipynb", "foreign.ipynb", "torn.ipynb")
    assert status != 0  # pytest itself says of each that it is no test.
    assert "not found" in text
    status, text = run(tmp_path, "exercises", "test_own.py")
    assert status == 0
    assert "3 passed" in text


def test_a_notebook_that_cannot_be_read_is_one_line(tmp_path):
    path = exercise(tmp_path)
    path.write_text(path.read_text()[:-20])
    status, text = run(tmp_path, path)
    assert status == 2
    assert "this is not a notebook that can be read" in text
    assert "Traceback" not in text


def test_two_notebooks_have_a_sum_each(tmp_path):
    exercise(tmp_path)
    other = notebook(STUB)
    for cell in other.cells:
        cell.source = cell.source.partition("### BEGIN HIDDEN TESTS")[0]
    target = tmp_path / "exercises" / "second"
    target.mkdir()
    nbformat.write(other, target / "second.ipynb")
    status, text = run(tmp_path, "exercises")
    assert status == 1
    assert "1 failed, 3 passed" in text
    assert f"{NAME}: 5 of 5 points" in text
    assert "second: 3 of 5 points" in text


def test_a_run_without_notebooks_says_nothing(tmp_path):
    (tmp_path / "test_own.py").write_text("def test_own():\n    assert True\n")
    status, text = run(tmp_path)
    assert status == 0
    assert "points" not in text
