"""The timeline: years from left to right, a lane for each generation, lines of descent.

Everything is placed in inches, so that what is measured (the width of a name) is
what is drawn, and boxes can be kept apart by arithmetic.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from workbench.views import palette
from workbench.views.history import Descent, Event, History, System
from workbench.views.pictures import Picture

# Inches.
WIDTH, TITLES, RIGHT = 12.6, 1.75, 0.2
BOX, ROW, LANE_PADDING, BOX_PADDING, GAP = 0.27, 0.43, 0.13, 0.07, 0.16
AXIS, LEGEND, EVENT_ROW = 0.36, 0.42, 0.3
POINTS = 72.0

SIZE = 9.5  # Points.

ROWS = {
    "Matlab": 1, "Octave": 0, "NumPy": 0,
    "Theano": 1, "Torch7": 0, "PyLearn2": 1, "cuda-convnet": 2, "Lasagne": 2, "Blocks": 3,
    "nolearn": 0,
    "Caffe": 0, "Deeplearning4j": 1, "Keras 1": 4, "TensorFlow 1": 3, "MXNet": 0, "CNTK": 2,
    "HIPS autograd": 3, "Chainer": 0, "PyTorch": 0, "CuPy": 1, "DyNet": 3, "TensorFlow Fold": 4,
    "Keras 2": 2, "TensorFlow 2": 0,
    "XLA": 3, "JAX": 0, "MindSpore": 3, "functorch": 2, "PyTorch 2": 0, "Keras 3": 1,
}  # fmt: skip
"""Rows within their lane that let every arrow pass; a system not listed takes the first free."""

LANES = {
    "before": palette.ORANGE,
    "first": palette.BLUE,
    "1.5": palette.SKY,
    "second": palette.GREEN,
    "latest": palette.PURPLE,
}
DASHES: dict[str, Any] = {"continues": "-", "stands on": (0, (4, 1.6)), "idea": (0, (1.2, 1.6))}
MARKERS = {"data": "s", "compute": "^", "algorithms": "o"}
STRONG = palette.VERMILION


@dataclass(frozen=True)
class Placed:
    """A system's box: left and right ends, and the height of its middle; y grows downwards."""

    left: float
    right: float
    y: float


class Years:
    """The years' axis: the time before ``crowded`` is squeezed."""

    def __init__(self, first: int, last: int, crowded: int = 2006) -> None:
        self.first, self.last, self.crowded = first, last, max(first, crowded)
        width = WIDTH - TITLES - RIGHT
        self.squeezed = 0.13 * width if first < self.crowded else 0.0
        self.unit = (width - self.squeezed) / (last - self.crowded)

    def __call__(self, year: float) -> float:
        """Return where a year begins, in inches from the left."""
        if year >= self.crowded:
            return TITLES + self.squeezed + (year - self.crowded) * self.unit
        return TITLES + self.squeezed * (year - self.first) / (self.crowded - self.first)


