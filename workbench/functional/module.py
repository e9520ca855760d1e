"""Models as trees of their parameters, in the manner of Equinox.

A subclass of :class:`Module` is a frozen dataclass and a pytree: every transform takes it,
and differentiating with respect to a model gives a model of gradients::

    model = MLP.init(random.key(0), 64, 32, 10)
    slopes = grad(loss)(model, x, y)          # an MLP, too
    model = tree_map(lambda p, g: p - 0.1 * g, model, slopes)

Fields made by ``field(static=True)`` are part of the structure instead.  The helpers below
are for trees with leaves that are no arrays, and for changing a part of a tree.  (Kidger
and Garcia, 2021, "Equinox: neural networks in JAX via callable PyTrees and filtered
transformations".)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar, dataclass_transform

import numpy as np

from workbench import arrays
from workbench.errors import DtypeError, GraphError, OptionError, ShapeError
from workbench.functional import core, random
from workbench.functional import numpy as fnp
from workbench.functional import tree as _tree
from workbench.functional.core import Tracer, Value
from workbench.functional.derivatives import value_and_grad
from workbench.functional.jitting import jit
from workbench.functional.nn import functions
from workbench.functional.numpy.neural import Size
from workbench.functional.tree import LEAF, TreeDef, tree_flatten, tree_unflatten

M = TypeVar("M", bound="Module")


def field(*, static: bool = False, **options: Any) -> Any:
    """Return a dataclass field; a static one is hashable, and structure instead of a leaf.

    Other options are those of :func:`dataclasses.field`.
    """
    metadata = {**options.pop("metadata", {}), "static": static}
    return dataclasses.field(metadata=metadata, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Module:
    """Base of models: annotate the parameters, and write ``__call__``.

    ::

        class Scale(Module):
            factor: Value

            def __call__(self, x):
                return self.factor * x
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclasses.dataclass(frozen=True, eq=False)(cls)
        cls.__setattr__ = Module.__setattr__  # type: ignore[method-assign]
        static = [f.name for f in dataclasses.fields(cls) if f.metadata.get("static")]  # type: ignore[arg-type]
        _tree.register_dataclass(cls, meta_fields=static)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise GraphError(
            type(self).__name__, "a module cannot be changed in place",
            given=f"assignment to {name}", expected="a new module for new parameters",
            fix=f"tree_at(lambda model: model.{name}, model, value)",
        )  # fmt: skip


class Linear(Module):
    """``x @ w + b``: (..., D) to (..., K).

    Attributes
    ----------
    w : (D, K)
    b : (K,) or None
    """

    w: Value
    b: Value | None

    @classmethod
    def init(cls: type[M], key: Value, inputs: int, outputs: int, bias: bool = True) -> M:
        """Draw w Glorot uniform, float32; b starts at zero."""
        functions.sizes(cls.__name__, inputs, outputs)
        w = functions.glorot_uniform(key, (inputs, outputs), inputs, outputs)
        return cls(w, fnp.zeros(outputs, np.float32) if bias else None)  # type: ignore[call-arg]

    def __call__(self, x: Value) -> Value:
        """Return (..., K) for x (..., D)."""
        return functions.dense(type(self).__name__, x, self.w, self.b)


class Conv2d(Module):
    """Cross-correlation of images (N, C, H, W) with kernels w (F, C, KH, KW), plus b (F,)."""

    w: Value
    b: Value
    stride: tuple[int, int] = field(static=True, default=(1, 1))
    padding: tuple[int, int] = field(static=True, default=(0, 0))

    @classmethod
    def init(cls: type[M], key: Value, inputs: int, outputs: int, size: Size, stride: Size = 1,
             padding: Size = 0) -> M:  # fmt: skip
        """Draw w Glorot uniform, float32, for C inputs and F outputs; b starts at zero."""
        name = cls.__name__
        functions.sizes(name, inputs, outputs)
        w = functions.kernels(key, inputs, outputs, arrays.pair(size, name, "size", 1))
        s, p = arrays.pair(stride, name, "stride", 1), arrays.pair(padding, name, "padding", 0)
        return cls(w, fnp.zeros(outputs, np.float32), s, p)  # type: ignore[call-arg]

    def __call__(self, x: Value) -> Value:
        """Return (N, F, OH, OW) for x (N, C, H, W)."""
        name = type(self).__name__
        return functions.convolution(name, x, self.w, self.b, self.stride, self.padding)


