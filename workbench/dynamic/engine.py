"""Unwinding: gradients by walking the recorded graph backwards.

Nodes carry the time at which they were recorded, and an argument is always older than
its result; so the reachable nodes, latest first, are in topological order.  There is no
recursion, and each node and each edge is visited once.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.function import Function
from workbench.dynamic.tensor import Tensor, mode
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError


def undo_broadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` over the axes along which NumPy repeated an argument of ``shape``.

    Parameters
    ----------
    g : array or Tensor
        Gradient with respect to the broadcast argument.
    shape : tuple of int
        Shape that the argument had.

    Returns
    -------
    array or Tensor, of ``shape``
    """
    new = g.ndim - len(shape)  # Axes that broadcasting put in front.
    repeated = [new + k for k, n in enumerate(shape) if n == 1 != g.shape[new + k]]
    return g.sum(axis=(*range(new), *repeated), keepdims=True).reshape(shape)


def backward(
    self: Tensor, g: Any = None, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Add the gradient of this tensor to ``grad`` of every leaf that it was computed from.

    Parameters
    ----------
    g : Tensor, array or number, optional
        Gradient of the final scalar with respect to this tensor; 1 by default, for a
        tensor of one element.
    retain_graph : bool
        Keep the graph, for another backward pass through it.
    create_graph : bool
        Record the backward pass itself, so that gradients can be differentiated; keeps
        the graph too.  ``leaf.grad`` then leads back to the leaf, a cycle that only
        Python's collector frees: prefer :func:`grad`.

    Raises
    ------
    GraphError
        If nothing requires a gradient, the graph is freed, or a saved array was edited.
    ShapeError, DtypeError
        If ``g`` does not fit this tensor, or is missing where it is needed.
    """
    seed = _seed("backward", self, g, create_graph)
    found = _unwind([self], [seed], create_graph, retain_graph or create_graph, None)
    for leaf, d in found.items():
        if create_graph:
            leaf.grad = d if leaf.grad is None else leaf.grad + d
        else:
            leaf.grad = Tensor(_array(d) if leaf.grad is None else _array(leaf.grad.data + d))


Tensor.backward = backward  # type: ignore[attr-defined]


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of (the sum of) ``outputs`` with respect to ``inputs``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        Inputs need not be leaves.  No ``grad`` attribute is touched.
    grad_outputs : sequence, optional
        One gradient for each output, or None for outputs of one element.
    create_graph : bool
        Record the backward pass, so that the results can be differentiated.
    retain_graph : bool, optional
        Keep the graph; by default as ``create_graph`` says.
    allow_unused : bool
        Return None, instead of refusing, for an input that no output depends on.

    Returns
    -------
    tuple of Tensor
        One for each input, of its shape, always a tuple.

    Raises
    ------
    GraphError
        As :meth:`Tensor.backward`, and for an input that is not used.
    ShapeError, DtypeError, OptionError
        If ``grad_outputs`` does not fit ``outputs``.
    """
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    given = [grad_outputs] if isinstance(grad_outputs, Tensor) else grad_outputs
    seeds = [None] * len(roots) if given is None else list(given)
    if len(seeds) != len(roots):
        raise OptionError("grad", "grad_outputs does not match outputs",
                          given=f"{len(seeds)} gradients for {len(roots)} outputs",
                          expected="one for each output")  # fmt: skip
    for k, each in enumerate(wanted):
        if not each.requires_grad:
            raise GraphError("grad", f"input {k} does not require a gradient",
                             given=f"a tensor of shape {each.shape}",
                             fix="make it with requires_grad=True")  # fmt: skip
    edges = [each.node or each for each in wanted]
    seeds = [_seed("grad", y, g, create_graph) for y, g in zip(roots, seeds, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    found = _unwind(roots, seeds, create_graph, retain, set(edges))
    for k, edge in enumerate(edges):
        if edge not in found and not allow_unused:
            raise GraphError("grad", f"no output depends on input {k}",
                             given=f"a tensor of shape {wanted[k].shape}",
                             fix="leave it out, or pass allow_unused=True to get None")  # fmt: skip
    results = (found.get(edge) for edge in edges)
    return tuple(d if d is None or create_graph else Tensor(_array(d)) for d in results)


def _array(d: Any) -> Array:
    """Return a gradient as an array: NumPy sums to scalars, a Function may give a Tensor."""
    d = d.data if isinstance(d, Tensor) else d
    return np.asarray(d) if isinstance(d, np.generic) else d


def _seed(where: str, y: Tensor, g: Any, create_graph: bool) -> Any:
    """Return the gradient that starts at ``y``: an array, or a Tensor to record with."""
    if not y.requires_grad:
        raise GraphError(where, "this tensor does not depend on any that requires a gradient",
                         given=f"a tensor of shape {y.shape}",
                         fix="make a leaf with requires_grad=True, and compute outside "
                         "no_grad")  # fmt: skip
    if g is None:
        if y.data.size != 1:
            raise ShapeError(where, "without g, only a tensor of one element has a gradient",
                             given=f"shape {y.shape}",
                             fix="reduce it (y.sum()), or pass g of its shape")  # fmt: skip
        seed = np.empty_like(y.data)
        seed.fill(1)
        return Tensor(seed) if create_graph else seed
    if isinstance(g, int | float):
        g = np.full_like(y.data, g)
    seed = g.data if isinstance(g, Tensor) else arrays.namespace(y.data).asarray(g)
    if seed.shape != y.data.shape:
        raise ShapeError(where, "g does not have the shape of the tensor",
                         given=f"g {seed.shape}", expected=f"{y.data.shape}")  # fmt: skip
    if seed.dtype != y.data.dtype:
        raise DtypeError(where, "g does not have the dtype of the tensor",
                         given=f"g {seed.dtype}", expected=f"{y.data.dtype}")  # fmt: skip
    if create_graph:
        return g if isinstance(g, Tensor) else Tensor(seed)
    return seed


def _reachable(roots: list[Any]) -> list[Function]:
    """Return every node under ``roots``, latest first."""
    seen: set[Function] = set()
    stack = [root for root in roots if isinstance(root, Function)]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.inputs is None:
            raise _freed(node)
        stack += [e for e in node.inputs if isinstance(e, Function)]
    return sorted(seen, key=attrgetter("sequence"), reverse=True)


def _freed(node: Function) -> GraphError:
    return GraphError(
        "backward",
        "a backward pass has been through this graph already, and freed it",
        given=f"a graph that leads to {type(node).name}",
        fix="pass retain_graph=True the first time, or compute the loss again",
    )


def _unwind(
    roots: list[Tensor],
    seeds: list[Any],
    create_graph: bool,
    retain: bool,
    targets: set[Any] | None,
) -> dict[Any, Any]:
    """Return the gradient that reaches each leaf, or each of ``targets`` and nothing else.

    Parameters
    ----------
    roots, seeds
        Where to start, and with which gradients.
    create_graph, retain
        Whether to record, and whether to leave the graph as it was found.
    targets : set of edges (nodes or leaves), or None for all leaves

    Returns
    -------
    dict
        From edge to gradient.  No array in it is shared with anything.
    """
    leads, wanted = None, None  # Nodes to run, and what their gradients may flow to: all.
    if targets is not None:
        leads, wanted = set(), set(targets)
        for node in reversed(_reachable([root.node for root in roots])):
            if not wanted.isdisjoint(node.inputs or ()):
                leads.add(node)
                wanted.add(node)
    found: dict[Any, Any] = {}
    grads: dict[Any, Any] = {}
    heap: list[tuple[int, Function]] = []  # Nodes whose gradient has begun to arrive.
    for root, seed in zip(roots, seeds, strict=True):
        edge = root.node
        if edge is None:
            edge, seed = root, +seed
        elif edge.inputs is None:
            raise _freed(edge)
        elif edge not in grads:
            heappush(heap, (-edge.sequence, edge))
        grads[edge] = grads[edge] + seed if edge in grads else seed
    enabled, mode.enabled = mode.enabled, create_graph
    try:
        while heap:
            node = heappop(heap)[1]
            g = grads.pop(node)
            if leads is not None:
                if node in targets:  # type: ignore[operator]
                    found[node] = +g
                if node not in leads:
                    continue
            if versions.latest > node.sequence:
                versions.check_saved(node)
            cls = type(node)
            results = cls.backward(_with_history(node) if create_graph else node, g)
            if type(results) is not tuple:
                results = (results,)
            inputs: list[Any] = node.inputs  # type: ignore[assignment]
            if len(results) != len(inputs):
                _check_count(node, results)
            for e, d in zip(inputs, results, strict=False):
                if e is None or d is None or (wanted is not None and e not in wanted):
                    continue
                leaf = isinstance(e, Tensor)
                like = e.data if leaf else e
                try:
                    if d.shape != like.shape and cls.broadcasts:
                        d = undo_broadcast(d, like.shape)
                    if d.shape != like.shape or d.dtype is not like.dtype != d.dtype:
                        _refuse_gradient(node, d, like)
                except AttributeError:
                    _refuse_gradient(node, d, like)
                if leaf and not cls.fresh:
                    d = +d  # The array may be g itself, or a view: a leaf keeps a copy.
                known = grads.get(e)
                if known is None:
                    grads[e] = d
                    if not leaf:
                        heappush(heap, (-e.sequence, e))
                elif leaf and not create_graph:
                    known += d  # Ours alone, so the sum needs no new memory.
                    grads[e] = known
                else:
                    grads[e] = known + d
            if not retain:
                vars(node).clear()  # Class attributes remain: inputs is None from now on.
    finally:
        mode.enabled = enabled
    if targets is None:
        return grads  # Of nodes none is left.
    return found | {e: d for e, d in grads.items() if e in targets}


def _with_history(node: Function) -> Function:
    """Return a copy of the ctx in which what was saved are tensors on the graph again."""
    ctx = object.__new__(type(node))
    vars(ctx).update(vars(node))
    if node.args is not None:
        edges: list[Any] = node.inputs  # type: ignore[assignment]
        ctx.args = tuple(_linked(node, a, e) for a, e in zip(node.args, edges, strict=True))
    if node.output is not None:
        ctx.output = Tensor(node.output, True, node)
    return ctx


def _linked(node: Function, array: Any, edge: Any) -> Any:
    if array is None or edge is None:
        return array
    if isinstance(edge, Function):
        return Tensor(array, True, edge)
    if edge.data is not array:
        raise GraphError(type(node).name, "a leaf's array was replaced after it was used",
                         given=f"a leaf of shape {edge.shape}",
                         fix="edit it in place (w -= step, under no_grad)")  # fmt: skip
    return edge


def _check_count(node: Function, results: tuple[Any, ...]) -> None:
    """Allow missing gradients only for trailing arguments that want none."""
    inputs: list[Any] = node.inputs  # type: ignore[assignment]
    if len(results) > len(inputs) or any(e is not None for e in inputs[len(results) :]):
        raise GraphError(node.name, "backward returned the wrong number of gradients",
                         given=str(len(results)),
                         expected=f"{len(inputs)}, one for each argument of forward")  # fmt: skip


def _refuse_gradient(node: Function, d: Any, like: Any) -> None:
    if isinstance(like, Function) and like.inputs is None:
        raise _freed(like)
    if not hasattr(d, "shape"):
        raise GraphError(node.name, "backward returned something that is no array",
                         given=type(d).__name__, expected=f"an array {like.shape}")  # fmt: skip
    if d.shape != like.shape:
        raise ShapeError(node.name, "backward returned a gradient of the wrong shape",
                         given=f"a gradient {d.shape}",
                         expected=f"{like.shape}, the shape of the argument")  # fmt: skip
    raise DtypeError(node.name, "backward returned a gradient of the wrong dtype",
                     given=f"a gradient of {d.dtype}",
                     expected=f"{like.dtype}, the dtype of the argument")  # fmt: skip


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
    nodes = _reachable([y.node])[::-1]
    leaves = dict.fromkeys(
        e for node in nodes for e in node.inputs or () if isinstance(e, Tensor)
    ) or ({y: None} if y.node is None else {})
    position: dict[Any, int | None] = {None: None}
    tape: list[Any] = [*leaves, *nodes]
    records: list[Record] = []
    counted = {id(versions.owner(leaf.data)) for leaf in leaves}  # Kept by their users anyway.
    for k, each in enumerate(tape):
        position[each] = k
        if isinstance(each, Tensor):
            records.append(Record(k, "leaf", (), each.shape, 0))
            continue
        kept = {id(versions.owner(a)): a for a in _saved(each) if hasattr(a, "nbytes")}
        size = sum(a.nbytes for key, a in kept.items() if key not in counted)
        counted |= kept.keys()
        inputs = tuple(position[e] for e in each.inputs or ())
        records.append(Record(k, each.name, inputs, each.shape, size))
    return records


def _saved(node: Function) -> list[Any]:
    kept = [value for name, value in vars(node).items() if name != "inputs"]
    return [x for each in kept for x in (each if isinstance(each, tuple) else (each,))]
