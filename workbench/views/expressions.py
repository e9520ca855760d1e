"""Expression graphs of era 2 as drawings, and what rewriting does to them, pass by pass."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from workbench.symbolic import Rewriting, Shared, Variable, nodes
from workbench.symbolic.graph import Constant
from workbench.symbolic.rewriting import short
from workbench.views.beside import Beside, beside
from workbench.views.graphs import SVG, Node, count, draw_graph
from workbench.views.tables import Table, table

if TYPE_CHECKING:
    import ipywidgets

Names = Mapping[Variable, str] | None


def graph_view(
    outputs: Variable | Iterable[Variable],
    *,
    names: Names = None,
    marked: Collection[Variable] = (),
    title: str = "An expression graph",
) -> SVG:
    """Draw the graph of some expressions: what they read above, they themselves below.

    Parameters
    ----------
    outputs : Variable or iterable of Variable
    names : mapping of Variable to str, optional
        What to call some of them, such as the outputs.
    marked : collection of Variable
        Drawn with a strong border.
    title : str
        Read aloud by screen readers, with the number of nodes and the outputs as text.

    Returns
    -------
    SVG
        Purple is what ``grad`` built, green what has a name in ``names``; the pointer
        shows types, and the lines where things were built.

    Raises
    ------
    OptionError
        If there are no outputs.

    Examples
    --------
    >>> x = symbolic.scalar("x")
    >>> drawing = graph_view(x * x, title="a square")
    >>> "1 op: (x * x)" in drawing.text
    True
    """
    results = [outputs] if isinstance(outputs, Variable) else list(outputs)
    order = nodes(results)
    read = [x for node in order for x in (*node.inputs, node.output)]
    boxes = [_box(x, (names or {}).get(x), x in marked) for x in dict.fromkeys([*read, *results])]
    edges = [(x.number, node.output.number) for node in order for x in node.inputs]
    said = f"{count(len(order), 'op')}: {', '.join(short(y) for y in results)}"
    return draw_graph(boxes, edges, title=title, description=said)


def _box(x: Variable, name: str | None, marked: bool) -> Node:
    label, tooltip = x.label.replace("\n", ""), f"{x.type}"
    if isinstance(x, Constant):
        kind = "constant"
    elif isinstance(x, Shared):
        kind = "parameter"
    elif x.owner is None:
        kind = "input"
    else:
        kind, label = "gradient" if x.trace.gradient_of else "op", x.owner.op.name
        tooltip += f"\n{place(x)}"
    if name is not None:
        kind, label = "output", f"{label}\n= {name}"
    return Node(x.number, label, kind, tooltip, marked)


def place(x: Variable) -> str:
    """Return where a variable was built, as a reader of a notebook would say it."""
    source = linecache.getline(x.trace.file, x.trace.line).strip()
    text = f"line {x.trace.line}" + (f": {source}" if source else "")
    return text + (f" (gradient of {x.trace.gradient_of})" if x.trace.gradient_of else "")


# --- rewriting -----------------------------------------------------------------------------


def rewriting_table(rewriting: Rewriting) -> Table:
    """Return every rewrite that fired: the pass, the rule, what became what, where and why.

    Parameters
    ----------
    rewriting : Rewriting
        Of :func:`workbench.symbolic.rewrite`, or a compiled function's.

    Returns
    -------
    Table

    Raises
    ------
    OptionError
        If nothing fired.
    """
    return table(
        {"pass": step.stage, "rule": step.rule, "before": short(step.before),
         "after": short(step.after), "built at": place(step.before), "because": step.because}
        for step in rewriting.steps
    )  # fmt: skip


def rewriting_view(rewriting: Rewriting, names: Names = None) -> Beside:
    """Draw the graph as it was written, and after each pass that changed it, side by side.

    What a pass made is drawn with a strong border.

    Parameters
    ----------
    rewriting : Rewriting
    names : mapping of Variable to str, optional
        What to call outputs, as they were written.

    Returns
    -------
    Beside
    """
    return beside({caption: drawing for drawing, caption in _stages(rewriting, names)})


def rewriting_stepper(rewriting: Rewriting, names: Names = None) -> ipywidgets.VBox:
    """Step through the same drawings, forward and back; at first the last one is shown.

    Parameters
    ----------
    rewriting : Rewriting
    names : mapping of Variable to str, optional
        What to call outputs, as they were written.

    Returns
    -------
    ipywidgets.VBox
    """
    from workbench.views.widgets import graph_stepper

    return graph_stepper(list(_stages(rewriting, names)), start=-1)


def _stages(rewriting: Rewriting, names: Names) -> Iterator[tuple[SVG, str]]:
    """Yield a drawing and a caption for each stage that changed something: its pass, what fired."""
    steps, written = list(rewriting.steps), rewriting.stages[0][1]
    before: set[Variable] = set()
    for i, (name, outputs) in enumerate(rewriting.stages):
        fired: Counter[str] = Counter()
        # Passes run in order: what a stage did are the steps of its name that come next.
        while i and steps and steps[0].stage == name:
            fired[steps.pop(0).rule] += 1
        now = {node.output for node in nodes(outputs)}
        if not i or fired or len(now) != len(before):
            labels = {y: (names or {})[x] for x, y in zip(written, outputs, strict=True)
                      if x in (names or {})}  # fmt: skip
            caption = f"{name}: {count(len(now), 'op')}"
            if rules := [rule + (f" ({n} times)" if n > 1 else "") for rule, n in fired.items()]:
                caption += f"; {', '.join(rules)}"
            new = now - before if i else ()
            yield graph_view(outputs, names=labels, marked=new, title=caption), caption
        before = now
