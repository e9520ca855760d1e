"""What ``jit`` tells calls apart by: as data, in words, and as straight Python.

The *signature* of a call is the structure of its arguments, the shape and dtype of each
leaf, and the values of the static ones.  A *guard* is one signature written out as a
function: it checks arguments of that very structure, runs the program on their leaves, and
builds the result, without a loop or a look-up.  The idea of generated guards is TorchDynamo's
(Ansel et al., 2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import DtypeError
from workbench.functional.core import PYTHON_SCALARS, ShapedArray, Tracer, Value
from workbench.functional.tree import DATACLASSES, LEAF, build, flatten_into

MISS = object()
"""What a guard returns for arguments that are not its own."""

DEEPEST = 40
"""Containers within one another in a structure that is written out; Python's parser has limits."""


class Static:
    """A static argument, as a container without children whose type is its value.

    It stands in the structure as ``(Static(value), (), ())``, and is built by a call.
    """

    __slots__ = ("key", "value")

    def __init__(self, value: Any, name: str, where: str) -> None:
        self.value, self.key = value, static_key(value)
        try:
            hash(self.key)
        except TypeError:
            kind = "a traced value" if isinstance(value, Tracer) else f"a {type(value).__name__}"
            raise DtypeError(
                where, f"the static argument {name} cannot be hashed", given=kind,
                expected="a value that hashes and compares: a number, a string, a tuple of such",
                fix="arrays are not static: leave it out of static_argnums and static_argnames",
            ) from None  # fmt: skip

    def __call__(self) -> Any:
        """Return the value: how the structure is built."""
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def static_key(value: Any) -> Hashable:
    """Return what static values are compared by: ``1``, ``1.0`` and ``True`` differ."""
    if type(value) is tuple:
        return (tuple, *map(static_key, value))
    return type(value), repr(value) if type(value) is float else value  # repr: 0.0 == -0.0


@dataclass(frozen=True)
class Signature:
    """What one call has in common with others that may run the same program.

    Attributes
    ----------
    node : nested tuples
        The structure of ``(args, kwargs)``, as in :class:`~workbench.functional.tree.TreeDef`.
    avals : tuple of ShapedArray
        One for each leaf.
    axes : tuple of (str, int)
        Named axes around the call, and their sizes.
    """

    node: Any
    avals: tuple[ShapedArray, ...]
    axes: tuple[tuple[str, int], ...]

    def describe(self, names: Sequence[str]) -> str:
        """Return the arguments as ``x=f32[3], n=4``."""
        (_, _, args), (_, keys, kwargs) = _fill(self.node, iter(self.avals))[2]
        named = [*zip(itertools.chain(names, _beyond(names, len(args))), args, strict=False)]
        return ", ".join(f"{k}={_spell(x)}" for k, x in [*named, *zip(keys, kwargs, strict=True)])


def _beyond(names: Sequence[str], count: int) -> list[str]:
    return [f"args[{i}]" for i in range(len(names), count)]


def _fill(node: Any, leaves: Iterator[ShapedArray]) -> Any:
    """Return the structure with abstract values in place of leaves."""
    if node is LEAF:
        return next(leaves)
    kind, keys, children = node
    return kind, keys, [_fill(child, leaves) for child in children]


def _spell(tree: Any) -> str:
    if isinstance(tree, ShapedArray):
        return str(tree)
    kind, keys, children = tree
    if isinstance(kind, Static):
        return repr(kind.value)
    parts = [*map(_spell, children)]
    if kind is dict:
        return "{" + ", ".join(f"{k!r}: {x}" for k, x in zip(keys, parts, strict=True)) + "}"
    if kind is list:
        return f"[{', '.join(parts)}]"
    if kind is type(None):
        return "None"
    return f"{'' if kind is tuple else kind.__name__}({', '.join(parts)})"


# In words


def differences(old: Signature, new: Signature, names: Sequence[str]) -> Iterator[str]:
    """Yield what differs between two signatures, in the order of the arguments.

    Parameters
    ----------
    old, new : Signature
    names : sequence of str
        Of the positional arguments.
    """
    (_, _, before), (_, keys, kwargs) = _fill(old.node, iter(old.avals))[2]
    (_, _, after), (_, new_keys, new_kwargs) = _fill(new.node, iter(new.avals))[2]
    if len(before) != len(after):
        yield f"the number of positional arguments: {len(before)} became {len(after)}"
    elif keys != new_keys:
        yield f"the keyword arguments: {_listed(keys)} became {_listed(new_keys)}"
    else:
        labels = [*names[: len(before)], *_beyond(names, len(before)), *keys]
        rows = zip(labels, [*before, *kwargs], [*after, *new_kwargs], strict=True)
        for label, x, y in rows:
            yield from _differ(f"argument {label}", x, y)
    if old.axes != new.axes:
        yield f"the named axes around it: {_listed(old.axes)} became {_listed(new.axes)}"


