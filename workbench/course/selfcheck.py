"""``check("q1")``: the checks of a question, run in the notebook on the answer just written."""

from __future__ import annotations

__all__ = ["check"]


def check(question: str) -> None:
    """Show whether the answer to a question passes its visible checks, and if not, why."""
