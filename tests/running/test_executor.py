"""One notebook in a kernel of its own."""

from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lresnet_utils.run import RunFolder
from lresnet_utils.running.executor import NotebookTask, execute
from lresnet_utils.running.plan import Job, parameter_names


def notebook_of(cell):
    node = new_notebook(cells=[cell])
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
    return node


def in_a_thread(task):
    """Execute as runs do; besides, other tests leave an event loop running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(execute, task).result()


def executed(folder, code, output, **more):
    """Execute a notebook of one cell that lies in `folder`."""
    notebook = folder / "n.ipynb"
    nbformat.write(notebook_of(new_code_cell(code)), notebook)
    task = NotebookTask(Job("1_export", 4), notebook, output, {}, root=folder, **more)
    done = in_a_thread(task)
    assert done.failure is None
    (cell,) = nbformat.read(output, 4).cells
    return cell.outputs[0].text.strip()


@pytest.mark.parametrize("name", ["{x} {} {0}", "}{", "{pm}", "- %s $HOME *[1]?'\"\n#&<b>"])
def test_any_path_that_is_text_names_the_file_it_says(tmp_path, name):
    folder = tmp_path / name
    (folder / "run").mkdir(parents=True)
    output = folder / "run" / "1_export.ipynb"
    said = executed(folder, "import os\nprint(os.getcwd().encode())", output, alone=False)
    assert said == str(str(folder).encode())
    assert {path.name for path in folder.rglob("*")} == {"n.ipynb", "run", "1_export.ipynb"}
    run = RunFolder(folder / "run")
    run.write_record("3_preprocess", None, {})
    assert run.files("3_preprocess", None) == [folder / "run" / "3_preprocess.json"]
    tagged = new_code_cell("a: int = 1  # one")
    tagged.metadata["tags"] = ["parameters"]
    nbformat.write(notebook_of(tagged), folder / "n.ipynb")
    assert parameter_names(folder / "n.ipynb") == ["a"]


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
    code = "import os\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    output = tmp_path / "run" / "1_export.ipynb"
    said = executed(tmp_path, code, output, alone=alone, environment=environment)
    assert said == policy
    written = output.read_bytes()
    nbformat.write(nbformat.read(output, 4), output)
    assert output.read_bytes() == written, "Jupyter saves it as another file"


def test_a_kernel_that_stays_stopped_is_ended_at_its_limit(tmp_path):
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    nbformat.write(notebook_of(new_code_cell(code)), tmp_path / "n.ipynb")
    output = tmp_path / "run" / "1_export.ipynb"
    job = Job("1_export", 4)
    task = NotebookTask(
        job, tmp_path / "n.ipynb", output, {}, alone=False, root=tmp_path, stopped_s=1
    )
    done = in_a_thread(task)
    assert "kernel was stopped (SIGSTOP), and nobody continued it in 1 s" in done.failure
    assert output.is_file()


def test_a_kernel_that_is_stopped_for_a_while_goes_on(tmp_path):
    script = "kill -STOP $PPID; sleep 4; kill -CONT $PPID"
    code = f"import subprocess\nsubprocess.run(['sh', '-c', '{script}'])\nprint('went on')"
    output = tmp_path / "run" / "1_export.ipynb"
    assert executed(tmp_path, code, output, alone=False, stopped_s=600) == "went on"
