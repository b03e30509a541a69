"""Every target against the same arithmetic written out in NumPy, and its refusals."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import write_onnx
from onnx import helper

from lresnet_utils.errors import ParamsError, TargetError
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.report.charts.display import look_of
from lresnet_utils.targets import TARGETS, get_target, openvino
from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    Look,
    ModelFiles,
    Target,
    importable,
)
from lresnet_utils.untrusted.settings import ToolOptions

BATCH, SIZE = 2, 8
GRAPH_TARGETS = ["onnxruntime-fp32", "openvino-fp32", "openvino-bf16"]


class TinyNet:
    """Convolution without overlap, PReLU, Gemm: small, yet with every kind of layer that counts."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.kernel = rng.normal(size=(4, 3, 16, 16)).astype(np.float32) / 28
        self.slope = rng.uniform(0.1, 0.4, size=(4, 1, 1)).astype(np.float32)
        self.matrix = rng.normal(size=(SIZE, 196)).astype(np.float32) / 14

    def save(self, path):
        nodes = [
            helper.make_node("Conv", ["image", "kernel"], ["a"], strides=[16, 16]),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "matrix"], ["features"], transB=1),
        ]
        weights = {name: getattr(self, name) for name in ("kernel", "slope", "matrix")}
        ends = {"image": [BATCH, 3, 112, 112]}, {"features": [BATCH, SIZE]}
        write_onnx(path, nodes, *ends, weights)

    def __call__(self, batch):
        tiles = batch.astype(np.float64).reshape(len(batch), 3, 7, 16, 7, 16)
        a = np.einsum("ncyixj,ocij->noyx", tiles, self.kernel.astype(np.float64))
        b = np.where(a > 0, a, a * self.slope)
        return b.reshape(len(batch), -1) @ self.matrix.T.astype(np.float64)


@pytest.fixture(scope="module")
def net():
    return TinyNet()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    net.save(folder / "tiny.onnx")
    return ModelFiles("sface", folder / "network.pt", folder / "tiny.onnx", BATCH, SIZE)


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(size=(BATCH, 3, 112, 112)).astype(np.float32)


def usable(name):
    target = get_target(name)
    able = target.available()
    if not able.ok:
        pytest.skip(able.reason)
    return target


@pytest.mark.parametrize("name", GRAPH_TARGETS)
def test_a_build_computes_the_network_at_its_precision(name, net, files, batch, tmp_path):
    target = usable(name)
    artefact = target.build(files, tmp_path / "engine", threads=1)
    again = Artefact.from_json(json.loads(json.dumps(artefact.to_json())))
    assert again == artefact
    with target.load(again) as session:
        result = session.infer(batch)
    expected = net(batch)
    error = np.abs(result - expected).max() / np.abs(expected).max()
    if target.precision == "bf16":
        # Eight bits of mantissa: far coarser than fp32, so anything finer is not bf16.
        assert 1e-4 < error < 2e-2
    else:
        assert error < 1e-5
    assert result.dtype == np.float32 and result.shape == (BATCH, SIZE)


@pytest.mark.parametrize("name", GRAPH_TARGETS)
def test_a_result_is_not_changed_by_the_next_inference(name, files, batch, tmp_path):
    target = usable(name)
    with target.load(target.build(files, tmp_path, threads=1)) as session:
        first = session.infer(batch)
        kept = first.copy()
        second = session.infer(batch + 1)
    assert np.array_equal(first, kept) and not np.array_equal(first, second)


@pytest.fixture(scope="module")
def sface(tmp_path_factory):
    network = load_network("sface", "seeded")
    weights = save_network(network, tmp_path_factory.mktemp("sface") / "network.pt")
    return network, ModelFiles("sface", weights, weights.with_suffix(".onnx"), 1, 128)


