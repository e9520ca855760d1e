"""Lowering: what every op writes for the compiler computes what the op itself computes.

The programs are run by the compiler's reference target, unsimplified, so that a
difference is the lowering's.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from table import ROWS

from workbench import arrays, compiler, symbolic
from workbench.errors import DtypeError
from workbench.symbolic import ops
from workbench.symbolic.graph import nodes
from workbench.symbolic.lowering import ValueNeeded, lower, value_leaves

for path in sorted((Path(__file__).parents[1] / "conformance").glob("rows_*.py")):
    importlib.import_module(path.stem)

SYMBOLIC = [row for row in ROWS if "symbolic" in row.eras]
NEED_SIZES = {
    "split": "into equal parts: a number of equal parts of an unknown size",
    "pad": "copies elements of x, by positions worked out when the graph is built",
    "squeeze": "which axes have size 1",
    "group_norm": "into how many groups the channels part",
    "conv1d": "the kernels' size", "conv2d": "the kernels' size",
    "conv_transpose1d": "the kernels' size", "conv_transpose2d": "the kernels' size",
    "col2im": "the windows' size",
    **dict.fromkeys(("solve", "inv", "det", "cholesky"), "these rows add an identity, of NumPy"),
    "einsum": "an axis of one beside a longer one is not summed over in a product",
}  # fmt: skip
"""Ops that may refuse sizes that are not known when the graph is built, and which they need."""


def run(inputs, outputs, values):
    """Lower and run; with the types of ``values``, which the variables may leave open."""
    types = [compiler.Type(v.dtype, v.shape) for v in values]
    return compiler.compile(lower("test", inputs, types, outputs), "numpy")(*values)


def near(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    finite = expected[np.isfinite(expected)]
    limit = 30 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=limit,
                               atol=limit * np.abs(finite).max(initial=1))  # fmt: skip


def expressions(row, dtype, known):
    """Return a row's inputs, its value and its gradients of first order, and sampled values."""
    rng = np.random.default_rng(len(row.id))
    values = [np.asarray(a, dtype) for a in row.sample(rng)]
    xs = [symbolic.tensor(f"x{i}", v.dtype, v.shape if known else (None,) * v.ndim)
          for i, v in enumerate(values)]  # fmt: skip
    y = row.call(ops, *xs)
    made = [y]
    if row.no_gradient is None:
        r = rng.standard_normal(np.shape(row.reference(*values))).astype(dtype)
        made += symbolic.grad(ops.sum(y * r), xs, disconnected="zero")
    return xs, made, values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", SYMBOLIC, ids=lambda row: row.id)
def test_the_program_of_an_op_computes_what_the_op_does(row, dtype):
    xs, made, values = expressions(row, dtype, True)
    expected = symbolic.function(xs, made, mode="interpret", on_unused_input="ignore")(*values)
    for a, e in zip(run(xs, made, values), expected, strict=True):
        near(a, e)


@pytest.mark.parametrize("row", [r for r in SYMBOLIC if r.name not in NEED_SIZES],
                         ids=lambda row: row.id)  # fmt: skip
def test_sizes_may_be_known_only_when_the_program_is_written(row):
    xs, made, values = expressions(row, np.float64, False)
    expected = symbolic.function(xs, made, mode="interpret", on_unused_input="ignore")(*values)
    for a, e in zip(run(xs, made, values), expected, strict=True):
        near(a, e)
    known = expressions(row, np.float64, True)
    for a, e in zip(run(xs, made, values), run(*known), strict=True):
        near(a, e)


def test_the_rows_reach_every_op_and_its_gradient():
    seen = set()
    for row in SYMBOLIC:
        _, made, _ = expressions(row, np.float64, True)
        seen |= {node.op.name for node in nodes(made)}
    assert len(seen) >= 90  # Each of them by test_the_program_of_an_op_computes_what_the_op_does.


# --- dtypes other than floats --------------------------------------------------------------

WHOLE = np.array([-7, -1, 0, 1, 3, 100], np.int64), np.array([3, -2, 5, 7, -3, 9], np.int64)
PAIRS = ("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "fmod", "maximum",
         "minimum", "less", "greater_equal", "equal", "not_equal", "logical_and", "logical_xor",
         "bitwise_and", "bitwise_or", "bitwise_xor", "arctan2", "hypot")  # fmt: skip


@pytest.mark.parametrize("dtypes", [("i8", "i8"), ("i4", "f4"), ("i2", "i8"), ("f4", "f8"),
                                    ("?", "i8"), ("?", "?"), ("u1", "i4"), ("u8", "u8")])  # fmt: skip
