"""Who disagrees is named, with where; nobody else is."""

import numpy as np
import pytest

from workbench.compare.agreement import gradient_differences, loss_disagreements, tolerance

ERAS = ("manual", "symbolic", "dynamic", "functional")


def test_tolerances_are_what_the_readme_promises():
    assert tolerance("float64") == 1e-9
    assert tolerance(np.float32) == 1e-4


def curves(**changes):
    base = [2.0, 1.5, 1.0, 0.5]
    return {era: changes.get(era, base) for era in ERAS}


def test_equal_curves_agree():
    assert loss_disagreements(curves(), 1e-9) == []


def test_the_era_that_leaves_is_named_with_its_first_step():
    lines = loss_disagreements(curves(dynamic=[2.0, 1.5, 1.0 + 3e-9, 0.7]), 1e-9)
    assert len(lines) == 1
    assert lines[0].startswith("dynamic: loss 1.000000003 at step 3, where the eras' median is 1:")
    assert lines[0].endswith("3.0e-09 apart (tolerance 1e-09)")


def test_a_difference_just_inside_the_tolerance_is_agreement():
    assert loss_disagreements(curves(symbolic=[2.0, 1.5, 1.0 + 0.9e-9, 0.5]), 1e-9) == []


def test_nan_is_never_agreement():
    assert loss_disagreements(curves(manual=[2.0, float("nan"), 1.0, 0.5]), 1e-9)


def gradients(change=None):
    g = np.arange(1.0, 7.0).reshape(2, 3)
    each = {era: [g.copy()] for era in ERAS}
    if change:
        change(each)
    return gradient_differences(each, [(np.arange(6), g.reshape(-1))], ["w1"], 1e-9)


def test_equal_gradients_agree():
    from_numeric, from_eras, lines = gradients()
    assert lines == []
    assert set(from_numeric.values()) == set(from_eras.values()) == {0.0}


def test_a_wrong_gradient_is_named_with_parameter_and_index():
    def change(each):
        each["functional"][0][1, 2] += 6e-6  # The largest derivative is 6.

    from_numeric, from_eras, lines = gradients(change)
    assert from_numeric["functional"] == pytest.approx(1e-6)
    assert from_numeric["manual"] == 0
    assert from_eras["manual"] == pytest.approx(1e-6)
    assert lines == [
        "functional: gradient of w1 differs from the numeric check by 1.0e-06 "
        "(tolerance 1e-09), most at [1, 2]",
        "functional: gradient of w1 differs from the other eras by 1.0e-06 (tolerance 1e-09)",
    ]


def test_gradients_of_different_shapes_are_a_disagreement():
    def change(each):
        each["dynamic"][0] = each["dynamic"][0].reshape(3, 2)

    assert "the eras return different shapes: manual (2, 3)" in gradients(change)[2][-1]


def test_all_eras_wrong_together_are_caught_by_the_numeric_check():
    def change(each):
        for era in ERAS:
            each[era][0] = each[era][0] * 2

    assert len(gradients(change)[2]) == len(ERAS)
