"""Charts: what is drawn is what was measured."""

import re

import numpy as np
import pytest

from workbench import gradcheck
from workbench.errors import OptionError, ShapeError
from workbench.views import charts, loss_curves


def test_loss_curves_hold_the_losses_and_their_differences():
    losses = {"manual": [2.0, 1.0, 0.5], "dynamic": [2.0, 1.0, 0.5 * (1 + 1e-12)]}
    picture = loss_curves(losses)
    left, right = picture.axes
    drawn = {line.get_label(): line.get_ydata() for line in left.lines}
    assert {era: list(values) for era, values in drawn.items()} == losses
    apart = right.lines[0].get_ydata()
    assert apart[0] == 0
    assert apart[2] == pytest.approx(1e-12, rel=1e-3)
    assert right.get_ylim()[1] > apart.max()
    assert "differ by at most 1.0e-12" in picture.alt
    for axes in picture.axes:
        assert axes.get_xlabel() == "step"
        assert axes.get_ylabel()
        assert axes.get_legend()


def test_one_era_alone_is_drawn_too():
    assert loss_curves({"manual": [1.0]}).png().startswith(b"\x89PNG")


def test_losses_that_cannot_be_compared_are_refused():
    with pytest.raises(OptionError, match="nothing to draw"):
        loss_curves({})
    with pytest.raises(OptionError, match="nothing to draw"):
        loss_curves({"manual": []})
    with pytest.raises(ShapeError, match="different numbers of steps") as caught:
        loss_curves({"manual": [1.0], "dynamic": [1.0, 2.0]})
    assert caught.value.given == "manual 1, dynamic 2"


@pytest.fixture
def curve():
    return gradcheck.error_curve(np.sin, 1.0, float(np.cos(1.0)))


def test_an_error_curve_holds_the_errors_on_logarithmic_axes(curve):
    picture = charts.error_curve(curve, 2.2e-16, "sin")
    axes = picture.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    for method, errors in curve.errors.items():
        np.testing.assert_array_equal(drawn[method], np.maximum(errors, charts.FLOOR))
    assert "absolute error" in axes.get_ylabel()
    assert axes.get_xlabel() == "step h"


def test_the_marks_lie_on_the_curves(curve):
    picture = charts.error_curve(curve, 2.2e-16, "sin")
    picture.png()
    here = 60
    marks = charts.error_marks(picture, curve, here)
    places = re.findall(r'cx="([\d.]+)%" cy="([\d.]+)%"', marks)
    size = picture.get_size_inches() * picture.dpi
    for (x, y), errors in zip(places, curve.errors.values(), strict=True):
        pixel = np.array((float(x) / 100, 1 - float(y) / 100)) * size
        step, error = picture.axes[0].transData.inverted().transform(pixel)
        assert step == pytest.approx(curve.steps[here], rel=0.03)
        assert error == pytest.approx(max(errors[here], charts.FLOOR), rel=0.05)


def test_the_table_says_how_many_digits_are_right(curve):
    made = gradcheck.ErrorCurve(np.array([1e-3]), {"forward": np.array([1e-5]),
                                                   "complex": np.array([0.0])})  # fmt: skip
    table = charts.error_table(made, 0, exact=-10.0)
    assert re.findall(r"right'>([\d.e+-]+)</td>", table) == ["1.0e-05", "6.0", "0.0e+00", "16.0"]
    assert "h = 1.0e-03" in table
