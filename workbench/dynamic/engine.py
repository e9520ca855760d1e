"""Unwinding: gradients by walking the recorded graph backwards.

Nodes carry the time at which they were recorded, and an argument is always older than
its result; so the reachable nodes, latest first, are in topological order.  There is no
recursion, and each node and each edge is visited once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.dynamic import versions
from workbench.dynamic.function import Node
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
    found = unwind([self], [seed], create_graph, retain_graph or create_graph, None)
    for leaf, d in found.items():
        known = leaf.grad
        if create_graph:
            leaf.grad = d if known is None else known + d
        else:
            leaf.grad = Tensor(_array(d if known is None else known.data + d))


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
    found = unwind(roots, seeds, create_graph, retain, set(edges))
    for k, edge in enumerate(edges):
        if edge not in found and not allow_unused:
            raise GraphError("grad", f"no output depends on input {k}",
                             given=f"a tensor of shape {wanted[k].shape}",
                             fix="leave it out, or pass allow_unused=True to get None")  # fmt: skip
    results = (found.get(edge) for edge in edges)
    return tuple(d if d is None or create_graph else Tensor(_array(d)) for d in results)


def _array(d: Any) -> Array:
    """Return a gradient as an array: NumPy sums to scalars, a Function may give a Tensor."""
    if type(d) is np.ndarray:
        return d
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


def reachable(roots: list[Any], stop: Collection[Any] = (), since: int = 0) -> dict[Node, None]:
    """Return every node under ``roots`` (and no leaf), latest first.

    Parameters
    ----------
    roots : list of edges
    stop : nodes
        Included, but not what is under them.
    since : int
        Leave out, with what is under it, what was recorded earlier.

    Returns
    -------
    dict
        Of which only the keys matter: a set that keeps its order.
    """
    seen: set[Node] = set()
    stack = [root for root in roots if isinstance(root, Node)]
    while stack:
        node = stack.pop()
        if node in seen or node.sequence < since:
            continue
        seen.add(node)
        if node.inputs is None:
            raise _freed(node)
        if node not in stop:
            stack += [e for e in node.inputs if isinstance(e, Node)]
    return dict.fromkeys(sorted(seen, key=attrgetter("sequence"), reverse=True))


def _freed(node: Node) -> GraphError:
    return GraphError(
        "backward",
        "a backward pass has been through this graph already, and freed it",
        given=f"a graph that leads to {node.name}",
        fix="pass retain_graph=True the first time, or compute the loss again",
    )


def unwind(
    roots: list[Tensor],
    seeds: list[Any],
    create_graph: bool,
    retain: bool,
    targets: set[Any] | None,
    stop: bool = False,
) -> dict[Any, Any]:
    """Return the gradient that reaches each leaf, or each of ``targets`` and nothing else.

    Parameters
    ----------
    roots, seeds
        Where to start, and with which gradients.
    create_graph, retain
        Whether to record, and whether to leave the graph as it was found.
    targets : set of edges (nodes or leaves), or None for all leaves
    stop : bool
        Do not go on from one target to another that is under it.

    Returns
    -------
    dict
        From edge to gradient.  No array in it is shared with anything.
    """
    leads, wanted = None, None  # Nodes to run, and what their gradients may flow to: all.
    if targets is not None:
        leads, wanted = set(), set(targets)
        for node in reversed(reachable([root.node for root in roots], targets if stop else ())):
            if stop and node in targets:
                continue
            if not wanted.isdisjoint(node.inputs or ()):
                leads.add(node)
                wanted.add(node)
    found: dict[Any, Any] = {}
    grads: dict[Any, Any] = {}
    heap: list[tuple[int, Node]] = []  # Nodes whose gradient has begun to arrive.
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
    anomaly = mode.anomaly
    try:
        while heap:
            node = heappop(heap)[1]
            g = grads.pop(node)
            if node.hooks:
                g = _hooked(node, g)
            if leads is not None:
                if node in targets:  # type: ignore[operator]
                    found[node] = +g
                if node not in leads:
                    continue
            if versions.latest > node.sequence:
                versions.check_saved(node)
            op = node.op
            ctx = _with_history(node) if create_graph else node
            results = anomaly(node, ctx, g) if anomaly else op.backward(ctx, g)
            if type(results) is not tuple:
                results = (results,)
            inputs: list[Any] = node.inputs  # type: ignore[assignment]
            if len(results) != len(inputs):
                _check_count(node, results)
            for e, d in zip(inputs, results):  # noqa: B905 - checked, and faster without.
                if e is None or d is None or (wanted is not None and e not in wanted):
                    continue
                try:
                    if type(e) is Node:
                        if d.shape != e.shape or d.dtype is not e.dtype:
                            d = _fitted(node, d, e)
                        if e in grads:
                            grads[e] = grads[e] + d
                        else:
                            grads[e] = d
                            heappush(heap, (-e.sequence, e))
                        continue
                    if d.shape != e.data.shape or d.dtype is not e.data.dtype:
                        d = _fitted(node, d, e.data)
                except AttributeError:
                    _refuse_gradient(node, d, e)
                    raise
                if e not in grads:  # A leaf keeps a copy: the array may be g itself, or a view.
                    grads[e] = d if op.fresh else +d
                elif create_graph:
                    grads[e] = grads[e] + d
                else:
                    grads[e] += d  # Ours alone, so the sum needs no new memory.
            if not retain:
                node.free()
    finally:
        mode.enabled = enabled
    if targets is not None:
        found |= {e: d for e, d in grads.items() if e in targets}
    else:
        found = grads  # Of nodes none is left.
    for e in found:
        if e.hooks and isinstance(e, Tensor):
            found[e] = _hooked(e, found[e])
    return found


def _hooked(edge: Any, g: Any) -> Any:
    """Return what the hooks of a node or a leaf make of its gradient."""
    result = g if isinstance(g, Tensor) else Tensor(g)
    for hook in list(edge.hooks):
        changed = hook(result)
        if changed is None:
            continue
        if not isinstance(changed, Tensor) or changed.shape != result.shape:
            raise GraphError("register_hook", "a hook returned something else than a gradient",
                             given=f"{type(changed).__name__} {getattr(changed, 'shape', '')}",
                             expected=f"None, or a tensor of shape {result.shape}")  # fmt: skip
        result = changed
    return result if isinstance(g, Tensor) else result.data


def _with_history(node: Node) -> Node:
    """Return a copy of the ctx in which what was saved are tensors on the graph again."""
    ctx = Node()
    vars(ctx).update(vars(node))
    ctx.op, ctx.inputs, ctx.sequence = node.op, node.inputs, node.sequence
    ctx.shape, ctx.dtype = node.shape, node.dtype
    edges: list[Any] = node.inputs  # type: ignore[assignment]
    ctx.args = node.args and tuple(map(partial(_linked, node), node.args, edges))
    ctx.output = None if node.output is None else Tensor(node.output, True, node)
    return ctx


def _linked(node: Node, array: Any, edge: Any) -> Any:
    if array is None or edge is None:
        return array
    if isinstance(edge, Node):
        return Tensor(array, True, edge)
    if edge.data is not array:
        raise GraphError(node.name, "a leaf's array was replaced after it was used",
                         given=f"a leaf of shape {edge.shape}",
                         fix="edit it in place (w -= step, under no_grad)")  # fmt: skip
    return edge


def _check_count(node: Node, results: tuple[Any, ...]) -> None:
    """Allow missing gradients only for trailing arguments that want none."""
    inputs: list[Any] = node.inputs  # type: ignore[assignment]
    if len(results) > len(inputs) or any(e is not None for e in inputs[len(results) :]):
        raise GraphError(node.name, "backward returned the wrong number of gradients",
                         given=str(len(results)),
                         expected=f"{len(inputs)}, one for each argument of forward")  # fmt: skip


def _fitted(node: Node, d: Any, like: Any) -> Any:
    """Return a gradient, with broadcasting undone, if it then is like the argument."""
    if d.shape != like.shape and node.op.broadcasts:
        d = undo_broadcast(d, like.shape)
    if d.shape != like.shape or d.dtype != like.dtype:
        _refuse_gradient(node, d, like)
    return d


def _refuse_gradient(node: Node, d: Any, like: Any) -> None:
    if isinstance(like, Node) and like.inputs is None:
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
