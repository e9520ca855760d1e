"""The opcodes: what each makes of which types, and, in NumPy, what it means.

A row's ``compute`` is the definition that every target is tested against.  Opcodes are
few because they are primitive: a softmax is a maximum, a subtraction, an exponential, a
sum and a division, and fusing them again is the compiler's work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from workbench import arrays
from workbench.arrays import Array
from workbench.compiler.program import Program, Type, types
from workbench.errors import DtypeError, OptionError, ShapeError, unknown_name

Attributes = Mapping[str, Any]
Types = Sequence[Type]


class Opcode(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    name : str
    kind : {"elementwise", "map", "reduce", "dot", "special", "control"}
        What the stages need to know of it.
    infer : callable
        ``infer(types, attributes) -> types of the results``; refuses what does not fit.
    compute : callable
        ``compute(*arrays, **attributes)`` returns an array, or a tuple of them if it is
        control flow.
    """

    name: str
    kind: str
    infer: Callable[[Types, Attributes], tuple[Type, ...]]
    compute: Callable[..., Any]


OPCODES: dict[str, Opcode] = {}
BOOL, INT64 = np.dtype(bool), np.dtype(np.int64)


def _row(name: str, kind: str, infer: Callable[..., Type], compute: Callable[..., Any]) -> None:
    def one(given: Types, attributes: Attributes) -> tuple[Type, ...]:
        return (infer(*given, **attributes),)

    OPCODES[name] = Opcode(name, kind, one, compute)


# --- elementwise ---------------------------------------------------------------------------


def _elementwise(name: str, kinds: str, compute: Callable[..., Array], result: Any = None) -> None:
    """Declare an opcode on arrays of one shape and one dtype, of a kind in ``kinds``."""
    count = getattr(compute, "nin", 0) or len(signature(compute).parameters)
    count = 1 if compute is np.copy else count  # Its other parameters are options.

    def infer(*given: Type) -> Type:
        if len(given) != count:
            raise OptionError(name, f"this opcode takes {count} operands", given=_list(given))
        first = given[0]
        if any(each.shape != first.shape for each in given):
            raise ShapeError(name, "operands of an elementwise opcode have one shape",
                             given=_list(given))  # fmt: skip
        if any(each.dtype != first.dtype for each in given) or first.dtype.kind not in kinds:
            raise DtypeError(name, "no such operation on these dtypes", given=_list(given),
                             expected=f"one dtype, of a kind in {kinds!r}")  # fmt: skip
        return Type(first.dtype if result is None else np.dtype(result), first.shape)

    _row(name, "elementwise", infer, compute)


def _list(given: Types) -> str:
    return ", ".join(map(str, given))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # Never overflows, and keeps its digits far from 0.
    return np.where(np.isnan(x), x, np.where(x >= 0, np.ones_like(e), e) / (1 + e))


def _random_bits(key: Array, counter: Array) -> Array:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the counter's bits, well stirred."""
    with np.errstate(over="ignore"):
        z = key + counter * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


_NUMBERS = "iuf"
for _name in (
    "exp expm1 log log1p sqrt sin cos tan arcsin arccos arctan sinh cosh arcsinh arccosh arctanh "
    "tanh divide arctan2"
).split():
    _elementwise(_name, "f", getattr(np, _name))
_elementwise("sigmoid", "f", _sigmoid)
_elementwise("erf", "f", arrays.erf)
for _name in (
    "negative absolute sign add subtract multiply power maximum minimum floor_divide remainder"
).split():
    _elementwise(_name, _NUMBERS, getattr(np, _name))
for _name in "floor ceil rint trunc".split():
    _elementwise(_name, "f", getattr(np, _name))
_elementwise("copy", "biuf", np.copy)
# A copy that stays: what is computed from it is computed again, not shared.
_elementwise("barrier", "biuf", np.copy)
for _name in "isnan isinf".split():
    _elementwise(_name, "f", getattr(np, _name), BOOL)
for _name in "equal not_equal less less_equal".split():
    _elementwise(_name, "biuf", getattr(np, _name), BOOL)
for _name in "invert bitwise_and bitwise_or bitwise_xor".split():
    _elementwise(_name, "biu", getattr(np, _name))
_elementwise("shift_left", "iu", np.left_shift)
_elementwise("shift_right", "iu", np.right_shift)
_elementwise("random_bits", "u", _random_bits)


def _infer_select(condition: Type, x: Type, y: Type) -> Type:
    if condition.dtype != BOOL or x != y or condition.shape != x.shape:
        raise DtypeError("select", "the operands do not fit", given=_list((condition, x, y)),
                         expected="bool, and two of one type, all of one shape")  # fmt: skip
    return x