@pytest.mark.parametrize("name", PAIRS)
def test_dtypes_promote_as_numpys_do(name, dtypes):
    a, b = (np.abs(v).astype(d) if d[0] == "u" else v.astype(d)
            for v, d in zip(WHOLE, dtypes, strict=True))  # fmt: skip
    reference = getattr(np, name)
    try:
        reference.resolve_dtypes((a.dtype, b.dtype, None))
    except TypeError:
        with pytest.raises(DtypeError):
            getattr(ops, name)(a, b)
        return
    x, y = symbolic.vector("x", a.dtype), symbolic.vector("y", b.dtype)
    with np.errstate(all="ignore"):
        (actual,) = run([x, y], [getattr(ops, name)(x, y)], [a, b])
        near(actual, np.asarray(reference(a, b)))


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e30, -1e30, 1e-30])
UNARY = ("negative absolute sign floor ceil rint trunc isnan isinf isfinite logical_not square exp2 "
         "log2 log10 cbrt sigmoid relu softplus log1pexp tanh sinh cosh arctan arcsinh exp expm1 "
         "erf erfc sqrt log").split()  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", UNARY)
def test_nan_and_infinity_pass_as_the_interpreter_passes_them(name, dtype):
    values = SPECIAL.astype(dtype)
    x = symbolic.vector("x", dtype)
    y = getattr(ops, name)(x)
    with np.errstate(all="ignore"):
        near(run([x], [y], [values])[0], symbolic.function([x], y, mode="interpret")(values))


@pytest.mark.parametrize("name", ["add", "maximum", "minimum", "hypot", "logaddexp", "arctan2",
                                  "remainder", "fmod", "less", "heaviside"])  # fmt: skip
def test_pairs_of_special_numbers_pass_as_numpys(name):
    a, b = (v.ravel() for v in np.meshgrid(SPECIAL, SPECIAL))
    x, y = symbolic.vector("x"), symbolic.vector("y")
    with np.errstate(all="ignore"):
        (actual,) = run([x, y], [getattr(ops, name)(x, y)], [a, b])
        near(actual, getattr(np, name)(a, b))


def test_erfc_keeps_its_digits_where_it_is_tiny():
    x = symbolic.vector("x")
    values = np.linspace(-6, 26, 641)
    (actual,) = run([x], [ops.erfc(x)], [values])
    np.testing.assert_allclose(actual, arrays.erfc(values), rtol=3e-15)
    # SciPy rounds the square in exp(-x * x), so farther out its own digits are fewer.
    np.testing.assert_allclose(actual[:240], scipy.special.erfc(values[:240]), rtol=1e-14)


def test_logarithms_of_whole_powers_are_whole():
    x = symbolic.vector("x")
    powers = np.arange(-60, 60.0)
    np.testing.assert_array_equal(run([x], [ops.log2(x)], [2.0**powers])[0], powers)
    tens = np.arange(0, 22.0)
    np.testing.assert_array_equal(run([x], [ops.log10(x)], [10.0**tens])[0], tens)


def test_signed_and_unsigned_are_compared_exactly_by_the_interpreter():
    x, y = symbolic.vector("x", "int64"), symbolic.vector("y", "uint64")
    f = symbolic.function([x, y], ops.less(x, y), mode="numpy")
    large = 2**63 - 1
    assert f(np.array([-1, large]), np.array([0, large + 1], np.uint64)).tolist() == [True, True]
    assert "has no common dtype" in f.fallback


# --- values that decide shapes -------------------------------------------------------------


def test_a_value_that_decides_a_shape_is_asked_for_by_name():
    x, n = symbolic.vector("x"), symbolic.scalar("n", "int64")
    types = [compiler.Type(np.dtype("f8"), (9,)), compiler.Type(np.dtype("i8"), ())]
    for y in (x[:n], ops.zeros((n, 2)) * ops.sum(x), ops.arange(n) + ops.sum(x), x[:: n + 1]):
        with pytest.raises(ValueNeeded) as caught:
            lower("test", [x, n], types, [y])
        assert value_leaves(caught.value.variable) == [n]
        program = lower("test", [x, n], types, [y], known={n: np.array(3)})
        values = np.arange(9.0), np.array(3)
        expected = symbolic.function([x, n], y, mode="interpret")(*values)
        near(compiler.compile(program, "numpy")(*values)[0], expected)


def test_shapes_are_arithmetic_that_is_gone_in_the_program():
    x = symbolic.matrix("x")
    y = ops.reshape(x, (ops.shape_of(x)[0] * ops.shape_of(x)[1] // 2, 2)).mean()
    program = lower("test", [x], [compiler.Type(np.dtype("f8"), (4, 6))], [y])
    assert {i.opcode for i in program.instructions} == {"constant", "reshape", "sum", "divide"}
