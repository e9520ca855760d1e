"""What JAX's autodiff tutorials teach, written anew from the mathematics: one program, two sides.

m is ``jax`` with its neighbours, or ``workbench.functional``; numbers agree to rounding, and
where there is a closed form, both agree with that.
"""

import jax
import numpy as np
import pytest
from functional_table import OURS, THEIRS

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((5, 3)), np.array([1.0, 0, 1, 1, 0])
W, B, V = RNG.standard_normal(3), np.float64(0.3), RNG.standard_normal(3)
HIDDEN = [RNG.standard_normal((1, 4)), RNG.standard_normal(4), RNG.standard_normal((4, 1))]


def predict(m, w, b, x):
    return m.sigmoid(x @ w + b)


def cost(m, w, b):
    p = predict(m, w, b, X)
    return -m.sum(LABELS * m.log(p) + (1 - LABELS) * m.log(1 - p))


def logistic_regression(m):
    """Gradients of every argument, of a dict of them, and a quotient beside them."""
    gw, gb = m.grad(lambda w, b: cost(m, w, b), (0, 1))(W, B)
    tree = m.grad(lambda p: cost(m, p["w"], p["b"]))({"w": W, "b": B})
    by_hand = X.T @ (1 / (1 + np.exp(-(X @ W + B))) - LABELS)
    return gw, gb, tree, gw - by_hand, m.value_and_grad(lambda w: cost(m, w, B))(W)


def jacobians_and_hessian(m):
    """The Jacobian two ways, and four nestings of a Hessian."""

    def f(w):
        return predict(m, w, B, X)

    def loss(w):
        return cost(m, w, B)

    both = m.jacfwd, m.jacrev
    return [j(f)(W) for j in both], [outer(inner(loss))(W) for outer in both for inner in both]


def hessian_vector(m):
    """Forward over reverse, reverse over forward, reverse over reverse, and the whole matrix."""

    def loss(w):
        return cost(m, w, B)

    gradient = m.grad(loss)
    return (
        m.jvp(gradient, (W,), (V,))[1],
        m.grad(lambda w: m.jvp(loss, (w,), (V,))[1])(W),
        m.grad(lambda w: m.sum(gradient(w) * V))(W),
        m.hessian(loss)(W) @ V,
    )


def matrix_jacobian(m):
    """Rows and columns of a Jacobian, pulled and pushed many at once."""
    rows, columns = RNG_ROWS, np.eye(3)
    y, pull = m.vjp(lambda w: predict(m, w, B, X), W)
    push = m.linearize(lambda w: predict(m, w, B, X), W)[1]
    return y, m.vmap(lambda g: pull(g)[0])(rows), m.vmap(push)(columns)


RNG_ROWS = RNG.standard_normal((4, 5))


def per_example(m):
    """The gradient of each example's loss, without a loop."""

    def loss(w, x, y):
        return (m.tanh(x @ w) - y) ** 2

    gradients = m.vmap(m.grad(loss), in_axes=(None, 0, 0))
    return gradients(W, X, LABELS), m.jit(gradients)(W, X, LABELS)


def higher_orders(m):
    """x**3 + 2x**2 - 3x + 1, differentiated until nothing is left."""
    f, found = (lambda x: x**3 + 2 * x**2 - 3 * x + 1), []
    for _ in range(5):
        found.append(f(np.float64(1.5)))
        f = m.grad(f)
    return found


def perturbations(m):
    """d/dx (x * d/dy (x + y)): 1, and 2 wherever the two perturbations are confused."""
    x = np.float64(1.3)
    return (
        m.grad(lambda x: x * m.grad(lambda y: x + y)(np.float64(2.0)))(x),
        m.jvp(lambda x: x * m.jvp(lambda y: x + y, (x,), (np.float64(1),))[1], (x,),
              (np.float64(1),)),
    )  # fmt: skip


def wave(m, params, x):
    w1, b1, w2 = params
    return (m.tanh(x[:, None] @ w1 + b1) @ w2)[:, 0]


def maml(m):
    """The gradient, through one inner step, of sine waves' losses after it, over four tasks."""
    amplitude, phase = np.linspace(0.5, 2, 4), np.linspace(0, 2, 4)
    xs = np.linspace(-3, 3, 6)

    def task(params, a, p):
        def own(params):
            return m.mean((wave(m, params, xs) - a * m.sin(xs + p)) ** 2)

        inner = m.grad(own)(params)
        return own([q - 0.1 * g for q, g in zip(params, inner, strict=True)])

    def meta(params):
        return m.mean(m.vmap(lambda a, p: task(params, a, p))(amplitude, phase))

    return m.value_and_grad(meta)(HIDDEN), m.jit(m.grad(meta))(HIDDEN)


def semi_gradient(m):
    """Temporal difference: the target is a constant, though it is made of the parameters."""

    def value(theta, s):
        return m.sum(theta * s)

    def loss(theta):
        target = 1.0 + m.stop_gradient(value(theta, X[1]))
        return (target - value(theta, X[0])) ** 2

    delta = -2 * (1 + W @ X[1] - W @ X[0]) * X[0]
    return m.grad(loss)(W), m.grad(loss)(W) - delta


def straight_through(m):
    """Rounding whose derivative is that of the identity."""

    def through(x):
        return x + m.stop_gradient(m.round(x) - x)

    return m.vmap(m.value_and_grad(lambda x: through(x) ** 2))(W)


