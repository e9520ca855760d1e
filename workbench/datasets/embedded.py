"""The data sets that lie inside the package, so that everything runs offline.

Origin, authors and licence of each stand beside it, in ``data/*.LICENSE.txt``.
"""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.arrays import float_dtype
from workbench.datasets.dataset import Dataset, count
from workbench.errors import DataError, DtypeError, OptionError

FOLDER = Path(__file__).parent / "data"
FILES = MappingProxyType(
    {
        "digits": "digits.npz",
        "mnist_subset": "mnist_subset.npz",
        "shakespeare": "shakespeare.txt",
    }
)
DIGITS = tuple("0123456789")


def digits(dtype: npt.DTypeLike = np.float32, *, images: bool = False) -> Dataset:
    """Return the UCI handwritten digits: 8x8 pixels, 1,500 to train on, 297 to test on.

    Parameters
    ----------
    dtype : float32 or float64
        Of the pixels.
    images : bool
        Pixels as (N, 1, 8, 8) instead of (N, 64).

    Returns
    -------
    Dataset
        Pixels in [0, 1], labels int64; arrays of your own, to be written to freely.

    Raises
    ------
    DtypeError
        For any other dtype.
    DataError
        If the installed file is missing or damaged.

    Notes
    -----
    The original counts ink in 17 steps, 0 to 16, here divided by 16.  These 1,797
    are the part of the collection that its authors kept for testing.  Of them, 30
    images of each digit from 0 to 6 and 29 of each from 7 to 9, chosen once with a
    seed, are the test set here; both parts keep the original order.

    References
    ----------
    E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits",
    UCI Machine Learning Repository, doi:10.24432/C50P49.
    """
    raw = _arrays("digits")
    test = np.zeros(len(raw["labels"]), bool)
    test[raw["test"]] = True
    pixels, labels = raw["images"], raw["labels"]
    return image_dataset("digits", (pixels[~test], labels[~test]), (pixels[test], labels[test]),
                         16, dtype, images)  # fmt: skip


def mnist_subset(dtype: npt.DTypeLike = np.float32, *, images: bool = False) -> Dataset:
    """Return 5,000 training and 1,000 test images of MNIST, 28x28 pixels.

    Parameters
    ----------
    dtype : float32 or float64
        Of the pixels.
    images : bool
        Pixels as (N, 1, 28, 28) instead of (N, 784).

    Returns
    -------
    Dataset
        Pixels in [0, 1], labels int64; arrays of your own, to be written to freely.

    Raises
    ------
    DtypeError
        For any other dtype.
    DataError
        If the installed file is missing or damaged.

    Notes
    -----
    500 training images a class from MNIST's training set and 100 test images a
    class from its test set, chosen once with a seed, in MNIST's order.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), "Gradient-based learning
    applied to document recognition", Proceedings of the IEEE 86 (11).
    """
    raw = _arrays("mnist_subset")
    return image_dataset("mnist_subset", (raw["train_images"], raw["train_labels"]),
                         (raw["test_images"], raw["test_labels"]), 255, dtype, images)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A text as numbers: one int a character, counted along a vocabulary.

    Parameters
    ----------
    name : str
        What :func:`workbench.datasets.load` calls it.
    text : str
        The whole text.
    vocabulary : str
        Every character that occurs, once, in code point order.
    train, test : array of int64, shape (N,)
        The text up to its last tenth, and that tenth.
    """

    name: str
    text: str
    vocabulary: str
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return (f"Text({self.name!r}, train: {self.train.shape} {self.train.dtype}, "
                f"test: {self.test.shape} {self.test.dtype}, "
                f"{len(self.vocabulary)} characters)")  # fmt: skip

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Return the number of each character of ``text``.

        Raises
        ------
        OptionError
            If one is not in the vocabulary.
        """
        strange = sorted(set(text) - set(self.vocabulary))
        if strange:
            raise OptionError(f"{self.name}.encode", "a character is not in the vocabulary",
                              given=", ".join(map(repr, strange)),
                              expected=f"characters of {self.vocabulary!r}")  # fmt: skip
        return np.searchsorted(_code_points(self.vocabulary), _code_points(text)).astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of these numbers, the inverse of :meth:`encode`.

        Raises
        ------
        DtypeError
            If they are not integers.
        OptionError
            If one is outside the vocabulary.
        """
        where = f"{self.name}.decode"
        index = np.asarray(tokens if hasattr(tokens, "shape") else list(tokens))
        if index.size == 0:
            return ""
        if not np.issubdtype(index.dtype, np.integer):
            raise DtypeError(where, "characters are numbered by integers",
                             given=str(index.dtype), expected="an integer dtype")  # fmt: skip
        if index.min() < 0 or index.max() >= len(self.vocabulary):
            raise OptionError(where, "a number is outside the vocabulary",
                              given=f"numbers {index.min()} to {index.max()}",
                              expected=f"0 to {len(self.vocabulary) - 1}")  # fmt: skip
        return "".join(self.vocabulary[i] for i in index.ravel())

    def windows(
        self, length: int, part: str = "train"
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return every stretch of the text, and the same stretch one character later.

        Parameters
        ----------
        length : int
            Characters in a stretch, T.
        part : str
            ``"train"`` or ``"test"``.

        Returns
        -------
        x, y : array of int64, shape (N - T, T), read-only
            ``y[i, t]`` is the character after ``x[i, t]``: the targets of a
            next-character model.  Views that cost no memory; :func:`batches`
            copies what it takes from them.

        Raises
        ------
        OptionError
            If the part has no such name, or the length does not fit in it.
        """
        where = f"{self.name}.windows"
        if part not in ("train", "test"):
            raise OptionError(where, "there is no such part", given=f"part={part!r}",
                              expected="'train' or 'test'")  # fmt: skip
        tokens = getattr(self, part)
        if count(length, where, "length") >= len(tokens):
            raise OptionError(where, "the stretch is longer than the text",
                              given=f"length={length}",
                              expected=f"at most {len(tokens) - 1}")  # fmt: skip
        view = np.lib.stride_tricks.sliding_window_view(tokens, length)
        return view[:-1], view[1:]


