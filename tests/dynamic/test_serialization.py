"""Saving and loading: round trips, and refusals in words."""

import json
import pickle

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import nn, ops, optim
from workbench.dynamic.serialization import load, load_metadata, save
from workbench.errors import DataError, DtypeError, OptionError

DTYPES = [np.float16, np.float32, np.float64, np.int8, np.uint64, np.bool_]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_come_back_bit_for_bit(dtype, shape, tmp_path):
    array = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    values = {"a": array, "t": dynamic.tensor(array) if dtype != np.float16 else array}
    path = save(tmp_path / "x.safetensors", values)
    assert path == tmp_path / "x.safetensors"
    for found in load(path).values():
        assert (found.dtype, found.shape, found.requires_grad) == (dtype, shape, False)
        np.testing.assert_array_equal(found.data, array)


def test_layout_does_not_matter_and_what_is_loaded_can_be_edited(tmp_path):
    path = tmp_path / "new" / "x.safetensors"
    turned, strided = np.arange(6.0).reshape(2, 3).T, np.arange(8.0)[::2]
    save(path, {"turned": turned, "strided": strided, "swapped": strided.astype(">f8")})
    found = load(path)
    np.testing.assert_array_equal(found["turned"].data, turned)
    np.testing.assert_array_equal(found["strided"].data, strided)
    np.testing.assert_array_equal(found["swapped"].data, strided)
    found["turned"] += 1
    np.testing.assert_array_equal(found["turned"].data, turned + 1)


def test_nested_names_and_words(tmp_path):
    path = tmp_path / "x.safetensors"
    state = {"model": {"0.w": np.ones(2), "deep": {"b": np.zeros(1)}}, "modelling": np.ones(1)}
    save(path, state, {"note": "fürs Archiv", "epoch": 3})
    assert set(load(path)) == {"model.0.w", "model.deep.b", "modelling"}
    assert set(load(path, "model")) == {"0.w", "deep.b"}
    assert load_metadata(path) == {"note": "fürs Archiv", "epoch": "3"}
    with pytest.raises(OptionError) as caught:
        load(path, "mode")
    assert "holds nothing under 'mode'\n  given:    names under model, modelling" in str(
        caught.value
    )
    save(path, {"a": np.ones(1)})
    assert load_metadata(path) == {}


def test_a_saved_run_resumes_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((32, 5)).astype(np.float32), rng.integers(0, 3, 32)

    def fresh(seed):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(5, 7, rng), nn.Tanh(), nn.Linear(7, 3, rng))
        adam = optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
        return model, adam, optim.Schedule(adam, optim.schedules.cosine(20))

    def train(model, adam, schedule, steps):
        for _ in range(steps):
            adam.zero_grad()
            loss = ops.softmax_cross_entropy(model(x), labels)
            loss.backward()
            adam.step()
            schedule.step()
        return loss.item()

    one = fresh(1)
    train(*one, 6)
    path = tmp_path / "run.safetensors"
    weights = dict(one[0].named_parameters())
    save(path, {"model": weights, "adam": one[1].state_dict(), "lr": one[2].state_dict()})
    two = fresh(2)
    loaded = load(path, "model")
    for name, p in two[0].named_parameters():
        p.data = loaded[name].data
    two[1].load_state_dict(load(path, "adam"))
    two[2].load_state_dict(load(path, "lr"))
    assert train(*one, 6) == train(*two, 6)
    for p, q in zip(one[0].parameters(), two[0].parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({"a": {"lr": 0.1}}, DtypeError, "'a.lr' is not a tensor or an array\n  given:    float 0.1"),
        ({"a": 0.1}, DtypeError, "convert numbers and lists of them with np.asarray"),
        ({"a": [np.ones(1)]}, DtypeError, "name the items of other lists in a dict"),
        ({"a": "words"}, DtypeError, "put it in metadata"),
        ({"a": None}, DtypeError, "given:    NoneType None"),
        ({1: {"b": np.ones(1)}}, DtypeError, "a name is text\n  given:    1"),
        ({"a": {"b": np.ones(1)}, "a.b": np.ones(1)}, OptionError, "have one name\n  given:    'a.b'"),
        ({"a": np.ones(1) + 1j}, DtypeError, "dtype of 'a'\n  given:    complex128"),
        ({"a": np.array(["x"])}, DtypeError, "dtype of 'a'\n  given:    <U1"),
    ],
)  # fmt: skip
def test_what_is_no_array_is_refused_and_leaves_the_file_alone(state, error, words, tmp_path):
    path = tmp_path / "x.safetensors"
    save(path, {"a": np.ones(1)})
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        save(path, state)
    assert words in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "x"
    ran = []

    class Trap:
        def __reduce__(self):
            return ran.append, (1,)

    def refusal(content):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            load(path)
        return str(caught.value)

    save(path, {"a": np.arange(3.0)})
    whole = path.read_bytes()
    for cut in (0, 4, 20, len(whole) - 1):
        assert "not a whole safetensors file\n  given:    " in (words := refusal(whole[:cut]))
        assert f"{cut} bytes" in words
        assert "copy or save it again" in words
    assert "could run any code" in refusal(pickle.dumps(Trap()))
    assert ran == []
    np.savez(tmp_path / "y.npz", a=np.ones(1))
    assert "NumPy's .npz, or what torch.save writes" in refusal((tmp_path / "y.npz").read_bytes())
    np.save(tmp_path / "y.npy", np.ones(1))
    assert "read it with numpy.load" in refusal((tmp_path / "y.npy").read_bytes())
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(DtypeError, match=r"holds a dtype that NumPy has not\n  given:    'BF16'"):
        load(path)
    with pytest.raises(DataError, match="No such file"):
        load(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path)
