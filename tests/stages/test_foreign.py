"""A graph of another maker through the stages: exported, built, embedded."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lresnet_utils.custody import broken, recorded
from lresnet_utils.errors import ParamsError
from lresnet_utils.files import read_arrays
from lresnet_utils.graph.export import export_onnx
from lresnet_utils.models.seeding import seeded_state_dict
from lresnet_utils.params import check_params
from lresnet_utils.preflight import check
from lresnet_utils.report import show
from lresnet_utils.report.pages import export as page
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.compile import compile_targets
from lresnet_utils.stages.export import export
from lresnet_utils.stages.foreign import foreign_input, look_at
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.verify.scores import unit_rows

TARGETS = ["torch-fp32", "onnxruntime-fp32", "openvino-fp32"]


@pytest.fixture
def graph(tmp_path):
    """A small network, exported by PyTorch for one face at a time."""
    layers = (nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.PReLU(8), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(1568, 32))
    state = seeded_state_dict(network, seed=0)
    network.load_state_dict(state)
    network.eval()
    return network, export_onnx(network, tmp_path / "given.onnx", batch_size=1)


def test_a_graph_goes_the_whole_road(graph, small_lfw, tmp_path, monkeypatch):
    network, path = graph
    run = RunFolder(tmp_path / "run")
    faces = preprocess(run, dataset=str(small_lfw))
    options = {"channel_order": "bgr", "normalisation": "minus1_1", "dataset": str(small_lfw)}
    record = export(run, architecture="onnx", weights=str(path), batch_size=4, **options)
    assert record["network"]["n_parameters"] == sum(
        t.numel() for k, t in network.state_dict().items() if "tracked" not in k
    )
    assert record["foreign"]["changes"] == {"batch-size": 1}
    assert max(row["max_abs_difference"] for row in record["parity"]) < 1e-5
    build = {"search_seconds": 0, "prepare": "all"}
    built = compile_targets(run, batch_size=4, targets=TARGETS, threads=1, build=build)["targets"]
    assert built["torch-fp32"]["status"] == "unavailable"
    assert "PyTorch runs modules" in built["torch-fp32"]["reason"]
    embedded = infer(run, batch_size=4, targets=TARGETS, flip=False, channel_test=True)
    pixels = np.array(faces.images())[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels / 127.5 - 1)).numpy()
    for target in TARGETS[1:]:
        vectors = read_arrays(run.embeddings(4, target, "aligned"))["vectors"]
        np.testing.assert_allclose(vectors, unit_rows(expected), atol=1e-5)
    links = [*recorded(record), *recorded(embedded)]
    assert links[0]["file"] == "given.onnx (graph)"
    assert broken(run, links) == {}
    shown = []
    monkeypatch.setattr(show, "_display", lambda data, **_: shown.append(data["text/html"]))
    page.network(record)
    page.parity(record)
    assert "batch-size (1)" in "".join(shown)


def checked(path, tmp_path, **model):
    """Do what ``lresnet run`` does before it starts."""
    values = {
        "name": "x",
        "model": {"architecture": "onnx", "weights": str(path), "channel_order": "rgb"}
        | {"normalisation": "raw"}
        | model,
        "dataset": {"source": "none"},
        "targets": ["onnxruntime-fp32", "torch-fp32"],
        "reference": "onnxruntime-fp32",
    } | model.pop("whole", {})
    check(check_params(values, where="x.yaml"), RunFolder(tmp_path / "run"))


@pytest.mark.parametrize(
    ("model", "what", "fix"),
    [
        ({"channel_order": "auto"}, "does not tell the channel order", "model.channel_order"),
        ({"normalisation": "auto"}, "cannot be read from the graph", "model.normalisation"),
        ({"weights": "seeded"}, "no weights but those of its file", "name the .onnx file"),
        ({"architecture": "iresnet50"}, "a whole network", "model.architecture to onnx"),
    ],
)
def test_what_cannot_be_known_is_asked_for_before_work_starts(graph, tmp_path, model, what, fix):
    path = graph[1]
    checked(path, tmp_path)
    with pytest.raises(ParamsError, match=what) as caught:
        checked(path, tmp_path, **model)
    assert fix in caught.value.fix
    assert len(str(caught.value).splitlines()) == 3


def test_a_reference_that_cannot_run_graphs_is_refused(graph, tmp_path):
    values = {
        "name": "x",
        "model": {"architecture": "onnx", "weights": str(graph[1]), "channel_order": "rgb"},
        "targets": ["torch-fp32", "openvino-fp32"],
    }
    with pytest.raises(ParamsError, match="runs PyTorch modules") as caught:
        check(check_params(values, where="x"), RunFolder(tmp_path / "run"))
    assert caught.value.fix == "set reference to openvino-fp32"


def test_a_scale_that_the_graph_contradicts_is_refused(graph, tmp_path):
    path = graph[1]
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(255), "scale"))
    first = model.graph.node[0]
    model.graph.node.insert(0, onnx.helper.make_node("Div", ["image", "scale"], ["scaled"]))
    first.input[0] = "scaled"
    onnx.save(model, path)
    told = look_at(path, output="auto")["told"]
    assert foreign_input(told, "x.onnx", "bgr", "auto")["normalisation"] == "raw"
    assert foreign_input(told, "x.onnx", "bgr", "raw")["normalisation"] == "raw"
    with pytest.raises(ParamsError, match="takes pixels scaled raw"):
        foreign_input(told, "x.onnx", "bgr", "minus1_1")
