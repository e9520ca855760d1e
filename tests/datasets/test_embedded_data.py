"""The embedded files are what their licence notes say they are."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from workbench.datasets import embedded, full_mnist


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def raw(name):
    with np.load(embedded.FOLDER / embedded.FILES[name]) as file:
        return dict(file)


def first_of_each_class(labels, counts, seed):
    """Rows, ascending: of each class, the first so many in a seeded permutation."""
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == label][:n] for label, n in enumerate(counts)]
    return np.sort(np.concatenate(chosen))


def test_every_file_has_its_licence_beside_it():
    for path in embedded.FOLDER.iterdir():
        if not path.name.endswith(".LICENSE.txt"):
            note = path.with_name(path.stem + ".LICENSE.txt").read_text(encoding="utf-8")
            assert note.startswith(path.name + "\n")
            for word in ("Title", "Author", "Origin", "Licence", "Changes"):
                assert re.search(rf"^{word}", note, re.MULTILINE), (path.name, word)


def test_every_file_is_known():
    stored = {path.name for path in embedded.FOLDER.iterdir()}
    notes = {Path(name).stem + ".LICENSE.txt" for name in embedded.FILES.values()}
    assert stored == notes | set(embedded.FILES.values())


def test_together_they_stay_small():
    assert sum(path.stat().st_size for path in embedded.FOLDER.iterdir()) < 1_300_000


def test_digits_are_the_published_ones():
    data = raw("digits")
    assert data["images"].shape == (1797, 8, 8)
    assert data["images"].dtype == data["labels"].dtype == np.uint8
    assert (data["images"].min(), data["images"].max()) == (0, 16)
    # Counts by class as the repository's page of the data set lists them.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(data["labels"]).tolist() == counts
    assert sha256(data["images"]) == (
        "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert sha256(data["labels"]) == (
        "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )


def test_digits_split_is_the_one_its_note_describes():
    data = raw("digits")
    rows = first_of_each_class(data["labels"], [30] * 7 + [29] * 3, seed=1998)
    assert np.array_equal(data["test"], rows)
    assert len(rows) == 297


def test_mnist_subset_counts_range_and_checksums():
    data = raw("mnist_subset")
    for part, n, images, labels in (
        (
            "train",
            5000,
            "57a6c19664e17e27a8bd71a063c3592d88127ab70491d895f76483c1c0f0f9c5",
            "07618f785b0afc089a8ec830702110387c89991c6b5b9968f715fc003f024865",
        ),
        (
            "test",
            1000,
            "e7f134770587ba380fc22eef9d05c69b32a539974c3cd8fb2dcbf10793316e05",
            "0505e3d4e326f5fe885af3b26017ded9347ef24a10cb17fa31e05d8ec3c84b47",
        ),
    ):
        pixels = data[f"{part}_images"]
        assert pixels.shape == (n, 28, 28)
        assert pixels.dtype == np.uint8
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert np.bincount(data[f"{part}_labels"]).tolist() == [n // 10] * 10
        assert len(np.unique(data[f"{part}_rows"])) == n
        assert (sha256(pixels), sha256(data[f"{part}_labels"])) == (images, labels)


def test_mnist_subset_lies_in_full_mnist_where_its_note_says():
    folder = full_mnist.own_folder()
    if folder is None:
        pytest.skip(f"compares with full MNIST: set {full_mnist.VARIABLE} to its folder")
    data = raw("mnist_subset")
    for part, prefix, count, seed in (("train", "train", 500, 1998), ("test", "t10k", 100, 1999)):
        images, labels = (
            full_mnist.read_idx(full_mnist.read_verified(folder / f"{prefix}-{kind}-ubyte.gz"))
            for kind in ("images-idx3", "labels-idx1")
        )
        rows = first_of_each_class(labels, [count] * 10, seed)
        assert np.array_equal(data[f"{part}_rows"], rows)
        assert np.array_equal(data[f"{part}_images"], images[rows])
        assert np.array_equal(data[f"{part}_labels"], labels[rows])


def test_shakespeare_is_one_whole_play():
    text = (embedded.FOLDER / "shakespeare.txt").read_text(encoding="ascii")
    assert len(text) == 154_469
    assert len(set(text)) == 61
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n")
    assert text.endswith("Yet he shall have a noble memory. Assist.\n")
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "275be51ae4b9460c2407a17f8900649300f63bb90c8bf53a5fd88cff6b07297f"
    )
