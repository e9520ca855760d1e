"""The room as a whole: loads little, says what it lacks, mixes colours."""

import subprocess
import sys

import pytest

from workbench import compare, errors, views
from workbench.views import palette


def test_everything_promised_is_there():
    for name in views.__all__:
        assert getattr(views, name) is not None
    assert set(views.__all__) <= set(dir(views))
    with pytest.raises(AttributeError, match="has no attribute 'timelines'"):
        views.timelines  # noqa: B018


def test_names_that_need_no_matplotlib_load_none():
    command = (
        "import sys; from workbench.views import code, draw_graph, history; history.load();"
        "draw_graph([('a', 'x')], []);"
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'ipywidgets', 'pygments')))"
    )
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.parametrize(("package", "use"), [
    ("matplotlib", "views.timeline()"),
    ("ipywidgets", "views.timeline_widget()"),
    ("pygments", "views.code(views.code)._repr_html_()"),
])  # fmt: skip
def test_a_missing_package_is_named_with_what_installs_it(package, use):
    # A finder that knows no such package: as if it were not installed.
    command = f"""
import sys
from importlib import util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name == {package!r} else find(name, *rest)
from workbench import errors, views
try:
    {use}
except errors.MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True,
                          text=True)  # fmt: skip
    assert f"the package '{package}' is not installed" in done.stdout
    assert errors.install_line("lab") in done.stdout


def test_colours_mix():
    assert palette.mix("#000000", "#FFFFFF", 0.5) == "#808080"
    assert palette.mix("#102030", "#FFFFFF", 0) == "#102030"
    assert palette.mix("#102030", "#A0B0C0", 1) == "#A0B0C0"


def test_every_era_has_a_colour_of_its_own():
    assert set(palette.ERAS) == set(compare.ERAS)
    assert len(set(palette.ERAS.values())) == 4
