"""Groups of calls: what is recorded, and what runs together.

``Signature``  what calls agree on.  ``Group``  the calls of one signature at one depth.
``Lane``  those of a group that take their arguments from the same groups.  ``Launch``
groups of one signature that run as one call.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from workbench import arrays
from workbench.dynamic import versions
from workbench.dynamic.batching.rows import Rows, gather
from workbench.dynamic.function import Function
from workbench.dynamic.ops import broadcast_to, reshape, stack
from workbench.dynamic.ops.elementwise import values
from workbench.dynamic.tensor import Tensor
from workbench.errors import GraphError

Plan: TypeAlias = Callable[[list[int], list[tuple[int, ...]]], Iterable[Iterable[int]]]
"""What runs together, in order, of calls with these signatures and needs; all by number."""

VARIES: Any = object()
"""Stands for an argument that differs from call to call."""


class Kind(NamedTuple):
    """What is known of an array before it is computed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    requires_grad: bool
    namespace: ModuleType


@dataclass(frozen=True, eq=False, slots=True)
class Signature:
    """What calls have to agree on so that they can run together.

    Attributes
    ----------
    cls : subclass of Function
    rule : callable or None
        How it runs on many calls; None for one by one.
    kinds : tuple of Kind or None
        Of the arguments; None for options.
    kind : Kind
        Of the result.
    enabled : bool
        Whether the calls go on the tape.
    """

    cls: type[Function]
    rule: Callable[[Launch], Any] | None
    kinds: tuple[Kind | None, ...]
    kind: Kind
    enabled: bool

    def __str__(self) -> str:
        given = " ".join(str(kind.shape) for kind in self.kinds if kind is not None)
        return f"{self.cls.name} {given} -> {self.kind.shape} {self.kind.dtype}"


class Lane:
    """The calls of a group whose arguments come from the same groups.

    Attributes
    ----------
    flat : list
        What differs, one call after another: row numbers in a source's result, arrays.
    args : tuple
        The arguments of the first call.
    sources : list
        For each argument the group that computes it, or None.
    columns : list
        For each argument its place in a call's part of ``flat``, or None.
    home, key : dict, object
        Where the recorder finds it.
    time : int
        When it was made, by the clock of ``versions``.
    """

    __slots__ = (
        "args", "columns", "flat", "group", "home", "key", "number", "order", "sources", "time",
        "width",
    )  # fmt: skip

    def __init__(
        self,
        group: Group,
        args: tuple[Any, ...],
        sources: list[Any],
        in_flat: list[bool],
        home: dict[Any, Lane],
        key: Any,
    ) -> None:
        self.home, self.key = home, key
        self.group, self.order, self.number = group, group.order, len(group.lanes)
        self.args, self.sources = args, sources
        self.flat: list[Any] = []
        self.width = sum(in_flat)
        self.columns = [sum(in_flat[:k]) if here else None for k, here in enumerate(in_flat)]
        self.time = next(versions.clock)

    def values(self, k: int) -> list[Any]:
        """Return argument k of every call: row numbers, or objects."""
        column = self.columns[k]
        if column is None:
            return [self.args[k]] * self.order.count(self.number)
        return self.flat[column :: self.width]

    def objects(self, k: int) -> list[Any] | None:
        """Return argument k of every call, or None if it stands in rows of a result."""
        source, found = self.sources[k], self.values(k)
        if source is None:
            return found
        return None if source.items is None else [source.items[row] for row in found]

    def tensors(self, k: int) -> list[Any]:
        """Return argument k of every call, rows as tensors of their own."""
        source, found = self.sources[k], self.values(k)
        return found if source is None else [source.call(row) for row in found]

    def rows(self, k: int) -> tuple[Rows, int, list[int]]:
        """Return the result in which argument k of the calls stands, and in which rows.

        The rows are counted from the number in the middle.
        """
        objects, source = self.objects(k), self.sources[k]
        if objects is None:
            return source.rows, source.offset, self.values(k)
        distinct = {id(each): each for each in objects}
        number_of = {key: number for number, key in enumerate(distinct)}
        numbers = [number_of[id(each)] for each in objects]
        if any(isinstance(each, Tensor) and each.requires_grad for each in distinct.values()):
            return Rows(stack(list(distinct.values()))), 0, numbers
        data = [values(each) for each in distinct.values()]
        if np.ndim(data[0]):  # Far faster than to stack them.
            return Rows(Tensor(np.concatenate(data).reshape(-1, *data[0].shape))), 0, numbers
        return Rows(Tensor(arrays.namespace(*data).array(data))), 0, numbers

    def check_edits(self) -> None:
        """Raise if an argument was edited in place since the first call was recorded."""
        if versions.latest < self.time:
            return
        given = (x for x, source in zip(self.args, self.sources, strict=True) if source is None)
        seen = tuple(values(x) for x in (*given, *self.flat) if hasattr(x, "shape"))
        node = SimpleNamespace(name="", args=seen, output=None, sequence=self.time)
        try:
            versions.check_saved(node)
        except GraphError as error:
            name = self.group.signature.cls.name
            raise GraphError("batching", "a tensor was edited in place before an operation that "
                             "was recorded on it had run", given=f"an argument of {name}",
                             fix="ask for the results first (x.numpy(), loss.backward()), or "
                             "edit it after the block") from error  # fmt: skip


