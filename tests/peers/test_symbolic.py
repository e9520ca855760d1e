"""Era 2, compiled, against JAX: values and gradients of functions that both have.

Every function is run on the same numbers, in float64 and in float32; its gradient is that
of the projection of its result onto random weights.
"""

import functools

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import pytest
from jax import lax, nn

from workbench import symbolic
from workbench.symbolic import ops

pytestmark = pytest.mark.peers

jax.config.update("jax_enable_x64", True)


def normal(*shapes):
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def between(low, high, *shapes):
    return lambda rng: [rng.uniform(low, high, shape) for shape in shapes]


def distinct(*shapes):
    """All values of an array at least 0.2 apart: no ties, and none at 0."""
    return lambda rng: [
        (rng.permutation(int(np.prod(s))).reshape(s) - np.prod(s) // 2) * 0.2 + 0.07 for s in shapes
    ]


def same(names, sample, module=jnp):
    """Rows for functions of one name on both sides, or ``theirs:ours``."""
    pairs = (name.split(":") for name in names.split())
    return [(p[-1], getattr(ops, p[-1]), getattr(module, p[0]), sample) for p in pairs]


def with_options(name, sample, theirs=None, **options):
    """A row for a function that both call alike, with options."""
    theirs = theirs or getattr(jnp, name)
    label = "-".join([name, *(f"{k}{v}" for k, v in options.items())])
    return (label, lambda *x: getattr(ops, name)(*x, **options),
            lambda *x: theirs(*x, **options), sample)  # fmt: skip


LABELS = np.array([2, 0, 1, 1])
PICK = np.array([[2, 0], [1, 2]])
MASK = np.arange(12).reshape(3, 4) % 3 == 0


def image(x, w, b=None, *, stride=1, padding=0):
    y = lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2)
    return y if b is None else y + b[:, None, None]


def pooled(start, function, x, size, stride, scale=1):
    window, steps = (1, 1, size, size), (1, 1, stride, stride)
    return lax.reduce_window(x, x.dtype.type(start), function, window, steps, "valid") / scale


def layer_norm(x, eps=1e-5):
    return nn.standardize(x, axis=-1, epsilon=eps)


def attention(q, k, v):
    return nn.softmax(q @ jnp.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5, axis=-1) @ v


def cross_entropy(x):
    return -nn.log_softmax(x)[np.arange(4), LABELS].mean()


def huber(x, y):
    d = jnp.abs(x - y)
    return jnp.where(d < 1, d * d / 2, d - 0.5).mean()


def bce(z, t):
    return -(t * nn.log_sigmoid(z) + (1 - t) * nn.log_sigmoid(-z)).mean()


def positive_definite(x):
    return x @ jnp.swapaxes(x, -1, -2) + 2 * np.eye(x.shape[-1], dtype=x.dtype)


def ours_definite(x):
    return x @ ops.swapaxes(x, -1, -2) + 2 * np.eye(x.shape[-1], dtype=x.dtype)


