"""Check the checker: right gradients pass, and every planted fault is caught and named."""

import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import arrays
from workbench.errors import (
    DtypeError,
    GradientError,
    NotFiniteError,
    OptionError,
    ShapeError,
    UnknownNameError,
)
from workbench.gradcheck import check, check_gradient, diagnose, error_curve, numeric_gradient

FLOATS = [np.float32, np.float64]
METHODS = ["central", "forward", "complex"]

# Bounds on rounding are statistical: examples are many, and the same in each run.
REPEATABLE = settings(max_examples=80, deadline=None, derandomize=True)


def rng(seed=0):
    return np.random.default_rng(seed)


class Layer:
    """Mean of tanh(x w + b) against fixed weights: right gradients, by hand."""

    def __init__(self, dtype=np.float64, n=4, d=3, k=5, seed=0):
        draw = rng(seed)
        self.x, self.w, self.b = (draw.standard_normal(s).astype(dtype)
                                  for s in ((n, d), (d, k), (k,)))  # fmt: skip
        self.c = draw.standard_normal((n, k)).astype(dtype) + dtype(2)
        self.inputs = (self.x, self.w, self.b)

    def f(self, x, w, b):
        return (np.tanh(x @ w + b) * self.c).sum() / self.x.dtype.type(len(self.x))

    def per_example(self, x, w, b):
        return (1 - np.tanh(x @ w + b) ** 2) * self.c / self.x.dtype.type(len(x))

    def gradient(self, x, w, b):
        g = self.per_example(x, w, b)
        return g @ w.T, x.T @ g, g.sum(axis=0)


def relu(x):
    return np.maximum(x, 0).sum()


def relu_gradient(x):
    return (x > 0).astype(x.dtype)


def refused(error, call, *args, **options):
    with pytest.raises(error) as info:
        call(*args, **options)
    return str(info.value)


# numeric_gradient


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_numeric_gradient_is_as_good_as_its_method(method, dtype):
    x = np.array([[0.5, -2.0], [30.0, 0.0]], dtype)
    numeric = numeric_gradient(lambda x: np.sin(x).sum(), x, method)
    assert numeric.shape == x.shape
    assert numeric.dtype == dtype
    eps = np.finfo(dtype).eps
    order = {"central": 2 / 3, "forward": 1 / 2, "complex": 1}[method]
    error = np.abs(numeric - np.cos(x)) / np.maximum(1, np.abs(x))
    assert error.max() < 8 * eps**order
    if method != "complex":
        assert error.max() > eps  # It is a difference, not the derivative.


def test_numeric_gradient_of_several_arguments_has_their_shapes():
    layer = Layer()
    numeric = numeric_gradient(layer.f, layer.inputs)
    assert isinstance(numeric, list)
    for each, exact in zip(numeric, layer.gradient(*layer.inputs), strict=True):
        np.testing.assert_allclose(each, exact, atol=1e-9)


def test_numeric_gradient_takes_a_number():
    assert numeric_gradient(lambda x: x**3, 2.0, "complex") == pytest.approx(12, rel=1e-15)
    assert numeric_gradient(lambda x: x**3, np.float32(2)).dtype == np.float32


def test_a_step_is_divided_by_the_distance_it_truly_moved():
    # 0.1 is no float32, nor is 4096 + 0.1: divided by 0.1 the slope would be 1.2 % off.
    x = np.full(3, 4096, np.float32)
    np.testing.assert_array_equal(numeric_gradient(lambda x: x.sum(), x[:1], step=0.1), [1])
    assert np.float32(4096) + np.float32(0.1) - np.float32(4096) != np.float32(0.1)


def test_a_given_step_is_the_step():
    # The central difference of x^3 is 3 x^2 + h^2.
    assert numeric_gradient(lambda x: x**3, 2.0, step=0.5) == 12.25
    assert numeric_gradient(lambda x: x**3, 2.0, "forward", step=0.5) == 15.25


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan, math.inf, 1e-20])
def test_a_useless_step_is_refused(step):
    text = refused(OptionError, numeric_gradient, np.sum, np.ones(2), step=step)
    assert "numeric_gradient: the step is not usable" in text
    assert f"step={step!r}" in text
    assert "more than 2.2e-16" in text


def test_unknown_method_suggests():
    text = refused(UnknownNameError, numeric_gradient, np.sum, np.ones(2), "centrall")
    assert "there is no method called 'centrall'" in text
    assert "did you mean 'central'?" in text
    for call in (lambda: check_gradient(np.sum, np.ones(2), np.ones(2), method="centrall"),
                 lambda: error_curve(np.sum, 1.0, 1.0, ["centrall"])):  # fmt: skip
        assert "did you mean 'central'?" in refused(UnknownNameError, call)