class Group:
    """The calls of one signature at one depth: none of them needs another's result.

    Attributes
    ----------
    depth : int
        One more than that of the deepest group that it takes arguments from.
    lanes_on : dict
        Where the recorder finds the lanes of calls on these results.
    order : list of int
        For each call, in order of recording, the number of its lane.
    rows, offset
        Once it has run: the rows in which the results stand, beginning at ``offset``; or
    items : list of Tensor
        the results one by one.
    """

    __slots__ = (
        "batch", "depth", "done", "items", "lanes", "lanes_on", "number", "offset", "order",
        "rows", "signature", "where",
    )  # fmt: skip

    def __init__(
        self, batch: Any, signature: Signature, depth: int, number: int, where: Any
    ) -> None:
        self.batch, self.signature, self.depth, self.number = batch, signature, depth, number
        self.where = where
        self.lanes_on: dict[Any, Lane] = {}
        self.order: list[int] = []
        self.lanes: list[Lane] = []
        self.done = False
        self.rows: Any = None
        self.items: Any = None
        self.offset = 0

    def sources(self) -> set[Group]:
        """Return the groups that have to run before."""
        found = {source for lane in self.lanes for source in lane.sources}
        return {source for source in found if source is not None and not source.done}

    def call(self, number: int) -> Tensor:
        """Return the result of one call, as a tensor on the tape."""
        return self.rows.row(self.offset + number) if self.rows else self.items[number]

    def data(self, number: int) -> Any:
        """Return the values of the result of one call."""
        if self.rows:
            return self.rows.tensor.data[self.offset + number, ...]
        return self.items[number].data


