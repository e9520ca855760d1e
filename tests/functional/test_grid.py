"""The grid: every primitive under every transform, all pairs and, by turns, all triples.

A stack is read from the outside in: ``jvp-vmap`` is ``jvp(vmap(f))``.  Its outermost transform
is proven on what the others make of the primitive, which has been proven by a shorter stack:

* ``jit(S)`` is S,
* ``vmap(S)`` is a NumPy loop of S,
* ``jvp(S)`` is the numeric derivative of S in the direction of the tangents,
* ``vjp(S)`` pairs with any tangents to the numeric derivative of S, paired with the cotangents.

So no numeric derivative is ever taken of another one, and each keeps its digits.  The
primitives with every single transform and every pair; the 64 triples go round, a few a
primitive, so that each is tried with five of them or more.  Shapes are random, of axes of
length 0 to 4, other ones for each cell, and seeded by its name.
"""

import itertools
import zlib

import numpy as np
import pytest
from primitive_cases import CASES, Draw, on_floats, point

from workbench import functional
from workbench.errors import GraphError

EPS = np.finfo(float).eps
STEP = EPS ** (1 / 4)
# Of 4th order: the formula is off by STEP**4 times the fifth derivative, about EPS, and the
# rounding of the values is divided by STEP.  Measured over all cells: at most 4.2e-11.
NUMERIC = 5e-10
ROUNDING = 1e-13  # Between two ways to compute the same.  Measured: at most 2.3e-16.

TRANSFORMS = ("jvp", "vjp", "vmap", "jit")
SINGLES = [(name,) for name in TRANSFORMS]
PAIRS = list(itertools.product(TRANSFORMS, repeat=2))
TRIPLES = list(itertools.product(TRANSFORMS, repeat=3))
TURNS = 5  # Triples a primitive; a number without a factor in common with 64 meets all of them.


def turns(place):
    """Return the triples of the primitive at this place of the list."""
    return [TRIPLES[(place * TURNS + k) % len(TRIPLES)] for k in range(TURNS)]


CELLS = [
    (name, stack)
    for place, name in enumerate(sorted(CASES))
    for stack in [*SINGLES, *PAIRS, *turns(place)]
]


def refused(name, stack):
    """Return what the refusal says where a stack is refused by design, else None."""
    derivatives = [each for each in stack if each in ("jvp", "vjp")]
    if name == "while" and "vjp" in derivatives:
        return "a while loop keeps no record of its steps"
    if name == "custom_vjp" and derivatives[-1:] == ["jvp"]:
        return "it has a reverse rule only"
    return None


