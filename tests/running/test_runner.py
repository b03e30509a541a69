"""The runner executes small stand-in notebooks; one that fails stops only what needs it."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils.cli import main
from lresnet_utils.errors import RunError
from lresnet_utils.ledger.custody import given
from lresnet_utils.ledger.hashes import sign
from lresnet_utils.machine.disk import read_json, write_json
from lresnet_utils.params import Params
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder
from lresnet_utils.running.progress import execute_with_progress
from lresnet_utils.running.run_pages import check_run, render_run
from lresnet_utils.running.runner import Runner

BODY = """
from pathlib import Path
folder = Path(run_dir)
with (folder / "order.txt").open("a") as file:
    print("{stage}", batch_size, file=file)
if "{stage}" == "2_compile" and batch_size == 4:
    raise RuntimeError("cannot build <this>")
"""


def soup(page):
    return BeautifulSoup(page.read_text(), "html.parser")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose notebooks note that they ran; 2_compile fails at batch size 4."""
    tmp_path = tmp_path_factory.mktemp("project")
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    for stage in STAGES:
        batch = "batch_size: int = 0  # n" if stage not in WHOLE_RUN else "batch_size = None  # n"
        cell = new_code_cell(f'run_dir: str = ""  # folder\n{batch}')
        cell.metadata["tags"] = ["parameters"]
        cells = [new_markdown_cell(f"# {stage}"), cell, new_code_cell(BODY.format(stage=stage))]
        node = new_notebook(cells=cells)
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(node, tmp_path / "notebooks" / f"{stage}.ipynb")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        patched.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
        yield tmp_path


@pytest.fixture(scope="module")
def finished(project):
    """The run of two batch sizes, and what its listener heard."""
    heard, lock = [], threading.Lock()

    def listen(outcome):
        with lock:
            heard.append(outcome)

    run = RunFolder.open("outputs/x", Path("notebooks"))
    outcomes = Runner(Params(name="x", batch_sizes=[1, 4]), run, listen).execute()
    return run, {(o.stage, o.batch_size): o for o in outcomes}, heard


def test_a_failing_notebook_is_shown_and_the_rest_goes_on(finished):
    run, outcomes, heard = finished
    statuses = {key: outcome.status for key, outcome in outcomes.items()}
    assert statuses.pop(("2_compile", 4)) == "failed"
    for stage in ("4_infer", "5_evaluate", "6_perf"):
        assert statuses.pop((stage, 4)) == "skipped"
        assert "2_compile" in outcomes[stage, 4].reason
    assert set(statuses.values()) == {"ok"}
    assert outcomes["2_compile", 4].reason == "cannot build <this>"

    # The failed notebook has a page that says why, with the error's text as text.
    page = (run.folder / outcomes["2_compile", 4].page).read_text()
    assert "cannot build &lt;this&gt;" in page
    assert run.index.is_file()

    # Every notebook was announced before it ended, and each stage ran after what it needs.
    ended = [(o.stage, o.batch_size) for o in heard if o.status == "ok"]
    started = [(o.stage, o.batch_size) for o in heard if o.status == "running"]
    assert set(ended) <= set(started)
    ran = [line.split()[0] for line in (run.folder / "order.txt").read_text().splitlines()]
    assert ran[0] == "3_preprocess"
    assert ran[-1] == "7_summary"

    record = read_json(run.folder / "run.json")
    assert record["params"]["batch_sizes"] == [1, 4]
    assert {n["status"] for n in record["notebooks"]} == {"ok", "failed", "skipped"}
    assert record["provenance"]["packages"]["torch"]
    # No half-made notebook, kernel log or socket is left behind.
    assert not list(run.folder.rglob(".*"))
    assert not list(run.folder.rglob("*.log"))


def test_a_run_that_was_ended_before_its_inventory_takes_it_when_asked_again(project, capsys):
    run = RunFolder.open("outputs/ended", Path("notebooks"))
    params, checked = Params(name="x", batch_sizes=[1]), []
    for _ in range(2):
        assert execute_with_progress(params, run, check=lambda: checked.append(1)) == 0
        assert run.inventory.is_file()
        run.inventory.unlink()
    ran = (run.folder / "order.txt").read_text().splitlines()
    assert len(ran) == len(STAGES) and "kept" in capsys.readouterr().err
    assert len(checked) == 2


def test_a_summary_that_fails_is_told_and_results_of_before_are_not(project, capsys):
    run = RunFolder.open("outputs/unsummarised", Path("notebooks"))
    params = Params(name="x", batch_sizes=[1])
    assert execute_with_progress(params, run, check=lambda: None) == 0
    write_json(run.results, {"cells": [{"status": "ok"}]})
    path = Path("notebooks/7_summary.ipynb")
    whole = path.read_bytes()
    try:
        node = nbformat.read(path, 4)
        node.cells[-1].source = "raise RuntimeError('no page\\nfor you')"
        nbformat.write(node, path)
        capsys.readouterr()
        assert execute_with_progress(params, run, check=lambda: None) == 1
    finally:
        path.write_bytes(whole)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and "Traceback" not in "".join(said)
    assert said[0] == "The summary failed, which tells of the others: no page"
    assert said[1].startswith(f"  where: {run.folder}")
    assert "run the same again" in said[2]


def test_a_notebook_that_was_not_run_has_a_page_that_says_why_and_what_to_do(finished):
    run, outcomes, _ = finished
    page = soup(run.folder / outcomes["5_evaluate", 4].page)
    assert page.h1.get_text() == "Evaluate"
    banner = page.select_one("header .lr-banner").get_text(" ")
    assert "was not run" in banner
    assert "2_compile did not finish: cannot build <this>" in banner
    assert "What to do:" in banner and "run the report again" in banner
    assert page.select_one(".lr-foot").get_text().count("lresnet_utils")


