"""Every chapter is stored clean, says what it must, and runs from top to bottom."""

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NOTEBOOKS = [*CHAPTERS, *sorted((ROOT / "solutions").glob("*/*.ipynb")),
             *sorted((ROOT / "exercises").glob("*/*.ipynb"))]  # fmt: skip
ERAS = ["manual", "symbolic", "dynamic", "functional"]


def name(path):
    return path.stem


def read(path):
    return nbformat.read(path, as_version=4)


def test_there_is_an_opening_chapter_and_one_for_each_era():
    assert [path.name[:2] for path in CHAPTERS] == ["00", "01", "02", "03", "04"]
    for era, path in zip(ERAS, CHAPTERS[1:], strict=True):
        assert f"workbench.{era}" in path.read_text() or f"import {era}" in path.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_is_valid_and_stored_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_a_chapter_asserts_predicts_and_interacts(path):
    cells = read(path).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown").lower()
    assert code.count("assert ") >= 5
    assert "predict" in prose
    assert "widget" in code


@pytest.mark.slow
@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_a_chapter_runs_from_top_to_bottom(path):
    from nbclient import NotebookClient

    notebook = read(path)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3",
                            resources={"metadata": {"path": str(path.parent)}})  # fmt: skip
    client.execute()
    # An error inside a widget's callback is shown, not raised; it counts all the same.
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "Traceback" not in str(output.get("text", ""))
