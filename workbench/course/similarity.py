"""Which answers share more structure than the exercise gave them: a list to read from.

Every answer cell is reduced to fingerprints of its syntax tree (:mod:`workbench.course.syntax`),
which renaming, reformatting, comments, other numbers and moved lines leave as they are.
What everybody was given is taken away first: the fingerprints of the release, and those
that a large part of the class has, because the library forces that form.  Pairs are
ranked by the share of what is left that both have.  The published solution is compared
like one more student.

This says what is alike, and never why.  Short answers to a narrow question are alike by
nature; two people who talked, or read the same page, look the same here.

copydetect (0.5, with Pygments, NumPy and Matplotlib) does the same winnowing on the tokens
of whole files.  It reads no notebooks, keeps the layout of statements but not of
expressions, has no notion of what half the class shares, and parses strangers' text in
its own process; the part that could be used is some thirty lines, so they are here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from workbench.course import syntax
from workbench.course.notebooks import Assignment
from workbench.course.text import plain
from workbench.errors import require
from workbench.files import atomic_write

__all__ = ["SOLUTION", "Pair", "Report", "compare", "similarity_page", "write_similarity"]

SOLUTION = "(the published solution)"
LARGEST = 100_000  # Letters of one cell; an answer has some thousands.
BATCH, SECONDS = 400, 60  # Cells for one process that parses, and its time; it needs about two.
FEWEST = 4  # Fingerprints in common, below which a pair is not worth anybody's time.
LARGE_CLASS, COMMON = 5, 0.4  # From so many answers on, what that part of them has is given.


@dataclass(frozen=True)
class Pair:
    """Two submissions, and what they share.

    Parameters
    ----------
    one, other : str
    shared : int
        Fingerprints that both have.
    fraction : float
        Of those of the smaller one.
    lines : tuple of two dict
        For each of the two, by answer cell: the numbers of the lines that the shared
        fingerprints cover.
    """

    one: str
    other: str
    shared: int
    fraction: float
    lines: tuple[dict[str, set[int]], dict[str, set[int]]]


@dataclass(frozen=True)
class Report:
    """Pairs, those that share most first; and cells that were left out, with the reason."""

    pairs: list[Pair]
    left_out: list[tuple[str, str, str]]
    number: int


def compare(answers: Mapping[str, Mapping[str, str]], assignment: Assignment,
            release: Mapping[str, str]) -> Report:  # fmt: skip
    """Compare every submission with every other.

    Parameters
    ----------
    answers : mapping
        By student, by answer cell: its text.
    assignment : Assignment
        For the published solution, and the cells that everybody has.
    release : mapping
        By answer cell: the text that students received.

    Returns
    -------
    Report
    """
    cells = [cell.id for cell in assignment.of_kind("answer")]
    solution = {cell.id: cell.source for cell in assignment.of_kind("answer")}
    everybody = {**{name: answers[name] for name in sorted(answers)}, SOLUTION: solution}
    given = [cell.source for cell in assignment.of_kind("given", "apparatus", "demo", "check")]
    jobs = [(name, cell, own[cell]) for name, own in everybody.items() for cell in cells
            if own.get(cell, "").strip()]  # fmt: skip
    sources = [text for _, _, text in jobs] + given + list(release.values())
    found = _fingerprints(sources)
    left_out: list[tuple[str, str, str]] = []
    prints: dict[str, dict[str, list[tuple[str, int, int]]]] = {name: {} for name in everybody}
    for (name, cell, _), one in zip(jobs, found, strict=False):
        if isinstance(one, str):
            left_out.append((name, cell, one))
        else:
            for digest, first, last in one:
                prints[name].setdefault(digest, []).append((cell, first, last))
    known = {each[0] for one in found[len(jobs) :] if not isinstance(one, str) for each in one}
    if len(answers) >= LARGE_CLASS:
        had = Counter(digest for name, own in prints.items() if name != SOLUTION for digest in own)
        # Two who copied are two, however small the class.
        known |= {digest for digest, n in had.items() if n > max(2, COMMON * len(answers))}
    for own in prints.values():
        for digest in known & own.keys():
            del own[digest]
    pairs = [_pair(one, other, prints) for one, other in combinations(prints, 2)]
    kept = [pair for pair in pairs if pair.shared >= FEWEST]
    kept.sort(key=lambda pair: (-pair.fraction, -pair.shared, pair.one, pair.other))
    return Report(kept, left_out, len(answers))


def _pair(one: str, other: str, prints: Mapping[str, Mapping[str, Any]]) -> Pair:
    shared = prints[one].keys() & prints[other].keys()
    least = min(len(prints[one]), len(prints[other]))
    lines: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
    for name, own in zip((one, other), lines, strict=True):
        for digest in shared:
            for cell, first, last in prints[name][digest]:
                own.setdefault(cell, set()).update(range(first, last + 1))
    return Pair(one, other, len(shared), len(shared) / least if least else 0.0, lines)


def _fingerprints(sources: list[str]) -> list[list[syntax.Print] | str]:
    """Take fingerprints of all in one child; if that dies, of half of them, and so on."""
    if not sources:
        return []
    if len(sources) == 1 and len(sources[0]) > LARGEST:
        return [f"longer than {LARGEST:,} letters"]
    if any(len(each) > LARGEST for each in sources) and len(sources) > 1:
        return [one for each in sources for one in _fingerprints([each])]
    half = len(sources) // 2
    if len(sources) > BATCH:
        return _fingerprints(sources[:half]) + _fingerprints(sources[half:])
    command = [sys.executable, "-I", "-S", syntax.__file__]
    try:
        done = subprocess.run(command, input=json.dumps(sources).encode(), capture_output=True,
                              timeout=SECONDS)  # fmt: skip
        if done.returncode == 0:
            answers: list[list[syntax.Print] | str] = json.loads(done.stdout)
            return answers
        reason = "the parser ended"
    except subprocess.TimeoutExpired:
        reason = f"the parser took more than {SECONDS} s"
    if len(sources) == 1:
        return [reason]
    return _fingerprints(sources[:half]) + _fingerprints(sources[half:])


def similarity_page(
    report: Report, answers: Mapping[str, Mapping[str, str]], assignment: Assignment, most: int = 50
) -> str:
    """Return the report as one HTML page: a table, then each pair side by side."""
    require("jinja2", room="course", extra="course")
    import jinja2

    solution = {cell.id: cell.source for cell in assignment.of_kind("answer")}
    texts = {**answers, SOLUTION: solution}
    loader = jinja2.PackageLoader("workbench.course", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    shown = [{"pair": pair, "percent": f"{100 * pair.fraction:.0f}",
              "names": [plain(pair.one, 200), plain(pair.other, 200)],
              "sides": [_side(texts[name], lines, assignment)
                        for name, lines in zip((pair.one, pair.other), pair.lines, strict=True)]}
             for pair in report.pairs[:most]]  # fmt: skip
    left_out = [tuple(plain(each, 200) for each in line) for line in report.left_out]
    return environment.get_template("similarity.html").render(
        name=assignment.name, number=report.number, pairs=shown, left_out=left_out,
        unlisted=len(report.pairs) - len(shown),
    )  # fmt: skip


def write_similarity(
    answers: Mapping[str, Mapping[str, str]],
    assignment: Assignment,
    release: Mapping[str, str],
    path: Path | str,
) -> Report:
    """Compare submissions, write the page to ``path``, and return the report."""
    report = compare(answers, assignment, release)
    atomic_write(path, similarity_page(report, answers, assignment), where="similarity")
    return report


def _side(texts: Mapping[str, str], lines: Mapping[str, set[int]],
          assignment: Assignment) -> list[dict[str, Any]]:  # fmt: skip
    return [
        {"cell": cell.id,
         "lines": [(number, plain(line, 300), number in lines[cell.id])
                   for number, line in enumerate(texts[cell.id].split("\n")[:400], start=1)]}
        for cell in assignment.of_kind("answer") if cell.id in lines
    ]  # fmt: skip
