import numpy as np
import onnxruntime as ort
import pytest
import torch
from builders import write_onnx
from onnx import helper
from torch import nn

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.parity import cpu_session, run_network, run_onnx
from lresnet_utils.graph.to_onnx import export_onnx


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()


@pytest.fixture(scope="module")
def graph(linear, tmp_path_factory):
    return export_onnx(linear, tmp_path_factory.mktemp("g") / "m.onnx", batch_size=2, size=2)


@pytest.mark.parametrize("as_written", [True, False])
def test_both_runtimes_compute_the_matrix_product_row_by_row(linear, graph, as_written):
    batches = np.random.default_rng(0).normal(size=(3, 2, 3, 2, 2)).astype(np.float32)
    weight, bias = (p.detach().numpy().astype(float) for p in linear[1].parameters())
    expected = batches.reshape(6, 12).astype(float) @ weight.T + bias
    for rows in (run_network(linear, batches), run_onnx(graph, batches, as_written=as_written)):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_array_equal(run_onnx(graph, batches[0]), run_onnx(graph, batches)[:2])


def test_a_batch_of_another_size_a_missing_and_a_damaged_file_are_refused(graph, tmp_path):
    with pytest.raises(GraphError, match="could not run the graph"):
        run_onnx(graph, np.zeros((3, 3, 2, 2), np.float32))
    with pytest.raises(GraphError):
        run_onnx(tmp_path / "absent.onnx", np.zeros((2, 3, 2, 2), np.float32))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(GraphError) as caught:
        run_onnx(damaged, np.zeros((2, 3, 2, 2), np.float32))
    assert len(str(caught.value).splitlines()) == 3


# Sessions that judge graphs run the file's nodes where asked, print nothing, and do not spin.


LEVEL = ort.GraphOptimizationLevel


def write(path, operator):
    nodes = [helper.make_node(operator, ["image"], ["features"])]
    return write_onnx(path, nodes, {"image": [2]}, {"features": [2]})


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
