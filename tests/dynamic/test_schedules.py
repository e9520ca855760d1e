"""Schedules: their values, groups, resuming."""

import math

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import optim
from workbench.dynamic.optim import schedules
from workbench.errors import NotFiniteError, OptionError


def optimizer(*rates):
    groups = [
        {"params": [dynamic.tensor([1.0], requires_grad=True)], "lr": lr} for lr in rates or (1.0,)
    ]
    return optim.SGD(groups, lr=1.0)


@pytest.mark.parametrize(
    ("factor", "steps", "expected"),
    [
        (schedules.constant(), [0, 9], [1, 1]),
        (schedules.step(3, 0.5), [0, 2, 3, 5, 6], [1, 1, 0.5, 0.5, 0.25]),
        (schedules.exponential(0.9), [0, 1, 10], [1, 0.9, 0.9**10]),
        (schedules.cosine(8), [0, 2, 4, 8, 99], [1, (1 + 0.5**0.5) / 2, 0.5, 0, 0]),
        (schedules.cosine(8, floor=0.2), [0, 4, 8], [1, 0.6, 0.2]),
        (schedules.warmup(4), [0, 1, 3, 4, 9], [0.2, 0.4, 0.8, 1, 1]),
        (schedules.warmup(4, schedules.cosine(2)), [3, 4, 5, 6], [0.8, 1, 0.5, 0]),
        (schedules.one_cycle(10, 0.5), [0, 2, 4, 9, 99], [0.04, 0.52, 1, 4e-6, 4e-6]),
        (schedules.piecewise([2, 5], [1, 0.5, 0.1]), [0, 1, 2, 4, 5, 9], [1, 1, 0.5, 0.5, 0.1, 0.1]),
    ],
)  # fmt: skip
def test_factors(factor, steps, expected):
    np.testing.assert_allclose([factor(t) for t in steps], expected, rtol=1e-12, atol=1e-15)


def test_a_schedule_sets_every_groups_rate_and_resumes():
    sgd = optimizer(0.1, 0.01)
    schedule = optim.Schedule(sgd, schedules.warmup(3, schedules.step(2, 0.5)))
    seen = []
    for _ in range(6):
        seen.append([group["lr"] for group in sgd.param_groups])
        schedule.step()
    factors = [0.25, 0.5, 0.75, 1, 1, 0.5]
    np.testing.assert_allclose(seen, [[0.1 * f, 0.01 * f] for f in factors], rtol=1e-12)
    other = optimizer(5.0, 5.0)
    resumed = optim.Schedule(other, schedules.warmup(3, schedules.step(2, 0.5)))
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(3):
        assert [g["lr"] for g in other.param_groups] == [g["lr"] for g in sgd.param_groups]
        schedule.step()
        resumed.step()


def test_a_plateau_lowers_the_rate_after_patience_and_not_below_the_floor():
    sgd = optimizer(1.0, 0.3)
    plateau = optim.ReduceOnPlateau(sgd, factor=0.5, patience=1, threshold=0.1, floor=0.2)
    rates = []
    for loss in [4.0, 3.0, 2.9, 2.8, 2.0, 2.0, 1.9, 1.9, 1.9]:
        plateau.step(dynamic.tensor(loss))
        rates.append(sgd.lr)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]
    assert sgd.param_groups[1]["lr"] == 0.2
    other = optim.ReduceOnPlateau(optimizer(), 0.5, 1, 0.1)
    other.load_state_dict(plateau.state_dict())
    assert (other.best, other.bad) == (plateau.best, plateau.bad) == (2.0, 0)


def test_a_negative_loss_improves_by_falling():
    plateau = optim.ReduceOnPlateau(optimizer(), patience=0)
    for loss in (-1.0, -2.0, -3.0):
        plateau.step(loss)
    assert plateau.optimizer.lr == 1.0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: schedules.step(0), OptionError, "step: every is not usable"),
        (lambda: schedules.exponential(0.0), OptionError, "decay=0.0"),
        (lambda: schedules.cosine(-1), OptionError, "total=-1"),
        (lambda: schedules.warmup(0), OptionError, "steps=0"),
        (lambda: schedules.one_cycle(10, 1.0), OptionError, "a share of the steps"),
        (lambda: schedules.piecewise([3, 2], [1, 1, 1]), OptionError, "in ascending order"),
        (lambda: schedules.piecewise([3], [1]), OptionError, "one more than there are boundaries"),
        (lambda: optim.ReduceOnPlateau(optimizer(), factor=1), OptionError, "between 0 and 1"),
        (lambda: optim.ReduceOnPlateau(optimizer()).step(math.nan), NotFiniteError, "not a number"),
    ],
)  # fmt: skip
def test_refusals(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)
