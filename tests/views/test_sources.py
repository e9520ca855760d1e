"""Quoted source is what runs."""

import textwrap
from types import ModuleType

import numpy as np
import pytest

from workbench import errors, manual
from workbench.errors import DtypeError, OptionError
from workbench.views import code, sources
from workbench.views.sources import highlight, without_docstrings


def documented(x):
    """Say something."""

    def inner(y):
        """Say more.

        At length.
        """

        return y + 1

    return inner(x)


def only_documented():
    """Nothing else."""


class Documented:
    """A class."""

    value = """not a docstring"""

    def method(self):
        "Single quotes."
        return "kept"


def test_a_function_is_quoted_with_its_place():
    quoted = code(manual.affine)
    assert quoted.text.startswith("def affine(")
    assert "return" in quoted.text
    assert quoted.caption.startswith("workbench/manual/linear.py, lines ")
    assert str(quoted) == quoted.text


def test_what_is_quoted_behaves_as_what_is_imported():
    scope = {}
    exec(code(documented).text, scope)
    assert scope["documented"](3) == documented(3) == 4


def test_docstrings_are_left_out_and_said_so_unless_asked_for():
    quoted = code(documented)
    assert "Say" not in quoted.text
    assert "docstrings left out" in quoted.caption
    assert quoted.text == textwrap.dedent("""\
        def documented(x):
            def inner(y):
                return y + 1

            return inner(x)
        """)
    whole = code(documented, docstrings=True)
    assert "At length." in whole.text
    assert "left out" not in whole.caption


def test_other_strings_and_bodies_that_are_only_a_docstring_stay():
    assert "Nothing else." in code(only_documented).text
    quoted = code(Documented).text
    assert "A class." not in quoted
    assert "not a docstring" in quoted
    assert "Single quotes." not in quoted
    assert 'return "kept"' in quoted


def test_a_docstring_that_shares_its_line_stays():
    text = 'def f(): "doc"; return 1\n'
    assert without_docstrings(text) == text
    text = 'def f():\n    "doc"; return 1\n'
    assert without_docstrings(text) == text


def test_several_things_of_one_file_are_quoted_under_one_name():
    quoted = code(manual.tanh, manual.tanh_backward)
    assert "def tanh(" in quoted.text
    assert "def tanh_backward(" in quoted.text
    assert quoted.caption.count("workbench/manual/activations.py") == 1
    assert quoted.caption.count("lines") == 2


def test_a_module_a_class_and_a_method_are_quoted():
    assert "class ShapeError" in code(errors).text
    assert code(errors).caption.startswith("workbench/errors.py")
    assert code(errors.ShapeError).text.startswith("class ShapeError")
    assert code(Documented.method).text.startswith("def method(self)")


def test_a_function_of_a_notebook_is_said_to_be_there():
    assert sources.place_of("__main__", "anywhere/else.py") == "this notebook"


@pytest.mark.parametrize("thing", [len, np.add, 3, "def f(): pass", ModuleType("made")])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(DtypeError, match="no Python source to quote"):
        code(thing)


def test_nothing_is_refused():
    with pytest.raises(OptionError, match="there is nothing to quote"):
        code()


def test_it_shows_itself_in_colours_with_markup_escaped():
    def compare(a, b):
        return a < b & 3

    shown = code(compare)._repr_html_()
    assert "compare" in shown
    assert "&lt;" in shown
    assert "&amp;" in shown
    assert "color:" in shown


def bare(markup):
    import html
    import re

    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def test_one_line_is_lit():
    source = "x = 1\n\ny = 2\n"
    lit = [line for line in highlight(source, 3).split("<span style=") if "#FFE9A8" in line]
    assert len(lit) == 1
    assert bare("<span style=" + highlight(source, 3).split("#FFE9A8", 1)[1]).count("x") == 0
    assert "#FFE9A8" not in highlight(source)
    assert bare(highlight(source)) == source
    assert "#FFE9A8" in highlight(source, 2)


@pytest.mark.parametrize("line", [0, 4, -1])
def test_a_line_that_is_not_there_is_refused(line):
    with pytest.raises(OptionError, match="there is no such line") as caught:
        highlight("a = 1\nb = 2\nc = 3\n", line)
    assert caught.value.expected == "1 to 3"
