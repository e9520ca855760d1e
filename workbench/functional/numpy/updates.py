"""``at(x)[index].set(v)``: a changed copy, where NumPy would write ``x[index] = v``.

Functions here change nothing in place, so an update returns the new array.  The notation is
JAX's.  Every form of NumPy's index may stand in the brackets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DtypeError, GraphError
from workbench.functional.core import Tracer, Value, describe, get_aval
from workbench.functional.numpy import elementwise
from workbench.functional.numpy.creation import arange
from workbench.functional.numpy.elementwise import where
from workbench.functional.numpy.indexing import (
    Plan,
    along_axis,
    getitem,
    index_arrays,
    is_mask,
    plan,
)
from workbench.functional.numpy.promotion import as_array, convert
from workbench.functional.numpy.shaping import broadcast_to, ravel, reshape
from workbench.functional.primitives.indexing import (
    gather,
    pad,
    scatter_add,
    scatter_set,
)
from workbench.functional.primitives.windows import dynamic_update_slice

__all__ = ["at", "put_along_axis"]

Operation = Callable[[Value, Value], Value]

_KINDS = "biufc"


class At:
    """What ``at(x)`` returns: index it."""

    __slots__ = ("x",)

    def __init__(self, x: Value) -> None:
        self.x = as_array("at", x)

    def __getitem__(self, index: Any) -> Part:
        return Part(self.x, index)


def at(x: Value) -> At:
    """Return what makes changed copies of ``x``: ``at(x)[index].set(v)``, ``.add(v)``, ...

    ``x.at[index]`` is the same for tracers; plain NumPy arrays have no such attribute.

    Parameters
    ----------
    x : array

    Returns
    -------
    At
        Indexed with anything that ``x`` itself could be, and with traced masks, it has the
        methods of :class:`Part`.

    Examples
    --------
    >>> at(np.zeros(3))[1:].set(5)
    array([0., 5., 5.])
    """
    return At(x)


class Part:
    """A part of an array.  Its methods return the whole, with this part changed.

    What is written broadcasts to the part and takes the array's dtype.  Where an index is
    repeated, ``set`` keeps the last value, and all others act once for each repetition.

    Parameters
    ----------
    x : array
    index : as :func:`workbench.functional.numpy.indexing.getitem`
        Or one traced mask for the leading axes, with values for the axes behind them.
    """

    __slots__ = ("index", "x")

    def __init__(self, x: Value, index: Any) -> None:
        self.x = x
        self.index = index if isinstance(index, tuple) else (index,)

    def get(self) -> Value:
        """Return the part itself, ``x[index]``."""
        return getitem(self.x, self.index)

    def set(self, values: Value) -> Value:
        """Return ``x`` with the part replaced.

        Raises
        ------
        ShapeError
            If the index does not fit ``x``, or the values not the part.
        DtypeError
            If the values are of a kind that ``x`` cannot hold: floats for integers.
        """
        x = self.x
        if self._traced_mask():
            return self._where(lambda x, v: v, values)
        todo = plan(x, self.index)
        if todo.picks:
            target, indices, shape = self._scattering(todo)
            return reshape(scatter_set(target, _fit(values, x, shape), *indices), x.shape)
        values = _fit(values, x, tuple(todo.lengths))
        sizes = tuple(len(range(n)[slice(*s)]) for s, n in zip(todo.starts, x.shape, strict=True))
        values = reshape(values, sizes)
        if all(step == 1 for _, _, step in todo.starts):
            return dynamic_update_slice(x, values, *[start for start, _, _ in todo.starts])
        inside = pad(broadcast_to(np.True_, sizes), index=todo.starts, shape=x.shape)
        return where(inside, pad(values, index=todo.starts, shape=x.shape), x)

    def add(self, values: Value) -> Value:
        """Return ``x`` with values added to the part; raises as :meth:`set`."""
        if not self._traced_mask():
            todo = plan(self.x, self.index)
            if todo.picks:
                target, indices, shape = self._scattering(todo)
                added = scatter_add(_fit(values, self.x, shape), *indices, shape=target.shape)
                return self.x + reshape(added, self.x.shape)
        return self._combine("add", elementwise.add, values, False)

    def subtract(self, values: Value) -> Value:
        """Return ``x`` with values subtracted from the part; raises as :meth:`set`."""
        return self.add(elementwise.negative(values))

    def multiply(self, values: Value, unique_indices: bool = False) -> Value:
        """Return ``x`` with the part multiplied by values.

        Parameters
        ----------
        values : array
        unique_indices : bool
            A promise that no index is repeated; only needed where index arrays are traced.

        Raises
        ------
        ShapeError, DtypeError
            As :meth:`set`.
        GraphError
            If index arrays are traced, so that they may repeat, and nothing is promised.
        """
        return self._combine("multiply", elementwise.multiply, values, unique_indices)

    def divide(self, values: Value, unique_indices: bool = False) -> Value:
        """Return ``x`` with the part divided by values; as :meth:`multiply`."""
        return self._combine("divide", elementwise.divide, values, unique_indices)

    def power(self, values: Value, unique_indices: bool = False) -> Value:
        """Return ``x`` with the part raised to powers; as :meth:`multiply`."""
        return self._combine("power", elementwise.power, values, unique_indices)

    def min(self, values: Value, unique_indices: bool = False) -> Value:
        """Return ``x`` with the part lowered to values where above; as :meth:`multiply`."""
        return self._combine("min", elementwise.minimum, values, unique_indices)

    def max(self, values: Value, unique_indices: bool = False) -> Value:
        """Return ``x`` with the part raised to values where below; as :meth:`multiply`."""
        return self._combine("max", elementwise.maximum, values, unique_indices)

    def apply(self, f: Callable[[Value], Value], unique_indices: bool = False) -> Value:
        """Return ``x`` with an elementwise function applied to the part; as :meth:`multiply`."""
        return self._combine("apply", lambda x, _: f(x), 0, unique_indices)

    def _traced_mask(self) -> bool:
        return len(self.index) == 1 and isinstance(self.index[0], Tracer) and is_mask(self.index[0])

    def _where(self, operation: Operation, values: Value) -> Value:
        (mask,), x = self.index, self.x
        rest = x.shape[mask.ndim :]
        plan(x, (np.zeros(mask.shape, bool),))  # Refuses a mask that does not fit.
        mask = reshape(mask, (*mask.shape, *(1,) * len(rest)))
        # Elsewhere the operation sees 1, lest it make a NaN there: 0 * NaN spoils a gradient.
        changed = operation(where(mask, x, 1), _fit(values, None, rest))
        return where(mask, _fit(changed, x, x.shape), x)

    def _scattering(self, todo: Plan) -> tuple[Value, list[Value], tuple[int, ...]]:
        """Return where to scatter to: the array or its elements, the indices, the part's shape."""
        x = self.x
        if todo.direct:
            indices = index_arrays(x, todo.picks)
            return x, indices, (*indices[0].shape, *x.shape[len(indices) :])
        numbered = reshape(arange(x.size) if self._is_traced() else np.arange(x.size), x.shape)
        places = getitem(numbered, self.index)
        return ravel(x), [places], places.shape

    def _is_traced(self) -> bool:
        leaves = [each for token in self.index
                  for each in (token if isinstance(token, list) else [token])]  # fmt: skip
        return any(isinstance(each, Tracer) for each in leaves)

    def _combine(self, name: str, operation: Operation, values: Value, unique: bool) -> Value:
        if self._traced_mask():
            return self._where(operation, values)
        picks = plan(self.x, self.index).picks
        if unique or all(isinstance(pick, int) or pick.size <= 1 for pick in picks.values()):
            return self.set(operation(self.get(), _fit(values, None, None)))
        if self._is_traced():
            traced = next(pick for pick in picks.values() if isinstance(pick, Tracer))
            raise GraphError(
                f"at[...].{name}", "a traced index may be repeated, and each repetition counts",
                given=describe(traced),
                expected="an index known while tracing, or a single traced one",
                fix="pass unique_indices=True if none is repeated; set and add need no promise",
            )  # fmt: skip
        places = np.arange(self.x.size).reshape(self.x.shape)[self.index]
        flat, values = ravel(self.x), _fit(values, None, places.shape)
        single = get_aval(values).shape == ()
        for turn in _turns(places.reshape(-1)):
            where_to = places.reshape(-1)[turn]
            given = values if single else gather(ravel(values), turn)
            part = operation(gather(flat, where_to), given)
            flat = scatter_set(flat, _fit(part, self.x, where_to.shape), where_to)
        return reshape(flat, self.x.shape)


