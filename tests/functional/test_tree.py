"""Pytrees: apart, together, mapped, refused."""

from collections import namedtuple

import pytest

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional import tree_flatten, tree_map, tree_unflatten
from workbench.functional.tree import flatten_axes

Point = namedtuple("Point", "x y")
Empty = namedtuple("Empty", "")
TREES = [
    1, None, (), [], {}, Empty(), (1, [2, 3]), {"b": 1, "a": (2, None)}, Point(1, {"k": [2]}),
    [Point((1,), Empty()), None, {2: 3, 1: 4}],
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=map(repr, TREES))
def test_there_and_back(tree):
    leaves, treedef = tree_flatten(tree)
    again = tree_unflatten(treedef, leaves)
    assert (again, type(again)) == (tree, type(tree))
    assert hash(treedef) == hash(tree_flatten(tree)[1])
    assert treedef.leaves == len(leaves)


def test_structures_tell_types_and_keys_apart():
    trees = [(1, 2), [1, 2], {"a": 1, "b": 2}, {"a": 1, "c": 2}, Point(1, 2), (1, (2,)), None, 1]
    assert len({tree_flatten(tree)[1] for tree in trees}) == len(trees)
    assert tree_flatten({"b": 2, "a": 1})[0] == [1, 2]
    assert tree_flatten({"b": 2, "a": 1})[1] == tree_flatten({"a": 1, "b": 2})[1]
    assert repr(tree_flatten({"w": [1, None], "b": Point(2, 3)})[1]) == (
        "TreeDef({'b': Point(x=*, y=*), 'w': [*, None]})"
    )


def test_tree_map():
    assert tree_map(lambda x, y: x - y, {"a": (5, 6)}, {"a": (1, 2)}) == {"a": (4, 4)}
    with pytest.raises(ShapeError, match=r"differ in structure\n.*tree 1 .*\n?.*tree 3"):
        tree_map(lambda *xs: xs, [1], [2], (3,))
    with pytest.raises(ShapeError, match=r"1 leaves for TreeDef\(\(\*, \*\)\)"):
        tree_unflatten(tree_flatten((1, 2))[1], [1])
    with pytest.raises(DtypeError, match="must sort"):
        tree_flatten({1: 2, "a": 3})


def test_axes_are_a_prefix():
    tree = ({"a": 1, "b": [2, 3]}, 4)
    assert flatten_axes("f", "axes", 0, tree) == [0, 0, 0, 0]
    assert flatten_axes("f", "axes", (None, 1), tree) == [None, None, None, 1]
    assert flatten_axes("f", "axes", ({"a": 2, "b": [0, None]}, -1), tree) == [2, 0, None, -1]
    for wrong in [({"a": 1}, 0), (0, (1,)), True, "ab"]:
        with pytest.raises(OptionError, match="f: axes does not fit what it describes"):
            flatten_axes("f", "axes", wrong, tree)
