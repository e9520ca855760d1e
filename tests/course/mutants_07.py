"""Known-wrong answers to the seventh assignment."""

from known_wrong import Mutant


def pushes(name, feedback, *edits, answer=None):
    return Mutant(name, "q1-jvp-rules", edits, ("q1-check-jvp",), feedback, answer)


def batches(name, feedback, *edits):
    return Mutant(name, "q2-batch-rules", edits, ("q2-check-batch",), feedback)


def transposes(name, feedback, *edits):
    return Mutant(name, "q3-transposes", edits, ("q3-check-transpose",), feedback)


def interprets(name, feedback, *edits):
    return Mutant(name, "q4-interpreter", edits, ("q4-check-jaxpr",), feedback)


def splits(name, feedback, *edits):
    return Mutant(name, "q5-split", edits, ("q5-check-split",), feedback)


def pulls(name, feedback, *edits):
    return Mutant(name, "q5-pull-back", edits, ("q5-check-pull-back",), feedback)


def declares(name, feedback, *edits):
    return Mutant(name, "q6-smooth-relu", edits, ("q6-check-primitive",), feedback)


QUESTION_1 = (
    pushes("sign of cos", "without a sign", ("a * np.cos(x) * t_x", "-a * np.cos(x) * t_x")),
    pushes("no factor a", "factor a is missing", ("a * np.cos(x) * t_x", "np.cos(x) * t_x")),
    pushes(
        "terms multiplied",
        "sum of two terms",
        (
            "a * np.sin(x), sum(terms[1:], terms[0])",
            "a * np.sin(x), np.prod(np.broadcast_arrays(*terms), axis=0)",
        ),
    ),
    pushes("only the last term", "term of a is missing", ("sum(terms[1:], terms[0])", "terms[-1]")),
    pushes("product the wrong way round", "matmul|t_y", ("x @ t_w", "t_w @ x")),
    pushes(
        "bias is not broadcast",
        "broadcast it to the shape of y",
        ("np.broadcast_to(t_b, y.shape)", "t_b"),
    ),
    pushes(
        "computes with what stands still",
        "NoneType",
        ("    if t_a is not None:\n        terms", "    if True:\n        terms"),
    ),
    pushes(
        "overflows",
        "overflow",
        ("top = x.max(axis=1, keepdims=True)", "top = np.zeros_like(x[:, :1])"),
    ),
    pushes("one shift for the batch and no way back", "y of log", (" + top[:, 0]", "")),
    pushes(
        "weights not normalised",
        "not divided by their sum",
        (" * t_x, axis=1) / total", " * t_x, axis=1)"),
    ),
    pushes(
        "tangents summed without weights",
        "counts by its weight",
        ("np.sum(weights * t_x, axis=1) / total", "np.sum(t_x, axis=1)"),
    ),
    pushes(
        "normalised over the batch",
        "not over each row",
        ("axis=1) / total", "axis=1) / total.sum()"),
    ),
    pushes("returns nothing", "returned nothing", ("return y, sum(", "y, sum(")),
    pushes(
        "learned by heart",
        "value",
        ("return a * np.sin(x), ", "return np.full(np.broadcast(a, x).shape, 0.8), "),
    ),
)
QUESTION_2 = (
    batches(
        "aligned with another axis",
        "insert axes behind the batch",
        ("x = x.reshape(size, *(1,) * missing, *x.shape[1:])", "pass"),
    ),
    batches(
        "axes in front of the batch",
        "shapes|values are wrong|shape is wrong",
        ("(size, *(1,) * missing, *x.shape[1:])", "(*(1,) * missing, *x.shape)"),
    ),
    batches(
        "a loop over examples",
        "once for the whole batch",
        (
            "    return operation(*stacks)",
            "    return np.stack([operation(*(s[i : i + 1] for s in stacks))[0] for i in range(size)])",
        ),
    ),
    batches(
        "leaves the alignment of stacks to the operation",
        "cannot take these shapes",
        ("x if own else np.broadcast_to(x, (size, *x.shape))", "x"),
    ),
    batches(
        "stack of one",
        "cannot take these shapes",
        ("np.broadcast_to(x, (size, *x.shape))", "x[None]"),
    ),
    batches(
        "axes not shifted", "counted without the batch", ("axis + 1 if axis >= 0 else axis", "axis")
    ),
    batches(
        "negative axes shifted",
        "counts from the end",
        ("axis + 1 if axis >= 0 else axis", "axis + 1"),
    ),
    batches(
        "sums the batch too",
        "must not be summed",
        (
            "tuple(axis + 1 if axis >= 0 else axis for axis in axes)",
            "(0, *(axis + 1 if axis >= 0 else axis for axis in axes))",
        ),
    ),
    batches(
        "not repeated",
        "has to be repeated|out of bounds|not mapped",
        ("    if not mapped:", "    if False:"),
    ),
    batches("stays in front", "still in front", ("np.moveaxis(value, 0, out_axis)", "value")),
    batches(
        "axis the other way",
        "leave",
        ("np.moveaxis(value, 0, out_axis)", "np.moveaxis(value, out_axis, 0)"),
    ),
    batches("returns nothing", "returned nothing", ("return np.moveaxis", "np.moveaxis")),
)
QUESTION_3 = (
    transposes(
        "a mean",
        "transpose of the mean",
        (
            "return np.broadcast_to(np.expand_dims(g, axes), shape)",
            "return np.broadcast_to(np.expand_dims(g, axes), shape) * g.size / np.prod(shape)",
        ),
    ),
    transposes(
        "not put back",
        "broadcast|values are wrong",
        ("np.expand_dims(g, axes)", "g"),
    ),
    transposes(
        "lengths of 1 forgotten",
        "reshape|not summed",
        ("(*range(extra), *repeated)", "tuple(range(extra))"),
    ),
    transposes("copies averaged", "every copy adds", (".sum(axis=(*range", ".mean(axis=(*range")),
    transposes(
        "counted from the front",
        "out of bounds|reshape|wrong|duplicate",
        ("[i + extra for i", "[i for i"),
    ),
    transposes(
        "first copy only",
        "only the first copy",
        (
            "g.sum(axis=(*range(extra), *repeated)).reshape(shape)",
            "g[\n        tuple(\n            slice(0, 1) if i in (*range(extra), *repeated) else slice(None)"
            "\n            for i in range(g.ndim)\n        )\n    ].reshape(shape)",
        ),
    ),
    transposes(
        "start forgotten",
        "left out, and receive zero",
        ("x_bar[start:stop:step] = g", "x_bar[: len(g)] = g"),
    ),
    transposes(
        "ones where nothing was read",
        "slice_transpose",
        (
            "x_bar = np.zeros(shape, g.dtype)\n    x_bar[start",
            "x_bar = np.ones(shape, g.dtype)\n    x_bar[start",
        ),
    ),
    transposes(
        "repeats overwrite",
        "keeps only one",
        ("np.add.at(x_bar, indices, g)", "x_bar[indices] = g"),
    ),
    transposes(
        "buffered addition",
        "keeps only one",
        ("np.add.at(x_bar, indices, g)", "x_bar[indices] += g"),
    ),
    transposes(
        "takes instead",
        "take_transpose|out of bounds",
        ("np.add.at(x_bar, indices, g)\n    return x_bar", "return g[indices]"),
    ),
    transposes(
        "loses the dtype", "dtype is wrong", ("np.zeros(shape, g.dtype)", "np.zeros(shape)")
    ),
    transposes("returns nothing", "returned nothing", ("return x_bar", "x_bar.sum()")),
)
QUESTION_4 = (
    interprets(
        "literals looked up",
        "KeyError|2.5|3.0",
        ("env[atom] if isinstance(atom, str) else atom", "env[atom]"),
    ),
    interprets(
        "inputs in alphabetical order",
        "output",
        ('zip(jaxpr["inputs"], arg', 'zip(sorted(jaxpr["inputs"]), arg'),
    ),
    interprets(
        "parameters dropped",
        "missing|argument",
        ("for atom in operands], params)", "for atom in operands], {})"),
    ),
    interprets(
        "first output only",
        "one value an output",
        (
            'return [read(atom) for atom in jaxpr["outputs"]]',
            'return [read(atom) for atom in jaxpr["outputs"][:1]]',
        ),
    ),
    interprets(
        "evaluated again for each use",
        "applied once|recursion",
        (
            """    env = dict(zip(jaxpr["inputs"], arguments, strict=True))

    def read(atom):
        return env[atom] if isinstance(atom, str) else atom

    for out, op, operands, params in jaxpr["equations"]:
        env[out] = apply(op, [read(atom) for atom in operands], params)
""",
            """    env = dict(zip(jaxpr["inputs"], arguments, strict=True))
    made = {each[0]: each for each in jaxpr["equations"]}

    def read(atom):
        if atom in made:
            _, op, operands, params = made[atom]
            return apply(op, [read(each) for each in operands], params)
        return env[atom] if isinstance(atom, str) else atom

""",
        ),
    ),
    interprets(
        "one sweep forward",
        "missed",
        (
            """    for equation in jaxpr["equations"][::-1]:
        out, _, operands, _ = equation
        if out in needed:""",
            """    used = {atom for _, _, operands, _ in jaxpr["equations"] for atom in operands}
    for equation in jaxpr["equations"][::-1]:
        out, _, operands, _ = equation
        if out in used:""",
        ),
    ),
    interprets(
        "operands not kept alive",
        "missed",
        ("            needed.update(atom for atom in operands if isinstance(atom, str))\n", ""),
    ),
    interprets(
        "left backward", "keep their order", ('"equations": kept[::-1]', '"equations": kept')
    ),
    interprets("keeps all", "wrongly accused", ("if out in needed:", "if True:")),
    interprets(
        "drops unused inputs",
        "inputs of the jaxpr must stay",
        (
            '{**jaxpr, "equations"',
            '{**jaxpr, "inputs": [i for i in jaxpr["inputs"] if i in needed], "equations"',
        ),
    ),
    interprets(
        "changes its argument",
        "changed its argument jaxpr",
        (
            'return {**jaxpr, "equations": kept[::-1]}',
            'jaxpr["equations"] = kept[::-1]\n    return jaxpr',
        ),
    ),
    interprets(
        "returns the equations alone",
        "return a jaxpr",
        ('return {**jaxpr, "equations": kept[::-1]}', "return kept[::-1]"),
    ),
)
QUESTION_5 = (
    splits("only direct dependence", "however far back", ("            waits.add(out)\n", "")),
    splits(
        "all operands must wait", "any operand", ("if any(atom in waits", "if all(atom in waits")
    ),
    splits("residuals repeated", "each once", (" and atom not in residuals:", ":")),
    splits(
        "everything is saved",
        "known names that the waiting",
        (
            "    for _, _, operands, _ in later:\n        for atom in operands:",
            '    for _, _, operands, _ in jaxpr["equations"]:\n        for atom in operands:',
        ),
    ),
    splits(
        "arguments are not saved",
        "residuals",
        ("and atom not in residuals:", 'and atom not in [*residuals, *jaxpr["inputs"]]:'),
    ),
    splits(
        "residuals sorted",
        "in order",
        ("    known = {", "    residuals.sort(reverse=True)\n    known = {"),
    ),
    splits(
        "literals are unknown",
        "outputs of known",
        (
            "[atom for atom in outputs if atom not in waits]",
            "[atom for atom in outputs if isinstance(atom, str) and atom not in waits]",
        ),
    ),
    splits(
        "unknown inputs first",
        "inputs of waiting",
        ("residuals + list(unknown)", "list(unknown) + residuals"),
    ),
    splits(
        "residuals not handed on",
        "outputs of known",
        (" if atom not in waits] + residuals", " if atom not in waits]"),
    ),
    splits(
        "parts swapped",
        "variables that known defines",
        ("return known, waiting", "return waiting, known"),
    ),
    pulls(
        "fan-out overwritten", "they add", ("received[name] + g if name in received else g", "g")
    ),
    pulls(
        "in the order of the forward",
        "walk from last to first",
        ('reversed(waiting["equations"])', 'waiting["equations"]'),
    ),
    pulls(
        "dead equations asked",
        "rule is asked|NoneType",
        (
            """        if out not in received:
            continue
""",
            """        received.setdefault(out, 0.0 * cotangents[0])
""",
        ),
    ),
    pulls(
        "residuals left as names",
        "str|operand|can't multiply|UFuncTypeError|not linear|TypeError",
        ("[values.get(a, a) if isinstance(a, str) else a for a in operands]", "list(operands)"),
    ),
    pulls(
        "outputs replace each other",
        "listed twice",
        (
            """        accumulate(name, g)
    for out""",
            """        received[name] = g
    for out""",
        ),
    ),
    pulls(
        "zero for None",
        "no output depends on it",
        ("[received.get(name) for", "[received.get(name, 0.0) for"),
    ),
    pulls(
        "one cotangent too many",
        "one cotangent a tangent",
        ('["inputs"][len(residuals) :]]', '["inputs"]]'),
    ),
    pulls(
        "changes its argument",
        "changed its argument",
        (
            """        received[name] = received[name] + g if name in received else g
""",
            """        if name in received:
            received[name] += g
        else:
            received[name] = g
""",
        ),
    ),
    pulls("returns nothing", "returned nothing", ("return [received", "[received")),
)
QUESTION_6 = (
    declares("no half in the value", "half is missing", (") * x.dtype.type(0.5)", ")")),
    declares("width not squared", "square w", ("np.sqrt(x * x + w * w)", "np.sqrt(x * x + w)")),
    declares("value in float64", "dtype is wrong", (" * x.dtype.type(0.5)", " * np.float64(0.5)")),
    declares(
        "shape of x", "operands broadcast", ("np.broadcast_shapes(x.shape, w.shape)", "x.shape")
    ),
    declares("always float64", "dtype is wrong", ("w.shape), x.dtype)", "w.shape), np.float64)")),
    declares(
        "stopped at x",
        "term of w is missing|index out of range",
        ("    if t_w is not ZERO:\n        terms.append(t_w * (0.5 * w / r))\n", ""),
    ),
    declares("slope of r", r"slope of r by x", ("t_x * (y / r)", "t_x * (x / r)")),
    declares("no half in the slope of w", "twice too large", ("(0.5 * w / r)", "(w / r)")),
    declares(
        "sign of the slope of w", "sign of the term of w", ("(0.5 * w / r)", "(-0.5 * w / r)")
    ),
    declares(
        "computes with ZERO",
        "unsupported operand",
        ("    if t_x is not ZERO:\n        terms", "    if True:\n        terms"),
    ),
    declares(
        "NumPy in the jvp",
        "NumPy itself cannot",
        ("r, terms = primitive(x, w), fnp.sqrt", "r, terms = primitive(x, w), np.sqrt"),
    ),
    declares(
        "unaligned batch",
        "insert axes behind the batch",
        ("x = fnp.reshape(x, (size, *(1,) * missing, *x.shape[1:]))", "pass"),
    ),
    declares(
        "NumPy in the batch",
        "NumPy itself cannot",
        ("primitive(*aligned)", "primitive(*map(np.asarray, aligned))"),
    ),
    declares(
        "lowered without the half",
        "half is missing",
        ("return b.multiply(b.add(x, r), b.constant(0.5, x.dtype))", "return b.add(x, r)"),
    ),
    declares("lowered to r", "r without x", ("b.multiply(b.add(x, r), ", "b.multiply(r, ")),
    declares(
        "nothing lowered", "never made", ("lower=smooth_relu_lower", "lower=lambda b, x, w: None")
    ),
    declares(
        "a function, not a primitive",
        "one equation, of its own name",
        (
            "smooth_relu = Primitive(\n",
            "def smooth_relu(x, w):\n    return (x + fnp.sqrt(x * x + w * w)) * 0.5\n\n\n"
            "declared = Primitive(\n",
        ),
    ),
)
QUESTIONS = (QUESTION_1, QUESTION_2, QUESTION_3, QUESTION_4, QUESTION_5, QUESTION_6)
MUTANTS = tuple(mutant for question in QUESTIONS for mutant in question)

