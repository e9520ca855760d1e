"""Linear algebra: against NumPy, against differences, against loops, and what it refuses."""

import numpy as np
import pytest

from workbench import compiler, functional
from workbench.errors import DtypeError, OptionError, ShapeError, UnknownNameError
from workbench.functional import numpy as fnp
from workbench.functional.lowering import to_program
from workbench.functional.numpy import linalg
from workbench.functional.primitives import linalg as ops
from workbench.gradcheck import check_gradient

SEEDED = np.random.default_rng(0)
EPS = np.finfo(float).eps


def normal(*shape):
    return SEEDED.normal(size=shape)


def regular(*shape):
    """Far from singular, no eigenvalues near each other, not symmetric."""
    return 0.4 * normal(*shape) + np.diag(1.0 + np.arange(shape[-1]))


def positive(*shape):
    """The lower triangle is that of a positive definite matrix; the upper is another one's."""
    a = regular(*shape)
    return np.tril(a @ a.swapaxes(-1, -2)) + np.triu(normal(*shape), 1)


def symmetric(a):
    return np.tril(a) + np.tril(a, -1).swapaxes(-1, -2)


def numpy_solve(a, b):
    return np.linalg.solve(a, b[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


def numpy_expm(a):
    """By the eigenvectors: another way than scaling and squaring."""
    w, v = np.linalg.eig(a)
    return (v * np.exp(w)[..., None, :] @ np.linalg.inv(v)).real


SQUARE, TALL, WIDE = regular(3, 3), normal(4, 2), normal(2, 3)

# name: (function, NumPy's, arguments)
CASES = {
    "cholesky": (linalg.cholesky, np.linalg.cholesky, [positive(3, 3)]),
    "cholesky_stack": (linalg.cholesky, np.linalg.cholesky, [positive(2, 2, 2)]),
    "cholesky_upper": (lambda a: linalg.cholesky(a, upper=True),
                       lambda a: np.linalg.cholesky(a.T).T, [positive(3, 3).T]),
    "qr_square": (linalg.qr, np.linalg.qr, [SQUARE]),
    "qr_tall": (linalg.qr, np.linalg.qr, [normal(2, 4, 3)]),
    "qr_wide": (linalg.qr, np.linalg.qr, [normal(2, 4)]),
    "qr_r": (lambda a: linalg.qr(a, "r"), lambda a: np.linalg.qr(a, "r"), [TALL]),
    "eigh": (linalg.eigh, np.linalg.eigh, [regular(2, 3, 3)]),
    "eigh_upper": (lambda a: linalg.eigh(a, "U"), lambda a: np.linalg.eigh(a.T), [SQUARE]),
    "eigvalsh": (linalg.eigvalsh, np.linalg.eigvalsh, [SQUARE]),
    "svd_square": (linalg.svd, lambda a: np.linalg.svd(a), [SQUARE]),
    "svd_tall": (linalg.svd, lambda a: np.linalg.svd(a, False), [normal(2, 4, 2)]),
    "svd_wide": (linalg.svd, lambda a: np.linalg.svd(a, False), [normal(2, 4)]),
    "svdvals": (linalg.svdvals, np.linalg.svdvals, [TALL]),
    "solve": (linalg.solve, np.linalg.solve, [regular(2, 3, 3), normal(2, 3, 2)]),
    "solve_vector": (linalg.solve, numpy_solve, [SQUARE, normal(3)]),
    "solve_broadcast": (linalg.solve, np.linalg.solve, [SQUARE, normal(2, 3, 1)]),
    "inv": (linalg.inv, np.linalg.inv, [regular(2, 2, 2)]),
    "pinv_tall": (linalg.pinv, np.linalg.pinv, [TALL]),
    "pinv_wide": (linalg.pinv, np.linalg.pinv, [WIDE]),
    "lstsq": (lambda a, b: linalg.lstsq(a, b)[:2], lambda a, b: np.linalg.lstsq(a, b)[:2],
              [TALL, normal(4, 3)]),
    "lstsq_vector": (lambda a, b: linalg.lstsq(a, b)[:2], lambda a, b: np.linalg.lstsq(a, b)[:2],
                     [TALL, normal(4)]),
    "det": (linalg.det, np.linalg.det, [regular(2, 3, 3)]),
    "slogdet": (linalg.slogdet, np.linalg.slogdet, [-SQUARE]),
    "matrix_power": (lambda a: linalg.matrix_power(a, 5), lambda a: np.linalg.matrix_power(a, 5),
                     [SQUARE / 4]),
    "matrix_power_inverse": (lambda a: linalg.matrix_power(a, -2),
                             lambda a: np.linalg.matrix_power(a, -2), [SQUARE]),
    "multi_dot": (lambda *xs: linalg.multi_dot(xs), lambda *xs: np.linalg.multi_dot(xs),
                  [normal(3), normal(3, 2), normal(2, 5), normal(5, 2)]),
    "cond": (linalg.cond, np.linalg.cond, [SQUARE]),
    "cond_fro": (lambda a: linalg.cond(a, "fro"), lambda a: np.linalg.cond(a, "fro"), [SQUARE]),
    "expm": (linalg.expm, numpy_expm, [np.stack([SQUARE, 9 * SQUARE / 4])]),
}  # fmt: skip
for lower in (False, True):
    for trans in (0, 1):
        for unit in (False, True):
            CASES[f"solve_triangular_{lower}_{trans}_{unit}"] = (
                lambda a, b, o=(trans, lower, unit): linalg.solve_triangular(a, b, *o),
                lambda a, b, lower=lower, trans=trans, unit=unit: np.linalg.solve(
                    (lambda t: t.T if trans else t)(
                        (np.tril if lower else np.triu)(a) * (1 - unit * np.eye(3))
                        + unit * np.eye(3)
                    ), b),
                [regular(3, 3), normal(3, 2)],
            )  # fmt: skip
for ord_, axis in [(None, None), (None, 1), (2, 0), (1, 1), (3, 0), (-1.5, 1), (np.inf, 1),
                   (-np.inf, 0), (0, 1), ("fro", (0, 1)), ("nuc", (0, 1)), (2, (0, 1)),
                   (-2, (1, 0)), (1, (0, 1)), (-1, (1, 0)), (np.inf, (1, 0)),
                   (-np.inf, (0, 1))]:  # fmt: skip
    CASES[f"norm_{ord_}_{axis}"] = (
        lambda x, o=(ord_, axis, True): linalg.norm(x, *o),
        lambda x, o=(ord_, axis, True): np.linalg.norm(x, *o),
        [np.array([[1.0, -2.3, 0.7], [0.4, 3.1, -1.2]])],
    )
for lower in (False, True):
    CASES[f"cho_solve_{lower}"] = (
        lambda c, b, lower=lower: linalg.cho_solve((c, lower), b),
        lambda c, b, lower=lower: np.linalg.solve(
            np.tril(c) @ np.tril(c).T if lower else np.triu(c).T @ np.triu(c), b),
        [regular(3, 3), normal(3)],
    )  # fmt: skip
ALL = sorted(CASES)


def leaves(y):
    return functional.tree_leaves(y) if isinstance(y, tuple) else [y]


def close(got, want, scale=64.0):
    """Equal up to the rounding of a few dozen operations on these well-conditioned matrices."""
    got, want = leaves(got), leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        eps = np.finfo(np.asarray(a).dtype).eps
        assert np.shape(a) == np.shape(b)
        assert np.abs(a - b).max(initial=0) <= scale * eps * max(1, np.abs(b).max(initial=0))


def objective_of(name):
    """A scalar of every output, each with weights of its own."""
    f, _, args = CASES[name]
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=np.shape(y)) for y in leaves(f(*args))]

    def objective(*xs):
        return sum(fnp.sum(y * w) for y, w in zip(leaves(f(*xs)), weights, strict=True))

    return objective, args


