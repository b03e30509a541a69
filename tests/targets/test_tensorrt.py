"""TensorRT through a stand-in of trtexec, and its engines through stand-in runtimes."""

import ctypes
import json
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.targets import tensorrt
from lresnet_utils.targets.base import UnavailableError
from lresnet_utils.targets.tensorrt import (
    EngineSession,
    TensorRtTarget,
    explain,
    find_trtexec,
    open_session,
    provider_only,
)
from lresnet_utils.untrusted.settings import ToolOptions

HOW = {"channel_order": "bgr", "normalisation": "minus1_1"}


@pytest.fixture
def built(tools, model, tmp_path):
    def build(batch_size, *, dynamic=False, **settings):
        tools.install("trtexec")
        target = TensorRtTarget().configured(ToolOptions(**settings))
        folder = tmp_path / "models/tensorrt-fp16"
        return target, target.build(model(batch_size, dynamic=dynamic), folder)

    return build


def message(call, kind=LResNetError):
    with pytest.raises(kind) as error:
        call()
    assert len(str(error.value).splitlines()) <= 3
    return error.value


def test_no_trtexec_here_says_how_to_get_it(tools, monkeypatch):
    monkeypatch.setattr("lresnet_utils.targets.tensorrt.USUAL_FOLDERS", ())
    able = TensorRtTarget().available()
    assert (able.ok, able.reason) == (False, "trtexec (NVIDIA TensorRT) is not installed")
    assert "LRESNET_TRTEXEC" in able.remedy
    assert TensorRtTarget().versions() == {}


def test_a_trtexec_that_does_not_start_says_why(tools):
    tools.script("trtexec", "echo 'error while loading shared libraries: libnvinfer.so'; exit 127")
    able = TensorRtTarget().available()
    assert "libnvinfer.so" in able.reason
    assert "LD_LIBRARY_PATH" in able.remedy


@pytest.mark.parametrize(
    ("number", "version", "ok"),
    [("8503", "8.5.3", True), ("101600", "10.16.0", True), ("110000", "11.0.0", False)],
)
def test_fp16_only_where_this_release_has_it(tools, number, version, ok):
    tools.install("trtexec")
    tools.patch.setenv("STANDIN_TRT_VERSION", number)
    able = TensorRtTarget().available()
    assert able.ok == ok
    assert version in (able.note if ok else able.reason)
    assert TensorRtTarget().versions() == {"TensorRT": version}
    assert find_trtexec().path == tools.folder / "trtexec"


def test_trtexec_gets_the_guides_arguments(built, tools, tmp_path):
    """Section 3.1, step 5, plus where the engine and the timing cache go."""
    guide = (
        "./trtexec --onnx=model/model_ir_se100_bs16_sim.onnx --fp16 --shapes=image:16x3x112x112 "
        "--device=0"
    )
    _, artefact = built(16, dynamic=True)
    (argv,) = tools.calls("trtexec")
    wanted = guide.split()[1:]
    wanted[0] = f"--onnx={tmp_path / 'model_bs16_sim.onnx'}"
    assert argv[:4] == wanted
    assert [word.partition("=")[0] for word in argv[4:]] == ["--saveEngine", "--timingCacheFile"]
    assert artefact.path.is_file()
    assert (artefact.path.parent / "timing.cache").is_file()
    assert artefact.options["dynamic_batch"] is True


def test_a_static_graph_gets_no_shapes(built, tools):
    """TensorRT 8 and later refuse them, and so does the stand-in."""
    _, artefact = built(4)
    assert not any("--shapes" in word for word in tools.calls("trtexec")[0])
    assert "threads" not in artefact.options
    assert json.loads(json.dumps(artefact.to_json()))["options"] == artefact.options


@pytest.mark.parametrize(
    ("mode", "what", "fix"),
    [
        ("fail", "no CUDA-capable device", "NVIDIA GPU"),
        ("crash", "SIGSEGV", "read the log"),
        ("silent", "without its line of success", "read the log"),
    ],
)
def test_a_build_that_fails_leaves_its_log_and_no_engine(tools, model, tmp_path, mode, what, fix):
    tools.install("trtexec")
    tools.mode(mode)
    error = message(lambda: TensorRtTarget().build(model(1), tmp_path / "m"), TargetError)
    assert what in error.what
    assert fix in error.fix
    assert "&&&& RUNNING" in (tmp_path / "m/trtexec_build.log").read_text()
    assert not list((tmp_path / "m").glob("*.engine"))


