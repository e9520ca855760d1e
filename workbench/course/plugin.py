"""pytest plugin: the graded cells of an assignment's notebook as tests, with their points.

``pytest exercises/NAME`` runs them as ``workbench check`` does, in any editor that knows
pytest and in CI.  Other notebooks are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from workbench.course.results import Row

__all__ = ["CheckItem", "NotebookFile", "pytest_collect_file", "pytest_terminal_summary"]

ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> NotebookFile | None:
    """Take a notebook that has graded cells and says that it is ours."""
    if file_path.suffix != ".ipynb" or ".ipynb_checkpoints" in file_path.parts:
        return None
    try:
        text = file_path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    if "workbench.course" not in text or '"nbgrader"' not in text:
        return None
    collected: NotebookFile = NotebookFile.from_parent(parent, path=file_path)
    return collected


class NotebookFile(pytest.File):
    """A notebook: one test for every check cell."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the checks in the notebook's order."""
        from workbench.course.selfcheck import read_own
        from workbench.errors import WorkbenchError

        try:
            assignment, _ = read_own(self.path)
        except WorkbenchError as error:
            raise self.CollectError(str(error)) from None
        for cell in assignment.of_kind("check"):
            unit = "point" if cell.points == 1 else "points"
            name = f"{cell.id} ({cell.points:g} {unit})"
            yield CheckItem.from_parent(self, name=name, question=cell.id)


class CheckFailedError(Exception):
    """A check that did not pass; the text is for the student."""


class CheckItem(pytest.Item):
    """One check cell."""

    def __init__(self, *, question: str, **options: Any) -> None:
        super().__init__(**options)
        self.question = question

    def runtest(self) -> None:
        """Run the check on the answer in the notebook."""
        from workbench.course.selfcheck import check_notebook

        for row in check_notebook(self.path, [self.question]):
            self.config.stash.setdefault(ROWS, []).append(row)
            if row.verdict != "pass":
                raise CheckFailedError(f"{row.verdict}: {row.feedback}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Say what is wrong with the answer; where the check stands helps nobody."""
        if isinstance(excinfo.value, CheckFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test in reports."""
        return self.path, None, self.name


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Add up the points, notebook by notebook."""
    rows = config.stash.get(ROWS, [])
    for name in dict.fromkeys(row.assignment for row in rows):
        own = [row for row in rows if row.assignment == name]
        points, most = sum(row.points for row in own), sum(row.max_points for row in own)
        terminalreporter.section(f"{name}: {points:g} of {most:g} points")
        if own[0].isolation == "UNISOLATED":
            terminalreporter.line("UNISOLATED: limits and a kill, but no sandbox, held the code")
