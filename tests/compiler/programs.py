"""Random programs, for the tests that must hold for any program."""

import numpy as np

from workbench.compiler import Builder, Type

F8, I8, BOOL = np.dtype("f8"), np.dtype("i8"), np.dtype(bool)

UNARY = "negative absolute sqrt floor sign copy".split()
BINARY = "add subtract multiply divide maximum minimum".split()
REDUCE = "sum prod max min".split()
WHOLE = "negative absolute sign".split(), "add subtract multiply maximum".split()
"""Of whole numbers, these make whole numbers: nothing is rounded, in whatever order."""


class Writer:
    """Writes a random program, with the choices of a ``random.Random``.

    ``exact`` keeps to operations that round nothing where the inputs hold small whole
    numbers, so that results can be compared to the last bit after sums change their order.
    """

    def __init__(self, random, exact=False, control=True):
        self.random, self.exact, self.control = random, exact, control
        self.b = Builder("random")
        shapes = [(3, 4), (3, 4), (4, 3), (4,), (1, 4), ()]
        self.pool = [self.b.input(Type(F8, s), f"x{i}") for i, s in enumerate(shapes)]
        self.n_inputs = len(shapes)

    def pick(self, accept=lambda x: True):
        return self.random.choice([x for x in self.pool if x.size <= 200 and accept(x)])

    def elementwise(self):
        unary, binary = WHOLE if self.exact else (UNARY, BINARY)
        if self.random.random() < 0.4:
            return self.b.emit(self.random.choice(unary), self.pick())
        x = self.pick()
        y = self.pick(lambda y: y.shape == x.shape or not y.shape)
        return getattr(self.b, self.random.choice(binary))(*self.random.sample([x, y], 2))

    def neutral(self):
        """Numbers that rules look for, beside an operation."""
        value = self.random.choice([0.0, -0.0, 1.0, -1.0, 2.0])
        names = ["add", "subtract", "multiply"] + ["divide", "power"] * (not self.exact)
        x = self.pick()
        name = self.random.choice(names)
        sides = [x, self.b.constant(value)]
        return getattr(self.b, name)(*(sides if name in ("divide", "power") else
                                       self.random.sample(sides, 2)))  # fmt: skip

    def comparison(self):
        x = self.pick()
        condition = self.b.less(x, self.b.constant(float(self.random.randint(-2, 2))))
        if self.random.random() < 0.3:
            condition = self.b.invert(condition)
        y = self.pick(lambda y: y.shape == x.shape)
        return self.b.select(condition, x, y)

    def map(self):
        x, b, random = self.pick(), self.b, self.random
        kind = random.choice("broadcast reshape transpose slice pad concatenate convert".split())
        if kind == "broadcast":
            return b.broadcast(x, (2, *x.shape)) if x.ndim < 3 else x
        if kind == "reshape":
            return b.reshape(x, random.choice([(x.size,), (1, x.size), (*x.shape, 1)]))
        if kind == "transpose":
            return b.transpose(x, random.sample(range(x.ndim), x.ndim))
        if kind == "slice":
            steps = [random.choice([1, -1, 2]) for _ in x.shape]
            sizes = [(n + 1) // 2 for n in x.shape]
            starts = [0 if s > 0 else n - 1 for s, n in zip(steps, x.shape, strict=True)]
            return b.slice(x, starts, sizes, steps)
        if kind == "pad":
            return b.pad(x, [1] * x.ndim, [0] * x.ndim, [1] * x.ndim, fill=2.0)
        if kind == "concatenate" and x.ndim:
            return b.concatenate([x, x], random.randrange(x.ndim))
        return b.convert(b.convert(x, "f8"), "f8")

    def reduce(self):
        x = self.pick(lambda x: x.ndim and x.size)
        axes = self.random.sample(range(x.ndim), self.random.randint(1, x.ndim))
        name = self.random.choice(REDUCE[::2] if self.exact else REDUCE)
        return self.b.reduce(name, x, axes, keepdims=self.random.random() < 0.5)

    def dot(self):
        a = self.pick(lambda x: x.ndim >= 2)
        fits = [(y, t) for y in self.pool for t in (False, True)
                if y.ndim == a.ndim and y.shape[:-2] == a.shape[:-2] and y.size < 200
                and y.shape[-1 if t else -2] == a.shape[-1]]  # fmt: skip
        if not fits:
            return self.b.dot(a, a, trans_b=True)
        y, t = self.random.choice(fits)
        order = (*range(y.ndim - 2), y.ndim - 1, y.ndim - 2)
        product = self.b.dot(a, self.b.transpose(y, order) if t else y)
        if self.random.random() < 0.5:
            return self.b.transpose(product, order)
        same = [x for x in self.pool if x.shape == product.shape]
        scaled = self.b.multiply(product, self.b.constant(-2.0))
        return self.b.subtract(self.random.choice(same), scaled) if same else product

    def special(self):
        x = self.pick(lambda x: x.ndim and x.shape[0])
        index = self.b.constant([self.random.randrange(x.shape[0]) for _ in range(3)])
        rows = self.b.gather(x, index)
        if self.random.random() < 0.5:
            return self.b.scatter_add(x, rows, index)
        return self.random.choice([rows, self.b.cumsum(x, 0)])

    def flow(self):
        """An instruction of control flow; its results join the pool."""
        x = self.pick(lambda x: x.ndim and x.shape[0])
        kind = self.random.choice(["if", "while", "scan"])
        b = self.b
        if kind == "if":
            parts = []
            for name in ("then", "orelse"):
                p = Builder(name)
                y = p.input(x.type, "y")
                parts.append(p.program([p.negative(p.transpose(y, range(y.ndim))), y]))
            first = b.slice(b.reshape(x, (x.size,)), [0], [1])
            return b.if_(b.reshape(b.isnan(first), ()), [x], *parts)
        if kind == "while":
            c, p = Builder("cond"), Builder("body")
            types = [Type(I8, ()), x.type, x.type]
            i, _, _ = (c.input(t) for t in types)
            cond = c.program([c.less(i, c.constant(3))])
            i, y, z = (p.input(t) for t in types)
            body = p.program([p.add(i, p.constant(1)), p.add(y, p.negative(z))])
            return b.while_([b.constant(0), x], [x], cond, body)[1:]
        p = Builder("step")
        row = Type(F8, x.shape[1:])
        total, element = p.input(row, "total"), p.input(row, "element")
        more = p.add(total, element)
        body = p.program([more, p.absolute(more), p.subtract(element, more)])
        start = b.constant(np.zeros(row.shape))
        return b.scan([start], [x], [], body, x.shape[0], reverse=self.random.random() < 0.5)

    def write(self, length):
        """Return a verified program of about ``length`` calls of the builder."""
        kinds = [self.elementwise] * 4 + [self.neutral, self.comparison, self.map, self.map,
                                          self.reduce, self.dot, self.special]  # fmt: skip
        kinds += [self.flow] * self.control
        for _ in range(length):
            made = self.random.choice(kinds)()
            self.pool.extend(made if isinstance(made, tuple) else [made])
        outputs = [*self.random.choices(self.pool[self.n_inputs :], k=3), self.pick()]
        donate = {}
        for i, x in enumerate(outputs):
            free = [j for j in range(self.n_inputs)
                    if self.pool[j].type == x.type and j not in donate.values()]  # fmt: skip
            if free and self.random.random() < 0.7:
                donate[i] = self.random.choice(free)
        return self.b.program(outputs, donate)


def random_program(random, length=12, exact=False, control=True):
    """Return a random program."""
    return Writer(random, exact, control).write(length)


def random_inputs(program, seed=0):
    """Return inputs for a program: small whole numbers, among them both zeros."""
    rng = np.random.default_rng(seed)
    return [np.array(rng.integers(-3, 4, x.shape) * rng.choice([-1.0, 1.0], x.shape))
            for x in program.inputs]  # fmt: skip


def same_bits(a, b):
    """Return whether arrays agree to the last bit, signs of zeros too (but not NaN's bits)."""
    return (a.dtype == b.dtype and a.shape == b.shape
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            and np.array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(b)[~np.isnan(b)])
            )  # fmt: skip
