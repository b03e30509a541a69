"""Where a command is started, nothing runs that lies there."""

import subprocess

import nbformat
import pytest
import torch
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from lresnet_utils.errors import RunError
from lresnet_utils.ledger.custody import provenance
from lresnet_utils.machine.disk import read_json, sha256_file
from lresnet_utils.params import Params
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder
from lresnet_utils.running.plan import Job, parameters
from lresnet_utils.running.preflight import check

# What a stage starts: processes of this package's own, and any other Python.
BODY = """
import random, cv2, psutil, subprocess, sys
from lresnet_utils.run import RunFolder
if "{stage}" == "6_perf":
    from lresnet_utils.machine.isolation import LimitOptions, apart, memory_here
    counted = apart(memory_here, limits=LimitOptions(), log="{log}", doing="counting")
    assert counted == memory_here()
    subprocess.run([sys.executable, "-c", "import random, cv2, psutil"], check=True)
RunFolder.open(run_dir).write_record("{stage}", batch_size, {{"ran": random.randint(1, 1)}})
"""


def notebook(stage, body):
    batch = "batch_size: int = 0  # n" if stage not in WHOLE_RUN else "batch_size = None  # n"
    cell = new_code_cell(f'run_dir: str = ""  # folder\n{batch}')
    cell.metadata["tags"] = ["parameters"]
    node = new_notebook(cells=[cell, new_code_cell(body)])
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
    return node


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_starts_nothing_of_the_current_folder(strangers, tmp_path, workers):
    ours, run = tmp_path / "ours", tmp_path / "run"
    ours.mkdir()
    for stage in STAGES:
        body = BODY.format(stage=stage, log=tmp_path / f"{stage}.log")
        nbformat.write(notebook(stage, body), ours / f"{stage}.ipynb")
        theirs = notebook(stage, f"open({str(tmp_path / 'ran')!r}, 'w').close()")
        nbformat.write(theirs, strangers.folder / "notebooks" / f"{stage}.ipynb")
    values = {"name": "x", "dataset": {"source": "none"}, "batch_sizes": [4]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(values))
    strangers(
        *("run", tmp_path / "x.yaml", "--output", run, "--notebooks", ours, "--workers", workers)
    )
    assert read_json(run / "bs4" / "6_perf.json")["ran"] == 1
    made = read_json(run / "run.json")["provenance"]
    assert made["notebooks"] == {
        "from": "--notebooks ours",
        "sha256": {f"{stage}.ipynb": sha256_file(ours / f"{stage}.ipynb") for stage in STAGES},
    }
    strangers("report", run)
    # These notebooks make no results.
    told = strangers("report", run, "--check", status=1)
    assert told.splitlines()[0] == "results.json: the file is missing" and ", 1 not as" in told
    strangers("compare", run, run, status=2)


def test_a_file_is_inspected_in_a_strangers_folder(strangers, tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    assert "1 tensors" in strangers("inspect", tmp_path / "w.pth")
    strangers("inspect", tmp_path / "w.pth", start=("-m", "lresnet_utils"))
    assert "atc (Huawei CANN) is not installed" in strangers("doctor")


def test_notebooks_beside_somebodys_data_are_not_taken(tmp_path, monkeypatch):
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    nbformat.write(notebook("6_perf", "1"), tmp_path / "notebooks" / "6_perf.ipynb")
    monkeypatch.chdir(tmp_path)
    params, job = Params(name="x", batch_sizes=[4]), Job("6_perf", 4)
    assert len(parameters(job, params, RunFolder.open("outputs/x"))) > 2
    assert len(parameters(job, params, RunFolder.open("outputs/x", tmp_path / "notebooks"))) == 2


def test_notebooks_that_are_not_there_are_told_before_anything_is_made(tmp_path):
    run = RunFolder.open(tmp_path / "run", tmp_path / "absent")
    with pytest.raises(RunError, match="notebook is missing") as refused:
        check(Params(name="x", batch_sizes=[4]), run)
    assert "--notebooks" in refused.value.fix
    assert not run.folder.exists()


def test_git_is_not_asked_about_somebodys_folder(tmp_path, monkeypatch):
    for command in ("init", "config core.fsmonitor ./ran.sh", "add x"):
        (tmp_path / "x").touch()
        subprocess.run(["git", "-C", tmp_path, *command.split()], check=True, capture_output=True)
    (tmp_path / "ran.sh").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "ran.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "status"], check=True, capture_output=True)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    provenance()
    assert not (tmp_path / "ran").exists()
