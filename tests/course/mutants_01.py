"""Known-wrong answers to the first assignment."""

from known_wrong import Mutant


def numeric(name, feedback, *edits):
    return Mutant(name, "q1-numeric-gradient", edits, ("q1-check-gradient",), feedback)


def step(name, feedback, *edits):
    return Mutant(name, "q1-best-step", edits, ("q1-check-step",), feedback)


def affine(name, feedback, *edits, loses=("q2-check-backward",)):
    return Mutant(name, "q2-affine", edits, loses, feedback)


def softmax(name, feedback, *edits, loses=("q3-check-backward",)):
    return Mutant(name, "q3-softmax-cross-entropy", edits, loses, feedback)


def conv2d(name, feedback, *edits):
    return Mutant(name, "q4-conv2d-backward", edits, ("q4-check",), feedback)


def find(name, feedback, *edits):
    return Mutant(name, "q5-find-faults", edits, ("q5-check-find",), feedback)


def mend(name, feedback, *edits):
    return Mutant(name, "q5-mended-gradients", edits, ("q5-check-mend",), feedback)


QUOTIENT = "(f(ahead) - f(behind)) / (2 * step)"
COPIES = "ahead, behind = x.copy(), x.copy()"
EPS = "float(3 * np.finfo(dtype).eps) ** (1 / 3)"
MOVES = """        ahead[index] += step
        behind[index] -= step
        gradient[index] = (f(ahead) - f(behind)) / (2 * step)"""
SHAPE = "claimed[name].shape == value.shape and "
SIZES = "size(claimed[name] - numeric) <= 1e-6 * (size(claimed[name]) + size(numeric))"
TEST = f"right = {SHAPE}(\n            {SIZES}\n        )"

