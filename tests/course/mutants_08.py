"""Known-wrong answers to the eighth assignment."""

from known_wrong import Mutant


def per_sample(name, feedback, *edits):
    return Mutant(name, "q1-per-sample", edits, ("q1-check-per-sample",), feedback)


def clip(name, feedback, *edits, answer=None):
    return Mutant(name, "q1-clip", edits, ("q1-check-clip",), feedback, answer)


def jacobians(name, feedback, *edits):
    return Mutant(name, "q2-jacobians", edits, ("q2-check-jacobians",), feedback)


def hessian(name, feedback, *edits):
    return Mutant(name, "q2-hessian-vector", edits, ("q2-check-hessian",), feedback)


def mend(name, feedback, *edits):
    return Mutant(name, "q3-mend", edits, ("q3-check-mend",), feedback)


def implicit(name, feedback, *edits):
    return Mutant(name, "q4-implicit-pullback", edits, ("q4-check",), feedback)


def meta(name, feedback, *edits):
    return Mutant(name, "q5-meta-gradient", edits, ("q5-check-meta",), feedback)


EACH = "vmap(grad(loss), in_axes=(None, 0, 0))(parameters, x, y)"
OF_BATCH = "lambda p: fnp.{}(vmap(loss, in_axes=(None, 0, 0))(p, x, y))"
SCALE = "(bound / fnp.maximum(norm, bound))"
NORM = "fnp.sqrt(sum(fnp.sum(leaf * leaf) for leaf in tree_leaves(gradient)))"
RESULT = "tree_map(lambda leaf: fnp.mean(leaf, axis=0), vmap(clip)(gradients))"
CLIPS = "tree_map(lambda leaf: leaf * (bound / fnp.maximum(norm, bound)), gradient)"
FORWARD = """    columns = vmap(lambda t: jvp(f, (x,), (t,))[1], out_axes=1)
    return columns(fnp.eye(x.size, dtype=x.dtype))"""
REVERSE = """    y, pull = vjp(f, x)
    return vmap(lambda g: pull(g)[0])(fnp.eye(y.size, dtype=y.dtype))"""
PRODUCT = "jvp(grad(f), (x,), (v,))[1]"
OWN = "own = [isinstance(a, Dual) and a.tag == tag for a in arguments]"
LAST = "return y.tangent if isinstance(y, Dual) and y.tag == tag else 0.0"
SOLVE = "u = fixed_point(lambda g, u: g + pull(u)[1], g, g)"

