"""`workbench grade` as a program: killed, twice at once, on a full disk."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from test_attacks import NAME, RIGHT, make_course, notebook, submit

from workbench.course import folder, gradebook, grading
from workbench.course.batch import _read
from workbench.course.library import _made, library
from workbench.course.notebooks import Assignment, read_assignment
from workbench.errors import DataError

pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')

WRONG = "def double(x):\n    return x"
STUDENTS = [f"s{n} {'of a long name ' * 8}".strip() for n in range(6)]  # They fill a disk.
SLOW = "import time\ntime.sleep(0.3)\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return make_course(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def course(clone, tmp_path):
    path = folder.init(tmp_path / "course", clone)
    for number in range(6):
        submit(path, STUDENTS[number], notebook(SLOW + (WRONG if number % 3 == 0 else RIGHT)))
    return path


def start(course, *arguments):
    command = [sys.executable, "-m", "workbench", "grade", NAME, "--course", course, *arguments]
    return subprocess.Popen(
        [str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True)  # fmt: skip


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


def until(condition, process):
    deadline = time.monotonic() + 200
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def journal(course):
    return course / ".workbench" / f"{NAME}.jsonl"


def lines(course):
    path = journal(course)
    return path.read_text().count("\n") if path.exists() else 0


EXPECTED = {each: 3.0 if n % 3 == 0 else 5.0 for n, each in enumerate(STUDENTS)}


def assert_whole(course, rows):
    """Everybody has each question once, in the JSON, the journal and the gradebook."""
    told = [(row["student"], row["question"]) for row in rows]
    assert told == [(each, q) for each in EXPECTED for q in ("q1-check", "q2-check")]
    points = dict.fromkeys(EXPECTED, 0.0)
    for row in rows:
        points[row["student"]] += row["points"]
    assert points == EXPECTED
    assert lines(course) == len(_read(journal(course))) == 6
    assert {each.student: each.score for each in gradebook.scores(NAME, course)} == EXPECTED
    assert {each.name for each in (course / "feedback").iterdir()} == set(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["judging", "writing"])
def test_a_killed_run_loses_nothing_and_does_nothing_twice(course, when):
    process = start(course, "--jobs", 2)
    marks = course / "autograded"
    until(lambda: lines(course) >= 2 if when == "judging" else
          marks.is_dir() and any(marks.iterdir()), process)  # fmt: skip
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = _read(journal(course))
    assert len(before) >= 2 if when == "judging" else len(before) == 6
    if when == "writing":
        found = gradebook.scores(NAME, course)
        assert {each.student: each.score for each in found}.items() <= EXPECTED.items()
    status, output, _ = finish(start(course, "--jobs", 2, "--resume", "--json", "-"))
    assert status == 0
    assert_whole(course, json.loads(output)["rows"])
    after = _read(journal(course))
    assert {each: after[each] for each in before} == before  # Not judged again.


@pytest.mark.slow
def test_two_graders_at_once_are_one_too_many(course):
    first = start(course, "--jobs", 1)
    until(lambda: lines(course) >= 1, first)
    status, output, errors = finish(start(course))
    assert first.poll() is None, "the first was over too soon for this test"
    assert status == 2
    assert output == ""
    assert errors[errors.index("error: ") :].startswith(
        "error: grade: another grader is at work in this folder"
    )
    status, _, _ = finish(first)
    assert status == 0
    assert {each.student: each.score for each in gradebook.scores(NAME, course)} == EXPECTED


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_can_be_resumed(course):
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform == "linux"):
        pytest.skip("only root mounts a small disk")
    state = course / ".workbench"
    (state / "secret").unlink()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(state)],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        status, output, errors = finish(start(course, "--jobs", 1))
        assert status == 1
        assert output == ""
        said = errors[errors.index("error: ") :]
        assert said.startswith("error: grade: cannot write")
        assert "No space left on device" in said
        assert "--resume" in said
        assert len(said.splitlines()) == 2
        before = _read(journal(course))
        assert 0 < len(before) < 6
        subprocess.run(["mount", "-o", "remount,size=1m", str(state)], check=True)
        status, output, _ = finish(start(course, "--jobs", 1, "--resume", "--json", "-"))
        assert status == 0
        assert_whole(course, json.loads(output)["rows"])
        after = _read(journal(course))
        assert {each: after[each] for each in before} == before
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_no_room_for_temporary_files_is_said(monkeypatch, tmp_path):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    _made.cache_clear()
    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(DataError, match="No space left on device") as caught:
        library(Assignment("small", ()), "q1")
    assert "--resume" in str(caught.value)


# --- parts ----------------------------------------------------------------------------


def test_the_secret_is_made_once_and_is_nobody_elses(tmp_path):
    first = grading.course_secret(tmp_path)
    assert len(first) == 32
    assert grading.course_secret(tmp_path) == first
    assert (tmp_path / ".workbench" / "secret").stat().st_mode & 0o077 == 0
    (tmp_path / ".workbench" / "secret").write_text("\n")
    assert grading.course_secret(tmp_path) not in ("", first)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".workbench").write_text("a file, not a folder")
    with pytest.raises(DataError, match="--seed"):
        grading.course_secret(tmp_path / "other")


def test_an_overlay_is_read_by_name(clone, tmp_path):
    assignment = read_assignment(NAME, clone)
    assert grading.read_overlay(None, assignment) == {}
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "q1-check.py").write_text("x = 'ü'\n", encoding="utf-8")
    (tmp_path / NAME / "notes.txt").write_text("not a check")
    assert grading.read_overlay(tmp_path, assignment) == {"q1-check": "x = 'ü'\n"}
