"""Data sets, batches, and the processes that load them."""

import gc
import os
import pickle
import random
import time

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic.data import DataLoader, Subset, TensorDataset, random_split
from workbench.errors import DataError, DtypeError, OptionError, ShapeError, UnknownNameError


class Squares:
    """Examples that are read one by one."""

    def __init__(self, n, bad=None):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError("no such picture")
        return {"x": np.full(2, index**2), "process": os.getpid()}


class Global(Squares):
    def __getitem__(self, index):
        return np.random.random(), random.random()  # noqa: NPY002


class Dying(Squares):
    def __getitem__(self, index):
        os._exit(3)


class Slow(Squares):
    def __getitem__(self, index):
        time.sleep(0.01)
        return index


def columns(n=10):
    return np.arange(n * 2.0).reshape(n, 2), np.arange(n)


def test_a_tensor_dataset_gives_batches_of_tensors_in_order():
    x, y = columns()
    loader = DataLoader(TensorDataset(x, dynamic.tensor(y)), batch_size=4)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert all(isinstance(part, dynamic.Tensor) for batch in batches for part in batch)
    np.testing.assert_array_equal(np.concatenate([b[0].data for b in batches]), x)
    assert [len(b[1]) for b in batches] == [4, 4, 2]
    assert batches[0][1].dtype == y.dtype
    dropped = DataLoader(TensorDataset(x), 4, drop_last=True)
    assert [len(each) for (each,) in dropped] == [4, 4]
    assert len(dropped) == 2
    assert list(DataLoader(TensorDataset(x[:0]), 4)) == []


def test_batches_of_a_tensor_dataset_are_one_indexing_each():
    class Counting(np.ndarray):
        calls = 0

        def __getitem__(self, index):
            Counting.calls += 1
            return super().__getitem__(index)

    dataset = TensorDataset(np.arange(100.0).view(Counting))
    subset = Subset(Subset(dataset, range(99, -1, -1)), range(0, 100, 2))
    (batch,) = next(iter(DataLoader(subset, 50)))
    assert Counting.calls == 1
    np.testing.assert_array_equal(batch.data, np.arange(99, 0, -2.0))


def test_each_epoch_has_its_own_order_and_a_seed_repeats_them():
    x = np.arange(50)

    def epochs(seed, **more):
        loader = DataLoader(TensorDataset(x), 8, shuffle=True, seed=seed, **more)
        return [np.concatenate([b.data for (b,) in loader]).tolist() for _ in range(2)]

    first, second = epochs(3)
    assert sorted(first) == sorted(second) == x.tolist()
    assert first != second
    assert epochs(3) == [first, second]
    assert epochs(4) != [first, second]
    assert epochs(None) != epochs(None)
    loader = DataLoader(TensorDataset(x), 50, shuffle=True, seed=3)
    loader.epoch = 1
    assert next(iter(loader))[0].data.tolist() == second
    unseeded = DataLoader(TensorDataset(x), 50, shuffle=True)
    again = DataLoader(TensorDataset(x), 50, shuffle=True, seed=unseeded.seed)
    assert next(iter(unseeded))[0].data.tolist() == next(iter(again))[0].data.tolist()


def test_examples_are_collated_by_their_structure():
    examples = [(1.5, {"a": np.ones(2, np.float32), "b": dynamic.tensor(k)}, "n") for k in range(3)]
    numbers, arrays, names = next(iter(DataLoader(examples, 3)))
    assert numbers.data.tolist() == [1.5] * 3
    assert (arrays["a"].shape, arrays["a"].dtype) == ((3, 2), np.float32)
    assert arrays["b"].data.tolist() == [0, 1, 2]
    assert names == ["n"] * 3
    assert list(DataLoader([1, 2, 3], 2, collate=sum)) == [3, 3]
    with pytest.raises(ShapeError, match=r"given:    \(1,\), \(2,\)"):
        list(DataLoader([np.ones(1), np.ones(2)], 2))


def test_workers_change_nothing_but_who_does_the_work():
    def epochs(workers):
        loader = DataLoader(Squares(20), 3, shuffle=True, seed=5, workers=workers)
        return [list(loader) for _ in range(2)]

    alone, together = epochs(0), epochs(2)
    for one, two in zip(alone, together, strict=True):
        assert len(one) == len(two) == 7
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a["x"].data, b["x"].data)
            assert os.getpid() not in b["process"].data


