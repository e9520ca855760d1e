"""All 70,000 images of MNIST: from a folder of yours, the cache, or a mirror.

One checksum a file, of what is *inside* the gzip, serves all three: the same IDX
file compressed by another program is another gzip file but the same data.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy.typing as npt

from workbench.arrays import float_dtype
from workbench.datasets.dataset import Dataset
from workbench.datasets.embedded import image_dataset
from workbench.datasets.idx import read_idx
from workbench.errors import DataError
from workbench.files import atomic_write

if TYPE_CHECKING:
    from rich.progress import Progress

VARIABLE = "WORKBENCH_DATA"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FILES: Mapping[str, str] = MappingProxyType(
    {  # SHA-256 of the uncompressed IDX file.
        "train-images-idx3-ubyte.gz":
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz":
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz":
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz":
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
)  # fmt: skip
TIMEOUT = 20  # Seconds without an answer after which a mirror counts as absent.
_LARGEST = 64 * 2**20  # Bytes; MNIST's largest file has 47,040,016.
_GZIP_MAGIC = b"\x1f\x8b"
_NOTE = "MNIST, as downloaded by framework-history-workbench. May be deleted at any time.\n"
OTHERWISE = f"set {VARIABLE} to a folder that holds MNIST's four .gz files"


def mnist(
    dtype: npt.DTypeLike = "float32",
    *,
    images: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Dataset:
    """Return MNIST: 60,000 training and 10,000 test images of 28x28 pixels.

    Each file is looked for in the folder that the environment variable
    ``WORKBENCH_DATA`` names, there or in a subfolder ``mnist``; then in the cache;
    then it is downloaded (11 MB in all) and cached.  Whichever it was, its content
    must have the known SHA-256 checksum.

    Parameters
    ----------
    dtype : float32 or float64
        Of the pixels: 220 MB or 440 MB.
    images : bool
        Pixels as (N, 1, 28, 28) instead of (N, 784).
    cache : path, optional
        Folder to keep downloads in, instead of :func:`cache_folder`.
    progress : bool
        Show a bar, on standard error, while downloading.

    Returns
    -------
    Dataset
        Pixels in [0, 1], labels int64; arrays of your own, to be written to freely.

    Raises
    ------
    DtypeError
        For any other dtype.
    DataError
        If a file of yours is missing or damaged, no mirror gives an undamaged one,
        or the cache cannot be written.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), "Gradient-based learning
    applied to document recognition", Proceedings of the IEEE 86 (11).
    """
    dtype = float_dtype(dtype, "mnist")  # Before 11 MB are downloaded for nothing.
    contents = _from_own_folder() or _from_cache(mnist_cache(cache), progress)
    parts = [read_idx(contents[name], f"mnist: {name}") for name in FILES]
    return image_dataset("mnist", (parts[0], parts[1]), (parts[2], parts[3]), 255, dtype, images)


def cache_folder() -> Path:
    """Return the folder in which downloads are kept, by this system's custom."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("framework-history-workbench", appauthor=False))


def own_folder() -> Path | None:
    """Return the folder of MNIST's files that ``WORKBENCH_DATA`` leads to, if any.

    Returns
    -------
    Path or None
        None if the variable is not set, or its folder has none of the files.

    Raises
    ------
    DataError
        If the variable names no folder, or one in which some of the files are missing.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        raise DataError("mnist", f"{VARIABLE} names no folder", given=f"{VARIABLE}={named}",
                        fix="set it to an existing folder, or unset it")  # fmt: skip
    for folder in (root, root / "mnist"):
        missing = [name for name in FILES if not (folder / name).is_file()]
        if not missing:
            return folder
        if len(missing) < len(FILES):
            raise DataError("mnist", f"{folder} has only some of MNIST's files",
                            expected="also " + ", ".join(missing),
                            fix=f"add them, or unset {VARIABLE}")  # fmt: skip
    return None


def read_verified(path: Path) -> bytes:
    """Return what is inside one of MNIST's files, if it is what it should be.

    Raises
    ------
    DataError
        If the file cannot be read or is not MNIST's.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError("mnist", f"cannot read {path}: {error.strerror}") from error
    content, problem = _unpack(path.name, raw)
    if problem:
        raise DataError("mnist", f"{path} is {problem}", given=f"{len(raw):,} bytes",
                        expected=f"content with SHA-256 {FILES[path.name]}",
                        fix=f"get that file again, or unset {VARIABLE}")  # fmt: skip
    return content


