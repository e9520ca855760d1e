"""Kernels as C that people read, and the base of the text for CUDA.

>>> import numpy as np
>>> from workbench.compiler import Builder, Type
>>> from workbench.compiler.fuse import fuse
>>> b = Builder("example")
>>> x, w = b.input(Type(np.dtype("f4"), (32, 64)), "x"), b.input(Type(np.dtype("f4"), (64,)), "w")
>>> (kernel,) = fuse(b.program([b.tanh(b.add(x, w))])).kernels
>>> print(text(kernel))
void k0_add_tanh(float *out0, const float *x, const float *w) {
  for (long i0 = 0; i0 < 32; ++i0) {
    for (long i1 = 0; i1 < 64; ++i1) {
      out0[i0*64 + i1] = tanhf(x[i0*64 + i1] + w[i1]);
    }
  }
}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import numpy as np

from workbench.compiler.index import Axis, Condition, Index
from workbench.compiler.kernels import Dtype, Kernel, Reduction, write
from workbench.compiler.program import Value

TYPES = {
    "f4": "float", "f8": "double", "b1": "bool", "i1": "int8_t", "i2": "int16_t", "i4": "int32_t",
    "i8": "int64_t", "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t",
}  # fmt: skip


def c_type(dtype: Dtype) -> str:
    """Return C's name of a dtype."""
    return TYPES[dtype.str[1:]]


