"""The same algebra, where numbers stay finite and keep their digits."""

from __future__ import annotations

from typing import Any

from workbench.symbolic import ops
from workbench.symbolic.graph import Variable, apply
from workbench.symbolic.rewriting.legality import floating, not_negative, single
from workbench.symbolic.rewriting.passes import DOMAIN, ROUNDING, Match, Pass, Rule
from workbench.symbolic.rewriting.patterns import head, number


def _one_axis(m: Match) -> bool:
    return len(m.A) == 1


def _log_of_pick(m: Match) -> Variable:
    node = m.node.inputs[0].owner
    assert node is not None
    return apply(node.op, ops.log_softmax(m.X, m.A), *node.inputs[1:])


def _denominator(m: Match) -> bool:
    """X is no number, and is as long as the product: nothing was broadcast."""
    return floating(m) and number(m.X) is None and m.sizes(m.X) == m.sizes(m.y)


def _beside_softmax(m: Match) -> tuple[Variable, Any]:
    """Return the two factors of a product, the softmax first, the other as a node."""
    a, b = m.node.inputs
    return (a, b.owner) if head(a) == "softmax" else (b, a.owner)


def _slope_of_pick(m: Match) -> Variable:
    """Multiply what is put in zeros instead of all that it is put in."""
    softmax, put = _beside_softmax(m)
    zeros, slope, *index = put.inputs
    return apply(put.op, zeros, slope * apply(put.op.at, softmax, *index), *index)


def _centred_slope_of_pick(m: Match) -> Variable:
    softmax, difference = _beside_softmax(m)
    put, centre = difference.inputs
    return softmax * put - centre * softmax


_TOP = "max(X, axis=A, keepdims=True)"
_EXP_SUM = "sum(exp(X), axis=A, keepdims=True)"

