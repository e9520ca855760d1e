"""Students check themselves: in a notebook, and with ``workbench check``."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest
from test_attacks import NAME, RIGHT, SECRET, graded_cell, notebook
from typer.testing import CliRunner

from workbench.cli import app
from workbench.course.selfcheck import check, check_notebook, find_notebook_of, read_own
from workbench.errors import DataError, UnknownNameError

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')

STUB = "def double(x):\n    raise NotImplementedError()"
SOLUTION = "return 2 * x  # the solution"


def as_released(**answers):
    """Return the notebook as a student has it: no hidden tests."""
    made = notebook(**answers)
    for cell in made.cells:
        head, _, _ = cell.source.partition("### BEGIN HIDDEN TESTS")
        cell.source = head
    return made


def exercise(folder, **answers):
    """Write a student's folder, and the instructor's solution beside it."""
    path = folder / "exercises" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(as_released(**answers), path)
    solved = folder / "solutions" / NAME / f"{NAME}.ipynb"
    solved.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(RIGHT.replace("return 2 * x", SOLUTION)), solved)
    return path


# --- check() in a notebook ------------------------------------------------------------

SHELL = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
found = []
for folder, sources in json.loads(sys.stdin.read()):
    os.chdir(folder)
    shell.reset()
    for source in sources:
        with capture_output() as said:
            result = shell.run_cell(source)
        found.append({
            "raised": repr(result.error_in_exec or result.error_before_exec or ""),
            "text": said.stdout + "".join(each.data["text/plain"] for each in said.outputs),
            "html": "".join(each.data.get("text/html", "") for each in said.outputs)})
print(json.dumps(found))
"""
SETUP = "import numpy as np\nfrom workbench.course import check, checks"
CASES = {
    "right": (RIGHT, 'check("q1")'),
    "one check": (RIGHT, 'check("q1-check")'),
    "wrong": ("def double(x):\n    return -2 * x", 'check("q1")'),
    "blank": (STUB, 'check("q1")'),
    "undefined": ("", 'check("q1")'),
    "raises": ("def double(x):\n    return x['<b>']", 'check("q1")'),
    "exits": ("def double(x):\n    raise SystemExit('bye')", 'check("q1")'),
    "unprintable": ("class Bad(Exception):\n    def __str__(self):\n        return 1 / 0\n"
                    "def double(x):\n    raise Bad", 'check("q1")'),
    "nameless": ("def double(x):\n    raise NameError('who?')", 'check("q1")'),
    "endless in itself": ("def double(x):\n    return double(x)", 'check("q1")'),
    "unknown": (RIGHT, 'check("q7")'),
    "prints and warns": ("import warnings\ndef double(x):\n    print('hello')\n"
                         "    warnings.warn('hm')\n    return 2 * x", 'check("q1")'),
    "returns nothing": ("def double(x):\n    2 * x", 'check("q1")'),
    "changed since": (RIGHT + "\ndef double(x):\n    return x", 'check("q1")'),
    "names stay": (RIGHT + "x = 'mine'", 'check("q1"); print("x is", x)'),
}  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    own = exercise(folder).parent
    (own / "aa broken.ipynb").write_text("{")
    (own / "ab odd.ipynb").write_text('{"cells": [{"source": "", "cell_type": "code", '
                                      '"metadata": null}], "metadata": null}')  # fmt: skip
    (own / "ac deep.ipynb").write_text("[" * 10**5)
    bare = folder / "bare"
    bare.mkdir()
    programs = [(str(own), [SETUP, answer, asks]) for answer, asks in CASES.values()]
    programs.append((str(bare), [SETUP, RIGHT, 'check("q1")']))
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run([sys.executable, "-c", SHELL], input=json.dumps(programs), text=True,
                          capture_output=True, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout.splitlines()[-1])
    return dict(zip([*CASES, "no notebook"], cells[2::3], strict=True))


def test_check_never_raises(shown):
    assert {name: each["raised"] for name, each in shown.items()} == dict.fromkeys(shown, "''")


@pytest.mark.parametrize(
    ("name", "start", "words"),
    [
        ("right", "✓ q1-check: ", "passes"),
        ("one check", "✓ q1-check: ", "passes"),
        ("prints and warns", "✓ q1-check: ", "passes"),
        ("wrong", "✗ q1-check: ", "all of it has the wrong sign"),
        ("blank", "✗ q1-check: ", "not answered yet"),
        ("undefined", "✗ q1-check: ", "there is no double yet: run the cell that defines it"),
        ("raises", "✗ q1-check: ", "your code raised IndexError"),
        ("exits", "✗ q1-check: ", "your code raised SystemExit: bye"),
        ("unprintable", "✗ q1-check: ", "its text cannot be made: ZeroDivisionError"),
        ("nameless", "✗ q1-check: ", "your code raised NameError: who?"),
        ("endless in itself", "✗ q1-check: ", "your code raised RecursionError"),
        ("unknown", "check: ", "'q7'"),
        ("returns nothing", "✗ q1-check: ", "it returned nothing"),
        ("changed since", "✗ q1-check: ", "times what it should be"),
        ("no notebook", "check: ", "no notebook with checks here"),
    ],
)
def test_check_says_what_is_wrong(shown, name, start, words):
    text = shown[name]["text"]
    assert text.startswith(start)
    assert words in text
    if start.startswith(("✓", "✗")):
        page = shown[name]["html"]
        assert start[0] in page
        assert "(2 points)" in page
        assert "hello" not in text + page