@pytest.mark.parametrize("name", ALL)
def test_values_are_numpys(name):
    f, reference, args = CASES[name]
    close(f(*args), reference(*args))
    short = [x.astype(np.float32) for x in args]
    y = f(*short)
    assert {each.dtype for each in leaves(y)} == {np.dtype(np.float32)}
    close(y, f(*[x.astype(float) for x in short]), scale=256)


@pytest.mark.parametrize("target", ["numpy", compiler.best_target()])
@pytest.mark.parametrize("name", ALL)
def test_what_compiles_is_what_runs(name, target):
    f, _, args = CASES[name]
    jaxpr = functional.make_jaxpr(f)(*args)
    close(
        compiler.compile(to_program(jaxpr), target)(*jaxpr.consts, *args), tuple(leaves(f(*args)))
    )
    assert [v.aval.shape for v in jaxpr.outvars] == [np.shape(y) for y in leaves(f(*args))]


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_first_and_second_order(name):
    objective, args = objective_of(name)
    places = tuple(range(len(args)))
    first = functional.grad(objective, places)
    check_gradient(objective, first, list(args))
    vs = [SEEDED.normal(size=x.shape) for x in args]

    def product(*both):
        half = len(both) // 2
        return sum(fnp.sum(g * v) for g, v in zip(first(*both[:half]), both[half:], strict=True))

    along = functional.grad(product, tuple(range(2 * len(args))))(*args, *vs)
    if any(np.abs(g).max() > 0 for g in along[: len(args)]):
        check_gradient(lambda *xs: product(*xs, *vs), list(along[: len(args)]), list(args))


