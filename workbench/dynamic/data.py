"""Data: examples, batches of them in a new order each epoch, and processes that load them.

The order of the examples follows from a seed and the epoch, and so does what a worker draws
from the global random generators: never from which process happened to do the work.
"""

from __future__ import annotations

import pickle
import random
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic.tensor import Tensor
from workbench.errors import DataError, DtypeError, OptionError, ShapeError

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "collate", "random_split"]


class Dataset(Protocol):
    """Examples that can be counted and read by index; any sequence is one."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one example: an array or number, or a tuple or dict of them."""


class TensorDataset:
    """Examples that lie in memory: rows of arrays of equal length.

    Parameters
    ----------
    *columns : array or Tensor, shape (N, ...)
        For instance images and labels.

    Raises
    ------
    ShapeError
        If their lengths differ, or there are none.
    """

    def __init__(self, *columns: Array | Tensor) -> None:
        self.columns = tuple(c.data if isinstance(c, Tensor) else c for c in columns)
        if len({c.shape[:1] for c in self.columns}) != 1 or not self.columns[0].ndim:
            raise ShapeError("TensorDataset", "the arrays are not as many examples each",
                             given=", ".join(str(c.shape) for c in self.columns) or "no arrays",
                             expected="arrays (N, ...) with one N")  # fmt: skip

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: Any, /) -> tuple[Array, ...]:
        return tuple(column[index] for column in self.columns)


class Subset:
    """Some examples of a data set, in an order of their own.

    Parameters
    ----------
    dataset : Dataset
    indices : array_like of int
        Which examples.
    """

    def __init__(self, dataset: Dataset, indices: npt.ArrayLike) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, dtype=np.intp)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Any:
        return self.dataset[self.indices[index].item()]


def random_split(dataset: Dataset, lengths: Sequence[int],
                 seed: int | None = None) -> tuple[Subset, ...]:  # fmt: skip
    """Return disjoint random subsets that together are the data set.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int
        Of each subset.
    seed : int, optional
        The same seed makes the same split.

    Raises
    ------
    OptionError
        If the lengths do not add up to the data set's.
    """
    if sum(lengths) != len(dataset) or min(lengths, default=0) < 0:
        raise OptionError("random_split", "the lengths do not add up to the data set",
                          given=f"lengths {list(lengths)}, {sum(lengths)} in all",
                          expected=f"{len(dataset)} in all")  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(dataset))
    return tuple(Subset(dataset, part) for part in np.split(order, np.cumsum(lengths)[:-1]))


def collate(examples: list[Any]) -> Any:
    """Return examples as one batch.

    Parameters
    ----------
    examples : list
        Of one kind: arrays, tensors or numbers of one shape are stacked along a new first
        axis into a constant tensor; tuples and dicts become a tuple or dict of batches;
        anything else stays a list.

    Raises
    ------
    ShapeError
        If arrays have different shapes.
    """
    first = examples[0]
    if isinstance(first, tuple):
        return tuple(collate(list(column)) for column in zip(*examples, strict=True))
    if isinstance(first, dict):
        return {key: collate([each[key] for each in examples]) for key in first}
    if not isinstance(first, int | float) and not hasattr(first, "__array__"):
        return examples
    values = [each.data if isinstance(each, Tensor) else each for each in examples]
    try:
        return Tensor(np.stack(values))
    except ValueError:
        shapes = sorted({np.shape(each) for each in values})
        raise ShapeError("collate", "examples of different shapes do not form one array",
                         given=", ".join(map(str, shapes)),
                         fix="pad them in __getitem__, or pass DataLoader a collate function "
                         "of your own") from None  # fmt: skip


def _load(dataset: Any, together: Callable[[list[Any]], Any], indices: Array) -> Any:
    """Return the batch of these examples."""
    while isinstance(dataset, Subset):
        dataset, indices = dataset.dataset, dataset.indices[indices]
    if isinstance(dataset, TensorDataset) and together is collate:
        return tuple(map(Tensor, dataset[indices]))  # One fancy index for the whole batch.
    examples = []
    for index in indices.tolist():
        try:
            examples.append(dataset[index])
        except Exception as error:
            raise DataError("DataLoader", f"example {index} could not be read",
                            given=f"{type(error).__name__}: {error}") from error  # fmt: skip
    return together(examples)


def _arrays(batch: Any) -> list[Array]:
    """Return the arrays of a batch that is to be put on a device."""
    if not isinstance(batch, tuple) or not all(isinstance(each, Tensor) for each in batch):
        raise DataError("DataLoader", "only tuples of tensors can be put on a device for you",
                        given=f"a batch that is a {type(batch).__name__}",
                        fix="leave out device=, and move what the batch holds: x.to(device)")  # fmt: skip
    return [each.data for each in batch]


_sent: tuple[Any, Callable[[list[Any]], Any]]
"""In a worker: the data set, and how to make batches of it."""


