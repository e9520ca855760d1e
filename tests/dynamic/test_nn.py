"""Modules: what they own, how their state is saved, moved and shown; and every layer."""

import copy
from functools import partial

import numpy as np
import pytest
import scipy.special

from workbench import dynamic
from workbench.dynamic import nn, ops, optim
from workbench.errors import (
    DeviceError,
    DtypeError,
    OptionError,
    ShapeError,
    UnknownNameError,
    WorkbenchError,
)


class Model(nn.Module):
    """One of everything that a module finds."""

    def __init__(self, rng=None):
        self.shared = nn.Linear(3, 3, rng)
        self.blocks = [self.shared, nn.BatchNorm(3)]
        self.heads = {"a": nn.Linear(3, 2, rng, bias=False), "b": [nn.Tanh()]}
        self.scales = [nn.Parameter(np.ones(1, np.float32)), 3.0]
        self.steps = nn.Buffer(np.array(7))

    def forward(self, x, head="a"):
        for block in self.blocks:
            x = block(x)
        return self.heads[head](x) * self.scales[0]


NAMES = [
    "scales.0", "shared.w", "shared.b", "blocks.1.gamma", "blocks.1.beta", "heads.a.w",
]  # fmt: skip
BUFFERS = ["steps", "blocks.1.mean", "blocks.1.variance"]


def test_everything_is_found_once_with_its_path():
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [name for name, _ in model.named_buffers()] == BUFFERS
    assert [name for name, _ in model.named_modules()] == [
        "", "shared", "blocks.1", "heads.a", "heads.b.0"
    ]  # fmt: skip
    assert [name for name, _ in model.children()] == [
        "shared", "blocks.0", "blocks.1", "heads.a", "heads.b.0"
    ]  # fmt: skip
    assert len(model.parameters()) == len(NAMES)
    assert [each.requires_grad for each in model.buffers()] == [False] * 3
    seen = []
    assert model.apply(seen.append) is model
    assert seen == list(model.modules())


def test_a_module_that_knows_its_parent_is_still_a_finite_tree():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model[1].parent = model
    assert len(list(model.modules())) == 3
    assert "parent: Sequential  (as above)" in repr(model)


def test_options_reach_forward():
    model = Model()
    assert model(np.ones((4, 3), np.float32), head="a").shape == (4, 2)
    with pytest.raises(OptionError, match="this module has no forward"):
        nn.Module()(1)


def test_parameters_freeze_and_thaw():
    model = Model()
    assert model.requires_grad_(False) is model
    y = model(np.ones((4, 3), np.float32))
    assert not y.requires_grad
    model.heads["a"].requires_grad_()
    model(np.ones((4, 3), np.float32)).sum().backward()
    assert [p.grad is not None for p in model.parameters()] == [False] * 5 + [True]


# --- the state ---------------------------------------------------------------------------


def test_a_state_is_copied_out_and_loaded_in_place():
    model, other = Model(np.random.default_rng(0)), Model(np.random.default_rng(1))
    state = model.state_dict()
    assert list(state) == NAMES + BUFFERS
    held = other.shared.w, other.shared.w.data
    assert other.load_state_dict(state) == ([], [])
    assert other.shared.w is held[0]
    assert other.shared.w.data is held[1]
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    state["shared.w"][...] = 0
    assert model.shared.w.data.any()
    assert other.shared.w.data.any()


def test_loading_counts_as_an_edit():
    layer = nn.Linear(2, 2)
    y = layer(dynamic.tensor(np.ones((1, 2), np.float32), requires_grad=True))
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(WorkbenchError, match="edited in place"):
        y.sum().backward()