@functools.cache
def text_width(text: str, size: float = SIZE) -> float:
    """Return how wide a text is drawn, in inches."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / POINTS


def pack(systems: list[System], years: Years) -> tuple[dict[str, Placed], int]:
    """Put the systems of one lane into rows that keep their boxes apart."""
    ends: dict[int, float] = {}
    placed = {}
    for system in sorted(systems, key=lambda each: each.year):
        left = years(system.year)
        right = left + text_width(system.name) + 2 * BOX_PADDING
        wanted = [ROWS[system.name]] if system.name in ROWS else []
        rows = itertools.chain(wanted, itertools.count())
        row = next(row for row in rows if ends.get(row, -GAP) + GAP <= left)
        ends[row] = max(right, ends.get(row, right))
        placed[system.name] = Placed(left, right, row * ROW + ROW / 2)
    return placed, max(ends, default=0) + 1


Curves: TypeAlias = npt.NDArray[np.float64]
"""Cubic Bézier curves, each a start, two control points and an end: shape (K, 4, 2)."""

RIGHTWARDS = np.array((1.0, 0.0))


def curves(a: Placed, b: Placed) -> Curves:
    """Return the ways from one box to another, the plainest first.

    An arrow leaves to the right, or up or down; it arrives from the left, from above
    or from below; between two parallel ends it may bend early or late.
    """
    vertical = np.array((0.0, float(np.sign(b.y - a.y))))
    exits = [(np.array((a.right, a.y)), RIGHTWARDS)]
    entries = [(np.array((b.left, b.y)), RIGHTWARDS)]
    for share in (0.5, 0.25, 0.75) if vertical.any() else ():
        x_out, x_in = (box.left + share * (box.right - box.left) for box in (a, b))
        exits.append((np.array((x_out, a.y)) + vertical * BOX / 2, vertical))
        entries.append((np.array((x_in, b.y)) - vertical * BOX / 2, vertical))
    ways = []
    for (start, leave), (end, arrive) in itertools.product(exits, entries):
        across = abs(end - start)
        if (leave + arrive)[0] and end[0] - start[0] < 0.1:
            continue  # It would have to turn back.
        bends = ((0.5, 0.5), (0.2, 0.8), (0.8, 0.2)) if leave @ arrive else ((0.65, 0.65),)
        ways += [(start, start + p * across * leave, end - q * across * arrive, end)
                 for p, q in bends]  # fmt: skip
    return np.array(ways)


TIMES = np.linspace(0, 1, 33)
BERNSTEIN = np.stack([(1 - TIMES) ** 3, 3 * (1 - TIMES) ** 2 * TIMES,
                      3 * (1 - TIMES) * TIMES**2, TIMES**3])  # fmt: skip


def points_of(ways: Curves) -> npt.NDArray[np.float64]:
    """Return 33 points of each curve, evenly in its parameter: shape (K, 33, 2)."""
    return np.einsum("pt,kpc->ktc", BERNSTEIN, ways)


def hits(points: npt.NDArray[np.float64], boxes: list[Placed]) -> npt.NDArray[np.int64]:
    """Count, for each curve, the boxes that it runs through or touches: shape (K,)."""
    if not boxes:
        return np.zeros(len(points), np.int64)
    left, right, middle = np.array([(box.left, box.right, box.y) for box in boxes]).T
    x, y = points[..., :1], points[..., 1:]
    room = 0.03
    inside = (x > left - room) & (x < right + room) & (abs(y - middle) < BOX / 2 + room)
    return inside.any(axis=1).sum(axis=1)


def route(boxes: dict[str, Placed], lines: list[Descent]) -> list[Curves]:
    """Choose a way for every arrow: past all other boxes, apart from the others, short.

    Returns
    -------
    list of array, shape (4, 2)
        One curve a line of descent.
    """
    chosen: list[Curves] = []
    drawn, starts, tips = np.zeros((3, 0, 2))
    for line in lines:
        ends = line.ancestor, line.descendant
        ways = curves(*(boxes[name] for name in ends))
        points = points_of(ways)
        length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(axis=1)
        struck = hits(points, [box for name, box in boxes.items() if name not in ends])
        along = near(points[:, 6:-6], drawn).sum(axis=1)
        # A tail at another's tip would read as a line with two heads.
        shared = near(ways[:, :1], tips) | near(ways[:, 3:], starts)
        cost = 100 * struck + length + 0.2 * along + shared[:, 0] + flatness(ways)
        way = int(np.argmin(cost))
        chosen.append(ways[way])
        drawn = np.concatenate((drawn, points[way]))
        starts, tips = np.vstack((starts, ways[way, 0])), np.vstack((tips, ways[way, 3]))
    return chosen


def near(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say of points (K, P, 2) whether any of others (N, 2) is close: shape (K, P)."""
    distance = np.linalg.norm(points[:, :, None] - others, axis=-1)
    return (distance < 0.06).any(axis=2)


