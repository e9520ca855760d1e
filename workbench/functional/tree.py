"""Pytrees: nested containers of arrays, taken apart and put together again.

Tuples, lists, dicts, namedtuples, registered dataclasses and None are containers (None
an empty one); everything else is a leaf.  Dicts are read in the order of their sorted keys, so
that two dicts with the same keys have the same structure.  The name and the
design are JAX's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workbench.errors import DtypeError, OptionError, ShapeError
from workbench.functional.refusals import AxesError

LEAF = "*"


class TreeDef:
    """The structure of a pytree without its leaves; hashable and comparable.

    Attributes
    ----------
    node : nested tuples
        ``"*"`` for a leaf, else ``(type, keys, children)``.
    """

    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return _count(self.node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeDef) and self.node == other.node

    def __hash__(self) -> int:
        return hash(self.node)

    def __repr__(self) -> str:
        return f"TreeDef({build(self.node, iter([_Star()] * self.leaves))!r})"


DATACLASSES: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {}
"""The registered dataclasses: the names of the fields that are children, and of the others."""


def register_dataclass(cls: type | None = None, *, meta_fields: Sequence[str] = ()) -> Any:
    """Make a dataclass a container of pytrees; used as a decorator.

    Parameters
    ----------
    cls : type
        A dataclass.
    meta_fields : sequence of str
        Fields that are no children but part of the structure, such as a number of layers
        or an activation.  Their values must be hashable and comparable.

    Returns
    -------
    type
        The same class.

    Raises
    ------
    DtypeError
        If it is not a dataclass.
    OptionError
        If a name in ``meta_fields`` is no field.
    """
    if cls is None:
        return functools.partial(register_dataclass, meta_fields=meta_fields)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise DtypeError("register_dataclass", "this is not a dataclass", given=repr(cls),
                         fix="put @dataclass between this decorator and the class")  # fmt: skip
    names = [field.name for field in dataclasses.fields(cls)]
    for name in meta_fields:
        if name not in names:
            raise OptionError("register_dataclass", f"{cls.__name__} has no such field",
                              given=name, expected=", ".join(names))  # fmt: skip
    DATACLASSES[cls] = tuple(n for n in names if n not in meta_fields), tuple(meta_fields)
    return cls


class _Star:
    def __repr__(self) -> str:
        return "*"


def tree_flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Take a pytree apart.

    Returns
    -------
    leaves : list
        In the order in which :func:`tree_unflatten` takes them.
    treedef : TreeDef

    Raises
    ------
    DtypeError
        If the keys of a dict cannot be sorted.
    """
    leaves: list[Any] = []
    return leaves, TreeDef(flatten_into(tree, leaves))


def flatten_into(tree: Any, leaves: list[Any]) -> Any:
    """Append the leaves of ``tree`` to ``leaves``; return its structure as nested tuples."""
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind, None, tuple([flatten_into(child, leaves) for child in tree])
    if kind is dict:
        keys = _sorted_keys(tree)
        return kind, keys, tuple([flatten_into(tree[key], leaves) for key in keys])
    if tree is None:
        return kind, None, ()
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, kind._fields, tuple([flatten_into(child, leaves) for child in tree])
    if (fields := DATACLASSES.get(kind)) is not None:
        data, meta = fields
        static = tuple([getattr(tree, name) for name in meta])
        children = [flatten_into(getattr(tree, name), leaves) for name in data]
        return kind, (data, meta, static), tuple(children)
    leaves.append(tree)
    return LEAF


def _sorted_keys(tree: dict[Any, Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(tree))
    except TypeError:
        raise DtypeError(
            "tree_flatten", "the keys of a dict in a pytree must sort",
            given=f"keys {list(tree)!r}", expected="keys of one sortable type, such as str",
        ) from None  # fmt: skip


def tree_unflatten(treedef: TreeDef, leaves: Any) -> Any:
    """Put a pytree together from its structure and its leaves.

    Raises
    ------
    ShapeError
        If the number of leaves is not the structure's.
    """
    leaves = list(leaves)
    if len(leaves) != treedef.leaves:
        raise ShapeError("tree_unflatten", "the leaves do not fill the tree",
                         given=f"{len(leaves)} leaves for {treedef}",
                         expected=f"{treedef.leaves} leaves")  # fmt: skip
    return build(treedef.node, iter(leaves))


def _count(node: Any) -> int:
    return 1 if node is LEAF else sum(map(_count, node[2]))


def build(node: Any, leaves: Iterator[Any]) -> Any:
    """Put the leaves into a structure of nested tuples, without counting them."""
    if node is LEAF:
        return next(leaves)
    kind, keys, children = node
    parts = [build(child, leaves) for child in children]
    if kind is type(None):
        return None
    if kind is dict:
        return dict(zip(keys, parts, strict=True))
    if kind in DATACLASSES:
        data, meta, static = keys
        whole = object.__new__(kind)  # As pickle does: __init__ may do what tracers cannot.
        for name, value in zip((*data, *meta), (*parts, *static), strict=True):
            object.__setattr__(whole, name, value)
        return whole
    return kind(*parts) if keys is not None else kind(parts)


def tree_map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply ``f`` to every leaf, or to the corresponding leaves of several like trees.

    Raises
    ------
    ShapeError
        If the trees differ in structure.
    """
    leaves, treedef = tree_flatten(tree)
    columns = [leaves]
    for number, other in enumerate(rest, 2):
        more, other_def = tree_flatten(other)
        if other_def != treedef:
            raise ShapeError("tree_map", "the trees differ in structure",
                             given=f"tree 1 {treedef}, tree {number} {other_def}")  # fmt: skip
        columns.append(more)
    return tree_unflatten(treedef, [f(*row) for row in zip(*columns, strict=True)])


def flatten_axes(where: str, name: str, axes: Any, tree: Any) -> list[int | None]:
    """Return one axis (or None) for each leaf of ``tree``, from a prefix of it.

    ``axes`` is an int or None for a whole subtree, or a container like the subtree's.

    Raises
    ------
    AxesError
        If ``axes`` is not such a prefix; both sides are named.
    """
    if axes is None or (isinstance(axes, int) and not isinstance(axes, bool)):
        return [axes] * len(tree_flatten(tree)[0])
    if isinstance(axes, tuple | list) and isinstance(tree, tuple | list):
        if len(axes) != len(tree):
            raise AxesError(where, f"{name} does not fit what it describes",
                              given=f"{name} of length {len(axes)} for {len(tree)} values",
                              expected=f"length {len(tree)}, or one int")  # fmt: skip
        pairs = list(zip(axes, tree, strict=True))
    elif isinstance(axes, dict) and isinstance(tree, dict) and axes.keys() == tree.keys():
        pairs = [(axes[key], tree[key]) for key in _sorted_keys(tree)]
    else:
        raise AxesError(where, f"{name} does not fit what it describes",
                          given=f"{name} {axes!r} for {tree_flatten(tree)[1]}",
                          expected="an int, None, or a container shaped like the value")  # fmt: skip
    return [axis for pair in pairs for axis in flatten_axes(where, name, *pair)]


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of a pytree."""
    return tree_flatten(tree)[0]


def tree_structure(tree: Any) -> TreeDef:
    """Return the structure of a pytree."""
    return tree_flatten(tree)[1]