def test_integers_cannot_move():
    text = refused(DtypeError, numeric_gradient, lambda w: w.sum(), np.arange(3))
    assert text.splitlines() == [
        "numeric_gradient: w cannot move by a small step",
        "  given:    w of dtype int64",
        "  expected: float32 or float64",
        "  fix:      w.astype(np.float64)",
    ]


def test_arguments_are_blamed_by_name():
    def f(x, w):
        return (x @ w).sum()

    text = refused(DtypeError, check_gradient, f, None, (np.ones((1, 2)), np.ones((2, 1), "f4")))
    assert "x float64, w float32" in text
    text = refused(NotFiniteError, numeric_gradient, f,
                   (np.ones((1, 2)), np.array([[1.0], [np.inf]])))  # fmt: skip
    assert text == "numeric_gradient: w[1, 0] is inf"


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (np.ones(2), DtypeError, ("f is not a function", "ndarray")),
        (lambda x: x, ShapeError, ("f is not scalar", "shape (2,)", "sum or weigh")),
        (lambda x: x.sum() * 1j, DtypeError, ("does not return a real number", "complex128")),
        (lambda x: "loss", DtypeError, ("does not return a real number", "dtype <U4")),
        (lambda x: None, DtypeError, ("does not return a real number", "NoneType")),
        (lambda x: np.log(-1.0 + 0 * x.sum()), NotFiniteError, ("f is nan at x",)),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_function_that_cannot_be_differenced_is_refused(f, error, words):
    text = refused(error, numeric_gradient, f, np.ones(2))
    for each in words:
        assert each in text


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_edge_of_a_domain_names_the_element():
    text = refused(
        NotFiniteError, numeric_gradient, lambda x: np.sqrt(x).sum(), np.array([1, 1e-9])
    )
    assert "f is nan near x, as x[1] moves" in text
    assert "keep x inside the domain" in text


def test_a_function_that_writes_into_its_argument_is_refused():
    def f(w):
        w *= 2
        return w.sum()

    x = np.ones(2)
    text = refused(OptionError, numeric_gradient, f, x)
    assert "f changed its argument w in place" in text
    np.testing.assert_array_equal(x, [1, 1])

    def gradient(x):
        x -= 1
        return x

    text = refused(OptionError, check_gradient, lambda x: x.sum(), gradient, x)
    assert "the gradient function changed its argument x in place" in text
    np.testing.assert_array_equal(x, [1, 1])


def test_a_function_that_draws_random_numbers_is_refused():
    draw = rng()
    text = refused(
        OptionError, check_gradient, lambda x: (x * draw.random(2)).sum(), [0], np.ones(2)
    )
    assert "f does not repeat itself" in text
    assert "seed random numbers inside f" in text


def test_nothing_to_differentiate_by_is_refused():
    assert "(0, 3)" in refused(ShapeError, numeric_gradient, np.sum, np.ones((0, 3)))


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: np.abs(x).sum(), "f drops the imaginary part"),
        (lambda x: x.astype(float).sum(), "f drops the imaginary part"),
        (lambda x: x.sum() * (x * np.conj(x)).sum(), "f drops a part of the imaginary part"),
        (lambda x: np.floor(x).sum(), "f does not take complex numbers"),
    ],
)
def test_the_complex_step_refuses_what_is_not_analytic(f, words):
    for call in (lambda: numeric_gradient(f, np.array([0.5, 2.0]), "complex"),
                 lambda: check_gradient(f, np.ones(2), np.array([0.5, 2.0]), method="complex")):  # fmt: skip
        text = refused(DtypeError, call)
        assert words in text
        assert 'fix:      method="central"' in text


# Right gradients pass


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_right_gradient_passes_and_the_report_says_what_was_done(method, dtype):
    layer = Layer(dtype)
    report = check_gradient(layer.f, layer.gradient, layer.inputs, method=method)
    assert report.checked == report.size == 4 * 3 + 3 * 5 + 5
    assert report.directions == 0
    assert report.kinks == ()
    assert 0 < report.max_error <= report.tolerance
    assert (report.method, report.dtype) == (method, np.dtype(dtype).name)
    assert str(report).startswith("gradient right: 32 of 32 elements, max error ")
    assert f"({method}, {report.dtype})" in str(report)


def test_the_claim_may_be_arrays_or_a_list():
    layer = Layer()
    claim = layer.gradient(*layer.inputs)
    assert check_gradient(layer.f, list(claim), list(layer.inputs)).checked == 32
    assert check_gradient(lambda x: (x**2).sum(), np.array([2.0, 4.0]), np.array([1.0, 2.0]))