def test_names_that_do_not_match_are_refused_with_what_was_meant():
    model = Model()
    state = model.state_dict()
    state["shared.W"], state["other"] = state.pop("shared.w"), np.zeros(1)
    before = model.state_dict()
    with pytest.raises(UnknownNameError) as refusal:
        model.load_state_dict(state)
    text = str(refusal.value)
    assert "Model.load_state_dict: the names are not those of this module" in text
    assert "given:    missing: shared.w; unexpected: shared.W, other" in text
    assert "fix:      did you mean 'shared.w' for 'shared.W'? Or pass strict=False" in text
    state["shared.b"] = np.ones(3, np.float32)
    assert model.load_state_dict(state, strict=False) == (["shared.w"], ["shared.W", "other"])
    assert model.shared.b.data.all()
    np.testing.assert_array_equal(model.shared.w.data, before["shared.w"])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (np.zeros((2, 3), np.float32), ShapeError,
         "heads.a.w has another shape\n  given:    (2, 3)\n  expected: (3, 2)"),
        (np.zeros((3, 2)), DtypeError,
         "heads.a.w has another dtype\n  given:    float64\n  expected: float32\n"
         "  fix:      convert the module: module.to(dtype=np.float64)"),
    ],
)  # fmt: skip
def test_one_value_that_does_not_fit_leaves_all_as_they_were(value, error, text):
    model = Model(np.random.default_rng(0))
    before = model.state_dict()
    state = {name: each + 1 for name, each in before.items()} | {"heads.a.w": value}
    with pytest.raises(error) as refusal:
        model.load_state_dict(state)
    assert text in str(refusal.value)
    for name, each in model.state_dict().items():
        np.testing.assert_array_equal(each, before[name])


def test_a_module_moves_whole_and_its_optimiser_goes_on():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, rng), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 2, rng))
    counter = model.counter = nn.Buffer(np.array([1, 2]))
    sgd = optim.SGD(model.parameters(), lr=0.1)
    model(np.ones((5, 3), np.float32)).sum().backward()
    parameters = model.parameters()
    assert model.to(dtype=np.float64) is model
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(p.dtype == p.grad.dtype == np.float64 for p in parameters)
    assert [b.dtype for b in model.buffers()] == [np.int64, np.float64, np.float64]
    assert counter.dtype == np.int64
    before = model[0].b.numpy()
    model.zero_grad()
    (model(np.ones((5, 3)) * np.arange(5)[:, None]) ** 2).sum().backward()
    expected = before - 0.1 * model[0].b.grad.data
    sgd.step()
    np.testing.assert_array_equal(model[0].b.data, expected)


def test_a_module_moves_to_devices_and_dtypes_that_are_there():
    model = nn.Linear(2, 2)
    assert model.to("cpu").w.device == "cpu"
    with pytest.raises(UnknownNameError, match="there is no device called 'tpu'"):
        model.to("tpu")
    with pytest.raises(DtypeError, match=r"Module\.to: a floating dtype is needed here"):
        model.to(dtype=np.int64)
    assert model.w.dtype == np.float32