def _differ(where: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    plain = isinstance(old, ShapedArray), isinstance(new, ShapedArray)
    if all(plain):
        if old.weak_type or new.weak_type:
            yield f"{where}: {_noun(new)} where there was {_noun(old)}"
        elif old.shape != new.shape:
            yield f"{where}: shape {old.shape} became {new.shape}"
        else:
            yield f"{where}: dtype {old.dtype} became {new.dtype}"
    elif not any(plain) and isinstance(old[0], Static) and isinstance(new[0], Static):
        yield f"{where}: static value {old[0].value!r} became {new[0].value!r}"
    elif any(plain) or old[0] is not new[0]:
        yield f"{where}: {_noun(new)} where there was {_noun(old)}"
    elif old[0] is dict and old[1] != new[1]:
        yield f"{where}: the keys of the dict, {_listed(old[1])}, became {_listed(new[1])}"
    elif old[0] in DATACLASSES and old[1] != new[1]:
        for name, x, y in zip(old[1][1], old[1][2], new[1][2], strict=True):
            if x != y:
                yield f"{where}.{name}: static value {x!r} became {y!r}"
    elif len(old[2]) != len(new[2]):
        yield f"{where}: a {old[0].__name__} of length {len(old[2])} became one of {len(new[2])}"
    else:
        for label, x, y in zip(_labels(*old), old[2], new[2], strict=True):
            yield from _differ(where + label, x, y)


def _labels(kind: Any, keys: Any, children: Sequence[Any]) -> list[str]:
    """Return how to get from a container to each child: ``[0]``, ``['w']`` or ``.w``."""
    if kind is dict:
        return [f"[{key!r}]" for key in keys]
    if kind in DATACLASSES or keys is not None:
        return [f".{name}" for name in (keys[0] if kind in DATACLASSES else keys)]
    return [f"[{i}]" for i in range(len(children))]


def _noun(tree: Any) -> str:
    if isinstance(tree, ShapedArray):
        if tree.weak_type:
            return f"a Python {PYTHON_TYPES[tree.dtype.kind]}"
        return f"an array {tree}"
    kind = tree[0]
    if isinstance(kind, Static):
        return f"the static value {kind.value!r}"
    return "None" if kind is type(None) else f"a {kind.__name__}"


PYTHON_TYPES = {dtype.kind: kind.__name__ for kind, dtype in PYTHON_SCALARS.items()}


def _listed(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(repr, values))}]"


# As Python


def write_guard(
    signature: Signature,
    leaves: Sequence[Value],
    out_node: Any,
    out_avals: Sequence[ShapedArray],
    consts: Sequence[Any],
    start: Callable[[list[Any]], int],
) -> tuple[str, dict[str, Any]] | None:
    """Write a signature, the call of its program, and its result as one function.

    Parameters
    ----------
    signature : Signature
    leaves : sequence
        Of one such call.  The guard takes leaves of the same Python types.
    out_node : nested tuples
        Structure of the result.
    out_avals : sequence of ShapedArray
        One for each leaf of the result.
    consts : sequence of ndarray
        The program's first inputs.
    start : callable
        Runs the program on a list of its inputs and outputs, and returns 0.

    Returns
    -------
    source : str
        Of ``guard(args, kwargs)``, which returns the result or :data:`MISS`.
    namespace : dict
        What the names in it mean.
    None
        If leaves are of types that only a general call understands.
    """
    if not all(type(x) in PYTHON_SCALARS or isinstance(x, np.ndarray | np.generic) for x in leaves):
        return None
    if any(isinstance(x, np.ndarray) and type(x) is not np.ndarray for x in leaves):
        return None
    if max(map(_depth, (signature.node, out_node))) > DEEPEST:
        return None
    writer = _Writer([type(x) for x in leaves], signature.avals)
    arguments, keywords = signature.node[2]
    writer.open("args", arguments)
    writer.open("kwargs", keywords)
    inputs = []
    for const in consts:
        name = writer.name("const", const)
        whole = const.flags.c_contiguous and const.flags.aligned
        inputs.append(name if whole else f"{name}.copy()")
    results = []
    for aval in out_avals:
        results.append(writer.fresh("y"))
        dtype = writer.name("dtype", aval.dtype)
        writer.lines.append(f"{results[-1]} = empty({aval.shape}, {dtype})")
    every = ", ".join([*inputs, *writer.inputs, *results])
    writer.lines.append(f"if start([{every}]): return MISS")
    pairs = zip(results, out_avals, strict=True)
    leaf = iter([f"{y}.item()" if aval.weak_type else y for y, aval in pairs])
    writer.lines.append(f"return {writer.display(out_node, leaf)}")
    body = "\n".join(f"    {line}" for line in writer.lines)
    names = {"ndarray": np.ndarray, "empty": np.empty, "asarray": np.asarray, "start": start}
    names.update(MISS=MISS, static_key=static_key, build=build)
    return f"def guard(args, kwargs):\n{body}\n", names | writer.namespace


def _depth(node: Any) -> int:
    return 0 if node is LEAF else 1 + max(map(_depth, node[2]), default=0)


