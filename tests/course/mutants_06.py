"""Known-wrong answers to the sixth assignment."""

from known_wrong import Mutant

TREE, CHAIN = "q1-check-tree", "q1-check-chain"


def tree(name, feedback, *edits, loses=(TREE,)):
    return Mutant(name, "q1-tree-net", edits, loses, feedback)


def early(name, feedback, *edits):
    return Mutant(name, "q2-early-exit", edits, ("q2-check",), feedback)


def depth(name, feedback, *edits):
    return Mutant(name, "q3-plan-by-depth", edits, ("q3-check",), feedback)


def agenda(name, feedback, *edits):
    return Mutant(name, "q4-plan-by-agenda", edits, ("q4-check",), feedback)


def execute(name, feedback, *edits):
    return Mutant(name, "q5-execute", edits, ("q5-check",), feedback)


def sizes(name, feedback, *edits):
    return Mutant(name, "q6-best-sizes", edits, ("q6-check",), feedback)


WALK = """        states = []
        for node in tree.postorder():
            if node.op == "leaf":
                z = self.leaf(np.array([[node.value]]))
            else:
                right, left = states.pop(), states.pop()
                z = self.join[node.op](dynamic.ops.concatenate([left, right], axis=1))
            states.append(dynamic.ops.tanh(z))
        return self.value(states.pop())"""
RECURSIVE = """        return self.value(self.state(tree))

    def state(self, node):
        if node.op == "leaf":
            return dynamic.ops.tanh(self.leaf(np.array([[node.value]])))
        both = [self.state(node.left), self.state(node.right)]
        return dynamic.ops.tanh(self.join[node.op](dynamic.ops.concatenate(both, axis=1)))"""
TAKEN = "right, left = states.pop(), states.pop()"
BY_HEIGHT = """        states = {}
        for node in tree.postorder():
            if node.op == "leaf":
                z = self.leaf(np.array([[node.value]]))
            else:
                both = [states[node.left.depth], states[node.right.depth]]
                z = self.join[node.op](dynamic.ops.concatenate(both, axis=1))
            states[node.depth] = dynamic.ops.tanh(z)
        return self.value(states[tree.depth])"""
QUESTION_1 = (
    tree(
        "left and right swapped",
        "changed places",
        (TAKEN, "left, right = states.pop(), states.pop()"),
    ),
    tree(
        "one operation for all", r"another operation, \+", ("self.join[node.op]", 'self.join["+"]')
    ),
    tree(
        "no tanh at a leaf",
        "tanh of a leaf",
        (
            "states.append(dynamic.ops.tanh(z))",
            'states.append(z if node.op == "leaf" else dynamic.ops.tanh(z))',
        ),
        loses=(TREE, CHAIN),
    ),
    tree(
        "no tanh at an operation",
        "tanh of an operation|y of a",
        (
            "states.append(dynamic.ops.tanh(z))",
            'states.append(dynamic.ops.tanh(z) if node.op == "leaf" else z)',
        ),
        loses=(TREE, CHAIN),
    ),
    tree(
        "no last layer",
        "self.value comes after",
        ("return self.value(states.pop())", "return states.pop()"),
        loses=(TREE, CHAIN),
    ),
    tree(
        "leaves the tape",
        "gradient|node|tensor",
        ("states.append(dynamic.ops.tanh(z))", "states.append(dynamic.tensor(np.tanh(z.data)))"),
    ),
    tree(
        "reads the answer from the tree",
        "read from the tree|y of a",
        (WALK, "        return self.value(dynamic.ops.tanh(self.leaf(np.array([[tree.value]]))))"),
        loses=(TREE, CHAIN),
    ),
    tree("calls itself", "recursion", (WALK, RECURSIVE), loses=(CHAIN,)),
    tree(
        "calls itself on the right",
        "recursion",
        (
            WALK,
            RECURSIVE.replace(
                "both = [self.state(node.left), self.state(node.right)]",
                "both = [self.state(each) for each in (node.left, node.right)]",
            ),
        ),
        loses=(CHAIN,),
    ),
    tree("one state for each depth", "y of", (WALK, BY_HEIGHT), loses=(TREE, CHAIN)),
    tree(
        "returns nothing",
        "returned nothing",
        ("return self.value(states.pop())", "self.value(states.pop())"),
        loses=(TREE, CHAIN),
    ),
)
DECIDES = "leave = (confidence >= self.threshold) | (t == self.steps)"
BACK = "return dynamic.ops.concatenate(pieces, axis=0)[back], exits"
EVERYBODY = """gone = np.zeros((len(x) - len(h), h.shape[1]))
            whole = dynamic.ops.concatenate([h, gone], axis=0)
            h = dynamic.ops.tanh(h + self.step(whole)[: len(h)])"""
