"""Losses as modules, each on the operation of its name."""

from __future__ import annotations

from workbench.dynamic import ops
from workbench.dynamic.nn.layers import Wrapped
from workbench.dynamic.nn.module import Module


class SoftmaxCrossEntropy(Module):
    """Mean of -log(softmax(logits)[label]) over the batch."""

    forward = staticmethod(ops.softmax_cross_entropy)


class MeanSquaredError(Module):
    """Mean of (prediction - target) ** 2 over all elements."""

    forward = staticmethod(ops.mean_squared_error)


class Loss(Wrapped):
    """A mean over all elements, or over the batch where elements make an example."""

    tensors = 2


class CrossEntropy(Loss):
    """Softmax cross-entropy with class weights, label smoothing or an ignored label."""

    op = ops.cross_entropy


class NLLLoss(Loss):
    """Mean of -log_p[label] over the batch."""

    op = ops.nll_loss


class BinaryCrossEntropy(Loss):
    """Mean of -(target log(p) + (1 - target) log(1 - p)) over all elements."""

    op = ops.binary_cross_entropy


class BinaryCrossEntropyWithLogits(Loss):
    """The same of p = sigmoid(logits), exact for logits of any size."""

    op = ops.binary_cross_entropy_with_logits


class MeanAbsoluteError(Loss):
    """Mean of |prediction - target| over all elements."""

    op = ops.mean_absolute_error


class HuberLoss(Loss):
    """Squares of errors up to delta, and their size beyond; a mean over all elements."""

    op = ops.huber_loss


class KLDivergence(Loss):
    """Sum of p (log(p) - log_q) over the last axis, a mean over the others."""

    op = ops.kl_divergence


class HingeLoss(Loss):
    """Mean of max(0, 1 - target * scores) over all elements."""

    op = ops.hinge_loss


class MultiMarginLoss(Loss):
    """Mean of max(0, margin + score - score of the label) over all scores of other classes."""

    op = ops.multi_margin_loss


class PoissonNLLLoss(Loss):
    """Mean of exp(log_rate) - target * log_rate over all elements."""

    op = ops.poisson_nll_loss


class GaussianNLLLoss(Loss):
    """Mean of (log(variance) + (target - center)**2 / variance) / 2 over all elements."""

    op, tensors = ops.gaussian_nll_loss, 3


class CosineEmbeddingLoss(Loss):
    """Mean of 1 - cosine over pairs that should be alike, of cosine - margin over others."""

    op, tensors = ops.cosine_embedding_loss, 3


class TripletMarginLoss(Loss):
    """Mean of max(0, margin + distance to the near - distance to the far) over the batch."""

    op, tensors = ops.triplet_margin_loss, 3


# --- composition ---------------------------------------------------------------------------
