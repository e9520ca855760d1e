"""Products in generated code against NumPy's, of every dtype, transposition and odd size."""

import ctypes

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from workbench.compiler import Instruction, Type, Value
from workbench.compiler.kernels import Kernel
from workbench.compiler.llvm import blas, dot
from workbench.compiler.opcodes import OPCODES


def kernel_of(opcode, arrays, kind, **attributes):
    """A kernel of one instruction whose operands are of the types of these arrays."""
    values = tuple(Value(Type(each.dtype, each.shape)) for each in arrays)
    types = OPCODES[opcode].infer([x.type for x in values], attributes)
    instruction = Instruction(opcode, values, attributes, tuple(map(Value, types)))
    shape = instruction.result.shape
    return Kernel("k", kind, (instruction,), values, instruction.results, shape)


def target():
    """A machine of its own for each engine, which takes it over."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )


def native(emit, kernel, shared=()):
    """The kernel's function, to be called on ``(out, *inputs)``."""
    module = ir.Module("m")
    emit(module, kernel, "k", shared)
    code = llvm.parse_assembly(str(module))
    code.verify()
    machine = target()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))
    passes.getModulePassManager().run(code, passes)
    engine = llvm.create_mcjit_compiler(code, machine)
    engine.finalize_object()
    count = 1 + len(kernel.inputs) - len(shared)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * count)(
        engine.get_function_address("k")
    )

    def run(*arrays):
        return function(*(each.ctypes.data for each in arrays))

    run.engine, run.code = engine, code
    return run


def factors(rng, m, n, k, dtype, trans_a=False, trans_b=False, batch=()):
    """Two factors, whole numbers where the product must be exact."""
    shapes = [
        (*batch, *((k, m) if trans_a else (m, k))),
        (*batch, *((n, k) if trans_b else (k, n))),
    ]
    if np.dtype(dtype).kind == "f":
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return [rng.integers(0, 100, shape).astype(dtype) for shape in shapes]


def check(m, n, k, dtype, trans_a=False, trans_b=False, batch=(), alpha=None, in_place=False):
    rng = np.random.default_rng(m + 10 * n + 100 * k)
    arrays = factors(rng, m, n, k, dtype, trans_a, trans_b, batch)
    attributes = {"trans_a": trans_a, "trans_b": trans_b}
    if alpha is not None:
        attributes["alpha"] = alpha
        arrays.append((10 * rng.standard_normal((*batch, m, n))).astype(dtype))
    opcode = "dot" if alpha is None else "dot_add"
    kernel = kernel_of(opcode, arrays, "dot", **attributes)
    wide = [each.astype("f8") if each.dtype.kind == "f" else each for each in arrays]
    with np.errstate(over="ignore"):
        right = OPCODES[opcode].compute(*wide, **attributes)
    if in_place:
        run = native(dot.emit_dot, kernel, kernel.inputs[2:])
        out = arrays[2].copy()
        assert run(out, *arrays[:2]) == 0
    else:
        run = native(dot.emit_dot, kernel)
        out = np.full(right.shape, 77, dtype)
        assert run(out, *arrays) == 0
    if np.dtype(dtype).kind == "f":
        eps = np.finfo(dtype).eps
        scale = 1 + abs(alpha or 1) * k
        np.testing.assert_allclose(out, right, rtol=4 * eps, atol=4 * eps * scale)
    else:
        np.testing.assert_array_equal(out, right.astype(dtype))
    return run