_row("select", "elementwise", _infer_select, np.where)
_row("convert", "elementwise", lambda x, dtype: Type(np.dtype(dtype), x.shape),
     lambda x, dtype: x.astype(dtype))  # fmt: skip

# --- maps: every element of the result is one element of an operand, or a fill ---------------


def _fits(condition: bool, name: str, problem: str, *given: Type, **attributes: Any) -> None:
    if not condition:
        text = ", ".join([*map(str, given), *(f"{k}={v!r}" for k, v in attributes.items())])
        raise ShapeError(name, problem, given=text)


def _infer_broadcast(x: Type, shape: tuple[int, ...], axes: tuple[int, ...]) -> Type:
    fits = len(axes) == x.ndim and list(axes) == sorted(set(axes)) and all(
        0 <= a < len(shape) and n in (1, shape[a]) for n, a in zip(x.shape, axes, strict=True)
    )  # fmt: skip
    _fits(fits, "broadcast", "the operand does not broadcast so", x, shape=shape, axes=axes)
    return Type(x.dtype, shape)


def _broadcast(x: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    lined_up = [1] * len(shape)
    for n, a in zip(x.shape, axes, strict=True):
        lined_up[a] = n
    return np.broadcast_to(x.reshape(lined_up), shape)


def _infer_reshape(x: Type, shape: tuple[int, ...]) -> Type:
    _fits(math.prod(shape) == x.size, "reshape", "the numbers of elements differ", x, shape=shape)
    return Type(x.dtype, shape)


def _infer_transpose(x: Type, axes: tuple[int, ...]) -> Type:
    _fits(sorted(axes) == list(range(x.ndim)), "transpose", "axes is no permutation", x, axes=axes)
    return Type(x.dtype, tuple(x.shape[a] for a in axes))


def _infer_slice(
    x: Type, start: tuple[int, ...], size: tuple[int, ...], step: tuple[int, ...]
) -> Type:
    fits = len(start) == len(size) == len(step) == x.ndim and all(
        s != 0 and m >= 0 and (m == 0 or (0 <= a < n and 0 <= a + (m - 1) * s < n))
        for a, m, s, n in zip(start, size, step, x.shape, strict=True)
    )
    _fits(fits, "slice", "the slice leaves the operand", x, start=start, size=size, step=step)
    return Type(x.dtype, size)


def _slice(x: Array, start: Any, size: Any, step: Any) -> Array:
    index = []
    for a, m, s in zip(start, size, step, strict=True):
        stop = a + m * s
        index.append(slice(a, None if stop < 0 else stop, s) if m else slice(0, 0))
    return x[tuple(index)]


def _padded(n: int, low: int, high: int, interior: int) -> int:
    return low + n + max(n - 1, 0) * interior + high


def _infer_pad(
    x: Type, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], fill: Any
) -> Type:
    fits = (
        len(low) == len(high) == len(interior) == x.ndim and min((*low, *high, *interior, 0)) == 0
    )
    _fits(fits, "pad", "low, high and interior hold one size >= 0 an axis", x, low=low, high=high,
          interior=interior)  # fmt: skip
    return Type(x.dtype, tuple(map(_padded, x.shape, low, high, interior)))


def _pad(x: Array, low: Any, high: Any, interior: Any, fill: Any) -> Array:
    shape = tuple(map(_padded, x.shape, low, high, interior))
    y = arrays.namespace(x).full(shape, fill, x.dtype)
    y[tuple(slice(a, a + n + max(n - 1, 0) * i, i + 1)
            for a, n, i in zip(low, x.shape, interior, strict=True))] = x  # fmt: skip
    return y


def _infer_concatenate(*given: Type, axis: int) -> Type:
    first = given[0]
    fits = 0 <= axis < first.ndim and all(
        each.dtype == first.dtype and each.ndim == first.ndim
        and all(a == axis or n == m for a, (n, m) in enumerate(zip(each.shape, first.shape, strict=True)))
        for each in given
    )  # fmt: skip
    _fits(fits, "concatenate", "the parts do not fit together", *given, axis=axis)
    shape = list(first.shape)
    shape[axis] = sum(each.shape[axis] for each in given)
    return Type(first.dtype, tuple(shape))


def _infer_windows(x: Type, size: Any, stride: Any, padding: Any, fill: Any) -> Type:
    _fits(x.ndim == 4, "windows", "images are (N, C, H, W)", x)
    out = [(n + 2 * p - k) // s + 1
           for n, k, s, p in zip(x.shape[2:], size, stride, padding, strict=True)]  # fmt: skip
    _fits(min(out) > 0, "windows", "the window is larger than the padded image", x, size=size,
          padding=padding)  # fmt: skip
    return Type(x.dtype, (*x.shape[:2], *out, *size))


