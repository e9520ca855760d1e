"""function: what is scheduled, what a call does and refuses, how updates are made."""

import gc
import weakref

import numpy as np
import pytest

from workbench import symbolic
from workbench.errors import (
    DtypeError,
    GraphError,
    NotFiniteError,
    OptionError,
    ShapeError,
    UnknownNameError,
)
from workbench.symbolic import ops


@pytest.fixture
def x():
    return symbolic.vector("x")


@pytest.fixture
def w():
    return symbolic.shared([1.0, 2.0], "w")


# --- the schedule ----------------------------------------------------------------------------


def test_equal_expressions_run_once_and_dead_ones_never(x):
    ops.exp(x) * 3
    f = symbolic.function([x], [ops.exp(x) + 1, ops.exp(x) - 1], mode="interpret")
    assert [node.op.name for node in f.nodes] == ["exp", "add", "subtract"]
    assert f.graph_size == 3
    assert repr(f) == "<function function(x): 3 nodes, mode 'interpret'>"


def test_a_result_is_freed_after_its_last_use(x):
    class Watched(symbolic.Op):
        """Passes its input on and watches which of the arrays it made are still alive."""

        made: list = []  # noqa: RUF012
        alive: list = []  # noqa: RUF012
        name = "watched"

        def infer(self, x):
            return x.type

        def compute(self, x):
            y = x + 1
            self.alive.append(sum(ref() is not None for ref in self.made))
            self.made.append(weakref.ref(y))
            return y

        def gradient(self, inputs, output, g):
            return (g,)

    y = x
    for _ in range(6):
        y = symbolic.apply(Watched(), y)
    np.testing.assert_array_equal(symbolic.function([x], y)(np.zeros(2)), [6, 6])
    assert Watched.alive == [0, 1, 1, 1, 1, 1]  # Only the one being read.


def test_calls_leave_no_garbage(x, w):
    f = symbolic.function([x], (x * w).sum(), updates={w: w - 0.1 * x})
    f([1.0, 2.0])
    gc.collect()
    for _ in range(10):
        f([1.0, 2.0])
    assert gc.collect() == 0


# --- outputs ---------------------------------------------------------------------------------


def test_one_output_several_or_none(x, w):
    assert symbolic.function([x], x.sum())([1.0, 2.0]) == 3
    assert symbolic.function([x], [x.sum()])([1.0, 2.0]) == [3]
    assert symbolic.function([x], (x.sum(), 7))([1.0, 2.0]) == [3, 7]
    assert symbolic.function([x], None, updates={w: x})([3.0, 4.0]) == []
    np.testing.assert_array_equal(w.get_value(), [3, 4])


