"""Random streams: the right distributions, reproducible, the same bits on every target."""

import numpy as np
import pytest
import scipy.stats

from workbench import compiler, symbolic
from workbench.errors import GraphError, OptionError, ShapeError
from workbench.symbolic import ops
from workbench.symbolic.randomness import RandomStreams

N = 20_000
MODES = ["interpret", "numpy"]


def draw(make, seed=0, mode="interpret"):
    return symbolic.function([], make(RandomStreams(seed)), mode=mode)()


def test_the_bits_are_those_of_splitmix64():
    """The first numbers of the algorithm as published, from the state 1234567."""
    random = RandomStreams()
    x = random.bits((5,))
    ((state, _),) = random.updates
    # The published generator moves on before its first number; ours after.
    state.set_value(np.uint64((1234567 + 0x9E3779B97F4A7C15) % 2**64))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423,
                4593380528125082431, 16408922859458223821]  # fmt: skip
    assert symbolic.function([], x, mode="interpret")().tolist() == expected


@pytest.mark.parametrize("mode", MODES)
def test_calls_go_on_where_the_last_one_stopped(mode):
    random = RandomStreams(3)
    three = symbolic.function([], random.uniform((3,)), mode=mode)
    pieces = np.concatenate([three(), three()])
    np.testing.assert_array_equal(pieces, draw(lambda r: r.uniform((6,)), 3))
    assert len(set(pieces)) == 6


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**70 + 1])
def test_a_seed_gives_the_same_numbers_again(seed):
    random = RandomStreams(seed)
    f = symbolic.function([], [random.uniform((4,)), random.uniform((4,))], mode="interpret")
    a, b = f()
    assert not set(a) & set(b)  # Two draws are two streams.
    again = f()
    assert not set(a) & set(again[0])
    random.seed(seed)
    np.testing.assert_array_equal(f(), [a, b])
    random.seed(seed + 1)
    assert not set(f()[0]) & set(a)
    other = RandomStreams(seed)
    np.testing.assert_array_equal(symbolic.function([], other.uniform((4,)))(), a)


def test_one_variable_is_one_array_wherever_it_is_used():
    x = RandomStreams(0).normal((50,))
    a, b, difference = symbolic.function([], [x, x * 2, x - x])()
    np.testing.assert_array_equal(b, 2 * a)
    assert not difference.any()


