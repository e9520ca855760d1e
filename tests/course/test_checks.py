"""The checks themselves: what passes, what fails, and in which words."""

import warnings

import numpy as np
import pytest

from workbench.course import checks
from workbench.errors import GradientError, WorkbenchError


def failure(function, *arguments, **options):
    with pytest.raises(checks.CheckError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_check_error_is_an_assertion_and_one_of_ours():
    assert issubclass(checks.CheckError, AssertionError)
    assert issubclass(checks.CheckError, WorkbenchError)


# --- call ---------------------------------------------------------------------------


def test_call_returns_what_the_function_returns():
    assert checks.call(lambda x: (x, 2 * x), 3, returns="y, cache") == (3, 6)
    assert checks.call(lambda x: [x], 3, returns="names") == [3]


def test_call_refuses_nothing():
    def forgot(x):
        x + 1

    assert failure(checks.call, forgot, 1, returns="y, cache") == (
        "forgot: it returned nothing\n  expected: y, cache\n  fix:      end with return"
    )


@pytest.mark.parametrize(
    ("result", "given"), [((1, 2), "2 values"), (np.zeros((3, 2)), "ndarray of shape (3, 2)")]
)
def test_call_refuses_another_number_of_values(result, given):
    text = failure(checks.call, lambda: result, returns="g_x, g_w, g_b")
    assert "should return 3 values" in text
    assert f"given:    {given}" in text
    assert "a tuple (g_x, g_w, g_b)" in text


def nested(arguments):
    arguments["cache"][0][1] = 7.0


@pytest.mark.parametrize(
    ("damage", "argument", "name"),
    [
        (lambda x: x.sort(), np.array([2.0, 1.0]), "x"),
        (lambda cache: cache[1].fill(0), (1, np.ones(2)), "cache"),
        (nested, {"cache": [np.zeros(2)]}, "arguments"),
        (lambda x: x.append(1), [1, 2], "x"),
        (lambda x: x.pop("a"), {"a": 1, "b": 2}, "x"),
    ],
)
def test_call_refuses_damage_and_spares_the_argument(damage, argument, name):
    before = repr(argument)
    assert f"changed its argument {name} in place" in failure(
        checks.call, damage, argument, returns="y"
    )
    assert repr(argument) == before


def test_call_does_not_take_nan_for_damage():
    assert checks.call(lambda x: 1, np.array([np.nan]), returns="y") == 1


def test_call_keeps_warnings_to_itself():
    def noisy(x):
        warnings.warn("a remark", stacklevel=2)
        return np.exp(x)

    assert checks.call(noisy, np.array([1e4]), returns="y")[0] == np.inf


def test_call_lets_the_function_speak_for_itself():
    def stub(x):
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        checks.call(stub, 1, returns="y")


# --- same ---------------------------------------------------------------------------


def test_same_allows_rounding_and_no_more():
    expected = np.array([1.0, 1e-3])
    checks.same("y", expected + 50 * np.finfo(float).eps, expected)
    assert "2 of 2 values" in failure(checks.same, "y", expected + 1e-12, expected)
    checks.same("y", np.float32([1 / 3]), np.float32([1 / 3]) * np.float32(1 + 1e-6))


def test_same_names_the_first_wrong_element():
    expected = np.arange(6.0).reshape(2, 3)
    actual = expected.copy()
    actual[1, 1:] = 9
    assert failure(checks.same, "y", actual, expected) == (
        "y: 2 of 6 values are wrong; the first is y[1, 1]\n  given:    9\n  expected: 4"
    )


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ("text", "it is not an array"),
        (np.zeros(3), "the shape is wrong"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "nan and infinity come from an overflow"),
        (-np.array([[1.0, 2.0], [3.0, 4.0]]), "all of it has the wrong sign"),
        (np.array([[1.0, 3.0], [2.0, 4.0]]), "it is transposed"),
        (np.array([[3.0, 6.0], [9.0, 12.0]]), "all of it is 3 times what it should be"),
        (np.float32([[1, 2], [3, 4]]), "the dtype is wrong"),
    ],
)
def test_same_says_what_is_wrong(actual, words):
    assert words in failure(checks.same, "y", actual, np.array([[1.0, 2.0], [3.0, 4.0]]))


def test_same_reports_a_known_cause_before_a_general_one():
    text = failure(
        checks.same, "y", np.full(2, 4.0), np.ones(2), causes={"the mean": np.full(2, 4)}
    )
    assert "fix:      the mean" in text


def test_same_takes_a_scalar_of_python():
    checks.same("loss", 0.5, 0.5)
    assert "loss: the value is wrong" in failure(checks.same, "loss", 0.25, 0.5)


def test_same_finds_nothing_to_agree_with_nan():
    assert "wrong" in failure(checks.same, "y", np.array([np.nan]), np.array([np.nan]))


# --- same_gradient ------------------------------------------------------------------


def test_same_gradient_passes_on_the_report():
    x = np.array([1.0, 2.0])
    assert checks.same_gradient(lambda x: np.sum(x**3), 3 * x**2, x).checked == 2


def test_same_gradient_names_the_function_whose_gradient_it_is():
    x, w = np.array([1.0, 2.0]), np.array([0.5, 3.0])
    causes = {
        "not this": lambda x, w: np.sum(x**4 * w),
        "the square is forgotten": lambda x, w: np.sum(x * w),
    }
    with pytest.raises(GradientError, match=r"w\[1\]") as caught:
        checks.same_gradient(lambda x, w: np.sum(x**2 * w), [2 * x * w, x], (x, w), causes=causes)
    assert caught.value.fix == "the square is forgotten"


def test_same_gradient_leaves_a_proven_cause_alone():
    x = np.array([1.0, 2.0])
    with pytest.raises(GradientError) as caught:
        checks.same_gradient(
            lambda x: np.sum(x**2), -2 * x, x, causes={"no": lambda x: -np.sum(x**2)}
        )
    assert "sign" in caught.value.fix


def test_same_gradient_says_nothing_it_cannot_prove():
    x = np.array([1.0, 2.0])
    with pytest.raises(GradientError) as caught:
        checks.same_gradient(lambda x: np.sum(x**2), x**3, x, causes={"no": lambda x: np.sum(x)})
    assert caught.value.fix is None


# --- same_magnitude, same_names -----------------------------------------------------


def test_same_magnitude():
    checks.same_magnitude("step", 3e-6, 1e-5, factor=10)
    text = failure(checks.same_magnitude, "step", 1e-8, 1e-5, factor=10, causes={"a root": 1.5e-8})
    assert "step: it is 1e+03 times too small" in text
    assert "fix:      a root" in text
    assert "too large" in failure(checks.same_magnitude, "step", 1.0, 1e-5, factor=10)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "1e-5", None])
def test_same_magnitude_wants_a_positive_number(value):
    assert "not a positive number" in failure(checks.same_magnitude, "h", value, 1.0, factor=2)


def test_same_names():
    checks.same_names("find", ("b", "a"), ["a", "b"], case="a case")
    text = failure(checks.same_names, "find", ["a", "c"], ["a", "b"], case="a sign in b")
    assert "find: missed 'b' and wrongly accused 'c'" in text
    assert "given:    a sign in b" in text
    for value in ("a", None, 3):
        assert "a list of names" in failure(checks.same_names, "find", value, ["a"], case="")
