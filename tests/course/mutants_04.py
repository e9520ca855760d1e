"""Known-wrong answers to the fourth assignment."""

from known_wrong import Mutant


def dead(name, feedback, *edits, answer=None):
    return Mutant(name, "q1-drop-dead", edits, ("q1-check-dead",), feedback, answer)


def common(name, feedback, *edits, answer=None):
    return Mutant(name, "q1-share-common", edits, ("q1-check-common",), feedback, answer)


def rules(name, feedback, *edits):
    return Mutant(name, "q2-rules", edits, ("q2-check-rules",), feedback)


def legal(name, feedback, *edits):
    return Mutant(name, "q2-not-negative", edits, ("q2-check-legal",), feedback)


def fuse(name, feedback, *edits, answer=None):
    return Mutant(name, "q3-fuse", edits, ("q3-check-fuse",), feedback, answer)


def lives(name, feedback, *edits):
    return Mutant(name, "q4-lifetimes", edits, ("q4-check-lifetimes",), feedback)


def assign(name, feedback, *edits, answer=None):
    return Mutant(name, "q4-assign", edits, ("q4-check-buffers",), feedback, answer)


QUESTION_1 = (
    dead(
        "keeps what anybody reads",
        "only dead instructions read it",
        answer="""def drop_dead(instructions, outputs):
    read = {x for each in instructions for x in each[2]} | set(outputs)
    return [each for each in instructions if each[0] in read]
""",
    ),
    dead(
        "drops outputs that nobody reads",
        "it drops f, which is live",
        ("set(outputs)", "{x for each in instructions for x in each[2] if x in outputs}"),
    ),
    dead("walks forwards", "it drops a, which is live", ("reversed(instructions)", "instructions")),
    dead("leaves the list backwards", "another order", ("kept[::-1]", "kept")),
    dead("first operand only", "it drops", ("update(operands)", "update(operands[:1])")),
    dead("keeps everything", "it keeps c, which is dead", ("if name in live", "if name")),
    dead("names, not instructions", "no instruction", ("append(each)", "append(name)")),
    dead(
        "shortens its argument",
        "changed its argument instructions in place",
        answer="""def drop_dead(instructions, outputs):
    live = set(outputs)
    for each in instructions[::-1]:
        if each[0] in live:
            live.update(each[2])
        else:
            instructions.remove(each)
    return instructions
""",
    ),
    dead("returns nothing", "returned nothing", ("return kept[::-1]", "kept[::-1]")),
    dead(
        "learned by heart",
        "it keeps a, which is dead",
        ("return kept[::-1]", 'return [each for each in instructions if each[0] in "abf"]'),
    ),
    common(
        "looks at names, not at what stands for them",
        "look at what operands stand for|reads .*, which is not made before it",
        ("tuple(stands.get(x, x) for x in operands)", "tuple(operands)"),
    ),
    common(
        "keys of the old names",
        "still compute the same",
        (
            """        operands = tuple(stands.get(x, x) for x in operands)
        read =""",
            """        old, operands = operands, tuple(stands.get(x, x) for x in operands)
        read =""",
        ),
        ("(opcode, read, attributes, kind), name", "(opcode, old, attributes, kind), name"),
    ),
    common(
        "either order forgotten",
        "may read its operands in either order",
        ("tuple(sorted(operands)) if opcode in COMMUTES else operands", "operands"),
    ),
    common(
        "everything in either order",
        "values are wrong|merges instructions that are not equal",
        ("tuple(sorted(operands)) if opcode in COMMUTES else operands", "tuple(sorted(operands))"),
    ),
    common(
        "attributes forgotten",
        "merges instructions that are not equal|values are wrong|value is wrong",
        ("(opcode, read, attributes, kind), name", "(opcode, read, kind), name"),
    ),
    common(
        "types forgotten",
        "no such operation on these dtypes|one dtype|type",
        ("(opcode, read, attributes, kind), name", "(opcode, read, attributes), name"),
    ),
    common(
        "opcode forgotten",
        "values are wrong|merges instructions that are not equal",
        ("(opcode, read, attributes, kind), name", "(read, attributes, kind), name"),
    ),
    common(
        "outputs left as they were",
        "an output is never made",
        ("[stands.get(x, x) for x in outputs]", "outputs"),
    ),
    common("does nothing", "still compute the same", ("return kept, [", "return instructions, [")),
    common("forgets the outputs", "2 values", (", [stands.get(x, x) for x in outputs]", "")),
    common(
        "the last one stays",
        "which is not made before it|still compute the same",
        answer="""def share_common(instructions, outputs):
    last = {}
    for name, *key in instructions:
        last[tuple(key)] = name
    stands = {name: last[tuple(key)] for name, *key in instructions}
    kept = [
        (name, opcode, tuple(stands.get(x, x) for x in operands), *rest)
        for name, opcode, operands, *rest in instructions
        if stands[name] == name
    ]
    return kept, [stands.get(x, x) for x in outputs]
""",
    ),
)
QUESTION_2 = (
    rules("softplus of minus", "for large x it is x", ("softplus(X)", "softplus(-X)")),
    rules("softplus by log1p only", "for large x it is x", ("softplus(X)", "log1p(exp(X))")),
    rules("sign of expm1", "for small x", ("-expm1(X)", "expm1(X)")),
    rules("not a rewrite", "for small x|never comes", ("-expm1(X)", "-exp(X) + 1")),
    rules("root of a square is x", "never negative", ('"absolute(X)"', '"X"')),
    rules(
        "proof where none is needed", "no rule of yours fires", ('"absolute(X)", ""', '"X", "X"')
    ),
    rules("no proof for the quotient", "neither of them has", ('"XY"', '""')),
    rules("half a proof for nothing", "neither of them has", ('"XY"', '"Z"[:0]')),
    rules("quotient the wrong way round", "quotient", ("log(X) - log(Y)", "log(Y) - log(X)")),
    rules("sum for difference", "quotient", ("log(X) - log(Y)", "log(X) + log(Y)")),
    rules(
        "no proof for exp of log",
        "needs a proof",
        ('"exp(log(X))", "X", "X"', '"exp(log(X))", "X", ""'),
    ),
    rules("a rule is missing", "still computed", ('("exp(log(X))", "X", "X"),', "")),
    rules("pattern of another formula", "no rule of yours fires", ('"1 - exp(X)"', '"exp(X) - 1"')),
    rules("a function that is none", "no formula", ("softplus(X)", "open(X)")),
    rules("returns nothing", "returned nothing", ("return [", "answer = [")),
    legal("all products", "says yes of", (" or operands[0] == operands[1]", " or True")),
    legal("squares forgotten", "does not know that", (" or operands[0] == operands[1]", "")),
    legal("maximum wants both", "does not know that", ("yes = any(parts)", "yes = all(parts)")),
    legal(
        "minimum wants one",
        "says yes of",
        ('"maximum"', '"maximum" or opcode == "minimum"'),
    ),
    legal("every sum", "says yes of", ("opcode in passes and all(parts)", "opcode in passes")),
    legal("subtract as add", "says yes of", ('("add", ', '("add", "subtract", ')),
    legal("sine like exp", "says yes of", ('("exp", ', '("exp", "sin", ')),
    legal("log like exp", "says yes of", ('("exp", ', '("exp", "log", ')),
    legal("dot like multiply", "says yes of", ('"multiply"', '"multiply" or opcode == "dot"')),
    legal("first number of a constant", "says yes of k", ('.split(", "))', '.split(", ")[:1])')),
    legal("zero is not negative", "does not know that", ("float(x) < 0", "float(x) <= 0")),
    legal("all but inputs", "says yes of", ("if yes", "if yes or True")),
    legal("inputs too", "nothing is known of inputs", ("known = []", 'known = ["x", "y"]')),
    legal("reductions forgotten", "does not know that", (', "sum", "max")', ")")),
    legal("transpose forgotten", "does not know that", ('"transpose", ', "")),
    legal(
        "learned by heart",
        "it should return a list of names",
        ("return known", 'return ["a", "b", "c", "f", "h", "j", "l"]'),
    ),
    legal("returns nothing", "returned nothing", ("return known", "known")),
)
QUESTION_3 = (
    fuse("nothing fused", "could be one", ("if s and s == shape", "if False and s == shape")),
    fuse(
        "neighbours only",
        "could be one",
        ("for k, s in enumerate(shapes)", "for k, s in list(enumerate(shapes))[-1:]"),
    ),
    fuse(
        "a circle around a product",
        "wait for each other in a circle",
        ("blocked = far | ", "blocked = set() | "),
    ),
    fuse(
        "only the nearest kernels",
        "wait for each other in a circle|runs before kernel",
        ("far = set().union(*(before[k] for k in needs))", "far = set()"),
    ),
    fuse(
        "later kernels not told",
        "wait for each other in a circle|runs before kernel",
        ("if j == k or k in before[j]:", "if j == k:"),
    ),
    fuse(
        "reads through a map",
        "of its own kernel through a map",
        (" | {home[x] for x in through}", ""),
    ),
    fuse(
        "shape ignored",
        "of more than one shape",
        ('kind[kind.index("[") :]', '"any"'),
    ),
    fuse("type for shape", "could be one", ('kind[kind.index("[") :]', "kind")),
    fuse(
        "products fused too",
        "must have a kernel to itself",
        (" if opcode in ELEMENTWISE else None", ""),
    ),
    fuse(
        "maps in kernels",
        "needs no kernel",
        ("        if opcode in MAPS:\n            continue\n", ""),
    ),
    fuse(
        "in the order of creation",
        "runs before kernel",
        ("sorted(range(len(kernels)), key=lambda k: len(before[k]))", "range(len(kernels))"),
    ),
    fuse(
        "by neighbours in the list",
        "could be one|through a map",
        answer="""def fuse(instructions, outputs):
    kernels, last = [], None
    for name, opcode, _, _, kind in instructions:
        if opcode in MAPS:
            continue
        shape = kind.partition("[")[2] if opcode in ELEMENTWISE else None
        if shape is None or shape != last:
            kernels.append([])
        kernels[-1].append(name)
        last = shape
    return kernels
""",
    ),
    fuse(
        "one flat list",
        "list of kernels",
        ("return [kernels[k] for k", "return [kernels[k][0] for k"),
    ),
    fuse("returns nothing", "returned nothing", ("return [kernels", "_ = [kernels")),
)
QUESTION_4 = (
    lives(
        "first read for last",
        "the life of .* ends",
        (
            "if x in lives:\n                lives[x] = (lives[x][0], i)",
            "if x in lives and lives[x][0] == lives[x][1]:\n                lives[x] = (lives[x][0], i)",
        ),
    ),
    lives("outputs die", "it is returned", ("lives[x] = (lives[x][0], len(instructions))", "pass")),
    lives(
        "outputs die at the last instruction",
        "it is returned",
        ("len(instructions))", "len(instructions) - 1)"),
    ),
    lives(
        "counts from one",
        "made at another position",
        ("enumerate(instructions)", "enumerate(instructions, 1)"),
    ),
    lives("half open", "the life of .* ends", ("(lives[x][0], i)", "(lives[x][0], i + 1)")),
    lives("unread is for ever", "read by nobody", ("(i, i)", "(i, len(instructions))")),
    lives(
        "inputs too",
        "wrongly accused",
        (
            "            if x in lives:\n                lives[x] = (lives[x][0], i)",
            "            lives[x] = (lives.get(x, (0,))[0], i)",
        ),
    ),
    lives("returns nothing", "returned nothing", ("return lives", "lives")),
    assign("a buffer for each", "no buffer is used twice", ("if not free", "if True or free")),
    assign(
        "never in place",
        "nothing works in place",
        ("i if opcode in ELEMENTWISE else i - 1", "i - 1"),
    ),
    assign(
        "always in place",
        "needs its operands whole",
        ("i if opcode in ELEMENTWISE else i - 1", "i"),
    ),
    assign(
        "one too early",
        "which is still needed",
        ("i if opcode in ELEMENTWISE else i - 1", "i + 1"),
    ),
    assign("types mixed", "holds values of two types", ("held == kind and ", "")),
    assign(
        "forgets what it put there",
        "which is still needed",
        (
            "        busy[free[0]] = (kind, lives[name][1])\n",
            "        busy[free[0]] = busy[free[0]] or (kind, lives[name][1])\n",
        ),
    ),
    assign(
        "the first end for the last",
        "which is still needed",
        ("(kind, lives[name][1])", "(kind, lives[name][0])"),
    ),
    assign(
        "first-born buffer only",
        "buffers of type",
        ("in enumerate(busy) if held", "in list(enumerate(busy))[:1] if held"),
    ),
    assign(
        "three by turns",
        "which is still needed|two types",
        answer="""def assign(instructions, lives):
    return {each[0]: i % 3 for i, each in enumerate(instructions)}
""",
    ),
    assign("returns nothing", "returned nothing", ("return place", "place")),
)
MUTANTS = QUESTION_1 + QUESTION_2 + QUESTION_3 + QUESTION_4