TABLE = [
    # --- elementwise
    *same("exp expm1 sin cos tan tanh sinh cosh arctan arcsinh square negative absolute exp2 "
          "deg2rad rad2deg", normal((3, 17))),
    *same("log log1p log2 log10 sqrt cbrt reciprocal", between(0.3, 3, (3, 17))),
    *same("arcsin arccos arctanh", between(-0.9, 0.9, (3, 17))),
    *same("arccosh", between(1.2, 4, (3, 17))),
    *same("erf erfc ndtr", between(-3, 3, (3, 17)), special),
    *same("logit", between(0.1, 0.9, (3, 17)), special),
    *same("xlogy", between(0.3, 2, (3, 1), (17,)), special),
    *same("add subtract multiply hypot arctan2 logaddexp", normal((3, 1), (17,))),
    *same("maximum minimum", distinct((3, 5), (5,))),
    *same("divide power", between(0.5, 2, (3, 1), (17,))),
    *same("mod fmod", between(1.1, 1.9, (3, 4), (4,))),
    ("where", lambda x, y: ops.where(MASK, x, y), lambda x, y: jnp.where(MASK, x, y),
     normal((3, 4), (4,))),
    ("clip", lambda x: ops.clip(x, -0.5, 0.9), lambda x: jnp.clip(x, -0.5, 0.9), distinct((3, 5))),
    ("remainder-of-steps", lambda x: ops.floor(x) * x + ops.rint(x) * x + ops.sign(x) * x,
     lambda x: jnp.floor(x) * x + jnp.rint(x) * x + jnp.sign(x) * x, distinct((3, 5))),
    # --- activations
    *same("relu relu6 leaky_relu elu celu selu silu mish softplus log_sigmoid sigmoid "
          "soft_sign:softsign hard_tanh hard_sigmoid hard_swish", distinct((3, 7)), nn),
    ("gelu", ops.gelu, functools.partial(nn.gelu, approximate=False), normal((3, 17))),
    ("gelu-tanh", lambda x: ops.gelu(x, True), nn.gelu, normal((3, 17))),
    # --- reductions and scans
    *[with_options(name, distinct((3, 5, 4)), axis=axis)
      for name in ("sum", "mean", "max", "min", "var", "std", "ptp", "median")
      for axis in (None, 1, (0, 2))],
    *[with_options("prod", between(0.5, 1.5, (3, 5, 4)), axis=axis) for axis in (None, 1)],
    *[with_options("logsumexp", normal((3, 17)), special.logsumexp, axis=axis)
      for axis in (0, 1)],
    *[with_options(name, normal((3, 17)), axis=axis) for name in ("cumsum", "cumprod")
      for axis in (0, 1)],
    with_options("norm", normal((3, 5)), jnp.linalg.norm),
    with_options("norm", normal((3, 5)), jnp.linalg.norm, axis=1, ord=3),
    with_options("diff", normal((3, 5)), n=2),
    with_options("sort", distinct((3, 5)), axis=0),
    ("topk", lambda x: ops.topk(x, 3)[0], lambda x: lax.top_k(x, 3)[0], distinct((3, 7))),
    # --- shapes
    with_options("reshape", normal((3, 4)), shape=(2, 6)),
    with_options("transpose", normal((2, 3, 4)), axes=(2, 0, 1)),
    with_options("broadcast_to", normal((3, 1)), shape=(2, 3, 4)),
    with_options("flip", normal((2, 3)), axis=1),
    with_options("roll", normal((3, 4)), shift=2, axis=1),
    with_options("tile", normal((2, 3)), reps=(2, 1, 2)),
    with_options("repeat", normal((2, 3)), repeats=3, axis=1),
    with_options("pad", normal((2, 3)), pad_width=((1, 0), (0, 2)), mode="reflect"),
    with_options("pad", normal((2, 3)), pad_width=2, constant_values=0.5),
    with_options("moveaxis", normal((2, 3, 4)), source=0, destination=2),
    with_options("tril", normal((3, 4)), k=-1), with_options("triu", normal((3, 4)), k=1),
    with_options("diagonal", normal((3, 4)), offset=1), with_options("trace", normal((3, 4))),
    with_options("diag", normal((3,)), k=1),
    ("concatenate", lambda x, y: ops.concatenate([x, y, x], 1),
     lambda x, y: jnp.concatenate([x, y, x], 1), normal((3, 2), (3, 4))),
    ("stack", lambda x, y: ops.stack([x, y, x], 1), lambda x, y: jnp.stack([x, y, x], 1),
     normal((3, 2), (3, 2))),
    ("split", lambda x: ops.split(x, [1, 4], 1)[1], lambda x: jnp.split(x, [1, 4], 1)[1],
     normal((3, 5))),
    # --- indexing
    ("slices", lambda x: x[::-2, 1:], lambda x: x[::-2, 1:], normal((5, 4))),
    ("rows", lambda x: x[PICK], lambda x: x[PICK], normal((3, 4))),
    ("pairs", lambda x: x[PICK, [0, 3]], lambda x: x[PICK, np.array([0, 3])], normal((3, 4))),
    ("take", lambda x: ops.take(x, PICK, 1), lambda x: jnp.take(x, PICK, 1), normal((2, 4))),
    ("take_along_axis", lambda x: ops.take_along_axis(x, PICK, 1),
     lambda x: jnp.take_along_axis(x, PICK, 1), normal((2, 4))),
    ("set_subtensor", lambda x, y: ops.set_subtensor(x[1:], y), lambda x, y: jnp.asarray(x).at[1:].set(y),
     normal((3, 4), (4,))),
    ("inc_subtensor", lambda x, y: ops.inc_subtensor(x[PICK], y), lambda x, y: jnp.asarray(x).at[PICK].add(y),
     normal((3, 4), (2, 2, 4))),
    ("one_hot", lambda x: ops.one_hot(LABELS, 3, x.dtype) @ x,
     lambda x: nn.one_hot(LABELS, 3, dtype=x.dtype) @ x, normal((3, 2))),
    # --- products
    *same("matmul", normal((5, 17), (17, 3))), *same("inner", normal((3, 4), (2, 4))),
    *same("vdot", normal((3, 4), (3, 4))), *same("outer", normal((3,), (4,))),
    *same("dot", normal((2, 3, 4), (4, 5))),
    ("batch-matmul", ops.matmul, jnp.matmul, normal((2, 1, 3, 4), (5, 4, 2))),
    with_options("tensordot", normal((2, 3, 4), (3, 2, 5)), axes=((0, 1), (1, 0))),
    ("einsum", lambda x, y: ops.einsum("bij,bkj->bik", x, y),
     lambda x, y: jnp.einsum("bij,bkj->bik", x, y), normal((2, 3, 4), (2, 5, 4))),
    ("inv", lambda x: ops.inv(ours_definite(x)),
     lambda x: jnp.linalg.inv(positive_definite(x)), normal((3, 3))),
    ("det", lambda x: ops.det(ours_definite(x)),
     lambda x: jnp.linalg.det(positive_definite(x)), normal((2, 3, 3))),
    ("cholesky", lambda x: ops.cholesky(ours_definite(x)),
     lambda x: jnp.linalg.cholesky(positive_definite(x)), normal((3, 3))),
    ("solve", lambda x, y: ops.solve(ours_definite(x), y),
     lambda x, y: jnp.linalg.solve(positive_definite(x), y), normal((3, 3), (3, 2))),
    # --- networks
    *[with_options(name, normal((5, 17)), getattr(nn, name), axis=axis)
      for name in ("softmax", "log_softmax") for axis in (0, 1)],
    ("softmax_cross_entropy", lambda x: ops.softmax_cross_entropy(x, LABELS), cross_entropy,
     normal((4, 3))),
    ("mean_squared_error", ops.mean_squared_error, lambda x, y: ((x - y) ** 2).mean(),
     normal((3, 4), (3, 4))),
    ("huber_loss", ops.huber_loss, huber, lambda rng: [rng.permutation(12) * 0.3 - 1.7,
                                                       np.zeros(12)]),
    ("binary_cross_entropy_with_logits", ops.binary_cross_entropy_with_logits, bce,
     normal((3, 4), (3, 4))),
    ("layer_norm", ops.layer_norm, layer_norm, normal((3, 17))),
    ("attention", ops.scaled_dot_product_attention, attention,
     normal((2, 3, 4), (2, 5, 4), (2, 5, 3))),
    ("conv2d", lambda x, w, b: ops.conv2d(x, w, b, stride=2, padding=1),
     lambda x, w, b: image(x, w, b, stride=2, padding=1),
     normal((2, 3, 7, 6), (4, 3, 3, 3), (4,))),
    ("max_pool2d", lambda x: ops.max_pool2d(x, 3, 2),
     lambda x: pooled(-np.inf, lax.max, x, 3, 2), distinct((2, 2, 7, 7))),
    ("avg_pool2d", lambda x: ops.avg_pool2d(x, 2),
     lambda x: pooled(0, lax.add, x, 2, 2, 4), normal((2, 2, 6, 5))),
]  # fmt: skip


