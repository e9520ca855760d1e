"""Where the boxes and lines of a layered drawing go.

The method is that of Sugiyama, Tagawa and Toda, *Methods for Visual Understanding
of Hierarchical System Structures* (1981), in four steps that follow one another in
this file:

    layers   every node one layer below its lowest parent; sources pulled down
    bends    where an edge crosses a layer it gets a point of its own there
    order    within a layer, by the mean place of the neighbours, swept to and fro
    places   least squares towards the neighbours, keeping the order and the gaps

Nodes are numbers here, in the order given; the same graph is always laid out alike.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from typing import NamedTuple

from workbench.errors import GraphError

# Pixels.
NODE_GAP, BEND_WIDTH, LAYER_GAP, MARGIN, PORT_GAP = 18.0, 8.0, 34.0, 14.0, 16.0

SWEEPS = 24
STIFFNESS = 8.0  # How much more than a node a bend insists on standing under the one before.


class Box(NamedTuple):
    """Where a node is drawn: centre, width and height, in pixels; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Where everything is drawn, in pixels.

    Attributes
    ----------
    boxes : list of Box
        One a node.
    routes : list of list of (x, y)
        One an edge: from the lower side of its first node, past two points for each
        layer crossed (at its top and its bottom), to the upper side of its last node.
    width, height : float
    """

    boxes: list[Box]
    routes: list[list[tuple[float, float]]]
    width: float
    height: float


def arrange(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    names: Sequence[Hashable],
) -> Layout:
    """Lay out a directed graph without cycles, every edge pointing downwards.

    Parameters
    ----------
    sizes : sequence of (width, height)
        Of each node, in pixels.
    edges : sequence of (int, int)
        From, to: positions in ``sizes``.
    names : sequence
        What to call the nodes in an error.

    Raises
    ------
    GraphError
        If the edges form a cycle; names it.
    """
    layer = layer_of(len(sizes), edges, names)
    layers = add_bends(layer, edges)
    order(layers)
    bends = sum(map(len, layers.rows)) - len(sizes)
    widths = [width for width, _ in sizes] + [BEND_WIDTH] * bends
    x = columns(layers, widths, len(sizes))
    left = min(a - w / 2 for a, w in zip(x, widths, strict=True)) - MARGIN
    x = [a - left for a in x]
    tops, bottoms = heights(layers, x, sizes)

    row_of = {item: i for i, row in enumerate(layers.rows) for item in row}
    boxes = [
        Box(x[i], (tops[row_of[i]] + bottoms[row_of[i]]) / 2, *size) for i, size in enumerate(sizes)
    ]
    ports = arrivals(layers, x, widths)
    routes = []
    for number, (first, *bent, last) in enumerate(layers.routes):
        points = [(x[first], boxes[first].y + boxes[first].height / 2)]
        for item in bent:
            points += [(x[item], tops[row_of[item]]), (x[item], bottoms[row_of[item]])]
        routes.append([*points, (ports[number], boxes[last].y - boxes[last].height / 2)])
    width = max(a + w / 2 for a, w in zip(x, widths, strict=True)) + MARGIN
    return Layout(boxes, routes, width, bottoms[-1] + MARGIN)


def layer_of(count: int, edges: Sequence[tuple[int, int]], names: Sequence[Hashable]) -> list[int]:
    """Return the layer of each node: the longest path to it, sources pulled down."""
    children, missing = defaultdict(list), [0] * count
    for a, b in edges:
        children[a].append(b)
        missing[b] += 1
    sources = [i for i in range(count) if not missing[i]]
    layer, ready = [0] * count, list(sources)
    for a in ready:  # Grows as it is read.
        for b in children[a]:
            layer[b] = max(layer[b], layer[a] + 1)
            missing[b] -= 1
            if not missing[b]:
                ready.append(b)
    if len(ready) < count:
        raise GraphError("draw_graph", "the edges form a cycle", given=cycle(missing, edges, names),
                         expected="a graph in which every edge can point downwards")  # fmt: skip
    for a in sources:
        if children[a]:
            layer[a] = min(layer[b] for b in children[a]) - 1
    return layer


def cycle(missing: list[int], edges: Sequence[tuple[int, int]], names: Sequence[Hashable]) -> str:
    """Describe one cycle; ``missing`` counts the parents that never became ready."""
    parent = {b: a for a, b in edges if missing[a] and missing[b]}
    at, path = next(iter(parent)), []
    while at not in path:
        path.append(at)
        at = parent[at]
    path = [*path[path.index(at) :], at]
    return " -> ".join(str(names[i]) for i in reversed(path))


@dataclass
class Layers:
    """The layered graph: nodes first, then one bend for each layer an edge crosses.

    All edges that leave one node share their bends, so a value used far below is one
    line with several ends.
    """

    rows: list[list[int]]
    segments: list[tuple[int, int]]
    routes: list[list[int]]


def add_bends(layer: list[int], edges: Sequence[tuple[int, int]]) -> Layers:
    """Cut every edge into segments between neighbouring layers."""
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for node, row in enumerate(layer):
        rows[row].append(node)
    bends: dict[tuple[int, int], int] = {}
    segments, routes = [], []
    for a, b in edges:
        route = [a]
        for row in range(layer[a] + 1, layer[b]):
            if (a, row) not in bends:
                bends[a, row] = len(layer) + len(bends)
                rows[row].append(bends[a, row])
                segments.append((route[-1], bends[a, row]))
            route.append(bends[a, row])
        segments.append((route[-1], b))
        routes.append([*route, b])
    return Layers(rows, segments, routes)


def neighbours(
    segments: list[tuple[int, int]],
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return what is joined to each item from above, and from below."""
    above, below = defaultdict(list), defaultdict(list)
    for a, b in segments:
        above[b].append(a)
        below[a].append(b)
    return above, below


