"""Passes and kernels of one's own, in the place that the compiler has for them."""

from dataclasses import replace

import numpy as np
import pytest

from workbench import compiler, symbolic
from workbench.compiler.fuse import from_groups
from workbench.compiler.simplify import share_common, simplify
from workbench.compiler.text import parse
from workbench.errors import GraphError, OptionError

TWICE = """program twice(x: f64[4,4]) {
  a = tanh x : f64[4,4]
  b = tanh x : f64[4,4]
  c = add a, b : f64[4,4]
  d = sum c, axes=(0,) : f64[4]
  e = sin x : f64[4,4]
  f = multiply c, e : f64[4,4]
  return d, f
}"""
X = np.random.default_rng(0).uniform(-1, 1, (4, 4))


def without_outputs(program):
    return replace(program, outputs=program.outputs[:1])


def test_passes_run_first_and_in_order():
    seen = []

    def look(program):
        seen.append(len(program.instructions))
        return program

    run = compiler.compile(parse(TWICE), "numpy", passes=[look, share_common, look])
    assert seen == [6, 5]
    assert len(run.program.instructions) == 5
    np.testing.assert_array_equal(run(X)[0], compiler.compile(parse(TWICE), "numpy")(X)[0])


def test_a_pass_that_changes_what_is_returned_is_named():
    with pytest.raises(GraphError, match=r"without_outputs.*changed what the program takes"):
        compiler.compile(parse(TWICE), "numpy", passes=[without_outputs])


def test_a_pass_that_returns_nothing_is_named():
    def forgetful(program):
        share_common(program)

    with pytest.raises(GraphError, match="forgetful: this pass made no program"):
        compiler.compile(parse(TWICE), "numpy", passes=[forgetful])


def test_a_function_runs_its_passes_on_every_program():
    x, seen = symbolic.vector("x"), []

    def look(program):
        seen.append(program.inputs[0].shape)
        return program

    f = symbolic.function([x], (x * x).sum(), mode="numpy", passes=[look])
    assert [float(f(np.ones(n, x.dtype))) for n in (2, 3)] == [2.0, 3.0]
    assert seen == [(2,), (3,)]
    with pytest.raises(OptionError, match="makes no program"):
        symbolic.function([x], x, mode="interpret", passes=[look])


def grouped(*groups):
    def fuse(program):
        values = {i.opcode: i.result for i in program.instructions}
        return from_groups(program, [[values[opcode] for opcode in group] for group in groups])

    return fuse


@pytest.mark.parametrize(
    ("groups", "kernels"),
    [
        ([], 2),  # What is in no group is computed where it is read.
        ([["tanh"], ["add"], ["sin"], ["multiply"]], 5),
        ([["tanh", "add"]], 3),
        ([["tanh", "add", "sin", "multiply"]], 2),
    ],
)
def test_kernels_are_the_groups_that_were_chosen(groups, kernels):
    pytest.importorskip("llvmlite")
    run = compiler.compile(parse(TWICE), "llvm", fuse=grouped(*groups))
    assert len(run.kernels) == kernels
    for mine, right in zip(run(X), compiler.compile(parse(TWICE), "numpy")(X), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-13)


def test_a_group_around_another_kernel_is_refused():
    program = simplify(
        parse("""program around(x: f64[4,4]) {
      a = tanh x : f64[4,4]
      b = dot a, a, trans_a=False, trans_b=False : f64[4,4]
      c = add a, b : f64[4,4]
      return c
    }""")
    )
    with pytest.raises(GraphError, match="in the middle of this one"):
        grouped(["tanh", "add"])(program)


def test_a_group_that_reads_itself_elsewhere_is_refused():
    program = simplify(
        parse("""program turned(x: f64[4,4]) {
      a = tanh x : f64[4,4]
      b = transpose a, axes=(1, 0) : f64[4,4]
      c = add a, b : f64[4,4]
      return c
    }""")
    )
    with pytest.raises(GraphError, match="cannot be one loop"):
        grouped(["tanh", "add"])(program)


def test_only_machine_code_has_kernels():
    with pytest.raises(OptionError, match='target "numpy" does not take a fuse'):
        compiler.compile(parse(TWICE), "numpy", fuse=from_groups)