def ours(function, arrays):
    """Return our value, and the gradients of its projection, compiled."""
    inputs = [symbolic.tensor(f"x{i}", a.dtype, a.shape) for i, a in enumerate(arrays)]
    y = function(*inputs)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    slopes = symbolic.grad(ops.sum(y * weights), inputs, disconnected="zero")
    f = symbolic.function(inputs, [y, *slopes], on_unused_input="ignore")
    results = f(*arrays)
    assert f.fallback is None
    return results


def theirs(function, arrays):
    """Return JAX's."""
    y = function(*arrays)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)

    def projected(inputs):
        return jnp.sum(function(*inputs) * weights)

    return [y, *jax.grad(projected)([jnp.asarray(a) for a in arrays])]


def assert_agree(mine, yours, dtype):
    for actual, expected in zip(mine, yours, strict=True):
        expected = np.asarray(expected)
        assert actual.dtype == expected.dtype == dtype
        limit = 500 * np.finfo(dtype).eps * max(1, np.max(np.abs(expected), initial=0))
        np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit, strict=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "mine", "yours", "sample"), TABLE, ids=[r[0] for r in TABLE])
def test_value_and_gradient_are_jaxs(name, mine, yours, sample, dtype):
    arrays = [np.asarray(a, dtype) for a in sample(np.random.default_rng(len(name)))]
    assert_agree(ours(mine, arrays), theirs(yours, arrays), dtype)


