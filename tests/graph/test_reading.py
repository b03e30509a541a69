"""ONNX files that point outside themselves or announce what they do not hold."""

import numpy as np
import onnx
import pytest
from builders import onnx_model
from onnx import TensorProto, helper, numpy_helper

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.reading import read_graph


def graph(weight=None, axes=(1, 3)):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weight = weight or np.ones((3, 2), np.float32)
    return onnx_model(nodes, {"x": list(axes)}, {"y": [1, 2]}, {"w": weight}, ir_version=9)


def refused(tmp_path, model, why):
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match=why) as error:
        read_graph(path)
    assert len(str(error.value).splitlines()) <= 3


def test_a_whole_graph_is_read(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(graph().SerializeToString())
    assert read_graph(path).graph.node[0].op_type == "MatMul"


@pytest.mark.parametrize("place", ["/etc/passwd", "../../etc/passwd", "weights.bin"])
def test_weights_outside_the_file_are_refused(tmp_path, place):
    (tmp_path / "weights.bin").write_bytes(b"\0" * 24)
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    refused(tmp_path, graph(weight), "lies outside the file")


def test_outside_weights_inside_a_node_are_found_too(tmp_path):
    model = graph()
    inner = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    inner.external_data.add(key="location", value="../x")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=inner))
    refused(tmp_path, model, "lies outside the file")


@pytest.mark.parametrize("dims", [(10**9, 10**9), (3, 3), (-3, -2)])
def test_a_weight_of_another_length_than_its_shape_is_refused(tmp_path, dims):
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    del weight.dims[:]
    weight.dims.extend(dims)
    refused(tmp_path, graph(weight), "not as long as its shape")


def test_impossible_axes_and_missing_operator_sets_are_refused(tmp_path):
    refused(tmp_path, graph(axes=(-1, 3)), "no length")
    refused(tmp_path, graph(axes=(2**40, 3)), "no length")
    model = graph()
    del model.opset_import[:]
    refused(tmp_path, model, "which operators")
    refused(tmp_path, onnx.ModelProto(), "which operators")
