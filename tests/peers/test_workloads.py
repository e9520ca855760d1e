"""The benchmarks' peers do the same work as we do, and their memory is counted right."""

import numpy as np
import pytest
import torch

from workbench.compare import peers, workloads

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("training", [workloads.MNIST, workloads.LENET, workloads.CHAR_RNN],
                         ids=lambda training: training.case.program)  # fmt: skip
def test_pytorch_trains_to_the_same_losses_as_we_do(training):
    mine, theirs = training("dynamic"), training("torch")
    losses = [(float(mine(1)), float(theirs(1))) for _ in range(5)]
    ours, pytorchs = zip(*losses, strict=True)
    np.testing.assert_allclose(ours, pytorchs, rtol=2e-5)


@pytest.mark.parametrize("peer", peers.CHAINS)
def test_a_chain_has_the_same_gradient(monkeypatch, peer):
    monkeypatch.setattr(workloads, "CHAIN_LENGTH", 1000)
    mine, theirs = workloads.chain("dynamic")(1), workloads.chain(peer)(1)
    np.testing.assert_allclose(mine.data, np.asarray(theirs), rtol=1e-5)


def test_pytorchs_peak_is_that_of_its_tensors_alive_at_once():
    def work():
        for _ in range(3):
            x = torch.empty(1 << 20, dtype=torch.uint8)
            y = x.clone()
            del x, y

    assert peers.torch_peak_bytes(work) == 2 << 20


def test_pytorchs_peak_counts_parameters_gradients_and_activations():
    a = np.zeros((300, 400), np.float32)
    start = workloads.MNIST.anew("torch")
    parameters = sum(w.nbytes for w in workloads.MNIST.case.weights(np.float32))
    peak = peers.torch_peak_bytes(lambda: start(2))
    assert 2 * parameters < peak < 3 * parameters
    assert peers.torch_peak_bytes(lambda: torch.from_numpy(a).clone()) == a.nbytes
