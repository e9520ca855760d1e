"""Recurrent networks: the fused sequences against the readable steps, and their layers."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import nn, ops, optim
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError

KINDS = {"rnn": (1, 1, ()), "lstm": (4, 2, ()), "gru": (3, 1, ((3,),))}
STEPS, N, D, H = 4, 3, 2, 3


def arguments(kind, dtype=np.float64):
    gates, states, extra = KINDS[kind]
    rng = np.random.default_rng(5)
    weights = ((D, gates * H), (H, gates * H), (gates * H,), *extra)
    shapes = [(STEPS, N, D), *[(N, H)] * states, *weights]
    return [dynamic.tensor(rng.standard_normal(s), requires_grad=True, dtype=dtype) for s in shapes]


def fused(kind, args, lengths=None):
    y = getattr(ops, kind)(*args, lengths=lengths)
    return ops.concatenate([y[0], y[1][None]]) if kind == "lstm" else y


def stepwise(kind, args, lengths=None):
    states = KINDS[kind][1]
    x, state, weights = args[0], args[1 : 1 + states], args[1 + states :]
    outputs = []
    for t in range(len(x)):
        after = getattr(ops, f"{kind}_cell")(x[t], *state, *weights)
        after = after if isinstance(after, tuple) else (after,)
        if lengths is not None:
            on = (t < lengths)[:, None]
            after = [ops.where(on, new, old) for new, old in zip(after, state, strict=True)]
        state = after
        outputs.append(state[0])
    return ops.stack([*outputs, *state[1:]])


@pytest.mark.parametrize("lengths", [None, np.array([4, 1, 3]), np.array([4, 4, 4])])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_sequence_is_its_steps(kind, lengths):
    args = arguments(kind)
    results = []
    for run in (fused, stepwise):
        y = run(kind, args, lengths)
        weights = np.random.default_rng(1).standard_normal(y.shape)
        results.append([y.data, *(g.data for g in dynamic.grad((y * weights).sum(), args))])
    for ours, known in zip(*results, strict=True):
        np.testing.assert_allclose(ours, known, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_order_is_that_of_the_steps(kind):
    args, lengths = arguments(kind), np.array([4, 2, 3])
    results = []
    for run in (fused, stepwise):
        gradients = dynamic.grad(ops.sum(run(kind, args, lengths) ** 2), args, create_graph=True)
        total = sum(ops.square(g).sum() for g in gradients)
        results.append([g.data for g in dynamic.grad(total, args)])
    for ours, known in zip(*results, strict=True):
        np.testing.assert_allclose(ours, known, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_arguments_that_come_from_each_other_keep_their_own_gradients(kind):
    """The first state is made of the input here: it must not be counted twice."""
    args = arguments(kind)
    states = KINDS[kind][1]
    results = []
    for create_graph in (False, True):
        x = args[0] * 1.0
        state = [ops.concatenate([x[0], x[1][:, :1]], axis=1)] * states
        y = fused(kind, [x, *state, *args[1 + states :]])
        (g,) = dynamic.grad(ops.sum(y * y), args[0], create_graph=create_graph)
        results.append(g.data)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_wanted_gradients_are_computed(kind):
    args = [each.detach() for each in arguments(kind)]
    args[-1].requires_grad = True
    y = fused(kind, args)
    (g,) = dynamic.grad(y.sum(), args[-1], retain_graph=True)
    assert g.shape == args[-1].shape
    for each in args:
        each.requires_grad = True
    everything = dynamic.grad(fused(kind, args).sum(), args)
    np.testing.assert_allclose(everything[-1].data, g.data, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_is_kept_gives_the_same_gradients_again(kind):
    args = arguments(kind)
    total = fused(kind, args, np.array([1, 4, 2])).sum()
    first, second = (dynamic.grad(total, args, retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("kind", KINDS)
def test_integers_stand_for_one_hot_rows(kind):
    args, ids = arguments(kind), np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]])
    results = []
    for x in (ids, np.eye(D)[ids]):
        y = fused(kind, [x, *args[1:]])
        gradients = dynamic.grad((y * y).sum(), args[1:], create_graph=True)
        second = dynamic.grad(sum(ops.square(g).sum() for g in gradients), args[1:])
        results.append([y.data, *(g.data for g in gradients), *(g.data for g in second)])
    for ours, known in zip(*results, strict=True):
        np.testing.assert_allclose(ours, known, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
def test_sequences_of_different_lengths_are_as_if_alone(make, layers):
    rng = np.random.default_rng(3)
    model = make(D, H, layers, rng, dtype=np.float64)
    sequences = [rng.standard_normal((n, 1, D)) for n in (2, 4, 1)]
    padded = np.full((4, 3, D), 7.0)
    for k, each in enumerate(sequences):
        padded[: len(each), k] = each[:, 0]
    lengths = np.array([len(each) for each in sequences])
    y, state = model(padded, lengths=lengths)
    (ops.square(y).sum() + sum(part.sum() for part in _parts(state))).backward()
    together = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    for k, each in enumerate(sequences):
        alone, last = model(each)
        np.testing.assert_allclose(y.data[: len(each), k], alone.data[:, 0], rtol=1e-13)
        for part, known in zip(_parts(state), _parts(last), strict=True):
            np.testing.assert_allclose(part.data[:, k], known.data[:, 0], rtol=1e-13)
        rest = 4 - len(each)  # The last state stays, and is counted once a step.
        (
            ops.square(alone).sum()
            + rest * ops.square(alone[-1]).sum()
            + sum(part.sum() for part in _parts(last))
        ).backward()
    for ours, p in zip(together, model.parameters(), strict=True):
        np.testing.assert_allclose(ours, p.grad.data, rtol=1e-11, atol=1e-13)


def _parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_sequence_in_two_pieces_is_the_whole(make):
    rng = np.random.default_rng(0)
    model, x = make(D, H, 2, rng, np.float64), rng.standard_normal((5, N, D))
    whole, end = model(x)
    first, state = model(x[:2])
    second, last = model(x[2:], state)
    np.testing.assert_allclose(np.concatenate([first.data, second.data]), whole.data, rtol=1e-13)
    for a, b in zip(_parts(end), _parts(last), strict=True):
        assert a.shape == (2, N, H)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-13)


@pytest.mark.parametrize(
    ("cell", "layer"),
    [(nn.RNNCell, nn.RNN), (nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU)],
)
def test_a_cell_is_one_step_of_its_layer(cell, layer):
    rng = np.random.default_rng(0)
    one, model = cell(D, H, rng, np.float64), layer(D, H, dtype=np.float64)
    model.load_state_dict({f"cells.0.{name}": p for name, p in one.named_parameters()})
    x, state = rng.standard_normal((3, N, D)), None
    y, last = model(x)
    for t in range(3):
        state = one(x[t], state)
        np.testing.assert_allclose(_parts(state)[0].data, y.data[t], rtol=1e-13)
    for a, b in zip(_parts(state), _parts(last), strict=True):
        np.testing.assert_allclose(a.data, b.data[0], rtol=1e-13)


def test_how_the_weights_start():
    cell = nn.LSTMCell(30, 20, np.random.default_rng(0), np.float64)
    for k in range(4):
        w = cell.wh.data[:, 20 * k : 20 * (k + 1)]
        np.testing.assert_allclose(w.T @ w, np.eye(20), atol=1e-12)
    assert np.abs(cell.wx.data).max() <= (6 / 50) ** 0.5
    np.testing.assert_array_equal(cell.b.data, np.repeat([0.0, 1.0, 0.0, 0.0], 20))
    assert nn.GRU(3, 4).cells[0].bh.dtype == np.float32


def test_an_lstm_remembers_what_it_read_first():
    """The sign of the first of twelve inputs, the others being noise."""
    rng = np.random.default_rng(0)
    model = nn.LSTM(1, 8, rng=rng)
    head = nn.Linear(8, 2, rng)
    adam = optim.Adam([*model.parameters(), *head.parameters()], lr=0.03)
    for _ in range(120):
        x = rng.standard_normal((12, 32, 1)).astype(np.float32)
        labels = (x[0, :, 0] > 0).astype(int)
        adam.zero_grad()
        y, _ = model(dynamic.tensor(x))
        loss = ops.softmax_cross_entropy(head(y[-1]), labels)
        loss.backward()
        adam.step()
    right = ops.argmax(head(model(x)[0][-1]), axis=1).numpy() == labels
    assert right.mean() > 0.9
    assert y.dtype == loss.dtype == np.float32


def test_large_arguments_saturate_without_a_warning():
    y, c = ops.lstm(np.full((2, 1, 1), 1e3), *(np.zeros((1, 1)),) * 2,
                    np.array([[1.0, -1.0, 1.0, 1.0]]), np.zeros((1, 4)), np.zeros(4))  # fmt: skip
    np.testing.assert_allclose(c, [[1.0]])
    np.testing.assert_allclose(y[:, 0, 0], np.tanh([1.0, 1.0]))


def test_an_edit_of_the_result_is_noticed():
    args = arguments("rnn")
    y = ops.rnn(*args)
    total = (y * y).sum()
    with dynamic.no_grad():
        y[0] = 0.0
    with pytest.raises(GraphError, match="edited in place"):
        total.backward()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda a: ops.lstm(a[0], a[1], a[2], a[3], a[4], a[5][:3]),
            ShapeError,
            "lstm: the shapes do not fit\n"
            "  given:    x (4, 3, 2), states (3, 3) (3, 3), wx (2, 12), wh (3, 12), b (3,)\n"
            "  expected: x (T, N, D) or integers (T, N), T not 0, states (N, H), wx (D, 4H), "
            "wh (H, 4H), b (4H,)",
        ),
        (
            lambda a: ops.lstm(a[0][:0], *a[1:]),
            ShapeError,
            "T not 0",
        ),
        (
            lambda a: ops.lstm(a[0].numpy().astype(np.float32), *a[1:]),
            DtypeError,
            "lstm: the arguments have different dtypes\n  given:    x float32",
        ),
        (
            lambda a: ops.lstm(np.zeros((4, 3, 2), int), *a[1:]),
            DtypeError,
            "x int64",
        ),
        (
            lambda a: ops.lstm(np.full((4, 3), 2), *a[1:]),
            OptionError,
            "lstm: x names a row that is not there\n  given:    x from 2 to 2\n"
            "  expected: 0 to 1, for wx (2, 12)",
        ),
        (
            lambda a: ops.lstm(*a, lengths=np.array([1, 2])),
            ShapeError,
            "lstm: lengths do not fit x\n  given:    lengths (2,) of int64, x (4, 3, 2)\n"
            "  expected: 3 integers",
        ),
        (
            lambda a: ops.lstm(*a, lengths=np.array([1, 5, 0])),
            OptionError,
            "lstm: a length is out of range\n  given:    lengths from 0 to 5\n"
            "  expected: 1 to 4, for x (4, 3, 2)",
        ),
        (
            lambda a: nn.GRU(2, 3, dtype=np.float64)(a[0], a[1]),
            ShapeError,
            "GRU: state does not fit\n  given:    (3, 3)\n  expected: (1, 3, 3)",
        ),
        (lambda a: nn.LSTM(2, 3, 0), OptionError, "LSTM: there is no layer"),
        (lambda a: nn.GRUCell(2, 0), OptionError, "GRUCell: sizes are positive integers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(call, error, text):
    with pytest.raises(error) as refusal:
        call(arguments("lstm"))
    assert text in str(refusal.value)
