"""What the check cells of an assignment call: a failed check names the fault.

A bare ``assert np.allclose(...)`` tells a student that something is wrong.  These
say where first, with which values, and, where the data prove it, why.  Gradients are
checked by :mod:`workbench.gradcheck`; this file is for everything around them.

Warnings inside a student's function cost nothing: nbgrader gives 0 to a test cell
that writes to stderr, so :func:`call` keeps them to itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from workbench import gradcheck
from workbench.errors import GradientError, WorkbenchError
from workbench.gradcheck import GradientReport

__all__ = [
    "CheckError",
    "StudentError",
    "call",
    "refuses",
    "rng",
    "same",
    "same_gradient",
    "same_magnitude",
    "same_names",
    "seeded",
]

_seed: contextvars.ContextVar[bytes | None] = contextvars.ContextVar("seed", default=None)

SAMPLES = 8  # Elements of a gradient that are checked one by one.
ROUNDINGS = 100  # A sum of n terms errs by about sqrt(n) roundings: this allows 10,000 terms.


class CheckError(WorkbenchError, AssertionError):
    """An answer that failed a check of its assignment."""


class StudentError(CheckError):
    """An exception that a student's function raised in the sandbox, told as data.

    Parameters
    ----------
    where, problem, fix : str
        As for every error of the workbench.
    kinds : tuple of str
        Names of the exception's class and of that class's bases.
    text : str
        What the exception said.
    """

    def __init__(
        self,
        where: str,
        problem: str,
        *,
        kinds: tuple[str, ...] = (),
        text: str = "",
        fix: str | None = None,
    ) -> None:
        super().__init__(where, problem, fix=fix)
        self.kinds, self.text = kinds, text


def rng(key: int) -> np.random.Generator:
    """Return a generator of random inputs for a check.

    A student at a desk gets the same numbers every time.  The grader draws others for
    each student, from the course's secret, so that an answer learned by heart fails.

    Parameters
    ----------
    key : int
        Tells the generators of an assignment apart.
    """
    secret = _seed.get()
    if secret is None:
        return np.random.default_rng(key)
    import hashlib  # Not needed by an answer, whose process should start at once.
    import hmac

    digest = hmac.digest(secret, str(key).encode(), hashlib.sha256)
    return np.random.default_rng(int.from_bytes(digest))


@contextlib.contextmanager
def seeded(secret: bytes | None) -> Iterator[None]:
    """Let :func:`rng` draw from a secret; with None, from its key alone."""
    token = _seed.set(secret)
    try:
        yield
    finally:
        _seed.reset(token)


def refuses(
    function: Callable[..., Any],
    *arguments: Any,
    error: type[Exception],
    case: str,
    mentions: Iterable[str] = (),
) -> None:
    """Require a student's function to raise an error, and to say what is wrong.

    Parameters
    ----------
    function : callable
    *arguments
        What it should refuse.
    error : type
        Built-in exception that it should raise, or a subclass of it.
    case : str
        What is wrong with the arguments, for messages.
    mentions : iterable of str
        Words that the error's text has to contain.

    Raises
    ------
    CheckError
        If it raised nothing, or something else, or left a word out.
    """
    where = function.__name__
    expected = f"{error.__name__}" + "".join(f", and the word {word!r} in it" for word in mentions)
    try:
        function(*copy.deepcopy(arguments))
    except StudentError as caught:
        kinds, text = caught.kinds, caught.text
    except CheckError:
        raise
    except Exception as caught:
        kinds = tuple(each.__name__ for each in type(caught).__mro__)
        text = str(caught)
    else:
        raise CheckError(where, "it should refuse this, and did not", given=case, expected=expected)
    if error.__name__ not in kinds:
        raise CheckError(where, f"it refuses {case} with the wrong kind of error",
                         given=": ".join([*kinds[:1], text]), expected=expected)  # fmt: skip
    if missing := [word for word in mentions if word not in text]:
        raise CheckError(where, f"its error does not mention {missing[0]!r}", given=text,
                         expected=expected)  # fmt: skip


def call(function: Callable[..., Any], *arguments: Any, returns: str) -> Any:
    """Call a student's function, and refuse what no caller of it could live with.

    Parameters
    ----------
    function : callable
    *arguments
        Passed as copies, so that a function that changes them spoils no later check.
    returns : str
        Names of what should come back, as in ``"y, cache"``; more than one name
        means a tuple of so many.

    Returns
    -------
    object
        Whatever the function returned.

    Raises
    ------
    CheckError
        If it returned nothing, or another number of things, or changed an argument.
    """
    where, names = function.__name__, [name.strip() for name in returns.split(",")]
    given = copy.deepcopy(arguments)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # In the grader the function is elsewhere, and says what it did to its arguments.
        result = getattr(function, "changing", function)(*given)
    for name, before, after in zip(_parameters(function, arguments), arguments, given, strict=True):
        if not _identical(before, after):
            raise CheckError(where, f"it changed its argument {name} in place",
                             expected=f"{name} as it was, to the last bit: its owner needs it",
                             fix=f"compute on a copy of {name}")  # fmt: skip
    if result is None:
        raise CheckError(where, "it returned nothing", expected=returns, fix="end with return")
    if len(names) > 1 and not (isinstance(result, tuple | list) and len(result) == len(names)):
        shown = f"{len(result)} values" if isinstance(result, tuple | list) else _kind(result)
        raise CheckError(where, f"it should return {len(names)} values", given=shown,
                         expected=f"a tuple ({returns})")  # fmt: skip
    return result


def same(what: str, actual: Any, expected: Any, *, causes: Mapping[str, Any] | None = None) -> None:
    """Require an array to be what it should be, up to rounding.

    Parameters
    ----------
    what : str
        Name of the value, for messages: ``"y"``.
    actual : object
        The student's value.
    expected : array or float
        Its shape and dtype count too.  An error up to 100 roundings of the largest
        element passes.
    causes : mapping of str to array, optional
        Known wrong answers by the fault that makes them.  A value equal to one of
        them is reported with that fault.

    Raises
    ------
    CheckError
        With the first wrong index, both values, and the cause if it is a known one.
    """
    expected = np.asarray(expected)
    if not isinstance(actual, np.ndarray | np.generic | float | int):
        raise CheckError(what, "it is not an array", given=_kind(actual),
                         expected=f"shape {expected.shape}, dtype {expected.dtype}")  # fmt: skip
    actual = np.asarray(actual)
    cause = next((name for name, wrong in (causes or {}).items() if _close(actual, wrong)), None)
    if actual.shape != expected.shape:
        raise CheckError(what, "the shape is wrong", given=str(actual.shape),
                         expected=str(expected.shape), fix=cause)  # fmt: skip
    if not _close(actual, expected):
        index = tuple(int(i) for i in np.argwhere(~_agree(actual, expected))[0])
        place = f"{what}{list(index)}" if index else what
        wrong = int((~_agree(actual, expected)).sum())
        problem = (f"{wrong} of {expected.size} values are wrong; the first is {place}" if index
                   else "the value is wrong")  # fmt: skip
        raise CheckError(what, problem, given=f"{actual[index]:.10g}", expected=f"{expected[index]:.10g}",
                         fix=cause or _general_cause(actual, expected))  # fmt: skip
    if actual.dtype != expected.dtype:
        raise CheckError(what, "the dtype is wrong", given=str(actual.dtype),
                         expected=str(expected.dtype),
                         fix="compute in the dtype of the arguments")  # fmt: skip


def same_gradient(
    f: Callable[..., Any],
    gradient: Any,
    x: Any,
    *,
    causes: Mapping[str, Callable[..., Any]] | None = None,
    **options: Any,
) -> GradientReport:
    """Check a gradient by :func:`workbench.gradcheck.check_gradient`, and look for the fault.

    Parameters
    ----------
    f : callable
        ``f(x)``, or ``f(*x)`` where ``x`` is a tuple or list; returns a scalar.
    gradient, x : array, or tuple or list of arrays
    causes : mapping of str to callable, optional
        Known faults, each with the function *whose* gradient one would get by it.  So a
        check cell can name a fault and not show the derivative.
    **options
        For ``check_gradient``.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        From ``check_gradient``.  Where it proves no cause, ``fix`` is the first of
        ``causes`` that explains a wrong part of the gradient.
    """
    # Most answers are right, which a few elements and four random directions show as well.
    # A wrong one is looked at element by element, so that its fault can be named.
    with contextlib.suppress(GradientError):
        return gradcheck.check_gradient(f, gradient, x, **{"samples": SAMPLES, **options})
    try:
        return gradcheck.check_gradient(f, gradient, x, **options)
    except GradientError as error:
        if error.fix is None:
            error.fix = next((cause for cause, other in (causes or {}).items()
                              if _explains(f, other, gradient, x)), None)  # fmt: skip
        raise


def _explains(f: Callable[..., Any], other: Callable[..., Any], gradient: Any, x: Any) -> bool:
    def parts(value: Any) -> list[Any]:
        return list(value) if isinstance(value, tuple | list) else [value]

    def near(a: Any, b: Any) -> bool:
        # Central differences of float64 err by about eps ** (2 / 3) = 4e-11.
        return a.shape == b.shape and bool(np.linalg.norm(a - b) <= 1e-7 * np.linalg.norm(b))

    right, wrong = (parts(gradcheck.numeric_gradient(each, x)) for each in (f, other))
    claimed = [np.asarray(each) for each in parts(gradient)]
    return any(near(c, w) and not near(c, r)
               for c, r, w in zip(claimed, right, wrong, strict=True))  # fmt: skip


def same_magnitude(
    what: str,
    actual: Any,
    expected: float,
    *,
    factor: float,
    causes: Mapping[str, float] | None = None,
) -> None:
    """Require a positive number to be right within a factor.

    Parameters
    ----------
    what : str
        Name of the value, for messages.
    actual : object
        The student's value.
    expected : float
    factor : float
        How many times too large or too small still passes.
    causes : mapping of str to float, optional
        As for :func:`same`; a value within a factor of 2 of one of them is reported so.

    Raises
    ------
    CheckError
        With both values, and the cause if it is a known one.
    """
    if not (isinstance(actual, float | int | np.generic) and float(actual) > 0):
        raise CheckError(what, "it is not a positive number", given=repr(actual),
                         expected="a float")  # fmt: skip
    actual = float(actual)
    if not expected / factor <= actual <= expected * factor:
        near = (name for name, wrong in (causes or {}).items() if wrong / 2 < actual < wrong * 2)
        size, ratio = ("large", actual / expected) if actual > expected else (
            "small", expected / actual)  # fmt: skip
        raise CheckError(what, f"it is {ratio:.3g} times too {size}", given=f"{actual:.3g}",
                         expected=f"{expected:.3g}, within a factor of {factor:g}",
                         fix=next(near, None))  # fmt: skip


def same_names(what: str, actual: Any, expected: Iterable[str], *, case: str) -> None:
    """Require a collection of names to be the right one, in any order.

    Parameters
    ----------
    what : str
        Who returned it, for messages.
    actual : object
        The student's value.
    expected : iterable of str
    case : str
        What the names were to be found in; it explains a failure.

    Raises
    ------
    CheckError
        With the names that were missed and those that were wrongly accused.
    """
    if isinstance(actual, str) or not isinstance(actual, Iterable):
        raise CheckError(what, "it should return a list of names", given=_kind(actual),
                         expected="a list of str")  # fmt: skip
    found, right = set(actual), set(expected)
    problems = [f"{verb} {', '.join(map(repr, sorted(names, key=str)))}"
                for verb, names in (("missed", right - found), ("wrongly accused", found - right))
                if names]  # fmt: skip
    if problems:
        raise CheckError(what, " and ".join(problems), given=case,
                         expected=f"{sorted(right)}")  # fmt: skip


def _parameters(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[str]:
    names = list(inspect.signature(function).parameters)[: len(arguments)]
    return names if len(names) == len(arguments) else [str(i) for i in range(len(arguments))]


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the arrays and numbers inside nested dicts, tuples and lists."""
    if isinstance(value, Mapping):
        yield tuple(value)
        value = list(value.values())
    if isinstance(value, tuple | list):
        yield len(value)
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, np.ndarray | np.generic | int | float | str):
        yield value  # Anything else has no value of its own to compare: a function, say.