@pytest.mark.parametrize("name", ALL)
def test_reverse_mode_is_the_transpose_of_forward_mode(name):
    f, _, args = CASES[name]
    rng = np.random.default_rng(2)
    ts = [rng.normal(size=x.shape) for x in args]
    y, pull = functional.vjp(f, *args)
    gs = [rng.normal(size=np.shape(each)) for each in leaves(y)]
    g = gs[0] if not isinstance(y, tuple) else y._make(gs) if hasattr(y, "_make") else tuple(gs)
    dy = leaves(functional.jvp(f, tuple(args), tuple(ts))[1])
    forward = sum((a * b).sum() for a, b in zip(gs, dy, strict=True))
    backward = sum((a * b).sum() for a, b in zip(pull(g), ts, strict=True))
    scale = sum(np.abs(a * b).sum() for a, b in zip(gs, dy, strict=True))
    assert abs(forward - backward) <= 256 * EPS * max(1, scale)


@pytest.mark.parametrize("name", ALL)
def test_vmap_is_a_loop_for_every_choice_of_mapped_arguments(name):
    f, _, args = CASES[name]
    for choice in range(1, 2 ** min(len(args), 2)):
        mapped = [bool(choice >> i & 1) for i in range(len(args))]
        batch = [np.stack([x, x * 1.5, x * 0.75], -1) if mine else x
                 for x, mine in zip(args, mapped, strict=True)]  # fmt: skip
        got = functional.vmap(f, tuple(-1 if mine else None for mine in mapped))(*batch)
        for i in range(3):
            row = [np.ascontiguousarray(x[..., i]) if mine else x
                   for x, mine in zip(batch, mapped, strict=True)]  # fmt: skip
            close(tuple(y[i] for y in leaves(got)), tuple(leaves(f(*row))))


@pytest.mark.parametrize("name", ALL)
def test_jit_of_vmap_of_grad_is_a_loop_of_grad(name):
    objective, args = objective_of(name)
    gradient = functional.grad(objective, tuple(range(len(args))))
    batch = [np.stack([x, x * 1.1]) for x in args]
    got = functional.jit(functional.vmap(gradient))(*batch)
    for i in range(2):
        want = gradient(*[x[i] for x in batch])
        close(tuple(g[i] for g in got), want, scale=1024)


