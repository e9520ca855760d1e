"""The plan of memory: simulated byte by byte, for any program."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.programs import F8, random_inputs, random_program, same_bits
from workbench.compiler import Builder, Type
from workbench.compiler.fuse import Fused, fuse
from workbench.compiler.kernels import Kernel
from workbench.compiler.memory import ALIGNMENT, Buffer, can_fail, format_plan, plan
from workbench.compiler.opcodes import OPCODES, run
from workbench.compiler.simplify import simplify
from workbench.errors import GraphError

MATRIX = Type(F8, (3, 4))


def one_each(program):
    """Make each instruction a kernel: no fusion, and so the most memory to plan."""
    kernels, aliases = [], {}
    for n, each in enumerate(program.instructions):
        if each.opcode == "reshape":
            aliases[each.result] = each.operands[0]
        elif each.opcode != "constant":
            kind = OPCODES[each.opcode].kind
            kind = "loop" if kind in ("elementwise", "map") else kind
            in_place = {"elementwise": each.operands, "dot_add": each.operands[2:],
                        "scatter_add": each.operands[:1]}  # fmt: skip
            key = OPCODES[each.opcode].kind if kind == "loop" else each.opcode
            kernels.append(Kernel(f"k{n}_{each.opcode}", kind, (each,), each.operands,
                                  each.results, each.results[0].shape,
                                  in_place.get(key, ())))  # fmt: skip
    return Fused(program, tuple(kernels), aliases)


def view(memory, at, kind):
    """Return the array of this type at a place in a block of bytes."""
    return memory[at : at + kind.nbytes].view(kind.dtype).reshape(kind.shape)


def simulate(made, program, inputs, fail_at=None):
    """Run a plan as a target does, in one block of bytes; ``fail_at`` ends before that kernel."""
    arena = np.full(made.arena_bytes, 0xAA, np.uint8)
    blocks = {"input": inputs, "constant": made.constants,
              "output": [np.empty(x.shape, x.dtype) for x in program.outputs]}  # fmt: skip

    def memory(where, kind):
        if where.where == "arena":
            return view(arena, where.index, kind)
        return blocks[where.where][where.index].reshape(kind.shape)

    small = {i.result: i.attributes["value"] for i in program.instructions
             if i.opcode == "constant"}  # fmt: skip
    for n, kernel in enumerate(made.kernels):
        if n == fail_at:
            return None
        values = {**small, **{x: memory(made.buffers[x], x.type) for x in kernel.inputs}}
        for each in kernel.instructions:
            # What is no input is not read: a slice may take only what padding put there.
            operands = [values.get(x, np.full(x.shape, 99, x.dtype)) for x in each.operands]
            results = OPCODES[each.opcode].compute(*operands, **each.attributes)
            results = results if isinstance(results, tuple) else (results,)
            values.update(zip(each.results, results, strict=True))
        fresh = [np.array(values[x]) for x in kernel.outputs]
        for x, y in zip(kernel.outputs, fresh, strict=True):
            memory(made.buffers[x], x.type)[...] = y
    for x, where in made.copies:
        memory(where, x.type)[...] = memory(made.buffers[x], x.type)
    return [inputs[program.donate[i]] if i in program.donate else blocks["output"][i]
            for i in range(len(program.outputs))]  # fmt: skip


def check_disjoint(fused, made):
    """No two values that are needed at one time overlap, but pairs that are in place."""
    paired = {(k, old, new) for k, old, new in made.in_place}
    position = {k: n for n, k in enumerate(made.kernels)}
    maker = {x: k for k in made.kernels for x in k.outputs}
    for i, a in enumerate(made.lifetimes):
        assert a.offset % ALIGNMENT == 0
        assert a.offset + a.nbytes <= made.arena_bytes
        for b in made.lifetimes[:i]:
            apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
            early, late = (a, b) if a.first <= b.first else (b, a)
            if apart or early.last < late.first:
                continue
            kernel = maker[late.value]
            olds = [x for x in kernel.inputs if root(fused, x) is early.value]
            assert early.last == late.first == position[kernel]
            assert olds
            assert all((kernel, x, late.value) in paired for x in olds)


def root(fused, x):
    while x in fused.aliases:
        x = fused.aliases[x]
    return x


@pytest.mark.parametrize("fusion", [one_each, fuse])
@settings(max_examples=80, deadline=None)
@given(choices=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_kernels_that_run_in_the_planned_memory_make_what_the_program_means(fusion, choices, seed):
    program = simplify(random_program(choices))
    inputs = random_inputs(program, seed)
    fused = fusion(program)
    made = plan(fused)
    assert sorted(k.name for k in made.kernels) == sorted(k.name for k in fused.kernels)
    check_disjoint(fused, made)
    with np.errstate(all="ignore"):
        expected = [np.array(y) for y in run(program, *inputs)]
        results = simulate(made, program, [x.copy() for x in inputs])
    for y, z in zip(results, expected, strict=True):
        assert same_bits(y, z)


@settings(max_examples=80, deadline=None)
@given(choices=st.randoms(use_true_random=False))
def test_a_failure_leaves_every_input_as_it_was(choices):
    program = simplify(random_program(choices))
    made = plan(one_each(program))
    for n, kernel in enumerate(made.kernels):
        if can_fail(kernel):
            inputs = random_inputs(program)
            given_ = [x.copy() for x in inputs]
            with np.errstate(all="ignore"):
                assert simulate(made, program, inputs, fail_at=n) is None
            assert all(map(same_bits, inputs, given_))


def test_a_chain_needs_the_memory_of_two_values_and_in_place_of_one():
    def arena(write):
        b = Builder("chain")
        x = b.input(MATRIX)
        for _ in range(6):
            x = write(b, x)
        made = plan(one_each(simplify(b.program([b.sum(x)]))))
        return made.arena_bytes / MATRIX.nbytes, made.naive_bytes / MATRIX.nbytes

    assert (MATRIX.nbytes + 63) // 64 * 64 == 128
    assert arena(lambda b, x: b.exp(x)) == (128 / 96, 6 * 128 / 96)
    assert arena(lambda b, x: b.cumsum(x, 0)) == (256 / 96, 6 * 128 / 96)


def test_the_smallest_gap_that_fits_is_taken():
    b = Builder("gaps")
    sizes = {"large": 64, "between": 8, "small": 16, "after": 8, "late": 16}
    inputs = [b.input(Type(F8, (n,)), name) for name, n in sizes.items()]
    large, between, small, after = (b.cumsum(x, 0) for x in inputs[:4])
    ended = [b.sum(large), b.sum(small)]
    late = b.cumsum(inputs[4], 0)
    outputs = [b.add(b.cumsum(x, 0), b.add(*ended)) for x in (between, after, late)]
    made = plan(one_each(simplify(b.program(outputs))))
    offsets = [each.offset for each in made.lifetimes[:7]]
    # The second sum goes where "large" was; 448 bytes are left there, 128 where "small" was.
    assert offsets == [0, 512, 576, 704, 768, 0, 576]


def step(change):
    """Return a program that replaces w by what ``change`` writes, and how it is planned."""
    b = Builder("step")
    w, x, i = b.input(MATRIX, "w"), b.input(MATRIX, "x"), b.input(Type(np.dtype("i8"), (2,)), "i")
    outputs, donate = change(b, w, x, i)
    program = simplify(b.program(outputs, donate))
    return program, plan(one_each(program))


def test_a_donated_output_is_written_where_its_input_lies_when_that_was_read():
    def change(b, w, x, i):
        new = b.subtract(w, x)
        return [new, b.cumsum(w, 0)], {0: 0}

    program, made = step(change)
    new, other = program.outputs
    assert made.buffers[new] == Buffer("input", 0)
    assert made.buffers[other] == Buffer("output", 1)
    assert [k.outputs[0] for k in made.kernels] == [other, new]
    assert [(old.name, y) for _, old, y in made.in_place] == [("w", new)]
    assert made.copies == ()


def test_what_can_fail_runs_before_what_writes_into_an_input():
    _, made = step(lambda b, w, x, i: ([b.subtract(w, x), b.gather(x, i)], {0: 0}))
    assert [k.instructions[0].opcode for k in made.kernels] == ["gather", "subtract"]


def test_an_output_that_cannot_wait_is_copied_at_the_end():
    def change(b, w, x, i):
        new = b.subtract(w, x)
        return [new, b.gather(new, i)], {0: 0}

    program, made = step(change)
    assert made.copies == ((program.outputs[0], Buffer("input", 0)),)
    assert made.buffers[program.outputs[0]].where == "arena"


def test_an_old_value_that_is_read_elsewhere_in_the_kernel_is_not_overwritten():
    def change(b, w, x, i):
        return [b.add(b.cumsum(w, 0), x), b.cumsum(w, 1)], {1: 0}

    program, made = step(change)
    assert made.copies == ((program.outputs[1], Buffer("input", 0)),)  # cumsum reads ahead.


def test_two_inputs_that_exchange_places():
    program, made = step(lambda b, w, x, i: ([b.negative(x), b.negative(w)], {0: 0, 1: 1}))
    w, x = (np.full((3, 4), n) for n in (1.0, 2.0))
    results = simulate(made, program, [w, x, np.array([0, 1])])
    assert results[0] is w
    assert (w == -2).all()
    assert (x == -1).all()
    assert len(made.copies) == 1


def test_a_value_dying_in_place_in_an_output_is_made_there_from_the_start():
    b = Builder("out")
    x = b.input(MATRIX)
    program = simplify(b.program([b.tanh(b.cumsum(x, 0))]))
    made = plan(one_each(program))
    assert made.arena_bytes == 0
    assert set(made.buffers.values()) == {Buffer("input", 0), Buffer("output", 0)}


def test_reshapes_share_memory_and_keep_it_alive():
    b = Builder("alias")
    x = b.input(MATRIX)
    y = b.cumsum(x, 0)
    flat = b.reshape(y, (12,))
    total = b.sum(b.cumsum(x, 1))
    program = simplify(b.program([b.multiply(b.cumsum(flat, 0), total)]))
    made = plan(one_each(program))
    y, flat = (next(i.result for i in program.instructions if i.opcode == name)
               for name in ("cumsum", "reshape"))  # fmt: skip
    assert made.buffers[flat] == made.buffers[y]
    reader = next(n for n, k in enumerate(made.kernels) if flat in k.inputs)
    assert next(each.last for each in made.lifetimes if each.value is y) == reader


def test_large_constants_have_places_and_each_only_one():
    b = Builder("constants")
    x, c = b.input(MATRIX), b.constant(np.arange(12.0).reshape(3, 4))
    made = plan(one_each(simplify(b.program([b.add(b.cumsum(b.add(x, c), 0), c)]))))
    (only,) = made.constants
    assert (only == np.arange(12.0).reshape(3, 4)).all()
    assert Buffer("constant", 0) in made.buffers.values()


def test_the_table_shows_who_lives_when():
    b = Builder("table")
    x = b.input(MATRIX)
    y = b.cumsum(x, 0)
    made = plan(one_each(simplify(b.program([b.sum(b.exp(y)), b.sum(x)]))))
    assert format_plan(made).splitlines() == [
        "made by    type      bytes  offset  kernels",
        "k0_cumsum  f64[3,4]     96       0  ##..",
        "k1_exp     f64[3,4]     96       0  .=#.",
        "arena 128 bytes for 256 of values; constants 0 bytes",
    ]


def test_a_program_that_was_not_simplified_is_refused():
    b = Builder("raw")
    x = b.input(MATRIX)
    with pytest.raises(GraphError) as error:
        plan(one_each(b.program([b.exp(x), x])))
    assert "output 1 has no memory of its own" in str(error.value)
    assert "simplify the program first" in str(error.value)


def test_random_programs_reuse_much_of_their_memory():
    plans = [plan(one_each(simplify(random_program(random.Random(n), 30)))) for n in range(40)]
    assert sum(p.arena_bytes for p in plans) < 0.6 * sum(p.naive_bytes for p in plans)
