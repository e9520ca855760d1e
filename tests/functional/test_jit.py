"""jit: guards, the cache and its explanation, static and donated arguments."""

import dataclasses
import functools
import gc
import pickle
import threading
import weakref
from collections import namedtuple

import cupy_stand_in
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import functional
from workbench.errors import DtypeError, GraphError, OptionError, UnknownNameError
from workbench.functional import jitting
from workbench.functional import numpy as fnp
from workbench.functional.guards import MISS
from workbench.functional.jitting import explain_cache, jit

X = np.arange(6.0).reshape(2, 3)
Pair = namedtuple("Pair", "left right")


@functional.register_dataclass(meta_fields=("rate",))
@dataclasses.dataclass
class Layer:
    w: object
    b: object
    rate: float


def guards_only(f, *args, **kwargs):
    """Return f(*args), which must not leave the fast path."""
    (*_, entry) = [e for e in f._cache.recent if e.guard(args, kwargs) is not MISS]
    general, f._cache.run = f._cache.run, None
    try:
        return f(*args, **kwargs)
    finally:
        assert entry.used
        f._cache.run = general


def same(got, want):
    assert functional.tree_structure(got) == functional.tree_structure(want)
    for x, y in zip(functional.tree_leaves(got), functional.tree_leaves(want), strict=True):
        assert type(x) is type(y)
        assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
        np.testing.assert_array_equal(x, y)


# Guards


TREES = [
    (X,),
    (X, 2.0),
    ([X, X + 1], {"b": X, "a": (X, 1)}),
    (Pair(X, [X]), None, (), [], {}),
    (Layer(X, (X,), 0.5), True),
    ((X.astype("f4"), np.float32(3), np.array(2), np.arange(3)),),
    (np.empty((0, 3)), np.array(1.5)),
]


@pytest.mark.parametrize("args", TREES)
def test_a_warm_call_returns_what_the_first_did(args):
    f = jit(lambda *args: functional.tree_map(lambda x: x * 2, args))
    want = functional.tree_map(lambda x: x * 2 if isinstance(x, int | float) else np.multiply(
        x, 2, dtype=x.dtype), args)  # fmt: skip
    for got in (f(*args), guards_only(f, *args)):
        structure = functional.tree_structure(want)
        assert functional.tree_structure(got) == structure
        for x, y in zip(functional.tree_leaves(got), functional.tree_leaves(want), strict=True):
            np.testing.assert_array_equal(x, y)
            assert np.asarray(x).dtype == np.asarray(y).dtype


LEAVES = st.sampled_from(
    [X, X.T.copy(), X[0].copy(), X.astype("f4"), X.astype("i8"), X > 1, np.array(1.0), np.array(1),
     np.float32(1), 1.0, 1, True]
)  # fmt: skip
PYTREES = st.recursive(
    LEAVES | st.none(),
    lambda tree: st.one_of(
        st.lists(tree, max_size=3),
        st.lists(tree, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), tree, max_size=3),
        st.builds(Pair, tree, tree),
        st.builds(Layer, tree, tree, st.sampled_from([0.5, 1.5])),
    ),
    max_leaves=4,
)


def kinds(tree):
    """Return the structure and what a leaf may not change in, for one guard."""
    leaves, structure = functional.tree_flatten(tree)
    return structure, [(type(x), np.asarray(x).shape, np.asarray(x).dtype) for x in leaves]


