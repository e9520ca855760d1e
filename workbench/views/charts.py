"""Charts that several chapters share, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from workbench import gradcheck
from workbench.errors import OptionError, ShapeError
from workbench.views import palette
from workbench.views.pictures import Picture, tidy

WIDTHS = (7.0, 4.6, 2.8, 1.3)  # Points: curves that coincide still show each other's edges.


def loss_curves(losses: Mapping[str, Sequence[float]]) -> Picture:
    """Draw the losses of several eras, and how far each is from the first, step by step.

    Parameters
    ----------
    losses : mapping of era to sequence of float, all of one length
        The loss of each step, in nats.

    Returns
    -------
    Picture
        Left: loss against step, thick to thin, so that curves that lie on each other
        can all be seen.  Right: the relative difference from the first era.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    ShapeError
        If the eras took different numbers of steps.
    """
    lengths = {era: len(values) for era, values in losses.items()}
    if not lengths or 0 in lengths.values():
        raise OptionError("loss_curves", "there is nothing to draw", given=str(lengths),
                          expected="at least one era with at least one step")  # fmt: skip
    if len(set(lengths.values())) > 1:
        raise ShapeError("loss_curves", "the eras took different numbers of steps",
                         given=", ".join(f"{era} {n}" for era, n in lengths.items()))  # fmt: skip
    picture = Picture(10, 3.6)
    left, right = picture.subplots(1, 2)
    reference_name = next(iter(losses))
    reference = np.asarray(losses[reference_name], np.float64)
    steps = np.arange(1, len(reference) + 1)
    furthest = 0.0
    for i, (era, values) in enumerate(losses.items()):
        colour, width = palette.ERAS.get(era, palette.INK), WIDTHS[i % len(WIDTHS)]
        left.plot(steps, values, color=colour, linewidth=width, label=era)
        if era != reference_name:
            apart = abs(np.asarray(values) - reference) / abs(reference)
            furthest = max(furthest, float(apart.max()))
            right.plot(steps, apart, "osD^"[i % 4], color=colour, markersize=4, label=era)
    eps = float(np.finfo(np.float64).eps)
    right.axhline(eps, color=palette.INK, linewidth=1, linestyle="--", label="ε of float64")
    right.set_yscale("symlog", linthresh=eps / 10)
    right.set_ylim(0, max(furthest, eps) * 30)
    left.set(xlabel="step", ylabel="loss of the batch (nats)", ylim=(0, None))
    right.set(xlabel="step", ylabel=f"relative difference from {reference_name}")
    for axes in (left, right):
        tidy(axes)
        axes.legend(frameon=False, fontsize=9, ncols=2)
    picture.alt = (
        f"Left: the loss of {', '.join(losses)} over {len(steps)} steps, from {reference[0]:.3g} "
        f"to {reference[-1]:.3g}. Right: they differ by at most {furthest:.1e}, relatively."
    )
    return picture


MEMORY_STYLES = ((palette.BLUE, ""), (palette.ORANGE, "///"), (palette.GREEN, "..."),
                 (palette.PURPLE, "xxx"))  # fmt: skip
MOST_BARS = 12


def memory_chart(saved: Iterable[Any] | Mapping[str, Iterable[Any]]) -> Picture:
    """Draw what each operation keeps in memory for the backward pass, one bar an operation.

    Parameters
    ----------
    saved : iterable, or mapping of title to iterable
        Of one program, or of up to four to compare: what
        :func:`workbench.dynamic.saved` returns, or other records with ``op``, a name, and
        ``nbytes``, an int.

    Returns
    -------
    Picture
        Horizontal bars, the longest on top; calls of one operation are added up, and memory
        that an earlier one keeps anyway (0 bytes) is not counted as an array.  Of more than
        twelve operations the smallest are added up as "others".  With several programs the
        legend gives the sum of each.

    Raises
    ------
    OptionError
        If nothing is kept, or there are more than four programs.

    Examples
    --------
    >>> from workbench import dynamic
    >>> y = dynamic.ops.exp(dynamic.tensor(np.zeros(1000), requires_grad=True))
    >>> memory_chart(dynamic.saved(y)).alt
    'Kept for backward: 8 kB in 1 array, by exp 8 kB.'
    """
    from matplotlib.ticker import EngFormatter  # Picture has asked for matplotlib by now.

    programs: Mapping[str, Any] = saved if isinstance(saved, Mapping) else {"": saved}
    kept = {title: [(each.op, each.nbytes) for each in rows if each.nbytes]
            for title, rows in programs.items()}  # fmt: skip
    if not any(kept.values()) or len(kept) > len(MEMORY_STYLES):
        raise OptionError("memory_chart", "this cannot be drawn",
                          given=f"arrays kept: {', '.join(str(len(rows)) for rows in kept.values())}",
                          expected="1 to 4 programs, and an array")  # fmt: skip
    sizes: dict[str, int] = {}
    for op, nbytes in (row for rows in kept.values() for row in rows):
        sizes[op] = sizes.get(op, 0) + nbytes
    ops = sorted(sizes, key=lambda op: -sizes[op])
    if len(ops) > MOST_BARS:
        ops[MOST_BARS - 1 :] = [f"{len(ops) - MOST_BARS + 1} others"]
    height = 0.8 / len(kept)
    picture = Picture(8, 1.3 + 0.32 * len(ops) * max(1.0, 0.8 * len(kept)))
    axes = picture.add_subplot()
    said = []
    for k, ((title, rows), (colour, hatch)) in enumerate(
        zip(kept.items(), MEMORY_STYLES, strict=False)
    ):
        bars = dict.fromkeys(ops, (0, 0))  # Of each operation the arrays and their bytes.
        for op, nbytes in rows:
            bar = op if op in bars else ops[-1]
            bars[bar] = bars[bar][0] + 1, bars[bar][1] + nbytes
        total = in_bytes(sum(nbytes for _, nbytes in rows))
        at = np.arange(len(ops)) + (k - (len(kept) - 1) / 2) * height
        lengths = [nbytes for _, nbytes in bars.values()]
        axes.barh(at, lengths, height * 0.9, color=colour, hatch=hatch, edgecolor=palette.PAPER,
                  label=f"{title}: {total}")  # fmt: skip
        for y, (count, nbytes) in zip(at, bars.values(), strict=True):
            if nbytes:
                axes.annotate(f"{in_bytes(nbytes)} in {arrays_of(count)}", (nbytes, y), (4, 0),
                              textcoords="offset points", va="center", fontsize=8)  # fmt: skip
        largest = max(bars, key=lambda op: bars[op][1])
        said.append(f"{title or 'Kept for backward'}: {total} in {arrays_of(len(rows))}"
                    + (f", by {largest} {in_bytes(bars[largest][1])}" if rows else ""))  # fmt: skip
    axes.set_yticks(range(len(ops)), ops)
    axes.set(xlabel="memory kept for backward (bytes)", ylabel="operation")
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.margins(x=0.3, y=0.02)  # Room for the numbers on the right.
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    tidy(axes)
    axes.grid(False, axis="y")
    if isinstance(saved, Mapping):
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    picture.alt = "; ".join(said) + "."
    return picture


def in_bytes(count: float) -> str:
    """Return a number of bytes in the unit in which it is read, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def arrays_of(count: int) -> str:
    """Return a number of arrays, in words."""
    return f"{count} array" + "s" * (count != 1)