@pytest.mark.gpu
def test_a_module_moves_to_the_gpu_and_computes_the_same():
    rng = np.random.default_rng(0)
    model, x = nn.LSTM(3, 4, 2, rng), rng.standard_normal((5, 2, 3)).astype(np.float32)
    lengths = np.array([5, 3])
    results = []
    for device in ("cpu", "gpu"):
        model.to(device).zero_grad()
        y, _ = model(dynamic.tensor(x, device=device), lengths=lengths)
        (y * y).sum().backward()
        assert {p.device for p in model.parameters()} == {device}
        results.append([y.numpy(), *(p.grad.numpy() for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_without_a_gpu_the_move_is_refused():
    if dynamic.nn.module.arrays.has_gpu():
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceError, match="there is no GPU to use"):
        nn.Linear(2, 2).to("gpu")


def test_what_a_module_looks_like():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm(2), nn.MaxPool2d(2), nn.LSTM(3, 2))
    assert repr(model).splitlines() == [
        "Sequential  [72 parameters]",
        "  layers.0: Conv2d  w (2, 1, 3, 3)  b (2,)  stride=(1, 1), padding=(0, 0)  "
        "[20 parameters]",
        "  layers.1: BatchNorm  gamma (2,)  beta (2,)  mean (2,)  variance (2,)  "
        "momentum=0.1, eps=1e-05  [4 parameters]",
        "  layers.2: MaxPool2d  size=2",
        "  layers.3: LSTM  [48 parameters]",
        "    cells.0: LSTMCell  wx (3, 8)  wh (2, 8)  b (8,)  [48 parameters]",
    ]
    assert repr(nn.Linear(1000, 1000)).endswith("[1,001,000 parameters]")


# --- layers ------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
IMAGES, SEQUENCES, ROWS = (
    RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 4, 6, 6), (2, 4, 9), (5, 4))
)
LAYERS = [
    (partial(nn.Linear, 4, 3), ROWS, (5, 3)),
    (partial(nn.Linear, 9, 3), SEQUENCES, (2, 4, 3)),
    (partial(nn.Conv1d, 4, 3, 3, 2, 1), SEQUENCES, (2, 3, 5)),
    (partial(nn.Conv2d, 4, 3, (3, 2), 1, (1, 0)), IMAGES, (2, 3, 6, 5)),
    (partial(nn.ConvTranspose1d, 4, 3, 3, 2), SEQUENCES, (2, 3, 19)),
    (partial(nn.ConvTranspose2d, 4, 3, 2, 2), IMAGES, (2, 3, 12, 12)),
    (partial(nn.MaxPool1d, 3), SEQUENCES, (2, 4, 3)),
    (partial(nn.MaxPool2d, 3, stride=1, padding=1), IMAGES, (2, 4, 6, 6)),
    (partial(nn.AvgPool1d, 3), SEQUENCES, (2, 4, 3)),
    (partial(nn.AvgPool2d, 2), IMAGES, (2, 4, 3, 3)),
    (partial(nn.BatchNorm, 4), ROWS, ROWS.shape),
    (partial(nn.BatchNorm, 4), IMAGES, IMAGES.shape),
    (partial(nn.LayerNorm, (6, 6)), IMAGES, IMAGES.shape),
    (partial(nn.LayerNorm, 9), SEQUENCES, SEQUENCES.shape),
    (partial(nn.GroupNorm, 2, 4), IMAGES, IMAGES.shape),
    (nn.Flatten, IMAGES, (2, 144)),
    (partial(nn.MultiHeadAttention, 4, 2), SEQUENCES.transpose(2, 0, 1), (9, 2, 4)),
    (partial(nn.TransformerBlock, 4, 2), SEQUENCES.transpose(2, 0, 1), (9, 2, 4)),
    *((kind, ROWS, ROWS.shape) for kind in (
        nn.Tanh, nn.Sigmoid, nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus,
        nn.Softmax,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("make", "x", "shape"), LAYERS)
def test_every_layer_has_its_shape_and_dtype_and_gradients(make, x, shape):
    layer = make()
    x = dynamic.tensor(x, requires_grad=True)
    y = layer(x)
    assert (y.shape, y.dtype) == (shape, np.float32)
    (y * y).sum().backward()
    for each in (x, *layer.parameters()):
        assert each.grad.dtype == np.float32
        assert each.grad.data.any()
    wide = layer.to(dtype=np.float64)(x.numpy().astype(np.float64))
    np.testing.assert_allclose(dynamic.Tensor.numpy(wide) if layer.parameters() else wide, y.data,
                               rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "reference"),
    [
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.LeakyReLU(slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
        (nn.GELU(), lambda x: x * scipy.special.ndtr(x)),
        (nn.SiLU(), lambda x: x * scipy.special.expit(x)),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Softmax(axis=0), lambda x: scipy.special.softmax(x, axis=0)),
    ],
)
def test_activations_with_their_options(layer, reference):
    np.testing.assert_allclose(
        layer(dynamic.tensor(ROWS)).data, reference(ROWS), rtol=1e-4, atol=1e-6
    )


def test_losses_are_their_functions_with_options():
    logits, labels = dynamic.tensor(ROWS), np.array([0, 1, 2, 3, 0])
    p, t = ops.sigmoid(logits), (ROWS > 0).astype(np.float32)
    log_q, alike = ops.log_softmax(logits), np.ones(5)
    for loss, expected in (
        (nn.CrossEntropy(smoothing=0.1)(logits, labels), ops.cross_entropy(logits, labels, None, 0.1)),
        (nn.NLLLoss()(logits, labels), ops.nll_loss(logits, labels)),
        (nn.MultiMarginLoss(2.0)(logits, labels), ops.multi_margin_loss(logits, labels, 2.0)),
        (nn.BinaryCrossEntropy()(p, t), ops.binary_cross_entropy_with_logits(logits, t)),
        (nn.BinaryCrossEntropyWithLogits()(logits, t), ops.binary_cross_entropy(p, t)),
        (nn.MeanAbsoluteError()(logits, t), ops.absolute(logits - t).mean()),
        (nn.HuberLoss(delta=0.3)(logits, t), ops.huber_loss(logits, t, 0.3)),
        (nn.KLDivergence()(log_q, t / 4), ops.kl_divergence(log_q, t / 4)),
        (nn.HingeLoss()(logits, 2 * t - 1), ops.hinge_loss(logits, 2 * t - 1)),
        (nn.PoissonNLLLoss()(logits, t), ops.poisson_nll_loss(logits, t)),
        (nn.GaussianNLLLoss(eps=0.1)(logits, t, p), ops.gaussian_nll_loss(logits, t, p, 0.1)),
        (nn.CosineEmbeddingLoss(0.2)(logits, p, alike),
         ops.cosine_embedding_loss(logits, p, alike, 0.2)),
        (nn.TripletMarginLoss()(logits, p, t), ops.triplet_margin_loss(logits, p, t)),
        (nn.MeanSquaredError()(logits, t), ops.square(logits - t).mean()),
    ):  # fmt: skip
        assert (loss.shape, loss.dtype) == ((), np.float32)
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-5)


