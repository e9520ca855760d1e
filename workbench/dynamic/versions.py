"""Who edited which memory, and when: version counters that cost nothing until an edit.

PyTorch gives every tensor a version counter and copies it beside every saved tensor.
Here the *edit* keeps the record instead.  One clock numbers recorded operations and
in-place edits alike; an operation saved a stale array exactly when the memory under
that array was edited at a later time than the operation's own.  Memory is known by the
array that owns it, so an edit through a view counts for every view of the same bytes.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from typing import Any

from workbench import arrays
from workbench.arrays import Array
from workbench.errors import GraphError

clock = itertools.count(1)

latest = 0
"""Time of the latest edit of any tensor.  Nodes recorded after it need no check."""

latest_recorded = 0
"""Time of the latest edit that became part of a graph; 0 where nobody edits in graphs."""


class _Edits:
    """The edits of one piece of memory."""

    __slots__ = ("count", "latest", "owner", "recent", "recorded")

    def __init__(self, owner: weakref.ref[Any]) -> None:
        self.owner = owner  # Held so that its callback runs when the memory goes.
        self.count = self.recorded = self.latest = 0
        # Of the latest edits the time and, unless all of the memory was edited, the bytes.
        self.recent: deque[tuple[int, tuple[int, int] | None]] = deque(maxlen=100)

    def after(self, time: int, array: Array) -> int:
        """Return how many edits since ``time`` may have changed the bytes of ``array``."""
        if self.latest <= time:
            return 0
        found = sum(when > time for when, at in self.recent if _touches(at, array))
        forgotten = self.count > len(self.recent) and self.recent[0][0] > time
        return found or int(forgotten)  # In doubt an edit is assumed.

    def version(self, array: Array) -> int:
        """Return how many edits there were, less those known to be of other bytes."""
        return self.count - sum(not _touches(at, array) for _, at in self.recent)


def _touches(at: tuple[int, int] | None, array: Array) -> bool:
    """Return whether the bytes of an edit, by default all, are among those of ``array``."""
    low, high = arrays.byte_bounds(array)
    return at is None or (at[0] < high and low < at[1])


_edits: dict[int, _Edits] = {}


def owner(array: Array) -> Any:
    """Return the array at the end of the chain of views under ``array``."""
    while hasattr(array.base, "base"):
        array = array.base
    return array


def mark(array: Array, recorded: bool = False) -> None:
    """Note that the memory under ``array`` has just been edited in place."""
    global latest, latest_recorded
    memory = array if array.base is None else owner(array)
    key = id(memory)
    edits = _edits.get(key)
    if edits is None:
        edits = _edits[key] = _Edits(weakref.ref(memory, lambda _: _edits.pop(key, None)))
    latest = edits.latest = next(clock)
    edits.count += 1
    edits.recent.append((latest, None if memory is array else arrays.byte_bounds(array)))
    if recorded:
        edits.recorded = latest_recorded = latest


def version(array: Array) -> int:
    """Return how many times the memory under ``array`` was edited in place."""
    edits = _edits.get(id(owner(array)))
    return 0 if edits is None else edits.version(array)


def check_saved(node: Any) -> None:
    """Raise if an array that ``node`` saved has been edited since.

    Raises
    ------
    GraphError
        Naming the operation, what it saved, and the version then and now.
    """
    arguments = enumerate(node.args or ())
    saved = [(f"its argument {k}", a) for k, a in arguments] + [("its result", node.output)]
    for what, array in saved:
        edits = _edits.get(id(owner(array))) if hasattr(array, "base") else None
        if edits is None or not (since := edits.after(node.sequence, array)):
            continue
        raise GraphError(
            "backward",
            f"an array that {node.name} saved was edited in place before it was used",
            given=f"{node.name} saved {what}, shape {array.shape}, at version "
            f"{version(array) - since}; it is now at version {version(array)}",
            expected="the values with which the operation was computed",
            fix="edit after backward, or compute a new tensor (x = x + v instead of x += v)",
        )


def check_views(args: tuple[Any, ...]) -> None:
    """Raise if one of ``args`` is a view of memory that a graph edited since it was taken.

    Raises
    ------
    GraphError
        The values of such a view would not match its history.
    """
    for x in args:
        node: Any = getattr(x, "node", None)
        edits = None if node is None or x.data.base is None else _edits.get(id(owner(x.data)))
        if edits is not None and edits.recorded > node.sequence:
            raise GraphError(
                node.name,
                "the tensor under this view was edited in place after the view was taken",
                given=f"a view of shape {x.shape}, taken before the edit",
                fix="take the view again after the edit, or edit a copy",
            )