def flatness(ways: Curves) -> npt.NDArray[np.float64]:
    """Return how much too far curves go sideways that leave and arrive vertically: shape (K,)."""
    leave, across, arrive = np.abs(ways[:, [1, 3, 3]] - ways[:, [0, 0, 2]]).transpose(1, 0, 2)
    vertical = (leave[:, 0] == 0) & (arrive[:, 0] == 0)
    return vertical * np.maximum(0, across[:, 0] - 2.5 * across[:, 1])


def place(
    systems: list[System], generations: list[str], years: Years
) -> tuple[dict[str, Placed], list[tuple[str, float, float]]]:
    """Return every system's box, and each lane's name, top and height."""
    boxes: dict[str, Placed] = {}
    lanes = []
    top = AXIS
    for name in generations:
        placed, rows = pack([each for each in systems if each.generation == name], years)
        for system, box in placed.items():
            boxes[system] = Placed(box.left, box.right, box.y + top + LANE_PADDING)
        lanes.append((name, top, rows * ROW + 2 * LANE_PADDING))
        top += lanes[-1][2]
    return boxes, lanes


def draw(history: History, trace: str | None, generations: list[str]) -> Picture:
    """Draw the story; see :func:`workbench.views.history.timeline`."""
    shown = [each for each in history.systems.values() if each.generation in generations]
    events = list(history.events)
    known = [each.year for each in shown] + [each.year for each in events]
    years = Years(min(known, default=2006), max(known, default=2024) + 2)

    boxes, lanes = place(shown, generations, years)
    pillars = AXIS + sum(height for _, _, height in lanes)
    y = pillars + len(MARKERS) * EVENT_ROW + 2 * LANE_PADDING

    family = set(boxes)
    if trace is not None:
        family = {trace, *history.ancestors(trace), *history.descendants(trace)}
    picture = Picture(WIDTH, y + LEGEND, describe(history, trace, shown))
    picture.set_layout_engine("none")
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(y + LEGEND, 0))
    axes.axis("off")

    draw_years(axes, years, y)
    for name, top, height in lanes:
        generation = history.generations[name]
        draw_lane(axes, top, height, LANES.get(name, palette.YELLOW),
                  generation.title, generation.years)  # fmt: skip
    draw_lane(axes, pillars, y - pillars, "#8C96A3", "The three pillars", "usually credited")
    lines = [each for each in history.descent if {each.ancestor, each.descendant} <= set(boxes)]
    for line, curve in zip(lines, route(boxes, lines), strict=True):
        strong = trace is not None and on_a_line(history, trace, line)
        draw_descent(axes, curve, line.kind, trace is None, strong)
    for system in shown:
        draw_system(axes, boxes[system.name], system, system.name in family, system.name == trace)
    for event in events:
        draw_event(axes, years, event, pillars)
    draw_legend(axes, history, y)
    return picture


def on_a_line(history: History, trace: str, line: Descent) -> bool:
    """Say whether a line of descent lies between the traced system and its family."""
    up = {trace, *history.ancestors(trace)}
    down = {trace, *history.descendants(trace)}
    return {line.ancestor, line.descendant} <= up or {line.ancestor, line.descendant} <= down


def describe(history: History, trace: str | None, shown: list[System]) -> str:
    """Say in words what the picture shows."""
    years = [each.year for each in shown]
    text = f"Timeline of {len(shown)} systems"
    if years:
        text += f" from {min(years)} to {max(years)}"
    text += ", in lanes by generation, with arrows from ancestor to descendant."
    if trace is not None:
        text += (f" {trace} descends from {', '.join(history.ancestors(trace)) or 'none of them'};"
                 f" from it descend {', '.join(history.descendants(trace)) or 'none'}.")  # fmt: skip
    return text


