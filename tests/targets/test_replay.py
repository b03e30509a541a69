"""Recorded results as cells: what they give, and what is refused."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest

from lresnet_utils.data.network_input import flip, to_network_input
from lresnet_utils.errors import DataError, LResNetError, TargetError
from lresnet_utils.perf.guide_figures import RECORDED
from lresnet_utils.targets.base import UnavailableError
from lresnet_utils.targets.replay import ReplayTarget, read_recorded
from lresnet_utils.untrusted.settings import ToolOptions

HOW = {"channel_order": "bgr", "normalisation": "minus1_1"}
# Seven distinct pictures in five pairs: the guide's numbering repeats some.
SLOTS = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 2])
LABEL = """\
device: Ascend 310, one chip of four
tool: benchmark.x86_64 of CANN 20.2
date: 2022-03-18
source: a colleague's card
precision: fp16
"""


@pytest.fixture
def recorded(tmp_path, model, faces):
    """Return a function that records both views of the slots on another machine."""

    def record(*, numbers=SLOTS, mark="_1", batch_size=4, label=LABEL):
        folder = tmp_path / "recorded"
        dump = folder / f"bs{batch_size}/dump"
        dump.mkdir(parents=True)
        (folder / "recorded.yaml").write_text(label)
        session = onnxruntime.InferenceSession(
            str(model(1).onnx), providers=["CPUExecutionProvider"]
        )
        for number, image in enumerate(numbers):
            plain = to_network_input(faces[image][None], **HOW)
            for name, view in (("", plain), ("_flip", flip(plain))):
                vector = session.run(None, {"image": view})[0][0]
                vector.astype("<f4").tofile(dump / f"{number}{name}{mark}.bin")
        return folder

    return record


def built(folder, model, tmp_path, batch_size=4):
    target = ReplayTarget().configured(ToolOptions(replay_folder=str(folder)))
    return target, target.build(model(batch_size), tmp_path / "models/replay")


def embed(target, artefact, faces, tmp_path, *, mirrored=True, slots=SLOTS, **more):
    return target.embed_set(
        artefact, faces, tmp_path / "w", flip=mirrored, slots=slots, **HOW, **more
    )


def message(call, kind=LResNetError):
    with pytest.raises(kind) as error:
        call()
    assert len(str(error.value).splitlines()) <= 3
    return error.value


def test_without_a_folder_it_says_how_to_name_one(tmp_path):
    able = ReplayTarget().available()
    assert not able.ok
    assert "tools.replay_folder" in able.remedy
    able = ReplayTarget().configured(ToolOptions(replay_folder=str(tmp_path))).available()
    assert able.reason == f"{tmp_path} has no recorded.yaml"


@pytest.mark.parametrize("mark", ["_1", "_0", "_output_0"])
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_dump_in_the_guides_numbering(recorded, model, faces, wanted, tmp_path, mark, mirrored):
    target, artefact = built(recorded(mark=mark), model, tmp_path)
    result = embed(
        target, artefact, faces, tmp_path, mirrored=mirrored, failures=[(3, "not an image")]
    )
    expected = wanted(mirrored=mirrored)
    expected[3] = 0
    np.testing.assert_allclose(result.vectors, expected, atol=2e-6)
    assert result.reasons == {3: "not an image"}
    assert result.stages.e2e.images_per_second is None


def test_a_dump_of_the_distinct_pictures(recorded, model, faces, wanted, tmp_path):
    folder = recorded(numbers=range(7), label=LABEL + "numbering: distinct\n")
    target, artefact = built(folder, model, tmp_path)
    result = embed(target, artefact, faces, tmp_path, slots=None)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)


def test_it_is_labelled_as_recorded(recorded, model, tmp_path):
    target, artefact = built(recorded(), model, tmp_path)
    assert target.name == artefact.target == "replay"
    assert target.recorded
    note = target.available().note
    assert "recorded on 2022-03-18" in note
    assert "a colleague's card" in note
    options = artefact.options
    assert options["device"] == "Ascend 310, one chip of four"
    assert (options["recorded"], options["numbering"]) == (True, "pairs")
    assert len(options["files_sha256"]) == 64
    assert "threads" not in options
    files = json.loads(artefact.path.read_text())["files"]
    assert len(files) == 2 * len(SLOTS) + 1


def test_the_hash_is_of_the_files_and_their_names(recorded, model, tmp_path):
    folder = recorded()
    digests = [built(folder, model, tmp_path)[1].options["files_sha256"] for _ in range(2)]
    first, second = folder / "bs4/dump/0_1.bin", folder / "bs4/dump/1_1.bin"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    digests.append(built(folder, model, tmp_path)[1].options["files_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_a_log_of_terabytes_is_refused_at_once(recorded, model, tmp_path):
    folder = recorded()
    with (folder / "bs4/x.log").open("wb") as log:
        log.truncate(2**42)
    error = message(lambda: built(folder, model, tmp_path), DataError)
    assert "too large" in error.what and error.where.endswith("x.log")


def test_results_that_change_after_the_build_are_refused(recorded, model, faces, tmp_path):
    folder = recorded()
    target, artefact = built(folder, model, tmp_path)
    (folder / "recorded.yaml").write_text(LABEL.replace("2022", "2024"))
    error = message(lambda: embed(target, artefact, faces, tmp_path), TargetError)
    assert "changed" in error.what


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("4_flip_1.bin", lambda path: path.unlink(), "1 missing (4_flip_1.bin)"),
        ("4_1.bin", lambda path: shutil.copy(path, path.with_name("10_1.bin")), "1 surplus (10_1"),
        ("4_1.bin", lambda path: path.write_bytes(b"\0" * 32), "4_1.bin: every value is zero"),
    ],
)
def test_damaged_dumps_are_refused_by_name(recorded, model, faces, tmp_path, name, change, what):
    folder = recorded()
    change(folder / "bs4/dump" / name)
    target, artefact = built(folder, model, tmp_path)
    assert what in message(lambda: embed(target, artefact, faces, tmp_path), DataError).what


def test_a_dump_of_other_pairs_is_refused(recorded, model, faces, tmp_path):
    """Same counts, another order: only the repeated pictures tell."""
    target, artefact = built(recorded(), model, tmp_path)
    other = SLOTS[::-1].copy()
    other[:3] = SLOTS[:3]
    error = message(lambda: embed(target, artefact, faces, tmp_path, slots=other), DataError)
    assert "same picture" in error.what
    assert (
        "pairs are not known"
        in message(lambda: embed(target, artefact, faces, tmp_path, slots=None)).what
    )


@pytest.mark.parametrize("place", ["bs4/x.log", "bs4/dump/0_1.bin", "bs4/dump", "bs4"])
def test_a_link_that_leaves_the_folder_is_not_read(recorded, model, tmp_path, place):
    """What a stranger's link points at must not stand in a message, and so on a page."""
    folder, secret = recorded(), tmp_path / "secret"
    link = folder / place
    if link.exists():
        link.rename(secret)
    else:
        secret.write_text("the key is 12345\n")
    link.symlink_to(secret)
    error = message(lambda: built(folder, model, tmp_path), DataError)
    assert f"leads out of the folder: '{place}" in error.what


