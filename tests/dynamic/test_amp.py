"""Mixed precision, on the CPU: which dtype each operation gets, and what scaling saves."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

from workbench import datasets, dynamic
from workbench.dynamic import Function, amp, nn, ops, optim
from workbench.dynamic.amp import GradScaler, autocast
from workbench.dynamic.batching import batching
from workbench.dynamic.tensor import mode
from workbench.errors import DtypeError, GraphError, OptionError

HALF, SINGLE, DOUBLE = np.float16, np.float32, np.float64


def normal(*shape, dtype=SINGLE, seed=0, **options):
    data = np.random.default_rng(seed).standard_normal(shape)
    return dynamic.tensor(data.astype(dtype), **options)


# --- halves ------------------------------------------------------------------------------

OPS = {
    "add": lambda ops, x, y: x + y,
    "multiply": lambda ops, x, y: x * y,
    "divide": lambda ops, x, y: x / (2 + y * y),
    "matmul": lambda ops, x, y: x @ y.T,
    "affine": lambda ops, x, y: ops.affine(x, y.T, y[:, 0]),
    "einsum": lambda ops, x, y: ops.einsum("ij,kj->ik", x, y),
    "exp": lambda ops, x, y: ops.exp(x),
    "tanh": lambda ops, x, y: ops.tanh(x),
    "sigmoid": lambda ops, x, y: ops.sigmoid(x),
    "gelu": lambda ops, x, y: ops.gelu(x),
    "softmax": lambda ops, x, y: ops.softmax(x),
    "logsumexp": lambda ops, x, y: ops.logsumexp(x, axis=1),
    "layer_norm": lambda ops, x, y: ops.layer_norm(x),
    "mean": lambda ops, x, y: ops.mean(x * x, axis=0),
    "max": lambda ops, x, y: ops.max(x, axis=1),
    "getitem": lambda ops, x, y: x[np.array([3, 0, 3])],
    "concatenate": lambda ops, x, y: ops.concatenate([x, y], axis=1),
    "conv2d": lambda ops, x, y: ops.conv2d(x.reshape(1, 1, 4, 4), y.reshape(1, 1, 4, 4)[..., :2]),
    "max_pool2d": lambda ops, x, y: ops.max_pool2d(x.reshape(1, 1, 4, 4), 2),
    "softmax_cross_entropy": lambda ops, x, y: ops.softmax_cross_entropy(x, np.arange(4)),
}


@pytest.mark.parametrize("name", OPS)
def test_ops_of_halves_are_right_to_half_precision(name):
    """Value and gradients, against the same numbers in float64."""
    found = {}
    for dtype in (HALF, DOUBLE):
        inputs = [normal(4, 4, dtype=HALF, seed=k).astype(dtype) for k in (1, 2)]
        inputs = [x.requires_grad_() for x in inputs]
        y = OPS[name](ops, *inputs)
        g = normal(*y.shape, dtype=HALF, seed=3).astype(dtype)
        found[dtype] = [y, *dynamic.grad(y, inputs, [g], allow_unused=True)]
    for half, exact in zip(found[HALF], found[DOUBLE], strict=True):
        assert (half is None) == (exact is None)
        if half is not None:
            assert half.dtype == HALF
            limit = 8 * np.finfo(HALF).eps * max(1, np.abs(exact.data).max())
            np.testing.assert_allclose(half.data, exact.data, rtol=0, atol=limit)


def test_a_conversion_is_recorded_and_its_gradient_comes_back():
    x = normal(3, requires_grad=True)
    assert x.to(SINGLE) is x.to(dtype=SINGLE) is x.to("cpu") is x.to() is x
    y = x.to(HALF)
    assert (y.dtype, x.to("cpu", HALF).dtype) == (HALF, HALF)
    (g,) = dynamic.grad(y.sum(), x)
    assert g.dtype == SINGLE
    assert x.to(np.int64).requires_grad is False


@pytest.mark.parametrize("dtype", ["bfloat16", SINGLE, "int8"])
def test_autocast_refuses_what_is_no_half_precision_here(dtype, monkeypatch):
    monkeypatch.setattr("workbench.arrays.gpu_problem", lambda: "no GPU here")
    with pytest.raises(DtypeError) as caught, autocast(dtype):
        pass
    assert "expected: float16, or bfloat16 on a GPU" in str(caught.value)
    assert ("fix:      no GPU here" in str(caught.value)) == (dtype == "bfloat16")


# --- autocast ----------------------------------------------------------------------------


def classes(cls=Function):
    for each in cls.__subclasses__():
        yield each
        yield from classes(each)


def test_the_lists_name_operations_each_in_one_of_them():
    names = {each.name for each in classes()}
    assert not {*amp.HALF, *amp.SINGLE} - names
    assert not set(amp.HALF) & set(amp.SINGLE)


def test_each_operation_gets_the_precision_that_is_chosen_for_it():
    x, w = normal(4, 3, requires_grad=True), normal(3, 2, seed=1, requires_grad=True)
    with autocast():
        h = ops.affine(x, w)
        assert h.dtype == HALF
        assert ops.matmul(x.data, w).dtype == HALF  # A plain array too.
        assert (h + 1).dtype == HALF
        assert (h * normal(4, 2)).dtype == SINGLE  # The widest of the two.
        assert ops.concatenate([h, normal(1, 2)]).dtype == SINGLE
        assert ops.exp(h).dtype == ops.softmax(h).dtype == h.sum().dtype == SINGLE
        assert ops.layer_norm(h).dtype == ops.norm(h).dtype == SINGLE
        assert ops.inv(w[:2] @ w[:2].T + np.eye(2, dtype=SINGLE)).dtype == SINGLE
        assert ops.softmax_cross_entropy(h, np.zeros(4, int)).dtype == SINGLE
        assert (h * np.float64(2)).dtype == HALF  # A number, no array.
        assert (normal(2, 2, dtype=DOUBLE) @ w.data.T).dtype == DOUBLE
        assert h[np.array([0])].dtype == HALF
    assert (x @ w).dtype == SINGLE


def test_gradients_reach_the_float32_weights_in_float32():
    w = normal(3, 2, requires_grad=True)
    x = normal(5, 3, seed=1)
    with autocast():
        loss = ops.mean_squared_error(x @ w, normal(5, 2, seed=2))
    assert loss.dtype == SINGLE
    loss.backward()
    assert w.grad.dtype == w.dtype == SINGLE
    exact = dynamic.grad(ops.mean_squared_error(x @ w, normal(5, 2, seed=2)), w)[0]
    np.testing.assert_allclose(w.grad.data, exact.data, atol=4e-3)
    assert (w.grad.data != exact.data).any()


def test_second_order_works_inside():
    w = normal(3, 3, requires_grad=True)
    with autocast():
        (g,) = dynamic.grad((ops.tanh(w @ w) ** 2).sum(), w, create_graph=True)
        (h,) = dynamic.grad((g * g).sum(), w)
    assert g.dtype == h.dtype == SINGLE
    (g,) = dynamic.grad((ops.tanh(w @ w) ** 2).sum(), w, create_graph=True)
    exact = dynamic.grad((g * g).sum(), w)[0].data
    np.testing.assert_allclose(h.data, exact, atol=2e-2 * np.abs(exact).max())


def test_an_edit_in_place_keeps_the_dtype_of_what_is_edited():
    x, v = normal(4), normal(2, dtype=HALF, requires_grad=True)
    with autocast():
        x[1:3] = v
    assert (x.dtype, x.requires_grad) == (SINGLE, True)
    x.sum().backward()
    assert v.grad.dtype == HALF
    np.testing.assert_array_equal(v.grad.data, [1, 1])


def test_contexts_nest_and_leave_what_was_there_before(monkeypatch):
    seen = []

    def outer(cls, args):
        seen.append(cls.name)
        mode.intercept = None
        try:
            return cls.apply(*args)
        finally:
            mode.intercept = outer

    monkeypatch.setattr(mode, "intercept", outer)
    with autocast(), autocast():
        assert (normal(2, 2) @ normal(2, 2)).dtype == HALF
    assert mode.intercept is outer
    assert seen == ["astype", "astype", "matmul"]  # Once each, with two autocasts.


def test_a_failing_operation_leaves_autocast_on():
    with autocast():
        with pytest.raises(ValueError, match="shapes do not fit"):
            normal(2, 3) @ normal(2, 3)
        assert (normal(2, 2) @ normal(2, 2)).dtype == HALF


# --- scaling -----------------------------------------------------------------------------


def test_small_gradients_vanish_without_scaling_and_stay_with_it():
    w = dynamic.tensor(np.ones((1, 1), SINGLE), requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=1.0), GradScaler()

    def loss():
        with autocast():
            return 1e-8 * (w @ np.ones((1, 1), SINGLE)).sum()  # The smallest half is 6e-8.

    loss().backward()
    assert w.grad.item() == 0
    optimizer.zero_grad()
    scaler.scale(loss()).backward()
    assert scaler.unscale_(optimizer)
    assert w.grad.item() == pytest.approx(1e-8, rel=1e-3, abs=0)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    w = dynamic.tensor(np.ones((1, 1), SINGLE), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5, momentum=0.9)
    scaler = GradScaler(growth_interval=2)
    for good in (False, True, True):
        optimizer.zero_grad()
        with autocast():
            loss = (w @ np.ones((1, 1), SINGLE)).sum()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "overflow encountered in cast")
            scaler.scale(loss).backward()  # 2**16 is beyond the largest half.
        before = w.item()
        assert scaler.step(optimizer) is good
        assert (w.item() != before) is good
        scaler.update()
        if not good:
            assert scaler.current == 2.0**15
            assert not optimizer.state_dict().get("0.velocity", np.zeros(1)).any()
    assert scaler.current == 2.0**16  # It grew after two good steps in a row.


def test_the_state_of_a_scaler_goes_on():
    w = dynamic.tensor(np.ones(2, SINGLE), requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=0.1), GradScaler(256, growth_interval=3)
    for _ in range(2):
        scaler.scale((w * w).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    resumed = GradScaler(growth_interval=3)
    resumed.load_state_dict(scaler.state_dict())
    for each in (scaler, resumed):
        w.grad = None
        each.scale((w * w).sum()).backward()
        each.step(optimizer)
        each.update()
        assert each.current == 512
    with pytest.raises(OptionError, match="no good_steps"):
        resumed.load_state_dict({"scale": np.array(1.0)})


def test_a_scaler_is_used_in_order():
    w = dynamic.tensor(np.ones(2, SINGLE), requires_grad=True)
    optimizer, scaler = optim.SGD([w], lr=0.1), GradScaler()
    with pytest.raises(GraphError, match="no optimiser was stepped"):
        scaler.update()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    np.testing.assert_array_equal(w.grad.data, [1, 1])
    with pytest.raises(GraphError, match="were unscaled since the last update"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)  # Does not divide again.
    np.testing.assert_allclose(w.data, [0.9, 0.9])
    scaler.update()


def test_half_precision_weights_are_refused():
    w = dynamic.tensor(np.ones(2, HALF), requires_grad=True)
    w.sum().backward()
    with pytest.raises(DtypeError, match=r"float16, shape \(2,\)"):
        GradScaler().step(optim.SGD([w], lr=0.1))


@pytest.mark.parametrize(
    ("option", "value"),
    [("init_scale", 0), ("growth_factor", 1), ("backoff_factor", 1), ("growth_interval", 0)],
)
def test_a_scaler_refuses_options_out_of_range(option, value):
    with pytest.raises(OptionError, match=f"{option} is not usable"):
        GradScaler(**{option: value})


def test_digits_are_learnt_as_well_in_mixed_precision():
    data = datasets.load("digits")
    x, labels = np.asarray(data.x_train, SINGLE)[:512], np.asarray(data.y_train)[:512]
    losses = {}
    for mixed in (False, True):
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.Linear(64, 32, rng), nn.ReLU(), nn.Linear(32, 10, rng))
        optimizer, scaler = optim.Adam(model.parameters(), lr=0.01), GradScaler(2.0**10)
        losses[mixed] = []
        for k in range(60):
            batch = slice(64 * (k % 8), 64 * (k % 8) + 64)
            optimizer.zero_grad()
            with autocast() if mixed else nullcontext():
                loss = ops.softmax_cross_entropy(model(x[batch]), labels[batch])
            (scaler.scale(loss) if mixed else loss).backward()
            if mixed:
                assert scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step()
            losses[mixed].append(loss.item())
        assert {p.dtype for p in model.parameters()} == {np.dtype(SINGLE)}
    assert np.mean(losses[False][-8:]) < 0.3 * losses[False][0]
    np.testing.assert_allclose(losses[True], losses[False], rtol=0.05, atol=0.01)
    assert losses[True] != losses[False]


def test_autocast_inside_batching_chooses_as_it_does_without():
    def loss():
        w = normal(3, 2)
        rows = [ops.tanh(normal(1, 3, seed=k) @ w).sum() for k in range(4)]
        return sum(rows[1:], rows[0])

    with autocast():
        expected = loss()
    with batching() as batch, autocast():
        found = loss()
    assert batch.report.after < batch.report.before
    assert found.dtype == SINGLE
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.item() != pytest.approx(loss().item(), rel=1e-6)