QUESTION_1 = (
    per_sample(
        "gradient of the mean",
        "gradient of the batch",
        (EACH, f"grad({OF_BATCH.format('mean')})(parameters)"),
    ),
    per_sample(
        "gradient of the sum",
        "sum over the batch",
        (EACH, f"grad({OF_BATCH.format('sum')})(parameters)"),
    ),
    per_sample(
        "a loop over the examples",
        "loss ran 6 times for 6 examples",
        (
            EACH,
            "tree_map(lambda *gs: fnp.stack(gs), "
            "*[grad(loss)(parameters, a, b) for a, b in zip(x, y)])",
        ),
    ),
    per_sample(
        "axis behind",
        "belongs in front",
        ("in_axes=(None, 0, 0)", "in_axes=(None, 0, 0), out_axes=-1"),
    ),
    per_sample("sliced parameters", "vmap", ("(None, 0, 0)", "(0, 0, 0)")),
    per_sample(
        "divides by N",
        "loss here is that of one",
        (EACH, f"tree_map(lambda g: g / len(x), {EACH})"),
    ),
    per_sample("differentiates by x", "not structured", ("grad(loss)", "grad(loss, argnums=1)")),
    per_sample("sign", "wrong sign", (EACH, f"tree_map(lambda g: -g, {EACH})")),
    per_sample("leaves only", "not structured", (EACH, f"tree_leaves({EACH})")),
    per_sample(
        "first example for all",
        "values are wrong",
        (EACH, EACH.replace(", x, y)", ", x, fnp.zeros_like(y))")),
    ),
    per_sample("returns nothing", "returned nothing", ("return vmap", "vmap")),
    clip(
        "clips the mean",
        "mean was clipped",
        (RESULT, "clip(tree_map(lambda leaf: fnp.mean(leaf, axis=0), gradients))"),
    ),
    clip("clips nothing", "nothing was clipped", (SCALE, "1.0")),
    clip(
        "norm of each leaf",
        "its own norm",
        (
            CLIPS,
            "tree_map(lambda leaf: leaf * (bound / fnp.maximum("
            "fnp.sqrt(fnp.sum(leaf * leaf)), bound)), gradient)",
        ),
    ),
    clip(
        "normalises instead",
        "were stretched",
        (SCALE, "(bound / fnp.where(norm > 0, norm, 1.0))"),
    ),
    clip("no root", "square of the norm", (NORM, NORM.removeprefix("fnp.sqrt(")[:-1])),
    clip("sum for mean", "sum over the examples", ("fnp.mean(leaf", "fnp.sum(leaf")),
    clip(
        "zero over zero",
        "dividing by 0",
        (CLIPS, "tree_map(lambda leaf: leaf / norm * fnp.minimum(norm, bound), gradient)"),
    ),
    clip(
        "one norm for the batch",
        "each example has its own",
        (RESULT, "tree_map(lambda leaf: fnp.mean(leaf, axis=0), clip(gradients))"),
    ),
    clip("mean over the wrong axis", "shape is wrong", ("leaf, axis=0", "leaf, axis=-1")),
    clip(
        "computes in float64", "dtype is wrong", (SCALE, f"fnp.asarray({SCALE}, dtype='float64')")
    ),
    clip(
        "elements clipped, not norms",
        "each element was clipped",
        (CLIPS, "tree_map(lambda leaf: fnp.clip(leaf, -bound, bound), gradient)"),
    ),
    clip(
        "scales its argument in place",
        "changed its argument gradients in place",
        (RESULT, f"[leaf.__imul__(1.0 + bound) for leaf in gradients.values()] and {RESULT}"),
    ),
)
QUESTION_2 = (
    jacobians("columns as rows", "is transposed", (", out_axes=1", "")),
    jacobians(
        "all columns added",
        "one unit vector at a time",
        (FORWARD, "    return jvp(f, (x,), (fnp.ones_like(x),))[1]"),
    ),
    jacobians(
        "all rows added",
        "one unit vector at a time",
        (REVERSE, "    y, pull = vjp(f, x)\n    return pull(fnp.ones_like(y))[0]"),
    ),
    jacobians("value for tangent", "jvp returns both", ("(t,))[1]", "(t,))[0]")),
    jacobians(
        "a loop over the columns",
        "f ran 3 times",
        (
            FORWARD,
            "    unit = fnp.eye(x.size, dtype=x.dtype)\n"
            "    return fnp.stack([jvp(f, (x,), (t,))[1] for t in unit], axis=1)",
        ),
    ),
    jacobians("reverse by forward mode", "reverse rule only", (REVERSE, FORWARD)),
    jacobians("forward by reverse mode", "cannot be transposed", (FORWARD, REVERSE)),
    jacobians(
        "unit vectors of the wrong space", "tangent must have|shape", ("eye(y.size", "eye(x.size")
    ),
    jacobians("float64 unit vectors", "dtype", ("x.size, dtype=x.dtype", "x.size")),
    jacobians("reverse transposed", "is transposed", ("pull(g)[0])", "pull(g)[0], out_axes=1)")),
    jacobians("sign", "wrong sign", ("pull(g)[0]", "-pull(g)[0]")),
    jacobians(
        "finite differences",
        "first is",
        (
            FORWARD,
            "    move = vmap(lambda t: (f(x + 1e-6 * t) - f(x - 1e-6 * t)) / 2e-6, out_axes=1)\n"
            "    return move(fnp.eye(x.size, dtype=x.dtype))",
        ),
    ),
    hessian("the gradient", "the gradient, not its derivative", ("(v,))[1]", "(v,))[0]")),
    hessian("slope of f", "push v through grad", ("grad(f)", "f")),
    hessian("direction x", "direction is x here", ("(v,)", "(x,)")),
    hessian("point and direction swapped", "point is v here", ("(x,), (v,)", "(v,), (x,)")),
    hessian("gradient times v", "element by element", (PRODUCT, "grad(f)(x) * v")),
    hessian(
        "builds the Hessian",
        "Hessian itself is there",
        (PRODUCT, "vmap(lambda t: jvp(grad(f), (x,), (t,))[1])(fnp.eye(x.size)) @ v"),
    ),
    hessian(
        "row sums for the diagonal",
        "row sums",
        (PRODUCT, "jvp(grad(f), (x,), (fnp.ones_like(v),))[1] * v"),
    ),
    hessian(
        "finite differences",
        "first is",
        (PRODUCT, "(grad(f)(x + 1e-5 * v) - grad(f)(x - 1e-5 * v)) / 2e-5"),
    ),
    hessian("sign", "wrong sign", ("return jvp", "return -jvp")),
    hessian("returns nothing", "returned nothing", ("return jvp", "jvp")),
)
QUESTION_3 = (
    mend("any tangent counts", "counted as one of y", (OWN, OWN.replace(" and a.tag == tag", ""))),
    mend("smallest tag", "largest tag is the innermost", ("max(a.tag", "min(a.tag")),
    mend(
        "strangers are taken apart",
        "a stranger is a constant",
        ("else a for", "else getattr(a, 'primal', a) for"),
    ),
    mend(
        "whatever comes out",
        "belongs to the outer derivative",
        (" and y.tag == tag", ""),
    ),
    mend("one tag for all", "counted as one of y", ("next(TAGS)", "1")),
    mend(
        "no case for a number",
        "no attribute 'tangent'",
        (LAST, "return y.tangent if y.tag == tag else 0.0"),
        ("y.tag", "getattr(y, 'tag', tag)"),
    ),
    mend(
        "the point loses its tangent",
        "point y = c x",
        ("Dual(x, 1.0, tag)", "Dual(getattr(x, 'primal', x), 1.0, tag)"),
    ),
    mend("returns the value", "value, not the derivative", ("y.tangent if", "y.primal if")),
    mend("tag is not passed on", "pass the tag on", ("tangents), tag)", "tangents))")),
    mend("seed of two", "2 times what it should be", ("Dual(x, 1.0", "Dual(x, 2.0")),
    mend("newest tag first", "largest tag is the innermost", ("next(TAGS)", "-next(TAGS)")),
    mend("learned by heart", "value is wrong", (LAST, "return 1.0")),
)
QUESTION_4 = (
    implicit("only the last iteration", "only the last iteration", (SOLVE, "u = g")),
    implicit("sign in the equation", r"\(I \+ A\)", ("g + pull(u)[1]", "g - pull(u)[1]")),
    implicit(
        "sign of the result",
        "wrong sign",
        ("return pull(u)[0]", "return tree_map(lambda t: -t, pull(u)[0])"),
    ),
    implicit(
        "forward instead of transposed",
        r"A is used where A\^T",
        ("g + pull(u)[1]", "g + jvp(lambda z: f(theta, z), (z,), (u,))[1]"),
    ),
    implicit("two iterations", "value", (SOLVE, "u = g + pull(g)[1]")),
    implicit("g forgotten", "g is not used", (", g, g)", ", fnp.ones_like(g), g)")),
    implicit(
        "starts over, g lost",
        "counted once too little",
        ("return pull(u)[0]", "return pull(u - g)[0]"),
    ),
    implicit(
        "u not pulled back",
        "still be pulled back",
        ("return pull(u)[0]", "return tree_map(lambda leaf: u, theta)"),
    ),
    implicit("cotangent of z", "another structure", ("return pull(u)[0]", "return pull(u)[1]")),
    implicit(
        "unrolled, with a record",
        "record of the iterations",
        (
            SOLVE,
            "z, pull = vjp(lambda theta, start: functional.scan("
            "lambda z, _: (f(theta, z), None), start, length=60)[0], theta, z)",
        ),
        ("pull(u)[0]", "pull(g)[0]"),
    ),
    implicit(
        "solves with the Jacobian",
        "a Jacobian is there|values are wrong",
        (
            SOLVE,
            "n = z.size\n"
            "    a = fnp.reshape(functional.jacrev(lambda z: f(theta, z))(z), (n, n))\n"
            "    u = fnp.linalg.solve(fnp.eye(n) - a.T, fnp.reshape(g, (n,)))\n"
            "    u = fnp.reshape(u, z.shape)",
        ),
    ),
    implicit("returns nothing", "end with return", ("return pull(u)[0]", "pull(u)")),
)
QUESTION_5 = (
    meta(
        "first order",
        "first-order MAML",
        ("p - rate * g", "p - rate * functional.stop_gradient(g)"),
    ),
    meta("no step", "at the old parameters", ("return loss(adapted", "return loss(parameters")),
    meta(
        "support twice",
        "support again",
        ("adapted, x_query, y_query", "adapted, x_support, y_support"),
    ),
    meta("climbs", "the step climbs", ("p - rate * g", "p + rate * g")),
    meta("rate not used", "rate is not used", ("p - rate * g", "p - g")),
    meta("sum over tasks", "sum over the tasks", ("fnp.mean(each", "fnp.sum(each")),
    meta(
        "one task",
        "first task alone",
        ("fnp.mean(each(parameters, *tasks))", "each(parameters, *tasks)[0]"),
    ),
    meta(
        "gradient of the step on the query",
        "value",
        (
            "grad(loss)(parameters, x_support, y_support)",
            "grad(loss)(parameters, x_query, y_query)",
        ),
    ),
    meta(
        "a loop over the tasks",
        "loss ran 12 times for 6 tasks",
        (
            "fnp.mean(each(parameters, *tasks))",
            "sum(after_step(parameters, *task) for task in zip(*tasks)) / len(tasks[0])",
        ),
    ),
    meta("the loss, not its gradient", "not structured", ("return grad(lambda", "return (lambda")),
    meta("sign", "sign", ("fnp.mean(each", "-fnp.mean(each")),
    meta("returns nothing", "returned nothing", ("return grad(lambda", "grad(lambda")),
)
QUESTIONS = (QUESTION_1, QUESTION_2, QUESTION_3, QUESTION_4, QUESTION_5)
MUTANTS = tuple(mutant for question in QUESTIONS for mutant in question)