QUESTION_1 = (
    numeric(
        "one-sided", "one-sided difference, from x to x", (QUOTIENT, "(f(ahead) - f(x)) / step")
    ),
    numeric("one-sided, behind", "from x - h to x", (QUOTIENT, "(f(x) - f(behind)) / step")),
    numeric("half the distance", "points are 2 h apart", ("(2 * step)", "step")),
    numeric("sign", "sign is wrong", ("f(ahead) - f(behind)", "f(behind) - f(ahead)")),
    numeric(
        "moved back and forth in place",
        "changed its argument x in place",
        (COPIES, "ahead = behind = x"),
        (
            MOVES,
            """        x[index] += step
        plus = f(x)
        x[index] -= 2 * step
        gradient[index] = (plus - f(x)) / (2 * step)
        x[index] += step""",
        ),
    ),
    numeric(
        "writes to a copy that f never sees",
        "x does not move",
        (
            MOVES,
            """        place = np.ravel_multi_index(index, x.shape)
        ahead, behind = np.copy(x), np.copy(x)
        ahead.reshape(-1)[place] += step
        behind.reshape(-1)[place] -= step
        gradient[index] = (f(ahead) - f(behind)) / (2 * step)""",
        ),
    ),
    numeric(
        "all elements at once",
        "values are wrong; the first is",
        ("ahead[index] += step", "ahead += step"),
        ("behind[index] -= step", "behind -= step"),
    ),
    numeric("loses the dtype", "dtype is wrong", ("zeros_like(x)", "zeros(x.shape)")),
    numeric(
        "learned by heart",
        "shape is wrong",
        ("return gradient", "return np.array([3.25, -2.0, 3.5])"),
    ),
    numeric("returns nothing", "returned nothing", ("return gradient", "gradient")),
    step("for one-sided differences", "sqrt", (EPS, "float(np.finfo(dtype).eps) ** 0.5")),
    step("eps itself", "nothing but rounding", (EPS, "float(np.finfo(dtype).eps)")),
    step("learned by heart", "too small", (EPS, "6e-6")),
    step("no root", "too large", (EPS, "0.5")),
)
QUESTION_2 = (
    affine(
        "no bias", "bias is missing", ("x @ w + b", "x @ w + 0 * b"), loses=("q2-check-forward",)
    ),
    affine(
        "bias taken away",
        "values are wrong",
        ("x @ w + b", "x @ w - b"),
        loses=("q2-check-forward",),
    ),
    affine(
        "learned by heart",
        "shape is wrong",
        ("x @ w + b", "np.array([[15.0, 22, 29], [21, 24, 27], [27, 26, 25]])"),
        loses=("q2-check-forward",),
    ),
    affine(
        "adds the bias to w in place",
        "changed its argument w in place",
        ("return x @ w + b, (x, w)", "w += 0.5\n    y = x @ w + b\n    return y, (x, w)"),
        loses=("q2-check-forward", "q2-check-backward"),
    ),
    affine("bias not summed", r"\bb\b", ("g.sum(axis=0)", "g")),
    affine("bias averaged", "batch", ("g.sum(axis=0)", "g.mean(axis=0)")),
    affine("bias summed over the wrong axis", r"\bb\b", ("g.sum(axis=0)", "g.sum(axis=1)")),
    affine("weight gradient transposed", "transpose", ("x.T @ g", "g.T @ x")),
    affine(
        "transposes chosen by shape",
        "mixed up",
        ("g @ w.T", "g @ (w if w.shape[0] == w.shape[1] else w.T)"),
    ),
    affine("sign", "sign", ("g @ w.T", "-g @ w.T")),
    affine("one over N twice", "batch", ("x.T @ g", "x.T @ g / len(g)")),
    affine(
        "scales g in place",
        "changed its argument g in place",
        ("x, w = cache\n", "x, w = cache\n    g *= 2.0\n    g = g / 2.0\n"),
    ),
    affine(
        "computes in float64",
        "dtype is wrong",
        ("return x @ w", "return x.astype(np.float64) @ w"),
        loses=("q2-check-forward",),
    ),
    affine("forgets x", "3 values", ("return g @ w.T, x.T @ g", "return x.T @ g")),
)
QUESTION_3 = (
    softmax(
        "overflows",
        "overflow",
        ("shifted = logits - logits.max(axis=1, keepdims=True)", "shifted = logits"),
        loses=("q3-check-forward", "q3-check-backward"),
    ),
    softmax(
        "one shift for the whole batch",
        "overflow, from log",
        ("logits.max(axis=1, keepdims=True)", "logits.max()"),
        loses=("q3-check-forward",),
    ),
    softmax(
        "logarithm of a probability",
        "log",
        ("(np.log(totals[:, 0]) - shifted[picked])", "-np.log((exponentials / totals)[picked])"),
        loses=("q3-check-forward",),
    ),
    softmax("sum for mean", "its mean", (".mean()", ".sum()"), loses=("q3-check-forward",)),
    softmax(
        "sign of the loss",
        "sign is wrong",
        ("return loss,", "return -loss,"),
        loses=("q3-check-forward",),
    ),
    softmax("no one over N", "batch", ("(g / len(g_logits))", "g")),
    softmax("ignores g", "factor|g is not used", ("(g / len(g_logits))", "(1 / len(g_logits))")),
    softmax(
        "changes its cache", "changed its argument cache", ("probabilities.copy()", "probabilities")
    ),
    softmax("no one-hot", "label itself", ("g_logits[picked] -= 1", "g_logits[picked] -= 0")),
    softmax("sign of the gradient", "sign", ("return g_logits * (", "return -g_logits * (")),
    softmax(
        "learned by heart",
        "loss",
        ("return loss,", "return np.log(5.0),"),
        loses=("q3-check-forward",),
    ),
)
QUESTION_4 = (
    conv2d("bias summed over images only", r"\bb\b", ("g.sum(axis=(0, 2, 3))", "g.sum(axis=0)")),
    conv2d(
        "bias averaged",
        "every use adds|factor",
        ("g.sum(axis=(0, 2, 3))", "g.mean(axis=(0, 2, 3))"),
    ),
    conv2d(
        "stride forgotten",
        "give the shape, stride and padding that im2col was given",
        ("x_shape, stride, padding)", "x_shape, 1, padding)"),
    ),
    conv2d(
        "padding forgotten",
        "give the shape, stride and padding that im2col was given",
        ("x_shape, stride, padding)", "x_shape, stride, 0)"),
    ),
    conv2d("filters flipped", "flipped", ("g, w)", "g, w[:, :, ::-1, ::-1])")),
    conv2d("filters transposed", r"\bx\[", ('"nfuv,fcij->ncuvij"', '"nfuv,fcji->ncuvij"')),
    conv2d("first image only", "only the first image", ("g, windows)", "g[:1], windows[:1])")),
    conv2d("sign", "sign", ("g_w = np.einsum", "g_w = -np.einsum")),
    conv2d(
        "copies averaged, not added",
        r"\bx\[",
        (
            "g_x = col2im(g_windows, x_shape, stride, padding)",
            "copies = col2im(np.ones_like(windows), x_shape, stride, padding)\n"
            "    g_x = col2im(g_windows, x_shape, stride, padding) / np.maximum(copies, 1)",
        ),
    ),
    conv2d("not for the image", "3 values", ("return g_x, g_w", "return g_w")),
    conv2d(
        "learned by heart",
        r"\bw\[",
        ("return g_x, g_w", "g_w = np.ones_like(w)\n    return g_x, g_w"),
    ),
)
QUESTION_5 = (
    find(
        "absolute tolerance",
        "about 1e-9",
        (TEST, "right = size(claimed[name] - numeric) <= 1e-5"),
    ),
    find(
        "allclose, with its absolute tolerance",
        "about 1e-9",
        (TEST, "right = np.allclose(claimed[name], numeric)"),
    ),
    find("tolerance of one percent", "one part in a thousand", ("1e-6", "1e-2")),
    find("tolerance below rounding", "wrongly accused", ("1e-6", "1e-16")),
    find(
        "lets NaN pass",
        "a NaN in u",
        (SIZES, f"not {SIZES.replace('<=', '>')}"),
    ),
    find("lets shapes broadcast", r"shape \(1, 2\)", (SHAPE, "")),
    find(
        "divides by zero",
        "does not use",
        (
            SIZES,
            "size(claimed[name] - numeric) / (size(claimed[name]) + size(numeric)) <= 1e-6",
        ),
    ),
    find(
        "names the right ones",
        "wrongly accused",
        ("return faults", "return set(parameters) - {*faults}"),
    ),
    find("learned by heart", "wrongly accused", ("return faults", 'return ["v"]')),
    mend("still the old line", r"w1\[", ("(1 - h * h)", "(1 - h)")),
    mend("no derivative of tanh", r"w1\[", ("(1 - h * h)", "1")),
    mend("sign of the square", r"w1\[", ("(1 - h * h)", "(1 + h * h)")),
    mend("bias averaged", "batch", ('"b1": g_a.sum(axis=0)', '"b1": g_a.mean(axis=0)')),
    mend("forgets a parameter", "missed 'b2'", ('        "b2": g_logits.sum(axis=0),\n', "")),
)
QUESTIONS = (QUESTION_1, QUESTION_2, QUESTION_3, QUESTION_4, QUESTION_5)
MUTANTS = tuple(mutant for question in QUESTIONS for mutant in question)