def test_outputs_are_arrays_that_belong_to_the_caller(x, w):
    a = np.array([5.0, 6.0])
    c = symbolic.constant([7.0, 8.0])
    outputs = [x, w, c, x[:1], w.reshape((2, 1)), x + w, x + w, ops.broadcast_to(x.sum(), (2,)),
               x.sum()]  # fmt: skip
    f = symbolic.function([x], outputs)
    for y in f(a):
        assert type(y) is np.ndarray
        y[...] = -1
    np.testing.assert_array_equal(a, [5, 6])
    np.testing.assert_array_equal(w.get_value(), [1, 2])
    for y, expected in zip(f(a), [a, [1, 2], [7, 8], [5], [[1], [2]], [6, 8], [6, 8], [11, 11], 11],
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(y, expected)


def test_a_new_value_shares_memory_with_nothing(x, w):
    v = symbolic.shared([0.0, 0.0], "v")
    f = symbolic.function([x], [w + x], updates=[(w, w + x), (v, x)])
    a = np.array([1.0, 1.0])
    (y,) = f(a)
    y[...] = a[...] = -1
    np.testing.assert_array_equal(w.get_value(), [2, 3])
    np.testing.assert_array_equal(v.get_value(), [1, 1])


# --- shared variables and updates ------------------------------------------------------------


def test_shared_values_are_copied_in_and_out():
    a = np.ones(2)
    s = symbolic.shared(a, "s")
    a[0] = 5
    s.get_value()[1] = 5
    np.testing.assert_array_equal(s.get_value(), [1, 1])
    s.set_value(a)
    a[1] = 7
    np.testing.assert_array_equal(s.get_value(), [5, 1])
    assert repr(s) == "<s: vector float64 (2,)>"
    with pytest.raises(ShapeError, match="set_value: the value for 's' has the wrong shape"):
        s.set_value(np.ones(3))
    with pytest.raises(DtypeError, match="set_value: the value for 's' has the wrong dtype"):
        symbolic.shared(np.ones(2, np.float32), "s").set_value(np.ones(2))


def test_a_shared_variable_may_change_its_size_if_declared_so():
    s = symbolic.shared(np.ones(2), "s", shape=(None,))
    grow = symbolic.function([], s.sum(), updates={s: ops.concatenate([s, s])})
    assert [grow() for _ in range(3)] == [2, 4, 8]
    with pytest.raises(ShapeError, match="shared: the value does not have the declared shape"):
        symbolic.shared(np.ones(2), shape=(3,))


def test_outputs_and_updates_all_see_the_old_values():
    a, b = symbolic.shared(1.0, "a"), symbolic.shared(2.0, "b")
    swap = symbolic.function([], [a, b], updates=[(a, b), (b, a)])
    assert swap() == [1, 2]
    assert (a.get_value(), b.get_value()) == (2, 1)
    assert swap() == [2, 1]


def test_weak_numbers_update_too():
    n = symbolic.shared(np.int64(0), "n")
    reset = symbolic.function([], n, updates={n: 0})
    count = symbolic.function([], n, updates={n: n + 1})
    assert [count(), count(), reset(), count()] == [0, 1, 2, 0]


def test_a_call_that_fails_changes_nothing(x, w):
    v = symbolic.shared([0.0, 0.0], "v")
    f = symbolic.function([x], None, updates=[(v, v + 1), (w, x * w)])
    with pytest.raises(ShapeError):
        f([1.0, 2.0, 3.0])
    u = symbolic.shared([0.0, 0.0], "u")
    g = symbolic.function([x], None, updates=[(v, v + 1), (u, x)])
    with pytest.raises(ShapeError, match="the update of 'u' has the wrong shape"):
        g([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(v.get_value(), [0, 0])
    np.testing.assert_array_equal(w.get_value(), [1, 2])


# --- givens ----------------------------------------------------------------------------------


def test_givens_replace_inputs_shared_variables_and_results(x, w):
    data = symbolic.shared(np.arange(6.0), "data")
    i = symbolic.vector("i", "int64")
    h = ops.exp(x)
    y = (h * w).sum()
    f = symbolic.function([i], y, givens={x: data[i]})
    assert f([0, 1]) == 1 + 2 * np.exp(1)
    assert symbolic.function([x], y, givens=[(h, x)])([3.0, 4.0]) == 11
    assert symbolic.function([x], y, givens={w: w * 2, h: x})([3.0, 4.0]) == 22
    n = symbolic.scalar("n", "int64")
    assert symbolic.function([], n + 1, givens={n: 4})() == 5


def test_givens_are_made_all_at_once():
    a, b = symbolic.scalar("a"), symbolic.scalar("b")
    f = symbolic.function([a, b], a - b, givens={a: b, b: a})
    assert f(10.0, 1.0) == -9
    assert symbolic.function([a], a * 2, givens={a: a + 1})(3.0) == 8


def test_updates_follow_givens(w):
    x = symbolic.vector("x", shape=(2,))
    f = symbolic.function([], None, updates={w: w - x}, givens={x: np.array([1.0, 1.0])})
    f()
    np.testing.assert_array_equal(w.get_value(), [0, 1])


# --- refusals when a function is built -------------------------------------------------------

I3 = symbolic.tensor("I3", shape=(3,))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda x, w: ([x], w), GraphError, r"inputs\[0\], 'x', is not used"),
        (lambda x, w: ([x], x, {}, {x: w}), GraphError, r"inputs\[0\], 'x', is not used"),
        (lambda x, w: ([x, x], x), GraphError, r"inputs\[1\], 'x', is given twice"),
        (lambda x, w: ([x, symbolic.scalar("x")], x), GraphError, "two inputs are called 'x'"),
        (lambda x, w: ([], x + w), GraphError, "the input 'x' is missing"),
        (lambda x, w: ([w], w + 1), GraphError, r"inputs\[0\] is not an input variable(.*\n)*"
         ".*shared variables are implicit"),
        (lambda x, w: ([x + 1], x), GraphError, r"inputs\[0\] is not an input variable"),
        (lambda x, w: ([np.ones(2)], x), GraphError, r"inputs\[0\] is not an input variable"),
        (lambda x, w: (x, x), OptionError, "inputs is not a list"),
        (lambda x, w: ([x], [x, "y"]), DtypeError, r"outputs\[1\] is not made of real numbers"),
        (lambda x, w: ([x], x, {x: w}), GraphError, "only shared variables can be updated"),
        (lambda x, w: ([x], x, [(w, x), (w, w)]), GraphError, "'w' is updated twice"),
        (lambda x, w: ([x], x, {w: w.sum()}), ShapeError, r"the update of 'w' has the shape \(\)"),
        (lambda x, w: ([I3], I3, {w: I3}), ShapeError, r"'w' has the shape \(3,\), not \(2,\)"),
        (lambda x, w: ([x], x, {w: ops.cast(x, "float32")}), DtypeError,
         "the update of 'w' has the dtype float32, not float64"),
        (lambda x, w: ([x], x, {symbolic.shared(1, "n"): 0.5}), DtypeError, "the update of 'n'"),
        (lambda x, w: ([x], x, [w]), OptionError, "updates is not a list of pairs"),
        (lambda x, w: ([x], x, None, 3), OptionError, "givens is not a list of pairs"),
        (lambda x, w: ([x], x, None, {3: x}), GraphError, "givens replaces each variable once"),
        (lambda x, w: ([x], x, None, {x: x > 0}), DtypeError, "what replaces 'x' has the dtype"),
        (lambda x, w: ([x], x, None, {x: x[0]}), ShapeError, "what replaces 'x' has the shape"),
        (lambda x, w: ([x], I3, None, {I3: x}), ShapeError, r"'I3' has the shape \(None,\), not"),
        (lambda x, w: ([x], x, None, None, "interpet"), UnknownNameError, "mean 'interpret'"),
        (lambda x, w: ([x], x, None, None, None, "f", "warn"), UnknownNameError, "on_unused_input"),
    ],
)  # fmt: skip
def test_building_refuses(build, error, text, x, w):
    with pytest.raises(error, match=text):
        symbolic.function(*build(x, w))