class LayerNorm(Module):
    """The last axis made mean 0 and variance 1, then scaled and shifted (Ba et al., 2016)."""

    scale: Value
    shift: Value
    eps: float = field(static=True, default=1e-5)

    @classmethod
    def init(cls: type[M], inputs: int) -> M:
        """Start as the plain normalisation; there is nothing to draw."""
        functions.sizes(cls.__name__, inputs)
        return cls(fnp.ones(inputs, np.float32), fnp.zeros(inputs, np.float32))  # type: ignore[call-arg]

    def __call__(self, x: Value) -> Value:
        """Return an array of the shape of x, (..., D)."""
        return functions.layer_norm(type(self).__name__, x, self.scale, self.shift, self.eps)


class LSTMCell(Module):
    """One step of a long short-term memory; ``scan`` makes it a layer.

    Attributes
    ----------
    wx, wh, b : (D, 4H), (H, 4H), (4H,)
        As :func:`workbench.functional.nn.functions.lstm_cell` takes them.
    """

    wx: Value
    wh: Value
    b: Value

    @classmethod
    def init(cls: type[M], key: Value, inputs: int, hidden: int) -> M:
        """Draw the weights Glorot uniform, float32; b starts as ``lstm_bias``."""
        functions.sizes(cls.__name__, inputs, hidden)
        wx, wh = functions.recurrent_weights(key, inputs, hidden, 4)
        return cls(wx, wh, functions.lstm_bias(hidden))  # type: ignore[call-arg]

    def __call__(self, state: tuple[Value, Value], x: Value) -> tuple[Value, Value]:
        """Return the next (h, c), both (..., H), after x (..., D)."""
        return functions.lstm_cell(
            state, functions.dense(type(self).__name__, x, self.wx, self.b), self.wh
        )


class MLP(Module):
    """Linear layers with an activation between them: (..., D) to (..., K)."""

    layers: tuple[Linear, ...]
    activation: Callable[[Value], Value] = field(static=True, default=fnp.relu)

    @classmethod
    def init(cls: type[M], key: Value, *widths: int,
             activation: Callable[[Value], Value] = fnp.relu) -> M:  # fmt: skip
        """Draw the layers from widths D, ..., K, at least two."""
        if len(widths) < 2:
            raise OptionError(cls.__name__, "the widths of input and output are needed",
                              given=f"widths {widths}", expected="MLP.init(key, 64, 32, 10)")  # fmt: skip
        pairs = list(itertools.pairwise(widths))
        keys = random.split(key, len(pairs))
        layers = tuple(Linear.init(k, *pair) for k, pair in zip(keys, pairs, strict=True))
        return cls(layers, activation)  # type: ignore[call-arg]

    def __call__(self, x: Value) -> Value:
        """Return (..., K) for x (..., D)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Sequential(Module):
    """One function after another: modules, or any others, which become leaves of the tree.

    Such leaves are no arrays: differentiate with :func:`filter_grad`, compile with
    :func:`filter_jit`.
    """

    layers: tuple[Callable[..., Any], ...]

    def __call__(self, x: Value) -> Value:
        """Apply one after the other."""
        for layer in self.layers:
            x = layer(x)
        return x


# --- Trees in two parts. ---


def is_array(x: Any) -> bool:
    """Return whether a leaf is an array or a tracer; Python numbers are not."""
    return isinstance(x, Tracer) or core.is_array(x)


def is_inexact_array(x: Any) -> bool:
    """Return whether a leaf is an array or a tracer of floating-point numbers."""
    return is_array(x) and x.dtype.kind in "fc"


def partition(tree: Any, predicate: Callable[[Any], bool] = is_array) -> tuple[Any, Any]:
    """Return the leaves that satisfy the predicate, and the others: None where each has none.

    Two trees of the same containers; :func:`combine` is the inverse.
    """
    leaves, treedef = tree_flatten(tree)
    chosen = [bool(predicate(leaf)) for leaf in leaves]
    yes, no = (
        tree_unflatten(treedef, [leaf if c is side else None for leaf, c in zip(leaves, chosen, strict=True)])
        for side in (True, False)
    )  # fmt: skip
    return yes, no


def combine(first: Any, second: Any) -> Any:
    """Return one tree from two of the same containers: where one has None, the other's part.

    Raises
    ------
    ShapeError
        If both have something else than a container in one place, or different containers.
    """
    sides: list[tuple[Any, Iterator[Any]]] = []
    for tree in (first, second):
        leaves: list[Any] = []
        sides.append((_tree.flatten_into(tree, leaves), iter(leaves)))
    return _merge(*sides[0], *sides[1])


def _merge(a: Any, a_leaves: Iterator[Any], b: Any, b_leaves: Iterator[Any]) -> Any:
    empty = type(None), None, ()
    if a == empty or b == empty:
        return _tree.build(*((b, b_leaves) if a == empty else (a, a_leaves)))
    if a is LEAF or b is LEAF or a[:2] != b[:2] or len(a[2]) != len(b[2]):
        raise ShapeError("combine", "the trees do not complete each other",
                         given=f"{TreeDef(a)} and {TreeDef(b)} in one place",
                         expected="None in one of them, or equal containers")  # fmt: skip
    parts = [_merge(x, a_leaves, y, b_leaves) for x, y in zip(a[2], b[2], strict=True)]
    # Put the children, whole trees by now, where the container has its own.
    return _tree.build((*a[:2], (LEAF,) * len(parts)), iter(parts))


def filter_value_and_grad(f: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """Return value_and_grad of f by the floating-point arrays of its first argument.

    The gradient is a tree like that argument, with None at its other leaves.
    """

    @functools.wraps(f)
    def differentiated(x: Any, *args: Any, **kwargs: Any) -> Any:
        arrays_, rest = partition(x, is_inexact_array)

        @functools.wraps(f)
        def of_arrays(part: Any) -> Any:
            return f(combine(part, rest), *args, **kwargs)

        return value_and_grad(of_arrays, has_aux=has_aux)(arrays_)

    return differentiated


def filter_grad(f: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """Return the gradient, as :func:`filter_value_and_grad`; with ``has_aux`` (gradient, aux)."""
    both = filter_value_and_grad(f, has_aux)

    @functools.wraps(f)
    def gradient(x: Any, *args: Any, **kwargs: Any) -> Any:
        value, g = both(x, *args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


@dataclasses.dataclass(frozen=True)
class _Static:
    """Leaves that are no arrays, as structure: part of the signature that ``jit`` looks up."""

    leaves: tuple[tuple[type, Any], ...]  # With types, since 1 == 1.0 == True.
    treedef: TreeDef

    @classmethod
    def of(cls, where: str, tree: Any) -> _Static:
        leaves, treedef = tree_flatten(tree)
        for leaf in leaves:
            try:
                hash(leaf)
            except TypeError:
                raise DtypeError(where, "a leaf that is no array must be hashable",
                                 given=f"a {type(leaf).__name__}",
                                 expected="an array, or a number, str, function, ...") from None  # fmt: skip
        return cls(tuple((type(leaf), leaf) for leaf in leaves), treedef)

    def tree(self) -> Any:
        return tree_unflatten(self.treedef, [leaf for _, leaf in self.leaves])


_tree.register_dataclass(_Static, meta_fields=("leaves", "treedef"))


def filter_jit(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``jit(f)`` for any leaves: arrays are traced, all others are static.

    Another static leaf, a Python number too, means another compilation; results that are no
    arrays come back as they were.

    Raises
    ------
    DtypeError
        On call, if a static leaf is not hashable.
    """
    where = f"filter_jit({getattr(f, '__name__', type(f).__name__)})"

    def on_parts(traced: Any, static: _Static) -> tuple[Any, _Static]:
        args, kwargs = combine(traced, static.tree())
        traced, rest = partition(f(*args, **kwargs))
        return traced, _Static.of(where, rest)

    compiled = jit(on_parts)

    @functools.wraps(f)
    def jitted(*args: Any, **kwargs: Any) -> Any:
        traced, rest = partition((args, kwargs))
        traced, static = compiled(traced, _Static.of(where, rest))
        return combine(traced, static.tree())

    return jitted


