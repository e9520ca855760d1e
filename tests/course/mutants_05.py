"""Known-wrong answers to the fifth assignment."""

from known_wrong import Mutant

VALUES, GRADIENTS = "q2-check-values", "q2-check-gradients"
LEAVES, ORDER = "q3-check-values", "q3-check-order"


def broadcast(name, feedback, *edits, answer=None):
    loses = ("q1-check-unbroadcast",)
    return Mutant(name, "q1-unbroadcast", edits, loses, feedback, answer)


def tensor(name, feedback, *edits, loses=(GRADIENTS,)):
    return Mutant(name, "q2-tensor", edits, loses, feedback)


def walk(name, feedback, *edits, loses=(ORDER,), answer=None):
    return Mutant(name, "q3-backward", edits, loses, feedback, answer)


def again(name, feedback, *edits):
    return Mutant(name, "q4-operations", edits, ("q4-check-orders",), feedback)


def swish(name, feedback, *edits, answer=None):
    return Mutant(name, "q5-swish", edits, ("q5-check-swish",), feedback, answer)


SUMMED = "g.sum(axis=(*range(new), *repeated), keepdims=True).reshape(shape)"
RECORD = """    kept = [(x, pull) for x, pull in uses if isinstance(x, Tensor)]
"""

QUESTION_1 = (
    broadcast("returns g", "still have to be added up", (f"return {SUMMED}", "return g")),
    broadcast(
        "mean for sum",
        "each copy counts in full",
        ("g.sum(axis=(*range(new)", "g.mean(axis=(*range(new)"),
    ),
    broadcast(
        "axes at the end for axes in front",
        "cannot reshape|wrong",
        ("(*range(new), *repeated)", "(*range(g.ndim - new, g.ndim), *repeated)"),
    ),
    broadcast("axes in front stay", "in front has to go", (".reshape(shape)", "")),
    broadcast(
        "axes of length 1 go",
        "length 1 has to stay",
        (SUMMED, "g.sum(axis=(*range(new), *repeated))"),
    ),
    broadcast(
        "axes of length 1 are forgotten",
        "cannot reshape",
        ("(*range(new), *repeated)", "tuple(range(new))"),
    ),
    broadcast(
        "only the first copy",
        "only the first of the copies",
        (
            SUMMED,
            "g[(0,) * new][tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]",
        ),
    ),
    broadcast(
        "counts axes of shape from the front of g",
        "cannot reshape|wrong",
        ("repeated = [new + k for", "repeated = [k for"),
    ),
    broadcast(
        "changes g in place",
        "changed its argument g in place",
        ("new = g.ndim - len(shape)", "new = g.ndim - len(shape)\n    g *= 2.0\n    g = g / 2.0"),
    ),
    broadcast(
        "everything in float64",
        "dtype is wrong",
        (f"return {SUMMED}", f"return 1.0 * np.float64({SUMMED})"),
    ),
    broadcast("learned by heart", "wrong", (SUMMED, "np.array([22.0, 26.0, 30.0])")),
    broadcast("returns nothing", "returned nothing", (f"return {SUMMED}", SUMMED)),
)
QUESTION_2 = (
    tensor(
        "1 - t is t - 1",
        "sides of the difference are swapped|wrong sign",
        ("return other + (-self)", "return self + (-other)"),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "2 / t is t / 2",
        "dividend and divisor are swapped|values are wrong",
        ("return other * self**-1.0", "return self * other**-1.0"),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "the other way round in a matrix product",
        "value of the program array|gradient of x0 .* array @|matmul",
        (
            "return record(other @ self.value, [(self, lambda g: other.T @ g)])",
            "return record(self.value @ other, [(self, lambda g: g @ other.T)])",
        ),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "no reflected sum",
        "unsupported operand",
        ("__radd__ = __add__", ""),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "no reflected matrix product",
        "unsupported operand",
        ("def __rmatmul__", "def reflected"),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "minus forgets the sign",
        "value|wrong sign",
        ("return self * -1.0", "return self * 1.0"),
        loses=(VALUES, GRADIENTS),
    ),
    tensor(
        "broadcasting is not undone",
        "is a broadcast, or a sum, not undone",
        ("undo_broadcast(pull(g), x.value.shape)", "pull(g)"),
    ),
    tensor(
        "constants become parents",
        "becomes no parent",
        (
            RECORD,
            "    kept = [(x if isinstance(x, Tensor) else Tensor(x), p) for x, p in uses]\n",
        ),
    ),
    tensor(
        "one parent only",
        "no gradient reaches it",
        ("return Tensor(value, tuple", "kept = kept[:1]\n    return Tensor(value, tuple"),
    ),
    tensor(
        "no pull of the right summand",
        "wrong",
        ("(other, lambda g: g)]", "(other, lambda g: 0 * g)]"),
    ),
    tensor("g is not used", "g, is not used", ("lambda g: g * n * x", "lambda g: n * x")),
    tensor("exponent not lowered", "gradient of x0 .*\\*\\*", ("x ** (n - 1)", "x**n")),
    tensor(
        "exponent not in front", "gradient of x0 in the program x0 3 ..:", ("g * n * x", "g * x")
    ),
    tensor("left transpose forgotten", "matmul", ("lambda g: g @ b.T", "lambda g: g @ b")),
    tensor("right transpose forgotten", "matmul", ("lambda g: a.T @ g)", "lambda g: a @ g)")),
    tensor(
        "product in the wrong order",
        "gradient of x1 in the program x0 x1 @|shape",
        ("lambda g: a.T @ g)", "lambda g: g.T @ a)"),
    ),
    tensor(
        "returns an array",
        "has no attribute",
        ("return Tensor(value, tuple(x for x, _ in kept), pull_all)", "return value"),
        loses=(VALUES, GRADIENTS),
    ),
)

