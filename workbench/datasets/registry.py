"""Data sets by name, and where each of them is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from workbench.datasets import embedded, full_mnist, generators
from workbench.datasets.dataset import Dataset
from workbench.datasets.embedded import Text
from workbench.errors import DataError, unknown_name

_LOADERS: MappingProxyType[str, Callable[..., Dataset | Text]] = MappingProxyType(
    {
        "digits": embedded.digits,
        "mnist_subset": embedded.mnist_subset,
        "mnist": full_mnist.mnist,
        "shakespeare": embedded.shakespeare,
        "two_moons": generators.two_moons,
        "adding_problem": generators.adding_problem,
        "expression_trees": generators.expression_trees,
    }
)


def names() -> tuple[str, ...]:
    """Return what :func:`load` can load."""
    return tuple(_LOADERS)


def load(name: str, **options: Any) -> Dataset | Text:
    """Return a data set by its name.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    **options
        What the function of that name in :mod:`workbench.datasets` takes.

    Returns
    -------
    Dataset or Text

    Raises
    ------
    UnknownNameError
        If there is no data set, or none of its options, of that name.
    WorkbenchError
        Whatever that function raises.
    """
    if name not in names():
        raise unknown_name("datasets.load", "data set", name, names())
    loader = _LOADERS[name]
    known = inspect.signature(loader).parameters
    for option in options:
        if option not in known:
            raise unknown_name(f"datasets.load({name!r})", "option", option, known)
    return loader(**options)


@dataclass(frozen=True)
class Location:
    """Where a data set is, and whether it can be used.

    Parameters
    ----------
    name : str
        What :func:`load` calls it.
    where : str
        ``"embedded"``, ``"cached in FOLDER"``, ``"WORKBENCH_DATA=FOLDER"`` or
        ``"not downloaded"``.
    size : int
        Bytes on disk.
    problem : str or None
        What is wrong, in one line; None if it can be used, or can be once it is
        downloaded.
    fix : str or None
        What to do, in one line.
    """

    name: str
    where: str
    size: int
    problem: str | None = None
    fix: str | None = None


def describe(*, cache: str | os.PathLike[str] | None = None) -> tuple[Location, ...]:
    """Say where every data set that is kept in files is, having read all of them.

    Parameters
    ----------
    cache : path, optional
        As given to :func:`mnist`.

    Returns
    -------
    tuple of Location
        Damaged and missing files are reported in it, never raised.
    """
    return (*(_embedded(name) for name in embedded.FILES), _mnist(cache))


def _embedded(name: str) -> Location:
    path = embedded.FOLDER / embedded.FILES[name]
    size = path.stat().st_size if path.is_file() else 0
    try:
        _LOADERS[name]()
    except DataError as error:
        return Location(name, "embedded", size, error.problem, error.fix)
    return Location(name, "embedded", size)


def _mnist(cache: str | os.PathLike[str] | None) -> Location:
    named = f"{full_mnist.VARIABLE}={os.environ.get(full_mnist.VARIABLE)}"
    try:
        own = full_mnist.own_folder()
    except DataError as error:
        return Location("mnist", named, 0, error.problem, error.fix)
    folder = full_mnist.mnist_cache(cache) if own is None else own
    where = f"cached in {folder}" if own is None else f"{full_mnist.VARIABLE}={folder}"
    paths = [folder / name for name in full_mnist.FILES]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    if not all(path.is_file() for path in paths):
        return Location("mnist", "not downloaded", size, fix="call workbench.datasets.mnist() "
                        f"while online, or {full_mnist.OTHERWISE}")  # fmt: skip
    try:
        for path in paths:
            full_mnist.read_verified(path)
    except DataError as error:
        again = "call workbench.datasets.mnist() while online: it fetches the file again"
        return Location("mnist", where, size, error.problem, again if own is None else error.fix)
    return Location("mnist", where, size)
