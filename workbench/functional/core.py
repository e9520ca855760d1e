"""What every transform stands on: abstract values, primitives, tracers, the trace stack.

A glossary of five names, before anything else:

* a **primitive** is an operation that is not made of others, with all of its rules;
* a **tracer** stands in for an array while a function runs, and records or
  computes something besides;
* a **trace** is one running interpretation (one ``jvp``, one ``vmap``, one
  ``jit``) and says what its tracers do at each primitive;
* the **level** of a trace is how deeply it is nested; an operation on tracers of
  several levels belongs to the innermost one, for which all others are constants;
* an **abstract value** is what is known of an array without its numbers: shape and dtype.

That levels separate nested derivatives is due to Siskind and Pearlmutter (2005,
"Perturbation confusion and referential transparency"); the division into
primitives, tracers and interpreters is JAX's (Frostig, Johnson and Leary, 2018).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.errors import DtypeError
from workbench.functional.refusals import LeakedTracerError, MutationError, TracerArrayError

Value: TypeAlias = Any
"""An array, a Python scalar or a tracer: whatever may flow through a primitive."""

PYTHON_SCALARS: dict[type, np.dtype[Any]] = {
    kind: np.dtype(kind) for kind in (bool, int, float, complex)
}


class ShapedArray:
    """What is known of an array without its numbers.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    weak_type : bool
        Whether it is a Python scalar, whose dtype gives way to any array's (NEP 50).
        Weak values are always Python scalars, and Python scalars always weak.
    """

    __slots__ = ("dtype", "shape", "weak_type")

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, weak_type: bool = False
    ) -> None:
        self.shape, self.dtype, self.weak_type = shape, np.dtype(dtype), weak_type

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapedArray) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.shape, self.dtype, self.weak_type

    def __str__(self) -> str:
        kind, bits = self.dtype.kind, 8 * self.dtype.itemsize
        name = "bool" if kind == "b" else f"{kind}{bits}"
        return f"{'~' * self.weak_type}{name}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__


def is_array(x: object) -> bool:
    """Return whether ``x`` is an array that primitives compute with directly."""
    return isinstance(x, np.ndarray | np.generic) or arrays.namespace(x) is not np


def get_aval(x: Value, where: str = "functional") -> ShapedArray:
    """Return the abstract value of an array, a Python scalar or a tracer.

    Raises
    ------
    DtypeError
        If ``x`` is none of these, or an array of something else than numbers.
    """
    if isinstance(x, Tracer):
        return x.aval
    if (dtype := PYTHON_SCALARS.get(type(x))) is not None:
        return ShapedArray((), dtype, weak_type=True)
    if is_array(x) and x.dtype.kind in "biufc":
        return ShapedArray(x.shape, x.dtype if x.dtype.isnative else x.dtype.newbyteorder("="))
    raise DtypeError(
        where, "this is not an array of numbers",
        given=f"an array of dtype {x.dtype}" if is_array(x) else f"a {type(x).__name__}",
        expected="a NumPy or CuPy array, a Python number, or a tracer",
        fix="make one with functional.numpy.array" if isinstance(x, list | tuple) else None,
    )  # fmt: skip


def shape_of(x: Value) -> tuple[int, ...]:
    """Return the shape of anything :func:`get_aval` takes."""
    return getattr(x, "shape", ())


@dataclass(frozen=True)
class NoRule:
    """Stands where a primitive has no rule, and says why.

    For ``jvp`` it means that the derivative is zero wherever it exists.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Primitive:
    """An operation and everything any transform needs to know about it.

    Parameters
    ----------
    name : str
        As it is printed in a jaxpr; NumPy's name where NumPy has one.
    impl : callable
        ``impl(*arrays, **params) -> array``.
    abstract : callable
        ``abstract(*avals, **params) -> ShapedArray``; refuses what does not fit.
    jvp : callable or NoRule
        ``jvp(primitive, primals, tangents, params) -> (primal, tangent)``; a tangent
        may be :data:`ZERO`.
    batch : callable or NoRule
        ``batch(primitive, values, mapped, size, params) -> value``; mapped values and the
        result carry the batch as axis 0.
    transpose : callable or NoRule
        ``transpose(g, *arguments, **params)`` returns one cotangent an argument, None for
        those it is not linear in; linear arguments come as :class:`Linear`.
    lower : callable
        ``lower(b, *values, **params) -> value`` writes it as instructions of the compiler;
        ``b`` is a :class:`workbench.compiler.Builder`.
    elementwise : bool
        Operands broadcast as in NumPy, and Python scalars give a Python scalar.
    multiple : bool
        It returns a tuple, whatever the length: ``impl``, ``abstract`` and ``lower`` return
        tuples, ``jvp`` two lists, ``batch`` a list of values and one of which are mapped, and
        ``transpose`` takes a list of cotangents, some of them maybe :data:`ZERO`.
    partial : callable, optional
        ``partial(trace, args, params) -> tuple``: what partial evaluation does where some
        arguments are unknown.  Without it all of the operation waits for them.
    axes : callable, optional
        From the params to the named axes that it works along.
    """

    name: str
    impl: Callable[..., Value]
    abstract: Callable[..., Any]
    jvp: Callable[..., tuple[Value, Value]] | NoRule
    batch: Callable[..., Value] | NoRule
    transpose: Callable[..., Sequence[Value]] | NoRule
    lower: Callable[..., Any] | NoRule
    elementwise: bool = False
    multiple: bool = False
    partial: Callable[..., tuple[Value, ...]] | None = None
    axes: Callable[[dict[str, Any]], Iterable[str]] | None = None

    def __call__(self, *args: Value, **params: Any) -> Value:
        """Apply the primitive under the innermost trace that takes part."""
        top = STACK.dynamic
        level = 0 if top is None else top.level
        for arg in args:
            if isinstance(arg, Tracer):
                if not arg.trace.alive:
                    raise _leaked(arg, self.name)
                if arg.trace.level > level:
                    top, level = arg.trace, arg.trace.level
        if self.axes is not None:
            for name in self.axes(params):
                trace = STACK.axes[name].trace if name in STACK.axes else None
                if trace is not None and trace.level > level:
                    top, level = trace, trace.level
        return self._evaluate(args, params) if top is None else top.process(self, args, params)

    def _evaluate(self, args: tuple[Value, ...], params: dict[str, Any]) -> Value:
        try:
            y = self.impl(*args, **params)
        except (TypeError, ValueError, IndexError) as error:
            refusal = error
        else:
            if self.elementwise and all(type(arg) in PYTHON_SCALARS for arg in args):
                return y if type(y) in PYTHON_SCALARS else y.item()
            return y
        # Checking costs nothing until NumPy refuses; then the abstract rule words it better.
        self.abstract(*[get_aval(arg, self.name) for arg in args], **params)
        raise refusal

    def __repr__(self) -> str:
        return self.name


