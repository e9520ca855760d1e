"""What era 4 and JAX both have: one expression a row, written once and run on both sides.

In ``lambda m, x: m.sum(x)`` the letter m is a side: all names of ``workbench.functional`` and
its ``numpy``, or of ``jax``, ``jax.numpy``, ``jax.lax`` and their neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import jax.scipy.special
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from workbench import functional

jax.config.update("jax_enable_x64", True)


class Side:
    """The names of several modules, the first that has one deciding."""

    def __init__(self, *modules: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self.modules = modules

    def __getattr__(self, name: str) -> Any:
        for module in self.modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"{name} is not on this side")


# Names that differ, under ours.
THEIRS = Side(
    jax, jnp, lax, jax.nn, jax.scipy.special,
    array=jnp.stack, at=lambda x: jnp.asarray(x).at, checkpoint_name=checkpoint_name,
    expm=jax.scipy.linalg.expm, gelu=lambda x: jax.nn.gelu(x, approximate=False),
    log_sigmoid=jax.nn.log_sigmoid, one_hot=lambda i, n: jax.nn.one_hot(i, n, dtype=jnp.float64),
    solve_triangular=jax.scipy.linalg.solve_triangular, stop_gradient=lax.stop_gradient,
)  # fmt: skip
OURS = Side(
    functional, functional.numpy, functional.numpy.linalg,
    linalg=functional.numpy.linalg, fft=functional.numpy.fft,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A function of both sides, arguments for it, and the transforms that neither side has."""

    label: str
    f: Callable[..., Any]
    sample: Callable[[np.random.Generator], list[Any]]
    without: tuple[str, ...] = ()


Sample = Callable[[np.random.Generator], list[Any]]


def normal(*shapes: tuple[int, ...]) -> Sample:
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


def between(low: float, high: float, *shapes: tuple[int, ...]) -> Sample:
    return lambda rng: [rng.uniform(low, high, shape) for shape in shapes]


def distinct(*shapes: tuple[int, ...]) -> Sample:
    """All values of an array at least 0.2 apart: no ties, and none at 0."""
    return lambda rng: [
        (rng.permutation(int(np.prod(s))).reshape(s) - np.prod(s) // 2) * 0.2 + 0.07 for s in shapes
    ]


def definite(*more: tuple[int, ...]) -> Sample:
    """A positive definite 3x3 matrix with its eigenvalues apart, and further arrays."""

    def sample(rng: np.random.Generator) -> list[Any]:
        q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        return [q @ np.diag([1.0, 2.2, 3.5]) @ q.T, *(rng.standard_normal(s) for s in more)]

    return sample


def named(names: str, sample: Sample) -> list[Row]:
    """Rows for functions that both sides call alike."""
    return [Row(n, lambda m, *x, n=n: getattr(m, n)(*x), sample) for n in names.split()]


def over(names: str, sample: Sample, *axes: Any, **options: Any) -> list[Row]:
    """Rows for reductions, one an axis."""
    return [
        Row(f"{n}-{axis}".replace(" ", ""),
            lambda m, x, n=n, axis=axis: getattr(m, n)(x, axis=axis, **options), sample)
        for n in names.split() for axis in axes
    ]  # fmt: skip


PICK = np.array([[2, 0], [1, 2]])
MASK = np.arange(6).reshape(2, 3) % 2 == 0
REVERSE = ("vjp", "grad", "jacrev", "hessian", "hvp", "vmap-grad", "jit-grad", "vmap-hessian")
FORWARD = ("jvp", "linearize", "jacfwd", "hessian", "hvp", "vmap-hessian")


def horner(m: Any, c: Any, x: Any) -> Any:
    """A polynomial by a loop that carries two values and counts."""
    return m.fori_loop(0, 4, lambda i, p: (p[0] * x + m.take(c, i), p[1] + p[0]), (x * 0, x))[0]


def newton(m: Any, x: Any) -> Any:
    """A square root, until the steps are small: how many there are depends on x."""

    def goes_on(s: Any) -> Any:
        return m.max(m.abs(s[0] - s[1])) > 1e-3

    return m.while_loop(goes_on, lambda s: (s[1], (s[1] + x / s[1]) / 2), (x * 0, x))[1]


def recurrent(m: Any, xs: Any, h: Any, w: Any, reverse: bool = False) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = m.tanh(x + h @ w)
        return h, m.sum(h * h)

    last, ys = m.scan(step, h, xs, reverse=reverse)
    return m.concatenate([last, ys])


def of_scans(m: Any, x: Any, c: Any) -> Any:
    """Horner's rule at each element: a scan in a scan."""

    def at(carry: Any, xi: Any) -> Any:
        return carry + xi, m.scan(lambda p, ck: (p * xi + ck, None), xi * 0, c)[0]

    return m.scan(at, x[0] * 0, x)[1]


def log1pexp(m: Any, x: Any) -> Any:
    f = m.custom_jvp(lambda x: m.log1p(m.exp(x)))

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x,), (t,) = primals, tangents
        return f(x), t * (1 - 1 / (1 + m.exp(x)))

    return m.sin(f(2 * x))


