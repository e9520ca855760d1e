"""Kernels as CUDA C++: the C that people read, its loops shared out among threads.

A kernel of independent elements runs one thread an element, in a grid-stride loop (Harris,
"CUDA Pro Tip: Write Flexible Kernels with Grid-Stride Loops", 2013).  A kernel that reduces
rows runs one block a row: each thread combines every BLOCK-th element, and the threads'
results are combined in shared memory, half as many at each step.  A kernel that reduces
columns runs one block of 32 columns, so that neighbouring threads read neighbouring
elements, and divides the rows among the block's lanes.

Sums of float32 are carried in float64 within a kernel: the memory is what takes the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np

from workbench.compiler.clike import Text, c_type
from workbench.compiler.cuda.special import SPECIAL, Step
from workbench.compiler.index import Axis, Index, squeeze
from workbench.compiler.kernels import (
    Dtype,
    Kernel,
    Reduction,
    is_reduction,
    reduced_axes,
    write,
)
from workbench.compiler.program import Value

BLOCK = 256
COLUMNS = 32
"""Threads of a block; and columns of one that reduces columns, a warp wide."""

MAX_GRID = 65535

PRELUDE = """\
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
#ifndef INT64_MIN
#define INT64_MIN (-9223372036854775807LL - 1)
#endif

typedef unsigned long long word;

