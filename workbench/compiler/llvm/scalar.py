"""Elementwise opcodes on scalars, by NumPy's rules, as LLVM instructions.

Free of branches wherever that is possible, so that the loop they stand in vectorises.  None
assumes that numbers are finite.  Functions without a polynomial in ``math.py`` are calls of
the C library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from workbench.compiler.kernels import Dtype
from workbench.compiler.llvm.dot import I64, declare, element
from workbench.compiler.llvm.math import MATH

BOOL = ir.IntType(1)

# Those of the second line LLVM turns into calls, but knows that they only compute.
INTRINSICS = {name: name for name in "sqrt floor ceil trunc rint maximum minimum".split()} | {
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "arctan2": "atan2", "power": "pow",
}  # fmt: skip
LIBRARY = {"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}
COMPARE = {"equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<="}


def register(dtype: Dtype) -> ir.Type:
    """Return the type of a scalar in a register: of one bit for a bool."""
    return BOOL if dtype.kind == "b" else element(dtype)


def number(value: Any, dtype: Dtype) -> ir.Constant:
    """Return a number as a constant."""
    if dtype.kind == "f":
        return ir.Constant(element(dtype), float(dtype.type(value)))
    return ir.Constant(register(dtype), int(value))


def apply(
    b: ir.IRBuilder, opcode: str, operands: Sequence[ir.Value], given: Dtype, result: Dtype
) -> ir.Value:
    """Write the instructions of an elementwise opcode.

    Parameters
    ----------
    b : ir.IRBuilder
    opcode : str
    operands : sequence of ir.Value
    given, result : dtype
        Of the (last) operand and of the result.
    """
    if opcode in ("copy", "barrier"):
        return operands[0]
    if opcode == "select":
        return b.select(*operands)
    if opcode == "convert":
        return _convert(b, operands[0], given, result)
    if opcode in COMPARE:
        x, y = operands
        return _compare(b, COMPARE[opcode], x, y, given)
    table = _FLOAT if given.kind == "f" else _WHOLE
    if opcode in table:
        return (
            table[opcode](b, *operands) if given.kind == "f" else table[opcode](b, *operands, given)
        )
    key = (opcode, given.str[1:])
    if key in MATH:
        return MATH[key](b, operands[0])
    if opcode in INTRINSICS:
        return _intrinsic(b, INTRINSICS[opcode], *operands)
    return _library(b, LIBRARY[opcode], *operands)


def _intrinsic(b: ir.IRBuilder, name: str, *operands: ir.Value) -> ir.Value:
    kind = operands[0].type
    full = f"llvm.{name}.{kind.intrinsic_name}"
    return b.call(declare(b.module, full, kind, [kind] * len(operands)), operands)


def _library(b: ir.IRBuilder, name: str, *operands: ir.Value) -> ir.Value:
    kind = operands[0].type
    suffix = "f" if isinstance(kind, ir.FloatType) else ""
    function = declare(b.module, name + suffix, kind, [kind] * len(operands))
    function.attributes.add("nounwind")
    function.attributes.add("readnone")  # So that it leaves loops it does not depend on.
    return b.call(function, operands)


def _compare(b: ir.IRBuilder, sign: str, x: ir.Value, y: ir.Value, dtype: Dtype) -> ir.Value:
    if dtype.kind == "f":
        return (b.fcmp_unordered if sign == "!=" else b.fcmp_ordered)(sign, x, y)
    return (b.icmp_signed if dtype.kind == "i" else b.icmp_unsigned)(sign, x, y)


def _convert(b: ir.IRBuilder, x: ir.Value, given: Dtype, result: Dtype) -> ir.Value:
    kind = register(result)
    if x.type == kind:
        return x
    if result.kind == "b":
        zero = number(0, given)
        return (
            b.fcmp_unordered("!=", x, zero) if given.kind == "f" else b.icmp_signed("!=", x, zero)
        )
    if given.kind == "f":
        if result.kind == "f":
            return (b.fptrunc if result.itemsize < given.itemsize else b.fpext)(x, kind)
        # Saturating: out of range, C leaves the result (and LLVM all that follows) undefined.
        way = "fptosi" if result.kind == "i" else "fptoui"
        name = f"llvm.{way}.sat.i{kind.width}.f{8 * given.itemsize}"
        return b.call(declare(b.module, name, kind, [x.type]), [x])
    if result.kind == "f":
        return (b.sitofp if given.kind == "i" else b.uitofp)(x, kind)
    if kind.width < x.type.width:
        return b.trunc(x, kind)
    return (b.sext if given.kind == "i" else b.zext)(x, kind)


# --- floating point ------------------------------------------------------------------------


def _real(x: ir.Value, value: float) -> ir.Constant:
    return ir.Constant(x.type, value)


def _sign(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    up = b.uitofp(b.fcmp_ordered(">", x, _real(x, 0.0)), x.type)
    down = b.uitofp(b.fcmp_ordered("<", x, _real(x, 0.0)), x.type)
    return b.select(b.fcmp_unordered("uno", x, x), x, b.fsub(up, down))


def _divmod(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return quotient and remainder as NumPy: the remainder is exact, with the divisor's sign."""
    zero, one = _real(x, 0.0), _real(x, 1.0)
    rest = b.frem(x, y)
    wrong = b.and_(b.fcmp_unordered("!=", rest, zero),
                   b.xor(b.fcmp_ordered("<", rest, zero), b.fcmp_ordered("<", y, zero)))  # fmt: skip
    signed = b.select(wrong, b.fadd(rest, y), rest)
    quotient = b.fdiv(b.fsub(x, rest), y)
    quotient = b.select(wrong, b.fsub(quotient, one), quotient)
    whole = _intrinsic(b, "floor", quotient)
    half = b.fcmp_ordered(">", b.fsub(quotient, whole), _real(x, 0.5))
    whole = b.select(half, b.fadd(whole, one), whole)
    ratio = b.fdiv(x, y)
    whole = b.select(
        b.fcmp_ordered("==", quotient, zero), _intrinsic(b, "copysign", zero, ratio), whole
    )
    whole = b.select(b.fcmp_ordered("==", y, zero), ratio, whole)
    signed = b.select(b.fcmp_ordered("==", rest, zero), _intrinsic(b, "copysign", zero, y), signed)
    return whole, signed