def _identical(before: Any, after: Any) -> bool:
    pairs = zip(_leaves(before), _leaves(after), strict=False)
    equal_nan = {"equal_nan": True}
    return all(
        np.array_equal(a, b, **(equal_nan if np.asarray(a).dtype.kind == "f" else {}))
        for a, b in pairs
    )


def _agree(actual: Any, expected: Any) -> Any:
    """Say elementwise whether two arrays agree up to rounding; nan agrees with nothing."""
    kinds = [each.dtype for each in (actual, expected) if each.dtype.kind == "f"]
    eps = max((float(np.finfo(kind).eps) for kind in kinds), default=0.0)
    with np.errstate(invalid="ignore"):
        return np.abs(actual - expected) <= ROUNDINGS * eps * np.max(np.abs(expected), initial=0)


def _close(actual: Any, expected: Any) -> bool:
    expected = np.asarray(expected)
    return bool(actual.shape == expected.shape and _agree(actual, expected).all())


def _general_cause(actual: Any, expected: Any) -> str | None:
    if not np.isfinite(actual).all():
        return "nan and infinity come from an overflow, from log(0), or from dividing by 0"
    if _close(actual, -expected):
        return "all of it has the wrong sign"
    if expected.ndim == 2 and _close(actual, expected.T):
        return "it is transposed"
    at = np.unravel_index(np.argmax(np.abs(expected)), expected.shape)
    factor = actual[at] / expected[at] if expected[at] else 0.0
    if factor and _close(actual, factor * expected):
        return f"all of it is {factor:.6g} times what it should be"
    return None


def _kind(value: Any) -> str:
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return type(value).__name__ + shape
