"""On a GPU: every op, training, transfers and mixed precision, held to the host's numbers.

``tests/conformance/test_device.py`` runs the same, without a GPU, on a stand-in.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
from device_cases import OPTIMIZERS, run, train
from table import ROWS

from workbench import arrays, dynamic
from workbench.dynamic import nn, ops, optim
from workbench.errors import DeviceError, OptionError

for path in sorted((Path(__file__).parents[1] / "conformance").glob("rows_*.py")):
    importlib.import_module(path.stem)

# Skipped by tests/conftest.py with arrays.gpu_problem() as the reason.
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", [r for r in ROWS if "dynamic" in r.eras], ids=lambda r: r.id)
def test_an_op_gives_the_hosts_numbers(row, dtype):
    """To a few hundred roundings: sums are taken in another order there."""
    found = zip(run(row, "gpu", dtype), run(row, "cpu", dtype), strict=True)
    for there, here in found:
        assert (there is None) == (here is None)
        if here is not None:
            assert there.device == "gpu"
            assert there.dtype == here.dtype
            largest = max(1.0, float(np.abs(here.data).max(initial=0)))
            limit = 1000 * np.finfo(dtype).eps * largest
            np.testing.assert_allclose(there.numpy(), here.data, rtol=limit, atol=limit)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_model_trains_as_on_the_host(name):
    there, optimizer = train("gpu", OPTIMIZERS[name])
    here, _ = train("cpu", OPTIMIZERS[name])
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    optimizer.load_state_dict(optimizer.state_dict())


def test_a_model_trains_in_mixed_precision_as_on_the_host():
    there, _ = train("gpu", OPTIMIZERS["SGD"], np.float16)
    here, _ = train("cpu", OPTIMIZERS["SGD"], np.float16)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=5e-3)


def test_a_model_trains_in_bfloat16():
    if problem := arrays.bfloat16_problem():
        pytest.skip(problem)
    there, _ = train("gpu", OPTIMIZERS["SGD"], "bfloat16")
    here, _ = train("cpu", OPTIMIZERS["SGD"])
    for a, b in zip(there, here, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=5e-2, atol=5e-2)


def test_a_bfloat16_tensor_is_made_and_differentiated():
    if problem := arrays.bfloat16_problem():
        pytest.skip(problem)
    x = dynamic.tensor([1.0, 2.0], device="gpu", requires_grad=True)
    y = x.to(np.dtype("bfloat16"))
    (g,) = dynamic.grad((y * y).sum(), x)
    assert (y.dtype.name, g.dtype) == ("bfloat16", x.dtype)
    np.testing.assert_array_equal(g.numpy(), [2, 4])


def test_a_step_of_training_reads_nothing_back():
    """A loss without labels to check, so CuPy is told to refuse every read."""
    import cupyx

    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(8, 16, rng), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2, rng))
    model.to("gpu")
    optimizer = optim.Adam(model.parameters())
    x = dynamic.tensor(rng.standard_normal((5, 8)).astype(np.float32), device="gpu")
    y = dynamic.tensor(rng.standard_normal((5, 2)).astype(np.float32), device="gpu")
    for allowed in (True, False):  # The first time kernels are compiled.
        with cupyx.allow_synchronize(allowed):
            optimizer.zero_grad()
            ops.mean_squared_error(model(x), y).backward()
            optimizer.step()
    with pytest.raises(cupyx.DeviceSynchronized), cupyx.allow_synchronize(False):
        x.numpy()


def test_batches_arrive_whole_however_far_ahead_they_were_copied():
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((256, 256)).astype(np.float32), np.array(k)) for k in range(20)]
    product = dynamic.tensor(np.eye(256, dtype=np.float32), device="gpu").data
    results = []
    for x, k in arrays.ahead(batches, "gpu"):
        for _ in range(20):  # Something for the copies to overlap with.
            x = x.dot(product)
        results.append((x, k))
    for (x, k), (expected, number) in zip(results, batches, strict=True):
        np.testing.assert_array_equal(x.get(), expected)
        assert k.get() == number


def test_pinned_and_ordinary_memory_are_copied_alike():
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((300, 200)))
    for source in (x, arrays.pin(x)):
        for non_blocking in (False, True):
            there = arrays.to_device(source, "gpu", non_blocking)
            np.testing.assert_array_equal(arrays.to_host(there), x)


def test_random_numbers_are_drawn_there_and_seeded():
    x = dynamic.tensor(np.ones(10_000, np.float32), device="gpu")
    a, b = (ops.dropout(x, 0.25, arrays.generator(3, "gpu")) for _ in range(2))
    assert a.device == "gpu"
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert abs((a.numpy() == 0).mean() - 0.25) < 0.03


def test_a_singular_matrix_and_a_mixture_of_devices_are_refused():
    with pytest.raises(OptionError, match="inv: a is singular"):
        ops.inv(dynamic.tensor(np.zeros((2, 2)), device="gpu"))
    with pytest.raises(DeviceError, match="different devices"):
        dynamic.tensor([1.0], device="gpu") + np.ones(1)