def mnist_cache(cache: str | os.PathLike[str] | None) -> Path:
    """Return the folder of MNIST's files in ``cache``, or in :func:`cache_folder`."""
    return (cache_folder() if cache is None else Path(cache)) / "mnist"


def _from_own_folder() -> dict[str, bytes] | None:
    folder = own_folder()
    return None if folder is None else {name: read_verified(folder / name) for name in FILES}


def _from_cache(folder: Path, progress: bool) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name in FILES:
        try:
            contents[name] = read_verified(folder / name)
        except DataError:
            continue  # Absent, or damaged since: the download below replaces it.
    missing = [name for name in FILES if name not in contents]
    if missing:
        # Finds out that the cache cannot be written before, not after, 11 MB have come.
        _store(folder / "README.txt", _NOTE)
        with _bars(progress) as bars:
            for name in missing:
                contents[name] = _download(folder, name, bars)
    return contents


def _download(folder: Path, name: str, bars: Progress | None) -> bytes:
    """Fetch one file from the first mirror that has it undamaged, and cache it."""
    failures = []
    for mirror in MIRRORS:
        raw, problem = _fetch(mirror + name, name, bars)
        content = b""
        if not problem:
            content, problem = _unpack(name, raw)
        if not problem:
            _store(folder / name, raw)
            return content
        failures.append(f"{urlsplit(mirror).hostname}: {problem}")
    raise DataError("mnist", f"{name} cannot be downloaded ({'; '.join(failures)}): "
                             f"use datasets.mnist_subset(), which is embedded, "
                             f"or {OTHERWISE}")  # fmt: skip


def _store(path: Path, data: str | bytes) -> None:
    atomic_write(path, data, where="mnist",
                 instead=f"pass another folder as cache=, or {OTHERWISE}")  # fmt: skip


def _fetch(url: str, name: str, bars: Progress | None) -> tuple[bytes, str | None]:
    """Download into memory, so that nothing unverified ever lies in the cache."""
    import pooch
    import requests

    buffer = io.BytesIO()
    bar = None if bars is None else _Bar(bars, name)
    with ExitStack() as stack:
        if bar is not None:
            stack.callback(bar.close)
        # pooch leaves the connection of an interrupted download open; this closes it.
        hooks = {"response": lambda response, **_: stack.enter_context(response)}
        download = pooch.HTTPDownloader(progressbar=bar or False, timeout=TIMEOUT, hooks=hooks)
        try:
            download(url, buffer, None)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"mnist: the download of {name} was interrupted; nothing was stored")
            raise
        except requests.RequestException as error:
            return b"", _reason(error)
    return buffer.getvalue(), None


def _reason(error: Exception) -> str:
    """Put a failed request in a few words: its own are a paragraph of addresses."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP status {getattr(error.response, 'status_code', 'unknown')}"
    for kind, words in (
        (requests.Timeout, f"no answer in {TIMEOUT} s"),
        (requests.exceptions.SSLError, "its certificate is not trusted here"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke off"),
        (requests.ConnectionError, "no connection"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__


def _unpack(name: str, raw: bytes) -> tuple[bytes, str | None]:
    """Return the content of a downloaded or stored file, or what is wrong with it."""
    try:
        # A server may have undone the compression under way; the checksum decides.
        content = raw
        if raw.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
                content = file.read(_LARGEST + 1)
    except EOFError:
        return b"", "cut short"
    except (OSError, zlib.error):
        return b"", "damaged"
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        return b"", "not MNIST's file, or damaged"
    return content, None


@contextmanager
def _bars(wanted: bool) -> Iterator[Progress | None]:
    if not wanted:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(),
                                DownloadColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield bars


class _Bar:
    """One line of the progress display, in the four words that pooch speaks."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars, self._task = bars, bars.add_task(name, total=None)
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come; 0 where the server does not say."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        self._bars.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        """Count bytes that have come."""
        self._bars.advance(self._task, size)

    def reset(self) -> None:
        """Count from zero again."""
        self._bars.update(self._task, completed=0)

    def close(self) -> None:
        """Take the line away, whether the download succeeded or not."""
        self._bars.update(self._task, visible=False)
