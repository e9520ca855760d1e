"""Graphs as text."""

import io

from workbench import symbolic
from workbench.symbolic import ops


def test_an_expression_is_a_tree_with_numbered_results():
    x = symbolic.vector("x", "float32")
    h = ops.exp(2 * x)
    h.name = "h"
    assert symbolic.format_graph((h + h).sum()).splitlines() == [
        "sum #1: float32 ()",
        "└─ add #2: float32 (None,)",
        "   ├─ exp 'h' #3: float32 (None,)",
        "   │  └─ multiply #4: float32 (None,)",
        "   │     ├─ 2.0: float32 ()",
        "   │     └─ x: float32 (None,)",
        "   └─ exp #3 ...",
    ]


def test_a_function_shows_what_it_runs_and_updates():
    x, w = symbolic.scalar("x"), symbolic.shared(0.5, "w")
    f = symbolic.function([x], [x * w, x * w + 1], updates={w: w - x * w})
    assert symbolic.format_graph(f).splitlines() == [
        "multiply #1: float64 ()",
        "├─ x: float64 ()",
        "└─ w: shared float64 ()",
        "add #2: float64 ()",
        "├─ multiply #1 ...",
        "└─ 1.0: float64 ()",
        "w <- subtract #3: float64 ()",
        "├─ w: shared float64 ()",
        "└─ multiply #1 ...",
    ]


def test_printing_goes_to_a_file_or_to_standard_output(capsys):
    x = symbolic.scalar("x")
    symbolic.print_graph(-x)
    assert capsys.readouterr().out == symbolic.format_graph(-x) + "\n"
    file = io.StringIO()
    symbolic.print_graph([x, -x], file=file)
    assert file.getvalue().splitlines()[0] == "x: float64 ()"


def test_a_deep_graph_prints():
    y = symbolic.scalar("x")
    for _ in range(3000):
        y = -y
    assert symbolic.format_graph(y).count("\n") == 3000
