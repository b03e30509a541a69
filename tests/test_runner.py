"""The runner executes small stand-in notebooks; one that fails stops only what needs it."""

import threading

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lresnet_utils.files import read_json
from lresnet_utils.params import Params
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder
from lresnet_utils.runner import Runner

BODY = """
from pathlib import Path
folder = Path(run_dir)
with (folder / "order.txt").open("a") as file:
    print("{stage}", batch_size, file=file)
if "{stage}" == "2_compile" and batch_size == 4:
    raise RuntimeError("cannot build <this>")
"""


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
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        yield tmp_path


@pytest.fixture(scope="module")
def finished(project):
    """The run of two batch sizes, and what its listener heard."""
    heard, lock = [], threading.Lock()

    def listen(outcome):
        with lock:
            heard.append(outcome)

    run = RunFolder.open("outputs/x")
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


def test_pages_link_to_each_other_with_relative_paths(finished):
    run, _, _ = finished
    page = (run.batch(1) / "1_export.html").read_text()
    assert 'href="../index.html"' in page
    assert 'href="../bs4/4_infer.html"' in page
    assert str(run.folder) not in page