TRANSPOSITIONS = [(a, b) for a in (False, True) for b in (False, True)]
SIZES = [(1, 1, 1), (1, 5, 3), (5, 1, 3), (1, 1, 37), (2, 3, 1), (3, 19, 16), (4, 8, 8), (9, 33, 5),
         (8, 16, 2), (7, 10, 31), (1, 40, 21), (40, 1, 21), (13, 7, 4), (64, 10, 32)]  # fmt: skip


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSITIONS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_small_products(size, dtype, trans_a, trans_b):
    check(*size, dtype, trans_a, trans_b)
    check(*size, dtype, trans_a, trans_b, alpha=-0.5, in_place=sum(size) % 2 == 0)


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSITIONS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_large_products_are_the_library_s(dtype, trans_a, trans_b, monkeypatch):
    def large():
        run = check(40, 33, 70, dtype, trans_a, trans_b)
        check(40, 33, 70, dtype, trans_a, trans_b, alpha=0.25)
        check(40, 33, 70, dtype, trans_a, trans_b, alpha=0.25, in_place=True)
        check(40, 33, 70, dtype, trans_a, trans_b, batch=(2, 2), alpha=2.0)
        return str(run.code)

    monkeypatch.setattr(dot, "SMALL", 0)
    symbol = blas.gemm(dtype).symbol
    assert "gemm" in symbol
    assert f"@{symbol}.{dtype}(" in large()

    monkeypatch.setattr(blas, "libraries", list)  # As where the library hides its names.
    blas.gemm.cache_clear()
    try:
        assert "numpy.dot" in large()
    finally:
        blas.gemm.cache_clear()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8"])
@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSITIONS)
def test_whole_numbers_wrap_as_in_numpy(dtype, trans_a, trans_b):
    check(9, 21, 40, dtype, trans_a, trans_b)
    check(3, 5, 40, dtype, trans_a, trans_b, alpha=3.0)


@pytest.mark.parametrize("batch", [(3,), (2, 3), (0,)])
@pytest.mark.parametrize("size", [(4, 9, 5), (1, 6, 5), (6, 1, 5)])
def test_batches(batch, size):
    for trans_a, trans_b in TRANSPOSITIONS:
        check(*size, "f4", trans_a, trans_b, batch)
        check(*size, "f4", trans_a, trans_b, batch, alpha=1.0, in_place=True)


@pytest.mark.parametrize("size", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 0), (0, 0, 0)])
def test_empty_products(size):
    check(*size, "f4")
    check(*size, "f4", False, True, alpha=2.0)


def test_a_matrix_times_its_own_transpose():
    x = np.random.default_rng(0).standard_normal((6, 11)).astype("f4")
    value = Value(Type(x.dtype, x.shape))
    result = Value(Type(x.dtype, (6, 6)))
    instruction = Instruction("dot", (value, value), {"trans_a": False, "trans_b": True}, (result,))
    kernel = Kernel("k", "dot", (instruction,), (value,), (result,), (6, 6))
    out = np.empty((6, 6), "f4")
    assert native(dot.emit_dot, kernel)(out, x) == 0
    np.testing.assert_allclose(out, x @ x.T, rtol=1e-5)


def test_nothing_beyond_an_array_is_read_or_written():
    rng = np.random.default_rng(1)
    for m, n, k in [(3, 7, 5), (1, 7, 11), (5, 3, 9)]:
        for trans_a, trans_b in TRANSPOSITIONS:
            arrays = factors(rng, m, n, k, "f4", trans_a, trans_b)
            kernel = kernel_of("dot", arrays, "dot", trans_a=trans_a, trans_b=trans_b)
            framed = []
            for each in [np.zeros((m, n), "f4"), *arrays]:
                whole = np.full(each.size + 32, np.nan, "f4")
                whole[16 : 16 + each.size] = each.ravel()
                framed.append(whole)
            assert native(dot.emit_dot, kernel)(*(each[16:] for each in framed)) == 0
            right = OPCODES["dot"].compute(*arrays, trans_a=trans_a, trans_b=trans_b)
            np.testing.assert_allclose(framed[0][16:-16], right.ravel(), rtol=1e-5, atol=1e-5)
            assert np.isnan(framed[0][:16]).all()
            assert np.isnan(framed[0][-16:]).all()


def test_infinities_and_nan_pass():
    x, y = np.full((4, 4), np.inf, "f4"), np.ones((4, 4), "f4")
    y[0, 0] = np.nan
    kernel = kernel_of("dot", [x, y], "dot", trans_a=False, trans_b=False)
    out = np.empty((4, 4), "f4")
    native(dot.emit_dot, kernel)(out, x, y)
    np.testing.assert_array_equal(out, x @ y)