def _windows(x: Array, size: Any, stride: Any, padding: Any, fill: Any) -> Array:
    return arrays.im2col(x, size, stride, padding, fill=fill, where="windows")


def _iota(shape: tuple[int, ...], axis: int, dtype: Any) -> Array:
    lined_up = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.broadcast_to(lined_up, shape).astype(dtype)


def _infer_iota(shape: tuple[int, ...], axis: int, dtype: Any) -> Type:
    if not 0 <= axis < len(shape):
        raise OptionError("iota", "there is no such axis", given=f"axis={axis}, shape={shape}")
    return Type(np.dtype(dtype), shape)


_row("broadcast", "map", _infer_broadcast, _broadcast)
_row("reshape", "map", _infer_reshape, lambda x, shape: x.reshape(shape))
_row("transpose", "map", _infer_transpose, lambda x, axes: x.transpose(axes))
_row("slice", "map", _infer_slice, _slice)
_row("pad", "map", _infer_pad, _pad)
_row("concatenate", "map", _infer_concatenate, lambda *xs, axis: np.concatenate(xs, axis))
_row("windows", "map", _infer_windows, _windows)
_row("iota", "map", _infer_iota, _iota)
_row("constant", "map", lambda value: Type(value.dtype, value.shape), lambda value: value)

# --- reductions ----------------------------------------------------------------------------


def _reduction(name: str, kinds: str, compute: Callable[..., Array], empty: bool = True) -> None:
    def infer(x: Type, axes: tuple[int, ...]) -> Type:
        fits = list(axes) == sorted(set(axes)) and all(0 <= a < x.ndim for a in axes)
        _fits(fits, name, "axes holds each axis to be reduced once, in order", x, axes=axes)
        _fits(empty or all(x.shape[a] for a in axes), name, "no elements have no extreme", x)
        if x.dtype.kind not in kinds:
            raise DtypeError(name, "no such reduction of this dtype", given=str(x))
        return Type(x.dtype, tuple(n for a, n in enumerate(x.shape) if a not in axes))

    _row(name, "reduce", infer, compute)


_reduction("sum", _NUMBERS, lambda x, axes: x.sum(axis=axes, dtype=x.dtype))
_reduction("prod", _NUMBERS, lambda x, axes: x.prod(axis=axes, dtype=x.dtype))
_reduction("max", "biuf", lambda x, axes: x.max(axis=axes), empty=False)
_reduction("min", "biuf", lambda x, axes: x.min(axis=axes), empty=False)
_reduction("any", "b", lambda x, axes: x.any(axis=axes))
_reduction("all", "b", lambda x, axes: x.all(axis=axes))

# --- products ------------------------------------------------------------------------------


def _infer_dot(a: Type, b: Type, trans_a: bool, trans_b: bool) -> Type:
    fits = a.ndim == b.ndim >= 2 and a.shape[:-2] == b.shape[:-2]
    _fits(fits, "dot", "the batch axes differ", a, b)
    m, k = a.shape[-2:][::-1] if trans_a else a.shape[-2:]
    j, n = b.shape[-2:][::-1] if trans_b else b.shape[-2:]
    _fits(k == j, "dot", f"the product sums over {k} and over {j}", a, b, trans_a=trans_a,
          trans_b=trans_b)  # fmt: skip
    if a.dtype != b.dtype or a.dtype.kind not in _NUMBERS:
        raise DtypeError("dot", "factors have one dtype, of numbers", given=_list((a, b)))
    return Type(a.dtype, (*a.shape[:-2], m, n))


def _dot(a: Array, b: Array, trans_a: bool, trans_b: bool) -> Array:
    return np.matmul(a.swapaxes(-1, -2) if trans_a else a, b.swapaxes(-1, -2) if trans_b else b)


def _infer_dot_add(a: Type, b: Type, c: Type, trans_a: bool, trans_b: bool, alpha: float) -> Type:
    product = _infer_dot(a, b, trans_a, trans_b)
    _fits(c == product, "dot_add", "what is added to is not of the product's type", a, b, c)
    return product


def _dot_add(a: Array, b: Array, c: Array, trans_a: bool, trans_b: bool, alpha: float) -> Array:
    return c + a.dtype.type(alpha) * _dot(a, b, trans_a, trans_b)


_row("dot", "dot", _infer_dot, _dot)
_row("dot_add", "dot", _infer_dot_add, _dot_add)

