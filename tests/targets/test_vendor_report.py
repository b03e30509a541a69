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
    sets = (*sets, "perf.repeats=2", "flip=true", "batch_sizes=[4]", *overrides)
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


TARGETS = "targets=[onnxruntime-fp32, ascend-fp16, tensorrt-fp16, cann-fp16]"
REFERENCE = "reference=onnxruntime-fp32"


@pytest.mark.parametrize("runner", ["ais_bench", "msame", "benchmark"])
def test_vendor_targets_go_from_onnx_to_the_report(tmp_path, tools, small_lfw, runner):
    tools.cann()
    tools.install("atc", "trtexec", runner)
    run, cells = report(tmp_path, small_lfw, TARGETS, REFERENCE)

    cell = cells["ascend-fp16"]
    assert cell["status"] == "ok"
    # The stand-in embeds with the very graph that atc was given, so decisions must not change.
    assert cell["parity"]["min_cosine"] > 0.9999
    assert cell["parity"]["flipped_pairs"] == 0
    assert cell["accuracy"]["n"] == 24
    assert cell["throughput_ips"]["value"] > 0
    assert cell["throughput_ips"]["n"] == 2
    assert [gate["name"] for gate in cell["gates"]] == ["guide", "paired"]
    assert "whose clock covers" in run.stage("6_perf", 4, ".html").read_text()
    (call,) = tools.calls("atc")
    assert f"--model={run.onnx(4, simplified=True)}" in call
    assert "--input_shape=image:4,3,112,112" in call

    # trtexec alone times its engine; without Python bindings it gives no embeddings.
    cell = cells["tensorrt-fp16"]
    assert cell["status"] == "ok"
    assert cell["throughput_ips"]["value"] > 0
    assert cell["accuracy"] is None
    assert "tensorrt" in cell["accuracy_refused"].lower()

    assert cells["cann-fp16"]["status"] == "unavailable"
    assert cells["cann-fp16"]["remedy"]


def test_a_tool_that_fails_takes_only_its_cell_down(tmp_path, tools, small_lfw):
    tools.cann()
    tools.install("atc", "ais_bench")
    tools.mode("fail", "atc")
    with pytest.raises(AssertionError, match="1 ok, 2 unavailable, 1 failed"):
        report(tmp_path, small_lfw, TARGETS, REFERENCE)
    cells = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    by = {cell["target"]: cell for cell in cells}
    assert "2_compile" in by["ascend-fp16"]["reason"]
    for name in ("tensorrt-fp16", "cann-fp16"):
        assert by[name]["reason"]
        assert by[name]["remedy"]
    assert "ascend-fp16" in (tmp_path / "run" / "index.html").read_text()