def test_a_message_is_no_html(shown):
    assert "<b>'" not in shown["raises"]["html"].replace("&#x27;", "'")
    assert "q1, q2" in shown["unknown"]["text"]


def test_a_check_leaves_the_notebooks_names_alone(shown):
    assert "x is mine" in shown["names stay"]["text"]


def test_no_output_shows_a_solution(shown):
    told = "".join(each["text"] + each["html"] for each in shown.values())
    for each in SOLUTION, "the solution", SECRET, "checks.same", "checks.call":
        assert each not in told


def test_outside_a_notebook_it_says_what_to_use():
    with contextlib.redirect_stdout(io.StringIO()) as said:
        check("q1")
    assert said.getvalue() == (
        "check() works inside a notebook; outside, use: workbench check NAME\n"
    )


# --- check_notebook -------------------------------------------------------------------


def test_a_notebook_is_found_by_name_by_folder_and_by_path(tmp_path, monkeypatch):
    path = exercise(tmp_path)
    assert find_notebook_of(NAME, tmp_path) == path
    assert find_notebook_of(str(path)) == path
    assert find_notebook_of(str(path.parent)) == path
    monkeypatch.chdir(tmp_path)
    assert find_notebook_of(NAME).resolve() == path
    with pytest.raises(UnknownNameError, match="pair"):
        find_notebook_of("pear", tmp_path)
    with pytest.raises(DataError, match="no exercises here"):
        find_notebook_of(NAME, path.parent)


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"cells": 3}', '{"cells": [[]]}',
                                  '{"cells": [{"source": 3, "cell_type": "code"}]}',
                                  '{"cells": [{"source": "", "cell_type": "code", '
                                  '"metadata": null}]}', "[" * 10**5, "\xff"])  # fmt: skip
def test_a_notebook_that_cannot_be_read_is_said_to_be(tmp_path, text):
    path = tmp_path / "mine.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="not a notebook that can be read"):
        read_own(path)


def test_a_notebook_without_checks_is_said_to_be(tmp_path):
    path = tmp_path / "mine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), path)
    with pytest.raises(DataError, match="no checks in this notebook"):
        read_own(path)


def test_rows_come_one_by_one(tmp_path):
    path = exercise(tmp_path, double=STUB)
    rows = check_notebook(path)
    first = next(rows)
    assert (first.student, first.question, first.verdict) == ("you", "q1-check", "fail")
    assert first.feedback == "this question: it is not answered yet"
    assert [(row.question, row.points) for row in rows] == [("q2-check", 3)]
    assert [row.question for row in check_notebook(path, ["q2"])] == ["q2-check"]
    with pytest.raises(UnknownNameError, match="q2"):
        list(check_notebook(path, ["q3"]))


# --- workbench check ------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.mark.parametrize(
    ("double", "verdict", "words"),
    [
        (RIGHT, "pass", ""),
        (STUB, "fail", "not answered yet"),
        ("def double(x):\n    return -2 * x", "fail", "wrong sign"),
        ("def double(x):\n    return 2 x", "fail", "line 2 of q1-double: return 2 x"),
        ("def double(x):\n    while True: pass", "timeout", " seconds"),
        ("import os\ndef double(x): os._exit(0)", "died", "ended before it answered"),
        ("", "missing", "defines no double"),
    ],
    ids=["right", "blank", "wrong", "syntax", "endless", "dies", "nothing"],
)
def test_the_command_tells_each_check_and_the_points(tmp_path, double, verdict, words):
    exercise(tmp_path, double=double)
    done = run(NAME, "--course", tmp_path)
    points = 2 if verdict == "pass" else 0
    assert done.exit_code == (0 if verdict == "pass" else 1), done.output
    assert f"q1-check {verdict}, {points} of 2" in done.output
    assert "✓ q2-check pass, 3 of 3" in done.output
    assert f"{points + 3} of 5 points; hidden inputs are not counted yet" in done.output
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert SOLUTION not in done.output
    assert SECRET not in done.output


def test_the_command_takes_questions_and_writes_json(tmp_path):
    exercise(tmp_path, double=STUB)
    done = run(NAME, "q2", "--course", tmp_path, "--json", "-")
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["question"], row["verdict"], row["points"]) == ("q2-check", "pass", 3)
    target = tmp_path / "rows.json"
    assert run(NAME, "--course", tmp_path, "--json", target).exit_code == 1
    assert [row["verdict"] for row in json.loads(target.read_text())["rows"]] == ["fail", "pass"]


@pytest.mark.parametrize(("arguments", "words"), [(("pear",), "pair"), ((NAME, "q9"), "q2")])
def test_the_command_suggests(tmp_path, arguments, words):
    exercise(tmp_path)
    done = run(*arguments, "--course", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: check: ")
    assert words in done.stderr


def test_a_check_sees_only_its_own_question(tmp_path):
    """An endless cell of another question, and one that the student added, cost nothing."""
    path = exercise(tmp_path, apply="def apply(f, x):\n    while True: pass\nwhile True: pass")
    made = nbformat.read(path, as_version=4)
    made.cells.insert(2, nbformat.v4.new_code_cell("import no_such_module", id="mine"))
    made.cells.append(graded_cell("q3-more", "raise ValueError", solution=True))
    nbformat.write(made, path)
    assert [row.verdict for row in check_notebook(path, ["q1"])] == ["pass"]
