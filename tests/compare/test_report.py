"""The page: what it says of a case, and how its figures write numbers."""

import pytest

from workbench import compare
from workbench.compare.report import three_digits, write_report


@pytest.mark.parametrize(
    ("value", "written"),
    [(35812.4, "35,800"), (1510.0, "1,510"), (37.42, "37.4"), (0.03, "0.03"), (64, "64")],
)
def test_bars_are_labelled_in_three_digits_and_no_powers_of_ten(value, written):
    assert three_digits(value) == written


def test_the_page_keeps_the_capitals_of_a_title(tmp_path):
    result = compare.run("char-rnn", ["dynamic"], steps=1)
    page = write_report(result, tmp_path).read_text()
    assert "<p>LSTM of 64 that guesses each next character of Shakespeare, from" in page
