"""Rows of recurrent networks, attention and losses: the definitions, in plain NumPy."""

import numpy as np
import scipy.special
from table import away_from_zero, between, normal, op, variants

ERA = {"eras": ("symbolic", "dynamic")}
TAPED = {"eras": ("dynamic",)}
expit = scipy.special.expit

# --- recurrent networks: step after step, as the papers say ----------------------------


def rnn_step(x, h, wx, wh, b):
    return np.tanh(x @ wx + h @ wh + b)


def lstm_step(x, h, c, wx, wh, b):
    i, f, g, o = np.split(x @ wx + h @ wh + b, 4, axis=1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def gru_step(x, h, wx, wh, b, bh):
    (ar, az, an), (ur, uz, un) = (np.split(each, 3, axis=1) for each in (x @ wx + b, h @ wh))
    r, z = expit(ar + ur), expit(az + uz)
    return (1 - z) * np.tanh(an + r * (un + bh)) + z * h


def unrolled(step, states, lengths=None):
    """Return every h, and the last c below them, with states that stay once a sequence ends."""

    def run(x, *arrays):
        state, weights = arrays[:states], arrays[states:]
        outputs = []
        for t in range(len(x)):
            after = step(x[t], *state, *weights)
            after = after if isinstance(after, tuple) else (after,)
            if lengths is not None:
                on = (t < lengths)[:, None]
                after = [np.where(on, new, old) for new, old in zip(after, state, strict=True)]
            state = after
            outputs.append(state[0])
        return np.stack([*outputs, *state[1:]])

    return run


def joined(ops, y, c):
    return ops.concatenate([y, c[None]])


LENGTHS = np.array([1, 3])
for name, step, blocks, extra in (("rnn", rnn_step, 1, ()), ("gru", gru_step, 3, ((2,),))):
    weights = ((2, blocks * 2), (2, blocks * 2), (blocks * 2,), *extra)
    op(f"{name}_cell", normal((3, 2), (3, 2), *weights), step, **TAPED)
    variants(
        name,
        normal((3, 2, 2), (2, 2), *weights),
        {"lengths": {"lengths": LENGTHS}},
        lambda *x, step=step, lengths: unrolled(step, 1, lengths)(*x),
        **TAPED,
    )
    op(name, normal((2, 1, 2), (1, 2), *weights), unrolled(step, 1), label="one", **TAPED)
LSTM = ((2, 8), (2, 8), (8,))
op(
    "lstm_cell",
    normal((3, 2), (3, 2), (3, 2), *LSTM),
    lambda *x: np.stack(lstm_step(*x)),
    lambda ops, *x: ops.stack(ops.lstm_cell(*x)),
    **TAPED,
)
op(
    "lstm",
    normal((3, 2, 2), (2, 2), (2, 2), *LSTM),
    unrolled(lstm_step, 2, LENGTHS),
    lambda ops, *x: joined(ops, *ops.lstm(*x, lengths=LENGTHS)),
    label="lengths",
    **TAPED,
)
op(
    "lstm",
    normal((2, 1, 3), (1, 1), (1, 1), (3, 4), (1, 4), (4,)),
    unrolled(lstm_step, 2),
    lambda ops, *x: joined(ops, *ops.lstm(*x)),
    label="one",
    **TAPED,
)

# --- attention ---------------------------------------------------------------------------

MASK = np.array([[True, False, True], [False, True, True]])


def attention(q, k, v, mask=True):
    scores = np.where(mask, q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -np.inf)
    return scipy.special.softmax(scores, axis=-1) @ v


op("scaled_dot_product_attention", normal((2, 2), (3, 2), (3, 4)), attention, **ERA)
op(
    "scaled_dot_product_attention",
    normal((2, 1, 2, 3), (2, 3, 3), (3, 1)),
    lambda q, k, v: attention(q, k, v, MASK),
    lambda ops, *x: ops.scaled_dot_product_attention(*x, mask=MASK),
    label="mask-and-broadcast",
    **ERA,
)
op(
    "scaled_dot_product_attention",
    normal((3, 2), (3, 2), (3, 1)),
    lambda q, k, v: attention(q, k, v, np.tri(3, dtype=bool)),
    lambda ops, *x: ops.scaled_dot_product_attention(*x, causal=True),
    label="causal",
    **ERA,
)

# --- losses ------------------------------------------------------------------------------

LABELS = np.array([2, 0, 1, 2])
SIGNS = np.array([1, -1, 1])


def log_softmax(x):
    return x - scipy.special.logsumexp(x, axis=1, keepdims=True)


def cross_entropy(x, weights=None, smoothing=0.0, ignore=None):
    total, share = 0.0, 0.0
    for row, label in zip(log_softmax(x), LABELS, strict=True):
        if label == ignore:
            continue
        every = np.ones(3) if weights is None else weights.astype(float)
        total -= (1 - smoothing) * every[label] * row[label] + smoothing * (every * row).mean()
        share += every[label]
    return np.asarray(total / share, x.dtype)


for label, options in {
    "plain": {},
    "weights": {"weights": np.array([1.0, 2.0, 0.5])},
    "smoothing": {"smoothing": 0.3},
    "ignore": {"ignore": 2},
    "all": {"weights": np.array([1.0, 2.0, 0.5]), "smoothing": 0.1, "ignore": 0},
}.items():
    op(
        "cross_entropy",
        normal((4, 3)),
        lambda x, options=options: cross_entropy(x, **options),
        lambda ops, x, options=options: ops.cross_entropy(
            x, LABELS, **{k: v if k != "weights" else v.astype(x.dtype) for k, v in options.items()}
        ),
        label=label,
        **TAPED,
    )
op(
    "nll_loss",
    normal((4, 3)),
    lambda x: -x[np.arange(4), LABELS].mean(),
    lambda ops, x: ops.nll_loss(x, LABELS),
    **ERA,
)
op(
    "multi_margin_loss",
    lambda rng: [rng.permutation(12).reshape(4, 3) * 0.3 + 0.05],
    lambda x: sum(max(0, 1 + x[n, k] - x[n, LABELS[n]]) for n in range(4) for k in range(3)
                  if k != LABELS[n]) / x.size,
    lambda ops, x: ops.multi_margin_loss(x, LABELS),
    **TAPED,
)  # fmt: skip


def apart(shape, *kinks):
    """A prediction and a target whose difference keeps 0.1 away from each kink."""

    def sample(rng):
        target = rng.standard_normal(shape)
        d = rng.uniform(-2, 2, shape)
        for kink in kinks:
            d = np.where(np.abs(d - kink) < 0.1, kink + 0.15, d)
        return [target + d, target]

    return sample


op("mean_absolute_error", apart((3, 4), 0), lambda x, y: np.abs(x - y).mean(), **ERA)
variants(
    "huber_loss",
    apart((3, 4), -0.5, 0, 0.5),
    {"half": {"delta": 0.5}},
    lambda x, y, delta: np.mean(np.where(np.abs(x - y) < delta, (x - y) ** 2 / 2,
                                         delta * (np.abs(x - y) - delta / 2))),
    **ERA,
)  # fmt: skip
op(
    "binary_cross_entropy",
    between(0.1, 0.9, (3, 2), (3, 2)),
    lambda p, t: -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p)),
    **ERA,
)
op(
    "binary_cross_entropy_with_logits",
    normal((3, 2), (3, 2)),
    lambda z, t: -np.mean(t * np.log(expit(z)) + (1 - t) * np.log(expit(-z))),
    **ERA,
)
op(
    "kl_divergence",
    between(0.1, 0.9, (2, 3), (2, 3)),
    lambda log_q, p: np.mean(np.sum(p * (np.log(p) - log_q), axis=-1)),
    **ERA,
)
op("poisson_nll_loss", normal((2, 3), (2, 3)), lambda z, t: np.mean(np.exp(z) - t * z), **ERA)
op(
    "gaussian_nll_loss",
    between(0.2, 2, (2, 3), (2, 3), (2, 3)),
    lambda m, t, v: np.mean(np.log(v) + (m - t) ** 2 / v) / 2,
    **TAPED,
)
op(
    "hinge_loss",
    lambda rng: [rng.permutation(6) * 0.7 - 1.6],
    lambda x: np.mean(np.maximum(0, 1 - np.tile(SIGNS, 2) * x)),
    lambda ops, x: ops.hinge_loss(x, np.tile(SIGNS, 2).astype(x.dtype)),
    **ERA,
)


