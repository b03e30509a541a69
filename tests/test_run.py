"""The run folder knows every file's place, and which stage to run when one is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.machine.disk import HALF_MADE, atomic_path, write_arrays
from lresnet_utils.machine.locks import NAME as LOCK
from lresnet_utils.machine.locks import run_lock
from lresnet_utils.params import Params
from lresnet_utils.run import NOTEBOOKS, STAGES, WHOLE_RUN, RunFolder, prepare_folder, project_root
from lresnet_utils.running.progress import execute_with_progress
from lresnet_utils.running.runner import Runner


def test_a_record_reads_back_with_its_stage_and_batch_size(tmp_path):
    run = RunFolder(tmp_path / "r")
    written = run.write_record("4_infer", 4, {"targets": {"a": np.float64(1.5)}})
    assert run.record("4_infer", 4) == written
    assert written == {"stage": "4_infer", "batch_size": 4, "targets": {"a": 1.5}}


def test_a_missing_stage_is_named_with_the_notebook_to_run(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"2_compile has not been run for batch size 4") as missing:
        run.record("2_compile", 4)
    assert "notebooks/2_compile.ipynb" in str(missing.value)
    with pytest.raises(RunError, match="4_infer"):
        run.arrays(run.embeddings(4, "t", "aligned"), stage="4_infer", batch_size=4)


def test_arrays_come_back(tmp_path):
    run = RunFolder(tmp_path)
    path = run.scores(1, "torch-fp32", "aligned")
    write_arrays(path, distances=np.arange(3.0))
    assert run.arrays(path, stage="5_evaluate", batch_size=1)["distances"].tolist() == [0, 1, 2]


def test_no_two_things_share_a_file(tmp_path):
    run = RunFolder(tmp_path)
    paths = [run.results, run.network, run.onnx(1), run.onnx(1, simplified=True), run.onnx(4)]
    for stage in STAGES:
        sizes = [None] if stage in WHOLE_RUN else [1, 4]
        paths += [run.stage(stage, b, s) for b in sizes for s in (".json", ".ipynb", ".html")]
    assert len(set(paths)) == len(paths)
    assert run.stage("7_summary", None, ".html") == run.index


def test_relative_folders_count_from_the_project_wherever_jupyter_starts(tmp_path, monkeypatch):
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert project_root() == tmp_path
    assert RunFolder.open("outputs/x").folder == tmp_path / "outputs" / "x"
    assert RunFolder.open(tmp_path / "y").folder == tmp_path / "y"


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "run")
    prepare_folder(tmp_path / "new" / "run")
    assert list((tmp_path / "new" / "run").iterdir()) == []


@pytest.mark.parametrize("option", ["--output", "--notebooks"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_path_that_is_no_text_is_refused_before_anything_is_written(tmp_path, option, more):
    params = tmp_path / "x.yaml"
    params.write_text("name: x")
    odd = tmp_path / os.fsdecode(b"b\xff")
    given = {"--output": str(tmp_path / "run"), "--notebooks": str(NOTEBOOKS)} | {option: str(odd)}
    done = subprocess.run(
        [sys.executable, "-m", "lresnet_utils", "run", params, *sum(given.items(), ()), *more],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    what, where, to_do = done.stderr.splitlines()
    assert "not UTF-8" in what and "b\\udcff" in where and option in to_do
    assert list(tmp_path.iterdir()) == [params]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def somebodys(tmp_path):
    """A folder that no run made, with names that begin with a dot."""
    folder = tmp_path / "home"
    for name in (".git/config", ".env", ".ssh/id", "src/.venv/x", "bs4/models/t/search/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    "mark", [None, "resume/cv.txt", "run.json", LOCK, "params.yaml", "1_export.json"]
)
def test_a_folder_of_somebody_elses_is_refused_and_left_as_it_is(somebodys, mark):
    if mark:
        (somebodys / mark).parent.mkdir(exist_ok=True)
        (somebodys / mark).write_text('{"name": "theirs"}')
    before = contents(somebodys)
    with pytest.raises(RunError, match="holds something else"):
        RunFolder(somebodys).require_own()
    params = Params(name="x", targets=["torch-fp32"], reference="torch-fp32")
    never = {"check": lambda: pytest.fail("checked")}
    with pytest.raises(RunError, match="holds something else"):
        execute_with_progress(params, RunFolder(somebodys), **never)
    with pytest.raises(RunError, match="holds something else"):
        Runner(params, RunFolder(somebodys)).execute()
    assert contents(somebodys) == before


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("run.json", '{"notebooks": []}'),
        (LOCK, '{"pid": 1}'),
        ("bs4/1_export.json", "{}"),
        ("3_preprocess.json", "{}"),
        ("resume/bs4/2_compile/t.json", "{}"),
    ],
)
def test_only_half_made_files_of_a_run_are_swept(somebodys, mark, text):
    (somebodys / mark).parent.mkdir(parents=True, exist_ok=True)
    (somebodys / mark).write_text(text)
    (somebodys / "bs4" / "models" / "t" / "search" / "x").unlink()
    (somebodys / "resume").mkdir(exist_ok=True)
    (somebodys / "resume" / "run.json").write_text("the inventory of a run that ended")
    before = contents(somebodys)
    for name in ("a.json", "bs4/b.npz", "resume/deep/c"):
        with pytest.raises(KeyboardInterrupt), atomic_path(somebodys / name) as half:
            half.write_text("half")
            half.with_name(f"{half.name}.copy").write_text("what a killed process leaves")
            raise KeyboardInterrupt
    (somebodys / f"{HALF_MADE}folder").mkdir()
    (somebodys / f"{HALF_MADE}folder" / "x").write_text("half")
    run = RunFolder(somebodys)
    run.require_own()
    run.sweep()
    assert contents(somebodys) == before
    assert not list(somebodys.rglob(f"{HALF_MADE}*")) and not list(somebodys.rglob("search"))


def test_what_a_run_leaves_that_is_killed_at_once_is_no_obstacle(tmp_path):
    RunFolder(tmp_path / "new").require_own()
    RunFolder(tmp_path).require_own()
    (tmp_path / LOCK).touch()
    (tmp_path / f"{HALF_MADE}reserve").touch()
    RunFolder(tmp_path).require_own()


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_a_desktop_leaves_is_no_obstacle_and_stays(tmp_path, name):
    (tmp_path / name).write_bytes(b"icons")
    run = RunFolder(tmp_path)
    run.require_own()
    run.sweep()
    assert (tmp_path / name).read_bytes() == b"icons"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match="holds something else"):
        run.require_own()


@pytest.mark.parametrize(
    "place",
    ["bs4", "resume", "faces", "bs4/models/t", "run.json", "bs4/x.log", "resume/bs4", "held/x"],
)
def test_a_link_that_leads_out_of_a_run_is_refused(tmp_path, place):
    run, outside = RunFolder(tmp_path / "run"), tmp_path / "outside"
    run.folder.mkdir()
    (run.folder / LOCK).write_text('{"pid": 1}')
    outside.mkdir()
    path = run.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    # What makes a folder look like another run's, as the inventory does in `resume/`.
    (path.parent / ("other" if place == "run.json" else "run.json")).write_text("{}")
    path.symlink_to(outside)
    with pytest.raises(RunError, match="link to another place") as refused:
        run.require_own()
    assert place in refused.value.where
    path.unlink()
    path.symlink_to(run.folder / LOCK)
    run.require_own()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="pipe"):
        run.require_own()


def test_a_run_inside_another_runs_folder_is_refused_and_never_swept(tmp_path):
    outer, inner = RunFolder(tmp_path / "outer"), RunFolder(tmp_path / "outer" / "bs4" / "inner")
    inner.folder.mkdir(parents=True)
    half = inner.folder / "bs1" / f"{HALF_MADE}1.x.json"
    half.parent.mkdir()
    half.write_text("being written")
    with run_lock(inner.folder):
        with pytest.raises(RunError, match="holds something else"):
            outer.require_own()
        with run_lock(outer.folder):
            for folder in (inner, RunFolder(outer.folder / "bs16")):
                with pytest.raises(RunError, match="inside another run"):
                    folder.require_own()
            outer.require_own()
            outer.sweep()
    assert half.read_text() == "being written"


@pytest.mark.parametrize("name", ["file", "file/below/it", "dangling", "pipe"])
def test_an_output_whose_name_is_taken_is_refused_before_anything_is_planned(name, tmp_path):
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="cannot be made") as refused:
        RunFolder(tmp_path / name).require_own()
    assert refused.value.where == str(tmp_path / name.split("/")[0])
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_folder_whose_links_go_round_is_refused(tmp_path):
    round_ = tmp_path / "round"
    round_.symlink_to(round_)
    with pytest.raises(RunError, match="cannot be made"):
        RunFolder(round_).require_own()
    with pytest.raises(RunError, match="cannot be written"):
        prepare_folder(round_)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text('{"pid": 1}')
    (tmp_path / "run" / "bs4").symlink_to("bs4")
    with pytest.raises(RunError, match="link to another place"):
        RunFolder(tmp_path / "run").require_own()
