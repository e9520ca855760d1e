"""What an answer finds: the cells it needs of its notebook, the library less the answers."""

import json
import marshal
import os
import subprocess
import sys
from pathlib import Path
from types import CodeType

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.course import library as module
from workbench.course.library import library, withheld
from workbench.course.notebooks import Assignment
from workbench.course.worker import globals_of, plan, without_magics
from workbench.errors import OptionError

# --- magics ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("%matplotlib inline\nx = 1", "\nx = 1"),
        ("!pip install numpy\nx = 5 %y", "\nx = 5 %y"),
        ("if x:\n    %time f()\n", "if x:\n    pass\n"),
        ("x = 1\n%timeit f(x)\ny = 2", "x = 1\n\ny = 2"),
        ("%%time\nx = 1", "\nx = 1"),
        ("%%capture out\nx = 1\n", "\nx = 1\n"),
        ("%%bash\nrm -r x", ""),
        ("%%javascript\nx = 1", ""),
        ("np.dot?\nx = 1", "\nx = 1"),
        ("def f():\n    len??\n    return 1", "def f():\n    pass\n    return 1"),
        ("?np.dot\nx = 1", "\nx = 1"),
        ("", ""),
    ],
)
def test_magics_are_blanked_and_lines_keep_their_numbers(source, left):
    assert without_magics(source) == left


@pytest.mark.parametrize(
    "source",
    ["z = (10\n     %y)", 'text = """\n%matplotlib inline\n!ls\n"""', "x = 3 % 2", "a = not b\n"],
)
def test_python_is_left_as_it_is(source):
    assert without_magics(source) == source


# --- names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "bound", "used"),
    [
        ("x = y", {"x"}, {"y"}),
        ("import numpy as np\nfrom a import b as c", {"np", "c"}, set()),
        ("def f(x):\n    return g(x) + h", {"f"}, {"g", "h"}),
        ("def f():\n    def inner():\n        return deep\n    return inner", {"f"}, {"deep"}),
        ("class A(B):\n    def m(self):\n        return C()", {"A"}, {"B", "C"}),
        ("[i * n for i in range(m)]", set(), {"n", "m", "range"}),
        ("f = lambda x: x + y", {"f"}, {"y"}),
        ("for i in xs:\n    pass", {"i"}, {"xs"}),
        ("with a as b:\n    pass", {"b"}, {"a"}),
        ("def f():\n    global g\n    g = 1", {"f"}, {"g"}),
        ("x = x + 1", {"x"}, set()),
        ("if (n := f()):\n    pass", {"n"}, {"f"}),
        ("%matplotlib inline\nx = y", {"x"}, {"y"}),
        ("def f(:", set(), set()),
        ("x = '\0'", set(), set()),
        ("(" * 500, set(), set()),
        ("-" * 100_000 + "1", set(), set()),
    ],
)
def test_names_that_a_cell_binds_and_uses(source, bound, used):
    assert globals_of(source) == (bound, used)


@given(st.text(max_size=60) | st.text("def f(x):\n return%!?'\"#[]=,", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_has_names(source):
    bound, used = globals_of(source)
    assert not bound & used


# --- which cells run ------------------------------------------------------------------


def cells(*pairs):
    return [{"id": str(i), "role": role, "source": source}
            for i, (role, source) in enumerate(pairs)]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "names", "chosen"),
    [
        # Given and own cells run always; nothing else does without a need.
        ([("given", "a = 1"), ("other", "b = 2"), ("own", "c = 3")], ["c"], [0, 2]),
        # A helper, and the helper's helper, in the notebook's order.
        ([("other", "k = 2"), ("other", "def h(): return k"), ("own", "def f(): return h()")],
         ["f"], [0, 1, 2]),
        # A name that the own cell defines is not looked for elsewhere.
        ([("other", "f = 0"), ("own", "f = 1")], ["f"], [1]),
        # The answer was moved into another cell.
        ([("own", "# below"), ("other", "def f(): return 1")], ["f"], [0, 1]),
        # Two cells define what is needed: both run, in order.
        ([("other", "k = 1"), ("own", "f = k"), ("other", "k = 2")], ["f"], [0, 1, 2]),
        # A circle ends.
        ([("other", "def a(): return b"), ("other", "def b(): return a"), ("own", "f = a")],
         ["f"], [0, 1, 2]),
        # A cell that cannot be read defines nothing.
        ([("other", "def h(:"), ("own", "f = h")], ["f"], [1]),
        ([], ["f"], []),
    ],
)  # fmt: skip
def test_plan_chooses_what_is_needed(pairs, names, chosen):
    assert plan(cells(*pairs), names) == chosen


# --- the library ----------------------------------------------------------------------

WITHHELD = {
    "all": ["gradcheck.numeric_gradient"],
    "q1": ["arrays.im2col", "datasets.Dataset", "gradcheck.GradientReport.__str__"],
}


def assignment(**options):
    return Assignment("small", (), {"rooms": [], "withheld": WITHHELD, **options})


