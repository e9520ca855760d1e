"""The ways in agree with each other, and importing the package stays cheap."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def ranges(lines):
    """Return {canonical name: version range} of requirement lines."""
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): str(each.specifier) for each in parsed}


def test_environment_yml_and_pyproject_name_the_same_packages_and_ranges():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda_ranges = ranges(line for line in conda if isinstance(line, str))
    assert conda_ranges.pop("python") == PROJECT["requires-python"]
    conda_ranges.pop("pip")
    pip = [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["course"], *EXTRAS["dev"]]
    assert conda_ranges == ranges(pip)


def test_the_promised_extras_exist_and_each_cuda_has_its_spelling():
    assert {"lab", "course", "gpu", "dialects", "peers", "dev"} <= EXTRAS.keys()
    assert set(ranges(EXTRAS["peers"])) == {"torch", "jax", "autograd", "expecttest", "pytensor"}
    assert set(ranges(EXTRAS["gpu-cuda12"])) == {"cupy-cuda12x"}
    assert set(ranges(EXTRAS["gpu-cuda13"])) == {"cupy-cuda13x"}
    assert EXTRAS["gpu"] == EXTRAS["gpu-cuda12"]


def test_constraints_pin_every_direct_dependency_within_its_range():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@]+( *;.*)?", line), line
            requirement = Requirement(line)
            pins[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    for lines in [PROJECT["dependencies"], *EXTRAS.values()]:
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            assert name in pins, f"{name} is not pinned"
            assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]}"


def loaded_by(statement):
    """Return the top-level modules that a fresh interpreter has after ``statement``."""
    script = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_workbench_loads_nothing_beyond_the_standard_library():
    assert loaded_by("import workbench") - loaded_by("import importlib") <= {"workbench"}


OPTIONAL = {
    "cupy",
    "matplotlib",
    "ipywidgets",
    "IPython",
    "nbgrader",
    "nbformat",
    "jinja2",
    "pygments",
    "pooch",
    "rich",
    "typer",
    "llvmlite",
    "torch",
    "jax",
}


ROOMS = [
    "arrays",
    "gradcheck",
    "datasets",
    "manual",
    "symbolic",
    "dynamic",
    "functional",
    "compare",
    "views",
    "course",
]


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_room_loads_no_optional_package(room):
    assert not loaded_by(f"import workbench.{room}") & OPTIONAL


def test_rooms_load_on_first_use_and_unknown_ones_are_refused():
    import workbench

    assert workbench.errors.ShapeError.__module__ == "workbench.errors"
    assert "dynamic" in dir(workbench)
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'dinamic'"):
        workbench.dinamic  # noqa: B018
