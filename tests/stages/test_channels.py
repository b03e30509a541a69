"""The channel order found by measurement: real faces, SFace, and the stages themselves."""

import shutil

import cv2
import numpy as np
import pytest

from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.report.pages.evaluate import sentence
from lresnet_utils.results import CLEAN
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.infer import OTHER_ORDER, colourfulness, infer, order_target, other_order
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles

TARGET = "onnxruntime-fp32"
BATCH = 15
# The light of skin under a warm lamp. Blue is the weakest channel, so a camera's noise is largest
# there; what is told apart in red and green is drowned in blue, as networks learn from colour.
LIGHT = (1.1, 0.7, 0.4)
NOISE = 120.0


def grey_faces(people=15, images=5):
    """The same number of faces of each person, as grey pictures, and who they are."""
    files = [path for person, path in orl_files() if person < people]
    chosen = [path for n, path in enumerate(files) if n % 10 < images]
    grey = [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (112, 112)) for path in chosen]
    return np.stack(grey), np.repeat(np.arange(people), images)


def test_colour_is_found_whatever_side_of_the_pairs_it_is_on():
    """A set that pairs colour with infrared: every 2nd, 10th or 20th picture is grey."""
    for every in (2, 10, 20):
        pictures = np.zeros((255 * every + 1, 1, 1, 3), np.uint8)
        pictures[..., 0] = 100
        pictures[::every] = 50
        share = (pictures[:, 0, 0, 0] == 100).mean()
        assert colourfulness(pictures) == pytest.approx(100 * share, abs=10)


def coloured(grey):
    """The faces in colour, RGB, the same for everyone: people differ by shape alone."""
    rgb = grey[..., None] * np.array(LIGHT)
    rgb[..., 2] += np.random.default_rng(0).normal(0, NOISE, grey.shape)
    return rgb.round().clip(0, 255).astype(np.uint8)


def pairs(who, seed=0):
    """All genuine pairs, and as many impostor pairs between them, in one order."""
    rng = np.random.default_rng(seed)
    left, right = np.triu_indices(len(who), 1)
    same = who[left] == who[right]
    genuine = rng.permutation(np.flatnonzero(same))
    impostor = rng.choice(np.flatnonzero(~same), len(genuine), replace=False)
    order = np.stack([genuine, impostor], axis=1).ravel()
    return left[order], right[order], same[order]


def bin_of(path, rgb, who):
    """Write a set in the form of ``lfw.bin``; its pictures are stored without loss."""
    encoded = [cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for picture in rgb]
    left, right, same = pairs(who)
    slots = np.stack([left, right], axis=1).ravel()
    return write_bin(path, [encoded[slot] for slot in slots], same.tolist())


@pytest.fixture(scope="module")
def faces():
    return grey_faces()


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """SFace built for the target, straight from its export."""
    folder = tmp_path_factory.mktemp("sface")
    network = load_network("sface", "packaged")
    weights = save_network(network, folder / "network.pt")
    graph = export_onnx(network.module, folder / "model.onnx", batch_size=BATCH)
    files = ModelFiles("sface", weights, graph, BATCH, 128)
    return get_target(TARGET).build(files, folder, threads=1)


def prepared(folder, artefact, rgb, who, normalisation="raw", **entry):
    """A run over such faces, with its builds."""
    run = RunFolder(folder / "run")
    preprocess(run, dataset=str(bin_of(folder / "set.bin", rgb, who)))
    network = {"trained": True}
    spec = {"channel_order": "rgb", "normalisation": normalisation, "size": 112}
    run.write_record("1_export", BATCH, {"network": network, "input": spec})
    entry = {"status": "ok", "reason": None, "artefact": artefact.to_json()} | entry
    run.write_record("2_compile", BATCH, {"targets": {TARGET: entry}})
    run.engine(BATCH, TARGET).mkdir(parents=True)
    shutil.copy2(artefact.path, run.engine(BATCH, TARGET))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory, artefact, faces):
    """A run over coloured faces whose network was fed in both orders."""
    folder = tmp_path_factory.mktemp("colour")
    run = prepared(folder, artefact, coloured(faces[0]), faces[1])
    record = infer(run, batch_size=BATCH, targets=[TARGET], flip=False, channel_test=True)
    assert record["targets"][TARGET]["status"] == "ok", record["targets"][TARGET]
    return run


def judged(run):
    how = {"folds": 10, "far_targets": [0.1], "bootstrap": 100}
    result = evaluate(run, batch_size=BATCH, targets=[TARGET], reference=TARGET, **how)
    return result.record