def draw_years(axes: Any, years: Years, bottom: float) -> None:
    """Draw the axis on top: a tick and a faint line where a year begins."""
    early = [year for year in (1984, 1993) if years.first <= year < years.crowded]
    for year in [*early, *range(years.crowded, years.last + 1)]:
        x = years(year)
        axes.plot([x, x], [AXIS, bottom], color="#DDE2E8", linewidth=0.8, zorder=1)
        if year in early or year % 2 == 0:
            axes.text(x, AXIS - 0.07, str(year), ha="center", va="bottom", fontsize=SIZE,
                      color=palette.INK)  # fmt: skip
    if early:  # The scale changes here, and says so.
        x = years(years.crowded) - 0.16
        for shift in (0, 0.07):
            axes.plot([x + shift - 0.04, x + shift + 0.04], [AXIS + 0.06, AXIS - 0.06],
                      color=palette.INK, linewidth=1, zorder=3)  # fmt: skip
    axes.plot([years(years.first), years(years.last)], [AXIS, AXIS], color=palette.INK, linewidth=1)
    axes.text(0.12, AXIS - 0.07, "first year", fontsize=SIZE, va="bottom", color=palette.INK)


def draw_lane(axes: Any, top: float, height: float, colour: str, title: str, below: str) -> None:
    """Draw a lane's background and its title."""
    axes.add_patch(Rectangle((0, top), WIDTH, height, zorder=0, linewidth=0,
                             facecolor=palette.mix(colour, palette.PAPER, 0.88)))  # fmt: skip
    axes.add_patch(Rectangle((0, top), 0.06, height, zorder=0, linewidth=0, facecolor=colour))
    axes.text(0.14, top + 0.24, title, fontsize=SIZE + 0.5, weight="bold", color=palette.INK)
    axes.text(0.14, top + 0.42, below, fontsize=SIZE - 1, color="#57606A")


def draw_descent(axes: Any, curve: Curves, kind: str, plain: bool, strong: bool) -> None:
    """Draw one arrow."""
    colour = STRONG if strong else "#57606A" if plain else palette.FAINT
    axes.add_patch(FancyArrowPatch(
        path=Path(curve, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]),
        arrowstyle="-|>", mutation_scale=9, color=colour, linestyle=DASHES.get(kind, "-"),
        linewidth=1.8 if strong else 1.1, zorder=3 if strong else 2, joinstyle="miter",
    ))  # fmt: skip


def draw_system(axes: Any, box: Placed, system: System, member: bool, chosen: bool) -> None:
    """Draw a system's box, its left end at its year."""
    colour = LANES.get(system.generation, palette.YELLOW)
    axes.add_patch(FancyBboxPatch(
        (box.left, box.y - BOX / 2), box.right - box.left, BOX,
        boxstyle="round,pad=0,rounding_size=0.06", zorder=4,
        linewidth=2.4 if chosen else 1.1,
        edgecolor=STRONG if chosen else colour if member else palette.FAINT,
        facecolor=palette.mix(colour, palette.PAPER, 0.72) if member else palette.PAPER,
    ))  # fmt: skip
    axes.text(box.left + BOX_PADDING, box.y, system.name, va="center_baseline", fontsize=SIZE,
              color=palette.INK if member else "#8C96A3", zorder=5, gid=system.name)  # fmt: skip


def draw_event(axes: Any, years: Years, event: Event, top: float) -> None:
    """Draw what happened to a pillar, in the pillar's row."""
    row = list(MARKERS).index(event.pillar)
    x, y = years(event.year), top + LANE_PADDING + (row + 0.5) * EVENT_ROW
    axes.plot(x, y, MARKERS[event.pillar], color=palette.INK, markersize=5, zorder=4)
    axes.text(x + 0.1, y, event.what, va="center_baseline", fontsize=SIZE - 1, color=palette.INK)


def draw_legend(axes: Any, history: History, top: float) -> None:
    """Draw the key of arrows and marks below everything."""
    handles = [
        Line2D([], [], color="#57606A", linestyle=DASHES.get(kind, "-"), label=f"→ {says}")
        for kind, says in history.kinds.items()
    ]
    handles += [
        Line2D([], [], color=palette.INK, marker=marker, linestyle="", markersize=5, label=pillar)
        for pillar, marker in MARKERS.items()
    ]
    axes.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False,
                fontsize=SIZE, handlelength=3.2, bbox_to_anchor=(0.5, 0.0))  # fmt: skip