class _Writer:
    """The lines of a guard, and the names in them."""

    def __init__(self, types: Sequence[type], avals: Sequence[ShapedArray]) -> None:
        self.leaves = iter(zip(types, avals, strict=True))
        self.lines: list[str] = []
        self.inputs: list[str] = []
        self.namespace: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._numbers = itertools.count()

    def fresh(self, prefix: str) -> str:
        """Return a name that nothing has."""
        return f"{prefix}{next(self._numbers)}"

    def name(self, prefix: str, value: Any) -> str:
        """Return the name of an object that the guard refers to."""
        if id(value) not in self._names:
            name = self._names[id(value)] = self.fresh(f"{prefix}_")
            self.namespace[name] = value
        return self._names[id(value)]

    def refuse(self, condition: str) -> None:
        """Add a check."""
        self.lines.append(f"if {condition}: return MISS")

    def open(self, x: str, node: Any) -> None:
        """Check the value called ``x`` against a structure, and take it apart."""
        if node is LEAF:
            self.check_leaf(x, *next(self.leaves))
            return
        kind, keys, children = node
        if isinstance(kind, Static):
            key = self.name("static", kind.key)
            self.refuse(f"static_key({x}) != {key}")
        elif kind is type(None):
            self.refuse(f"{x} is not None")
        elif kind in DATACLASSES:
            self.refuse(f"type({x}) is not {self.name('type', kind)}")
            for field, value in zip(keys[1], keys[2], strict=True):
                self.refuse(f"{x}.{field} != {self.name('static', value)}")
            self.open_each([f"{x}.{field}" for field in keys[0]], children)
        else:
            self.refuse(
                f"type({x}) is not {self.name('type', kind)} or len({x}) != {len(children)}"
            )
            if kind is dict:
                names = [self.name("key", key) for key in keys]
                if keys:
                    self.refuse(" or ".join(f"{name} not in {x}" for name in names))
                self.open_each([f"{x}[{name}]" for name in names], children)
            elif children:
                parts = [self.fresh("x") for _ in children]
                self.lines.append(f"{', '.join(parts)}, = {x}")
                for part, child in zip(parts, children, strict=True):
                    self.open(part, child)

    def open_each(self, sources: Sequence[str], children: Sequence[Any]) -> None:
        """Give each child a name, and take it apart."""
        for source, child in zip(sources, children, strict=True):
            part = self.fresh("x")
            self.lines.append(f"{part} = {source}")
            self.open(part, child)

    def check_leaf(self, x: str, kind: type, aval: ShapedArray) -> None:
        """Check a leaf, and make it what a program takes: contiguous, aligned, an array."""
        self.inputs.append(x)
        dtype = self.name("dtype", aval.dtype)
        if kind is not np.ndarray:
            self.refuse(f"type({x}) is not {self.name('type', kind)}")
            self.lines.append(f"{x} = asarray({x}, {dtype})")
            return
        # The usual dtypes exist once, so that identity tells; another copy of one still passes.
        other = f"({x}.dtype is not {dtype} and {x}.dtype != {dtype})"
        self.refuse(f"type({x}) is not ndarray or {x}.shape != {aval.shape} or {other}")
        self.lines.append(f"if {x}.flags.num & {USABLE} != {USABLE}: {x} = {x}.copy()")

    def display(self, node: Any, leaves: Iterator[str]) -> str:
        """Spell a structure with these leaves as an expression."""
        if node is LEAF:
            return next(leaves)
        kind, keys, children = node
        parts = [self.display(child, leaves) for child in children]
        inner = "".join(f"{part}, " for part in parts)
        if kind is tuple:
            return f"({inner})"
        if kind is list:
            return f"[{inner}]"
        if kind is dict:
            pairs = zip(keys, parts, strict=True)
            return "{" + ", ".join(f"{self.name('key', k)}: {x}" for k, x in pairs) + "}"
        if kind is type(None):
            return "None"
        if kind in DATACLASSES:
            flat = (kind, keys, (LEAF,) * len(parts))
            return f"build({self.name('node', flat)}, iter(({inner})))"
        return f"{self.name('type', kind)}({inner})"


USABLE = 0x101
"""NumPy's flags C_CONTIGUOUS and ALIGNED, as they are in ``x.flags.num``."""


def flatten_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    statics: dict[int | str, str],
    where: str,
    leaves: list[Value],
) -> Any:
    """Append the leaves of a call to ``leaves``; return its structure.

    ``statics`` has the names of static arguments, by position and by keyword.
    """
    if not statics:
        return flatten_into((args, kwargs), leaves)

    def child(key: int | str, x: Any) -> Any:
        if key in statics:
            return Static(x, statics[key], where), (), ()
        return flatten_into(x, leaves)

    positional = tuple([child(i, x) for i, x in enumerate(args)])
    keys = tuple(sorted(kwargs))
    by_name = tuple([child(key, kwargs[key]) for key in keys])
    return tuple, None, ((tuple, None, positional), (dict, keys, by_name))
