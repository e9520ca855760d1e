import subprocess
import sys

import numpy as np
import pytest

from workbench import datasets
from workbench.datasets import embedded, registry
from workbench.errors import DataError, DtypeError, UnknownNameError


def test_names_are_the_functions_of_this_room():
    assert datasets.names() == (
        "digits",
        "mnist_subset",
        "mnist",
        "shakespeare",
        "two_moons",
        "adding_problem",
        "expression_trees",
    )
    for name in datasets.names():
        assert name in datasets.__all__
        assert name in datasets.__doc__


@pytest.mark.parametrize("name", [n for n in datasets.names() if n != "mnist"])
def test_load_is_the_function_of_that_name(name):
    data = datasets.load(name)
    assert data.name == name
    assert repr(data) == repr(getattr(datasets, name)())


def test_options_are_passed_on():
    data = datasets.load("digits", dtype="float64", images=True)
    assert data.x_train.shape == (1500, 1, 8, 8)
    assert data.x_train.dtype == np.float64
    assert datasets.load("adding_problem", length=7).x_train.shape == (1000, 7, 2)
    with pytest.raises(DtypeError, match="digits: a floating dtype is needed here"):
        datasets.load("digits", dtype=int)


def test_near_misses_are_suggested():
    with pytest.raises(UnknownNameError) as caught:
        datasets.load("digit")
    assert str(caught.value) == (
        "datasets.load: there is no data set called 'digit'\n"
        "  given:    'digit'\n"
        "  expected: one of digits, mnist_subset, mnist, shakespeare, two_moons, "
        "adding_problem, expression_trees\n"
        "  fix:      did you mean 'digits'?"
    )
    with pytest.raises(UnknownNameError) as caught:
        datasets.load("digits", image=True)
    assert str(caught.value) == (
        "datasets.load('digits'): there is no option called 'image'\n"
        "  given:    'image'\n"
        "  expected: one of dtype, images\n"
        "  fix:      did you mean 'images'?"
    )
    with pytest.raises(UnknownNameError, match="there is no data set called 3"):
        datasets.load(3)
    with pytest.raises(UnknownNameError, match="there is no data set called"):
        datasets.load(["digits"])


def test_describe_finds_the_embedded_files_whole():
    places = {place.name: place for place in datasets.describe()}
    assert list(places) == ["digits", "mnist_subset", "shakespeare", "mnist"]
    for name in embedded.FILES:
        assert places[name].where == "embedded"
        assert places[name].size == (embedded.FOLDER / embedded.FILES[name]).stat().st_size
        assert (places[name].problem, places[name].fix) == (None, None)


def test_describe_reports_a_damaged_installation(monkeypatch):
    def damaged():
        raise DataError("digits", "the embedded file cannot be read", fix="install it again")

    loaders = {**registry._LOADERS, "digits": damaged}
    monkeypatch.setattr(registry, "_LOADERS", loaders)
    place = datasets.describe()[0]
    assert (place.name, place.problem, place.fix) == (
        "digits",
        "the embedded file cannot be read",
        "install it again",
    )


def test_importing_the_room_imports_only_numpy():
    heavy = "pooch requests rich platformdirs scipy matplotlib cupy"
    code = (
        "import sys, workbench.datasets; "
        f"print([m for m in {heavy.split()} if m in sys.modules], 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_the_cache_folder_is_the_users():
    folder = datasets.cache_folder()
    assert folder.is_absolute()
    assert "framework-history-workbench" in folder.parts
