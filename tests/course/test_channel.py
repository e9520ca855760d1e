"""The channel: data crosses as it is, anything else by a number, and lies are refused."""

import contextlib
import json
import socket
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workbench.course import channel
from workbench.course.channel import Channel, ClosedError, ProtocolError, TooLateError


class Stand:
    """Represents an object of the other side."""

    def __init__(self, description):
        self.far_id, self.description = description["id"], description


def describe(value):
    if not callable(value):
        raise TypeError(f"a {type(value).__name__} stays here")
    return {"callable": True, "name": value.__name__}


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    with left, right:
        yield Channel(left, Stand, describe), Channel(right, Stand, describe)


def crossing(value):
    """Send a value and receive it."""
    left, right = socket.socketpair()
    with left, right:
        near, far = Channel(left, Stand, describe), Channel(right, Stand, describe)
        thread = threading.Thread(target=near.send, args=({"value": value},))
        thread.start()
        try:
            return far.receive()["value"]
        finally:
            thread.join()


def received(data):
    """Receive raw bytes, whatever they are; the other side then closes."""
    left, right = socket.socketpair()

    def write():
        with left, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            left.sendall(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with right:
            return Channel(right, Stand, describe).receive()
    finally:
        thread.join()


def message(text, *arrays, claimed=None):
    """Return the bytes of a message with this JSON."""
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    number = len(arrays) if claimed is None else claimed
    parts = [struct.pack("<II", len(text), number), text]
    for each in arrays:
        parts += [struct.pack("<I", len(each)), each]
    return b"".join(parts)


def alike(a, b):
    """Say whether two values are one kind and equal, NaN to NaN, bit by bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return alike(list(a.items()), list(b.items()))
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, complex):
        return alike((a.real, a.imag), (b.real, b.imag))
    return bool(a == b)


# --- what crosses ---------------------------------------------------------------------

DTYPES = st.sampled_from(sorted(channel.DTYPES))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
SCALARS = DTYPES.flatmap(lambda dtype: hnp.from_dtype(np.dtype(dtype)))
KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
LEAVES = (st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers()
          | st.text(st.characters()) | ARRAYS | SCALARS | st.frozensets(KEYS) | st.sets(KEYS)
          | st.sampled_from([slice(1, None, -2), slice(None), np.float32, np.bool_]))  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.tuples(inner, inner)
                      | st.dictionaries(KEYS, inner), max_leaves=8)  # fmt: skip


@given(VALUES)
@settings(max_examples=150, deadline=None)
@example({"array": ["<f8", [3], "C", 0]})  # Data that looks like the channel's own words.
@example({"object": {"id": 0}})
@example("\ud800 half a pair")
@example(10**400)
def test_data_crosses_as_it_is(value):
    found = crossing(value)
    assert alike(found, value), (found, value)


@pytest.mark.parametrize(
    "make", [lambda a: a, lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1],
             lambda a: a.astype(">f8"), lambda a: a[:0], lambda a: a[1, 1, ...]],
    ids=["C", "F", "gaps", "backwards", "big-endian", "empty", "one value"],
)  # fmt: skip
def test_layouts_are_kept_and_every_array_can_be_written(make):
    sent = make(np.arange(24.0).reshape(4, 6))
    found = crossing(sent)
    np.testing.assert_array_equal(found, sent)
    assert found.dtype == np.float64
    if isinstance(found, np.ndarray):
        assert found.flags.writeable
        if sent.size:
            assert found.flags.c_contiguous == sent.flags.c_contiguous
            assert found.flags.f_contiguous == sent.flags.f_contiguous


def test_scalars_and_arrays_without_axes_are_told_apart():
    assert type(crossing(np.float32(0.1))) is np.float32
    assert type(crossing(np.array(2, "int8"))) is np.ndarray


def test_an_array_that_is_larger_than_a_socket_holds():
    sent = np.random.default_rng(0).integers(0, 256, 3 << 20, dtype=np.uint8)
    assert alike(crossing(sent), sent)


def test_an_array_that_comes_twice_is_two_arrays():
    once = np.zeros(2)
    first, second = crossing([once, once])
    first += 1
    assert second.tolist() == [0, 0]


@pytest.mark.parametrize("value", [object(), b"bytes", np.array(["text"]), np.longdouble(1),
                                   np.array([None]), np.zeros(2).view(np.recarray),
                                   np.array(["2020"], "datetime64[D]")])  # fmt: skip
def test_what_is_no_data_is_not_spoken_of(ends, value):
    near, _ = ends
    with pytest.raises(TypeError, match="stays here"):
        near.send({"value": [value]})
    assert near.kept == []


def test_nests_beyond_the_limit_are_not_sent(ends):
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(TypeError, match="nested more than 60 deep"):
        ends[0].send({"value": deep})
    deepest = []
    for _ in range(channel.DEEPEST - 1):
        deepest = [deepest]
    assert crossing(deepest) == deepest


@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys])
def test_tables_beyond_the_limit_are_not_sent(ends, kind):
    with pytest.raises(TypeError, match="more than 10,000 entries"):
        ends[0].send({"value": kind(range(10_001))})
    assert crossing(kind(range(10_000))) == kind(range(10_000))


def test_a_function_stays_and_comes_home(ends):
    near, far = ends
    near.send({"value": [len, {"again": len, "other": abs}]})
    first, others = far.receive()["value"]
    assert first.description == {"callable": True, "name": "len", "id": 0}
    assert others["again"].far_id == 0
    assert others["other"].far_id == 1
    far.send({"value": (others["other"], first)})
    assert near.receive()["value"] == (abs, len)
    assert near.kept == [len, abs]


@pytest.mark.parametrize("place", [-1, 1, 10**30, True, 0.0, "0", None, [0]])
def test_only_what_was_spoken_of_comes_home(ends, place):
    near, far = ends
    near.send({"value": len})
    far.receive()
    far.connection.sendall(message({"dict": [["value", {"back": place}]]}))
    with pytest.raises(ProtocolError):
        near.receive()


# --- lies -----------------------------------------------------------------------------

EIGHT = b"\0" * 8
LIES = {
    "not JSON": b"{",
    "not text": b"\xff\xfe\xfa",
    "deep": b"[" * 100_000,
    "deep and closed": b'{"list":[' * 200 + b"]}" * 200,
    "a list": [1, 2],
    "no dict": {"list": []},
    "a number": 3,
    "nothing": {},
    "two kinds": {"list": [], "tuple": []},
    "an unknown kind": {"pickle": "gASVAA=="},
    "a list that is a number": {"list": 3},
    "a set of lists": {"set": [{"list": []}]},
    "a dict without pairs": {"dict": [[1]]},
    "a dict with lists for keys": {"dict": [[{"list": []}, 1]]},
    "half a complex": {"complex": [1]},
    "a complex of texts": {"complex": ["1", "2"]},
    "a slice of two": {"slice": [1, 2]},
    "a type that is no number": {"type": "Popen"},
    "a type that is a list": {"type": []},
    "an object without id": {"object": {"callable": True}},
    "an object that is a list": {"object": [1]},
    "an object with a text for id": {"object": {"id": "1"}},
    "a huge number": b'{"dict": [["x", ' + b"9" * 5000 + b"]]}",
}
ARRAY_LIES = {
    "another dtype": ["<f16", [1], "C", 0],
    "an object dtype": ["|O", [1], "C", 0],
    "a text for a shape": ["<f8", "1", "C", 0],
    "a negative axis": ["<f8", [-1], "C", 0],
    "two negative axes": ["<f8", [-1, -1], "C", 0],
    "more than there is": ["<f8", [2], "C", 0],
    "less than there is": ["<f4", [1], "C", 0],
    "far more than there is": ["<f8", [10**12], "C", 0],
    "an axis beyond integers": ["<f8", [10**40], "C", 0],
    "an empty axis beside it": ["<f8", [0, 10**40], "C", 0],
    "an axis of one half": ["<f8", [0.5], "C", 0],
    "an axis of truth": ["<f8", [True], "C", 0],
    "a hundred axes": ["<f8", [1] * 100, "C", 0],
    "bytes that did not come": ["<f8", [1], "C", 5],
    "bytes by name": ["<f8", [1], "C", "0"],
    "too few words": ["<f8", [1]],
    "no words": 3,
}  # fmt: skip


@pytest.mark.parametrize("text", LIES.values(), ids=LIES)
def test_a_lie_is_a_protocol_error(text):
    with pytest.raises(ProtocolError):
        received(message(text))
    if not isinstance(text, bytes):
        with pytest.raises(ProtocolError):
            received(message({"dict": [["value", {"list": [text] if text != 3 else 3}]]})
                     if text not in ([1, 2], {"list": []}) else message([]))  # fmt: skip


@pytest.mark.parametrize("words", ARRAY_LIES.values(), ids=ARRAY_LIES)
@pytest.mark.parametrize("kind", ["array", "scalar"])
def test_a_lie_about_an_array_is_a_protocol_error(kind, words):
    with pytest.raises(ProtocolError):
        received(message({"dict": [["value", {kind: words}]]}, EIGHT))


def test_the_same_bytes_are_no_second_array():
    """A short message could ask for a copy of 64 MB in each of its words."""
    array = {"array": ["<f8", [1 << 16], "C", 0]}
    data = message({"dict": [["value", {"list": [array] * 5000}]]}, b"\0" * (8 << 16))
    with pytest.raises(ProtocolError), few_bytes(50 << 20):
        received(data)


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
def test_a_table_of_numbers_made_to_collide_is_refused(kind):
    """Multiples of 2**61 - 1 have one hash: a table of n takes n * n steps."""
    numbers = [i * (2**61 - 1) for i in range(60_000)]
    inside = [[each, 0] for each in numbers] if kind == "dict" else numbers
    with pytest.raises(ProtocolError):
        received(message({"dict": [["value", {kind: inside}]]}))


class few_bytes:  # noqa: N801
    """Fails where the block holds more than so many bytes at a time."""

    def __init__(self, most):
        self.most = most

    def __enter__(self):
        tracemalloc.start()

    def __exit__(self, *exception):
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < self.most, f"{peak:,} bytes"


@pytest.mark.parametrize(
    "head",
    [struct.pack("<II", 2**32 - 1, 0), struct.pack("<II", channel.LARGEST_TEXT + 1, 0),
     struct.pack("<II", 2, 2**32 - 1), struct.pack("<II", 2, channel.MOST_ARRAYS + 1),
     message(b"{}", claimed=1) + struct.pack("<I", 2**32 - 1),
     message(b"{}", claimed=2) + struct.pack("<I", 4) + b"abcd"
     + struct.pack("<I", channel.LARGEST_ARRAYS - 3)],
    ids=["text of 4 GB", "text too long", "4e9 arrays", "too many arrays", "an array of 4 GB",
         "arrays too long together"],
)  # fmt: skip
def test_what_is_claimed_is_not_allocated(head):
    with few_bytes(8 << 20), pytest.raises(ProtocolError):
        received(head)


@pytest.mark.parametrize("data", [struct.pack("<II", channel.LARGEST_TEXT, 0),
                                  message(b"{}", claimed=1)
                                  + struct.pack("<I", channel.LARGEST_ARRAYS)])  # fmt: skip
def test_the_largest_that_is_allowed_grows_with_what_arrives(data):
    with few_bytes(8 << 20), pytest.raises(ClosedError):
        received(data + b"only this")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["<f8", "C", "F", "strided", "float64"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from("array scalar list tuple set frozenset dict complex slice type back object "
                        "id".split()), inner, max_size=2),
    max_leaves=20)  # fmt: skip


@given(JSONS, st.lists(st.binary(max_size=16), max_size=2))
@settings(max_examples=300, deadline=None)
@example({"dict": [["x", {"array": ["<f8", [0, 2**62], "strided", 0]}]]}, [b""])
@example({"dict": [["x", {"array": ["<f8", [2**62, 0], "strided", 0]}]]}, [b""])
@example({"dict": [["x", {"array": ["<f8", [0] * 32, "F", 0]}]]}, [b""])
def test_any_json_is_a_message_or_a_protocol_error(text, arrays):
    with contextlib.suppress(ProtocolError):
        assert isinstance(received(message(text, *arrays)), dict)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_refused(data):
    with pytest.raises((ProtocolError, ClosedError)):
        received(data)


@given(st.data(), VALUES)
@settings(max_examples=150, deadline=None)
def test_a_message_with_wrong_bytes_is_a_message_or_refused(data, value):
    left, right = socket.socketpair()
    with left, right:
        head, *arrays = Channel(left, Stand, describe).pack({"value": value})
    whole = bytearray(message(head, *arrays))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError, ClosedError):
        assert isinstance(received(bytes(whole)), dict)


# --- time -----------------------------------------------------------------------------


def test_silence_ends_at_the_deadline(ends):
    near, _ = ends
    near.deadline = time.monotonic() + 0.3
    with pytest.raises(TooLateError):
        near.receive()


def test_a_message_that_drips_ends_at_the_deadline(ends):
    near, far = ends
    stop = threading.Event()

    def drip():
        far.connection.sendall(message(b"{}" + b" " * 100_000)[:10])
        while not stop.wait(0.02):
            far.connection.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    near.deadline = time.monotonic() + 0.4
    try:
        with pytest.raises(TooLateError):
            near.receive()
    finally:
        stop.set()
        thread.join()


def test_nobody_who_does_not_read_holds_a_sender(ends):
    near, _ = ends
    near.deadline = time.monotonic() + 0.6
    with pytest.raises(TooLateError):
        near.send({"value": np.zeros(4 << 20)})


def test_who_reads_late_is_not_taken_for_gone(ends):
    near, far = ends
    near.deadline = time.monotonic() + 60
    sent, found = np.arange(1 << 20), []

    def read():
        time.sleep(0.8)  # Longer than one wait of the sender.
        found.append(far.receive()["value"])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        near.send({"value": sent})
    finally:
        near.connection.shutdown(socket.SHUT_WR)
        thread.join()
    assert alike(found[0], sent)


def test_waiting_looks_around(ends):
    near, _ = ends
    looks = []

    class FoundError(Exception):
        pass

    def look():
        looks.append(1)
        if len(looks) == 3:
            raise FoundError

    near.deadline, near.idle = time.monotonic() + 60, look
    with pytest.raises(FoundError):
        near.receive()


def test_who_is_gone_is_said_to_be(ends):
    near, far = ends
    far.close()
    with pytest.raises(ClosedError):
        near.receive()
    with pytest.raises(ClosedError):
        near.send({"value": np.zeros(1 << 20)})
