"""Layered drawings: what holds for every graph, and what is refused."""

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DtypeError, GraphError, OptionError, UnknownNameError
from workbench.views.graphs import Node, draw_graph, text_size
from workbench.views.layout import add_bends, arrange, crossings, layer_of, order, spread

SPACE = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw, most=30):
    """A graph without cycles: edges from lower to higher numbers, some of them twice."""
    count = draw(st.integers(1, most))
    sizes = [
        (draw(st.sampled_from([36.0, 80.0, 150.0])), draw(st.sampled_from([25.0, 57.0])))
        for _ in range(count)
    ]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = [(min(p), max(p)) for p in draw(st.lists(pairs, max_size=2 * count)) if p[0] != p[1]]
    return sizes, edges


def placed(graph):
    sizes, edges = graph
    return arrange(sizes, edges, range(len(sizes)))


def sides(box):
    return (box.x - box.width / 2, box.x + box.width / 2,
            box.y - box.height / 2, box.y + box.height / 2)  # fmt: skip


@given(graphs())
def test_nodes_do_not_overlap_and_lie_inside(graph):
    result = placed(graph)
    for a, b in itertools.combinations(map(sides, result.boxes), 2):
        assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
    for left, right, top, bottom in map(sides, result.boxes):
        assert left >= 0
        assert top >= 0
        assert right <= result.width
        assert bottom <= result.height


@given(graphs())
def test_every_edge_points_downwards_all_the_way(graph):
    _, edges = graph
    result = placed(graph)
    assert len(result.routes) == len(edges)
    for (a, b), route in zip(edges, result.routes, strict=True):
        heights = [y for _, y in route]
        assert heights == sorted(heights)
        assert heights[0] == pytest.approx(sides(result.boxes[a])[3])
        assert heights[-1] == pytest.approx(sides(result.boxes[b])[2])
        left, right, _, _ = sides(result.boxes[b])
        assert left <= route[-1][0] <= right


@given(graphs())
def test_no_edge_passes_behind_a_node(graph):
    result = placed(graph)
    for route in result.routes:
        # Between layers there are no nodes; through a layer a route goes straight down.
        for (x, top), (_, bottom) in zip(route[1:-1:2], route[2:-1:2], strict=True):
            for left, right, upper, lower in map(sides, result.boxes):
                assert not (left <= x <= right and upper < bottom and top < lower)


@given(graphs())
def test_parallel_edges_arrive_at_points_of_their_own(graph):
    result = placed(graph)
    ends = [route[-1] for route in result.routes]
    assert len(set(ends)) == len(ends)


@given(graphs(most=12))
def test_ordering_never_makes_more_crossings(graph):
    sizes, edges = graph
    layers = add_bends(layer_of(len(sizes), edges, range(len(sizes))), edges)
    before = crossings(layers.rows, layers.segments)
    members = [sorted(row) for row in layers.rows]
    order(layers)
    assert crossings(layers.rows, layers.segments) <= before
    assert [sorted(row) for row in layers.rows] == members


def test_crossings_are_counted():
    rows = [[0, 1, 2], [3, 4, 5]]
    assert crossings(rows, [(0, 3), (1, 4), (2, 5)]) == 0
    assert crossings(rows, [(0, 5), (1, 4), (2, 3)]) == 3
    assert crossings(rows, [(0, 4), (1, 3), (2, 3)]) == 2


def test_ordering_undoes_crossings_that_need_not_be():
    edges = [(0, 5), (1, 4), (2, 3)]
    layers = add_bends(layer_of(6, edges, range(6)), edges)
    assert crossings(layers.rows, layers.segments) == 3
    order(layers)
    assert crossings(layers.rows, layers.segments) == 0


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.floats(0.5, 8), st.floats(1, 50)), min_size=1, max_size=8
    )
)
def test_places_keep_the_gaps_and_are_the_nearest_that_do(items):
    wanted, weights, gaps = map(list, zip(*items, strict=True))
    gaps = gaps[1:]
    x = spread(wanted, weights, gaps)
    assert all(b - a >= gap - 1e-6 for a, b, gap in zip(x, x[1:], gaps, strict=False))
    # Optimality (KKT): the multipliers, running sums of the gradient, are not negative,
    # and are nothing where a gap is not used up.
    total = 0.0
    for i in range(len(x)):
        total += 2 * weights[i] * (wanted[i] - x[i])
        if i < len(gaps):
            assert total >= -1e-5
            if x[i + 1] - x[i] > gaps[i] + 1e-6:
                assert total == pytest.approx(0, abs=1e-5)
    assert total == pytest.approx(0, abs=1e-5)


