from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.errors import DeviceError, DtypeError, OptionError, ShapeError
from workbench.manual._checks import check, check_count, check_number


def test_letters_bind_in_order_and_multiples_count():
    a, b = np.ones((2, 3)), np.ones((3, 8))
    check("op", "a N H, b H 4N", a, b)
    with pytest.raises(ShapeError) as caught:
        check("op", "a N H, b H 3N", a, b)
    assert str(caught.value) == (
        "op: b does not fit a\n"
        "  given:    a (2, 3), b (3, 8)\n"
        "  expected: a (N, H), b (H, 3N)\n"
        "  fix:      b needs shape (3, 6) here"
    )


def test_the_same_question_is_refused_again_and_again():
    for _ in range(2):
        with pytest.raises(ShapeError, match="op: a has 1 axes"):
            check("op", "a N D", np.ones(3))


def test_leading_axes_are_shared():
    check("op", "a ... K, b:int ...", np.ones((2, 3, 4)), np.ones((2, 3), int))
    check("op", "a ..., b ...", np.ones(()), np.ones(()))
    with pytest.raises(ShapeError, match="op: b does not fit a"):
        check("op", "a ... K, b:int ...", np.ones((2, 3, 4)), np.ones((3, 2), int))


def test_complex_of_one_precision_goes_beside_real():
    check("op", "a N, b N", np.ones(2, complex), np.ones(2))
    with pytest.raises(DtypeError, match="op: b and a differ in precision"):
        check("op", "a N, b N", np.ones(2, np.complex64), np.ones(2))


def test_arrays_of_two_devices_are_refused(monkeypatch):
    class Elsewhere:
        shape, dtype = (2,), np.dtype(np.float64)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=Elsewhere))
    with pytest.raises(DeviceError, match="op: b and a are on different devices"):
        check("op", "a N, b N", np.ones(2), Elsewhere())
    check("op", "a N, b N", Elsewhere(), Elsewhere())


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None])
def test_counts(value):
    assert check_count("op", "size", np.int64(3)) == 3
    with pytest.raises(OptionError) as caught:
        check_count("op", "size", value)
    assert str(caught.value) == (
        f"op: size is not usable\n  given:    size={value!r}\n  expected: a positive int"
    )


def test_numbers():
    assert check_number("op", "rate", np.float32(0.5), 0, 1) == 0.5
    assert check_number("op", "rate", 0, 0) == 0
    for value in (-1, float("inf"), float("nan"), 1j, "1", None, True):
        with pytest.raises(OptionError, match="op: rate is not usable"):
            check_number("op", "rate", value, 0)
    with pytest.raises(OptionError, match="op: rate is not usable"):
        check_number("op", "rate", 0, 0, open_low=True)