PER_PATH = """def backward(y):
    todo = [(y, np.ones_like(y.value))]
    while todo:
        entry, g = todo.pop()
        if entry.parents is None:
            raise RuntimeError("freed")
        if entry.pull is None:
            entry.grad = g if entry.grad is None else entry.grad + g
        else:
            todo.extend(
                (p, d)
                for p, d in zip(entry.parents, entry.pull(g), strict=True)
                if d is not None
            )
"""
BREADTH = """def backward(y):
    order, seen = [y], {y}
    for entry in order:
        if entry.parents is None:
            raise RuntimeError("freed")
        for parent in entry.parents:
            if parent not in seen:
                seen.add(parent)
                order.append(parent)
    arrived = {y: np.ones_like(y.value)}
    for entry in order:
        g = arrived.pop(entry, None)
        if entry.pull is None:
            if g is not None:
                entry.grad = g if entry.grad is None else entry.grad + g
            continue
        if g is not None:
            for parent, part in zip(entry.parents, entry.pull(g), strict=True):
                if part is not None:
                    arrived[parent] = arrived[parent] + part if parent in arrived else part
        entry.parents = entry.pull = None
"""
RECURSIVE = """def backward(y):
    order, seen = [], set()

    def visit(entry):
        if entry not in seen:
            if entry.parents is None:
                raise RuntimeError("freed")
            seen.add(entry)
            for parent in entry.parents:
                visit(parent)
            order.append(entry)

    visit(y)
    arrived = {y: np.ones_like(y.value)}
    for entry in reversed(order):
        g = arrived.pop(entry, None)
        if entry.pull is None:
            if g is not None:
                entry.grad = g if entry.grad is None else entry.grad + g
            continue
        if g is not None:
            for parent, part in zip(entry.parents, entry.pull(g), strict=True):
                if part is not None:
                    arrived[parent] = arrived[parent] + part if parent in arrived else part
        entry.parents = entry.pull = None
"""
ADDED = "arrived[parent] + part if parent in arrived else part"
IN_PLACE = """                    if parent in arrived:
                        arrived[parent] += part
                    else:
                        arrived[parent] = part
"""
GRAD = "entry.grad = g if entry.grad is None else entry.grad + g"
FREE = "        entry.parents = entry.pull = None\n"

