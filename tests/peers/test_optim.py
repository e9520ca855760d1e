"""Fifty steps of every optimiser and schedule beside PyTorch's, in float64."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import optim
from workbench.dynamic.optim import schedules

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

SHAPES = [(3, 4), (4,), (4, 2), (2,)]


CASES = [
    (optim.SGD, torch.optim.SGD, {"lr": 0.1}),
    (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (optim.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, torch.optim.Adam, {"lr": 0.05}),
    (optim.Adam, torch.optim.Adam, {"lr": 0.05, "betas": (0.5, 0.9), "weight_decay": 0.1}),
    (optim.AdamW, torch.optim.AdamW, {"lr": 0.05}),
    (optim.RMSProp, torch.optim.RMSprop, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.Adagrad, torch.optim.Adagrad, {"lr": 0.1}),
    (optim.Adadelta, torch.optim.Adadelta, {"lr": 1.0, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_fifty_steps(ours, theirs, options):
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal(shape) for shape in SHAPES]
    p = [dynamic.tensor(a, requires_grad=True) for a in starts]
    q = [torch.tensor(a, requires_grad=True) for a in starts]
    groups = [{"params": slice(0, 2)}, {"params": slice(2, 4), "lr": 0.02, "weight_decay": 0.05}]
    one = ours([{**g, "params": p[g["params"]]} for g in groups], **options)
    two = theirs([{**g, "params": q[g["params"]]} for g in groups], **options)
    for t in range(50):
        for a, b in zip(p, q, strict=True):
            g = rng.standard_normal(a.shape)
            a.grad, b.grad = dynamic.tensor(g), torch.tensor(g)
        if t % 7 == 3:  # Some parameters miss a step now and then.
            p[1].grad = q[1].grad = p[2].grad = q[2].grad = None
        one.step()
        two.step()
    for a, b in zip(p, q, strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_lbfgs_reaches_the_same_minimum():
    start = np.linspace(-1.2, 1.5, 6)
    x, y = dynamic.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    one = optim.LBFGS([x])
    two = torch.optim.LBFGS([y], line_search_fn="strong_wolfe", tolerance_change=0)

    def closure_of(optimizer, z):
        def closure():
            optimizer.zero_grad()
            value = (100 * (z[1:] - z[:-1] * z[:-1]) ** 2 + (1 - z[:-1]) ** 2).sum()
            value.backward()
            return value

        return closure

    for _ in range(10):
        one.step(closure_of(one, x))
        two.step(closure_of(two, y))
    np.testing.assert_allclose(x.data, y.detach().numpy(), rtol=1e-9)


RATES = [
    (schedules.step(7, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5)),
    (schedules.exponential(0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    (schedules.cosine(49, 0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 49, 0.1)),
    (schedules.one_cycle(50), lambda o: torch.optim.lr_scheduler.OneCycleLR(
        o, 1.0, total_steps=50, cycle_momentum=False)),
    (schedules.piecewise([10, 30], [1, 0.1, 0.01]),
     lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 30], 0.1)),
]  # fmt: skip


@pytest.mark.parametrize(("factor", "theirs"), RATES)
def test_fifty_rates(factor, theirs):
    one = optim.SGD([dynamic.tensor([1.0], requires_grad=True)], lr=1.0)
    two = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    ours, scheduler = optim.Schedule(one, factor), theirs(two)
    for _ in range(49):
        assert one.lr == pytest.approx(two.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        two.step()
        scheduler.step()
        ours.step()


def test_clipping():
    rng = np.random.default_rng(0)
    p = [dynamic.tensor(np.ones(shape), requires_grad=True) for shape in SHAPES]
    q = [torch.ones(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    for a, b in zip(p, q, strict=True):
        g = rng.standard_normal(a.shape)
        a.grad, b.grad = dynamic.tensor(g), torch.tensor(g)
    for limit in (100.0, 1.5):
        norm = torch.nn.utils.clip_grad_norm_(q, limit).item()
        assert optim.clip_grad_norm(p, limit) == pytest.approx(norm, rel=1e-14)
        for a, b in zip(p, q, strict=True):
            np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-14)
