"""Framework History Workbench: one model, four generations of framework.

Each era is a subpackage that stands alone: ``manual``, ``symbolic``, ``dynamic``
and ``functional``.  Importing :mod:`workbench` imports none of them; they load on
first use (``import workbench; workbench.dynamic.tensor(...)`` works).
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = ("arrays", "compare", "course", "datasets", "dynamic", "errors", "functional",
          "gradcheck", "manual", "symbolic", "views")  # fmt: skip

__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"workbench.{name}")
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
