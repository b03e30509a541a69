"""Vendor targets from ONNX to the report, through stand-ins of their tools."""

import json

import pytest

pytestmark = pytest.mark.slow


SMALL = ("dataset.variants=[]", "perf.seconds=0.05", "perf.repeats=2", "folds=4", "flip=true")


@pytest.fixture
def report(tmp_path, small_lfw, execute):
    """Return a function that runs the demo's network on a small set with these targets."""

    def run(*overrides):
        source = f"dataset.source={small_lfw}"
        sets = (source, "batch_sizes=[4]", *SMALL, *overrides)
        run, _ = execute("params/demo.yaml", tmp_path / "run", *sets)
        cells = json.loads(run.results.read_text())["cells"]
        return run, {cell["target"]: cell for cell in cells}

    return run


TARGETS = "targets=[onnxruntime-fp32, ascend-fp16, tensorrt-fp16, cann-fp16]"
REFERENCE = "reference=onnxruntime-fp32"


@pytest.mark.parametrize("runner", ["ais_bench", "msame", "benchmark"])
def test_vendor_targets_go_from_onnx_to_the_report(tools, report, runner):
    tools.cann()
    tools.install("atc", "trtexec", runner)
    run, cells = report(TARGETS, REFERENCE)

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


def test_a_tool_that_fails_takes_only_its_cell_down(tmp_path, tools, report):
    tools.cann()
    tools.install("atc", "ais_bench")
    tools.mode("fail", "atc")
    with pytest.raises(AssertionError, match="1 ok, 2 unavailable, 1 failed"):
        report(TARGETS, REFERENCE)
    cells = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    by = {cell["target"]: cell for cell in cells}
    assert "2_compile" in by["ascend-fp16"]["reason"]
    for name in ("tensorrt-fp16", "cann-fp16"):
        assert by[name]["reason"]
        assert by[name]["remedy"]
    assert "ascend-fp16" in (tmp_path / "run" / "index.html").read_text()
