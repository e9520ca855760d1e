"""Rewriting: the same values from a better graph, by rules that are data.

``rules``         the table of passes, whose rows stand in ``canonicalise``, ``stabilise`` and
                  ``specialise``: each with its pattern, replacement, reason and legality
``patterns``      the language of the rows
``passes``        how the rules of a pass are applied, in one sweep
``legality``      what makes a rewrite keep dtype, range and meaning
``products``      products as lists of factors
``sizes``         which sizes are equal though unknown
``verify``        what no pass may do, checked between passes
``trace``         every rewrite that fired, where and why

Theano's optimizer (Bergstra et al., 2010) is the model: canonicalise, stabilise,
specialise; with a verifier between passes, as compilers have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, overload

from workbench.errors import GraphError, unknown_name
from workbench.symbolic.graph import Variable
from workbench.symbolic.rewriting.passes import Match, Memory, Pass, Rule
from workbench.symbolic.rewriting.rules import PASSES
from workbench.symbolic.rewriting.trace import Rewriting, Step, short
from workbench.symbolic.rewriting.verify import verify

__all__ = ["PASSES", "Match", "Pass", "Rewriting", "Rule", "Step", "rewrite", "short", "verify"]

ROUNDS = 10
"""How often all passes are run, each making room for the others, before that is an error."""

Stage: TypeAlias = str | Pass | Callable[[list[Variable]], list[Variable]]


@overload
def rewrite(
    outputs: Variable, passes: Sequence[Stage] | None = None, trace: Rewriting | None = None
) -> Variable: ...
@overload
def rewrite(
    outputs: Sequence[Variable],
    passes: Sequence[Stage] | None = None,
    trace: Rewriting | None = None,
) -> list[Variable]: ...
def rewrite(
    outputs: Variable | Sequence[Variable],
    passes: Sequence[Stage] | None = None,
    trace: Rewriting | None = None,
) -> Variable | list[Variable]:
    """Return expressions of the same values that are more stable, or cheaper.

    Parameters
    ----------
    outputs : Variable or sequence of Variable
    passes : sequence of pass, name of a pass, or function, optional
        Functions take and return a list of outputs.  All of :data:`PASSES` where absent.
        They run in order, again and again until none changes anything.
    trace : Rewriting, optional
        Is told of every step, and of the graph after each pass.

    Returns
    -------
    Variable or list of Variable
        Of the dtypes and shapes of ``outputs``.  Where what was written overflows, or
        divides 0 by 0, on the way to a finite value, the result may be that value.  Names,
        and the lines where variables were built, are kept.

    Raises
    ------
    UnknownNameError
        For a name that no pass has.
    GraphError
        If a pass breaks the graph, or the passes undo each other for ever; names the rule.

    Examples
    --------
    >>> z = symbolic.matrix("z")
    >>> happened = symbolic.Rewriting()
    >>> symbolic.rewrite(ops.log(ops.softmax(z)), trace=happened)
    <log_softmax: matrix float64 (None, None)>
    >>> happened.counts
    Counter({'log of softmax': 1})
    """
    results = [outputs] if isinstance(outputs, Variable) else list(outputs)
    trace = Rewriting() if trace is None else trace
    trace.stages.append(("as written", results))
    stages = [_stage(each) for each in (PASSES if passes is None else passes)]
    memory, quiet = Memory(), 0
    for i in range(ROUNDS * len(stages)):
        if quiet >= len(stages):
            break
        name, run = stages[i % len(stages)]
        if i and isinstance(run, Pass) and not run.rules:
            quiet += 1  # Every pass merges, so nothing is left to merge.
            continue
        fired = len(trace.steps)
        new = run(results, trace, memory) if isinstance(run, Pass) else list(run(results))
        quiet = quiet + 1 if new == results else 0
        if not quiet:
            verify(results, new, name, trace.steps[fired:])
            trace.stages.append((name, new))
        results = new
    else:
        if stages:
            last = f"; the last rule was {trace.steps[-1].rule!r}" if trace.steps else ""
            raise GraphError("rewrite", f"after {ROUNDS} rounds the passes still undo each "
                             f"other{last}")  # fmt: skip
    return results[0] if isinstance(outputs, Variable) else results


def _stage(stage: Stage) -> tuple[str, Any]:
    if not isinstance(stage, str):
        return getattr(stage, "name", getattr(stage, "__name__", "unnamed")), stage
    known = {each.name: each for each in PASSES}
    if stage not in known:
        raise unknown_name("rewrite", "pass", stage, known)
    return stage, known[stage]