_FLOAT: dict[str, Callable[..., ir.Value]] = {
    "add": lambda b, x, y: b.fadd(x, y),
    "subtract": lambda b, x, y: b.fsub(x, y),
    "multiply": lambda b, x, y: b.fmul(x, y),
    "divide": lambda b, x, y: b.fdiv(x, y),
    "negative": lambda b, x: b.fneg(x),
    "absolute": lambda b, x: _intrinsic(b, "fabs", x),
    "sign": _sign,
    "floor_divide": lambda b, x, y: _divmod(b, x, y)[0],
    "remainder": lambda b, x, y: _divmod(b, x, y)[1],
    "isnan": lambda b, x: b.fcmp_unordered("uno", x, x),
    "isinf": lambda b, x: b.fcmp_ordered("==", _intrinsic(b, "fabs", x), _real(x, np.inf)),
}

# --- whole numbers and bools ---------------------------------------------------------------


def _whole(x: ir.Value, value: int) -> ir.Constant:
    return ir.Constant(x.type, value)


def _negative_if(b: ir.IRBuilder, condition: ir.Value, x: ir.Value) -> ir.Value:
    return b.select(condition, b.sub(_whole(x, 0), x), x)


def _below_zero(b: ir.IRBuilder, x: ir.Value, dtype: Dtype) -> ir.Value:
    return b.icmp_signed("<", x, _whole(x, 0)) if dtype.kind == "i" else BOOL(0)


def _divided(b: ir.IRBuilder, x: ir.Value, y: ir.Value, dtype: Dtype) -> tuple[ir.Value, ir.Value]:
    """Return quotient, rounded down, and remainder; by 0 both are 0."""
    zero, one = _whole(x, 0), _whole(x, 1)
    by_zero = b.icmp_signed("==", y, zero)
    if dtype.kind == "u":
        safe = b.select(by_zero, one, y)
        quotient, rest = b.udiv(x, safe), b.urem(x, safe)
    else:
        # The machine traps where the smallest number is divided by -1; by -1 is negation.
        by_minus = b.icmp_signed("==", y, _whole(x, -1))
        safe = b.select(b.or_(by_zero, by_minus), one, y)
        quotient, rest = b.sdiv(x, safe), b.srem(x, safe)
        down = b.and_(b.icmp_signed("!=", rest, zero), b.icmp_signed("<", b.xor(rest, y), zero))
        quotient = b.select(down, b.sub(quotient, one), quotient)
        rest = b.select(down, b.add(rest, y), rest)
        quotient = _negative_if(b, by_minus, quotient)
    return b.select(by_zero, zero, quotient), b.select(by_zero, zero, rest)


