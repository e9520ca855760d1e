"""Every assignment through the real nbgrader: released, marked, its pages and its table.

Honest submissions must have the same marks on both roads: nbgrader's, where answer and
checks share a process, and the grader's, where they do not.  nbgrader takes its time,
so each assignment goes through once, two at a time, and the tests read what came of it.
"""

import ast
import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.course import nbgrader
from workbench.course.folder import init
from workbench.course.notebooks import read_assignment

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')

# One group: both roads are walked once, in one process of the test run.
pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.xdist_group("road")]

REPOSITORY = Path(__file__).parents[2]
NAMES = sorted(path.name for path in (REPOSITORY / "solutions").iterdir() if path.is_dir())
MIXTURES = "mixture-0", "mixture-1", "mixture-2"
HONEST = "reference", "blank", *MIXTURES
READ = "mixture-0", "mixture-2"  # nbgrader takes more than a second for a page.
each_name = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class Road:
    """What came of one assignment: both roads' marks, and the notebooks as nbgrader ran them."""

    marks: dict
    rows: dict
    executed: Path


def read(folder, name):
    return nbformat.read(Path(folder) / name / f"{name}.ipynb", as_version=4)


def source_of(name):
    return read(REPOSITORY / "solutions", name)


def checks_of(name):
    return {cell.id: cell.points for cell in read_assignment(name, REPOSITORY).of_kind("check")}


# --- the submissions ----------------------------------------------------------------


