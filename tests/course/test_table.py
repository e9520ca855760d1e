"""The table of `workbench grade`, in terminals of several widths."""

import io

from rich.console import Console

from workbench.course.grading import table
from workbench.course.results import Row

VERDICTS = {"q1-check-gradient": "pass", "q1-check-step": "timeout", "q2-check": "fail"}


def rows(student, isolation="bubblewrap"):
    return [Row(student, "a", check, verdict, 2.0 * (verdict == "pass"), 2.0, isolation=isolation)
            for check, verdict in VERDICTS.items()]  # fmt: skip


def shown(width, *students, **options):
    console = Console(width=width, file=io.StringIO())
    console.print(table([row for each in students for row in rows(each, **options)], "a"))
    return console.file.getvalue()


def test_a_wide_terminal_has_a_column_for_each_check():
    text = shown(80, "ada")
    assert [line.split() for line in text.splitlines() if "gradient" in line] == [
        ["student", "gradient", "step", "q2", "points", "time"]
    ]
    assert "ada 2 timeout fail 2 of 6 0.0 s" in " ".join(text.split())


def test_a_narrow_terminal_has_a_column_for_each_question_and_signs():
    text = " ".join(shown(45, "ada").split())
    assert "student q1 q2 points time" in text
    assert "ada 2 ∞ ✗ 2 of 6 0.0 s" in text
    assert "∞ timeout ✗ fail" in text


def test_names_from_disk_neither_widen_the_table_nor_reach_the_terminal():
    text = shown(80, "\x1b[31m" + "x" * 100)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_unisolated_is_said_on_every_line():
    assert shown(80, "ada", "emmy", isolation="UNISOLATED").count("UNISOLATED") == 2
    assert "isolation" not in shown(80, "ada")
