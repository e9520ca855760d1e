"""Course folders, and what is taken out of the downloads of learning-management systems."""

import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from workbench.course import folder
from workbench.course.folder import collect, init
from workbench.course.text import plain, safe_name
from workbench.errors import DataError, OptionError, UnknownNameError

ROOT = Path(__file__).parents[2]
NAME = "01-gradients-by-hand"


@pytest.fixture
def course(tmp_path):
    path = tmp_path / "course" / "solutions"
    for name in NAME, "02-other":
        (path / name).mkdir(parents=True)
        (path / name / f"{name}.ipynb").write_text("{}")
    return tmp_path / "course"


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries:
            archive.writestr(name, text)
    return path


def submitted(course):
    found = (course / "submitted").glob("*/*/*")
    return {
        path.relative_to(course / "submitted").as_posix(): path.read_text(encoding="utf-8")
        for path in found
    }


def actions(done):
    return [(each.source, each.action, each.student) for each in done]


def test_folder_works_at_once(tmp_path):
    path = init(tmp_path / "my course", ROOT)
    assert {each.name for each in path.iterdir()} == {
        "solutions",
        "exercises",
        "submitted",
        "nbgrader_config.py",
        "README.md",
        ".gitignore",
        ".workbench",
    }
    source = path / "solutions" / NAME / f"{NAME}.ipynb"
    assert source.read_bytes() == (ROOT / source.relative_to(path)).read_bytes()
    assert f"* `{NAME}`" in (path / "README.md").read_text(encoding="utf-8")
    assert "{{" not in (path / "README.md").read_text(encoding="utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["my course"]


def test_secret_is_random_and_private(tmp_path):
    secrets = [init(tmp_path / name, ROOT) / ".workbench" / "secret" for name in "ab"]
    first, second = (path.read_text().strip() for path in secrets)
    assert len(first) == 64
    assert first != second
    if os.name == "posix":
        assert stat.S_IMODE(secrets[0].stat().st_mode) == 0o600
        assert stat.S_IMODE(secrets[0].parent.stat().st_mode) == 0o700


def test_git_ignores_what_is_private(tmp_path):
    path = init(tmp_path / "course", ROOT)
    private = ["gradebook.db", "submitted/ada/x.ipynb", "feedback/a.html", ".workbench/secret",
               "autograded/a"]  # fmt: skip
    subprocess.run(["git", "init", "-q", path], check=True)
    done = subprocess.run(["git", "check-ignore", *private, "solutions/a"], cwd=path, text=True,
                          capture_output=True)  # fmt: skip
    assert done.stdout.split() == private


def test_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds something already"):
        init(tmp_path / "course", ROOT)
    assert [each.name for each in (tmp_path / "course").iterdir()] == ["mine.txt"]


def test_empty_folder_is_taken(tmp_path):
    (tmp_path / "course").mkdir()
    assert (init(tmp_path / "course", ROOT) / "README.md").exists()


def test_source_without_assignments_is_refused(tmp_path):
    with pytest.raises(DataError, match="no assignments to copy") as caught:
        init(tmp_path / "course", tmp_path)
    assert "--from CLONE" in str(caught.value)
    assert not (tmp_path / "course").exists()


def test_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.shutil, "copytree", full)
    with pytest.raises(DataError, match="No space left"):
        init(tmp_path / "course", ROOT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_nbgrader_works_in_it(tmp_path):
    pytest.importorskip("nbgrader", reason='needs pip install ".[course]"')
    path = init(tmp_path / "course", ROOT)
    own = {
        "JUPYTER_NO_CONFIG": "1",
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", NAME, "--force"],
        cwd=path, text=True, capture_output=True, env={**os.environ, **own},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = (path / "exercises" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert "BEGIN HIDDEN TESTS" not in made
    assert (path / "gradebook.db").exists()


def test_canvas(course, tmp_path):
    path = zipped(tmp_path / "submissions.zip", [
        (f"lovelaceada_4711_100_{NAME}.ipynb", "old"),
        (f"lovelaceada_4711_200_{NAME}-1.ipynb", "new"),
        (f"babbagecharles_LATE_12_300_{NAME}-10.ipynb", "ten"),
        (f"babbagecharles_LATE_12_300_{NAME}-9.ipynb", "nine"),
        ("turingalan_13_400_homework.ipynb", "any name"),
        ("turingalan_13_400_notes.txt", "notes"),
        ("turingalan_13_900_02-other.ipynb", "another"),
    ])  # fmt: skip
    done = collect(path, NAME, course)
    assert submitted(course) == {
        f"lovelaceada_4711/{NAME}/{NAME}.ipynb": "new",
        f"babbagecharles_12/{NAME}/{NAME}.ipynb": "ten",
        f"turingalan_13/{NAME}/{NAME}.ipynb": "any name",
    }
    assert len(done) == 7
    said = {each.source: str(each) for each in done}
    assert "skipped" in said[f"lovelaceada_4711_100_{NAME}.ipynb"]
    assert "is later" in said[f"lovelaceada_4711_100_{NAME}.ipynb"]
    assert "no notebook" in said["turingalan_13_400_notes.txt"]
    assert "of another assignment, 02-other" in said["turingalan_13_900_02-other.ipynb"]


def test_moodle(course, tmp_path):
    path = zipped(tmp_path / "m.zip", [
        (f"Zoë de la Cruz_77_assignsubmission_file/{NAME}.ipynb", "folder"),
        (f"学生_78_assignsubmission_file_{NAME}.ipynb", "flat"),
        (f"Old Moodle_79_assignsubmission_file_/{NAME}.ipynb", "trailing"),
        (f"Course/Deep Er_80_assignsubmission_file/{NAME}.ipynb", "deep"),
    ])  # fmt: skip
    collect(path, NAME, course)
    assert {each.split("/")[0]: text for each, text in submitted(course).items()} == {
        "Zoë de la Cruz_77": "folder",
        "学生_78": "flat",
        "Old Moodle_79": "trailing",
        "Deep Er_80": "deep",
    }


def test_blackboard(course, tmp_path):
    path = zipped(tmp_path / "b.zip", [
        (f"Week 1_ada_attempt_2030-02-01-10-00-00_{NAME}.ipynb", "first"),
        (f"Week 1_ada_attempt_2030-02-03-09-00-00_{NAME}.ipynb", "second"),
        ("Week 1_ada_attempt_2030-02-03-09-00-00.txt", "the form"),
    ])  # fmt: skip
    collect(path, NAME, course)
    assert submitted(course) == {f"ada/{NAME}/{NAME}.ipynb": "second"}


def test_plain_folder_and_a_second_time(course, tmp_path):
    for name, text in {"ada": "a", "bob": "b"}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{NAME}.ipynb").write_text(text)
    (tmp_path / "in" / "eve" / NAME).mkdir(parents=True)
    (tmp_path / "in" / "eve" / NAME / f"{NAME}.ipynb").write_text("e")
    assert {each.action for each in collect(tmp_path / "in", NAME, course)} == {"new"}
    assert {each.split("/")[0] for each in submitted(course)} == {"ada", "bob", "eve"}
    (tmp_path / "in" / "bob" / f"{NAME}.ipynb").write_text("better")
    again = {each.student: each.action for each in collect(tmp_path / "in", NAME, course)}
    assert again == {"ada": "unchanged", "bob": "replaced", "eve": "unchanged"}
    assert submitted(course)[f"bob/{NAME}/{NAME}.ipynb"] == "better"


def test_two_spellings_of_one_name_are_one_student(course, tmp_path):
    path = zipped(tmp_path / "u.zip", [
        (f"Zo\u00eb/{NAME}.ipynb", "composed"),
        (f"Zoe\u0308/{NAME}.ipynb", "decomposed"),
    ])  # fmt: skip
    done = collect(path, NAME, course)
    assert {each.student for each in done} == {"Zo\u00eb"}
    assert len(submitted(course)) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"../../evil/{NAME}.ipynb", "leads out"),
        (f"/etc/{NAME}.ipynb", "leads out"),
        (f"ada/../../{NAME}.ipynb", "leads out"),
        (f"..\\..\\evil\\{NAME}.ipynb", "leads out"),
        (f"-rf_1_2_{NAME}.ipynb", "cannot name a folder"),
        (f"a:b/{NAME}.ipynb", "cannot name a folder"),
        (f"{NAME}.ipynb", "no student's name"),
    ],
)
def test_name_that_could_lead_elsewhere_is_refused(course, tmp_path, name, reason):
    path = zipped(tmp_path / "z.zip", [(name, "x"), (f"ada/{NAME}.ipynb", "good")])
    before = {each for each in tmp_path.rglob("*") if "submitted" not in each.parts}
    refused = [each for each in collect(path, NAME, course) if each.action == "refused"]
    assert len(refused) == 1
    assert reason in refused[0].reason
    assert submitted(course) == {f"ada/{NAME}/{NAME}.ipynb": "good"}
    assert {each for each in tmp_path.rglob("*") if "submitted" not in each.parts} == before