QUESTION_3 = (
    walk("a walk along every path", "pulled a second time", answer=PER_PATH),
    walk("breadth-first", "before all of its users|wrong", answer=BREADTH, loses=(LEAVES, ORDER)),
    walk("recursion", "recursion", answer=RECURSIVE),
    walk(
        "overwritten at a fan-out",
        "replaced an earlier one|wrong",
        (ADDED, "part"),
        loses=(LEAVES, ORDER),
    ),
    walk(
        "added in place",
        "changed in place|overflow",
        (f"                    arrived[parent] = {ADDED}\n", IN_PLACE),
        loses=(LEAVES, ORDER),
    ),
    walk(
        "a second backward replaces grad",
        "it has to add to it",
        (GRAD, "entry.grad = g"),
        loses=(LEAVES,),
    ),
    walk(
        "grad added in place",
        "wrong",
        (GRAD, "entry.grad = g if entry.grad is None else np.add(entry.grad, g, out=entry.grad)"),
        loses=(LEAVES,),
    ),
    walk("sign", "wrong sign", (GRAD, GRAD.replace("= g", "= -g")), loses=(LEAVES, ORDER)),
    walk(
        "starts from zeros",
        "wrong|reaches it",
        ("np.ones_like", "np.zeros_like"),
        loses=(LEAVES, ORDER),
    ),
    walk(
        "no grad for what is not reached",
        "None",
        (
            "            if g is not None:\n                entry.grad",
            "            if True:\n                g = 0 * entry.value if g is None else g\n"
            "                entry.grad",
        ),
        loses=(LEAVES,),
    ),
    walk(
        "from leaves to root",
        "wrong|missing|pulled",
        ("reversed(order)", "order"),
        loses=(LEAVES, ORDER),
    ),
    walk(
        "only the first parent",
        "not iterable|wrong|missing|zip",
        (
            "zip(entry.parents, entry.pull(g), strict=True)",
            "[(entry.parents[0], entry.pull(g)[0])]",
        ),
        loses=(LEAVES, ORDER),
    ),
    walk("frees nothing", "kept alive", (FREE, "")),
    walk(
        "frees the parents only",
        "kept alive",
        ("entry.parents = entry.pull = None", "entry.parents = ()"),
    ),
    walk(
        "frees only what was pulled",
        "a record under a pull that returned None",
        (FREE, "            entry.parents = entry.pull = None\n"),
    ),
    walk(
        "refuses without a reason",
        "does not mention 'freed'",
        ("this record has been freed: compute the value again", "no"),
    ),
    walk(
        "refuses with another error",
        "wrong kind of error",
        ("raise RuntimeError", "raise KeyError"),
    ),
)

