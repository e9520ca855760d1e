"""Building expressions: variables, the lines that built them, what they refuse to do."""

import gc

import numpy as np
import pytest

from workbench import symbolic
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.symbolic import graph, ops


def test_variables_show_their_name_and_type():
    assert repr(symbolic.scalar("s")) == "<s: scalar float64 ()>"
    assert repr(symbolic.vector("v", "int64", 3)) == "<v: vector int64 (3,)>"
    x = symbolic.matrix("x", "float32", shape=(None, 3))
    assert repr(x) == "<x: matrix float32 (None, 3)>"
    assert repr(x + 1) == "<add: matrix float32 (None, 3)>"
    assert repr(symbolic.tensor("t", ndim=3)) == "<t: 3-d tensor float64 (None, None, None)>"
    assert repr(symbolic.constant(2.5)) == "<2.5: scalar float64 ()>"
    assert repr((x + 1).owner) == "<add(x, 1.0)>"
    assert (x.ndim, x.shape, x.dtype) == (2, (None, 3), np.float32)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: symbolic.scalar(3), OptionError, "scalar: a variable needs a name"),
        (lambda: symbolic.vector(""), OptionError, "vector: a variable needs a name"),
        (lambda: symbolic.scalar("x", "complex64"), DtypeError, "scalar: expressions hold real"),
        (lambda: symbolic.scalar("x", "flaot32"), DtypeError, "given: +'flaot32'"),
        (lambda: symbolic.matrix("x", shape=(3,)), ShapeError, "matrix: the shape has 1 axes, not"),
        (lambda: symbolic.matrix("x", shape=(3, -1)), OptionError, "matrix: this is not a shape"),
        (lambda: symbolic.matrix("x", shape="ab"), OptionError, "matrix: this is not a shape"),
        (lambda: symbolic.matrix("x", shape=(1.5, 2)), OptionError, "matrix: this is not a shape"),
        (lambda: symbolic.matrix("x", shape=7), OptionError, "matrix: this is not a shape"),
        (lambda: symbolic.tensor("x"), OptionError, "tensor: the number of axes is not known"),
        (lambda: symbolic.tensor("x", ndim=-1), OptionError, "tensor: the number of axes"),
        (lambda: symbolic.tensor("x", shape=(1,), ndim=2), ShapeError, "1 axes, not 2"),
        (lambda: symbolic.constant(symbolic.scalar("x")), GraphError, "value is an expression"),
    ],
)
def test_declarations_are_checked(build, error, text):
    with pytest.raises(error, match=text):
        build()


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (bool, "neither true nor false .*\n.*\n.*ops.where"),
        (len, r"length .*\n.*\n.*x.shape\[0\]"),
        (list, "a Python loop cannot run over"),
        (lambda x: 3 in x, "'in' needs the values"),
        (float, "no value before it runs.*\n.*\n.*symbolic.function"),
        (lambda x: f"{x:.3f}", "no digits to print.*\n.*\n.*symbolic.function"),
        (int, "no value before it runs"),
        (range, "no value before it runs"),
        (np.asarray, "cannot be made into an array"),
        (np.exp, "numpy.exp computes numbers.*\n.*\n.*symbolic.ops"),
        (np.sum, "numpy.sum computes numbers"),
        (lambda x: np.concatenate([x, x]), "numpy.concatenate computes numbers"),
        (np.add.reduce, "numpy.add computes numbers"),
        (lambda x: x.__setitem__(0, 1), "cannot be assigned to.*\n.*\n.*update a shared"),
    ],
)
def test_what_would_need_a_number_is_refused_in_words(use, text):
    with pytest.raises(GraphError, match=text) as caught:
        use(symbolic.vector("x"))
    assert "<x: vector float64 (None,)>" in str(caught.value)


def test_in_place_arithmetic_on_an_array_is_refused_and_on_a_variable_makes_a_new_one():
    x = symbolic.vector("x")
    a = np.ones(3)
    with pytest.raises(GraphError, match=r"numpy\.add"):
        a += x
    y = x
    y += 1
    assert y is not x
    assert y.owner.op.name == "add"


def test_equality_is_identity_as_in_theano():
    x, y = symbolic.scalar("x"), symbolic.scalar("x")
    assert x == x
    assert x != y
    assert {x: 1, y: 2}[x] == 1


def line_of(text):
    """Return the number of the one line of this file that contains ``text``."""
    with open(__file__, encoding="utf-8") as file:
        lines = [i for i, line in enumerate(file, 1) if text in line]
    return lines[0]


