"""Which instructions become one kernel."""

import random

import numpy as np
import pytest

from tests.compiler.programs import random_program
from workbench.compiler import Builder, Type
from workbench.compiler.fuse import MAX_SIZE, fuse
from workbench.compiler.simplify import simplify

F4, I8 = np.dtype("f4"), np.dtype("i8")


def start(*shapes):
    b = Builder("p")
    return b, *(b.input(Type(F4, s), f"x{i}") for i, s in enumerate(shapes))


def kinds(fused):
    return [k.kind for k in fused.kernels]


def test_a_chain_of_elementwise_is_one_loop():
    b, x, y = start((32, 64), (64,))
    fused = fuse(b.program([b.tanh(b.add(b.multiply(x, x), y))]))
    assert kinds(fused) == ["loop"]
    (kernel,) = fused.kernels
    assert set(kernel.inputs) == {x, y}
    assert kernel.name == "k0_multiply_add_tanh"


def test_products_stand_alone_and_what_they_read_is_stored():
    b, x, w = start((8, 4), (4, 3))
    h = b.exp(x)
    y = b.dot(h, w)
    fused = fuse(b.program([b.negative(y)]))
    assert kinds(fused) == ["loop", "dot", "loop"]
    assert fused.kernels[0].outputs == (h,)
    assert fused.kernels[1].inputs == (h, w)
    assert fused.kernels[2].inputs == (y,)


def test_what_reads_a_stored_value_at_the_same_element_is_computed_beside_it():
    b, x, w = start((8, 4), (4, 4))
    h = b.exp(x)
    y = b.add(h, x)
    fused = fuse(b.program([b.dot(h, w), y]))
    loop = next(k for k in fused.kernels if k.kind == "loop")
    assert loop.outputs == (h, y)
    assert kinds(fused).count("loop") == 1


def test_kernels_do_not_wait_for_each_other_in_a_circle():
    b, x, w = start((4, 4), (4, 4))
    h = b.exp(x)
    y = b.add(h, b.dot(h, w))  # Reads h, but only after the product that does too.
    fused = fuse(b.program([y]))
    assert kinds(fused) == ["loop", "dot", "loop"]
    assert fused.kernels[2].inputs[0] in (h, fused.kernels[1].outputs[0])


def test_costly_values_that_two_kernels_read_are_stored_and_cheap_ones_are_not():
    for opcode, stored in (("exp", True), ("negative", False)):
        b, x, w = start((4, 4), (4, 4))
        e = b.emit(opcode, x)
        rows, columns = b.sum(b.multiply(e, w), (1,)), b.transpose(e, (1, 0))
        fused = fuse(b.program([rows, b.add(columns, w)]))
        assert any(e in k.outputs for k in fused.kernels) is stored


def test_what_a_stored_value_was_made_of_is_not_stored_too():
    b, x, w = start((4, 4), (4, 4))
    e = b.exp(x)
    y = b.multiply(b.add(e, w), b.subtract(e, w))
    fused = fuse(b.program([b.sum(y, (1,)), b.transpose(y, (1, 0))]))
    assert any(y in k.outputs for k in fused.kernels)
    assert not any(e in k.outputs for k in fused.kernels)


def test_a_reshape_of_what_lies_in_memory_shares_it():
    b, x, w = start((2, 3, 4), (12, 5))
    flat = b.reshape(b.exp(x), (2, 12))
    fused = fuse(b.program([b.dot(flat, w)]))
    assert kinds(fused) == ["loop", "dot"]
    assert fused.aliases == {flat: fused.kernels[0].outputs[0]}


def test_windows_are_added_in_any_order_of_their_axes():
    b, x, w = start((12, 4), (4, 32))
    columns = b.reshape(b.dot(x, w), (3, 2, 2, 2, 4, 4))
    windows = b.transpose(columns, (3, 0, 4, 5, 1, 2))
    fused = fuse(b.program([b.windows_add(windows, (2, 3, 5, 5), (1, 1), (0, 0)), b.exp(windows)]))
    assert kinds(fused) == ["dot", "special", "loop"]
    assert [i.opcode for i in fused.kernels[1].instructions] == ["transpose", "windows_add"]
    assert fused.kernels[1].inputs == (columns,)