template <typename T> __device__ bool is_nan(T x) { return x != x; }
template <typename T> __device__ bool is_inf(T x) { return x == x && x - x != x - x; }
template <typename T> __device__ T absolute(T x) { return x < 0 ? (T)(0 - (word)x) : x; }
template <typename T> __device__ T sign(T x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
template <typename T> __device__ T maximum(T x, T y) { return x >= y || x != x ? x : y; }
template <typename T> __device__ T minimum(T x, T y) { return x <= y || x != x ? x : y; }

template <typename T> __device__ T sigmoid(T x) {
  T e = exp(-fabs(x));
  return x != x ? x : (x >= 0 ? (T)1 : e) / (1 + e);
}

template <typename T> __device__ T power(T x, T n) {
  word y = 1;
  for (word z = (word)x; n > 0; n /= 2, z *= z) if (n % 2) y *= z;
  return (T)y;
}
template <> __device__ float power<float>(float x, float y) { return powf(x, y); }
template <> __device__ double power<double>(double x, double y) { return pow(x, y); }

// Rounds down; of whole numbers, what is divided by 0 is 0.
template <typename T> __device__ T floor_divide(T x, T y) {
  if (y == 0) return 0;
  if (y < 0 && y == (T)-1) return (T)(0 - (word)x);  // The least number has no opposite.
  return x / y - (x % y != 0 && (x % y < 0) != (y < 0));
}
template <typename T> __device__ T modulo(T x, T y) {
  if (y == 0 || (y < 0 && y == (T)-1)) return 0;
  T rest = x % y;
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
template <typename T> __device__ T float_modulo(T x, T y) {
  T rest = fmod(x, y);
  if (y == 0) return rest;
  if (rest == 0) return copysign((T)0, y);
  return (rest < 0) != (y < 0) ? rest + y : rest;
}
template <typename T> __device__ T float_floor_divide(T x, T y) {
  if (y == 0) return x / y;
  T rest = fmod(x, y), quotient = (x - rest) / y;
  if (rest != 0 && (rest < 0) != (y < 0)) quotient -= 1;
  if (quotient == 0) return copysign((T)0, x / y);
  T whole = floor(quotient);
  return quotient - whole > (T)0.5 ? whole + 1 : whole;
}
template <> __device__ float modulo<float>(float x, float y) { return float_modulo(x, y); }
template <> __device__ double modulo<double>(double x, double y) { return float_modulo(x, y); }
template <> __device__ float floor_divide<float>(float x, float y) {
  return float_floor_divide(x, y);
}
template <> __device__ double floor_divide<double>(double x, double y) {
  return float_floor_divide(x, y);
}

template <typename T> __device__ T shift_left(T x, T n) {
  return n >= 0 && n < (T)(8 * sizeof(T)) ? (T)((word)x << n) : 0;
}
template <typename T> __device__ T shift_right(T x, T n) {
  return n >= 0 && n < (T)(8 * sizeof(T)) ? (T)(x >> n) : x < 0 ? (T)-1 : 0;
}

__device__ word random_bits(word key, word counter) {
  word z = key + counter * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}
"""

_TEMPLATES = {
    "isnan": "is_nan", "isinf": "is_inf", "remainder": "modulo",
    **{name: name for name in ("sign maximum minimum sigmoid power floor_divide shift_left "
                               "shift_right").split()},
}  # fmt: skip
_WRAPS = {"add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}",
          "negative": "0 - {0}", "invert": "~{0}"}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A kernel's text, and how to start the functions in it.

    Attributes
    ----------
    text : str
    steps : tuple of Step
        Functions in order; none for kernels that run no code of ours.
    """

    text: str
    steps: tuple[Step, ...]


def cuda_source(kernel: Kernel, number: int = 1, shared: frozenset[Value] = frozenset()) -> Source:
    """Return a kernel as CUDA C++.

    Parameters
    ----------
    kernel : Kernel
    number : int
        What the kernel leaves in ``*failed`` if an index is outside.
    shared : frozenset of Value
        Inputs and outputs that lie in one memory: they get no ``__restrict__``.

    Returns
    -------
    Source
        Each function takes the kernel's outputs, its inputs, and ``int *failed``.  Kernels of
        kind ``"control"``, products and calls of the host have no text.
    """
    opcode = kernel.instructions[-1].opcode
    emitter = Cuda(kernel)
    if kernel.kind in ("loop", "reduce"):
        write(kernel, emitter)
        steps = [(Step(kernel.name, emitter.grid, emitter.threads), emitter.lines)]
    elif opcode in SPECIAL:
        steps = SPECIAL[opcode](kernel, emitter.names, number, bool(shared))
    else:
        return Source("", ())
    parameters = []
    for values, qualifier in ((kernel.outputs, ""), (kernel.inputs, "const ")):
        for x in values:
            restrict = "" if x in shared else "__restrict__ "
            parameters.append(f"{qualifier}{cuda_type(x.dtype)} *{restrict}{emitter.names[x]}")
    head = f"({', '.join([*parameters, 'int *failed'])}) {{"
    parts = []
    for step, lines in steps:
        bounds = f"__launch_bounds__({step.block}) "
        parts += [f'extern "C" __global__ void {bounds}{step.name}{head}', *lines, "}", ""]
    return Source(_spelled("\n".join(parts)), tuple(step for step, _ in steps))


def cuda_type(dtype: Dtype) -> str:
    """Return CUDA's name of a dtype, one that needs no header."""
    return _spelled(c_type(dtype))


def _spelled(text: str) -> str:
    for bits, name in ((8, "signed char"), (16, "short"), (32, "int"), (64, "long long")):
        text = re.sub(rf"\bint{bits}_t\b", name, text)
        text = re.sub(rf"\buint{bits}_t\b", "unsigned " + name.replace("signed ", ""), text)
    return text


class Cuda(Text):
    """The emitter that writes CUDA C++.

    Attributes
    ----------
    grid : (int, int)
        How many blocks the kernel is best started with.
    threads : int
        How many each block has; the text relies on it.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        # No name of the user's may be a word of C++ or a function's of ours.
        self.names = {x: name if re.fullmatch(r"(in|out)\d+", name) else f"{name}_"
                      for x, name in self.names.items()}  # fmt: skip
        self.kernel, self.grid, self.threads = kernel, (1, 1), BLOCK
        self.whole_row = kernel.kind == "reduce"
        largest = max((x.size for x in (*kernel.inputs, *kernel.outputs)), default=0)
        self.int = "int" if max(largest, prod(kernel.space)) < 2**30 else "long long"
        reductions = [each for each in kernel.instructions if is_reduction(each)]
        if reductions:
            sizes, reduced = squeeze(kernel.space), reduced_axes(reductions[0])
            row = prod(sizes[a] for a in reduced)
            if len(sizes) - 1 in reduced:
                self.threads = min(max(32, 1 << (row - 1).bit_length()), 1024) if row else 32

    def op(self, opcode: str, operands: Sequence[str], given: Dtype, result: Dtype) -> str:
        """Apply an opcode; whole numbers wrap around, whatever C makes of their sums."""
        if result.kind in "iu" and opcode in _WRAPS:
            wide = "word" if result.itemsize == 8 else "unsigned"
            parts = [f"({wide}){x}" for x in operands]
            return f"(({cuda_type(result)})({_WRAPS[opcode].format(*parts)}))"
        if opcode == "absolute" and given.kind != "f":
            return f"absolute<{cuda_type(given)}>({operands[0]})"
        if opcode in _TEMPLATES:
            return f"{_TEMPLATES[opcode]}<{cuda_type(given)}>({', '.join(operands)})"
        if opcode == "convert" and result.kind != "b":
            return f"(({cuda_type(result)}){operands[0]})"
        return super().op(opcode, operands, given, result)

    def load(self, value: Value, at: Index) -> str:
        """Read one element; of a row between, what this thread itself left there."""
        if value in self.kernel.inputs or value in self.kernel.outputs:
            return super().load(value, at)
        return f"{self.names[value]}[({at}) / {self.threads}]"

    def store(self, value: Value, at: Index, x: str) -> None:
        """Write one element; what a whole row makes, one thread writes when all have read."""
        if self.whole_row:
            self.line("__syncthreads();")
            self.line(f"if (threadIdx.x == 0) {self.names[value]}[{at}] = {x};")
        elif value in self.kernel.outputs:
            super().store(value, at, x)
        else:
            self.line(f"{self.names[value]}[({at}) / {self.threads}] = {x};")

    def scratch(self, value: Value, size: int) -> None:
        """Declare each thread's part of a row."""
        self.names[value] = self.fresh("row")
        length = -(-size // self.threads)
        self.line(f"{cuda_type(value.dtype)} {self.names[value]}[{length}];")

    @contextmanager
    def shared_loop(self, start: str, step: str, axes: Sequence[Axis]) -> Iterator[None]:
        """Write one loop over all elements of some axes, from a thread's first by its step."""
        n = prod(a.size for a in axes)
        name = str(axes[0]) if len(axes) == 1 else self.fresh("n")
        with self.block(f"for ({self.int} {name} = {start}; {name} < {n}; {name} += {step})"):
            for a, text in _positions(name, axes) if len(axes) > 1 else ():
                self.line(f"const {self.int} {a} = {text};")
            yield

    @contextmanager
    def parallel(self, axes: Sequence[Axis]) -> Iterator[None]:
        """Open a loop over elements, or over rows, that this thread or block takes part in."""
        n = prod(a.size for a in axes)
        if self.whole_row:
            self.grid = (min(n, MAX_GRID), 1)
            if not axes:
                yield
                return
            with self.shared_loop("blockIdx.x", "gridDim.x", axes):
                yield
            return
        self.grid = (max(1, min(-(-n // BLOCK), MAX_GRID)), 1)
        if not axes:
            with self.block("if (blockIdx.x == 0 && threadIdx.x == 0)"):
                yield
            return
        first = f"blockIdx.x * ({self.int})blockDim.x + threadIdx.x"
        with self.shared_loop(first, f"({self.int})gridDim.x * blockDim.x", axes):
            yield

    @contextmanager
    def loops(self, axes: Sequence[Axis]) -> Iterator[None]:
        """Open a loop over a row's elements, of which each thread takes every BLOCK-th."""
        with self.shared_loop("threadIdx.x", str(self.threads), axes), self._in_row():
            yield

    @contextmanager
    def _in_row(self) -> Iterator[None]:
        self.whole_row = False
        yield
        self.whole_row = True

    def reduce(
        self, reductions: Sequence[Reduction], axes: Sequence[Axis], tile: Axis | None,
        body: Callable[[], Sequence[str]], then: Callable[[Sequence[str]], None],
    ) -> None:  # fmt: skip
        """Combine in each thread, then over the threads of the block."""
        if tile is None:
            places = self._declare(reductions)
            with self.loops(axes):
                self._combine(reductions, places, body())
            then(self._tree(reductions, places, 1))
            return
        self.grid = (self.grid[0], min(-(-tile.size // COLUMNS), MAX_GRID))
        with self.block(f"for ({self.int} tile = blockIdx.y * {COLUMNS}; tile < {tile.size}; "
                           f"tile += gridDim.y * {COLUMNS})"):  # fmt: skip
            self.line(f"const {self.int} {tile} = tile + threadIdx.x % {COLUMNS};")
            places = self._declare(reductions)
            lane, lanes = f"threadIdx.x / {COLUMNS}", str(self.threads // COLUMNS)
            with (
                self.block(f"if ({tile} < {tile.size})"),
                self.shared_loop(lane, lanes, axes), self._in_row(),
            ):  # fmt: skip
                self._combine(reductions, places, body())
            results = self._tree(reductions, places, COLUMNS)
            with self.block(f"if (threadIdx.x < {COLUMNS} && {tile} < {tile.size})"), \
                    self._in_row():  # fmt: skip
                then(results)

    def _declare(self, reductions: Sequence[Reduction]) -> list[str]:
        places = [self.fresh("s") for _ in reductions]
        for r, place in zip(reductions, places, strict=True):
            start = self.constant(r.identity, r.dtype)
            self.line(f"{_carried(r)} {place} = {start};")
        return places

    def _combine(
        self, reductions: Sequence[Reduction], places: Sequence[str], values: Sequence[str]
    ) -> None:
        for r, place, x in zip(reductions, places, values, strict=True):
            self.line(f"{place} = {self.op(r.combine, [place, x], r.dtype, r.dtype)};")

    def _tree(
        self, reductions: Sequence[Reduction], places: Sequence[str], least: int
    ) -> list[str]:
        """Combine what the threads have, halving their number down to ``least``."""
        results = []
        for r, place in zip(reductions, places, strict=True):
            kind, memory = _carried(r), f"shared_{place}"
            self.line(f"__shared__ {kind} {memory}[{self.threads}];")
            self.line(f"{memory}[threadIdx.x] = {place};")
            self.line("__syncthreads();")
            with self.block(f"for (int half = {self.threads // 2}; half >= {least}; half /= 2)"):
                wide = np.dtype(np.float64) if kind == "double" else r.dtype
                pair = [f"{memory}[threadIdx.x]", f"{memory}[threadIdx.x + half]"]
                self.line(
                    f"if (threadIdx.x < half) {pair[0]} = {self.op(r.combine, pair, wide, wide)};"
                )
                self.line("__syncthreads();")
            results.append(self.fresh())
            own = "0" if least == 1 else f"threadIdx.x % {least}"
            self.line(
                f"const {c_type(r.dtype)} {results[-1]} = ({c_type(r.dtype)}){memory}[{own}];"
            )
            self.line("__syncthreads();  // Before anyone writes there again.")
        return results


def _carried(r: Reduction) -> str:
    single = r.opcode == "sum" and r.dtype == np.float32
    return "double" if single else cuda_type(r.dtype)


def _positions(name: str, axes: Sequence[Axis]) -> Iterator[tuple[Axis, str]]:
    """Yield each axis, and its position when ``name`` counts the elements of all."""
    after = 1
    for a in reversed(axes):
        text = name if after == 1 else f"{name} / {after}"
        yield a, text if a is axes[0] else f"{text} % {a.size}"
        after *= a.size


def program_text(sources: Sequence[Source]) -> str:
    """Return one module's text: what kernels share, and the kernels."""
    return PRELUDE + "\n" + "\n".join(each.text for each in sources if each.text)
