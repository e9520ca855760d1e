"""Losses: at their limits, and how they refuse.  Their values are rows of the conformance table."""

import numpy as np
import pytest

from workbench import dynamic
from workbench.dynamic import ops
from workbench.errors import DtypeError, OptionError, ShapeError

ZERO_ONE = np.array([0.0, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_stay_finite_where_probabilities_are_0_or_1(dtype):
    z = dynamic.tensor([-1e4, 1e4, 1e4, 0.0], requires_grad=True, dtype=dtype)
    t = np.array([0, 1, 0, 1], dtype)
    loss = ops.binary_cross_entropy_with_logits(z, t)
    loss.backward()
    np.testing.assert_allclose(loss.item(), (1e4 + np.log(2)) / 4, rtol=1e-6)
    np.testing.assert_allclose(z.grad.data, [0, 0, 0.25, -0.125], atol=1e-7)

    p = dynamic.tensor(ZERO_ONE, requires_grad=True, dtype=dtype)
    right = ops.binary_cross_entropy(p, ZERO_ONE.astype(dtype))
    assert right.item() == 0.0
    wrong = ops.binary_cross_entropy(p, ZERO_ONE[::-1].astype(dtype))
    np.testing.assert_allclose(wrong.item(), -np.log(np.finfo(dtype).tiny), rtol=1e-6)
    wrong.backward()
    assert np.isfinite(p.grad.data).all()


def test_divergence_of_distributions_with_zeros():
    p = np.array([[0.0, 1.0], [0.5, 0.5]])
    log_q = dynamic.tensor(np.log([[0.5, 0.5], [0.5, 0.5]]), requires_grad=True)
    loss = ops.kl_divergence(log_q, p)
    loss.backward()
    np.testing.assert_allclose(loss.item(), np.log(2) / 2, rtol=1e-15)
    np.testing.assert_array_equal(log_q.grad.data, -p / 2)


def test_distances_have_a_slope_where_they_are_zero():
    x = dynamic.tensor(np.ones((2, 3)), requires_grad=True)
    loss = ops.triplet_margin_loss(x, np.ones((2, 3)), np.full((2, 3), 1.1))
    (g,) = dynamic.grad(loss, x)
    np.testing.assert_allclose(g.data, 1 / np.sqrt(3) / 2, rtol=1e-9)  # Away from the far one.
    zero = dynamic.tensor(np.zeros((2, 3)), requires_grad=True)
    (g,) = dynamic.grad(ops.cosine_similarity(zero, np.ones((2, 3))).sum(), zero)
    assert np.isfinite(g.data).all()


def test_a_huber_loss_is_half_squares_inside_and_lines_outside():
    d = dynamic.tensor([-3.0, -1.0, 0.0, 0.5, 3.0], requires_grad=True)
    (g,) = dynamic.grad(ops.huber_loss(d, np.zeros(5)) * 5, d)
    np.testing.assert_allclose(g.data, [-1, -1, 0, 0.5, 1])
    assert ops.huber_loss(d[4:], np.zeros(1), delta=2.0).item() == 2 * (3 - 1)


def test_cross_entropy_without_options_is_softmax_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels = dynamic.tensor(rng.standard_normal((5, 3)) * 50), rng.integers(0, 3, 5)
    ours, known = ops.cross_entropy(logits, labels), ops.softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(ours.item(), known.item(), rtol=1e-14)
    np.testing.assert_allclose(
        ops.nll_loss(ops.log_softmax(logits, 1), labels).item(), known.item(), rtol=1e-14
    )


def test_ignored_examples_have_no_gradient_and_labels_of_any_number():
    logits = dynamic.tensor(np.eye(3), requires_grad=True)
    labels = np.array([0, -100, 2])
    loss = ops.cross_entropy(logits, labels, ignore=-100)
    (g,) = dynamic.grad(loss, logits)
    assert not g.data[1].any()
    np.testing.assert_allclose(
        loss.item(), ops.softmax_cross_entropy(logits[[0, 2]], labels[[0, 2]]).item(), rtol=1e-15
    )


X, LABELS = np.zeros((4, 3)), np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: ops.mean_absolute_error(np.zeros((4, 1)), np.zeros(4)),
            ShapeError,
            "mean_absolute_error: prediction and target differ in shape\n"
            "  given:    prediction (4, 1), target (4,)\n  expected: equal shapes",
        ),
        (
            lambda: ops.binary_cross_entropy(np.array([0.5, 1.5]), ZERO_ONE),
            OptionError,
            "binary_cross_entropy: these are not probabilities\n  given:    p from 0.5 to 1.5\n"
            "  expected: 0 to 1\n  fix:      for logits, use binary_cross_entropy_with_logits",
        ),
        (
            lambda: ops.binary_cross_entropy(np.array([0.5, np.nan]), ZERO_ONE),
            OptionError,
            "these are not probabilities",
        ),
        (
            lambda: ops.nll_loss(X, LABELS + 1),
            OptionError,
            "nll_loss: a label is not a class",
        ),
        (
            lambda: ops.nll_loss(X, X[:, 0]),
            DtypeError,
            "nll_loss: labels are class numbers",
        ),
        (
            lambda: ops.multi_margin_loss(X, LABELS[:3]),
            ShapeError,
            "multi_margin_loss: logits and labels do not fit together",
        ),
        (
            lambda: ops.cross_entropy(X, LABELS, smoothing=1.0),
            OptionError,
            "cross_entropy: smoothing is a share below 1\n  given:    smoothing=1.0",
        ),
        (
            lambda: ops.cross_entropy(X, LABELS, weights=np.ones(4)),
            ShapeError,
            "cross_entropy: weights do not fit the logits\n"
            "  given:    logits (4, 3), weights (4,)\n  expected: (3,)",
        ),
        (
            lambda: ops.cross_entropy(X, LABELS * 0, ignore=0),
            OptionError,
            "cross_entropy: no example is left\n  given:    ignore=0, which they all are",
        ),
        (
            lambda: ops.cross_entropy(X, [0, 1, 2, 0]),
            DtypeError,
            "cross_entropy: labels are class numbers\n  given:    labels of list",
        ),
        (
            lambda: ops.triplet_margin_loss(X, X, X[:2]),
            ShapeError,
            "triplet_margin_loss: anchor and far differ in shape\n"
            "  given:    anchor (4, 3), far (2, 3)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(call, error, text):
    with pytest.raises(error) as refusal:
        call()
    assert text in str(refusal.value)
