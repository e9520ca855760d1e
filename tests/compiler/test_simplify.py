"""Passes: what each does, and that the numbers stay the same to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.compiler.programs import random_inputs, random_program, same_bits
from workbench.compiler import Builder, Type
from workbench.compiler.opcodes import run
from workbench.compiler.program import walk
from workbench.compiler.simplify import (
    ACCUMULATE,
    ARITHMETIC,
    DOTS,
    MAPS,
    PASSES,
    Rewriter,
    drop_dead,
    own_outputs,
    share_common,
    simplify,
    stages,
)
from workbench.compiler.text import parse

ODD = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 5e-324, 1.7e308, 3.1])


def opcodes(program):
    """Return the opcodes, without those that only supply numbers."""
    return [i.opcode for i in walk(program) if i.opcode not in ("constant", "broadcast")]


def written(body, head="x: f64[3,4], y: f64[3,4], v: f64[4], i: i64[3], c: bool[3,4]"):
    """Return the program with these lines."""
    return parse(f"program p({head}) {{\n{body}\n}}")


def values(kind):
    """Return an array of this type with every odd number."""
    if kind.dtype.kind == "b":
        return np.resize([True, False, False], kind.shape)
    return np.resize(ODD if kind.dtype.kind == "f" else [0, -3, 7], kind.shape).astype(kind.dtype)


def rewritten(program, rules):
    """Apply a table of rules; check that results are the same for odd numbers."""
    after = Rewriter(program, rules).run()
    after.verify()
    inputs = [values(x.type) for x in program.inputs]
    with np.errstate(all="ignore"):
        for y, z in zip(run(program, *inputs), run(after, *inputs), strict=True):
            assert same_bits(np.asarray(y), np.asarray(z))
    return after


# --- any program ---------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@settings(max_examples=80, deadline=None)
@given(choices=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_no_pass_changes_a_bit_of_any_result(exact, choices, seed):
    program = random_program(choices, exact=exact)
    if not exact and any("dot" in i.opcode for i in walk(program)):
        return  # Products may be summed in another order: those are tried on whole numbers.
    inputs = random_inputs(program, seed)
    with np.errstate(all="ignore"):
        if exact:  # Sums are exact in any order as long as no number needs more than 53 bits.
            values = tuple(y for i in program.instructions for y in i.results)
            every = run(replace(program, outputs=values, donate={}), *inputs)
            assume(
                all(np.abs(y.astype("f8")).max(initial=0) < 2**40 for y in map(np.asarray, every))
            )
        expected = run(program, *inputs)
        for name, after in stages(program):
            assert after.inputs == program.inputs
            assert after.donate == program.donate
            for y, z in zip(run(after, *inputs), expected, strict=True):
                assert same_bits(np.asarray(y), np.asarray(z)), name


@settings(max_examples=80, deadline=None)
@given(choices=st.randoms(use_true_random=False))
def test_outputs_own_their_memory_and_simplifying_again_finds_nothing(choices):
    program = simplify(random_program(choices))
    made = {i.result: i.opcode for i in program.instructions if len(i.results) == 1}
    for x in program.outputs:
        assert x not in program.inputs
        assert made.get(x) not in ("reshape", "constant")
    assert len(set(program.outputs)) == len(program.outputs)
    again = simplify(program)
    assert len(again.instructions) == len(program.instructions)


def test_stages_keep_what_each_pass_left():
    program = written("%0 = negative x : f64[3,4]\n%1 = negative %0 : f64[3,4]\n"
                      "%2 = exp %1 : f64[3,4]\nreturn %2")  # fmt: skip
    names = [name for name, _ in stages(program)]
    assert names == ["written", *PASSES]
    by_name = dict(stages(program))
    assert opcodes(by_name["maps"]) == ["negative", "negative", "exp"]
    assert opcodes(by_name["arithmetic"]) == ["exp"]
    assert by_name["outputs"] is not program


# --- dead code, common subexpressions, outputs ----------------------------------------------


def test_what_no_output_needs_is_dropped():
    after = drop_dead(written("%0 = exp x : f64[3,4]\n%1 = tanh %0 : f64[3,4]\nreturn %0"))
    assert opcodes(after) == ["exp"]


SCAN = """program p(x: f64[5,3]) {
  %0 = constant [0.0, 0.0, 0.0] : f64[3]
  %1, %2, %3 = scan %0, x, n_carry=1, n_sequences=1, length=5, reverse=False : f64[3], f64[5,3], f64[5,3]
    body: program body(c: f64[3], e: f64[3]) {
      %0 = add c, e : f64[3]
      %1 = exp %0 : f64[3]
      return %0, %1, %0
    }
  return %3
}"""


def test_what_a_loop_stacks_for_nobody_is_not_computed():
    before = parse(SCAN)
    after = drop_dead(before)
    after.verify()
    assert opcodes(after) == ["scan", "add"]
    assert [str(y.type) for y in after.instructions[1].results] == ["f64[3]", "f64[5,3]"]
    x = np.arange(15.0).reshape(5, 3)
    assert same_bits(run(after, x)[0], run(before, x)[0])


LOOP = """program p(a: f64[3], x: f64[5,3], y: f64[5,3], k: f64[3], m: f64[3]) {{
  %0, %1, %2, %3, %4 = scan a, a, a, x, y, k, m, n_carry=3, n_sequences=2, length=5, reverse=False : {}
    body: program body(c: f64[3], d: f64[3], f: f64[3], e: f64[3], g: f64[3], k: f64[3], m: f64[3]) {{
      %0 = add c, d : f64[3]
      %1 = multiply d, k : f64[3]
      %2 = add f, g : f64[3]
      %3 = add %2, m : f64[3]
      return %0, %1, %3, %1, e
    }}
  return {}
}}"""
RESULTS = "f64[3], f64[3], f64[3], f64[5,3], f64[5,3]"


@pytest.mark.parametrize(("read", "carries", "operands"), [
    ("%0", 2, "aak"), ("%1", 1, "ak"), ("%2", 1, "aym"), ("%3", 1, "ak"), ("%4", 0, "x"),
    ("%0, %4", 2, "aaxk"), ("%2, %3", 2, "aaykm"), ("%0, %2, %4", 3, "aaaxykm"),
])  # fmt: skip
def test_a_loop_carries_and_reads_only_what_a_result_rests_on(read, carries, operands):
    before = parse(LOOP.format(RESULTS, read))
    after = drop_dead(before)
    after.verify()
    scan = the(after, "scan")
    assert scan.attributes["n_carry"] == carries
    assert "".join(x.name for x in scan.operands) == operands
    inputs = list(np.random.default_rng(0).normal(size=(1, 3)))
    inputs += [*np.random.default_rng(1).normal(size=(2, 5, 3)), np.ones(3), np.full(3, 2.0)]
    for got, expected in zip(run(after, *inputs), run(before, *inputs), strict=True):
        assert same_bits(got, expected)


def test_a_condition_makes_only_what_is_read():
    branch = "program b(x: f64[3]) {{\n%0 = {} x : f64[3]\n%1 = exp x : f64[3]\nreturn %0, %1\n}}"
    text = ("program p(c: bool[], x: f64[3]) {\n%0, %1 = if c, x : f64[3], f64[3]\n"
            f"then: {branch.format('negative')}\norelse: {branch.format('tanh')}\nreturn %0\n}}")  # fmt: skip
    after = drop_dead(parse(text))
    after.verify()
    assert opcodes(after) == ["if", "negative", "tanh"]


def test_what_is_written_twice_is_computed_once():
    after = share_common(written("%0 = add x, y : f64[3,4]\n%1 = add y, x : f64[3,4]\n"
                                 "%2 = subtract x, y : f64[3,4]\n%3 = subtract y, x : f64[3,4]\n"
                                 "return %0, %1, %2, %3"))  # fmt: skip
    assert opcodes(after) == ["add", "subtract", "subtract"]
    assert after.outputs[0] is after.outputs[1]


def test_numbers_that_are_equal_but_not_the_same_are_told_apart():
    lines = ["constant 0.0", "constant -0.0", "constant 0.0"]
    text = "\n".join(f"%{n} = {line} : f64[]" for n, line in enumerate(lines))
    after = share_common(written(text + "\nreturn %0, %1, %2", "x: f64[]"))
    assert len(after.instructions) == 2
    pads = [f"%{n} = pad x, low=(1, 1), high=(0, 0), interior=(0, 0), fill={fill} : f64[4,5]"
            for n, fill in enumerate(["0.0", "-0.0", "0.0"])]  # fmt: skip
    assert opcodes(share_common(written("\n".join(pads) + "\nreturn %0, %1, %2"))) == ["pad"] * 2


def test_the_first_of_common_instructions_keeps_its_origin():
    b = Builder("origin")
    x = b.input(Type(np.dtype("f8"), (3,)), "x")
    made = []
    for b.origin in ("first line", "second line"):
        made.append(b.exp(x))
    (only,) = share_common(b.program(made)).instructions
    assert only.origin == "first line"


def test_outputs_that_would_share_memory_are_copied():
    after = own_outputs(written("%0 = exp x : f64[3,4]\n%1 = reshape %0, shape=(12,) : f64[12]\n"
                                "%2 = constant 1.0 : f64[]\nreturn %0, %0, %1, x, %2"))  # fmt: skip
    after.verify()
    assert opcodes(after) == ["exp", "reshape", "copy", "copy", "copy", "copy"]
    assert len(set(after.outputs)) == 5
    assert after.outputs[0] is after.instructions[0].result


def test_passes_reach_into_loops():
    body = SCAN.replace("exp %0", "add e, c").replace("return %0, %1, %0", "return %0, %1, e")
    after = simplify(parse(body.replace("return %3", "return %2, %3")))
    assert sorted(opcodes(after)) == ["add", "copy", "copy", "scan"]


# --- maps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("lines", "left"), [
    ("%0 = transpose x, axes=(1, 0) : f64[4,3]\n%1 = transpose %0, axes=(1, 0) : f64[3,4]", []),
    ("%0 = reshape x, shape=(2, 6) : f64[2,6]\n%1 = reshape %0, shape=(12,) : f64[12]",
     ["reshape"]),
    ("%0 = reshape x, shape=(1, 3, 4) : f64[1,3,4]\n"
     "%1 = transpose %0, axes=(1, 0, 2) : f64[3,1,4]", ["reshape"]),
    ("%0 = broadcast v, shape=(3, 4), axes=(1,) : f64[3,4]\n"
     "%1 = broadcast %0, shape=(3, 2, 4), axes=(0, 2) : f64[3,2,4]", []),
    ("%1 = broadcast v, shape=(1, 4), axes=(1,) : f64[1,4]", ["reshape"]),
    ("%0 = slice x, start=(2, 1), size=(3, 3), step=(-1, 1) : f64[3,3]\n"
     "%1 = slice %0, start=(1, 0), size=(2, 2), step=(1, 2) : f64[2,2]", ["slice"]),
    ("%1 = slice x, start=(0, 0), size=(3, 4), step=(1, 1) : f64[3,4]", []),
    ("%1 = slice x, start=(2, 0), size=(3, 4), step=(-1, 1) : f64[3,4]", ["slice"]),
    ("%1 = pad x, low=(0, 0), high=(0, 0), interior=(0, 0), fill=1.0 : f64[3,4]", []),
    ("%0 = slice x, start=(0, 0), size=(0, 4), step=(1, 1) : f64[0,4]\n"
     "%1 = concatenate %0, x, axis=0 : f64[3,4]", []),
    ("%0 = convert x, dtype=f64 : f64[3,4]\n%1 = copy %0 : f64[3,4]", []),
    ("%0 = convert c, dtype=i64 : i64[3,4]\n%1 = convert %0, dtype=f64 : f64[3,4]", ["convert"]),
    ("%0 = convert x, dtype=f32 : f32[3,4]\n%1 = convert %0, dtype=f64 : f64[3,4]",
     ["convert", "convert"]),
    ("%0 = reshape v, shape=(4, 1) : f64[4,1]\n%1 = max %0, axes=(1,) : f64[4]", []),
    ("%0 = reshape v, shape=(4, 1) : f64[4,1]\n%1 = sum %0, axes=(1,) : f64[4]",
     ["reshape", "sum"]),  # The sum of -0.0 is 0.0.
])  # fmt: skip
def test_maps_are_combined(lines, left):
    program = written(lines + "\nreturn %1")
    assert opcodes(rewritten(program, MAPS)) == left


# --- arithmetic ----------------------------------------------------------------------------


def with_number(opcode, number, kind="f64", first=False):
    operands = "%1, x" if first else "x, %1"
    return written(f"%0 = constant {number} : {kind}[]\n"
                   f"%1 = broadcast %0, shape=(10,), axes=() : {kind}[10]\n"
                   f"%2 = {opcode} {operands} : {kind}[10]\nreturn %2", f"x: {kind}[10]")  # fmt: skip


@pytest.mark.parametrize(("program", "left"), [
    (with_number("add", "-0.0"), []),
    (with_number("add", "-0.0", first=True), []),
    (with_number("add", "0.0"), ["add"]),  # -0.0 + 0.0 is 0.0.
    (with_number("subtract", "0.0"), []),
    (with_number("subtract", "-0.0"), ["subtract"]),
    (with_number("subtract", "0.0", first=True), ["subtract"]),
    (with_number("multiply", "1.0"), []),
    (with_number("multiply", "-1.0", first=True), ["negative"]),
    (with_number("multiply", "0.0"), ["multiply"]),  # Infinity times 0 is NaN.
    (with_number("divide", "1.0"), []),
    (with_number("divide", "64.0"), ["multiply"]),
    (with_number("divide", "-0.125"), ["multiply"]),
    (with_number("divide", "10.0"), ["divide"]),
    (with_number("divide", "5e-324"), ["divide"]),  # Its inverse is no number.
    (with_number("divide", "1.0", first=True), ["divide"]),
    (with_number("power", "1.0"), []),
    (with_number("power", "2.0"), ["multiply"]),
    (with_number("power", "-1.0"), ["divide"]),
    (with_number("power", "0.5"), ["power"]),  # The root of -0.0 is -0.0, its power 0.0.
    (with_number("add", "0", "i64"), []),
    (with_number("subtract", "0", "i64"), []),
    (with_number("multiply", "1", "i64"), []),
    (with_number("power", "2", "i64"), ["multiply"]),
])  # fmt: skip
def test_identities_hold_for_every_number_or_are_left(program, left):
    assert opcodes(rewritten(program, ARITHMETIC)) == left


@pytest.mark.parametrize(("lines", "left"), [
    ("%0 = negative y : f64[3,4]\n%1 = add x, %0 : f64[3,4]", ["subtract"]),
    ("%0 = negative y : f64[3,4]\n%1 = add %0, x : f64[3,4]", ["subtract"]),
    ("%0 = negative y : f64[3,4]\n%1 = subtract x, %0 : f64[3,4]", ["add"]),
    ("%0 = negative x : f64[3,4]\n%1 = subtract %0, y : f64[3,4]", ["negative", "subtract"]),
    ("%0 = negative x : f64[3,4]\n%1 = negative %0 : f64[3,4]", []),
    ("%0 = invert c : bool[3,4]\n%1 = invert %0 : bool[3,4]", []),
    ("%0 = invert c : bool[3,4]\n%1 = select %0, x, y : f64[3,4]", ["select"]),
    ("%1 = select c, x, x : f64[3,4]", []),
])  # fmt: skip
def test_signs_and_choices_are_combined(lines, left):
    assert opcodes(rewritten(written(lines + "\nreturn %1"), ARITHMETIC)) == left


@pytest.mark.parametrize(("known", "chosen"), [("True", "x"), ("False", "y")])
def test_a_choice_that_is_known_is_made(known, chosen):
    program = written(f"%0 = constant {known} : bool[]\n"
                      "%1 = broadcast %0, shape=(3, 4), axes=() : bool[3,4]\n"
                      "%2 = select %1, x, y : f64[3,4]\nreturn %2")  # fmt: skip
    after = rewritten(program, ARITHMETIC)
    assert [x.name for x in after.outputs] == [chosen]


def test_a_constant_of_several_numbers_is_no_number():
    program = written("%0 = constant [1.0, 1.0, 1.0, 2.0] : f64[4]\n"
                      "%1 = multiply v, %0 : f64[4]\nreturn %1")  # fmt: skip
    assert opcodes(rewritten(program, ARITHMETIC)) == ["multiply"]


# --- products ------------------------------------------------------------------------------

MATRICES = "a: f64[2,3], b: f64[3,4], c: f64[2,4], t: f64[4,3], l: f64[5,2,3]"


def exact(program, rules):
    """Apply a table of rules; check results on whole numbers, whose sums are exact."""
    after = Rewriter(program, rules).run()
    after.verify()
    inputs = random_inputs(program)
    for y, z in zip(run(program, *inputs), run(after, *inputs), strict=True):
        assert np.array_equal(y, z)
    return after


def the(program, opcode):
    (only,) = [i for i in program.instructions if i.opcode == opcode]
    return only


@pytest.mark.parametrize(("lines", "operands", "flags"), [
    ("%0 = transpose t, axes=(1, 0) : f64[3,4]\n"
     "%1 = dot a, %0, trans_a=False, trans_b=False : f64[2,4]", "at", (False, True)),
    ("%0 = transpose b, axes=(1, 0) : f64[4,3]\n"
     "%1 = dot a, %0, trans_a=False, trans_b=True : f64[2,4]", "ab", (False, False)),
    ("%0 = transpose a, axes=(1, 0) : f64[3,2]\n"
     "%1 = dot %0, c, trans_a=False, trans_b=False : f64[3,4]", "ac", (True, False)),
    ("%0 = dot a, b, trans_a=False, trans_b=False : f64[2,4]\n"
     "%1 = transpose %0, axes=(1, 0) : f64[4,2]", "ba", (True, True)),
])  # fmt: skip
def test_transposes_become_flags_of_the_product(lines, operands, flags):
    after = exact(written(lines + "\nreturn %1", MATRICES), DOTS)
    assert opcodes(after) == ["dot"]
    dot = the(after, "dot")
    assert "".join(x.name for x in dot.operands) == operands
    assert (dot.attributes["trans_a"], dot.attributes["trans_b"]) == flags


def test_a_transpose_of_other_axes_stays():
    program = written("%0 = transpose l, axes=(0, 2, 1) : f64[5,3,2]\n"
                      "%1 = transpose l, axes=(1, 0, 2) : f64[2,5,3]\n"
                      "%2 = dot l, %0, trans_a=False, trans_b=False : f64[5,2,2]\n"
                      "%3 = dot %1, %1, trans_a=False, trans_b=True : f64[2,5,5]\nreturn %2, %3",
                      MATRICES)  # fmt: skip
    assert opcodes(exact(program, DOTS)) == ["transpose", "dot", "dot"]


def test_of_two_matrices_that_are_each_other_s_transpose_one_is_made():
    b = Builder("p")
    x, w, g = (b.input(Type(np.dtype("f8"), s)) for s in ((2, 3, 5, 5), (4, 12), (4, 32)))
    windows = b.windows(x, (2, 2), (1, 1), (0, 0))
    columns = b.reshape(b.transpose(windows, (1, 4, 5, 0, 2, 3)), (12, 32))
    rows = b.reshape(b.transpose(windows, (0, 2, 3, 1, 4, 5)), (32, 12))
    other = b.reshape(b.transpose(windows, (0, 3, 2, 1, 4, 5)), (32, 12))
    program = b.program([b.dot(w, columns), b.dot(g, rows), b.dot(g, other)])
    after = exact(program, DOTS)
    assert opcodes(after).count("transpose") == 2
    dots = [each for each in after.instructions if each.opcode == "dot"]
    assert dots[0].operands[1] is dots[1].operands[1] is not dots[2].operands[1]
    assert [each.attributes["trans_b"] for each in dots] == [False, True, False]


@pytest.mark.parametrize("turned", [False, True])
def test_one_matrix_for_a_batch_makes_one_product(turned):
    matrix, shape = ("t", "5,4,3") if turned else ("b", "5,3,4")
    lines = (f"%0 = broadcast {matrix}, shape=({shape}), axes=(1, 2) : f64[{shape}]\n"
             f"%1 = dot l, %0, trans_a=False, trans_b={turned} : f64[5,2,4]\nreturn %1")  # fmt: skip
    after = exact(written(lines, MATRICES), DOTS)
    assert opcodes(after) == ["reshape", "dot", "reshape"]
    assert the(after, "dot").result.shape == (10, 4)


def test_a_batch_of_one_matrix_along_other_axes_is_no_such_product():
    program = parse("program p(l: f64[3,2,3], m: f64[3,4]) {\n"
                    "%0 = broadcast m, shape=(3, 3, 4), axes=(0, 2) : f64[3,3,4]\n"
                    "%1 = dot l, %0, trans_a=False, trans_b=False : f64[3,2,4]\nreturn %1\n}")  # fmt: skip
    assert opcodes(exact(program, DOTS)) == ["dot"]


DOT = "%0 = dot a, b, trans_a=False, trans_b=False : f64[2,4]\n"
TWICE = ("%1 = constant 2.0 : f64[]\n%2 = broadcast %1, shape=(2, 4), axes=() : f64[2,4]\n"
         "%3 = multiply %2, %0 : f64[2,4]\n")  # fmt: skip


@pytest.mark.parametrize(("lines", "alpha"), [
    (DOT + "%4 = add c, %0 : f64[2,4]", 1.0),
    (DOT + "%4 = add %0, c : f64[2,4]", 1.0),
    (DOT + "%4 = subtract c, %0 : f64[2,4]", -1.0),
    (DOT + TWICE + "%4 = add c, %3 : f64[2,4]", 2.0),
    (DOT + TWICE + "%4 = subtract c, %3 : f64[2,4]", -2.0),
])  # fmt: skip
def test_a_product_is_accumulated_into_the_input_that_it_replaces(lines, alpha):
    after = exact(written(lines + "\nreturn %4 -> c", MATRICES), ACCUMULATE)
    assert opcodes(after) == ["dot_add"]
    only = the(after, "dot_add")
    assert only.attributes["alpha"] == alpha
    assert [x.name for x in only.operands] == ["a", "b", "c"]


@pytest.mark.parametrize("lines", [
    DOT + "%4 = add c, %0 : f64[2,4]\nreturn %4",  # c stays: it would have to be copied.
    DOT + "%4 = subtract %0, c : f64[2,4]\nreturn %4 -> c",
    DOT + "%4 = add c, %0 : f64[2,4]\nreturn %4 -> c, %0",  # The product is wanted itself.
    DOT + TWICE + "%4 = add c, %3 : f64[2,4]\nreturn %4 -> c, %0",
    DOT + "%4 = multiply c, %0 : f64[2,4]\n%5 = add c, %4 : f64[2,4]\nreturn %5 -> c",
])  # fmt: skip
def test_nothing_is_accumulated_where_that_gains_nothing(lines):
    assert "dot_add" not in opcodes(exact(written(lines, MATRICES), ACCUMULATE))


def test_sums_of_products_become_one_chain():
    program = written(DOT + "%1 = dot a, t, trans_a=False, trans_b=True : f64[2,4]\n"
                      "%2 = dot a, b, trans_a=False, trans_b=False : f64[2,4]\n"
                      "%3 = add %0, %1 : f64[2,4]\n%4 = add %2, %3 : f64[2,4]\nreturn %4",
                      MATRICES)  # fmt: skip
    after = exact(program, ACCUMULATE)
    assert opcodes(after) == ["dot", "dot_add", "dot_add"]


def test_whole_numbers_are_not_accumulated():
    head = "a: i64[2,3], b: i64[3,4], c: i64[2,4]"
    program = written("%0 = dot a, b, trans_a=False, trans_b=False : i64[2,4]\n"
                      "%1 = add c, %0 : i64[2,4]\nreturn %1 -> c", head)  # fmt: skip
    assert opcodes(Rewriter(program, ACCUMULATE).run()) == ["dot", "add"]
