"""Comparisons that run, comparisons that are refused, and runs that go wrong."""

import dataclasses

import numpy as np
import pytest

from workbench import compare, datasets
from workbench.compare import runner
from workbench.errors import DeviceError, DtypeError, NotFiniteError, OptionError, UnknownNameError

PROMISED = (
    "case era dtype device max_gradient_difference final_loss accuracy "
    "first_result_seconds step_seconds_median peak_bytes user_lines graph_size"
).split()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", compare.CASES)
def test_the_four_eras_agree(name, dtype):
    result = compare.run(name, steps=40, dtype=dtype)
    assert result.agree, result.disagreements
    assert list(result.losses) == list(compare.ERAS)
    for row in result.rows:
        assert set(PROMISED) <= row.keys()
        assert 0 <= row["max_gradient_difference"] <= result.tolerance
        assert row["dtype"] == dtype
        assert row["peak_bytes"] > 0
        assert row["user_lines"] > 0
        assert len(result.losses[row["era"]]) == 40
        assert (row["graph_size"] > 0) == (row["era"] != "manual")
    assert min(row["step_ratio"] for row in result.rows) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"),
    [("digits-mlp", 0.95), ("logistic", 0.93), ("mnist-mlp", 0.91), ("digits-cnn", 0.93)],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_whole_run_learns_and_still_agrees(name, least, dtype):
    result = compare.run(name, dtype=dtype)
    assert result.agree, result.disagreements
    assert all(row["accuracy"] > least for row in result.rows)
    if dtype == "float64":  # In float32 rounding may decide an example on the border.
        assert len({row["accuracy"] for row in result.rows}) == 1


def test_eras_can_be_chosen_and_come_in_historical_order():
    result = compare.run("logistic", ["functional", "manual"], steps=2)
    assert [row["era"] for row in result.rows] == ["manual", "functional"]


def test_progress_is_told_after_each_block_and_reaches_the_total():
    calls = []
    compare.run("logistic", ["manual"], steps=45, progress=lambda *call: calls.append(call))
    assert calls == [("manual", 20, 45), ("manual", 40, 45), ("manual", 45, 45)]


def test_the_same_case_twice_gives_the_same_losses():
    first, second = (compare.run("digits-cnn", ["dynamic"], steps=5).losses for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "digit-mlp"}, UnknownNameError, "did you mean 'digits-mlp'?"),
        ({"eras": ["dinamic"]}, UnknownNameError, "did you mean 'dynamic'?"),
        ({"eras": []}, OptionError, "no era was chosen"),
        ({"steps": 0}, OptionError, "steps=0"),
        ({"steps": 2.5}, OptionError, "steps=2.5"),
        ({"dtype": "float16"}, DtypeError, "expected: float32 or float64"),
        ({"dtype": "flout32"}, DtypeError, "given:    'flout32'"),
        ({"device": "tpu"}, UnknownNameError, "one of cpu, gpu"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments, error, message):
    with pytest.raises(error) as caught:
        compare.run(**({"name": "logistic"} | arguments))
    assert message in str(caught.value)


def test_a_gpu_that_is_not_there_is_refused_with_what_would_bring_it(monkeypatch):
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: "CuPy is not installed: pip ...")
    with pytest.raises(DeviceError, match="CuPy is not installed"):
        compare.run("logistic", device="gpu")


@pytest.mark.parametrize("era", compare.ERAS)
def test_nan_in_the_data_stops_the_run_and_names_era_step_and_layer(era, monkeypatch):
    load = datasets.load
    case = compare.case("digits-mlp")
    data = load("digits", dtype="float64", images=False)
    # Spoil one example of the third batch, wherever the seeded order puts it.
    marked = np.arange(len(data.x_train))
    third = list(datasets.batches(data.x_train, marked, case.batch_size, seed=case.seed, steps=3))[
        2
    ]
    x = np.array(data.x_train)
    x[third[1][0], 5] = np.nan
    spoilt = dataclasses.replace(data, x_train=x)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: spoilt)
    with pytest.raises(NotFiniteError) as caught:
        compare.run("digits-mlp", [era], steps=10)
    assert f"the loss of era {era!r} is not finite at step 3" in str(caught.value)
    assert "the input batch holds nan at [0, 5], the first of 1" in str(caught.value)


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn"])
def test_a_run_that_diverges_names_the_first_layer_that_is_not_finite(name, monkeypatch):
    wild = dataclasses.replace(compare.case(name), learning_rate=1e308)
    monkeypatch.setitem(compare.CASES, name, wild)
    with pytest.raises(NotFiniteError) as caught:
        compare.run(name, ["dynamic"], steps=50)
    message = str(caught.value)
    assert "the loss of era 'dynamic' is not finite at step" in message
    assert any(layer in message for layer in ("parameter", "affine", "convolution", "logits"))


def test_a_wrong_era_is_found_out(monkeypatch):
    program = runner.program(compare.case("digits-mlp"), "dynamic")
    step = program.Network.step

    def slower(network, x, y):
        network.optimizer.lr = 0.5 * (1 + 1e-6)
        return step(network, x, y)

    monkeypatch.setattr(program.Network, "step", slower)
    result = compare.run("digits-mlp", steps=5)
    assert not result.agree
    assert [line.split(":")[0] for line in result.disagreements] == ["dynamic"]
    assert "at step 2" in result.disagreements[0]


@pytest.mark.gpu
@pytest.mark.parametrize("era", compare.ERAS)
def test_the_gpu_agrees_with_the_cpu(era):
    on_cpu = compare.run("digits-mlp", [era], steps=20)
    on_gpu = compare.run("digits-mlp", [era], steps=20, device="gpu")
    np.testing.assert_allclose(on_gpu.losses[era], on_cpu.losses[era], rtol=1e-9)
