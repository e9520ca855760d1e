import numpy as np
import pytest

from workbench.datasets import Dataset, batches, expression_trees, shakespeare
from workbench.errors import DtypeError, OptionError, ShapeError

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def labels(iterator):
    return [y.tolist() for _, y in iterator]


def test_an_epoch_visits_every_example_once_with_its_own_target():
    seen = list(batches(X, Y, 3, seed=1))
    assert [len(y) for _, y in seen] == [3, 3, 3, 1]
    for x, y in seen:
        assert np.array_equal(x, X[y])
    order = np.concatenate([y for _, y in seen])
    assert sorted(order) == list(range(10))
    assert order.tolist() != list(range(10))


def test_the_seed_fixes_the_batches():
    assert labels(batches(X, Y, 4, seed=5, epochs=3)) == labels(batches(X, Y, 4, seed=5, epochs=3))
    assert labels(batches(X, Y, 4, seed=5)) != labels(batches(X, Y, 4, seed=6))
    assert labels(batches(X, Y, 4)) == labels(batches(X, Y, 4, seed=0))
    given = batches(X, Y, 4, seed=np.random.default_rng(5))
    assert labels(given) == labels(batches(X, Y, 4, seed=5))


def test_every_epoch_is_another_permutation():
    first, second = labels(batches(X, Y, 10, epochs=2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_steps_cut_the_same_sequence_short_or_continue_it():
    three_epochs = labels(batches(X, Y, 4, seed=2, epochs=3))
    assert len(three_epochs) == 9
    assert labels(batches(X, Y, 4, seed=2, steps=7)) == three_epochs[:7]
    assert labels(batches(X, Y, 4, seed=2, steps=9)) == three_epochs


def test_the_small_last_batch_can_be_left_out():
    seen = labels(batches(X, Y, 4, seed=2, epochs=2, drop_last=True))
    assert [len(each) for each in seen] == [4, 4, 4, 4]
    whole = labels(batches(X, Y, 4, seed=2, epochs=2))
    assert seen == [each for each in whole if len(each) == 4]
    assert len(labels(batches(X, Y, 4, steps=5, drop_last=True))) == 5
    assert [len(each) for each in labels(batches(X, Y, 5, drop_last=True))] == [5, 5]


def test_one_batch_may_be_larger_than_the_data():
    assert [len(each) for each in labels(batches(X, Y, 100))] == [10]


def test_batches_are_copies():
    x, y = X.copy(), Y.copy()
    for bx, by in batches(x, y, 10):
        bx[:] = -1
        by[:] = -1
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


def test_sequences_of_examples_come_as_lists():
    data = expression_trees(7, 1)
    for trees, values in batches(data.x_train, data.y_train, 3):
        assert isinstance(trees, list)
        assert [np.float32(tree.value) for tree in trees] == values.tolist()


def test_windows_of_a_text_are_batched_without_being_copied_whole():
    text = shakespeare()
    x, y = next(batches(*text.windows(16), 4))
    assert x.shape == y.shape == (4, 16)
    assert np.array_equal(x[:, 1:], y[:, :-1])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batches: batch_size is not usable\n  given:    batch_size=0"),
        ({"batch_size": 2.0}, "given:    batch_size=2.0"),
        ({"batch_size": True}, "expected: an int of at least 1"),
        ({"epochs": 0}, "batches: epochs is not usable\n  given:    epochs=0"),
        ({"steps": -1}, "batches: steps is not usable\n  given:    steps=-1"),
        ({"epochs": 1, "steps": 1}, "given:    epochs=1, steps=1\n  expected: one of the two"),
        ({"seed": None}, "batches: the seed is not usable\n  given:    seed=None"),
        ({"seed": -1}, "expected: an int of at least 0, or a numpy.random.Generator"),
        ({"seed": True}, "given:    seed=True"),
        (
            {"batch_size": 11, "drop_last": True},
            "given:    10 examples, batch_size=11, drop_last=True",
        ),
    ],
)
def test_refusals_come_at_the_call_and_not_at_the_first_batch(options, text):
    with pytest.raises(OptionError) as caught:
        batches(X, Y, **{"batch_size": 4, **options})
    assert text in str(caught.value)


def test_x_and_y_must_go_together():
    with pytest.raises(ShapeError) as caught:
        batches(X, Y[:9], 3)
    assert str(caught.value) == (
        "batches: x and y differ in number\n"
        "  given:    10 and 9 examples\n"
        "  expected: one target an example"
    )
    with pytest.raises(DtypeError, match="batches: y has no examples to count"):
        batches(X, np.float64(1), 3)
    with pytest.raises(DtypeError, match="batches: x has no examples to count"):
        batches(iter(X), Y, 3)
    with pytest.raises(OptionError, match="there is not one batch in these examples"):
        batches(X[:0], Y[:0], 3)


def test_a_dataset_checks_and_shows_its_parts():
    data = Dataset("mine", X, Y, X[:2], Y[:2], ("a", "b"))
    assert repr(data) == (
        "Dataset('mine', x_train: (10, 2) float64, y_train: (10,) int64, "
        "x_test: (2, 2) float64, y_test: (2,) int64, 2 classes)"
    )
    with pytest.raises(ShapeError, match=r"Dataset\('mine'\): x_test and y_test differ in number"):
        Dataset("mine", X, Y, X, Y[:2])
    with pytest.raises(AttributeError):
        data.name = "other"
    assert data != Dataset("mine", X, Y, X[:2], Y[:2], ("a", "b"))