def test_links_are_refused(course, tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text("secret")
    info = zipfile.ZipInfo(f"eve/{NAME}.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "l.zip", [(info, str(secret))])
    (done,) = collect(path, NAME, course)
    assert (done.action, done.reason) == ("refused", "a link or a device")
    (tmp_path / "in" / "eve").mkdir(parents=True)
    (tmp_path / "in" / "eve" / f"{NAME}.ipynb").symlink_to(secret)
    (tmp_path / "in" / "all").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "in" / "eve" / "pipe.ipynb")
    assert {each.action for each in collect(tmp_path / "in", NAME, course)} == {"refused"}
    assert submitted(course) == {}


def test_link_in_the_way_is_not_followed(course, tmp_path):
    (course / "submitted" / "ada").mkdir(parents=True)
    (course / "submitted" / "ada" / NAME).symlink_to(tmp_path, target_is_directory=True)
    path = zipped(tmp_path / "z.zip", [(f"ada/{NAME}.ipynb", "x")])
    (done,) = collect(path, NAME, course)
    assert done.action == "refused"
    assert not (tmp_path / f"{NAME}.ipynb").exists()


def test_bombs_are_refused(course, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LARGEST", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"ada/{NAME}.ipynb", "0" * 100_000)
        archive.writestr(f"bob/{NAME}.ipynb", "good")
    data = path.read_bytes()
    # The same, with a lie about the size in both headers: it is cut off while reading.
    liar = tmp_path / "liar.zip"
    liar.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    for each in path, liar:
        by_student = {one.source: one.action for one in collect(each, NAME, course)}
        assert by_student[f"ada/{NAME}.ipynb"] == "refused"
    assert submitted(course) == {f"bob/{NAME}/{NAME}.ipynb": "good"}
    monkeypatch.setattr(folder, "LARGEST_SUM", 50_000)
    with pytest.raises(DataError, match="more than any class"):
        collect(path, NAME, course)
    monkeypatch.setattr(folder, "LARGEST_SUM", 1 << 30)
    monkeypatch.setattr(folder, "MOST_FILES", 1)
    with pytest.raises(DataError, match="more than any class"):
        collect(path, NAME, course)


def test_damaged_member_costs_only_itself(course, tmp_path):
    path = zipped(tmp_path / "d.zip", [(f"ada/{NAME}.ipynb", "AAAAAAAA"),
                                       (f"bob/{NAME}.ipynb", "good")])  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"AAAAAAAA", b"AAAABAAA"))
    ada, bob = collect(path, NAME, course)
    assert (ada.action, bob.action) == ("refused", "new")
    assert "CRC" in ada.reason