@settings(deadline=None, max_examples=60)
@given(PYTREES, PYTREES)
def test_a_guard_takes_its_own_structure_and_no_other(tree, other):
    f = jit(lambda tree: tree)
    f(tree)
    (entry,) = f._cache.recent
    same(guards_only(f, tree), functional.tree_map(
        lambda x: x if type(x) in (int, float, bool) else np.asarray(x), tree))  # fmt: skip
    taken = entry.guard((other,), {}) is not MISS
    assert taken == (kinds(tree) == kinds(other))
    f(other)
    assert explain_cache(f).traces == 1 + (
        functional.tree_structure(tree) != functional.tree_structure(other)
        or [functional.core.get_aval(x) for x in functional.tree_leaves(tree)]
        != [functional.core.get_aval(x) for x in functional.tree_leaves(other)]
    )


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ({"a": X, "b": X}, {"a": X, "c": X}),
        ({"a": X}, {"a": X, "b": X}),
        (Pair(X, X), (X, X)),
        ([X], (X,)),
        ([], [X]),
        (None, ()),
        (Layer(X, X, 0.5), Layer(X, X, 0.1)),
        (X, np.zeros((3, 2))),
        (X, X.astype("f4")),
        (X, X.view(np.recarray)),
        (1.0, 1),
        (1, True),
        (1.0, np.array(1.0)),
        (np.float32(1), np.float64(1)),
    ],
)
def test_a_guard_refuses_near_misses(own, other):
    f = jit(lambda tree: tree)
    for mine, not_mine in ((own, other), (other, own)):
        f.clear_cache()
        f(mine)
        for entry in f._cache.recent:  # None for a subclass of ndarray.
            assert entry.guard((mine,), {}) is not MISS
            assert entry.guard((not_mine,), {}) is MISS


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((X,), {}), ((X, X, X), {}), ((X, X), {"k": X}), ((X,), {"y": X}), ((X, None), {})],
)
def test_a_guard_refuses_another_number_or_other_names_of_arguments(args, kwargs):
    f = jit(lambda x, y: x + y)
    f(X, X)
    (entry,) = f._cache.recent
    assert entry.guard((X, X), {}) is not MISS
    assert entry.guard(args, kwargs) is MISS


def test_keyword_arguments_have_guards_too():
    f = jit(lambda x, *, y, z=1.0: x + y * z)
    f(X, y=X, z=3.0)
    np.testing.assert_array_equal(guards_only(f, X, z=2.0, y=X), 3 * X)