PARTS = """            sum_to(multiply(g, b), a.value.shape),
            sum_to(multiply(g, a), b.value.shape),
"""
QUESTION_4 = (
    again(
        "arrays in the product",
        "left no record|order 2",
        ("multiply(g, b)", "multiply(g, b.value)"),
        ("multiply(g, a)", "multiply(g, a.value)"),
    ),
    again("one array in the product", "order 2", ("multiply(g, b)", "multiply(g, b.value)")),
    again(
        "an array for the cosine",
        "left no record.*",
        ("multiply(g, cosine(x))", "multiply(g, np.cos(x.value))"),
    ),
    again(
        "an array for the sine",
        "order [23]",
        ("multiply(sine(x), -1.0)", "-np.sin(x.value)"),
    ),
    again(
        "an array for the power",
        "left no record",
        ("multiply(power(x, n - 1), float(n))", "n * x.value ** (n - 1)"),
    ),
    again(
        "g without its past",
        "order 2",
        ("multiply(g, multiply(power", "multiply(g.value, multiply(power"),
        ("multiply(g, b)", "multiply(g.value, b)"),
    ),
    again("sign of the cosine", "order 2", ("multiply(sine(x), -1.0)", "sine(x)")),
    again("exponent in front forgotten", "too large|wrong", (", float(n)", ", 1.0")),
    again("exponent not lowered", "order 1", ("power(x, n - 1)", "power(x, n)")),
    again(
        "broadcast of the product not undone",
        "is a broadcast, or a sum, not undone",
        (PARTS, "            multiply(g, b),\n            multiply(g, a),\n"),
    ),
    again(
        "factors swapped",
        "wrong",
        (PARTS, PARTS.replace("g, b", "g, c").replace("g, a", "g, b").replace("g, c", "g, a")),
    ),
    again(
        "sum_to does not go back",
        "is a broadcast, or a sum, not undone",
        ("lambda g: (broadcast_to(g, x.value.shape),)", "lambda g: (g,)"),
    ),
    again(
        "broadcast_to does not go back",
        "is a broadcast, or a sum, not undone",
        ("lambda g: (sum_to(g, x.value.shape),)", "lambda g: (g,)"),
    ),
    again(
        "broadcast_to sums an array",
        "order 2",
        (
            "lambda g: (sum_to(g, x.value.shape),)",
            "lambda g: (Variable(undo_broadcast(g.value, x.value.shape)),)",
        ),
    ),
    again(
        "sum_to broadcasts an array",
        "left no record|order 2",
        (
            "lambda g: (broadcast_to(g, x.value.shape),)",
            "lambda g: (Variable(np.broadcast_to(g.value, x.value.shape)),)",
        ),
    ),
)

COMPOSED = """class Swish(dynamic.Function):
    apply = None


def composed(x, beta):
    return x * dynamic.ops.sigmoid(x * beta)


Swish.apply = staticmethod(composed)
"""
FIRST, SECOND = "g * (s + x * beta * slope)", "(g * x * x * slope).sum(axis=0)"
QUESTION_5 = (
    swish("slope not summed", "shape", (".sum(axis=0)", "")),
    swish("slope averaged", "each row counts in full", (".sum(axis=0)", ".mean(axis=0)")),
    swish("slope summed over columns", "shape|wrong", (".sum(axis=0)", ".sum(axis=1)")),
    swish("only the x in front", "inside the sigmoid is not", (FIRST, "g * s")),
    swish(
        "only the x inside",
        "in front of the sigmoid is not",
        ("s + x * beta * slope", "x * beta * slope"),
    ),
    swish(
        "beta forgotten in the inner derivative",
        "beta, is missing",
        ("x * beta * slope", "x * slope"),
    ),
    swish("one x in the slope", "one x is missing", ("g * x * x", "g * x")),
    swish("g is not used", "g is not used", (FIRST, "s + x * beta * slope")),
    swish("g is not used for beta", "g is not used", ("(g * x * x * slope)", "(x * x * slope)")),
    swish("sign", "wrong sign", (FIRST, "-" + FIRST)),
    swish(
        "s is saved as a constant",
        "second order",
        (
            "ctx.args = (x, beta)",
            "ctx.args = (x, beta)\n        ctx.s = dynamic.ops.sigmoid(x * beta)",
        ),
        ("s = dynamic.ops.sigmoid(x * beta)\n        slope", "s = ctx.s\n        slope"),
    ),
    swish(
        "overflows",
        "overflow",
        (
            "return x * dynamic.ops.sigmoid(x * beta)",
            "return x * np.exp(x * beta) / (1 + np.exp(x * beta))",
        ),
    ),
    swish(
        "beta is not used",
        "beta is not used",
        ("return x * dynamic.ops.sigmoid(x * beta)", "return x * dynamic.ops.sigmoid(x)"),
    ),
    swish(
        "gradients in the wrong order",
        "shape",
        (f"return {FIRST}, {SECOND}", f"return {SECOND}, {FIRST}"),
    ),
    swish("nothing for beta", "NoneType|missing|wrong number", (f", {SECOND}", ", None")),
    swish("composed, not written", "more or fewer entries", answer=COMPOSED),
)

