"""Every op, in every era: value, first order, second order, both dtypes."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from table import ROWS

from workbench import dynamic, functional, gradcheck, symbolic

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)  # Adds its rows to the table.


class Symbolic:
    """Build the expression, compile it, feed it."""

    ops = symbolic.ops

    @staticmethod
    def inputs(arrays):
        return [symbolic.tensor(f"x{i}", dtype=a.dtype, shape=a.shape)
                for i, a in enumerate(arrays)]  # fmt: skip

    @classmethod
    def value(cls, call, arrays):
        inputs = cls.inputs(arrays)
        return symbolic.function(inputs, call(cls.ops, *inputs))(*arrays)

    @classmethod
    def gradient(cls, call, arrays, directions):
        """Return <call(x), directions[0]>'s gradients; with more directions, onwards."""
        inputs = cls.inputs(arrays)
        quantity = cls.ops.sum(call(cls.ops, *inputs) * directions[0])
        gradients = symbolic.grad(quantity, inputs, disconnected="zero")
        for direction in directions[1:]:
            quantity = sum(cls.ops.sum(g * d) for g, d in zip(gradients, direction, strict=True))
            gradients = symbolic.grad(quantity, inputs, disconnected="zero")
        return symbolic.function(inputs, gradients, on_unused_input="ignore")(*arrays)


class Dynamic:
    """Run it, then walk the tape back."""

    ops = dynamic.ops

    @classmethod
    def value(cls, call, arrays):
        return call(cls.ops, *map(dynamic.tensor, arrays)).data

    @classmethod
    def gradient(cls, call, arrays, directions):
        inputs = [dynamic.tensor(a, requires_grad=True) for a in arrays]
        quantity = cls.ops.sum(call(cls.ops, *inputs) * directions[0])
        gradients = dynamic.grad(quantity, inputs, create_graph=len(directions) > 1)
        for direction in directions[1:]:
            quantity = sum(cls.ops.sum(g * d) for g, d in zip(gradients, direction, strict=True))
            if not quantity.requires_grad:  # A linear op: its gradient is constant.
                return [np.zeros_like(a) for a in arrays]
            found = dynamic.grad(quantity, inputs, allow_unused=True)
            gradients = [
                dynamic.tensor(np.zeros_like(a)) if g is None else g
                for g, a in zip(found, arrays, strict=True)
            ]
        return [g.data for g in gradients]


class Functional:
    """Transform the function."""

    ops = functional.numpy

    @classmethod
    def value(cls, call, arrays):
        return call(cls.ops, *arrays)

    @classmethod
    def gradient(cls, call, arrays, directions):
        ops = cls.ops

        def quantity(inputs):
            return ops.sum(call(ops, *inputs) * directions[0])

        gradient = functional.grad(quantity)
        for direction in directions[1:]:

            def onwards(inputs, gradient=gradient, direction=direction):
                pairs = zip(gradient(inputs), direction, strict=True)
                return sum(ops.sum(g * d) for g, d in pairs)

            gradient = functional.grad(onwards)
        return gradient(list(arrays))


ERAS = {"symbolic": Symbolic, "dynamic": Dynamic, "functional": Functional}
RUNS = [pytest.param(row, era, id=f"{era}-{row.id}") for era in ERAS for row in ROWS
        if era in row.eras]  # fmt: skip
DIFFERENTIABLE = [run for run in RUNS if run.values[0].no_gradient is None]


def sample(row, dtype):
    rng = np.random.default_rng(len(row.id))
    return rng, [np.asarray(a, dtype) for a in row.sample(rng)]


def roundings(dtype, arrays):
    """Return the tolerance of a result made of a few hundred roundings at most."""
    largest = max([1.0, *(float(np.abs(a).max(initial=0)) for a in arrays)])
    return 100 * np.finfo(dtype).eps * largest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "era"), RUNS)
def test_value_and_dtype_are_numpys(row, era, dtype):
    _, arrays = sample(row, dtype)
    expected = np.asarray(row.reference(*arrays))
    actual = np.asarray(ERAS[era].value(row.call, arrays))
    assert actual.shape == expected.shape
    if expected.dtype.kind == "f":
        assert actual.dtype == dtype
    else:
        assert actual.dtype == expected.dtype
    limit = roundings(dtype, [expected])
    np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "era"), DIFFERENTIABLE)
