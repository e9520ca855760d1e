"""The road through the real nbgrader: ``solutions/`` to ``exercises/``, submissions to marks.

nbgrader is the format that instructors know, so every assignment goes through it.  It
wants a course folder of its own, with a database; it gets a temporary one, made for
each call, and nothing of it stays behind.

This is the compatibility road, not a guarded one: nbgrader runs a submission and its
tests in one process, where code that means to can give itself any mark.

``python -m workbench.course.nbgrader release NAME`` makes one exercise anew.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import DataError, OptionError, WorkbenchError, require, unknown_name

__all__ = ["Mark", "NbgraderError", "assignments", "autograde", "main", "release"]

SOLUTIONS, EXERCISES = "solutions", "exercises"


class NbgraderError(WorkbenchError, RuntimeError):
    """nbgrader itself stopped; the message ends with what it said last."""


@dataclass(frozen=True)
class Mark:
    """What one student got for one test cell.

    Parameters
    ----------
    student, question : str
        Name of the submission's folder, and the test cell's ``grade_id``.
    points : float or None
        None where nbgrader reached no verdict, for the reason in ``feedback``.
    max_points : float
    feedback : str
        The error that the test cell ended with; empty if it passed.
    """

    student: str
    question: str
    points: float | None
    max_points: float
    feedback: str


def assignments(course: Path | str = ".") -> list[str]:
    """Return the names of the assignments under ``course/solutions``, in order.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    folder = Path(course) / SOLUTIONS
    if not folder.is_dir():
        raise DataError("course", "there are no assignments here", given=str(folder.resolve()),
                        expected=f"a folder {SOLUTIONS}/NAME/NAME.ipynb for each assignment",
                        fix="run this from the root of the repository")  # fmt: skip
    return sorted(each.parent.name for each in folder.glob("*/*.ipynb")
                  if each.stem == each.parent.name)  # fmt: skip


def release(name: str, course: Path | str = ".", *, force: bool = False) -> Path:
    """Make ``exercises/NAME`` from ``solutions/NAME`` by ``nbgrader generate_assignment``.

    Parameters
    ----------
    name : str
    course : path
        Folder that holds ``solutions`` and ``exercises``.
    force : bool
        Replace an exercise even if somebody has written answers into it.

    Returns
    -------
    Path
        The folder made.  It is replaced whole or, on any error, not at all.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such assignment, or no assignments at all.
    OptionError
        If there are answers in the exercise, and no ``force``.
    MissingDependencyError
        If nbgrader is not installed.
    NbgraderError
        If nbgrader refuses the notebook: a marker without its end, a ``grade_id`` twice.
    """
    source = _source(name, course)
    target = Path(course) / EXERCISES / name
    if not force and (answered := _answered(target)):
        raise OptionError("release", f"{target} holds answers, which would be lost",
                          given="answers in " + ", ".join(answered),
                          fix="keep a copy elsewhere, then use force (--force)")  # fmt: skip
    with _course_folder(name, source, database=False) as root:
        made, old = target.with_name(f".{name}.new"), target.with_name(f".{name}.old")
        for leftover in made, old:  # Of a run that was killed half way.
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(root / "release" / name, made)
        if target.exists():
            target.rename(old)
        made.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return target


def autograde(
    name: str,
    submitted: Path | str,
    course: Path | str = ".",
    *,
    executed: Path | str | None = None,
) -> list[Mark]:
    """Mark submissions by ``nbgrader autograde``, all of them in one run.

    Parameters
    ----------
    name : str
    submitted : path
        Folder of ``STUDENT/NAME/NAME.ipynb``; it is read, never written.
    course : path
        Folder that holds ``solutions``.
    executed : path, optional
        Folder, made if need be, for the notebooks as nbgrader ran them, with outputs.

    Returns
    -------
    list of Mark
        One for every student and test cell, students in order, cells as in the notebook.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such assignment, or no submission to it.
    MissingDependencyError
        If nbgrader is not installed.
    NbgraderError
        If nbgrader could not even begin.
    """
    source = _source(name, course)
    found = sorted(each for each in Path(submitted).glob("*") if (each / name).is_dir())
    if not found:
        raise DataError("autograde", f"nobody has submitted {name!r}",
                        given=str(Path(submitted).resolve()),
                        expected=f"STUDENT/{name}/{name}.ipynb")  # fmt: skip
    with _course_folder(name, source, database=True) as root:
        for student in found:
            shutil.copytree(student / name, root / "submitted" / student.name / name)
        # One bad submission makes the exit status 1; the others have their marks all the same.
        log = _nbgrader(root, "autograde", name, check=False)
        if executed is not None and (root / "autograded").is_dir():
            shutil.copytree(root / "autograded", executed, dirs_exist_ok=True)
        return [mark for student in found for mark in _marks(root, name, student.name, log)]