def test_a_row_s_reductions_are_joined_with_what_follows():
    b, x, g = start((16, 100), (100,))
    n = b.constant(100, "f4")
    centred = b.subtract(x, b.divide(b.sum(x, (1,), True), n))
    variance = b.divide(b.sum(b.multiply(centred, centred), (1,), True), n)
    fused = fuse(b.program([b.multiply(b.divide(centred, b.sqrt(variance)), g)]))
    assert kinds(fused) == ["reduce"]
    assert fused.kernels[0].outputs == fused.program.outputs


def test_columns_are_summed_beside_the_loop_that_makes_them():
    b, x, h, bias = start((32, 64), (32, 64), (64,))
    g = b.multiply(x, h)
    new = b.subtract(bias, b.sum(g, (0,)))
    w = b.constant(np.ones((64, 2), "f4"))
    fused = fuse(b.program([b.dot(g, w), new]))
    assert kinds(fused) == ["reduce", "dot"]
    assert set(fused.kernels[0].outputs) == {g, new}
    assert bias in fused.kernels[0].in_place


def test_what_follows_a_sum_of_columns_over_the_whole_waits_for_it():
    b, x = start((32, 64))
    fused = fuse(b.program([b.subtract(x, b.sum(x, (0,), True))]))
    assert kinds(fused) == ["reduce", "loop"]


def test_long_rows_keep_costly_values_in_the_arena():
    b, x = start((1, 100_000))
    e = b.exp(x)
    fused = fuse(b.program([b.divide(e, b.sum(e, (1,), True))]))
    assert any(e in k.outputs for k in fused.kernels)


def test_in_place_means_that_nothing_else_is_read_later():
    b, x, y = start((4, 4), (4, 4))
    (kernel,) = fuse(b.program([b.add(x, b.transpose(y, (1, 0)))])).kernels
    assert kernel.in_place == (x,)
    b, x, y = start((4, 4), (4, 4))
    (kernel,) = fuse(b.program([b.add(x, b.transpose(x, (1, 0)))])).kernels
    assert kernel.in_place == ()
    # x is stored (over y, perhaps) in the first round and y read again in the second.
    b, x, y = start((4, 8), (4, 8))
    first = b.negative(x)
    total = b.sum(b.add(x, y), (1,), True)
    (kernel,) = fuse(b.program([first, b.add(y, total)])).kernels
    assert kernel.kind == "reduce"
    assert y not in kernel.in_place


def test_constants_of_one_number_are_part_of_the_code():
    b, x = start((4, 4))
    same, different = b.constant(np.full((4, 4), 2.0, "f4")), b.constant(np.eye(4, dtype="f4"))
    (kernel,) = fuse(b.program([b.add(b.multiply(x, same), different)])).kernels
    assert kernel.inputs == (x, different)


def test_kernels_have_bounds():
    b, x = start((8,))
    y = x
    for _ in range(400):
        y = b.tanh(b.add(y, x))
    fused = fuse(b.program([y]))
    assert max(len(k.instructions) for k in fused.kernels) <= MAX_SIZE
    assert sum(len(k.outputs) for k in fused.kernels) < 20


@pytest.mark.parametrize("seed", range(100))
def test_kernels_of_any_program_run_in_an_order_that_works(seed):
    program = simplify(random_program(random.Random(seed), length=20))
    fused = fuse(program)
    ready = set(program.inputs)
    ready |= {i.result for i in program.instructions if i.opcode == "constant"}

    def source(x):
        while x in fused.aliases:
            x = fused.aliases[x]
        return x

    for kernel in fused.kernels:
        assert all(source(x) in ready for x in kernel.inputs), kernel
        assert set(kernel.in_place) <= set(kernel.inputs)
        assert not set(kernel.outputs) & ready  # Made once.
        ready.update(kernel.outputs)
    assert set(program.outputs) <= ready
