"""How the results of a row are judged, whichever era or mode they came from."""

import functools

import numpy as np

from workbench import gradcheck

CENTRAL = np.finfo(np.float64).eps ** (2 / 3) * 100
"""A central difference of step cbrt(eps) is right to about eps^(2/3)."""


def sample(row, dtype):
    """Return a generator, and the inputs that it has drawn for the row."""
    rng = np.random.default_rng(len(row.id))
    return rng, [np.asarray(a, dtype) for a in row.sample(rng)]


def direction_of(row, rng, arrays, dtype):
    """Return the weights of the elements in the scalar whose gradient is taken."""
    return rng.standard_normal(np.shape(row.reference(*arrays))).astype(dtype)


def scattered(arrays):
    """Return equal arrays with gaps between their elements."""
    apart = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    assert not any(a.size > 1 and a.flags.c_contiguous for a in apart if a.ndim)
    return apart


def roundings(dtype, arrays):
    """Return the tolerance of a result made of a few hundred roundings at most."""
    largest = max([1.0, *(float(np.abs(a).max(initial=0)) for a in arrays)])
    return 100 * np.finfo(dtype).eps * largest


def assert_value(row, arrays, dtype, actual):
    """Compare a value, its shape and its dtype to NumPy's."""
    expected, actual = np.asarray(row.reference(*arrays)), np.asarray(actual)
    assert actual.shape == expected.shape
    if expected.dtype.kind == "f":
        assert actual.dtype == dtype
    else:
        assert actual.dtype == expected.dtype
    limit = roundings(dtype, [expected])
    np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit)


@functools.lru_cache(maxsize=4)
def numeric_gradients(row, dtype):
    """Return the numeric derivatives of <reference(x), direction>, one for each input.

    For float32 inputs too they are taken in float64.
    """
    rng, arrays = sample(row, dtype)
    direction = direction_of(row, rng, arrays, dtype)
    wide = [a.astype(np.float64) for a in arrays]

    def f(i, v):
        return np.sum(row.reference(*wide[:i], v, *wide[i + 1 :]) * direction)

    return [
        gradcheck.numeric_gradient(functools.partial(f, i), x) if x.size else np.zeros_like(x)
        for i, x in enumerate(wide)
    ]


def assert_gradients(row, arrays, dtype, gradients):
    """Compare gradients, their shapes and their dtypes to the numeric ones."""
    assert [g.dtype for g in map(np.asarray, gradients)] == [dtype] * len(arrays)
    for g, x, numeric in zip(gradients, arrays, numeric_gradients(row, dtype), strict=True):
        assert np.shape(g) == x.shape
        limit = max(roundings(dtype, [numeric]), CENTRAL)
        np.testing.assert_allclose(
            g, numeric, rtol=limit, atol=limit * max(1, np.abs(numeric).max(initial=0))
        )


def assert_second_order(second, first, arrays, rng):
    """Compare second derivatives to the numeric ones of ``first(arrays)``, a number.

    A few elements of each input are enough: each costs two calls.
    """
    for i, (g, x) in enumerate(zip(second, arrays, strict=True)):
        assert np.shape(g) == x.shape
        if not x.size:
            continue  # Of an empty array the shape is all there is to be right about.
        pick = rng.permutation(x.size)[:6]

        def at(values, i=i, x=x, pick=pick):
            changed = x.copy()
            changed.reshape(-1)[pick] = values
            return first([*arrays[:i], changed, *arrays[i + 1 :]])

        numeric = gradcheck.numeric_gradient(at, x.reshape(-1)[pick])
        np.testing.assert_allclose(np.reshape(g, -1)[pick], numeric, rtol=CENTRAL,
                                   atol=CENTRAL * max(1, np.abs(numeric).max(initial=0)))  # fmt: skip
