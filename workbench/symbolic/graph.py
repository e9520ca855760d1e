"""The expression graph: variables, the ops applied to them, and how to walk it.

Five short names run through this room:

``x``, ``y``   variables: an input, a constant, shared storage, or a result
``op``         what to compute, without saying on what (``add``, ``sum`` over axis 0)
``node``       an :class:`Apply`: one op on particular inputs, making one output
``g``          the gradient of the final scalar with respect to an op's output
``trace``      the line of the user's program where something was built

The graph is bipartite, as in Theano (Bergstra et al., "Theano: a CPU and GPU math
compiler in Python", SciPy 2010): variables point to the node that made them, nodes
to the variables they read.  Nothing in this file computes a number.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array
from workbench.compiler.builder import Builder
from workbench.errors import GraphError

Shape: TypeAlias = tuple[int | None, ...]
"""Sizes along each axis; None where the size is known only when the graph runs."""


class Type(NamedTuple):
    """What is known of a variable before any number exists."""

    dtype: np.dtype[Any]
    shape: Shape

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class TupleType(NamedTuple):
    """The type of what stands for several values at once; :class:`Item` takes one out."""

    items: tuple[Type, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """``object``: no op but :class:`Item` takes a tuple."""
        return np.dtype(object)

    @property
    def shape(self) -> Shape:
        """``()``."""
        return ()

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


# --- where in the user's program ---------------------------------------------------------


class Trace(NamedTuple):
    """The line of the user's program that built something."""

    file: str
    line: int
    function: str
    gradient_of: str | None = None

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        text = f"{self.file}:{self.line} in {self.function}" + (f": {source}" if source else "")
        return f"{text} (gradient of {self.gradient_of})" if self.gradient_of else text


numbers = itertools.count()
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_differentiating: ContextVar[Apply | None] = ContextVar("_differentiating", default=None)


