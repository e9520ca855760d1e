"""Known-wrong answers to the third assignment."""

from known_wrong import Mutant


def order(name, feedback, *edits, answer=None):
    return Mutant(name, "q1-schedule", edits, ("q1-check-schedule",), feedback, answer)


def run(name, feedback, *edits, answer=None):
    return Mutant(name, "q2-evaluate", edits, ("q2-check-evaluate",), feedback, answer)


def gradient(name, feedback, *edits, answer=None, loses=("q3-check-gradient",)):
    return Mutant(name, "q3-gradient", edits, loses, feedback, answer)


def op(name, feedback, *edits, loses=("q4-check-gradient",)):
    return Mutant(name, "q4-log-sum-exp", edits, loses, feedback)


def rule(name, feedback, *edits):
    return Mutant(name, "q5-stable-log", edits, ("q5-check-stable",), feedback)


FORWARD = ("q4-check-forward",)
EVERY = ("q3-check-gradient", "q3-check-again")
ADD = "total[x] + part if x in total else part"
SHARE = "ops.exp(x - ops.expand_dims(output, -1))"
TAIL = "ops.log1p(ops.exp(-ops.absolute(x)))"
LOG_SUM = "ops.logsumexp(x, axis=inner.op.axis, keepdims=True)"
IS_LOG = 'y.owner is None or y.owner.op.name != "log"'
IS_INNER = 'inner is None or inner.op.name not in ("softmax", "sigmoid")'
COUNT = "            most = max(most, len(held))\n"
DROP = "        held = {each: value for each, value in held.items() if last[each] > i}\n"

GIVEN_READS = ("if name not in values:\n            last", "if True:\n            last")

