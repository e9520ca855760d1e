"""Full MNIST by every road, on small files of the same format and a server of our own.

The checksums are replaced by those of the small files; the real ones are held to
the real files by the test at the end, where there are any.
"""

import errno
import gzip
import hashlib
import http.server
import os
import socket
import struct
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from workbench.datasets import describe, full_mnist, mnist
from workbench.errors import DataError, DtypeError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = full_mnist.FILES


def small_files():
    rng = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte.gz"] = struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28)
        files[f"{part}-images-idx3-ubyte.gz"] += images.tobytes()
        files[f"{part}-labels-idx1-ubyte.gz"] = struct.pack(">4BI", 0, 0, 8, 1, n)
        files[f"{part}-labels-idx1-ubyte.gz"] += labels.tobytes()
    return files


CONTENT = small_files()
PACKED = {name: gzip.compress(content, mtime=0) for name, content in CONTENT.items()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; a value may also say how to misbehave."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.files.get(self.path)
        if answer is None:
            self.send_error(404)
            return
        body, missing = answer if isinstance(answer, tuple) else (answer, 0)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two mirrors, an empty cache, and the checksums of the small files."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {f"/{m}/{n}": data for m in ("one", "two") for n, data in PACKED.items()}
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        root = f"http://127.0.0.1:{server.server_address[1]}"
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
        monkeypatch.setattr(full_mnist, "FILES", sums)
        monkeypatch.setattr(full_mnist, "MIRRORS", (f"{root}/one/", f"{root}/two/"))
        monkeypatch.delenv(full_mnist.VARIABLE, raising=False)
        for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        yield SimpleNamespace(server=server, cache=tmp_path / "cache", tmp=tmp_path)
        server.shutdown()
        thread.join()


def load(world, **options):
    return mnist(cache=world.cache, progress=False, **options)


def cached(world):
    folder = world.cache / "mnist"
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "README.txt"}