def test_there_are_enough_of_them():
    assert len({row[0] for row in TABLE}) == len(TABLE) >= 140


# --- control flow ------------------------------------------------------------------------------

STEPS = 6


def rnn_inputs(dtype):
    rng = np.random.default_rng(0)
    shapes = (STEPS, 3), (4,), (3, 4), (4, 4)
    return [(0.5 * rng.standard_normal(s)).astype(dtype) for s in shapes]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("back", [False, True])
def test_scan_is_laxs(back, dtype):
    def mine(xs, h0, wx, wh):
        hs, ys = symbolic.scan(
            lambda x, h: [ops.tanh(x @ wx + h @ wh), ops.sum(h * h)],
            xs, outputs_info=[h0, None], go_backwards=back,
        )  # fmt: skip
        return ops.concatenate([hs, ops.expand_dims(ys, 1)], 1)

    def yours(xs, h0, wx, wh):
        def step(h, x):
            after = jnp.tanh(x @ wx + h @ wh)
            return after, (after, jnp.sum(h * h))

        # Where theirs stacks by position, ours is in the order of the steps.
        hs, ys = lax.scan(step, h0, xs[::-1] if back else xs)[1]
        return jnp.concatenate([hs, ys[:, None]], 1)

    arrays = rnn_inputs(dtype)
    assert_agree(ours(mine, arrays), theirs(yours, arrays), dtype)


def test_scan_of_a_scan_is_laxs():
    """A polynomial's value by Horner's rule, at each element: the inner loop's length is 4."""

    def mine(x, c):
        def at(xi):
            return symbolic.scan(lambda ck, p: p * xi + ck, c, outputs_info=ops.zeros_like(xi))[-1]

        return symbolic.scan(at, x)

    def yours(x, c):
        def at(_, xi):
            return None, lax.scan(lambda p, ck: (p * xi + ck, None), jnp.zeros_like(xi), c)[0]

        return lax.scan(at, None, x)[1]

    arrays = [np.random.default_rng(0).standard_normal(n) for n in (5, 4)]
    assert_agree(ours(mine, arrays), theirs(yours, arrays), np.float64)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ifelse_is_laxs_cond(sign):
    def mine(x, y):
        return symbolic.ifelse(ops.greater(ops.sum(x), 0), ops.exp(x) * y, ops.sin(y) - x)

    def yours(x, y):
        return lax.cond(jnp.sum(x) > 0, lambda: jnp.exp(x) * y, lambda: jnp.sin(y) - x)

    rng = np.random.default_rng(0)
    arrays = [sign * rng.uniform(0.5, 1, (3, 4)), rng.standard_normal(4)]
    assert_agree(ours(mine, arrays), theirs(yours, arrays), np.float64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_while_loop_is_laxs(dtype):
    """Newton's square root, until it moves no more than a little."""
    x = symbolic.vector("x", dtype)
    limit = dtype(1e-4)
    _, mine, steps = symbolic.while_loop(
        lambda old, new, n: ops.greater(ops.max(ops.absolute(new - old)), limit),
        lambda old, new, n: [new, (new + x / new) / 2, n + 1],
        [ops.zeros_like(x), x, np.int64(0)],
    )

    def yours(x):
        return lax.while_loop(
            lambda s: jnp.max(jnp.abs(s[1] - s[0])) > limit,
            lambda s: (s[1], (s[1] + x / s[1]) / 2, s[2] + 1),
            (jnp.zeros_like(x), x, 0),
        )[1:]

    values = np.random.default_rng(0).uniform(0.5, 40, 7).astype(dtype)
    f = symbolic.function([x], [mine, steps])
    (root, taken), (expected, theirs_taken) = f(values), yours(values)
    assert f.fallback is None
    assert taken == theirs_taken
    assert_agree([root], [expected], dtype)
    np.testing.assert_allclose(root, np.sqrt(values), rtol=1e-6)
