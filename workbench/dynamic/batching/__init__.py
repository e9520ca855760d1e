"""On-the-fly operation batching: programs for one example, run on many.

A reading order: ``rows`` (taking arguments from results of several groups, linear also in
backward), ``groups`` (what is recorded, and in which order it runs), ``rules`` (how each
operation runs on many calls), ``lazy`` (tensors not computed yet), ``record`` (the context),
``report``.
"""

from workbench.dynamic.batching.record import batching
from workbench.dynamic.batching.report import Launched, Report
from workbench.dynamic.batching.rules import RULES

__all__ = ["RULES", "Launched", "Report", "batching"]