def test_torch_computes_what_the_module_computes(sface, tmp_path):
    torch = pytest.importorskip("torch")
    network, files = sface
    target = get_target("torch-fp32")
    artefact = target.build(files, tmp_path / "engine", threads=1)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 112, 112)).astype(np.float32)
    with torch.inference_mode():
        expected = network.module(torch.from_numpy(image)).numpy()
    threads = torch.get_num_threads()
    try:
        with target.load(artefact) as session:
            torch.set_num_threads(2)
            first = session.infer(image)
            assert torch.get_num_threads() == 1
            kept = first.copy()
            session.infer(image[..., ::-1].copy())
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(first, kept)
    assert np.abs(first - expected).max() < 1e-4 * np.abs(expected).max()


def test_torch_refuses_weights_that_changed(sface, tmp_path):
    network, _ = sface
    weights = save_network(network, tmp_path / "network.pt")
    files = ModelFiles("sface", weights, weights, 1, 128)
    target = get_target("torch-fp32")
    artefact = target.build(files, tmp_path / "engine")
    with weights.open("ab") as file:
        file.write(b"x")
    with pytest.raises(TargetError, match="weights"):
        target.load(artefact)


def test_a_torch_build_moves_with_its_run(sface, tmp_path):
    network, _ = sface
    weights = save_network(network, tmp_path / "here" / "network.pt")
    target = get_target("torch-fp32")
    artefact = target.build(
        ModelFiles("sface", weights, weights, 1, 128), tmp_path / "here" / "engine"
    )
    (tmp_path / "here").rename(tmp_path / "there")
    moved = artefact.to_json()
    moved["path"] = moved["path"].replace("/here/", "/there/")
    with target.load(Artefact.from_json(moved)) as session:
        assert session.infer(np.zeros((1, 3, 112, 112), np.float32)).shape == (1, 128)


@pytest.mark.parametrize("name", GRAPH_TARGETS)
def test_a_changed_build_is_refused(name, files, tmp_path):
    target = usable(name)
    artefact = target.build(files, tmp_path, threads=1)
    content = bytearray(artefact.path.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.path.write_bytes(content)
    with pytest.raises(TargetError, match="SHA-256"):
        target.load(artefact)
    artefact.path.unlink()
    with pytest.raises(TargetError, match="does not exist"):
        target.load(artefact)


@pytest.mark.parametrize("name", GRAPH_TARGETS)
def test_what_a_runtime_refuses_becomes_one_short_error(name, tmp_path):
    target = usable(name)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    files = ModelFiles("sface", broken, broken, BATCH, SIZE)
    with pytest.raises(TargetError, match=f"{name} cannot build the network") as caught:
        target.build(files, tmp_path / "engine")
    assert len(str(caught.value).splitlines()) <= 3
    assert list((tmp_path / "engine").iterdir()) == []


def test_a_build_of_another_target_is_refused(files, tmp_path):
    artefact = get_target("onnxruntime-fp32").build(files, tmp_path, threads=1)
    with pytest.raises(TargetError, match="for onnxruntime-fp32"):
        get_target("openvino-fp32").load(artefact)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: batch[:1],
        lambda batch: batch.astype(np.float64),
        lambda batch: batch[..., ::-1],
        lambda batch: batch.transpose(0, 2, 3, 1),
    ],
)
def test_a_batch_of_another_form_is_refused(spoil, files, batch, tmp_path):
    target = get_target("onnxruntime-fp32")
    with (
        target.load(target.build(files, tmp_path, threads=1)) as session,
        pytest.raises(TargetError, match="takes C-contiguous"),
    ):
        session.infer(spoil(batch))


def test_a_wrong_embedding_size_is_noticed(files, batch, tmp_path):
    target = get_target("onnxruntime-fp32")
    wrong = ModelFiles(files.architecture, files.weights, files.onnx, BATCH, SIZE + 1)
    with (
        target.load(target.build(wrong, tmp_path, threads=1)) as session,
        pytest.raises(TargetError, match="output of shape"),
    ):
        session.infer(batch)