def stable_log1pexp(m):
    """log(1 + e^x) at 100: the derived rule says nan, one's own says 1."""
    f = m.custom_jvp(lambda x: m.log(1.0 + m.exp(x)))
    f.defjvp(lambda xs, ts: (f(*xs), (1 - 1 / (1 + m.exp(xs[0]))) * ts[0]))
    at = np.array([-3.0, 0.0, 3.0, 100.0])
    slope = m.grad(f)
    return m.vmap(slope)(at), m.jit(m.vmap(slope))(at), m.vmap(m.grad(slope))(at)


def ratio_at_zero(m):
    """x / (1 + sqrt(x)) has a slope of 1 at 0, which the rules of its parts cannot see."""
    f = m.custom_jvp(lambda x: x / (1 + m.sqrt(x)))

    @f.defjvp
    def rule(xs, ts):
        (x,), (t,) = xs, ts
        return f(x), (m.sqrt(x) + 2) / (2 * (m.sqrt(x) + 1) ** 2) * t

    return m.grad(f)(np.float64(0.0)), m.grad(f)(np.float64(2.0))


def rules_by_term(m):
    """A derivative a term (defjvps), and an argument that is none (nondiff_argnums)."""
    f = m.custom_jvp(lambda x, y: m.sin(x) * y)
    f.defjvps(lambda t, ans, x, y: m.cos(x) * t * y, lambda t, ans, x, y: m.sin(x) * t)

    def applied(g, x):
        return g(x)

    h = m.custom_jvp(applied, nondiff_argnums=(0,))
    h.defjvp(lambda g, xs, ts: (g(xs[0]), 2.0 * ts[0]))
    x, y = np.float64(2.0), np.float64(3.0)
    return m.grad(f, (0, 1))(x, y), m.grad(lambda x: h(m.sin, x))(y)


def clipped_gradient(m):
    """The identity, except for what comes back through it."""
    f = m.custom_vjp(lambda low, high, x: x)
    f.defvjp(lambda low, high, x: (x, (low, high)),
             lambda r, g: (None, None, m.clip(g, r[0], r[1])))  # fmt: skip
    slope = m.grad(lambda x: m.sin(f(-0.75, 0.75, x)))
    return m.vmap(slope)(np.linspace(0, 6, 9)), m.vmap(m.grad(slope))(np.linspace(0, 6, 9) + 0.05)


def fixed_point(m):
    """Newton's square root: its derivative from the fixed point's equation, not the iterates.

    At x = f(a, x), dx = (I - df/dx)^-1 df/da da; the adjoint is a fixed point again.
    """

    def solve(f, x):
        return m.while_loop(lambda s: m.abs(s[0] - s[1]) > 1e-13, lambda s: (s[1], f(s[1])),
                            (x, f(x)))[1]  # fmt: skip

    def step(a, x):
        return 0.5 * (x + a / x)

    root = m.custom_vjp(lambda a, x: solve(lambda x: step(a, x), x))

    def backward(saved, g):
        a, x = saved
        by_x = m.vjp(lambda x: step(a, x), x)[1]
        u = solve(lambda u: g + by_x(u)[0], g)
        return m.vjp(lambda a: step(a, x), a)[1](u)[0], None

    root.defvjp(lambda a, x: (lambda y: (y, (a, y)))(root(a, x)), backward)
    a = np.float64(3.0)
    slope = m.grad(lambda a: root(a, a))
    return root(a, a), slope(a), slope(a) - 0.5 / np.sqrt(3.0)


def checkpointed(m):
    """Layers computed again on the way back, each of them or with their products kept."""

    def layer(w, x):
        return m.tanh(m.checkpoint_name(x @ w, "product"))

    policies = m.checkpoint_policies if m is THEIRS else m.policies
    kept = [policies.nothing_saveable, policies.everything_saveable, policies.dots_saveable]
    square = RNG_ROWS[:3, :3]

    def loss(w, apply):
        return m.sum(apply(w, apply(w, apply(w, X))))

    return [m.grad(lambda w, p=p: loss(w, m.checkpoint(layer, policy=p)))(square) for p in kept]


def rematerialised_scan(m):
    """A long recurrence whose body is a checkpoint, against the same without."""

    def loss(w, wrap):
        def body(h, x):
            h = m.tanh(h * w + x)
            return h, m.sum(h)

        return m.sum(m.scan(wrap(body), np.zeros(3), X)[1])

    return m.grad(lambda w: loss(w, m.checkpoint))(W), m.grad(lambda w: loss(w, lambda f: f))(W)


def loops(m):
    """Forward through a while loop, both ways through a counted one and a scan."""

    def halved(x):
        return m.while_loop(lambda s: s > 1.0, lambda s: s * m.cos(s) / 2, x)

    def powered(x):
        return m.fori_loop(0, 5, lambda i, s: s * x, m.ones_like(x))

    x, one = np.float64(1.7), np.float64(1.0)
    return m.jvp(halved, (x,), (one,)), m.grad(powered)(x), m.grad(m.grad(powered))(x), \
        m.grad(lambda c: m.scan(lambda s, _: (m.sin(s * c), s), c, None, length=6)[0])(x)  # fmt: skip


PROGRAMS = [logistic_regression, jacobians_and_hessian, hessian_vector, matrix_jacobian,
            per_example, higher_orders, perturbations, maml, semi_gradient, straight_through,
            stable_log1pexp, ratio_at_zero, rules_by_term, clipped_gradient, fixed_point,
            checkpointed, rematerialised_scan, loops]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_same_program_gives_the_same_numbers(program):
    mine, theirs = jax.tree.leaves(program(OURS)), jax.tree.leaves(program(THEIRS))
    assert len(mine) == len(theirs) > 0
    for actual, expected in zip(mine, theirs, strict=True):
        assert np.all(np.isfinite(expected))
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
