"""A comparison as one page that opens from disk, with no network."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.compare.cases import case
from workbench.compare.runner import Result, program
from workbench.compare.source import user_source
from workbench.compare.table import columns
from workbench.errors import require
from workbench.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by every common kind of colour vision.
COLOURS = {
    "manual": "#0072B2",
    "symbolic": "#D55E00",
    "dynamic": "#009E73",
    "functional": "#CC79A7",
}
DASHES: dict[str, Any] = {
    "manual": "-",
    "symbolic": (0, (6, 3)),
    "dynamic": (0, (3, 3)),
    "functional": (0, (1, 3)),
}
TITLES = {
    "manual": "Era 1: gradients by hand",
    "symbolic": "Era 2: symbolic graphs",
    "dynamic": "Era 3: define by run",
    "functional": "Era 4: function transforms",
}


def write_report(result: Result, folder: str | Path) -> Path:
    """Write ``index.html`` into a folder and return its path.

    Parameters
    ----------
    result : Result
        What :func:`workbench.compare.run` returned.
    folder : path
        Made if absent.  The page is written whole or not at all.

    Raises
    ------
    MissingDependencyError
        Without the ``lab`` extra, which draws the figures.
    DataError
        If the folder cannot be written.
    """
    for module in ("matplotlib", "jinja2", "pygments"):
        require(module, room="compare --report", extra="lab")
    import jinja2
    from pygments.formatters import HtmlFormatter

    loader = jinja2.PackageLoader("workbench.compare", "templates")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(
        "report.html"
    )
    eras = [row["era"] for row in result.rows]
    shown = columns(case(result.case))
    page = template.render(
        case=case(result.case),
        result=result,
        titles=TITLES,
        headings=[heading.replace("\n", " ") for heading, _ in shown],
        cells={row["era"]: [fill(row) for _, fill in shown] for row in result.rows},
        programs={era: highlighted(result.case, era) for era in eras},
        lines={row["era"]: row["user_lines"] for row in result.rows},
        code_style=HtmlFormatter(style="default").get_style_defs(".highlight"),
        figures=figures(result),
    )
    path = Path(folder) / "index.html"
    atomic_write(path, page)
    return path


def figures(result: Result) -> list[tuple[str, str]]:
    """Return the page's figures, each with what it says."""
    drawn = [("The loss at every step.", svg(loss_figure(result.losses)))]
    if len(result.rows) > 1:
        text = "The loss at every step. The curves lie on each other: that is the point."
        apart = svg(difference_figure(result.losses, result.tolerance))
        drawn = [(text, drawn[0][1]), ("How far each era's loss is from the median of all.", apart)]
    return [*drawn, ("What each era costs.", svg(bar_figure(result.rows)))]


def highlighted(name: str, era: str) -> str:
    """Return the user's part of a program as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(user_source(program(case(name), era)), PythonLexer(), HtmlFormatter())


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element, without the file header around it."""
    text = io.StringIO()
    # No date inside: the same comparison gives the same bytes.
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def loss_figure(losses: dict[str, list[float]]) -> Figure:
    """Draw the loss of each era against the step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6))
    axes = figure.add_subplot()
    for era, curve in losses.items():
        axes.plot(range(1, len(curve) + 1), curve, color=COLOURS[era], linestyle=DASHES[era],
                  linewidth=1.8, label=era)  # fmt: skip
    axes.set(xlabel="step", ylabel="loss of the batch (nats)", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(title="era")
    return figure


def difference_figure(losses: dict[str, list[float]], tolerance: float) -> Figure:
    """Draw each era's relative distance from the median loss against the step."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6))
    axes = figure.add_subplot()
    middle = np.median(list(losses.values()), axis=0)
    for era, curve in losses.items():
        off = np.abs(np.array(curve) - middle) / np.abs(middle)
        # Zero has no place on a logarithmic axis; those steps are left out.
        axes.plot(range(1, len(off) + 1), np.where(off > 0, off, np.nan), ".", markersize=3,
                  color=COLOURS[era], label=era)  # fmt: skip
    axes.axhline(tolerance, color="black", linewidth=1, linestyle=":", label="tolerance")
    axes.set(xlabel="step", ylabel="relative distance from the median", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(title="era", markerscale=3)
    return figure


BARS = (
    ("step_seconds_median", 1e-6, "median step (microseconds)"),
    ("first_result_seconds", 1e-3, "first result (milliseconds)"),
    ("peak_bytes", 2**10, "peak memory (KiB)"),
    ("user_lines", 1, "lines the user wrote"),
)


def three_digits(value: float) -> str:
    """Return a number to three significant digits, in thousands: ``"1,510"``, ``"37.4"``."""
    return f"{float(f'{value:.3g}'):,g}"


def bar_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw time, memory and lines of each era as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.0), layout="constrained")
    for axes, (key, unit, label) in zip(figure.subplots(1, len(BARS)), BARS, strict=True):
        eras = [row["era"] for row in rows]
        values = [row[key] / unit for row in rows]
        bars = axes.bar(eras, values, color=[COLOURS[era] for era in eras])
        axes.bar_label(bars, fmt=three_digits, fontsize=8)
        axes.set_ylabel(label)
        axes.tick_params("x", rotation=45)
        axes.margins(y=0.15)
    return figure