def test_zero_threads_means_every_core(files, tmp_path, monkeypatch):
    monkeypatch.setattr("lresnet_utils.targets.base.usable_cores", lambda: 3)
    target = get_target("onnxruntime-fp32")
    assert target.build(files, tmp_path, threads=0).options["threads"] == 3
    assert target.build(files, tmp_path, threads=1).options["threads"] == 1


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ({"avx2", "avx512f"}, None),
        ({"avx512f", "avx512_bf16"}, "avx512_bf16"),
        ({"avx512_bf16", "amx_bf16"}, "amx_bf16"),
        (None, "the processor"),
    ],
)
def test_bf16_needs_instructions_for_it(flags, found, monkeypatch):
    class Core:
        def get_property(self, device, key):
            return ["BF16", "FP32"]

    monkeypatch.setattr(openvino, "_core", lambda: Core())
    monkeypatch.setattr(openvino, "cpu_flags", lambda: flags)
    able = get_target("openvino-bf16").available()
    assert openvino.native_bf16() == found
    assert able.ok == (found is not None)
    assert able.note if able.ok else able.reason


def test_an_unavailable_target_refuses_with_its_remedy(files, tmp_path, monkeypatch):
    target = get_target("openvino-bf16")
    monkeypatch.setattr(
        type(target), "available", lambda self: Availability(False, "no such device", "buy one")
    )
    with pytest.raises(TargetError, match="no such device") as caught:
        target.build(files, tmp_path)
    assert caught.value.fix == "buy one"


def test_a_broken_installation_is_told_from_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "broken_runtime.py").write_text("import a_library_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    assert "cannot be imported" in importable("broken_runtime", "broken-runtime").reason
    assert importable("absent_runtime", "absent").remedy == "pip install absent"


def test_names_are_what_the_registry_says():
    tools = ["tensorrt-fp16", "ascend-fp16", "cann-fp16", "replay"]
    torch = ["torch-fp32", "torch-compile-fp32", "torch-compile-bf16"]
    onnxruntime = ["onnxruntime-fp32", "onnxruntime-int8"]
    openvino = ["openvino-fp32", "openvino-bf16", "openvino-int8"]
    # Params files and results name them; further ones may stand anywhere.
    relied_on = [*torch, *onnxruntime, *openvino, *tools]
    assert [name for name in TARGETS if name in relied_on] == relied_on
    for name, target in TARGETS.items():
        assert target.name == name
        # The version of what is not installed is not known, and none is made up.
        assert target.versions() or not target.available().ok
    with pytest.raises(ParamsError, match="did you mean 'openvino-fp32'"):
        get_target("openvino-fp23")


def test_every_target_declares_its_look_and_what_runs_its_builds():
    for target in TARGETS.values():
        assert isinstance(target.look, Look)
        opens = type(target).open is not Target.open
        assert opens == (target.set_tool is None), target.name
        assert (target.quantiser is not None) == (target.precision == "int8")


def test_settings_of_tools_reach_the_targets_that_have_some():
    device = ToolOptions(device=3)
    configured = {name: get_target(name, device) for name in TARGETS}
    able = {name for name, target in configured.items() if target.tools == device}
    assert able == {"tensorrt-fp16", "ascend-fp16", "cann-fp16", "replay"}
    assert all(target.tools is None for name, target in configured.items() if name not in able)
    assert TARGETS["cann-fp16"].tools.device == 0


def test_importing_the_registry_imports_no_runtime():
    code = (
        "import sys, lresnet_utils.targets;"
        "print(sorted({'torch', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The target that docs/add_a_target.md writes out is a target.

PAGE = Path(__file__).parents[2] / "docs" / "add_a_target.md"


def test_it_builds_loads_and_gives_what_onnx_runtime_gives(model, tmp_path, monkeypatch):
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    written = names["ReferenceTarget"]()
    assert written.available().ok and written.name == "onnxreference-fp32"
    monkeypatch.setitem(TARGETS, written.name, written)
    assert get_target(written.name) is written and look_of(written.name) == written.look
    batch = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    outputs = []
    for target in (written, get_target("onnxruntime-fp32")):
        with target.load(target.build(model(2), tmp_path / target.name)) as session:
            outputs.append(session.infer(batch))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
