"""Random numbers without hidden state: a key in, numbers out.

A key is an array of two uint32.  The same key gives the same numbers, so give a key to one
function only, and :func:`split` it for more; that a key is used twice is not detected.
Everything here goes through ``vmap``, ``jit`` and ``grad``, and draws the same numbers there.

The streams are those of JAX, for the same dtype; the default here is float64, as it is in
:mod:`workbench.functional.numpy`.
"""

from workbench.functional.random.choosing import categorical, choice, permutation
from workbench.functional.random.distributions import (
    bernoulli,
    cauchy,
    exponential,
    gumbel,
    laplace,
    logistic,
    normal,
    rademacher,
    randint,
    truncated_normal,
    uniform,
)
from workbench.functional.random.rounding import erf_inv
from workbench.functional.random.threefry import PRNGKey, bits, fold_in, key, split

__all__ = [
    "PRNGKey", "bernoulli", "bits", "categorical", "cauchy", "choice", "erf_inv", "exponential",
    "fold_in", "gumbel", "key", "laplace", "logistic", "normal", "permutation", "rademacher",
    "randint", "split", "truncated_normal", "uniform",
]  # fmt: skip