def _source(name: str, course: Path | str) -> Path:
    known = assignments(course)
    if name not in known:
        raise unknown_name("course", "assignment", name, known)
    require("nbgrader", room="course", extra="course")
    return Path(course) / SOLUTIONS / name


@contextlib.contextmanager
def _course_folder(name: str, source: Path, *, database: bool) -> Iterator[Path]:
    """Give nbgrader a folder laid out by its own defaults, with one assignment released."""
    with tempfile.TemporaryDirectory(prefix="workbench-course-") as folder:
        root = Path(folder).resolve()
        ignore = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        shutil.copytree(source, root / "source" / name, ignore=ignore)
        options = [] if database else ["--no-db"]
        _nbgrader(root, "generate_assignment", name, *options, check=True)
        yield root


def _nbgrader(root: Path, command: str, name: str, *options: str, check: bool) -> str:
    # It starts alembic by name, which an environment that is not activated does not have.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    # The user's own settings of Jupyter, IPython and nbgrader decide no marks.
    own = {"JUPYTER_NO_CONFIG": "1", "JUPYTER_CONFIG_DIR": str(root / "jupyter"),
           "IPYTHONDIR": str(root / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1",
           "PATH": path}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", command, name, *options],
        cwd=root, env={**os.environ, **own}, text=True, encoding="utf-8", errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check and done.returncode:
        raise NbgraderError(f"nbgrader {command}", f"it stopped with exit status {done.returncode}",
                            given=name, fix="\n".join(done.stdout.splitlines()[-8:]))  # fmt: skip
    return done.stdout


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def _answered(release: Path) -> list[str]:
    """Name the answer cells that no longer have the checksum that nbgrader gave them."""
    from nbformat.reader import NotJSONError
    from nbgrader.utils import compute_checksum, is_solution

    try:
        cells = [cell for path in release.glob("*.ipynb") for cell in _read(path).cells]
    except NotJSONError as error:
        raise DataError("release", f"a notebook in {release} cannot be read",
                        fix="look at it, then use force (--force)") from error  # fmt: skip
    return [cell.metadata.nbgrader["grade_id"] for cell in cells if is_solution(cell)
            and cell.metadata.nbgrader.get("checksum") != compute_checksum(cell)]  # fmt: skip


def _marks(root: Path, name: str, student: str, log: str) -> list[Mark]:
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.utils import is_grade

    cells = [cell.metadata.nbgrader for cell in
             _read(root / "release" / name / f"{name}.ipynb").cells if is_grade(cell)]  # fmt: skip
    graded = root / "autograded" / student / name / f"{name}.ipynb"
    grades, errors = {}, {}
    if graded.exists():
        errors = _errors(graded)
        database = f"sqlite:///{root / 'gradebook.db'}"
        with Gradebook(database) as gradebook, contextlib.suppress(MissingEntry):
            found = gradebook.find_submission_notebook(name, name, student)
            grades = {grade.name: grade.score for grade in found.grades}
    said = [line for line in log.splitlines() if "ERROR" in line and f"'{student}'" in line]
    lost = "nbgrader gave no mark" + "".join(f"; {line}" for line in said[-1:])
    return [
        Mark(student, cell["grade_id"], grades.get(cell["grade_id"]), float(cell["points"]),
             errors.get(cell["grade_id"], "") if cell["grade_id"] in grades else lost)
        for cell in cells
    ]  # fmt: skip


def _errors(path: Path) -> dict[str, str]:
    found = {}
    for cell in _read(path).cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                found[grade_id] = f"{output.ename}: {output.evalue}"
            elif output.output_type == "stream" and output.name == "stderr":
                found.setdefault(grade_id, "written to stderr: " + output.text.strip())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``release NAME``; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.course.nbgrader",
                                     description=__doc__.splitlines()[0])  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("release", help="make exercises/NAME anew from solutions/NAME")
    make.add_argument("name", metavar="NAME")
    make.add_argument("--course", default=".", help="folder of solutions/ and exercises/")
    make.add_argument("--force", action="store_true", help="even if there are answers in it")
    given = parser.parse_args(arguments)
    try:
        print(release(given.name, given.course, force=given.force))
    except WorkbenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