def test_a_variable_knows_the_line_that_built_it():
    x = symbolic.vector("traced-input")
    y = ops.softmax(x * 2)  # traced-softmax
    assert x.trace.line == line_of('"traced-input"')
    assert y.trace.line == y.owner.inputs[0].trace.line == line_of("# traced-softmax")
    assert y.trace.file == __file__
    assert y.trace.function == "test_a_variable_knows_the_line_that_built_it"
    assert "y = ops.softmax(x * 2)" in str(y.trace)


def test_gradients_point_at_the_line_whose_gradient_they_are():
    x = symbolic.vector("x")
    y = ops.exp(x)  # traced-exp
    g = symbolic.grad(y.sum(), x)
    assert g.trace.line == line_of("# traced-exp")
    assert str(g.trace).endswith("(gradient of exp)")


def test_a_clash_names_both_sides_and_the_lines_that_built_them():
    w = symbolic.matrix("w", shape=(5, 2))  # clash-w
    h = ops.tanh(symbolic.matrix("x", shape=(None, 4)))  # clash-h
    with pytest.raises(ShapeError) as caught:
        h @ w
    text = str(caught.value)
    assert text.startswith("matmul: axis 1 of x is 4, but axis 0 of y is 5\n")
    assert f"x = tanh, float64 (None, 4), from {__file__}:{line_of('# clash-h')} in" in text
    assert f"y = w, float64 (5, 2), from {__file__}:{line_of('# clash-w')} in" in text


def test_nodes_come_in_order_and_once():
    x = symbolic.scalar("x")
    y = ops.exp(x)
    z = y * y + ops.log(y)
    assert [node.op.name for node in symbolic.nodes(z)] == ["exp", "multiply", "log", "add"]
    assert [node.op.name for node in symbolic.nodes([y, y])] == ["exp"]
    assert symbolic.nodes(z)[-1].output is z
    assert symbolic.nodes(z)[0].inputs == (x,)
    assert symbolic.nodes(x) == []


def test_merging_finds_equal_computations_and_no_others():
    x = symbolic.vector("x")
    a, b = graph.merge([ops.exp(x * 2) + 1, ops.exp(x * 2) - 1])
    assert a.owner.inputs[0] is b.owner.inputs[0]
    assert len(symbolic.nodes([a, b])) == 4
    for left, right in [
        (x.sum(0), x.sum(0, keepdims=True)),
        (x * 0.0, x * -0.0),
        (x * 1, x[None] * 1),
        (ops.cast(x, "float32"), ops.cast(x, "int64")),
        (x - 1, 1 - x),
    ]:
        a, b = graph.merge([left, right])
        assert a is not b
    nan = graph.merge([x * np.nan, x * np.nan])
    assert nan[0] is nan[1]


def test_rebuilding_replaces_at_once_and_keeps_what_is_untouched():
    x, y = symbolic.vector("x"), symbolic.vector("y")
    untouched = ops.exp(y)
    z = (x * 2) + untouched
    z.name = "z"
    (new,) = graph.rebuild([z], {x: x + 1})
    assert new is not z
    assert new.name == "z"
    assert new.trace == z.trace
    assert new.owner.inputs[1] is untouched
    assert new.owner.inputs[0].owner.inputs[0].owner.inputs[0] is x
    assert graph.rebuild([z], {symbolic.vector("w"): x}) == [z]


def test_a_chain_of_thirty_thousand_ops_is_built_walked_and_freed():
    x = symbolic.scalar("x")
    y = x
    for _ in range(30_000):
        y = -y
    assert len(symbolic.nodes(y)) == 30_000
    assert graph.leaves([y]) == [x]
    del y
    gc.collect()


def test_a_user_may_add_an_op():
    class Cube(symbolic.Op):
        name = "cube"

        def infer(self, x):
            return x.type

        def compute(self, x):
            return x * x * x

        def gradient(self, inputs, output, g):
            return (g * 3 * inputs[0] ** 2,)

    x = symbolic.scalar("x")
    y = symbolic.apply(Cube(), x)
    f = symbolic.function([x], [y, symbolic.grad(y, x)], mode="check")
    assert f(2.0) == [8, 12]
    with pytest.raises(TypeError, match="gradient"):  # A hole cannot be left by accident.
        type("Hole", (symbolic.Op,), {"infer": Cube.infer, "compute": Cube.compute})()


def test_printing_an_expression_says_why_there_is_no_number():
    x = symbolic.vector("x")
    assert str(x).startswith("<x: ")
    assert "without a value: compile it with symbolic.function" in f"{x}"
