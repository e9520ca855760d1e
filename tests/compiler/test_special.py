"""Gather, scatter, windows, extremes and running sums in generated code, against NumPy's."""

import numpy as np
import pytest

from tests.compiler.test_dot import kernel_of, native
from workbench.compiler import Builder, Type, compile
from workbench.compiler.llvm.special import emit_special
from workbench.compiler.opcodes import OPCODES
from workbench.compiler.opcodes import run as reference

FLOATS = ["f4", "f8"]
RNG = np.random.default_rng(0)


def numbers(shape, dtype):
    return (10 * RNG.standard_normal(shape)).astype(dtype)


def check(opcode, arrays, **attributes):
    """Run the kernel, apart and, if its first operand may be written over, in place."""
    kernel = kernel_of(opcode, arrays, "special", **attributes)
    right = OPCODES[opcode].compute(*arrays, **attributes)
    kept = [each.copy() for each in arrays]
    out = np.full(right.shape, 77).astype(right.dtype)
    assert native(emit_special, kernel)(out, *arrays) == 0
    for each, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(each, before)
    results = [out]
    if opcode.startswith("scatter"):
        x = arrays[0].copy()
        run = native(emit_special, kernel, kernel.inputs[:1])
        assert run(x, *arrays[1:]) == 0
        results.append(x)
    for each in results:
        if opcode in ("scatter_add", "windows_add"):  # Sums of the same terms in another order.
            np.testing.assert_allclose(each, right, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(each, right)


CHOICES = [((7, 5), 1, (4,)), ((7, 5), 2, (3, 2)), ((3, 4, 33), 1, ()), ((3, 4, 2, 2), 2, (6,)),
           ((9,), 1, (50,)), ((4, 0), 1, (3,)), ((4, 3), 1, (0,)), ((0, 3), 1, (0,))]  # fmt: skip


@pytest.mark.parametrize(("shape", "axes", "picked"), CHOICES)
@pytest.mark.parametrize("dtype", ["f4", "i8", "?"])
def test_gather_and_scatter(shape, axes, picked, dtype):
    for wrap in (False, True):
        indices = [
            RNG.integers(-n if wrap else 0, n, picked) if n else np.zeros(picked, np.int64)
            for n in shape[:axes]
        ]
        x, updates = numbers(shape, dtype), numbers((*picked, *shape[axes:]), dtype)
        check("gather", [x, *indices], wrap=wrap)
        check("scatter_add", [x, updates, *indices], wrap=wrap)
        check("scatter_set", [x, updates, *indices], wrap=wrap)


def test_the_last_of_several_updates_is_put():
    x, updates = np.zeros((3, 2), "f4"), np.arange(8, dtype="f4").reshape(4, 2)
    index = np.array([1, 1, 2, 1])
    kernel = kernel_of("scatter_set", [x, updates, index], "special", wrap=False)
    out = np.empty_like(x)
    assert native(emit_special, kernel)(out, x, updates, index) == 0
    assert out.tolist() == [[0, 0], [6, 7], [4, 5]]


EXTREME = np.iinfo(np.int64)


@pytest.mark.parametrize("opcode", ["gather", "scatter_add", "scatter_set"])
@pytest.mark.parametrize(
    ("wrap", "bad"),
    [(False, -1), (False, 4), (True, -5), (True, 4), (True, EXTREME.max), (True, EXTREME.min),
     (False, EXTREME.min)],
)  # fmt: skip
@pytest.mark.parametrize("axis", [0, 1])
def test_an_index_outside_is_refused_before_anything_is_written(opcode, wrap, bad, axis):
    x, updates = numbers((4, 4, 2), "f4"), numbers((3, 2), "f4")
    indices = [np.array([0, 1, 2]), np.array([3, 2, 1])]
    indices[axis][2] = bad
    arrays = [x, *([] if opcode == "gather" else [updates]), *indices]
    kernel = kernel_of(opcode, arrays, "special", wrap=wrap)
    if opcode == "gather":
        out = np.full((3, 2), 77, "f4")
        assert native(emit_special, kernel)(out, *arrays) == 1
        assert (out == 77).all()
        return
    run = native(emit_special, kernel, kernel.inputs[:1])
    before = x.copy()
    assert run(x, *arrays[1:]) == 1
    np.testing.assert_array_equal(x, before)


WINDOWS = [((2, 3, 6, 7), (3, 3), (1, 1), (0, 0)), ((1, 2, 6, 7), (3, 2), (1, 2), (1, 1)),
           ((2, 1, 5, 5), (5, 5), (1, 1), (2, 2)), ((1, 1, 8, 9), (2, 2), (3, 2), (0, 0)),
           ((1, 2, 2, 2), (3, 3), (2, 1), (1, 2)), ((2, 2, 9, 9), (1, 1), (4, 4), (0, 0)),
           ((0, 1, 4, 4), (2, 2), (1, 1), (0, 0))]  # fmt: skip


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("dtype", [*FLOATS, "i4"])
def test_windows_add(shape, size, stride, padding, dtype):
    images = numbers(shape, dtype)
    windows = OPCODES["windows"].compute(images, size, stride, padding, fill=0)
    x = numbers(windows.shape, dtype)
    check("windows_add", [x], shape=shape, stride=stride, padding=padding)


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), WINDOWS)
def test_windows_that_lie_in_another_order_are_added_where_they_lie(shape, size, stride, padding):
    windows = OPCODES["windows"].compute(numbers(shape, "f4"), size, stride, padding, fill=0)
    axes = (1, 4, 5, 0, 2, 3)
    x = RNG.integers(-9, 9, [windows.shape[a] for a in axes]).astype("f4")
    b = Builder("p")
    turned = b.transpose(b.input(Type(x.dtype, x.shape)), (3, 0, 4, 5, 1, 2))
    program = b.program([b.windows_add(turned, shape, stride, padding)])
    (expected,) = reference(program, x)
    np.testing.assert_array_equal(compile(program, "llvm")(x)[0], expected)


SHAPES = [((5,), 0), ((1,), 0), ((40,), 0), ((3, 16), 1), ((3, 45), 1), ((45, 3), 0), ((2, 19, 4), 1),
          ((0, 4), 1)]  # fmt: skip


@pytest.mark.parametrize("opcode", ["argmax", "argmin"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "?"])
def test_extremes_and_their_ties(opcode, shape, axis, dtype):
    check(opcode, [numbers(shape, "f8").astype(dtype)], axis=axis)
    check(opcode, [RNG.integers(0, 2, shape).astype(dtype)], axis=axis)


@pytest.mark.parametrize("opcode", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_nan_is_the_extreme(opcode, dtype):
    for length in (1, 5, 16, 37):
        for places in ([0], [length - 1], [length // 2, length - 1], [length // 3, length // 2]):
            x = numbers(length, dtype)
            x[places] = np.nan
            x[-1:] = x[-1:] if length - 1 in places else np.inf
            check(opcode, [x], axis=0)
        check(opcode, [np.full(length, np.inf, dtype)], axis=0)
        check(opcode, [np.full(length, -np.inf, dtype)], axis=0)


@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((3, 0), 1), ((0,), 0)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u8", "?"])
def test_running_sums(shape, axis, dtype):
    check("cumsum", [numbers(shape, "f8").astype(dtype)], axis=axis)
