"""Batching on the fly: the same numbers as one by one, from far fewer operations."""

import threading
from importlib import import_module as program

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import dynamic, gradcheck
from workbench.datasets import expression_trees
from workbench.dynamic import ops
from workbench.dynamic.batching import RULES, batching
from workbench.dynamic.batching.lazy import Lazy
from workbench.dynamic.batching.rows import Pieces
from workbench.dynamic.batching.rules import elementwise
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import GraphError, OptionError, ShapeError, UnknownNameError

GROUPING = ("agenda", "depth")
EPS = np.finfo(np.float64).eps


def leaf(data, dtype=np.float64):
    return dynamic.tensor(data, requires_grad=True, dtype=dtype)


def integers(rng, *shape):
    """Small integers as float64: sums and products of them are exact in any order."""
    return leaf(rng.integers(-2, 3, shape))


def both(program, parameters, strategy):
    """Return losses and gradients of a program, run one by one and batched."""
    results = []
    for batch in (None, batching(strategy)):
        if batch is None:
            losses = program()
        else:
            with batch:
                losses = program()
        total = losses[0]
        for each in losses[1:]:
            total = total + each
        found = dynamic.grad(total, parameters, allow_unused=True)
        results.append([x.numpy() for x in (*losses, *found) if x is not None])
    return (*results, batch.report)


