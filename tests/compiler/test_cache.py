"""The cache of specialisations: bounded, honest about what it did, safe in threads."""

import threading

import pytest

from workbench.compiler.cache import Cache
from workbench.errors import OptionError


def test_each_key_is_made_once_and_counted():
    cache, made = Cache(limit=4), []
    for key in "abcaab":
        assert cache.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "c"]
    assert cache.statistics[:3] == (3, 3, 0)
    assert len(cache) == 3


def test_the_entry_used_least_recently_makes_room():
    cache = Cache(limit=2)
    for key in "abac":
        cache.get(key, lambda: None)
    assert ["a" in cache, "b" in cache, "c" in cache] == [True, False, True]
    assert cache.statistics.evictions == 1
    cache.get("b", lambda: None)
    assert "a" not in cache
    assert cache.statistics[:3] == (1, 4, 2)


def test_seconds_are_those_spent_making():
    clock = threading.Event()
    cache = Cache()
    cache.get("slow", lambda: clock.wait(0.02))
    before = cache.statistics.seconds
    assert before >= 0.02
    cache.get("slow", lambda: clock.wait(0.02))
    assert cache.statistics.seconds == before


def test_a_failure_is_raised_and_not_kept():
    cache = Cache()

    def fail():
        raise ZeroDivisionError("no")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.get("key", fail)
    assert len(cache) == 0
    assert cache.get("key", lambda: 3) == 3


def test_threads_that_want_one_key_share_one_making_and_others_go_on():
    cache, calls = Cache(), []
    begun, finish = threading.Event(), threading.Event()

    def make():
        calls.append(1)
        begun.set()
        assert finish.wait(10)
        return "made"

    results = []
    threads = [threading.Thread(target=lambda: results.append(cache.get("key", make)))
               for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert cache.get("other", lambda: "other") == "other"  # While "key" is being made.
    assert results == []
    finish.set()
    for thread in threads:
        thread.join(10)
    assert results == ["made"] * 4
    assert calls == [1]
    assert cache.statistics[:3] == (3, 2, 0)


def test_what_is_made_may_use_the_cache_itself():
    cache = Cache()
    assert cache.get("outer", lambda: cache.get("inner", lambda: 2) + 1) == 3
    assert len(cache) == 2


def test_clearing_forgets_entries_but_not_history():
    cache = Cache()
    cache.get("a", lambda: 1)
    cache.clear()
    assert len(cache) == 0
    assert cache.get("a", lambda: 2) == 2
    assert cache.statistics.misses == 2


def test_the_report():
    cache = Cache(limit=8, name="train")
    cache.get((32, 64), lambda: None)
    cache.get((32, 64), lambda: None)
    first, entry = cache.report().splitlines()
    assert first.startswith("train: 1 of at most 8 entries, 1 hits, 1 misses, 0 evictions, 0.0")
    assert first.endswith("s compiling")
    assert entry.endswith(" s  (32, 64)")


def test_a_cache_holds_something():
    with pytest.raises(OptionError) as error:
        Cache(limit=0, name="train")
    assert "train: a cache holds something" in str(error.value)
    assert "given:    limit=0" in str(error.value)