def test_batch_statistics_run_along_and_serve_evaluation():
    rng = np.random.default_rng(1)
    layer = nn.BatchNorm(3, momentum=0.25, dtype=np.float64)
    batches = [rng.standard_normal((8, 3, 2)) * 3 + 1 for _ in range(2)]
    mean, variance = np.zeros(3), np.ones(3)
    for x in batches:
        y = layer(x)
        np.testing.assert_allclose(y.data.mean((0, 2)), 0, atol=1e-12)
        np.testing.assert_allclose(y.data.var((0, 2)), 1, rtol=1e-4)
        mean = 0.75 * mean + 0.25 * x.mean((0, 2))
        variance = 0.75 * variance + 0.25 * x.var((0, 2), ddof=1)
    np.testing.assert_allclose(layer.mean.data, mean, rtol=1e-13)
    np.testing.assert_allclose(layer.variance.data, variance, rtol=1e-13)
    kept = layer.eval().state_dict()
    y = layer(x)
    expected = (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5)
    np.testing.assert_allclose(y.data, expected, rtol=1e-12)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, kept[name])
    with pytest.raises(ShapeError, match="BatchNorm: one element a channel has no variance"):
        layer.train()(np.zeros((1, 3)))


def test_attention_looks_only_where_it_may():
    rng = np.random.default_rng(2)
    layer = nn.MultiHeadAttention(4, 2, rng, dtype=np.float64)
    x, other = rng.standard_normal((3, 2, 4)), rng.standard_normal((5, 2, 4))
    causal = layer(x, causal=True)
    for t in range(1, 4):
        np.testing.assert_allclose(layer(x[:t], causal=True).data, causal.data[:t], rtol=1e-12)
    lengths = np.array([2, 5])
    cross = layer(x, other, lengths=lengths)
    assert cross.shape == (3, 2, 4)
    for k, n in enumerate(lengths):
        alone = layer(x[:, k : k + 1], other[:n, k : k + 1])
        np.testing.assert_allclose(cross.data[:, k], alone.data[:, 0], rtol=1e-12)
    past = np.tri(3, dtype=bool)
    np.testing.assert_allclose(layer(x, mask=past).data, causal.data, rtol=1e-12)
    for bad, error, text in (
        ({"mask": np.zeros((3, 3), bool)}, OptionError, "a query may look at no key"),
        ({"mask": np.ones((3, 3))}, DtypeError, "a mask is made of booleans"),
        ({"lengths": np.array([0, 3])}, ShapeError, "lengths do not fit the keys"),
    ):
        with pytest.raises(error, match=text):
            layer(x, **bad)


