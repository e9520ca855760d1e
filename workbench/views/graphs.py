"""A graph as a drawing in SVG, in plain Python: for static pages, tests and everywhere else.

Where things go is decided in :mod:`workbench.views.layout`; how they look, here.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from workbench.errors import DtypeError, OptionError, unknown_name
from workbench.views import palette
from workbench.views.layout import MARGIN, Box, Layout, arrange

WHERE = "draw_graph"

# Pixels.
CHARACTER, LINE, PADDING, ARROW, LEGEND_WIDTH = 7.3, 16.0, 9.0, 7.0, 420.0

KINDS = {
    "input": palette.SKY,
    "parameter": palette.ORANGE,
    "constant": "#8C96A3",
    "op": "#D9DEE5",
    "gradient": palette.PURPLE,
    "output": palette.GREEN,
    "saved": palette.YELLOW,
}
"""Kinds that look the same in every chapter; any other word gets a colour of its own."""

EDGES = ((palette.FAINT, 1.2), ("#57606A", 1.2), (palette.VERMILION, 2.2))  # Colour and width.
PALE_INK = "#A0A8B3"
SPARE = (palette.BLUE, palette.VERMILION, "#7F5AA2", "#8A6B3D", "#4C9F9F")


class Node(NamedTuple):
    """One node of a drawing.

    Attributes
    ----------
    id : hashable
        What edges call it.
    label : str
        What stands in the box; may hold several lines.
    kind : str
        Decides the colour and is listed in the legend.
    tooltip : str
        Shown when the pointer rests on the node.
    highlight : bool
        Drawn with a strong border.
    faded : bool
        Drawn pale, and its edges too: a node that is not there yet, or no longer.
    """

    id: Hashable
    label: str
    kind: str = "op"
    tooltip: str = ""
    highlight: bool = False
    faded: bool = False


@dataclass(frozen=True)
class SVG:
    """A drawing; shows itself in a notebook, and ``text`` is its source."""

    text: str

    def _repr_svg_(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self.text}</div>'

    def __str__(self) -> str:
        return self.text


def draw_graph(
    nodes: Iterable[Node | Mapping[str, Any] | Sequence[Any]],
    edges: Iterable[tuple[Hashable, Hashable]],
    *,
    title: str = "Graph",
    description: str | None = None,
    legend: bool = True,
) -> SVG:
    """Draw a directed graph without cycles, every edge pointing downwards.

    Parameters
    ----------
    nodes : iterable of Node, mapping or tuple
        Each with the fields of :class:`Node`: ``id`` and ``label``, and as wanted
        ``kind``, ``tooltip``, ``highlight``, ``faded``.
    edges : iterable of (id, id)
        From, to.  An edge given twice is drawn twice.
    title, description : str, optional
        Read aloud by screen readers; the description defaults to a count.
    legend : bool
        Whether to list the kinds, where there is more than one.

    Returns
    -------
    SVG

    Raises
    ------
    OptionError
        If there are no nodes, or two with one id.
    UnknownNameError
        If an edge names a node that is not there, or a node has an unknown field.
    DtypeError
        If a node or an edge is something else.
    GraphError
        If the edges form a cycle; names it.

    Examples
    --------
    >>> drawing = draw_graph([("x", "x", "input"), ("y", "x * x")], [("x", "y"), ("x", "y")])
    >>> drawing.text[:4]
    '<svg'
    """
    read = read_nodes(nodes)
    pairs = read_edges(edges, read)
    placed = arrange([text_size(node.label) for node in read.values()], pairs, list(read))
    return render(list(read.values()), pairs, placed, title, description, legend)


# --- reading ----------------------------------------------------------------------------


def read_nodes(nodes: Iterable[Any]) -> dict[Hashable, Node]:
    """Return the nodes by id, in the order given."""
    read: dict[Hashable, Node] = {}
    for each in nodes:
        node = read_node(each)
        if node.id in read:
            raise OptionError(WHERE, f"two nodes have the id {node.id!r}",
                              given=f"labels {read[node.id].label!r} and {node.label!r}",
                              expected="an id of its own for each node")  # fmt: skip
        read[node.id] = node
    if not read:
        raise OptionError(WHERE, "there is nothing to draw", given="no nodes")
    return read


def read_node(each: Any) -> Node:
    """Return a node from any of the spellings allowed."""
    if isinstance(each, Mapping):
        for field in each:
            if field not in Node._fields:
                raise unknown_name(WHERE, "field of a node", field, Node._fields)
        complete = {"id", "label"} <= set(each)
        node = Node(**each) if complete else None
    else:
        complete = isinstance(each, tuple | list) and 2 <= len(each) <= len(Node._fields)
        node = Node(*each) if complete else None
    usable = node and all(isinstance(text, str) for text in (node.label, node.kind, node.tooltip))
    if node is None or not usable or not isinstance(node.id, Hashable):
        raise DtypeError(WHERE, "this is not a node", given=repr(each),
                         expected="a Node, a mapping or a tuple with an id and a label, "
                                  "label and kind text")  # fmt: skip
    return node


def read_edges(edges: Iterable[Any], nodes: Mapping[Hashable, Node]) -> list[tuple[int, int]]:
    """Return the edges as pairs of positions in ``nodes``."""
    position = {name: i for i, name in enumerate(nodes)}
    pairs = []
    for edge in edges:
        if not isinstance(edge, tuple | list) or len(edge) != 2:
            raise DtypeError(WHERE, "this is not an edge", given=repr(edge),
                             expected="a pair of ids: (from, to)")  # fmt: skip
        for end in edge:
            if not isinstance(end, Hashable) or end not in position:
                raise unknown_name(WHERE, "node", end, map(str, nodes))
        pairs.append((position[edge[0]], position[edge[1]]))
    return pairs


def text_size(label: str) -> tuple[float, float]:
    """Return width and height of a box around a label in a monospaced type."""
    lines = label.split("\n")
    cells = max(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in each)
                for each in lines)  # fmt: skip
    return max(36.0, cells * CHARACTER + 2 * PADDING), len(lines) * LINE + PADDING


# --- drawing ----------------------------------------------------------------------------


def render(
    nodes: list[Node],
    edges: list[tuple[int, int]],
    placed: Layout,
    title: str,
    description: str | None,
    legend: bool,
) -> SVG:
    """Write the drawing down."""
    if description is None:
        description = f"{count(len(nodes), 'node')}, {count(len(edges), 'edge')}; edges point down."
    colours = colours_of(nodes)
    drawn = [
        (draw_edge(nodes[a], nodes[b], route), importance(nodes[a], nodes[b]))
        for (a, b), route in zip(edges, placed.routes, strict=True)
    ]
    body = [edge for edge, _ in sorted(drawn, key=lambda each: each[1])]
    body += [
        draw_node(node, box, colours[node.kind])
        for node, box in zip(nodes, placed.boxes, strict=True)
    ]
    width, height = placed.width, placed.height
    if legend and len(colours) > 1:
        key, width, height = draw_legend(colours, width, height)
        body += key
    about = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    mark = hashlib.sha256("".join([about, *body]).encode()).hexdigest()[:10]
    about = about.replace("<title>", f'<title id="t{mark}">', 1)
    about = about.replace("<desc>", f'<desc id="d{mark}">', 1)
    return SVG(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t{mark} d{mark}" '
        f'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" '
        f'font-size="12">{about}<rect width="100%" height="100%" fill="{palette.PAPER}"/>'
        + "".join(body)
        + "</svg>"
    )


def count(number: int, what: str) -> str:
    """Return ``"1 node"``, ``"2 nodes"``."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def colours_of(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the colour of each kind, in the order in which the kinds appear."""
    spare = itertools.cycle(SPARE)
    colours: dict[str, str] = {}
    for node in nodes:
        if node.kind not in colours:
            colours[node.kind] = KINDS.get(node.kind) or next(spare)
    return colours