def test_arrays_in_any_layout_give_the_same_numbers():
    f = jit(lambda x: x * 2 + 1)
    f(X)
    raw = np.zeros(X.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    strided = np.repeat(X, 2, axis=1)[:, ::2]
    for x in (np.asfortranarray(X), unaligned, frozen, strided, X[::-1][::-1]):
        got = guards_only(f, x)
        np.testing.assert_array_equal(got, X * 2 + 1)
        assert got.flags.c_contiguous
        assert got.flags.writeable
    np.testing.assert_array_equal(guards_only(f, np.broadcast_to(X[0], X.shape))[1], X[0] * 2 + 1)
    assert explain_cache(f).traces == 1


def test_dtypes_that_are_equal_but_not_the_same_object_pass():
    dtype = pickle.loads(pickle.dumps(np.dtype([("a", "f8")])))["a"]
    x = X.view(np.dtype(dtype, metadata={"unit": "m"}))
    f = jit(lambda x: x + 1)
    f(X)
    np.testing.assert_array_equal(guards_only(f, x), X + 1)


def test_the_other_order_of_bytes_is_converted():
    f = jit(lambda x: x + 1)
    swapped = X.astype(X.dtype.newbyteorder())
    for x in (swapped, X, swapped):
        np.testing.assert_array_equal(f(x), X + 1)
    closing = jit(lambda x: x + swapped)
    np.testing.assert_array_equal(closing(X), 2 * X)


def test_subclasses_of_ndarray_are_computed_with_as_arrays():
    f = jit(lambda x: x + 1)
    got = [f(np.ma.masked_array(X).view(np.ndarray)), f(X.view(np.recarray)), f(X)]
    for each in got:
        assert type(each) is np.ndarray
        np.testing.assert_array_equal(each, X + 1)
    assert explain_cache(f).traces == 1


def test_arrays_on_a_device_stay_there():
    f = jit(lambda x: fnp.sin(x) * x)
    on_host = f(X)
    with cupy_stand_in.installed(*cupy_stand_in.stand_in()) as cupy:
        x = cupy.asarray(X)
        for _ in range(3):
            got = f(x)
            assert type(got) is type(x)
            assert not cupy_stand_in.reads
            np.testing.assert_array_equal(got.get(), on_host)
            cupy_stand_in.reads.clear()
        np.testing.assert_array_equal(guards_only(f, X), on_host)


def test_a_very_deep_tree_has_no_guard_but_works():
    tree = X
    for _ in range(60):
        tree = (tree,)
    f = jit(lambda tree: functional.tree_map(lambda x: x + 1, tree))
    for _ in range(2):
        np.testing.assert_array_equal(functional.tree_leaves(f(tree))[0], X + 1)
    assert f._cache.recent == ()


# Memory


def test_results_share_no_memory():
    f = jit(lambda x: (x, x, x.T, x.reshape(6), x[0]))
    for call in (f, functools.partial(guards_only, f)):
        outs = [X, *call(X)]
        for i, a in enumerate(outs):
            for b in outs[:i]:
                assert not np.shares_memory(a, b)


def test_a_call_keeps_neither_arguments_nor_results():
    f = jit(lambda x: x + 1)
    f(X)
    x = X.copy()
    dead = weakref.ref(x), weakref.ref(guards_only(f, x))
    del x
    gc.collect()
    assert [ref() for ref in dead] == [None, None]


def test_constants_are_read_where_they_are():
    wide = np.asfortranarray(X.copy())
    f = jit(lambda x: x + wide)
    f(X)
    wide[0, 0] = 100.0
    assert guards_only(f, X)[0, 0] == 100.0


def test_donated_arrays_hold_the_new_values():
    step = jit(lambda w, x: [w[0] - x, w[1] * 2], donate_argnums=0)
    w, x = [X.copy(), np.ones(3)], np.ones((2, 3))
    before = list(w)
    for turn in range(1, 4):
        w = step(w, x)
        assert [a is b for a, b in zip(w, before, strict=True)] == [True, True]
        np.testing.assert_array_equal(w[0], X - turn)
        np.testing.assert_array_equal(w[1], np.full(3, 2.0**turn))
    np.testing.assert_array_equal(x, 1.0)


def test_donated_arrays_may_swap():
    swap = jit(lambda a, b: (b, a), donate_argnums=(0, 1))
    a, b = X.copy(), X + 10
    first, second = swap(a, b)
    assert first is a
    assert second is b
    np.testing.assert_array_equal(a, X + 10)
    np.testing.assert_array_equal(b, X)


def test_donation_without_a_fitting_result_changes_nothing():
    x = X.copy()
    f = jit(lambda x: (x.sum(), x.astype("f4")), donate_argnums=-1)
    for _ in range(2):
        assert f(x)[0] == 15
    np.testing.assert_array_equal(x, X)


def test_complex_arrays_are_donated_too():
    z = X + 1j
    got = jit(lambda z: z * 2, donate_argnums=0)(z)
    assert got is z
    np.testing.assert_array_equal(z, 2 * (X + 1j))


def test_donation_waits_for_the_outermost_transform():
    x = X.copy()
    f = jit(lambda x: (x**2).sum(), donate_argnums=0)
    np.testing.assert_array_equal(functional.grad(f)(x), 2 * X)
    np.testing.assert_array_equal(x, X)


def test_a_read_only_array_is_not_donated():
    frozen = X.copy()
    frozen.flags.writeable = False
    f = jit(lambda a, w: w["b"] + a, donate_argnums=1)
    with pytest.raises(OptionError) as caught:
        f(1.0, {"b": frozen})
    assert str(caught.value) == (
        "jit(<lambda>): an array in donated argument w is read-only\n"
        "  given:    leaf 1, f64[2,3]\n"
        "  expected: arrays that the results may replace"
    )


# Static arguments


def test_static_values_may_be_branched_on():
    traced = []

    @functools.partial(jit, static_argnames=("power", "name"))
    def f(x, power, *, name="cube"):
        traced.append((power, name))
        return {name: x**power if power else x + 0}

    for _ in range(2):
        np.testing.assert_array_equal(f(X, 3)["cube"], X**3)
        np.testing.assert_array_equal(f(X, power=0, name="same")["same"], X)
    assert traced == [(3, "cube"), (0, "same")]
    np.testing.assert_array_equal(guards_only(f, X, 3)["cube"], X**3)


@pytest.mark.parametrize("option", [{"static_argnums": 1}, {"static_argnums": (-1,)},
                                    {"static_argnames": "n"}])  # fmt: skip
def test_static_by_number_is_static_by_name_and_the_other_way_round(option):
    f = jit(lambda x, n: x if n == "x" else -x, **option)
    np.testing.assert_array_equal(f(X, "x"), X)
    np.testing.assert_array_equal(f(X, n="y"), -X)
    np.testing.assert_array_equal(guards_only(f, X, n="y"), -X)


@pytest.mark.parametrize(
    "values", [(1, 1.0, True), ((1, 2), (1.0, 2), (1, 2, 0)), (0.0, -0.0), ("a", b"a", None)]
)
def test_static_values_of_different_types_differ(values):
    f = jit(lambda x, n: x, static_argnums=1)
    for _ in range(2):
        for value in values:
            f(X, value)
    assert explain_cache(f).traces == len(values)


def test_static_variadic_arguments():
    f = jit(lambda *args: args[0] * args[2], static_argnums=2)
    np.testing.assert_array_equal(f(X, X, 2), 2 * X)
    np.testing.assert_array_equal(f(X, X, 3), 3 * X)
    assert explain_cache(f).reason == "argument args[2]: static value 2 became 3"


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: jit(lambda x: x, static_argnums=1), OptionError,
         "jit(<lambda>): there is no argument 1\n  given:    static_argnums 1\n"
         "  expected: the number of one of: x"),
        (lambda: jit(lambda x: x, donate_argnums=(0, -2)), OptionError,
         "jit(<lambda>): there is no argument -2\n  given:    donate_argnums -2\n"
         "  expected: the number of one of: x"),
        (lambda: jit(lambda width: width, static_argnames="widht"), UnknownNameError,
         "jit(<lambda>): there is no argument called 'widht'\n  given:    'widht'\n"
         "  expected: one of width\n  fix:      did you mean 'width'?"),
        (lambda: jit(lambda x, n: x, static_argnums=1, donate_argnums=(0, 1)), OptionError,
         "jit(<lambda>): an argument is both static and donated\n  given:    n\n"
         "  expected: static values have no memory to give"),
        (lambda: jit(lambda x, n: x, static_argnums=1)(X, X), DtypeError,
         "jit(<lambda>): the static argument n cannot be hashed\n  given:    a ndarray\n"
         "  expected: a value that hashes and compares: a number, a string, a tuple of such\n"
         "  fix:      arrays are not static: leave it out of static_argnums and static_argnames"),
        (lambda: jit(lambda n: jit(lambda n: n, static_argnums=0)(n))(X), DtypeError,
         "jit(<lambda>): the static argument n cannot be hashed\n  given:    a traced value\n"
         "  expected: a value that hashes and compares: a number, a string, a tuple of such\n"
         "  fix:      arrays are not static: leave it out of static_argnums and static_argnames"),
        (lambda: explain_cache(np.sin), OptionError,
         "explain_cache: this is not a jitted function\n  given:    <ufunc 'sin'>\n"
         "  expected: what jit(f) returned"),
    ],
)  # fmt: skip
def test_refusals(make, kind, text):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text


