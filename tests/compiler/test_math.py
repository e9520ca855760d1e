"""Elementary functions in generated code: how far off they are, everywhere, and at the edges."""

import ctypes
import re
from functools import cache

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from workbench.compiler.llvm.math import ACCURACY, MATH

ROWS = sorted(MATH)
NUMPY = {"exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh}


def loop_module(name, dtype):
    """A module of one function that applies the row to n elements."""
    kind = {"f4": ir.FloatType(), "f8": ir.DoubleType()}[dtype]
    module = ir.Module(name)
    i64, pointer = ir.IntType(64), kind.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, i64]), "run")
    out, x, n = function.args
    out.add_attribute("noalias")
    x.add_attribute("noalias")
    entry, body, end = (function.append_basic_block(each) for each in ("entry", "body", "end"))
    b = ir.IRBuilder(entry)
    b.branch(body)
    b.position_at_end(body)
    i = b.phi(i64)
    b.store(MATH[name, dtype](b, b.load(b.gep(x, [i]))), b.gep(out, [i]))
    following = b.add(i, i64(1))
    i.add_incoming(i64(0), entry)
    i.add_incoming(following, body)
    b.cbranch(b.icmp_signed("<", following, n), body, end)
    b.position_at_end(end)
    b.ret_void()
    return module


@cache
def compiled(name, dtype, cpu=None, features=None):
    """The loop as a function of an array, and its optimised code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(str(loop_module(name, dtype)))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu or llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten() if features is None else features,
        opt=3,
    )
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    code = str(module)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    address = engine.get_function_address("run")
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)

    def run(x):
        x = np.ascontiguousarray(x, dtype)
        out = np.empty_like(x)
        native(out.ctypes.data, x.ctypes.data, x.size)
        return out

    run.engine = engine  # The code lives as long as its engine.
    return run, code


def reference(name, x):
    """The function in a wider format than that of the arguments."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            e = np.exp(-np.abs(wide))
            return np.where(wide >= 0, 1 / (1 + e), e / (1 + e))
        if name == "erf":
            return wide_erf(wide)
        return NUMPY[name](wide)


def wide_erf(x):
    """Of positive terms only: 2 / sqrt(pi) exp(-x**2) times the sum of 2**n x**(2n+1) / (2n+1)!!"""
    a = np.minimum(np.abs(x), 7)
    term, total = a.copy(), a.copy()
    for n in range(1, 200):
        term *= 2 * a * a / (2 * n + 1)
        total += term
    root = np.sqrt(np.arctan(x.dtype.type(1)))
    return np.copysign(total * np.exp(-a * a) / root, x)


@cache
def arguments(dtype):
    """Numbers of every size, and many where the functions bend."""
    kind = np.finfo(dtype)
    rng = np.random.default_rng(0)
    powers = 2.0 ** np.arange(kind.minexp - kind.nmant, kind.maxexp)
    powers = np.concatenate([powers, np.nextafter(powers.astype(dtype), np.inf, dtype=dtype)])
    anywhere = rng.integers(0, np.array(np.inf, dtype).view(f"u{kind.dtype.itemsize}"), 30_000)
    anywhere = anywhere.astype(f"u{kind.dtype.itemsize}").view(dtype)
    positive = [powers, anywhere, *(rng.uniform(0, top, 30_000) for top in (1, 3, 20, 100, 800))]
    positive = np.concatenate([each.astype(dtype) for each in positive])
    near_one = 1 + rng.uniform(-0.5, 0.5, 30_000).astype(dtype)
    return np.concatenate([positive, -positive, near_one, -near_one])


@cache
def right_answers(name, dtype):
    return reference(name, arguments(dtype))


def ulps(got, wide, dtype):
    """Errors in units in the last place of the right result, where that is finite."""
    kind = np.finfo(dtype)
    with np.errstate(over="ignore"):
        right = wide.astype(dtype)
    some = np.isfinite(right)
    unit = np.spacing(np.maximum(np.abs(right[some]), kind.smallest_normal)).astype(wide.dtype)
    return np.abs(got[some].astype(wide.dtype) - wide[some]) / unit, right, some


longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="this machine has no float wider than float64"
)
WIDTHS = ["f4", pytest.param("f8", marks=longdouble)]


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("name", sorted({name for name, _ in ROWS}))
@pytest.mark.parametrize("cpu", ["host", "plain"])
def test_errors_stay_within_the_table(name, dtype, cpu):
    run, _ = compiled(name, dtype) if cpu == "host" else compiled(name, dtype, "x86-64", "")
    x = arguments(dtype)
    got = run(x)
    errors, right, some = ulps(got, right_answers(name, dtype), dtype)
    worst = errors.argmax()
    assert errors[worst] <= ACCURACY[name, dtype], f"{errors[worst]} ulp at {x[some][worst]!r}"
    np.testing.assert_array_equal(got[~some], right[~some])


@pytest.mark.parametrize(("name", "dtype"), ROWS)
def test_the_table_is_not_generous(name, dtype):
    if dtype == "f8" and np.finfo(np.longdouble).nmant < 60:
        pytest.skip("this machine has no float wider than float64")
    x = arguments(dtype)
    errors, _, _ = ulps(compiled(name, dtype)[0](x), right_answers(name, dtype), dtype)
    assert errors.max() > ACCURACY[name, dtype] / 2


EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, -2.0, 1e300, -1e300]


@pytest.mark.parametrize(("name", "dtype"), ROWS)
def test_edges_are_those_of_numpy(name, dtype):
    with np.errstate(over="ignore"):
        x = np.array(EDGES, dtype)
        x = np.concatenate([x, np.full(8, np.finfo(dtype).smallest_subnormal, dtype)])
    got, right = compiled(name, dtype)[0](x), reference(name, x).astype(dtype)
    exact = ~np.isfinite(right) | (right == 0) | (abs(right) == 1)
    np.testing.assert_array_equal(got[exact], right[exact])
    np.testing.assert_array_equal(np.signbit(got[right == 0]), np.signbit(right[right == 0]))
    np.testing.assert_allclose(got, right, rtol=3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_results_fade_through_subnormals(dtype):
    kind = np.finfo(dtype)
    x = np.linspace(np.log(kind.smallest_normal), np.log(kind.smallest_normal) * 1.3, 1000)
    with np.errstate(under="ignore"):
        right = np.exp(x.astype(dtype))
    assert (right[:500] < kind.smallest_normal).sum() > 200
    got = compiled("exp", dtype)[0](x)
    assert np.abs(got - right).max() <= 2 * kind.smallest_subnormal


@pytest.mark.parametrize(("name", "dtype"), ROWS)
def test_loops_vectorise(name, dtype):
    code = compiled(name, dtype)[1]
    word = {"f4": "float", "f8": "double"}[dtype]
    assert f"x {word}> @llvm.fmuladd" in code
    assert all(each.startswith("llvm.") for each in re.findall(r"declare .*?@([\w.]+)", code))