def deal(name, number):
    """Choose wrong answers for a mixture: one a question, and every third question right."""
    known = runpy.run_path(str(Path(__file__).with_name(f"mutants_{name[:2]}.py")))
    of_question = defaultdict(list)
    for mutant in known["MUTANTS"]:
        of_question[mutant.cell.split("-")[0]].append(mutant)
    return [
        mutants[(place + number * len(mutants) // len(MIXTURES)) % len(mutants)]
        for place, (_, mutants) in enumerate(sorted(of_question.items()))
        if (place + number) % len(MIXTURES)
    ]


def without_figures(notebook):
    """Leave out the cells that are never graded; the reference runs them."""
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    return notebook


class Renamed(ast.NodeTransformer):
    """Gives functions and classes of an answer other names, where they are made and used."""

    def __init__(self, tree):
        self.names = {node.name: f"my_{node.name}" for node in tree.body if hasattr(node, "name")}

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node


def as_helper(cell, number):
    """Do an answer in an added cell; its own cell only passes the result on."""
    tree = ast.parse(cell.source)
    renamed = Renamed(tree)
    for node in tree.body:
        if hasattr(node, "name"):
            node.name = renamed.names[node.name]
    added = ast.unparse(renamed.visit(tree))
    cell.source = "\n".join(f"{old} = {new}" for old, new in renamed.names.items())
    return nbformat.v4.new_code_cell(added, id=f"added-{number}")


def mixture(name, number):
    """Answer some questions wrong and some right, in the last mixture by helpers of one's own."""
    notebook = without_figures(source_of(name))
    wrong, cells = {mutant.cell: mutant for mutant in deal(name, number)}, []
    for cell in notebook.cells:
        if cell.id in wrong:
            cell.source = wrong[cell.id].apply(cell.source)
        elif cell.cell_type == "code" and cell.metadata.nbgrader["solution"] and number == 2:
            cells.append(as_helper(cell, len(cells)))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def submit_all(folder, name):
    notebooks = {
        "reference": source_of(name),
        "blank": without_figures(read(REPOSITORY / "exercises", name)),
        **{student: mixture(name, number) for number, student in enumerate(MIXTURES)},
    }
    for student, notebook in notebooks.items():
        path = folder / student / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(nbformat.writes(notebook), encoding="utf-8")
    torn = folder / "torn" / name / f"{name}.ipynb"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"cells": [', encoding="utf-8")


# --- the roads ----------------------------------------------------------------------


def run(course, module, *arguments):
    """Run a program in the course folder, as an instructor does."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    own = {"JUPYTER_NO_CONFIG": "1", "PATH": path, "IPYTHONDIR": str(course / ".ipython"),
           "JUPYTER_CONFIG_DIR": str(course / ".jupyter")}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=course, text=True,
                          env={**os.environ, **own}, capture_output=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    made = init(tmp_path_factory.mktemp("road") / "course", REPOSITORY)
    for name in NAMES:
        submit_all(made / "submitted", name)
    return made


@pytest.fixture(scope="module")
def released(course):
    """Make all exercises anew, in one run."""
    shutil.rmtree(course / "exercises")
    run(course, "nbgrader", "generate_assignment", "*", "--no-db")
    return course / "exercises"


@pytest.fixture(scope="module")
def roads(request, course, released, tmp_path_factory):
    """Send every assignment that is asked for down both roads; return what will come of it."""
    one_at_a_time = threading.Lock()  # One grader in a course folder, and one database.
    executed_in = {name: tmp_path_factory.mktemp(name) for name in NAMES}

    def send(name):
        executed = executed_in[name]
        found = nbgrader.autograde(name, course / "submitted", REPOSITORY, executed=executed)
        with one_at_a_time:
            run(course, "workbench", "grade", name, "--jobs", "1", "--json", f"{name}.json")
        marks, rows = defaultdict(dict), defaultdict(dict)
        for mark in found:
            marks[mark.student][mark.question] = mark
        for row in json.loads((course / f"{name}.json").read_text(encoding="utf-8"))["rows"]:
            rows[row["student"]][row["question"]] = row
        return Road(marks, rows, executed)

    wanted = {item.callspec.params.get("name") for item in request.session.items
              if hasattr(item, "callspec") and item.path == request.path}  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(send, name) for name in NAMES if name in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def road(roads, name):
    return roads[name].result()


@pytest.fixture(scope="module")
def exported(roads, course):
    """Let nbgrader make pages and a table of our gradebook; return the rows of the table."""
    for each in roads.values():
        each.result()
    # Our own pages are there already, and would stay without --force.
    run(course, "nbgrader", "generate_feedback", "*", "--force", "--student=mixture-[02]")
    run(course, "nbgrader", "export")
    with open(course / "grades.csv", encoding="utf-8", newline="") as file:
        return {(row["assignment"], row["student_id"]): row for row in csv.DictReader(file)}


# --- what came of it ----------------------------------------------------------------


@each_name
def test_exercise_is_what_nbgrader_makes_of_the_source(released, name):
    again = f"run: workbench release {name} --force"
    assert [path.name for path in (released / name).iterdir()] == [f"{name}.ipynb"]
    made, stored = read(released, name), read(REPOSITORY / "exercises", name)
    assert [cell.id for cell in made.cells] == [cell.id for cell in stored.cells], again
    for new, old in zip(made.cells, stored.cells, strict=True):
        assert new == old, again
    assert made == stored, again


@each_name
def test_both_roads_give_every_honest_submission_the_same_marks(road, name):
    checks = checks_of(name)
    for student in HONEST:
        ours = {check: row["points"] for check, row in road.rows[student].items()}
        theirs = {check: road.marks[student][check].points for check in checks}
        assert theirs == ours, student
        assert {check: road.marks[student][check].max_points for check in checks} == checks


@each_name
def test_reference_has_full_marks(road, name):
    checks = checks_of(name)
    own = {check: road.marks["reference"][check] for check in checks}
    assert {check: mark.feedback for check, mark in own.items()} == dict.fromkeys(checks, "")
    assert {check: mark.points for check, mark in own.items()} == checks


@each_name
def test_blank_release_has_no_marks(road, name):
    for mark in road.marks["blank"].values():
        assert mark.points == 0
    for check in checks_of(name):
        said = road.marks["blank"][check].feedback
        assert re.match("NotImplementedError|NameError", said), (check, said)


@each_name
def test_wrong_answers_lose_their_points_and_no_others(road, name):
    checks = checks_of(name)
    for number, student in enumerate(MIXTURES):
        lost = {check: mutant for mutant in deal(name, number) for check in mutant.loses}
        assert 0 < len(lost) < len(checks)
        expected = {check: 0 if check in lost else points for check, points in checks.items()}
        own = road.marks[student]
        assert {check: own[check].points for check in checks} == expected, (student, lost)
        for check, mutant in lost.items():
            assert re.search(mutant.feedback, own[check].feedback), own[check].feedback


@each_name
def test_a_torn_notebook_costs_nobody_else_a_mark(road, name):
    for mark in road.marks["torn"].values():
        assert mark.points is None
        assert mark.feedback.startswith("nbgrader gave no mark; ")
        assert "'torn'" in mark.feedback
    assert {row["verdict"] for row in road.rows["torn"].values()} == {"missing"}
    assert road.marks.keys() == road.rows.keys() == {*HONEST, "torn"}


@each_name
def test_every_cell_of_the_reference_runs(road, name):
    """The figures and the finale too, which nbgrader runs and does not mark."""
    pytest.importorskip("matplotlib", reason='the figures need pip install ".[lab]"')
    checks = checks_of(name)
    cells = [cell for cell in read(road.executed / "reference", name).cells
             if cell.cell_type == "code"]  # fmt: skip
    tried = []
    for cell in cells:
        kinds = {output.output_type for output in cell.outputs}
        assert cell.execution_count, cell.id
        assert "error" not in kinds, cell.id
        assert not [each for each in cell.outputs if each.get("name") == "stderr"], cell.id
        if cell.id in checks:  # A value left at the end would be taken for partial credit.
            assert kinds <= {"stream"}, cell.id
        if "plt.subplots(" in cell.source:
            assert any("image/png" in each.get("data", {}) for each in cell.outputs), cell.id
        for asked in re.findall(r'^check\("([^"]+)"\)', cell.source, re.MULTILINE):
            said = [line for each in cell.outputs if "text/html" in each.get("data", {})
                    for line in each["data"]["text/plain"].splitlines()]  # fmt: skip
            of_it = [each for each in checks if asked in (each, each.split("-")[0])]
            assert said == [f"✓ {each}: passes" for each in of_it], cell.id
            tried += of_it
    assert sorted(tried) == sorted(checks)


@each_name
def test_pages_and_table_of_nbgrader_give_the_same_scores(road, exported, course, name):
    most = sum(cell.points for cell in read_assignment(name, REPOSITORY).cells)
    checks = checks_of(name)
    for student, rows in road.rows.items():
        score = sum(row["points"] for row in rows.values())
        row = exported[name, student]
        assert (float(row["score"]), float(row["max_score"])) == (score, most), student
        if student != "torn":
            assert score == sum(mark.points for mark in road.marks[student].values()), student
    for student in READ:
        rows = road.rows[student]
        page = (course / "feedback" / student / name / f"{name}.html").read_text(encoding="utf-8")
        score = float(sum(row["points"] for row in rows.values()))
        assert f"{name} (Score: {score} / {most})" in page, student
        parts = dict(re.findall(r'href="#([^"]+)">[^<]*</a> \(Score: ([^)]+)\)', page))
        assert {check: parts[check] for check in checks} == {
            check: f"{float(rows[check]['points'])} / {points}" for check, points in checks.items()
        }, student
