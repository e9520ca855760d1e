"""Shared structure: a renamed copy is listed, work of one's own is not."""

import pytest

from workbench.course import similarity, syntax
from workbench.course.notebooks import Assignment, Cell
from workbench.course.similarity import SOLUTION, compare, similarity_page, write_similarity

pytest.importorskip("jinja2", reason='needs pip install ".[lab]"')

STUB = "def softmax_loss(scores, labels):\n    raise NotImplementedError()"
REFERENCE = """def softmax_loss(scores, labels):
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    rows = np.arange(len(labels))
    loss = (log_sum - shifted[rows, labels]).mean()
    probabilities = np.exp(shifted - log_sum[:, None])
    probabilities[rows, labels] -= 1
    return loss, probabilities / len(labels)
"""
ADA = '''def softmax_loss(scores, labels):
    """My own."""
    m, k = scores.shape
    one_hot = np.zeros((m, k))
    for i in range(m):
        one_hot[i, labels[i]] = 1.0
    top = np.amax(scores, 1).reshape(m, 1)
    e = np.exp(scores - top)
    z = e.sum(1).reshape(m, 1)
    p = e / z
    total = 0.0
    for i in range(m):
        total = total - np.log(p[i, labels[i]])
    return total / m, (p - one_hot) / m
'''
COPY = """# entirely different, surely
def softmax_loss(a, b):
    # first the shape
    rows, cols = a.shape

    target = np.zeros( (rows, cols) )
    for row in range(rows):
        target[row, b[row]] = 2.0   # changed
    biggest = np.amax(a, 3).reshape(rows, 7)
    numerators = np.exp(a - biggest)
    denominators = numerators.sum(9).reshape(rows, 1)
    q = numerators / denominators
    acc = 5.0
    for row in range(rows):
        acc = acc - np.log(q[row, b[row]])
    return acc / rows, (q - target) / rows
"""
BOB = """def softmax_loss(scores, labels):
    losses, grads = [], []
    for s, y in zip(scores, labels):
        c = max(s)
        exps = [math.exp(v - c) for v in s]
        probs = np.array(exps) / sum(exps)
        losses.append(-math.log(probs[y]))
        probs[y] -= 1
        grads.append(probs)
    n = float(len(losses))
    return sum(losses) / n, np.stack(grads) / n
"""
ASSIGNMENT = Assignment(
    "softmax",
    (
        Cell("q1-loss", "answer", REFERENCE),
        Cell("q1-more", "answer", "def more():\n    return 1"),
        Cell("q1-check", "check", "assert softmax_loss is not None", 2.0),
    ),
)
RELEASE = {"q1-loss": STUB, "q1-more": "def more():\n    raise NotImplementedError()"}


def run(**answers):
    return compare({name: {"q1-loss": text} for name, text in answers.items()},
                   ASSIGNMENT, RELEASE)  # fmt: skip


def names(report):
    return [{pair.one, pair.other} for pair in report.pairs]


def test_renamed_copy_is_listed_first_and_whole():
    report = run(ada=ADA, bob=BOB, eve=COPY)
    assert names(report) == [{"ada", "eve"}]
    (pair,) = report.pairs
    assert pair.fraction == 1.0
    assert pair.shared >= 15
    assert pair.lines[0]["q1-loss"] >= set(range(4, 14))
    assert pair.lines[1]["q1-loss"] >= set(range(6, 16))


def test_independent_answers_are_not_listed():
    assert run(ada=ADA, bob=BOB).pairs == []


def test_release_itself_is_not_listed():
    assert run(ada=STUB, bob=STUB, eve=STUB).pairs == []
    long = {"q1-loss": ADA}
    report = compare({"ada": long, "bob": long}, ASSIGNMENT, RELEASE | long)
    assert report.pairs == []


def test_copy_of_the_published_solution_is_listed():
    report = run(ada=ADA, eve=REFERENCE.replace("shifted", "moved"))
    assert names(report) == [{"eve", SOLUTION}]
    assert report.pairs[0].fraction == 1.0


def test_part_of_a_copy_moved_to_another_cell_is_found():
    half = COPY.split("\n")
    eve = {"q1-loss": "\n".join(half[:11]), "q1-more": "def f(a, b):\n" + "\n".join(half[11:])}
    report = compare({"ada": {"q1-loss": ADA}, "eve": eve}, ASSIGNMENT, RELEASE)
    assert names(report) == [{"ada", "eve"}]
    assert report.pairs[0].fraction > 0.5
    assert set(report.pairs[0].lines[1]) == {"q1-loss", "q1-more"}