STABILISE = Pass("stabilise", (
    Rule("cancel", "X / X", "1", "0 / 0 and inf / inf are NaN, the quotient of equals is 1",
         DOMAIN, when=lambda m: floating(m) and number(m.X) is None, anywhere=True),
    Rule("square over itself", "square(X) / X", "X", "x * x / x is x, at 0 and at infinity too",
         DOMAIN, when=floating, anywhere=True),
    Rule("over square root", "X / sqrt(X)", "sqrt(X)", "0 / 0 is NaN, the root of 0 is 0",
         DOMAIN, when=floating, anywhere=True),
    Rule("times its own denominator", "(Y / X - Z) * X", "Y - Z * X",
         "what was divided by 0 comes back", DOMAIN, when=_denominator),
    Rule("plus times its own denominator", "(Y / X + Z) * X", "Y + Z * X",
         "what was divided by 0 comes back", DOMAIN, when=_denominator),
    Rule("sum over a sum of exponentials", f"sum(Y / {_EXP_SUM}, axis=A, keepdims=True)",
         f"sum(Y, axis=A, keepdims=True) / {_EXP_SUM}", "a step of the gradient of softmax",
         ROUNDING),
    Rule("difference over a sum of exponentials", f"Y / {_EXP_SUM} - Z / {_EXP_SUM}",
         f"(Y - Z) / {_EXP_SUM}", "a step of the gradient of softmax", ROUNDING),
    Rule("log of one plus", "log(1 + X)", "log1p(X)", "1 + x loses the digits of a small x",
         ROUNDING, when=floating),
    Rule("log of one minus", "log(1 - X)", "log1p(-X)", "1 - x loses the digits of a small x",
         ROUNDING, when=floating),
    Rule("exponential minus one", "exp(X) - 1", "expm1(X)", "exp(x) loses the digits of a small x",
         ROUNDING),
    Rule("one minus exponential", "1 - exp(X)", "-expm1(X)", "exp(x) loses the digits of a small x",
         ROUNDING),
    Rule("one minus cosine", "1 - cos(X)", "2 * square(sin(0.5 * X))",
         "cos(x) loses the digits of a small x", ROUNDING),
    Rule("log of exponential", "log(exp(X))", "X", "exp(x) overflows at 710, and is 0 at -746",
         DOMAIN, when=floating),
    Rule("log of product", "log(prod(X, axis=A, keepdims=K))", "sum(log(X), axis=A, keepdims=K)",
         "products of many numbers overflow, or underflow to 0", DOMAIN,
         when=lambda m: floating(m) and not_negative(m.X)),
    Rule("log of square root", "log(sqrt(X))", "0.5 * log(X)", "a root is not needed", ROUNDING,
         when=floating),
    Rule("log of square", "log(square(X))", "2 * log(absolute(X))",
         "squares overflow at 1e154, and underflow at 1e-162", DOMAIN, when=floating),
    Rule("square root of square", "sqrt(square(X))", "absolute(X)",
         "squares overflow at 1e154, and underflow at 1e-162", DOMAIN, when=floating),
    Rule("square of square root", "square(sqrt(X))", "X", "they undo each other", ROUNDING,
         when=lambda m: floating(m) and not_negative(m.X)),
    Rule("exponential of log", "exp(log(X))", "X", "they undo each other", ROUNDING,
         when=lambda m: floating(m) and not_negative(m.X)),
    Rule("softmax written out", f"exp(X) / {_EXP_SUM}", lambda m: ops.softmax(m.X, m.A[0]),
         "exp overflows at 710: inf / inf", DOMAIN, when=_one_axis, anywhere=True),
    Rule("softmax of shifted", f"softmax(X - {_TOP}, axis=B)", "softmax(X, axis=B)",
         "softmax takes the largest away itself", ROUNDING, when=lambda m: m.A == (m.B,)),
    Rule("log-sum-exp", "log(sum(exp(X), axis=A, keepdims=K))", "logsumexp(X, axis=A, keepdims=K)",
         "exp overflows at 710", DOMAIN, when=floating),
    Rule("log-sum-exp of shifted", f"{_TOP} + logsumexp(X - {_TOP}, axis=A, keepdims=True)",
         "logsumexp(X, axis=A, keepdims=True)", "logsumexp takes the largest away itself",
         ROUNDING),
    Rule("log-softmax written out", "X - logsumexp(X, axis=A, keepdims=True)",
         lambda m: ops.log_softmax(m.X, m.A[0]), "the difference of large numbers loses digits",
         ROUNDING, when=_one_axis),
    Rule("log of softmax", "log(softmax(X, axis=A))", "log_softmax(X, axis=A)",
         "softmax underflows to 0, and its log is -inf", DOMAIN),
    Rule("log of picked softmax", "log(getitem(softmax(X, axis=A), ...))", _log_of_pick,
         "softmax underflows to 0, and its log is -inf", DOMAIN),
    Rule("slope of picked softmax", "softmax(X, axis=A) * inc_subtensor(0, Y, ...)",
         _slope_of_pick, "0 / 0 cancels where it is put", ROUNDING),
    Rule("centred slope of picked softmax",
         "softmax(X, axis=A) * (inc_subtensor(0, Y, ...) - Z)", _centred_slope_of_pick,
         "0 / 0 cancels where it is put", ROUNDING),
    Rule("exponential of log-softmax", "exp(log_softmax(X, axis=A))", "softmax(X, axis=A)",
         "they undo each other", ROUNDING),
    Rule("log of sum of exponentials", "log(exp(X) + exp(Y))", "logaddexp(X, Y)",
         "exp overflows at 710", DOMAIN, when=lambda m: m.X.dtype == m.Y.dtype),
    Rule("share of two exponentials", "exp(X) / (exp(X) + exp(Y))", "sigmoid(X - Y)",
         "exp overflows at 710: inf / inf", DOMAIN, anywhere=True),
    Rule("softplus written out", "log1p(exp(X))", "softplus(X)", "exp overflows at 710", DOMAIN,
         when=floating),
    Rule("sigmoid written out", "1 / (1 + exp(-X))", "sigmoid(X)",
         "exp overflows, and 1 + exp(-x) loses the digits of a small exp(-x)", ROUNDING,
         when=floating),
    Rule("sigmoid of minus written out", "1 / (1 + exp(X))", "sigmoid(-X)",
         "exp overflows at 710", ROUNDING, when=floating),
    Rule("sigmoid as a share", "exp(X) / (1 + exp(X))", "sigmoid(X)",
         "exp overflows at 710: inf / inf", DOMAIN, when=floating, anywhere=True),
    Rule("sigmoid times exponential", "sigmoid(X) * exp(-X)", "sigmoid(-X)",
         "exp overflows where sigmoid is 0: 0 * inf", DOMAIN, anywhere=True),
    Rule("sigmoid of minus times exponential", "sigmoid(-X) * exp(X)", "sigmoid(X)",
         "exp overflows where sigmoid is 0: 0 * inf", DOMAIN, anywhere=True),
    Rule("log of sigmoid", "log(sigmoid(X))", "-softplus(-X)",
         "sigmoid underflows to 0 at -746, and its log is -inf", DOMAIN, when=floating),
    Rule("log of one minus sigmoid", "log1p(-sigmoid(X))", "-softplus(X)",
         "sigmoid is 1 from 37 on, and the log of 0 is -inf", DOMAIN, when=floating),
    Rule("one minus sigmoid", "1 - sigmoid(X)", "sigmoid(-X)",
         "1 - sigmoid(x) is 0 from 37 on", ROUNDING,
         when=lambda m: floating(m) and single(m, m.node.inputs[1]), counts_uses=True),
    Rule("tanh written out", "(exp(X) - exp(-X)) / (exp(X) + exp(-X))", "tanh(X)",
         "exp overflows at 710: inf / inf", DOMAIN, when=floating),
    Rule("tanh as a sigmoid", "2 * sigmoid(2 * X) - 1", "tanh(X)",
         "the difference loses the digits of a small x", ROUNDING, when=floating),
))  # fmt: skip
