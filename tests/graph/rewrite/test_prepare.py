import numpy as np
import onnx
import pytest

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import run_network, run_onnx
from lresnet_utils.graph.rewrite import REWRITES, prepare_onnx
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.models.network import load_network
from lresnet_utils.verify.scores import unit_rows


@pytest.fixture(scope="module")
def ir_se50(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir_se50")
    module = load_network("ir_se50", "seeded").module
    raw = export_onnx(module, folder / "raw.onnx", batch_size=1)
    record = prepare_onnx(raw, folder / "new.onnx")
    yield module, raw, folder / "new.onnx", record
    for path in (raw, folder / "new.onnx"):
        path.unlink()


def test_ir_se50_computes_the_same_without_any_normalisation(ir_se50):
    module, raw, new, record = ir_se50
    before, after = summarise(raw), summarise(new)
    faces = np.random.default_rng(1).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    expected = unit_rows(run_network(module, faces))
    np.testing.assert_allclose(unit_rows(run_onnx(new, faces)), expected, rtol=0, atol=1e-5)
    assert record.max_abs_difference <= 1e-5
    assert (record.nodes_before, record.nodes_after) == (
        sum(before.operators.values()),
        sum(after.operators.values()),
    )
    # 24 units, of which four sub-sample or project their shortcut.
    identities = 24 - 4 + before.operators.get("Identity", 0)
    assert record.applied == {
        **{"identity-pooling": identities, "global-pooling": 0},
        **{"gate-convolutions": 0, "gate-scaling": 0, "prelu-slope": 25},
        **{"norm-backward": 29, "norm-forward": 1, "norm-carried": 24},
    }
    assert "BatchNormalization" not in after.operators
    assert (after.flops, after.inputs, after.outputs) == (
        (before.flops, before.inputs, before.outputs)
    )


def test_sface(tmp_path):
    raw = export_onnx(load_network("sface", "packaged").module, tmp_path / "a", batch_size=2)
    record = prepare_onnx(raw, tmp_path / "b", input_range=(0, 255))
    assert record.applied["norm-backward"] == 28 and record.applied["norm-forward"] == 1
    assert summarise(tmp_path / "b").outputs == {"features": (2, 128)}


@pytest.fixture
def small(net, tmp_path):
    net = net(shape=(2, 3, 6, 5))
    y = net.prelu(net.conv("image", 3, 4, pads=[1] * 4), 4)
    y = net.conv(net.norm(y, 4), 4, 4, pads=[1] * 4)
    model = net.model(net.norm(net.linear(net.op("Flatten", y), 120, 8), 8))
    onnx.save(model, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def test_only_the_rewrites_asked_for_are_applied_in_the_order_of_the_table(small, tmp_path):
    record = prepare_onnx(small, tmp_path / "o", rewrites=["norm-carried", "norm-backward"])
    assert list(record.applied.items()) == [("norm-backward", 1), ("norm-carried", 1)]
    assert (record.nodes_before, record.nodes_after) == (7, 6)
    stored = onnx.load(tmp_path / "o").graph
    read = {name for node in stored.node for name in node.input}
    assert {tensor.name for tensor in stored.initializer} <= read
    again = prepare_onnx(small, tmp_path / "p", rewrites=["norm-backward", "norm-carried"])
    assert again == record
    assert (tmp_path / "o").read_bytes() == (tmp_path / "p").read_bytes()


def test_an_old_file_that_lists_its_constants_as_inputs_is_rewritten(small, tmp_path):
    model = onnx.load(small)
    model.ir_version, model.opset_import[0].version = 3, 8
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    onnx.save(model, tmp_path / "old")
    assert prepare_onnx(tmp_path / "old", tmp_path / "o").applied["norm-carried"] == 1
    assert len(onnx.load(tmp_path / "o").graph.input) == 1


def test_a_wrong_rewrite_is_found_and_nothing_is_written(small, tmp_path, monkeypatch):
    def wrong(graph):
        layers = [node for node in graph if node.op_type == "Conv"]
        for layer in layers:
            layer.resize_inputs(2)
        return len(layers)

    monkeypatch.setitem(REWRITES, "norm-carried", wrong)
    with pytest.raises(GraphError, match="computes something else"):
        prepare_onnx(small, tmp_path / "o")
    assert list(tmp_path.iterdir()) == [small]


def test_what_cannot_be_prepared_is_refused(small, net, tmp_path):
    with pytest.raises(GraphError, match="did you mean 'norm-carried'"):
        prepare_onnx(small, tmp_path / "o", rewrites=["norm-caried"])
    damaged, two = tmp_path / "damaged", tmp_path / "two"
    damaged.write_bytes(small.read_bytes()[:200])
    forked = net()
    onnx.save(forked.model(forked.op("Relu", "image"), forked.op("Neg", "image")), two)
    shapeless, model = tmp_path / "shapeless", onnx.load(small)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, shapeless)
    for path in (damaged, two, shapeless, tmp_path / "absent"):
        with pytest.raises(GraphError) as caught:
            prepare_onnx(path, tmp_path / "o")
        assert caught.value.where == str(path)
    assert not (tmp_path / "o").exists()