# The cache, and its explanation


ONE = {"a": X, "b": [X, 1.0]}


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ((X,), (np.ones((3, 3)),), "argument x: shape (2, 3) became (3, 3)"),
        ((X,), (X.astype("f4"),), "argument x: dtype float64 became float32"),
        ((X,), (1.0,), "argument x: a Python float where there was an array f64[2,3]"),
        ((1.0,), (1,), "argument x: a Python int where there was a Python float"),
        ((1.0,), (np.array(1.0),), "argument x: an array f64[] where there was a Python float"),
        ((X,), ((X,),), "argument x: a tuple where there was an array f64[2,3]"),
        (([X],), ((X,),), "argument x: a tuple where there was a list"),
        ((None,), (X,), "argument x: an array f64[2,3] where there was None"),
        (([X],), ([X, X],), "argument x: a list of length 1 became one of 2"),
        ((ONE,), ({"a": X},), "argument x: the keys of the dict, ['a', 'b'], became ['a']"),
        ((ONE,), ({"a": X, "b": [X, X]},),
         "argument x['b'][1]: an array f64[2,3] where there was a Python float"),
        ((Pair(X, X),), (Pair(X, X[0]),), "argument x.right: shape (2, 3) became (3,)"),
        ((Layer(X, X, 0.5),), (Layer(X, X[0], 0.5),), "argument x.b: shape (2, 3) became (3,)"),
        ((Layer(X, X, 0.5),), (Layer(X, X, 0.1),), "argument x.rate: static value 0.5 became 0.1"),
        ((X,), (X, X), "the number of positional arguments: 1 became 2"),
        ((X, X), (X[0], 1.0), "argument x: shape (2, 3) became (3,) (and 1 more)"),
    ],
)  # fmt: skip
def test_explain_cache_names_the_first_difference(first, second, reason):
    f = jit(lambda x, y=0.0: x)
    assert explain_cache(f).reason == "it was not called yet"
    f(*first)
    assert explain_cache(f).reason == "it was the first call"
    f(*second)
    assert explain_cache(f).reason == reason
    f(*first)
    assert explain_cache(f).reason == reason


