"""Every op of era 2, in every mode: value, first order, both dtypes, memory with gaps.

A graph is compiled once with its value and its gradients, since compiling is what costs.
"""

import importlib
from pathlib import Path

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

from workbench import compiler, symbolic
from workbench.symbolic import ops

for path in sorted(Path(__file__).parent.glob("rows_*.py")):
    importlib.import_module(path.stem)  # Adds its rows to the table.

MODES = [
    "interpret",
    "numpy",
    pytest.param("llvm", marks=pytest.mark.skipif(
        compiler.best_target() != "llvm", reason="needs llvmlite")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]  # fmt: skip
SYMBOLIC = [row for row in ROWS if "symbolic" in row.eras]
DIFFERENTIABLE = [row for row in SYMBOLIC if row.no_gradient is None]


def declared(arrays):
    return [symbolic.tensor(f"x{i}", dtype=a.dtype, shape=a.shape) for i, a in enumerate(arrays)]


def projected(expressions, directions):
    """Return the sum of the elements of expressions, each weighted."""
    return sum(ops.sum(y * d) for y, d in zip(expressions, directions, strict=True))


def compiled(inputs, outputs, mode):
    return symbolic.function(inputs, outputs, mode=mode, on_unused_input="ignore")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", SYMBOLIC, ids=lambda row: row.id)
def test_value_and_gradient(row, dtype, mode):
    rng, arrays = sample(row, dtype)
    inputs = declared(arrays)
    y = row.call(ops, *inputs)
    gradients = []
    if row.no_gradient is None:
        direction = direction_of(row, rng, arrays, dtype)
        gradients = symbolic.grad(projected([y], [direction]), inputs, disconnected="zero")
    f = compiled(inputs, [y, *gradients], mode)
    value, *slopes = results = f(*arrays)
    assert f.fallback is None
    assert_value(row, arrays, dtype, value)
    if row.no_gradient is None:
        assert_gradients(row, arrays, dtype, slopes)
    for again, known in zip(f(*scattered(arrays)), results, strict=True):
        limit = roundings(dtype, [known])
        np.testing.assert_allclose(again, known, rtol=limit, atol=limit)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=lambda row: row.id)
def test_second_order_is_the_numeric_derivative_of_the_first(row):
    rng, arrays = sample(row, np.float64)
    inputs, direction = declared(arrays), direction_of(row, rng, arrays, np.float64)
    onwards = [rng.standard_normal(a.shape) for a in arrays]
    gradients = symbolic.grad(
        projected([row.call(ops, *inputs)], [direction]), inputs, disconnected="zero"
    )
    first = projected(gradients, onwards)
    second = symbolic.grad(first, inputs, disconnected="zero")
    f = compiled(inputs, [first, *second], None)
    assert_second_order(f(*arrays)[1:], lambda x: f(*x)[0], arrays, rng)


def test_every_op_of_era_2_has_a_row_or_a_reason():
    elsewhere = {
        "dropout": "takes a stream of random numbers: tests/symbolic/test_random.py",
        "shape_of": "returns sizes, of no dtype of x's: tests/symbolic/test_ops.py",
    }
    public = {name for name in ops.__all__ if callable(getattr(ops, name))}
    assert public - {row.name for row in SYMBOLIC} == set(elsewhere)
    assert len(public) >= 200