def importance(a: Node, b: Node) -> int:
    """Say how late an edge is drawn: 0 for a pale one, 2 for one between highlighted nodes."""
    return 0 if a.faded or b.faded else 2 if a.highlight and b.highlight else 1


def draw_edge(a: Node, b: Node, route: list[tuple[float, float]]) -> str:
    """Return a path with vertical tangents, and its arrowhead."""
    colour, width = EDGES[importance(a, b)]
    *points, (x, y) = route
    points.append((x, y - ARROW + 1))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in zip(points[::2], points[1::2], strict=True):
        middle = (y0 + y1) / 2
        path += f"L{x0:.1f} {y0:.1f}C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    head = f"M{x:.1f} {y:.1f}l{-ARROW / 2} {-ARROW}h{ARROW}z"
    return (f'<g class="edge" data-from="{escape(str(a.id))}" data-to="{escape(str(b.id))}">'
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            f'<path d="{head}" fill="{colour}"/></g>')  # fmt: skip


def draw_node(node: Node, box: Box, colour: str) -> str:
    """Return a box with its label, one ``tspan`` a line."""
    (fill, line), ink, width = shades(colour), palette.INK, 1.2
    if node.faded:
        fill, line, ink = palette.mix(colour, palette.PAPER, 0.9), palette.FAINT, PALE_INK
    if node.highlight:
        line, width = palette.VERMILION, 3.0
    x, y = box.x - box.width / 2, box.y - box.height / 2
    lines = node.label.split("\n")
    first = box.y + 4.2 - LINE * (len(lines) - 1) / 2
    text = "".join(f'<tspan x="{box.x:.1f}" y="{first + LINE * i:.1f}">{escape(each)}</tspan>'
                   for i, each in enumerate(lines))  # fmt: skip
    tooltip = f"<title>{escape(node.tooltip)}</title>" if node.tooltip else ""
    return (f'<g class="node" data-id="{escape(str(node.id))}">{tooltip}<rect x="{x:.1f}" y="{y:.1f}" '
            f'width="{box.width:.1f}" height="{box.height:.1f}" rx="5" fill="{fill}" '
            f'stroke="{line}" stroke-width="{width}"/>'
            f'<text text-anchor="middle" fill="{ink}" xml:space="preserve">{text}</text></g>')  # fmt: skip


