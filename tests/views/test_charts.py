"""Charts: what is drawn is what was measured."""

import re

import numpy as np
import pytest

from workbench import dynamic, gradcheck
from workbench.errors import OptionError, ShapeError
from workbench.views import charts, loss_curves, memory_chart


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


def chain(checkpointed):
    """Eight layers of tanh, as one segment each if checkpointed."""
    w = dynamic.tensor(np.eye(50) / 2, requires_grad=True)
    h = dynamic.tensor(np.ones((100, 50)))

    def layer(h):
        return dynamic.ops.tanh(dynamic.ops.tanh(h @ w) @ w)

    for _ in range(4):
        h = dynamic.checkpoint(layer, h) if checkpointed else layer(h)
    return dynamic.saved(h)


def bars_of(axes):
    """Return what is drawn: for each program, each operation's length."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return {
        bars.get_label(): dict(zip(labels, bars.datavalues.tolist(), strict=True))
        for bars in axes.containers
    }


def test_a_memory_chart_holds_the_bytes_of_each_operation():
    picture = memory_chart(chain(checkpointed=False))
    axes = picture.axes[0]
    (bars,) = bars_of(axes).values()
    # One array of 100 x 50 float64 for the argument, and one for the result of each tanh.
    assert bars == {"tanh": 8 * 40_000, "matmul": 40_000}
    assert {text.get_text() for text in axes.texts} == {"320 kB in 8 arrays", "40 kB in 1 array"}
    assert picture.alt == "Kept for backward: 360 kB in 9 arrays, by tanh 320 kB."
    assert "bytes" in axes.get_xlabel()
    assert axes.get_ylabel() == "operation"
    assert axes.get_legend() is None
    assert picture.png().startswith(b"\x89PNG")


def test_programs_are_compared_on_one_axis_with_their_sums_in_the_legend():
    picture = memory_chart({"plain": chain(False), "checkpointed": chain(True)})
    axes = picture.axes[0]
    assert bars_of(axes) == {
        "plain: 360 kB": {"tanh": 320_000, "checkpoint": 0, "matmul": 40_000},
        "checkpointed: 160 kB": {"tanh": 0, "checkpoint": 160_000, "matmul": 0},
    }
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["plain: 360 kB", "checkpointed: 160 kB"]
    hatches = {bars[0].get_hatch() for bars in axes.containers}
    assert len(hatches) == 2  # Told apart without colour, too.
    top = axes.transData.transform((0, 0))[1]
    assert top > axes.transData.transform((0, 2))[1]  # The longest is on top.


def test_many_small_operations_are_added_up():
    rows = [dynamic.Saved(k, f"op{k}", "output", (k,), "float64", 8 * k) for k in range(1, 21)]
    (bars,) = bars_of(memory_chart(rows).axes[0]).values()
    assert len(bars) == charts.MOST_BARS
    assert bars.pop("9 others") == 8 * sum(range(1, 10))
    assert bars == {f"op{k}": 8 * k for k in range(20, 9, -1)}


def test_nothing_kept_is_not_drawn():
    x = dynamic.tensor(1.0, requires_grad=True)
    with pytest.raises(OptionError, match="cannot be drawn") as caught:
        memory_chart(dynamic.saved(x + 1.0))
    assert caught.value.given == "arrays kept: 0"
    with pytest.raises(OptionError, match="1 to 4 programs"):
        memory_chart({str(k): chain(False) for k in range(5)})


def test_bytes_are_written_in_the_unit_in_which_they_are_read():
    counts = (0, 1, 999, 1000, 33_554_432, 999_600_000, 2.5e12)
    written = [charts.in_bytes(count) for count in counts]
    assert written == ["0 B", "1 B", "999 B", "1 kB", "33.6 MB", "1 GB", "2.5 TB"]
