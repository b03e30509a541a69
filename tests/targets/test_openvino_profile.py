"""Times of layers, against the arithmetic that the graph says and the wall clock."""

import numpy as np
import pytest
from builders import write_onnx
from onnx import helper

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
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    ends = {"image": [BATCH, 3, 112, 112]}, {"features": [BATCH, SIZE]}
    path = write_onnx(folder / "three.onnx", nodes, *ends, weights)
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