CHEATS = (
    Mutant(
        "the library's jvp",
        "q1-jvp-rules",
        (),
        ("q1-check-jvp",),
        "marked",
        """def pushed(f, primals, tangents):
    full = [np.zeros_like(p) if t is None else t for p, t in zip(primals, tangents, strict=True)]
    return functional.jvp(f, tuple(primals), tuple(full))


def wave_jvp(primals, tangents):
    return pushed(lambda a, x: a * fnp.sin(x), primals, tangents)


def affine_jvp(primals, tangents):
    return pushed(lambda x, w, b: x @ w + b, primals, tangents)


def logsumexp_jvp(primals, tangents):
    return pushed(lambda x: fnp.logsumexp(x, axis=1), primals, tangents)
""",
    ),
    Mutant(
        "the library's alignment",
        "q2-batch-rules",
        (
            (
                "x = x.reshape(size, *(1,) * missing, *x.shape[1:])",
                "x = functional.primitives.shape.behind_batch(x, ndim)",
            ),
        ),
        ("q2-check-batch",),
        "marked",
    ),
    Mutant(
        "the library's reverse mode",
        "q3-transposes",
        (
            (
                "np.broadcast_to(np.expand_dims(g, axes), shape)",
                "functional.vjp(lambda x: fnp.sum(x, axis=axes), np.zeros(shape, g.dtype))[1](g)[0]",
            ),
        ),
        ("q3-check-transpose",),
        "marked",
    ),
    Mutant(
        "the library's transpose rules",
        "q3-transposes",
        (
            (
                "    x_bar = np.zeros(shape, g.dtype)\n    x_bar[start:stop:step] = g\n    return x_bar",
                "    index = ((start, stop, step), *((0, n, 1) for n in shape[1:]))\n"
                "    x = Linear(ShapedArray(shape, g.dtype))\n"
                "    slice_ = functional.primitives.indexing.slice_\n"
                "    return slice_.transpose(g, x, index=index)[0]",
            ),
        ),
        ("q3-check-transpose",),
        "marked",
    ),
    Mutant(
        "the library's jvp of the formula",
        "q6-smooth-relu",
        (
            (
                "    return y, sum(terms[1:], terms[0])",
                "    full = [0.0 * p if t is ZERO else t for p, t in zip(primals, tangents, strict=True)]\n"
                "    formula = lambda x, w: (x + fnp.sqrt(x * x + w * w)) * 0.5\n"
                "    return functional.jvp(formula, (x, w), tuple(full))",
            ),
        ),
        ("q6-check-primitive",),
        "marked",
    ),
)
"""The cheap way out: the library's own answer.  It is right, and not there while one is marked."""

