"""The Ascend road from the graph to embeddings and speed, through stand-ins of every tool."""

import json
from pathlib import Path

import pytest

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.targets import tools as run_tool_module
from lresnet_utils.targets.ascend import AscendTarget
from lresnet_utils.targets.ascend.runners import cann_version, explain
from lresnet_utils.targets.base import UnavailableError
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