def _start_worker(pickled: bytes) -> None:
    global _sent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer.
    _sent = pickle.loads(pickled)


def _work(indices: Array, seed: Any, key: tuple[int, int]) -> Any:
    """Return a batch, in a worker, whose global random generators are seeded for it."""
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(4)
    np.random.seed(state)  # noqa: NPY002
    random.seed(state.tobytes())
    return _load(*_sent, indices)


class DataLoader:
    """Batches of a data set; each ``for`` loop over it is one epoch.

    Parameters
    ----------
    dataset : Dataset
        A :class:`TensorDataset` (or a :class:`Subset` of one) gives a batch by a single
        indexing; of any other, examples are read one by one.
    batch_size : int
        Examples in a batch; the last one may be smaller.
    shuffle : bool
        Whether each epoch goes through the examples in a random order of its own.
    seed : int, optional
        Of all randomness; drawn, and kept in ``seed``, if not given.
    drop_last : bool
        Leave out a smaller last batch.
    collate : callable, optional
        From a list of examples to a batch; :func:`collate` by default, which makes
        tensors.
    workers : int
        Processes that load batches ahead, at most two each.  With 0, the default, batches
        are made when asked for, which is fastest for arrays in memory.
    device : {"cpu", "gpu"}, optional
        Where to put the batches, which have to be tuples of tensors then.  A batch travels
        through pinned memory while the one before it is computed with.

    Attributes
    ----------
    epoch : int
        Of the next loop; set it to resume a run.

    Raises
    ------
    OptionError
        If a size is not usable.
    UnknownNameError, DeviceError
        If there is no such device.
    DataError
        In the loop, if an example cannot be read (it is named, with the reason), or a
        worker dies.
    DtypeError
        In the loop, if the data set cannot be sent to workers.

    Notes
    -----
    Workers are fresh interpreters ("spawn") on every system, as Windows has nothing else
    and forking a process with threads is not safe.  Processes and not threads, because
    reading an example is mostly Python, of which one thread runs at a time.  They start in
    the first loop, with a copy of the data set, and end with the loader.

    Random changes to an example (augmentation) are best drawn from the functions of
    ``random`` or ``numpy.random``, which every worker seeds from ``seed``, the epoch and the
    batch.  A generator kept on the data set is copied into each worker, and all draw the same.
    """

    def __init__(self, dataset: Dataset, batch_size: int, shuffle: bool = False,
                 seed: int | None = None, drop_last: bool = False,
                 collate: Callable[[list[Any]], Any] = collate, workers: int = 0,
                 device: str | None = None) -> None:  # fmt: skip
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise OptionError("DataLoader", f"{name} is not usable", given=f"{name}={value}",
                                  expected=f"an integer of at least {least}")  # fmt: skip
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.seed: Any = np.random.SeedSequence(seed).entropy
        self.drop_last, self.collate, self.workers, self.epoch = drop_last, collate, workers, 0
        self.device = device and arrays.check_device(device, "DataLoader")
        self._pool: ProcessPoolExecutor | None = None

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch, size, order = self.epoch, self.batch_size, np.arange(len(self.dataset))
        self.epoch += 1
        if self.shuffle:
            spawned = np.random.SeedSequence(self.seed, spawn_key=(epoch,))
            order = np.random.default_rng(spawned).permutation(len(order))
        batches = [order[k * size : (k + 1) * size] for k in range(len(self))]
        if self.workers:
            made = self._in_workers(batches, epoch)
        else:
            made = (_load(self.dataset, self.collate, indices) for indices in batches)
        if self.device is None:
            return made
        there = arrays.ahead(map(_arrays, made), self.device)
        return (tuple(map(Tensor, batch)) for batch in there)

    def _in_workers(self, batches: list[Array], epoch: int) -> Iterator[Any]:
        pool, waiting = self._workers(), deque[Future[Any]]()
        try:
            for k, indices in enumerate(batches):
                waiting.append(pool.submit(_work, indices, self.seed, (epoch, k)))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            self._pool = None
            raise DataError("DataLoader", "a worker process ended before its work was done",
                            given=str(error),
                            fix="define the data set in a .py file (workers cannot see a "
                            "notebook's), start scripts under if __name__ == '__main__', see "
                            "that memory suffices, or use workers=0") from error  # fmt: skip
        finally:  # Also after break, Ctrl-C, or when the loop is thrown away.
            for each in waiting:
                each.cancel()

    def _workers(self) -> ProcessPoolExecutor:
        if self._pool is None:
            try:
                sent = pickle.dumps((self.dataset, self.collate))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise DtypeError("DataLoader", "the data set cannot be sent to worker processes",
                                 given=str(error),
                                 fix="use functions and classes from the top of a module, and "
                                 "open files on first use; or use workers=0") from error  # fmt: skip
            self._pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _start_worker,
                                             (sent,))  # fmt: skip
        return self._pool

    def close(self) -> None:
        """End the workers now; the next loop would start new ones."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
