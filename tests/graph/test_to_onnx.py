import hashlib
import warnings

import numpy as np
import onnx
import onnxsim
import pytest
import torch
from torch import nn

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import run_network, run_onnx
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.models.network import load_network, seeded_state_dict
from lresnet_utils.verify.scores import unit_rows


class Small(nn.Module):
    """Conv-BN-PReLU-pool and a normalised output: the operators that matter, in miniature."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Dropout(1.0), nn.Flatten(), nn.Linear(4, 5)
        )

    def forward(self, x):
        x = self.head(self.trunk(x))
        return x / torch.norm(x, 2, dim=1, keepdim=True)


class Impossible(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[0]


def small():
    # Fresh batch normalisation has equal tensors, which the exporter would merge.
    module = Small()
    module.load_state_dict(seeded_state_dict(module, seed=0))
    return module.eval()


def shape(value):
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("opset", [11, 17])
def test_the_graph_has_the_guides_names_a_fixed_batch_and_every_layer(tmp_path, opset):
    path = export_onnx(small(), tmp_path / "m.onnx", batch_size=4, size=8, opset=opset)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (image,), (features,) = model.graph.input, model.graph.output
    assert (image.name, shape(image)) == ("image", [4, 3, 8, 8])
    assert (features.name, shape(features)) == ("features", [4, 5])
    assert model.opset_import[0].version == opset
    assert [node.op_type for node in model.graph.node] == [
        *("Conv", "BatchNormalization", "PRelu", "GlobalAveragePool", "Flatten", "Gemm"),
        *("ReduceL2", "Div"),
    ]


def test_the_same_weights_give_the_same_single_file(tmp_path):
    digests = {
        hashlib.sha256(
            export_onnx(small(), tmp_path / name, batch_size=1, size=8).read_bytes()
        ).hexdigest()
        for name in ("a.onnx", "b.onnx")
    }
    assert len(digests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert str(tmp_path).encode() not in (tmp_path / "a.onnx").read_bytes()


def test_nothing_is_said_while_exporting(tmp_path, capfd):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        export_onnx(small(), tmp_path / "m.onnx", batch_size=1, size=8)
    assert [str(warning.message) for warning in said] == []
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Small(), {"batch_size": 1}, "training mode"),
        (Small().eval(), {"batch_size": 0}, "batch size of 0"),
        (Small().eval(), {"batch_size": 1, "opset": 99}, "could not export"),
        (Impossible().eval(), {"batch_size": 1}, "could not export"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_no_file(tmp_path, module, options, message):
    with pytest.raises(GraphError, match=message) as caught:
        export_onnx(module, tmp_path / "m.onnx", size=8, **options)
    assert len(str(caught.value).splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


# Simplify.


@pytest.fixture(scope="module")
def network():
    return load_network("sface", "packaged").module


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    return export_onnx(network, tmp_path_factory.mktemp("g") / "sface.onnx", batch_size=2)


def test_every_foldable_batch_normalisation_is_folded(exported, tmp_path):
    out = tmp_path / "sim.onnx"
    record = simplify_onnx(exported, out, batch_size=2)
    before, after = summarise(exported).operators, summarise(out).operators
    assert (before["BatchNormalization"], after["BatchNormalization"]) == (29, 2)
    assert before["Conv"] == after["Conv"] == 27
    assert after.keys() <= before.keys()
    assert record.nodes_before == sum(before.values())
    assert record.nodes_after == sum(after.values())
    assert record.checks == 3
    assert 0 <= record.max_abs_difference < 1e-5
    assert list(tmp_path.iterdir()) == [out]


def test_the_simplified_graph_equals_pytorch_on_pixels(network, exported, tmp_path):
    out = tmp_path / "sim.onnx"
    simplify_onnx(exported, out, batch_size=2, checks=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 112, 112)).astype(np.float32)
    expected = unit_rows(run_network(network, pixels))
    for graph in (exported, out):
        np.testing.assert_allclose(unit_rows(run_onnx(graph, pixels)), expected, atol=1e-5)


def test_the_result_is_the_same_file_every_time_and_nothing_is_said(exported, tmp_path, capfd):
    digests = set()
    for name in ("a.onnx", "b.onnx"):
        simplify_onnx(exported, tmp_path / name, batch_size=2, checks=1)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    assert tuple(capfd.readouterr()) == ("", "")


def test_the_final_normalisation_keeps_its_common_operators(tmp_path):
    class Unit(torch.nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return x / torch.norm(x, 2, dim=1, keepdim=True)

    raw = export_onnx(Unit().eval(), tmp_path / "m.onnx", batch_size=2, size=4)
    simplify_onnx(raw, tmp_path / "s.onnx", batch_size=2)
    operators = summarise(tmp_path / "s.onnx").operators
    assert {"ReduceL2", "Div"} <= operators.keys()
    assert "LpNormalization" not in operators


def test_a_symbolic_batch_is_fixed(tmp_path, exported):
    model = onnx.load(exported)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "16"
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "symbolic.onnx")
    simplify_onnx(tmp_path / "symbolic.onnx", tmp_path / "s.onnx", batch_size=1, checks=1)
    assert summarise(tmp_path / "s.onnx").inputs == {"image": (1, 3, 112, 112)}
    assert summarise(tmp_path / "s.onnx").outputs == {"features": (1, 128)}


@pytest.mark.parametrize("channels", [1, None])
def test_a_wrong_fold_is_found_and_nothing_is_written(exported, tmp_path, monkeypatch, channels):
    honest = onnxsim.simplify

    def wrong(model, **options):
        simple, ok = honest(model, **options)
        name = next(n.input[1] for n in simple.graph.node if "conv_9_dw" in n.name)
        tensor = next(t for t in simple.graph.initializer if t.name == name)
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[:channels] *= 1.2
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
        return simple, ok

    monkeypatch.setattr(onnxsim, "simplify", wrong)
    out = tmp_path / "s.onnx"
    with pytest.raises(GraphError, match="computes something else"):
        simplify_onnx(exported, out, batch_size=2, checks=1, input_range=(0, 255))
    assert list(tmp_path.iterdir()) == []


def test_wrong_batches_no_checks_and_damaged_files_are_refused(exported, tmp_path):
    out = tmp_path / "s.onnx"
    with pytest.raises(GraphError, match="does not take batches of 3"):
        simplify_onnx(exported, out, batch_size=3)
    with pytest.raises(GraphError, match="at least once"):
        simplify_onnx(exported, out, batch_size=2, checks=0)
    damaged = tmp_path / "d.onnx"
    damaged.write_bytes(exported.read_bytes()[:1000])
    for path in (damaged, tmp_path / "absent.onnx"):
        with pytest.raises(GraphError):
            simplify_onnx(path, out, batch_size=2)
    assert not out.exists()
