"""Widgets: each shows something true before anyone touches it.

Pictures are drawn on figures of their own and shown as HTML, so a widget needs no
output area and no magic command.  What can be computed beforehand is, and is then
stepped through in the browser alone; what cannot is computed as a control moves.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from workbench import gradcheck
from workbench.errors import DtypeError, OptionError, require, unknown_name
from workbench.views import history as story
from workbench.views.sources import BOX, highlight

require("ipywidgets", room="workbench.views", extra="lab")

import ipywidgets  # noqa: E402

from workbench.views.charts import (  # noqa: E402
    ERROR_EXAMPLES,
    ERROR_METHODS,
    Example,
    error_curve,
    error_marks,
    error_table,
)
from workbench.views.pictures import Picture  # noqa: E402

WIDE = {"description_width": "initial"}


# --- trace the ancestry of a system -----------------------------------------------------

NOBODY, EVERY = "(nobody)", "all generations"


def timeline_widget(
    trace: str | None = "PyTorch", *, history: story.History | None = None
) -> ipywidgets.VBox:
    """Show the timeline; trace a system's ancestors and descendants, or pick a generation.

    Parameters
    ----------
    trace : str, optional
        The system traced at first.
    history : History, optional
        Another story than the package's.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    UnknownNameError
        For a system that is not there.
    """
    told = story.load() if history is None else history
    if trace is not None:
        told.system(trace)
    generations = {EVERY: None} | {each.title: [each.name] for each in told.generations.values()}
    who = ipywidgets.Dropdown(options=[NOBODY, *sorted(told.systems, key=str.lower)],
                              value=trace or NOBODY, description="Trace", style=WIDE)  # fmt: skip
    which = ipywidgets.Dropdown(options=list(generations), description="Show", style=WIDE)
    card, picture = ipywidgets.HTML(), ipywidgets.HTML()

    def show(_: Any = None) -> None:
        name = None if who.value == NOBODY else who.value
        card.value = system_card(told, name)
        drawn = story.timeline(name, generations=generations[which.value], history=told)
        picture.value = drawn.html()

    who.observe(show, "value")
    which.observe(show, "value")
    show()
    return _box("timeline", ipywidgets.HBox([who, which]), card, picture)


def system_card(told: story.History, name: str | None) -> str:
    """Return a system's facts and family as HTML."""
    if name is None:
        return "<p>Choose a system to see where it comes from and what came of it.</p>"
    system = told.system(name)

    def names(some: list[str], none: str) -> str:
        return html.escape(", ".join(some)) if some else none

    note = f" <i>{html.escape(system.note)}</i>" if system.note else ""
    return (f"<p style='line-height:1.5'><b>{html.escape(name)}</b>, {system.year}, "
            f"{html.escape(system.home)}. {html.escape(system.idea)}{note}<br>"
            f"<b>Ancestors:</b> {names(told.ancestors(name), 'none on this map')}. "
            f"<b>Descendants:</b> {names(told.descendants(name), 'none on this map')}.</p>")  # fmt: skip


# --- the error of a difference quotient ---------------------------------------------------


def error_curve_widget(
    examples: Mapping[str, Example] | None = None, *, step: float = 1e-8
) -> ipywidgets.VBox:
    """Show the error of numeric derivatives against the step, with a step to move.

    Parameters
    ----------
    examples : mapping of str to (function, derivative, x), optional
        What can be chosen; functions of one number that also take a complex one.
    step : float
        The step at first, from 1e-16 to 1.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    OptionError
        If there are no examples, or the step is outside its range.
    """
    choices = ERROR_EXAMPLES if examples is None else dict(examples)
    if not choices:
        raise OptionError("error_curve_widget", "there is no function to choose")
    if not 1e-16 <= step <= 1:
        raise OptionError("error_curve_widget", "the step is outside the picture",
                          given=f"step={step!r}", expected="1e-16 to 1")  # fmt: skip
    what = ipywidgets.Dropdown(options=list(choices), description="Function", style=WIDE)
    kind = ipywidgets.ToggleButtons(options=["float64", "float32"], description="Number",
                                    style={"button_width": "80px"})  # fmt: skip
    size = ipywidgets.FloatLogSlider(value=step, base=10, min=-16, max=0, step=1 / 6,
                                     description="Step h", readout_format=".1e", style=WIDE,
                                     layout={"width": "520px"})  # fmt: skip
    picture, table = ipywidgets.HTML(), ipywidgets.HTML()

    @functools.cache
    def measure(name: str, dtype: str) -> tuple[gradcheck.ErrorCurve, float, Picture, str]:
        f, derivative, at = choices[name]
        x = np.dtype(dtype).type(at)
        exact = float(derivative(np.float64(x)))  # Of the point that the dtype can hold.
        curve = gradcheck.error_curve(f, x, exact, methods=tuple(ERROR_METHODS))
        drawn = error_curve(curve, float(np.finfo(dtype).eps), f"{name}, {dtype}")
        return curve, exact, drawn, drawn.html()

    def show(_: Any = None) -> None:
        curve, exact, drawn, image = measure(what.value, kind.value)
        here = int(np.argmin(abs(np.log(curve.steps / size.value))))
        picture.value = (
            f'<div style="position:relative;display:inline-block">{image}'
            f"{error_marks(drawn, curve, here)}</div>"
        )
        table.value = error_table(curve, here, exact)

    for control in (what, kind, size):
        control.observe(show, "value")
    show()
    return _box("error-curve", ipywidgets.HBox([what, kind]), size, picture, table)


