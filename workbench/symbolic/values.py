"""Values from outside: what becomes a constant, storage, or an argument of a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import Array, namespace
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic.graph import (
    CAST_IT,
    COMPILE_IT,
    Constant,
    Shape,
    Type,
    Variable,
    fits,
    sides,
)


def check_dtype(dtype: npt.DTypeLike, where: str) -> np.dtype[Any]:
    """Return ``dtype`` as NumPy's, refusing what is not a real number or a bool."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result.kind not in "biuf":
        raise DtypeError(where, "expressions hold real numbers or bools", given=repr(dtype),
                         expected="bool, an integer dtype, float32 or float64")  # fmt: skip
    return result


def check_shape(shape: Iterable[int | None], where: str) -> Shape:
    """Return ``shape`` as a tuple of sizes and Nones."""
    try:
        sizes = tuple(None if n is None else int(n) for n in shape if not isinstance(n, str))
        fits = not isinstance(shape, str) and sizes == tuple(shape)
    except TypeError:
        fits, sizes = False, ()
    if not fits or any(n is not None and n < 0 for n in sizes):
        raise OptionError(where, "this is not a shape", given=f"shape={shape!r}",
                          expected="a tuple of sizes, None where unknown")  # fmt: skip
    return sizes


def constant(
    value: npt.ArrayLike | Array, dtype: npt.DTypeLike | None = None, name: str | None = None
) -> Constant:
    """Return ``value`` as a variable that never changes.

    Parameters
    ----------
    value : array_like
        Copied.
    dtype : dtype, optional
        NumPy's choice for ``value`` where absent.
    name : str, optional

    Raises
    ------
    DtypeError
        If it does not hold real numbers or bools.
    """
    return as_constant(value, "constant", dtype=dtype, name=name)


def as_constant(
    value: Any, where: str, argument: str = "value", dtype: npt.DTypeLike | None = None,
    name: str | None = None,
) -> Constant:  # fmt: skip
    """As :func:`constant`; errors speak for ``where`` and its ``argument``."""
    if isinstance(value, Variable):
        raise GraphError(where, f"{argument} is an expression, and a value is needed",
                         given=repr(value), fix=COMPILE_IT)  # fmt: skip
    wanted = None if dtype is None else check_dtype(dtype, where)
    try:
        data = namespace(value).array(value, wanted)
    except (TypeError, ValueError, OverflowError) as error:
        raise DtypeError(where, f"{argument} cannot be an array: {error}",
                         given=_brief(value)) from None  # fmt: skip
    if data.dtype.kind not in "biuf":
        raise DtypeError(where, f"{argument} is not made of real numbers", given=_brief(value),
                         expected="a variable, an array or a number")  # fmt: skip
    if isinstance(data, np.ndarray):
        data.flags.writeable = False
    return Constant(data, name)