class Text:
    """The emitter that writes C.

    Parameters
    ----------
    kernel : Kernel
        Whose inputs and outputs get names.

    Attributes
    ----------
    lines : list of str
        What has been written.
    names : dict of Value to str
        The arrays' names.
    FORMS : dict of str to str
        How to write an opcode; ``{s}`` is ``f`` for float32.  What is not here is a function
        of the opcode's name.
    """

    FORMS: ClassVar[dict[str, str]] = {
        "add": "({0} + {1})", "subtract": "({0} - {1})", "multiply": "({0} * {1})",
        "divide": "({0} / {1})", "negative": "(-{0})", "copy": "{0}", "barrier": "{0}", "equal": "({0} == {1})",
        "not_equal": "({0} != {1})", "less": "({0} < {1})", "less_equal": "({0} <= {1})",
        "bitwise_and": "({0} & {1})", "bitwise_or": "({0} | {1})", "bitwise_xor": "({0} ^ {1})",
        "select": "({0} ? {1} : {2})", "arcsin": "asin{s}({0})", "arccos": "acos{s}({0})",
        "arctan": "atan{s}({0})", "arcsinh": "asinh{s}({0})", "arccosh": "acosh{s}({0})",
        "arctanh": "atanh{s}({0})", "arctan2": "atan2{s}({0}, {1})",
    }  # fmt: skip
    LIBRARY: ClassVar[frozenset[str]] = frozenset(
        "exp expm1 log log1p sqrt sin cos tan sinh cosh tanh erf floor ceil rint trunc".split()
    )

    def __init__(self, kernel: Kernel) -> None:
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.depth, self.count = 1, 0
        for kind, values in (("in", kernel.inputs), ("out", kernel.outputs)):
            for number, x in enumerate(values):
                name = re.sub(r"\W", "_", x.name or "")
                if not re.match(r"[A-Za-z]", name) or name in self.names.values() or (
                    re.fullmatch(r"[its]\d+", name)
                ):  # fmt: skip
                    name = f"{kind}{number}"
                self.names[x] = name

    def line(self, text: str) -> None:
        """Write a line."""
        self.lines.append("  " * self.depth + text)

    def fresh(self, kind: str = "t") -> str:
        """Return a new name."""
        self.count += 1
        return f"{kind}{self.count - 1}"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write a head, and what follows in braces."""
        self.line(head + " {")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def load(self, value: Value, at: Index) -> str:
        """Read one element."""
        return f"{self.names[value]}[{at}]"

    def store(self, value: Value, at: Index, x: str) -> None:
        """Write one element."""
        self.line(f"{self.names[value]}[{at}] = {_bare(x)};")

    def constant(self, number: Any, dtype: Dtype) -> str:
        """Write a number, exactly."""
        if dtype.kind == "b":
            return "true" if number else "false"
        if dtype.kind != "f":
            text = str(int(number)) + {"i": "", "u": "u"}[dtype.kind]
            if dtype.kind == "i" and int(number) == np.iinfo(np.int64).min:
                return "INT64_MIN"  # 9223372036854775808 is no int64.
            return text
        number = dtype.type(number)
        if not np.isfinite(number):
            return "NAN" if np.isnan(number) else "INFINITY" if number > 0 else "(-INFINITY)"
        text = np.format_float_scientific(number, trim="0").replace("e+00", "")
        if 1e-3 <= abs(number) < 1e6 or number == 0:
            text = np.format_float_positional(number, trim="0")
        text += "f" if dtype.itemsize == 4 else ""
        return f"({text})" if text.startswith("-") else text

    def position(self, at: Index, dtype: Dtype) -> str:
        """Make a number of an index."""
        return f"({c_type(dtype)})({at})"

    def op(self, opcode: str, operands: Sequence[str], given: Dtype, result: Dtype) -> str:
        """Apply an opcode."""
        if opcode == "convert":
            if result.kind == "b":
                return f"({operands[0]} != 0)"
            return f"({c_type(result)}){operands[0]}"
        if opcode == "invert":
            return ("!" if result.kind == "b" else "~") + operands[0]
        if opcode == "absolute" and given.kind == "f":
            opcode = "fabs"
        single = "f" if given == np.float32 else ""
        form = self.FORMS.get(opcode)
        if form is None:
            suffix = single if opcode in self.LIBRARY or opcode == "fabs" else ""
            return f"{opcode}{suffix}({', '.join(map(_bare, operands))})"
        return form.format(*operands, s=single)

    def let(self, x: str, dtype: Dtype) -> str:
        """Name an expression, unless it is short already."""
        if re.fullmatch(r"\w+|[\d.+\-ef()]+", x):
            return x
        name = self.fresh()
        self.line(f"const {c_type(dtype)} {name} = {_bare(x)};")
        return name

    def guarded(
        self, conditions: Sequence[Condition], then: Callable[[], str],
        otherwise: Callable[[], str], dtype: Dtype,
    ) -> str:  # fmt: skip
        """Write a conditional expression, or a statement where its parts need some."""
        tests = []
        for at, low, high in conditions:
            least, greatest = at.bounds()
            tests += [f"{at} >= {low}"] * (least < low) + [f"{at} < {high}"] * (greatest >= high)
        test, mark, name = " && ".join(tests), len(self.lines), self.fresh()
        self.depth += 1
        yes = then()
        middle = len(self.lines)
        no = otherwise()
        self.depth -= 1
        if len(self.lines) == mark:
            return f"({test} ? {yes} : {no})"
        first, second = self.lines[mark:middle], self.lines[middle:]
        del self.lines[mark:]
        self.line(f"{c_type(dtype)} {name};")
        self.line(f"if ({test}) {{")
        self.lines += [*first, f"{'  ' * self.depth}  {name} = {yes};"]
        self.line("} else {")
        self.lines += [*second, f"{'  ' * self.depth}  {name} = {no};"]
        self.line("}")
        return name

    @contextmanager
    def loops(self, axes: Sequence[Axis]) -> Iterator[None]:
        """Write nested loops."""
        with ExitStack() as stack:
            for a in axes:
                stack.enter_context(self.block(f"for (long {a} = 0; {a} < {a.size}; ++{a})"))
            yield

    parallel = loops

    def reduce(
        self, reductions: Sequence[Reduction], axes: Sequence[Axis], tile: Axis | None,
        body: Callable[[], Sequence[str]], then: Callable[[Sequence[str]], None],
    ) -> None:  # fmt: skip
        """Write accumulators, the loops that fill them, and what is done with them."""
        tiles = [tile] if tile else []
        names = [self.fresh("s") for _ in reductions]
        places = [f"{name}[{tile}]" if tile else name for name in names]
        starts = [self.constant(r.identity, r.dtype) for r in reductions]
        for r, name, start in zip(reductions, names, starts, strict=True):
            size = f"[{tile.size}]" if tile else f" = {start}"
            self.line(f"{c_type(r.dtype)} {name}{size};")
        if tile:
            with self.loops(tiles):
                for place, start in zip(places, starts, strict=True):
                    self.line(f"{place} = {start};")
        with self.loops([*axes, *tiles]):
            for r, place, x in zip(reductions, places, body(), strict=True):
                self.line(f"{place} = {_bare(self.op(r.combine, [place, x], r.dtype, r.dtype))};")
        with self.loops(tiles):
            then(places)

    def scratch(self, value: Value, size: int) -> None:
        """Declare a row."""
        self.names[value] = self.fresh("row")
        self.line(f"{c_type(value.dtype)} {self.names[value]}[{size}];")


def text(kernel: Kernel) -> str:
    """Return a kernel as C; one that no loop describes as the instruction it runs."""
    emitter = Text(kernel)
    parameters = [*(f"{c_type(y.dtype)} *{emitter.names[y]}" for y in kernel.outputs),
                  *(f"const {c_type(x.dtype)} *{emitter.names[x]}" for x in kernel.inputs)]  # fmt: skip
    if kernel.kind in ("loop", "reduce"):
        write(kernel, emitter)
    else:
        for each in kernel.instructions:
            given = [str(v) if not isinstance(v, np.ndarray) else "..."
                     for v in each.attributes.values()]  # fmt: skip
            names = [emitter.names.get(x, "?") for x in each.operands]
            emitter.line(f"{each.opcode}({', '.join([*names, *map(_short, given)])});")
    return "\n".join([f"void {kernel.name}({', '.join(parameters)}) {{", *emitter.lines, "}"])


def _bare(x: str) -> str:
    """Return an expression without the parentheses around all of it."""
    depth = 0
    for i, letter in enumerate(x):
        depth += (letter == "(") - (letter == ")")
        if not depth and i < len(x) - 1:
            return x
    return x[1:-1] if x[:1] == "(" else x


def _short(text: str) -> str:
    return text if len(text) < 40 else text[:37] + "..."
