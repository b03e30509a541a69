"""A graph of another maker through the stages: exported, built, embedded."""

import os

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn

from lresnet_utils.errors import GraphError, ParamsError
from lresnet_utils.findings.preconditions import preconditions
from lresnet_utils.findings.sentences import say
from lresnet_utils.graph.adopt import open_foreign
from lresnet_utils.graph.parity import unit_difference
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.ledger.custody import broken, recorded
from lresnet_utils.machine.disk import read_arrays
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.models.network import seeded_state_dict
from lresnet_utils.params import check_params
from lresnet_utils.report import show
from lresnet_utils.report.pages import export as page
from lresnet_utils.report.pages import summary as first_page
from lresnet_utils.run import RunFolder
from lresnet_utils.running.preflight import check, inspect_file
from lresnet_utils.stages import export as stage
from lresnet_utils.stages.compile import compile_targets
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.export import export, foreign_input, look_at, said_by
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.perf import measure_speed
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise
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
    told = broken(run, [4])
    inside = {link["file"] for link in links if link["bytes"] is not None}
    assert {told[name] for name in inside} == {None}
    shown = []
    monkeypatch.setattr(show, "_display", lambda data, **_: shown.append(data["text/html"]))
    page.network(record)
    page.parity(record)
    assert "batch-size (1)" in "".join(shown)


def checked(path, tmp_path, **model):
    """Do what ``lresnet run`` does before it starts."""
    whole = model.pop("whole", {})
    values = {
        "name": "x",
        "model": {"architecture": "onnx", "weights": str(path), "channel_order": "rgb"}
        | {"normalisation": "raw"}
        | model,
        "dataset": {"source": "none"},
        "targets": ["onnxruntime-fp32", "torch-fp32"],
        "reference": "onnxruntime-fp32",
    } | whole
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


# --- hostile files -----------------------------------------------------------------------------


def looping(path):
    """Put a loop in front that ends when its condition is false, which it never is."""
    model = onnx.load(path)
    first = model.graph.node[0]
    kept = onnx.helper.make_node("Identity", ["going"], ["still"])
    passed = onnx.helper.make_node("Identity", ["carried"], ["next"])
    boolean, number = onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT
    info = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [kept, passed],
        "body",
        [
            info("turn", onnx.TensorProto.INT64, []),
            info("going", boolean, []),
            info("carried", number, None),
        ],
        [info("still", boolean, []), info("next", number, None)],
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "true"))
    loop = onnx.helper.make_node("Loop", ["", "true", "image"], ["looped"], body=body)
    model.graph.node.insert(0, loop)
    first.input[0] = "looped"
    onnx.save(model, path)
    return path


def test_a_loop_without_an_end_ends_at_the_limit(graph, small_lfw, tmp_path):
    path = looping(graph[1])
    checked(path, tmp_path)
    run = RunFolder(tmp_path / "run")
    options = {"channel_order": "bgr", "normalisation": "minus1_1", "dataset": str(small_lfw)}
    options |= {"architecture": "onnx", "weights": str(path), "batch_size": 1}
    with pytest.raises(GraphError, match=r"did not finish within 8 s while adopting") as caught:
        export(run, limits={"seconds": 8}, **options)
    assert caught.value.where == str(path)
    assert "limits.seconds" in caught.value.fix
    assert not run.onnx(1).exists() and not run.stage("1_export", 1).exists()


def doubling(path):
    """Each Gather of a value by itself has twice the axes: forty of them 2 ** 40."""
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 1), np.int64), "r0"))
    for k in range(40):
        node = onnx.helper.make_node("Gather", [f"r{k}", f"r{k}"], [f"r{k + 1}"])
        model.graph.node.insert(k, node)
    onnx.save(model, path)


def split(path):
    """Tells ONNX's shape inference of a billion outputs."""
    model = onnx.load(path)
    node = onnx.helper.make_node("Split", ["image"], ["part"], num_outputs=10**9)
    model.graph.node.insert(0, node)
    model.opset_import[0].version = 18
    onnx.save(model, path)


@pytest.mark.parametrize("bomb", [doubling, split])
def test_what_swells_in_a_library_is_ended_and_told(graph, tmp_path, bomb):
    bomb(graph[1])
    for look in (lambda: inspect_file(graph[1]), lambda: checked(graph[1], tmp_path)):
        with pytest.raises(GraphError, match="GiB of memory while reading the graph") as caught:
            look()
        assert caught.value.where == str(graph[1])
        assert len(str(caught.value).splitlines()) == 3


