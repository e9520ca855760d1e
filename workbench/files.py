"""Writing a file so that it is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from workbench.errors import DataError, DtypeError

_CURES = {
    errno.ENOSPC: "free some space there, or {instead}",
    errno.EDQUOT: "your disk quota is used up: free some space, or {instead}",
    errno.EACCES: "you may not write there: {instead}",
    errno.EPERM: "you may not write there: {instead}",
    errno.EROFS: "that disk is read-only: {instead}",
    errno.ENOTDIR: "a part of that path is a file, not a folder: {instead}",
    errno.EEXIST: "a part of that path is a file, not a folder: {instead}",
    errno.EISDIR: "that is a folder: name a file inside it",
}


def atomic_write(
    path: str | os.PathLike[str],
    data: str | bytes,
    *,
    where: str = "atomic_write",
    instead: str = "choose another folder",
    durable: bool = True,
) -> Path:
    """Write a whole file, or leave what was there exactly as it was.

    The data go to a temporary file in the same folder, are flushed to the disk,
    and take the file's name in one step.  Whatever stops the write (an error, or
    Ctrl-C) leaves no trace: neither half a file nor the temporary one.

    Parameters
    ----------
    path : path
        The file to write.  Missing folders above it are made; a link is followed.
    data : str or bytes
        Text is stored as UTF-8, with its line ends as they are.
    where : str
        On whose behalf an error speaks.
    instead : str
        What else the user could do, to end the advice in an error.
    durable : bool
        Wait until the disk has it.  Without, a loss of power may lose it: for files by
        the hundred that can be made again.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DtypeError
        If ``data`` is neither text nor bytes.
    DataError
        If the disk refuses, with its reason and what to do.

    Notes
    -----
    ``os.replace`` is atomic on POSIX systems and on Windows, but only within one
    file system: that is why the temporary file lies beside the final one.
    """
    if not isinstance(data, str | bytes):
        raise DtypeError(where, "only text or bytes can be written to a file",
                         given=type(data).__name__, expected="str or bytes")  # fmt: skip
    content = data.encode() if isinstance(data, str) else data
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))  # Replacing a link would cut it off.
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(content)  # A pipe or a device: replacing it would destroy it.
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content, durable)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        cure = _CURES.get(error.errno or 0, "check that folder, or {instead}")
        raise DataError(where, f"cannot write {path}: {reason}",
                        fix=cure.format(instead=instead)) from error  # fmt: skip
    return path


def _replace(target: Path, content: bytes, durable: bool) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # Mode "x" and not tempfile: the result gets the permissions that any new
        # file of this user gets, so that a shared cache can be shared.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # KeyboardInterrupt too.
        with suppress(OSError):
            temporary.unlink()
        raise