def test_the_failed_page_has_cell_reason_and_next_step(finished):
    run, outcomes, _ = finished
    page = soup(run.folder / outcomes["2_compile", 4].page)
    top = " ".join(page.select_one("header .lr-banner").get_text().split())
    assert "cannot build <this>" in top and "code cell 3" in top
    assert "What to do: mend the cause and run the report again" in top


def test_the_index_marks_what_failed_and_what_was_not_run(finished):
    run, _, _ = finished
    page = soup(run.index)
    items = page.select("header .lr-banner li")
    assert [
        item.a.get_text() + ": " + item.select_one(".lr-mark").get_text() for item in items
    ] == [
        "Compile, batch size 4: failed",
        "Infer, batch size 4: not run",
        "Evaluate, batch size 4: not run",
        "Performance, batch size 4: not run",
    ]
    assert "cannot build <this>" in items[0].get_text()
    marked = page.select(".lr-pages a:has(.lr-mark)")
    assert [link["href"] for link in marked] == [item.a["href"] for item in items]
    # Every link of the navigation leads somewhere, and other pages mark nothing.
    for link in page.select(".lr-pages a"):
        assert (run.folder / link["href"]).is_file()
    assert not soup(run.batch(1) / "1_export.html").select(".lr-mark")


def test_pages_are_made_again_from_the_folder_alone(finished, tmp_path, monkeypatch):
    """Wherever it lies: what was published is what the files give, until somebody edits one."""
    run = RunFolder(shutil.copytree(finished[0].folder, tmp_path / "moved"))
    checked = check_run(run)
    # Twelve notebooks' pages, and all of them in one file; these notebooks gave no results.
    assert sum(one.is_page for one in checked) == 13
    assert [one.name for one in checked if one.problem] == ["results.json"]

    page, notebook = run.batch(1) / "1_export.html", run.batch(1) / "4_infer.ipynb"
    published = page.read_text()
    page.write_text(published.replace("1_export", "1_exprot"))
    notebook.write_text(notebook.read_text().replace("# 4_infer", "# Better"))
    (run.batch(4) / "6_perf.html").unlink()
    run.write_record("1_export", 1, {"custody": [given("x", "0" * 64) | {"bytes": 3}]})
    monkeypatch.setattr(sys, "argv", ["lresnet", "report", str(run.folder), "--check"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    wrong = {one.name: one.problem for one in check_run(run) if one.problem}
    assert wrong == {
        "bs1/1_export.html": "the page is not what its inputs give",
        "bs1/4_infer.html": "the page is not what its inputs give",
        "bs4/6_perf.html": "the page is missing",
        "report.html": "the page is not what its inputs give",
        "results.json": "the file is missing",
        "bs1/4_infer.ipynb": "the file is not the one whose SHA-256 is in resume/run.json",
        "bs1/1_export.json": "resume/run.json does not state its SHA-256",
        "x": "the file is missing",
    }
    render_run(run)
    assert page.read_text() == published
    still = {one.name for one in check_run(run) if one.problem}
    assert still == {"results.json", "bs1/4_infer.ipynb", "bs1/1_export.json", "x"}


def test_executed_notebooks_are_trusted_by_jupyter_and_changed_ones_are_not(finished):
    notebook = nbformat.read(finished[0].batch(1) / "1_export.ipynb", as_version=4)
    with NotebookNotary() as notary:
        assert notary.check_signature(notebook)
        notebook.cells[-1].outputs.append(new_output("display_data", {"text/html": "<b>x</b>"}))
        assert not notary.check_signature(notebook)


def test_without_a_place_for_signatures_a_run_goes_on(finished, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "file"))
    assert sign(finished[0].batch(1) / "1_export.ipynb") is False


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no run here"):
        check_run(RunFolder(tmp_path))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        check_run(RunFolder(tmp_path))


def test_pages_link_to_each_other_with_relative_paths(finished):
    run, _, _ = finished
    page = (run.batch(1) / "1_export.html").read_text()
    assert 'href="../index.html"' in page
    assert 'href="../bs4/4_infer.html"' in page
    assert str(run.folder) not in page


# Runs the command line on a disk that becomes read-only when a notebook of 2_compile is at work.
READ_ONLY = """
import errno, os, sys
from pathlib import Path
from lresnet_utils.cli import main

folder = os.path.realpath(sys.argv[sys.argv.index("--output") + 1])
changes = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.utime", "os.truncate")
noted = Path(folder, "order.txt")

def hook(event, args):
    writing = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (writing or event in changes) and str(args[0]).startswith(folder):
        if noted.is_file() and "2_compile" in noted.read_text():
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(args[0]))

sys.addaudithook(hook)
main()
"""


def test_a_disk_that_becomes_read_only_is_told_and_the_next_run_goes_on(project, tmp_path):
    params = tmp_path / "x.yaml"
    params.write_text("name: x\nbatch_sizes: [1]\ndataset: {source: none}\n")
    command = ("run", params, "--output", tmp_path / "run", "--notebooks", project / "notebooks")

    def lresnet(*start):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [sys.executable, *start, *command], capture_output=True, text=True, env=environment
        )

    stopped = lresnet("-c", READ_ONLY)
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    what, where, to_do = stopped.stderr.splitlines()[-3:]
    assert what == "Cannot write here: Read-only file system."
    assert str(tmp_path / "run") in where and "run the same again" in to_do
    again = lresnet("-m", "lresnet_utils")
    assert again.returncode == 0, again.stderr
    lines = again.stderr.splitlines()
    assert "which did not end well" in lines[0]
    assert any(line.startswith("kept    1_export bs1") for line in lines)
    assert not list((tmp_path / "run").rglob(".*"))
