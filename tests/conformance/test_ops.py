"""Every op, in the eras that run it when it is called: value, both orders, both dtypes.

Era 2 compiles first, in one of several modes: ``test_symbolic.py`` runs its rows.
"""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from agreement import (
    assert_gradients,
    assert_second_order,
    assert_value,
    direction_of,
    roundings,
    sample,
    scattered,
)
from table import ROWS

from workbench import dynamic, functional

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)  # Adds its rows to the table.


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

    # Linear algebra has a namespace of its own there; the table's is flat.
    ops = SimpleNamespace(**{name: getattr(space, name) for space in (functional.numpy.linalg,
                             functional.numpy) for name in space.__all__})  # fmt: skip

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


ERAS = {"dynamic": Dynamic, "functional": Functional}
RUNS = [pytest.param(row, era, id=f"{era}-{row.id}") for era in ERAS for row in ROWS
        if era in row.eras]  # fmt: skip
DIFFERENTIABLE = [run for run in RUNS if run.values[0].no_gradient is None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "era"), RUNS)
def test_value_and_dtype_are_numpys(row, era, dtype):
    _, arrays = sample(row, dtype)
    assert_value(row, arrays, dtype, ERAS[era].value(row.call, arrays))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "era"), DIFFERENTIABLE)
def test_gradient_is_the_numeric_one(row, era, dtype):
    rng, arrays = sample(row, dtype)
    direction = direction_of(row, rng, arrays, dtype)
    assert_gradients(row, arrays, dtype, ERAS[era].gradient(row.call, arrays, [direction]))


@pytest.mark.parametrize(("row", "era"), DIFFERENTIABLE)
def test_second_order_is_the_numeric_derivative_of_the_first(row, era):
    rng, arrays = sample(row, np.float64)
    direction = direction_of(row, rng, arrays, np.float64)
    onwards = [rng.standard_normal(a.shape) for a in arrays]

    def first(arrays):
        gradients = ERAS[era].gradient(row.call, arrays, [direction])
        return sum(np.sum(g * d) for g, d in zip(gradients, onwards, strict=True))

    second = ERAS[era].gradient(row.call, arrays, [direction, onwards])
    assert_second_order(second, first, arrays, rng)


@pytest.mark.parametrize(("row", "era"), RUNS)
def test_non_contiguous_inputs_give_the_same(row, era):
    rng, arrays = sample(row, np.float64)
    expected = ERAS[era].value(row.call, arrays)
    limit = roundings(np.float64, [np.asarray(expected)])
    actual = ERAS[era].value(row.call, scattered(arrays))
    np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit)
    if row.no_gradient is None:
        direction = rng.standard_normal(np.shape(expected))
        pairs = (ERAS[era].gradient(row.call, each, [direction])
                 for each in (scattered(arrays), arrays))  # fmt: skip
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


def test_every_op_of_era_4_has_a_row_or_a_reason():
    elsewhere = {
        "it makes arrays of nothing, or of shapes: tests/functional/test_numpy.py":
            "arange array asarray broadcast_shapes empty empty_like eye fromfunction full full_like "
            "geomspace identity indices linspace logspace one_hot ones ones_like tri zeros "
            "zeros_like",
        "the dtype of the result is not the argument's: tests/functional": "astype float_power vander",
        "its arguments are integers or complex: tests/functional":
            "bincount histogram imag ravel_multi_index unravel_index",
        "it transforms a function, or is spelt at(x)[i]: tests/functional":
            "apply_along_axis at vectorize",
    }  # fmt: skip
    spaces = (functional.numpy, functional.numpy.linalg)
    found = {name: getattr(space, name) for space in spaces for name in space.__all__}
    public = {name for name, op in found.items() if callable(op) and not isinstance(op, type)}
    rows = {row.name for row in ROWS if "functional" in row.eras} - {"getitem"}
    assert public - rows == {name for names in elsewhere.values() for name in names.split()}
    assert len(public & rows) >= 240


@pytest.mark.parametrize("row", [row for row in ROWS if "dynamic" in row.eras], ids=lambda r: r.id)
def test_a_tensor_of_era_3_has_an_array_of_its_own(row):
    _, arrays = sample(row, np.float64)
    inputs = [dynamic.tensor(a, requires_grad=True) for a in arrays]
    result = row.call(dynamic.ops, *inputs)
    assert all(result is x or result.data is not x.data for x in inputs)
