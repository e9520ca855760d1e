"""The tape as plain data: what was recorded, and what it keeps in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from workbench.dynamic import versions
from workbench.dynamic.engine import reachable
from workbench.dynamic.function import Node, argument_names
from workbench.dynamic.tensor import Tensor


class Record(NamedTuple):
    """One entry of a tape: a leaf, or a recorded operation.

    Attributes
    ----------
    id : int
        Position on the tape.
    op : str
        Name of the operation, or ``"leaf"``.
    inputs : tuple of int or None
        Positions of the arguments; None for one that needs no gradient.
    shape : tuple of int
        Of the result.
    saved_bytes : int
        Memory kept for backward; a shared array counts once, a leaf's not at all.
    """

    id: int
    op: str
    inputs: tuple[int | None, ...]
    shape: tuple[int, ...]
    saved_bytes: int


def graph(y: Tensor) -> list[Record]:
    """Return the tape under a tensor as plain data: leaves first, then in order of recording.

    Parameters
    ----------
    y : Tensor
        Any tensor on a graph.

    Returns
    -------
    list of Record
        Arguments always stand before results; the last record is ``y``'s.

    Raises
    ------
    GraphError
        If the graph is freed.
    """
    return [record for record, _ in _tape(y)]


class Saved(NamedTuple):
    """One array that the tape keeps for backward.

    Attributes
    ----------
    id : int
        Position on the tape of the operation that keeps it.
    op : str
        Name of that operation.
    what : str
        Name of the argument, ``"output"``, or the name under which forward left it.
    shape : tuple of int
    dtype : str
    nbytes : int
        Memory, in bytes; 0 if an earlier entry, or a leaf, keeps the same memory anyway.
    """

    id: int
    op: str
    what: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


def saved(y: Tensor) -> list[Saved]:
    """Return what each operation under a tensor keeps for backward, in order of recording.

    Parameters
    ----------
    y : Tensor
        Any tensor on a graph.

    Returns
    -------
    list of Saved
        ``sum(each.nbytes for each in saved(loss))`` is what the tape costs, in bytes.

    Raises
    ------
    GraphError
        If the graph is freed.
    """
    return [each for _, kept in _tape(y) for each in kept]


def _tape(y: Tensor) -> Iterator[tuple[Record, list[Saved]]]:
    nodes = list(reachable([y.node]))[::-1]
    leaves = dict.fromkeys(
        e for node in nodes for e in node.inputs or () if isinstance(e, Tensor)
    ) or ({y: None} if y.node is None else {})
    position: dict[Any, int | None] = {None: None}
    for k, leaf in enumerate(leaves):
        position[leaf] = k
        yield Record(k, "leaf", (), leaf.shape, 0), []
    counted = {id(versions.owner(leaf.data)) for leaf in leaves}  # Kept by their users anyway.
    for k, node in enumerate(nodes, len(leaves)):
        position[node] = k
        kept = []
        for what, array in _arrays(node):
            memory = id(versions.owner(array))
            size = 0 if memory in counted else array.nbytes
            counted.add(memory)
            kept.append(Saved(k, node.name, what, array.shape, str(array.dtype), size))
        inputs = tuple(position[e] for e in node.inputs or ())
        yield Record(k, node.name, inputs, node.shape, sum(each.nbytes for each in kept)), kept


def _arrays(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield each array that a node keeps, with what it is."""
    args = node.args or ()
    named = [*zip(argument_names(node.op, len(args)), args, strict=True)]
    for what, value in [*named, ("output", node.output), *vars(node).items()]:
        for each in value if isinstance(value, tuple | list) else (value,):
            if hasattr(each, "nbytes"):
                yield what, each