def shakespeare() -> Text:
    """Return "Coriolanus" by William Shakespeare, character by character.

    Returns
    -------
    Text
        154,469 characters out of 61; arrays of your own, to be written to freely.

    Raises
    ------
    DataError
        If the installed file is missing or damaged.

    References
    ----------
    The first play in the text that A. Karpathy's char-rnn (2015) made the usual one
    for character models.
    """
    text = _text("shakespeare")
    vocabulary = "".join(sorted(set(text)))
    tokens = np.searchsorted(_code_points(vocabulary), _code_points(text)).astype(np.int64)
    cut = len(tokens) - len(tokens) // 10
    return Text("shakespeare", text, vocabulary, tokens[:cut].copy(), tokens[cut:].copy())


def image_dataset(
    name: str,
    train: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    test: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    white: int,
    dtype: npt.DTypeLike,
    images: bool,
) -> Dataset:
    """Return a Dataset of raw (N, H, W) images and their labels, scaled to [0, 1].

    Parameters
    ----------
    name : str
        Of the data set.
    train, test : pairs of array of uint8, shapes (N, H, W) and (N,)
        Images and labels.
    white : int
        The largest pixel value.
    dtype : float32 or float64
        Of the result.
    images : bool
        Pixels as (N, 1, H, W) instead of (N, H * W).

    Raises
    ------
    DtypeError
        For any other dtype.
    """
    dtype = float_dtype(dtype, name)

    def part(
        pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        n, h, w = pixels.shape
        # Dividing into the new dtype converts in small blocks: no float copy in between.
        scaled = np.divide(pixels, white, dtype=dtype)
        return scaled.reshape((n, 1, h, w) if images else (n, h * w)), labels.astype(np.int64)

    return Dataset(name, *part(*train), *part(*test), classes=DIGITS)


@functools.cache
def _arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    """Raw arrays of an embedded npz, read once; callers copy, so read-only."""
    try:
        # From memory: np.load would leave a damaged file open behind its error.
        content = io.BytesIO((FOLDER / FILES[name]).read_bytes())
        with np.lib.npyio.NpzFile(content, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(name, error) from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


@functools.cache
def _text(name: str) -> str:
    try:
        return (FOLDER / FILES[name]).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DataError(name, f"the embedded file {FILES[name]} cannot be read: {reason}",
                     fix="install framework-history-workbench again")  # fmt: skip


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint32)
