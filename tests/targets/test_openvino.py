"""Times of layers, against the arithmetic that the graph says and the wall clock."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lresnet_utils.graph.inspect import summarise
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles

BATCH, SIZE = 2, 8


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Profile a convolution, a depthwise one and a product."""
    folder = tmp_path_factory.mktemp("profile")
    rng = np.random.default_rng(0)
    weights = {
        "plain": rng.normal(size=(16, 3, 3, 3)),
        "depthwise": rng.normal(size=(16, 1, 3, 3)),
        "matrix": rng.normal(size=(SIZE, 16 * 56 * 56)) / 200,
    }
    nodes = [
        helper.make_node("Conv", ["image", "plain"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], group=16, pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "matrix"], ["features"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [BATCH, 3, 112, 112])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [BATCH, SIZE])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    path = folder / "three.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    target = get_target("openvino-fp32")
    if not target.available().ok:
        pytest.skip("OpenVINO is not installed")
    artefact = target.build(ModelFiles("sface", path, path, BATCH, SIZE), folder, threads=1)
    batch = rng.normal(size=(BATCH, 3, 112, 112)).astype(np.float32)
    return summarise(path), target.profile(artefact, batch, seconds=0.02)


def test_the_arithmetic_is_that_of_the_graph(found):
    summary, profile = found
    assert sum(layer["flops"] for layer in profile["layers"]) == BATCH * summary.flops
    kinds = [layer["kind"] for layer in profile["layers"] if layer["flops"]]
    assert kinds == ["convolution", "depthwise convolution", "fully connected"]


def test_bytes_are_inputs_weights_and_outputs(found):
    _, profile = found
    plain, depthwise, product = (layer for layer in profile["layers"] if layer["flops"])
    image, middle = BATCH * 3 * 112 * 112, BATCH * 16 * 56 * 56
    assert plain["bytes"] == 4 * (image + 16 * 3 * 9 + middle)
    assert depthwise["bytes"] == 4 * (middle + 16 * 9 + middle)
    assert product["bytes"] == 4 * (middle + SIZE * 16 * 56 * 56 + BATCH * SIZE)


def test_layers_take_time_but_not_more_than_the_batch(found):
    _, profile = found
    assert profile["batches"] >= 3
    total = sum(layer["ms"] for layer in profile["layers"])
    # The clock of the layers counts whole microseconds, rounded.
    assert 0 < total <= profile["wall_ms"] + 0.002 * len(profile["layers"])


# The first batches of a process may come from several lanes at once.

# Without the first array of `_core`, about three of eight such processes stop for ever.
FIRST_BATCHES = """
import os, sys, threading
import numpy as np, openvino
from openvino import opset13 as op
from lresnet_utils.targets.openvino import _core

image = op.parameter([1, 3, 112, 112], openvino.Type.f32)
compiled = _core().compile_model(openvino.Model([op.relu(image)], [image]), "CPU")
requests = [compiled.create_infer_request() for _ in range(2)]
batch = np.zeros((1, 3, 112, 112), np.float32)
started = []

def lane(request):
    while not started:
        pass
    request.infer({0: batch}, share_inputs=True)

lanes = [threading.Thread(target=lane, args=(one,)) for one in requests]
for one in lanes:
    one.start()
sys.setswitchinterval(1e-6)
started.append(True)
for one in lanes:
    one.join()
"""


@pytest.mark.parametrize("attempt", range(8))
def test_two_lanes_begin_at_the_same_time(attempt):
    done = subprocess.run([sys.executable, "-c", FIRST_BATCHES], timeout=600, capture_output=True)
    assert done.returncode == 0, done.stderr


# On a processor with fewer instructions, simulated by oneDNN's own switch.

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from lresnet_utils.machine.facts import machine
from lresnet_utils.targets import TARGETS
from lresnet_utils.targets.base import ModelFiles

onnx, folder = Path(sys.argv[1]), Path(sys.argv[2])
batch = np.load(sys.argv[3])
files = ModelFiles("sface", onnx, onnx, len(batch), 8)
told = {"machine": machine()}
for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8"):
    target = TARGETS[name]
    able = target.available()
    told[name] = {"ok": able.ok, "text": able.reason or able.note}
    if able.ok:
        with target.load(target.build(files, folder / name, threads=1)) as session:
            told[name]["features"] = session.infer(batch).tolist()
print(json.dumps(told))
"""


def test_every_cpu_target_still_runs_or_says_why_not(model, tmp_path):
    files = model(2)
    batch = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    np.save(tmp_path / "batch.npy", batch)
    arguments = [files.onnx, tmp_path / "limited", tmp_path / "batch.npy"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    plain = get_target("openvino-fp32")
    with plain.load(plain.build(files, tmp_path / "free", threads=1)) as session:
        expected = session.infer(batch)
    for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-int8"):
        np.testing.assert_allclose(told[name]["features"], expected, rtol=1e-4, atol=1e-4)
    assert not told["openvino-bf16"]["ok"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in told["openvino-bf16"]["text"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in told["openvino-int8"]["text"]
    assert told["machine"]["isa_limit"] == "ONEDNN_MAX_CPU_ISA=AVX2"