# --- a sequence of pictures ---------------------------------------------------------------


class Frame(NamedTuple):
    """One step of a :func:`graph_stepper`.

    Attributes
    ----------
    picture : SVG, Picture, str or anything else with ``_repr_html_`` or ``_repr_svg_``
        A text is taken as HTML.
    caption : str
        What happens in this step.
    line : int, optional
        The line of the source to light up, counted from 1.
    """

    picture: Any
    caption: str = ""
    line: int | None = None


def graph_stepper(
    frames: Iterable[Frame | Mapping[str, Any] | Sequence[Any]],
    *,
    source: str | None = None,
    start: int = 0,
    interval: int = 900,
) -> ipywidgets.VBox:
    """Step through pictures, forward and back, by hand or playing.

    Every frame is made beforehand and the browser turns the pages, so stepping needs
    no kernel: it works at once, and on a saved page too.

    Parameters
    ----------
    frames : iterable of Frame, mapping or tuple
        Each with the fields of :class:`Frame`.
    source : str, optional
        The program beside the pictures, in which each frame lights up a line.
    start : int
        The frame shown at first; negative ones count from the end.
    interval : int
        Milliseconds a frame, when playing.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    OptionError
        If there are no frames, ``start`` is none of them, or a line is not in the source.
    DtypeError, UnknownNameError
        If something is not a frame.
    """
    read = [read_frame(each) for each in frames]
    if not read:
        raise OptionError("graph_stepper", "there is nothing to step through", given="no frames")
    if not -len(read) <= start < len(read):
        raise OptionError("graph_stepper", "there is no such frame", given=f"start={start}",
                          expected=f"{-len(read)} to {len(read) - 1}")  # fmt: skip
    first, last = start % len(read), len(read) - 1
    pages = [
        ipywidgets.HTML(frame_html(frame, number, last + 1, source))
        for number, frame in enumerate(read, start=1)
    ]
    stack = ipywidgets.Stack(pages, selected_index=first)
    play = ipywidgets.Play(value=first, min=0, max=last, interval=interval, show_repeat=False)
    slider = ipywidgets.IntSlider(value=first, min=0, max=last, description="Step", style=WIDE,
                                  readout=False, layout={"width": "420px"})  # fmt: skip
    ipywidgets.jslink((play, "value"), (slider, "value"))
    ipywidgets.jslink((slider, "value"), (stack, "selected_index"))
    return _box("stepper", ipywidgets.HBox([play, slider]), stack)


def read_frame(each: Any) -> Frame:
    """Return a frame from any of the spellings allowed."""
    if isinstance(each, Mapping):
        for field in each:
            if field not in Frame._fields:
                raise unknown_name("graph_stepper", "field of a frame", field, Frame._fields)
    try:
        frame = Frame(**each) if isinstance(each, Mapping) else Frame(*each)
    except TypeError:
        raise DtypeError("graph_stepper", "this is not a frame", given=repr(each)[:80],
                         expected="(picture, caption, line), or a mapping of these"
                         ) from None  # fmt: skip
    if not isinstance(frame.picture, str) and not _pictures(frame.picture):
        raise DtypeError("graph_stepper", "this is not a picture", given=repr(frame.picture)[:80],
                         expected="HTML text, or something that shows itself as HTML or SVG")  # fmt: skip
    return frame


def _pictures(picture: Any) -> list[Callable[[], Any]]:
    names = ("_repr_html_", "_repr_svg_")
    return [getattr(picture, name) for name in names if hasattr(picture, name)]


def frame_html(frame: Frame, number: int, total: int, source: str | None) -> str:
    """Return one page: what happens, the program with its line lit, the picture."""
    picture = frame.picture if isinstance(frame.picture, str) else _pictures(frame.picture)[0]()
    program = "" if source is None else f"<div>{highlight(source, frame.line)}</div>"
    return (f'<p style="margin:4px 0;line-height:1.4"><b>{number} of {total}.</b> '
            f"{html.escape(frame.caption)}</p>"
            f'<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">{program}'
            f'<div style="overflow-x:auto">{picture}</div></div>')  # fmt: skip