def _user_line() -> Trace:
    """Find the innermost frame outside this room: two attribute reads a frame, no text."""
    if (node := _differentiating.get()) is not None:
        return node.output.trace._replace(gradient_of=node.op.name)
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return Trace(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


@contextmanager
def gradient_of(node: Apply) -> Iterator[None]:
    """Let what is built inside point at the line that built ``node``, not at the ``grad`` call."""
    token = _differentiating.set(node)
    try:
        yield
    finally:
        _differentiating.reset(token)


# --- variables ---------------------------------------------------------------------------


class Variable:
    """A typed value that is not known yet.

    Made by :func:`~workbench.symbolic.scalar` and its sisters, or by applying an op.
    Two variables are ``==`` only if they are the same object, as in Theano;
    ``ops.equal`` compares values.

    Attributes
    ----------
    type : Type, or TupleType if it stands for several values
        dtype and shape; also as ``dtype``, ``shape`` (None for unknown sizes), ``ndim``.
    name : str or None
    number : int
        Greater than that of every variable built before it.
    owner : Apply or None
        The node that computes it; None for inputs, constants and shared variables.
    trace : Trace
        The line of the user's program that built it.
    """

    __slots__ = ("__weakref__", "name", "number", "owner", "trace", "type")

    def __init__(
        self, type: Type | TupleType, name: str | None = None, owner: Apply | None = None
    ) -> None:
        # A tuple's type is for Item and the ops that make tuples; all others see arrays.
        self.type: Type = type  # type: ignore[assignment]
        self.name, self.owner, self.number = name, owner, next(numbers)
        self.trace = _user_line()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its elements."""
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        """Sizes along each axis, None where unknown; ``ops.shape_of`` is its value in a run."""
        return self.type.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.type.shape)

    @property
    def label(self) -> str:
        """Its name, or the name of the op that makes it."""
        return self.name or (self.owner.op.name if self.owner else "unnamed")

    def __repr__(self) -> str:
        kind = _KINDS.get(self.ndim, f"{self.ndim}-d tensor")
        return f"<{self.label}: {'tuple' if self.dtype.hasobject else kind} {self.type}>"

    def __str__(self) -> str:
        """Say to who prints it in hope of a value why there is none."""
        return f"{self!r}, an expression without a value: {COMPILE_IT}"

    def __format__(self, how: str) -> str:
        return (
            self._no_value("an expression has no digits to print", COMPILE_IT) if how else str(self)
        )

    # What would need a number, and has none, says so; the operators are attached by ops.

    def _no_value(self, problem: str, fix: str) -> NoReturn:
        raise GraphError("symbolic", problem, given=repr(self), fix=fix)

    def __bool__(self) -> NoReturn:
        self._no_value("an expression is neither true nor false before it runs",
                       "choose inside the graph: symbolic.ifelse(condition, then, otherwise) computes "
                       "one of two, ops.where(condition, x, y) chooses element by element")  # fmt: skip

    def __len__(self) -> NoReturn:
        self._no_value("the length of an expression may not be known before it runs",
                       "x.shape[0] if it is, ops.shape_of(x)[0] as an expression")  # fmt: skip

    def __iter__(self) -> NoReturn:
        self._no_value("a Python loop cannot run over an expression",
                       "work on whole arrays, or index by x[0], x[1], ...")  # fmt: skip

    def __contains__(self, item: object) -> NoReturn:
        self._no_value("'in' needs the values of an expression, which has none before it runs",
                       "sum ops.equal(x, item) inside the graph")  # fmt: skip

    def __float__(self) -> NoReturn:
        self._no_value("an expression has no value before it runs", COMPILE_IT)

    __int__ = __complex__ = __index__ = __float__

    def __array__(self, *args: Any, **options: Any) -> NoReturn:
        self._no_value("an expression cannot be made into an array before it runs", COMPILE_IT)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        self._no_value("an expression cannot be assigned to",
                       "build a new one with ops.where, or update a shared variable")  # fmt: skip

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        # NumPy calls this for ``ndarray - x`` too, where ours is to answer.
        operator = _NUMPY_OPERATORS.get(ufunc) if method == "__call__" and not options else None
        if operator is not None:
            return operator(*inputs)
        return self._refuse_numpy(ufunc.__name__)

    def __array_function__(self, function: Callable[..., Any], *rest: Any) -> NoReturn:
        self._refuse_numpy(function.__name__)

    def _refuse_numpy(self, name: str) -> NoReturn:
        self._no_value(f"numpy.{name} computes numbers, and an expression has none yet",
                       "use the function of symbolic.ops; " + COMPILE_IT)  # fmt: skip

    if TYPE_CHECKING:
        T: Variable

        def __add__(self, other: Operand) -> Variable: ...
        def __radd__(self, other: Operand) -> Variable: ...
        def __sub__(self, other: Operand) -> Variable: ...
        def __rsub__(self, other: Operand) -> Variable: ...
        def __mul__(self, other: Operand) -> Variable: ...
        def __rmul__(self, other: Operand) -> Variable: ...
        def __truediv__(self, other: Operand) -> Variable: ...
        def __rtruediv__(self, other: Operand) -> Variable: ...
        def __pow__(self, other: Operand) -> Variable: ...
        def __rpow__(self, other: Operand) -> Variable: ...
        def __matmul__(self, other: Operand) -> Variable: ...
        def __rmatmul__(self, other: Operand) -> Variable: ...
        def __neg__(self) -> Variable: ...
        def __abs__(self) -> Variable: ...
        def __lt__(self, other: Operand) -> Variable: ...
        def __le__(self, other: Operand) -> Variable: ...
        def __gt__(self, other: Operand) -> Variable: ...
        def __ge__(self, other: Operand) -> Variable: ...
        def __getitem__(self, index: Any) -> Variable: ...
        def sum(self, axis: Axis = None, keepdims: bool = False) -> Variable: ...  # noqa: D102
        def mean(self, axis: Axis = None, keepdims: bool = False) -> Variable: ...  # noqa: D102
        def max(self, axis: Axis = None, keepdims: bool = False) -> Variable: ...  # noqa: D102
        def min(self, axis: Axis = None, keepdims: bool = False) -> Variable: ...  # noqa: D102
        def argmax(self, axis: int | None = None) -> Variable: ...  # noqa: D102
        def reshape(self, shape: Sequence[int] | int | Variable) -> Variable: ...  # noqa: D102
        def transpose(self, axes: Sequence[int] | None = None) -> Variable: ...  # noqa: D102
        def squeeze(self, axis: Axis = None) -> Variable: ...  # noqa: D102
        def astype(self, dtype: npt.DTypeLike) -> Variable: ...  # noqa: D102


Inputs: TypeAlias = Sequence[Variable]
Gradients: TypeAlias = Sequence[Variable | None]
Axis: TypeAlias = int | Sequence[int] | None
Operand: TypeAlias = Variable | Array | float
"""What an op takes: a variable, an array, or a Python number (which is weakly typed)."""

_KINDS = {0: "scalar", 1: "vector", 2: "matrix"}
CAST_IT = "ops.cast(x, dtype) converts"
COMPILE_IT = "compile it with symbolic.function(inputs, output), then call that with arrays"
_NUMPY_OPERATORS: dict[np.ufunc, Callable[..., Variable]] = {}  # Filled where ops attach.


class Constant(Variable):
    """A value fixed when the graph is built; ``data`` is a read-only copy."""

    __slots__ = ("data",)

    def __init__(self, data: Array, name: str | None = None) -> None:
        super().__init__(Type(data.dtype, data.shape), name)
        self.data = data

    @property
    def label(self) -> str:
        """Its name, or its value if that is short."""
        return self.name or (str(self.data) if self.data.size <= 8 else "constant")


def sides(**inputs: Variable) -> str:
    """Say what each argument is and which line of the user's program built it."""
    return ("\n" + " " * 12).join(
        f"{argument} = {x.label}, {x.type}, from {x.trace}" for argument, x in inputs.items()
    )


def fits(shape: Sequence[int | None], declared: Shape) -> bool:
    """Return whether ``shape`` is one that ``declared`` allows."""
    return len(shape) == len(declared) and all(
        wanted is None or n == wanted for n, wanted in zip(shape, declared, strict=True)
    )


# --- ops and nodes -----------------------------------------------------------------------


class Op(ABC):
    """What to compute, without saying on what.

    Ops compare and hash by value (most are frozen dataclasses of their options), so
    that equal ops on the same inputs are recognised as one computation.

    An op has one output.  One that must make several makes a tuple, and :class:`Item`
    takes it apart, as in XLA; so every node stays one line of a schedule.
    """

    name: str
    view: ClassVar[bool] = False
    """Whether ``compute`` may return (a view of) its first input."""
    no_gradient: str | None = None
    """Why the op has no gradient, if it has none."""
    shape_only: ClassVar[bool] = False
    """Whether the output depends on the shapes of the inputs only, not on their values."""

    @abstractmethod
    def infer(self, *inputs: Variable) -> Type | TupleType:
        """Return the output's type, or refuse inputs that can never fit."""

    @abstractmethod
    def compute(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """Return the output for these arrays, which it must not change."""

    @abstractmethod
    def gradient(self, inputs: Inputs, output: Variable, g: Any) -> Gradients:
        """Return, for each input, the expression of its gradient, given that of the output.

        None stands for an input that the output does not depend on smoothly.  For a
        tuple, ``g`` is a list, with None for an item whose gradient is zero.
        """

    def lower(self, b: Builder, *inputs: Any) -> Any:
        """Write the op as instructions of the compiler, for inputs of known shapes.

        Raises
        ------
        NotKnown
            If the value of an input, such as a shape, must be known and is not.
        CannotLower
            If there are no such instructions; the function then runs op by op.
        """
        raise CannotLower(f"{self.name} has no form that compiles")


class NotKnown(Exception):  # noqa: N818  # A question to the caller, not an error.
    """Lowering needs the value of an input, by its number; see :meth:`Op.lower`."""

    def __init__(self, operand: int) -> None:
        super().__init__(operand)
        self.operand = operand


class CannotLower(Exception):  # noqa: N818
    """A graph that only the interpreter can run; says why."""


class NoGradient(Op):
    """An op whose output does not change smoothly with its inputs; says why."""

    no_gradient: str | None

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        """Return None for every input."""
        return [None] * len(inputs)


def item_types(x: Variable) -> tuple[Type, ...]:
    """Return the types of a tuple's items."""
    return cast(TupleType, x.type).items


@dataclass(frozen=True)
class Item(Op):
    """One value of a tuple; ``grad`` gathers the gradients of a tuple's items itself."""

    i: int
    name = "item"
    view = True

    def infer(self, *inputs: Variable) -> Type:
        """Return the type of that item."""
        return item_types(inputs[0])[self.i]

    def compute(self, *inputs: Array) -> Array:
        """Return that item."""
        return inputs[0][self.i]

    def gradient(self, inputs: Inputs, output: Variable, g: Variable) -> Gradients:
        """Refuse: the gradient of a tuple is a list, which no variable stands for."""
        raise NotImplementedError

    def lower(self, b: Builder, *inputs: Any) -> Any:
        """Return that item: lowered tuples are Python's."""
        return inputs[0][self.i]


class Apply:
    """One op applied to particular inputs.

    The node and its output refer to each other, so a graph is freed by the cycle
    collector; it holds no arrays but constants, and calling a function builds none.
    """

    __slots__ = ("inputs", "op", "output")

    def __init__(self, op: Op, inputs: Sequence[Variable]) -> None:
        self.op, self.inputs = op, tuple(inputs)
        self.output = Variable(op.infer(*self.inputs), owner=self)

    def __repr__(self) -> str:
        return f"<{self.op.name}({', '.join(x.label for x in self.inputs)})>"

    def __str__(self) -> str:
        return f"{self.op.name} built at {self.output.trace}"


def apply(op: Op, *inputs: Variable) -> Variable:
    """Return the variable that ``op`` makes of ``inputs``, after checking that they fit."""
    return Apply(op, inputs).output


# --- walking and rebuilding --------------------------------------------------------------


def nodes(outputs: Variable | Iterable[Variable]) -> list[Apply]:
    """Return every node that ``outputs`` need, each after those that it reads.

    Iterative, so the depth of an expression is not bounded by Python's stack.

    Parameters
    ----------
    outputs : Variable or iterable of Variable

    Returns
    -------
    list of Apply
        With ``.op.name``, ``.inputs`` and ``.output``; each node once.
    """
    order: list[Apply] = []
    done: set[Apply] = set()
    start = [outputs] if isinstance(outputs, Variable) else list(outputs)
    stack = [(x.owner, False) for x in reversed(start) if x.owner]
    while stack:
        node, inputs_done = stack.pop()
        if node in done:
            continue
        if inputs_done:
            done.add(node)
            order.append(node)
        else:
            stack.append((node, True))
            stack.extend((x.owner, False) for x in reversed(node.inputs) if x.owner)
    return order


def leaves(outputs: Iterable[Variable]) -> list[Variable]:
    """Return the variables that ``outputs`` rest on and no node makes, in order of use."""
    outputs = list(outputs)
    read = [x for node in nodes(outputs) for x in node.inputs] + outputs
    return list(dict.fromkeys(x for x in read if x.owner is None))


def rebuild(
    outputs: Sequence[Variable],
    replace: Mapping[Variable, Variable],
    representative: Callable[[Any, Variable], Variable] = lambda key, x: x,
) -> list[Variable]:
    """Return ``outputs`` with some variables replaced, all at once.

    What is put in is not searched again.  Nodes that nothing touches are kept, not
    copied; copies keep the name and the trace.  ``representative`` may offer another
    variable for one whose op and (new) inputs are its key: see :func:`merge`.
    """
    new: dict[Variable, Variable] = dict(replace)
    for node in nodes(outputs):
        if node.output in new:
            continue
        inputs = tuple(new.get(x, x) for x in node.inputs)
        y = node.output
        if inputs != node.inputs:
            y = Apply(node.op, inputs).output
            y.name, y.trace = node.output.name, node.output.trace
        new[node.output] = representative((node.op, inputs), y)
    return [new.get(x, x) for x in outputs]


def merge(outputs: Sequence[Variable]) -> list[Variable]:
    """Return ``outputs`` with equal ops on equal inputs made one node.

    Hash-consing: Ershov, "On programming of arithmetic operations", CACM 1958.
    Small constants are equal if their bytes are (NaN is, 0.0 and -0.0 are not).
    """
    known: dict[Any, Variable] = {}
    constants: dict[Variable, Variable] = {
        x: known.setdefault((x.type, x.data.tobytes()), x)
        for x in leaves(outputs)
        if isinstance(x, Constant) and isinstance(x.data, np.ndarray) and x.data.size <= 64
    }
    return rebuild(outputs, constants, known.setdefault)
