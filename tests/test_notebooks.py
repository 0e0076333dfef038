"""Every notebook runs from its first cell to its last."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LONG = {"02_which_part_to_distill", "03_hyperparameter_study", "04_better_decompositions"}
"""Those whose trainings CI has no time for; their jobs are tested small, in `test_experiment.py`, `test_studies.py`
and `test_improve.py`."""

PUBLIC = {"optimizers", "programs", "programs.lms", "programs.tasks"}
"""Where the names stand that are documented; see `docs/api/`."""

SHORTENED = {"01_quickstart": {"min_steps=100": "max_steps=5", " test=16)": " test=4),\n    training=TrainingSpec(max_steps=5)"}}
"""What is changed in a notebook so that CI has time for it: numbers alone."""


def marked(path):
    return pytest.param(path, id=path.stem, marks=pytest.mark.long if path.stem in LONG else pytest.mark.slow)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("path", map(marked, NOTEBOOKS))
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTART_FOLDER", str(tmp_path))
    monkeypatch.setenv("QUICKSTART_TRIALS", "2")
    notebook = nbformat.read(path, as_version=4)
    for text, shorter in SHORTENED.get(path.stem, {}).items():
        assert sum(text in cell.source for cell in notebook.cells) == 1, text
        for cell in notebook.cells:
            cell.source = cell.source.replace(text, shorter)
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    results = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in results if output.output_type == "error" or output.get("name") == "stderr"]
    # However long a job is, its progress is one output.
    assert all(sum(output.output_type == "display_data" for output in cell.get("outputs", [])) <= 2 for cell in notebook.cells)
    assert any("image/png" in output.get("data", {}) for output in results)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_story_and_shows_no_warning(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].source.startswith("# ") and all(word in cells[0].source for word in ("**At the end you will know**", "**It takes**"))
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr" or "Warning" in output.get("text", "")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_everyone_may_import_and_draws_it(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    imported = {
        node.module for cell in cells for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert {name for name in imported if name.startswith(("optimizers", "programs"))} <= PUBLIC
    shown = [text for cell in cells for output in cell.outputs for text in output.get("data", {}).values() if isinstance(text, str)]
    assert shown and not [text for text in shown if " object at 0x" in text or "<rich." in text or "<IPython." in text]


def test_notebooks_exist():
    assert {path.stem for path in NOTEBOOKS} > LONG
