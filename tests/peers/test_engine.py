"""Composite functions through four engines: ours, PyTorch's, JAX's and HIPS autograd's.

Each function is written once, in NumPy's names: ``dynamic.ops``, ``jax.numpy`` and
``autograd.numpy`` have them all, and for PyTorch the class below spells them.
"""

import autograd
import autograd.numpy as autograd_numpy
import jax
import numpy as np
import pytest
import torch

from workbench import dynamic

pytestmark = pytest.mark.peers

jax.config.update("jax_enable_x64", True)


class TorchNumpy:
    """The few names in which PyTorch differs from NumPy."""

    exp, log, tanh, sin, sqrt, where = (
        torch.exp, torch.log, torch.tanh, torch.sin, torch.sqrt, torch.where)  # fmt: skip
    log1p = torch.log1p

    @staticmethod
    def sum(x, axis=None, keepdims=False):
        return torch.sum(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def mean(x, axis=None, keepdims=False):
        return torch.mean(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def max(x, axis, keepdims=False):
        return torch.amax(x, dim=axis, keepdim=keepdims)

    @staticmethod
    def concatenate(xs, axis=0):
        return torch.cat(xs, dim=axis)

    @staticmethod
    def transpose(x, axes):
        return x.permute(axes)


def softmax(np_, x):
    e = np_.exp(x - np_.max(x, axis=-1, keepdims=True))
    return e / np_.sum(e, axis=-1, keepdims=True)


def cross_entropy(np_, logits, labels):
    shifted = logits - np_.max(logits, axis=-1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return np_.mean(np_.log(np_.sum(np_.exp(shifted), axis=-1)) - chosen)


def mlp(np_, w1, b1, w2, b2):
    x = RNG_INPUTS[:6, :4]
    return cross_entropy(np_, np_.tanh(constant(np_, x) @ w1 + b1) @ w2 + b2, LABELS)


def rnn_over_20_steps(np_, h, wx, wh):
    """The same weights 20 times: every one of their gradients is a sum over time."""
    total = 0.0
    for t in range(20):
        h = np_.tanh(constant(np_, RNG_INPUTS[t : t + 1, :4]) @ wx + h @ wh)
        total = total + np_.sum(h * h)
    return total


def attention(np_, x, wq, wk, wv):
    """Two heads over five positions."""

    def heads(w):
        return np_.transpose((x @ w).reshape((5, 2, 3)), (1, 0, 2))

    q, k, v = heads(wq), heads(wk), heads(wv)
    weights = softmax(np_, q @ np_.transpose(k, (0, 2, 1)) / np.sqrt(3.0))
    return np_.sum(np_.sin(weights @ v))


def layer_norm(np_, x, scale, shift):
    centred = x - np_.mean(x, axis=-1, keepdims=True)
    spread = np_.sqrt(np_.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
    return np_.sum(np_.sin(centred / spread * scale + shift))


def fan_out(np_, x):
    """One value used eight times along paths of every length: y doubles each round."""
    y = np_.sin(x)
    for _ in range(8):
        y = y + y * 0.5
    return np_.sum(y * y) + np_.sum(y * x)


def broadcasting(np_, column, row, number):
    z = column * row + number
    return np_.sum(np_.exp(-z * z) / (1 + row * row)) * number


def gather_twice(np_, x):
    """Repeated rows: their gradients add up."""
    picked = x[np.array([0, 2, 2, 1, 0])]
    return np_.sum(np_.tanh(picked) * picked[:, np.array([3, 3, 0, 1])])


def gate(np_, x, y):
    """A choice by a condition, both branches differentiated."""
    return np_.sum(np_.where(x > 0, np_.log1p(x * x), np_.sin(y + x)) * y)


def split_and_join(np_, x, y):
    z = np_.concatenate([x * y, np_.exp(x)], axis=1)
    left, right = z[:, :4], z[:, 2:]
    return np_.sum(np_.tanh(left[:, :3]) * right[:, :3])


def rosenbrock(np_, x):
    a, b = x[1:], x[:-1]
    return np_.sum(100.0 * (a - b**2) ** 2 + (1 - b) ** 2)


def gated_unit(np_, x, h, w, u):
    """A gated recurrent step: products of squashed sums."""
    z = 1 / (1 + np_.exp(-(x @ w + h @ u)))
    n = np_.tanh(x @ w - z * (h @ u))
    return np_.sum((1 - z) * n + z * h)


def logsumexp_of_products(np_, a, b):
    s = a @ b
    top = np_.max(s, axis=-1, keepdims=True)
    return np_.sum(np_.log(np_.sum(np_.exp(s - top), axis=-1, keepdims=True)) + top)


rng = np.random.default_rng(7)
RNG_INPUTS = rng.standard_normal((20, 5))
LABELS = rng.integers(0, 3, 6)


def arrays(*shapes):
    return [rng.standard_normal(shape) * 0.5 for shape in shapes]


FUNCTIONS = {
    mlp: arrays((4, 7), (7,), (7, 3), (3,)),
    rnn_over_20_steps: arrays((1, 6), (4, 6), (6, 6)),
    attention: arrays((5, 4), (4, 6), (4, 6), (4, 6)),
    layer_norm: arrays((3, 5), (5,), (5,)),
    fan_out: arrays((3,)),
    broadcasting: arrays((4, 1), (3,), ()),
    gather_twice: arrays((3, 4)),
    gate: arrays((3, 4), (4,)),
    split_and_join: arrays((2, 3), (3,)),
    rosenbrock: arrays((6,)),
    gated_unit: arrays((2, 3), (2, 4), (3, 4), (4, 4)),
    logsumexp_of_products: arrays((3, 4), (4, 5)),
}


def constant(np_, array):
    return torch.from_numpy(array.copy()) if np_ is TorchNumpy else array


def ours(f, given, v):
    """Return value, gradients, Hessian-vector product, and gradient of the penalty."""
    leaves = [dynamic.tensor(a, requires_grad=True) for a in given]
    y = f(dynamic.ops, *leaves)
    first = dynamic.grad(y, leaves, create_graph=True)
    along = sum((g * d).sum() for g, d in zip(first, v, strict=True))
    product = dynamic.grad(along, leaves, retain_graph=True)
    penalty = sum((g * g).sum() for g in first) ** 0.5
    steep = dynamic.grad(penalty, leaves)
    return [each.data for each in (y, *first, *product, *steep)]


def pytorchs(f, given, v):
    leaves = [torch.tensor(a, requires_grad=True) for a in given]
    y = f(TorchNumpy, *leaves)
    first = torch.autograd.grad(y, leaves, create_graph=True)
    along = sum((g * torch.from_numpy(d)).sum() for g, d in zip(first, v, strict=True))
    product = torch.autograd.grad(along, leaves, retain_graph=True)
    penalty = sum((g * g).sum() for g in first) ** 0.5
    steep = torch.autograd.grad(penalty, leaves)
    return [each.detach().numpy() for each in (y, *first, *product, *steep)]


def functions_of(gradient_of, np_, f, given, v):
    """Return the same four from an engine that maps functions to functions."""
    every = tuple(range(len(given)))
    gradient = gradient_of(lambda *args: f(np_, *args), every)

    def along(*args):
        return sum(np_.sum(g * d) for g, d in zip(gradient(*args), v, strict=True))

    def penalty(*args):
        return sum(np_.sum(g * g) for g in gradient(*args)) ** 0.5

    y = f(np_, *given)
    results = (y, *gradient(*given), *gradient_of(along, every)(*given),
               *gradient_of(penalty, every)(*given))  # fmt: skip
    return [np.asarray(each) for each in results]


def jaxs(f, given, v):
    return functions_of(jax.grad, jax.numpy, f, [jax.numpy.asarray(a) for a in given], v)


def autograds(f, given, v):
    return functions_of(autograd.grad, autograd_numpy, f, given, v)


def agree(mine, theirs):
    assert len(mine) == len(theirs)
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        size = max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * size, err_msg=f"result {k}")


A_FEW = (mlp, layer_norm, broadcasting, gather_twice, gate)
PAIRS = [(pytorchs, f) for f in FUNCTIONS] + [(e, f) for e in (jaxs, autograds) for f in A_FEW]


@pytest.mark.parametrize(("engine", "f"), PAIRS, ids=lambda each: each.__name__)
def test_value_gradient_hessian_vector_product_and_penalty_agree(engine, f):
    given = FUNCTIONS[f]
    v = [np.cos(np.arange(a.size)).reshape(a.shape) for a in given]
    agree(ours(f, given, v), engine(f, given, v))


def test_gradients_accumulate_over_backward_passes_as_in_pytorch():
    a = rng.standard_normal((3, 4))
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    for k in range(3):
        (mine * mine * k).sum().backward()
        (theirs * theirs * k).sum().backward()
        agree([mine.grad.data], [theirs.grad.numpy()])
    mine.zero_grad()
    theirs.grad = None
    (mine**3).sum().backward()
    (theirs**3).sum().backward()
    agree([mine.grad.data], [theirs.grad.numpy()])


def test_two_backward_passes_through_one_graph_accumulate_as_in_pytorch():
    a = rng.standard_normal(4)
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, t = dynamic.ops.tanh(mine) * mine, torch.tanh(theirs) * theirs
    v = rng.standard_normal(4)
    y.backward(v, retain_graph=True)
    t.backward(torch.from_numpy(v), retain_graph=True)
    y.sum().backward()
    t.sum().backward()
    agree([mine.grad.data], [theirs.grad.numpy()])


def test_backward_with_create_graph_adds_gradients_that_can_be_differentiated():
    a = rng.standard_normal(5)
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    for leaf, sine in ((mine, dynamic.ops.sin), (theirs, torch.sin)):
        first = (
            torch.autograd.grad((sine(leaf) * leaf).sum(), leaf, create_graph=True)
            if leaf is theirs
            else dynamic.grad((sine(leaf) * leaf).sum(), leaf, create_graph=True)
        )[0]
        (first * first).sum().backward()
    agree([mine.grad.data], [theirs.grad.numpy()])


def test_third_and_fourth_derivatives_agree():
    a = np.linspace(0.2, 1.4, 5)
    y, t = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    g, h = dynamic.ops.exp(dynamic.ops.sin(y) * y), torch.exp(torch.sin(t) * t)
    for _ in range(4):
        (g,) = dynamic.grad(g.sum(), y, create_graph=True)
        (h,) = torch.autograd.grad(h.sum(), t, create_graph=True)
        agree([g.data], [h.detach().numpy()])


def test_an_intermediate_value_can_be_an_input_as_in_pytorch():
    a = rng.standard_normal(4)
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, t = dynamic.ops.exp(mine), torch.exp(theirs)
    first = dynamic.grad((y * y * mine).sum(), [y, mine])
    second = torch.autograd.grad((t * t * theirs).sum(), [t, theirs])
    agree([g.data for g in first], [g.numpy() for g in second])


def test_detached_and_unrecorded_values_are_constants_as_in_pytorch():
    a = rng.standard_normal(4)
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    with dynamic.no_grad():
        y = mine * 3
    with torch.no_grad():
        t = theirs * 3
    (mine * y * dynamic.ops.exp(mine).detach()).sum().backward()
    (theirs * t * torch.exp(theirs).detach()).sum().backward()
    agree([mine.grad.data], [theirs.grad.numpy()])


def test_in_place_edits_of_intermediate_values_agree_with_pytorch():
    a = rng.standard_normal((3, 4))
    mine, theirs = dynamic.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, t = mine * 2, theirs * 2
    y[1] = mine[0] * mine[2]
    t[1] = theirs[0] * theirs[2]
    y += mine
    t += theirs
    (y * y).sum().backward()
    (t * t).sum().backward()
    agree([mine.grad.data], [theirs.grad.numpy()])


def test_hooks_see_and_change_the_same_gradients_as_in_pytorch():
    a, b = rng.standard_normal((2, 4))
    seen = {}
    for name, tensor, exp in (
        ("ours", lambda v: dynamic.tensor(v, requires_grad=True), dynamic.ops.exp),
        ("pytorch", lambda v: torch.tensor(v, requires_grad=True), torch.exp),
    ):
        x, w = tensor(a), tensor(b)
        got = seen[name] = []

        def note(g, got=got):
            got.append(np.array(g.detach().numpy()))

        y = exp(x) * w
        z = y * y + y  # y's gradient arrives along two paths; its hooks see the sum.
        y.register_hook(note)
        y.register_hook(lambda g: g * 3)
        y.register_hook(note)
        w.register_hook(lambda g: g - 1)
        y.retain_grad()
        z.sum().backward()
        got += [np.array(t.grad.numpy()) for t in (x, w, y)]
    agree(seen["ours"], seen["pytorch"])


def weights_and_states(kind):
    """Return our weights for a recurrent layer, and PyTorch's layer with the same ones."""
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    layer = getattr(torch.nn, kind)(3, 5).double()
    wx, wh, b, bh = (p.detach().numpy().T.copy() for p in layer.parameters())
    assert wx.shape == (3, gates * 5)
    if kind == "GRU":  # Only the candidate's second bias is not a part of the first.
        b = b + np.concatenate([bh[:10], np.zeros(5)])
        return layer, [wx, wh, b, bh[10:]]
    return layer, [wx, wh, b + bh]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_agree_with_pytorchs_over_a_sequence(kind):
    torch.manual_seed(0)
    layer, weights = weights_and_states(kind)
    x, h, c = (rng.standard_normal(shape) for shape in ((6, 2, 3), (2, 5), (2, 5)))
    states = [h, c] if kind == "LSTM" else [h]
    leaves = [dynamic.tensor(a, requires_grad=True) for a in (x, *states, *weights)]
    y = getattr(dynamic.ops, kind.lower())(*leaves)
    t, *before = (torch.tensor(a, requires_grad=True) for a in (x, *states))
    inner = tuple(s[None] for s in before)
    u, last = layer(t, inner if kind == "LSTM" else inner[0])
    v = rng.standard_normal(u.shape)
    mine = (y[0] * v).sum() + y[1].sum() if kind == "LSTM" else (y * v).sum()
    theirs = (u * torch.from_numpy(v)).sum() + (last[1].sum() if kind == "LSTM" else 0)
    first = dynamic.grad(mine, leaves[: len(before) + 3])
    second = torch.autograd.grad(theirs, [t, *before, *list(layer.parameters())[:2]])
    agree([mine.data, *(g.data for g in first)],
          [theirs.detach().numpy(), *(g.numpy() if k <= len(before) else g.numpy().T
                                      for k, g in enumerate(second))])  # fmt: skip