def _brief(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def operands(where: str, **values: Any) -> list[Variable]:
    """Return the arguments of an op as variables.

    Python numbers are weak, as NumPy's are since NEP 50: they take the dtype of the
    other operands where they can, so ``2.0 * x`` has the dtype of ``x``.
    """
    if all(isinstance(v, Variable) for v in values.values()):
        return list(values.values())
    strong = {k: v for k, v in values.items() if type(v) not in (bool, int, float)}
    done = {
        k: v if isinstance(v, Variable) else as_constant(v, where, k) for k, v in strong.items()
    }
    dtypes = [v.dtype for v in done.values()]
    for k in values.keys() - strong.keys():
        dtype: Any = np.result_type(*dtypes, values[k]) if dtypes else None
        done[k] = as_constant(values[k], where, k, dtype)
    return [done[k] for k in values]


def operand(where: str, x: Any, argument: str = "x", ndim: int = 0, dtype: str = "") -> Variable:
    """Return one argument as a variable, with ``ndim`` axes or more, of a kind in ``dtype``."""
    x = operands(where, **{argument: x})[0]
    if x.ndim < ndim:
        raise ShapeError(where, f"{argument} has too few axes", given=sides(**{argument: x}),
                         expected=f"at least {ndim}")  # fmt: skip
    if dtype and x.dtype.kind not in dtype:
        kind = "floating" if dtype == "f" else "integer"
        raise DtypeError(where, f"{argument} needs a{'n' * (kind[0] == 'i')} {kind} dtype",
                         given=sides(**{argument: x}), fix=CAST_IT)  # fmt: skip
    assert isinstance(x, Variable)
    return x


def accept(x: Variable, value: Any, where: str) -> Array:
    """Return ``value`` as an array that ``x`` may stand for.

    Arrays keep their dtype or change to one that holds every value of it; Python
    numbers, and lists of them, are weak.  Nothing is moved between devices.

    Raises
    ------
    DtypeError, ShapeError
        If it does not fit, naming the variable.
    """
    if type(value) is not np.ndarray or value.dtype is not x.dtype:
        value = _convert(x, value, where)
    if not fits(value.shape, x.shape):
        raise ShapeError(where, f"the value for {x.label!r} has the wrong shape",
                         given=f"{value.shape}", expected=f"{x.shape}, as declared at {x.trace}",
                         fix="None in the declared shape stands for any size")  # fmt: skip
    return value


def _convert(x: Variable, value: Any, where: str) -> Array:
    if isinstance(value, Variable):
        raise GraphError(where, f"the value for {x.label!r} is an expression", given=repr(value),
                         expected="an array or a number")  # fmt: skip
    weak = isinstance(value, list | tuple) or type(value) in (bool, int, float)
    # as_constant copies; that an argument is converted at all is the slow road already.
    data = value if hasattr(value, "dtype") else as_constant(value, where, repr(x.label)).data
    nothing = weak and data.size == 0  # An empty list says nothing of its elements.
    if not nothing and not np.can_cast(data.dtype, x.dtype, "same_kind" if weak else "safe"):
        raise DtypeError(where, f"the value for {x.label!r} has the wrong dtype",
                         given=str(data.dtype), expected=f"{x.dtype}, as declared at {x.trace}",
                         fix=f"value.astype({x.dtype.name!r}) if that is meant")  # fmt: skip
    return namespace(data).asarray(data, x.dtype)


class Shared(Variable):
    """Storage that outlives a call: a value that functions read and ``updates`` replace.

    Attributes
    ----------
    default_update : Variable or None
        What every function that reads it updates it to, unless its own ``updates`` say
        otherwise: how a random stream goes on to its next numbers.
    """

    __slots__ = ("_value", "default_update")

    def __init__(self, value: Array, shape: Shape, name: str | None = None) -> None:
        super().__init__(Type(value.dtype, shape), name)
        self._value = value
        self.default_update: Variable | None = None

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or "shared"

    def get_value(self) -> Array:
        """Return a copy of the value, on the device where it lives."""
        return self._value.copy()

    def set_value(self, value: npt.ArrayLike | Array) -> None:
        """Replace the value by a copy of ``value``.

        Raises
        ------
        DtypeError, ShapeError
            If it does not have this variable's dtype and shape.
        """
        self._value = accept(self, value, "set_value").copy()


def shared(
    value: npt.ArrayLike | Array, name: str | None = None, shape: Sequence[int | None] | None = None
) -> Shared:
    """Return storage that functions read, and that their ``updates`` replace.

    Parameters
    ----------
    value : array_like
        Copied; on the GPU if it is there.
    name : str, optional
        For error messages and printed graphs.
    shape : sequence of int or None, optional
        None where later values may have another size; ``value.shape`` where absent.

    Raises
    ------
    ShapeError
        If ``shape`` does not allow ``value``.
    """
    data = as_constant(value, "shared").data
    declared = data.shape if shape is None else check_shape(shape, "shared")
    if not fits(data.shape, declared):
        raise ShapeError("shared", "the value does not have the declared shape",
                         given=f"value {data.shape}, shape={shape}")  # fmt: skip
    return Shared(data.copy(), declared, name)  # Functions write into it, in place.
