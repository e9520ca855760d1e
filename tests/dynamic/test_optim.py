"""Optimisers: their formulas, the fused step, groups, state, clipping."""

import itertools

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import optim
from workbench.dynamic.optim import optimizer as base
from workbench.errors import (
    DtypeError,
    GraphError,
    NotFiniteError,
    OptionError,
    ShapeError,
    UnknownNameError,
)

SHAPES = [(3, 4), (4,), (), (4, 2), (0, 2), (2,)]


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


def leaves(seed=0, dtype=np.float64, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [leaf(rng.standard_normal(shape), dtype) for shape in shapes]


def give_gradients(parameters, rng):
    for p in parameters:
        p.grad = dynamic.tensor(rng.standard_normal(p.shape).astype(p.dtype))


def sgd(o, g, p, s, t):
    return p - o["lr"] * g


def momentum(o, g, p, s, t):
    s["v"] = o["momentum"] * s.get("v", 0) + g
    return p - o["lr"] * s["v"]


def nesterov(o, g, p, s, t):
    s["v"] = o["momentum"] * s.get("v", 0) + g
    return p - o["lr"] * (g + o["momentum"] * s["v"])


def adam(o, g, p, s, t):
    one, two = o["betas"]
    s["m"] = one * s.get("m", 0) + (1 - one) * g
    s["v"] = two * s.get("v", 0) + (1 - two) * g * g
    mean, square = s["m"] / (1 - one**t), s["v"] / (1 - two**t)
    return p - o["lr"] * mean / (np.sqrt(square) + o["eps"])


def rmsprop(o, g, p, s, t):
    s["v"] = o["alpha"] * s.get("v", 0) + (1 - o["alpha"]) * g * g
    return p - o["lr"] * g / (np.sqrt(s["v"]) + o["eps"])


def adagrad(o, g, p, s, t):
    s["v"] = s.get("v", 0) + g * g
    return p - o["lr"] * g / (np.sqrt(s["v"]) + o["eps"])


def adadelta(o, g, p, s, t):
    s["v"] = o["rho"] * s.get("v", 0) + (1 - o["rho"]) * g * g
    d = np.sqrt(s.get("u", 0) + o["eps"]) / np.sqrt(s["v"] + o["eps"]) * g
    s["u"] = o["rho"] * s.get("u", 0) + (1 - o["rho"]) * d * d
    return p - o["lr"] * d


RULES = {
    "sgd": (optim.SGD, {"lr": 0.1}, sgd),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}, momentum),
    "nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, nesterov),
    "adam": (optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6}, adam),
    "rmsprop": (optim.RMSProp, {"lr": 0.01, "alpha": 0.9, "eps": 1e-6}, rmsprop),
    "adagrad": (optim.Adagrad, {"lr": 0.1, "eps": 1e-6}, adagrad),
    "adadelta": (optim.Adadelta, {"lr": 1.0, "rho": 0.9, "eps": 1e-4}, adadelta),
}
rules = pytest.mark.parametrize("rule", RULES)


@rules
@pytest.mark.parametrize("small", [0, 1 << 14], ids=["alone", "together"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_each_rule_by_its_formula(rule, small, weight_decay, monkeypatch):
    monkeypatch.setitem(base.SMALL, "cpu", small)
    cls, options, formula = RULES[rule]
    parameters, rng = leaves(), np.random.default_rng(1)
    expected, states = [p.numpy() for p in parameters], [{} for _ in parameters]
    optimizer = cls(parameters, **options, weight_decay=weight_decay)
    for t in range(1, 11):
        give_gradients(parameters, rng)
        before = [p.grad.numpy() for p in parameters]
        for k, p in enumerate(parameters):
            g = p.grad.data + weight_decay * expected[k]
            expected[k] = formula(options, g, expected[k], states[k], t)
        optimizer.step()
        for p, g in zip(parameters, before, strict=True):
            np.testing.assert_array_equal(p.grad.data, g)
    for p, e in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-14)


def test_adamw_decays_beside_the_step_not_through_it():
    options = RULES["adam"][1]
    parameters, rng = leaves(), np.random.default_rng(1)
    expected, states = [p.numpy() for p in parameters], [{} for _ in parameters]
    optimizer = optim.AdamW(parameters, **options, weight_decay=0.5)
    for t in range(1, 6):
        give_gradients(parameters, rng)
        for k, p in enumerate(parameters):
            shrunk = expected[k] * (1 - 0.01 * 0.5)
            expected[k] = adam(options, p.grad.data, shrunk, states[k], t)
        optimizer.step()
    for p, e in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-14)


