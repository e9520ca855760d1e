"""What test_parallel.py runs in several processes: ``python parallel_programs.py NAME FOLDER``.

A program returns arrays by name; each process writes its own to FOLDER/RANK.npz.
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from workbench import datasets, functional
from workbench.functional import numpy as fnp
from workbench.functional import parallel

RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3))
X = RNG.standard_normal((8, 3))
XS = RNG.standard_normal((2, 8, 3))


def ring(size):
    return [(i, (i + 1) % size) for i in range(size)]


def cases(size):
    """Functions of shared weights and one part of a batch, to a part of equal length."""

    def in_scan(w, x):
        def body(carry, row):
            carry = fnp.tanh(carry + functional.psum(row @ w, "i"))
            return carry, carry * row

        return functional.scan(body, fnp.zeros(3), x)[1]

    def gathered(w, x):
        rows = functional.all_gather(fnp.tanh(x @ w), "i")
        weights = 1.0 + fnp.arange(size)[:, None, None]
        return x * fnp.sum(rows * rows * weights, axis=0)

    return {
        "psum": lambda w, x: x * functional.psum(fnp.sin(x @ w), "i"),
        "pmean": lambda w, x: x * functional.pmean(fnp.sin(x @ w), "i"),
        "pmax": lambda w, x: x * functional.pmax(fnp.sin(x @ w), "i"),
        "pmin": lambda w, x: x * functional.pmin(fnp.sin(x @ w), "i"),
        "all_gather": gathered,
        "ppermute": lambda w, x: x * functional.ppermute(fnp.sin(x @ w), "i", ring(size)),
        "ppermute to one": lambda w, x: x + functional.ppermute(x @ w, "i", [(size - 1, 0)]),
        "axis_index": lambda w, x: (1 + functional.axis_index("i")) * fnp.sin(x @ w),
        "psum twice": lambda w, x: x * functional.psum(x * functional.psum(x @ w, "i"), "i"),
        "scan": in_scan,
        "jit": functional.jit(lambda w, x: x * functional.psum(fnp.sin(x @ w), "i")),
        "checkpoint": functional.checkpoint(lambda w, x: functional.psum(fnp.sin(x @ w), "i") * x),
        "none": lambda w, x: fnp.sin(x @ w),
    }


def total(f):
    return lambda *args: fnp.sum(fnp.sin(f(*args)))


def both(f):
    return functional.jit(functional.value_and_grad(total(f), (0, 1)))(W, X)


TRANSFORMS = {
    "both": both,
    "value": lambda f: f(W, X),
    "grad of closed over": lambda f: functional.grad(lambda w: total(lambda x: f(w, x))(X))(W),
    "grad of grad": lambda f: functional.grad(
        lambda w: fnp.sum(functional.grad(total(f))(w, X) ** 2)
    )(W),
    "jvp": lambda f: functional.jvp(f, (W, X), (fnp.cos(W), fnp.cos(X)))[1],
    "vmap of grad": lambda f: functional.vmap(functional.grad(total(f)), (None, 0))(W, XS),
}


def apply_all(mapped, size):
    """Return cases under transforms; ``mapped`` maps a case over the processes."""
    under = dict.fromkeys(cases(size), ("both",)) | dict.fromkeys(["psum", "scan"], TRANSFORMS)
    if size > 2:  # More processes than cores: only what depends on how many there are.
        under = {case: ["both"] for case in ("psum", "all_gather", "ppermute", "ppermute to one")}
    return {
        f"{case}: {name}: {i}": leaf
        for case, names in under.items()
        for name in names
        for i, leaf in enumerate(
            functional.tree_leaves(TRANSFORMS[name](mapped(cases(size)[case])))
        )
    }


def collectives():
    def mapped(f):
        return parallel.pmap(f, in_axes=(None, 0))

    return apply_all(mapped, parallel.world().size)


def loss(params, x, y):
    for w, b in params[:-1]:
        x = fnp.tanh(x @ w + b)
    w, b = params[-1]
    return fnp.softmax_cross_entropy(x @ w + b, y)


def train(value_and_grad, steps=40, batch=64):
    """Return the losses and the weights of an MLP trained on the digits, in float64."""
    data = datasets.digits(np.float64)
    rng = np.random.default_rng(1)
    sizes = [64, 32, 10]
    params = [(rng.normal(0, n**-0.5, (n, m)), np.zeros(m)) for n, m in itertools.pairwise(sizes)]

    @functional.jit
    def step(params, x, y):
        value, g = value_and_grad(params, x, y)
        return value, functional.tree_map(lambda p, g: p - 0.5 * g, params, g)

    losses = []
    for i in range(steps):
        rows = slice(i * batch % 1024, i * batch % 1024 + batch)
        value, params = step(params, data.x_train[rows], data.y_train[rows])
        losses.append(value)
    flat = functional.tree_leaves(params)
    return {"losses": np.array(losses), **{f"weights {i}": p for i, p in enumerate(flat)}}


def digits():
    """Each process differentiates the loss of its part; the gradients are averaged."""

    def averaged(params, x, y):
        return functional.pmean(functional.value_and_grad(loss)(params, x, y), "i")

    return train(parallel.pmap(averaged, in_axes=(None, 0, 0), out_axes=None))


def digits_from_outside():
    """The loss is a function of everything, and is differentiated as such."""
    mean = parallel.pmap(
        lambda params, x, y: functional.pmean(loss(params, x, y), "i"),
        in_axes=(None, 0, 0), out_axes=None,
    )  # fmt: skip
    return train(functional.value_and_grad(mean))


def parts():
    """Shard, gather and replicate, and ties and types between processes."""
    world = parallel.world()
    mine = world.shard({"x": X, "n": np.arange(16).reshape(2, 8)[:, ::-1].T})
    assert len(mine["x"]) == 8 // world.size
    whole = world.gather(mine)
    own = np.full(2, world.rank, np.int32)
    return {
        "x": whole["x"],
        "n": whole["n"],
        "columns": world.gather(world.shard(XS, axis=-2), axis=1),
        "replicated": world.replicate(own),
        "int32": world.psum(own),
        "largest": world.pmax(np.array([world.rank, np.nan if world.rank else 1.0])),
        "tie": functional.grad(
            parallel.pmap(
                lambda x: functional.pmax(fnp.max(x), "i"), out_axes=None
            )
        )(np.ones(8)),
    }  # fmt: skip


# Programs that fail


def raises():
    if parallel.world().rank == 1:
        raise ValueError("the seventh seal")
    parallel.world().psum(np.ones(3))


def killed():
    if parallel.world().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    parallel.world().psum(np.ones(3))


def different_shapes():
    parallel.world().psum(np.ones(3 + parallel.world().rank))


def different_order():
    world = parallel.world()
    world.psum(np.ones(3)) if world.rank else world.ppermute(np.ones(3), perm=((0, 1),))


def leaves_early():
    if parallel.world().rank == 0:
        parallel.world().psum(np.ones(3))


def exits_early():
    if parallel.world().rank == 0:
        sys.exit(3)
    parallel.world().psum(np.ones(3))


def different_results():
    parallel.pmap(lambda x: fnp.sum(x), out_axes=None)(X)


def sleeps():
    parallel.world()
    time.sleep(60)


def good():
    """Everything that ends well, in one start."""
    programs = [collectives, digits, digits_from_outside, parts]
    return {f"{f.__name__} {k}": v for f in programs for k, v in f().items()}


if __name__ == "__main__":
    results = globals()[sys.argv[1]]()
    rank = parallel.world().rank
    if results is not None:
        np.savez(Path(sys.argv[2]) / f"{rank}.npz", **results)
