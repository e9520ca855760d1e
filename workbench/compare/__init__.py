"""The same model in every era: trained, timed, compared, reported.

``compare.run("digits-mlp")`` returns a :class:`Result`; the command line prints it as
a table, as JSON (:func:`to_json`) or as a page (:mod:`workbench.compare.report`).
"""

from __future__ import annotations

from workbench.compare.cases import CASES, ERAS, Case, case
from workbench.compare.runner import Result, program, run
from workbench.compare.source import user_lines, user_source

__all__ = ["CASES", "ERAS", "Case", "Result", "case", "program", "run", "user_lines", "user_source"]
