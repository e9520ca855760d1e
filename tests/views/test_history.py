"""The story as data: complete, in order, and in step with the facts."""

import dataclasses
import itertools

import pytest

from workbench import compare
from workbench.errors import GraphError, UnknownNameError
from workbench.views import history

# First years, written down a second time: a slip in the data shows as a difference.
YEARS = {
    "Theano": 2008, "Torch7": 2011, "cuda-convnet": 2011, "PyLearn2": 2011, "Lasagne": 2014,
    "Blocks": 2014, "nolearn": 2014, "Caffe": 2013, "Deeplearning4j": 2014, "MXNet": 2015,
    "CNTK": 2016, "TensorFlow 1": 2015, "Keras 1": 2015, "Chainer": 2015, "TensorFlow Fold": 2017,
    "DyNet": 2017, "PyTorch": 2017, "TensorFlow 2": 2019, "Keras 2": 2017, "JAX": 2018,
    "functorch": 2022, "PyTorch 2": 2023, "Keras 3": 2023, "MindSpore": 2020,
    "HIPS autograd": 2014, "XLA": 2017, "CuPy": 2017, "Matlab": 1984, "Octave": 1993,
    "NumPy": 2006,
}  # fmt: skip

LINES = """
    Matlab > Torch7 > PyTorch
    Theano > PyLearn2
    Theano > Lasagne > nolearn
    Theano > Blocks
    Theano > Keras 1 > Keras 2 > Keras 3
    Theano > TensorFlow 1 > TensorFlow 2
    Chainer > PyTorch
    Chainer > CuPy
    HIPS autograd > JAX
    HIPS autograd > TensorFlow 2
    TensorFlow 1 > XLA > JAX
    TensorFlow 1 > TensorFlow Fold
    JAX > functorch
    PyTorch > PyTorch 2
"""


@pytest.fixture
def told():
    return history.load()


def test_the_systems_and_their_first_years(told):
    assert {each.name: each.year for each in told.systems.values()} == YEARS


@pytest.mark.parametrize("line", [each.strip() for each in LINES.strip().splitlines()])
def test_a_line_of_descent_is_there_link_by_link(told, line):
    names = line.split(" > ")
    for ancestor, descendant in itertools.pairwise(names):
        assert ancestor in told.parents(descendant)
        assert descendant in told.children(ancestor)
    assert names[0] in told.ancestors(names[-1])
    assert names[-1] in told.descendants(names[0])


def test_every_end_of_every_line_exists_and_no_descendant_is_older(told):
    for line in told.descent:
        assert told.systems[line.ancestor].year <= told.systems[line.descendant].year
        assert line.kind in told.kinds
    assert len({(line.ancestor, line.descendant) for line in told.descent}) == len(told.descent)
    assert {line.kind for line in told.descent} == set(told.kinds)


def test_every_system_has_a_home_an_idea_and_a_generation(told):
    assert set(told.generations) == {each.generation for each in told.systems.values()}
    for each in told.systems.values():
        assert each.home
        assert len(each.idea) > 30
        assert each.idea.endswith(".")


def test_every_generation_is_rebuilt_by_an_era_and_had_a_cost(told):
    assert {each.era for each in told.generations.values()} == set(compare.ERAS)
    assert all(each.easy and each.hard for each in told.generations.values())
    years = [min(s.year for s in told.systems.values() if s.generation == name)
             for name in told.generations]  # fmt: skip
    assert years == sorted(years)


def test_all_three_pillars_have_events(told):
    assert {each.pillar for each in told.events} == {"data", "compute", "algorithms"}


def test_ancestors_come_oldest_first_and_without_the_system_itself(told):
    assert told.ancestors("PyTorch") == ["Matlab", "Torch7", "Chainer"]
    assert told.ancestors("Matlab") == []
    assert told.descendants("Keras 3") == []
    assert told.line("Theano", "Keras 3") == ["Theano", "Keras 1", "Keras 2", "Keras 3"]
    assert told.line("Keras 3", "Theano") == []
    assert told.line("JAX", "JAX") == ["JAX"]


@pytest.mark.parametrize("ask", ["system", "parents", "children", "ancestors", "descendants"])
def test_an_unknown_system_is_refused_with_the_nearest_name(told, ask):
    with pytest.raises(UnknownNameError) as caught:
        getattr(told, ask)("PyTroch")
    assert "there is no system called 'PyTroch'" in str(caught.value)
    assert "did you mean 'PyTorch'?" in str(caught.value)


def planted(told, **line):
    return dataclasses.replace(told, descent=(*told.descent, history.Descent(**line)))


def test_a_descendant_older_than_its_ancestor_is_refused(told):
    with pytest.raises(GraphError, match="Theano cannot descend from JAX") as caught:
        planted(told, ancestor="JAX", descendant="Theano", kind="idea")
    assert "given:    Theano 2008, JAX 2018" in str(caught.value)


def test_a_system_that_descends_from_itself_is_refused(told):
    with pytest.raises(GraphError, match="JAX cannot descend from JAX"):
        planted(told, ancestor="JAX", descendant="JAX", kind="idea")


def test_a_line_from_nowhere_or_of_no_kind_is_refused(told):
    with pytest.raises(UnknownNameError, match="no system called 'Theanos'"):
        planted(told, ancestor="Theanos", descendant="JAX", kind="idea")
    with pytest.raises(UnknownNameError, match="no kind of descent called 'ideas'"):
        planted(told, ancestor="Theano", descendant="JAX", kind="ideas")
    lost = dataclasses.replace(told.system("JAX"), generation="third")
    with pytest.raises(UnknownNameError, match="no generation called 'third'"):
        dataclasses.replace(told, systems={**told.systems, "JAX": lost})
