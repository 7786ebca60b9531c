"""Notebooks run from top to bottom, in tiny sizes, and are committed without outputs."""

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


# Each compiles several programs: a minute and more.
SLOW = {"ai_economist_gtb", "find"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(
    params=[
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def notebook_to_run(request):
    return nbformat.read(request.param, as_version=4)


def images_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output for output in outputs if "image/png" in output.get("data", {})]


def test_notebook_runs_and_shows_its_figures(notebook_to_run, tmp_path, monkeypatch):
    notebook = notebook_to_run
    monkeypatch.setenv("AI_ECON_NOTEBOOK_SMOKE", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws inline
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=1200, resources=resources)
    client.execute()
    assert len(images_of(notebook)) >= 4


def test_notebook_is_committed_without_outputs_and_opens_in_colab(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert "colab.research.google.com" in notebook.cells[0].source
    assert "%pip install" in code[0].source
