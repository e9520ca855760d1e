"""From a jaxpr to a straight list of NumPy calls.

First the jaxpr is simplified: constants folded, equal equations shared, repetition
left to NumPy's own broadcasting, and what no output needs dropped.  Then it is
written out as one Python function without loops, branches or dispatch, a line an
equation, in which every array is dropped after its last use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.functional.core import Value, is_array
from workbench.functional.jaxpr import Atom, Equation, Jaxpr, Literal, Var, name_variables

VIEWS = {"reshape", "transpose", "broadcast_to", "slice", "im2col", "stop_gradient"}
"""Primitives whose result may share memory with their argument."""


def simplify(jaxpr: Jaxpr) -> Jaxpr:
    """Return an equivalent jaxpr with less to do."""
    known: dict[Var, Atom] = {}
    definition: dict[Atom, Equation] = {}
    seen: dict[tuple[Any, ...], Atom] = {}
    eqns: list[Equation] = []

    def resolve(atom: Atom) -> Atom:
        return known.get(atom, atom) if isinstance(atom, Var) else atom

    constants = dict(zip(jaxpr.constvars, jaxpr.consts, strict=True))
    for eqn in jaxpr.eqns:
        invars = tuple([resolve(atom) for atom in eqn.invars])
        if eqn.primitive.multiple:
            eqns.append(Equation(eqn.primitive, invars, eqn.params, eqn.outvars))
            continue
        shape = eqn.outvar.aval.shape
        if eqn.primitive.elementwise:
            invars = _skip_broadcasts(invars, definition, shape)
        elif eqn.primitive.name == "reshape":
            invars = _skip_reshapes(invars, definition)
        key = (eqn.primitive, *map(_identity, invars), repr(eqn.params))  # repr: 0.0 == -0.0
        if key in seen:
            pass
        elif eqn.primitive.name == "reshape" and invars[0].aval.shape == shape:
            seen[key] = invars[0]
        elif shape == () and (
            eqn.primitive.name == "full_like" or all(isinstance(x, Literal) for x in invars)
        ):
            seen[key] = _fold(eqn, invars)
        elif not invars:
            seen[key] = eqn.outvar
            constants[eqn.outvar] = eqn.primitive.impl(**eqn.params)
        else:
            seen[key] = eqn.outvar
            definition[eqn.outvar] = Equation(eqn.primitive, invars, eqn.params, eqn.outvars)
            eqns.append(definition[eqn.outvar])
        known[eqn.outvar] = seen[key]
    outvars = [resolve(atom) for atom in jaxpr.outvars]
    return drop_dead(Jaxpr([*constants], [*constants.values()], jaxpr.invars, eqns, outvars))


def _identity(atom: Atom) -> Any:
    if isinstance(atom, Var):
        return atom
    return atom.aval, np.asarray(atom.value).tobytes()


def _fold(eqn: Equation, invars: Sequence[Atom]) -> Literal:
    aval = eqn.outvar.aval
    known = [x.value if isinstance(x, Literal) else x.aval.dtype.type(0) for x in invars]
    value = eqn.primitive.impl(*known, **eqn.params)
    return Literal(np.asarray(value).item() if aval.weak_type else np.asarray(value)[()], aval)


def _skip_broadcasts(
    invars: tuple[Atom, ...], definition: dict[Atom, Equation], shape: tuple[int, ...]
) -> tuple[Atom, ...]:
    """Use an array as it was before it was repeated, while the result keeps its shape."""
    for place, atom in enumerate(invars):
        eqn = definition.get(atom)
        if eqn is not None and eqn.primitive.name == "broadcast_to":
            shorter = (*invars[:place], eqn.invars[0], *invars[place + 1 :])
            if np.broadcast_shapes(*(each.aval.shape for each in shorter)) == shape:
                invars = shorter
    return invars


def _skip_reshapes(invars: tuple[Atom, ...], definition: dict[Atom, Equation]) -> tuple[Atom, ...]:
    eqn = definition.get(invars[0])
    return eqn.invars if eqn is not None and eqn.primitive.name == "reshape" else invars


def drop_dead(jaxpr: Jaxpr) -> Jaxpr:
    """Return the jaxpr without equations and constants that no output needs."""
    needed = set(jaxpr.outvars)
    eqns = []
    for eqn in reversed(jaxpr.eqns):
        if not needed.isdisjoint(eqn.outvars):
            eqns.append(eqn)
            needed.update(eqn.invars)
    pairs = [pair for pair in zip(jaxpr.constvars, jaxpr.consts, strict=True) if pair[0] in needed]
    return Jaxpr([var for var, _ in pairs], [value for _, value in pairs], jaxpr.invars,
                 eqns[::-1], jaxpr.outvars)  # fmt: skip


def to_python(jaxpr: Jaxpr) -> tuple[str, dict[str, Any]]:
    """Write a jaxpr as a Python function called ``program``.

    Returns
    -------
    source : str
        One line an equation.  Names with an underscore come from the namespace:
        ``_add`` is a primitive's implementation, ``_0`` a number or a parameter.
    namespace : dict
        What those names mean, and the constants the function closed over.
    """
    names = name_variables(jaxpr)
    namespace: dict[str, Any] = dict(
        zip([names[var] for var in jaxpr.constvars], jaxpr.consts, strict=True)
    )
    numbers: dict[Any, str] = {}
    notes: list[str] = []

    def named(key: Any, value: Any, note: str) -> str:
        if key not in numbers:
            numbers[key] = f"_{len(numbers)}"
            namespace[numbers[key]] = value
            notes.append(f"    # {numbers[key]} = {note}".replace(chr(10), " "))
        return numbers[key]

    def spell(atom: Atom) -> str:
        if isinstance(atom, Var):
            return names[atom]
        # NumPy takes a 0-d array faster than a scalar.
        value = np.asarray(atom.value) if not atom.aval.weak_type else atom.value
        return named(_identity(atom), value, str(atom))

    def parameter(value: Any) -> str:
        plain = repr(value)
        return plain if _evaluates(value) else named((type(value), plain), value, plain)

    last = _last_uses(jaxpr)
    lines = []
    for number, eqn in enumerate(jaxpr.eqns):
        function = f"_{eqn.primitive.name}"
        namespace[function] = eqn.primitive.impl
        arguments = [*map(spell, eqn.invars)]
        arguments += [f"{key}={parameter(value)}" for key, value in eqn.params.items()]
        results = "".join([f"{names[var]}, " for var in eqn.outvars])
        results = results if eqn.primitive.multiple else names[eqn.outvar]
        line = f"    {results} = {function}({', '.join(arguments)})"
        ended = [names[var] for var in last.get(number, [])]
        lines.append(f"{line}; del {', '.join(ended)}" if ended else line)
    outs = _outputs(jaxpr, spell, namespace)
    head = f"def program({', '.join(names[var] for var in jaxpr.invars)}):"
    source = "\n".join(
        [head, *notes, *lines, f"    return ({''.join(out + ', ' for out in outs)})"]
    )
    return source + "\n", namespace


def _evaluates(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_evaluates, value))
    return value is None or type(value) in (int, bool) or (
        type(value) is float and np.isfinite(value)
    )  # fmt: skip


def _last_uses(jaxpr: Jaxpr) -> dict[int, list[Var]]:
    """Return, for the number of an equation, the variables no later one needs."""
    passed = set(jaxpr.outvars) | set(jaxpr.constvars)
    last: dict[int, list[Var]] = {}
    for number in reversed(range(len(jaxpr.eqns))):
        eqn = jaxpr.eqns[number]
        for var in dict.fromkeys([*eqn.invars, *eqn.outvars]):
            if isinstance(var, Var) and var not in passed:
                passed.add(var)
                last.setdefault(number, []).append(var)
    return last


def _outputs(jaxpr: Jaxpr, spell: Callable[[Atom], str], namespace: dict[str, Any]) -> list[str]:
    """Spell the outputs so that each has memory of its own, and may be written to."""
    definition = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    taken: set[Atom] = {*jaxpr.invars, *jaxpr.constvars}
    namespace.update(_copy=own_copy, _item=_item)
    outs = []
    for atom in jaxpr.outvars:
        root, read_only = atom, False
        while isinstance(root, Var) and root in definition:
            eqn = definition[root]
            if eqn.primitive.name not in VIEWS:
                break
            read_only |= eqn.primitive.name in ("broadcast_to", "im2col")
            root = eqn.invars[0]
        shared = read_only or root in taken or isinstance(root, Literal)
        taken.add(root)
        wrap = "_item" if atom.aval.weak_type else "_copy" if shared else ""
        outs.append(f"{wrap}({spell(atom)})" if wrap else spell(atom))
    return outs


def own_copy(x: Value) -> Value:
    """Return a copy that shares no memory; scalars cannot be changed, and are passed through."""
    return x.copy() if is_array(x) else x


def _item(x: Value) -> Value:
    return x.item() if is_array(x) else x
