"""The tensor itself: making one, reading it, and where Python and NumPy meet it."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.errors import DeviceError, DtypeError, GraphError, ShapeError, UnknownNameError


def test_what_a_tensor_knows():
    t = dynamic.tensor([[1.0, 2.0, 3.0]], requires_grad=True, dtype=np.float32)
    assert (t.shape, t.ndim, t.size, t.dtype, t.device) == ((1, 3), 2, 3, np.float32, "cpu")
    assert (t.grad, t.node, t.requires_grad, len(t), t.version) == (None, None, True, 1, 0)
    assert not hasattr(t, "__dict__")


@pytest.mark.parametrize(
    ("data", "dtype"),
    [(1, np.int64), (1.5, np.float64), ([True], bool), (np.float32(2), np.float32),
     (np.arange(3, dtype=">f4"), np.float32), (dynamic.tensor([1.0]), np.float64)],
)  # fmt: skip
def test_dtypes_are_numpys(data, dtype):
    t = dynamic.tensor(data)
    assert t.dtype == dtype
    assert type(t.data) is np.ndarray
    assert t.data.dtype.isnative


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([1, 2], True), DtypeError,
         "only floating-point numbers have gradients\n"
         "  given:    dtype int64 with requires_grad=True\n"
         "  expected: float32 or float64\n"
         "  fix:      pass dtype=np.float32, or write 1.0 for 1"),
        (([True], True), DtypeError, "dtype bool with requires_grad=True"),
        ((["a"],), DtypeError, "dtype <U1"),
        (([1j],), DtypeError, "dtype complex128"),
        ((np.array(["2015"], "M8[Y]"),), DtypeError, "dtype datetime64[Y] on cpu"),
        (([[1.0], [1.0, 2.0]],), ShapeError, "not one block of numbers"),
        (([1.0], False, "tpu"), UnknownNameError, "there is no device called 'tpu'"),
    ],
)  # fmt: skip
def test_what_is_no_tensor(arguments, error, words):
    with pytest.raises(error) as caught:
        dynamic.tensor(*arguments)
    assert words in str(caught.value)


def test_a_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: "no GPU here")
    with pytest.raises(DeviceError, match="no GPU here"):
        dynamic.tensor(1.0, device="gpu")


def test_numbers_come_out():
    t = dynamic.tensor([[2.5]], requires_grad=True)
    assert (t.item(), float(t), int(t), bool(t)) == (2.5, 2.5, 2, True)
    assert [10, 20, 30][dynamic.tensor(1)] == 20
    with pytest.raises(DtypeError, match="only an integer can be an index"):
        [1, 2][dynamic.tensor(1.0)]
    for convert in (float, lambda t: t.item()):
        with pytest.raises(ShapeError, match=r"only a tensor of one element.*\n.*\(2,\)"):
            convert(dynamic.tensor([1.0, 2.0]))


def test_python_decides_on_values():
    x = dynamic.tensor(3.0, requires_grad=True)
    y = x
    while y < 100:
        y = y * x if y > 5 else y + x
    y.backward()  # 3, 6, 18, 54, 162 = 2 x^4.
    assert x.grad.item() == 8 * 27
    with pytest.raises(ShapeError, match="truth value of several elements is ambiguous"):
        bool(dynamic.tensor([1.0, 2.0]) > 1)


def test_iteration_and_length():
    x = dynamic.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first * second).sum().backward()
    assert x.grad.data.tolist() == [[3.0, 4.0], [1.0, 2.0]]
    for use in (len, list):
        with pytest.raises(ShapeError, match="without axes has no length"):
            use(dynamic.tensor(1.0))


def test_numpy_is_not_let_at_history():
    x = dynamic.tensor([1.0, 2.0], requires_grad=True)
    for use in (np.asarray, lambda t: np.concatenate([t, t])):
        with pytest.raises(GraphError) as caught:
            use(x * 1)
        assert "would lose its history" in str(caught.value)
    with pytest.raises(TypeError):
        np.sin(x)
    assert np.asarray(x.detach()).tolist() == [1.0, 2.0]
    assert (x * 1).numpy().tolist() == [1.0, 2.0]


def test_tensors_are_dictionary_keys_by_identity():
    a, b = dynamic.tensor([1.0, 2.0]), dynamic.tensor([1.0, 2.0])
    assert {a: 1, b: 2}[a] == 1


def test_repr_shows_what_differs_from_the_ordinary():
    x = dynamic.tensor([1.0, 2.0], requires_grad=True, dtype=np.float32)
    assert repr(x) == "tensor([1., 2.], dtype=float32, requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], dtype=float32, node=multiply)"
    assert repr(dynamic.tensor(1.0)) == "tensor(1.)"
