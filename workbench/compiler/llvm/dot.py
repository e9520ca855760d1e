"""Matrix products: tiles of vector registers for small ones, a call of BLAS for the rest.

A BLAS copies its factors into an order of its own before it multiplies, and looks at the
number of threads; a product of 8 x 16 by 16 x 16 is done sooner than that.  The tiles are those
of Goto and van de Geijn, *Anatomy of high-performance matrix multiplication* (ACM TOMS 34,
2008), without their outer loops: some rows by some vectors of columns stay in registers while
``k`` runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from workbench.compiler.kernels import Kernel
from workbench.compiler.llvm import blas
from workbench.compiler.program import Value

I32, I64, POINTER, VOID = ir.IntType(32), ir.IntType(64), ir.PointerType(), ir.VoidType()
VECTOR_BYTES = 32
TILE_ROWS, TILE_SUMS = 4, 8  # Eight sums, two vectors of b and one of a: 11 of 16 registers.
SMALL = 65536  # Multiplications up to which the tiles beat a BLAS, or are worth their compiling.

# --- what every hand-written kernel needs ----------------------------------------------------


def element(dtype: np.dtype[Any]) -> ir.Type:
    """Return the LLVM type of an array's elements; a bool takes a byte."""
    if dtype.kind == "f":
        return {2: ir.HalfType, 4: ir.FloatType, 8: ir.DoubleType}[dtype.itemsize]()
    return ir.IntType(8 * dtype.itemsize)


def begin(
    module: ir.Module,
    kernel: Kernel,
    name: str,
    shared: Collection[Value],
    numbers: Sequence[ir.Type] = (),
) -> tuple[ir.IRBuilder, dict[Value, ir.Value]]:
    """Start the function of a kernel: ``i32 name(pointers of outputs, of inputs, numbers)``.

    Parameters
    ----------
    module : ir.Module
    kernel : Kernel
    name : str
    shared : collection of Value
        Inputs that lie in the memory of the (first) output, and have no pointer of their own.
    numbers : sequence of ir.Type

    Returns
    -------
    builder : ir.IRBuilder
        At the start of the body.
    pointers : dict of Value to ir.Value
    """
    values = [*kernel.outputs, *(x for x in kernel.inputs if x not in shared)]
    kinds = [POINTER] * len(values) + [*numbers]
    function = ir.Function(module, ir.FunctionType(I32, kinds), name)
    function.attributes.add("noinline")  # Inlined into the step it would lose what "noalias" says.
    function.attributes.add("nounwind")
    for argument in function.args[: len(values)]:
        argument.add_attribute("noalias")
    pointers = dict(zip(values, function.args, strict=False))
    pointers.update((x, function.args[0]) for x in shared)
    return ir.IRBuilder(function.append_basic_block("entry")), pointers


