"""An instructor's course folder: making one, and putting submissions into it.

The folder is nbgrader's: ``nbgrader_config.py``, ``solutions/``, ``exercises/``,
``submitted/STUDENT/NAME/NAME.ipynb``.  What students see is in ``exercises/`` only.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from workbench.course.nbgrader import EXERCISES, SOLUTIONS, assignments
from workbench.course.text import plain, safe_name
from workbench.errors import DataError, OptionError, unknown_name
from workbench.files import atomic_write

__all__ = ["Collected", "collect", "init"]

SUBMITTED, PRIVATE = "submitted", ".workbench"
LARGEST = 20 << 20  # Bytes of one notebook; with figures they have one or two million.
LARGEST_SUM, MOST_FILES = 4 << 30, 20_000

_IGNORE = "gradebook.db*\nsubmitted/\nautograded/\nfeedback/\n.workbench/\ngrades*.csv\n" \
          ".ipynb_checkpoints/\n__pycache__/\n*.log\n"  # fmt: skip
# How the systems name what they give away; the first that fits decides.  Blackboard:
# NAME_username_attempt_DATE_FILE; Moodle: Full Name_PARTICIPANT_assignsubmission_file/FILE, or
# the same with "_"; Canvas: lastnamefirst[_LATE]_USER_SUBMISSION_FILE.
_NAMES = [
    re.compile(r".+_(?P<who>[^_/]+)_attempt_(?P<when>[0-9-]{19})_(?P<file>[^/]+)"),
    re.compile(r"(?P<who>[^/]+_[0-9]+)_assignsubmission_file_?[/_]?(?P<file>[^/]+)"),
    re.compile(r"(?P<name>[^/]+?)(?:_LATE)?_(?P<id>[0-9]+)_(?P<when>[0-9]+)_(?P<file>[^/]+)"),
]


@dataclass(frozen=True)
class Collected:
    """What became of one file.

    Parameters
    ----------
    source : str
        Its name in the zip file or folder.
    action : str
        ``"new"``, ``"replaced"``, ``"unchanged"``, ``"skipped"`` (another file of the same
        student counts, or it is no notebook) or ``"refused"``.
    student : str
        The folder under ``submitted/``; empty where none could be told.
    reason : str
    """

    source: str
    action: str
    student: str = ""
    reason: str = ""

    def __str__(self) -> str:
        whose = f" -> {self.student}" if self.student else ""
        return f"{self.action}: {self.source}{whose}" + (f" ({self.reason})" if self.reason else "")


def init(directory: Path | str, source: Path | str | None = None) -> Path:
    """Make an instructor's course folder that works at once.

    Parameters
    ----------
    directory : path
        A folder that does not exist yet, or is empty.
    source : path, optional
        A clone of the workbench's repository.  The installed package holds no
        assignments; without ``source`` it must itself be such a clone.

    Returns
    -------
    Path
        The folder.  It is there whole, or not at all.

    Raises
    ------
    OptionError
        If the directory holds something already.
    DataError
        If there are no assignments in ``source``, or the disk refuses.
    """
    target = Path(directory).absolute()
    root = Path(source) if source is not None else Path(__file__).parents[2]
    if not (root / SOLUTIONS).is_dir():
        raise DataError("course init", "there are no assignments to copy", given=str(root),
                        expected=f"a clone of the workbench's repository, with {SOLUTIONS}/",
                        fix="clone the repository and name it: --from CLONE")  # fmt: skip
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OptionError("course init", f"{target} holds something already",
                          fix="name a folder that does not exist yet")  # fmt: skip
    names = assignments(root)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            _fill(made, root, names)
            made.chmod(0o755)
            if target.exists():
                target.rmdir()
            made.rename(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise DataError("course init", f"cannot make {target}: {error.strerror or error}",
                        fix="choose another place") from error  # fmt: skip
    return target


def _fill(made: Path, root: Path, names: list[str]) -> None:
    ignore = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
    for kind in SOLUTIONS, EXERCISES:
        (made / kind).mkdir()
        for name in names:
            if (root / kind / name).is_dir():
                shutil.copytree(root / kind / name, made / kind / name, ignore=ignore)
    (made / SUBMITTED).mkdir()
    (made / PRIVATE).mkdir(mode=0o700)
    # From this and a student's name the inputs of hidden tests are drawn.
    number = os.open(made / PRIVATE / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(number, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
    (made / ".gitignore").write_text(_IGNORE, encoding="utf-8")
    templates = files("workbench.course") / "templates"
    for name in "nbgrader_config.py", "README.md":
        text = (templates / f"{name}.txt").read_text(encoding="utf-8")
        text = text.replace("{{ assignments }}", "\n".join(f"* `{each}`" for each in names))
        text = text.replace("{{ first }}", names[0] if names else "NAME")
        (made / name).write_text(text, encoding="utf-8")


def collect(source: Path | str, assignment: str, course: Path | str = ".") -> list[Collected]:
    """Put what a learning-management system gives into ``submitted/STUDENT/NAME``.

    Parameters
    ----------
    source : path
        A zip file or folder: the download of Canvas, Moodle or Blackboard, or
        ``STUDENT/NAME.ipynb`` or ``STUDENT/NAME/NAME.ipynb``.
    assignment : str
    course : path

    Returns
    -------
    list of Collected
        Every file of ``source``, and what became of it, in the order of their names.

    Raises
    ------
    UnknownNameError
        If there is no such assignment.
    DataError
        If ``source`` is neither, is damaged, or holds more than any class hands in.

    Notes
    -----
    Names in ``source`` come from strangers and never become a path: only the student's
    name does, as one folder, after :func:`~workbench.course.text.safe_name`.  Of
    several files of one student the one with the assignment's name counts, of those the
    latest.  Nothing is unpacked but what counts, and never more than its limit.
    """
    known = assignments(course)
    if assignment not in known:
        raise unknown_name("collect", "assignment", assignment, known)
    done: list[Collected] = []
    best: dict[str, tuple[_Rank, _File]] = {}
    with _opened(Path(source)) as found:
        for file in found:
            if reason := _unfit(file):
                action = "skipped" if reason in _HARMLESS else "refused"
                done.append(Collected(plain(file.name, 300), action, "", reason))
                continue
            student, rank, reason = _whose(file, assignment, known)
            if reason:
                done.append(Collected(plain(file.name, 300), "refused", student, reason))
            elif student not in best or rank > best[student][0]:
                if student in best:
                    done.append(_passed_over(best[student][1], student, file))
                best[student] = rank, file
            else:
                done.append(_passed_over(file, student, best[student][1]))
        for student, (_, file) in best.items():
            target = Path(course) / SUBMITTED / student / assignment / f"{assignment}.ipynb"
            done.append(_take(file, student, target))
    return sorted(done, key=lambda each: each.source)


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    modified: str  # Sorts as time does.
    problem: str
    read: Callable[[int], bytes]  # At most that many bytes.


_Rank = tuple[bool, str, int, str, str]


_HARMLESS = "a system's own file", "no notebook"


def _unfit(file: _File) -> str:
    """Say why a file can be nobody's submission, or nothing."""
    parts = PurePosixPath(file.name).parts
    if file.problem:
        return file.problem
    if not parts or ".." in parts or file.name.startswith("/") or "\\" in file.name:
        return "its name leads out of the folder"
    if parts[0] == "__MACOSX" or parts[-1].startswith("."):
        return _HARMLESS[0]
    if not parts[-1].endswith(".ipynb"):
        return _HARMLESS[1]
    if file.size > LARGEST:
        return f"{file.size >> 20} MB; at most {LARGEST >> 20} are taken"
    return ""