def assert_same(program, parameters, strategy="agenda", exact=False, summed=None):
    """Hold a batched program to the eager one: bit for bit, or to rounding.

    The bound: with all numbers of magnitude at most m and each sum of at most n terms, a
    sum in another order differs by less than 2 n eps m.  Programs held to it keep the
    effect of each such difference on the result below its own size (their weights are
    contractions), so that ``summed``, terms in all, stands for n.
    """
    eager, batched, report = both(program, parameters, strategy)
    for x, y in zip(eager, batched, strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        if exact:
            np.testing.assert_array_equal(x, y)
        else:
            bound = 2 * summed * np.finfo(x.dtype).eps * max(1, np.abs(x).max(initial=0))
            assert np.abs(x - y).max(initial=0) <= bound
    return report


# --- models -----------------------------------------------------------------------------


def recursive(rng, draw, width=3):
    """Return a recursive network over expression trees, and its parameters."""
    w_leaf, w, b = draw(rng, 1, width), draw(rng, 2 * width, width), draw(rng, width)

    def encode(tree, f):
        if tree.op == "leaf":
            return f(ops.affine(np.array([[np.round(4 * tree.value)]]), w_leaf))
        both = [encode(tree.left, f), encode(tree.right, f)]
        return f(ops.affine(ops.concatenate(both, axis=1), w, b))

    return encode, [w_leaf, w, b]


def normal(rng, *shape):
    return leaf(rng.normal(size=shape) / 2 / max(shape))


@pytest.mark.parametrize("strategy", GROUPING)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_random_trees_give_the_same_losses_and_gradients(strategy, seed):
    rng = np.random.default_rng(seed)
    trees = expression_trees(int(rng.integers(1, 12)), 1, leaves=(1, 9), seed=seed).x_train
    encode, parameters = recursive(rng, normal)
    nodes = sum(2 * tree.leaves - 1 for tree in trees)
    report = assert_same(lambda: [ops.sum(encode(tree, ops.tanh)) for tree in trees],
                         parameters, strategy, summed=6 * nodes)  # fmt: skip
    assert report.before == sum(5 * tree.leaves - 3 + 1 for tree in trees)


@pytest.mark.parametrize("strategy", GROUPING)
@pytest.mark.parametrize("seed", range(5))
def test_where_sums_are_exact_so_are_trees(strategy, seed):
    rng = np.random.default_rng(seed)
    trees = expression_trees(8, 1, leaves=(1, 6), seed=seed).x_train
    encode, parameters = recursive(rng, integers)
    small = lambda x: ops.clip(x, -8.0, 8.0)  # noqa: E731
    assert_same(lambda: [ops.sum(encode(tree, small)) for tree in trees],
                parameters, strategy, exact=True)  # fmt: skip


def test_without_grouping_it_is_the_eager_program_bit_for_bit():
    rng = np.random.default_rng(0)
    encode, parameters = recursive(rng, normal)
    trees = expression_trees(6, 1, leaves=(1, 6)).x_train
    report = assert_same(lambda: [ops.sum(encode(tree, ops.tanh)) for tree in trees],
                         parameters, "none", exact=True)  # fmt: skip
    assert report.before == report.after


@pytest.mark.parametrize("strategy", GROUPING)
def test_lstms_over_sequences_of_all_lengths(strategy):
    rng = np.random.default_rng(1)
    wx, wh, b, h0, w = (normal(rng, *s) for s in ((3, 16), (4, 16), (16,), (4,), (4,)))
    sequences = [rng.normal(size=(n, 3)) for n in (5, 1, 7, 2, 7, 4, 6, 3, 7, 5, 2, 6)]

    def program():
        losses = []
        for sequence in sequences:
            h, c = h0, h0 * 0.5
            for x in sequence:
                i, f, o, u = ops.reshape(x @ wx + h @ wh + b, (4, 4))
                c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(u)
                h = ops.sigmoid(o) * ops.tanh(c)
            losses.append(h @ w)
        return losses

    report = assert_same(program, [wx, wh, b, h0, w], strategy, summed=55 * 12)
    assert report.after < report.before / 3


@pytest.mark.parametrize("strategy", GROUPING)
@pytest.mark.parametrize("seed", range(25))
def test_random_graphs_of_mixed_operations(strategy, seed):
    rng = np.random.default_rng(seed)
    shared = [integers(rng, 3), integers(rng, 3, 3), integers(rng, 2, 3)]
    data = rng.integers(-2, 3, (6, 2, 3)).astype(float)
    choices = rng.integers(0, 1000, (6, 14, 3))

    def program():
        losses = []
        for x, steps in zip(data, choices, strict=True):
            values = [dynamic.tensor(x), shared[2] * 1.0]
            for kind, a, b in steps:
                p, q = values[a % len(values)], values[b % len(values)]
                new = [
                    lambda p, q: p + q, lambda p, q: p - q * shared[0],
                    lambda p, q: ops.maximum(p, q), lambda p, q: p @ shared[1],
                    lambda p, q: ops.relu(p), lambda p, q: ops.sum(p, axis=0, keepdims=True) + q,
                    lambda p, q: ops.concatenate([p[:1], q[1:]]),
                    lambda p, q: ops.stack([p[1], q[0]]),
                    lambda p, q: ops.transpose(ops.reshape(p, (3, 2))) - q,
                    lambda p, q: ops.where(data[0] > 0, p, q),
                ][kind % 10](p, q)  # fmt: skip
                values.append(ops.clip(new, -3, 3))
            losses.append(ops.sum(values[-1] + values[-2]))
        return losses

    assert_same(program, shared, strategy, exact=True)


# --- each rule ---------------------------------------------------------------------------

S = "shared"
RULED = {
    "broadcasting": (lambda x, y: x * y, [(2, 3), (3,)]),
    "broadcasting a shared one": (lambda x, y: x * y, [(3,), (S, 4, 3)]),
    "broadcasting all": (lambda x, y, z: ops.where(y > 0, x, z), [(3,), (S, 2, 3), ()]),
    "vector @ vector": (ops.matmul, [(3,), (3,)]),
    "vector @ matrix": (ops.matmul, [(3,), (3, 2)]),
    "matrix @ vector": (ops.matmul, [(2, 3), (3,)]),
    "matrix @ matrix": (ops.matmul, [(2, 3), (3, 4)]),
    "matrices @ matrix": (ops.matmul, [(5, 2, 3), (3, 4)]),
    "matrix @ matrices": (ops.matmul, [(2, 3), (5, 3, 4)]),
    "vector @ matrices": (ops.matmul, [(3,), (5, 3, 4)]),
    "vector @ shared": (ops.matmul, [(3,), (S, 3, 2)]),
    "vector @ shared vector": (ops.matmul, [(3,), (S, 3)]),
    "matrix @ shared": (ops.matmul, [(2, 3), (S, 3, 2)]),
    "matrix @ shared vector": (ops.matmul, [(2, 3), (S, 3)]),
    "matrices @ shared": (ops.matmul, [(4, 2, 3), (S, 3, 2)]),
    "vector @ shared matrices": (ops.matmul, [(3,), (S, 4, 3, 2)]),
    "shared @ vector": (ops.matmul, [(S, 2, 3), (3,)]),
    "shared vector @ vector": (ops.matmul, [(S, 3), (3,)]),
    "shared vector @ matrix": (ops.matmul, [(S, 3), (3, 2)]),
    "shared @ matrix": (ops.matmul, [(S, 2, 3), (3, 4)]),
    "shared @ matrices": (ops.matmul, [(S, 2, 3), (5, 3, 4)]),
    "shared matrices @ vector": (ops.matmul, [(S, 5, 2, 3), (3,)]),
    "affine": (ops.affine, [(2, 3), (S, 3, 4), (S, 4)]),
    "affine of weights of each": (ops.affine, [(2, 3), (3, 4), (S, 4)]),
    "conv2d": (ops.conv2d, [(2, 1, 4, 4), (S, 2, 1, 3, 3), (S, 2)]),
    "sum": (ops.sum, [(2, 3)]),
    "sum of numbers": (ops.sum, [()]),
    "sum over an axis": (lambda x: ops.sum(x, axis=-1), [(2, 3)]),
    "sum over axes": (lambda x: ops.sum(x, axis=(0, 2), keepdims=True), [(2, 3, 2)]),
    "max": (lambda x: ops.max(x, axis=1), [(2, 3)]),
    "logsumexp": (lambda x: ops.logsumexp(x, axis=0), [(2, 3)]),
    "softmax": (ops.softmax, [(2, 3)]),
    "log_softmax": (lambda x: ops.log_softmax(x, axis=0), [(2, 3)]),
    "reshape": (lambda x: ops.reshape(x, (3, -1)), [(2, 3)]),
    "transpose": (ops.transpose, [(2, 3, 4)]),
    "transpose axes": (lambda x: ops.transpose(x, (1, -1, 0)), [(2, 3, 4)]),
    "broadcast_to": (lambda x: ops.broadcast_to(x, (4, 2, 3)), [(2, 1)]),
    "concatenate": (lambda x, y: ops.concatenate([x, y], axis=1), [(2, 3), (2, 3)]),
    "concatenate last": (lambda x, y: ops.concatenate([x, y], axis=-1), [(2, 3), (2, 1)]),
    "concatenate a shared one": (lambda x, y: ops.concatenate([x, y]), [(2, 3), (S, 1, 3)]),
    "stack": (lambda x, y: ops.stack([x, y, x]), [(2, 3), (2, 3)]),
    "stack last": (lambda x, y: ops.stack([x, y], axis=-1), [(2, 3), (2, 3)]),
    "stack a shared one": (lambda x, y: ops.stack([x, y], axis=1), [(2, 3), (S, 2, 3)]),
    "getitem int": (lambda x: x[-1], [(2, 3)]),
    "getitem slice": (lambda x: x[..., ::-2], [(2, 3)]),
    "getitem new axis": (lambda x: x[None, 1, :2], [(2, 3)]),
    "getitem rows": (lambda x: x[np.array([1, 0, 1])], [(2, 3)]),
    "getitem one by one": (lambda x: x[:, [1, 0, 1]], [(2, 3)]),
    "getitem mask": (lambda x: x[np.array([True, False])], [(2, 3)]),
    "what is shared alone": (lambda x, w: x @ (ops.exp(w) + 1.0).T, [(3,), (S, 2, 3)]),
    "embedding": (lambda x, w: ops.embedding(np.array([2, 0, 2]), w) * x, [(3,), (S, 3, 3)]),
    "row of a table": (lambda x, w: w[2] * x, [(3,), (S, 3, 3)]),
    "cross-entropy": (lambda x: ops.softmax_cross_entropy(x, np.array([1, 0])), [(2, 3)]),
}  # fmt: skip


ONE_BY_ONE = {"affine of weights of each", "getitem one by one"}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("name", RULED)
def test_each_rule_gives_what_the_operation_gives(name, computed):
    f, shapes = RULED[name]
    rng = np.random.default_rng(3)
    shared = {k: leaf(rng.normal(size=s[1:])) for k, s in enumerate(shapes) if S in s}
    given = [{k: leaf(rng.normal(size=s)) for k, s in enumerate(shapes) if S not in s}
             for _ in range(5)]  # fmt: skip

    def program():
        losses = []
        for each in given:  # Arguments stand in rows of a result, or are tensors from outside.
            each = {k: x * 1.0 for k, x in each.items()} if computed else each
            args = {**each, **shared}
            losses.append(ops.sum(ops.sin(f(*(args[k] for k in sorted(args))))))
        return losses

    parameters = [*shared.values(), *(x for each in given for x in each.values())]
    report = assert_same(program, parameters, summed=1000)
    if computed:
        assert bool(report.unbatched()) == (name in ONE_BY_ONE)
        assert bool(report.at_once) == (name == "getitem mask")


def test_a_rule_of_ones_own_and_none():
    class Cube(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.args = (x,)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            return 3 * g * ctx.args[0] * ctx.args[0]

    x = leaf([1.0, 2.0, 3.0])

    def program():
        return [Cube.apply(x[k : k + 1] * 2.0) for k in range(3)]

    report = assert_same(program, [x], exact=True)
    assert report.unbatched() == ["cube (1,) -> (1,) float64"]
    RULES[Cube] = elementwise
    try:
        report = assert_same(program, [x], exact=True)
    finally:
        del RULES[Cube]
    assert not report.unbatched()
    assert [row.size for row in report.rows if row.signature.cls is Cube] == [3]


def test_a_rule_that_gives_another_shape_is_refused():
    class Odd(dynamic.Function):
        @staticmethod
        def forward(ctx, x):
            return x[: int(x[0]) + 1]

        @staticmethod
        def backward(ctx, g):
            return None

    with (
        pytest.raises(ShapeError, match="odd gave another shape than it gave ones"),
        batching(),
    ):
        Odd.apply(dynamic.tensor([0.0, 0.0, 0.0]) * 1.0)


# --- what forces, and what does not -----------------------------------------------------


def test_shapes_are_known_without_running():
    w = leaf(np.ones((3, 4)))
    with batching() as batch:
        y = ops.affine(np.ones((2, 3)), w)
        assert (y.shape, y.dtype, y.ndim, y.size, len(y)) == ((2, 4), np.float64, 2, 8, 2)
        assert (y.device, y.requires_grad, type(y)) == ("cpu", True, Lazy)
        rows = list(y)
        assert rows[1].shape == (4,)
        assert not batch.report.rows
    assert batch.report.flushes == 0
    assert rows[1].numpy().tolist() == [3.0] * 4


def test_asking_runs_what_is_asked_for_and_nothing_else():
    w = leaf(2.0)
    with batching() as batch:
        first, second = w * 3.0, ops.exp(w)
        third = ops.tanh(second)
        assert first.item() == 6.0
        assert [row.signature.cls.name for row in batch.report.rows] == ["multiply"]
        assert third > 0.9
        assert [row.signature.cls.name for row in batch.report.rows][1:] == ["exp", "tanh"]
        assert float(second) == np.exp(2.0)
    assert batch.report.flushes == 2


def test_afterwards_results_are_ordinary_tensors():
    x = leaf([1.0, 2.0])
    with batching():
        y = x * 2.0
        constant = dynamic.tensor([1.0]) * 2.0
    y.sum().backward()
    assert type(y) is Tensor
    assert x.grad.data.tolist() == [2.0, 2.0]
    constant.requires_grad = True
    assert type(constant) is Tensor
    assert y.node.name == "positive"
    assert repr(y) == "tensor([2., 4.], node=positive)"


def test_results_have_their_own_memory():
    x = leaf([1.0, 2.0])
    with batching():
        ys = [x * 2.0 for _ in range(3)]
        doubled = [ops.tanh(y) for y in ys]
        ys[0] += 1.0
        ys[1][0] = 5.0
        with dynamic.no_grad():
            free = x + 1.0
            free *= 3.0
    assert [y.numpy().tolist() for y in ys] == [[3.0, 5.0], [5.0, 4.0], [2.0, 4.0]]
    assert free.numpy().tolist() == [6.0, 9.0]
    assert not free.requires_grad
    np.testing.assert_array_equal([y.numpy() for y in doubled], np.tanh([[2.0, 4.0]] * 3))
    total = ys[0].sum() + ys[1].sum() + doubled[0].sum() * 0.0
    total.backward()
    assert x.grad.data.tolist() == [2.0, 4.0]


def test_backward_inside_the_block():
    x = leaf([1.0, 2.0])
    with batching() as batch:
        for step in range(2):
            loss = ops.sum(ops.square(x))
            x.zero_grad()
            loss.backward()
            with dynamic.no_grad():
                x -= 0.25 * x.grad
            assert x.data.tolist() == [[0.5, 1.0], [0.25, 0.5]][step]
    assert batch.report.flushes >= 2


def test_gradients_of_gradients_go_through_groups():
    x = leaf([0.3, -0.2, 0.5])
    w = leaf([[0.2, 0.1], [0.4, -0.3]])

    def slope(x):
        with batching():
            h = [ops.tanh(x[k : k + 2] @ w) for k in range(2)]
            y = ops.sum(ops.stack([ops.sum(ops.concatenate([a, h[0]]) ** 3.0) for a in h]))
        return ops.sum(dynamic.grad(y, [x], create_graph=True)[0] ** 2.0)

    (d,) = dynamic.grad(slope(x), [x])
    gradcheck.check_gradient(lambda v: slope(leaf(v)).item(), d.data, x.data)


def test_the_gradient_of_an_inner_result_is_there_if_it_was_asked_for():
    w = leaf([[2.0]])
    with batching():
        losses, hidden = [], []
        for k in range(3):
            h = ops.affine(np.full((1, 1), float(k)), w)
            h.retain_grad()
            hidden.append(h)
            losses.append(ops.sum(h * h))
        loss = ops.sum(ops.stack(losses))
    loss.backward()
    assert [h.grad.item() for h in hidden] == [0.0, 4.0, 8.0]


# --- modes, nesting, errors ---------------------------------------------------------------


def test_no_grad_inside_is_kept_apart():
    w = leaf([[1.0, 2.0]])
    with batching() as batch:
        x = w * 3.0
        with dynamic.no_grad():
            constant = ops.tanh(x)
        recorded = ops.tanh(x)
        assert (constant.requires_grad, recorded.requires_grad) == (False, True)
    assert [row.size for row in batch.report.rows] == [1, 1, 1]
    assert constant.numpy().tolist() == recorded.numpy().tolist()
    with pytest.raises(GraphError, match="does not depend on any"):
        ops.sum(constant).backward()
    with dynamic.no_grad(), batching():
        y = ops.sum(w * 2.0)
    assert (y.item(), y.requires_grad) == (6.0, False)


def test_what_is_recorded_outside_no_grad_stays_on_the_tape_when_forced_inside():
    w = leaf(2.0)
    with batching():
        y = w * w
        with dynamic.no_grad():
            assert y.item() == 4.0
    y.backward()
    assert w.grad.item() == 4.0


def test_blocks_nest():
    w = leaf([1.0, 2.0])
    with batching() as outer:
        x = w * 2.0
        with batching("depth") as inner:
            y = ops.sum(x * x)
        assert (outer.report.before, inner.report.before) == (1, 2)
        z = y + ops.sum(x)
    z.backward()
    assert w.grad.data.tolist() == [10.0, 18.0]
    assert mode.intercept is None


def test_other_threads_are_left_alone():
    seen = []
    with batching():
        thread = threading.Thread(target=lambda: seen.append(type(leaf(1.0) * 2.0)))
        thread.start()
        thread.join()
    assert seen == [Tensor]


def test_an_exception_ends_the_block_without_running_anything():
    w = leaf(3.0)
    batch = batching()
    with pytest.raises(KeyError), batch:
        y = w * w
        raise KeyError
    assert mode.intercept is None
    assert not batch.report.rows
    assert y.item() == 9.0  # Whoever asks still gets it.
    y.backward()
    assert w.grad.item() == 6.0


def test_a_shape_error_is_raised_at_the_line_in_the_words_of_the_operation():
    w = leaf(np.ones((3, 4)))
    with batching():
        h = ops.affine(np.ones((1, 3)), w)
        for _ in range(2):
            with pytest.raises(ShapeError) as caught:
                ops.affine(h, w)
            assert str(caught.value) == (
                "affine: the shapes do not fit\n"
                "  given:    x (1, 4), w (3, 4), b=None\n"
                "  expected: x (N, D), w (D, K) and b (K,) with one D and one K"
            )
        with pytest.raises(ShapeError, match="getitem: index 7 is out of bounds"):
            h[0][7]
        with pytest.raises(OptionError, match="sum: axis 5 is out of bounds"):
            ops.sum(h, axis=5)
    assert h.numpy().tolist() == [[3.0] * 4]


def test_an_error_in_the_values_is_raised_when_the_group_runs():
    w = leaf(np.ones((1, 3)))
    with pytest.raises(OptionError, match="softmax_cross_entropy: a label is not a class"):  # noqa: SIM117
        with batching():
            for label in (0, 1, 3):
                ops.softmax_cross_entropy(w * 2.0, np.array([label]))
    assert mode.intercept is None


def test_what_cannot_be_told_in_advance_runs_at_once():
    a = leaf([[2.0, 1.0], [1.0, 3.0]])
    with batching() as batch:
        y = ops.sum(ops.inv(a * 1.0))
    assert batch.report.at_once == 1
    assert np.isclose(y.item(), np.linalg.inv(a.data).sum())
    y.backward()
    gradcheck.check_gradient(lambda v: np.linalg.inv(v).sum(), a.grad.data, a.data)


def test_an_edit_that_comes_too_late_is_refused():
    w, x = leaf([1.0]), dynamic.tensor([2.0])
    with pytest.raises(GraphError) as caught, batching():
        _ = w * x
        x += 1.0
    assert str(caught.value) == (
        "batching: a tensor was edited in place before an operation that was recorded on it had "
        "run\n  given:    an argument of multiply\n  fix:      ask for the results first "
        "(x.numpy(), loss.backward()), or edit it after the block"
    )
    with pytest.raises(GraphError, match="an argument of exp"), batching():
        _ = ops.exp(w)
        with dynamic.no_grad():
            w -= 1.0


def test_arrays_can_be_used_again_for_the_next_example():
    w, buffer = leaf([[2.0]]), np.empty((1, 1))
    with batching():
        ys = []
        for k in range(3):
            buffer[...] = k
            ys.append(ops.affine(buffer, w))
    assert [y.item() for y in ys] == [0.0, 2.0, 4.0]


def test_options_that_compare_equal_are_not_taken_for_each_other():
    x = leaf([1.0, 2.0])
    with batching():
        a, b = x * 0.0, x * -0.0
        c, d = dynamic.tensor([3]) * 1, dynamic.tensor([3]) * 1.0
        e, f = dynamic.tensor([3, 4])[1], dynamic.tensor([3, 4])[True]
    assert np.signbit(b.numpy()).all()
    assert not np.signbit(a.numpy()).any()
    assert (c.dtype, d.dtype) == (np.int64, np.float64)
    assert (e.shape, f.shape) == ((), (1, 2))


def test_random_masks_are_those_of_running_one_by_one():
    w = leaf(np.ones((4, 8)))

    def program():
        rng = np.random.default_rng(5)
        return [ops.sum(ops.dropout(w[k] * 2.0, 0.5, rng)) for k in range(4)]

    assert_same(program, [w], exact=True)


def test_weights_of_one_shape_keep_their_groups():
    rng = np.random.default_rng(0)
    a, b = integers(rng, 3, 3), integers(rng, 3, 3)

    def program():
        hs = [x @ a for x in rng_data]
        return [ops.sum((h @ w.T) @ ops.reshape(w, (3, 3))) for h in hs for w in (a, b)]

    rng_data = rng.integers(-2, 3, (5, 3)).astype(float)
    report = assert_same(program, [a, b], exact=True)
    assert [row.size for row in report.rows if row.signature.cls.name == "matmul"] == [5] * 5


def test_float32_stays_float32():
    w = leaf(np.ones((2, 2)), np.float32)

    def program():
        return [ops.mean(ops.sigmoid(np.ones((1, 2), np.float32) @ w / 3.0)) for _ in range(3)]

    assert_same(program, [w], summed=40)


# --- cost, and the report -----------------------------------------------------------------


def test_taking_all_rows_one_by_one_makes_few_copies_of_the_whole():
    x, n = leaf(np.ones(2)), 64
    with batching():
        ys = [x * float(k) for k in range(n)]
        ys = [ops.tanh(y) for y in ys]
    loss = ys[0].sum()
    for y in ys[1:]:
        loss = loss + y.sum()
    halves = [each for each in dynamic.graph(loss) if each.op == "get_item"]
    # Each element is in one half of each size: n log2(n) of them, and not n * n.
    assert sum(each.shape[0] for each in halves) == n * 6


def test_backward_costs_what_was_gathered(monkeypatch):
    made = []
    dense = Pieces.dense
    monkeypatch.setattr(Pieces, "dense", lambda self: made.append(self) or dense(self))
    w = leaf(np.ones((1, 6)))

    def cost(copies):
        made.clear()
        with batching():
            losses = []
            for k in [0, 1, 2, 3, 4] * copies:
                h = ops.affine(np.full((1, 1), float(k)), w)
                for _ in range(k):  # Chains of all lengths take rows from one group.
                    h = ops.tanh(h)
                losses.append(ops.sum(h[:, :2]) + ops.sum(h[:, 2:]))
            loss = ops.sum(ops.stack(losses))
        loss.backward()
        gathered = sum(np.size(g) for each in made for _, g, _ in each.parts)
        return len(made), gathered, sum(np.prod(each.shape) for each in made)

    (arrays, gathered, size), (arrays_2, gathered_2, size_2) = cost(4), cost(8)
    assert arrays == arrays_2 > 0  # One for each result, however often it is taken from.
    assert (gathered_2, size_2) == (2 * gathered, 2 * size)


def test_pieces_are_arrays_to_those_who_look():
    pieces = Pieces((3, 2), np.dtype(float), np.array([0, 0]), np.ones((2, 2)), True)
    total = pieces + Pieces((3, 2), np.dtype(float), slice(1, 3), np.ones((2, 2)), False)
    np.testing.assert_array_equal(np.asarray(total), [[2, 2], [1, 1], [1, 1]])


def test_the_program_of_the_comparison_trains_alike_with_and_without():
    trees = program("workbench.compare.programs.trees.dynamic")
    rng = np.random.default_rng(0)
    shapes = ((1, 12), (12,), (8, 20), (3, 20), (4, 2), (2,))
    weights = [rng.normal(size=s) / 4 for s in shapes]
    data = expression_trees(8, 1, dtype=np.float64)
    y = (data.y_train > 0).astype(int)
    one, many = (trees.Network(weights, 0.5, strategy) for strategy in (None, "agenda"))
    terms = 20 * sum(tree.leaves for tree in data.x_train)
    for _ in range(3):
        assert abs(one.step(data.x_train, y) - many.step(data.x_train, y)) < 2 * terms * EPS
    for a, b in zip(trees.weights(one), trees.weights(many), strict=True):
        assert np.abs(a - b).max() < 2 * terms * EPS
    assert many.predict(data.x_train).shape == (8, 2)


def test_the_agenda_runs_the_losses_of_examples_of_all_depths_together():
    rng = np.random.default_rng(0)
    encode, _ = recursive(rng, normal)
    trees = expression_trees(16, 1, leaves=(1, 12)).x_train
    sizes = {}
    for strategy in GROUPING:
        with batching(strategy) as batch:
            losses = [ops.sum(encode(tree, ops.tanh)) for tree in trees]
        sizes[strategy] = [r.size for r in batch.report.rows if r.signature.cls.name == "sum"]
        assert len(losses) == 16
    assert sizes["agenda"] == [16]
    assert len(sizes["depth"]) > 1
    assert sum(sizes["depth"]) == 16


def test_the_report_says_what_ran():
    w = leaf(np.ones((1, 2)))
    with batching() as batch:
        for k in range(3):
            y = ops.affine(np.full((1, 1), float(k)), w)
        y.numpy()
        ops.cumsum(y, axis=1)
    lines = [
        "signature                                        calls   groups  largest      ran",
        "affine (1, 1) (1, 2) -> (1, 2) float64               3        1        3        3",
    ]
    printed = str(batch.report).splitlines()
    assert [" ".join(line.split()) for line in printed[:2]] == [" ".join(x.split()) for x in lines]
    assert printed[-1].startswith("4 operations recorded, ")
    assert printed[-1].endswith("1 early requests for a value, 0 calls at once")
    assert "one by one" in printed[2]
    row = batch.report.rows[0]
    assert (row.size, row.batched, batch.report.flushes) == (3, True, 1)
    assert batch.report.before == 4


def test_an_unknown_strategy_is_refused():
    with pytest.raises(UnknownNameError) as caught:
        batching("agend")
    assert str(caught.value) == (
        "batching: there is no strategy called 'agend'\n  given:    'agend'\n"
        "  expected: one of agenda, depth, none\n  fix:      did you mean 'agenda'?"
    )


def test_a_block_inside_autocast_is_refused_with_the_way_out():
    with (
        dynamic.amp.autocast(),
        pytest.raises(GraphError, match="put autocast inside"),
        dynamic.batching(),
    ):
        pass
