"""How fast a class is graded, against nbgrader itself, on the same submissions.

``python -m workbench.course.benchmark NAME`` makes a mixed class (right, wrong, blank,
hostile), grades it by ``workbench grade`` and by ``nbgrader autograde``, and prints both
wall times and their ratio.  Both are whole commands with all they write; what happens
once a term (making the release, the database) is done before for both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.course.folder import init
from workbench.course.notebooks import Assignment, read_assignment

__all__ = ["main", "make_class"]

#: What a hostile student writes in place of one function.
HOSTILE = {
    "endless": "while True:\n        pass",
    "exits": "import os\n    os._exit(0)",
    "memory": "return bytearray(1 << 40)",
    "patches": "import numpy\n    numpy.testing.assert_allclose = lambda *a, **k: None",
    "raises": "raise SystemExit",
    "recurses": "return {name}(*arguments, **options)",
}


def make_class(name: str, course: Path, number: int) -> dict[str, int]:
    """Fill ``course/submitted``: of five students two are right, two wrong or blank, one hostile.

    Returns
    -------
    dict
        How many there are of each kind.
    """
    assignment = read_assignment(name, course)
    source = json.loads((course / "solutions" / name / f"{name}.ipynb").read_text("utf-8"))
    released = (course / "exercises" / name / f"{name}.ipynb").read_text("utf-8")
    count: dict[str, int] = {}
    for i in range(number):
        kind = ("right", "wrong", "right", "blank", "hostile")[i % 5]
        if kind == "hostile":
            kind = list(HOSTILE)[i // 5 % len(HOSTILE)]
        count[kind] = count.get(kind, 0) + 1
        text = released if kind == "blank" else json.dumps(_changed(source, assignment, kind, i))
        path = course / "submitted" / f"{i:04}-{kind}" / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return count


def _changed(source: dict[str, Any], assignment: Assignment, kind: str, turn: int) -> Any:
    """Return the reference with one answer replaced, a different one each turn."""
    from workbench.course.referee import _names

    notebook = json.loads(json.dumps(source))
    answers = [cell for cell in assignment.of_kind("answer") if _names(cell.source)]
    chosen = answers[turn % len(answers)]
    body = HOSTILE.get(kind, "return None")
    text = "\n\n".join(f"def {name}(*arguments, **options):\n    {body.replace('{name}', name)}"
                       for name in _names(chosen.source))  # fmt: skip
    for cell in notebook["cells"]:
        if kind != "right" and cell.get("id") == chosen.id:
            cell["source"] = text
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.course.benchmark",
                                     description=__doc__.splitlines()[0])  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--submissions", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--without-nbgrader", action="store_true")
    parser.add_argument("--from", dest="clone", default=None, metavar="CLONE")
    given = parser.parse_args(arguments)
    ours, theirs = [], []
    for _ in range(given.repetitions):
        with tempfile.TemporaryDirectory(prefix="workbench-benchmark-") as folder:
            course = init(Path(folder).resolve() / "course", given.clone)
            count = make_class(given.name, course, given.submissions)
            _run(course, "nbgrader", "generate_assignment", given.name, "--force")
            if not given.without_nbgrader:
                copy = shutil.copytree(course, course.with_name("copy"))
                theirs.append(_run(copy, "nbgrader", "autograde", given.name))
            ours.append(_run(course, "workbench", "grade", given.name, "--jobs", str(given.jobs)))
        print(", ".join(f"{n} {kind}" for kind, n in count.items()))
        print(f"workbench grade, {given.jobs} jobs: {ours[-1]:.1f} s, "
              f"{ours[-1] / given.submissions:.2f} s a submission")  # fmt: skip
        if theirs:
            print(f"nbgrader autograde: {theirs[-1]:.1f} s; ratio {ours[-1] / theirs[-1]:.3f}")
    if theirs and given.repetitions > 1:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"ratio: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
        )
    return 0


def _run(course: Path, module: str, *words: str) -> float:
    """Run a command in a course folder; return its wall time in seconds."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    begin = time.perf_counter()
    # nbgrader's exit status is 1 if a single submission was too much for it.
    subprocess.run([sys.executable, "-m", module, *words], cwd=course, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, env={**os.environ, "PATH": path})  # fmt: skip
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