EQUIVALENT = {
    "for x, own in zip(values, mapped, strict=False):": "the lengths are equal by contract",
    "ndim = max((x.ndim - own for x, own in zip(values, mapped, strict=False)))": "as above",
    "stacks = [x if own else np.broadcast_to(x, (size, *x.shape)) "
    "for x, own in zip(values, mapped, strict=False)]": "as above",
    "env = dict(zip(jaxpr['inputs'], arguments, strict=False))": "as above",
    "for name, g in zip(waiting['outputs'], cotangents, strict=False):": "as above",
    "values = dict(zip(waiting['inputs'][:len(residuals)], residuals, strict=False))": "as above",
    "for atom, g in zip(operands, rule(op, received[out], arguments, params), strict=False):": (
        "as above"
    ),
    "(removed) values.get(a, a)": "both arguments are the same",
    "ndim = max((len(x.shape) - own for x, own in zip(values, mapped, strict=False)))": (
        "the lengths are equal by contract"
    ),
    "return b.multiply(b.constant(0.5, x.dtype), b.add(x, r))": "a product commutes",
    "return b.multiply(b.add(r, x), b.constant(0.5, x.dtype))": "a sum commutes",
    "r = b.sqrt(b.add(b.multiply(w, w), b.multiply(x, x)))": "a sum commutes",
    "(removed) b.multiply(x, x)": "both arguments are the same",
    "(removed) b.multiply(w, w)": "both arguments are the same",
    "return ShapedArray(np.broadcast_shapes(w.shape, x.shape), x.dtype)": "broadcasting commutes",
}
