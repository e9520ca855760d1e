"""Stacks of transforms, under which a function must agree with a plain one."""

import numpy as np

from workbench import functional
from workbench.functional import numpy as fnp


def total(f):
    """Make one number of f's results, so that it has a gradient."""

    def scalar(*args):
        return sum(fnp.sum(fnp.sin(leaf)) for leaf in functional.tree_leaves(f(*args)))

    return scalar


STACKS = {
    "value": lambda f: f,
    "jit": functional.jit,
    "grad": lambda f: functional.grad(total(f)),
    "jit-grad": lambda f: functional.jit(functional.grad(total(f))),
    "grad-jit": lambda f: functional.grad(total(functional.jit(f))),
    "jacfwd": functional.jacfwd,
    "jit-jacfwd": lambda f: functional.jit(functional.jacfwd(f)),
    "jacfwd-jit": lambda f: functional.jacfwd(functional.jit(f)),
    "hessian": lambda f: functional.hessian(total(f)),
    "jit-hessian": lambda f: functional.jit(functional.hessian(total(f))),
    "grad-grad": lambda f: functional.grad(total(functional.grad(total(f)))),
    "grad-jit-grad": lambda f: functional.grad(total(functional.jit(functional.grad(total(f))))),
    "linearize": lambda f: (
        lambda *xs: functional.linearize(lambda x: f(x, *xs[1:]), xs[0])[1](xs[0])
    ),
}
FORWARD = ("value", "jit", "jacfwd", "jit-jacfwd", "jacfwd-jit", "linearize")


def assert_trees_equal(ours, wanted, rtol=1e-9, atol=1e-11):
    """Assert that two pytrees have equal leaves, up to rounding."""
    for x, y in zip(functional.tree_leaves(ours), functional.tree_leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def loop_over(f, axes=None):
    """``vmap`` as a Python loop over axis 0 of the arguments whose axis is not None."""

    def looped(*args):
        chosen = axes or (0,) * len(args)
        size = next(len(x) for x, axis in zip(args, chosen, strict=True) if axis == 0)
        rows = [
            f(*[x if axis is None else x[i] for x, axis in zip(args, chosen, strict=True)])
            for i in range(size)
        ]
        return functional.tree_map(lambda *leaves: np.stack(leaves), *rows)

    return looped