def test_a_source_stands_right_above_its_use():
    # 0 -> 1 -> 2 -> 3, and a parameter used at the end only.
    edges = [(0, 1), (1, 2), (2, 3), (4, 3)]
    assert layer_of(5, edges, range(5)) == [0, 1, 2, 3, 2]


def test_a_chain_longer_than_the_recursion_limit_and_a_ladder_of_fan_outs():
    count = 3000
    chain = [(i, i + 1) for i in range(count - 1)]
    assert layer_of(count, chain, range(count))[-1] == count - 1
    doubling = [(i, i + 1) for i in range(59) for _ in range(2)]
    assert layer_of(60, doubling, range(60))[-1] == 59


def ladder(count):
    """A chain in which every node is also used once more, far below: a gradient's graph."""
    nodes = [Node(i, f"op {i}", "op" if i % 3 else "gradient") for i in range(count)]
    edges = [(i, i + 1) for i in range(count - 1)]
    edges += [(i, count - 1 - i) for i in range(count // 2 - 1)]
    return nodes, edges


def test_a_graph_of_eighty_nodes_is_drawn_whole():
    nodes, edges = ladder(80)
    root = ElementTree.fromstring(draw_graph(nodes, edges).text)
    assert len(root.findall(f"{SPACE}g[@class='node']")) == 80
    assert len(root.findall(f"{SPACE}g[@class='edge']")) == len(edges)


def test_the_same_graph_gives_the_same_drawing():
    assert draw_graph(*ladder(30)).text == draw_graph(*ladder(30)).text


# --- what is written down ---------------------------------------------------------------

LABELS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)


@given(st.lists(LABELS, min_size=1, max_size=6))
def test_all_labels_are_there_and_any_text_makes_valid_xml(labels):
    nodes = [(i, label, label, label) for i, label in enumerate(labels)]
    edges = [(i, i + 1) for i in range(len(labels) - 1)]
    drawing = draw_graph(nodes, edges, title=labels[0], description=labels[-1])
    root = ElementTree.fromstring(drawing.text)
    shown = ["\n".join(t.text or "" for t in text.findall(f"{SPACE}tspan"))
             for text in root.findall(f"{SPACE}g[@class='node']/{SPACE}text")]  # fmt: skip
    legal = [label for label in labels if all(c in "\n\t" or c.isprintable() for c in label)]
    for label in legal:
        assert label in shown


def test_markup_in_labels_is_escaped():
    drawing = draw_graph([("a", "<script> & \"x\" 'y'", "op", "<tip>")], [])
    assert "<script>" not in drawing.text
    assert "&lt;script&gt; &amp; &quot;x&quot; &#x27;y&#x27;" in drawing.text
    assert "<title>&lt;tip&gt;</title>" in drawing.text


def test_control_characters_are_replaced():
    drawing = draw_graph([("a", "bell\x07 nul\x00")], [])
    ElementTree.fromstring(drawing.text)
    assert "bell\ufffd nul\ufffd" in drawing.text


def test_a_screen_reader_finds_a_name_and_a_description():
    root = ElementTree.fromstring(draw_graph([("a", "x")], [], title="One node").text)
    assert root.get("role") == "img"
    ids = root.get("aria-labelledby").split()
    title, description = root.find(f"{SPACE}title"), root.find(f"{SPACE}desc")
    assert ids == [title.get("id"), description.get("id")]
    assert title.text == "One node"
    assert description.text == "1 node, 0 edges; edges point down."


def test_two_drawings_on_one_page_keep_their_ids_apart():
    one, other = (ElementTree.fromstring(draw_graph([("a", label)], []).text) for label in "xy")
    assert one.get("aria-labelledby") != other.get("aria-labelledby")


def keys(drawing):
    root = ElementTree.fromstring(drawing.text)
    return [key.find(f"{SPACE}text").text for key in root.findall(f"{SPACE}g[@class='key']")]


def test_the_legend_lists_each_kind_once_and_only_where_there_are_several():
    nodes = [("a", "x", "input"), ("b", "y", "input"), ("c", "z", "my own kind")]
    assert keys(draw_graph(nodes, [])) == ["input", "my own kind"]
    assert keys(draw_graph(nodes[:2], [])) == []
    assert keys(draw_graph(nodes, [], legend=False)) == []


def colours(drawing):
    root = ElementTree.fromstring(drawing.text)
    return {g.get("data-id"): g.find(f"{SPACE}rect").get("fill")
            for g in root.findall(f"{SPACE}g[@class='node']")}  # fmt: skip


def test_kinds_differ_in_colour_and_known_kinds_keep_theirs():
    one = colours(draw_graph([("a", "x", "input"), ("b", "y", "mine"), ("c", "z", "yours")], []))
    other = colours(draw_graph([("z", "z", "output"), ("a", "x", "input")], []))
    assert len(set(one.values())) == 3
    assert one["a"] == other["a"]


def test_highlighted_and_faded_nodes_look_different():
    plain, strong, pale = (
        draw_graph([Node("a", "x", **marks)], []).text
        for marks in ({}, {"highlight": True}, {"faded": True})
    )
    assert len({plain, strong, pale}) == 3


def test_labels_of_several_lines_and_wide_letters_get_room():
    assert text_size("ab\ncdef")[1] > text_size("abcdef")[1]
    assert text_size("漢字漢字漢字")[0] > text_size("abcdef")[0]


def test_it_shows_itself_in_a_notebook():
    drawing = draw_graph([("a", "x")], [])
    assert drawing._repr_svg_() == str(drawing) == drawing.text
    assert drawing.text in drawing._repr_html_()


@pytest.mark.parametrize("spelling", [Node("a", "x"), ("a", "x"), {"id": "a", "label": "x"}])
def test_a_node_may_be_spelled_in_three_ways(spelling):
    assert draw_graph([spelling], []).text == draw_graph([Node("a", "x")], []).text


# --- what is refused --------------------------------------------------------------------


def test_a_cycle_is_refused_and_named():
    nodes = [(name, name) for name in "abcd"]
    with pytest.raises(GraphError, match="the edges form a cycle") as caught:
        draw_graph(nodes, [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])
    assert caught.value.given in ("b -> c -> d -> b", "c -> d -> b -> c", "d -> b -> c -> d")
    with pytest.raises(GraphError) as caught:
        draw_graph(nodes, [("c", "c")])
    assert caught.value.given == "c -> c"


def test_a_node_below_a_cycle_is_not_blamed():
    nodes = [(name, name) for name in "abcd"]
    with pytest.raises(GraphError) as caught:
        draw_graph(nodes, [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d")])
    assert "c" not in caught.value.given
    assert "d" not in caught.value.given


def test_an_unknown_node_in_an_edge_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        draw_graph([("alpha", "x")], [("alpha", "alpah")])
    assert "there is no node called 'alpah'" in str(caught.value)
    assert "did you mean 'alpha'?" in str(caught.value)


def test_an_unknown_field_is_refused():
    with pytest.raises(UnknownNameError, match="no field of a node called 'lable'"):
        draw_graph([{"id": 1, "lable": "x"}], [])


def test_two_nodes_with_one_id_are_refused():
    with pytest.raises(OptionError, match="two nodes have the id 'a'") as caught:
        draw_graph([("a", "x"), ("a", "y")], [])
    assert caught.value.given == "labels 'x' and 'y'"


def test_nothing_is_refused():
    with pytest.raises(OptionError, match="there is nothing to draw"):
        draw_graph([], [])


@pytest.mark.parametrize("node", ["a", ("a",), {"id": "a"}, ("a", 3), (["a"], "x"), 7])
def test_what_is_no_node_is_refused(node):
    with pytest.raises(DtypeError, match="this is not a node"):
        draw_graph([node], [])


@pytest.mark.parametrize("edge", [("a",), "ab", ("a", "a", "a")])
def test_what_is_no_edge_is_refused(edge):
    with pytest.raises(DtypeError, match="this is not an edge"):
        draw_graph([("a", "x")], [edge])