DISTRIBUTIONS = [
    (lambda r: r.uniform((N,)), scipy.stats.uniform()),
    (lambda r: r.uniform((N,), -2.0, 3.0, "float32"), scipy.stats.uniform(-2, 5)),
    (lambda r: r.normal((N,)), scipy.stats.norm()),
    (lambda r: r.normal((N,), 2.0, 0.5, "float32"), scipy.stats.norm(2, 0.5)),
    (lambda r: r.normal((N // 2, 2), symbolic.constant([0.0, 0.0]), 3.0).reshape(-1),
     scipy.stats.norm(0, 3)),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("make", "law"), DISTRIBUTIONS)
def test_continuous_draws_follow_their_law(make, law, mode):
    x = draw(make, 1, mode).astype(np.float64)
    assert scipy.stats.kstest(x, law.cdf).pvalue > 0.01
    assert abs(x.mean() - law.mean()) < 4 * law.std() / np.sqrt(N)
    fourth = np.mean((law.rvs(200_000, random_state=0) - law.mean()) ** 4)
    assert abs(x.var() - law.var()) < 5 * np.sqrt((fourth - law.var() ** 2) / N)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / np.sqrt(N)


def test_uniform_numbers_are_below_1_and_have_all_their_bits():
    x = draw(lambda r: r.uniform((N,)))
    assert x.min() >= 0
    assert x.max() < 1
    assert set((x * 2**53 % 2).tolist()) == {0.0, 1.0}
    y = draw(lambda r: r.uniform((N,), dtype="float32"))
    assert y.dtype == np.float32
    assert y.max() < 1
    assert set((y * np.float32(2**24) % 2).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("mode", MODES)
def test_discrete_draws_follow_their_law(mode):
    x = draw(lambda r: r.integers(-2, 5, (N,)), mode=mode)
    assert x.dtype == np.int64
    counts = np.bincount(x + 2, minlength=7)
    assert len(counts) == 7
    assert scipy.stats.chisquare(counts).pvalue > 0.01
    coin = draw(lambda r: r.bernoulli((N,), 0.3), mode=mode)
    assert set(coin.tolist()) == {0, 1}
    assert abs(coin.mean() - 0.3) < 4 * np.sqrt(0.21 / N)
    tries = draw(lambda r: r.binomial((N,), 6, 0.25), mode=mode)
    expected = scipy.stats.binom(6, 0.25).pmf(range(7)) * N
    assert scipy.stats.chisquare(np.bincount(tries, minlength=7), expected).pvalue > 0.01
    order = draw(lambda r: r.permutation(100), mode=mode)
    assert sorted(order) == list(range(100))
    assert order.tolist() != list(range(100))


def test_probabilities_and_bounds_may_be_expressions():
    p, n = symbolic.vector("p"), symbolic.scalar("n", "int64")
    random = RandomStreams(0)
    made = [random.bernoulli((4, 3), p, "float32"), random.uniform((n, 2), 0.0, p.sum()),
            random.permutation(n), random.normal((n,)), random.binomial((n,), 3, 0.5)]  # fmt: skip
    for mode in MODES:
        a, b, c, d, e = symbolic.function([p, n], made, mode=mode)([0.0, 1.0, 1.0], 5)
        np.testing.assert_array_equal(a, np.tile(np.float32([0, 1, 1]), (4, 1)))
        assert b.shape == (5, 2)
        assert b.max() > 1
        assert sorted(c) == list(range(5))
        assert d.shape == e.shape == (5,)


def test_the_shape_may_be_that_of_an_input():
    x = symbolic.matrix("x")
    for mode in MODES:
        f = symbolic.function([x], RandomStreams(0).uniform(ops.shape_of(x)) * ops.ones_like(x),
                              mode=mode)  # fmt: skip
        assert f(np.ones((2, 3))).shape == (2, 3)
        assert f(np.ones((4, 1))).shape == (4, 1)
        assert f(np.ones((0, 3))).shape == (0, 3)


def test_every_target_gives_the_same_bits():
    targets = ["numpy"] + ["llvm"] * (compiler.best_target() == "llvm")
    expected = [draw(lambda r: r.bits((7, 3)), 5), draw(lambda r: r.uniform((100,)), 5),
                draw(lambda r: r.integers(0, 1000, (50,)), 5)]  # fmt: skip
    for target in targets:
        np.testing.assert_array_equal(draw(lambda r: r.bits((7, 3)), 5, target), expected[0])
        np.testing.assert_array_equal(draw(lambda r: r.uniform((100,)), 5, target), expected[1])
        np.testing.assert_array_equal(
            draw(lambda r: r.integers(0, 1000, (50,)), 5, target), expected[2]
        )


def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask():
    x = symbolic.vector("x")
    y = ops.dropout(x, 0.25, RandomStreams(2))
    f = symbolic.function([x], [y, symbolic.grad(y.sum(), x)], mode="numpy")
    value, slope = f(np.ones(N))
    np.testing.assert_array_equal(value, slope)
    assert set(np.unique(value).tolist()) == {0.0, 1 / 0.75}
    assert abs(value.mean() - 1) < 4 * np.sqrt(0.25 / 0.75 / N)
    assert (f(np.ones(N))[0] != value).any()
    with pytest.raises(OptionError, match="dropout: rate is a probability below 1"):
        ops.dropout(x, 1.0, RandomStreams())


def test_what_is_not_a_draw_is_refused():
    random = RandomStreams()
    for seed in (-1, 1.5, "a"):
        with pytest.raises(OptionError, match="RandomStreams: a seed is an int of at least 0"):
            RandomStreams(seed)
    with pytest.raises(OptionError, match="there is no int to draw"):
        random.integers(3, 3)
    with pytest.raises(OptionError, match="RandomStreams: these numbers are not whole"):
        random.uniform((3,), dtype="int64")
    with pytest.raises(OptionError, match="this is not a shape to ask for"):
        random.uniform((-1,))
    with pytest.raises(ShapeError, match="n is not one integer"):
        random.permutation(symbolic.vector("n", "int64"))
    x = symbolic.scalar("x")
    with pytest.raises(GraphError, match="cost does not depend on"):
        symbolic.grad(random.uniform() * 1.0, x)