@st.composite
def smooth_functions(draw):
    """A random two-layer network with mixed activations, its gradient, and a point."""
    seed, scale = draw(st.integers(0, 10**6)), draw(st.sampled_from([0.02, 1.0, 50.0]))
    dtype, n, m = draw(st.sampled_from(FLOATS)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    shift = draw(st.sampled_from([0.0, 1.0, 1e3]))
    r = rng(seed)
    w, a, x = r.standard_normal((m, n)) / scale, r.standard_normal(m), scale * r.standard_normal(n)
    w, a, x = (each.astype(dtype) for each in (w, a, x))
    act, slope = draw(st.sampled_from([
        (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        (np.sin, np.cos),
        (lambda z: np.exp(z / 4), lambda z: np.exp(z / 4) / 4),
        (lambda z: z * z * z, lambda z: 3 * z * z),
        (lambda z: np.log1p(z * z), lambda z: 2 * z / (1 + z * z)),
    ]))  # fmt: skip
    return (
        lambda x: (a * act(w @ x)).sum() + dtype(shift),
        lambda x: w.T @ (a * slope(w @ x)),
        x,
    )


@REPEATABLE
@given(smooth_functions(), st.sampled_from(METHODS))
def test_a_right_gradient_never_fails(case, method):
    f, gradient, x = case
    try:
        report = check_gradient(f, gradient, x, method=method)
    except GradientError as error:  # Honest: the noise hides so small a gradient altogether.
        assert "the check can see nothing" in str(error)  # noqa: PT017
    else:
        assert report.kinks == ()


@REPEATABLE
@given(smooth_functions())
def test_a_right_float32_gradient_never_fails_against_float64(case):
    f, gradient, x = case
    x = x.astype(np.float32)
    claim = gradient(x).astype(np.float32)
    try:
        assert check_gradient(lambda x: f(x), claim, x, dtype=np.float64).dtype == "float64"
    except GradientError as error:
        assert "the check can see nothing" in str(error)  # noqa: PT017


def test_a_gradient_that_is_zero_by_cancellation_passes_in_spite_of_rounding():
    x = rng().standard_normal(1000).astype(np.float32)
    claim = np.float32(1) - np.full(1000, np.float32(1 / 1000)).cumsum()[-1:].repeat(1000)
    assert 0 < np.abs(claim).max() < 1e-5  # What a reverse sweep in float32 comes to.
    for dtype in FLOATS:
        check_gradient(lambda x: (x - x.mean()).sum(), claim, x, dtype=dtype)


def test_a_gradient_that_curvature_multiplies_from_a_rounded_input_passes():
    w, x = rng(1).standard_normal((2, 9)).astype(np.float32)
    x[-1] = -(w[:-1] * x[:-1]).sum() / w[-1]

    def gradient(x):
        return 2 * (w * x).sum() * w

    claim, exact = gradient(x), 2 * (w.astype(float) * x).sum() * w.astype(float)
    relative = np.abs(claim - exact).max() / np.abs(exact).max()
    assert relative > 0.01  # (w * x).sum() cancels: the claim is made of rounding.
    check_gradient(lambda x: (w * x).sum() ** 2, claim, x, dtype=np.float64)


def test_a_curved_function_is_followed_with_smaller_steps():
    x = np.array([1.0, 2.0])
    report = check_gradient(lambda x: np.sin(3e4 * x).sum(), lambda x: 3e4 * np.cos(3e4 * x), x)
    assert report.tolerance < 1e-4 * 3e4
    assert report.kinks == ()


# Wrong ones fail


@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1.0005), (np.float32, 1.01)])
@pytest.mark.parametrize("method", METHODS)
def test_a_slope_of_2_001_instead_of_2(dtype, factor, method):
    x = rng().standard_normal(4).astype(dtype)
    claim = np.full(4, 2 * factor, dtype)
    text = refused(GradientError, check_gradient, lambda x: (dtype(2) * x).sum(), claim, x,
                   method=method)  # fmt: skip
    assert "4 of 4 elements of the gradient are wrong, first x[0]" in text
    assert f"claimed {claim[0]:.9g}" in text
    assert f"({method}, {np.dtype(dtype).name})" in text
    found = re.search(r"every element is (\S+) times the numeric one", text)
    assert float(found[1]) == pytest.approx(factor, abs=(factor - 1) / 5)