def test_an_unused_input_may_be_allowed(x, w):
    assert symbolic.function([x], w.sum(), on_unused_input="ignore")([0.0]) == 3


def test_an_update_twice_shows_both_lines(x, w):
    with pytest.raises(GraphError, match=r"first = x.*\n +second = w"):
        symbolic.function([x], None, updates=[(w, x), (w, w)])


# --- arguments of a call ---------------------------------------------------------------------


def test_arguments_by_position_and_by_name():
    a, b = symbolic.scalar("a"), symbolic.scalar("b")
    f = symbolic.function([a, b], a - b, name="difference")
    assert f(3.0, 1.0) == f(3.0, b=1.0) == f(b=1.0, a=3.0) == 2
    for call, text in [
        (lambda: f(1.0), "difference: missing the input 'b'"),
        (lambda: f(), "difference: missing the inputs 'a', 'b'"),
        (lambda: f(1.0, 2.0, 3.0), "difference: too many arguments"),
        (lambda: f(1.0, a=2.0), "difference: the input 'a' is given twice"),
    ]:
        with pytest.raises(GraphError, match=text):
            call()
    with pytest.raises(UnknownNameError, match="difference: there is no input called 'c'"):
        f(1.0, c=2.0)


def test_arguments_keep_their_digits():
    x = symbolic.vector("x", "float32", shape=(None,))
    n = symbolic.vector("n", "int64")
    f = symbolic.function([x], x * 2)
    g = symbolic.function([n], n * 2)
    assert f([1, 2.5]).dtype == np.float32  # Python numbers are weak.
    assert f(np.array([1, 2], np.int16)).dtype == np.float32  # float32 holds every int16.
    np.testing.assert_array_equal(g(np.array([1, 2], np.uint8)), [2, 4])
    for call, given in [
        (lambda: f(np.ones(2)), "float64"),
        (lambda: f(np.ones(2, np.int64)), "int64"),
        (lambda: g([0.5]), "float64"),
        (lambda: g(np.ones(2)), "float64"),
    ]:
        with pytest.raises(DtypeError, match=f"has the wrong dtype\n  given: +{given}\n"):
            call()
    s = symbolic.scalar("s", "float32")
    h = symbolic.function([s], s + 1)
    assert h(0.1) == np.float32(1.1)
    with pytest.raises(DtypeError, match="the value for 's' has the wrong dtype"):
        h(np.float64(0.1))