# --- the fused step ---------------------------------------------------------------


def twins(rule, **more):
    """Return a fused and a plain optimiser over equal parameters."""
    cls, options, _ = RULES[rule]
    one, two = leaves(), leaves()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base.SMALL, "cpu", -1)
        plain = cls(two, **options, **more)
    fused = cls(one, **options, **more)
    assert (len(fused._units), len(plain._units)) == (1, len(two))
    return (one, fused), (two, plain)


def advance(pair, steps, seed, without=()):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        give_gradients(pair[0], rng)
        for k in without:
            pair[0][k].grad = None
        pair[1].step()


def assert_same(one, two):
    for p, q in zip(one, two, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@rules
def test_parameters_without_a_gradient_are_left_alone_with_their_state(rule):
    fused, plain = twins(rule)
    for pair in (fused, plain):
        advance(pair, 2, seed=0)
    idle = fused[0][3].numpy()
    for pair in (fused, plain):
        advance(pair, 3, seed=1, without=(0, 3))
    np.testing.assert_array_equal(fused[0][3].data, idle)
    assert [len(unit.parameters) for unit in fused[1]._units] == [1, 1, 2, 2]
    for pair in (fused, plain):
        advance(pair, 3, seed=2, without=(1,))
        advance(pair, 2, seed=3)
    assert_same(fused[0], plain[0])
    state, other = (pair[1].state_dict() for pair in (fused, plain))
    assert state.keys() == other.keys()
    for key in state:
        np.testing.assert_array_equal(state[key], other[key])
    assert [int(state[f"{k}.t"]) for k in range(4)] == [7, 7, 10, 7]


@pytest.mark.parametrize("without", list(itertools.product([False, True], repeat=4)))
def test_any_gradients_may_be_missing(without):
    fused, plain = twins("adam")
    for pair in (fused, plain):
        datas = [p.data for p in pair[0]]
        for k in range(3):
            advance(pair, 1, seed=k, without=np.flatnonzero(np.roll(without, k)))
        advance(pair, 1, seed=3)
        assert all(p.data is data for p, data in zip(pair[0], datas, strict=True))
    for p in fused[0]:  # Laid out anew, they still differ in the steps they took.
        p.data = p.data.copy()
    for pair in (fused, plain):
        advance(pair, 2, seed=4)
    assert_same(fused[0], plain[0])


def test_small_parameters_share_an_array_and_large_ones_stay(monkeypatch):
    monkeypatch.setitem(base.SMALL, "cpu", 10)
    parameters = leaves(shapes=[(2, 3), (4, 5), (4,), (2,)])
    large = parameters[1].data
    optimizer = optim.SGD(parameters, lr=0.1)
    small = [parameters[k].data for k in (0, 2, 3)]
    assert parameters[1].data is large
    assert len({id(data.base) for data in small}) == 1
    assert small[0].base.size == 12
    advance((parameters, optimizer), 1, 0)
    assert [p.data for p in parameters][1] is large
    assert all(parameters[k].data is data for k, data in zip((0, 2, 3), small, strict=True))


@rules
def test_replaced_data_are_noticed_and_the_state_follows(rule):
    fused, plain = twins(rule)
    for pair in (fused, plain):
        advance(pair, 2, seed=0)
    held = fused[0][1].data
    before = held.copy()
    fused[0][1].data = held.copy()
    for pair in (fused, plain):
        advance(pair, 3, seed=1)
    np.testing.assert_array_equal(held, before)  # What is not the parameter's any more.
    assert_same(fused[0], plain[0])
    for p in fused[0]:
        p.data = p.data.astype(np.float32)
    advance(fused, 2, seed=2)
    advance(plain, 2, seed=2)
    assert len(fused[1]._units) == 1
    for p, q in zip(fused[0], plain[0], strict=True):
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.data, q.data, rtol=1e-5, atol=1e-5)
    state = fused[1].state_dict()
    assert all(state[f"0.{name}"].dtype == np.float32 for name in fused[1]._units[0].state)