def test_a_link_within_the_folder_is_read(recorded, model, tmp_path):
    folder = recorded()
    (folder / "bs4" / "dump").rename(folder / "elsewhere")
    (folder / "bs4" / "dump").symlink_to("../elsewhere")
    built(folder, model, tmp_path)


def test_a_batch_size_that_was_not_recorded_is_unavailable(recorded, model, tmp_path):
    folder = recorded(batch_size=4)
    error = message(lambda: built(folder, model, tmp_path, batch_size=8), UnavailableError)
    assert "batch size 8" in error.what
    assert error.fix == "recorded: 4"


def test_speed_only(recorded, model, faces, tmp_path):
    folder = recorded(batch_size=16)
    shutil.rmtree(folder / "bs16/dump")
    shutil.copy(
        RECORDED / "after_tuning/bs16/perf_vision_batchsize_16_device_0.txt",
        folder / "bs16/perf_vision_batchsize_16_device_0.txt",
    )
    target, artefact = built(folder, model, tmp_path, batch_size=16)
    (record,) = target.measure(artefact, tmp_path / "p", warmup=1, seconds=9, repeats=9)
    assert (record.throughput_ips, record.batch_size) == (186.532, 16)
    message(lambda: embed(target, artefact, faces, tmp_path), UnavailableError)


