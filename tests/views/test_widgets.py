"""Widgets, driven as a reader drives them: by the values of their controls."""

import re

import ipywidgets
import numpy as np
import pytest

from workbench import functional
from workbench.errors import DtypeError, OptionError, UnknownNameError
from workbench.views import (
    Frame,
    draw_graph,
    error_curve_widget,
    graph_stepper,
    timeline,
    timeline_widget,
    transform_stack_widget,
)


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def control(box, description):
    return next(w for w in descendants(box) if getattr(w, "description", None) == description)


def page(box):
    return "\n".join(w.value for w in descendants(box) if type(w) is ipywidgets.HTML)


# --- the timeline -------------------------------------------------------------------------


def test_the_timeline_shows_a_family_before_it_is_touched():
    box = timeline_widget()
    assert "<b>Ancestors:</b> Matlab, Torch7, Chainer." in page(box)
    assert "<img" in page(box)
    assert "workbench-timeline" in box._dom_classes


def test_another_system_and_another_generation_can_be_chosen():
    box = timeline_widget()
    first = page(box)
    control(box, "Trace").value = "nolearn"
    assert "NumPy, Theano, Lasagne" in page(box)
    assert "<b>Descendants:</b> none on this map" in page(box)
    control(box, "Show").value = "First generation"
    assert "Timeline of 7 systems from 2008 to 2014" in page(box)
    control(box, "Trace").value = "(nobody)"
    assert "Choose a system" in page(box)
    assert page(box) != first


def test_the_timeline_refuses_a_system_that_is_not_there():
    with pytest.raises(UnknownNameError, match="no system called 'Keras 4'"):
        timeline_widget("Keras 4")


# --- the error curve ----------------------------------------------------------------------


def digits(box):
    found = re.findall(r"<b style='[^']*'>(\w+)</b></td><td[^>]*>([\d.e+-]+)</td>", page(box))
    return {method: float(error) for method, error in found}


def test_the_error_curve_shows_the_truth_at_three_steps():
    box = error_curve_widget(step=1e-2)
    assert "<img" in page(box)
    # Truncation: h f''/2 and h² f'''/6 of the sine at 1.
    assert digits(box)["forward"] == pytest.approx(1e-2 * np.sin(1) / 2, rel=0.05)
    assert digits(box)["central"] == pytest.approx(1e-4 * np.cos(1) / 6, rel=0.05)
    control(box, "Step h").value = 1e-14
    # Rounding: some eps / h for those that subtract, nothing for the one that does not.
    assert 1e-4 < digits(box)["forward"] < 1e-1
    assert 1e-4 < digits(box)["central"] < 1e-1
    assert digits(box)["complex"] < 1e-15


def test_float32_rounds_earlier_and_an_offset_spoils_differences_only():
    box = error_curve_widget(step=1e-6)
    before = digits(box)
    control(box, "Number").value = "float32"
    assert digits(box)["central"] > 1e4 * before["central"]
    control(box, "Number").value = "float64"
    control(box, "Function").value = "1000 + sin x at 1"
    assert digits(box)["central"] > 10 * before["central"]
    assert digits(box)["complex"] == pytest.approx(before["complex"], rel=0.1)


def test_functions_can_be_given():
    box = error_curve_widget({"x² at 3": (lambda x: x * x, lambda x: 2 * x, 3.0)}, step=1e-2)
    assert digits(box)["forward"] == pytest.approx(1e-2, rel=0.05)
    assert digits(box)["central"] < 1e-12


def test_no_function_and_a_step_outside_the_picture_are_refused():
    with pytest.raises(OptionError, match="there is no function to choose"):
        error_curve_widget({})
    with pytest.raises(OptionError, match="the step is outside the picture") as caught:
        error_curve_widget(step=2.0)
    assert caught.value.given == "step=2.0"


# --- the stepper --------------------------------------------------------------------------

SOURCE = "x = 3.0\ny = x * x\nz = y + 1\n"


def frames():
    return [Frame(draw_graph([("x", f"node {i}")], []), f"step <{i}>", i) for i in (1, 2, 3)]


def parts(box):
    kinds = (ipywidgets.Play, ipywidgets.IntSlider, ipywidgets.Stack)
    return [next(w for w in descendants(box) if type(w) is kind) for kind in kinds]


