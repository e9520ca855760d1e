"""Layers against PyTorch's, weight for weight: outputs, and the gradients of all weights."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import nn, ops

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

pytestmark = pytest.mark.peers

T, N, D, H = 6, 3, 4, 5


def array(x):
    return x.detach().numpy()


def gradients(total, arrays):
    return [g.data for g in dynamic.grad(total, arrays)]


def close(ours, known, limit=1e-11):
    for a, b in zip(ours, known, strict=True):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit)


def packed(module, x, lengths, state):
    if lengths is None:
        return module(x, state)
    rows = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, last = module(rows, state)
    return torch.nn.utils.rnn.pad_packed_sequence(y)[0], last


@pytest.mark.parametrize("lengths", [None, np.array([6, 2, 4])])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers(kind, layers, lengths):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    theirs = getattr(torch.nn, kind)(D, H, layers).double()
    ours = getattr(nn, kind)(D, H, layers, dtype=np.float64)
    state = {}
    for k in range(layers):
        wx, wh, bx, bh = (array(getattr(theirs, f"{name}_l{k}")) for name in
                          ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))  # fmt: skip
        b = bx + bh
        if kind == "GRU":
            b[2 * H :] = bx[2 * H :]
            state[f"cells.{k}.bh"] = bh[2 * H :]
        state |= {f"cells.{k}.wx": wx.T, f"cells.{k}.wh": wh.T, f"cells.{k}.b": b}
    ours.load_state_dict(state)
    x = rng.standard_normal((T, N, D))
    parts = [rng.standard_normal((layers, N, H)) for _ in range(1 + (kind == "LSTM"))]
    tensors = [dynamic.tensor(a, requires_grad=True) for a in (x, *parts)]
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *parts)]
    y, last = ours(tensors[0], tensors[1:] if kind == "LSTM" else tensors[1], lengths)
    known, end = packed(theirs, leaves[0], lengths,
                        tuple(leaves[1:]) if kind == "LSTM" else leaves[1])  # fmt: skip
    real = np.ones((T, N), bool) if lengths is None else np.arange(T)[:, None] < lengths
    close([y.data[real]], [array(known)[real]])
    last, end = (each if isinstance(each, tuple) else (each,) for each in (last, end))
    close([part.data for part in last], map(array, end))

    weights = rng.standard_normal(y.shape) * real[..., None]
    total = (y * weights).sum() + sum((part * part).sum() for part in last)
    loss = (known * torch.tensor(weights)).sum() + sum((part * part).sum() for part in end)
    loss.backward()
    cells = [w for cell in ours.cells for w in (cell.wx, cell.wh, cell.b)]
    found = gradients(total, [*tensors, *cells])
    expected = [array(leaf.grad) for leaf in leaves]
    for k in range(layers):
        expected += [getattr(theirs, f"{name}_l{k}").grad.numpy().T
                     for name in ("weight_ih", "weight_hh", "bias_ih")]  # fmt: skip
    close(found, expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_multi_head_attention(cross, causal):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    theirs = torch.nn.MultiheadAttention(8, 2).double()
    with torch.no_grad():
        theirs.in_proj_bias.normal_()
        theirs.out_proj.bias.normal_()
    ours = nn.MultiHeadAttention(8, 2, dtype=np.float64)
    w, b = array(theirs.in_proj_weight), array(theirs.in_proj_bias)
    state = {"output.w": array(theirs.out_proj.weight).T, "output.b": array(theirs.out_proj.bias)}
    for k, name in enumerate(("query", "key", "value")):
        state |= {f"{name}.w": w[8 * k : 8 * k + 8].T, f"{name}.b": b[8 * k : 8 * k + 8]}
    ours.load_state_dict(state)
    x, other = rng.standard_normal((T, N, 8)), rng.standard_normal((T + 1, N, 8))
    lengths = np.array([6, 3, 1])
    sources = [x, other] if cross else [x]
    tensors = [dynamic.tensor(a, requires_grad=True) for a in sources]
    leaves = [torch.tensor(a, requires_grad=True) for a in sources]
    steps = len(sources[-1])
    y = ours(*tensors, causal=causal, lengths=lengths)
    known, _ = theirs(
        leaves[0], leaves[-1], leaves[-1],
        key_padding_mask=torch.tensor(np.arange(steps) >= lengths[:, None]),
        attn_mask=torch.tensor(~np.tri(T, steps, dtype=bool)) if causal else None,
    )  # fmt: skip
    close([y.data], [array(known)])
    (known * known).sum().backward()
    found = gradients(
        (y * y).sum(), [*tensors, ours.query.w, ours.key.w, ours.output.w, ours.value.b]
    )
    g = theirs.in_proj_weight.grad.numpy()
    close(found, [*(leaf.grad.numpy() for leaf in leaves), g[:8].T, g[8:16].T,
                  theirs.out_proj.weight.grad.numpy().T, theirs.in_proj_bias.grad.numpy()[16:]])  # fmt: skip


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_block(norm_first):
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation="gelu", norm_first=norm_first
    ).double()
    ours = nn.TransformerBlock(8, 2, 12, norm_first=norm_first, dtype=np.float64)
    own = theirs.self_attn
    state = {"attention.output.w": own.out_proj.weight.T, "attention.output.b": own.out_proj.bias}
    for k, name in enumerate(("query", "key", "value")):
        part = slice(8 * k, 8 * k + 8)
        state |= {f"attention.{name}.w": own.in_proj_weight[part].T,
                  f"attention.{name}.b": own.in_proj_bias[part]}  # fmt: skip
    for k, linear in ((0, theirs.linear1), (2, theirs.linear2)):
        state |= {f"feedforward.layers.{k}.w": linear.weight.T,
                  f"feedforward.layers.{k}.b": linear.bias}  # fmt: skip
    for k, norm in enumerate((theirs.norm1, theirs.norm2)):
        state |= {f"norms.{k}.gamma": norm.weight, f"norms.{k}.beta": norm.bias}
    ours.load_state_dict({name: array(each) for name, each in state.items()})
    x = np.random.default_rng(0).standard_normal((T, N, 8))
    close([ours(x).data], [array(theirs(torch.tensor(x)))])


def test_batch_normalisation_and_its_running_statistics():
    rng = np.random.default_rng(0)
    theirs, ours = torch.nn.BatchNorm2d(3).double(), nn.BatchNorm(3, dtype=np.float64)
    for _ in range(3):
        x = rng.standard_normal((4, 3, 5, 2)) * 2 + 1
        close([ours(x).data], [array(theirs(torch.tensor(x)))])
    close([ours.mean.data, ours.variance.data],
          [theirs.running_mean.numpy(), theirs.running_var.numpy()])  # fmt: skip
    close([ours.eval()(x).data], [array(theirs.eval()(torch.tensor(x)))])


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
def test_convolutions_hold_their_weights_as_pytorch_does(name):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(4, 6, 3, stride=2, padding=1).double()
    ours = getattr(nn, name)(4, 6, 3, 2, 1, dtype=np.float64)
    ours.load_state_dict({"w": array(theirs.weight), "b": array(theirs.bias)})
    x = np.random.default_rng(0).standard_normal((2, 4, 7, 8)[: 3 + ("2d" in name)])
    close([ours(x).data], [array(theirs(torch.tensor(x)))])


F = torch.nn.functional
LABELS = np.array([2, 0, 1, 2])
WEIGHTS = np.array([1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x, y: ops.cross_entropy(x, LABELS, WEIGHTS, 0.1, 0),
         lambda x, y: F.cross_entropy(x, torch.tensor(LABELS), torch.tensor(WEIGHTS),
                                      ignore_index=0, label_smoothing=0.1)),
        (lambda x, y: ops.nll_loss(x, LABELS),
         lambda x, y: F.nll_loss(x, torch.tensor(LABELS))),
        (lambda x, y: ops.multi_margin_loss(x, LABELS, 0.5),
         lambda x, y: F.multi_margin_loss(x, torch.tensor(LABELS), margin=0.5)),
        (ops.mean_absolute_error, F.l1_loss),
        (lambda x, y: ops.huber_loss(x, y, 0.7), lambda x, y: F.huber_loss(x, y, delta=0.7)),
        (lambda x, y: ops.huber_loss(x, y, 0.7) / 0.7,
         lambda x, y: F.smooth_l1_loss(x, y, beta=0.7)),
        (lambda x, y: ops.binary_cross_entropy(ops.sigmoid(x), ops.sigmoid(y)),
         lambda x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid())),
        (ops.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
        (lambda x, y: ops.kl_divergence(ops.log_softmax(x), ops.softmax(y)),
         lambda x, y: F.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean")),
        (ops.poisson_nll_loss, F.poisson_nll_loss),
        (lambda x, y: ops.gaussian_nll_loss(x, y, ops.exp(y)),
         lambda x, y: F.gaussian_nll_loss(x, y, y.exp())),
        (lambda x, y: ops.cosine_similarity(x, y).sum(),
         lambda x, y: F.cosine_similarity(x, y, dim=-1).sum()),
        (lambda x, y: ops.cosine_embedding_loss(x, y, LABELS - 1.5, 0.1),
         lambda x, y: F.cosine_embedding_loss(x, y, torch.tensor(np.sign(LABELS - 1.5)), 0.1)),
        (lambda x, y: ops.triplet_margin_loss(x, y, x * y),  # Theirs adds eps to the difference.
         lambda x, y: F.triplet_margin_loss(x, y, x * y, eps=0.0)),
    ],
)  # fmt: skip
def test_losses(ours, theirs):
    x, y = np.random.default_rng(3).standard_normal((2, 4, 3))
    tensors = [dynamic.tensor(a, requires_grad=True) for a in (x, y)]
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, y)]
    loss, known = ours(*tensors), theirs(*leaves)
    known.backward()
    found = dynamic.grad(loss, tensors, allow_unused=True)
    for g, leaf in zip(found, leaves, strict=True):
        expected = np.zeros_like(x) if leaf.grad is None else leaf.grad.numpy()
        close([np.zeros_like(x) if g is None else g.data], [expected])
    close([loss.data], [array(known)])
