"""What the compiler made, as pictures and texts: nothing is shown that is not so."""

import re
from itertools import combinations

import numpy as np
import pytest

from workbench import compiler, symbolic
from workbench.compiler.fuse import fuse
from workbench.compiler.memory import plan
from workbench.compiler.simplify import simplify
from workbench.errors import OptionError, UnknownNameError
from workbench.symbolic import ops
from workbench.views import fusion_view, kernel_view, memory_plan_chart
from workbench.views.compiled import KINDS, MADE_BY, VECTOR, function_text, vector_blocks

needs_llvm = pytest.mark.skipif(compiler.best_target() != "llvm", reason="needs llvmlite")


@pytest.fixture
def step():
    w = symbolic.shared(np.full((64, 64), 0.01), "w")
    x = symbolic.matrix("x")
    loss = (ops.tanh(ops.tanh(x @ w) @ w) ** 2).mean()
    return symbolic.function([x], loss, updates={w: w - 0.1 * symbolic.grad(loss, w)})


@pytest.fixture
def fused(step):
    return fuse(simplify(step.program(np.ones((32, 64)))))


# --- kernels -------------------------------------------------------------------------------


def test_every_kernel_is_listed_with_the_lines_of_its_instructions(fused):
    shown = fusion_view(fused)
    program = str(fused.program)
    assert [kernel for kernel, _ in shown.groups] == list(fused.kernels)
    for kernel, lines in shown.groups:
        assert [re.search(r"= (\w+)", line)[1] for line in lines] == [
            each.opcode for each in kernel.instructions
        ]
        assert all(line in program for line in lines)
        assert f"{kernel.name}: {kernel.kind} over {kernel.space}" in str(shown)
    page = shown._repr_html_()
    assert page.count("border-left") == len(fused.kernels)


def test_the_body_of_a_loop_is_not_taken_for_instructions_of_its_program():
    xs = symbolic.matrix("xs")
    last = symbolic.scan(lambda x, h: ops.tanh(x + h), xs, outputs_info=np.zeros(4))[-1]
    program = simplify(symbolic.function([xs], last).program(np.ones((5, 4))))
    shown = fusion_view(fuse(program))
    loop = next(lines for kernel, lines in shown.groups if kernel.kind == "control")
    assert len(loop) == 1
    assert "= scan " in loop[0]


def test_every_kind_of_kernel_has_a_colour_and_words():
    assert set(KINDS) == set(MADE_BY) == {"loop", "reduce", "dot", "special", "control"}
    assert len(set(KINDS.values())) == len(KINDS)


@needs_llvm
def test_a_kernel_is_shown_as_c_and_as_what_llvm_made_of_it(step):
    step(np.ones((32, 64)))
    run = step.executable
    kernel = next(k for k in run.kernels if "tanh" in {i.opcode for i in k.instructions})
    (c_caption, c), (llvm_caption, llvm) = kernel_view(run, kernel.name).parts
    assert c == run.source["kernels"][kernel.name]
    assert c_caption == f"{kernel.name}, as C"
    whole = function_text(run.source["llvm"], kernel.name)
    assert whole.startswith("define ")
    assert whole.endswith("}")
    for line in llvm.splitlines():
        assert line in whole
    lines = llvm.splitlines()
    width = re.search(VECTOR, llvm)[0]
    on_vectors = sum(width in line for line in lines)
    assert llvm_caption == (f"LLVM, optimised: {len(lines)} of {len(whole.splitlines())} lines, "
                            f"{on_vectors} of them on {width}")  # fmt: skip
    assert "LLVM" in str(kernel_view(run, kernel.name))


@needs_llvm
def test_a_kernel_that_is_not_there_is_refused_with_the_nearest(step):
    step(np.ones((32, 64)))
    name = step.executable.kernels[0].name
    with pytest.raises(UnknownNameError, match="no kernel called") as caught:
        kernel_view(step.executable, name + "x")
    assert caught.value.fix == f"did you mean {name!r}?"


def test_what_llvm_did_not_compile_has_no_code():
    x = symbolic.vector("x")
    f = symbolic.function([x], x + 1, mode="numpy")
    f([1.0])
    for run in (f.executable, None):
        with pytest.raises(OptionError, match="there is no code to show"):
            kernel_view(run, "k0")


MODULE = """; a module
define i32 @k1(ptr %x) {
entry:
  %0 = load double, ptr %x

vector.body:                            ; preds = %entry
  %1 = load <4 x double>, ptr %x

exit:
  ret i32 0
}

define i32 @"k10"(ptr %x) {
  ret i32 0
}
"""


def test_a_function_is_found_by_its_whole_name_and_cut_to_its_vector_blocks():
    k1 = function_text(MODULE, "k1")
    assert k1.startswith("define i32 @k1(")
    assert k1.endswith("ret i32 0\n}")
    assert "k10" not in k1
    assert vector_blocks(k1).splitlines() == [
        "define i32 @k1(ptr %x) {", "",
        "vector.body:                            ; preds = %entry",
        "  %1 = load <4 x double>, ptr %x",
    ]  # fmt: skip
    k10 = function_text(MODULE, "k10")
    assert vector_blocks(k10) == k10
    assert function_text(MODULE, "k2") == ""


# --- memory --------------------------------------------------------------------------------


def test_a_bar_stands_where_its_value_lies_for_as_long_as_it_lives(fused):
    made = plan(fused)
    picture = memory_plan_chart(made)
    left, right = picture.axes
    bars = [(b.get_x(), b.get_y(), b.get_width(), b.get_height()) for b in left.patches]
    renewed = {new for _, _, new in made.in_place}
    over = [each for each in made.lifetimes if each.value in renewed]
    assert over
    for each, bar in zip(made.lifetimes, bars, strict=True):
        taken = any((each.offset, each.last) == (new.offset, new.first) for new in over)
        length = each.last - each.first + (not taken)
        assert bar == pytest.approx((each.first - 0.5, each.offset, length, each.nbytes))
    for (x, y, width, height), (x2, y2, width2, height2) in combinations(bars, 2):
        assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
    assert [bool(b.get_hatch()) for b in left.patches] == [
        e.value in renewed for e in made.lifetimes
    ]
    assert [tick.get_text() for tick in left.get_xticklabels()] == [k.name for k in made.kernels]
    assert [b.get_height() for b in right.patches] == [made.naive_bytes, made.arena_bytes]
    for axes in (left, right):
        assert "bytes" in axes.get_ylabel()
    assert left.get_xlabel().startswith("kernel")
    assert picture.png().startswith(b"\x89PNG")


def test_the_picture_is_told_in_words(fused):
    made = plan(fused)
    alt = memory_plan_chart(made).alt
    assert alt.startswith(f"{len(made.lifetimes)} values share an arena of ")
    renewed = {new for _, _, new in made.in_place}
    assert f"; {sum(each.value in renewed for each in made.lifetimes)} of them, " in alt


def test_a_plan_without_values_between_kernels_is_refused():
    x = symbolic.vector("x")
    program = simplify(symbolic.function([x], x + 1).program([1.0, 2.0]))
    with pytest.raises(OptionError, match="there is nothing to draw"):
        memory_plan_chart(plan(fuse(program)))
