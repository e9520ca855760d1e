"""The first assignment: released, marked by the real nbgrader, and proven on wrong answers."""

import ast
import contextlib
import io
import re
import runpy
import shutil
from pathlib import Path

import pytest

from workbench.course import nbgrader

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')

REPOSITORY = Path(__file__).parents[2]
NAME = "01-gradients-by-hand"
MUTANTS = runpy.run_path(str(Path(__file__).with_name("mutants_01.py")))["MUTANTS"]
POINTS = {
    "q1-check-gradient": 3,
    "q1-check-step": 2,
    "q2-check-forward": 1,
    "q2-check-backward": 4,
    "q3-check-forward": 2,
    "q3-check-backward": 3,
    "q4-check": 5,
    "q5-check-find": 3,
    "q5-check-mend": 2,
}
BY_HAND = {"q2-words": 2, "q5-words": 2}  # Answers in words, which a person marks.
BATCHES = 3  # Submissions to nbgrader, each wrong in every answer; the rest is run here.


def read(folder):
    return nbformat.read(REPOSITORY / folder / NAME / f"{NAME}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def source():
    return read("solutions")


@pytest.fixture(scope="module")
def exercise():
    return read("exercises")


def is_kind(cell, kind):
    return bool(cell.metadata.get("nbgrader", {}).get(kind))


def sources(notebook, kind):
    return {
        cell.id: cell.source
        for cell in notebook.cells
        if is_kind(cell, kind) and cell.cell_type == "code"
    }


def mutated(notebook, mutant):
    answer = sources(notebook, "solution")[mutant.cell]
    for old, new in mutant.edits:
        assert old in answer, f"{mutant.name}: the reference has no {old!r}"
        answer = answer.replace(old, new)
    return answer


# --- how the notebooks are stored ---------------------------------------------------


@pytest.mark.parametrize("folder", ["solutions", "exercises"])
def test_stored_without_outputs(folder):
    notebook = read(folder)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert notebook.metadata.kernelspec.name == "python3"


def test_every_cell_knows_its_place_in_nbgrader(source):
    for cell in source.cells:
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader["schema_version"] == 3
            assert cell.metadata.nbgrader["grade_id"] == cell.id
    assert {
        cell.id: cell.metadata.nbgrader["points"] for cell in source.cells if is_kind(cell, "grade")
    } == POINTS | BY_HAND


def test_every_question_has_hints_a_goal_and_hidden_checks(source):
    prose = {cell.id: cell.source for cell in source.cells if cell.cell_type == "markdown"}
    for question in "q1", "q2", "q3", "q4", "q5":
        texts = [text for name, text in prose.items() if name.startswith(question)]
        assert any("**Goal.**" in text for text in texts)
        assert sum(text.count("<details><summary>Hint") for text in texts) >= 3
    for cell in sources(source, "grade").values():
        visible, hidden = cell.split("### BEGIN HIDDEN TESTS")
        assert "check" in visible
        assert "check" in hidden


def test_release_shows_neither_answers_nor_hidden_checks(source, exercise):
    released = {line.strip() for cell in exercise.cells for line in cell.source.splitlines()}
    assert not any("HIDDEN TESTS" in line or "SOLUTION" in line for line in released)
    secret, open_lines = [], set()
    for cell in source.cells:
        hiding = False
        for line in cell.source.splitlines():
            hiding = hiding or "### BEGIN" in line
            (secret.append if hiding else open_lines.add)(line.strip())
            hiding = hiding and "### END" not in line
    # A closing bracket is no secret, and question 5 repeats lines of the old program.
    telling = [line for line in secret if len(line) > 12 and line not in open_lines]
    assert len(telling) > 60
    assert [line for line in telling if line in released] == []


# --- every known-wrong answer, in this process --------------------------------------


def run(notebook, question, answers):
    """Run the cells of one question as nbgrader would; return each test cell's error."""
    namespace, errors = {"__name__": "__main__"}, {}
    for cell in notebook.cells:
        mine = cell.id == "setup" or cell.id.startswith(question)
        if cell.cell_type != "code" or not mine or "nbgrader" not in cell.metadata:
            continue
        code = compile(answers.get(cell.id, cell.source), cell.id, "exec")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, namespace)
            error = ""
        except Exception as caught:  # As a kernel does: report, and go on with the next cell.
            error = f"{type(caught).__name__}: {caught}"
        if is_kind(cell, "grade"):
            errors[cell.id] = error
        else:
            assert error == "", cell.id
    return errors


@pytest.mark.parametrize("question", ["q1", "q2", "q3", "q4", "q5"])
def test_reference_passes(source, question):
    errors = run(source, question, {})
    assert errors == {name: "" for name in POINTS if name.startswith(question)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.cell}: {m.name}")
def test_wrong_answer_is_caught_and_its_fault_named(source, mutant):
    errors = run(source, mutant.cell[:2], {mutant.cell: mutated(source, mutant)})
    assert tuple(name for name, error in errors.items() if error) == mutant.loses
    for name in mutant.loses:
        assert re.search(mutant.feedback, errors[name]), errors[name]


def test_there_are_four_wrong_answers_for_every_answer_cell(source):
    for name in sources(source, "solution"):
        assert sum(mutant.cell == name for mutant in MUTANTS) >= 4