def test_accuracy_only(recorded, model, tmp_path):
    target, artefact = built(recorded(), model, tmp_path)
    measure = {"warmup": 1, "seconds": 1, "repeats": 1}
    error = message(lambda: target.measure(artefact, tmp_path, **measure), UnavailableError)
    assert "No performance log" in error.what


def test_five_figures_come_from_the_recorded_log(recorded, model, faces, tmp_path):
    folder = recorded()
    name = "perf_vision_batchsize_4_device_0.txt"
    shutil.copy(
        RECORDED / "before_tuning/bs4/perf_vision_batchsize_4_device_0.txt", folder / "bs4" / name
    )
    target, artefact = built(folder, model, tmp_path)
    stages = embed(target, artefact, faces, tmp_path).stages
    assert (stages.e2e.images_per_second, stages.e2e.n) == (127.206, 24000)
    assert stages.post.images_per_second == pytest.approx(4 * 31.971)


def pure(rate):
    return f"ave_throughputRate = {rate}samples/s, ave_latency = {1000 / rate:.6g}ms\n"


def test_logs_of_one_tool_are_its_repeats_and_clocks_are_not_mixed(recorded, model, tmp_path):
    folder = recorded()
    inner = folder / "bs4"
    shutil.copy(
        RECORDED / "before_tuning/bs4/perf_vision_batchsize_4_device_0.txt", inner / "vision.txt"
    )
    for number, rate in enumerate((140.5, 141.5, 139.25), 1):
        (inner / f"pure_{number}.log").write_text(pure(rate))
    (inner / "screen_of_pure_1.txt").write_text("[INFO] " + pure(140.5))
    target, artefact = built(folder, model, tmp_path)
    records = target.measure(artefact, tmp_path, warmup=0, seconds=1, repeats=1)
    assert sorted(record.throughput_ips for record in records) == [139.25, 140.5, 141.5]


def test_a_log_of_another_batch_size_is_refused(recorded, model, tmp_path):
    folder = recorded()
    summary = {
        "NPU_compute_time": {"min": 8, "max": 8, "mean": 8, "median": 8, "percentile(99%)": 8},
        "throughput": 2000,
    }
    (folder / "bs4/dump_summary.json").write_text(json.dumps(summary))
    target, artefact = built(folder, model, tmp_path)
    measure = {"warmup": 1, "seconds": 1, "repeats": 1}
    error = message(lambda: target.measure(artefact, tmp_path, **measure), DataError)
    assert "batch size 16, not 4" in error.what


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        (LABEL.replace("device:", "divice:"), "'divice'", "did you mean 'device'?"),
        (LABEL.replace("precision: fp16\n", ""), "'precision' is missing", "arithmetic"),
        (LABEL.replace("2022-03-18", "18.3.2022"), "'date' is not accepted", "2022-03-18"),
        (LABEL + "numbering: random\n", "'numbering' is not accepted", "pairs"),
        ("- a list\n", "name: value", ""),
        (LABEL + "device: twice\n", "stands twice", ""),
        (LABEL + "note: " + "x" * 50_000, "The label is too large", "docs/run_elsewhere.md"),
    ],
)
def test_a_wrong_label_is_refused(tmp_path, text, what, fix):
    (tmp_path / "recorded.yaml").write_text(text)
    error = message(lambda: read_recorded(tmp_path))
    assert what in error.what
    assert fix in (error.fix or "")
    able = ReplayTarget().configured(ToolOptions(replay_folder=str(tmp_path))).available()
    assert not able.ok
    assert able.reason == f"{tmp_path / 'recorded.yaml'}: {error.what.rstrip('.')}"
