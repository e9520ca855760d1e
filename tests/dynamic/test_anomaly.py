"""detect_anomaly: the line of the operation that made the first NaN."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import ops
from workbench.dynamic.tensor import mode
from workbench.errors import NotFiniteError


def leaf(data):
    return dynamic.tensor(data, requires_grad=True)


def test_the_forward_that_makes_a_nan_is_named_with_its_line():
    x = leaf([1.0, -1.0])
    with (
        np.errstate(invalid="ignore"),
        dynamic.detect_anomaly(),
        pytest.raises(NotFiniteError, match="log: this operation made the first NaN") as caught,
    ):
        ops.log(x).sum()
    assert "x (2,)" in str(caught.value)
    assert "test_anomaly.py" in str(caught.value)
    assert "ops.log(x).sum()" in str(caught.value)


def test_a_nan_that_was_there_before_is_not_blamed_on_the_operation():
    with dynamic.detect_anomaly(), pytest.raises(NotFiniteError, match="add: argument 1 already"):
        leaf([1.0]) + leaf([np.nan])


def test_the_backward_that_makes_a_nan_is_named_with_the_line_of_its_forward():
    x = leaf([0.0])
    with np.errstate(all="ignore"), dynamic.detect_anomaly():
        root = ops.sqrt(x)  # Its slope at 0 is infinite; times 0 that is NaN.
        y = (root * 0.0).sum()
        with pytest.raises(NotFiniteError, match="sqrt: its backward made the first NaN") as caught:
            y.backward()
    assert "root = ops.sqrt(x)" in str(caught.value)


def test_a_nan_that_arrives_from_outside_is_said_to_arrive():
    x = leaf([1.0, 2.0])
    with dynamic.detect_anomaly():
        y = x * 2.0
        with pytest.raises(NotFiniteError, match="passed on the first NaN"):
            y.backward(np.array([np.nan, 1.0]))


def test_a_failing_backward_gets_a_note():
    class Broken(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, g):
            return g / None

    with dynamic.detect_anomaly():
        y = Broken.apply(leaf([1.0]))
        with pytest.raises(TypeError) as caught:
            y.backward()
    (note,) = caught.value.__notes__
    assert "backward of broken, recorded at" in note
    assert "y = Broken.apply(leaf([1.0]))" in note


def test_infinities_and_masks_pass_and_everything_is_as_before_afterwards():
    with dynamic.detect_anomaly():
        x = leaf([0.0, 1.0])
        y = ops.where(np.array([False, True]), x, -np.inf)
        assert ops.exp(y).data[0] == 0
        ops.softmax(y).sum().backward()
    assert (mode.intercept, mode.anomaly) == (None, None)


def test_it_is_a_decorator_too():
    @dynamic.detect_anomaly()
    def f(x):
        return ops.sqrt(x)

    with np.errstate(invalid="ignore"), pytest.raises(NotFiniteError, match="sqrt"):
        f(leaf([-1.0]))


def test_an_infinite_gradient_that_arrives_is_not_blamed_on_the_point():
    x = leaf([0.0])
    with np.errstate(all="ignore"), dynamic.detect_anomaly():
        y = ops.sqrt(x * x).sum()  # The slope of the root is infinite, that of the square 0.
        with pytest.raises(NotFiniteError, match="an infinite gradient arrived"):
            y.backward()
