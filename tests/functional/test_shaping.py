"""Shapes, parts and creation: NumPy's values and dtypes, through every transform."""

import numpy as np
import pytest

from workbench import functional
from workbench.errors import GraphError, OptionError, ShapeError, UnknownNameError
from workbench.functional.numpy import creation, elementwise, parts, reductions, shaping
from workbench.gradcheck import check_gradient

OURS = {name: getattr(module, name) for module in (creation, parts, shaping)
        for name in module.__all__}  # fmt: skip
A = np.random.default_rng(0).normal(size=(2, 3, 4))
M, V = A[0], A[0, 0]
EMPTY = np.zeros((0, 3))

# name: our call and NumPy's, on the functions of m.
CASES = {
    "flip": (lambda m, x: m["flip"](x), A),
    "flip-0d": (lambda m, x: m["flip"](x), A[0, 0, 0:1].reshape(())),
    "flip-axes": (lambda m, x: m["flip"](x, (0, -1)), A),
    "fliplr": (lambda m, x: m["fliplr"](x), M),
    "flipud": (lambda m, x: m["flipud"](x), M),
    "flip-empty": (lambda m, x: m["flip"](x), EMPTY),
    "roll": (lambda m, x: m["roll"](x, 5), M),
    "roll-axis": (lambda m, x: m["roll"](x, -1, 1), M),
    "roll-axes": (lambda m, x: m["roll"](x, (1, 2), (0, -1)), M),
    "roll-twice": (lambda m, x: m["roll"](x, 1, (0, 1)), M),
    "roll-empty": (lambda m, x: m["roll"](x, 2, 0), EMPTY),
    "rot90-1": (lambda m, x: m["rot90"](x), A),
    "rot90-2": (lambda m, x: m["rot90"](x, 2), A),
    "rot90-3": (lambda m, x: m["rot90"](x, 3, (1, 2)), A),
    "rot90-0": (lambda m, x: m["rot90"](x, -4), A),
    "rot90-back": (lambda m, x: m["rot90"](x, -1, (2, 0)), A),
    "tile": (lambda m, x: m["tile"](x, (2, 3)), M),
    "tile-int": (lambda m, x: m["tile"](x, 2), A),
    "tile-more": (lambda m, x: m["tile"](x, (2, 1, 2)), V),
    "tile-none": (lambda m, x: m["tile"](x, 0), V),
    "tile-0d": (lambda m, x: m["tile"](x, (2, 2)), np.array(1.5)),
    "repeat": (lambda m, x: m["repeat"](x, 2), M),
    "repeat-axis": (lambda m, x: m["repeat"](x, 3, -1), A),
    "repeat-each": (lambda m, x: m["repeat"](x, [2, 0, 1], 0), M),
    "split": (lambda m, x: m["split"](x, 2, 1)[1], M),
    "split-at": (lambda m, x: m["split"](x, [1, 3], 1)[1], M),
    "split-behind": (lambda m, x: m["split"](x, [3, 2, 9], 1)[2], M),
    "split-negative": (lambda m, x: m["split"](x, [-1], 1)[0], M),
    "array_split": (lambda m, x: m["array_split"](x, 3, 1)[0], M),
    "array_split-many": (lambda m, x: m["array_split"](x, 5, 1)[4], M),
    "hsplit": (lambda m, x: m["hsplit"](x, 2)[0], M),
    "hsplit-vector": (lambda m, x: m["hsplit"](x, 2)[1], V),
    "vsplit": (lambda m, x: m["vsplit"](x, 3)[2], M),
    "dsplit": (lambda m, x: m["dsplit"](x, 2)[1], A),
    "hstack": (lambda m, x: m["hstack"]([x, x]), M),
    "hstack-vectors": (lambda m, x: m["hstack"]((x, 1.0)), V),
    "vstack": (lambda m, x: m["vstack"]([x, M]), V),
    "dstack": (lambda m, x: m["dstack"]([x, x]), V),
    "dstack-matrices": (lambda m, x: m["dstack"]([x, x * 2]), M),
    "column_stack": (lambda m, x: m["column_stack"]([x, x[:, 0]]), M),
    "block": (lambda m, x: m["block"]([[x, x[:, :1]], [x[:1], 2.0]]), M),
    "block-flat": (lambda m, x: m["block"]([x, x[:1]]), V),
    "block-one": (lambda m, x: m["block"](x), V),
    "block-ranks": (lambda m, x: m["block"]([[x], [V]]), M),
    "append": (lambda m, x: m["append"](x, 3), M),
    "append-axis": (lambda m, x: m["append"](x, x[:1], 0), M),
    "delete": (lambda m, x: m["delete"](x, 1), M),
    "delete-some": (lambda m, x: m["delete"](x, [0, -1], 1), M),
    "delete-slice": (lambda m, x: m["delete"](x, slice(None, None, 2), 1), M),
    "delete-mask": (lambda m, x: m["delete"](x, np.array([True, False, True]), 0), M),
    "insert": (lambda m, x: m["insert"](x, 1, 5), M),
    "insert-row": (lambda m, x: m["insert"](x, 1, V, 0), M),
    "insert-column": (lambda m, x: m["insert"](x, -1, np.arange(3.0), 1), M),
    "insert-some": (lambda m, x: m["insert"](x, [0, 2, 2], V[:3], 1), M),
    "insert-many": (lambda m, x: m["insert"](x, [1], np.arange(6.0).reshape(3, 2), 1), M),
    "insert-slice": (lambda m, x: m["insert"](x, slice(0, 3, 2), 7.0), V),
    "resize": (lambda m, x: m["resize"](x, (3, 5)), M),
    "resize-less": (lambda m, x: m["resize"](x, 3), M),
    "resize-empty": (lambda m, x: m["resize"](x, (2, 2)), EMPTY),
    "atleast_1d": (lambda m, x: m["atleast_1d"](x), np.array(1.5)),
    "atleast_2d": (lambda m, x: m["atleast_2d"](x), V),
    "atleast_3d-0": (lambda m, x: m["atleast_3d"](x), np.array(1.5)),
    "atleast_3d-1": (lambda m, x: m["atleast_3d"](x), V),
    "atleast_3d-2": (lambda m, x: m["atleast_3d"](x), M),
    "atleast_2d-two": (lambda m, x: m["atleast_2d"](x, M)[0], V),
    "atleast_3d-3": (lambda m, x: m["atleast_3d"](x), A),
    "broadcast_arrays": (lambda m, x: m["broadcast_arrays"](x, np.zeros((2, 1)))[0], V),
    "moveaxis": (lambda m, x: m["moveaxis"](x, (0, 1), (-1, 0)), A),
    "moveaxis-one": (lambda m, x: m["moveaxis"](x, -1, 0), A),
    "rollaxis": (lambda m, x: m["rollaxis"](x, 2), A),
    "rollaxis-to": (lambda m, x: m["rollaxis"](x, 0, 3), A),
    "rollaxis-negative": (lambda m, x: m["rollaxis"](x, 2, -2), A),
    "tril": (lambda m, x: m["tril"](x, 1), A),
    "triu": (lambda m, x: m["triu"](x, -1), M),
    "tril-vector": (lambda m, x: m["tril"](x), V),
    "triu-0": (lambda m, x: m["triu"](x), A),
    "diag": (lambda m, x: m["diag"](x), V),
    "diag-below": (lambda m, x: m["diag"](x, -2), V),
    "diag-of": (lambda m, x: m["diag"](x, 1), M),
    "diag-beyond": (lambda m, x: m["diag"](x, 7), M),
    "diag-under": (lambda m, x: m["diag"](x, -1), M),
    "diag-empty": (lambda m, x: m["diag"](x), EMPTY[:, 0]),
    "diagflat": (lambda m, x: m["diagflat"](x, 1), M[:2, :2]),
    "diagonal": (lambda m, x: m["diagonal"](x, -1, 2, 0), A),
    "trace": (lambda m, x: m["trace"](x), A),
    "trace-offset": (lambda m, x: m["trace"](x, 1, 1, 2), A),
    "vander": (lambda m, x: m["vander"](x), V),
    "vander-up": (lambda m, x: m["vander"](x, 3, True), V),
    "vander-none": (lambda m, x: m["vander"](x, 0), V),
    "meshgrid": (lambda m, x: m["meshgrid"](x, V[:2])[0], V),
    "meshgrid-ij": (lambda m, x: m["meshgrid"](V, x, indexing="ij")[1], V[:3]),
    "meshgrid-sparse": (lambda m, x: m["meshgrid"](x, V[:2], V[:3], sparse=True)[0], V),
    "linspace": (lambda m, x: m["linspace"](x, 2 * x + 1, 5), V),
    "linspace-one": (lambda m, x: m["linspace"](x, 3, 1), V),
    "linspace-open": (lambda m, x: m["linspace"](x, x + 2, 4, False, axis=-1), V),
    "logspace": (lambda m, x: m["logspace"](x, x + 2, 4, base=2.0), V),
    "geomspace": (lambda m, x: m["geomspace"](x * x + 1, 9.0, 5), V),
    "geomspace-negative": (lambda m, x: m["geomspace"](-x * x - 1, -9.0, 5, axis=1), V),
    "full_like": (lambda m, x: m["full_like"](x, 3.5), M),
    "zeros_like-as": (lambda m, x: m["zeros_like"](x, np.int32), M),
    "ones_like-shape": (lambda m, x: m["ones_like"](x, shape=(2, 2)), M),
    "pad-pair": (lambda m, x: m["pad"](x, (1, 2)), M),
    "pad-one-pair": (lambda m, x: m["pad"](x, ((1, 2),)), M),
    "pad-empty": (lambda m, x: m["pad"](x, 1), EMPTY),
    "pad-0d": (lambda m, x: m["pad"](x, 1), np.array(2.0)),
    "pad-value": (lambda m, x: m["pad"](x, ((0, 1), (2, 0)), "constant", constant_values=7.0), M),
    **{f"pad-{mode}": (lambda m, x, mode=mode: m["pad"](x, ((5, 3), (0, 9)), mode), M)
       for mode in ("edge", "reflect", "symmetric", "wrap")},
}  # fmt: skip


