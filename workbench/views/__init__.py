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
``transform_stack_widget``  a function under a stack of transformations, as a jaxpr
========================  =========================================================

Importing this loads neither matplotlib nor ipywidgets; using it does (extra ``lab``).
"""

from __future__ import annotations

import importlib
from typing import Any

from workbench.views import history
from workbench.views.graphs import SVG, Node, draw_graph
from workbench.views.history import History, timeline
from workbench.views.sources import Code, code
from workbench.views.tables import Table, table

_ON_USE = {
    "Frame": "widgets",
    "Picture": "pictures",
    "error_curve_widget": "widgets",
    "graph_stepper": "widgets",
    "loss_curves": "charts",
    "memory_chart": "charts",
    "timeline_widget": "widgets",
    "transform_stack_widget": "widgets",
}

__all__ = [
    "SVG", "Code", "Frame", "History", "Node", "Picture", "Table", "code", "draw_graph",
    "error_curve_widget", "graph_stepper", "history", "loss_curves", "memory_chart", "table", "timeline",
    "timeline_widget", "transform_stack_widget",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return getattr(importlib.import_module(f"{__name__}.{_ON_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