# --- a function under transformations -----------------------------------------------------

Function: TypeAlias = Callable[..., Any]
Transform: TypeAlias = Function | tuple[Function, Callable[[tuple[Any, ...]], tuple[Any, ...]]]
"""A transformation of functions; with it, how the arguments change, where they do."""

NOTHING = "(nothing)"


def transform_stack_widget(
    f: Function,
    args: Sequence[Any],
    transforms: Mapping[str, Transform],
    make_jaxpr: Callable[[Function], Callable[..., Any]],
    *,
    name: str = "f",
    start: Sequence[str] = (),
    depth: int = 3,
) -> ipywidgets.VBox:
    """Stack transformations on a function; read the jaxpr and the result.

    Parameters
    ----------
    f : callable
    args : sequence
        Arguments for ``f`` itself.
    transforms : mapping of str to transform
        Each takes a function and returns one.  Where the new function wants other
        arguments (``vmap`` wants a batch), give a pair: the transform, and a function
        from the old tuple of arguments to the new one.
    make_jaxpr : callable
        ``make_jaxpr(g)(*args)`` prints as the program of ``g``.
    name : str
        What to call ``f``.
    start : sequence of str
        The stack at first, innermost first.
    depth : int
        How many can be stacked.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    OptionError
        If the first stack is higher than ``depth``.
    UnknownNameError
        If it names a transform that is not there.
    """
    if len(start) > depth:
        raise OptionError("transform_stack_widget", "the first stack is too high",
                          given=f"{len(start)} transforms", expected=f"at most {depth}")  # fmt: skip
    for each in start:
        if each not in transforms:
            raise unknown_name("transform_stack_widget", "transform", each, transforms)
    chosen = [*start, *[NOTHING] * (depth - len(start))]
    layers = [
        ipywidgets.Dropdown(
            options=[NOTHING, *transforms],
            value=value,
            style=WIDE,
            description="first" if i == 0 else "then",
            layout={"width": "190px"},
        )
        for i, value in enumerate(chosen)
    ]
    page = ipywidgets.HTML()

    def show(_: Any = None) -> None:
        stack = [layer.value for layer in layers if layer.value != NOTHING]
        page.value = stack_html(f, tuple(args), [(each, transforms[each]) for each in stack],
                                make_jaxpr, name)  # fmt: skip

    for layer in layers:
        layer.observe(show, "value")
    show()
    return _box("transforms", ipywidgets.HBox(layers), page)


def stack_html(
    f: Function,
    args: tuple[Any, ...],
    stack: Sequence[tuple[str, Transform]],
    make_jaxpr: Callable[[Function], Callable[..., Any]],
    name: str,
) -> str:
    """Return the spelling, the program and the result of a stack; or why it is refused."""
    g, spelling = f, name
    try:
        for label, transform in stack:
            spelling = f"{label}({spelling})"
            change, lift = transform if isinstance(transform, tuple) else (transform, None)
            g, args = change(g), args if lift is None else lift(args)
        program, result = str(make_jaxpr(g)(*args)), g(*args)
    except Exception as error:
        # A refusal is an answer too; raised in a callback, nobody would see it.
        return (f"<p><code>{html.escape(spelling)}</code> is refused:</p>"
                + _pre(f"{type(error).__name__}: {error}"))  # fmt: skip
    given = ", ".join(_brief(each) for each in args)
    lines = sum(" = " in line for line in program.splitlines())
    return (f"<p><code><b>{html.escape(spelling)}</b>({html.escape(given)})</code>: "
            f"{lines} equation{'' if lines == 1 else 's'}</p>"
            '<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">'
            f"{_pre(program)}{_pre(_text(result))}</div>")  # fmt: skip


def _pre(text: str) -> str:
    return f'<pre style="{BOX}">{html.escape(text)}</pre>'


def _brief(value: Any) -> str:
    """Return an argument in a few characters: its dtype and shape, if it has them."""
    if hasattr(value, "shape") and value.shape:
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else repr(value)[:30]


def _text(result: Any) -> str:
    """Return a result as text: few digits, a tuple one part a line."""
    if isinstance(result, tuple | list):
        return "(" + ",\n ".join(map(_text, result)) + ")"
    if isinstance(result, float | np.floating):
        return f"{result:.6g}"
    with np.printoptions(precision=6, suppress=True, threshold=60):
        return str(result)


def _box(name: str, *children: ipywidgets.Widget) -> ipywidgets.VBox:
    """Put a widget's parts under each other, under a class by which a page can find it."""
    box = ipywidgets.VBox(list(children))
    box.add_class(f"workbench-{name}")
    return box