def close(got, want, scale=32):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    eps = np.finfo(want.dtype).eps if want.dtype.kind == "f" else 0
    size = np.abs(want).max(initial=1)
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * eps * size)


NUMPY = {name: getattr(np, name) for name in OURS if hasattr(np, name)}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("name", CASES)
def test_values_are_numpys_eager_compiled_and_batched(name, dtype):
    call, x = CASES[name]
    x = x.astype(dtype)
    want, f = call(NUMPY, x), lambda x: call(OURS, x)
    close(f(x), want)
    close(functional.jit(f)(x), want)
    batch = np.stack([x, x + 1])
    close(functional.vmap(f)(batch), np.stack([np.asarray(f(each)) for each in batch]))


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_two_orders(name):
    call, x = CASES[name]
    want = np.asarray(call(NUMPY, x))
    if not want.size or not x.size or want.dtype != np.float64 or "_like" in name:
        assert not functional.grad(lambda x: reductions.sum(call(OURS, x) * 1.0))(x).any()
        return
    weights = np.random.default_rng(1).normal(size=want.shape)
    f = lambda x: reductions.sum(elementwise.sin(call(OURS, x)) * weights)  # noqa: E731
    gradient = functional.grad(f)
    check_gradient(f, gradient, x)
    along = lambda x: reductions.sum(gradient(x) * np.cos(x.size))  # noqa: E731
    check_gradient(along, functional.grad(along), x)


