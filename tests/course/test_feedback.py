"""The page that a student receives."""

import html
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("jinja2", reason='needs pip install ".[lab]"')

from workbench.course.feedback import feedback_page, write_feedback
from workbench.course.notebooks import Assignment, Cell
from workbench.course.results import VERDICTS, Row
from workbench.errors import DataError

HINTS = "<details><summary>Hint 1: where `x` begins</summary>The answer is 42.</details>"
ASSIGNMENT = Assignment(
    "sums",
    (
        Cell("opening", "markdown", "# Sums\n\nWords."),
        Cell("q1-task", "markdown", "## Question 1.  Adding `up`\n\n# not this"),
        Cell("q1-hints", "markdown", HINTS),
        Cell("q1-total", "answer", "return a + b  # SOLUTION"),
        Cell("q1-check-total", "check", "assert total(40, 2) == 42  # HIDDEN", 3.0),
        Cell("q1-step-task", "markdown", "### How small is small?"),
        Cell("q1-step-hints", "markdown", "<details><summary>Hint 1: eps</summary></details>"),
        Cell("q1-check-step", "check", "assert step  # HIDDEN", 2.0),
        Cell("q2-task", "markdown", "## Question 2.  Why"),
        Cell("q2-why", "manual", "MARKING GUIDE", 2.0),
    ),
)


def row(question="q1-check-total", verdict="pass", feedback="", student="ada", **more):
    most = {"q1-check-total": 3.0, "q1-check-step": 2.0}[question]
    return Row(student, "sums", question, verdict, most if verdict == "pass" else 0.0, most,
               feedback, 0.25, **more)  # fmt: skip


class Text(HTMLParser):
    """Tags, and text outside of styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.style = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        self.text += "" if self.style else data


def test_page_says_what_passed_and_what_did_not():
    rows = [row("q1-check-step", "fail", "best_step: too large\n  fix: use eps"), row()]
    page = Text(feedback_page(rows, ASSIGNMENT))
    text = " ".join(page.text.split())
    assert "Sums" in text
    assert "3 of 5" in text
    assert "1 of 2 passed" in text
    assert text.index("Question 1. Adding up") < text.index("Question 1. Adding up · How small")
    assert "✓ pass" in text
    assert "✗ fail" in text
    assert "best_step: too large fix: use eps" in text
    assert "0.25 s" in text
    assert "Question 2. Why" in text
    assert "up to 2" in text


def test_hints_are_those_of_the_question_that_was_lost():
    lost = Text(feedback_page([row(verdict="fail"), row("q1-check-step")], ASSIGNMENT)).text
    assert "Hint 1: where x begins" in lost
    assert "Hint 1: eps" not in lost
    assert "Hint" not in Text(feedback_page([row()], ASSIGNMENT)).text


def test_nothing_of_the_checks_the_solution_or_the_hints_is_told():
    page = feedback_page([row(verdict="fail"), row("q1-check-step", "timeout")], ASSIGNMENT)
    for secret in "HIDDEN", "SOLUTION", "MARKING", "42", "assert":
        assert secret not in page


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_symbol_and_its_advice(verdict):
    page = Text(feedback_page([row(verdict=verdict)], ASSIGNMENT))
    (shown,) = (a for tag, a in page.tags if tag == "span" and a.get("class") == "verdict"
                and a.get("title"))  # fmt: skip
    assert shown["title"] == VERDICTS[verdict]
    found = re.search(rf"(\S) {verdict}\b", page.text)
    assert found
    assert found[1] in "✓✗∞■▲!?"
    assert ("Next." in page.text) == (verdict != "pass")


def test_verdicts_differ_by_symbol_not_by_colour_alone():
    pages = [Text(feedback_page([row(verdict=each)], ASSIGNMENT)).text for each in VERDICTS]
    either = "|".join(VERDICTS)
    symbols = {re.search(rf"(\S) (?:{either})\b", page)[1] for page in pages}
    assert len(symbols) == len(VERDICTS)


HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></section><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "\x1b]0;title\x07\x1b[2J\x00\x08 text",
    "\u202egnp.exe",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text):
    page = feedback_page([row(verdict="fail", feedback=text, student=text)], ASSIGNMENT)
    page.encode("utf-8")
    parsed = Text(page)
    assert {tag for tag, _ in parsed.tags} <= {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "bdi", "div",
        "b", "span", "i", "main", "section", "pre", "ul", "li", "footer",
    }  # fmt: skip
    assert not any(name.startswith("on") or name in ("src", "href")
                   for _, attributes in parsed.tags for name in attributes)  # fmt: skip
    assert not set("\x1b\x00\x07\x08\u202e\ud800") & set(html.unescape(page))
    if "7 * 7" in text:
        assert "{{ 7 * 7 }}" in parsed.text


def test_ten_megabytes_become_a_page_that_opens():
    page = feedback_page([row(verdict="fail", feedback="<" * 10_000_000)], ASSIGNMENT)
    assert len(page) < 200_000
    assert "characters left out" in page


def test_page_needs_nothing_from_elsewhere():
    page = feedback_page([row()], ASSIGNMENT)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_unisolated_run_is_said():
    assert "UNISOLATED" in feedback_page([row(isolation="UNISOLATED")], ASSIGNMENT)
    assert "UNISOLATED" not in feedback_page([row(isolation="bubblewrap")], ASSIGNMENT)


def test_each_student_has_a_page_of_their_own(tmp_path):
    rows = [row(student="ada"), row(student="Zoë 学生", verdict="fail", feedback="yours alone")]
    paths = write_feedback(rows, ASSIGNMENT, tmp_path)
    assert paths == [tmp_path / each / "sums" / "sums.html" for each in ("Zoë 学生", "ada")]
    zoe, ada = (path.read_text(encoding="utf-8") for path in paths)
    assert "yours alone" in zoe
    assert "ada" not in Text(zoe).text
    assert "yours alone" not in ada
    assert "Zoë" not in ada


def test_rows_of_two_students_are_refused():
    with pytest.raises(DataError, match="for one student"):
        feedback_page([row(student="ada"), row(student="bob")], ASSIGNMENT)
    with pytest.raises(DataError, match="for one student"):
        feedback_page([], ASSIGNMENT)


@pytest.mark.parametrize("student", ["..", "a/b", ""])
def test_name_that_is_no_folder_is_refused(tmp_path, student):
    with pytest.raises(DataError, match="cannot be the name"):
        write_feedback([row(student=student)], ASSIGNMENT, tmp_path / "feedback")
    assert list(tmp_path.iterdir()) == []
