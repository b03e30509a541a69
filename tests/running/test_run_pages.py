"""`lresnet report` on a run that somebody changed, or that somebody made up.

A whole run in a second: the runner with an executor that writes what each stage would leave.
"""

import json
import os
import shutil
import sys

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils import cli
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.ledger.custody import broken, made
from lresnet_utils.ledger.entries import WHOLE, Ledger
from lresnet_utils.machine.disk import read_json, sha256_file, write_arrays, write_json, write_text
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder
from lresnet_utils.running.executor import Done
from lresnet_utils.running.run_pages import check_run
from lresnet_utils.running.runner import Runner
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise

TARGETS = ["torch-fp32", "onnxruntime-fp32"]
OK = {"status": "ok", "reason": None}
RATE = {"value": 100.0, "low": 96.0, "high": 104.0, "n": 5, "interval": "Student t"}


class Stages:
    """Stands for kernels: leaves what each notebook and its stage would."""

    one_machine, slots = True, 1

    def __init__(self, run, faces):
        self.run_folder, self.faces = run, faces

    def run(self, task, waiting):
        run, stage = self.run_folder, task.job.stage
        shown = new_output("display_data", {"text/html": f"<p>{stage}: accuracy 0.9875</p>"})
        cells = [new_markdown_cell(f"# {stage}"), new_code_cell("show()", outputs=[shown])]
        task.output.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=cells), task.output)
        getattr(self, f"do_{stage[2:]}")(run)
        return Done(0.1)

    def do_preprocess(self, run):
        preprocess(run, dataset=str(self.faces), dataset_name="toy")

    def do_export(self, run):
        graph = write_text(run.onnx(4), "graph")
        write_text(run.batch(4) / "models" / "prepared" / "model_prepared_4.onnx", "prepared")
        record = {"network": {"trained": True}, "custody": [made(run, graph, ["weights"])]}
        run.write_record("1_export", 4, record)

    def do_compile(self, run):
        entry = OK | {"note": None, "artefact": {"path": "x", "options": {}}}
        run.write_record("2_compile", 4, {"targets": dict.fromkeys(TARGETS, entry)})

    def do_infer(self, run):
        rng = np.random.default_rng(0)
        people = np.repeat(rng.normal(size=(20, 8)), 2, 0)
        for target in TARGETS:
            rows = people + 0.4 * rng.normal(size=people.shape)
            rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            path = run.embeddings(4, target, "aligned")
            write_arrays(path, vectors=rows, failed=np.zeros(40, bool))
        entry = OK | {"variants": {"aligned": {}}, "stages": None}
        run.write_record("4_infer", 4, {"targets": dict.fromkeys(TARGETS, entry)})

    def do_evaluate(self, run):
        how = {"reference": TARGETS[0], "folds": 10, "far_targets": [0.1], "bootstrap": 60}
        evaluate(run, batch_size=4, targets=TARGETS, **how)
        write_text(run.batch(4) / "figures" / "roc.svg", "<svg/>")

    def do_perf(self, run):
        entry = OK | {"throughput_ips": RATE, "latency_ms": {}}
        record = {"targets": dict.fromkeys(TARGETS, entry)}
        ledger = Ledger.of_stage(run, "6_perf", 4, timed=True)
        run.write_record("6_perf", 4, ledger.kept(WHOLE, {}, lambda: record))

    def do_summary(self, run):
        summarise(run, batch_sizes=[4], targets=TARGETS)

    def stop(self):
        raise AssertionError("a stage failed")


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The folder as a run left it."""
    folder = tmp_path_factory.mktemp("check")
    rng = np.random.default_rng(0)
    images = [encode_png(rng.integers(0, 255, (112, 112, 3), np.uint8)) for _ in range(40)]
    same = np.arange(40) % 2 == 0
    right = [i + 1 if i % 2 == 0 else (i + 2) % 40 for i in range(40)]
    faces = write_bin(
        folder / "toy.bin", [images[k] for pair in enumerate(right) for k in pair], same
    )
    given = {"name": "x", "batch_sizes": [4], "targets": TARGETS}
    given |= {"dataset": {"name": "toy", "source": str(faces), "variants": []}}
    params, run = Params.model_validate(given), RunFolder(folder / "x")
    outcomes = Runner(params, run, executor=Stages(run, faces)).execute()
    assert [(o.stage, o.reason) for o in outcomes if o.status != "ok"] == []
    return run.folder


@pytest.fixture
def run(left, tmp_path):
    return RunFolder(shutil.copytree(left, tmp_path / "runs" / "x"))


def wrong(run, **given):
    return {one.name: one.problem for one in check_run(run, **given) if one.problem}


def lresnet(capsys, monkeypatch, *arguments):
    """Run the command line; return its status and what it printed, which is no traceback."""
    monkeypatch.setattr(sys, "argv", ["lresnet", *map(str, arguments)])
    status = 0
    try:
        cli.main()
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert len(err.splitlines()) <= 3
    return status, out + err


def edit(path, change):
    value = read_json(path)
    change(value)
    write_json(path, value)


def test_a_run_as_it_was_left_is_as_it_should_be(run, capsys, monkeypatch):
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    assert status == 0
    assert ", 0 not as they should be" in told
    assert told.splitlines()[-1] == f"SHA-256 of resume/run.json: {sha256_file(run.inventory)}"
    # Made again, pages are the same, and so is the rest.
    assert lresnet(capsys, monkeypatch, "report", run.folder)[0] == 0
    assert wrong(run) == {}
    # Every file is checked, but those that say of the others what they are.
    names = {one.name for one in check_run(run)}
    files = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert files - names == set()


def test_results_state_the_hash_of_every_file_of_the_stages(run):
    files = read_json(run.results)["files"]
    assert {
        "bs4/6_perf.json",
        "bs4/6_perf.ipynb",
        "bs4/figures/roc.svg",
        "bs4/models/prepared/model_prepared_4.onnx",
        "faces/set.json",
        "params.yaml",
    } <= set(files)
    assert all(sha256_file(run.folder / name) == sha256 for name, sha256 in files.items())


def every_file(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_whatever_is_changed_or_deleted_is_named(run):
    pages = {name for name in every_file(run.folder) if name.endswith(".html")}
    for name in set(every_file(run.folder)) - pages - {"resume/run.json"}:
        path = run.folder / name
        kept = path.read_bytes()
        path.unlink()
        assert name in {n for n, problem in broken(run, [4]).items() if problem}
        # White space at the end changes no meaning, and yet the file is another.
        path.write_bytes(kept + b"\n")
        assert name in {n for n, problem in broken(run, [4]).items() if problem}
        path.write_bytes(kept)
    assert wrong(run) == {}
    for name in pages:
        (run.folder / name).write_bytes((run.folder / name).read_bytes() + name.encode())
    assert set(wrong(run)) == pages
    for name in pages:
        (run.folder / name).unlink()
    assert set(wrong(run)) == pages


def test_numbers_changed_everywhere_but_where_they_were_measured(run, capsys, monkeypatch):
    """The reported attack: accuracy in notebooks, throughput in results, then pages made again."""
    for path in run.folder.rglob("*.ipynb"):
        path.write_text(path.read_text().replace("accuracy 0.9875", "accuracy 0.9999"))
    edit(run.results, lambda r: r["cells"][0]["throughput_ips"].update(value=999.0, high=1e3))
    assert lresnet(capsys, monkeypatch, "report", run.folder)[0] == 0
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    assert status == 1
    assert "SHA-256 of" not in told
    found = wrong(run)
    assert set(found) == {
        *(n for n in every_file(run.folder) if n.endswith(".ipynb")),
        "results.json",
    }


def test_results_that_the_records_do_not_give_are_found_whatever_their_hash(run):
    """Somebody who knew which records state the hash of results.json."""
    edit(run.results, lambda r: r["cells"][0]["throughput_ips"].update(value=100.5))
    for record in (run.inventory, run.state / "7_summary.json"):
        edit(record, lambda r: r["files"]["results.json"].update(sha256=sha256_file(run.results)))
    edit(
        run.inventory,
        lambda r: r["files"]["resume/7_summary.json"].update(
            sha256=sha256_file(run.state / "7_summary.json")
        ),
    )
    assert wrong(run) == {
        "index.html": "the page is not what its inputs give",
        "results.json": "its cells are not what the stages' records give",
    }


def test_a_file_that_the_run_did_not_leave_is_named(run):
    """An inventory that says nothing of a file would let anything stand in its place."""
    write_text(run.folder / "faces" / "more.npy", "x")
    edit(run.inventory, lambda r: r["files"].pop("run.json"))
    assert wrong(run) == dict.fromkeys(
        ("faces/more.npy", "run.json"), "resume/run.json does not state its SHA-256"
    )


def test_forged_rates_of_a_kept_part_are_told(run):
    whole = run.state_of("6_perf", 4) / "whole.json"
    edit(whole, lambda r: r["told"]["targets"][TARGETS[0]]["throughput_ips"].update(value=1000.0))
    assert set(wrong(run)) == {"resume/bs4/6_perf/whole.json"}


def test_who_rewrites_everything_is_found_by_a_hash_kept_elsewhere(run, left, capsys, monkeypatch):
    kept = sha256_file(run.inventory)
    check = ("report", run.folder, "--check", "--against")
    assert lresnet(capsys, monkeypatch, *check, kept.upper())[0] == 0
    # All of it is made anew from other numbers, as by a run.
    stages = Stages(run, left.parent / "toy.bin")
    params = Params.model_validate(read_json(run.folder / "run.json")["params"])
    run.stage("6_perf", 4).unlink()
    assert all(o.status == "ok" for o in Runner(params, run, executor=stages, fresh=True).execute())
    assert wrong(run) == {}
    status, told = lresnet(capsys, monkeypatch, *check, kept)
    assert status == 1
    assert "resume/run.json: its SHA-256 is not the one given" in told
    for odd in ("abc", kept + "0", ""):
        assert lresnet(capsys, monkeypatch, *check, odd)[0] == 2
    assert lresnet(capsys, monkeypatch, "report", run.folder, "--against", kept)[0] == 2


def test_help_says_what_a_folder_cannot_prove_of_itself(capsys, monkeypatch):
    told = lresnet(capsys, monkeypatch, "report", "--help")[1]
    assert "resume/run.json" in told and "not noticed" in " ".join(told.split())


def test_a_run_that_was_stopped_is_not_as_it_should_be(run):
    class Stopped(Stages):
        def run(self, task, waiting):
            raise KeyboardInterrupt

        def stop(self):
            pass

    params = Params.model_validate(read_json(run.folder / "run.json")["params"])
    with pytest.raises(KeyboardInterrupt):
        Runner(params, run, executor=Stopped(run, None), fresh=True).execute()
    assert "did not come to its end" in wrong(run)["resume/run.json"]


# What a value may be exchanged for, of another type or far out of range.
ODD = (None, True, -1, 10**30, 1e308, "../../../x", "\x1b]0;x\x07", [], {}, [[[]]], {"x": {}})


def paths_in(value, found=(), at=()):
    """Yield the place of some values of a record, the first of each kind of place."""
    if isinstance(value, dict):
        for key in list(value)[:40]:
            yield (*at, key)
            yield from paths_in(value[key], found, (*at, key))
    elif isinstance(value, list) and value:
        yield (*at, 0)
        yield from paths_in(value[0], found, (*at, 0))


RECORDS = (
    "run.json",
    "results.json",
    "3_preprocess.json",
    "bs4/1_export.json",
    "bs4/2_compile.json",
    "bs4/4_infer.json",
    "bs4/5_evaluate.json",
    "bs4/6_perf.json",
    "bs4/1_export.ipynb",
    "7_summary.ipynb",
    "faces/set.json",
    "resume/run.json",
    "resume/7_summary.json",
    "resume/bs4/6_perf.json",
    "resume/bs4/6_perf/whole.json",
    "resume/hashes.json",
)


def odd_for(text, number, rng):
    """Return a record's text with one value exchanged for what no run writes."""
    value, odd = json.loads(text), ODD[number % len(ODD)]
    places = list(paths_in(value))
    *way, last = places[rng.integers(len(places))]
    inside = value
    for key in way:
        inside = inside[key]
    inside[last] = odd
    return json.dumps(value if number % 10 else odd)


