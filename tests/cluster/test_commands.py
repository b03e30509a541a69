"""A run's build embeds a folder of people, and every pair of them is evaluated."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders import write_onnx
from onnx import helper

from lresnet_utils.cluster import commands
from lresnet_utils.cluster.embed_set import embed_set, run_build
from lresnet_utils.cluster.embedded import MANIFEST
from lresnet_utils.cluster.records import open_records
from lresnet_utils.data.images import encode_png
from lresnet_utils.errors import LResNetError, ParamsError, RunError
from lresnet_utils.ledger.entries import Ledger
from lresnet_utils.machine.disk import read_json, sha256_file, write_json
from lresnet_utils.run import RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.embed import embed
from lresnet_utils.verify.all_pairs import all_pairs

HOW = {"channel_order": "bgr", "normalisation": "minus1_1", "flip": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Write a run whose one build multiplies every 16th pixel with a matrix."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "small")
    matrix = np.random.default_rng(0).normal(size=(147, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Slice", ["image", "from", "to", "axes", "steps"], ["some"]),
        helper.make_node("Flatten", ["some"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    ]
    limits = {"from": [3, 0], "to": [112, 112], "axes": [2, 3], "steps": [16, 16]}
    weights = {name: np.array(value) for name, value in limits.items()} | {"matrix": matrix}
    path = run.engine(4, "onnxruntime-fp32") / "onnxruntime-fp32.onnx"
    path.parent.mkdir(parents=True)
    ends = {"image": [4, 3, 112, 112]}, {"embedding": [4, 8]}
    write_onnx(path, nodes, *ends, weights)
    options = {"batch_size": 4, "embedding_size": 8, "threads": 1}
    size = path.stat().st_size
    built = Artefact("onnxruntime-fp32", path, options, 0.1, size, sha256_file(path))
    spec = {key: HOW[key] for key in ("channel_order", "normalisation")}
    run.write_record("1_export", 4, {"input": spec})
    entries = {
        "onnxruntime-fp32": {"status": "ok", "reason": None, "artefact": built.to_json()},
        "ascend-fp16": {"status": "unavailable", "reason": "atc is not installed"},
    }
    made = entries["onnxruntime-fp32"]
    Ledger.of_stage(run, "2_compile", 4, timed=True).kept("onnxruntime-fp32", {}, lambda: made)
    run.write_record("2_compile", 4, {"targets": entries})
    write_json(run.folder / "run.json", {"params": {"flip": True}})
    return run


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Write three noisy pictures of each of four people; return the folder and the pictures."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("sets") / "people"
    images = []
    for person in range(4):
        face = rng.integers(40, 216, (112, 112, 3))
        for number in range(3):
            images.append((face + rng.integers(-40, 40, face.shape)).astype(np.uint8))
            path = folder / f"p{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(images[-1]))
    return folder, np.stack(images)


@pytest.mark.parametrize("called", ["../../outside", ".lresnet-x", "a/../../b"])
def test_a_set_is_embedded_inside_the_run_whatever_it_is_called(
    run, people, monkeypatch, tmp_path, called
):
    records = replace(open_records(people[0]), name=called)
    monkeypatch.setattr(commands, "open_records", lambda source: records)
    # A fresh run for each: what an earlier one wrote outside must not be found.
    folder = tmp_path / "runs" / "small"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("sets"))
    none = {"workers": 0, "scheduler": None, "files": "auto"}
    commands.embed(folder, people[0], cell="4/onnxruntime-fp32", output=None, shard_size=5, **none)
    (made,) = (folder / "sets").iterdir()
    RunFolder(folder).sweep()
    assert (made / MANIFEST).is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_embedding_and_evaluating_from_the_command_line(run, people, capsys):
    folder, images = people
    none = {"workers": 0, "scheduler": None, "files": "auto"}
    for told in ("12 embedded", "0 embedded"):
        commands.embed(
            run.folder, folder, cell="4/onnxruntime-fp32", output=None, shard_size=5, **none
        )
        assert told in capsys.readouterr().out
    output = run.folder / "sets" / "people.4.onnxruntime-fp32"
    commands.all_pairs(output, far_targets=[0.1, 1e-6], **none)
    told = capsys.readouterr().out
    assert "12 images, 12 genuine and 54 impostor pairs" in told
    assert "TAR@1e-06  refused" in told

    entry = run.record("2_compile", 4)["targets"]["onnxruntime-fp32"]
    with get_target("onnxruntime-fp32").load(Artefact.from_json(entry["artefact"])) as session:
        expected = embed(images, session, **HOW).vectors
    rates = all_pairs(expected, np.repeat(np.arange(4), 3), [0.1, 1e-6])
    record = read_json(output / "all_pairs.json")
    assert record["eer"] == {"value": rates.eer, "threshold": rates.eer_threshold}
    assert record["tar_at_far"] == rates.tar_at_far


@pytest.mark.parametrize("workers", [0, 2])
def test_embedding_runs_nothing_of_the_folder_it_is_started_in(run, people, strangers, workers):
    told = strangers(
        *("embed", run.folder, people[0], "--cell", "4/onnxruntime-fp32"),
        *("--output", strangers.folder.parent / "out", "--workers", workers),
    )
    assert "12 embedded" in told


def test_a_build_is_sent_to_workers_that_do_not_see_it(engines, run, people, tmp_path):
    network, records = run_build(run, "4/onnxruntime-fp32"), open_records(people[0])
    found = [
        embed_set(records, network, tmp_path / files, engines(2, files), shard_size=4)
        for files in ("shared", "sent")
    ]
    assert len({one.record["shards_sha256"] for one in found}) == 1


def test_a_build_of_another_user_or_that_was_changed_wants_trust(run, monkeypatch, tmp_path):
    cell = "4/onnxruntime-fp32"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("JUPYTER_DATA_DIR", str(tmp_path / "another"))
        with pytest.raises(RunError, match="not made here by this user") as raised:
            run_build(run, cell)
        assert "--trust" in raised.value.fix
        assert run_build(run, cell, trust=True).described["cell"] == cell
    other = RunFolder(shutil.copytree(run.folder, tmp_path / "moved"))
    assert run_build(other, cell).described["cell"] == cell
    # Both the build and the record that names it: one hash agrees with the other.
    path = other.engine(4, "onnxruntime-fp32") / "onnxruntime-fp32.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    record = other.record("2_compile", 4)
    record["targets"]["onnxruntime-fp32"]["artefact"]["sha256"] = sha256_file(path)
    write_json(other.stage("2_compile", 4), record)
    with pytest.raises(RunError, match="or was changed"):
        run_build(other, cell)


def test_what_cannot_be_done_is_told(run, people, tmp_path):
    with pytest.raises(RunError, match="did you mean '4/onnxruntime-fp32'"):
        run_build(run, "4/onnxruntime-fp23")
    with pytest.raises(RunError, match="not built: atc is not installed"):
        run_build(run, "4/ascend-fp16")
    with pytest.raises(ParamsError, match="between 0 and 1"):
        commands.all_pairs(tmp_path, far_targets=[2.0], workers=0, scheduler=None, files="auto")


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry["artefact"].update(target="../../../elsewhere"),
        lambda entry: entry["artefact"].update(target="openvino-fp32"),
        lambda entry: entry["artefact"].update(path="x/.."),
        lambda entry: entry["artefact"].update(options=[]),
        lambda entry: entry["artefact"].update(sha256=None),
        lambda entry: entry.update(artefact=3),
        lambda entry: entry.clear(),
    ],
)
def test_a_record_of_builds_that_no_run_writes_is_refused(run, tmp_path, damage):
    other = RunFolder(shutil.copytree(run.folder, tmp_path / "other"))
    record = other.record("2_compile", 4)
    damage(record["targets"]["onnxruntime-fp32"])
    write_json(other.stage("2_compile", 4), record)
    with pytest.raises(LResNetError):
        run_build(other, "4/onnxruntime-fp32")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run.json", {"params": {"flip": "yes"}}),
        ("run.json", []),
        ("bs4/1_export.json", {"input": {"channel_order": "grb", "normalisation": "raw"}}),
        ("bs4/2_compile.json", {"targets": [1]}),
    ],
)
def test_records_of_wrong_types_are_refused(run, tmp_path, name, value):
    other = RunFolder(shutil.copytree(run.folder, tmp_path / "other"))
    write_json(other.folder / name, value)
    with pytest.raises(LResNetError):
        run_build(other, "4/onnxruntime-fp32")
