"""Maps over processes, against vmap along a named axis and against one process."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import parallel_programs as programs
import pytest

from workbench import functional
from workbench.errors import MissingDependencyError, OptionError, ShapeError
from workbench.functional import numpy as fnp
from workbench.functional import parallel
from workbench.functional.compile import simplify
from workbench.functional.lowering import compile_jaxpr, compiles
from workbench.functional.parallel.mapping import Place, bound
from workbench.functional.refusals import AxesError
from workbench.functional.segments import cut, in_segments

needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None, reason="needs mpi4py: install the extra 'parallel'"
)
LIMIT = 60  # Seconds, far more than any failure takes; a hang is one too.


def start(n, name, folder=".", limit=LIMIT):
    """Run one of the programs in n processes, and return what became of it."""
    code = (
        "import sys; from workbench.functional import parallel; "
        "sys.exit(parallel.run(int(sys.argv[1]), *sys.argv[2:]))"
    )
    command = [sys.executable, "-c", code, str(n), programs.__file__, name, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit)


@pytest.fixture(scope="module")
def alone():
    """What this process, alone, makes of the programs."""
    return programs.good()


@pytest.fixture(scope="module", params=[2, 4])
def together(request, tmp_path_factory):
    """What every one of several processes makes of the programs."""
    folder = tmp_path_factory.mktemp("ranks")
    done = start(request.param, "good", folder, limit=5 * LIMIT)
    assert done.returncode == 0, done.stderr
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(request.param)]


def over_parts(size):
    """Map over parts of a batch by vmap: what pmap should come to."""

    def mapped(f):
        def whole(w, x):
            parts = fnp.reshape(x, (size, -1, *x.shape[1:]))
            out = functional.vmap(f, (None, 0), axis_name="i")(w, parts)
            return fnp.reshape(out, x.shape)

        return whole

    return mapped


def assert_like_vmap(results, size):
    for name, wanted in programs.apply_all(over_parts(size), size).items():
        scale = 1 + np.abs(wanted).max()
        found = results[f"collectives {name}"]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * scale, err_msg=name)


@pytest.mark.slow
def test_alone_collectives_and_their_derivatives_are_those_of_vmap(alone):
    assert_like_vmap(alone, 1)


@needs_mpi
@pytest.mark.slow
def test_collectives_and_their_derivatives_are_those_of_vmap(together):
    assert_like_vmap(together[0], len(together))


@needs_mpi
@pytest.mark.slow
def test_every_process_has_the_same_bits(together):
    for results in together[1:]:
        assert results.keys() == together[0].keys()
        for name, value in results.items():
            np.testing.assert_array_equal(value, together[0][name], err_msg=name)


@needs_mpi
@pytest.mark.slow
def test_training_gives_the_weights_that_one_process_gives(together, alone):
    plain = programs.train(functional.value_and_grad(programs.loss))
    assert plain["losses"][-1] < plain["losses"][0] / 2
    for program in ("digits", "digits_from_outside"):
        for name, value in plain.items():
            for results in (alone, together[0]):
                np.testing.assert_allclose(
                    results[f"{program} {name}"], value, rtol=0, atol=1e-12, err_msg=name
                )


@needs_mpi
@pytest.mark.slow
def test_parts_are_put_together_as_they_were(together):
    n, results = len(together), together[0]
    np.testing.assert_array_equal(results["parts x"], programs.X)
    np.testing.assert_array_equal(results["parts n"], np.arange(16).reshape(2, 8)[:, ::-1].T)
    np.testing.assert_array_equal(results["parts columns"], programs.XS)
    np.testing.assert_array_equal(results["parts replicated"], [0, 0])
    total = results["parts int32"]
    assert total.dtype == np.int32
    assert total.tolist() == [n * (n - 1) // 2] * 2
    np.testing.assert_array_equal(results["parts largest"], [n - 1, np.nan])
    np.testing.assert_allclose(results["parts tie"], np.full(8, 1 / 8), rtol=1e-15)


FAILURES = {
    "raises": ["rank 1 of 3 failed, and ends all", "in raises", "ValueError: the seventh seal"],
    "killed": ["rank 1 of 3 was killed by SIGKILL"],
    "exits_early": ["rank 0: the end of the program; rank 1: psum float64[3]"],
    "leaves_early": ["rank 0: psum float64[3]; rank 1: the end of the program"],
    "different_shapes": [
        "psum: the processes do not do the same, so none can go on",
        "rank 0: psum float64[3]; rank 1: psum float64[4]; rank 2: psum float64[5]",
    ],
    "different_order": ["rank 0: ppermute float64[3] by ((0, 1),); rank 1: psum float64[3]"],
}


@needs_mpi
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_of_one_ends_all_and_says_whose_and_why(name):
    done = start(3, name)
    assert done.returncode != 0
    for text in FAILURES[name]:
        assert text in done.stderr


@needs_mpi
def test_a_result_that_differs_is_refused_where_one_is_promised():
    done = start(2, "different_results")
    assert done.returncode != 0
    assert "an output differs between processes, but out_axes is None" in done.stderr
    first, second = (programs.X[rows].sum() for rows in (slice(4), slice(4, 8)))
    assert f"output 0 sums up to {first:.6g} on rank 0, {second:.6g} on rank 1" in done.stderr
    assert "psum or pmean it, or give it an axis: out_axes=0" in done.stderr


@needs_mpi
def test_a_run_that_takes_too_long_is_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        parallel.run(2, programs.__file__, "sleeps", timeout=5)


def test_run_refuses_what_it_cannot_start():
    with pytest.raises(OptionError, match="a number of processes and a script are needed"):
        parallel.run(0, programs.__file__)
    with pytest.raises(OptionError, match=r"no_such\.py"):
        parallel.run(2, "no_such.py")


def test_started_by_mpiexec_without_mpi4py_it_does_not_pretend_to_be_alone(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    parallel.world.cache_clear()
    with pytest.raises(MissingDependencyError, match="mpi4py"):
        parallel.world()
    parallel.world.cache_clear()


class Twins(parallel.Group):
    """Two processes that have the same, without a second process."""

    def __init__(self):
        super().__init__()
        self.size = 2
        self.heard = []

    def _rows(self, where, x):
        self.heard.append((where, x.shape))
        return np.stack([x, x])


def test_axes_that_do_not_fit_are_refused():
    x = np.ones((3, 2))

    def halves(f=lambda x: x, **axes):
        return parallel.pmap(f, group=Twins(), **axes)

    with pytest.raises(ShapeError, match="length 3 for 2 processes") as caught:
        halves()(x)
    assert "drop the last 1" in str(caught.value)
    with pytest.raises(AxesError, match="in_axes 2 for f64\\[3,2\\]"):
        halves(in_axes=2)(x)
    with pytest.raises(AxesError, match="out_axes names an axis that the array does not have"):
        halves(lambda x: fnp.sum(x), in_axes=1)(x)
    with pytest.raises(AxesError, match="in_axes of length 2 for 1 values"):
        halves(in_axes=(0, 0))(x)


def test_negative_axes_and_keywords_are_divided():
    x = np.arange(12.0).reshape(3, 4)
    f = parallel.pmap(lambda x, *, k: x + k[0], in_axes=-1, out_axes=-1, group=Twins())
    np.testing.assert_array_equal(f(x, k=np.array([1.0, 2.0])), np.tile(x[:, :2] + 1, 2))


def test_pmap_traces_once_for_each_signature():
    traced = []

    def f(x):
        traced.append(x.shape)
        return x * 2

    g = parallel.pmap(f)
    g(np.ones(2)), g(np.zeros(2)), g(np.ones(3))
    assert traced == [(2,), (3,)]


# Segments


def staged(f, *args, group):
    with bound(Place("i", group)):
        return simplify(functional.make_jaxpr(f)(*args))


def two_layers(params, x):
    """Five sums of which four do not need one another, and the last needs all."""
    sums = [functional.psum(fnp.sin(p * x), "i") for p in params]
    return functional.psum(fnp.sum(sums[0] * sums[1] + sums[2] * sums[3]), "i"), sums


def test_equations_stand_in_the_earliest_segment_and_sums_travel_together():
    group = Twins()
    params, x = list(np.arange(12.0).reshape(4, 3)), np.ones(3)
    jaxpr = staged(two_layers, params, x, group=group)
    segments, cuts = cut(jaxpr, compiles)
    assert [len(each) for each in cuts] == [4, 1, 0]
    assert [{eqn.primitive.name for eqn in each} for each in segments] == [
        {"multiply", "sin"}, {"multiply", "add", "reduce_sum"}, set(),
    ]  # fmt: skip
    run = in_segments(jaxpr, compiles, compile_jaxpr)
    with bound(Place("i", group)):
        outs = run(*params, x)
    assert group.heard == [("psum", (12,)), ("psum", (1,) if outs[0].ndim else ())]
    sums = [2 * np.sin(p) for p in params]
    np.testing.assert_allclose(outs[1:], sums, rtol=1e-15)
    np.testing.assert_allclose(
        outs[0], 2 * (sums[0] * sums[1] + sums[2] * sums[3]).sum(), rtol=1e-15
    )


def test_what_segments_return_shares_no_memory():
    def f(x):
        total = functional.psum(fnp.sin(x), "i")
        return x, total, total, fnp.cos(total), 3.0, np.float64(2)

    x, group = np.ones(3), parallel.Group()
    run = in_segments(staged(f, x, group=group), compiles, compile_jaxpr)
    with bound(Place("i", group)):
        outs = run(x)
    assert isinstance(outs[4], float)
    arrays = [x, *outs[:4]]
    for i, a in enumerate(arrays):
        a[...] = i
    assert [a[0] for a in arrays] == [0, 1, 2, 3, 4]


def test_complex_numbers_do_not_keep_the_rest_from_compiling():
    def f(x):
        z = (fnp.sin(x) * fnp.cos(x)) * 1j
        return fnp.exp(fnp.real(z * z))

    x = np.linspace(0, 1, 5)
    run = in_segments(simplify(functional.make_jaxpr(f)(x)), compiles, compile_jaxpr)
    np.testing.assert_allclose(run(x)[0], f(x), rtol=1e-15)


def test_without_anything_to_compile_there_are_no_segments():
    jaxpr = staged(lambda x: functional.psum(x, "i"), np.ones(3), group=parallel.Group())
    assert in_segments(jaxpr, compiles, compile_jaxpr) is None