def test_global_generators_in_workers_differ_and_follow_the_seed():
    state, legacy = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    loaders = [DataLoader(Global(6), 2, seed=1, workers=2) for _ in range(2)]
    drawn = [[(a.data.tolist(), b.data.tolist()) for a, b in loader] for loader in loaders]
    assert drawn[0] == drawn[1]
    assert len({number for a, b in drawn[0] for number in a + b}) == 12
    assert random.getstate() == state
    assert np.random.get_state()[1].tolist() == legacy  # noqa: NPY002
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_example_that_fails_is_named(workers):
    loader = DataLoader(Subset(Squares(9, bad=4), [8, 4, 1]), 3, workers=workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value) == (
        "DataLoader: example 4 could not be read\n  given:    KeyError: 'no such picture'"
    )
    assert "no such picture" in str(caught.value.__cause__)
    loader.dataset.dataset.bad = None
    if not workers:
        assert len(list(loader)) == 1
    loader.close()


def test_workers_survive_a_break_and_end_with_the_loader():
    loader = DataLoader(Slow(1000), 1, workers=2)
    for batch in loader:
        assert batch.data.tolist() == [0]
        break
    assert next(iter(loader)).data.tolist() == [0]
    processes = list(loader._pool._processes.values())
    assert all(process.is_alive() for process in processes)
    del loader
    gc.collect()
    until = time.monotonic() + 20
    for process in processes:  # The pool's own thread may be the one that sees it end.
        while process.is_alive() and time.monotonic() < until:
            time.sleep(0.05)
        assert not process.is_alive()


def test_a_worker_that_dies_is_reported_and_the_loader_recovers():
    loader = DataLoader(Dying(3), 1, workers=1)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert "a worker process ended before its work was done" in str(caught.value)
    assert "or use workers=0" in str(caught.value)
    loader.dataset = Slow(2)
    assert [batch.item() for batch in loader] == [0, 1]
    loader.close()
    loader.close()


def test_a_dataset_that_cannot_travel_is_refused():
    loader = DataLoader([1, 2], 2, collate=lambda examples: examples, workers=1)
    with pytest.raises(DtypeError) as caught:
        next(iter(loader))
    assert "the data set cannot be sent to worker processes" in str(caught.value)
    assert "use functions and classes from the top of a module" in str(caught.value)


def test_tensors_travel():
    t = pickle.loads(pickle.dumps(dynamic.tensor([1.0, 2.0])))
    assert (t.data.tolist(), t.requires_grad, t.node, t.grad) == ([1.0, 2.0], False, None, None)


def test_a_random_split_covers_everything_once():
    dataset = TensorDataset(*columns(10))
    parts = random_split(dataset, [7, 0, 3], seed=0)
    assert [len(part) for part in parts] == [7, 0, 3]
    indices = np.concatenate([part.indices for part in parts])
    assert sorted(indices.tolist()) == list(range(10))
    assert indices.tolist() != list(range(10))
    assert parts[2][0][1] == parts[2].indices[0]
    again = random_split(dataset, [7, 0, 3], seed=0)
    np.testing.assert_array_equal(parts[0].indices, again[0].indices)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: TensorDataset(np.ones(2), np.ones(3)), ShapeError, "given:    (2,), (3,)"),
        (lambda: TensorDataset(), ShapeError, "given:    no arrays"),
        (lambda: TensorDataset(np.float64(1)), ShapeError, "arrays (N, ...)"),
        (lambda: DataLoader([1], 0), OptionError, "batch_size is not usable"),
        (lambda: DataLoader([1], 1, workers=-1), OptionError, "an integer of at least 0"),
        (lambda: random_split([1, 2], [1, 2]), OptionError, "lengths [1, 2], 3 in all"),
    ],
)
def test_refusals(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_batches_can_be_put_on_a_device():
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    plain = DataLoader(TensorDataset(x, y), 2, shuffle=True, seed=0)
    there = DataLoader(TensorDataset(x, y), 2, shuffle=True, seed=0, device="cpu")
    for a, b in zip(plain, there, strict=True):
        assert type(b) is tuple
        for one, other in zip(a, b, strict=True):
            assert type(other) is dynamic.Tensor
            np.testing.assert_array_equal(one.data, other.data)
    with pytest.raises(UnknownNameError, match="tpu"):
        DataLoader(TensorDataset(x), 2, device="tpu")
    with pytest.raises(DataError, match="only tuples of tensors can be put on a device"):
        next(iter(DataLoader([{"x": 1.0}] * 3, 2, device="cpu")))