def test_a_crash_of_a_library_is_told(graph, tmp_path):
    limits = {"limits": LimitOptions(), "log": tmp_path / "x.log", "doing": "reading the graph"}
    with pytest.raises(GraphError, match="killed by SIGABRT while reading") as caught:
        stage._apart(graph[1], "do not", os.abort, **limits)
    assert (caught.value.where, caught.value.fix) == (str(graph[1]), "do not")


def test_what_is_wrong_with_a_file_comes_back_as_it_was_said(graph, tmp_path):
    model = onnx.load(graph[1])
    del next(node for node in model.graph.node if node.op_type == "PRelu").input[1:]
    onnx.save(model, graph[1])
    with pytest.raises(GraphError) as here:
        open_foreign(graph[1])
    for look in (lambda: inspect_file(graph[1]), lambda: checked(graph[1], tmp_path)):
        with pytest.raises(GraphError) as caught:
            look()
        assert str(caught.value) == str(here.value)
    assert "PRelu" in here.value.what and len(str(here.value).splitlines()) == 3


def test_a_pipe_is_no_graph(tmp_path):
    os.mkfifo(tmp_path / "x.onnx")
    for look in (inspect_file, lambda path: checked(path, tmp_path)):
        with pytest.raises(GraphError, match="it is a pipe"):
            look(tmp_path / "x.onnx")


# --- networks without embeddings of use --------------------------------------------------------


def broken_network(path, kind):
    """Let a network end in a node that takes all that tells faces apart, and another behind it."""
    model = onnx.load(path)
    graph, last = model.graph, model.graph.node[-1]
    out, last.output[0] = last.output[0], "before"
    numbers = {
        "nan": (("Mul", 0.0), ("Div", 0.0)),
        "inf": (("Mul", 1e30), ("Mul", 1e30)),
        "zero": (("Mul", 0.0), ("Mul", 2.0)),
        "constant": (("Mul", 0.0), ("Add", 1.0)),
    }[kind]
    values = ["before", "broken", out]
    for k, (operator, number) in enumerate(numbers):
        weight = onnx.numpy_helper.from_array(np.full(32, number, np.float32), f"number{k}")
        graph.initializer.append(weight)
        node = onnx.helper.make_node(operator, [values[k], weight.name], [values[k + 1]])
        node.name = f"break{k}"
        graph.node.append(node)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("kind", "counts", "layer"),
    [
        ("nan", (16, 0, 0), "break1 (Div)"),
        ("inf", (16, 0, 0), "break1 (Mul)"),
        ("zero", (0, 16, 0), "break0 (Mul)"),
        ("constant", (0, 0, 1), "break0 (Mul)"),
    ],
)
def test_a_network_without_embeddings_of_use_is_called_that(
    graph, small_lfw, tmp_path, monkeypatch, kind, counts, layer
):
    path = broken_network(graph[1], kind)
    run = RunFolder(tmp_path / "run")
    preprocess(run, dataset=str(small_lfw))
    options = {"channel_order": "bgr", "normalisation": "minus1_1", "dataset": str(small_lfw)}
    record = export(run, architecture="onnx", weights=str(path), batch_size=4, **options)
    found = record["embeddings"]
    assert (found["n_not_finite"], found["n_zero"], found["n_distinct"]) == counts
    assert found["n_images"] == 16 and found["layer"] == layer
    shown = []
    monkeypatch.setattr(show, "_display", lambda data, **_: shown.append(data["text/html"]))
    page.network(record)
    page.parity(record)
    assert layer in "".join(shown) and "nan" not in "".join(shown).replace(kind, "")
    build = {"search_seconds": 0, "prepare": "all"}
    targets = ["onnxruntime-fp32"]
    compile_targets(run, batch_size=4, targets=targets, threads=1, build=build)
    infer(run, batch_size=4, targets=targets, flip=False)
    how = {"reference": targets[0], "folds": 2, "far_targets": [0.1], "bootstrap": 20}
    judged = evaluate(run, batch_size=4, targets=targets, **how).record
    entry = judged["targets"][targets[0]]
    assert entry["embeddings"]["layer"] == layer
    cell = {"batch_size": 4, "target": targets[0], "accuracy": None} | entry
    cell |= {"accuracy_refused": entry.get("refused") or entry["reason"]}
    faces = run.record("3_preprocess")
    results = {"cells": [cell], "dataset": faces, "input_test": None, "run": {"params": None}}
    said = {f.rule: say(f) for f in preconditions(results) if f.kind != "holds"}
    assert layer in said["finite-embeddings"].evidence


