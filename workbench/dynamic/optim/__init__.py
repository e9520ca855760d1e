"""Optimisers, schedules of their learning rates, and clipping of gradients.

``optimizer`` holds what all optimisers share, above all the fused step; ``algorithms``
has one class for each rule, its formulas above its code; ``lbfgs`` is the one that
evaluates the loss itself.
"""

from workbench.dynamic.optim import schedules
from workbench.dynamic.optim.algorithms import SGD, Adadelta, Adagrad, Adam, AdamW, RMSProp
from workbench.dynamic.optim.clipping import clip_grad_norm, clip_grad_value
from workbench.dynamic.optim.lbfgs import LBFGS
from workbench.dynamic.optim.optimizer import Optimizer, Unit
from workbench.dynamic.optim.schedules import ReduceOnPlateau, Schedule

__all__ = [
    "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSProp",
    "ReduceOnPlateau", "Schedule", "Unit", "clip_grad_norm", "clip_grad_value", "schedules",
]  # fmt: skip