QUESTION_2 = (
    early(
        "more than the threshold", "with >=, not with >", (">= self.threshold", "> self.threshold")
    ),
    early(
        "logits for probabilities",
        "compare probabilities",
        ("dynamic.ops.softmax(z, axis=1).data", "z.data"),
    ),
    early("the first probability", "not the first", (".data.max(axis=1)", ".data[:, 0]")),
    early(
        "all together",
        "decide for itself",
        (
            DECIDES,
            "leave = np.full(len(h), bool((confidence >= self.threshold).all() or t == self.steps))",
        ),
    ),
    early(
        "as soon as one is sure",
        "exits",
        (
            DECIDES,
            "leave = np.full(len(h), bool((confidence >= self.threshold).any() or t == self.steps))",
        ),
    ),
    early(
        "in the order of leaving",
        "order of leaving",
        (BACK, "return dynamic.ops.concatenate(pieces, axis=0), exits"),
    ),
    early("counts from one", "count t from 0", ("= t\n", "= t + 1\n")),
    early("one step too few", "exits", ("t == self.steps)", "t == self.steps - 1)")),
    early(
        "never in time", "exits", ("(confidence >= self.threshold) | ", "np.zeros(len(h), bool) | ")
    ),
    early(
        "everybody computes", "all the same", ("h = dynamic.ops.tanh(h + self.step(h))", EVERYBODY)
    ),
    early(
        "leaves the tape",
        "gradient|tensor",
        ("pieces.append(z[leave])", "pieces.append(dynamic.tensor(z.data[leave]))"),
    ),
    early("no memory of the state", "exits|logits", ("h + self.step(h)", "self.step(h)")),
    early(
        "forgets the exits",
        "2 values|tuple|unpack|returns",
        (BACK, "return dynamic.ops.concatenate(pieces, axis=0)[back]"),
    ),
    early(
        "learned by heart",
        "logits|exits",
        (BACK, "return dynamic.ops.concatenate(pieces, axis=0)[back], np.array([3, 0, 1, 1])"),
    ),
)
DEPTH = "depths.append(1 + max((depths[each] for each in below), default=-1))"
ORDER = "return [launches[key] for key in sorted(launches)]"
QUESTION_3 = (
    depth("the smallest depth", "too early|largest, not", ("1 + max(", "1 + min(")),
    depth("depth alone", "mixes signatures", ("(depths[-1], signature)", "(depths[-1], 0)")),
    depth("signature alone", "too early|needs call", ("(depths[-1], signature)", "(0, signature)")),
    depth(
        "signature before depth",
        "too early",
        ("(depths[-1], signature)", "(signature, depths[-1])"),
    ),
    depth(
        "in order of appearance",
        "number of their signature|launch",
        (ORDER, "return [launches[key] for key in sorted(launches, key=lambda key: key[0])]"),
    ),
    depth(
        "one by one",
        "nothing is batched",
        (ORDER, "return [[number] for number in range(len(needs))]"),
    ),
    depth("deepest first", "too early", ("sorted(launches)", "sorted(launches, reverse=True)")),
    depth(
        "numbers in descending order",
        "ascending",
        (ORDER, "return [launches[key][::-1] for key in sorted(launches)]"),
    ),
    depth(
        "only the first need",
        "too early|launch",
        (DEPTH, "depths.append(1 + depths[below[0]] if below else 0)"),
    ),
    depth(
        "a flat list",
        "not a list",
        (ORDER, "return [i for key in sorted(launches) for i in launches[key]]"),
    ),
    depth(
        "forgets the last depth",
        "in no launch",
        (ORDER, "return [launches[key] for key in sorted(launches)[:-1]]"),
    ),
    depth(
        "learned by heart",
        "in no launch|mixes|there is not|too early|launch",
        (ORDER, "return [[0, 2, 3], [1], [4], [5]]"),
    ),
    depth("returns nothing", "returned nothing", (ORDER, ORDER[7:])),
)
FIRST = "first = min((average[signatures[i]], signatures[i]) for i in ready)[1]"
AVERAGE = "average = {signature: sum(each) / len(each) for signature, each in by_signature.items()}"
LOOP = """    plan, ran = [], set()
    while len(ran) < len(needs):
        ready = [i for i, below in enumerate(needs) if i not in ran and ran.issuperset(below)]
        first = min((average[signatures[i]], signatures[i]) for i in ready)[1]
        plan.append([i for i in ready if signatures[i] == first])
        ran.update(plan[-1])
    return plan"""