Example: TypeAlias = tuple[Callable[[Any], Any], Callable[[Any], Any], float]
"""A function of one number, its derivative, and where to take it."""

ERROR_EXAMPLES: dict[str, Example] = {
    "sin x at 1": (np.sin, np.cos, 1.0),
    "x³ at 1": (lambda x: x**3, lambda x: 3 * x**2, 1.0),
    "exp 3x at 1": (lambda x: np.exp(3 * x), lambda x: 3 * np.exp(3 * x), 1.0),
    "1000 + sin x at 1": (lambda x: 1000 + np.sin(x), np.cos, 1.0),
}

ERROR_METHODS = {  # Colour and dashes.
    "forward": (palette.VERMILION, "-"),
    "central": (palette.BLUE, (0, (5, 1.5))),
    "complex": (palette.GREEN, (0, (1.5, 1.5))),
}


FLOOR = 1e-18  # Where an error of exactly nothing is drawn.


def error_curve(curve: gradcheck.ErrorCurve, eps: float, title: str) -> Picture:
    """Draw absolute error against step, both on logarithmic axes.

    Parameters
    ----------
    curve : ErrorCurve
        From :func:`workbench.gradcheck.error_curve`.
    eps : float
        Of the dtype; its square and cube root are marked, near which the forward and
        the central difference do best.
    title : str

    Returns
    -------
    Picture
    """
    picture = Picture(7.5, 4.2)
    axes = picture.add_subplot()
    for method, errors in curve.errors.items():
        colour, dashes = ERROR_METHODS[method]
        axes.plot(curve.steps, np.maximum(errors, FLOOR), color=colour, linestyle=dashes,
                  linewidth=1.8, label=method)  # fmt: skip
    for power, label in ((1 / 2, "√ε"), (1 / 3, "∛ε")):
        axes.axvline(eps**power, color="#8C96A3", linewidth=1, linestyle=":")
        axes.annotate(label, (eps**power, 3), ha="center", va="bottom", fontsize=10)
    axes.annotate("an error of 0 is drawn here", (1, FLOOR), ha="right", va="bottom", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(7e-17, 1.5), ylim=(FLOOR / 3, 30),
             xlabel="step h", ylabel="absolute error of the derivative")  # fmt: skip
    axes.set_title(title, fontsize=10, loc="left")
    tidy(axes)
    axes.legend(title="difference", frameon=True, fontsize=9, loc="lower left")
    best = ", ".join(f"{method} {curve.steps[errors.argmin()]:.0e}"
                     for method, errors in curve.errors.items())  # fmt: skip
    picture.alt = (f"Error of numeric derivatives of {title} against the step. "
                   f"Step of the smallest error: {best}.")  # fmt: skip
    return picture


