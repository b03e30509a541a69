"""For each notebook the first reason to run it, and none when everything is as it was."""

import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lresnet_utils.ledger.entries import NEVER, NOT_OURS
from lresnet_utils.machine.disk import read_json, write_arrays, write_json, write_text
from lresnet_utils.params import Params
from lresnet_utils.run import STAGES, RunFolder
from lresnet_utils.running import resume as jobs
from lresnet_utils.running.plan import Job, phases
from lresnet_utils.running.resume import Resume

INFER, SUMMARY = Job("4_infer", 4), Job("7_summary")


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    for stage in STAGES:
        cell = new_code_cell('run_dir: str = ""  # f\nflip: bool = True  # f')
        cell.metadata["tags"] = ["parameters"]
        setup = new_code_cell(f"import lresnet_utils.stages.{stage.partition('_')[2]}")
        node = new_notebook(cells=[cell, setup])
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(node, tmp_path / "notebooks" / f"{stage}.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resume(**more):
    params = Params(name="x", batch_sizes=[4], targets=["torch-fp32"], **more)
    return Resume(params, RunFolder.open("outputs/x", Path("notebooks")))


@pytest.fixture
def finished(project):
    """A run all of whose notebooks ended well, with one file of results each."""
    known = resume()
    run, places = known.run, {"3_preprocess": "faces/images.npy", "4_infer": "embeddings/a.npz"}
    for job in (job for phase in phases(known.params) for job in phase.jobs):
        root = run.folder if job.batch_size is None else run.batch(job.batch_size)
        write_arrays(root / places.get(job.stage, "scores/a.npz"), x=[1.0])
        run.write_record(job.stage, job.batch_size, {"targets": {"torch-fp32": {"status": "ok"}}})
        write_text(run.stage(job.stage, job.batch_size, ".ipynb"), "executed")
        write_text(run.stage(job.stage, job.batch_size, ".html"), "page")
        known.finished(job, {"status": "ok"}, {})
    return run


def test_nothing_runs_twice_and_nothing_is_valid_before_it_ran(project, finished):
    assert set(resume().plan().values()) == {None}
    other = Resume(
        Params(name="y", batch_sizes=[4]), RunFolder.open("outputs/y", Path("notebooks"))
    )
    assert set(other.plan().values()) == {NEVER}
    assert Resume(resume().params, finished, fresh="this run").why(INFER).endswith("(--fresh)")


def test_a_parameter_concerns_the_notebooks_that_have_it(finished):
    assert resume(flip=False).why(INFER) == "parameter flip is now false"
    # Folds are no parameter of these notebooks, but the summary records all parameters.
    plan = resume(folds=5).plan()
    assert {job for job, why in plan.items() if why} == {SUMMARY}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_result_is_made_again_and_so_may_be_what_reads_it(finished, damage):
    path = finished.batch(4) / "embeddings" / "a.npz"
    path.write_bytes(path.read_bytes()[:-1]) if damage == "cut" else path.unlink()
    plan = {job.stage: why for job, why in resume().plan().items() if why}
    words = "not as it was written" if damage == "cut" else "missing"
    assert plan["4_infer"] == f"bs4/embeddings/a.npz is {words}"
    assert set(plan) == {"4_infer", "5_evaluate", "7_summary"}


def test_a_record_that_was_cut_is_none(finished):
    path = finished.state / "bs4" / "4_infer.json"
    path.write_text(path.read_text()[:-10])
    assert resume().why(INFER) == NOT_OURS


@pytest.mark.parametrize("field", ["made_from", "files", "told"])
@pytest.mark.parametrize("value", [None, 3, "x", [], [[1]], {"a": 1}])
def test_a_record_of_other_types_is_none(finished, field, value):
    path = finished.state / "bs4" / "4_infer.json"
    write_json(path, read_json(path) | {field: value})
    assert resume().plan()[INFER] == NOT_OURS


def test_what_another_user_recorded_is_made_again(finished, monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "theirs"))
    assert set(resume().plan().values()) == {NOT_OURS}
    monkeypatch.delenv("JUPYTER_DATA_DIR")
    assert set(resume().plan().values()) == {None}


def test_pictures_that_changed_places_with_sizes_and_times_kept_are_seen(project, monkeypatch):
    for name in ("a", "b"):
        write_text(project / "people" / name / "1.png", name)
        os.utime(project / "people" / name / "1.png", ns=(10**18, 10**18))
    cell = "dataset: str = '' # f"
    node = nbformat.read(project / "notebooks" / "3_preprocess.ipynb", as_version=4)
    node.cells[0].source += f"\n{cell}"
    nbformat.write(node, project / "notebooks" / "3_preprocess.ipynb")
    job, how = Job("3_preprocess"), {"dataset": {"source": str(project / "people")}}
    known = resume(**how)
    known.run.write_record("3_preprocess", None, {})
    known.finished(job, {"status": "ok"}, {})
    assert resume(**how).why(job) is None
    one, other = (project / "people" / name / "1.png" for name in ("a", "b"))
    one.rename(project / "kept")
    other.rename(one)
    (project / "kept").rename(other)
    assert resume(**how).why(job) == f"{project / 'people'} has other contents"


def test_code_counts_where_it_is_used(finished, monkeypatch):
    known = jobs.code_of

    def edited(*modules):
        found = known(*modules)
        return found | {"targets/embed.py": "edited"} if "targets/embed.py" in found else found

    monkeypatch.setattr(jobs, "code_of", edited)
    assert resume().why(INFER) == "targets/embed.py was edited"


def test_a_target_that_failed_is_tried_again(finished):
    record = {"targets": {"a-1": {"status": "failed"}, "b-2": {"status": "unavailable"}}}
    finished.write_record("4_infer", 4, record)
    write_text(finished.stage("4_infer", 4, ".html"), "page")
    resume().finished(INFER, {"status": "ok"}, {})
    assert resume().why(INFER) == "failed last time: a-1"


def test_an_edited_notebook_and_new_weights(project, finished):
    path = project / "notebooks" / "4_infer.ipynb"
    path.write_text(path.read_text().replace("# f", "# g"))
    assert resume().why(INFER) == "the notebook was edited"
    records = ["3_preprocess.json", "bs4/1_export.json", "bs4/2_compile.json"]
    assert resume().inputs(INFER) == [*records, "faces/images.npy"]