def inside(folder, code):
    """Run code that finds the package there, and no other; return what it printed."""
    paths = [str(folder), str(Path(numpy.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-BPS", "-c", code], capture_output=True,
                          text=True, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made():
    return library(assignment(), "q1")


def test_withheld_names_of_a_question_are_its_own_and_everybodys():
    assert withheld(assignment(), "q1") == tuple(sorted(WITHHELD["all"] + WITHHELD["q1"]))
    assert withheld(assignment(), "q2") == ("gradcheck.numeric_gradient",)
    assert withheld(Assignment("small", ()), "q1") == ()


def test_only_the_rooms_that_are_named_are_there(made):
    folder = made
    code = ("import importlib.util as u, json, workbench\n"
            "rooms = 'arrays datasets gradcheck course.checks manual symbolic compiler dynamic '\\\n"
            "        'functional compare views cli course.referee course.grading course.library'\n"
            "print(workbench.__file__)\n"
            "print([r for r in rooms.split() if u.find_spec(f'workbench.{r}')])")  # fmt: skip
    place, rooms = inside(folder, code).splitlines()
    assert Path(place).is_relative_to(folder)
    assert rooms == "['arrays', 'datasets', 'gradcheck', 'course.checks']"


def test_what_is_withheld_raises_by_every_name(made):
    folder = made
    code = """
import workbench.gradcheck.numeric, workbench.datasets.dataset
from workbench import arrays, datasets, gradcheck
from workbench.errors import OptionError
import numpy as np
tries = [
    lambda: arrays.im2col(np.zeros((1, 1, 3, 3)), 2),
    lambda: datasets.Dataset(np.zeros(3), np.zeros(3)),
    lambda: workbench.datasets.dataset.Dataset(),
    lambda: gradcheck.numeric_gradient(lambda x: x, np.zeros(1)),
    lambda: workbench.gradcheck.numeric.numeric_gradient(),
    lambda: str(object.__new__(gradcheck.GradientReport)),
]
for each in tries:
    try:
        each()
    except OptionError as error:
        print("refused" if "while this question is marked" in str(error) else error)
    except TypeError as error:
        print("refused" if "numeric_gradient() missing" in str(error) else error)
print(arrays.pair(2, "here", "size", 1))
"""
    assert inside(folder, code).splitlines() == ["refused"] * 6 + ["(2, 2)"]


def test_a_question_finds_what_another_is_asked_for(made):
    folder = library(assignment(), "q2")
    assert folder != made
    code = "import numpy as np\nfrom workbench import arrays\nprint(arrays.pair(1, '', '', 0))\n" \
           "arrays.im2col(np.zeros((1, 1, 3, 3)), 2)"  # fmt: skip
    assert inside(folder, code) == "(1, 1)"
    assert library(assignment(), "q2") == folder


def codes(code):
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes(each)


def test_no_bytecode_remembers_what_was_taken_out(made):
    folder = made
    original = (module.PACKAGE / "arrays.py").read_text(encoding="utf-8")
    body = next(code for code in codes(compile(original, "arrays.py", "exec"))
                if code.co_name == "im2col")  # fmt: skip
    stored = list(folder.rglob("arrays.*.pyc"))
    assert len(stored) == 1
    mine = [code for code in codes(marshal.loads(stored[0].read_bytes()[16:]))
            if code.co_name == "im2col"]  # fmt: skip
    assert len(mine) == 1
    assert mine[0].co_code != body.co_code
    known = {*body.co_names, *body.co_varnames[7:]}  # It has seven parameters with "where".
    assert len(known) > 5
    assert not known & {*mine[0].co_names, *mine[0].co_varnames}
    assert not list(folder.rglob("*.ipynb"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rooms": ["manaul"]}, "no room 'manaul'"),
        ({"withheld": {"q1": ["arrays.im2kol"]}}, "no arrays.im2kol to withhold"),
        ({"withheld": {"q1": ["nowhere.f"]}}, "no nowhere.f to withhold"),
        ({"withheld": {"q1": ["arrays.np.dot"]}}, "arrays.np.dot cannot be withheld"),
        ({"withheld": {"q1": ["arrays"]}}, "arrays cannot be withheld"),
        ({"withheld": {"q1": ["course.channel.DEEPEST"]}}, "DEEPEST cannot be withheld"),
        ({"withheld": {"q1": ["arrays.np.ndarray"]}}, "ndarray cannot be withheld"),
    ],
)
def test_names_that_do_not_exist_are_refused(options, words):
    with pytest.raises(OptionError, match=words) as caught:
        library(assignment(**options), "q1")
    assert "\n" in str(caught.value)


def test_every_assignment_of_the_course_names_what_there_is():
    paths = sorted(Path("solutions").glob("*/*.ipynb"))
    assert paths
    for path in paths:
        settings = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("workbench", {})
        for names in settings.get("withheld", {}).values():
            places = module._places(names)
            assert sum(len(each) for each in places.values()) == len(set(names)), path
