"""Saving and loading: named arrays in one file, and nothing that could run.

The format is safetensors (a JSON header, then the bytes), which other frameworks read and
write too.  Loading a pickle can execute whatever its author wished; a file of this kind
holds numbers, and any other is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic.tensor import Tensor
from workbench.errors import DataError, DtypeError, OptionError, require
from workbench.files import atomic_write

_OTHERS = {
    b"PK\x03\x04": "a zip archive: NumPy's .npz, or what torch.save writes",
    b"\x93NUMPY": "NumPy's .npy: read it with numpy.load",
    b"\x80": "a pickle, which could run any code: it is not opened",
}
"""First bytes of what people try to load instead."""


def save(path: str | os.PathLike[str], tensors: Mapping[str, Any],
         metadata: Mapping[str, Any] | None = None) -> Path:  # fmt: skip
    """Write tensors to a file, whole or not at all.

    Parameters
    ----------
    path : path
        Usually ``*.safetensors``.
    tensors : mapping from str to Tensor, array, or mapping of the same kind
        For instance ``{"model": model.state_dict(), "optimizer": optimizer.state_dict()}``.
        Nested names are joined by dots: ``"optimizer.0.velocity"``.
    metadata : mapping, optional
        Words to keep beside them; ``str`` is taken of each.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DtypeError
        For a value that is no array, or a dtype that the format does not hold.
    OptionError
        If two names are equal once joined.
    DataError
        If the disk refuses.
    MissingDependencyError
        Without the package safetensors.
    """
    require("safetensors", room="dynamic.save", extra="lab")
    from safetensors.numpy import save as pack

    words = {str(key): str(word) for key, word in (metadata or {}).items()}
    return atomic_write(path, pack(_flatten(tensors, "", {}), words or None), where="save")


def _flatten(tensors: Mapping[str, Any], prefix: str, flat: dict[str, Array]) -> dict[str, Array]:
    for key, value in tensors.items():
        name, value = f"{prefix}{key}", value.data if isinstance(value, Tensor) else value
        if not isinstance(key, str):
            raise DtypeError("save", "a name is text", given=repr(key), fix="use str(...)")
        if isinstance(value, Mapping):
            _flatten(value, f"{name}.", flat)
        elif not hasattr(value, "dtype"):
            raise DtypeError("save", f"{name!r} is not a tensor or an array",
                             given=f"{type(value).__name__} {value!r}"[:80],
                             fix="put it in metadata if it is text, convert numbers and lists of "
                             "them with np.asarray, name the items of other lists in a dict")  # fmt: skip
        elif value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise DtypeError("save", f"the format does not hold the dtype of {name!r}",
                             given=str(value.dtype),
                             expected="bool, integers, float16, float32 or float64")  # fmt: skip
        elif name in flat:
            raise OptionError("save", "two tensors have one name", given=repr(name),
                              fix="rename one of them")  # fmt: skip
        else:  # The format is in C order; safetensors writes the bytes as they lie.
            flat[name] = np.asarray(arrays.to_host(value), order="C")
    return flat


def load(path: str | os.PathLike[str], under: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Parameters
    ----------
    path : path
        Written by :func:`save`, or any safetensors file.
    under : str, optional
        Only what was saved under this name, without it: ``load(path, "model")`` after
        ``save(path, {"model": model.state_dict(), ...})``.

    Returns
    -------
    dict from str to Tensor
        Constants on the host.

    Raises
    ------
    DataError
        If there is no such file, it is damaged, or it is of another format.
    DtypeError
        If it holds a dtype that NumPy has not.
    OptionError
        If there is nothing under that name.
    MissingDependencyError
        Without the package safetensors.
    """
    found, prefix = _read(path)[0], "" if under is None else f"{under}."
    inside = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    if under is not None and not inside:
        known = sorted({name.split(".")[0] for name in found})
        raise OptionError("load", f"{path} holds nothing under {under!r}",
                          given=f"names under {', '.join(known)}")  # fmt: skip
    return inside


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the words that :func:`save` was given beside the tensors.

    Raises
    ------
    DataError, DtypeError, MissingDependencyError
        As :func:`load`.
    """
    return _read(path)[1]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    require("safetensors", room="dynamic.load", extra="lab")
    from safetensors import SafetensorError
    from safetensors.numpy import load as unpack

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError("load", f"cannot read {path}: {reason}") from error
    try:
        found = unpack(content)
    except SafetensorError as error:
        other = next((what for start, what in _OTHERS.items() if content.startswith(start)), None)
        raise DataError("load", f"{path} is not a whole safetensors file",
                        given=other or f"{len(content):,} bytes: {error}",
                        expected="what dynamic.save writes",
                        fix=None if other else "it may have been cut short: copy or save it "
                        "again") from error  # fmt: skip
    except KeyError as error:
        raise DtypeError("load", f"{path} holds a dtype that NumPy has not",
                         given=str(error)) from error  # fmt: skip
    # The header is known to be sound now: its length in eight bytes, then JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    # The arrays that come are read-only views of one block; a tensor's can be edited.
    tensors = {name: Tensor(np.array(array)) for name, array in found.items()}
    return tensors, header.get("__metadata__", {})
