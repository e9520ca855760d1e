"""The exhibit of errors: every mistake has its own, which names the way out."""

import numpy as np
import pytest

from workbench import functional
from workbench.errors import WorkbenchError
from workbench.functional import numpy as fnp
from workbench.functional import refusals

X = np.arange(3.0)


def branch(x):
    return x if fnp.sum(x) > 0 else -x


def loop(x):
    while fnp.sum(x) < 10:
        x = x * 2
    return x


def mutate(x):
    x[0] = 1.0
    return x


def leak(transform):
    kept = []
    transform(lambda x: kept.append(x) or fnp.sum(x))(X)
    return kept[0] + 1


def draws():
    rng = np.random.default_rng(0)
    return functional.check_pure(lambda x: x * rng.standard_normal())(X)


def counts():
    state = {"n": 0}

    def f(x):
        state["n"] += 1
        return x * state["n"]

    return functional.check_pure(f)(X)


def changes():
    total = np.zeros(3)

    def f(x):
        total[0] += 1
        return x + total

    return functional.check_pure(f)(X)


def keeps():
    kept = []
    return functional.check_pure(lambda x: kept.append(x * 2) or x)(X)


jit, grad, vmap = functional.jit, functional.grad, functional.vmap
EXHIBIT = [
    (lambda: jit(branch)(X), "TracedBranchError", "functional.cond"),
    (lambda: vmap(branch)(X[None]), "TracedBranchError", "functional.numpy.where"),
    (lambda: jit(loop)(X), "TracedBranchError", "functional.while_loop"),
    (lambda: jit(lambda x: fnp.zeros(int(fnp.sum(x))))(X), "TracedNumberError", "closed over|close over"),
    (lambda: jit(lambda x, i: [1, 2, 3][i])(X, 1), "TracedNumberError", "functional.numpy.take"),
    (lambda: grad(lambda x: float(x) ** 2)(1.0), "TracedNumberError", "stop_gradient"),
    (lambda: jit(np.asarray)(X), "TracerArrayError", "functional.numpy"),
    (lambda: jit(np.linalg.norm)(X), "TracerArrayError", "functional.numpy"),
    (lambda: grad(lambda x: np.sum(np.sin(x)))(X), "TracerArrayError", "functional.numpy.sin"),
    (lambda: leak(jit), "LeakedTracerError", r"test_refusals.py:\d+"),
    (lambda: leak(grad), "LeakedTracerError", "has_aux=True"),
    (lambda: jit(mutate)(X), "MutationError", r"x.at\[index\].set\(value\)"),
    (draws, "ImpureFunctionError", "functional.random takes a key"),
    (counts, "ImpureFunctionError", "recorded differently"),
    (changes, "ImpureFunctionError", "changed by the call"),
    (keeps, "LeakedTracerError", r"test_refusals.py:\d+"),
    (lambda: vmap(fnp.sin, in_axes=(0, 0))(X), "AxesError", "length 2 for 1"),
    (lambda: vmap(fnp.sin, in_axes=1)(X), "AxesError", "in_axes 1 for leaf 0"),
    (lambda: vmap(fnp.add)(X, np.ones(4)), "AxesError", "3 in leaf 0"),
    (lambda: vmap(fnp.sin, in_axes=None)(X), "AxesError", "axis_size"),
    (lambda: vmap(fnp.sin, out_axes=None)(X), "AxesError", "out_axes=0"),
    (lambda: grad(fnp.sin)(X), "NonScalarGradientError", "jacrev, jacfwd or vjp"),
    (lambda: grad(fnp.sum)(np.arange(3)), "IntegerInputError", "astype"),
    (lambda: grad(lambda x: fnp.sum(x > 0))(X), "IntegerInputError", "float32 or float64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "name", "text"), EXHIBIT)
def test_a_mistake_is_named_and_mended(call, name, text):
    with pytest.raises(getattr(refusals, name), match=text) as caught:
        call()
    assert type(caught.value).__name__ == name


def test_every_error_of_the_exhibit_is_shown():
    shown = {name for _, name, _ in EXHIBIT}
    assert shown == {
        name
        for name, each in vars(refusals).items()
        if isinstance(each, type)
        and issubclass(each, WorkbenchError)
        and each.__module__ == refusals.__name__
    }


def test_a_pure_function_passes():
    weights = np.ones(3)
    pure = functional.check_pure(lambda x: {"y": fnp.sin(x * weights), "n": None})
    np.testing.assert_array_equal(pure(X)["y"], np.sin(X))
