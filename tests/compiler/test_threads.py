"""Loops divided over threads: every part runs once, whatever becomes of it."""

import os
import threading
import warnings

import numpy as np
import pytest
from llvmlite import ir

from tests.compiler.test_dot import kernel_of, native
from workbench.compiler.llvm.dot import I32, I64, POINTER, at, element
from workbench.compiler.llvm.threads import Pool, divide, pool

N = 5000


def emit(threads, result=0):
    """A kernel that doubles the elements from start to stop, divided."""

    def write(module, kernel, name, shared):
        function = ir.Function(module, ir.FunctionType(I32, [POINTER, POINTER, I64, I64]), "double")
        out, x, start, stop = function.args
        b = ir.IRBuilder(function.append_basic_block("entry"))
        entry, body, end = b.block, b.append_basic_block("body"), b.append_basic_block("end")
        b.branch(body)
        b.position_at_end(body)
        i, kind = b.phi(I64), element(kernel.inputs[0].dtype)
        value = b.load(at(b, x, kind, i), typ=kind)
        place = at(b, out, kind, i)
        b.store(b.fadd(b.load(place, typ=kind), b.fadd(value, value)), place)
        following = b.add(i, I64(1))
        i.add_incoming(start, entry)
        i.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, stop), body, end)
        b.position_at_end(end)
        b.ret(b.select(b.icmp_signed("==", stop, I64(N)), I32(result), I32(0)))
        divided = divide(module, function, N, threads)
        divided.name = name

    return write


def doubled(threads, result=0):
    x = np.arange(N, dtype="f4")
    run = native(emit(threads, result), kernel_of("negative", [x], "loop"))
    out = np.zeros(N, "f4")
    code = run(out, x)
    np.testing.assert_array_equal(out, 2 * x)  # Added to once: no element is left out or doubled.
    return code, run


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_divided_loop_covers_every_element_once(threads):
    assert doubled(threads)[0] == 0


def test_a_failure_in_any_part_is_reported():
    assert doubled(4, result=1)[0] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 5000, 2**20, 2**20 + 1])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_parts_meet(count, threads):
    parts = pool(threads).bounds(count)
    assert [i for part in parts for i in part][1:-1] == [
        stop for _, stop in parts[:-1] for _ in (0, 1)
    ]
    assert (parts[0][0], parts[-1][1]) == (0, count)
    assert len(parts) == min(count, threads)
    assert all(start < stop for start, stop in parts)


def test_parts_run_on_several_threads_at_once():
    pool_ = Pool(3)
    meeting = threading.Barrier(3, timeout=10)  # None passes before all three have come.
    seen = set()

    from workbench.compiler.llvm import threads as module

    @module._PART
    def part(arguments, start, stop):
        meeting.wait()
        seen.add(threading.get_ident())
        return 0

    import ctypes

    assert pool_.run(ctypes.cast(part, ctypes.c_void_p).value, 0, 300) == 0
    assert len(seen) == 3


def test_several_callers_share_a_pool():
    _, run = doubled(2)
    x = np.arange(N, dtype="f4")
    outs = [np.zeros(N, "f4") for _ in range(8)]
    callers = [threading.Thread(target=run, args=(out, x)) for out in outs]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    for out in outs:
        np.testing.assert_array_equal(out, 2 * x)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_starts_threads_of_its_own():
    _, run = doubled(2)
    x, out = np.arange(N, dtype="f4"), np.zeros(N, "f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any such fork.
        child = os.fork()
    if child == 0:
        run(out, x)
        os._exit(0 if (out == 2 * x).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
