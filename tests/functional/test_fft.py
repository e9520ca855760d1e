"""Fourier transforms: against NumPy, and derivatives from real through complex to real."""

import numpy as np
import pytest

from workbench import functional
from workbench.errors import DtypeError, ShapeError, UnknownNameError
from workbench.functional import numpy as fnp
from workbench.functional.numpy import fft
from workbench.gradcheck import check_gradient

RNG = np.random.default_rng(0)
EPS = np.finfo(float).eps

X = RNG.normal(size=(2, 3, 4))
Z = X + 1j * RNG.normal(size=X.shape)

ONE = [
    (name, options)
    for name in ("fft", "ifft", "rfft", "irfft")
    for options in ({}, {"axis": 1}, {"n": 3}, {"n": 8, "axis": 0}, {"norm": "ortho"},
                    {"norm": "forward", "n": 7})
]  # fmt: skip
SEVERAL = [
    (kind + "fft" + n, options)
    for kind in ("", "i", "r", "ir")
    for n, options in (("2", {}), ("n", {"axes": (0, 2)}), ("n", {"norm": "ortho"}),
                       ("n", {"s": (6, 2), "axes": (1, 2)}))
]  # fmt: skip
ALL = [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in [*ONE, *SEVERAL]]


def close(got, want, scale=64.0):
    got = np.asarray(got)
    assert got.shape == np.shape(want)
    eps = np.finfo(got.dtype).eps
    assert np.abs(got - want).max(initial=0) <= scale * eps * max(1, np.abs(want).max(initial=0))


def to_real(name, options):
    """A real function, not linear, of real numbers through the transform; weights break symmetry."""
    y = getattr(np.fft, name)(X, **options)
    a, b = RNG.normal(size=y.shape), RNG.normal(size=y.shape)

    def f(x):
        z = getattr(fft, name)(x, **options)
        real, imag = fft.real(z), fft.imag(z)
        return fnp.sum(a * real * real * imag + b * real * fnp.sin(imag) + b * imag + a * real**3)

    return f


@pytest.mark.parametrize(("name", "options"), ALL)
def test_values_are_numpys(name, options):
    ours, theirs = getattr(fft, name), getattr(np.fft, name)
    for x in (X, Z):
        if x is Z and name.startswith("rfft"):
            continue
        close(ours(x, **options), theirs(x, **options))
        close(functional.jit(lambda x: ours(x, **options))(x), theirs(x, **options))
    short = ours(X.astype(np.float32), **options)
    assert short.dtype == theirs(X.astype(np.float32), **options).dtype
    assert short.dtype.itemsize * 2 == ours(X, **options).dtype.itemsize
    jaxpr = functional.make_jaxpr(lambda x: ours(x, **options))(X)
    (out,) = jaxpr.outvars
    assert (out.aval.shape, out.aval.dtype) == (ours(X, **options).shape, ours(X).dtype)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradients_of_first_and_second_order(name, options):
    f = to_real(name, options)
    gradient = functional.grad(f)
    check_gradient(f, gradient, X)
    v = RNG.normal(size=X.shape)
    product = lambda x: fnp.sum(gradient(x) * v)  # noqa: E731
    check_gradient(product, functional.grad(product)(X), X)
    forward = functional.jvp(f, (X,), (v,))[1]
    assert abs(forward - (gradient(X) * v).sum()) <= 1e4 * EPS * np.abs(gradient(X) * v).sum()


@pytest.mark.parametrize(("name", "options"), ALL)
def test_vmap_and_jit_of_gradients_are_loops(name, options):
    gradient = functional.grad(to_real(name, options))
    batch = np.stack([X, 0.5 * X, X[::-1]])
    got = functional.vmap(gradient)(batch)
    for i in range(3):
        close(got[i], gradient(batch[i]), 256)
    close(functional.jit(functional.vmap(gradient))(batch), got, 256)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_parseval(n):
    """The energy of a signal is that of its spectrum; so its gradient is 2 x."""
    x = RNG.normal(size=n)
    energy = lambda x: fnp.sum(fft.abs2(fft.fft(x, norm="ortho")))  # noqa: E731
    close(energy(x), (x**2).sum())
    close(functional.grad(energy)(x), 2 * x)
    close(functional.jit(functional.hessian(energy))(x), 2 * np.eye(n))
    close(functional.grad(lambda x: fnp.sum(fft.irfft(fft.rfft(x), n=n) * x))(x), 2 * x)


