import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.datasets import read_idx
from workbench.errors import DataError


def idx(array, kind=0x08):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def test_a_file_written_out_by_hand():
    content = bytes.fromhex("00000803 00000002 00000001 00000003 010203 0405ff")
    array = read_idx(content)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[1, 2, 3]], [[4, 5, 255]]]
    assert not array.flags.writeable


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.randoms())
def test_what_is_written_is_read(shape, random):
    array = np.array([random.randrange(256) for _ in range(int(np.prod(shape)))], np.uint8)
    assert np.array_equal(read_idx(idx(array.reshape(shape))), array.reshape(shape))


@given(st.binary(max_size=40))
def test_any_other_bytes_are_refused_by_our_error_or_read_whole(content):
    try:
        array = read_idx(content)
    except DataError:
        return
    assert array.tobytes() == content[-array.size :]


LABELS = idx(np.arange(10, dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "this is not an IDX file\n  given:    first bytes (none)"),
        (b"\x1f\x8b\x08\x00", "given:    first bytes 1f 8b 08 00"),
        (b"<html>", "given:    first bytes 3c 68 74 6d"),
        (b"\0\0\x08\0", "expected: 00 00, the kind of number, 1 to 4 axes"),
        (b"\0\0\x08\x05" + bytes(40), "this is not an IDX file"),
        (idx(np.ones(1, np.uint8), kind=0x0D), "given:    kind 0x0d\n  expected: kind 0x08"),
        (LABELS[:6], "the IDX header is cut short\n  given:    6 bytes\n  expected: at least 8"),
        (LABELS[:-1], "given:    9 bytes of numbers\n  expected: 10 bytes, for shape (10,)"),
        (LABELS + b"\0", "given:    11 bytes of numbers\n  expected: 10 bytes, for shape (10,)"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "given:    0 bytes of numbers"),
        (b"\0\0\x08\x04" + bytes(4) + b"\xff" * 12, "expected: 0 bytes, for shape (0, "),
    ],
)
def test_bad_headers_are_refused(content, text):
    with pytest.raises(DataError) as caught:
        read_idx(content, "mnist: labels")
    assert str(caught.value).startswith("mnist: labels: ")
    assert text in str(caught.value)
