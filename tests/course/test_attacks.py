"""Hostile submissions: none scores a point it did not earn, none harms another's marks.

The batch is graded by :func:`workbench.course.batch.grade`, as ``workbench grade`` does.
Each hostile student answers the second question honestly, and must be given its points:
one question's crime is not another's.
"""

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from hostile import ATTACKS

from workbench.course import batch, grading, referee
from workbench.course.library import library
from workbench.course.notebooks import parse_submission, read_assignment
from workbench.course.referee import Options
from workbench.course.results import VERDICTS
from workbench.course.sandbox import (
    BUBBLEWRAP,
    UNISOLATED,
    Limits,
    Sandbox,
    _walls,
    isolation,
)

nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[course]"')
psutil = pytest.importorskip("psutil", reason='needs pip install ".[course]"')

NAME = "pair"
RIGHT = "def double(x):\n    return 2 * x\n"
APPLY = "def apply(f, x):\n    return f(x) + 1\n"
SECRET = "HIDDEN-MARKER-5309"
CHECKS = {
    "q1-check": (2, f"""x = np.array([1.0, 2.0, 3.0])
checks.same("y", checks.call(double, x, returns="y"), 2 * x)
### BEGIN HIDDEN TESTS
marker = "{SECRET}"
x = checks.rng(1).standard_normal(3)
checks.same("y", checks.call(double, x, returns="y"), 2 * x)
x = checks.rng(2).standard_normal((2, 2)) + 5
checks.same("y", double(x), 2 * x)
### END HIDDEN TESTS"""),
    "q2-check": (3, """x = np.arange(4.0)
checks.same("y", checks.call(apply, lambda z: z**2, x, returns="y"), x**2 + 1)
### BEGIN HIDDEN TESTS
x = checks.rng(3).standard_normal(4)
checks.same("y", checks.call(apply, lambda z: 3 * z, x, returns="y"), 3 * x + 1)
### END HIDDEN TESTS"""),
}  # fmt: skip


def graded_cell(name, source, **options):
    own = {"grade": False, "grade_id": name, "locked": False, "schema_version": 3,
           "solution": False, "task": False, **options}  # fmt: skip
    return nbformat.v4.new_code_cell(source, id=name, metadata={"nbgrader": own})


def notebook(double=RIGHT, apply=APPLY):
    setup = "import numpy as np\nfrom workbench.course import checks"
    cells = [graded_cell("setup", setup, locked=True),
             graded_cell("q1-double", double, solution=True)]  # fmt: skip
    for name, (points, source) in CHECKS.items():
        if name == "q2-check":
            cells.append(graded_cell("q2-apply", apply, solution=True))
        cells.append(graded_cell(name, source, grade=True, locked=True, points=points))
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3",
                                   "language": "python"}  # fmt: skip
    made.metadata["workbench"] = {"rooms": [], "seconds": 2, "megabytes": 300,
                                  "withheld": {"q1": ["arrays.im2col"]}}  # fmt: skip
    return made


def submit(course, student, content):
    folder = course / "submitted" / student / NAME
    folder.mkdir(parents=True)
    text = content if isinstance(content, str | bytes) else nbformat.writes(content)
    data = text.encode() if isinstance(text, str) else text
    (folder / f"{NAME}.ipynb").write_bytes(data)
    return folder


def make_course(path):
    (path / "solutions" / NAME).mkdir(parents=True)
    nbformat.write(notebook(), path / "solutions" / NAME / f"{NAME}.ipynb")
    return path


def run(course, mode, *, only=None, jobs=2):
    assignment = read_assignment(NAME, course)
    handed = [each for each in batch.find_submissions(course / "submitted", NAME)
              if only is None or each.student in only]  # fmt: skip
    options = Options(secret="the course's own secret", mode=mode)
    rows = batch.grade(assignment, handed, options, jobs=jobs)
    found = {}
    for row in rows:
        found.setdefault(row.student, {})[row.question] = row
    return found


def names():
    return [each.name for each in ATTACKS]


