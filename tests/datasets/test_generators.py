import sys

import numpy as np
import pytest

from workbench.datasets import Tree, adding_problem, expression_trees, two_moons
from workbench.errors import DtypeError, OptionError, UnknownNameError

MAKERS = [two_moons, adding_problem, expression_trees]


def inputs(data):
    """Everything drawn, in a form that can be compared."""
    return [
        [str(each) for each in part] if isinstance(part, tuple) else part.tolist()
        for part in (data.x_train, data.y_train, data.x_test, data.y_test)
    ]


@pytest.mark.parametrize("make", MAKERS)
def test_the_seed_fixes_everything(make):
    assert inputs(make(30, 10, seed=3)) == inputs(make(30, 10, seed=3))
    assert inputs(make(30, 10, seed=3)) != inputs(make(30, 10, seed=4))
    assert inputs(make(30, 10)) == inputs(make(30, 10, seed=0))
    assert inputs(make(30, 10, seed=np.random.default_rng(3))) == inputs(make(30, 10, seed=3))


@pytest.mark.parametrize("make", MAKERS)
def test_a_larger_test_set_leaves_the_training_set_alone(make):
    assert inputs(make(30, 10))[:2] == inputs(make(30, 20))[:2]


@pytest.mark.parametrize("make", MAKERS)
def test_training_and_test_examples_differ(make):
    train, _, test, _ = inputs(make(20, 20))
    assert not any(each in train for each in test)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_sizes_and_dtypes(make, dtype):
    data = make(31, 10, dtype=dtype)
    assert (len(data.x_train), len(data.y_train)) == (31, 31)
    assert (len(data.x_test), len(data.y_test)) == (10, 10)
    assert data.name == make.__name__
    if make is two_moons:
        assert data.x_train.dtype == dtype
        assert data.y_train.dtype == np.int64
    else:
        assert data.y_train.dtype == data.y_test.dtype == dtype
        assert data.classes == ()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"train": 0}, OptionError, "train is not usable\n  given:    train=0"),
        ({"test": 1.5}, OptionError, "test is not usable\n  given:    test=1.5"),
        ({"seed": None}, OptionError, "the seed is not usable\n  given:    seed=None"),
        ({"dtype": "int32"}, DtypeError, "given:    'int32'\n  expected: float32 or float64"),
    ],
)
def test_refusals_of_all(make, options, error, text):
    with pytest.raises(error) as caught:
        make(**options)
    assert str(caught.value).startswith(make.__name__ + ": ")
    assert text in str(caught.value)


def test_moons_without_noise_lie_on_two_half_circles():
    data = two_moons(400, 51, noise=0, dtype="float64")
    assert data.x_train.shape == (400, 2)
    assert data.classes == ("0", "1")
    eps = np.finfo(np.float64).eps
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        upper, lower = x[y == 0], x[y == 1]
        assert np.all(np.abs(np.hypot(upper[:, 0], upper[:, 1]) - 1) <= 2 * eps)
        assert np.all(upper[:, 1] >= 0)
        # The centre's coordinates lose up to half an eps of 2 each.
        assert np.all(np.abs(np.hypot(lower[:, 0] - 1, lower[:, 1] - 0.5) - 1) <= 4 * eps)
        assert np.all(lower[:, 1] <= 0.5)
    assert np.bincount(data.y_train).tolist() == [200, 200]
    assert np.bincount(data.y_test).tolist() == [26, 25]


def test_moons_are_shuffled_and_fill_their_half_circles():
    data = two_moons(2000, 1, noise=0)
    assert 0 < np.diff(data.y_train).nonzero()[0].size < 1999
    assert not np.array_equal(np.sort(data.y_train), data.y_train)
    x = data.x_train[data.y_train == 0]
    # Uniform in angle: each quarter of it holds a quarter of 1,000, within 5 deviations.
    angle = np.arctan2(x[:, 1], x[:, 0])
    counts = np.histogram(angle, bins=4, range=(0, np.pi))[0]
    assert np.all(np.abs(counts - 250) < 5 * np.sqrt(1000 * 0.25 * 0.75))


def test_moons_noise_has_the_deviation_asked_for():
    clean = two_moons(5000, 1, noise=0, dtype="float64")
    noisy = two_moons(5000, 1, noise=0.25, dtype="float64")
    assert np.array_equal(clean.y_train, noisy.y_train)
    spread = noisy.x_train - clean.x_train
    # A deviation estimated from n = 10,000 draws is itself off by 1 / sqrt(2 n).
    assert abs(spread.std() / 0.25 - 1) < 5 / np.sqrt(2 * spread.size)
    assert abs(spread.mean()) < 5 * 0.25 / np.sqrt(spread.size)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_moons_refuse_a_noise_that_is_none(noise):
    with pytest.raises(OptionError, match="two_moons: noise is not usable"):
        two_moons(noise=noise)
    with pytest.raises(DtypeError, match="two_moons: noise is a number"):
        two_moons(noise="0.1")


