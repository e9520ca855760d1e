"""Between a check and an answer: a channel that carries data and nothing else.

The check runs in the instructor's process, the answer in a sandbox.  A message is JSON,
followed by the bytes of the arrays in it.  Numbers, texts, arrays and nests of these
cross by value.  Anything else stays where it is, and a number stands for it: a function
can be called through that number, any other object can only be handed back.

Nothing is unpickled, and no length or shape is believed before it was compared with the
bytes that are there.  That is why arrays do not travel as npy files: NumPy's reader
allocates what a header claims before it looks how much follows.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Channel", "ClosedError", "ProtocolError", "TooLateError"]

LARGEST_TEXT = 8 << 20  # Bytes of JSON in a message; nobody's answer is a book.
LARGEST_ARRAYS = 64 << 20  # Bytes of all arrays in a message.
MOST_ARRAYS = 10_000
MOST_ENTRIES = 10_000  # In a set or dict; keys can be made to collide, and n then cost n * n.
DEEPEST = 60  # Levels of lists in lists; far below Python's limit on recursion.
CHUNK = 1 << 20

DTYPES = {np.dtype(name).str: np.dtype(name) for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128")}  # fmt: skip
TYPES: dict[str, type] = {each.type.__name__: each.type for each in DTYPES.values()}
HEAD = struct.Struct("<II")  # Bytes of JSON, number of arrays.
SIZE = struct.Struct("<I")


class ProtocolError(Exception):
    """A message that the other side cannot have meant honestly."""


class ClosedError(Exception):
    """The other side is gone."""


class TooLateError(Exception):
    """Nothing came before the deadline."""


class Channel:
    """One end of a connection.

    Parameters
    ----------
    connection : socket.socket
        A stream.
    stands_for : callable
        ``stands_for(description)`` makes what represents an object of the other side here;
        ``description`` is a dict with its ``id``, whether it is ``callable``, its ``name``
        and its ``parameters``.
    describe : callable
        ``describe(object)`` returns such a dict, without ``id``, for an object that stays
        here; it raises TypeError for one that may not be spoken of.

    Notes
    -----
    An object that ``stands_for`` made and that has the attribute ``far_id`` goes back as
    the object it stands for.
    """

    def __init__(
        self,
        connection: socket.socket,
        stands_for: Callable[[dict[str, Any]], Any],
        describe: Callable[[Any], dict[str, Any]],
    ) -> None:
        self.connection = connection
        self.stands_for, self.describe = stands_for, describe
        self.kept: list[Any] = []  # What the other side knows by its place in this list.
        self._places: dict[int, int] = {}
        self.deadline: float | None = None  # On time.monotonic's clock.
        self.idle: Callable[[], None] | None = None  # Called a few times a second of waiting.

    def close(self) -> None:
        """Close the connection; the other side finds it closed."""
        self.connection.close()

    # --- messages -------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> None:
        """Send a dict whose values are data, or objects that may be spoken of."""
        head, *arrays = self.pack(message)
        parts = [HEAD.pack(len(head), len(arrays)), head]
        for each in arrays:
            parts += [SIZE.pack(len(each)), each]
        view = memoryview(b"".join(parts))
        try:
            while view:
                self._wait()
                with contextlib.suppress(TimeoutError):  # Who reads late is not gone.
                    view = view[self.connection.send(view[:CHUNK]) :]
        except OSError as error:
            raise ClosedError from error

    def pack(self, message: Any) -> list[bytes]:
        """Return a message as bytes: its JSON, then its arrays."""
        arrays: list[bytes] = []
        text = json.dumps(self._encode(message, arrays, 0)).encode()
        return [text, *arrays]

    def receive(self) -> dict[str, Any]:
        """Return the next message.

        Raises
        ------
        ProtocolError
            If it is too large, too deep, or not what :meth:`send` sends.
        ClosedError, TooLateError
            If the other side is gone, or silent beyond the deadline.
        """
        length, number = HEAD.unpack(self._read(HEAD.size))
        if length > LARGEST_TEXT or number > MOST_ARRAYS:
            raise ProtocolError(f"a message of {length:,} bytes and {number:,} arrays")
        text, total = self._read(length), 0
        arrays: list[bytearray | None] = []
        for _ in range(number):
            (size,) = SIZE.unpack(self._read(SIZE.size))
            total += size
            if total > LARGEST_ARRAYS:
                raise ProtocolError(f"arrays of more than {LARGEST_ARRAYS >> 20} MB")
            arrays.append(self._read(size))
        try:
            message = self._decode(json.loads(text), arrays, 0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError,
                RecursionError, OverflowError) as error:  # fmt: skip
            raise ProtocolError(f"a message that cannot be read ({type(error).__name__})") from None
        if not isinstance(message, dict):
            raise ProtocolError("a message that is no message")
        return message

    def _read(self, size: int) -> bytearray:
        data = bytearray()
        while len(data) < size:  # Grows with what arrives, not with what was claimed.
            self._wait()
            try:
                part = self.connection.recv(min(size - len(data), CHUNK))
            except TimeoutError:
                continue
            except OSError as error:
                raise ClosedError from error
            if not part:
                raise ClosedError
            data += part
        return data

    def _wait(self) -> None:
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TooLateError
        if self.idle is not None:
            self.idle()
        self.connection.settimeout(min(left, 0.25))

    # --- values ---------------------------------------------------------------------

    def _encode(self, value: Any, arrays: list[bytes], depth: int) -> Any:
        if depth > DEEPEST:
            raise TypeError(f"lists nested more than {DEEPEST} deep")
        kind = type(value)
        if kind in (set, frozenset, dict) and len(value) > MOST_ENTRIES:
            raise TypeError(f"a {kind.__name__} of more than {MOST_ENTRIES:,} entries")
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is np.ndarray or (isinstance(value, np.generic) and value.dtype.str in DTYPES):
            if value.dtype.newbyteorder("=").str in DTYPES:
                return self._encode_array(value, arrays)
        elif kind in (list, tuple, set, frozenset):
            return {kind.__name__: [self._encode(each, arrays, depth + 1) for each in value]}
        elif kind is dict:
            return {"dict": [[self._encode(key, arrays, depth + 1),
                              self._encode(each, arrays, depth + 1)]
                             for key, each in value.items()]}  # fmt: skip
        elif kind is complex:
            return {"complex": [value.real, value.imag]}
        elif kind is slice:
            return {"slice": [self._encode(each, arrays, depth + 1)
                              for each in (value.start, value.stop, value.step)]}  # fmt: skip
        elif isinstance(value, type) and TYPES.get(value.__name__) is value:
            return {"type": value.__name__}
        elif (far_id := getattr(value, "far_id", None)) is not None:
            return {"back": far_id}
        place = self._places.get(id(value))
        if place is None:
            described = self.describe(value)
            place = self._places[id(value)] = len(self.kept)
            self.kept.append(value)  # Held from here on, so its id stays its own.
            return {"object": {**described, "id": place}}
        return {"object": {**self.describe(value), "id": place}}

    def _encode_array(self, value: Any, arrays: list[bytes]) -> dict[str, Any]:
        array = np.asarray(value, dtype=value.dtype.newbyteorder("="))
        layout = "C" if array.flags.c_contiguous else "F" if array.flags.f_contiguous else "strided"
        arrays.append(array.tobytes())
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [array.dtype.str, list(array.shape), layout, len(arrays) - 1]}

    def _decode(self, value: Any, arrays: list[bytearray | None], depth: int) -> Any:
        if depth > DEEPEST + 1:
            raise ValueError("too deep")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        ((kind, inside),) = value.items()
        if kind in ("set", "frozenset", "dict") and len(inside) > MOST_ENTRIES:
            raise ValueError("too many entries")
        if kind in ("array", "scalar"):
            return self._decode_array(kind, inside, arrays)
        if kind in ("list", "tuple", "set", "frozenset", "slice"):
            items = [self._decode(each, arrays, depth + 1) for each in inside]
            if kind == "slice":
                start, stop, step = items
                return slice(start, stop, step)
            make: Callable[[list[Any]], Any] = {
                "list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]  # fmt: skip
            return make(items)
        if kind == "dict":
            return {self._decode(key, arrays, depth + 1): self._decode(each, arrays, depth + 1)
                    for key, each in inside}  # fmt: skip
        if kind == "complex":
            real, imaginary = inside
            return complex(real, imaginary)
        if kind == "type":
            return TYPES[inside]
        if kind == "back":
            if not (type(inside) is int and 0 <= inside < len(self.kept)):
                raise ValueError("no such object")
            return self.kept[inside]
        if kind == "object" and type(inside["id"]) is int:
            return self.stands_for(inside)
        raise ValueError("no such kind of value")

    @staticmethod
    def _decode_array(kind: str, inside: Any, arrays: list[bytearray | None]) -> Any:
        name, shape, layout, place = inside
        dtype = DTYPES[name]
        if len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no shape")
        data = arrays[place]
        if data is None or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("a shape that its bytes do not fill")
        arrays[place] = None  # For one array each, or few bytes could ask for many copies.
        array = np.frombuffer(data, dtype).reshape(shape)
        if kind == "scalar":
            return array[()]
        if layout == "F":
            return np.asfortranarray(array)
        if layout == "strided" and array.ndim:  # Gaps, as in a[:, ::2]; which ones, nobody minds.
            wide = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
            wide[..., ::2] = array
            return wide[..., ::2]
        return array.copy()
