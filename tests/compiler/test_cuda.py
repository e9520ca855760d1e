"""Target "cuda": its text, carried out on the host, and where there is a GPU by that."""

import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.compiler.cuda_on_host import GXX, HostDevice, OnDevice
from tests.compiler.programs import random_inputs, random_program
from workbench import arrays, compiler
from workbench.compiler import OPCODES, Builder, Type
from workbench.compiler.cuda import CudaExecutable, cuda_source
from workbench.compiler.cuda.source import PRELUDE
from workbench.compiler.fuse import fuse
from workbench.compiler.opcodes import run
from workbench.compiler.simplify import simplify
from workbench.errors import DtypeError, ShapeError

NVCC = shutil.which("nvcc")
F4, F8, I8 = np.dtype("f4"), np.dtype("f8"), np.dtype("i8")


@pytest.fixture(params=[
    pytest.param("host", marks=pytest.mark.skipif(GXX is None, reason="needs g++")),
    pytest.param("gpu", marks=pytest.mark.gpu),
])  # fmt: skip
def device(request, tmp_path):
    """A GPU, or a host that carries out its text."""
    return HostDevice(tmp_path / "modules") if request.param == "host" else arrays.Gpu()


def results(device, program, *inputs, calls=1):
    """Return the reference's results, and those of the last of some calls."""
    with np.errstate(all="ignore"):
        expected = [np.asarray(y) for y in run(program, *inputs)]
    executable = CudaExecutable(program, device)
    for _ in range(calls):
        made = executable(*map(device.put, inputs))
    return expected, [np.asarray(arrays.to_host(y)) for y in made]


def check(device, program, *inputs, ulp=0, calls=1):
    """Check results: exactly, or to so many units in the last place."""
    for y, z in zip(*results(device, program, *inputs, calls=calls), strict=True):
        assert y.dtype == z.dtype
        assert y.shape == z.shape
        if ulp and y.dtype.kind == "f":
            finite = np.isfinite(y)
            assert np.array_equal(y[~finite], z[~finite], equal_nan=True)
            np.testing.assert_array_max_ulp(y[finite], z[finite], ulp)
        else:
            assert np.array_equal(y, z, equal_nan=y.dtype.kind == "f")


# --- every opcode ----------------------------------------------------------------------------

ODD = {
    "f": [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 3.7, -7.25, 1e-3, 40.0, -40.0, np.inf, -np.inf,
          np.nan],
    "b": [True, False],
}  # fmt: skip
ROUNDED = set(
    "exp expm1 log log1p sin cos tan arcsin arccos arctan sinh cosh arcsinh arccosh arctanh tanh "
    "arctan2 sigmoid erf power".split()
)


