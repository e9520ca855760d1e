"""Figures and widgets: what a lecture shows and a student can touch.

========================  =========================================================
``timeline``              the systems by year, with their lines of descent
``draw_graph``            any graph as SVG, layered, every edge pointing downwards
``code``                  source quoted by importing it, so that it cannot drift
``table``                 rows of plain data as a table
``loss_curves``           the losses of several eras, and how far they are apart
``memory_chart``          what each operation keeps for the backward pass, in bytes
``timeline_widget``       trace the ancestry of a system
``error_curve_widget``    the error of a difference quotient against its step
``graph_stepper``         step through pictures, forward and back, with the code lit
``graph_view``            an expression graph of era 2
``rewriting_table``       every rewrite that fired: rule, place and reason
``rewriting_view``        a graph before and after each pass, side by side
``rewriting_stepper``     the same, one pass a step
``fusion_view``           which instructions of a program run as one kernel
``kernel_view``           a kernel as C and as LLVM optimised it
``memory_plan_chart``     where values lie in memory, and for how long
``beside``                pictures and texts side by side
``transform_stack_widget``  a function under a stack of transformations, as a jaxpr
========================  =========================================================

Importing this loads neither matplotlib nor ipywidgets; using it does (extra ``lab``).
"""

from __future__ import annotations

import importlib
from typing import Any

from workbench.views import history
from workbench.views.beside import Beside, beside
from workbench.views.graphs import SVG, Node, draw_graph
from workbench.views.history import History, timeline
from workbench.views.sources import Code, code
from workbench.views.tables import Table, table

_ON_USE = {
    "Frame": "widgets",
    "Picture": "pictures",
    "error_curve_widget": "widgets",
    "fusion_view": "compiled",
    "graph_stepper": "widgets",
    "graph_view": "expressions",
    "kernel_view": "compiled",
    "loss_curves": "charts",
    "memory_chart": "charts",
    "memory_plan_chart": "compiled",
    "rewriting_stepper": "expressions",
    "rewriting_table": "expressions",
    "rewriting_view": "expressions",
    "timeline_widget": "widgets",
    "transform_stack_widget": "widgets",
}

__all__ = [
    "SVG", "Beside", "Code", "Frame", "History", "Node", "Picture", "Table", "beside", "code",
    "draw_graph", "error_curve_widget", "fusion_view", "graph_stepper", "graph_view", "history",
    "kernel_view", "loss_curves", "memory_chart", "memory_plan_chart", "rewriting_stepper",
    "rewriting_table", "rewriting_view", "table", "timeline", "timeline_widget", "transform_stack_widget",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return getattr(importlib.import_module(f"{__name__}.{_ON_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
