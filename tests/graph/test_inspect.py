import dataclasses
import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from builders import write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.inspect import (
    WEIGHTS,
    WEIGHTS_AND_ACTIVATIONS,
    count_parameters,
    find_quantised,
    summarise,
)
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.models.network import load_network


@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    per_group=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
)
@settings(max_examples=15)
def test_convolutions_count_two_operations_per_multiply_add(
    tmp_path_factory, batch, groups, per_group, kernel, stride
):
    layer = nn.Conv2d(groups * 2, groups * per_group, kernel, stride=stride, groups=groups)
    x = torch.zeros(batch, groups * 2, 7, 7)
    # Every multiply-add of the definition, counted one by one.
    side = (7 - kernel) // stride + 1
    expected = sum(2 * 2 * kernel * kernel for _ in range(groups * per_group * side * side))
    weights = {"w": layer.weight.detach().numpy()}
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, strides=[stride, stride])
    path = tmp_path_factory.mktemp("c") / "c.onnx"
    write_onnx(path, [node], {"x": x.shape}, {"y": layer(x).shape}, weights)
    assert summarise(path).flops == expected


def test_matrix_products_count_their_inner_axis(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("MatMul", ["h", "m"], ["y"]),
    ]
    weights = {"w": np.zeros((5, 7), np.float32), "m": np.zeros((5, 3), np.float32)}
    path = write_onnx(tmp_path / "m.onnx", nodes, {"x": [4, 7]}, {"y": [4, 3]}, weights)
    summary = summarise(path)
    assert [layer.flops for layer in summary.layers] == [2 * 7 * 5, 2 * 5 * 3]
    assert summary.flops == 100
    assert summary.n_parameters == 50
    transposed = [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)]
    path = write_onnx(
        tmp_path / "t.onnx",
        transposed,
        {"x": [7, 1]},
        {"y": [1, 5]},
        {"w": np.zeros((7, 5), np.float32)},
    )
    assert summarise(path).layers[0].flops * 7 == 2 * 7 * 5


def test_a_symbolic_batch_counts_as_one_image(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"])]
    weights = {"w": np.zeros((7, 5), np.float32)}
    path = write_onnx(tmp_path / "m.onnx", nodes, {"x": ["n", 7]}, {"y": ["n", 5]}, weights)
    summary = summarise(path)
    assert (summary.flops, summary.inputs) == (70, {"x": ("n", 7)})


def test_sface_in_numbers(tmp_path):
    network = load_network("sface", "packaged").module
    path = export_onnx(network, tmp_path / "m.onnx", batch_size=3)
    summary = summarise(path)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 112, 112))
    assert summary.flops == counter.get_total_flops()
    assert summary.file_bytes == path.stat().st_size
    assert summary.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (summary.opset, summary.inputs) == (17, {"image": (3, 3, 112, 112)})
    assert summary.outputs == {"features": (3, 128)}
    assert sum(summary.operators.values()) == len(summary.layers)
    assert list(summary.operators.values()) == sorted(summary.operators.values(), reverse=True)
    gemm = next(layer for layer in summary.layers if layer.op == "Gemm")
    assert (gemm.flops, gemm.output_shape) == (2 * 50176 * 128, (3, 128))
    json.dumps(dataclasses.asdict(summary))


def test_unreadable_files_and_unknown_shapes_are_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    for name in ("noise.onnx", "absent.onnx"):
        with pytest.raises(GraphError) as caught:
            summarise(tmp_path / name)
        assert len(str(caught.value).splitlines()) <= 3
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    path = write_onnx(tmp_path / "u.onnx", nodes, {"x": ["n", "k"]}, {"y": ["n", "k"]})
    with pytest.raises(GraphError, match="cannot be inferred"):
        summarise(path)


# --- quantised already -------------------------------------------------------------------------


def convolution(path):
    """A graph of one convolution and one product, with 3 * 8 * 9 + 8 and 8 * 4 weights."""
    rng = np.random.default_rng(0)
    numbers = {"w": (8, 3, 3, 3), "b": (8,), "g": (8, 4)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in numbers.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "g"], ["y"]),
    ]
    return write_onnx(path, nodes, {"x": [1, 3, 16, 16]}, {"y": [1, 4]}, weights)


class Faces(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.left = [{"x": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(2)]

    def get_next(self):
        return self.left.pop() if self.left else None


def test_a_graph_that_came_quantised_is_called_that_and_its_integers_are_counted(tmp_path):
    plain = convolution(tmp_path / "plain.onnx")
    whole = summarise(plain)
    assert whole.quantised is None and whole.n_parameters == 8 * 27 + 8 + 32
    quantised = {
        "qdq": lambda out: quantize_static(plain, out, Faces(), quant_format=QuantFormat.QDQ),
        "operators": lambda out: quantize_static(
            plain,
            out,
            Faces(),
            quant_format=QuantFormat.QOperator,
            op_types_to_quantize=["Conv", "MatMul"],
        ),
    }
    for name, quantise in quantised.items():
        out = tmp_path / f"{name}.onnx"
        quantise(out)
        found = summarise(out)
        assert found.quantised.what == WEIGHTS_AND_ACTIVATIONS, name
        assert (found.quantised.precision, found.n_parameters) == ("int8", whole.n_parameters)
        assert found.flops == whole.flops


def test_weights_that_are_only_stored_as_integers_leave_the_products_as_they_are(tmp_path):
    model = onnx.load(convolution(tmp_path / "plain.onnx"))
    given = next(t for t in model.graph.initializer if t.name == "g")
    stored = onnx.numpy_helper.from_array(np.ones((8, 4), np.int8), "g_int")
    scale = onnx.numpy_helper.from_array(np.float32(0.5), "g_scale")
    model.graph.initializer.remove(given)
    model.graph.initializer.extend([stored, scale])
    model.graph.node.insert(
        0, onnx.helper.make_node("DequantizeLinear", ["g_int", "g_scale"], ["g"])
    )
    found = find_quantised(model.graph)
    assert (found.what, found.types, found.precision) == (WEIGHTS, ("int8",), None)
    assert count_parameters(model.graph) == 8 * 27 + 8 + 32
