"""Every op of ``dynamic`` on the GPU's stand-in: the host's numbers, and nothing read back.

The stand-in refuses whatever CuPy does not have, and a mixture of devices; see
``cupy_stand_in.py``.  On a GPU, ``tests/dynamic/test_gpu.py`` runs the same with CuPy.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
from cupy_stand_in import DeviceArray, installed, reads, stand_in
from device_cases import OPTIMIZERS, run, train
from table import ROWS

from workbench import arrays, dynamic
from workbench.dynamic import ops
from workbench.errors import DeviceError, OptionError

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)

READING = {
    **dict.fromkeys(
        ("argwhere", "nonzero", "compress", "getitem", "index_update"),
        "how much a condition holds for decides on the shape",
    ),
    **dict.fromkeys(
        ("inv", "solve", "cholesky", "det", "slogdet", "pinv", "eigh", "eigvalsh", "svd",
         "svdvals", "matrix_power"),
        "the solver's status; and whether values repeat, where vectors have no gradient then",
    ),
    **dict.fromkeys(
        ("embedding", "softmax_cross_entropy", "cross_entropy", "nll_loss", "multi_margin_loss", "rnn", "lstm",
         "gru", "binary_cross_entropy", "scaled_dot_product_attention"),
        "whether labels, lengths, probabilities or masks are what they should be",
    ),
}  # fmt: skip
"""The ops that read something back to the host, each with what and why."""


DYNAMIC = [row for row in ROWS if "dynamic" in row.eras]

CASES = [pytest.param(row, id=row.id) for row in DYNAMIC]


@pytest.fixture
def gpu():
    with installed(*stand_in()) as cupy:
        yield cupy


@pytest.mark.parametrize("row", CASES)
def test_the_gpu_gives_the_hosts_numbers(row, gpu):
    expected = run(row, "cpu")
    assert not reads
    found = run(row, "gpu")
    assert not reads or row.name in READING
    for there, here in zip(found, expected, strict=True):
        assert (there is None) == (here is None)
        if here is not None:
            assert type(there.data) is DeviceArray
            assert there.dtype == here.dtype
            np.testing.assert_allclose(there.numpy(), here.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", READING)
def test_what_is_said_to_read_does(name, gpu):
    for row in DYNAMIC:
        if row.name == name:
            run(row, "gpu")
    assert reads


def test_a_mixture_of_devices_is_refused(gpu):
    x = dynamic.tensor(np.ones(3, np.float32), device="gpu")
    with pytest.raises(DeviceError) as caught:
        x + np.ones(3, np.float32)
    assert 'fix:      move one of them: x.to("gpu")' in str(caught.value)
    with pytest.raises(TypeError):
        np.asarray(x.data)


def test_a_tensor_goes_there_and_its_gradient_comes_back(gpu):
    x = dynamic.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.to("gpu", np.float16, non_blocking=True)
    assert (y.device, y.dtype, gpu.log) == ("gpu", np.float16, ["queued"])
    assert y.to("gpu") is y
    (y * y).sum().backward()
    assert (x.grad.device, x.grad.dtype) == ("cpu", np.float64)
    np.testing.assert_array_equal(x.grad.data, [2, 4, 6])


def test_a_loader_puts_its_batches_there(gpu):
    x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    loader = dynamic.data.DataLoader(dynamic.data.TensorDataset(x, y), 2, device="gpu")
    batches = list(loader)
    assert {each.device for batch in batches for each in batch} == {"gpu"}
    np.testing.assert_array_equal(np.concatenate([rows.numpy() for rows, _ in batches]), x)


def test_a_singular_matrix_is_refused_there_too(gpu):
    with pytest.raises(OptionError, match="inv: a is singular"):
        ops.inv(dynamic.tensor(np.zeros((2, 2)), device="gpu"))


def test_dropout_draws_where_its_generator_is(gpu):
    x = dynamic.tensor(np.ones(100, np.float32), device="gpu")
    y = ops.dropout(x, 0.5, arrays.generator(0, "gpu"))
    assert type(y.data) is DeviceArray
    assert "queued" not in gpu.log
    assert set(y.numpy()) == {0, 2}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_model_trains_there_as_on_the_host(name, gpu):
    there, optimizer = train("gpu", OPTIMIZERS[name])
    here, _ = train("cpu", OPTIMIZERS[name])
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    optimizer.load_state_dict(optimizer.state_dict())


def test_a_model_trains_in_mixed_precision_there(gpu):
    there, _ = train("gpu", OPTIMIZERS["Adam"], np.float16)
    here, _ = train("cpu", OPTIMIZERS["Adam"], np.float16)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("half", "expected"), [(None, 1), (np.float16, 2)])
def test_a_step_reads_back_what_is_documented_and_nothing_else(half, expected, gpu):
    """Whether the labels are classes; in mixed precision also whether gradients are finite."""
    parameters, _ = train("gpu", OPTIMIZERS["SGD"], half, steps=1)
    assert reads[-len(parameters) :] == ["get"] * len(parameters)  # To return them.
    assert len(reads) == expected + len(parameters)