@pytest.fixture(scope="module")
def home():
    """A server that nobody may reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def course(tmp_path_factory, home):
    path = make_course(tmp_path_factory.mktemp("campus"))
    (path / ".workbench").mkdir()
    (path / ".workbench" / "secret").write_text("the secret of CAMPUS")
    (path / "gradebook.db").write_bytes(b"untouched")
    for number, attack in enumerate(ATTACKS):
        code = attack.code.replace("CAMPUS", str(path))
        code = code.replace("HOMEPORT", str(home.getsockname()[1]))
        apply = "" if "def apply" in code else APPLY
        made = notebook()
        made.cells[1].source, made.cells[3].source = code, apply
        submit(path, f"{number:02} {attack.name}".replace("/", "-"), json.dumps(made))
        if number % 10 == 0:
            submit(path, f"honest {number:02}", notebook())
    return path


@pytest.fixture(scope="module")
def walled(course):
    mode, reason = isolation()
    if mode != BUBBLEWRAP:
        pytest.skip(f"attacks on the disk and the network need a sandbox: {reason}")
    return run(course, mode)


def student_of(rows, attack):
    return next(own for name, own in rows.items() if name[3:] == attack.name.replace("/", "-"))


# One group: the batches are graded once, in one process of the test run.
pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.xdist_group("attacks")]


@pytest.mark.parametrize("attack", ATTACKS, ids=names())
def test_attack_scores_nothing(walled, attack):
    rows = walled
    row = student_of(rows, attack)["q1-check"]
    assert row.points == 0
    assert row.verdict in attack.verdicts, (row.verdict, row.feedback)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "def apply" not in a.code],
                         ids=[a.name for a in ATTACKS if "def apply" not in a.code])  # fmt: skip
def test_attack_on_one_question_leaves_the_other_its_points(walled, attack):
    rows = walled
    row = student_of(rows, attack)["q2-check"]
    assert (row.verdict, row.points) == ("pass", 3), row.feedback


def test_endless_calls_back_end_by_the_clock(walled):
    rows = walled
    attack = next(each for each in ATTACKS if "without end" in each.name and "apply" in each.code)
    assert student_of(rows, attack)["q2-check"].verdict == "timeout"


def test_honest_students_between_them_have_full_marks(walled):
    rows = walled
    honest = [own for name, own in rows.items() if name.startswith("honest")]
    assert len(honest) >= 5
    for own in honest:
        assert [row.verdict for row in own.values()] == ["pass", "pass"], own
        assert sum(row.points for row in own.values()) == 5


def test_every_submission_has_a_verdict_for_every_question(walled, course):
    rows = walled
    assert set(rows) == {each.name for each in (course / "submitted").iterdir()}
    for own in rows.values():
        assert list(own) == list(CHECKS)
        assert all(row.verdict in VERDICTS for row in own.values())


def test_nothing_leaked_and_nothing_was_written(walled, course, home):
    rows = walled
    told = "".join(row.feedback for own in rows.values() for row in own.values())
    for secret in SECRET, "the course's own secret", "the secret of CAMPUS", str(course):
        assert secret not in told
    assert (course / "gradebook.db").read_bytes() == b"untouched"
    assert not (course / "pickled").exists()
    with pytest.raises(BlockingIOError):
        home.accept()


@pytest.mark.parametrize("mode", [BUBBLEWRAP, UNISOLATED])
def test_a_detached_child_ends_with_the_sandbox(mode, tmp_path):
    if mode == BUBBLEWRAP and isolation()[0] != mode:
        pytest.skip(isolation()[1])
    assignment = read_assignment(NAME, make_course(tmp_path))
    code = next(each.code for each in ATTACKS if each.name == "a detached child")
    submission = parse_submission("x", json.dumps(notebook(code)).encode(), assignment)
    sandbox = Sandbox(library(assignment, "q1"), (), mode, Limits(seconds=5))
    desk = referee._Desk(sandbox.connect(), sandbox, sandbox.limits)
    desk.ask({"do": "load", "cells": submission.cells_for(assignment, "q1"), "names": ["double"]})
    for _ in range(500):  # The detached one comes a moment later.
        family = psutil.Process(sandbox.process.pid).children(recursive=True)
        if len(family) >= 3:
            break
        time.sleep(0.02)
    desk.channel.close()
    sandbox.stop()
    assert len(family) >= 3
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


FILL = """
import os
def double(x):
    full = {}
    for top in {"/", "/dev", "/dev/shm", "/tmp", "/site", "/library", "/usr", "/run", *os.sys.path}:
        try:
            for n in range(100):
                with open(f"{top}/fill{n}", "wb") as file:
                    file.write(b"0" * (1 << 20))
                full[top] = n + 1
        except OSError:
            pass
    raise RuntimeError(f"filled {sorted(full.items())}")