def test_explain_cache_of_keywords_and_static_values():
    f = jit(lambda x, n=2, **more: x, static_argnames="n")
    f(X)
    f(X, k=X)
    assert explain_cache(f).reason == "the keyword arguments: [] became ['k']"
    f(X, k=X[0])
    assert explain_cache(f).reason == "argument k: shape (2, 3) became (3,)"
    f(X, 3)
    f(X, 4)
    assert explain_cache(f).reason == "argument n: static value 3 became 4"


def test_the_nearest_signature_is_the_one_compared_with():
    f = jit(lambda x, y, z: x)
    f(X, X, X)
    f(1.0, 1.0, 1.0)
    f(X, X, X[0])
    assert explain_cache(f).reason == "argument z: shape (2, 3) became (3,)"


def test_explain_cache_counts_and_prints():
    f = jit(lambda params, n: params, static_argnums=1)
    for _ in range(3):
        f({"w": X, "b": [X[0], None]}, 2)
    f((1.0, np.array(2)), "n")
    info = explain_cache(f)
    assert [(text, used) for text, used, _ in info.entries] == [
        ("params=(~f64[], i64[]), n='n'", 1),
        ("params={'b': [f64[3], None], 'w': f64[2,3]}, n=2", 3),
    ]
    assert all(seconds > 0 for *_, seconds in info.entries)
    lines = str(info).splitlines()
    assert lines[0] == "jit(<lambda>): 2 kept, 2 traced"
    assert lines[1].startswith("  (params=(~f64[], i64[]), n='n')  used once, compiled in 0.")
    assert lines[2].endswith("s")
    assert "  used 3 times" in lines[2]
    assert lines[3].startswith("last traced because: argument params: a tuple where there was a d")


def test_a_traced_value_closed_over_is_not_kept():
    functions = []

    def outer(x):
        functions.append(jit(lambda y: x * y))
        return functions[0](X).sum()

    np.testing.assert_array_equal(functional.grad(outer)(2.0), X.sum())
    info = explain_cache(functions[0])
    assert info.entries == ()
    assert info.reason == "it closes over a value that another transform traces: not kept"


def test_the_size_of_a_named_axis_is_part_of_the_signature():
    f = jit(lambda x: functional.pmean(x, "batch"))
    mapped = functional.vmap(f, axis_name="batch")
    for n in (2, 4, 2):
        np.testing.assert_allclose(mapped(np.arange(n * 1.0)), np.full(n, (n - 1) / 2), rtol=1e-15)
    assert (
        explain_cache(f).reason == "the named axes around it: [('batch', 2)] became [('batch', 4)]"
    )


def test_clear_cache_forgets():
    traced = []
    f = jit(lambda x: traced.append(x) or x)
    f(X)
    f.clear_cache()
    assert explain_cache(f).entries == ()
    f(X)
    assert len(traced) == 2


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest(monkeypatch):
    monkeypatch.setattr(jitting, "KEPT", 3)
    f = jit(lambda x, n: x, static_argnums=1)
    for n in (0, 1, 2, 0, 3):
        f(X, n)
    assert [text[-1] for text, _, _ in explain_cache(f).entries] == ["3", "0", "2"]
    assert len(f._cache.recent) == 3
    f(X, 1)
    assert explain_cache(f).traces == 5
    assert {e.signature for e in f._cache.recent} <= set(f._cache.entries)