@pytest.mark.parametrize("number", range(24))
def test_wrong_types_in_records_are_problems_of_these_files(run, capsys, monkeypatch, number):
    rng, damaged = np.random.default_rng(number), RECORDS[number % 5 :: 5]
    for name in damaged:
        path = run.folder / name
        path.write_text(odd_for(path.read_text(), number, rng))
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    if "run.json" in damaged:
        assert status in (1, 2)
        assert "run.json" in told
    else:
        assert status == 1
        assert {f"{n}:" for n in damaged} - {"resume/run.json:"} <= set(told.split())


@pytest.mark.parametrize("content", [b"", b"\x00", b"[" * 10**5, b"\xff\xfe", b"{}", b"3", b"<p>"])
def test_damaged_files_are_problems_and_no_tracebacks(run, capsys, monkeypatch, content):
    damaged = (*RECORDS, "index.html", "report.html", "bs4/5_evaluate.html", "params.yaml")
    for name in damaged[1:]:
        (run.folder / name).write_bytes(content)
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    assert status == 1
    named = {line.partition(":")[0] for line in told.splitlines()}
    assert {"results.json", "index.html", "report.html"} <= named
    # An inventory that is whole, but states nothing, leaves every file unstated.
    assert named & {"resume/run.json", "run.json"}
    (run.folder / "run.json").write_bytes(content)
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    assert status == 2
    assert "run.json" in told


