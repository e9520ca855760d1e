"""What comes of a submission: one row for each graded question."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["VERDICTS", "Row"]

#: Every verdict there is, and what it means.
VERDICTS = {
    "pass": "every check passed",
    "fail": "a check failed, or the code raised",
    "timeout": "it did not come back within the time limit",
    "died": "its process ended before it answered",
    "out of memory": "it asked for more memory than the limit",
    "tampered": "its process answered in a way that no honest code does",
    "missing": "there is no answer to grade",
}


@dataclass(frozen=True)
class Row:
    """The verdict on one question of one submission.

    Parameters
    ----------
    student, assignment, question : str
        The submission's folder, the assignment, the check cell's ``grade_id``.
    verdict : str
        A key of :data:`VERDICTS`; never absent.
    points, max_points : float
        All of the question's points for ``"pass"``, none otherwise.
    feedback : str
        For the student to read: what is wrong and where.  It holds no check's source.
    seconds : float
        Wall time.
    memory : int
        Largest resident memory of the student's process, in bytes; 0 where unknown.
    isolation : str
        ``"bubblewrap"``, or ``"UNISOLATED"`` where only limits held the code.
    """

    student: str
    assignment: str
    question: str
    verdict: str
    points: float
    max_points: float
    feedback: str = ""
    seconds: float = 0.0
    memory: int = 0
    isolation: str = ""

    def of(self, student: str) -> Row:
        """Return the same verdict for another student's name."""
        return replace(self, student=student)

    def data(self) -> dict[str, Any]:
        """Return the row as JSON takes it."""
        return asdict(self)
