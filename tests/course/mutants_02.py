"""Known-wrong answers to the second assignment."""

from known_wrong import Mutant

STATISTICS, GRADIENTS = ("q3-check-statistics",), ("q3-check-gradients",)


def affine(name, feedback, *edits):
    return Mutant(name, "q1-affine", edits, ("q1-check",), feedback)


def chain(name, feedback, *edits):
    return Mutant(name, "q2-chain", edits, ("q2-check",), feedback)


def batch_norm(name, feedback, *edits, loses=GRADIENTS):
    return Mutant(name, "q3-batch-norm", edits, loses, feedback)


def momentum(name, feedback, *edits):
    return Mutant(name, "q4-momentum", edits, ("q4-check-momentum",), feedback)


def adam(name, feedback, *edits):
    return Mutant(name, "q4-adam", edits, ("q4-check-adam",), feedback)


def find(name, feedback, *edits):
    return Mutant(name, "q5-find-faults", edits, ("q5-check-find",), feedback)


def mend(name, feedback, *edits):
    return Mutant(name, "q5-gate-backward", edits, ("q5-check-mend",), feedback)


G_W = "self.w.gradient = self.w.gradient + self.x.T @ g"
G_B = "self.b.gradient = self.b.gradient + g.sum(axis=0)"
QUESTION_1 = (
    affine(
        "overwrites the gradient of w",
        "only the last batch",
        (G_W, "self.w.gradient = self.x.T @ g"),
    ),
    affine(
        "overwrites the gradient of b",
        "only the last batch",
        (G_B, "self.b.gradient = g.sum(axis=0)"),
    ),
    affine(
        "gathers in an attribute of its own",
        "before zero_gradients",
        (
            G_W,
            'self.g_w = getattr(self, "g_w", 0) + self.x.T @ g\n        self.w.gradient = self.g_w',
        ),
    ),
    affine(
        "remembers on the class",
        "both layers look at one memory",
        ("self.x = x", "Affine.x = x"),
        ("self.x.T", "Affine.x.T"),
    ),
    affine("no bias", "bias is missing", (" + self.b.value", "")),
    affine("bias not summed", r"\bb\b.*shape", ("g.sum(axis=0)", "g")),
    affine("bias averaged", "batch", ("g.sum(axis=0)", "g.mean(axis=0)")),
    affine(
        "not transposed by shape",
        "mixed up",
        ("self.w.value.T", "(self.w.value if g.shape[1] == len(self.w.value) else self.w.value.T)"),
    ),
    affine("sign", "sign", ("return g @", "return -g @")),
    affine("scales g in place", "changed its argument", (G_W, "g *= 2\n        " + G_W)),
    affine(
        "returns nothing", "None|numbers|type", ("return g @ self.w.value.T", "g @ self.w.value.T")
    ),
    affine(
        "learned by heart",
        "values are wrong",
        ("return x @ self.w.value", "return 1 + 0 * x @ self.w.value"),
    ),
)
QUESTION_2 = (
    chain(
        "backwards the wrong way round", "shape|fit|wrong", ("reversed(self.layers)", "self.layers")
    ),
    chain("does not say whether it trains", "not told", (", training)", ")")),
    chain(
        "every layer gets the same g",
        "hand each layer|shape",
        ("g = layer.backward(g)", "r = layer.backward(g)"),
        ("return g\n", "return r\n"),
    ),
    chain(
        "returns g itself",
        "g itself|shape",
        ("g = layer.backward(g)\n        return g", "h = layer.backward(h)\n        return g"),
        ("for layer in reversed", "h = g\n        for layer in reversed"),
    ),
    chain(
        "lists a shared parameter twice",
        "stands in the list once",
        (
            "found |= dict.fromkeys(layer.parameters())",
            "found |= {(layer, p): p for p in layer.parameters()}",
        ),
        ("list(found)", "list(found.values())"),
    ),
    chain(
        "compares by numbers",
        "compare the objects",
        (
            "found |= dict.fromkeys(layer.parameters())",
            "found |= {p.value.tobytes(): p for p in layer.parameters()}",
        ),
        ("list(found)", "list(found.values())"),
    ),
    chain(
        "forgets the first layer",
        "gradient|shape|fit",
        ("reversed(self.layers)", "reversed(self.layers[1:])"),
    ),
    chain(
        "parameters of the first layer only",
        "wrong number of parameters",
        (
            "for layer in self.layers:\n            found",
            "for layer in self.layers[:1]:\n            found",
        ),
    ),
    chain("parameters in the wrong order", "shape|wrong", ("list(found)", "list(found)[::-1]")),
    chain(
        "returns its input",
        "input itself|shape",
        (
            "x = layer.forward(x, training)\n        return x",
            "y = layer.forward(y, training)\n        return x",
        ),
        (
            "for layer in self.layers:\n            y",
            "y = x\n        for layer in self.layers:\n            y",
        ),
    ),
)
MEAN = "self.running_mean = self.running_mean + self.momentum * (mean - self.running_mean)"
QUESTION_3 = (
    batch_norm(
        "tests by the batch",
        "testing (normalises by|uses) the running",
        (
            "mean, variance = self.running_mean, self.running_variance",
            "mean, variance = x.mean(axis=0), x.var(axis=0)",
        ),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "trains by the averages",
        r"normalises by the batch|first x\[",
        (
            "        scale = 1",
            "        mean, variance = self.running_mean, self.running_variance\n        scale = 1",
        ),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "momentum the wrong way round",
        "weight of the newest",
        ("self.running_mean + self.momentum *", "self.running_mean + (1 - self.momentum) *"),
        loses=STATISTICS,
    ),
    batch_norm(
        "biased average",
        "unbiased",
        ("unbiased = variance * len(x) / (len(x) - 1)", "unbiased = variance"),
        loses=STATISTICS,
    ),
    batch_norm(
        "normalises by the unbiased variance",
        r"biased variance, over N|first x\[",
        (
            "mean, variance = x.mean(axis=0), x.var(axis=0)",
            "mean, variance = x.mean(axis=0), x.var(axis=0, ddof=1)",
        ),
        ("unbiased = variance * len(x) / (len(x) - 1)", "unbiased = variance"),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "averages not kept",
        "not updated",
        (MEAN, MEAN.replace("self.running_mean =", "running_mean =")),
        loses=STATISTICS,
    ),
    batch_norm(
        "epsilon outside the root",
        r"inside the root|first x\[",
        ("np.sqrt(variance + self.epsilon)", "(np.sqrt(variance) + self.epsilon)"),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "no gamma",
        "gamma and beta|it is the forward",
        ("y = self.gamma.value * normal + self.beta.value", "y = normal"),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "statistics along the wrong axis",
        "wrong|shape|broadcast",
        (
            "x.mean(axis=0), x.var(axis=0)",
            "x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)",
        ),
        loses=STATISTICS + GRADIENTS,
    ),
    batch_norm(
        "statistics are constants",
        "depend on x too",
        ("g = g - (g_beta + normal * g_gamma) / len(g)", "g = 1 * g"),
    ),
    batch_norm(
        "no road through the variance",
        "road through the variance",
        ("(g_beta + normal * g_gamma)", "g_beta"),
    ),
    batch_norm(
        "three roads in testing too",
        "constants",
        ("        if training:\n            g =", "        if True:\n            g ="),
    ),
    batch_norm(
        "gamma forgotten",
        "gamma = 1",
        ("(normal, self.gamma.value * scale, training)", "(normal, scale, training)"),
    ),
    batch_norm(
        "gamma's gradient averaged",
        "batch",
        ("g * scale, g_gamma, g_beta", "g * scale, g_gamma / len(g), g_beta"),
    ),
    batch_norm(
        "order of the gradients", "gamma", ("g_gamma, g_beta\n    ", "g_beta, g_gamma\n    ")
    ),
    batch_norm(
        "sign of beta's gradient",
        "sign",
        ("g * scale, g_gamma, g_beta", "g * scale, g_gamma, -g_beta"),
    ),
)
QUESTION_4 = (
    momentum("no velocity", "no velocity", ("v *= self.momentum", "v *= 0")),
    momentum("uphill", "uphill", ("v -=", "v +=")),
    momentum("not in place", "nothing moved", ("p += v", "p = p + v")),
    momentum(
        "velocity not in place", "no velocity", ("v *= self.momentum\n", "v = v * self.momentum\n")
    ),
    momentum(
        "push shrunk",
        "by 1 - momentum",
        ("v -= self.learning_rate", "v -= (1 - self.momentum) * self.learning_rate"),
    ),
    momentum(
        "rate outside",
        "outside the velocity",
        ("v -= self.learning_rate * g", "v -= g"),
        ("p += v", "p += self.learning_rate * v"),
    ),
    momentum("Nesterov", "Nesterov", ("p += v", "p += self.momentum * v - self.learning_rate * g")),
    momentum(
        "spoils g",
        "changed its argument gradients",
        ("v -= self.learning_rate * g", "g *= self.learning_rate\n        v -= g"),
    ),
    adam(
        "no bias correction",
        "not corrected",
        ("m / (1 - self.beta1**self.steps)", "m"),
        ("v / (1 - self.beta2**self.steps)", "v"),
    ),
    adam(
        "one step ahead",
        "1 in the first step",
        ("self.beta1**self.steps", "self.beta1**(self.steps + 1)"),
        ("self.beta2**self.steps", "self.beta2**(self.steps + 1)"),
    ),
    adam(
        "counts calls",
        "calls of update",
        (
            "m *= self.beta1\n",
            't = self.calls = getattr(self, "calls", 0) + 1\n        m *= self.beta1\n',
        ),
        ("**self.steps", "**t"),
    ),
    adam("no decay", "left out", (" + self.weight_decay * p", "")),
    adam(
        "decay within the gradient",
        "decouple",
        ("m *= self.beta1\n", "g = g + p * self.weight_decay\n        m *= self.beta1\n"),
        (" + self.weight_decay * p\n", "\n"),
    ),
    adam(
        "decay without the rate",
        "multiplies the weight decay",
        (" + self.weight_decay * p\n", " + self.weight_decay * p / self.learning_rate\n"),
    ),
    adam("decay's sign", "wrong sign", ("+ self.weight_decay", "- self.weight_decay")),
    adam(
        "epsilon inside the root",
        "outside it",
        ("(np.sqrt(v_hat) + self.epsilon)", "np.sqrt(v_hat + self.epsilon)"),
    ),
    adam("uphill", "uphill", ("m += (1 - self.beta1)", "m -= (1 - self.beta1)")),
    adam(
        "not in place",
        "nothing moved",
        ("p -= self.learning_rate * direction", "p = p - self.learning_rate * direction"),
    ),
    adam("forgets the root", "wrong", ("np.sqrt(v_hat)", "v_hat")),
    adam(
        "spoils g",
        "changed its argument gradients",
        (
            "m *= self.beta1\n",
            "g *= 2\n        g /= 2\n        g += 1e-12\n        m *= self.beta1\n",
        ),
    ),
    adam("learned by heart", "wrong", ("p -= self.learning_rate * direction", "p[...] = 1.0")),
)
SIZES = "size(claim - numeric) <= 1e-6 * (size(claim) + size(numeric))"
QUESTION_5 = (
    find("absolute tolerance", "1e-8", (SIZES, "size(claim - numeric) <= 1e-6")),
    find("tolerance of one percent", "one part in a thousand", ("1e-6", "1e-2")),
    find("tolerance below rounding", "wrongly accused", ("1e-6", "1e-16")),
    find("lets NaN pass", "NaN", (f"not {SIZES}", SIZES.replace("<=", ">"))),
    find(
        "divides by zero",
        "exactly zero",
        (SIZES, "size(claim - numeric) / (size(claim) + size(numeric)) <= 1e-6"),
    ),
    find("g of ones", "g of ones", ("rng.standard_normal(y.shape)", "np.ones(y.shape)")),
    find(
        "never looks at the input's gradient",
        "hands down",
        (
            'enumerate(zip(["x", *parameters], claims, strict=True)):',
            'list(enumerate(zip(["x", *parameters], claims, strict=True)))[1:]:',
        ),
    ),
    find(
        "every layer at the network's input", "shape|matmul|wrong|within", ("        x = y\n", "")
    ),
    find("all layers named", "wrongly accused", (f"if not {SIZES}:", "if True:")),
    find("learned by heart", "wrongly accused", ("return faults", 'return ["gate.x"]')),
    find("names no layer", "missed 'high.w'", ('f"{name}.{key}"', "key")),
    mend(
        "still the old line", "road through the shares is missing", ("g * s + g_a @ w.T", "g * s")
    ),
    mend("only the new road", "only the road", ("g * s + g_a @ w.T", "g_a @ w.T")),
    mend("transposed", "mixed up", ("g_a @ w.T", "g_a @ w")),
    mend("sign", r"x\[", ("g * s + g_a", "g * s - g_a")),
    mend("bias averaged", "batch", ("g_a.sum(axis=0)", "g_a.mean(axis=0)")),
    mend("forgets b", "3 values", (", g_a.sum(axis=0)", "")),
    Mutant(
        "a difference quotient",
        "q5-gate-backward",
        (),
        ("q5-check-mend",),
        "values are wrong",
        """def mended_gate_backward(g, cache):
    x, w, s = cache["x"], cache["w"], cache["s"]
    b = (np.log(s / (1 - s)) - x @ w)[0]
    return tuple(gradcheck.numeric_gradient(lambda *a: np.sum(g * gate(*a)[0]), (x, w, b)))
""",
    ),
)
MUTANTS = QUESTION_1 + QUESTION_2 + QUESTION_3 + QUESTION_4 + QUESTION_5

