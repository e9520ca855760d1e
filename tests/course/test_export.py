"""CSV for learning-management systems: their columns, and cells that no spreadsheet runs."""

import csv
import io

import pytest

from workbench.course.export import FORMATS, table, write_csv
from workbench.course.gradebook import Score
from workbench.errors import UnknownNameError

SCORES = [
    Score("adalovelace_4711", 19.5, 25.0),
    Score("zoe", 0.0, 25.0, True, "Zoë", "学生, Jr.", "zoe@example.org"),
]


def read(text):
    return list(csv.reader(io.StringIO(text)))


def test_canvas_finds_its_columns():
    head, points, ada, zoe = read(table(SCORES, "gradients", "canvas", "Gradients (815)"))
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Gradients (815)"]
    assert "Points Possible" in points[0]
    assert points[5] == "25"
    assert ada == ["adalovelace", "4711", "", "", "", "19.5"]
    assert zoe == ["Zoë 学生, Jr.", "", "", "zoe", "", "0"]


def test_moodle_finds_its_columns():
    head, ada, zoe = read(table(SCORES, "gradients", "moodle"))
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(head)
    by_name = dict(zip(head, ada, strict=True))
    assert by_name["Identifier"] == "Participant 4711"
    assert by_name["Grade"] == "19.5"
    assert by_name["Maximum Grade"] == "25"
    assert dict(zip(head, zoe, strict=True))["Email address"] == "zoe@example.org"


def test_blackboard_finds_its_columns():
    column = "Gradients [Total Pts: 25 Score] |815"
    head, ada, zoe = read(table(SCORES, "gradients", "blackboard", column))
    assert head == ["Last Name", "First Name", "Username", column]
    assert ada == ["", "", "adalovelace_4711", "19.5"]
    assert zoe == ["学生, Jr.", "Zoë", "zoe", "0"]


def test_plain_says_who_waits_for_a_person():
    head, ada, zoe = read(table(SCORES, "gradients"))
    assert [dict(zip(head, each, strict=True))["waits_for_a_person"] for each in (ada, zoe)] == [
        "no",
        "yes",
    ]


def test_recorded_id_comes_before_the_one_in_the_name():
    score = Score("ada_1", 1.0, 2.0, lms_user_id="99")
    assert read(table([score], "a", "canvas"))[2][1] == "99"
    assert read(table([score], "a", "moodle"))[1][0] == "Participant 99"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1", " =1", "\r\n=1", "|calc"]
)
def test_no_cell_is_a_formula(form, name):
    hostile = Score(name, 1.0, 2.0, False, name, name, name, name)
    for line in read(table([hostile], name, form, name)):
        for cell in line:
            assert cell.lstrip("\t\r\n ")[:1] not in ("=", "+", "-", "@", "|")
            assert not any(each in cell for each in "\t\r\n")


def test_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="'canva'") as caught:
        table(SCORES, "gradients", "canva")
    assert "did you mean 'canvas'?" in str(caught.value)


def test_file_is_what_excel_reads_as_utf_8(tmp_path):
    path = write_csv(tmp_path / "marks.csv", SCORES, "gradients", "canvas")
    data = path.read_bytes()
    assert data.startswith("\ufeffStudent,ID".encode())
    assert data.count(b"\r\n") == 4
    assert "学生" in data.decode("utf-8-sig")
