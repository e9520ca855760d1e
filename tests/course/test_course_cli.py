"""The course's commands, as an instructor types them."""

import contextlib
import csv
import json
import shutil
import sqlite3
import zipfile

import pytest
from test_attacks import NAME, RIGHT, SECRET, make_course, notebook, submit
from typer.testing import CliRunner

from workbench.cli import app
from workbench.course.results import VERDICTS, Row

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')
pytestmark = pytest.mark.slow  # nbgrader takes seconds to import.

WRONG = "def double(x):\n    return x"
PRIVATE = "PRIVATE-MARKER-7781"


def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done


def one_line_error(done, *words):
    """Expect an error of this program, not of Python."""
    assert done.exit_code in (1, 2), done.output
    said = done.stderr[done.stderr.index("error: ") :]
    for each in words:
        assert each in said, said
    return said


def with_text(made):
    """Add a question that a person marks."""
    own = {"grade": True, "grade_id": "q2-why", "locked": False, "schema_version": 3,
           "solution": True, "task": False, "points": 2}  # fmt: skip
    text = nbformat.v4.new_markdown_cell("Because.", id="q2-why", metadata={"nbgrader": own})
    made.cells.append(text)
    return made


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    path = make_course(tmp_path_factory.mktemp("clone"))
    source = path / "solutions" / NAME / f"{NAME}.ipynb"
    nbformat.write(with_text(notebook()), source)
    return path


@pytest.fixture
def fresh(clone, tmp_path):
    """A course folder in which nothing was graded yet."""
    assert run("course", "init", tmp_path / "course", "--from", clone).exit_code == 0
    path = tmp_path / "course"
    submit(path, "ada", with_text(notebook()))
    submit(path, "bob", with_text(notebook(WRONG)))
    return path


@pytest.fixture(scope="module")
def database(clone, tmp_path_factory):
    """A gradebook that knows of one other student: making one takes nbgrader seconds."""
    path = tmp_path_factory.mktemp("first") / "course"
    assert run("course", "init", path, "--from", clone).exit_code == 0
    submit(path, "cyd", with_text(notebook()))
    assert grade(path).exit_code == 0
    return path / "gradebook.db"


@pytest.fixture
def course(fresh, database):
    shutil.copy(database, fresh)
    return fresh


def grade(course, *arguments):
    return run("grade", NAME, "--course", course, "--jobs", 1, *arguments)