def test_what_a_large_part_of_the_class_has_is_given():
    """The library forces a form on everybody; a copy of the rest stands out all the same."""
    forced = ADA.split("\n    e =")[0]
    ends = [
        "\n    while m:\n        m -= 1\n        k = [v ** m for v in one_hot if v is not top]\n"
        "    return k, np.dot(top, k)",
        "\n    try:\n        return np.linalg.solve(top, one_hot), {m: k}\n"
        "    except ValueError:\n        return top @ one_hot - m // k, None",
        "\n    value = top.sum() if m else np.prod(one_hot, axis=k)\n"
        "    return value.cumsum(), lambda x: x + value",
        "\n    with np.errstate(all='ignore'):\n        k = np.where(top > 1, one_hot, m)\n"
        "    return k[::-1], not k",
        "\n    assert m, k\n    return {(a, b) for a in top for b in one_hot}, max(m, *k)",
    ]
    answers = {f"s{i}": forced + end for i, end in enumerate(ends)}
    assert run(**answers).pairs == []
    copied = run(**answers, eve=(forced + ends[0]).replace("one_hot", "zeros"))
    assert names(copied) == [{"s0", "eve"}]


def test_magics_do_not_hide_an_answer():
    report = run(ada=ADA, eve="%matplotlib inline\n!ls\n" + COPY)
    assert names(report) == [{"ada", "eve"}]
    assert report.left_out == []


HOSTILE = {
    "no Python": "def f(:\n",
    "null": "x = 1\x00",
    "nested": "(" * 50_000,
    "deep": "-" * 90_000 + "1",
    "chain": "a" + ".b" * 40_000,
    "sum": "1" + "+1" * 45_000,
    "surrogate": "x = '\ud800'",
    "wide": "1\n" * 45_000,
    "large": "x = 1\n" * 2_000_000,
    "digits": "9" * 50_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_source_costs_nobody_else(kind):
    report = run(mallory=HOSTILE[kind], ada=ADA, eve=COPY)
    assert names(report) == [{"ada", "eve"}]
    assert {who for who, _, _ in report.left_out} <= {"mallory"}
    if kind in ("no Python", "nested", "large"):
        assert [who for who, _, _ in report.left_out] == ["mallory"]


def test_parser_that_dies_costs_one_answer(monkeypatch, tmp_path):
    parser = tmp_path / "parser.py"
    parser.write_text(
        "import os, runpy, sys, io\ntext = sys.stdin.read()\n"
        "if 'crash' in text: os._exit(139)\nsys.stdin = io.StringIO(text)\n"
        f"runpy.run_path({syntax.__file__!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(similarity.syntax, "__file__", str(parser))
    report = run(ada=ADA, mallory="crash = 1", eve=COPY)
    assert names(report) == [{"ada", "eve"}]
    assert report.left_out == [("mallory", "q1-loss", "the parser ended")]


def test_shape_forgets_names_and_numbers_but_not_the_library():
    assert syntax.shape("a = b + 1") == syntax.shape("x = y + 2")
    assert syntax.shape("a = b + 1") != syntax.shape("a = b - 1")
    assert syntax.shape("np.sum(a)") != syntax.shape("np.max(a)")
    assert syntax.shape("f(a, axis=0)") != syntax.shape("f(a, out=0)")
    assert syntax.shape("self.w = self.w + 1") == syntax.shape("this.v = this.v + 1")
    assert syntax.shape("def f(a: int) -> int:\n    return a") == [
        (kind, line) for kind, line in syntax.shape("def f(a):\n    return a")
    ]


def test_every_common_run_of_the_promised_length_is_found():
    length = syntax.LENGTH + syntax.WINDOW - 1
    lines = [f"v{i} = np.f{i}(v, {i}) + [{i}]" for i in range(40)]
    for begin in range(0, 30, 3):
        middle = lines[begin : begin + 4]
        one = ["q = {k: 1 for k in z}", *middle, "del q"]
        other = ["while z:\n    break", *middle, "raise q"]
        nodes = syntax.shape("\n".join(middle))
        assert len(nodes) > length
        first = {each[0] for each in syntax.fingerprints("\n".join(one))}
        assert first & {each[0] for each in syntax.fingerprints("\n".join(other))}


def test_page_shows_both_sides_and_runs_nothing(tmp_path):
    evil = COPY.replace("# changed", "</span><script>alert(1)</script>\x1b[31m # changed")
    evil = evil.replace("2.0   <", "2.0   # <")
    answers = {"<b>ada</b>": {"q1-loss": ADA}, "eve": {"q1-loss": evil},
               "mallory": {"q1-loss": "def f(:"}}  # fmt: skip
    path = tmp_path / "similarity.html"
    report = write_similarity(answers, ASSIGNMENT, RELEASE, path)
    page = path.read_text(encoding="utf-8")
    assert page == similarity_page(report, answers, ASSIGNMENT)
    assert "<script" not in page
    assert "<b>ada" not in page
    assert "\x1b" not in page
    assert "numerators = np.exp(a - biggest)" in page
    assert 'class="row shared"' in page
    assert "not Python: line 1" in page
    assert "100 %" in page
    for verdict in "cheat", "plagiar", "suspect", "guilty", "copied", "offen":
        assert verdict not in page.lower().replace(evil.lower(), "")


def test_page_of_nothing_says_so():
    report = run(ada=ADA, bob=BOB)
    assert "No pair shares enough" in similarity_page(report, {}, ASSIGNMENT)