def _turns(places: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Return positions in ``places``, in rounds none of which holds a place twice."""
    order = np.argsort(places, kind="stable")
    _, first, count = np.unique(places[order], return_index=True, return_counts=True)
    turn = np.arange(places.size) - np.repeat(first, count)
    return [np.sort(order[turn == each]) for each in range(count.max(initial=0))]


def _fit(values: Value, x: Value | None, shape: tuple[int, ...] | None) -> Value:
    """Return values for a part: of a shape if one is given, and of the dtype of ``x``, if given.

    Python scalars without ``x`` stay what they are, so that they promote as such.
    """
    aval = get_aval(values, "at[...]")
    if x is not None:
        kinds = [_KINDS.index(np.dtype(each.dtype).kind.replace("u", "i")) for each in (aval, x)]
        if kinds[0] > kinds[1]:
            raise DtypeError("at[...]", "the array cannot hold values of this kind",
                             given=f"{aval} into {get_aval(x)}",
                             fix="convert the array, or the values, with astype")  # fmt: skip
        values = as_array("at[...]", convert(values, x.dtype))
    if shape is None or (aval.shape == () and x is None):
        return values
    extra = aval.ndim - len(shape)
    if extra > 0 and set(aval.shape[:extra]) == {1}:  # NumPy's assignment drops these as well.
        values = reshape(values, aval.shape[extra:])
    return broadcast_to(values, shape)


def put_along_axis(x: Value, indices: Value, values: Value, axis: int | None = None) -> Value:
    """Return ``x`` with values at the places that :func:`take_along_axis` would read.

    NumPy's function of this name writes in place; this one returns the new array.
    """
    if axis is None:
        return reshape(put_along_axis(ravel(x), ravel(indices), values, 0), get_aval(x).shape)
    return at(x)[along_axis("put_along_axis", as_array("put_along_axis", x), indices, axis)].set(
        values
    )