def test_guards_are_tried_latest_first_and_no_more_than_a_few():
    f = jit(lambda x, n: x * n, static_argnums=1)
    for n in range(8):
        f(X, n)
    assert len(f._cache.recent) == jitting.TRIED
    np.testing.assert_array_equal(guards_only(f, X, 5), 5 * X)
    assert f._cache.recent[0].guard((X, 5), {}) is not MISS
    for n in range(8):
        np.testing.assert_array_equal(f(X, n), n * X)
    assert explain_cache(f).traces == 8


# Failures, recursion, threads


def test_an_exception_while_tracing_leaves_the_cache_usable():
    fail = [True]

    @jit
    def f(x):
        y = x * 2
        if fail[0]:
            raise KeyError("mine")
        return y

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            f(X)
    assert explain_cache(f).entries == ()
    fail[0] = False
    np.testing.assert_array_equal(f(X), 2 * X)
    np.testing.assert_array_equal(guards_only(f, X), 2 * X)
    with pytest.raises(GraphError):
        jit(lambda x: x if x > 0 else -x)(1.0)
    np.testing.assert_array_equal(guards_only(f, X), 2 * X)


def test_an_error_of_the_program_is_raised_on_the_fast_path_too():
    f = jit(lambda x: fnp.linalg.cholesky(x))
    f(np.eye(2))
    texts = []
    for _ in range(2):
        with pytest.raises(Exception, match="definite") as caught:
            f(-np.eye(2))
        texts.append((type(caught.value), str(caught.value)))
    assert texts[0] == texts[1]
    np.testing.assert_array_equal(guards_only(f, np.eye(2)), np.eye(2))


def test_recursion_over_a_static_argument():
    @functools.partial(jit, static_argnames="n")
    def factorial(x, n):
        return x if n == 0 else n * factorial(x, n - 1)

    for _ in range(2):
        np.testing.assert_array_equal(factorial(X, 5), 120 * X)
    np.testing.assert_array_equal(guards_only(factorial, X, 5), 120 * X)


def test_two_threads_call_one_function():
    f = jit(lambda x, n: (x * n).sum(axis=1), static_argnums=1)
    wrong, gate = [], threading.Barrier(4)

    def work(seed):
        rng = np.random.default_rng(seed)
        gate.wait()
        for turn in range(150):
            x, n = rng.integers(0, 9, (turn % 3 + 1, 4)).astype(float), int(rng.integers(3))
            if not np.array_equal(f(x, n), (x * n).sum(axis=1)):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(explain_cache(f).entries) == 9


def test_a_warm_function_is_recorded_inside_another_transform():
    f = jit(lambda x: x**2)
    f(X)
    assert str(functional.make_jaxpr(f)(X)).count("jit[") == 1
    np.testing.assert_array_equal(functional.jit(lambda x: f(X) + x)(X), X**2 + X)
    np.testing.assert_array_equal(functional.vmap(functional.grad(f))(X.ravel()), 2 * X.ravel())


# What it returns


def test_a_jitted_function_keeps_its_name_and_serves_as_a_method():
    @jit
    def double(x):
        """Twice x."""
        return 2 * x

    assert (double.__name__, double.__doc__, repr(double)) == (
        "double",
        "Twice x.",
        "<jit(double)>",
    )
    assert not hasattr(functional.grad(double), "lower")

    class Model:
        @jit(static_argnums=0)
        def scaled(self, x):
            return self.scale * x

        scale = 3.0

    np.testing.assert_array_equal(Model().scaled(X), 3 * X)


def test_lower_shows_every_stage_without_running():
    f = jit(lambda x, n: fnp.sin(x) * n, static_argnums=1)
    lowered = f.lower(X, 2)
    assert explain_cache(f).entries[0][1] == 0
    assert [str(eqn.primitive) for eqn in lowered.jaxpr.eqns] == ["sin", "multiply"]
    assert "sin" in lowered.program
    assert any("sin" in text for text in lowered.kernels.values())
    assert "_sin(" in lowered.python
    for part in (str(lowered.jaxpr), lowered.program, *lowered.kernels.values()):
        assert part in str(lowered)
    np.testing.assert_array_equal(f(X, 2), 2 * np.sin(X))
    assert explain_cache(f).traces == 1


def test_lower_of_what_the_compiler_does_not_take_is_python():
    lowered = jit(lambda z: z * 2).lower(X + 1j)
    assert lowered.kernels == {}
    assert "_multiply(" in lowered.program