def listing(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


OUTSIDE = {
    "batch size": lambda about: about["notebooks"][3].update(batch_size="4/../../victim"),
    "stage": lambda about: about["notebooks"][3].update(stage="../../victim/4_infer"),
    "page": lambda about: about["notebooks"][3].update(page="../../victim/4_infer.html"),
    "params": lambda about: about["params"].update(batch_sizes=["4/../../victim"]),
    "twice": lambda about: about["notebooks"].append(about["notebooks"][3]),
}


@pytest.mark.parametrize("how", OUTSIDE)
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_a_record_leads_nowhere_outside_the_folder(run, capsys, monkeypatch, how, option):
    victim = run.folder.parent.parent / "victim"
    victim.mkdir()
    (victim / "4_infer.html").write_text("mine")
    shutil.copy(run.batch(4) / "4_infer.ipynb", victim)
    edit(run.folder / "run.json", OUTSIDE[how])
    before = listing(victim.parent)
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, *option)
    assert status == 2
    assert "run.json" in told
    assert listing(victim.parent) == before


@pytest.mark.parametrize("name", ["bs4", "resume", "index.html", "bs4/4_infer.ipynb", "faces"])
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_a_link_leads_nowhere_outside_the_folder(run, capsys, monkeypatch, name, option):
    path, victim = run.folder / name, run.folder.parent.parent / "victim"
    path.rename(victim)
    path.symlink_to(victim)
    before = listing(run.folder.parent.parent)
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, *option)
    assert status == 2
    assert "link to another place" in told and path.name in told
    assert listing(run.folder.parent.parent) == before
    # A link to the whole run, or within it, is its owner's way to store it.
    path.unlink()
    victim.rename(path)
    (run.folder / "bs4" / "again").symlink_to(run.folder / "faces")
    (run.folder.parent / "link").symlink_to(run.folder)
    assert lresnet(capsys, monkeypatch, "report", run.folder.parent / "link", *option)[0] == 0


