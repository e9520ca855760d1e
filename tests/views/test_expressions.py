"""Expression graphs and their rewriting: what is drawn is what is there."""

import re
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest

from workbench import symbolic
from workbench.errors import OptionError
from workbench.symbolic import ops
from workbench.views import graph_view, rewriting_stepper, rewriting_table, rewriting_view

SPACE = "{http://www.w3.org/2000/svg}"


def labels(drawing):
    root = ElementTree.fromstring(drawing.text)
    return sorted(
        "\n".join(line.text for line in text.findall(f"{SPACE}tspan"))
        for text in root.findall(f"{SPACE}g[@class='node']/{SPACE}text")
    )


def key(drawing):
    root = ElementTree.fromstring(drawing.text)
    return {each.find(f"{SPACE}text").text for each in root.findall(f"{SPACE}g[@class='key']")}


@pytest.fixture
def rewritten():
    z, t = (symbolic.vector(name, shape=(3,)) for name in "zt")
    cost = -(t * ops.log(ops.softmax(z))).sum()
    slope = symbolic.grad(cost, z)
    happened = symbolic.Rewriting()
    symbolic.rewrite([cost, slope], trace=happened)
    return happened, {cost: "cost", slope: "slope"}


# --- one graph -------------------------------------------------------------------------------


def test_every_op_and_leaf_is_a_node_with_its_kind():
    x, w = symbolic.vector("x"), symbolic.shared([1.0, 2.0], "w")
    y = ops.tanh(x * w) + 3.0
    drawing = graph_view(y, names={y: "y"})
    assert labels(drawing) == ["3.0", "add\n= y", "multiply", "tanh", "w", "x"]
    assert key(drawing) == {"input", "parameter", "constant", "op", "output"}
    assert "<desc" in drawing.text
    assert "3 ops: (tanh((x * w)) + 3." in drawing.text


def test_what_grad_built_is_purple_and_says_where_it_comes_from():
    x = symbolic.scalar("x")
    drawing = graph_view(symbolic.grad(ops.sin(x), x))
    assert "gradient" in key(drawing)
    assert "(gradient of sin)" in drawing.text
    assert re.search(r"line \d+: drawing = graph_view", drawing.text)


def test_marked_ones_have_a_strong_border():
    x = symbolic.scalar("x")
    y = ops.exp(x) * x
    assert graph_view(y).text.count('stroke-width="3.0"') == 0
    assert graph_view(y, marked=[y]).text.count('stroke-width="3.0"') == 1


def test_an_expression_used_twice_is_drawn_once_and_a_leaf_alone_too():
    x = symbolic.scalar("x")
    assert labels(graph_view([x, x])) == ["x"]
    drawing = graph_view(x * x)
    assert labels(drawing) == ["multiply", "x"]
    assert drawing.text.count('class="edge"') == 2
    with pytest.raises(OptionError, match="there is nothing to draw"):
        graph_view([])


def test_a_large_constant_is_named_and_a_small_one_written_on_one_line():
    x = symbolic.matrix("x", shape=(2, 2))
    assert "[[1. 2.] [3. 4.]]" in labels(graph_view(x + np.array([[1.0, 2.0], [3.0, 4.0]])))
    assert "constant" in labels(graph_view(x @ np.ones((2, 50))))


# --- rewriting -------------------------------------------------------------------------------


def test_the_table_says_which_rule_fired_where_and_why(rewritten):
    happened, _ = rewritten
    shown = rewriting_table(happened)
    assert len(shown.rows) == len(happened.steps)
    row = next(row for row in shown.rows if row[1] == "log of softmax")
    stage, _, before, after, place, because = row
    assert (stage, before, after) == (
        "stabilise",
        "log(softmax(z, axis=0))",
        "log_softmax(z, axis=0)",
    )
    assert "cost = -(t * ops.log(ops.softmax(z))).sum()" in place
    assert because == happened.steps[shown.rows.index(row)].because
    with pytest.raises(OptionError, match="there is nothing to show"):
        rewriting_table(symbolic.Rewriting())


def test_the_graph_is_drawn_as_written_and_after_each_pass(rewritten):
    happened, names = rewritten
    parts = rewriting_view(happened, names).parts
    captions = [caption for caption, _ in parts]
    assert captions[0].startswith("as written: ")
    fired = ", ".join(captions)
    for rule in happened.counts:
        assert rule in fired
    ops_left = [int(re.search(r": (\d+) op", caption)[1]) for caption in captions]
    first, last = happened.stages[0][1], happened.stages[-1][1]
    assert ops_left[0] == len(symbolic.nodes(first))
    assert ops_left[-1] == len(symbolic.nodes(last)) < ops_left[0]
    for _, drawing in parts:
        # Outputs keep their names through every pass.
        assert sum("= cost" in label or "= slope" in label for label in labels(drawing)) == 2


def test_what_a_pass_made_and_nothing_else_has_a_strong_border(rewritten):
    happened, names = rewritten
    stages = [stage for i, stage in enumerate(happened.stages)
              if not i or any(step.stage == stage[0] for step in happened.steps)]  # fmt: skip
    before = {node.output for node in symbolic.nodes(stages[0][1])}
    drawings = [drawing for _, drawing in rewriting_view(happened, names).parts]
    assert 'stroke-width="3.0"' not in drawings[0].text
    for (_, outputs), drawing in zip(stages[1:], drawings[1:], strict=True):
        now = {node.output for node in symbolic.nodes(outputs)}
        groups = ElementTree.fromstring(drawing.text).findall(f"{SPACE}g[@class='node']")
        strong = {int(group.get("data-id")) for group in groups
                  if group.find(f"{SPACE}rect").get("stroke-width") == "3.0"}  # fmt: skip
        assert strong == {y.number for y in now - before}
        before = now


def test_a_pass_that_changes_nothing_is_not_drawn():
    x = symbolic.scalar("x")
    happened = symbolic.Rewriting()
    symbolic.rewrite(ops.sin(x), trace=happened)
    assert [caption for caption, _ in rewriting_view(happened).parts] == ["as written: 1 op"]


def test_the_stepper_shows_the_last_stage_first_and_holds_them_all(rewritten):
    happened, names = rewritten
    box = rewriting_stepper(happened, names)
    stack = next(each for each in box.children if isinstance(each, ipywidgets.Stack))
    parts = rewriting_view(happened, names).parts
    assert stack.selected_index == len(parts) - 1 == len(stack.children) - 1
    for page, (_, drawing) in zip(stack.children, parts, strict=True):
        assert drawing.text in page.value