def declare(module: ir.Module, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> Any:
    """Return the declaration of a function from outside, made once a module."""
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def hint(b: ir.IRBuilder, latch: ir.Instruction, name: str, value: ir.Constant) -> None:
    """Tell LLVM's vectoriser something about the loop that a branch closes."""
    module = b.module
    note = module.add_metadata([f"loop {len(module.metadata)}"])
    note.operands = (note, module.add_metadata([name, value]))  # First itself: one of its own.
    latch.set_metadata("llvm.loop", note)


def loop(
    b: ir.IRBuilder,
    count: int | ir.Value,
    body: Callable[..., Sequence[ir.Value] | None],
    carry: Sequence[ir.Value] = (),
    step: int = 1,
    vectorise: bool = False,
) -> list[ir.Value]:
    """Add ``for i in range(0, count, step): carry = body(i, *carry)``; return the last carry.

    A loop known to run once leaves no loop behind, one that never runs nothing at all.  LLVM
    is to ``vectorise`` only what has no vectors yet and is worth the time that this takes.
    """
    if isinstance(count, int) and count <= step:
        return list(body(I64(0), *carry) or ()) if count > 0 else list(carry)
    before = b.block
    head, after = b.append_basic_block("loop"), b.append_basic_block("after")
    limit = I64(count) if isinstance(count, int) else count
    if isinstance(count, int):
        b.branch(head)
    else:
        b.cbranch(b.icmp_signed("<", I64(0), limit), head, after)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(I64(0), before)
    states = []
    for value in carry:
        state = b.phi(value.type)
        state.add_incoming(value, before)
        states.append(state)
    made = list(body(i, *states) or ())
    following = b.add(i, I64(step), flags=("nsw",))
    i.add_incoming(following, b.block)
    for state, value in zip(states, made, strict=True):
        state.add_incoming(value, b.block)
    end = b.block
    latch = b.cbranch(b.icmp_signed("<", following, limit), head, after)
    if not vectorise:
        hint(b, latch, "llvm.loop.vectorize.enable", ir.IntType(1)(0))
    b.position_at_end(after)
    if isinstance(count, int):
        return made
    last = []
    for first, value in zip(carry, made, strict=True):
        state = b.phi(value.type)
        state.add_incoming(first, before)
        state.add_incoming(value, end)
        last.append(state)
    return last


def at(b: ir.IRBuilder, pointer: ir.Value, kind: ir.Type, index: ir.Value) -> ir.Value:
    """Return the address of an element."""
    if isinstance(index, ir.Constant) and not index.constant:
        return pointer
    return b.gep(pointer, [index], inbounds=True, source_etype=kind)


def offset(b: ir.IRBuilder, *terms: tuple[ir.Value, int]) -> ir.Value:
    """Return the sum of ``index * stride``; what is known of it is added up here."""
    known, total = 0, None
    for index, stride in terms:
        if isinstance(index, ir.Constant):
            known += index.constant * stride
        else:
            part = b.mul(index, I64(stride), flags=("nsw",)) if stride != 1 else index
            total = part if total is None else b.add(total, part, flags=("nsw",))
    if total is None:
        return I64(known)
    return b.add(total, I64(known), flags=("nsw",)) if known else total


def copy_bytes(b: ir.IRBuilder, target: ir.Value, source: ir.Value, size: int) -> None:
    """Copy ``size`` bytes between places that do not overlap."""
    copy = declare(b.module, "llvm.memcpy.p0.p0.i64", VOID, [POINTER, POINTER, I64, ir.IntType(1)])
    b.call(copy, [target, source, I64(size), ir.Constant(ir.IntType(1), 0)])


# --- the product -----------------------------------------------------------------------------


def emit_dot(
    module: ir.Module, kernel: Kernel, name: str, shared: Collection[Value] = ()
) -> ir.Function:
    """Add the function of a kernel of kind ``"dot"`` to a module.

    Parameters
    ----------
    module : ir.Module
    kernel : Kernel
        Of one instruction, ``dot`` or ``dot_add``.
    name : str
    shared : collection of Value, optional
        The ``c`` of a ``dot_add`` that is added to in its memory.

    Returns
    -------
    ir.Function
        It returns 0.
    """
    (instruction,) = kernel.instructions
    (x, y, *rest), attributes = instruction.operands, instruction.attributes
    result, trans_a, trans_b = instruction.result, attributes["trans_a"], attributes["trans_b"]
    (m, n), k = result.shape[-2:], x.shape[-2 if trans_a else -1]
    if n == 1 and m > 1:  # The product of the transposes in reverse order, which lies just so.
        x, y, m, n, trans_b = y, x, 1, m, not trans_a
    by_blas = result.dtype.char in "fd" and m * n * k > SMALL and m > 1
    b, pointers = begin(module, kernel, name, shared)
    out, c = pointers[result], pointers[rest[0]] if rest else None
    if by_blas and c is not None and c is not out:
        copy_bytes(b, out, c, result.type.nbytes)

    def one(i: ir.Value) -> None:
        kind = element(result.dtype)
        at_a, at_b, at_out, at_c = (
            p and at(b, p, kind, offset(b, (i, size)))
            for p, size in ((pointers[x], m * k), (pointers[y], k * n), (out, m * n), (c, m * n))
        )
        product = Product(b, result.dtype, m, n, k, trans_a and m > 1, trans_b or m == n == 1,
                          attributes.get("alpha", 1.0), at_a, at_b, at_out, at_c)  # fmt: skip
        if by_blas:
            b.function.attributes.add("optnone")  # A call: there is nothing to improve.
            product.by_blas()
        elif product.trans_b and m < TILE_ROWS and not product.trans_a:
            product.by_rows()
        else:
            product.by_tiles()

    loop(b, prod(result.shape[:-2]) if m * n else 0, one)
    b.ret(I32(0))
    return b.function


@dataclass
class Product:
    """``out[m, n] = alpha a[m, k] b[k, n] + c[m, n]``, and three ways to compute it.

    ``a`` lies as (k, m) where ``trans_a``, ``b`` as (n, k) where ``trans_b``; ``c`` may be
    ``out``, or None for nothing to add.
    """

    builder: ir.IRBuilder
    dtype: np.dtype[Any]
    m: int
    n: int
    k: int
    trans_a: bool
    trans_b: bool
    alpha: float
    a: ir.Value
    b: ir.Value
    out: ir.Value
    c: ir.Value | None

    def __post_init__(self) -> None:
        self.kind = element(self.dtype)
        self.lanes = VECTOR_BYTES // self.dtype.itemsize

    # A library.

    def by_blas(self) -> None:
        """Call the matrix product of NumPy's BLAS."""
        b, letter = self.builder, "f4" if self.dtype.itemsize == 4 else "f8"
        gemm = blas.gemm(letter)
        symbol, whole = f"{gemm.symbol}.{letter}", ir.IntType(gemm.bits)
        llvm.add_symbol(symbol, gemm.address)
        signature = [I32] * 3 + [whole] * 3 + [self.kind, POINTER, whole] + [POINTER, whole]
        signature += [self.kind, POINTER, whole]
        function = declare(b.module, symbol, VOID, signature)
        flags = [blas.TRANSPOSED if flag else blas.PLAIN for flag in (self.trans_a, self.trans_b)]
        b.call(function, [
            I32(blas.ROW_MAJOR), *map(I32, flags), whole(self.m), whole(self.n), whole(self.k),
            self.kind(self.alpha), self.a, whole(self.m if self.trans_a else self.k),
            self.b, whole(self.k if self.trans_b else self.n),
            self.kind(0.0 if self.c is None else 1.0), self.out, whole(self.n),
        ])  # fmt: skip

    # Tiles of registers: b is read along its rows.

    def by_tiles(self) -> None:
        """Keep some rows by some vectors of the result in registers while k runs."""
        width = min(self.lanes, _power_above(self.n))
        b, stride, padded = self.b, self.n, False
        if self.trans_b:
            stride, padded = -(-self.n // width) * width, True
            b = self._packed(stride)
        group = TILE_SUMS // min(_power_above(self.m), TILE_ROWS) * width
        whole = self.n // group * group

        def columns(j: ir.Value, count: int) -> None:
            pieces = [(v, min(width, count - v)) for v in range(0, count, width)]
            rows = min(self.m, TILE_SUMS // len(pieces))
            full = self.m // rows * rows
            for start, height in ((0, rows), (full, self.m - full)):

                def tile(i: ir.Value, start: int = start, height: int = height) -> None:
                    i = offset(self.builder, (i, 1), (I64(start), 1))
                    self._tile(i, height, j, pieces, (b, stride, padded, width))

                loop(self.builder, full if height == rows else min(1, height), tile, step=height)

        loop(self.builder, whole, lambda j: columns(j, group), step=group)
        if self.n > whole:
            columns(I64(whole), self.n - whole)

    def _tile(
        self, i: ir.Value, rows: int, j: ir.Value, pieces: list[tuple[int, int]], factor: Any
    ) -> None:
        """Compute rows ``i`` to ``i + rows`` of the columns ``j + start``, for some pieces."""
        b, (matrix, stride, padded, width) = self.builder, factor
        row, column = (1, self.m) if self.trans_a else (self.k, 1)
        first = offset(b, (i, row))

        def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            base, left = offset(b, (k, stride), (j, 1)), offset(b, (first, 1), (k, column))
            vectors = [
                self._load(matrix, offset(b, (base, 1), (I64(start), 1)), width,
                           width if padded else count)
                for start, count in pieces
            ]  # fmt: skip
            made = []
            for r in range(rows):
                where = offset(b, (left, 1), (I64(r), row))
                scalar = self._splat(self._load_one(self.a, where), width)
                part = sums[r * len(pieces) : (r + 1) * len(pieces)]
                made += [
                    self._multiply_add(scalar, v, s) for v, s in zip(vectors, part, strict=True)
                ]
            return made

        zero = ir.Constant(ir.VectorType(self.kind, width), None)
        sums = iter(loop(b, self.k, step, [zero] * (rows * len(pieces))))
        base = offset(b, (i, self.n), (j, 1))
        for r in range(rows):
            for start, count in pieces:
                self._store(next(sums), offset(b, (base, 1), (I64(r * self.n + start), 1)), count)

    def _packed(self, stride: int) -> ir.Value:
        """Copy b, which lies transposed, to memory of the module, with rows along n."""
        b, w = self.builder, self.lanes if self.dtype.kind == "f" else 1
        room = ir.ArrayType(self.kind, max(1, self.k * stride))
        packed = ir.GlobalVariable(b.module, room, b.module.get_unique_name("packed"))
        packed.linkage, packed.align = "internal", 64
        packed.initializer = ir.Constant(room, None)  # What pads the rows stays 0.
        packed.type = POINTER  # Opaque, as all pointers here: llvmlite would check what it holds.
        k_whole, n_whole = self.k // w * w, self.n // w * w

        def block(k: ir.Value, n: ir.Value) -> None:
            source, target = offset(b, (n, self.k), (k, 1)), offset(b, (k, stride), (n, 1))
            rows = [self._load(self.b, offset(b, (source, 1), (I64(r), self.k)), w, w)
                    for r in range(w)]  # fmt: skip
            for r, vector in enumerate(_transposed(b, rows)):
                place = at(b, packed, self.kind, offset(b, (target, 1), (I64(r), stride)))
                b.store(vector, place, align=self.dtype.itemsize)

        def single(k: ir.Value, n: ir.Value) -> None:
            x = self._load_one(self.b, offset(b, (n, self.k), (k, 1)))
            b.store(x, at(b, packed, self.kind, offset(b, (k, stride), (n, 1))))

        loop(b, n_whole, lambda n: loop(b, k_whole, lambda k: block(k, n), step=w), step=w)
        loop(b, n_whole, lambda n: loop(
            b, self.k - k_whole, lambda k: single(offset(b, (k, 1), (I64(k_whole), 1)), n)))  # fmt: skip
        loop(b, self.n - n_whole, lambda n: loop(
            b, self.k, lambda k: single(k, offset(b, (n, 1), (I64(n_whole), 1)))))  # fmt: skip
        return packed

    # Sums along k: both factors are read along their rows.

    def by_rows(self) -> None:
        """Sum along k by vectors, some rows of b at a time."""
        full = self.n // TILE_ROWS * TILE_ROWS
        b = self.builder

        def rows(i: ir.Value) -> None:
            loop(b, full, lambda j: self._sums(i, j, TILE_ROWS), step=TILE_ROWS)
            if self.n > full:
                self._sums(i, I64(full), self.n - full)

        loop(b, self.m, rows)

    def _sums(self, i: ir.Value, j: ir.Value, rows: int) -> None:
        b, width = self.builder, min(self.lanes, _power_above(self.k))
        full = self.k // width * width

        def step(k: ir.Value, *sums: ir.Value, count: int = width) -> list[ir.Value]:
            left = self._load(self.a, offset(b, (i, self.k), (k, 1)), width, count)
            base = offset(b, (j, self.k), (k, 1))
            places = [offset(b, (base, 1), (I64(r), self.k)) for r in range(rows)]
            return [self._multiply_add(left, self._load(self.b, place, width, count), s)
                    for place, s in zip(places, sums, strict=True)]  # fmt: skip

        sums = [ir.Constant(ir.VectorType(self.kind, width), None)] * rows
        sums = loop(b, full, step, sums, step=width)
        if self.k > full:
            sums = step(I64(full), *sums, count=self.k - full)
        for r, vector in enumerate(sums):
            where = offset(b, (i, self.n), (j, 1), (I64(r), 1))
            total = b.insert_element(
                ir.Constant(ir.VectorType(self.kind, 1), ir.Undefined), self._sum(vector), I32(0)
            )
            self._store(total, where, 1)

    # Vectors.

    def _load_one(self, pointer: ir.Value, where: ir.Value) -> ir.Value:
        b = self.builder
        return b.load(at(b, pointer, self.kind, where), typ=self.kind)

    def _load(self, pointer: ir.Value, where: ir.Value, width: int, count: int) -> ir.Value:
        """Load a vector of which only ``count`` elements exist; the others are 0."""
        b, kind = self.builder, ir.VectorType(self.kind, width)
        place = at(b, pointer, self.kind, where)
        if count == width:
            return b.load(place, align=self.dtype.itemsize, typ=kind)
        mask = ir.VectorType(ir.IntType(1), width)
        masked = declare(b.module, f"llvm.masked.load.{self._suffix(width)}.p0", kind,
                         [POINTER, I32, mask, kind])  # fmt: skip
        exists = ir.Constant(mask, [int(lane < count) for lane in range(width)])
        return b.call(masked, [place, I32(self.dtype.itemsize), exists, ir.Constant(kind, None)])

    def _suffix(self, width: int) -> str:
        letter = "f" if self.dtype.kind == "f" else "i"
        return f"v{width}{letter}{8 * self.dtype.itemsize}"

    def _splat(self, x: ir.Value, width: int) -> ir.Value:
        b, kind = self.builder, ir.VectorType(self.kind, width)
        first = b.insert_element(ir.Constant(kind, ir.Undefined), x, I32(0))
        lanes = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return b.shuffle_vector(first, first, lanes)

    def _multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        b = self.builder
        if self.dtype.kind != "f":
            return b.add(b.mul(x, y), total)
        once = ("contract",)  # One rounding where the machine can.
        return b.fadd(b.fmul(x, y, flags=once), total, flags=once)

    def _sum(self, vector: ir.Value) -> ir.Value:
        b, width = self.builder, vector.type.count
        if self.dtype.kind != "f":
            name = f"llvm.vector.reduce.add.{self._suffix(width)}"
            return b.call(declare(b.module, name, self.kind, [vector.type]), [vector])
        name = f"llvm.vector.reduce.fadd.{self._suffix(width)}"
        function = declare(b.module, name, self.kind, [self.kind, vector.type])
        return b.call(function, [self.kind(-0.0), vector], fastmath=("reassoc",))

    def _store(self, vector: ir.Value, where: ir.Value, count: int) -> None:
        """Store ``alpha`` times the first ``count`` elements, plus c, in parts of powers of two."""
        b, start = self.builder, 0
        while start < count:
            size = 1 << (count - start).bit_length() - 1
            part = vector
            if size != vector.type.count:
                lanes = ir.Constant(ir.VectorType(I32, size), list(range(start, start + size)))
                part = b.shuffle_vector(vector, vector, lanes)
            place = offset(b, (where, 1), (I64(start), 1))
            scale = self.dtype.type(self.alpha).item()
            scaled = ir.Constant(ir.VectorType(self.kind, size), [scale] * size)
            if self.c is not None:
                part = self._multiply_add(part, scaled, self._load(self.c, place, size, size))
            elif scale != 1:
                part = b.fmul(part, scaled) if self.dtype.kind == "f" else b.mul(part, scaled)
            b.store(part, at(b, self.out, self.kind, place), align=self.dtype.itemsize)
            start += size


def _power_above(n: int) -> int:
    """Return the least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


def _transposed(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square of vectors: interleaving its halves does it in log2 of its size."""
    n = len(rows)
    low = [lane // 2 + n * (lane % 2) for lane in range(n)]
    masks = [ir.Constant(ir.VectorType(I32, n), [lane + shift for lane in low])
             for shift in (0, n // 2)]  # fmt: skip
    for _ in range(n.bit_length() - 1):
        pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [b.shuffle_vector(x, y, mask) for x, y in pairs for mask in masks]
    return rows