def _power(b: ir.IRBuilder, x: ir.Value, y: ir.Value, dtype: Dtype) -> ir.Value:
    """Call a function, made once a module, that squares as often as the exponent has bits."""
    name = f"power_{dtype.str[1:]}"
    if name not in b.module.globals:
        function = declare(b.module, name, x.type, [x.type, x.type])
        function.linkage = "internal"
        start, loop, end = (function.append_basic_block(n) for n in ("start", "loop", "end"))
        body = ir.IRBuilder(start)
        body.cbranch(body.icmp_signed("==", function.args[1], _whole(x, 0)), end, loop)
        body.position_at_end(loop)
        result, base, left = (body.phi(x.type) for _ in range(3))
        odd = body.trunc(left, BOOL)
        product = body.select(odd, body.mul(result, base), result)
        square, half = body.mul(base, base), body.lshr(left, _whole(x, 1))
        for phi, first, following in ((result, _whole(x, 1), product), (base, function.args[0], square),
                                      (left, function.args[1], half)):  # fmt: skip
            phi.add_incoming(first, start)
            phi.add_incoming(following, loop)
        body.cbranch(body.icmp_signed("==", half, _whole(x, 0)), end, loop)
        body.position_at_end(end)
        last = body.phi(x.type)
        last.add_incoming(_whole(x, 1), start)
        last.add_incoming(product, loop)
        body.ret(last)
    return b.call(b.module.globals[name], [x, y])


def _shift(
    b: ir.IRBuilder, way: Callable[..., ir.Value], x: ir.Value, y: ir.Value, beyond: ir.Value
) -> ir.Value:
    inside = b.icmp_unsigned("<", y, _whole(x, x.type.width))
    return b.select(inside, way(x, b.select(inside, y, _whole(x, 0))), beyond)


def _shift_right(b: ir.IRBuilder, x: ir.Value, y: ir.Value, dtype: Dtype) -> ir.Value:
    beyond = b.select(_below_zero(b, x, dtype), _whole(x, -1), _whole(x, 0))
    return _shift(b, b.ashr if dtype.kind == "i" else b.lshr, x, y, beyond)


def _whole_sign(b: ir.IRBuilder, x: ir.Value, dtype: Dtype) -> ir.Value:
    up = b.zext(_compare(b, "<", _whole(x, 0), x, dtype), x.type)
    return b.sub(up, b.zext(_below_zero(b, x, dtype), x.type))


def _random_bits(b: ir.IRBuilder, key: ir.Value, counter: ir.Value, dtype: Dtype) -> ir.Value:
    z = b.add(key, b.mul(counter, I64(0x9E3779B97F4A7C15)))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = b.mul(b.xor(z, b.lshr(z, I64(shift))), I64(factor))
    return b.xor(z, b.lshr(z, I64(31)))


def _choose(sign: str) -> Callable[..., ir.Value]:
    return lambda b, x, y, dtype: b.select(_compare(b, sign, x, y, dtype), x, y)


_WHOLE: dict[str, Callable[..., ir.Value]] = {
    "add": lambda b, x, y, dtype: b.add(x, y),
    "subtract": lambda b, x, y, dtype: b.sub(x, y),
    "multiply": lambda b, x, y, dtype: b.mul(x, y),
    "negative": lambda b, x, dtype: b.sub(_whole(x, 0), x),
    "absolute": lambda b, x, dtype: _negative_if(b, _below_zero(b, x, dtype), x),
    "sign": _whole_sign,
    "maximum": _choose(">"),
    "minimum": _choose("<"),
    "floor_divide": lambda b, x, y, dtype: _divided(b, x, y, dtype)[0],
    "remainder": lambda b, x, y, dtype: _divided(b, x, y, dtype)[1],
    "power": _power,
    "invert": lambda b, x, dtype: b.not_(x),
    "bitwise_and": lambda b, x, y, dtype: b.and_(x, y),
    "bitwise_or": lambda b, x, y, dtype: b.or_(x, y),
    "bitwise_xor": lambda b, x, y, dtype: b.xor(x, y),
    "shift_left": lambda b, x, y, dtype: _shift(b, b.shl, x, y, _whole(x, 0)),
    "shift_right": _shift_right,
    "random_bits": _random_bits,
}