def test_each_dtype_has_an_array_of_its_own():
    parameters = [leaf([1.0, 2.0], dtype) for dtype in (np.float32, np.float64) * 2]
    optimizer = optim.SGD(parameters, lr=0.5)
    assert [unit.p.dtype for unit in optimizer._units] == [np.float32, np.float64]
    for p in parameters:
        (p * p).sum().backward()
    optimizer.step()
    assert all(p.data.tolist() == [0.0, 0.0] for p in parameters)


def test_views_and_transposes_are_updated_where_they_are():
    whole = np.ones((2, 3))
    view, turned = leaf([1.0]), leaf([1.0])
    view.data, turned.data = whole[:, 1], np.ones((2, 3)).T
    turned_data = turned.data
    optimizer = optim.Adam([view, turned, leaf([1.0]), leaf([2.0])], lr=0.1)
    for p in optimizer.parameters:
        (p * p).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(whole, [[1, 0.9, 1]] * 2, rtol=1e-7)
    assert turned.data is turned_data
    np.testing.assert_allclose(turned_data, np.full((3, 2), 0.9), rtol=1e-7)


def test_a_second_optimizer_leaves_the_layout_of_the_first():
    one, two = leaves(), leaves()
    first, second = optim.SGD(one, lr=0.1, momentum=0.9), optim.Adam(one[1:4], lr=0.1)
    datas = [p.data for p in one]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base.SMALL, "cpu", -1)
        others = optim.SGD(two, lr=0.1, momentum=0.9), optim.Adam(two[1:4], lr=0.1)
    for k in range(3):
        for optimizer in (first, second, *others):
            advance((optimizer.parameters, optimizer), 1, seed=k)
    assert_same(one, two)
    assert all(p.data is d for p, d in zip(one, datas, strict=True))
    assert (len(first._units), len(second._units)) == (1, 3)


def test_an_edit_between_forward_and_backward_is_refused():
    w, b = leaf([1.0, 2.0]), leaf([3.0])
    optimizer = optim.SGD([w, b], lr=0.1)
    y = (w * w * b).sum()
    y.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(GraphError, match="multiply saved its argument"):
        y.backward()
    y = (w * w).sum()
    with dynamic.no_grad():
        w += 1
    with pytest.raises(GraphError, match="multiply saved its argument"):
        y.backward()


def test_a_training_loop_is_never_refused():
    w, b = leaf([1.0, 2.0]), leaf([3.0])
    optimizer = optim.SGD([w, b], lr=0.01, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        assert w.grad is None
        (w * w * b).sum().backward()
        optimizer.step()
    assert w.version == 3


def test_a_gradient_of_another_shape_is_refused():
    parameters = leaves(shapes=[(2, 3), (4,)])
    optimizer = optim.SGD(parameters, lr=0.1)
    give_gradients(parameters, np.random.default_rng(0))
    parameters[0].grad = dynamic.tensor(np.ones((3, 2)))
    with pytest.raises(ShapeError) as caught:
        optimizer.step()
    assert "given:    grad (3, 2)\n  expected: (2, 3)" in str(caught.value)


# --- groups and options -------------------------------------------------------------


def test_groups_have_options_of_their_own():
    w, b, c = leaf([1.0]), leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([{"params": [w], "weight_decay": 1.0}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "momentum": 0.5, "nesterov": True})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5, 0.1]
    for p in (w, b, c):
        (2 * p).sum().backward()
    optimizer.step()
    np.testing.assert_allclose([w.item(), b.item(), c.item()], [0.7, 0.0, 1 - 0.1 * 3])
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25] * 3
    assert optimizer.lr == 0.25


