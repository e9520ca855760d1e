"""The jaxpr: a traced function as a straight list of typed equations.

Printed as JAX prints it, one equation a line::

    { lambda ; a:f64[3] b:f64[]. let
        c:f64[3] = sin a
        d:f64[3] = multiply c b
      in (d,) }

Before the semicolon stand constants that the function closed over; a leading
``~`` marks a Python scalar.
"""

from __future__ import annotations

import itertools
import keyword
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from workbench.functional.core import Primitive, ShapedArray, Value


@dataclass(frozen=True, eq=False, slots=True)
class Var:
    """A value that an equation, an argument or a constant defines."""

    aval: ShapedArray


@dataclass(frozen=True, eq=False, slots=True)
class Literal:
    """A 0-d constant, written where it is used."""

    value: Value
    aval: ShapedArray

    def __str__(self) -> str:
        return f"{self.value}:{self.aval}"


Atom: TypeAlias = Var | Literal


@dataclass(frozen=True, eq=False, slots=True)
class Equation:
    """One application of a primitive: ``outvar = primitive[params] *invars``."""

    primitive: Primitive
    invars: tuple[Atom, ...]
    params: dict[str, Any]
    outvar: Var


@dataclass(frozen=True, eq=False, slots=True)
class Jaxpr:
    """A function as data.

    Attributes
    ----------
    constvars, consts : list
        What the function closed over: variables, and their values.
    invars : list of Var
    eqns : list of Equation
        In an order in which they can be computed.
    outvars : list of Var or Literal
    """

    constvars: list[Var]
    consts: list[Value]
    invars: list[Var]
    eqns: list[Equation]
    outvars: list[Atom]

    def __str__(self) -> str:
        names = name_variables(self)

        def typed(variables: Sequence[Var]) -> str:
            return " ".join(f"{names[var]}:{var.aval}" for var in variables)

        def used(atoms: Sequence[Atom]) -> list[str]:
            return [str(atom) if isinstance(atom, Literal) else names[atom] for atom in atoms]

        lines = [
            f"    {typed([eqn.outvar])} = "
            + " ".join([f"{eqn.primitive}{_bracket(eqn.params)}", *used(eqn.invars)])
            for eqn in self.eqns
        ]
        outs = used(self.outvars)
        result = f"({outs[0]},)" if len(outs) == 1 else f"({', '.join(outs)})"
        head = f"{{ lambda {typed(self.constvars)}; {typed(self.invars)}. let"
        return "\n".join([head, *lines, f"  in {result} }}"])

    __repr__ = __str__


def _bracket(params: dict[str, Any]) -> str:
    return "[" + " ".join(f"{key}={value}" for key, value in params.items()) + "]" if params else ""


def variable_names() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ... without Python's keywords."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            if not keyword.iskeyword(name := "".join(letters)):
                yield name


def name_variables(jaxpr: Jaxpr) -> dict[Var, str]:
    """Return a short name for every variable, in order of definition."""
    variables = [*jaxpr.constvars, *jaxpr.invars, *(eqn.outvar for eqn in jaxpr.eqns)]
    return dict(zip(variables, variable_names(), strict=False))


def eval_jaxpr(jaxpr: Jaxpr, args: Sequence[Value]) -> list[Value]:
    """Apply a jaxpr to values, which may be tracers: how a jaxpr goes through a transform."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*jaxpr.consts, *args], strict=True))

    def read(atom: Atom) -> Value:
        return atom.value if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        env[eqn.outvar] = eqn.primitive(*map(read, eqn.invars), **eqn.params)
    return [read(atom) for atom in jaxpr.outvars]
