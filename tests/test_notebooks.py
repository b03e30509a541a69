"""Notebooks hold prose and short calls; logic belongs to the package."""

import ast
from pathlib import Path

import nbformat
import pytest

from lresnet_utils.run import STAGES

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
BANNED = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.For,
    ast.While,
    ast.If,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
    ast.GeneratorExp,
    ast.Try,
)


@pytest.fixture(params=STAGES)
def notebook(request):
    return nbformat.read(NOTEBOOKS / f"{request.param}.ipynb", as_version=4)


def test_there_is_one_notebook_per_stage():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(STAGES)


def test_stored_without_outputs_and_valid(notebook):
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_cells_are_short_calls(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip()]
            # The report's language stands beside a notebook's own ten parameters.
            assert len([line for line in lines if not line.startswith("language:")]) <= 10
            for node in ast.walk(ast.parse(cell.source)):
                assert not isinstance(node, BANNED), ast.unparse(node)


def test_it_tells_a_story(notebook):
    """One title, prose before code, and the parameters as the first code cell."""
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    first_code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first_code.metadata.tags[0] == "parameters"
    headings = [
        line
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    assert sum(line.startswith("# ") for line in headings) == 1
    assert headings[0].startswith("# ")