EQUIVALENT = {
    "return float(4 * np.finfo(dtype).eps) ** (1 / 3)": "the bottom of the curve is flat",
}


def cheat(name, cell, loses, answer):
    """Return an answer that calls the library; in the sandbox the body it calls is withheld."""
    return Mutant(name, cell, (), loses, "withheld", answer)


CHEATS = (
    cheat(
        "the library's difference",
        "q1-numeric-gradient",
        ("q1-check-gradient",),
        """def numeric_gradient(f, x, step):
    return gradcheck.numeric_gradient(f, x, step=step)
""",
    ),
    cheat(
        "the library's pair",
        "q2-affine",
        ("q2-check-forward", "q2-check-backward"),
        "affine, affine_backward = manual.affine, manual.affine_backward\n",
    ),
    cheat(
        "a difference quotient for a derivative",
        "q2-affine",
        ("q2-check-backward",),
        """def affine(x, w, b):
    return x @ w + b, (x, w, b)


def affine_backward(g, cache):
    wide = [each.astype(np.float64) for each in cache]
    found = gradcheck.numeric_gradient(lambda x, w, b: np.sum(g * (x @ w + b)), wide)
    return tuple(each.astype(g.dtype) for each in found)
""",
    ),
    cheat(
        "the library's pair",
        "q3-softmax-cross-entropy",
        ("q3-check-forward", "q3-check-backward"),
        """def softmax_cross_entropy(logits, labels):
    return manual.softmax_cross_entropy(logits, labels)


def softmax_cross_entropy_backward(g, cache):
    return manual.softmax_cross_entropy_backward(g, cache)
""",
    ),
    cheat(
        "the library's backward",
        "q4-conv2d-backward",
        ("q4-check",),
        """def conv2d_backward(g, cache):
    x_shape, w, windows, stride, padding = cache
    b = np.zeros(len(w), w.dtype)
    x = col2im(windows, x_shape, stride, padding)
    x /= np.maximum(col2im(np.ones_like(windows), x_shape, stride, padding), 1)
    _, own = manual.conv2d(x, w, b, stride, padding)
    return manual.conv2d_backward(g, own)
""",
    ),
)