# --- special: opcodes with a kernel of their own -----------------------------------------------


def _infer_position(x: Type, axis: int) -> Type:
    _fits(0 <= axis < x.ndim and x.shape[axis] > 0, "argmax", "no elements to choose from", x,
          axis=axis)  # fmt: skip
    return Type(INT64, x.shape[:axis] + x.shape[axis + 1 :])


def _infer_along(x: Type, axis: int) -> Type:
    _fits(0 <= axis < x.ndim, "cumsum", "there is no such axis", x, axis=axis)
    return x


def _infer_gather(x: Type, *indices: Type, wrap: bool) -> Type:
    fits = 0 < len(indices) <= x.ndim and all(
        each.dtype == INT64 and each.shape == indices[0].shape for each in indices
    )
    _fits(fits, "gather", "indices are int64 arrays of one shape, one a leading axis", x, *indices)
    return Type(x.dtype, indices[0].shape + x.shape[len(indices) :])


def _check_indices(x: Array, indices: Sequence[Array], wrap: bool, where: str) -> None:
    for axis, index in enumerate(indices):
        n = x.shape[axis]
        if index.size and (int(index.min()) < (-n if wrap else 0) or int(index.max()) >= n):
            raise ShapeError(where, f"an index is outside axis {axis}",
                             given=f"from {int(index.min())} to {int(index.max())}",
                             expected=f"from {-n if wrap else 0} to {n - 1}")  # fmt: skip


def _gather(x: Array, *indices: Array, wrap: bool) -> Array:
    _check_indices(x, indices, wrap, "gather")
    return x[indices]


def _infer_scatter(x: Type, updates: Type, *indices: Type, wrap: bool) -> Type:
    part = _infer_gather(x, *indices, wrap=wrap)
    _fits(updates == part, "scatter", "the updates are not of the part's type", x, updates)
    return x


def _scatter_add(x: Array, updates: Array, *indices: Array, wrap: bool) -> Array:
    _check_indices(x, indices, wrap, "scatter_add")
    y = x.copy()
    arrays.scatter_add(y, indices, updates)
    return y


def _scatter_set(x: Array, updates: Array, *indices: Array, wrap: bool) -> Array:
    _check_indices(x, indices, wrap, "scatter_set")
    y = x.copy()
    y[indices] = updates
    return y


def _infer_windows_add(x: Type, shape: Any, stride: Any, padding: Any) -> Type:
    whole = Type(x.dtype, tuple(shape))
    fits = x.ndim == 6 and _infer_windows(whole, x.shape[4:], stride, padding, 0) == x
    _fits(fits, "windows_add", "these are not the windows of such images", x, shape=shape)
    return whole


def _windows_add(x: Array, shape: Any, stride: Any, padding: Any) -> Array:
    return arrays.col2im(x, shape, stride, padding)


_row("argmax", "special", _infer_position, lambda x, axis: x.argmax(axis))
_row("argmin", "special", _infer_position, lambda x, axis: x.argmin(axis))
_row("cumsum", "special", _infer_along, lambda x, axis: x.cumsum(axis, dtype=x.dtype))
_row("gather", "special", _infer_gather, _gather)
_row("scatter_add", "special", _infer_scatter, _scatter_add)
_row("scatter_set", "special", _infer_scatter, _scatter_set)
_row("windows_add", "special", _infer_windows_add, _windows_add)

# --- what only the host can do -------------------------------------------------------------


class Host(NamedTuple):
    """A NumPy function that ``call`` may name: ``infer(*types, **options)`` and ``compute``."""

    infer: Callable[..., Type]
    compute: Callable[..., Array]


def _matrices(x: Type) -> Type:
    _fits(x.ndim >= 2 and x.shape[-1] == x.shape[-2], "linear algebra", "matrices are square", x)
    return x


def _numbers(x: Type) -> Type:
    return Type(_matrices(x).dtype, x.shape[:-2])


HOST: dict[str, Host] = {
    "sort": Host(_infer_along, lambda x, axis: np.sort(x, axis, kind="stable")),
    "argsort": Host(
        lambda x, axis: Type(INT64, x.shape), lambda x, axis: np.argsort(x, axis, kind="stable")
    ),
    "cumprod": Host(_infer_along, lambda x, axis: x.cumprod(axis, dtype=x.dtype)),
    "inv": Host(_matrices, np.linalg.inv),
    "cholesky": Host(_matrices, np.linalg.cholesky),
    "solve": Host(lambda a, b: b, np.linalg.solve),
    "det": Host(_numbers, lambda x: np.asarray(np.linalg.det(x))),
    "logabsdet": Host(_numbers, lambda x: np.asarray(np.linalg.slogdet(x).logabsdet)),
}  # fmt: skip
"""Host functions by name; those of matrices work on the last two axes."""


