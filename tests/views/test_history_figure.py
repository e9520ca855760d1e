"""The timeline as drawn: nothing overlaps, no arrow runs through a name."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch

from workbench.errors import UnknownNameError
from workbench.views import history, history_figure, palette

NAMES = list(history.load().generations)


def placed(generations=NAMES):
    told = history.load()
    shown = [each for each in told.systems.values() if each.generation in generations]
    boxes, lanes = history_figure.place(shown, list(generations), history_figure.Years(1984, 2025))
    return told, boxes, lanes


def texts(picture):
    return [text for axes in picture.axes for text in axes.texts]


def drawn(picture):
    """Lay everything out, the legend too, and return what measures it."""
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    return canvas.get_renderer()


def arrows(picture):
    return [p for p in picture.axes[0].patches if isinstance(p, FancyArrowPatch)]


def strong(patches):
    return [p for p in patches if p.get_edgecolor() == to_rgba(palette.VERMILION)]


@pytest.mark.parametrize("generations", [NAMES, ["first"], ["second", "latest"]])
def test_no_two_words_of_the_drawing_overlap(generations):
    picture = history.timeline(generations=generations)
    renderer = drawn(picture)
    extents = [(t.get_text(), t.get_window_extent(renderer)) for t in texts(picture)]
    extents += [(t.get_text(), t.get_window_extent(renderer))
                for t in picture.axes[0].get_legend().get_texts()]  # fmt: skip
    for (one, a), (other, b) in itertools.combinations(extents, 2):
        assert not a.overlaps(b), f"{one} lies on {other}"
    width, height = picture.get_size_inches() * picture.dpi
    for name, box in extents:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= width, name
        assert box.y1 <= height, name


def test_every_name_fits_in_its_box():
    picture = history.timeline()
    renderer = drawn(picture)
    _, boxes, _ = placed()
    for text in texts(picture):
        if text.get_gid() in boxes:
            box = boxes[text.get_gid()]
            extent = text.get_window_extent(renderer)
            assert extent.x0 / picture.dpi > box.left
            assert extent.x1 / picture.dpi < box.right


def test_no_arrow_runs_through_a_box_that_is_not_its_own():
    told, boxes, _ = placed()
    lines = list(told.descent)
    for line, curve in zip(lines, history_figure.route(boxes, lines), strict=True):
        ends = (line.ancestor, line.descendant)
        for name, box in boxes.items():
            if name not in ends:
                points = history_figure.points_of(curve[None])
                assert history_figure.hits(points, [box])[0] == 0, f"{ends} runs through {name}"


def test_arrows_start_at_the_ancestor_and_end_at_the_descendant():
    told, boxes, _ = placed()
    lines = list(told.descent)
    for line, curve in zip(lines, history_figure.route(boxes, lines), strict=True):
        for name, (x, y) in ((line.ancestor, curve[0]), (line.descendant, curve[3])):
            box = boxes[name]
            assert box.left - 1e-9 <= x <= box.right + 1e-9
            assert abs(y - box.y) <= history_figure.BOX / 2 + 1e-9


def test_hits_are_counted_and_not_only_denied():
    _, boxes, _ = placed()
    a, b, between = boxes["Theano"], boxes["Blocks"], boxes["nolearn"]
    straight = np.linspace((a.left, a.y), (b.right, b.y), 4)[None]
    points = history_figure.points_of(straight)
    assert history_figure.hits(points, [a, b]).tolist() == [2]
    assert history_figure.hits(points, [between]).tolist() in ([0], [1])
    assert history_figure.hits(points, []).tolist() == [0]


def test_a_box_begins_at_its_year_and_lies_in_its_lane():
    told, boxes, lanes = placed()
    years = history_figure.Years(1984, 2025)
    bounds = {name: (top, top + height) for name, top, height in lanes}
    for name, box in boxes.items():
        system = told.systems[name]
        assert box.left == years(system.year)
        top, bottom = bounds[system.generation]
        assert top < box.y < bottom


def test_years_grow_to_the_right_and_the_early_ones_are_squeezed():
    years = history_figure.Years(1984, 2025)
    at = [years(year) for year in range(1984, 2026)]
    steps = np.diff(at)
    assert (steps > 0).all()
    assert steps[:22].max() < steps[22:].min() / 5
    assert at[-1] == pytest.approx(history_figure.WIDTH - history_figure.RIGHT)


def test_tracing_lights_the_lines_between_the_system_and_its_family_only():
    assert strong(arrows(history.timeline())) == []
    told = history.load()
    picture = history.timeline("PyTorch")
    # Matlab-Torch7, Torch7-PyTorch, Chainer-PyTorch above; below, everything between the five.
    family = {"PyTorch", *told.descendants("PyTorch")}
    below = [line for line in told.descent if {line.ancestor, line.descendant} <= family]
    assert len(strong(arrows(picture))) == 3 + len(below)
    assert len(arrows(picture)) == len(told.descent)


def test_the_description_says_what_the_picture_shows():
    alt = history.timeline("Lasagne").alt
    assert "30 systems from 1984 to 2023" in alt
    assert "Lasagne descends from NumPy, Theano; from it descend nolearn." in alt
    assert 'alt="Timeline of 30 systems' in history.timeline().html()


def test_a_new_system_finds_a_place_of_its_own():
    told = history.load()
    new = history.System("Newcomer", 2015, "here", "1.5", "An idea.")
    bigger = dataclasses.replace(told, systems={**told.systems, "Newcomer": new})
    assert any(t.get_text() == "Newcomer" for t in texts(history.timeline(history=bigger)))
    shown = [each for each in bigger.systems.values() if each.generation == "1.5"]
    boxes, _ = history_figure.pack(shown, history_figure.Years(1984, 2025))
    for a, b in itertools.combinations(boxes.values(), 2):
        assert a.y != b.y or a.right < b.left or b.right < a.left


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="no system called 'Torch8'"):
        history.timeline("Torch8")
    with pytest.raises(UnknownNameError) as caught:
        history.timeline(generations=["frist"])
    assert "did you mean 'first'?" in str(caught.value)


def test_drawing_touches_no_pyplot_state():
    command = ("import sys; from workbench import views; views.timeline().png(); "
               "sys.exit('matplotlib.pyplot' in sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", command], check=True)


def test_the_same_picture_every_time():
    assert history.timeline("JAX").png() == history.timeline("JAX").png()