@pytest.mark.parametrize("version", ["8205", "101000"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_engine_is_timed_once_per_repeat(built, tools, tmp_path, dynamic, version):
    """8.2 prints 'Batch: 1' for a loaded engine whose batch is static."""
    tools.patch.setenv("STANDIN_TRT_VERSION", version)
    target, artefact = built(4, dynamic=dynamic, device=1)
    records = target.measure(artefact, tmp_path / "p", warmup=3, seconds=1.2, repeats=2)
    assert [record.batch_size for record in records] == [4, 4]
    for record, path in zip(records, sorted((tmp_path / "p").glob("*.log")), strict=True):
        qps = float(path.read_text().split("Throughput: ")[1].split()[0])
        assert record.throughput_ips == pytest.approx(4 * qps)
        odd = version == "8205" and not dynamic
        assert any("prints 'Batch: 1'" in note for note in record.notes) == odd
        assert {"p50", "p90", "p99"} <= set(record.latency_ms)
    argv = tools.calls("trtexec")[-1]
    shapes = ["--shapes=image:4x3x112x112"] if dynamic else []
    load = f"--loadEngine={artefact.path}"
    assert argv == [load, *shapes, "--device=1", "--warmUp=200", "--duration=2"]


def test_a_timing_that_fails_is_refused(built, tools, tmp_path):
    target, artefact = built(1)
    tools.mode("silent")
    measure = {"warmup": 0, "seconds": 0.1, "repeats": 1}
    error = message(lambda: target.measure(artefact, tmp_path / "p", **measure), TargetError)
    assert error.where == str(tmp_path / "p/repeat_1.log")


def test_without_a_runtime_for_python_there_is_speed_only(built, faces, tmp_path):
    target, artefact = built(1)
    error = message(
        lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW),
        UnavailableError,
    )
    assert "only speed" in error.what
    assert "pip install tensorrt" in error.fix


def test_the_provider_starts_from_the_graph_of_the_build(
    built, faces, wanted, tmp_path, monkeypatch
):
    target, artefact = built(2)
    asked = []

    def on_the_cpu(graph, provider, settings):
        asked.append((provider, settings))
        return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [tensorrt.PROVIDER])
    monkeypatch.setattr(tensorrt, "provider_only", on_the_cpu)
    result = target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)
    ((provider, settings),) = asked
    assert provider == "TensorrtExecutionProvider"
    assert settings["trt_fp16_enable"] is True
    (tmp_path / "model_bs2_sim.onnx").write_bytes(b"another")
    assert "changed" in message(lambda: open_session(artefact)).what


def test_a_provider_that_does_not_start_is_refused(model, monkeypatch):
    graph, provider = model(1).onnx, tensorrt.PROVIDER
    assert "built without" in message(lambda: provider_only(graph, provider, {}), TargetError).what
    asked = {}

    class FallsBack:
        def __init__(self, path, options, *, providers, enable_fallback):
            asked.update(path=path, providers=providers, fallback=enable_fallback)

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider])
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallsBack)
    error = message(lambda: provider_only(graph, provider, {"device_id": 1}), TargetError)
    assert "fell back to the CPU" in error.what
    settings = {"device_id": "1"}
    assert asked == {"path": str(graph), "providers": [(provider, settings)], "fallback": 0}


class FakeTensorRt:
    """NVIDIA's package as far as it is used, with ONNX Runtime for the device."""

    class Logger:
        ERROR = 1

        def __init__(self, level):
            assert level == self.ERROR

    class Runtime:
        def __init__(self, logger):
            assert isinstance(logger, FakeTensorRt.Logger)

        def deserialize_cuda_engine(self, data):
            if data == b"of another version":
                return None
            return FakeEngine(json.loads(data))


class FakeEngine:
    def __init__(self, about):
        self.about, self.shape = about, None if about["dynamic"] else about["shape"]
        self.session = onnxruntime.InferenceSession(
            about["onnx"], providers=["CPUExecutionProvider"]
        )

    def create_execution_context(self):
        return self

    def get_tensor_name(self, index):
        return ("image", "features")[index]

    def set_input_shape(self, name, shape):
        assert name == "image"
        self.shape = list(shape)
        return True

    def execute_v2(self, bindings):
        n = int(np.prod(self.shape))
        batch = np.ctypeslib.as_array(
            ctypes.cast(bindings[0], ctypes.POINTER(ctypes.c_float)), (n,)
        )
        output = self.session.run(None, {"image": batch.reshape(self.shape)})[0]
        ctypes.memmove(bindings[1], output.ctypes.data, output.nbytes)
        return True


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_engine_in_this_process(built, monkeypatch, faces, dynamic):
    _, artefact = built(2, dynamic=dynamic)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt)
    batch = np.random.default_rng(1).normal(size=(2, 3, 112, 112)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(
        json.loads(artefact.path.read_text())["onnx"], providers=["CPUExecutionProvider"]
    ).run(None, {"image": batch})[0]
    with EngineSession(artefact, device="cpu") as session:
        first = session.infer(batch)
        second = session.infer(-batch)
    np.testing.assert_array_equal(first, wanted)
    np.testing.assert_allclose(second, -wanted, rtol=1e-4, atol=1e-5)


def test_an_engine_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt)
    path = tmp_path / "a.engine"
    path.write_bytes(b"of another version")
    options = {"batch_size": 1, "embedding_size": 8, "dynamic_batch": False}
    artefact = SimpleNamespace(path=path, options=options)
    error = message(lambda: EngineSession(artefact, device="cpu"), TargetError)
    assert "another version" in error.what


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("[E] Error[1]: [runtime] Cuda failure: no CUDA-capable device is detected", "GPU"),
        ("trtexec: error while loading shared libraries: libnvinfer.so.8", "LD_LIBRARY_PATH"),
        (
            "[E] Error[1]: Serialization assertion failed. Version tag does not match engine",
            "2_com",
        ),
    ],
)
def test_error_lines_are_explained(line, word):
    assert word in explain(line)