def exchanged(run):
    """As if the params had asked for BGR: what was the other order is the one in use."""
    paths = [run.embeddings(BATCH, TARGET, name) for name in (CLEAN, OTHER_ORDER)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    record = run.record("4_infer", BATCH)
    used, other = (record["channel_test"][f"{which}_order"] for which in ("other", "used"))
    record["channel_test"] |= {"used_order": used, "other_order": other}
    run.write_record("4_infer", BATCH, record)


def test_the_order_of_training_is_found_whichever_is_in_use(run):
    for order, sign in (("rgb", -1), ("bgr", 1)):
        record = judged(run)
        test = record["channel_test"]
        assert test["trained_on"] == "rgb"
        assert (test["target"], test["used_order"]) == (TARGET, order)
        assert test["other_order"] == other_order(order) != order
        d = test["difference"]
        assert d["low"] <= d["value"] <= d["high"]
        assert min(sign * d["low"], sign * d["high"]) > 0
        assert d["n"] == 300
        # The accuracy is the one that the page gives for the target anyway.
        assert test["used"]["value"] == record["targets"][TARGET]["accuracy"]["value"]
        assert d["value"] == pytest.approx(test["other"]["value"] - test["used"]["value"])
        words = sentence(test)
        assert ("trained on RGB, as set" in words) == (order == "rgb")
        assert ("Set model.channel_order to rgb." in words) == (order == "bgr")
        exchanged(run)


def test_every_order_and_scale_is_tried_and_the_right_one_is_kept(run):
    test = judged(run)["input_test"]
    assert (test["right"], test["used"], test["target"]) == ("used", "RGB, raw", TARGET)
    tried = {tuple(found["way"]) for found in test["ways"] if len(found["way"]) == 2}
    scales = ("raw", "minus1_1", "centred_128", "zero_1")
    every = {(order, scale) for order in ("rgb", "bgr") for scale in scales}
    assert tried == every - {("rgb", "raw")}
    (order,) = (found for found in test["ways"] if tuple(found["way"]) == ("bgr", "raw"))
    assert order["right"] == "used" and order["difference"]["high"] < 0


def test_the_wrong_scale_is_named_with_what_to_set(faces, artefact, tmp_path):
    """SFace wants 0 to 255; fed with -1 to 1 it still recognises, and worse."""
    grey = np.repeat(faces[0][..., None], 3, axis=3)
    run = prepared(tmp_path, artefact, grey, faces[1], normalisation="minus1_1")
    infer(run, batch_size=BATCH, targets=[TARGET], flip=False, channel_test=True)
    record = judged(run)
    test = record["input_test"]
    assert (test["right"], test["best"]) == ("other", "RGB, raw")
    assert test["set_to"] == "model.normalisation: raw"
    assert test["difference"]["low"] > 0
    # Grey faces tell nothing about the order, and everything about the scale.
    assert "refused" in record["channel_test"]
    # The pictures were squeezed to 112x112, so aligning them is tried as well.
    assert [len(found["way"]) for found in test["ways"]] == [2, 2, 2, 3]
    assert test["aligned"]["way"] == ["rgb", "minus1_1", "aligned"]
    # Nothing is embedded again where the same was asked before.
    path = run.embeddings(BATCH, TARGET, "input-test")
    before = path.stat().st_mtime_ns
    infer(run, batch_size=BATCH, targets=[TARGET], flip=False, channel_test=True)
    assert path.stat().st_mtime_ns == before


def test_grey_faces_cannot_tell_and_are_not_embedded_again(faces, artefact, tmp_path):
    grey = np.repeat(faces[0][..., None], 3, axis=3)
    failed = {"status": "failed", "reason": "not here", "remedy": None}
    run = prepared(tmp_path, artefact, grey, faces[1], **failed)
    infer(run, batch_size=BATCH, targets=[TARGET], flip=False, channel_test=True)
    test = judged(run)["channel_test"]
    assert test["refused"].startswith("the faces are grey")
    assert test["colour_levels"] == 0
    assert not list(run.batch(BATCH).rglob(f"*{OTHER_ORDER}*"))


def test_it_is_only_done_where_it_can_tell(faces, artefact, tmp_path):
    failed = {"status": "failed", "reason": "not here", "remedy": None}
    run = prepared(tmp_path, artefact, coloured(faces[0]), faces[1], **failed)
    how = {"batch_size": BATCH, "targets": [TARGET]}
    assert infer(run, **how)["channel_test"] is None
    assert "no target" in infer(run, **how, channel_test=True)["channel_test"]["refused"]
    record = run.record("1_export", BATCH)
    run.write_record("1_export", BATCH, record | {"network": {"trained": False}})
    assert "random" in infer(run, **how, channel_test=True)["channel_test"]["refused"]


def test_the_colour_of_pictures_is_the_difference_of_red_and_blue():
    pictures = np.zeros((1000, 4, 4, 3), np.uint8)
    pictures[..., 0], pictures[..., 1], pictures[..., 2] = 100, 250, 90
    assert colourfulness(pictures) == 10
    assert colourfulness(pictures[..., ::-1]) == 10


def test_the_fastest_exact_target_is_taken():
    assert order_target(["torch-fp32", "openvino-int8", "openvino-fp32"]) == "openvino-fp32"
    assert order_target(["openvino-int8"]) == "openvino-int8"
    assert order_target(["replay"]) is None
