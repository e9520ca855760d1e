"""Side by side: pictures and texts, each under its caption."""

import pytest

from workbench.errors import OptionError
from workbench.views import beside, draw_graph
from workbench.views.sources import LIT


def test_texts_and_pictures_stand_in_their_order_under_their_captions():
    drawing = draw_graph([("a", "x")], [])
    shown = beside({"before": "x < y", "after": drawing, "a number": 3})._repr_html_()
    assert shown.index("before") < shown.index("x &lt; y") < shown.index("after")
    assert shown.index("after") < shown.index(drawing.text) < shown.index(">3\n")


def test_it_is_read_as_text_one_after_the_other():
    assert str(beside({"before": "x + x", "after": "2 * x"})) == "before\nx + x\n\nafter\n2 * x"


def test_lines_that_match_are_lit():
    shown = beside({"": "dot a, b\nadd c, d\ndot e, f"}, lit=r"^dot")._repr_html_()
    assert shown.count(LIT) == 2
    assert f'<span style="{LIT}">dot a, b</span>add c, d\n' in shown
    assert LIT not in beside({"": "dot a, b"})._repr_html_()


def test_nothing_and_a_broken_pattern_are_refused():
    with pytest.raises(OptionError, match="there is nothing to show"):
        beside({})
    with pytest.raises(OptionError, match="this is not a regular expression") as caught:
        beside({"a": "b"}, lit="(")
    assert caught.value.given == "'('"
