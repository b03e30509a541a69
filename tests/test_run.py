"""The run folder knows every file's place, and which stage to run when one is missing."""

import numpy as np
import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.files import write_arrays
from lresnet_utils.run import STAGES, WHOLE_RUN, RunFolder, prepare_folder, project_root


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
