"""Notebooks hold prose and short calls; logic belongs to the package."""

import ast
import subprocess
import sys
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
    ast.AugAssign,
    ast.Starred,
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
    """An argument may have a line of its own, and a cell shows what one call gives."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            lines = [ast.unparse(statement) for statement in tree.body]
            # The report's language stands beside a notebook's own ten parameters.
            assert len([line for line in lines if not line.startswith("language:")]) <= 10
            calls = [node for node in tree.body if isinstance(node, ast.Expr)]
            shown = [ast.unparse(node) for node in calls]
            assert len([call for call in shown if call != "use_language(language)"]) <= 1, shown
            for node in ast.walk(tree):
                assert not isinstance(node, BANNED), ast.unparse(node)
                # Two stars in a call would be arguments that the reader has to look for.
                assert not (isinstance(node, ast.keyword) and node.arg is None)


def test_kernels_import_no_more_than_they_use():
    """PyTorch, or the checks of notebook files, would cost each of them seconds."""
    calls = [
        line
        for stage in STAGES
        if stage != "1_export"
        for cell in nbformat.read(NOTEBOOKS / f"{stage}.ipynb", as_version=4).cells
        for line in cell.source.splitlines()
        if cell.cell_type == "code" and line.startswith("from ")
    ]
    told = "print(sorted({'torch', 'nbformat', 'papermill'} & set(sys.modules)))"
    code = "\n".join(["import sys", *calls, told])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(calls) > 20
    assert done.stdout == "[]\n"


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