def _host(function: str) -> Host:
    if function not in HOST:
        raise unknown_name("call", "host function", function, HOST)
    return HOST[function]


_row("call", "special", lambda *given, function, **options: _host(function).infer(*given, **options),
     lambda *xs, function, **options: _host(function).compute(*xs, **options))  # fmt: skip

# --- control flow: programs that are run by an instruction ---------------------------------------


def run(program: Program, *inputs: Array) -> tuple[Array, ...]:
    """Run a program instruction by instruction: what every target is compared to."""
    values = dict(zip(program.inputs, inputs, strict=True))
    for each in program.instructions:
        made = OPCODES[each.opcode].compute(*(values[x] for x in each.operands), **each.attributes)
        values.update(zip(each.results, made if len(each.results) != 1 or isinstance(made, tuple)
                          else (made,), strict=True))  # fmt: skip
    return tuple(values[x] for x in program.outputs)


def _expect(name: str, what: str, part: Program, inputs: Types, outputs: Types | None) -> None:
    if types(part.inputs) != tuple(inputs) or (
        outputs is not None and types(part.outputs) != tuple(outputs)
    ):
        given = f"{_list(types(part.inputs))} -> {_list(types(part.outputs))}"
        wanted = f"{_list(inputs)} -> " + ("..." if outputs is None else _list(outputs))
        raise DtypeError(name, f"{what} does not fit", given=given, expected=wanted)


def _infer_if(given: Types, attributes: Attributes) -> tuple[Type, ...]:
    then, orelse = attributes["then"], attributes["orelse"]
    if given[0] != Type(BOOL, ()):
        raise DtypeError("if", "the predicate is not bool[]", given=str(given[0]))
    _expect("if", "then", then, given[1:], None)
    _expect("if", "orelse", orelse, given[1:], types(then.outputs))
    return types(then.outputs)


def _if(predicate: Array, *operands: Array, then: Program, orelse: Program) -> tuple[Array, ...]:
    return run(then if predicate else orelse, *operands)


def _infer_while(given: Types, attributes: Attributes) -> tuple[Type, ...]:
    carry = tuple(given[: attributes["n_carry"]])
    _expect("while", "cond", attributes["cond"], given, (Type(BOOL, ()),))
    _expect("while", "body", attributes["body"], given, carry)
    return carry


def _while(*operands: Array, cond: Program, body: Program, n_carry: int) -> tuple[Array, ...]:
    carry, constants = operands[:n_carry], operands[n_carry:]
    while run(cond, *carry, *constants)[0]:
        carry = run(body, *carry, *constants)
    return carry


def _infer_scan(given: Types, attributes: Attributes) -> tuple[Type, ...]:
    body, n, length = attributes["body"], attributes["n_carry"], attributes["length"]
    carry, rest = tuple(given[:n]), given[n:]
    sequences, constants = rest[: attributes["n_sequences"]], rest[attributes["n_sequences"] :]
    for each in sequences:
        _fits(each.ndim > 0 and each.shape[0] == length, "scan",
              f"a sequence does not have {length} elements", each)  # fmt: skip
    elements = [Type(each.dtype, each.shape[1:]) for each in sequences]
    made = types(body.outputs)
    _expect("scan", "body", body, [*carry, *elements, *constants], [*carry, *made[n:]])
    return (*carry, *(Type(each.dtype, (length, *each.shape)) for each in made[n:]))


def _scan(
    *operands: Array, body: Program, n_carry: int, n_sequences: int, length: int, reverse: bool
) -> tuple[Array, ...]:
    carry, rest = operands[:n_carry], operands[n_carry:]
    sequences, constants = rest[:n_sequences], rest[n_sequences:]
    xp = arrays.namespace(*operands)
    stacked = [xp.empty((length, *y.shape), y.dtype) for y in body.outputs[n_carry:]]
    for t in reversed(range(length)) if reverse else range(length):
        made = run(body, *carry, *(s[t] for s in sequences), *constants)
        carry = made[:n_carry]
        for whole, y in zip(stacked, made[n_carry:], strict=True):
            whole[t] = y
    return (*carry, *stacked)


OPCODES["if"] = Opcode("if", "control", _infer_if, _if)
OPCODES["while"] = Opcode("while", "control", _infer_while, _while)
OPCODES["scan"] = Opcode("scan", "control", _infer_scan, _scan)
