"""One notebook in a kernel of its own."""

from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lresnet_utils.executor import Task, execute
from lresnet_utils.plan import Job


@pytest.mark.parametrize(
    ("alone", "environment", "policy"),
    [
        (False, {}, "PASSIVE"),
        (False, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        (True, {}, "None"),
        (True, {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
    ],
)
def test_threads_wait_without_spinning_in_all_notebooks_but_timed_ones(
    tmp_path, monkeypatch, alone, environment, policy
):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cell = new_code_cell("import os\nprint(os.environ.get('OMP_WAIT_POLICY'))")
    node = new_notebook(cells=[cell])
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
    notebook = tmp_path / "n.ipynb"
    nbformat.write(node, notebook)
    output = tmp_path / "run" / "1_export.ipynb"
    task = Task(Job("1_export", 4), notebook, output, {}, alone, environment, tmp_path)
    # In a thread of its own, as runs do: other tests leave an event loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(execute, task).result()
    assert done.failure is None
    (cell,) = nbformat.read(output, 4).cells
    assert cell.outputs[0].text.strip() == policy