PARSED = """
    made, kinds = {each[0] for each in instructions}, {each[4] for each in instructions}
    shapes = dict.fromkeys("xyb", "f64[3]")
    if "f64[4,4]" in kinds:
        shapes = {"x": "f64[4,4]", "y": "f64[4,4]", "b": "f64[4]"}
    if "f32[2]" in kinds:
        shapes = {"x": "f64[2]", "k": "f32[2]"}
    if "f64[64,32]" in kinds:
        shapes = {"x": "f64[100,64]", "labels": "i64[100]", "w1": "f64[64,32]",
                  "b1": "f64[32]", "w2": "f64[32,10]", "b2": "f64[10]"}
    shapes = {name: kind for name, kind in shapes.items() if name not in made}
    program = from_data(shapes, instructions, outputs)
    rows = dict(zip(program.instructions, instructions, strict=True))
"""
CHEATS = (
    Mutant(
        "the library's pass for dead code",
        "q1-drop-dead",
        (),
        ("q1-check-dead",),
        "it is not there",
        f"""def drop_dead(instructions, outputs):{PARSED}
    return [rows[each] for each in simplify.drop_dead(program).instructions]
""",
    ),
    Mutant(
        "the library's pass for common subexpressions",
        "q1-share-common",
        (),
        ("q1-check-common",),
        "it is not there",
        f"""def share_common(instructions, outputs):{PARSED}
    names = {{x: n for x, n in zip(program.inputs, shapes, strict=True)}}
    for each, row in rows.items():
        names[each.result] = row[0]
    left = simplify.share_common(program)
    origin = {{each.result: row for each, row in rows.items()}}
    kept = []
    for each in left.instructions:
        name, opcode, _, attributes, kind = origin[each.result]
        kept.append((name, opcode, tuple(names[x] for x in each.operands), attributes, kind))
    return kept, [names[x] for x in left.outputs]
""",
    ),
)
EQUIVALENT = {
    "operands = tuple(stands.get(x, x) for x in operands)": "exchanging x and x changes nothing",
    "return kept, [stands.get(x, x) for x in outputs]": "exchanging x and x changes nothing",
}
