"""`results.json`: one cell per batch size and target, each with its numbers or its reason."""

import json

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lresnet_utils.errors import RunError
from lresnet_utils.findings.sentences import say
from lresnet_utils.machine.disk import write_json
from lresnet_utils.report.pages import summary as page
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.summary import summarise
from lresnet_utils.text.language import speaking

OK = {"status": "ok", "reason": None}
NUMBERS = {
    "2_compile": {"artefact": {"bytes": 3}, "note": None},
    "4_infer": {"stages": {"e2e": {"images_per_second": 9.0}}},
    "5_evaluate": {
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 100, "errors": 10},
        "threshold": {"value": 1.4, "folds": [1.4]},
        "eer": {"value": 0.1},
        "auc": {"value": 0.99},
        "tar_at_far": [],
        "failures": {},
        "variants": {},
        "parity": {"flipped_pairs": 0},
    },
    "6_perf": {"throughput_ips": {"value": 10.0}, "latency_ms": {"p50": 1.0}},
}


def write(run, batch_size, stage, **targets):
    entries = {
        name: OK | NUMBERS[stage] if entry is OK else entry for name, entry in targets.items()
    }
    run.write_record(stage, batch_size, {"targets": entries})


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "r")
    for stage in NUMBERS:
        write(run, 1, stage, good=OK)
    return run


def test_a_cell_with_every_stage_ok_carries_the_contracts_keys(run):
    results = summarise(run, batch_sizes=[1], targets=["good"])
    (cell,) = results.cells
    assert cell["status"] == "ok"
    assert {
        "batch_size",
        "target",
        "status",
        "reason",
        "accuracy",
        "threshold",
        "eer",
        "tar_at_far",
        "parity",
        "throughput_ips",
        "latency_ms",
        "stages",
        "ceiling_fraction",
        "tuning",
        "tuning_refused",
    } <= set(cell)
    written = json.loads(run.results.read_text())
    assert written["schema"] == 1
    assert written["cells"] == results.cells


def test_the_share_of_the_ceiling_comes_with_its_ceiling_or_a_reason(run):
    found = {"fraction": 1.2, "low": 1.1, "high": 1.3, "precision": "bf16", "tops": 0.4, "by": "x"}
    refused = {"refused": "matrix products in fp16 are not measured on this machine"}
    for stage in NUMBERS:
        write(run, 1, stage, good=OK, other=OK, tool=OK)
    entries = {"good": {"ceiling": found}, "other": {"ceiling": refused}, "tool": {}}
    write(run, 1, "6_perf", **{n: OK | NUMBERS["6_perf"] | entry for n, entry in entries.items()})
    good, other, tool = summarise(run, batch_sizes=[1], targets=list(entries)).cells
    assert (good["ceiling_fraction"], good["ceiling_fraction_reason"]) == (1.2, None)
    assert good["ceiling"] == found
    assert (other["ceiling_fraction"], other["ceiling"]) == (None, None)
    assert "fp16" in other["ceiling_fraction_reason"] and "tool" in tool["ceiling_fraction_reason"]


def test_the_first_stage_that_stops_a_cell_gives_its_reason(run):
    gone = {"status": "unavailable", "reason": "no device", "remedy": "buy one"}
    broken = {"status": "failed", "reason": "out of memory", "remedy": None}
    write(run, 4, "2_compile", good=OK, gone=gone, broken=OK)
    write(run, 4, "4_infer", good=OK, gone=gone, broken=broken)
    write(run, 4, "5_evaluate", good=OK, gone=gone, broken=broken)
    results = summarise(run, batch_sizes=[1, 4], targets=["good", "gone", "broken"])
    by = {(c["batch_size"], c["target"]): c for c in results.cells}
    assert by[4, "gone"] == {
        "batch_size": 4,
        "target": "gone",
        "status": "unavailable",
        "reason": "no device",
        "remedy": "buy one",
    }
    assert by[4, "broken"]["reason"] == "4_infer: out of memory"
    assert by[4, "good"]["status"] == "failed"
    assert "6_perf" in by[4, "good"]["reason"]
    assert [cell["target"] for cell in results.ok()] == ["good"]