class Stack:
    """A stack of transforms of a primitive: the function, and arguments for it.

    Parameters
    ----------
    name : str
        The primitive.
    stack : tuple of str
        From the outside in.
    cell : str
        Seeds the shapes and the values.
    """

    def __init__(self, name, stack, cell):
        self.name, self.stack, self.cell = name, stack, cell
        self.rng = np.random.default_rng(zlib.crc32(f"{cell}/{len(stack)}".encode()))
        self.inner = Stack(name, stack[1:], cell) if stack else None
        self.drawn = 0
        if not stack:
            self.f = on_floats(CASES[name](Draw(cell)))
            return
        f, n = self.inner.f, len(self.inner.args())
        self.count = n
        if stack[0] == "jit":
            self.f = functional.jit(f)
        elif stack[0] == "jvp":
            self.f = lambda *xs: functional.jvp(f, xs[:n], xs[n:])[1]
        elif stack[0] == "vjp":
            self.f = lambda *xs: functional.vjp(f, *xs[:n])[1](tuple(xs[n:]))
        else:
            self.size = int(self.rng.integers(1, 4))
            self.axes = [None if self.rng.random() < 0.2 else 0 for _ in range(n)]
            self.axes[self.rng.integers(n)] = 0
            # The last axis of the whole now and then, where it is one more than the example's.
            self.axes = [-1 if a == 0 and self.rng.random() < 0.3 else a for a in self.axes]
            self.f = functional.vmap(f, tuple(self.axes))

    def args(self):
        """Return new arguments, always of the same shapes."""
        if not self.stack:
            self.drawn += 1
            return point(CASES[self.name](Draw(self.cell, self.drawn)))
        if self.stack[0] == "vmap":
            examples = [self.inner.args() for _ in range(self.size)]
            return [
                xs[0] if axis is None else np.stack(xs, axis)
                for xs, axis in zip(zip(*examples, strict=True), self.axes, strict=True)
            ]
        xs = self.inner.args()
        if self.stack[0] == "jvp":
            return xs + [self.rng.normal(size=x.shape) for x in xs]
        if self.stack[0] == "vjp":
            return xs + [self.rng.normal(size=y.shape) for y in self.inner.f(*xs)]
        return xs

    def check(self):
        """Prove the outermost transform of the others."""
        xs, f, n = self.args(), self.inner.f, self.count
        found = self.f(*xs)
        if self.stack[0] == "jit":
            agree(found, f(*xs), ROUNDING)
        elif self.stack[0] == "vmap":
            rows = [
                f(*[x if axis is None else np.take(x, i, axis)
                    for x, axis in zip(xs, self.axes, strict=True)])
                for i in range(self.size)
            ]  # fmt: skip
            agree(found, [np.stack(ys) for ys in zip(*rows, strict=True)], ROUNDING)
        elif self.stack[0] == "jvp":
            agree(found, slope(f, xs[:n], xs[n:]), NUMERIC)
        else:
            for _ in range(2):
                ts = [self.rng.normal(size=x.shape) for x in xs[:n]]
                along = slope(f, xs[:n], ts)
                terms = [g * t for g, t in zip(xs[n:], along, strict=True)]
                agree([dot(found, ts)], [dot(xs[n:], along)], NUMERIC, terms)
            assert [g.shape for g in found] == [x.shape for x in xs[:n]]


def dot(xs, ys):
    return sum((np.sum(x * y) for x, y in zip(xs, ys, strict=True)), 0.0)


def slope(f, xs, ts):
    """Return the numeric derivative of ``f`` at ``xs`` in the direction ``ts``."""
    near, far = (
        [
            (a - b) / (2 * h)
            for a, b in zip(*[f(*[x + s * h * t for x, t in zip(xs, ts, strict=True)])
                              for s in (1, -1)], strict=True)
        ]
        for h in (STEP, 2 * STEP)
    )  # fmt: skip
    return [(4 * a - b) / 3 for a, b in zip(near, far, strict=True)]


def agree(found, wanted, limit, terms=()):
    """Compare arrays relative to the largest number among them and the terms they sum."""
    for x, y in zip(found, wanted, strict=True):
        assert np.shape(x) == np.shape(y)
        size = max([1.0, *(np.abs(each).max(initial=0) for each in (y, *terms))])
        np.testing.assert_allclose(x, y, rtol=0, atol=limit * size)


def spell(name, stack):
    return f"{'-'.join(stack)}-{name}"


@pytest.mark.parametrize(("name", "stack"), CELLS, ids=[spell(*cell) for cell in CELLS])
def test_cell(name, stack):
    reason = refused(name, stack)
    if reason is None:
        Stack(name, stack, spell(name, stack)).check()
        return
    with pytest.raises(GraphError, match=reason):
        made = Stack(name, stack, spell(name, stack))
        made.f(*made.args())


def test_the_grid_is_whole():
    assert len(SINGLES + PAIRS + TRIPLES) == 84
    met = {stack: set() for stack in SINGLES + PAIRS + TRIPLES}
    for name, stack in CELLS:
        met[stack].add(name)
    assert all(met[stack] == set(CASES) for stack in SINGLES + PAIRS)
    assert min(len(met[stack]) for stack in TRIPLES) >= 5