def odd(dtype):
    """Return numbers of a dtype that are likely to go wrong."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 5, 7, info.max, info.max - 1, info.min, info.min // 2, info.min + 1,
                         (1 << (info.bits // 2)) + 3], dtype)  # fmt: skip
    return np.array(ODD[dtype.kind], dtype)


def every_elementwise():
    """Return a program of each elementwise opcode on each dtype, and what was covered."""
    b, inputs, covered = Builder("all"), [], set()
    outputs = {True: [], False: []}
    for dtype in map(np.dtype, "f4 f8 i1 i4 i8 u1 u4 u8 b1".split()):
        numbers = odd(dtype)
        left, right = (x.reshape(-1).copy() for x in np.meshgrid(numbers, numbers))
        exponents = np.abs(right % 70) if dtype.kind in "iu" else right
        x, y, e = (b.input(Type(dtype, v.shape)) for v in (left, right, exponents))
        inputs += [left, right, exponents.astype(dtype)]
        for name, row in OPCODES.items():
            if row.kind != "elementwise" or name in ("select", "convert", "copy"):
                continue
            for operands in ((x,), (x, e if name in ("power", "shift_left", "shift_right") else y)):
                binary = name in BINARY
                if len(operands) != 1 + binary or (name == "random_bits") != (
                    name == "random_bits" and dtype == np.uint64
                ):  # fmt: skip
                    continue
                try:
                    made = b.emit(name, *operands)
                except DtypeError:
                    continue
                outputs[name in ROUNDED].append(made)
                covered.add(name)
        condition = b.less(x, y)
        outputs[False] += [b.select(condition, x, y), b.select(b.invert(condition), x, y)]
        covered |= {"select", "convert", "copy"}
        for other in map(np.dtype, "f4 f8 i4 i8 u1 b1".split()):
            if dtype.kind != "f" or other.kind in "fb":  # No integer holds infinity.
                outputs[False].append(b.convert(x, other))
    return b, inputs, outputs, covered


BINARY = set(
    "add subtract multiply divide power maximum minimum floor_divide remainder arctan2 equal "
    "not_equal less less_equal bitwise_and bitwise_or bitwise_xor shift_left shift_right "
    "random_bits".split()
)


def test_every_elementwise_opcode_means_what_numpy_says(device):
    b, inputs, outputs, covered = every_elementwise()
    assert covered == {name for name, row in OPCODES.items() if row.kind == "elementwise"}
    whole = b.program([x for some in outputs.values() for x in some])
    expected, made = results(device, whole, *inputs)
    exact = len(outputs[True])
    makers = {each.result: each for each in whole.instructions}
    for i, (y, z) in enumerate(zip(expected, made, strict=True)):
        name = str(makers.get(whole.outputs[i]))
        finite = np.isfinite(y) if y.dtype.kind == "f" else np.ones(y.shape, bool)
        assert np.array_equal(y[~finite], z[~finite], equal_nan=True), name
        if i < exact:
            np.testing.assert_array_max_ulp(y[finite], z[finite], 8)
        else:
            assert np.array_equal(y[finite], z[finite]), name
            # Which of 0.0 and -0.0 is the larger, NumPy leaves open.
            if y.dtype.kind == "f" and "imum" not in name:
                assert np.array_equal(np.signbit(y[finite]), np.signbit(z[finite])), name


def test_maps_are_read_through(device):
    b = Builder("maps")
    x, v, image = (b.input(Type(F4, s)) for s in ((3, 5), (5,), (2, 3, 5, 6)))
    i = b.input(Type(I8, (4,)))
    outputs = [
        b.add(b.transpose(x, (1, 0)), b.iota((5, 3), 0, "f4")),
        b.multiply(b.slice(x, (2, 4), (3, 2), (-1, -2)), b.constant(3.0, "f4")),
        b.pad(x, (1, 2), (0, 1), (1, 2), fill=-np.inf),
        b.concatenate([x, b.broadcast(v, (2, 5)), b.negative(x)], 0),
        b.windows(image, (3, 2), (2, 1), (1, 1), fill=-1.0),
        b.reshape(b.exp(x), (15,)),
        b.convert(b.add(i, b.constant(2**40)), "f4"),
    ]
    inputs = [
        np.arange(np.prod(s), dtype="f4").reshape(s) / 8 for s in ((3, 5), (5,), (2, 3, 5, 6))
    ]
    check(device, b.program(outputs), *inputs, np.arange(4), ulp=2)


SHAPES = [((7, 40), (1,)), ((40, 7), (0,)), ((3, 50, 4), (1,)), ((3, 50, 4), (0, 2)), ((2, 3, 4), (0, 1)),
          ((5, 1, 6), (1, 2)), ((300, 33), (0,)), ((33, 1500), (1,)), ((6, 5), (0, 1)), ((), ()),
          ((0, 3), (0,)), ((3, 0), (1,)), ((0, 3), (1,)), ((1, 4), (0,)), ((2, 70, 5, 3), (1, 3))]  # fmt: skip


def test_reductions_of_every_form(device):
    b, inputs, outputs, rng = Builder("reductions"), [], [], np.random.default_rng(0)
    for n, (shape, axes) in enumerate(SHAPES):
        for dtype in ("f4", ("f8", "i8", "u1")[n % 3]):
            x = b.input(Type(np.dtype(dtype), shape))
            inputs.append(np.asarray(rng.integers(0, 5, shape), dtype))
            names = ["sum", "prod"] + ["max", "min"] * all(shape[a] for a in axes)
            outputs += [b.reduce(name, x, axes) for name in names]
        outputs += [
            b.reduce(name, b.less(x, b.constant(2, x.dtype)), axes) for name in ("any", "all")
        ]
    check(device, simplify(b.program(outputs)), *inputs, ulp=8)


def test_extremes_pass_nan_on_and_sums_of_many_small_numbers_stay_exact(device):
    b = Builder("odd")
    x, many = b.input(Type(F4, (4, 50))), b.input(Type(F4, (3, 60000)))
    numbers = np.arange(200, dtype="f4").reshape(4, 50)
    numbers[1, 3], numbers[2, 49] = np.nan, -np.inf
    tenths = np.full((3, 60000), 0.1, "f4")
    program = b.program(
        [b.max(x, [1]), b.min(x, [1]), b.max(x, [0]), b.sum(many, [1]), b.sum(many)]
    )
    expected, made = results(device, program, numbers, tenths)
    for y, z in zip(expected[:3], made[:3], strict=True):
        assert np.array_equal(y, z, equal_nan=True)
    exact = 60000 * float(np.float32(0.1))
    assert np.array_equal(made[3], np.full(3, exact).astype("f4"))
    assert made[4] == np.float32(3 * exact)


def test_a_softmax_is_one_kernel_and_right(device):
    b = Builder("softmax")
    x = b.input(Type(F4, (5, 300)), "float")  # No name to be written in C++.
    e = b.exp(b.subtract(x, b.max(x, [1], keepdims=True)))
    program = b.program([b.divide(e, b.sum(e, [1], keepdims=True))])
    assert len(fuse(simplify(program)).kernels) == 1
    check(device, program, np.random.default_rng(0).normal(0, 3, (5, 300)).astype("f4"), ulp=8)


def test_products(device):
    b, inputs, outputs = Builder("dots"), [], []
    rng = np.random.default_rng(0)
    for dtype in "f4 f8 i8".split():
        for shape_a, shape_b, trans_a, trans_b in (
            ((4, 3), (3, 5), False, False), ((3, 4), (3, 5), True, False), ((4, 3), (5, 3), False, True),
            ((2, 3, 4), (2, 5, 3), True, True), ((4, 0), (0, 5), False, False), ((0, 3), (3, 5), False, False),
        ):  # fmt: skip
            pair = [rng.integers(-3, 4, s).astype(dtype) for s in (shape_a, shape_b)]
            inputs += pair
            factors = [b.input(Type(x.dtype, x.shape)) for x in pair]
            product = b.dot(*factors, trans_a=trans_a, trans_b=trans_b)
            outputs.append(b.add(product, b.dot(*factors, trans_a=trans_a, trans_b=trans_b)))
            outputs.append(b.negative(product))
            other = b.dot(b.negative(factors[0]), factors[1], trans_a=trans_a, trans_b=trans_b)
            more = b.dot(b.absolute(factors[0]), factors[1], trans_a=trans_a, trans_b=trans_b)
            outputs.append(b.subtract(other, b.multiply(b.constant(2, dtype), more)))
    program = simplify(b.program(outputs))
    assert any(i.opcode == "dot_add" for i in program.instructions)
    check(device, program, *inputs)


def test_opcodes_with_a_kernel_of_their_own(device):
    b, rng = Builder("special"), np.random.default_rng(0)
    images, table = b.input(Type(F4, (2, 3, 5, 6))), b.input(Type(F8, (6, 4)))
    rows, columns = b.input(Type(I8, (2, 3))), b.input(Type(I8, (2, 3)))
    counts = b.input(Type(np.dtype("i8"), (6,)))
    windows = b.windows(images, (3, 2), (2, 1), (1, 1))
    turned = b.input(Type(F4, (3, 3, 2, 2, 3, 7)))
    outputs = [b.windows_add(b.multiply(windows, windows), (2, 3, 5, 6), (2, 1), (1, 1)),
               b.windows_add(b.transpose(turned, (3, 0, 4, 5, 1, 2)), (2, 3, 5, 6), (2, 1), (1, 1)),
               b.gather(table, rows), b.gather(table, rows, columns),
               b.scatter_add(table, b.gather(table, rows), rows),
               b.scatter_set(table, b.gather(table, columns, rows), rows, columns),
               b.scatter_add(counts, columns, rows),
               b.scatter_add(b.convert(counts, "i1"), b.convert(columns, "i1"), rows)]  # fmt: skip
    for axis in (0, 1):
        outputs += [b.argmax(table, axis), b.argmin(table, axis), b.cumsum(table, axis)]
    numbers = rng.integers(-9, 9, (6, 4)).astype("f8")
    numbers[2, 1] = numbers[4, 2] = np.nan
    inputs = [rng.integers(0, 9, (2, 3, 5, 6)).astype("f4"), numbers,
              np.array([[0, 3, -1], [2, 2, -4]]), np.array([[0, 1, 3], [1, 0, -1]]), np.arange(6),
              rng.integers(0, 9, turned.shape).astype("f4")]  # fmt: skip
    check(device, b.program(outputs), *inputs)


@pytest.mark.parametrize("seed", range(4))
def test_any_program_called_again_and_again(device, seed):
    program = random_program(random.Random(seed), 30, exact=True)
    executable = CudaExecutable(program, device)
    for call in range(4):
        inputs = random_inputs(program, call)
        with np.errstate(all="ignore"):
            expected = [np.array(y) for y in run(program, *inputs)]
            given = list(map(device.put, inputs))
            made = executable(*given)
        for y, z in zip(made, expected, strict=True):
            assert np.array_equal(arrays.to_host(y), z, equal_nan=True)
        for i, j in program.donate.items():
            assert made[i] is given[j]


# --- steps, graphs, failures --------------------------------------------------------------------


def step(with_index):
    """Return a program that trains w, with rows of x chosen by an index or not."""
    b = Builder("step")
    w, x = b.input(Type(F4, (4, 3)), "w"), b.input(Type(F4, (6, 4)), "x")
    i = b.input(Type(I8, (2,)), "i")
    b.origin = "x[i], line 7"
    rows = b.gather(x, i) if with_index else b.slice(x, (0, 0), (2, 4))
    b.origin = None
    y = b.dot(rows, w)
    gradient = b.dot(b.transpose(rows, (1, 0)), y)
    new = b.subtract(w, b.multiply(b.constant(0.5, "f4"), gradient))
    return b.program([b.sum(y), new], {1: 0})


def training(device, program, calls, renew=()):
    """Run a step some times, with new arrays for the inputs in ``renew``; check each."""
    executable = CudaExecutable(program, device)
    host = [np.arange(12, dtype="f4").reshape(4, 3) % 3, np.arange(24, dtype="f4").reshape(6, 4) % 2,
            np.array([1, 4])]  # fmt: skip
    inputs = list(map(device.put, host))
    for _ in range(calls):
        inputs = [device.put(arrays.to_host(x)) if j in renew else x for j, x in enumerate(inputs)]
        loss, host[0] = run(program, *host)
        made = executable(*inputs)
        assert made[1] is inputs[0]
        assert np.array_equal(arrays.to_host(made[0]), loss)
        assert np.array_equal(arrays.to_host(inputs[0]), host[0])
        host[0] = host[0] % 5  # Whole numbers stay small.
        inputs[0][...] = device.put(host[0])
    return executable


@pytest.mark.parametrize("with_index", [False, True])
def test_a_step_is_recorded_at_the_second_call_and_replayed(device, with_index):
    executable = training(device, step(with_index), 5, renew=(2,))
    assert executable.graph_problem is None
    assert executable._recordings == 1
    if isinstance(device, HostDevice):
        # What can fail is a graph of its own: someone must look before w is written.
        assert device.log[-4:] == ["graph"] * 4
        assert device.log.count("graph") == 4 * (1 + with_index)
        assert "gemm" in device.log[: -4 * (1 + with_index)]


def test_arrays_that_move_are_recorded_anew_but_not_for_ever(device):
    program = step(False)
    executable = CudaExecutable(program, device)
    x, i = device.put(np.ones((6, 4), "f4")), device.put(np.array([0, 1]))
    ws = [device.put(np.full((4, 3), n, "f4")) for n in range(12)]
    for w in ws:
        for _ in range(2):
            before = arrays.to_host(w).copy()
            executable(w, x, i)
            assert np.array_equal(arrays.to_host(w), before - 0.5 * 2 * 4 * before)
    assert executable._recordings == 8
    assert executable.graph_problem == "inputs moved in memory 8 times"


def test_host_arrays_are_taken_and_donated_ones_changed(device):
    program = step(False)
    w, x = np.ones((4, 3), "f4"), np.ones((6, 4), "f4")
    made = CudaExecutable(program, device)(w, x, np.array([0, 1]))
    assert made[1] is w
    assert (w == 1 - 0.5 * 2 * 4).all()
    assert device.holds(made[0])


@pytest.mark.parametrize("calls", [1, 3])
def test_an_index_outside_leaves_everything_as_it_was(device, calls):
    executable = (
        training(device, step(True), calls - 1) if calls > 1 else CudaExecutable(step(True), device)
    )
    w = device.put(np.ones((4, 3), "f4"))
    x, wrong = device.put(np.ones((6, 4), "f4")), device.put(np.array([0, 6]))
    with pytest.raises(ShapeError) as error:
        executable(w, x, wrong)
    assert "step, kernel k0_gather: an index is outside its axis" in str(error.value)
    assert "x[i], line 7" in str(error.value)
    assert (arrays.to_host(w) == 1).all()
    loss, _ = executable(w, x, device.put(np.array([0, -6])))  # It goes on.
    assert float(loss) == 2 * 4 * 3


@pytest.mark.parametrize("opcode", ["scatter_add", "scatter_set"])
def test_a_scatter_in_place_writes_all_or_nothing(device, opcode):
    b = Builder("scatter")
    x, u, i = b.input(Type(F4, (3, 2)), "x"), b.input(Type(F4, (4, 2))), b.input(Type(I8, (4,)))
    program = b.program([b.emit(opcode, x, u, i, wrap=False)], {0: 0})
    executable = CudaExecutable(program, device)
    assert executable.plan.in_place
    x, u = device.put(np.ones((3, 2), "f4")), device.put(np.arange(8, dtype="f4").reshape(4, 2))
    with pytest.raises(ShapeError):
        executable(x, u, device.put(np.array([0, 1, -1, 2])))
    assert (arrays.to_host(x) == 1).all()
    executable(x, u, device.put(np.array([0, 1, 0, 2])))
    start = 1 if opcode == "scatter_add" else 0
    first = [4, 6] if start else [4, 5]
    assert arrays.to_host(x).tolist() == [[start + n for n in first], [start + 2, start + 3],
                                          [start + 6, start + 7]]  # fmt: skip


def test_control_flow_runs_from_the_host_and_says_so(device):
    c, p, b = Builder("cond"), Builder("body"), Builder("loop")
    i, x = (c.input(Type(t, s)) for t, s in ((I8, ()), (F4, (3,))))
    cond = c.program([c.less(i, c.constant(4))])
    i, x = (p.input(Type(t, s)) for t, s in ((I8, ()), (F4, (3,))))
    body = p.program([p.add(i, p.constant(1)), p.add(x, x)])
    x = b.input(Type(F4, (3,)))
    _, doubled = b.while_([b.constant(0), x], [], cond, body)
    program = b.program([b.call("sort", b.negative(doubled), axis=0)])
    executable = CudaExecutable(program, device)
    for _ in range(3):
        (y,) = executable(device.put(np.array([1, 3, 2], "f4")))
        assert arrays.to_host(y).tolist() == [-48, -32, -16]
    assert executable.graph_problem.startswith("the host takes part in k")
    assert "while" in executable.graph_problem
    assert "call" in executable.graph_problem


def test_what_the_host_refuses_names_the_kernel(device):
    b = Builder("inverse")
    x = b.input(Type(F8, (2, 2)))
    executable = CudaExecutable(b.program([b.call("inv", x)]), device)
    with pytest.raises(ShapeError) as error:
        executable(device.put(np.zeros((2, 2))))
    assert "inverse, kernel k0_call: Singular matrix" in str(error.value)


def test_inputs_of_another_type_are_refused(device):
    executable = CudaExecutable(step(False), device)
    with pytest.raises(ShapeError) as error:
        executable(*(device.put(np.ones(s, "f4")) for s in ((4, 4), (6, 4), (2,))))
    assert "step: the inputs are not of the program's types" in str(error.value)
    assert "given:    f32[4,4], f32[6,4], f32[2]" in str(error.value)
    assert "expected: f32[4,3], f32[6,4], i64[2]" in str(error.value)


def test_what_an_executable_shows(device):
    executable = CudaExecutable(step(True), device)
    assert list(executable.source["kernels"]) == [k.name for k in executable.kernels]
    assert executable.source["program"] == str(executable.program)
    assert list(executable.seconds) == ["simplify", "fuse", "plan", "generate", "compile"]
    inputs = [
        device.put(x) for x in (np.ones((4, 3), "f4"), np.ones((6, 4), "f4"), np.array([0, 1]))
    ]
    profile = executable.profile(*inputs, repetitions=2)
    assert [name for name, _ in profile] == [k.name for k in executable.kernels]
    assert all(seconds > 0 for _, seconds in profile)


# --- the text itself ----------------------------------------------------------------------------


def texts(program):
    return [cuda_source(k).text for k in fuse(simplify(program)).kernels]


def test_an_elementwise_kernel_is_one_grid_stride_loop():
    b = Builder("example")
    x, w = b.input(Type(F4, (32, 64)), "x"), b.input(Type(F4, (64,)), "w")
    (text,) = texts(b.program([b.tanh(b.add(x, w))]))
    assert text.splitlines() == [
        'extern "C" __global__ void __launch_bounds__(256) k0_add_tanh('
        "float *__restrict__ out0, const float *__restrict__ x_, const float *__restrict__ w_, "
        "int *failed) {",
        "  for (int n0 = blockIdx.x * (int)blockDim.x + threadIdx.x; n0 < 2048; "
        "n0 += (int)gridDim.x * blockDim.x) {",
        "    const int i1 = n0 % 64;",
        "    const int i0 = n0 / 64;",
        "    out0[i0*64 + i1] = tanhf(x_[i0*64 + i1] + w_[i1]);",
        "  }",
        "}",
    ]


def test_memory_that_is_shared_is_not_called_restricted():
    b = Builder("example")
    x = b.input(Type(F4, (8,)), "x")
    (kernel,) = fuse(b.program([b.exp(x)])).kernels
    text = cuda_source(kernel, shared=frozenset([kernel.inputs[0], kernel.outputs[0]])).text
    assert "__restrict__" not in text


def test_braces_balance_in_every_kernel_of_random_programs():
    for seed in range(30):
        for text in texts(random_program(random.Random(seed), 30, control=False)):
            assert text.count("{") == text.count("}")
            assert text.count("(") == text.count(")")


def test_large_arrays_are_counted_in_64_bits():
    b = Builder("large")
    x = b.input(Type(F4, (2**16, 2**15)), "x")
    by_rows, by_columns = texts(b.program([b.exp(x)])), texts(b.program([b.sum(x, [0])]))
    assert "for (long long i1 = " in by_rows[0] or "for (long long i0 = " in by_rows[0]
    assert "long long tile" in by_columns[0]


@pytest.mark.skipif(NVCC is None, reason="needs nvcc, CUDA's compiler")
def test_cudas_own_compiler_takes_every_text(tmp_path):
    b, _, outputs, _ = every_elementwise()
    programs = [b.program([x for some in outputs.values() for x in some])]
    programs += [random_program(random.Random(seed), 30, control=False) for seed in range(3)]
    sources = [cuda_source(k) for p in programs for k in fuse(simplify(p)).kernels]
    # Kernels of several programs: each in its own namespace, since names come again.
    unique = [f"namespace n{n} {{\n{each.text}\n}}".replace('extern "C" ', "")
              for n, each in enumerate(sources)]  # fmt: skip
    assert len(unique) > 20
    source = tmp_path / "all.cu"
    source.write_text(PRELUDE + "\n".join(unique))
    command = [NVCC, "-ptx", "-std=c++17", "--fmad=false", "-o", tmp_path / "all.ptx", source]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[:2000]


@pytest.mark.skipif(GXX is None, reason="needs g++")
def test_a_barrier_that_only_some_threads_reach_is_noticed(tmp_path):
    device = HostDevice(tmp_path / "modules")
    text = 'extern "C" __global__ void bad(int *x) { if (threadIdx.x) __syncthreads(); }'
    script = "\n".join([
        "import sys, pathlib, numpy as np",
        "from tests.compiler.cuda_on_host import HostDevice",
        f"device = HostDevice(pathlib.Path({str(device.folder)!r}))",
        f"device.module({text!r})('bad')((1, 1, 1), (4, 1, 1), (device.put(np.zeros(1, 'i4')),))",
    ])  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "a barrier some threads miss" in ended.stderr


def test_the_host_stand_in_tells_its_arrays_from_others():
    device = HostDevice(None)
    assert device.holds(device.put([1.0]))
    assert not device.holds(np.ones(1))
    assert isinstance(device.put([1.0]), OnDevice)


@pytest.mark.gpu
def test_compiling_for_the_gpu_by_name():
    b = Builder("double")
    x = b.input(Type(F4, (3,)), "x")
    executable = compiler.compile(b.program([b.add(x, x)]), target="cuda")
    (y,) = executable(np.arange(3, dtype="f4"))
    assert arrays.device_of(y) == "gpu"
    assert arrays.to_host(y).tolist() == [0, 2, 4]
