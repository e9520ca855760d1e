"""Programs as text: readable, whole, and read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.programs import random_inputs, random_program, same_bits
from workbench.compiler import Builder, Type
from workbench.compiler.opcodes import run
from workbench.compiler.program import Program
from workbench.compiler.text import constants, names, parse, to_text
from workbench.errors import GraphError, UnknownNameError

F4 = np.dtype("f4")

STEP = """\
program step(x: f32[32,64], w: f32[64,10]) {
  %0 = dot x, w, trans_a=False, trans_b=False : f32[32,10]
  %1 = constant 0.5 : f32[]
  %2 = broadcast %1, shape=(32, 10), axes=() : f32[32,10]
  %3 = add %0, %2 : f32[32,10]
  %4 = pad %3, low=(0, 0), high=(1, 1), interior=(0, 0), fill=-inf : f32[33,11]
  %5 = convert %4, dtype=i64 : i64[33,11]
  %6 = call %5, function='sort', axis=1 : i64[33,11]
  %7 = multiply w, w : f32[64,10]
  return %6, %7 -> w
}"""

LOOP = """\
program loop(x: f32[5,2]) {
  %0 = constant [0.1, -0.0] : f32[2]
  %1, %2 = scan %0, x, n_carry=1, n_sequences=1, length=5, reverse=False : f32[2], f32[5,2]
    body: program body(c: f32[2], %0: f32[2]) {
      %1 = add c, %0 : f32[2]
      return %1, %1
    }
  return %1, %2
}"""


@pytest.mark.parametrize("text", [STEP, LOOP])
def test_text_is_read_back_to_the_letter(text):
    assert to_text(parse(text)) == text == str(parse(text))


def test_the_builder_and_the_text_say_the_same():
    b = Builder("loop")
    x = b.input(Type(F4, (5, 2)), "x")
    p = Builder("body")
    c, e = p.input(Type(F4, (2,)), "c"), p.input(Type(F4, (2,)))
    total = p.add(c, e)
    body = p.program([total, total])
    program = b.program(b.scan([b.constant([0.1, -0.0], "f4")], [x], [], body, 5))
    assert to_text(program) == LOOP


@settings(max_examples=80, deadline=None)
@given(choices=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_what_is_read_back_has_the_same_text_and_results(choices, seed):
    program = random_program(choices)
    again = parse(to_text(program), constants(program))
    assert to_text(again) == to_text(program)
    assert again.donate == program.donate
    inputs = random_inputs(program, seed)
    with np.errstate(all="ignore"):
        for y, z in zip(run(program, *inputs), run(again, *inputs), strict=True):
            assert same_bits(np.asarray(y), np.asarray(z))


def through_text(array):
    b = Builder("constants")
    text = to_text(b.program([b.constant(array)]))
    (only,) = parse(text).instructions
    return text, only.attributes["value"]


@settings(max_examples=200, deadline=None)
@given(bits=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=16),
       dtype=st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8"]))  # fmt: skip
def test_small_constants_keep_every_bit(bits, dtype):
    array = np.array(bits, np.uint64).astype(f"u{np.dtype(dtype).itemsize}").view(dtype)
    _, again = through_text(array)
    assert again.dtype == array.dtype
    if array.dtype.kind == "f":
        assert np.array_equal(np.isnan(again), np.isnan(array))
        again, array = again[~np.isnan(again)], array[~np.isnan(array)]
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize(("array", "shown"), [
    (np.float32(0.1), "0.1 : f32[]"),
    (np.array([[np.inf, -np.inf], [np.nan, -0.0]]), "[inf, -inf, nan, -0.0] : f64[2,2]"),
    (np.array([True, False]), "[True, False] : bool[2]"),
    (np.zeros((0, 3), "i8"), "[] : i64[0,3]"),
    (np.uint64(2**64 - 1), "18446744073709551615 : u64[]"),
])  # fmt: skip
def test_how_small_constants_look(array, shown):
    text, again = through_text(array)
    assert f"%0 = constant {shown}" in text
    assert again.shape == np.shape(array)
    assert not again.flags.writeable


def test_a_decimal_is_not_rounded_twice():
    array = np.array([0x15AE43FD], np.uint32).view(
        "f4"
    )  # "7.038531e-26" by way of float64 is ...3FE.
    text, again = through_text(array)
    assert "constant [7.0385306918512" in text
    assert again.tobytes() == array.tobytes()


def test_large_constants_stand_beside_the_text():
    b = Builder("large")
    first, second = np.arange(17.0), np.arange(20)
    program = b.program([b.constant(first), b.constant(second), b.constant(3)])
    text, table = to_text(program), constants(program)
    assert "constant @c0 : f64[17]" in text
    assert "constant @c1 : i64[20]" in text
    assert list(table) == ["c0", "c1"]
    made = run(parse(text, table))
    assert same_bits(made[0], first)
    assert (made[1] == second).all()
    with pytest.raises(UnknownNameError) as error:
        parse(text, {"c0": first, "c2": second})
    assert "line 3: there is no constant called 'c1'" in str(error.value)
    with pytest.raises(GraphError) as error:
        parse(text, {"c0": second, "c1": second})
    assert "line 2: @c0 is i64[20]" in str(error.value)
    assert "expected: f64[17]" in str(error.value)


def test_names_are_made_unique_and_fit_to_be_read():
    b = Builder("lambda (x)")
    xs = [b.input(Type(F4, ()), name) for name in ("x", "x", "layer 1/w", "return", "9", None)]
    program = b.program([b.add(xs[0], xs[1])])
    assert list(names(program).values()) == ["x", "x_1", "layer_1_w", "return_1", "%0", "%1", "%2"]
    assert to_text(parse(to_text(program))) == to_text(program)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("dot x, w", "dot x, v", "line 2: there is no value called 'v'"),
    ("= add", "= ad", "line 5: there is no opcode called 'ad'"),
    ("dtype=i64", "dtype=i63", "line 7: 'dtype=i63' are no attributes"),
    ("low=(0, 0)", "low=(0, -1)", "line 6: pad does not take this"),
    ("low=(0, 0), ", "", "line 6: pad does not take this"),
    ("axis=1", "axis=x y", "line 8: \"function='sort', axis=x y\" are no attributes"),
    ("%3 = add %0, %2 : f32[32,10]", "%3 = add %0, %2 : f32[32,11]",
     "line 5: the results are not what the opcode makes"),
    ("%3 = add %0, %2 : f32[32,10]", "%3 = add %0, %2", "line 5: this is no instruction"),
    ("%3 = add", "%2 = add", "line 5: the name %2 is taken"),
    (": f32[]", ": f33[]", "line 3: 'f33[]' is not a type"),
    ("constant 0.5", "constant half", "line 3: these are not the elements of the constant"),
    ("constant 0.5", "constant [0.5, 0.5]", "line 3: these are not the elements of the constant"),
    ("-> w", "-> %3", "line 10: %3 is no input"),
    ("-> w", "-> x", "output 1 does not fit the memory of input 0"),
    ("\n}", "", "line 10: the program ends too early"),
    ("\n}", "\nreturn x\n}", "line 11: the program goes on after its return"),
    ("\n}", "\n}\nand more", "line 12: there is text after the program"),
    ("program step(", "programme step(", "line 1: this starts no program"),
    ("(x: f32[32,64], w", "(x: f32[32,64], x", "line 1: the name x is taken"),
])  # fmt: skip
def test_errors_name_the_line_and_what_was_expected(old, new, message):
    assert old in STEP
    with pytest.raises((GraphError, UnknownNameError)) as error:
        parse(STEP.replace(old, new, 1))
    assert message in str(error.value)
    if "does not take" not in message and "memory" not in message:
        assert "expected:" in str(error.value)


def test_errors_inside_control_flow_name_their_line():
    with pytest.raises(UnknownNameError) as error:
        parse(LOOP.replace("add c, %0", "add c, %9"))
    assert "line 5: there is no value called '%9'" in str(error.value)


def test_an_empty_text_is_no_program():
    with pytest.raises(GraphError) as error:
        parse("")
    assert "line 1: the program ends too early" in str(error.value)


def test_a_program_without_inputs_or_outputs():
    program = Program("nothing", (), (), ())
    assert to_text(program) == "program nothing() {\n  return\n}"
    assert to_text(parse(to_text(program))) == to_text(program)