def agenda(groups: list[Group]) -> Iterator[list[Group]]:
    """Yield groups that can run together: of what is ready, the lowest average depth first."""
    total: dict[Signature, list[int]] = {}
    waiting: dict[Group, int] = {}
    followers: dict[Group, list[Group]] = {}
    for group in groups:
        calls = total.setdefault(group.signature, [0, 0])
        calls[0] += group.depth * len(group.order)
        calls[1] += len(group.order)
        sources = group.sources()
        waiting[group] = len(sources)
        for source in sources:
            followers.setdefault(source, []).append(group)
    ready: dict[Signature, list[Group]] = {}
    heap: list[tuple[float, int, Signature]] = []

    def add(group: Group) -> None:
        signature = group.signature
        if signature not in ready:
            ready[signature] = []
            depth, count = total[signature]
            heapq.heappush(heap, (depth / count, group.number, signature))
        ready[signature].append(group)

    for group, count in waiting.items():
        if not count:
            add(group)
    while heap:
        together = ready.pop(heapq.heappop(heap)[2])
        yield sorted(together, key=lambda group: (group.depth, group.number))
        for group in together:
            for follower in followers.get(group, ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    add(follower)


def planned(plan: Plan, groups: list[Group]) -> list[list[Group]]:
    """Return groups of one call each in the order of somebody's plan.

    Raises
    ------
    GraphError
        If they cannot run so.
    """
    place = {group: number for number, group in enumerate(groups)}
    kinds: dict[Signature, int] = {}
    signatures = [kinds.setdefault(group.signature, len(kinds)) for group in groups]
    needs = [tuple(sorted(place[source] for source in group.sources())) for group in groups]
    order = [[operator.index(number) for number in together]
             for together in plan(list(signatures), list(needs))]  # fmt: skip

    def refuse(problem: str, number: int, fix: str) -> GraphError:
        named = f"call {number}"
        if 0 <= number < len(groups):
            named += f", {groups[number].signature}"
        return GraphError("batching", f"the plan {problem}", given=named, fix=fix)

    ran: set[int] = set()
    for together in order:
        for number in together:
            if not 0 <= number < len(groups):
                raise refuse("names a call that there is not", number,
                             f"number them from 0 to {len(groups) - 1}")  # fmt: skip
            if signatures[number] != signatures[together[0]]:
                raise refuse("mixes signatures in one launch", number,
                             "put together only calls of one signature")  # fmt: skip
            if missing := [each for each in needs[number] if each not in ran]:
                raise refuse("runs a call before what it needs", number,
                             f"run call {missing[0]} in an earlier launch")  # fmt: skip
        for number in together:
            if number in ran:
                raise refuse("runs a call twice", number, "name each call once")
            ran.add(number)
    for number in range(len(groups)):
        if number not in ran:
            raise refuse("leaves out a call", number, "name each call once")
    return [[groups[number] for number in together] for together in order if together]


class Launch:
    """Groups of one signature that run as one call.

    Attributes
    ----------
    cls : subclass of Function
    count : int
        How many calls, k.
    shape : tuple of int
        Of the result of one call.
    args : list
        What all calls have in common: options, tensors that are the same in each; and
        ``VARIES`` for what differs, to be had from :meth:`rows` or :meth:`stacked`.
    shapes, dtypes : list
        Of the arguments of one call; None for options.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        signature = groups[0].signature
        self.cls, self.shape = signature.cls, signature.kind.shape
        self.shapes: list[Any] = [kind and kind.shape for kind in signature.kinds]
        self.dtypes = [kind and kind.dtype for kind in signature.kinds]
        self.count, self._lanes = 0, list[tuple[Any, Lane]]()
        for group in groups:
            group.offset = begin = self.count
            self.count += len(group.order)
            if len(group.lanes) == 1:
                self._lanes.append((slice(begin, self.count), group.lanes[0]))
                continue
            order = np.array(group.order)
            for lane in group.lanes:
                self._lanes.append((np.flatnonzero(order == lane.number) + begin, lane))
        self.args = [self._common(k) for k in range(len(self.shapes))]

    def _common(self, k: int) -> Any:
        """Return argument k if it is one object in all calls."""
        found = self._lanes[0][1].args[k]
        if self.shapes[k] is None:
            return found
        lists = [lane.objects(k) or [VARIES] for _, lane in self._lanes]
        found = lists[0][0]
        return found if all(each is found for objects in lists for each in objects) else VARIES

    def calls(self) -> list[tuple[Any, ...]]:
        """Return the arguments of every call, in order."""
        result: list[Any] = [None] * self.count
        for places, lane in self._lanes:
            columns = [lane.tensors(k) for k in range(len(self.args))]
            if isinstance(places, slice):
                places = range(places.start, places.stop)
            for at, args in zip(places, zip(*columns, strict=True), strict=True):
                result[at] = args
        return result

    def apply(self, *args: Any) -> Any:
        """Run the operation itself, once."""
        result = self.cls.apply(*args)
        return result if isinstance(result, Tensor) else Tensor(result)  # Of constants alone.

    def rows(self, *positions: int) -> Rows:
        """Return arguments of every call as rows: all of the first call, then the second's."""
        n, entries = len(positions), []
        for j, k in enumerate(positions):
            for places, lane in self._lanes:
                if n > 1 and isinstance(places, slice):
                    places = slice(places.start * n + j, places.stop * n, n)
                elif n > 1:
                    places = places * n + j
                entries.append((places, *lane.rows(k)))
        return gather(entries, self.count * n)

    def stacked(self, k: int) -> Any:
        """Return argument k with the calls along a new first axis."""
        if self.args[k] is VARIES:
            return self.rows(k).tensor
        return broadcast_to(self.args[k], (self.count, *self.shapes[k]))

    def aligned(self, k: int, ndim: int) -> Any:
        """Return argument k so that it broadcasts with others of up to ``ndim`` axes a call."""
        shape = self.shapes[k]
        if self.args[k] is not VARIES:
            return self.args[k]
        if len(shape) == ndim:
            return self.stacked(k)
        return reshape(self.stacked(k), (self.count, *(1,) * (ndim - len(shape)), *shape))