def test_a_notebook_that_failed_explains_the_cells_without_records(run):
    run.batch(4).mkdir()
    (run.folder / "run.json").write_text(
        json.dumps(
            {
                "name": "r",
                "params": None,
                "notebooks": [
                    {"stage": "1_export", "batch_size": 4, "status": "failed", "reason": "boom"}
                ],
            }
        )
    )
    cells = summarise(run, batch_sizes=[1, 4], targets=["good"]).cells
    assert [cell["status"] for cell in cells] == ["ok", "failed"]
    assert cells[1]["reason"] == "1_export: boom"


@pytest.mark.parametrize("failed", ["3_preprocess", "1_export", *NUMBERS])
def test_whichever_stage_fails_the_page_begins_with_what_it_said(tmp_path, failed):
    """The later stages did not run, and left nothing."""
    order = ["3_preprocess", "1_export", *NUMBERS]
    run = RunFolder(tmp_path / "r")
    run.batch(1).mkdir(parents=True)
    for stage in order[: order.index(failed)]:
        if stage in NUMBERS:
            write(run, 1, stage, good=OK, other=OK)
    size = None if failed == "3_preprocess" else 1
    ended = {"batch_size": size, "status": "failed", "reason": "The crops are of 112 x 96 pixels."}
    about = {"name": "r", "params": None, "notebooks": [{"stage": failed} | ended]}
    write_json(run.folder / "run.json", about)
    results = summarise(run, batch_sizes=[1], targets=["good", "other"])
    answer = results.findings[0]
    assert (answer.rule, answer.kind) == ("fastest-accurate", "does not hold")
    assert say(answer).finding == (
        f"No build can be recommended: no build went through every stage: {failed}: the crops are "
        "of 112 x 96 pixels."
    )
    assert answer.cells == ["1/good", "1/other"]
    InteractiveShell.instance()
    with capture_output() as captured:
        page.answer(results, "good")
    assert captured.outputs[0].data["text/plain"].startswith(say(answer).finding)
    (asked,) = (found for found in results.preconditions if found.kind == "does not hold")
    assert asked.rule == "build-ran"
    with speaking("zh"):
        assert say(answer).finding.startswith("无法推荐任何构建：没有构建走完所有阶段：")


def test_speed_without_accuracy_is_a_cell_with_a_reason(run):
    """As with logs recorded on another machine that left no embeddings."""
    gone = {"status": "unavailable", "reason": "nothing recorded", "remedy": None}
    for stage in NUMBERS:
        write(run, 8, stage, replay=gone if stage in ("4_infer", "5_evaluate") else OK)
    (cell,) = summarise(run, batch_sizes=[8], targets=["replay"]).cells
    assert cell["status"] == "ok"
    assert cell["accuracy"] is None
    assert cell["accuracy_refused"] == "nothing recorded"
    assert cell["throughput_ips"] == {"value": 10.0}
    write(run, 8, "6_perf", replay=gone)
    (cell,) = summarise(run, batch_sizes=[8], targets=["replay"]).cells
    assert cell["status"] == "unavailable"


def test_an_empty_folder_says_what_to_run_first(tmp_path):
    with pytest.raises(RunError, match="no results yet"):
        summarise(RunFolder(tmp_path), batch_sizes=[1], targets=["a"])


def test_no_path_of_a_machine_is_in_the_results(run):
    params = {
        "model": {"weights": "/home/ann/w.pth", "output": "/head/Gemm"},
        "dataset": {"source": "/home/ann/a.bin", "more": [{"source": "/home/ann/b.bin"}]},
        "tools": {"aipp_config": "/home/ann/aipp.cfg"},
    }
    write_json(run.folder / "run.json", {"name": "r", "params": params, "notebooks": []})
    sets = {"b": {"source": "/home/ann/b.bin"}}
    run.write_record("3_preprocess", None, {"source": "/home/ann/a.bin", "sets": sets})
    summarise(run, batch_sizes=[1], targets=["good"])
    text = run.results.read_text()
    assert "/home/ann" not in text
    assert all(
        f'"{name}"' in text for name in ("w.pth", "/head/Gemm", "a.bin", "b.bin", "aipp.cfg")
    )