@REPEATABLE
@given(st.integers(0, 10**6), st.sampled_from(FLOATS), st.sampled_from(METHODS))
def test_an_error_in_any_one_element_is_found_and_named(seed, dtype, method):
    layer = Layer(dtype, seed=seed)
    gradient = [g.copy() for g in layer.gradient(*layer.inputs)]
    r = rng(seed)
    k = int(r.integers(3))
    index = tuple(map(int, (r.integers(n) for n in gradient[k].shape)))
    gradient[k][index] += {np.float64: 1e-4, np.float32: 0.2}[dtype]
    text = refused(GradientError, check_gradient, layer.f, gradient, layer.inputs, method=method)
    name = f"{'xwb'[k]}[{', '.join(map(str, index))}]"
    assert f"1 of 32 elements of the gradient are wrong, first {name}" in text


def test_the_message_whole():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    claim = 2 * x
    claim[1, 0] = 5
    text = refused(GradientError, check_gradient, lambda x: (x**2).sum(), claim, x)
    first, given_, expected = text.splitlines()
    assert first == "check_gradient: 1 of 4 elements of the gradient are wrong, first x[1, 0]"
    assert given_ == "  given:    claimed 5"
    assert expected.startswith("  expected: numeric 6 ± ")
    assert expected.endswith(" (central, float64)")


def test_arguments_without_names_are_named_by_position():
    def f(*xs):
        return sum((x**2).sum() for x in xs)

    x = (np.ones(2), np.ones((2, 2)))
    claim = [2 * x[0], np.zeros((2, 2))]
    assert "first x[1][0, 0]" in refused(GradientError, check_gradient, f, claim, x)
    text = refused(GradientError, check_gradient, f, claim, x, names=["bias", "weight"])
    assert "first weight[0, 0]" in text
    text = refused(OptionError, check_gradient, f, claim, x, names=["bias"])
    assert "names do not match the arguments" in text
    assert "first x" in refused(GradientError, check_gradient, lambda w=0: (w**2).sum(), 5.0, 1.0,
                                names=["x"])  # fmt: skip


def test_a_float32_gradient_is_held_to_float64s_reference():
    layer = Layer(np.float32)
    claim = [g.copy() for g in layer.gradient(*layer.inputs)]
    sharp = check_gradient(layer.f, claim, layer.inputs, dtype=np.float64)
    blunt = check_gradient(layer.f, claim, layer.inputs)
    assert sharp.tolerance < blunt.tolerance / 10
    claim[1][0, 0] += 2 * np.float32(sharp.tolerance)
    assert check_gradient(layer.f, claim, layer.inputs).checked == 32  # float32 cannot see it.
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs, dtype=np.float64)
    assert "first w[0, 0]" in text
    assert "(central, float64)" in text


def test_a_function_that_does_not_follow_the_dtype_is_refused():
    text = refused(DtypeError, check_gradient, lambda x: np.float32(x.sum()),
                   np.ones(2, "f4"), np.ones(2, "f4"), dtype=np.float64)  # fmt: skip
    assert "f does not compute in float64" in text
    assert refused(DtypeError, check_gradient, np.sum, np.ones(2), np.ones(2), dtype=int)


def test_a_check_that_would_mean_nothing_is_refused():
    text = refused(GradientError, check_gradient, lambda x: np.float32(1) + np.float32(3e-5) * x.sum(),
                   np.full(3, 3e-5, np.float32), np.ones(3, np.float32))  # fmt: skip
    assert "the check can see nothing" in text
    assert "dtype=np.float64" in text


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (np.array([1.0, np.nan]), "the gradient of x[1] is nan"),
        (None, "the gradient of x is not an array of real numbers"),
        (np.array([1j, 1j]), "dtype complex128"),
        (np.array(["a", "b"]), "dtype <U1"),
    ],
)
def test_a_claim_that_is_no_gradient(claim, words):
    assert words in refused(GradientError, check_gradient, lambda x: x.sum(), claim, np.ones(2))


@pytest.mark.parametrize("claim", [(np.ones(2),), np.ones(2), None])
def test_one_gradient_for_each_argument(claim):
    text = refused(GradientError, check_gradient, lambda x, w: (x * w).sum(), claim,
                   (np.ones(2), np.ones(2)))  # fmt: skip
    assert "there is not one gradient for each argument" in text
    assert "a list of 2: x, w" in text


