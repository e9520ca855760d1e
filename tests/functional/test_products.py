"""Products, einsum and functions of parts: NumPy's values, through every transform."""

import functools

import numpy as np
import pytest

from workbench import functional
from workbench.errors import OptionError, ShapeError, UnknownNameError
from workbench.functional.numpy import contraction, elementwise, products, reductions
from workbench.gradcheck import check_gradient

EPS = np.finfo(float).eps


def normal(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).normal(size=shape)


def close(got, want, scale=64):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    eps = np.finfo(want.dtype).eps if want.dtype.kind == "f" else 0
    size = np.abs(want).max(initial=1)
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * eps * size)


def through_transforms(f, want, *xs):
    """The value; jit and vmap agree with it; so do two orders of differences."""
    close(f(*xs), want)
    close(functional.jit(f)(*xs), want)
    batch = [np.stack([x, x[..., ::-1] if x.ndim else 2 * x]) for x in xs]
    loop = np.stack([np.asarray(f(*[b[i] for b in batch])) for i in range(2)])
    close(functional.vmap(f)(*batch), loop)
    close(functional.jit(functional.vmap(f))(*batch), loop)
    if all(x.dtype == np.float64 for x in xs) and sum(x.size for x in xs):
        weights = np.random.default_rng(0).normal(size=want.shape)
        objective = lambda *xs: reductions.sum(elementwise.sin(f(*xs)) * weights)  # noqa: E731
        gradient = functional.grad(objective, argnums=tuple(range(len(xs))))
        check_gradient(objective, gradient, list(xs))
        direction = [np.cos(np.arange(x.size)).reshape(x.shape) for x in xs]
        along = lambda *xs: sum(  # noqa: E731
            reductions.sum(g * v) for g, v in zip(gradient(*xs), direction, strict=True)
        )
        check_gradient(along, functional.grad(along, argnums=tuple(range(len(xs)))), list(xs))