def clipped(m: Any, x: Any) -> Any:
    f = m.custom_vjp(lambda x, y: x * y)
    f.defvjp(lambda x, y: (x * y, (x, y)), lambda r, g: (m.clip(g * r[1], -0.3, 0.3), g * r[0]))
    return f(m.sin(x), m.cos(x))


def deep(m: Any, x: Any) -> Any:
    def block(x: Any) -> Any:
        return m.sin(m.checkpoint_name(m.tanh(x) * 2, "kept")) * x

    return m.checkpoint(block)(m.checkpoint(block)(x))


def shards(body: Callable[..., Any]) -> Callable[..., Any]:
    """Map over three shards with a name for the axis."""
    return lambda m, x: m.vmap(lambda s: body(m, s), axis_name="i")(x)


def moved(m: Any, s: Any) -> Any:
    return m.sin(m.ppermute(s, "i", [(0, 1), (1, 2), (2, 0)])) * s


def halves(m: Any, z: Any) -> Any:
    """Both parts of complex numbers, as one real array."""
    return m.concatenate([m.real(z), m.imag(z)], -1)


def spectral(m: Any, a: Any) -> Any:
    values, vectors = m.linalg.eigh(a + a.T)
    return m.concatenate([values[None], vectors * vectors, (vectors * m.sin(values)) @ vectors.T])


def singular(m: Any, a: Any) -> Any:
    u, s, v = m.linalg.svd(a, full_matrices=False)
    return m.concatenate([s[None], (u * m.exp(-s)) @ v])