def error_marks(picture: Picture, curve: gradcheck.ErrorCurve, here: int) -> str:
    """Return SVG to lay over :func:`error_curve`'s picture: one step, marked on each curve.

    Drawing the curves takes a tenth of a second; moving these marks takes nothing.
    """
    width, height = picture.get_size_inches() * picture.dpi
    to_pixels = picture.axes[0].transData

    def at(x: float, y: float) -> tuple[float, float]:
        px, py = to_pixels.transform((x, y))
        return px / width * 100, (1 - py / height) * 100

    step = curve.steps[here]
    (x, bottom), (_, top) = at(step, FLOOR / 3), at(step, 30)
    marks = (f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="{top:.2f}%" y2="{bottom:.2f}%" '
             f'stroke="{palette.INK}"/>')  # fmt: skip
    for method, errors in curve.errors.items():
        x, y = at(step, max(errors[here], FLOOR))
        marks += (f'<circle cx="{x:.2f}%" cy="{y:.2f}%" r="5" stroke="{palette.INK}" '
                  f'fill="{ERROR_METHODS[method][0]}"/>')  # fmt: skip
    return ('<svg aria-hidden="true" style="position:absolute;inset:0;width:100%;height:100%">'
            f"{marks}</svg>")  # fmt: skip


def error_table(curve: gradcheck.ErrorCurve, here: int, exact: float) -> str:
    """Return the errors at one step as an HTML table, with the digits that are right."""
    rows = ""
    for method, errors in curve.errors.items():
        error = errors[here]
        # A float64 holds some 16 digits: no more can be right.
        digits = min(16.0, max(0.0, -np.log10(error / abs(exact)))) if error else 16.0
        rows += (f"<tr><td><b style='color:{ERROR_METHODS[method][0]}'>{method}</b></td>"
                 f"<td style='text-align:right'>{error:.1e}</td>"
                 f"<td style='text-align:right'>{digits:.1f}</td></tr>")  # fmt: skip
    return (f"<table><tr><th>h = {curve.steps[here]:.1e}</th><th>error</th>"
            f"<th>digits right</th></tr>{rows}</table>")  # fmt: skip