@pytest.mark.parametrize("option", ["order", "samples", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_options_out_of_range(option, value):
    text = refused(OptionError, check_gradient, np.sum, np.ones(2), np.ones(2), **{option: value})
    assert f"{option} is not usable" in text
    assert f"{option}={value!r}" in text


# Causes, as check_gradient words them


def planted(fault):
    layer = Layer()
    x, w, b = layer.inputs
    gradient = list(layer.gradient(x, w, b))
    return layer, fault(layer, *gradient)


SQUARE = Layer(n=3, d=3, k=3)


@pytest.mark.parametrize(
    ("fault", "first", "words"),
    [
        (lambda t, x, w, b: (-x, w, b), "x[0, 0]", "change the sign: every element is minus"),
        (lambda t, x, w, b: (x, 2 * w, b), "w[0, 0]", "take out a factor 2: every element is twice"),
        (lambda t, x, w, b: (x, w / 2, b), "w[0, 0]", "put in a factor 2: every element is half"),
        (lambda t, x, w, b: (x, 4 * w, b), "w[0, 0]", "divide by the batch size 4: every element is 4"),
        (lambda t, x, w, b: (x, w, b / 4), "b[0]",
         "divide by the batch size 4 only once: every element is 1/4"),
        (lambda t, x, w, b: (x, 1.3 * w, b), "w[0, 0]", "look for a constant factor: every element is 1.3"),
        (lambda t, x, w, b: (x, w, b + 0.25), "b[0]",
         "look for a constant term: every element is too large by 0.25"),
        (lambda t, x, w, b: (x, w.T, b), None, "transpose it: then it equals the numeric one"),
        (lambda t, x, w, b: (x, w.T.reshape(3, 5), b), "w[0, 1]", "transpose, do not reshape"),
        (lambda t, x, w, b: (x, w, t.per_example(*t.inputs)), None, "sum it over axis 0, where x was"),
        (lambda t, x, w, b: (x, w, b[None]), None, "reshape it to (5,): the values are right"),
        (lambda t, x, w, b: (x, w, b[:3]), None, "give it the shape (5,)"),
        (lambda t, x, w, b: (x, 0 * w, b), "w[0, 0]", "every element is 0: nothing was written"),
        (lambda t, x, w, b: (x, w * (np.arange(3) > 1)[:, None], b), "w[0, 0]",
         "the wrong elements are all 0: they were never written"),
        (lambda t, x, w, b: (x, np.roll(w, 1, 1), b), "w[0, 0]",
         "shift it along axis 1: it comes one place too late"),
        (lambda t, x, w, b: (x, np.roll(w, -1, 0), b), "w[0, 0]",
         "shift it along axis 0: it comes one place too early"),
        (lambda t, x, w, b: (x, w, b[::-1]), "b[0]", "flip it along axis 0: it runs backwards"),
        (lambda t, x, w, b: (x, w[::-1, ::-1], b), "w[0, 0]", "flip it along axis 0 and 1"),
        (lambda t, x, w, b: (x, w * (1 + (np.arange(5) == 3)), b), "w[0, 3]",
         "look at index 3 of axis 1: no other is wrong; there, take out a factor 2"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_caught_and_named(fault, first, words):
    layer, claim = planted(fault)
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs)
    assert words in text
    assert (f"first {first}" if first else "has a wrong shape") in text


def test_a_square_gradient_that_is_transposed():
    x, w, b = SQUARE.gradient(*SQUARE.inputs)
    text = refused(GradientError, check_gradient, SQUARE.f, (x, w.T, b), SQUARE.inputs)
    assert "first w[0, 1]" in text
    assert "transpose it: then it equals the numeric one" in text


def test_a_wrong_shape_shows_both_shapes():
    layer, claim = planted(lambda t, x, w, b: (x, w.T, b))
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs)
    assert text.splitlines() == [
        "check_gradient: the gradient of w has a wrong shape",
        "  given:    (5, 3)",
        "  expected: (3, 5)",
        "  fix:      transpose it: then it equals the numeric one",
    ]


def test_a_gradient_left_as_one_number():
    text = refused(GradientError, check_gradient, lambda x: x.sum(), 1.0, np.ones((2, 3)))
    assert "broadcast it back to (2, 3): the values are right" in text


def test_a_gradient_of_what_f_does_not_depend_on():
    text = refused(GradientError, check_gradient, lambda x, w: (x**2).sum(),
                   (2 * np.ones(3), np.ones(3)), (np.ones(3), np.ones(3)))  # fmt: skip
    assert "f does not depend on it" in text


def test_the_batch_size_may_be_told():
    layer, claim = planted(lambda t, x, w, b: (7 * x, w, b))
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs, batch_size=7)
    assert "divide by the batch size 7: every element is 7 times the numeric one" in text


def test_nothing_is_said_that_the_numbers_do_not_prove():
    layer, claim = planted(lambda t, x, w, b: (x, w + rng(5).standard_normal(w.shape), b))
    assert "fix" not in refused(GradientError, check_gradient, layer.f, claim, layer.inputs)
    layer, claim = planted(lambda t, x, w, b: (x, -w, b))
    claim[1][2, 4] *= 3  # All but one are minus: no proof.
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs)
    assert "sign" not in text


# diagnose, by itself


def test_diagnose_is_silent_about_what_is_right():
    n = rng().standard_normal((3, 4))
    assert diagnose(n, n) is None
    assert diagnose(n + 1e-12, n) is None
    assert diagnose(n + 1e-12, n, 1e-13) is not None
    assert diagnose(n.astype(np.float32), n) is None


def test_diagnose_goes_by_the_known_elements_only():
    n = rng().standard_normal((3, 4))
    some = np.where(rng(1).random((3, 4)) < 0.5, n, np.nan)
    assert "sign" in diagnose(-n, some)
    assert diagnose(-n, np.full((3, 4), np.nan)) is None


def test_one_element_proves_no_arbitrary_factor():
    assert diagnose(np.array([1.3]), np.array([1.0])) is None
    assert "sign" in diagnose(np.array([-1.0]), np.array([1.0]))


def test_noise_proves_nothing():
    n = np.array([1e-9, -1e-9])
    assert diagnose(np.array([3.0, 1.0]), n, 1e-8).startswith("f does not depend on it")


def test_diagnose_names_permuted_axes_and_summed_ones():
    n = rng().standard_normal((2, 3, 4))
    assert "by axes (1, 2, 0)" in diagnose(n.transpose(2, 0, 1), n)
    extra = rng(1).standard_normal((5, 2, 6, 3))
    assert "sum it over axis 0 and 2" in diagnose(extra, extra.sum((0, 2)))
    assert "sum it over axis 0," in diagnose(extra[:, :1], extra[:, :1].sum(0))


def test_diagnose_refuses_what_are_no_gradients():
    assert "claimed is not an array" in refused(DtypeError, diagnose, ["a"], np.ones(1))
    assert "numeric is not an array" in refused(DtypeError, diagnose, np.ones(1), np.array(1j))
    for bad in (-1.0, np.ones(3)):
        text = refused(OptionError, diagnose, np.ones(2), np.ones(2), bad)
        assert "the tolerance is not usable" in text
        assert "a number, or shape (2,); none negative" in text


# Kinks


@pytest.mark.parametrize("method", ["central", "forward", "complex"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_kinks_are_reported_not_papered_over(method, dtype):
    x = np.array([1, 0, -1, 0, 0.5], dtype)
    report = check_gradient(relu, relu_gradient, x, method=method)
    assert [kink.index for kink in report.kinks] == [(1,), (3,)]
    for kink in report.kinks:
        assert (kink.left, kink.right) == pytest.approx(
            (0, 1), abs=4 * float(np.finfo(dtype).eps) ** (2 / 3)
        )
    assert report.checked == 3
    assert "2 left out at kinks: x[1] (slopes " in str(report)
    text = refused(GradientError, check_gradient, relu, relu_gradient, x, kinks="raise")
    assert "f is not differentiable at x[1] (slopes " in text
    assert "move x off the kink" in text


def test_ways_with_kinks_are_two():
    text = refused(UnknownNameError, check_gradient, relu, relu_gradient, np.ones(1), kinks="rais")
    assert "did you mean 'raise'?" in text


@pytest.mark.parametrize("dtype", FLOATS)
def test_at_a_kink_a_claim_still_lies_between_the_slopes(dtype):
    x = np.array([1, 0], dtype)
    check_gradient(relu, np.array([1, 0.5], dtype), x)
    for wrong in (1.5, -0.5):
        text = refused(GradientError, check_gradient, relu, np.array([1, wrong], dtype), x)
        assert "first x[1]" in text
        assert f"claimed {wrong}" in text
        assert "between the slopes at this kink of f" in text


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("side", [1, -1])
def test_near_a_kink_a_smaller_step_finds_the_derivative(distance, side):
    x = np.array([side * distance, 1.0])
    report = check_gradient(relu, relu_gradient, x)
    assert report.kinks == ()
    for wrong in (0.5, 1 - (side > 0)):  # The mean of the slopes; the slope on the other side.
        text = refused(GradientError, check_gradient, relu, np.array([wrong, 1.0]), x)
        assert "first x[0]" in text


@REPEATABLE
@given(st.integers(0, 10**6), st.sampled_from(FLOATS))
def test_a_wrong_gradient_at_a_smooth_point_is_never_excused(seed, dtype):
    layer = Layer(dtype, n=2, d=2, k=2, seed=seed)
    claim = [g + dtype(1) for g in layer.gradient(*layer.inputs)]
    text = refused(GradientError, check_gradient, layer.f, claim, layer.inputs)
    assert "10 of 10 elements" in text
    assert "kink" not in text


def test_ties_of_a_maximum_are_kinks():
    x = np.array([2.0, 1.5, 2.0])
    shared = np.array([0.5, 0, 0.5])
    report = check_gradient(np.max, shared, x)
    assert [kink.index for kink in report.kinks] == [(0,), (2,)]


def test_jumps_have_no_slopes():
    report = check_gradient(lambda x: np.sign(x).sum() + x.sum(), np.ones(2), np.array([0.0, 1.0]))
    (kink,) = report.kinks
    assert (kink.name, kink.argument, kink.index) == ("x[0]", 0, (0,))
    assert (kink.left, kink.right) == (-math.inf, math.inf)


def test_a_function_twice_but_not_thrice_differentiable_has_no_kink():
    x = np.array([0.0, 1.0, -1.0])
    report = check_gradient(lambda x: (x * np.abs(x)).sum(), lambda x: 2 * np.abs(x), x)
    assert report.kinks == ()
    assert report.checked == 3


# Large inputs


class Network:
    """A relu network of 20,100 parameters and its gradient by hand."""

    def __init__(self, dtype, seed=0):
        r = rng(seed)
        self.x, self.v, self.y = (r.standard_normal(s).astype(dtype)
                                  for s in ((32, 200), 100, 32))  # fmt: skip
        self.v /= 10
        self.inputs = (r.standard_normal((200, 100)).astype(dtype) / 14, np.zeros(100, dtype))

    def f(self, w, b):
        return ((np.maximum(self.x @ w + b, 0) @ self.v - self.y) ** 2).mean()

    def gradient(self, w, b):
        p = self.x @ w + b
        g = (np.maximum(p, 0) @ self.v - self.y) * (2 / self.y.dtype.type(32))
        g = np.outer(g, self.v) * (p > 0)
        return [self.x.T @ g, g.sum(0)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_large_gradient_is_checked_along_random_directions(dtype, seed):
    network = Network(dtype, seed)
    report = check_gradient(network.f, network.gradient, network.inputs, seed=seed)
    assert report.size == 20_100
    assert report.checked + len(report.kinks) >= check.SAMPLES
    if dtype == np.float64:
        assert report.directions == check.DIRECTIONS
        assert "of 20100 elements and 4 random directions" in str(report)


def test_halving_finds_the_one_wrong_element_in_twenty_thousand():
    network = Network(np.float64)
    claim = network.gradient(*network.inputs)
    claim[0][150, 7] += 1e-4
    text = refused(GradientError, check_gradient, network.f, claim, network.inputs)
    assert "1 of " in text
    assert " of 20100), first w[150, 7]" in text


def test_a_factor_is_proved_on_a_sample():
    network = Network(np.float64)
    claim = [32 * g for g in network.gradient(*network.inputs)]
    text = refused(GradientError, check_gradient, network.f, claim, network.inputs, batch_size=32)
    assert "divide by the batch size 32: every element is 32 times the numeric one" in text


def test_halving_finds_kinks_and_checks_the_rest():
    x = rng(3).standard_normal(5000)
    x[[3, 777, 4000]] = 0
    report = check_gradient(relu, relu_gradient, x)
    assert [kink.index for kink in report.kinks] == [(3,), (777,), (4000,)]
    assert report.directions >= 1
    claim = relu_gradient(x)
    claim[1234] += 0.01
    assert "first x[1234]" in refused(GradientError, check_gradient, relu, claim, x)


def test_an_error_too_small_in_each_element_shows_along_a_direction():
    x = np.ones(4000, np.float32)

    def f(x):
        return (x * x).sum(dtype=np.float64) / 4000  # Noise of float32's eps, slopes of 1 / 2000.

    claim = np.float32(0.0005) * x * (1 + 0.05 * (np.arange(4000) % 2)).astype(np.float32)
    text = refused(GradientError, check_gradient, f, claim, x, samples=1)
    assert "random directions disagree" in text or "of the gradient are wrong" in text


def test_samples_are_seeded():
    x = rng().standard_normal(300)
    reports = [check_gradient(lambda x: (x**3).sum(), 3 * x**2, x, samples=10, seed=4)
               for _ in range(2)]  # fmt: skip
    assert reports[0] == reports[1]
    assert reports[0].checked == 10


# Second and third order


def cube(x):
    return (x**3).sum()


CUBE = [lambda x: 3 * x**2, lambda x, v: 6 * x * v, lambda x, v, u: 6 * v * u]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_orders_check_themselves(order, dtype):
    x = np.array([[0.5, -1.0], [2.0, 1.5]], dtype)
    report = check_gradient(cube, CUBE[:order] if order > 1 else CUBE[0], x, order)
    assert str(report).count("gradient right") == order
    for _ in range(order - 1):
        report = report.higher
        assert report.checked == 4
    assert report.higher is None


def test_a_wrong_second_order_is_found():
    claim = [CUBE[0], lambda x, v: 6.01 * x * v]
    text = refused(GradientError, check_gradient, cube, claim, np.array([0.5, 2.0]), 2)
    assert "every element is 1.001667 times the numeric one" in text


def test_second_order_of_several_arguments():
    def f(x, w):
        return (x**2 * w).sum()

    def first(x, w):
        return [2 * x * w, x**2]

    def second(x, w, u, v):
        return [2 * w * u + 2 * x * v, 2 * x * u]

    x = tuple(rng().standard_normal((2, 3)))
    assert check_gradient(f, [first, second], x, 2).higher.checked == 6
    text = refused(GradientError, check_gradient, f,
                   [first, lambda x, w, u, v: [2 * w * u, 2 * x * u]], x, 2)  # fmt: skip
    assert "first x[0]" in text


@pytest.mark.parametrize("claim", [CUBE[0], CUBE[:1], [CUBE[0], np.ones(2)], CUBE])
def test_an_order_needs_a_function_for_each(claim):
    text = refused(OptionError, check_gradient, cube, claim, np.ones(2), 2)
    assert "order 2 needs a list of 2 functions" in text
    assert "second(x, v) differentiates sum(first(x) * v)" in text


# The error curve


def test_the_error_curve_falls_and_rises():
    curve = error_curve(np.exp, 1.0, math.e)
    steps = curve.steps
    eps = np.finfo(float).eps
    central, forward, complex_ = (curve.errors[m] for m in METHODS)
    assert steps.shape == central.shape == (97,)
    for errors, order, best in ((central, 2, eps ** (1 / 3)), (forward, 1, eps ** (1 / 2))):
        truncates = (steps > 30 * best) & (steps < 0.1)
        slope = np.polyfit(np.log(steps[truncates]), np.log(errors[truncates]), 1)[0]
        assert slope == pytest.approx(order, abs=0.1)
        assert best / 30 < steps[errors.argmin()] < best * 30
        assert errors[steps < 1e-14].max() > 1e-3  # Rounding has eaten the difference.
    assert complex_[steps < 1e-9].max() < 4 * eps  # Nothing to eat.


def test_a_step_that_moves_nothing_sees_no_slope():
    curve = error_curve(lambda x: x * x, np.float32(1), 2.0, ["forward", "central"], [1e-9, 1e-3])
    assert list(curve.errors) == ["forward", "central"]
    assert curve.errors["forward"][0] == curve.errors["central"][0] == 2
    assert curve.errors["forward"][1] == pytest.approx(1e-3, rel=0.2)


def test_the_error_curve_refuses():
    text = refused(ShapeError, error_curve, np.sum, np.ones(2), 1.0)
    assert "this is a curve at one point" in text
    for steps in ([], [[1.0]], [0.0], [-1.0], [np.nan]):
        assert "the steps are not usable" in refused(OptionError, error_curve, np.exp, 1.0, 1.0,
                                                     steps=steps)  # fmt: skip


# Devices


def test_a_function_on_the_device_gets_device_arrays(monkeypatch):
    class There:
        """An array NumPy cannot see."""

        def __init__(self, host):
            self.host = np.array(host)

        def __array__(self, dtype=None, copy=None):
            raise TypeError("Implicit conversion to a NumPy array is not allowed")

        def __mul__(self, other):
            return There(self.host * (other.host if isinstance(other, There) else other))

        __rmul__ = __mul__

        def sum(self):
            return There(self.host.sum())

        def get(self):
            return self.host.copy()

    cupy = type(sys)("cupy")
    cupy.ndarray = There
    cupy.asarray = lambda a, blocking=True: a if isinstance(a, There) else There(a)
    cupy.cuda = type(sys)("cuda")
    cupy.cuda.runtime = type(sys)("runtime")
    cupy.cuda.runtime.getDeviceCount = lambda: 1
    cupy.cuda.runtime.CUDARuntimeError = RuntimeError
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    arrays.gpu_problem.cache_clear()
    try:
        x = There(np.array([1.0, 2.0]))
        assert check_gradient(lambda x: (x * x).sum(), [lambda x: 2 * x, lambda x, v: 2 * v], x, 2)
        assert "sign" in refused(GradientError, check_gradient, lambda x: (x * x).sum(),
                                 lambda x: -2 * x, x)  # fmt: skip
    finally:
        monkeypatch.undo()
        arrays.gpu_problem.cache_clear()
