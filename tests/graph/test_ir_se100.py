"""The guide's network along its whole road: PyTorch, ONNX, simplified ONNX."""

import numpy as np
import pytest

from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import run_network, run_onnx
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.models.network import load_network
from lresnet_utils.verify.scores import unit_rows

UNFOLDED = {
    **{"Conv": 200, "BatchNormalization": 104, "PRelu": 50, "MaxPool": 46, "Flatten": 1},
    **{"GlobalAveragePool": 49, "Relu": 49, "Sigmoid": 49, "Mul": 49, "Add": 49},
    **{"Gemm": 1, "ReduceL2": 1, "Div": 1},
}


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir_se100")
    network = load_network("ir_se100", "seeded").module
    raw = export_onnx(network, folder / "raw.onnx", batch_size=1)
    record = simplify_onnx(raw, folder / "simple.onnx", batch_size=1, checks=1)
    yield network, raw, folder / "simple.onnx", record
    for path in (raw, folder / "simple.onnx"):
        path.unlink()


def test_the_exported_graph_is_the_network_layer_by_layer(road):
    summary = summarise(road[1])
    assert summary.operators == UNFOLDED
    assert summary.flops == pytest.approx(24.15e9, abs=0.01e9)
    # Parameters, and a mean and a variance for each of the channels that are normalised.
    assert summary.n_parameters == 65_502_016 + 47_464 - 104
    assert summary.inputs == {"image": (1, 3, 112, 112)}
    assert summary.outputs == {"features": (1, 512)}


def test_simplifying_folds_53_batch_normalisations_and_nothing_else(road):
    _, raw, simple, record = road
    assert summarise(simple).operators == UNFOLDED | {"BatchNormalization": 51}
    assert summarise(simple).flops == summarise(raw).flops
    assert (record.nodes_before, record.nodes_after) == (649, 596)
    assert [path.name for path in sorted(raw.parent.iterdir())] == ["raw.onnx", "simple.onnx"]


def test_all_three_agree_on_unit_embeddings(road):
    network, raw, simple, _ = road
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    expected = run_network(network, batch)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)
    for graph in (raw, simple):
        np.testing.assert_allclose(
            unit_rows(run_onnx(graph, batch)), unit_rows(expected), atol=1e-5
        )
