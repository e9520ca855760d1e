"""How the workbench refuses: one base class, and one way to word a refusal.

Every refusal answers four questions, in this order: where it happened, what was
given, what was expected, and what to do about it.  Chainer's type checks printed
``Expect:`` and ``Actual:`` for the same reason: a student who sees both sides of
the mismatch rarely needs the traceback.

The concrete classes also derive from the built-in exception that a NumPy user
would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class WorkbenchError(Exception):
    """Base class of every error this package raises on purpose.

    Parameters
    ----------
    where : str
        The function, op, layer or file that refuses, as its user would name it.
    problem : str
        One clause that says what is wrong.
    given, expected, fix : str, optional
        What arrived, what would have been accepted, and the way out.

    Examples
    --------
    >>> print(ShapeError("affine", "x and w do not fit together",
    ...                  given="x (32, 64), w (65, 10)",
    ...                  expected="x (N, D) and w (D, K) with one D",
    ...                  fix="w needs 64 rows here"))
    affine: x and w do not fit together
      given:    x (32, 64), w (65, 10)
      expected: x (N, D) and w (D, K) with one D
      fix:      w needs 64 rows here
    """

    def __init__(
        self,
        where: str,
        problem: str,
        *,
        given: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.where, self.problem = where, problem
        self.given, self.expected, self.fix = given, expected, fix
        super().__init__(where, problem)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.problem}"]
        for label in ("given", "expected", "fix"):
            text = getattr(self, label)
            if text is not None:
                lines.append(f"  {label + ':':<9} {text}")
        return "\n".join(lines)


class ShapeError(WorkbenchError, ValueError):
    """Shapes that do not fit an operation or each other."""


class DtypeError(WorkbenchError, TypeError):
    """A dtype, or a Python type, that an operation does not take."""


class OptionError(WorkbenchError, ValueError):
    """An option or argument value outside what is allowed."""


class UnknownNameError(WorkbenchError, LookupError):
    """A name that is not in a known list; suggests the nearest one that is."""


class GraphError(WorkbenchError, RuntimeError):
    """A graph, tape or trace used in a way its era does not allow."""


class GradientError(WorkbenchError, AssertionError):
    """A gradient that failed its numeric check."""


class NotFiniteError(WorkbenchError, ArithmeticError):
    """NaN or infinity where a run cannot go on."""


class DataError(WorkbenchError, OSError):
    """A data set that is missing, damaged, or cannot be fetched or stored."""


class DeviceError(WorkbenchError, RuntimeError):
    """A device that is absent, or arrays on different devices."""


class MissingDependencyError(WorkbenchError, ImportError):
    """An optional package that a room needs and that is not installed."""


def unknown_name(where: str, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that is not among the known ones.

    Parameters
    ----------
    where : str
        Who was asked for the name.
    kind : str
        What the name names: ``"case"``, ``"era"``, ``"op"``.
    name : str
        What was given.
    known : iterable of str
        Every accepted name, in the order in which to list them.

    Returns
    -------
    UnknownNameError
        To be raised by the caller; its ``fix`` names the nearest match, if any.
    """
    names = [str(each) for each in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    return UnknownNameError(
        where,
        f"there is no {kind} called {name!r}",
        given=repr(name),
        expected="one of " + ", ".join(names),
        fix=f"did you mean {near[0]!r}?" if near else None,
    )


def install_line(extra: str) -> str:
    """Return the command that installs one of this package's extras.

    It works from any folder: where the package is installed in place, it names that
    place.
    """
    root = Path(__file__).parent.parent
    if (root / "pyproject.toml").is_file():
        return f'pip install -e "{root}[{extra}]"'
    return f'pip install "framework-history-workbench[{extra}]"'


def require(module: str, *, room: str, extra: str) -> None:
    """Raise unless an optional package can be imported.

    Parameters
    ----------
    module : str
        Import name of the package.
    room : str
        What needs it, named in the message.
    extra : str
        The extra in ``pyproject.toml`` that installs it.

    Raises
    ------
    MissingDependencyError
        If the package is not installed.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingDependencyError(
            room,
            f"the package {module!r} is not installed",
            fix=install_line(extra),
        )
