import numpy as np
import pytest

from workbench.datasets import digits, embedded, mnist_subset, shakespeare
from workbench.errors import DataError, DtypeError, OptionError

IMAGES = [(digits, 1500, 297, 8, 16), (mnist_subset, 5000, 1000, 28, 255)]


@pytest.mark.parametrize(("load", "train", "test", "side", "white"), IMAGES)
@pytest.mark.parametrize("dtype", [np.float32, "float64"])
def test_images_are_scaled_to_the_unit_interval(load, train, test, side, white, dtype):
    data = load(dtype)
    assert data.x_train.shape == (train, side * side)
    assert data.x_test.shape == (test, side * side)
    assert data.y_train.shape == (train,)
    assert data.y_test.shape == (test,)
    for x in (data.x_train, data.x_test):
        assert x.dtype == dtype
        assert (x.min(), x.max()) == (0, 1)
        counts = np.rint(x * white)
        # Each pixel is the quotient that the dtype gives, rounded once.
        assert np.array_equal(x, counts.astype(dtype) / np.dtype(dtype).type(white))
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert set(data.y_train) == set(data.y_test) == set(range(10))
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize(("load", "train", "test", "side", "white"), IMAGES)
def test_images_for_convolution_are_the_same_pixels(load, train, test, side, white):
    flat, images = load(), load(images=True)
    assert images.x_train.shape == (train, 1, side, side)
    assert images.x_test.shape == (test, 1, side, side)
    assert np.array_equal(images.x_train.reshape(train, -1), flat.x_train)
    assert np.array_equal(images.x_test.reshape(test, -1), flat.x_test)


@pytest.mark.parametrize("load", [digits, mnist_subset])
def test_writing_to_what_was_returned_spoils_nothing(load):
    first = load()
    expected = {part: getattr(first, part).copy() for part in ("x_train", "y_train", "x_test")}
    for part in expected:
        getattr(first, part)[:] = 7
    again = load()
    for part, array in expected.items():
        assert np.array_equal(getattr(again, part), array)


def test_the_raw_arrays_behind_them_are_read_only():
    digits()
    with pytest.raises(ValueError, match="read-only"):
        embedded._arrays("digits")["images"][0, 0, 0] = 1


def test_digits_train_and_test_share_no_row():
    data = digits()
    with np.load(embedded.FOLDER / "digits.npz") as file:
        images, labels, test = file["images"].reshape(1797, 64), file["labels"], file["test"]
    train = np.setdiff1d(np.arange(1797), test)
    assert np.array_equal(data.x_train * 16, images[train])
    assert np.array_equal(data.y_train, labels[train])
    assert np.array_equal(data.x_test * 16, images[test])
    assert np.array_equal(data.y_test, labels[test])


def test_a_linear_model_reads_them():
    """Pixels and labels belong together: least squares on them already reads digits."""
    for load in (digits, mnist_subset):
        data = load("float64")
        x = np.c_[data.x_train, np.ones(len(data.x_train))]
        w = np.linalg.lstsq(x, np.eye(10)[data.y_train], rcond=None)[0]
        guess = (np.c_[data.x_test, np.ones(len(data.x_test))] @ w).argmax(axis=1)
        assert (guess == data.y_test).mean() > 0.78


@pytest.mark.parametrize("load", [digits, mnist_subset])
@pytest.mark.parametrize("dtype", ["int64", "float16", "nonsense", int])
def test_other_dtypes_are_refused(load, dtype):
    with pytest.raises(DtypeError, match=rf"^{load.__name__}: a floating dtype is needed here"):
        load(dtype)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "File is not a zip file"),
        (b"not an archive", "File is not a zip file"),
        (b"PK\x03\x04 torn", "File is not a zip file"),
    ],
)
def test_a_damaged_installation_says_so(tmp_path, monkeypatch, content, reason):
    if content is not None:
        (tmp_path / "digits.npz").write_bytes(content)
    check_damage(tmp_path, monkeypatch, "digits", digits, reason)


def test_a_flipped_bit_in_the_embedded_images_is_noticed(tmp_path, monkeypatch):
    content = bytearray((embedded.FOLDER / "digits.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "digits.npz").write_bytes(content)
    check_damage(tmp_path, monkeypatch, "digits", digits, "")


def test_a_missing_text_says_so(tmp_path, monkeypatch):
    check_damage(tmp_path, monkeypatch, "shakespeare", shakespeare, "No such file or directory")


def check_damage(folder, monkeypatch, name, load, reason):
    monkeypatch.setattr(embedded, "FOLDER", folder)
    for cache in (embedded._arrays, embedded._text):
        cache.cache_clear()
    try:
        with pytest.raises(DataError) as caught:
            load()
    finally:
        for cache in (embedded._arrays, embedded._text):
            cache.cache_clear()
    start = f"{name}: the embedded file {embedded.FILES[name]} cannot be read: "
    assert str(caught.value).startswith(start)
    assert reason in caught.value.problem
    assert caught.value.fix == "install framework-history-workbench again"


def test_text_as_numbers_and_back():
    data = shakespeare()
    assert data.train.dtype == data.test.dtype == np.int64
    assert len(data.train) + len(data.test) == len(data.text) == 154_469
    assert len(data.test) == 15_446
    assert data.decode(data.train) + data.decode(data.test) == data.text
    assert "".join(sorted(set(data.text))) == data.vocabulary
    assert np.array_equal(data.encode(data.text), np.concatenate([data.train, data.test]))
    assert data.decode(data.encode("Hear me speak.")) == "Hear me speak."
    assert data.encode("").shape == (0,)
    assert data.decode([]) == ""
    assert data.decode(iter([0, 1])) == "\n "


def test_writing_to_the_numbers_spoils_nothing():
    data = shakespeare()
    expected = data.train.copy()
    data.train[:] = 0
    assert np.array_equal(shakespeare().train, expected)


@pytest.mark.parametrize("part", ["train", "test"])
def test_windows_are_the_text_and_the_text_one_later(part):
    data = shakespeare()
    tokens = getattr(data, part)
    x, y = data.windows(32, part)
    assert x.shape == y.shape == (len(tokens) - 32, 32)
    for i in (0, 1000, len(x) - 1):
        assert np.array_equal(x[i], tokens[i : i + 32])
        assert np.array_equal(y[i], tokens[i + 1 : i + 33])
    assert np.shares_memory(x, tokens)
    assert data.windows(len(tokens) - 1, part)[0].shape == (1, len(tokens) - 1)


def test_text_refusals():
    data = shakespeare()
    with pytest.raises(OptionError, match=r"shakespeare\.encode: a character is not in") as caught:
        data.encode("Größe")
    assert caught.value.given == "'ß', 'ö'"
    with pytest.raises(OptionError, match=r"shakespeare\.decode: a number is outside") as caught:
        data.decode([3, 61])
    assert (caught.value.given, caught.value.expected) == ("numbers 3 to 61", "0 to 60")
    with pytest.raises(OptionError, match=r"given: +numbers -1 to 3"):
        data.decode([3, -1])
    with pytest.raises(DtypeError, match="characters are numbered by integers"):
        data.decode([0.5])
    with pytest.raises(OptionError, match="there is no such part"):
        data.windows(3, "valid")
    with pytest.raises(OptionError, match="the stretch is longer than the text"):
        data.windows(len(data.test), "test")
    with pytest.raises(OptionError, match="length is not usable"):
        data.windows(0)


def test_text_shows_what_it_is():
    assert repr(shakespeare()) == (
        "Text('shakespeare', train: (139023,) int64, test: (15446,) int64, 61 characters)"
    )
