"""The TensorFlow 1 reading: graphs, sessions, feeds and fetches, and what a run refuses."""

import numpy as np
import pytest

from workbench import compiler, symbolic
from workbench.errors import (
    DtypeError,
    GraphError,
    OptionError,
    ShapeError,
    UnknownNameError,
    WorkbenchError,
)
from workbench.symbolic import ops
from workbench.symbolic import session as tf
from workbench.symbolic.randomness import RandomStreams

LLVM = pytest.param("llvm", marks=pytest.mark.skipif(compiler.best_target() != "llvm",
                                                     reason="needs llvmlite"))  # fmt: skip
modes = pytest.mark.parametrize("mode", ["interpret", "numpy", LLVM])


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def started(**options):
    sess = tf.Session(**{"mode": "numpy"} | options)
    sess.run(tf.global_variables_initializer())
    return sess


def refused(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# --- feeds and fetches -----------------------------------------------------------------------


def test_fetches_keep_their_structure_and_may_be_names(graph):
    with tf.name_scope("layer1"):
        x = tf.placeholder("float64", (None,), "x")
        w = tf.Variable(np.array([1.0, 2.0]), name="weights")
        y = tf.identity(x * w, "y")
    sess = started()
    feed = {x: [3.0, 4.0]}
    assert sess.run(y, feed).tolist() == [3, 8]
    got = sess.run({"a": y, "b": [w, (x, "layer1/y:0")]}, {"layer1/x:0": [3.0, 4.0]})
    assert got["a"].tolist() == [3, 8]
    assert got["b"][0].tolist() == [1, 2]
    assert [v.tolist() for v in got["b"][1]] == [[3, 4], [3, 8]]
    assert sess.run("layer1/weights").tolist() == [1, 2]
    assert sess.run([]) == []
    text = refused(UnknownNameError, lambda: sess.run("layer1/weight:0"))
    assert "did you mean 'layer1/weights'?" in text


def test_only_what_the_fetches_need_is_run():
    x, z = (tf.placeholder("float64", (), name) for name in "xz")
    y = x * 2
    assert started().run(y, {x: 3.0}) == 6  # z is not needed, so need not be fed.
    text = refused(GraphError, lambda: started().run([y, y + z], {x: 3.0}))
    assert "the placeholder 'z' is not fed" in text
    assert "feed_dict" in text
    assert "test_session.py" in text


def test_any_tensor_can_be_fed():
    x = tf.placeholder("float64", (), "x")
    v = tf.Variable(1.0)
    hidden = ops.exp(x)
    y = hidden + v
    sess = started()
    assert sess.run(y, {hidden: 5.0}) == 6
    assert sess.run(y, {hidden: 5.0, v: 2.0}) == 7
    assert sess.run(y, {hidden: 5.0}) == 6
    text = refused(GraphError, lambda: sess.run(v, {hidden: 1.0}))
    assert "nothing that is fetched needs 'exp', which is fed" in text
    text = refused(ShapeError, lambda: sess.run(y, {x: [1.0]}))
    assert "the value for 'x' has the wrong shape" in text
    assert refused(GraphError, lambda: sess.run(y, {v.initializer: 1.0})).startswith(
        "Session.run: only tensors can be fed"
    )
    assert "neither fetched nor fed" in refused(GraphError, lambda: sess.run(3.0))


def test_a_run_is_compiled_once_for_each_set_of_fetches_and_feeds():
    x = tf.placeholder("float64", (), "x")
    y = x * 2
    sess = started()
    before = len(sess._compiled)
    for value in (1.0, 2.0, 3.0):
        assert sess.run(y, {x: value}) == 2 * value
    assert len(sess._compiled) == before + 1
    sess.run([y], {x: 1.0})
    sess.run([y, y], {x: 1.0})
    assert len(sess._compiled) == before + 2


# --- variables -------------------------------------------------------------------------------


def test_a_variable_has_no_value_before_its_initializer_is_run():
    v = tf.Variable(np.array([1.0, 2.0]), name="v")
    w = tf.Variable(v * 2, name="w")
    sess = tf.Session(mode="numpy")
    text = refused(GraphError, lambda: sess.run(v * 2))
    assert "attempting to use the uninitialized value 'v'" in text
    assert "global_variables_initializer" in text
    assert refused(GraphError, lambda: sess.run(v.assign_add([1.0, 1.0])))
    assert refused(GraphError, lambda: sess.run(w.initializer))
    assert sess.run(v.initializer).tolist() == [1, 2]
    assert sess.run(w.initializer).tolist() == [2, 4]
    sess.close()
    assert refused(GraphError, lambda: sess.run(v))


@modes
def test_the_state_is_the_sessions(mode):
    count = tf.Variable(np.int64(0), name="count")
    more = tf.assign_add(count, 1)
    a, b = started(mode=mode), started(mode=mode)
    assert [int(a.run(more)) for _ in range(3)] == [1, 2, 3]
    assert b.run(count) == 0
    assert a.run(count) == 3
    assert b.run(more) == 1


def test_each_session_has_its_own_random_stream():
    noise = RandomStreams(5).normal((2,))
    w = tf.Variable(RandomStreams(6).normal((2,)), name="w")
    a, b = started(), started()
    first = a.run(noise)
    assert not np.array_equal(a.run(noise), first)
    assert np.array_equal(b.run(noise), first)
    assert np.array_equal(a.run(w), b.run(w))
    assert np.array_equal(a.run(w), a.run(w))


def test_a_run_that_fails_changes_nothing():
    v = tf.Variable(np.zeros(2), name="v")
    i = tf.placeholder("int64", (), "i")
    both = tf.group(v.assign_add(np.ones(2)), tf.Variable(1.0, "other").assign(v[i]))
    sess = started()
    sess.run(both, {i: 0})
    with pytest.raises(WorkbenchError):
        sess.run(both, {i: 7})
    assert sess.run("v").tolist() == [1, 1]
    assert sess.run("other") == 0


def test_what_variables_refuse():
    v = tf.Variable(np.float32(1), name="v")
    assert refused(DtypeError, lambda: v.assign(np.float64(2)))
    assert "not () " in refused(ShapeError, lambda: v.assign(np.zeros(3, "float32"))) + " "
    assert refused(GraphError, lambda: tf.assign(v + 1, 2.0)).startswith("assign: only variables")
    x = tf.placeholder("float32", (None,), "x")
    assert "shape of initial_value is not known" in refused(ShapeError, lambda: tf.Variable(x))
    assert "this is not a name" in refused(OptionError, lambda: tf.Variable(1.0, "a b"))
    tf.get_variable("w", (2, 3), lambda shape: np.ones(shape))
    text = refused(OptionError, lambda: tf.get_variable("w", (2, 3)))
    assert "the variable 'w' already exists" in text
    assert started().run("w").dtype == np.float32


def test_a_tensor_of_another_graph():
    with tf.Graph().as_default():
        other = tf.placeholder("float64", (), "x")
        foreign = tf.Variable(1.0)
    sess = started()
    assert "'x' is not of the graph that runs" in refused(GraphError, lambda: sess.run(other * 2))
    assert "is not of the graph that runs" in refused(GraphError, lambda: sess.run(foreign))


# --- names -----------------------------------------------------------------------------------


def test_names_are_made_unique_within_their_scope(graph):
    def layer():
        with tf.name_scope("layer"), tf.name_scope("inner"):
            return tf.Variable(0.0, name="w").name

    assert [layer(), layer()] == ["layer/inner/w", "layer_1/inner/w"]
    assert [tf.placeholder("float64", (), "x").name for _ in range(3)] == ["x", "x_1", "x_2"]
    with tf.name_scope("x") as scope:
        assert scope == "x_3/"
    assert graph.names["layer/inner/w/Assign"] is graph.names["layer/inner/w"].initializer


# --- order -----------------------------------------------------------------------------------


@modes
def test_everything_sees_the_values_from_before_but_for_control_dependencies(mode):
    v = tf.Variable(1.0, name="v")
    double = v.assign(v * 2)
    with tf.control_dependencies([double]):
        after = v.read_value()
        more = v.assign_add(10.0)
        with tf.control_dependencies([more]):
            last = tf.identity(v * 100)
    sess = started(mode=mode)
    assert [float(y) for y in sess.run([v, double])] == [1, 2]
    assert [float(y) for y in sess.run([v, after])] == [2, 4]
    assert sess.run(more) == 18
    assert sess.run(v) == 18
    assert [float(y) for y in sess.run([v, after, more, last])] == [18, 36, 46, 4600]
    assert sess.run(v) == 46


def test_what_is_read_under_a_name_is_read_there_and_then():
    v = tf.Variable(3.0, name="v")
    old = v.read_value()
    double = v.assign(v * 2)
    with tf.control_dependencies([double]):
        gain = tf.identity(v - old)
    sess = started()
    assert [float(y) for y in sess.run([old, gain, v])] == [3, 3, 3]
    assert [float(y) for y in sess.run([gain, old + 1, double])] == [6, 7, 12]
    text = refused(GraphError, lambda: tf.control_dependencies([old]))
    assert "only operations have effects to wait for" in text


def test_a_long_chain_of_ordered_reads_is_no_more_work_than_its_length():
    v = tf.Variable(0.0, name="v")
    y = v.read_value()
    for _ in range(60):
        with tf.control_dependencies([v.assign(y + y + 1)]):
            y = v.read_value()
    assert started().run(y) == 2.0**60 - 1


def test_two_assignments_in_no_order_are_refused():
    v = tf.Variable(1.0, name="v")
    a, b = v.assign(v + 1), v.assign(v * 2)
    sess = started()
    text = refused(GraphError, lambda: sess.run([a, b]))
    assert "'Assign' and 'Assign_1' both assign to 'v', in no order" in text
    assert "control_dependencies" in text
    assert sess.run(v) == 1
    assert sess.run(tf.group(a, a)) is None
    assert sess.run(v) == 2


def test_a_fed_tensor_does_not_run_what_is_above_it():
    v = tf.Variable(1.0, name="v")
    with tf.control_dependencies([v.assign_add(1.0)]):
        y = v.read_value()
    sess = started()
    assert sess.run(y * 2, {y: 5.0}) == 10
    assert sess.run(v) == 1


# --- training --------------------------------------------------------------------------------


def test_gradients_are_of_the_sum_and_none_where_there_is_none():
    x, z = (tf.placeholder("float64", (None,), name) for name in "xz")
    dx, dz = tf.gradients([x**2, x * 3], [x, z])
    assert dz is None
    assert started().run(dx, {x: [1.0, 2.0]}).tolist() == [5, 7]
    text = refused(GraphError, lambda: tf.train.GradientDescentOptimizer(0.1).minimize(x.sum()))
    assert "no variable has a gradient" in text


@modes
def test_the_mlp_of_shared_variables_and_updates_trains_alike(mode):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(32, 4)).astype("float32")
    labels = (data.sum(1) > 0).astype("int64")
    weights = [rng.normal(size=s).astype("float32") * 0.5 for s in ((4, 8), (8,), (8, 2), (2,))]

    def loss_of(x, t, w1, b1, w2, b2):
        return ops.softmax_cross_entropy(ops.tanh(x @ w1 + b1) @ w2 + b2, t)

    x, t = symbolic.matrix("x", "float32"), symbolic.vector("t", "int64")
    ws = [symbolic.shared(w) for w in weights]
    loss = loss_of(x, t, *ws)
    rate = np.float32(0.5)
    step = symbolic.function([x, t], loss, mode=mode, updates=[
        (w, w - rate * g) for w, g in zip(ws, symbolic.grad(loss, ws), strict=True)])  # fmt: skip
    expected = [float(step(data, labels)) for _ in range(20)]

    x = tf.placeholder("float32", (None, 4), "x")
    t = tf.placeholder("int64", (None,), "t")
    vs = [tf.Variable(w, f"w{i}") for i, w in enumerate(weights)]
    loss = loss_of(x, t, *vs)
    train = tf.train.GradientDescentOptimizer(rate).minimize(loss)
    sess = started(mode=mode)
    got = [float(sess.run([train, loss], {x: data, t: labels})[1]) for _ in range(20)]
    assert got == expected
    assert got[-1] < 0.3 < got[0]
    np.testing.assert_array_equal(sess.run(vs[0]), ws[0].get_value())
