"""Tables: what stands where, and what does not fit."""

import pytest

from workbench.errors import OptionError, ShapeError
from workbench.views import table


def test_a_table_holds_its_rows_escaped_with_numbers_on_the_right():
    made = table([{"era": "<b>", "lines": 3, "time": "1.5 ms"}])
    assert made.headings == ("era", "lines", "time")
    assert made.rows == (("<b>", 3, "1.5 ms"),)
    shown = made._repr_html_()
    assert '<td style="text-align:left">&lt;b&gt;</td>' in shown
    assert '<td style="text-align:right">3</td>' in shown
    assert '<td style="text-align:right">1.5 ms</td>' in shown


def test_a_sentence_that_begins_with_a_digit_is_no_number():
    shown = table([{"why": "0 / 0 is NaN"}])._repr_html_()
    assert '<td style="text-align:left">0 / 0 is NaN</td>' in shown


def test_no_rows_and_rows_of_another_shape_are_refused():
    with pytest.raises(OptionError, match="there is nothing to show"):
        table([])
    with pytest.raises(ShapeError, match="row 2 has other headings than row 1") as caught:
        table([{"a": 1, "b": 2}, {"a": 1, "c": 2}])
    assert caught.value.given == "a, c"
    assert caught.value.expected == "a, b"
