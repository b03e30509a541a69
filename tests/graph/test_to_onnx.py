import hashlib
import warnings

import onnx
import pytest
import torch
from torch import nn

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.models.network import seeded_state_dict


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