TABLE = [
    # --- elementwise
    *named("exp expm1 sin cos tan tanh sinh cosh arctan arcsinh square negative absolute exp2 "
           "deg2rad rad2deg sinc degrees radians positive", normal((2, 3))),
    *named("log log1p log2 log10 sqrt cbrt reciprocal", between(0.3, 3, (2, 3))),
    *named("arcsin arccos arctanh", between(-0.9, 0.9, (2, 3))),
    *named("arccosh", between(1.2, 4, (2, 3))), *named("erf erfc", between(-3, 3, (2, 3))),
    *named("logit", between(0.1, 0.9, (2, 3))),
    *named("add subtract multiply hypot arctan2 logaddexp logaddexp2", normal((2, 1), (3,))),
    *named("maximum minimum copysign", distinct((2, 3), (3,))),
    *named("divide power", between(0.5, 2, (2, 1), (3,))),
    *named("mod fmod", between(1.1, 1.9, (2, 3), (3,))),
    *named("floor ceil trunc rint sign round", distinct((2, 3))),
    *named("relu leaky_relu elu silu softplus log_sigmoid sigmoid gelu", distinct((2, 4))),
    # As in NumPy, float64 of float32 too.
    Row("float_power", lambda m, x, y: m.float_power(x, y).astype(x.dtype),
        between(0.5, 2, (2, 1), (3,))),
    Row("integer powers", lambda m, x: x**3 + x**-2 + m.power(x, 2), between(0.5, 2, (3,))),
    Row("where", lambda m, x, y: m.where(MASK, x * y, m.sin(y)), normal((2, 3), (3,))),
    Row("clip", lambda m, x: m.clip(x, -0.3, 0.5), distinct((2, 3))),
    Row("nan_to_num", lambda m, x: m.nan_to_num(x) * x, normal((4,))),
    Row("select", lambda m, x: m.select([x > 0.5, x > 0], [x * x, m.sin(x)], 2.0),
        distinct((5,))),
    # --- reductions and scans
    *over("sum mean max min var std prod ptp logsumexp median", distinct((2, 3)), None, 1),
    *over("sum mean max", distinct((2, 2, 2)), (0, 2), keepdims=True),
    *over("cumsum cumprod", normal((2, 3)), 0, 1), *over("diff sort", distinct((3, 2)), 0, 1),
    *over("nansum nanmean nanmax", distinct((2, 3)), None, 0),
    *over("softmax log_softmax", normal((2, 3)), 0, 1),
    Row("average", lambda m, x, w: m.average(x, axis=0, weights=m.exp(w)), normal((3, 2), (3,))),
    Row("quantile", lambda m, x: m.quantile(x, 0.3, axis=1), distinct((2, 4))),
    Row("percentile", lambda m, x: m.percentile(x, 60.0), distinct((5,))),
    Row("trapezoid", lambda m, y, x: m.trapezoid(y, x), normal((4,), (4,))),
    Row("interp", lambda m, x, f: m.interp(x, np.arange(4.0), f), between(0.1, 2.9, (3,), (4,))),
    # --- shapes
    Row("reshape", lambda m, x: m.sin(m.reshape(x, (3, 2))), normal((2, 3))),
    Row("transpose", lambda m, x: m.transpose(x, (2, 0, 1)) ** 2, normal((1, 2, 3))),
    Row("swapaxes", lambda m, x: m.swapaxes(x, 0, 2) ** 2, normal((1, 2, 3))),
    Row("moveaxis", lambda m, x: m.moveaxis(x, 0, 2) ** 2, normal((1, 2, 3))),
    Row("broadcast_to", lambda m, x: m.sin(m.broadcast_to(x, (2, 2, 3))), normal((2, 1))),
    Row("expand_dims", lambda m, x: m.sin(m.expand_dims(x, 1)), normal((3,))),
    Row("squeeze", lambda m, x: m.sin(m.squeeze(x, 1)), normal((3, 1))),
    *named("ravel flipud fliplr rot90 triu tril trace diagonal diag", normal((3, 3))),
    Row("vander", lambda m, x: m.vander(x, 3).astype(x.dtype), normal((3,))),
    Row("flip", lambda m, x: m.flip(x, 1) * x, normal((2, 3))),
    Row("roll", lambda m, x: m.roll(x, 2, axis=1) * x, normal((2, 3))),
    Row("tile", lambda m, x: m.tile(x, (2, 1, 2)) ** 2, normal((2, 2))),
    Row("repeat", lambda m, x: m.repeat(x, 3, axis=1) ** 2, normal((2, 2))),
    Row("pad", lambda m, x: m.pad(x, ((1, 0), (0, 2))) ** 2, normal((2, 2))),
    Row("concatenate", lambda m, x, y: m.concatenate([x, y, x], 1) ** 2, normal((2, 1), (2, 3))),
    Row("stack", lambda m, x, y: m.stack([x, y, x * y], 1), normal((2, 2), (2, 2))),
    Row("hstack", lambda m, x, y: m.hstack([x, y * x]), normal((2,), (2,))),
    Row("vstack", lambda m, x, y: m.vstack([x, y * x]), normal((2,), (2,))),
    Row("split", lambda m, x: m.split(x, [1, 4], 1)[1] ** 2, normal((2, 5))),
    Row("meshgrid", lambda m, x, y: m.multiply(*m.meshgrid(x, y)), normal((2,), (3,))),
    Row("linspace", lambda m, x, y: m.linspace(x, y, 4) ** 2, normal((2,), (2,))),
    # --- indexing
    Row("slices", lambda m, x: x[::-2, 1:] ** 2, normal((4, 3))),
    Row("ellipsis and new axes", lambda m, x: x[..., None, 1] ** 2, normal((2, 3))),
    Row("rows", lambda m, x: x[PICK] ** 2, normal((3, 2))),
    Row("pairs", lambda m, x: x[PICK, np.array([0, 3])] ** 2, normal((3, 4))),
    Row("mask", lambda m, x: x[MASK] ** 2, normal((2, 3))),
    Row("take", lambda m, x: m.take(x, PICK, 1) ** 2, normal((2, 3))),
    Row("take_along_axis", lambda m, x: m.take_along_axis(x, PICK, 1) ** 2, normal((2, 3))),
    Row("by an argmax", lambda m, x: x[m.argmax(x)] ** 2, distinct((4,))),
    *[Row(f"at-{how}", lambda m, x, y, how=how: getattr(m.at(m.sin(x))[1:, ::2], how)(y),
          distinct((3, 3), (2, 2))) for how in ("set", "add", "multiply", "max", "min")],
    Row("at repeated", lambda m, x, y: m.at(x)[PICK].add(y) * x[0], normal((3, 2), (2, 2, 2))),
    # --- products
    *named("matmul dot", normal((2, 3), (3, 2))), *named("inner", normal((2, 3), (2, 3))),
    *named("vdot", normal((2, 3), (2, 3))), *named("outer", normal((3,), (2,))),
    *named("kron", normal((2, 2), (1, 2))), *named("cross", normal((2, 3), (3,))),
    *named("convolve", normal((4,), (2,))), *named("polyval", normal((4,), (2,))),
    Row("batch matmul", lambda m, x, y: x @ y, normal((2, 1, 2, 3), (2, 3, 1))),
    Row("tensordot", lambda m, x, y: m.tensordot(x, y, ((0, 1), (1, 0))),
        normal((2, 3, 2), (3, 2, 1))),
    Row("einsum", lambda m, x, y: m.einsum("bij,bkj->ki", x, y), normal((2, 2, 2), (2, 3, 2))),
    Row("einsum diagonal", lambda m, x, y: m.einsum("ii,ij,j->i", x, x, y), normal((3, 3), (3,))),
    # --- linear algebra
    *[Row(n, lambda m, a, n=n: getattr(m.linalg, n)(a), definite())
      for n in ("inv", "det", "pinv", "norm")],
    # Of a matrix that is not symmetric JAX takes the symmetric part, NumPy and we the lower half.
    *[Row(n, lambda m, a, n=n: getattr(m.linalg, n)((a + a.T) / 2), definite())
      for n in ("cholesky", "eigvalsh")],
    Row("cholesky of a product", lambda m, a: m.linalg.cholesky(a @ a.T), definite()),
    Row("slogdet", lambda m, a: m.linalg.slogdet(a)[1], definite()),
    Row("solve", lambda m, a, b: m.linalg.solve(a, b), definite((3, 2))),
    Row("solve-vector", lambda m, a, b: m.linalg.solve(a, b), definite((3,))),
    Row("solve_triangular", lambda m, a, b: m.solve_triangular(a, b, lower=True), definite((3, 2))),
    Row("qr", lambda m, a: m.concatenate(m.linalg.qr(a)), definite()),
    Row("eigh", spectral, definite()), Row("svd", singular, normal((3, 2))),
    Row("lstsq", lambda m, a, b: m.linalg.lstsq(a, b)[0], normal((4, 2), (4,))),
    Row("matrix_power", lambda m, a: m.linalg.matrix_power(a, 3), definite()),
    Row("multi_dot", lambda m, a, b: m.linalg.multi_dot([a, b, a]), definite((3, 3))),
    Row("expm", lambda m, a: m.expm(0.3 * a), definite()),
    Row("norm-axis", lambda m, x: m.linalg.norm(x, ord=3, axis=1), normal((2, 3))),
    # --- complex numbers inside, real ones outside
    *[Row(n, lambda m, x, n=n: halves(m, getattr(m.fft, n)(x)) ** 2, normal((2, 4)))
      for n in ("fft", "ifft", "rfft", "fft2", "ifft2", "rfft2", "fftn")],
    Row("irfft", lambda m, x: m.fft.irfft(m.fft.rfft(x) ** 2), normal((5,)), ),
    Row("fft-options", lambda m, x: halves(m, m.fft.fft(x, n=3, axis=0, norm="ortho")),
        normal((4, 2))),
    Row("fftshift", lambda m, x: m.fft.fftshift(x) * x, normal((5,))),
    # --- control flow
    *[Row(f"cond-{name}", lambda m, x, y, sign=sign: m.cond(
        m.sum(x * x) * sign > 0, lambda x: m.exp(x) * y, lambda x: m.sin(y) - x, x),
        normal((2, 3), (3,))) for name, sign in (("true", 1), ("false", -1))],
    Row("cond on each", lambda m, x: m.vmap(
        lambda e: m.cond(e > 0, m.sin, lambda e: e**3, e))(x), distinct((4,))),
    Row("switch", lambda m, x: m.switch(
        m.argmax(x), [m.sin, m.cos, lambda x: x * x], x), distinct((3,))),
    Row("fori_loop", horner, normal((4,), (3,))),
    Row("while_loop", newton, between(0.5, 40, (3,)), REVERSE),
    Row("scan", recurrent, normal((4, 2), (2,), (2, 2))),
    Row("scan-reverse", lambda m, *x: recurrent(m, *x, reverse=True),
        normal((4, 2), (2,), (2, 2))),
    Row("scan of a scan", of_scans, normal((3,), (4,))),
    Row("nested jit", lambda m, x: m.jit(lambda y: m.sin(y) * x)(x * x), normal((3,))),
    # --- rules of one's own, checkpoints, constants
    Row("custom_jvp", log1pexp, normal((3,))), Row("custom_vjp", clipped, normal((3,)), FORWARD),
    Row("checkpoint", deep, normal((3,))),
    Row("stop_gradient", lambda m, x: m.stop_gradient(m.sin(x)) * x, normal((3,))),
    Row("one_hot", lambda m, x: m.one_hot(np.array([2, 0]), 3).astype(x.dtype) @ x,
        normal((3, 2))),
    # --- derivatives inside
    Row("grad inside", lambda m, x: m.grad(lambda y: m.sum(m.sin(y) ** 3))(x) * x, normal((3,))),
    Row("jvp inside", lambda m, x, t: m.jvp(lambda y: m.sin(y) * x, (x,), (t,))[1],
        normal((3,), (3,))),
    Row("vmap inside", lambda m, x, y: m.vmap(
        lambda r: m.vmap(lambda e: e * m.sum(r), in_axes=0)(y))(x), normal((2, 3), (2,))),
    # --- collectives
    Row("psum", shards(lambda m, s: m.sin(s) / m.psum(m.exp(s), "i")), normal((3, 2))),
    Row("pmean", shards(lambda m, s: (s - m.pmean(s, "i")) ** 2), normal((3, 2))),
    Row("pmax", shards(lambda m, s: m.pmax(m.stop_gradient(s), "i") * s), distinct((3, 2))),
    Row("all_gather", shards(lambda m, s: m.sum(m.all_gather(m.sin(s), "i"), axis=0) * s),
        normal((3, 2))),
    Row("ppermute", shards(moved), normal((3, 2))),
    Row("axis_index", shards(lambda m, s: s * s * m.axis_index("i").astype(s.dtype)), normal((3, 2))),
]  # fmt: skip

# Functions whose results are constant, or whole numbers: values only.
VALUES = [
    *named("greater greater_equal less less_equal equal not_equal", distinct((2, 3), (3,))),
    *named("isnan isfinite isinf signbit argsort argmax argmin count_nonzero any all",
           distinct((2, 3))),
    *over("argmax argmin argsort", distinct((2, 3)), 0, 1),
    *named("floor_divide remainder", between(-9, 9, (2, 3), (3,))),
    Row("isclose", lambda m, x, y: m.isclose(x, y, atol=0.5), normal((5,), (5,))),
    Row("searchsorted", lambda m, x, y: m.searchsorted(m.sort(x), y).astype(np.int64), normal((5,), (4,))),
    Row("digitize", lambda m, x: m.digitize(x, np.array([-1.0, 0.0, 0.5])).astype(np.int64), normal((5,))),
    Row("bincount", lambda m, x: m.bincount(m.argsort(x) // 2, length=3), distinct((5,))),
    Row("matrix_rank", lambda m, x: m.linalg.matrix_rank(x), normal((3, 2))),
]  # fmt: skip