@pytest.mark.parametrize("length", [2, 3, 50])
def test_adding_marks_one_number_in_each_half_and_adds_them(length):
    data = adding_problem(300, 20, length=length)
    assert data.x_train.shape == (300, length, 2)
    assert data.x_test.shape == (20, length, 2)
    assert data.y_train.shape == (300,)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        numbers, marks = x[..., 0], x[..., 1]
        assert numbers.min() >= 0
        assert numbers.max() < 1
        assert set(np.unique(marks)) <= {0, 1}
        assert np.all(marks[:, : length // 2].sum(axis=1) == 1)
        assert np.all(marks[:, length // 2 :].sum(axis=1) == 1)
        # Two terms that are not zero: their sum is rounded once, whatever the order.
        assert np.array_equal((numbers * marks).sum(axis=1), y)


def test_adding_marks_every_place():
    data = adding_problem(2000, 1, length=20)
    assert np.all(data.x_train[..., 1].sum(axis=0) > 0)


def test_answering_one_has_the_error_that_the_docstring_states():
    y = adding_problem(20000, 1, length=2, dtype="float64").y_train
    squared = (y - 1) ** 2
    assert abs(squared.mean() - 1 / 6) < 5 * squared.std() / np.sqrt(len(y))


def test_adding_refuses_one_step():
    with pytest.raises(OptionError) as caught:
        adding_problem(length=1)
    assert str(caught.value) == (
        "adding_problem: length is not usable\n"
        "  given:    length=1\n"
        "  expected: an int of at least 2"
    )


def test_a_tree_by_hand():
    leaf, join = Tree.leaf, Tree.join
    tree = join("*", join("-", leaf(3), leaf(-0.5)), join("+", leaf(1), leaf(1)))
    assert tree.value == 7.0
    assert (tree.leaves, tree.depth) == (4, 2)
    assert str(tree) == "((3 - (-0.5)) * (1 + 1))"
    assert repr(tree) == "Tree('*', value=7, leaves=4, depth=2)"
    assert [node.op for node in tree.postorder()] == ["leaf", "leaf", "-"] + ["leaf"] * 2 + [
        "+",
        "*",
    ]
    assert [node.value for node in tree.postorder()] == [3, -0.5, 3.5, 1, 1, 2, 7]
    assert (leaf(2).leaves, leaf(2).depth, str(leaf(2))) == (1, 0, "2")
    with pytest.raises(AttributeError):
        tree.value = 8


def test_tree_refusals():
    one = Tree.leaf(1)
    with pytest.raises(UnknownNameError) as caught:
        Tree.join("/", one, one)
    assert str(caught.value) == (
        "Tree.join: there is no operation called '/'\n  given:    '/'\n  expected: one of +, -, *"
    )
    with pytest.raises(DtypeError, match="only trees can be joined"):
        Tree.join("+", one, 2)
    with pytest.raises(DtypeError, match="a leaf is a number"):
        Tree.leaf("1")


@pytest.mark.parametrize("shape", ["random", "balanced", "chain"])
def test_trees_are_worth_what_python_says(shape):
    data = expression_trees(200, 20, shape=shape, dtype="float64")
    for tree, value in zip(data.x_train, data.y_train, strict=True):
        assert tree.value == value
        # Recomputed by a stack machine, in the order in which a model would.
        stack = []
        for node in tree.postorder():
            if node.op == "leaf":
                assert -1 <= node.value < 1
                stack.append(node.value)
            else:
                right, left = stack.pop(), stack.pop()
                results = {"+": left + right, "-": left - right, "*": left * right}
                stack.append(results[node.op])
        assert stack == [value]
        assert 4 <= tree.leaves <= 16
    assert {tree.leaves for tree in data.x_train} == set(range(4, 17))
    ops = [node.op for tree in data.x_train for node in tree.postorder() if node.op != "leaf"]
    counts = np.array([ops.count(op) for op in "+-*"])
    assert np.all(np.abs(counts - len(ops) / 3) < 5 * np.sqrt(len(ops) * 2 / 9))


def test_the_shapes_are_what_they_are_called():
    for n in (1, 2, 5, 8, 13):
        chain = expression_trees(3, 1, leaves=n, shape="chain").x_train
        balanced = expression_trees(3, 1, leaves=n, shape="balanced").x_train
        assert {tree.depth for tree in chain} == {n - 1}
        assert {tree.depth for tree in balanced} == {int(np.ceil(np.log2(n)))}
    random = expression_trees(100, 1, leaves=12).x_train
    assert {tree.leaves for tree in random} == {12}
    assert len({tree.depth for tree in random}) > 3
    structures = {"".join(c for c in str(tree) if c in "()+-*") for tree in random}
    assert len(structures) > 90


@pytest.mark.parametrize("shape", ["random", "balanced", "chain"])
def test_balanced_and_random_trees_keep_their_leaves_in_order(shape):
    tree = expression_trees(1, 1, leaves=9, shape=shape, seed=4).x_train[0]
    rng = np.random.default_rng(4)
    rng.integers(9, 10, 1)
    expected = rng.uniform(-1, 1, 9)
    assert [node.value for node in tree.postorder() if node.op == "leaf"] == expected.tolist()


def test_a_tree_may_be_deeper_than_the_recursion_limit():
    leaves = 5 * sys.getrecursionlimit()
    tree = expression_trees(1, 1, leaves=leaves, shape="chain").x_train[0]
    assert tree.depth == leaves - 1
    assert sum(node.op == "leaf" for node in tree.postorder()) == leaves
    assert str(tree).count("(") >= leaves - 1
    assert len({tree, tree}) == 1
    assert repr(tree).startswith("Tree(")
    del tree  # Freed without recursion too.


@pytest.mark.parametrize("leaves", [0, (0, 4), (5, 4), (1, 2, 3), 2.5, (1, 2.5), None, (), "many"])
def test_trees_refuse_a_number_of_leaves_that_is_none(leaves):
    with pytest.raises(OptionError, match="expression_trees: leaves is not usable"):
        expression_trees(leaves=leaves)


def test_trees_suggest_the_nearest_shape():
    with pytest.raises(UnknownNameError, match="did you mean 'balanced'") as caught:
        expression_trees(shape="balance")
    assert "expression_trees: there is no shape called 'balance'" in str(caught.value)