def _whose(file: _File, assignment: str, known: list[str]) -> tuple[str, _Rank, str]:
    """Return the student, how much the file counts, and why it does not."""
    who, when, last = _parse(PurePosixPath(file.name).parts, assignment)
    student = safe_name(who) if who is not None else None
    stem, number = _stem(last.removesuffix(".ipynb"))
    rank = stem == assignment, when.zfill(20), number, file.modified, file.name
    if who is None:
        return "", rank, "no student's name in it that any system writes"
    if student is None:
        return "", rank, "the student's name cannot name a folder"
    if stem != assignment and stem in known:
        return student, rank, f"it is of another assignment, {stem}"
    return student, rank, ""


def _parse(parts: tuple[str, ...], assignment: str) -> tuple[str | None, str, str]:
    for text in "/".join(parts[-2:]), parts[-1]:
        for pattern in _NAMES:
            if found := pattern.fullmatch(text):
                groups = found.groupdict()
                who = groups.get("who") or f"{groups['name']}_{groups['id']}"
                return who, groups.get("when") or "", groups["file"]
    if len(parts) > 1:  # STUDENT/NAME.ipynb, STUDENT/NAME/NAME.ipynb.
        up = parts[-3] if len(parts) > 2 and parts[-2] == assignment else parts[-2]
        return up, "", parts[-1]
    return None, "", parts[-1]