def test_wrong_shapes_and_things_are_named(x):
    m = symbolic.matrix("m", shape=(None, 3))
    f = symbolic.function([m, x], [m, x])
    with pytest.raises(ShapeError, match=r"'m' has the wrong shape\n +given: +\(3,\)\n") as caught:
        f(np.ones(3), np.ones(3))
    assert "expected: (None, 3), as declared at" in str(caught.value)
    assert "test_function.py" in str(caught.value)
    with pytest.raises(ShapeError, match="'m' has the wrong shape"):
        f(np.ones((2, 4)), np.ones(3))
    with pytest.raises(ShapeError, match="'x' has the wrong shape"):
        f(np.ones((2, 3)), 1.0)
    with pytest.raises(GraphError, match="the value for 'x' is an expression"):
        f(np.ones((2, 3)), x)
    with pytest.raises(DtypeError, match="'x' is not made of real numbers"):
        f(np.ones((2, 3)), "text")
    with pytest.raises(DtypeError, match="'x' has the wrong dtype"):
        f(np.ones((2, 3)), np.array(["a"]))


# --- failures while running ------------------------------------------------------------------


def test_a_failure_names_the_op_its_inputs_and_the_line_that_built_it():
    x, y = symbolic.matrix("x"), symbolic.matrix("y")
    z = ops.exp(x) @ y  # the failing line
    f = symbolic.function([x, y], z.sum(), name="loss")
    with pytest.raises(ShapeError) as caught:
        f(np.ones((2, 3)), np.ones((4, 5)))
    text = str(caught.value)
    assert text.startswith("loss, running matmul: ")
    assert "exp float64 (2, 3), y float64 (4, 5)" in text
    assert "z = ops.exp(x) @ y  # the failing line" in text
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_failure_in_a_gradient_points_at_the_forward_line():
    class Fragile(symbolic.Op):
        name = "fragile"

        def infer(self, x):
            return x.type

        def compute(self, x):
            raise KeyError("broken")

        def gradient(self, inputs, output, g):
            return (symbolic.apply(Fragile(), g),)

    class Fine(Fragile):
        name = "fine"

        def compute(self, x):
            return x + 0

    x = symbolic.scalar("x")
    y = symbolic.apply(Fine(), x)  # the forward line
    with pytest.raises(GraphError, match=r"function, running fragile: 'broken'") as caught:
        symbolic.function([], symbolic.grad(y, x))()
    assert "# the forward line (gradient of fine)" in str(caught.value)


def test_labels_outside_the_classes_are_refused():
    x, t = symbolic.matrix("x"), symbolic.vector("t", "int64")
    f = symbolic.function([x, t], ops.softmax_cross_entropy(x, t))
    for bad in ([0, 3], [-1, 0], [0]):
        with pytest.raises(ShapeError, match=r"labels do not fit the logits(.*\n)*.*from 0 to 2"):
            f(np.ones((2, 3)), bad)


def test_an_index_outside_and_a_window_too_large_are_refused():
    x, i = symbolic.vector("x"), symbolic.vector("i", "int64")
    f = symbolic.function([x, i], x[i])
    with pytest.raises(ShapeError, match="running getitem: index 5 is out of bounds"):
        f([1.0, 2.0], [5])
    images = symbolic.tensor("images", ndim=4)
    pool = symbolic.function([images], ops.max_pool2d(images, 4))
    with pytest.raises(ShapeError, match=r"running im2col: the window is larger(.*\n)*.*\(1, 1, 3"):
        pool(np.ones((1, 1, 3, 3)))


def test_floating_point_errors_keep_their_kind(x):
    f = symbolic.function([x], ops.log(x), mode="interpret")
    with np.errstate(all="raise"), pytest.raises(NotFiniteError, match="running log: divide by"):
        f([0.0])


# --- mode "check" ----------------------------------------------------------------------------


def test_check_finds_the_op_that_makes_nan(x):
    y = ops.sqrt(x)  # the cause
    f = symbolic.function([x], ops.exp(y).sum(), mode="check")
    assert f([4.0]) == np.exp(2)
    with np.errstate(invalid="ignore"):
        with pytest.raises(NotFiniteError, match="running sqrt: made NaN of inputs") as caught:
            f([-1.0])
        assert "# the cause" in str(caught.value)
        assert np.isnan(symbolic.function([x], y.sum())([-1.0]))
    assert np.isnan(f([np.nan]))  # Given, not made.


def test_check_finds_an_op_that_does_not_keep_its_promise(x):
    class Liar(symbolic.Op):
        name = "liar"

        def infer(self, x):
            return x.type

        def compute(self, x):
            return x.astype(np.float32)

        def gradient(self, inputs, output, g):
            return (g,)

    f = symbolic.function([x], symbolic.apply(Liar(), x), mode="check")
    with pytest.raises(GraphError, match=r"running liar: inferred float64 \(None,\) and computed"):
        f([1.0])