REFUSED = [
    (lambda w: optim.SGD([w], lr=0), OptionError, "SGD: lr is not usable\n  given:    lr=0"),
    (lambda w: optim.SGD([w], lr=float("nan")), OptionError, "lr=nan"),
    (lambda w: optim.SGD([w], 0.1, momentum=1.0), OptionError, "momentum=1.0"),
    (lambda w: optim.SGD([w], 0.1, nesterov=True), OptionError, "needs a momentum"),
    (lambda w: optim.Adam([w], weight_decay=-1), OptionError, "zero or a positive number"),
    (lambda w: optim.Adam([w], betas=(0.9, 1.0)), OptionError, "betas=(0.9, 1.0)"),
    (lambda w: optim.LBFGS([w], iterations=1.5), OptionError, "a positive integer"),
    (lambda w: optim.SGD([], 0.1), OptionError, "there are no parameters to optimise"),
    (lambda w: optim.SGD([{"lr": 0.1}], 0.1), OptionError, "there are no parameters to optimise"),
    (lambda w: optim.SGD([w.data], 0.1), DtypeError, "parameter 0 is not a tensor"),
    (lambda w: optim.SGD([w, w * 2], 0.1), GraphError, "parameter 1 is not a leaf"),
    (lambda w: optim.SGD([w, w], 0.1), OptionError, "parameter 1 was given before"),
    (lambda w: optim.SGD([{"params": w}, {"params": w}], 0.1), OptionError, "given before"),
    (lambda w: optim.SGD([{"params": w, "momentun": 0.9}], 0.1), UnknownNameError,
     "did you mean 'momentum'?"),
    (lambda w: optim.LBFGS([w, leaf([1.0], np.float32)]), OptionError,
     "1 groups, float32 on cpu, float64 on cpu"),
    (lambda w: optim.LBFGS([w]).step(), OptionError, "def closure(): optimizer.zero_grad()"),
    (lambda w: optim.LBFGS([w]).step(lambda: w.sum() * np.inf), NotFiniteError, "loss inf"),
    (lambda w: optim.clip_grad_norm([w], 0), OptionError, "max_norm=0"),
    (lambda w: optim.clip_grad_value([w], -1), OptionError, "limit=-1"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "words"), REFUSED)
def test_refusals(make, error, words):
    with pytest.raises(error) as caught:
        make(leaf([1.0]))
    assert words in str(caught.value)


def test_an_optimizer_without_update_says_so():
    w = leaf([1.0])
    optimizer = optim.Optimizer([w], lr=0.1, weight_decay=0.0)
    w.sum().backward()
    with pytest.raises(OptionError, match=r"write the method update\(self, unit, g\)"):
        optimizer.step()


# --- state --------------------------------------------------------------------------


@rules
def test_a_resumed_run_is_the_same_to_the_last_bit(rule, monkeypatch):
    one, two = twins(rule, weight_decay=0.01)
    monkeypatch.setitem(base.SMALL, "cpu", -1)
    advance(one, 3, seed=0)
    state = one[1].state_dict()
    kept = {key: value.copy() for key, value in state.items()}
    for p, q in zip(two[0], one[0], strict=True):
        p.data[...] = q.data
    two[1].lr = 7.0
    two[1].load_state_dict(state)
    assert two[1].lr == RULES[rule][1]["lr"]
    for pair in (one, two):
        advance(pair, 3, seed=1)
    assert_same(one[0], two[0])
    assert state.keys() == kept.keys()
    for key, value in kept.items():  # Neither run has written into the state it gave or took.
        np.testing.assert_array_equal(state[key], value)


