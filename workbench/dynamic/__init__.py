"""Era 3: define-by-run.  The graph is the history of the computation.

Chainer (2015) and then PyTorch (2017) record each operation while Python runs it, and
differentiate by walking the record backwards: the model's own ``if`` and ``for`` are the
structure of the graph.

A reading order: ``tensor`` (what flows), ``function`` (how a call is recorded), ``engine``
(how the record is unwound), ``ops`` (each gradient under its forward), ``versions`` (what
keeps in-place edits honest), ``nn`` and ``optim``; then what stands on these:
``batching``, ``checkpointing``, ``anomaly``, ``amp``, ``tape`` (the record as data), ``data``
(examples in batches) and ``serialization``.
"""

from workbench.dynamic import amp, data, nn, ops, optim
from workbench.dynamic.anomaly import detect_anomaly
from workbench.dynamic.batching import batching
from workbench.dynamic.checkpointing import checkpoint
from workbench.dynamic.engine import grad
from workbench.dynamic.function import Function
from workbench.dynamic.serialization import load, save
from workbench.dynamic.tape import Record, Saved, graph, saved
from workbench.dynamic.tensor import Tensor, no_grad, tensor

__all__ = [
    "Function",
    "Record",
    "Saved",
    "Tensor",
    "amp",
    "batching",
    "checkpoint",
    "data",
    "detect_anomaly",
    "grad",
    "graph",
    "load",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "save",
    "saved",
    "tensor",
]
