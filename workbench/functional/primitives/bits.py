"""Primitives on the bits of integers and booleans.

For booleans they are logic: ``&`` is *and*, ``|`` is *or*, ``^`` is *differs*, ``~`` is *not*.
"""

from __future__ import annotations

import numpy as np

from workbench.functional.core import NoRule, Primitive
from workbench.functional.primitives.elementwise import elementwise

INTEGERS = NoRule("integers and booleans have no derivative")

bitwise_and: Primitive = elementwise("bitwise_and", np.bitwise_and, INTEGERS, kinds="biu")
bitwise_or: Primitive = elementwise("bitwise_or", np.bitwise_or, INTEGERS, kinds="biu")
bitwise_xor: Primitive = elementwise("bitwise_xor", np.bitwise_xor, INTEGERS, kinds="biu")
invert: Primitive = elementwise("invert", np.invert, INTEGERS, kinds="biu")
# Shifts by as many bits as there are, or more, leave nothing, as in NumPy.  To the right,
# signed integers keep their sign and unsigned ones fill with zeros.
shift_left: Primitive = elementwise(
    "left_shift", np.left_shift, INTEGERS, kinds="iu", lower=lambda b, x, n: b.shift_left(x, n)
)
shift_right: Primitive = elementwise(
    "right_shift", np.right_shift, INTEGERS, kinds="iu", lower=lambda b, x, n: b.shift_right(x, n)
)