"""


@pytest.mark.parametrize("namespaces", [None, ("--unshare-all",)])
def test_what_can_be_written_is_small(namespaces, tmp_path, monkeypatch):
    if isolation()[0] != BUBBLEWRAP:
        pytest.skip(isolation()[1])
    if namespaces is not None:  # As for a user who is not root.
        monkeypatch.setattr("workbench.course.sandbox._namespaces", lambda: namespaces)
        monkeypatch.setattr("workbench.course.sandbox._walls", _walls.__wrapped__)
    assignment = read_assignment(NAME, make_course(tmp_path))
    submission = parse_submission("x", json.dumps(notebook(FILL)).encode(), assignment)
    options = Options(secret="s", mode=BUBBLEWRAP, only=("q1",))
    (row,) = referee.judge(assignment, submission, options)
    assert "filled [('/dev/shm', 16), ('/tmp', 64)]" in row.feedback


def test_feedback_fits_a_page_and_a_terminal(walled):
    rows = walled
    for own in rows.values():
        for row in own.values():
            assert len(row.feedback) <= 4000
            assert all(each.isprintable() or each == "\n" for each in row.feedback)
            row.feedback.encode("utf-8")


def test_without_a_sandbox_limits_hold_and_every_row_says_so(course):
    attacks = [each for each in ATTACKS if each.everywhere]
    chosen = {f"{i:02} {each.name}".replace("/", "-"): each for i, each in enumerate(ATTACKS)
              if each.everywhere}  # fmt: skip
    assert len(attacks) >= 40
    rows = run(course, UNISOLATED, only={*chosen, "honest 00"})
    for name, attack in chosen.items():
        row = rows[name]["q1-check"]
        assert row.points == 0, name
        assert row.verdict in attack.verdicts, (name, row.verdict, row.feedback)
        if "def apply" not in attack.code:
            assert rows[name]["q2-check"].verdict == "pass", (name, rows[name]["q2-check"])
    assert [row.verdict for row in rows["honest 00"].values()] == ["pass", "pass"]
    assert {row.isolation for own in rows.values() for row in own.values()} == {UNISOLATED}


# --- notebooks and folders that are not what they should be --------------------------


def bad_notebooks(course):
    """Yield a name, how to hand it in, and the verdicts of the two questions."""
    v4 = notebook
    full, none = ("pass", "pass"), ("missing", "missing")

    def with_cells(change):
        made = v4()
        change(made)
        return json.dumps(made)

    def swap(made):
        made.cells[1:] = made.cells[1:][::-1]

    def strip(made):
        for cell in made.cells:
            cell.metadata = {}

    def strip_all(made):
        strip(made)
        for i, cell in enumerate(made.cells):
            cell["id"] = f"x{i}"

    def merge(made):
        made.cells[1].source += "\n" + made.cells.pop(3).source

    def rename(made):
        made.cells[1].metadata.nbgrader.grade_id = made.cells[1]["id"] = "my-cell"

    def extra(made):
        made.cells.insert(1, nbformat.v4.new_code_cell("factor = 2", id="mine"))
        made.cells[2].source = "def double(x):\n    return factor * x"

    def other_helper(made):
        made.cells[3].source = "def helper(x):\n    return 2 * x\n" + APPLY
        made.cells[1].source = "def double(x):\n    return helper(x)"

    def markdown(made):
        made.cells[1]["cell_type"] = "markdown"

    def magics(made):
        made.cells[1].source = "%matplotlib inline\n!ls\n" + RIGHT
        made.cells[3].source = "%%time\n" + APPLY

    def warns(made):
        made.cells[1].source = ("import warnings, sys\ndef double(x):\n    warnings.warn('hm')\n"
                                "    print('hello', file=sys.stderr)\n    return 2 * x")  # fmt: skip

    def forged_check(made):
        made.cells[1].source = "def double(x): return 0 * x"
        made.cells[2].source = "pass"

    def more_points(made):
        made.cells[1].source = "def double(x): return 0 * x"
        made.cells[2].metadata.nbgrader.points = 1000

    def forged_setup(made):
        made.cells[0].source = "class checks:\n    same = call = staticmethod(lambda *a, **k: None)"
        made.cells[1].source = "def double(x): return 0 * x"

    def old_release(made):
        made.cells[2].source = "assert double(1) == 2"
        made.cells[2].metadata.nbgrader.grade_id = made.cells[2]["id"] = "q1-check-old"
        del made.cells[4]

    def added_endless(made):
        made.cells.insert(1, nbformat.v4.new_code_cell("while True: pass", id="mine"))

    yield "not JSON", "{'cells': [", none
    yield "half a file", nbformat.writes(v4())[:400], none
    yield "empty", b"", none
    yield "no notebook", "[1, 2, 3]", none
    yield "null", "null", none
    yield "no cells", json.dumps({**v4(), "cells": []}), none
    yield "cells of numbers", json.dumps({**v4(), "cells": [1, 2]}), none
    yield "binary", bytes(range(256)) * 100, none
    yield "deep", "[" * 10**6, none
    yield "zip", b"PK\x03\x04" + b"\0" * 500, none
    yield "outputs of 100 MB", with_cells(lambda made: made.cells[1].update(outputs=[
        {"output_type": "stream", "name": "stdout", "text": "spam " * 20_000_000}])), full  # fmt: skip
    yield "code of 2 MB", with_cells(lambda m: m.cells[1].update(source="#" * 2_000_000)), none
    yield "reordered", with_cells(swap), full
    yield "metadata lost", with_cells(strip), full
    yield "metadata and ids lost", with_cells(strip_all), full
    yield "merged", with_cells(merge), full
    yield "renamed", with_cells(rename), full
    yield "answer duplicated", with_cells(lambda m: m.cells.insert(2, m.cells[1])), full
    yield "check duplicated", with_cells(lambda m: m.cells.insert(2, m.cells[2])), full
    yield "an added cell that is needed", with_cells(extra), full
    yield "a helper in another answer", with_cells(other_helper), full
    yield "an added cell that is endless", with_cells(added_endless), full
    yield "answer as markdown", with_cells(markdown), ("missing", "pass")
    yield "answer removed", with_cells(lambda m: m.cells.pop(1)), ("missing", "pass")
    yield "magics", with_cells(magics), full
    yield "warnings", with_cells(warns), full
    yield "checks replaced", with_cells(forged_check), ("fail", "pass")
    yield "points raised", with_cells(more_points), ("fail", "pass")
    yield "setup replaced", with_cells(forged_setup), ("fail", "pass")
    yield "older release", with_cells(old_release), full
    yield "another kernel", with_cells(lambda m: m.metadata.update(
        kernelspec={"name": "ir", "language": "R", "display_name": "R"})), full  # fmt: skip
    yield "format 3", json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [
        {"cells": [{"cell_type": "code", "input": RIGHT + APPLY, "metadata": {}}]}]}), full  # fmt: skip
    yield "byte order mark", "\ufeff" + nbformat.writes(v4()), full
    yield "Ψυχή 学生 \u202e🎓", v4(), full
    yield "=cmd|' calc'!A1", v4(), full
    yield "<b onclick=alert(1)>", v4(), full


@pytest.fixture(scope="module")
def campus(tmp_path_factory):
    path = make_course(tmp_path_factory.mktemp("campus"))
    expected = {}
    for name, content, verdicts in bad_notebooks(path):
        submit(path, name, content)
        expected[name] = verdicts
    other = path / "submitted"

    def folder(name, verdicts):
        expected[name] = verdicts
        made = other / name / NAME
        made.mkdir(parents=True)
        return made

    none = ("missing", "missing")
    folder("nothing in it", none)
    (folder("half copied", none) / f"{NAME}.ipynb.part").write_text("{")
    nbformat.write(notebook(), folder("another name", ("pass", "pass")) / "mine.ipynb")
    two = folder("two notebooks", none)
    for each in "a.ipynb", "b.ipynb":
        nbformat.write(notebook(), two / each)
    (folder("a folder", none) / f"{NAME}.ipynb").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder("a pipe", none) / f"{NAME}.ipynb")
        source = path / "solutions" / NAME / f"{NAME}.ipynb"
        (folder("a link to the solution", none) / f"{NAME}.ipynb").symlink_to(source)
        (other / "a link for a folder").mkdir()
        (other / "a link for a folder" / NAME).symlink_to(path / "solutions" / NAME)
        expected["a link for a folder"] = none
    (other / ".hidden" / NAME).mkdir(parents=True)
    (other / "a file").write_text("not a folder")
    return path, expected


def test_bad_notebooks_have_a_verdict_each(campus):
    path, expected = campus
    rows = run(path, isolation()[0])
    found = {name: tuple(row.verdict for row in own.values()) for name, own in rows.items()}
    assert found == expected
    for own in rows.values():
        for row in own.values():
            if row.verdict == "missing":
                assert row.feedback.splitlines()[0]


def test_repairs_are_said(campus):
    path, _ = campus
    rows = run(path, isolation()[0], jobs=1,
               only={"another name", "answer as markdown", "not JSON", "a pipe"})  # fmt: skip
    text = {name: own["q1-check"].feedback for name, own in rows.items()}
    assert "markdown, not code" in text["answer as markdown"]
    assert "not JSON" in text["not JSON"]
    assert "no file" in text["a pipe"]


# --- the batch itself -----------------------------------------------------------------


@pytest.fixture
def class_of_six(tmp_path):
    path = make_course(tmp_path)
    for student in "abcdef":
        submit(path, student, notebook(RIGHT if student != "c" else "def double(x): return x"))
    return path


def grade_six(path, **options):
    assignment = read_assignment(NAME, path)
    handed = batch.find_submissions(path / "submitted", NAME)
    return batch.grade(assignment, handed, Options(secret="s", mode=isolation()[0]), **options)


def test_a_run_that_was_killed_goes_on_from_its_journal(class_of_six):
    journal = class_of_six / ".workbench" / "pair.jsonl"

    class Killed(BaseException):
        pass

    def kill(student, done, total):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        grade_six(class_of_six, journal=journal, progress=kill)
    with open(journal, "a") as file:
        file.write('{"key": "torn')  # The line that was being written.
    assert len(journal.read_text().splitlines()) == 4
    submit_again = class_of_six / "submitted" / "a" / NAME
    shutil.rmtree(submit_again.parent)
    submit(class_of_six, "a", notebook("def double(x): return x"))  # It changed since.
    counts = []
    rows = grade_six(class_of_six, journal=journal, resume=True,
                     progress=lambda student, done, total: counts.append(done))  # fmt: skip
    assert counts == [2, 3, 4, 5, 6]
    assert [row.student for row in rows] == [each for each in "abcdef" for _ in CHECKS]
    assert {row.student for row in rows if row.verdict == "fail"} == {"a", "c"}
    assert len(journal.read_text().splitlines()) == 6


def test_verdicts_are_the_same_in_one_process_and_in_two(class_of_six):
    def told(rows):
        return [(row.student, row.question, row.verdict, row.points, row.feedback) for row in rows]

    assert told(grade_six(class_of_six, jobs=1)) == told(grade_six(class_of_six, jobs=2))


def test_hidden_inputs_differ_between_students_and_secrets(class_of_six):
    told = {}
    for secret in "one", "two":
        assignment = read_assignment(NAME, class_of_six)
        submit(class_of_six, f"x{secret}", notebook("def double(x): return -x"))
        handed = batch.find_submissions(class_of_six / "submitted", NAME)
        # Learned by heart for the desk: passes there, and nowhere else.
        heart = ("import numpy as np\nfrom workbench.course import checks\n"
                 "known = [np.arange(1., 4.), checks.rng(1).standard_normal(3),\n"
                 "         checks.rng(2).standard_normal((2, 2)) + 5]\n"
                 "def double(x):\n    for k in known:\n"
                 "        if k.shape == x.shape and np.allclose(k, x): return 2 * x\n"
                 "    return 0 * x\n")  # fmt: skip
        mine = [each for each in handed if each.student in "ab"]
        for each in mine:
            shutil.rmtree(class_of_six / "submitted" / each.student)
            submit(class_of_six, each.student, notebook(heart))
        handed = [each for each in batch.find_submissions(class_of_six / "submitted", NAME)
                  if each.student in "ab"]  # fmt: skip
        rows = batch.grade(assignment, handed, Options(secret=secret, mode=isolation()[0]))
        for row in rows:
            if row.question == "q1-check":
                told[secret, row.student] = row.feedback
                assert row.verdict == "fail"
        rows = batch.grade(assignment, handed, Options(mode=isolation()[0]))
        assert {row.verdict for row in rows} == {"pass"}
    assert len(set(told.values())) == 4


def test_two_graders_do_not_work_at_once(class_of_six):
    from workbench.errors import OptionError

    with (
        grading._alone(class_of_six),
        pytest.raises(OptionError, match="another grader is at work"),
        grading._alone(class_of_six),
    ):
        pass


def test_a_full_disk_is_said_in_one_line(class_of_six, monkeypatch):
    from workbench.errors import DataError

    if not Path("/dev/full").exists():
        pytest.skip("needs Linux's /dev/full, which is always full")
    journal = class_of_six / "journal"
    monkeypatch.setattr(batch, "open", lambda *a, **k: Path("/dev/full").open("w"), raising=False)  # noqa: SIM115
    with pytest.raises(DataError, match="No space left") as caught:
        grade_six(class_of_six, journal=journal)
    assert "--resume" in str(caught.value)
