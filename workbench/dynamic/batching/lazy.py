"""Tensors that are not computed yet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from workbench.dynamic.batching.groups import Group
from workbench.dynamic.ops import positive
from workbench.dynamic.ops.indexing import GetItem
from workbench.dynamic.tensor import Tensor, mode


@contextlib.contextmanager
def running(enabled: bool, intercept: Any = None) -> Iterator[None]:
    """Run what is inside, on the tape if ``enabled``."""
    before = mode.enabled, mode.intercept
    mode.enabled, mode.intercept = enabled, intercept
    try:
        yield
    finally:
        mode.enabled, mode.intercept = before


class Lazy(Tensor):
    """The result of a call that is recorded but need not have run.

    It knows its shape and dtype.  Asking for its values makes it run; asking for its
    place on the tape turns it into an ordinary tensor, for good.
    """

    __slots__ = ()  # None of its own, so that its class can change.
    _group = vars(Tensor)["data"]  # Until then it has no data and no node, and what it has
    _row = vars(Tensor)["node"]  # is kept in their slots.

    def _ran(self) -> Group:
        if not self._group.done:
            self._group.batch.run(self._group)
        return self._group

    def _settled(self) -> Tensor:
        """Turn into an ordinary tensor, on memory of its own so that it can be edited."""
        group, row = self._ran(), self._row
        with running(group.signature.enabled):
            x = group.call(row)
            x = positive(x) if x.requires_grad else Tensor(x.data.copy())
        self.__class__ = Tensor  # type: ignore[assignment]
        Tensor.__init__(self, x.data, x.requires_grad, x.node)
        return self

    def __getitem__(self, index: Any) -> Tensor:
        kind = type(index)
        if kind is slice or (kind is int and self.shape and index < self.shape[0] > ~index):
            return GetItem.apply(self, index)  # There is nothing to clean.
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Tensor]:
        return iter([GetItem.apply(self, k) for k in range(len(self))])

    def __len__(self) -> int:
        return self.shape[0] if self.shape else super().__len__()


def _known(get: Callable[[Any], Any]) -> property:
    """Return a property that is known in advance."""
    return property(lambda self: get(self._group.signature.kind))


def _settling(name: str, get: Callable[[Any], Any] | None = None) -> property:
    """Return a property that has to be looked up, or set, in the ordinary tensor."""
    return property(
        get or (lambda self: getattr(self._settled(), name)),
        lambda self, value: setattr(self._settled(), name, value),
    )


def _data(self: Lazy) -> Any:
    """Return values that others may edit only where nobody's gradient depends on them."""
    return self._ran().data(self._row) if self.requires_grad else self._settled().data


for _name, _property in {
    "shape": _known(lambda kind: kind.shape),
    "dtype": _known(lambda kind: kind.dtype),
    "ndim": _known(lambda kind: len(kind.shape)),
    "size": _known(lambda kind: math.prod(kind.shape)),
    "device": _known(lambda kind: "cpu" if kind.namespace is np else "gpu"),
    "requires_grad": _settling("requires_grad", _known(lambda kind: kind.requires_grad).fget),
    "data": _settling("data", _data),
    **{name: _settling(name) for name in ("grad", "hooks", "node")},
}.items():
    setattr(Lazy, _name, _property)
