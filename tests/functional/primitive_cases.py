"""One case a primitive: random arguments that fit it, and what NumPy makes of them.

``CASES[name](draw)`` returns a :class:`Case`.  Shapes and values are drawn from two streams, so
that a batch can have examples of one shape and different values.  The values keep away from
kinks, poles and coinciding eigenvalues, near which numeric derivatives mean nothing.
"""

import functools
import importlib
import pkgutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special

from workbench import arrays, functional
from workbench.functional import custom, parallel
from workbench.functional import numpy as fnp
from workbench.functional.core import Primitive

F64 = np.dtype(np.float64)

# Every module, so that a primitive declared anywhere is found.
PRIMITIVES = {
    value.name: value
    for module in pkgutil.walk_packages(functional.__path__, functional.__name__ + ".")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, Primitive)
}


@dataclass(frozen=True)
class Case:
    """A function that applies the primitive, and NumPy's function of the same arguments."""

    f: Callable[..., Any]
    reference: Callable[..., Any]
    args: list[Any]


class Draw:
    """Random shapes, of axes of 0 to 4, and random values in them."""

    def __init__(self, shapes: str, values: int = 0) -> None:
        seed = zlib.crc32(shapes.encode())
        self.shapes = np.random.default_rng(seed)
        self.values = np.random.default_rng([seed, values])

    def n(self, low: int = 0, high: int = 4) -> int:
        """Return a length: seldom none, sometimes one."""
        lengths = np.arange(low, high + 1)
        weights = np.where(lengths == 0, 0.25, 1.0)
        return int(self.shapes.choice(lengths, p=weights / weights.sum()))

    def shape(self, low: int = 0, high: int = 3, least: int = 0) -> tuple[int, ...]:
        """Return from ``low`` to ``high`` axes of at least ``least``."""
        count = int(self.shapes.integers(low, high + 1))
        return tuple(self.n(least) for _ in range(count))

    def flag(self) -> bool:
        return bool(self.shapes.integers(2))

    def pick(self, *things: Any) -> Any:
        return things[self.shapes.integers(len(things))]

    def narrowed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape that broadcasts to this one."""
        cut = int(self.shapes.integers(len(shape) + 1)) if self.flag() else 0
        return tuple(1 if self.shapes.random() < 0.25 else n for n in shape[cut:])

    def axes(self, ndim: int) -> tuple[int, ...]:
        """Return some of the axes, perhaps none or all."""
        return tuple(axis for axis in range(ndim) if self.flag())

    def normal(self, *shape: int) -> Any:
        return np.asarray(self.values.normal(size=shape))

    def between(self, low: float, high: float, *shape: int) -> Any:
        return np.asarray(self.values.uniform(low, high, shape))

    def integers(self, low: int, high: int, *shape: int) -> Any:
        """Return integers from ``low`` up to, not with, ``high``."""
        return np.asarray(self.values.integers(low, high, shape))

    def booleans(self, *shape: int) -> Any:
        return np.asarray(self.values.random(shape) < 0.5)

    def away(self, *shape: int) -> Any:
        """Return numbers of either sign, none near zero."""
        return self.between(0.4, 1.8, *shape) * self.values.choice([-1.0, 1.0], shape)

    def steps(self, *shape: int) -> Any:
        """Return numbers near no integer and near no half of one."""
        return self.integers(-3, 3, *shape) + self.between(0.1, 0.4, *shape)

    def apart(self, *shape: int) -> Any:
        """Return numbers that all differ."""
        n = int(np.prod(shape))
        return (self.values.permutation(n).reshape(shape) - n / 2 + 0.3) * 0.4

    def complex(self, *shape: int) -> Any:
        return np.asarray(self.normal(*shape) + 1j * self.normal(*shape))

    def regular(self, *shape: int) -> Any:
        """Return square matrices far from singular, with eigenvalues far from each other."""
        n = shape[-1]
        return 0.3 * self.normal(*shape, n) + np.diag(1.5 + np.arange(n))


CASES: dict[str, Callable[[Draw], Case]] = {}


def case(name, make, reference=None):
    """Add a case: ``make(draw)`` returns the arguments, or these and the params."""
    reference = reference or getattr(np, name)

    def build(d):
        made = make(d)
        args, params = made if isinstance(made, tuple) else (made, {})
        f = functools.partial(PRIMITIVES[name], **params)
        return Case(f, functools.partial(reference, **params), args)

    CASES[name] = build


def built(name):
    """Add the case of a primitive that is reached through a public function."""

    def add(build):
        CASES[name] = build
        return build

    return add


# --- elementwise ---------------------------------------------------------------------------

RANGES = {
    (-1.5, 1.5): "negative exp expm1 sin cos tanh sigmoid arctan sinh cosh arcsinh exp2 erf erfc",
    (0.6, 2.0): "log log1p sqrt log2 log10 cbrt",
    (-0.6, 0.6): "tan arcsin arccos arctanh erf_inv",
    (1.6, 3.0): "arccosh",
}
SPECIAL = {"sigmoid": scipy.special.expit, "erf": scipy.special.erf, "erfc": scipy.special.erfc,
           "erf_inv": scipy.special.erfinv}  # fmt: skip
for (low, high), names in RANGES.items():
    for name in names.split():
        case(name, lambda d, low=low, high=high: [d.between(low, high, *d.shape())],
             SPECIAL.get(name))  # fmt: skip
for name in ("absolute", "sign"):
    case(name, lambda d: [d.away(*d.shape())])
for name in ("floor", "ceil", "trunc", "rint"):
    case(name, lambda d: [d.steps(*d.shape())])
case("isnan", lambda d: [np.where(d.booleans(*(s := d.shape())), np.nan, d.normal(*s))])


def two(d, x, y):
    """Draw two operands that broadcast, either being the smaller one."""
    shape = d.shape()
    shapes = [shape, d.narrowed(shape)]
    first, second = shapes[:: d.pick(1, -1)]
    return [x(*first), y(*second)]


for name in ("add", "subtract", "multiply"):
    case(name, lambda d: two(d, d.normal, d.normal))
case("divide", lambda d: two(d, d.normal, d.away))
case("power", lambda d: two(d, functools.partial(d.between, 0.5, 2), d.normal))
case("integer_power", lambda d: ([d.away(*d.shape())], {"exponent": d.pick(-2, -1, 0, 1, 2, 3, 5)}),
     lambda x, exponent: x**exponent)  # fmt: skip
for name in ("hypot", "arctan2"):
    case(name, lambda d: two(d, d.away, d.away))
case("logaddexp", lambda d: two(d, d.normal, d.normal))
for name in ("maximum", "minimum"):
    case(name, lambda d: two(d, lambda *s: d.integers(-4, 4, *s) * 0.4,
                             lambda *s: d.integers(-4, 4, *s) * 0.4 + 0.2))  # fmt: skip
for name in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"):
    case(name, lambda d: two(d, *[functools.partial(d.integers, -1, 2)] * 2))


def divided(d):
    """Quotients near no integer: there what is left over jumps."""
    shape = d.shape()
    y = d.away(*d.narrowed(shape))
    return [(d.integers(-3, 3, *shape) + d.between(0.2, 0.8, *shape)) * y, y]


case("floor_divide", divided)
case("remainder", divided)
case("select", lambda d: [d.booleans(*d.narrowed(s := d.shape())), d.normal(*s),
                          d.normal(*d.narrowed(s))], np.where)  # fmt: skip
case("fma", lambda d: [d.normal(*(s := d.shape())), d.normal(*d.narrowed(s)), d.normal(*s)],
     lambda x, y, z: x * y + z)  # fmt: skip
case("full_like", lambda d: ([d.integers(0, 9, *d.shape())], {"fill_value": 7}))
# Of integers, whose derivative is zero anyway: see also test_stop_gradient.
case("stop_gradient", lambda d: [d.integers(0, 9, *d.shape())], np.asarray)
case("convert_dtype", lambda d: ([d.pick(d.integers(0, 9, 2), d.normal(*d.shape()))],
                                 {"dtype": F64}), np.asarray)  # fmt: skip
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    case(name, lambda d: two(d, *[functools.partial(d.integers, 0, 50)] * 2) if d.flag()
         else two(d, d.booleans, d.booleans))  # fmt: skip
case("invert", lambda d: [d.pick(d.integers(-20, 50, *d.shape()), d.booleans(*d.shape()))])
for name in ("left_shift", "right_shift"):
    case(name, lambda d: two(d, functools.partial(d.integers, -50, 50),
                             functools.partial(d.integers, 0, 7)))  # fmt: skip


@built("full")
def full(d):
    shape = d.shape()
    make = functools.partial(PRIMITIVES["full"], shape=shape, fill_value=4.0, dtype=F64)
    return Case(lambda x: x * make(), lambda x: x * np.full(shape, 4.0), [d.normal(*shape)])


@built("iota")
def iota(d):
    n = d.n()
    make = functools.partial(PRIMITIVES["iota"], size=n, dtype=F64)
    return Case(lambda x: x * make(), lambda x: x * np.arange(n), [d.normal(n)])


# --- shapes --------------------------------------------------------------------------------

case("reshape", lambda d: ([d.normal(*(s := d.shape(1)))], {"shape": d.pick(s[::-1], (int(np.prod(s)),),
     (1, *s))}), lambda x, shape: x.reshape(shape))  # fmt: skip
case("transpose", lambda d: ([d.normal(*(s := d.shape()))],
     {"axes": tuple(map(int, d.shapes.permutation(len(s))))}))  # fmt: skip
case("broadcast_to", lambda d: ([d.normal(*d.narrowed(s := d.shape()))], {"shape": s}))


def reduction(sample, least=0):
    def make(d):
        shape = d.shape(1, 3, least)
        return [getattr(d, sample)(*shape)], {"axes": d.axes(len(shape))}

    return make


case("reduce_sum", reduction("normal"), lambda x, axes: x.sum(axes))
case("reduce_prod", reduction("normal"), lambda x, axes: x.prod(axes))
case("reduce_max", reduction("apart", 1), lambda x, axes: x.max(axes))
case("reduce_min", reduction("apart", 1), lambda x, axes: x.min(axes))
case("reduce_any", reduction("booleans"), lambda x, axes: x.any(axes))
case("reduce_all", reduction("booleans"), lambda x, axes: x.all(axes))


def along(sample="apart", least=0, **params):
    """Draw an array, and one of its axes."""

    def make(d):
        shape = d.shape(1, 3, least)
        more = {key: values(d) for key, values in params.items()}
        return [getattr(d, sample)(*shape)], {"axis": int(d.shapes.integers(len(shape))), **more}

    return make


def cumsum(x, axis, reverse):
    return np.flip(np.flip(x, axis).cumsum(axis), axis) if reverse else x.cumsum(axis)


case("argmax", along(least=1))
case("argmin", along(least=1))
case("argsort", along())
case("sort", along())
case("cumsum", along("normal", reverse=Draw.flag), cumsum)
case("cumprod", along("normal"))


@built("concatenate")
def concatenate(d):
    shape = d.shape(1)
    axis = int(d.shapes.integers(len(shape)))
    xs = [d.normal(*shape[:axis], d.n(), *shape[axis + 1 :]) for _ in range(d.pick(1, 2, 3))]
    f = functools.partial(PRIMITIVES["concatenate"], axis=axis)
    return Case(f, lambda *xs: np.concatenate(xs, axis), xs)


# --- indexing ------------------------------------------------------------------------------


def slices(d, shape):
    """Return a slice for each axis, as the primitives take them and as NumPy does."""
    index = []
    for n in shape:
        start, stop = sorted(int(i) for i in d.shapes.integers(0, n + 1, 2))
        index.append(d.pick((start, stop, 1), (start, n, 2), (n - 1, None, -1) if n else (0, 0, 1)))
    return tuple(index), tuple(slice(*each) for each in index)


@built("slice")
def slice_(d):
    x = d.normal(*d.shape())
    index, plain = slices(d, x.shape)
    return Case(functools.partial(PRIMITIVES["slice"], index=index), lambda x: x[plain], [x])


@built("pad")
def pad(d):
    shape = d.shape()
    index, plain = slices(d, shape)

    def reference(x):
        y = np.zeros(shape)
        y[plain] = x
        return y

    x = d.normal(*np.zeros(shape)[plain].shape)
    return Case(functools.partial(PRIMITIVES["pad"], index=index, shape=shape), reference, [x])


def indices(d, shape):
    """Draw integer arrays of one shape for some leading axes."""
    wanted = d.shape(0, 2)
    return [d.integers(0, n, *wanted) for n in shape[: int(d.shapes.integers(1, len(shape) + 1))]]


def part(shape, index):
    return (*index[0].shape, *shape[len(index) :])


case("gather", lambda d: [d.normal(*(s := d.shape(1, 3, 1))), *indices(d, s)],
     lambda x, *index: x[index])  # fmt: skip


@built("scatter_add")
def scatter_add(d):
    shape = d.shape(1, 3, 1)
    index = indices(d, shape)

    def reference(x, *index):
        y = np.zeros(shape)
        np.add.at(y, index, x)
        return y

    f = functools.partial(PRIMITIVES["scatter_add"], shape=shape)
    return Case(f, reference, [d.normal(*part(shape, index)), *index])


def changed(x, updates, *index):
    y = x.copy()
    y[index] = updates
    return y


case("scatter_set", lambda d: [d.normal(*(s := d.shape(1, 3, 1))),
     d.normal(*part(s, index := indices(d, s))), *index], changed)  # fmt: skip


def window(starts, shape, sizes):
    """Return slices, with starts clamped so that the window lies within."""
    corners = [min(max(int(at) + n * (at < 0), 0), n - m)
               for at, n, m in zip(starts, shape, sizes, strict=True)]  # fmt: skip
    return tuple(slice(at, at + m) for at, m in zip(corners, sizes, strict=True))


@built("dynamic_slice")
def dynamic_slice(d):
    shape = d.shape(1, 3, 1)
    sizes = tuple(d.n(0, n) for n in shape)
    return Case(functools.partial(PRIMITIVES["dynamic_slice"], sizes=sizes),
                lambda x, *starts: x[window(starts, shape, sizes)],
                [d.normal(*shape), *(d.integers(-5, 5) for _ in shape)])  # fmt: skip


@built("dynamic_update_slice")
def dynamic_update_slice(d):
    shape = d.shape(1, 3, 1)
    sizes = tuple(d.n(0, n) for n in shape)
    return Case(PRIMITIVES["dynamic_update_slice"],
                lambda x, y, *starts: changed(x, y, *window(starts, shape, sizes)),
                [d.normal(*shape), d.normal(*sizes), *(d.integers(-5, 5) for _ in shape)])  # fmt: skip


WINDOWS = {"stride": (2, 1), "padding": (1, 0)}
case("im2col", lambda d: ([d.normal(d.n(), d.n(1, 2), d.n(2), d.n(2))], {"size": (d.n(1, 3), 2)}
                          | WINDOWS), arrays.im2col)  # fmt: skip


@built("col2im")
def col2im(d):
    shape, size = (d.n(), d.n(1, 2), d.n(2), d.n(2)), (d.n(1, 3), 2)
    params = {"shape": shape, **WINDOWS}
    x = d.normal(*arrays.im2col(np.zeros(shape), size, **WINDOWS).shape)
    f = functools.partial(PRIMITIVES["col2im"], **params)
    return Case(f, functools.partial(arrays.col2im, **params), [x])


# --- linear algebra ------------------------------------------------------------------------

case("matmul", lambda d: [d.normal(*(s := d.shape(0, 2)), d.n(), k := d.n()),
                          d.normal(*s, k, d.n())])  # fmt: skip


def system(d):
    lead, n = d.shape(0, 1), d.n(1, 3)
    return [d.regular(*lead, n), d.normal(*lead, n, d.n(1, 3))]


def triangular(a, b, lower, trans):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(a.swapaxes(-1, -2) if trans else a, b)


def square(d):
    return [d.regular(*d.shape(0, 1), d.n(1, 3))]


def oblong(d):
    """Draw matrices of full rank, with singular values far from each other."""
    lead, m, n = d.shape(0, 1), d.n(1, 3), d.n(1, 3)
    return [0.3 * d.normal(*lead, m, n) + np.eye(m, n) * (1.5 + np.arange(n))]


def definite(d):
    (a,) = square(d)
    return [a @ a.swapaxes(-1, -2) + np.eye(a.shape[-1])]


def each(function):
    """Make a function of one matrix one of stacks."""

    def stacked(a, *others):
        many = [x.reshape(-1, *x.shape[-2:]) for x in (a, *others)]
        ys = [function(*one) for one in zip(*many, strict=True)]
        return np.array(ys).reshape(a.shape)

    return stacked


def frechet(a, t):
    return scipy.linalg.expm_frechet(a, t, compute_expm=False)


case("solve", system, np.linalg.solve)
case("triangular_solve", lambda d: (system(d), {"lower": d.flag(), "trans": d.flag()}), triangular)
case("inv", square, np.linalg.inv)
case("pinv", lambda d: (oblong(d), {"rcond": 1e-12}), np.linalg.pinv)
case("det", square, np.linalg.det)
case("adjugate", square, lambda a: np.linalg.det(a)[..., None, None] * np.linalg.inv(a))
case("slogdet", square, np.linalg.slogdet)
case("cholesky", definite, np.linalg.cholesky)
case("eigh", definite, np.linalg.eigh)
case("qr", oblong, np.linalg.qr)
case("svd", oblong, lambda a: np.linalg.svd(a, full_matrices=False))
case("expm", lambda d: [0.5 * square(d)[0]], each(scipy.linalg.expm))
case("expm_derivative", lambda d: [(a := square(d)[0]), d.normal(*a.shape)], each(frechet))

# --- Fourier transforms --------------------------------------------------------------------

for name in ("real", "imag", "conj"):
    case(name, lambda d: [d.complex(*d.shape())])
case("modulus", lambda d: [d.complex(*d.shape())], np.abs)
case("complex", lambda d: [d.normal(*(s := d.shape())), d.normal(*s)], lambda x, y: x + 1j * y)
for name in ("fft", "ifft"):
    case(name, lambda d: [d.complex(*d.shape(0, 2), d.n(1))], getattr(np.fft, name))
case("rfft", lambda d: [d.normal(*d.shape(0, 2), d.n(1))], np.fft.rfft)
case("irfft", lambda d: ([d.complex(*d.shape(0, 2), (n := d.n(1, 6)) // 2 + 1)], {"n": n}),
     np.fft.irfft)  # fmt: skip

# --- random numbers ------------------------------------------------------------------------


def threefry(*words):
    """The published algorithm (Salmon and others, 2011), on unsigned words of 64 bits, masked."""
    k0, k1, x, y = np.broadcast_arrays(*[word.astype(np.uint64) for word in words])
    low = np.uint64(0xFFFFFFFF)
    keys = (k0, k1, k0 ^ k1 ^ np.uint64(0x1BD11BDA))
    x, y = x + keys[0] & low, y + keys[1] & low
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    for group in range(5):
        for rotation in rotations[group % 2]:
            x = x + y & low
            y = (y << np.uint64(rotation) | y >> np.uint64(32 - rotation)) & low
            y = x ^ y
        x = x + keys[(group + 1) % 3] & low
        y = y + keys[(group + 2) % 3] + np.uint64(group + 1) & low
    return x.astype(np.uint32), y.astype(np.uint32)


def words(d):
    shape = d.shape()
    shapes = [(), (), shape, d.narrowed(shape)]
    return [d.integers(0, 1000, *each).astype(np.uint32) for each in shapes]


case("threefry2x32", words, threefry)

# --- control flow, rules of one's own, checkpoints -----------------------------------------


@built("cond")
def cond(d):
    def f(p, x, y):
        return functional.cond(p, lambda x, y: x * fnp.sin(y), lambda x, y: x + y * y, x, y)

    shape = d.shape()
    return Case(f, lambda p, x, y: x * np.sin(y) if p else x + y * y,
                [d.booleans(), d.normal(*shape), d.normal(*shape)])  # fmt: skip


@built("while")
def while_(d):
    def f(n, x):
        step = lambda carry: (carry[0] - 1, fnp.sin(carry[1]) + x)  # noqa: E731
        return functional.while_loop(lambda carry: carry[0] > 0, step, (n, x))[1]

    def reference(n, x):
        y = x
        for _ in range(int(n)):
            y = np.sin(y) + x
        return y

    return Case(f, reference, [d.integers(0, 5), d.normal(*d.shape())])


@built("scan")
def scan(d):
    n, shape, reverse = d.n(), d.shape(0, 2), d.flag()

    def f(w, init, xs):
        def step(carry, x):
            carry = fnp.tanh(w * carry + x)
            return carry, carry * x

        return functional.scan(step, init, xs, length=n, reverse=reverse)

    def reference(w, carry, xs):
        ys = np.zeros((n, *shape))
        for i in range(n)[:: -1 if reverse else 1]:
            carry = np.tanh(w * carry + xs[i])
            ys[i] = carry * xs[i]
        return carry, ys

    return Case(f, reference, [d.normal(), d.normal(*shape), d.normal(n, *shape)])


def smooth(x, y):
    return fnp.sin(x) * y + fnp.exp(0.3 * x)


def plain(x, y):
    return np.sin(x) * y + np.exp(0.3 * x)


def by_x(x, y):
    return fnp.cos(x) * y + 0.3 * fnp.exp(0.3 * x)


def plain_by_x(x, y):
    return np.cos(x) * y + 0.3 * np.exp(0.3 * x)


def pair(d):
    shape = d.shape()
    return [d.normal(*shape), d.normal(*shape)]


forwards = custom.custom_jvp(smooth)


@forwards.defjvp
def _rule(primals, tangents):
    (x, y), (tx, ty) = primals, tangents
    return smooth(x, y), tx * by_x(x, y) + ty * fnp.sin(x)


backwards = custom.custom_vjp(smooth)
backwards.defvjp(
    lambda x, y: (smooth(x, y), (x, y)),
    lambda kept, g: (g * by_x(*kept), g * fnp.sin(kept[0])),
)


def pulled(f):
    """Return the gradient of the sum of ``f`` with respect to its first argument."""
    return lambda x, y: functional.vjp(f, x, y)[1](fnp.ones_like(x))[0]


for name, f in {"jit": functional.jit(smooth), "checkpoint": functional.checkpoint(smooth),
                "custom_jvp": forwards, "custom_vjp": backwards}.items():  # fmt: skip
    CASES[name] = lambda d, f=f: Case(f, plain, pair(d))
for name, f in {
    "recompute": functional.checkpoint(smooth),
    "custom_vjp_tangent": backwards,
}.items():
    CASES[name] = lambda d, f=f: Case(pulled(f), plain_by_x, pair(d))
CASES["name"] = lambda d: Case(
    lambda x: functional.checkpoint_name(fnp.sin(x), "wave"), np.sin, [d.normal(*d.shape())]
)

# --- collectives, along an axis that the function itself maps --------------------------------


def collective(name, f, reference, sample="normal"):
    def build(d):
        x = getattr(d, sample)(d.n(1), *d.shape(0, 2))
        return Case(functional.vmap(f, axis_name="i"), reference, [x])

    CASES[name] = build


def repeated(x):
    return np.broadcast_to(x, (len(x), *x.shape))


collective("psum", lambda x: x * functional.psum(x * x, "i"), lambda x: x * (x * x).sum(0))
collective("pmax", lambda x: x * functional.pmax(x, "i"), lambda x: x * x.max(0), "apart")
collective("all_gather", lambda x: functional.all_gather(x * x, "i"), lambda x: repeated(x * x))
collective("axis_index", lambda x: x * functional.axis_index("i"),
           lambda x: x * np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)))  # fmt: skip


def alone(x, weights):
    """Of a sum over processes, of which there is one here, the rest is what is mapped."""
    return x * functional.psum(fnp.sin(x), "all") + weights


for name in ("pmap", "spread", "share"):
    CASES[name] = lambda d: Case(
        parallel.pmap(alone, axis_name="all", in_axes=(0, None)),
        lambda x, weights: x * np.sin(x) + weights,
        [d.normal(n := d.n(1), k := d.n()), d.normal(n, k)],
    )


@built("ppermute")
def ppermute(d):
    n = d.n(1)
    order = [int(i) for i in d.shapes.permutation(n)][: d.n(1, n)]
    perm = [(i, to) for i, to in enumerate(order)]

    def reference(x):
        y = np.zeros_like(x)
        for start, to in perm:
            y[to] = x[start] ** 2
        return y

    f = functional.vmap(lambda x: functional.ppermute(x * x, "i", perm), axis_name="i")
    return Case(f, reference, [d.normal(n, *d.shape(0, 2))])


# --- as functions of floats --------------------------------------------------------------------


def encode(x):
    """Return arrays of floats that stand for an array; none is near where it would change."""
    if x.dtype.kind == "c":
        return [x.real.copy(), x.imag.copy()]
    if x.dtype.kind == "b":
        return [np.where(x, 0.75, 0.25)]
    return [x] if x.dtype.kind == "f" else [x + 0.5]


def on_floats(one):
    """Return the case's function from floats to floats, so that each transform applies to it.

    Integers and truth values come out of floats by rounding, which is constant nearby: so the
    derivative is zero, as the numeric one is.  A complex number is two floats.
    """
    dtypes = [np.asarray(x).dtype for x in one.args]

    def f(*floats):
        remaining, args = list(floats), []
        for dtype in dtypes:
            x = remaining.pop(0)
            if dtype.kind == "c":
                args.append(PRIMITIVES["complex"](x, remaining.pop(0)))
            elif dtype.kind == "b":
                args.append(fnp.greater(x, 0.5))
            else:
                args.append(x if dtype.kind == "f" else fnp.astype(fnp.floor(x), dtype))
        ys = []
        for y in functional.tree_leaves(one.f(*args)):
            if y.dtype.kind == "c":
                ys += [PRIMITIVES["real"](y), PRIMITIVES["imag"](y)]
            else:
                ys.append(fnp.astype(y, F64))
        return tuple(ys)

    return f


def point(one):
    """Return the case's arguments as floats."""
    return [part for x in one.args for part in encode(np.asarray(x))]