PRODUCTS = {
    "dot-numbers": ("dot", (), ()), "dot-number": ("dot", (), (2, 3)),
    "dot-vectors": ("dot", (3,), (3,)), "dot-matrices": ("dot", (2, 3), (3, 4)),
    "dot-many": ("dot", (2, 3, 4), (5, 4, 2)), "dot-empty": ("dot", (2, 0), (0, 3)),
    "inner": ("inner", (2, 3), (4, 3)), "inner-number": ("inner", (), (4,)),
    "vdot": ("vdot", (2, 3), (3, 2)), "outer": ("outer", (2, 2), (3,)),
    "kron": ("kron", (2, 3), (2, 2)), "kron-ranks": ("kron", (2,), (2, 1, 2)),
    "cross": ("cross", (3,), (3,)), "cross-stacks": ("cross", (2, 3), (4, 1, 3)),
    "convolve": ("convolve", (5,), (3,)), "correlate-short": ("correlate", (2,), (4,)),
    "polyval": ("polyval", (4,), (2, 3)), "polyval-empty": ("polyval", (0,), (2,)),
    "tensordot": ("tensordot", (2, 3, 4), (3, 4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_are_numpys(case):
    name, *shapes = PRODUCTS[case]
    xs = [normal(*shape) for shape in shapes]
    through_transforms(getattr(products, name), np.asarray(getattr(np, name)(*xs)), *xs)


@pytest.mark.parametrize("axes", [0, 1, ([2, 0], [1, 0]), (1, -1), ((-2,), (2,))])
def test_tensordot_over_chosen_axes(axes):
    x, y = normal(2, 3, 3), normal(2, 3, 3)
    if axes == 1:
        y = normal(3, 2)
    if axes != 0:
        close(products.tensordot(x, y, axes), np.tensordot(x, y, axes))
    else:
        close(products.tensordot(x, y[0], 0), np.tensordot(x, y[0], 0))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("n", "m"), [(6, 3), (3, 6), (5, 4), (4, 5), (1, 1), (2, 7), (6, 6)])
def test_convolutions_in_every_mode(mode, n, m):
    x, y = normal(n), np.random.default_rng(9).normal(size=m)
    close(products.convolve(x, y, mode), np.convolve(x, y, mode))
    close(products.correlate(x, y, mode), np.correlate(x, y, mode))
    integers = np.arange(n), np.arange(m)
    close(products.convolve(*integers, mode), np.convolve(*integers, mode))


def test_cross_along_another_axis():
    x, y = normal(3, 4), normal(3, 1)
    close(products.cross(x, y, 0), np.cross(x, y, axis=0))


EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ba,cb", (2, 3), (4, 2)),
    ("ij->ji", (2, 3)), ("ji", (2, 3)), ("ij->", (2, 3)), ("ii", (3, 3)), ("ii->i", (3, 3)),
    ("iij->j", (2, 2, 3)), ("iii->i", (3, 3, 3)), ("ijij->ij", (2, 3, 2, 3)), ("i,i", (4,), (4,)),
    ("i,j->ij", (2,), (3,)), ("i,j->ji", (2,), (3,)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bjk->ki", (2, 3, 4), (2, 4, 5)), ("...ij,...jk->...ik", (2, 3, 4), (1, 4, 5)),
    ("...ij,...jk", (5, 1, 3, 4), (2, 4, 3)), ("i...,i...->...", (3, 2), (3, 4, 2)),
    ("...i->...", (2, 3)), ("i...", (2, 3)), ("...", (2, 3)), (",->", (), ()), (",i", (), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ij,j,j,k->ik", (2, 3), (3,), (3,), (2,)),
    ("a,ab,abc->abc", (2,), (2, 3), (2, 3, 2)), ("ij,kl->", (2, 3), (3, 2)),
    ("ab,cd,ef->", (2, 3), (3, 2), (1, 2)), ("ij,jk", (2, 1), (3, 4)), ("ij,ij->ij", (2, 3), (1, 3)),
    ("ij,jk->ik", (2, 0), (0, 3)), (" i j , j -> i ", (2, 3), (3,)), ("ii,i->i", (3, 3), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("i,i,i->i", (3,), (3,), (3,)),
    ("a...b,b...c,c...a->...", (2, 3, 2), (2, 1, 3), (3, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0].strip())
def test_einsum_is_numpys(case):
    spec, *shapes = case
    xs = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(shapes)]
    want = np.asarray(np.einsum(spec, *xs))
    through_transforms(functools.partial(contraction.einsum, spec), want, *xs)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, bool])
def test_einsum_keeps_dtypes(dtype):
    x, y = np.arange(6).reshape(2, 3).astype(dtype), np.arange(12).reshape(3, 4).astype(dtype)
    for spec, *xs in [("ij,jk", x, y), ("ij->i", x), ("ij,jk->", x, y)]:
        close(contraction.einsum(spec, *xs), np.asarray(np.einsum(spec, *xs)))
        close(
            functional.jit(functools.partial(contraction.einsum, spec))(*xs), np.einsum(spec, *xs)
        )


def test_einsum_with_lists_of_ints():
    x, y = normal(2, 3), normal(3, 2)
    close(contraction.einsum(x, [0, 1], y, [1, 2]), np.einsum(x, [0, 1], y, [1, 2]))
    close(contraction.einsum(x, [0, 1], y, [1, 0], [1]), np.einsum(x, [0, 1], y, [1, 0], [1]))
    close(contraction.einsum(x, [..., 1], [1, ...]), np.einsum(x, [..., 1], [1, ...]))


def test_random_einsums():
    rng = np.random.default_rng(5)
    for _ in range(60):
        sizes = dict(zip("abcde", rng.integers(1, 4, 5), strict=True))
        groups = ["".join(rng.choice(list("abcde"), rng.integers(0, 4)))
                  for _ in range(rng.integers(1, 5))]  # fmt: skip
        used = sorted(set("".join(groups)))
        output = "".join(rng.permutation(used)[: rng.integers(0, len(used) + 1)]) if used else ""
        xs = [rng.normal(size=[sizes[c] for c in group]) for group in groups]
        spec = ",".join(groups) + "->" + output
        close(contraction.einsum(spec, *xs), np.asarray(np.einsum(spec, *xs)), scale=512)


def test_einsum_takes_the_cheap_path_and_one_product_a_pair():
    chain = functional.make_jaxpr(functools.partial(contraction.einsum, "ij,jk,kl->il"))
    text = str(chain(normal(40, 30), normal(30, 20), normal(20, 2)))
    assert text.count("matmul") == 2
    assert "[40,20]" not in text  # Never the large product first.
    attention = functional.make_jaxpr(functools.partial(contraction.einsum, "bhqd,bhkd->bhqk"))
    assert str(attention(normal(2, 2, 3, 4), normal(2, 2, 5, 4))).count("matmul") == 1


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: contraction.einsum("ij,jk->ik", normal(2, 3)), OptionError,
     "einsum: the subscripts do not fit the number of operands"),
    (lambda: contraction.einsum("i1", normal(2, 3)), OptionError, "these are not subscripts"),
    (lambda: contraction.einsum("i", normal(2, 3)), ShapeError, "does not have an axis for each letter"),
    (lambda: contraction.einsum("ijk", normal(2, 3)), ShapeError, "'ijk' for 2 axes"),
    (lambda: contraction.einsum("ij->iij", normal(2, 3)), OptionError, "occurs twice there"),
    (lambda: contraction.einsum("ij->k", normal(2, 3)), OptionError, "or in no operand"),
    (lambda: contraction.einsum("...i->i", normal(2, 3)), OptionError, "no place for the axes"),
    (lambda: contraction.einsum("ij,jk", normal(2, 3), normal(2, 4)), ShapeError,
     "'j' stands for different lengths"),
    (lambda: contraction.einsum(normal(2)), OptionError, "subscripts are a string, or lists"),
    (lambda: products.tensordot(normal(2, 3), normal(2, 3), 1), ShapeError, "differ in length"),
    (lambda: products.tensordot(normal(2), normal(2), 2), ShapeError, "not so many axes"),
    (lambda: products.dot(normal(2, 3), normal(2, 3)), ShapeError, "differ in length"),
    (lambda: products.cross(normal(2), normal(2)), ShapeError, "of vectors of three"),
    (lambda: products.convolve(normal(2, 2), normal(2)), ShapeError, "two vectors"),
    (lambda: products.convolve(normal(0), normal(2)), ShapeError, "at least one element"),
    (lambda: products.convolve(normal(2), normal(2), "ful"), UnknownNameError, "did you mean 'full'"),
    (lambda: products.vectorize(np.sin, "n->"), OptionError, "this is not a signature"),
    (lambda: products.vectorize(products.dot, "(n),(n)->()")(normal(2)), OptionError, "1 arguments"),
    (lambda: products.vectorize(products.dot, "(n),(n)->()")(1.0, 2.0), ShapeError, "too few axes"),
])  # fmt: skip
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_vectorize_and_apply_along_axis():
    x, y = normal(2, 1, 3), normal(4, 3)
    close(products.vectorize(products.dot, "(n),(n)->()")(x, y), np.einsum("abn,cn->ac", x, y))
    both = products.vectorize(lambda a, b: (a * b, a + b), "(),(n)->(n),(n)")(normal(2), y[0])
    close(both[1], normal(2)[:, None] + y[0])
    close(products.vectorize(lambda a, b: a * b)(x, y), x * y)
    f = lambda row: products.outer(row, row)  # noqa: E731
    for axis in (0, 1, -1):
        x = normal(2, 3, 2)
        close(products.apply_along_axis(f, axis, x), np.apply_along_axis(np.outer, axis, x, [1.0]) * 0
              + np.apply_along_axis(lambda r: np.outer(r, r), axis, x)
              if x.shape[axis] == 1 else np.apply_along_axis(lambda r: np.outer(r, r), axis, x))  # fmt: skip
    through_transforms(
        lambda x: products.apply_along_axis(reductions.sum, 1, x),
        normal(2, 3, 2).sum(1),
        normal(2, 3, 2),
    )