EQUIVALENT = {
    "def forward(self, x, training=False):": "an affine layer does the same in training and testing",
    "def backward(self, g, *, input_gradient=False):": "the request may be ignored",
    "rng, faults, size = (np.random.default_rng(1), [], np.linalg.norm)": "any random g will do",
    "for i, (key, claim) in enumerate(zip(['x', *parameters], claims, strict=False)):": (
        "a backward returns one gradient for each argument"
    ),
}


def cheat(name, cell, loses, answer):
    """Return an answer that calls the library; in the sandbox the body it calls is withheld."""
    return Mutant(name, cell, (), loses, "withheld", answer)


CHEATS = (
    cheat(
        "the library's layer",
        "q1-affine",
        ("q1-check",),
        """class Affine(manual.Affine):
    def __init__(self, w, b):
        self.w, self.b = w, b
""",
    ),
    cheat(
        "the library's pair in the library's layer",
        "q1-affine",
        ("q1-check",),
        """class Affine(manual.Layer):
    def __init__(self, w, b):
        self.w, self.b = w, b

    def compute(self, x, training):
        return manual.affine(x, self.w.value, self.b.value)

    def gradients(self, g, cache):
        return manual.affine_backward(g, cache)
""",
    ),
    cheat(
        "the library's container",
        "q2-chain",
        ("q2-check",),
        "class Chain(manual.Sequential):\n    pass\n",
    ),
    cheat(
        "the library's layer",
        "q3-batch-norm",
        ("q3-check-statistics", "q3-check-gradients"),
        """class BatchNorm(manual.BatchNorm):
    def __init__(self, features, momentum=0.1, epsilon=1e-5):
        super().__init__(features, momentum, epsilon, dtype=np.float64)
""",
    ),
    cheat(
        "the library's rule",
        "q4-momentum",
        ("q4-check-momentum",),
        """class Momentum(manual.SGD):
    def __init__(self, parameters, learning_rate, momentum=0.9):
        super().__init__(parameters, learning_rate, momentum)
""",
    ),
    cheat(
        "the library's rule, and the decay",
        "q4-adam",
        ("q4-check-adam",),
        """class Adam(manual.Adam):
    def __init__(self, parameters, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8,
                 weight_decay=0.0):
        super().__init__(parameters, learning_rate, beta1, beta2, epsilon)
        self.weight_decay = weight_decay

    def update(self, p, g, m, v):
        shrink = self.learning_rate * self.weight_decay * p
        super().update(p, g, m, v)
        p -= shrink
""",
    ),
)