QUESTION_1 = (
    order(
        "recursive",
        "stack of your own",
        answer="""def schedule(outputs, reads):
    order, done = [], set()

    def visit(name):
        if name in done:
            return
        done.add(name)
        for each in reads(name):
            visit(each)
        order.append(name)

    for name in outputs:
        visit(name)
    return order
""",
    ),
    order("remembers nothing", "a value is shared", ("if name in done", "if False")),
    order(
        "walks every path, keeps the first",
        "every path to a shared value",
        ("if name in done", "if False"),
        ("return order", "return list(dict.fromkeys(order))"),
    ),
    order(
        "breadth first, reversed",
        "comes before '.*', which it reads",
        answer="""def schedule(outputs, reads):
    order = list(dict.fromkeys(outputs))
    for name in order:
        order.extend(each for each in dict.fromkeys(reads(name)) if each not in order)
    return order[::-1]
""",
    ),
    order("outputs first", "the whole order is backwards", ("return order", "return order[::-1]")),
    order(
        "appends too early",
        "backwards",
        ("stack.append((name, True))", ""),
        (
            "        else:\n",
            "        else:\n            done.add(name)\n            order.append(name)\n",
        ),
    ),
    order(
        "done too early",
        "is missing",
        ("(name, False) for name in outputs", "(outputs[0], False)"),
        ("]\n    while", "][:1]\n    while"),
    ),
    order("one output", "is missing", ("for name in outputs]", "for name in outputs[:1]]")),
    order(
        "first input only",
        "is missing",
        ("for each in reads(name))", "for each in reads(name)[:1])"),
    ),
    order(
        "nodes without inputs",
        "'x' is missing",
        ("order.append(name)", "order += [name] * bool(reads(name))"),
    ),
    order(
        "learned by heart",
        "'a' is missing",
        ("return order", 'return ["x", "y", "sum", "exp", "out"]'),
    ),
    order(
        "consumes its argument",
        "in place",
        ("[(name, False) for name in outputs]", "[(outputs.pop(), False) for _ in list(outputs)]"),
    ),
    order("returns nothing", "returned nothing", ("return order", "order")),
)
QUESTION_2 = (
    run("never drops", "nothing is ever dropped", (DROP, "")),
    run(
        "drops before it counts",
        "count before you drop",
        (COUNT, ""),
        (DROP, DROP + "        most = max(most, len(held))\n"),
    ),
    run("drops too late", "after its last reader", ("if last[each] > i}", "if last[each] >= i}")),
    run(
        "counts what is given",
        "a given value counts",
        ("max(most, len(held))", "max(most, len(held) + len(given))"),
    ),
    run(
        "computes what is given",
        "it computed 'c'",
        ("if name not in given:", "if reads(name) or name not in given:"),
        GIVEN_READS,
    ),
    run("counts readers that are given", "after its last reader", GIVEN_READS),
    run(
        "inputs in the wrong order",
        "y - x",
        (
            "for each in reads(name))\n            )",
            "for each in reads(name)[::-1])\n            )",
        ),
    ),
    run(
        "writes into the caller's dict",
        "changed its argument values in place",
        (COUNT, COUNT + "            values[name] = held[name]\n"),
        ("given, most = {}, values, 0", "given, most = {}, dict(values), 0"),
    ),
    run(
        "computes again for each reader",
        "keep the result",
        answer="""def evaluate(order, reads, compute, values):
    def value(name):
        return values[name] if name in values else compute(name, *map(value, reads(name)))

    return value(order[-1]), 2
""",
    ),
    run("learned by heart", "most is 2", (", most\n", ", 2\n")),
    run("value only", "2 values", ("held[order[-1]]), most", "held[order[-1]])")),
)
QUESTION_3 = (
    gradient("last use only", "only the last use|one of the uses", (ADD, "part"), loses=EVERY),
    gradient(
        "first use only",
        "only the first use|one of the uses",
        (ADD, "total[x] if x in total else part"),
        loses=EVERY,
    ),
    gradient(
        "inputs first",
        "every element is 0|zero everywhere",
        ("reversed(symbolic.nodes(cost))", "symbolic.nodes(cost)"),
        loses=EVERY,
    ),
    gradient("sign", "sign", ("ops.ones_like(cost)", "-ops.ones_like(cost)"), loses=EVERY),
    gradient(
        "starts at zero",
        "every element is 0|zero everywhere",
        ("ops.ones_like(cost)", "ops.zeros_like(cost)"),
        loses=EVERY,
    ),
    gradient("None is added", "None", ("if part is not None", "if True"), loses=EVERY),
    gradient(
        "no zeros",
        "<y: vector",
        ("total[x] if x in total else ops.zeros_like(x)", "total[x]"),
    ),
    gradient(
        "one path at a time",
        "each path is differentiated on its own",
        answer="""def gradient(cost, wrt):
    total = {}
    stack = [(cost, ops.ones_like(cost))]
    while stack:
        y, g = stack.pop()
        total[y] = total[y] + g if y in total else g
        if y.owner is not None:
            parts = y.owner.op.gradient(y.owner.inputs, y, g)
            stack += [(x, p) for x, p in zip(y.owner.inputs, parts) if p is not None]
    return [total[x] if x in total else ops.zeros_like(x) for x in wrt]
""",
    ),
    gradient(
        "remembers the last call",
        "derivative 2",
        ("def gradient(cost, wrt):", "def gradient(cost, wrt, total={}):"),
        ("total = {cost: ops.ones_like(cost)}", "total[cost] = ops.ones_like(cost)"),
        loses=("q3-check-again",),
    ),
    gradient(
        "a gradient that cannot be differentiated",
        "zero everywhere",
        ("return [total[x]", "return [symbolic.consider_constant(total[x])"),
        loses=("q3-check-again",),
    ),
    gradient(
        "the biases stay",
        "the biases do not move",
        (
            "return [total[x]",
            "return [0 * total[x] if x.ndim == 1 and x.name is None else total[x]",
        ),
        loses=("q3-check-again",),
    ),
    gradient(
        "no gradient for shared variables",
        "nothing moves",
        (
            "return [total[x] if x in total",
            "return [total[x] if x in total and not hasattr(x, 'set_value')",
        ),
        loses=("q3-check-again",),
    ),
    gradient("returns nothing", "return a list of", ("return [", "["), loses=EVERY),
)
QUESTION_4 = (
    op(
        "overflows",
        "overflow",
        ("x.max(axis=-1, keepdims=True)", "0 * x.max(axis=-1, keepdims=True)"),
        loses=(*FORWARD, "q4-check-gradient"),
    ),
    op(
        "one shift for all rows",
        "overflow",
        ("x.max(axis=-1, keepdims=True)", "np.full_like(x[..., :1], x.max())"),
        loses=FORWARD,
    ),
    op(
        "the shift is not undone",
        "is not added again|log_sum_exp of x",
        (" + top[..., 0]", ""),
        loses=(*FORWARD, "q4-check-gradient"),
    ),
    op(
        "mean of exponentials",
        "mean of the exponentials|log_sum_exp of x",
        (".sum(axis=-1)", ".mean(axis=-1)"),
        loses=(*FORWARD, "q4-check-gradient"),
    ),
    op(
        "over the first axis",
        "the first axis|log_sum_exp of x",
        (
            "top = x.max(axis=-1, keepdims=True)",
            "x = np.moveaxis(x, 0, -1)\n        top = x.max(axis=-1, keepdims=True)",
        ),
        loses=(*FORWARD, "q4-check-gradient"),
    ),
    op(
        "the axis is declared to stay",
        "shape that infer declares|another shape",
        ("x.shape[:-1])", "(*x.shape[:-1], 1))"),
        loses=(*FORWARD, "q4-check-gradient"),
    ),
    op(
        "always float64",
        "dtype that infer declares",
        ("Type(x.dtype", "Type(np.dtype('float64')"),
        loses=FORWARD,
    ),
    op("accepts a scalar", "did not", ("if len(x.shape) == 0", "if False"), loses=FORWARD),
    op(
        "refuses with another error",
        "wrong kind of error",
        ('raise ShapeError("log_sum_exp", "there', 'raise TypeError("there'),
        loses=FORWARD,
    ),
    op(
        "refuses without a reason",
        "does not mention",
        ("there is no axis to sum over", "no"),
        loses=FORWARD,
    ),
    op("ignores g", "g is not used", ("ops.expand_dims(g, -1) * share", "share")),
    op("not divided by the sum", "not divided", (SHARE, "ops.exp(x)")),
    op(
        "quotient of exponentials",
        "overflow",
        (SHARE, "ops.exp(x) / ops.exp(ops.expand_dims(output, -1))"),
    ),
    op("gradient of the sum", "without the logarithm's", (SHARE, "ops.ones_like(x)")),
    op(
        "sign of the exponent",
        "sign of the exponent",
        (SHARE, "ops.exp(ops.expand_dims(output, -1) - x)"),
    ),
    op("sign", "wrong sign", ("(ops.expand_dims(g", "(-ops.expand_dims(g")),
    op(
        "output as a constant",
        "the output counts as a constant",
        ("ops.expand_dims(output, -1)", "symbolic.consider_constant(ops.expand_dims(output, -1))"),
    ),
    op(
        "all of it a constant",
        "the gradient counts as a constant",
        (SHARE, f"symbolic.consider_constant({SHARE})"),
    ),
    op(
        "wrong axis for g",
        "broadcast",
        ("ops.expand_dims(g, -1)", "ops.expand_dims(g, 0)"),
    ),
)
QUESTION_5 = (
    rule(
        "no logarithm of the sum",
        "logarithm of the sum is missing",
        (f"x - {LOG_SUM}", "x - 0 * x"),
    ),
    rule("always the last axis", "the other axis", ("axis=inner.op.axis", "axis=-1")),
    rule("no axis kept", "broadcast", ("keepdims=True", "keepdims=False")),
    rule("sum over everything", "over all axes", ("axis=inner.op.axis", "axis=None")),
    rule(
        "written out again",
        "overflow",
        (LOG_SUM, "ops.log(ops.sum(ops.exp(x), axis=inner.op.axis, keepdims=True))"),
    ),
    rule("the softmax itself", "the softmax itself", (f"x - {LOG_SUM}", f"ops.exp(x - {LOG_SUM})")),
    rule("sign of x", "log\\(sigmoid\\(-x\\)\\)", ("ops.minimum(x, 0)", "ops.minimum(-x, 0)")),
    rule("for positive x", "positive x only", ("ops.minimum(x, 0) - ", "0 * x - ")),
    rule(
        "for small x only", "overflow", (f"ops.minimum(x, 0) - {TAIL}", "-ops.log1p(ops.exp(-x))")
    ),
    rule(
        "loses the digits of large x", "use log1p", (TAIL, "ops.log(1 + ops.exp(-ops.absolute(x)))")
    ),
    rule(
        "branches by where",
        "overflow",
        (
            f"ops.minimum(x, 0) - {TAIL}",
            "ops.where(x > 0, -ops.log1p(ops.exp(-x)), x - ops.log1p(ops.exp(x)))",
        ),
    ),
    rule(
        "does not look at the outer op",
        "fires where it should return None",
        (IS_LOG, 'y.owner is None or y.owner.op.name not in ("log", "log1p")'),
    ),
    rule(
        "takes every op for a sigmoid",
        "fires where it should return None",
        (IS_INNER, "inner is None or len(inner.inputs) != 1"),
    ),
    rule("an input has no owner", "NoneType", (IS_LOG, 'y.owner.op.name != "log"')),
    rule("the log of an input", "NoneType", ("inner is None or ", "")),
    rule("no sigmoid", "use log1p", ('("softmax", "sigmoid")', '("softmax",)')),
    rule("no softmax", "overflow", ('("softmax", "sigmoid")', '("sigmoid",)')),
    rule("never fires", "overflow", (IS_LOG, "True")),
)
QUESTIONS = (QUESTION_1, QUESTION_2, QUESTION_3, QUESTION_4, QUESTION_5)
MUTANTS = tuple(mutant for question in QUESTIONS for mutant in question)

