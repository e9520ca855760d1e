"""From a jaxpr to a program of the compiler that era 2 uses as well, as JAX has XLA for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench import compiler
from workbench.compiler.cache import Cache
from workbench.errors import ShapeError
from workbench.functional.compile import to_python
from workbench.functional.core import PYTHON_SCALARS, NoRule, ShapedArray, Value
from workbench.functional.jaxpr import Atom, Jaxpr, Literal, nested
from workbench.functional.segments import in_segments

PROGRAMS: Cache[Any] = Cache(limit=256, name="functional")
"""What was compiled, by the text of the program: the body of a ``scan`` that is not under ``jit``
is traced whenever the call is made, and comes out the same."""


def to_program(jaxpr: Jaxpr, name: str = "jit") -> compiler.Program:
    """Return a jaxpr as a program; what it closes over comes first among the inputs."""
    b = compiler.Builder(name)
    inputs = [
        b.input(compiler.Type(var.aval.dtype, var.aval.shape))
        for var in [*jaxpr.constvars, *jaxpr.invars]
    ]
    return b.program(_write(b, jaxpr, inputs))


def body_program(jaxpr: Jaxpr, name: str) -> compiler.Program:
    """Return the jaxpr of a loop or a branch as a program that takes its arguments alone."""
    b = compiler.Builder(name)
    inputs = [b.input(compiler.Type(var.aval.dtype, var.aval.shape)) for var in jaxpr.invars]
    return b.program(inline(b, jaxpr, inputs))


def inline(
    b: compiler.Builder, jaxpr: Jaxpr, args: Sequence[compiler.Value]
) -> list[compiler.Value]:
    """Write the instructions of a jaxpr into a program; its constants become the program's."""
    consts = [b.constant(const) for const in jaxpr.consts]
    return _write(b, jaxpr, [*consts, *args])


def _write(
    b: compiler.Builder, jaxpr: Jaxpr, inputs: Sequence[compiler.Value]
) -> list[compiler.Value]:
    values: dict[Atom, compiler.Value] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], inputs, strict=True)
    )

    def read(atom: Atom) -> compiler.Value:
        if isinstance(atom, Literal):
            return b.constant(atom.value, atom.aval.dtype)
        return values[atom]

    for eqn in jaxpr.eqns:
        b.origin = eqn.primitive.name
        assert not isinstance(eqn.primitive.lower, NoRule)
        result = eqn.primitive.lower(b, *map(read, eqn.invars), **eqn.params)
        results = result if eqn.primitive.multiple else (result,)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def in_python(jaxpr: Jaxpr) -> Callable[..., tuple[Value, ...]]:
    """Return a simplified jaxpr as the straight Python of :mod:`workbench.functional.compile`."""
    source, namespace = to_python(jaxpr)
    exec(compile(source, "<jit>", "exec"), namespace)
    program: Callable[..., tuple[Value, ...]] = namespace["program"]
    return program


def compile_jaxpr(jaxpr: Jaxpr) -> Callable[..., tuple[Value, ...]]:
    """Return a simplified jaxpr as a function of its flat inputs.

    Arrays on the host run in one native call; complex numbers, and CuPy's arrays, in Python.
    """
    if not compiles(jaxpr):
        return in_segments(jaxpr, compiles, compile_jaxpr) or in_python(jaxpr)
    plain = functools.cache(lambda: in_python(jaxpr))
    program = to_program(jaxpr)
    executable = PROGRAMS.get(str(program), lambda: compiler.compile(program))
    consts, avals = jaxpr.consts, [var.aval for var in jaxpr.invars]
    weak = [i for i, atom in enumerate(jaxpr.outvars) if atom.aval.weak_type]

    def run(*leaves: Value) -> tuple[Value, ...]:
        inputs: Sequence[Any] = leaves
        if not all(type(x) is np.ndarray and x.dtype.isnative for x in leaves):
            if not all(isinstance(x, ON_HOST) for x in leaves):
                return plain()(*leaves)
            inputs = [np.asarray(x, aval.dtype) for x, aval in zip(leaves, avals, strict=True)]
        try:
            outs: tuple[Value, ...] = executable(*consts, *inputs)
        except ShapeError:
            plain()(*leaves)  # Says which operation it was, in NumPy's words.
            raise
        if not weak:
            return outs
        return tuple([x.item() if i in weak else x for i, x in enumerate(outs)])

    return run


ON_HOST = (np.ndarray, np.generic, *PYTHON_SCALARS)


def compiles(jaxpr: Jaxpr) -> bool:
    """Return whether the compiler has everything that the jaxpr needs."""
    avals: list[ShapedArray] = [var.aval for var in [*jaxpr.constvars, *jaxpr.invars]]
    avals += [var.aval for eqn in jaxpr.eqns for var in eqn.outvars]
    avals += [atom.aval for atom in jaxpr.outvars]
    return (
        all(aval.dtype.kind in "biuf" for aval in avals)
        and all(isinstance(x, np.ndarray) and x.dtype.isnative for x in jaxpr.consts)
        and not any(isinstance(eqn.primitive.lower, NoRule) for eqn in jaxpr.eqns)
        and all(compiles(inner) for eqn in jaxpr.eqns for inner in nested(eqn.params))
    )
