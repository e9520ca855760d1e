"""Every assignment: how it is stored, what its release shows, and proof of its checks.

A check that has not refused a wrong answer proves nothing.  So each is held against the
blank release, known-wrong answers (which must be refused with the fault named), answers
that take the library's own function, and mutants of the reference.
"""

import json
import re
import runpy
from pathlib import Path

import pytest
from mutation import mutants

from workbench.course.notebooks import parse_submission, read_assignment
from workbench.course.referee import Judge, Options
from workbench.course.sandbox import isolation
from workbench.course.worker import globals_of

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')

REPOSITORY = Path(__file__).parents[2]
NAMES = sorted(path.name for path in (REPOSITORY / "solutions").iterdir() if path.is_dir())
QUESTIONS = [(name, question) for name in NAMES for question in dict.fromkeys(
    cell.question for cell in read_assignment(name, REPOSITORY).of_kind("check"))]  # fmt: skip
SEEDS = "a", "b", "c"
each_name = pytest.mark.parametrize("name", NAMES)
each_question = pytest.mark.parametrize(("name", "question"), QUESTIONS)


def read(folder, name):
    return nbformat.read(REPOSITORY / folder / name / f"{name}.ipynb", as_version=4)


def known(name):
    return runpy.run_path(str(Path(__file__).with_name(f"mutants_{name[:2]}.py")))


def is_kind(cell, kind):
    return bool(cell.metadata.get("nbgrader", {}).get(kind))


def is_free(cell):
    return is_kind(cell, "grade") and is_kind(cell, "solution")


def submission(name, folder="solutions", student="ada", answers=()):
    """Return a notebook as a student's, with some answers in place of what it has."""
    notebook = read(folder, name)
    for cell in notebook.cells:
        cell.source = dict(answers).get(cell.id, cell.source)
    assignment = read_assignment(name, REPOSITORY)
    return parse_submission(student, json.dumps(notebook).encode(), assignment)


@pytest.fixture(scope="module")
def judge():
    """Judge by the grader itself; sandboxes are kept while one question is asked about."""
    open_judges = {}

    def rows(name, question, handed, secret="s"):
        key = name, question, secret
        if key not in open_judges:
            close()
            options = Options(secret=secret, mode=isolation()[0])
            open_judges[key] = Judge(read_assignment(name, REPOSITORY), options)
        return {row.question: row for row in open_judges[key].rows(handed, (question,))}

    def close():
        for each in open_judges.values():
            each.__exit__()
        open_judges.clear()

    yield rows
    close()


# --- how the notebooks are stored ---------------------------------------------------