def test_state_that_does_not_fit_is_refused_and_changes_nothing():
    adam = optim.Adam(leaves(), lr=0.1)
    advance((adam.parameters, adam), 2, seed=0)
    good = adam.state_dict()
    cases = [
        (good | {"0.sums": good["0.sum"]}, UnknownNameError, "did you mean '0.sum'?"),
        ({k: v for k, v in good.items() if k != "group.0.lr"}, OptionError, "no group.0.lr"),
        (good | {"0.sum": np.ones(3)}, ShapeError, "0.sum does not fit its parameter"),
        (good | {"group.0.lr": np.array(-1.0)}, OptionError, "lr is not usable"),
    ]
    for state, error, words in cases:
        with pytest.raises(error) as caught:
            adam.load_state_dict(state)
        assert words in str(caught.value)
        after = adam.state_dict()
        assert all(np.array_equal(after[key], good[key]) for key in good)
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)


# --- L-BFGS -------------------------------------------------------------------------


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] * x[:-1]) ** 2 + (1 - x[:-1]) ** 2).sum()


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def test_lbfgs_finds_the_end_of_the_banana_valley():
    x = leaf(np.linspace(-1.2, 1.5, 6))
    optimizer = optim.LBFGS([x])
    closure = closure_of(optimizer, lambda: rosenbrock(x))
    first = optimizer.step(closure)
    assert first == pytest.approx(rosenbrock(np.linspace(-1.2, 1.5, 6)), rel=1e-14)
    for _ in range(10):
        optimizer.step(closure)
    np.testing.assert_allclose(x.data, 1.0, rtol=1e-9)


def test_lbfgs_minimises_a_quadratic_over_several_parameters_in_about_as_many_steps():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 6))
    a, b = a @ a.T + np.eye(6), rng.standard_normal(6)
    u, v = leaf(np.zeros((2, 2))), leaf(np.zeros(2))
    optimizer = optim.LBFGS([u, v], iterations=25)

    def loss():
        x = dynamic.ops.concatenate([u.reshape(4), v])
        return (x * (a @ x)).sum() / 2 - (b * x).sum()

    optimizer.step(closure_of(optimizer, loss))
    x = np.concatenate([u.numpy().ravel(), v.numpy()])
    np.testing.assert_allclose(x, np.linalg.solve(a, b), atol=1e-7)


def test_lbfgs_resumes_to_the_last_bit_and_its_edits_count():
    def run(x, optimizer, steps):
        for _ in range(steps):
            optimizer.step(closure_of(optimizer, lambda: rosenbrock(x)))

    x = leaf(np.zeros(4))
    one = optim.LBFGS([x], iterations=3)
    y = rosenbrock(x)
    run(x, one, 2)
    with pytest.raises(GraphError, match="edited in place"):
        y.backward()
    z = leaf(x.numpy())
    two = optim.LBFGS([z], iterations=1)
    two.load_state_dict(one.state_dict())
    run(x, one, 2)
    run(z, two, 2)
    np.testing.assert_array_equal(x.data, z.data)


def test_lbfgs_stays_where_no_point_is_lower():
    x = leaf([0.0, 3.0])
    optimizer = optim.LBFGS([x], tolerance=0.0)
    assert optimizer.step(closure_of(optimizer, lambda: (x * x * 0.0).sum())) == 0.0
    assert x.data.tolist() == [0.0, 3.0]

    def wrong():  # The gradient points up.
        x.grad = dynamic.tensor(-2 * x.data)
        return (x * x).sum()

    assert optimizer.step(wrong) == 9.0
    assert x.data.tolist() == [0.0, 3.0]