def rows_of(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["rows"]


def scores(course):
    path = course / "grades.csv"
    done = run("export", NAME, "--course", course, "--csv", path)
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


# --- course init ----------------------------------------------------------------------


def test_init_makes_a_folder_that_says_what_to_do(clone, tmp_path):
    done = run("course", "init", tmp_path / "new", "--from", clone)
    assert done.exit_code == 0
    assert "workbench grade NAME" in done.stdout
    assert (tmp_path / "new" / "solutions" / NAME / f"{NAME}.ipynb").is_file()
    assert (tmp_path / "new" / ".workbench" / "secret").stat().st_mode & 0o077 == 0
    again = run("course", "init", tmp_path / "new", "--from", clone)
    one_line_error(again, "holds something already", "fix:")
    assert again.exit_code == 2
    one_line_error(run("course", "init", tmp_path / "other", "--from", tmp_path / "no"),
                   "no assignments to copy")  # fmt: skip
    assert not (tmp_path / "other").exists()


# --- grade ----------------------------------------------------------------------------


def test_json_says_everything_of_everybody(fresh):
    course = fresh
    target = course / "rows.json"
    done = grade(course, "--json", target)
    assert done.exit_code == 0, done.output
    found = json.loads(target.read_text())
    assert set(found) == {"header", "rows", "to_mark"}
    assert found["header"]["assignment"] == NAME
    assert found["header"]["isolation"] in ("bubblewrap", "UNISOLATED")
    assert [set(row) for row in found["rows"]] == [set(Row.__dataclass_fields__)] * 4
    told = [(row["student"], row["question"], row["verdict"], row["points"], row["max_points"])
            for row in found["rows"]]  # fmt: skip
    assert told == [
        ("ada", "q1-check", "pass", 2, 2),
        ("ada", "q2-check", "pass", 3, 3),
        ("bob", "q1-check", "fail", 0, 2),
        ("bob", "q2-check", "pass", 3, 3),
    ]
    assert {row["assignment"] for row in found["rows"]} == {NAME}
    assert {row["verdict"] for row in found["rows"]} <= set(VERDICTS)
    assert "half of what it should be" in found["rows"][2]["feedback"] or (
        "0.5 times what it should be" in found["rows"][2]["feedback"]
    )
    assert found["to_mark"] == [
        {"student": each, "question": "q2-why", "max_points": 2} for each in ("ada", "bob")
    ]
    assert "2 submissions" in done.stderr
    assert "1 question a student" in done.stderr
    assert "5 of 5" in done.stdout
    assert "fail" in done.stdout
    assert [(each["student"], float(each["score"])) for each in scores(course)] == [
        ("ada", 5), ("bob", 3)]  # fmt: skip
    for student in "ada", "bob":
        page = (course / "feedback" / student / NAME / f"{NAME}.html").read_text()
        assert SECRET not in page
        assert student in page


def test_one_student_alone(course):
    assert {row["student"] for row in rows_of(grade(course, "--student", "bob", "--json", "-"))} \
        == {"bob"}  # fmt: skip
    assert not (course / "feedback" / "ada").exists()
    assert [each["student"] for each in scores(course)] == ["bob", "cyd"]
    one_line_error(grade(course, "--student", "bab"), "'bab'", "bob")


def test_a_seed_changes_hidden_inputs_and_nothing_else(course):
    sample = "raise ValueError(float(checks.rng(99).standard_normal()).hex())"
    (course / "private" / NAME).mkdir(parents=True)
    (course / "private" / NAME / "q2-check.py").write_text(sample)
    drawn = {}
    for seed in "one", "two", "one":
        done = grade(course, "--seed", seed, "--overlay", course / "private", "--json", "-")
        for row in rows_of(done):
            if row["question"] == "q2-check":
                value = row["feedback"].split("ValueError: ")[1].splitlines()[0]
                assert drawn.setdefault((seed, row["student"]), value) == value
            else:
                assert row["verdict"] == ("pass" if row["student"] == "ada" else "fail")
    assert len(drawn) == len(set(drawn.values())) == 4


def test_private_checks_are_added_and_not_shown(course):
    folder = course / "private" / NAME
    folder.mkdir(parents=True)
    check = folder / "q1-check.py"
    check.write_text(f"marker = {PRIVATE!r}\nchecks.same('y', double(np.ones(1)), [2.0])\n")
    rows = rows_of(grade(course, "--overlay", course / "private", "--json", "-"))
    assert [row["verdict"] for row in rows] == ["pass", "pass", "fail", "pass"]
    check.write_text(f"marker = {PRIVATE!r}\nassert double(np.ones(1)).sum() == 3  # {PRIVATE}\n")
    done = grade(course, "--overlay", course / "private", "--json", "-")
    rows = rows_of(done)
    assert [row["verdict"] for row in rows] == ["fail", "pass", "fail", "pass"]
    assert rows[0]["feedback"] == "an assertion of the check does not hold"
    assert rows[0]["points"] == 0
    pages = "".join(each.read_text() for each in (course / "feedback").rglob("*.html"))
    assert PRIVATE not in done.output + pages
    (folder / "q1-chek.py").write_text("")
    one_line_error(grade(course, "--overlay", course / "private"), "'q1-chek'", "q1-check")
    (folder / "q1-chek.py").unlink()
    check.write_text("x = (")
    one_line_error(grade(course, "--overlay", course / "private"), "is not Python", "line 1")
    one_line_error(grade(course, "--overlay", course / "nowhere"), "no private checks")


def entries(journal):
    lines = journal.read_text().splitlines()
    return {json.loads(line)["rows"][0]["student"]: line for line in lines}


def test_resume_judges_what_changed_since_and_only_that(course):
    assert grade(course).exit_code == 0
    journal = course / ".workbench" / f"{NAME}.jsonl"
    before = entries(journal)
    made = with_text(notebook(RIGHT))
    nbformat.write(made, course / "submitted" / "bob" / NAME / f"{NAME}.ipynb")
    rows = rows_of(grade(course, "--resume", "--json", "-"))
    assert [row["verdict"] for row in rows] == ["pass"] * 4
    after = entries(journal)
    assert after["ada"] == before["ada"]
    assert after["bob"] != before["bob"]
    assert [float(each["score"]) for each in scores(course)] == [5, 5, 5]


def test_nothing_handed_in_is_said_in_one_line(fresh, tmp_path):
    course = fresh
    empty = tmp_path / "empty"
    empty.mkdir()
    one_line_error(grade(course, "--submitted", empty), f"nobody has submitted '{NAME}'")
    one_line_error(grade(course, "--submitted", tmp_path / "no"), "no folder of submissions")
    done = run("grade", "pear", "--course", course)
    assert done.exit_code == 2
    one_line_error(done, "'pear'", NAME)
    assert not (course / "gradebook.db").exists()


@pytest.mark.parametrize("harm", ["damaged", "locked"])
def test_a_gradebook_that_refuses_leaves_the_json(course, harm):
    target, database = course / "rows.json", course / "gradebook.db"
    if harm == "damaged":
        database.write_bytes(b"this is no database" * 500)
    before = database.read_bytes()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        if harm == "locked":
            connection.execute("BEGIN EXCLUSIVE")
        said = one_line_error(grade(course, "--json", target), "gradebook")
    assert len(said.splitlines()) <= 5
    assert len(json.loads(target.read_text())["rows"]) == 4
    assert database.read_bytes() == before
    if harm == "locked":
        assert grade(course, "--resume").exit_code == 0
        assert [float(each["score"]) for each in scores(course)] == [5, 3, 5]


# --- release, collect, export, similarity ---------------------------------------------


def test_release_makes_the_exercise_and_spares_answers(course):
    done = run("release", NAME, "--course", course)
    assert done.exit_code == 0, done.output
    made = course / "exercises" / NAME / f"{NAME}.ipynb"
    assert SECRET not in made.read_text()
    assert "checks.same" in made.read_text()
    one_line_error(run("release", "pear", "--course", course), "'pear'", NAME)
    done = run("similarity", NAME, "--course", course)
    assert done.exit_code == 0, done.output
    assert "2 submissions" in done.stdout
    assert (course / f"similarity-{NAME}.html").is_file()


def test_collect_says_what_became_of_each_file(course, tmp_path):
    archive = tmp_path / "canvas.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zoe_4711_99_pair.ipynb", nbformat.writes(notebook()))
    done = run("collect", NAME, archive, "--course", course)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("new: zoe_4711_99_pair.ipynb -> ")
    (student,) = {each.name for each in (course / "submitted").iterdir()} - {"ada", "bob"}
    assert student in done.stdout
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../../evil_4712_100_pair.ipynb", nbformat.writes(notebook()))
    done = run("collect", NAME, archive, "--course", course)
    assert done.exit_code == 1
    assert "refused: " in done.stdout
    assert "unchanged: " in done.stdout
    one_line_error(run("collect", NAME, tmp_path / "no.zip", "--course", course), "no.zip")


def test_export_needs_marks_and_a_known_system(fresh, database):
    course = fresh
    one_line_error(run("export", NAME, "--course", course), "gradebook")
    shutil.copy(database, course)
    assert grade(course).exit_code == 0
    done = run("export", NAME, "--course", course, "--to", "moodle")
    assert done.exit_code == 0
    assert done.stdout.strip() == str(course / f"grades-{NAME}.csv")
    assert "3 of 3 still have free text to be read" in done.stderr
    one_line_error(run("export", NAME, "--course", course, "--to", "moodel"), "moodle")
