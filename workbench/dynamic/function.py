"""Recording: how calling an operation leaves a node of the graph behind.

The node *is* the ``ctx`` that the operation's ``forward`` writes on and its ``backward``
reads.  A node points to the nodes that made its arguments and to nothing later, so the
graph has no cycles and goes away when the last tensor on it does.  A node does not hold
its argument tensors: only the arrays that ``backward`` asks for are kept (Chainer parted
``Variable`` from ``VariableNode`` for this).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DeviceError, DtypeError, GraphError, OptionError, ShapeError

_SEVERAL = object()
_HOST = (np.generic, np.ndarray)

NO_GRADIENT: dict[str, str] = {}
"""The operations without a gradient, each with the reason; filled where each is defined."""


class Node:
    """One recorded call of an operation; what ``forward`` and ``backward`` know as ``ctx``.

    All calls of all operations are of this one class, and what each has is in slots: the
    interpreter then keeps its shortcuts for both.

    Attributes
    ----------
    op : type
        The :class:`Function`.
    inputs : list
        For each argument the node that made it, the leaf itself, or None where no
        gradient is wanted; None altogether once the graph is freed.
    args, output
        What forward kept; see :class:`Function`.
    sequence : int
        Time at which it was recorded.
    shape, dtype
        Of the result.
    hooks : list of callable, optional
        What to call with the gradient; see :meth:`Tensor.register_hook`.
    line : str, optional
        Where the call stands in the user's source, under :func:`detect_anomaly`.
    """

    __slots__ = ("__dict__", "__weakref__",
                 "args", "dtype", "inputs", "op", "output", "sequence", "shape")  # fmt: skip
    hooks: list[Callable[[Any], Any]] | None = None
    line: str | None = None

    op: type[Function]
    inputs: list[Any] | None
    args: tuple[Any, ...] | None
    output: Array | None
    sequence: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        """Name of the operation."""
        return self.op.name

    def free(self) -> None:
        """Let go of everything that was kept for backward."""
        self.inputs = self.args = self.output = None
        self.__dict__.clear()
        del self.shape  # So that a later graph on top stumbles when it gets here.


class Function:
    """One differentiable operation; each call of it is a :class:`Node`, the ``ctx``.

    A subclass has two static methods.  ``forward(ctx, *args)`` gets the arguments of
    :meth:`apply` with arrays in place of tensors, and returns one array.
    ``backward(ctx, g)`` gets the gradient of the final scalar with respect to that array
    and returns one gradient for each argument that is differentiable, in order; None
    means that nothing flows to it, and trailing ones can be left off.

    What ``forward`` can leave on ``ctx`` for ``backward``:

    ``ctx.args``
        A tuple as long as ``forward``'s arguments: the argument itself, or None where
        ``backward`` does not need it.
    ``ctx.output``
        The array that ``forward`` returns.
    anything else
        A constant: shapes, axes, masks.

    In a plain backward pass all of these, and ``g``, are arrays, and ``backward`` runs at
    NumPy's speed.  Under ``create_graph=True`` the arguments, the output and ``g`` are
    tensors with history, so that the same lines are recorded in their turn.  Operators,
    methods and ``dynamic.ops`` answer arrays with arrays and tensors with tensors:
    write ``backward`` in these.

    Examples
    --------
    >>> class Cube(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.args = (x,)
    ...         return x * x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.args
    ...         return g * (3 * x * x)
    """

    name: ClassVar[str]
    broadcasts: ClassVar[bool] = False
    """Gradients come in the shape of the result; the engine sums them to the argument's."""
    fresh: ClassVar[bool] = False
    """Every array that backward returns is new, so a leaf may keep it without a copy."""
    computes: ClassVar[bool] = False
    """The array that forward returns is always new, never an argument as it came."""
    converts: ClassVar[bool] = False
    """The result may have another dtype than a floating-point argument."""
    expects: ClassVar[str | None] = None
    """What fits, for the error that replaces NumPy's ValueError."""

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if cls.forward is not Function.forward and cls.backward is Function.backward:
            raise GraphError(cls.name, "a Function with forward needs backward",
                             fix="write backward(ctx, g); return None for what has no "
                             "gradient")  # fmt: skip
        cls.apply = staticmethod(_recording(cls))  # type: ignore[method-assign]

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Array:
        """Compute the result from arrays; written by each operation."""
        raise GraphError("Function", "this Function has no forward",
                         fix="write the static method forward(ctx, *args)")  # fmt: skip

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """Return the gradients of the arguments; written by each operation."""
        raise GraphError("Function", "this Function has no backward",
                         fix="write the static method backward(ctx, g)")  # fmt: skip

    @staticmethod
    def apply(*args: Any) -> Any:
        """Compute, and record if an argument requires a gradient.

        Parameters
        ----------
        *args
            Tensors, arrays and options, as ``forward`` takes them.

        Returns
        -------
        Tensor or array
            An array if no argument is a tensor.

        Raises
        ------
        ShapeError, OptionError, DtypeError, DeviceError
            If the arguments do not fit each other.
        GraphError
            If ``forward`` breaks a rule of :class:`Function`.
        """
        return Function.forward(None, *args)  # Each subclass gets its own: see _recording.


def _recording(cls: type[Function]) -> Callable[..., Any]:
    """Return ``cls.apply``: a plain function, so that an operator is one call away from it."""
    name, forward, ndarray, clock = cls.name, cls.forward, np.ndarray, versions.clock

    computes = cls.computes
    trials = 10  # Calls in which to check what forward leaves on ctx: who is wrong is wrong
    # every time, so that the calls of a long training need not pay for it.

    def apply(*args: Any) -> Any:
        nonlocal trials
        if (intercept := mode.intercept) is not None:
            return intercept(cls, args)
        ctx = Node()
        ctx.op, ctx.args, ctx.output = cls, None, None
        ctx.inputs = inputs = []
        values: list[Any] = []
        recorded, one = False, None  # One: the dtype of the tensors, if they agree.
        for each in args:
            if isinstance(each, Tensor):
                data = each.data
                one = data.dtype if one is None or one is data.dtype else _SEVERAL
                values.append(data)
                if each.requires_grad:
                    inputs.append(each.node or each)
                    recorded = True
                else:
                    inputs.append(None)
            else:
                values.append(each)
                inputs.append(None)
        if one is None:  # Arrays only, as in a backward pass that is not recorded.
            return cls.forward(ctx, *args)
        if recorded and not mode.enabled:
            ctx.inputs, recorded = [None] * len(args), False
        if versions.latest_recorded:
            versions.check_views(args)
        try:
            data = forward(ctx, *values)
        except (ValueError, TypeError) as error:
            _explain(cls, values, error)
            raise
        if type(data) is not ndarray:
            data = _one_array(cls, data)
        if data.dtype is not one and not cls.converts and _mixed(args, data):
            return _retry_weak(cls, args, data)
        if not computes:  # It may have returned an argument.
            for value in values:
                if value is data:
                    data = data.copy()  # Two tensors on one array could not be told apart.
        if not recorded:
            return Tensor(data)
        ctx.sequence, ctx.shape, ctx.dtype = next(clock), data.shape, data.dtype
        if ctx.output is not None:
            ctx.output = data
        if trials and (saved := ctx.args) is not None:
            trials -= 1
            if len(saved) != len(values):
                raise _not_args(cls, saved, values)
            for array, value in zip(saved, values, strict=False):
                if array is not value and array is not None:
                    raise _not_args(cls, saved, values)
        return Tensor(data, True, ctx)

    signature = inspect.signature(cls.forward)
    parameters = list(signature.parameters.values())[1:]
    apply.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    apply.__name__ = apply.__qualname__ = name
    apply.__module__, apply.__doc__ = cls.__module__, cls.__doc__ or Function.apply.__doc__
    return apply


def _not_args(cls: type[Function], saved: tuple[Any, ...], values: list[Any]) -> GraphError:
    return GraphError(
        cls.name,
        "forward left something on ctx.args that is not its arguments",
        given=f"{len(saved)} saved, {len(values)} arguments",
        expected="each argument as it came, in order, or None",
        fix="keep other things under other names: ctx.mask = mask",
    )


def _one_array(cls: type[Function], data: Any) -> Array:
    """Return what forward gave as an array: NumPy reduces to scalars, not 0-d arrays."""
    if isinstance(data, _HOST):
        return np.asarray(data)
    if arrays.namespace(data) is not np:
        return data
    raise GraphError(cls.name, "forward did not return an array", given=type(data).__name__,
                     expected="one NumPy or CuPy array")  # fmt: skip


def argument_names(op: type[Function], count: int) -> list[str]:
    """Return what ``op.forward`` calls its first ``count`` arguments."""
    parameters = list(inspect.signature(op.forward).parameters.values())[1:]
    rest = parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
    names = [p.name for p in parameters[: len(parameters) - rest]]
    return names[:count] + [f"{parameters[-1].name}[{k}]" for k in range(count - len(names))]


def describe(cls: type[Function], values: Sequence[Any]) -> str:
    """Say what the arguments of ``cls.forward`` are, by name and shape."""
    shown = (
        f"{name} {value.shape}" if hasattr(value, "shape") else f"{name}={value!r}"
        for name, value in zip(argument_names(cls, len(values)), values, strict=False)
    )
    return ", ".join(shown)


def _explain(cls: type[Function], values: list[Any], error: Exception) -> None:
    """Raise our error in place of NumPy's, if it is one that we know the reason of."""
    if len({arrays.device_of(v) for v in values if getattr(v, "ndim", 0)}) > 1:
        raise DeviceError(cls.name, "the arguments are on different devices",
                          given=", ".join(arrays.device_of(v) for v in values),
                          fix='move one of them: x.to("gpu")') from error  # fmt: skip
    if isinstance(error, np.exceptions.AxisError):
        raise OptionError(cls.name, str(error), given=describe(cls, values)) from error
    if cls.expects and not isinstance(error, TypeError) and not hasattr(error, "problem"):
        raise ShapeError(cls.name, "the shapes do not fit", given=describe(cls, values),
                         expected=cls.expects) from error  # fmt: skip


def _mixed(args: tuple[Any, ...], data: Array) -> bool:
    """Return whether the result is in another dtype than a floating-point tensor."""
    floats = (a.data.dtype for a in args if isinstance(a, Tensor) and arrays.is_float(a.data.dtype))
    return any(dtype != data.dtype for dtype in floats)


def _retry_weak(cls: type[Function], args: tuple[Any, ...], data: Array) -> Tensor:
    """Compute again with NumPy's float64 *scalars* as Python floats, or refuse the mixture.

    ``np.float64`` is a subclass of ``float``, and ``x / np.sqrt(d)`` should not care.
    """
    if any(isinstance(each, np.float64) for each in args):
        return cls.apply(*(float(a) if isinstance(a, np.float64) else a for a in args))
    dtypes = [str(each.dtype) for each in args if hasattr(each, "dtype")]
    raise DtypeError(
        cls.name,
        "the arguments have different dtypes, and NumPy would answer in another precision",
        given=" with ".join(dtypes) + f", which gives {data.dtype}",
        expected="one dtype; Python numbers fit every dtype",
        fix="convert one of them: x.astype(np.float32)",
    )