def cosine(x, y, axis=-1):
    return np.sum(x * y, axis) / (np.linalg.norm(x, axis=axis) * np.linalg.norm(y, axis=axis))


variants(
    "cosine_similarity",
    away_from_zero((3, 2), (3, 2)),
    {"last": {}, "first": {"axis": 0}},
    cosine,
    **ERA,
)
op(
    "cosine_embedding_loss",
    between(0.5, 2, (3, 4), (3, 4)),
    lambda x, y: np.mean(np.where(SIGNS > 0, 1 - cosine(x, y), np.maximum(0, cosine(x, y) - 0.1))),
    lambda ops, x, y: ops.cosine_embedding_loss(x, y, SIGNS, margin=0.1),
    **TAPED,
)
variants(
    "triplet_margin_loss",
    normal((3, 4), (3, 4), (3, 4)),
    {"wide": {"margin": 6.0}},
    lambda a, p, n, margin: np.mean(
        np.maximum(0, margin + np.linalg.norm(a - p, axis=1) - np.linalg.norm(a - n, axis=1))
    ),
    **TAPED,
)

# --- what layers stand on ----------------------------------------------------------


def dropped(x):
    return x * ((np.random.default_rng(3).random(x.shape) >= 0.4) / 0.6).astype(x.dtype)


ROW_NUMBERS = np.array([[2, 0, 2], [3, 3, 1]])
op("affine", normal((3, 4), (4, 2), (2,)), lambda x, w, b: x @ w + b, **ERA)
op("affine", normal((3, 4), (4, 2)), lambda x, w: x @ w, label="no-bias", **ERA)
op("affine", normal((0, 4), (4, 2), (2,)), lambda x, w, b: x @ w + b, label="empty", **ERA)
op("positive", normal((3, 4)), eras=("dynamic", "functional"))
op("dropout", normal((4, 5)), dropped,
   lambda ops, x: ops.dropout(x, 0.4, np.random.default_rng(3)), **TAPED)  # fmt: skip
op("embedding", normal((4, 3)), lambda w: w[ROW_NUMBERS],
   lambda ops, w: ops.embedding(ROW_NUMBERS, w), **ERA)  # fmt: skip