MADE = {
    "eye": lambda m: m["eye"](3, 4, -1), "eye-dtype": lambda m: m["eye"](2, dtype=bool),
    "identity": lambda m: m["identity"](3), "tri": lambda m: m["tri"](3, 4, 1, np.int32),
    "indices": lambda m: m["indices"]((2, 3)), "indices-none": lambda m: m["indices"](()),
    "fromfunction": lambda m: m["fromfunction"](lambda i, j: i * 10 + j, (2, 3)),
    "linspace": lambda m: m["linspace"](0, 1, 7),
    "linspace-float32": lambda m: m["linspace"](0, 1, 7, dtype="f4"),
    "linspace-ints": lambda m: m["linspace"](-3, 2, 4, dtype=int),
    "linspace-none": lambda m: m["linspace"](0, 1, 0),
    "linspace-step": lambda m: m["linspace"](0, 1, 5, retstep=True)[1],
    "logspace": lambda m: m["logspace"](0, 2, 4), "geomspace": lambda m: m["geomspace"](1, 1000, 4),
    "geomspace-open": lambda m: m["geomspace"](1.0, 256.0, 4, endpoint=False),
    "zeros": lambda m: m["zeros"]((2, 0), "i4"), "empty": lambda m: m["empty"](3) * 0,
    "meshgrid-none": lambda m: np.array(len(m["meshgrid"]())),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_creation_is_numpys(name):
    want = MADE[name](NUMPY)
    close(MADE[name](OURS), want, scale=8)
    close(functional.jit(lambda: MADE[name](OURS))(), want, scale=8)


def test_the_ends_of_linspace_are_exact():
    for start, stop, n in [(0.1, 0.7, 7), (-1.0, 1 / 3, 11), (1e-3, 1e3, 50)]:
        x, g = creation.linspace(start, stop, n), creation.geomspace(abs(start), stop, n)
        assert (x[0], x[-1], g[0], g[-1]) == (start, stop, abs(start), stop)


def test_a_traced_constant_pads():
    f = lambda c: reductions.sum(shaping.pad(M, 1, constant_values=c))  # noqa: E731
    assert functional.grad(f)(2.0) == 18


def trace(f):
    return lambda: functional.jit(f)(np.arange(3))


@pytest.mark.parametrize(("call", "kind", "message"), [
    (trace(lambda n: parts.repeat(M, n, 0)), GraphError, "repeat: the shape of the result depends on values"),
    (trace(lambda n: parts.roll(M, n[0])), GraphError, r"take\(x, \(arange\(n\) - shift\) % n\)"),
    (trace(lambda n: parts.split(V, n)), GraphError, "not known while tracing"),
    (trace(lambda n: parts.delete(V, n)), GraphError, "traced by jit"),
    (lambda: parts.split(V, 3), ShapeError, r"into equal parts[\s\S]*array_split"),
    (lambda: parts.split(V, 0), OptionError, "at least one section"),
    (lambda: parts.repeat(V, [1, 2]), ShapeError, "2 repeats for length 4"),
    (lambda: parts.rot90(M, 1, (0,)), OptionError, "two axes"),
    (lambda: parts.rot90(M, 1, (0, 0)), OptionError, "named twice"),
    (lambda: shaping.moveaxis(A, (0, 1), 0), OptionError, "one place"),
    (lambda: shaping.block([[M], M]), ShapeError, "different depths"),
    (lambda: shaping.block([]), ShapeError, "nothing to join"),
    (lambda: shaping.broadcast_shapes((2,), (3,)), ShapeError, "do not broadcast together"),
    (lambda: shaping.pad(M, 1, "reflex"), UnknownNameError, "did you mean 'reflect'"),
    (lambda: shaping.pad(EMPTY, 1, "edge"), ShapeError, "cannot be continued"),
    (lambda: shaping.pad(M, ((1, 1),) * 3), OptionError, "widths do not fit"),
    (lambda: shaping.pad(M, 1.5), OptionError, "widths do not fit"),
    (lambda: shaping.pad(M, -1), OptionError, "widths do not fit"),
    (lambda: creation.diag(A), ShapeError, "a vector or a matrix"),
    (lambda: creation.diagonal(A, 0, 1, 1), OptionError, "named twice"),
    (lambda: creation.tril(2.0), ShapeError, "no diagonal"),
    (lambda: creation.vander(M), ShapeError, "a vector is needed"),
    (lambda: creation.linspace(0, 1, 2.5), OptionError, "num=2.5"),
    (lambda: creation.meshgrid(V, indexing="xyz"), UnknownNameError, "did you mean 'xy'"),
])  # fmt: skip
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