def test_attention_drops_weights_in_training_only():
    x = np.ones((6, 1, 4), np.float32)
    layer = nn.MultiHeadAttention(4, 2, np.random.default_rng(0), dropout=0.5)
    assert np.ptp(layer(x).data, axis=0).max() > 1e-3
    assert np.ptp(layer.eval()(x).data, axis=0).max() < 1e-6
    with pytest.raises(OptionError, match="dropout needs a source"):
        ops.scaled_dot_product_attention(ROWS, ROWS, ROWS, dropout=0.5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_block_normalises_before_or_after(norm_first):
    rng = np.random.default_rng(0)
    block = nn.TransformerBlock(4, 2, 8, rng, norm_first=norm_first, dtype=np.float64)
    x = rng.standard_normal((3, 2, 4)) * 5 + 1
    y = block(x, causal=True)
    normalised = np.abs(y.data.mean(axis=-1)).max() < 1e-12
    assert normalised != norm_first
    first, second = block.norms
    if norm_first:
        z = x + block.attention(first(x), causal=True)
        expected = z + block.feedforward(second(z))
    else:
        z = first(x + block.attention(x, causal=True))
        expected = second(z + block.feedforward(z))
    np.testing.assert_array_equal(y.data, expected.data)
    np.testing.assert_allclose(block(x[:2], causal=True).data, y.data[:2], rtol=1e-12)


def test_a_transformer_learns_to_copy_what_stood_before():
    rng = np.random.default_rng(0)
    table, head = nn.Embedding(5, 16, rng), nn.Linear(16, 5, rng)
    block = nn.TransformerBlock(16, 2, rng=rng)
    places = nn.sinusoidal_positions(8, 16)
    adam = optim.Adam([*table.parameters(), *block.parameters(), *head.parameters()], lr=0.01)
    for _ in range(80):
        x = rng.integers(0, 5, (8, 16))
        adam.zero_grad()
        y = head(block(table(x) + places, causal=True))
        loss = ops.softmax_cross_entropy(y[1:].reshape(-1, 5), x[:-1].reshape(-1))
        loss.backward()
        adam.step()
    assert loss.item() < 0.1 < np.log(5)


def test_positions_turn_at_their_own_speeds():
    places = nn.sinusoidal_positions(50, 6, np.float64)
    assert places.shape == (50, 1, 6)
    np.testing.assert_allclose(
        places[7, 0, 2:4], [np.sin(7 / 10000 ** (1 / 3)), np.cos(7 / 10000 ** (1 / 3))]
    )
    with pytest.raises(OptionError, match="features come in pairs"):
        nn.sinusoidal_positions(3, 5)


# --- initialisers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 500), ("glorot_normal", 2 / 500),
        ("he_uniform", 2 / 300), ("he_normal", 2 / 300),
        ("lecun_uniform", 1 / 300), ("lecun_normal", 1 / 300),
    ],
)  # fmt: skip
def test_variances_are_those_of_the_papers(name, variance):
    draw = getattr(nn.init, name)
    w = draw((300, 200), np.random.default_rng(0))
    assert w.dtype == np.float32
    assert abs(w.var() / variance - 1) < 0.02
    if "uniform" in name:
        assert 0.999 < np.abs(w).max() / (3 * variance) ** 0.5 <= 1
    kernels = draw((200, 75, 2, 2), np.random.default_rng(0), np.float64)  # 300 to 800.
    fans = {2 / 500: 2 / 1100}.get(variance, variance)
    assert abs(kernels.var() / fans - 1) < 0.02
    turned = draw((75, 200, 2, 2), np.random.default_rng(0), np.float64, (300, 800))
    assert abs(turned.var() / fans - 1) < 0.02
    np.testing.assert_array_equal(
        w, draw((300, 200), np.random.default_rng(0), np.float64).astype(np.float32)
    )