class Zero:
    """A tangent or cotangent known to be zero without computing with it."""

    def __repr__(self) -> str:
        return "ZERO"


ZERO = Zero()


@dataclass(frozen=True)
class Linear:
    """An argument of a linear operation, known only by shape and dtype, in a transpose rule."""

    aval: ShapedArray


class Trace:
    """One running interpretation; used as a context manager around the function it runs.

    Attributes
    ----------
    transform : str
        What to call it in messages.
    level : int
        Depth of nesting, from 1.
    alive : bool
        Whether it is running now; its tracers mean nothing before and after.
    """

    level = 0
    alive = False

    def __init__(self, transform: str) -> None:
        self.transform = transform

    def __enter__(self) -> Any:
        STACK.depth += 1
        self.level, self.alive = STACK.depth, True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        STACK.depth -= 1
        self.alive = False

    def process(
        self, primitive: Primitive, args: tuple[Value, ...], params: dict[str, Any]
    ) -> Value:
        """Apply ``primitive``; arguments that are not this trace's tracers are constants."""
        raise NotImplementedError


@dataclass(frozen=True)
class Axis:
    """What a named axis is bound to while a function is mapped along it.

    Attributes
    ----------
    size : int
        Length of the axis.
    trace : Trace or None
        The running ``vmap``; None where the axis counts processes.
    group : object or None
        The processes, an object of :mod:`workbench.functional.parallel`.
    """

    size: int
    trace: Trace | None = None
    group: Any = None


