"""Sessions that judge graphs run the file's nodes where asked, print nothing, and do not spin."""

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lresnet_utils.graph.parity import cpu_session

LEVEL = ort.GraphOptimizationLevel


def write(path, operator):
    graph = helper.make_graph(
        [helper.make_node(operator, ["image"], ["features"])],
        "one node",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [2])],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("as_written", "level"), [(True, LEVEL.ORT_DISABLE_ALL), (False, LEVEL.ORT_ENABLE_ALL)]
)
def test_the_graph_is_run_as_written_or_optimised_by_threads_that_wait(tmp_path, as_written, level):
    options = cpu_session(write(tmp_path / "a.onnx", "Neg"), as_written=as_written)
    options = options.get_session_options()
    assert options.graph_optimization_level == level
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_graph_that_cannot_run_says_so_once(tmp_path, capfd):
    with pytest.raises(Exception, match="Nonsense"):
        cpu_session(write(tmp_path / "a.onnx", "Nonsense"))
    assert capfd.readouterr() == ("", "")
