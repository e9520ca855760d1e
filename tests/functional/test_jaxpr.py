"""The jaxpr as text, and what jit makes of it."""

import textwrap

import numpy as np

from workbench.functional import grad, jit, make_jaxpr, vmap
from workbench.functional import numpy as fnp
from workbench.functional.compile import simplify, to_python
from workbench.functional.jaxpr import eval_jaxpr, variable_names


def text(block):
    return textwrap.dedent(block).strip()


def loss(params, x):
    return fnp.mean(fnp.tanh(x @ params["w"] + params["b"]) ** 2)


PARAMS = {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
X = np.ones((4, 3), np.float32)


def test_it_prints_one_typed_equation_a_line():
    assert str(make_jaxpr(loss)(PARAMS, X)) == text("""
        { lambda ; a:f32[2] b:f32[3,2] c:f32[4,3]. let
            d:f32[4,2] = matmul c b
            e:f32[4,2] = add d a
            f:f32[4,2] = tanh e
            g:f32[4,2] = integer_power[exponent=2] f
            h:f32[] = reduce_sum[axes=(0, 1)] g
            i:f32[] = divide h 8.0:f32[]
          in (i,) }
    """)


def test_reverse_mode_prints_as_forward_then_transpose():
    assert str(make_jaxpr(grad(lambda x: fnp.sum(fnp.sin(x) * x)))(np.ones(3))) == text("""
        { lambda ; a:f64[3]. let
            b:f64[3] = sin a
            c:f64[3] = cos a
            d:f64[3] = multiply b a
            e:f64[] = reduce_sum[axes=(0,)] d
            f:f64[] = full_like[fill_value=1] e
            g:f64[3] = broadcast_to[shape=(3,)] f
            h:f64[3] = multiply b g
            i:f64[3] = multiply g a
            j:f64[3] = multiply i c
            k:f64[3] = add h j
          in (k,) }
    """)


def test_constants_weak_types_and_several_outputs_print():
    table = np.arange(3)
    jaxpr = make_jaxpr(lambda s, i: (s * 2, fnp.take(table, i), True))(1.5, np.array([0, 2]))
    assert str(jaxpr) == text("""
        { lambda a:i64[3]; b:~f64[] c:i64[2]. let
            d:~f64[] = multiply b 2.0:~f64[]
            e:i64[2] = gather a c
          in (d, e, True:~bool[]) }
    """)


def test_vmap_adds_an_axis_to_every_equation():
    f = lambda x, w: fnp.sum(fnp.exp(x) @ w)  # noqa: E731
    batched = make_jaxpr(vmap(f, in_axes=(0, None)))(np.ones((5, 2)), np.ones((2, 3)))
    assert str(batched) == text("""
        { lambda ; a:f64[5,2] b:f64[2,3]. let
            c:f64[5,2] = exp a
            d:f64[5,1,2] = reshape[shape=(5, 1, 2)] c
            e:f64[5,2] = reshape[shape=(5, 2)] d
            f:f64[5,3] = matmul e b
            g:f64[5,1,3] = reshape[shape=(5, 1, 3)] f
            h:f64[5,3] = reshape[shape=(5, 3)] g
            i:f64[5] = reduce_sum[axes=(1,)] h
          in (i,) }
    """)


def test_names_go_on_after_z_and_skip_keywords():
    names = [name for name, _ in zip(variable_names(), range(800), strict=False)]
    assert names[25:28] == ["z", "aa", "ab"]
    assert not {"as", "if", "in", "is", "or", "def"} & set(names)
    assert len(set(names)) == 800


def test_a_jaxpr_evaluates_to_what_it_was_traced_from():
    jaxpr = make_jaxpr(loss)(PARAMS, X)
    assert eval_jaxpr(jaxpr, [PARAMS["b"], PARAMS["w"], X]) == [loss(PARAMS, X)]


def test_simplify_drops_shares_folds_and_shortens():
    def f(x, y):
        fnp.exp(y)  # Dead.
        twice = fnp.sin(x) + fnp.sin(x)  # Shared.
        scale = fnp.sqrt(fnp.full((), 4.0)) * 3  # Folded.
        row = fnp.broadcast_to(y, (3, 2))  # NumPy repeats it itself.
        return fnp.reshape(fnp.reshape(twice * scale + row, (6,)), (3, 2))

    jaxpr = make_jaxpr(f)(np.ones((3, 2)), np.ones(2))
    assert len(jaxpr.eqns) == 12
    assert str(simplify(jaxpr)) == text("""
        { lambda ; a:f64[3,2] b:f64[2]. let
            c:f64[3,2] = sin a
            d:f64[3,2] = add c c
            e:f64[3,2] = multiply d 6.0:f64[]
            f:f64[3,2] = add e b
          in (f,) }
    """)


def test_a_broadcast_that_gives_the_result_its_shape_stays():
    f = lambda x: fnp.broadcast_to(x, (3, 2)) * fnp.broadcast_to(x * 2, (3, 2))  # noqa: E731
    x = np.arange(2.0)
    np.testing.assert_array_equal(jit(f)(x), f(x))


def test_the_program_is_straight_python():
    source, namespace = to_python(simplify(make_jaxpr(loss)(PARAMS, X)))
    assert source == textwrap.dedent("""\
        def program(a, b, c):
            # _0 = 8.0:f32[]
            d = _matmul(c, b); del c, b
            e = _add(d, a); del d, a
            f = _tanh(e); del e
            g = _integer_power(f, exponent=2); del f
            h = _reduce_sum(g, axes=(0, 1)); del g
            i = _divide(h, _0); del h
            return (i, )
        """)
    assert namespace["_tanh"] is np.tanh


def test_folding_keeps_equal_but_different_constants_apart():
    f = lambda x: (x * 0.0, x * -0.0, x * 1, x * True)  # noqa: E731
    for x in (np.float64(3), np.int64(3)):
        for got, want in zip(jit(f)(x), f(x), strict=True):
            assert (repr(np.asarray(got)), got.dtype) == (repr(np.asarray(want)), want.dtype)
    signs = jit(lambda: fnp.stack([fnp.full((), 0.0), fnp.full((), -0.0), fnp.full((), 0.0)]))()
    np.testing.assert_array_equal(np.signbit(signs), [False, True, False])
    nan = jit(lambda x: fnp.stack([x + np.nan, x + np.nan]))(1.0)
    assert np.isnan(nan).all()


def test_outputs_share_memory_with_nothing():
    constant, x = np.arange(3.0), np.ones(2)
    outs = jit(lambda x: (x, x, x[::-1], fnp.transpose(constant), fnp.zeros(2), x.T, 2))(x)
    assert outs[-1] == 2
    for place, part in enumerate(outs[:-1]):
        part += 1 + place
    np.testing.assert_array_equal(x, 1)
    np.testing.assert_array_equal(constant, np.arange(3.0))
    assert [part[0] for part in outs[:-1]] == [2, 3, 4, 4, 5, 7]
