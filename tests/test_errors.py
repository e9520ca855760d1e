"""Every refusal says where, what was given, what was expected and what to do."""

import pickle

import pytest

from workbench import errors

BUILT_IN = {
    errors.ShapeError: ValueError,
    errors.DtypeError: TypeError,
    errors.OptionError: ValueError,
    errors.UnknownNameError: LookupError,
    errors.GraphError: RuntimeError,
    errors.GradientError: AssertionError,
    errors.NotFiniteError: ArithmeticError,
    errors.DataError: OSError,
    errors.DeviceError: RuntimeError,
    errors.MissingDependencyError: ImportError,
}


def test_the_four_answers_stand_in_order():
    error = errors.ShapeError("affine", "x and w do not fit together", given="x (2, 3), w (4, 5)",
                              expected="one D", fix="w needs 3 rows")  # fmt: skip
    assert str(error).splitlines() == [
        "affine: x and w do not fit together",
        "  given:    x (2, 3), w (4, 5)",
        "  expected: one D",
        "  fix:      w needs 3 rows",
    ]


def test_an_answer_that_is_not_there_takes_no_line():
    assert str(errors.OptionError("sgd", "no")) == "sgd: no"
    assert str(errors.OptionError("sgd", "no", fix="yes")) == "sgd: no\n  fix:      yes"


def test_the_parts_can_be_read_by_a_program():
    error = errors.DtypeError("add", "no", given="int64")
    assert (error.where, error.problem, error.given) == ("add", "no", "int64")
    assert error.expected is None
    assert error.fix is None


@pytest.mark.parametrize(("ours", "built_in"), BUILT_IN.items())
def test_each_is_also_the_exception_a_numpy_user_expects(ours, built_in):
    error = ours("where", "problem", fix="fix")
    assert isinstance(error, built_in)
    assert isinstance(error, errors.WorkbenchError)
    assert str(error) == "where: problem\n  fix:      fix"


def test_no_error_class_escapes_the_table():
    every = {each for each in vars(errors).values()
             if isinstance(each, type) and issubclass(each, errors.WorkbenchError)}  # fmt: skip
    assert every == {*BUILT_IN, errors.WorkbenchError}


def test_an_error_crosses_processes_whole():
    error = errors.OptionError("sgd", "no", given="rate=-1", fix="rate=1")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_unknown_name_suggests_the_near_miss():
    error = errors.unknown_name("compare", "case", "digits-mpl", ["digits-mlp", "logistic"])
    assert isinstance(error, errors.UnknownNameError)
    assert str(error).splitlines() == [
        "compare: there is no case called 'digits-mpl'",
        "  given:    'digits-mpl'",
        "  expected: one of digits-mlp, logistic",
        "  fix:      did you mean 'digits-mlp'?",
    ]


def test_unknown_name_does_not_guess_wildly():
    error = errors.unknown_name("compare", "case", "zebra", (name for name in ("cpu", "gpu")))
    assert error.fix is None
    assert error.expected == "one of cpu, gpu"


def test_require_is_silent_about_what_is_installed():
    errors.require("numpy", room="anything", extra="none")


def test_require_says_what_to_install():
    with pytest.raises(errors.MissingDependencyError) as info:
        errors.require("no_such_package_anywhere", room="views", extra="lab")
    assert str(info.value) == (
        "views: the package 'no_such_package_anywhere' is not installed\n"
        f"  fix:      {errors.install_line('lab')}"
    )


def test_the_install_line_names_the_place_of_an_installation_in_place(tmp_path, monkeypatch):
    module = tmp_path / "workbench" / "errors.py"
    monkeypatch.setattr(errors, "__file__", str(module))
    assert errors.install_line("lab") == 'pip install "framework-history-workbench[lab]"'
    (tmp_path / "pyproject.toml").touch()
    assert errors.install_line("lab") == f'pip install -e "{tmp_path}[lab]"'