def test_encrypted_member_is_refused(course, tmp_path):
    path = zipped(tmp_path / "e.zip", [(f"ada/{NAME}.ipynb", "x")])
    data = bytearray(path.read_bytes())
    data[6] |= 1  # The flags of the local header, and of the directory's entry.
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    (done,) = collect(path, NAME, course)
    assert (done.action, done.reason) == ("refused", "it is encrypted")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut"])
def test_what_is_no_zip_is_refused(course, tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match="cannot be opened"):
        collect(tmp_path / "x.zip", NAME, course)
    with pytest.raises(DataError, match="cannot be opened"):
        collect(tmp_path / "absent.zip", NAME, course)


def test_unknown_assignment_is_refused(course, tmp_path):
    with pytest.raises(UnknownNameError, match="there is no assignment"):
        collect(tmp_path, "01-gradient-by-hand", course)


def test_files_of_systems_are_skipped(course, tmp_path):
    path = zipped(tmp_path / "s.zip", [(f"__MACOSX/ada/._{NAME}.ipynb", "x"),
                                       ("ada/.DS_Store", "x"), ("ada/inner.zip", "x")])  # fmt: skip
    assert {each.action for each in collect(path, NAME, course)} == {"skipped"}


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "a\nb", "a\u202eb", "-rf",
                                  "x" * 121, "a.", "nul\x00", 'a"b'])  # fmt: skip
def test_unsafe_names(name):
    assert safe_name(name) is None


def test_plain_text():
    assert plain("\x1b[31mred\x1b[0m \x1b]0;title\x07x\r\ny\x00\u202ez\ud800") == "red x\nyz"
    long = plain("a" * 50_000 + "b" * 50_000, 1000)
    assert len(long) < 1100
    assert long.startswith("aaa")
    assert long.endswith("bbb")
    assert "99,000 characters left out" in long
