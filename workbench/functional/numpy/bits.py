"""Logic, and functions on the bits of integers, with NumPy's names."""

from __future__ import annotations

from workbench.functional.core import Primitive, Value
from workbench.functional.numpy.elementwise import Binary, binary, document, unary
from workbench.functional.numpy.promotion import truth
from workbench.functional.primitives import bits as ops

__all__ = [
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "invert", "left_shift", "logical_and", "logical_not",
    "logical_or", "logical_xor", "right_shift",
]  # fmt: skip

bitwise_and = binary(ops.bitwise_and, "Return the bits that x and y both have.")
bitwise_or = binary(ops.bitwise_or, "Return the bits that x or y has.")
bitwise_xor = binary(ops.bitwise_xor, "Return the bits in which x and y differ.")
invert = unary(ops.invert, "Return the bits that x does not have.", floating=False)
left_shift = binary(ops.shift_left, "Return x with its bits moved up by y places.")
right_shift = binary(ops.shift_right, "Return x with its bits moved down by y places.")
bitwise_not = bitwise_invert = invert
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift


def _logical(name: str, primitive: Primitive, says: str) -> Binary:
    def function(x: Value, y: Value) -> Value:
        return primitive(truth(name, x), truth(name, y))

    return document(function, name, "x, y", says, "boolean: no gradient passes")


logical_and = _logical("logical_and", ops.bitwise_and, "Return whether x and y both are not 0.")
logical_or = _logical("logical_or", ops.bitwise_or, "Return whether x or y is not 0.")
logical_xor = _logical("logical_xor", ops.bitwise_xor, "Return whether just one of x, y is not 0.")


def logical_not(x: Value) -> Value:
    """Return whether x is 0, elementwise."""
    return ops.invert(truth("logical_not", x))
