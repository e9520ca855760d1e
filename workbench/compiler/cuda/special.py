"""CUDA C++ of opcodes that have a kernel of their own.

Each is one loop over independent elements; what depends on what came before (a running sum,
updates of which the last stays) runs along in one thread.  A scatter checks all indices in a
function of its own, so that nothing is written if one is outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from workbench.compiler.clike import c_type
from workbench.compiler.kernels import Kernel, operand_steps
from workbench.compiler.program import Value

THREADS = 256
MAX_GRID = 65535

Names = Mapping[Value, str]


class Step(NamedTuple):
    """How to start a function: its name, how many blocks, and how many threads in each."""

    name: str
    grid: tuple[int, int]
    block: int


Steps = list[tuple[Step, list[str]]]


def _loop(name: str, n: int, body: str) -> tuple[Step, list[str]]:
    """Return a function that runs ``body`` for every ``t`` below ``n``."""
    lines = [f"  for (long long t = blockIdx.x * (long long)blockDim.x + threadIdx.x; t < {n}; "
             "t += (long long)gridDim.x * blockDim.x) {",
             *(f"    {line}" for line in body.strip().splitlines()), "  }"]  # fmt: skip
    return Step(name, (max(1, min(-(-n // THREADS), MAX_GRID)), 1), THREADS), lines


def _position(
    kernel: Kernel, names: Names, x: Value, indices: tuple[Value, ...], fail: str
) -> list[str]:
    """Return lines that set ``at`` to the row of ``x`` that the indices at ``j`` name."""
    wrap = kernel.instructions[-1].attributes["wrap"]
    lines = ["long long at = 0;"]
    for i, n in zip(indices, x.shape, strict=False):
        index = f"{names[i]}[j]"
        if wrap:
            index = f"({index} < 0 ? {index} + {n} : {index})"
        lines += [f"{{ const long long i = {index};",
                  f"  if (i < 0 || i >= {n}) {{ {fail} }}",
                  f"  at = at * {n} + i; }}"]  # fmt: skip
    return lines


def _gather(kernel: Kernel, names: Names, number: int, shared: bool) -> Steps:
    x, *indices = kernel.instructions[-1].operands
    y = kernel.outputs[0]
    rest = max(1, prod(x.shape[len(indices) :]))
    fail = f"atomicCAS(failed, 0, {number}); continue;"
    lines = [f"const long long j = t / {rest}, r = t % {rest};",
             *_position(kernel, names, x, tuple(indices), fail),
             f"{names[y]}[t] = {names[x]}[at * {rest} + r];"]  # fmt: skip
    return [_loop(kernel.name, y.size, "\n".join(lines))]


_ATOMIC = {"f4", "f8", "i4", "u4", "i8", "u8"}


def _scatter(kernel: Kernel, names: Names, number: int, shared: bool) -> Steps:
    each = kernel.instructions[-1]
    x, _, *indices = each.operands
    y = names[kernel.outputs[0]]
    count = indices[0].size
    fail = f"atomicCAS(failed, 0, {number}); continue;"
    check = "\n".join(
        ["const long long j = t;", *_position(kernel, names, x, tuple(indices), fail)]
    )
    steps = [_loop(f"{kernel.name}_check", count, check)]
    if not shared:
        steps.append(_loop(f"{kernel.name}_copy", x.size, f"{y}[t] = {names[x]}[t];"))
    return [*steps, _scatter_unless_failed(kernel, names)]


def _scatter_unless_failed(kernel: Kernel, names: Names) -> tuple[Step, list[str]]:
    each = kernel.instructions[-1]
    x, updates, *indices = each.operands
    y = names[kernel.outputs[0]]
    count, rest = indices[0].size, prod(x.shape[len(indices) :])
    position = _position(kernel, names, x, tuple(indices), "continue;")
    position = ["if (*failed) return;", *position]
    target = f"{y}[at * {rest} + r]"
    if each.opcode == "scatter_add" and x.dtype.str[1:] in _ATOMIC:
        add = f"atomicAdd(&{target}, {names[updates]}[t]);"
        if x.dtype.str[1:] == "i8":
            add = f"atomicAdd((word *)&{target}, (word){names[updates]}[t]);"
        split = f"const long long j = t / {max(1, rest)}, r = t % {max(1, rest)};"
        lines = [split, *position, add]
        return _loop(kernel.name, count * rest, "\n".join(lines))
    equals = "+=" if each.opcode == "scatter_add" else "="
    lines = ["const long long r = t;", f"for (long long j = 0; j < {count}; ++j) {{",
             *position, f"{target} {equals} {names[updates]}[j * {rest} + r];", "}"]  # fmt: skip
    return _loop(kernel.name, rest, "\n".join(lines))


def _windows_add(kernel: Kernel, names: Names, number: int, shared: bool) -> Steps:
    each, (source, steps), (y,) = kernel.instructions[-1], operand_steps(kernel), kernel.outputs
    (x,), (n, c, h, w) = each.operands, y.shape
    oh, ow, kh, kw = x.shape[2:]
    image, channel, *inner = steps
    at = " + ".join(
        f"{i} * {step}LL" for i, step in zip(("oy", "ox", "ky", "kx"), inner, strict=True)
    )
    (sh, sw), (ph, pw) = each.attributes["stride"], each.attributes["padding"]
    body = f"""
