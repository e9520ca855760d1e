"""The IDX format, in which MNIST is distributed.

A big-endian header and then the numbers::

    bytes 0, 1        zero
    byte  2           kind of number: 0x08 unsigned byte, 0x0D float, ...
    byte  3           number of axes, D
    bytes 4 .. 4+4D   length of each axis, uint32
    the rest          the numbers, last axis fastest
"""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

_UNSIGNED_BYTE = 0x08
_MOST_AXES = 4


def read_idx(content: bytes, name: str = "read_idx") -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Parameters
    ----------
    content : bytes
        The whole file, uncompressed.
    name : str
        What to call it in an error.

    Returns
    -------
    array of uint8, read-only
        A view of ``content``, in the shape that the header states.

    Raises
    ------
    DataError
        If the header is none of this format, is of another kind of number or of more
        than four axes, or states no numbers, or another size than the file has.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten
    digits", section "File formats".
    """
    if len(content) < 4 or content[:2] != b"\0\0" or not 1 <= content[3] <= _MOST_AXES:
        raise DataError(name, "this is not an IDX file",
                        given=f"first bytes {content[:4].hex(' ') or '(none)'}",
                        expected=f"00 00, the kind of number, 1 to {_MOST_AXES} axes")  # fmt: skip
    if content[2] != _UNSIGNED_BYTE:
        raise DataError(name, "only IDX files of unsigned bytes are read here",
                        given=f"kind 0x{content[2]:02x}", expected="kind 0x08")  # fmt: skip
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(name, "the IDX header is cut short",
                        given=f"{len(content)} bytes",
                        expected=f"at least {start} bytes")  # fmt: skip
    shape = struct.unpack_from(f">{axes}I", content, 4)
    size = math.prod(shape)  # Python's ints: a forged header cannot make it overflow.
    if size == 0 or len(content) - start != size:
        raise DataError(name, "the IDX header and the file disagree about the size",
                        given=f"{len(content) - start} bytes of numbers",
                        expected=f"{size} bytes, for shape {shape}")  # fmt: skip
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
