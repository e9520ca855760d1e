"""Passes from a program to a simpler one that computes the same.

A pass is a function from :class:`Program` to :class:`Program`; :data:`PASSES` lists them in
the order in which :func:`simplify` runs them, and :func:`stages` keeps what each leaves, so
that a reader can lay two of them side by side.  Most passes are tables of rules, one row an
opcode: a rule looks at one instruction and what made its operands, and returns the value
that may stand for its result.

The rules about numbers are those that hold for every number: ``x + 0.0`` is not ``x`` where
``x`` is -0.0, and ``0 * x`` is not 0 where ``x`` is infinite, so neither is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Program, Value, types

Rule = Callable[["Rewriter", Instruction], Value | None]
Pass = Callable[[Program], Program]


def simplify(program: Program) -> Program:
    """Return a simpler program with the same inputs and outputs.

    Every output of the result, and of the programs that its control flow runs, is made by
    an instruction of its own that writes memory: no output is an input, a constant, a
    reshape, or another output.

    Raises
    ------
    GraphError
        If the passes left a program that is not well formed, which is their fault.
    """
    for step in PASSES.values():
        program = step(program)
    program.verify()
    return program


def stages(program: Program) -> list[tuple[str, Program]]:
    """Return the program as it was written and after each pass, each verified."""
    made = [("written", program)]
    for name, step in PASSES.items():
        program = step(program)
        program.verify()
        made.append((name, program))
    return made


def _inside(each: Instruction, step: Pass) -> Instruction:
    """Return an instruction with the programs it runs put through a pass."""
    parts = {k: step(v) for k, v in each.attributes.items() if isinstance(v, Program)}
    return replace(each, attributes={**each.attributes, **parts}) if parts else each


# --- dead code -----------------------------------------------------------------------------


def drop_dead(program: Program) -> Program:
    """Drop what no output rests on; also results of ``if`` and ``scan`` that nobody reads.

    And what the body of a ``scan`` reads or hands on for those results only.
    """
    live, kept = set(program.outputs), []
    for each in reversed(program.instructions):
        if live.isdisjoint(each.results):
            continue
        drop = {"scan": _drop_from_scan, "if": _drop_from_if}.get(each.opcode)
        each = _inside(drop(each, live) if drop else each, drop_dead)
        kept.append(each)
        live.update(each.operands)
    return replace(program, instructions=tuple(reversed(kept)))


def _drop_from_if(each: Instruction, live: set[Value]) -> Instruction:
    keep = [i for i, x in enumerate(each.results) if x in live]
    attributes = {k: replace(part, outputs=tuple(part.outputs[i] for i in keep))
                  for k, part in each.attributes.items()}  # fmt: skip
    return replace(each, attributes=attributes, results=tuple(each.results[i] for i in keep))


def _drop_from_scan(each: Instruction, live: set[Value]) -> Instruction:
    body, n = each.attributes["body"], each.attributes["n_carry"]
    keep: set[int] = set()
    more = {i for i, x in enumerate(each.results) if x in live}
    while more:  # What a live result rests on is carried too.
        keep |= more
        outputs = tuple(x for i, x in enumerate(body.outputs) if i in keep)
        part = drop_dead(replace(body, outputs=outputs))
        read = {*outputs, *(x for i in part.instructions for x in i.operands)}
        more = {i for i, x in enumerate(body.inputs[:n]) if x in read} - keep
    last = n + each.attributes["n_sequences"]
    given = [i for i, x in enumerate(body.inputs) if (i in keep if i < n else x in read)]
    attributes = {**each.attributes, "n_carry": sum(i < n for i in given),
                  "n_sequences": sum(n <= i < last for i in given),
                  "body": replace(part, inputs=tuple(body.inputs[i] for i in given))}  # fmt: skip
    return replace(each, attributes=attributes, operands=tuple(each.operands[i] for i in given),
                   results=tuple(x for i, x in enumerate(each.results) if i in keep))  # fmt: skip


# --- common subexpressions -----------------------------------------------------------------

COMMUTES = {"add", "multiply", "equal", "not_equal", "bitwise_and", "bitwise_or", "bitwise_xor"}


def share_common(program: Program) -> Program:
    """Compute once what is written several times; the first one's origin stays."""
    seen: dict[tuple[Any, ...], Instruction] = {}
    stands: dict[Value, Value] = {}
    number: dict[Value, int] = {x: i for i, x in enumerate(program.inputs)}
    kept = []
    for each in program.instructions:
        each = _inside(_substitute(each, stands), share_common)
        operands = [number[x] for x in each.operands]
        key = (each.opcode, tuple(sorted(operands) if each.opcode in COMMUTES else operands),
               frozen(each.attributes))  # fmt: skip
        first = seen.setdefault(key, each)
        if first is each:
            kept.append(each)
            number.update({x: len(number) + i for i, x in enumerate(each.results)})
        else:
            stands.update(zip(each.results, first.results, strict=True))
    outputs = tuple(stands.get(x, x) for x in program.outputs)
    return replace(program, instructions=tuple(kept), outputs=outputs)