WAITING = """        left = {}
        for i in range(len(needs)):
            if i not in ran:
                left.setdefault(signatures[i], []).append(depths[i])
        average = {signature: sum(each) / len(each) for signature, each in left.items()}
        first = min((average[signatures[i]], signatures[i]) for i in ready)[1]"""
LOOKING = """        ready = []
        for i, below in enumerate(needs):
            if i not in ran and (ran | set(ready)).issuperset(below):
                ready.append(i)
        """
BY_DEPTH = """    launches = {}
    for number, key in enumerate(zip(depths, signatures, strict=True)):
        launches.setdefault(key, []).append(number)
    return [launches[key] for key in sorted(launches)]"""
QUESTION_4 = (
    agenda("by depth", "lower average depth", (LOOP, BY_DEPTH)),
    agenda(
        "highest average first",
        "lower average depth",
        (FIRST, "first = min((-average[signatures[i]], signatures[i]) for i in ready)[1]"),
    ),
    agenda(
        "ties to the larger number",
        "tie goes to the smaller",
        (FIRST, "first = min((average[signatures[i]], -signatures[i]) for i in ready)[1] * -1"),
    ),
    agenda("average over what waits", "also those that have run", ("        " + FIRST, WAITING)),
    agenda(
        "the lowest depth of a ready call",
        "lower average depth",
        (FIRST, FIRST.replace("average[signatures[i]]", "depths[i]")),
    ),
    agenda(
        "the most calls",
        "lower average depth",
        (
            FIRST,
            FIRST.replace(
                "average[signatures[i]]", "-sum(signatures[k] == signatures[i] for k in ready)"
            ),
        ),
    ),
    agenda("the first that is ready", "launch", (FIRST, "first = signatures[ready[0]]")),
    agenda("the sum of depths", "launch", ("sum(each) / len(each)", "sum(each)")),
    agenda("the lowest depth of a signature", "launch", ("sum(each) / len(each)", "min(each)")),
    agenda("runs while it looks", "too early", ("        " + FIRST, LOOKING + FIRST)),
    agenda(
        "all that is ready",
        "mixes signatures",
        ("plan.append([i for i in ready if signatures[i] == first])", "plan.append(ready)"),
    ),
    agenda(
        "one call at a time",
        "launch",
        ("if signatures[i] == first])", "if signatures[i] == first][:1])"),
    ),
    agenda(
        "learned by heart",
        "in no launch|mixes|there is not|too early|launch",
        ("return plan", "return [[0, 2, 3], [4], [1, 5]]"),
    ),
)
STACKED = "stacked = [stack(list(column)) for column in zip(*rows, strict=True)]"
RUN = "y = run(calls[launch[0]][0], *stacked)"
PUT = "results[number] = y[place]"
ONE_BY_ONE = """kind = calls[launch[0]][0]
        y = [run(kind, *(stack([a]) for a in row))[0] for row in rows]"""
QUESTION_5 = (
    execute("one by one", "wrong number of times", (RUN, ONE_BY_ONE)),
    execute(
        "arguments swapped",
        "changed places",
        ("zip(*rows, strict=True)]", "[*zip(*rows, strict=True)][::-1]]"),
    ),
    execute("rows for columns", "wrong arguments", ("zip(*rows, strict=True)]", "rows]")),
    execute("a result for each place", "no result yet", (PUT, "results[place] = y[place]")),
    execute(
        "the row of its own number",
        "result of call",
        (PUT, "results[number] = y[number % len(launch)]"),
    ),
    execute(
        "sorted on the way",
        "result of call",
        ("for number in launch\n", "for number in sorted(launch)\n"),
    ),
    execute("all rows to each", "shape", (PUT, "results[number] = y")),
    execute(
        "the first result for all", "that is the result of call", (PUT, "results[number] = y[0]")
    ),
    execute(
        "in the order of the plan",
        "result of call",
        ("return results", "return [results[number] for launch in plan for number in launch]"),
    ),
    execute(
        "the last launch only",
        "one result a call",
        ("return results", "return results[-len(plan[-1]) :]"),
    ),
    execute(
        "reads the wrong neighbour",
        "no result yet",
        ("results[a] if isinstance(a, int)", "results[a - 1] if isinstance(a, int)"),
    ),
    execute(
        "leaves the tape",
        "tensor|gradient",
        (
            "y = run(calls",
            "stacked = [np.array(getattr(each, 'data', each)) for each in stacked]\n        y = run(calls",
        ),
    ),
    execute("returns nothing", "returned nothing", ("return results", "results")),
)
EXACT = """    sizes = sorted(set(lengths))
    upto = [sum(n <= size for n in lengths) for size in sizes]
    best = [(size * count, [size]) for size, count in zip(sizes, upto, strict=True)]
    for _ in range(min(graphs, len(sizes)) - 1):
        wider = []
        for j, size in enumerate(sizes):
            options = [
                (best[i][0] + size * (upto[j] - upto[i]), [*best[i][1], size]) for i in range(j)
            ]
            wider.append(min([best[j], *options]))
        best = wider
    return best[-1][1]"""
