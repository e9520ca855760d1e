"""Where did the first NaN come from?  Every operation watched, forward and backward."""

from __future__ import annotations

import contextlib
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench import arrays
from workbench.dynamic.function import Function, Node, describe
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import NotFiniteError

_HERE = str(Path(__file__).parent)


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Stop at the first operation that makes a NaN, forward or backward, and say where it stands.

    In a ``with`` block or as the decorator ``@detect_anomaly()``, around the forward pass
    and the backward pass.  An exception in a backward gets a note with the line of its
    forward.  Every result is looked at, and every call looks for the line it is on, so
    this is for finding a fault and not for training.

    Raises
    ------
    NotFiniteError
        In the block, naming the operation and the line in the user's source.

    Notes
    -----
    Infinities pass: ``-inf`` is how masks are written.  The idea is PyTorch's anomaly mode,
    which looks at gradients only.

    Examples
    --------
    >>> with detect_anomaly():
    ...     loss = model(x)
    ...     loss.backward()
    """
    before = mode.intercept, mode.anomaly
    outer = before[0]

    def watch(cls: type[Function], args: tuple[Any, ...]) -> Any:
        mode.intercept = outer
        try:
            result = cls.apply(*args)
        finally:
            mode.intercept = watch
        if isinstance(result, Tensor):
            line = _user_line()
            if _has_nan(result):
                _report_forward(cls, args, line)
            if result.node is not None:
                result.node.line = line
        return result

    mode.intercept, mode.anomaly = watch, _watched_backward
    try:
        yield
    finally:
        mode.intercept, mode.anomaly = before


def _watched_backward(node: Node, ctx: Node, g: Any) -> Any:
    """Run one backward, and look at what comes out."""
    where = node.line or "a line that was run outside detect_anomaly"
    try:
        results = node.op.backward(ctx, g)
    except Exception as error:
        error.add_note(f"This is the backward of {node.name}, recorded at {where}")
        raise
    for k, d in enumerate(results if isinstance(results, tuple) else (results,)):
        if d is not None and _has_nan(d):
            arrived = _has_nan(g)
            data = g.data if isinstance(g, Tensor) else g
            if arrived:
                fix = "the gradient that arrived held NaN already: look at g or at hooks"
            elif np.isfinite(data).all():
                fix = "the derivative is not finite there: keep the argument away from that point"
            else:
                fix = "an infinite gradient arrived: look at the operation that got this result"
            raise NotFiniteError(
                node.name,
                f"its backward {'passed on' if arrived else 'made'} the first NaN that was seen",
                given=f"the gradient of argument {k}, for a forward at {where}",
                fix=fix,
            )
    return results


def _report_forward(cls: type[Function], args: tuple[Any, ...], line: str) -> None:
    values = [each.data if isinstance(each, Tensor) else each for each in args]
    guilty = [k for k, each in enumerate(values) if _has_nan(each)]
    raise NotFiniteError(
        cls.name,
        f"argument {guilty[0]} already held NaN" if guilty else "this operation made the first NaN",
        given=f"{describe(cls, values)}, at {line}",
        fix="look at where that argument was read or made" if guilty
        else "keep its arguments where it is defined",
    )  # fmt: skip


def _has_nan(x: Any) -> bool:
    data = x.data if isinstance(x, Tensor) else x
    return hasattr(data, "dtype") and arrays.is_float(data.dtype) and bool(np.isnan(data).any())


def _user_line() -> str:
    """Return the innermost line of source, with its text, that is not this package's."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    name, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(name, number).strip()
    return f"{name}:{number}" + (f": {text}" if text else "")
