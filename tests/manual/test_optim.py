from __future__ import annotations

import math

import numpy as np
import pytest

from workbench import manual as m
from workbench.errors import OptionError

# Each optimiser again, one number at a time, as its paper writes it.


def _sgd(p, gs):
    for g in gs:
        p = p - 0.1 * g
    return p


def _momentum(p, gs):
    v = 0.0
    for g in gs:
        v = 0.9 * v - 0.1 * g
        p = p + v
    return p


def _nesterov(p, gs):
    # Sutskever et al. take the gradient at p + mu v; we follow that point, so start there.
    v, theta = 0.0, p
    for g in gs:
        v = 0.9 * v - 0.1 * g
        theta = theta + v
        p = theta + 0.9 * v
    return p


def _adagrad(p, gs):
    s = 0.0
    for g in gs:
        s = s + g**2
        p = p - 0.1 * g / (math.sqrt(s) + 1e-10)
    return p


def _rmsprop(p, gs):
    s = 0.0
    for g in gs:
        s = 0.8 * s + 0.2 * g**2
        p = p - 0.1 * g / (math.sqrt(s) + 1e-8)
    return p


def _adam(p, gs):
    first = second = 0.0
    for t, g in enumerate(gs, 1):
        first = 0.7 * first + 0.3 * g
        second = 0.95 * second + 0.05 * g**2
        p = p - 0.1 * (first / (1 - 0.7**t)) / (math.sqrt(second / (1 - 0.95**t)) + 1e-3)
    return p


CASES = {
    "sgd": (lambda p: m.SGD(p, 0.1), _sgd),
    "momentum": (lambda p: m.SGD(p, 0.1, momentum=0.9), _momentum),
    "nesterov": (lambda p: m.SGD(p, 0.1, momentum=0.9, nesterov=True), _nesterov),
    "adagrad": (lambda p: m.Adagrad(p, 0.1), _adagrad),
    "rmsprop": (lambda p: m.RMSProp(p, 0.1, decay=0.8), _rmsprop),
    "adam": (lambda p: m.Adam(p, 0.1, beta1=0.7, beta2=0.95, epsilon=1e-3), _adam),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seven_steps_to_the_last_digits(name, dtype):
    build, reference = CASES[name]
    rng = np.random.default_rng(31)
    parameters = [
        m.Parameter(rng.standard_normal(s).astype(dtype), f"p{s}") for s in ((2, 3), (4,))
    ]
    values = [p.value for p in parameters]
    starts = [p.value.astype(np.float64) for p in parameters]
    gradients = [[rng.standard_normal(p.value.shape).astype(dtype) for _ in range(7)]
                 for p in parameters]  # fmt: skip
    optimizer = build(parameters)
    for step in range(7):
        for p, gs in zip(parameters, gradients, strict=True):
            p.gradient = gs[step].copy()
        optimizer.step()
        for p, gs in zip(parameters, gradients, strict=True):
            np.testing.assert_array_equal(p.gradient, gs[step])
    for p, value, start, gs in zip(parameters, values, starts, gradients, strict=True):
        assert p.value is value  # In place.
        assert value.dtype == dtype
        for index in np.ndindex(value.shape):
            expected = reference(float(start[index]), [float(g[index]) for g in gs])
            # A few roundings a step, of quantities of order 1.
            assert abs(value[index] - expected) < 7 * 8 * np.finfo(dtype).eps


def test_the_first_adam_step_is_the_learning_rate_whatever_the_gradient():
    for scale in (1e-3, 1e3):
        p = m.Parameter(np.zeros(2), "p")
        optimizer = m.Adam([p], 0.01)
        p.gradient = np.array([scale, -scale])
        optimizer.step()
        np.testing.assert_allclose(p.value, [-0.01, 0.01], rtol=2e-5)


def test_a_parameter_without_a_gradient_stays():
    for build, _ in CASES.values():
        p = m.Parameter(np.ones(2), "p")
        build([p]).step()
        np.testing.assert_array_equal(p.value, [1, 1])


def test_the_learning_rate_may_change_between_steps():
    p = m.Parameter(np.zeros(1), "p")
    optimizer = m.SGD([p], 0.5)
    p.gradient = np.ones(1)
    optimizer.step()
    optimizer.learning_rate = 0.25
    optimizer.step()
    np.testing.assert_array_equal(p.value, [-0.75])


def _p():
    return [m.Parameter(np.zeros(1), "p")]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: m.SGD(_p(), 0), "SGD: learning_rate is not usable"),
        (lambda: m.SGD(_p(), float("nan")), "SGD: learning_rate is not usable"),
        (lambda: m.SGD(_p(), 0.1, momentum=1.0), "SGD: momentum is not usable"),
        (lambda: m.SGD(_p(), 0.1, nesterov=True), "SGD: nesterov needs a momentum"),
        (lambda: m.RMSProp(_p(), 0.1, decay=1), "RMSProp: decay is not usable"),
        (lambda: m.RMSProp(_p(), 0.1, epsilon=0), "RMSProp: epsilon is not usable"),
        (lambda: m.Adagrad(_p(), -0.1), "Adagrad: learning_rate is not usable"),
        (lambda: m.Adagrad(_p(), 0.1, epsilon=-1), "Adagrad: epsilon is not usable"),
        (lambda: m.Adam(_p(), beta1=1.0), "Adam: beta1 is not usable"),
        (lambda: m.Adam(_p(), beta2=-0.1), "Adam: beta2 is not usable"),
        (lambda: m.Adam(_p(), epsilon=0), "Adam: epsilon is not usable"),
        (lambda: m.SGD([], 0.1), "SGD: there are no parameters"),
        (lambda: m.SGD(_p()[0], 0.1), "SGD: parameters is a single Parameter"),
        (lambda: m.SGD(3, 0.1), "SGD: parameters is not a list"),
        (lambda: m.SGD([np.zeros(2)], 0.1), r"SGD: parameters\[0\] is not a Parameter"),
        (lambda: m.SGD(_p() * 2, 0.1), r"SGD: parameters\[1\] stands in the list twice"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_a_refused_hyperparameter_says_what_would_do():
    with pytest.raises(OptionError) as caught:
        m.SGD(_p(), -1)
    assert str(caught.value) == (
        "SGD: learning_rate is not usable\n"
        "  given:    learning_rate=-1\n"
        "  expected: a finite number above 0"
    )