# Answers by a library function that is withheld when an assignment is graded.
CHEATS = (
    clip(
        "the library's clipping",
        "not there while this question",
        (
            RESULT,
            "tree_map(lambda leaf: fnp.mean(leaf, axis=0), vmap(lambda g: "
            "functional.optimizers.clip_by_global_norm(g, bound))(gradients))",
        ),
    ),
    jacobians(
        "the library's jacfwd",
        "not there while this question",
        (FORWARD, "    return functional.jacfwd(f)(x)"),
    ),
    jacobians(
        "the library's jacrev",
        "not there while this question",
        (REVERSE, "    return functional.jacrev(f)(x)"),
    ),
    hessian(
        "the library's hessian",
        "not there while this question",
        (PRODUCT, "functional.hessian(f)(x) @ v"),
    ),
    mend(
        "the library's jvp",
        "not there while this question",
        ("tag = next(TAGS)\n", "tag = 0\n    return functional.jvp(f, (x,), (1.0,))[1]\n"),
    ),
)

# Mutated lines that change nothing that any caller could see, each with its reason.
STRICT = "both lists are made from the same arguments, so their lengths never differ"
EQUIVALENT = {
    "return tree_map(lambda leaf: leaf * (bound / fnp.maximum(bound, norm)), gradient)": (
        "the maximum of two numbers does not depend on their order"
    ),
    "primals = [a.primal if mine else a for a, mine in zip(arguments, own, strict=False)]": STRICT,
    "tangents = [a.tangent if mine else 0.0 for a, mine in zip(arguments, own, strict=False)]": (
        STRICT
    ),
}