def go_offline(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mirrors = (f"http://127.0.0.1:{port}/one/", f"http://localhost:{port}/two/")
    monkeypatch.setattr(full_mnist, "MIRRORS", mirrors)


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def check(data):
    assert data.x_train.shape == (20, 784)
    assert data.x_test.shape == (10, 784)
    pixels = np.frombuffer(CONTENT[TRAIN_IMAGES], np.uint8, offset=16).reshape(20, 784)
    assert np.array_equal(data.x_train, pixels.astype(np.float32) / np.float32(255))
    assert data.y_train.tolist() == [i % 10 for i in range(20)]
    assert data.y_test.tolist() == list(range(10))
    assert data.y_train.dtype == data.y_test.dtype == np.int64


def test_a_download_is_cached_and_not_repeated(world):
    check(load(world))
    assert world.server.asked == [f"/one/{name}" for name in CONTENT]
    assert cached(world) == PACKED
    check(load(world))
    assert len(world.server.asked) == 4


def test_images_dtype_and_arrays_of_the_callers_own(world):
    data = load(world, dtype="float64", images=True)
    assert data.x_train.shape == (20, 1, 28, 28)
    assert data.x_train.dtype == np.float64
    data.x_train[:] = data.y_train[:] = 0
    check(load(world))


def test_a_wrong_dtype_is_refused_before_anything_is_fetched(world):
    with pytest.raises(DtypeError, match="mnist: a floating dtype is needed here"):
        load(world, dtype="int8")
    assert world.server.asked == []


def test_the_bar_counts_the_bytes_on_standard_error(world, capsys):
    check(mnist(cache=world.cache))
    assert capsys.readouterr().out == ""
    with full_mnist._bars(True) as bars:
        bar = full_mnist._Bar(bars, "file")
        assert (bar.total, bars.tasks[0].total) == (0, None)
        bar.total = 100
        bar.update(30)
        bar.update(30)
        assert (bar.total, bars.tasks[0].total, bars.tasks[0].completed) == (100, 100, 60)
        bar.reset()
        bar.update(100)
        assert bars.tasks[0].finished
        bar.close()
        assert not bars.tasks[0].visible


def test_a_server_that_undoes_the_compression_serves_too(world):
    for name, content in CONTENT.items():
        world.server.files[f"/one/{name}"] = content
    check(load(world))
    check(load(world))
    assert len(world.server.asked) == 4


@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b"<html>log in to the campus network</html>",
        PACKED[TRAIN_IMAGES][:-20],
        (PACKED[TRAIN_IMAGES][:-20], 20),
        PACKED[TRAIN_IMAGES][:100] + b"\0" * 50 + PACKED[TRAIN_IMAGES][150:],
        PACKED[TEST_IMAGES],
        gzip.compress(CONTENT[TRAIN_IMAGES][:-1] + b"\x07"),
    ],
    ids=["404", "empty", "portal", "cut", "broken off", "damaged", "other file", "one pixel"],
)
def test_a_bad_file_at_the_first_mirror_comes_from_the_second(world, bad):
    world.server.files[f"/one/{TRAIN_IMAGES}"] = bad
    check(load(world))
    assert world.server.asked[:2] == [f"/one/{TRAIN_IMAGES}", f"/two/{TRAIN_IMAGES}"]
    assert cached(world) == PACKED


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (None, "HTTP status 404"),
        (b"<html>", "not MNIST's file, or damaged"),
        (PACKED[TRAIN_IMAGES][:-20], "cut short"),
        ((PACKED[TRAIN_IMAGES][:-20], 20), "the connection broke off"),
        (PACKED[TRAIN_IMAGES][:100] + b"\0" * 50 + PACKED[TRAIN_IMAGES][150:], "damaged"),
    ],
    ids=["404", "portal", "cut", "broken off", "damaged"],
)
def test_bad_files_at_every_mirror_leave_nothing_behind(world, bad, reason):
    for mirror in ("one", "two"):
        world.server.files[f"/{mirror}/{TRAIN_IMAGES}"] = bad
    with pytest.raises(DataError) as caught:
        load(world)
    assert f"127.0.0.1: {reason}; 127.0.0.1: {reason}" in str(caught.value)
    assert cached(world) == {}


def test_offline_is_one_line_that_says_what_to_use(world, monkeypatch):
    go_offline(monkeypatch)
    with pytest.raises(DataError) as caught:
        load(world)
    assert str(caught.value) == (
        "mnist: train-images-idx3-ubyte.gz cannot be downloaded (127.0.0.1: no connection; "
        "localhost: no connection): use datasets.mnist_subset(), which is embedded, or set "
        "WORKBENCH_DATA to a folder that holds MNIST's four .gz files"
    )
    assert cached(world) == {}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.ConnectTimeout(), "no answer in 20 s"),
        (requests.exceptions.SSLError(), "its certificate is not trusted here"),
        (requests.TooManyRedirects(), "TooManyRedirects"),
    ],
)
def test_reasons_are_a_few_words(error, reason):
    assert full_mnist._reason(error) == reason


