"""A compiled function's graph in a file, and back.

The file is a ``.npz``: the graph as JSON, the numbers as arrays.  Nothing in it is code,
so a file from a stranger can be opened; that is why it is no pickle, as Theano's was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from workbench.arrays import to_host
from workbench.errors import DataError, GraphError
from workbench.symbolic.function import Function
from workbench.symbolic.graph import (
    Apply,
    Constant,
    Op,
    Trace,
    TupleType,
    Type,
    Variable,
    nodes,
)
from workbench.symbolic.ops.elementwise import ELEMENTWISE, Elementwise
from workbench.symbolic.values import Shared

FORMAT = "workbench symbolic graph 1"


def save(function: Function, path: str | Path) -> None:
    """Write what a function computes, with the values of its shared variables.

    Parameters
    ----------
    function : Function
    path : str or Path
        Where to; ``.npz`` is appended if it has no suffix.

    Raises
    ------
    GraphError
        If an op of the graph is not one of this package's.
    """
    writer = _Writer()
    results = [*function.outputs, *function.updates.values()]
    writer.add([*function.inputs, *function.updates, *results])
    number = writer.numbers
    head = {
        "format": FORMAT, "name": function.name, "mode": function.mode,
        "single": function.single,
        "inputs": [number[x] for x in function.inputs],
        "outputs": [number[x] for x in function.outputs],
        "updates": [[number[s], number[x]] for s, x in function.updates.items()],
        "variables": writer.rows,
    }  # fmt: skip
    for x, value in function.defaults.items():
        writer.arrays[f"default{number[x]}"] = np.asarray(value, x.dtype)
    path = Path(path)
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with open(path if path.suffix else path.with_suffix(".npz"), "wb") as file:
        np.savez(file, graph=text, **writer.arrays)  # type: ignore[arg-type]


class _Writer:
    """Numbers every variable, each after those that it needs."""

    def __init__(self) -> None:
        self.numbers: dict[Variable, int] = {}
        self.rows: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}

    def add(self, outputs: list[Variable]) -> None:
        for node in nodes(outputs):
            for x in node.inputs:
                self._leaf(x)
            self._row(node.output, op=self.encode(node.op),
                      inputs=[self.numbers[x] for x in node.inputs])  # fmt: skip
        for x in outputs:
            self._leaf(x)

    def _leaf(self, x: Variable) -> None:
        if x.owner is not None or x in self.numbers:
            return
        number = len(self.rows)
        if isinstance(x, Constant | Shared):
            kind = "constant" if isinstance(x, Constant) else "shared"
            self.arrays[f"{kind}{number}"] = to_host(
                x.data if isinstance(x, Constant) else x._value
            )
            update = x.default_update if isinstance(x, Shared) else None
            self._row(x, kind=kind)
            if update is not None:
                self.add([update])
                self.rows[number]["default_update"] = self.numbers[update]
        else:
            self._row(x, kind="input")

    def _row(self, x: Variable, **more: Any) -> None:
        if x in self.numbers:
            return
        self.numbers[x] = len(self.rows)
        row = {"type": self.encode(x.type), "name": x.name, "trace": list(x.trace), **more}
        self.rows.append(row)

    def encode(self, value: Any) -> Any:
        """Return ``value`` as what JSON can hold."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Variable):
            if value not in self.numbers:
                self.add([value])
            return {"variable": self.numbers[value]}
        if isinstance(value, TupleType):
            return {"tuple type": [self.encode(each) for each in value.items]}
        if isinstance(value, Type):
            return {"type": [value.dtype.name, list(value.shape)]}
        if isinstance(value, tuple):
            return {"tuple": [self.encode(each) for each in value]}
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if isinstance(value, EllipsisType):
            return {"ellipsis": True}
        if isinstance(value, Elementwise):
            return {"elementwise": value.name}
        if isinstance(value, Op) and type(value).__module__.startswith("workbench.symbolic."):
            fields = [f.name for f in dataclasses.fields(value) if f.init]  # type: ignore[arg-type]
            return {"op": type(value).__name__,
                    "fields": {name: self.encode(getattr(value, name)) for name in fields}}  # fmt: skip
        raise GraphError("save", "only graphs of this package's own ops can be saved",
                         given=repr(value))  # fmt: skip


def load(path: str | Path, mode: str | None = None) -> Function:
    """Return a function that was saved, with shared variables of its own.

    Parameters
    ----------
    path : str or Path
    mode : str, optional
        As for :func:`function`; as it was saved where None.

    Raises
    ------
    DataError
        If the file is not one that :func:`save` wrote.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays["graph"].tobytes())
        if head["format"] != FORMAT:
            raise KeyError(head["format"])
        variables = _read(head["variables"], arrays)
        defaults = {x: arrays[f"default{i}"] for i, x in enumerate(variables)
                    if f"default{i}" in arrays}  # fmt: skip
        updates = {variables[s]: variables[x] for s, x in head["updates"]}
        return Function(
            [variables[i] for i in head["inputs"]], [variables[i] for i in head["outputs"]],
            updates, mode or head["mode"], head["name"], head["single"], defaults,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError) as error:
        raise DataError("load", "this file does not hold a saved function", given=str(path),
                        expected="a file that symbolic.save wrote") from error  # fmt: skip


def _read(rows: list[dict[str, Any]], arrays: dict[str, Any]) -> list[Variable]:
    variables: list[Variable] = []
    for number, row in enumerate(rows):
        type_ = _decode(row["type"], variables)
        x: Variable
        if row.get("kind") == "constant":
            arrays[f"constant{number}"].flags.writeable = False
            x = Constant(arrays[f"constant{number}"])
        elif row.get("kind") == "shared":
            x = Shared(arrays[f"shared{number}"], type_.shape)
        elif "op" in row:
            x = Apply(_decode(row["op"], variables), [variables[i] for i in row["inputs"]]).output
        else:
            x = Variable(type_)
        x.name, x.trace = row["name"], Trace(*row["trace"])
        variables.append(x)
    for row, x in zip(rows, variables, strict=True):
        if "default_update" in row and isinstance(x, Shared):
            x.default_update = variables[row["default_update"]]
    return variables


def _decode(value: Any, variables: list[Variable]) -> Any:
    if not isinstance(value, dict):
        return value
    (kind, content), *rest = value.items()
    if kind == "op":
        fields = {name: _decode(each, variables) for name, each in rest[0][1].items()}
        return _op_classes()[content](**fields)
    readers: dict[str, Callable[[Any], Any]] = {
        "variable": lambda number: variables[number],
        "tuple": lambda items: tuple(_decode(each, variables) for each in items),
        "type": lambda pair: Type(np.dtype(pair[0]), tuple(pair[1])),
        "tuple type": lambda items: TupleType(tuple(_decode(each, variables) for each in items)),
        "dtype": np.dtype,
        "ellipsis": lambda _: Ellipsis,
        "elementwise": lambda name: ELEMENTWISE[name],
    }
    return readers[kind](content)


def _op_classes() -> dict[str, Any]:
    """Return the ops of this package by the name of their class."""
    found: dict[str, Any] = {}
    stack: list[Any] = [Op]
    while stack:
        for each in stack.pop().__subclasses__():
            stack.append(each)
            if each.__module__.startswith("workbench.symbolic."):
                found[each.__name__] = each
    return found
