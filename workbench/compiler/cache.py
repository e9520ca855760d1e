"""A bounded cache of what was compiled, that says what it did.

An era keeps one for each of its functions: a key names a specialisation (shapes, dtypes,
the numbers that shapes rest on), and what is made for it takes long to make.  The
specialisation that was used least recently makes room for a new one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from workbench.errors import OptionError

T = TypeVar("T")


class Statistics(NamedTuple):
    """What a cache did so far; ``seconds`` were spent making what it holds or held."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    seconds: float = 0.0


class Cache(Generic[T]):
    """What was made for each of the keys used last; safe to use from several threads.

    Parameters
    ----------
    limit : int
        The most entries kept.
    name : str
        What reports and errors call it.

    Raises
    ------
    OptionError
        For a limit below 1.

    Examples
    --------
    >>> cache = Cache(limit=2)
    >>> [cache.get(n, lambda: n * n) for n in (2, 3, 2, 4)]
    [4, 9, 4, 16]
    >>> cache.statistics[:3]
    (1, 3, 1)
    """

    def __init__(self, limit: int = 64, name: str = "cache") -> None:
        if limit < 1:
            raise OptionError(name, "a cache holds something", given=f"limit={limit}",
                              expected="at least 1")  # fmt: skip
        self.limit, self.name = limit, name
        self._lock = Lock()
        self._entries: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._costs: dict[Hashable, float] = {}
        self._statistics = Statistics()

    @property
    def statistics(self) -> Statistics:
        """Hits, misses, evictions, and seconds spent making entries, so far."""
        return self._statistics

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make()`` made for this key, calling it only if there is nothing yet.

        Threads that ask for a key while another makes its entry wait for that entry;
        threads that ask for other keys do not.  ``make`` must not ask for its own key.

        Raises
        ------
        Exception
            What ``make`` raises, here and in every thread that waited; nothing is kept.
        """
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = Future()
            self._entries.move_to_end(key)
            self._count(hits=not mine, misses=mine)
        if mine:
            self._make(key, make, entry)
        return entry.result()

    def _make(self, key: Hashable, make: Callable[[], T], entry: Future[T]) -> None:
        start = time.perf_counter()
        try:
            entry.set_result(make())
        except BaseException as error:  # The threads that wait must hear of any end.
            with self._lock:
                self._forget(key, entry)
            entry.set_exception(error)
            return
        seconds = time.perf_counter() - start
        with self._lock:
            self._count(seconds=seconds)
            if self._entries.get(key) is entry:
                self._costs[key] = seconds
            while len(self._entries) > self.limit:
                oldest = next(iter(self._entries))
                self._forget(oldest, self._entries[oldest])
                self._count(evictions=1)

    def _forget(self, key: Hashable, entry: Future[T]) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._costs.pop(key, None)

    def _count(self, **more: float) -> None:
        old = self._statistics
        self._statistics = old._replace(**{k: getattr(old, k) + n for k, n in more.items()})

    def clear(self) -> None:
        """Forget every entry; the statistics go on."""
        with self._lock:
            self._entries.clear()
            self._costs.clear()

    def report(self) -> str:
        """Return the statistics, and the time that each entry took to make, as text."""
        with self._lock:
            s, costs = self._statistics, list(self._costs.items())
            held = len(self._entries)
        lines = [f"{self.name}: {held} of at most {self.limit} entries, {s.hits} hits, "
                 f"{s.misses} misses, {s.evictions} evictions, {s.seconds:.3f} s compiling"]  # fmt: skip
        return "\n".join([*lines, *(f"  {seconds:8.3f} s  {key}" for key, seconds in costs)])