def shades(colour: str) -> tuple[str, str]:
    """Return the fill and the border of a box: lighter and darker than its colour."""
    return palette.mix(colour, palette.PAPER, 0.6), palette.mix(colour, palette.BLACK, 0.35)


def draw_legend(
    colours: dict[str, str], width: float, height: float
) -> tuple[list[str], float, float]:
    """Return swatches with the kinds' names below the graph, and the size with them."""
    widths = [len(kind) * CHARACTER + 40 for kind in colours]
    width = max(width, min(sum(widths), LEGEND_WIDTH) + 2 * MARGIN)
    drawn, x, y = [], MARGIN, height + LINE / 2
    for (kind, colour), wide in zip(colours.items(), widths, strict=True):
        if x + wide > width and x > MARGIN:
            x, y = MARGIN, y + LINE + 6
        fill, line = shades(colour)
        drawn.append(f'<g class="key"><rect x="{x:.1f}" y="{y - 10:.1f}" width="16" height="12" rx="3" '
                     f'fill="{fill}" stroke="{line}"/><text x="{x + 22:.1f}" y="{y:.1f}" '
                     f'fill="{palette.INK}">{escape(kind)}</text></g>')  # fmt: skip
        x += wide
    return drawn, width, y + MARGIN


def escape(text: str) -> str:
    """Return text fit for XML: markup escaped, characters that XML forbids replaced."""
    legal = "".join(c if c in "\n\t" or (c >= " " and not "\ud800" <= c <= "\udfff"
                                         and c not in "\x7f\ufffe\uffff") else "\ufffd"
                    for c in text)  # fmt: skip
    return html.escape(legal)
