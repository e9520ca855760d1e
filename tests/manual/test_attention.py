from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from workbench import manual as m
from workbench.errors import DtypeError, OptionError, ShapeError

rng = np.random.default_rng(7)


def _arrays(lead, queries, keys, d, dv):
    return [rng.standard_normal((*lead, *s)) for s in ((queries, d), (keys, d), (keys, dv))]


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients(check_pair, lead, masked):
    q, k, v = _arrays(lead, 3, 4, 2, 5)
    mask = rng.random((*lead, 3, 4)) < 0.5 if masked else None
    if masked:
        mask[..., 0] = True
    check_pair(lambda *a: m.attention(*a, mask), m.attention_backward, q, k, v)


def test_gradients_of_one_query_one_key_and_of_views(check_pair):
    check_pair(m.attention, m.attention_backward, *_arrays((1,), 1, 1, 1, 1))
    q, k, v = (a.swapaxes(-1, -2) for a in _arrays((2,), 3, 3, 4, 4))
    check_pair(m.attention, m.attention_backward, q, k, v)


def test_value_is_the_formula():
    q, k, v = _arrays((2,), 3, 4, 5, 6)
    mask = np.tri(3, 4, 1, dtype=bool)
    scores = np.einsum("nqd,nkd->nqk", q, k) / np.sqrt(5)
    for given, allowed in ((None, True), (mask, mask)):
        expected = softmax(np.where(allowed, scores, -np.inf), axis=-1) @ v
        np.testing.assert_allclose(m.attention(q, k, v, given)[0], expected, rtol=1e-13)


def test_masked_keys_do_not_matter_even_if_huge():
    q, k, v = _arrays((), 2, 3, 4, 1)
    mask = np.array([True, True, False])
    y, cache = m.attention(q, k, v, mask)
    k[2], v[2] = 1e3, 1e3
    np.testing.assert_array_equal(m.attention(q, k, v, mask)[0], y)
    _, dk, dv = m.attention_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dk[2], 0)
    np.testing.assert_array_equal(dv[2], 0)


def test_large_scores_are_stable():
    q, k, v = _arrays((), 2, 3, 4, 1)
    y, cache = m.attention(1e3 * q, 1e3 * k, v)
    assert all(np.isfinite(a).all() for a in (y, *m.attention_backward(y, cache)))


def test_refusals():
    q, k, v = _arrays((2,), 3, 4, 5, 6)
    with pytest.raises(ShapeError) as caught:
        m.attention(q, k[..., :4], v)
    assert str(caught.value) == (
        "attention: k does not fit q\n"
        "  given:    q (2, 3, 5), k (2, 4, 4), v (2, 4, 6)\n"
        "  expected: q (..., TQ, D), k (..., TK, D), v (..., TK, DV)\n"
        "  fix:      k needs shape (..., 4, 5) here"
    )
    with pytest.raises(ShapeError, match="attention: v does not fit k"):
        m.attention(q, k, v[:, :3])
    with pytest.raises(ShapeError, match="attention: v does not fit q") as caught:
        m.attention(q, k, v[:1])
    assert caught.value.fix == "v needs the leading axes (2,) of q"
    with pytest.raises(DtypeError, match="mask is not an array of bool") as caught:
        m.attention(q, k, v, np.ones((3, 4)))
    assert caught.value.given == "mask float64"
    for shape in ((4, 3), (5, 2, 3, 4)):
        with pytest.raises(ShapeError, match="mask does not fit the scores"):
            m.attention(q, k, v, np.ones(shape, bool))
    with pytest.raises(OptionError, match="the mask leaves a query no key to look at"):
        m.attention(q, k, v, np.tri(3, 4, -1, dtype=bool))
    _, cache = m.attention(q, k, v)
    with pytest.raises(ShapeError, match="attention_backward: g does not have"):
        m.attention_backward(q, cache)