CHEATS = (
    order(
        "asks the library for the order",
        "",
        answer="""def schedule(outputs, reads):
    made, waiting = {}, list(outputs)
    seen = []
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.append(name)
            waiting.extend(reads(name))
    read, made = {name: reads(name) for name in seen}, {}
    while len(made) < len(seen):
        for name in seen:
            if name not in made and all(each in made for each in read[name]):
                value = symbolic.constant(0.0)
                for each in read[name]:
                    value = value + made[each]
                made[name] = symbolic.consider_constant(value)
    names = {v.owner: name for name, v in made.items()}
    wanted = symbolic.nodes([made[name] for name in outputs])
    return [names[node] for node in wanted if node in names]
""",
    ),
    gradient(
        "calls the library's grad",
        "",
        answer="def gradient(cost, wrt):\n"
        '    return symbolic.grad(cost, wrt, disconnected="zero")\n',
    ),
    op(
        "calls the library's logsumexp",
        "",
        (
            "(ops.expand_dims(g, -1) * share,)",
            "(symbolic.grad((g * ops.logsumexp(x, axis=-1)).sum(), x),)",
        ),
    ),
    rule(
        "calls the library's log_softmax",
        "",
        (f"x - {LOG_SUM}", "ops.log_softmax(x, inner.op.axis)"),
    ),
    rule(
        "calls the library's pass",
        "",
        (f"x - {LOG_SUM}", 'symbolic.rewrite(y, passes=["stabilise"])'),
    ),
)

EQUIVALENT = {
    "most = max(len(held), most)": "the larger of two is the same in either order",
    "for x, part in zip(node.inputs, parts, strict=False):": (
        "an op of the library returns one part for each input"
    ),
    "return ops.minimum(0, x) - ops.log1p(ops.exp(-ops.absolute(x)))": (
        "the smaller of two is the same in either order"
    ),
}
