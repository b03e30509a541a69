"""A run on workers ends with the files of a run without, also when one of them is killed."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lresnet_utils.cluster.run_jobs import ClusterExecutor
from lresnet_utils.machine.disk import read_json
from lresnet_utils.params import Params
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder
from lresnet_utils.running.executor import NotebookTask
from lresnet_utils.running.plan import Job
from lresnet_utils.running.runner import Runner

# Each stage writes what it reads of the one before, so that a file that did not arrive shows.
BODY = """
import json, os, signal, time
from pathlib import Path
import psutil
folder = Path(run_dir) / ("bs4" if batch_size else "")
before = {{"2_compile": "1_export", "6_perf": "2_compile"}}.get("{stage}")
read = json.loads((folder / (before + ".json")).read_text()) if before else {{}}
large = folder / "models" / "model.onnx"
if "{stage}" == "1_export":
    large.parent.mkdir(parents=True)
    large.write_bytes(bytes(range(256)) * 40000)
if "{stage}" == "2_compile":
    assert large.read_bytes() == bytes(range(256)) * 40000
    mark = Path({mark!r})
    if mark.parent.is_dir() and not mark.exists():
        mark.touch()
        (folder / ".lresnet-half-made").touch()
        os.kill(psutil.Process().parent().pid, signal.SIGKILL)
        time.sleep(60)
(folder / "{stage}.json").write_text(json.dumps(dict(read, {key}=batch_size)))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "params").mkdir()
    (folder / "notebooks").mkdir()
    for stage in STAGES:
        batch = "batch_size: int = 0  # n" if stage not in WHOLE_RUN else "batch_size = None  # n"
        cell = new_code_cell(f'run_dir: str = ""  # folder\n{batch}')
        cell.metadata["tags"] = ["parameters"]
        mark = str(folder / "kill" / "killed")
        body = BODY.format(stage=stage, key=f"of_{stage}", mark=mark)
        node = new_notebook(cells=[new_markdown_cell(f"# {stage}"), cell, new_code_cell(body)])
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(node, folder / "notebooks" / f"{stage}.ipynb")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        yield folder


def results(run):
    """Return every record that stages wrote, and the names of all files."""
    records = {p.relative_to(run.folder): read_json(p) for p in run.folder.glob("bs4/*.json")}
    names = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    return records, {name for name in names if not name.startswith("resume/")}


PARAMS = Params.model_validate({"name": "x", "dataset": {"source": "none"}, "batch_sizes": [4]})


@pytest.fixture(scope="module")
def expected(project):
    run = RunFolder.open("outputs/here", Path("notebooks"))
    assert {o.status for o in Runner(PARAMS, run).execute()} == {"ok"}
    records, names = results(run)
    assert len(records) == 3
    return records, names


@pytest.mark.parametrize(("n_workers", "files"), [(2, "shared"), (4, "sent")])
def test_the_files_are_those_of_a_run_without_workers(
    engines, project, expected, tmp_path, n_workers, files
):
    kill = project / "kill"
    kill.mkdir(exist_ok=True)
    (kill / "killed").unlink(missing_ok=True)
    run = RunFolder.open(f"outputs/{files}", Path("notebooks"))
    executor = ClusterExecutor(engines(n_workers, files), PARAMS, run, n_workers)
    outcomes = Runner(PARAMS, run, executor=executor).execute()
    assert {(o.stage, o.status, o.reason) for o in outcomes} == {
        (stage, "ok", None) for stage in ("1_export", "2_compile", "6_perf", "7_summary")
    }
    assert (kill / "killed").exists()
    run.sweep()
    assert results(run) == expected
    # Nothing is left to do, and nothing was.
    assert not any(Runner(PARAMS, run).plan().values())


def test_a_file_outside_the_project_cannot_be_sent(engines, project, tmp_path):
    weights = tmp_path / "w.pth"
    weights.touch()
    run = RunFolder.open("outputs/outside", Path("notebooks"))
    executor = ClusterExecutor(engines(2, "sent"), PARAMS, run, 2)
    job = Job("1_export", 4)
    task = NotebookTask(
        job,
        run.notebook("1_export"),
        run.stage("1_export", 4, ".ipynb"),
        {"weights": str(weights)},
        False,
    )
    assert executor.run(task, lambda holder: None).failure.startswith("A file outside the project")