const long long number = t / {max(1, h * w)};
const long long plane = number / {max(1, c)} * {image} + number % {max(1, c)} * {channel};
const int row = t / {max(1, w)} % {max(1, h)} + {ph}, column = t % {max(1, w)} + {pw};
{c_type(x.dtype)} total = 0;
for (int ky = row % {sh}; ky < {kh} && ky <= row; ky += {sh})
  for (int kx = column % {sw}; kx < {kw} && kx <= column; kx += {sw}) {{
    const int oy = (row - ky) / {sh}, ox = (column - kx) / {sw};
    if (oy < {oh} && ox < {ow})
      total += {names[source]}[plane + {at}];
  }}
{names[y]}[t] = total;"""
    return [_loop(kernel.name, n * c * h * w, body)]


def _along(x: Value, axis: int) -> tuple[int, int, str]:
    """Return the length of an axis, what lies behind it, and where thread ``t``'s line begins."""
    n, behind = x.shape[axis], prod(x.shape[axis + 1 :])
    line = max(1, behind)
    return n, behind, f"const long long start = t / {line} * {n * behind} + t % {line};"


def _argmax(kernel: Kernel, names: Names, number: int, shared: bool) -> Steps:
    (each,), (x,), (y,) = kernel.instructions, kernel.inputs, kernel.outputs
    n, behind, start = _along(x, each.attributes["axis"])
    body = f"""
{start}
{c_type(x.dtype)} best = {names[x]}[start];
long long found = 0;
for (long long k = 1; k < {n}; ++k) {{
  const {c_type(x.dtype)} next = {names[x]}[start + k * {behind}];
  if (best == best && (next {">" if each.opcode == "argmax" else "<"} best || next != next)) {{
    best = next;
    found = k;
  }}
}}
{names[y]}[t] = found;"""
    return [_loop(kernel.name, y.size, body)]


def _cumsum(kernel: Kernel, names: Names, number: int, shared: bool) -> Steps:
    (each,), (x,), (y,) = kernel.instructions, kernel.inputs, kernel.outputs
    n, behind, start = _along(x, each.attributes["axis"])
    body = f"""
{start}
{c_type(x.dtype)} total = 0;
for (long long k = 0; k < {n}; ++k) {{
  total += {names[x]}[start + k * {behind}];
  {names[y]}[start + k * {behind}] = total;
}}"""
    return [_loop(kernel.name, x.size // n if n else 0, body)]


SPECIAL: dict[str, Callable[[Kernel, Names, int, bool], Steps]] = {
    "gather": _gather,
    "scatter_add": _scatter,
    "scatter_set": _scatter,
    "windows_add": _windows_add,
    "argmax": _argmax,
    "argmin": _argmax,
    "cumsum": _cumsum,
}
"""By opcode: from kernel, names, number of the failure, and whether the output shares the
input's memory, to functions and their lines."""
