"""The library in the pure style: layers, optimisers, losses, and models as trees."""

import numpy as np
import pytest

from workbench import datasets, dynamic
from workbench.dynamic import optim
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional import (
    grad,
    jit,
    losses,
    module,
    nn,
    optimizers,
    random,
    tree_flatten,
    tree_map,
    value_and_grad,
    vmap,
)
from workbench.functional import numpy as fnp
from workbench.functional.control import scan
from workbench.gradcheck import check_gradient

EPS = np.finfo(float).eps


def key(seed=0):
    return random.key(seed)


def doubled(tree):
    return tree_map(lambda p: fnp.astype(p, np.float64), tree)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def started(layer, *shape, seed=0):
    """Return the output shape, and float64 parameters in which no entry is special."""
    out, parameters = layer.init(key(seed), shape)
    leaves = iter(range(100))
    return out, tree_map(lambda p: p + 0.1 + 0.1 * normal(*p.shape, seed=next(leaves)),
                         doubled(parameters))  # fmt: skip


# --- Layers. ---

LAYERS = {  # name: layer, input shape
    "Dense": (nn.Dense(3), (5, 4)),
    "Dense on stacks": (nn.Dense(3), (2, 5, 4)),
    "Conv2d": (nn.Conv2d(3, 2, stride=2, padding=1), (2, 2, 5, 4)),
    "MaxPool2d": (nn.MaxPool2d(2), (2, 2, 5, 4)),
    "AvgPool2d": (nn.AvgPool2d((3, 2), stride=1, padding=1), (2, 2, 5, 4)),
    "Flatten": (nn.Flatten, (2, 2, 5, 4)),
    "LayerNorm": (nn.LayerNorm(), (5, 4)),
    "BatchNorm": (nn.BatchNorm(), (5, 4)),
    "BatchNorm of images": (nn.BatchNorm(), (3, 2, 4, 5)),
    "LSTM": (nn.LSTM(3), (4, 2, 5)),
    "GRU": (nn.GRU(3), (4, 2, 5)),
    "Relu": (nn.Relu, (5, 4)),
    "Sigmoid": (nn.Sigmoid, (5, 4)),
    "Tanh": (nn.Tanh, (5, 4)),
    "Softmax": (nn.Softmax, (5, 4)),
    "LogSoftmax": (nn.LogSoftmax, (5, 4)),
    "Dropout": (nn.Dropout(0.5), (5, 4)),
    "serial": (nn.serial(nn.Dense(6), nn.Tanh, nn.serial(), nn.Dense(2)), (5, 4)),
    "residual": (nn.residual(nn.Dense(4), nn.Tanh), (5, 4)),
    "branches": (nn.serial(nn.FanOut(2), nn.parallel(nn.Dense(3), nn.Dense(3)), nn.FanInSum),
                 (5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_its_promise_of_shape_and_its_gradient_is_the_numeric_one(name, train):
    layer, shape = LAYERS[name]
    out, parameters = started(layer, *shape)
    x = normal(*shape)

    def f(x, *leaves):
        it = iter(leaves)
        return layer.apply(tree_map(lambda _: next(it), parameters), x, key=key(1), train=train)

    args = [x, *tree_flatten(parameters)[0]]
    y = f(*args)
    assert y.shape == tuple(out)
    weights = normal(*y.shape, seed=1)

    def objective(*args):
        return fnp.sum(weights * f(*args))

    slopes = grad(objective, argnums=tuple(range(len(args))))(*args)
    check_gradient(jit(objective), list(slopes), args)
    np.testing.assert_allclose(jit(f)(*args), y, rtol=1e3 * EPS, atol=1e2 * EPS)


def test_an_init_function_makes_float32_parameters_of_the_documented_shapes():
    def shapes(layer, *shape):
        out, parameters = layer.init(key(), shape)
        assert {p.dtype for p in parameters.values()} == {np.dtype(np.float32)}
        return out, {name: p.shape for name, p in parameters.items()}

    assert shapes(nn.Dense(3), -1, 4) == ((-1, 3), {"w": (4, 3), "b": (3,)})
    assert shapes(nn.Conv2d(8, (3, 2), stride=2, padding=1), -1, 3, 7, 7) == (
        (-1, 8, 4, 4), {"w": (8, 3, 3, 2), "b": (8,)})  # fmt: skip
    assert shapes(nn.Embedding(10, 4), -1, 7) == ((-1, 7, 4), {"w": (10, 4)})
    assert shapes(nn.GRU(3), 6, -1, 2) == (
        (6, -1, 3), {"wx": (2, 9), "wh": (3, 9), "b": (9,), "bh": (3,)})  # fmt: skip
    assert shapes(nn.LSTM(3), 6, -1, 2) == (
        (6, -1, 3), {"wx": (2, 12), "wh": (3, 12), "b": (12,)})  # fmt: skip
    bias = nn.LSTM(2).init(key(), (1, 1, 1))[1]["b"]
    assert bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_initial_weights_are_glorots_and_other_keys_give_others():
    init, _ = nn.Dense(300)
    w, again, other = (init(key(seed), (-1, 200))[1]["w"] for seed in (0, 0, 1))
    bound = (6 / 500) ** 0.5
    assert 0.99 * bound < abs(w).max() <= bound
    # Of 60,000 draws; the standard deviation of their variance is 0.4 % of it.
    np.testing.assert_allclose(w.var(), bound**2 / 3, rtol=0.02)
    np.testing.assert_array_equal(w, again)
    assert abs(w - other).max() > bound
    both = nn.serial(nn.Dense(4), nn.Dense(4)).init(key(), (-1, 4))[1]
    assert (both[0]["w"] != both[1]["w"]).any()


def test_recurrent_layers_compute_what_era_3s_do():
    x = normal(5, 2, 4)
    for ours, theirs in ((nn.LSTM(3), dynamic.nn.LSTM), (nn.GRU(3), dynamic.nn.GRU)):
        _, parameters = started(ours, 5, 2, 4)
        model = theirs(4, 3, dtype=np.float64)
        for name, p in model.named_parameters():
            p.data[...] = parameters[name.split(".")[-1]]
        y, _ = model(dynamic.tensor(x))
        np.testing.assert_allclose(ours.apply(parameters, x), y.data, rtol=1e3 * EPS)


def test_embedding_picks_rows_and_its_gradient_adds_at_repeated_ones():
    layer = nn.Embedding(4, 3)
    _, parameters = started(layer, 5)
    x = np.array([[1, 1], [0, 3]])
    np.testing.assert_array_equal(layer.apply(parameters, x), parameters["w"][x])
    g = grad(lambda p: fnp.sum(layer.apply(p, x)))(parameters)["w"]
    np.testing.assert_array_equal(g[:, 0], [1, 2, 0, 1])


def test_dropout_drops_its_share_in_training_only_and_keeps_the_mean():
    layer, x = nn.Dropout(0.25), np.full((100, 100), 3.0)
    y = layer.apply((), x, key=key(), train=True)
    assert set(np.unique(y)) == {0.0, 4.0}
    assert abs((y == 0).mean() - 0.25) < 5 * (0.25 * 0.75 / x.size) ** 0.5
    assert (y != layer.apply((), x, key=key(1), train=True)).any()
    assert layer.apply((), x, key=key()) is x
    two = nn.serial(layer, layer).apply(((), ()), x, key=key(), train=True)
    share = (two == 0).mean()  # Each layer has a key of its own, or it would be 1/4.
    assert abs(share - 7 / 16) < 0.03


def test_batch_norm_uses_the_batch_in_training_and_what_it_observed_afterwards():
    layer = nn.serial(nn.Dense(3), nn.residual(nn.BatchNorm()), nn.Tanh)
    _, parameters = started(layer, 50, 4)
    x = normal(50, 4)
    trained = layer.apply(parameters, x, train=True)
    plain = layer.apply(parameters, x)
    assert abs(trained - plain).max() > 0.01
    y, observed = layer.observe(parameters, x)
    np.testing.assert_allclose(y, trained, rtol=1e3 * EPS)
    np.testing.assert_allclose(layer.apply(observed, x), trained, rtol=1e3 * EPS)
    one = layer.apply(observed, x[:1])  # Of one example, and no other plays a part.
    np.testing.assert_allclose(one, trained[:1], rtol=1e3 * EPS)
    hidden = x @ parameters[0]["w"] + parameters[0]["b"]
    statistics = observed[1][1][0][0]
    np.testing.assert_allclose(statistics["mean"], hidden.mean(0), rtol=1e3 * EPS)
    np.testing.assert_allclose(statistics["var"], hidden.var(0), rtol=1e3 * EPS)
    assert observed[0] is parameters[0]
    g = grad(lambda p: fnp.sum(layer.apply(p, x, train=True) ** 2))(parameters)
    assert not g[1][1][0][0]["mean"].any()
    assert not g[1][1][0][0]["var"].any()


def test_a_plain_pair_of_functions_is_a_layer():
    double = (lambda key, shape: (shape, ()), lambda parameters, x, **_: 2 * x)
    init, apply = nn.serial(double, nn.elementwise(fnp.sin))
    shape, parameters = init(key(), (-1, 3))
    x = normal(2, 3)
    assert shape == (-1, 3)
    np.testing.assert_allclose(apply(parameters, x), np.sin(2 * x), rtol=1e1 * EPS)


REFUSED = {  # what is called: the error and words of its message
    "Dense init": (lambda: nn.Dense(3).init(key(), ()), ShapeError,
                   ["Dense(3)", "input ()", "(..., D)"]),
    "Dense apply": (lambda: nn.Dense(3).apply(nn.Dense(3).init(key(), (1, 4))[1], normal(2, 5)),
                    ShapeError, ["Dense(3)", "input (2, 5)", "(..., 4)"]),
    "in series": (lambda: nn.serial(nn.Dense(3), nn.Conv2d(2, 3)).init(key(), (1, 4)),
                  ShapeError, ["Conv2d(2, 3)", "input (1, 3)", "(N, C, H, W)"]),
    "Conv2d apply": (lambda: nn.Conv2d(2, 3).apply(
        nn.Conv2d(2, 3).init(key(), (1, 2, 5, 5))[1], normal(1, 3, 5, 5)),
        ShapeError, ["Conv2d(2, 3)", "input (1, 3, 5, 5)", "(N, 2, H, W)"]),
    "window": (lambda: nn.MaxPool2d(6).init(key(), (1, 2, 5, 5)), ShapeError,
               ["MaxPool2d(6)", "input (1, 2, 5, 5)", "(6, 6)"]),
    "GRU": (lambda: nn.GRU(2).apply(nn.GRU(2).init(key(), (3, 1, 4))[1], normal(3, 1, 5)),
            ShapeError, ["GRU(2)", "input (3, 1, 5)", "(..., 4)"]),
    "LayerNorm": (lambda: nn.LayerNorm().apply(nn.LayerNorm().init(key(), (1, 4))[1], normal(5)),
                  ShapeError, ["LayerNorm", "input (5,)", "(..., 4)"]),
    "BatchNorm": (lambda: nn.BatchNorm().apply(nn.BatchNorm().init(key(), (1, 4))[1],
                  normal(2, 5)), ShapeError, ["BatchNorm", "input (2, 5)", "(N, 4, ...)"]),
    "one example": (lambda: nn.BatchNorm().apply(nn.BatchNorm().init(key(), (1, 4))[1],
                    normal(1, 4), train=True), ShapeError, ["BatchNorm", "several elements"]),
    "Embedding": (lambda: nn.Embedding(5, 2).apply({"w": normal(5, 2)}, normal(3)), DtypeError,
                  ["Embedding(5, 2)", "integers from 0 to 4", "f64[3]"]),
    "sizes": (lambda: nn.Dense(0), OptionError, ["Dense(0)", "positive integers"]),
    "rate": (lambda: nn.Dropout(1), OptionError, ["Dropout(1)", "0 <= rate < 1"]),
    "no key": (lambda: nn.serial(nn.Dropout(0.5)).apply(((),), normal(2), train=True), OptionError,
               ["Dropout(0.5)", "needs a key", "random.split"]),
    "FanInSum": (lambda: nn.residual(nn.Dense(3)).init(key(), (1, 4)), ShapeError,
                 ["FanInSum", "(1, 3)", "(1, 4)"]),
    "parallel": (lambda: nn.parallel(nn.Tanh).apply(((),), [1, 2]), ShapeError,
                 ["parallel", "2 inputs", "FanOut(1)"]),
    "step size": (lambda: optimizers.sgd("fast"), OptionError, ["make_schedule", "a str of shape ()"]),
    "mass": (lambda: optimizers.momentum(0.1, 1.0), OptionError, ["momentum", "mass=1.0"]),
    "b2": (lambda: optimizers.adamw(0.1, b2=2), OptionError, ["adam", "b2=2", "0 <= b2 < 1"]),
    "max_norm": (lambda: optimizers.clip_by_global_norm({}, 0), OptionError, ["max_norm > 0"]),
    "boundaries": (lambda: optimizers.piecewise_constant([1, 2], [1, 2]), OptionError,
                   ["piecewise_constant", "[1, 2]", "one value more"]),
    "gradient": (lambda: optimizers.adam().update(0, [1.0], optimizers.adam().init({"w": 1.0})),
                 ShapeError, ["adam.update", "[*]", "{'w': *}"]),
    "huber": (lambda: losses.huber(normal(3, 1), normal(3)), ShapeError,
              ["huber", "prediction (3, 1), target (3,)"]),
    "delta": (lambda: losses.huber(1.0, 1.0, 0), OptionError, ["huber", "delta=0"]),
    "Linear": (lambda: module.Linear.init(key(), 4, 3)(normal(2, 5)), ShapeError,
               ["Linear", "input (2, 5)", "(..., 4)"]),
    "module Conv2d": (lambda: module.Conv2d.init(key(), 2, 3, 3)(normal(1, 3, 5, 5)), ShapeError,
                      ["Conv2d", "(N, 2, H, W)"]),
    "MLP": (lambda: module.MLP.init(key(), 4), OptionError, ["MLP", "widths (4,)"]),
    "assignment": (lambda: setattr(module.Linear.init(key(), 4, 3), "w", 0), GraphError,
                   ["Linear", "assignment to w", "tree_at(lambda model: model.w"]),
    "combine": (lambda: module.combine([1, None], [2, None]), ShapeError, ["combine", "*"]),
    "tree_at": (lambda: module.tree_at(lambda t: 3, [1.0], 2), OptionError, ["tree_at", "int"]),
    "tree_at two": (lambda: module.tree_at(lambda t: (t[0], t[1]), [1.0, 2.0], 2), ShapeError,
                    ["tree_at", "(*, *)"]),
    "filter_jit": (lambda: module.filter_jit(lambda x: x)({1, 2}), DtypeError,
                   ["filter_jit", "a set", "hashable"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_what_refuses_and_what_was_given(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# --- Optimisers. ---

ALGORITHMS = {  # name: ours and era 3's
    "sgd": (optimizers.sgd(0.1), lambda p: optim.SGD(p, 0.1)),
    "momentum": (optimizers.momentum(0.1, 0.8), lambda p: optim.SGD(p, 0.1, 0.8)),
    "nesterov": (optimizers.momentum(0.1, 0.8, True), lambda p: optim.SGD(p, 0.1, 0.8, True)),
    "adagrad": (optimizers.adagrad(0.1), lambda p: optim.Adagrad(p, 0.1)),
    "rmsprop": (optimizers.rmsprop(0.01, 0.9), lambda p: optim.RMSProp(p, 0.01, 0.9)),
    "adam": (optimizers.adam(0.02), lambda p: optim.Adam(p, 0.02)),
    "adamw": (optimizers.adamw(0.02, weight_decay=0.1),
              lambda p: optim.AdamW(p, 0.02, weight_decay=0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_optimizer_makes_era_3s_weights_jitted_or_not(name):
    (init, update, get_params), theirs = ALGORITHMS[name]
    x, y, start = normal(20, 4), normal(20, 3, seed=1), normal(4, 3, seed=2)
    w = dynamic.nn.Parameter(start.copy())
    optimizer = theirs([w])
    for _ in range(30):
        optimizer.zero_grad()
        dynamic.ops.mean_squared_error(dynamic.ops.tanh(dynamic.tensor(x) @ w), y).backward()
        optimizer.step()

    def loss(p):
        return losses.mean_squared_error(fnp.tanh(x @ p["w"]), y)

    def step(i, state):
        return update(i, grad(loss)(get_params(state)), state)

    for run in (step, jit(step)):
        state = init({"w": start})
        for i in range(30):
            state = run(i, state)
        np.testing.assert_allclose(get_params(state)["w"], w.data, rtol=1e5 * EPS)
    assert abs(w.data - start).max() > 0.01


def test_states_keep_the_dtypes_and_the_structure_of_the_parameters():
    parameters = [{"w": np.ones((2, 3), np.float32)}, (np.zeros(3), None)]
    for (init, update, get_params), _ in ALGORITHMS.values():
        for run in (update, jit(update)):
            state = run(np.int64(0), tree_map(fnp.ones_like, parameters), init(parameters))
            leaves, treedef = tree_flatten(get_params(state))
            assert treedef == tree_flatten(parameters)[1]
            assert [leaf.dtype for leaf in leaves] == [np.float32, np.float64]


def test_schedules_have_era_3s_shapes_for_numbers_and_for_traced_steps():
    pairs = [
        (optimizers.exponential_decay(0.1, 5, 0.5), optim.schedules.exponential(0.5**0.2)),
        (optimizers.cosine_decay(0.1, 8, 0.2), optim.schedules.cosine(8, 0.2)),
        (optimizers.piecewise_constant([3, 6], [0.1, 0.05, 0.01]),
         optim.schedules.piecewise([3, 6], [1, 0.5, 0.1])),
        (optimizers.warmup(4, optimizers.cosine_decay(0.1, 5)),
         optim.schedules.warmup(4, optim.schedules.cosine(5))),
        (optimizers.make_schedule(0.1), optim.schedules.constant()),
    ]  # fmt: skip
    for ours, factor in pairs:
        want = [0.1 * factor(step) for step in range(12)]
        np.testing.assert_allclose([ours(step) for step in range(12)], want, rtol=1e2 * EPS)
        traced = jit(ours)
        np.testing.assert_allclose([traced(step) for step in range(12)], want, rtol=1e2 * EPS)


def test_clipping_keeps_the_direction_and_leaves_short_gradients_alone():
    g = {"a": np.array([3.0, 0.0]), "b": np.array(4.0, np.float32)}
    assert optimizers.global_norm(g) == 5
    clipped = optimizers.clip_by_global_norm(g, 1.0)
    # As in era 3, a millionth is added to the norm.
    np.testing.assert_allclose(clipped["a"], [3 / 5.000001, 0], rtol=4 * EPS)
    np.testing.assert_allclose(clipped["b"], 4 / 5.000001, rtol=2e-7)
    assert clipped["b"].dtype == np.float32
    same = optimizers.clip_by_global_norm(g, 5.5)
    np.testing.assert_array_equal(same["a"], g["a"])


def test_an_ensemble_is_a_vmap_over_init_and_update_and_each_member_trains_as_if_alone():
    x, y = normal(16, 4), np.arange(16) % 3
    net, adam = nn.serial(nn.Dense(8), nn.Tanh, nn.Dense(3)), optimizers.adam(0.05)

    def init(key):
        return adam.init(doubled(net.init(key, (-1, 4))[1]))

    def loss(p):
        return losses.softmax_cross_entropy(net.apply(p, x), y)

    def step(i, state):
        return adam.update(i, grad(loss)(adam.get_params(state)), state)

    keys = random.split(key(), 3)
    states = vmap(init)(keys)
    together = jit(vmap(step, (None, 0)))
    for i in range(20):
        states = together(i, states)
    for k, own in enumerate(keys):
        state = init(own)
        for i in range(20):
            state = step(i, state)
        for a, b in zip(tree_flatten(states)[0], tree_flatten(state)[0], strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e6 * EPS, atol=1e4 * EPS)
        assert loss(adam.get_params(state)) < 0.9 * loss(adam.get_params(init(own)))


def test_step_sizes_may_be_traced_so_vmap_tries_several_at_once():
    def after(rate):
        sgd = optimizers.sgd(rate)
        state = sgd.init(2.0 * np.ones(3))
        return sgd.get_params(sgd.update(0, np.ones(3), state))

    np.testing.assert_allclose(
        vmap(after)(np.array([0.1, 0.5])), [[1.9] * 3, [1.5] * 3], rtol=2 * EPS
    )


# --- Losses. ---

LOSSES = {
    "huber": (losses.huber, dynamic.ops.huber_loss, normal(4, 3)),
    "bce": (losses.binary_cross_entropy_with_logits,
            dynamic.ops.binary_cross_entropy_with_logits,
            np.random.default_rng(0).random((4, 3))),
    "hinge": (losses.hinge, dynamic.ops.hinge_loss, np.sign(normal(4, 3))),
    "mse": (losses.mean_squared_error, dynamic.ops.mean_squared_error, normal(4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_era_3s_and_the_numeric_ones(name):
    ours, theirs, target = LOSSES[name]
    x = 3 * normal(4, 3, seed=1)
    t = dynamic.tensor(x, requires_grad=True)
    want = theirs(t, target)
    want.backward()
    value, g = value_and_grad(ours)(x, target)
    np.testing.assert_allclose(value, want.data, rtol=1e2 * EPS)
    np.testing.assert_allclose(g, t.grad.data, rtol=1e2 * EPS, atol=EPS)
    check_gradient(lambda x: ours(x, target), g, x)


def test_binary_cross_entropy_is_exact_for_large_logits_and_smooth_at_zero():
    f = losses.binary_cross_entropy_with_logits
    for logit, target, want in (
        (1000.0, 0.0, 1000.0),
        (-1000.0, 0.0, 0.0),
        (-40.0, 0.0, np.exp(-40)),
    ):
        np.testing.assert_allclose(f(np.array([logit]), np.array([target])), want, rtol=2 * EPS)
    assert grad(f)(np.zeros(1), np.zeros(1)).tolist() == [0.5]
    assert grad(f)(np.array([1000.0]), np.ones(1)).tolist() == [0.0]


def test_the_gradient_of_the_l2_penalty_is_the_tree_of_parameters():
    tree = {"w": normal(3, 2), "b": (normal(2), np.array(2.0))}
    np.testing.assert_allclose(
        losses.l2(tree), sum((p**2).sum() for p in tree_flatten(tree)[0]) / 2, rtol=4 * EPS
    )
    g = grad(losses.l2)(tree)
    tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2 * EPS), g, tree)


# --- Models as trees. ---


class Scale(module.Module):
    """The smallest module."""

    factor: object
    power: int = module.field(static=True, default=1)

    def __call__(self, x):
        """Return factor * x**power."""
        return self.factor * x**self.power


def test_a_module_is_a_tree_of_its_arrays_with_static_fields_in_the_structure():
    model = Scale(np.array(3.0), 2)
    leaves, treedef = tree_flatten(model)
    assert leaves == [3.0]
    assert treedef != tree_flatten(Scale(np.array(3.0), 3))[1]
    double = tree_map(lambda p: 2 * p, model)
    assert isinstance(double, Scale)
    assert (double.factor, double.power, model.factor) == (6.0, 2, 3.0)
    g = grad(lambda m: m(5.0))(model)
    assert isinstance(g, Scale)
    assert (g.factor, g.power) == (25.0, 2)
    assert vmap(lambda m: m(2.0))(Scale(np.array([1.0, 2.0]), 3)).tolist() == [8.0, 16.0]
    assert jit(lambda m, x: m(x))(model, 4.0) == 48.0


MODULES = {
    "Linear": (lambda: module.Linear.init(key(), 4, 3), (5, 4)),
    "no bias": (lambda: module.Linear.init(key(), 4, 3, bias=False), (5, 4)),
    "Conv2d": (lambda: module.Conv2d.init(key(), 2, 3, 2, stride=2, padding=1), (2, 2, 5, 4)),
    "LayerNorm": (lambda: module.LayerNorm.init(4), (5, 4)),
    "MLP": (lambda: module.MLP.init(key(), 4, 6, 3, activation=fnp.tanh), (5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_gradient_of_a_module_is_the_numeric_one_and_it_round_trips(name):
    make, shape = MODULES[name]
    model = doubled(make())
    leaves, treedef = tree_flatten(model)
    x = normal(*shape)
    weights = normal(*model(x).shape, seed=1)

    def objective(x, *leaves):
        it = iter(leaves)
        return fnp.sum(weights * tree_map(lambda _: next(it), model)(x))

    slopes = grad(objective, tuple(range(1 + len(leaves))))(x, *leaves)
    check_gradient(jit(objective), list(slopes), [x, *leaves])
    by_model = grad(lambda m: fnp.sum(weights * m(x)))(model)
    assert tree_flatten(by_model)[1] == treedef
    for a, b in zip(tree_flatten(by_model)[0], slopes[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e3 * EPS, atol=1e2 * EPS)


def test_modules_and_pairs_compute_the_same():
    x = normal(2, 2, 6, 6).astype(np.float32)
    conv, layer = module.Conv2d.init(key(3), 2, 4, 3, padding=1), nn.Conv2d(4, 3, padding=1)
    parameters = layer.init(key(3), x.shape)[1]
    np.testing.assert_array_equal(parameters["w"], conv.w)
    np.testing.assert_array_equal(conv(x), layer.apply(parameters, x))

    cell = module.LSTMCell.init(key(4), 3, 5)
    xs, start = normal(6, 2, 3).astype(np.float32), np.zeros((2, 5), np.float32)

    def step(state, x):
        state = cell(state, x)
        return state, state[0]

    _, ys = scan(step, (start, start), xs)
    parameters = {"wx": cell.wx, "wh": cell.wh, "b": cell.b}
    np.testing.assert_allclose(ys, nn.LSTM(5).apply(parameters, xs), rtol=1e-5, atol=1e-6)


def test_partition_and_combine_are_inverse():
    tree = [{"a": np.ones(2), "b": 3}, (None, "text", np.arange(2)), Scale(2.5)]
    arrays, rest = module.partition(tree)
    assert [type(x) for x in tree_flatten(arrays)[0]] == [np.ndarray] * 2
    assert tree_flatten(rest)[0] == [3, "text", 2.5]
    for back in (module.combine(arrays, rest), module.combine(rest, arrays)):
        leaves, treedef = tree_flatten(back)
        assert treedef == tree_flatten(tree)[1]
        assert all(a is b for a, b in zip(leaves, tree_flatten(tree)[0], strict=True))
    floats, _ = module.partition(tree, module.is_inexact_array)
    assert len(tree_flatten(floats)[0]) == 1
    with pytest.raises(ShapeError, match="do not complete each other"):
        module.combine([np.ones(1)], (None,))


def test_filter_grad_differentiates_floating_arrays_and_passes_the_rest_along():
    model = module.Sequential((module.Linear.init(key(), 3, 3), fnp.tanh, Scale(np.arange(3))))
    x = normal(2, 3)

    def loss(m, x, power=2):
        y = m(x)
        return fnp.sum(y**power), y

    g, aux = module.filter_grad(loss, has_aux=True)(model, x, power=3)
    np.testing.assert_array_equal(aux, model(x))
    assert g.layers[1] is None
    assert g.layers[2].factor is None
    want = grad(lambda p: loss(module.Sequential((p, *model.layers[1:])), x, 3)[0])(model.layers[0])
    np.testing.assert_array_equal(g.layers[0].w, want.w)
    value, again = module.filter_value_and_grad(lambda m, x: loss(m, x)[0])(model, x)
    np.testing.assert_array_equal(value, loss(model, x)[0])
    assert tree_flatten(again)[1] == tree_flatten(g)[1]


def test_filter_jit_traces_arrays_and_takes_the_rest_for_static():
    traced = []

    @module.filter_jit
    def f(model, x, power, flag=True):
        traced.append(power)
        return {"y": model(x) ** power, "power": power, "model": model, "none": None, "flag": flag}

    model = module.Sequential((Scale(np.array(2.0)), fnp.tanh))
    x = normal(3)
    for power in (2, 3, 2, 2.0, True):
        out = f(model, x, power, flag="yes")
        np.testing.assert_allclose(out["y"], np.tanh(2 * x) ** power, rtol=1e1 * EPS)
        assert (type(out["power"]), out["power"]) == (type(power), power)
        assert out["model"].layers[1] is fnp.tanh
        assert out["flag"] == "yes"
        assert out["none"] is None
    assert [(type(p), p) for p in traced] == [(int, 2), (int, 3), (float, 2.0), (bool, True)]
    f(model, x[:2], 2, flag="yes")
    assert len(traced) == 5


def test_tree_at_changes_a_copy_and_shares_the_rest():
    model = module.MLP.init(key(), 4, 6, 3)
    bias = np.ones(6, np.float32)
    new = module.tree_at(lambda m: m.layers[0].b, model, bias)
    assert new.layers[0].b is bias
    assert new.layers[0].w is model.layers[0].w
    assert not model.layers[0].b.any()
    swapped = module.tree_at(lambda t: (t[1], t[0]), [1.0, 2.0, 3.0], (10.0, 20.0))
    assert swapped == [20.0, 10.0, 3.0]
    lean = module.tree_at(lambda m: m.layers[1].b, model, None)
    assert lean.layers[1].b is None
    assert lean(normal(2, 4)).shape == (2, 3)
    frozen = module.tree_at(lambda m: m.layers, model, tree_map(np.zeros_like, model.layers))
    assert not any(p.any() for p in tree_flatten(frozen)[0])


# --- Whole trainings: 1,500 digits to train on, 297 to test on. ---


def batches(data, epochs, size=50):
    order = np.random.default_rng(0)
    for _ in range(epochs):
        shuffled = order.permutation(len(data.y_train))
        for k in range(0, len(shuffled), size):
            yield data.x_train[shuffled[k : k + size]], data.y_train[shuffled[k : k + size]]


def test_pairs_learn_the_digits():
    data = datasets.digits(images=True)
    layer = nn.serial(
        nn.Conv2d(16, 3, padding=1), nn.BatchNorm(), nn.Relu, nn.MaxPool2d(2), nn.Flatten,
        nn.Dropout(0.2), nn.Dense(10),
    )  # fmt: skip
    shape, parameters = layer.init(key(), (-1, 1, 8, 8))
    assert shape == (-1, 10)
    adam = optimizers.adam(optimizers.cosine_decay(0.01, 300))

    @jit
    def step(i, own, state, x, y):
        def loss(p):
            return losses.softmax_cross_entropy(layer.apply(p, x, key=own, train=True), y)

        value, g = value_and_grad(loss)(adam.get_params(state))
        return value, adam.update(i, optimizers.clip_by_global_norm(g, 5.0), state)

    state, keys = adam.init(parameters), random.split(key(1), 300)
    for i, (x, y) in enumerate(batches(data, 10)):
        _, state = step(i, keys[i], state, x, y)
    parameters = jit(layer.observe)(adam.get_params(state), data.x_train)[1]
    accuracy = (layer.apply(parameters, data.x_test).argmax(1) == data.y_test).mean()
    assert accuracy > 0.97


def test_modules_learn_the_digits():
    data = datasets.digits()
    model = module.MLP.init(key(), 64, 64, 10)
    init, update, get_params = optimizers.momentum(0.1)

    @module.filter_jit
    def step(state, x, y):
        def loss(model):
            return losses.softmax_cross_entropy(model(x), y) + 1e-4 * losses.l2(model)

        return update(0, module.filter_grad(loss)(get_params(state)), state)

    state = init(model)
    for x, y in batches(data, 15):
        state = step(state, x, y)
    model = get_params(state)
    assert isinstance(model, module.MLP)
    assert {p.dtype for p in tree_flatten(model)[0]} == {np.dtype(np.float32)}
    accuracy = (model(data.x_test).argmax(1) == data.y_test).mean()
    assert accuracy > 0.96
