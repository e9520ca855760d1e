"""The table of rules: every pass, in order, and every rule by its name."""

from __future__ import annotations

from workbench.symbolic.rewriting.canonicalise import CANONICALISE
from workbench.symbolic.rewriting.passes import Pass
from workbench.symbolic.rewriting.specialise import FOLD, SPECIALISE
from workbench.symbolic.rewriting.stabilise import STABILISE

MERGE = Pass("merge")
"""No rules: every pass makes equal ops on equal inputs one; this one does nothing else."""

PASSES = (MERGE, CANONICALISE, STABILISE, FOLD, SPECIALISE)
"""The passes of :func:`rewrite`, in order."""

RULES = {rule.name: rule for p in PASSES for rule in p.rules}
"""Every rule by its name."""