def test_no_check_depends_on_the_answer_to_another_question(source):
    answers = {}
    for cell in source.cells:
        if is_kind(cell, "solution") and cell.cell_type == "code":
            tree = ast.parse(cell.source)
            answers |= {node.name: cell.id for node in tree.body if hasattr(node, "name")}
    for name, code in (sources(source, "grade") | sources(source, "solution")).items():
        used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        borrowed = {word for word in used & set(answers) if answers[word][:2] != name[:2]}
        assert borrowed == set(), name


# --- through the real nbgrader ------------------------------------------------------


@pytest.mark.slow
def test_exercise_is_what_nbgrader_makes_of_the_source(tmp_path, exercise):
    shutil.copytree(REPOSITORY / "solutions", tmp_path / "solutions")
    made = nbgrader.release(NAME, tmp_path)
    assert [path.name for path in made.iterdir()] == [f"{NAME}.ipynb"]
    fresh = nbformat.read(made / f"{NAME}.ipynb", as_version=4)
    again = "run: python -m workbench.course.nbgrader release " + NAME
    assert [cell.id for cell in fresh.cells] == [cell.id for cell in exercise.cells], again
    for new, stored in zip(fresh.cells, exercise.cells, strict=True):
        assert new == stored, again
    assert {path.name for path in tmp_path.iterdir()} == {"solutions", "exercises"}


def submit(folder, student, notebook):
    target = folder / student / NAME / f"{NAME}.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(notebook, target)


@pytest.fixture(scope="module")
def batches():
    """Deal the mutants out, so that no batch holds two of one answer cell."""
    dealt, seen = [[] for _ in range(BATCHES)], {}
    for mutant in MUTANTS:
        turn = seen[mutant.cell] = seen.get(mutant.cell, -1) + 1
        if turn < BATCHES:
            dealt[turn].append(mutant)
    return dealt


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    return tmp_path_factory.mktemp("executed")


@pytest.fixture(scope="module")
def marks(tmp_path_factory, source, exercise, batches, executed):
    """Mark the reference, the blank release, a torn file and the mutants, in one run."""
    folder = tmp_path_factory.mktemp("submitted")
    submit(folder, "reference", source)
    submit(folder, "blank", exercise)
    submit(folder, "torn", source)
    (folder / "torn" / NAME / f"{NAME}.ipynb").write_text('{"cells": [', encoding="utf-8")
    for number, mutants in enumerate(batches):
        answers = {mutant.cell: mutated(source, mutant) for mutant in mutants}
        wrong = read("solutions")
        wrong.cells = [cell for cell in wrong.cells if "nbgrader" in cell.metadata]  # No figures.
        for cell in wrong.cells:
            cell.source = answers.get(cell.id, cell.source)
        submit(folder, f"mutants-{number}", wrong)
    found = {}
    for mark in nbgrader.autograde(NAME, folder, REPOSITORY, executed=executed):
        if mark.question not in BY_HAND:
            found.setdefault(mark.student, {})[mark.question] = mark
    return found


@pytest.mark.slow
def test_nbgrader_gives_the_reference_full_marks(marks):
    assert {name: mark.points for name, mark in marks["reference"].items()} == POINTS
    assert {name: mark.max_points for name, mark in marks["reference"].items()} == POINTS
    assert all(mark.feedback == "" for mark in marks["reference"].values())
    assert list(marks["reference"]) == list(POINTS)


@pytest.mark.slow
@pytest.mark.usefixtures("marks")
def test_every_cell_of_the_reference_runs(executed):
    """The figures and the finale too, which nbgrader runs and does not mark."""
    pytest.importorskip("matplotlib", reason='the figures need pip install ".[lab]"')
    notebook = nbformat.read(executed / "reference" / NAME / f"{NAME}.ipynb", as_version=4)
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    for name, each in outputs.items():
        assert [output for output in each if output.output_type == "error"] == [], name
    for name in POINTS:  # A value left at the end of a test cell is taken for partial credit.
        assert all(output.output_type == "stream" for output in outputs[name]), name
    for figure in "q1-figure", "q4-figure", "q5-figure", "finale":
        assert any("image/png" in output.get("data", {}) for output in outputs[figure]), figure
    assert outputs["q5-use"][0]["data"]["text/plain"] == "['w1', 'b1']"


@pytest.mark.slow
def test_nbgrader_gives_the_blank_release_nothing(marks):
    assert {name: mark.points for name, mark in marks["blank"].items()} == dict.fromkeys(POINTS, 0)
    for mark in marks["blank"].values():
        assert mark.feedback.startswith("NotImplementedError")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(BATCHES))
def test_nbgrader_takes_the_points_that_wrong_answers_lose_and_no_others(marks, batches, number):
    lost = {name: mutant for mutant in batches[number] for name in mutant.loses}
    expected = {name: 0 if name in lost else points for name, points in POINTS.items()}
    found = marks[f"mutants-{number}"]
    assert {name: mark.points for name, mark in found.items()} == expected
    for name, mutant in lost.items():
        assert re.search(mutant.feedback, found[name].feedback)


@pytest.mark.slow
def test_a_torn_notebook_costs_nobody_else_a_mark(marks):
    for mark in marks["torn"].values():
        assert mark.points is None
        assert mark.feedback.startswith("nbgrader gave no mark; ")
        assert "'torn'" in mark.feedback
    assert {name: mark.max_points for name, mark in marks["torn"].items()} == POINTS
