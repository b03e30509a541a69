"""Vendor targets from ONNX to the report, through stand-ins of their tools."""

import shutil

import onnxruntime
import pytest
from jsonschema import Draft202012Validator

from lresnet_utils.machine.disk import read_json
from lresnet_utils.report.pages import summary as page
from lresnet_utils.results import results_schema
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.compile import compile_targets
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.export import export
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.perf import measure_speed
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise
from lresnet_utils.targets import ascend, tensorrt

pytestmark = pytest.mark.slow


SPEED = (
    "model.architecture=mobilefacenet",
    "batch_sizes=[4]",
    "targets=[torch-fp32, ascend-fp16, tensorrt-fp16, cann-fp16]",
    "build.search_seconds=0",
    "perf.warmup=0",
    "perf.seconds=0.05",
    "perf.repeats=2",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, small_lfw):
    """Return a run that has its faces and its graph."""
    run, dataset = RunFolder(tmp_path_factory.mktemp("exported") / "run"), str(small_lfw)
    preprocess(run, dataset=dataset, dataset_name="toy")
    export(run, architecture="sface", weights="packaged", dataset=dataset, batch_size=4)
    return run


@pytest.fixture
def staged(tmp_path, exported):
    """Return a function that takes targets through the other stages in this process."""

    def run(targets):
        run = RunFolder(shutil.copytree(exported.folder, tmp_path / "run"))
        cell = {"batch_size": 4, "targets": targets}
        # What a test patches would not be patched in a process of a target's own.
        here = {"limits": {"own_process": False}}
        compile_targets(run, **cell, **here, build={"search_seconds": 0.0})
        infer(run, **cell, **here, flip=True)
        evaluate(run, **cell, reference=targets[0], folds=4, far_targets=[0.1])
        measure_speed(run, **cell, **here, warmup=0, seconds=0.05, repeats=2)
        return run, summarise(run, batch_sizes=[4], targets=targets)

    return run


@pytest.mark.parametrize("runner", ["ais_bench", "msame", "benchmark"])
def test_every_runner_gives_the_same_embeddings(tools, staged, runner):
    tools.cann()
    tools.install("atc", "trtexec", runner)
    _, results = staged(["onnxruntime-fp32", "ascend-fp16", "tensorrt-fp16"])
    _, cell, timed = results.cells
    assert cell["status"] == timed["status"] == "ok"
    # The stand-in embeds with the very graph that atc was given, so decisions must not change.
    assert cell["parity"]["min_cosine"] > 0.9999
    assert cell["parity"]["flipped_pairs"] == 0
    assert cell["accuracy"]["n"] == 24
    assert [gate["name"] for gate in cell["gates"]] == ["guide", "paired"]
    assert cell["throughput_ips"]["n"] == 2

    # trtexec alone times its engine; without Python bindings it gives no embeddings.
    assert timed["throughput_ips"]["value"] > 0
    assert timed["accuracy"] is None
    assert "tensorrt" in timed["accuracy_refused"].lower()


def test_a_run_of_speed_alone_on_runtimes_and_on_tools_that_work_fail_or_are_absent(
    tmp_path, tools, small_lfw, execute
):
    """Random weights get speed and agreement; what they would be worth is shown nowhere."""
    tools.cann()
    tools.install("atc", "trtexec", "ais_bench")
    tools.mode("fail", "trtexec")
    sets = (f"dataset.source={small_lfw}", *SPEED)
    with pytest.raises(AssertionError, match="2 ok, 1 unavailable, 1 failed"):
        execute("params/ir_se100_speed.yaml", tmp_path / "run", *sets)
    run = RunFolder(tmp_path / "run")
    found = read_json(run.results)
    Draft202012Validator(results_schema()).validate(found)
    cells = {cell["target"]: cell for cell in found["cells"]}

    for target in ("torch-fp32", "ascend-fp16"):
        cell = cells[target]
        assert cell["status"] == "ok"
        assert cell["accuracy"] is None
        assert "random" in cell["accuracy_refused"]
        assert cell["parity"]["min_cosine"] > 0.9999
        assert cell["throughput_ips"]["value"] > 0
    for published in (run.index, run.stage("5_evaluate", 4, ".html")):
        text = published.read_text()
        assert "neither evaluated nor shown" in text
        assert "Wrong pairs" not in text

    assert "whose clock covers" in run.stage("6_perf", 4, ".html").read_text()
    (call,) = tools.calls("atc")
    assert f"--model={run.onnx(4, simplified=True)}" in call
    assert "--input_shape=image:4,3,112,112" in call

    assert cells["cann-fp16"]["status"] == "unavailable"
    assert cells["cann-fp16"]["remedy"]
    assert cells["tensorrt-fp16"]["status"] == "failed"
    assert "2_compile" in cells["tensorrt-fp16"]["reason"]
    assert cells["tensorrt-fp16"]["remedy"]
    assert "tensorrt-fp16" in run.index.read_text()


def test_embeddings_of_in_process_providers_reach_the_results(tools, staged, monkeypatch):
    """TensorRT after trtexec's build, and CANN: ONNX Runtime's CPU stands in for both providers."""
    tools.install("trtexec")
    providers = [tensorrt.PROVIDER, ascend.PROVIDER, "CPUExecutionProvider"]
    started = []

    def on_the_cpu(graph, provider, settings):
        started.append(provider)
        return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    for module in (tensorrt, ascend):
        monkeypatch.setattr(module, "provider_only", on_the_cpu)

    targets = ["onnxruntime-fp32", "tensorrt-fp16", "cann-fp16"]
    run, results = staged(targets)

    assert [found["status"] for found in results.cells] == ["ok"] * 3
    for found in results.cells:
        assert found["parity"]["min_cosine"] > 0.99999
        assert found["accuracy"]["n"] == 24
        assert found["throughput_ips"]["value"] > 0
    assert set(started) == set(providers[:2])
    page.cells(run, results)
    page.recognition(run, results)
