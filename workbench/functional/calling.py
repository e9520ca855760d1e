"""What every transform does around the function it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench.errors import DtypeError
from workbench.functional.core import Value

Function: TypeAlias = Callable[..., Any]


def check_function(where: str, f: Any) -> str:
    """Return the function's name for messages."""
    if not callable(f):
        raise DtypeError(where, "a function is needed", given=f"a {type(f).__name__}",
                         expected=f"{where}(f), and then {where}(f)(x)")  # fmt: skip
    return f"{where}({getattr(f, '__name__', type(f).__name__)})"


def own_results(leaves: Sequence[Value]) -> list[Value]:
    """Return results that can be written to without writing to one another."""
    seen: set[int] = set()
    owned = []
    for x in leaves:
        if isinstance(x, np.ndarray):
            root = id(x if x.base is None else x.base)
            x = x.copy() if root in seen or not x.flags.writeable else x
            seen.add(root)
        owned.append(x)
    return owned
