"""A jaxpr that the compiler cannot take whole: compiled programs between what it cannot do.

A sum over processes waits for the others, so no compiled program contains one.  An
equation goes into the earliest segment where its arguments exist; therefore sums that
do not need one another stand side by side after one segment, and travel together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.functional.compile import own_copy
from workbench.functional.core import Value
from workbench.functional.jaxpr import Atom, Equation, Jaxpr, Literal, Var

Run = Callable[..., tuple[Value, ...]]

ELEMENT_BY_ELEMENT = {"psum", "pmax"}
"""Collectives that treat every element alike, so that several arrays may travel as one."""


class _Step(NamedTuple):
    run: Run
    inputs: list[Atom]
    outputs: list[Var]


def in_segments(
    jaxpr: Jaxpr, compiles: Callable[[Jaxpr], bool], compile_jaxpr: Callable[[Jaxpr], Run]
) -> Run | None:
    """Return a jaxpr as a function that alternates between compiled code and single operations.

    Parameters
    ----------
    jaxpr : Jaxpr
        Simplified.
    compiles : callable
        Says of a jaxpr whether the compiler takes it whole.
    compile_jaxpr : callable
        From such a jaxpr to a function of its flat inputs.

    Returns
    -------
    callable or None
        None where the compiler takes none of the equations.
    """
    segments, cuts = cut(jaxpr, compiles)
    if not any(segments):
        return None
    steps: list[_Step] = []
    fresh: set[Atom] = set()
    for level, segment in enumerate(segments):
        if segment:
            inputs, outputs = _interface(jaxpr, segment)
            steps.append(
                _Step(compile_jaxpr(Jaxpr([], [], inputs, segment, [*outputs])), [*inputs], outputs)
            )
            fresh.update(outputs)
        steps += [_together(eqns) for eqns in _alike(cuts[level])]
    last = _last_uses(jaxpr, steps)
    consts: dict[Atom, Value] = dict(zip(jaxpr.constvars, jaxpr.consts, strict=True))
    # Only what a compiled segment made, and returned once, is sure to have memory of its own.
    own = [x in fresh and x not in jaxpr.outvars[:i] for i, x in enumerate(jaxpr.outvars)]

    def run(*leaves: Value) -> tuple[Value, ...]:
        values: dict[Atom, Value] = {**consts, **dict(zip(jaxpr.invars, leaves, strict=True))}

        def read(atom: Atom) -> Value:
            return atom.value if isinstance(atom, Literal) else values[atom]

        for step, ended in zip(steps, last, strict=True):
            values.update(zip(step.outputs, step.run(*map(read, step.inputs)), strict=True))
            for var in ended:
                del values[var]
        return tuple(
            [
                read(x) if mine else _owned(read(x), x)
                for x, mine in zip(jaxpr.outvars, own, strict=True)
            ]
        )

    return run


def cut(
    jaxpr: Jaxpr, compiles: Callable[[Jaxpr], bool]
) -> tuple[list[list[Equation]], list[list[Equation]]]:
    """Return the equations of each segment, and those that stand alone after each."""
    level: dict[Atom, int] = {}
    segments: list[list[Equation]] = [[]]
    cuts: list[list[Equation]] = [[]]
    for eqn in jaxpr.eqns:
        at = max([level.get(atom, 0) for atom in eqn.invars], default=0)
        variables = [atom for atom in eqn.invars if isinstance(atom, Var)]
        whole = compiles(Jaxpr([], [], variables, [eqn], [*eqn.outvars]))
        (segments if whole else cuts)[at].append(eqn)
        level.update(dict.fromkeys(eqn.outvars, at if whole else at + 1))
        if not whole and at + 1 == len(segments):
            segments.append([])
            cuts.append([])
    return segments, cuts


def _variables(eqns: Iterable[Equation]) -> dict[Var, None]:
    return dict.fromkeys(x for eqn in eqns for x in eqn.invars if isinstance(x, Var))


def _interface(jaxpr: Jaxpr, segment: Sequence[Equation]) -> tuple[list[Var], list[Var]]:
    """Return what a segment takes from outside, and what others take from it."""
    made = dict.fromkeys(var for eqn in segment for var in eqn.outvars)
    inside = set(map(id, segment))
    wanted = {*_variables(eqn for eqn in jaxpr.eqns if id(eqn) not in inside), *jaxpr.outvars}
    inputs = [var for var in _variables(segment) if var not in made]
    return inputs, [var for var in made if var in wanted]


def _last_uses(jaxpr: Jaxpr, steps: Sequence[_Step]) -> list[list[Var]]:
    """Return, for each step, the variables that none after it needs."""
    passed: set[Atom] = {*jaxpr.outvars}
    last: list[list[Var]] = []
    for step in reversed(steps):
        ended = dict.fromkeys(x for x in [*step.inputs, *step.outputs] if isinstance(x, Var))
        last.append([var for var in ended if var not in passed])
        passed.update(ended)
    return last[::-1]


def _alike(eqns: Sequence[Equation]) -> Iterator[list[Equation]]:
    """Yield the equations in groups that may be one operation."""

    def kind(numbered: tuple[int, Equation]) -> Any:
        number, eqn = numbered
        if eqn.primitive.name not in ELEMENT_BY_ELEMENT:
            return number
        return eqn.primitive.name, eqn.params["axis_name"], eqn.outvars[0].aval.dtype

    for _, group in itertools.groupby(enumerate(eqns), kind):
        yield [eqn for _, eqn in group]


def _together(eqns: list[Equation]) -> _Step:
    """Return one step for equations that are alike: their arrays end to end, as one array."""
    first = eqns[0]
    avals = [var.aval for eqn in eqns for var in eqn.outvars]

    def alone(*args: Value) -> tuple[Value, ...]:
        results = first.primitive.impl(*args, **first.params)
        results = results if first.primitive.multiple else (results,)
        return tuple([_plain(x, aval) for x, aval in zip(results, avals, strict=True)])

    def packed(*args: Value) -> tuple[Value, ...]:
        flat = np.concatenate([np.ravel(x).astype(avals[0].dtype) for x in args])
        (whole,) = first.primitive.impl(flat, **first.params)
        ends = np.cumsum([aval.size for aval in avals])[:-1]
        parts = np.split(whole, ends)
        return tuple(
            [
                _plain(part.reshape(aval.shape), aval)
                for part, aval in zip(parts, avals, strict=True)
            ]
        )

    inputs = [atom for eqn in eqns for atom in eqn.invars]
    outputs = [var for eqn in eqns for var in eqn.outvars]
    return _Step(packed if len(eqns) > 1 else alone, inputs, outputs)


def _plain(x: Value, aval: Any) -> Value:
    """Return a Python number where one is expected."""
    return np.asarray(x).item() if aval.weak_type else x


def _owned(x: Value, atom: Atom) -> Value:
    return (
        _plain(x, atom.aval)
        if atom.aval.weak_type
        else own_copy(np.asarray(x) if isinstance(atom, Literal) else x)
    )
