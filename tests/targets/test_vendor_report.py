"""Vendor targets from ONNX to the report, through stand-ins of their tools."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lresnet_utils.run import RunFolder

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def report(tmp_path, source, *overrides):
    """Run the demo's network on a small set and return the run and its cells by target."""
    sets = (f"dataset.source={source}", "dataset.variants=[]", "perf.seconds=0.05", "folds=4")
    sets = (*sets, "perf.repeats=2", "flip=true", "batch_sizes=[16]", *overrides)
    done = subprocess.run(
        [sys.executable, "-m", "lresnet_utils", "run", "params/demo.yaml"]
        + ["--output", str(tmp_path / "run")]
        + [part for value in sets for part in ("--set", value)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunFolder(tmp_path / "run")
    cells = json.loads(run.results.read_text())["cells"]
    return run, {cell["target"]: cell for cell in cells}


@pytest.mark.parametrize("runner", ["ais_bench", "msame", "benchmark"])
def test_ascend_goes_from_onnx_to_the_report(tmp_path, tools, small_lfw, runner):
    tools.cann()
    tools.install("atc", runner)
    targets = "targets=[onnxruntime-fp32, ascend-fp16]"
    run, cells = report(tmp_path, small_lfw, targets, "reference=onnxruntime-fp32")
    cell = cells["ascend-fp16"]
    assert cell["status"] == "ok"
    # The stand-in embeds with the very graph that atc was given, so decisions must not change.
    assert cell["parity"]["min_cosine"] > 0.9999
    assert cell["parity"]["flipped_pairs"] == 0
    assert cell["accuracy"]["n"] == 24
    assert cell["throughput_ips"]["value"] > 0
    assert cell["throughput_ips"]["n"] == 2
    assert [gate["name"] for gate in cell["gates"]] == ["guide", "paired"]
    page = run.stage("6_perf", 16, ".html").read_text()
    assert "whose clock covers" in page
    (call,) = tools.calls("atc")
    assert f"--model={run.onnx(16, simplified=True)}" in call
    assert "--input_shape=image:16,3,112,112" in call


def test_trtexec_alone_gives_speed_and_says_why_there_is_no_accuracy(tmp_path, tools, small_lfw):
    tools.install("trtexec")
    targets = "targets=[onnxruntime-fp32, tensorrt-fp16]"
    _, cells = report(tmp_path, small_lfw, targets, "reference=onnxruntime-fp32")
    cell = cells["tensorrt-fp16"]
    assert cell["status"] == "ok"
    assert cell["throughput_ips"]["value"] > 0
    assert cell["accuracy"] is None
    assert "tensorrt" in cell["accuracy_refused"].lower()


def test_a_tool_that_fails_takes_only_its_cell_down(tmp_path, tools, small_lfw):
    tools.cann()
    tools.install("atc", "ais_bench")
    tools.mode("fail", "atc")
    sets = ("targets=[onnxruntime-fp32, ascend-fp16]", "reference=onnxruntime-fp32")
    with pytest.raises(AssertionError, match="1 ok, 1 failed"):
        report(tmp_path, small_lfw, *sets)


def test_without_any_vendor_tool_the_cells_say_how_to_get_it(tmp_path, tools, small_lfw):
    targets = "targets=[onnxruntime-fp32, tensorrt-fp16, ascend-fp16, cann-fp16]"
    _, cells = report(tmp_path, small_lfw, targets, "reference=onnxruntime-fp32")
    assert cells["onnxruntime-fp32"]["status"] == "ok"
    for name in ("tensorrt-fp16", "ascend-fp16", "cann-fp16"):
        assert cells[name]["status"] == "unavailable"
        assert cells[name]["reason"]
        assert cells[name]["remedy"]
