"""Known-wrong answers: slips that people make, one at a time, and what must come of each.

Each assignment lists its own in ``mutants_NN.py``.  An answer is an edit of the
reference, or a text of its own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One wrong answer.

    ``loses`` names every check cell that must notice, and no other may; what the student
    reads from each must match the pattern ``feedback``, which names the fault.
    """

    name: str
    cell: str
    edits: tuple[tuple[str, str], ...]
    loses: tuple[str, ...]
    feedback: str
    answer: str | None = None

    def apply(self, reference: str) -> str:
        """Return the wrong answer, as the text of its cell."""
        text = reference if self.answer is None else self.answer
        for old, new in self.edits:
            assert old in text, f"{self.name}: the reference has no {old!r}"
            text = text.replace(old, new)
        return text