def tree_at(where: Callable[[Any], Any], tree: Any, replace: Any) -> Any:
    """Return a tree in which what ``where`` picks is replaced.

    Parameters
    ----------
    where : callable
        From the tree to one of its leaves, which anything may replace, or to a tree of
        several, such as ``lambda model: (model.w, model.b)`` or ``lambda model: model.layers``.
    tree : pytree
    replace : any, or pytree like what is picked

    Raises
    ------
    OptionError
        If ``where`` returns something else than leaves of the tree.
    ShapeError
        If several leaves are picked, and ``replace`` is not structured like them.
    """
    leaves, treedef = tree_flatten(tree)
    places = [object() for _ in leaves]  # They stand at the leaves while ``where`` picks.
    picked, shape = tree_flatten(where(tree_unflatten(treedef, places)))
    if not picked or not set(map(id, picked)) <= set(map(id, places)):
        raise OptionError("tree_at", "where must return leaves of the tree it is given",
                          given=f"a tree of {[type(x).__name__ for x in picked]}",
                          expected="such as lambda model: model.w")  # fmt: skip
    values, given = ([replace], shape) if shape.node is LEAF else tree_flatten(replace)
    if given != shape:
        raise ShapeError("tree_at", "replace is not structured like what where picks",
                         given=f"{given}", expected=f"{shape}")  # fmt: skip
    new = {id(place): value for place, value in zip(picked, values, strict=True)}
    return tree_unflatten(
        treedef, [new.get(id(p), leaf) for p, leaf in zip(places, leaves, strict=True)]
    )