def _stem(name: str) -> tuple[str, int]:
    """Split off the number that a system or a browser adds to a second upload."""
    found = re.fullmatch(r"(.+?)(?:-([0-9]{1,3})|\s*\(([0-9]{1,3})\))", name)
    return (found[1], int(found[2] or found[3])) if found else (name, 0)


def _passed_over(file: _File, student: str, other: _File) -> Collected:
    return Collected(plain(file.name, 300), "skipped", student,
                     f"{plain(other.name, 300)} is later, or better named")  # fmt: skip


def _take(file: _File, student: str, target: Path) -> Collected:
    name = plain(file.name, 300)
    try:
        data = file.read(LARGEST + 1)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        return Collected(name, "refused", student, f"it cannot be read: {plain(str(error), 200)}")
    if len(data) > LARGEST:
        return Collected(name, "refused", student, f"more than {LARGEST >> 20} MB")
    if any(each.is_symlink() for each in (target, *target.parents[:2])):
        return Collected(name, "refused", student, f"{target} is a link")
    before = target.read_bytes() if target.is_file() else None
    if before == data:
        return Collected(name, "unchanged", student)
    atomic_write(target, data, where="collect")
    return Collected(name, "new" if before is None else "replaced", student)


@contextmanager
def _opened(source: Path) -> Iterator[list[_File]]:
    if source.is_dir():
        yield _limited(source, _in_folder(source))
        return
    try:
        with zipfile.ZipFile(source) as archive:
            yield _limited(source, (_in_zip(archive, each) for each in archive.infolist()
                                    if not each.is_dir()))  # fmt: skip
    except (zipfile.BadZipFile, FileNotFoundError, PermissionError) as error:
        raise DataError("collect", f"{source} cannot be opened: {error}",
                        expected="a zip file as the system gives it, or a folder",
                        fix="download it again") from error  # fmt: skip


def _limited(source: Path, found: Iterator[_File]) -> list[_File]:
    kept: list[_File] = []
    size = 0
    for file in found:
        kept.append(file)
        size += file.size
        if len(kept) > MOST_FILES or size > LARGEST_SUM:
            raise DataError("collect", f"{source} holds more than any class hands in",
                            expected=f"at most {MOST_FILES} files, {LARGEST_SUM >> 30} GB",
                            fix="take the submissions out of it by hand")  # fmt: skip
    return sorted(kept, key=lambda file: file.name)


def _in_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _File:
    mode = entry.external_attr >> 16
    problem = ""
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        problem = "a link or a device"
    elif entry.flag_bits & 1:
        problem = "it is encrypted"

    def read(limit: int) -> bytes:
        with archive.open(entry) as file:  # Whatever size the entry claims to have.
            return file.read(limit)

    when = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*entry.date_time)
    return _File(entry.filename, entry.file_size, when, problem, read)


def _in_folder(root: Path) -> Iterator[_File]:
    for folder, folders, names in os.walk(root):  # It does not follow links to folders.
        links = [each for each in folders if os.path.islink(os.path.join(folder, each))]
        for name in [*names, *links]:
            path = Path(folder, name)
            status = path.lstat()
            problem = "" if stat.S_ISREG(status.st_mode) else "a link or a device"

            def read(limit: int, path: Path = path) -> bytes:
                with open(path, "rb") as file:
                    return file.read(limit)

            shown = path.relative_to(root).as_posix()
            yield _File(shown, 0 if problem else status.st_size,
                        f"{status.st_mtime_ns:020}", problem, read)  # fmt: skip
