"""The benchmark's arithmetic and its refusals.  How fast anything is, no test asserts."""

import io
import math

import numpy as np
import pytest

from workbench.compare import bench, peers, workloads
from workbench.compare.cases import Case, affine_shapes
from workbench.errors import install_line

PROMISED = "workload engine peer ratio_median ratio_min ratio_max threads device".split()


def test_a_row_has_the_promised_keys_and_an_ordered_ratio():
    (row,) = bench.run_bench(["import"], ["numpy"], 7)
    assert set(PROMISED) <= row.keys()
    assert row["missing"] is None
    assert 0 < row["ratio_min"] <= row["ratio_max"]
    assert math.isclose(row["ratio_median"], row["ours_seconds"] / row["peer_seconds"])


def test_ratios_are_ours_over_theirs_in_pairs(monkeypatch):
    clock = iter(np.cumsum(np.ones(10_000)))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(bench, "steps_in_a_batch", lambda run: 4 if run is ours else 1)

    def ours(steps):
        pass

    def theirs(steps):
        pass

    sides = {"ours": ours, "numpy": theirs}
    pairing = bench.Pairing("ours", "numpy", 0.5)
    monkeypatch.setitem(
        bench.WORKLOADS,
        "made",
        bench.WORKLOADS["import"].__class__("made", "", sides.__getitem__, (pairing,)),
    )
    row = bench.measure_pair("made", pairing, 7)
    # Each batch lasts one tick of this clock: 4 steps of ours, 1 step of theirs.
    assert row["ratio_median"] == row["ratio_min"] == row["ratio_max"] == 0.25


def test_a_missing_peer_is_a_row_that_says_how_to_install_it(monkeypatch):
    absent = peers.Peer("no_such_module_at_all")
    monkeypatch.setitem(peers.PEERS, "torch", absent)
    (row,) = bench.run_bench(["import"], ["torch"])
    assert row["ratio_median"] is None
    assert install_line("peers") in row["missing"]
    assert "[peers]" in render(bench.table([row]))


def render(table):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_memory_is_compared_in_bytes_from_a_run_that_builds_everything_anew(monkeypatch):
    kept = []

    def holding(mebibytes):
        def run(steps):
            kept.append(steps)
            np.ones(mebibytes << 20, np.uint8)

        return run

    sides = {"dynamic": holding(24), "numpy": holding(8)}
    pairing = bench.Pairing("dynamic", "numpy")
    workload = workloads.Workload("made", "", sides.__getitem__, (pairing,), memory=True)
    monkeypatch.setitem(bench.WORKLOADS, "made", workload)
    row = bench.measure_pair("made", pairing, 7)
    assert kept == [1, 2, 1, 2]  # Once unseen, then weighed.
    assert row["ours_seconds"] is row["peer_seconds"] is None
    assert math.isclose(row["ours_bytes"], 24 << 20, rel_tol=0.01)
    assert math.isclose(row["ratio_median"], 3, rel_tol=0.01)
    assert "24.0 MiB" in render(bench.table([row]))


@pytest.mark.parametrize("training", [workloads.LENET, workloads.CHAR_RNN])
def test_a_workload_that_is_no_case_trains(training):
    run = training("dynamic")
    assert float(run(3)) < float(training("dynamic")(1))
    assert math.isclose(float(training.anew("dynamic")(2)), float(training("dynamic")(2)))
    losses = [[float(side(1)) for _ in range(3)] for side in map(training, ("dynamic", "symbolic"))]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def sides(workload):
    """Return the engines and the installed peers of a workload."""
    pairings = workloads.WORKLOADS[workload].pairings
    names = dict.fromkeys(name for pair in pairings for name in (pair.engine, pair.peer))
    return [name for name in names if name not in peers.PEERS or not peers.PEERS[name].missing()]


def test_all_sides_of_char_rnn_train_alike():
    assert {"symbolic", "dynamic", "functional"} <= set(sides("char-rnn"))
    losses = []
    for run in map(workloads.CHAR_RNN, sides("char-rnn")):
        losses.append([float(run(1)) for _ in range(3)])
    assert len(set(losses[0])) == 3
    np.testing.assert_allclose(losses, [losses[0]] * len(losses), rtol=1e-5)


def test_all_sides_of_hvp_make_the_same_product():
    def product(side):
        return np.concatenate([np.ravel(np.asarray(part)) for part in workloads.hvp(side)(2)])

    assert {"symbolic", "dynamic", "functional"} <= set(sides("hvp"))
    expected = product("functional")
    for side in sides("hvp"):
        np.testing.assert_allclose(product(side), expected, rtol=1e-4, atol=1e-6)


def test_dispatch_calls_a_compiled_function_that_returns_its_argument():
    for side in sides("dispatch"):
        np.testing.assert_array_equal(workloads.dispatch(side)(3), np.linspace(0, 1, 10, dtype="f"))


def test_trees_train_alike_in_every_order_of_batching():
    losses = [
        float(workloads.trees(name)(2)) for name in ("agenda", "depth", "unbatched", "padding")
    ]
    np.testing.assert_allclose(losses, losses[-1], rtol=1e-5)


def test_every_engine_and_peer_that_is_installed_runs_a_step():
    for workload in ("mlp-tiny", "per-sample"):
        made = workloads.WORKLOADS[workload]
        for pairing in made.pairings:
            if peers.PEERS[pairing.peer].missing() is None:
                made.build(pairing.engine)(1)
                made.build(pairing.peer)(1)


@pytest.mark.parametrize("peer", [p for p in peers.TRAINING["mlp"] if p != "gemms"])
def test_a_peer_does_the_same_training_as_era_1(peer):
    if peers.PEERS[peer].missing():
        pytest.skip(peers.PEERS[peer].missing())
    case = Case("t", "", "mlp", "", affine_shapes(3, 5, 4), 6, 0.3, 1)
    weights = case.weights(np.float32)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((6, 3), dtype=np.float32), rng.integers(0, 4, 6)
    network = workloads.program(case, "manual").Network(weights, case.learning_rate)
    losses = [float(network.step(x, y)) for _ in range(4)]
    run = peers.TRAINING["mlp"][peer](weights, x, y, case.learning_rate)
    theirs = [float(run(1)) for _ in range(4)]
    np.testing.assert_allclose(theirs, losses, rtol=1e-5)


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_every_pairing_names_a_known_peer(name):
    assert {pairing.peer for pairing in workloads.WORKLOADS[name].pairings} <= peers.PEERS.keys()
