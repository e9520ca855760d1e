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
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    """One application of a primitive: ``outvars = primitive[params] *invars``."""

    primitive: Primitive
    invars: tuple[Atom, ...]
    params: dict[str, Any]
    outvars: tuple[Var, ...]

    @property
    def outvar(self) -> Var:
        """The only variable it defines."""
        (var,) = self.outvars
        return var


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
    derived : dict
        What transforms have made of it already: its jvp, its batched form, its program.
        It lives as long as the jaxpr does.
    """

    constvars: list[Var]
    consts: list[Value]
    invars: list[Var]
    eqns: list[Equation]
    outvars: list[Atom]
    derived: dict[Any, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        names = name_variables(self)

        def typed(variables: Sequence[Var]) -> str:
            return " ".join(f"{names[var]}:{var.aval}" for var in variables)

        def used(atoms: Sequence[Atom]) -> list[str]:
            return [str(atom) if isinstance(atom, Literal) else names[atom] for atom in atoms]

        lines = [
            f"    {typed(eqn.outvars)} = "
            + " ".join([f"{eqn.primitive}{_bracket(eqn.params)}", *used(eqn.invars)])
            for eqn in self.eqns
        ]
        outs = used(self.outvars)
        result = f"({outs[0]},)" if len(outs) == 1 else f"({', '.join(outs)})"
        head = f"{{ lambda {typed(self.constvars)}; {typed(self.invars)}. let"
        return "\n".join([head, *lines, f"  in {result} }}"])

    __repr__ = __str__


def _bracket(params: dict[str, Any]) -> str:
    """Return the parameters as they are printed; jaxprs among them come last, indented."""
    plain = [f"{key}={_spelled(value)}" for key, value in params.items() if not _jaxprs(value)]
    inner = [
        f"\n      {key}={textwrap.indent(str(jaxpr), '      ').lstrip()}"
        for key, value in params.items()
        for jaxpr in _jaxprs(value)
    ]
    both = " ".join(plain) + "".join(inner)
    return f"[{both}]" if both else ""


def _spelled(value: Any) -> str:
    """Functions by name: an address would differ from run to run."""
    return getattr(value, "__name__", "function") if callable(value) else str(value)


def nested(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """Yield the jaxprs among the parameters of an equation: bodies and branches."""
    for value in params.values():
        yield from _jaxprs(value)


def _jaxprs(value: Any) -> tuple[Jaxpr, ...]:
    if isinstance(value, Jaxpr):
        return (value,)
    several = isinstance(value, tuple) and value and all(isinstance(x, Jaxpr) for x in value)
    return value if several else ()


def variable_names() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ... without Python's keywords."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            if not keyword.iskeyword(name := "".join(letters)):
                yield name


def name_variables(jaxpr: Jaxpr) -> dict[Var, str]:
    """Return a short name for every variable, in order of definition."""
    variables = [
        *jaxpr.constvars,
        *jaxpr.invars,
        *(var for eqn in jaxpr.eqns for var in eqn.outvars),
    ]
    return dict(zip(variables, variable_names(), strict=False))


def eval_jaxpr(jaxpr: Jaxpr, args: Sequence[Value]) -> list[Value]:
    """Apply a jaxpr to values, which may be tracers: how a jaxpr goes through a transform."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*jaxpr.consts, *args], strict=True))

    def read(atom: Atom) -> Value:
        return atom.value if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        result = eqn.primitive(*map(read, eqn.invars), **eqn.params)
        env.update(zip(eqn.outvars, result if eqn.primitive.multiple else (result,), strict=True))
    return [read(atom) for atom in jaxpr.outvars]