def test_lbfgs_forgets_a_history_that_points_up():
    x = leaf([2.0])
    optimizer = optim.LBFGS([x])
    optimizer._units[0].state = {"s0": np.ones(1), "y0": -np.ones(1)}
    optimizer.step(closure_of(optimizer, lambda: (x * x).sum()))
    assert abs(x.item()) < 1e-7


@pytest.mark.parametrize("lr", [1e-4, 1e4])
def test_the_line_search_lengthens_and_shortens_a_first_trial(lr):
    x = leaf([3.0, 1.0])
    optimizer = optim.LBFGS([x], lr=lr, iterations=1)
    optimizer.step(closure_of(optimizer, lambda: (x * x).sum() / 2))
    start = np.array([3.0, 1.0])  # The conditions of Wolfe: the gradient is x itself.
    s = x.data - start
    assert x.data @ x.data / 2 <= start @ start / 2 + 1e-4 * (start @ s)
    assert x.data @ s >= 0.9 * (start @ s)


def test_lbfgs_takes_parameters_of_any_layout_and_follows_them():
    a = np.random.default_rng(0).standard_normal((3, 3))
    x, y = leaf(np.zeros((3, 2))), leaf(3.0)
    x.data = np.zeros((2, 3)).T
    for each in ([x], [y], [x, y]):  # Alone, of no axes, together.
        optimizer = optim.LBFGS(each, iterations=5)
        closure = closure_of(optimizer, lambda: ((a @ x - 1) ** 2).sum() + (y * y - 2) ** 2)
        for _ in range(3):
            optimizer.step(closure)
            optimizer.load_state_dict(optimizer.state_dict())
        for p in each:
            p.data = p.data.copy()
        for _ in range(10):
            optimizer.step(closure)
    np.testing.assert_allclose(a @ x.data, 1.0, rtol=1e-6)
    assert y.item() == pytest.approx(2**0.5)
    optimizer.add_param_group({"params": leaf(1.0)})
    with pytest.raises(OptionError, match="2 groups, float64 on cpu"):
        optimizer.step(closure)


# --- clipping -----------------------------------------------------------------------


def test_a_large_norm_is_scaled_down_and_a_small_one_left():
    parameters = leaves(dtype=np.float32)
    give_gradients(parameters[:4], np.random.default_rng(0))
    whole = np.concatenate([p.grad.numpy().ravel() for p in parameters[:4]])
    first = parameters[0].grad
    norm = optim.clip_grad_norm(parameters, 100.0)
    assert norm == pytest.approx(np.linalg.norm(whole), rel=1e-6)
    assert parameters[0].grad is first
    assert optim.clip_grad_norm(parameters, 0.5) == norm
    clipped = np.concatenate([p.grad.numpy().ravel() for p in parameters[:4]])
    np.testing.assert_allclose(clipped, whole * (0.5 / norm), rtol=1e-5)
    assert [p.grad.shape for p in parameters[:4]] == SHAPES[:4]
    assert {p.grad.dtype for p in parameters[:4]} == {np.dtype(np.float32)}
    assert parameters[4].grad is None


def test_a_norm_that_is_not_finite_is_refused_if_asked():
    w = leaf([1.0, 2.0])
    w.grad = dynamic.tensor([np.inf, 1.0])
    with pytest.raises(NotFiniteError, match="norm inf"):
        optim.clip_grad_norm(w, 1.0, error_if_nonfinite=True)
    assert w.grad.data.tolist() == [np.inf, 1.0]


def test_values_are_clipped_one_by_one():
    w, b, idle = leaf([1.0, 2.0, 3.0]), leaf(1.0), leaf(1.0)
    w.grad, b.grad = dynamic.tensor([-5.0, 0.25, 5.0]), dynamic.tensor(2.0)
    optim.clip_grad_value([w, b, idle], 0.5)
    assert w.grad.data.tolist() == [-0.5, 0.25, 0.5]
    assert (b.grad.item(), b.grad.shape, idle.grad) == (0.5, (), None)