def test_a_silent_mirror_is_given_up(world, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(full_mnist, "MIRRORS", (first, full_mnist.MIRRORS[0]))
        monkeypatch.setattr(full_mnist, "TIMEOUT", 0.05)
        check(load(world))


def test_what_was_complete_before_the_connection_broke_is_kept(world, monkeypatch):
    for mirror in ("one", "two"):
        del world.server.files[f"/{mirror}/{TEST_IMAGES}"]
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz cannot be downloaded"):
        load(world)
    kept = {name: PACKED[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)}
    assert cached(world) == kept
    world.server.files[f"/one/{TEST_IMAGES}"] = PACKED[TEST_IMAGES]
    world.server.asked.clear()
    check(load(world))
    assert world.server.asked == [f"/one/{name}" for name in (TEST_IMAGES, TEST_LABELS)]


@pytest.mark.parametrize("bad", [b"", b"junk", PACKED[TEST_LABELS][:-1], PACKED[TRAIN_LABELS]])
def test_a_bad_cached_file_is_fetched_again(world, bad):
    load(world)
    world.server.asked.clear()
    write(world.cache / "mnist", {TEST_LABELS: bad})
    check(load(world))
    assert world.server.asked == [f"/one/{TEST_LABELS}"]
    assert cached(world) == PACKED


def test_a_bad_cached_file_offline_is_not_trusted(world, monkeypatch):
    load(world)
    write(world.cache / "mnist", {TEST_LABELS: b"junk"})
    go_offline(monkeypatch)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be downloaded"):
        load(world)


def test_ctrl_c_during_a_download_leaves_nothing_and_says_so(world, monkeypatch, capsys):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        mnist(cache=world.cache, progress=True)
    assert caught.value.__notes__ == [
        "mnist: the download of train-images-idx3-ubyte.gz was interrupted; nothing was stored"
    ]
    assert cached(world) == {}
    monkeypatch.undo()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_cache_that_cannot_be_written_is_found_out_before_the_download(world, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError) as caught:
        load(world)
    assert caught.value.problem == (
        f"cannot write {world.cache / 'mnist' / 'README.txt'}: {os.strerror(code)}"
    )
    assert caught.value.fix.endswith(
        "pass another folder as cache=, or set WORKBENCH_DATA to a folder that holds "
        "MNIST's four .gz files"
    )
    assert world.server.asked == []
    assert list((world.cache / "mnist").iterdir()) == []


def test_a_disk_that_fills_up_during_the_download_keeps_no_half_file(world, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:  # The note and one file still fit.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        load(world)
    assert f"{TRAIN_LABELS}: No space left on device" in caught.value.problem
    assert caught.value.fix.startswith("free some space there, or pass another folder")
    assert cached(world) == {TRAIN_IMAGES: PACKED[TRAIN_IMAGES]}


def test_a_cache_below_a_file_is_refused(world):
    world.cache.write_text("in the way")
    with pytest.raises(DataError, match="a part of that path is a file, not a folder"):
        load(world)
    assert world.server.asked == []


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_a_folder_of_ones_own_comes_first(world, monkeypatch, subfolder):
    recompressed = {name: gzip.compress(data, 1) for name, data in CONTENT.items()}
    write(world.tmp / "own" / subfolder, recompressed)
    monkeypatch.setenv("WORKBENCH_DATA", str(world.tmp / "own"))
    check(load(world))
    assert world.server.asked == []
    assert not world.cache.exists()


def test_a_folder_of_ones_own_without_mnist_is_passed_over(world, monkeypatch):
    write(world.tmp / "own", {"other.txt": b""})
    monkeypatch.setenv("WORKBENCH_DATA", str(world.tmp / "own"))
    check(load(world))
    assert len(world.server.asked) == 4


def test_an_empty_variable_counts_as_unset(world, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", "")
    assert full_mnist.own_folder() is None


def test_a_folder_of_ones_own_that_does_not_exist_is_refused(world, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(world.tmp / "typo"))
    with pytest.raises(DataError) as caught:
        load(world)
    assert str(caught.value) == (
        "mnist: WORKBENCH_DATA names no folder\n"
        f"  given:    WORKBENCH_DATA={world.tmp / 'typo'}\n"
        "  fix:      set it to an existing folder, or unset it"
    )


def test_a_folder_of_ones_own_with_some_files_is_refused(world, monkeypatch):
    own = world.tmp / "own"
    write(own, {TRAIN_IMAGES: PACKED[TRAIN_IMAGES], TEST_LABELS: PACKED[TEST_LABELS]})
    monkeypatch.setenv("WORKBENCH_DATA", str(own))
    with pytest.raises(DataError, match="has only some of MNIST's files") as caught:
        load(world)
    assert caught.value.expected == f"also {TRAIN_LABELS}, {TEST_IMAGES}"
    assert world.server.asked == []


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (PACKED[TEST_IMAGES][:-9], "is cut short"),
        (b"", "is not MNIST's file, or damaged"),
        (PACKED[TRAIN_IMAGES], "is not MNIST's file, or damaged"),
    ],
)
def test_a_bad_file_of_ones_own_is_named_and_left_alone(world, monkeypatch, bad, problem):
    own = world.tmp / "own"
    write(own, {**PACKED, TEST_IMAGES: bad})
    monkeypatch.setenv("WORKBENCH_DATA", str(own))
    with pytest.raises(DataError) as caught:
        load(world)
    assert caught.value.problem == f"{own / TEST_IMAGES} {problem}"
    assert caught.value.fix == "get that file again, or unset WORKBENCH_DATA"
    assert (own / TEST_IMAGES).read_bytes() == bad
    assert world.server.asked == []


def test_a_file_that_expands_without_end_is_not_expanded(world, monkeypatch):
    monkeypatch.setattr(full_mnist, "_LARGEST", 100_000)
    bomb = gzip.compress(bytes(10_000_000))
    content, problem = full_mnist._unpack(TRAIN_IMAGES, bomb)
    assert (content, problem) == (b"", "not MNIST's file, or damaged")


def last(world, **options):
    (place,) = (each for each in describe(cache=world.cache) if each.name == "mnist")
    return place


def test_the_doctor_sees_every_state(world, monkeypatch):
    place = last(world)
    assert (place.where, place.size, place.problem) == ("not downloaded", 0, None)
    assert place.fix == (
        "call workbench.datasets.mnist() while online, or set WORKBENCH_DATA to a folder "
        "that holds MNIST's four .gz files"
    )

    load(world)
    place = last(world)
    assert place.where == f"cached in {world.cache / 'mnist'}"
    assert place.size == sum(map(len, PACKED.values()))
    assert (place.problem, place.fix) == (None, None)

    write(world.cache / "mnist", {TEST_LABELS: b"junk"})
    place = last(world)
    path = world.cache / "mnist" / TEST_LABELS
    assert place.problem == f"{path} is not MNIST's file, or damaged"
    assert place.fix == ("call workbench.datasets.mnist() while online: it fetches the file again")

    own = world.tmp / "own"
    write(own, PACKED)
    monkeypatch.setenv("WORKBENCH_DATA", str(own))
    assert (last(world).where, last(world).problem) == (f"WORKBENCH_DATA={own}", None)

    write(own, {TEST_LABELS: b"junk"})
    place = last(world)
    assert place.problem == f"{own / TEST_LABELS} is not MNIST's file, or damaged"
    assert place.fix == "get that file again, or unset WORKBENCH_DATA"

    monkeypatch.setenv("WORKBENCH_DATA", str(own / "typo"))
    place = last(world)
    assert place.where == f"WORKBENCH_DATA={own / 'typo'}"
    assert place.problem == "WORKBENCH_DATA names no folder"


def test_an_unreadable_file_is_reported(world, monkeypatch):
    load(world)
    real = full_mnist.Path.read_bytes

    def refuse(path):
        if path.name == TRAIN_LABELS:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(full_mnist.Path, "read_bytes", refuse)
    path = world.cache / "mnist" / TRAIN_LABELS
    assert last(world).problem == f"cannot read {path}: Permission denied"


def test_the_real_files_have_the_checksums_in_the_code():
    try:
        folder = full_mnist.own_folder()
    except DataError as error:
        pytest.fail(str(error))
    if folder is None:
        pytest.skip(f"reads full MNIST: set {full_mnist.VARIABLE} to its folder")
    data = mnist()
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    # Counts by class as published with the data.
    assert np.bincount(data.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(data.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