def test_a_pipe_is_not_waited_for(run, capsys, monkeypatch):
    (run.batch(4) / "6_perf.json").unlink()
    os.mkfifo(run.batch(4) / "6_perf.json")
    status, told = lresnet(capsys, monkeypatch, "report", run.folder, "--check")
    assert status == 2
    assert "pipe" in told


def test_names_that_no_system_takes_are_problems(run):
    odd = ("x\0y", "n" * 5000, "faces", "\ud800".encode("utf-8", "replace").decode())
    for name in odd:
        edit(run.inventory, lambda r, n=name: r["files"].update({n: {"sha256": "0" * 64}}))
    assert set(odd) <= set(wrong(run))


def test_a_page_of_any_size_is_no_burden(run):
    """Sparse, so that it takes no room on the disk, but would fill the memory."""
    for page in (run.index, run.single):
        os.truncate(page, 2**40)
    assert {"index.html", "report.html"} <= set(wrong(run))


def test_hashes_are_taken_of_nothing_outside_the_folder(run, tmp_path):
    (tmp_path / "secret").write_text("x")
    for name in ("../../secret", str(tmp_path / "secret")):
        edit(
            run.inventory,
            lambda r, n=name: r["files"].update({n: {"bytes": 1, "sha256": "0" * 64}}),
        )
        found = wrong(run)
        assert "no file of this folder" in found["resume/run.json"]
        assert name not in found


def test_a_page_that_nobody_published_is_not_joined_into_the_report(run, capsys, monkeypatch):
    edit(run.folder / "run.json", lambda about: about["notebooks"][3].update(page=None))
    page = run.batch(4) / "4_infer.html"
    page.write_text('<meta http-equiv="refresh" content="0;url=//evil.example">' + page.read_text())
    assert lresnet(capsys, monkeypatch, "report", run.folder)[0] == 0
    soup = BeautifulSoup(run.single.read_text(), "html.parser")
    assert soup.find(id="lr-bs4-5_evaluate") and not soup.find(id="lr-bs4-4_infer")
    assert "evil.example" not in run.single.read_text()


def test_results_name_no_file_outside_the_folder(run, capsys, monkeypatch, tmp_path):
    """A cell whose target leads to somebody else's scores: the page would carry them away."""
    scores = run.scores(4, TARGETS[0], "aligned")
    shutil.copy(scores, tmp_path / "secret.aligned.npz")
    target = "../../../../secret"
    assert run.scores(4, target, "aligned").resolve() == tmp_path / "secret.aligned.npz"
    edit(run.results, lambda results: results["cells"][0].update(target=target))
    status, told = lresnet(capsys, monkeypatch, "report", run.folder)
    assert status == 2
    assert "results.json" in told


def test_a_notebook_that_no_page_can_be_made_of_is_refused(run, capsys, monkeypatch):
    path = run.batch(4) / "1_export.ipynb"
    edit(path, lambda notebook: notebook["metadata"].update(papermill=[]))
    status, told = lresnet(capsys, monkeypatch, "report", run.folder)
    assert status == 2
    assert "1_export.ipynb" in told
