"""Every operator we share with PyTorch, on the samples of PyTorch's own operator database.

The samples are those by which PyTorch tests itself: shapes, options and corner cases that
others thought of.  ``shared_ops.py`` says which of our operations answers which of theirs;
``skips.py`` gives the reason for each of the rest.
"""

import random
import re
import warnings
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import shared_ops
import torch
from shared_ops import EXPRESSIONS, SHARED, LeftOut
from skips import NOT_SHARED, NOT_THEIRS, RULES
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map

from workbench import dynamic

pytestmark = pytest.mark.peers

TABLE = SHARED | EXPRESSIONS
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}  # Relative to the largest element.
SECOND_ORDER_ELEMENTS = 600  # Of all inputs of a sample: PyTorch's second order is slow.


def variants(name):
    """Return the database's entries of that name that take float64."""
    return [op for op in op_db if op.name == name and torch.float64 in op.supported_dtypes("cpu")]


@contextmanager
def pytorchs_warnings_ignored():
    """What PyTorch warns of, deprecations in its own tests for one, is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def samples(op, dtype, requires_grad):
    """Return the samples of an operator, the same ones every time."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - Some samples are drawn from it.
    random.seed(0)
    with pytorchs_warnings_ignored():
        return list(op.sample_inputs("cpu", dtype, requires_grad=requires_grad))


def arguments(sample):
    return sample.input, tuple(sample.args), dict(sample.kwargs)


def ours(given):
    """Return a sample with our tensors for PyTorch's, and the leaves that want gradients."""
    leaves = []

    def convert(value):
        if not isinstance(value, torch.Tensor):
            return value
        array = value.detach().numpy()
        if not value.is_floating_point():
            return array  # Indices and masks.
        made = dynamic.tensor(array, requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves.append((made, value))
        return made

    return tree_map(convert, given), leaves


def flat(outputs):
    """Return outputs, however nested, as a list."""
    if isinstance(outputs, tuple | list):
        return [y for each in outputs for y in flat(each)]
    return [outputs]


def check(what, mine, theirs, tolerance):
    """Compare one array with PyTorch's: shape, dtype, and values to rounding."""
    mine = np.asarray(mine.data if isinstance(mine, dynamic.Tensor) else mine)
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.numpy(force=True)
    theirs = np.asarray(theirs)
    assert mine.shape == theirs.shape, what
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(mine, theirs, err_msg=what)
        return
    assert mine.dtype == theirs.dtype, what
    largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0)
    np.testing.assert_allclose(mine, theirs, tolerance, tolerance * largest, err_msg=what)


def gradients(what, pairs, leaves, rng, tolerance, create_graph):
    """Compare the gradients of <outputs, random directions>; return them in pairs, if any."""
    pairs = [(y, t) for y, t in pairs if isinstance(t, torch.Tensor) and t.requires_grad]
    if not pairs or not leaves:
        return []
    directions = [rng.standard_normal(t.shape).astype(str(t.dtype)[6:]) for _, t in pairs]
    theirs = torch.autograd.grad(
        [t for _, t in pairs], [leaf for _, leaf in leaves],
        [torch.as_tensor(v) for v in directions],
        create_graph=create_graph, allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    recorded = [(y, v) for (y, _), v in zip(pairs, directions, strict=True)
                if isinstance(y, dynamic.Tensor) and y.requires_grad]  # fmt: skip
    mine = dynamic.grad(
        [y for y, _ in recorded], [leaf for leaf, _ in leaves], [v for _, v in recorded],
        create_graph=create_graph, allow_unused=True,
    )  # fmt: skip
    mine = [np.zeros_like(leaf.data) if d is None else d
            for d, (leaf, _) in zip(mine, leaves, strict=True)]  # fmt: skip
    for k, (d, t) in enumerate(zip(mine, theirs, strict=True)):
        check(f"{what} with respect to input {k}", d, t, tolerance)
    return list(zip(mine, theirs, strict=True))


def compare(op, entry, sample, dtype):
    """Compare one sample; return what was compared, counted."""
    given = arguments(sample)
    (first, args, kwargs), leaves = ours(given)
    try:
        mine = flat(entry.ours(first, *args, **kwargs))
    except LeftOut as rule:
        return {RULES[str(rule)]: 1}
    with pytorchs_warnings_ignored():
        theirs = flat((entry.theirs or op)(given[0], *given[1], **given[2]))
    assert len(mine) == len(theirs)
    pairs = list(zip(mine, theirs, strict=True))
    tolerance = TOLERANCE[dtype] * entry.slack
    for k, (y, t) in enumerate(pairs):
        check(f"output {k}", y, t, tolerance)
    if dtype is torch.float32:
        return {"float32": 1}
    elements = sum(t.numel() for t in tree_leaves(given) if isinstance(t, torch.Tensor))
    twice = op.supports_gradgrad and elements <= SECOND_ORDER_ELEMENTS
    twice = twice and entry.second_order(given[0])
    rng = np.random.default_rng(0)
    first_order = gradients("gradient", pairs, leaves, rng, tolerance, twice)
    second = gradients("second order", first_order, leaves, rng, tolerance, False) if twice else []
    return {"samples": 1, "gradients": bool(first_order), "second": bool(second)}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_values_and_gradients_are_pytorchs(name, record_property):
    entry, done = TABLE[name], Counter()
    for op in variants(name):
        for dtype in (torch.float64, torch.float32):
            differentiable = op.supports_autograd and dtype is torch.float64
            for k, sample in enumerate(samples(op, dtype, differentiable)):
                quiet = np.errstate(all="ignore") if entry.warns else nullcontext()
                try:
                    with quiet:
                        done.update(compare(op, entry, sample, dtype))
                except Exception as error:
                    error.add_note(f"sample {k} of {op.full_name}: {sample.summary()}")
                    raise
    assert done["samples"] > 0, "every sample was left out"
    assert done["float32"] > 0
    assert bool(done["gradients"]) is not entry.no_gradient
    for what, count in done.items():
        record_property(what, count)


def test_every_operator_of_the_database_is_compared_or_left_out_with_a_reason():
    names = {op.name for op in op_db}
    left_out = [name for group in NOT_SHARED.values() for name in group.split()]
    assert len(left_out) == len(set(left_out))
    assert not SHARED.keys() & EXPRESSIONS.keys()
    assert not TABLE.keys() & set(left_out)
    assert TABLE.keys() | set(left_out) == names


def test_every_rule_is_used():
    text = Path(shared_ops.__file__).read_text()
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


def test_every_operation_of_ours_is_compared_or_left_out_with_a_reason():
    public = {name for name in dynamic.ops.__all__ if callable(getattr(dynamic.ops, name))}
    called = set(re.findall(r"ops\.(\w+)", Path(shared_ops.__file__).read_text()))
    alike = {entry.ours for entry in TABLE.values()}
    called |= {name for name in public if getattr(dynamic.ops, name) in alike}
    left_out = {name for group in NOT_THEIRS.values() for name in group.split()}
    assert public - called == left_out


def test_at_least_a_hundred_operators_are_shared_with_their_gradient():
    assert sum(not entry.no_gradient for entry in SHARED.values()) >= 100
