"""Indices that are sums, and kernels as text."""

import random

import numpy as np
import pytest

from workbench.compiler import Builder, Type
from workbench.compiler.clike import text
from workbench.compiler.fuse import fuse
from workbench.compiler.index import Axis, Index, Part, axes_of, flat, merge, split, spread
from workbench.compiler.kernels import Levels, Recorder, Reduction, Walk, parallel_loops

F4 = np.dtype("f4")


def evaluate(index, values):
    """What an index is, for values of the loop variables."""
    total = index.offset
    for atom, n in index.terms:
        if isinstance(atom, Axis):
            total += n * values[atom]
        else:
            inner = evaluate(atom.position, values)
            total += n * (inner % atom.divisor if atom.remainder else inner // atom.divisor)
    return total


def one_kernel(*outputs, b):
    (kernel,) = fuse(b.program(outputs)).kernels
    return kernel


# --- indices -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(200))
def test_parts_of_an_index_are_its_quotient_and_remainder(seed):
    r = random.Random(seed)
    axes = [Axis(i, r.randint(2, 5)) for i in range(3)]
    index = Index(r.randint(0, 7))
    for a in axes:
        index = index + Index.of(a) * r.choice([0, 1, 2, 3, 4, 6, 12])
    n = r.choice([1, 2, 3, 4, 6, 12])
    low, high = index.bounds()
    seen = set()
    for point in np.ndindex(*(a.size for a in axes)):
        values = dict(zip(axes, map(int, point), strict=True))
        total = evaluate(index, values)
        seen.add(total)
        assert evaluate(index.part(n, False), values) == total // n
        assert evaluate(index.part(n, True), values) == total % n
    assert (min(seen), max(seen)) == (low, high)


def test_sums_do_not_depend_on_the_order_of_their_terms():
    i, j = (Index.of(Axis(n, 4)) for n in (0, 1))
    assert i + j * 2 == j * 2 + i
    assert hash(i + j) == hash(j + i)
    assert i + i * -1 == Index()
    assert str(i * 64 + j + 3) == "i0*64 + i1 + 3"


@pytest.mark.parametrize(("old", "new", "simple"), [
    ((6, 4), (2, 3, 4), True), ((2, 3, 4), (2, 3, 2, 2), True), ((5,), (5, 1), True),
    ((1, 5), (5,), True), ((2, 3, 4), (6, 4), False), ((4, 6), (6, 4), False),
])  # fmt: skip
def test_only_uneven_reshapes_divide(old, new, simple):
    axes = axes_of(new)
    parts = split(flat(spread(new, axes), new), old)
    assert all(i.simple for i in parts) is simple
    for point in np.ndindex(*new):
        values = dict(zip(axes, [p for p, n in zip(point, new, strict=True) if n > 1], strict=True))
        at = tuple(evaluate(i, values) for i in parts)
        assert at == np.unravel_index(np.ravel_multi_index(point, new), old)


def test_axes_merge_only_if_every_access_steps_through_them_evenly():
    a, b, c = Axis(0, 2), Axis(1, 3), Axis(2, 4)
    whole = flat(tuple(map(Index.of, (a, b, c))), (2, 3, 4))
    assert merge([a, b, c], [whole]) == {a: None, b: None, c: Axis(2, 24)}
    assert merge([a, b, c], [whole, Index.of(c)]) == {a: None, b: Axis(1, 6), c: c}
    inside = Index.of(Part(whole, 5, True))
    assert merge([a, b, c], [inside, whole]) == {a: None, b: None, c: Axis(2, 24)}
    assert merge([a, b], [Index.of(a), Index.of(b)]) == {a: a, b: b}


# --- kernels as text -----------------------------------------------------------------------


def test_contiguous_loops_become_one():
    b = Builder("p")
    x, y = (b.input(Type(F4, (2, 3, 4)), n) for n in "xy")
    assert text(one_kernel(b.tanh(b.add(x, y)), b=b)) == (
        "void k0_add_tanh(float *out0, const float *x, const float *y) {\n"
        "  for (long i2 = 0; i2 < 24; ++i2) {\n"
        "    out0[i2] = tanhf(x[i2] + y[i2]);\n"
        "  }\n"
        "}"
    )


def test_the_shortest_steps_are_innermost():
    b = Builder("p")
    x = b.input(Type(F4, (25, 64, 3)), "x")
    lines = text(one_kernel(b.transpose(x, (2, 1, 0)), b=b)).splitlines()
    assert [line.split()[2] for line in lines[1:4]] == ["i0", "i2", "i1"]
    assert lines[4].strip() == "out0[i0*1600 + i1*25 + i2] = x[i0 + i1*3 + i2*192];"


def test_maps_are_read_through():
    b = Builder("p")
    x = b.input(Type(F4, (3, 4)), "x")
    y = b.slice(b.transpose(x, (1, 0)), (3, 0), (2, 3), (-2, 1))
    assert "out0[i0*3 + i1] = expf(x[i0*-2 + i1*4 + 3]);" in text(one_kernel(b.exp(y), b=b))


def test_padding_is_guarded_and_what_needs_no_guard_has_none():
    b = Builder("p")
    x = b.input(Type(F4, (4, 4)), "x")
    code = text(one_kernel(b.pad(x, (1, 0), (0, 0)), b=b))
    assert "out0[i0*4 + i1] = i0 - 1 >= 0 ? x[i0*4 + i1 - 4] : 0.0f;" in code
    b = Builder("p")
    x = b.input(Type(F4, (4, 4)), "x")
    whole = b.slice(b.pad(x, (1, 1), (1, 1)), (1, 1), (4, 4))
    code = text(one_kernel(b.negative(whole), b=b))
    assert "?" not in code


def test_a_value_used_twice_is_computed_once():
    b = Builder("p")
    x = b.input(Type(F4, (8,)), "x")
    e = b.exp(x)
    code = text(one_kernel(b.add(b.multiply(e, e), e), b=b))
    assert code.count("expf") == 1
    assert "const float t" in code


def test_what_is_computed_in_a_branch_is_not_used_outside_of_it():
    b = Builder("p")
    x = b.input(Type(F4, (4,)), "x")
    e = b.negative(x)
    y = b.concatenate([b.multiply(e, e), b.add(e, e)], 0)
    code = text(one_kernel(y, b=b))
    branches = code.split("} else {")
    assert len(branches) == 2
    assert all("-x[" in part for part in branches)


def test_a_softmax_is_one_kernel_that_keeps_the_exponentials_of_a_row():
    b = Builder("p")
    x = b.input(Type(F4, (4, 100)), "x")
    e = b.exp(b.subtract(x, b.max(x, (1,), True)))
    kernel = one_kernel(b.divide(e, b.sum(e, (1,), True)), b=b)
    code = text(kernel)
    assert code.count("expf") == 1
    assert "float row0[100];" in code
    levels = Levels(kernel)
    assert levels.top == 2
    assert levels.again == [e]
    assert parallel_loops(kernel) == [Axis(0, 4)]


def test_what_depends_on_the_row_only_is_computed_once_a_row():
    b = Builder("p")
    x = b.input(Type(F4, (4, 100)), "x")
    code = text(one_kernel(b.subtract(x, b.log(b.sum(x, (1,), True))), b=b))
    lines = code.splitlines()
    log = next(line for line in lines if "logf" in line)
    assert len(log) - len(log.lstrip()) == 4  # In the loop over rows, not in that over columns.


def test_sums_of_columns_go_along_the_rows():
    b = Builder("p")
    x = b.input(Type(F4, (5, 6)), "x")
    code = text(one_kernel(b.sum(x, (0,)), b=b))
    assert code.index("i0 < 5") < code.rindex("i1 < 6", 0, code.index("x[i0*6 + i1]"))
    assert "s0[i1] = s0[i1] + x[i0*6 + i1];" in code


def test_numbers_are_written_exactly():
    b = Builder("p")
    x = b.input(Type(F4, (3,)), "x")
    values = [0.1, -0.0, np.inf, -np.inf, np.nan, 1e-30, 16777217.0, 3.0]
    y = x
    for v in values:
        y = b.add(y, b.constant(v, "f4"))
    code = text(one_kernel(y, b=b))
    for written in ("0.1f", "(-0.0f)", "INFINITY", "(-INFINITY)", "NAN", "1.0e-30f", "3.0f"):
        assert f" {written}" in code


@pytest.mark.parametrize(("opcode", "dtype", "identity"), [
    ("sum", "f4", 0), ("prod", "i4", 1), ("max", "f8", -np.inf), ("min", "i2", 32767),
    ("max", "u1", 0), ("any", "?", False), ("all", "?", True), ("min", "?", True),
])  # fmt: skip
def test_a_reduction_begins_with_what_changes_nothing(opcode, dtype, identity):
    assert Reduction(opcode, np.dtype(dtype)).identity == identity


def test_loads_are_recorded_where_they_happen():
    b = Builder("p")
    x = b.input(Type(F4, (3, 4)), "x")
    kernel = one_kernel(b.negative(b.transpose(x, (1, 0))), b=b)
    recorder = Recorder()
    Walk(kernel, recorder).run()
    assert [(v, str(at)) for v, at in recorder.loads] == [(x, "i0 + i1*4")]