def test_a_sound_network_has_no_such_layer(graph, small_lfw, tmp_path):
    run = RunFolder(tmp_path / "run")
    options = {"channel_order": "bgr", "normalisation": "minus1_1", "dataset": str(small_lfw)}
    record = export(run, architecture="onnx", weights=str(graph[1]), batch_size=4, **options)
    found = record["embeddings"]
    assert (found["n_not_finite"], found["n_zero"], found["layer"]) == (0, 0, None)
    assert found["n_distinct"] > 1


def test_not_finite_in_one_graph_alone_is_a_difference():
    rows = np.ones((2, 4), np.float32)
    broken = rows.copy()
    broken[1, 2] = np.nan
    assert unit_difference(rows, rows) == unit_difference(broken, broken) == 0
    assert unit_difference(rows, broken) == unit_difference(broken, rows) == np.inf


# --- networks that came quantised --------------------------------------------------------------


class Faces(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.left = [
            {"image": rng.uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)} for _ in range(4)
        ]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture
def quantised(graph, tmp_path):
    path = tmp_path / "int8.onnx"
    quantize_static(graph[1], path, Faces(), quant_format=QuantFormat.QDQ)
    return path


def test_a_graph_that_came_quantised_is_called_that_wherever_it_is_told(
    graph, quantised, small_lfw, tmp_path, monkeypatch
):
    run = RunFolder(tmp_path / "run")
    preprocess(run, dataset=str(small_lfw))
    options = {"channel_order": "bgr", "normalisation": "minus1_1", "dataset": str(small_lfw)}
    record = export(run, architecture="onnx", weights=str(quantised), batch_size=4, **options)
    about = record["network"]["quantised"]
    assert (about["what"], about["precision"]) == ("weights and activations", "int8")
    floats = open_foreign(graph[1]).n_parameters
    assert record["network"]["n_parameters"] == floats
    assert record["input_said_by"] == {"channel_order": "params", "normalisation": "params"}
    assert any("quantised     weights and activations" in line for line in inspect_file(quantised))
    assert not any("quantised" in line for line in inspect_file(graph[1]))
    targets = ["onnxruntime-fp32", "openvino-int8", "onnxruntime-int8"]
    build = {"search_seconds": 0, "prepare": "all"}
    built = compile_targets(run, batch_size=4, targets=targets, threads=1, build=build)["targets"]
    for target in targets[1:]:
        assert built[target]["status"] == "unavailable"
        assert "already quantised" in built[target]["reason"] and built[target]["remedy"]
    assert "integers" in built[targets[0]]["note"]
    infer(run, batch_size=4, targets=targets, flip=False)
    how = {"reference": targets[0], "folds": 2, "far_targets": [0.1], "bootstrap": 20}
    evaluate(run, batch_size=4, targets=targets, **how)
    times = {"warmup": 1, "seconds": 0.02, "repeats": 2}
    speed = measure_speed(run, batch_size=4, targets=targets, **times)["targets"]
    ceiling = speed[targets[0]]["ceiling"]
    assert ceiling.get("precision") == "int8" or "int8" in ceiling["refused"]
    results = summarise(run, batch_sizes=[4], targets=targets)
    assert results.cells[0]["quantised"] == results.network["quantised"]["what"]
    assert results.network["input_said_by"] == record["input_said_by"]
    shown = []
    monkeypatch.setattr(show, "_display", lambda data, **_: shown.append(data["text/html"]))
    page.network(record)
    first_page.answer(results, targets[0])
    first_page.cells(run, results)
    told = "".join(shown)
    assert "Already quantised" in told and "onnxruntime-fp32 (quantised graph)" in told
    assert "BGR (by the params)" in told


def test_a_reference_that_would_quantise_again_is_refused(quantised, tmp_path):
    whole = {"targets": ["onnxruntime-fp32", "openvino-int8"], "reference": "openvino-int8"}
    with pytest.raises(ParamsError, match="already quantised") as caught:
        checked(quantised, tmp_path, whole=whole)
    assert "onnxruntime-fp32" in caught.value.fix


def test_who_said_what_the_input_is():
    known = said_by("auto", "raw", otherwise="maker")
    assert known == {"channel_order": "maker", "normalisation": "params"}