def test_convolution_is_a_product_of_spectra():
    x, k = RNG.normal(size=(2, 6))
    circular = lambda x, k: fft.irfft(fft.rfft(x) * fft.rfft(k), n=6)  # noqa: E731
    matrix = np.stack([np.roll(k, i) for i in range(6)], axis=1)
    close(circular(x, k), matrix @ x)
    close(functional.jacrev(circular)(x, k), matrix)
    close(functional.jacfwd(circular)(x, k), matrix)


def test_magnitude_is_smooth_but_at_zero_where_its_derivative_is_zero():
    f = lambda x: fnp.sum(fft.magnitude(fft.rfft(x)))  # noqa: E731
    check_gradient(f, functional.grad(f), RNG.normal(size=7))
    np.testing.assert_array_equal(functional.grad(f)(np.zeros(4)), 0)
    close(fft.magnitude(Z), np.abs(Z))
    close(fft.magnitude(1e300 * Z), np.abs(1e300 * Z))  # No square overflows.
    close(fft.magnitude(-X), np.abs(X))
    product = lambda x: fnp.sum(functional.grad(f)(x) * np.arange(7))  # noqa: E731
    x = RNG.normal(size=7)
    check_gradient(product, functional.grad(product)(x), x)


def test_parts_of_complex_numbers():
    for x in (X, Z):
        close(fft.real(x), np.real(x))
        close(fft.imag(x), np.imag(x))
        close(fft.conj(x), np.conj(x))
    assert fft.as_complex(np.float32(2)).dtype == np.complex64
    # The derivative of a product of complex numbers, by its parts.
    f = lambda x, y: fft.imag(fft.as_complex(x) * fft.conj(fft.as_complex(y) * 1j))  # noqa: E731
    assert functional.grad(f, (0, 1))(2.0, 3.0) == (-3.0, -2.0)
    h = lambda x: fnp.sum(fft.imag(fnp.exp(fft.fft(x))))  # noqa: E731
    check_gradient(h, functional.grad(h), RNG.normal(size=3))
    g = lambda x: fft.real(fft.as_complex(x) * (3 + 4j))  # noqa: E731
    assert functional.grad(g)(2.0) == 3.0


@pytest.mark.parametrize("n", [1, 4, 5])
def test_frequencies(n):
    np.testing.assert_array_equal(fft.fftfreq(n, 0.5), np.fft.fftfreq(n, 0.5))
    np.testing.assert_array_equal(fft.rfftfreq(n, 0.5), np.fft.rfftfreq(n, 0.5))
    x = RNG.normal(size=(n, 3))
    for axes in (None, 0, (1,)):
        np.testing.assert_array_equal(fft.fftshift(x, axes), np.fft.fftshift(x, axes))
        np.testing.assert_array_equal(fft.ifftshift(x, axes), np.fft.ifftshift(x, axes))
    check_gradient(lambda x: fnp.sum(fft.fftshift(x) ** 3 * x),
                   functional.grad(lambda x: fnp.sum(fft.fftshift(x) ** 3 * x)), x)  # fmt: skip


def test_refusals():
    with pytest.raises(DtypeError, match="rfft: there is no such operation on this dtype"):
        functional.jit(fft.rfft)(Z)
    with pytest.raises(DtypeError, match="x c128"):
        fft.rfft(Z)
    with pytest.raises(ShapeError, match="fft: a transform has one point or more"):
        fft.fft(X, 0)
    with pytest.raises(ShapeError, match="ifft: there is no such axis"):
        fft.ifft(X, axis=3)
    with pytest.raises(ShapeError, match="fftn: a length is needed for each axis"):
        fft.fftn(X, (2, 2), (0,))
    with pytest.raises(UnknownNameError, match="ortho"):
        fft.fft(X, norm="orto")
    with pytest.raises(DtypeError, match="not real floating point"):
        functional.grad(lambda z: fnp.sum(fft.abs2(z)))(Z)