def test_gradient_is_the_numeric_one(row, era, dtype):
    rng, arrays = sample(row, dtype)
    direction = rng.standard_normal(np.shape(row.reference(*arrays))).astype(dtype)
    gradients = ERAS[era].gradient(row.call, arrays, [direction])
    assert [g.dtype for g in map(np.asarray, gradients)] == [dtype] * len(arrays)

    def f(arrays):
        return np.sum(row.reference(*arrays) * direction)

    # float32 gradients are held to the float64 derivative of the NumPy reference.
    wide = [a.astype(np.float64) for a in arrays]
    for i, (g, x) in enumerate(zip(gradients, wide, strict=True)):
        assert np.shape(g) == x.shape
        if not x.size:
            continue  # Of an empty array the shape is all there is to be right about.
        numeric = gradcheck.numeric_gradient(lambda v, i=i: f([*wide[:i], v, *wide[i + 1 :]]), x)
        # A central difference of step cbrt(eps) is right to about eps^(2/3).
        limit = max(roundings(dtype, [numeric]), np.finfo(np.float64).eps ** (2 / 3) * 100)
        np.testing.assert_allclose(
            g, numeric, rtol=limit, atol=limit * max(1, np.abs(numeric).max(initial=0))
        )


@pytest.mark.parametrize(("row", "era"), DIFFERENTIABLE)
def test_second_order_is_the_numeric_derivative_of_the_first(row, era):
    rng, arrays = sample(row, np.float64)
    direction = rng.standard_normal(np.shape(row.reference(*arrays)))
    onwards = [rng.standard_normal(a.shape) for a in arrays]
    second = ERAS[era].gradient(row.call, arrays, [direction, onwards])

    def first(i, v):
        gradients = ERAS[era].gradient(row.call, [*arrays[:i], v, *arrays[i + 1 :]], [direction])
        return sum(np.sum(g * d) for g, d in zip(gradients, onwards, strict=True))

    for i, (g, x) in enumerate(zip(second, arrays, strict=True)):
        assert np.shape(g) == x.shape
        if not x.size:
            continue
        pick = rng.permutation(x.size)[:6]  # A few elements: each costs two gradients.

        def at(values, i=i, x=x, pick=pick):
            changed = x.copy()
            changed.reshape(-1)[pick] = values
            return first(i, changed)

        numeric = gradcheck.numeric_gradient(at, x.reshape(-1)[pick])
        limit = np.finfo(np.float64).eps ** (2 / 3) * 100
        np.testing.assert_allclose(np.reshape(g, -1)[pick], numeric, rtol=limit,
                                   atol=limit * max(1, np.abs(numeric).max(initial=0)))  # fmt: skip


@pytest.mark.parametrize(("row", "era"), RUNS)
def test_non_contiguous_inputs_give_the_same(row, era):
    rng, arrays = sample(row, np.float64)
    scattered = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    assert not any(a.size > 1 and a.flags.c_contiguous for a in scattered if a.ndim)
    expected = ERAS[era].value(row.call, arrays)
    limit = roundings(np.float64, [np.asarray(expected)])
    actual = ERAS[era].value(row.call, scattered)
    np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit)
    if row.no_gradient is None:
        direction = rng.standard_normal(np.shape(expected))
        pairs = (ERAS[era].gradient(row.call, each, [direction]) for each in (scattered, arrays))
        for g, known in zip(*pairs, strict=True):
            limit = roundings(np.float64, [known])
            np.testing.assert_allclose(g, known, rtol=limit, atol=limit)


@pytest.mark.parametrize("era", ERAS)
def test_every_row_exists_in_its_eras(era):
    names = {row.name for row in ROWS if era in row.eras} - {"getitem"}  # Spelt with brackets.
    assert not {name for name in names if not hasattr(ERAS[era].ops, name)}


def test_every_op_of_era_3_has_a_row_or_a_reason():
    elsewhere = {
        "astype": "changes the dtype, which a row holds fixed: tests/dynamic/test_ops.py",
        "to": "changes the device or the dtype: tests/dynamic/test_amp.py, test_device.py",
        "to_device": "changes the device: tests/conformance/test_device.py",
        "setitem": "works in place: tests/dynamic/test_in_place.py",
    }
    public = {name for name in dynamic.ops.__all__ if callable(getattr(dynamic.ops, name))}
    rows = {row.name for row in ROWS if "dynamic" in row.eras}
    assert public - rows == set(elsewhere)
    assert len(public) >= 120


@pytest.mark.parametrize("row", [row for row in ROWS if "dynamic" in row.eras], ids=lambda r: r.id)
def test_a_tensor_of_era_3_has_an_array_of_its_own(row):
    _, arrays = sample(row, np.float64)
    inputs = [dynamic.tensor(a, requires_grad=True) for a in arrays]
    result = row.call(dynamic.ops, *inputs)
    assert all(result is x or result.data is not x.data for x in inputs)
