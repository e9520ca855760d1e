"""Students check themselves: ``check("q1")`` in a notebook, :func:`check_notebook` outside.

Both run the check cells that the notebook itself shows, which are what the grader runs
minus the hidden inputs.  Neither knows a solution.
"""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError, WorkbenchError, unknown_name

if TYPE_CHECKING:
    from workbench.course.notebooks import Assignment
    from workbench.course.results import Row

__all__ = ["check", "check_notebook", "find_notebook_of"]

#: What reading a file that is no notebook may raise.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# Blue and orange are told apart by everybody; the symbols say the same.
_PASSED, _FAILED = ("✓", "#0072b2", "passes"), ("✗", "#d55e00", "does not pass yet")


def check(question: str) -> None:
    """Show whether the answer to a question passes its visible checks, and if not, why.

    Run it in the notebook after the cell with the answer.  It takes the functions as they
    are now; nothing is stored, and nothing is marked.

    Parameters
    ----------
    question : str
        ``"q1"``, or one check of it, such as ``"q1-check-step"``.
    """
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        print("check() works inside a notebook; outside, use: workbench check NAME")
        return
    shell = get_ipython()
    if shell is None:
        print("check() works inside a notebook; outside, use: workbench check NAME")
        return
    try:
        cells = _checks(question, shell.user_ns)
    except WorkbenchError as error:
        print(error)
        return
    results = [(name, points, *_run(source, shell.user_ns)) for name, points, source in cells]
    shown = "".join(_panel(*each) for each in results)
    text = "\n".join(f"{(_FAILED if failed else _PASSED)[0]} {name}: "
                     f"{text or _PASSED[2]}" for name, _, failed, text in results)  # fmt: skip
    display({"text/html": HTML(shown).data, "text/plain": text}, raw=True)


def _checks(question: str, namespace: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Find the check cells of a question in the notebook that asks."""
    from workbench.course.notebooks import parse_assignment

    named = [namespace.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")]
    paths = [Path(each) for each in named if each and str(each).endswith(".ipynb")]
    known: set[str] = set()
    for path in [*paths, *sorted(Path.cwd().glob("*.ipynb"))]:
        try:
            assignment = parse_assignment(path.stem, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, *UNREADABLE):
            continue
        cells = assignment.of_kind("check")
        found = [(cell.id, cell.points, cell.source) for cell in cells
                 if question in (cell.question, cell.id)]  # fmt: skip
        if found:
            return found
        known |= {cell.question for cell in cells}
    if known:
        raise unknown_name("check", "question", question, sorted(known))
    raise DataError("check", "there is no notebook with checks here", given=str(Path.cwd()),
                    fix="save the notebook, and run it from its own folder")  # fmt: skip


def _run(source: str, namespace: dict[str, Any]) -> tuple[bool, str]:
    """Run a check cell on the notebook's names; return whether it failed, and what it said."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exec(compile(source, "<check>", "exec"), dict(namespace))
    except NotImplementedError:
        return True, "not answered yet"
    except WorkbenchError as error:
        return True, str(error)
    except (Exception, SystemExit) as error:
        if isinstance(error, NameError) and error.name:
            return True, f"there is no {error.name} yet: run the cell that defines it"
        try:
            text = str(error)
        except Exception as worse:
            text = f"(its text cannot be made: {type(worse).__name__})"
        return True, f"your code raised {type(error).__name__}: {text}"
    return False, ""


def _panel(name: str, points: float, failed: bool, text: str) -> str:
    symbol, colour, words = _FAILED if failed else _PASSED
    # The colour is in the border only: text keeps the contrast of the reader's theme.
    style = "margin:.4em 0 0 1.6em;white-space:pre-wrap;font-family:monospace"
    body = f"<pre style='{style}'>{html.escape(text)}</pre>"
    return (
        f"<div style='border-left:.3em solid {colour};padding:.4em .8em;margin:.3em 0'>"
        f"<b>{symbol} {html.escape(name)}</b> {words}"
        f" <small>({points:g} {'point' if points == 1 else 'points'})</small>"
        f"{body if text else ''}</div>"
    )


def find_notebook_of(name: str, course: Path | str = ".") -> Path:
    """Find the notebook of an assignment: a path, or ``exercises/NAME/NAME.ipynb``.

    Raises
    ------
    UnknownNameError, DataError
        If there is none.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    if path.is_dir() and (path / f"{path.resolve().name}.ipynb").is_file():
        return path / f"{path.resolve().name}.ipynb"
    folder = Path(course) / "exercises"
    known = sorted(each.parent.name for each in folder.glob("*/*.ipynb")
                   if each.stem == each.parent.name)  # fmt: skip
    if name in known:
        return folder / name / f"{name}.ipynb"
    if known:
        raise unknown_name("check", "assignment", name, known)
    raise DataError("check", "there are no exercises here", given=str(folder.resolve()),
                    expected="exercises/NAME/NAME.ipynb, or the path of a notebook")  # fmt: skip


def read_own(path: Path) -> tuple[Assignment, bytes]:
    """Read a student's own notebook: its checks, and its bytes."""
    from workbench.course.notebooks import parse_assignment, read_file

    data = read_file(path)
    try:
        assignment = parse_assignment(path.stem, json.loads(data))
    except UNREADABLE as error:
        raise DataError("check", "this is not a notebook that can be read", given=str(path),
                        fix="open it in Jupyter, and save it again") from error  # fmt: skip
    if not assignment.of_kind("check"):
        raise DataError("check", "there are no checks in this notebook", given=str(path))
    return assignment, data


def check_notebook(path: Path, questions: Sequence[str] = ()) -> Iterator[Row]:
    """Run the checks of a student's own notebook, each in a fresh process.

    Parameters
    ----------
    path : Path
    questions : sequence of str
        Questions (``"q1"``) or checks; empty for all.

    Yields
    ------
    Row
        One for each check, as soon as it is known.

    Raises
    ------
    DataError, UnknownNameError
        If the notebook cannot be read, or has no such question.
    """
    from workbench.course.notebooks import parse_submission
    from workbench.course.referee import Options, judge
    from workbench.course.sandbox import isolation

    assignment, data = read_own(path)
    cells = assignment.of_kind("check")
    known = {cell.question for cell in cells} | {cell.id for cell in cells}
    for each in questions:
        if each not in known:
            raise unknown_name("check", "question", each, sorted(known))
    submission = parse_submission("you", data, assignment)
    for cell in cells:
        if not questions or {cell.question, cell.id} & set(questions):
            yield from judge(assignment, submission, Options(mode=isolation()[0], only=(cell.id,)))