def crossings(rows: list[list[int]], segments: list[tuple[int, int]]) -> int:
    """Count the pairs of segments that cross."""
    at = {item: i for row in rows for i, item in enumerate(row)}
    row_of = {item: i for i, row in enumerate(rows) for item in row}
    ends: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for a, b in segments:
        ends[row_of[a]].append((at[a], at[b]))
    total = 0
    for pairs in ends.values():
        seen: list[int] = []
        for _, right in sorted(pairs):
            total += len(seen) - bisect.bisect_right(seen, right)
            bisect.insort(seen, right)
    return total


def order(layers: Layers) -> None:
    """Sort each row by the mean place of its neighbours; keep the best of all sweeps."""
    above, below = neighbours(layers.segments)
    rows = [list(row) for row in layers.rows]
    fewest = crossings(rows, layers.segments)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        joined = above if downwards else below
        for i in range(len(rows)) if downwards else reversed(range(len(rows))):
            at = {item: j / len(row) for row in rows for j, item in enumerate(row)}
            centre = {item: mean([at[n] for n in joined[item]] or [at[item]]) for item in rows[i]}
            rows[i].sort(key=centre.__getitem__)
        count = crossings(rows, layers.segments)
        if count < fewest:
            fewest, layers.rows = count, [list(row) for row in rows]


