"""The Ascend road from the graph to embeddings and speed, through stand-ins of every tool."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lresnet_utils.errors import DataError, LResNetError, TargetError
from lresnet_utils.targets import ascend
from lresnet_utils.targets import tools as run_tool_module
from lresnet_utils.targets.ascend import PROVIDER, AscendTarget, CannTarget, find_runner
from lresnet_utils.targets.ascend.npu_logs import read_ais_bench
from lresnet_utils.targets.ascend.runners import cann_version, explain
from lresnet_utils.targets.base import UnavailableError
from lresnet_utils.targets.embed import embed
from lresnet_utils.untrusted.settings import ToolOptions

RUNNERS = ["ais_bench", "msame", "benchmark"]
HOW = {"channel_order": "bgr", "normalisation": "minus1_1"}


@pytest.fixture
def built(tools, model, tmp_path):
    """Return a function that installs a runner and builds for a batch size."""

    def build(batch_size, *runners, **settings):
        tools.cann()
        tools.install("atc", *runners)
        target = AscendTarget().configured(ToolOptions(**settings))
        return target, target.build(model(batch_size), tmp_path / "models/ascend-fp16")

    return build


def message(call, kind=LResNetError):
    with pytest.raises(kind) as error:
        call()
    assert len(str(error.value).splitlines()) <= 3
    return error.value


def test_nothing_of_cann_here_says_how_to_get_it(tools, monkeypatch):
    monkeypatch.setattr("lresnet_utils.targets.ascend.runners.USUAL_HOMES", ())
    able = AscendTarget().available()
    assert (able.ok, able.reason) == (False, "atc (Huawei CANN) is not installed")
    assert "set_env.sh" in able.remedy


def test_cann_that_is_not_sourced_is_told_apart(tools, monkeypatch):
    home = tools.cann()
    for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("lresnet_utils.targets.ascend.runners.USUAL_HOMES", (home,))
    (home.parent / "set_env.sh").touch()
    able = AscendTarget().available()
    assert "not on the PATH" in able.reason
    assert f"source {home.parent / 'set_env.sh'}" in able.remedy
    tools.install("atc")
    assert "ASCEND_OPP_PATH is not set" in AscendTarget().available().reason
    monkeypatch.setenv("ASCEND_OPP_PATH", str(home / "absent"))
    assert "names no folder" in AscendTarget().available().reason
    monkeypatch.setenv("ASCEND_OPP_PATH", str(home / "opp"))
    assert "LD_LIBRARY_PATH" in AscendTarget().available().reason


@pytest.mark.parametrize("by_hand", [False, True])
def test_both_ways_to_set_up_cann_will_do(tools, by_hand):
    tools.cann(by_hand=by_hand)
    tools.install("atc", "msame")
    able = AscendTarget().available()
    assert (able.ok, able.note) == (True, None)
    assert cann_version() == "7.0.RC1"
    assert AscendTarget().versions() == {"CANN": "7.0.RC1"}


def test_a_host_that_only_builds_says_so(built, faces, tmp_path):
    target, artefact = built(2)
    assert "not run" in target.available().note
    error = message(
        lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW),
        UnavailableError,
    )
    assert "ais_bench" in error.fix
    message(
        lambda: target.measure(artefact, tmp_path / "w", warmup=1, seconds=0.01, repeats=1),
        UnavailableError,
    )


def test_atc_gets_the_guides_arguments(built, tools, tmp_path):
    """Section 3.2, step 2, word for word but for the paths."""
    guide = (
        "atc --framework=5 --model=./model/model_ir_se100_bs1_sim.onnx "
        '--output=model/model_ir_se100_bs1 --input_format=NCHW --input_shape="image:1,3,112,112" '
        "--log=debug --soc_version=Ascend310"
    )
    _, artefact = built(1)
    (argv,) = tools.calls("atc")
    told = dict(word.split("=") for word in argv)
    assert told["--model"] == str(tmp_path / "model_bs1_sim.onnx")
    assert Path(told["--output"]).parent == artefact.path.parent
    wanted = [word.replace('"', "") for word in guide.split()[1:]]
    for own, its in zip(argv, wanted, strict=True):
        name, _, value = its.partition("=")
        assert own.startswith(f"{name}=")
        assert name in ("--model", "--output") or own == its, value


def test_the_build_is_described(built):
    _, artefact = built(
        2, "msame", soc_version="Ascend310P3", precision_mode="must_keep_origin_dtype"
    )
    assert artefact.target == "ascend-fp16"
    assert artefact.path.name == "ascend-fp16.om"
    assert artefact.bytes == artefact.path.stat().st_size > 0
    assert artefact.options["soc_version"] == "Ascend310P3"
    assert artefact.options["precision_mode"] == "must_keep_origin_dtype"
    assert "threads" not in artefact.options
    assert json.loads(json.dumps(artefact.to_json()))["options"] == artefact.options
    log = (artefact.path.parent / "atc.log").read_text()
    assert "ATC run success" in log
    with pytest.raises(TargetError, match="no session"):
        AscendTarget().load(artefact)


@pytest.mark.parametrize(
    ("mode", "what", "fix"),
    [
        ("fail", "E19010: No parser is registered", "older opset"),
        ("crash", "SIGSEGV", "read the log"),
        ("silent", "without its line of success", "read the log"),
        ("empty", "its build is empty", None),
    ],
)
def test_a_build_that_fails_leaves_its_log_and_no_artefact(tools, model, tmp_path, mode, what, fix):
    tools.cann()
    tools.install("atc")
    tools.mode(mode)
    folder = tmp_path / "models"
    error = message(lambda: AscendTarget().build(model(1), folder), TargetError)
    assert what in error.what
    assert fix is None or fix in error.fix
    assert error.where == str(folder / "atc.log")
    assert "ATC start working now" in (folder / "atc.log").read_text()
    assert not list(folder.glob("*.om"))


def test_a_build_that_hangs_is_stopped(tools, model, tmp_path, monkeypatch):
    monkeypatch.setattr(run_tool_module, "GRACE_S", 0.2)
    tools.cann()
    tools.install("atc")
    tools.mode("hang")
    tools.hangs_first(tools.folder / "pids")
    target = AscendTarget().configured(ToolOptions(timeout_s=1))
    error = message(lambda: target.build(model(1), tmp_path / "models"), TargetError)
    assert "did not end within 1 s" in error.what
    assert tools.ended(tools.folder / "pids")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("E10007: [--framework] is required.", "required option"),
        ("E10054: The requied parameter [--model] for ATC is empty.", "no model"),
        ("E19010: No parser is registered for Op [a].", "parser"),
        ("EZ3003: No supported Ops kernel and engine are found for [a].", "ASCEND_OPP_PATH"),
        ("E40000: Failed to import te.platform.log_util.", "Python"),
        ("EC0010: [PID: 1] Failed to import Python module", "Python"),
        ("atc.bin: error while loading shared libraries: libascend_hal.so", "LD_LIBRARY_PATH"),
    ],
)
def test_error_codes_are_explained(line, word):
    assert word in explain(line)


# Running and timing an Ascend build with each of the three tools' stand-ins.


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("mirrored", [True, False])
def test_every_runner_gives_the_networks_embeddings(
    built, faces, wanted, tmp_path, runner, batch_size, mirrored
):
    target, artefact = built(batch_size, runner)
    work = tmp_path / "work"
    result = target.embed_set(
        artefact, faces, work, flip=mirrored, failures=[(2, "not an image")], **HOW
    )
    expected = wanted(mirrored=mirrored)
    expected[2] = 0
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(result.vectors, expected, atol=2e-6)
    assert result.reasons == {2: "not an image"}
    assert result.failed.tolist() == [i == 2 for i in range(7)]
    n = (len(faces) - 1) * (2 if mirrored else 1)
    padded = -(-n // batch_size) * batch_size if runner == "benchmark" else n
    assert result.stages.e2e.n == padded
    assert result.stages.infer.images_per_second > 0
    assert (result.stages.data_read.images_per_second is None) == (runner != "benchmark")
    assert not (work / "inputs").exists()
    assert not list(work.rglob("*_0.bin")) + list(work.rglob("*_1.txt"))
    assert list(work.glob("*.log"))


@pytest.mark.parametrize(
    ("channel_order", "normalisation"), [("rgb", "raw"), ("rgb", "minus1_1"), ("bgr", "raw")]
)
def test_inputs_are_the_networks_own(built, faces, wanted, tmp_path, channel_order, normalisation):
    target, artefact = built(3, "ais_bench")
    how = {"channel_order": channel_order, "normalisation": normalisation}
    result = target.embed_set(artefact, faces, tmp_path / "w", flip=True, **how)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True, **how), atol=2e-6)


def test_a_build_with_aipp_gets_bytes(built, tools, faces, wanted, tmp_path):
    config = tmp_path / "aipp.cfg"
    config.write_text("aipp_op { aipp_mode: static input_format: RGB888_U8 }\n")
    target, artefact = built(2, "ais_bench", aipp_config=str(config))
    assert f"--insert_op_conf={config}" in tools.calls("atc")[0]
    assert re.fullmatch("[0-9a-f]{64}", artefact.options["aipp_sha256"])
    result = target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)


def test_an_absent_aipp_file_is_refused(tools, model, tmp_path):
    tools.cann()
    tools.install("atc")
    target = AscendTarget().configured(ToolOptions(aipp_config=str(tmp_path / "absent.cfg")))
    assert "AIPP" in message(lambda: target.build(model(1), tmp_path / "m")).what


def test_benchmark_gets_the_guides_arguments(built, tools, faces, tmp_path):
    """Section 5.2, step 2, word for word but for the paths."""
    guide = (
        "./benchmark.x86_64 -model_type=vision -device_id=0 -batch_size=16 "
        "-om_path=./model/model_ir_se100_bs16.om -input_text_path=./lfw.info -input_width=112 "
        "-input_height=112 -output_binary=False -useDvpp=False"
    )
    target, artefact = built(16, "benchmark")
    target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)
    (argv,) = tools.calls("benchmark")
    wanted = guide.split()[1:]
    wanted[3] = f"-om_path={artefact.path}"
    wanted[4] = f"-input_text_path={tmp_path / 'w/inputs.info'}"
    assert argv == wanted


def test_what_it_embeds_is_handed_out_or_returned(built, faces, tmp_path):
    target, artefact = built(4, "msame")
    how = {"folder": tmp_path / "w", "flip": False, **HOW}
    blocks = []
    with target.embedder(artefact) as embed_images:
        kept = embed_images(faces, **how)
        handed_out = embed_images(faces, write=blocks.append, **how)
    assert handed_out.vectors is None
    np.testing.assert_array_equal(np.concatenate(blocks), kept.vectors)


def test_five_figures_of_benchmark_are_its_own(built, faces, tmp_path):
    target, artefact = built(4, "benchmark")
    stages = target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW).stages
    path = tmp_path / "w/result/perf_vision_batchsize_4_device_0.txt"
    rates = [float(x) for x in re.findall(r"\] throughputRate: ([\d.e+]+)", path.read_text())]
    rates[-1] *= 4
    told = [stages.e2e, stages.data_read, stages.preprocess, stages.infer, stages.post]
    assert [rate.images_per_second for rate in told] == rates
    assert {rate.n for rate in told} == {16}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("mode", ["missing", "surplus", "nan", "short", "count"])
def test_a_damaged_dump_is_refused_by_name(built, tools, faces, tmp_path, runner, mode):
    target, artefact = built(1, runner)
    tools.mode(mode)
    call = lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)  # noqa: E731
    error = message(call, DataError)
    word = {"missing": "missing", "count": "missing", "surplus": "surplus"}.get(mode, "bad")
    assert re.search(rf"{word} \(\d+(_flip)?_(0|1|output_0)\.(bin|txt)", error.what), error.what
    assert list((tmp_path / "w").rglob("*_flip_*")), "the dump is kept as evidence"
    assert not (tmp_path / "w/inputs").exists()


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("mode", "what"),
    [("fail", "exit code 1"), ("crash", "SIGSEGV"), ("silent", "")],
)
def test_a_runner_that_fails_says_what_and_where(built, tools, faces, tmp_path, runner, mode, what):
    target, artefact = built(1, runner)
    tools.mode(mode)
    call = lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)  # noqa: E731
    error = message(call)
    assert what in error.what
    if mode == "fail":
        assert "[ERROR]" in error.what
    assert (tmp_path / f"w/{runner}.log").is_file()


def test_a_cut_perf_file_of_benchmark_is_refused(built, tools, faces, tmp_path):
    target, artefact = built(1, "benchmark")
    tools.mode("cut")
    call = lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)  # noqa: E731
    assert "line 5" in message(call, DataError).where


@pytest.mark.parametrize("runner", RUNNERS)
def test_pure_inference_gives_one_record_per_repeat(built, tools, tmp_path, runner):
    target, artefact = built(4, runner)
    records = target.measure(artefact, tmp_path / "p", warmup=2, seconds=0.05, repeats=3)
    assert len(records) == 3
    assert len({record.source for record in records}) == 3
    for record in records:
        assert (record.batch_size, record.tool.split()[0].split(".")[0]) == (4, runner)
        assert record.throughput_ips > 0
        assert record.throughput_clock
        assert any("one chip" in note for note in record.notes)
        assert not any("four" in note for note in record.notes)
    probe, *repeats = tools.calls(runner)
    assert len(repeats) == 3
    assert "--input" not in probe
    assert repeats[0] != probe


def test_ais_bench_measures_at_the_right_batch_size(built, tools, tmp_path):
    target, artefact = built(4, "ais_bench")
    target.measure(artefact, tmp_path / "p", warmup=2, seconds=0.01, repeats=1)
    argv = tools.calls("ais_bench")[-1]
    assert argv[argv.index("--batchsize") + 1] == "4"
    assert argv[argv.index("--warmup_count") + 1] == "2"
    assert read_ais_bench(tmp_path / "p/repeat_1_summary.json").batch_size == 4


def test_the_first_runner_that_is_there_is_taken(tools):
    assert find_runner("auto") is None
    for runner in reversed(RUNNERS):
        tools.install(runner)
        assert find_runner("auto").name == runner
    assert find_runner("msame").name == "msame"


def test_ais_bench_as_a_module_of_the_systems_python(built, tools, faces, wanted, tmp_path):
    target, artefact = built(4)
    tools.install_module("ais_bench")
    assert find_runner("auto").command[1:] == ["-m", "ais_bench"]
    result = target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)


def test_four_chips_are_a_note_and_only_of_the_310(built, tmp_path):
    target, artefact = built(2, "msame", card_extrapolation=True)
    (record,) = target.measure(artefact, tmp_path / "p", warmup=0, seconds=0.01, repeats=1)
    assert f"{4 * record.throughput_ips:.1f} images/s for a card of four" in record.notes[-1]
    assert "not measured" in record.notes[-1]
    with pytest.raises(ValueError, match="Ascend310P3 does not carry four chips"):
        ToolOptions(card_extrapolation=True, soc_version="Ascend310P3")


def test_a_changed_build_is_refused(built, faces, tmp_path):
    target, artefact = built(2, "msame")
    with artefact.path.open("a") as file:
        file.write(" ")
    call = lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)  # noqa: E731
    assert "changed" in message(call).what


def test_a_full_disk_is_refused_before_writing(built, faces, tmp_path, monkeypatch):
    target, artefact = built(2, "msame")
    monkeypatch.setattr(
        "lresnet_utils.targets.ascend.runners.shutil.disk_usage",
        lambda _: type("Usage", (), {"free": 1000})(),
    )
    call = lambda: target.embed_set(artefact, faces, tmp_path / "w", flip=True, **HOW)  # noqa: E731
    assert "are free" in message(call).what


# ONNX Runtime's CANN provider, which this machine has not got.


@pytest.fixture
def with_provider(tools, monkeypatch):
    """Let ONNX Runtime claim the provider; what is asked of it goes to the CPU."""
    asked = []

    def on_the_cpu(graph, provider, settings):
        asked.append((provider, settings))
        return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(ascend, "provider_only", on_the_cpu)
    return asked


def test_without_the_provider_it_says_how_to_get_it():
    able = CannTarget().available()
    assert not able.ok
    assert "CANNExecutionProvider" in able.reason
    assert "pip install onnxruntime-cann" in able.remedy


def test_it_never_runs_on_the_cpu_instead(model, tmp_path):
    with pytest.raises(TargetError, match="built without"):
        CannTarget().build(model(1), tmp_path / "m")
    with pytest.raises(TargetError, match="built without"):
        ascend.provider_only(model(1).onnx, PROVIDER, {})


def test_it_embeds_as_any_session(with_provider, tools, model, faces, wanted, tmp_path):
    target = CannTarget().configured(ToolOptions(device=2))
    artefact = target.build(model(3), tmp_path / "models/cann-fp16", threads=2)
    assert artefact.target == "cann-fp16"
    assert "threads" not in artefact.options
    with target.load(artefact) as session:
        result = embed(faces, session, flip=True, **HOW)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)
    ((provider, settings),) = with_provider
    assert provider == PROVIDER
    assert settings["device_id"] == 2
    assert settings["precision_mode"] == "force_fp16"


def test_a_changed_graph_is_refused(with_provider, model, tmp_path):
    target = CannTarget()
    files = model(1)
    artefact = target.build(files, tmp_path / "m")
    files.onnx.write_bytes(b"another")
    with pytest.raises(TargetError, match="changed"):
        target.load(artefact)


def test_versions_name_cann(tools):
    tools.cann()
    assert CannTarget().versions()["CANN"] == "7.0.RC1"