def test_other_ways_to_start():
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (3, 5), (4, 2, 3)):
        q = nn.init.orthogonal(shape, rng, np.float64, gain=2.0).reshape(shape[0], -1)
        small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    w = nn.init.truncated_normal((100, 100), rng, std=0.1)
    assert np.abs(w).max() <= 0.2 < 2.1 * w.std() + 0.05
    assert abs(w.std() / 0.1 - 0.8796) < 0.02  # Of a normal variable cut at two deviations.
    assert not nn.init.zeros((2,)).any()
    assert nn.init.ones((2,)).all()
    assert (nn.init.constant((2, 2), value=3.0) == 3).all()
    layer = nn.Linear(300, 200, rng, init=partial(nn.init.normal, std=0.02))
    assert abs(layer.w.data.std() / 0.02 - 1) < 0.02
    assert abs(nn.Conv2d(30, 20, 3, rng=rng, init=nn.init.he_normal).w.data.var() * 135 - 1) < 0.1
    assert abs(nn.Embedding(100, 50, rng).w.data.std() - 1) < 0.05
    with pytest.raises(ShapeError, match="fans need two axes"):
        nn.init.he_normal((3,))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.MaxPool2d(2, step=1), UnknownNameError,
         "MaxPool2d: there is no option called 'step'\n  given:    'step'\n"
         "  expected: one of size, stride, padding"),
        (lambda: nn.MaxPool2d(2, 2, 0, 1), OptionError, "MaxPool2d: there are too many options"),
        (lambda: nn.LeakyReLU(0.1, slope=0.1), OptionError, "LeakyReLU: there are too many"),
        (lambda: nn.Conv1d(1, 2, (3, 3)), OptionError,
         "Conv1d: size is not usable\n  given:    size=(3, 3)\n"
         "  expected: an int of at least 1, or 1 of them"),
        (lambda: nn.ConvTranspose2d(1, 2, 3, stride=0), OptionError,
         "ConvTranspose2d: stride is not usable"),
        (lambda: nn.GroupNorm(3, 4), OptionError, "GroupNorm: the channels do not part"),
        (lambda: nn.BatchNorm(0), OptionError, "BatchNorm: sizes are positive integers"),
        (lambda: nn.BatchNorm(3, 1.5), OptionError, "BatchNorm: momentum is a share"),
        (lambda: nn.MultiHeadAttention(6, 4), OptionError, "do not part into so many heads"),
        (lambda: nn.Linear(2, 3)(np.ones((4, 2, 5), np.float32)), ShapeError,
         "given:    x (4, 2, 5), w (2, 3)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(make, error, text):
    with pytest.raises(error) as refusal:
        make()
    assert text in str(refusal.value)


def test_a_copied_module_has_its_own_parameters():
    model = Model(np.random.default_rng(0))
    other = copy.deepcopy(model)
    other.shared.w.data[...] = 0
    assert model.shared.w.data.any()
    assert [name for name, _ in other.named_parameters()] == NAMES