# --- what NumPy's values alone do not show ---------------------------------------------------


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [False, True])
def test_large_triangles_are_solved_by_halves(lower, trans):
    a = SEEDED.normal(size=(2, 150, 150)) / 40 + np.eye(150)
    b = SEEDED.normal(size=(2, 150, 3))
    x = ops.triangular_solve(a, b, lower=lower, trans=trans)
    t = np.tril(a) if lower else np.triu(a)
    np.testing.assert_allclose((t.swapaxes(1, 2) if trans else t) @ x, b, atol=1e3 * EPS)


def test_factors_make_up_the_matrix():
    a = SEEDED.normal(size=(3, 5, 4))
    q, r = linalg.qr(a)
    u, s, vt = linalg.svd(a)
    w, v = linalg.eigh(a[:, :4])
    close(q @ r, a)
    close((u * s[:, None]) @ vt, a)
    close((v * w[:, None]) @ v.swapaxes(1, 2), symmetric(a[:, :4]))
    close(linalg.eigvalsh(a[:, :4], "U"), np.linalg.eigvalsh(a[:, :4], "U"))
    assert linalg.qr(a).R.shape == (3, 4, 4)
    assert linalg.eigh(a[:, :4]).eigenvalues.shape == (3, 4)


def test_only_the_triangle_that_is_read_has_a_gradient():
    a = positive(3, 3)
    for f in (linalg.cholesky, linalg.eigvalsh):
        g = functional.grad(lambda a, f=f: fnp.sum(f(a) ** 3))(a)
        np.testing.assert_array_equal(np.triu(g, 1), 0)
        assert (np.abs(g[np.tril_indices(3)]) > 0).all()


def test_the_derivative_of_det_at_singular_matrices():
    a = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    close(functional.grad(linalg.det)(a), np.array([[-3.0, 6, -3], [6, -12, 6], [-3, 6, -3]]), 512)
    close(functional.grad(linalg.det)(np.diag([0.0, 2, 3])), np.diag([6.0, 0, 0]))
    np.testing.assert_array_equal(functional.grad(linalg.det)(np.zeros((3, 3))), 0)


def test_eigenvalues_that_coincide_have_a_sum_with_a_gradient_and_no_vectors_with_one():
    eye = np.eye(3)
    close(functional.grad(lambda a: fnp.sum(linalg.eigvalsh(a)))(eye), eye)
    for f in (functional.grad, lambda f: functional.jit(functional.grad(f))):
        assert np.isnan(f(lambda a: fnp.sum(linalg.eigh(a)[1] ** 3))(eye)).any()
    close(functional.grad(lambda a: linalg.norm(a, "nuc", (0, 1)))(eye), eye)


def test_the_derivative_of_eigenvalues_is_first_order_perturbation_theory():
    a, t = symmetric(SQUARE), symmetric(normal(3, 3))
    _, v = np.linalg.eigh(a)
    close(functional.jvp(linalg.eigvalsh, (a,), (t,))[1], np.diag(v.T @ t @ v))


def test_norms_at_zero_have_the_derivative_zero():
    for ord_ in (None, 2):
        np.testing.assert_array_equal(functional.grad(lambda x: linalg.norm(x, ord_))(np.zeros(3)), 0)  # fmt: skip  # noqa: B023, E501


def test_least_squares_of_less_than_full_rank_is_numpys():
    a, b = np.outer(normal(4), normal(3)), normal(4)
    x, _, rank, s = linalg.lstsq(a, b)
    want = np.linalg.lstsq(a, b)
    close((x, s), (want[0], want[3]))
    assert rank == want[2] == 1
    assert linalg.matrix_rank(np.zeros((2, 3))) == 0
    assert functional.jit(linalg.matrix_rank)(np.eye(3)) == 3


def test_slogdet_where_det_overflows():
    a = np.eye(200) * 1e3
    sign, value = linalg.slogdet(a)
    assert (sign, value) == (1, pytest.approx(200 * np.log(1e3), rel=200 * EPS))
    close(functional.grad(lambda a: linalg.slogdet(a)[1])(a), np.eye(200) * 1e-3)


