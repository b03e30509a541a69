"""The command line: wrong input gets three lines and status 2, before anything starts."""

import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from lresnet_utils import cli
from lresnet_utils.cluster import commands
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.errors import RunError
from lresnet_utils.models.architectures import architecture

ROOT = Path(__file__).parent.parent


def lresnet(*arguments: object) -> SimpleNamespace:
    """Run the command line in this process, as its entry point does."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    argv, sys.argv = sys.argv, ["lresnet", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.argv = argv
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def refused(*arguments: str) -> str:
    """Run the command, see that it was refused as it should be, and return the message."""
    done = lresnet(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert done.stdout == ""
    return done.stderr


def demo(tmp_path: Path, *overrides: str) -> list[str]:
    sets = [part for override in overrides for part in ("--set", override)]
    return ["run", "params/demo.yaml", "--output", str(tmp_path / "run"), *sets]


@pytest.fixture
def network_file(tmp_path):
    path = tmp_path / "ir50.pth"
    torch.save(architecture("ir50").build().state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("bacth_sizes=[1]", "did you mean 'batch_sizes'"),
        ("perf.seconds=soon", "valid number"),
        ("targets=[torch-fp23]", "did you mean 'torch-fp32'"),
        ("reference=openvino-int4", "not one of the targets"),
        ("model.architecture=ir_se101", "did you mean 'ir_se"),
        ("dataset.variants=[res29]", "did you mean 'res28'"),
        ("model.weights=nowhere.pth", "nowhere.pth"),
        ("dataset.source=nowhere.bin", "nowhere.bin"),
        ("fixed_thresholds=[nowhere.json]", "nowhere.json"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_starts(tmp_path, override, words):
    assert words in refused(*demo(tmp_path, override))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_weights_that_cannot_be_used_are_refused_by_a_dry_run_too(tmp_path, network_file, more):
    (tmp_path / "w.pth").write_bytes(b"no weights")
    for weights, words in (
        (tmp_path / "w.pth", "no PyTorch checkpoint"),
        (network_file, "fit architecture ir50"),
        (tmp_path / "nowhere.pth", "is missing"),
    ):
        told = refused(*demo(tmp_path, f"model.weights={weights}"), *more)
        assert words in told, told
    assert not (tmp_path / "run").exists()


def test_the_guides_missing_files_are_named_with_their_source():
    message = refused("run", "params/ir_se100_lfw.yaml")
    assert "model_ir_se100.pth" in message
    assert "lfw.bin" in message
    assert "drive.google.com" in message


def test_a_checkpoint_of_another_network_is_refused(tmp_path, network_file):
    message = refused(
        *demo(tmp_path, "model.architecture=ir_se50", f"model.weights={network_file}")
    )
    assert "ir50" in message


def test_a_cut_bin_is_refused(tmp_path):
    whole = write_bin(tmp_path / "whole.bin", [b"x" * 1000, b"y" * 1000], [True])
    cut = tmp_path / "cut.bin"
    cut.write_bytes(whole.read_bytes()[:-500])
    assert "cut.bin" in refused(*demo(tmp_path, "dataset.variants=[]", f"dataset.source={cut}"))


def test_a_malicious_bin_is_refused_and_nothing_is_executed(tmp_path):
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self):
            return Path.touch, (witness,)

    evil = tmp_path / "evil.bin"
    evil.write_bytes(pickle.dumps(([Evil()] * 2, [True])))
    refused(*demo(tmp_path, "dataset.variants=[]", f"dataset.source={evil}"))
    assert not witness.exists()


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    message = refused("run", "params/demo.yaml", "--output", blocker / "run")
    assert "cannot be made" in message and str(blocker) in message


def test_ctrl_c_is_said(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.RunFolder, "given", interrupted)
    done = lresnet("report", "anywhere")
    assert done.returncode == 130
    assert done.stderr == "Interrupted; what was finished is kept.\n"


def test_the_module_is_the_command_line():
    """The one test in a process of its own: what it prints has no traceback and no warning."""
    done = subprocess.run(
        [sys.executable, "-m", "lresnet_utils", "run", "params/nowhere.yaml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere.yaml" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_terminal_cannot_show_stops_nothing(tmp_path, encoding):
    path = tmp_path / "人脸.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    done = subprocess.run(
        [sys.executable, "-m", "lresnet_utils", "inspect", str(path)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
        cwd=ROOT,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(r"\u4eba\u8138.safetensors: 1 tensors")


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-verb",),
        ("run",),
        ("run", "params/demo.yaml", "--workers", "-1"),
        ("run", "params/demo.yaml", "--set"),
        ("compare", "a", "b", "c"),
        ("compare", "a", "b", "--cells", "one"),
        ("compare", "a", "b", "--margin", "x"),
        ("doctor", "x"),
        ("schema", "--x"),
        ("inspect",),
        ("report", "--chek"),
        ("embed", "a", "b"),
        ("all-pairs", "a", "--far", "\x1b[31m"),
        ("pack", "a", "-x"),
        ("pack", "a", "b", "--folds", "1"),
        ("fetch", "-x"),
    ],
)
def test_a_wrong_option_is_told_in_three_lines_with_where_its_help_is(words):
    said = refused(*words)
    assert said.splitlines()[-1].endswith("--help") and "\x1b" not in said


def test_no_word_at_all_is_answered_with_the_help():
    done = lresnet()
    assert done.returncode == 2 and "all-pairs" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [("report",), ("run", "params/guide_replay.yaml", "--output")])
def test_a_name_that_no_file_system_takes_is_refused(words):
    assert "longer than the system takes" in refused(*words, "n" * 300)


def test_compare_refuses_what_is_no_report(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<p>Hello</p>")
    assert "carries no results" in refused("compare", page, page)


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_compare_replaces_no_file_of_another_kind(tmp_path, option):
    path = tmp_path / "results.json"
    for text in ('{\n "schema": 1,\n "name": "mine"\n}', "", "<!DOCTYPE html>"):
        path.write_text(text)
        done = lresnet("compare", "absent", "absent", option, path)
        assert done.returncode == 2 and "would be replaced" in done.stderr
        assert path.read_text() == text


def test_pack_replaces_no_file_of_another_kind_nor_its_source(tmp_path, small_lfw):
    path = tmp_path / "x.bin"
    assert lresnet("pack", small_lfw, path).returncode == 0
    assert lresnet("pack", small_lfw, path).returncode == 0
    whole = path.read_bytes()
    done = lresnet("pack", path, path)
    assert done.returncode == 2 and "own place" in done.stderr
    assert path.read_bytes() == whole
    path.write_text("notes")
    done = lresnet("pack", small_lfw, path)
    assert done.returncode == 2 and "would be replaced" in done.stderr
    assert path.read_text() == "notes"


def test_embed_refuses_a_folder_of_somebody_elses(tmp_path, monkeypatch, small_lfw):
    monkeypatch.setattr(commands, "run_build", lambda run, cell, trust: None)
    (tmp_path / ".env").write_text("mine")
    how = {"cell": "1/x", "shard_size": 4, "workers": 0, "scheduler": None, "files": "auto"}
    with pytest.raises(RunError, match="something else"):
        commands.embed(tmp_path, small_lfw, output=tmp_path, **how)
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_doctor_lists_every_target():
    from lresnet_utils.targets import TARGETS

    listed = lresnet("doctor")
    assert listed.returncode == 0
    first_words = [line.split()[0] for line in listed.stdout.splitlines() if line[0] != " "]
    assert first_words == list(TARGETS)


def test_help_lists_every_parameter_and_the_schema_is_json():
    from lresnet_utils.params import declared

    help_text = " ".join(lresnet("run", "--help").stdout.split())
    for path, field in declared():
        assert f"{path}: {field.description}" in help_text
    assert json.loads(lresnet("schema").stdout)["title"] == "Params"