@each_name
@pytest.mark.parametrize("folder", ["solutions", "exercises"])
def test_stored_without_outputs(folder, name):
    notebook = read(folder, name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert notebook.metadata.kernelspec.name == "python3"


@each_name
def test_every_cell_knows_its_place_in_nbgrader(name):
    cells = read("solutions", name).cells
    assert len({cell.id for cell in cells}) == len(cells)
    for cell in cells:
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader["schema_version"] == 3
            assert cell.metadata.nbgrader["grade_id"] == cell.id


def test_there_are_eight_assignments_and_some_fifty_questions():
    assignments = [read_assignment(name, REPOSITORY) for name in NAMES]
    assert [each.name[:2] for each in assignments] == [f"{i:02}" for i in range(1, 9)]
    assert sum(len(each.of_kind("check")) for each in assignments) >= 50
    assert all(each.of_kind("manual") for each in assignments)
    for each in assignments:
        assert 15 <= sum(cell.points for cell in each.of_kind("check", "manual")) <= 35


@each_question
def test_every_question_has_a_goal_hints_a_try_and_hidden_checks(name, question):
    cells = [cell for cell in read("solutions", name).cells if cell.id.split("-")[0] == question]
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "**Goal.**" in prose
    assert prose.count("<details><summary>Hint") >= 3
    assert any(f'check("{question}' in cell.source for cell in cells if cell.cell_type == "code")
    for cell in cells:
        if is_kind(cell, "grade") and not is_free(cell):
            visible, hidden = cell.source.split("### BEGIN HIDDEN TESTS")
            assert "check" in visible
            assert "check" in hidden


@each_name
def test_release_shows_neither_answers_nor_hidden_checks(name):
    source, exercise = read("solutions", name), read("exercises", name)
    released = {line.strip() for cell in exercise.cells for line in cell.source.splitlines()}
    assert not any("HIDDEN TESTS" in line or "SOLUTION" in line for line in released)
    secret, open_lines = [], set()
    for cell in source.cells:
        hiding = False
        for line in cell.source.splitlines():
            hiding = hiding or "### BEGIN" in line
            (secret.append if hiding else open_lines.add)(line.strip())
            hiding = hiding and "### END" not in line
    telling = [line for line in secret if len(line) > 12 and line not in open_lines]
    assert len(telling) > 40
    assert [line for line in telling if line in released] == []


def test_there_are_four_wrong_answers_for_every_check():
    for name in NAMES:
        loses = [check for mutant in known(name)["MUTANTS"] for check in mutant.loses]
        for cell in read_assignment(name, REPOSITORY).of_kind("check"):
            assert loses.count(cell.id) >= 4, f"{name}: {cell.id}"


@each_name
def test_nothing_depends_on_the_answer_to_another_question(name):
    assignment, answered_in = read_assignment(name, REPOSITORY), {}
    for cell in assignment.of_kind("answer", "apparatus"):
        for word in globals_of(cell.source)[0]:
            answered_in.setdefault(word, set()).add(cell.question)
    for cell in assignment.of_kind("given", "apparatus", "answer", "check"):
        used = globals_of(cell.source)[1] & answered_in.keys()
        assert not {word for word in used if cell.question not in answered_in[word]}, cell.id


# --- by the grader ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.proof
@each_question
def test_reference_has_full_marks_and_blank_none(judge, name, question):
    for row in judge(name, question, submission(name, "exercises", "blank")).values():
        assert (row.verdict, row.points) in {("fail", 0), ("missing", 0)}, row
        assert row.feedback
    for seed in SEEDS:
        for row in judge(name, question, submission(name), seed).values():
            assert (row.verdict, row.points) == ("pass", row.max_points), row


@pytest.mark.slow
@pytest.mark.proof
@each_question
def test_every_wrong_answer_is_refused_with_its_fault_named(judge, name, question):
    reference, problems = {c.id: c.source for c in read("solutions", name).cells}, []
    for mutant in known(name)["MUTANTS"]:
        if mutant.cell.split("-")[0] != question:
            continue
        handed = submission(name, answers={mutant.cell: mutant.apply(reference[mutant.cell])})
        rows = judge(name, question, handed)
        lost = {check for check, row in rows.items() if row.verdict != "pass"}
        if lost != set(mutant.loses):
            problems.append(f"{mutant.name}: loses {sorted(lost)}, not {mutant.loses}")
        problems += [f"{mutant.name}: {mutant.feedback!r} is not in: {rows[check].feedback}"
                     for check in lost if not re.search(mutant.feedback, rows[check].feedback)]  # fmt: skip
        assert all(row.points == 0 for row in rows.values() if row.question in lost)
    assert problems == []


@pytest.mark.slow
@pytest.mark.proof
@each_question
def test_the_library_does_not_do_the_work(judge, name, question):
    if isolation()[0] != "bubblewrap":
        pytest.skip("withheld functions are only out of reach inside a sandbox")
    reference = {cell.id: cell.source for cell in read("solutions", name).cells}
    for cheat in known(name).get("CHEATS", ()):
        if cheat.cell.split("-")[0] == question:
            handed = submission(name, answers={cheat.cell: cheat.apply(reference[cheat.cell])})
            rows = judge(name, question, handed)
            for check in cheat.loses:
                assert rows[check].points == 0, (cheat.name, check)
                assert "not there while this question is marked" in rows[check].feedback or (
                    "No module" in rows[check].feedback or re.search(
                        cheat.feedback, rows[check].feedback)), rows[check].feedback  # fmt: skip


@pytest.mark.slow
@pytest.mark.proof
@each_name
def test_mutants_of_the_reference_are_caught(judge, name):
    equivalent = known(name).get("EQUIVALENT", {})
    total, survivors = 0, []
    for cell in read_assignment(name, REPOSITORY).of_kind("answer"):
        for label, text in mutants(cell.source):
            total += 1
            rows = judge(name, cell.question, submission(name, answers={cell.id: text}))
            if any(row.verdict != "pass" for row in rows.values()):
                continue
            if not equivalent.keys() & {label, *label.split(" / ")}:
                survivors.append(f"{cell.id}: {label}")
    assert total >= 30
    assert survivors == [], f"{len(survivors)} of {total}"
    assert all(equivalent.values())