MUTANTS = (*QUESTION_1, *QUESTION_2, *QUESTION_3, *QUESTION_4, *QUESTION_5)

# The library's own answer, which is not there when an answer is marked.
CHEATS = (
    broadcast("the library's", "", (f"return {SUMMED}", "return undo_broadcast(g, shape)")),
    Mutant(
        "the library's tape inside each entry",
        "q2-tensor",
        (),
        (GRADIENTS,),
        "",
        answer="""def record(value, uses):
    kept = [(x, pull) for x, pull in uses if isinstance(x, Tensor)]
    return Tensor(
        value,
        tuple(x for x, _ in kept),
        lambda g: tuple(undo_broadcast(pull(g), x.value.shape) for x, pull in kept),
    )


def through(function, *operands):
    kept = [x for x in operands if isinstance(x, Tensor)]

    def compute():
        leaves = {x: dynamic.tensor(x.value, requires_grad=True) for x in kept}
        return leaves, function(*(leaves[x] if isinstance(x, Tensor) else x for x in operands))

    def pull(g):
        leaves, y = compute()
        return tuple(each.numpy() for each in dynamic.grad(y, [leaves[x] for x in kept], [g]))

    return Tensor(compute()[1].numpy(), tuple(kept), pull)


class Tensor(Arithmetic):
    def __neg__(self):
        return through(operator.neg, self)

    def __add__(self, other):
        return through(operator.add, self, other)

    def __radd__(self, other):
        return through(operator.add, other, self)

    def __sub__(self, other):
        return through(operator.sub, self, other)

    def __rsub__(self, other):
        return through(operator.sub, other, self)

    def __truediv__(self, other):
        return through(operator.truediv, self, other)

    def __rtruediv__(self, other):
        return through(operator.truediv, other, self)

    def __matmul__(self, other):
        return through(operator.matmul, self, other)

    def __rmatmul__(self, other):
        return through(operator.matmul, other, self)

    def __pow__(self, n):
        return through(operator.pow, self, n)
""",
    ),
    swish(
        "the library's silu",
        "",
        ("return x * dynamic.ops.sigmoid(x * beta)", "return dynamic.ops.silu(x * beta) / beta"),
    ),
)

# Edits that change nothing: the text of the changed line, and why.
EQUIVALENT = {
    "return g.sum(axis=(*range(new), *repeated), keepdims=False).reshape(shape)": (
        "the reshape puts the axes of length 1 back"
    ),
    "return self / -1.0": "dividing by -1 is multiplying by it",
    "for parent, part in zip(entry.parents, entry.pull(g), strict=False):": (
        "a pull has one part for each parent; strict only guards against a wrong one"
    ),
}
COMMUTED = "the two factors of a product, in the other order"
VARIABLE = "return Variable("
PRODUCT = VARIABLE + "a.value * b.value, (a, b), lambda g: ("
LEFT, RIGHT = "sum_to(multiply(g, b), a.value.shape)", "sum_to(multiply(g, a), b.value.shape)"
EQUIVALENT |= dict.fromkeys(
    (
        VARIABLE + "x.value ** n, (x,), lambda g: "
        "(multiply(multiply(power(x, n - 1), float(n)), g),))",
        VARIABLE + "x.value ** n, (x,), lambda g: "
        "(multiply(g, multiply(float(n), power(x, n - 1))),))",
        VARIABLE + "np.sin(x.value), (x,), lambda g: (multiply(cosine(x), g),))",
        VARIABLE + "np.cos(x.value), (x,), lambda g: (multiply(multiply(sine(x), -1.0), g),))",
        VARIABLE + "np.cos(x.value), (x,), lambda g: (multiply(g, multiply(-1.0, sine(x))),))",
        f"{PRODUCT}sum_to(multiply(b, g), a.value.shape), {RIGHT}))",
        f"{PRODUCT}{LEFT}, sum_to(multiply(a, g), b.value.shape)))",
    ),
    COMMUTED,
)
