"""The programs that users of each era would have written."""

import inspect
from types import ModuleType

import pytest

from workbench import compare
from workbench.compare.source import MARK, user_lines, user_source
from workbench.errors import OptionError

CASES = {case.program: case for case in compare.CASES.values()}.values()  # One a program.
PAIRS = [(case.name, era) for case in CASES for era in case.eras]


@pytest.mark.parametrize(("name", "era"), PAIRS)
def test_a_program_uses_its_own_era_only(name, era):
    source = user_source(compare.program(compare.case(name), era))
    imports = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    ours = [line for line in imports if line != "import numpy as np"]
    assert ours
    assert all("workbench" in line and (era in line) for line in ours)


@pytest.mark.parametrize(("name", "era"), PAIRS)
def test_the_users_part_is_short_and_stops_at_the_mark(name, era):
    module = compare.program(compare.case(name), era)
    source = user_source(module)
    assert MARK not in source
    assert "def gradients(network" not in source
    assert "class Network" in source
    assert 10 < user_lines(module) < 70


def module_of(text, tmp_path):
    path = tmp_path / "made.py"
    path.write_text(text)
    module = ModuleType("made")
    module.__file__ = str(path)
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def test_lines_count_statements_and_not_their_layout_or_their_comments(tmp_path):
    text = f'''"""Words."""
import math


def f(
    x,
    y,
):
    """More words."""
    # A comment.

    return math.hypot(
        x, y)


{MARK}
def g(): return 0
'''
    module = module_of(text, tmp_path)
    assert inspect.getsource(module) == text
    assert user_lines(module) == 3  # import, def, return


def test_a_program_without_the_mark_is_refused(tmp_path):
    with pytest.raises(OptionError, match="does not say where the user's part ends"):
        user_source(module_of("x = 1\n", tmp_path))