def test_every_frame_is_there_beforehand_with_caption_and_lit_line():
    box = graph_stepper(frames(), source=SOURCE)
    _, slider, stack = parts(box)
    assert (slider.min, slider.max, stack.selected_index) == (0, 2, 0)
    for i, each in enumerate(stack.children, start=1):
        assert f"{i} of 3." in each.value
        assert f"step &lt;{i}&gt;" in each.value
        assert f"node {i}" in each.value
        lit = each.value.split("#FFE9A8", 1)[1].split("</span></span>")[0]
        assert "xyz"[i - 1] in re.sub(r"<[^>]*>", "", "<" + lit)


def test_player_slider_and_pages_are_joined_in_the_browser(monkeypatch):
    joined = []
    link = ipywidgets.jslink
    monkeypatch.setattr(ipywidgets, "jslink", lambda *ends: joined.append(ends) or link(*ends))
    play, slider, stack = parts(graph_stepper(frames(), start=-1))
    assert play.value == slider.value == stack.selected_index == 2
    assert joined == [((play, "value"), (slider, "value")),
                      ((slider, "value"), (stack, "selected_index"))]  # fmt: skip


def test_a_frame_may_show_anything_that_shows_itself():
    shown = [("<b>text</b>",), {"picture": timeline("JAX"), "caption": "a figure"}]
    _, _, stack = parts(graph_stepper(shown))
    assert "<b>text</b>" in stack.children[0].value
    assert "data:image/png" in stack.children[1].value


def test_what_cannot_be_stepped_through_is_refused():
    with pytest.raises(OptionError, match="there is nothing to step through"):
        graph_stepper([])
    with pytest.raises(OptionError, match="there is no such frame") as caught:
        graph_stepper(frames(), start=3)
    assert caught.value.expected == "-3 to 2"
    with pytest.raises(OptionError, match="there is no such line"):
        graph_stepper([("x", "", 9)], source=SOURCE)
    with pytest.raises(DtypeError, match="this is not a picture"):
        graph_stepper([(3.0,)])
    with pytest.raises(DtypeError, match="this is not a frame"):
        graph_stepper([("a", "b", 1, 2)])
    with pytest.raises(UnknownNameError, match="no field of a frame called 'captoin'"):
        graph_stepper([{"picture": "x", "captoin": "y"}])


# --- transformations ----------------------------------------------------------------------


def f(x):
    return functional.numpy.sin(x) * x


TRANSFORMS = {
    "grad": functional.grad,
    "jit": functional.jit,
    "vmap": (functional.vmap, lambda args: tuple(np.stack([a, a + 1.0]) for a in args)),
}


def transforms(*start, **options):
    return transform_stack_widget(f, (2.0,), TRANSFORMS, functional.make_jaxpr,
                                  start=start, **options)  # fmt: skip


def test_a_function_alone_is_shown_as_its_program():
    shown = page(transforms(name="wave"))
    assert "<b>wave</b>(2)" in shown
    assert "2 equations" in shown
    assert str(functional.make_jaxpr(f)(2.0)).splitlines()[1] in shown
    assert f"{2 * np.sin(2.0):.6g}" in shown


def test_a_stack_is_spelled_run_and_printed():
    box = transforms("grad", "vmap")
    assert "<b>vmap(grad(f))</b>(float64[2])" in page(box)
    x = np.array([2.0, 3.0])
    with np.printoptions(precision=6, suppress=True):
        assert str(np.sin(x) + x * np.cos(x)) in page(box)
    control(box, "first").value = "(nothing)"
    assert "<b>vmap(f)</b>" in page(box)


def test_a_refusal_is_shown_and_the_widget_lives_on():
    box = transforms("vmap", "grad")
    assert "grad(vmap(f))</code> is refused" in page(box)
    assert "only a scalar has a gradient" in page(box)
    control(box, "first").value = "grad"
    assert "<b>grad(grad(f))</b>" in page(box)
    assert f"{2 * np.cos(2.0) - 2 * np.sin(2.0):.6g}" in page(box)


def test_a_result_of_several_parts_is_shown_part_by_part():
    both = {"value_and_grad": functional.value_and_grad}
    box = transform_stack_widget(f, (2.0,), both, functional.make_jaxpr, start=("value_and_grad",))
    assert f"({2 * np.sin(2.0):.6g},\n {np.sin(2.0) + 2 * np.cos(2.0):.6g})" in page(box)


def test_stacks_that_cannot_be_are_refused():
    with pytest.raises(UnknownNameError, match="no transform called 'gard'"):
        transforms("gard")
    with pytest.raises(OptionError, match="the first stack is too high"):
        transforms("grad", "grad", depth=1)