class _Stack(threading.local):
    """What runs in this thread: how many traces, the one that records all, named axes."""

    depth = 0
    dynamic: Trace | None = None

    def __init__(self) -> None:
        self.axes: dict[str, Axis] = {}


STACK = _Stack()

_HERE = os.path.dirname(__file__) + os.sep


def _user_line() -> tuple[str, int]:
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(_HERE) and frame.f_back:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


class Tracer:
    """Stands in for an array inside a transformed function.

    Operators and methods are NumPy's; :mod:`workbench.functional.numpy` attaches them.
    """

    __slots__ = ("made_at", "trace")
    # Higher than ndarray's, so that NumPy leaves `ndarray - tracer` to the tracer.
    __array_priority__ = 1000.0
    # Comparison is elementwise, so equality cannot serve a dictionary.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, trace: Trace) -> None:
        self.trace, self.made_at = trace, _user_line()

    @property
    def aval(self) -> ShapedArray:
        """Shape and dtype."""
        raise NotImplementedError

    def concrete(self, want: str) -> Value:
        """Return the number behind this tracer for ``want`` (``"bool"``, ...), or refuse."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.aval.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.aval.size

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.aval}, level {self.trace.level}>"

    def __len__(self) -> int:
        if not self.shape:
            raise DtypeError("len", "a 0-d tracer has no length", given=describe(self))
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        return iter([self[i] for i in range(len(self))])

    def __getitem__(self, index: Any) -> Value:
        raise NotImplementedError  # Attached by functional.numpy.operators.

    def __bool__(self) -> bool:
        return bool(concrete_value(self, "bool"))

    def __int__(self) -> int:
        return int(concrete_value(self, "int"))

    def __index__(self) -> int:
        return concrete_value(self, "index").__index__()

    def __float__(self) -> float:
        return float(concrete_value(self, "float"))

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise MutationError(
            "assignment", "a tracer cannot be changed in place", given=describe(self),
            expected="functions in, functions out: every value is made once",
            fix="x = x.at[index].set(value), which returns the new array; .add, .multiply, .max "
            "and others likewise",
        )  # fmt: skip

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise _not_numpy(
            self, "NumPy", "call functional.numpy's function of that name: functional.numpy.sin, "
            "not numpy.sin",
        )  # fmt: skip

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        name = function.__name__
        fix = f"call functional.numpy.{name} instead of numpy.{name}"
        raise _not_numpy(self, f"numpy.{name}", fix)


def _not_numpy(tracer: Tracer, where: str, fix: str) -> TracerArrayError:
    return TracerArrayError(
        where, "NumPy itself cannot compute with a tracer", given=describe(tracer),
        expected="an array; the numbers of a tracer may not exist yet",
        fix=fix,
    )  # fmt: skip


def concrete_value(x: Value, want: str) -> Value:
    """Return the number behind ``x``, refusing where a trace has none."""
    while isinstance(x, Tracer):
        if not x.trace.alive:
            raise _leaked(x, want)
        x = x.concrete(want)
    return x


def describe(tracer: Tracer) -> str:
    """Say what a tracer is and which line of the user's made it."""
    filename, line = tracer.made_at
    return f"{tracer.aval} traced by {tracer.trace.transform}, made at {filename}:{line}"


def _leaked(tracer: Tracer, where: str) -> LeakedTracerError:
    return LeakedTracerError(
        where, "a tracer was used after its trace had ended: it leaked", given=describe(tracer),
        expected="values that leave a transformed function only through its return",
        fix="return it (grad and value_and_grad take has_aux=True); keep no tracer in a list, "
        "a global or an attribute",
    )  # fmt: skip
