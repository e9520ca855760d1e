"""The tensor: an array, its gradient, and the operation that made it.

Operators and most methods live with their operations in ``ops`` and ``engine``, which
import this file and attach them once.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.errors import DtypeError, GraphError, ShapeError


class _Mode(threading.local):
    """What the current thread does with the operations it runs.

    Attributes
    ----------
    enabled : bool
        Whether they are recorded.
    intercept : callable, optional
        Called with each operation's class and arguments in place of running it.
    anomaly : callable, optional
        Called with each node, its ctx and g in place of running its backward.
    """

    enabled = True
    anomaly: Callable[[Any, Any, Any], Any] | None = None
    intercept: Callable[[type, tuple[Any, ...]], Any] | None = None


mode = _Mode()


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording, in a ``with`` block or as the decorator ``@no_grad()``.

    Affects the current thread only.  Inside, in-place edits of parameters are allowed.
    """
    before, mode.enabled = mode.enabled, False
    try:
        yield
    finally:
        mode.enabled = before


class Tensor:
    """An array that remembers how it was computed.

    Made by :func:`tensor` and by operations; the constructor checks nothing.

    Attributes
    ----------
    data : array
        The values, on the host or the device.  Writing into it goes unnoticed;
        ``x[...] = v`` and ``x += v`` are what version counters see.
    grad : Tensor or None
        Where :meth:`backward` adds the gradient of a leaf.
    requires_grad : bool
        Whether gradients flow to or through this tensor.
    node : Node or None
        The recorded operation that made it; None for a leaf or a constant.
    """

    __slots__ = ("__weakref__", "data", "grad", "hooks", "node", "requires_grad")
    __array_ufunc__ = None  # So that ``ndarray - tensor`` is answered by __rsub__ (NEP 13).

    data: Array
    grad: Tensor | None
    hooks: list[Callable[[Tensor], Tensor | None]] | None
    node: Any
    requires_grad: bool

    def __init__(self, data: Array, requires_grad: bool = False, node: Any = None) -> None:
        self.data = data
        self.grad = self.hooks = None
        self.requires_grad = requires_grad
        self.node = node

    if TYPE_CHECKING:  # What ops and engine attach, for readers and type checkers.

        def __getattr__(self, name: str) -> Any: ...
        def _unary(self) -> Tensor: ...
        def _binary(self, other: Any) -> Tensor: ...
        def _compare(self, other: object) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

        __neg__ = __pos__ = __abs__ = _unary
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _binary
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _compare

    __hash__ = object.__hash__  # == is elementwise; identity is what dictionaries need.

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """Where the values are: ``"cpu"`` or ``"gpu"``."""
        return arrays.device_of(self.data)

    @property
    def version(self) -> int:
        """How many times this tensor's memory was edited in place, through any view."""
        return versions.version(self.data)

    def detach(self) -> Tensor:
        """Return a constant tensor on the same memory: gradients stop here."""
        return Tensor(self.data[...])

    def numpy(self) -> npt.NDArray[Any]:
        """Return a copy of the values as a NumPy array on the host, without history."""
        return np.array(arrays.to_host(self.data))

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises
        ------
        ShapeError
            If there is not exactly one element.
        """
        if self.data.size != 1:
            raise ShapeError("item", "only a tensor of one element is a number",
                             given=f"shape {self.shape}",
                             fix="index it, or use .numpy()")  # fmt: skip
        return self.data.item()

    def requires_grad_(self, flag: bool = True) -> Tensor:
        """Ask for gradients of this leaf, or no longer; return the tensor itself.

        Raises
        ------
        DtypeError
            If these are integers.
        GraphError
            If an operation made the tensor.
        """
        if self.node is not None:
            raise GraphError("requires_grad_", "only a leaf can be asked for gradients",
                             given=f"a result of {self.node.name}",
                             fix="use x.detach(), or x.retain_grad() to see its gradient")  # fmt: skip
        self.requires_grad = flag and _has_gradient(self.data, "requires_grad_")
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Have ``hook`` called with this tensor's gradient whenever it is computed.

        Parameters
        ----------
        hook : callable
            Gets the whole gradient, once a backward pass; what it returns, if not None,
            goes on in its place.

        Returns
        -------
        callable
            Call it to remove the hook.

        Raises
        ------
        GraphError
            If no gradient will ever come by.
        """
        if not self.requires_grad:
            raise GraphError("register_hook", "no gradient flows through this tensor",
                             given=f"a constant of shape {self.shape}",
                             fix="make it with requires_grad=True")  # fmt: skip
        edge = self.node or self
        edge.hooks = hooks = edge.hooks or []
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    def retain_grad(self) -> None:
        """Leave the gradient in ``grad`` although this tensor is no leaf."""
        if self.node is None:
            return  # A leaf's is left there anyway.
        weak = weakref.ref(self)  # The node must not keep its own result alive.

        def keep(g: Tensor) -> None:
            if (x := weak()) is not None:
                x.grad = Tensor(+g.data) if x.grad is None else x.grad + g

        self.register_hook(keep)

    def zero_grad(self) -> None:
        """Forget the gradient: ``grad`` becomes None."""
        self.grad = None

    def __len__(self) -> int:
        if not self.data.ndim:
            raise ShapeError("len", "a tensor without axes has no length", given="shape ()")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError("bool", "the truth value of several elements is ambiguous",
                             given=f"shape {self.shape}",
                             fix="reduce first, for instance (x > 0).numpy().all()")  # fmt: skip
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise DtypeError("index", "only an integer can be an index", given=str(self.dtype))
        return int(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.requires_grad or self.device != "cpu":
            raise GraphError(
                "numpy",
                "NumPy was about to turn a tensor into an array, and would lose "
                + ("its history" if self.requires_grad else "its place on the GPU"),
                given=f"a tensor of shape {self.shape} on {self.device}",
                fix="use dynamic.ops.NAME, or say x.numpy() for a copy without history",
            )
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        text = np.array2string(arrays.to_host(self.data), separator=", ", prefix="tensor(")
        parts = [text]
        if self.dtype != np.float64:
            parts.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            parts.append(f"device={self.device!r}")
        if self.node is not None:
            parts.append(f"node={self.node.name}")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"


def tensor(
    data: Any,
    requires_grad: bool = False,
    device: str | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Tensor:
    """Return a tensor with a copy of ``data``.

    Parameters
    ----------
    data : array_like, array or Tensor
        Numbers of any shape.  Lists of Python floats become float64, as in NumPy.
    requires_grad : bool
        Whether :meth:`Tensor.backward` should leave a gradient here.
    device : {"cpu", "gpu"}, optional
        Where to put the copy; by default where ``data`` is.
    dtype : dtype, optional
        bool, any integer, float16, float32 or float64; by default that of ``data``.  On
        the GPU also ``ml_dtypes.bfloat16``, where :func:`arrays.bfloat16_problem` has none.

    Returns
    -------
    Tensor
        A leaf: no operation made it.

    Raises
    ------
    ShapeError
        If ``data`` is ragged.
    DtypeError
        For other dtypes, and for integers that are asked for gradients.
    UnknownNameError, DeviceError
        If the device is not there.
    """
    if isinstance(data, Tensor):
        data = data.data
    if device is not None:
        arrays.check_device(device, "tensor")
    try:
        array = arrays.namespace(data).array(data, dtype=dtype)
    except ValueError as error:
        raise ShapeError("tensor", "the data are not one block of numbers",
                         given=str(error), expected="nested sequences of equal lengths") from error  # fmt: skip
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.char not in _HELD:
        place = device or arrays.device_of(array)
        brain = array.dtype.name == "bfloat16"
        reason = arrays.bfloat16_problem() if brain else None
        if reason or not brain or place == "cpu":
            raise DtypeError("tensor", "these are not numbers that a tensor holds",
                             given=f"dtype {array.dtype} on {place}", fix=reason,
                             expected="bool, integers, float16, float32 or float64; on the "
                             "GPU also bfloat16")  # fmt: skip
    if requires_grad:
        _has_gradient(array, "tensor")
    return Tensor(array if device is None else arrays.to_device(array, device), requires_grad)


_HELD = "?bBhHiIlLqQefd"  # Type codes: comparing dtypes takes a microsecond.


def _has_gradient(array: Array, where: str) -> bool:
    """Return True, or refuse integers."""
    if not arrays.is_float(array.dtype):
        raise DtypeError(where, "only floating-point numbers have gradients",
                         given=f"dtype {array.dtype} with requires_grad=True",
                         expected="float32 or float64",
                         fix="pass dtype=np.float32, or write 1.0 for 1")  # fmt: skip
    return True