def test_the_exponential_of_a_rotation_and_of_what_is_nilpotent():
    angle = 40.0
    turn = np.array([[0.0, -1], [1, 0]])
    want = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    close(linalg.expm(angle * turn), want, 512)
    close(linalg.expm(np.array([[0.0, 7], [0, 0]])), np.array([[1.0, 7], [0, 1]]))
    # d/dt exp(t A) = A exp(t A), also at t = 0.
    for t in (0.0, 2.0):
        got = functional.jvp(lambda t: linalg.expm(turn * t), (t,), (1.0,))[1]
        close(got, turn @ linalg.expm(turn * t))


def test_products_take_the_cheapest_order():
    a, b, c = np.ones((50, 2)), np.ones((2, 50)), np.ones((50, 1))
    text = str(functional.make_jaxpr(lambda *xs: linalg.multi_dot(xs))(a, b, c))
    assert text.count("matmul") == 2
    assert "f64[2,1]" in text
    assert "f64[50,50]" not in text


def test_integers_become_floating():
    assert linalg.inv(np.array([[2, 0], [0, 4]])).dtype == np.float64
    np.testing.assert_array_equal(linalg.matrix_power(np.eye(2, dtype=int) * 3, 0), np.eye(2))


ONES = np.ones((2, 2))


@pytest.mark.parametrize("wrap", [lambda f: f, functional.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("f", "args", "says"),
    [
        (linalg.solve, (ONES, ONES), "solve: a is singular: its smallest singular value is"),
        (linalg.inv, (0 * ONES,), "inv: a is singular: its smallest singular value is 0"),
        (linalg.cholesky, (np.diag([1.0, -2]),),
         "cholesky: a is not positive definite: it has the eigenvalue -2"),
        (linalg.solve_triangular, (0 * ONES, ONES),
         "triangular_solve: a is singular: its diagonal has a zero"),
        (linalg.svd, (np.nan * ONES,), "svd: a holds NaN or infinity"),
    ],
)  # fmt: skip
def test_numbers_that_are_refused(wrap, f, args, says):
    with pytest.raises(OptionError, match=says) as refusal:
        wrap(f)(*args)
    assert "f64[2,2]" in str(refusal.value)


@pytest.mark.parametrize("wrap", [lambda f: f, functional.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("f", "args", "error", "says"),
    [
        (linalg.cholesky, (WIDE,), ShapeError, "a is no square matrix, nor a stack of them"),
        (linalg.svd, (np.ones(3),), ShapeError, "a is no matrix, nor a stack of them"),
        (linalg.eigh, (ONES * 1j,), DtypeError, "linear algebra here is of real numbers"),
        (linalg.det, (ONES.astype(np.float16),), DtypeError, "expected: float32 or float64"),
        (linalg.solve, (ONES, np.ones(3)), ShapeError, r"a f64\[2,2\], b f64\[3,1\]"),
        (linalg.solve, (np.ones((2, 2, 2)), np.ones((3, 2, 1))), ShapeError, "do not broadcast"),
        (lambda a: linalg.qr(a, "complete"), (ONES,), UnknownNameError, "complete"),
        (lambda a: linalg.svd(a, True), (ONES,), OptionError, "full_matrices=False"),
        (lambda a: linalg.norm(a, "nuc", 0), (ONES,), OptionError, "no such norm of vectors"),
        (lambda a: linalg.norm(a, 3, (0, 1)), (ONES,), OptionError, "no such norm of matrices"),
        (lambda a: linalg.norm(a, 2), (np.ones((2, 2, 2)),), OptionError, "over 3 axes"),
        (lambda a: linalg.matrix_power(a, 0.5), (ONES,), DtypeError, "not an int"),
        (lambda a: linalg.multi_dot([a]), (ONES,), ShapeError, "two matrices or more"),
        (linalg.lstsq, (ONES, np.ones(3)), ShapeError, "a and b do not fit together"),
        (lambda a: linalg.solve_triangular(a, a, 2), (ONES,), OptionError, "trans is 0 or 1"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(wrap, f, args, error, says):
    with pytest.raises(error, match=says):
        wrap(f)(*args)