QUANTILES = """    row = sorted(lengths)
    return [row[-(-len(row) * (k + 1) // graphs) - 1] for k in range(graphs)]"""
QUESTION_6 = (
    sizes("equal numbers of examples", "equal numbers of examples", (EXACT, QUANTILES)),
    sizes(
        "equal distances",
        "equal distances",
        (EXACT, "    return [-(-max(lengths) * (k + 1) // graphs) for k in range(graphs)]"),
    ),
    sizes("the longest", "longest lengths", (EXACT, "    return sorted(set(lengths))[-graphs:]")),
    sizes("one for all", "one graph for all", (EXACT, "    return [max(lengths)]")),
    sizes("one for each", "too many sizes", (EXACT, "    return sorted(set(lengths))")),
    sizes(
        "nothing fits the longest",
        "fits nowhere",
        ("return best[-1][1]", "return best[-1][1][:-1] or [1]"),
    ),
    sizes(
        "counts no repetitions",
        "how often each length|too many steps",
        ("sum(n <= size for n in lengths)", "sum(n <= size for n in sizes)"),
    ),
    sizes(
        "one graph too few",
        "too many steps",
        ("min(graphs, len(sizes)) - 1", "min(graphs, len(sizes)) - 2"),
    ),
    sizes("one graph too many", "too many sizes", ("len(sizes)) - 1", "len(sizes))")),
    sizes(
        "greedy",
        "too many steps",
        (
            EXACT,
            """    chosen = [max(lengths)]
    for _ in range(graphs - 1):
        def cost(extra):
            return sum(min(s for s in [*chosen, extra] if s >= n) for n in lengths)
        chosen.append(min(sorted(set(lengths)), key=cost))
    return sorted(set(chosen))""",
        ),
    ),
    sizes("returns the cost too", "not a list of ints", ("return best[-1][1]", "return best[-1]")),
    sizes("learned by heart", "fits nowhere|too many", ("return best[-1][1]", "return [3, 10]")),
)
QUESTIONS = (QUESTION_1, QUESTION_2, QUESTION_3, QUESTION_4, QUESTION_5, QUESTION_6)
MUTANTS = tuple(mutant for question in QUESTIONS for mutant in question)

SHIFTED = "depths count from another number or by twos: their order, and that of averages, stays"
STRICT = "the lists have equal lengths"
EQUIVALENT = {
    "dynamic.nn.Linear(size, size, rng=rng, dtype=np.float64)": "swaps two equal arguments",
    "for t in range(self.steps + 2):": "at t == steps the last example leaves, and the loop ends",
    "for number, (signature, below) in enumerate(zip(signatures, needs, strict=False)):": STRICT,
    "for signature, below in zip(signatures, needs, strict=False):": STRICT,
    "stacked = [stack(list(column)) for column in zip(*rows, strict=False)]": STRICT,
    "best = [(size * count, [size]) for size, count in zip(sizes, upto, strict=False)]": STRICT,
    "depths.append(2 + max((depths[each] for each in below), default=-1))": SHIFTED,
    "depths.append(1 + max((depths[each] for each in below), default=1))": SHIFTED,
    "depths.append(1 + max((depths[each] for each in below), default=-2))": SHIFTED,
    "for _ in range(min(len(sizes), graphs) - 1):": "the smaller of two, in another order",
}

CHEATS = (
    Mutant(
        "the library's agenda",
        "q4-plan-by-agenda",
        (),
        ("q4-check",),
        "withheld",
        answer='''def plan_by_agenda(signatures, needs):
    """Return what the library's own agenda says."""
    from types import SimpleNamespace

    from workbench.dynamic.batching.groups import agenda

    class Group(SimpleNamespace):
        __hash__ = object.__hash__

        def sources(self):
            return self.needed

    groups = []
    for signature, below in zip(signatures, needs, strict=True):
        needed = {groups[k] for k in below}
        depth = 1 + max((each.depth for each in needed), default=-1)
        groups.append(Group(signature=signature, number=signature, depth=depth, order=[0],
                            needed=needed, place=len(groups)))
    return [sorted(group.place for group in launch) for launch in agenda(groups)]
''',
    ),
)
