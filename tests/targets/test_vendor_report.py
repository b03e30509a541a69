"""Vendor targets from ONNX to the report, through stand-ins of their tools."""

import json

import onnxruntime
import pytest

from lresnet_utils.report.pages import cells as cells_page
from lresnet_utils.report.pages import summary as page
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.compile import compile_targets
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.export import export
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.perf import measure_speed
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise
from lresnet_utils.targets import cann, tensorrt_sessions

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


def test_embeddings_of_in_process_providers_reach_the_results(
    tmp_path, tools, small_lfw, monkeypatch
):
    """TensorRT after trtexec's build, and CANN: ONNX Runtime's CPU stands in for both providers."""
    tools.install("trtexec")
    providers = [tensorrt_sessions.PROVIDER, cann.PROVIDER, "CPUExecutionProvider"]
    started = []

    def on_the_cpu(graph, provider, settings):
        started.append(provider)
        return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    for module in (tensorrt_sessions, cann):
        monkeypatch.setattr(module, "provider_only", on_the_cpu)

    run = RunFolder(tmp_path / "run")
    targets = ["onnxruntime-fp32", "tensorrt-fp16", "cann-fp16"]
    cell = {"batch_size": 4, "targets": targets}
    # What is patched here would not be patched in another process.
    here = {"limits": {"own_process": False}}
    preprocess(run, dataset=str(small_lfw), dataset_name="toy")
    export(run, architecture="sface", weights="packaged", dataset=str(small_lfw), batch_size=4)
    compile_targets(run, **cell, **here)
    infer(run, **cell, **here, flip=True)
    evaluate(run, **cell, reference=targets[0], folds=4, far_targets=[0.1])
    measure_speed(run, **cell, **here, warmup=0, seconds=0.05, repeats=2)
    results = summarise(run, batch_sizes=[4], targets=targets)

    assert [found["status"] for found in results.cells] == ["ok"] * 3
    for found in results.cells:
        assert found["parity"]["min_cosine"] > 0.99999
        assert found["accuracy"]["n"] == 24
        assert found["throughput_ips"]["value"] > 0
    assert set(started) == set(providers[:2])
    cells_page.cells(run, results)
    page.roc(run, results)