def frozen(attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return attributes as a key that tells 0.0 from -0.0 and 1 from True."""
    return tuple(
        (k, v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray)
        else (k, id(v) if isinstance(v, Program) else repr(v))
        for k, v in sorted(attributes.items())
    )  # fmt: skip


def _substitute(each: Instruction, stands: Mapping[Value, Value]) -> Instruction:
    operands = tuple(stands.get(x, x) for x in each.operands)
    return each if operands == each.operands else replace(each, operands=operands)


# --- rules, and what applies them ----------------------------------------------------------


class Rewriter:
    """One run of a table of rules over a program.

    Parameters
    ----------
    program : Program
    rules : dict of str to rule
        By opcode.

    Attributes
    ----------
    uses : Counter
        How many instructions and outputs read each value, or more where rules left dead code.
    """

    def __init__(self, program: Program, rules: Mapping[str, Rule]) -> None:
        self.program, self.rules = program, rules
        self.uses: Counter[Value] = Counter(program.outputs)
        for each in program.instructions:
            self.uses.update(each.operands)
        self.made: dict[Value, Instruction] = {}
        self.stands: dict[Value, Value] = {}
        self.matrices: dict[Any, Value] = {}  # By which axes of what are rows, and columns.
        self.origin: Any = None

    def run(self) -> Program:
        """Return the program after every rule, without what that left dead."""
        for each in self.program.instructions:
            self.origin = each.origin
            each = _inside(_substitute(each, self.stands), lambda p: Rewriter(p, self.rules).run())
            value = self._apply(each)
            if value is not None:
                self.stands[each.result] = value
                self.uses[value] += self.uses[each.result]
        instructions = dict.fromkeys(self.made.values())
        outputs = tuple(self.stands.get(x, x) for x in self.program.outputs)
        return drop_dead(replace(self.program, instructions=tuple(instructions), outputs=outputs))

    def _apply(self, each: Instruction) -> Value | None:
        rule = self.rules.get(each.opcode)
        value = rule(self, each) if rule else None
        if value is None:
            self.made.update(dict.fromkeys(each.results, each))
        return value

    def emit(self, opcode: str, *operands: Value, **attributes: Any) -> Value:
        """Write an instruction, itself simplified, and return its result."""
        (result,) = OPCODES[opcode].infer(types(operands), attributes)
        each = Instruction(opcode, operands, attributes, (Value(result),), self.origin)
        value = self._apply(each)
        return each.result if value is None else value

    def source(self, x: Value, opcode: str) -> Instruction | None:
        """Return the instruction that makes ``x`` if it is one of this opcode."""
        each = self.made.get(x)
        return each if each is not None and each.opcode == opcode else None

    def number(self, x: Value) -> Any:
        """Return the NumPy scalar that every element of ``x`` is known to be, or None."""
        each = self.made.get(x)
        while each is not None and each.opcode in ("broadcast", "reshape", "transpose"):
            each = self.made.get(each.operands[0])
        if each is None or each.opcode != "constant" or not each.attributes["value"].size:
            return None
        elements = each.attributes["value"].reshape(-1)
        first = elements[0]
        if elements.size > 1 and elements.tobytes() != first.tobytes() * elements.size:
            return None
        return first

    def is_number(self, x: Value, wanted: float) -> bool:
        """Return whether every element of ``x`` is this number, a zero with the sign given."""
        known = self.number(x)
        return known is not None and known == wanted and (
            known.dtype.kind != "f" or np.signbit(known) == np.signbit(wanted)
        )  # fmt: skip


# --- maps ----------------------------------------------------------------------------------


def _broadcast(r: Rewriter, i: Instruction) -> Value | None:
    (x,), shape, axes = i.operands, i.attributes["shape"], i.attributes["axes"]
    if inner := r.source(x, "broadcast"):
        axes = tuple(axes[a] for a in inner.attributes["axes"])
        return r.emit("broadcast", inner.operands[0], shape=shape, axes=axes)
    # Only axes of size 1 are new: no element is repeated.
    return r.emit("reshape", x, shape=shape) if x.size == i.result.size else None


def _reshape(r: Rewriter, i: Instruction) -> Value | None:
    (x,), shape = i.operands, i.attributes["shape"]
    if inner := r.source(x, "reshape"):
        return r.emit("reshape", inner.operands[0], shape=shape)
    return x if shape == x.shape else None


def _transpose(r: Rewriter, i: Instruction) -> Value | None:
    (x,), axes = i.operands, i.attributes["axes"]
    if inner := r.source(x, "transpose"):
        axes = tuple(inner.attributes["axes"][a] for a in axes)
        return r.emit("transpose", inner.operands[0], axes=axes)
    moved = [a for a in axes if x.shape[a] != 1]  # Where axes of size 1 stand is no matter.
    return r.emit("reshape", x, shape=i.result.shape) if moved == sorted(moved) else None


def _slice(r: Rewriter, i: Instruction) -> Value | None:
    (x,) = i.operands
    start, size, step = (i.attributes[k] for k in ("start", "size", "step"))
    if size == x.shape and all(s == 1 or n <= 1 for s, n in zip(step, size, strict=True)):
        return x
    inner = r.source(x, "slice")
    if inner is None or 0 in size:
        return None
    first, stride = inner.attributes["start"], inner.attributes["step"]
    return r.emit("slice", inner.operands[0], size=size,
                  start=tuple(a + b * s for a, b, s in zip(first, start, stride, strict=True)),
                  step=tuple(s * t for s, t in zip(stride, step, strict=True)))  # fmt: skip


def _pad(r: Rewriter, i: Instruction) -> Value | None:
    return i.operands[0] if i.result.shape == i.operands[0].shape else None


def _concatenate(r: Rewriter, i: Instruction) -> Value | None:
    parts = [x for x in i.operands if x.shape[i.attributes["axis"]]] or [i.operands[0]]
    if len(parts) == 1:
        return parts[0]
    if len(parts) == len(i.operands):
        return None
    return r.emit("concatenate", *parts, axis=i.attributes["axis"])


def _convert(r: Rewriter, i: Instruction) -> Value | None:
    (x,), dtype = i.operands, i.attributes["dtype"]
    if x.dtype == dtype:
        return x
    inner = r.source(x, "convert")
    if inner is None:
        return None
    first, middle = inner.operands[0].dtype, x.dtype
    exact = first.kind == "b" or (first.kind == middle.kind and first.itemsize < middle.itemsize)
    # What a float outside an integer's range becomes may depend on how wide it was.
    if not exact or (first.kind == "f" and dtype.kind in "iu"):
        return None
    return r.emit("convert", inner.operands[0], dtype=dtype)


def _first(r: Rewriter, i: Instruction) -> Value | None:
    return i.operands[0]


def _extreme(r: Rewriter, i: Instruction) -> Value | None:
    """A reduction of one element is that element.  (But the sum of -0.0 is 0.0, as NumPy's.)"""
    (x,) = i.operands
    alone = x.size == i.result.size
    return r.emit("reshape", x, shape=i.result.shape) if alone else None


MAPS: dict[str, Rule] = {
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "convert": _convert,
    "copy": _first,
    "max": _extreme,
    "min": _extreme,
    "prod": _extreme,
    "any": _extreme,
    "all": _extreme,
}

# --- arithmetic ----------------------------------------------------------------------------


def _add(r: Rewriter, i: Instruction) -> Value | None:
    x, y = i.operands
    for a, b in ((x, y), (y, x)):
        if r.is_number(b, -0.0 if a.dtype.kind == "f" else 0):
            return a
        if inner := r.source(b, "negative"):
            return r.emit("subtract", a, inner.operands[0])
    return None


def _subtract(r: Rewriter, i: Instruction) -> Value | None:
    x, y = i.operands
    if r.is_number(y, 0.0):
        return x
    inner = r.source(y, "negative")
    return r.emit("add", x, inner.operands[0]) if inner else None


def _multiply(r: Rewriter, i: Instruction) -> Value | None:
    x, y = i.operands
    for a, b in ((x, y), (y, x)):
        if r.is_number(b, 1):
            return a
        if r.is_number(b, -1):
            return r.emit("negative", a)
    return None


def _divide(r: Rewriter, i: Instruction) -> Value | None:
    x, y = i.operands
    if r.is_number(y, 1):
        return x
    known = r.number(y)
    if known is None or np.frexp(abs(known))[0] != 0.5:
        return None
    with np.errstate(over="ignore"):  # The inverse of a power of two is exact,
        inverse = known.dtype.type(1) / known  # so both ways round the same number.
    return r.emit("multiply", x, _like(r, inverse, y)) if np.isfinite(inverse) else None


def _power(r: Rewriter, i: Instruction) -> Value | None:
    """Powers that one rounding gives; a library's own may be off by one in the last place."""
    x, y = i.operands
    if r.is_number(y, 1):
        return x
    if r.is_number(y, 2):
        return r.emit("multiply", x, x)
    if x.dtype.kind == "f" and r.is_number(y, -1):
        return r.emit("divide", _like(r, x.dtype.type(1), x), x)
    return None


def _like(r: Rewriter, number: np.generic, x: Value) -> Value:
    """Return this number, once for every element of ``x``."""
    array = np.asarray(number)
    array.flags.writeable = False
    constant = r.emit("constant", value=array)
    return r.emit("broadcast", constant, shape=x.shape, axes=()) if x.shape else constant


def _negative(r: Rewriter, i: Instruction) -> Value | None:
    inner = r.source(i.operands[0], "negative")
    return inner.operands[0] if inner else None


def _invert(r: Rewriter, i: Instruction) -> Value | None:
    inner = r.source(i.operands[0], "invert")
    return inner.operands[0] if inner else None


def _select(r: Rewriter, i: Instruction) -> Value | None:
    condition, x, y = i.operands
    known = r.number(condition)
    if x is y or known is not None:
        return x if x is y or known else y
    inner = r.source(condition, "invert")
    return r.emit("select", inner.operands[0], y, x) if inner else None


ARITHMETIC: dict[str, Rule] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "negative": _negative,
    "invert": _invert,
    "select": _select,
}

# --- products of matrices ------------------------------------------------------------------


def _turns(i: Instruction) -> bool:
    """Return whether a transpose exchanges the last two axes and leaves the others."""
    n = i.result.ndim
    return n >= 2 and i.attributes["axes"] == (*range(n - 2), n - 1, n - 2)


def _made_turned(r: Rewriter, x: Value) -> Value | None:
    """Return a matrix of the same elements as ``x``, transposed, that a product reads already."""
    reshaped = r.source(x, "reshape")
    source = reshaped.operands[0] if reshaped else x
    moved = r.source(source, "transpose")
    axes = moved.attributes["axes"] if moved else range(source.ndim)
    source = moved.operands[0] if moved else source
    axes = tuple(a for a in axes if source.shape[a] != 1)
    split = next((n for n in range(len(axes) + 1)
                  if prod(source.shape[a] for a in axes[:n]) == x.shape[0]), None)  # fmt: skip
    if x.ndim != 2 or source is x or split is None:
        return None
    rows, columns = axes[:split], axes[split:]
    other = r.matrices.get((source, columns, rows))
    if other is None:
        r.matrices.setdefault((source, rows, columns), x)
    return other


def _dot(r: Rewriter, i: Instruction) -> Value | None:
    factors, turned = list(i.operands), [i.attributes["trans_a"], i.attributes["trans_b"]]
    for n, x in enumerate(i.operands):
        if other := _made_turned(r, x):
            factors[n], turned[n] = other, not turned[n]
            continue
        inner = r.source(x, "transpose")
        if inner and _turns(inner):
            factors[n], turned[n] = inner.operands[0], not turned[n]
    a, b = factors
    inner = r.source(b, "broadcast")
    whole = (b.ndim - 2, b.ndim - 1), b.shape[-2:]
    if inner and (inner.attributes["axes"], inner.operands[0].shape) == whole and not turned[0]:
        # One matrix for the whole batch: one product of all the batch's rows.
        rows = r.emit("reshape", a, shape=(prod(a.shape[:-1]), a.shape[-1]))
        y = r.emit("dot", rows, inner.operands[0], trans_a=False, trans_b=turned[1])
        return r.emit("reshape", y, shape=i.result.shape)
    if tuple(factors) == i.operands:
        return None
    return r.emit("dot", a, b, trans_a=turned[0], trans_b=turned[1])


def _transpose_of_dot(r: Rewriter, i: Instruction) -> Value | None:
    """The transpose of a b is (b transposed) (a transposed)."""
    x = i.operands[0]
    inner = r.source(x, "dot")
    if inner is None or not _turns(i) or r.uses[x] > 1:
        return None
    return r.emit("dot", *inner.operands[::-1], trans_a=not inner.attributes["trans_b"],
                  trans_b=not inner.attributes["trans_a"])  # fmt: skip


DOTS: dict[str, Rule] = {"dot": _dot, "transpose": _transpose_of_dot}


def _product(r: Rewriter, x: Value, sign: int) -> tuple[Instruction, float] | None:
    """Return the dot of which ``x`` is a multiple, and the multiple, if no one else reads it."""
    if r.uses[x] > 1:
        return None
    if inner := r.source(x, "dot"):
        return inner, float(sign)
    if inner := r.source(x, "multiply"):
        for a, b in (inner.operands, inner.operands[::-1]):
            number, dot = r.number(a), r.source(b, "dot")
            if number is not None and dot is not None and r.uses[b] == 1:
                return dot, sign * float(number)
    return None


def _accumulate(r: Rewriter, i: Instruction) -> Value | None:
    """What is added to must die here, or there is nothing to gain: it would be copied first."""
    x, y = i.operands
    if i.result.dtype.kind != "f":
        return None
    sign = 1 if i.opcode == "add" else -1
    for c, other in ((x, y), (y, x)) if sign == 1 else ((x, y),):
        found = _product(r, other, sign)
        if found is None or not (_dies(r, c) or _is_replaced(r, c, i.result)):
            continue
        dot, alpha = found
        return r.emit("dot_add", *dot.operands, c, **dot.attributes, alpha=alpha)
    return None


def _dies(r: Rewriter, c: Value) -> bool:
    """Return whether ``c`` has memory of its own that nobody reads after."""
    each = r.made.get(c)
    return each is not None and r.uses[c] == 1 and OPCODES[each.opcode].kind in ("dot", "special")


def _is_replaced(r: Rewriter, c: Value, result: Value) -> bool:
    """Return whether ``c`` is an input in whose memory this result is to be left."""
    outputs, inputs = r.program.outputs, r.program.inputs
    return any(outputs[i] is result and inputs[j] is c for i, j in r.program.donate.items())


ACCUMULATE: dict[str, Rule] = {"add": _accumulate, "subtract": _accumulate}

# --- outputs -------------------------------------------------------------------------------

ALIASES = ("reshape", "constant")
"""Opcodes whose result lies in memory that is not written when the program runs."""


def own_outputs(program: Program) -> Program:
    """Copy outputs that would otherwise share memory: with an input, a constant, or another."""
    inside = [_inside(each, own_outputs) for each in program.instructions]
    shared = set(program.inputs)
    shared.update(x for i in inside if i.opcode in ALIASES for x in i.results)
    outputs = []
    for x in program.outputs:
        if x in shared:
            copy = Instruction("copy", (x,), {}, (Value(x.type, x.name),))
            inside.append(copy)
            x = copy.result
        shared.add(x)
        outputs.append(x)
    return replace(program, instructions=tuple(inside), outputs=tuple(outputs))


def _pass(rules: Mapping[str, Rule]) -> Pass:
    return lambda program: Rewriter(program, rules).run()


PASSES: dict[str, Pass] = {
    "dead code": drop_dead,
    "maps": _pass(MAPS),
    "arithmetic": _pass(ARITHMETIC),
    "common subexpressions": share_common,
    "transposes into dot": _pass(DOTS),
    "accumulation": _pass(ACCUMULATE),
    "outputs": own_outputs,
}
"""Every pass by name, in the order in which they run."""
