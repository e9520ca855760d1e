"""The era as a whole: what it exports, and what every public name owes its reader."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from workbench import manual

PAIRS = [n for n in manual.__all__ if n.endswith("_backward")]


@pytest.mark.parametrize("backward", PAIRS)
def test_every_backward_stands_right_under_its_forward(backward):
    first = getattr(manual, backward.removesuffix("_backward"))
    second = getattr(manual, backward)
    assert list(inspect.signature(second).parameters)[:2] == ["g", "cache"]
    assert inspect.getsourcefile(first) == inspect.getsourcefile(second)
    lines, start = inspect.getsourcelines(first)
    assert inspect.getsourcelines(second)[1] - (start + len(lines)) <= 3


def test_all_names_exist_and_say_what_they_are():
    assert len(PAIRS) == 18
    for name in manual.__all__:
        assert getattr(manual, name).__doc__


def test_layers_and_pairs_agree_on_one_whole_step():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((8, 5)), rng.integers(0, 3, 8)
    layers = [manual.Affine(5, 4, rng=rng, dtype=np.float64), manual.Tanh(),
              manual.Affine(4, 3, rng=rng, dtype=np.float64)]  # fmt: skip
    model, loss = manual.Sequential(*layers), manual.SoftmaxCrossEntropy()
    value = loss.forward(model.forward(x), labels)
    model.backward(loss.backward())
    w1, b1, w2, b2 = (p.value for p in model.parameters())
    a, cache1 = manual.affine(x, w1, b1)
    h, cache2 = manual.tanh(a)
    logits, cache3 = manual.affine(h, w2, b2)
    expected, cache4 = manual.softmax_cross_entropy(logits, labels)
    dh, dw2, db2 = manual.affine_backward(
        manual.softmax_cross_entropy_backward(1.0, cache4), cache3
    )
    _, dw1, db1 = manual.affine_backward(manual.tanh_backward(dh, cache2), cache1)
    assert value == expected
    for p, gradient in zip(model.parameters(), (dw1, db1, dw2, db2), strict=True):
        np.testing.assert_array_equal(p.gradient, gradient)