def spread(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """Return the places nearest to those wanted that keep the order and the gaps.

    Weighted least squares under ``x[i + 1] - x[i] >= gaps[i]``.  Less the gaps it is
    isotonic regression, which pooling adjacent violators solves exactly (Barlow and
    others, 1972).
    """
    offsets = list(itertools.accumulate(gaps, initial=0.0))
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        pool = (want - offset, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            m, w, n = pools.pop()
            total = w + pool[1]
            pool = ((m * w + pool[0] * pool[1]) / total, total, n + pool[2])
        pools.append(pool)
    means = (m for m, _, n in pools for _ in range(n))
    return [m + offset for m, offset in zip(means, offsets, strict=True)]


def columns(layers: Layers, widths: list[float], nodes: int) -> list[float]:
    """Return the x of each item's centre; items from ``nodes`` on are bends."""
    above, below = neighbours(layers.segments)
    around = {item: above[item] + below[item] for row in layers.rows for item in row}
    gaps = [
        [(widths[a] + widths[b]) / 2 + NODE_GAP for a, b in itertools.pairwise(row)]
        for row in layers.rows
    ]
    x = [0.0] * len(widths)
    for row, gap in zip(layers.rows, gaps, strict=True):
        for item, at in zip(row, itertools.accumulate(gap, initial=-sum(gap) / 2), strict=True):
            x[item] = at

    def wanted(item: int, joined: list[int]) -> float:
        if not joined:
            return x[item]
        stiff = [STIFFNESS if min(item, n) >= nodes else 1.0 for n in joined]
        return sum(s * x[n] for s, n in zip(stiff, joined, strict=True)) / sum(stiff)

    turn = list(zip(layers.rows, gaps, strict=True))
    for sweep in range(4 * SWEEPS):
        joined = (above, below, around)[sweep % 3]
        for row, gap in turn if sweep % 2 else reversed(turn):
            targets = [wanted(item, joined[item]) for item in row]
            weights = [STIFFNESS if item >= nodes else 1.0 + len(joined[item]) for item in row]
            for item, at in zip(row, spread(targets, weights, gap), strict=True):
                x[item] = at
    straighten(layers, x, gaps)
    return x


def straighten(layers: Layers, x: list[float], gaps: list[list[float]]) -> None:
    """Put runs of bends exactly under each other, as long as their neighbours leave room."""
    sides = {}
    for row, gap in zip(layers.rows, gaps, strict=True):
        for i, item in enumerate(row):
            left = (row[i - 1], gap[i - 1]) if i else None
            right = (row[i + 1], gap[i]) if i + 1 < len(row) else None
            sides[item] = left, right
    longest: dict[int, list[int]] = {}
    for source, *bends, _ in layers.routes:
        longest[source] = max(longest.get(source, []), bends, key=len)
    for bends in longest.values():
        run: list[int] = []
        low, high = -math.inf, math.inf
        for item in bends:
            left, right = sides[item]
            low_here = x[left[0]] + left[1] if left else -math.inf
            high_here = x[right[0]] - right[1] if right else math.inf
            if max(low, low_here) > min(high, high_here):
                run, low, high = [], -math.inf, math.inf
            run, low, high = [*run, item], max(low, low_here), min(high, high_here)
            middle = min(max(sum(x[each] for each in run) / len(run), low), high)
            for each in run:
                x[each] = middle


def heights(
    layers: Layers, x: list[float], sizes: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Return the top and bottom of each row; gaps are wider where lines go far sideways."""
    row_of = {item: i for i, row in enumerate(layers.rows) for item in row}
    reach = [0.0] * len(layers.rows)
    for a, b in layers.segments:
        reach[row_of[a]] = max(reach[row_of[a]], abs(x[a] - x[b]))
    tops, bottoms, y = [], [], MARGIN
    for row, far in zip(layers.rows, reach, strict=True):
        height = max(sizes[item][1] for item in row if item < len(sizes))
        tops.append(y)
        bottoms.append(y + height)
        y += height + LAYER_GAP + min(40.0, 0.08 * far)
    return tops, bottoms


def arrivals(layers: Layers, x: list[float], widths: list[float]) -> list[float]:
    """Return the x at which each edge arrives: side by side, in the order of their sources."""
    incoming: dict[int, list[int]] = defaultdict(list)
    for number, route in enumerate(layers.routes):
        incoming[route[-1]].append(number)
    ports = [0.0] * len(layers.routes)
    for node, numbers in incoming.items():
        numbers.sort(key=lambda number: x[layers.routes[number][-2]])
        step = min(PORT_GAP, (widths[node] - NODE_GAP) / max(1, len(numbers) - 1))
        for i, number in enumerate(numbers):
            ports[number] = x[node] + (i - (len(numbers) - 1) / 2) * step
    return ports
